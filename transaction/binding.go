package transaction

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/store"
)

// ErrNotInCommand is returned (wrapped) for a name of which a command says something and that it
// does not install.
var ErrNotInCommand = errors.New("this command installs no such package")

// defaultPrelocate is the choice of a package of which nobody has made one, and which is new.
const defaultPrelocate = record.PrelocateOn

// wantedBinding is what a command says of how packages' files find libraries.
type wantedBinding struct {
	record.Binding                             // of all that say nothing else
	prelocate      map[string]record.Prelocate // of packages by name
}

// setBinding sets how the files of a draft find libraries: as its package says, else
// as wanted, and where that says nothing, as those of the tree of the same name do that
// is in use; a package that is not in use yet is prelocated. That a package is not prelocated, which was
// said of it by name, holds until something else is said of it by name.
func setBinding(draft *record.Manifest, its *record.Binding, wanted wantedBinding, active *record.Generation, installed func(*record.Tree) (*record.Manifest, error)) error {
	if its != nil {
		draft.Binding = its.Recorded()
		return nil
	}
	dynamic, program := false, false
	for i := range draft.Files {
		if e := draft.Files[i].ELF; e != nil && e.HasDynamic {
			dynamic, program = true, program || e.IsProgram()
		}
	}
	binding, inUse, excluded := wanted.Binding, false, false
	for i := range active.Trees {
		t := &active.Trees[i]
		if t.Name != draft.Name || t.Architecture != draft.Architecture || t.Origin != record.OriginPrivate || !t.Default {
			continue
		}
		m, err := installed(t)
		if errors.Is(err, store.ErrNoManifest) {
			continue // what is said of that comes with the plan
		}
		if err != nil {
			return err
		}
		binding, inUse, excluded = binding.Or(m.Binding), true, excluded || m.Binding.Prelocate == record.PrelocateOff
	}
	switch named := wanted.prelocate[draft.Name]; {
	case named != "":
		binding.Prelocate = named
	case excluded:
		binding.Prelocate = record.PrelocateOff
	case binding.Prelocate == record.PrelocateOff:
		binding.Prelocate = "" // said of all packages of the command, not of this one
	case binding.Prelocate == "" && !inUse:
		binding.Prelocate = defaultPrelocate
	}
	draft.Binding = binding.Recorded()
	if !program {
		draft.Binding.Bind = "" // so that packages of libraries are the same however programs are bound
	}
	if !dynamic {
		draft.Binding.RunPath, draft.Binding.Prelocate = "", ""
	}
	return nil
}

// CheckPrelocate refuses names of InstallOptions.Prelocate that no package of a command has; the
// error wraps [ErrNotInCommand].
func CheckPrelocate(prelocate map[string]record.Prelocate, has func(name string) bool, active *record.Generation) error {
	for _, name := range slices.Sorted(maps.Keys(prelocate)) {
		if has(name) {
			continue
		}
		option := map[record.Prelocate]string{record.PrelocateOn: "--prelocate", record.PrelocateOff: "--no-prelocate"}[prelocate[name]]
		err := fmt.Errorf("%s=%s: %w", option, name, ErrNotInCommand)
		if slices.ContainsFunc(active.Trees, func(t record.Tree) bool { return t.Name == name && t.Origin == record.OriginPrivate }) {
			err = fmt.Errorf("%w; it is there already, and hashpkg install %s=%s %s changes it", err, option, name, name)
		}
		return err
	}
	return nil
}
