//go:build system

package e2e

import (
	"bytes"
	"context"
	"debug/elf"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/internal/archive"
	"github.com/hashpkg/hashpkg/internal/testneed"
	"github.com/hashpkg/hashpkg/internal/testroot"
)

// realSpec is a program of which Debian has the source, built by a spec: its authors' own, which
// is in the source, or one of the directory specs.
type realSpec struct {
	name   string // of the package
	source string // of Debian
	spec   string // the path of the authors' own in the source; "" if it is in the directory specs
	edit   func(spec string) string
	args   []string // of rpmbuild
	vendor bool     // it is for Go, whose modules are a second source

	bound     []string // programs that are bound
	deps      string   // Debian's packages of what it needs besides those of the root
	work, say string   // what its program does, and what that says among others
	loads     []string // sonames that the program of the package's name finds in hashpkg's trees
}

// libdir is where libraries are put: where the loader of the root looks, which is Debian's.
const libdir = "/usr/lib/x86_64-linux-gnu"

var realSpecs = []realSpec{
	{
		name: "socat", source: "socat", spec: "socat.spec", edit: withCheck("./socat -V"),
		bound: []string{"/usr/bin/filan", "/usr/bin/procan", "/usr/bin/socat"},
		deps:  "libwrap0 libnsl2 libtirpc3",
		work: `echo hello | socat - EXEC:cat
socat UNIX-LISTEN:s,fork EXEC:'tr a-z A-Z' & sleep 1; echo hello | socat -t 5 - UNIX-CONNECT:s; kill $!`,
		say: "HELLO", loads: []string{"libssl.so.3", "libcrypto.so.3"},
	},
	{
		name: "rsync", source: "rsync", spec: "packaging/lsb/rsync.spec", edit: withCheck("chmod +x support/lsh*; make check; chmod -x support/lsh*"), // as %prep left them
		bound: []string{"/usr/bin/rsync"},
		deps:  "libpopt0 libxxhash0 liblz4-1 diffutils",
		work: `rsync -az --zc=zstd --cc=xxh128 -v /usr/share/zoneinfo/ to | grep -c /
diff -r /usr/share/zoneinfo to && echo the same`,
		say: "the same", loads: []string{"libpopt.so.0", "libzstd.so.1", "libxxhash.so.0", "libacl.so.1"},
	},
	{
		name: "xmlsec1", source: "xmlsec1", spec: "xmlsec1.spec", edit: withCheck("make check-crypto-openssl || make check"),
		bound: []string{"/usr/bin/xmlsec1"},
		deps:  "libxml2 libicu72 libxslt1.1 libltdl7",
		work: `export LD_LIBRARY_PATH=
printf 12345678 >key
cat >a.xml <<'X'
<E xmlns="urn:e"><D>text</D><Signature xmlns="http://www.w3.org/2000/09/xmldsig#"><SignedInfo><CanonicalizationMethod Algorithm="http://www.w3.org/TR/2001/REC-xml-c14n-20010315"/><SignatureMethod Algorithm="http://www.w3.org/2000/09/xmldsig#hmac-sha1"/><Reference URI=""><Transforms><Transform Algorithm="http://www.w3.org/2000/09/xmldsig#enveloped-signature"/></Transforms><DigestMethod Algorithm="http://www.w3.org/2000/09/xmldsig#sha1"/><DigestValue/></Reference></SignedInfo><SignatureValue/></Signature></E>
X
xmlsec1 --sign --crypto openssl --hmackey key --output b.xml a.xml && xmlsec1 --verify --crypto openssl --hmackey key b.xml
cat b.xml`,
		say: "OK", loads: []string{"libxml2.so.2", "libxmlsec1.so.1"},
	},
	{
		name: "jq", source: "jq", spec: "jq.spec", args: []string{"--define", "myver 1.6", "--define", "myrel 1", "--define", "devbuild no"},
		edit: func(spec string) string {
			spec = strings.Replace(spec, "%setup\n", "%setup -q -n jq-jq-1.6\nautoreconf -fi\n", 1)
			return withCheck("make check NO_VALGRIND=1")(spec) // which takes ten times as long with it
		},
		bound: []string{"/usr/bin/jq"},
		work:  `echo '{"a":["x1","y2"]}' | jq -c '.a | map(test("[xy]\\d"))'`,
		say:   "[true,true]", loads: []string{"libonig.so.5"},
	},
	{
		name: "stunnel", source: "stunnel4", spec: "tools/stunnel.spec",
		edit: func(spec string) string {
			// The configure of the source looks for no such directory, and Debian has another program of the name rename.
			spec = strings.Replace(spec, "%configure ", "%configure --with-bashcompdir=%{_datarootdir}/bash-completion/completions ", 1)
			spec = strings.Replace(spec, `rename ".${lang}" "" `, `rename.ul ".${lang}" "" `, 1)
			return withCheck("./src/stunnel -version")(spec)
		},
		args: []string{
			"--define", "fedora 37", "--define", "_unitdir /usr/lib/systemd/system", // and there is no systemd in the root
			"--define", "systemd_post() :", "--define", "systemd_preun() :", "--define", "systemd_postun_with_restart() :",
		},
		bound: []string{"/usr/bin/stunnel"}, deps: "libsystemd0 libgcrypt20 libgpg-error0 libcap2 liblz4-1 libwrap0",
		work: `stunnel -version 2>&1 | grep -i compiled; ls ` + libdir + `/stunnel`,
		say:  "Compiled", loads: []string{"libssl.so.3"},
	},
	{
		name: "brotli", source: "brotli", bound: []string{"/usr/bin/brotli"}, deps: "diffutils",
		work: `brotli -o a.br /bin/sh; brotli -dc a.br | cmp - /bin/sh && echo the same; sha256sum <a.br`,
		say:  "the same", loads: []string{"libbrotlienc.so.1", "libbrotlidec.so.1"}, // libbrotlicommon.so.1 is what these ask for
	},
	{
		name: "fribidi", source: "fribidi", bound: []string{"/usr/bin/fribidi"},
		work: `printf 'abc \327\220\327\221\327\222\n' | fribidi --nopad`,
		say:  "\327\222\327\221\327\220", loads: []string{"libfribidi.so.0"},
	},
	{
		name: "lighttpd", source: "lighttpd", bound: []string{"/usr/sbin/lighttpd"}, deps: "diffutils",
		work: `mkdir www; seq 9999 >www/a.txt
cat >c <<X
server.document-root = "$PWD/www"
server.bind = "$PWD/socket"
server.modules = ("mod_deflate", "mod_openssl", "mod_rewrite")
deflate.mimetypes = ("text/plain")
mimetype.assign = (".txt" => "text/plain")
url.rewrite-once = ("^/b(.*)" => "/a\$1")
X
lighttpd -tt -f c && lighttpd -D -f c 2>log & sleep 2
curl -s --compressed -v --unix-socket socket http://localhost/b.txt 2>headers | cmp - www/a.txt && echo the same
grep -i content-encoding headers; kill %1`,
		say: "the same", loads: []string{"libpcre2-8.so.0"},
	},
	{
		name: "python3-markupsafe", source: "markupsafe", deps: "python3.11-minimal libpython3.11-minimal libpython3.11-stdlib libexpat1",
		work: `python3.11 -c 'import markupsafe, markupsafe._speedups as s; print(s.__file__, markupsafe.escape("<a>"))'`,
		say:  "_speedups.cpython",
	},
	{
		name: "git-lfs", source: "git-lfs", vendor: true, // it needs the C library alone
		work: `git-lfs version`,
		say:  "git-lfs/3.3.0",
	},
}

// withCheck adds a section with the tests of a program to a spec that has none.
func withCheck(commands string) func(string) string {
	return func(spec string) string {
		return strings.Replace(spec, "\n%files\n", "\n%check\n"+commands+"\n\n%files\n", 1)
	}
}

// sources has apt fetch the original sources of Debian's packages, verified by their signed index, and
// returns the directory that they are in, which is in the cache.
func sources(t *testing.T, packages ...string) string {
	t.Helper()
	release, err := archive.Describe(t.Context(), archive.Options{Suite: "bookworm"})
	if err != nil {
		testneed.Unmet(t, err)
	}
	dir := filepath.Join(filepath.Dir(release.Dir), "source")
	mustRun(t, "mkdir", "-p", dir+"/.apt/lists/partial", dir+"/.apt/archives/partial")
	lock, err := os.OpenFile(dir+"/.lock", os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close() // which gives it up
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	packages = slices.DeleteFunc(packages, func(name string) bool { return orig(t, dir, name) != "" })
	if len(packages) == 0 {
		return dir
	}
	source := strings.Replace(release.Source, "deb ", "deb-src ", 1)
	conf := fmt.Sprintf("Dir::Etc::sourcelist %q;\nDir::Etc::sourceparts \"/dev/null\";\nDir::State::lists %q;\nDir::Cache %q;\nAPT::Sandbox::User \"root\";\n",
		dir+"/.apt/sources.list", dir+"/.apt/lists", dir+"/.apt")
	for name, text := range map[string]string{"sources.list": source + "\n", "apt.conf": conf} {
		if err := os.WriteFile(dir+"/.apt/"+name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{{"update"}, append([]string{"source", "--download-only", "--tar-only"}, packages...)} {
		cmd := exec.CommandContext(t.Context(), "apt-get", append([]string{"-q"}, args...)...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "APT_CONFIG="+dir+"/.apt/apt.conf")
		if out, err := cmd.CombinedOutput(); err != nil {
			testneed.Unmet(t, fmt.Errorf("apt-get %q: %w: %s", args, err, out))
		}
	}
	return dir
}

// orig returns the path of the upstream source of a package, or "".
func orig(t *testing.T, dir, source string) string {
	t.Helper()
	found, err := filepath.Glob(dir + "/*_*.orig.tar.*")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range found {
		if strings.HasPrefix(filepath.Base(file), source+"_") && !strings.HasSuffix(file, ".asc") {
			return file
		}
	}
	return ""
}

// specBuild builds one spec several times, in the same place: debugging information has its path.
type specBuild struct {
	t        *testing.T
	top, out string // where it is built, and where its packages are put, in a directory for each build
	realSpec
	text string
}

func newSpecBuild(t *testing.T, s realSpec, dir, out string) *specBuild {
	t.Helper()
	b := &specBuild{t, filepath.Join(t.TempDir(), "top"), out, s, ""}
	sources := b.top + "/SOURCES"
	mustRun(t, "mkdir", "-p", sources)
	tarball := orig(t, dir, s.source)
	mustRun(t, "cp", tarball, sources)
	unpacked := t.TempDir()
	mustRun(t, "tar", "-C", unpacked, "--strip-components=1", "-xf", tarball)
	file := filepath.Join(unpacked, s.spec)
	if s.spec == "" {
		file = filepath.Join("specs", s.name+".spec")
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	b.text = string(text)
	if s.edit != nil {
		b.text = s.edit(b.text)
	}
	if !strings.Contains(b.text, "\n%check\n") {
		t.Fatal("the spec tests nothing")
	}
	if s.spec != "" { // the tarball has the name that the spec knows
		out, err := exec.Command("rpmspec", slices.Concat(s.args, []string{"--define", "_topdir " + b.top, "--srpm", "-q", "--qf", "[%{SOURCE}\n]", b.write()})...).Output()
		if err != nil {
			t.Fatalf("rpmspec: %v", err)
		}
		name, _, _ := strings.Cut(string(out), "\n")
		// rpm looks at what is in a file, and not at its name.
		if want := filepath.Join(sources, name); want != filepath.Join(sources, filepath.Base(tarball)) {
			mustRun(t, "cp", tarball, want)
		}
	}
	if s.vendor {
		cmd := exec.CommandContext(t.Context(), "go", "mod", "vendor")
		cmd.Dir = unpacked
		if out, err := cmd.CombinedOutput(); err != nil {
			testneed.Unmet(t, fmt.Errorf("go mod vendor: %w: %s", err, out))
		}
		mustRun(t, "tar", "-C", unpacked, "-cf", sources+"/vendor.tar", "vendor")
	}
	return b
}

func (b *specBuild) write() string {
	b.t.Helper()
	file := filepath.Join(b.top, b.name+".spec")
	if err := os.WriteFile(file, []byte(b.text), 0o644); err != nil {
		b.t.Fatal(err)
	}
	return file
}

// build builds the spec, with a line in %install or without, and returns the packages by their names.
func (b *specBuild) build(builder *rpmBuilder, line string, args ...string) map[string]string {
	b.t.Helper()
	text := b.text
	b.text = strings.Replace(text, "\n%install\n", "\n%install\n"+line, 1)
	file := b.write()
	b.text = text
	out, err := os.MkdirTemp(b.out, b.name+"-")
	if err != nil {
		b.t.Fatal(err)
	}
	cmd := exec.CommandContext(b.t.Context(), "rpmbuild", slices.Concat([]string{
		"-bb", "--nodeps", "--define", "_topdir " + b.top, "--define", "_rpmdir " + out, "--define", "_build_name_fmt %%{NAME}.rpm",
		"--define", "_buildhost localhost", "--define", "use_source_date_epoch_as_buildtime 1", "--define", "clamp_mtime_to_source_date_epoch 1",
		"--define", "python /usr/bin/python3", "--define", "_libdir " + libdir, "--define", "__arch_install_post /usr/lib/rpm/check-rpaths",
	}, b.args, args, []string{file})...)
	cmd.Env = append(slices.Clone(builder.env), "HOME="+os.Getenv("HOME"), "LC_ALL=C.UTF-8")
	said, err := cmd.CombinedOutput()
	rpms := map[string]string{}
	found, globErr := filepath.Glob(out + "/*.rpm")
	if globErr != nil {
		b.t.Fatal(globErr)
	}
	for _, f := range found {
		rpms[strings.TrimSuffix(filepath.Base(f), ".rpm")] = f
	}
	if err != nil || len(rpms) == 0 {
		b.t.Fatalf("rpmbuild %q: %v\n%s", args, err, tailOf(said, 60))
	}
	if !strings.Contains(string(said), "Executing(%check)") {
		b.t.Errorf("its tests did not run: %s", said)
	}
	return rpms
}

func tailOf(out []byte, lines int) string {
	all := strings.Split(string(out), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// TestSystemRPMSpecs builds real programs by specs with and without hashpkg, installs them in a root of rpm with
// hashpkg-follow, and compares what they do.
func TestSystemRPMSpecs(t *testing.T) {
	testneed.Root(t)
	testneed.Programs(t, "rpmbuild", "rpmspec", "rpm2cpio", "cpio", "rpmlint", "gcc", "find-debuginfo", "meson", "ninja", "cmake", "autoreconf", "python3")
	var names, deps []string
	for _, s := range realSpecs {
		names = append(names, s.source)
		deps = append(deps, strings.Fields(s.deps)...)
	}
	dir, out := sources(t, names...), t.TempDir()
	plain, bound := map[string]map[string]string{}, map[string]map[string]string{}
	t.Run("build", func(t *testing.T) {
		without, with := newRPMBuilder(t, false), newRPMBuilder(t, true)
		everywhere := with.everywhere()
		for _, s := range realSpecs {
			t.Run(s.name, func(t *testing.T) {
				b := newSpecBuild(t, s, dir, out)
				plain[s.name], bound[s.name] = b.build(without, ""), b.build(with, "%hashpkg_bind\n")
				sameRPMs(t, "with hashpkg-devel, and without the line", plain[s.name], b.build(with, ""))
				sameRPMs(t, "by the line, and for all", bound[s.name], b.build(with, "", everywhere...))
				s.compare(t, plain[s.name], bound[s.name])
			})
		}
	})
	t.Run("install", func(t *testing.T) {
		without, with := testroot.RPM(t), testroot.RPM(t)
		libraries := repacked(t, deps)
		for _, root := range []*testroot.RPMRoot{without, with} {
			root.RPM(append([]string{"-U", "--oldpackage", "--nodeps", "--replacefiles", "--replacepkgs"}, libraries...)...)
		}
		with.RPM(append([]string{"-i"}, buildPackages(t, "rpm", "1.0")[:2]...)...)
		for _, s := range realSpecs {
			t.Run(s.name, func(t *testing.T) {
				if bound[s.name] == nil {
					t.Fatal("it was not built")
				}
				without, with := rpmRootFor(t, without), rpmRootFor(t, with)
				plain, bound := installed(plain[s.name]), installed(bound[s.name])
				s.install(t, without, plain)
				s.install(t, with, bound)
				s.verifies(t, without, plain)
				s.verifies(t, with, bound)
				said := s.works(t, without, with)
				s.upgrades(t, without, with, plain, bound, said)
			})
		}
		inForce(t, with.Root, "in the end")
		with.Run("hashpkg", "restore", "--all")
		for _, s := range realSpecs {
			if bound[s.name] != nil {
				s.verifies(t, with, installed(bound[s.name]))
			}
		}
	})
}

// repacked returns packages of Debian as rpms.
func repacked(t *testing.T, packages []string) (rpms []string) {
	t.Helper()
	slices.Sort(packages)
	packages = slices.Compact(packages)
	debs, err := archive.Fetch(t.Context(), archive.Options{Suite: "bookworm", Packages: packages})
	if err != nil {
		testneed.Unmet(t, err)
	}
	dir := t.TempDir()
	for i, deb := range debs {
		b, err := repackDeb(packages[i], deb)
		if err != nil {
			t.Fatal(err)
		}
		rpms = append(rpms, filepath.Join(dir, packages[i]+".rpm"))
		if err := os.WriteFile(rpms[i], b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return rpms
}

func sameRPMs(t *testing.T, what string, a, b map[string]string) {
	t.Helper()
	if !maps.EqualFunc(a, b, func(a, b string) bool { return sameBytes(t, a, b) }) {
		t.Errorf("%s, other packages are built: %v, %v", what, a, b)
	}
}

func sameBytes(t *testing.T, a, b string) bool {
	t.Helper()
	one, err := os.ReadFile(a)
	if err != nil {
		t.Fatal(err)
	}
	other, err := os.ReadFile(b)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Equal(one, other)
}

// compare compares packages that are bound with those that are not.
func (s realSpec) compare(t *testing.T, before, bound map[string]string) {
	t.Helper()
	if names := slices.Sorted(maps.Keys(bound)); !slices.Equal(names, slices.Sorted(maps.Keys(before))) {
		t.Fatalf("built %q, and without hashpkg %v", names, before)
	}
	var found []string
	for name, file := range bound {
		if out, err := exec.Command("rpm", "-K", "--nosignature", file).CombinedOutput(); err != nil {
			t.Errorf("rpm -K: %v: %s", err, out)
		}
		for _, query := range [][]string{{"--requires"}, {"--provides"}, {"--scripts"}, {"-l"}, {"--qf", "[%{FILEUSERNAME} %{FILEGROUPNAME} %{FILEMODES} %{FILEFLAGS} %{FILEMTIMES} %{FILECAPS}\n]"}} {
			var out [2]string
			for i, f := range []string{before[name], file} {
				b, err := exec.Command("rpm", slices.Concat([]string{"-qp", "--nosignature"}, query, []string{f})...).Output()
				if err != nil {
					t.Fatal(err)
				}
				out[i] = string(b)
			}
			if diff := cmp.Diff(out[0], out[1]); diff != "" {
				t.Errorf("%s, %q (-without +with hashpkg):\n%s", name, query, diff)
			}
		}
		old, dir := unpack(t, before[name]), unpack(t, file)
		changed := false
		err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			rel := strings.TrimPrefix(path, dir)
			if sameBytes(t, old+rel, path) {
				return nil
			}
			changed = true
			f, err := elf.Open(path)
			if err != nil {
				return fmt.Errorf("%s is no program, and changed: %w", rel, err)
			}
			defer f.Close()
			if dirs, err := f.DynString(elf.DT_RUNPATH); err != nil {
				return err
			} else if strings.Contains(strings.Join(dirs, ":"), farmFromBin) {
				found = append(found, rel)
			} else {
				t.Logf("%s has the note alone", rel)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		if changed == sameBytes(t, before[name], file) {
			t.Errorf("%s has programs that changed: %v", name, changed)
		}
		if out, err := exec.Command("env", "RPM_BUILD_ROOT="+dir, "/usr/lib/rpm/check-rpaths").CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("check-rpaths: %v: %s", err, out)
		}
	}
	slices.Sort(found)
	if !slices.Equal(found, s.bound) {
		t.Errorf("bound are %q, expected %q", found, s.bound)
	}
	// rpmlint takes search paths in /usr/lib and /lib only, and says of all others what it says of one here.
	lints, searching := rpmLints(t, before), 0
	for _, lint := range rpmLints(t, bound) {
		if strings.Contains(lint, "E: binary-or-shlib-defines-rpath ") && strings.HasSuffix(lint, " (RUNPATH: "+farmFromBin+")") {
			searching++
		} else if !slices.Contains(lints, lint) {
			t.Errorf("rpmlint says %s", lint)
		}
	}
	if searching != len(s.bound) {
		t.Errorf("rpmlint sees %d search paths, expected %d", searching, len(s.bound))
	}
}

var rpmLint = regexp.MustCompile(`(?m)^\S+: [EW]: .*$`)

// rpmLints returns what rpmlint has against packages.
func rpmLints(t *testing.T, rpms map[string]string) []string {
	t.Helper()
	out, err := exec.Command("rpmlint", slices.Sorted(maps.Values(rpms))...).CombinedOutput()
	// Its exit status says that there are errors.
	if said := fmt.Sprintf("%d packages and 0 specfiles checked", len(rpms)); !strings.Contains(string(out), said) {
		t.Fatalf("rpmlint: %v: %s", err, out)
	}
	return rpmLint.FindAllString(string(out), -1)
}

// rpmRootFor returns a root that fails another test.
func rpmRootFor(t *testing.T, root *testroot.RPMRoot) *testroot.RPMRoot {
	return &testroot.RPMRoot{Root: root.With(t), New: root.New, Old: root.Old}
}

// installed returns the packages that are installed: all but those for developers.
func installed(rpms map[string]string) map[string]string {
	rpms = maps.Clone(rpms)
	maps.DeleteFunc(rpms, func(name, _ string) bool {
		return strings.HasSuffix(name, "-devel") || strings.HasSuffix(name, "-debuginfo") || strings.HasSuffix(name, "-debugsource")
	})
	return rpms
}

// install has rpm install packages in the place of those that are there.
func (s realSpec) install(t *testing.T, root *testroot.RPMRoot, rpms map[string]string) {
	t.Helper()
	args := []string{"-U", "--oldpackage", "--replacepkgs", "--nodeps", "--replacefiles"}
	if _, err := root.RPMErr(t.Context(), append(args, slices.Sorted(maps.Values(rpms))...)...); err != nil {
		t.Fatal(err)
	}
	for name, file := range rpms {
		query := []string{"-q", "--qf", "%{NAME}-%{VERSION}-%{RELEASE} %{SHA256HEADER}\n"}
		out, err := exec.Command("rpm", slices.Concat(query, []string{"--nosignature", "-p", file})...).Output()
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(out), root.RPM(append(query, name)...)); diff != "" {
			t.Fatalf("another %s is installed (-expected +installed):\n%s", name, diff)
		}
	}
}

// verifies has rpm compare the files of packages with what the packages say of them.
func (s realSpec) verifies(t *testing.T, root *testroot.RPMRoot, rpms map[string]string) {
	t.Helper()
	args := append([]string{"-V", "--nodeps"}, slices.Sorted(maps.Keys(rpms))...)
	if out, err := root.RPMErr(context.Background(), args...); err != nil || strings.TrimSpace(out) != "" {
		t.Errorf("rpm -V: %v: %s", err, out)
	}
}

// upgrades goes from the packages that are installed to others, and back: upgrades to packages that
// were converted, and downgrades and reinstallations between those that were built with hashpkg and without.
// All do the same work, and rpm finds what it has installed, but for programs that hashpkg has edited on its own.
func (s realSpec) upgrades(t *testing.T, without, with *testroot.RPMRoot, plain, bound map[string]string, said string) {
	t.Helper()
	converted := map[string]string{}
	for name, file := range plain {
		converted[name] = filepath.Join(t.TempDir(), name+".rpm")
		mustRun(t, hashpkg(t), "convert", "-o", converted[name], file)
	}
	for _, step := range []struct {
		what   string
		root   *testroot.RPMRoot
		rpms   map[string]string
		edited bool // by hashpkg, once they are installed
	}{
		{"converted ones without hashpkg", without, converted, false},
		{"bound ones without hashpkg", without, bound, false},
		{"plain ones without hashpkg", without, plain, false},
		{"converted ones with hashpkg", with, converted, false},
		{"plain ones with hashpkg", with, plain, len(s.bound) > 0},
		{"bound ones with hashpkg", with, bound, false},
	} {
		t.Run(step.what, func(t *testing.T) {
			root := rpmRootFor(t, step.root)
			s.install(t, root, step.rpms)
			if step.edited {
				if _, err := root.RPMErr(t.Context(), "-V", "--nodeps", s.name); err == nil {
					t.Error("hashpkg has edited no program")
				}
				inForce(t, root.Root, step.what)
			} else {
				s.verifies(t, root, step.rpms)
			}
			if diff := cmp.Diff(said, s.working(root)); diff != "" {
				t.Errorf("it does other things (-before +after):\n%s", diff)
			}
		})
	}
}

// works has the program do its work in both roots, looks where it finds its libraries, and returns
// what it says without hashpkg.
func (s realSpec) works(t *testing.T, without, with *testroot.RPMRoot) (said string) {
	t.Helper()
	said = s.working(without)
	if !strings.Contains(said, s.say) {
		t.Fatalf("without hashpkg it says %s", said)
	}
	if diff := cmp.Diff(said, s.working(with)); diff != "" {
		t.Errorf("it does other things (-without +with hashpkg):\n%s", diff)
	}
	if len(s.bound) == 0 {
		return said
	}
	program := s.bound[slices.IndexFunc(s.bound, func(file string) bool { return filepath.Base(file) == s.name })]
	loaded := with.Loads()[program]
	if loaded.Err != "" {
		t.Errorf("%s: %s", program, loaded.Err)
	}
	for _, soname := range s.loads {
		if file := loaded.Libraries[soname]; !strings.HasPrefix(filepath.Clean(file), "/var/sys/") {
			t.Errorf("%s loads %s as %q", program, soname, file)
		}
	}
	t.Logf("%s loads %q", program, loaded.Libraries)
	return said
}

// working has the program do its work, and returns what it says.
func (s realSpec) working(root *testroot.RPMRoot) string {
	return root.Run("sh", "-c", "rm -rf /tmp/w; mkdir /tmp/w; cd /tmp/w; "+s.work)
}

// TestSystemRPMBuildSystem has the rpm of trixie build a spec that says how only by BuildSystem, which rpm 4.20 and later
// know: without hashpkg, with hashpkg-devel, and bound.
func TestSystemRPMBuildSystem(t *testing.T) {
	testneed.Root(t)
	root := testroot.Debian(t, "trixie", "", "rpm", "gcc", "libc6-dev", "make")
	const spec = `%global debug_package %{nil}
Name: greet
Version: 1.0
Release: 1
Summary: A test
License: MIT
BuildSystem: plain
%description
A test.
%prep
%setup -q -T -c
echo 'int puts(const char *); int greet(void) { return puts("hello") < 0; }' >lib.c
echo 'int greet(void); int main(void) { return greet(); }' >main.c
cat >Makefile <<'X'
all:
	gcc -O2 -shared -fPIC -Wl,-soname,libgreet.so.1 -o libgreet.so.1 lib.c
	gcc -O2 -o greet main.c ./libgreet.so.1
install:
	install -D -t $(DESTDIR)/usr/bin greet
	install -D -t $(DESTDIR)/usr/lib64 libgreet.so.1
X
%files
/usr/bin/greet
/usr/lib64/libgreet.so.1
`
	const asked = spec + "%install -a\n%hashpkg_bind\n"
	build := func(name, text string, args ...string) string {
		t.Helper()
		root.WriteFile("/build/greet.spec", text, 0o644)
		out := "/build/" + name
		said := root.Run(slices.Concat([]string{
			"env", "SOURCE_DATE_EPOCH=1700000000", "rpmbuild", "-bb", "--nodeps", "--define", "_topdir /build/top",
			"--define", "_rpmdir " + out, "--define", "_build_name_fmt %%{NAME}.rpm", "--define", "_buildhost localhost",
			"--define", "use_source_date_epoch_as_buildtime 1", "--define", "clamp_mtime_to_source_date_epoch 1",
		}, args, []string{"/build/greet.spec"})...)
		file := root.Path(out + "/greet.rpm")
		if got, want := runPathOf(t, unpack(t, file)+"/usr/bin/greet"), map[bool]string{true: farmFromBin}[strings.HasPrefix(name, "bound")]; got != want {
			t.Errorf("%s: the RUNPATH is %q, expected %q: %s", name, got, want, said)
		}
		return file
	}
	// rpm itself brings none, and distributions bring theirs.
	root.WriteFile("/usr/lib/rpm/macros.d/macros.plain", `%buildsystem_plain_conf() :
%buildsystem_plain_build() make %{?_smp_mflags}
%buildsystem_plain_install() make install DESTDIR=%{buildroot}
`, 0o644)
	plain := build("without", spec)
	root.Install(hashpkg(t), "/usr/bin/hashpkg")
	root.Install("../packaging/rpm/brp-hashpkg", "/usr/lib/rpm/brp-hashpkg")
	root.Install("../packaging/rpm/macros.hashpkg", "/usr/lib/rpm/macros.d/macros.hashpkg")
	root.Run("sh", "-c", "rpm --eval %hashpkg_bind_all >/build/macros")
	bound := build("bound", asked)
	for _, other := range []struct{ file, same, what string }{
		{build("unasked", spec), plain, "with hashpkg-devel"},
		{build("not-this-time", asked, "--define", "_hashpkg_bind 0"), plain, "with the line and without its effect"},
		{build("bound-again", asked), bound, "a second time"},
		{build("bound-everywhere", spec, "--load", "/build/macros"), bound, "bound for all"},
	} {
		if !sameBytes(t, other.file, other.same) {
			t.Errorf("%s, another package is built", other.what)
		}
	}
	root.Run("rpm", "-K", "--nosignature", "/build/bound/greet.rpm")
	root.Run("rpm", "-i", "--nodeps", "/build/bound/greet.rpm")
	if out := root.Run("rpm", "-V", "--nodeps", "greet"); out != "" {
		t.Errorf("rpm -V: %s", out)
	}
	if out := root.Run("env", "LD_LIBRARY_PATH=/usr/lib64", "greet"); out != "hello\n" {
		t.Errorf("the program says %q", out)
	}
}
