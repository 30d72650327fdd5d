package transaction

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"
	"time"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/layout/graph"
	"github.com/hashpkg/hashpkg/layout/plan"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/layout/rewrite"
	"github.com/hashpkg/hashpkg/store"
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
		spool, err := newSpool()
		if err != nil {
			return nil, err
		}
		made, _, err := planRebind(ctx, o, spool, active)
		return rebindResult(made, active.ID, false), errors.Join(err, spool.Close())
	}
	w, err := Begin(ctx, o.Root, Options{Lock: o.Lock, Generate: o.Generate})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, w.End()) }()
	if err := w.staging.KeepReserve(); err != nil {
		return nil, err
	}
	made, from, err := planRebind(ctx, o, w.staging, w.active)
	if err != nil || made.Generation == nil {
		return rebindResult(made, w.active.ID, false), err
	}
	if err := from.stage(newManifests(made.Trees)); err != nil {
		return nil, err
	}
	next := made.Generation.Next(0, o.Now)
	if err := w.carryOut(ctx, made, next, o.Progress); err != nil {
		return nil, err
	}
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

func planRebind(ctx context.Context, o RebindOptions, to sink, active *record.Generation) (*plan.Plan, *packagedFiles, error) {
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
	from := &packagedFiles{store: o.Root.Store(), sink: to, edited: map[digest.Digest]*record.File{}, taken: map[digest.Digest]func() error{}}
	for _, t := range trees {
		m, err := manifest(t)
		if err != nil {
			return nil, nil, err
		}
		for i := range m.Files {
			if f := &m.Files[i]; f.Patch != nil {
				from.edited[f.Source] = f
			}
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
	in.Rebind, in.Installed = trees, manifest
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

// packagedFiles has the packaged bytes of installed files. It implements [sink].
type packagedFiles struct {
	sink
	store  *store.Store
	edited map[digest.Digest]*record.File // by their packaged bytes, one that can be had from its edited form

	mu    sync.Mutex
	taken map[digest.Digest]func() error // put bytes into the sink, once
}

// Map calls f with the packaged bytes of a file. They are compared with their digest:
// damage does not go from one tree into another.
func (p *packagedFiles) Map(d digest.Digest, f func([]byte) error) error {
	if err := p.take(d); err != nil {
		return err
	}
	return p.sink.Map(d, f)
}

// take puts bytes into the sink, if they are not there yet.
func (p *packagedFiles) take(d digest.Digest) error {
	p.mu.Lock()
	take := p.taken[d]
	if take == nil {
		take = sync.OnceValue(func() error { return p.find(d) })
		p.taken[d] = take
	}
	p.mu.Unlock()
	return take()
}

func (p *packagedFiles) find(d digest.Digest) error {
	add := func(b []byte) error {
		_, _, err := p.sink.Add(bytes.NewReader(b), int64(len(b)))
		return err
	}
	damaged := func(object digest.Digest, err error) error {
		return fmt.Errorf("object %s is damaged: %w; run hashpkg verify --repair", object, err)
	}
	err := p.store.MapObject(d, func(b []byte) error {
		if have := digest.Of(b); have != d {
			return damaged(d, digest.ErrMismatch)
		}
		return add(b)
	})
	f := p.edited[d]
	if f == nil || err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err == nil {
		return nil
	}
	return p.store.MapObject(f.Object, func(b []byte) error {
		packaged, err := rewrite.Undo(b, f.Patch, d)
		if err != nil {
			return damaged(f.Object, err)
		}
		return add(packaged)
	})
}

// stage puts the packaged bytes of the files of trees that are edited into the sink.
func (p *packagedFiles) stage(trees []*record.Manifest) error {
	for _, m := range trees {
		for i := range m.Files {
			if f := &m.Files[i]; f.Patch != nil {
				if err := p.take(f.Source); err != nil {
					return err
				}
			}
		}
	}
	return nil
}
