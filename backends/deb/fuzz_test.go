package deb_test

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/hashpkg/hashpkg/backends/deb"
	"github.com/hashpkg/hashpkg/internal/testdeb"
	"github.com/hashpkg/hashpkg/pkginfo"
)

// FuzzReader looks for crashes, and for debs that read differently when they
// come in small pieces.
func FuzzReader(f *testing.F) {
	f.Setenv("PATH", "") // a program for each input would take too long
	files := []testdeb.File{
		testdeb.Dir("usr"),
		testdeb.Exec("usr/bin/x", "x"),
		testdeb.Symlink("usr/y", "x"),
		testdeb.HardLink("z", "usr/bin/x"),
		{Path: strings.Repeat("long/", 30) + "x", Content: "content"},
		{Path: "dev/null", Type: '3', Major: 1, Minor: 3},
	}
	for _, c := range []testdeb.Compression{testdeb.None, testdeb.Gzip, testdeb.Xz, testdeb.Zstd, testdeb.Lzma} {
		f.Add(testdeb.Deb(f, testdeb.Package{Compression: c, ControlCompression: testdeb.None, Files: files, Depends: "a (>= 1) | b:any"}))
	}
	f.Add([]byte("!<arch>\ndebian-binary   "))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, entries, err := readAll(b)
		if err == nil && p.Name == "" {
			t.Error("accepted, but it has no name")
		}
		r, err2 := deb.NewReader(iotest.OneByteReader(bytes.NewReader(b)))
		if err2 == nil {
			var n int
			for {
				if _, err2 = r.Next(); err2 != nil {
					break
				}
				n++
			}
			if err2 == io.EOF {
				err2 = nil
			}
			if n != len(entries) && err == nil {
				t.Errorf("%d entries at once, %d in pieces", len(entries), n)
			}
			r.Close()
		}
		if (err == nil) != (err2 == nil) {
			t.Errorf("at once: %v, in pieces: %v", err, err2)
		}
	})
}

// FuzzControl looks for control files that crash the parsers.
func FuzzControl(f *testing.F) {
	f.Add(minimal)
	f.Add(minimal + "Depends: a:any (>= 1:2~3) | b [amd64] <x>, ${c}\nProvides: d (= 1)\nDescription: x\n .\n y\n")
	f.Fuzz(func(t *testing.T, control string) {
		p, _, err := readAll(testdeb.Deb(t, testdeb.Package{Control: control, Compression: testdeb.None}))
		if err != nil {
			return
		}
		if strings.ContainsAny(p.Name+p.Version+p.Architecture, "/$\n\x00 ") || strings.HasPrefix(p.Name, ".") || len(p.Fields) < 3 && control != "" {
			t.Errorf("accepted: %q %q %q, %d fields", p.Name, p.Version, p.Architecture, len(p.Fields))
		}
	})
}

// FuzzTree makes archives of a few short names. What is accepted can be made in
// an empty directory, without following a link, without overwriting anything.
func FuzzTree(f *testing.F) {
	f.Add([]byte("\x00\x01\x05\x00"), "a\na/b\nc")
	f.Add([]byte("512"), "a\na/../b\nbin/x")
	f.Fuzz(func(t *testing.T, kinds []byte, names string) {
		paths := strings.Split(names, "\n")
		var files []testdeb.File
		for i, kind := range kinds[:min(len(kinds), 20)] {
			file := testdeb.File{Path: paths[i%len(paths)], Link: paths[(i+int(kind)/8)%len(paths)]}
			file.HardLink = file.Link
			switch kind % 4 {
			case 0:
				file.Link, file.HardLink, file.Content = "", "", "x"
			case 1:
				file.Path += "/"
			case 2:
				file.Link = ""
			}
			files = append(files, file)
		}
		tar, err := testdeb.Tar(files...)
		if err != nil {
			t.Skip(err)
		}
		_ = makeTree(t, tar)
	})
}

func makeTree(t *testing.T, tar []byte) []string {
	members, err := testdeb.Package{Compression: testdeb.None}.Members()
	if err != nil {
		t.Fatal(err)
	}
	members[2].Data = tar
	r, err := deb.NewReader(bytes.NewReader(testdeb.Ar(members...)))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	dir := t.TempDir()
	var made []string
	for {
		e, err := r.Next()
		if err != nil {
			return made
		}
		if e.Path != "." && (!filepath.IsLocal(e.Path) || filepath.Clean(e.Path) != e.Path) || slices.Contains(made, e.Path) {
			t.Fatalf("%q is not clean, or comes twice", e.Path)
		}
		made = append(made, e.Path)
		if err := makeEntry(dir, e); err != nil {
			t.Fatalf("make %s %q: %v", modeString(e), e.Path, err)
		}
	}
}

func makeEntry(dir string, e *pkginfo.Entry) error {
	path := filepath.Join(dir, e.Path)
	parent := filepath.Dir(path)
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return err
	}
	if real, err := filepath.EvalSymlinks(parent); err != nil || e.Path != "." && real != parent {
		return os.ErrInvalid
	}
	switch e.Type {
	case pkginfo.Directory:
		return os.MkdirAll(path, 0o755)
	case pkginfo.Symlink:
		return os.Symlink(e.Link, path)
	case pkginfo.HardLink:
		target, err := os.Lstat(filepath.Join(dir, e.Link))
		if err != nil || !target.Mode().IsRegular() {
			return os.ErrInvalid
		}
		return os.Link(filepath.Join(dir, e.Link), path)
	}
	w, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	return w.Close()
}
