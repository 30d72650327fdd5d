package transaction

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/generate"
	"github.com/hashpkg/hashpkg/layout/plan"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/layout/view"
	"github.com/hashpkg/hashpkg/sysroot"
)

// generating makes files for views that follow from their other files: see package
// layout/generate. What cannot be made is left out, and told of.
type generating struct {
	*Writer
	next *record.Generation
	host hostFiles

	manifests map[string]*record.Manifest // by the paths of their trees: those that are being installed, and what was read
	present   map[string]bool             // trees whose manifests in the plan are drafts, and that the store has
	fresh     []*record.Manifest          // those of them that are not assembled yet
	made      map[digest.Digest]result    // by the identity of the task
	madeFor   map[digest.Digest]string    // the view of the active generation that has it
	warnings  []string
	fatal     error              // of what the transaction itself needs
	keep      func([]byte) error // stages a file that was made
}

// result is what came of a task.
type result struct {
	files []record.File
	fault error
}

// errNotRun says that no programs are to be run.
var errNotRun = errors.New("no programs are run")

// generate adds to the planned views of a generation what can be made for them, and sets the
// generation's views accordingly. What needs a program and was not made before is only made
// where [Options] allow that. trees are those that are being installed, of a plan's. It returns
// those of them that are still to be assembled, and what could not be made.
func (w *Writer) generate(ctx context.Context, next *record.Generation, planned []plan.PlannedView, trees []*record.Manifest, of []plan.PlannedTree) (left []*record.Manifest, warnings []string, err error) {
	g := &generating{
		Writer: w, next: next, host: hostFiles{root: w.root, known: map[string][]generate.Input{}},
		manifests: map[string]*record.Manifest{}, present: map[string]bool{}, fresh: trees,
		keep: func(b []byte) error {
			_, _, err := w.staging.Add(bytes.NewReader(b), int64(len(b)))
			return err
		},
	}
	for _, t := range of {
		g.present[layout.TreePath(t.Name, t.Tree)] = t.Present
	}
	for _, m := range trees {
		g.manifests[layout.TreePath(m.Name, m.Tree)] = m
	}
	for i := range planned {
		before := view.Dir(planned[i].Identity)
		if err := g.add(ctx, &planned[i]); err != nil {
			return nil, nil, err
		}
		for j := range next.Trees {
			if t := &next.Trees[j]; t.View == before {
				t.View = view.Dir(planned[i].Identity)
			}
		}
	}
	return g.fresh, g.warnings, nil
}

// add adds to a view what can be made for it.
func (g *generating) add(ctx context.Context, p *plan.PlannedView) error {
	all := p.Parts
	err := all.Place(func(m *record.Manifest) (*record.Manifest, error) {
		tree := layout.TreePath(m.Name, m.Tree)
		if g.manifests[tree] == nil && !g.present[tree] {
			return m, nil
		}
		return g.manifest(tree)
	})
	if err != nil {
		return err
	}
	tasks, err := generate.Tasks(all.Trees, &g.host)
	if err != nil {
		g.warn("indexes of a view are not made: %v", err)
		return nil
	}
	if len(tasks) == 0 {
		return nil
	}
	plain := all
	all = withTasks(all, tasks)
	if _, err := g.root.Store().PackageFile(layout.ViewName, view.Dir(all.Identity())); err == nil {
		p.Parts, p.Identity = all, all.Identity()
		return nil // it is there
	}
	p.Parts = plain
	if err := g.stageRelease(); err != nil {
		return err
	}
	scene := &scene{generating: g, view: view.Merge(plain)}
	defer scene.close()
	for i, t := range tasks {
		made := all.Generated[i]
		r, known := g.findMade(made.Input)
		if !known {
			r = scene.make(ctx, &t)
			if err := errors.Join(ctx.Err(), g.fatal); err != nil {
				return err
			}
			g.made[made.Input] = r
		}
		if errors.Is(r.fault, errNotRun) {
			continue
		}
		if r.fault != nil {
			g.warn("programs go without an index of %s: %v", t.By, r.fault)
			continue
		}
		made.Files = r.files
		p.Generate(made)
	}
	p.Identity = p.Parts.Identity()
	return nil
}

// withTasks returns the parts of a view with what tasks make.
func withTasks(p view.Parts, tasks []generate.Task) view.Parts {
	for _, t := range tasks {
		p.Generate(view.Generated{Generated: record.Generated{By: t.By, Input: t.Identity()}, Into: t.Into, Beside: t.Beside})
	}
	return p
}

// FindGenerated adds to a planned view what was made for it, as it stands in the view's
// directory. It does nothing where there is no such directory, or where the view would have
// something else by now.
func FindGenerated(root *sysroot.Root, p *plan.PlannedView) error {
	tasks, err := generate.Tasks(p.Trees, &hostFiles{root: root, known: map[string][]generate.Input{}})
	if err != nil {
		return err
	}
	all := withTasks(p.Parts, tasks)
	top, err := root.Store().Dir().OpenDir(layout.TreePath(layout.ViewName, view.Dir(all.Identity())))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer top.Close()
	merged := view.Merge(p.Parts)
	for i, t := range tasks {
		dir, err := top.OpenDir(t.Into)
		if err != nil {
			return err
		}
		err = eachOutput(&t, dir, func(name string, b []byte) error {
			f := generatedFile(&t, name, b)
			if of := merged.Lookup(f.Path); of == nil || of.Object != f.Object {
				all.Generated[i].Files = append(all.Generated[i].Files, f)
			}
			return nil
		})
		if err := errors.Join(err, dir.Close()); err != nil {
			return err
		}
	}
	p.Parts, p.Identity = all, all.Identity()
	return nil
}

// tasksOf returns the tasks that the generated files of a view come from, and whether a planned view is
// that one: it is another one, for example, where files of the host that it is made of have changed.
func tasksOf(root *sysroot.Root, p *plan.PlannedView, v *record.Manifest) (tasks []generate.Task, ok bool, err error) {
	all, err := generate.Tasks(p.Trees, &hostFiles{root: root, known: map[string][]generate.Input{}})
	if err != nil {
		return nil, false, err
	}
	for _, t := range all {
		isOf := func(made record.Generated) bool { return made.Input == t.Identity() }
		if slices.ContainsFunc(v.Generated, isOf) {
			tasks = append(tasks, t)
		}
	}
	parts := withTasks(p.Parts, tasks)
	return tasks, view.Dir(parts.Identity()) == v.Tree, nil
}

// IsView reports whether a planned view is one that the store has, generated files included.
func IsView(root *sysroot.Root, p *plan.PlannedView, v *record.Manifest) (bool, error) {
	_, ok, err := tasksOf(root, p, v)
	return ok, err
}

// Regenerate makes generated files of a view again, those that are lost, and stages them as
// spares: see [store.Staging.Spare]. The planned view, of a generation, must be that one by
// [IsView]. It returns those that it has made, and why something could not be made, or is another
// file than before.
func (w *Writer) Regenerate(ctx context.Context, of *record.Generation, p *plan.PlannedView, v *record.Manifest, lost func(digest.Digest) bool) (made map[digest.Digest]bool, fault, err error) {
	tasks, ok, err := tasksOf(w.root, p, v)
	if err != nil || !ok {
		return nil, nil, err
	}
	made = map[digest.Digest]bool{}
	g := &generating{
		Writer: w, next: of, host: hostFiles{root: w.root, known: map[string][]generate.Input{}}, manifests: map[string]*record.Manifest{},
		keep: func(b []byte) error {
			_, _, err := w.staging.Spare(bytes.NewReader(b), lost)
			return err
		},
	}
	plain := v.Clone()
	plain.Files = slices.DeleteFunc(plain.Files, func(f record.File) bool { return f.Generated != nil })
	plain.Index()
	scene := &scene{generating: g, view: plain}
	defer scene.close()
	for i := range tasks {
		t := &tasks[i]
		wanted := map[digest.Digest]bool{}
		for j := range v.Files {
			if f := &v.Files[j]; f.Generated != nil && *f.Generated == t.Identity() && lost(f.Object) {
				wanted[f.Object] = true
			}
		}
		if len(wanted) == 0 {
			continue
		}
		r := scene.make(ctx, t)
		if err := errors.Join(ctx.Err(), g.fatal); err != nil {
			return nil, nil, err
		}
		if r.fault != nil {
			fault = errors.Join(fault, fmt.Errorf("make the index of %s: %w", t.By, r.fault))
			continue
		}
		for _, f := range r.files {
			if wanted[f.Object] {
				made[f.Object] = true
				delete(wanted, f.Object)
			}
		}
		if len(wanted) > 0 {
			fault = errors.Join(fault, fmt.Errorf("make the index of %s: it is another one than before", t.By))
		}
	}
	return made, fault, nil
}

// manifest returns the manifest of a tree.
func (g *generating) manifest(tree string) (*record.Manifest, error) {
	if m := g.manifests[tree]; m != nil {
		return m, nil
	}
	name, dir := layout.SplitTreePath(tree)
	m, err := g.root.Store().Manifest(name, dir)
	if err == nil {
		g.manifests[tree] = m
	}
	return m, err
}

func (g *generating) warn(format string, args ...any) {
	if w := fmt.Sprintf(format, args...); !slices.Contains(g.warnings, w) {
		g.warnings = append(g.warnings, w)
	}
}

// findMade looks for what was made of an input for a view of the active generation. Of most views
// only the inputs are read.
func (g *generating) findMade(input digest.Digest) (result, bool) {
	if g.made == nil {
		g.made = map[digest.Digest]result{}
		g.madeFor = map[digest.Digest]string{}
		read := map[string]bool{"": true}
		for i := range g.active.Trees {
			id := g.active.Trees[i].View
			if read[id] {
				continue
			}
			read[id] = true
			all, err := g.root.Store().Generated(id)
			if err != nil {
				continue // which verify tells of; all can be made again
			}
			for _, made := range all {
				g.madeFor[made.Input] = id
			}
		}
	}
	id, isMade := g.madeFor[input]
	if _, known := g.made[input]; !known && isMade {
		g.readMade(id)
	}
	r, known := g.made[input]
	return r, known
}

// readMade reads what was made for a view.
func (g *generating) readMade(id string) {
	m, err := g.root.Store().Manifest(layout.ViewName, id)
	if err != nil {
		return // as above
	}
	found := map[digest.Digest]result{}
	for i := range m.Files {
		f := m.Files[i]
		if f.Generated == nil || strings.HasPrefix(f.Path, view.Over+"/") {
			continue
		}
		f.Own = false
		r := found[*f.Generated]
		r.files = append(r.files, f)
		found[*f.Generated] = r
	}
	for input, r := range found {
		if _, known := g.made[input]; !known {
			g.made[input] = r
		}
	}
}

// hostInputs returns what changes when files come, go or are replaced in the directories of a
// root that generators look at.
func hostInputs(root *sysroot.Root) string {
	var b strings.Builder
	list := func(dir string) []string {
		entries, err := root.ReadDir("/" + dir)
		if err != nil {
			return nil
		}
		names := make([]string, len(entries))
		for i, e := range entries {
			names[i] = e.Name()
		}
		return names
	}
	for _, dir := range generate.HostDirs(list) {
		if info, err := root.Stat("/" + dir); err == nil {
			fmt.Fprintf(&b, "%s %d\n", dir, info.ModTime().UnixNano())
		}
	}
	return digest.Of([]byte(b.String())).String()
}

// hostFiles are the files of a root that generators look at.
type hostFiles struct {
	root  *sysroot.Root
	known map[string][]generate.Input // by directory
}

// maxHostInput is how many bytes a file of the host may have that a generator looks at.
const maxHostInput = 64 << 20

// Files implements [generate.Host].
func (h *hostFiles) Files(dir string) ([]generate.Input, error) {
	if found, known := h.known[dir]; known {
		return found, nil
	}
	var found []generate.Input
	place, err := h.root.Find("/" + dir + "/x")
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		h.known[dir] = nil
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer place.Close()
	entries, err := place.Dir.ReadDir(".")
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		i := generate.Input{Path: dir + "/" + e.Name(), OfHost: true}
		switch {
		case e.Type().IsRegular():
			var b []byte
			if b, err = place.Dir.ReadFile(e.Name(), maxHostInput); err == nil {
				i.Object = digest.Of(b)
			}
		case e.Type()&fs.ModeSymlink != 0:
			i.Target, err = place.Dir.Readlink(e.Name())
		default:
			continue
		}
		if err != nil {
			return nil, err
		}
		found = append(found, i)
	}
	h.known[dir] = found
	return found, nil
}
