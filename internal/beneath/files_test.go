package beneath

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestRemoveAll removes a tree with links out of it, and with directories that may
// not be written to.
func TestRemoveAll(t *testing.T) {
	d, top, outside := scene(t)
	link(t, outside, top+"/a/b/dir")
	link(t, outside+"/c", top+"/a/file")
	for _, dir := range []string{"a/closed/below", "a/dark/below"} {
		if err := d.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		write(t, top+"/"+dir+"/file", "x")
	}
	for dir, mode := range map[string]uint32{"a/closed": 0o555, "a/dark/below": 0, "a/dark": 0} {
		if err := d.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.RemoveAll("a"); err != nil {
		t.Fatal(err)
	}
	if d.Exists("a") {
		t.Error("it is still there")
	}
	if err := d.RemoveAll("a"); err != nil {
		t.Errorf("once more: %v", err)
	}
	untouched(t, outside)
}

// makeDeep makes so many directories in one another, with another and a link beside each.
// Until the test ends, few files may be open.
func makeDeep(t *testing.T, top, outside string, deep int) {
	t.Helper()
	var had unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &had); err != nil {
		t.Fatal(err)
	}
	few := had
	few.Cur = 256
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &few); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &had); err != nil {
			t.Error(err)
		}
	})
	fd, err := unix.Open(top+"/a", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	for i := 0; i < deep && err == nil; i++ {
		for _, name := range []string{"d", "e"} { // one beside it
			err = errors.Join(err, unix.Mkdirat(fd, name, 0o755))
		}
		next, oerr := unix.Openat(fd, "d", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		err = errors.Join(err, unix.Symlinkat(outside, fd, "link"), oerr)
		if err == nil {
			err, fd = unix.Close(fd), next
		}
	}
	if err := errors.Join(err, unix.Close(fd)); err != nil {
		t.Fatal(err)
	}
}

// TestWalkDeep walks through directories that are far deeper than files may be open,
// and sees what is beside each on the way back, too.
func TestWalkDeep(t *testing.T) {
	d, top, outside := scene(t)
	const deep = 4096
	makeDeep(t, top, outside, deep)
	for _, from := range []string{"a", "."} {
		seen := map[string]int{}
		err := d.Walk(from, func(p string, dir *Dir, base string, _ fs.FileMode) error {
			seen[base]++
			if _, err := dir.Lstat(base); err != nil {
				return err
			}
			if path.Base(p) != base {
				t.Errorf("%s is called %s", base, p)
			}
			return nil
		})
		if err != nil {
			t.Fatalf("from %s: %v", from, err)
		}
		for _, name := range []string{"d", "e", "link"} {
			if seen[name] != deep {
				t.Errorf("from %s: %d times %s, want %d", from, seen[name], name, deep)
			}
		}
	}
	if err := d.RemoveAll("a"); err != nil { // testing's own would need too many handles
		t.Fatal(err)
	}
	untouched(t, outside)
}

// TestWalkMoved moves directories that a walk has left far above it out of the top: it does
// not follow them there.
func TestWalkMoved(t *testing.T) {
	d, top, outside := scene(t)
	makeDeep(t, top, outside, 4*maxOpen)
	depth := 0
	err := d.Walk("a", func(_ string, _ *Dir, base string, _ fs.FileMode) error {
		if base == "d" {
			if depth++; depth == 3*maxOpen {
				return os.Rename(top+"/a/d/d", outside+"/moved")
			}
		}
		return nil
	})
	if !errors.Is(err, errMoved) {
		t.Errorf("the walk gives %v", err)
	}
	moved := open(t, outside)
	if err := errors.Join(d.RemoveAll("a"), moved.RemoveAll("moved")); err != nil {
		t.Fatal(err)
	}
	untouched(t, outside)
}

// TestRemoveAllDeep removes directories that are far deeper than files may be open.
func TestRemoveAllDeep(t *testing.T) {
	d, top, outside := scene(t)
	makeDeep(t, top, outside, 4096)
	if err := d.RemoveAll("a"); err != nil {
		t.Fatal(err)
	}
	if d.Exists("a") {
		t.Error("it is still there")
	}
	untouched(t, outside)
}

// TestChmodWithoutSystemCall is Chmod before Linux 6.6.
func TestChmodWithoutSystemCall(t *testing.T) {
	d, top, outside := scene(t)
	for _, mode := range []uint32{0o600, 0, 0o755} { // 0: its owner cannot open it
		if err := chmodOpened(d.Fd(), "a", mode); err != nil {
			t.Errorf("to %o: %v", mode, err)
		}
		if st, err := d.Lstat("a"); err != nil || st.Mode&0o7777 != mode {
			t.Errorf("the mode is %o, want %o (%v)", st.Mode&0o7777, mode, err)
		}
	}
	link(t, outside+"/c", top+"/l")
	if err := chmodOpened(d.Fd(), "l", 0o600); !errors.Is(err, unix.ELOOP) {
		t.Errorf("of a link: %v", err)
	}
	untouched(t, outside)
}

func TestWriteFile(t *testing.T) {
	d, top, outside := scene(t)
	defer unix.Umask(unix.Umask(0o077))
	link(t, outside+"/c", top+"/a/l")
	if err := os.Link(top+"/a/b/c", top+"/other"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"new", "a/l", "a/b/c"} {
		if err := d.WriteFile(name, []byte("new"), 0o644); err != nil {
			t.Fatal(err)
		}
		info, err := os.Lstat(top + "/" + name)
		if err != nil || info.Mode() != 0o644 {
			t.Errorf("%s is %v (%v), and should be a file of mode 0644 whatever the umask is", name, info.Mode(), err)
		}
	}
	if b, err := os.ReadFile(top + "/other"); err != nil || string(b) != "inside" {
		t.Errorf("another name of the old file now has %q (%v)", b, err)
	}
	if err := d.WriteFile("a", nil, 0o644); err == nil {
		t.Error("a directory was replaced")
	}
	untouched(t, outside)
	left, err := filepath.Glob(top + "/" + tempPrefix + "*")
	if err != nil || len(left) > 0 {
		t.Errorf("it left %q (%v)", left, err)
	}
}

// TestWriteFileIsAtomic reads a file while it is being replaced.
func TestWriteFileIsAtomic(t *testing.T) {
	d, _, _ := scene(t)
	contents := []string{strings.Repeat("a", 100_000), strings.Repeat("b", 50_000)}
	if err := d.WriteFile("f", []byte(contents[0]), 0o644); err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() {
		for i := range 20 {
			if err := d.WriteFile("f", []byte(contents[i%2]), 0o644); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	for {
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
			return
		default:
		}
		b, err := d.ReadFile("f", 1<<20)
		if err != nil || !slices.Contains(contents, string(b)) {
			t.Fatalf("it reads %.10q... (%d bytes, %v)", b, len(b), err)
		}
	}
}

func TestSweepTemp(t *testing.T) {
	d, top, outside := scene(t)
	temp, err := d.StageFile("a/x", []byte("x"), 0o644)
	if err != nil {
		t.Fatal(err)
	}
	link(t, outside+"/c", top+"/a/"+tempPrefix+"link")
	empty, full := "a/"+TempName(), "a/"+TempName()
	if err := errors.Join(d.Mkdir(empty, 0o700), d.MkdirAll(full+"/x", 0o700)); err != nil {
		t.Fatal(err)
	}
	if err := d.SweepTemp("a", time.Hour); err != nil || !d.Exists(temp) || !d.Exists(empty) {
		t.Errorf("a new one went (%v)", err)
	}
	if err := d.SweepTemp("a", 0); err != nil || d.Exists(temp) || d.Exists(empty) || !d.Exists(full+"/x") || !d.Exists("a/b/c") {
		t.Errorf("an old one stayed, or too much went (%v)", err)
	}
	untouched(t, outside)
}

// TestNoRegularFile reads what is none, which must not wait or fill the memory.
func TestNoRegularFile(t *testing.T) {
	d, top, _ := scene(t)
	if err := d.Mkfifo("pipe", 0o600); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	t.Chdir(top) // the path of a socket is short
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: "socket"}); err != nil {
		t.Fatal(err)
	}
	write(t, top+"/large", "12345678901")
	for _, name := range []string{"pipe", "socket", "a", "large"} {
		if _, err := d.ReadFile(name, 10); !errors.Is(err, ErrNotRegular) {
			t.Errorf("%s gives %v", name, err)
		}
	}
	if b, err := d.ReadFile("a/b/c", 6); err != nil || string(b) != "inside" {
		t.Errorf("ReadFile gives %q, %v", b, err)
	}
}

func TestWalk(t *testing.T) {
	d, top, outside := scene(t)
	link(t, outside, top+"/a/l")
	write(t, top+"/a/skipped", "x")
	var have []string
	err := d.Walk(".", func(path string, dir *Dir, base string, kind fs.FileMode) error {
		have = append(have, path+" "+kind.String()[:1])
		if !dir.Exists(base) {
			t.Errorf("%s is not in the directory that Walk gives", path)
		}
		if path == "a/b" {
			return fs.SkipDir
		}
		return nil
	})
	want := []string{". d", "a d", "a/b d", "a/l L", "a/skipped -"}
	if err != nil || !slices.Equal(have, want) {
		t.Errorf("Walk gives %q (%v), want %q", have, err, want)
	}
}
