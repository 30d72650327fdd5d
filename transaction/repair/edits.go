package repair

import (
	"context"
	"fmt"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/elfedit"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/layout/rewrite"
	"github.com/hashpkg/hashpkg/transaction"
)

// verifyObjects reads the objects of the trees that are to be repaired, as far as that is
// not done.
func (r *repairer) verifyObjects(ctx context.Context) (err error) {
	var list []*record.Manifest
	for _, p := range sortedKeys(r.manifests) {
		if m := r.manifests[p]; r.inScope(p) && !r.checked[m] {
			r.checked[m] = true
			list = append(list, m)
		}
	}
	progress := func(n int64) {
		r.Progress(transaction.Progress{Step: "verifying", Done: n, Unit: transaction.UnitBytes})
	}
	if r.check == nil {
		r.check, err = r.store().Check(ctx, list, progress)
		return err
	}
	return r.check.Read(ctx, list, progress)
}

// repairEdits puts recorded edits right that contradict the files. Where the packaged bytes
// are on the disk, the edit is made again, and is right when it gives the very bytes that
// the tree has. Other manifests with such an edit are added to lost.
func (r *repairer) repairEdits(lost map[string]lostManifest) error {
	for _, p := range sortedKeys(r.manifests) {
		m := r.manifests[p]
		if !r.inScope(p) {
			continue
		}
		what, mended := "", m.Clone()
		for i := range m.Files {
			f := &m.Files[i]
			if f.Type != record.TypeFile || r.check.Edit(f) == "" {
				continue
			}
			what = fmt.Sprintf("%s: %s", f.Path, r.check.Edit(f))
			if mended != nil && !r.editAgain(user{m, f}, &mended.Files[i]) {
				mended = nil
			}
		}
		if what == "" {
			continue
		}
		if mended != nil {
			mended.Index()
			if err := r.putManifest(mended, what, "its edit made again from the packaged bytes"); err != nil {
				return err
			}
			continue
		}
		for _, g := range r.generations {
			for i := range g.Trees {
				if t := &g.Trees[i]; t.Path() == p && t.Identity == m.Identity {
					lost[p] = lostManifest{tree: t, what: what, edit: true}
				}
			}
		}
	}
	return nil
}

// editAgain sets what a record says of the edit of a file: as it is when it is made again and
// gives the object that the file has. It is false when the packaged bytes are nowhere on the
// disk, or the edit is another one.
func (r *repairer) editAgain(u user, to *record.File) (done bool) {
	f := u.f
	fromPackaged := func(packaged []byte) {
		if done || digest.Of(packaged) != f.Source {
			return
		}
		mapEdited(r.inStore(layout.ObjectPath(f.Object)), nil, func(edited []byte) {
			records, edit, err := rewrite.Remake(packaged, edited, f.Edits)
			if err != nil || digest.Of(edited) != f.Object {
				return
			}
			patch, err := record.PackEdit(edit)
			if err != nil {
				return
			}
			to.Edits, to.Patch = records, patch
			if rewrite.Check(edited, packaged, to.ELF, records, true) != nil {
				to.ELF, err = elfedit.Inspect(packaged) // which alone tells what it should be
			}
			done = err == nil
		})
	}
	try := func(open opener, undo *elfedit.Edit) {
		if !done {
			mapEdited(open, undo, fromPackaged)
		}
	}
	try(r.inStore(layout.ObjectPath(f.Source)), nil)
	try(r.ofSystem(u.place()), nil)
	for _, p := range sortedKeys(r.manifests) { // the file itself, or the same packaged one, bound to other libraries
		m := r.manifests[p]
		for i := range m.Files {
			other := &m.Files[i]
			if other.Source != f.Source || other.Patch == nil {
				continue
			}
			if edit, err := other.Patch.Edit(); err == nil {
				undo := edit.Invert()
				try(r.inStore(layout.ObjectPath(other.Object)), &undo)
			}
		}
	}
	return done
}
