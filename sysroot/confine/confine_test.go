package confine_test

import (
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/hashpkg/hashpkg/sysroot/confine"
)

// files are a root that is in memory.
type files map[string]string

func (f files) fs() fstest.MapFS {
	m := fstest.MapFS{}
	for name, text := range f {
		m[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return m
}

func (f files) ReadFile(name string, _ int64) ([]byte, error) {
	return f.fs().ReadFile(strings.TrimPrefix(name, "/"))
}

func (f files) ReadDir(name string) ([]fs.DirEntry, error) {
	return f.fs().ReadDir(strings.TrimPrefix(name, "/"))
}

func (f files) HasFile(name string) bool {
	_, err := f.fs().Stat(strings.TrimPrefix(name, "/"))
	return err == nil
}

func TestAppArmor(t *testing.T) {
	const base = "#include <tunables/global>\n"
	for _, tt := range []struct {
		name, profile, program string
		abstraction, denied    bool
	}{
		{"no profile is attached", base + "/usr/bin/other {\n  #include <abstractions/base>\n}\n", "/usr/bin/man", false, false},
		{"by path", base + "/usr/bin/man {\n  #include <abstractions/base>\n}\n", "/usr/bin/man", false, true},
		{"by path, and the abstraction is there", base + "/usr/bin/man {\n  include <abstractions/base>\n}\n", "/usr/bin/man", true, false},
		{"only if the abstraction exists", base + "/usr/bin/man {\n  include if exists <abstractions/base>\n}\n", "/usr/bin/man", true, false},
		{"without the base", base + "/usr/bin/man {\n  /usr/lib/** mr,\n}\n", "/usr/bin/man", true, true},
		{"named", "profile cupsd /usr/sbin/cupsd flags=(attach_disconnected) {\n}\n", "/usr/sbin/cupsd", true, true},
		{"alternatives", "/usr/{,local/}{bin,sbin}/tool {\n}\n", "/usr/local/sbin/tool", true, true},
		{"wildcard", "profile snap \"/usr/lib/snapd/*\" {\n}\n", "/usr/lib/snapd/snap-confine", true, true},
		{"variable", "profile x @{bin}/tool flags=(enforce) {\n}\n", "/usr/bin/tool", true, true},
		{"complains only", "/usr/bin/man flags=(complain) {\n}\n", "/usr/bin/man", true, false},
		{"has a rule of its own", "/usr/bin/man {\n  /var/sys/** mr,\n}\n", "/usr/bin/man", false, false},
		{"the rule is a comment", "/usr/bin/man {\n  # /var/sys/** mr,\n}\n", "/usr/bin/man", false, true},
		{"an alternative without an end", "/usr/{bin,sbin/man {\n}\n", "/usr/bin/man", false, false},
	} {
		root := files{"etc/apparmor.d/profile": tt.profile, "etc/apparmor.d/tunables/global": ""}
		if tt.abstraction {
			root[confine.Abstraction[1:]] = "/var/sys/** mr,\n"
		}
		if reason := confine.Read(root, "/var/sys").Denies(tt.program); (reason != "") != tt.denied {
			t.Errorf("%s: %q", tt.name, reason)
		}
	}
	if reason := confine.Read(files{}, "/var/sys").Denies("/usr/bin/man"); reason != "" {
		t.Errorf("without AppArmor: %q", reason)
	}
}

func TestAbstractionText(t *testing.T) {
	text, err := confine.AbstractionText([]string{"/var/sys", "/srv/sys"})
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"/var/sys/.hashpkg/objects/** mr,\n", "/srv/sys/.hashpkg/objects/** mr,\n"} {
		if !strings.Contains(string(text), line) {
			t.Errorf("%q is not in\n%s", line, text)
		}
	}
	if _, err := confine.AbstractionText([]string{"/var/{sys,x}"}); err == nil {
		t.Error("a prefix with alternatives is taken")
	}
	// A profile that has the text of the abstraction in it may read the prefix.
	if p := confine.ParseProfiles("p", text, "/srv/sys"); !p.ReadsPrefix {
		t.Error("the text does not let a program read the prefix")
	}
}

func TestSELinux(t *testing.T) {
	const config, rules = "etc/selinux/config", "etc/selinux/targeted/contexts/files/file_contexts."
	const enforcing = "# policy\nSELINUX=enforcing\nSELINUXTYPE=targeted\n"
	for _, tt := range []struct {
		name   string
		files  files
		denied bool
	}{
		{"enforcing", files{config: enforcing}, true},
		{"with spaces", files{config: " SELINUX = enforcing \nSELINUXTYPE = targeted\n"}, true},
		{"permissive", files{config: "SELINUX=permissive\nSELINUXTYPE=targeted\n"}, false},
		{"a comment", files{config: "#SELINUX=enforcing\n"}, false},
		{"equivalence", files{config: enforcing, rules + "subs": "/var/sys /usr/lib\n"}, false},
		{"another's equivalence", files{config: enforcing, rules + "subs_dist": "/var/lib /usr/lib\n"}, true},
		{"a rule", files{config: enforcing, rules + "local": "/var/sys(/.*)?  system_u:object_r:lib_t:s0\n"}, false},
		{"of another policy", files{config: "SELINUX=enforcing\nSELINUXTYPE=mls\n", rules + "subs": "/var/sys /usr/lib\n"}, true},
	} {
		reason := confine.Read(tt.files, "/var/sys").Denies("/usr/bin/man")
		if (reason != "") != tt.denied || reason != "" && !strings.Contains(reason, "hooks install selinux") {
			t.Errorf("%s: %q", tt.name, reason)
		}
	}
	if s := confine.ParseSELinux([]byte("SELINUXTYPE=../../tmp\n")); s.Type != "" {
		t.Errorf("the policy is %q", s.Type)
	}
}

func TestEquivalence(t *testing.T) {
	for _, tt := range []struct{ before, after string }{
		{"", "/var/sys /usr/lib\n"},
		{"/srv/www /var/www\n", "/srv/www /var/www\n/var/sys /usr/lib\n"},
		{"/srv/www /var/www", "/srv/www /var/www\n/var/sys /usr/lib\n"},
	} {
		after := confine.AddEquivalence([]byte(tt.before), "/var/sys")
		if diff := cmp.Diff(tt.after, string(after)); diff != "" {
			t.Errorf("%q (-want +have)\n%s", tt.before, diff)
		}
		if own, other := confine.Equivalence(after, "/var/sys"); !own || other {
			t.Errorf("%q: own %t, other %t", tt.before, own, other)
		}
		removed := string(confine.RemoveEquivalence(after, "/var/sys"))
		if strings.TrimSuffix(removed, "\n") != strings.TrimSuffix(tt.before, "\n") {
			t.Errorf("%q is %q when the rule is removed", tt.before, removed)
		}
	}
	if own, other := confine.Equivalence([]byte("/var/sys /opt\n"), "/var/sys"); own || !other {
		t.Errorf("a rule for another path: own %t, other %t", own, other)
	}
}
