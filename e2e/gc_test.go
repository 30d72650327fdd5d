package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hashpkg/hashpkg/internal/testdeb"
	"github.com/hashpkg/hashpkg/internal/testneed"
	"github.com/hashpkg/hashpkg/layout"
)

// withGarbage returns a root in which gc --keep 1 removes a version of tool that
// shares files with the one that stays, and other, of which nothing stays; and the
// packages.
func withGarbage(t *testing.T) (dir, root, first, other string) {
	t.Helper()
	dir, first, second, root := twoVersions(t)
	other = writeDeb(t, dir, testdeb.Package{Name: "other", Version: "1", Files: []testdeb.File{
		{Path: "usr/share/other/data", Content: "data"},
		{Path: "usr/share/other/more", Content: strings.Repeat("more", 5000)},
	}})
	for _, args := range [][]string{
		{"install", second, other}, {"remove", "tool=1.0"}, {"remove", "other"}, {"use", "tool=2.0"}, {"use", "--highest", "tool"},
	} {
		mustRun(t, hashpkg(t), append([]string{"--root", root, "-q"}, args...)...)
	}
	return dir, root, first, other
}

// TestCollectionAmongInstalls collects while packages come and go: nothing that was
// installed is lost.
func TestCollectionAmongInstalls(t *testing.T) {
	dir, _, _, root := twoVersions(t)
	bin := hashpkg(t)
	command := func(args ...string) { // until it gets the lock
		for {
			out, err := exec.Command(bin, append([]string{"--root", root, "-q"}, args...)...).CombinedOutput()
			var exit *exec.ExitError
			if errors.As(err, &exit) && exit.ExitCode() == 4 {
				continue
			}
			if err != nil {
				t.Errorf("%q: %v: %s", args, err, out)
			}
			return
		}
	}
	const n = 4
	var installs, collections sync.WaitGroup
	done := make(chan struct{})
	for i := range n {
		name := fmt.Sprintf("p%d", i)
		deb := writeDeb(t, dir, testdeb.Package{Name: name, Version: "1", Files: []testdeb.File{
			{Path: "usr/share/p", Content: fmt.Sprint(i)}, {Path: "usr/share/same", Content: "data"},
		}})
		installs.Go(func() {
			for range 5 {
				command("install", deb)
				command("remove", name)
			}
			command("install", deb)
		})
	}
	collections.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
				command("gc", "--keep", "1", "--keep-versions", "0")
			}
		}
	})
	installs.Wait()
	close(done)
	collections.Wait()
	out, err := exec.Command(bin, "--root", root, "list").Output()
	if err != nil || strings.Count(string(out), "\n") != n+1 {
		t.Errorf("%v: %s", err, out)
	}
	mustRun(t, bin, "--root", root, "verify", "-q")
}

// TestCollectionLooksAgain starts a program after gc has looked at what is running,
// and before it has taken the program's tree away.
func TestCollectionLooksAgain(t *testing.T) {
	const strace = "strace"
	testneed.Programs(t, strace)
	dir, root, _, _ := withGarbage(t)
	source := filepath.Join(dir, "sleeper.go")
	const waits = "package main\nimport \"time\"\nfunc main() { time.Sleep(time.Hour) }\n"
	if err := os.WriteFile(source, []byte(waits), 0o644); err != nil {
		t.Fatal(err)
	}
	build := exec.Command("go", "build", "-o", dir+"/sleeper", source)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	content, err := os.ReadFile(dir + "/sleeper")
	if err != nil {
		t.Fatal(err)
	}
	deb := writeDeb(t, dir, testdeb.Package{Name: "sleeper", Version: "1", Files: []testdeb.File{testdeb.Exec("usr/bin/sleeper", string(content))}})
	for _, args := range [][]string{{"install", deb}, {"remove", "sleeper"}, {"use", "tool=2.0"}, {"use", "--highest", "tool"}} {
		mustRun(t, hashpkg(t), append([]string{"--root", root, "-q"}, args...)...)
	}

	var stdout bytes.Buffer
	gc := injected(strace, "renameat", "delay_enter=3s:when=1", hashpkg(t), "--root", root, "--json", "gc", "--keep", "1", "--keep-versions", "0")
	gc.Stdout = &stdout
	if err := gc.Start(); err != nil {
		t.Fatal(err)
	}
	for range 1000 { // it makes this directory when it has looked
		if found, err := filepath.Glob(filepath.Join(root, "var/sys", layout.StagingDir, "*/gone")); err != nil || len(found) > 0 {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	sleeper := exec.Command(filepath.Join(root, "var/sys/sleeper/1/bin/sleeper"))
	if err := sleeper.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sleeper.Process.Kill() })
	if err := gc.Wait(); err != nil {
		t.Error(err)
	}
	want := fmt.Sprintf(`"in_use":[{"name":"sleeper","version":"1","tree":"1","pid":%d}]`, sleeper.Process.Pid)
	if !strings.Contains(stdout.String(), want) || !strings.Contains(stdout.String(), `"name":"other"`) {
		t.Errorf("gc says %s", stdout.String())
	}
	for _, name := range []string{"sleeper/1/bin/sleeper", "sleeper/default", layout.ManifestPath("sleeper", "1")} {
		if _, err := os.Lstat(filepath.Join(root, "var/sys", name)); err != nil {
			t.Error(err)
		}
	}
	if err := sleeper.Process.Kill(); err != nil {
		t.Error(err)
	}
	_ = sleeper.Wait()
	mustRun(t, hashpkg(t), "--root", root, "install", "-q", deb)
	mustRun(t, hashpkg(t), "--root", root, "verify", "-q")
}

// TestCollectedBytes compares what gc says that it frees with what becomes free.
func TestCollectedBytes(t *testing.T) {
	_, root, _, _ := withGarbage(t)
	// A file of the distribution that is a file of the store as well.
	place := filepath.Join(root, "usr/share/more")
	if err := os.MkdirAll(filepath.Dir(place), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(filepath.Join(root, "var/sys/other/1/usr/share/other/more"), place); err != nil {
		t.Fatal(err)
	}
	collect := func(args ...string) (said struct{ Bytes int64 }) {
		t.Helper()
		out, err := exec.Command(hashpkg(t), append([]string{"--root", root, "--json", "gc", "--keep", "1", "--keep-versions", "0"}, args...)...).Output()
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(out, &said); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return said
	}
	before := blocks(t, root)
	would := collect("--dry-run").Bytes
	did := collect().Bytes
	if freed := before - blocks(t, root); would != freed || did != freed || freed == 0 {
		t.Errorf("would free %d bytes, said that it freed %d, freed %d", would, did, freed)
	}
	if _, err := os.Stat(place); err != nil {
		t.Error(err)
	}
}

// blocks returns how many bytes of the disk the files below a directory take.
func blocks(t *testing.T, dir string) int64 {
	t.Helper()
	seen := map[uint64]bool{}
	total := int64(0)
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		var st syscall.Stat_t
		if err := syscall.Lstat(p, &st); err != nil {
			return err
		}
		if !seen[st.Ino] {
			seen[st.Ino] = true
			total += st.Blocks * 512
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return total
}
