package system

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hashpkg/hashpkg/backends"
	"github.com/hashpkg/hashpkg/backends/deb"
	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/internal/testelf"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/sysroot"
)

const (
	loader = "/lib64/ld-linux-x86-64.so.2"
	libDir = "usr/lib/x86_64-linux-gnu/"
)

var (
	program = testelf.File{Interpreter: loader, Needed: []string{"liba.so.1"}}.Bytes()
	library = testelf.File{Soname: "liba.so.1"}.Bytes()
)

// newRoot makes a root with files, by their paths; "-> TARGET" is a link. Names that
// end with "*" are executable.
func newRoot(t *testing.T, files map[string]string) *sysroot.Root {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		name, executable := strings.CutSuffix(name, "*")
		mode := fs.FileMode(0o644)
		if executable {
			mode = 0o755
		}
		file := filepath.Join(dir, name)
		err := os.MkdirAll(filepath.Dir(file), 0o755)
		if target, ok := strings.CutPrefix(content, "-> "); ok {
			err = errors.Join(err, os.Symlink(target, file))
		} else {
			err = errors.Join(err, os.WriteFile(file, []byte(content), mode))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	root, err := sysroot.Open(dir, layout.DefaultPrefix, backends.Formats{deb.Format{}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := root.Close(); err != nil {
			t.Error(err)
		}
	})
	return root
}

func paragraph(name, state string) string {
	return "Package: " + name + "\nStatus: install ok " + state + "\nMaintainer: x <x@example.org>\nArchitecture: amd64\nVersion: 1\nDescription: x\n\n"
}

func TestPackages(t *testing.T) {
	for _, tt := range []struct {
		name, status string
		want         []string
		err          bool
	}{
		{"no database", "", nil, false},
		{"two", paragraph("a", "installed") + paragraph("b", "unpacked") + paragraph("c", "config-files"), []string{"deb:a:amd64", "deb:b:amd64"}, false},
		{"damaged", "Package: a\nno field\n", nil, true},
	} {
		files := map[string]string{}
		if tt.status != "" {
			files["var/lib/dpkg/status"] = tt.status
		}
		packages, err := Packages(t.Context(), newRoot(t, files))
		var have []string
		for _, p := range packages {
			have = append(have, p.Key.String())
		}
		if !slices.Equal(have, tt.want) || (err != nil) != tt.err {
			t.Errorf("%s: %q, error %v; want %q", tt.name, have, err, tt.want)
		}
	}
}

// TestStates changes one file after the other.
func TestStates(t *testing.T) {
	root := newRoot(t, map[string]string{"etc/passwd": "x"})
	if _, err := States(root); !errors.Is(err, backends.ErrNoDatabase) || !strings.Contains(err.Error(), root.Dir()) {
		t.Errorf("without a database: %v", err)
	}
	root = newRoot(t, map[string]string{
		"var/lib/dpkg/status": paragraph("a", "installed"), "etc/ld.so.cache": "", "etc/ld.so.conf": "", "etc/ld.so.conf.d/x.conf": "", "etc/passwd": "x",
	})
	states := func() map[string]string {
		s, err := States(root)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	before := states()
	if diff := cmp.Diff(before, states()); diff != "" {
		t.Errorf("nothing has changed, and the states have:\n%s", diff)
	}
	for i, tt := range []struct {
		file    string
		changed []string
	}{
		{"var/lib/dpkg/status", []string{"deb"}},
		{"etc/ld.so.cache", []string{"/etc/ld.so.cache"}},
		{"etc/ld.so.conf", []string{"/etc/ld.so.conf"}},
		{"etc/ld.so.conf.d", []string{"/etc/ld.so.conf.d"}},
		{"etc/passwd", nil},
	} {
		then := time.Unix(int64(1000*(i+1)), 0)
		if err := os.Chtimes(filepath.Join(root.Dir(), tt.file), then, then); err != nil {
			t.Fatal(err)
		}
		after := states()
		var changed []string
		for name := range after {
			if after[name] != before[name] {
				changed = append(changed, name)
			}
		}
		if !slices.Equal(changed, tt.changed) {
			t.Errorf("with another %s the states of %q are others, want %q", tt.file, changed, tt.changed)
		}
		before = after
	}
	if err := os.WriteFile(filepath.Join(root.Dir(), Diversions), []byte("/a\n/b\n:\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if after := states(); after[Diversions] == "" || after["deb"] == before["deb"] {
		t.Errorf("with diversions the states are %v", after)
	}
}

// scanned scans the one package of a root, whose list has the names.
func scanned(t *testing.T, files map[string]string, list ...string) *Found {
	t.Helper()
	return scannedWithin(t, 1<<30, files, list...)
}

// scannedWithin is scanned with a limit of sizes.
func scannedWithin(t *testing.T, maxSize int64, files map[string]string, list ...string) *Found {
	t.Helper()
	files["var/lib/dpkg/status"] = paragraph("a", "installed")
	files["var/lib/dpkg/info/a.list"] = "/.\n/" + strings.Join(list, "\n/") + "\n"
	root := newRoot(t, files)
	packages, err := Packages(t.Context(), root)
	if err != nil || len(packages) != 1 {
		t.Fatalf("%v, %v", packages, err)
	}
	done := 0
	found, err := Scan(t.Context(), root, packages, Digests{root}, maxSize, func(n int) { done = n })
	if err != nil || done != 1 {
		t.Fatalf("%d done, %v", done, err)
	}
	without, err := Scan(t.Context(), root, packages, nil, maxSize, func(int) {})
	if err != nil || without[0].Libraries != nil || len(without[0].Programs) != len(found[0].Programs) {
		t.Errorf("who looks for programs only finds %+v (%v)", without[0], err)
	}
	return found[0]
}

// TestScanLarge looks at no file that is larger than the limit, and reports those that
// may be programs or libraries.
func TestScanLarge(t *testing.T) {
	const limit = 1 << 16
	large := func(head string) string { return head + strings.Repeat("x", limit+1-len(head)) }
	files := map[string]string{
		"usr/bin/a*": large(string(program)), "usr/bin/script*": large("#!/bin/sh\n"), "usr/bin/data": large(string(program)),
		libDir + "liba.so.1": string(library), libDir + "libb.so.1": large(string(library)), libDir + "text.so.1": large("text"),
	}
	found := scannedWithin(t, limit, files, "usr/bin/a", "usr/bin/script", "usr/bin/data", libDir+"liba.so.1", libDir+"libb.so.1", libDir+"text.so.1")
	want := []Large{{"/usr/bin/a", limit + 1, true}, {"/" + libDir + "libb.so.1", limit + 1, false}}
	if !slices.Equal(found.Large, want) || len(found.Programs) != 1 || found.Programs[0].Path != "/usr/bin/a" {
		t.Errorf("too large are %v of the programs %v, want %v", found.Large, found.Programs, want)
	}
	if found.Libraries == nil || found.Libraries.Lookup(libDir+"libb.so.1") != nil || found.Libraries.Lookup(libDir+"liba.so.1") == nil {
		t.Errorf("the libraries are %+v", found.Libraries)
	}
}

func TestScan(t *testing.T) {
	musl := testelf.File{Interpreter: "/lib/ld-musl-x86_64.so.1"}.Bytes()
	other := testelf.File{Interpreter: "/libexec/ld-elf.so.1"}.Bytes()
	for _, tt := range []struct {
		name      string
		files     map[string]string
		list      []string // "" for the files
		programs  []string
		libraries []string // "PATH", "PATH -> TARGET", "PATH (PLACE)"
	}{
		{
			name:     "programs",
			files:    map[string]string{"usr/bin/a*": string(program), "usr/bin/notexec": string(program), libDir + "notexec.so": string(program), "usr/bin/musl*": string(musl), "usr/bin/other*": string(other), "usr/bin/script*": "#!/bin/sh\n", "usr/bin/short*": "\x7fE", "usr/bin/broken*": "\x7fELF and no more", "usr/bin/empty*": ""},
			programs: []string{"/usr/bin/a", "/usr/bin/musl"},
		},
		{
			name: "libraries",
			files: map[string]string{
				libDir + "liba.so.1.2": string(library), libDir + "liba.so.1": "-> liba.so.1.2", libDir + "liba.so": "-> liba.so.1",
				libDir + "other.so": "-> ../elsewhere.so", libDir + "text.so.1": "text", libDir + "liba.a": string(library),
			},
			libraries: []string{libDir + "liba.so -> liba.so.1", libDir + "liba.so.1 -> liba.so.1.2", libDir + "liba.so.1.2"},
		},
		{
			name:  "links only",
			files: map[string]string{libDir + "liba.so": "-> liba.so.1"},
		},
		{
			name:  "passed over",
			files: map[string]string{"usr/share/a*": string(program), "etc/a*": string(program), "usr/lib/debug/liba.so.1": string(library), "var/lib/a/liba.so.1": string(library), "boot/liba.so.1": string(library)},
		},
		{
			name:      "a root with merged /usr",
			files:     map[string]string{"usr/bin/a*": string(program), libDir + "liba.so.1": string(library), "bin": "-> usr/bin", "lib": "-> usr/lib"},
			list:      []string{"bin/a", "lib/x86_64-linux-gnu/liba.so.1"},
			programs:  []string{"/usr/bin/a"},
			libraries: []string{libDir + "liba.so.1"},
		},
		{
			name:      "a root without merged /usr",
			files:     map[string]string{"bin/a*": string(program), "lib/x86_64-linux-gnu/liba.so.1": string(library)},
			programs:  []string{"/bin/a"},
			libraries: []string{libDir + "liba.so.1 (lib/x86_64-linux-gnu/liba.so.1)"},
		},
		{
			name:      "what is gone, or out of reach",
			files:     map[string]string{libDir + "liba.so.1": string(library), "opt/loop": "-> loop", "opt/file": "x", "opt/out": "-> ../../../.."},
			list:      []string{"usr/bin/gone", "gone/deep/liba.so.1", "opt/loop/a", "opt/file/a", "opt/out/nothing/a", libDir + "liba.so.1"},
			libraries: []string{libDir + "liba.so.1"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			list := tt.list
			if list == nil {
				for name := range tt.files {
					list = append(list, strings.TrimSuffix(name, "*"))
				}
				slices.Sort(list)
			}
			found := scanned(t, tt.files, list...)
			var programs, libraries []string
			for _, p := range found.Programs {
				programs = append(programs, p.Path)
			}
			if m := found.Libraries; m != nil {
				for i := range m.Files {
					f := &m.Files[i]
					switch {
					case f.Type == record.TypeSymlink:
						libraries = append(libraries, f.Path+" -> "+f.Target)
					case f.Place != "":
						libraries = append(libraries, f.Path+" ("+f.Place+")")
					default:
						libraries = append(libraries, f.Path)
					}
					if f.Type == record.TypeFile && (f.Object != digest.Of(library) || f.Source != f.Object || f.Size != int64(len(library)) || f.Shared != record.SharedLink || f.ELF == nil) {
						t.Errorf("%s is %+v", f.Path, f)
					}
				}
			}
			if diff := cmp.Diff(tt.programs, programs); diff != "" {
				t.Errorf("programs (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.libraries, libraries); diff != "" {
				t.Errorf("libraries (-want +got):\n%s", diff)
			}
		})
	}
}
