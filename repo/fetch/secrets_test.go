package fetch

import (
	"bufio"
	"bytes"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// serveTLS serves over https with a certificate that the pool vouches for.
func serveTLS(t testing.TB, h http.HandlerFunc) (*server, *x509.CertPool) {
	s := &server{}
	s.Server = httptest.NewUnstartedServer(s.count(h))
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(s.Close)
	return s, poolOf(s)
}

func poolOf(s *server) *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(s.Certificate())
	return pool
}

func environment(pairs ...string) func(string) string {
	return func(name string) string {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == name {
				return pairs[i+1]
			}
		}
		return ""
	}
}

func TestHTTPS(t *testing.T) {
	good := content(300_000, 1)
	plain := serve(t, file(good))
	var protocol string
	s, pool := serveTLS(t, func(w http.ResponseWriter, r *http.Request) {
		protocol = r.Proto
		switch r.URL.Path {
		case "/down":
			http.Redirect(w, r, plain.URL+"/file?token=hush", http.StatusFound)
		case "/cut":
			cut(w, r, good, 100_000)
		default:
			file(good)(w, r)
		}
	})
	c := newTestClient(t, Options{Roots: pool})
	for _, path := range []string{"/file", "/cut"} {
		if got, err := c.Get(t.Context(), request(good, s.URL+path)); err != nil || !bytes.Equal(got, good) {
			t.Errorf("%s: %d bytes, %v", path, len(got), err)
		}
	}
	if protocol != "HTTP/2.0" {
		t.Errorf("the protocol is %s", protocol)
	}
	_, err := c.Get(t.Context(), request(good, s.URL+"/down"))
	wantError(t, err, "it redirects from https to "+plain.URL+"/file?...")
	if plain.requests.Load() != 0 {
		t.Error("it followed from https to http")
	}
	up := serve(t, redirects(s.URL+"/file")())
	if _, err := c.Get(t.Context(), request(good, up.URL)); err != nil {
		t.Errorf("from http to https: %v", err)
	}
	before := s.requests.Load()
	_, err = newTestClient(t, Options{}).Get(t.Context(), request(good, s.URL))
	wantError(t, err, "certificate")
	if s.requests.Load() != before {
		t.Error("a server that nobody vouches for was asked")
	}
}

// proxy is a proxy on loopback: it sends each request, and each tunnel, to the same
// server, whatever host is asked for.
type proxy struct {
	*httptest.Server
	mu    sync.Mutex
	asked []string // method, host and the proxy's own credentials
}

func newProxy(t testing.TB, to string) *proxy {
	p := &proxy{}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		p.asked = append(p.asked, strings.TrimSpace(r.Method+" "+r.Host+" "+r.Header.Get("Proxy-Authorization")))
		p.mu.Unlock()
		server, err := net.Dial("tcp", to)
		if err != nil {
			t.Error(err)
			return
		}
		defer server.Close()
		client, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer client.Close()
		if r.Method == http.MethodConnect {
			fmt.Fprint(client, "HTTP/1.1 200 OK\r\n\r\n")
			go func() {
				_, _ = io.Copy(server, buffered)
				server.Close()
			}()
			_, _ = io.Copy(client, server)
			return
		}
		r.Header.Del("Proxy-Authorization")
		if err := r.Write(server); err != nil {
			t.Error(err)
			return
		}
		resp, err := http.ReadResponse(bufio.NewReader(server), r)
		if err != nil {
			t.Error(err)
			return
		}
		resp.Close = true
		_ = resp.Write(client)
		resp.Body.Close()
	}))
	t.Cleanup(p.Close)
	return p
}

func TestProxy(t *testing.T) {
	good := content(30_000, 1)
	plain := serve(t, file(good))
	secure, pool := serveTLS(t, file(good))
	httpProxy := newProxy(t, plain.Listener.Addr().String())
	httpsProxy := newProxy(t, secure.Listener.Addr().String())
	host := strings.TrimPrefix(httpProxy.URL, "http://")
	// example.com is in the certificate of httptest.
	for _, test := range []struct {
		name  string
		env   []string
		url   string
		proxy *proxy
		asked string
	}{
		{"http", []string{"http_proxy", httpProxy.URL}, "http://example.com/file", httpProxy, "GET example.com"},
		{"without a scheme", []string{"http_proxy", host}, "http://example.com/file", httpProxy, "GET example.com"},
		{"with a password", []string{"http_proxy", "http://joe:hush@" + host}, "http://example.com/file", httpProxy, "GET example.com Basic am9lOmh1c2g="},
		{"https", []string{"https_proxy", httpsProxy.URL}, "https://example.com/file", httpsProxy, "CONNECT example.com:443"},
		{"HTTPS", []string{"HTTPS_PROXY", httpsProxy.URL}, "https://example.com/file", httpsProxy, "CONNECT example.com:443"},
		{"all", []string{"all_proxy", httpsProxy.URL}, "https://example.com/file", httpsProxy, "CONNECT example.com:443"},
		{"not for this host", []string{"http_proxy", httpProxy.URL, "no_proxy", "example.net,.example.com,example.com"}, "http://example.com/file", nil, ""},
		{"not in capitals", []string{"HTTP_PROXY", httpProxy.URL}, "http://example.com/file", nil, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := newTestClient(t, Options{Getenv: environment(test.env...), Roots: pool, Retries: -1})
			if test.proxy == nil {
				u, err := url.Parse(test.url)
				if err != nil {
					t.Fatal(err)
				}
				if p, err := c.proxy(u); p != nil || err != nil {
					t.Errorf("proxy %v, %v; want none", p, err)
				}
				return
			}
			if got, err := c.Get(t.Context(), request(good, test.url)); err != nil || !bytes.Equal(got, good) {
				t.Fatalf("%d bytes, %v", len(got), err)
			}
			c.Close()
			test.proxy.mu.Lock()
			defer test.proxy.mu.Unlock()
			if diff := cmp.Diff([]string{test.asked}, test.proxy.asked); diff != "" {
				t.Error(diff)
			}
			test.proxy.asked = nil
		})
	}
	for value, want := range map[string]string{
		"http://joe:hu/sh@proxy:1": "the variable http_proxy is not the address of a proxy",
		"socks4://joe:hush@proxy":  `the variable http_proxy has a proxy of the kind "socks4"`,
	} {
		c := newTestClient(t, Options{Getenv: environment("http_proxy", value), Retries: -1})
		_, err := c.Get(t.Context(), request(good, "http://example.com/"))
		wantError(t, err, want)
		if err != nil && strings.Contains(err.Error(), "joe") {
			t.Errorf("the error %q has what is secret", err)
		}
	}
}

// locked serves to who knows the password, and remembers what was offered.
type locked struct {
	*server
	mu      sync.Mutex
	offered []string
}

func serveLocked(t testing.TB, user, password string, b []byte) *locked {
	l := &locked{}
	l.server = serve(t, func(w http.ResponseWriter, r *http.Request) {
		u, p, _ := r.BasicAuth()
		l.mu.Lock()
		l.offered = append(l.offered, u+":"+p)
		l.mu.Unlock()
		switch {
		case r.URL.Path == "/elsewhere":
			http.Redirect(w, r, r.URL.Query().Get("to"), http.StatusFound)
		case r.URL.Path == "/here":
			http.Redirect(w, r, "/file", http.StatusFound)
		case u != user || p != password:
			w.WriteHeader(401)
		default:
			file(b)(w, r)
		}
	})
	return l
}

func TestCredentials(t *testing.T) {
	good := content(1000, 1)
	home := t.TempDir()
	l := serveLocked(t, "joe", "hush", good)
	address, err := url.Parse(l.URL)
	if err != nil {
		t.Fatal(err)
	}
	netrc := "machine example.com login x password y\nmachine 127.0.0.1 login joe password hush\n"
	if err := os.WriteFile(filepath.Join(home, ".netrc"), []byte(netrc), 0o600); err != nil {
		t.Fatal(err)
	}
	withUser := *address
	withUser.User = url.UserPassword("joe", "hush")
	onlyUser := *address
	onlyUser.User = url.User("joe")
	// The same server by another name, and another port at the same one.
	otherHost := serveLocked(t, "nobody", "", good)
	byName := strings.Replace(otherHost.URL, "127.0.0.1", "localhost", 1)

	for _, test := range []struct {
		name    string
		options Options
		url     string
	}{
		{"in the address", Options{}, withUser.String() + "/file"},
		{"in .netrc", Options{Home: home}, l.URL + "/file"},
		{"in NETRC", Options{Getenv: environment("NETRC", filepath.Join(home, ".netrc"))}, l.URL + "/file"},
		{"name in the address, password in .netrc", Options{Home: home}, onlyUser.String() + "/file"},
		{"after a redirect on the same server", Options{Home: home}, l.URL + "/here"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if _, err := newTestClient(t, test.options).Get(t.Context(), request(good, test.url)); err != nil {
				t.Error(err)
			}
		})
	}
	for _, to := range []string{byName, otherHost.URL, "http://joe:hush@" + strings.TrimPrefix(otherHost.URL, "http://")} {
		for _, from := range []string{withUser.String(), l.URL} {
			otherHost.offered = nil
			_, err := newTestClient(t, Options{Home: home}).Get(t.Context(), request(good, from+"/elsewhere?to="+url.QueryEscape(to+"/file?token=hush")))
			wantError(t, err, l.URL+"/elsewhere?...: 401 Unauthorized")
			if err != nil && (strings.Contains(err.Error(), "hush") || strings.Contains(err.Error(), "joe")) {
				t.Errorf("the error %q has what is secret", err)
			}
			if diff := cmp.Diff([]string{":"}, otherHost.offered); diff != "" {
				t.Errorf("what a redirect to %s took along: %s", to, diff)
			}
		}
	}
	t.Run("in no error", func(t *testing.T) {
		down := closedPort(t)
		var warnings []string
		o := Options{Retries: -1, Warn: func(s string) { warnings = append(warnings, s) }}
		lying := serve(t, file(content(1000, 2)))
		lyingHost := strings.TrimPrefix(lying.URL, "http://")
		_, err := newTestClient(t, o).Get(t.Context(), request(good, "http://joe:hush@"+down+"/x?hush=hush#hush", "http://joe:hush@"+lyingHost+"/?hush"))
		wantError(t, err, "http://"+down+"/x?...: dial tcp", lying.URL+"/?...: its sha256")
		if _, e := newTestClient(t, o).Get(t.Context(), request(good, "http://joe:hush@"+lyingHost+"/?hush", withUser.String()+"/file?hush")); e != nil {
			t.Error(e)
		}
		if len(warnings) != 1 {
			t.Errorf("warnings %q", warnings)
		}
		if text := fmt.Sprint(err, warnings); strings.Contains(text, "hush") || strings.Contains(text, "joe") {
			t.Errorf("%q has what is secret", text)
		}
	})
	t.Run("a .netrc that cannot be read", func(t *testing.T) {
		bad := t.TempDir()
		if err := os.WriteFile(filepath.Join(bad, ".netrc"), []byte("machine 127.0.0.1\nlogin joe hush\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := newTestClient(t, Options{Home: bad}).Get(t.Context(), request(good, l.URL+"/file"))
		wantError(t, err, "401 Unauthorized; "+filepath.Join(bad, ".netrc")+": line 2: a word that is none of")
		if err != nil && strings.Contains(err.Error(), "hush") {
			t.Errorf("the error %q has what is secret", err)
		}
		open := serve(t, file(good))
		if _, err := newTestClient(t, Options{Home: bad}).Get(t.Context(), request(good, open.URL)); err != nil {
			t.Errorf("where nobody asks for it: %v", err)
		}
	})
}

func TestParseNetrc(t *testing.T) {
	for _, test := range []struct {
		text    string
		want    netrc
		wantErr string
	}{
		{text: "", want: nil},
		{text: "machine a login b password c", want: netrc{{"a", "b", "c"}}},
		{text: "machine\n a\r\n\tlogin b\npassword c\ndefault login d password e\n", want: netrc{{"a", "b", "c"}, {"", "d", "e"}}},
		{text: "# all of it\nmachine a login b password c#d # and more\n", want: netrc{{"a", "b", "c#d"}}},
		{text: `machine a login "b \"c" password "x\ty\\"`, want: netrc{{"a", `b "c`, "x\ty\\"}}},
		{text: "machine a login b account z password c\nmacdef init\ncd /x\nmachine evil\n\nmachine d", want: netrc{{"a", "b", "c"}, {machine: "d"}}},
		{text: "machine a password", wantErr: `line 1: nothing follows "password"`},
		{text: "login b", wantErr: `line 1: "login" belongs to no machine`},
		{text: "\nhush", wantErr: "line 2: a word that is none of"},
		{text: `machine "hush`, wantErr: "line 1: a quote is not closed"},
	} {
		got, err := parseNetrc(test.text)
		if test.wantErr != "" {
			wantError(t, err, test.wantErr)
			continue
		}
		if err != nil {
			t.Errorf("%q: %v", test.text, err)
		}
		if diff := cmp.Diff(test.want, got, cmp.AllowUnexported(login{})); diff != "" {
			t.Errorf("%q: %s", test.text, diff)
		}
	}
}

func TestFindInNetrc(t *testing.T) {
	n := netrc{{"a", "joe", "1"}, {"a", "sue", "2"}, {"", "any", "3"}, {"b", "late", "4"}}
	for _, test := range []struct{ machine, user, want string }{
		{"a", "", "1"}, {"A", "", "1"}, {"a", "sue", "2"}, {"x", "", "3"}, {"b", "", "3"}, {"a", "any", "3"}, {"b", "late", "4"}, {"x", "joe", ""},
	} {
		if got, ok := n.find(test.machine, test.user); got.password != test.want || ok != (test.want != "") {
			t.Errorf("%s@%s: %v, %v; want %q", test.user, test.machine, got, ok, test.want)
		}
	}
}

func FuzzParseNetrc(f *testing.F) {
	f.Add("machine a login b password c\nmacdef x\ny\n\ndefault login \"d\\n\" password e # f")
	f.Fuzz(func(t *testing.T, text string) {
		n, err := parseNetrc(text)
		if err != nil && n != nil {
			t.Errorf("both %v and %v", n, err)
		}
		n.find("a", "")
	})
}

func TestContentRange(t *testing.T) {
	for text, want := range map[string]contentRange{
		"bytes 0-9/10":                  {0, 9, 10},
		"bytes 5-9/*":                   {5, 9, -1},
		"bytes */10":                    {-1, -1, 10},
		"":                              {-1, -1, -1},
		"bytes 5-4/10":                  {-1, -1, -1},
		"bytes 5-10/10":                 {-1, -1, -1},
		"bytes -1-4/10":                 {-1, -1, -1},
		"items 0-9/10":                  {-1, -1, -1},
		"bytes 0-9223372036854775808/*": {-1, -1, -1},
	} {
		got, err := parseContentRange(text)
		if got != want || (err != nil) != (want == contentRange{-1, -1, -1}) {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
}
