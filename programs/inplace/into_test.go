package inplace

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/elfedit"
	"github.com/hashpkg/hashpkg/internal/beneath"
)

func TestWriteInto(t *testing.T) {
	path := newTestFile(t)
	p := place(t, path)
	old := time.Unix(1234567890, 5)
	if err := errors.Join(os.Chmod(path, 0o604), os.Chtimes(path, old, old)); err != nil {
		t.Fatal(err)
	}
	var was, is unix.Stat_t
	if err := unix.Stat(path, &was); err != nil {
		t.Fatal(err)
	}
	identity := func() Identity {
		id, err := Identify(p.Dir, p.Base)
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	first := identity()
	if err := WriteInto(p.Dir, p.Base, first, testEdit()); err != nil {
		t.Fatal(err)
	}
	wantFile(t, path, after)
	if err := unix.Stat(path, &is); err != nil || is.Ino != was.Ino || is.Mode != was.Mode || is.Mtim != was.Mtim {
		t.Errorf("it was %+v and is %+v, %v", was, is, err)
	}
	if err := WriteInto(p.Dir, p.Base, first, testEdit().Invert()); !errors.Is(err, ErrChanged) {
		t.Errorf("a file that was changed: %v", err)
	}
	if err := WriteInto(p.Dir, p.Base, identity(), testEdit()); !errors.Is(err, elfedit.ErrEditMismatch) {
		t.Errorf("an edit of other bytes: %v", err)
	}
	if err := os.Symlink("file", filepath.Join(filepath.Dir(path), "link")); err != nil {
		t.Fatal(err)
	}
	if err := WriteInto(p.Dir, "link", identity(), testEdit().Invert()); !errors.Is(err, beneath.ErrLink) {
		t.Errorf("a link: %v", err)
	}
	wantFile(t, path, after, "file", "link")
}

// TestWriteIntoWithoutRoom fills the disk in the middle: the file has its bytes again.
func TestWriteIntoWithoutRoom(t *testing.T) {
	path := newTestFile(t)
	asRoot(t, func() {
		dir := filepath.Dir(path)
		if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
			t.Errorf("mount: %v", err)
			return
		}
		if err := os.WriteFile(path, []byte(before), 0o644); err != nil {
			t.Error(err)
			return
		}
		d, err := beneath.Open(dir)
		if err != nil {
			t.Error(err)
			return
		}
		defer d.Close()
		was, err := Identify(d, "file")
		if err != nil {
			t.Error(err)
			return
		}
		e := testEdit()
		e.NewSize = 10 + 1<<20
		e.Hunks[1].New = bytes.Repeat([]byte("x"), 1<<20)
		if err := WriteInto(d, "file", was, e); !errors.Is(err, unix.ENOSPC) {
			t.Errorf("the error is %v", err)
		}
		wantFile(t, path, before)
	})
}
