package transaction

import (
	"errors"
	"fmt"

	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/sysroot"
)

// readPins returns the pins of a root. Where their record cannot be read, which unreadable
// says, they are those that programs follow.
func readPins(root *sysroot.Root) (pins []record.Pin, unreadable, err error) {
	pins, unreadable = root.Pins()
	if unreadable == nil {
		return pins, nil, nil
	}
	pins, unread, err := FollowedPins(root)
	if err != nil {
		return nil, nil, errors.Join(unreadable, err)
	}
	return pins, errors.Join(fmt.Errorf("%w; until then programs keep the pins that they follow", unreadable), unread), nil
}

// FollowedPins returns the pins that programs follow, by the records of their edits: a pin
// for each program, whatever it was for, and none that does not fit by force. unread says
// of which programs the record cannot be read.
func FollowedPins(root *sysroot.Root) (pins []record.Pin, unread, err error) {
	keys, err := root.EditedPackages()
	if err != nil {
		return nil, nil, err
	}
	for _, key := range keys {
		edits, err := root.Edits(key)
		if err != nil {
			unread = errors.Join(unread, err)
			continue
		}
		for _, f := range edits.Files {
			if len(f.Applied) == 0 {
				continue
			}
			for _, t := range f.Applied[0].Pins {
				pin := record.Pin{Program: f.Path, Library: t.Library, Version: t.Tree, Tree: t.Tree}
				if m, err := root.Store().Manifest(t.Library, t.Tree); err == nil {
					pin.Version = m.Version
				}
				pins = append(pins, pin)
			}
		}
	}
	return pins, unread, nil
}
