package e2e

import (
	"crypto/md5"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hashpkg/hashpkg/internal/testdeb"
	"github.com/hashpkg/hashpkg/internal/testelf"
	"github.com/hashpkg/hashpkg/internal/testneed"
)

// plainSystem makes, in place of what there is, a root whose dpkg database has a loader,
// a version of a library, and a package of programs that need it. They run nowhere.
func plainSystem(t *testing.T, dir, version string, programs int) {
	t.Helper()
	const loader = "/lib64/ld-linux-x86-64.so.2"
	write := func(name string, b []byte, mode os.FileMode) {
		t.Helper()
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.RemoveAll(file); err != nil { // not into what a tree has, too
			t.Fatal(err)
		}
		if err := os.WriteFile(file, b, mode); err != nil {
			t.Fatal(err)
		}
	}
	packages := map[string]map[string][]byte{
		"libc6": {libs[1:] + "ld-linux-x86-64.so.2": testelf.File{Soname: "ld-linux-x86-64.so.2"}.Bytes()},
		"liba1": {libs[1:] + "liba.so.1": testelf.File{Soname: "liba.so.1", RunPath: "/build/of/" + version}.Bytes()},
		"tools": {},
	}
	for i := range programs {
		packages["tools"][fmt.Sprintf("usr/bin/tool%d", i)] = testelf.File{Interpreter: loader, Needed: []string{"liba.so.1"}, RunPath: fmt.Sprintf("/tool/%d", i)}.Bytes()
	}
	status := ""
	for _, name := range []string{"libc6", "liba1", "tools"} {
		list, sums := "/.\n", ""
		for path, b := range packages[name] {
			list += "/" + path + "\n"
			sums += fmt.Sprintf("%x  %s\n", md5.Sum(b), path)
			write(path, b, 0o755)
		}
		write("var/lib/dpkg/info/"+name+".list", []byte(list), 0o644)
		write("var/lib/dpkg/info/"+name+".md5sums", []byte(sums), 0o644)
		status += "Package: " + name + "\nStatus: install ok installed\nMaintainer: x <x@example.org>\nArchitecture: amd64\nVersion: " + version + "\nDescription: x\n\n"
	}
	write("var/lib/dpkg/status", []byte(status), 0o644)
	if err := os.Symlink("usr/lib/x86_64-linux-gnu", filepath.Join(dir, "lib64")); err != nil && !os.IsExist(err) {
		t.Fatal(err)
	}
}

// TestInterrupted sends signals to commands at each of the calls that change something.
// Each ends with the status for the signal; it says that nothing was changed where
// that is so, and else what ends it, which does.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	const strace = "strace"
	testneed.Root(t)
	testneed.Programs(t, strace)
	dir := t.TempDir()
	base, synced, pinned := filepath.Join(dir, "base"), filepath.Join(dir, "synced"), filepath.Join(dir, "pinned")
	plainSystem(t, base, "1", 20)
	copyRoot(t, base, synced)
	mustRun(t, hashpkg(t), "--root", synced, "sync", "-q")
	plainSystem(t, synced, "2", 0)
	plainSystem(t, synced, "2", 20)
	mustRun(t, hashpkg(t), "--root", synced, "sync", "-q")
	copyRoot(t, synced, pinned)
	mustRun(t, hashpkg(t), "--root", pinned, "pin", "-q", "--all", "liba1=1")
	frozen := filepath.Join(dir, "frozen")
	copyRoot(t, pinned, frozen)
	mustRun(t, hashpkg(t), "--root", frozen, "freeze", "-q", "tools")
	mustRun(t, hashpkg(t), "--root", frozen, "unpin", "-q", "--all")
	_, garbage, _, _ := withGarbage(t)

	for _, test := range []struct {
		base    string
		command []string
	}{
		{base, []string{"sync"}},
		{synced, []string{"pin", "tools", "liba1=1"}},
		{pinned, []string{"unpin", "--all"}},
		{synced, []string{"freeze", "tools"}},
		{frozen, []string{"freeze", "--refresh"}},
		{synced, []string{"restore", "--all"}},
		{garbage, []string{"gc", "--keep", "1", "--keep-versions", "0"}},
	} {
		t.Run(test.command[0], func(t *testing.T) {
			before := comparable(dump(t, test.base))
			done := filepath.Join(t.TempDir(), "done")
			copyRoot(t, test.base, done)
			mustRun(t, hashpkg(t), append([]string{"--root", done, "-q"}, test.command...)...)
			after := comparable(dump(t, done))
			unchanged, halfway := 0, 0
			for _, call := range []string{"renameat2", "renameat", "fsync", "syncfs", "unlinkat", "openat2"} {
				signals := []syscall.Signal{syscall.SIGINT, syscall.SIGTERM}
				for n, survived := 1, 0; survived < 2 && n < 30; n++ {
					if call == "openat2" {
						n += 2 // there are many
					}
					signal := signals[n%2]
					name := map[syscall.Signal]string{syscall.SIGINT: "INT", syscall.SIGTERM: "TERM"}[signal]
					root := filepath.Join(t.TempDir(), "stopped")
					copyRoot(t, test.base, root)
					status, stderr := run(t, injected(strace, call, fmt.Sprintf("signal=%s:when=%d", name, n), append([]string{hashpkg(t), "--root", root, "-q"}, test.command...)...))
					what := fmt.Sprintf("%s at %s %d", name, call, n)
					have := dump(t, root)
					again, finish := strings.CutPrefix(strings.TrimSpace(stderr), "hashpkg: interrupted; run hashpkg ")
					switch {
					case status == 0 && comparable(have) == after:
						survived++
					case status == -1: // strace counts for each thread: a second signal ended it
						mustRun(t, hashpkg(t), "--root", root, "-q", "gc", "--keep", "9")
						mustRun(t, hashpkg(t), "--root", root, "-q", "verify")
					case status == 128+int(signal) && stderr == "hashpkg: interrupted; nothing was changed\n":
						unchanged++
						if have := comparable(have); have != before {
							t.Errorf("%s: the root has changed (-before +have):\n%s", what, cmp.Diff(before, have))
						}
					case status == 128+int(signal) && finish:
						halfway++
						command := test.command
						if again == "sync to finish" {
							command = []string{"sync"}
						} else if again != test.command[0]+" again to finish" {
							t.Errorf("%s: %s", what, stderr)
						}
						mustRun(t, hashpkg(t), append([]string{"--root", root, "-q"}, command...)...)
						if have := comparable(dump(t, root)); have != after {
							t.Errorf("%s: %s does not finish it (-want +have):\n%s", what, command[0], cmp.Diff(after, have))
						}
					default:
						t.Errorf("%s: status %d: %s (-want +have)\n%s", what, status, stderr, cmp.Diff(after, comparable(have)))
						survived++
					}
					if err := os.RemoveAll(root); err != nil {
						t.Fatal(err)
					}
				}
			}
			t.Logf("%d times nothing was changed, %d times something was", unchanged, halfway)
			if unchanged+halfway < 3 {
				t.Errorf("it was stopped %d times only", unchanged+halfway)
			}
		})
	}
}

// comparable leaves out of what dump says what follows from the way of a change: what
// the last sync, and the last collection, remember.
func comparable(dump string) string {
	var kept []string
	for line := range strings.Lines(dump) {
		if !strings.Contains(line, "/system/state.json") && !strings.Contains(line, "/left.json") && !strings.Contains(line, ".hashpkg-") {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "")
}

// TestInstallInterrupted stops a large install, later and later, with one signal, and
// with a second one that ends it at once.
func TestInstallInterrupted(t *testing.T) {
	t.Parallel()
	dir, _, _, base := twoVersions(t)
	big := testdeb.Package{Name: "big", Version: "1"}
	for i := range 1000 {
		big.Files = append(big.Files, testdeb.File{Path: fmt.Sprintf("usr/share/big/%d", i), Content: strings.Repeat(fmt.Sprint(i), 1000)})
	}
	deb := writeDeb(t, dir, big)
	before := dump(t, base)
	after := ""
	stopped := map[int]int{}
	signals := []syscall.Signal{syscall.SIGINT, syscall.SIGTERM}
	for n := 0; after == "" && n < 60; n++ {
		root := filepath.Join(dir, "stopped")
		copyRoot(t, base, root)
		var stderr strings.Builder
		cmd := exec.Command(hashpkg(t), "--root", root, "install", "-q", deb)
		cmd.Stderr = &stderr
		cmd.Env = append(os.Environ(), "SOURCE_DATE_EPOCH=1700000000")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(10+n*n) * time.Millisecond)
		signal, twice := signals[n%2], n%5 == 4
		_ = cmd.Process.Signal(signal) // it may have ended
		if twice {
			time.Sleep(time.Millisecond)
			_ = cmd.Process.Signal(signal)
		}
		_ = cmd.Wait()
		status := cmd.ProcessState.ExitCode()
		have := dump(t, root)
		switch {
		case status == 0:
			after = have
		case status == -1: // by the signal: before the first was heeded, or by the second
			mustRun(t, hashpkg(t), "--root", root, "-q", "gc")
			mustRun(t, hashpkg(t), "--root", root, "-q", "verify")
		case status == 128+int(signal) && stderr.String() == "hashpkg: interrupted; nothing was changed\n":
			if have != before {
				t.Errorf("stopped after %d: the root has changed (-before +have):\n%s", n, cmp.Diff(before, have))
			}
		default:
			t.Errorf("stopped after %d: status %d: %s", n, status, stderr.String())
		}
		stopped[status]++
		if err := os.RemoveAll(root); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("statuses: %v", stopped)
	if stopped[130]+stopped[143] < 2 {
		t.Errorf("it was not stopped: %v", stopped)
	}
}
