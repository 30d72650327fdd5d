package store_test

import (
	"errors"
	"io"
	"os"
	"path"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/elfedit"
	"github.com/hashpkg/hashpkg/internal/beneath"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/record"
)

// system is a distribution with its files in one directory.
type system struct{ dir *beneath.Dir }

func (s system) At(name string) (*beneath.Dir, string, error) {
	dir, err := s.dir.OpenDir(".")
	return dir, path.Base(name), err
}

// sharing makes a store and a system on its file system.
func sharing(t *testing.T) (system, string) {
	t.Helper()
	dir := t.TempDir()
	return system{open(t, dir)}, dir
}

func sharedManifest(d digest.Digest, size int64) *record.Manifest {
	m := manifest("lib", record.File{
		Path: "usr/lib/lib.so", Type: record.TypeFile, Mode: 0o644, UID: os.Geteuid(), GID: os.Getegid(),
		Object: d, Source: d, Size: size, Shared: record.SharedLink, System: "/usr/lib/lib.so",
	})
	m.Origin = record.OriginSystem
	return m
}

func TestShare(t *testing.T) {
	sys, dir := sharing(t)
	s, staging := begin(t, sys)
	write(t, dir+"/lib.so", "library")
	d, size, shared, err := staging.Share("/usr/lib/lib.so")
	if err != nil || d != digest.Of([]byte("library")) || size != 7 || !shared {
		t.Fatalf("Share gives %v, %d, %v, %v", d, size, shared, err)
	}
	if _, _, again, err := staging.Share("/usr/lib/lib.so"); err != nil || !again {
		t.Errorf("Share, once more, gives %v, %v", again, err)
	}
	m := sharedManifest(d, size)
	publish(t, s, staging, 1, m)
	for _, name := range []string{"lib/1.0/usr/lib/lib.so", layout.ObjectPath(d)} {
		a, errA := os.Stat(dir + "/lib.so")
		b, errB := os.Stat(s.Path(name))
		if errA != nil || errB != nil || !os.SameFile(a, b) {
			t.Errorf("%s is not the distribution's file (%v, %v)", name, errA, errB)
		}
	}
	if m.Files[0].Own {
		t.Error("the object is another file")
	}
	if _, damaged, err := s.Verify(t.Context(), []*record.Manifest{m}, nil); err != nil || len(damaged) > 0 {
		t.Errorf("Verify gives %v, %v", damaged, err)
	}
}

// TestShareSetuid copies what runs as somebody else: no such bit gets into the store.
func TestShareSetuid(t *testing.T) {
	sys, dir := sharing(t)
	s, staging := begin(t, sys)
	write(t, dir+"/lib.so", "library")
	must(t, unix.Chmod(dir+"/lib.so", 0o6755))
	d, size, shared, err := staging.Share("/usr/lib/lib.so")
	if err != nil || shared {
		t.Fatalf("Share gives %v, %v", shared, err)
	}
	m := sharedManifest(d, size)
	m.Files[0].Shared = record.SharedCopy
	publish(t, s, staging, 1, m)
	if info, err := os.Stat(s.Path(layout.ObjectPath(d))); err != nil || info.Mode() != 0o444 {
		t.Errorf("the object has the mode %v (%v)", info.Mode(), err)
	}
	if info, err := os.Stat(dir + "/lib.so"); err != nil || info.Mode().Perm() != 0o755 || info.Mode()&os.ModeSetuid == 0 {
		t.Errorf("the distribution's file has now the mode %v (%v)", info.Mode(), err)
	}
}

// TestShareChanged replaces the file between Share and the assembly of its tree.
func TestShareChanged(t *testing.T) {
	for what, change := range map[string]func(t *testing.T, file string){
		"another file": func(t *testing.T, file string) {
			write(t, file+".new", "LIBRARY")
			must(t, os.Chtimes(file+".new", stat(t, file).ModTime(), stat(t, file).ModTime()))
			must(t, os.Rename(file+".new", file))
		},
		"a link":      func(t *testing.T, file string) { link(t, "/etc/passwd", file) },
		"setuid":      func(t *testing.T, file string) { must(t, unix.Chmod(file, 0o4755)) },
		"other bytes": func(t *testing.T, file string) { write(t, file, "LIBRARY") },
		"a pipe": func(t *testing.T, file string) {
			must(t, os.Remove(file))
			must(t, unix.Mkfifo(file, 0o644))
		},
	} {
		sys, dir := sharing(t)
		s, staging := begin(t, sys)
		write(t, dir+"/lib.so", "library")
		d, size, _, err := staging.Share("/usr/lib/lib.so")
		must(t, err)
		change(t, dir+"/lib.so")
		err = staging.AddTrees([]*record.Manifest{sharedManifest(d, size)})
		if err == nil || !strings.Contains(err.Error(), "share /usr/lib/lib.so: another process changed it meanwhile; run this again") {
			t.Errorf("%s gives %v", what, err)
		}
		if s.Dir().Exists(layout.StagingDir + "/" + path.Base(staging.Dir().Name()) + "/trees/0/usr/lib/lib.so") {
			t.Errorf("%s stands in the tree", what)
		}
	}
}

func stat(t *testing.T, file string) os.FileInfo {
	t.Helper()
	info, err := os.Stat(file)
	must(t, err)
	return info
}

func TestShareWhatIsNoFile(t *testing.T) {
	sys, dir := sharing(t)
	_, staging := begin(t, sys)
	link(t, "/etc/passwd", dir+"/link")
	must(t, unix.Mkfifo(dir+"/pipe", 0o644))
	for name, want := range map[string]error{"link": beneath.ErrLink, "pipe": beneath.ErrNotRegular, "nothing": os.ErrNotExist} {
		if _, _, _, err := staging.Share("/usr/lib/" + name); !errors.Is(err, want) {
			t.Errorf("%s gives %v", name, err)
		}
	}
	_, staging = begin(t, nil)
	if _, _, _, err := staging.Share("/usr/lib/lib.so"); err == nil {
		t.Error("without a system, Share gives no error")
	}
	if err := staging.AddTrees([]*record.Manifest{sharedManifest(digest.Of(nil), 0)}); err == nil {
		t.Error("a file that was not shared is taken")
	}
}

func TestEdit(t *testing.T) {
	sys, dir := sharing(t)
	_, staging := begin(t, sys)
	write(t, dir+"/lib.so", "library")
	d, _, _, err := staging.Share("/usr/lib/lib.so")
	must(t, err)
	other := add(t, staging, "x", "a library", 0o644)
	edit := func(at int64, size int64) elfedit.Edit {
		return elfedit.Edit{OldSize: size, NewSize: size, Hunks: []elfedit.Hunk{{Offset: at, Old: []byte("lib"), New: []byte("LIB")}}}
	}
	for _, last := range []bool{false, true} {
		e, n, err := staging.Edit(other.Object, edit(2, 9), last)
		if err != nil || n != 9 || e != digest.Of([]byte("a LIBrary")) {
			t.Errorf("Edit gives %v, %d, %v", e, n, err)
		}
		e, _, err = staging.Edit(d, edit(0, 7), last)
		if err != nil || e != digest.Of([]byte("LIBrary")) {
			t.Errorf("Edit of a shared file gives %v, %v", e, err)
		}
	}
	if b, err := os.ReadFile(dir + "/lib.so"); err != nil || string(b) != "library" || stat(t, dir+"/lib.so").Mode() != 0o644 {
		t.Errorf("the distribution's file is now %q, %v (%v)", b, stat(t, dir+"/lib.so").Mode(), err)
	}
	more := add(t, staging, "x", "no match", 0o644)
	if _, _, err := staging.Edit(more.Object, edit(0, 8), true); !errors.Is(err, elfedit.ErrEditMismatch) {
		t.Errorf("an edit of another file gives %v", err)
	}
}

// TestStagedMode looks at a large file while it is being written.
func TestStagedMode(t *testing.T) {
	_, staging := begin(t, nil)
	r := &lookingReader{left: 1 << 20, look: func() {
		entries, err := staging.Dir().ReadDir("objects")
		must(t, err)
		for _, e := range entries {
			if st, err := staging.Dir().Lstat("objects/" + e.Name()); err != nil || st.Mode&0o7777 != 0o600 {
				t.Errorf("while it is written, it has the mode %o (%v)", st.Mode, err)
			}
		}
	}}
	_, _, err := staging.Add(r, 1<<20)
	must(t, err)
	if r.left > 0 || !r.looked {
		t.Error("it was not read")
	}
}

type lookingReader struct {
	left   int
	looked bool
	look   func()
}

func (r *lookingReader) Read(b []byte) (int, error) {
	if r.left == 0 {
		r.look()
		r.looked = true
		return 0, io.EOF
	}
	n := min(len(b), r.left)
	r.left -= n
	return n, nil
}
