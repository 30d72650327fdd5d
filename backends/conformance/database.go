package conformance

import (
	"context"
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

	"github.com/hashpkg/hashpkg/backends"
	"github.com/hashpkg/hashpkg/pkginfo"
)

// installed are the packages of a database: one of them for two architectures.
func (s *suite) installed() []Package {
	file := func(path string) []File {
		return []File{{Path: path, Type: pkginfo.Regular, Mode: 0o644, Content: path}}
	}
	version := s.Versions[len(s.Versions)-1][0]
	return []Package{
		{Name: "first-tool", Version: version, Architecture: "amd64", Files: append(file("usr/bin/first"), file("etc/first.conf")...)},
		{Name: "libtwo", Version: version, Architecture: "amd64", Files: file("usr/lib/amd64/libtwo.so.2")},
		{Name: "libtwo", Version: version, Architecture: "i386", Files: file("usr/lib/i386/libtwo.so.2")},
	}
}

func (s *suite) database(t *testing.T, dir string) (backends.Database, error) {
	t.Helper()
	return within(t, func() (backends.Database, error) {
		return s.Format.Database(context.Background(), s.OpenRoot(t, dir))
	})
}

// within returns what f does, which must end.
func within[T any](t *testing.T, f func() (T, error)) (T, error) {
	t.Helper()
	type result struct {
		v   T
		err error
	}
	done := make(chan result, 1)
	go func() {
		v, err := f()
		done <- result{v, err}
	}()
	select {
	case r := <-done:
		return r.v, r.err
	case <-time.After(patience):
		t.Fatalf("it has not ended after %v", patience)
		panic("not reached")
	}
}

func (s *suite) testNoDatabase(t *testing.T) {
	dir := t.TempDir()
	for range 2 { // of which the second has the directory
		if _, err := s.database(t, dir); !errors.Is(err, backends.ErrNoDatabase) {
			t.Errorf("Database: %v", err)
		}
		if _, err := s.Format.State(s.OpenRoot(t, dir)); !errors.Is(err, backends.ErrNoDatabase) {
			t.Errorf("State: %v", err)
		}
		keys, warnings, err := s.Format.RootKeys(context.Background(), s.OpenRoot(t, dir))
		if err != nil || keys.Len() != 0 || len(warnings) != 0 {
			t.Errorf("RootKeys: %d keys, %v, %v", keys.Len(), warnings, err)
		}
		if err := os.MkdirAll(filepath.Join(dir, path.Dir(s.DatabaseFile)), 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

func (s *suite) testDatabase(t *testing.T) {
	dir := t.TempDir()
	want := s.installed()
	s.Install(t, dir, want...)
	root := s.OpenRoot(t, dir)
	state, err := s.Format.State(root)
	if err != nil {
		t.Fatal(err)
	}
	d, err := s.database(t, dir)
	if err != nil {
		t.Fatal(err)
	}
	again, err := s.database(t, dir)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := s.Format.State(root); err != nil || got != state {
		t.Errorf("reading it has changed the state from %q to %q, %v", state, got, err)
	}
	if len(d.Packages()) != len(want) || len(again.Packages()) != len(want) {
		t.Fatalf("it has %d packages, and then %d", len(d.Packages()), len(again.Packages()))
	}
	keys := map[pkginfo.Key]bool{}
	for i, p := range d.Packages() {
		s.checkInstalled(t, p)
		if keys[p.Key] {
			t.Errorf("two packages have the key %s", p.Key)
		}
		keys[p.Key] = true
		if !strings.Contains(p.Reinstall, p.Name) {
			t.Errorf("%s is brought again by %q", p.Key, p.Reinstall)
		}
		if same := again.Packages()[i]; same.Key != p.Key || same.Stamp != p.Stamp || p.Stamp == "" {
			t.Errorf("%s with %q was read again as %s with %q", p.Key, p.Stamp, same.Key, same.Stamp)
		}
		w := slices.IndexFunc(want, func(w Package) bool {
			return w.Name == p.Name && s.Format.Order().Compare(w.Version, p.Version) == 0 && len(w.Files) > 0 && w.Files[0].Path == firstPath(t, p)
		})
		if w < 0 {
			t.Errorf("nobody has installed %s", p.Key)
			continue
		}
		want[w].Files = nil // found
	}

	s.Install(t, dir, s.installed()[1:]...)
	if got, err := s.Format.State(root); err != nil || got == state {
		t.Errorf("the state is the same without a package: %v", err)
	}
	if d, err = s.database(t, dir); err != nil || len(d.Packages()) != len(want)-1 {
		t.Errorf("it has the wrong packages: %v", err)
	}
}

func firstPath(t *testing.T, p *backends.Installed) string {
	t.Helper()
	entries, err := p.Files()
	if err != nil || len(entries) == 0 {
		t.Fatalf("%s has %d files: %v", p.Key, len(entries), err)
	}
	return entries[0].Path
}

// checkInstalled checks what holds for every package of every database.
func (s *suite) checkInstalled(t *testing.T, p *backends.Installed) {
	t.Helper()
	if p.Format != s.Format.Name() || p.Key.Format != s.Format.Name() {
		t.Errorf("%s is of the format %q, and its key of %q", p.Name, p.Format, p.Key.Format)
	}
	text, err := p.Key.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	var k pkginfo.Key
	if err := k.UnmarshalText(text); err != nil || k != p.Key {
		t.Errorf("the key %s is read as %s: %v", text, k, err)
	}
	dir, name := path.Split(p.Key.FileName())
	if k, err := pkginfo.KeyOfFile(path.Clean(dir), name); err != nil || k != p.Key {
		t.Errorf("the record %s is of the key %s: %v", p.Key.FileName(), k, err)
	}
	entries, err := p.Files()
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !fs.ValidPath(e.Path) {
			t.Errorf("%s has the file %q", p.Key, e.Path)
		}
	}
}

// testDatabaseElsewhere has a database in a root that a link of another root leads
// to: links of a root stay in it.
func (s *suite) testDatabaseElsewhere(t *testing.T) {
	other, dir := t.TempDir(), t.TempDir()
	s.Install(t, other, s.installed()...)
	place := path.Dir(s.DatabaseFile)
	if err := os.MkdirAll(filepath.Join(dir, path.Dir(place)), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(other, place), filepath.Join(dir, place)); err != nil {
		t.Fatal(err)
	}
	if d, err := s.database(t, dir); !errors.Is(err, backends.ErrNoDatabase) {
		t.Errorf("another root's database is read: %v, %v", d, err)
	}
	if _, err := s.Format.State(s.OpenRoot(t, dir)); !errors.Is(err, backends.ErrNoDatabase) {
		t.Errorf("the state of another root's database is read: %v", err)
	}

	// And of a link to the place in the root itself, the database is.
	moved := t.TempDir()
	s.Install(t, moved, s.installed()...)
	if err := os.Rename(filepath.Join(moved, place), filepath.Join(moved, "moved")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/moved", filepath.Join(moved, place)); err != nil {
		t.Fatal(err)
	}
	if d, err := s.database(t, moved); err != nil || len(d.Packages()) != len(s.installed()) {
		t.Errorf("a database behind an absolute link of its root is not read: %v", err)
	}
}

// testDamagedDatabase has what is no database in the place of one.
func (s *suite) testDamagedDatabase(t *testing.T) {
	for what, put := range map[string]func(file string) error{
		"pipe":      func(file string) error { return unix.Mkfifo(file, 0o644) },
		"directory": func(file string) error { return os.Mkdir(file, 0o755) },
		"text":      func(file string) error { return os.WriteFile(file, []byte("hello\n"), 0o644) },
		"noise":     func(file string) error { return os.WriteFile(file, []byte(noise(100<<10)), 0o644) },
		"loop":      func(file string) error { return os.Symlink(filepath.Base(file), file) },
	} {
		t.Run(what, func(t *testing.T) {
			dir := t.TempDir()
			s.Install(t, dir, s.installed()...)
			file := filepath.Join(dir, s.DatabaseFile)
			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
			if err := put(file); err != nil {
				t.Fatal(err)
			}
			if d, err := s.database(t, dir); err == nil {
				t.Errorf("it is taken for a database of %d packages", len(d.Packages()))
			}
			if _, err := within(t, func() (string, error) { return s.Format.State(s.OpenRoot(t, dir)) }); err == nil && what == "loop" {
				t.Error("it has a state")
			}
		})
	}
}

// testUnproved asks a root without indexes for proofs.
func (s *suite) testUnproved(t *testing.T, prover backends.Prover) {
	h := prover.NewHash()
	h.Write([]byte("x"))
	if slices.Equal(h.Sum(nil), prover.NewHash().Sum(nil)) {
		t.Error("a new hash is not new")
	}
	p := s.sample()
	proofs, _, err := prover.Prove(context.Background(), s.OpenRoot(t, t.TempDir()), backends.ProofRequest{
		Files: []backends.PackageFile{{Name: p.Name, Version: p.Version, Architecture: p.Architecture, Size: 1, Sum: h.Sum(nil)}},
		Now:   time.Now(),
	})
	if err != nil || len(proofs) != 1 {
		t.Fatal(proofs, err)
	}
	if proof := proofs[0]; proof.Verdict != pkginfo.Unsigned || proof.Signer != "" || proof.Reason == "" || proof.Differs {
		t.Errorf("%+v", proof)
	}
}
