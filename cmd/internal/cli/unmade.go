package cli

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/hashpkg/hashpkg/internal/visible"
	"github.com/hashpkg/hashpkg/layout/plan"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/pkginfo"
	"github.com/hashpkg/hashpkg/sysroot"
)

// maxUnmade is how many things that nobody has made are named.
const maxUnmade = 6

// noteUnmade says which users, groups and directories the root lacks that installing a
// package by its package manager would have made, and which commands make them. Those for users
// and groups are for the machine's own root alone: they would act on the machine.
func (a *app) noteUnmade(root *sysroot.Root, trees []plan.PlannedTree) error {
	has, err := readAccounts(root)
	if err != nil {
		return err
	}
	told := newAccounts()
	for _, t := range trees {
		if t.Present {
			continue
		}
		var unmade []string
		help := ""
		add := func(what, name string, is bool) {
			if thing := what + " " + visible.Line(name); !is && !slices.Contains(unmade, thing) {
				unmade = append(unmade, thing)
			}
		}
		made := t.Manifest.WouldMake
		for _, user := range made.Users {
			add("user", user, has.users[user])
		}
		for _, group := range made.Groups {
			add("group", group, has.groups[group])
		}
		for _, dir := range made.Directories {
			_, err := root.Stat(dir.Path)
			add("directory", dir.Path, err == nil)
		}
		for i := range t.Manifest.Files {
			if f := &t.Manifest.Files[i]; f.Type == record.TypeDirectory && strings.HasPrefix(f.Path, "var/") {
				_, err := root.Stat("/" + f.Path)
				add("directory", "/"+f.Path, err == nil)
			}
		}
		if root.IsHost() {
			help = accountHelp(made, has, told)
		}
		if slices.ContainsFunc(unmade, func(u string) bool { return strings.HasPrefix(u, "directory /var/") }) {
			help += fmt.Sprintf("; %s conf adopt %s --state makes the directories", a.again(), t.Name)
		}
		if len(unmade) > 0 {
			a.notice("note: %s: what would be made for it is not there: %s%s\n", t.Name, strings.Join(firstOf(unmade), ", "), help)
		}
	}
	return nil
}

// firstOf returns the first things of a list, and how many more there are.
func firstOf(things []string) []string {
	if n := len(things); n > maxUnmade {
		return append(things[:maxUnmade:maxUnmade], fmt.Sprintf("%d more", n-maxUnmade))
	}
	return things
}

// again returns the beginning of a command that acts on the same root and prefix.
func (a *app) again() string {
	text := "hashpkg"
	if a.root != "" && a.root != "/" {
		text += " --root " + quoteWord(a.root)
	}
	if a.prefix != "" {
		text += " --prefix " + quoteWord(a.prefix)
	}
	return text
}

var plainWord = regexp.MustCompile(`^[A-Za-z0-9_./-]+$`)

// quoteWord returns a text as a word for sh(1).
func quoteWord(text string) string {
	if plainWord.MatchString(text) {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}

// accounts are names of users and groups.
type accounts struct{ users, groups map[string]bool }

func newAccounts() accounts { return accounts{map[string]bool{}, map[string]bool{}} }

// maxAccounts bounds the files of users and groups.
const maxAccounts = 16 << 20

// readAccounts returns the users and groups of a root, as its passwd(5) and group(5) have them.
func readAccounts(root *sysroot.Root) (accounts, error) {
	has := newAccounts()
	for file, names := range map[string]map[string]bool{"/etc/passwd": has.users, "/etc/group": has.groups} {
		b, err := root.ReadFile(file, maxAccounts)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return has, err
		}
		for line := range strings.Lines(string(b)) {
			if name, _, ok := strings.Cut(line, ":"); ok {
				names[name] = true
			}
		}
	}
	return has, nil
}

// What stands in a command that is meant to be copied: names, and absolute paths.
var (
	accountName = regexp.MustCompile(`^[a-z_][a-z0-9_-]{0,31}$`)
	accountPath = regexp.MustCompile(`^/[A-Za-z0-9_./-]*$`)
)

// accountHelp says by which commands an administrator makes the accounts that a package's scripts
// would make, and for which there is none. told has those that earlier commands make, and gets these.
func accountHelp(made pkginfo.Made, has, told accounts) (help string) {
	commands, left, now := accountCommands(made, has, told)
	for _, why := range firstOf(left) {
		help += "; " + why
	}
	if n := len(commands); n > 0 && n <= maxUnmade {
		which := "the accounts"
		if len(left) > 0 {
			which = "the other accounts"
		}
		help += fmt.Sprintf("; %s makes %s", strings.Join(commands, " && "), which)
		maps.Copy(told.users, now.users)
		maps.Copy(told.groups, now.groups)
	}
	return help
}

// accountCommands returns the commands by which an administrator makes the users and groups that a
// package's scripts would make and that the root, which has others, lacks, as groupadd(8) and
// useradd(8) have them; why there is none for some; and what the commands make. Groups are made
// first. A user is put into no group that the root has, since that may have rights of its own: only
// into one that these commands make, or those that were told before, and that the scripts make, too.
// Names of other forms are in no command.
func accountCommands(made pkginfo.Made, has, told accounts) (commands, left []string, makes accounts) {
	makes = newAccounts()
	accountOf := func(user string) pkginfo.MadeAccount {
		if i := slices.IndexFunc(made.Accounts, func(a pkginfo.MadeAccount) bool { return a.Name == user }); i >= 0 {
			return made.Accounts[i]
		}
		return pkginfo.MadeAccount{Name: user}
	}
	// Whoever makes a user without a group makes one that is called the same.
	isOfScripts := func(group string) bool {
		return slices.Contains(made.Groups, group) || slices.Contains(made.Users, group) && !has.users[group] && accountOf(group).Group == ""
	}
	const otherName = "no command is given for %s %s, whose name has more than a-z, 0-9, _ and -"
	var users []pkginfo.MadeAccount
	shared := map[string]bool{} // groups that need a command of their own
	for _, group := range made.Groups {
		switch {
		case has.groups[group]:
		case !accountName.MatchString(group):
			left = append(left, fmt.Sprintf(otherName, "group", visible.Line(group)))
		default:
			makes.groups[group] = true
		}
	}
	for _, user := range made.Users {
		a := accountOf(user)
		a.Group = cmp.Or(a.Group, user)
		switch {
		case has.users[user] || told.users[user]:
		case !accountName.MatchString(user):
			left = append(left, fmt.Sprintf(otherName, "user", visible.Line(user)))
		case has.groups[a.Group]:
			left = append(left, fmt.Sprintf("user %s would join group %s, which is there already: decide yourself", user, visible.Line(a.Group)))
		case a.Group != user && (!isOfScripts(a.Group) || !accountName.MatchString(a.Group)):
			left = append(left, fmt.Sprintf("user %s would join group %s, which no command makes: decide yourself", user, visible.Line(a.Group)))
		default:
			users = append(users, a)
			makes.users[user], makes.groups[a.Group] = true, true
			shared[a.Group] = shared[a.Group] || a.Group != user
		}
	}
	for _, group := range slices.Sorted(maps.Keys(makes.groups)) {
		byUser := slices.ContainsFunc(users, func(a pkginfo.MadeAccount) bool { return a.Name == group && a.Group == group })
		shared[group] = shared[group] || told.groups[group] || !byUser
		if shared[group] && !told.groups[group] {
			commands = append(commands, "groupadd --system "+group)
		}
	}
	for _, a := range users {
		group := "--user-group"
		if shared[a.Group] {
			group = "--gid " + a.Group
		}
		commands = append(commands, fmt.Sprintf("useradd --system %s --no-create-home --home-dir %s --shell %s %s",
			group, accountFile(a.Home, "/nonexistent"), accountFile(a.Shell, "/usr/sbin/nologin"), a.Name))
	}
	return commands, left, makes
}

// accountFile returns a home or shell, or otherwise where it is not of the form that such have.
func accountFile(p, otherwise string) string {
	clean := path.Clean(p)
	if accountPath.MatchString(p) && (p == clean || p == clean+"/") {
		return clean
	}
	return otherwise
}
