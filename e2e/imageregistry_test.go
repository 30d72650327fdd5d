//go:build system

package e2e

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/hashpkg/hashpkg/internal/testneed"
)

// registryServers are the registry servers that images are pushed to: Debian's, and the newest one of its authors.
var registryServers = map[string]func(t *testing.T) []string{
	"docker-registry": func(t *testing.T) []string {
		testneed.Programs(t, "docker-registry")
		return []string{"docker-registry", "serve"}
	},
	"distribution 3": func(t *testing.T) []string {
		bin := t.TempDir()
		c := exec.CommandContext(t.Context(), "go", "install", "github.com/distribution/distribution/v3/cmd/registry@v3.1.2")
		c.Env = append(os.Environ(), "GOBIN="+bin, "GOFLAGS=")
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return []string{filepath.Join(bin, "registry"), "serve"}
	},
}

// The login that registries of tests know.
const (
	registryUser     = "somebody"
	registryPassword = "right-secret"
)

// TestSystemImageRegistries has two registry servers take images by TLS, from whom they know, each layer once for all
// repositories, and give them back.
func TestSystemImageRegistries(t *testing.T) {
	for name, program := range registryServers {
		t.Run(name, func(t *testing.T) {
			m := newImageMaker(t)
			ca := m.authority()
			host := m.registry(program(t), true)
			place := func(name string) string { return "docker://" + host + "/" + name }
			config := filepath.Join(m.dir, "config")
			run := func(args ...string) *exec.Cmd {
				c := m.command("cache", args...)
				c.Env = append(c.Env, "XDG_CONFIG_HOME="+config, "HOME="+m.dir)
				return c
			}
			refused := func(want string) {
				t.Helper()
				out, err := run("--from", "trixie", "jq", "-o", place("some/jq")).CombinedOutput()
				if err == nil || !strings.Contains(string(out), want) || strings.Contains(string(out), "secret") {
					t.Errorf("%v: %s, want %q", err, out, want)
				}
			}
			refused("is not to be trusted")
			m.write(filepath.Join("config/containers/certs.d", host, "ca.crt"), string(ca))
			refused("does not allow it without a login (HTTP status 401")
			m.login(host, "wrong-secret")
			refused("does not allow it with the login that there is for it (HTTP status 401")
			m.login(host, registryPassword)

			// Thirty and two packages, of which another image, in another repository, has thirty.
			first := m.made(run("--from", "trixie", "jq", "curl", "-o", place("some/first")))
			second := m.made(run("--from", "trixie", "curl", "sqlite3", "-o", place("other/second")))
			again := m.made(run("--from", "trixie", "curl", "sqlite3", "-o", place("third:new")))
			t.Logf("first %d layers and %d bytes, second %d layers and %d bytes, again %d bytes", first.Layers, first.Sent, second.Layers, second.Sent, again.Sent)
			if first.Sent < first.Size || second.Layers < 30 || second.Sent > second.Size/5 || again.Sent > 64<<10 {
				t.Errorf("sent %d of %d bytes, then %d of %d, and %d of the same", first.Sent, first.Size, second.Sent, second.Size, again.Sent)
			}
			// What moves is what is new: the layers that the first image has not, with manifest and configuration.
			var fresh int64
			had := m.layers("some/first", host)
			for digest, size := range m.layers("other/second", host) {
				if _, ok := had[digest]; !ok {
					fresh += size
				}
			}
			if extra := second.Sent - fresh; extra < 0 || extra > 64<<10 {
				t.Errorf("%d bytes were sent, and the new layers have %d", second.Sent, fresh)
			}
			m.exec("skopeo", "copy", "-q", "--src-cert-dir", filepath.Join(config, "containers/certs.d", host), "--src-creds", registryUser+":"+registryPassword, place("other/second"), "oci:back:latest")
			if out, err := m.unpack("back:latest", second).container(65534, "/usr/bin/sqlite3", ":memory:", "select 6*7"); err != nil || out != "42\n" {
				t.Errorf("%v: %s", err, out)
			}
			if out := m.run(run("--diff", place("some/first"), place("other/second"))); !strings.Contains(out, `{"name":"sqlite3","architecture":"amd64","what":"added"`) {
				t.Error(out)
			}
		})
	}
}

// layers returns the layers of an image in a registry, with their sizes.
func (m *imageMaker) layers(repository, host string) map[string]int64 {
	m.t.Helper()
	out := m.exec("skopeo", "inspect", "--raw", "--cert-dir", filepath.Join(m.dir, "config/containers/certs.d", host), "--creds", registryUser+":"+registryPassword, "docker://"+host+"/"+repository)
	var manifest struct {
		Layers []struct {
			Digest string
			Size   int64
		}
	}
	if err := json.Unmarshal([]byte(out), &manifest); err != nil {
		m.t.Fatal(err)
	}
	all := map[string]int64{}
	for _, l := range manifest.Layers {
		all[l.Digest] = l.Size
	}
	if len(all) == 0 {
		m.t.Fatalf("no layers: %s", out)
	}
	return all
}

// write writes a file below the maker's directory.
func (m *imageMaker) write(name, text string) {
	m.t.Helper()
	at := filepath.Join(m.dir, name)
	if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
		m.t.Fatal(err)
	}
	if err := os.WriteFile(at, []byte(text), 0o600); err != nil {
		m.t.Fatal(err)
	}
}

// login writes what docker login would.
func (m *imageMaker) login(host, password string) {
	m.write(".docker/config.json", fmt.Sprintf(`{"auths": {%q: {"auth": %q}}}`, host, base64.StdEncoding.EncodeToString([]byte(registryUser+":"+password))))
}

// authority makes a certificate for this machine, as tls.crt and tls.key, and returns that of the authority which vouches for it.
func (m *imageMaker) authority() []byte {
	m.t.Helper()
	make1 := func(serial int64, parent *x509.Certificate, signer *ecdsa.PrivateKey) ([]byte, *x509.Certificate, *ecdsa.PrivateKey) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			m.t.Fatal(err)
		}
		c := &x509.Certificate{SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: fmt.Sprint("test ", serial)}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour)}
		if parent == nil {
			c.IsCA, c.BasicConstraintsValid, c.KeyUsage, parent, signer = true, true, x509.KeyUsageCertSign, c, key
		} else {
			c.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
		}
		der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
		if err != nil {
			m.t.Fatal(err)
		}
		return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), c, key
	}
	ca, parent, signer := make1(1, nil, nil)
	text, _, key := make1(2, parent, signer)
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		m.t.Fatal(err)
	}
	m.write("tls.crt", string(text))
	m.write("tls.key", string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})))
	return ca
}

// TestSystemImageRegistry has a registry server take images, and give them back, and counts what is sent.
func TestSystemImageRegistry(t *testing.T) {
	m := newImageMaker(t)
	host := m.registry(registryServers["docker-registry"](t), false)
	place := func(tag string) string { return "docker://" + host + "/some/repository:" + tag }
	first := m.made(m.command("cache", "--from", "trixie", "jq", "-o", place("jq")))
	again := m.made(m.command("cache", "--from", "trixie", "jq", "-o", place("jq")))
	more := m.made(m.command("cache", "--from", "trixie", "jq", "sqlite3", "-o", place("more")))
	if first.Sent < 4<<20 || again.Sent > 10<<10 || more.Sent > 2<<20 || more.Sent < 500<<10 {
		t.Errorf("sent at first %d, again %d, with another program %d bytes", first.Sent, again.Sent, more.Sent)
	}
	m.exec("skopeo", "copy", "-q", "--src-tls-verify=false", place("more"), "oci:back:latest")
	b := m.unpack("back:latest", more)
	if out, err := b.container(65534, "/usr/bin/sqlite3", ":memory:", "select 6*7"); err != nil || out != "42\n" {
		t.Errorf("%v: %s", err, out)
	}
	if out := m.run(m.command("cache", "--diff", place("jq"), "oci:back")); !strings.Contains(out, `{"name":"sqlite3","architecture":"amd64","what":"added"`) {
		t.Error(out)
	}
	// One that is killed while it sends leaves no image, and the next one goes on.
	killed := m.command("cache", "--from", "trixie", "curl", "-o", place("curl"))
	if err := killed.Start(); err != nil {
		t.Fatal(err)
	}
	blobs := filepath.Join(m.dir, "registry/docker/registry/v2/blobs/sha256")
	count := func() int {
		found, err := filepath.Glob(filepath.Join(blobs, "*/*/data"))
		if err != nil {
			t.Fatal(err)
		}
		return len(found)
	}
	before := count()
	for end := time.Now().Add(2 * time.Minute); count() < before+3 && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	if err := killed.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := killed.Wait(); err == nil {
		t.Fatal("it ended before it was killed")
	}
	if out, err := exec.Command("skopeo", "inspect", "--tls-verify=false", place("curl")).CombinedOutput(); err == nil {
		t.Errorf("a killed push has left an image: %s", out)
	}
	m.made(m.command("cache", "--from", "trixie", "curl", "-o", place("curl")))
	m.exec("skopeo", "copy", "-q", "--src-tls-verify=false", place("curl"), "oci:curl:latest")
}

// registry starts a registry server, and returns its address; a closed one speaks TLS, with those who have the login.
func (m *imageMaker) registry(program []string, isClosed bool) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		m.t.Fatal(err)
	}
	host := l.Addr().String()
	if err := l.Close(); err != nil {
		m.t.Fatal(err)
	}
	text := fmt.Sprintf("version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\nstorage: {filesystem: {rootdirectory: %s}}\n", filepath.Join(m.dir, "registry"))
	if isClosed {
		hash, err := bcrypt.GenerateFromPassword([]byte(registryPassword), bcrypt.MinCost)
		if err != nil {
			m.t.Fatal(err)
		}
		m.write("users", registryUser+":"+string(hash)+"\n")
		in := func(name string) string { return filepath.Join(m.dir, name) }
		text += fmt.Sprintf("auth: {htpasswd: {realm: test, path: %s}}\nhttp: {addr: %q, tls: {certificate: %s, key: %s}}\n", in("users"), host, in("tls.crt"), in("tls.key"))
	} else {
		text += fmt.Sprintf("http: {addr: %q}\n", host)
	}
	m.write("registry.yml", text)
	server := exec.Command(program[0], append(program[1:len(program):len(program)], filepath.Join(m.dir, "registry.yml"))...)
	var said bytes.Buffer // read once it has ended
	server.Stdout, server.Stderr = &said, &said
	server.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := server.Start(); err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() {
		if err := server.Process.Kill(); err != nil {
			m.t.Error(err)
		}
		_ = server.Wait() // it says that it was killed
		if m.t.Failed() {
			m.t.Logf("the registry's log: %s", &said)
		}
	})
	for range 200 {
		if c, err := net.Dial("tcp", host); err == nil {
			if err := c.Close(); err != nil {
				m.t.Error(err)
			}
			return host
		}
		time.Sleep(50 * time.Millisecond)
	}
	m.t.Fatal("the registry does not answer")
	return ""
}
