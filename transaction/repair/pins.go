package repair

import (
	"context"
	"fmt"
	"path"

	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/store"
	"github.com/hashpkg/hashpkg/sysroot"
	"github.com/hashpkg/hashpkg/transaction"
)

// pinsLabel is of the directory in the quarantine.
const pinsLabel = "system-pins"

// maxPins bounds what is kept of a record of pins.
const maxPins = 64 << 20

// repairPins makes the record of pins again that cannot be read: the records of edited
// programs say what each program is pinned to. It is not done where one of these cannot be
// read either, for its programs would lose their pins.
//
// The new record takes the place of the old one in one step: without any, the next sync
// would unpin every program.
func (r *repairer) repairPins(context.Context) error {
	const name = sysroot.PinsFile
	_, damage := r.Root.Pins()
	if damage == nil {
		return nil
	}
	pins, unread, err := transaction.FollowedPins(r.Root)
	if err != nil {
		return err
	}
	if unread != nil {
		r.remains(store.Damage{Kind: store.DamageRecord, Path: r.store().Path(name), What: damage.Error()},
			fmt.Sprintf("%v; then run this again", unread))
		return nil
	}
	r.pinsMended = true
	if b, err := r.store().Dir().ReadFile(name, maxPins); err == nil {
		if err := r.keepPins(b); err != nil {
			return err
		}
	}
	if !r.DryRun {
		err := r.Root.SetPins(pins)
		if err != nil { // it is no file, which nothing can take the place of
			if err := r.take(name, "", pinsLabel, path.Base(name), "is no file"); err != nil {
				return err
			}
			err = r.Root.SetPins(pins)
		}
		if err != nil {
			return err
		}
	}
	how := "removed: no edited program follows a pin"
	if len(pins) > 0 {
		how = fmt.Sprintf("made again from the records of edited programs, with %d of their pins", len(pins))
		r.note("a pin that was for a package, or for all programs, is now one for each program that follows it, and none is by force: hashpkg pins lists them")
	}
	r.mended(r.store().Path(name), "cannot be read", how)
	return nil
}

// keepPins copies a record of pins to the quarantine.
func (r *repairer) keepPins(b []byte) error {
	at := layout.QuarantineDir
	if !r.DryRun {
		if r.quarantine == nil {
			r.quarantine = r.store().Quarantine(r.Now)
		}
		to, err := r.quarantine.Keep(b, pinsLabel, path.Base(sysroot.PinsFile))
		if err != nil {
			return err
		}
		at = to
	}
	r.result.Done = append(r.result.Done, Action{
		Action: Quarantined, Path: r.store().Path(sysroot.PinsFile), What: "cannot be read", How: "copied to the quarantine", To: r.store().Path(at),
	})
	return nil
}
