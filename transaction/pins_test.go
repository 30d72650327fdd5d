package transaction

import (
	"strings"
	"testing"

	"github.com/hashpkg/hashpkg/elfedit"
	"github.com/hashpkg/hashpkg/layout/record"
)

func TestChoosePinned(t *testing.T) {
	tree := func(version, tree string, origin record.Origin, soname string) *record.Manifest {
		return &record.Manifest{
			Name: "lib", Version: version, Tree: tree, Origin: origin,
			Files: []record.File{{Path: "usr/lib/" + soname, ELF: &elfedit.Info{Soname: soname}}},
		}
	}
	system := tree("1", "1", record.OriginSystem, "lib.so.1")
	private := tree("1", "1@aaaaaaaa", record.OriginPrivate, "lib.so.1")
	another := tree("1", "1@bbbbbbbb", record.OriginPrivate, "lib.so.1")
	plain := tree("1", "1", record.OriginPrivate, "lib.so.1")
	two := tree("2", "2", record.OriginSystem, "lib.so.2")
	libc := tree("3", "3", record.OriginSystem, "libc.so.6")
	for _, tt := range []struct {
		name    string
		have    []*record.Manifest
		version string
		want    *record.Manifest
		fails   string
	}{
		{"the only one", []*record.Manifest{system, two}, "1", system, ""},
		{"the distribution's own", []*record.Manifest{private, system}, "1", system, ""},
		{"by its tree", []*record.Manifest{system, private, another}, "1@aaaaaaaa", private, ""},
		{"the tree of that very name", []*record.Manifest{plain, private}, "1", plain, ""},
		{"several", []*record.Manifest{private, another}, "1", nil, `name one of ["lib=1@aaaaaaaa" "lib=1@bbbbbbbb"]`},
		{"no such version", []*record.Manifest{system, two}, "9", nil, `the store has no lib=9; of lib it has ["1" "2"]`},
		{"no such library", nil, "9", nil, "the store has no lib; hashpkg install brings"},
		{"the C library", []*record.Manifest{libc}, "3", nil, "is the C library"},
	} {
		m, err := choosePinned(tt.have, "lib", tt.version)
		if m != tt.want || (err == nil) != (tt.fails == "") || err != nil && !strings.Contains(err.Error(), tt.fails) {
			t.Errorf("%s: %v %v", tt.name, m, err)
		}
	}
}
