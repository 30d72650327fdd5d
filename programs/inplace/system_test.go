package inplace

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/elfedit"
)

// asRoot calls f in a thread with mounts of its own. f must not start another.
func asRoot(t *testing.T, f func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root may mount, and make files immutable or signed")
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with this function
		err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_FS)
		if err == nil {
			err = unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
		}
		if err == nil {
			f()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Skipf("no mounts of its own: %v", err)
	}
}

func TestSignedFiles(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root may sign files")
	}
	for _, c := range []struct {
		name  string
		value string
		want  error
	}{
		{"security.ima", "\x01hash", nil},
		{"security.ima", "\x04\x04hash", nil},
		{"security.ima", "\x03\x02signature", ErrSigned},
		{"security.ima", "\x06\x02signature", ErrSigned},
		{"security.evm", "\x02hmac", nil},
		{"security.evm", "\x03\x02signature", ErrSigned},
		{"security.evm", "\x05\x02signature", ErrSigned},
	} {
		t.Run(fmt.Sprintf("%s %x", c.name, c.value[0]), func(t *testing.T) {
			path := newTestFile(t)
			if err := unix.Setxattr(path, c.name, []byte(c.value), 0); err != nil {
				t.Skipf("the kernel or the file system does not take it: %v", err)
			}
			to := place(t, path+".copy")
			if err := replaceEdited(t, path, testEdit(), Options{To: &to}); err != nil {
				t.Errorf("a copy: %v", err)
			}
			if err := os.Remove(to.path()); err != nil {
				t.Error(err)
			}
			err := replaceEdited(t, path, testEdit(), Options{})
			if !errors.Is(err, c.want) || c.want != nil && (!Stays(err) || !strings.Contains(err.Error(), c.name)) {
				t.Errorf("the error is %v, want %v", err, c.want)
			}
			if c.want != nil {
				wantFile(t, path, before)
				return
			}
			wantFile(t, path, after)
			if _, err := unix.Getxattr(path, c.name, nil); !errors.Is(err, unix.ENODATA) {
				t.Errorf("the old hash was taken along: %v", err)
			}
		})
	}
}

// TestSealedFile stands for a file system with fs-verity.
func TestSealedFile(t *testing.T) {
	f, err := os.Open(newTestFile(t))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	is, err := lookAtFile(f)
	if err != nil {
		t.Fatal(err)
	}
	for _, is.knowsLess = range []bool{false, true} {
		is.verity = false
		if _, err := readMetadata(f, is); err != nil {
			t.Error(err)
		}
		is.verity = true
		if _, err := readMetadata(f, is); !errors.Is(err, ErrVerity) || !Stays(err) {
			t.Errorf("the error is %v", err)
		}
	}
}

// TestFilesThatStay has the kernel itself refuse to replace a file.
func TestFilesThatStay(t *testing.T) {
	for _, c := range []struct {
		what string
		want error
		do   func(path string) (undo func(), err error)
	}{
		{"something is mounted over it", unix.EBUSY, func(path string) (func(), error) {
			return func() {}, unix.Mount("/etc/passwd", path, "", unix.MS_BIND, "")
		}},
		{"it is immutable", unix.EPERM, func(path string) (func(), error) {
			const immutable = 0x10 // FS_IMMUTABLE_FL
			f, err := os.Open(path)
			if err != nil {
				return nil, err
			}
			set := func(flags int) error {
				return unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, flags)
			}
			flags, err := unix.IoctlGetInt(int(f.Fd()), unix.FS_IOC_GETFLAGS)
			if err != nil {
				return nil, err
			}
			return func() { set(flags); f.Close() }, set(flags | immutable)
		}},
		{"its file system is read-only", unix.EROFS, func(path string) (func(), error) {
			dir := filepath.Dir(path)
			return func() {}, errors.Join(
				unix.Mount(dir, dir, "", unix.MS_BIND, ""),
				unix.Mount("", dir, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""),
			)
		}},
	} {
		t.Run(c.what, func(t *testing.T) {
			path := newTestFile(t)
			asRoot(t, func() {
				undo, err := c.do(path)
				if err != nil {
					t.Logf("not here: %v", err)
					return
				}
				defer undo()
				b, err := os.ReadFile(path)
				if err != nil {
					t.Error(err)
				}
				e := testEdit()
				if string(b) != before { // what is mounted there
					e = elfedit.Edit{OldSize: int64(len(b)), NewSize: int64(len(b))}
				}
				if err := replaceEdited(t, path, e, Options{}); !errors.Is(err, c.want) || !Stays(err) {
					t.Errorf("the error is %v, want %v", err, c.want)
				}
			})
			wantFile(t, path, before)
		})
	}
	for err, want := range map[error]bool{
		nil: false, ErrChanged: false, unix.ENOSPC: false, unix.EIO: false, unix.ENOENT: false, unix.EMFILE: false,
		fmt.Errorf("%w: %w", ErrChanged, unix.EPERM):      false,
		pathError("x", "y", unix.EACCES):                  true,
		errors.Join(errors.New("x"), unix.ETXTBSY):        true,
		&os.PathError{Err: fmt.Errorf("%w", unix.EINVAL)}: true,
		unix.EOPNOTSUPP: true,
	} {
		if Stays(err) != want {
			t.Errorf("Stays(%v) is %v", err, !want)
		}
	}
}

// TestMountedBetween mounts something over a file between the look and the swap.
func TestMountedBetween(t *testing.T) {
	path := newTestFile(t)
	asRoot(t, func() {
		r, err := stage(t, path, testEdit(), Options{})
		if err != nil {
			t.Error(err)
			return
		}
		r.moment = func(string) {
			if err := unix.Mount("/etc/passwd", path, "", unix.MS_BIND, ""); err != nil {
				t.Error(err)
			}
		}
		err = r.Commit()
		if !errors.Is(err, unix.EBUSY) || !Stays(err) || strings.Contains(err.Error(), "hashpkg-") {
			t.Errorf("the error is %v", err)
		}
	})
	wantFile(t, path, before)
}

// TestOverlay replaces files of a lower directory, where a swap would make other
// files of them.
func TestOverlay(t *testing.T) {
	dir := t.TempDir()
	asRoot(t, func() {
		if err := unix.Mount("tmpfs", dir, "tmpfs", 0, ""); err != nil {
			t.Error(err)
			return
		}
		top := filepath.Join(dir, "top")
		var faults []error
		for _, name := range []string{"lower", "upper", "work", "top"} {
			faults = append(faults, os.Mkdir(filepath.Join(dir, name), 0o755))
		}
		file := filepath.Join(dir, "lower/file")
		faults = append(faults, os.WriteFile(file, []byte(before), 0o644), os.Link(file, filepath.Join(dir, "lower/link")))
		if err := errors.Join(faults...); err != nil {
			t.Error(err)
			return
		}
		options := fmt.Sprintf("lowerdir=%s/lower,upperdir=%s/upper,workdir=%s/work", dir, dir, dir)
		if err := unix.Mount("overlay", top, "overlay", 0, options); err != nil {
			t.Logf("no overlayfs here: %v", err)
			return
		}
		path := filepath.Join(top, "file")
		to := place(t, filepath.Join(top, "link"))
		was, err := Identify(to.Dir, to.Base)
		if err != nil {
			t.Error(err)
		}
		if err := replaceEdited(t, path, testEdit(), Options{}); err != nil {
			t.Error(err)
		}
		wantFile(t, path, after, "file", "link")
		wantFile(t, to.path(), before, "file", "link")
		if err := ReplaceByLink(to.Dir, "file", to.Dir, to.Base, was); err != nil {
			t.Error(err)
		}
		wantFile(t, to.path(), after, "file", "link")
		r, err := stage(t, path, testEdit().Invert(), Options{})
		if err != nil {
			t.Error(err)
			return
		}
		put(t, path, "new")
		if err := r.Commit(); !errors.Is(err, ErrChanged) {
			t.Errorf("commit of a changed file: %v", err)
		}
		wantFile(t, path, "new", "file", "link")
	})
}

// TestWithoutProc replaces a file where a copy needs a name from the beginning.
func TestWithoutProc(t *testing.T) {
	path := newTestFile(t)
	if err := unix.Chmod(path, 0o4755); err != nil {
		t.Fatal(err)
	}
	asRoot(t, func() {
		if err := unix.Mount("tmpfs", "/proc", "tmpfs", 0, ""); err != nil {
			t.Error(err)
			return
		}
		look := func([]byte) error {
			names, err := filepath.Glob(filepath.Join(filepath.Dir(path), tempPrefix+"*"))
			if err != nil || len(names) != 1 {
				return fmt.Errorf("the copy is %q, %v", names, err)
			}
			if info, err := os.Stat(names[0]); err != nil || info.Mode() != 0o755 {
				return fmt.Errorf("the copy has mode %v, %v", info.Mode(), err)
			}
			return nil
		}
		if err := replaceEdited(t, path, testEdit(), Options{Check: look, Durable: true}); err != nil {
			t.Error(err)
		}
		to := place(t, path+".new")
		if err := replaceEdited(t, path, testEdit().Invert(), Options{To: &to}); err != nil {
			t.Error(err)
		}
	})
	wantFile(t, path, after, "file", "file.new")
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o755|os.ModeSetuid {
		t.Errorf("the file has mode %v, %v", info.Mode(), err)
	}
}
