package programs

import (
	"bytes"
	"debug/elf"
	"io/fs"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/elfedit"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/ldso"
	"github.com/hashpkg/hashpkg/pkginfo"
	"github.com/hashpkg/hashpkg/sysroot/confine"
)

// enforced is a root in which SELinux keeps every program from the prefix.
type enforced struct{}

func (enforced) ReadFile(name string, _ int64) ([]byte, error) {
	if name == confine.SELinuxConfig {
		return []byte("SELINUX=enforcing\nSELINUXTYPE=targeted\n"), nil
	}
	return nil, fs.ErrNotExist
}
func (enforced) ReadDir(string) ([]fs.DirEntry, error) { return nil, fs.ErrNotExist }
func (enforced) HasFile(string) bool                   { return false }

func TestDecide(t *testing.T) {
	packaged := program(t)
	libc := object("/usr/lib/libc.so.6", "libc.so.6")
	foo := object("/usr/lib/libfoo.so.1", "libfoo.so.1", "libbar.so.1", "libc.so.6")
	bar := object("/usr/lib/libbar.so.1", "libbar.so.1", "libc.so.6")
	inFarm := &ldso.Object{Path: "/var/sys/current-system/lib64/libfoo.so.1", ID: foo.ID, Info: foo.Info}
	other := object("/var/sys/current-system/lib64/libfoo.so.1", "libfoo.so.1", "libbar.so.1", "libc.so.6")
	rest := map[string]*ldso.Object{"libc.so.6": libc, "libfoo.so.1": foo, "libbar.so.1": bar}
	info := inspect(t, packaged)
	if info.Interpreter != "" {
		rest[info.Interpreter] = object(info.Interpreter, "ld-linux.so")
	}
	pin := func(soname string, force bool) Pin {
		old := object("/var/sys/"+soname+"/1/usr/lib/"+soname, soname, foo.Info.Needed...)
		if soname != "libfoo.so.1" {
			old.Info.Needed = bar.Info.Needed
		}
		rest[old.Path] = old
		return Pin{
			record.Pin{Program: "tool", Library: soname, Version: "1", Tree: "1", Force: force},
			&record.Manifest{Files: []record.File{
				// One for some processors is not what a program is pinned to.
				{Path: "usr/lib/glibc-hwcaps/x86-64-v3/" + soname, Type: record.TypeFile, ELF: &elfedit.Info{Soname: soname}},
				{Path: "usr/lib/" + soname, Type: record.TypeFile, ELF: &elfedit.Info{Soname: soname}},
			}},
		}
	}
	pinFoo, pinBar := pin("libfoo.so.1", false), pin("libbar.so.1", false)
	frozen := func(p Pin) Pin {
		p.Program, p.File, p.Name, p.Object = "/usr/bin/tool", "usr/lib/"+p.Library, p.Library, digest.Of([]byte(p.Library))
		p.Manifest = &record.Manifest{Files: p.Manifest.Files}
		return p
	}
	frozenFoo, frozenBar := frozen(pinFoo), frozen(pinBar)
	file := func(soname string) string { return "/var/sys/" + soname + "/1/usr/lib/" + soname }
	line := func(soname string) string { return digest.Of([]byte(soname)).String() + "  " + file(soname) }
	// The C library stays a name, and so does what the freeze does not have; a soname that no
	// library asks for comes last.
	bound := []record.EditRecord{
		{Kind: record.EditNeeded, From: []string{"libfoo.so.1", "libc.so.6", "libbar.so.1", ""}, To: []string{file("libfoo.so.1"), "libc.so.6", file("libbar.so.1"), "libfoo.so.1"}},
		{Kind: record.EditNote, To: []string{line("libfoo.so.1"), line("libbar.so.1")}},
	}
	partly := []record.EditRecord{
		{Kind: record.EditNeeded, From: []string{"libfoo.so.1", "libc.so.6", "libbar.so.1", ""}, To: []string{file("libfoo.so.1"), "libc.so.6", "libbar.so.1", "libfoo.so.1"}},
		{Kind: record.EditNote, To: []string{line("libfoo.so.1")}},
	}
	dir := func(p *Policy) string {
		for name := range p.Farm {
			return strings.TrimSuffix(name, "/libfoo.so.1")
		}
		return "lib64"
	}
	same := finder{farm: map[string]*ldso.Object{"libfoo.so.1": inFarm}, rest: rest}
	minimal := Policy{
		Rewrite: Rewrite{Executables: RewriteMinimal}, Prefix: "/var/sys", Architecture: ldso.Triplet(info),
		Farm: map[string]bool{"lib64/libfoo.so.1": true},
	}
	farm := "/var/sys/current-system/" + dir(&minimal)
	runPath := func(to string) record.EditRecord {
		return record.EditRecord{Kind: record.EditRunPath, To: []string{to}}
	}
	replaceFoo := record.EditRecord{Kind: record.EditReplace, From: []string{"libfoo.so.1"}, To: []string{"/var/sys/libfoo.so.1/1/usr/lib/libfoo.so.1"}}
	addBar := record.EditRecord{Kind: record.EditAdd, To: []string{"/var/sys/libbar.so.1/1/usr/lib/libbar.so.1"}}

	for _, tt := range []struct {
		name   string
		facts  func(*Facts)
		policy func(*Policy)
		finder ldso.Finder
		edits  []record.EditRecord
		want   Decision // of Left (a part of it), Unpinned (likewise), Keep, Unsettled, Unresolved, Forced
		pins   string
	}{
		{name: "the farm answers", edits: []record.EditRecord{runPath(farm)}},
		{name: "the farm does not answer", policy: func(p *Policy) { p.Farm = nil }, want: Decision{Unresolved: []string{"libfoo.so.1"}}},
		{name: "full", policy: func(p *Policy) {
			p.Farm, p.Rewrite.Executables, p.Trees = nil, RewriteFull, map[pkginfo.Key]string{pkgOf("tool").Key: "tool/1"}
		}, edits: []record.EditRecord{runPath("/var/sys/tool/1/lib64:/var/sys/tool/default/lib64:" + farm)}, want: Decision{Unresolved: []string{"libfoo.so.1"}}},
		{name: "none", policy: func(p *Policy) { p.Rewrite.Executables = RewriteNone }},
		{name: "excluded", policy: func(p *Policy) { p.Rewrite.Exclude = []string{"/usr/bin"} }},
		{name: "not included", policy: func(p *Policy) { p.Rewrite.Include = []string{"/usr/sbin/"} }},
		{name: "included", policy: func(p *Policy) { p.Rewrite.Include = []string{"/usr/*/to?l"} }, edits: []record.EditRecord{runPath(farm)}},
		{name: "hashpkg itself", facts: func(f *Facts) { f.Package.Name = "hashpkg" }},
		{name: "altered", facts: func(f *Facts) { f.Left, f.Info = "is altered", nil }, want: Decision{Left: "is altered"}},
		{name: "sealed", facts: func(f *Facts) { f.Sealed = "is signed" }, want: Decision{Left: "is signed"}},
		{
			name: "trusted by its digest", policy: func(p *Policy) { p.Integrity = "sha256" },
			want: Decision{Left: "is trusted by its digest: fapolicyd would refuse it when it is edited (/etc/fapolicyd/fapolicyd.conf: integrity = sha256)"},
		},
		{name: "sealed, and nothing is wanted", facts: func(f *Facts) { f.Sealed = "is signed" }, policy: func(p *Policy) { p.Rewrite.Executables = RewriteNone }},
		{
			name: "RPATH", facts: func(f *Facts) {
				f.Info = &elfedit.Info{HasRPath: true, RPath: "/x", Class: f.Info.Class, Machine: f.Info.Machine, Data: f.Info.Data, Needed: f.Info.Needed}
			},
			want: Decision{Left: "has an RPATH, which a RUNPATH would disable"},
		},
		{name: "restored before", facts: func(f *Facts) { f.Record = &record.EditedFile{Restored: true} }, want: Decision{Keep: true}},
		{
			name: "restored before, and asked for again", facts: func(f *Facts) { f.Record = &record.EditedFile{Restored: true} },
			policy: func(p *Policy) { p.Restored = true }, edits: []record.EditRecord{runPath(farm)},
		},
		{
			name: "would load another", finder: finder{farm: map[string]*ldso.Object{"libfoo.so.1": other}, rest: rest},
			want: Decision{Left: "would load other libraries: /var/sys/current-system/lib64/libfoo.so.1 in place of /usr/lib/libfoo.so.1", Unsettled: true},
		},
		{
			name: "would load another, as far as can be told before the farm is there", finder: finder{farm: map[string]*ldso.Object{"libfoo.so.1": other}, rest: rest},
			policy: func(p *Policy) { p.FarmPlanned = true }, edits: []record.EditRecord{runPath(farm)},
		},
		{name: "does not start", finder: finder{rest: map[string]*ldso.Object{"libc.so.6": libc}}, want: Decision{Left: "does not start as it is: ", Unsettled: true}},
		{name: "pinned", policy: func(p *Policy) { p.Pins = []Pin{pinFoo} }, edits: []record.EditRecord{runPath(farm), replaceFoo}, pins: "libfoo.so.1=1"},
		{
			name: "pinned through another library", policy: func(p *Policy) { p.Pins, p.Farm = []Pin{pinBar}, nil }, edits: []record.EditRecord{addBar}, pins: "libbar.so.1=1",
			want: Decision{Unresolved: []string{"libfoo.so.1"}},
		},
		{
			name: "of musl", facts: func(f *Facts) { f.Info.Musl, f.Info.Needed = true, []string{"libfoo.so.1", "libc.so"} },
			policy: func(p *Policy) { p.Farm = map[string]bool{"lib/x86_64-linux-musl/libfoo.so.1": true} },
			want:   Decision{Left: "is a program of musl, and these are left as they are"},
		},
		{
			name: "of musl, and the farm does not answer", facts: func(f *Facts) { f.Info.Musl, f.Info.Needed = true, []string{"libfoo.so.1", "libc.so"} },
			want: Decision{Unresolved: []string{"libfoo.so.1"}},
		},
		{
			name: "of musl, and pinned", facts: func(f *Facts) { f.Info.Musl = true }, policy: func(p *Policy) { p.Pins = []Pin{pinFoo} },
			want: Decision{Left: "is a program of musl, and these are left as they are", Unresolved: []string{"libfoo.so.1"}},
		},
		{
			name: "asks where libraries are", facts: func(f *Facts) { f.Info.ImportsWhere = true },
			want: Decision{Left: "asks where libraries were found, and would get the farm's directory"},
		},
		{
			name: "asks where libraries are, and the farm does not answer", facts: func(f *Facts) { f.Info.ImportsWhere = true },
			policy: func(p *Policy) { p.Farm = nil }, want: Decision{Unresolved: []string{"libfoo.so.1"}},
		},
		{
			name: "asks where libraries are, and is pinned", facts: func(f *Facts) { f.Info.ImportsWhere = true },
			policy: func(p *Policy) { p.Pins = []Pin{pinFoo} }, edits: []record.EditRecord{replaceFoo}, pins: "libfoo.so.1=1",
		},
		{
			name: "asks where libraries are, and another is pinned", facts: func(f *Facts) { f.Info.ImportsWhere = true },
			policy: func(p *Policy) { p.Pins = []Pin{pinFoo}; p.Pins[0].Program = "/usr/bin/other" },
			want:   Decision{Left: "asks where libraries were found, and would get the farm's directory"},
		},
		{
			name: "is run", facts: func(f *Facts) { f.File = FileID{Device: 1, Inode: 7} }, policy: func(p *Policy) { p.Running = Running{{1, 7}: 4711} },
			want: Decision{Left: "is run by process 4711", Unsettled: true},
		},
		{
			name: "another file of that number is run", facts: func(f *Facts) { f.File = FileID{Device: 1, Inode: 7} },
			policy: func(p *Policy) { p.Running = Running{{2, 7}: 4711} }, edits: []record.EditRecord{runPath(farm)},
		},
		{
			name: "is run, and pinned", facts: func(f *Facts) { f.File = FileID{Device: 1, Inode: 7} },
			policy: func(p *Policy) { p.Running, p.Pins = Running{{1, 7}: 4711}, []Pin{pinFoo} },
			edits:  []record.EditRecord{runPath(farm), replaceFoo}, pins: "libfoo.so.1=1",
		},
		{name: "frozen", policy: func(p *Policy) { p.Pins = []Pin{frozenBar, frozenFoo} }, edits: bound, pins: "libfoo.so.1=1 libbar.so.1=1"},
		{name: "frozen, and pinned", policy: func(p *Policy) { p.Pins = []Pin{pinBar, frozenFoo, pinFoo} }, edits: partly, pins: "libfoo.so.1=1"},
		{
			name: "frozen, asks where libraries are, and is run", facts: func(f *Facts) { f.Info.ImportsWhere, f.File = true, FileID{Device: 1, Inode: 7} },
			policy: func(p *Policy) { p.Running, p.Pins = Running{{1, 7}: 4711}, []Pin{frozenFoo, frozenBar} }, edits: bound, pins: "libfoo.so.1=1 libbar.so.1=1",
		},
		{name: "frozen and sealed", facts: func(f *Facts) { f.Sealed = "is signed" }, policy: func(p *Policy) { p.Pins = []Pin{frozenFoo, frozenBar} }, want: Decision{Left: "is signed"}},
		{
			name: "frozen and confined", policy: func(p *Policy) { p.Pins, p.Confinement = []Pin{frozenFoo}, confine.Read(enforced{}, "/var/sys") },
			want: Decision{Unpinned: "may not read /var/sys: SELinux", Unsettled: true},
		},
		{
			name: "frozen to what is gone", policy: func(p *Policy) {
				gone := frozenBar
				gone.Tree = "gone"
				p.Pins = []Pin{frozenFoo, gone}
			},
			want: Decision{Unpinned: "would not start: libbar.so.1, needed by", Unsettled: true},
		},
		{name: "another is frozen", policy: func(p *Policy) { p.Pins = []Pin{frozenFoo}; p.Pins[0].Program = "/usr/bin/other" }, edits: []record.EditRecord{runPath(farm)}},
		{name: "another is pinned", policy: func(p *Policy) { p.Pins = []Pin{pinFoo}; p.Pins[0].Program = "/usr/bin/other" }, edits: []record.EditRecord{runPath(farm)}},
		{
			name: "pinned and confined", policy: func(p *Policy) { p.Pins, p.Confinement = []Pin{pinFoo}, confine.Read(enforced{}, "/var/sys") },
			edits: []record.EditRecord{runPath(farm)}, want: Decision{Unpinned: "may not read /var/sys: SELinux", Unsettled: true},
		},
		{name: "pinned and confined, and somebody waits", policy: func(p *Policy) {
			p.Pins, p.Strict, p.Confinement = []Pin{pinFoo}, true, confine.Read(enforced{}, "/var/sys")
		}, want: Decision{Left: "may not read /var/sys: SELinux"}},
		{name: "confined, and no pin is for it", policy: func(p *Policy) { p.Confinement = confine.Read(enforced{}, "/var/sys") }, edits: []record.EditRecord{runPath(farm)}},
		{
			name: "the pin lacks a library", policy: func(p *Policy) { p.Pins = []Pin{lacking(rest, false)} },
			edits: []record.EditRecord{runPath(farm)}, want: Decision{Unpinned: "would not start: libgone.so, needed by", Unsettled: true},
		},
		{
			name: "the pin lacks a library, and is forced", policy: func(p *Policy) { p.Pins = []Pin{lacking(rest, true)} },
			edits: []record.EditRecord{runPath(farm), {Kind: record.EditReplace, From: []string{"libfoo.so.1"}, To: []string{"/var/sys/lacking/1/usr/lib/libfoo.so.1"}}},
			pins:  "lacking=1", want: Decision{Forced: true},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			copied := *info
			f := &Facts{Program: Program{Package: pkgOf("tool"), Path: "/usr/bin/tool"}, Source: digest.Of(packaged), Info: &copied}
			p := minimal
			if tt.facts != nil {
				tt.facts(f)
			}
			if tt.policy != nil {
				tt.policy(&p)
			}
			if tt.finder == nil {
				tt.finder = same
			}
			d, err := Decide(f, Bytes{packaged, packaged}, &p, tt.finder)
			if err != nil {
				t.Fatal(err)
			}
			var edits []record.EditRecord
			var pins []string
			if d.Desired != nil {
				edits = d.Desired.Edits
				for _, p := range d.Desired.Pins {
					pins = append(pins, p.String())
				}
				if edited, err := d.Edit.Apply(packaged); err != nil || digest.Of(edited) != d.Desired.Object {
					t.Errorf("the edit does not make the desired bytes (%v)", err)
				}
			}
			if diff := cmp.Diff(tt.edits, edits); diff != "" {
				t.Errorf("edits (-want +have)\n%s", diff)
			}
			if strings.Join(pins, " ") != tt.pins {
				t.Errorf("it follows %q, not %q", pins, tt.pins)
			}
			if !strings.HasPrefix(string(d.Left), string(tt.want.Left)) || (d.Left == "") != (tt.want.Left == "") {
				t.Errorf("it is left because %q, not %q", d.Left, tt.want.Left)
			}
			if !strings.HasPrefix(string(d.Unpinned), string(tt.want.Unpinned)) || (d.Unpinned == "") != (tt.want.Unpinned == "") {
				t.Errorf("it is not pinned because %q, not %q", d.Unpinned, tt.want.Unpinned)
			}
			if d.Keep != tt.want.Keep || d.Unsettled != tt.want.Unsettled || d.Forced != tt.want.Forced {
				t.Errorf("keep %t, unsettled %t, forced %t", d.Keep, d.Unsettled, d.Forced)
			}
			if d.Left == "" {
				if diff := cmp.Diff(tt.want.Unresolved, d.Unresolved); diff != "" {
					t.Errorf("unresolved (-want +have)\n%s", diff)
				}
			}
		})
	}
}

// lacking is a pin to a library that needs one which is not there.
func lacking(rest map[string]*ldso.Object, force bool) Pin {
	old := object("/var/sys/lacking/1/usr/lib/libfoo.so.1", "libfoo.so.1", "libgone.so")
	rest[old.Path] = old
	return Pin{
		record.Pin{Program: record.EveryProgram, Library: "lacking", Version: "1", Tree: "1", Force: force},
		&record.Manifest{Files: []record.File{{Path: "usr/lib/libfoo.so.1", Type: record.TypeFile, ELF: &elfedit.Info{Soname: "libfoo.so.1"}}}},
	}
}

// editedProgram is a program that has the edit of a sync.
func editedProgram(t *testing.T) (*Facts, Bytes) {
	t.Helper()
	packaged := program(t)
	records := []record.EditRecord{{Kind: record.EditRunPath, To: []string{"/var/sys/current-system/lib64"}}}
	_, edited, err := rewritten(packaged, records)
	if err != nil {
		t.Fatal(err)
	}
	current := &record.AppliedEdit{Object: digest.Of(edited), Edits: records}
	p := Program{Package: pkgOf("tool"), Path: "/usr/bin/tool"}
	return &Facts{Program: p, Source: digest.Of(packaged), Info: inspect(t, packaged), Current: current}, Bytes{edited, packaged}
}

// TestDecideAgain decides on a program that is edited.
func TestDecideAgain(t *testing.T) {
	f, b := editedProgram(t)
	info, current, packaged, edited := f.Info, f.Current, b.Packaged, b.Current
	bySize := edited // while an edit keeps the size
	keeps := current
	if len(edited) != len(packaged) {
		bySize, keeps = packaged, nil
	}
	for _, tt := range []struct {
		name    string
		policy  Policy
		desired *record.AppliedEdit
		result  []byte
	}{
		{"as it is", Policy{Rewrite: Rewrite{Executables: RewriteMinimal}, Prefix: "/var/sys"}, current, edited},
		{"nothing", Policy{Rewrite: Rewrite{Executables: RewriteNone}, Prefix: "/var/sys"}, nil, packaged},
		{"trusted by its digest", Policy{Rewrite: Rewrite{Executables: RewriteMinimal}, Prefix: "/var/sys", Integrity: "ima"}, nil, packaged},
		{"trusted by its size", Policy{Rewrite: Rewrite{Executables: RewriteMinimal}, Prefix: "/var/sys", Integrity: "size"}, keeps, bySize},
		{"another prefix", Policy{Rewrite: Rewrite{Executables: RewriteMinimal}, Prefix: "/srv/sys", FarmPlanned: true}, nil, nil},
	} {
		tt.policy.Architecture, tt.policy.Farm = ldso.Triplet(info), map[string]bool{"lib64/libfoo.so.1": true}
		d, err := Decide(f, b, &tt.policy, finder{})
		if err != nil || d.Left != "" {
			t.Errorf("%s: %v %s", tt.name, err, d.Left)
			continue
		}
		after, err := d.Edit.Apply(edited)
		if d.Edit.IsZero() {
			after, err = edited, nil
		}
		switch {
		case err != nil:
			t.Errorf("%s: %v", tt.name, err)
		case tt.result == nil:
			if p := inspect(t, after).RunPath; p != "/srv/sys/current-system/lib64" || d.Desired.Object != digest.Of(after) {
				t.Errorf("%s: it searches %s", tt.name, p)
			}
		case d.Desired != tt.desired || !bytes.Equal(after, tt.result):
			t.Errorf("%s: it has %v, or other bytes", tt.name, d.Desired)
		}
	}
}

// TestStartedByOther has programs whose interpreter is a file of the loader's name that
// is not the loader, and one that leads to it by another path.
func TestStartedByOther(t *testing.T) {
	const name = "ld-linux-x86-64.so.2"
	loader := object("/usr/lib/x86_64-linux-gnu/"+name, name)
	other := object("/opt/glibc/lib/"+name, name)
	tests := []struct {
		interpreter string
		files       map[string]*ldso.Object
		left        bool
	}{
		{"/lib64/" + name, map[string]*ldso.Object{"/lib64/" + name: loader}, false},
		{"/usr/lib64/" + name, map[string]*ldso.Object{"/lib64/" + name: loader, "/usr/lib64/" + name: loader}, false},
		{"/opt/link/" + name, map[string]*ldso.Object{"/lib64/" + name: loader, "/opt/link/" + name: loader}, false},
		{"/lib/x86_64-linux-gnu/" + name, map[string]*ldso.Object{"/lib/x86_64-linux-gnu/" + name: loader}, false},
		{other.Path, map[string]*ldso.Object{"/lib64/" + name: loader, other.Path: other}, true},
		{other.Path, map[string]*ldso.Object{other.Path: other}, true},
		{"/lib64/" + name, nil, false}, // is missing, which the comparison tells
	}
	packaged := program(t)
	for _, tt := range tests {
		info := *inspect(t, packaged)
		info.Class, info.Data, info.Machine, info.Interpreter = elf.ELFCLASS64, elf.ELFDATA2LSB, elf.EM_X86_64, tt.interpreter
		f := &Facts{Program: Program{Package: pkgOf("tool"), Path: "/usr/bin/tool"}, Info: &info}
		want := Reason("")
		if tt.left {
			want = "is started by /opt/glibc/lib/" + name + ", which is not this system's loader"
		}
		if have := startedByOther(f, finder{rest: tt.files}); have != want {
			t.Errorf("%s of %v: %q, want %q", tt.interpreter, tt.files, have, want)
		}
	}
	// One that was edited before gets its packaged bytes back, as one that was signed
	// since does.
	f, b := editedProgram(t)
	f.Info.Interpreter = other.Path
	d, err := Decide(f, b, rewriteAll(), finder{rest: map[string]*ldso.Object{other.Path: other}})
	if err != nil || d.Left != "" || d.Desired != nil || d.Edit.IsZero() {
		t.Errorf("an edited one: %v %+v", err, d)
	}
}

func TestSearchPath(t *testing.T) {
	f := &Facts{Program: Program{Package: pkgOf("tool"), Path: "/usr/bin/tool"}, Info: &elfedit.Info{HasRunPath: true, RunPath: "$ORIGIN/x"}}
	p := &Policy{Rewrite: Rewrite{Executables: RewriteMinimal}, Prefix: "/var/sys"}
	want := &record.EditRecord{Kind: record.EditRunPath, From: []string{"$ORIGIN/x"}, To: []string{"$ORIGIN/x:/var/sys/current-system/lib"}}
	if diff := cmp.Diff(want, p.searchPath(f, true)); diff != "" {
		t.Errorf("(-want +have)\n%s", diff)
	}
}

func TestSortPins(t *testing.T) {
	var pins []Pin
	for _, program := range []string{record.EveryProgram, "curl", "/usr/bin/curl", "git"} {
		pins = append(pins, Pin{Pin: record.Pin{Program: program}})
	}
	SortPins(pins)
	var have []string
	for _, p := range pins {
		have = append(have, p.Program)
	}
	if diff := cmp.Diff([]string{"/usr/bin/curl", "curl", "git", record.EveryProgram}, have); diff != "" {
		t.Errorf("(-want +have)\n%s", diff)
	}
}
