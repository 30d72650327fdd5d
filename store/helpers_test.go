package store_test

import (
	"bytes"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/internal/beneath"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/store"
)

// prefix makes an empty store, as taking the lock does.
func prefix(t *testing.T) *store.Store {
	t.Helper()
	dir := t.TempDir()
	for _, d := range []string{layout.ObjectsDir, layout.ManifestsDir, layout.GenerationsDir, layout.StagingDir} {
		if err := os.MkdirAll(dir+"/"+d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write(t, dir+"/"+layout.FormatFile, "1\n")
	return store.New(open(t, dir))
}

func open(t *testing.T, path string) *beneath.Dir {
	t.Helper()
	d, err := beneath.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

// begin makes a store and a staging in it, which the end of the test discards.
func begin(t *testing.T, system store.SystemFiles) (*store.Store, *store.Staging) {
	t.Helper()
	s := prefix(t)
	return s, beginIn(t, s, system)
}

func beginIn(t *testing.T, s *store.Store, system store.SystemFiles) *store.Staging {
	t.Helper()
	staging, err := s.Begin(system)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := staging.Discard(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(staging.Dir().Name()); !os.IsNotExist(err) {
			t.Errorf("after Discard the staging directory gives %v", err)
		}
	})
	return staging
}

func write(t *testing.T, path, content string) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Dir(path), 0o755))
	must(t, os.WriteFile(path, []byte(content), 0o644))
}

func link(t *testing.T, target, path string) {
	t.Helper()
	must(t, os.RemoveAll(path))
	must(t, os.MkdirAll(filepath.Dir(path), 0o755))
	must(t, os.Symlink(target, path))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// add stages a file, and returns its record.
func add(t *testing.T, staging *store.Staging, name, content string, mode record.Mode) record.File {
	t.Helper()
	d, n, err := staging.Add(strings.NewReader(content), int64(len(content)))
	if err != nil || n != int64(len(content)) || d != digest.Of([]byte(content)) {
		t.Fatalf("Add gives %v, %d, %v", d, n, err)
	}
	return record.File{Path: name, Type: record.TypeFile, Mode: mode, UID: os.Geteuid(), GID: os.Getegid(), Object: d, Source: d, Size: n}
}

func manifest(name string, files ...record.File) *record.Manifest {
	m := &record.Manifest{
		Layout: layout.FormatVersion, Name: name, Version: "1.0", Tree: "1.0", Format: "deb", Origin: record.OriginPrivate,
		Identity: digest.Of([]byte(name)), Package: record.PackageFile{File: name + ".deb"}, Files: files,
	}
	m.Index()
	return m
}

// tool is a package with one file of each sort.
func tool(t *testing.T, staging *store.Staging) *record.Manifest {
	t.Helper()
	own := add(t, staging, "usr/lib/own", "own", 0o640)
	m := manifest(
		"tool",
		record.File{Path: "usr", Type: record.TypeDirectory, Mode: 0o755},
		record.File{Path: "usr/bin", Type: record.TypeDirectory, Mode: 0o755},
		record.File{Path: "usr/bin/link", Type: record.TypeSymlink, Target: "tool"},
		record.File{Path: "usr/bin/pipe", Type: record.TypeFIFO, Mode: 0o600, UID: os.Geteuid(), GID: os.Getegid()},
		add(t, staging, "usr/bin/tool", "tool", 0o755),
		own,
		record.File{Path: "usr/share", Type: record.TypeDirectory, Mode: 0o555, UID: os.Geteuid(), GID: os.Getegid()},
		add(t, staging, "usr/share/doc/tool", "doc", 0o644),
		add(t, staging, "usr/share/large", strings.Repeat("large", 100_000), 0o644),
	)
	m.Links = []record.Link{{Path: "bin/tool", Target: "../usr/bin/tool"}}
	return m
}

// publish places manifests as a generation, which becomes the active one.
func publish(t *testing.T, s *store.Store, staging *store.Staging, id int, manifests ...*record.Manifest) {
	t.Helper()
	must(t, staging.AddTrees(manifests))
	must(t, staging.Dir().Mkdir("generation", 0o755))
	staging.Move("generation", layout.GenerationPath(id), store.PhaseRecords)
	must(t, staging.WriteJournal(id))
	must(t, staging.Place())
	activate(t, s, id)
	must(t, staging.Forget())
	must(t, staging.Discard())
}

func activate(t *testing.T, s *store.Store, id int) {
	t.Helper()
	link(t, layout.GenerationPath(id), s.Path(layout.CurrentSystem))
}

// installed is a store with the package tool.
func installed(t *testing.T) (*store.Store, *record.Manifest) {
	t.Helper()
	s, staging := begin(t, nil)
	m := tool(t, staging)
	publish(t, s, staging, 1, m)
	return s, m
}

// listing is what is in a directory: names, modes, and what is in files and links.
func listing(t *testing.T, dir string) string {
	t.Helper()
	var out bytes.Buffer
	must(t, filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		content := ""
		switch {
		case info.Mode().IsRegular():
			b, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			content = digest.Of(b).Short()
		case info.Mode()&fs.ModeSymlink != 0:
			if content, err = os.Readlink(p); err != nil {
				return err
			}
		}
		out.WriteString(strings.TrimPrefix(p, dir) + " " + info.Mode().String() + " " + content + "\n")
		return nil
	}))
	return out.String()
}

// outside is a directory that nothing may touch: it returns its path, and the end of
// the test looks at it again.
func outside(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"1.0/file", "dir/file", "file", "journal"} {
		write(t, path.Join(dir, name), "outside")
	}
	before := listing(t, dir)
	t.Cleanup(func() {
		if after := listing(t, dir); after != before {
			t.Errorf("outside of the prefix, there was\n%s\nand now there is\n%s", before, after)
		}
	})
	return dir
}
