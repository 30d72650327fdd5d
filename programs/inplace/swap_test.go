package inplace

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/elfedit"
	"github.com/hashpkg/hashpkg/internal/beneath"
)

// put does what dpkg does with a file that it unpacks: a second name for the old
// one, a new file beside it, renamed over it, and the second name removed.
func put(t *testing.T, path, content string) {
	t.Helper()
	err := os.Link(path, path+".dpkg-tmp")
	for errors.Is(err, os.ErrNotExist) { // the file that was found lost its last name before it got another
		err = os.Link(path, path+".dpkg-tmp")
	}
	if err := errors.Join(
		err,
		os.WriteFile(path+".dpkg-new", []byte(content), 0o755),
		os.Rename(path+".dpkg-new", path),
		os.Remove(path+".dpkg-tmp"),
	); err != nil {
		t.Error(err)
	}
}

// TestCommitBesideDpkg commits edits of a file in a loop while it is replaced in
// another. When both are at rest it is the last version, edited or not.
func TestCommitBesideDpkg(t *testing.T) {
	path := newTestFile(t)
	version := func(n int) string { return fmt.Sprintf("-%09d", n) }
	edit := elfedit.Edit{OldSize: 10, NewSize: 10, Hunks: []elfedit.Hunk{{Offset: 0, Old: []byte("-"), New: []byte("+")}}}
	p := place(t, path)
	last, committed, changed := 0, 0, 0
	put(t, path, version(last))
	end := time.Now().Add(2 * time.Second)
	for time.Now().Before(end) && !t.Failed() {
		var both sync.WaitGroup
		done := make(chan struct{})
		both.Go(func() {
			defer close(done)
			for range 20 {
				last++
				put(t, path, version(last))
			}
		})
		both.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				r, err := Stage(p.Dir, p.Base, edit, Options{})
				if err == nil {
					err = r.Commit()
				}
				switch {
				case err == nil:
					committed++
				case errors.Is(err, ErrChanged):
					changed++
				case !errors.Is(err, elfedit.ErrEditMismatch):
					t.Error(err)
				}
			}
		})
		both.Wait()
		got, err := os.ReadFile(path)
		if err != nil || len(got) != 10 || string(got[1:]) != version(last)[1:] {
			t.Errorf("the file is %q, %v; the last version is %q", got, err, version(last))
		}
	}
	t.Logf("%d versions, %d edits committed, %d not", last, committed, changed)
	if committed == 0 || changed == 0 {
		t.Error("the two did not meet")
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	wantFile(t, path, string(b))
}

// committing stages an edit of a new file and commits it. do has what another process
// does meanwhile, by the moment ("looked", "swapped1", "swapped2", ...); the copy's
// process is killed at the moment kill.
func committing(t *testing.T, do map[string]func(path string), kill string) (path string, err error) {
	t.Helper()
	path = newTestFile(t)
	r, err := stage(t, path, testEdit(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	killed := errors.New("killed")
	defer func() {
		if e := recover(); e != nil {
			if e != killed { //nolint:errorlint // it is itself
				panic(e)
			}
			err = killed
		}
	}()
	swaps := 0
	r.moment = func(moment string) {
		if moment == "swapped" {
			swaps++
			moment += fmt.Sprint(swaps)
		}
		if f := do[moment]; f != nil {
			f(path)
		}
		if moment == kill {
			panic(killed)
		}
	}
	return path, r.Commit()
}

func TestCommitRaces(t *testing.T) {
	puts := func(content string) func(string) { return func(path string) { put(t, path, content) } }
	remove := func(path string) {
		if err := os.Remove(path); err != nil {
			t.Error(err)
		}
	}
	for _, c := range []struct {
		what string
		do   map[string]func(string)
		want map[string]string // what is there afterwards
	}{
		{
			"one new version",
			map[string]func(string){"looked": puts("one")},
			map[string]string{"file": "one"},
		},
		{
			"another before the first is put back",
			map[string]func(string){"looked": puts("one"), "swapped1": puts("two")},
			map[string]string{"file": "two"},
		},
		{
			"and more",
			map[string]func(string){"looked": puts("one"), "swapped1": puts("two"), "swapped2": puts("three"), "swapped3": puts("four")},
			map[string]string{"file": "four"},
		},
		{
			"a version that is put there later",
			map[string]func(string){"looked": puts("one"), "swapped2": puts("two")},
			map[string]string{"file": "two"},
		},
		{
			"the old file removed",
			map[string]func(string){"looked": remove},
			map[string]string{},
		},
		{
			"the copy removed for the new version",
			map[string]func(string){"looked": puts("one"), "swapped1": remove},
			map[string]string{"file": "one"},
		},
		{
			"the copy moved away for the new version",
			map[string]func(string){"looked": puts("one"), "swapped1": func(path string) {
				if err := os.Rename(path, path+".distrib"); err != nil {
					t.Error(err)
				}
			}},
			map[string]string{"file": "one", "file.distrib": after},
		},
		{
			"the old file with another mode",
			map[string]func(string){"looked": func(path string) {
				if err := os.Chmod(path, 0o4755); err != nil {
					t.Error(err)
				}
			}},
			map[string]string{"file": before},
		},
		{
			"the same bytes at the same time",
			map[string]func(string){"looked": func(path string) {
				info, err := os.Stat(path)
				put(t, path, before)
				if err := errors.Join(err, os.Chmod(path, 0o644), os.Chtimes(path, time.Time{}, info.ModTime())); err != nil {
					t.Error(err)
				}
			}},
			map[string]string{"file": before},
		},
	} {
		t.Run(c.what, func(t *testing.T) {
			path, err := committing(t, c.do, "")
			if !errors.Is(err, ErrChanged) || Stays(err) || strings.Contains(err.Error(), "hashpkg-") {
				t.Errorf("commit: %v, want ErrChanged", err)
			}
			wantFiles(t, filepath.Dir(path), c.want)
		})
	}
}

func wantFiles(t *testing.T, dir string, want map[string]string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	have := map[string]string{}
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Error(err)
		}
		have[e.Name()] = string(b)
	}
	if fmt.Sprint(have) != fmt.Sprint(want) {
		t.Errorf("the directory holds %q, want %q", have, want)
	}
}

// TestSweep goes on where a process was killed.
func TestSweep(t *testing.T) {
	type moments = map[string]func(string)
	one := func(path string) { put(t, path, "one") }
	two := func(path string) { put(t, path, "two") }
	for _, c := range []struct {
		what  string
		do    moments
		kill  string
		after func(path string) // before the sweep
		want  map[string]string
	}{
		{"before it swapped", nil, "looked", nil, map[string]string{"file": before}},
		{"before it removed the old file", nil, "swapped1", nil, map[string]string{"file": after}},
		{"and a new version came", nil, "swapped1", one, map[string]string{"file": "one"}},
		{"before it put a new version back", moments{"looked": one}, "swapped1", nil, map[string]string{"file": "one"}},
		{"and a newer version came", moments{"looked": one}, "swapped1", two, map[string]string{"file": "two"}},
		{"before it removed its copy", moments{"looked": one}, "swapped2", nil, map[string]string{"file": "one"}},
		{
			"and the file was removed",
			moments{"looked": one},
			"swapped1",
			func(path string) {
				if err := os.Remove(path); err != nil {
					t.Error(err)
				}
			},
			map[string]string{},
		},
	} {
		t.Run(c.what, func(t *testing.T) {
			path, err := committing(t, c.do, c.kill)
			if err == nil || err.Error() != "killed" {
				t.Fatalf("commit: %v", err)
			}
			if c.after != nil {
				c.after(path)
			}
			dir := place(t, path).Dir
			other := filepath.Join(filepath.Dir(path), swapPrefix+"of-somebody-else")
			if err := os.WriteFile(other, nil, 0o644); err != nil {
				t.Fatal(err)
			}
			if younger, err := Sweep(dir, time.Hour); err != nil || younger < 50*time.Minute || younger > time.Hour {
				t.Errorf("a sweep of what is an hour old: %v, and the youngest is that old in %v", err, younger)
			}
			if names, err := filepath.Glob(filepath.Join(filepath.Dir(path), ".hashpkg-*")); len(names) != 2 || err != nil {
				t.Errorf("a sweep of what is an hour old leaves %v, %v", names, err)
			}
			if younger, err := Sweep(dir, 0); err != nil || younger != 0 {
				t.Errorf("a sweep of all: %v, and the youngest is that old in %v", err, younger)
			}
			if err := os.Remove(other); err != nil {
				t.Error(err)
			}
			wantFiles(t, filepath.Dir(path), c.want)
		})
	}
}

// TestSweepStaged removes a copy that had been named.
func TestSweepStaged(t *testing.T) {
	path := newTestFile(t)
	r, err := stage(t, path, testEdit(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	name, err := r.Named()
	if err != nil {
		t.Fatal(err)
	}
	wantFile(t, filepath.Join(filepath.Dir(path), name), after, name, "file")
	if _, err := Sweep(r.Dir, 0); err != nil {
		t.Error(err)
	}
	wantFile(t, path, before)
	if err := r.Commit(); err == nil {
		t.Error("a copy that is gone was committed")
	}
	wantFile(t, path, before)
}

func TestReplaceByLink(t *testing.T) {
	path := newTestFile(t)
	dir := filepath.Dir(path)
	sub := filepath.Join(dir, "sub")
	name := filepath.Join(sub, "name")
	if err := errors.Join(os.Mkdir(sub, 0o755), os.Link(path, name)); err != nil {
		t.Fatal(err)
	}
	from, to := place(t, path), place(t, name)
	was, err := Identify(to.Dir, to.Base)
	if err != nil {
		t.Fatal(err)
	}
	replace := func() error { return ReplaceByLink(from.Dir, from.Base, to.Dir, to.Base, was) }
	if err := replace(); err != nil {
		t.Errorf("a name of the file already: %v", err)
	}
	wantFile(t, name, before)
	if err := replaceEdited(t, path, testEdit(), Options{}); err != nil {
		t.Fatal(err)
	}
	if err := replace(); err != nil {
		t.Fatal(err)
	}
	wantFile(t, name, after)
	if is, err := Identify(from.Dir, from.Base); err != nil || is.ino == was.ino {
		t.Errorf("the other name is %v, %v", is, err)
	}
	if a, err := os.Stat(path); err == nil {
		if b, err := os.Stat(name); err != nil || !os.SameFile(a, b) {
			t.Errorf("the names are not of one file: %v", err)
		}
	}
	put(t, name, "new")
	if err := replace(); !errors.Is(err, ErrChanged) {
		t.Errorf("another file: %v", err)
	}
	wantFile(t, name, "new")
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	if err := replace(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

// TestNewFileThatAppears does not overwrite what was not there.
func TestNewFileThatAppears(t *testing.T) {
	path := newTestFile(t)
	to := place(t, filepath.Join(filepath.Dir(path), "to"))
	r, err := stage(t, path, testEdit(), Options{To: &to})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to.path(), []byte("mine"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := r.Commit(); !errors.Is(err, ErrChanged) {
		t.Errorf("commit: %v", err)
	}
	wantFiles(t, filepath.Dir(path), map[string]string{"file": before, "to": "mine"})
}

// TestPrivileges looks for another name of a setuid program, at every moment.
func TestPrivileges(t *testing.T) {
	path := newTestFile(t)
	if err := unix.Chmod(path, 0o4755); err != nil {
		t.Fatal(err)
	}
	withCapability := os.Geteuid() == 0
	if withCapability {
		value := append([]byte{1, 0, 0, 2, 0, 32, 0, 0}, make([]byte, 12)...) // cap_net_raw
		if err := unix.Setxattr(path, capability, value, 0); err != nil {
			t.Fatal(err)
		}
	}
	old, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	privileged := func(path string) (setuid, capable bool) {
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			t.Error(err)
		}
		_, err := unix.Getxattr(path, capability, nil)
		return st.Mode&unix.S_ISUID != 0, err == nil
	}
	r, err := stage(t, path, testEdit(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	name, err := r.Named()
	if err != nil {
		t.Fatal(err)
	}
	if setuid, capable := privileged(filepath.Join(filepath.Dir(path), name)); setuid || capable {
		t.Errorf("the copy is setuid: %v; has capabilities: %v", setuid, capable)
	}
	if err := r.Commit(); err != nil {
		t.Fatal(err)
	}
	wantFile(t, path, after)
	if setuid, capable := privileged(path); !setuid || capable != withCapability {
		t.Errorf("the new file is setuid: %v; has capabilities: %v", setuid, capable)
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(old.Fd()), &st); err != nil || st.Nlink != 0 {
		t.Errorf("the old file has %d names, %v", st.Nlink, err)
	}
}

func TestLockedDirectory(t *testing.T) {
	path := newTestFile(t)
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	if err := unix.Flock(int(dir.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	if err := replaceEdited(t, path, testEdit(), Options{}); err != nil {
		t.Error(err)
	}
	if d := time.Since(start); d > time.Second {
		t.Errorf("somebody who may only read the directory stops a commit for %v", d)
	}
	wantFile(t, path, after)
}

// TestManyEditors edits one file in many goroutines: each edit is made once.
func TestManyEditors(t *testing.T) {
	path := newTestFile(t)
	if err := os.WriteFile(path, []byte{0}, 0o644); err != nil {
		t.Fatal(err)
	}
	const editors, edits = 4, 30
	var all sync.WaitGroup
	for range editors {
		all.Go(func() {
			for made := 0; made < edits; {
				b, err := os.ReadFile(path)
				if err != nil || len(b) != 1 {
					t.Errorf("read %v, %v", b, err)
					return
				}
				e := elfedit.Edit{OldSize: 1, NewSize: 1, Hunks: []elfedit.Hunk{{Old: b, New: []byte{b[0] + 1}}}}
				switch err := replaceEdited(t, path, e, Options{}); {
				case err == nil:
					made++
				case !errors.Is(err, ErrChanged) && !errors.Is(err, elfedit.ErrEditMismatch):
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	wantFile(t, path, string([]byte{editors * edits}))
}

func TestIdentity(t *testing.T) {
	path := newTestFile(t)
	p := place(t, path)
	identify := func() Identity {
		t.Helper()
		is, err := Identify(p.Dir, p.Base)
		if err != nil {
			t.Fatal(err)
		}
		return is
	}
	was := identify()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if is, err := IdentifyFile(f); err != nil || is != was {
		t.Errorf("by its handle it is %v, %v; by its name %v", is, err, was)
	}
	// What a kernel without statx says has no time of birth.
	st, err := lookAtByStat(p.Dir.Fd(), p.Base, unix.AT_SYMLINK_NOFOLLOW)
	st.born = was.born
	if err != nil || st.Identity != was {
		t.Errorf("stat says %v, %v; statx %v", st.Identity, err, was)
	}
	time.Sleep(20 * time.Millisecond) // a tick of the clock that files' times are taken from
	if err := os.Link(path, path+"2"); err != nil {
		t.Fatal(err)
	}
	if is := identify(); is == was || !is.same(was) || is.sum() != was.sum() {
		t.Errorf("with another name it is %v, and was %v", is, was)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if is := identify(); is.same(was) || is.sum() == was.sum() {
		t.Errorf("with another mode it is %v, and was %v", is, was)
	}
	if _, err := Identify(p.Dir, "none"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	if _, err := Identify(beneath.Missing("none"), "x"); err == nil {
		t.Error("no directory, and no error")
	}
}
