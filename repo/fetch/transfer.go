package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

const (
	bufferSize = 128 << 10

	// A mirror that is slower is left for another, if there is one: what dnf asks for,
	// too.
	minRate = 1000 // bytes a second

	// So many bytes more, and the mirrors of a file are counted as good again.
	goodProgress = 1 << 20

	// A server that is to be left alone for longer has no file to give.
	maxPause = 2 * time.Minute
)

// transfer is one file on its way.
type transfer struct {
	client  *Client
	request Request
	mirrors []*mirror
	to      target
	// source is the mirror that all bytes of the target are from, in one version of the
	// file; nil if they are from several, or from an earlier call.
	source *mirror
	high   int64 // the most bytes that the target ever had
}

// mirror is one address of a file.
type mirror struct {
	url  *url.URL      // without user and password
	user *url.Userinfo // which the address has
	name string        // for messages

	version version // of the file that the target has a part of
	slow    bool

	err  error // why it failed
	left bool  // for good
}

// mirrorError is what is wrong with a mirror, and will be.
type mirrorError struct {
	error
	lie bool // it has the file, and another one than it should be
}

func (e mirrorError) Unwrap() error { return e.error }

func final(format string, v ...any) error { return mirrorError{error: fmt.Errorf(format, v...)} }

func lie(format string, v ...any) error {
	return mirrorError{error: fmt.Errorf(format, v...), lie: true}
}

// errStartOver says that what the target has cannot be continued.
var errStartOver = errors.New("the file has to be fetched from its start")

// ErrFetch is what an error is (by errors.Is) that says that no mirror has given a file.
var ErrFetch = errors.New("it could not be fetched")

// ErrWrong is what an error is (by errors.Is) of a mirror that has another file than the one that is wanted.
var ErrWrong = errors.New("it is another file")

// fetchError is that all mirrors failed. It is an [ErrFetch].
type fetchError struct {
	name    string
	mirrors []*mirror
}

func (e *fetchError) Error() string {
	var s strings.Builder
	fmt.Fprintf(&s, "fetch %s: ", e.name)
	for i, m := range e.mirrors {
		if i > 0 {
			s.WriteString("; ")
		}
		if m.err == nil {
			fmt.Fprintf(&s, "%s: it is to be left alone", m.name)
			continue
		}
		fmt.Fprintf(&s, "%s: %v", m.name, m.err)
	}
	return s.String()
}

// Is reports whether the target is [ErrFetch], fs.ErrNotExist and no mirror has the file, or [ErrWrong]
// and one has another.
func (e *fetchError) Is(target error) bool {
	if target == ErrWrong {
		return slices.ContainsFunc(e.mirrors, func(m *mirror) bool {
			var wrong mirrorError
			return errors.As(m.err, &wrong) && wrong.lie
		})
	}
	return target == ErrFetch || target == fs.ErrNotExist && !slices.ContainsFunc(e.mirrors, func(m *mirror) bool { return !errors.Is(m.err, fs.ErrNotExist) })
}

// begin takes what the file has from an earlier call, and reports whether that is all.
func (t *transfer) begin(ctx context.Context) (done bool, err error) {
	if err := t.to.load(ctx); err != nil {
		return false, t.local(err)
	}
	t.high = t.to.n
	switch {
	case t.to.n == 0:
		return false, nil
	case t.to.matches():
		return true, nil
	case t.to.n == t.request.Size:
		if err := t.to.clear(); err != nil {
			return false, t.local(err)
		}
	}
	return false, nil
}

func (t *transfer) local(err error) error { return fmt.Errorf("fetch %s: %w", t.request.Name, err) }

// run tries the mirrors until one has given the file.
func (t *transfer) run(ctx context.Context) error {
	for failures := 0; ; {
		before := t.high
		if err := t.awaitHost(ctx); err != nil {
			return t.local(err)
		}
		tried := false
		for _, m := range t.mirrors {
			if m.left || t.client.pause(m) > 0 {
				continue
			}
			tried = true
			m.err = t.try(ctx, m)
			var local localError
			var wrong mirrorError
			switch {
			case m.err == nil:
				t.done(m)
				return nil
			case errors.As(m.err, &local):
				return t.local(m.err)
			case ctx.Err() != nil:
				return t.local(ctx.Err())
			case errors.As(m.err, &wrong):
				m.left = true
			}
			if !errors.Is(m.err, fs.ErrNotExist) {
				t.client.demote(m)
			}
		}
		if !slices.ContainsFunc(t.mirrors, func(m *mirror) bool { return !m.left }) {
			return &fetchError{t.request.Name, t.mirrors}
		}
		if !tried {
			continue
		}
		if failures++; t.high >= before+goodProgress {
			failures = 1
		}
		if failures > t.client.Retries {
			return &fetchError{t.request.Name, t.mirrors}
		}
		if err := sleep(ctx, t.client.backoff(failures)); err != nil {
			return t.local(err)
		}
	}
}

// done warns of mirrors that were worse than the one that gave the file.
func (t *transfer) done(good *mirror) {
	for _, m := range t.mirrors {
		var wrong mirrorError
		switch {
		case m == good || m.err == nil || errors.Is(m.err, fs.ErrNotExist):
		case errors.As(m.err, &wrong):
			t.client.warn(m.name, fmt.Sprintf("%s: %v; it was fetched from %s", m.name, m.err, good.name))
		default: // its other files fare the same
			t.client.warn(serverName(m.url), fmt.Sprintf("%s: %v; it was fetched from %s, and the other files are, too", m.name, m.err, good.name))
		}
	}
}

// awaitHost waits until one of the mirrors' hosts may be asked again.
func (t *transfer) awaitHost(ctx context.Context) error {
	shortest := time.Duration(-1)
	for _, m := range t.mirrors {
		if m.left {
			continue
		}
		if p := t.client.pause(m); shortest < 0 || p < shortest {
			shortest = p
		}
	}
	return sleep(ctx, shortest)
}

func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// try fetches from one mirror, again from the start if what is there does not fit.
func (t *transfer) try(ctx context.Context, m *mirror) error {
	err := t.once(ctx, m)
	if errors.Is(err, errStartOver) {
		if err := t.clear(); err != nil {
			return err
		}
		err = t.once(ctx, m)
	}
	t.high = max(t.high, t.to.n)
	var wrong mirrorError
	if errors.As(err, &wrong) && wrong.lie && t.source == m {
		if err := t.clear(); err != nil {
			return err
		}
	}
	return err
}

func (t *transfer) clear() error {
	t.source = nil
	return t.to.clear()
}

// once makes one request for what is missing of the file.
func (t *transfer) once(ctx context.Context, m *mirror) error {
	if t.to.n > 0 && !t.canContinue(m) {
		if err := t.clear(); err != nil {
			return err
		}
	}
	if m.url.Scheme == "file" || m.url.Scheme == "copy" {
		return t.copyFile(ctx, m)
	}
	w := newWatch(ctx, t.client.Stall)
	defer w.end()
	body, err := t.ask(w, m)
	if err != nil {
		return t.explain(w, m, err)
	}
	if body == nil { // everything was there
		return t.finish(m)
	}
	defer body.Close()
	if err := t.receive(w, m, body); err != nil {
		return t.explain(w, m, err)
	}
	return t.finish(m)
}

// explain is an error of a request, or that the watch has ended it.
func (t *transfer) explain(w *watch, m *mirror, err error) error {
	var local localError
	if errors.As(err, &local) || !w.stalled() {
		return err
	}
	return t.client.stalledError()
}

// canContinue reports whether a mirror may be asked for the rest.
func (t *transfer) canContinue(m *mirror) bool {
	return t.to.hash != nil || t.source == m && m.version.validator() != ""
}

// receive appends a body to the target.
func (t *transfer) receive(w *watch, m *mirror, body *body) error {
	buf := make([]byte, bufferSize)
	var waited time.Duration
	var came int64
	for {
		w.arm()
		start := time.Now()
		n, err := body.Read(buf)
		w.disarm()
		waited += time.Since(start)
		came += int64(n)
		if t.to.n+int64(n) > t.to.limit {
			return t.tooLong()
		}
		if err := t.to.write(buf[:n]); err != nil {
			return err
		}
		switch {
		case err == io.EOF:
			return t.checkEnd(body)
		case err != nil:
			return fmt.Errorf("broken off after %d bytes: %w", t.to.n, shorten(err))
		}
		if waited >= t.client.Stall {
			if float64(came) < minRate*waited.Seconds() && t.hasFaster(m) {
				m.slow = true
				return fmt.Errorf("it is slow: %d bytes in %v", came, waited.Round(time.Millisecond))
			}
			waited, came = 0, 0
		}
	}
}

// checkLength judges the length that a mirror says a file has; -1 if it does not.
func (t *transfer) checkLength(n int64) error {
	switch {
	case n >= 0 && t.request.Size >= 0 && n != t.request.Size:
		return wrongLength(n, t.request.Size)
	case n > t.to.limit:
		return t.tooLong()
	}
	return nil
}

func wrongLength(n, expected int64) error {
	return lie("it has %d bytes, not the %d that are expected", n, expected)
}

func (t *transfer) tooLong() error {
	if t.request.Size >= 0 {
		return lie("it has more than the %d bytes that are expected", t.request.Size)
	}
	return lie("it has more than %d bytes, the limit", t.to.limit)
}

// hasFaster reports whether another mirror may be faster than a slow one.
func (t *transfer) hasFaster(m *mirror) bool {
	return slices.ContainsFunc(t.mirrors, func(o *mirror) bool { return o != m && !o.left && !o.slow })
}

// checkEnd judges where a body ended without an error.
func (t *transfer) checkEnd(b *body) error {
	expected := b.total
	if t.request.Size >= 0 {
		expected = t.request.Size
	}
	switch {
	case expected < 0 || t.to.n == expected:
		return nil
	case b.untilClose || b.partial: // it may be that the connection was lost
		return fmt.Errorf("broken off after %d of %d bytes", t.to.n, expected)
	}
	return wrongLength(t.to.n, expected)
}

// finish judges a file that is complete.
func (t *transfer) finish(m *mirror) error {
	switch {
	case t.to.matches():
		return nil
	case t.source != m:
		return errStartOver // who knows which part is wrong
	}
	algorithm, _, _ := strings.Cut(t.request.Digest, ":")
	return lie("its %s is %x, not the expected one, %x", algorithm, t.to.hash.Sum(nil), t.to.want)
}

// body is the rest of a file, as a server sends it.
type body struct {
	io.ReadCloser
	total      int64 // so many bytes the whole file has; -1 if that is not known
	untilClose bool  // nothing says where it ends but the end of the connection
	partial    bool  // it is not up to the end of the file
}

// ask asks a mirror for what is missing, and sees what it answers. The body is nil where
// nothing is missing.
func (t *transfer) ask(w *watch, m *mirror) (*body, error) {
	header := http.Header{"User-Agent": {t.client.UserAgent}, "Accept-Encoding": {"identity"}}
	if t.to.n > 0 {
		header.Set("Range", fmt.Sprintf("bytes=%d-", t.to.n))
		if v := m.version.validator(); t.source == m && v != "" {
			header.Set("If-Range", v)
		}
	}
	resp, err := t.client.open(w, m, header)
	if err != nil {
		return nil, err
	}
	b, err := t.judge(m, resp)
	if err != nil || b == nil {
		discard(w, resp)
		return nil, err
	}
	return b, nil
}

// discard reads the little that a server says beside an error, so that the connection
// can be used again; of a file it reads nothing.
func discard(w *watch, resp *http.Response) {
	if resp.StatusCode >= 300 {
		w.arm()
		_, _ = io.CopyN(io.Discard, resp.Body, 16<<10) // if it fails, the connection is closed
		w.disarm()
	}
	_ = resp.Body.Close() // nothing is wanted of it any more
}

func (t *transfer) judge(m *mirror, resp *http.Response) (*body, error) {
	b := &body{ReadCloser: resp.Body, total: -1}
	switch resp.StatusCode {
	case http.StatusOK:
		if t.to.n > 0 { // it has another file now, or does not know ranges
			if err := t.clear(); err != nil {
				return nil, err
			}
		}
		b.total = resp.ContentLength
		b.untilClose = resp.ContentLength < 0 && len(resp.TransferEncoding) == 0 && resp.ProtoMajor == 1
		if err := t.checkLength(b.total); err != nil {
			return nil, err
		}
		t.source, m.version = m, versionOf(resp.Header)
		return b, nil

	case http.StatusPartialContent:
		if t.to.n == 0 {
			return nil, final("it sends a part of the file where the whole was asked for")
		}
		r, err := parseContentRange(resp.Header.Get("Content-Range"))
		if err != nil || r.start != t.to.n {
			return nil, errStartOver
		}
		if t.source == m && m.version.differs(versionOf(resp.Header)) {
			return nil, errStartOver
		}
		if err := t.checkLength(r.total); err != nil {
			return nil, err
		}
		if t.source != m {
			t.source = nil
		}
		b.total = r.total
		b.partial = r.total < 0 || r.end < r.total-1
		return b, nil

	case http.StatusRequestedRangeNotSatisfiable:
		if t.to.n == 0 {
			return nil, final("%s", statusText(resp.StatusCode))
		}
		if r, err := parseContentRange(resp.Header.Get("Content-Range")); err == nil && r.start < 0 && r.total == t.to.n && t.to.hash != nil {
			return nil, nil
		}
		return nil, errStartOver
	}
	return nil, t.client.judgeStatus(m, resp)
}
