package rpm_test

import (
	"bytes"
	"io"
	"testing"

	"github.com/hashpkg/hashpkg/backends/rpm"
	"github.com/hashpkg/hashpkg/internal/testdeb"
	"github.com/hashpkg/hashpkg/internal/testrpm"
)

// maxFuzzed is how much of a package a fuzz target reads: a bomb is no error.
const maxFuzzed = 8 << 20

// drain reads a whole package and checks what any error must be.
func drain(t *testing.T, b []byte) {
	t.Helper()
	r, err := rpm.NewReader(bytes.NewReader(b), nil)
	if err != nil {
		checkFormatError(t, err)
		return
	}
	defer r.Close()
	seen := map[string]bool{}
	left := int64(maxFuzzed)
	for left > 0 {
		e, err := r.Next()
		if err == io.EOF {
			return
		}
		if err != nil {
			checkFormatError(t, err)
			return
		}
		if seen[e.Path] {
			t.Errorf("%q is there twice", e.Path)
		}
		seen[e.Path] = true
		n, err := io.CopyN(io.Discard, r, left)
		left -= n
		if err != nil && err != io.EOF {
			checkFormatError(t, err)
			return
		}
	}
}

// FuzzHeader reads anything: the lead, both headers, signatures and the model.
func FuzzHeader(f *testing.F) {
	for _, format := range []int{3, 4, 6} {
		f.Add(testrpm.RPM(f, small(format, testdeb.None)))
	}
	f.Add(testrpm.RPM(f, testrpm.Package{
		Requires: []string{"(a or b >= 2)", "(a and (b or c))"}, Scripts: map[string]string{"post": "true"},
		Files: []testrpm.File{{Path: "/a", Caps: "cap_kill,cap_chown=ep"}},
	}))
	f.Add(testrpm.RPM(f, withDribbles()))
	withoutDigests := small(4, testdeb.None) // so that a change gets further
	withoutDigests.EditSignature = func(h *testrpm.Header) {
		for _, t := range []testrpm.Tag{269, 273, 1000, 1004, 1007} {
			h.Delete(t)
		}
	}
	f.Add(testrpm.RPM(f, withoutDigests))
	f.Add(testrpm.RPM(f, testrpm.Package{EditSignature: func(h *testrpm.Header) {
		h.Bytes(268, []byte("\x89\x00\x15\x03\x05\x00\x00\x00\x00\x00\x01\x02\x03\x04\x05\x06\x07\x08\x01\x08\x00\x00\x00\x01"))
		h.StringArray(278, "iQEzBAABCAAdFiEE")
	}}))
	f.Fuzz(func(t *testing.T, b []byte) { drain(t, b) })
}

// FuzzPayload reads any archive against a header that is right, and whose digests
// are those of that archive.
func FuzzPayload(f *testing.F) {
	files := small(4, testdeb.None).Files
	for _, format := range []int{4, 6} {
		p := small(format, testdeb.None)
		f.Add(format == 6, p.Cpio())
	}
	f.Add(false, testrpm.Trailer())
	f.Fuzz(func(t *testing.T, isSix bool, archive []byte) {
		p := testrpm.Package{Format: 4, Files: files, Archive: archive}
		if isSix {
			p.Format = 6
		}
		if archive == nil {
			p.Archive = []byte{}
		}
		drain(t, testrpm.RPM(t, p))
	})
}

// FuzzCompressed reads any compressed data.
func FuzzCompressed(f *testing.F) {
	compressions := []testdeb.Compression{testdeb.Gzip, testdeb.Xz, testdeb.Zstd, testdeb.Lzma}
	for i, c := range compressions {
		b, err := testdeb.Compress(small(4, testdeb.None).Cpio(), c)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(byte(i), b)
	}
	f.Fuzz(func(t *testing.T, compression byte, payload []byte) {
		p := small(4, compressions[int(compression)%len(compressions)])
		p.EditPayload = func([]byte) []byte { return payload }
		drain(t, testrpm.RPM(t, p))
	})
}
