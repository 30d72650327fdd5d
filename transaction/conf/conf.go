// Package conf deals with the configuration files of private packages, which stand in
// their trees, where no program looks for them. [Adopt] copies those that /etc lacks to
// /etc, and records them; [Update] follows newer versions of the packages, as dpkg does:
// what nobody has changed is replaced, and beside what somebody has stands the new version,
// with [NewEnd] at the end of its name; [Drop] takes them away again. [MakeState] makes the
// directories below /var that packages need. [List] says how each
// stands.
//
// A file that hashpkg has not put there, or that somebody has changed since, is never
// written to, replaced or removed. Files that decide who may do what, and what every
// program loads, are not copied at all.
//
// The record is durable before a file changes, and has all that it may be: who is killed
// in between runs the command again.
package conf

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/hashpkg/hashpkg/backends"
	"github.com/hashpkg/hashpkg/internal/advice"
	"github.com/hashpkg/hashpkg/layout/plan"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/sysroot"
	"github.com/hashpkg/hashpkg/sysroot/system"
	"github.com/hashpkg/hashpkg/transaction"
	"github.com/hashpkg/hashpkg/transaction/configure"
	"github.com/hashpkg/hashpkg/transaction/query"
)

// NewEnd ends the name of a newer version that stands beside a file which somebody has
// changed.
const NewEnd = ".hashpkg-new"

// State is how a configuration file stands.
type State string

// The states. Of those from Adopted to Changed, hashpkg has put the file there.
const (
	Missing  State = "missing"  // /etc has none
	Adopted  State = "adopted"  // it is as the package has it
	Outdated State = "outdated" // nobody has changed it, and the package has another version of it
	Changed  State = "changed"  // somebody has changed it
	Removed  State = "removed"  // somebody has removed it
	Obsolete State = "obsolete" // the package has it no more
	Same     State = "same"     // /etc has had the very same
	Own      State = "own"      // /etc has had another one
	Other    State = "other"    // it is there for another package
	Refused  State = "refused"  // it is not copied, whoever asks: see File.Reason
	Blocked  State = "blocked"  // it cannot be: see File.Reason
)

// File is one configuration file of a package.
type File struct {
	Path     string `json:"path"`               // in the root
	Package  string `json:"package"`            // "NAME=VERSION"
	State    State  `json:"state"`              // of a directory below /var: Missing
	Conffile bool   `json:"conffile"`           // its package calls it configuration
	Computed bool   `json:"computed,omitempty"` // by scripts of the package, or of what it needs
	Reason   string `json:"reason,omitempty"`
	// Tree is where the package's own stands, relative to the prefix; "" for an obsolete one.
	Tree string `json:"tree,omitempty"`
}

// Options are those of a change.
type Options struct {
	Root   *sysroot.Root
	Lock   sysroot.LockOptions
	DryRun bool // say what would be done
	State  bool // of Adopt: make directories below /var as well, as MakeState does
	// Scripts is of Adopt as well: what the scripts of the package and of all that it needs
	// compute is copied, to /etc and /var/lib. They run in a box: see [transaction.Writer.RunScripts].
	Scripts bool
	Timeout time.Duration // after which they are ended, if it is not 0
}

// Step is what was done, or with DryRun would be.
type Step struct {
	Path   string `json:"path"` // in the root
	Action Action `json:"action"`
}

// Action is what is done with a file.
type Action string

// The actions.
const (
	Copied    Action = "copied"    // it was missing
	Updated   Action = "updated"   // to another version
	Beside    Action = "beside"    // the new version was put beside it
	Taken     Action = "removed"   // it was removed
	Released  Action = "released"  // it is the administrator's, or another package's, from now on
	Confirmed Action = "confirmed" // it was made the same as the package's by somebody
)

// Result is what a change came to.
type Result struct {
	Done []Step `json:"done"`
	Left []File `json:"left"` // what is not as the package has it
	// Failed are packages whose scripts have failed: what they would compute is lacking.
	Failed []Failure `json:"failed,omitempty"`
}

// Failure is a package whose scripts have failed.
type Failure struct {
	Package string `json:"package"`
	Reason  string `json:"reason"`
}

// List returns how the configuration files stand of packages that specs name or, without
// any, of those that have files in /etc, sorted by package and path.
func List(root *sysroot.Root, specs []query.Spec) ([]File, error) {
	w, err := newWorker(root)
	if err != nil {
		return nil, err
	}
	if len(specs) == 0 {
		specs = w.recorded()
	}
	files := []File{}
	for _, spec := range specs {
		found, err := w.look(spec)
		if err != nil {
			return nil, err
		}
		for _, f := range found {
			files = append(files, f.File)
		}
	}
	return files, nil
}

// Adopt copies those configuration files of a package to /etc that are missing there, and
// does what Update does for the others. It does so for the packages, too, that [Needs]
// returns for it.
func Adopt(ctx context.Context, o Options, spec query.Spec) (*Result, error) {
	var scripted *computed
	result, err := change(ctx, o, func(w *worker) ([]query.Spec, error) {
		if o.Scripts {
			var err error
			if scripted, err = w.compute(ctx, spec); err != nil {
				return nil, err
			}
		}
		g, err := o.Root.Active()
		if err != nil {
			return nil, err
		}
		t, err := treeOf(g, spec)
		if err != nil {
			return nil, err
		}
		needs, err := w.needs(g, []*record.Tree{t})
		if err != nil {
			return nil, err
		}
		w.missing = true
		specs := []query.Spec{spec}
		for _, n := range needs[0] {
			if n.Tree.Path() != t.Path() {
				specs = append(specs, query.Spec{Name: n.Tree.Name, Version: n.Tree.Dir})
			}
		}
		return specs, nil
	}, func(w *worker, ctx context.Context, of query.Spec) error {
		err := w.update(ctx, of)
		if o.Scripts && of == spec {
			err = errors.Join(err, w.followComputed(ctx, spec, scripted))
		}
		if o.State {
			err = errors.Join(err, w.makeState(ctx, of))
		}
		return err
	})
	if result != nil {
		// Of the packages that it needs, what is there already is of no interest.
		result.Left = slices.DeleteFunc(result.Left, func(f File) bool { return !strings.HasPrefix(f.Package, spec.Name+"=") })
	}
	return result, err
}

// Update follows the versions of packages that are in use: of those that have files in
// /etc, and are still installed. What somebody has removed stays away.
func Update(ctx context.Context, o Options) (*Result, error) {
	if c, err := o.Root.Conf(); err != nil || len(c.Files) == 0 {
		return &Result{Done: []Step{}, Left: []File{}}, err
	}
	return change(ctx, o, func(w *worker) ([]query.Spec, error) { return w.installed() }, (*worker).update)
}

// Drop removes the files of a package that Adopt has copied, and that nobody has changed
// since, and the directories below /var that were made for it and are empty. The others are the administrator's own from then on.
func Drop(ctx context.Context, o Options, name string) (*Result, error) {
	return change(ctx, o, func(w *worker) ([]query.Spec, error) {
		if !slices.ContainsFunc(w.record.Files, func(f record.ConfFile) bool { return f.Package == name || slices.Contains(f.Also, name) }) &&
			!slices.ContainsFunc(w.record.State, func(s record.StateDir) bool { return s.Package == name }) {
			return nil, advice.Errorf("%w: no configuration file of %s was copied to /etc, and no directory was made for it; hashpkg conf list shows what was", query.ErrNotInstalled, name)
		}
		return []query.Spec{{Name: name}}, nil
	}, (*worker).drop)
}

func change(ctx context.Context, o Options, which func(*worker) ([]query.Spec, error), f func(*worker, context.Context, query.Spec) error) (result *Result, err error) {
	if o.DryRun && !o.Scripts {
		w, err := newWorker(o.Root)
		if err != nil {
			return nil, err
		}
		return w.run(ctx, which, f)
	}
	writer, err := transaction.Begin(ctx, o.Root, transaction.Options{Lock: o.Lock, Generate: o.Scripts})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, writer.End()) }()
	w, err := newWorker(o.Root)
	if err != nil {
		return nil, err
	}
	w.writer, w.writes, w.timeout = writer, !o.DryRun, o.Timeout
	return w.run(ctx, which, f)
}

// worker lists or changes configuration files.
type worker struct {
	root    *sysroot.Root
	writer  *transaction.Writer // nil where nothing is to be changed
	record  *record.Conf
	writes  bool
	timeout time.Duration // for scripts
	missing bool          // what somebody has removed is copied, too
	result  *Result
	owned   map[string]bool // paths of the system's packages; nil until they are asked for
}

func newWorker(root *sysroot.Root) (*worker, error) {
	c, err := root.Conf()
	if err != nil {
		return nil, err
	}
	return &worker{root: root, record: c, result: &Result{Done: []Step{}, Left: []File{}}}, nil
}

func (w *worker) run(ctx context.Context, which func(*worker) ([]query.Spec, error), f func(*worker, context.Context, query.Spec) error) (*Result, error) {
	specs, err := which(w)
	if err != nil {
		return nil, err
	}
	var faults []error
	for _, spec := range specs {
		if err := ctx.Err(); err != nil {
			return w.result, err
		}
		faults = append(faults, f(w, ctx, spec))
	}
	return w.result, errors.Join(faults...)
}

// recorded returns the packages that have files in /etc.
func (w *worker) recorded() (specs []query.Spec) {
	for _, f := range w.record.Files {
		if spec := (query.Spec{Name: f.Package}); !slices.Contains(specs, spec) {
			specs = append(specs, spec)
		}
	}
	slices.SortFunc(specs, func(a, b query.Spec) int { return strings.Compare(a.Name, b.Name) })
	return specs
}

// installed returns those of recorded that are installed.
func (w *worker) installed() ([]query.Spec, error) {
	g, err := w.root.Active()
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(w.recorded(), func(s query.Spec) bool {
		_, err := treeOf(g, s)
		return err != nil
	}), nil
}

// Needs returns for each of some private packages which configuration files it may need that
// /etc lacks, its own and those of what it needs: see [plan.ConfNeeds]. What somebody has
// removed is not among them.
func Needs(root *sysroot.Root, g *record.Generation, trees []*record.Tree) ([][]plan.ConfNeed, error) {
	w, err := newWorker(root)
	if err != nil {
		return nil, err
	}
	return w.needs(g, trees)
}

// ComputedNeeds returns for each of some private packages which files it may need that only
// scripts compute and the root lacks: see [plan.ComputedNeeds].
func ComputedNeeds(ctx context.Context, root *sysroot.Root, g *record.Generation, trees []*record.Tree) ([]plan.ComputedNeed, error) {
	w, err := newWorker(root)
	if err != nil {
		return nil, err
	}
	answered, err := transaction.AnsweredBySystem(ctx, root)
	if err != nil {
		return nil, err
	}
	needs, err := plan.ComputedNeeds(g, trees, func(t *record.Tree) (*record.Manifest, error) {
		return w.root.Store().Manifest(t.Name, t.Dir)
	}, func(p string) bool { return !configure.IsLeft(p[1:]) && w.lacks(p) }, answered)
	for i, need := range needs {
		if len(need.Files) > 0 {
			m, merr := w.root.Store().Manifest(trees[i].Name, trees[i].Dir)
			if err = errors.Join(err, merr); merr != nil || m.Control != nil && !m.Control.ByDpkg() {
				continue // the root's own shell runs those of an rpm
			}
			_, missing := plan.ScriptTools(g, trees[i].Release, root.FileSize)
			needs[i].Tools = slices.Compact(slices.Sorted(slices.Values(append(need.Tools, missing...))))
		}
	}
	return needs, err
}

// lacks reports whether the root has nothing at a path where something may be put, and
// nobody has removed it.
func (w *worker) lacks(p string) bool {
	if refuses(p) != "" || w.entry(p) != nil {
		return false
	}
	is, err := w.host(p)
	return err == nil && is == ""
}

func (w *worker) needs(g *record.Generation, trees []*record.Tree) ([][]plan.ConfNeed, error) {
	return plan.ConfNeeds(g, trees, func(t *record.Tree) (*record.Manifest, error) {
		return w.root.Store().Manifest(t.Name, t.Dir)
	}, w.lacks)
}

// isConf reports whether a file of a package is a configuration file.
func isConf(f *record.File) bool {
	return strings.HasPrefix(f.Path, "etc/") && (f.Type == record.TypeFile || f.Type == record.TypeSymlink)
}

// treeOf returns the private tree that a spec names.
func treeOf(g *record.Generation, spec query.Spec) (*record.Tree, error) {
	private := g.Next(g.ID, g.Time)
	private.SetTrees(slices.DeleteFunc(slices.Clone(g.Trees), func(t record.Tree) bool { return t.Origin != record.OriginPrivate }))
	t, err := query.Best(private, spec)
	if err == nil {
		return t, nil
	}
	if _, other := query.Best(g, spec); other == nil {
		return nil, fmt.Errorf("%s belongs to the system's package manager, which sees to its configuration", spec)
	}
	return nil, err
}

// found is a file, and what is known of it.
type found struct {
	File
	m     *record.Manifest
	f     *record.File     // of m; nil for others than those
	bytes *configure.File  // what scripts have computed; nil for others
	entry *record.ConfFile // nil for one that was not copied
	is    string           // on the host: see record.ConfFile; "" for nothing
}

// look returns how the files of a package stand, sorted by path.
func (w *worker) look(spec query.Spec) ([]*found, error) {
	g, err := w.root.Active()
	if err != nil {
		return nil, err
	}
	var all []*found
	t, err := treeOf(g, spec)
	if err == nil {
		m, err := w.root.Store().Manifest(t.Name, t.Dir)
		if err != nil {
			return nil, err
		}
		for i := range m.Files {
			if f := &m.Files[i]; isConf(f) && !w.isComputed("/"+f.Path) {
				x := &found{m: m, f: f, File: File{Path: "/" + f.Path, Package: m.Spec(), Conffile: f.Conffile, Tree: t.Path() + "/" + f.Path}}
				x.entry = w.entry(x.Path)
				w.setState(x)
				all = append(all, x)
			}
		}
	}
	some := false
	for i := range w.record.Files {
		e := &w.record.Files[i]
		if e.Package != spec.Name {
			continue
		}
		some = true
		if !slices.ContainsFunc(all, func(x *found) bool { return x.Path == e.Path }) {
			x := &found{entry: e, File: File{Path: e.Path, Package: e.Package + "=" + e.Version, State: Obsolete, Computed: e.Computed}}
			var fault error
			if x.is, fault = w.host(x.Path); fault != nil {
				x.State, x.Reason = Blocked, fault.Error()
			} else if e.Computed && t != nil {
				setComputedState(x, t.Version)
			}
			all = append(all, x)
		}
	}
	if t == nil && !some {
		return nil, err
	}
	slices.SortFunc(all, func(a, b *found) int { return strings.Compare(a.Path, b.Path) })
	return all, nil
}

func (w *worker) entry(p string) *record.ConfFile {
	for i := range w.record.Files {
		if w.record.Files[i].Path == p {
			return &w.record.Files[i]
		}
	}
	return nil
}

// setState looks at the host's file.
func (w *worker) setState(x *found) {
	if reason := refuses(x.Path); reason != "" {
		x.State, x.Reason = Refused, reason
		return
	}
	var err error
	if x.is, err = w.host(x.Path); err != nil {
		x.State, x.Reason = Blocked, err.Error()
		return
	}
	x.State = state(x.entry, x.m.Name, x.is, x.packaged())
	if x.State == Changed && len(x.entry.Beside) > 0 {
		x.Reason = "a newer version was put beside it, as " + path.Base(x.Path) + NewEnd
	}
	if x.State == Other {
		x.Reason = "copied for " + x.entry.Package
	}
}

// state says how a file stands of which the host has one thing and the package another.
func state(e *record.ConfFile, name, host, pkg string) State {
	switch {
	case e == nil && host == "":
		return Missing
	case e == nil && host == pkg:
		return Same
	case e == nil:
		return Own
	case e.Package != name:
		return Other
	case host == "":
		return Removed
	case host == pkg:
		return Adopted
	case slices.Contains(e.Is, host):
		return Outdated
	}
	return Changed
}

// isNew reports whether a package has another version of a changed file than the one that
// was known when it was changed, and than the one that stands beside it.
func isNew(e *record.ConfFile, pkg string) bool {
	return e.Is[0] != pkg && (e.Pending || !slices.Contains(e.Beside, pkg))
}

// packaged returns what a package has, or its scripts have computed, as record.ConfFile says it.
func (x *found) packaged() string {
	if x.bytes != nil && x.bytes.Mode&fs.ModeSymlink != 0 {
		return "-> " + x.bytes.Target
	}
	if x.bytes != nil {
		return sum(x.bytes.Bytes)
	}
	f := x.f
	if f.Type == record.TypeSymlink {
		return "-> " + cmp.Or(f.PackageTarget, f.Target)
	}
	return f.Object.String()
}

// refused are what is not copied to /etc: who may log in and become whom, and what every
// program loads. A name that ends in "*" begins others.
var refused = []struct{ name, reason string }{
	{"passwd*", "says who there is"},
	{"group*", "says who there is"},
	{"shadow*", "has passwords"},
	{"gshadow*", "has passwords"},
	{"pam.d", "decides who may log in"},
	{"pam.conf", "decides who may log in"},
	{"security", "decides who may log in"},
	{"sudoers*", "decides who may become whom"},
	{"ld.so*", "decides what every program loads"},
}

// refuses returns why a file of /etc or /var is not put there; "" when it can be.
func refuses(p string) string {
	if refusesState(p) {
		return errStateRefused.Error()
	}
	name, _, _ := strings.Cut(strings.TrimPrefix(p, "/etc/"), "/")
	for _, r := range refused {
		begin, isBegin := strings.CutSuffix(r.name, "*")
		if name == r.name || isBegin && strings.HasPrefix(name, begin) {
			return "/etc/" + name + " " + r.reason
		}
	}
	return ""
}

// isOwned reports whether a package of the system has a file.
func (w *worker) isOwned(ctx context.Context, p string) (bool, error) {
	if w.owned == nil {
		packages, err := system.Packages(ctx, w.root)
		if err != nil && !errors.Is(err, backends.ErrNoDatabase) {
			return false, err
		}
		w.owned = map[string]bool{}
		for _, pkg := range packages {
			files, err := pkg.Files()
			if err != nil {
				return false, err
			}
			for _, f := range files {
				w.owned[f.Path] = true
			}
		}
	}
	return w.owned[strings.TrimPrefix(p, "/")], nil
}
