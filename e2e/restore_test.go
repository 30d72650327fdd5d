package e2e

import (
	"strings"
	"testing"
)

// TestRecordsSurvive takes away what leads to an edited program for a while: the
// edit can still be proved and undone.
func TestRecordsSurvive(t *testing.T) {
	root, _, _ := serviceRoot(t)
	untouched := func(what string) {
		t.Helper()
		if out := root.Run("hashpkg", "verify", "--system"); !strings.Contains(out, " 0 altered") {
			t.Errorf("%s: %s", what, out)
		}
		root.Run("hashpkg", "restore", "--all")
		if out, err := root.RunErr(t.Context(), "dpkg", "--verify", "svc"); err != nil || out != "" {
			t.Errorf("%s: after restore --all, dpkg --verify says %v %s", what, err, out)
		}
		root.Run("hashpkg", "sync", "--again")
	}
	for _, away := range []struct{ name, do, undo string }{
		{"without its list", "mv $D/info/svc.list /root; touch $D/status", "mv /root/svc.list $D/info; touch $D/status"},
		{
			"half-installed", "sed -i '/^Package: svc$/,/^$/s/^Status: .*/Status: install reinstreq half-installed/' $D/status",
			"sed -i '/^Package: svc$/,/^$/s/^Status: .*/Status: install ok installed/' $D/status",
		},
		{"diverted", "dpkg-divert --local --rename --divert /usr/bin/svc.real --add /usr/bin/svc", ""},
	} {
		root.Run("sh", "-ec", "D=/var/lib/dpkg; "+away.do+"; hashpkg sync; "+away.undo)
		root.Run("hashpkg", "sync")
		untouched(away.name)
	}
	// Restoring does not wait for who writes to a pipe.
	root.Run("sh", "-ec", "rm /usr/bin/svc-too; mkfifo /usr/bin/svc-too")
	if out, err := root.RunErr(t.Context(), "timeout", "20", "hashpkg", "restore", "svc"); !strings.Contains(out, "is not a regular file any more") {
		t.Errorf("restore with a pipe in a program's place: %v %s", err, out)
	}
}
