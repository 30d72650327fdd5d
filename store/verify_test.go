package store_test

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/elfedit"
	"github.com/hashpkg/hashpkg/internal/testelf"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/layout/rewrite"
	"github.com/hashpkg/hashpkg/store"
)

func TestVerify(t *testing.T) {
	root := os.Geteuid() == 0
	for name, c := range map[string]struct {
		damage func(t *testing.T, file string, object string) // of a file of the tree
		file   string
		kind   store.DamageKind
		what   string
		skip   bool
	}{
		"object missing":   {func(t *testing.T, _, o string) { must(t, os.Remove(o)) }, "usr/bin/tool", store.DamageObjectMissing, "its object is missing", false},
		"object is a link": {func(t *testing.T, f, o string) { link(t, f, o) }, "usr/bin/tool", store.DamageObjectBytes, "not a regular file", false},
		"other bytes":      {func(t *testing.T, f, _ string) { overwrite(t, f, "TOOL") }, "usr/bin/tool", store.DamageObjectBytes, "other bytes", false},
		"other size":       {func(t *testing.T, f, _ string) { overwrite(t, f, "longer") }, "usr/bin/tool", store.DamageObjectBytes, "has 6 bytes, and should have 4", false},
		"setuid":           {func(t *testing.T, f, _ string) { must(t, unix.Chmod(f, 0o4555)) }, "usr/bin/tool", store.DamageObjectMetadata, "setuid", false},
		"mode":             {func(t *testing.T, f, _ string) { must(t, unix.Chmod(f, 0o755)) }, "usr/bin/tool", store.DamageFileMetadata, "has mode 0755, and should have 0555", false},
		"owner":            {func(t *testing.T, f, _ string) { must(t, os.Chown(f, 5, 0)) }, "usr/bin/tool", store.DamageFileMetadata, "belongs to user 5, and should belong to user 0", !root},
		"directory mode":   {func(t *testing.T, f, _ string) { must(t, os.Chmod(f, 0o711)) }, "usr/bin", store.DamageFileMetadata, "has mode 0711, and should have 0755", false},
		"directory owner":  {func(t *testing.T, f, _ string) { must(t, os.Chown(f, 5, 0)) }, "usr/bin", store.DamageFileMetadata, "user 5", !root},
		"file missing":     {func(t *testing.T, f, _ string) { must(t, os.Remove(f)) }, "usr/bin/tool", store.DamageFileMissing, "is missing", false},
		"file is a link":   {func(t *testing.T, f, o string) { link(t, o, f) }, "usr/bin/tool", store.DamageFileType, "is not a regular file", false},
		"copy": {func(t *testing.T, f, _ string) {
			must(t, os.Remove(f))
			write(t, f, "TOOL")
			must(t, os.Chmod(f, 0o555))
		}, "usr/bin/tool", store.DamageFileBytes, "other bytes", false},
		"own bytes":            {func(t *testing.T, f, _ string) { overwrite(t, f, "OWN") }, "usr/lib/own", store.DamageFileBytes, "other bytes", false},
		"own size":             {func(t *testing.T, f, _ string) { overwrite(t, f, "longer") }, "usr/lib/own", store.DamageFileBytes, "has 6 bytes", false},
		"own mode":             {func(t *testing.T, f, _ string) { must(t, os.Chmod(f, 0o644)) }, "usr/lib/own", store.DamageFileMetadata, "has mode 0644, and should have 0640", !root},
		"own group":            {func(t *testing.T, f, _ string) { must(t, os.Chown(f, 0, 5)) }, "usr/lib/own", store.DamageFileMetadata, "user 0 and group 5", !root},
		"link leads elsewhere": {func(t *testing.T, f, _ string) { link(t, "x", f) }, "usr/bin/link", store.DamageLink, "leads to x, and should lead to tool", false},
		"link missing":         {func(t *testing.T, f, _ string) { must(t, os.Remove(f)) }, "bin/tool", store.DamageLink, "is missing", false},
		"link is a file": {func(t *testing.T, f, _ string) {
			must(t, os.Remove(f))
			write(t, f, "x")
		}, "bin/tool", store.DamageLink, "is not a link", false},
		"pipe": {func(t *testing.T, f, _ string) {
			must(t, os.Remove(f))
			write(t, f, "x")
		}, "usr/bin/pipe", store.DamageFileType, "is not a named pipe", false},
		"unknown": {func(t *testing.T, f, _ string) { write(t, f, "x") }, "usr/bin/new", store.DamageFileUnknown, "is not in the manifest", false},
	} {
		t.Run(name, func(t *testing.T) {
			if c.skip {
				t.Skip("only root can make this damage, and see it")
			}
			s, m := installed(t)
			object := digest.Digest{}
			if f := m.Lookup(c.file); f != nil {
				object = f.Object
			}
			c.damage(t, s.Path("tool/1.0/"+c.file), s.Path(layout.ObjectPath(object)))
			_, damaged, err := s.Verify(t.Context(), []*record.Manifest{m}, nil)
			if err != nil || len(damaged) != 1 {
				t.Fatalf("Verify gives %+v, %v", damaged, err)
			}
			d := damaged[0]
			if d.Kind != c.kind || !strings.Contains(d.What, c.what) {
				t.Errorf("it is %s: %s; want %s: %s", d.Kind, d.What, c.kind, c.what)
			}
			if d.Package != "tool=1.0" || d.Tree != "tool/1.0" || d.File != c.file || d.Path != s.Path("tool/1.0/"+c.file) || d.Object != object {
				t.Errorf("it is said of %+v", d)
			}
		})
	}
}

// overwrite changes what is in a file that is read-only, and its mode not.
func overwrite(t *testing.T, file, content string) {
	t.Helper()
	info, err := os.Stat(file)
	must(t, err)
	must(t, os.Chmod(file, 0o644))
	must(t, os.WriteFile(file, []byte(content), 0))
	must(t, os.Chmod(file, info.Mode()))
}

func TestVerifyDirectories(t *testing.T) {
	out := outside(t)
	s, m := installed(t)
	must(t, os.Rename(s.Path("tool/1.0/usr/bin"), s.Path("bin")))
	link(t, s.Path("bin"), s.Path("tool/1.0/usr/bin"))
	_, damaged, err := s.Verify(t.Context(), []*record.Manifest{m}, nil)
	must(t, err)
	var kinds []store.DamageKind
	for _, d := range damaged {
		kinds = append(kinds, d.Kind)
	}
	// the directory itself, and the three files that it should have
	if want := slices.Repeat([]store.DamageKind{store.DamageFileType}, 4); !slices.Equal(kinds, want) {
		t.Errorf("a link to the true directory is %+v", damaged)
	}
	for what, f := range map[string]func(){
		"is missing":         func() {},
		"is not a directory": func() { write(t, s.Path("tool"), "x") },
		"a link":             func() { link(t, out, s.Path("tool")) },
	} {
		must(t, os.RemoveAll(s.Path("tool")))
		f()
		n, damaged, err := s.Verify(t.Context(), []*record.Manifest{m}, nil)
		if err != nil || len(damaged) != 1 || n != len(m.Files)+1 {
			t.Fatalf("%s: %d, %+v, %v", what, n, damaged, err)
		}
		b, err := json.Marshal(damaged[0])
		want := `{"kind":"tree-missing","package":"tool=1.0","tree":"tool/1.0","path":"` + s.Path("tool/1.0") + `","what":"the tree is missing`
		if err != nil || !strings.HasPrefix(string(b), want) || !strings.Contains(damaged[0].What, what) {
			t.Errorf("%s is %s (%v), want %s", what, b, err, want)
		}
	}
}

func TestVerifyEdit(t *testing.T) {
	s, staging := begin(t, nil)
	packaged := testelf.File{Soname: "liba.so.1", Needed: []string{"libc.so.6"}}.Bytes()
	records := []record.EditRecord{
		{Kind: record.EditNeeded, From: []string{"libc.so.6"}, To: []string{"/var/sys/libc6/1/libc.so.6"}},
		{Kind: record.EditRunPath, To: []string{"/var/sys/libb/1/lib64"}},
	}
	edit, _, err := rewrite.Make(packaged, records)
	must(t, err)
	f := add(t, staging, "file", string(packaged), 0o644)
	f.ELF, err = elfedit.Inspect(packaged)
	must(t, err)
	f.Object, f.Size, err = staging.Edit(f.Object, edit, true)
	must(t, err)
	f.Patch, err = record.PackEdit(edit)
	must(t, err)
	f.Edits = records
	m := manifest("tool", f)
	publish(t, s, staging, 1, m)
	var read int64
	if _, damaged, err := s.Verify(t.Context(), []*record.Manifest{m}, func(n int64) { read = n }); err != nil || len(damaged) > 0 || read != f.Size {
		t.Errorf("Verify gives %+v, %v, and reads %d bytes", damaged, err, read)
	}
	// A second tree, of a right record, does not hide the wrong one.
	other := m.Clone()
	other.Index()
	for what, change := range map[string]func(*record.File){
		"another packaged file": func(f *record.File) { f.Source = digest.Of([]byte("other")) },
		"no edit":               func(f *record.File) { f.Patch = &record.Patch{} },
		"no patch":              func(f *record.File) { f.Patch = nil },
		"no records":            func(f *record.File) { f.Edits = nil },
		"other libraries":       func(f *record.File) { f.Edits[0].To = []string{"/var/sys/libc6/2/libc.so.6"} },
		"another path":          func(f *record.File) { f.Edits[1].To = []string{"/tmp"} },
		"a path of another tag": func(f *record.File) { f.Edits[1].Kind = record.EditRPath },
		"a note": func(f *record.File) {
			f.Edits = append(f.Edits, record.EditRecord{Kind: record.EditNote, To: []string{strings.Repeat("1", 64) + "  /x"}})
		},
		"nonsense":        func(f *record.File) { f.Edits[1] = record.EditRecord{Kind: record.EditRunPath} },
		"an unknown kind": func(f *record.File) { f.Edits[1].Kind = "shade" },
		"an interpreter":  func(f *record.File) { f.Edits[1].Kind = record.EditInterpreter },
		"bound to itself": func(f *record.File) {
			f.Edits = append(f.Edits, record.EditRecord{Kind: record.EditSelf, To: []string{"1", "1"}})
		},
		"another soname": func(f *record.File) { f.ELF = &elfedit.Info{Soname: "libz.so.1", Needed: f.ELF.Needed} },
		"no facts":       func(f *record.File) { f.ELF = nil },
	} {
		b, err := m.Encode()
		must(t, err)
		changed, err := record.DecodeManifest(b)
		must(t, err)
		change(&changed.Files[0])
		_, damaged, err := s.Verify(t.Context(), []*record.Manifest{m, changed, other}, nil)
		if err != nil || len(damaged) != 1 || damaged[0].Kind != store.DamageEdit {
			t.Errorf("%s: Verify gives %+v, %v", what, damaged, err)
		}
	}
}
