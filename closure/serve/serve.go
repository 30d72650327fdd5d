// Package serve gives the files of a root's store to other machines, as they were packaged, by HTTP:
// [New] returns a [Server], whose Handler answers
//
//	GET  /objects/BLAKE3     a file
//	GET  /sha256/SHA256      the same
//	POST /objects/           many files by one request, see [objects.EncodeList]
//	GET  /manifests/NAME     a closure manifest, or a note that signs one
//	GET  /manifests/BLAKE3   the same manifest, and BLAKE3.note its note
//
// It changes nothing, and lists nothing. Who has the digest of a file gets it if everybody could read it on
// a machine that has the package: see [Public]. It works while a store changes: what is gone is not found.
//
// Sockets, certificates and the rights of the process are its caller's business.
package serve

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/net/netutil"

	"github.com/hashpkg/hashpkg/closure"
	"github.com/hashpkg/hashpkg/closure/objects"
	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/store"
)

// Options are what a server goes by.
type Options struct {
	Store     *store.Store
	Manifests *Manifests // nil for none
	// Log is told of requests when they have been answered, from any goroutine. May be nil.
	Log func(Entry)

	Connections int           // at a time; 0 for 256
	Batches     int           // answered at a time; 0 for 64
	Slowest     time.Duration // in which a reader takes 32 KiB; 0 for 30 s
}

// Entry is a request that was answered.
type Entry struct {
	Time     time.Time     `json:"time"`   // at which it came
	Client   string        `json:"client"` // its address
	Method   string        `json:"method"`
	Path     string        `json:"path"`
	Status   int           `json:"status"`
	Files    int           `json:"files,omitempty"` // of a batch
	Bytes    int64         `json:"bytes"`           // of the body that were sent, as they went
	Duration time.Duration `json:"duration"`        // in nanoseconds
	Error    string        `json:"error,omitempty"` // why less was sent than was there
}

// Server serves a store.
type Server struct {
	Options
	index   *index
	batches chan struct{}
}

// New returns a server. It reads the manifests of all packages that the store has.
func New(o Options) (*Server, error) {
	if o.Connections == 0 {
		o.Connections = 256
	}
	if o.Batches == 0 {
		o.Batches = 64
	}
	if o.Slowest == 0 {
		o.Slowest = 30 * time.Second
	}
	s := &Server{Options: o, index: newIndex(o.Store), batches: make(chan struct{}, o.Batches)}
	_, err := s.index.current()
	return s, err
}

const (
	maxHeader   = 16 << 10
	maxList     = objects.MaxBatch * 65
	writeAtOnce = 32 << 10
	endWithin   = 20 * time.Second
	// A window of zstd that costs a connection little memory.
	window = 1 << 20
)

// Serve answers on listeners until the context ends, and then lets what was begun come to its end for
// some seconds. The certificate is nil for plain HTTP.
func (s *Server) Serve(ctx context.Context, listeners []net.Listener, certificate *tls.Certificate) error {
	server := &http.Server{
		Handler:           s.Handler(),
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second, // lists are short
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    maxHeader,
	}
	if certificate != nil {
		server.TLSConfig = &tls.Config{Certificates: []tls.Certificate{*certificate}, MinVersion: tls.VersionTLS12}
	}
	ended := make(chan error, len(listeners))
	for _, l := range listeners {
		l = netutil.LimitListener(l, s.Connections)
		go func() {
			if certificate != nil {
				ended <- server.ServeTLS(l, "", "")
				return
			}
			ended <- server.Serve(l)
		}()
	}
	select {
	case err := <-ended:
		return errors.Join(err, server.Close())
	case <-ctx.Done():
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), endWithin)
	defer cancel()
	err := server.Shutdown(last)
	if errors.Is(err, context.DeadlineExceeded) {
		err = server.Close() // who reads so slowly asks again
	}
	return err
}

// Handler returns what answers requests.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /objects/{digest}", s.object)
	mux.HandleFunc("GET /sha256/{digest}", s.sha256)
	mux.HandleFunc("POST /objects/{$}", s.batch)
	mux.HandleFunc("GET /manifests/{name}", s.manifest)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a := &answer{ResponseWriter: w, control: http.NewResponseController(w), slowest: s.Slowest, entry: Entry{
			Time: time.Now(), Client: r.RemoteAddr, Method: r.Method, Path: r.URL.Path,
		}}
		a.Header().Set("X-Content-Type-Options", "nosniff")
		defer func() {
			a.entry.Duration = time.Since(a.entry.Time)
			if s.Log != nil {
				s.Log(a.entry)
			}
		}()
		mux.ServeHTTP(a, r)
	})
}

// answer is a response whose reader has a time for each part of it, and that is counted.
type answer struct {
	http.ResponseWriter
	control *http.ResponseController
	slowest time.Duration
	entry   Entry
	part    []byte
}

func (a *answer) WriteHeader(status int) {
	a.entry.Status = status
	a.ResponseWriter.WriteHeader(status)
}

// Write sends copies: what comes of a mapped file is read by this goroutine, and a file that somebody makes
// shorter is an error of the mapping then.
func (a *answer) Write(b []byte) (n int, err error) {
	if a.entry.Status == 0 {
		a.entry.Status = http.StatusOK
	}
	if a.part == nil {
		a.part = make([]byte, writeAtOnce)
	}
	for len(b) > 0 {
		part := a.part[:copy(a.part, b)]
		if err := a.control.SetWriteDeadline(time.Now().Add(a.slowest)); err != nil && !errors.Is(err, http.ErrNotSupported) {
			return n, err
		}
		m, err := a.ResponseWriter.Write(part)
		n += m
		a.entry.Bytes += int64(m)
		if err != nil {
			a.entry.Error = err.Error()
			return n, err
		}
		b = b[m:]
	}
	return n, nil
}

// Unwrap is for [http.ResponseController].
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// fail answers with a status and no more.
func fail(w http.ResponseWriter, status int) { http.Error(w, http.StatusText(status), status) }

// failed answers with what an error means, which is in the log.
func failed(w http.ResponseWriter, err error) {
	if a, ok := w.(*answer); ok {
		a.entry.Error = err.Error()
	}
	if isGone(err) {
		fail(w, http.StatusNotFound)
		return
	}
	fail(w, http.StatusInternalServerError)
}

// isGone reports whether there is nothing to be had: the file was removed, or only root may read it.
func isGone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission)
}

func (s *Server) object(w http.ResponseWriter, r *http.Request) {
	d, err := digest.Parse(r.PathValue("digest"))
	if err != nil {
		fail(w, http.StatusNotFound)
		return
	}
	f, err := s.index.current()
	if err != nil {
		failed(w, err)
		return
	}
	s.send(w, r, f, d)
}

func (s *Server) sha256(w http.ResponseWriter, r *http.Request) {
	var sum closure.SHA256
	if b, err := hex.DecodeString(r.PathValue("digest")); err != nil || copy(sum[:], b) != len(sum) || len(b) != len(sum) {
		fail(w, http.StatusNotFound)
		return
	}
	f, err := s.index.current()
	if err != nil {
		failed(w, err)
		return
	}
	d, found, err := s.index.withSHA256(r.Context(), f, sum)
	switch {
	case err != nil:
		failed(w, err)
	case !found:
		fail(w, http.StatusNotFound)
	default:
		s.send(w, r, f, d)
	}
}

// send sends one file.
func (s *Server) send(w http.ResponseWriter, r *http.Request, f *files, d digest.Digest) {
	if _, may := f.sizes[d]; !may {
		fail(w, http.StatusNotFound)
		return
	}
	begun := false
	err := f.packaged.Map(d, func(b []byte) error {
		begun = true
		return sendBytes(w, r, b, d, true)
	})
	switch {
	case err == nil:
	case begun:
		panic(http.ErrAbortHandler) // the client must not take it for the whole
	default:
		failed(w, err)
	}
}

// sendBytes sends bytes that have a digest; immutable says that there will never be others at the address. The
// error is of an answer that is not whole.
func sendBytes(w http.ResponseWriter, r *http.Request, b []byte, d digest.Digest, immutable bool) error {
	h := w.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Cache-Control", "no-cache")
	if immutable {
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	h.Set("Vary", "Accept-Encoding")
	if !takesZstd(r) {
		h.Set("ETag", `"`+d.String()+`"`)
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(b))
		return nil
	}
	tag := `"` + d.String() + `-zstd"`
	h.Set("ETag", tag)
	if strings.Contains(r.Header.Get("If-None-Match"), tag) {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	h.Set("Content-Encoding", "zstd")
	if r.Method == http.MethodHead {
		return nil
	}
	z, err := newEncoder(w)
	if err != nil {
		return err
	}
	_, err = z.Write(b)
	return errors.Join(err, z.Close())
}

// takesZstd reports whether a request may be answered in zstd. One for a part of a file is answered as it is.
func takesZstd(r *http.Request) bool {
	if r.Header.Get("Range") != "" {
		return false
	}
	for one := range strings.SplitSeq(r.Header.Get("Accept-Encoding"), ",") {
		name, parameters, _ := strings.Cut(one, ";")
		if !strings.EqualFold(strings.TrimSpace(name), "zstd") {
			continue
		}
		weight, weighed := strings.CutPrefix(strings.TrimSpace(parameters), "q=")
		q, err := strconv.ParseFloat(weight, 64)
		return !weighed || err == nil && q > 0
	}
	return false
}

func newEncoder(w io.Writer) (*zstd.Encoder, error) {
	return zstd.NewWriter(w, zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true), zstd.WithWindowSize(window), zstd.WithEncoderLevel(zstd.SpeedFastest))
}

// batch sends many files.
func (s *Server) batch(w http.ResponseWriter, r *http.Request) {
	select {
	case s.batches <- struct{}{}:
		defer func() { <-s.batches }()
	default:
		w.Header().Set("Retry-After", "1")
		fail(w, http.StatusServiceUnavailable)
		return
	}
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxList))
	if err != nil {
		fail(w, http.StatusRequestEntityTooLarge)
		return
	}
	wants, err := objects.DecodeList(b)
	if err != nil {
		fail(w, http.StatusBadRequest)
		return
	}
	f, err := s.index.current()
	if err != nil {
		failed(w, err)
		return
	}
	w.Header().Set("Content-Type", objects.BatchType)
	w.Header().Set("Cache-Control", "no-store")
	if err := s.pack(w, f, wants); err != nil {
		panic(http.ErrAbortHandler) // the client must not take it for all that there is
	}
}

// pack writes an archive of those files that are there.
func (s *Server) pack(w http.ResponseWriter, f *files, wants []digest.Digest) error {
	z, err := newEncoder(w)
	if err != nil {
		return err
	}
	archive := tar.NewWriter(z)
	sent := 0
	for _, d := range wants {
		if _, may := f.sizes[d]; !may {
			continue
		}
		begun := false
		err := f.packaged.Map(d, func(b []byte) error {
			begun = true
			if err := archive.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: d.String(), Size: int64(len(b)), Mode: 0o644}); err != nil {
				return err
			}
			_, err := archive.Write(b)
			return err
		})
		switch {
		case err == nil:
			sent++
		case begun:
			return err
		default:
			note(w, fmt.Sprintf("%s: %v", d, err))
		}
	}
	if a, ok := w.(*answer); ok {
		a.entry.Files = sent
	}
	if err := archive.Close(); err != nil {
		return err
	}
	return z.Close()
}

// note has the log say what was not sent.
func note(w http.ResponseWriter, text string) {
	if a, ok := w.(*answer); ok {
		a.entry.Error = text
	}
}
