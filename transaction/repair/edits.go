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
	progress := func(n int64) { r.Progress(transaction.Progress{Step: fmt.Sprintf("verifying %d MB", n>>20)}) }
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
			if mended != nil {
				if mended.Files[i].Patch = r.editAgain(user{m, f}); mended.Files[i].Patch == nil {
					mended = nil
				}
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

// editAgain makes the edit of a file again; nil when the packaged bytes are nowhere on the
// disk, or the edit does not give the object that the file has.
func (r *repairer) editAgain(u user) (patch *record.Patch) {
	f := u.f
	fromPackaged := func(packaged []byte) {
		if digest.Of(packaged) != f.Source {
			return
		}
		edit, _, err := rewrite.Make(packaged, f.Edits)
		if err != nil {
			return
		}
		if edited, err := edit.Apply(packaged); err != nil || digest.Of(edited) != f.Object {
			return
		}
		if again, err := record.PackEdit(edit); err == nil {
			patch = again
		}
	}
	try := func(open opener, undo *elfedit.Edit) {
		if patch == nil {
			mapEdited(open, undo, fromPackaged)
		}
	}
	try(r.inStore(layout.ObjectPath(f.Source)), nil)
	try(r.ofSystem(u.place()), nil)
	for _, p := range sortedKeys(r.manifests) { // the same packaged file, bound to other libraries
		m := r.manifests[p]
		for i := range m.Files {
			other := &m.Files[i]
			if other.Source != f.Source || other.Patch == nil || other == f {
				continue
			}
			if edit, err := other.Patch.Edit(); err == nil {
				undo := edit.Invert()
				try(r.inStore(layout.ObjectPath(other.Object)), &undo)
			}
		}
	}
	return patch
}
