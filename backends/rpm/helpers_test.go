package rpm_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"testing"

	"github.com/hashpkg/hashpkg/backends/rpm"
	"github.com/hashpkg/hashpkg/pkginfo"
)

// readAll reads a whole rpm and returns its entries as lines of text.
func readAll(b []byte) (p *pkginfo.Package, entries []string, err error) {
	r, err := rpm.NewReader(bytes.NewReader(b), nil)
	if err != nil {
		return nil, nil, err
	}
	defer r.Close()
	for {
		e, err := r.Next()
		if err == io.EOF {
			return r.Package(), entries, nil
		}
		if err != nil {
			return r.Package(), entries, err
		}
		line := entryLine(e)
		if e.Type == pkginfo.Regular {
			h := sha256.New()
			n, err := io.Copy(h, r)
			if err != nil {
				return r.Package(), entries, err
			}
			if n != e.Size {
				return r.Package(), entries, fmt.Errorf("%s: %d of %d bytes and no error", e.Path, n, e.Size)
			}
			line += " " + hex.EncodeToString(h.Sum(nil)[:4])
		}
		entries = append(entries, line)
	}
}

// entryLine returns all that an entry says but its time and digest.
func entryLine(e *pkginfo.Entry) string {
	line := fmt.Sprintf("%s %04o %s:%s %s", typeLetters[e.Type], e.Mode, e.Owner, e.Group, e.Path)
	if e.Link != "" {
		line += " -> " + e.Link
	}
	if e.Type == pkginfo.CharDevice || e.Type == pkginfo.BlockDevice {
		line += fmt.Sprintf(" %d:%d", e.Major, e.Minor)
	}
	for name, value := range e.Xattrs {
		line += fmt.Sprintf(" %s=%x", name, value)
	}
	return line
}

var typeLetters = map[pkginfo.Type]string{
	pkginfo.Regular: "f", pkginfo.Directory: "d", pkginfo.Symlink: "l", pkginfo.HardLink: "h",
	pkginfo.CharDevice: "c", pkginfo.BlockDevice: "b", pkginfo.FIFO: "p",
}

// realPackages is the directory of packages that others have built.
const realPackages = "../../testdata/rpms"

func readFile(t testing.TB, file string) []byte {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
