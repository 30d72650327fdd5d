//go:build system

package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hashpkg/hashpkg/internal/testneed"
)

// imageMaker makes images of packages of Debian trixie.
type imageMaker struct {
	t                   *testing.T
	program, proxy, dir string
}

func newImageMaker(t *testing.T) *imageMaker {
	testneed.Root(t)
	testneed.Network(t)
	testneed.Programs(t, "umoci", "skopeo", "runc")
	return &imageMaker{t, hashpkg(t), newCachingProxy(t), t.TempDir()}
}

// imageMade is what hashpkg image prints with --json.
type imageMade struct {
	Digest string
	Layers int
	Sent   int64
}

// command returns a run of hashpkg image in the maker's directory, with a cache of this name.
func (m *imageMaker) command(cache string, args ...string) *exec.Cmd {
	c := exec.CommandContext(m.t.Context(), m.program, append([]string{"image", "--json", "--cache", filepath.Join(m.dir, cache)}, args...)...)
	c.Dir = m.dir
	c.Env = append(os.Environ(), "http_proxy="+m.proxy, "no_proxy=127.0.0.1")
	return c
}

func (m *imageMaker) run(c *exec.Cmd) string {
	m.t.Helper()
	var out, said bytes.Buffer
	c.Stdout, c.Stderr = &out, &said
	if err := c.Run(); err != nil {
		m.t.Fatalf("%s: %v: %s%s", strings.Join(c.Args, " "), err, out.String(), said.String())
	}
	return out.String()
}

func (m *imageMaker) made(c *exec.Cmd) (made imageMade) {
	m.t.Helper()
	if err := json.Unmarshal([]byte(m.run(c)), &made); err != nil {
		m.t.Fatal(err)
	}
	return made
}

func (m *imageMaker) exec(args ...string) string {
	m.t.Helper()
	c := exec.CommandContext(m.t.Context(), args[0], args[1:]...)
	c.Dir = m.dir
	return m.run(c)
}

// unpack has umoci make a bundle of an image, and checks that skopeo reads the same digest.
func (m *imageMaker) unpack(image string, made imageMade) *imageBundle {
	m.t.Helper()
	if got := strings.TrimSpace(m.exec("skopeo", "inspect", "--format", "{{.Digest}}", "oci:"+image)); got != made.Digest {
		m.t.Errorf("skopeo reads the digest %s, and %s was made", got, made.Digest)
	}
	dir, _, _ := strings.Cut(image, ":")
	m.exec("umoci", "unpack", "--image", image, dir+".bundle")
	return &imageBundle{m, filepath.Join(m.dir, dir+".bundle"), 0}
}

// imageBundle is an image as runc runs it.
type imageBundle struct {
	*imageMaker
	path string
	runs int
}

// container runs a program of the image, without a network, as this user.
func (b *imageBundle) container(uid int, args ...string) (string, error) {
	b.t.Helper()
	b.runs++
	file := filepath.Join(b.path, "config.json")
	text, err := os.ReadFile(file)
	if err != nil {
		b.t.Fatal(err)
	}
	var config map[string]any
	if err := json.Unmarshal(text, &config); err != nil {
		b.t.Fatal(err)
	}
	process := config["process"].(map[string]any)
	process["terminal"], process["user"] = false, map[string]int{"uid": uid, "gid": uid}
	if len(args) > 0 {
		process["args"] = args
	}
	if text, err = json.Marshal(config); err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(file, text, 0o644); err != nil {
		b.t.Fatal(err)
	}
	name := fmt.Sprintf("hashpkg-test-%d-%d", os.Getpid(), b.runs)
	out, err := exec.CommandContext(b.t.Context(), "runc", "--root", filepath.Join(b.dir, "runc"), "run", "--bundle", b.path, name).CombinedOutput()
	return string(out), err
}

// uid returns the number of a user of the image.
func (b *imageBundle) uid(name string) int {
	b.t.Helper()
	text, err := os.ReadFile(filepath.Join(b.path, "rootfs/etc/passwd"))
	if err != nil {
		b.t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Split(line, ":"); f[0] == name {
			n, err := strconv.Atoi(f[2])
			if err != nil {
				b.t.Fatal(err)
			}
			return n
		}
	}
	b.t.Fatalf("the image has no user %s", name)
	return 0
}

// imageCases are programs that do their work in a container of one image. Each prints want.
var imageCases = []struct{ name, script, want string }{
	{"jq", `echo '{"a":[1,41]}' | jq '.a|add'`, "42\n"},
	{"sqlite3", `sqlite3 :memory: 'create table t(a); insert into t values(1),(41); select sum(a) from t'`, "42\n"},
	{"python3", `python3 -c 'import ssl, sqlite3, ctypes, zlib, lzma, hashlib, json, zoneinfo, subprocess
print(zoneinfo.ZoneInfo("Europe/Berlin").key, len(ssl.create_default_context().get_ca_certs()) > 100)
print(json.loads(subprocess.check_output("echo [42] | sed s/x/y/", shell=True))[0], sqlite3.connect(":memory:").execute("select 1").fetchone())'`, "Europe/Berlin True\n42 (1,)\n"},
	{"python3-yaml", `python3 -c 'import yaml; print(yaml.safe_load("a: [1, 2]"), yaml.CSafeLoader is not None)'`, "{'a': [1, 2]} True\n"},
	{"perl", `perl -MPOSIX -MJSON::PP -MDigest::SHA=sha1_hex -e 'print encode_json([floor(42.5)]), sha1_hex("x"), "\n"'`, "[42]11f6ad8ec52a2984abaafd7c3b516503785c2072\n"},
	{"git", `cd /tmp && git init -q r && cd r && git config user.name a && git config user.email b@c && echo x >f && git add f && git commit -qm m && git clone -q --no-local . ../s && git -C ../s log --format=%s && git submodule status`, "m\n"},
	{"curl", `cd /tmp && echo it works >x && curl -s file:///tmp/x && curl --version | grep -c OpenSSL`, "it works\n1\n"},
	{"vim", `cd /tmp && printf 'b\na\n' >x && vim --not-a-term -es -u NONE -c 'sort' -c 'python3 import vim; vim.current.buffer.append(str(6*7))' -c 'perl $curbuf->Append(3, "p")' -c 'wq' x; cat x; vim --not-a-term -es -c 'redir! >/tmp/help' -c 'silent help' -c 'silent echo expand("%")' -c 'qa!'; grep -q help.txt /tmp/help && echo help`, "a\nb\n42\np\nhelp\n"},
	{"users", `id -un && cd /tmp && touch x && ls -l x | awk '{print $3, $4}'`, "nobody\nnobody nogroup\n"},
}

// TestSystemImagePrograms has programs do their work in containers of an image, as a user without rights; without the
// image's /usr none would.
func TestSystemImagePrograms(t *testing.T) {
	m := newImageMaker(t)
	made := m.made(m.command("cache", "--from", "trixie", "jq", "sqlite3", "python3", "python3-yaml", "perl", "git", "curl", "vim-nox", "--with", "ca-certificates,tzdata,utilities", "-o", "oci:programs"))
	if made.Layers > 100 {
		t.Errorf("%d layers", made.Layers)
	}
	b := m.unpack("programs:latest", made)
	for _, c := range imageCases {
		if out, err := b.container(65534, "sh", "-ec", "export HOME=/tmp; rm -rf /tmp/*; "+c.script); err != nil || out != c.want {
			t.Errorf("%s: %v: %q, want %q", c.name, err, out, c.want)
		}
	}
	// The root is complete: no link of it leads nowhere that leads into a tree or /usr.
	out := m.exec("chroot", filepath.Join(b.path, "rootfs"), "sh", "-c", "find /bin /lib /sbin /usr/bin /usr/sbin /var/sys -xtype l ! -path '*/share/*' ! -path '/usr/lib/*'")
	if out != "" {
		t.Errorf("links lead nowhere:\n%s", out)
	}
}

// TestSystemImagePostgres has a database, with a user of its own, a module and its scripts.
func TestSystemImagePostgres(t *testing.T) {
	m := newImageMaker(t)
	b := m.unpack("pg:latest", m.made(m.command("cache", "--from", "trixie", "postgresql-17", "--with", "utilities", "--user", "postgres", "-o", "oci:pg")))
	const script = `export PATH=/usr/lib/postgresql/17/bin:$PATH; cd /tmp; initdb -D /tmp/d -A trust >/tmp/log 2>&1 || cat /tmp/log
pg_ctl -D /tmp/d -o '-k /tmp -c listen_addresses=' -l /tmp/log -w start >/dev/null
psql -h /tmp -qAt postgres <<'X'
create extension pgcrypto;
create function f(text) returns text language plpgsql as $$ begin return encode(digest($1, 'sha1'), 'hex'); end $$;
select sum(i), f('x') from generate_series(1, 100) i;
X
pg_ctl -D /tmp/d -m fast stop >/dev/null`
	if out, err := b.container(b.uid("postgres"), "sh", "-ec", script); err != nil || out != "5050|11f6ad8ec52a2984abaafd7c3b516503785c2072\n" {
		t.Errorf("%v: %s", err, out)
	}
}

// TestSystemImageSame has one digest of two machines that differ in what is none of an image's business, for another architecture
// as well, whose programs an emulator runs.
func TestSystemImageSame(t *testing.T) {
	m := newImageMaker(t)
	testneed.Programs(t, "qemu-aarch64-static", "setpriv")
	first := m.command("cache", "--from", "trixie", "--arch", "amd64,arm64", "jq", "sqlite3", "--with", "shell", "-o", "oci:first")
	a := m.made(first)
	// Another user, umask, locale, time zone and order, and a cache that has nothing.
	other := filepath.Join(m.dir, "other")
	for _, dir := range []string{m.dir, filepath.Dir(m.dir)} {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(other, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(other, 65534, 65534); err != nil {
		t.Fatal(err)
	}
	second := m.command("other/cache", "--from", "trixie", "--arch", "arm64,amd64", "sqlite3", "jq", "--with", "shell", "-o", "oci:"+other+"/second")
	second.Args = append([]string{"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "sh", "-c", `umask 077; exec "$0" "$@"`}, second.Args...)
	second.Path, _ = exec.LookPath("setpriv")
	second.Env = append(second.Env, "LC_ALL=tr_TR.UTF-8", "TZ=Asia/Tokyo", "HOME="+other)
	if b := m.made(second); a.Digest != b.Digest || a.Digest == "" {
		t.Errorf("%s and %s", a.Digest, b.Digest)
	}
	m.exec("diff", "-r", "first", "other/second")

	for _, arch := range []string{"amd64", "arm64"} {
		m.exec("skopeo", "copy", "-q", "--override-arch", arch, "oci:first:latest", "oci:one-"+arch+":latest")
		m.exec("umoci", "unpack", "--image", "one-"+arch+":latest", arch)
	}
	qemu, err := exec.LookPath("qemu-aarch64-static")
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(qemu)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(m.dir, "arm64/rootfs/qemu"), b, 0o755); err != nil {
		t.Fatal(err)
	}
	if out := m.exec("chroot", filepath.Join(m.dir, "arm64/rootfs"), "/qemu", "/usr/bin/sqlite3", ":memory:", "select 6*7"); out != "42\n" {
		t.Errorf("%q", out)
	}
	// One image, of fewer packages, has layers of this one.
	single := m.made(m.command("cache", "--from", "trixie", "jq", "-o", "oci:single"))
	layers := func(image string) []string {
		return strings.Fields(m.exec("skopeo", "inspect", "--format", `{{range .Layers}}{{.}} {{end}}`, image))
	}
	all, some := layers("oci:one-amd64:latest"), layers("oci:single:latest")
	missing := slices.DeleteFunc(slices.Clone(some), func(l string) bool { return slices.Contains(all, l) })
	if len(some) != single.Layers || len(missing) != 1 { // the last one
		t.Errorf("of %d layers %d are not in the larger image", len(some), len(missing))
	}
}

// TestSystemImageRegistry has a registry server take images, and give them back, and counts what is sent.
func TestSystemImageRegistry(t *testing.T) {
	m := newImageMaker(t)
	testneed.Programs(t, "docker-registry")
	host := m.registry()
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

// registry starts a registry server, and returns its address.
func (m *imageMaker) registry() string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		m.t.Fatal(err)
	}
	host := l.Addr().String()
	if err := l.Close(); err != nil {
		m.t.Fatal(err)
	}
	config := filepath.Join(m.dir, "registry.yml")
	text := fmt.Sprintf("version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\nstorage: {filesystem: {rootdirectory: %s}}\nhttp: {addr: %q}\n", filepath.Join(m.dir, "registry"), host)
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		m.t.Fatal(err)
	}
	server := exec.Command("docker-registry", "serve", config)
	if err := server.Start(); err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() {
		if err := server.Process.Kill(); err != nil {
			m.t.Error(err)
		}
		_ = server.Wait() // it says that it was killed
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
