package sysroot

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/internal/beneath"
	"github.com/hashpkg/hashpkg/layout"
	farms "github.com/hashpkg/hashpkg/layout/farm"
	"github.com/hashpkg/hashpkg/layout/record"
)

// scratchDir is a new directory in the staging directory of a root.
func scratchDir(t *testing.T, r *Root) *beneath.Dir {
	t.Helper()
	name := layout.StagingDir + "/" + beneath.TempName()
	err := r.store.Dir().MkdirAll(name, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := r.store.Dir().OpenDir(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = dir.Close() })
	return dir
}

// commit makes a generation and switches to it.
func commit(t *testing.T, r *Root, g, active *record.Generation) {
	t.Helper()
	scratch := scratchDir(t, r)
	if err := r.WriteGeneration(scratch, "new", g, active); err != nil {
		t.Fatal(err)
	}
	if err := r.store.Dir().MkdirAll(layout.GenerationsDir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := r.store.Dir().Rename(scratch, "new", layout.GenerationPath(g.ID)); err != nil {
		t.Fatal(err)
	}
	if err := r.Switch(g.ID, scratch); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(scratch.Name()); err != nil {
		t.Fatal(err)
	}
}

// generation is one with private trees, each "NAME/VERSION LINK...".
func generation(id, parent int, trees ...string) *record.Generation {
	g := &record.Generation{Layout: layout.FormatVersion, ID: id, Parent: parent, Architecture: "x86_64-linux-gnu", Time: time.Unix(1700000000, 0).UTC()}
	list := []record.Tree{}
	for _, text := range trees {
		f := strings.Fields(text)
		name, version, _ := strings.Cut(f[0], "/")
		list = append(list, record.Tree{
			Name: name, Version: version, Dir: version, Architecture: "amd64", Format: "deb", Origin: record.OriginPrivate,
			Identity: digest.Of([]byte(f[0])), Since: 1, Links: f[1:],
		})
	}
	g.SetTrees(list)
	return g
}

// farmOnDisk returns the links of a generation's directory, "NAME -> TARGET".
func farmOnDisk(t *testing.T, r *Root, id int) []string {
	t.Helper()
	top := filepath.Join(r.store.Path(layout.GenerationPath(id)))
	var list []string
	for _, name := range names(t, top) {
		if target, err := os.Readlink(filepath.Join(top, name)); err == nil {
			list = append(list, name+" -> "+target)
		}
	}
	return list
}

// withStore is a root with an empty store.
func withStore(t *testing.T) *Root {
	t.Helper()
	r := openRoot(t, t.TempDir())
	l := locked(t, r)
	t.Cleanup(func() {
		if err := l.Unlock(); err != nil {
			t.Error(err)
		}
	})
	return r
}

var fourGenerations = []*record.Generation{
	generation(1, 0, "jq/1.6 bin/jq share/man/man1/jq.1", "libonig5/6.9 lib64/libonig.so.5"),
	generation(2, 1, "jq/1.6 bin/jq share/man/man1/jq.1", "jq/1.7 bin/jq"),
	generation(3, 2, "jq/1.7 bin/jq", "awk/1 bin/awk"),
	generation(4, 3, "jq/1.7 bin/jq", "awk/2 bin/awk sbin/awkd"),
}

var fourFarms = [][]string{
	{
		"bin/jq -> ../../../../jq/1.6/bin/jq", "default/jq -> ../../../../jq/1.6", "default/libonig5 -> ../../../../libonig5/6.9",
		"lib64/libonig.so.5 -> ../../../../libonig5/6.9/lib64/libonig.so.5",
		"share/man/man1/jq.1 -> ../../../../../../jq/1.6/usr/share/man/man1/jq.1",
	},
	{"bin/jq -> ../../../../jq/1.7/bin/jq", "default/jq -> ../../../../jq/1.7"},
	{
		"bin/awk -> ../../../../awk/1/bin/awk", "bin/jq -> ../../../../jq/1.7/bin/jq",
		"default/awk -> ../../../../awk/1", "default/jq -> ../../../../jq/1.7",
	},
	{
		"bin/awk -> ../../../../awk/2/bin/awk", "bin/jq -> ../../../../jq/1.7/bin/jq",
		"default/awk -> ../../../../awk/2", "default/jq -> ../../../../jq/1.7", "sbin/awkd -> ../../../../awk/2/sbin/awkd",
	},
}

// commitFour makes the four generations.
func commitFour(t *testing.T, r *Root) {
	t.Helper()
	active := &record.Generation{}
	for _, g := range fourGenerations {
		commit(t, r, g, active)
		active = g
	}
}

// checkFarms compares the farms on the disk with those that the generations should
// have; none for those that lent theirs.
func checkFarms(t *testing.T, r *Root, lent ...int) {
	t.Helper()
	for i, want := range fourFarms {
		for _, id := range lent {
			if id == i+1 {
				want = nil
			}
		}
		if diff := cmp.Diff(want, farmOnDisk(t, r, i+1)); diff != "" {
			t.Errorf("the farm of generation %d (-want +got):\n%s", i+1, diff)
		}
	}
}

// TestFarms makes generations, of which each beyond the third takes the farm of an
// older one, and gives these theirs back.
func TestFarms(t *testing.T) {
	r := withStore(t)
	commitFour(t, r)
	checkFarms(t, r, 1)
	for i, want := range fourGenerations { // the one that lent its farm, too
		if g, err := r.Generation(i + 1); err != nil {
			t.Error(err)
		} else if diff := cmp.Diff(want, g, cmpopts.IgnoreFields(record.Generation{}, "Orders"), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("generation %d (-written +read):\n%s", i+1, diff)
		}
	}
	// The second is the only one that can be spared while the fourth is active.
	if err := r.RestoreFarm(fourGenerations[0], fourGenerations[3], scratchDir(t, r)); err != nil {
		t.Fatal(err)
	}
	checkFarms(t, r, 2)
	if err := r.RestoreFarm(fourGenerations[0], fourGenerations[3], scratchDir(t, r)); err != nil { // it has it
		t.Fatal(err)
	}
	checkFarms(t, r, 2)
	// As if the first were active: the third and the fourth can be spared, the newest
	// first.
	if err := r.RestoreFarm(fourGenerations[1], fourGenerations[0], scratchDir(t, r)); err != nil {
		t.Fatal(err)
	}
	checkFarms(t, r, 4)
}

// TestDamagedFarmIsNotLent makes the fourth generation when the first has a farm that
// somebody has changed.
func TestDamagedFarmIsNotLent(t *testing.T) {
	for what, damage := range map[string]func(top string) error{
		"a link more": func(top string) error { return os.Symlink("x", filepath.Join(top, "bin/x")) },
		"a file":      func(top string) error { return os.WriteFile(filepath.Join(top, "bin/x"), nil, 0o644) },
		"a link less": func(top string) error { return os.Remove(filepath.Join(top, "bin/jq")) },
		"a file for a link": func(top string) error {
			name := filepath.Join(top, "bin/jq")
			return errors.Join(os.Remove(name), os.WriteFile(name, nil, 0o644))
		},
		"another record": func(top string) error {
			return os.WriteFile(filepath.Join(top, layout.GenerationFile), []byte("{}"), 0o644)
		},
	} {
		t.Run(what, func(t *testing.T) {
			r := withStore(t)
			active := &record.Generation{}
			for _, g := range fourGenerations[:3] {
				commit(t, r, g, active)
				active = g
			}
			top := r.store.Path(layout.GenerationPath(1))
			if err := damage(top); err != nil {
				t.Fatal(err)
			}
			before := names(t, top)
			commit(t, r, fourGenerations[3], active)
			if diff := cmp.Diff(fourFarms[3], farmOnDisk(t, r, 4)); diff != "" {
				t.Errorf("the new farm (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(before, names(t, top)); diff != "" {
				t.Errorf("the damaged farm (-before +after):\n%s", diff)
			}
		})
	}
}

func TestVerifyFarm(t *testing.T) {
	r := withStore(t)
	commitFour(t, r)
	for _, name := range []string{"awk", "jq"} {
		put(t, r.store.Path(name+"/default"), "-> "+layout.DefaultLinkTarget(name))
	}
	g := fourGenerations[3]
	checked, faults, err := r.VerifyFarm(g)
	if checked != 7 || len(faults) > 0 || err != nil {
		t.Errorf("%d links looked at, %v, error %v", checked, faults, err)
	}
	farm := r.store.Path(layout.GenerationPath(4))
	for name, what := range map[string]string{"bin/awk": "", "bin/jq": "-> ../../../../jq/1.6/bin/jq", "default/awk": "x", "sbin": "-> bin"} {
		if err := os.RemoveAll(filepath.Join(farm, name)); err != nil {
			t.Fatal(err)
		}
		if what != "" {
			put(t, filepath.Join(farm, name), what)
		}
	}
	if err := os.Remove(r.store.Path("jq/default")); err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(farm, "bin/more"), "-> awk")
	checked, faults, err = r.VerifyFarm(g)
	targets := map[string]string{}
	for _, l := range farms.Links(g) {
		targets[l.Path] = l.Target
	}
	want := []LinkFault{
		{".hashpkg/generations/4/bin/awk", targets["bin/awk"], "is missing"},
		{".hashpkg/generations/4/bin/jq", targets["bin/jq"], "leads to ../../../../jq/1.6/bin/jq, and should lead to ../../../../jq/1.7/bin/jq"},
		{".hashpkg/generations/4/default/awk", targets["default/awk"], "is not a link of its own"},
		{".hashpkg/generations/4/sbin/awkd", targets["sbin/awkd"], "is not a link of its own"},
		{"jq/default", layout.DefaultLinkTarget("jq"), "is missing"},
		{".hashpkg/generations/4/bin/more", "", "is not in the generation's record"},
	}
	if diff := cmp.Diff(want, faults); diff != "" || checked != 7 || err != nil {
		t.Errorf("%d links looked at, error %v (-want +got):\n%s", checked, err, diff)
	}
}

func TestMendFarm(t *testing.T) {
	r := withStore(t)
	commitFour(t, r)
	g := fourGenerations[3]
	if err := os.MkdirAll(r.store.Path(layout.StagingDir), 0o755); err != nil {
		t.Fatal(err)
	}
	staging, err := r.store.Begin(nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := staging.Discard(); err != nil {
			t.Error(err)
		}
	})
	mend := func(want ...string) {
		t.Helper()
		mended, err := r.MendFarm(g, staging)
		var have []string
		for _, f := range mended {
			have = append(have, f.Name)
		}
		if err != nil || !slices.Equal(have, want) {
			t.Errorf("mended are %q (%v), want %q", have, err, want)
		}
	}
	mend("awk/default", "jq/default")
	mend()
	farm := r.store.Path(layout.GenerationPath(4))
	if err := os.Remove(filepath.Join(farm, "bin/awk")); err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(farm, "bin/awk"), "-> elsewhere") // which names do not show
	mend()
	for _, name := range []string{"bin/jq", "sbin"} {
		if err := os.RemoveAll(filepath.Join(farm, name)); err != nil {
			t.Fatal(err)
		}
	}
	mend(".hashpkg/generations/4/bin/awk", ".hashpkg/generations/4/bin/jq", ".hashpkg/generations/4/sbin/awkd")
	if diff := cmp.Diff(fourFarms[3], farmOnDisk(t, r, 4)); diff != "" {
		t.Errorf("the farm (-want +got):\n%s", diff)
	}
	if err := os.Remove(filepath.Join(farm, "bin/jq")); err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(farm, "bin/jq/x"), "x")
	if err := os.Remove(filepath.Join(farm, "bin/awk")); err != nil { // by its name all is there
		t.Fatal(err)
	}
	if _, err := r.MendFarm(g, staging); err == nil || !strings.Contains(err.Error(), "run hashpkg verify --repair") {
		t.Errorf("with a directory in the way: %v", err)
	}
}

// TestInspectGeneration loses one of the two records of a generation, or damages it.
func TestInspectGeneration(t *testing.T) {
	for what, c := range map[string]struct {
		file, content    string // "" for one that is lost
		fault            string
		readable, remade bool
		both             bool
	}{
		"nothing":                   {readable: true},
		"the record is lost":        {file: layout.GenerationFile, fault: "is missing", readable: true},
		"the record is damaged":     {file: layout.GenerationFile, content: "{", fault: "cannot be read", readable: true},
		"the record of another one": {file: layout.GenerationFile, content: `{"layout":1,"id":3}`, fault: "it is the record of generation 3", readable: true},
		"the index is lost":         {file: layout.IndexFile, readable: true, remade: true},
		"the index is damaged":      {file: layout.IndexFile, content: "x", readable: true, remade: true},
		"both are lost":             {both: true, fault: "is missing"},
	} {
		t.Run(what, func(t *testing.T) {
			r := withStore(t)
			commitFour(t, r)
			top := r.store.Path(layout.GenerationPath(4))
			before, err := os.ReadFile(filepath.Join(top, layout.GenerationFile))
			if err != nil {
				t.Fatal(err)
			}
			files := []string{c.file}
			if c.both {
				files = []string{layout.GenerationFile, layout.IndexFile}
			}
			for _, f := range files {
				if f == "" {
					continue
				}
				if err := os.Remove(filepath.Join(top, f)); err != nil {
					t.Fatal(err)
				}
				if c.content != "" {
					put(t, filepath.Join(top, f), c.content)
				}
			}
			found, err := r.InspectGeneration(4)
			if err != nil {
				t.Fatal(err)
			}
			if (found.Generation != nil) != c.readable || found.StaleIndex != c.remade || !strings.Contains(found.Fault, c.fault) || c.fault == "" && found.Fault != "" {
				t.Errorf("it is %+v", found)
			}
			if c.readable && string(found.Text) != string(before) {
				t.Errorf("the record is %q, and was %q", found.Text, before)
			}
		})
	}
}

func TestSwitch(t *testing.T) {
	r := withStore(t)
	commitFour(t, r)
	scratch := scratchDir(t, r)
	put(t, filepath.Join(scratch.Name(), layout.CurrentSystem), "-> leftover")
	for _, id := range []int{2, 4, 1} {
		if err := r.Switch(id, scratch); err != nil {
			t.Fatal(err)
		}
		g, err := r.Active()
		if err != nil || g.ID != id {
			t.Errorf("after the switch to %d the active one is %v (%v)", id, g, err)
		}
	}
	link := r.store.Path(layout.CurrentSystem)
	for _, tt := range []struct{ what, err string }{
		{"", "no generation is active: " + link + " is lost; run hashpkg rollback 4 for the newest"},
		{"-> .hashpkg/generations/7", "no generation is active: " + link + " leads to generation 7, which is not there; run hashpkg rollback N, with an N that hashpkg generations lists"},
		{"-> ../elsewhere", "no generation is active: read the active generation: " + link + " leads to ../elsewhere: it is no link to a generation; run hashpkg verify --repair, which moves it away"},
		{"x", "no generation is active: read the active generation: " + link + " is not a link: it is no link to a generation; run hashpkg verify --repair, which moves it away"},
	} {
		if err := os.Remove(link); err != nil {
			t.Fatal(err)
		}
		if tt.what != "" {
			put(t, link, tt.what)
		}
		_, err := r.Active()
		if err == nil || !strings.HasPrefix(err.Error(), tt.err) || !errors.Is(err, ErrNoActive) {
			t.Errorf("with %q the error is %v, want %s", tt.what, err, tt.err)
		}
		if tt.what == "" {
			put(t, link, "x") // for the next one to remove
		}
	}
	_ = os.Remove(link)
	put(t, link, "-> .hashpkg/generations/1")
}

// TestNoGeneration is a root without a store: it has an empty one, of the
// architecture of its programs.
func TestNoGeneration(t *testing.T) {
	r := openRoot(t, t.TempDir())
	g, err := r.Active()
	if err != nil || g.ID != 0 || len(g.Trees) > 0 || g.Architecture == "" {
		t.Errorf("%+v, %v", g, err)
	}
	ids, err := r.Generations()
	if len(ids) > 0 || err != nil {
		t.Errorf("%v, %v", ids, err)
	}
}

// TestDamagedGeneration reads generations whose files are not as they were written.
func TestDamagedGeneration(t *testing.T) {
	r := withStore(t)
	commitFour(t, r)
	top := r.store.Path(layout.GenerationsDir)
	for _, name := range []string{"0", "-1", "07", "x", "8x", "+9"} {
		put(t, filepath.Join(top, name), "/")
	}
	put(t, filepath.Join(top, "11"), "/")
	ids, err := r.Generations()
	if diff := cmp.Diff([]int{1, 2, 3, 4, 11}, ids); diff != "" || err != nil {
		t.Errorf("the generations: %v\n%s", err, diff)
	}
	file := func(name string) string { return filepath.Join(top, "3", name) }
	recorded, err := os.ReadFile(file(layout.GenerationFile))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, content, err string }{
		{layout.IndexFile, "", ""},
		{layout.IndexFile, "not an index", ""},
		{layout.GenerationFile, strings.Replace(string(recorded), `"id":3`, `"id":4`, 1), "it is the record of generation 4"},
		{layout.GenerationFile, "{", "decode generation: "},
		{layout.GenerationFile, "", "decode generation: "},
		{layout.GenerationFile, strings.Replace(string(recorded), `"layout":1`, `"layout":2`, 1), "layout 2, this program knows 1"},
		{layout.GenerationFile, strings.Replace(string(recorded), `"tree":"1.7"`, `"tree":"../x"`, 1), `tree "../x" of jq is not a directory name`},
	} {
		if err := os.WriteFile(file(tt.name), []byte(tt.content), 0o644); err != nil {
			t.Fatal(err)
		}
		g, err := r.Generation(3)
		if tt.err == "" && (err != nil || len(g.Trees) != 2) {
			t.Errorf("%s is %q: %v", tt.name, tt.content, err)
		}
		if tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)) {
			t.Errorf("%s is %q: the error is %v, want %s", tt.name, tt.content, err, tt.err)
		}
	}
	// An index that was made from another record is none.
	changed := bytes.Replace(recorded, []byte(`"architecture":"x86_64-linux-gnu"`), []byte(`"architecture":"riscv64-linux-gnu"`), 1)
	_, text, index := encoded(t, fourGenerations[2])
	if !bytes.Equal(text, recorded) || bytes.Equal(changed, recorded) {
		t.Fatal("the record is not what this test takes it for")
	}
	if err := errors.Join(os.WriteFile(file(layout.GenerationFile), changed, 0o644), os.WriteFile(file(layout.IndexFile), index, 0o644)); err != nil {
		t.Fatal(err)
	}
	if g, err := r.Generation(3); err != nil || g.Architecture != "riscv64-linux-gnu" {
		t.Errorf("%+v, %v", g, err)
	}
	for _, id := range []int{5, 11} {
		if _, err := r.Generation(id); !errors.Is(err, ErrNoGeneration) {
			t.Errorf("generation %d: %v", id, err)
		}
	}
}

// encoded returns a generation with its record and its index.
func encoded(t *testing.T, g *record.Generation) (*record.Generation, []byte, []byte) {
	t.Helper()
	text, err := g.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return g, text, g.EncodeIndex(text)
}
