package plan

import (
	"cmp"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/hashpkg/hashpkg/elfedit"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/ldso"
)

// search is the Finder of one closure.
type search struct {
	p        *planner
	choice   libcChoice
	own      *candidate
	system   ldso.Finder
	excluded map[*candidate]string // and why
	members  []*candidate          // packages that the closure has so far
	rejected map[string][]string   // as in resolution
}

// Find implements [ldso.Finder] over packages: the requester's own, the
// command's, then what the choice of the C library makes the order.
func (s *search) Find(name string, chain []*ldso.Object) (*ldso.Object, error) {
	requester := chain[len(chain)-1]
	abi := chain[0].Info
	from := s.p.owners[requester] // nil for the root's own library

	if name == chain[0].Info.Interpreter && len(chain) == 1 {
		return s.findInterpreter(name, chain)
	}
	if abi.Musl && ldso.IsMuslLibC(name) {
		return s.findMuslLibC(name, chain)
	}
	if isDriver(name) { // the machine's own, if it has one, whatever a package brings
		if o, err := s.findSystem(name, chain); err == nil || !errors.Is(err, ldso.ErrNotFound) {
			return o, err
		}
	}
	if strings.Contains(name, "/") {
		if !layout.IsGlibcLibrary(path.Base(name)) || s.choice.libc == nil {
			return s.findPath(name, from, chain)
		}
		name = path.Base(name) // whatever the path, it must be of the process's own family
	}
	if layout.IsGlibcLibrary(name) && !abi.Musl {
		if o, err := s.findGlibc(name, abi); o != nil || err != nil {
			return o, err
		}
		if s.choice.libc == nil {
			return s.findSystem(name, chain)
		}
	}
	if from == nil && s.system != nil {
		if o, err := s.findSystem(name, chain); err == nil || !errors.Is(err, ldso.ErrNotFound) {
			return o, err
		}
	}

	sources, err := s.sources(name, from, abi)
	if err != nil {
		return nil, err
	}
	var spare *ldso.Object // right name, but a symbol version is missing
	var spareOwner *candidate
	consider := func(c *candidate, f *record.File) *ldso.Object {
		if f == nil || f.ELF == nil || !sameABI(f.ELF, abi) {
			return nil
		}
		if why := s.objection(c, abi); why != "" {
			s.reject(name, c, why)
			return nil
		}
		if v := lacksVersion(requester.Info, name, f.ELF); v != "" {
			s.reject(name, c, "it does not define the symbol version "+v)
			if spare == nil {
				spare, spareOwner = s.p.object(c, f), c
			}
			return nil
		}
		s.addMember(c)
		return s.p.object(c, f)
	}

	for _, dir := range s.searchDirs(chain) {
		for _, c := range sources {
			if c == nil {
				continue
			}
			if o := consider(c, c.m.Resolve(dir+"/"+name)); o != nil {
				return o, nil
			}
		}
	}
	for _, c := range sources {
		if c == nil { // the root's own libraries have their turn
			o, err := s.findSystem(name, chain)
			if err == nil || !errors.Is(err, ldso.ErrNotFound) {
				return o, err
			}
			continue
		}
		if o := consider(c, c.library(name, abi)); o != nil {
			return o, nil
		}
	}
	// Some libraries stand in a directory of their own, and a script of their
	// package would make the link by which they are found (update-alternatives).
	for _, c := range sources {
		if c == nil {
			continue
		}
		if o := consider(c, c.inner(name, abi)); o != nil {
			return o, nil
		}
	}
	if spare != nil {
		s.addMember(spareOwner)
		return spare, nil
	}
	return nil, fmt.Errorf("%w: %s", ldso.ErrNotFound, name)
}

// sources returns the packages to ask for a name, in order; nil stands for the
// root's own libraries.
func (s *search) sources(name string, from *candidate, abi *elfedit.Info) ([]*candidate, error) {
	near := s.p.nearTo(s.own)
	sources := make([]*candidate, 0, len(near)+3)
	if from != nil {
		sources = append(sources, from)
	}
	if from != s.own {
		sources = append(sources, s.own)
	}
	isFirst := func(c *candidate) bool { return c == from || c == s.own }
	for _, c := range near {
		if !isFirst(c) {
			sources = append(sources, c)
		}
	}
	if !s.choice.private {
		sources = append(sources, nil)
	}
	for _, trees := range [][]*record.Tree{s.p.defaults, s.p.others} {
		for _, t := range trees {
			if hasLibrary(t, name) {
				c, err := s.p.load(t)
				if err != nil {
					return nil, err
				}
				if !isFirst(c) && !slices.Contains(near, c) {
					sources = append(sources, c)
				}
			}
		}
	}
	if s.choice.private {
		sources = append(sources, nil)
	}
	return sources, nil
}

// objection says why a package may not be in the closure: because a process has one
// C library, or a member's relation forbids it. It is "" when the package may.
func (s *search) objection(c *candidate, abi *elfedit.Info) string {
	if why, bad := s.excluded[c]; bad {
		return why
	}
	if c == s.choice.libc {
		return "" // the resolution reports relations against it
	}
	if c.isLibc(abi) {
		return "a process has one C library, and another was chosen"
	}
	return c.forbiddenBy(s.members, s.p.in.Orders)
}

func (s *search) addMember(c *candidate) {
	if !slices.Contains(s.members, c) {
		s.members = append(s.members, c)
	}
}

func (s *search) reject(name string, c *candidate, why string) {
	why = c.m.Spec() + " has it, but " + why
	if !slices.Contains(s.rejected[name], why) {
		s.rejected[name] = append(s.rejected[name], why)
	}
}

// findInterpreter returns the loader of the chosen C library.
func (s *search) findInterpreter(name string, chain []*ldso.Object) (*ldso.Object, error) {
	c := s.choice.libc
	if c == nil {
		return s.findSystem(name, chain)
	}
	f := c.interpreter(chain[0].Info)
	if f == nil {
		return nil, fmt.Errorf("%w: %s", ldso.ErrNotFound, name)
	}
	s.addMember(c)
	return s.p.object(c, f), nil
}

// findGlibc returns a library of the chosen loader family; nil without error when
// the family does not have it.
func (s *search) findGlibc(name string, abi *elfedit.Info) (*ldso.Object, error) {
	c := s.choice.libc
	if c == nil {
		return nil, nil
	}
	f := c.library(name, abi)
	if f == nil && strings.HasPrefix(name, "ld") {
		f = c.interpreter(&elfedit.Info{
			Class: abi.Class, Data: abi.Data, Machine: abi.Machine, Flags: abi.Flags, OSABI: abi.OSABI,
			Interpreter: cmp.Or(abi.Interpreter, name),
		})
	}
	if f == nil {
		return nil, nil
	}
	s.addMember(c)
	return s.p.object(c, f), nil
}

// findPath finds a name with a slash: a path in a package's payload, else in
// the root.
func (s *search) findPath(name string, from *candidate, chain []*ldso.Object) (*ldso.Object, error) {
	if from != nil {
		sources, err := s.sources(path.Base(name), from, chain[0].Info)
		if err != nil {
			return nil, err
		}
		for _, c := range sources {
			if c == nil {
				continue
			}
			if f := c.m.Resolve(name); f != nil && f.ELF != nil && sameABI(f.ELF, chain[0].Info) {
				if why := s.objection(c, chain[0].Info); why != "" {
					s.reject(name, c, why)
					continue
				}
				s.addMember(c)
				return s.p.object(c, f), nil
			}
		}
	}
	return s.findSystem(name, chain)
}

// findSystem asks the root's own loader. A tree's search paths mean nothing
// there, so it is asked as by a requester without any.
func (s *search) findSystem(name string, chain []*ldso.Object) (*ldso.Object, error) {
	if s.system == nil {
		return nil, fmt.Errorf("%w: %s", ldso.ErrNotFound, name)
	}
	if s.choice.libc != nil && layout.IsGlibcLibrary(name) {
		return nil, fmt.Errorf("%w: %s: a process has one C library", ldso.ErrNotFound, name)
	}
	asked := chain
	if s.p.owners[chain[len(chain)-1]] != nil {
		asked = []*ldso.Object{{Path: "/", ID: "/", Info: plainInfo(chain[0].Info)}}
	}
	return s.system.Find(name, asked)
}

// searchDirs returns the directories of the payload that the requester's RUNPATH,
// or its own and inherited RPATH, names, as the loader orders them. To musl's all are
// inherited, and both are alike.
func (s *search) searchDirs(chain []*ldso.Object) []string {
	requester := chain[len(chain)-1]
	var dirs []string
	add := func(o *ldso.Object, list string) {
		f := s.p.files[o]
		if f == nil {
			return
		}
		for _, e := range strings.Split(list, ":") {
			if d, ok := payloadDir(f.Path, e); ok {
				dirs = append(dirs, d)
			}
		}
	}
	if chain[0].Info.Musl {
		for _, o := range slices.Backward(chain) {
			add(o, muslSearchPath(o.Info))
		}
		return dirs
	}
	if requester.Info.HasRunPath {
		add(requester, requester.Info.RunPath)
		return dirs
	}
	for _, o := range slices.Backward(chain) {
		if !o.Info.HasRunPath {
			add(o, o.Info.RPath)
		}
	}
	return dirs
}

// payloadDir returns the directory of the payload that one element of a search
// path means for a file of it. ok is false for what depends on the machine
// ($LIB, $PLATFORM) or on the working directory.
func payloadDir(file, element string) (dir string, ok bool) {
	for _, origin := range []string{"${ORIGIN}", "$ORIGIN"} {
		if rest, found := strings.CutPrefix(element, origin); found && (rest == "" || rest[0] == '/') {
			element = "/" + path.Dir(file) + rest
		}
	}
	if !path.IsAbs(element) || strings.Contains(element, "$") {
		return "", false
	}
	return strings.TrimPrefix(layout.MergeUsr(strings.TrimPrefix(path.Clean(element), "/")), "/"), true
}

// lacksVersion returns a symbol version that the requester needs of name and the
// library does not define; "" when all are there.
func lacksVersion(requester *elfedit.Info, name string, library *elfedit.Info) string {
	if !library.HasVersionDefs && len(library.VersionDefs) == 0 {
		return "" // the loader warns only
	}
	for _, n := range requester.VersionNeeds {
		if n.File != name {
			continue
		}
		for _, v := range n.Versions {
			if !v.Weak && !slices.ContainsFunc(library.VersionDefs, func(d elfedit.VersionDef) bool { return d.Name == v.Name }) {
				return v.Name
			}
		}
	}
	return ""
}
