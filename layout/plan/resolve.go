package plan

import (
	"cmp"
	"debug/elf"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/elfedit"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/ldso"
)

// planner holds what a plan is made from while it is made.
type planner struct {
	in        Input
	command   []*candidate
	near      map[string][]*candidate     // the command's, those of a release first, by the release
	rivals    []*rivals                   // of the command
	nearest   map[*candidate][]*candidate // what nearTo has found out, where there are rivals
	closures  map[*candidate]map[*candidate]bool
	answers   map[*candidate][][]*candidate // as answersOf returns them
	installed map[*record.Tree]*candidate   // manifests read so far
	defaults  []*record.Tree                // of the generation, by name
	others    []*record.Tree                // the rest, newest first
	owners    map[*ldso.Object]*candidate
	files     map[*ldso.Object]*record.File
	systems   map[string]ldso.Finder // by triplet
	results   map[*record.File]*resolution
	occupied  map[*candidate][]*record.Manifest   // trees that stand on disk, by package of the command
	made      map[digest.Digest]EditResult        // the editor's results, by request
	edited    map[*record.File]EditResult         // what came of the edits that a file has now
	lists     map[*record.File][]*elfedit.Closure // closure objects that programs list, by the edits that they have now
	shelves   map[*record.File]shelf              // of musl's programs, by the edits that they have now
	parts     map[*candidate]*parts
	warned    map[string]bool
	families  *familySet // made by familySet, with relatives
	relatives map[string]*relative
	clashing  map[*record.Manifest]bool // trees of which something is bound to itself that others answer: see findClashes

	linked   map[string]*linked     // of installed trees, by their paths
	ours     map[*candidate]*linked // of the command's packages; nil before linkCommand
	together []process              // see processes
	unread   []string               // what symbols could not be read of

	trees   map[string]*record.Tree     // of the generation, by their paths
	removed map[string]*candidate       // trees that the generation has not, by their paths: see removedTree
	rebound map[string]*candidate       // of the command, those that are bound anew, by the paths of the trees that they have
	kin     map[*candidate][]*candidate // see kinOf
	fault   error                       // of reading an installed manifest, where it could not be returned
}

func newPlanner(in Input) (*planner, error) {
	p := &planner{
		in:        in,
		nearest:   map[*candidate][]*candidate{},
		closures:  map[*candidate]map[*candidate]bool{},
		answers:   map[*candidate][][]*candidate{},
		installed: map[*record.Tree]*candidate{},
		owners:    map[*ldso.Object]*candidate{},
		files:     map[*ldso.Object]*record.File{},
		systems:   map[string]ldso.Finder{},
		results:   map[*record.File]*resolution{},
		occupied:  map[*candidate][]*record.Manifest{},
		made:      map[digest.Digest]EditResult{},
		edited:    map[*record.File]EditResult{},
		lists:     map[*record.File][]*elfedit.Closure{},
		shelves:   map[*record.File]shelf{},
		parts:     map[*candidate]*parts{},
		warned:    map[string]bool{},
		linked:    map[string]*linked{},
		trees:     map[string]*record.Tree{},
		removed:   map[string]*candidate{},
		rebound:   map[string]*candidate{},
		kin:       map[*candidate][]*candidate{},
	}
	for i := range in.Generation.Trees {
		t := &in.Generation.Trees[i]
		p.trees[t.Path()] = t
	}
	for _, m := range in.Command {
		p.command = append(p.command, newCandidate(m.Clone(), nil))
	}
	// Of two builds of one package in a command, the higher version is asked first.
	slices.SortStableFunc(p.command, func(a, b *candidate) int {
		return cmp.Or(cmp.Compare(a.m.Name, b.m.Name), -in.Orders.Compare(a.m.Format, a.m.Version, b.m.Version))
	})
	p.near = byRelease(p.command)
	p.rivals = findRivals(p.command)
	if err := p.draftRebound(); err != nil {
		return nil, err
	}
	p.listTrees()
	return p, nil
}

// listTrees lists the trees that may answer what the command's packages have not.
func (p *planner) listTrees() {
	in := p.in
	p.defaults, p.others = nil, nil
	for i := range in.Generation.Trees {
		t := &in.Generation.Trees[i]
		if in.Gone != nil && in.Gone(t) || p.rebound[t.Path()] != nil || in.anew[t.Path()] != nil {
			continue
		}
		if t.Origin == record.OriginSystem {
			continue // they come and go with the package manager, and its own files are used in their place
		}
		if t.Default {
			p.defaults = append(p.defaults, t)
		} else {
			p.others = append(p.others, t)
		}
	}
	slices.SortStableFunc(p.others, func(a, b *record.Tree) int {
		return cmp.Or(-cmp.Compare(a.Since, b.Since), -in.Orders.Compare(a.Format, a.Version, b.Version))
	})
}

// byRelease returns, for each release that packages of a command come from, the whole
// command with those of the release first: what a package needs is chosen from its own
// release, and another one that is in the same command changes nothing of that.
func byRelease(command []*candidate) map[string][]*candidate {
	near := map[string][]*candidate{}
	for _, c := range command {
		if near[c.m.Named.Release] != nil {
			continue
		}
		list := slices.Clone(command)
		slices.SortStableFunc(list, func(a, b *candidate) int {
			return cmp.Compare(isOf(b, c.m.Named.Release), isOf(a, c.m.Named.Release))
		})
		near[c.m.Named.Release] = list
	}
	return near
}

// isOf is 1 for a package of a release, and 0 for any other.
func isOf(c *candidate, release string) int {
	if c.m.Named.Release == release {
		return 1
	}
	return 0
}

// load returns the candidate of a tree of the generation.
func (p *planner) load(t *record.Tree) (*candidate, error) {
	if c := p.installed[t]; c != nil {
		return c, nil
	}
	m, err := p.in.Installed(t)
	if err != nil {
		return nil, err
	}
	c := newCandidate(m, t)
	p.installed[t] = c
	return c, nil
}

func (p *planner) system(abi *elfedit.Info) (ldso.Finder, error) {
	if p.in.System == nil {
		return nil, nil
	}
	triplet := ldso.Triplet(abi)
	if f, ok := p.systems[triplet]; ok {
		return f, nil
	}
	f, err := p.in.System(abi)
	if err != nil {
		return nil, err
	}
	p.systems[triplet] = f
	return f, nil
}

// object returns the ldso object of a candidate's file and remembers whose it is.
func (p *planner) object(c *candidate, f *record.File) *ldso.Object {
	o := c.object(f)
	p.owners[o], p.files[o] = c, f
	return o
}

// resolvePackage resolves every ELF file of a package of the command. The edits that
// follow are decided by [planner.wantedEdits], once the trees have names.
func (p *planner) resolvePackage(c *candidate, plan *Plan) error {
	parts := &parts{}
	p.parts[c] = parts
	for i := range c.m.Files {
		f := &c.m.Files[i]
		if f.ELF == nil || p.isForeign(c, f.ELF) {
			continue
		}
		var problems []Problem
		_, public := publicLibrary(f)
		if needsLibraries(f) {
			r, err := p.resolve(c, f)
			if err != nil {
				return err
			}
			problems = p.problems(c, f, r)
			p.warnBinding(c, f, r, plan)
		} else if layout.IsGlibcLibrary(f.ELF.Soname) { // the loader
			continue
		}
		switch {
		case f.ELF.IsProgram():
			parts.programs = append(parts.programs, &program{file: f, problems: problems})
		case public:
			parts.libraries = append(parts.libraries, problems...)
			parts.loadable = parts.loadable || len(problems) == 0
		default:
			parts.plugins = append(parts.plugins, problems...)
		}
	}
	return nil
}

// needsLibraries reports whether the planner resolves a file: it is linked dynamically
// and loads something, and is not the loader itself.
func needsLibraries(f *record.File) bool {
	e := f.ELF
	if e == nil || !e.HasDynamic || (e.Type != elf.ET_EXEC && e.Type != elf.ET_DYN) {
		return false
	}
	if layout.IsGlibcLibrary(e.Soname) && strings.HasPrefix(e.Soname, "ld") {
		return false
	}
	return e.Interpreter != "" || len(e.Needed) > 0 || e.ImportsOpen
}

// resolution is how one file's needs are met.
type resolution struct {
	start         *ldso.Object
	closure       *ldso.Closure
	private       bool       // the C library is not the root's own
	libc          *candidate // whose C library it is; nil for the root's or for none
	members       []*candidate
	rejected      map[string][]string // name -> why candidates for it were passed over
	libcForbidden string              // the relation of a member that forbids the C library; "" when none does
}

// isComplete reports whether the loader would load the file, with libraries that the
// packages' relations allow.
func (r *resolution) isComplete() bool {
	return len(r.missing()) == 0 && len(r.missingVersions()) == 0 && r.libcForbidden == ""
}

// missing returns what is missing and not left to the machine.
func (r *resolution) missing() []ldso.Missing {
	var out []ldso.Missing
	for _, m := range r.closure.Missing {
		if !isDriver(m.Name) {
			out = append(out, m)
		}
	}
	return out
}

// missingVersions returns the symbol versions without which the loader stops.
func (r *resolution) missingVersions() []ldso.MissingVersion {
	var out []ldso.MissingVersion
	for _, v := range r.closure.Versions {
		if v.Fatal && !isDriver(v.File) {
			out = append(out, v)
		}
	}
	return out
}

// resolve finds what one file of a package of the command needs.
//
// The C library decides. It is chosen first, and with it whether the closure is
// private or the root's; each choice is tried until the loader would start the
// file. If none does, the problems of the first choice are the ones to report.
func (p *planner) resolve(c *candidate, f *record.File) (*resolution, error) {
	if r := p.results[f]; r != nil {
		return r, nil
	}
	choices, err := p.libcChoices(c, f.ELF)
	if err != nil {
		return nil, err
	}
	var first *resolution
	for _, choice := range choices {
		r, err := p.resolveWith(c, f, choice)
		if err != nil {
			return nil, err
		}
		if r.isComplete() {
			first = r
			break
		}
		if first == nil {
			first = r
		}
	}
	p.results[f] = first
	return first, nil
}

// libcChoice is one C library to try.
type libcChoice struct {
	libc    *candidate // nil for the root's own
	private bool
}

// libcChoices returns the C libraries to try for a program or library of this
// ABI, best first; never none.
func (p *planner) libcChoices(c *candidate, abi *elfedit.Info) ([]libcChoice, error) {
	var choices []libcChoice
	add := func(o *candidate, private bool) {
		choices = append(choices, libcChoice{o, private})
	}
	if c.isLibc(abi) {
		add(c, true)
		return choices, nil
	}
	for _, o := range p.nearby(c) {
		if o.isLibc(abi) {
			add(o, true)
		}
	}
	rootHas, err := p.rootHasLibc(abi)
	if err != nil {
		return nil, err
	}
	if len(choices) == 0 && rootHas {
		add(nil, false)
	}
	for _, trees := range [][]*record.Tree{p.defaults, p.others} {
		for _, t := range trees {
			if !hasLibrary(t, layout.LibcName(abi)) {
				continue
			}
			o, err := p.load(t)
			if err != nil {
				return nil, err
			}
			if o.isLibc(abi) {
				add(o, true)
			}
		}
	}
	if !slices.ContainsFunc(choices, func(c libcChoice) bool { return c.libc == nil }) {
		add(nil, !rootHas)
	}
	return choices, nil
}

// rootHasLibc reports whether the root's own loader finds a C library of this ABI.
func (p *planner) rootHasLibc(abi *elfedit.Info) (bool, error) {
	system, err := p.system(abi)
	if err != nil || system == nil {
		return false, err
	}
	_, err = system.Find(layout.LibcName(abi), []*ldso.Object{{Path: "/", ID: "/", Info: plainInfo(abi)}})
	if errors.Is(err, ldso.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// plainInfo is a requester of abi without search paths of its own.
func plainInfo(abi *elfedit.Info) *elfedit.Info {
	return &elfedit.Info{
		Class: abi.Class, Data: abi.Data, Machine: abi.Machine, Type: abi.Type,
		OSABI: abi.OSABI, Flags: abi.Flags, HasDynamic: true, Musl: abi.Musl,
	}
}

// provider returns what a name that the file itself needs is answered with; nil for nothing.
func (r *resolution) provider(name string) *ldso.Object {
	for _, n := range r.closure.Needs {
		if n.From == r.start && n.Name == name {
			return n.Provider
		}
	}
	return nil
}

// maxAttempts bounds how often a closure is computed again with a candidate
// excluded; each time excludes one more.
const maxAttempts = 64

// resolveWith computes the closure with one C library. A candidate whose package
// a later member's relation forbids is excluded and the closure computed anew.
func (p *planner) resolveWith(c *candidate, f *record.File, choice libcChoice) (*resolution, error) {
	system, err := p.system(f.ELF)
	if err != nil {
		return nil, err
	}
	excluded := map[*candidate]string{}
	for range maxAttempts {
		s := &search{p: p, choice: choice, own: c, system: system, excluded: excluded, members: []*candidate{c}, rejected: map[string][]string{}}
		start := p.object(c, f)
		closure, err := ldso.Load(start, s)
		if err != nil {
			return nil, err
		}
		r := &resolution{
			start: start, closure: closure, private: choice.private, libc: choice.libc,
			members: s.members, rejected: s.rejected,
		}
		again := false
		for _, m := range s.members {
			why := m.forbiddenBy(s.members, s.p.in.Orders)
			switch {
			case why == "" || m == c:
			case m == choice.libc: // without another one it would only be missing
				r.libcForbidden = why
			default:
				excluded[m], again = why, true
			}
		}
		if !again {
			return r, nil
		}
	}
	return nil, fmt.Errorf("resolve %s of %s: the relations of the packages that have its libraries contradict one another; install a part of them", f.Path, c.m.Spec())
}
