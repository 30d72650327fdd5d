package rpm_test

import (
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashpkg/hashpkg/internal/testneed"
	"github.com/hashpkg/hashpkg/internal/testrpm"
)

// signatureHeader is the bytes of the signature header of a package, to be damaged.
type signatureHeader []byte

func (s signatureHeader) entries() int { return int(binary.BigEndian.Uint32(s[8:])) }

// set replaces field 0 to 3 of an entry: its tag, type, offset or count.
func (s signatureHeader) set(entry, field int, n int32) {
	binary.BigEndian.PutUint32(s[16+16*entry+4*field:], uint32(n))
}

func (s signatureHeader) offset(entry int) int32 {
	return int32(binary.BigEndian.Uint32(s[16+16*entry+8:]))
}

// setTrailer replaces field 0 to 3 of the trailer of the region.
func (s signatureHeader) setTrailer(field int, n int32) {
	trailer := 16 + 16*s.entries() + int(s.offset(0))
	binary.BigEndian.PutUint32(s[trailer+4*field:], uint32(n))
}

// TestRegions has headers that are not one region, as rpmsign left them when it
// added the signatures of files to a package that was signed, and damaged regions.
// rpm is the judge.
func TestRegions(t *testing.T) {
	fileSignatures := testrpm.Value{Tag: 274, Type: 8, Count: 2, Data: []byte("0302\x000303\x00")}
	length := testrpm.Value{Tag: 275, Type: 4, Count: 1, Data: []byte{0, 0, 0, 2}}
	dribble := func(all ...testrpm.Value) func(h *testrpm.Header) {
		return func(h *testrpm.Header) {
			for _, v := range all {
				h.Dribble(v)
			}
		}
	}
	both := dribble(fileSignatures, length)
	text := func(tag testrpm.Tag, s string) testrpm.Value {
		return testrpm.Value{Tag: tag, Type: 6, Count: 1, Data: []byte(s + "\x00")}
	}
	zeros := strings.Repeat("0", 64)
	const (
		entries                  = 6 // of the region, its own among them
		tag, kind, offset, count = 0, 1, 2, 3
	)
	for _, test := range []struct {
		name   string
		edit   func(sig *testrpm.Header)
		damage func(s signatureHeader)
		want   string // in the error, or "" for none
		strict bool   // rpm takes it
	}{
		{"whole", func(*testrpm.Header) {}, nil, "", false},
		{"dribbles", both, nil, "", false},
		{"dribble before the others by its tag", dribble(length, fileSignatures), nil, "", false},
		{"dribble of a tag of the region", dribble(text(269, "no digest")), nil, "", false},
		{"dribble of a digest of the region", dribble(text(273, zeros)), nil, "", false},
		{"dribble of a digest", func(h *testrpm.Header) { v := *h.Get(273); h.Delete(273); h.Dribble(v) }, nil, "", false},
		{"dribble of a wrong digest", func(h *testrpm.Header) { h.Delete(273); h.Dribble(text(273, zeros)) }, nil, "SHA-256 digest of the header", false},
		{"dribble twice", dribble(length, length), nil, "", false},
		{"wrong dribble first", func(h *testrpm.Header) {
			v := *h.Get(273)
			h.Delete(273)
			h.Dribble(text(273, zeros))
			h.Dribble(v)
		}, nil, "SHA-256 digest of the header", false},
		{"region of itself", func(h *testrpm.Header) {
			for _, t := range []testrpm.Tag{269, 273, 1000, 1004, 1007} {
				v := *h.Get(t)
				h.Delete(t)
				h.Dribble(v)
			}
		}, nil, "", false},
		{"trailer of another region", both, func(s signatureHeader) { s.setTrailer(tag, 61) }, "", false},
		{"region of fewer entries", both, func(s signatureHeader) { s.setTrailer(offset, -16*(entries-2)) }, "", false},
		{"region of more entries", both, func(s signatureHeader) { s.setTrailer(offset, -16*(entries+1)) }, "", false},

		{"tag of the region twice", func(h *testrpm.Header) { h.Append(*h.Get(269)) }, nil, "there twice", true},
		{"region of no entries", both, func(s signatureHeader) { s.setTrailer(offset, 0) }, "trailer of its region", false},
		{"region of too many entries", both, func(s signatureHeader) { s.setTrailer(offset, -16*(entries+3)) }, "trailer of its region", false},
		{"region of half an entry", both, func(s signatureHeader) { s.setTrailer(offset, -16*entries-8) }, "trailer of its region", false},
		{"region of less than none", both, func(s signatureHeader) { s.setTrailer(offset, 16) }, "trailer of its region", false},
		{"trailer of a header", both, func(s signatureHeader) { s.setTrailer(tag, 63) }, "trailer of its region", false},
		{"type of the trailer", both, func(s signatureHeader) { s.setTrailer(kind, 6) }, "trailer of its region", false},
		{"count of the trailer", both, func(s signatureHeader) { s.setTrailer(count, 32) }, "trailer of its region", false},
		{"type of the region", both, func(s signatureHeader) { s.set(0, kind, 6) }, "region", false},
		{"count of the region", both, func(s signatureHeader) { s.set(0, count, 15) }, "region", false},
		{"trailer before the data", both, func(s signatureHeader) { s.set(0, offset, -16) }, "region", false},
		{"trailer behind the data", both, func(s signatureHeader) { s.set(0, offset, int32(len(s))) }, "region", false},
		{"trailer far behind the data", both, func(s signatureHeader) { s.set(0, offset, 1<<31-1) }, "region", false},

		{"dribble in the trailer", both, func(s signatureHeader) { s.set(entries, offset, s.offset(0)+2) }, "overlaps", false},
		{"dribble into the trailer", both, func(s signatureHeader) { s.set(entries, offset, s.offset(0)-1) }, "overlaps", false},
		{"dribble over the trailer", dribble(testrpm.Value{Tag: 300, Type: 7, Count: 40, Data: make([]byte, 40)}), func(s signatureHeader) {
			s.set(entries, offset, s.offset(0))
		}, "overlaps", false},
		{"value over the trailer", both, func(s signatureHeader) { s.set(entries-1, count, 9) }, "overlaps", false},
		{"dribbles out of order", both, func(s signatureHeader) { s.set(entries+1, offset, s.offset(entries)) }, "overlaps", false},
		{"dribble behind the data", both, func(s signatureHeader) { s.set(entries+1, count, 2) }, "does not fit", false},
		{"dribble of an unknown type", both, func(s signatureHeader) { s.set(entries, kind, 10) }, "unknown type", false},
		{"dribble of a region", both, func(s signatureHeader) { s.set(entries, tag, 62) }, "none that may be there", false},
		{"dribble that is not aligned", both, func(s signatureHeader) { s.set(entries+1, offset, s.offset(entries+1)-1) }, "not aligned", false},
		{"dribble that is empty", both, func(s signatureHeader) { s.set(entries, count, 0) }, "is empty", false},
		{"data of no dribble", dribble(fileSignatures, text(300, "hidden")), func(s signatureHeader) { s.set(entries+1, offset, s.offset(entries+1)+1) }, "no value", false},
		{"data of no value", func(h *testrpm.Header) { h.Strings(300, "hidden") }, func(s signatureHeader) { s.set(3, offset, s.offset(3)+1) }, "no value", false},
		{"32 entries", func(h *testrpm.Header) {
			for i := range testrpm.Tag(32 - entries) {
				h.Dribble(text(300+i, "x"))
			}
		}, nil, "", false},
		{"33 entries", func(h *testrpm.Header) {
			for i := range testrpm.Tag(33 - entries) {
				h.Dribble(text(300+i, "x"))
			}
		}, nil, "33 entries", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := small(4, "none")
			p.EditSignature = test.edit
			b := testrpm.RPM(t, p)
			if test.damage != nil {
				test.damage(signatureHeader(b[96:]))
			}
			_, _, err := readAll(b)
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("%v, want %q", err, test.want)
			}
			if err != nil {
				checkFormatError(t, err)
			}
			if rpmTakes(t, b) != (test.want == "" || test.strict) {
				t.Error("rpm says otherwise")
			}
		})
	}

	t.Run("dribble of a header", func(t *testing.T) {
		p := small(4, "none")
		p.Edit = dribble(text(5012, "https://example.org"))
		b := testrpm.RPM(t, p)
		if _, _, err := readAll(b); err == nil || !strings.Contains(err.Error(), "region is not all of it") {
			t.Error(err)
		}
		if rpmTakes(t, b) {
			t.Error("rpm says otherwise")
		}
	})
}

// rpmTakes reports whether rpm verifies a package and reads its headers.
func rpmTakes(t testing.TB, b []byte) bool {
	t.Helper()
	testneed.Programs(t, "rpm", "rpmkeys")
	dir := t.TempDir()
	file := filepath.Join(dir, "x.rpm")
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"rpmkeys", "-K"}, {"rpm", "-qp"}} {
		cmd := exec.Command(args[0], args[1], "--dbpath", filepath.Join(dir, "db"), file)
		cmd.Env = append(os.Environ(), "LC_ALL=C")
		if output, err := cmd.CombinedOutput(); err != nil {
			t.Logf("%s: %v: %s", args[0], err, output)
			return false
		}
	}
	return true
}
