package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashpkg/hashpkg/internal/testroot"
)

// TestLauncherProfile has AppArmor's own parser, one that knows the rule userns, read the
// profile of launchers, with a prefix of one's own as well.
func TestLauncherProfile(t *testing.T) {
	t.Parallel()
	root := testroot.Debian(t, "trixie", "", "apparmor")
	text, err := os.ReadFile("../packaging/apparmor/hashpkg-launchers")
	if err != nil {
		t.Fatal(err)
	}
	const profile = "/etc/apparmor.d/hashpkg-launchers"
	root.WriteFile(profile, string(text), 0o644)
	parse := func(args ...string) string {
		t.Helper()
		return root.Run(append([]string{"apparmor_parser", "--config-file=/dev/null", "--skip-kernel-load", "--skip-cache"}, append(args, profile)...)...)
	}
	parse("--policy-features=/etc/apparmor.d/abi/4.0")
	if got := parse("--names"); !strings.HasSuffix(got, "\nhashpkg-launchers\n") && got != "hashpkg-launchers\n" {
		t.Errorf("its profiles are %q", got)
	}
	if err := os.MkdirAll(filepath.Join(root.Dir, "etc/apparmor.d/tunables/hashpkg.d"), 0o755); err != nil {
		t.Fatal(err)
	}
	root.WriteFile("/etc/apparmor.d/tunables/hashpkg.d/local", "@{hashpkg_prefix} += /opt/sys\n", 0o644)
	if got := parse("--dump=variables"); !strings.Contains(got, "/opt/sys") || !strings.Contains(got, "/var/sys") {
		t.Errorf("with another prefix it is %s", got)
	}
}
