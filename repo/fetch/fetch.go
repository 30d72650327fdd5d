// Package fetch brings files from http, https and file addresses: several at a time,
// resumed where they were broken off, and checked by their size and digest.
// [Client.Get] is for small files, [Client.Fetch] for large ones, and [Client.FetchAll]
// for many.
//
// # Mirrors
//
// A file may have several addresses, which are tried in turn. A mirror that has another
// file than the one that is wanted, or none, is left for good; one that breaks off,
// stalls or is overloaded is tried again later, after the others. A host that failed,
// otherwise than by not having a file, is tried last for all files that follow.
//
// # Resuming
//
// A file with a digest is continued from whatever is there of it, at any mirror, since
// the digest is over the whole; if it does not match, the file is fetched anew. A file
// without a digest starts from nothing, and is continued only within one call, at the
// same mirror, and if that has promised by its validator (RFC 9110, section 13.1.5) that
// it is the same file still. So nobody has to keep a validator beside a file.
//
// # Secrets
//
// User and password of an address, what follows its question mark, and what .netrc has,
// are in no error and no warning. They are sent to the host that they are for, and not
// to one that it redirects to.
//
// # Left to the caller
//
// Signatures; names of files, and their way to the disk (nothing is synced).
package fetch

import (
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/http/httpproxy"
)

// Options are what a client goes by. The zero value will do: it uses no proxy and no
// .netrc.
type Options struct {
	PerHost int // connections to one host at a time; 0 for 4
	Total   int // files at a time, in FetchAll; 0 for 16
	// Retries says how often in succession all mirrors of a file may fail, after the
	// first time; 0 for 3, negative for none. It counts anew when a MiB has come.
	Retries int
	// Stall is how long a server may send nothing; 0 for 30 s.
	Stall     time.Duration
	UserAgent string // "" for "hashpkg"

	// Getenv gives http_proxy, https_proxy, all_proxy and no_proxy, as curl reads them
	// (loopback addresses need no proxy), and NETRC.
	Getenv func(string) string
	Home   string         // the directory with .netrc; "" for none
	Roots  *x509.CertPool // who may vouch for servers; nil for the system's

	// Warn is told of mirrors that failed where another did not, otherwise than by not
	// having the file. It is called by one goroutine at a time. May be nil.
	Warn func(string)
}

// Client fetches files. Its methods may be called by several goroutines at a time.
type Client struct {
	Options
	transport *http.Transport
	proxy     func(*url.URL) (*url.URL, error)
	netrc     netrc
	netrcErr  error // told to who is refused for want of a password

	backoff func(round int) time.Duration // how long to wait before it, from 1

	mu    sync.Mutex
	hosts map[string]*host

	warnMu sync.Mutex
	warned map[string]bool
}

// New returns a client.
func New(o Options) *Client {
	o.PerHost = orDefault(o.PerHost, 4)
	o.Total = orDefault(o.Total, 16)
	o.Retries = orDefault(o.Retries, 3)
	o.Stall = orDefault(o.Stall, 30*time.Second)
	if o.UserAgent == "" {
		o.UserAgent = "hashpkg"
	}
	c := &Client{Options: o, backoff: backoff, hosts: map[string]*host{}, warned: map[string]bool{}}
	getenv := o.Getenv
	if getenv == nil {
		getenv = func(string) string { return "" }
	}
	c.proxy = proxies(getenv)
	path := getenv("NETRC")
	if path == "" && o.Home != "" {
		path = filepath.Join(o.Home, ".netrc")
	}
	if path != "" {
		c.netrc, c.netrcErr = readNetrc(path)
	}
	c.transport = &http.Transport{
		Proxy:                  func(r *http.Request) (*url.URL, error) { return c.proxy(r.URL) },
		DialContext:            (&net.Dialer{Timeout: o.Stall, KeepAlive: 30 * time.Second}).DialContext,
		TLSClientConfig:        &tls.Config{RootCAs: o.Roots},
		TLSHandshakeTimeout:    o.Stall,
		ForceAttemptHTTP2:      true,
		MaxIdleConnsPerHost:    o.PerHost,
		MaxConnsPerHost:        o.PerHost,
		IdleConnTimeout:        30 * time.Second,
		MaxResponseHeaderBytes: 256 << 10,
		ReadBufferSize:         64 << 10,
	}
	return c
}

func orDefault[T int | time.Duration](n, otherwise T) T {
	if n == 0 {
		return otherwise
	}
	return n
}

// Close gives up the connections that are kept for the next file.
func (c *Client) Close() { c.transport.CloseIdleConnections() }

// backoff doubles from half a second to half a minute, and is spread so that many
// clients of a server that was down do not come back at once.
func backoff(round int) time.Duration {
	d := min(time.Second<<min(round-1, 5), 30*time.Second)
	return d/2 + rand.N(d)/2
}

// proxies returns what gives the proxy for an address, nil for none.
func proxies(getenv func(string) string) func(*url.URL) (*url.URL, error) {
	first := func(names ...string) (string, string) {
		for _, name := range names {
			if s := getenv(name); s != "" {
				return name, s
			}
		}
		return "", ""
	}
	// Not HTTP_PROXY: in a CGI program anybody can set it. curl does not read it either.
	httpName, httpProxy := first("http_proxy", "all_proxy", "ALL_PROXY")
	httpsName, httpsProxy := first("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")
	_, noProxy := first("no_proxy", "NO_PROXY")
	config := httpproxy.Config{HTTPProxy: httpProxy, HTTPSProxy: httpsProxy, NoProxy: noProxy}
	choose := config.ProxyFunc()
	// The library passes over a proxy that it cannot read.
	bad := map[string]error{"http": checkProxy(httpName, httpProxy), "https": checkProxy(httpsName, httpsProxy)}
	return func(u *url.URL) (*url.URL, error) {
		if err := bad[u.Scheme]; err != nil {
			return nil, err
		}
		return choose(u)
	}
}

func checkProxy(name, value string) error {
	if value == "" {
		return nil
	}
	if !strings.Contains(value, "://") {
		value = "http://" + value
	}
	u, err := url.Parse(value)
	if err != nil || u.Hostname() == "" {
		return fmt.Errorf("the variable %s is not the address of a proxy", name) // which may have a password
	}
	switch u.Scheme {
	case "http", "https", "socks5", "socks5h":
		return nil
	}
	return fmt.Errorf("the variable %s has a proxy of the kind %q; hashpkg knows http, https, socks5 and socks5h", name, u.Scheme)
}

// Request says which file to fetch.
type Request struct {
	// URLs are its addresses: mirrors, in the order in which to try them. Their schemes
	// are http, https, file, and copy, which is the same as file.
	URLs []string
	Name string // for messages
	// Size is how many bytes it has, -1 if that is not known.
	Size int64
	// Limit is how many it may have at most. It may be 0 where Size is known.
	Limit int64
	// Digest is "sha256:HEX" or "sha512:HEX", or "" when the caller verifies the file.
	Digest string
}

// Get returns a small file. The error wraps fs.ErrNotExist if no mirror has it.
func (c *Client) Get(ctx context.Context, r Request) ([]byte, error) {
	t, err := c.newTransfer(r)
	if err != nil {
		return nil, err
	}
	if err := t.run(ctx); err != nil {
		return nil, err
	}
	return t.to.buf, nil
}

// Fetch fetches a file into f, which was opened for reading and writing, and not to
// append. What f has from its start is taken for the beginning of the file where the
// request has a digest; otherwise it is overwritten. After success f holds the file and
// nothing else; after an error it holds what was fetched, for the next call, or nothing
// where that was wrong.
//
// progress, which may be nil, is told how much of the file there is: first what was
// there before, then whenever more has come, or less, after a start from nothing.
//
// The error wraps fs.ErrNotExist if no mirror has the file. That f cannot be written is
// an error at once.
func (c *Client) Fetch(ctx context.Context, r Request, f *os.File, progress func(n int64)) error {
	t, err := c.newTransfer(r)
	if err != nil {
		return err
	}
	t.to.file, t.to.progress = f, progress
	if done, err := t.begin(ctx); done || err != nil {
		return err
	}
	return t.run(ctx)
}

// newTransfer checks a request.
func (c *Client) newTransfer(r Request) (*transfer, error) {
	fail := func(format string, v ...any) (*transfer, error) {
		return nil, fmt.Errorf("fetch %s: "+format, append([]any{r.Name}, v...)...)
	}
	t := &transfer{client: c, request: r}
	switch {
	case len(r.URLs) == 0:
		return fail("it has no address")
	case r.Size < 0 && r.Limit <= 0:
		return fail("neither its size nor a limit is known")
	case r.Limit > 0 && r.Size > r.Limit:
		return fail("it has %d bytes, more than the %d that are allowed", r.Size, r.Limit)
	}
	t.to.limit = r.Limit
	if r.Size >= 0 {
		t.to.limit = r.Size
	}
	if r.Digest != "" {
		h, want, err := newHash(r.Digest)
		if err != nil {
			return fail("%w", err)
		}
		t.to.hash, t.to.want = h, want
	}
	for i, s := range r.URLs {
		m, err := newMirror(s)
		if err != nil {
			return fail("address %d: %w", i+1, err)
		}
		t.mirrors = append(t.mirrors, m)
	}
	c.sortMirrors(t.mirrors)
	return t, nil
}

func newHash(digest string) (hash.Hash, []byte, error) {
	algorithm, text, _ := strings.Cut(digest, ":")
	var h hash.Hash
	switch algorithm {
	case "sha256":
		h = sha256.New()
	case "sha512":
		h = sha512.New()
	default:
		return nil, nil, fmt.Errorf("digest %q: it is none of sha256 and sha512", digest)
	}
	want, err := hex.DecodeString(text)
	if err != nil || len(want) != h.Size() {
		return nil, nil, fmt.Errorf("digest %q: not %d hexadecimal digits", digest, 2*h.Size())
	}
	return h, want, nil
}

func newMirror(address string) (*mirror, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, errors.New("it cannot be read") // the error would show what may be secret
	}
	m := &mirror{url: u, user: u.User, name: showURL(u)}
	u.User = nil
	switch u.Scheme {
	case "http", "https":
		if u.Hostname() == "" {
			return nil, fmt.Errorf("%s: it has no host", m.name)
		}
	case "file", "copy":
		if u.Host != "" && u.Host != "localhost" {
			return nil, fmt.Errorf("%s: a file on another host; write file:///PATH", m.name)
		}
		if u.Opaque != "" || !filepath.IsAbs(u.Path) {
			return nil, fmt.Errorf("%s: it has no absolute path; write %s:///PATH", m.name, u.Scheme)
		}
	default:
		return nil, fmt.Errorf("%s: hashpkg fetches from http, https and file addresses only", m.name)
	}
	return m, nil
}

// warn tells one thing about each subject.
func (c *Client) warn(subject, text string) {
	if c.Warn == nil {
		return
	}
	c.warnMu.Lock()
	defer c.warnMu.Unlock()
	if !c.warned[subject] {
		c.warned[subject] = true
		c.Warn(text)
	}
}
