package e2e

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/hashpkg/hashpkg/internal/testdeb"
	"github.com/hashpkg/hashpkg/internal/testroot"
)

// TestAccountCommands runs the commands that install names for users and groups, as they stand,
// with the useradd and groupadd of a root: all succeed, in order, and give nobody a group that the
// root had.
func TestAccountCommands(t *testing.T) {
	root := testroot.Debian(t, "bookworm", "")
	root.Install(hashpkg(t), "/usr/bin/hashpkg")
	before := root.ReadFile("/etc/group")
	scripts := map[string]string{
		"amavis": "useradd -r -d /var/lib/clamav clamav\nuseradd -r -g clamav -d /var/lib/amavis/ amavis\n",
		"evil":   "groupadd -f sudo\nuseradd -r -g sudo evil\nuseradd -r shadow\n",
		"foo":    "groupadd bar\ngroupadd foo\nuseradd -r -g bar -s /bin/sh foo\n",
		"late":   "groupadd bar\nuseradd -r -g bar -d /var/../root late\nadduser --system --ingroup mail letters\nuseradd -r solo\n",
	}
	dir := t.TempDir()
	install := func(version string) string {
		command := []string{"hashpkg", "install"}
		for _, name := range []string{"amavis", "evil", "foo", "late"} {
			deb := writeDeb(t, dir, testdeb.Package{
				Name: name, Version: version, Scripts: map[string]string{"postinst": "#!/bin/sh\n" + scripts[name]},
				Files: []testdeb.File{{Path: "usr/share/" + name, Content: "x\n"}},
			})
			root.Install(deb, "/tmp/"+filepath.Base(deb))
			command = append(command, "/tmp/"+filepath.Base(deb))
		}
		return root.Run(command...)
	}
	said := install("1")
	for _, want := range []string{
		"; user evil would join group sudo, which is there already: decide yourself; user shadow would join group shadow, which is there already: decide yourself\n",
		"; user letters would join group mail, which is there already: decide yourself; useradd ",
	} {
		if !strings.Contains(said, want) {
			t.Errorf("%s\nwithout %s", said, want)
		}
	}
	commands := regexp.MustCompile(`; ((?:groupadd|useradd) .*) makes the (?:other )?accounts`).FindAllStringSubmatch(said, -1)
	if len(commands) != 3 {
		t.Fatalf("commands for %d packages, want 3:\n%s", len(commands), said)
	}
	for _, c := range commands {
		root.Run("sh", "-c", c[1])
	}
	for _, test := range []struct{ user, group, home, shell string }{
		{"clamav", "clamav", "/var/lib/clamav", "/usr/sbin/nologin"},
		{"amavis", "clamav", "/var/lib/amavis", "/usr/sbin/nologin"},
		{"foo", "bar", "/nonexistent", "/bin/sh"},
		{"late", "bar", "/nonexistent", "/usr/sbin/nologin"},
		{"solo", "solo", "/nonexistent", "/usr/sbin/nologin"},
	} {
		if got := strings.TrimSpace(root.Run("id", "-Gn", test.user)); got != test.group {
			t.Errorf("%s is in %s, want %s", test.user, got, test.group)
		}
		if got := strings.TrimSpace(root.Run("getent", "passwd", test.user)); !strings.HasSuffix(got, ":"+test.home+":"+test.shell) {
			t.Errorf("%s, want home %s and shell %s", got, test.home, test.shell)
		}
	}
	if after := root.ReadFile("/etc/group"); !strings.HasPrefix(after, before) || !strings.Contains(after[len(before):], "\nfoo:") {
		t.Errorf("groups were\n%s\nand are\n%s", before, after)
	}
	if said := install("2"); strings.Contains(said, " makes the ") || !strings.Contains(said, "; user evil would join") {
		t.Errorf("named again:\n%s", said)
	}
}
