package ldso

import (
	"errors"
	"fmt"
	"slices"
)

// Load computes the closure of a program, or of a library taken by itself,
// which then has no interpreter. The error is a fault of f; what is missing is
// part of the closure.
func Load(program *Object, f Finder) (*Closure, error) {
	if program.Info.Musl {
		return loadMusl(program, f)
	}
	l := &loading{
		finder:   f,
		closure:  &Closure{},
		answers:  map[string]*mapped{},
		versions: map[string]*mapped{},
		ids:      map[string]*mapped{},
		absent:   map[string]bool{},
	}
	m := l.add(program, program.Path, nil)
	l.list(m)
	if err := l.loadInterpreter(m); err != nil {
		return nil, err
	}
	for i := 0; i < len(l.order); {
		m := l.order[i]
		if m.done {
			i++
			continue
		}
		m.done = true
		if err := l.loadNeeded(m); err != nil {
			return nil, err
		}
		// What m is a filter for comes before it in the list, and next.
		if err := l.loadFiltees(m, i); err != nil {
			return nil, err
		}
	}
	for _, m := range l.order {
		l.closure.Objects = append(l.closure.Objects, m.object)
		l.checkVersions(m.object)
	}
	return l.closure, nil
}

// mapped is an object that the loader has mapped: glibc's link map.
type mapped struct {
	object *Object
	chain  []*Object // the program first, the object itself last
	rank   int       // place in the list in which names are looked up
	listed bool      // is in loading.order
	done   bool      // what it needs is loaded
}

// loading is the state of one Load.
type loading struct {
	finder  Finder
	closure *Closure
	order   []*mapped // becomes Closure.Objects

	count int
	// answers finds the object for a name: a path, a name that it was asked
	// for by, or a soname. versions has the same, but a soname only after
	// something asked for it: the loader looks up vn_file in that list.
	answers, versions map[string]*mapped
	ids               map[string]*mapped
	absent            map[string]bool // names of Closure.Missing
}

// add maps an object that was found by name.
func (l *loading) add(o *Object, name string, chain []*Object) *mapped {
	m := &mapped{object: o, rank: l.count}
	m.chain = append(append(make([]*Object, 0, len(chain)+1), chain...), o)
	l.count++
	if _, ok := l.ids[o.ID]; !ok {
		l.ids[o.ID] = m
	}
	l.nameFor(m, o.Path)
	l.nameFor(m, name)
	if o.Info.Soname != "" {
		prefer(l.answers, o.Info.Soname, m)
	}
	return m
}

// nameFor makes m known by a name that it was opened by or asked for.
func (l *loading) nameFor(m *mapped, name string) {
	prefer(l.answers, name, m)
	prefer(l.versions, name, m)
}

// prefer records m for name unless an object mapped earlier has it.
func prefer(names map[string]*mapped, name string, m *mapped) {
	if old, ok := names[name]; !ok || m.rank < old.rank {
		names[name] = m
	}
}

func (l *loading) list(m *mapped) {
	if m.listed {
		return
	}
	m.listed = true
	l.order = append(l.order, m)
}

// loadInterpreter maps the interpreter, which the kernel does before any
// library is searched.
func (l *loading) loadInterpreter(program *mapped) error {
	name := program.object.Info.Interpreter
	if name == "" {
		return nil
	}
	o, err := l.finder.Find(name, program.chain)
	if errors.Is(err, ErrNotFound) {
		l.miss(program, name, err)
		return nil
	}
	if err != nil {
		return fmt.Errorf("find interpreter %s of %s: %w", name, program.object.Path, err)
	}
	m := l.add(o, name, program.chain)
	if soname := o.Info.Soname; soname != "" {
		l.nameFor(m, soname)
	}
	l.closure.Interpreter = o
	return nil
}

func (l *loading) miss(m *mapped, name string, err error) {
	l.absent[name] = true
	l.closure.Missing = append(l.closure.Missing, Missing{From: m.object, Name: name, Chain: m.chain, Err: err})
}

func (l *loading) loadNeeded(m *mapped) error {
	for _, name := range m.object.Info.Needed {
		provider, err := l.provider(m, name)
		if err != nil && !errors.Is(err, ErrNotFound) {
			return fmt.Errorf("find %s for %s: %w", name, m.object.Path, err)
		}
		need := Need{From: m.object, Name: name}
		if err != nil {
			l.miss(m, name, err)
		} else {
			need.Provider = provider.object
			l.list(provider)
		}
		l.closure.Needs = append(l.closure.Needs, need)
	}
	return nil
}

// loadFiltees loads what m, which is at index at of the list, is a filter for
// (DT_AUXILIARY, DT_FILTER), and puts it before m: symbols are found there
// first. An auxiliary one may be missing.
func (l *loading) loadFiltees(m *mapped, at int) error {
	filter := m.object.Info.Filter // linkers write them before the others
	for i, name := range slices.Concat(filter, m.object.Info.Auxiliary) {
		filtee, err := l.provider(m, name)
		if errors.Is(err, ErrNotFound) {
			if i < len(filter) {
				l.miss(m, name, err)
			}
			continue
		}
		if err != nil {
			return fmt.Errorf("find %s for %s: %w", name, m.object.Path, err)
		}
		if old := slices.Index(l.order, filtee); old >= 0 {
			if old <= at {
				continue
			}
			l.order = slices.Delete(l.order, old, old+1)
		}
		filtee.listed = true
		l.order = slices.Insert(l.order, at, filtee)
		at++
	}
	return nil
}

// provider returns the object for a needed name, mapping it if it is new.
func (l *loading) provider(from *mapped, needed string) (*mapped, error) {
	name := expand(needed, tokens{origin: origin(from.object)})
	if m, ok := l.answers[name]; ok {
		l.nameFor(m, name)
		return m, nil
	}
	o, err := l.finder.Find(name, from.chain)
	if err != nil {
		return nil, err
	}
	if m, ok := l.ids[o.ID]; ok {
		l.nameFor(m, name)
		return m, nil
	}
	return l.add(o, name, from.chain), nil
}

// checkVersions compares the versions that an object wants with those that the
// loaded objects define (glibc elf/dl-version.c).
func (l *loading) checkVersions(o *Object) {
	for _, need := range o.Info.VersionNeeds {
		provider := l.versions[need.File]
		if provider == nil && l.absent[need.File] {
			continue // reported as missing
		}
		for _, want := range need.Versions {
			missing := MissingVersion{From: o, File: need.File, Version: want.Name, Fatal: true}
			if provider != nil {
				if defines(provider.object, want.Name) {
					continue
				}
				missing.Provider = provider.object
				missing.Fatal = !want.Weak && (provider.object.Info.HasVersionDefs || len(provider.object.Info.VersionDefs) > 0)
			}
			l.closure.Versions = append(l.closure.Versions, missing)
		}
	}
}

func defines(o *Object, version string) bool {
	for _, def := range o.Info.VersionDefs {
		if def.Name == version {
			return true
		}
	}
	return false
}
