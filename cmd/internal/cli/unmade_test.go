package cli

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hashpkg/hashpkg/pkginfo"
)

// TestAccountCommands: commands that are copied work in the order in which they stand, and put
// nobody into a group that the root has.
func TestAccountCommands(t *testing.T) {
	const rest = " --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin "
	of := func(name, group string) pkginfo.MadeAccount { return pkginfo.MadeAccount{Name: name, Group: group} }
	for name, test := range map[string]struct {
		users, groups      string // that scripts make
		accounts           []pkginfo.MadeAccount
		hasUsers, hasGroup string // of the root
		toldUsers, told    string // those of earlier commands
		want               []string
	}{
		"a user alone":           {users: "a", want: []string{"useradd --system --user-group" + rest + "a"}},
		"a user of its group":    {users: "a", groups: "a", want: []string{"useradd --system --user-group" + rest + "a"}},
		"all is there":           {users: "a", groups: "a", hasUsers: "a", hasGroup: "a"},
		"a group alone":          {groups: "a b", hasGroup: "b", want: []string{"groupadd --system a"}},
		"the group is not there": {users: "a", groups: "a", hasUsers: "a", want: []string{"groupadd --system a"}},
		"groupadd -f sudo": {
			users: "evil", groups: "sudo", accounts: []pkginfo.MadeAccount{of("evil", "sudo")}, hasGroup: "sudo",
			want: []string{"- user evil would join group sudo, which is there already: decide yourself"},
		},
		"named as a group": {
			users: "a docker", hasGroup: "docker",
			want: []string{"- user docker would join group docker, which is there already: decide yourself", "useradd --system --user-group" + rest + "a"},
		},
		"its group is of another": {
			users: "amavis clamav", accounts: []pkginfo.MadeAccount{of("amavis", "clamav")},
			want: []string{"groupadd --system clamav", "useradd --system --gid clamav" + rest + "amavis", "useradd --system --gid clamav" + rest + "clamav"},
		},
		"its group is of another who is there": {
			users: "amavis clamav", hasUsers: "clamav", accounts: []pkginfo.MadeAccount{of("amavis", "clamav")},
			want: []string{"- user amavis would join group clamav, which no command makes: decide yourself"},
		},
		"two groups": {
			users: "foo", groups: "bar foo", accounts: []pkginfo.MadeAccount{of("foo", "bar")},
			want: []string{"groupadd --system bar", "groupadd --system foo", "useradd --system --gid bar" + rest + "foo"},
		},
		"a group that scripts do not make": {
			users: "a", accounts: []pkginfo.MadeAccount{of("a", "nogroup")},
			want: []string{"- user a would join group nogroup, which no command makes: decide yourself"},
		},
		"a group that scripts do not make, and is there": {
			users: "a", accounts: []pkginfo.MadeAccount{of("a", "mail")}, hasGroup: "mail",
			want: []string{"- user a would join group mail, which is there already: decide yourself"},
		},
		"names of other forms": {
			users: "a;b c", groups: "-f", accounts: []pkginfo.MadeAccount{of("c", "-f")},
			want: []string{
				"- no command is given for group -f, whose name has more than a-z, 0-9, _ and -",
				"- no command is given for user a;b, whose name has more than a-z, 0-9, _ and -",
				"- user c would join group -f, which no command makes: decide yourself",
			},
		},
		"names for a terminal": {
			users: "a \x1b]0;b", accounts: []pkginfo.MadeAccount{of("a", "x\nnote: y")},
			want: []string{
				`- user a would join group x\x0anote: y, which no command makes: decide yourself`,
				`- no command is given for user \x1b]0;b, whose name has more than a-z, 0-9, _ and -`,
			},
		},
		"paths of other forms": {
			users: "a b c d", accounts: []pkginfo.MadeAccount{
				{Name: "a", Home: "/var/../root", Shell: "/bin/sh -c"}, {Name: "b", Home: "/x;reboot", Shell: "bin/sh"}, {Name: "c", Home: "/var//c", Shell: "/bin/.."}, {Name: "d", Home: "/var/d/", Shell: "/bin/sh"},
			},
			want: []string{
				"useradd --system --user-group" + rest + "a", "useradd --system --user-group" + rest + "b", "useradd --system --user-group" + rest + "c",
				"useradd --system --user-group --no-create-home --home-dir /var/d --shell /bin/sh d",
			},
		},
		"earlier commands": {
			users: "a b c", groups: "b x", toldUsers: "c", told: "b c x", accounts: []pkginfo.MadeAccount{of("a", "x")},
			want: []string{"useradd --system --gid x" + rest + "a", "useradd --system --gid b" + rest + "b"},
		},
		"a group of earlier commands alone": {
			users: "a", told: "x", accounts: []pkginfo.MadeAccount{of("a", "x")},
			want: []string{"- user a would join group x, which no command makes: decide yourself"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			set := func(users, groups string) accounts {
				s := newAccounts()
				for _, u := range strings.Fields(users) {
					s.users[u] = true
				}
				for _, g := range strings.Fields(groups) {
					s.groups[g] = true
				}
				return s
			}
			made := pkginfo.Made{Users: strings.Fields(test.users), Groups: strings.Fields(test.groups), Accounts: test.accounts}
			commands, left, _ := accountCommands(made, set(test.hasUsers, test.hasGroup), set(test.toldUsers, test.told))
			var got []string
			for _, why := range left {
				got = append(got, "- "+why)
			}
			if diff := cmp.Diff(test.want, append(got, commands...)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// TestAccountHelp: what earlier commands make is not made again, and too many are not named.
func TestAccountHelp(t *testing.T) {
	has, told := newAccounts(), newAccounts()
	has.groups["adm"] = true
	made := pkginfo.Made{Users: []string{"a", "b"}, Groups: []string{"a", "x"}, Accounts: []pkginfo.MadeAccount{{Name: "a", Group: "x"}, {Name: "b", Group: "adm"}}}
	want := "; user b would join group adm, which is there already: decide yourself; groupadd --system a && groupadd --system x && " +
		"useradd --system --gid x --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin a makes the other accounts"
	if diff := cmp.Diff(want, accountHelp(made, has, told)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	made.Users = []string{"a"}
	if got := accountHelp(made, has, told); got != "" {
		t.Errorf("run again: %s", got)
	}
	many := pkginfo.Made{Groups: []string{"g1", "g2", "g3", "g4", "g5", "g6", "g7"}}
	if got := accountHelp(many, has, told); got != "" || told.groups["g1"] {
		t.Errorf("seven groups: %s, %v", got, told.groups)
	}
}

// TestAgain: a command that is named acts on the same root.
func TestAgain(t *testing.T) {
	for _, test := range []struct{ root, prefix, want string }{
		{"/", "", "hashpkg"},
		{"./image", "", "hashpkg --root ./image"},
		{"it's; here", "/var/own", `hashpkg --root 'it'\''s; here' --prefix /var/own`},
	} {
		a := &app{globals: globals{root: test.root, prefix: test.prefix}}
		if got := a.again(); got != test.want {
			t.Errorf("%q, %q: %s, want %s", test.root, test.prefix, got, test.want)
		}
	}
}
