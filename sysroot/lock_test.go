package sysroot

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hashpkg/hashpkg/internal/testneed"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/record"
)

// locked takes the lock of a root.
func locked(t *testing.T, r *Root) *Lock {
	t.Helper()
	l, err := r.Lock(t.Context(), LockOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// names returns what there is below a directory; none where it is missing.
func names(t *testing.T, dir string) []string {
	t.Helper()
	var list []string
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err == nil && path != dir {
			list = append(list, strings.TrimPrefix(path, dir+"/"))
		}
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return list
}

var storeNames = []string{
	"var", "var/sys", "var/sys/.hashpkg", "var/sys/.hashpkg/format", "var/sys/.hashpkg/generations", "var/sys/.hashpkg/lock",
	"var/sys/.hashpkg/manifests", "var/sys/.hashpkg/objects", "var/sys/.hashpkg/staging",
}

// TestLockLeavesNoTrace takes and gives back the lock of roots without a store.
func TestLockLeavesNoTrace(t *testing.T) {
	for _, tt := range []struct {
		name    string
		before  []string // made before
		between string   // made while the lock is held
		after   []string
	}{
		{name: "no root", after: nil},
		{name: "no prefix", before: []string{"etc"}, after: []string{"etc"}},
		{name: "with /var", before: []string{"var/lib"}, after: []string{"var", "var/lib"}},
		{name: "with the prefix", before: []string{"var/sys"}, after: []string{"var", "var/sys"}},
		{name: "something comes", between: "var/log", after: []string{"var", "var/log"}},
		{name: "something comes into the store", between: "var/sys/jq", after: []string{"var", "var/sys", "var/sys/jq"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "root")
			for _, name := range tt.before {
				put(t, filepath.Join(dir, name), "/")
			}
			r := openRoot(t, dir)
			l := locked(t, r)
			if have := strings.Join(names(t, dir), "\n"); !strings.Contains(have, strings.Join(storeNames[2:], "\n")) {
				t.Errorf("while it is locked there are\n%s", have)
			}
			if ok, err := r.Exists(); !ok || err != nil {
				t.Errorf("there is a store: %v, %v", ok, err)
			}
			if tt.between != "" {
				put(t, filepath.Join(dir, tt.between), "/")
			}
			if err := l.Unlock(); err != nil {
				t.Error(err)
			}
			if diff := cmp.Diff(tt.after, names(t, dir)); diff != "" {
				t.Errorf("afterwards (-want +got):\n%s", diff)
			}
			if _, err := os.Lstat(dir); (err == nil) != (len(tt.after) > 0) {
				t.Errorf("the root itself: %v", err)
			}
			if err := l.Unlock(); err != nil { // a second time
				t.Error(err)
			}
		})
	}
}

// TestLockKeepsWhatIsUsed has a generation made under the lock.
func TestLockKeepsWhatIsUsed(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "root")
	r := openRoot(t, dir)
	l := locked(t, r)
	commit(t, r, &record.Generation{Layout: layout.FormatVersion, ID: 1}, &record.Generation{})
	want := append(slices.Clone(storeNames[:5]), "var/sys/.hashpkg/generations/1", "var/sys/.hashpkg/generations/1/generation.json", "var/sys/.hashpkg/generations/1/index")
	want = append(append(want, storeNames[5:]...), "var/sys/current-system")
	for range 2 {
		if err := l.Unlock(); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, names(t, dir)); diff != "" {
			t.Errorf("after the lock (-want +got):\n%s", diff)
		}
		l = locked(t, r)
	}
	if err := l.Unlock(); err != nil {
		t.Error(err)
	}
}

func TestLockIsHeld(t *testing.T) {
	dir := t.TempDir()
	first, second := openRoot(t, dir), openRoot(t, dir)
	l := locked(t, first)
	_, err := second.Lock(t.Context(), LockOptions{})
	if want := fmt.Sprintf("the lock of %s/var/sys is held by process %d", dir, os.Getpid()); !errors.Is(err, ErrLocked) || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("the error is %v, want %s", err, want)
	}
	if diff := cmp.Diff(storeNames, names(t, dir)); diff != "" {
		t.Errorf("who is locked out has changed something (-want +got):\n%s", diff)
	}
	start := time.Now()
	if _, err := second.Lock(t.Context(), LockOptions{Wait: 100 * time.Millisecond}); !errors.Is(err, ErrLocked) || time.Since(start) < 100*time.Millisecond {
		t.Errorf("after %s: %v", time.Since(start), err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	if _, err := second.Lock(ctx, LockOptions{Wait: time.Minute}); !errors.Is(err, context.Canceled) {
		t.Errorf("called off: %v", err)
	}
	unlocked, held := make(chan error), l
	time.AfterFunc(50*time.Millisecond, func() { unlocked <- held.Unlock() })
	l, err = second.Lock(t.Context(), LockOptions{Wait: time.Minute})
	if err := errors.Join(err, <-unlocked); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(storeNames, names(t, dir)); diff != "" {
		t.Errorf("who waited has no whole store (-want +got):\n%s", diff)
	}
	if err := l.Unlock(); err != nil {
		t.Error(err)
	}
	if have := names(t, dir); len(have) > 0 {
		t.Errorf("afterwards there are %v", have)
	}
}

// TestLockExcludes has many take the lock of a root that has no store, each of whom
// removes the prefix again while the others try.
func TestLockExcludes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "root")
	var inside atomic.Int32
	var all sync.WaitGroup
	for range 8 {
		r := openRoot(t, dir)
		all.Go(func() {
			for range 20 {
				l, err := r.Lock(t.Context(), LockOptions{Wait: time.Minute})
				if err != nil {
					t.Error(err)
					return
				}
				if n := inside.Add(1); n != 1 {
					t.Errorf("%d have the lock", n)
				}
				if ok, err := r.Exists(); !ok || err != nil {
					t.Errorf("there is a store: %v, %v", ok, err)
				}
				inside.Add(-1)
				if err := l.Unlock(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	// Nobody removes what another one has made, who gave up since.
	left := slices.DeleteFunc(names(t, dir), func(name string) bool { return slices.Contains(storeNames, name) && name != storeNames[3] })
	if len(left) > 0 {
		t.Errorf("afterwards there are %v", left)
	}
}

// TestLockAfterRemoval has the prefix removed, or made anew, since the root was
// opened.
func TestLockAfterRemoval(t *testing.T) {
	dir := t.TempDir()
	prefix := filepath.Join(dir, "var/sys")
	for _, again := range []bool{false, true} {
		put(t, prefix, "/")
		r := openRoot(t, dir)
		if err := os.RemoveAll(prefix); err != nil {
			t.Fatal(err)
		}
		if again {
			put(t, prefix, "/")
		}
		l := locked(t, r)
		if diff := cmp.Diff(storeNames, names(t, dir)); diff != "" {
			t.Errorf("made anew: %v (-want +got):\n%s", again, diff)
		}
		if err := l.Unlock(); err != nil {
			t.Error(err)
		}
	}
}

// TestTakenAwayMeanwhile takes away what a lock that is being taken has found.
func TestTakenAwayMeanwhile(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "root")
	put(t, filepath.Join(dir, "var/sys/.hashpkg/lock"), "")
	r := openRoot(t, dir)
	l := &Lock{root: r}
	f, err := r.Open("/var/sys/.hashpkg/lock")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if current, err := l.isCurrent(f); err != nil || !current {
		t.Error("the lock's file is taken for another one")
	}
	put(t, filepath.Join(dir, "other"), "")
	if err := os.Rename(filepath.Join(dir, "other"), filepath.Join(dir, "var/sys/.hashpkg/lock")); err != nil {
		t.Fatal(err)
	}
	if current, err := l.isCurrent(f); err != nil || current {
		t.Error("a file without a name is taken for the lock's")
	}
	for _, gone := range []string{"var/sys/.hashpkg", "var", "."} {
		if err := os.RemoveAll(filepath.Join(dir, gone)); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(l.makeDir("var/sys/.hashpkg/objects"), l.takeFile()); err != nil || l.file != nil || len(l.made) > 0 {
			t.Errorf("without %s: %v, made are %v", gone, err, l.made)
		}
	}
	l = locked(t, r)
	if diff := cmp.Diff(storeNames, names(t, dir)); diff != "" {
		t.Errorf("the lock of a root that was removed (-want +got):\n%s", diff)
	}
	if err := l.Unlock(); err != nil {
		t.Error(err)
	}
}

func TestLockIsRefused(t *testing.T) {
	for _, tt := range []struct{ name, path, what, err string }{
		{"a file for the prefix", "var/sys", "x", "not a directory"},
		{"a file for hashpkg's directory", "var/sys/.hashpkg", "x", "not a directory"},
		{"a link for hashpkg's directory", "var/sys/.hashpkg", "-> /elsewhere", ".hashpkg"},
		{"a link for the objects", "var/sys/.hashpkg/objects", "-> /elsewhere", ".hashpkg/objects is not a directory of its own: look at what it is, and move it away"},
		{"a link for the lock", "var/sys/.hashpkg/lock", "-> /elsewhere/lock", "take the lock: "},
		{"another layout", "var/sys/.hashpkg/format", "99\n", `says layout "99", and this hashpkg knows layout 1 only`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			put(t, filepath.Join(dir, "elsewhere"), "/")
			put(t, filepath.Join(dir, tt.path), tt.what)
			before := names(t, dir)
			r, err := Open(dir, layout.DefaultPrefix, nil)
			if err == nil {
				defer r.Close()
				_, err = r.Lock(t.Context(), LockOptions{})
			}
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("the error is %v, want %s", err, tt.err)
			}
			if diff := cmp.Diff(before, names(t, dir)); diff != "" {
				t.Errorf("it leaves (-before +after):\n%s", diff)
			}
		})
	}
}

// TestLockOfAForeignStore has parts of the store belong to somebody else.
func TestLockOfAForeignStore(t *testing.T) {
	testneed.Root(t)
	for _, name := range []string{"var/sys", "var/sys/.hashpkg", "var/sys/.hashpkg/staging"} {
		dir := t.TempDir()
		put(t, filepath.Join(dir, name), "/")
		if err := os.Chown(filepath.Join(dir, name), 4711, 4711); err != nil {
			t.Fatal(err)
		}
		before := names(t, dir)
		_, err := openRoot(t, dir).Lock(t.Context(), LockOptions{})
		if err == nil || !strings.Contains(err.Error(), "a store that belongs to somebody else is not written to") {
			t.Errorf("%s: the error is %v", name, err)
		}
		if diff := cmp.Diff(before, names(t, dir)); diff != "" {
			t.Errorf("%s: it leaves (-before +after):\n%s", name, diff)
		}
	}
}

func TestPermissionHint(t *testing.T) {
	err := Hint(fmt.Errorf("make it: %w", fs.ErrPermission))
	if want := "run hashpkg as root, or give --prefix with a directory of your own, such as ~/.local/sys " +
		"(prefix = \"/home/YOU/.local/sys\" in ~/.config/hashpkg.toml does that for good): make it: permission denied"; err.Error() != want || !errors.Is(err, fs.ErrPermission) {
		t.Errorf("the error is %v", err)
	}
	if err := Hint(ErrLocked); err != ErrLocked { //nolint:errorlint // that very error
		t.Errorf("the error is %v", err)
	}
}
