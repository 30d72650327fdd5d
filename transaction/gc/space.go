package gc

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/sysroot"
	"github.com/hashpkg/hashpkg/transaction"
)

// Space says how much of the disk a store takes, in bytes: in blocks, as du counts
// them, each file once however many names it has.
//
// Total is Distribution and Store; Store is the Exclusive of all versions, Shared,
// Unused and Records.
type Space struct {
	Total int64 `json:"total"`
	// Distribution is of files that have a name outside of the store, which are the
	// distribution's: they cost nothing extra.
	Distribution int64 `json:"distribution"`
	Store        int64 `json:"store"`
	Shared       int64 `json:"shared"`  // among trees of several versions, each file once
	Unused       int64 `json:"unused"`  // of objects that no tree has
	Records      int64 `json:"records"` // generations, manifests and the like
	// Reclaimable is what a garbage collection would free.
	Reclaimable int64             `json:"reclaimable"`
	Packages    []PackageSpace    `json:"packages"`
	Generations []GenerationSpace `json:"generations"`
}

// PackageSpace is what the versions of a package take.
type PackageSpace struct {
	Name      string         `json:"name"`
	Exclusive int64          `json:"exclusive"` // shared with no other package and not the distribution's
	Versions  []VersionSpace `json:"versions"`
}

// VersionSpace is what a tree takes.
type VersionSpace struct {
	Version      string `json:"version"`
	Architecture string `json:"architecture"`
	Tree         string `json:"tree"`
	Exclusive    int64  `json:"exclusive"` // what nothing else has; its directories and links, too
	Shared       int64  `json:"shared"`    // with other trees
	Distribution int64  `json:"distribution"`
	Active       bool   `json:"active"`      // in the active generation
	Reclaimable  bool   `json:"reclaimable"` // a garbage collection would remove it
}

// GenerationSpace is what a generation takes.
type GenerationSpace struct {
	ID      int   `json:"id"`
	Active  bool  `json:"active"`
	Records int64 `json:"records"` // its record and links
	// Exclusive is of trees that no other generation has.
	Exclusive int64 `json:"exclusive"`
}

// SpaceOptions says what to measure. Keep, Policy and Now are those of the garbage
// collection that is foreseen.
type SpaceOptions struct {
	Root   *sysroot.Root
	Keep   int
	Policy Policy
	Now    time.Time
}

// Measure measures a store. It takes no lock: what a writer changes meanwhile may be
// counted or not.
func Measure(ctx context.Context, o SpaceOptions) (*Space, error) {
	space := &Space{Packages: []PackageSpace{}, Generations: []GenerationSpace{}}
	if ok, err := o.Root.Exists(); err != nil || !ok {
		return space, err
	}
	active, err := o.Root.Active()
	if err != nil && !errors.Is(err, sysroot.ErrNoActive) {
		return nil, err
	}
	c := newCollector(Options{Root: o.Root, Keep: o.Keep, Policy: o.Policy, Now: o.Now, Progress: func(transaction.Progress) {}, Warn: func(TreeReplaced) {}, WarnLinked: func(TreeName) {}})
	reclaimable := map[string]bool{}
	if err != nil { // nothing is collected until one is active again
		err = c.readTrees()
	} else if err = c.wouldCollect(ctx, active); err == nil {
		space.Reclaimable = c.result.Bytes
		for _, t := range c.result.Trees {
			reclaimable[layout.TreePath(t.Name, t.Tree)] = true
		}
	}
	if err != nil {
		return nil, err
	}
	m := &measurer{trees: c.trees, files: map[inode]*file{}, own: map[string]int64{}, records: map[string]int64{}}
	if err := o.Root.Store().Measure(m.visit); err != nil {
		return nil, err
	}
	inActive := map[string]bool{}
	if active != nil {
		for i := range active.Trees {
			inActive[active.Trees[i].Path()] = true
		}
	}
	m.sum(space, inActive, reclaimable)
	return space, m.sumGenerations(space, c)
}

// inode names a file of the disk.
type inode struct{ dev, ino uint64 }

// file is one file of the disk, and who has names of it.
type file struct {
	bytes int64
	links uint64
	names uint64   // of the links, those that stand below the prefix
	trees []string // their paths, each once
	// object says that it has the name of one.
	object bool
}

// measurer adds up what stands below a prefix.
type measurer struct {
	trees   map[string]*treeRecord
	files   map[inode]*file
	own     map[string]int64 // directories and symbolic links of trees, by tree
	records map[string]int64 // of generations, by their paths; "" has all that is no tree's
}

func (m *measurer) visit(name string, st *unix.Stat_t) {
	tree := m.treeOf(name)
	bytes := st.Blocks * 512
	if st.Mode&unix.S_IFMT == unix.S_IFDIR || st.Nlink == 1 && tree == "" && !strings.HasPrefix(name, layout.ObjectsDir+"/") {
		m.add(name, tree, bytes)
		return
	}
	id := inode{st.Dev, st.Ino}
	f := m.files[id]
	if f == nil {
		f = &file{bytes: bytes, links: uint64(st.Nlink)} //nolint:unconvert // Nlink has 32 bits elsewhere
		m.files[id] = f
	}
	f.names++
	f.object = f.object || strings.HasPrefix(name, layout.ObjectsDir+"/")
	if tree != "" && !slices.Contains(f.trees, tree) {
		f.trees = append(f.trees, tree)
	}
}

// add counts what has one name only.
func (m *measurer) add(name, tree string, bytes int64) {
	if tree != "" {
		m.own[tree] += bytes
		return
	}
	m.records[""] += bytes
	if rest, ok := strings.CutPrefix(name, layout.GenerationsDir+"/"); ok {
		id, _, _ := strings.Cut(rest, "/")
		m.records[layout.GenerationsDir+"/"+id] += bytes
	}
}

// treeOf returns the path of the tree in which a name below the prefix is; "" for none.
func (m *measurer) treeOf(name string) string {
	first := strings.IndexByte(name, '/')
	if first < 0 {
		return ""
	}
	tree := name
	if second := strings.IndexByte(name[first+1:], '/'); second >= 0 {
		tree = name[:first+1+second]
	}
	if m.trees[tree] == nil {
		return ""
	}
	return tree
}

// sum fills in all but the generations.
func (m *measurer) sum(space *Space, active, reclaimable map[string]bool) {
	versions := map[string]*VersionSpace{}
	packages := map[string]*PackageSpace{}
	for path, t := range m.trees {
		versions[path] = &VersionSpace{
			Version: t.Version, Architecture: t.architecture, Tree: t.Tree,
			Exclusive: m.own[path], Active: active[path], Reclaimable: reclaimable[path],
		}
		if packages[t.Name] == nil {
			packages[t.Name] = &PackageSpace{Name: t.Name}
		}
		packages[t.Name].Exclusive += m.own[path]
		space.Store += m.own[path]
	}
	space.Records = m.records[""]
	space.Store += space.Records
	for _, f := range m.files {
		if f.links > f.names {
			space.Distribution += f.bytes
			for _, t := range f.trees {
				versions[t].Distribution += f.bytes
			}
			continue
		}
		space.Store += f.bytes
		switch {
		case len(f.trees) == 0 && f.object:
			space.Unused += f.bytes
		case len(f.trees) == 0:
			space.Records += f.bytes
		case len(f.trees) == 1:
			versions[f.trees[0]].Exclusive += f.bytes
		default:
			space.Shared += f.bytes
			for _, t := range f.trees {
				versions[t].Shared += f.bytes
			}
		}
		if owner := m.onlyPackage(f.trees); owner != "" {
			packages[owner].Exclusive += f.bytes
		}
	}
	space.Total = space.Distribution + space.Store
	for _, name := range slices.Sorted(maps.Keys(packages)) {
		space.Packages = append(space.Packages, *packages[name])
	}
	for path, v := range versions {
		i, _ := slices.BinarySearchFunc(space.Packages, m.trees[path].Name, func(p PackageSpace, name string) int { return strings.Compare(p.Name, name) })
		space.Packages[i].Versions = append(space.Packages[i].Versions, *v)
	}
	for i := range space.Packages {
		slices.SortFunc(space.Packages[i].Versions, func(a, b VersionSpace) int { return strings.Compare(a.Tree, b.Tree) })
	}
}

// onlyPackage returns the package that all of the trees are of; "" where there are
// several, or none.
func (m *measurer) onlyPackage(trees []string) string {
	if len(trees) == 0 {
		return ""
	}
	name := m.trees[trees[0]].Name
	for _, t := range trees[1:] {
		if m.trees[t].Name != name {
			return ""
		}
	}
	return name
}

// sumGenerations fills in the generations.
func (m *measurer) sumGenerations(space *Space, c *collector) error {
	ids, err := c.Root.Generations()
	if err != nil {
		return err
	}
	activeID, err := c.store.Active()
	if err != nil {
		return err
	}
	const several = -1
	in := map[string]int{} // the only generation that has a tree
	for _, id := range ids {
		g, err := c.Root.Generation(id)
		if err != nil {
			return err
		}
		for i := range g.Trees {
			path := g.Trees[i].Path()
			if in[path] == 0 {
				in[path] = id
			} else if in[path] != id {
				in[path] = several
			}
		}
	}
	exclusive := map[int]int64{}
	for path, bytes := range m.own {
		exclusive[in[path]] += bytes
	}
	for _, f := range m.files {
		if f.links > f.names || len(f.trees) == 0 {
			continue
		}
		only := in[f.trees[0]]
		if !slices.ContainsFunc(f.trees, func(t string) bool { return in[t] != only }) {
			exclusive[only] += f.bytes
		}
	}
	for _, id := range ids {
		space.Generations = append(space.Generations, GenerationSpace{
			ID: id, Active: id == activeID, Records: m.records[layout.GenerationPath(id)], Exclusive: exclusive[id],
		})
	}
	return nil
}

// SortBySize puts what takes the most first.
func (s *Space) SortBySize() {
	slices.SortStableFunc(s.Packages, func(a, b PackageSpace) int { return cmp.Compare(b.Exclusive, a.Exclusive) })
	for i := range s.Packages {
		slices.SortStableFunc(s.Packages[i].Versions, func(a, b VersionSpace) int { return cmp.Compare(b.Exclusive, a.Exclusive) })
	}
	slices.SortStableFunc(s.Generations, func(a, b GenerationSpace) int { return cmp.Compare(b.Exclusive+b.Records, a.Exclusive+a.Records) })
}
