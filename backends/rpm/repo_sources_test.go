package rpm

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hashpkg/hashpkg/backends"
	"github.com/hashpkg/hashpkg/internal/testrpm"
)

// rootOf returns a root whose rpm has packages installed.
func rootOf(t testing.TB, packages ...testrpm.Package) string {
	t.Helper()
	dir := t.TempDir()
	var blobs [][]byte
	for _, p := range packages {
		p.Files = []testrpm.File{{Path: "/usr/share/" + p.Name}}
		blobs = append(blobs, storedPackage(t, p, "\x00"))
	}
	writeInto(t, dir, databaseDirs[0]+"/rpmdb.sqlite", string(sqliteDatabase(blobs...)))
	return dir
}

// fedoraRepo is fedora.repo as Fedora 41 has it.
const fedoraRepo = `[fedora]
name=Fedora $releasever - $basearch
#baseurl=http://download.example/pub/fedora/linux/releases/$releasever/Everything/$basearch/os/
metalink=https://mirrors.fedoraproject.org/metalink?repo=fedora-$releasever&arch=$basearch
enabled=1
countme=1
metadata_expire=7d
repo_gpgcheck=0
type=rpm
gpgcheck=1
gpgkey=file:///etc/pki/rpm-gpg/RPM-GPG-KEY-fedora-$releasever-$basearch
skip_if_unavailable=False

[fedora-debuginfo]
name=Fedora $releasever - $basearch - Debug
metalink=https://mirrors.fedoraproject.org/metalink?repo=fedora-debug-$releasever&arch=$basearch
enabled=0
`

// openSUSERepo is a file of openSUSE Leap.
const openSUSERepo = `[repo-oss]
name=Main Repository (OSS)
enabled=1
autorefresh=1
baseurl=https://download.opensuse.org/distribution/leap/$releasever/repo/oss/
type=rpm-md
keeppackages=0

[repo-cd]
name=A disk
enabled=1
baseurl=cd:/?devices=/dev/sr0
`

func TestRootSources(t *testing.T) {
	dir := rootOf(t, testrpm.Package{Name: "fedora-release-common", Version: "41", Release: "27", Arch: "noarch", Provides: []string{"system-release", "system-release(41)"}})
	writeInto(t, dir, "etc/yum.repos.d/fedora.repo", fedoraRepo)
	writeInto(t, dir, "etc/dnf/vars/mirror", "m.example\nsecond line\n")
	writeInto(t, dir, "etc/dnf/dnf.conf", "[main]\ngpgcheck=True\ninstallonly_limit=3\n")
	writeInto(t, dir, "etc/yum.repos.d/own.repo", `[own]
name = Own
baseurl = http://$mirror/one/$basearch/
          https://${mirror}/two/${basearch}
gpgkey = https://keys.example/a,
  file:///etc/b
priority = 10
[cheap]
baseurl=file:/srv/cheap
cost=1
gpgcheck=0
[unchecked]
baseurl=https://unchecked.example
sslverify=0
[http-key]
baseurl=https://h.example
gpgkey=http://h.example/key
[unset]
baseurl=https://h.example/$nothing
[listed]
mirrorlist=https://lists.example/list?arch=$arch
[meta]
mirrorlist=https://lists.example/metalink?arch=$arch
repo_gpgcheck=1
`)
	writeInto(t, dir, "etc/yum.repos.d/zz.repo", "[own]\nbaseurl=https://other.example\n")
	writeInto(t, dir, "etc/yum.repos.d/ignored.repo.rpmsave", "[saved]\nbaseurl=https://other.example\n")
	writeInto(t, dir, "etc/zypp/repos.d/leap.repo", openSUSERepo)
	all, warnings, err := Format{}.RootSources(t.Context(), openRoot(t, dir))
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, s := range all {
		lines = append(lines, fmt.Sprintf("%s of %s in %s: %q %v keys %q unsigned %v packages %v", s.Name, s.Release, s.File, s.URLs, s.Lists, s.Keys.Files, s.Unsigned, s.PackagesSigned))
	}
	want := []string{
		`own of own in /etc/yum.repos.d/own.repo: ["http://m.example/one/x86_64" "https://m.example/two/x86_64"] [] keys ["https://keys.example/a" "/etc/b"] unsigned true packages true`,
		`cheap of cheap in /etc/yum.repos.d/own.repo: ["file:///srv/cheap"] [] keys [] unsigned true packages false`,
		`fedora of fedora-41 in /etc/yum.repos.d/fedora.repo: [] [{https://mirrors.fedoraproject.org/metalink?repo=fedora-41&arch=x86_64 true}] keys ["/etc/pki/rpm-gpg/RPM-GPG-KEY-fedora-41-x86_64"] unsigned true packages true`,
		`listed of listed in /etc/yum.repos.d/own.repo: [] [{https://lists.example/list?arch=x86_64 false}] keys [] unsigned true packages true`,
		`meta of meta in /etc/yum.repos.d/own.repo: [] [{https://lists.example/metalink?arch=x86_64 true}] keys [] unsigned false packages true`,
		`repo-oss of repo-oss in /etc/zypp/repos.d/leap.repo: ["https://download.opensuse.org/distribution/leap/41/repo/oss"] [] keys [] unsigned true packages true`,
	}
	if !slices.Equal(lines, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(lines, "\n"), strings.Join(want, "\n"))
	}
	for i, says := range []string{
		"[unchecked]: it has sslverify = 0", "[http-key]: the key \"http://h.example/key\" is neither", "[unset]: the root does not say what $nothing is",
		"another file has a source [own]", "[repo-cd]: \"cd:/?...\" is not an http",
	} {
		if i >= len(warnings) || !strings.Contains(warnings[i], says) {
			t.Errorf("warning %d of %q does not say %q", i, warnings, says)
		}
	}
	if len(warnings) != 5 {
		t.Errorf("%q", warnings)
	}
}

// TestReleasever has the packages that say which release a root is of.
func TestReleasever(t *testing.T) {
	for _, tc := range []struct {
		packages []testrpm.Package
		want     string
	}{
		{[]testrpm.Package{{Name: "bash", Version: "5.2"}}, ""},
		{[]testrpm.Package{{Name: "fedora-release-common", Version: "41", Release: "27", Provides: []string{"system-release"}}}, "41"},
		{[]testrpm.Package{{Name: "centos-stream-release", Version: "9.0", Release: "24.el9", Provides: []string{"system-release = 9.0-24", "system-release(releasever) = 9"}}}, "9"},
		{[]testrpm.Package{{Name: "a", Version: "1", Provides: []string{"redhat-release"}}, {Name: "b", Version: "2", Provides: []string{"system-release"}}}, "2"},
		{[]testrpm.Package{{Name: "openSUSE-release", Version: "15.6", Provides: []string{"distribution-release"}}}, "15.6"},
		{[]testrpm.Package{{Name: "redhat-release", Version: "7.9", Epoch: "2"}}, "7.9"},
	} {
		got, err := rootRelease(t.Context(), openRoot(t, rootOf(t, tc.packages...)))
		if err != nil || got != tc.want {
			t.Errorf("%+v: %q, %v, want %q", tc.packages, got, err, tc.want)
		}
	}
	if got, err := rootRelease(t.Context(), openRoot(t, t.TempDir())); got != "" || err != nil {
		t.Errorf("without a database: %q, %v", got, err)
	}
}

func TestExpand(t *testing.T) {
	dir := t.TempDir()
	writeInto(t, dir, "etc/yum/vars/a", "from yum\n")
	writeInto(t, dir, "etc/dnf/vars/a", "from dnf\n")
	writeInto(t, dir, "etc/yum/vars/b", "b")
	writeInto(t, dir, "etc/dnf/vars/empty", "\n")
	writeInto(t, dir, "etc/dnf/vars/releasever", "9.4")
	writeInto(t, dir, "etc/dnf/vars/long", strings.Repeat("x", maxVariable))
	v := &variables{ctx: t.Context(), root: openRoot(t, dir), architecture: "i686"}
	for text, want := range map[string]string{
		"":                         "",
		"plain":                    "plain",
		"$a/$b":                    "from dnf/b",
		"${a}x${b}":                "from dnfxb",
		"$basearch $arch":          "i386 i686",
		"$releasever.x":            "9.4.x",
		"${releasever_major}":      "9",
		"$releasever_minor":        "4",
		"${none:-word}":            "word",
		"${empty:-word}":           "word",
		"${b:-word}":               "b",
		"${b:+word}":               "word",
		"x${none:+word}y":          "xy",
		"${b:-}":                   "b",
		"$none":                    "!does not say",
		"$empty":                   "!does not say",
		"$":                        "!not a variable",
		"$/":                       "!not a variable",
		"${a":                      "!not a variable",
		"${}":                      "!not a variable",
		"${a?}":                    "!not a variable",
		"${b:-$a}":                 "!not a variable",
		strings.Repeat("$long", 9): "!more than",
	} {
		got, err := v.expand(text)
		if says, fails := strings.CutPrefix(want, "!"); fails {
			if err == nil || !strings.Contains(err.Error(), says) {
				t.Errorf("%.40q is %.40q: %v", text, got, err)
			}
		} else if err != nil || got != want {
			t.Errorf("%.40q is %q, want %q: %v", text, got, want, err)
		}
	}
}

func TestArchitectures(t *testing.T) {
	for _, tc := range []struct {
		class, order byte
		machine      string
		want         string
	}{
		{2, 1, "\x3e\x00", "x86_64 i686 i586 i486 i386"},
		{1, 1, "\x03\x00", "i686 i586 i486 i386"},
		{2, 1, "\xb7\x00", "aarch64"},
		{2, 2, "\x00\x16", "s390x s390"},
		{2, 1, "\x15\x00", "ppc64le"},
	} {
		dir := t.TempDir()
		writeInto(t, dir, "usr/bin/sh", "\x7fELF"+string([]byte{tc.class, tc.order})+strings.Repeat("\x00", 12)+tc.machine)
		all, err := Format{}.Architectures(openRoot(t, dir))
		if err != nil || strings.Join(all, " ") != tc.want {
			t.Errorf("%x: %q, %v", tc.machine, all, err)
		}
	}
	here, err := Format{}.Architectures(openRoot(t, "/"))
	empty, err2 := Format{}.Architectures(openRoot(t, t.TempDir()))
	if err != nil || err2 != nil || !slices.Equal(here, empty) {
		t.Errorf("this machine runs %q, %v, and an empty root %q, %v", here, err, empty, err2)
	}
}

// TestReleases has mirrors that are named, and such as a root uses already.
func TestReleases(t *testing.T) {
	address := func(all []backends.Source) string {
		var addresses []string
		for _, s := range all {
			address := strings.Join(s.URLs, " ")
			for _, l := range s.Lists {
				address += l.URL
			}
			addresses = append(addresses, s.Name+" "+address)
		}
		return strings.Join(addresses, "\n")
	}
	known := func(url string) []backends.Source {
		return []backends.Source{{Format: "deb", URLs: []string{url}}, {Format: Name, URLs: []string{"http://x.example", url}}}
	}
	for _, tc := range []struct {
		name   string
		known  []backends.Source
		mirror string
		want   string
	}{
		{"fedora-41", nil, "", "fedora-41 https://mirrors.fedoraproject.org/metalink?repo=fedora-41&arch=$basearch\n" +
			"fedora-41-updates https://mirrors.fedoraproject.org/metalink?repo=updates-released-f41&arch=$basearch"},
		{"fedora-41", nil, "http://m.example/fedora/", "fedora-41 http://m.example/fedora/releases/41/Everything/$basearch/os\nfedora-41-updates http://m.example/fedora/updates/41/Everything/$basearch"},
		{"fedora-42", known("http://near.example/f/releases/41/Everything/x86_64/os"), "", "fedora-42 http://near.example/f/releases/42/Everything/$basearch/os\nfedora-42-updates http://near.example/f/updates/42/Everything/$basearch"},
		{"fedora-42", known("http://near.example/f/releases/41/Everything/x86_64/os"), "http://m.example", "fedora-42 http://m.example/releases/42/Everything/$basearch/os\nfedora-42-updates http://m.example/updates/42/Everything/$basearch"},
		{"fedora-rawhide", nil, "", "fedora-rawhide https://mirrors.fedoraproject.org/metalink?repo=rawhide&arch=$basearch"},
		{"epel-9", nil, "http://m.example/epel", "epel-9 http://m.example/epel/9/Everything/$basearch\n" +
			"epel-9-baseos https://mirrors.centos.org/metalink?repo=centos-baseos-9-stream&arch=$basearch&protocol=https,http\n" +
			"epel-9-appstream https://mirrors.centos.org/metalink?repo=centos-appstream-9-stream&arch=$basearch&protocol=https,http\n" +
			"epel-9-crb https://mirrors.centos.org/metalink?repo=centos-crb-9-stream&arch=$basearch&protocol=https,http"},
		{"opensuse-tumbleweed", known("https://near.example/suse/distribution/leap/15.5/repo/oss"), "", "opensuse-tumbleweed https://download.opensuse.org/tumbleweed/repo/oss\nopensuse-tumbleweed-updates https://download.opensuse.org/update/tumbleweed"},
		{"opensuse-leap-15.5", known("https://near.example/suse/distribution/leap/15.6/repo/oss"), "", "opensuse-leap-15.5 https://near.example/suse/distribution/leap/15.5/repo/oss\n" +
			"opensuse-leap-15.5-updates https://near.example/suse/update/leap/15.5/oss\nopensuse-leap-15.5-sle-updates https://near.example/suse/update/leap/15.5/sle\nopensuse-leap-15.5-backports-updates https://near.example/suse/update/leap/15.5/backports"},
		{"fedora-4", nil, "", ""},
		{"fedora-041", nil, "", ""},
		{"fedora-41x", nil, "", ""},
		{"fedora-../x", nil, "", ""},
		{"opensuse-leap-15", nil, "", ""},
	} {
		if got := address(Format{}.Release(tc.name, tc.known, tc.mirror)); got != tc.want {
			t.Errorf("%s:\n%s\nwant\n%s", tc.name, got, tc.want)
		}
	}
	for url, want := range map[string]string{
		"https://near.example/suse/distribution/leap/15.6/repo/oss":        "opensuse-leap-15.6",
		"https://near.example/update/tumbleweed":                           "opensuse-tumbleweed",
		"https://m.example/9-stream/BaseOS/aarch64/os":                     "centos-stream-9",
		"https://m.example/9-stream/HighAvailability/aarch64/os":           "",
		"https://m.example/releases/41/Everything/x86_64/os/x":             "",
		"https://m.example/linux/development/rawhide/Everything/x86_64/os": "fedora-rawhide",
	} {
		if got, _ := knownRelease(&backends.Source{Format: Name, URLs: []string{url}}); got != want {
			t.Errorf("%s is of %q, want %q", url, got, want)
		}
	}
}

func TestParseINI(t *testing.T) {
	for text, want := range map[string]string{
		"[a]\nb=c\n[d]\n":                     "a{b=c} d{}",
		"[a]\nb = c = d \r\n":                 "a{b=c = d}",
		"[a]\nb=c\n  d\n\te\n":                "a{b=c\nd\ne}",
		"; x\n# y\n\n[a]\n":                   "a{}",
		"[a]\nb=\n":                           "a{b=}",
		"b=c\n":                               "!line 1",
		"[a\n":                                "!line 1",
		"[a]\nb\n":                            "!line 2",
		"[a]\n=c\n":                           "!line 2",
		"[a]\n b\n":                           "!line 2",
		"[a]\nb=\x1b[31m\n":                   "!line 2 has control characters",
		strings.Repeat("[a]\n", maxSources+1): "!one too many",
	} {
		all, err := parseINI(text)
		var parts []string
		for _, s := range all {
			var values []string
			for key, value := range s.values {
				values = append(values, key+"="+value)
			}
			slices.Sort(values)
			parts = append(parts, s.id+"{"+strings.Join(values, " ")+"}")
		}
		if says, fails := strings.CutPrefix(want, "!"); fails {
			if err == nil || !strings.Contains(err.Error(), says) {
				t.Errorf("%.40q: %v", text, err)
			}
		} else if got := strings.Join(parts, " "); err != nil || got != want {
			t.Errorf("%q is %q, want %q: %v", text, got, want, err)
		}
	}
}

func FuzzSources(f *testing.F) {
	f.Add([]byte(fedoraRepo))
	f.Add([]byte(openSUSERepo))
	f.Add([]byte("[a]\nbaseurl=http://x/$a\n  https://${b:-c}\ngpgkey=file:///k\n"))
	dir := f.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "etc/dnf/vars"), 0o755); err != nil {
		f.Fatal(err)
	}
	writeInto(f, dir, "etc/dnf/vars/releasever", "../../x y")
	root := openRoot(f, dir)
	f.Fuzz(func(t *testing.T, text []byte) {
		for _, v := range []*variables{nil, {ctx: t.Context(), root: root}} {
			all, _ := parseSources("/etc/zypp/repos.d/x.repo", text, nil, v)
			for _, s := range all {
				if !isSourceName(s.Name) || len(s.URLs)+len(s.Lists) == 0 {
					t.Errorf("%+v", s)
				}
				for _, u := range s.URLs {
					if strings.ContainsAny(u, " \n\x00") || strings.HasSuffix(u, "/") {
						t.Errorf("%q", u)
					}
				}
				for _, k := range s.Keys.Files {
					if !strings.HasPrefix(k, "/") && !strings.HasPrefix(k, "https://") {
						t.Errorf("%q", k)
					}
				}
			}
		}
	})
}
