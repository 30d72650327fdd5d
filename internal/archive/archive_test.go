package archive

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hashpkg/hashpkg/internal/testneed"
)

// mirror is a Debian mirror on the loopback interface whose release "test" is
// signed with a key of its own.
type mirror struct {
	t       *testing.T
	dir     string // what is served
	gnupg   string // the secret key
	keyring string
	url     string

	mu   sync.Mutex
	gets []string // paths asked for
	down bool
}

type pkg struct{ name, version, contents string }

func newMirror(t *testing.T) *mirror {
	t.Helper()
	testneed.Programs(t, "apt-get", "apt-cache", "gpgv", "gpg")
	// A proxy that the machine uses does not lead to its loopback interface.
	t.Setenv("no_proxy", "127.0.0.1")
	gnupg, err := os.MkdirTemp("", "gpg") // short: it holds a socket
	if err != nil {
		t.Fatal(err)
	}
	m := &mirror{t: t, dir: t.TempDir(), gnupg: gnupg, keyring: filepath.Join(t.TempDir(), "keyring.gpg")}
	t.Cleanup(func() {
		if out, err := exec.Command("gpgconf", "--homedir", gnupg, "--kill", "all").CombinedOutput(); err != nil {
			t.Logf("gpgconf: %v: %s", err, out)
		}
		if err := os.RemoveAll(gnupg); err != nil {
			t.Error(err)
		}
	})
	m.gpg("--passphrase", "", "--quick-gen-key", "test@example.org", "ed25519", "sign", "never")
	m.gpg("--output", m.keyring, "--export")

	files := http.FileServer(http.Dir(m.dir))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m.mu.Lock()
		m.gets = append(m.gets, r.URL.Path)
		down := m.down
		m.mu.Unlock()
		if down {
			http.Error(w, "down", http.StatusServiceUnavailable)
			return
		}
		files.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	m.url = server.URL
	return m
}

func (m *mirror) gpg(args ...string) {
	m.t.Helper()
	out, err := exec.Command("gpg", append([]string{"--homedir", m.gnupg, "--batch", "--yes", "--quiet"}, args...)...).CombinedOutput()
	if err != nil {
		m.t.Fatalf("gpg %q: %v: %s", args, err, out)
	}
}

// publish makes the release consist of pkgs.
func (m *mirror) publish(pkgs ...pkg) {
	m.t.Helper()
	if err := os.RemoveAll(m.path("pool")); err != nil {
		m.t.Fatal(err)
	}
	var packages strings.Builder
	for _, p := range pkgs {
		pool := m.pool(p)
		m.write(pool, p.contents)
		fmt.Fprintf(&packages, "Package: %s\nVersion: %s\nArchitecture: amd64\nFilename: %s\nSize: %d\nSHA256: %x\nDescription: for a test\n\n",
			p.name, p.version, pool, len(p.contents), sha256.Sum256([]byte(p.contents)))
	}
	m.write("dists/test/main/binary-amd64/Packages", packages.String())
	m.write("Release", fmt.Sprintf("Origin: test\nSuite: test\nCodename: test\nDate: %s\nArchitectures: amd64\nComponents: main\nSHA256:\n %x %d main/binary-amd64/Packages\n",
		time.Now().UTC().Format("Mon, 02 Jan 2006 15:04:05 UTC"), sha256.Sum256([]byte(packages.String())), packages.Len()))
	m.gpg("--output", m.path("dists/test/InRelease"), "--clearsign", m.path("Release"))
}

func (m *mirror) pool(p pkg) string {
	return "pool/" + indexEntry{name: p.name, version: p.version, arch: "amd64"}.fileName()
}

func (m *mirror) path(name string) string { return filepath.Join(m.dir, name) }

func (m *mirror) write(name, contents string) {
	m.t.Helper()
	if err := os.MkdirAll(filepath.Dir(m.path(name)), 0o755); err != nil {
		m.t.Fatal(err)
	}
	if err := os.WriteFile(m.path(name), []byte(contents), 0o644); err != nil {
		m.t.Fatal(err)
	}
}

// replace changes a served file in place, as one who does not have the key.
func (m *mirror) replace(name, from, to string) {
	m.t.Helper()
	b, err := os.ReadFile(m.path(name))
	if err != nil {
		m.t.Fatal(err)
	}
	if !bytes.Contains(b, []byte(from)) {
		m.t.Fatalf("%s does not hold %q", name, from)
	}
	m.write(name, strings.Replace(string(b), from, to, 1))
}

func (m *mirror) setDown(down bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.down = down
}

// requests returns how often the mirror was asked for a path that contains s,
// and forgets it.
func (m *mirror) requests(s string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := 0
	for _, path := range m.gets {
		if strings.Contains(path, s) {
			n++
		}
	}
	m.gets = nil
	return n
}

func (m *mirror) options(cache string, packages ...string) Options {
	return Options{Suite: "test", Arch: "amd64", Packages: packages, CacheDir: cache, Mirror: m.url + "/", Keyring: m.keyring}
}

// debs returns the names of the packages in the cache, and of whatever else is
// there that should not stay.
func debs(t *testing.T, cache string) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(cache, "test", "amd64"))
	if err != nil {
		t.Fatal(err)
	}
	names := []string{}
	for _, e := range entries {
		if e.Name() != ".apt" && e.Name() != ".lock" {
			names = append(names, e.Name())
		}
	}
	return names
}

func TestFetch(t *testing.T) {
	m := newMirror(t)
	m.publish(
		pkg{"hello", "9-1", "hello nine"},
		pkg{"hello", "10-1", "hello ten"},
		pkg{"epoch", "1:2.0~rc1+b1", "epoch"},
		pkg{"libstdc++6", "14.2.0-19", "library"},
	)
	cache := filepath.Join(t.TempDir(), "a cache")
	steps := []struct {
		name     string
		packages []string
		want     []string
		indexes  int // requests
		debs     int
	}{
		{"highest version", []string{"hello"}, []string{"hello_10-1_amd64.deb"}, 1, 1},
		{"the same again", []string{"hello"}, []string{"hello_10-1_amd64.deb"}, 0, 0},
		{
			"named version, order kept",
			[]string{"libstdc++6", "hello=9-1", "epoch=1:2.0~rc1+b1"},
			[]string{"libstdc++6_14.2.0-19_amd64.deb", "hello_9-1_amd64.deb", "epoch_1%3a2.0~rc1+b1_amd64.deb"},
			0, 3,
		},
		{"twice", []string{"epoch", "epoch"}, []string{"epoch_1%3a2.0~rc1+b1_amd64.deb", "epoch_1%3a2.0~rc1+b1_amd64.deb"}, 0, 0},
		{"a name and its older version", []string{"hello=9-1", "hello"}, []string{"hello_9-1_amd64.deb", "hello_10-1_amd64.deb"}, 0, 0},
		{"a name and its older version, turned round", []string{"hello", "hello=9-1"}, []string{"hello_10-1_amd64.deb", "hello_9-1_amd64.deb"}, 0, 0},
		{"none", nil, nil, 0, 0},
	}
	for _, step := range steps {
		t.Run(step.name, func(t *testing.T) {
			got, err := Fetch(t.Context(), m.options(cache, step.packages...))
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, path := range got {
				if filepath.Dir(path) != filepath.Join(cache, "test", "amd64") {
					t.Errorf("%s is not where it belongs", path)
				}
				if _, err := os.Stat(path); err != nil {
					t.Error(err)
				}
				names = append(names, filepath.Base(path))
			}
			if diff := cmp.Diff(step.want, names); diff != "" {
				t.Errorf("files (-want +got):\n%s", diff)
			}
			m.mu.Lock()
			gets := slices.Clone(m.gets)
			m.mu.Unlock()
			if n := m.requests("/InRelease"); n != step.indexes {
				t.Errorf("%d requests for the index, want %d: %q", n, step.indexes, gets)
			}
			if n := len(gets) - len(slices.DeleteFunc(gets, func(s string) bool { return strings.HasPrefix(s, "/pool/") })); n != step.debs {
				t.Errorf("%d requests for packages, want %d", n, step.debs)
			}
		})
	}

	t.Run("a damaged file in the cache is replaced", func(t *testing.T) {
		path := filepath.Join(cache, "test", "amd64", "hello_10-1_amd64.deb")
		if err := os.WriteFile(path, []byte("hello TEN"), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := Fetch(t.Context(), m.options(cache, "hello")); err != nil {
			t.Fatal(err)
		}
		if b, err := os.ReadFile(path); string(b) != "hello ten" {
			t.Errorf("%q, %v", b, err)
		}
	})

	t.Run("not found", func(t *testing.T) {
		for _, spec := range []string{"absent", "hello=11-1"} {
			_, err := Fetch(t.Context(), m.options(cache, "hello", spec))
			if !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), spec) {
				t.Errorf("%s: %v", spec, err)
			}
			_, err = Fetch(t.Context(), m.options(cache, spec))
			if !errors.Is(err, ErrNotFound) {
				t.Errorf("%s alone: %v", spec, err)
			}
		}
	})

	t.Run("offline", func(t *testing.T) {
		m.setDown(true)
		defer m.setDown(false)
		o := m.options(cache, "hello")
		o.MaxAge = time.Nanosecond
		var log bytes.Buffer
		o.Log = &log
		if _, err := Fetch(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(log.String(), "warning: using the older index of test: ") {
			t.Errorf("log: %q", log.String())
		}
	})

	t.Run("the release has moved on", func(t *testing.T) {
		if err := os.Remove(filepath.Join(cache, "test", "amd64", "hello_10-1_amd64.deb")); err != nil {
			t.Fatal(err)
		}
		m.publish(pkg{"hello", "11-1", "hello eleven"})
		got, err := Fetch(t.Context(), m.options(cache, "hello"))
		if err != nil {
			t.Fatal(err)
		}
		if filepath.Base(got[0]) != "hello_11-1_amd64.deb" {
			t.Errorf("got %s", got[0])
		}
	})

	t.Run("canceled", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		o := m.options(t.TempDir(), "hello")
		if _, err := Fetch(ctx, o); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})

	t.Run("many at once", func(t *testing.T) {
		m.requests("")
		cache := t.TempDir()
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				if _, err := Fetch(t.Context(), m.options(cache, "hello")); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if n := m.requests("/pool/"); n != 1 {
			t.Errorf("the package was downloaded %d times", n)
		}
	})
}

func TestFetchRefusesWhatIsNotSigned(t *testing.T) {
	const index = "dists/test/main/binary-amd64/Packages"
	hello := pkg{"hello", "10-1", "hello ten"}
	tests := []struct {
		name   string
		change func(m *mirror)
		want   string // in the message
	}{
		{"the release's file was changed", func(m *mirror) {
			m.replace("dists/test/InRelease", "Origin: test", "Origin: tost")
		}, "BADSIG"},
		{"the release's file is not signed", func(m *mirror) {
			b, err := os.ReadFile(m.path("Release"))
			if err != nil {
				m.t.Fatal(err)
			}
			m.write("dists/test/InRelease", string(b))
		}, "not signed"},
		{"the release is signed with another key", func(m *mirror) {
			other := newMirror(m.t)
			other.publish(hello)
			m.keyring = other.keyring
		}, "NO_PUBKEY"},
		{"the index was changed", func(m *mirror) {
			m.replace(index, "Version: 10-1", "Version: 12-1")
		}, "Hash Sum mismatch"},
		{"the index is cut short", func(m *mirror) {
			m.replace(index, "Description: for a test", "")
		}, "unexpected size"},
		{"the package was changed", func(m *mirror) {
			m.write(m.pool(hello), "hello tan")
		}, "Hash Sum mismatch"},
		{"the package is longer", func(m *mirror) {
			m.write(m.pool(hello), "hello ten and more")
		}, "unexpected size"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			m := newMirror(t)
			m.publish(hello)
			test.change(m)
			cache := t.TempDir()
			got, err := Fetch(t.Context(), m.options(cache, "hello"))
			if err == nil {
				t.Fatalf("got %q and no error", got)
			}
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %q does not say %q", err, test.want)
			}
			if diff := cmp.Diff([]string{}, debs(t, cache)); diff != "" {
				t.Errorf("the cache (-want +got):\n%s", diff)
			}
		})
	}
}

func TestFetchRefusesNames(t *testing.T) {
	tests := []Options{
		{Suite: ""},
		{Suite: "../trixie"},
		{Suite: "trixie", Arch: "amd64 trusted=yes"},
		{Suite: "trixie", Packages: []string{"-oDir=/"}},
		{Suite: "trixie", Packages: []string{"../jq"}},
		{Suite: "trixie", Packages: []string{"jq="}},
		{Suite: "trixie", Packages: []string{"jq=1/2"}},
		{Suite: "trixie", Mirror: "http://example.org/debian [trusted=yes]"},
		{Suite: "trixie", CacheDir: "a\"b"},
	}
	for _, o := range tests {
		if _, err := Fetch(t.Context(), o); err == nil || errors.Is(err, ErrNoTool) {
			t.Errorf("%+v: %v", o, err)
		}
	}
}

func TestDistributions(t *testing.T) {
	testneed.Programs(t, "apt-get", "gpg")
	t.Setenv("HASHPKG_MIRROR", "http://debian.example/debian/")
	t.Setenv("HASHPKG_UBUNTU_MIRROR", "http://ubuntu.example/ubuntu/")
	cache := t.TempDir()
	for suite, want := range map[string]struct{ mirror, components, keyring string }{
		"trixie": {"http://debian.example/debian", "main", DefaultKeyring},
		"noble":  {"http://ubuntu.example/ubuntu", "main universe", filepath.Join(cache, "ubuntu.gpg")},
	} {
		r, err := newRelease(Options{Suite: suite, CacheDir: cache})
		if err != nil {
			t.Fatal(err)
		}
		if r.mirror != want.mirror || r.components != want.components || r.keyring != want.keyring {
			t.Errorf("%s: mirror %s, components %s, keyring %s", suite, r.mirror, r.components, r.keyring)
		}
	}
	cmd := exec.Command("gpg", "--homedir", t.TempDir(), "--with-colons", "--show-keys", filepath.Join(cache, "ubuntu.gpg"))
	out, err := cmd.Output()
	if err != nil || strings.Count(string(out), "fpr:") != 1 || !strings.Contains(string(out), ":F6ECB3762474EDA9D21B7022871920D1991BC93C:") {
		t.Errorf("gpg says of Ubuntu's key %v: %s", err, out)
	}
}

func TestFetchNamesWhatIsMissing(t *testing.T) {
	o := Options{Suite: "trixie", CacheDir: t.TempDir(), Keyring: "/nonexistent/keyring.gpg"}
	if _, err := exec.LookPath("apt-get"); err == nil {
		_, err := Fetch(t.Context(), o)
		if !errors.Is(err, ErrNoTool) || !strings.Contains(err.Error(), "apt-get install debian-archive-keyring") {
			t.Errorf("without a keyring: %v", err)
		}
	}
	t.Setenv("PATH", t.TempDir())
	if _, err := Fetch(t.Context(), o); !errors.Is(err, ErrNoTool) || !strings.Contains(err.Error(), "apt-get is not in PATH") {
		t.Errorf("without apt: %v", err)
	}
}

func TestParseIndex(t *testing.T) {
	sum := strings.Repeat("0a", 32)
	tests := []struct {
		name, in string
		want     []indexEntry
		err      string
	}{
		{"empty", "", nil, ""},
		{
			"two, folded fields between", "\nPackage: a\nVersion: 1:2-3\nArchitecture: all\nsize: 5\nSHA256: " + sum + "\nDescription: x\n Size: 7\n .\n\n \nPackage:b\nVersion: 1\nArchitecture: amd64\nSize: 0\nSHA256: " + sum,
			[]indexEntry{{"a", "1:2-3", "all", 5, sum}, {"b", "1", "amd64", 0, sum}},
			"",
		},
		{"no field", "Package\n", nil, "not a field"},
		{"no version", "Package: a\n", nil, "not a name, version or architecture"},
		{"a path", "Package: a\nVersion: ../1\nArchitecture: all\n", nil, "not a name, version or architecture"},
		{"no digest", "Package: a\nVersion: 1\nArchitecture: all\nSize: 1\n", nil, "not a SHA-256"},
		{"no size", "Package: a\nVersion: 1\nArchitecture: all\nSHA256: " + sum + "\n", nil, "size: invalid syntax"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := parseIndex(strings.NewReader(test.in))
			if test.err == "" && err != nil || test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)) {
				t.Fatalf("error %v, want %q", err, test.err)
			}
			if diff := cmp.Diff(test.want, got, cmp.AllowUnexported(indexEntry{})); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
