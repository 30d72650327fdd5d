package transaction

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hashpkg/hashpkg/backends"
	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/elfedit"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/plan"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/layout/rewrite"
	"github.com/hashpkg/hashpkg/programs"
	"github.com/hashpkg/hashpkg/store"
	"github.com/hashpkg/hashpkg/sysroot"
	"github.com/hashpkg/hashpkg/sysroot/system"
)

// Standing calls use with what may be the bytes of a file of a tree that is planned again: as
// it stands, or as others say that it was. It ends when use returns true.
type Standing func(m *record.Manifest, f *record.File, use func(standing []byte) bool)

// Replan returns the manifests that an install of package files into a generation would
// make, and changes nothing. Where a tree was made of the same files in the same
// surroundings, its manifest has the same identity. known are the manifests that there are,
// by the paths of their trees, whatever the store has: those of the generation's own trees
// must be among them.
//
// What is in no identity depends on more than that: to what a file is bound of its own, and its note. There a manifest says
// what the files have that stand in its place. A library of which nothing stands there is bound
// to nothing, for what it was bound to nobody knows.
//
// It is not an error that the files cannot be installed: there are no manifests then.
func Replan(ctx context.Context, o InstallOptions, base *record.Generation, known map[string]*record.Manifest, standing Standing) (manifests []*record.Manifest, err error) {
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
	from := newPackagedFiles(o.Root.Store(), spool)
	made, err := makePlan(ctx, o, files, from, base)
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
			if t.Present {
				break // it has its manifest
			}
			if err := asStanding(from, m, &m.Files[i], standing); err != nil {
				return nil, fmt.Errorf("edit %s: %w", m.Files[i].Path, err)
			}
		}
		m.Index()
		manifests = append(manifests, m)
	}
	place, err := LauncherPlace(o.Root, base.Architecture)
	if err != nil {
		return nil, err
	}
	fresh := maps.Clone(known)
	for _, m := range manifests {
		fresh[layout.TreePath(m.Name, m.Tree)] = m
	}
	read := TreeFiles(o.Root.Store(), fresh, from)
	for _, m := range manifests {
		for i := range m.Files {
			if f := &m.Files[i]; f.IsDev() && f.Object.IsZero() {
				if err := remake(place, m, f, read); err != nil {
					return nil, err
				}
			}
		}
	}
	return manifests, nil
}

// remake sets what a file that hashpkg makes has.
func remake(place plan.Place, m *record.Manifest, f *record.File, read plan.TreeFile) error {
	b, err := plan.MadeBytes(place, m, f, read)
	if plan.LinkInstead(place, m, f, err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("make %s of %s: %w", f.Path, m.Spec(), err)
	}
	f.Object, f.Size = digest.Of(b), int64(len(b))
	f.Source = f.Object
	return nil
}

// ReplanTwin returns the manifest of the tree dir of a package, of which another tree has the
// same identity: they differ in their names, and in what is in no identity.
func ReplanTwin(root *sysroot.Root, twin *record.Manifest, dir, architecture string, standing Standing) (*record.Manifest, error) {
	place, err := LauncherPlace(root, architecture)
	if err != nil {
		return nil, err
	}
	from := newPackagedFiles(root.Store(), nil)
	from.learn(twin)
	m := twin.Clone()
	m.Tree = dir
	read := TreeFiles(root.Store(), map[string]*record.Manifest{layout.TreePath(m.Name, dir): m}, from)
	at := func(tree string) string { return root.Prefix() + "/" + layout.TreePath(m.Name, tree) + "/" }
	for i := range m.Files {
		f := &m.Files[i]
		f.Needs = slices.Clone(f.Needs)
		for j := range f.Needs {
			if rest, own := strings.CutPrefix(f.Needs[j].Path, at(twin.Tree)); own {
				f.Needs[j].Path = at(dir) + rest
			}
		}
		if f.IsMade() {
			if rest, own := strings.CutPrefix(f.Stub, at(twin.Tree)); own {
				f.Stub = at(dir) + rest
			}
			if err := remake(place, m, f, read); err != nil {
				return nil, err
			}
		} else if err := asStanding(from, m, f, standing); err != nil {
			return nil, fmt.Errorf("edit %s: %w", f.Path, err)
		}
	}
	m.Index()
	return m, nil
}

// asStanding sets the object of a file as planned, or its edit as it stands.
func asStanding(from packagedBytes, m *record.Manifest, f *record.File, standing Standing) error {
	if f.Type != record.TypeFile || f.ELF == nil || !f.ELF.HasDynamic || len(f.Edits) == 0 && !m.Binding.IsPrelocated() {
		return nil
	}
	return from.Map(f.Source, func(packaged []byte) error {
		planned := f.Edits
		if f.Patch != nil {
			edit, err := f.Patch.Edit()
			if err == nil {
				err = setEdit(f, f.Edits, edit, packaged)
			}
			if err != nil {
				return err
			}
		}
		found := false
		var failed error
		standing(m, f, func(b []byte) bool {
			if found = digest.Of(b) == f.Object; found {
				return true
			}
			records, edit, err := rewrite.Remake(packaged, b, planned)
			if err != nil {
				return false // it is of something else
			}
			found, failed = true, setEdit(f, records, edit, packaged)
			return true
		})
		isSelf := func(e record.EditRecord) bool { return e.Kind == record.EditSelf }
		if found || f.ELF.IsProgram() || !slices.ContainsFunc(f.Edits, isSelf) {
			return failed
		}
		records := slices.DeleteFunc(slices.Clone(f.Edits), isSelf)
		edit, _, err := rewrite.Make(packaged, records)
		if err != nil {
			return err
		}
		return setEdit(f, records, edit, packaged)
	})
}

// setEdit sets an edit of a file, and the object that it gives.
func setEdit(f *record.File, records []record.EditRecord, edit elfedit.Edit, packaged []byte) (err error) {
	f.Edits, f.Patch, f.Object, f.Size = records, nil, f.Source, int64(len(packaged))
	if len(records) == 0 {
		return nil
	}
	if f.Patch, err = record.PackEdit(edit); err != nil {
		return err
	}
	edited, err := edit.Apply(packaged)
	f.Object, f.Size = digest.Of(edited), int64(len(edited))
	return err
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
