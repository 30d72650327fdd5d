package view

import (
	"cmp"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/record"
)

// Beside is a tree, and the directories of such libraries, which end in a slash.
type Beside struct {
	Tree *record.Manifest
	Dirs []string
}

// dirsBeside returns the directories in which a tree has libraries that may look for files
// beside themselves, and other trees have such files: directories of the loader with
// libraries that ask where they are, and others with libraries that files of other packages
// load, which are bound to the tree, as those of an office are that it shares with its
// packages. A directory that such a library finds from there is among them.
func (p *Parts) dirsBeside(m *record.Manifest, needing map[string][]*record.Manifest) []string {
	isOther := func(o *record.Manifest) bool { return o != m }
	dirs := map[string]bool{}
	for i := range m.Files {
		f := &m.Files[i]
		if f.ELF == nil || !f.ELF.HasDynamic || !strings.HasPrefix(f.Path, "usr/") {
			continue
		}
		asks := isLibrary(f) && f.ELF.AsksWhere
		shared := !isLibrary(f) && slices.ContainsFunc(needing[cmp.Or(f.ELF.Soname, path.Base(f.Path))], isOther)
		if asks || shared {
			dirs[path.Dir(f.Path)+"/"] = true
			if strings.HasPrefix(path.Base(f.Path), "librustc_driver-") {
				dirs["usr/lib/rustlib/"] = true
			}
		}
	}
	var beside []string
	for _, dir := range slices.Sorted(maps.Keys(dirs)) {
		if slices.ContainsFunc(p.Trees, func(o *record.Manifest) bool {
			return isOther(o) && slices.ContainsFunc(o.Files, func(f record.File) bool { return strings.HasPrefix(f.Path, dir) && keeps(&f) })
		}) {
			beside = append(beside, dir)
		}
	}
	return beside
}

// addBeside adds what stands in place of the usr of trees whose libraries look for files
// beside themselves: their own files, and the view's in the directories of these
// libraries. There may be a dozen such trees, and thousands of files for each, so a
// directory of the view's in which a tree has nothing itself is a link to the view's own,
// whose tree is named dir. It returns the paths of the trees.
func (b *builder) addBeside(p Parts, dir string) []string {
	var trees []string
	seen := make([]record.File, 0, len(b.files))
	for _, f := range b.files {
		seen = append(seen, f)
	}
	for _, beside := range p.Beside {
		m := beside.Tree
		tree := layout.TreePath(m.Name, m.Tree)
		trees = append(trees, tree)
		put := func(f record.File) {
			f.Path = Over + "/" + tree + "/" + strings.TrimPrefix(f.Path, "usr/")
			b.add(f)
		}
		for i := range m.Files {
			if f := &m.Files[i]; strings.HasPrefix(f.Path, "usr/") && (f.Type == record.TypeFile || f.Type == record.TypeSymlink) {
				put(merged(f))
			}
		}
		for _, looked := range beside.Dirs {
			linked := map[string]bool{} // by the directories in it: false for one that the tree has, too
			for _, f := range seen {
				rest, in := strings.CutPrefix(f.Path, looked)
				if !in {
					continue
				}
				sub, _, below := strings.Cut(rest, "/")
				if !below {
					put(f)
					continue
				}
				sub = looked + sub
				isLinked, known := linked[sub]
				if !known {
					isLinked = !m.HasDir(sub)
					linked[sub] = isLinked
				}
				if !isLinked {
					put(f)
				} else if !known {
					put(record.File{Path: sub, Type: record.TypeSymlink, Mode: 0o777, Target: fromTree(sub) + layout.TreePath(layout.ViewName, dir) + "/" + sub})
				}
			}
		}
	}
	return trees
}

// fromTree returns the way to the prefix from where a file of a tree stands.
func fromTree(file string) string {
	return strings.Repeat("../", strings.Count(file, "/")+strings.Count(layout.TreePath("package", "tree"), "/")+1)
}
