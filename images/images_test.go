package images

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/pkginfo"
)

// contents are objects in memory.
type contents map[digest.Digest]string

func (c contents) MapObject(d digest.Digest, f func([]byte) error) error {
	b, ok := c[d]
	if !ok {
		return fs.ErrNotExist
	}
	return f([]byte(b))
}

func (c contents) file(path, text string) record.File {
	d := digest.Of([]byte(text))
	c[d] = text
	return record.File{Path: path, Type: record.TypeFile, Mode: 0o644, Object: d, Size: int64(len(text)), Source: d}
}

func symlink(path, target string) record.File {
	return record.File{Path: path, Type: record.TypeSymlink, Mode: 0o777, Target: target}
}

func manifest(name, version string, files ...record.File) *record.Manifest {
	slices.SortFunc(files, func(a, b record.File) int { return strings.Compare(a.Path, b.Path) })
	m := &record.Manifest{Layout: 1, Name: name, Version: version, Architecture: "amd64", Format: "deb", Origin: record.OriginPrivate, Tree: version, Files: files}
	m.Index()
	return m
}

// input returns what an image of these packages is made of; of several versions of one the first is the default.
func input(t *testing.T, objects Objects, manifests ...*record.Manifest) Input {
	t.Helper()
	layers, err := OpenLayers(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := layers.Close(); err != nil {
			t.Error(err)
		}
	})
	g := &record.Generation{Layout: 1, ID: 1, Architecture: "x86_64-linux-gnu"}
	has := map[string]bool{}
	for i, m := range manifests {
		g.Trees = append(g.Trees, record.Tree{Name: m.Name, Version: m.Version, Architecture: m.Architecture, Format: m.Format, Origin: m.Origin, Dir: m.Tree, Default: !has[m.Name], Named: record.Named{Asked: i == 0, Release: "trixie"}})
		has[m.Name] = true
	}
	return Input{
		Prefix: "/var/sys", Generation: g, Manifests: manifests, Objects: objects, Layers: layers, Platform: v1.Platform{OS: "linux", Architecture: "amd64"}, Created: time.Unix(0, 0),
	}
}

func make1(t *testing.T, in Input) v1.Image {
	t.Helper()
	image, err := Make(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Image(image); err != nil { // digests, sizes and counts, by the library
		t.Error(err)
	}
	return image
}

// files returns what a container of an image sees: text, "-> TARGET" or "dir", by path.
func files(t *testing.T, image v1.Image) map[string]string {
	t.Helper()
	all := map[string]string{}
	r := mutate.Extract(image)
	defer r.Close()
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if err == io.EOF {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Uname != "" || h.Gname != "" || !h.ModTime.Equal(entryTime) {
			t.Errorf("%s is of %q:%q and %v", h.Name, h.Uname, h.Gname, h.ModTime)
		}
		b, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		switch name := strings.TrimSuffix(h.Name, "/"); h.Typeflag {
		case tar.TypeDir:
			all[name] = "dir"
		case tar.TypeSymlink:
			all[name] = "-> " + h.Linkname
		default:
			all[name] = string(b)
		}
	}
}

// TestPlace has the files of defaults at their own paths, and those of others below the prefix.
func TestPlace(t *testing.T) {
	objects := contents{}
	climbing := symlink("usr/lib/libx.so", "../../../../libx/1/usr/lib/libx.so.1")
	climbing.PackageTarget = "libx.so.1"
	in := input(t, objects,
		manifest("tool", "2", objects.file("usr/bin/tool", "two"), objects.file("usr/share/man/man1/tool.1", "man"), objects.file("usr/share/doc/tool/copyright", "license"), climbing),
		manifest("tool", "1", objects.file("usr/bin/tool", "one")),
		manifest("rival", "1", objects.file("usr/bin/tool", "rival"), objects.file("usr/bin/rival", "rival")),
		manifest("under", "1", objects.file("usr/bin/tool/x", "below a file")),
	)
	got := files(t, make1(t, in))
	for path, want := range map[string]string{
		"usr/bin/tool":                   "two",
		"usr/lib/libx.so":                "-> libx.so.1",
		"usr/share/doc/tool/copyright":   "license",
		"usr/share/man/man1/tool.1":      "",
		"var/sys/tool/2/usr":             "-> ../../../../usr",
		"var/sys/tool/1/usr/bin/tool":    "one",
		"var/sys/rival/1/usr/bin/tool":   "rival",
		"usr/bin/rival":                  "-> /var/sys/rival/1/usr/bin/rival",
		"var/sys/under/1/usr/bin/tool/x": "below a file",
		"var/sys/current-system":         "-> .hashpkg/generations/1",
		"bin":                            "-> usr/bin",
		"tmp":                            "dir",
		"var/lib/dpkg/status.d/tool":     "Package: tool\nStatus: install ok installed\nArchitecture: amd64\nVersion: 2\n",
	} {
		if got[path] != want {
			t.Errorf("%s: %q, want %q", path, got[path], want)
		}
	}
}

// TestSame has one digest whatever the order in which layers are made, and layers that are the same in every image.
func TestSame(t *testing.T) {
	objects := contents{}
	one, two := manifest("a", "1", objects.file("usr/bin/a", "a")), manifest("b", "1", objects.file("usr/bin/b", "b"))
	both, again, alone := make1(t, input(t, objects, one, two)), make1(t, input(t, objects, one, two)), make1(t, input(t, objects, one))
	digestOf := func(image v1.Image) string {
		d, err := image.Digest()
		if err != nil {
			t.Fatal(err)
		}
		return d.String()
	}
	if a, b := digestOf(both), digestOf(again); a != b {
		t.Errorf("%s and %s", a, b)
	}
	a, err := both.Layers()
	if err != nil {
		t.Fatal(err)
	}
	b, err := alone.Layers()
	if err != nil {
		t.Fatal(err)
	}
	x, _ := a[0].Digest()
	y, _ := b[0].Digest()
	if x != y {
		t.Errorf("the layer of a is %s in one image, and %s in another", x, y)
	}
}

// TestManyTrees has no more layers than runtimes stack, and leaves no tree out.
func TestManyTrees(t *testing.T) {
	objects := contents{}
	var all []*record.Manifest
	for i := range 250 {
		name := "p" + string(rune('a'+i/26)) + string(rune('a'+i%26))
		all = append(all, manifest(name, "1", objects.file("usr/share/"+name, strings.Repeat(name, i+1))))
	}
	image := make1(t, input(t, objects, all...))
	layers, err := image.Layers()
	if err != nil {
		t.Fatal(err)
	}
	if len(layers) != maxLayers {
		t.Errorf("%d layers", len(layers))
	}
	packages, err := Packages(image)
	if err != nil {
		t.Fatal(err)
	}
	if len(packages) != len(all) {
		t.Errorf("%d packages", len(packages))
	}
	got := files(t, image)
	for _, m := range all {
		if got["usr/share/"+m.Name] == "" {
			t.Errorf("%s is not in the image", m.Name)
		}
	}
}

// TestDamaged has no image made of an object that is not what its name says.
func TestDamaged(t *testing.T) {
	objects := contents{}
	m := manifest("a", "1", objects.file("usr/bin/a", "a"))
	objects[digest.Of([]byte("a"))] = "b"
	if _, err := Make(t.Context(), input(t, objects, m)); err == nil || !strings.Contains(err.Error(), "is damaged") {
		t.Error(err)
	}
}

// TestAccounts has what scripts would make, with numbers that do not depend on other packages.
func TestAccounts(t *testing.T) {
	objects := contents{}
	db := manifest("db", "1", objects.file("usr/bin/db", "db"))
	db.WouldMake = pkginfo.Made{
		Users: []string{"mydb"}, Accounts: []pkginfo.MadeAccount{{Name: "mydb", Home: "/var/lib/mydb", Shell: "/bin/bash"}},
		Directories: []pkginfo.MadeDirectory{{Path: "/var/lib/mydb", Mode: "0750", Owner: "mydb:mydb"}, {Path: "/var/run/mydb"}},
	}
	other := manifest("other", "1")
	other.WouldMake.Users, other.WouldMake.Groups = []string{"aaa", "root", "bad:name"}, []string{"zzz"}
	line := func(manifests ...*record.Manifest) string {
		got := files(t, make1(t, input(t, objects, manifests...)))
		if got["var/lib/mydb"] != "dir" || got["run/mydb"] != "dir" {
			t.Error("directories are not there")
		}
		if strings.Contains(got["etc/passwd"], "bad") || strings.Count("\n"+got["etc/passwd"], "\nroot:") != 1 {
			t.Errorf("%s", got["etc/passwd"])
		}
		for l := range strings.Lines(got["etc/passwd"]) {
			if strings.HasPrefix(l, "mydb:") {
				return l
			}
		}
		return ""
	}
	alone, together := line(db), line(db, other)
	if alone == "" || alone != together || !strings.HasSuffix(alone, "::/var/lib/mydb:/bin/bash\n") {
		t.Errorf("%q and %q", alone, together)
	}
}

// TestNumbers ends when there are no more of them.
func TestNumbers(t *testing.T) {
	m := manifest("many", "1")
	for i := range 900 {
		m.WouldMake.Users = append(m.WouldMake.Users, fmt.Sprintf("u%d", i))
	}
	_, err := Make(t.Context(), input(t, contents{}, m))
	if err == nil || !strings.Contains(err.Error(), "there are no more numbers") {
		t.Error(err)
	}
}

// TestBase has the accounts of Debian's base-passwd.
func TestBase(t *testing.T) {
	a := base()
	for file, have := range map[string][]byte{"passwd": a.passwd(), "group": a.group()} {
		master, err := os.ReadFile("/usr/share/base-passwd/" + file + ".master")
		if err != nil {
			t.Skip("this machine has no base-passwd:", err)
		}
		numbers := func(text []byte) (all []string) {
			for l := range strings.Lines(string(text)) {
				f := strings.Split(strings.TrimSpace(l), ":")
				if file == "passwd" {
					f[3] += ":" + f[5]
				}
				all = append(all, f[0]+":"+strings.Join(f[2:min(len(f), 4)], ":"))
			}
			return all
		}
		if d := cmp.Diff(numbers(master), numbers(have)); d != "" {
			t.Errorf("%s: %s", file, d)
		}
	}
}

// TestDirectories has a directory with one mode and owner in all layers, those of the first package that has it.
func TestDirectories(t *testing.T) {
	objects := contents{}
	private := record.File{Path: "var/lib/x", Type: record.TypeDirectory, Mode: 0o700, UID: 8, GID: 9}
	open := record.File{Path: "var/lib/x", Type: record.TypeDirectory, Mode: 0o755}
	a, b, c := manifest("a", "1", private), manifest("b", "1", open, objects.file("var/lib/x/b", "b")), manifest("c", "1", objects.file("var/lib/x/c", "c"))
	c.WouldMake.Directories = []pkginfo.MadeDirectory{{Path: "/var/lib/x"}, {Path: "/var/lib/x/made"}, {Path: "/tmp"}}
	image := make1(t, input(t, objects, a, b, c))
	layers, err := image.Layers()
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, l := range layers {
		r, err := l.Uncompressed()
		if err != nil {
			t.Fatal(err)
		}
		for tr := tar.NewReader(r); ; {
			h, err := tr.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			switch h.Name {
			case "var/lib/x/":
				n++
				if h.Mode != 0o700 || h.Uid != 8 || h.Gid != 9 {
					t.Errorf("%s has the mode %o and is of %d:%d", h.Name, h.Mode, h.Uid, h.Gid)
				}
			case "tmp/":
				if h.Mode != 0o1777 {
					t.Errorf("%s has the mode %o", h.Name, h.Mode)
				}
			}
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if n != 4 {
		t.Errorf("the directory is in %d layers, not 4", n)
	}
}

// TestCertificates has one file of all certificates, sorted.
func TestCertificates(t *testing.T) {
	objects := contents{}
	in := input(t, objects, manifest("ca-certificates", "1", objects.file("usr/share/ca-certificates/mozilla/B.crt", "b"), objects.file("usr/share/ca-certificates/mozilla/A.crt", "a\n")))
	in.Certificates = true
	if got := files(t, make1(t, in))["etc/ssl/certs/ca-certificates.crt"]; got != "a\nb\n" {
		t.Errorf("%q", got)
	}
	in = input(t, objects, manifest("a", "1"))
	in.Certificates = true
	if _, err := Make(t.Context(), in); err == nil || !strings.Contains(err.Error(), "has certificates") {
		t.Error(err)
	}
}

// TestGenerated has files that follow from others in the place of links and empty files of packages, and of nothing else.
func TestGenerated(t *testing.T) {
	objects := contents{}
	in := input(t, objects,
		manifest("words", "1", symlink("usr/lib/words/en", "/var/lib/words/en"), objects.file("usr/share/words/en.list", "en"), objects.file("usr/share/file", "file")),
		manifest("words", "2", objects.file("usr/share/words/other", "other")))
	in.Generate = func(_ context.Context, trees []*record.Manifest) (map[string][]byte, error) {
		if len(trees) != 1 || trees[0].Version != "1" {
			t.Errorf("of %d trees", len(trees))
		}
		return map[string][]byte{"usr/lib/words/en": []byte("made"), "usr/share/words/index": []byte("made"), "usr/share/words": []byte("bad"), "usr/share/file/below": []byte("bad")}, nil
	}
	got := files(t, make1(t, in))
	want := map[string]string{"usr/lib/words/en": "made", "usr/share/words/index": "made", "usr/share/words": "dir", "usr/share/file": "file", "usr/share/file/below": ""}
	for name, text := range want {
		if got[name] != text {
			t.Errorf("%s is %q, want %q", name, got[name], text)
		}
	}
	in.Generate = func(context.Context, []*record.Manifest) (map[string][]byte, error) { return nil, io.ErrUnexpectedEOF }
	if _, err := Make(t.Context(), in); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error(err)
	}
}

// TestPHP has all modules of each interface loaded, in their order, of its version alone.
func TestPHP(t *testing.T) {
	objects := contents{}
	m := manifest("php", "1",
		objects.file("usr/lib/php/8.4/sapi/cli", ""), objects.file("usr/lib/php/8.4/sapi/fpm", " "), objects.file("usr/lib/php/8.4/php.ini-production", "all"), objects.file("usr/lib/php/8.4/php.ini-production.cli", "cli"),
		objects.file("usr/share/php8.4-xml/xml/xml.ini", "; priority=15\nextension=xml.so\n"), objects.file("usr/share/php8.4-x/x/x.ini", "extension=x.so\n"), objects.file("usr/share/php8.3-y/y/y.ini", "extension=y.so\n"))
	got := files(t, make1(t, input(t, objects, m)))
	want := map[string]string{
		"etc/php/8.4/cli/php.ini": "cli", "etc/php/8.4/fpm/php.ini": "all", "etc/php/8.4/mods-available/xml.ini": "; priority=15\nextension=xml.so\n",
		"etc/php/8.4/cli/conf.d/15-xml.ini": "-> /etc/php/8.4/mods-available/xml.ini", "etc/php/8.4/fpm/conf.d/20-x.ini": "-> /etc/php/8.4/mods-available/x.ini",
		"etc/php/8.4/cli/conf.d/20-y.ini": "", "etc/php/8.3": "",
	}
	for name, text := range want {
		if got[name] != text {
			t.Errorf("%s is %q, want %q", name, got[name], text)
		}
	}
}

// TestDiff says what became of packages.
func TestDiff(t *testing.T) {
	layer := func(hex string) v1.Hash { return v1.Hash{Algorithm: "sha256", Hex: hex} }
	a := []Packaged{{"gone", "1", "amd64", layer("1")}, {"new", "1", "amd64", layer("2")}, {"same", "1", "amd64", layer("3")}, {"built", "1", "amd64", layer("4")}, {"x", "1", "amd64", layer("5")}, {"y", "1", "amd64", layer("5")}, {"z", "1", "amd64", layer("5")}}
	for range 2 { // the images of two platforms
		a = append(a, Packaged{"data", "1", "all", layer("11")})
	}
	b := []Packaged{{"data", "1", "all", layer("12")}, {"new", "2", "amd64", layer("6")}, {"same", "1", "amd64", layer("3")}, {"built", "1", "amd64", layer("7")}, {"came", "1", "arm64", layer("8")}, {"x", "1", "amd64", layer("9")}, {"y", "1", "amd64", layer("9")}, {"z", "1", "amd64", layer("10")}}
	want := []Difference{
		{"built", "amd64", Rebuilt, "1", "1"}, {"came", "arm64", Added, "", "1"}, {"data", "all", Rebuilt, "1", "1"}, {"gone", "amd64", Removed, "1", ""}, {"new", "amd64", Changed, "1", "2"},
	}
	if d := cmp.Diff(want, Diff(a, b)); d != "" {
		t.Error(d)
	}
}

// TestCheckConfig refuses what no container can run as.
func TestCheckConfig(t *testing.T) {
	for _, c := range []Config{
		{}, {User: "0"}, {User: "www-data:adm"}, {User: "1000:1000"}, {WorkingDir: "/app"}, {Ports: []string{"80", "53/udp", "65535/sctp", "1/tcp"}},
	} {
		if err := c.Check(); err != nil {
			t.Errorf("%+v: %v", c, err)
		}
	}
	for _, c := range []Config{
		{User: "a b"}, {User: ":adm"}, {User: "a:"}, {User: "-1"}, {WorkingDir: "app"}, {Ports: []string{"80", "http"}}, {Ports: []string{"0"}}, {Ports: []string{"65536"}}, {Ports: []string{"80/icmp"}}, {Ports: []string{"80-90"}},
	} {
		if c.Check() == nil {
			t.Errorf("%+v is taken", c)
		}
	}
}

// TestErofsIsMissing is found before anything is made.
func TestErofsIsMissing(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	err := Place{Kind: KindErofs, Path: filepath.Join(t.TempDir(), "x")}.Check(t.Context(), 1)
	if err == nil || !strings.Contains(err.Error(), "install erofs-utils") {
		t.Error(err)
	}
}

// TestCacheOfOthers refuses a cache that others may write to.
func TestCacheOfOthers(t *testing.T) {
	cache := t.TempDir()
	dir := filepath.Join(cache, "layers")
	open := func() error {
		l, err := OpenLayers(dir)
		if err == nil {
			err = l.Close()
		}
		return err
	}
	if err := open(); err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{cache, dir} {
		for _, mode := range []fs.FileMode{0o757, 0o775} {
			if err := os.Chmod(d, mode); err != nil {
				t.Fatal(err)
			}
			if open() == nil {
				t.Errorf("%s is taken with the mode %v", d, mode)
			}
		}
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
		if os.Geteuid() != 0 {
			continue
		}
		if err := os.Chown(d, 8, 8); err != nil {
			t.Fatal(err)
		}
		if open() == nil {
			t.Errorf("%s of another user is taken", d)
		}
		if err := os.Chown(d, 0, 0); err != nil {
			t.Fatal(err)
		}
	}
}

// TestParsePlace reads places, and refuses what is none.
func TestParsePlace(t *testing.T) {
	for text, want := range map[string]string{
		"oci:dir":                      "oci:dir",
		"oci:dir:tag":                  "oci:dir:tag",
		"oci-archive:/a/f.tar":         "oci-archive:/a/f.tar",
		"docker-archive:f.tar:x/y:1":   "docker-archive:f.tar:x/y:1",
		"dir:a:b":                      "dir:a:b",
		"docker://localhost:5000/a/b":  "docker://localhost:5000/a/b",
		"docker://example.org/a/b:tag": "docker://example.org/a/b:tag",
		"oci":                          "",
		"oci:":                         "",
		"oci:a:b/c:1.0":                "oci:a:b/c:1.0",
		"oci:a:b/":                     "",
		"oci:a:b c":                    "",
		"docker:example.org/a":         "",
		"docker://EXAMPLE/A b":         "",
		"containers-storage:x":         "",
	} {
		p, err := ParsePlace(text)
		var bad *PlaceError
		switch {
		case want == "" && !errors.As(err, &bad):
			t.Errorf("%s: %v", text, err)
		case want != "" && (err != nil || p.String() != want):
			t.Errorf("%s: %s, %v", text, p, err)
		}
	}
}

// TestRegistry has what a registry lacks sent, once, and the manifest last.
func TestRegistry(t *testing.T) {
	objects := contents{}
	var puts []string
	server := httptest.NewServer(registryServer(&puts))
	defer server.Close()
	host := strings.TrimPrefix(server.URL, "http://")
	shared := manifest("shared", "1", objects.file("usr/lib/shared", incompressible(1<<18)))
	one := make1(t, input(t, objects, manifest("a", "1", objects.file("usr/bin/a", "a")), shared))
	two := make1(t, input(t, objects, manifest("b", "1", objects.file("usr/bin/b", "b")), shared))
	push := func(image v1.Image, tag string) int64 {
		p, err := ParsePlace("docker://" + host + "/x/y:" + tag)
		if err != nil {
			t.Fatal(err)
		}
		var sent atomic.Int64
		want, err := image.Digest()
		if err != nil {
			t.Fatal(err)
		}
		got, err := p.Write(t.Context(), []v1.Image{image}, Access{Sent: &sent})
		if err != nil || got != want {
			t.Fatalf("%v, %v", got, err)
		}
		c, err := p.Read(t.Context(), Access{})
		if err != nil || c.Digest != want || len(c.Packages) != 2 {
			t.Errorf("%v, %v", c, err)
		}
		return sent.Load()
	}
	m, err := one.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	var layer int64
	for _, l := range m.Layers {
		layer = max(layer, l.Size)
	}
	first, second := push(one, "1"), push(two, "2")
	if first < layer || second >= layer/2 {
		t.Errorf("%d and %d bytes were sent; the shared layer has %d", first, second, layer)
	}
	if n := len(puts); n < 2 || !strings.Contains(puts[n-1], "/manifests/2") || slices.IndexFunc(puts, func(p string) bool { return strings.Contains(p, "/manifests/1") }) < 4 {
		t.Errorf("%v", puts)
	}
}

// incompressible returns text that hardly gets smaller.
func incompressible(n int) string {
	b := make([]byte, n)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return string(b)
}

// registryServer is a registry that keeps what is put there in memory, and notes what that is.
func registryServer(puts *[]string) http.Handler {
	next := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut {
			*puts = append(*puts, r.URL.Path)
		}
		next.ServeHTTP(w, r)
	})
}

// TestGuarded sends nothing to another machine without TLS.
func TestGuarded(t *testing.T) {
	for url, want := range map[string]bool{"http://192.168.1.1/v2/": false, "http://example.org/v2/": false, "http://127.0.0.1:5000/v2/": true, "http://localhost/v2/": true, "http://[::1]/": true, "https://example.org/": true} {
		for _, plain := range []bool{false, true} {
			sent := false
			g := &guarded{RoundTripper: roundTrip(func() { sent = true }), access: Access{PlainHTTP: plain}}
			r, err := http.NewRequestWithContext(context.Background(), http.MethodGet, url, nil)
			if err != nil {
				t.Fatal(err)
			}
			response, err := g.RoundTrip(r)
			if err == nil {
				err = response.Body.Close()
			}
			if sent != (want || plain) || (err == nil) != sent {
				t.Errorf("%s, plain %v: sent %v, %v", url, plain, sent, err)
			}
		}
	}
}

type roundTrip func()

func (r roundTrip) RoundTrip(*http.Request) (*http.Response, error) {
	r()
	return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody}, nil
}

// TestReplaceOthers keeps directories that have anything that an image has not, and the other images of a layout.
func TestReplaceOthers(t *testing.T) {
	objects := contents{}
	image := make1(t, input(t, objects, manifest("a", "1", objects.file("usr/bin/a", "a"))))
	write := func(place string) error {
		t.Helper()
		p, err := ParsePlace(place)
		if err != nil {
			t.Fatal(err)
		}
		_, err = p.Write(t.Context(), []v1.Image{image}, Access{})
		if checked := p.Check(t.Context(), 1); (checked == nil) != (err == nil) {
			t.Errorf("%s: %v, and when it was checked %v", place, err, checked)
		}
		return err
	}
	put := func(name string) {
		t.Helper()
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte("precious"), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	for _, names := range []string{"oci:oci-layout", "oci:oci-layout index.json blobs/sha256/notes", "dir:version manifest.json", "dir:version manifest.json notes"} {
		kind, names, _ := strings.Cut(names, ":")
		at := filepath.Join(dir, kind)
		for _, name := range strings.Fields(names) {
			put(filepath.Join(at, name))
		}
		if err := write(kind + ":" + at); err == nil {
			t.Errorf("a directory with %s was replaced", names)
		}
		for _, name := range strings.Fields(names) {
			if b, err := os.ReadFile(filepath.Join(at, name)); err != nil || string(b) != "precious" {
				t.Errorf("%s: %s %v", name, b, err)
			}
		}
		if err := os.RemoveAll(at); err != nil {
			t.Fatal(err)
		}
	}
	for _, kind := range []string{"oci", "dir"} {
		at := filepath.Join(dir, kind)
		if err := errors.Join(write(kind+":"+at), write(kind+":"+at)); err != nil {
			t.Fatal(err)
		}
		put(filepath.Join(at, "notes"))
		if err := write(kind + ":" + at); err == nil {
			t.Errorf("%s: an image with notes in its directory was replaced", kind)
		}
	}
	tagged := filepath.Join(dir, "tagged")
	if err := errors.Join(write("oci:"+tagged+":a"), write("oci:"+tagged+":a")); err != nil {
		t.Fatal(err)
	}
	if err := write("oci:" + tagged + ":b"); err == nil {
		t.Error("the image of another tag is lost")
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink("tagged", link); err != nil {
		t.Fatal(err)
	}
	if err := write("oci:" + link + ":a"); err != nil {
		t.Fatal(err)
	}
	if target, err := os.Readlink(link); err != nil || target != "tagged" || !isWholeLayout(tagged) {
		t.Errorf("a link to a layout leads to %q: %v", target, err)
	}
}

// TestReplace leaves what is there when the new one cannot be written.
func TestReplace(t *testing.T) {
	objects := contents{}
	m := manifest("a", "1", objects.file("usr/bin/a", "a"))
	in := input(t, objects, m)
	image := make1(t, in)
	dir := t.TempDir()
	for _, kind := range []string{"oci", "oci-archive", "docker-archive", "dir"} {
		p, err := ParsePlace(kind + ":" + filepath.Join(dir, kind))
		if err != nil {
			t.Fatal(err)
		}
		for range 2 { // the second one replaces the first
			if _, err := p.Write(t.Context(), []v1.Image{image}, Access{}); err != nil {
				t.Fatal(err)
			}
		}
	}
	packed, err := filepath.Glob(in.Layers.dir.Path("*.tar.gz"))
	if err != nil || len(packed) == 0 {
		t.Fatal(packed, err)
	}
	for _, name := range packed {
		if err := os.Truncate(name, 10); err != nil {
			t.Fatal(err)
		}
	}
	for _, kind := range []string{"oci", "oci-archive", "docker-archive", "dir"} {
		p, err := ParsePlace(kind + ":" + filepath.Join(dir, kind))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Write(t.Context(), []v1.Image{image}, Access{}); err == nil {
			t.Errorf("%s: layers that are cut off were written", kind)
		}
		if kind == "dir" {
			if !isSkopeoDir(p.Path) {
				t.Error("dir: the directory that was there is not whole")
			}
			continue
		}
		if c, err := p.Read(t.Context(), Access{}); err != nil || len(c.Packages) != 1 {
			t.Errorf("%s: %v", kind, err)
		}
	}
	left, err := filepath.Glob(filepath.Join(dir, ".hashpkg-image-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("%v, %v", left, err)
	}
}

// TestReadVerifies reads no manifest and no configuration that were changed.
func TestReadVerifies(t *testing.T) {
	objects := contents{}
	image := make1(t, input(t, objects, manifest("a", "1", objects.file("usr/bin/a", "a"))))
	other := input(t, objects, manifest("a", "1", objects.file("usr/bin/a", "a")))
	other.Platform.Architecture = "arm64"
	p := Place{Kind: KindOCI, Path: filepath.Join(t.TempDir(), "x")}
	top, err := p.Write(t.Context(), []v1.Image{image, make1(t, other)}, Access{})
	if err != nil {
		t.Fatal(err)
	}
	d, err := image.Digest()
	if err != nil {
		t.Fatal(err)
	}
	config, err := image.ConfigName()
	if err != nil {
		t.Fatal(err)
	}
	for _, blob := range []v1.Hash{top, d, config} {
		name := filepath.Join(p.Path, "blobs/sha256", blob.Hex)
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for text, want := range map[string]bool{string(b): true, string(b) + " ": false} {
			if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
			if _, err := p.Read(t.Context(), Access{}); (err == nil) != want {
				t.Errorf("%s: %v", blob, err)
			}
		}
		if err := os.WriteFile(name, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// TestReadIsBounded reads no manifest and no configuration that is larger than any is: the files are sparse.
func TestReadIsBounded(t *testing.T) {
	objects := contents{}
	image := make1(t, input(t, objects, manifest("a", "1", objects.file("usr/bin/a", "a"))))
	const large = 1 << 40
	enlarge := func(name string) {
		t.Helper()
		if err := os.Truncate(name, large); err != nil {
			t.Fatal(err)
		}
	}
	d, err := image.Digest()
	if err != nil {
		t.Fatal(err)
	}
	config, err := image.ConfigName()
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"index.json", "blobs/sha256/" + d.Hex, "blobs/sha256/" + config.Hex} {
		p := Place{Kind: KindOCI, Path: filepath.Join(t.TempDir(), "x")}
		if _, err := p.Write(t.Context(), []v1.Image{image}, Access{}); err != nil {
			t.Fatal(err)
		}
		enlarge(filepath.Join(p.Path, file))
		if _, err := p.Read(t.Context(), Access{}); err == nil || !strings.Contains(err.Error(), "has more than 16 MiB") {
			t.Errorf("%s: %v", file, err)
		}
	}
	for _, c := range []struct{ name, manifest, large string }{
		{"manifest", "", "manifest.json"},
		{"configuration", `[{"Config":"config","Layers":[]}]`, "config"},
	} {
		p := Place{Kind: KindDockerArchive, Path: filepath.Join(t.TempDir(), "x.tar")}
		f, err := os.Create(p.Path)
		if err != nil {
			t.Fatal(err)
		}
		w := tar.NewWriter(f)
		if c.manifest != "" {
			err = w.WriteHeader(&tar.Header{Name: "manifest.json", Size: int64(len(c.manifest))})
			if err == nil {
				_, err = w.Write([]byte(c.manifest))
			}
		}
		if err = errors.Join(err, w.WriteHeader(&tar.Header{Name: c.large, Size: large}), f.Close()); err != nil {
			t.Fatal(err)
		}
		enlarge(p.Path)
		// What follows is a file as large as it says, which is zeros.
		if err := os.Truncate(p.Path, large+4096); err != nil {
			t.Fatal(err)
		}
		if _, err := p.Read(t.Context(), Access{}); err == nil || !strings.Contains(err.Error(), "has more than 16 MiB") {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// TestReadChecksWhatIsOpened refuses archives in which another file than the checked one may be opened.
func TestReadChecksWhatIsOpened(t *testing.T) {
	const manifest = `[{"Config":"config.json","Layers":[]}]`
	const config = `{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}`
	type file struct{ name, text, link string }
	for name, c := range map[string]struct {
		files []file
		want  string
	}{
		"usual":               {[]file{{"config.json", config, ""}, {"manifest.json", manifest, ""}, {"layer", "a", ""}, {"layer", "b", ""}}, ""},
		"two manifests":       {[]file{{"manifest.json", manifest, ""}, {"config.json", config, ""}, {"./manifest.json", manifest, ""}}, "it has manifest.json twice"},
		"two configurations":  {[]file{{"config.json", config, ""}, {"./config.json", config, ""}, {"manifest.json", manifest, ""}}, "it has config.json twice"},
		"link, manifest":      {[]file{{"other", manifest, ""}, {"config.json", config, ""}, {"manifest.json", "", "other"}}, "its manifest.json is a link"},
		"link, configuration": {[]file{{"other", config, ""}, {"config.json", "", "other"}, {"manifest.json", manifest, ""}}, "its config.json is a link"},
	} {
		p := Place{Kind: KindDockerArchive, Path: filepath.Join(t.TempDir(), "x.tar")}
		f, err := os.Create(p.Path)
		if err != nil {
			t.Fatal(err)
		}
		w := tar.NewWriter(f)
		for _, e := range c.files {
			h := &tar.Header{Name: e.name, Size: int64(len(e.text)), Typeflag: tar.TypeReg}
			if e.link != "" {
				h.Linkname, h.Typeflag = e.link, tar.TypeSymlink
			}
			if err := w.WriteHeader(h); err != nil {
				t.Fatal(err)
			}
			if _, err := io.WriteString(w, e.text); err != nil {
				t.Fatal(err)
			}
		}
		if err := errors.Join(w.Close(), f.Close()); err != nil {
			t.Fatal(err)
		}
		if _, _, err := p.open(t.Context(), Access{}); c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// TestForget removes layers of which no image was made for long, and makes them again.
func TestForget(t *testing.T) {
	objects := contents{}
	in := input(t, objects, manifest("a", "1", objects.file("usr/bin/a", "a")), manifest("b", "1", objects.file("usr/bin/b", "b")))
	want, err := make1(t, in).Digest()
	if err != nil {
		t.Fatal(err)
	}
	dir := in.Layers.dir.Name()
	names := func() []string {
		found, err := filepath.Glob(filepath.Join(dir, "*"))
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	reopen := func() {
		l, err := OpenLayers(dir)
		if err == nil {
			err = l.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	all := names()
	age := func() {
		for _, name := range all {
			long := time.Now().Add(-layerLife - time.Hour)
			if err := os.Chtimes(name, long, long); err != nil {
				t.Fatal(err)
			}
		}
	}
	age()
	make1(t, in) // uses them
	reopen()
	if left := names(); len(all) != 6 || !slices.Equal(left, all) {
		t.Errorf("of %q are left %q", all, left)
	}
	age()
	reopen()
	if left := names(); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
	if got, err := make1(t, in).Digest(); err != nil || got != want {
		t.Errorf("%s, %v, want %s", got, err, want)
	}
}
