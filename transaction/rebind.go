package transaction

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hashpkg/hashpkg/layout/graph"
	"github.com/hashpkg/hashpkg/layout/plan"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/sysroot"
)

// RebindOptions says what to bind anew.
type RebindOptions struct {
	Root *sysroot.Root
	// Which returns the private trees of a generation whose programs are bound anew, and
	// with them what they are bound to; nil for all, but for those on hold and those that
	// were brought to be run once. It is called for the generation that is active when the
	// lock is held.
	Which    func(*record.Generation) ([]*record.Tree, error)
	DryRun   bool // plan only; nothing is written
	Lock     sysroot.LockOptions
	Now      time.Time
	Generate bool // as in [InstallOptions]
	// Progress, if not nil, is called now and then, from any goroutine.
	Progress func(Progress)
}

// RebindResult says what was bound anew, or would be.
type RebindResult struct {
	Rebound    []plan.Rebound `json:"rebound"`
	Left       []plan.Left    `json:"left"` // what stays as it is, for it could not be bound anew
	Warnings   []string       `json:"warnings"`
	Problems   []plan.Problem `json:"problems"`
	Generation int            `json:"generation"` // the active one afterwards
	Changed    bool           `json:"changed"`
}

// Rebind resolves the needs of installed private packages anew, by what is there now, and
// makes trees that are bound to what that came to beside those that they have, which stay
// in the store for the generations before. The package files are not needed: the packaged
// bytes are what the recorded edits, undone, give.
//
// A package that does not work as it is and would not after it, or whose manifest or that of
// one that it is bound to cannot be read, is left as it is, and the others go on. The error
// is a *[plan.ProblemsError] where something that starts now would not any more: nothing is
// changed then.
func Rebind(ctx context.Context, o RebindOptions) (result *RebindResult, err error) {
	if o.Progress == nil {
		o.Progress = func(Progress) {}
	}
	if o.DryRun {
		active, err := o.Root.Active()
		if err != nil {
			return nil, err
		}
		made, _, err := planRebind(ctx, o, active)
		return rebindResult(made, active.ID, false), err
	}
	w, err := Begin(ctx, o.Root, Options{Lock: o.Lock, Generate: o.Generate})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, w.End()) }()
	if err := w.staging.KeepReserve(); err != nil {
		return nil, err
	}
	made, from, err := planRebind(ctx, o, w.active)
	if err != nil || made.Generation == nil {
		return rebindResult(made, w.active.ID, false), err
	}
	if err := from.stage(made.Trees, func(*plan.PlannedTree) bool { return true }, w.staging); err != nil {
		return nil, err
	}
	next := made.Generation.Next(0, o.Now)
	if err := w.carryOut(ctx, made, next, o.Progress); err != nil {
		return nil, err
	}
	from.linkages.write()
	return rebindResult(made, next.ID, true), nil
}

func rebindResult(made *plan.Plan, generation int, changed bool) *RebindResult {
	if made == nil {
		return nil
	}
	return &RebindResult{
		Rebound: append([]plan.Rebound{}, made.Rebound...), Left: append([]plan.Left{}, made.Left...), Warnings: made.Warnings, Problems: made.Problems,
		Generation: generation, Changed: changed,
	}
}

func planRebind(ctx context.Context, o RebindOptions, active *record.Generation) (*plan.Plan, *packagedFiles, error) {
	manifests := map[string]*record.Manifest{}
	manifest := func(t *record.Tree) (*record.Manifest, error) {
		if m := manifests[t.Path()]; m != nil {
			return m, nil
		}
		m, err := o.Root.Store().Manifest(t.Name, t.Dir)
		manifests[t.Path()] = m
		return m, err
	}
	trees, err := toRebind(o, active, manifest)
	if err != nil {
		return nil, nil, err
	}
	trees, left, lost := leaveUnread(active, trees, manifest)
	from := newPackagedFiles(o.Root.Store(), nil)
	for _, m := range manifests {
		if m != nil {
			from.learn(m)
		}
	}
	if len(trees) == 0 {
		return &plan.Plan{Warnings: []string{}, Problems: []plan.Problem{}, Left: left}, from, nil
	}
	var warnings []string
	in, err := planInput(ctx, o.Root, active, from, &warnings)
	if err != nil {
		return nil, nil, err
	}
	o.Progress(Progress{Step: "editing"})
	in.Rebind, in.Installed = trees, from.know(manifest)
	if len(lost) > 0 {
		in.Gone = func(t *record.Tree) bool { return lost[t.Path()] != nil }
	}
	made, err := plan.Make(in)
	if err != nil {
		return nil, nil, err
	}
	made.Warnings = slices.Insert(made.Warnings, 0, warnings...)
	made.Left = append(left, made.Left...)
	if len(made.Problems) > 0 {
		return made, from, &plan.ProblemsError{Problems: made.Problems, Rebind: true}
	}
	return made, from, nil
}

// toRebind returns the trees that are planned anew: those that were asked for, and what
// they are bound to, since a library that is loaded by dlopen looks for others itself.
func toRebind(o RebindOptions, g *record.Generation, manifest func(*record.Tree) (*record.Manifest, error)) ([]*record.Tree, error) {
	may := map[string]*record.Tree{}
	var all []string
	for i := range g.Trees {
		if t := &g.Trees[i]; t.Origin == record.OriginPrivate && !t.OnHold && t.Until.IsZero() {
			may[t.Path()] = t
			all = append(all, t.Path())
		}
	}
	if o.Which != nil {
		asked, err := o.Which(g)
		if err != nil {
			return nil, err
		}
		all = nil
		for _, t := range asked {
			may[t.Path()] = t // whether or not it is on hold
			all = append(all, t.Path())
		}
		all = graph.Below(all, func(tree string) []string {
			m, err := manifest(may[tree])
			if err != nil { // see leaveUnread
				return nil
			}
			return graph.OfManifest(m, func(tree string) bool { return may[tree] != nil })
		})
	}
	trees := make([]*record.Tree, len(all))
	for i, tree := range all {
		trees[i] = may[tree]
	}
	return trees, nil
}

// leaveUnread takes out of trees those that stay as they are, because a manifest of their
// package cannot be read, so that it is unknown which trees it has, or that of a tree that
// they are bound to. lost are the private trees of the generation whose manifests these are.
func leaveUnread(g *record.Generation, trees []*record.Tree, manifest func(*record.Tree) (*record.Manifest, error)) (rest []*record.Tree, left []plan.Left, lost map[string]error) {
	lost = map[string]error{}
	names := map[string]error{}
	for i := range g.Trees {
		t := &g.Trees[i]
		if t.Origin != record.OriginPrivate {
			continue
		}
		if _, err := manifest(t); err != nil {
			lost[t.Path()], names[t.Name] = err, err
		}
	}
	for _, t := range trees {
		err := names[t.Name]
		if err == nil {
			m, _ := manifest(t)
			for _, tree := range graph.OfManifest(m, func(tree string) bool { return lost[tree] != nil }) {
				err = fmt.Errorf("it is bound to %s: %w", tree, lost[tree])
			}
		}
		if err != nil {
			left = append(left, plan.LeaveTree(t, err.Error()+"; run hashpkg verify --repair"))
			continue
		}
		rest = append(rest, t)
	}
	return rest, left, lost
}
