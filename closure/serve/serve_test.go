package serve

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/hashpkg/hashpkg/closure/objects"
	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/internal/beneath"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/store"
	"github.com/hashpkg/hashpkg/transaction"
)

// TestPublic: what others may not read where the package is installed is not given to them.
func TestPublic(t *testing.T) {
	file := func(path string, mode record.Mode) record.File {
		return record.File{Path: path, Type: record.TypeFile, Mode: mode}
	}
	dir := func(path string, mode record.Mode) record.File {
		return record.File{Path: path, Type: record.TypeDirectory, Mode: mode}
	}
	made := file("usr/generated", 0o644)
	made.Generated = &digest.Digest{}
	var got []string
	for _, f := range Public([]record.File{
		dir("usr", 0o755), file("usr/a", 0o644), file("usr/secret", 0o600), file("usr/group", 0o640), file("usr/run", 0o4711), made,
		dir("usr/closed", 0o750), dir("usr/closed/d", 0o755), file("usr/closed/d/a", 0o644), file("usr/undeclared/b", 0o444),
		{Path: "usr/l", Type: record.TypeSymlink, Mode: 0o777},
	}) {
		got = append(got, f.Path)
	}
	if want := "usr/a usr/undeclared/b"; strings.Join(got, " ") != want {
		t.Errorf("%v, want %s", got, want)
	}
}

// newServer returns a server of a store with these files, of which others may have those at even places.
func newServer(t *testing.T, contents ...string) *Server {
	path := t.TempDir()
	f := &files{sizes: map[digest.Digest]int64{}}
	for i, text := range contents {
		d := digest.Of([]byte(text))
		if i%2 == 0 {
			f.sizes[d] = int64(len(text))
		}
		file := filepath.Join(path, layout.ObjectPath(d))
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	dir, err := beneath.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = dir.Close() })
	s, err := New(Options{Store: store.New(dir)})
	if err != nil {
		t.Fatal(err)
	}
	f.packaged = transaction.NewPackaged(s.Store)
	s.index.files = f
	return s
}

// TestAnswers has requests, and what comes of them.
func TestAnswers(t *testing.T) {
	text := strings.Repeat("The quick brown fox. ", 100)
	s := newServer(t, text, "secret")
	d := digest.Of([]byte(text)).String()
	secret := digest.Of([]byte("secret")).String()
	for name, c := range map[string]struct {
		method, path string
		header       map[string]string
		body         string
		status       int
		want         string // the body; "" for any
		headers      map[string]string
	}{
		"whole":           {path: "/objects/" + d, status: 200, want: text, headers: map[string]string{"ETag": `"` + d + `"`, "Cache-Control": "public, max-age=31536000, immutable", "Content-Encoding": ""}},
		"by SHA-256":      {path: fmt.Sprintf("/sha256/%x", sha256.Sum256([]byte(text))), status: 200, want: text},
		"range":           {path: "/objects/" + d, header: map[string]string{"Range": "bytes=4-8", "Accept-Encoding": "zstd"}, status: 206, want: "quick"},
		"range past it":   {path: "/objects/" + d, header: map[string]string{"Range": "bytes=99999-"}, status: 416},
		"if it changed":   {path: "/objects/" + d, header: map[string]string{"If-None-Match": `"` + d + `"`}, status: 304},
		"zstd":            {path: "/objects/" + d, header: map[string]string{"Accept-Encoding": "gzip, zstd"}, status: 200, headers: map[string]string{"Content-Encoding": "zstd", "ETag": `"` + d + `-zstd"`}},
		"no zstd":         {path: "/objects/" + d, header: map[string]string{"Accept-Encoding": "zstd;q=0"}, status: 200, want: text},
		"zstd, unchanged": {path: "/objects/" + d, header: map[string]string{"Accept-Encoding": "zstd", "If-None-Match": `"` + d + `-zstd"`}, status: 304},
		"secret":          {path: "/objects/" + secret, status: 404},
		"secret's SHA":    {path: fmt.Sprintf("/sha256/%x", sha256.Sum256([]byte("secret"))), status: 404},
		"unknown":         {path: "/objects/" + digest.Of([]byte("x")).String(), status: 404},
		"no digest":       {path: "/objects/passwd", status: 404},
		"out of it":       {path: "/objects/..%2f..%2fetc%2fpasswd", status: 404},
		"a list of all":   {path: "/objects/", status: 405},
		"the top":         {path: "/", status: 404},
		"change":          {method: "PUT", path: "/objects/" + d, status: 405},
		"no list":         {method: "POST", path: "/objects/", body: "hello\n", status: 400},
		"a long list":     {method: "POST", path: "/objects/", body: strings.Repeat(d+"\n", objects.MaxBatch+1), status: 413},
		"no manifests":    {path: "/manifests/tool", status: 404},
	} {
		t.Run(name, func(t *testing.T) {
			if c.method == "" {
				c.method = http.MethodGet
			}
			r := httptest.NewRequest(c.method, c.path, strings.NewReader(c.body))
			for k, v := range c.header {
				r.Header.Set(k, v)
			}
			w := httptest.NewRecorder()
			s.Handler().ServeHTTP(w, r)
			if w.Code != c.status || c.want != "" && w.Body.String() != c.want {
				t.Errorf("%d %q", w.Code, w.Body)
			}
			for k, v := range c.headers {
				if got := w.Header().Get(k); got != v {
					t.Errorf("%s: %q, want %q", k, got, v)
				}
			}
			if strings.Contains(w.Body.String(), "secret") {
				t.Errorf("it says %q", w.Body)
			}
		})
	}
}

// TestBatch: a batch has what is there, in the order asked for, and nothing that others may not have.
func TestBatch(t *testing.T) {
	s := newServer(t, "one", "secret", "two", "hidden", "damaged")
	damaged := digest.Of([]byte("damaged"))
	if err := os.WriteFile(s.Store.Path(layout.ObjectPath(damaged)), []byte("DAMAGED"), 0o644); err != nil {
		t.Fatal(err)
	}
	var list strings.Builder
	for _, text := range []string{"two", "damaged", "secret", "nowhere", "one"} {
		fmt.Fprintln(&list, digest.Of([]byte(text)))
	}
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/objects/", strings.NewReader(list.String())))
	z, err := zstd.NewReader(w.Body)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	archive := tar.NewReader(z)
	var got []string
	for {
		h, err := archive.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(archive)
		if err != nil || digest.Of(b).String() != h.Name {
			t.Errorf("%v: %s has %q", err, h.Name, b)
		}
		got = append(got, string(b))
	}
	if strings.Join(got, " ") != "two one" {
		t.Errorf("it has %q", got)
	}
}

// TestBusy: who asks while too many are answered is told to come back.
func TestBusy(t *testing.T) {
	s := newServer(t, "one")
	for range cap(s.batches) {
		s.batches <- struct{}{}
	}
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/objects/", bytes.NewReader(nil)))
	if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" {
		t.Errorf("%d %v", w.Code, w.Header())
	}
}

// TestManifests: only closure manifests and their notes are given, by name and by digest.
func TestManifests(t *testing.T) {
	dir := t.TempDir()
	m := []byte(`{"format":1,"names":[],"prefix":"/var/sys","architectures":{}}` + "\n")
	for name, text := range map[string]string{"tool": string(m), "tool.note": "signed", "passwd": "root:x", "passwd.note": "note", ".hidden": string(m)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/etc/hostname", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	manifests := NewManifests(dir)
	d := digest.Of(m).String()
	for name, want := range map[string]string{"tool": string(m), "tool.note": "signed", d: string(m), d + ".note": "signed"} {
		b, immutable, err := manifests.Read(name)
		if err != nil || string(b) != want || immutable != (name == d) {
			t.Errorf("%s: %v, %q, %v", name, err, b, immutable)
		}
	}
	for _, name := range []string{"passwd", "passwd.note", ".hidden", "link", "../x", "", digest.Of(nil).String(), "none"} {
		if b, _, err := manifests.Read(name); err == nil {
			t.Errorf("%q: %q", name, b)
		}
	}
	// It is another one now.
	if err := os.WriteFile(filepath.Join(dir, "tool"), []byte("{}"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, _, err := manifests.Read(d); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what is there no more: %v", err)
	}
}

// TestUnits: the units run the command line that was given.
func TestUnits(t *testing.T) {
	socket, service := Units("/opt/hashpkg serve --tls-cert c")
	if !strings.Contains(socket, "ListenStream=") || !strings.Contains(service, "\nExecStart=/opt/hashpkg serve --tls-cert c\n") {
		t.Errorf("%s%s", socket, service)
	}
}
