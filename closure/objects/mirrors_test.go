package objects_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/hashpkg/hashpkg/closure"
	"github.com/hashpkg/hashpkg/closure/objects"
	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/internal/beneath"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/repo/fetch"
)

// content returns n bytes that are another for each seed, and do not compress.
func content(n int, seed uint32) []byte {
	b := make([]byte, n)
	x := seed*2654435761 + 1
	for i := range b {
		x = x*1664525 + 1013904223
		b[i] = byte(x >> 24)
	}
	return b
}

// stock is what a server has, by BLAKE3.
type stock map[string][]byte

// newStock returns small files and a large one, and what asks for them.
func newStock() (stock, []objects.Want) {
	s := stock{}
	p := &closure.Package{Name: "tool", Version: "1"}
	var wants []objects.Want
	for i, n := range []int{10, 3 << 20, 2000, 70000, 0, 5} {
		b := content(n, uint32(i))
		d := digest.Of(b)
		s[d.String()] = b
		wants = append(wants, objects.Want{
			File:    &closure.File{Path: fmt.Sprintf("usr/f%d", i), Type: record.TypeFile, BLAKE3: d, SHA256: sha256.Sum256(b), Size: int64(n)},
			Package: p,
		})
	}
	return s, wants
}

// get answers for one file; other paths are not there.
func (s stock) get(w http.ResponseWriter, r *http.Request) {
	b, ok := s[filepath.Base(r.URL.Path)]
	if !ok || r.Method != http.MethodGet {
		http.Error(w, "not here", http.StatusNotFound)
		return
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(b))
}

// asked returns the digests that a list asks for.
func asked(t *testing.T, r *http.Request) []digest.Digest {
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Error(err)
	}
	list, err := objects.DecodeList(b)
	if err != nil {
		t.Error(err)
	}
	return list
}

// packed returns an archive as a batch has it.
func packed(t *testing.T, fill func(*tar.Writer)) []byte {
	var b bytes.Buffer
	z, err := zstd.NewWriter(&b)
	if err != nil {
		t.Fatal(err)
	}
	archive := tar.NewWriter(z)
	fill(archive)
	if err := errors.Join(archive.Close(), z.Close()); err != nil {
		t.Error(err)
	}
	return b.Bytes()
}

func add(t *testing.T, a *tar.Writer, name string, b []byte) {
	if err := a.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: int64(len(b)), Mode: 0o644}); err != nil {
		t.Error(err)
	}
	if _, err := a.Write(b); err != nil {
		t.Error(err)
	}
}

// batchOf returns the whole answer to a list.
func (s stock) batchOf(t *testing.T, list []digest.Digest) []byte {
	return packed(t, func(a *tar.Writer) {
		for _, d := range list {
			if b, ok := s[d.String()]; ok {
				add(t, a, d.String(), b)
			}
		}
	})
}

// hang answers nothing until the client has gone, which a server sees once it has read the request.
func hang(r *http.Request) {
	if _, err := io.Copy(io.Discard, r.Body); err == nil {
		<-r.Context().Done()
	}
}

// dirOf returns a directory for files.
func dirOf(t *testing.T, path string) *objects.Dir {
	d, err := beneath.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return objects.NewDir(d)
}

// check fails the test where a name has other bytes than it says, and returns how many have theirs.
func check(t *testing.T, dir string) (whole, parts int) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		if filepath.Base(filepath.Dir(path)) == "partial" {
			parts++
			return nil
		}
		b, err := os.ReadFile(path)
		if err == nil && digest.Of(b).String() != e.Name() {
			t.Errorf("%s has other bytes", path)
		}
		whole++
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return whole, parts
}

type warnings struct {
	mu   sync.Mutex
	text string
}

func (w *warnings) add(s string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.text += s + "\n"
}

// bad are mirrors that do not do what they should.
var bad = map[string]struct {
	answer func(t *testing.T, s stock, w http.ResponseWriter, r *http.Request)
	// alone is a part of the error where there is no other mirror; "" where the files come all the same.
	alone string
	// lies says that the mirror is left for good, and that a warning says so.
	lies bool
	tls  bool
}{
	"another object of equal length": {answer: func(_ *testing.T, s stock, w http.ResponseWriter, r *http.Request) {
		b := bytes.Clone(s[filepath.Base(r.URL.Path)])
		if len(b) > 0 {
			b[len(b)/2] ^= 1
		}
		if r.Method == http.MethodPost {
			http.NotFound(w, r)
			return
		}
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(b))
	}, alone: "not those that were asked for", lies: true},
	"truncation": {answer: func(_ *testing.T, s stock, w http.ResponseWriter, r *http.Request) {
		b := s[filepath.Base(r.URL.Path)]
		if r.Method == http.MethodPost || len(b) == 0 {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Length", fmt.Sprint(len(b)))
		_, _ = w.Write(b[:len(b)/2])
		panic(http.ErrAbortHandler)
	}, alone: "EOF"},
	"an endless body": {answer: func(_ *testing.T, _ stock, w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			http.NotFound(w, r)
			return
		}
		for b := make([]byte, 64<<10); ; {
			if _, err := w.Write(b); err != nil {
				return
			}
		}
	}, alone: "more than the", lies: true},
	"a bomb": {answer: func(t *testing.T, _ stock, w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		_, err := io.CopyN(z, zeros{}, 8<<20)
		if err := errors.Join(err, z.Close()); err != nil && r.Context().Err() == nil {
			t.Log(err) // who asked has seen enough
		}
	}, alone: "not those that were asked for", lies: true},
	"a stall": {answer: func(_ *testing.T, _ stock, _ http.ResponseWriter, r *http.Request) { hang(r) }, alone: "sent nothing"},
	"a stall halfway": {answer: func(t *testing.T, s stock, w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			hang(r)
			return
		}
		b := s.batchOf(t, asked(t, r))
		_, _ = w.Write(b[:len(b)/2])
		_ = http.NewResponseController(w).Flush()
		hang(r)
	}, alone: "sent nothing"},
	"a 206 with another range": {answer: func(_ *testing.T, s stock, w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			http.NotFound(w, r)
			return
		}
		b := s[filepath.Base(r.URL.Path)]
		w.Header().Set("Content-Range", fmt.Sprintf("bytes 0-%d/%d", max(len(b)-2, 0), len(b)))
		w.WriteHeader(http.StatusPartialContent)
		_, _ = w.Write(b[:max(len(b)-1, 0)])
	}, alone: "part of the file"},
	"too many requests": {answer: func(_ *testing.T, _ stock, w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "3600")
		http.Error(w, "", http.StatusTooManyRequests)
	}, alone: "429"},
	"closed connections": {answer: func(*testing.T, stock, http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, alone: "EOF"},
	"nothing there":      {answer: func(_ *testing.T, _ stock, w http.ResponseWriter, r *http.Request) { http.NotFound(w, r) }, alone: "nowhere"},
	"a password wanted": {answer: func(_ *testing.T, _ stock, w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "", http.StatusUnauthorized)
	}, alone: "401"},
	"a redirect out of TLS": {answer: func(_ *testing.T, _ stock, w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://127.0.0.1:1/"+filepath.Base(r.URL.Path), http.StatusTemporaryRedirect)
	}, alone: "redirects from https", tls: true},
	"a batch with another object": {answer: func(t *testing.T, s stock, w http.ResponseWriter, r *http.Request) {
		list := asked(t, r)
		_, _ = w.Write(packed(t, func(a *tar.Writer) {
			for _, d := range list {
				add(t, a, d.String(), make([]byte, len(s[d.String()])))
			}
		}))
	}, alone: "not those that were asked for", lies: true},
	"a batch with a file of its own": {answer: func(t *testing.T, _ stock, w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(packed(t, func(a *tar.Writer) { add(t, a, "../../etc/passwd", []byte("x")) }))
	}, alone: "was not asked for", lies: true},
	"a batch with a file twice": {answer: func(t *testing.T, s stock, w http.ResponseWriter, r *http.Request) {
		d := asked(t, r)[0].String()
		_, _ = w.Write(packed(t, func(a *tar.Writer) {
			add(t, a, d, s[d])
			add(t, a, d, s[d])
		}))
	}, alone: "was not asked for", lies: true},
	"a batch of another length": {answer: func(t *testing.T, s stock, w http.ResponseWriter, r *http.Request) {
		d := asked(t, r)[0].String()
		_, _ = w.Write(packed(t, func(a *tar.Writer) { add(t, a, d, append(s[d], 0)) }))
	}, alone: "was not asked for", lies: true},
	"a batch that is a bomb": {answer: func(t *testing.T, _ stock, w http.ResponseWriter, _ *http.Request) {
		z, err := zstd.NewWriter(w)
		if err != nil {
			t.Error(err)
			return
		}
		_ = tar.NewWriter(z).Close()
		for b := make([]byte, 1<<20); ; {
			if _, err := z.Write(b); err != nil {
				return
			}
		}
	}, alone: "more than what was asked for", lies: true},
	"a batch with a large window": {answer: func(t *testing.T, _ stock, w http.ResponseWriter, _ *http.Request) {
		z, err := zstd.NewWriter(w, zstd.WithWindowSize(64<<20))
		if err != nil {
			t.Error(err)
			return
		}
		_, err = z.Write(make([]byte, 1<<20))
		_ = errors.Join(err, z.Flush())
	}, alone: "window", lies: true},
	"a batch that is no archive": {answer: func(_ *testing.T, _ stock, w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "<html>welcome to this hotel</html>")
	}, alone: "magic", lies: true},
	"a page for people": {answer: func(_ *testing.T, s stock, w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			w.Header().Set("Content-Type", "text/html")
			_, _ = io.WriteString(w, "<html>welcome to this hotel</html>")
			return
		}
		s.get(w, r)
	}},
	"a batch that is broken off, each time a bit later": {answer: func(t *testing.T, s stock, w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			s.get(w, r)
			return
		}
		list := asked(t, r)
		if len(list) == 1 {
			_, _ = w.Write(s.batchOf(t, list))
			return
		}
		z, err := zstd.NewWriter(w)
		if err != nil {
			t.Error(err)
			return
		}
		archive := tar.NewWriter(z)
		add(t, archive, list[0].String(), s[list[0].String()])
		_ = errors.Join(archive.Flush(), z.Flush(), http.NewResponseController(w).Flush())
		panic(http.ErrAbortHandler)
	}},
	"no batches": {answer: func(_ *testing.T, s stock, w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			http.Error(w, "", http.StatusMethodNotAllowed)
			return
		}
		s.get(w, r)
	}},
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}

// TestBadMirrors: what mirrors do wrong is no file's name, another mirror gives what one does not, and one
// that lies is asked no more.
func TestBadMirrors(t *testing.T) {
	for name, c := range bad {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, wants := newStock()
			var requests, since atomic.Int64
			handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				requests.Add(1)
				since.Add(1)
				if r.Method == http.MethodPost {
					w.Header().Set("Content-Type", objects.BatchType)
				}
				c.answer(t, s, w, r)
			})
			server := httptest.NewUnstartedServer(handler)
			server.Config.ErrorLog = nil
			roots := x509.NewCertPool()
			if c.tls {
				server.StartTLS()
				roots.AddCert(server.Certificate())
			} else {
				server.Start()
			}
			defer server.Close()
			good := httptest.NewServer(http.HandlerFunc(s.get))
			defer good.Close()
			for _, helped := range []bool{false, true} {
				path := t.TempDir()
				dir := dirOf(t, path)
				var said warnings
				templates := []string{server.URL + "/o/{blake3}"}
				if helped {
					templates = append(templates, good.URL+"/o/{blake3}")
				}
				m := objects.NewMirrors(objects.MirrorOptions{Dir: dir, Templates: templates, Patience: 100 * time.Millisecond, Fetch: fetch.Options{
					Stall: time.Second, Retries: -1, Roots: roots, Warn: said.add,
				}})
				var came atomic.Int64
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
				err := objects.Fetch(ctx, dir, wants, []objects.Source{m}, func(n int64) { came.Add(n) })
				whole, _ := check(t, path)
				switch isWhole := helped || c.alone == ""; {
				case isWhole && (err != nil || whole != len(wants)):
					t.Errorf("%v: %d of %d files came", err, whole, len(wants))
				case isWhole && came.Load() != total(wants):
					t.Errorf("progress was told of %d bytes of %d", came.Load(), total(wants))
				case !isWhole && (err == nil || !strings.Contains(err.Error(), c.alone)):
					t.Errorf("alone it is %v, want one about %q", err, c.alone)
				}
				// The other mirror may have everything before it is seen that this one lies.
				if said := strings.Contains(said.text, "not asked any more"); said != c.lies && (!helped || said) {
					t.Errorf("that it lies was said: %v", said)
				}
				if c.lies && !helped {
					since.Store(0)
					if err := m.Fetch(ctx, wants, func(objects.Want, io.Reader) error { return nil }); err != nil || since.Load() > 0 {
						t.Errorf("%v: it was asked again %d times", err, since.Load())
					}
				}
				cancel()
				m.Close()
			}
			if requests.Load() == 0 {
				t.Error("it was not asked")
			}
		})
	}
}

func total(wants []objects.Want) (n int64) {
	for _, w := range wants {
		n += w.Size
	}
	return n
}

// TestResume: what came of a large file before a kill is not sent again, unless it was of another file.
func TestResume(t *testing.T) {
	for name, c := range map[string]struct {
		damage func([]byte)
		from   string
	}{
		"right": {func([]byte) {}, "bytes=1048576-"},
		"wrong": {func(b []byte) { b[5] ^= 1 }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s, wants := newStock()
			large := wants[1]
			path := t.TempDir()
			if err := os.Mkdir(path+"/partial", 0o755); err != nil {
				t.Fatal(err)
			}
			part := bytes.Clone(s[large.BLAKE3.String()][:1<<20])
			c.damage(part)
			if err := os.WriteFile(path+"/partial/"+large.BLAKE3.String(), part, 0o644); err != nil {
				t.Fatal(err)
			}
			last := make(chan string, 10)
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodGet {
					last <- r.Header.Get("Range")
					s.get(w, r)
					return
				}
				w.Header().Set("Content-Type", objects.BatchType)
				_, _ = w.Write(s.batchOf(t, asked(t, r)))
			}))
			defer server.Close()
			dir := dirOf(t, path)
			m := objects.NewMirrors(objects.MirrorOptions{Dir: dir, Templates: []string{server.URL + "/o/{blake3}"}})
			defer m.Close()
			if err := objects.Fetch(t.Context(), dir, wants, []objects.Source{m}, nil); err != nil {
				t.Fatal(err)
			}
			if whole, parts := check(t, path); whole != len(wants) || parts != 0 {
				t.Errorf("%d files and %d parts are there", whole, parts)
			}
			close(last)
			var got string
			for got = range last {
			}
			if got != c.from {
				t.Errorf("last it asked for %q, want %q", got, c.from)
			}
		})
	}
}

// TestBrokenOffIsKept: what came of a large file stays where the rest does not come.
func TestBrokenOffIsKept(t *testing.T) {
	s, wants := newStock()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			http.Error(w, "", http.StatusForbidden)
			return
		}
		w.Header().Set("Content-Type", objects.BatchType)
		b := s.batchOf(t, asked(t, r))
		_, _ = w.Write(b[:len(b)/2])
		panic(http.ErrAbortHandler)
	}))
	defer server.Close()
	path := t.TempDir()
	dir := dirOf(t, path)
	m := objects.NewMirrors(objects.MirrorOptions{Dir: dir, Templates: []string{server.URL + "/o/{blake3}"}})
	defer m.Close()
	if err := objects.Fetch(t.Context(), dir, wants, []objects.Source{m}, nil); err == nil {
		t.Fatal("it came")
	}
	check(t, path)
	st, err := os.Stat(path + "/partial/" + wants[1].BLAKE3.String())
	if err != nil || st.Size() < 1<<20 {
		t.Errorf("%v: %v is kept", err, st)
	}
}

// TestTwoAtOnce: two fetch the same files into one directory.
func TestTwoAtOnce(t *testing.T) {
	s, wants := newStock()
	server := httptest.NewServer(http.HandlerFunc(s.get))
	defer server.Close()
	path := t.TempDir()
	var both sync.WaitGroup
	for range 2 {
		dir := dirOf(t, path)
		both.Go(func() {
			m := objects.NewMirrors(objects.MirrorOptions{Dir: dir, Templates: []string{server.URL + "/o/{blake3}"}})
			defer m.Close()
			if err := objects.Fetch(t.Context(), dir, wants, []objects.Source{m}, nil); err != nil {
				t.Error(err)
			}
		})
	}
	both.Wait()
	if whole, parts := check(t, path); whole != len(wants) || parts != 0 {
		t.Errorf("%d files and %d parts are there", whole, parts)
	}
}

// TestOwnAddresses: a file has an address of its own, and others are not asked for there.
func TestOwnAddresses(t *testing.T) {
	s, wants := newStock()
	server := httptest.NewServer(http.HandlerFunc(s.get))
	defer server.Close()
	wants[2].From = []string{server.URL + "/o/{blake3}"}
	path := t.TempDir()
	dir := dirOf(t, path)
	m := objects.NewMirrors(objects.MirrorOptions{Dir: dir})
	defer m.Close()
	var missing *objects.MissingError
	if err := objects.Fetch(t.Context(), dir, wants, []objects.Source{m}, nil); !errors.As(err, &missing) || len(missing.Files) != len(wants)-1 {
		t.Errorf("error %v, want that all but one are missing", err)
	}
	if whole, _ := check(t, path); whole != 1 {
		t.Errorf("%d files came", whole)
	}
}
