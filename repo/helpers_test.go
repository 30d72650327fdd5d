package repo

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"

	"github.com/hashpkg/hashpkg/backends"
	"github.com/hashpkg/hashpkg/backends/deb"
	"github.com/hashpkg/hashpkg/backends/rpm"
	"github.com/hashpkg/hashpkg/internal/testdeb"
	"github.com/hashpkg/hashpkg/internal/testrepo"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/sysroot"
	"github.com/hashpkg/hashpkg/transaction"
)

const prefix = "/var/sys"

// now is when commands run, unless a test says otherwise.
var now = testrepo.Date.Add(30 * 24 * time.Hour)

// fixture is a root with sources.
type fixture struct {
	*Repo
	t    testing.TB
	dir  string // of the root
	warn *warnings
}

type warnings struct {
	mu  sync.Mutex
	all []string
}

func (w *warnings) add(text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.all = append(w.all, text)
}

// has reports whether somebody was warned of this.
func (w *warnings) has(text string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.ContainsFunc(w.all, func(s string) bool { return strings.Contains(s, text) })
}

// newFixture returns a root with these files.
func newFixture(t testing.TB, files map[string]string) *fixture {
	t.Helper()
	f := &fixture{t: t, dir: t.TempDir(), warn: &warnings{}}
	for name, content := range files {
		f.write(name, content)
	}
	f.Repo = f.open(func(*Options) {})
	return f
}

// open opens the root anew. A client of it tries everything once.
func (f *fixture) open(change func(*Options)) *Repo {
	f.t.Helper()
	root, err := sysroot.Open(f.dir, prefix, backends.Formats{deb.Format{}, rpm.Format{}})
	if err != nil {
		f.t.Fatal(err)
	}
	o := Options{Root: root, Now: now, Warn: f.warn.add}
	change(&o)
	r := New(o)
	r.client.Retries, r.client.Stall = -1, 2*time.Second
	f.t.Cleanup(func() {
		r.Close()
		if err := root.Close(); err != nil {
			f.t.Error(err)
		}
	})
	return r
}

func (f *fixture) write(name, content string) {
	f.t.Helper()
	file := filepath.Join(f.dir, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(content), 0o644)); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) read(name string) string {
	f.t.Helper()
	b, err := os.ReadFile(filepath.Join(f.dir, name))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		f.t.Fatal(err)
	}
	return string(b)
}

// installs are the options for requests.
func (f *fixture) installs(from string, names ...string) InstallOptions {
	f.t.Helper()
	o := InstallOptions{InstallOptions: transaction.InstallOptions{Root: f.Root, Now: f.Now, Choice: record.DefaultHighest}, From: from}
	for _, name := range names {
		q, err := ParseRequest(name)
		if err != nil {
			f.t.Fatal(err)
		}
		o.Requests = append(o.Requests, q)
	}
	return o
}

func (f *fixture) install(from string, names ...string) *InstallResult {
	f.t.Helper()
	result, err := f.Install(f.t.Context(), f.installs(from, names...))
	if err != nil {
		f.t.Fatal(err)
	}
	return result
}

// trees returns the trees of the active generation, as NAME=VERSION with "asked", "until"
// and "hold" behind it.
func (f *fixture) trees() []string {
	f.t.Helper()
	g, err := f.Root.Active()
	if err != nil {
		f.t.Fatal(err)
	}
	all := []string{}
	for _, t := range g.Trees {
		text := t.Spec()
		if t.Asked {
			text += " asked"
		}
		if !t.Until.IsZero() {
			text += " until"
		}
		if t.OnHold {
			text += " hold"
		}
		all = append(all, text)
	}
	return all
}

func (f *fixture) generation() int {
	f.t.Helper()
	g, err := f.Root.Active()
	if err != nil {
		f.t.Fatal(err)
	}
	return g.ID
}

func same(t testing.TB, what string, got []string, want ...string) {
	t.Helper()
	got = slices.Sorted(slices.Values(got))
	if slices.Sort(want); !slices.Equal(got, want) {
		t.Errorf("%s: %q, want %q", what, got, want)
	}
}

// archive is a repository that is served.
type archive struct {
	*testrepo.Server
	t     testing.TB
	debs  testrepo.Debs
	since int // how often it was changed
}

// serve serves packages as the suite of this name.
func serve(t testing.TB, suite string, packages ...testdeb.Package) *archive {
	t.Helper()
	a := &archive{t: t, debs: testrepo.Debs{Suite: suite, Signer: key(t), Packages: packages}}
	a.Server = testrepo.Serve(t, a.debs.Files(t))
	return a
}

// release has the archive have other packages, a day later than before.
func (a *archive) release(packages ...testdeb.Package) {
	a.t.Helper()
	a.since++
	a.debs.Date, a.debs.Packages = testrepo.Date.Add(time.Duration(a.since)*24*time.Hour), packages
	a.Set(a.debs.Files(a.t))
}

// sources is a file of sources for the archive.
func (a *archive) sources() string { return a.debs.Sources(a.t, a.URL) }

var theKey struct {
	once sync.Once
	key  *openpgp.Entity
}

// key returns the key of all archives.
func key(t testing.TB) *openpgp.Entity {
	theKey.once.Do(func() { theKey.key = testrepo.NewKey(t, "archive", 0) })
	return theKey.key
}

func script(name, version, depends string) testdeb.Package {
	return testdeb.Package{
		Name: name, Version: version, Depends: depends,
		Files: []testdeb.File{testdeb.Exec("usr/bin/"+name, "#!/bin/sh\necho "+name+" "+version+"\n")},
	}
}

func data(name, version, depends string) testdeb.Package {
	return testdeb.Package{Name: name, Version: version, Depends: depends, Files: []testdeb.File{{Path: "usr/share/" + name + "/data", Content: version}}}
}
