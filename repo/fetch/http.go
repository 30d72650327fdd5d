package fetch

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"
)

const maxRedirects = 10

// open asks for a file, at the address that a server redirects to where it does. Closing
// the body of the response frees the place at the host.
func (c *Client) open(w *watch, m *mirror, header http.Header) (*http.Response, error) {
	u := m.url
	for redirects := 0; ; redirects++ {
		peer, err := c.peer(u)
		if err != nil {
			return nil, final("%w", err)
		}
		release, err := c.acquire(w.ctx, peer)
		if err != nil {
			return nil, err
		}
		req := (&http.Request{Method: http.MethodGet, URL: u, Host: u.Host, Header: header.Clone()}).WithContext(w.ctx)
		if sameServer(m.url, u) {
			if user, password, ok := c.credentials(m); ok {
				req.SetBasicAuth(user, password)
			}
		}
		w.arm()
		resp, err := c.transport.RoundTrip(req)
		w.disarm()
		if err != nil {
			release()
			return nil, explainTransport(err)
		}
		resp.Body = &placeHolder{resp.Body, release}
		next := resp.Header.Get("Location")
		if !isRedirect(resp.StatusCode) || next == "" {
			return resp, nil
		}
		discard(w, resp)
		if redirects == maxRedirects {
			return nil, final("it redirects more than %d times", maxRedirects)
		}
		if u, err = redirect(u, next); err != nil {
			return nil, err
		}
	}
}

func isRedirect(status int) bool {
	switch status {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return true
	}
	return false
}

// redirect returns where a server says that the file is.
func redirect(from *url.URL, location string) (*url.URL, error) {
	to, err := from.Parse(location)
	if err != nil {
		return nil, final("it redirects to what is no address")
	}
	to.User = nil // a server has no password for another to give away
	switch {
	case to.Scheme != "http" && to.Scheme != "https", to.Hostname() == "":
		return nil, final("it redirects to %s, which is neither http nor https", showURL(to))
	case from.Scheme == "https" && to.Scheme == "http":
		return nil, final("it redirects from https to %s", showURL(to))
	}
	return to, nil
}

// sameServer reports whether what is for the server of one address may be sent to that
// of another.
func sameServer(a, b *url.URL) bool {
	if !strings.EqualFold(a.Hostname(), b.Hostname()) {
		return false
	}
	if a.Scheme == b.Scheme {
		return port(a) == port(b)
	}
	return b.Scheme == "https" && port(a) == "80" && port(b) == "443"
}

func port(u *url.URL) string {
	switch p := u.Port(); {
	case p != "":
		return p
	case u.Scheme == "https":
		return "443"
	}
	return "80"
}

// credentials returns the name and password for a mirror, if there are any.
func (c *Client) credentials(m *mirror) (user, password string, ok bool) {
	if m.user != nil {
		user = m.user.Username()
		if password, ok = m.user.Password(); ok {
			return user, password, true
		}
	}
	if login, found := c.netrc.find(m.url.Hostname(), user); found {
		return login.user, login.password, true
	}
	return user, "", user != ""
}

// explainTransport judges a request that had no answer. Its text has no address: the errors of
// the transport do not have it.
func explainTransport(err error) error {
	var certificate *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	var dns *net.DNSError
	switch {
	case errors.As(err, &certificate), errors.As(err, &record), errors.As(err, &dns) && dns.IsNotFound:
		return final("%w", shorten(err))
	}
	return shorten(err)
}

// judgeStatus says what an answer means that is no file.
func (c *Client) judgeStatus(m *mirror, resp *http.Response) error {
	text := statusText(resp.StatusCode)
	switch code := resp.StatusCode; code {
	case http.StatusNotFound, http.StatusGone:
		return final("%w", notThere(text))
	case http.StatusUnauthorized:
		if c.netrcErr != nil {
			return final("%s; %w", text, c.netrcErr)
		}
		return final("%s: it wants a name and a password, which it can have from .netrc", text)
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		wait := retryAfter(resp.Header)
		if wait > maxPause {
			return final("%s: it wants to be left alone for %v", text, wait.Round(time.Second))
		}
		c.setPause(m, wait)
		return errors.New(text)
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusInternalServerError, http.StatusBadGateway, http.StatusGatewayTimeout:
		return errors.New(text)
	default:
		if code > 505 {
			return errors.New(text)
		}
	}
	return final("%s", text)
}

// notThere is the answer of a server that does not have the file.
type notThere string

func (n notThere) Error() string      { return string(n) }
func (notThere) Is(target error) bool { return target == fs.ErrNotExist }

// statusText is a status without the words that the server has for it.
func statusText(code int) string {
	return strings.TrimSpace(fmt.Sprintf("%d %s", code, http.StatusText(code)))
}

func retryAfter(h http.Header) time.Duration {
	s := h.Get("Retry-After")
	if n, err := strconv.ParseUint(s, 10, 31); err == nil {
		return time.Duration(n) * time.Second
	}
	if t, err := http.ParseTime(s); err == nil {
		return max(0, time.Until(t))
	}
	return 0
}

// version is what a server says of a file that is another when the file changes.
type version struct{ etag, modified, date string }

func versionOf(h http.Header) version {
	return version{h.Get("ETag"), h.Get("Last-Modified"), h.Get("Date")}
}

// validator returns what If-Range may have (RFC 9110, section 13.1.5): a strong tag, or
// a time so long ago that it cannot be that of two versions (section 8.8.2.2).
func (v version) validator() string {
	if v.etag != "" {
		if strings.HasPrefix(v.etag, `"`) {
			return v.etag
		}
		return ""
	}
	modified, err := http.ParseTime(v.modified)
	if err != nil {
		return ""
	}
	if date, err := http.ParseTime(v.date); err != nil || date.Sub(modified) < time.Minute {
		return ""
	}
	return v.modified
}

// differs reports whether a part that a server sends is of another version. A part has
// the tag that the whole has, but need not have the time (section 15.3.7).
func (v version) differs(part version) bool {
	return v.etag != "" && v.etag != part.etag || v.modified != "" && part.modified != "" && part.modified != v.modified
}

// contentRange is "bytes START-END/TOTAL"; start and end are -1 where it has *, and total
// is.
type contentRange struct{ start, end, total int64 }

func parseContentRange(s string) (contentRange, error) {
	r := contentRange{-1, -1, -1}
	bad := fmt.Errorf("content range %q", s)
	rest, ok := strings.CutPrefix(s, "bytes ")
	span, total, ok2 := strings.Cut(rest, "/")
	if !ok || !ok2 {
		return r, bad
	}
	number := func(s string, n *int64) bool {
		v, err := strconv.ParseUint(s, 10, 63)
		*n = int64(v)
		return err == nil
	}
	if total != "*" && !number(total, &r.total) {
		return r, bad
	}
	if span == "*" {
		return r, nil
	}
	start, end, ok := strings.Cut(span, "-")
	if !ok || !number(start, &r.start) || !number(end, &r.end) || r.end < r.start || r.total >= 0 && r.end >= r.total {
		return contentRange{-1, -1, -1}, bad
	}
	return r, nil
}

// placeHolder is a body with a place at its host, which is free once it is closed.
type placeHolder struct {
	io.ReadCloser
	release func()
}

func (p *placeHolder) Close() error {
	err := p.ReadCloser.Close()
	if p.release != nil {
		p.release()
		p.release = nil
	}
	return err
}

// watch ends a request when the server has sent nothing for a while. What this machine
// does meanwhile, and waiting for a place, does not count.
type watch struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	timer  *time.Timer
	stall  time.Duration
}

var errStalled = errors.New("stalled")

func newWatch(ctx context.Context, stall time.Duration) *watch {
	w := &watch{stall: stall}
	w.ctx, w.cancel = context.WithCancelCause(ctx)
	w.timer = time.AfterFunc(stall, func() { w.cancel(errStalled) })
	w.timer.Stop()
	return w
}

func (w *watch) arm()    { w.timer.Reset(w.stall) }
func (w *watch) disarm() { w.timer.Stop() }

func (w *watch) end() {
	w.timer.Stop()
	w.cancel(nil)
}

// stalled reports whether the watch has ended the request.
func (w *watch) stalled() bool { return errors.Is(context.Cause(w.ctx), errStalled) }

// showURL is an address for messages: without what may be secret, and in ASCII.
func showURL(u *url.URL) string {
	v := url.URL{Scheme: u.Scheme, Opaque: u.Opaque, Host: u.Host, Path: u.Path, RawPath: u.RawPath}
	s := v.String()
	if u.RawQuery != "" || u.ForceQuery {
		s += "?..."
	}
	return printable(s)
}

const longMessage = 300

// shorten is an error as a line of text, since a part of it may be the server's.
func shorten(err error) error {
	s := printable(err.Error())
	if len(s) > longMessage {
		s = s[:longMessage] + "..."
	}
	return errors.New(s)
}

func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r > unicode.MaxASCII || !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}
