package testrepo

import (
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// Server serves a repository on loopback, and counts what it sends.
type Server struct {
	URL string

	mu       sync.Mutex
	files    Files
	bends    map[string]Handler
	requests []string // their paths
	sent     int64    // bytes of bodies
	closed   chan struct{}
}

// Handler answers a request. good is how a server answers that is in order.
type Handler func(w http.ResponseWriter, r *http.Request, good http.HandlerFunc)

// Serve starts a server, which ends with the test.
func Serve(tb testing.TB, files Files) *Server {
	tb.Helper()
	s := &Server{files: files, bends: map[string]Handler{}, closed: make(chan struct{})}
	server := httptest.NewServer(s)
	s.URL = server.URL
	tb.Cleanup(func() {
		close(s.closed)
		server.CloseClientConnections()
		server.Close()
	})
	return s
}

// Set has the server serve other files.
func (s *Server) Set(files Files) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.files = files
}

// Bend has h answer for paths that end in this; nil undoes it.
func (s *Server) Bend(end string, h Handler) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if h == nil {
		delete(s.bends, end)
		return
	}
	s.bends[end] = h
}

// Requests returns how many requests were made for paths that end in this.
func (s *Server) Requests(end string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, p := range s.requests {
		if strings.HasSuffix(p, end) {
			n++
		}
	}
	return n
}

// Sent returns how many bytes were sent, without headers.
func (s *Server) Sent() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sent
}

// Forget counts anew.
func (s *Server) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests, s.sent = nil, 0
}

// ServeHTTP implements [http.Handler].
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.requests = append(s.requests, r.URL.Path)
	content, ok := s.files[strings.TrimPrefix(r.URL.Path, "/")]
	var bend Handler
	longest := -1
	for end, h := range s.bends {
		if strings.HasSuffix(r.URL.Path, end) && len(end) > longest {
			bend, longest = h, len(end)
		}
	}
	s.mu.Unlock()
	counted := &countingWriter{w, s}
	good := func(w http.ResponseWriter, r *http.Request) {
		if !ok {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("ETag", fmt.Sprintf(`"%x"`, sha256.Sum256([]byte(content))))
		http.ServeContent(w, r, "", time.Unix(1e9, 0), strings.NewReader(content))
	}
	if bend == nil {
		good(counted, r)
		return
	}
	bend(counted, r, good)
}

type countingWriter struct {
	http.ResponseWriter
	server *Server
}

func (w *countingWriter) Write(p []byte) (int, error) {
	n, err := w.ResponseWriter.Write(p)
	w.server.mu.Lock()
	defer w.server.mu.Unlock()
	w.server.sent += int64(n)
	return n, err
}

func (w *countingWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Status answers with nothing but a status.
func Status(code int) Handler {
	return func(w http.ResponseWriter, _ *http.Request, _ http.HandlerFunc) { w.WriteHeader(code) }
}

// Redirect sends elsewhere.
func Redirect(to string) Handler {
	return func(w http.ResponseWriter, _ *http.Request, _ http.HandlerFunc) {
		w.Header().Set("Location", to)
		w.WriteHeader(http.StatusFound)
	}
}

// First answers so the first n times, and then as a good server does.
func First(n int, h Handler) Handler {
	var mu sync.Mutex
	return func(w http.ResponseWriter, r *http.Request, good http.HandlerFunc) {
		mu.Lock()
		n--
		isFirst := n >= 0
		mu.Unlock()
		if isFirst {
			h(w, r, good)
			return
		}
		good(w, r)
	}
}

// Cut promises the whole file and closes the connection after n bytes of what is asked
// for.
func (s *Server) Cut(n int) Handler {
	return func(w http.ResponseWriter, r *http.Request, _ http.HandlerFunc) {
		s.begin(w, r, n)
		panic(http.ErrAbortHandler)
	}
}

// Stall sends n bytes of a file, and then nothing until the client leaves.
func (s *Server) Stall(n int) Handler {
	return func(w http.ResponseWriter, r *http.Request, _ http.HandlerFunc) {
		s.begin(w, r, n)
		select {
		case <-r.Context().Done():
		case <-s.closed:
		}
	}
}

// Slowly sends a file n bytes at a time, with a pause after each.
func (s *Server) Slowly(n int, pause time.Duration) Handler {
	return func(w http.ResponseWriter, r *http.Request, _ http.HandlerFunc) {
		rest := s.header(w, r)
		for len(rest) > 0 && r.Context().Err() == nil {
			some := rest[:min(n, len(rest))]
			rest = rest[len(some):]
			if _, err := io.WriteString(w, some); err != nil {
				return
			}
			_ = http.NewResponseController(w).Flush() // the client has left, if this fails
			select {
			case <-r.Context().Done():
			case <-s.closed:
				return
			case <-time.After(pause):
			}
		}
	}
}

// begin sends the first n bytes of what is asked for.
func (s *Server) begin(w http.ResponseWriter, r *http.Request, n int) {
	rest := s.header(w, r)
	_, _ = io.WriteString(w, rest[:min(n, len(rest))])
	_ = http.NewResponseController(w).Flush() // the client has left, if one of these fails
}

// header answers for a file, or the rest of one, and returns what is to be sent.
func (s *Server) header(w http.ResponseWriter, r *http.Request) string {
	s.mu.Lock()
	content := s.files[strings.TrimPrefix(r.URL.Path, "/")]
	s.mu.Unlock()
	start := 0
	if _, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &start); err != nil {
		start = 0
	}
	start = min(start, len(content))
	w.Header().Set("ETag", fmt.Sprintf(`"%x"`, sha256.Sum256([]byte(content))))
	w.Header().Set("Content-Length", strconv.Itoa(len(content)-start))
	if start > 0 {
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", start, len(content)-1, len(content)))
		w.WriteHeader(http.StatusPartialContent)
	}
	return content[start:]
}
