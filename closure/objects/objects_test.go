package objects_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/hashpkg/hashpkg/closure"
	"github.com/hashpkg/hashpkg/closure/objects"
	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/internal/beneath"
	"github.com/hashpkg/hashpkg/layout/record"
)

// source gives what it has for each path, be that right or not.
type source struct {
	name  string
	bytes map[string]string
	err   error
	asked []string
}

func (s *source) Name() string { return s.name }

func (s *source) Fetch(_ context.Context, wants []objects.Want, got func(objects.Want, io.Reader) error) error {
	for _, w := range wants {
		s.asked = append(s.asked, w.Path)
		if b, ok := s.bytes[w.Path]; ok {
			if err := got(w, strings.NewReader(b)); err != nil && !errors.Is(err, objects.ErrWrong) {
				return err
			}
		}
	}
	return s.err
}

// wants are files whose bytes are their paths.
func wants(paths ...string) []objects.Want {
	p := &closure.Package{Name: "tool", Version: "1"}
	var out []objects.Want
	for _, path := range paths {
		out = append(out, objects.Want{Package: p, File: &closure.File{
			Path: path, Type: record.TypeFile, BLAKE3: digest.Of([]byte(path)), SHA256: sha256.Sum256([]byte(path)), Size: int64(len(path)),
		}})
	}
	return out
}

func newDir(t *testing.T) (*objects.Dir, string) {
	path := t.TempDir()
	dir, err := beneath.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = dir.Close() })
	return objects.NewDir(dir), path
}

// files returns how many files stand below a directory.
func files(t *testing.T, path string) (n int) {
	err := filepath.WalkDir(path, func(_ string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			n++
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestFetch asks one source after another for what is missing, and believes none.
func TestFetch(t *testing.T) {
	dir, path := newDir(t)
	liar := &source{name: "liar", bytes: map[string]string{"a": "x", "bb": "bbb", "ccc": "cc", "d": "d"}}
	honest := &source{name: "honest", bytes: map[string]string{"a": "a", "bb": "bb", "ccc": "ccc", "d": "d"}}
	var mu sync.Mutex
	var came int64
	progress := func(n int64) { mu.Lock(); defer mu.Unlock(); came += n }
	err := objects.Fetch(t.Context(), dir, wants("a", "bb", "ccc", "d"), []objects.Source{liar, honest}, progress)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(honest.asked, " "); got != "a bb ccc" {
		t.Errorf("the second source was asked for %s", got)
	}
	if came != 7 {
		t.Errorf("%d bytes came, want 7: what was wrong does not count", came)
	}
	for _, w := range wants("a", "bb", "ccc", "d") {
		f, err := dir.Open(w.BLAKE3)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(f)
		if cerr := f.Close(); err != nil || cerr != nil || string(b) != w.Path {
			t.Errorf("%s is %q, %v", w.Path, b, err)
		}
	}
	if n := files(t, path); n != 4 {
		t.Errorf("%d files are left, want 4", n)
	}
	never := &source{name: "never"}
	if err := objects.Fetch(t.Context(), dir, wants("a", "bb"), []objects.Source{never}, nil); err != nil || len(never.asked) > 0 {
		t.Errorf("%v: asked again for %v", err, never.asked)
	}
}

// TestTwice has a file come twice, as from two mirrors that are asked for it at a time: it counts once.
func TestTwice(t *testing.T) {
	dir, path := newDir(t)
	twice := fetchFunc(func(_ context.Context, w []objects.Want, got func(objects.Want, io.Reader) error) error {
		return errors.Join(got(w[0], strings.NewReader("bb")), got(w[0], strings.NewReader("bb")))
	})
	var came int64
	err := objects.Fetch(t.Context(), dir, wants("bb"), []objects.Source{twice}, func(n int64) { came += n })
	if n := files(t, path); err != nil || came != 2 || n != 1 {
		t.Errorf("%v: %d bytes came, want 2; %d files are left, want 1", err, came, n)
	}
}

// TestMissing: what is nowhere is named, with what is wrong with the sources.
func TestMissing(t *testing.T) {
	dir, path := newDir(t)
	broken := &source{name: "broken", err: errors.New("it burns")}
	liar := &source{name: "liar", bytes: map[string]string{"a": "b"}}
	err := objects.Fetch(t.Context(), dir, wants("a", "bb"), []objects.Source{broken, liar}, nil)
	var missing *objects.MissingError
	if !errors.As(err, &missing) || len(missing.Files) != 2 || !strings.Contains(err.Error(), "a of tool=1") || !strings.Contains(err.Error(), "broken: it burns") {
		t.Errorf("error %v", err)
	}
	if n := files(t, path); n != 0 {
		t.Errorf("%d files have a name", n)
	}
}

// endless never ends.
type endless struct{ read int64 }

func (e *endless) Read(b []byte) (int, error) {
	e.read += int64(len(b))
	return len(b), nil
}

// TestEndless: a source that does not end is left after one byte too many.
func TestEndless(t *testing.T) {
	dir, path := newDir(t)
	r := &endless{}
	s := func(_ context.Context, w []objects.Want, got func(objects.Want, io.Reader) error) error {
		return got(w[0], r)
	}
	err := objects.Fetch(t.Context(), dir, wants("a"), []objects.Source{fetchFunc(s)}, nil)
	if !errors.Is(err, objects.ErrWrong) {
		t.Errorf("error %v", err)
	}
	if r.read > 1<<20 {
		t.Errorf("%d bytes were read", r.read)
	}
	if n := files(t, path); n != 0 {
		t.Errorf("%d files have a name", n)
	}
}

type fetchFunc func(context.Context, []objects.Want, func(objects.Want, io.Reader) error) error

func (fetchFunc) Name() string { return "a function" }

func (f fetchFunc) Fetch(ctx context.Context, w []objects.Want, got func(objects.Want, io.Reader) error) error {
	return f(ctx, w, got)
}

// TestDamagedArrival: a file of another size than its digest's has to come again.
func TestDamagedArrival(t *testing.T) {
	dir, path := newDir(t)
	s := &source{name: "s", bytes: map[string]string{"a": "a"}}
	if err := objects.Fetch(t.Context(), dir, wants("a"), []objects.Source{s}, nil); err != nil {
		t.Fatal(err)
	}
	d := wants("a")[0].BLAKE3.String()
	if err := os.WriteFile(filepath.Join(path, d[:2], d), bytes.Repeat([]byte("a"), 2), 0o644); err != nil {
		t.Fatal(err)
	}
	s.asked = nil
	if err := objects.Fetch(t.Context(), dir, wants("a"), []objects.Source{s}, nil); err != nil || len(s.asked) != 1 {
		t.Errorf("%v, asked for %v", err, s.asked)
	}
}
