package programs

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/hashpkg/hashpkg/elfedit"
	"github.com/hashpkg/hashpkg/internal/testneed"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/ldso"
	"github.com/hashpkg/hashpkg/pkginfo"
	"github.com/hashpkg/hashpkg/sysroot"
)

var built struct {
	sync.Once
	program []byte
	out     string
	err     error
}

// program returns a program that needs libfoo.so.1 and the C library.
func program(t *testing.T) []byte {
	t.Helper()
	testneed.Programs(t, "gcc")
	built.Do(func() {
		var dir string
		if dir, built.err = os.MkdirTemp("", "programs"); built.err != nil {
			return
		}
		defer os.RemoveAll(dir)
		for name, text := range map[string]string{"foo.c": "int foo(void) { return 0; }\n", "main.c": "int foo(void);\nint main(void) { return foo(); }\n"} {
			if built.err = os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); built.err != nil {
				return
			}
		}
		for _, args := range [][]string{
			{"-shared", "-fPIC", "-Wl,-soname,libfoo.so.1", "-o", "libfoo.so", "foo.c"},
			{"-o", "main", "main.c", "-L.", "-Wl,--no-as-needed", "-lfoo"},
		} {
			cmd := exec.Command("gcc", args...)
			cmd.Dir = dir
			out, err := cmd.CombinedOutput()
			if built.out, built.err = string(out), err; err != nil {
				return
			}
		}
		built.program, built.err = os.ReadFile(filepath.Join(dir, "main"))
	})
	if built.err != nil {
		t.Fatalf("%v: %s", built.err, built.out)
	}
	return built.program
}

// inspect returns what bytes are.
func inspect(t *testing.T, b []byte) *elfedit.Info {
	t.Helper()
	info, err := elfedit.Inspect(b)
	if err != nil {
		t.Fatal(err)
	}
	return info
}

// object is a library of literals; its path is its ID.
func object(path, soname string, needed ...string) *ldso.Object {
	return &ldso.Object{Path: path, ID: path, Info: &elfedit.Info{Soname: soname, Needed: needed, HasDynamic: true}}
}

// finder answers a name from the farm for a program that searches it, then from the
// rest. A path that is asked for answers itself.
type finder struct{ farm, rest map[string]*ldso.Object }

func (s finder) Find(name string, chain []*ldso.Object) (*ldso.Object, error) {
	if strings.Contains(chain[0].Info.RunPath, "/current-system/") && s.farm[name] != nil {
		return s.farm[name], nil
	}
	if o := s.rest[name]; o != nil {
		return o, nil
	}
	return nil, ldso.ErrNotFound
}

// newRoot makes a root with files, by their paths in it, each with mode 0755.
func newRoot(t *testing.T, files map[string][]byte) *sysroot.Root {
	t.Helper()
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "var/sys"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, b := range files {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, b, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	root, err := sysroot.Open(dir, "/var/sys", nil)
	if err != nil {
		t.Fatal(err)
	}
	lock, err := root.Lock(t.Context(), sysroot.LockOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = errors.Join(lock.Unlock(), root.Close()) })
	return root
}

// pkgOf is a package by its name.
func pkgOf(name string) Package {
	return Package{Key: pkginfo.Key{Format: "deb", ID: name + ":amd64"}, Name: name, Version: "1"}
}

// rewriteAll has every program edited, whatever the farm has.
func rewriteAll() *Policy {
	return &Policy{Rewrite: Rewrite{Executables: RewriteFull}, Prefix: "/var/sys", Architecture: "x86_64-linux-gnu", FarmPlanned: true}
}

// planned reads the records of programs and decides on them.
func planned(t *testing.T, root *sysroot.Root, store RecordStore, p *Policy, list ...*Program) (*Records, []*Decision) {
	t.Helper()
	var keys []pkginfo.Key
	for _, program := range list {
		keys = append(keys, program.Package.Key)
	}
	records, err := ReadRecords(store, keys)
	if err != nil {
		t.Fatal(err)
	}
	decisions, err := Plan(t.Context(), root, records, list, p)
	if err != nil {
		t.Fatal(err)
	}
	return records, decisions
}

// apply carries decisions out.
func apply(t *testing.T, root *sysroot.Root, records *Records, decisions []*Decision) []Outcome {
	t.Helper()
	outcomes, err := Apply(t.Context(), root, records, decisions, false)
	if err != nil {
		t.Fatal(err)
	}
	return outcomes
}

// states returns the states of outcomes, by path.
func states(outcomes []Outcome) map[string]State {
	s := map[string]State{}
	for _, o := range outcomes {
		s[o.Path] = o.State
	}
	return s
}

// read returns a file of the root.
func read(t *testing.T, root *sysroot.Root, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root.Dir(), name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// edits returns the record of a package.
func edits(t *testing.T, root *sysroot.Root, pkg string) []record.EditedFile {
	t.Helper()
	e, err := root.Edits(pkgOf(pkg).Key)
	if err != nil {
		t.Fatal(err)
	}
	return e.Files
}
