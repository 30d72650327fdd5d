package rewrite

import (
	"bytes"
	"debug/elf"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/elfedit"
	"github.com/hashpkg/hashpkg/layout/record"
)

// selfBound returns a library that build returns, edited: with a search path and a note, and
// bound to its own symbols, but for those that are taken.
func selfBound(t *testing.T, taken ...string) (packaged, edited []byte, records []record.EditRecord) {
	t.Helper()
	if elf.EM_X86_64 != hostMachine(t) {
		t.Skip("the library is for another machine")
	}
	packaged = build(t)
	records = []record.EditRecord{
		{Kind: record.EditRunPath, To: []string{"/var/sys/libb/1/lib64"}},
		{Kind: record.EditNote, To: []string{digest.Of(nil).String() + "  /var/sys/libb/1/lib64/libb.so.1"}},
	}
	self, edit, _, err := MakeSelf(packaged, records, func(s elfedit.Symbol) bool { return slices.Contains(taken, s.Name) })
	if err != nil {
		t.Fatal(err)
	}
	if self == nil {
		if edit, _, err = Make(packaged, records); err != nil {
			t.Fatal(err)
		}
	} else {
		records = slices.Insert(records, 1, *self)
	}
	if edited, err = edit.Apply(packaged); err != nil {
		t.Fatal(err)
	}
	return packaged, edited, records
}

// TestRemake finds the records of a file that are in no identity, whatever records it is given of
// these.
func TestRemake(t *testing.T) {
	for _, taken := range [][]string{nil, {"one"}, {"one", "two"}} {
		packaged, edited, records := selfBound(t, taken...)
		for name, given := range map[string][]record.EditRecord{
			"none":  records[:1],
			"right": records,
			"wrong": {records[0], {Kind: record.EditSelf, From: []string{"sum"}, To: []string{"1", "1"}}, {Kind: record.EditNote, To: []string{"x"}}},
		} {
			all, edit, err := Remake(packaged, edited, given)
			if err != nil {
				t.Fatalf("without %q, %s: %v", taken, name, err)
			}
			if diff := cmp.Diff(records, all); diff != "" {
				t.Errorf("without %q, %s (-want +have):\n%s", taken, name, diff)
			}
			if made, err := edit.Apply(packaged); err != nil || !bytes.Equal(made, edited) {
				t.Errorf("without %q, %s: the edit gives another file (%v)", taken, name, err)
			}
		}
		altered := slices.Clone(edited)
		altered[len(altered)/2] ^= 1
		for name, b := range map[string][]byte{"nothing": nil, "no ELF": []byte("text"), "packaged": packaged, "altered": altered, "short": edited[:len(edited)/2]} {
			if _, _, err := Remake(packaged, b, records); !errors.Is(err, ErrOtherEdit) {
				t.Errorf("of a file that is %s, the error is %v", name, err)
			}
		}
		if _, _, err := Remake(packaged, edited, nil); !errors.Is(err, ErrOtherEdit) {
			t.Errorf("without the record of an identity, the error is %v", err)
		}
	}
}

// TestCheck has records that are not of the file.
func TestCheck(t *testing.T) {
	packaged, edited, records := selfBound(t, "one")
	was := inspect(t, packaged)
	if err := Check(edited, packaged, was, records, true); err != nil {
		t.Fatal(err)
	}
	with := func(i int, r record.EditRecord) []record.EditRecord {
		list := slices.Clone(records)
		list[i] = r
		return list
	}
	other := *was
	other.Soname = "libother.so.1"
	for _, tt := range []struct {
		name    string
		of      *elfedit.Info
		records []record.EditRecord
		fault   string
	}{
		{"another path", was, with(0, record.EditRecord{Kind: record.EditRunPath, To: []string{"/tmp"}}), "RUNPATH"},
		{"more is bound", was, with(1, record.EditRecord{Kind: record.EditSelf, To: []string{SelfRules, "2"}}), "bound to 1 of its own symbols, and not to 1; planned were 2, and not 0"},
		{"another is bound", was, with(1, record.EditRecord{Kind: record.EditSelf, From: []string{"two"}, To: []string{SelfRules, "1"}}), "bound to 1"},
		{"by other rules", was, with(1, record.EditRecord{Kind: record.EditSelf, From: []string{"one"}, To: []string{"0", "1"}}), "bound to 1"},
		{"nothing is bound", was, slices.Delete(slices.Clone(records), 1, 2), "bound to 1 of its own symbols, planned was none"},
		{"another note", was, with(2, record.EditRecord{Kind: record.EditNote, To: []string{digest.Of([]byte("x")).String() + "  /x"}}), "note"},
		{"no note", was, records[:2], "note"},
		{"another file", &other, records, `the packaged file has the soname "liba.so.1", recorded is "libother.so.1"`},
		{"no file", nil, records, "nothing is recorded"},
		{"nonsense", was, with(0, record.EditRecord{Kind: "shade"}), "unknown kind"},
	} {
		if err := Check(edited, packaged, tt.of, tt.records, true); !errors.Is(err, ErrOtherEdit) || !strings.Contains(err.Error(), tt.fault) {
			t.Errorf("%s: the error is %v, want one with %q", tt.name, err, tt.fault)
		}
	}
	if err := Check(packaged, packaged, was, []record.EditRecord{{Kind: record.EditSelf, To: []string{SelfRules, "2"}}}, false); !errors.Is(err, ErrOtherEdit) {
		t.Errorf("of a file that is bound to nothing, the error is %v", err)
	}
}
