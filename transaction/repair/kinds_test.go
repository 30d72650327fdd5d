package repair

import (
	"context"
	"crypto/md5"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hashpkg/hashpkg/backends/deb"
	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/elfedit"
	"github.com/hashpkg/hashpkg/internal/testdeb"
	"github.com/hashpkg/hashpkg/internal/testelf"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/layout/rewrite"
	"github.com/hashpkg/hashpkg/programs"
	"github.com/hashpkg/hashpkg/store"
	"github.com/hashpkg/hashpkg/sysroot"
	"github.com/hashpkg/hashpkg/transaction"
	"github.com/hashpkg/hashpkg/transaction/query"
	"github.com/hashpkg/hashpkg/transaction/verify"
)

// damageOf is damage of one kind, and what a repair decides on it.
type damageOf struct {
	damage func(t *testing.T, root *sysroot.Root)
	// alone is what is done and remains without a package, packaged what is with all of
	// them: as with none where it is nil.
	alone, packaged []string
}

const script = "prog/1/usr/bin/script"

// objectOf returns the name of a file's object.
func objectOf(t *testing.T, root *sysroot.Root, name, file string) string {
	t.Helper()
	f := readManifest(t, root, name, "1").Lookup(file)
	if f == nil {
		t.Fatalf("%s has no %s", name, file)
	}
	return layout.ObjectPath(f.Object)
}

func object(t *testing.T) string {
	t.Helper()
	root, _ := smallStore(t)
	return objectOf(t, root, "prog", "usr/bin/script")
}

// kinds has every kind of damage that Run is for.
func kinds(t *testing.T) map[store.DamageKind]damageOf {
	scriptObject := object(t)
	manifest := layout.ManifestPath("prog", "1")
	return map[store.DamageKind]damageOf{
		store.DamageObjectMissing: {
			damage: func(t *testing.T, root *sysroot.Root) { remove(t, root, scriptObject) },
			alone:  []string{"mended " + scriptObject},
		},
		store.DamageObjectBytes: {
			func(t *testing.T, root *sysroot.Root) { flip(t, root, script) },
			[]string{"quarantined " + scriptObject, "quarantined " + script, "remains file-missing " + script},
			[]string{"mended " + scriptObject, "mended " + script},
		},
		store.DamageObjectMetadata: {
			damage: func(t *testing.T, root *sysroot.Root) {
				must(t, os.Chmod(root.Store().Path(script), 0o555|os.ModeSetuid))
			},
			alone: []string{"mended " + scriptObject, "mended " + script},
		},
		store.DamageTreeMissing: {
			damage: func(t *testing.T, root *sysroot.Root) { remove(t, root, "prog/1") },
			alone:  []string{"mended prog/1"},
		},
		store.DamageFileMissing: {
			damage: func(t *testing.T, root *sysroot.Root) { remove(t, root, script) },
			alone:  []string{"mended " + script},
		},
		store.DamageFileType: {
			damage: func(t *testing.T, root *sysroot.Root) {
				remove(t, root, script)
				must(t, os.Mkdir(root.Store().Path(script), 0o755))
			},
			alone: []string{"mended " + script, "quarantined " + script},
		},
		store.DamageFileBytes: { // which has an inode of its own
			damage: func(t *testing.T, root *sysroot.Root) { flip(t, root, "prog/1/usr/share/doc/prog/secret") },
			alone:  []string{"mended prog/1/usr/share/doc/prog/secret"},
		},
		store.DamageFileMetadata: {
			damage: func(t *testing.T, root *sysroot.Root) {
				must(t, os.Chmod(root.Store().Path("prog/1/usr/share"), 0o700))
			},
			alone: []string{"mended prog/1/usr/share"},
		},
		store.DamageFileUnknown: {
			damage: func(t *testing.T, root *sysroot.Root) {
				must(t, os.WriteFile(root.Store().Path("prog/1/usr/more"), []byte("x"), 0o644))
			},
			alone: []string{"quarantined prog/1/usr/more"},
		},
		store.DamageLink: {
			damage: func(t *testing.T, root *sysroot.Root) { remove(t, root, "prog/1/bin/prog") },
			alone:  []string{"mended prog/1/bin/prog"},
		},
		store.DamageManifest: {
			func(t *testing.T, root *sysroot.Root) { remove(t, root, manifest) },
			[]string{"remains manifest " + manifest},
			[]string{"mended " + manifest},
		},
		store.DamageGeneration: {
			damage: func(t *testing.T, root *sysroot.Root) {
				put(t, root, ".hashpkg/generations/1/generation.json", []byte("x"))
			},
			alone: []string{"mended .hashpkg/generations/1/generation.json"},
		},
		store.DamageEdit: {
			func(t *testing.T, root *sysroot.Root) {
				change(t, root, "prog", "1", "usr/bin/prog", func(f *record.File) { f.Source[0]++ })
			},
			[]string{"remains edit prog/1/usr/bin/prog"},
			[]string{"mended " + manifest},
		},
	}
}

// TestKinds has one damage of each kind: verify reports that kind and no other, and a repair
// mends it with what there is, or says what remains. A dry run says the same, and changes
// nothing.
func TestKinds(t *testing.T) {
	all := kinds(t)
	for _, kind := range declaredKinds(t) {
		if _, ok := all[kind]; !ok && !slices.Contains([]store.DamageKind{store.DamageSystem, store.DamageRecord, store.DamagePrefix, store.DamageBinding}, kind) {
			t.Errorf("there is no damage of kind %s", kind)
		}
	}
	for kind, c := range all {
		for _, packaged := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, packages: %v", kind, packaged), func(t *testing.T) {
				root, debs := smallStore(t)
				before := listing(t, root)
				c.damage(t, root)
				damaged := listing(t, root)
				report, err := verify.Trees(t.Context(), root, verify.Options{All: true})
				if kind == store.DamageGeneration { // the active one cannot be asked
					if err == nil {
						t.Error("verify does not fail")
					}
				} else if must(t, err); len(report.Damaged) != 1 || report.Damaged[0].Kind != kind {
					t.Errorf("verify reports %+v", report.Damaged)
				}
				var from []string
				want := c.alone
				if packaged {
					from = []string{debs}
					if c.packaged != nil {
						want = c.packaged
					}
				}
				want = slices.Sorted(slices.Values(want))
				// What follows from the first steps is not known before they are taken.
				dry := inShort(root, mend(t, root, true, from...))
				isKnown := func(line string) bool { return slices.Contains(want, line) }
				if diff := cmp.Diff(remaining(want), remaining(dry)); diff != "" || !slices.ContainsFunc(dry, isKnown) {
					t.Errorf("in a dry run, %q (-want +have):\n%s", dry, diff)
				}
				if have := listing(t, root); have != damaged {
					t.Errorf("a dry run changes the store:\n%s", cmp.Diff(damaged, have))
				}
				if diff := cmp.Diff(want, inShort(root, mend(t, root, false, from...))); diff != "" {
					t.Errorf("(-want +have):\n%s", diff)
				}
				isMended := !strings.Contains(strings.Join(want, "\n"), "remains")
				if have := listing(t, root); isMended && have != before {
					t.Errorf("it is another store:\n%s", cmp.Diff(before, have))
				}
				if again := inShort(root, mend(t, root, false, from...)); isMended && len(again) > 0 {
					t.Errorf("the next repair does %q", again)
				}
				if len(mend(t, root, false, debs).Remaining) > 0 || listing(t, root) != before {
					t.Errorf("with the packages in the end, it is another store:\n%s", cmp.Diff(before, listing(t, root)))
				}
			})
		}
	}
}

// remaining returns the paths of what remains.
func remaining(lines []string) (paths []string) {
	for _, line := range lines {
		if strings.HasPrefix(line, "remains ") {
			paths = append(paths, line[strings.LastIndexByte(line, ' ')+1:])
		}
	}
	return paths
}

// declaredKinds returns the kinds of damage that package store declares.
func declaredKinds(t *testing.T) (list []store.DamageKind) {
	t.Helper()
	b, err := os.ReadFile("../../store/damage.go")
	must(t, err)
	for _, m := range regexp.MustCompile(`DamageKind = "([a-z-]+)"`).FindAllStringSubmatch(string(b), -1) {
		list = append(list, store.DamageKind(m[1]))
	}
	if len(list) < 10 {
		t.Fatalf("found are %q only", list)
	}
	return list
}

// TestBinding has a program whose note speaks of other files than those that stand there.
func TestBinding(t *testing.T) {
	root, _ := notedStore(t)
	lib := readManifest(t, root, "liba1", "1")
	var is elfedit.Bound
	for i := range lib.Files {
		if f := &lib.Files[i]; f.ELF != nil && f.ELF.Soname != "" {
			is = elfedit.Bound{Path: "/var/sys/liba1/1/" + f.Path, Digest: f.Object.String()}
		}
	}
	for _, tt := range []struct {
		name  string
		bound elfedit.Bound
		what  string // "" for no damage
	}{
		{"this file", is, ""},
		{"other bytes", elfedit.Bound{Path: is.Path, Digest: strings.Repeat("0", 64)}, "is bound to " + is.Path + " with the digest " + strings.Repeat("0", 64) + ", and there it is " + is.Digest},
		{"no file", elfedit.Bound{Path: "/var/sys/liba1/1/none", Digest: is.Digest}, "is bound to /var/sys/liba1/1/none, and its tree has no such file"},
		{"no tree", elfedit.Bound{Path: "/var/sys/none/1/x", Digest: is.Digest}, "is bound to /var/sys/none/1/x, and there is no such tree"},
		{"of another store", elfedit.Bound{Path: "/srv/sys/none/1/x", Digest: is.Digest}, ""},
	} {
		change(t, root, "prog", "1", "usr/bin/prog", func(f *record.File) {
			f.Edits = slices.DeleteFunc(f.Edits, func(e record.EditRecord) bool { return e.Kind == record.EditNote })
			editAs(t, root, "prog/1/usr/bin/prog", f, append(f.Edits, record.EditRecord{Kind: record.EditNote, To: []string{tt.bound.String()}}))
		})
		var want, remains []string
		if tt.what != "" {
			want, remains = []string{"binding: " + tt.what}, []string{"remains binding prog/1/usr/bin/prog"}
		}
		for _, o := range []verify.Options{{}, {Specs: []query.Spec{{Name: "prog"}}}} {
			report, err := verify.Trees(t.Context(), root, o)
			must(t, err)
			var have []string
			for _, d := range report.Damaged {
				have = append(have, string(d.Kind)+": "+d.What)
			}
			if diff := cmp.Diff(want, have); diff != "" {
				t.Errorf("%s: verify reports (-want +have):\n%s", tt.name, diff)
			}
		}
		if diff := cmp.Diff(remains, inShort(root, mend(t, root, false))); diff != "" {
			t.Errorf("%s: a repair (-want +have):\n%s", tt.name, diff)
		}
	}
}

// notedStore is smallStore with a program that has a note.
func notedStore(t *testing.T) (root *sysroot.Root, debs string) {
	t.Helper()
	noted := program
	noted.Sections = true
	packages := slices.Clone(small)
	packages[2].Files = slices.Clone(packages[2].Files)
	packages[2].Files[0] = elfFile("usr/bin/prog", noted)
	root = newRoot(t)
	files := write(t, packages...)
	install(t, root, files...)
	return root, filepath.Dir(files[0])
}

// editAs edits the packaged bytes of a file of a tree otherwise, as an install would have.
func editAs(t *testing.T, root *sysroot.Root, name string, f *record.File, records []record.EditRecord) {
	t.Helper()
	file := root.Store().Path(name)
	b, err := os.ReadFile(file)
	must(t, err)
	packaged, err := rewrite.Undo(b, f.Patch, f.Source)
	must(t, err)
	edit, _, err := rewrite.Make(packaged, records)
	must(t, err)
	edited, err := edit.Apply(packaged)
	must(t, err)
	f.Patch, err = record.PackEdit(edit)
	must(t, err)
	f.Edits, f.Object, f.Size = records, digest.Of(edited), int64(len(edited))
	object := root.Store().Path(layout.ObjectPath(f.Object))
	must(t, os.MkdirAll(filepath.Dir(object), 0o755))
	must(t, errors.Join(os.WriteFile(object, edited, 0o600), os.Chmod(object, 0o555), os.Remove(file), os.Link(object, file)))
}

// TestRecordOfAnotherEdit has records that are not of the file: what is in no identity the file
// tells, and the rest the package.
func TestRecordOfAnotherEdit(t *testing.T) {
	root, debs := notedStore(t)
	before := listing(t, root)
	note := func(f *record.File) *record.EditRecord {
		i := slices.IndexFunc(f.Edits, func(e record.EditRecord) bool { return e.Kind == record.EditNote })
		return &f.Edits[i]
	}
	manifest := layout.ManifestPath("prog", "1")
	for name, tt := range map[string]struct {
		change func(*record.File)
		from   bool // the package is needed
	}{
		"a note of another file": {func(f *record.File) { note(f).To = []string{strings.Repeat("0", 64) + "  /var/sys/libc6/1/x"} }, false},
		"no note": {func(f *record.File) {
			f.Edits = slices.DeleteFunc(f.Edits, func(e record.EditRecord) bool { return e.Kind == record.EditNote })
		}, false},
		"bound to itself": {func(f *record.File) {
			f.Edits = append(f.Edits, record.EditRecord{Kind: record.EditSelf, To: []string{"1", "1"}})
		}, false},
		"another packaged file": {func(f *record.File) { f.ELF.Needed = nil }, false},
		"no patch":              {func(f *record.File) { f.Patch = nil }, true},
		"another interpreter":   {func(f *record.File) { f.Edits[0].To = []string{"/tmp/ld.so"} }, true},
		"no records":            {func(f *record.File) { f.Edits = nil }, true},
	} {
		change(t, root, "prog", "1", "usr/bin/prog", tt.change)
		report, err := verify.Trees(t.Context(), root, verify.Options{})
		must(t, err)
		if !slices.ContainsFunc(report.Damaged, func(d store.Damage) bool { return d.Kind == store.DamageEdit && d.Tree == "prog/1" }) {
			t.Errorf("%s: verify reports %+v", name, report.Damaged)
		}
		want := []string{"mended " + manifest}
		if tt.from {
			if diff := cmp.Diff([]string{"remains edit prog/1/usr/bin/prog"}, inShort(root, mend(t, root, false))); diff != "" {
				t.Errorf("%s: without the package (-want +have):\n%s", name, diff)
			}
		} else if diff := cmp.Diff(want, inShort(root, mend(t, root, true))); diff != "" {
			t.Errorf("%s: a dry run (-want +have):\n%s", name, diff)
		}
		var from []string
		if tt.from {
			from = []string{debs}
		}
		if diff := cmp.Diff(want, inShort(root, mend(t, root, false, from...))); diff != "" {
			t.Errorf("%s (-want +have):\n%s", name, diff)
		}
		if have := listing(t, root); have != before {
			t.Fatalf("%s: it is another store:\n%s", name, cmp.Diff(before, have))
		}
	}
}

// TestMoved moves a store to another prefix, and lets a link lead to it from where it was.
func TestMoved(t *testing.T) {
	first, _ := smallStore(t)
	dir := first.Dir()
	must(t, os.Mkdir(filepath.Join(dir, "srv"), 0o755))
	must(t, os.Rename(filepath.Join(dir, "var/sys"), filepath.Join(dir, "srv/sys")))
	root, err := sysroot.Open(dir, "/srv/sys", first.Formats())
	must(t, err)
	defer root.Close()
	want := []string{"remains prefix prog/1", "remains prefix twin/1"} // libraries search
	if diff := cmp.Diff(want, inShort(root, mend(t, root, false))); diff != "" {
		t.Errorf("moved (-want +have):\n%s", diff)
	}
	must(t, os.Symlink("/srv/sys", filepath.Join(dir, "var/sys")))
	if have := inShort(root, mend(t, root, false)); len(have) > 0 {
		t.Errorf("with a link, it says %q", have)
	}
	must(t, os.Remove(filepath.Join(dir, "var/sys")))
	must(t, os.MkdirAll(filepath.Join(dir, "var/sys/.hashpkg"), 0o755)) // another store
	if diff := cmp.Diff(want, inShort(root, mend(t, root, false))); diff != "" {
		t.Errorf("with another store (-want +have):\n%s", diff)
	}
}

// TestAffected loses the bytes of a library: who leads to its tree is named, and nobody else.
func TestAffected(t *testing.T) {
	root, _ := smallStore(t)
	flip(t, root, libPath)
	result := mend(t, root, false)
	if len(result.Remaining) != 1 {
		t.Fatalf("there remains %+v", result.Remaining)
	}
	d := result.Remaining[0]
	if diff := cmp.Diff([]string{"prog=1", "twin=1"}, d.Affected); diff != "" || d.Tree != "liba1/1" || d.Repair != "give its package: hashpkg verify --repair --from liba1_1.deb" {
		t.Errorf("%+v (-want +have):\n%s", d, diff)
	}
}

// TestScope repairs what a name leads to, and nothing else.
func TestScope(t *testing.T) {
	for spec, want := range map[string][]string{
		"prog":    {"mended " + libPath, "mended " + script},
		"prog=1":  {"mended " + libPath, "mended " + script},
		"liba1":   {"mended " + libPath},
		"twin":    {"mended " + libPath, "mended twin/1/usr/bin/twin"},
		"libc6":   nil,
		"other":   {query.ErrNotInstalled.Error()},
		"prog=2":  {query.ErrNotInstalled.Error()},
		"default": {query.ErrNotInstalled.Error()},
	} {
		root, _ := smallStore(t)
		for _, name := range []string{libPath, script, "twin/1/usr/bin/twin"} {
			remove(t, root, name)
		}
		s, err := query.ParseSpec(spec)
		must(t, err)
		result, err := Run(t.Context(), Options{Root: root, Specs: []query.Spec{s}, Now: now})
		if errors.Is(err, query.ErrNotInstalled) && slices.Equal(want, []string{query.ErrNotInstalled.Error()}) {
			continue
		}
		must(t, err)
		if diff := cmp.Diff(want, inShort(root, result)); diff != "" {
			t.Errorf("%s (-want +have):\n%s", spec, diff)
		}
	}
}

// TestScopeWithoutLink repairs a name where no generation is active: the newest one says what
// there is.
func TestScopeWithoutLink(t *testing.T) {
	root, _ := smallStore(t)
	remove(t, root, script)
	remove(t, root, layout.CurrentSystem)
	result, err := Run(t.Context(), Options{Root: root, Specs: []query.Spec{{Name: "prog"}}, Now: now})
	must(t, err)
	if diff := cmp.Diff([]string{"mended " + script}, inShort(root, result)); diff != "" {
		t.Errorf("(-want +have):\n%s", diff)
	}
}

// toolPackage is a package of the system, with a program and a library.
var toolPackage = testdeb.Package{Name: "tool", Version: "1", Files: []testdeb.File{
	elfFile("usr/bin/tool", testelf.File{Interpreter: loader, Needed: []string{"liba.so.1"}}),
	testdeb.Exec("usr/bin/script", "#!/bin/sh\n"),
	elfFile(libDir+"liba.so.1", testelf.File{Soname: "liba.so.1"}),
	elfFile(libDir+"ld-linux-x86-64.so.2", testelf.File{Soname: "ld-linux-x86-64.so.2"}),
}}

// systemRoot returns a root whose dpkg has toolPackage installed, the program of which is
// edited, and the package.
func systemRoot(t *testing.T) (root *sysroot.Root, pkg string) {
	t.Helper()
	root = newRoot(t)
	must(t, os.Symlink(libDir, filepath.Join(root.Dir(), "lib64")))
	var list, sums strings.Builder
	for _, f := range toolPackage.Files {
		must(t, root.WriteFile(f.Path, []byte(f.Content), 0o755))
		fmt.Fprintf(&list, "/%s\n", f.Path)
		fmt.Fprintf(&sums, "%x  %s\n", md5.Sum([]byte(f.Content)), f.Path)
	}
	must(t, root.WriteFile("var/lib/dpkg/info/tool.list", []byte(list.String()), 0o644))
	must(t, root.WriteFile("var/lib/dpkg/info/tool.md5sums", []byte(sums.String()), 0o644))
	must(t, root.WriteFile("var/lib/dpkg/status", []byte("Package: tool\nStatus: install ok installed\nMaintainer: x <x@example.org>\nArchitecture: amd64\nVersion: 1\nDescription: x\n"), 0o644))
	syncRoot(t, root)
	return root, write(t, toolPackage)[0]
}

func syncRoot(t *testing.T, root *sysroot.Root) {
	t.Helper()
	_, err := transaction.Sync(t.Context(), transaction.SyncOptions{Root: root, Rewrite: programs.Rewrite{Executables: programs.RewriteFull}, Now: now})
	must(t, err)
}

// TestSystemKinds damages an edited program, what is recorded of it, and files that hashpkg
// has not edited.
func TestSystemKinds(t *testing.T) {
	const (
		tool   = "/usr/bin/tool"
		edits  = ".hashpkg/system/edits/deb/tool:amd64.json"
		record = "remains record " + edits
		again  = "run apt-get install --reinstall tool:amd64"
	)
	flipTool := func(t *testing.T, root *sysroot.Root) {
		file := filepath.Join(root.Dir(), tool)
		b, err := os.ReadFile(file)
		must(t, err)
		b[len(b)-1] ^= 1
		must(t, os.WriteFile(file, b, 0o755))
	}
	for name, c := range map[string]struct {
		damage          func(t *testing.T, root *sysroot.Root)
		alone, packaged []string
		asPackaged      bool // until the next sync
	}{
		"other bytes":           {flipTool, []string{"remains system " + tool}, []string{"mended " + tool, "quarantined " + tool}, false},
		"no record":             {func(t *testing.T, root *sysroot.Root) { remove(t, root, edits) }, []string{"remains system " + tool}, []string{"mended " + tool, "quarantined " + tool}, true},
		"a record of something": {func(t *testing.T, root *sysroot.Root) { put(t, root, edits, []byte("x")) }, []string{record, "remains system " + tool}, []string{"mended " + tool, "quarantined " + edits, "quarantined " + tool}, true},
		"a record, and nothing to need it": {func(t *testing.T, root *sysroot.Root) {
			put(t, root, edits, []byte("x"))
			must(t, os.WriteFile(filepath.Join(root.Dir(), tool), []byte(toolPackage.Files[0].Content), 0o755))
		}, []string{"quarantined " + edits}, []string{"quarantined " + edits}, true},
		"a script": {func(t *testing.T, root *sysroot.Root) {
			must(t, os.WriteFile(filepath.Join(root.Dir(), "usr/bin/script"), []byte("#!/bin/sh\nmine\n"), 0o755))
		}, []string{"remains system /usr/bin/script"}, []string{"remains system /usr/bin/script"}, false},
		"a program that is gone": {func(t *testing.T, root *sysroot.Root) { must(t, os.Remove(filepath.Join(root.Dir(), tool))) }, []string{"remains system " + tool}, []string{"remains system " + tool}, false},
		"nothing":                {func(*testing.T, *sysroot.Root) {}, nil, nil, false},
	} {
		for _, packaged := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, packages: %v", name, packaged), func(t *testing.T) {
				root, pkg := systemRoot(t)
				whole := tools(t, root)
				if whole == toolPackage.Files[0].Content {
					t.Fatal("the program was not edited")
				}
				c.damage(t, root)
				state := func() string { return listing(t, root) + tools(t, root) }
				damaged := state()
				o, want := Options{Root: root, Now: now}, c.alone
				if packaged {
					o.From, want = []string{pkg}, c.packaged
				}
				short := func(r *Result) (lines []string) {
					for _, line := range inShort(root, r) {
						lines = append(lines, strings.Replace(line, root.Dir(), "", 1))
					}
					return lines
				}
				o.DryRun = true
				result, err := System(t.Context(), o, nil)
				must(t, err)
				if diff := cmp.Diff(want, short(result)); diff != "" {
					t.Errorf("in a dry run (-want +have):\n%s", diff)
				}
				if have := state(); have != damaged {
					t.Errorf("a dry run changes:\n%s", cmp.Diff(damaged, have))
				}
				o.DryRun = false
				if result, err = System(t.Context(), o, []string{"tool"}); err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(want, short(result)); diff != "" {
					t.Errorf("(-want +have):\n%s", diff)
				}
				for _, d := range result.Remaining {
					if !strings.Contains(d.Repair, again+" in "+root.Dir()) {
						t.Errorf("to repair %s it says %s", d.Path, d.Repair)
					}
				}
				if len(result.Remaining) > 0 {
					if have := state(); have != damaged {
						t.Errorf("it changes what it does not mend:\n%s", cmp.Diff(damaged, have))
					}
					return
				}
				if c.asPackaged && tools(t, root) != toolPackage.Files[0].Content {
					t.Error("the program is not as packaged")
				}
				syncRoot(t, root)
				if tools(t, root) != whole {
					t.Error("after a sync, the program has not the edit that it had")
				}
				v, err := verify.System(t.Context(), root, nil, func(int, int) {})
				if err != nil || len(v.Altered)+len(v.Records) > 0 || len(v.Edited) != 1 {
					t.Errorf("after a sync: %+v, %v", v, err)
				}
			})
		}
	}
	if _, err := System(t.Context(), Options{Root: newRoot(t), Now: now}, nil); !errors.Is(err, query.ErrNotInstalled) {
		t.Errorf("without a store: %v", err)
	}
	root, _ := systemRoot(t)
	if _, err := System(t.Context(), Options{Root: root, Now: now}, []string{"nothing"}); !errors.Is(err, query.ErrNotInstalled) {
		t.Errorf("a package that is not there: %v", err)
	}
}

func tools(t *testing.T, root *sysroot.Root) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root.Dir(), "usr/bin/tool"))
	if !errors.Is(err, os.ErrNotExist) {
		must(t, err)
	}
	return string(b)
}

// TestSystemRecord has records of which one thing is wrong: the program stays as it is.
func TestSystemRecord(t *testing.T) {
	const edits = ".hashpkg/system/edits/deb/tool:amd64.json"
	for name, c := range map[string]struct {
		change func(*record.EditedFile)
		alone  bool // it needs no package
	}{
		"the source": {func(f *record.EditedFile) { f.Source[0]++ }, true},
		"the patch":  {func(f *record.EditedFile) { f.Applied[0].Patch.Packed = []byte("x") }, false},
		"no patch":   {func(f *record.EditedFile) { f.Applied[0].Patch = nil }, false},
		"both":       {func(f *record.EditedFile) { f.Source[0]++; f.Applied[0].Patch = nil }, false},
	} {
		root, pkg := systemRoot(t)
		program := tools(t, root)
		before := listing(t, root)
		var e record.PackageEdits
		b, err := os.ReadFile(root.Store().Path(edits))
		must(t, err)
		must(t, json.Unmarshal(b, &e))
		c.change(&e.Files[0])
		b, err = json.Marshal(e)
		must(t, err)
		put(t, root, edits, b)
		o := Options{Root: root, Now: now}
		if !c.alone {
			if result, err := System(t.Context(), o, nil); err != nil || len(result.Remaining) != 1 || len(result.Done) > 0 {
				t.Errorf("%s, without the package: %+v, %v", name, result, err)
			}
			o.From = []string{pkg}
		}
		if result, err := System(t.Context(), o, nil); err != nil || len(result.Remaining) > 0 || len(result.Done) != 1 {
			t.Errorf("%s: %+v, %v", name, result, err)
		}
		if have := listing(t, root); have != before || tools(t, root) != program {
			t.Errorf("%s: it is another record, or program:\n%s", name, cmp.Diff(before, have))
		}
	}
}

// TestSystemFetches damages an edited program: its package is fetched. It is not for a
// program that is lost, which only the package manager brings again.
func TestSystemFetches(t *testing.T) {
	root, pkg := systemRoot(t)
	program := tools(t, root)
	must(t, os.WriteFile(filepath.Join(root.Dir(), "usr/bin/tool"), []byte(program+"x"), 0o755))
	var asked []WantedPackage
	o := Options{Root: root, Now: now, Fetch: func(_ context.Context, w WantedPackage) (string, error) {
		asked = append(asked, w)
		return pkg, nil
	}}
	result, err := System(t.Context(), o, nil)
	if err != nil || len(result.Remaining) > 0 || !slices.Equal(result.Fetched, []string{"tool=1"}) || tools(t, root) != program {
		t.Errorf("%+v, %v", result, err)
	}
	if diff := cmp.Diff([]WantedPackage{{Name: "tool", Version: "1", Architecture: "amd64", Format: deb.Name}}, asked); diff != "" {
		t.Errorf("(-want +have):\n%s", diff)
	}
	if result, err := System(t.Context(), o, nil); err != nil || len(asked) != 1 || len(result.Done) > 0 {
		t.Errorf("the next repair: %+v, %v, and it asks for %v", result, err, asked)
	}
	must(t, os.Remove(filepath.Join(root.Dir(), "usr/bin/tool")))
	if result, err := System(t.Context(), o, nil); err != nil || len(asked) != 1 || len(result.Remaining) != 1 {
		t.Errorf("of a lost one: %+v, %v, and it asks for %v", result, err, asked)
	}
}

// TestManifestOfWhatLacks loses the manifest of a package with a program that would not
// start: it is made again all the same.
func TestManifestOfWhatLacks(t *testing.T) {
	root, debs := smallStore(t)
	files := write(t, testdeb.Package{Name: "lacks", Version: "1", Depends: "libc6", Files: []testdeb.File{
		elfFile("usr/bin/lacks", testelf.File{Interpreter: loader, Needed: []string{"libnone.so.1", "libc.so.6"}}),
	}})
	options := transaction.InstallOptions{Root: root, Packages: transaction.PackageFiles(files...), Now: now}
	if _, err := transaction.Install(t.Context(), options); err == nil {
		t.Fatal("it is installed")
	}
	options.AllowMissing = true
	if _, err := transaction.Install(t.Context(), options); err != nil {
		t.Fatal(err)
	}
	manifest := layout.ManifestPath("lacks", "1")
	remove(t, root, manifest)
	want := []string{"mended " + manifest}
	if diff := cmp.Diff(want, inShort(root, mend(t, root, false, debs, files[0]))); diff != "" {
		t.Errorf("(-want +have):\n%s", diff)
	}
}

// TestClosureObject loses a closure object, which no package has: it is made again from
// the manifests of the two trees that have it.
func TestClosureObject(t *testing.T) {
	root, _ := smallStore(t)
	tight := program
	tight.Tight, tight.Room = true, 1
	install(t, root, write(t,
		testdeb.Package{Name: "tight", Version: "1", Depends: "liba1", Files: []testdeb.File{elfFile("usr/bin/tight", tight)}},
		testdeb.Package{Name: "other", Version: "1", Depends: "liba1", Files: []testdeb.File{elfFile("usr/bin/other", tight)}})...)
	var objects []digest.Digest
	var names []string
	for _, name := range []string{"tight", "other"} {
		for _, f := range readManifest(t, root, name, "1").Files {
			if f.Closure != nil {
				objects = append(objects, f.Object)
				names = append(names, layout.TreePath(name, "1")+"/"+f.Path)
			}
		}
	}
	if len(objects) != 2 || objects[0] != objects[1] {
		t.Fatalf("the trees have the closure objects %v, want one that both have", objects)
	}
	before := listing(t, root)
	for _, damage := range []func(){
		func() { flip(t, root, names[0]) }, // and with it the object and the other tree's
		func() {
			for _, name := range append(names, layout.ObjectPath(objects[0])) {
				remove(t, root, name)
			}
		},
	} {
		damage()
		if listing(t, root) == before {
			t.Fatal("nothing is damaged")
		}
		if have := inShort(root, mend(t, root, false)); !slices.Contains(have, "mended "+layout.ObjectPath(objects[0])) {
			t.Errorf("the repair did %q", have)
		}
		if diff := cmp.Diff(before, listing(t, root)); diff != "" {
			t.Errorf("after the repair (-want +have):\n%s", diff)
		}
	}
}

// TestManifestWithoutDev loses the manifests of packages with headers that a hashpkg without dev has
// installed, one of them in a tree of another name: they are made again as they were. An install
// of one of these packages leaves its tree.
func TestManifestWithoutDev(t *testing.T) {
	root, _ := smallStore(t)
	header := []testdeb.File{{Path: "usr/include/x.h", Content: "/* */"}}
	files := write(t, testdeb.Package{Name: "one-dev", Version: "1", Files: header}, testdeb.Package{Name: "two-dev", Version: "1", Files: header})
	packages := transaction.PackageFiles(files...)
	packages[1].Tree = "1@0123abcd"
	if _, err := transaction.Install(t.Context(), transaction.InstallOptions{Root: root, Packages: packages, Now: now, NoDev: true}); err != nil {
		t.Fatal(err)
	}
	before := listing(t, root)
	remove(t, root, layout.ManifestPath("one-dev", "1"))
	remove(t, root, layout.ManifestPath("two-dev", "1@0123abcd"))
	mend(t, root, false, files...)
	if diff := cmp.Diff(before, listing(t, root)); diff != "" {
		t.Errorf("after the repair (-want +have):\n%s", diff)
	}
	result, err := transaction.Install(t.Context(), transaction.InstallOptions{Root: root, Packages: transaction.PackageFiles(files[0]), Now: now})
	if err != nil || result.Changed {
		t.Errorf("the install of what is there changes something: %+v, %v", result, err)
	}
}
