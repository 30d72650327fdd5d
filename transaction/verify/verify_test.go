package verify

import (
	"context"
	"crypto/md5"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hashpkg/hashpkg/backends"
	"github.com/hashpkg/hashpkg/backends/deb"
	"github.com/hashpkg/hashpkg/backends/trust"
	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/internal/testdeb"
	"github.com/hashpkg/hashpkg/internal/testelf"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/pkginfo"
	"github.com/hashpkg/hashpkg/programs"
	"github.com/hashpkg/hashpkg/store"
	"github.com/hashpkg/hashpkg/sysroot"
	"github.com/hashpkg/hashpkg/transaction"
	"github.com/hashpkg/hashpkg/transaction/query"
)

const loader = "/lib64/ld-linux-x86-64.so.2"

func newRoot(t *testing.T) *sysroot.Root {
	t.Helper()
	root, err := sysroot.Open(t.TempDir(), layout.DefaultPrefix, backends.Formats{deb.Format{}})
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

// install installs two packages of plain files.
func install(t *testing.T, root *sysroot.Root) {
	t.Helper()
	var files []string
	for _, p := range []testdeb.Package{
		{Name: "a", Version: "1", Files: []testdeb.File{testdeb.Exec("usr/bin/a", "#!/bin/sh\necho a\n"), testdeb.Symlink("usr/bin/b", "a")}},
		{Name: "other", Version: "1", Files: []testdeb.File{testdeb.Exec("usr/bin/other", "#!/bin/sh\necho other\n")}},
	} {
		file := filepath.Join(t.TempDir(), p.Name+".deb")
		if err := os.WriteFile(file, testdeb.Deb(t, p), 0o644); err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	if _, err := transaction.Install(t.Context(), transaction.InstallOptions{Root: root, Packages: transaction.PackageFiles(files...), Signature: trust.Off, Now: time.Unix(1700000000, 0)}); err != nil {
		t.Fatal(err)
	}
}

// replace puts another file, or link ("-> TARGET"), in place of one; "" for none.
func replace(t *testing.T, file, content string) {
	t.Helper()
	err := os.RemoveAll(file)
	if target, ok := strings.CutPrefix(content, "-> "); ok {
		err = errors.Join(err, os.Symlink(target, file))
	} else if content != "" {
		err = errors.Join(err, os.WriteFile(file, []byte(content), 0o755))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestTrees damages one thing after the other.
func TestTrees(t *testing.T) {
	for _, tt := range []struct {
		name          string
		file, content string // below the prefix
		want          []string
	}{
		{"nothing", "", "", nil},
		{"a link of the farm", ".hashpkg/generations/1/bin/a", "", []string{"link  .hashpkg/generations/1/bin/a is missing"}},
		{"a link of the farm leads elsewhere", ".hashpkg/generations/1/default/a", "-> x", []string{"link  .hashpkg/generations/1/default/a leads to x, and should lead to ../../../../a/1"}},
		{"a default link", "a/default", "", []string{"link  a/default is missing"}},
		{"a manifest", ".hashpkg/manifests/a/1.json", "", []string{"manifest a=1 .hashpkg/manifests/a/1.json is missing"}},
		{"a tree", "a/1", "", []string{"tree-missing a=1 a/1 the tree is missing"}},
		{"a file", "a/1/usr/bin/a", "", []string{"file-missing a=1 a/1/usr/bin/a is missing"}},
		{"a link of a tree", "a/1/usr/bin/b", "-> c", []string{"link a=1 a/1/usr/bin/b leads to c, and should lead to a"}},
		{"a file more", "a/1/usr/bin/x", "x", []string{"file-unknown a=1 a/1/usr/bin/x is not in the manifest"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			root := newRoot(t)
			install(t, root)
			if tt.file != "" {
				replace(t, root.Store().Path(tt.file), tt.content)
			}
			report, err := Trees(t.Context(), root, Options{})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, inShort(root, report)); diff != "" || report.Checked == 0 {
				t.Errorf("of %d (-want +got):\n%s", report.Checked, diff)
			}
			// The other package is as it was, and links of the farm are nobody's.
			report, err = Trees(t.Context(), root, Options{Specs: []query.Spec{{Name: "other"}}})
			if err != nil || len(report.Damaged) > 0 || report.Checked == 0 {
				t.Errorf("the other one: %+v, %v", report, err)
			}
		})
	}
	root := newRoot(t)
	if report, err := Trees(t.Context(), root, Options{}); err != nil || report.Checked != 0 || report.Damaged == nil {
		t.Errorf("without a store: %+v, %v", report, err)
	}
	install(t, root)
	if _, err := Trees(t.Context(), root, Options{Specs: []query.Spec{{Name: "a", Version: "2"}}}); !errors.Is(err, query.ErrNotInstalled) {
		t.Errorf("a version that is not there: %v", err)
	}
	// The manifest of another build.
	m, err := root.Store().Manifest("a", "1")
	if err != nil {
		t.Fatal(err)
	}
	m.Identity[0]++
	b, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	replace(t, root.Store().Path(layout.ManifestPath("a", "1")), string(b))
	report, err := Trees(t.Context(), root, Options{})
	if diff := cmp.Diff([]string{"manifest a=1 .hashpkg/manifests/a/1.json is the manifest of another identity"}, inShort(root, report)); diff != "" || err != nil {
		t.Errorf("error %v (-want +got):\n%s", err, diff)
	}
	replace(t, root.Store().Path(layout.ManifestPath("a", "1")), "{")
	report, err = Trees(t.Context(), root, Options{})
	if err != nil || len(report.Damaged) != 1 || report.Damaged[0].Kind != store.DamageManifest || report.Damaged[0].Tree != "a/1" {
		t.Errorf("a manifest that cannot be read: %+v, %v", report, err)
	}
}

// TestWhatIsRead damages a tree that no generation in use has: it is read where a pin
// or an edited program leads to it, when it is named, and with All.
func TestWhatIsRead(t *testing.T) {
	root := newRoot(t)
	install(t, root)
	if _, err := transaction.Remove(t.Context(), transaction.Change{Root: root, Now: time.Unix(1700000001, 0)}, query.Spec{Name: "other"}); err != nil {
		t.Fatal(err)
	}
	replace(t, root.Store().Path("other/1/usr/bin/other"), "")
	stray := digest.Of([]byte("stray"))
	if err := os.MkdirAll(filepath.Dir(root.Store().Path(layout.ObjectPath(stray))), 0o755); err != nil {
		t.Fatal(err)
	}
	replace(t, root.Store().Path(layout.ObjectPath(stray)), "other bytes")
	key := pkginfo.Key{Format: "deb", ID: "prog:amd64"}
	tree := record.PinnedTree{Library: "other", Tree: "1"}
	edits := &record.PackageEdits{Layout: 1, Key: key, Package: "prog", Files: []record.EditedFile{{
		Path: "/usr/bin/prog", Applied: []record.AppliedEdit{{Pins: []record.PinnedTree{tree}}},
	}}}
	missing := []string{"file-missing other=1 other/1/usr/bin/other is missing"}
	for _, tt := range []struct {
		name    string
		prepare func() error
		o       Options
		want    []string
	}{
		{"in use", nil, Options{}, nil},
		{"named", nil, Options{Specs: []query.Spec{{Name: "other", Version: "1"}}}, missing},
		{"all", nil, Options{All: true}, append(slices.Clone(missing), "object-bytes  "+layout.ObjectPath(stray))},
		{"pinned", func() error {
			return root.SetPins([]record.Pin{{Program: "prog", Library: "other", Version: "1", Tree: "1"}})
		}, Options{}, missing},
		{"loaded by an edited program", func() error {
			return errors.Join(root.SetPins(nil), root.SetEdits([]*record.PackageEdits{edits}))
		}, Options{}, missing},
		{"pinned, without its manifest", func() error {
			return errors.Join(root.SetPins([]record.Pin{{Program: "prog", Library: "other", Version: "1", Tree: "1"}}),
				os.Remove(root.Store().Path(layout.ManifestPath("other", "1"))))
		}, Options{}, []string{"manifest  .hashpkg/manifests/other/1.json is missing"}},
		{"a generation", func() error {
			replace(t, root.Store().Path(layout.GenerationPath(1)+"/"+layout.GenerationFile), "{")
			return nil
		}, Options{All: true}, []string{"manifest", "generation", "object-bytes"}},
	} {
		if tt.prepare != nil {
			if err := tt.prepare(); err != nil {
				t.Fatal(err)
			}
		}
		report, err := Trees(t.Context(), root, tt.o)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		short := inShort(root, report)
		if len(short) != len(tt.want) {
			t.Errorf("%s: %q, want %q", tt.name, short, tt.want)
			continue
		}
		for i, want := range tt.want {
			if !strings.HasPrefix(short[i], want) {
				t.Errorf("%s: %q, want %q", tt.name, short[i], want)
			}
		}
	}
	if _, err := Trees(t.Context(), root, Options{Specs: []query.Spec{{Name: "other"}}}); !errors.Is(err, query.ErrNotInstalled) {
		t.Errorf("a name without a version: %v", err)
	}
	stopped, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Trees(stopped, root, Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("called off: %v", err)
	}
}

// inShort returns damages as "KIND PACKAGE PATH WHAT".
func inShort(root *sysroot.Root, r *Report) (list []string) {
	for _, d := range r.Damaged {
		path := strings.TrimPrefix(d.Path, root.Store().Path(".")+"/")
		if rel, err := filepath.Rel(root.Store().Path("."), d.Path); err == nil {
			path = rel
		}
		list = append(list, fmt.Sprintf("%s %s %s %s", d.Kind, d.Package, path, d.What))
	}
	return list
}

// TestSystem alters files of an installed package, one of which a sync has edited.
func TestSystem(t *testing.T) {
	tool := testelf.File{Interpreter: loader, Needed: []string{"liba.so.1"}}.Bytes()
	files := map[string]string{
		"usr/bin/tool": string(tool), "usr/bin/script": "#!/bin/sh\n", "usr/share/doc/tool": "text", "etc/tool.conf": "setting",
		"usr/bin/nodigest": "x", "usr/lib/x86_64-linux-gnu/liba.so.1": string(testelf.File{Soname: "liba.so.1"}.Bytes()),
	}
	root := newRoot(t)
	if _, err := System(t.Context(), root, nil, func(int, int) {}); !errors.Is(err, backends.ErrNoDatabase) {
		t.Errorf("without a database: %v", err)
	}
	files["usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"] = string(testelf.File{Soname: "ld-linux-x86-64.so.2"}.Bytes())
	if err := os.Symlink("usr/lib/x86_64-linux-gnu", filepath.Join(root.Dir(), "lib64")); err != nil {
		t.Fatal(err)
	}
	var list, sums strings.Builder
	list.WriteString("/.\n/usr\n")
	for name, content := range files {
		fmt.Fprintf(&list, "/%s\n", name)
		if name != "usr/bin/nodigest" {
			fmt.Fprintf(&sums, "%x  %s\n", md5.Sum([]byte(content)), name)
		}
	}
	all := map[string]string{
		"var/lib/dpkg/info/tool.list": list.String(), "var/lib/dpkg/info/tool.md5sums": sums.String(), "var/lib/dpkg/info/tool.conffiles": "/etc/tool.conf\n",
		"var/lib/dpkg/status": "Package: tool\nStatus: install ok installed\nMaintainer: x <x@example.org>\nArchitecture: amd64\nVersion: 1\nDescription: x\n",
	}
	for name, content := range files {
		all[name] = content
	}
	for name, content := range all {
		if err := root.WriteFile(name, []byte(content), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	_, err := transaction.Sync(t.Context(), transaction.SyncOptions{
		Root: root, Rewrite: programs.Rewrite{Executables: programs.RewriteFull}, Now: time.Unix(1700000000, 0),
	})
	if err != nil {
		t.Fatal(err)
	}
	edited, err := root.ReadFile("/usr/bin/tool", 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	good := SystemVerdict{Checked: 7, Pristine: 4, Edited: []string{"/usr/bin/tool"}, Altered: []AlteredReport{}, Records: []AlteredReport{}, Unknown: 1, Config: 1}
	altered := func(path, what string, v SystemVerdict) SystemVerdict {
		v.Altered, v.Records = []AlteredReport{{Path: path, Package: "tool=1", What: what}}, []AlteredReport{}
		return v
	}
	const recordFile = "var/sys/.hashpkg/system/edits/deb/tool:amd64.json"
	unreadable := altered("/usr/bin/tool", "is not what its package brought", SystemVerdict{Checked: 7, Pristine: 4, Edited: []string{}, Unknown: 1, Config: 1})
	unreadable.Records = []AlteredReport{{Path: filepath.Join(root.Dir(), recordFile), Package: "tool=1"}}
	for _, tt := range []struct {
		name, file, content string
		want                SystemVerdict
	}{
		{"nothing", "", "", good},
		{"a script", "usr/bin/script", "#!/bin/false\n", altered("/usr/bin/script", "", SystemVerdict{Checked: 7, Pristine: 3, Edited: good.Edited, Unknown: 1, Config: 1})},
		{"a script is gone", "usr/bin/script", "", altered("/usr/bin/script", "is missing", SystemVerdict{Checked: 7, Pristine: 3, Edited: good.Edited, Unknown: 1, Config: 1})},
		{"a script is a link", "usr/bin/script", "-> tool", altered("/usr/bin/script", "is a link now", SystemVerdict{Checked: 7, Pristine: 3, Edited: good.Edited, Unknown: 1, Config: 1})},
		{"a text is gone", "usr/share/doc/tool", "", SystemVerdict{Checked: 6, Pristine: 3, Edited: good.Edited, Altered: good.Altered, Records: good.Records, Unknown: 1, Config: 1}},
		{"a setting", "etc/tool.conf", "another setting", good},
		{"a setting is gone", "etc/tool.conf", "", SystemVerdict{Checked: 6, Pristine: 4, Edited: good.Edited, Altered: good.Altered, Records: good.Records, Unknown: 1}},
		{"the tool has a byte more", "usr/bin/tool", string(edited) + "x", altered("/usr/bin/tool", "", SystemVerdict{Checked: 7, Pristine: 4, Edited: []string{}, Unknown: 1, Config: 1})},
		{"no record", recordFile, "", altered("/usr/bin/tool", "is not what its package brought", SystemVerdict{Checked: 7, Pristine: 4, Edited: []string{}, Unknown: 1, Config: 1})},
		{"an unreadable record", recordFile, "x", unreadable},
		{"the tool is packaged", "usr/bin/tool", string(tool), SystemVerdict{Checked: 7, Pristine: 5, Edited: []string{}, Altered: good.Altered, Records: good.Records, Unknown: 1, Config: 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			host := filepath.Join(root.Dir(), tt.file)
			if tt.file != "" {
				before, err := os.ReadFile(host)
				if err != nil {
					t.Fatal(err)
				}
				replace(t, host, tt.content)
				defer func() { replace(t, host, string(before)) }()
			}
			v, err := System(t.Context(), root, []string{"tool"}, func(int, int) {})
			if err != nil {
				t.Fatal(err)
			}
			for i := range v.Altered { // texts of package programs, which its own tests compare
				if len(tt.want.Altered) > i && tt.want.Altered[i].What == "" && v.Altered[i].What != "" {
					v.Altered[i].What = ""
				}
			}
			for i := range v.Altered {
				v.Altered[i].Digest = ""
			}
			for i := range v.Records {
				if !strings.Contains(v.Records[i].What, "hashpkg verify --system --repair mends") {
					t.Errorf("of the record it says %s", v.Records[i].What)
				}
				v.Records[i].What = ""
			}
			tt.want.Unread = []string{}
			if diff := cmp.Diff(&tt.want, v); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	if _, err := System(t.Context(), root, []string{"nothing"}, func(int, int) {}); !errors.Is(err, query.ErrNotInstalled) {
		t.Errorf("a package that is not there: %v", err)
	}
}
