package beneath

import (
	"errors"
	"io/fs"
	"os"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// eachWay runs a test with openat2, and as on a kernel without it.
func eachWay(t *testing.T, f func(t *testing.T)) {
	t.Run("openat2", func(t *testing.T) {
		f(t)
		if withoutOpenat2.Load() {
			t.Skip("this kernel has no openat2")
		}
	})
	t.Run("by element", func(t *testing.T) {
		withoutOpenat2.Store(true)
		defer withoutOpenat2.Store(false)
		f(t)
	})
}

// scene is a directory in which "a/b/c" is a file, and, beside it, a directory that
// nothing may reach, with a file "c".
func scene(t *testing.T) (d *Dir, top, outside string) {
	t.Helper()
	base := t.TempDir()
	top, outside = base+"/top", base+"/outside"
	for _, dir := range []string{top + "/a/b", outside + "/b"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write(t, top+"/a/b/c", "inside")
	write(t, outside+"/c", "outside")
	write(t, outside+"/b/c", "outside")
	return open(t, top), top, outside
}

func open(t *testing.T, path string) *Dir {
	t.Helper()
	d, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.RemoveAll(path); err != nil { // it may be a link
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func link(t *testing.T, target, path string) {
	t.Helper()
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, path); err != nil {
		t.Fatal(err)
	}
}

// untouched fails the test when something outside has changed.
func untouched(t *testing.T, outside string) {
	t.Helper()
	for _, name := range []string{"/c", "/b/c"} {
		if b, err := os.ReadFile(outside + name); err != nil || string(b) != "outside" {
			t.Errorf("outside, %s is now %q (%v)", name, b, err)
		}
		if info, err := os.Stat(outside + name); err == nil && info.Mode() != 0o644 {
			t.Errorf("outside, %s has now mode %v", name, info.Mode())
		}
	}
	for dir, want := range map[string][]string{"": {"b", "c"}, "/b": {"c"}} {
		var have []string
		entries, err := os.ReadDir(outside + dir)
		for _, e := range entries {
			have = append(have, e.Name())
		}
		if err != nil || !slices.Equal(have, want) {
			t.Errorf("outside%s now has %q (%v)", dir, have, err)
		}
	}
}

// operations are all that take one name, each done to the name.
func operations(d *Dir) map[string]func(name string) error {
	now := [2]unix.Timespec{{Sec: 1}, {Sec: 1}}
	second := func(_ any, err error) error { return err }
	return map[string]func(string) error{
		"OpenDir":  func(n string) error { return closing(d.OpenDir(n)) },
		"OpenFile": func(n string) error { f, err := d.OpenFile(n, unix.O_RDWR|unix.O_TRUNC, 0); return closing(f, err) },
		"create": func(n string) error {
			f, err := d.OpenFile(n, unix.O_WRONLY|unix.O_CREAT, 0o644)
			return closing(f, err)
		},
		"Mkdir":       func(n string) error { return d.Mkdir(n, 0o700) },
		"MkdirAll":    func(n string) error { return d.MkdirAll(n, 0o700) },
		"Lstat":       func(n string) error { return second(d.Lstat(n)) },
		"Readlink":    func(n string) error { return second(d.Readlink(n)) },
		"Symlink":     func(n string) error { return d.Symlink("x", n) },
		"Link":        func(n string) error { return d.Link(d, "file", n) },
		"Link from":   func(n string) error { return d.Link(d, n, "new-link") },
		"Rename":      func(n string) error { return d.Rename(d, "file", n) },
		"RenameNew":   func(n string) error { return d.RenameNew(d, "file", n) },
		"Exchange":    func(n string) error { return d.Exchange(d, "file", n) },
		"Remove":      func(n string) error { return d.Remove(n) },
		"IfThere":     func(n string) error { return d.RemoveIfThere(n) },
		"Rmdir":       func(n string) error { return d.Rmdir(n) },
		"RemoveAll":   func(n string) error { return d.RemoveAll(n) },
		"Chmod":       func(n string) error { return d.Chmod(n, 0o600) },
		"Chown":       func(n string) error { return d.Chown(n, os.Geteuid(), os.Getegid()) },
		"SetTimes":    func(n string) error { return d.SetTimes(n, now) },
		"SetXattr":    func(n string) error { return d.SetXattr(n, "user.x", []byte("x")) },
		"Xattr":       func(n string) error { return second(d.Xattr(n, "user.x", 10)) },
		"Mkfifo":      func(n string) error { return d.Mkfifo(n, 0o600) },
		"ReadDir":     func(n string) error { return second(d.ReadDir(n)) },
		"Walk":        func(n string) error { return d.Walk(n, func(string, *Dir, string, fs.FileMode) error { return nil }) },
		"Sync":        func(n string) error { return d.Sync(n) },
		"ReadFile":    func(n string) error { return second(d.ReadFile(n, 100)) },
		"WriteFile":   func(n string) error { return d.WriteFile(n, []byte("new"), 0o644) },
		"StageFile":   func(n string) error { return second(d.StageFile(n, nil, 0o644)) },
		"SweepTemp":   func(n string) error { return d.SweepTemp(n, 0) },
		"OpenRegular": func(n string) error { f, _, err := d.OpenRegular(n); return closing(f, err) },
	}
}

func closing(c interface{ Close() error }, err error) error {
	if err == nil {
		c.Close()
	}
	return err
}

// TestLinkOnTheWay has a link in the place of each directory of a name.
func TestLinkOnTheWay(t *testing.T) {
	eachWay(t, func(t *testing.T) {
		for _, planted := range []string{"a", "a/b"} {
			d, top, outside := scene(t)
			write(t, top+"/file", "file")
			link(t, outside, top+"/"+planted)
			for what, f := range operations(d) {
				if err := f("a/b/c"); !errors.Is(err, ErrLink) {
					t.Errorf("%s is a link, and %s gives %v", planted, what, err)
				}
			}
			untouched(t, outside)
		}
	})
}

// TestLinkAtTheEnd has a link as the last element: what works on the name itself
// does, and what would work on what it leads to does not.
func TestLinkAtTheEnd(t *testing.T) {
	itself := []string{
		"Lstat", "Readlink", "Link from", "Rename", "Exchange", "Remove", "IfThere", "RemoveAll", "Chown", "SetTimes",
		"WriteFile", "StageFile", "Walk",
	}
	taken := []string{"Symlink", "Link", "RenameNew", "Mkfifo", "Mkdir"}
	eachWay(t, func(t *testing.T) {
		for _, name := range []string{"l", "a/b/l"} {
			for _, target := range []string{"/c", "/b"} {
				d, top, outside := scene(t)
				for what, f := range operations(d) {
					write(t, top+"/file", "file")
					link(t, outside+target, top+"/"+name)
					err := errors.Join(d.RemoveAll("new-link"), f(name))
					switch {
					case slices.Contains(itself, what):
						if err != nil {
							t.Errorf("%s of the link %s gives %v", what, name, err)
						}
					case slices.Contains(taken, what):
						if !errors.Is(err, fs.ErrExist) {
							t.Errorf("%s of the link %s gives %v, want that it is there", what, name, err)
						}
					case !errors.Is(err, ErrLink):
						t.Errorf("%s of the link %s gives %v", what, name, err)
					}
					untouched(t, outside)
				}
			}
		}
	})
}

func TestNames(t *testing.T) {
	eachWay(t, func(t *testing.T) {
		d, _, outside := scene(t)
		for _, name := range []string{"", "/", "/etc", "..", "../outside/c", "a/../../outside/c", "a//b", "a/b/", "./a", "a/.", "a\x00b"} {
			for what, f := range operations(d) {
				if err := f(name); !errors.Is(err, ErrName) {
					t.Errorf("%s of %q gives %v", what, name, err)
				}
			}
		}
		if err := d.RemoveAll("."); !errors.Is(err, ErrName) {
			t.Errorf("RemoveAll of the directory itself gives %v", err)
		}
		untouched(t, outside)
	})
}

func TestMissingAndClosed(t *testing.T) {
	shut, _, _ := scene(t)
	if err := shut.Close(); err != nil {
		t.Fatal(err)
	}
	if err := shut.Close(); err != nil {
		t.Errorf("closed twice: %v", err)
	}
	for what := range operations(nil) {
		if err := operations(Missing("/nowhere"))[what]("a"); !errors.Is(err, fs.ErrNotExist) && what != "IfThere" {
			t.Errorf("%s of what is missing gives %v", what, err)
		}
		if err := operations(shut)[what]("a"); !errors.Is(err, fs.ErrClosed) {
			t.Errorf("%s of a closed directory gives %v", what, err)
		}
	}
	if have := Missing("/nowhere").Path("a/b"); have != "/nowhere/a/b" {
		t.Errorf("Path gives %q", have)
	}
}

// TestSwapped writes and removes below a name that another goroutine makes a
// directory and a link in turn, by renames, as fast as it can.
func TestSwapped(t *testing.T) {
	eachWay(t, func(t *testing.T) {
		d, top, outside := scene(t)
		link(t, outside, top+"/link")
		stop, stopped := make(chan struct{}), make(chan error)
		go func() {
			for {
				select {
				case <-stop:
					stopped <- nil
					return
				default:
				}
				if err := unix.Renameat2(unix.AT_FDCWD, top+"/a", unix.AT_FDCWD, top+"/link", unix.RENAME_EXCHANGE); err != nil {
					stopped <- err
					return
				}
			}
		}()
		done, refused := 0, 0
		for end := time.Now().Add(300 * time.Millisecond); time.Now().Before(end); {
			for _, err := range []error{
				d.WriteFile("a/new", []byte("new"), 0o644),
				d.Mkdir("a/dir", 0o755),
				d.Symlink("x", "a/dir/link"),
				d.Chmod("a/dir", 0o700),
				d.RemoveAll("a/dir"),
				d.RemoveAll("a/b"),
				d.MkdirAll("a/b/c", 0o755),
				d.RemoveIfThere("a/new"),
				d.Walk("a", func(_ string, dir *Dir, base string, kind fs.FileMode) error {
					if base == "c" && kind.IsRegular() {
						return dir.Remove(base)
					}
					return nil
				}),
			} {
				switch {
				case err == nil:
					done++
				case errors.Is(err, ErrLink), errors.Is(err, unix.ENOTDIR): // no link any more when it was looked at
					refused++
				case !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrExist):
					t.Errorf("%v", err)
				}
			}
		}
		close(stop)
		if err := <-stopped; err != nil {
			t.Skipf("the file system cannot exchange two names: %v", err)
		}
		if done == 0 || refused == 0 {
			t.Errorf("%d operations were done and %d met a link: nothing was swapped", done, refused)
		}
		untouched(t, outside)
	})
}

// TestDevice has devices in the place of files: they are not opened, since opening
// can do something by itself.
func TestDevice(t *testing.T) {
	d, top, _ := scene(t)
	const terminals = 5<<8 | 2 // opening it makes a terminal
	if err := unix.Mknod(top+"/device", unix.S_IFCHR|0o666, terminals); err != nil {
		t.Skipf("skipped: it needs root: %v", err)
	}
	for _, name := range []string{"OpenFile", "create", "ReadFile", "OpenRegular", "SetXattr", "Xattr"} {
		if err := operations(d)[name]("device"); !errors.Is(err, ErrNotRegular) {
			t.Errorf("%s of a device gives %v", name, err)
		}
	}
}

// TestChmodNew has another name of a file outside, or a link, in the place of the
// directory that Mkdir has made a moment ago.
func TestChmodNew(t *testing.T) {
	d, top, outside := scene(t)
	if err := os.Link(outside+"/c", top+"/file"); err != nil {
		t.Fatal(err)
	}
	link(t, outside+"/b", top+"/link")
	for _, name := range []string{"file", "link"} {
		if err := chmodNew(d.Fd(), name, 0o711); err == nil {
			t.Errorf("%s is taken for a new directory", name)
		}
	}
	untouched(t, outside)
	if info, err := os.Stat(outside + "/b"); err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("outside, the directory has now %v (%v)", info, err)
	}
}
