package unpack

import (
	"bytes"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/hashpkg/hashpkg/internal/testdeb"
	"github.com/hashpkg/hashpkg/internal/testneed"
)

// noise returns n bytes that cannot be compressed, the same ones every time.
func noise(n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{}).Read(b)
	return b
}

func mustCompress(t testing.TB, data []byte, c testdeb.Compression) []byte {
	t.Helper()
	b, err := testdeb.Compress(data, c)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Close ends the program that unpacks, wherever the reading has come to.
func TestClose(t *testing.T) {
	testneed.Programs(t, "xz")
	data := noise(1 << 20)
	for _, c := range []struct {
		pack   testdeb.Compression
		unpack Compression
	}{{testdeb.Xz, Xz}, {testdeb.Lzma, Lzma}} {
		whole := mustCompress(t, data, c.pack)
		for _, n := range []int64{0, 1, 500_000, 1 << 20, 2 << 20} {
			s, err := NewStream(bytes.NewReader(whole), c.unpack, int64(len(whole)))
			if err != nil {
				t.Fatal(err)
			}
			p, ok := s.r.(*xzProcess)
			if !ok {
				t.Fatalf("%s is unpacked by a %T", c.unpack, s.r)
			}
			if _, err := io.CopyN(io.Discard, s, n); err != nil && err != io.EOF {
				t.Fatal(err)
			}
			s.Close()
			s.Close()
			if p.cmd.ProcessState == nil {
				t.Errorf("%s, after %d bytes: the program was not waited for", c.unpack, n)
			}
			if _, err := s.Read(make([]byte, 1)); err == nil || n <= 1<<20 && err == io.EOF {
				t.Errorf("%s, after %d bytes: Read after Close: %v", c.unpack, n, err)
			}
		}
	}
}

// A dictionary of gigabytes is refused, by the program and without it.
func TestLargeDictionary(t *testing.T) {
	whole := mustCompress(t, []byte("content"), testdeb.Lzma)
	binary.LittleEndian.PutUint32(whole[1:], 3<<30)
	read := func() error {
		s, err := NewStream(bytes.NewReader(whole), Lzma, -1)
		if err != nil {
			return err
		}
		defer s.Close()
		_, err = io.ReadAll(s)
		return err
	}
	if err := read(); err == nil {
		t.Error("accepted, with the program")
	}
	t.Setenv("PATH", "")
	if err := read(); err == nil || !strings.Contains(err.Error(), "dictionary of 3221225472 bytes") {
		t.Errorf("without: %v", err)
	}
}

// A trusting stream leaves out the check of the format, which another one makes.
func TestTrustingStream(t *testing.T) {
	testneed.Programs(t, "xz")
	whole := mustCompress(t, bytes.Repeat([]byte("content "), 1000), testdeb.Xz)
	index := int(binary.LittleEndian.Uint32(whole[len(whole)-8:])+1) * 4
	whole[len(whole)-xzFooterSize-index-1] ^= 1 // the end of the check, which the index follows
	for _, trusting := range []bool{false, true} {
		s, err := newStream(bytes.NewReader(whole), Xz, -1, trusting)
		if err != nil {
			t.Fatal(err)
		}
		_, err = io.ReadAll(s)
		s.Close()
		if (err == nil) != trusting {
			t.Errorf("trusting %v: a wrong check gives %v", trusting, err)
		}
	}
}
