// Package relations answers questions about what a root has: what a program loads and by
// which rule ([Relations.Deps]), what keeps a package ([Relations.Why]), whose a file is
// ([Relations.Owners]), who loads a build of a library ([Relations.Users]), and all of
// that as a graph ([Relations.Graph]).
//
// It reads the manifests of the store, by an index that is made anew, of what has
// changed, whenever it is not theirs any more ([Open]); and of the system's programs
// what the loader would load for them, by a second one. Both are derived, and can be
// removed at any time. It decides nothing and changes nothing else.
package relations

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"
	"runtime"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/store"
	"github.com/hashpkg/hashpkg/sysroot"
)

// Relations are those of one root at one moment. They are for one goroutine at a time.
type Relations struct {
	root       *sysroot.Root
	generation *record.Generation
	keep       bool
	trees      []*record.Holding // of the store, sorted by path
	byPath     map[string]*record.Holding
	active     map[string]*record.Tree // of the generation, by path

	placed   map[string]File // libraries of the active system trees, by their place
	located  map[string]File
	programs *record.SystemPrograms // nil until somebody asks
}

// File is a file of a tree, or of the root.
type File struct {
	Tree *record.Holding // nil for a file that no tree has
	Path string          // relative to the tree; else absolute in the root
}

// treesIndex is the index of the manifests.
const treesIndex = layout.IndexDir + "/trees"

// maxIndex bounds an index in bytes.
const maxIndex = 1 << 30

// Open reads what the store and the active generation have. With keep, an index that was
// not up to date is written again where the caller may do that.
func Open(ctx context.Context, root *sysroot.Root, keep bool) (*Relations, error) {
	g, err := root.Active()
	if err != nil {
		return nil, err
	}
	r := &Relations{
		root: root, generation: g, keep: keep,
		byPath: map[string]*record.Holding{}, active: map[string]*record.Tree{}, located: map[string]File{},
	}
	if err := r.readTrees(ctx); err != nil {
		return nil, err
	}
	for _, h := range r.trees {
		r.byPath[h.Path()] = h
	}
	for i := range g.Trees {
		t := &g.Trees[i]
		r.active[t.Path()] = t
	}
	return r, nil
}

// Generation returns the active generation.
func (r *Relations) Generation() *record.Generation { return r.generation }

// Trees returns what the active generation has, in its order, each with its holding.
func (r *Relations) Trees(yield func(*record.Tree, *record.Holding) bool) {
	for i := range r.generation.Trees {
		t := &r.generation.Trees[i]
		if h := r.byPath[t.Path()]; h != nil && !yield(t, h) {
			return
		}
	}
}

// Stored returns what the store has, by name, whether or not a generation has it.
func (r *Relations) Stored(yield func(*record.Holding) bool) {
	for _, h := range r.trees {
		if !yield(h) {
			return
		}
	}
}

// Holding returns what the store has of a tree, by its path; nil for nothing.
func (r *Relations) Holding(tree string) *record.Holding { return r.byPath[tree] }

// readTrees fills r.trees: from the index as far as packages have the manifests that it was
// made from, else from these.
func (r *Relations) readTrees(ctx context.Context) error {
	s := r.root.Store()
	known := map[string][]*record.Holding{} // by package
	if b, err := s.Dir().ReadFile(treesIndex, maxIndex); err == nil {
		if old, err := record.DecodeHoldings(b); err == nil {
			for _, h := range old {
				known[h.Name] = append(known[h.Name], h)
			}
		}
	}
	stamps, err := s.Stamps()
	if err != nil {
		return err
	}
	var mu sync.Mutex
	changed := false
	for name := range known {
		if _, there := stamps[name]; !there {
			changed = true
		}
	}
	reading, inner := errgroup.WithContext(ctx)
	reading.SetLimit(runtime.GOMAXPROCS(0))
	for name, stamp := range stamps {
		if have := known[name]; len(have) > 0 && stamp != "" && have[0].Stamp == stamp {
			mu.Lock()
			r.trees = append(r.trees, have...)
			mu.Unlock()
			continue
		}
		reading.Go(func() error {
			if err := inner.Err(); err != nil {
				return err
			}
			trees, err := readPackage(s, name, stamp)
			mu.Lock()
			defer mu.Unlock()
			r.trees = append(r.trees, trees...)
			changed = changed || len(trees) > 0 || len(known[name]) > 0
			return err
		})
	}
	if err := reading.Wait(); err != nil {
		return err
	}
	slices.SortFunc(r.trees, func(a, b *record.Holding) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Dir, b.Dir))
	})
	if changed {
		r.write(treesIndex, record.EncodeHoldings(r.trees))
	}
	return nil
}

// readPackage returns the holdings of a package's trees, from their manifests.
func readPackage(s *store.Store, name, stamp string) ([]*record.Holding, error) {
	trees, err := s.Trees(name)
	if err != nil {
		return nil, err
	}
	var list []*record.Holding
	for _, t := range trees {
		m, err := s.Manifest(name, t)
		if errors.Is(err, store.ErrNoManifest) {
			continue // a writer has removed it since
		}
		if err != nil {
			return nil, fmt.Errorf("%w; hashpkg verify --repair mends what it can", err)
		}
		list = append(list, record.NewHolding(m, stamp))
	}
	return list, nil
}

// write writes an index where the caller may, and only below a prefix that is there. What
// stands in its place, and is no file or directory of hashpkg's, is removed. That it could
// not be written is no error: the answers are the same without it, and only take longer.
func (r *Relations) write(name string, b []byte) {
	dir := r.root.Store().Dir()
	if !r.keep || !dir.Exists(layout.Private) {
		return
	}
	put := func() error {
		if err := dir.MkdirAll(layout.IndexDir, 0o755); err != nil {
			return err
		}
		return dir.WriteFile(name, b, 0o644)
	}
	if put() == nil {
		return
	}
	for place, kind := range map[string]uint32{layout.IndexDir: unix.S_IFDIR, name: unix.S_IFREG} {
		if st, err := dir.Lstat(place); err == nil && st.Mode&unix.S_IFMT != kind && dir.RemoveAll(place) != nil {
			return
		}
	}
	_ = put()
}

// Locate returns whose a file is, by its path in the root or as programs carry it. Links
// in the root are followed where no tree is on the way.
func (r *Relations) Locate(name string) File {
	if f, ok := r.located[name]; ok {
		return f
	}
	f := r.locate(name)
	r.located[name] = f
	return f
}

func (r *Relations) locate(name string) File {
	clean := path.Clean(name)
	if f, ok := r.inTree(clean); ok {
		return f
	}
	if f, ok := r.systemFile(clean); ok {
		return f
	}
	final, err := r.root.Final(clean)
	if err != nil || final == clean {
		return File{Path: clean}
	}
	if f, ok := r.inTree(final); ok {
		return f
	}
	if f, ok := r.systemFile(final); ok {
		return f
	}
	return File{Path: final}
}

// inTree finds the first tree in a path. Programs carry the prefix that their command
// was given, which may be another name of the one that is in use now.
func (r *Relations) inTree(name string) (File, bool) {
	if !path.IsAbs(name) {
		return File{}, false
	}
	parts := strings.Split(name, "/")
	for i := 2; i < len(parts); i++ {
		if h := r.byPath[layout.TreePath(parts[i-1], parts[i])]; h != nil {
			return File{h, strings.Join(parts[i+1:], "/")}, true
		}
	}
	return File{}, false
}

// systemFile finds the library of the system that stands at a place.
func (r *Relations) systemFile(place string) (File, bool) {
	if r.placed == nil {
		r.placed = map[string]File{}
		for t, h := range r.Trees {
			if t.Origin != record.OriginSystem {
				continue
			}
			for i := range h.Binaries {
				f := &h.Binaries[i]
				r.placed[f.Place] = File{h, f.Path}
			}
		}
	}
	f, ok := r.placed[place]
	return f, ok
}

// At returns the path of a file in the root.
func (r *Relations) At(f File) string {
	switch {
	case f.Tree == nil:
		return f.Path
	case f.Tree.Origin == record.OriginSystem && r.active[f.Tree.Path()] != nil:
		if b := binary(f); b != nil && b.Place != "" {
			return b.Place
		}
	}
	return path.Join(r.root.Prefix(), f.Tree.Path(), f.Path)
}

// binary returns the program or library of a tree at a path; nil for none.
func binary(f File) *record.HeldFile {
	if f.Tree == nil {
		return nil
	}
	i, ok := slices.BinarySearchFunc(f.Tree.Binaries, f.Path, func(b record.HeldFile, p string) int { return strings.Compare(b.Path, p) })
	if !ok {
		return nil
	}
	return &f.Tree.Binaries[i]
}

// Belongs says in which package a file is.
type Belongs struct {
	Package string        `json:"package"` // "" where no tree has it
	Version string        `json:"version"`
	Origin  record.Origin `json:"origin"`
	Tree    string        `json:"tree"` // NAME/TREE
}

// Spec returns "NAME=VERSION", and "the system" for what no tree has.
func (b *Belongs) Spec() string {
	if b.Package == "" {
		return "the system"
	}
	return b.Package + "=" + b.Version
}

func belongs(f File) Belongs {
	if f.Tree == nil {
		return Belongs{}
	}
	return Belongs{f.Tree.Name, f.Tree.Version, f.Tree.Origin, f.Tree.Path()}
}
