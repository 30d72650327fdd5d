// Package resolve asks programs which library answers a name: [Chain.Ask] asks one [Resolver] after another,
// each by a line of JSON, until one has an answer.
//
// What is answered is not believed here beyond its form: who uses a file compares its bytes with the
// digest, and looks whether it is such a library.
//
// # The protocol
//
// A resolver is a command that reads questions from its standard input and writes answers to its standard
// output, or a server at a socket of the file system. Each is a JSON object on one line, and an answer
// follows each question before the next one is asked:
//
//	{"soname":"libz.so.1","architecture":"amd64","wanted_by":"jq=1.7 usr/bin/jq","versions":["ZLIB_1.2.9"]}
//	{"blake3":"HEX","from":["https://example.org/objects/{blake3}"]}
//	{"path":"/opt/lib/libz.so.1.3"}
//	{"no":true}
//	{"next":true}
//
// "no" ends the search: nothing answers the name. "next" leaves the question to the next resolver.
package resolve

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hashpkg/hashpkg/closure"
	"github.com/hashpkg/hashpkg/digest"
)

// Question asks for a library.
type Question struct {
	Soname       string   `json:"soname"`
	Architecture string   `json:"architecture"` // of the package that wants it
	WantedBy     string   `json:"wanted_by"`    // "NAME=VERSION PATH"
	Versions     []string `json:"versions"`     // symbol versions that it has to define
}

// Answer is what answers a question: exactly one of a digest, a path, No and Next.
type Answer struct {
	BLAKE3 digest.Digest `json:"blake3,omitzero"`
	From   []string      `json:"from,omitempty"` // templates of addresses, see [closure.CheckTemplate]
	Path   string        `json:"path,omitempty"` // absolute; with a digest as well, the file has to have that
	No     bool          `json:"no,omitempty"`
	Next   bool          `json:"next,omitempty"`
}

// Has reports whether the answer is a library.
func (a *Answer) Has() bool { return a.Path != "" || !a.BLAKE3.IsZero() }

// MaxLine is how many bytes an answer may have, and Timeout how long one may take, unless a Resolver says otherwise.
const (
	MaxLine = 64 << 10
	Timeout = 30 * time.Second
)

// endTimeout is how long a command may go on after its last question, and who it has left its output to.
const endTimeout = 5 * time.Second

// maxComplaint is how much of what a command writes to standard error is in a message.
const maxComplaint = 1 << 10

// Resolver is a program that answers questions, one at a time.
type Resolver struct {
	name    string
	timeout time.Duration
	to      io.Writer
	lines   *bufio.Reader
	expire  func(time.Time) error // of reads and writes
	end     func() error
	stderr  *tail
	failed  bool // it is asked nothing more, and need not end by itself
}

// Start starts a resolver: "unix:SOCKET" is the server at that socket, and anything else a command for
// /bin/sh, which runs in the working directory, as who calls. timeout is for each answer; 0 for Timeout.
func Start(ctx context.Context, spec string, timeout time.Duration) (*Resolver, error) {
	if timeout == 0 {
		timeout = Timeout
	}
	r := &Resolver{name: spec, timeout: timeout}
	if socket, is := strings.CutPrefix(spec, "unix:"); is {
		d := net.Dialer{Timeout: timeout}
		c, err := d.DialContext(ctx, "unix", socket)
		if err != nil {
			return nil, fmt.Errorf("resolver %s: %w", spec, err)
		}
		r.to, r.lines, r.expire, r.end = c, bufio.NewReaderSize(c, MaxLine), c.SetDeadline, c.Close
		return r, nil
	}
	if strings.TrimSpace(spec) == "" {
		return nil, errors.New("resolver: there is no command")
	}
	return r.startCommand(ctx)
}

func (r *Resolver) startCommand(ctx context.Context) (*Resolver, error) {
	fail := func(err error) (*Resolver, error) { return nil, fmt.Errorf("resolver %s: %w", r.name, err) }
	// Pipes of our own have deadlines, which those of os/exec do not say that they have.
	toRead, toWrite, err := os.Pipe()
	if err != nil {
		return fail(err)
	}
	fromRead, fromWrite, err := os.Pipe()
	if err != nil {
		return fail(errors.Join(err, toRead.Close(), toWrite.Close()))
	}
	ctx, stop := context.WithCancel(ctx)
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", r.name)
	r.stderr = &tail{}
	cmd.Stdin, cmd.Stdout, cmd.Stderr, cmd.WaitDelay = toRead, fromWrite, r.stderr, endTimeout
	err = cmd.Start()
	closed := errors.Join(toRead.Close(), fromWrite.Close())
	if err != nil {
		stop()
		return fail(errors.Join(err, toWrite.Close(), fromRead.Close()))
	}
	r.to, r.lines = toWrite, bufio.NewReaderSize(fromRead, MaxLine)
	r.expire = func(t time.Time) error { return errors.Join(toWrite.SetWriteDeadline(t), fromRead.SetReadDeadline(t)) }
	r.end = func() error {
		err := errors.Join(closed, toWrite.Close(), fromRead.Close())
		if r.failed {
			stop()
		}
		ended := time.AfterFunc(endTimeout, stop) // of one that does not mind that there are no more questions
		waited := cmd.Wait()
		ended.Stop()
		stop()
		var status *exec.ExitError
		if errors.As(waited, &status) {
			waited = nil // it has answered all that it was asked
		}
		if r.failed {
			waited = nil // of what it has left running
		}
		return errors.Join(err, waited)
	}
	return r, nil
}

// Name returns what the resolver was called by.
func (r *Resolver) Name() string { return r.name }

// Close lets a command end and closes a connection.
func (r *Resolver) Close() error { return r.end() }

// Ask asks one question. After an error the resolver is asked nothing more.
func (r *Resolver) Ask(ctx context.Context, q Question) (*Answer, error) {
	fail := func(err error) (*Answer, error) {
		r.failed = true
		if cause := ctx.Err(); cause != nil {
			return nil, cause
		}
		return nil, fmt.Errorf("resolver %s, asked for %s: %w%s", r.name, q.Soname, err, r.stderr)
	}
	if q.Versions == nil {
		q.Versions = []string{}
	}
	line, err := json.Marshal(q)
	if err != nil {
		return fail(err)
	}
	if err := r.expire(time.Now().Add(r.timeout)); err != nil {
		return fail(err)
	}
	stop := context.AfterFunc(ctx, func() { _ = r.expire(time.Unix(1, 0)) }) // the read then returns
	defer stop()
	if _, err := r.to.Write(append(line, '\n')); err != nil {
		return fail(r.explain(err))
	}
	text, err := r.lines.ReadSlice('\n')
	if err != nil {
		return fail(r.explain(err))
	}
	a, err := parse(text)
	if err != nil {
		return fail(err)
	}
	return a, nil
}

func (r *Resolver) explain(err error) error {
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
		return fmt.Errorf("its answer has more than %d bytes", MaxLine)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("it has not answered in %s", r.timeout)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), isBroken(err):
		return errors.New("it has ended without an answer")
	}
	return err
}

func parse(text []byte) (*Answer, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	var a Answer
	if err := d.Decode(&a); err != nil {
		return nil, fmt.Errorf("its answer cannot be read: %v", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("its answer is followed by something else on the line")
	}
	kinds := 0
	for _, is := range []bool{a.Has(), a.No, a.Next} {
		if is {
			kinds++
		}
	}
	switch {
	case kinds != 1:
		return nil, errors.New(`its answer is not one of a "blake3", a "path", "no" and "next"`)
	case a.Path != "" && (!filepath.IsAbs(a.Path) || filepath.Clean(a.Path) != a.Path || strings.ContainsRune(a.Path, 0)):
		return nil, fmt.Errorf("its answer has the path %q, which is not absolute and clean", a.Path)
	case len(a.From) > 0 && a.BLAKE3.IsZero():
		return nil, errors.New("its answer has addresses, and no digest that what is there could be compared with")
	}
	for _, t := range a.From {
		if err := closure.CheckTemplate(t); err != nil {
			return nil, fmt.Errorf("its answer: %w", err)
		}
	}
	return &a, nil
}

func isBroken(err error) bool {
	return errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET)
}

// tail keeps the end of what is written to it, from any goroutine. A nil one is empty.
type tail struct {
	lock sync.Mutex
	b    []byte
}

func (t *tail) Write(b []byte) (int, error) {
	t.lock.Lock()
	defer t.lock.Unlock()
	t.b = append(t.b, b...)
	if n := len(t.b) - maxComplaint; n > 0 {
		t.b = append([]byte{}, t.b[n:]...)
	}
	return len(b), nil
}

// String returns the text for the end of a message; "" for none.
func (t *tail) String() string {
	if t == nil {
		return ""
	}
	t.lock.Lock()
	defer t.lock.Unlock()
	text := strings.TrimSpace(string(t.b))
	if text == "" {
		return ""
	}
	return "; it says: " + text
}
