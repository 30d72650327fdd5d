package plan

import (
	"math"
	"path"
	"slices"
	"strings"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/elfedit"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/ldso"
)

// shelf is a directory with links to the libraries of a program of musl, in the tree of the
// program: what its search path begins with, so that the loader finds each at once. Libraries
// inherit the path.
//
// Paths in place of names would not do: musl does not know a library by its soname, and
// would search for one that was loaded by a path when another library needs it.
//
// A library that asks where it was found is not on the shelf but found in its own
// directory, which is next in the search path; so are all where the program asks.
type shelf struct {
	dir   string        // in the tree: of closuresDir, named by what it has; "" when there are no links
	links []record.Link // sorted
	own   []payload     // directories of libraries that are not on it
}

// isEmpty reports whether nothing is found on the shelf or beside it.
func (s *shelf) isEmpty() bool { return s.dir == "" && len(s.own) == 0 }

// payload is a path in what a package brought.
type payload struct {
	owner *candidate
	path  string
}

// isShelf reports whether a link of a tree's interface is one of a shelf.
func isShelf(link string) bool { return strings.HasPrefix(link, closuresDir+"/") }

// isInner reports whether a link of a tree's interface is for use by its path only, and no
// name that it offers.
func isInner(link string) bool { return isShelf(link) || strings.HasPrefix(link, layout.DevDir+"/") }

// isShelfDir reports whether a path is "NAME/TREE/" and a shelf's directory.
func isShelfDir(in string) bool {
	parts := strings.Split(in, "/")
	return len(parts) == 4 && parts[2] == closuresDir
}

// muslLoaderLink is the name in a tree's interface of musl's loader for a machine, by which
// programs are started with it. The loader reads its file of directories from the etc beside the
// directory that it is started from: that of its own package, and not that of the root.
func muslLoaderLink(abi *elfedit.Info) string { return "lib/" + path.Base(ldso.MuslLoader(abi)) }

// loaderPath returns the path of a loader that a program is to be started by.
func (p *planner) loaderPath(o *ldso.Object) string {
	if c := p.owners[o]; c != nil && o.Info.IsMuslLibC() {
		if link := muslLoaderLink(o.Info); slices.ContainsFunc(c.m.Links, func(l record.Link) bool { return l.Path == link }) {
			return p.treePath(c) + "/" + link
		}
	}
	return p.path(o)
}

// editMuslProgram binds a program of musl: the interpreter by path, and the whole
// closure by names in the order of the loader, for which its search path begins with a
// shelf. What a library needs later is loaded then, and is known by its name.
func (p *planner) editMuslProgram(c *candidate, f *record.File, r *resolution) ([]record.EditRecord, []record.Need) {
	var records []record.EditRecord
	if i := r.closure.Interpreter; i != nil && p.owners[i] != nil {
		records = append(records, record.EditRecord{Kind: record.EditInterpreter, From: []string{f.ELF.Interpreter}, To: []string{p.loaderPath(i)}})
	}
	list, needs := p.muslList(c, f, r)
	searchPath := p.editSearchPath(c, f, r, nil)
	if s := p.shelves[f]; !s.isEmpty() || r.private {
		room := len(f.ELF.Needed) + f.ELF.DynamicRoom
		if len(searchPath) > 0 && len(searchPath[0].From) == 0 {
			room-- // for the search path's own entry
		}
		if !f.ELF.DynamicRelRO {
			room = math.MaxInt
		}
		if len(list) > room {
			list = p.shortList(c, f, r, list, room, false)
		}
		edit := record.EditRecord{Kind: record.EditNeeded}
		for _, e := range list {
			edit.From, edit.To = append(edit.From, e.Old), append(edit.To, e.Name)
		}
		if !slices.Equal(edit.To, f.ELF.Needed) {
			records = append(records, edit)
		}
	}
	return append(records, searchPath...), needs
}

// muslList is closureList for a program of musl. It puts what trees have on the program's
// shelf; what the root's own loader finds follows the root's upgrades, and is not there.
func (p *planner) muslList(c *candidate, f *record.File, r *resolution) (list []ldso.Listed, needs []record.Need) {
	asked := map[*ldso.Object][]string{} // the names by which each is needed
	byTree := map[*ldso.Object]bool{}    // needed by something that is no system library
	for _, n := range r.closure.Needs {
		if o := n.Provider; o != nil {
			byTree[o] = byTree[o] || p.owners[n.From] != nil
			if !slices.Contains(asked[o], n.Name) {
				asked[o] = append(asked[o], n.Name)
			}
		}
	}
	var s shelf
	named := map[string]*ldso.Object{} // what the loader finds first by each name
	onShelf := map[string]*ldso.Object{}
	put := func(name string, o *ldso.Object) bool {
		if !isName(name) || named[name] != nil && named[name] != o {
			return false
		}
		if named[name] == nil {
			named[name], onShelf[name] = o, o
		}
		return true
	}
	for _, o := range r.closure.Objects[1:] {
		old := asked[o][0]
		name := old
		switch {
		case o == r.closure.Interpreter:
		case p.owners[o] != nil && !slices.ContainsFunc(asked[o], isName):
			name = p.path(o) // nothing finds it by a name, which may be another one's
		case p.owners[o] != nil:
			// Its soname, which is what libraries of trees need it by: see editLibrary.
			if name = o.Info.Soname; name == "" {
				name = asked[o][slices.IndexFunc(asked[o], isName)]
			}
			if asks := r.start.Info.ImportsWhere || o.Info.AsksWhere; asks && named[name] == nil && p.putBeside(&s, o, name) {
				named[name] = o
			} else if !put(name, o) {
				name = p.path(o) // of two libraries by one name both are loaded
			}
		case r.private && byTree[o] && !isDriver(name):
			name = o.Path
		case !byTree[o]:
			continue
		}
		list = append(list, ldso.Listed{Old: old, Name: name, Object: o})
		needs = append(needs, p.need(old, o))
	}
	for _, o := range r.closure.Objects[1:] {
		if p.owners[o] == nil || o == r.closure.Interpreter {
			continue
		}
		for _, name := range append(asked[o], o.Info.Soname) {
			put(name, o)
		}
	}
	for _, m := range r.closure.Missing {
		if isDriver(m.Name) && m.From == r.start {
			list = append(list, ldso.Listed{Old: m.Name, Name: m.Name})
		}
	}
	p.fill(&s, c, onShelf)
	p.shelves[f] = s
	return list, needs
}

// isName reports whether a needed name is one that is searched for.
func isName(needed string) bool { return needed != "" && !strings.Contains(needed, "/") }

// putBeside has the loader find a library by a name in its own directory. It is false when
// that has not this name for it, or one that is searched earlier has the name.
func (p *planner) putBeside(s *shelf, o *ldso.Object, name string) bool {
	own := payload{p.owners[o], path.Dir(p.files[o].Path)}
	has := func(d payload) *record.File { return d.owner.m.Resolve(d.path + "/" + name) }
	if !isName(name) || has(own) != p.files[o] {
		return false
	}
	for _, d := range s.own {
		if d == own {
			return true
		}
		if has(d) != nil {
			return false
		}
	}
	s.own = append(s.own, own)
	return true
}

// fill puts libraries on a shelf in c's tree.
func (p *planner) fill(s *shelf, c *candidate, libraries map[string]*ldso.Object) {
	if len(libraries) == 0 {
		return
	}
	var names []string
	for name := range libraries {
		names = append(names, name)
	}
	slices.Sort(names)
	h := digest.New()
	targets := make([]string, 0, len(names))
	for _, name := range names {
		o := libraries[name]
		owner, file := p.owners[o], p.files[o].Path
		to := "../../" + file // from the directory of the shelf up to the tree
		if owner != c {
			to = "../../../../" + layout.TreePath(owner.m.Name, owner.m.Tree) + "/" + file
		}
		targets = append(targets, to)
		hashStrings(h, name, to)
	}
	s.dir = closuresDir + "/" + digest.Sum(h).String()[:32]
	for i, name := range names {
		s.links = append(s.links, record.Link{Path: s.dir + "/" + name, Target: targets[i]})
	}
}

// addShelves adds the shelves of a package's programs to the links of its tree.
func (c *candidate) addShelves(shelves map[*record.File]shelf) {
	known := map[string]bool{}
	for i := range c.m.Files {
		f := &c.m.Files[i]
		s := shelves[f]
		if s.dir == "" || known[s.dir] || len(f.Edits) == 0 { // it was not edited
			continue
		}
		known[s.dir] = true
		c.m.Links = append(c.m.Links, s.links...)
	}
	slices.SortFunc(c.m.Links, func(a, b record.Link) int { return strings.Compare(a.Path, b.Path) })
}

// opens reports whether names that dlopen is given are looked for in the search path of
// a file. musl's loader looks in that of the program, whoever asks.
func opens(f *record.File, r *resolution) bool {
	if !f.ELF.Musl {
		return f.ELF.ImportsOpen || f.ELF.Soname == layout.LibcName(f.ELF)
	}
	return f.ELF.IsProgram() && slices.ContainsFunc(r.closure.Objects, func(o *ldso.Object) bool { return o.Info.ImportsOpen })
}

// findMuslLibC returns musl's C library, which is the loader, for a library that is taken by
// itself.
func (s *search) findMuslLibC(name string, chain []*ldso.Object) (*ldso.Object, error) {
	c := s.choice.libc
	if c == nil {
		return s.findSystem(name, chain)
	}
	f := c.library(layout.LibcName(chain[0].Info), chain[0].Info) // it is a C library's package
	s.addMember(c)
	return s.p.object(c, f), nil
}

// muslSearchPath returns the search path that musl's loader reads of a file.
func muslSearchPath(info *elfedit.Info) string {
	if info.HasRunPath {
		return info.RunPath
	}
	return info.RPath
}

// isOfNoLibC reports whether a library needs no C library, neither musl's nor glibc's.
func isOfNoLibC(library *elfedit.Info) bool {
	return !library.Musl && library.Interpreter == "" && !slices.ContainsFunc(library.Needed, layout.IsGlibcLibrary)
}
