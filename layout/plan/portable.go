package plan

import (
	"hash"
	"path"
	"strings"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/record"
)

// Portable returns the identity that m's tree has wherever it stands: it does not say what the
// directories of trees are called, the tree's own and those that it leads to, but which packages these are of.
// So it is the same for trees that differ only in what is in no identity, or in being bound to such.
// What programs are built with is not in it, since that follows from the packages.
// packageOf returns the digest of the package of a tree NAME/TREE, and false for what is no tree.
func Portable(m *record.Manifest, packageOf func(tree string) (digest.Digest, bool)) digest.Digest {
	p := portable{packageOf, map[string]digest.Digest{}}
	h := digest.New()
	hashUnedited(h, m)
	hashEditor(h, m.Editor)
	p.nameClosures(m)
	for i := range m.Files {
		p.hashFile(h, &m.Files[i])
	}
	for _, l := range m.Links {
		if strings.HasPrefix(l.File(), "../") { // into another tree
			hashStrings(h, "link", l.Path, p.of(l.Target))
		}
	}
	return digest.Sum(h)
}

type portable struct {
	packageOf func(tree string) (digest.Digest, bool)
	closures  map[string]digest.Digest // by the paths of closure objects and directories of links in the tree
}

// nameClosures finds what stands in place of the names of closure objects and of directories of links, which
// follow from the directories of trees.
func (p *portable) nameClosures(m *record.Manifest) {
	links := map[string]hash.Hash{}
	for i := range m.Files {
		f := &m.Files[i]
		dir := path.Dir(f.Path)
		switch {
		case f.Closure != nil:
			h := digest.New()
			hashStrings(h, p.each(f.Closure.Needed)...)
			hashStrings(h, p.each(f.Closure.Auxiliary)...)
			p.closures[f.Path] = digest.Sum(h)
		case f.Type == record.TypeSymlink && path.Dir(dir) == closuresDir:
			if links[dir] == nil {
				links[dir] = digest.New()
			}
			hashStrings(links[dir], path.Base(f.Path), p.of(f.Target))
		}
	}
	for dir, h := range links {
		p.closures[dir] = digest.Sum(h)
	}
}

func (p *portable) hashFile(h hash.Hash, f *record.File) {
	switch {
	case f.Launches != "":
		hashStrings(h, "launcher", f.Path, f.Launches)
	case f.Linker != "":
		hashStrings(h, "linker", f.Linker)
	}
	var edits []record.EditRecord
	for _, e := range f.Edits {
		if !e.IsDerived() {
			edits = append(edits, record.EditRecord{Kind: e.Kind, From: p.each(e.From), To: p.each(e.To)})
		}
	}
	if len(edits) > 0 {
		hashStrings(h, "file", f.Path)
		hashEdits(h, edits)
	}
}

func (p *portable) each(lists []string) []string {
	out := make([]string, len(lists))
	for i, l := range lists {
		out[i] = p.of(l)
	}
	return out
}

// of returns a list of paths, separated by colons, with packages in place of the directories of trees.
func (p *portable) of(list string) string {
	paths := strings.Split(list, ":")
	for i, name := range paths {
		parts := strings.Split(name, "/")
		for j := 1; j < len(parts); j++ {
			of, isTree := p.packageOf(layout.TreePath(parts[j-1], parts[j]))
			if !isTree {
				continue
			}
			parts[j] = of.String()
			if j+2 < len(parts) {
				if closure, is := p.closures[parts[j+1]+"/"+parts[j+2]]; is {
					parts[j+2] = closure.String()
				}
			}
			paths[i] = strings.Join(parts, "/")
			break
		}
	}
	return strings.Join(paths, ":")
}
