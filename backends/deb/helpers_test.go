package deb_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashpkg/hashpkg/backends/deb"
	"github.com/hashpkg/hashpkg/internal/testdeb"
	"github.com/hashpkg/hashpkg/internal/testneed"
	"github.com/hashpkg/hashpkg/pkginfo"
)

// readAll reads a whole deb and returns its entries as lines of text.
func readAll(b []byte) (p *pkginfo.Package, entries []string, err error) {
	r, err := deb.NewReader(bytes.NewReader(b))
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
		line := fmt.Sprintf("%s %s", modeString(e), e.Path)
		if e.Link != "" {
			line += " -> " + e.Link
		}
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

// dpkgVerdict returns what dpkg-deb has against a deb, or nil. It asks for the
// fields, the list and the unpacking.
func dpkgVerdict(t testing.TB, b []byte) error {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "x.deb")
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"-f", file}, {"-c", file}, {"-x", file, filepath.Join(dir, "x")}} {
		cmd := exec.Command("dpkg-deb", args...)
		cmd.Env = append(os.Environ(), "LC_ALL=C")
		if output, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("dpkg-deb %s: %w: %s", args[0], err, strings.ReplaceAll(string(output), dir, ""))
		}
	}
	return nil
}

func compress(t testing.TB, data []byte, c testdeb.Compression) []byte {
	t.Helper()
	b, err := testdeb.Compress(data, c)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func tarOf(t testing.TB, files ...testdeb.File) []byte {
	t.Helper()
	b, err := testdeb.Tar(files...)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// unpackVerdict returns what dpkg has against unpacking a deb into an empty root,
// or nil. It is stricter than dpkg-deb, which reads neither all of the control
// file nor the tar archive by itself.
func unpackVerdict(t testing.TB, b []byte) error {
	t.Helper()
	testneed.Root(t) // for dpkg --unpack to set owners
	root := t.TempDir()
	file := filepath.Join(root, "x.deb")
	for name, content := range map[string][]byte{
		"x.deb": b, "var/lib/dpkg/status": nil, "var/lib/dpkg/info/format": []byte("1\n"), "var/lib/dpkg/updates/.keep": nil,
	} {
		if err := os.MkdirAll(filepath.Join(root, filepath.Dir(name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Remove(filepath.Join(root, "var/lib/dpkg/updates/.keep")); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("dpkg", "--root="+root, "--force-not-root,depends,architecture,unsafe-io", "--log=/dev/null", "--unpack", file)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("dpkg --unpack: %w: %s", err, strings.ReplaceAll(string(output), root, ""))
	}
	return nil
}

// readFrom reads all of a deb and returns the error.
func readFrom(source io.Reader) error {
	r, err := deb.NewReader(source)
	if err != nil {
		return err
	}
	defer r.Close()
	for {
		if _, err := r.Next(); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// compareBytes compares what is read of a deb with what dpkg-deb unpacks.
func compareBytes(t *testing.T, b []byte) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "x.deb")
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	comparePackage(t, file)
}

// noise returns n bytes that cannot be compressed, the same ones every time.
func noise(n int) string {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{}).Read(b)
	return string(b)
}
