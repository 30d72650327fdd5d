package ldso

import (
	"debug/elf"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hashpkg/hashpkg/elfedit"
)

// amd64 is a sound library of that architecture.
func amd64() *elfedit.Info {
	return &elfedit.Info{
		Class: elf.ELFCLASS64, Data: elf.ELFDATA2LSB, Machine: elf.EM_X86_64,
		Type: elf.ET_DYN, HasDynamic: true,
	}
}

// fakeFiles are files of literals. It records
// which paths were opened.
type fakeFiles struct {
	elf    map[string]*elfedit.Info
	bytes  map[string][]byte
	faults map[string]error
	opened []string
}

func (f *fakeFiles) Inspect(file string) (*Object, error) {
	f.opened = append(f.opened, file)
	if err := f.faults[file]; err != nil {
		return nil, err
	}
	if info := f.elf[file]; info != nil {
		return &Object{Path: file, ID: file, Info: info}, nil
	}
	return nil, &fs.PathError{Op: "open", Path: file, Err: fs.ErrNotExist}
}

func (f *fakeFiles) ReadFile(file string) ([]byte, error) {
	if err := f.faults[file]; err != nil {
		return nil, err
	}
	if b, ok := f.bytes[file]; ok {
		return b, nil
	}
	return nil, &fs.PathError{Op: "open", Path: file, Err: fs.ErrNotExist}
}

func with(change func(*elfedit.Info)) *elfedit.Info {
	info := amd64()
	change(info)
	return info
}

func rpath(s string) *elfedit.Info {
	return with(func(i *elfedit.Info) { i.RPath, i.HasRPath = s, true })
}

func runpath(s string) *elfedit.Info {
	return with(func(i *elfedit.Info) { i.RunPath, i.HasRunPath = s, true })
}

// TestRootOrder looks for a file that is nowhere, and compares the paths that
// were tried.
func TestRootOrder(t *testing.T) {
	layout := Layout{Dirs: []string{"/lib/T", "/lib"}, Lib: "lib/T"}
	for _, tt := range []struct {
		name    string
		needed  string
		chain   []*elfedit.Info // objects at /d0/o, /d1/o, ...
		options Options
		cache   []CacheEntry
		want    []string
	}{
		{
			name: "defaults", chain: []*elfedit.Info{amd64()},
			want: []string{"/lib/T/", "/lib/"},
		},
		{
			name: "RPATH is inherited, the requester's first", chain: []*elfedit.Info{rpath("/r0"), rpath("/r1"), amd64()},
			options: Options{LibraryPath: []string{"/env"}},
			want:    []string{"/r1/", "/r0/", "/env/", "/lib/T/", "/lib/"},
		},
		{
			name: "RUNPATH is not", chain: []*elfedit.Info{runpath("/r0"), amd64()},
			want: []string{"/lib/T/", "/lib/"},
		},
		{
			name: "RUNPATH is after the environment and switches RPATH off", chain: []*elfedit.Info{rpath("/r0"), runpath("/r1")},
			options: Options{LibraryPath: []string{"/env"}},
			want:    []string{"/env/", "/r1/", "/lib/T/", "/lib/"},
		},
		{
			name: "an empty RUNPATH does too", chain: []*elfedit.Info{rpath("/r0"), runpath("")},
			want: []string{"/lib/T/", "/lib/"},
		},
		{
			name: "RPATH of a file with RUNPATH is nothing",
			chain: []*elfedit.Info{rpath("/r0"), with(func(i *elfedit.Info) {
				i.RPath, i.HasRPath, i.RunPath, i.HasRunPath = "/no", true, "/yes", true
			}), amd64()},
			want: []string{"/r0/", "/lib/T/", "/lib/"},
		},
		{
			name: "tokens, of whose path they stand in", chain: []*elfedit.Info{rpath("$ORIGIN/a:${ORIGIN}/b:/c/$LIB"), rpath("$ORIGIN:/$PLATFORM:/$ORIGINAL:/$")},
			options: Options{LibraryPath: []string{"$ORIGIN/env"}},
			want:    []string{"/d1/", "/$ORIGINAL/", "/$/", "/d0/a/", "/d0/b/", "/c/lib/T/", "/d0/env/", "/lib/T/", "/lib/"},
		},
		{
			name: "platform", chain: []*elfedit.Info{runpath("/$PLATFORM:/${PLATFORM}x")},
			options: Options{Platform: "haswell"},
			want:    []string{"/haswell/", "/haswellx/", "/lib/T/", "/lib/"},
		},
		{
			name: "slashes, repetitions and relative directories", chain: []*elfedit.Info{runpath("/a//:/a:lib::./x:/b/../c:/")},
			want: []string{"/a/", "/b/../c/", "/", "/lib/T/", "/lib/"},
		},
		{
			name: "subdirectories", chain: []*elfedit.Info{runpath("/a")},
			options: Options{HWCaps: []string{"v3", "v2"}, LegacySubdirs: LegacySubdirs("tls", "p")},
			want: []string{
				"/a/glibc-hwcaps/v3/", "/a/glibc-hwcaps/v2/", "/a/tls/p/", "/a/tls/", "/a/p/", "/a/",
				"/lib/T/glibc-hwcaps/v3/", "/lib/T/glibc-hwcaps/v2/", "/lib/T/tls/p/", "/lib/T/tls/", "/lib/T/p/", "/lib/T/",
				"/lib/glibc-hwcaps/v3/", "/lib/glibc-hwcaps/v2/", "/lib/tls/p/", "/lib/tls/", "/lib/p/", "/lib/",
			},
		},
		{
			name: "the cache is before the defaults", chain: []*elfedit.Info{runpath("/a")},
			cache: []CacheEntry{{Name: "libx.so", Path: "/opt/libx.so", Flags: 0x303}},
			want:  []string{"/a/", "/opt/", "/lib/T/", "/lib/"},
		},
		{
			name: "nodeflib keeps cached files outside the defaults", chain: []*elfedit.Info{with(func(i *elfedit.Info) { i.NoDefault = true })},
			cache: []CacheEntry{{Name: "libx.so", Path: "/opt/libx.so", Flags: 0x303}},
			want:  []string{"/opt/"},
		},
		{
			name: "and none below them", chain: []*elfedit.Info{with(func(i *elfedit.Info) { i.NoDefault = true })},
			cache: []CacheEntry{{Name: "libx.so", Path: "/lib/opt/libx.so", Flags: 0x303}},
		},
		{
			name: "the configuration without a cache", chain: []*elfedit.Info{amd64()},
			options: Options{ConfigDirs: []string{"/conf", "/lib"}},
			want:    []string{"/conf/", "/lib/", "/lib/T/"},
		},
		{
			name: "is not asked with one", chain: []*elfedit.Info{amd64()},
			options: Options{ConfigDirs: []string{"/conf"}},
			cache:   []CacheEntry{{Name: "liby.so", Path: "/opt/liby.so", Flags: 0x303}},
			want:    []string{"/lib/T/", "/lib/"},
		},
		{
			name: "an inhibited cache", chain: []*elfedit.Info{amd64()},
			options: Options{InhibitCache: true, ConfigDirs: []string{"/conf"}},
			cache:   []CacheEntry{{Name: "libx.so", Path: "/opt/libx.so", Flags: 0x303}},
			want:    []string{"/lib/T/", "/lib/"},
		},
		{
			name: "a path is not searched for", needed: "/t/$LIB/libx.so", chain: []*elfedit.Info{rpath("/r")},
			want: []string{"/t/lib/T/"},
		},
		{
			name: "nor one relative to the working directory", needed: "./libx.so", chain: []*elfedit.Info{rpath("/r")},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			files := &fakeFiles{bytes: map[string][]byte{}}
			if tt.cache != nil {
				files.bytes["/etc/ld.so.cache"] = newCache(tt.cache...)
			}
			tt.options.Layout = layout
			root, err := NewRoot(files, amd64(), tt.options)
			if err != nil {
				t.Fatal(err)
			}
			var chain []*Object
			for i, info := range tt.chain {
				file := "/d" + string(rune('0'+i)) + "/o"
				chain = append(chain, &Object{Path: file, ID: file, Info: info})
			}
			needed := "libx.so"
			if tt.needed != "" {
				needed = tt.needed
			}
			if o, err := root.Find(needed, chain); !errors.Is(err, ErrNotFound) {
				t.Errorf("Find = %v, %v", o, err)
			}
			var got []string
			for _, file := range files.opened {
				got = append(got, strings.TrimSuffix(file, "libx.so"))
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("directories tried (-want +got):\n%s", diff)
			}
		})
	}
}

// TestRootTakes says what is passed over, what is taken and what ends a search
// for /a/libx.so, which /b/libx.so would answer.
func TestRootTakes(t *testing.T) {
	fault := errors.New("input/output error")
	for _, tt := range []struct {
		name string
		info *elfedit.Info
		err  error
		want string // the path, or part of the error
	}{
		{name: "sound", info: amd64(), want: "/a/libx.so"},
		{name: "other class", info: with(func(i *elfedit.Info) { i.Class = elf.ELFCLASS32 }), want: "/b/libx.so"},
		{name: "other machine", info: with(func(i *elfedit.Info) { i.Machine = elf.EM_AARCH64 }), want: "/b/libx.so"},
		{name: "may not be read", err: fs.ErrPermission, want: "/b/libx.so"},
		{name: "other byte order", info: with(func(i *elfedit.Info) { i.Data = elf.ELFDATA2MSB }), want: "/a/libx.so stands in the way"},
		{name: "executable", info: with(func(i *elfedit.Info) { i.Type = elf.ET_EXEC }), want: "/a/libx.so stands in the way"},
		{name: "position-independent executable", info: with(func(i *elfedit.Info) { i.PIE = true }), want: "position-independent"},
		{name: "other system", info: with(func(i *elfedit.Info) { i.OSABI = elf.ELFOSABI_FREEBSD }), want: "FREEBSD"},
		{name: "no dynamic section", info: with(func(i *elfedit.Info) { i.HasDynamic = false }), want: "no dynamic section"},
		{name: "text", err: elfedit.ErrNotELF, want: "/a/libx.so stands in the way"},
		{name: "damaged", err: &elfedit.FormatError{Offset: 7, Msg: "cut short"}, want: "cut short"},
		{name: "fault", err: fault, want: "input/output error"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			files := &fakeFiles{
				elf:    map[string]*elfedit.Info{"/a/libx.so": tt.info, "/b/libx.so": amd64()},
				faults: map[string]error{"/a/libx.so": tt.err},
			}
			root, err := NewRoot(files, amd64(), Options{})
			if err != nil {
				t.Fatal(err)
			}
			o, err := root.Find("libx.so", []*Object{{Path: "/p", Info: runpath("/a:/b")}})
			switch {
			case strings.HasPrefix(tt.want, "/") && !strings.Contains(tt.want, " "):
				if err != nil || o.Path != tt.want {
					t.Errorf("Find = %v, %v", o, err)
				}
			case err == nil || !strings.Contains(err.Error(), tt.want):
				t.Errorf("Find: %v, want %q", err, tt.want)
			case errors.Is(err, ErrNotFound) == errors.Is(err, fault):
				t.Errorf("Find: %v is a fault: %v", err, errors.Is(err, fault))
			}
			before := slices.Clone(files.opened)
			_, _ = root.Find("libx.so", []*Object{{Path: "/p", Info: runpath("/a:/b")}})
			if diff := cmp.Diff(before, files.opened); diff != "" {
				t.Errorf("opened again:\n%s", diff)
			}
		})
	}
}

func TestNewRootCache(t *testing.T) {
	fault := errors.New("input/output error")
	for _, tt := range []struct {
		name  string
		files *fakeFiles
		want  error
	}{
		{"none", &fakeFiles{}, nil},
		{"damaged", &fakeFiles{bytes: map[string][]byte{"/etc/ld.so.cache": []byte("junk")}}, nil},
		{"fault", &fakeFiles{faults: map[string]error{"/etc/ld.so.cache": fault}}, fault},
	} {
		if _, err := NewRoot(tt.files, amd64(), Options{}); !errors.Is(err, tt.want) {
			t.Errorf("%s: NewRoot: %v, want %v", tt.name, err, tt.want)
		}
	}
}

// TestRules finds a library in each place, and asks by which rule that was.
func TestRules(t *testing.T) {
	layout := Layout{Dirs: []string{"/lib"}, Lib: "lib"}
	for _, tt := range []struct {
		name, needed string
		requester    *elfedit.Info
		options      Options
		at           string
		want         Rule
	}{
		{"a path", "/x/lib.so", amd64(), Options{}, "/x/lib.so", RulePath},
		{"RPATH", "lib.so", rpath("/r"), Options{}, "/r/lib.so", RuleRPath},
		{"LD_LIBRARY_PATH", "lib.so", amd64(), Options{LibraryPath: []string{"/env"}}, "/env/lib.so", RuleLibraryPath},
		{"RUNPATH", "lib.so", runpath("/r"), Options{}, "/r/lib.so", RuleRunPath},
		{"the configuration", "lib.so", amd64(), Options{ConfigDirs: []string{"/opt"}}, "/opt/lib.so", RuleDefault},
		{"a default directory", "lib.so", amd64(), Options{}, "/lib/lib.so", RuleDefault},
		{"nowhere", "lib.so", amd64(), Options{}, "/else/lib.so", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.options.Layout = layout
			r, err := NewRoot(&fakeFiles{elf: map[string]*elfedit.Info{tt.at: amd64()}}, amd64(), tt.options)
			if err != nil {
				t.Fatal(err)
			}
			o, rule, err := r.Search(tt.needed, []*Object{{Path: "/d/o", ID: "o", Info: tt.requester}})
			if rule != tt.want || (err == nil) != (tt.want != "") || err == nil && o.Path != tt.at {
				t.Errorf("found %+v by %q, want %q (%v)", o, rule, tt.want, err)
			}
		})
	}
}
