package store

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"runtime"
	"slices"
	"strconv"

	"golang.org/x/sync/errgroup"

	"github.com/hashpkg/hashpkg/internal/beneath"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/record"
)

// AddTrees assembles trees in the staging directory from staged and stored
// objects, and their manifests beside them. It sets Own in the manifests' files. It may be
// called more than once.
func (t *Staging) AddTrees(manifests []*record.Manifest) error {
	if err := t.behind.flush(); err != nil {
		return err
	}
	fail := func(m *record.Manifest, err error) error { return fmt.Errorf("assemble tree of %s: %w", m.Spec(), err) }
	for _, m := range manifests {
		if err := t.claimObjects(m); err != nil {
			return fail(m, err)
		}
	}
	first := t.trees
	t.trees += len(manifests)
	var work errgroup.Group
	work.SetLimit(runtime.GOMAXPROCS(0))
	for i, m := range manifests {
		work.Go(func() error {
			if err := t.addTree(m, strconv.Itoa(first+i)); err != nil {
				return fail(m, err)
			}
			return nil
		})
	}
	if err := work.Wait(); err != nil {
		return err
	}
	if slices.ContainsFunc(manifests, func(m *record.Manifest) bool { return m.Origin == record.OriginView }) {
		for _, dir := range []string{layout.ViewsDir, layout.HostDir + "/usr", layout.HostDir + "/view"} {
			if err := t.store.dir.MkdirAll(dir, 0o755); err != nil {
				return fmt.Errorf("make directories of views: %w", err)
			}
		}
	}
	for i, m := range manifests {
		t.dirs = append(t.dirs, path.Dir(layout.TreePath(m.Name, m.Tree)), layout.ManifestsDir+"/"+m.Name)
		t.Move(fmt.Sprintf("trees/%d", first+i), layout.TreePath(m.Name, m.Tree), PhaseData)
		t.Move(fmt.Sprintf("manifests/%d", first+i), layout.ManifestPath(m.Name, m.Tree), PhaseRecords)
	}
	return t.addDefaultLinks(manifests, first)
}

// OpenTree opens the directory of a tree, by its path: one that was assembled, or that the
// store has. The caller closes it.
func (t *Staging) OpenTree(tree string) (*beneath.Dir, error) {
	for _, m := range t.moves {
		if m.To == tree {
			return t.dir.OpenDir(m.From)
		}
	}
	return t.store.dir.OpenDir(tree)
}

// Try assembles a tree that is not going to be published, from objects that trees have.
// The caller closes its directory, which goes with the staging directory.
func (t *Staging) Try(m *record.Manifest) (*beneath.Dir, error) {
	name := fmt.Sprintf("trees/%d", t.trees)
	t.trees++
	if err := t.assemble(m.Clone(), name, t.place); err != nil {
		return nil, fmt.Errorf("assemble %s: %w", m.Spec(), err)
	}
	return t.dir.OpenDir(name)
}

// claimObjects gives the staged objects of a tree the mode that they keep: that
// of the first file that has them, whatever order the trees are assembled in.
func (t *Staging) claimObjects(m *record.Manifest) error {
	place := layout.TreePath(m.Name, m.Tree)
	_, err := t.store.dir.Lstat(place)
	if err == nil {
		return fmt.Errorf("%s is there and has no manifest: look at what it is, and move it away, or run hashpkg verify --repair", t.store.Path(place))
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for i := range m.Files {
		f := &m.Files[i]
		o := t.objects[f.Object]
		if f.Type != record.TypeFile || o == nil || o.used {
			continue
		}
		o.used = true
		if o.system {
			continue
		}
		if mode := uint32(f.Mode.ObjectMode()); mode != objectMode {
			if err := t.files.Chmod(o.name, mode); err != nil {
				return err
			}
		}
	}
	return nil
}

func (t *Staging) addTree(m *record.Manifest, name string) error {
	if err := t.assemble(m, "trees/"+name, t.place); err != nil {
		return err
	}
	b, err := m.Encode()
	if err != nil {
		return err
	}
	if len(b) > maxRecord {
		return fmt.Errorf("the manifest of %s has %d bytes, and %d is a fixed limit of hashpkg (docs/limits.md): split the package", m.Spec(), len(b), maxRecord)
	}
	temp, err := t.dir.StageFile("manifests/"+name, b, 0o644)
	if err != nil {
		return err
	}
	return t.dir.Rename(t.dir, temp, "manifests/"+name)
}

// addDefaultLinks stages the links NAME/default, which are the same in every
// generation.
func (t *Staging) addDefaultLinks(manifests []*record.Manifest, first int) error {
	made := map[string]bool{}
	for i, m := range manifests {
		to := m.Name + "/" + layout.DefaultLink
		if m.Origin == record.OriginView || made[m.Name] || t.store.dir.Exists(to) {
			continue
		}
		made[m.Name] = true
		from := fmt.Sprintf("trees/%d-default", first+i)
		if err := t.dir.Symlink(layout.DefaultLinkTarget(m.Name), from); err != nil {
			return fmt.Errorf("stage default link: %w", err)
		}
		t.Move(from, to, PhaseData)
	}
	return nil
}

// tree is one that is being assembled.
type tree struct {
	staging *Staging
	dir     *beneath.Dir
	within  cursor // files come in the order of their paths
	made    map[string]bool
}

// assemble makes the directories, files and links of a tree in a new directory. place
// makes each file that is no directory.
func (t *Staging) assemble(m *record.Manifest, name string, place func(f *record.File, dir *beneath.Dir, base string) error) error {
	if err := t.dir.Mkdir(name, 0o755); err != nil {
		return err
	}
	dir, err := t.dir.OpenDir(name)
	if err != nil {
		return err
	}
	defer dir.Close()
	tree := &tree{staging: t, dir: dir, within: cursor{top: dir}, made: map[string]bool{".": true}}
	defer tree.within.close()
	var special []*record.File // directories with an owner or mode of their own
	for i := range m.Files {
		f := &m.Files[i]
		if f.Type == record.TypeDirectory {
			if err := tree.mkdir(f.Path); err != nil {
				return err
			}
			if f.Mode != 0o755 || f.UID != 0 || f.GID != 0 || len(f.Xattrs) > 0 {
				special = append(special, f)
			}
			continue
		}
		dir, base, err := tree.at(f.Path)
		if err != nil {
			return err
		}
		if err := place(f, dir, base); err != nil {
			return err
		}
	}
	for _, l := range m.Links {
		dir, base, err := tree.at(l.Path)
		if err != nil {
			return err
		}
		if err := dir.Symlink(l.Target, base); err != nil {
			return err
		}
	}
	for i := len(special) - 1; i >= 0; i-- { // the deepest first: a parent may lose its write bit
		dir, base, err := tree.within.at(special[i].Path)
		if err != nil {
			return err
		}
		if err := t.setMetadata(dir, base, special[i]); err != nil {
			return err
		}
	}
	return nil
}

// at returns the directory of a path, which it makes if it is not there, and the
// path's last element.
func (t *tree) at(name string) (*beneath.Dir, string, error) {
	if err := t.mkdir(path.Dir(name)); err != nil {
		return nil, "", err
	}
	return t.within.at(name)
}

func (t *tree) mkdir(name string) error {
	if t.made[name] {
		return nil
	}
	if err := t.mkdir(path.Dir(name)); err != nil {
		return err
	}
	dir, base, err := t.within.at(name)
	if err != nil {
		return err
	}
	t.made[name] = true
	return dir.Mkdir(base, 0o755)
}
