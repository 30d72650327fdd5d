package transaction

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/hashpkg/hashpkg/backends"
	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/layout/plan"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/programs"
	"github.com/hashpkg/hashpkg/store"
	"github.com/hashpkg/hashpkg/sysroot"
	"github.com/hashpkg/hashpkg/sysroot/system"
)

// Replan returns the manifests that an install of package files into a generation would
// make, and changes nothing. Where a tree was made of the same files in the same
// surroundings, its manifest has the same identity. known are the manifests that there are,
// by the paths of their trees, whatever the store has: those of the generation's own trees
// must be among them.
//
// It is not an error that the files cannot be installed: there are no manifests then.
func Replan(ctx context.Context, o InstallOptions, base *record.Generation, known map[string]*record.Manifest) (manifests []*record.Manifest, err error) {
	o.Progress = func(Progress) {}
	o.Rebuild, o.AllowMissing, o.known = true, true, &knownTrees{known}
	files, err := lookAtFiles(o.Packages, o.Root.Formats())
	if err != nil {
		return nil, err
	}
	spool, err := newSpool()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, spool.Close()) }()
	made, err := makePlan(ctx, o, files, newPackagedFiles(o.Root.Store(), spool), base)
	var problems *plan.ProblemsError
	if errors.As(err, &problems) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	for _, t := range made.Trees {
		m := t.Manifest.Clone()
		for i := range m.Files {
			if err := editedObject(spool, &m.Files[i]); err != nil {
				return nil, fmt.Errorf("edit %s: %w", m.Files[i].Path, err)
			}
		}
		m.Index()
		manifests = append(manifests, m)
	}
	return manifests, nil
}

// editedObject sets the object of a file that the plan edits.
func editedObject(from sink, f *record.File) error {
	if f.Patch == nil {
		return nil
	}
	edit, err := f.Patch.Edit()
	if err != nil {
		return err
	}
	return from.Map(f.Source, func(packaged []byte) error {
		edited, err := edit.Apply(packaged)
		f.Object, f.Size = digest.Of(edited), int64(len(edited))
		return err
	})
}

// knownTrees has manifests by the paths of their trees.
type knownTrees struct{ manifests map[string]*record.Manifest }

func (k *knownTrees) installed(t *record.Tree) (*record.Manifest, error) {
	if m := k.manifests[t.Path()]; m != nil {
		return m, nil
	}
	return nil, fmt.Errorf("read manifest of %s: %w", t.Spec(), store.ErrNoManifest)
}

// occupied returns the manifests of a package.
func (k *knownTrees) occupied(name string) (found []*record.Manifest, err error) {
	for _, p := range slices.Sorted(maps.Keys(k.manifests)) {
		if m := k.manifests[p]; m.Name == name {
			found = append(found, m)
		}
	}
	return found, nil
}

// ReplanSystem is Replan for the trees of the system's packages with these names.
func ReplanSystem(ctx context.Context, root *sysroot.Root, names []string, base *record.Generation, known map[string]*record.Manifest) ([]*record.Manifest, error) {
	packages, err := system.Packages(ctx, root)
	if err != nil {
		return nil, err
	}
	packages = slices.DeleteFunc(packages, func(p *backends.Installed) bool { return !slices.Contains(names, p.Name) })
	found, err := system.Scan(ctx, root, packages, system.Digests{Root: root}, programs.DefaultMaxSize, func(int) {})
	if err != nil {
		return nil, err
	}
	in := plan.SystemInput{
		Generation: base, Occupied: (&knownTrees{known}).occupied,
		Stays: func(*record.Tree) bool { return true },
		Loads: func(*record.Tree, string) bool { return false },
	}
	for _, f := range found {
		if f.Libraries != nil {
			in.Packages = append(in.Packages, f.Libraries)
		}
	}
	made, err := plan.MakeSystem(in)
	if err != nil {
		return nil, err
	}
	var manifests []*record.Manifest
	for _, t := range made.Trees {
		manifests = append(manifests, t.Manifest)
	}
	return manifests, nil
}
