//go:build system

package e2e

import (
	"bytes"
	"cmp"
	"context"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashpkg/hashpkg/internal/testneed"
	"github.com/hashpkg/hashpkg/internal/testroot"
)

// TestSystemDebianSources builds sources of Debian with the addon and without, as their maintainers have it
// done, and has the packages installed.
func TestSystemDebianSources(t *testing.T) {
	testneed.Root(t)
	testneed.Network(t)
	testneed.Programs(t, "dpkg-deb", "ip", "lintian", "pivot_root", "tar")
	proxy, packages := newCachingProxy(t), buildPackages(t, "deb", "1.0")
	for i := range debianSources {
		s := &debianSources[i]
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			b := newSourceBuilder(t, s, proxy)
			here := packaging{dir: "here", umask: "022", check: true}
			plain := b.build("plain", here)
			b.root.Run("dpkg", "-i", b.bring(packages[0]), b.bring(packages[2]))
			bound := b.build("bound", packaging{addon: true, dir: here.dir, umask: here.umask, check: true})
			if !s.once {
				if beside := b.build("beside", packaging{dir: here.dir, umask: here.umask}); !maps.Equal(digests(t, plain.debs), digests(t, beside.debs)) {
					t.Errorf("without asking for the addon, where it is, the packages are others: %s", differing(t, plain.debs, beside.debs))
				}
				there := packaging{addon: true, dir: "elsewhere/and/deeper", umask: "002", env: []string{"TZ=Asia/Tokyo", "HOME=/nonexistent", "LC_ALL=C.UTF-8"}}
				if s.buildPath {
					there.dir = here.dir
				}
				elsewhere := b.build("elsewhere", there)
				if !maps.Equal(digests(t, bound.debs), digests(t, elsewhere.debs)) {
					t.Errorf("two builds differ: %s", differing(t, bound.debs, elsewhere.debs))
				}
			}
			if (plain.tests == "") != (s.passed == "") || plain.tests != bound.tests {
				t.Errorf("the package's own tests say\n%s\nand with the addon\n%s", plain.tests, bound.tests)
			}
			if was, is := hints(t, plain.debs), hints(t, bound.debs); was != is {
				t.Errorf("lintian says without the addon\n%s\nand with it\n%s", was, is)
			}
			b.compare(plain.debs, bound.debs)
			if len(s.installed) > 0 {
				b.install(plain.debs, bound.debs, packages)
			}
			if s.reprotest {
				b.reprotest()
			}
			if s.piuparts {
				b.piuparts(bound.debs)
			}
		})
	}
}

// packaging says how a source is built once.
type packaging struct {
	addon bool   // the source asks for it
	dir   string // below /build
	check bool   // the package's own tests run
	umask string
	env   []string
}

// built is what comes of it.
type built struct {
	debs  map[string]string // by their names, files of the machine
	tests string            // what the package's own tests say of themselves
}

// sourceBuilder has a source, and a root that has what it is built with.
type sourceBuilder struct {
	*debianSource
	t     *testing.T
	root  *testroot.Root
	proxy string
	dsc   string // in the root
}

const aptSources = "deb http://deb.debian.org/debian bookworm main\ndeb-src http://deb.debian.org/debian bookworm main\n"

func newSourceBuilder(t *testing.T, s *debianSource, proxy string) *sourceBuilder {
	t.Helper()
	b := &sourceBuilder{s, t, testroot.Debian(t, "bookworm", "", "build-essential", "debhelper", "fakeroot"), proxy, ""}
	b.root.Timeout = time.Hour
	start := time.Now()
	b.apt(b.root, "update")
	b.apt(b.root, "build-dep", s.name)
	b.root.Run("useradd", "-m", "-u", "1000", "builder")
	b.root.Run("mkdir", "-m", "777", "/build")
	b.apt(b.root, "source", "--download-only", s.name)
	found, err := filepath.Glob(b.root.Path("/srv") + "/*.dsc")
	if err != nil || len(found) != 1 {
		t.Fatalf("apt-get source has fetched %q (%v)", found, err)
	}
	b.dsc = "/srv/" + filepath.Base(found[0])
	t.Logf("%s can be built after %v", strings.TrimSuffix(filepath.Base(b.dsc), ".dsc"), time.Since(start).Round(time.Second))
	return b
}

// apt calls apt-get in a root, with the machine's network.
func (b *sourceBuilder) apt(root *testroot.Root, args ...string) {
	b.t.Helper()
	root.WriteFile("/etc/apt/sources.list", aptSources, 0o644)
	ctx, cancel := context.WithTimeout(b.t.Context(), root.Timeout)
	defer cancel()
	cmd := root.Command(ctx, slices.Concat([]string{
		"env", "-C", "/srv", "apt-get", "-q", "-y", "-o", "Acquire::http::Proxy=" + b.proxy, "-o", "Acquire::Check-Valid-Until=false",
		"-o", "APT::Install-Recommends=false", "-o", "Dpkg::Options::=--force-unsafe-io", "-o", "Dpkg::Use-Pty=0",
	}, args)...)
	cmd.SysProcAttr.Cloneflags &^= syscall.CLONE_NEWNET
	if out, err := cmd.CombinedOutput(); err != nil {
		b.t.Fatalf("apt-get %s: %v\n%s", strings.Join(args, " "), err, tailBytes(string(out), 4000))
	}
}

// bring copies a file of the machine into the root that builds, and returns its path there.
func (b *sourceBuilder) bring(file string) string {
	b.t.Helper()
	to := "/root/" + filepath.Base(file)
	b.root.Install(file, to)
	return to
}

// build builds the source as somebody without privileges, and without a network. What comes of it is in a directory of /build.
func (b *sourceBuilder) build(name string, p packaging) built {
	b.t.Helper()
	dir := b.unpack(p)
	start := time.Now()
	options := "parallel=2 " + b.options
	if !p.check {
		options += " nocheck"
	}
	log := b.asBuilder(slices.Concat([]string{"DEB_BUILD_OPTIONS=" + options, b.env}, p.env),
		`umask "$1"; cd "$2/source"; exec dpkg-buildpackage --no-sign --build="$3"`, p.umask, dir, cmp.Or(b.parts, "binary"))
	b.t.Logf("%s: built in %v", name, time.Since(start).Round(time.Second))
	keep(b.t, "source-"+b.name+"-"+name+".log", func(w io.Writer) error {
		_, err := io.WriteString(w, log)
		return err
	})
	if p.addon != strings.Contains(log, "dh_hashpkg") {
		b.t.Fatalf("%s: the addon runs: %v, want %v", name, !p.addon, p.addon)
	}
	b.root.Run("mv", dir, "/build/"+name)
	debs := debsIn(b.t, b.root.Path("/build/"+name))
	if len(debs) == 0 {
		b.t.Fatalf("no packages were built: %s", tailBytes(log, 4000))
	}
	made := built{debs: debs}
	if b.passed != "" {
		tests := regexp.MustCompile(b.passed).FindAllString(log, -1)
		slices.Sort(tests) // several run at a time
		made.tests = strings.Join(tests, "\n")
	}
	return made
}

// unpack unpacks the source into a directory "source", and returns the one that it is in.
func (b *sourceBuilder) unpack(p packaging) (dir string) {
	b.t.Helper()
	dir = "/build/" + p.dir
	b.asBuilder(nil, `umask "$1"; mkdir -p "$2"; cd "$2"; dpkg-source --no-check -x "$3" source`, p.umask, dir, b.dsc)
	if p.addon {
		controls, err := filepath.Glob(b.root.Path(dir) + "/source/debian/control*") // debian/clean may make it from control.in
		if err != nil {
			b.t.Fatal(err)
		}
		for _, file := range controls {
			b.edit(dir+"/source/debian/"+filepath.Base(file), regexp.MustCompile(`(?m)^Build-Depends:`), "Build-Depends: dh-sequence-hashpkg, ")
		}
		if b.noSequence {
			b.edit(dir+"/source/debian/rules", regexp.MustCompile(`(?m)^\tdh_shlibdeps.*\n`), "$0\tdh_hashpkg -a\n")
		}
	}
	return dir
}

// asBuilder runs a script in the root that builds, and returns what it said.
func (b *sourceBuilder) asBuilder(env []string, script string, args ...string) string {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), b.root.Timeout)
	defer cancel()
	cmd := b.root.PivotCommand(ctx, 1000, slices.Concat([]string{"sh", "-euc", script, "sh"}, args)...)
	cmd.Env = slices.Concat(cmd.Env, []string{"HOME=/home/builder"}, env)
	out, err := cmd.CombinedOutput()
	if err != nil {
		b.t.Fatalf("%s: %v\n%s", script, err, tailBytes(string(out), 6000))
	}
	return string(out)
}

// edit replaces text in a file of the root, which must be there.
func (b *sourceBuilder) edit(file string, pattern *regexp.Regexp, replacement string) {
	b.t.Helper()
	was := b.root.ReadFile(file)
	is := pattern.ReplaceAllString(was, replacement)
	if is == was {
		b.t.Fatalf("%s has no %s", file, pattern)
	}
	if err := os.WriteFile(b.root.Path(file), []byte(is), 0); err != nil { // it stays its owner's
		b.t.Fatal(err)
	}
}

// differing names the packages that are not the same in both.
func differing(t *testing.T, a, b map[string]string) string {
	t.Helper()
	var names []string
	sumsA, sumsB := digests(t, a), digests(t, b)
	for name := range sumsA {
		if sumsA[name] != sumsB[name] {
			names = append(names, name)
		}
	}
	for name := range sumsB {
		if sumsA[name] == "" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// compare looks at what the addon has changed: programs, which are those that the table names, and what follows from
// their sizes and digests.
func (b *sourceBuilder) compare(plain, bound map[string]string) {
	b.t.Helper()
	if a, b2 := slices.Sorted(maps.Keys(plain)), slices.Sorted(maps.Keys(bound)); !slices.Equal(a, b2) {
		b.t.Fatalf("the packages are %q, and with the addon %q", a, b2)
	}
	was, is := digests(b.t, plain), digests(b.t, bound)
	var edited []string
	for _, name := range slices.Sorted(maps.Keys(plain)) {
		if was[name] == is[name] {
			continue
		}
		if strings.HasSuffix(bound[name], ".udeb") || strings.HasSuffix(bound[name], "_all.deb") {
			b.t.Errorf("%s is another one with the addon", filepath.Base(bound[name]))
		}
		if a, b2 := listing(b.t, plain[name]), listing(b.t, bound[name]); a != b2 {
			b.t.Errorf("%s has\n%s\nand with the addon\n%s", name, a, b2)
		}
		if a, b2 := controlFiles(b.t, plain[name]), controlFiles(b.t, bound[name]); a != b2 {
			b.t.Errorf("the control files of %s are\n%s\nand with the addon\n%s", name, a, b2)
		}
		changed := changedFiles(b.t, unpacked(b.t, plain[name]), unpacked(b.t, bound[name]))
		if len(changed) == 0 {
			b.t.Errorf("%s is another one with the addon, and its files are the same", name)
		}
		edited = append(edited, changed...)
	}
	slices.Sort(edited)
	if !slices.Equal(edited, b.edited) {
		b.t.Errorf("edited are %q, want %q", edited, b.edited)
	}
}

// controlFiles returns the control files of a package, but for sizes and digests.
func controlFiles(t *testing.T, deb string) string {
	t.Helper()
	dir := t.TempDir()
	mustRun(t, "dpkg-deb", "-e", deb, dir)
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	size := regexp.MustCompile(`(?m)^Installed-Size: .*\n`)
	var text strings.Builder
	for _, f := range files {
		b, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if f.Name() == "md5sums" {
			b = regexp.MustCompile(`(?m)^\S+`).ReplaceAll(b, nil)
		}
		text.WriteString("== " + f.Name() + "\n" + size.ReplaceAllString(string(b), ""))
	}
	return text.String()
}

// changedFiles returns the paths of the regular files that differ in two directories which have the same names.
func changedFiles(t *testing.T, a, b string) []string {
	t.Helper()
	var changed []string
	err := filepath.WalkDir(a, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		name := strings.TrimPrefix(path, a+"/")
		was, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		is, err := os.ReadFile(filepath.Join(b, name))
		if err != nil {
			return err
		}
		if !bytes.Equal(was, is) {
			changed = append(changed, name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return changed
}

// reprotest has reprotest build the source twice with the addon, in all the ways that need no privileges.
func (b *sourceBuilder) reprotest() {
	b.t.Helper()
	b.apt(b.root, "install", "reprotest", "faketime", "locales-all")
	dir := b.unpack(packaging{addon: true, dir: "reprotest", umask: "022"})
	out := b.asBuilder([]string{"DEB_BUILD_OPTIONS=nocheck"}, `exec reprotest --no-diffoscope --variations="$2" --source-root "$1/source" --build-command "dpkg-buildpackage --no-sign --build=binary" "../*deb"`,
		dir, "+all,-user_group,-fileordering,-domain_host")
	if !strings.Contains(out, "Reproduction successful") {
		b.t.Errorf("reprotest says\n%s", tailBytes(out, 4000))
	}
}

// piuparts has piuparts install packages, upgrade to them those that Debian has, and purge them.
func (b *sourceBuilder) piuparts(debs map[string]string) {
	b.t.Helper()
	testneed.Programs(b.t, "piuparts", "unshare")
	base := testroot.Debian(b.t, "bookworm", "")
	args := []string{
		"--mount-proc", "--pid", "--fork", "--kill-child", "piuparts", "--existing-chroot", base.Dir, "--tmpdir", b.t.TempDir(),
		"--distribution", "bookworm", "--mirror", "http://deb.debian.org/debian main", "--proxy", b.proxy, "--log-level", "info",
	}
	for _, name := range b.installed {
		args = append(args, debs[name])
	}
	out, err := exec.CommandContext(b.t.Context(), "unshare", args...).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "PASS: All tests") {
		b.t.Errorf("piuparts: %v\n%s", err, tailBytes(string(out), 4000))
	}
}
