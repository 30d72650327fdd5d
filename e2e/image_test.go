//go:build system

package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

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
	Size   int64
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
