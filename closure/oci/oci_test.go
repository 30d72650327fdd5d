package oci_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"log"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"

	"github.com/hashpkg/hashpkg/closure"
	"github.com/hashpkg/hashpkg/closure/objects"
	"github.com/hashpkg/hashpkg/closure/oci"
	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/images"
	"github.com/hashpkg/hashpkg/internal/beneath"
	"github.com/hashpkg/hashpkg/layout/record"
)

const architecture = "x86_64-linux-gnu"

// files have the bytes of files by their digests.
type files map[digest.Digest][]byte

func (f files) open(d digest.Digest) (io.ReadCloser, error) {
	b, ok := f[d]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return io.NopCloser(bytes.NewReader(b)), nil
}

// file returns a file with bytes that follow from seed.
func (f files) file(path string, seed uint64, size int) closure.File {
	b := make([]byte, size)
	rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(size)}).Read(b)
	for i := range b { // so that it can be compressed
		if b[i] &= 0x3f; i > 50 && b[i] == 0 {
			copy(b[i:], b[i-50:i-30])
		}
	}
	d := digest.Of(b)
	f[d] = b
	return closure.File{Path: path, Type: record.TypeFile, Mode: 0o644, Kind: closure.Data, BLAKE3: d, SHA256: sha256.Sum256(b), Size: int64(size)}
}

// pkg returns a package of some small and two large files.
func (f files) pkg(name string, seed uint64) closure.Package {
	p := closure.Package{
		Name: name, Version: "1", Architecture: "amd64", Kind: "deb", Tree: "1", Default: true, Identity: digest.Of([]byte(name)),
		From: closure.Distributed{File: name + ".deb", Size: 10, BLAKE3: digest.Of([]byte(name + ".deb"))},
	}
	for i := range 10 {
		p.Files = append(p.Files, f.file(fmt.Sprintf("usr/share/%s/%d", name, i), seed+uint64(i), 100+i))
	}
	again := p.Files[3]
	again.Path = "usr/share/" + name + "/again" // before the first of its bytes
	return withFiles(p, again, f.file("usr/share/"+name+"/empty", 0, 0), f.file("usr/lib/lib"+name+".so.1", seed+20, 100<<10), f.file("usr/bin/"+name, seed+21, 70<<10))
}

func withFiles(p closure.Package, more ...closure.File) closure.Package {
	p.Files = append(p.Files, more...)
	return p
}

// made returns a closure of packages.
func (f files) made(t *testing.T, packages ...closure.Package) *oci.Closure {
	t.Helper()
	c := &oci.Closure{
		Manifest: &closure.Manifest{Format: closure.Format, Names: []string{packages[0].Name}, Prefix: "/var/sys", Architectures: map[string][]closure.Package{architecture: packages}},
		Open:     f.open, Temp: t.TempDir(),
	}
	c.OwnBlobs(64 << 10)
	return c
}

// at returns a place of a registry server.
func at(t *testing.T, s *httptest.Server, name string) oci.Registry {
	t.Helper()
	p, err := images.ParsePlace("docker://" + strings.TrimPrefix(s.URL, "http://") + "/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return oci.Registry{Place: p, Access: images.Access{UserAgent: "test", Sent: &atomic.Int64{}}}
}

func server(t *testing.T, h http.Handler) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s
}

func newRegistry() http.Handler { return registry.New(registry.Logger(log.New(io.Discard, "", 0))) }

// push pushes, and returns how many bytes were sent.
func push(t *testing.T, c *oci.Closure, to oci.Registry) (*oci.Written, int64) {
	t.Helper()
	w, err := oci.Push(context.Background(), c, to)
	if err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(c.Temp); err != nil || len(left) > 0 {
		t.Errorf("it has left %v (%v)", left, err)
	}
	return w, to.Access.Sent.Load()
}

// dir returns an empty directory of objects, and its path.
func dir(t *testing.T) (*objects.Dir, string) {
	t.Helper()
	path := t.TempDir()
	d, err := beneath.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return objects.NewDir(d), path
}

// check compares what has a name in a directory of objects with its name, and returns how many there are.
func check(t *testing.T, path string) (n int) {
	t.Helper()
	err := filepath.WalkDir(path, func(p string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		if n++; digest.Of(b).String() != e.Name() {
			t.Errorf("%s is of other bytes", p)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// fetch brings all files of an artifact.
func fetch(a *oci.Artifact, d *objects.Dir) error {
	return objects.Fetch(context.Background(), d, objects.Wants(a.Manifest, architecture), []objects.Source{a}, nil)
}

// TestThereAndBack pushes a closure, and has it back.
func TestThereAndBack(t *testing.T) {
	f := files{}
	c := f.made(t, f.pkg("one", 1), f.pkg("two", 100))
	c.Notes = [][]byte{[]byte("signed by a\n"), []byte("signed by b\n")}
	s := server(t, newRegistry())
	w, _ := push(t, c, at(t, s, "some/thing:tag"))
	if w.Blobs != 6 {
		t.Errorf("%d blobs", w.Blobs)
	}
	byDigest := at(t, s, "some/thing@"+w.Digest.String())
	for _, from := range []oci.Registry{at(t, s, "some/thing:tag"), byDigest} {
		a, err := oci.Pull(context.Background(), from)
		if err != nil {
			t.Fatal(err)
		}
		if a.Digest != w.Digest {
			t.Errorf("it is %s, and was %s", a.Digest, w.Digest)
		}
		want, err := c.Manifest.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := a.Manifest.Encode(); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%v: another manifest", err)
		}
		d, path := dir(t)
		if err := fetch(a, d); err != nil {
			t.Fatal(err)
		}
		if n := check(t, path); n != len(f) {
			t.Errorf("%d of %d files came", n, len(f))
		}
		notes, err := a.Notes(context.Background())
		if err != nil || len(notes) != 2 || string(notes[0])+string(notes[1]) != "signed by a\nsigned by b\n" && string(notes[1])+string(notes[0]) != "signed by a\nsigned by b\n" {
			t.Errorf("%v: notes %q", err, notes)
		}
	}
}

// TestOnlyWhatIsNew counts what is sent of a closure that shares packages with another.
func TestOnlyWhatIsNew(t *testing.T) {
	f := files{}
	var packages []closure.Package
	for i := range 31 {
		packages = append(packages, f.pkg(fmt.Sprintf("p%02d", i), uint64(100*i)))
	}
	s := server(t, newRegistry())
	_, all := push(t, f.made(t, packages[:30]...), at(t, s, "r:first"))
	_, more := push(t, f.made(t, packages...), at(t, s, "r:second"))
	_, again := push(t, f.made(t, packages...), at(t, s, "r:third"))
	one := (all - again) / 30 // each time the manifests are sent
	if added := more - again; added < one/2 || added > 2*one || again > all/20 {
		t.Errorf("30 packages: %d bytes sent; one more: %d; nothing new: %d", all, more, again)
	}
}

// TestOneForm holds that equal packages have equal blobs, and that what packs them gives the bytes that it gave.
func TestOneForm(t *testing.T) {
	f := files{}
	c := f.made(t, f.pkg("one", 1))
	write := func() []byte {
		var b bytes.Buffer
		if _, err := oci.Write(context.Background(), c, &b); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	b := write()
	if !bytes.Equal(b, write()) {
		t.Error("two writes give different bytes")
	}
	const want = "74d064ffc646ffb626a65a3dde6eab2e679dfd6475faee413aaf9b2abd947527"
	if got := digest.Of(b).String(); got != want {
		t.Errorf("the archive has the digest %s, and had %s: all machines would send all again", got, want)
	}
}

// TestArchive writes a closure into a file and has it back.
func TestArchive(t *testing.T) {
	f := files{}
	c := f.made(t, f.pkg("one", 1), f.pkg("two", 100))
	c.Notes = [][]byte{[]byte("signed\n")}
	var b bytes.Buffer
	w, err := oci.Write(context.Background(), c, &b)
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "x.tar")
	if err := os.WriteFile(name, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	a, err := oci.OpenArchive(context.Background(), name)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	d, path := dir(t)
	if err := fetch(a.Artifact, d); err != nil {
		t.Fatal(err)
	}
	notes, err := a.Notes(context.Background())
	if n := check(t, path); n != len(f) || a.Digest != w.Digest || err != nil || len(notes) != 1 || string(notes[0]) != "signed\n" {
		t.Errorf("%d of %d files, %s, notes %q (%v)", n, len(f), a.Digest, notes, err)
	}
	// Each byte that is another one is found, or does not matter.
	broken := bytes.Clone(b.Bytes())
	for at := 700; at < len(broken); at += 9973 {
		broken[at] ^= 1
		if err := os.WriteFile(name, broken, 0o644); err != nil {
			t.Fatal(err)
		}
		broken[at] ^= 1
		if a, err := oci.OpenArchive(context.Background(), name); err == nil {
			d, path := dir(t)
			if err := fetch(a.Artifact, d); err == nil {
				check(t, path)
			}
			if err := a.Close(); err != nil {
				t.Error(err)
			}
		}
	}
	if err := os.WriteFile(name, b.Bytes()[:b.Len()/2], 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := oci.OpenArchive(context.Background(), name); err == nil || !strings.Contains(err.Error(), "x.tar") {
		t.Errorf("half of it: %v", err)
	}
}

// TestMany has a closure of more files than a manifest can name blobs there and back: fewer of them have one of
// their own then.
func TestMany(t *testing.T) {
	f := files{}
	p := f.pkg("one", 1)
	for i := range 20_000 {
		p.Files = append(p.Files, f.file(fmt.Sprintf("usr/lib/%d", i), uint64(i), 300+i/0xffff))
	}
	large := f.file("usr/lib/large", 0, 1000)
	c := f.made(t, withFiles(p, large))
	c.OwnBlobs(200)
	s := server(t, newRegistry())
	w, _ := push(t, c, at(t, s, "r:many"))
	if w.Blobs != 4 { // 100 KiB, 70 KiB, 1000 bytes, and the others
		t.Errorf("%d blobs", w.Blobs)
	}
	a, err := oci.Pull(context.Background(), at(t, s, "r:many"))
	if err != nil {
		t.Fatal(err)
	}
	d, path := dir(t)
	if err := fetch(a, d); err != nil {
		t.Fatal(err)
	}
	if n := check(t, path); n != len(f) {
		t.Errorf("%d of %d files came", n, len(f))
	}
}

// TestTooMany has a closure of more packages than a manifest can name blobs refused before anything is sent.
func TestTooMany(t *testing.T) {
	f := files{}
	packages := make([]closure.Package, 16_000)
	for i := range packages {
		packages[i] = withFiles(closure.Package{Name: fmt.Sprintf("p%d", i)}, closure.File{Path: "f", Type: record.TypeFile, BLAKE3: digest.Of([]byte{byte(i), byte(i >> 8)}), Size: 2})
	}
	s := server(t, newRegistry())
	to := at(t, s, "r:many")
	if _, err := oci.Push(context.Background(), f.made(t, packages...), to); err == nil || !strings.Contains(err.Error(), "fewer programs") || to.Access.Sent.Load() > 0 {
		t.Errorf("%v, %d bytes sent", err, to.Access.Sent.Load())
	}
}

func writeFile(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
