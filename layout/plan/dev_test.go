package plan

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hashpkg/hashpkg/layout/record"
)

// movable is a package whose dev has some of what texts name.
func movable() *devPaths {
	c := newCandidate(payloadOf(map[string]string{
		"usr/include/a/a.h": "", "usr/lib/liba.a": "", "usr/lib/x86_64-linux-gnu/l.so": "", "usr/lib64/l.so": "", "usr/share/a/b/c": "", "usr/local/x": "",
		"usr/share/pkgconfig/a.pc": "",
	}), nil)
	c.addDev()
	c.m.Index()
	return newDevPaths(c.m)
}

func TestMoveText(t *testing.T) {
	paths := movable()
	for text, want := range map[string]string{
		"":                                 "",
		"/usr":                             "D",
		"prefix=/usr\n":                    "prefix=D\n",
		"-I/usr/include -L/usr/lib":        "-ID/include -LD/lib",
		`"/usr/include;/usr/lib"`:          `"D/include;D/lib"`,
		"a:/usr/share/a/b/c:/usr":          "a:D/share/a/b/c:D",
		"/usr/share/a/b/d /usr/bin/tool":   "/usr/share/a/b/d /usr/bin/tool",
		"/usr/lib/liba.a;/usr/lib/libz.so": "D/lib/liba.a;/usr/lib/libz.so",
		"/usr/include/${x} /usr/none/$x":   "D/include/${x} /usr/none/$x",
		"/usr/include/a/../a/a.h":          "D/include/a/../a/a.h",
		"/usr/local /usr/local/x":          "/usr/local /usr/local/x",
		"/usrlocal /var/usr x/usr":         "/usrlocal /var/usr x/usr",
		"${prefix}/usr -D/usr":             "${prefix}/usr -D/usr",
		"GROUP(/lib64/l.so /lib/x)":        "GROUP(D/lib64/l.so /lib/x)",
		"( /lib/x86_64-linux-gnu/l.so )":   "( D/lib/x86_64-linux-gnu/l.so )",
		"( /lib/x86_64-linux-gnu/m.so )":   "( /lib/x86_64-linux-gnu/m.so )",
		"/lib/x86_64-linux-gnu":            "/lib/x86_64-linux-gnu",
		"/":                                "/",
		"/us":                              "/us",
	} {
		if have, err := moveText([]byte(text), "D", paths.has); err != nil || string(have) != want {
			t.Errorf("%q is %q, %v, want %q", text, have, err, want)
		}
	}
	long := "/" + strings.Repeat("x", 200)
	if have, err := moveText([]byte(strings.Repeat("/usr ", 100)), long, paths.has); err != nil || len(have) != 100*202 {
		t.Errorf("a text with 100 paths has %d bytes, %v", len(have), err)
	}
	if have, err := moveText([]byte(strings.Repeat("/usr ", 1000)), long, paths.has); !errors.Is(err, errGrows) {
		t.Errorf("a text with 1000 paths has %d bytes, %v", len(have), err)
	}
}

// TestGrowingText: a text that would grow too much is the payload's, by a link.
func TestGrowingText(t *testing.T) {
	m := payloadOf(map[string]string{"usr/share/pkgconfig/a.pc": ""})
	m.Files = append(m.Files, record.File{Path: "dev/share/pkgconfig/a.pc", Type: record.TypeFile, Moved: "usr/share/pkgconfig/a.pc"})
	m.Index()
	f := m.Lookup("dev/share/pkgconfig/a.pc")
	read := func(_, _ string, use func([]byte) error) error { return use([]byte(strings.Repeat("/usr ", 1<<16))) }
	_, err := MadeBytes(Place{Prefix: "/var/sys"}, m, f, read)
	if !LinkInstead(Place{Prefix: "/var/sys"}, m, f, err) || f.Type != record.TypeSymlink || m.Resolve(f.Path) != m.Lookup("usr/share/pkgconfig/a.pc") {
		t.Errorf("%v, and the file is %+v", err, f)
	}
}

func FuzzMoveText(f *testing.F) {
	f.Add("prefix=/usr", "/d")
	f.Add("/lib/x86_64-linux-gnu/x", "")
	paths := movable()
	f.Fuzz(func(t *testing.T, text, dev string) {
		if have, err := moveText([]byte(text), "/usr", paths.has); err != nil || len(have) < len(text) {
			t.Errorf("%q has lost bytes: %q, %v", text, have, err)
		}
		moveText([]byte(text), dev, paths.has) // which ends
	})
}

// payloadOf returns the manifest of a package with files, and links "PATH -> TARGET".
func payloadOf(paths map[string]string) *record.Manifest {
	m := &record.Manifest{Name: "x-dev", Origin: record.OriginPrivate, Tree: "1"}
	for p, target := range paths {
		f := record.File{Path: p, Type: record.TypeFile}
		if target != "" {
			f.Type, f.Target = record.TypeSymlink, target
		}
		m.Files = append(m.Files, f)
	}
	slices.SortFunc(m.Files, func(a, b record.File) int { return strings.Compare(a.Path, b.Path) })
	m.Index()
	return m
}

// TestDevTree: what is below dev follows from the payload and the stubs.
func TestDevTree(t *testing.T) {
	const lib = "usr/lib/x86_64-linux-gnu/"
	for _, tt := range []struct {
		name    string
		payload map[string]string
		stubs   []stub
		links   map[string]string // by path, to where
		made    map[string]string // by path, from what
	}{
		{
			"a library",
			map[string]string{lib + "libz.so": "libz.so.1.2", lib + "libz.a": "", lib + "libz.la": "", "usr/include/zlib.h": "", "usr/share/doc/x/y": ""},
			[]stub{{"dev/lib/x86_64-linux-gnu/libz.so.1", "/s/z/1/" + lib + "libz.so.1.2"}},
			map[string]string{
				"dev/include/zlib.h": "usr/include/zlib.h", "dev/lib64": "dev/lib/x86_64-linux-gnu",
				"dev/lib/x86_64-linux-gnu/libz.so": "dev/lib/x86_64-linux-gnu/libz.so.1.2", "dev/lib/x86_64-linux-gnu/libz.so.1.2": "dev/lib/x86_64-linux-gnu/libz.so.1",
				"dev/lib/x86_64-linux-gnu/libz.a": lib + "libz.a",
			},
			map[string]string{"dev/lib/x86_64-linux-gnu/libz.so.1": "/s/z/1/" + lib + "libz.so.1.2"},
		},
		{
			"headers for all machines and for one",
			map[string]string{
				"usr/include/o/a.h": "", "usr/include/x86_64-linux-gnu/o/b.h": "", "usr/include/p/c.h": "", "usr/include/x86_64-linux-gnu/q/d.h": "",
			},
			nil,
			map[string]string{
				"dev/include/o/a.h": "usr/include/o/a.h", "dev/include/o/b.h": "usr/include/x86_64-linux-gnu/o/b.h", "dev/include/p": "usr/include/p",
				"dev/include/q": "usr/include/x86_64-linux-gnu/q", "dev/include/x86_64-linux-gnu": "usr/include/x86_64-linux-gnu",
			},
			map[string]string{},
		},
		{
			"lib64, texts and links among them",
			map[string]string{
				"usr/lib64/pkgconfig/x-1.pc": "", "usr/lib64/pkgconfig/x.pc": "x-1.pc", "usr/lib64/cmake/X/XConfig.cmake": "", "usr/lib64/libx.so": "", "usr/lib64/libxx.so": "libx.so",
				"usr/share/pkgconfig/y.pc": "", "usr/share/aclocal/x.m4": "", "usr/bin/x-config": "", "usr/include/gone.h": "/nowhere/gone.h",
			},
			nil,
			map[string]string{
				"dev/lib64/pkgconfig/x.pc": "dev/lib64/pkgconfig/x-1.pc", "dev/lib64/libxx.so": "dev/lib64/libx.so", "dev/share/aclocal": "usr/share/aclocal", "dev/bin": "bin",
			},
			map[string]string{
				"dev/lib64/pkgconfig/x-1.pc": "usr/lib64/pkgconfig/x-1.pc", "dev/lib64/cmake/X/XConfig.cmake": "usr/lib64/cmake/X/XConfig.cmake",
				"dev/lib64/libx.so": "usr/lib64/libx.so", "dev/share/pkgconfig/y.pc": "usr/share/pkgconfig/y.pc",
			},
		},
		{
			"a link for a library that is nowhere",
			map[string]string{lib + "libz.so": "libz.so.1", "usr/include/zlib.h": ""},
			nil,
			map[string]string{"dev/include/zlib.h": "usr/include/zlib.h"},
			map[string]string{},
		},
		{"the C library", map[string]string{"usr/include/stdio.h": "", lib + "crt1.o": ""}, nil, map[string]string{}, map[string]string{}},
		{"the kernel's headers", map[string]string{"usr/include/linux/version.h": ""}, nil, map[string]string{}, map[string]string{}},
		{"the compiler", map[string]string{"usr/include/c++/12/x": "", "usr/lib/gcc/x86_64-linux-gnu/12/crtbegin.o": ""}, nil, map[string]string{}, map[string]string{}},
		{"a dev of its own", map[string]string{"usr/include/x.h": "", "dev/null": ""}, nil, map[string]string{}, map[string]string{}},
		{"a link dev", map[string]string{"usr/include/x.h": "", "dev": "usr"}, nil, map[string]string{}, map[string]string{}},
		{"a file dev", map[string]string{"usr/include/x.h": "", "dev": ""}, nil, map[string]string{}, map[string]string{}},
		{
			"a header for all machines and for one",
			map[string]string{"usr/include/sys/a.h": "", "usr/include/x86_64-linux-gnu/sys/a.h": "", "usr/include/y.h": "", "usr/include/x86_64-linux-gnu/y.h": "sys/a.h"},
			nil,
			map[string]string{
				"dev/include/sys/a.h": "usr/include/x86_64-linux-gnu/sys/a.h", "dev/include/y.h": "usr/include/x86_64-linux-gnu/y.h",
				"dev/include/x86_64-linux-gnu": "usr/include/x86_64-linux-gnu",
			},
			map[string]string{},
		},
		{"names that are none", map[string]string{"usr/include/x86_64-linux-gnu": "", "usr/include/x.h": ""}, nil, map[string]string{
			"dev/include/x.h": "usr/include/x.h", "dev/include/x86_64-linux-gnu": "usr/include/x86_64-linux-gnu",
		}, map[string]string{}},
		{"a link where a directory is", map[string]string{"usr/lib": "lib64", "usr/include/x.h": ""}, []stub{{"dev/lib/libz.so.1", "/s/z/1/usr/lib/libz.so.1"}}, map[string]string{
			"dev/include/x.h": "usr/include/x.h", "dev/lib64": "dev/lib",
		}, map[string]string{"dev/lib/libz.so.1": "/s/z/1/usr/lib/libz.so.1"}},
		{"no headers", map[string]string{lib + "libz.so.1": "libz.so.1.2", lib + "libz.so.1.2": "", lib + "libz-plugin.so": "libz.so.1.2", "usr/bin/x": ""}, nil, map[string]string{}, map[string]string{}},
	} {
		c := newCandidate(payloadOf(tt.payload), nil)
		c.stubs = tt.stubs
		c.addDev()
		links, made := map[string]string{}, map[string]string{}
		for _, l := range c.m.Links {
			links[l.Path] = l.File()
		}
		for i := range c.m.Files {
			if f := &c.m.Files[i]; f.IsDev() {
				made[f.Path] = f.Stub + f.Moved
			}
		}
		if diff := cmp.Diff(tt.links, links); diff != "" {
			t.Errorf("%s: links (-want +have):\n%s", tt.name, diff)
		}
		if diff := cmp.Diff(tt.made, made); diff != "" {
			t.Errorf("%s: files (-want +have):\n%s", tt.name, diff)
		}
	}
}
