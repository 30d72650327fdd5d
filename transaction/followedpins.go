package transaction

import (
	"errors"
	"fmt"
	"strings"

	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/programs"
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
			if programs.IsFrozen(&f.Applied[0]) {
				pins = append(pins, frozenPins(root, &f)...)
				continue
			}
			for _, t := range f.Applied[0].Pins {
				pins = append(pins, followedPin(root, f.Path, t))
			}
		}
	}
	return pins, unread, nil
}

// followedPin returns a pin of a program to a tree.
func followedPin(root *sysroot.Root, program string, t record.PinnedTree) record.Pin {
	pin := record.Pin{Program: program, Library: t.Library, Version: layout.VersionText(t.Tree), Tree: t.Tree}
	if m, err := root.Store().Manifest(t.Library, t.Tree); err == nil {
		pin.Version = m.Version
	}
	return pin
}

// frozenPins returns the pins of a program's freeze, as the record of its edit has them: its
// list of libraries has the files. What else they are frozen to is in the manifests of the trees.
func frozenPins(root *sysroot.Root, f *record.EditedFile) (pins []record.Pin) {
	for _, e := range f.Applied[0].Edits {
		if e.Kind != record.EditNeeded || len(e.From) != len(e.To) {
			continue
		}
		for i, to := range e.To {
			for _, t := range f.Applied[0].Pins {
				_, file, ok := strings.Cut(to, "/"+t.Path()+"/")
				if !ok {
					continue
				}
				pin := followedPin(root, f.Path, t)
				pin.File, pin.Name = file, e.From[i]
				if m, err := root.Store().Manifest(t.Library, t.Tree); err == nil {
					if is := m.Lookup(file); is != nil {
						pin.Object = is.Object
					}
				}
				pins = append(pins, pin)
				break
			}
		}
	}
	return pins
}
