package fetch

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hashpkg/hashpkg/internal/testneed"
)

// content returns n bytes that are another for each seed.
func content(n int, seed uint32) []byte {
	b := make([]byte, n)
	x := seed*2654435761 + 1
	for i := range b {
		x = x*1664525 + 1013904223
		b[i] = byte(x >> 24)
	}
	return b
}

func sha(b []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(b)) }

// newTestClient returns a client that waits little.
func newTestClient(t testing.TB, o Options) *Client {
	if o.Stall == 0 {
		o.Stall = 10 * time.Second
	}
	c := New(o)
	c.backoff = func(int) time.Duration { return time.Millisecond }
	t.Cleanup(c.Close)
	return c
}

// server is one on loopback, which counts.
type server struct {
	*httptest.Server
	requests atomic.Int64
	sent     atomic.Int64 // bytes of bodies
	mu       sync.Mutex
	ranges   []string // of each request
	ifRanges []string
}

type countingWriter struct {
	http.ResponseWriter
	sent *atomic.Int64
}

func (w countingWriter) Write(p []byte) (int, error) {
	n, err := w.ResponseWriter.Write(p)
	w.sent.Add(int64(n))
	return n, err
}
func (w countingWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func serve(t testing.TB, h http.HandlerFunc) *server {
	s := &server{}
	s.Server = httptest.NewServer(s.count(h))
	t.Cleanup(s.Close)
	return s
}

func (s *server) count(h http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.requests.Add(1)
		s.mu.Lock()
		s.ranges = append(s.ranges, r.Header.Get("Range"))
		s.ifRanges = append(s.ifRanges, r.Header.Get("If-Range"))
		s.mu.Unlock()
		h(countingWriter{w, &s.sent}, r)
	})
}

// file serves bytes as a good server does.
func file(b []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", fmt.Sprintf(`"%x"`, sha256.Sum256(b)))
		http.ServeContent(w, r, "", time.Unix(1e9, 0), bytes.NewReader(b))
	}
}

// cut promises all of b from where it is asked to start, and sends n bytes.
func cut(w http.ResponseWriter, r *http.Request, b []byte, n int) {
	start := 0
	fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &start)
	w.Header().Set("ETag", fmt.Sprintf(`"%x"`, sha256.Sum256(b)))
	w.Header().Set("Content-Length", strconv.Itoa(len(b)-start))
	if start > 0 {
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", start, len(b)-1, len(b)))
		w.WriteHeader(http.StatusPartialContent)
	}
	_, _ = w.Write(b[start:min(start+n, len(b))])
	_ = http.NewResponseController(w).Flush()
}

func tempFile(t testing.TB, b []byte) *os.File {
	f, err := os.OpenFile(filepath.Join(t.TempDir(), "file"), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if _, err := f.WriteAt(b, 0); err != nil {
		t.Fatal(err)
	}
	return f
}

func checkFile(t testing.TB, f *os.File, want []byte) {
	t.Helper()
	got, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("the file has %d bytes (%s), want %d (%s)", len(got), sha(got)[:16], len(want), sha(want)[:16])
	}
}

func request(b []byte, urls ...string) Request {
	return Request{URLs: urls, Name: "thing", Size: int64(len(b)), Digest: sha(b)}
}

func wantError(t testing.TB, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want one with %q", parts)
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("error %q, want %q in it", err, p)
		}
	}
}

// TestServers has one behavior of a server each, and what comes of it.
func TestServers(t *testing.T) {
	good, other := content(300_000, 1), content(300_000, 2)
	modified := time.Unix(1e9, 0).UTC().Format(http.TimeFormat)
	tests := []struct {
		name     string
		handler  func() http.HandlerFunc
		change   func(*Request)
		there    []byte // of the file, from before
		wantErr  string // "" for success
		notThere bool
		left     int   // bytes that the file has after an error
		requests int64 // 0: not looked at
		sent     int64
	}{
		{name: "good", handler: func() http.HandlerFunc { return file(good) }, requests: 1, sent: 300_000},
		{name: "nothing in it", handler: func() http.HandlerFunc { return file(nil) }, change: func(r *Request) { r.Size, r.Digest = 0, sha(nil) }, requests: 1},
		{name: "unknown size", handler: func() http.HandlerFunc { return file(good) }, change: func(r *Request) { r.Size, r.Limit = -1, 1<<20 }, requests: 1},
		{name: "sha512", handler: func() http.HandlerFunc { return file(good) }, change: func(r *Request) { r.Digest = fmt.Sprintf("sha512:%x", sha512.Sum512(good)) }, requests: 1},
		{
			name: "chunked", handler: func() http.HandlerFunc {
				return func(w http.ResponseWriter, _ *http.Request) {
					_, _ = w.Write(good[:1000])
					_ = http.NewResponseController(w).Flush()
					_, _ = w.Write(good[1000:])
				}
			}, requests: 1,
		},
		{
			name: "truncates", handler: func() http.HandlerFunc {
				return func(w http.ResponseWriter, r *http.Request) { cut(w, r, good, 120_000) }
			}, requests: 3, sent: 300_000,
		},
		{
			name: "truncates without a length", handler: func() http.HandlerFunc {
				return func(w http.ResponseWriter, r *http.Request) {
					if r.Header.Get("Range") != "" {
						file(good)(w, r)
						return
					}
					conn, buf, err := http.NewResponseController(w).Hijack()
					if err != nil {
						panic(err)
					}
					fmt.Fprintf(buf, "HTTP/1.0 200 OK\r\n\r\n%s", good[:70_000])
					buf.Flush()
					conn.Close()
				}
			}, requests: 2, sent: 230_000,
		},
		{
			name: "breaks off at the very end", handler: func() http.HandlerFunc {
				return func(w http.ResponseWriter, r *http.Request) {
					if r.Header.Get("Range") != "" {
						file(good)(w, r)
						return
					}
					_, _ = w.Write(good)
					_ = http.NewResponseController(w).Flush()
					panic(http.ErrAbortHandler)
				}
			}, change: func(r *Request) { r.Size, r.Limit = -1, 1<<20 }, requests: 2,
		},
		{
			name: "always truncates to nothing new", handler: func() http.HandlerFunc {
				return func(w http.ResponseWriter, r *http.Request) { cut(w, r, good, 0) }
			}, wantErr: "broken off after 0 bytes", requests: 4,
		},
		{name: "404", handler: func() http.HandlerFunc { return http.NotFound }, wantErr: "/thing: 404 Not Found", notThere: true, requests: 1},
		{name: "410", handler: status(410), wantErr: "410 Gone", notThere: true, requests: 1},
		{name: "403", handler: status(403), wantErr: "403 Forbidden", requests: 1},
		{name: "401", handler: status(401), wantErr: "401 Unauthorized: it wants a name and a password", requests: 1},
		{name: "304", handler: status(304), wantErr: "304 Not Modified", requests: 1},
		{name: "501", handler: status(501), wantErr: "501 Not Implemented", requests: 1},
		{name: "500 always", handler: status(500), wantErr: "500 Internal Server Error", requests: 4},
		{name: "a status nobody knows", handler: status(599), wantErr: "599", requests: 4},
		{name: "500 then good", handler: first(status(500), good), requests: 2},
		{name: "503 then good", handler: first(status(503), good), requests: 2},
		{name: "429 then good", handler: first(status(429), good), requests: 2},
		{name: "longer", handler: func() http.HandlerFunc { return file(append(good, 'x')) }, wantErr: "it has 300001 bytes, not the 300000", requests: 1},
		{name: "shorter", handler: func() http.HandlerFunc { return file(good[1:]) }, wantErr: "it has 299999 bytes, not the 300000", requests: 1},
		{name: "chunked and longer", handler: chunked(append(good, 'x')), wantErr: "more than the 300000 bytes", requests: 1},
		{name: "chunked and shorter", handler: chunked(good[1:]), wantErr: "it has 299999 bytes, not the 300000", requests: 1},
		{name: "another digest", handler: func() http.HandlerFunc { return file(other) }, wantErr: "its sha256 is " + sha(other)[7:], requests: 1},
		{name: "another digest, and no size", handler: func() http.HandlerFunc { return file(other) }, change: func(r *Request) { r.Size, r.Limit = -1, 1<<20 }, wantErr: "its sha256 is " + sha(other)[7:], requests: 1},
		{
			name: "never ends", handler: func() http.HandlerFunc {
				return func(w http.ResponseWriter, _ *http.Request) {
					for {
						if _, err := w.Write(good); err != nil {
							return
						}
					}
				}
			}, change: func(r *Request) { r.Size, r.Limit, r.Digest = -1, 1<<20, "" }, wantErr: "more than 1048576 bytes, the limit", requests: 1,
		},
		{
			name: "promises more than the limit", handler: func() http.HandlerFunc {
				return func(w http.ResponseWriter, r *http.Request) {
					w.Header().Set("Content-Length", "1001")
					_ = http.NewResponseController(w).Flush()
					<-r.Context().Done() // nothing of it is waited for
				}
			}, change: func(r *Request) { r.Size, r.Limit = -1, 1000 }, wantErr: "more than 1000 bytes, the limit", requests: 1,
		},
		{name: "resumed", handler: func() http.HandlerFunc { return file(good) }, there: good[:200_000], requests: 1, sent: 100_000},
		{name: "resumed, of unknown size", handler: func() http.HandlerFunc { return file(good) }, there: good[:200_000], change: func(r *Request) { r.Size, r.Limit = -1, 1<<20 }, requests: 1, sent: 100_000},
		{name: "all there", handler: func() http.HandlerFunc { return file(good) }, there: good, requests: 0},
		{name: "all there, of unknown size", handler: func() http.HandlerFunc { return file(good) }, there: good, change: func(r *Request) { r.Size, r.Limit = -1, 1<<20 }},
		{name: "too much there", handler: func() http.HandlerFunc { return file(good) }, there: append(good[:len(good):len(good)], 'x'), requests: 1, sent: 300_000},
		{name: "another file there", handler: func() http.HandlerFunc { return file(good) }, there: other, requests: 1, sent: 300_000},
		{name: "the beginning of another there", handler: func() http.HandlerFunc { return file(good) }, there: other[:200_000], requests: 2, sent: 400_000},
		{name: "there, without a digest", handler: func() http.HandlerFunc { return file(good) }, there: good[:200_000], change: func(r *Request) { r.Digest = "" }, requests: 1, sent: 300_000},
		{
			name: "416 for a file that is shorter now", there: good[:200_000], handler: func() http.HandlerFunc {
				return func(w http.ResponseWriter, r *http.Request) {
					if r.Header.Get("Range") != "" {
						w.Header().Set("Content-Range", "bytes */1000")
						w.WriteHeader(416)
						return
					}
					file(good)(w, r)
				}
			}, requests: 2, sent: 300_000,
		},
		{name: "416 always", handler: status(416), wantErr: "416 Requested Range Not Satisfiable", requests: 1},
		{name: "416 always, resumed", handler: status(416), there: good[:9], wantErr: "416 Requested Range Not Satisfiable", requests: 2},
		{
			name: "200 for a range", there: good[:200_000], handler: func() http.HandlerFunc {
				return func(w http.ResponseWriter, r *http.Request) {
					r.Header.Del("Range")
					file(good)(w, r)
				}
			}, requests: 1, sent: 300_000,
		},
		{
			name: "206 with another range", there: good[:200_000], handler: partial(good, func(h http.Header) {
				h.Set("Content-Range", "bytes 100000-299999/300000")
			}, good[100_000:]), requests: 2, sent: 500_000,
		},
		{
			name: "206 without Content-Range", there: good[:200_000], handler: partial(good, func(http.Header) {}, good[200_000:]),
			requests: 2, sent: 400_000,
		},
		{
			name: "206 of a longer file", there: good[:200_000], handler: partial(good, func(h http.Header) {
				h.Set("Content-Range", "bytes 200000-299999/300001")
			}, good[200_000:]), wantErr: "it has 300001 bytes, not the 300000", left: 200_000, requests: 1,
		},
		{
			name: "206 for the whole", handler: func() http.HandlerFunc {
				return func(w http.ResponseWriter, _ *http.Request) {
					w.Header().Set("Content-Range", "bytes 0-9/300000")
					w.WriteHeader(206)
					_, _ = w.Write(good[:10])
				}
			}, wantErr: "a part of the file where the whole was asked for", requests: 1,
		},
		{
			name: "206 up to the middle", there: good[:100_000], handler: func() http.HandlerFunc {
				return func(w http.ResponseWriter, r *http.Request) {
					start := 0
					fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &start)
					end := min(start+100_000, len(good))
					w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/*", start, end-1))
					w.WriteHeader(206)
					_, _ = w.Write(good[start:end])
				}
			}, requests: 2, sent: 200_000,
		},
		{
			name: "changes between two requests, without a digest", change: func(r *Request) { r.Digest = "" }, handler: func() http.HandlerFunc {
				var n atomic.Int64
				return func(w http.ResponseWriter, r *http.Request) {
					if n.Add(1) == 1 {
						cut(w, r, other, 100_000)
						return
					}
					file(good)(w, r) // If-Range does not match: 200
				}
			}, requests: 2, sent: 400_000,
		},
		{
			name: "changes, and does not know If-Range", change: func(r *Request) { r.Digest = "" }, handler: func() http.HandlerFunc {
				var n atomic.Int64
				return func(w http.ResponseWriter, r *http.Request) {
					if n.Add(1) == 1 {
						cut(w, r, other, 100_000)
						return
					}
					r.Header.Del("If-Range")
					file(good)(w, r)
				}
			}, requests: 3,
		},
		{
			name: "broken off, with a weak tag and no digest", change: func(r *Request) { r.Digest = "" }, handler: func() http.HandlerFunc {
				var n atomic.Int64
				return func(w http.ResponseWriter, r *http.Request) {
					w.Header().Set("ETag", `W/"1"`)
					if n.Add(1) == 1 {
						w.Header().Set("Content-Length", "300000")
						_, _ = w.Write(other[:100_000])
						return
					}
					http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(good))
				}
			}, requests: 2, sent: 400_000,
		},
		{
			name: "broken off, with an old time and no digest", change: func(r *Request) { r.Digest = "" }, handler: func() http.HandlerFunc {
				var n atomic.Int64
				return func(w http.ResponseWriter, r *http.Request) {
					if n.Add(1) == 1 {
						w.Header().Set("Last-Modified", modified)
						w.Header().Set("Content-Length", "300000")
						_, _ = w.Write(good[:100_000])
						return
					}
					http.ServeContent(w, r, "", time.Unix(1e9, 0), bytes.NewReader(good))
				}
			}, requests: 2, sent: 300_000,
		},
		{
			name: "broken off, with a time of now and no digest", change: func(r *Request) { r.Digest = "" }, handler: func() http.HandlerFunc {
				var n atomic.Int64
				return func(w http.ResponseWriter, r *http.Request) {
					now := time.Now()
					if n.Add(1) == 1 {
						w.Header().Set("Last-Modified", now.UTC().Format(http.TimeFormat))
						w.Header().Set("Content-Length", "300000")
						_, _ = w.Write(other[:100_000])
						return
					}
					http.ServeContent(w, r, "", now, bytes.NewReader(good))
				}
			}, requests: 2, sent: 400_000,
		},
		{
			name: "redirects in a circle", handler: func() http.HandlerFunc {
				return func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/thing", http.StatusFound) }
			}, wantErr: "redirects more than 10 times", requests: 11,
		},
		{name: "redirects to a file", handler: redirects("file:///etc/passwd?token=secret"), wantErr: "redirects to file:///etc/passwd?..., which is neither", requests: 1},
		{name: "redirects to no address", handler: redirects("http://[::1"), wantErr: "redirects to what is no address", requests: 1},
		{
			name: "redirects to the file", handler: func() http.HandlerFunc {
				return func(w http.ResponseWriter, r *http.Request) {
					if r.URL.Path == "/thing" {
						http.Redirect(w, r, "there", http.StatusTemporaryRedirect)
						return
					}
					file(good)(w, r)
				}
			}, requests: 2,
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, test.handler())
			r := request(good, s.URL+"/thing")
			if test.change != nil {
				test.change(&r)
			}
			f := tempFile(t, test.there)
			var told []int64
			err := newTestClient(t, Options{}).Fetch(t.Context(), r, f, func(n int64) { told = append(told, n) })
			want := good
			if r.Size == 0 {
				want = nil
			}
			if test.wantErr == "" {
				if err != nil {
					t.Fatal(err)
				}
				checkFile(t, f, want)
				if first := told[0]; first != 0 && first != int64(len(test.there)) {
					t.Errorf("progress began with %d", first)
				}
				if last := told[len(told)-1]; last != int64(len(want)) {
					t.Errorf("progress ended at %d", last)
				}
			} else {
				wantError(t, err, "fetch thing: ", test.wantErr)
				if info, err := f.Stat(); err != nil || info.Size() != int64(test.left) {
					t.Errorf("the file has %d bytes after the error, want %d (%v)", info.Size(), test.left, err)
				}
			}
			if got := errors.Is(err, fs.ErrNotExist); got != test.notThere {
				t.Errorf("not there: %v, want %v", got, test.notThere)
			}
			s.Close() // and wait until it has counted all
			if got := s.requests.Load(); got != test.requests {
				t.Errorf("%d requests, want %d: ranges %q, If-Range %q", got, test.requests, s.ranges, s.ifRanges)
			}
			for _, v := range s.ifRanges {
				if strings.HasPrefix(v, "W/") {
					t.Errorf("If-Range %s: a weak tag promises nothing", v)
				}
			}
			if got := s.sent.Load(); test.sent > 0 && got != test.sent {
				t.Errorf("the server sent %d bytes, want %d", got, test.sent)
			}
		})
	}
}

func status(code int) func() http.HandlerFunc {
	return func() http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
	}
}

// first answers the first request otherwise than the others.
func first(h func() http.HandlerFunc, b []byte) func() http.HandlerFunc {
	return func() http.HandlerFunc {
		var n atomic.Int64
		return func(w http.ResponseWriter, r *http.Request) {
			if n.Add(1) == 1 {
				h()(w, r)
				return
			}
			file(b)(w, r)
		}
	}
}

func chunked(b []byte) func() http.HandlerFunc {
	return func() http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			_ = http.NewResponseController(w).Flush()
			_, _ = w.Write(b)
		}
	}
}

// partial answers a request for a part in its own way.
func partial(b []byte, header func(http.Header), body []byte) func() http.HandlerFunc {
	return func() http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Range") == "" {
				file(b)(w, r)
				return
			}
			header(w.Header())
			w.WriteHeader(206)
			_, _ = w.Write(body)
		}
	}
}

func redirects(to string) func() http.HandlerFunc {
	return func() http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", to)
			w.WriteHeader(302)
		}
	}
}

func TestGet(t *testing.T) {
	b := content(5000, 1)
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if got := r.Header.Get("Accept-Encoding"); got != "identity" {
			t.Errorf("Accept-Encoding %q", got)
		}
		if got := r.UserAgent(); got != "hashpkg" {
			t.Errorf("User-Agent %q", got)
		}
		file(b)(w, r)
	})
	c := newTestClient(t, Options{})
	got, err := c.Get(t.Context(), Request{URLs: []string{s.URL}, Name: "thing", Size: -1, Limit: 5000})
	if err != nil || !bytes.Equal(got, b) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	_, err = c.Get(t.Context(), Request{URLs: []string{s.URL}, Name: "thing", Size: -1, Limit: 4999})
	wantError(t, err, "more than 4999 bytes")
}

func TestStall(t *testing.T) {
	good := content(300_000, 1)
	stalls := func(n int) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if n >= 0 {
				cut(w, r, good, n)
			}
			<-r.Context().Done() // the client has gone
		}
	}
	o := Options{Stall: 400 * time.Millisecond, Retries: -1}
	t.Run("before the TLS handshake", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0") // whose connections nobody takes
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		address := "https://" + l.Addr().String()
		_, err = newTestClient(t, o).Get(t.Context(), request(good, address))
		wantError(t, err, address)
		if s := fmt.Sprint(err); !strings.Contains(s, "it sent nothing for 400ms") && !strings.Contains(s, "handshake timeout") {
			t.Error(s)
		}
	})
	for name, n := range map[string]int{"before the answer": -1, "after the header": 0, "in the middle": 1000} {
		t.Run(name, func(t *testing.T) {
			bad, next := serve(t, stalls(n)), serve(t, file(good))
			f := tempFile(t, nil)
			start := time.Now()
			err := newTestClient(t, o).Fetch(t.Context(), request(good, bad.URL), f, nil)
			wantError(t, err, bad.URL+": it sent nothing for 400ms")
			if d := time.Since(start); d > 2*time.Second {
				t.Errorf("it took %v", d)
			}
			// With another mirror it goes on there, and that one is the first from then on.
			c := newTestClient(t, o)
			f = tempFile(t, nil)
			for range 2 {
				if err := f.Truncate(0); err != nil {
					t.Fatal(err)
				}
				if err := c.Fetch(t.Context(), request(good, bad.URL, next.URL), f, nil); err != nil {
					t.Fatal(err)
				}
				checkFile(t, f, good)
			}
			if got := bad.requests.Load(); got != 2 {
				t.Errorf("%d requests at the mirror that stalls, want 2", got)
			}
			next.Close()
			if want := int64(2*300_000 - max(0, n)); next.sent.Load() != want {
				t.Errorf("the other mirror sent %d bytes, want %d", next.sent.Load(), want)
			}
		})
	}
}

// TestTrickle is of a server that sends just enough to count as alive: good enough where
// there is no other, and left otherwise.
func TestTrickle(t *testing.T) {
	good := content(60, 1)
	trickle := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "60")
		for i := range good {
			if _, err := w.Write(good[i : i+1]); err != nil {
				return
			}
			_ = http.NewResponseController(w).Flush()
			select {
			case <-time.After(20 * time.Millisecond):
			case <-r.Context().Done():
				return
			}
		}
	}
	slow := serve(t, trickle)
	o := Options{Stall: 400 * time.Millisecond, Retries: -1}
	f := tempFile(t, nil)
	if err := newTestClient(t, o).Fetch(t.Context(), request(good, slow.URL), f, nil); err != nil {
		t.Fatal(err)
	}
	checkFile(t, f, good)

	fast := serve(t, file(good))
	f = tempFile(t, nil)
	if err := newTestClient(t, o).Fetch(t.Context(), request(good, slow.URL, fast.URL), f, nil); err != nil {
		t.Fatal(err)
	}
	checkFile(t, f, good)
	fast.Close()
	if fast.requests.Load() != 1 || fast.sent.Load() >= 60 {
		t.Errorf("the fast mirror had %d requests and sent %d bytes", fast.requests.Load(), fast.sent.Load())
	}
}

func TestRetryAfter(t *testing.T) {
	good := content(1000, 1)
	var n atomic.Int64
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if n.Add(1) == 1 {
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(429)
			return
		}
		file(good)(w, r)
	})
	start := time.Now()
	if _, err := newTestClient(t, Options{}).Get(t.Context(), request(good, s.URL)); err != nil {
		t.Fatal(err)
	}
	if d := time.Since(start); d < 900*time.Millisecond {
		t.Errorf("it waited for %v, want 1s", d)
	}

	hours := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", time.Now().Add(time.Hour).UTC().Format(http.TimeFormat))
		w.WriteHeader(503)
	})
	_, err := newTestClient(t, Options{}).Get(t.Context(), request(good, hours.URL))
	wantError(t, err, "503 Service Unavailable: it wants to be left alone for ")
	if hours.requests.Load() != 1 {
		t.Errorf("%d requests", hours.requests.Load())
	}
}

func TestMirrors(t *testing.T) {
	good, other := content(300_000, 1), content(300_000, 2)
	lying, missing, whole := serve(t, file(other)), serve(t, http.NotFound), serve(t, file(good))
	failing := serve(t, status(500)())
	gone := "http://" + closedPort(t)

	t.Run("digest wrong on the first", func(t *testing.T) {
		var warnings []string
		c := newTestClient(t, Options{Warn: func(s string) { warnings = append(warnings, s) }})
		f := tempFile(t, nil)
		if err := c.Fetch(t.Context(), request(good, lying.URL+"/x", whole.URL+"/y"), f, nil); err != nil {
			t.Fatal(err)
		}
		checkFile(t, f, good)
		if len(warnings) != 1 || !strings.Contains(warnings[0], lying.URL+"/x: its sha256 is ") || !strings.HasSuffix(warnings[0], "fetched from "+whole.URL+"/y") {
			t.Errorf("warnings %q", warnings)
		}
	})
	t.Run("missing, down, failing, good", func(t *testing.T) {
		var warnings []string
		c := newTestClient(t, Options{Warn: func(s string) { warnings = append(warnings, s) }})
		before := failing.requests.Load()
		for range 2 {
			f := tempFile(t, nil)
			if err := c.Fetch(t.Context(), request(good, missing.URL, gone, failing.URL, whole.URL), f, nil); err != nil {
				t.Fatal(err)
			}
			checkFile(t, f, good)
		}
		if len(warnings) != 2 || !strings.Contains(warnings[0], gone+": dial tcp") || !strings.Contains(warnings[1], failing.URL+": 500 Internal Server Error; it was fetched from "+whole.URL) {
			t.Errorf("warnings %q", warnings)
		}
		if n := missing.requests.Load(); n != 2 {
			t.Errorf("%d requests at the mirror that does not have it, want 2: it may have the next file", n)
		}
		if n := failing.requests.Load() - before; n != 1 {
			t.Errorf("%d requests at the mirror that failed before", n)
		}
	})
	t.Run("all bad", func(t *testing.T) {
		before := lying.requests.Load()
		_, err := newTestClient(t, Options{}).Get(t.Context(), request(good, missing.URL, gone, lying.URL))
		wantError(t, err, missing.URL+": 404", gone+": dial tcp", lying.URL+": its sha256 is")
		if errors.Is(err, fs.ErrNotExist) {
			t.Error("it counts as not there, though one mirror has a file and one did not answer")
		}
		if n := lying.requests.Load() - before; n != 1 {
			t.Errorf("%d requests at the mirror with another file", n)
		}
	})
	t.Run("all without it", func(t *testing.T) {
		_, err := newTestClient(t, Options{}).Get(t.Context(), request(good, missing.URL, missing.URL+"/2", "file:///nonexistent/file"))
		if !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%v", err)
		}
	})
	t.Run("half of a lie, then good", func(t *testing.T) {
		half := serve(t, func(w http.ResponseWriter, r *http.Request) { cut(w, r, other, 150_000) })
		f := tempFile(t, nil)
		if err := newTestClient(t, Options{}).Fetch(t.Context(), request(good, half.URL, whole.URL), f, nil); err != nil {
			t.Fatal(err)
		}
		checkFile(t, f, good)
	})
	t.Run("half of it, then the rest elsewhere", func(t *testing.T) {
		half, whole := serve(t, func(w http.ResponseWriter, r *http.Request) { cut(w, r, good, 150_000) }), serve(t, file(good))
		f := tempFile(t, nil)
		if err := newTestClient(t, Options{}).Fetch(t.Context(), request(good, half.URL, whole.URL), f, nil); err != nil {
			t.Fatal(err)
		}
		checkFile(t, f, good)
		whole.Close()
		if n := whole.sent.Load(); n != 150_000 {
			t.Errorf("the second mirror sent %d bytes, want 150000", n)
		}
	})
}

// closedPort returns an address on loopback where nobody listens.
func closedPort(t testing.TB) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// TestProgressKeepsTrying is of a server that breaks off more often than it may fail in
// succession, and sends enough each time.
func TestProgressKeepsTrying(t *testing.T) {
	good := content(8<<20, 1)
	s := serve(t, func(w http.ResponseWriter, r *http.Request) { cut(w, r, good, 3<<19) })
	f := tempFile(t, nil)
	if err := newTestClient(t, Options{Retries: 1}).Fetch(t.Context(), request(good, s.URL), f, nil); err != nil {
		t.Fatal(err)
	}
	checkFile(t, f, good)
	if n := s.requests.Load(); n != 6 {
		t.Errorf("%d requests, want 6", n)
	}
}

func TestCancel(t *testing.T) {
	good := content(300_000, 1)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Range") != "" {
			file(good)(w, r)
			return
		}
		cut(w, r, good, 100_000)
		<-r.Context().Done() // the client has gone
	})
	f := tempFile(t, nil)
	err := newTestClient(t, Options{}).Fetch(ctx, request(good, s.URL), f, func(n int64) {
		if n == 100_000 {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("%v", err)
	}
	checkFile(t, f, good[:100_000])
	if err := newTestClient(t, Options{}).Fetch(t.Context(), request(good, s.URL), f, nil); err != nil {
		t.Fatal(err)
	}
	checkFile(t, f, good)
	s.Close()
	if n := s.sent.Load(); n != 300_000 {
		t.Errorf("the server sent %d bytes in all, want 300000", n)
	}
}

// TestKilled kills a process that fetches, and lets another go on.
func TestKilled(t *testing.T) {
	const address = "FETCH_TEST_ADDRESS"
	good := content(3_000_000, 1)
	if url := os.Getenv(address); url != "" { // the process to be killed
		f, err := os.OpenFile(os.Getenv("FETCH_TEST_FILE"), os.O_RDWR|os.O_CREATE, 0o644)
		if err != nil {
			t.Fatal(err)
		}
		t.Fatalf("it ended by itself: %v", newTestClient(t, Options{}).Fetch(t.Context(), request(good, url), f, nil))
	}
	path := filepath.Join(t.TempDir(), "file")
	half := make(chan struct{})
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Range") != "" {
			file(good)(w, r)
			return
		}
		cut(w, r, good, 2_000_000)
		close(half)
		<-r.Context().Done() // the client has gone
	})
	cmd := exec.Command(os.Args[0], "-test.run=^TestKilled$")
	cmd.Env = append(os.Environ(), address+"="+s.URL, "FETCH_TEST_FILE="+path)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	<-half
	for start := time.Now(); ; time.Sleep(time.Millisecond) { // until it has written all of that
		if info, err := os.Stat(path); err == nil && info.Size() == 2_000_000 {
			break
		}
		if time.Since(start) > 10*time.Second {
			t.Error("the process does not write")
			break
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Fatalf("the process: %v", err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var told []int64
	if err := newTestClient(t, Options{}).Fetch(t.Context(), request(good, s.URL), f, func(n int64) { told = append(told, n) }); err != nil {
		t.Fatal(err)
	}
	checkFile(t, f, good)
	s.Close()
	if n := s.sent.Load(); n != 3_000_000 {
		t.Errorf("the server sent %d bytes in all, want 3000000", n)
	}
	if told[0] != 2_000_000 || told[len(told)-1] != 3_000_000 {
		t.Errorf("progress went from %d to %d", told[0], told[len(told)-1])
	}
}

func TestFileAddresses(t *testing.T) {
	good := content(300_000, 1)
	dir := t.TempDir()
	path := filepath.Join(dir, "a file%")
	if err := os.WriteFile(path, good, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "fifo"), 0o644); err != nil {
		t.Fatal(err)
	}
	address := (&url.URL{Scheme: "file", Path: path}).String()
	c := newTestClient(t, Options{})
	for _, u := range []string{address, strings.Replace(address, "file:", "copy:", 1), strings.Replace(address, "///", "/", 1), strings.Replace(address, "///", "//localhost/", 1)} {
		for _, there := range [][]byte{nil, good[:1000], good} {
			f := tempFile(t, there)
			if err := c.Fetch(t.Context(), request(good, u), f, nil); err != nil {
				t.Fatal(err)
			}
			checkFile(t, f, good)
		}
	}
	_, err := c.Get(t.Context(), request(good, "file:"+dir+"/none"))
	wantError(t, err, "file://"+dir+"/none: no such file or directory")
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v does not wrap fs.ErrNotExist", err)
	}
	for name, want := range map[string]string{"fifo": "it is no regular file", "": "it is no regular file", "a%20file%25": "it has 300000 bytes, not the 5"} {
		r := request(good[:5], "file://"+dir+"/"+name)
		_, err := c.Get(t.Context(), r)
		wantError(t, err, want)
	}
}

func TestBadRequests(t *testing.T) {
	c := newTestClient(t, Options{})
	for _, test := range []struct {
		change func(*Request)
		want   string
	}{
		{func(r *Request) { r.URLs = nil }, "it has no address"},
		{func(r *Request) { r.Size = -1 }, "neither its size nor a limit is known"},
		{func(r *Request) { r.Size, r.Limit = 10, 9 }, "it has 10 bytes, more than the 9"},
		{func(r *Request) { r.Digest = "md5:0" }, "none of sha256 and sha512"},
		{func(r *Request) { r.Digest = "sha256:00" }, "not 64 hexadecimal digits"},
		{func(r *Request) { r.URLs[0] = "ftp://host/file" }, "address 1: ftp://host/file: hashpkg fetches from"},
		{func(r *Request) { r.URLs[0] = "http:///file" }, "it has no host"},
		{func(r *Request) { r.URLs[0] = "file:file" }, "it has no absolute path"},
		{func(r *Request) { r.URLs[0] = "file://host/file" }, "a file on another host"},
		{func(r *Request) { r.URLs[0] = "http://u:hush/hush@host/" }, "address 1: it cannot be read"},
		{func(r *Request) { r.URLs[0] = "cdrom:[Debian]/" }, "hashpkg fetches from"},
	} {
		r := request(nil, "http://127.0.0.1/")
		test.change(&r)
		_, err := c.Get(t.Context(), r)
		wantError(t, err, "fetch thing: ", test.want)
		if err != nil && strings.Contains(err.Error(), "hush") {
			t.Errorf("the error %q has what is secret", err)
		}
	}
}

func TestIPv6(t *testing.T) {
	l, err := net.Listen("tcp6", "[::1]:0")
	if err != nil {
		testneed.Unmet(t, "it needs IPv6 on loopback: ", err)
	}
	good := content(1000, 1)
	s := &server{}
	s.Server = httptest.NewUnstartedServer(s.count(file(good)))
	s.Listener.Close()
	s.Listener = l
	s.Start()
	defer s.Close()
	if !strings.Contains(s.URL, "[::1]") {
		t.Fatal(s.URL)
	}
	if _, err := newTestClient(t, Options{}).Get(t.Context(), request(good, s.URL+"/x")); err != nil {
		t.Error(err)
	}
}

// TestFullDisk writes to a disk with a megabyte.
func TestFullDisk(t *testing.T) {
	testneed.Root(t)
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	}()
	good := content(3<<20, 1)
	s := serve(t, file(good))
	f, err := os.Create(filepath.Join(dir, "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	err = newTestClient(t, Options{}).Fetch(t.Context(), request(good, s.URL, s.URL+"/2"), f, nil)
	if !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("%v, want ENOSPC", err)
	}
	if n := s.requests.Load(); n != 1 {
		t.Errorf("%d requests, want 1: another mirror does not help", n)
	}
	f.Close()
}
