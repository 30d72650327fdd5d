package rewrite

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/elfedit"
	"github.com/hashpkg/hashpkg/internal/testelf"
	"github.com/hashpkg/hashpkg/layout/record"
)

const loader = "/lib64/ld-linux-x86-64.so.2"

var (
	program = testelf.File{Interpreter: loader, Needed: []string{"liba.so.1", "libc.so.6"}}
	library = testelf.File{Soname: "liba.so.1", Needed: []string{"libb.so.2", "libc.so.6"}, RunPath: "$ORIGIN"}
)

func inspect(t *testing.T, b []byte) *elfedit.Info {
	t.Helper()
	info, err := elfedit.Inspect(b)
	if err != nil {
		t.Fatal(err)
	}
	return info
}

func TestChanges(t *testing.T) {
	text := func(s string) *string { return &s }
	for _, tt := range []struct {
		name    string
		records []record.EditRecord
		want    elfedit.Changes
		fault   string
	}{
		{name: "nothing"},
		{
			name:    "interpreter",
			records: []record.EditRecord{{Kind: record.EditInterpreter, From: []string{loader}, To: []string{"/ld"}}},
			want:    elfedit.Changes{Interpreter: text("/ld")},
		},
		{
			name:    "needed",
			records: []record.EditRecord{{Kind: record.EditNeeded, From: []string{"a", "b"}, To: []string{"/a", "b"}}},
			want:    elfedit.Changes{SetNeeded: []string{"/a", "b"}, VersionFiles: map[string]string{"a": "/a", "b": "b"}},
		},
		{
			name:    "needed, none",
			records: []record.EditRecord{{Kind: record.EditNeeded}},
			want:    elfedit.Changes{SetNeeded: []string{}, VersionFiles: map[string]string{}},
		},
		{
			name:    "replace and add",
			records: []record.EditRecord{{Kind: record.EditReplace, From: []string{"a"}, To: []string{"b"}}, {Kind: record.EditAdd, To: []string{"c"}}},
			want:    elfedit.Changes{ReplaceNeeded: []elfedit.Replacement{{Old: "a", New: "b"}}, AddNeededLast: []string{"c"}},
		},
		{
			name:    "RUNPATH",
			records: []record.EditRecord{{Kind: record.EditRunPath, To: []string{"/x:/y"}}},
			want:    elfedit.Changes{Path: &elfedit.SearchPath{Set: text("/x:/y"), Form: elfedit.FormRunPath}},
		},
		{
			name:    "RPATH",
			records: []record.EditRecord{{Kind: record.EditRPath, To: []string{"/x"}}},
			want:    elfedit.Changes{Path: &elfedit.SearchPath{Set: text("/x"), Form: elfedit.FormRPath}},
		},
		{
			name:    "no RPATH any more",
			records: []record.EditRecord{{Kind: record.EditRPath, From: []string{"/x"}, To: []string{""}}},
			want:    elfedit.Changes{Path: &elfedit.SearchPath{Remove: true}},
		},
		{name: "unknown", records: []record.EditRecord{{Kind: "soname", To: []string{"x"}}}, fault: `unknown kind "soname"`},
		{name: "no interpreter", records: []record.EditRecord{{Kind: record.EditInterpreter}}, fault: "0 new ones"},
		{name: "two paths", records: []record.EditRecord{{Kind: record.EditRunPath, To: []string{"/x", "/y"}}}, fault: "2 new ones"},
		{name: "too few names", records: []record.EditRecord{{Kind: record.EditNeeded, From: []string{"a", "b"}, To: []string{"a"}}}, fault: "2 old names and 1 new ones"},
		{name: "too many names", records: []record.EditRecord{{Kind: record.EditReplace, To: []string{"a"}}}, fault: "0 old names and 1 new ones"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			have, err := Changes(tt.records)
			if tt.fault != "" {
				if err == nil || !strings.Contains(err.Error(), tt.fault) {
					t.Errorf("the error is %v, want one with %q", err, tt.fault)
				}
				if err := Compare(&elfedit.Info{}, &elfedit.Info{}, tt.records); err == nil || !strings.Contains(err.Error(), tt.fault) {
					t.Errorf("Compare's error is %v, want one with %q", err, tt.fault)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, have); diff != "" {
				t.Errorf("(-want +have):\n%s", diff)
			}
		})
	}
}

// edits are made and undone by TestMakeAndUndo, on a program and a library.
var edits = map[string][]record.EditRecord{
	"nothing": nil,
	"needed": {{
		Kind: record.EditNeeded, From: []string{"liba.so.1", "libc.so.6", "libb.so.2"},
		To: []string{"/var/sys/liba/1/usr/lib/liba.so.1", "/var/sys/libc6/2/usr/lib/libc.so.6", "/var/sys/libb/2/usr/lib/libb.so.2"},
	}},
	"replace":  {{Kind: record.EditReplace, From: []string{"libc.so.6"}, To: []string{"libc-of-another-name.so.6"}}},
	"add":      {{Kind: record.EditAdd, To: []string{"/var/sys/libn/1/usr/lib/libn.so"}}},
	"runpath":  {{Kind: record.EditRunPath, To: []string{"/var/sys/libb/2/lib64:/var/sys/libc6/2/lib64"}}},
	"rpath":    {{Kind: record.EditRPath, To: []string{"/var/sys/libb/2/lib64"}}},
	"no path":  {{Kind: record.EditRunPath, To: []string{""}}},
	"all":      {{Kind: record.EditReplace, From: []string{"libc.so.6"}, To: []string{"c"}}, {Kind: record.EditAdd, To: []string{"n"}}, {Kind: record.EditRunPath, To: []string{"/x"}}},
	"and back": {{Kind: record.EditReplace, From: []string{"libc.so.6"}, To: []string{"libc.so.6"}}},
}

func TestMakeAndUndo(t *testing.T) {
	both := library
	both.RPath = "/both"
	tight := program
	tight.Tight = true
	for kind, file := range map[string]testelf.File{"program": program, "library": library, "both paths": both, "tight": tight} {
		for name, records := range edits {
			t.Run(kind+"/"+name, func(t *testing.T) {
				packaged := file.Bytes()
				before := slices.Clone(packaged)
				edit, _, err := Make(packaged, records)
				if err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(packaged, before) {
					t.Error("Make has changed the packaged bytes")
				}
				edited, err := edit.Apply(packaged)
				if err != nil {
					t.Fatal(err)
				}
				if err := Compare(inspect(t, edited), inspect(t, packaged), records); err != nil {
					t.Error(err)
				}
				patch, err := record.PackEdit(edit)
				if err != nil {
					t.Fatal(err)
				}
				undone, err := Undo(edited, patch, digest.Of(packaged))
				if err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(undone, packaged) {
					t.Error("undoing the edit does not give the packaged bytes")
				}
				undone, err = UndoIn(edited, patch, digest.Of(packaged))
				if err != nil || !bytes.Equal(undone, packaged) {
					t.Errorf("undoing the edit in place does not give the packaged bytes: %v", err)
				}
				if edit.NewSize >= edit.OldSize && &undone[0] != &edited[0] {
					t.Error("undoing the edit in place has made a copy")
				}
			})
		}
	}
}

func TestMakeInterpreter(t *testing.T) {
	records := []record.EditRecord{{Kind: record.EditInterpreter, From: []string{loader}, To: []string{"/var/sys/libc6/2/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"}}}
	edit, leavesRelRO, err := Make(program.Bytes(), records)
	if err != nil || leavesRelRO {
		t.Fatalf("leaves RELRO: %v, error: %v", leavesRelRO, err)
	}
	edited, err := edit.Apply(program.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if have := inspect(t, edited).Interpreter; have != records[0].To[0] {
		t.Errorf("the interpreter is %q", have)
	}
	var refused *elfedit.RefusedError
	if _, _, err := Make(library.Bytes(), records); !errors.As(err, &refused) {
		t.Errorf("of a library without an interpreter: %v, want a refusal", err)
	}
}

func TestMakeLeavesRelRO(t *testing.T) {
	add := []record.EditRecord{{Kind: record.EditAdd, To: []string{"one.so", "more.so"}}}
	tight := program
	tight.Tight = true
	for _, tt := range []struct {
		name string
		file testelf.File
		want bool
	}{{"room", program, false}, {"tight", tight, true}} {
		t.Run(tt.name, func(t *testing.T) {
			_, leaves, err := Make(tt.file.Bytes(), add)
			if err != nil || leaves != tt.want {
				t.Errorf("leaves RELRO: %v, error: %v; want %v", leaves, err, tt.want)
			}
		})
	}
}

func TestMakeRefused(t *testing.T) {
	stuffed := library
	stuffed.Refused = true
	var refused *elfedit.RefusedError
	if _, _, err := Make(stuffed.Bytes(), edits["runpath"]); !errors.As(err, &refused) {
		t.Errorf("the error is %v, want a refusal", err)
	}
	if _, _, err := Make([]byte("no ELF"), edits["runpath"]); !errors.Is(err, elfedit.ErrNotELF) {
		t.Errorf("the error is %v, want ErrNotELF", err)
	}
}

func TestCompare(t *testing.T) {
	packaged := elfedit.Info{Interpreter: "/ld", Soname: "s", Needed: []string{"a", "b"}, RunPath: "/r"}
	with := func(change func(*elfedit.Info)) elfedit.Info {
		i := packaged
		i.Needed = slices.Clone(packaged.Needed)
		change(&i)
		return i
	}
	for _, tt := range []struct {
		name    string
		edited  elfedit.Info
		records []record.EditRecord
		fault   string // part of the error; "" for none
	}{
		{name: "as it was", edited: packaged},
		{name: "interpreter", edited: with(func(i *elfedit.Info) { i.Interpreter = "/x" }), fault: `interpreter "/x", planned was "/ld"`},
		{name: "needed", edited: with(func(i *elfedit.Info) { i.Needed[0] = "c" }), fault: `needs ["c" "b"], planned was ["a" "b"]`},
		{name: "order", edited: with(func(i *elfedit.Info) { slices.Reverse(i.Needed) }), fault: "needs"},
		{name: "RUNPATH", edited: with(func(i *elfedit.Info) { i.RunPath = "" }), fault: `RUNPATH "", planned was "/r"`},
		{name: "RPATH", edited: with(func(i *elfedit.Info) { i.RPath = "/r" }), fault: `RPATH "/r", planned was ""`},
		{name: "soname", edited: with(func(i *elfedit.Info) { i.Soname = "t" }), fault: `soname "t", planned was "s"`},
		{
			name: "edit not made", edited: packaged, fault: "planned was",
			records: []record.EditRecord{{Kind: record.EditReplace, From: []string{"a"}, To: []string{"/a"}}},
		},
		{
			name: "RUNPATH as RPATH", edited: with(func(i *elfedit.Info) { i.RunPath, i.RPath = "", "/x" }),
			records: []record.EditRecord{{Kind: record.EditRPath, To: []string{"/x"}}},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := Compare(&tt.edited, &packaged, tt.records)
			if (err == nil) != (tt.fault == "") || err != nil && !strings.Contains(err.Error(), tt.fault) {
				t.Errorf("the error is %v, want %q", err, tt.fault)
			}
		})
	}
	if !slices.Equal(packaged.Needed, []string{"a", "b"}) {
		t.Errorf("Compare has changed what was packaged: %q", packaged.Needed)
	}
}

func TestUndoRefuses(t *testing.T) {
	packaged := program.Bytes()
	edit, _, err := Make(packaged, edits["add"])
	if err != nil {
		t.Fatal(err)
	}
	edited, err := edit.Apply(packaged)
	if err != nil {
		t.Fatal(err)
	}
	patch, err := record.PackEdit(edit)
	if err != nil {
		t.Fatal(err)
	}
	altered := slices.Clone(edited)
	altered[edit.Hunks[0].Offset] ^= 1
	elsewhere := slices.Clone(edited)
	elsewhere[4] ^= 1 // of the header, where nothing was edited
	for _, tt := range []struct {
		name        string
		edited      []byte
		patch       *record.Patch
		source      digest.Digest
		notPackaged bool
	}{
		{"altered where it was edited", altered, patch, digest.Of(packaged), true},
		{"altered elsewhere", elsewhere, patch, digest.Of(packaged), true},
		{"shorter", edited[:len(edited)-1], patch, digest.Of(packaged), true},
		{"another source", edited, patch, digest.Of(edited), true},
		{"no patch", edited, nil, digest.Of(packaged), false},
		{"damaged patch", edited, &record.Patch{OldSize: patch.OldSize, NewSize: patch.NewSize, Packed: patch.Packed[1:]}, digest.Of(packaged), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b, err := Undo(tt.edited, tt.patch, tt.source)
			if err == nil || b != nil || errors.Is(err, ErrNotPackaged) != tt.notPackaged {
				t.Errorf("%d bytes, error %v; want ErrNotPackaged: %v", len(b), err, tt.notPackaged)
			}
			b, err = UndoIn(slices.Clone(tt.edited), tt.patch, tt.source)
			if err == nil || b != nil || errors.Is(err, ErrNotPackaged) != tt.notPackaged {
				t.Errorf("in place: %d bytes, error %v; want ErrNotPackaged: %v", len(b), err, tt.notPackaged)
			}
		})
	}
}
