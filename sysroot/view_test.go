package sysroot

import (
	"bufio"
	"os"
	"os/exec"
	"testing"

	"github.com/hashpkg/hashpkg/internal/testneed"
	"github.com/hashpkg/hashpkg/layout"
)

// TestViewInUse has a process see a view, as a launcher makes it: the view is in use, also
// when it is elsewhere by now.
func TestViewInUse(t *testing.T) {
	testneed.Root(t)
	testneed.Programs(t, "unshare", "mount")
	dir := t.TempDir()
	prefix := dir + layout.DefaultPrefix
	seen, other := layout.TreePath(layout.ViewName, "seen"), layout.TreePath(layout.ViewName, "other")
	for _, d := range []string{seen + "/usr/bin", other + "/usr/bin", layout.HostDir + "/view", layout.StagingDir} {
		if err := os.MkdirAll(prefix+"/"+d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	root, err := Open(dir, layout.DefaultPrefix, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	cmd := exec.Command("unshare", "--mount", "sh", "-ec", `mount --bind "$1" "$2"; cd /; echo; exec cat`, "sh", prefix+"/"+seen, prefix+"/"+layout.HostDir+"/view")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	used := func(at func(string) string) {
		t.Helper()
		pids, err := root.InUse([]string{seen, other}, at)
		if err != nil || len(pids) != 1 || pids[seen] != cmd.Process.Pid {
			t.Errorf("in use are %v, error %v; want %s by %d", pids, err, seen, cmd.Process.Pid)
		}
	}
	used(func(tree string) string { return tree })
	moved := layout.StagingDir + "/gone"
	if err := os.Rename(prefix+"/"+seen, prefix+"/"+moved); err != nil {
		t.Fatal(err)
	}
	used(func(tree string) string {
		if tree == seen {
			return moved
		}
		return tree
	})
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
}
