package record

import (
	"debug/elf"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/elfedit"
	"github.com/hashpkg/hashpkg/pkginfo"
)

func someHoldings() []*Holding {
	m := jqManifest()
	m.Files[1].ELF.Type = elf.ET_DYN
	m.Requires = []pkginfo.Relation{{Alternatives: []pkginfo.Constraint{{Name: "libjq1", Operator: "=", Version: "1.6"}, {Name: "other"}}}}
	m.Recommends = []pkginfo.Relation{{Alternatives: []pkginfo.Constraint{{Name: "data"}}}}
	m.Provides = []pkginfo.Capability{{Name: "json", Version: "1"}}
	m.Files[1].Edits = append(m.Files[1].Edits, EditRecord{Kind: EditSelf, From: []string{"f", "g@V1"}, To: []string{"1", "7"}, Rivals: []Rival{{"libx=1", "usr/lib/libx.so", 2}}})
	m.Files[1].Needs = []Need{{"libjq.so.1", "libjq1=1.6", "/var/sys/libjq1/1.6/usr/lib/libjq.so.1"}}
	m.Files = append(m.Files, File{Path: "usr/lib/libx.so", Type: TypeSymlink, Target: "../../../../libx/1/usr/lib/libx.so"})
	system := &Manifest{Name: "zlib1g", Version: "1.3", Tree: "1.3", Origin: OriginSystem, Files: []File{
		{
			Path: "usr/lib/libz.so.1", Type: TypeFile, Size: 9, Object: digest.Of([]byte("z")), Source: digest.Of([]byte("z")), Place: "lib/libz.so.1",
			ELF: &elfedit.Info{Type: elf.ET_DYN, HasDynamic: true, Soname: "libz.so.1", Needed: []string{"libc.so.6"}},
		},
	}}
	view := &Manifest{Name: ".view", Tree: "abc", Origin: OriginView, Merged: []string{"jq/1.6"}, Files: m.Files}
	return []*Holding{NewHolding(m, "1 2 3"), NewHolding(system, "4"), NewHolding(view, "5")}
}

func TestHolding(t *testing.T) {
	list := someHoldings()
	jq := list[0]
	var files []string
	for f := range jq.Files {
		files = append(files, f.Path+" "+string(f.Type)+" "+f.Target)
	}
	if diff := cmp.Diff([]string{"usr directory ", "usr/bin/jq file ", "usr/lib/libx.so symlink ../../../../libx/1/usr/lib/libx.so", "bin/jq symlink ../usr/bin/jq"}, files); diff != "" {
		t.Errorf("files (-want +have):\n%s", diff)
	}
	// What is loaded is not a lead once more.
	if diff := cmp.Diff([]string{"/libx/1/usr/lib/libx.so", "/jq/1.6/usr/bin/jq"}, jq.Leads); diff != "" {
		t.Errorf("leads (-want +have):\n%s", diff)
	}
	if b := jq.Binaries; len(b) != 1 || !b[0].Program || len(b[0].Loads) != 2 || b[0].Loads[1].Path != "/lib64/ld-linux-x86-64.so.2" {
		t.Errorf("binaries %+v", b)
	}
	if diff := cmp.Diff(&SelfBound{7, 2, []Rival{{"libx=1", "usr/lib/libx.so", 2}}}, jq.Binaries[0].Self); diff != "" {
		t.Errorf("bound to itself (-want +have):\n%s", diff)
	}
	if list[1].Size != 9 || len(jq.Requires) != 1 || len(jq.Recommends) != 1 || jq.Recommends[0][0].Name != "data" {
		t.Errorf("size %d, requires %v, recommends %v", list[1].Size, jq.Requires, jq.Recommends)
	}
	if b := list[1].Binaries; len(b) != 1 || b[0].Self != nil || b[0].Program || b[0].Place != "/lib/libz.so.1" {
		t.Errorf("binaries of the system %+v", b)
	}
	for f := range list[2].Files {
		t.Errorf("a view has %s", f.Path)
	}
}

func TestHoldingsAreReadAgain(t *testing.T) {
	list := someHoldings()
	b := EncodeHoldings(list)
	have, err := DecodeHoldings(b)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(list, have, cmp.AllowUnexported(Holding{}), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("(-want +have)\n%s", diff)
	}
	for i := range b {
		damaged := slices.Clone(b)
		damaged[i] ^= 1
		if _, err := DecodeHoldings(damaged); err == nil {
			t.Fatalf("with another byte %d it is taken", i)
		}
		if _, err := DecodeHoldings(b[:i]); err == nil {
			t.Fatalf("cut at %d it is taken", i)
		}
	}
}

func TestSystemProgramsAreReadAgain(t *testing.T) {
	s := &SystemPrograms{Stamp: "x", Programs: []SystemProgram{{
		Package: "curl", Version: "8", Architecture: "amd64", Format: "deb", Path: "/usr/bin/curl", Needed: []string{"libz.so.1"},
		Loads: []Need{{"libz.so.1", "", "/usr/lib/libz.so.1.3"}}, Missing: []string{"libno.so.1"},
	}}}
	b := s.Encode()
	have, err := DecodeSystemPrograms(b)
	if diff := cmp.Diff(s, have); diff != "" || err != nil {
		t.Errorf("%v (-want +have)\n%s", err, diff)
	}
	b[len(b)-1] ^= 1
	if _, err := DecodeSystemPrograms(b); err == nil {
		t.Error("with another byte it is taken")
	}
}

// FuzzDecodeHoldings has bodies with their own digest: what comes after it has been
// compared is what has to stand anything.
func FuzzDecodeHoldings(f *testing.F) {
	b := EncodeHoldings(someHoldings())
	f.Add(b[len(holdingsMagic)+digest.Size:])
	f.Fuzz(func(t *testing.T, body []byte) {
		list, err := DecodeHoldings(sealed(holdingsMagic, body))
		if err != nil {
			return
		}
		for _, h := range list {
			for range h.Files { // must end
			}
		}
		if again, err := DecodeHoldings(EncodeHoldings(list)); err != nil || !cmp.Equal(list, again, cmp.AllowUnexported(Holding{})) {
			t.Errorf("does not survive being written again: %v", err)
		}
		_, _ = DecodeSystemPrograms(sealed(programsMagic, body))
	})
}
