package repo

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/internal/testdeb"
	"github.com/hashpkg/hashpkg/internal/testrepo"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/sysroot"
	"github.com/hashpkg/hashpkg/transaction/repair"
)

// wanted returns what the records say of an installed package's file.
func (f *fixture) wanted(name, version string) Wanted {
	f.t.Helper()
	g, err := f.Root.Active()
	if err != nil {
		f.t.Fatal(err)
	}
	trees := g.Find(name, version)
	if len(trees) == 0 {
		f.t.Fatalf("%s is not installed", name)
	}
	t := trees[0]
	p, err := f.Root.Store().PackageFile(t.Name, t.Dir)
	if err != nil {
		f.t.Fatal(err)
	}
	return Wanted{Name: t.Name, Version: t.Version, Architecture: t.Architecture, Format: t.Format, Release: t.Release, Digest: p.Digest, Size: p.Size}
}

// clean removes all files of the cache.
func (f *fixture) clean() {
	f.t.Helper()
	if _, err := f.Clean(f.t.Context(), false); err != nil {
		f.t.Fatal(err)
	}
}

func TestPackageFile(t *testing.T) {
	tool := script("tool", "1", "")
	a := serve(t, "stable", tool)
	f := newFixture(t, map[string]string{"etc/hashpkg/sources.d/1.sources": a.sources()})
	f.install("stable", "tool")
	w := f.wanted("tool", "1")
	if w.Release != "stable" || w.Size == 0 || w.Digest.IsZero() {
		t.Fatalf("%+v", w)
	}
	bytes := string(testdeb.Deb(t, tool))
	gets := func(r *Repo, w Wanted) {
		t.Helper()
		file, err := r.PackageFile(t.Context(), w)
		if err != nil {
			t.Fatal(err)
		}
		if have, err := os.ReadFile(file); err != nil || string(have) != bytes || filepath.Dir(file) != filepath.Join(f.dir, prefix, layout.CacheDir) {
			t.Errorf("%s: %v, and it has %d bytes of %d", file, err, len(have), len(bytes))
		}
	}
	fails := func(r *Repo, w Wanted, want error, text string) {
		t.Helper()
		if file, err := r.PackageFile(t.Context(), w); !errors.Is(err, want) || !strings.Contains(err.Error(), text) || file != "" {
			t.Errorf("%+v: %q, %v, want %v", w, file, err, want)
		}
	}
	offline := f.open(func(o *Options) { o.Offline = true })
	gets(offline, w)
	f.clean()
	fails(offline, w, ErrOffline, "tool")
	gets(f.Repo, w)
	gets(offline, w)

	unknown := w
	unknown.Digest, unknown.Size, unknown.Release = digest.Digest{}, 0, ""
	gets(f.Repo, unknown)
	f.clean()
	gets(f.Repo, unknown)

	// The disk has changed it.
	names, err := filepath.Glob(filepath.Join(f.dir, prefix, layout.CacheDir, "sha*"))
	if err != nil || len(names) != 1 {
		t.Fatal(names, err)
	}
	if err := os.WriteFile(names[0], []byte(strings.Repeat("x", len(bytes))), 0o644); err != nil {
		t.Fatal(err)
	}
	gets(f.Repo, w)

	other := w
	other.Digest = digest.Of([]byte("another"))
	fails(f.Repo, other, ErrNoPackageFile, w.Digest.String())
	other.Size++
	fails(f.Repo, other, ErrNoPackageFile, "tool=1 for amd64: stable does not have it")
	other = w
	other.Version, other.Digest = "2", digest.Digest{}
	fails(f.Repo, other, ErrNoPackageFile, "tool=2")
	other.Release = "nowhere"
	fails(f.Repo, other, ErrNoSource, "nowhere")
	a.release(script("tool", "2", ""))
	f.update(0)
	gets(f.Repo, w) // which the cache has
	bare := newFixture(t, nil)
	fails(bare.Repo, unknown, ErrNoSource, "")
}

// TestPackageFileWhileLocked has who calls hold the root's lock.
func TestPackageFileWhileLocked(t *testing.T) {
	a := serve(t, "stable", script("tool", "1", ""))
	f := newFixture(t, map[string]string{"etc/hashpkg/sources.d/1.sources": a.sources()})
	lock, err := f.Root.Lock(t.Context(), sysroot.LockOptions{Command: "test"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := lock.Unlock(); err != nil {
			t.Error(err)
		}
	}()
	r := f.open(func(o *Options) { o.Locked = true })
	ctx, stop := context.WithTimeout(t.Context(), 30*time.Second)
	defer stop()
	if _, err := r.PackageFile(ctx, Wanted{Name: "tool", Version: "1", Architecture: "amd64", Format: "deb"}); err != nil {
		t.Error(err)
	}
}

// repaired repairs the store, with packages that are fetched, and returns what was done,
// what remains and what was fetched.
func (f *fixture) repaired(r *Repo) (done, remaining, fetched, notes []string) {
	f.t.Helper()
	r.Locked = true
	result, err := repair.Run(f.t.Context(), repair.Options{Root: f.Root, Now: now, Fetch: func(ctx context.Context, w repair.WantedPackage) (string, error) {
		return r.PackageFile(ctx, Wanted(w))
	}})
	if err != nil {
		f.t.Fatal(err)
	}
	for _, d := range result.Done {
		done = append(done, strings.TrimPrefix(d.Path, filepath.Join(f.dir, prefix)+"/")+": "+d.How)
	}
	for _, d := range result.Remaining {
		remaining = append(remaining, strings.TrimPrefix(d.Path, filepath.Join(f.dir, prefix)+"/"))
	}
	return done, remaining, result.Fetched, result.Notes
}

// TestRepairFetches loses what only packages have: an object and its file, a manifest. They
// are fetched, or if they cannot be, it is as without.
func TestRepairFetches(t *testing.T) {
	a := serve(t, "stable", script("tool", "1", "lib"), data("lib", "1", ""))
	f := newFixture(t, map[string]string{"etc/hashpkg/sources.d/1.sources": a.sources()})
	f.install("stable", "tool")
	path := func(name string) string { return filepath.Join(f.dir, prefix, name) }
	m, err := f.Root.Store().Manifest("tool", "1")
	if err != nil {
		t.Fatal(err)
	}
	object := layout.ObjectPath(m.Lookup("usr/bin/tool").Object)
	lose := func(names ...string) {
		t.Helper()
		f.clean()
		for _, name := range names {
			if err := os.Remove(path(name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	isWhole := func(what string) {
		t.Helper()
		if got := f.read(prefix + "/tool/1/usr/bin/tool"); got != "#!/bin/sh\necho tool 1\n" {
			t.Errorf("%s: it has %q", what, got)
		}
		if done, remaining, fetched, notes := f.repaired(f.Repo); len(done)+len(remaining)+len(fetched)+len(notes) > 0 {
			t.Errorf("%s: the next repair does %q, %q, %q, %q", what, done, remaining, fetched, notes)
		}
	}

	lose(object, "tool/1/usr/bin/tool")
	offline := f.open(func(o *Options) { o.Offline = true })
	if done, remaining, fetched, notes := f.repaired(offline); len(done)+len(fetched) > 0 || !slices.Contains(remaining, "tool/1/usr/bin/tool") ||
		len(notes) != 1 || !strings.Contains(notes[0], "tool=1 is not mended from its package, which --from can name") {
		t.Errorf("offline: %q, %q, %q, %q", done, remaining, fetched, notes)
	}
	done, remaining, fetched, notes := f.repaired(f.Repo)
	if !slices.Contains(done, object+": from tool=1, fetched from stable") || len(remaining)+len(notes) > 0 {
		t.Errorf("an object: %q, %q, %q", done, remaining, notes)
	}
	same(t, "fetched", fetched, "tool=1")
	isWhole("an object")

	lose(layout.ManifestPath("tool", "1"))
	done, remaining, fetched, notes = f.repaired(f.Repo)
	if !slices.Contains(done, layout.ManifestPath("tool", "1")+": made again from its package") || len(remaining)+len(notes) > 0 {
		t.Errorf("a manifest: %q, %q, %q", done, remaining, notes)
	}
	same(t, "fetched", fetched, "tool=1")
	isWhole("a manifest")

	// The release has another build of it by now: nothing of that takes a place.
	other := script("tool", "1", "lib")
	other.Files[0].Content += "# another build\n"
	a.release(other, data("lib", "1", ""))
	f.update(0)
	lose(object, "tool/1/usr/bin/tool")
	done, remaining, _, notes = f.repaired(f.Repo)
	if len(done) > 0 || !slices.Contains(remaining, "tool/1/usr/bin/tool") || len(notes) != 1 || !strings.Contains(notes[0], "stable does not have it") {
		t.Errorf("another build: %q, %q, %q", done, remaining, notes)
	}
	if got := f.read(prefix + "/tool/1/usr/bin/tool"); got != "" {
		t.Errorf("another build: %q", got)
	}
	lose(layout.ManifestPath("tool", "1"))
	if _, remaining, _, _ = f.repaired(f.Repo); !slices.Contains(remaining, layout.ManifestPath("tool", "1")) {
		t.Errorf("the manifest of another build: %q", remaining)
	}
	if _, err := f.Root.Store().Manifest("tool", "1"); err == nil {
		t.Error("the manifest of another build stands there")
	}
}

// TestRepairFetchesOnce loses all of two trees: each package is fetched once.
func TestRepairFetchesOnce(t *testing.T) {
	tool := script("tool", "1", "lib")
	tool.Files = append(tool.Files, testdeb.File{Path: "usr/share/doc/tool/x", Content: "x"}, testdeb.File{Path: "usr/share/doc/tool/y", Content: "y"})
	a := serve(t, "stable", tool, data("lib", "1", ""))
	f := newFixture(t, map[string]string{"etc/hashpkg/sources.d/1.sources": a.sources()})
	f.install("stable", "tool")
	f.clean()
	for _, name := range []string{"tool/1", "lib/1", ".hashpkg/objects"} {
		if err := os.RemoveAll(filepath.Join(f.dir, prefix, name)); err != nil {
			t.Fatal(err)
		}
	}
	before := a.Requests(testrepo.DebPath(script("tool", "1", "")))
	_, remaining, fetched, notes := f.repaired(f.Repo)
	same(t, "fetched", fetched, "tool=1", "lib=1")
	if len(remaining)+len(notes) > 0 {
		t.Errorf("%q, %q", remaining, notes)
	}
	if n := a.Requests(testrepo.DebPath(script("tool", "1", ""))) - before; n != 1 {
		t.Errorf("the package was asked for %d times", n)
	}
	// One that cannot be fetched is asked for once as well.
	a.release(data("lib", "1", ""))
	f.update(0)
	f.clean()
	if err := os.RemoveAll(filepath.Join(f.dir, prefix, ".hashpkg/objects")); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(f.dir, prefix, "tool/1")); err != nil {
		t.Fatal(err)
	}
	if _, _, _, notes := f.repaired(f.Repo); len(notes) != 1 {
		t.Errorf("notes: %q", notes)
	}
}
