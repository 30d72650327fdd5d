package relations

import (
	"context"
	"slices"
	"strings"

	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/pkginfo"
)

// How one thing uses another.
const (
	UseLoads      = "loads"    // a program or library, when it is started or loaded
	UseRequires   = "requires" // a relation of the package
	UseRecommends = "recommends"
	UseSees       = "sees"  // the view of the package's programs has files of it
	UseLinks      = "links" // a link or a search path leads into it
	UsePinned     = "pinned to"
	UseFrozen     = "frozen to"
	UseRuns       = "runs"   // a service
	UseKept       = "loaded" // a program outside of packages, when somebody kept it
	UseHas        = "has"    // a generation
)

// Use is one step of a chain: how something uses what comes after it.
type Use struct {
	How  string `json:"how"`
	File string `json:"file"` // of the user, "" where it is the package
	Name string `json:"name"` // the soname or relation
}

// uses are who uses whom, by nodes: the paths of trees, and for programs of the system
// and other roots texts with their kind and a space in front.
type uses struct {
	users map[string][]string // by what is used, sorted
	how   map[[2]string]Use   // by user and used: the first that was found
	seen  map[string]bool     // files whose own needs are there
	// requires are all relations of a user that what is used answers.
	requires map[[2]string][]string
}

func newUses() *uses {
	return &uses{map[string][]string{}, map[[2]string]Use{}, map[string]bool{}, map[[2]string][]string{}}
}

func (u *uses) add(user, used string, how Use) {
	if user == used {
		return
	}
	key := [2]string{user, used}
	if _, known := u.how[key]; !known {
		u.how[key] = how
		u.users[used] = append(u.users[used], user)
	}
}

// loading is one program with what it loads: names stand for files as they do in its
// process.
type loading struct {
	file    File   // of a tree, or of the root
	node    string // as in uses
	needed  []string
	answers map[string]File
	files   []File // what it loads, without itself
	names   []string
}

func (r *Relations) newLoading(file File, node string, needed []string, loads []record.Need) *loading {
	l := &loading{file: file, node: node, needed: needed, answers: make(map[string]File, 2*len(loads))}
	for _, n := range loads {
		f := r.Locate(n.Path)
		l.answers[n.Soname] = f
		l.files = append(l.files, f)
		l.names = append(l.names, n.Soname)
		if b := binary(f); b != nil && b.Soname != "" {
			l.answers[b.Soname] = f
		}
	}
	return l
}

// needs calls yield with each need of the program and of what it loads, by which file
// each is, and what answers it. What the program has loaded only because it is bound to
// it, and no file of the closure asks for, is the program's own need.
func (l *loading) needs(yield func(by File, name string, answer File) bool) {
	reached := map[File]bool{}
	todo := []File{l.file}
	reached[l.file] = true
	for len(todo) > 0 {
		by := todo[0]
		todo = todo[1:]
		needed := l.needed
		if by != l.file {
			b := binary(by)
			if b == nil {
				continue
			}
			needed = b.Needed
		}
		for _, name := range needed {
			answer, ok := l.answers[name]
			if !ok {
				continue
			}
			if !yield(by, name, answer) {
				return
			}
			if !reached[answer] {
				reached[answer] = true
				todo = append(todo, answer)
			}
		}
	}
	for i, f := range l.files {
		if !reached[f] && !yield(l.file, l.names[i], f) {
			return
		}
	}
}

// programs calls yield with each program of the trees that are given, and of the system.
func (r *Relations) loadings(ctx context.Context, trees []*record.Holding, yield func(*loading) bool) error {
	for _, h := range trees {
		for i := range h.Binaries {
			b := &h.Binaries[i]
			if b.Program && len(b.Loads) > 0 && !yield(r.newLoading(File{h, b.Path}, h.Path(), b.Needed, b.Loads)) {
				return nil
			}
		}
	}
	programs, err := r.SystemPrograms(ctx)
	if err != nil {
		return err
	}
	for i := range programs {
		p := &programs[i]
		if !yield(r.newLoading(File{Path: p.Path}, nodeProgram+p.Path, p.Needed, p.Loads)) {
			return nil
		}
	}
	return nil
}

// addLoads adds who loads whom, as far as that leads to the trees that are wanted; nil
// for all.
func (r *Relations) addLoads(ctx context.Context, u *uses, wanted map[string]bool) error {
	err := r.loadings(ctx, r.trees, func(l *loading) bool {
		concerned := wanted == nil
		for _, f := range l.files {
			concerned = concerned || f.Tree != nil && wanted[f.Tree.Path()]
		}
		if !concerned {
			return true
		}
		l.needs(func(by File, name string, answer File) bool {
			if answer.Tree == nil {
				return true
			}
			node := l.node
			if by != l.file {
				node = by.Tree.Path()
			}
			u.add(node, answer.Tree.Path(), Use{UseLoads, by.Path, name})
			return true
		})
		return true
	})
	if err != nil {
		return err
	}
	// Libraries that no program loads at its start, such as modules, and what leads
	// into trees otherwise.
	for _, h := range r.trees {
		for i := range h.Binaries {
			b := &h.Binaries[i]
			if b.Program {
				continue
			}
			for _, n := range b.Loads {
				if f := r.Locate(n.Path); f.Tree != nil {
					u.add(h.Path(), f.Tree.Path(), Use{UseLoads, b.Path, n.Soname})
				}
			}
		}
	}
	return nil
}

// addLinks adds where links and search paths of trees lead.
func (r *Relations) addLinks(u *uses) {
	for _, h := range r.trees {
		for _, lead := range h.Leads {
			for p := range strings.SplitSeq(lead, ":") {
				if f, ok := r.inTree(p); ok {
					u.add(h.Path(), f.Tree.Path(), Use{UseLinks, "", p})
				}
			}
		}
	}
}

// addViews adds which trees the views of packages have files of.
func (r *Relations) addViews(u *uses) {
	for t := range r.Trees {
		if t.View == "" {
			continue
		}
		if v := r.byPath[layout.TreePath(layout.ViewName, t.View)]; v != nil {
			for _, merged := range v.Merged {
				if r.byPath[merged] != nil {
					u.add(t.Path(), merged, Use{UseSees, "", ""})
				}
			}
		}
	}
}

// offer is a package of the generation under a name.
type offer struct {
	tree    *record.Tree
	version string
	real    bool // the name is its own
}

// addRelations adds which packages of the generation others of the same release require.
// Those of the system are the package manager's to keep.
func (r *Relations) addRelations(u *uses) {
	r.addAnswers(u, UseRequires, func(h *record.Holding) [][]pkginfo.Constraint { return h.Requires })
}

// addRecommends adds which of them others recommend.
func (r *Relations) addRecommends(u *uses) {
	r.addAnswers(u, UseRecommends, func(h *record.Holding) [][]pkginfo.Constraint { return h.Recommends })
}

// addAnswers adds what answers the relations of a kind.
func (r *Relations) addAnswers(u *uses, how string, of func(*record.Holding) [][]pkginfo.Constraint) {
	offers := map[string][]offer{}
	for t := range r.Trees {
		if t.Origin != record.OriginPrivate {
			continue
		}
		offers[t.Name] = append(offers[t.Name], offer{t, t.Version, true})
		for _, c := range t.Provides {
			offers[c.Name] = append(offers[c.Name], offer{t, c.Version, false})
		}
	}
	for t, h := range r.Trees {
		if t.Origin != record.OriginPrivate {
			continue
		}
		for _, alternatives := range of(h) {
			for _, want := range alternatives {
				found := r.answer(t, want, offers[want.Name])
				if found == nil {
					continue
				}
				u.add(t.Path(), found.Path(), Use{how, "", constraintText(want)})
				if how == UseRequires {
					pair := [2]string{t.Path(), found.Path()}
					u.requires[pair] = append(u.requires[pair], constraintText(want))
				}
				break
			}
		}
	}
}

// answer returns the package that satisfies what another one wants: rather one of the
// same release, of that name, and the default version.
func (r *Relations) answer(by *record.Tree, want pkginfo.Constraint, offers []offer) *record.Tree {
	var best *record.Tree
	bestRank := -1
	for _, o := range offers {
		if o.tree.Format != by.Format || !r.generation.Orders.Satisfies(o.tree.Format, o.version, want) {
			continue
		}
		rank := 0
		if o.tree.Shares(&by.Named) {
			rank += 4
		}
		if o.real {
			rank += 2
		}
		if o.tree.Default {
			rank++
		}
		if rank > bestRank {
			best, bestRank = o.tree, rank
		}
	}
	return best
}

func constraintText(c pkginfo.Constraint) string {
	if c.Operator == "" {
		return c.Name
	}
	return c.Name + " (" + c.Operator + " " + c.Version + ")"
}

// finish sorts the users, so that answers are the same each time.
func (u *uses) finish() {
	for _, users := range u.users {
		slices.Sort(users)
	}
}
