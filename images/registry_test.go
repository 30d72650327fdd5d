package images

import (
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sys/unix"
)

// repository is a place in a registry of a test.
func repository(t *testing.T, server *httptest.Server, name string) Place {
	t.Helper()
	_, host, _ := strings.Cut(server.URL, "://")
	p, err := ParsePlace("docker://" + host + "/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestMounts has a registry take layers from another repository, of an image and of an index, and sends those that the
// repository has lost.
func TestMounts(t *testing.T) {
	objects := contents{}
	shared := manifest("shared", "1", objects.file("usr/lib/shared", incompressible(1<<18)))
	in := input(t, objects, manifest("a", "1", objects.file("usr/bin/a", "a")), shared)
	one := make1(t, in)
	other := input(t, objects, manifest("b", "1", objects.file("usr/bin/b", "b")), shared)
	other.Layers = in.Layers
	two := make1(t, other)
	other.Platform = v1.Platform{OS: "linux", Architecture: "arm64"}
	arm := make1(t, other)

	var mutex sync.Mutex
	var mounted []string
	isLost := false
	next := registryServer(new([]string))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mutex.Lock()
		defer mutex.Unlock()
		switch query := r.URL.Query(); {
		case r.Method == http.MethodHead && strings.Contains(r.URL.Path, "/blobs/"): // its blobs are those of all repositories
			w.WriteHeader(http.StatusNotFound)
		case query.Has("mount") && !isLost:
			mounted = append(mounted, query.Get("from")+" "+query.Get("mount"))
			w.WriteHeader(http.StatusCreated)
		default:
			next.ServeHTTP(w, r)
		}
	}))
	defer server.Close()
	push := func(name string, all ...v1.Image) int64 {
		var sent atomic.Int64
		if _, err := repository(t, server, name).Write(t.Context(), all, Access{Sent: &sent, Layers: in.Layers}); err != nil {
			t.Fatal(err)
		}
		return sent.Load()
	}
	m, err := one.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(m.Layers, func(d v1.Descriptor) bool { return d.Size > 1<<17 })
	size, want := m.Layers[i].Size, "x/y "+m.Layers[i].Digest.String()
	if first := push("x/y:1", one); first < size || len(mounted) > 0 {
		t.Errorf("%d bytes sent, %q", first, mounted)
	}
	if again := push("x/y:1", one); again > 0 {
		t.Errorf("%d bytes sent again", again)
	}
	if second := push("v/w:1", two); second >= size/2 || !slices.Equal(mounted, []string{want}) {
		t.Errorf("%d bytes sent of %d, %q", second, size, mounted)
	}
	if index := push("u:1", two, arm); index >= size || !slices.ContainsFunc(mounted[1:], func(m string) bool { return strings.HasSuffix(m, strings.TrimPrefix(want, "x/y")) }) {
		t.Errorf("%d bytes sent of %d, %q", index, size, mounted)
	}
	isLost = true
	if lost := push("s:1", one); lost < size {
		t.Errorf("%d bytes sent of %d", lost, size)
	}
}

// TestMountRefused sends a layer after all where the login may not read the repository that has it.
func TestMountRefused(t *testing.T) {
	for _, isIndex := range []bool{false, true} {
		objects := contents{}
		in := input(t, objects, manifest("a", "1", objects.file("usr/bin/a", "a")))
		all := []v1.Image{make1(t, in)}
		if isIndex {
			in.Platform.Architecture = "arm64"
			all = append(all, make1(t, in))
		}
		var refused atomic.Int32
		next := registryServer(new([]string))
		mux := http.NewServeMux()
		server := httptest.NewServer(mux)
		defer server.Close()
		mux.HandleFunc("/token", func(w http.ResponseWriter, r *http.Request) {
			if slices.Contains(r.URL.Query()["scope"], "repository:x/y:pull") {
				refused.Add(1)
				w.WriteHeader(http.StatusForbidden)
				return
			}
			fmt.Fprint(w, `{"token":"test"}`)
		})
		mux.HandleFunc("/v2/", func(w http.ResponseWriter, r *http.Request) {
			switch {
			case r.Header.Get("Authorization") != "Bearer test":
				w.Header().Set("WWW-Authenticate", `Bearer realm="`+server.URL+`/token",service="test"`)
				w.WriteHeader(http.StatusUnauthorized)
			case r.Method == http.MethodHead && strings.Contains(r.URL.Path, "/blobs/"): // its blobs are those of all repositories
				w.WriteHeader(http.StatusNotFound)
			default:
				next.ServeHTTP(w, r)
			}
		})
		for _, name := range []string{"x/y:1", "v/w:1"} {
			if _, err := repository(t, server, name).Write(t.Context(), all, Access{Layers: in.Layers}); err != nil {
				t.Errorf("%s of %d images: %v", name, len(all), err)
			}
		}
		if refused.Load() == 0 {
			t.Error("no layer was to be taken from x/y")
		}
	}
}

// TestUnnoted sends an image where nothing can be noted about its layers.
func TestUnnoted(t *testing.T) {
	server := httptest.NewServer(registryServer(new([]string)))
	defer server.Close()
	in := input(t, contents{}, manifest("a", "1"))
	image := make1(t, in)
	p := repository(t, server, "x:1")
	m, err := image.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range m.Layers {
		if err := in.Layers.dir.Mkdir(sentName(p.Ref.Context().RegistryStr(), d.Digest), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := p.Write(t.Context(), []v1.Image{image}, Access{Layers: in.Layers}); err != nil {
		t.Error(err)
	}
}

// TestCertificateDirs has Docker Hub by the name that containers' tools have for it.
func TestCertificateDirs(t *testing.T) {
	for registry, want := range map[string]string{"index.docker.io": "docker.io", "example.org:5000": "example.org:5000"} {
		dirs := certificateDirs(registry)
		for _, dir := range dirs {
			if filepath.Base(dir) != want {
				t.Errorf("%s: %s", registry, dir)
			}
		}
		if len(dirs) < 2 {
			t.Errorf("%s: %q", registry, dirs)
		}
	}
}

// TestUnreadableCertificates passes over certificates that the user may not read.
func TestUnreadableCertificates(t *testing.T) {
	top := t.TempDir()
	closed, file := filepath.Join(top, "closed"), filepath.Join(top, "open/ca.crt")
	err := errors.Join(os.Chmod(filepath.Dir(top), 0o755), os.MkdirAll(filepath.Join(closed, "registry"), 0o755), os.Mkdir(filepath.Dir(file), 0o755),
		os.WriteFile(file, []byte("text"), 0o000), os.Chmod(closed, 0o000))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.Chmod(closed, 0o755); err != nil { // for it to be removed
			t.Error(err)
		}
	})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		runtime.LockOSThread() // the thread ends with it, and nobody else gets its user
		if os.Geteuid() == 0 {
			if err := unix.Setfsuid(65534); err != nil {
				t.Error(err)
				return
			}
		}
		if _, err := os.ReadFile(file); !errors.Is(err, fs.ErrPermission) {
			t.Errorf("%s can be read: %v", file, err)
		}
		for _, dir := range []string{filepath.Join(closed, "registry"), filepath.Dir(file)} {
			if _, err := os.Stat(dir); dir == filepath.Dir(file) && err != nil {
				t.Error(err)
			}
			if _, err := transportTo([]string{dir}); err != nil {
				t.Errorf("%s: %v", dir, err)
			}
		}
	}()
	<-ended
}

// TestUnknownTag says which tag there is not.
func TestUnknownTag(t *testing.T) {
	server := httptest.NewServer(registryServer(new([]string)))
	defer server.Close()
	image := make1(t, input(t, contents{}, manifest("a", "1")))
	if _, err := repository(t, server, "x/y:1").Write(t.Context(), []v1.Image{image}, Access{}); err != nil {
		t.Fatal(err)
	}
	d := strings.Repeat("0", 64)
	for _, name := range []string{"x/y:2", "x/y@sha256:" + d} {
		if _, err := repository(t, server, name).Read(t.Context(), Access{}); err == nil || !strings.Contains(err.Error(), "has no "+name+" (HTTP status 404") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestTransport trusts authorities by the files that containers' tools have for them.
func TestTransport(t *testing.T) {
	server := httptest.NewUnstartedServer(registryServer(new([]string)))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	defer server.Close()
	config := t.TempDir()
	t.Setenv("XDG_CONFIG_HOME", config)
	image := make1(t, input(t, contents{}, manifest("a", "1")))
	p := repository(t, server, "x:1")
	_, err := p.Write(t.Context(), []v1.Image{image}, Access{})
	if err == nil || !strings.Contains(err.Error(), "is not to be trusted") || !strings.Contains(err.Error(), "certs.d/"+p.Ref.Context().RegistryStr()+"/ca.crt") {
		t.Errorf("%v", err)
	}
	file := filepath.Join(config, "containers/certs.d", p.Ref.Context().RegistryStr(), "ca.crt")
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		"text": "has no certificate in PEM",
		string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})): "",
	} {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := p.Write(t.Context(), []v1.Image{image}, Access{}); want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// TestLogins takes the login of podman, and then that of docker, and shows none.
func TestLogins(t *testing.T) {
	next := registryServer(new([]string))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, ok := r.BasicAuth(); !ok || user != "somebody" || password != "right-secret" {
			w.Header().Set("WWW-Authenticate", `Basic realm="here"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	}))
	defer server.Close()
	_, host, _ := strings.Cut(server.URL, "://")
	image := make1(t, input(t, contents{}, manifest("a", "1")))
	login := func(key, password string) string {
		return fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, key, base64.StdEncoding.EncodeToString([]byte("somebody:"+password)))
	}
	for _, c := range []struct {
		name, podman, runtime, docker string
		want                          string
	}{
		{"none", "", "", "", "does not allow it without a login (HTTP status 401)"},
		{"podman", login(host, "right-secret"), "", "", ""},
		{"of a path", login(host+"/x", "right-secret"), "", "", ""},
		{"of another path", login(host+"/y", "right-secret"), "", "", "without a login"},
		{"runtime", "", login(host, "right-secret"), "", ""},
		{"docker", "", "", login(host, "right-secret"), ""},
		{"docker beside another of podman", login("example.org", "x"), "", login(host, "right-secret"), ""},
		{"podman beside another of docker", login(host, "right-secret"), "", login("example.org", "x"), ""},
		{"wrong", login(host, "wrong-secret"), "", "", "does not allow it with the login that there is for it (HTTP status 401"},
		{"broken", `{"auths":{"` + host + `":{"auth":"wrong-secret`, "", "", "read logins"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			for variable, file := range map[string]string{"HOME": "", "REGISTRY_AUTH_FILE": "", "XDG_CONFIG_HOME": c.podman, "XDG_RUNTIME_DIR": c.runtime, "DOCKER_CONFIG": c.docker} {
				at := filepath.Join(dir, variable)
				t.Setenv(variable, at)
				name := filepath.Join(at, "containers/auth.json")
				switch {
				case variable == "REGISTRY_AUTH_FILE":
					t.Setenv(variable, "")
				case variable == "DOCKER_CONFIG":
					name = filepath.Join(at, "config.json")
				}
				if file == "" {
					continue
				}
				if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(file), 0o600)); err != nil {
					t.Fatal(err)
				}
			}
			_, err := repository(t, server, "x/y:1").Write(t.Context(), []v1.Image{image}, Access{})
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%v, want %q", err, c.want)
			}
			if err != nil && (strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), base64.StdEncoding.EncodeToString([]byte("somebody:wrong-secret")))) {
				t.Errorf("the login is shown: %v", err)
			}
		})
	}
}

// TestAnswers says what to do about what registries answer.
func TestAnswers(t *testing.T) {
	image := make1(t, input(t, contents{}, manifest("a", "1")))
	for status, want := range map[int]string{
		http.StatusForbidden: "log in with docker login", http.StatusMethodNotAllowed: "takes no images", http.StatusRequestEntityTooLarge: "raise the limit",
		http.StatusBadRequest: "refuses it (HTTP status 400: no?[31m)", http.StatusNotImplemented: "its log says why",
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/v2/" {
				return
			}
			if r.Method == http.MethodHead {
				w.WriteHeader(http.StatusNotFound)
				return
			}
			w.WriteHeader(status)
			fmt.Fprint(w, `{"errors":[{"code":"UNKNOWN","message":"no\u001b[31m"}]}`)
		}))
		_, err := repository(t, server, "x:1").Write(t.Context(), []v1.Image{image}, Access{})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%d: %v, want %q", status, err, want)
		}
		server.Close()
	}
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close()
	if _, err := repository(t, server, "x:1").Write(t.Context(), []v1.Image{image}, Access{}); err == nil || !strings.Contains(err.Error(), "does not answer") {
		t.Errorf("nobody there: %v", err)
	}
}
