package ldso

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hashpkg/hashpkg/elfedit"
)

// library is an object named by its path, which is its ID too.
func library(file, soname string, needed ...string) *Object {
	return &Object{Path: file, ID: file, Info: &elfedit.Info{Soname: soname, Needed: needed, HasDynamic: true}}
}

// answers is a Finder of literals. A key "name<requester" goes before "name".
type answers map[string]*Object

func (a answers) Find(name string, chain []*Object) (*Object, error) {
	if o := a[name+"<"+chain[len(chain)-1].Path]; o != nil {
		return o, nil
	}
	if o := a[name]; o != nil {
		return o, nil
	}
	return nil, fmt.Errorf("%s: %w", name, ErrNotFound)
}

// describe renders a closure as text: the objects, then what is wrong.
func describe(c *Closure) string {
	var b strings.Builder
	for _, o := range c.Objects {
		fmt.Fprintln(&b, o.Path)
	}
	for _, m := range c.Missing {
		fmt.Fprintf(&b, "missing %s for", m.Name)
		for _, o := range m.Chain {
			fmt.Fprintf(&b, " %s", o.Path)
		}
		fmt.Fprintln(&b)
	}
	for _, v := range c.Versions {
		provider := "nothing"
		if v.Provider != nil {
			provider = v.Provider.Path
		}
		fmt.Fprintf(&b, "version %s of %s (%s) for %s, fatal %v\n", v.Version, v.File, provider, v.From.Path, v.Fatal)
	}
	return b.String()
}

func lines(s ...string) string { return strings.Join(s, "\n") + "\n" }

func TestLoad(t *testing.T) {
	program := func(needed ...string) *Object {
		o := library("/bin/p", "", needed...)
		o.Info.Interpreter = "/lib/ld.so.1"
		return o
	}
	loader := library("/lib/ld.so.1", "ld.so.1")
	again := library("/other/liba.so.1", "")
	again.ID = "/lib/liba.so.1"
	for _, tt := range []struct {
		name    string
		program *Object
		finder  answers
		want    string
	}{
		{
			name:    "breadth first, each once",
			program: program("liba.so.1", "libb.so.1", "liba.so.1"),
			finder: answers{
				"/lib/ld.so.1": loader,
				"liba.so.1":    library("/lib/liba.so.1", "liba.so.1", "libd.so.1", "libc.so.6"),
				"libb.so.1":    library("/lib/libb.so.1", "libb.so.1", "libc.so.6", "liba.so.1"),
				"libc.so.6":    library("/lib/libc.so.6", "libc.so.6", "ld.so.1"),
				"libd.so.1":    library("/lib/libd.so.1", "libd.so.1"),
			},
			want: lines("/bin/p", "/lib/liba.so.1", "/lib/libb.so.1", "/lib/libd.so.1", "/lib/libc.so.6", "/lib/ld.so.1"),
		},
		{
			name:    "interpreter that nothing needs is not searched for symbols",
			program: program(),
			finder:  answers{"/lib/ld.so.1": loader},
			want:    lines("/bin/p"),
		},
		{
			name:    "soname answers a later name, and no other file is asked for",
			program: program("/trees/liba.so.1", "liba.so.1"),
			finder: answers{
				"/lib/ld.so.1":     loader,
				"/trees/liba.so.1": library("/trees/liba.so.1", "liba.so.1"),
				"liba.so.1":        library("/lib/liba.so.1", "liba.so.1"),
			},
			want: lines("/bin/p", "/trees/liba.so.1"),
		},
		{
			name:    "a bare name again by path is loaded twice when it is another file",
			program: program("liba.so.1", "/trees/liba.so.1"),
			finder: answers{
				"/lib/ld.so.1":     loader,
				"/trees/liba.so.1": library("/trees/liba.so.1", "liba.so.1"),
				"liba.so.1":        library("/lib/liba.so.1", "liba.so.1"),
			},
			want: lines("/bin/p", "/lib/liba.so.1", "/trees/liba.so.1"),
		},
		{
			name:    "one file by two names",
			program: program("liba.so.1", "libalias.so"),
			finder: answers{
				"/lib/ld.so.1": loader,
				"liba.so.1":    library("/lib/liba.so.1", ""),
				"libalias.so":  again,
			},
			want: lines("/bin/p", "/lib/liba.so.1"),
		},
		{
			name:    "$ORIGIN in a name is the requester's",
			program: program("/x/liba.so", "/y/libb.so"),
			finder: answers{
				"/lib/ld.so.1": loader,
				"/x/liba.so":   library("/x/liba.so", "", "$ORIGIN/libc.so"),
				"/y/libb.so":   library("/y/libb.so", "", "${ORIGIN}/libc.so"),
				"/x/libc.so":   library("/x/libc.so", ""),
				"/y/libc.so":   library("/y/libc.so", ""),
			},
			want: lines("/bin/p", "/x/liba.so", "/y/libb.so", "/x/libc.so", "/y/libc.so"),
		},
		{
			name:    "what is missing is missing for each that needs it, and the interpreter too",
			program: program("liba.so.1", "libz.so"),
			finder:  answers{"liba.so.1": library("/lib/liba.so.1", "liba.so.1", "libz.so")},
			want: lines("/bin/p", "/lib/liba.so.1",
				"missing /lib/ld.so.1 for /bin/p",
				"missing libz.so for /bin/p",
				"missing libz.so for /bin/p /lib/liba.so.1"),
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := Load(tt.program, tt.finder)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, describe(c)); diff != "" {
				t.Errorf("closure (-want +got):\n%s", diff)
			}
			if got, want := c.Starts(), len(c.Missing) == 0; got != want {
				t.Errorf("Starts() = %v, want %v", got, want)
			}
		})
	}
}

func TestLoadVersions(t *testing.T) {
	needing := func(file string, versions ...elfedit.VersionRef) *Object {
		o := library("/bin/p", "", "liba.so.1")
		o.Info.VersionNeeds = []elfedit.VersionNeed{{File: file, Versions: versions}}
		return o
	}
	defining := func(file, soname string, versions ...string) *Object {
		o := library(file, soname)
		for _, v := range versions {
			o.Info.VersionDefs = append(o.Info.VersionDefs, elfedit.VersionDef{Name: v})
		}
		return o
	}
	wants := []elfedit.VersionRef{{Name: "A_1"}, {Name: "A_2"}, {Name: "A_3", Weak: true}}
	absolute := needing("liba.so.1", wants[0])
	absolute.Info.Needed = []string{"/t/liba.so.1"}
	both := needing("liba.so.1", wants[0])
	both.Info.Needed = []string{"/t/liba.so.1", "libb.so"}
	renamed := needing("/t/liba.so.1", wants[0])
	renamed.Info.Needed = []string{"/t/liba.so.1"}
	onlyBase := defining("/lib/liba.so.1", "liba.so.1")
	onlyBase.Info.HasVersionDefs = true
	for _, tt := range []struct {
		name    string
		program *Object
		finder  answers
		want    string
	}{
		{
			name: "strong and weak", program: needing("liba.so.1", wants...),
			finder: answers{"liba.so.1": defining("/lib/liba.so.1", "liba.so.1", "A_1")},
			want: lines("/bin/p", "/lib/liba.so.1",
				"version A_2 of liba.so.1 (/lib/liba.so.1) for /bin/p, fatal true",
				"version A_3 of liba.so.1 (/lib/liba.so.1) for /bin/p, fatal false"),
		},
		{
			name: "a library without versions", program: needing("liba.so.1", wants[0]),
			finder: answers{"liba.so.1": defining("/lib/liba.so.1", "liba.so.1")},
			want: lines("/bin/p", "/lib/liba.so.1",
				"version A_1 of liba.so.1 (/lib/liba.so.1) for /bin/p, fatal false"),
		},
		{
			name: "a library whose only version is the base", program: needing("liba.so.1", wants[0]),
			finder: answers{"liba.so.1": onlyBase},
			want: lines("/bin/p", "/lib/liba.so.1",
				"version A_1 of liba.so.1 (/lib/liba.so.1) for /bin/p, fatal true"),
		},
		{
			name: "a missing library is not reported twice", program: needing("liba.so.1", wants[0]),
			want: lines("/bin/p", "missing liba.so.1 for /bin/p"),
		},
		{
			name: "a soname that nothing asked for is not known", program: absolute,
			finder: answers{"/t/liba.so.1": defining("/t/liba.so.1", "liba.so.1", "A_1")},
			want: lines("/bin/p", "/t/liba.so.1",
				"version A_1 of liba.so.1 (nothing) for /bin/p, fatal true"),
		},
		{
			name: "but is when a library asks for it", program: both,
			finder: answers{
				"/t/liba.so.1": defining("/t/liba.so.1", "liba.so.1", "A_1"),
				"libb.so":      library("/lib/libb.so", "", "liba.so.1"),
			},
			want: lines("/bin/p", "/t/liba.so.1", "/lib/libb.so"),
		},
		{
			name: "vn_file rewritten with the name", program: renamed,
			finder: answers{"/t/liba.so.1": defining("/t/liba.so.1", "liba.so.1", "A_1")},
			want:   lines("/bin/p", "/t/liba.so.1"),
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := Load(tt.program, tt.finder)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, describe(c)); diff != "" {
				t.Errorf("closure (-want +got):\n%s", diff)
			}
			if got, want := c.Starts(), !strings.Contains(tt.want, "fatal true") && len(c.Missing) == 0; got != want {
				t.Errorf("Starts() = %v, want %v", got, want)
			}
		})
	}
}

// broken is a Finder that fails.
type broken struct{ err error }

func (b broken) Find(string, []*Object) (*Object, error) { return nil, b.err }

func TestLoadPassesOnFaults(t *testing.T) {
	fault := errors.New("input/output error")
	_, err := Load(library("/bin/p", "", "liba.so.1"), broken{fault})
	if !errors.Is(err, fault) || !strings.Contains(err.Error(), "liba.so.1") || !strings.Contains(err.Error(), "/bin/p") {
		t.Errorf("Load: %v", err)
	}
}

func TestLoadNeeds(t *testing.T) {
	a := library("/lib/liba.so.1", "liba.so.1")
	p := library("/bin/p", "", "$ORIGIN/../lib/liba.so.1", "libz.so")
	c, err := Load(p, answers{"/bin/../lib/liba.so.1": a})
	if err != nil {
		t.Fatal(err)
	}
	want := []Need{{From: p, Name: "$ORIGIN/../lib/liba.so.1", Provider: a}, {From: p, Name: "libz.so"}}
	if diff := cmp.Diff(want, c.Needs); diff != "" {
		t.Errorf("Needs (-want +got):\n%s", diff)
	}
}
