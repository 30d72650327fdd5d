package record

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/pkginfo"
)

func someLinkages() []*Linkage {
	var hashes []byte
	for i := range uint64(5) {
		hashes = AppendSymbolHash(hashes, i<<60|i, uint32(i)<<28|1)
	}
	return []*Linkage{
		{
			Identity: digest.Of([]byte("a")), Leads: []string{"libc6/2.36", "usr/lib"},
			Wants: [][]pkginfo.Constraint{{{Name: "libc6", Operator: ">=", Version: "2.36"}, {Name: "libc6.1", Architecture: "any"}}, {{Name: "x"}}},
			Files: []LinkedFile{
				{Path: "usr/lib/liba.so.1", Name: "liba.so.1", Exports: SymbolHashes(hashes), HasOwn: true, Own: SymbolHashes(hashes[:24])},
				{Path: "usr/bin/a", Name: "a amd64 usr/bin/a", Exports: SymbolHashes(hashes[:12])},
			},
		},
		{Identity: digest.Of([]byte("b"))},
	}
}

func TestLinkagesAreReadAsTheyWereWritten(t *testing.T) {
	want := someLinkages()
	have, err := DecodeLinkages(EncodeLinkages(want))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, have); diff != "" {
		t.Errorf("(-want +have)\n%s", diff)
	}
	n := uint64(0)
	for name, version := range have[0].Files[0].Exports.All() {
		if name != n<<60|n || version != uint32(n)<<28|1 {
			t.Errorf("symbol %d is %x, %x", n, name, version)
		}
		n++
	}
	if n != 5 || have[0].Files[0].Exports.Len() != 5 {
		t.Errorf("there are %d symbols", n)
	}
}

func TestDamagedLinkagesAreNoLinkages(t *testing.T) {
	whole := EncodeLinkages(someLinkages())
	for n := range whole {
		if _, err := DecodeLinkages(whole[:n]); err == nil {
			t.Errorf("the first %d bytes are read", n)
		}
		damaged := bytes.Clone(whole)
		damaged[n] ^= 4
		if _, err := DecodeLinkages(damaged); err == nil {
			t.Errorf("read with byte %d changed", n)
		}
	}
}

// TestHostileLinkages has files that tell of themselves that they are whole: none of them is more than an
// error, and what is read of one is in its bytes.
func TestHostileLinkages(t *testing.T) {
	body := EncodeLinkages(someLinkages())[len(linkagesMagic)+digest.Size:]
	random := rand.New(rand.NewPCG(1, 2))
	for range 20000 {
		hostile := bytes.Clone(body[:random.IntN(len(body))+1])
		for range random.IntN(6) {
			hostile[random.IntN(len(hostile))] = byte(random.Uint32())
		}
		list, err := DecodeLinkages(sealed(linkagesMagic, hostile))
		if err != nil {
			continue
		}
		for _, l := range list {
			for _, f := range l.Files {
				if len(f.Exports) > len(hostile) || len(f.Exports)%symbolHash != 0 || len(f.Own)%symbolHash != 0 {
					t.Fatalf("%d bytes of symbols in %d", len(f.Exports), len(hostile))
				}
			}
		}
	}
}
