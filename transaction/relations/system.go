package relations

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path"
	"slices"
	"strings"

	"github.com/hashpkg/hashpkg/backends"
	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/ldso"
	"github.com/hashpkg/hashpkg/sysroot"
	"github.com/hashpkg/hashpkg/sysroot/system"
)

// programsIndex is the index of the system's programs.
const programsIndex = layout.IndexDir + "/programs"

// FollowsSystem reports whether hashpkg follows a package manager in the root.
func (r *Relations) FollowsSystem() bool { return r.generation.HasSystemTrees() }

// SystemPrograms returns the programs of the root's own packages, and what the loader
// would load for each. Without a sync there are none.
func (r *Relations) SystemPrograms(ctx context.Context) ([]record.SystemProgram, error) {
	if !r.FollowsSystem() {
		return nil, nil
	}
	if r.programs != nil {
		return r.programs.Programs, nil
	}
	stamp, err := r.systemStamp()
	if err != nil {
		return nil, err
	}
	if b, err := r.root.Store().Dir().ReadFile(programsIndex, maxIndex); err == nil {
		if s, err := record.DecodeSystemPrograms(b); err == nil && s.Stamp == stamp {
			r.programs = s
			return s.Programs, nil
		}
	}
	s := &record.SystemPrograms{Stamp: stamp}
	if s.Programs, err = scanPrograms(ctx, r.root); err != nil {
		return nil, err
	}
	r.programs = s
	r.write(programsIndex, s.Encode())
	return s.Programs, nil
}

// systemStamp changes with all that the answers follow from: the databases, the loader's
// configuration, the generation, whose farm programs search, and which programs are
// edited.
func (r *Relations) systemStamp() (string, error) {
	states, err := system.States(r.root)
	if errors.Is(err, backends.ErrNoDatabase) {
		states, err = map[string]string{}, nil
	}
	if err != nil {
		return "", err
	}
	var parts []string
	for name, state := range states {
		parts = append(parts, name+"\x00"+state)
	}
	slices.Sort(parts)
	parts = append(parts, r.root.Prefix(), fmt.Sprint(r.generation.ID), r.generation.Time.String())
	dir := r.root.Store().Dir()
	if st, err := dir.Lstat(sysroot.PinsFile); err == nil {
		parts = append(parts, fmt.Sprint(st.Ino, st.Mtim, st.Size))
	}
	for _, f := range r.root.Formats() { // a record is renamed into its place, which its directory shows
		if st, err := dir.Lstat(record.EditsDir + "/" + string(f.Name())); err == nil {
			parts = append(parts, fmt.Sprint(st.Ino, st.Mtim))
		}
	}
	return digest.Of([]byte(strings.Join(parts, "\x00\x00"))).String(), nil
}

// scanPrograms looks at every program of the installed packages.
func scanPrograms(ctx context.Context, root *sysroot.Root) ([]record.SystemProgram, error) {
	packages, err := system.Packages(ctx, root)
	if err != nil {
		return nil, err
	}
	found, err := system.Scan(ctx, root, packages, nil, math.MaxInt64, func(int) {})
	if err != nil {
		return nil, err
	}
	loaders := newLoaders(root)
	var programs []record.SystemProgram
	for _, f := range found {
		for i := range f.Programs {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			p := record.SystemProgram{Package: f.Name, Version: f.Version, Architecture: f.Architecture, Format: f.Format, Path: f.Programs[i].Path}
			o, err := root.Inspect(p.Path)
			if errors.Is(err, ldso.ErrNotLoadable) || errors.Is(err, fs.ErrNotExist) {
				continue // it has gone, or has become something else
			}
			if err != nil {
				return nil, fmt.Errorf("look at %s: %w", p.Path, err)
			}
			c, _, err := loaders.load(o)
			if err != nil {
				return nil, err
			}
			p.Needed = o.Info.Needed
			asked := map[*ldso.Object]string{c.Interpreter: path.Base(o.Info.Interpreter)}
			for _, n := range c.Needs {
				if n.Provider != nil && asked[n.Provider] == "" {
					asked[n.Provider] = n.Name
				}
			}
			objects := c.Objects[1:]
			if c.Interpreter != nil && !slices.Contains(objects, c.Interpreter) {
				objects = append(slices.Clone(objects), c.Interpreter)
			}
			for _, lib := range objects {
				p.Loads = append(p.Loads, record.Need{Soname: path.Base(asked[lib]), Path: loaders.final(lib.Path)})
			}
			for _, m := range c.Missing {
				p.Missing = append(p.Missing, m.Name)
			}
			programs = append(programs, p)
		}
	}
	slices.SortFunc(programs, func(a, b record.SystemProgram) int { return strings.Compare(a.Path, b.Path) })
	return slices.CompactFunc(programs, func(a, b record.SystemProgram) bool { return a.Path == b.Path }), nil
}

// loaders are the models of the loader for the architectures of a root.
type loaders struct {
	root   *sysroot.Root
	byABI  map[string]*ldso.Root
	finals map[string]string
}

func newLoaders(root *sysroot.Root) *loaders {
	return &loaders{root, map[string]*ldso.Root{}, map[string]string{}}
}

// asked is a name that an object asks for.
type asked struct {
	by   *ldso.Object
	name string
}

// finder notes by which rule names are found.
type finder struct {
	*ldso.Root
	rules map[asked]ldso.Rule
}

// Find implements [ldso.Finder].
func (f *finder) Find(name string, chain []*ldso.Object) (*ldso.Object, error) {
	o, rule, err := f.Search(name, chain)
	f.rules[asked{chain[len(chain)-1], name}] = rule
	return o, err
}

// load computes what is loaded for a program, and by which rule each name was found that
// no loaded object answered.
func (l *loaders) load(o *ldso.Object) (*ldso.Closure, map[asked]ldso.Rule, error) {
	triplet := ldso.Triplet(o.Info)
	if l.byABI[triplet] == nil {
		model, err := l.root.Loader(o.Info)
		if err != nil {
			return nil, nil, err
		}
		l.byABI[triplet] = model
	}
	f := &finder{l.byABI[triplet], map[asked]ldso.Rule{}}
	c, err := ldso.Load(o, f)
	if err != nil {
		return nil, nil, fmt.Errorf("find what %s loads: %w", o.Path, err)
	}
	return c, f.rules, nil
}

// final returns a file's path in the root with all links followed.
func (l *loaders) final(name string) string {
	if known, ok := l.finals[name]; ok {
		return known
	}
	final, err := l.root.Final(name)
	if err != nil {
		final = name
	}
	l.finals[name] = final
	return final
}
