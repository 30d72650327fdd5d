package inplace

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/elfedit"
	"github.com/hashpkg/hashpkg/internal/beneath"
	"github.com/hashpkg/hashpkg/internal/mapped"
)

// The file before and after the edit of these tests, which makes it longer.
const before, after = "0123456789", "01XY456789 and more"

func testEdit() elfedit.Edit {
	return elfedit.Edit{OldSize: 10, NewSize: 19, Hunks: []elfedit.Hunk{
		{Offset: 2, Old: []byte("23"), New: []byte("XY")},
		{Offset: 10, Old: []byte{}, New: []byte(" and more")},
	}}
}

// newTestFile writes a file that every user can reach, and returns its path.
func newTestFile(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "replace")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "file")
	if err := errors.Join(os.Chmod(dir, 0o755), os.WriteFile(path, []byte(before), 0o644)); err != nil {
		t.Fatal(err)
	}
	return path
}

// place opens the directory of a path for as long as the test takes.
func place(t *testing.T, path string) Place {
	t.Helper()
	dir, err := beneath.Open(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dir.Close() })
	return Place{dir, filepath.Base(path)}
}

func stage(t *testing.T, path string, e elfedit.Edit, o Options) (*Replacement, error) {
	t.Helper()
	p := place(t, path)
	return Stage(p.Dir, p.Base, e, o)
}

func replaceEdited(t *testing.T, path string, e elfedit.Edit, o Options) error {
	t.Helper()
	r, err := stage(t, path, e, o)
	if err != nil {
		return err
	}
	return r.Commit()
}

// wantFile fails unless path holds want, and its directory the given names only.
func wantFile(t *testing.T, path, want string, names ...string) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil || string(got) != want {
		t.Errorf("%s holds %q, %v; want %q", path, got, err, want)
	}
	if len(names) == 0 {
		names = []string{filepath.Base(path)}
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	var have []string
	for _, e := range entries {
		have = append(have, e.Name())
	}
	if fmt.Sprint(have) != fmt.Sprint(names) {
		t.Errorf("the directory holds %q, want %q", have, names)
	}
}

func TestReplaceEdited(t *testing.T) {
	path := newTestFile(t)
	e := testEdit()
	for range 2 {
		check := func(data []byte) error {
			if string(data) != after {
				return fmt.Errorf("checked %q", data)
			}
			return nil
		}
		if err := replaceEdited(t, path, e, Options{Check: check, Durable: true}); err != nil {
			t.Fatal(err)
		}
		wantFile(t, path, after)
		if err := replaceEdited(t, path, e, Options{}); !errors.Is(err, elfedit.ErrEditMismatch) {
			t.Errorf("the same edit again: %v, want a mismatch", err)
		}
		if err := replaceEdited(t, path, e.Invert(), Options{}); err != nil {
			t.Fatal(err)
		}
		wantFile(t, path, before)
	}
	p := place(t, path)
	if err := SyncAll([]*beneath.Dir{p.Dir, p.Dir, place(t, "/dev/null").Dir}); err != nil {
		t.Error(err)
	}
}

func TestReplaceLinks(t *testing.T) {
	path := newTestFile(t)
	link, hard := filepath.Join(filepath.Dir(path), "link"), filepath.Join(filepath.Dir(path), "hard")
	if err := errors.Join(os.Symlink("file", link), os.Link(path, hard)); err != nil {
		t.Fatal(err)
	}
	if err := replaceEdited(t, link, testEdit(), Options{}); !errors.Is(err, beneath.ErrLink) {
		t.Errorf("a link: %v", err)
	}
	to := place(t, link)
	if err := replaceEdited(t, path, testEdit(), Options{To: &to}); !errors.Is(err, beneath.ErrLink) {
		t.Errorf("to a link: %v", err)
	}
	p := place(t, path)
	for _, base := range []string{"", ".", "..", "../file", "sub/file"} {
		if _, err := Stage(p.Dir, base, testEdit(), Options{}); err == nil {
			t.Errorf("the name %q was taken", base)
		}
	}
	if err := replaceEdited(t, path, testEdit(), Options{}); err != nil {
		t.Fatal(err)
	}
	wantFile(t, path, after, "file", "hard", "link")
	wantFile(t, hard, before, "file", "hard", "link")
}

func TestReplaceOther(t *testing.T) {
	path := newTestFile(t)
	to := filepath.Join(filepath.Dir(path), "to")
	place := place(t, to)
	old := unix.Umask(0o027)
	err := replaceEdited(t, path, testEdit(), Options{To: &place})
	unix.Umask(old)
	if err != nil {
		t.Fatal(err)
	}
	wantFile(t, path, before, "file", "to")
	wantFile(t, to, after, "file", "to")
	if info, err := os.Stat(to); err != nil || info.Mode() != 0o750 {
		t.Errorf("a new file has mode %v, %v", info.Mode(), err)
	}
	if err := os.Chmod(to, 0o604); err != nil {
		t.Fatal(err)
	}
	if err := replaceEdited(t, path, testEdit(), Options{To: &place}); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(to); err != nil || info.Mode() != 0o604 {
		t.Errorf("a file that was there has mode %v, %v", info.Mode(), err)
	}
}

// accessList is the value of a POSIX access control list with one user named
// (linux/posix_acl_xattr.h).
func accessList() []byte {
	const everyone = ^uint32(0)
	b := binary.LittleEndian.AppendUint32(nil, 2)
	for _, entry := range []struct {
		tag, perm uint16
		id        uint32
	}{{1, 7, everyone}, {2, 5, 1234}, {4, 5, everyone}, {16, 5, everyone}, {32, 0, everyone}} {
		b = binary.LittleEndian.AppendUint16(b, entry.tag)
		b = binary.LittleEndian.AppendUint16(b, entry.perm)
		b = binary.LittleEndian.AppendUint32(b, entry.id)
	}
	return b
}

func TestReplaceKeepsMetadata(t *testing.T) {
	path := newTestFile(t)
	isRoot := os.Geteuid() == 0
	attributes := map[string][]byte{
		"user.test":               []byte("value"),
		"user.long":               bytes.Repeat([]byte("x"), 1000),
		"system.posix_acl_access": accessList(),
	}
	if isRoot {
		if err := os.Chown(path, 1234, 2345); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Chmod(path, 0o6750); err != nil {
		t.Fatal(err)
	}
	if isRoot { // cap_net_raw, permitted and effective (linux/capability.h)
		attributes["security.capability"] = append([]byte{1, 0, 0, 2, 0, 32, 0, 0}, make([]byte, 12)...)
		attributes["trusted.test"] = []byte("value")
	}
	for name, value := range attributes {
		if err := unix.Setxattr(path, name, value, 0); errors.Is(err, unix.EOPNOTSUPP) {
			t.Skipf("the file system has no attribute %s", name)
		} else if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	long := time.Date(2001, 2, 3, 4, 5, 6, 7, time.UTC)
	if err := os.Chtimes(path, long.Add(time.Hour), long); err != nil {
		t.Fatal(err)
	}
	var was, is unix.Stat_t
	if err := unix.Stat(path, &was); err != nil {
		t.Fatal(err)
	}
	// A new file in the directory would get this list.
	if err := unix.Setxattr(filepath.Dir(path), "system.posix_acl_default", accessList(), 0); err != nil {
		t.Fatal(err)
	}
	if err := replaceEdited(t, path, testEdit(), Options{}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Stat(path, &is); err != nil {
		t.Fatal(err)
	}
	if is.Mode != was.Mode || is.Uid != was.Uid || is.Gid != was.Gid || is.Mtim != was.Mtim || is.Atim != was.Atim {
		t.Errorf("have %+v\nwant %+v", is, was)
	}
	for name, value := range attributes {
		got := make([]byte, 2000)
		n, err := unix.Getxattr(path, name, got)
		if err != nil || !bytes.Equal(got[:n], value) {
			t.Errorf("%s is %q, %v; want %q", name, got[:max(n, 0)], err, value)
		}
	}
	// And a file without a list gets none from the directory.
	if err := unix.Removexattr(path, "system.posix_acl_access"); err != nil {
		t.Fatal(err)
	}
	if err := replaceEdited(t, path, testEdit().Invert(), Options{}); err != nil {
		t.Fatal(err)
	}
	if _, err := unix.Getxattr(path, "system.posix_acl_access", nil); !errors.Is(err, unix.ENODATA) {
		t.Errorf("the new file has an access control list of its own: %v", err)
	}
}

func TestReplaceBusyProgram(t *testing.T) {
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Skip("no sleep")
	}
	path := filepath.Join(t.TempDir(), "sleep")
	b, err := os.ReadFile(sleep)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	dirs := "/var/sys/x/1/lib64"
	e, err := elfedit.Make(b, elfedit.Changes{Path: &elfedit.SearchPath{Set: &dirs}})
	if err != nil {
		t.Fatal(err)
	}
	if err := replaceEdited(t, path, e, Options{}); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Signal(unix.Signal(0)); err != nil {
		t.Errorf("the running program: %v", err)
	}
	if out, err := exec.Command(path, "0").CombinedOutput(); err != nil {
		t.Errorf("the edited program: %v: %s", err, out)
	}
}

func TestReplaceChangedFile(t *testing.T) {
	path := newTestFile(t)
	r, err := stage(t, path, testEdit(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("9876543210"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := r.Commit(); !errors.Is(err, ErrChanged) {
		t.Errorf("commit: %v, want ErrChanged", err)
	}
	wantFile(t, path, "9876543210")
	if err := replaceEdited(t, path, testEdit(), Options{}); !errors.Is(err, elfedit.ErrEditMismatch) {
		t.Errorf("another file: %v, want ErrEditMismatch", err)
	}
	wantFile(t, path, "9876543210")
}

// TestReplaceWrittenFile writes to the file while the copy is made.
func TestReplaceWrittenFile(t *testing.T) {
	path := newTestFile(t)
	write := func([]byte) error {
		time.Sleep(20 * time.Millisecond) // a tick of the clock that files' times are taken from
		return os.WriteFile(path, []byte("01234567xx"), 0o644)
	}
	if err := replaceEdited(t, path, testEdit(), Options{Check: write}); !errors.Is(err, ErrChanged) {
		t.Errorf("the error is %v, want ErrChanged", err)
	}
	wantFile(t, path, "01234567xx")
}

// TestReplaceKilled looks for what a process that is killed would leave behind
// before it commits: nothing has a name until then.
func TestReplaceKilled(t *testing.T) {
	path := newTestFile(t)
	dir := filepath.Dir(path)
	fd, err := unix.Open(dir, unix.O_RDWR|unix.O_TMPFILE, 0o600)
	if err != nil {
		t.Skipf("the file system has no files without a name: %v", err)
	}
	unix.Close(fd)
	r, err := stage(t, path, testEdit(), Options{Durable: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, committed := range []bool{false, true} {
		entries, err := os.ReadDir(dir)
		if err != nil || len(entries) != 1 {
			t.Errorf("the directory has %v, %v; want the one file", entries, err)
		}
		if committed {
			break
		}
		if err := r.Commit(); err != nil {
			t.Fatal(err)
		}
	}
	wantFile(t, path, after)
}

func TestReplaceStops(t *testing.T) {
	path := newTestFile(t)
	no := errors.New("no")
	if err := replaceEdited(t, path, testEdit(), Options{Check: func([]byte) error { return no }}); !errors.Is(err, no) {
		t.Errorf("the check's error became %v", err)
	}
	wantFile(t, path, before)
	bad := testEdit()
	bad.Hunks[1].Offset = 0
	if err := replaceEdited(t, path, bad, Options{}); !errors.Is(err, elfedit.ErrBadEdit) {
		t.Errorf("a damaged edit: %v", err)
	}
	for name, want := range map[string]string{filepath.Dir(path): "a directory", "/dev/null": "a device"} {
		err := replaceEdited(t, name, testEdit(), Options{})
		if !errors.Is(err, mapped.ErrNotRegular) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	wantFile(t, path, before)
}

// asNobody calls f in a thread that has no rights of root's.
func asNobody(t *testing.T, f func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		f()
		return
	}
	done := make(chan unix.Errno)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with this function
		const same = ^uintptr(0)
		_, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, same, 65534, same)
		if errno == 0 {
			f()
		}
		done <- errno
	}()
	if errno := <-done; errno != 0 {
		t.Fatalf("become another user: %v", errno)
	}
}

func TestReplaceWithoutRights(t *testing.T) {
	path := newTestFile(t)
	dir := filepath.Dir(path)
	for _, c := range []struct {
		what      string
		dir, file fs.FileMode
		want      string
	}{
		{"a file that may not be written", 0o777, 0o444, "permission denied"},
		{"a directory that may not be written", 0o555, 0o666, "its directory cannot take a new file: permission denied"},
		{"a file of another owner", 0o777, 0o666, "owner: operation not permitted"},
	} {
		if strings.Contains(c.what, "owner") && os.Geteuid() != 0 {
			continue // only root can make a file of another owner
		}
		if err := errors.Join(os.Chmod(path, c.file), os.Chmod(dir, c.dir)); err != nil {
			t.Fatal(err)
		}
		asNobody(t, func() {
			err := replaceEdited(t, path, testEdit(), Options{})
			var p *fs.PathError
			if err == nil || !strings.Contains(err.Error(), c.want) || !errors.As(err, &p) || p.Path != path {
				t.Errorf("%s: %v, want %q", c.what, err, c.want)
			}
		})
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		wantFile(t, path, before)
	}
}

// TestCopyBuffered tests the way that is left when a file system has no other.
func TestCopyBuffered(t *testing.T) {
	path := newTestFile(t)
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	to, err := os.Create(filepath.Join(t.TempDir(), "to"))
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	if err := copyBuffered(int(to.Fd()), int(f.Fd()), 10); err != nil {
		t.Fatal(err)
	}
	wantFile(t, to.Name(), before)
	if err := copyBuffered(int(to.Fd()), int(f.Fd()), 11); err == nil {
		t.Error("a file that is too short was copied")
	}
}
