package scripts

import (
	"cmp"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/hashpkg/hashpkg/pkginfo"
)

// recording returns a command whose effects are recorded; nil for another name.
func recording(name string) command {
	switch name {
	case "update-alternatives", "alternatives":
		return alternatives
	case "ucf":
		return ucf
	case "mkdir":
		return mkdir
	case "install":
		return install
	case "chown":
		return ofDirectories(func(d *pkginfo.MadeDirectory, owner string) { d.Owner = owner })
	case "chmod":
		return ofDirectories(func(d *pkginfo.MadeDirectory, mode string) { d.Mode = mode })
	case "adduser":
		return adduser
	case "useradd":
		return useradd
	case "addgroup":
		return addgroup
	case "groupadd":
		return groupadd
	case "systemd-sysusers":
		return sysusers
	}
	return nil
}

// alternatives is update-alternatives(1), and alternatives(8) of chkconfig. Its options
// come before the subcommand, and those that belong to --install after it.
func alternatives(s *shell, args []string) status {
	if !isKnown(args...) {
		s.unsure("update-alternatives %s", strings.Join(args, " "))
		return success
	}
	for len(args) > 0 {
		option := args[0]
		args = args[1:]
		switch option {
		case "--install", "--add":
			return s.install(args)
		case "--remove":
			if len(args) == 2 {
				s.alternatives = slices.DeleteFunc(s.alternatives, func(a pkginfo.Alternative) bool { return a.Name == args[0] && a.Path == args[1] })
			}
			return success
		case "--remove-all":
			if len(args) == 1 {
				s.alternatives = slices.DeleteFunc(s.alternatives, func(a pkginfo.Alternative) bool { return a.Name == args[0] })
			}
			return success
		case "--set", "--set-selections":
			s.unsure("the choice of update-alternatives --set %s", strings.Join(args, " "))
			return success
		case "--list", "--query", "--display", "--auto":
			is := slices.ContainsFunc(s.alternatives, func(a pkginfo.Alternative) bool { return len(args) > 0 && a.Name == args[0] })
			if is {
				s.write(unknown)
			}
			return statusOf(is)
		case "--altdir", "--admindir", "--instdir", "--root", "--log":
			if len(args) > 0 {
				args = args[1:]
			}
		case "--help", "--version", "--get-selections", "--all", "--config":
			return success
		}
	}
	return success
}

// install records LINK NAME PATH PRIORITY and what follows these.
func (s *shell) install(args []string) status {
	if len(args) < 4 {
		s.unsure("update-alternatives --install %s", strings.Join(args, " "))
		return status{code: 2, guessed: true}
	}
	priority, err := strconv.Atoi(args[3])
	a := pkginfo.Alternative{Link: merged(args[0]), Name: args[1], Path: merged(args[2]), Priority: priority}
	if err != nil || !isName(a.Name) || !strings.HasPrefix(args[0], "/") || !strings.HasPrefix(args[2], "/") {
		s.unsure("update-alternatives --install %s", strings.Join(args, " "))
		return status{code: 2, guessed: true}
	}
	for rest := args[4:]; len(rest) > 0; {
		option := rest[0]
		rest = rest[1:]
		switch {
		case (option == "--slave" || option == "--follower") && len(rest) >= 3:
			if isName(rest[1]) && strings.HasPrefix(rest[0], "/") && strings.HasPrefix(rest[2], "/") {
				s.step(1)
				a.Slaves = append(a.Slaves, pkginfo.Slave{Link: merged(rest[0]), Name: rest[1], Path: merged(rest[2])})
			} else {
				s.unsure("update-alternatives --slave %s", strings.Join(rest[:3], " "))
			}
			rest = rest[3:]
		case (option == "--family" || option == "--initscript") && len(rest) >= 1:
			rest = rest[1:]
		}
	}
	s.step(len(s.alternatives)/8 + len(a.Slaves))
	for _, text := range args {
		s.charge(text)
	}
	if len(s.alternatives) >= maxEffects {
		panic(tooMuch{"it registers too many alternatives"})
	}
	s.alternatives = append(slices.DeleteFunc(s.alternatives, func(b pkginfo.Alternative) bool { return a.Name == b.Name && a.Path == b.Path }), a)
	return success
}

// isName reports whether update-alternatives takes a text as a name.
func isName(name string) bool { return name != "" && !strings.ContainsAny(name, "/ \t\n") }

// ucf records which file of the package becomes configuration: ucf(1).
func ucf(s *shell, args []string) status {
	s.step(1)
	operands := operandsOf(args)
	if len(operands) != 2 || slices.Contains(args, "-p") || slices.Contains(args, "--purge") {
		return success
	}
	if !isKnown(operands...) {
		s.unsure("ucf %s", strings.Join(args, " "))
		return success
	}
	from, to := s.path(operands[0]), s.path(operands[1])
	if mode, is := s.mode(from); !is || mode.IsDir() || !strings.HasPrefix(to, "/etc/") {
		return success
	}
	if len(s.copies) >= maxEffects {
		panic(tooMuch{"it makes too many configuration files"})
	}
	s.copies[s.charge(to)] = s.charge(from)
	return success
}

func mkdir(s *shell, args []string) status {
	have, operands := options(args, "m")
	operands = operandsOf(operands)
	for i, a := range args { // --mode
		if value, ok := strings.CutPrefix(a, "--mode="); ok {
			have['m'] = value
		} else if a == "--mode" && i+1 < len(args) {
			have['m'] = args[i+1]
			operands = slices.DeleteFunc(operands, func(o string) bool { return o == args[i+1] })
		}
	}
	for _, dir := range operands {
		s.makeDirectory(dir, have['m'], "")
	}
	return success
}

// operandsOf leaves out options that stand behind operands.
func operandsOf(args []string) []string {
	return slices.DeleteFunc(slices.Clone(args), func(a string) bool { return strings.HasPrefix(a, "-") })
}

// install is install(1), of which -d makes directories.
func install(s *shell, args []string) status {
	have, operands := map[byte]string{}, args
	for { // options may stand behind operands
		more, rest := options(operands, "mogtS")
		maps.Copy(have, more)
		i := slices.IndexFunc(rest, func(a string) bool { return len(a) > 1 && a[0] == '-' })
		if i < 0 {
			operands = rest
			break
		}
		operands = slices.Concat(rest[i:], rest[:i])
	}
	if _, ok := have['d']; !ok && !slices.Contains(args, "--directory") {
		return success
	}
	owner := have['o']
	if have['g'] != "" {
		owner += ":" + have['g']
	}
	for _, a := range args {
		if value, ok := strings.CutPrefix(a, "--mode="); ok {
			have['m'] = value
		}
		if value, ok := strings.CutPrefix(a, "--owner="); ok {
			owner = value + owner
		}
		if value, ok := strings.CutPrefix(a, "--group="); ok {
			owner += ":" + value
		}
	}
	for _, dir := range operands {
		s.makeDirectory(dir, have['m'], owner)
	}
	return success
}

// makeDirectory records a directory unless the package has it, every system has it, or
// it will not last.
func (s *shell) makeDirectory(dir, mode, owner string) {
	s.step(1)
	if !isKnown(dir) {
		s.unsure("makes the directory %s", dir)
		return
	}
	if !isKnown(mode) {
		mode = ""
	}
	if !isKnown(owner) {
		owner = ""
	}
	p := s.path(dir)
	if _, is := s.mode(p); is || strings.HasPrefix(p, "/tmp/") || strings.HasPrefix(p, "/proc/") || !isKnown(p) {
		return
	}
	if len(s.directories) >= maxEffects {
		panic(tooMuch{"it makes too many directories"})
	}
	s.directories[s.charge(p)] = &pkginfo.MadeDirectory{Path: p, Mode: mode, Owner: owner}
}

// ofDirectories makes a command whose first operand is something of the directories that
// the others name, if they were made.
func ofDirectories(set func(d *pkginfo.MadeDirectory, value string)) func(*shell, []string) status {
	return func(s *shell, args []string) status {
		_, operands := options(args, "")
		operands = operandsOf(operands)
		if len(operands) == 0 || !isKnown(operands[0]) {
			return success
		}
		for _, p := range operands[1:] {
			at := s.path(p)
			d := s.directories[at]
			if d == nil && strings.HasPrefix(at, "/var/") && s.context.Files[at].IsDir() {
				d = &pkginfo.MadeDirectory{Path: at}
				s.directories[at] = d
			}
			if d != nil {
				set(d, operands[0])
			}
		}
		return success
	}
}

// withValue are the options of adduser, useradd and their like that take a value as the
// next argument.
func withValue(option string) bool {
	switch option {
	case "--home", "--shell", "--uid", "--gid", "--ingroup", "--gecos", "--comment", "--conf", "--firstuid", "--lastuid", "--firstgid", "--lastgid",
		"--home-dir", "--base-dir", "--groups", "--password", "--expiredate", "--inactive", "--root", "--prefix", "--key", "--skel",
		"-d", "-s", "-u", "-g", "-G", "-c", "-b", "-p", "-e", "-f", "-R", "-P", "-K", "-k", "-h":
		return true
	}
	return false
}

// account takes the arguments of a command that makes users or groups apart.
func (s *shell) account(args []string) (names []string, have map[string]string) {
	have = map[string]string{}
	for i := 0; i < len(args); i++ {
		a := args[i]
		name, value, ok := strings.Cut(a, "=")
		switch {
		case !strings.HasPrefix(a, "-"):
			names = append(names, a)
		case ok:
			have[name] = value
		case withValue(a) && i+1 < len(args):
			have[a] = args[i+1]
			i++
		default:
			have[a] = ""
		}
	}
	return names, have
}

// addUser records a user. Of one that is made twice, what the first says counts.
func (s *shell) addUser(a pkginfo.MadeAccount) {
	if _, is := s.users[a.Name]; is || !s.isMade("user", a.Name, len(s.users)) {
		return
	}
	for _, text := range []*string{&a.Name, &a.Group, &a.Home, &a.Shell} {
		if !isKnown(*text) {
			*text = ""
		}
		*text = s.charge(*text)
	}
	if a.Group == a.Name {
		a.Group = ""
	}
	s.users[a.Name] = a
}

func (s *shell) addGroup(name string) {
	if s.isMade("group", name, len(s.groups)) {
		s.groups[s.charge(name)] = true
	}
}

// isMade reports whether a user or group is to be recorded, of which there are count.
func (s *shell) isMade(what, name string, count int) bool {
	s.step(1)
	switch {
	case !isKnown(name):
		s.unsure("makes the %s %s", what, name)
		return false
	case name == "" || name == "root":
		return false
	case count >= maxEffects:
		panic(tooMuch{"it makes too many users"})
	}
	return true
}

// first returns the first value that an option has of those that mean the same.
func first(have map[string]string, options ...string) (value string) {
	for _, o := range options {
		value = cmp.Or(value, have[o])
	}
	return value
}

// adduser is adduser(8): adduser NAME, or adduser NAME GROUP for a member of a group.
func adduser(s *shell, args []string) status {
	names, have := s.account(args)
	if _, ok := have["--group"]; ok && len(names) == 1 {
		s.addGroup(names[0])
		if _, system := have["--system"]; !system {
			return success
		}
	}
	if len(names) == 1 {
		s.addUser(pkginfo.MadeAccount{Name: names[0], Group: have["--ingroup"], Home: have["--home"], Shell: have["--shell"]})
		_, hasGroup := have["--ingroup"]
		_, hasGID := have["--gid"]
		_, system := have["--system"]
		if !hasGroup && !hasGID && !system {
			s.addGroup(names[0])
		}
	}
	return success
}

func useradd(s *shell, args []string) status {
	names, have := s.account(args)
	if len(names) == 0 {
		return failure
	}
	name := names[len(names)-1]
	s.addUser(pkginfo.MadeAccount{
		Name: name, Group: first(have, "-g", "--gid"), Home: first(have, "-d", "--home-dir", "--home"), Shell: first(have, "-s", "--shell"),
	})
	if _, ok := have["-U"]; ok {
		s.addGroup(name)
	}
	if _, ok := have["--user-group"]; ok {
		s.addGroup(name)
	}
	return success
}

func addgroup(s *shell, args []string) status {
	if names, _ := s.account(args); len(names) == 1 {
		s.addGroup(names[0])
	}
	return success
}

func groupadd(s *shell, args []string) status {
	names, _ := s.account(args)
	if len(names) == 0 {
		return failure
	}
	s.addGroup(names[len(names)-1])
	return success
}

// sysusers is systemd-sysusers(8), of which the lines of standard input are read.
func sysusers(s *shell, args []string) status {
	for i, a := range args {
		switch {
		case a == "-":
			s.sysusersLines(*s.in)
		case a == "--inline":
			s.sysusersLines(strings.Join(args[i+1:], "\n"))
			return success
		case strings.HasPrefix(a, "-"):
		case s.context.Sysusers[path.Base(a)] == "": // those of the package are read anyway
			s.unsure("makes the users of %s", a)
		}
	}
	return success
}

// sysusersLines reads lines of sysusers.d(5).
func (s *shell) sysusersLines(text string) {
	for line := range strings.Lines(text) {
		s.step(1)
		words := sysuserWords(line)
		if len(words) < 2 {
			continue
		}
		switch words[0] {
		case "u", "u!":
			group, given := sysuserGroup(words)
			words = append(words, make([]string, 6)...)
			s.addUser(pkginfo.MadeAccount{Name: words[1], Group: group, Home: words[4], Shell: words[5]})
			if !given {
				s.addGroup(group)
			}
		case "g":
			s.addGroup(words[1])
		}
	}
}

// sysuserWords returns the fields of a line, those that are "-" as empty ones, and none of a line
// whose quotes do not end, which systemd-sysusers refuses. As sysusers.d(5) and systemd's
// extract_first_word have it, quotes of both kinds may begin anywhere in a field, and a
// backslash takes what is special from the next character, in quotes as well.
func sysuserWords(line string) (words []string) {
	var word strings.Builder
	var quote rune
	inWord, escaped := false, false
	end := func() {
		if text := word.String(); inWord && text != "-" {
			words = append(words, text)
		} else if inWord {
			words = append(words, "")
		}
		word.Reset()
		inWord = false
	}
	for _, c := range strings.TrimRight(line, "\r\n") {
		switch {
		case escaped:
			escaped = false
			word.WriteRune(c)
		case c == '\\':
			escaped, inWord = true, true
		case quote != 0 && c == quote:
			quote = 0
		case quote == 0 && (c == '"' || c == '\''):
			quote, inWord = c, true
		case quote == 0 && (c == ' ' || c == '\t' || c == '\r'):
			end()
		default:
			inWord = true
			word.WriteRune(c)
		}
	}
	if quote != 0 || escaped {
		return nil
	}
	end()
	return words
}

// sysuserGroup returns the group that a line of a user is given, and whether that is
// one that is there or has a line of its own: "u NAME UID:GROUP".
func sysuserGroup(words []string) (group string, given bool) {
	if len(words) > 2 {
		if _, group, given = strings.Cut(words[2], ":"); given {
			return group, true
		}
	}
	return words[1], false
}
