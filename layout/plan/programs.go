package plan

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/hashpkg/hashpkg/elfedit"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/ldso"
)

// parts are the ELF files of a package of the command, and what keeps each from being
// loaded.
type parts struct {
	programs  []*program
	libraries []Problem // of libraries that the loader finds on its own
	loadable  bool      // one of these is
	plugins   []Problem // of the other libraries
}

// program is one program of a package.
type program struct {
	file     *record.File
	problems []Problem // why it would not start
	unedited *Problem  // it cannot be edited, which it would have to be
}

func (g *program) starts() bool { return len(g.problems) == 0 && g.unedited == nil }

// isForeign reports whether a file is for another system, or for a machine that is
// neither the root's nor the package's: test data, or what is to run elsewhere.
func (p *planner) isForeign(c *candidate, e *elfedit.Info) bool {
	if !ldso.KnownOSABI(e) {
		return true
	}
	triplet, known := layout.Triplet(c.m.Architecture)
	if !known || p.own() == "" {
		return false
	}
	return !layout.Runs(p.own(), e) && (triplet == "" || !layout.Runs(triplet, e))
}

// judge adds to the plan what of a package would not start: to its problems what
// somebody asked for, and to its warnings the rest.
//
// Asked for are the commands of a package that somebody named: that with the wanted
// name, and all of them where none would start. Other programs of a package, plugins,
// and packages that are there because another needs them, may want what only those have
// who use them. A library without which a command does not start is a problem of that
// command.
func (p *planner) judge(c *candidate, plan *Plan) {
	parts := p.parts[c]
	refused := p.refuse(c, plan)
	left := slices.DeleteFunc(slices.Clone(parts.programs), func(g *program) bool { return g.starts() || slices.Contains(refused, g) })
	if len(left) > 0 {
		plan.Warnings = append(plan.Warnings, wouldNotStart(c, left, len(parts.programs)))
	}
	plugins := parts.plugins
	switch {
	case parts.loadable || !c.m.Named.Asked:
		plugins = append(slices.Clone(parts.libraries), plugins...)
	default:
		p.addProblems(plan, parts.libraries)
	}
	plan.Warnings = append(plan.Warnings, summarize(plugins)...)
}

// judgeEdits does what judge does, once it is known which programs cannot be edited.
func (p *planner) judgeEdits(plan *Plan) {
	isUnedited := func(g *program) bool { return g.unedited != nil }
	var refused []*program
	for _, c := range p.command {
		if slices.ContainsFunc(p.commands(c), func(x command) bool { return isUnedited(x.program) }) {
			refused = append(refused, p.refuse(c, plan)...)
		}
	}
	for _, c := range p.command {
		for _, g := range p.parts[c].programs {
			if isUnedited(g) && !slices.Contains(refused, g) {
				plan.Warnings = append(plan.Warnings, g.unedited.Message+"; it will not start")
			}
		}
	}
}

// addUneditable notes that a program of a package cannot be edited.
func (p *planner) addUneditable(c *candidate, f *record.File, problem Problem) {
	for _, g := range p.parts[c].programs {
		if g.file == f {
			g.unedited = &problem
		}
	}
}

// addProblems adds problems to a plan, or warnings where what is missing is allowed.
func (p *planner) addProblems(plan *Plan, problems []Problem) {
	if p.in.AllowMissing {
		plan.Warnings = append(plan.Warnings, summarize(problems)...)
	} else {
		plan.Problems = append(plan.Problems, problems...)
	}
}

// refuse adds the problems of the commands of a package without which it is not to be
// installed, and returns these.
func (p *planner) refuse(c *candidate, plan *Plan) (refused []*program) {
	if !c.m.Named.Asked {
		return nil
	}
	commands := p.commands(c)
	oneStarts := slices.ContainsFunc(commands, func(x command) bool { return x.program.starts() })
	wanted := p.in.Program
	if wanted == "" {
		wanted = c.m.Name
	}
	var problems []Problem
	for _, x := range commands {
		if g := x.program; !g.starts() && (!oneStarts || slices.Contains(x.names, wanted)) {
			refused = append(refused, g)
			problems = append(problems, g.problems...)
			if g.unedited != nil {
				problems = append(problems, *g.unedited)
			}
		}
	}
	p.addProblems(plan, problems)
	return refused
}

// command is a program that a package offers to be started by name.
type command struct {
	*program
	names []string
}

// commands returns the commands of a package that are ELF programs, those included that
// another package has and a link of this one leads to. Where it has none, it is the
// package's only program, wherever that stands.
func (p *planner) commands(c *candidate) []command {
	var list []command
	for i := range c.m.Files {
		f := &c.m.Files[i]
		if _, ok := commandDirs[path.Dir(f.Path)]; !ok {
			continue
		}
		g := p.programAt(c, f.Path)
		if g == nil {
			continue
		}
		name := path.Base(f.Path)
		if i := slices.IndexFunc(list, func(x command) bool { return x.program == g }); i >= 0 {
			list[i].names = append(list[i].names, name)
		} else {
			list = append(list, command{g, []string{name}})
		}
	}
	if len(list) > 0 {
		return list
	}
	for _, g := range p.parts[c].programs {
		if !strings.HasPrefix(g.file.Path, "usr/share/") { // which has data only (FHS 4.11)
			list = append(list, command{g, []string{path.Base(g.file.Path)}})
		}
	}
	if len(list) > 1 {
		return nil
	}
	return list
}

// programAt returns the program at a path of a package, through links that may lead to
// other packages of the command; nil when it is none.
func (p *planner) programAt(c *candidate, at string) *program {
	for range len(p.command) + 1 {
		f, where := c.m.Follow(at)
		if f != nil {
			i := slices.IndexFunc(p.parts[c].programs, func(g *program) bool { return g.file == f })
			if i < 0 {
				return nil
			}
			return p.parts[c].programs[i]
		}
		near := p.near[c.m.Named.Release]
		i := slices.IndexFunc(near, func(o *candidate) bool { return o != c && o.m.Lookup(where) != nil })
		if i < 0 {
			return nil
		}
		c, at = near[i], where
	}
	return nil
}

// wouldNotStart is the warning of programs of a package, of which there are all.
func wouldNotStart(c *candidate, programs []*program, all int) string {
	var files, missing []string
	for _, g := range programs {
		files = append(files, g.file.Path)
		for _, problem := range g.problems {
			what := problem.Soname
			if problem.Version != "" {
				what = problem.Version + " of " + what
			}
			if !slices.Contains(missing, what) {
				missing = append(missing, what)
			}
		}
	}
	count := fmt.Sprintf("%d of its %d programs", len(programs), all)
	if all == 1 {
		count = "its only program"
	}
	return fmt.Sprintf("%s: %s will not start: %s; missing: %s", c.m.Spec(), count, enumerate(files), enumerate(missing))
}

// enumerate lists what may be many.
func enumerate(list []string) string {
	const most = 5
	if left := len(list) - most; left > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(list[:most], ", "), left)
	}
	return strings.Join(list, ", ")
}
