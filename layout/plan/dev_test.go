package plan

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hashpkg/hashpkg/layout/record"
)

func TestMoveText(t *testing.T) {
	for text, want := range map[string]string{
		"":                               "",
		"/usr":                           "D",
		"prefix=/usr\n":                  "prefix=D\n",
		"-I/usr/include -L/usr/lib":      "-ID/include -LD/lib",
		`"/usr/include;/usr/lib"`:        `"D/include;D/lib"`,
		"a:/usr/x:/usr":                  "a:D/x:D",
		"/usr/local/usr/x":               "D/local/usr/x",
		"/usrlocal /var/usr x/usr":       "/usrlocal /var/usr x/usr",
		"${prefix}/usr -D/usr":           "${prefix}/usr -D/usr",
		"GROUP(/lib64/l.so /lib/x)":      "GROUP(D/lib64/l.so /lib/x)",
		"( /lib/x86_64-linux-gnu/l.so )": "( D/lib/x86_64-linux-gnu/l.so )",
		"/lib/x86_64-linux-gnu":          "/lib/x86_64-linux-gnu",
		"/":                              "/",
		"/us":                            "/us",
	} {
		if have := string(moveText([]byte(text), "D")); have != want {
			t.Errorf("%q is %q, want %q", text, have, want)
		}
	}
}

func FuzzMoveText(f *testing.F) {
	f.Add("prefix=/usr", "/d")
	f.Add("/lib/x86_64-linux-gnu/x", "")
	f.Fuzz(func(t *testing.T, text, dev string) {
		if have := moveText([]byte(text), "/usr"); len(have) < len(text) {
			t.Errorf("%q has lost bytes: %q", text, have)
		}
		moveText([]byte(text), dev)
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
