package plan

import (
	"errors"
	"math"
	"path"
	"slices"
	"strings"

	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/ldso"
	"github.com/hashpkg/hashpkg/pkginfo"
)

// wantedEdits returns what has to be changed in a file of the command's package c,
// with the names that trees have now, and the libraries that it will load.
func (p *planner) wantedEdits(c *candidate, f *record.File) ([]record.EditRecord, []record.Need) {
	delete(p.lists, f)
	delete(p.shelves, f)
	r := p.results[f]
	if r == nil || !r.isComplete() && f.ELF.IsProgram() {
		return nil, nil
	}
	switch {
	case !f.ELF.IsProgram():
		return p.editLibrary(c, f, r)
	case f.ELF.Musl && c.m.Binding.Bind != record.BindRunPath:
		return p.editMuslProgram(c, f, r)
	case c.m.Binding.Bind == record.BindRunPath:
		_, needs, _ := p.closureList(f, r)
		records, _ := p.editLibrary(c, f, r)
		return records, needs
	}
	return p.editProgram(c, f, r)
}

// editProgram binds a program: the interpreter by path, and the whole closure, so that
// the loader searches for nothing and loads all of it in the order in which it would
// without the edit. Where the program's dynamic section has no room for the list, or a
// name in it would be looked for in the program's own search path, it lists a closure
// object, which lists all.
func (p *planner) editProgram(c *candidate, f *record.File, r *resolution) ([]record.EditRecord, []record.Need) {
	var records []record.EditRecord
	if i := r.closure.Interpreter; i != nil && p.owners[i] != nil {
		records = append(records, record.EditRecord{Kind: record.EditInterpreter, From: []string{f.ELF.Interpreter}, To: []string{p.path(i)}})
	}
	searchPath := p.editSearchPath(c, f, r, nil)
	list, needs, bound := p.closureList(f, r)
	if bound || r.private {
		list = p.placeOptional(c, f, list)
		room := len(f.ELF.Needed) + f.ELF.DynamicRoom
		if len(searchPath) > 0 && len(searchPath[0].From) == 0 {
			room-- // for the search path's own entry
		}
		if !f.ELF.DynamicRelRO {
			room = math.MaxInt
		}
		searches := searchPathAfter(f, searchPath) != "" && slices.ContainsFunc(list, ldso.Listed.IsSearched)
		if len(list) > room || searches {
			list = p.shortList(c, f, r, list, room, searches)
		}
		edit := record.EditRecord{Kind: record.EditNeeded}
		for _, e := range list {
			edit.From, edit.To = append(edit.From, e.Old), append(edit.To, e.Name)
		}
		records = append(records, edit)
	}
	return append(records, searchPath...), needs
}

// searchPathAfter returns the search path of a file that is edited so.
func searchPathAfter(f *record.File, edits []record.EditRecord) string {
	switch {
	case len(edits) > 0:
		return edits[0].To[0]
	case f.ELF.HasRunPath:
		return f.ELF.RunPath
	}
	return f.ELF.RPath
}

// closureList returns what a program lists to load its closure without a search, and
// the libraries that these are. It is bound when a tree has one of them.
//
// The entries are in the order of the loader, and paths; see [ldso.Closure.List]. Bare
// names have what the root's own loader finds, for that follows the root's upgrades, and
// what only the machine's driver has.
func (p *planner) closureList(f *record.File, r *resolution) (list []ldso.Listed, needs []record.Need, bound bool) {
	byTree := map[*ldso.Object]bool{} // needed by something that is no system library
	for _, n := range r.closure.Needs {
		byTree[n.Provider] = byTree[n.Provider] || p.owners[n.From] != nil
	}
	list, sonames := r.closure.List(r.start, func(o *ldso.Object, asked string) string {
		switch {
		case o == r.closure.Interpreter && p.owners[o] == nil:
			return f.ELF.Interpreter
		case p.owners[o] != nil:
			return p.path(o)
		case r.private && byTree[o] && !isDriver(asked):
			return o.Path
		case byTree[o]:
			return asked
		}
		return ""
	})
	for _, e := range list {
		if !e.Optional {
			bound = bound || p.owners[e.Object] != nil
			needs = append(needs, p.need(e.Old, e.Object))
		}
	}
	for _, m := range r.closure.Missing {
		if isDriver(m.Name) && m.From == r.start {
			list = append(list, ldso.Listed{Old: m.Name, Name: m.Name})
		}
	}
	return append(list, sonames...), needs, bound
}

// editLibrary gives a library that is loaded outside its program's list, by
// dlopen or by hand, the directories of the libraries that it needs. A program that
// is to search gets them, too. Its needs
// stay sonames, so that what a program has bound is what it gets.
func (p *planner) editLibrary(c *candidate, f *record.File, r *resolution) ([]record.EditRecord, []record.Need) {
	var records []record.EditRecord
	if i := r.closure.Interpreter; i != nil && p.owners[i] != nil {
		records = append(records, record.EditRecord{Kind: record.EditInterpreter, From: []string{f.ELF.Interpreter}, To: []string{p.loaderPath(i)}})
	}
	var needs []record.Need
	replace := record.EditRecord{Kind: record.EditReplace}
	for _, n := range r.closure.Needs {
		if n.From != r.start || n.Provider == nil {
			continue
		}
		needs = append(needs, p.need(n.Name, n.Provider))
		// A name that is not the provider's soname is not recognized when it is
		// loaded already, and would be searched for.
		if s := n.Provider.Info.Soname; p.owners[n.Provider] != nil && s != "" && s != n.Name && !strings.Contains(s, "/") {
			replace.From, replace.To = append(replace.From, n.Name), append(replace.To, s)
		}
	}
	if len(replace.To) > 0 {
		records = append(records, replace)
	}
	return p.editSearchPath(c, f, r, records), needs
}

func (p *planner) need(name string, o *ldso.Object) record.Need {
	n := record.Need{Soname: name, Path: p.path(o)}
	if c := p.owners[o]; c != nil {
		n.Provider = c.m.Spec()
	}
	return n
}

// editSearchPath adds the record for RUNPATH (or RPATH, where the file has that
// alone): what the author wrote, as it reads inside the trees, then the
// directories in which libraries that this file asks for are. A full one has besides
// these, between what the author wrote and them, the package's own directory and that of
// its default, and last the farm's: what was planned comes before what the farm has, for
// that may be built for another C library. The C library's own files have no full one,
// as the farm has none of its family.
func (p *planner) editSearchPath(c *candidate, f *record.File, r *resolution, records []record.EditRecord) []record.EditRecord {
	kind, have, has := record.EditRunPath, f.ELF.RunPath, f.ELF.HasRunPath
	if !has && f.ELF.HasRPath {
		kind, have, has = record.EditRPath, f.ELF.RPath, true
	}
	var dirs []string
	add := func(d string) {
		if d != "" && !slices.Contains(dirs, d) {
			dirs = append(dirs, d)
		}
	}
	if s := p.shelves[f]; s.dir != "" {
		add(p.treePath(c) + "/" + s.dir)
	}
	for _, d := range p.shelves[f].own {
		add(p.treePath(d.owner) + "/" + d.path)
	}
	if has {
		for _, e := range strings.Split(have, ":") {
			for _, d := range p.mapSearchDir(c, f, r, e) {
				add(d)
			}
		}
	}
	full := c.m.Binding.RunPath == record.RunPathFull && !c.isLibc(f.ELF)
	dir := layout.LibraryDir(p.own(), f.ELF)
	if full {
		add(p.treePath(c) + "/" + dir)
		add(p.in.Prefix + "/" + c.m.Name + "/default/" + dir)
	}
	if !f.ELF.IsProgram() || c.m.Binding.Bind == record.BindRunPath {
		for _, n := range r.closure.Needs {
			if n.From == r.start && n.Provider != nil && p.owners[n.Provider] != nil && !n.Provider.Info.IsMuslLibC() {
				add(p.libraryDir(n.Provider))
			}
		}
	}
	if opens(f, r) {
		for _, d := range p.openDirs(c, f, r) {
			add(d)
		}
	}
	if full {
		add(p.in.Prefix + "/current-system/" + dir)
	}
	list := strings.Join(dirs, ":")
	if list == have && (has || list == "") {
		return records
	}
	record := record.EditRecord{Kind: kind, To: []string{list}}
	if has {
		record.From = []string{have}
	}
	return append(records, record)
}

// openDirs returns the directories for names that a file may ask dlopen for: its
// own package's libraries, those of its closure, and those of the packages that
// its relations name, such as libgcc_s for the C library's thread cancellation.
func (p *planner) openDirs(c *candidate, f *record.File, r *resolution) []string {
	var dirs []string
	loaded := r.loaded()
	dir := layout.LibraryDir(p.own(), f.ELF)
	add := func(o *candidate) {
		if o.offersOther(dir, loaded) {
			dirs = append(dirs, p.treePath(o)+"/"+dir)
		}
	}
	add(c)
	for _, m := range r.members {
		add(m)
	}
	for _, rel := range c.m.Requires {
		for _, want := range rel.Alternatives {
			if o := p.satisfying(want, r); o != nil {
				add(o)
				break
			}
		}
	}
	return dirs
}

// satisfying returns the package that satisfies a relation by name, as the
// closure would take it; nil if none does or if the closure has another C
// library than it brings.
func (p *planner) satisfying(want pkginfo.Constraint, r *resolution) *candidate {
	ok := func(o *candidate) bool {
		return p.offers(o.m.Format, o.m.Name, o.m.Version, o.m.Provides, want) &&
			(r.start == nil || o == r.libc || !o.isLibc(r.start.Info))
	}
	for _, o := range p.nearTo(r.members[0]) {
		if ok(o) {
			if o.forbiddenBy(r.members, p.in.Orders) == "" {
				return o
			}
		}
	}
	for _, trees := range [][]*record.Tree{p.defaults, p.others} {
		for _, t := range trees {
			if !p.offers(t.Format, t.Name, t.Version, t.Provides, want) {
				continue
			}
			o, err := p.load(t)
			if err != nil {
				p.fault = errors.Join(p.fault, err)
				continue
			}
			if o.forbiddenBy(r.members, p.in.Orders) == "" && ok(o) {
				return o
			}
		}
	}
	return nil
}

// loaded returns the names of the libraries that are there when the file runs, which the
// loader does not search for again.
func (r *resolution) loaded() map[string]bool {
	names := map[string]bool{}
	for _, o := range r.closure.Objects {
		names[o.Info.Soname] = true
	}
	for _, n := range r.closure.Needs {
		if n.Provider != nil {
			names[n.Name] = true
		}
	}
	return names
}

// offersOther reports whether the interface has libraries in this directory by names
// that are not among these.
func (c *candidate) offersOther(dir string, names map[string]bool) bool {
	return slices.ContainsFunc(c.m.Links, func(l record.Link) bool {
		return strings.HasPrefix(l.Path, dir+"/") && !names[path.Base(l.Path)]
	})
}

// mapSearchDir returns what one element of an author's search path is inside the
// trees: the directory in the package's own tree if it is there, and in the
// trees whose libraries were found through it.
func (p *planner) mapSearchDir(c *candidate, f *record.File, r *resolution, element string) []string {
	dir, ok := payloadDir(f.Path, element)
	if !ok {
		if r.private || !strings.HasPrefix(element, "/") {
			return nil
		}
		return []string{element}
	}
	var out []string
	if c.m.HasDir(dir) {
		out = append(out, p.treePath(c)+"/"+dir)
	}
	for _, o := range r.closure.Objects {
		owner := p.owners[o]
		if owner == nil || owner == c || !strings.HasPrefix(p.files[o].Path, dir+"/") {
			continue
		}
		out = append(out, p.treePath(owner)+"/"+dir)
	}
	if len(out) == 0 && !r.private && strings.HasPrefix(element, "/") {
		out = append(out, element)
	}
	return out
}

func (p *planner) own() string { return p.in.Generation.Architecture }

// treePath returns the absolute path, in the root, of a candidate's tree.
func (p *planner) treePath(c *candidate) string {
	return p.in.Prefix + "/" + layout.TreePath(c.m.Name, c.m.Tree)
}

// path returns the absolute path, in the root, at which an object is loaded.
func (p *planner) path(o *ldso.Object) string {
	if c := p.owners[o]; c != nil {
		return p.treePath(c) + "/" + p.files[o].Path
	}
	return o.Path
}

// libraryDir returns the directory in which a library is found when it is
// searched by name.
func (p *planner) libraryDir(o *ldso.Object) string {
	c, f := p.owners[o], p.files[o]
	if sub, ok := publicLibrary(f); ok && sub == "" {
		return p.treePath(c) + "/" + layout.LibraryDir(p.own(), f.ELF)
	}
	return p.treePath(c) + "/" + f.Path[:strings.LastIndexByte(f.Path, '/')]
}
