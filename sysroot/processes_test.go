package sysroot

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/internal/beneath"
	"github.com/hashpkg/hashpkg/internal/testneed"
)

// sleeper puts a program that waits at path, as a hard link if there is one to
// link to.
func sleeper(t *testing.T, path, link string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if link != "" {
		if err := os.Link(link, path); err != nil {
			t.Fatal(err)
		}
		return
	}
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Skip(err)
	}
	b, err := os.ReadFile(sleep)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o755); err != nil {
		t.Fatal(err)
	}
}

// start runs a command until the test ends, and returns its number when it runs
// program.
func start(t *testing.T, program string, args ...string) int {
	t.Helper()
	cmd := exec.Command(args[0], args[1:]...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	want, err := os.Stat(program)
	if err != nil {
		t.Fatal(err)
	}
	for range 500 {
		exe, err := os.Stat(filepath.Join("/proc", strconv.Itoa(cmd.Process.Pid), "exe"))
		if err == nil && os.SameFile(exe, want) {
			return cmd.Process.Pid
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("%q does not run", args)
	return 0
}

// opened opens a directory until the test ends.
func opened(t *testing.T, path string) *beneath.Dir {
	t.Helper()
	dir, err := beneath.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := dir.Close(); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// itself is where a tree is that nobody has moved.
func itself(tree string) string { return tree }

func TestInUse(t *testing.T) {
	path := t.TempDir()
	dir := opened(t, path)
	check := func(what string, dir *beneath.Dir, want map[string]int, names ...string) {
		t.Helper()
		have, err := inUse(dir, names, itself, &places{outside: []string{dir.Name()}})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, have); diff != "" {
			t.Errorf("%s (-want +have)\n%s", what, diff)
		}
	}
	a := filepath.Join(path, "a")
	sleeper(t, a+"/usr/bin/sleep", "")
	sleeper(t, filepath.Join(path, "b/usr/bin/sleep"), a+"/usr/bin/sleep")
	sleeper(t, filepath.Join(path, "c/usr/bin/sleep"), "")
	check("nothing runs", dir, map[string]int{}, "a", "b", "c", "missing")

	pid := start(t, a+"/usr/bin/sleep", a+"/usr/bin/sleep", "1000")
	check("one name of two", dir, map[string]int{"a": pid}, "a", "b", "c")
	check("only its other name is asked for", dir, map[string]int{}, "b", "c")
	link := filepath.Join(path, "link")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	check("by another path", opened(t, link), map[string]int{"a": pid}, "a", "b")

	moved := filepath.Join(path, "moved")
	if err := os.Rename(a, moved); err != nil {
		t.Fatal(err)
	}
	check("moved while it runs", dir, map[string]int{"moved": pid}, "moved", "b", "c")
	if err := os.RemoveAll(moved); err != nil {
		t.Fatal(err)
	}
	check("its name is gone: whoever has the file", dir, map[string]int{"b": pid}, "b", "c")
}

// TestInUseElsewhere has a process in a mount namespace in which the file has a
// name that this one does not know.
func TestInUseElsewhere(t *testing.T) {
	testneed.Root(t)
	dir := t.TempDir()
	a, b, mnt := filepath.Join(dir, "a"), filepath.Join(dir, "b"), filepath.Join(dir, "mnt")
	sleeper(t, a+"/usr/bin/sleep", "")
	sleeper(t, b+"/usr/bin/sleep", a+"/usr/bin/sleep")
	if err := os.Mkdir(mnt, 0o755); err != nil {
		t.Fatal(err)
	}
	pid := start(t, a+"/usr/bin/sleep", "unshare", "-m", "sh", "-c", `mount --bind "$0/usr" "$1" && exec "$1/bin/sleep" 1000`, a, mnt)
	maps, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "maps"))
	if err != nil || !bytes.Contains(maps, []byte(mnt+"/bin/sleep")) {
		t.Fatalf("the process has not the name of its namespace: %v\n%s", err, maps)
	}
	have, err := inUse(opened(t, dir), []string{"a", "b"}, itself, &places{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]int{"a": pid, "b": pid}, have); diff != "" {
		t.Errorf("(-want +have)\n%s", diff)
	}
}

// TestInUseSilent has a process with a file of a file system that nobody serves.
func TestInUseSilent(t *testing.T) {
	testneed.Root(t)
	fuse, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil {
		testneed.Unmet(t, err)
	}
	defer fuse.Close() // which ends what waits for it
	dir := t.TempDir()
	a, mnt := filepath.Join(dir, "a"), filepath.Join(dir, "mnt")
	sleeper(t, a+"/usr/bin/sleep", "")
	if err := os.Mkdir(mnt, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("silent", mnt, "fuse", 0, fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0", fuse.Fd())); err != nil {
		t.Fatal(err)
	}
	silent, err := os.OpenFile(mnt, unix.O_PATH, 0)
	if err := errors.Join(err, unix.Unmount(mnt, unix.MNT_DETACH)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sleep", "1000")
	cmd.ExtraFiles = []*os.File{silent}
	if err := errors.Join(cmd.Start(), silent.Close()); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = errors.Join(cmd.Process.Kill(), cmd.Wait()) }() // it was killed
	defer func(was time.Duration) { lookTime = was }(lookTime)
	lookTime = time.Second
	_, err = inUse(opened(t, dir), []string{"a"}, itself, &places{})
	if want := fmt.Sprintf("process %d (\"sleep\")", cmd.Process.Pid); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("it says %v", err)
	}
}

// TestInUseByInterpreters has processes that use trees and execute nothing of them.
func TestInUseByInterpreters(t *testing.T) {
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Skip(err)
	}
	path := t.TempDir()
	script := filepath.Join(path, "a/1/bin/script")
	for _, name := range []string{script, filepath.Join(path, "c/1/bin/other")} {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte("exec sleep 1000 # "+name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	twin := filepath.Join(path, "b/1/bin/script") // the same file in another tree
	if err := os.MkdirAll(filepath.Dir(twin), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(script, twin); err != nil {
		t.Fatal(err)
	}
	current := filepath.Join(path, "current")
	if err := os.Symlink("a/1/bin", current); err != nil {
		t.Fatal(err)
	}
	moved := filepath.Join(path, "moved")
	for _, c := range []struct {
		what string
		args []string
		want string
	}{
		{"an argument", []string{"sh", "-c", "exec sleep 1000; :", script}, ""},
		{"a script", []string{"sh", "-c", "sleep 1000; :", script}, "a/1"},
		{"its other name", []string{"sh", "-c", "sleep 1000; :", twin}, "b/1"},
		{"a part of an argument", []string{"sh", "-c", "sleep 1000; :", "--file=/nowhere:" + script}, "a/1"},
		{"through a link", []string{"sh", "-c", "sleep 1000; :", current + "/script"}, "a/1"},
		{"from its directory", []string{"sh", "-c", "cd " + path + "/b && exec sh -c 'cd / && sleep 1000; :' 1/bin/script"}, ""},
		{"below its directory", []string{"sh", "-c", "cd " + path + "/b && exec sh -c 'sleep 1000; :' 1/bin/script"}, "b/1"},
		{"a directory that it is in", []string{"sh", "-c", "cd " + path + "/c/1/bin && exec sleep 1000"}, "c/1"},
		{"a file that it has open", []string{"sh", "-c", "exec sleep 1000 <" + twin}, "b/1"},
		{"a path of a tree that is there no more", []string{"sh", "-c", "sleep 1000; :", path + "/d/1/bin/script"}, "d/1"},
	} {
		t.Run(c.what, func(t *testing.T) {
			cmd := exec.Command(c.args[0], c.args[1:]...)
			cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
				_ = cmd.Wait()
			})
			waitForSleep(t, cmd.Process.Pid, sleep)
			dir := opened(t, path)
			at := func(tree string) string { // d was taken away
				if tree == "d/1" {
					return "moved"
				}
				return tree
			}
			if err := os.MkdirAll(moved, 0o755); err != nil {
				t.Fatal(err)
			}
			have, err := inUse(dir, []string{"a/1", "b/1", "c/1", "d/1"}, at, &places{outside: []string{path}})
			if err != nil {
				t.Fatal(err)
			}
			for tree := range have {
				if tree != c.want {
					t.Errorf("%s is in use", tree)
				}
			}
			if c.want != "" && have[c.want] == 0 {
				t.Errorf("%s is not in use: %v", c.want, have)
			}
		})
	}
}

// waitForSleep waits until a process, or one of its children, executes sleep.
func waitForSleep(t *testing.T, pid int, sleep string) {
	t.Helper()
	want, err := os.Stat(sleep)
	if err != nil {
		t.Fatal(err)
	}
	for range 500 {
		children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", pid))
		for _, p := range append(strings.Fields(string(children)), strconv.Itoa(pid)) {
			if exe, err := os.Stat("/proc/" + p + "/exe"); err == nil && os.SameFile(exe, want) {
				return
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("nothing sleeps")
}
