package transaction

import (
	"cmp"
	"context"
	"errors"
	"os"
	"path"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/hashpkg/hashpkg/layout/record"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/internal/atomicfile"
	"github.com/hashpkg/hashpkg/layout"
)

// ErrInterrupted is returned for what was stopped after it had changed something:
// all that was done is recorded, and a sync does the rest.
var ErrInterrupted = errors.New("interrupted half-way; hashpkg sync goes on from here")

// editBatch bounds the bytes of programs that stand beside those whose place they
// will take.
const editBatch = 256 << 20

// edit makes the changes, some at a time: recorded durably, written beside the old
// files, looked at by the loader itself where that can be, and then renamed over
// them. What one program cannot take does not keep the others from it.
func (e *programEditor) edit(ctx context.Context, changes []*programChange) error {
	sweep(changes)
	for _, round := range rounds(changes) {
		work := round.first
		for len(work) > 0 {
			if ctx.Err() != nil {
				return ErrInterrupted
			}
			n, size := 0, int64(0)
			for n < len(work) && (n == 0 || size < editBatch) {
				size += work[n].edit.NewSize
				n++
			}
			if err := e.editSome(work[:n], round.same); err != nil {
				return err
			}
			work = work[n:]
		}
	}
	return nil
}

// result is a file that programs have in common now and, once they are edited, too.
type result struct {
	file   fileID
	digest digest.Digest
}

// round is a set of changes that can be made together: files have other names, and
// one that is replaced under one of them has changed under the others.
type round struct {
	first []*programChange            // one for each file
	same  map[result][]*programChange // the other names that become the same file
	files map[fileID]result
}

// rounds orders the changes: nearly always one round has them all.
func rounds(changes []*programChange) []*round {
	var rounds []*round
	for _, c := range changes {
		if !c.changes() {
			continue
		}
		i := 0
		for ; i < len(rounds); i++ {
			if taken, ok := rounds[i].files[c.file]; !ok || taken == c.result() {
				break
			}
		}
		if i == len(rounds) {
			rounds = append(rounds, &round{same: map[result][]*programChange{}, files: map[fileID]result{}})
		}
		r := rounds[i]
		if _, ok := r.files[c.file]; ok {
			r.same[c.result()] = append(r.same[c.result()], c)
			continue
		}
		r.files[c.file] = c.result()
		r.first = append(r.first, c)
	}
	return rounds
}

// leftAge is how old a file must be to have been left by a process that was killed.
const leftAge = 2 * time.Second

// sweep removes what a killed run has left beside programs: the next run looks at
// the same ones again. A setuid program's copy would outlive its package there.
func sweep(changes []*programChange) {
	dirs := map[string]bool{}
	for _, c := range changes {
		dirs[path.Dir(c.host)] = true
	}
	for dir := range dirs {
		_ = atomicfile.Sweep(dir, leftAge) // what cannot be removed harms no program
	}
}

func (c *programChange) result() result {
	if c.want == nil {
		return result{c.file, c.source}
	}
	return result{c.file, c.want.Object}
}

func (e *programEditor) editSome(work []*programChange, same map[result][]*programChange) (err error) {
	defer func() {
		for _, c := range work {
			if c.staged != nil {
				err = errors.Join(err, c.staged.Discard())
			}
		}
	}()
	inParallel(len(work), func(i int) {
		if serr := e.stage(work[i]); serr != nil {
			work[i].fails(serr)
		}
	})
	var paths []string
	touched := map[string]bool{}
	for _, c := range work {
		for _, other := range append(same[c.result()], c) {
			if !c.changes() {
				other.left, other.fault = c.left, c.fault
				continue
			}
			e.record(other, true)
			touched[other.pkg.key] = true
		}
		if c.changes() {
			paths = append(paths, c.newFile)
		}
	}
	if len(paths) == 0 {
		return nil
	}
	if err := atomicfile.SyncFiles(paths); err != nil {
		return err
	}
	if err := e.writeRecords(touched); err != nil {
		return err
	}
	hosts := make([]string, 0, len(work))
	replaced := map[string]bool{} // packages whose records have an edit too many now
	for _, c := range work {
		if !c.changes() {
			continue
		}
		if err := c.staged.Commit(); err != nil {
			c.fails(err)
			continue
		}
		hosts = append(hosts, c.host)
		for _, other := range append(same[c.result()], c) {
			if other != c {
				if err := atomicfile.ReplaceByLink(c.host, other.host); err != nil {
					other.fails(err)
					continue
				}
			}
			e.record(other, false)
			if other.had != nil || other.want == nil {
				replaced[other.pkg.key] = true
			}
		}
	}
	if len(replaced) == 0 {
		return nil
	}
	if err := atomicfile.SyncFiles(hosts); err != nil {
		return err
	}
	return e.writeRecords(replaced)
}

// outcome says what became of changes: those that were made, the programs that were
// left, and the faults that kept others from it.
func outcome(changes []*programChange) (done []*programChange, left []LeftReport, fault error) {
	for _, c := range changes {
		switch {
		case c.fault != nil:
			fault = errors.Join(fault, c.fault)
		case c.left != "":
			left = append(left, c.leftReport())
		case c.changes():
			done = append(done, c)
		}
	}
	return done, left, fault
}

// inParallel calls f with 0 to n-1, on as many processors as there are.
func inParallel(n int, f func(i int)) {
	work := make(chan int)
	var wg sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), n) {
		wg.Go(func() {
			for i := range work {
				f(i)
			}
		})
	}
	for i := range n {
		work <- i
	}
	close(work)
	wg.Wait()
}

// stage writes the edited file beside the old one and has the loader look at it.
func (e *programEditor) stage(c *programChange) error {
	staged, err := atomicfile.StageEdited(c.host, c.edit, atomicfile.ReplaceOptions{})
	if err != nil {
		return err
	}
	c.staged = staged
	if c.newFile, err = staged.Named(); err != nil {
		return err
	}
	b, err := os.ReadFile(c.newFile)
	if err != nil {
		return err
	}
	if digest.Of(b) != c.result().digest {
		return errors.New("what was written does not have the digest that it should")
	}
	if e.root.Dir() != "/" || c.want == nil || len(c.want.Pins) > 0 && forced(e.pins) {
		return nil
	}
	return compareLoaded(c, c.newFile)
}

// record puts a change into its package's record: both edits while one takes the
// other's place, then the new one alone.
func (e *programEditor) record(c *programChange, both bool) {
	edits := e.edits[c.pkg.key]
	if edits == nil {
		edits = &record.PackageEdits{Layout: layout.FormatVersion, Key: c.pkg.key}
		e.edits[c.pkg.key] = edits
	}
	edits.Package = c.pkg.Name
	i, found := slices.BinarySearchFunc(edits.Files, c.path, func(f record.EditedFile, p string) int { return cmp.Compare(f.Path, p) })
	file := record.EditedFile{Path: c.path, Source: c.source, Restored: c.restores}
	if c.want != nil {
		file.Applied = append(file.Applied, *c.want)
	}
	if both && c.had != nil {
		file.Applied = append(file.Applied, *c.had)
	}
	switch {
	case len(file.Applied) == 0 && !file.Restored && found:
		edits.Files = slices.Delete(edits.Files, i, i+1)
	case len(file.Applied) == 0 && !file.Restored:
	case found:
		edits.Files[i] = file
	default:
		edits.Files = slices.Insert(edits.Files, i, file)
	}
}

func (e *programEditor) writeRecords(keys map[string]bool) error {
	var list []*record.PackageEdits
	for key := range keys {
		list = append(list, e.edits[key])
	}
	return e.root.SetEdits(list)
}
