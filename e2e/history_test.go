package e2e

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/hashpkg/hashpkg/internal/testdeb"
	"github.com/hashpkg/hashpkg/internal/testneed"
	"github.com/hashpkg/hashpkg/internal/testroot"
)

// historyEntry is one generation as hashpkg history says it.
type historyEntry struct {
	ID, Parent    int
	Active        bool
	Command, User string
	Restored      int
	Undone        int
	Changes       []struct {
		Name, Origin, Before, After string
		Added, Removed, Programs    []string
	}
}

func (e *historyEntry) names() []string {
	var names []string
	for _, c := range e.Changes {
		names = append(names, c.Name)
	}
	return names
}

// historyOf returns the history of a root, the newest generation first.
func historyOf(t *testing.T, root *testroot.Root, args ...string) []historyEntry {
	t.Helper()
	var said struct{ Generations []historyEntry }
	if err := json.Unmarshal([]byte(root.Run(append([]string{"hashpkg", "--json", "history"}, args...)...)), &said); err != nil {
		t.Fatal(err)
	}
	return said.Generations
}

// TestHistoryFollowsApt has apt and dpkg install, upgrade and remove packages between
// changes of hashpkg's own: each run is one generation that knows its command, and what
// hashpkg has done is taken back over what they did.
func TestHistoryFollowsApt(t *testing.T) {
	t.Parallel()
	testneed.Programs(t, "gcc")
	root := newSystem(t)
	root.Run("hashpkg", "hooks", "install")
	root.Run("hashpkg", "sync")
	if first := historyOf(t, root); len(first) != 1 || first[0].Command != "hashpkg sync" || first[0].User == "" {
		t.Fatalf("after the first sync the history is %+v", first)
	}
	repo := root.Repo()
	first, second := service(t, "1.0"), service(t, "2.0")

	// Packages of which each must be configured before the next is unpacked: dpkg runs for each.
	repo.Add(append(first, chain(t, "libone", "1", ""), chain(t, "libtwo", "1", "libone (= 1)"))...)
	root.Run("env", "SUDO_UID=4000000001", "apt-get", "-y", "-q", "-o", "Test::Proxy=http://alice:s3cret@proxy.example/", "install", "libtwo", "svc")
	all := historyOf(t, root)
	if len(all) != 2 || all[0].Command != "apt-get -y -q -o Test::Proxy=http://***@proxy.example/ install libtwo svc" || all[0].Parent != all[1].ID {
		t.Fatalf("after apt has run once the history is %+v", all)
	}
	if !slices.Equal(all[0].names(), []string{"libone", "libsvc1", "libtwo"}) || all[0].Changes[0].Origin != "system" || all[0].Changes[2].After != "1" {
		t.Errorf("the run of apt is said to have changed %+v", all[0].Changes)
	}
	if login := root.Run("cat", "/proc/self/loginuid"); login == "4294967295" && all[0].User != "4000000001" {
		t.Errorf("who called sudo is said to be %q", all[0].User)
	}
	if out := root.Run("sh", "-c", "grep -rl s3cret /var/sys || echo nowhere"); out != "nowhere\n" {
		t.Errorf("the password of an address is in %s", out)
	}

	// A change of hashpkg's own, and an upgrade after it.
	tool := writeDeb(t, t.TempDir(), testdeb.Package{Name: "tool", Version: "1", Arch: "all", Files: []testdeb.File{{Path: "usr/bin/tool", Mode: 0o755, Content: "#!/bin/sh\n"}}})
	root.Install(tool, "/root/tool.deb")
	if out := root.Run("hashpkg", "install", "/root/tool.deb"); !strings.Contains(out, "generation 4 is active; undo: hashpkg undo\n") {
		t.Errorf("install says %s", out)
	}
	own := historyOf(t, root)[0]
	repo.Add(second...)
	root.Run("apt-get", "-y", "-q", "install", "libsvc1")
	all = historyOf(t, root)
	if len(all) != 4 || all[0].Command != "apt-get -y -q install libsvc1" || all[1].Command != "hashpkg install /root/tool.deb" ||
		len(all[0].Changes) != 1 || all[0].Changes[0].Before != "1.0" || all[0].Changes[0].After != "2.0" {
		t.Errorf("after the upgrade the history is %+v", all)
	}
	if out := root.Run("hashpkg", "history", "show"); !strings.Contains(out, "packages of the system:\n  libsvc1 1.0 -> 2.0\n      loaded by /usr/bin/svc") {
		t.Errorf("history show says %s", out)
	}
	if only := historyOf(t, root, "--package", "libone"); len(only) != 1 || only[0].Changes[0].After != "1" {
		t.Errorf("the history of libone is %+v", only)
	}

	// What apt has done is not undone; what hashpkg has done before that is.
	if out, err := root.RunErr(t.Context(), "hashpkg", "undo"); err == nil || !strings.Contains(out, "which their package manager takes back; hashpkg undo 4 undoes the last change of hashpkg's own") {
		t.Errorf("undo of apt's run says %v: %s", err, out)
	}
	if out := root.Run("hashpkg", "rollback", "--dry-run"); !strings.Contains(out, "- tool 1\n") || !strings.Contains(out, "generation 5 stays active") {
		t.Errorf("rollback --dry-run says %s", out)
	}
	out := root.Run("hashpkg", "rollback")
	for _, want := range []string{
		"- tool 1\n", "generation 6 is active; undo: hashpkg undo\n",
		"note: 1 package of the system stays as the package manager has it now: libsvc1 1.0 -> 2.0; hashpkg pin has programs load an older library, such as libsvc1=1.0\n",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("rollback does not say %q: %s", want, out)
		}
	}
	if out, err := root.RunErr(t.Context(), "hashpkg", "rollback"); err == nil || !strings.Contains(out, "no generation before 6 has other packages of hashpkg's own") {
		t.Errorf("a second rollback says %v: %s", err, out)
	}
	if last := historyOf(t, root)[0]; last.Restored != own.Parent || last.Command != "hashpkg rollback" {
		t.Errorf("the rollback is %+v", last)
	}
	root.Run("hashpkg", "undo")
	root.Run("test", "-e", "/var/sys/current-system/bin/tool")

	// dpkg alone.
	root.Run("dpkg", "-r", "libtwo")
	all = historyOf(t, root)
	if all[0].Command != "dpkg -r libtwo" || len(all[0].Changes) != 1 || all[0].Changes[0].Removed[0] != "1" || all[1].Undone != 6 {
		t.Errorf("after dpkg -r the history is %+v", all)
	}
	root.Run("hashpkg", "undo", "4")
	root.Run("test", "!", "-e", "/var/sys/current-system/bin/tool")
	inForce(t, root, "after all")

	// A dry run of a pin says what the pin does, and does nothing.
	dry := root.Run("hashpkg", "pin", "--dry-run", "/usr/bin/svc", "libsvc1=1.0")
	if !strings.Contains(dry, "/usr/bin/svc would be pinned libsvc1=1.0\n1 program would be changed\n") || !strings.Contains(root.Run("hashpkg", "pins"), "nothing is pinned") {
		t.Errorf("pin --dry-run says %s", dry)
	}
	if out := root.Run("svc"); out != "2.0\n" {
		t.Errorf("after pin --dry-run svc says %s", out)
	}
	root.Run("hashpkg", "pin", "/usr/bin/svc", "libsvc1=1.0")
	if out := root.Run("hashpkg", "unpin", "--dry-run", "/usr/bin/svc"); !strings.Contains(out, "would be no longer pinned") {
		t.Errorf("unpin --dry-run says %s", out)
	}
	if out := root.Run("svc"); out != "1.0\n" {
		t.Errorf("after unpin --dry-run svc says %s", out)
	}
	if out := root.Run("hashpkg", "rollback", "3"); !strings.Contains(out, "note: 1 pin stays: hashpkg pins lists what is pinned and frozen\n") {
		t.Errorf("with a pin rollback says %s", out)
	}
	root.Run("hashpkg", "check")
}
