package plan

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/ldso"
)

// loadsNow reports whether the loader would load a file of an installed package with what
// its record and those of the libraries say that they are bound to.
func (p *planner) loadsNow(f *record.File) (bool, error) {
	system, err := p.system(f.ELF)
	if err != nil {
		return false, err
	}
	start := &ldso.Object{Path: "/" + f.Path, ID: "/" + f.Path, Info: f.ELF}
	s := &recorded{p: p, system: system, files: map[*ldso.Object]*record.File{start: f}, objects: map[*record.File]*ldso.Object{}}
	closure, err := ldso.Load(start, s)
	if err != nil {
		return false, err
	}
	r := &resolution{closure: closure}
	return r.isComplete(), nil
}

// recorded is the Finder of what an installed file is bound to.
type recorded struct {
	p       *planner
	system  ldso.Finder
	files   map[*ldso.Object]*record.File // of trees
	objects map[*record.File]*ldso.Object
}

// Find implements [ldso.Finder]: by what is recorded of the requester, then by what is
// recorded of the file that all is loaded for, which is all of it for a program.
func (s *recorded) Find(name string, chain []*ldso.Object) (*ldso.Object, error) {
	if f := s.files[chain[0]]; len(chain) == 1 && name == f.ELF.Interpreter {
		for _, e := range f.Edits {
			if e.Kind == record.EditInterpreter && len(e.To) > 0 {
				return s.inTree(e.To[0])
			}
		}
		return s.inRoot(name, chain)
	}
	for _, o := range []*ldso.Object{chain[len(chain)-1], chain[0]} {
		f := s.files[o]
		if f == nil {
			continue
		}
		i := slices.IndexFunc(f.Needs, func(n record.Need) bool { return n.Soname == name })
		if i < 0 {
			continue
		}
		if n := f.Needs[i]; n.Provider != "" {
			return s.inTree(n.Path)
		}
	}
	return s.inRoot(name, chain)
}

// inTree returns a file by the path that a program has of it, below whatever prefix.
func (s *recorded) inTree(name string) (*ldso.Object, error) {
	parts := strings.Split(path.Clean(name), "/")
	for i := 1; i+1 < len(parts); i++ {
		if layout.CheckName(parts[i-1]) != nil {
			continue
		}
		trees, err := s.p.in.Occupied(parts[i-1])
		if err != nil {
			return nil, err
		}
		m := manifestAt(trees, parts[i])
		if m == nil {
			continue
		}
		f := m.Lookup(strings.Join(parts[i+1:], "/"))
		if f == nil || f.ELF == nil {
			break
		}
		o := s.objects[f]
		if o == nil {
			o = &ldso.Object{Path: name, ID: name, Info: f.ELF}
			s.objects[f], s.files[o] = o, f
		}
		return o, nil
	}
	return nil, fmt.Errorf("%w: %s", ldso.ErrNotFound, name)
}

// inRoot asks the root's own loader, as [search.findSystem] does.
func (s *recorded) inRoot(name string, chain []*ldso.Object) (*ldso.Object, error) {
	if s.system == nil {
		return nil, fmt.Errorf("%w: %s", ldso.ErrNotFound, name)
	}
	if s.files[chain[len(chain)-1]] != nil {
		chain = []*ldso.Object{{Path: "/", ID: "/", Info: plainInfo(chain[0].Info)}}
	}
	return s.system.Find(name, chain)
}
