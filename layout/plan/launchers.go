package plan

import (
	"cmp"
	"fmt"
	"path"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/launcher"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/record"
)

// launcherArchitectures are those that a launcher can be made for, by their triplets.
var launcherArchitectures = map[string]string{"x86_64-linux-gnu": "amd64", "aarch64-linux-gnu": "arm64"}

// RunsHere reports whether this machine runs programs of a root of this architecture, which
// has launchers.
func RunsHere(architecture string) bool { return launcherArchitectures[architecture] == runtime.GOARCH }

// launch is a program that needs a view.
type launch struct {
	name string // of the interface: "bin/vim"
	file string // path in the payload: "usr/bin/vim"
	why  string
}

// launched returns the program's launcher, if it has one, by its path in the payload.
func (c *candidate) launched(file string) *launch {
	for i := range c.launchers {
		if c.launchers[i].file == file {
			return &c.launchers[i]
		}
	}
	return nil
}

// withLaunchers returns the links of an interface, without those in whose place
// launchers stand, and with the other names of a launched program leading to its launcher.
func (c *candidate) withLaunchers(links []record.Link) []record.Link {
	var out []record.Link
	for _, l := range links {
		if slices.ContainsFunc(c.launchers, func(o launch) bool { return o.name == l.Path }) {
			continue
		}
		if o := c.launched(l.File()); o != nil {
			l.Target = strings.Repeat("../", strings.Count(l.Path, "/")) + o.name
		}
		out = append(out, l)
	}
	return out
}

// addLaunchers adds the launchers to the files of a package whose tree has its name.
func (p *planner) addLaunchers(c *candidate) ([]Launcher, error) {
	launchers := []Launcher{}
	var files []record.File
	for _, o := range c.launchers {
		l := Launcher{Path: o.name, Program: "/" + o.file, Why: o.why}
		files = append(files, record.File{Path: o.name, Launches: l.Program, Why: o.why})
		launchers = append(launchers, l)
	}
	for _, l := range c.linkers {
		files = append(files, record.File{Path: linkDir + "/" + l, Linker: l})
	}
	for i := range files {
		f := &files[i]
		b, err := LauncherBytes(p.place(), c.m, f)
		if err != nil {
			return nil, err
		}
		f.Type, f.Mode, f.Object, f.Size = record.TypeFile, 0o755, digest.Of(b), int64(len(b))
		f.Source = f.Object
		for _, m := range p.occupied[c] { // in all of which it is the same
			if was := m.Lookup(f.Path); was != nil && was.Launches != "" && was.Launch() != record.LaunchAuto {
				_ = SetLaunch(c.m, f, was.Launch()) // or it cannot be so any more
				break
			}
		}
	}
	c.addFiles(files)
	return launchers, nil
}

// addFiles adds files to those of a package. What pointed to one of these does not any more.
func (c *candidate) addFiles(files []record.File) {
	if len(files) > 0 {
		c.m.Files = slices.SortedFunc(slices.Values(append(slices.Clone(c.m.Files), files...)), func(a, b record.File) int { return cmp.Compare(a.Path, b.Path) })
		c.m.Index()
	}
}

// CapabilityAttribute is the extended attribute of a file's capabilities: xattr(7).
const CapabilityAttribute = "security.capability"

// capability is cap_sys_admin+ep (linux/capability.h, struct vfs_cap_data of revision 2).
var capability = []byte{0: 1, 3: 2, 6: 1 << (21 - 16), 19: 0}

// SetLaunch sets how the program of a launcher's file, of a manifest, is launched.
func SetLaunch(m *record.Manifest, f *record.File, how record.Launch) error {
	program := m.Resolve(f.Launches)
	if how == record.LaunchNone && program == nil {
		return fmt.Errorf("%s of %s leads to another package's program: name that one", f.Launches, m.Spec())
	}
	*f = record.File{Path: f.Path, Type: record.TypeFile, Mode: 0o755, Object: f.Object, Size: f.Size, Source: f.Source, Launches: f.Launches, Why: f.Why}
	switch how {
	case record.LaunchNone:
		*f = record.File{Path: f.Path, Type: record.TypeSymlink, Mode: 0o777, Target: strings.Repeat("../", strings.Count(f.Path, "/")) + program.Path, Launches: f.Launches, Why: f.Why}
	case record.LaunchCapable:
		f.Xattrs = map[string][]byte{CapabilityAttribute: capability}
	}
	return nil
}

// Place is where launchers are made for: a prefix, absolute in its root, the same without
// links on the way, and the root's architecture, as a triplet.
type Place struct{ Prefix, RealPrefix, Architecture string }

func (p *planner) place() Place {
	return Place{p.in.Prefix, cmp.Or(p.in.RealPrefix, p.in.Prefix), p.own()}
}

// canLaunch reports whether a launcher can run a program of the payload: not for every
// architecture, nor by paths of any length or with any byte.
func canLaunch(p Place, file string) bool {
	name := strings.Repeat("x", 200) // see [layout.CheckName]
	_, err := LauncherBytes(p, &record.Manifest{Name: name, Tree: name}, &record.File{Launches: "/" + file})
	return err == nil
}

// linkDir is the directory of a tree with what runs its linkers in views.
const linkDir = "link"

// MadeBytes returns the bytes of a file of a tree that hashpkg makes: see [record.File.IsMade].
// read reads the file that it is made from, if there is one.
func MadeBytes(p Place, m *record.Manifest, f *record.File, read TreeFile) ([]byte, error) {
	switch {
	case f.Closure != nil:
		return f.Closure.Bytes()
	case f.IsDev():
		return devBytes(p, m, f, read)
	}
	return LauncherBytes(p, m, f)
}

// LauncherBytes returns the bytes of a launcher of a tree, or of what runs a linker.
func LauncherBytes(p Place, m *record.Manifest, f *record.File) ([]byte, error) {
	return p.Launcher(p.Config(m, f))
}

// Launcher returns the bytes of a launcher for the place's architecture.
func (p Place) Launcher(c launcher.Config) ([]byte, error) {
	return launcher.New(launcherArchitectures[p.Architecture], c)
}

// Config returns what a launcher of a tree knows.
func (p Place) Config(m *record.Manifest, f *record.File) launcher.Config {
	tree := p.Prefix + "/" + layout.TreePath(m.Name, m.Tree)
	c := launcher.Config{Host: p.RealPrefix + "/" + layout.HostDir, Prefix: p.RealPrefix}
	if f.Linker != "" {
		c.View, c.Program, c.Fallback, c.Linker = c.Host+"/view", "/"+f.Linker, tree+"/"+f.Linker, true
	} else {
		c.View = p.Prefix + "/" + layout.CurrentSystem + "/" + layout.ViewLinks + "/" + layout.TreePath(m.Name, m.Tree)
		c.Program, c.Fallback, c.Tree = f.Launches, c.View+f.Launches, tree+f.Launches
		c.KeepName = pythons().MatchString(path.Base(f.Launches))
	}
	return c
}

// pythons are the names of Python, which links a virtual environment to the path that it
// was started by: that is to be the launcher's, for the root may have no other Python.
var pythons = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^(python|pypy)[0-9.]*$`) })

// planViews decides which views the planned generation has.
func (p *planner) planViews(plan *Plan) {
	if plan.Generation == nil {
		return
	}
	ours := map[string]*record.Manifest{}
	for _, t := range plan.Trees {
		ours[layout.TreePath(t.Name, t.Tree)] = t.Manifest
	}
	read := map[string]*record.Manifest{}
	for t, c := range p.installed {
		read[t.Path()] = c.m
	}
	needs := func(t *record.Tree) bool {
		if m := ours[t.Path()]; m != nil {
			return HasLaunchers(m)
		}
		return t.View != ""
	}
	manifest := func(t *record.Tree) (*record.Manifest, error) {
		if m := ours[t.Path()]; m != nil {
			return m, nil
		}
		if m := read[t.Path()]; m != nil {
			return m, nil
		}
		m, err := p.in.Installed(t)
		read[t.Path()] = m
		return m, err
	}
	var unread error
	plan.Views, unread = Views(plan.Generation, needs, manifest, p.fileSize)
	if unread != nil {
		plan.Warnings = append(plan.Warnings, fmt.Sprintf("programs that see a view go on seeing the one that they have: %v; run hashpkg verify --repair", unread))
		return
	}
	p.warnModules(plan, ours, manifest)
}

// warnModules warns of programs that were installed without a view, and look for modules
// where packages of the command have some.
func (p *planner) warnModules(plan *Plan, ours map[string]*record.Manifest, manifest func(*record.Tree) (*record.Manifest, error)) {
	s := newFamilySet(p.in.Orders)
	s.addAll(plan.Generation, manifest)
	s.inDir = map[string][]*relative{} // of the command only
	for _, r := range s.all {
		if ours[r.tree.Path()] != nil {
			s.noteDirs(r)
		}
	}
	if len(s.inDir) == 0 {
		return
	}
	looking := map[*relative]*relative{} // who looks in a directory of whose
	for _, r := range s.all {
		for _, dir := range s.looksIn(r) {
			if found := s.modules(r, dir); len(found) > 0 {
				looking[r] = found[0]
				break
			}
		}
	}
	if len(looking) == 0 {
		return
	}
	for _, r := range s.all {
		if r.tree.View != "" || ours[r.tree.Path()] != nil || len(commandPaths(s.manifest(r))) == 0 {
			continue
		}
		for _, core := range s.core(r) {
			if o := looking[core]; o != nil {
				plan.Warnings = append(plan.Warnings, fmt.Sprintf("the programs of %s look for files where %s has some, and do not see them: install %s again", r.tree.Spec(), o.tree.Spec(), r.tree.Name))
				break
			}
		}
	}
}

// fileSize is that of the input; where that is nil, the root has whatever it is asked for.
func (p *planner) fileSize(name string) (int64, bool) {
	if p.in.FileSize == nil {
		return 0, true
	}
	return p.in.FileSize(name)
}

// HasLaunchers reports whether a tree has programs that need a view.
func HasLaunchers(m *record.Manifest) bool {
	return slices.ContainsFunc(m.Files, func(f record.File) bool { return f.Launches != "" })
}
