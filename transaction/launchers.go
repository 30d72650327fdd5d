package transaction

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/plan"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/store"
)

// ErrNoLauncher is wrapped by errors about a program that needs no view.
var ErrNoLauncher = errors.New("it needs no view")

// SetLaunch says how a command of a package is launched from now on, "bin/NAME" of a
// tree's interface. It concerns all of the package's trees that are in the store, and those
// of later versions take it over.
//
// No generation is made: a right that is taken back is gone at once, in older generations
// as well. What a tree is to have is in its manifest first, and where a right is taken
// back, last: killed in between, verify reports the file.
func SetLaunch(ctx context.Context, c Change, t *record.Tree, command string, how record.Launch) (result Result, err error) {
	w, err := Begin(ctx, c.Root, Options{Lock: c.Lock})
	if err != nil {
		return Result{}, err
	}
	defer func() { err = errors.Join(err, w.End()) }()
	result.Generation = w.active.ID
	manifests, err := c.Root.Store().Manifests(t.Name)
	if err != nil {
		return result, err
	}
	var changed []*record.Manifest
	for _, m := range manifests {
		f := m.Lookup(command)
		if m.Origin != record.OriginPrivate || f == nil || f.Launches == "" {
			if m.Tree == t.Dir {
				return result, fmt.Errorf("%s of %s: %w", path.Base(command), t.Spec(), ErrNoLauncher)
			}
			continue
		}
		if f.Launch() == how && w.isLaunched(m, f) {
			continue
		}
		if how == record.LaunchCapable {
			if err := w.mayLend(m); err != nil {
				return result, fmt.Errorf("give %s of %s a capability: %w", path.Base(command), m.Spec(), err)
			}
		}
		if err := plan.SetLaunch(m, f, how); err != nil {
			if m.Tree == t.Dir {
				return result, err
			}
			continue // an older version may be built otherwise
		}
		if f.Type == record.TypeFile {
			if err := w.makeLauncher(m, f); err != nil {
				return result, err
			}
		}
		changed = append(changed, m)
	}
	for _, m := range changed {
		if err := w.replaceLauncher(m, m.Lookup(command), how); err != nil {
			return result, fmt.Errorf("replace %s of %s: %w", command, m.Spec(), err)
		}
		result.Changed = true
	}
	return result, nil
}

// isLaunched reports whether what stands in a launcher's place is what its manifest says:
// one that was killed may have left the other.
func (w *Writer) isLaunched(m *record.Manifest, f *record.File) bool {
	dir, name := w.root.Store().Dir(), layout.TreePath(m.Name, m.Tree)+"/"+f.Path
	target, err := dir.Readlink(name)
	switch f.Launch() {
	case record.LaunchNone:
		return err == nil && target == f.Target
	case record.LaunchCapable:
		have, xerr := dir.Xattr(name, plan.CapabilityAttribute, 64)
		return err != nil && xerr == nil && bytes.Equal(have, f.Xattrs[plan.CapabilityAttribute])
	}
	_, xerr := dir.Xattr(name, plan.CapabilityAttribute, 64)
	return errors.Is(err, unix.EINVAL) && xerr != nil
}

// mayLend returns an error unless a tree stands where root alone can change what its
// launchers lead to.
func (w *Writer) mayLend(m *record.Manifest) error {
	if os.Geteuid() != 0 {
		return errors.New("only root can do that")
	}
	tree := layout.TreePath(m.Name, m.Tree)
	if err := w.root.CheckPrefix(tree+"/bin", tree+"/sbin", layout.HostDir, layout.ViewsDir, layout.CurrentSystem+"/"+layout.ViewLinks); err != nil {
		return err
	}
	var st unix.Statfs_t
	if err := unix.Fstatfs(w.root.Store().Dir().Fd(), &st); err != nil {
		return fmt.Errorf("look at the prefix: %w", err)
	}
	if st.Flags&unix.ST_NOSUID != 0 {
		return errors.New("the file system is mounted without such rights (nosuid)")
	}
	return nil
}

// makeLauncher puts the launcher that a file is to be into the store, if the store has not
// these very bytes.
func (w *Writer) makeLauncher(m *record.Manifest, f *record.File) error {
	place, err := LauncherPlace(w.root, w.active.Architecture)
	if err != nil {
		return err
	}
	b, err := plan.LauncherBytes(place, m, f)
	if err != nil {
		return err
	}
	f.Object, f.Size = digest.Of(b), int64(len(b))
	f.Source = f.Object
	isThere := false
	err = w.staging.Map(f.Object, func(have []byte) error {
		isThere = bytes.Equal(have, b)
		return nil
	})
	if err == nil && isThere || err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if _, _, err := w.staging.Spare(bytes.NewReader(b), func(digest.Digest) bool { return true }); err != nil {
		return err
	}
	return w.staging.PutObjects([]store.NewObject{{Digest: f.Object, Mode: f.Mode.ObjectMode()}}, noneAside)
}

// replaceLauncher puts what a manifest says in place of a launcher.
func (w *Writer) replaceLauncher(m *record.Manifest, f *record.File, how record.Launch) error {
	f.Own = f.Type == record.TypeFile && w.root.Store().OwnInode(f, os.Geteuid() == 0)
	b, err := m.Encode()
	if err != nil {
		return err
	}
	write := func() error {
		return w.staging.PutRecord(layout.ManifestPath(m.Name, m.Tree), b, noneAside)
	}
	replace := func() error {
		err := w.staging.Mend(m, []string{f.Path}, func(*record.File) bool { return true }, func(name, _ string) error { return noneAside(name) })
		if err == nil {
			err = w.root.Store().Sync()
		}
		return err
	}
	steps := []func() error{write, replace}
	if how != record.LaunchCapable {
		slices.Reverse(steps)
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// noneAside is for names that are files or links, which a rename replaces.
func noneAside(name string) error { return fmt.Errorf("%s is in the way: %w", name, fs.ErrExist) }
