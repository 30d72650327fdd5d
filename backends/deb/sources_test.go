package deb_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hashpkg/hashpkg/backends"
	"github.com/hashpkg/hashpkg/backends/deb"
	"github.com/hashpkg/hashpkg/internal/testneed"
)

// writeFiles writes files below a directory.
func writeFiles(t testing.TB, dir string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// sourcesOf is what apt has in /etc/apt, by file. Each is read by hashpkg and by apt.
var sourcesOf = map[string]map[string]string{
	"nothing": {},
	"lines": {"sources.list": `# comment
deb http://deb.debian.org/debian bookworm main contrib # another
deb-src http://deb.debian.org/debian bookworm main
   deb	http://deb.debian.org/debian/   bookworm-updates	main
deb http://security.debian.org/debian-security bookworm-security main
deb http://deb.debian.org/debian buster/updates main
`},
	"options": {"sources.list": `deb [arch=amd64 signed-by=/usr/share/keyrings/x.gpg] https://user:secret@packages.example.org/deb_x/ stable main # text
deb [ signed-by=/a.gpg,/b.asc arch=amd64,arm64 ] file:///srv/archive stable main
deb [trusted=yes check-valid-until=no by-hash=force lang=de] http://x.example.org y main
deb [arch+=arm64] http://add.example.org y main
deb [arch-=i386] http://remove.example.org y main
`},
	"variable":    {"sources.list": "deb http://x.example.org/$(ARCH) stable-$(ARCH) main\ndeb http://x.example.org/$(ARCH) path/$(ARCH)/\n"},
	"flat":        {"sources.list": "deb http://x.example.org/debs ./\ndeb file:/srv/debs /\ndeb http://x.example.org/repos cuda/debian12/\n"},
	"the root":    {"sources.list": "deb file:// x main\n"},
	"no name":     {"sources.list": "deb http://) /\n"},
	"same twice":  {"sources.list": "deb http://x.example.org/debian bookworm main\n", "sources.list.d/a.list": "deb http://x.example.org/debian bookworm contrib\n"},
	"order":       {"sources.list.d/b.list": "deb http://b.example.org x main\n", "sources.list.d/a.sources": "Types: deb\nURIs: http://a.example.org\nSuites: x\nComponents: main\n", "sources.list": "deb http://c.example.org x main\n"},
	"other files": {"sources.list.d/a.list.save": "deb http://no.example.org x main\n", "sources.list.d/.b.list": "deb http://no.example.org x main\n", "sources.list.d/c d.list": "deb http://no.example.org x main\n", "sources.list.d/e.list": "deb http://yes.example.org x main\n"},
	"paragraphs": {"sources.list.d/debian.sources": `# all of Debian
Types: deb deb-src
URIs: http://deb.debian.org/debian http://ftp.de.debian.org/debian
# between
Suites: trixie trixie-updates
 trixie-backports
Components: main contrib
 non-free-firmware
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Enabled: no
Types: deb
URIs: http://off.example.org
Suites: s
Components: main

Types: deb-src
URIs: http://source.example.org
Suites: s
Components: main


types: deb
uris: http://z.example.org/
suites: s/
Trusted: yes
Architectures: amd64

Types: deb
URIs: http://add.example.org
Suites: s
Components: main
Architectures-Add: arm64
Architectures-Remove: i386
Check-Valid-Until: no
X-Repolib-Name: whatever
`},
}

// TestSourcesAsApt compares the repositories that hashpkg reads with those that apt does.
func TestSourcesAsApt(t *testing.T) {
	testneed.Programs(t, "apt-get")
	for name, files := range sourcesOf {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			writeFiles(t, dir, map[string]string{"var/lib/dpkg/arch": "amd64\ni386\n", "var/lib/dpkg/status": "", "etc/apt/sources.list.d/empty.list": "", "etc/apt/apt.conf.d/empty": "", "etc/apt/preferences.d/empty": ""})
			for name, text := range files {
				writeFiles(t, dir, map[string]string{"etc/apt/" + name: text})
			}
			sources, warnings, err := deb.Format{}.RootSources(context.Background(), openRoot(t, dir))
			if err != nil || len(warnings) > 0 {
				t.Fatal(warnings, err)
			}
			var mine []string
			names := map[string]bool{}
			for _, s := range sources {
				names[s.Name] = true
				at := strings.Replace(s.URLs[0], "user:secret@", "", 1) + " " // apt does not show who it is
				if s.Suite != "/" {
					at += s.Suite
				}
				if len(s.Components) == 0 {
					mine = append(mine, at+" - -")
				}
				architectures := s.Architectures
				if architectures == nil {
					architectures = []string{"amd64", "i386"}
				}
				for _, a := range architectures {
					for _, c := range s.Components {
						mine = append(mine, at+" "+c+" "+a)
					}
				}
			}
			if len(names) != len(sources) {
				t.Errorf("two sources have one name: %+v", sources)
			}
			slices.Sort(mine)
			mine = slices.Compact(mine)
			if diff := cmp.Diff(aptTargets(t, dir), mine); diff != "" {
				t.Errorf("(-apt +hashpkg)\n%s", diff)
			}
		})
	}
}

// aptTargets returns the indexes of packages that apt would fetch for a root: address,
// suite, component, architecture.
func aptTargets(t *testing.T, dir string) []string {
	t.Helper()
	config := filepath.Join(t.TempDir(), "apt.conf")
	text := fmt.Sprintf("Dir %q;\n#clear APT::Architectures;\nAPT::Architecture \"amd64\";\nAPT::Architectures { \"amd64\"; \"i386\"; };\nDir::State::status \"%s/var/lib/dpkg/status\";\n", dir+"/", dir)
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("apt-get", "indextargets", "--no-release-info", "--format", "$(SITE)|$(RELEASE)|$(COMPONENT)|$(ARCHITECTURE)|", "Created-By: Packages")
	cmd.Env = append(os.Environ(), "APT_CONFIG="+config, "LC_ALL=C")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil || stderr.Len() > 0 {
		t.Fatalf("%v: %s", err, stderr.String())
	}
	var targets []string
	for line := range strings.Lines(string(out)) {
		parts := strings.Split(line, "|")
		site := strings.TrimRight(parts[0], "/")
		if file, ok := strings.CutPrefix(site, "file:"); ok {
			site = "file://" + filepath.Clean("/"+strings.TrimLeft(file, "/"))
		}
		if parts[3] == "all" { // which every source may have
			continue
		}
		for i := range parts {
			if strings.HasPrefix(parts[i], "$(") { // of a source without components
				parts[i] = "-"
			}
		}
		targets = append(targets, fmt.Sprintf("%s %s %s %s", site, parts[1], parts[2], parts[3]))
	}
	slices.Sort(targets)
	return slices.Compact(targets)
}

// TestRootSources has what apt does not say of a source: its name and release, its keys,
// and why one was left out.
func TestRootSources(t *testing.T) {
	dir := t.TempDir()
	writeFiles(t, dir, map[string]string{
		"etc/apt/sources.list": `deb cdrom:[Debian GNU/Linux 12.0.0 _Bookworm_ - Official amd64 DVD]/ bookworm main
deb http://deb.debian.org/debian bookworm main
deb http://deb.debian.org/debian bookworm-updates main
deb http://deb.debian.org/debian-security bookworm-security main
deb http://deb.debian.org/debian bookworm-backports main
deb http://deb.debian.org/debian bookworm-proposed-updates main
deb http://deb.debian.org/debian-security buster/updates main
deb [signed-by=/a.gpg,ABCDEF0123 trusted=yes check-valid-until=no] https://download.example.com/linux/debian bookworm stable
deb [trusted=no] http://no.example.org x main
deb tor+http://onion.example.org x main
deb mirror+file:/etc/apt/mirrors.txt noble main
deb [trusted=yes] file:/srv/debs ./
deb http://a.example.org
deb [arch=amd64 http://b.example.org x main
rpm http://c.example.org x main
deb http://d.example.org x
deb http://e.example.org x/ main
`,
		"etc/apt/sources.list.d/inline.sources": "Types: deb\nURIs: http://z.example.org/\nSuites: s\nComponents: c\nSigned-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n abc\n -----END PGP PUBLIC KEY BLOCK-----\n",
	})
	const list, inline = "/etc/apt/sources.list", "/etc/apt/sources.list.d/inline.sources"
	source := func(name, release, url, suite, component string) backends.Source {
		s := backends.Source{Format: deb.Name, Name: name, Release: release, Suite: suite, File: list}
		if url != "" {
			s.URLs = []string{url}
		}
		if component != "" {
			s.Components = []string{component}
		}
		return s
	}
	const debian, security = "http://deb.debian.org/debian", "http://deb.debian.org/debian-security"
	want := []backends.Source{
		source("bookworm", "bookworm", debian, "bookworm", "main"),
		source("bookworm-updates", "bookworm", debian, "bookworm-updates", "main"),
		source("bookworm-security", "bookworm", security, "bookworm-security", "main"),
		source("bookworm-backports", "bookworm-backports", debian, "bookworm-backports", "main"),
		source("bookworm-proposed-updates", "bookworm-proposed-updates", debian, "bookworm-proposed-updates", "main"),
		source("buster-security", "buster", security, "buster/updates", "main"),
		source("bookworm-download.example.com", "bookworm", "https://download.example.com/linux/debian", "bookworm", "stable"),
		source("noble", "noble", "", "noble", "main"),
		source("debs", "debs", "file:///srv/debs", "./", ""),
		source("s", "s", "http://z.example.org", "s", "c"),
	}
	want[6].Keys = backends.Keys{Files: []string{"/a.gpg"}, Fingerprints: []string{"ABCDEF0123"}}
	want[6].Unsigned, want[6].IgnoreExpiry = true, true
	want[7].Lists = []backends.MirrorList{{URL: "file:///etc/apt/mirrors.txt"}}
	want[8].Unsigned = true
	want[9].File, want[9].Keys = inline, backends.Keys{Text: "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nabc\n-----END PGP PUBLIC KEY BLOCK-----"}
	sources, warnings, err := deb.Format{}.RootSources(context.Background(), openRoot(t, dir))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, sources); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	for _, part := range []string{
		"line 13: it has no address and suite", "line 14: the bracket", "line 15: the type", "line 16: the suite \"x\" has no components",
		"line 17: the suite \"x/\" is a path", "it is on a disc", "http://no.example.org x: it says that its packages are not to be trusted",
		`the method "tor+http" is not known`,
	} {
		if n := len(slices.DeleteFunc(slices.Clone(warnings), func(w string) bool { return !strings.Contains(w, part) || !strings.Contains(w, list) })); n != 1 {
			t.Errorf("%d warnings with %q: %q", n, part, warnings)
		}
	}
	if len(warnings) != 8 {
		t.Errorf("%d warnings: %q", len(warnings), warnings)
	}
}

// TestParseSources reads a file of hashpkg's own.
func TestParseSources(t *testing.T) {
	text := "Types: deb\nURIs: https://a.example.org/debian/ https://b.example.org\nSuites: x x-updates\nComponents: main\n\nEnabled: no\nTypes: deb\nURIs: tor+http://c\nSuites: x/\n"
	sources, err := deb.Format{}.ParseSources("/etc/hashpkg/x.sources", []byte(text))
	var names []string
	for _, s := range sources {
		names = append(names, s.Name+" "+s.Release+" "+s.File)
	}
	want := []string{
		"x x /etc/hashpkg/x.sources", "x-updates x /etc/hashpkg/x.sources",
		"x-b.example.org x /etc/hashpkg/x.sources", "x-updates-b.example.org x /etc/hashpkg/x.sources",
	}
	if diff := cmp.Diff(want, names); diff != "" || err != nil {
		t.Errorf("%v, (-want +got)\n%s", err, diff)
	}
	for bad, want := range map[string]string{
		"Types: deb\nURIs: http://a\nSuites: x\n":                           "line 1: the suite \"x\" has no components",
		"\n\nTypes: deb\nURIs: http://a\nSuites: $(ARCH)/\n":                "line 3: $(ARCH)",
		"Types: deb\nURIs: http://a\nSuites: x/\nArchitectures-Add: i386\n": "architectures are added",
		"Types: deb\nURIs: ftp://a\nSuites: x/\n":                           `the method "ftp"`,
		"Types: deb\nTypes: deb\nURIs: http://a\nSuites: x/\n":              "line 2: the field \"types\" is there twice",
		"deb http://a x main\n":                                             "line 1",
		"Types: rpm\nURIs: http://a\nSuites: x/\n":                          "the type \"rpm\" is not known",
		"URIs: http://a\nSuites: x/\n":                                      "the type \"\" is not known",
		"Types: deb\nURIs: http:///x\nSuites: x/\n":                         "is not an address",
		"Types: deb\nURIs: http://a\nSuites: x/../../\n":                    "leads out of the address",
		"Types: deb\nURIs: http://a\nSuites: x/\nX-Hashpkg-Name: ../x\n":    "is not a name",
		"Types: deb\nURIs: nowhere\nSuites: x/\n":                           "is not an address",
	} {
		if s, err := (deb.Format{}).ParseSources("x.sources", []byte(bad)); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "x.sources") {
			t.Errorf("%q: %+v, %v, want %q", bad, s, err, want)
		}
	}
}

// TestFormatSources reads what was written: all that a source can say.
func TestFormatSources(t *testing.T) {
	sources := append(deb.Format{}.Release("bullseye", nil, ""), deb.Format{}.Release("jammy", nil, "")...)
	sources = append(sources,
		backends.Source{
			Format: deb.Name, Name: "own", Release: "mine", URLs: []string{"file:///srv/debs"}, Suite: "./", Architectures: []string{"amd64", "i386"},
			Keys: backends.Keys{Text: "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nabc\n-----END PGP PUBLIC KEY BLOCK-----"}, Unsigned: true,
		},
		backends.Source{
			Format: deb.Name, Name: "x", Release: "x", Lists: []backends.MirrorList{{URL: "https://m.example.org/list"}, {URL: "file:///m"}}, Suite: "s", Components: []string{"main", "contrib"},
			Keys: backends.Keys{Files: []string{"/a.gpg", "/b.asc"}, Fingerprints: []string{"0123456789ABCDEF"}}, IgnoreExpiry: true,
		},
		backends.Source{Format: deb.Name, Name: "bullseye-own", Release: "bullseye", URLs: []string{"http://x"}, Suite: "bullseye", Components: []string{"main"}},
	)
	text := deb.Format{}.FormatSources(sources)
	got, err := deb.Format{}.ParseSources("", text)
	if diff := cmp.Diff(sources, got); diff != "" || err != nil {
		t.Errorf("%v, (-want +got)\n%s\n%s", err, diff, text)
	}
}

// FuzzSources looks for crashes, and for sources that do not stay the same when they are
// written and read.
func FuzzSources(f *testing.F) {
	for _, files := range sourcesOf {
		for name, text := range files {
			f.Add(strings.HasSuffix(name, ".list"), text)
		}
	}
	f.Add(true, "deb file:///[ ] 0 0\n")
	f.Fuzz(func(t *testing.T, isList bool, text string) {
		name := "a.sources"
		if isList {
			name = "a.list"
		}
		dir := t.TempDir()
		writeFiles(t, dir, map[string]string{"var/lib/dpkg/arch": "amd64\ni386\n", "etc/apt/sources.list.d/" + name: text})
		sources, _, err := deb.Format{}.RootSources(context.Background(), openRoot(t, dir))
		if err != nil {
			t.Fatal(err)
		}
		for i := range sources {
			sources[i].File = ""
			if s := sources[i]; s.Name == "" || s.Release == "" || strings.ContainsAny(s.Name+s.Release, "/ \n") || len(s.URLs)+len(s.Lists) == 0 || strings.Contains(s.Suite, "../") {
				t.Errorf("%+v", s)
			}
		}
		again, err := deb.Format{}.ParseSources("", deb.Format{}.FormatSources(sources))
		if diff := cmp.Diff(sources, again); diff != "" || err != nil {
			t.Errorf("%v, (-want +got)\n%s", err, diff)
		}
	})
}

func TestWithFingerprint(t *testing.T) {
	a, b := newKey(t, "a"), newKey(t, "b")
	found := keyring(t, a, b).WithFingerprint(strings.ToUpper(fmt.Sprintf("%x!", b.PrimaryKey.Fingerprint)))
	if e := found.Entities(); len(e) != 1 || e[0].PrimaryKey.KeyId != b.PrimaryKey.KeyId {
		t.Errorf("%d keys", len(e))
	}
}
