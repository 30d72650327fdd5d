package sysroot

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

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
	pid, end := mounted(t, `mount --bind "$1" "$2"`, prefix+"/"+seen, prefix+"/"+layout.HostDir+"/view")
	used := func(at func(string) string) {
		t.Helper()
		pids, err := root.InUse([]string{seen, other}, at)
		if err != nil || len(pids) != 1 || pids[seen] != pid {
			t.Errorf("in use are %v, error %v; want %s by %d", pids, err, seen, pid)
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
	end()
}

// mounted starts a process in a mount namespace of its own, where a script has mounted something,
// and returns its number and what ends it.
func mounted(t *testing.T, script string, args ...string) (pid int, end func()) {
	t.Helper()
	cmd := exec.Command("unshare", append([]string{"--mount", "sh", "-ec", script + "; cd /; echo; exec cat", "sh"}, args...)...)
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
	end = sync.OnceFunc(func() {
		if err := errors.Join(in.Close(), cmd.Wait()); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(end)
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	return cmd.Process.Pid, end
}

// TestJoinedViewsInUse has a process see several views as one: they are in use. Whose mounts are more
// than anybody reads sees all; who has seen it once is not asked again.
func TestJoinedViewsInUse(t *testing.T) {
	testneed.Root(t)
	testneed.Programs(t, "unshare", "mount")
	dir := t.TempDir()
	prefix := dir + layout.DefaultPrefix
	a, b, other := layout.TreePath(layout.ViewName, "a"), layout.TreePath(layout.ViewName, "b"), layout.TreePath(layout.ViewName, "other")
	for _, d := range []string{a + "/usr/bin", b + "/usr/bin", other + "/usr/bin", "prog/1/bin", layout.HostDir + "/view"} {
		if err := os.MkdirAll(prefix+"/"+d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	root, err := Open(dir, layout.DefaultPrefix, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	place := prefix + "/" + layout.HostDir + "/view"
	pid, end := mounted(t, `mount -t overlay hashpkg -o "lowerdir=$1:$2" "$3"`, prefix+"/"+a, prefix+"/"+b, place)
	pids, err := root.InUse([]string{a, b, other, "prog/1"}, itself)
	if diff := cmp.Diff(map[string]int{a: pid, b: pid}, pids); err != nil || diff != "" {
		t.Errorf("error %v (-want +have)\n%s", err, diff)
	}

	var st unix.Stat_t
	if err := unix.Stat(fmt.Sprintf("/proc/%d/root%s", pid, place), &st); err != nil {
		t.Fatal(err)
	}
	u := &users{
		dirs: []string{a, b, other, "prog/1"}, known: map[string]int{a: 0, b: 1, other: 2, "prog/1": 3},
		pids: map[string]int{}, joined: map[overlay]bool{},
	}
	err = u.seesJoined(pid, st.Dev, 100)
	if diff := cmp.Diff(map[string]int{a: pid, b: pid, other: pid}, u.pids); err != nil || diff != "" {
		t.Errorf("with many mounts: error %v (-want +have)\n%s", err, diff)
	}
	clear(u.pids)
	if err := u.seesJoined(pid, st.Dev, maxMountinfo); err != nil || len(u.pids) > 0 {
		t.Errorf("it is asked again: %v, error %v", u.pids, err)
	}
	clear(u.joined)
	end()
	if err := u.seesJoined(pid, st.Dev, maxMountinfo); !unseen(err) || len(u.pids) > 0 {
		t.Errorf("when it has ended, it sees %v, error %v", u.pids, err)
	}
}
