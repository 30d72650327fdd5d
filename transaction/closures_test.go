package transaction

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hashpkg/hashpkg/elfedit"
	"github.com/hashpkg/hashpkg/internal/testelf"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/programs"
	"github.com/hashpkg/hashpkg/sysroot"
)

// wide returns a root with a program that has no room for the list of the five libraries that
// it loads, all of them of one package of a version.
func wide(t *testing.T, room int) (*sysroot.Root, FreezeOptions, func(version string)) {
	t.Helper()
	root := newRoot(t)
	program := dpkgPackage{"tool", "1", map[string][]byte{
		"usr/bin/tool": testelf.File{Interpreter: loader, Needed: []string{"libw0.so.1"}, Tight: true, Room: room}.Bytes(),
	}}
	install := func(version string) {
		libs := dpkgPackage{"libw", version, map[string][]byte{}}
		for i := range 5 {
			f := testelf.File{Soname: "libw" + string(rune('0'+i)) + ".so.1", RunPath: "/build/of/" + version}
			if i == 0 {
				f.Needed = []string{"libw1.so.1", "libw2.so.1"}
			} else if i < 3 {
				f.Needed = []string{"libw" + string(rune('2'+i)) + ".so.1"}
			}
			libs.files[libDir+f.Soname] = f.Bytes()
		}
		dpkgInstall(t, root, libLoader, libs, program)
		syncRoot(t, root, false)
	}
	install("1")
	return root, FreezeOptions{Root: root, Names: []string{"tool"}, Rewrite: programs.Rewrite{Executables: programs.RewriteFull}}, install
}

// closureOf returns what the tool lists, and the path of the closure object in it, in the root.
func closureOf(t *testing.T, root *sysroot.Root) (list []string, object string) {
	t.Helper()
	b, err := root.ReadFile("/usr/bin/tool", 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	info, err := elfedit.Inspect(b)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range info.Needed {
		if strings.Contains(n, "/"+layout.ClosuresName+"/") {
			object = n
		}
	}
	return info.Needed, object
}

// TestFreezeWithoutRoom freezes a program that has no room for its list: a closure object has it,
// in the order of the loader. Frozen anew it has another one; thawed, none.
func TestFreezeWithoutRoom(t *testing.T) {
	root, o, install := wide(t, 2)
	for _, version := range []string{"1", "2"} {
		if version == "2" {
			install(version)
			o.Refresh = true
		}
		result, err := Freeze(t.Context(), o)
		if err != nil || len(result.Left) != 0 || len(result.Frozen) != 1 || !result.Frozen[0].InForce || len(result.Frozen[0].Files) != 5 {
			t.Fatalf("%+v %v", result, err)
		}
		file := func(n string) string { return "/var/sys/libw/" + version + "/" + libDir + "libw" + n + ".so.1" }
		list, object := closureOf(t, root)
		if want := []string{object, file("0"), file("1")}; object == "" || !slices.Equal(list, want) {
			t.Fatalf("it lists %q, and not %q", list, want)
		}
		b, err := root.ReadFile(object, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		info, err := elfedit.Inspect(b)
		if err != nil {
			t.Fatal(err)
		}
		if want := []string{file("0"), file("1"), file("2"), file("3"), file("4")}; !slices.Equal(info.Needed[:5], want) || slices.ContainsFunc(info.Needed[5:], func(n string) bool { return strings.HasPrefix(n, "/var") }) {
			t.Errorf("the object lists %q", info.Needed)
		}
		if result := syncRoot(t, root, false); len(result.Programs) != 0 {
			t.Errorf("a sync changes %+v", result.Programs)
		}
	}
	pins, unread, err := FollowedPins(root)
	if recorded, perr := root.Pins(); err != nil || unread != nil || perr != nil || !sameFiles(pins, recorded) {
		t.Errorf("by the edits, the freeze is %+v, and by the record %+v (%v, %v, %v)", pins, recorded, unread, err, perr)
	}
	if _, err := Thaw(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if list, object := closureOf(t, root); object != "" || len(list) != 1 {
		t.Errorf("thawed, it lists %q", list)
	}
}

// TestLostClosure takes parts of a closure object's tree away: a sync puts them back.
func TestLostClosure(t *testing.T) {
	root, o, _ := wide(t, 1)
	if _, err := Freeze(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	_, object := closureOf(t, root)
	tree := filepath.Dir(filepath.Join(root.Dir(), object))
	manifest := filepath.Join(root.Dir(), "var/sys", layout.ManifestPath(layout.ClosuresName, filepath.Base(tree)))
	for _, lost := range [][]string{{tree}, {filepath.Join(tree, layout.ClosureFile)}, {manifest}, {tree, manifest}, {filepath.Dir(tree), filepath.Join(root.Dir(), "var/sys", layout.ObjectsDir), manifest}} {
		for _, name := range lost {
			if err := os.RemoveAll(name); err != nil {
				t.Fatal(err)
			}
		}
		syncRoot(t, root, false)
		if b, err := root.ReadFile(object, 1<<20); err != nil || len(b) == 0 || !HasClosure(root, filepath.Base(tree)) {
			t.Errorf("without %q, and after a sync: %v", lost, err)
		}
	}
}

// TestFreezeWithoutAnyRoom has a program with no room for a closure object either.
func TestFreezeWithoutAnyRoom(t *testing.T) {
	root, o, _ := wide(t, 0)
	before := pinRecords(t, root)
	if _, err := Freeze(t.Context(), o); err == nil || !strings.Contains(err.Error(), "no room for the edit") {
		t.Errorf("frozen: %v", err)
	}
	if have := pinRecords(t, root); have != before {
		t.Errorf("recorded is %s, and was %s", have, before)
	}
}

// sameFiles reports whether pins are of the same programs to the same files, for the same names.
func sameFiles(a, b []record.Pin) bool {
	less := func(p, q record.Pin) int { return strings.Compare(p.Program+p.File, q.Program+q.File) }
	a, b = slices.SortedFunc(slices.Values(a), less), slices.SortedFunc(slices.Values(b), less)
	return slices.EqualFunc(a, b, func(p, q record.Pin) bool { return p == q })
}
