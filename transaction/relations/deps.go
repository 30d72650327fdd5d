package relations

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/ldso"
	"github.com/hashpkg/hashpkg/transaction/query"
)

// ErrNoELF is returned (wrapped) for what loads no libraries.
var ErrNoELF = errors.New("not a program or library")

// Loaded is one program or library, and what answers each name that it asks for.
type Loaded struct {
	Belongs
	Path  string   `json:"path"` // absolute in the root, links followed
	Needs []Needed `json:"needs"`
	// Prelocated says what of it is bound to the file itself; nil for nothing.
	Prelocated *record.SelfBound `json:"prelocated,omitempty"`
	// Problems say why the loader would not start it: names and symbol versions that are
	// missing, wherever in the closure.
	Problems []string `json:"problems"`
	// Closure is what is loaded with it, in the loader's order; without the file itself.
	Closure []Loaded `json:"closure,omitzero"`
}

// Needed is one name that a file asks for.
type Needed struct {
	Name string `json:"name"` // as it stands in the file
	Rule string `json:"rule"` // one of the Rule constants
	Path string `json:"path"` // of the file that answers, links followed; "" for none
	Belongs
}

// The rules by which a name is answered, besides those of package ldso.
const (
	RuleInterpreter = "interpreter" // the kernel maps what the program names
	RuleBound       = "bound"       // the file names that very file of a tree
	RulePin         = "pin"         // the same, of a program of the system
	RuleLoaded      = "loaded"      // what was loaded before is known by that name
	RuleFarm        = "farm"        // the search path leads through current-system: the default version
	RuleMissing     = "missing"
)

// Deps returns what the loader would load for a file of the root, or for each program of a
// package, else each of its libraries by itself. Of a name that the system's packages and
// private ones have, all are returned. The error wraps [ErrUnknown] or [ErrNoELF].
func (r *Relations) Deps(ctx context.Context, text string) ([]Loaded, error) {
	paths, err := r.binariesOf(ctx, text)
	if err != nil {
		return nil, err
	}
	l := newLoaders(r.root)
	var all []Loaded
	for _, p := range paths {
		one, err := r.loaded(ctx, l, p)
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("%s: %w: nothing has that path", p, ErrUnknown)
		}
		if errors.Is(err, ldso.ErrNotLoadable) {
			err = fmt.Errorf("%s: %w: no ELF file", p, ErrNoELF)
		}
		if err != nil {
			return nil, err
		}
		all = append(all, *one)
	}
	return all, nil
}

// binariesOf returns the paths of the files that a question about dependencies means.
func (r *Relations) binariesOf(ctx context.Context, text string) ([]string, error) {
	if strings.Contains(text, "/") {
		return []string{path.Clean("/" + text)}, nil
	}
	spec, err := query.ParseSpec(text)
	if err != nil {
		return nil, err
	}
	programs, err := r.SystemPrograms(ctx)
	if err != nil {
		return nil, err
	}
	var paths, libraries []string
	for i := range programs {
		if p := &programs[i]; p.Package == spec.Name && (spec.Version == "" || spec.Version == p.Version) {
			paths = append(paths, p.Path)
		}
	}
	target, err := r.Find(text)
	if err != nil && (len(paths) == 0 || !errors.Is(err, ErrUnknown)) {
		return nil, err
	}
	if target != nil {
		files := target.Files
		if len(files) == 0 {
			for _, h := range target.Trees {
				for i := range h.Binaries {
					files = append(files, File{h, h.Binaries[i].Path})
				}
			}
		}
		for _, f := range files {
			if binary(f).Program {
				paths = append(paths, r.At(f))
			} else {
				libraries = append(libraries, r.At(f))
			}
		}
	}
	if len(paths) == 0 {
		paths = libraries
	}
	if len(paths) == 0 {
		return nil, fmt.Errorf("%s: %w: the package has neither", text, ErrNoELF)
	}
	return paths, nil
}

// loaded computes what is loaded for one file.
func (r *Relations) loaded(ctx context.Context, l *loaders, name string) (*Loaded, error) {
	o, err := r.root.Inspect(l.final(name)) // the kernel follows links before the loader sees the name
	if err != nil {
		return nil, err
	}
	c, rules, err := l.load(o)
	if err != nil {
		return nil, err
	}
	one := func(of *ldso.Object) Loaded {
		at := l.final(of.Path)
		f := r.Locate(at)
		one := Loaded{Belongs: belongs(f), Path: at, Needs: []Needed{}, Problems: []string{}}
		if b := binary(f); b != nil {
			one.Prelocated = b.Self
		}
		return one
	}
	needed := func(name, rule string, answer *ldso.Object) Needed {
		n := Needed{Name: name, Rule: rule}
		if answer != nil {
			n.Path = l.final(answer.Path)
			n.Belongs = belongs(r.Locate(n.Path))
		}
		return n
	}
	index := map[*ldso.Object]int{}
	list := make([]Loaded, len(c.Objects))
	for i, of := range c.Objects {
		list[i], index[of] = one(of), i
	}
	if name := o.Info.Interpreter; name != "" {
		rule := RuleInterpreter
		if c.Interpreter == nil {
			rule = RuleMissing
		}
		list[0].Needs = append(list[0].Needs, needed(name, rule, c.Interpreter))
	}
	for _, n := range c.Needs {
		of := &list[index[n.From]]
		of.Needs = append(of.Needs, needed(n.Name, r.rule(n, rules), n.Provider))
	}
	if list[0].Package == "" { // a program of the system is in no tree
		if _, err := r.SystemPrograms(ctx); err != nil {
			return nil, err
		}
	}
	if p := r.program(list[0].Path); p != nil {
		list[0].Belongs = Belongs{p.Package, p.Version, record.OriginSystem, ""}
	}
	list[0].Problems = problems(c)
	list[0].Closure = list[1:]
	return &list[0], nil
}

// rule says by which rule a name was answered.
func (r *Relations) rule(n ldso.Need, rules map[asked]ldso.Rule) string {
	if n.Provider == nil {
		return RuleMissing
	}
	if strings.Contains(n.Name, "/") {
		_, inTree := r.inTree(n.Name)
		from, fromTree := r.inTree(n.From.Path)
		switch {
		case inTree && fromTree && from.Tree.Origin == record.OriginPrivate:
			return RuleBound
		case inTree:
			return RulePin
		}
		return string(ldso.RulePath)
	}
	rule, searched := rules[asked{n.From, n.Name}]
	switch {
	case !searched:
		return RuleLoaded
	case rule == ldso.RuleRunPath && strings.Contains(n.Provider.Path, "/"+layout.CurrentSystem+"/"):
		return RuleFarm
	}
	return string(rule)
}

// problems says for people what is missing in a closure.
func problems(c *ldso.Closure) []string {
	list := []string{}
	for _, m := range c.Missing {
		text := fmt.Sprintf("%s is missing, which %s needs", m.Name, m.From.Path)
		if !errors.Is(m.Err, ldso.ErrNotFound) || strings.Contains(m.Err.Error(), "stands in the way") {
			text += ": " + m.Err.Error()
		}
		list = append(list, text)
	}
	for _, v := range c.Versions {
		if v.Fatal {
			list = append(list, fmt.Sprintf("%s needs the symbol version %s of %s, which does not define it", v.From.Path, v.Version, v.File))
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}
