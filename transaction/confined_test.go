package transaction

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/sysroot"
)

func confinedIn(t *testing.T, files map[string]string, program string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	root, err := sysroot.Open(dir, layout.DefaultPrefix, nil)
	if err != nil {
		t.Fatal(err)
	}
	return (&programEditor{root: root}).confined(program)
}

func TestAppArmor(t *testing.T) {
	const base = "#include <tunables/global>\n"
	for _, tc := range []struct {
		name, profile, program string
		abstraction, confined  bool
	}{
		{"no profile is attached", base + "/usr/bin/other {\n  #include <abstractions/base>\n}\n", "/usr/bin/man", false, false},
		{"by path", base + "/usr/bin/man {\n  #include <abstractions/base>\n}\n", "/usr/bin/man", false, true},
		{"by path, and the abstraction is there", base + "/usr/bin/man {\n  include <abstractions/base>\n}\n", "/usr/bin/man", true, false},
		{"without the base", base + "/usr/bin/man {\n  /usr/lib/** mr,\n}\n", "/usr/bin/man", true, true},
		{"named", "profile cupsd /usr/sbin/cupsd flags=(attach_disconnected) {\n}\n", "/usr/sbin/cupsd", true, true},
		{"alternatives", "/usr/{,local/}{bin,sbin}/tool {\n}\n", "/usr/local/sbin/tool", true, true},
		{"wildcard", "profile snap \"/usr/lib/snapd/*\" {\n}\n", "/usr/lib/snapd/snap-confine", true, true},
		{"variable", "profile x @{bin}/tool flags=(enforce) {\n}\n", "/usr/bin/tool", true, true},
		{"complains only", "/usr/bin/man flags=(complain) {\n}\n", "/usr/bin/man", true, false},
		{"has a rule of its own", "/usr/bin/man {\n  /var/sys/** mr,\n}\n", "/usr/bin/man", false, false},
		{"the rule is a comment", "/usr/bin/man {\n  # /var/sys/** mr,\n}\n", "/usr/bin/man", false, true},
	} {
		files := map[string]string{"etc/apparmor.d/profile": tc.profile}
		if tc.abstraction {
			files["etc/apparmor.d/abstractions/base.d/hashpkg"] = "/var/sys/** mr,\n"
		}
		if reason := confinedIn(t, files, tc.program); (reason != "") != tc.confined {
			t.Errorf("%s: %q", tc.name, reason)
		}
	}
	if reason := confinedIn(t, nil, "/usr/bin/man"); reason != "" {
		t.Errorf("without AppArmor: %q", reason)
	}
}

func TestSELinux(t *testing.T) {
	const config, rules = "etc/selinux/config", "etc/selinux/targeted/contexts/files/file_contexts."
	for _, tc := range []struct {
		name     string
		files    map[string]string
		confined bool
	}{
		{"enforcing", map[string]string{config: "SELINUX=enforcing\nSELINUXTYPE=targeted\n"}, true},
		{"permissive", map[string]string{config: "SELINUX=permissive\nSELINUXTYPE=targeted\n"}, false},
		{"equivalence", map[string]string{config: "SELINUX=enforcing\nSELINUXTYPE=targeted\n", rules + "subs": "/var/sys /usr/lib\n"}, false},
		{"another's equivalence", map[string]string{config: "SELINUX=enforcing\nSELINUXTYPE=targeted\n", rules + "subs_dist": "/var/lib /usr/lib\n"}, true},
		{"a rule", map[string]string{config: "SELINUX=enforcing\nSELINUXTYPE=targeted\n", rules + "local": "/var/sys(/.*)?  system_u:object_r:lib_t:s0\n"}, false},
	} {
		reason := confinedIn(t, tc.files, "/usr/bin/man")
		if (reason != "") != tc.confined || reason != "" && !strings.Contains(reason, "hooks install selinux") {
			t.Errorf("%s: %q", tc.name, reason)
		}
	}
}
