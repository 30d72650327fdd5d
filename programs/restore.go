package programs

import (
	"math"

	"github.com/hashpkg/hashpkg/sysroot"
)

// PlanRestore decides that recorded programs get their packaged bytes back. wants
// says which, by the name of their package and their path. Programs that are not
// there have no decision.
func PlanRestore(root *sysroot.Root, records *Records, wants func(pkg, path string) bool) []*Decision {
	var decisions []*Decision
	for _, key := range sortedKeys(records.edits) {
		edits := records.edits[key]
		for _, f := range edits.Files {
			if wants(edits.Package, f.Path) {
				p := &Program{Package: Package{Key: key, Name: edits.Package}, Path: f.Path}
				if d := planRestore(root, records, p); d != nil {
					decisions = append(decisions, d)
				}
			}
		}
	}
	return decisions
}

// planRestore decides on one program; nil when it is not there.
func planRestore(root *sysroot.Root, records *Records, p *Program) *Decision {
	var d *Decision
	err := Read(root, p, records.Of(p.Package.Key, p.Path), math.MaxInt64, func(f *Facts, b Bytes) error {
		d = decideRestore(f, b)
		return nil
	})
	switch {
	case err == nil:
		return d
	case isGone(err):
		return nil
	}
	return undecided(p, err)
}

// decideRestore decides that a recorded program gets its packaged bytes back.
func decideRestore(f *Facts, b Bytes) *Decision {
	d := &Decision{Facts: *f, Restore: true}
	switch {
	case f.Left == notRegular:
		d.Left = f.Left
	case f.Record == nil:
		d.Left = neither
	case f.Current != nil:
		d.Edit = undo(b)
	}
	return d
}

const neither Reason = "is neither what its package brought nor what hashpkg made of it"
