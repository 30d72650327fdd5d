package sysroot

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

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/pkginfo"
)

func debKey(name string) pkginfo.Key { return pkginfo.Key{Format: "deb", ID: name + ":amd64"} }

// editsOf is the record of a package of which one program was edited.
func editsOf(name string) *record.PackageEdits {
	return &record.PackageEdits{
		Layout: layout.FormatVersion, Key: debKey(name), Package: name,
		Files: []record.EditedFile{{Path: "/usr/bin/" + name, Source: digest.Of([]byte(name))}},
	}
}

func TestRecords(t *testing.T) {
	r := withStore(t)
	state := &record.SystemState{
		Layout: layout.FormatVersion, Databases: map[string]string{"deb": "stamp"}, Settings: digest.Of([]byte("s")), Generation: 3,
		Packages: map[pkginfo.Key]record.SystemPackage{debKey("jq"): {Stamp: "x", Tree: "jq/1", Unresolved: []string{"libfoo.so.1"}, Pinned: true}},
	}
	conf := &record.Conf{Layout: layout.FormatVersion, Dirs: []string{"/etc/jq"}, Files: []record.ConfFile{
		{Path: "/etc/jq/conf", Package: "jq", Version: "1.6", Is: []string{"-> x"}, Beside: []string{"y"}, Pending: true},
	}}
	kept := &record.Kept{Layout: layout.FormatVersion, List: []record.KeptFile{{Path: "/usr/local", Files: []record.KeptLead{{Path: "/usr/local/bin/x", Trees: []string{"jq/1"}}}}}}
	pins := []record.Pin{{Program: "/usr/bin/jq", Library: "libjq1", Version: "1.6", Tree: "1.6", Force: true}}
	for _, tt := range []struct {
		name       string
		get        func() (any, error)
		set        func() error
		none, some any
		file       string
	}{
		{
			"state", func() (any, error) { return r.SystemState(), nil }, func() error { return r.SetSystemState(state) },
			&record.SystemState{Layout: layout.FormatVersion, Packages: map[pkginfo.Key]record.SystemPackage{}}, state, stateFile,
		},
		{
			"conf", func() (any, error) { return r.Conf() }, func() error { return r.SetConf(conf) },
			&record.Conf{Layout: layout.FormatVersion}, conf, record.ConfPath,
		},
		{"pins", func() (any, error) { return r.Pins() }, func() error { return r.SetPins(pins) }, []record.Pin(nil), pins, PinsFile},
		{
			"kept", func() (any, error) { return r.Kept() }, func() error { return r.SetKept(kept) },
			&record.Kept{Layout: layout.FormatVersion}, kept, record.KeptPath,
		},
		{
			"failure", func() (any, error) { return r.Failure() }, func() error { return r.SetFailure("the disk is full") },
			"", "the disk is full", failureFile,
		},
		{"retired", func() (any, error) { return r.Retired() }, func() error { return r.SetRetired(true) }, false, true, retiredFile},
		{
			"edits", func() (any, error) { return r.Edits(debKey("jq")) },
			func() error { return r.SetEdits([]*record.PackageEdits{editsOf("jq")}) },
			&record.PackageEdits{Layout: layout.FormatVersion, Key: debKey("jq")}, editsOf("jq"), record.EditsPath(debKey("jq")),
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			check := func(want any) {
				t.Helper()
				got, err := tt.get()
				if diff := cmp.Diff(want, got); diff != "" || err != nil {
					t.Errorf("error %v (-want +got):\n%s", err, diff)
				}
			}
			check(tt.none)
			for range 2 {
				if err := tt.set(); err != nil {
					t.Fatal(err)
				}
				check(tt.some)
			}
			info, err := os.Stat(r.store.Path(tt.file))
			if err != nil || info.Mode() != 0o644 {
				t.Errorf("its file: %v, %v", info, err)
			}
		})
	}
	if err := errors.Join(r.SetFailure(""), r.SetRetired(false)); err != nil {
		t.Fatal(err)
	}
	failure, ferr := r.Failure()
	retired, rerr := r.Retired()
	if err := errors.Join(ferr, rerr); failure != "" || retired || err != nil {
		t.Errorf("taken back: %q, %v, %v", failure, retired, err)
	}
	if err := errors.Join(r.SetFailure(""), r.SetRetired(false)); err != nil { // a second time
		t.Error(err)
	}
}

func TestDamagedRecords(t *testing.T) {
	r := withStore(t)
	put(t, r.store.Path(record.EditsPath(debKey("jq"))), "")
	pins := func() error { _, err := r.Pins(); return err }
	conf := func() error { _, err := r.Conf(); return err }
	kept := func() error { _, err := r.Kept(); return err }
	edits := func() error { _, err := r.Edits(debKey("jq")); return err }
	for _, tt := range []struct {
		file, content string
		read          func() error
		err           string // "" for none
	}{
		{stateFile, "{", func() error { return nil }, ""},
		{stateFile, `{"layout":99,"packages":{"deb:jq:amd64":{}}}`, func() error { return nil }, ""},
		{stateFile, `{"layout":1}`, func() error { return nil }, ""},
		{PinsFile, "", pins, "read pins "},
		{PinsFile, `{"layout":99}`, pins, "layout"},
		{PinsFile, `{"layout":1,"pins":[{"program":"/usr/bin/jq","library":"../x","version":"1","tree":"1"}]}`, pins, "read pins "},
		{PinsFile, `{"layout":1}`, pins, ""},
		{record.KeptPath, "{", kept, "read which programs are kept "},
		{record.KeptPath, `{"layout":1,"kept":[{"path":"usr/local"}]}`, kept, "is no absolute path"},
		{record.KeptPath, `{"layout":1}`, kept, ""},
		{record.ConfPath, "{", conf, "read the record of configuration files "},
		{record.ConfPath, `{"layout":1,"files":[{"path":"/usr/x","package":"jq","version":"1","is":["x"]}]}`, conf, "is not a path below /etc"},
		{record.ConfPath, `{"layout":1,"files":[{"path":"/etc/../usr/x","package":"jq","version":"1","is":["x"]}]}`, conf, "is not a path below /etc"},
		{record.ConfPath, `{"layout":1,"files":[{"path":"/var/lib/x","package":"jq","version":"1","is":["x"]}]}`, conf, "is not a path below /etc"},
		{record.ConfPath, `{"layout":1,"files":[{"path":"/var/log/x","package":"jq","version":"1","computed":true,"is":["x"]}]}`, conf, "is not a path below /etc"},
		{record.ConfPath, `{"layout":1,"files":[{"path":"/var/lib/../x","package":"jq","version":"1","computed":true,"is":["x"]}]}`, conf, "is not a path below /etc"},
		{record.ConfPath, `{"layout":1,"files":[],"dirs":["/usr/x"]}`, conf, "is not a path below /etc"},
		{record.ConfPath, `{"layout":1,"files":[{"path":"/etc/x","package":"jq","version":"1","computed":true,"also":["../x"],"is":["x"]}]}`, conf, "../x"},
		{record.ConfPath, `{"layout":1,"files":[{"path":"/etc/x","package":"../jq","version":"1","is":["x"]}]}`, conf, "../jq"},
		{record.ConfPath, `{"layout":1,"files":[{"path":"/etc/x","package":"jq","version":"1"}]}`, conf, "nothing is known"},
		{record.ConfPath, `{"layout":1,"dirs":["/usr"]}`, conf, "is not a path below /etc"},
		{record.ConfPath, `{"layout":1,"dirs":["/etc"]}`, conf, ""},
		{record.EditsPath(debKey("jq")), "{", edits, "read the record of edited programs "},
		{record.EditsPath(debKey("jq")), `{"layout":1,"key":"deb:awk:amd64","package":"awk"}`, edits, "it is the record of deb:awk:amd64"},
		{record.EditsPath(debKey("jq")), `{"layout":1,"key":"deb:jq:amd64","package":"jq"}`, edits, ""},
	} {
		if err := os.WriteFile(r.store.Path(tt.file), []byte(tt.content), 0o644); err != nil {
			t.Fatal(err)
		}
		err := tt.read()
		if (err != nil) != (tt.err != "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s is %q: the error is %v, want %q", tt.file, tt.content, err, tt.err)
		}
		// A state that cannot be read is none: everything is looked at again.
		if s := r.SystemState(); s.Packages == nil || len(s.Packages) > 0 || len(s.Databases) > 0 {
			t.Errorf("%s is %q: the state is %+v", tt.file, tt.content, s)
		}
	}
}

// TestSetEdits writes, replaces and takes away the records of several packages.
func TestSetEdits(t *testing.T) {
	r := withStore(t)
	rpm := &record.PackageEdits{Layout: layout.FormatVersion, Key: pkginfo.Key{Format: "rpm", ID: "awk.x86_64"}, Package: "awk", Files: editsOf("awk").Files}
	none := editsOf("jq")
	none.Files = nil
	for _, step := range []struct {
		set  []*record.PackageEdits
		want []string
	}{
		{nil, nil},
		{[]*record.PackageEdits{editsOf("jq"), rpm, editsOf("tool")}, []string{"deb:jq:amd64", "deb:tool:amd64", "rpm:awk.x86_64"}},
		{[]*record.PackageEdits{editsOf("tool")}, []string{"deb:jq:amd64", "deb:tool:amd64", "rpm:awk.x86_64"}},
		{[]*record.PackageEdits{none, editsOf("other")}, []string{"deb:other:amd64", "deb:tool:amd64", "rpm:awk.x86_64"}},
		{[]*record.PackageEdits{none}, []string{"deb:other:amd64", "deb:tool:amd64", "rpm:awk.x86_64"}},
	} {
		if err := r.SetEdits(step.set); err != nil {
			t.Fatal(err)
		}
		keys, err := r.EditedPackages()
		var have []string
		for _, k := range keys {
			have = append(have, k.String())
		}
		if diff := cmp.Diff(step.want, have); diff != "" || err != nil {
			t.Errorf("records: %v (-want +got):\n%s", err, diff)
		}
	}
	// One that cannot be written leaves the others as they were, and nothing else.
	top := r.store.Path(record.EditsDir)
	before := names(t, top)
	changed := editsOf("tool")
	changed.Package = "another"
	bad := editsOf("bad")
	if err := os.Mkdir(r.store.Path(record.EditsPath(bad.Key)), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := r.SetEdits([]*record.PackageEdits{bad}); err == nil {
		t.Error("a directory was replaced by a record")
	}
	if err := os.Remove(r.store.Path(record.EditsPath(bad.Key))); err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(top, "nodir"), "x")
	bad.Key.Format = "nodir"
	if err := r.SetEdits([]*record.PackageEdits{changed, bad}); err == nil {
		t.Error("a record was written below a file")
	}
	if err := os.Remove(filepath.Join(top, "nodir")); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, names(t, top)); diff != "" {
		t.Errorf("what failed leaves (-before +after):\n%s", diff)
	}
	if e, err := r.Edits(changed.Key); err != nil || e.Package != "tool" {
		t.Errorf("a record of a step that failed was changed: %+v, %v", e, err)
	}
}

// TestEditedPackages passes over what is no record.
func TestEditedPackages(t *testing.T) {
	r := withStore(t)
	if keys, err := r.EditedPackages(); len(keys) > 0 || err != nil {
		t.Errorf("%v, %v", keys, err)
	}
	if err := r.SetEdits([]*record.PackageEdits{editsOf("jq")}); err != nil {
		t.Fatal(err)
	}
	top := r.store.Path(record.EditsDir)
	put(t, filepath.Join(top, "file"), "x")
	put(t, filepath.Join(top, "deb/.hashpkg-new-1"), "x")
	put(t, filepath.Join(top, "empty"), "/")
	keys, err := r.EditedPackages()
	if !slices.Equal(keys, []pkginfo.Key{debKey("jq")}) || err != nil {
		t.Errorf("%v, %v", keys, err)
	}
}

// TestClampTimes sets times back, but not those of what trees have.
func TestClampTimes(t *testing.T) {
	r := withStore(t)
	commitFour(t, r)
	limit := time.Unix(1500000000, 0)
	early, late := limit.Add(-time.Hour), limit.Add(time.Hour)
	for name, what := range map[string]string{
		"var/sys/jq/1/bin/jq": "x", "var/sys/jq/default": "-> 1", "var/sys/.hashpkg/objects/00/11": "x", "usr/bin/jq": "x", "usr/lib/x": "x", "bin": "-> usr/bin",
	} {
		put(t, filepath.Join(r.Dir(), name), what)
	}
	if err := r.SetRetired(true); err != nil {
		t.Fatal(err)
	}
	clamped := map[string]bool{
		"usr/bin": true, "usr/lib": false, "usr": false, "usr/bin/jq": false, "var": true, "var/sys": true,
		"var/sys/jq": true, "var/sys/jq/1/bin": true, "var/sys/jq/1/bin/jq": false,
		"var/sys/.hashpkg/objects/00": true, "var/sys/.hashpkg/objects/00/11": false,
		"var/sys/.hashpkg/system/retired": true, "var/sys/.hashpkg/lock": true, "var/sys/.hashpkg/generations/4/generation.json": true,
	}
	for _, then := range []time.Time{late, early} {
		for name := range clamped {
			if err := os.Chtimes(filepath.Join(r.Dir(), name), then, then); err != nil {
				t.Fatal(err)
			}
		}
		if err := r.ClampTimes(limit, []string{"/usr/bin"}); err != nil {
			t.Fatal(err)
		}
		for name, is := range clamped {
			want := then
			if is && then.After(limit) {
				want = limit
			}
			info, err := os.Lstat(filepath.Join(r.Dir(), name))
			if err != nil || !info.ModTime().Equal(want) {
				t.Errorf("%s has the time %s (%v), want %s", name, info.ModTime(), err, want)
			}
		}
	}
	if info, err := os.Lstat(r.store.Path("jq/default")); err != nil || info.ModTime().After(limit) {
		t.Errorf("a link has the time %s (%v)", info.ModTime(), err)
	}
	if err := r.ClampTimes(limit, []string{"/nothing/at/all"}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a directory that is not there: %v", err)
	}
}
