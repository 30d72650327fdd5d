package repair

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hashpkg/hashpkg/backends"
	"github.com/hashpkg/hashpkg/backends/deb"
	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/elfedit"
	"github.com/hashpkg/hashpkg/internal/testdeb"
	"github.com/hashpkg/hashpkg/internal/testelf"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/store"
	"github.com/hashpkg/hashpkg/sysroot"
	"github.com/hashpkg/hashpkg/transaction"
)

var now = time.Unix(1700000000, 0).UTC()

const (
	loader  = "/lib64/ld-linux-x86-64.so.2"
	libDir  = "usr/lib/x86_64-linux-gnu/"
	libPath = "liba1/1/" + libDir + "liba.so.1"
)

func newRoot(t *testing.T) *sysroot.Root {
	t.Helper()
	return openRoot(t, t.TempDir())
}

func openRoot(t *testing.T, dir string) *sysroot.Root {
	t.Helper()
	root, err := sysroot.Open(dir, layout.DefaultPrefix, backends.Formats{deb.Format{}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := root.Close(); err != nil {
			t.Error(err)
		}
	})
	return root
}

func elfFile(path string, f testelf.File) testdeb.File {
	return testdeb.Exec(path, string(f.Bytes()))
}

var program = testelf.File{Interpreter: loader, Needed: []string{"liba.so.1", "libc.so.6"}}

// small are a C library, a library, and two packages with a program that is bound to them,
// the same one.
var small = []testdeb.Package{
	{Name: "libc6", Version: "2.36", Files: []testdeb.File{
		elfFile(libDir+"ld-linux-x86-64.so.2", testelf.File{Soname: "ld-linux-x86-64.so.2"}),
		elfFile(libDir+"libc.so.6", testelf.File{Soname: "libc.so.6", Needed: []string{"ld-linux-x86-64.so.2"}}),
	}},
	{Name: "liba1", Version: "1", Depends: "libc6", Files: []testdeb.File{
		elfFile(libDir+"liba.so.1", testelf.File{Soname: "liba.so.1", Needed: []string{"libc.so.6"}}),
	}},
	{Name: "prog", Version: "1", Depends: "liba1", Files: []testdeb.File{
		elfFile("usr/bin/prog", program),
		testdeb.Symlink("usr/bin/alias", "prog"),
		testdeb.Exec("usr/bin/script", "#!/bin/sh\n"),
		{Path: "usr/share/doc/prog/secret", Mode: 0o640, Content: "secret"},
	}},
	{Name: "twin", Version: "1", Depends: "liba1", Files: []testdeb.File{elfFile("usr/bin/twin", program)}},
}

// write writes packages into a directory, and returns their paths.
func write(t *testing.T, packages ...testdeb.Package) (files []string) {
	t.Helper()
	dir := t.TempDir()
	for _, p := range packages {
		file := filepath.Join(dir, p.Name+"_"+p.Version+".deb")
		if err := os.WriteFile(file, testdeb.Deb(t, p), 0o644); err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	return files
}

// smallStore returns a root with the packages small, and where they are.
func smallStore(t *testing.T) (root *sysroot.Root, debs string) {
	t.Helper()
	root = newRoot(t)
	files := write(t, small...)
	install(t, root, files...)
	return root, filepath.Dir(files[0])
}

func install(t *testing.T, root *sysroot.Root, files ...string) {
	t.Helper()
	if _, err := transaction.Install(t.Context(), transaction.InstallOptions{Root: root, Packages: transaction.PackageFiles(files...), Now: now}); err != nil {
		t.Fatal(err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// put puts other bytes in the place of a file below the prefix, in the same inode.
func put(t *testing.T, root *sysroot.Root, name string, b []byte) {
	t.Helper()
	file := root.Store().Path(name)
	info, err := os.Stat(file)
	must(t, err)
	must(t, os.Chmod(file, 0o600))
	must(t, os.WriteFile(file, b, 0o600))
	must(t, os.Chmod(file, info.Mode()))
}

// flip changes one byte in the middle of a file below the prefix.
func flip(t *testing.T, root *sysroot.Root, name string) {
	t.Helper()
	b, err := os.ReadFile(root.Store().Path(name))
	must(t, err)
	b[len(b)/2] ^= 1
	put(t, root, name, b)
}

// remove removes what has a name below the prefix.
func remove(t *testing.T, root *sysroot.Root, name string) {
	t.Helper()
	if !root.Store().Dir().Exists(name) {
		t.Fatalf("%s is not there", name)
	}
	must(t, os.RemoveAll(root.Store().Path(name)))
}

func readManifest(t *testing.T, root *sysroot.Root, name, tree string) *record.Manifest {
	t.Helper()
	m, err := root.Store().Manifest(name, tree)
	must(t, err)
	return m
}

// change changes the record of a file of a tree.
func change(t *testing.T, root *sysroot.Root, name, tree, file string, how func(*record.File)) {
	t.Helper()
	m := readManifest(t, root, name, tree)
	f := m.Lookup(file)
	if f == nil || f.Patch == nil {
		t.Fatalf("%s of %s was not edited", file, name)
	}
	how(f)
	b, err := m.Encode()
	must(t, err)
	put(t, root, layout.ManifestPath(name, tree), b)
}

// listing is what is below the prefix: names, modes, and what is in files and links. The lock
// and the quarantine are left out.
func listing(t *testing.T, root *sysroot.Root) string {
	t.Helper()
	var out bytes.Buffer
	top := root.Store().Path(".")
	must(t, filepath.WalkDir(top, func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(top, p)
		if err != nil {
			return err
		}
		if rel == layout.QuarantineDir {
			return fs.SkipDir
		}
		if rel == layout.LockFile {
			return nil
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
		fmt.Fprintf(&out, "%s %s %s\n", rel, info.Mode(), content)
		return nil
	}))
	return out.String()
}

func mend(t *testing.T, root *sysroot.Root, dryRun bool, from ...string) *Result {
	t.Helper()
	result, err := Run(t.Context(), Options{Root: root, From: from, DryRun: dryRun, Now: now})
	must(t, err)
	return result
}

// inShort has a line for each thing that was done and that remains: "mended PATH",
// "quarantined PATH", "remains KIND PATH", without the prefix.
func inShort(root *sysroot.Root, r *Result) []string {
	var lines []string
	rel := func(p string) string { return strings.TrimPrefix(p, root.Store().Path("")+"/") }
	for _, a := range r.Done {
		lines = append(lines, string(a.Action)+" "+rel(a.Path))
	}
	for _, d := range r.Remaining {
		lines = append(lines, fmt.Sprintf("remains %s %s", d.Kind, rel(d.Path)))
	}
	slices.Sort(lines)
	return lines
}

// TestEdit has manifests whose recorded edit contradicts the tree.
func TestEdit(t *testing.T) {
	wrong, err := record.PackEdit(elfedit.Edit{OldSize: 3, NewSize: 3, Hunks: []elfedit.Hunk{{Old: []byte("a"), New: []byte("b")}}})
	must(t, err)
	const file = "prog/1/usr/bin/prog"
	manifest := layout.ManifestPath("prog", "1")
	for name, c := range map[string]struct {
		damage func(*record.File)
		// disk says that the packaged bytes are enough to mend it
		disk bool
	}{
		"another patch":  {func(f *record.File) { f.Patch = wrong }, true},
		"no patch":       {func(f *record.File) { f.Patch.Packed = []byte("x") }, true},
		"another size":   {func(f *record.File) { f.Patch.OldSize++ }, true},
		"another source": {func(f *record.File) { f.Source[0]++ }, false},
		"other names":    {func(f *record.File) { f.Source[0]++; f.Patch = wrong }, false},
	} {
		t.Run(name, func(t *testing.T) {
			root, debs := smallStore(t)
			remove(t, root, "twin/1") // whose edit is the same
			remove(t, root, layout.ManifestPath("twin", "1"))
			before := listing(t, root)
			change(t, root, "prog", "1", "usr/bin/prog", c.damage)
			broken := listing(t, root)
			if broken == before {
				t.Fatal("nothing was damaged")
			}
			remains := []string{"remains edit " + file, "remains manifest " + layout.ManifestPath("twin", "1")}
			result := mend(t, root, false)
			if diff := cmp.Diff(remains, inShort(root, result)); diff != "" {
				t.Errorf("without a copy (-want +have):\n%s", diff)
			}
			if have := listing(t, root); have != broken {
				t.Errorf("without a copy, it changed the store:\n%s", cmp.Diff(broken, have))
			}
			mended := []string{"mended " + manifest, "remains manifest " + layout.ManifestPath("twin", "1")}
			if c.disk {
				copied := filepath.Join(root.Dir(), "usr/bin/prog") // the distribution's
				must(t, os.MkdirAll(filepath.Dir(copied), 0o755))
				must(t, os.WriteFile(copied, program.Bytes(), 0o755))
				if diff := cmp.Diff(mended, inShort(root, mend(t, root, true))); diff != "" {
					t.Errorf("from the disk, in a dry run (-want +have):\n%s", diff)
				}
				if have := listing(t, root); have != broken {
					t.Errorf("a dry run changed the store:\n%s", cmp.Diff(broken, have))
				}
				if diff := cmp.Diff(mended, inShort(root, mend(t, root, false))); diff != "" {
					t.Errorf("from the disk (-want +have):\n%s", diff)
				}
				if have := listing(t, root); have != before {
					t.Errorf("from the disk, it is another store:\n%s", cmp.Diff(before, have))
				}
				must(t, os.Remove(copied))
				change(t, root, "prog", "1", "usr/bin/prog", c.damage)
			}
			if diff := cmp.Diff(mended, inShort(root, mend(t, root, false, filepath.Join(debs, "prog_1.deb")))); diff != "" {
				t.Errorf("from the package (-want +have):\n%s", diff)
			}
			if have := listing(t, root); have != before {
				t.Errorf("from the package, it is another store:\n%s", cmp.Diff(before, have))
			}
		})
	}
}

// TestEditOfOneTree has two trees with one object, and one of them another patch: that one
// is named, and mended from the other.
func TestEditOfOneTree(t *testing.T) {
	root, _ := smallStore(t)
	if a, b := readManifest(t, root, "prog", "1").Lookup("usr/bin/prog"), readManifest(t, root, "twin", "1").Lookup("usr/bin/twin"); a.Object != b.Object {
		t.Fatal("the trees do not share the object")
	}
	before := listing(t, root)
	for _, tree := range []string{"prog", "twin"} {
		change(t, root, tree, "1", "usr/bin/"+tree, func(f *record.File) { f.Patch.Packed = []byte("x") })
		manifests := []*record.Manifest{readManifest(t, root, "prog", "1"), readManifest(t, root, "twin", "1")}
		_, damaged, err := root.Store().Verify(t.Context(), manifests, nil)
		if err != nil || len(damaged) != 1 || damaged[0].Kind != store.DamageEdit || damaged[0].Tree != tree+"/1" {
			t.Errorf("%s: damaged are %+v (%v)", tree, damaged, err)
		}
		if diff := cmp.Diff([]string{"mended " + layout.ManifestPath(tree, "1")}, inShort(root, mend(t, root, false))); diff != "" {
			t.Errorf("%s (-want +have):\n%s", tree, diff)
		}
		if have := listing(t, root); have != before {
			t.Errorf("%s: it is another store:\n%s", tree, cmp.Diff(before, have))
		}
	}
}

// TestEditAndObject damages a file and its recorded edit: the object alone is not enough.
func TestEditAndObject(t *testing.T) {
	root, debs := smallStore(t)
	before := listing(t, root)
	damage := func() {
		for _, name := range []string{"prog", "twin"} {
			change(t, root, name, "1", "usr/bin/"+name, func(f *record.File) { f.Patch.Packed = []byte("x") })
		}
	}
	damage()
	object := layout.ObjectPath(readManifest(t, root, "prog", "1").Lookup("usr/bin/prog").Object)
	b, err := os.ReadFile(root.Store().Path(object))
	must(t, err)
	flip(t, root, object)
	spare := root.Store().Path("twin/1/usr/bin/twin") // another inode has the bytes
	must(t, errors.Join(os.Remove(spare), os.WriteFile(spare, b, 0o755), os.Chmod(spare, 0o555)))
	result := mend(t, root, false)
	for _, want := range []string{"mended " + object, "remains edit prog/1/usr/bin/prog", "remains edit twin/1/usr/bin/twin"} {
		if !slices.Contains(inShort(root, result), want) {
			t.Errorf("not %q: %q", want, inShort(root, result))
		}
	}
	if result := mend(t, root, false, debs); len(result.Remaining) != 0 {
		t.Errorf("with the packages, there remains %+v", result.Remaining)
	}
	if have := listing(t, root); have != before {
		t.Errorf("it is another store:\n%s", cmp.Diff(before, have))
	}
}
