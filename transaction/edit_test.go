package transaction

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/hashpkg/hashpkg/backends"
	"github.com/hashpkg/hashpkg/backends/deb"
	"github.com/hashpkg/hashpkg/backends/trust"
	"github.com/hashpkg/hashpkg/internal/testdeb"
	"github.com/hashpkg/hashpkg/internal/testelf"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/plan"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/sysroot"
)

const (
	loader = "/lib64/ld-linux-x86-64.so.2"
	libDir = "usr/lib/x86_64-linux-gnu/"
)

func elfFile(path string, f testelf.File) testdeb.File {
	return testdeb.Exec(path, string(f.Bytes()))
}

// packages are a C library, a library on it, one that cannot be edited, and programs
// that use them.
func packages(t *testing.T) []string {
	t.Helper()
	dir := t.TempDir()
	var files []string
	for _, p := range []testdeb.Package{
		{Name: "libc6", Version: "2.36", Files: []testdeb.File{
			elfFile(libDir+"ld-linux-x86-64.so.2", testelf.File{Soname: "ld-linux-x86-64.so.2"}),
			elfFile(libDir+"libc.so.6", testelf.File{Soname: "libc.so.6", Needed: []string{"ld-linux-x86-64.so.2"}}),
		}},
		{Name: "liba1", Version: "1", Depends: "libc6", Files: []testdeb.File{
			elfFile(libDir+"liba.so.1", testelf.File{Soname: "liba.so.1", Needed: []string{"libstuffed.so.1", "libc.so.6"}}),
			elfFile(libDir+"libstuffed.so.1", testelf.File{Soname: "libstuffed.so.1", Needed: []string{"libc.so.6"}, Refused: true}),
		}},
		{Name: "prog", Version: "1", Depends: "liba1", Files: []testdeb.File{
			elfFile("usr/bin/prog", testelf.File{Interpreter: loader, Needed: []string{"liba.so.1", "libc.so.6"}}),
			elfFile("usr/bin/tight", testelf.File{Interpreter: loader, Needed: []string{"liba.so.1"}, RunPath: "$ORIGIN/../lib/prog", Tight: true}),
			testdeb.Exec("usr/bin/script", "#!/bin/sh\n"),
		}},
	} {
		file := filepath.Join(dir, p.Name+".deb")
		if err := os.WriteFile(file, testdeb.Deb(t, p), 0o644); err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	return files
}

func install(t *testing.T, root *sysroot.Root, dryRun bool, files ...string) *InstallResult {
	t.Helper()
	result, err := Install(context.Background(), InstallOptions{
		Root: root, Packages: PackageFiles(files...), DryRun: dryRun, Signature: trust.Off, Now: time.Unix(1700000000, 0),
	})
	if err != nil {
		t.Fatal(err)
	}
	return result
}

func newRoot(t *testing.T) *sysroot.Root {
	t.Helper()
	root, err := sysroot.Open(t.TempDir(), layout.DefaultPrefix, backends.Formats{deb.Format{}})
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// TestDryRunIsThePlan makes the plan of an install twice, without and with a store,
// and looks whether what was installed is what was planned.
func TestDryRunIsThePlan(t *testing.T) {
	root, files := newRoot(t), packages(t)
	dry := install(t, root, true, files...).Plan
	result := install(t, root, false, files...)
	if !result.Changed {
		t.Error("nothing was installed")
	}
	unexported := cmpopts.IgnoreUnexported(record.Manifest{})
	if diff := cmp.Diff(dry, result.Plan, unexported, cmpopts.IgnoreFields(record.Generation{}, "Orders")); diff != "" {
		t.Errorf("the plans differ (-dry run +install):\n%s", diff)
	}
	inJSON, err := json.Marshal(dry)
	if err != nil {
		t.Fatal(err)
	}
	for name, wanted := range map[string]bool{"libstuffed.so.1 of liba1=1 is left as it is": true, `{"file":"` + libDir + `libstuffed.so.1"`: false, `{"file":"` + libDir + `liba.so.1"`: true} {
		if strings.Contains(string(inJSON), name) != wanted {
			t.Errorf("the plan has %q: %v, want %v\n%s", name, !wanted, wanted, inJSON)
		}
	}

	edited := 0
	for _, tree := range dry.Trees {
		m, err := root.Store().Manifest(tree.Name, tree.Tree)
		if err != nil {
			t.Fatal(err)
		}
		for i := range m.Files {
			f := &m.Files[i]
			if (len(f.Edits) > 0) != (f.Patch != nil) || (f.Patch != nil) != (f.Object != f.Source) {
				t.Errorf("%s: %d edits, patch: %v, object %s of source %s", f.Path, len(f.Edits), f.Patch != nil, f.Object, f.Source)
			}
			if f.Patch != nil {
				edited++
				if f.Size != f.Patch.NewSize {
					t.Errorf("%s has %d bytes, and its patch says %d", f.Path, f.Size, f.Patch.NewSize)
				}
			}
			planned := *tree.Manifest.Lookup(f.Path)
			planned.Object, planned.Size = f.Object, f.Size
			if diff := cmp.Diff(planned, *f, cmpopts.IgnoreFields(record.File{}, "Own")); diff != "" {
				t.Errorf("%s is not as planned (-plan +manifest):\n%s", f.Path, diff)
			}
		}
	}
	if edited != 4 { // libc, liba, prog and tight
		t.Errorf("%d files are edited, want 4", edited)
	}
	var manifests []*record.Manifest
	for _, tree := range dry.Trees {
		m, err := root.Store().Manifest(tree.Name, tree.Tree)
		if err != nil {
			t.Fatal(err)
		}
		manifests = append(manifests, m)
	}
	if _, damaged, err := root.Store().Verify(t.Context(), manifests, nil); err != nil || len(damaged) > 0 {
		t.Errorf("verify: %v, %+v", err, damaged)
	}

	again := install(t, root, false, files...)
	if again.Changed {
		t.Errorf("a second install changes the generation: %+v", again.Plan.Trees)
	}
	for i := range again.Plan.Trees {
		if have, want := again.Plan.Trees[i].Identity, dry.Trees[i].Identity; !again.Plan.Trees[i].Present || have != want {
			t.Errorf("%s has the identity %s the second time, had %s", again.Plan.Trees[i].Name, have, want)
		}
	}
}

// TestProgramThatCannotBeEdited is known before anything is done.
func TestProgramThatCannotBeEdited(t *testing.T) {
	root, files := newRoot(t), packages(t)
	file := filepath.Join(t.TempDir(), "stuffed.deb")
	deb := testdeb.Deb(t, testdeb.Package{Name: "stuffed", Version: "1", Files: []testdeb.File{
		elfFile("usr/bin/stuffed", testelf.File{Interpreter: loader, Needed: []string{"libc.so.6"}, Refused: true}),
	}})
	if err := os.WriteFile(file, deb, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, dryRun := range []bool{true, false} {
		result, err := Install(context.Background(), InstallOptions{
			Root: root, Packages: PackageFiles(append(slices.Clone(files), file)...), DryRun: dryRun, Signature: trust.Off, Now: time.Unix(1700000000, 0),
		})
		var problems *plan.ProblemsError
		if !errors.As(err, &problems) || len(problems.Problems) != 1 || problems.Problems[0].File != "usr/bin/stuffed" {
			t.Errorf("dry run: %v, the error is %v", dryRun, err)
		}
		if result == nil || result.Changed || result.Plan.Generation != nil {
			t.Errorf("dry run: %v, the result is %+v", dryRun, result)
		}
	}
}

func TestEachInParallel(t *testing.T) {
	fault := errors.New("fault")
	done := make([]bool, 100)
	if err := eachInParallel(context.Background(), len(done), func(_ context.Context, i int) error { done[i] = true; return nil }); err != nil {
		t.Error(err)
	}
	if slices.Contains(done, false) {
		t.Error("not all were done")
	}
	if err := eachInParallel(context.Background(), 100, func(_ context.Context, i int) error {
		if i == 7 {
			return fault
		}
		return nil
	}); !errors.Is(err, fault) {
		t.Errorf("the error is %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := eachInParallel(ctx, 1, func(context.Context, int) error { t.Error("called after the end"); return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("the error is %v", err)
	}
}
