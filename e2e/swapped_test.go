package e2e

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/internal/testdeb"
)

// swappedNames are directories of the root that another process swaps for links
// while hashpkg works.
var swappedNames = []string{
	"var/sys/.hashpkg", "var/sys/.hashpkg/objects", "var/sys/.hashpkg/objects/SHARD", "var/sys/.hashpkg/manifests",
	"var/sys/.hashpkg/manifests/tool", "var/sys/.hashpkg/manifests/libsvc1", "var/sys/.hashpkg/generations",
	"var/sys/.hashpkg/generations/1", "var/sys/.hashpkg/staging", "var/sys/.hashpkg/staging/t0", "var/sys/.hashpkg/system",
	"var/sys/.hashpkg/system/edits", "var/sys/.hashpkg/system/edits/deb", "var/sys/tool", "var/sys/tool/1.0", "var/sys/libsvc1",
	"var/sys", "var", "var/lib", "var/lib/dpkg", "var/lib/dpkg/info",
	"usr", "usr/bin", "usr/lib", "usr/lib/x86_64-linux-gnu", "etc", "etc/dpkg", "etc/dpkg/dpkg.cfg.d",
}

// TestSwappedDirectories lets another process exchange directories for links to a
// directory outside, which has the same names in it, again and again while each
// command runs. Whatever the command says, what is outside stays as it is.
func TestSwappedDirectories(t *testing.T) {
	dir := t.TempDir()
	base, outside := filepath.Join(dir, "base"), filepath.Join(dir, "outside")
	builtSystem(t, base)
	shard := prepareSwaps(t, base)
	copyRoot(t, base, outside)
	before := snapshot(t, outside)
	deb := writeDeb(t, t.TempDir(), testdeb.Package{Name: "tool", Version: "3.0", Files: []testdeb.File{testdeb.Exec("usr/bin/tool", "3")}})
	commands := []string{
		"install " + deb, "sync --again", "gc --keep 1", "hooks install dpkg", "hook after", "pin svc libsvc1=1.0", "rollback",
		"restore --all", "hooks remove", "use tool=1.0", "remove tool", "verify", "verify --system", "check",
	}
	var swaps, done, failed int
	for i, name := range swappedNames {
		name = strings.ReplaceAll(name, "SHARD", shard)
		root := filepath.Join(dir, fmt.Sprint("root", i))
		copyRoot(t, base, root)
		other := strings.ReplaceAll(swappedNames[rand.IntN(len(swappedNames))], "SHARD", shard)
		s := startSwapping(t, root, outside, i%2 == 1, name, other)
		for _, command := range commands {
			args := append([]string{"--signal=KILL", "60", hashpkg(t), "--root", root}, strings.Fields(command)...)
			if command == "hook after" {
				args = []string{"--signal=KILL", "60", "env", "DPKG_ROOT=" + root, hashpkg(t), "hook", "after"}
			}
			status, stderr := run(t, exec.Command("timeout", args...))
			what := fmt.Sprintf("%s (and %s) swapped: %s", name, other, command)
			if status == -1 || status == 137 {
				t.Errorf("%s waits for ever", what)
			}
			if strings.Contains(stderr, "panic") || strings.Contains(stderr, "internal error") {
				t.Errorf("%s: %s", what, stderr)
			}
			if status == 0 {
				done++
			} else {
				failed++
			}
			if !compareSnapshots(t, what, before, snapshot(t, outside)) {
				s.stop()
				t.FailNow()
			}
		}
		swaps += s.stop()
		if err := os.RemoveAll(root); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d swaps; %d commands succeeded and %d failed", swaps, done, failed)
	if swaps < len(swappedNames) || done == 0 || failed == 0 {
		t.Error("nothing was swapped under the commands")
	}
}

// prepareSwaps makes the directories that are swapped and not there yet, puts there
// what a killed writer has left, and returns the name of a directory of objects.
func prepareSwaps(t *testing.T, root string) (shard string) {
	t.Helper()
	for _, name := range []string{"etc/dpkg/dpkg.cfg.d", "var/sys/.hashpkg/staging/t0/objects"} {
		if err := os.MkdirAll(filepath.Join(root, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	left := filepath.Join(root, "var/sys/.hashpkg/staging/t0/objects/1")
	if err := os.WriteFile(left, []byte("left by a writer that was killed"), 0o644); err != nil {
		t.Fatal(err)
	}
	shards, err := os.ReadDir(filepath.Join(root, "var/sys/.hashpkg/objects"))
	if err != nil || len(shards) == 0 {
		t.Fatalf("the store has no objects: %v", err)
	}
	return shards[0].Name()
}

// swapping exchanges names until it is stopped.
type swapping struct {
	ends chan struct{}
	done chan int
	t    *testing.T
}

// swapped is a name in a directory that is held open, so that the swapping itself
// goes through no link.
type swapped struct {
	dir         int
	base, other string // other is in the directory of links
}

// startSwapping exchanges directories of the root for links to the same names
// outside, absolute ones or relative ones, one at a time.
func startSwapping(t *testing.T, root, outside string, relative bool, names ...string) *swapping {
	t.Helper()
	const flags = unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC
	links, err := unix.Open(t.TempDir(), flags, 0)
	if err != nil {
		t.Fatal(err)
	}
	var list []swapped
	for i, name := range names {
		dir, err := unix.Open(filepath.Dir(filepath.Join(root, name)), flags, 0)
		if err != nil {
			t.Fatal(err)
		}
		target := filepath.Join(outside, name)
		if relative {
			if target, err = filepath.Rel(filepath.Dir(filepath.Join(root, name)), target); err != nil {
				t.Fatal(err)
			}
		}
		other := fmt.Sprint(i)
		if err := unix.Symlinkat(target, links, other); err != nil {
			t.Fatal(err)
		}
		list = append(list, swapped{dir, filepath.Base(name), other})
	}
	s := &swapping{make(chan struct{}), make(chan int), t}
	go s.run(links, list)
	return s
}

// run swaps at moments that are now close together, now so far apart that a command
// comes far on its way.
func (s *swapping) run(links int, list []swapped) {
	swaps := 0
	for {
		select {
		case <-s.ends:
			for _, l := range list {
				_ = unix.Close(l.dir)
			}
			_ = unix.Close(links)
			s.done <- swaps
			return
		default:
		}
		l := list[rand.IntN(len(list))]
		err := unix.Renameat2(l.dir, l.base, links, l.other, unix.RENAME_EXCHANGE)
		switch {
		case err == nil:
			swaps++
		case !errors.Is(err, fs.ErrNotExist): // a command has removed the one or the other
			s.t.Errorf("swap %s: %v", l.base, err)
		}
		time.Sleep(time.Duration(rand.ExpFloat64() * float64(rand.IntN(5)) * float64(time.Millisecond)))
	}
}

// stop ends the swapping and returns how often it was done.
func (s *swapping) stop() int {
	close(s.ends)
	return <-s.done
}
