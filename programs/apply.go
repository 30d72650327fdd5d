package programs

import (
	"cmp"
	"context"
	"errors"
	"path"
	"time"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/internal/beneath"
	"github.com/hashpkg/hashpkg/programs/inplace"
	"github.com/hashpkg/hashpkg/sysroot"
)

// ErrInterrupted is returned for what was stopped after it had changed something:
// all that was done is recorded. What stopped before that returns the context's error.
var ErrInterrupted = errors.New("interrupted")

// editBatch bounds the bytes of programs that stand beside those whose place they
// will take.
const editBatch = 256 << 20

// Apply carries decisions out, some at a time: recorded durably, written beside the
// old files, looked at by the loader itself where that can be, and then renamed over
// them. It has an outcome for each decision, in their order. What one program cannot
// take is its outcome. An error is one of the records or the disk, or of ctx, and ends
// the work: programs that it did not come to have it as theirs. When it returns, what
// was done is durable. alone says that no package manager replaces files meanwhile, so that
// a program which a process runs can have its packaged bytes back under its name; see
// [inplace.Options].
func Apply(ctx context.Context, root *sysroot.Root, records *Records, decisions []*Decision, alone bool) ([]Outcome, error) {
	a := &applier{root: root, records: records, alone: alone, dirs: directories{root, map[string]*sysroot.Place{}}, stopped: map[*Decision]error{}, done: map[*Decision]bool{}, tried: map[*Decision]bool{}}
	defer a.dirs.close()
	younger := a.sweep(decisions)
	swept := time.Now()
	err := a.applyAll(ctx, decisions)
	if err == nil {
		a.keepRestored(decisions)
		err = records.write()
	}
	if err == nil && younger > 0 {
		// A run that was killed a moment ago may be followed by no other than this one.
		select {
		case <-ctx.Done():
		case <-time.After(younger - time.Since(swept)):
			a.sweep(decisions)
		}
	}
	outcomes := make([]Outcome, 0, len(decisions))
	for _, d := range decisions {
		switch fault := a.stopped[d]; {
		case fault != nil:
			outcomes = append(outcomes, stopped(d, fault))
		case d.Changes() && !a.done[d]:
			outcomes = append(outcomes, Outcome{Decision: d, State: Failed, Err: err, LookAgain: true})
		default:
			outcomes = append(outcomes, expected(d))
		}
	}
	return outcomes, err
}

// applier carries out decisions.
type applier struct {
	root    *sysroot.Root
	records *Records
	alone   bool
	running Running
	dirs    directories
	stopped map[*Decision]error // what was in the way
	done    map[*Decision]bool  // those that are carried out
	tried   map[*Decision]bool  // those whose file may have been replaced
}

// leftAge is how old a file must be to have been left by a process that was killed.
const leftAge = 2 * time.Second

// sweep removes what killed runs have left beside the programs. It returns how long it
// takes until the rest is as old as that; 0 when there is no rest.
func (a *applier) sweep(decisions []*Decision) (younger time.Duration) {
	swept := map[string]bool{}
	for _, d := range decisions {
		if dir := path.Dir(d.Path); !swept[dir] {
			swept[dir] = true
			if place, err := a.dirs.place(d.Path); err == nil {
				left, _ := inplace.Sweep(place.Dir, leftAge) // what cannot be removed harms no program
				younger = max(younger, left)
			}
		}
	}
	return younger
}

// keepRestored records what was asked for of programs that have their packaged bytes
// already.
func (a *applier) keepRestored(decisions []*Decision) {
	for _, d := range decisions {
		if d.Restore && d.Left == "" && d.Fault == nil && d.Current == nil {
			a.records.set(&d.Program, begun(d))
		}
	}
}

func (a *applier) applyAll(ctx context.Context, decisions []*Decision) error {
	if a.alone {
		a.running = FindRunning()
	}
	for _, round := range rounds(decisions) {
		for len(round) > 0 {
			if err := ctx.Err(); err != nil {
				if len(a.done) > 0 {
					return ErrInterrupted
				}
				return err
			}
			n, size := 0, int64(0)
			for n < len(round) && (n == 0 || size < editBatch) {
				size += round[n].first.Edit.NewSize
				n++
			}
			// A batch that was begun is ended: a loader that is killed says nothing.
			if err := a.applyBatch(context.WithoutCancel(ctx), round[:n]); err != nil {
				return err
			}
			round = round[n:]
		}
	}
	return nil
}

// file is a file that is replaced, and then has names of several programs.
type file struct {
	first  *Decision
	others []*Decision // under other names, which become names of the new file
}

func (f *file) all() []*Decision { return append([]*Decision{f.first}, f.others...) }

// rounds orders the files that change: one that is replaced under one of its names
// stays what it is under the others. Where these are to become the same file, they
// are linked to it; where they are to become another one, that is made in a later
// round. Nearly always one round has all.
func rounds(decisions []*Decision) [][]*file {
	var rounds [][]*file
	var taken []map[FileID]*file
	for _, d := range decisions {
		if !d.Changes() {
			continue
		}
		i := 0
		for ; i < len(taken); i++ {
			if f := taken[i][d.File]; f == nil || f.first.result() == d.result() {
				break
			}
		}
		if i == len(taken) {
			rounds, taken = append(rounds, nil), append(taken, map[FileID]*file{})
		}
		if f := taken[i][d.File]; f != nil {
			f.others = append(f.others, d)
			continue
		}
		f := &file{first: d}
		taken[i][d.File] = f
		rounds[i] = append(rounds[i], f)
	}
	return rounds
}

// applyBatch carries out what is decided on files.
func (a *applier) applyBatch(ctx context.Context, files []*file) (err error) {
	for _, f := range files {
		for _, d := range f.all() {
			a.records.set(&d.Program, begun(d))
		}
	}
	if err := a.records.write(); err != nil {
		return err
	}
	staged := a.stageAll(ctx, files)
	defer func() {
		for _, s := range staged {
			if s != nil {
				err = errors.Join(err, s.Discard())
			}
		}
	}()
	var dirs []*beneath.Dir
	for i, s := range staged {
		if s == nil {
			continue
		}
		for _, d := range files[i].all() {
			if place, err := a.dirs.place(d.Path); err == nil { // or it cannot be renamed there
				dirs = append(dirs, place.Dir)
			}
		}
	}
	if err := inplace.SyncAll(dirs); err != nil {
		return err
	}
	for i, s := range staged {
		if s != nil {
			staged[i] = nil
			a.commit(files[i], s)
		}
	}
	// The records say which edits may be there until the renames are durable.
	if err := inplace.SyncAll(dirs); err != nil {
		return err
	}
	for _, f := range files {
		a.end(f)
	}
	return a.records.write()
}

// stageAll writes edited files beside the old ones, several at a time, and has the
// loader look at them. Those that must not take their places are nil.
func (a *applier) stageAll(ctx context.Context, files []*file) []*inplace.Replacement {
	staged := make([]*inplace.Replacement, len(files))
	faults := make([]error, len(files))
	places := make([]*sysroot.Place, len(files))
	for i, f := range files {
		places[i], faults[i] = a.dirs.place(f.first.Path)
	}
	stage := func(i int) {
		if faults[i] == nil {
			staged[i], faults[i] = a.stage(ctx, files[i].first, places[i])
		}
	}
	_ = inParallel(ctx, len(files), stage) // ctx has no end
	for i, f := range files {
		if faults[i] != nil {
			for _, d := range f.all() {
				a.stopped[d] = faults[i]
			}
		}
	}
	return staged
}

// stage writes one edited file and looks at it.
func (a *applier) stage(ctx context.Context, d *Decision, place *sysroot.Place) (*inplace.Replacement, error) {
	same, err := isSame(place, d.File)
	if err != nil {
		return nil, err
	}
	if !same {
		return nil, inplace.ErrChanged
	}
	check := func(data []byte) error {
		if digest.Of(data) != d.result() {
			return errors.New("what was written does not have the digest that it should")
		}
		return nil
	}
	keepName := d.Desired == nil && a.running.of(d.File) != 0
	r, err := inplace.Stage(place.Dir, place.Base, d.Edit, inplace.Options{Check: check, KeepName: keepName})
	if err != nil {
		return nil, err
	}
	name, err := r.Named() // fewer files are open then, too
	if err != nil {
		return nil, errors.Join(err, r.Discard())
	}
	if a.root.IsHost() && d.Desired != nil && !d.Forced {
		if err := askLoader(ctx, d, d.Path, path.Join(path.Dir(d.Path), name)); err != nil {
			return nil, errors.Join(err, r.Discard())
		}
	}
	return r, nil
}

// commit gives a new file the place of the old one, and its other names.
func (a *applier) commit(f *file, r *inplace.Replacement) {
	a.tried[f.first] = true
	if err := r.Commit(); err != nil {
		for _, d := range f.all() {
			a.stopped[d] = err
		}
		return
	}
	a.done[f.first] = true
	for _, d := range f.others {
		a.tried[d] = true
		if err := a.link(f.first, d); err != nil {
			a.stopped[d] = err
			continue
		}
		a.done[d] = true
	}
}

// link makes a program's name another one of a file that was edited.
func (a *applier) link(edited, d *Decision) error {
	target, err := a.dirs.place(edited.Path)
	if err != nil {
		return err
	}
	place, err := a.dirs.place(d.Path)
	if err != nil {
		return err
	}
	was, err := inplace.Identify(place.Dir, place.Base)
	if err != nil {
		return err
	}
	if same, err := isSame(place, d.File); err != nil || !same {
		return cmp.Or(err, inplace.ErrChanged)
	}
	return inplace.ReplaceByLink(target.Dir, target.Base, place.Dir, place.Base, was)
}

// end records what became of a file's programs.
func (a *applier) end(f *file) {
	for _, d := range f.all() {
		o := expected(d)
		if err := a.stopped[d]; err != nil {
			o = stopped(d, err)
		}
		if o.State == Failed && !a.tried[d] { // it is what it was, and so is what is known of it
			a.records.set(&d.Program, d.Record)
			continue
		}
		if o.State != Failed && (o.State == Left || d.Current != nil || d.Desired == nil) {
			a.records.set(&d.Program, ended(&o))
		}
	}
}
