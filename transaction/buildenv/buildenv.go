// Package buildenv says what a build has to be told so that what comes out of it is bound to
// the libraries of installed packages: [Find] finds the packages that are used, and
// [Environment.Variables] says it as environment variables, for one build system or for all.
//
// It runs nothing and changes nothing. What a tree has for builds is made when it is installed: see
// docs/env.md.
package buildenv

import (
	"cmp"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"unicode"

	"github.com/hashpkg/hashpkg/elfedit"
	"github.com/hashpkg/hashpkg/internal/advice"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/plan"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/ldso"
	"github.com/hashpkg/hashpkg/pkginfo"
	"github.com/hashpkg/hashpkg/sysroot"
	"github.com/hashpkg/hashpkg/transaction/query"
)

// Environment is what a build is told. Paths are absolute in the root.
type Environment struct {
	Packages  []Package `json:"packages"`  // those that were named, then those that they need
	Libraries []Library `json:"libraries"` // sorted by soname
	// Runtime are members of the C library, by soname, that libraries of private packages need. The
	// program has to load them itself: else the libraries find those of their own C library first,
	// which work with that only.
	Runtime []string `json:"runtime"`
	Notes   []string `json:"notes"` // what may not work

	prefixes, includes, libraries, pkgConfig []string
}

// Package is a package whose files are built with.
type Package struct {
	Name         string `json:"name"`
	Version      string `json:"version"`
	Architecture string `json:"architecture"`
	Dir          string `json:"dir"`   // what stands for /usr
	Named        bool   `json:"named"` // is not only needed by another one
}

// Library is a library that programs are linked with.
type Library struct {
	Soname string `json:"soname"`
	Path   string `json:"path"` // the file that programs will load
}

// ErrNothing is wrapped by the error about a package with which nothing can be built.
var ErrNothing = errors.New("nothing is built with it")

// ErrTooNew is wrapped by the error about a library that the C library of the root is too old for.
var ErrTooNew = errors.New("it needs a newer C library than the machine has")

// finder finds what an environment is made of.
type finder struct {
	root   *sysroot.Root
	active *record.Generation
	env    *Environment

	manifests map[string]*record.Manifest // by the path of the tree
	system    map[string]*elfedit.Info    // the root's own libraries, by soname; nil for none
}

// Find returns the environment of installed packages and of those that they need for
// building: the errors wrap [query.ErrNotInstalled], [ErrNothing] or [ErrTooNew].
func Find(root *sysroot.Root, named []query.Spec) (*Environment, error) {
	g, err := root.Active()
	if err != nil {
		return nil, err
	}
	f := &finder{
		root: root, active: g, manifests: map[string]*record.Manifest{}, system: map[string]*elfedit.Info{},
		env: &Environment{Packages: []Package{}, Libraries: []Library{}, Runtime: []string{}, Notes: []string{}},
	}
	if strings.ContainsAny(root.Prefix(), " \t'\"\\`") {
		return nil, fmt.Errorf("tell builds of %s: compilers take no path with a blank or a quotation mark", root.Prefix())
	}
	trees, err := f.named(named)
	if err != nil {
		return nil, err
	}
	asked := len(trees)
	if trees, err = f.needed(trees); err != nil {
		return nil, err
	}
	for i, t := range trees {
		m, err := f.manifest(t.Path())
		if err != nil {
			return nil, err
		}
		if err := f.unlinked(m); err != nil {
			if i < asked {
				return nil, err
			}
			f.env.Notes = append(f.env.Notes, "left out: "+err.Error())
			continue
		}
		f.add(m, i < asked)
		if err := f.check(m); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(f.env.Libraries, func(a, b Library) int { return strings.Compare(a.Soname, b.Soname) })
	slices.Sort(f.env.Runtime)
	return f.env, nil
}

func (f *finder) manifest(tree string) (*record.Manifest, error) {
	if m := f.manifests[tree]; m != nil {
		return m, nil
	}
	m, err := f.root.Store().Manifest(layout.SplitTreePath(tree))
	if err == nil {
		f.manifests[tree] = m
	}
	return m, err
}

// named returns the trees that somebody names.
func (f *finder) named(specs []query.Spec) (trees []*record.Tree, err error) {
	for at, s := range specs {
		t, err := query.Best(f.active, s)
		if errors.Is(err, query.ErrNotInstalled) && len(f.active.Find(s.Name, "")) == 0 {
			return nil, advice.Errorf("%w: %s; hashpkg install %[2]s brings it, with --from RELEASE from another release", query.ErrNotInstalled, s)
		}
		if err != nil {
			return nil, err
		}
		if slices.Contains(specs[:at], s) {
			continue
		}
		if i := slices.IndexFunc(trees, func(o *record.Tree) bool { return o.Name == t.Name }); i >= 0 {
			return nil, fmt.Errorf("build with %s and %s: a program is linked with one version of a library", trees[i].Spec(), t.Spec())
		}
		if t, err = f.linked(s, t); err != nil {
			return nil, err
		}
		if !t.Dev {
			return nil, f.nothing(t)
		}
		trees = append(trees, t)
	}
	return trees, nil
}

// linked returns a tree that somebody means, or another one of that version whose libraries are
// private: it may have been installed again for these.
func (f *finder) linked(s query.Spec, t *record.Tree) (*record.Tree, error) {
	all, err := query.All(f.active, s)
	if err != nil {
		return nil, err
	}
	for _, o := range append([]*record.Tree{t}, all...) {
		if !o.Dev || o.Version != t.Version {
			continue
		}
		m, err := f.manifest(o.Path())
		if err != nil {
			return nil, err
		}
		if len(plan.Unlinked(m)) == 0 {
			return o, nil
		}
	}
	return t, nil
}

// nothing says why nothing is built with a tree, and with what instead.
func (f *finder) nothing(t *record.Tree) error {
	if t.Origin != record.OriginPrivate {
		return advice.Errorf("build with %s: %w: it is the system's own, which compilers find; name a package that hashpkg has installed", t.Spec(), ErrNothing)
	}
	m, err := f.manifest(t.Path())
	if err != nil {
		return err
	}
	if plan.IsDevelopment(m) {
		return advice.Errorf("build with %s: %w: an earlier hashpkg has installed it; run hashpkg rebind %s", t.Spec(), ErrNothing, t.Name)
	}
	for i := range f.active.Trees {
		o := &f.active.Trees[i]
		if !o.Dev {
			continue
		}
		m, err := f.manifest(o.Path())
		if err != nil {
			return err
		}
		leads := func(file record.File) bool { return strings.HasPrefix(file.Stub, f.root.Prefix()+"/"+t.Path()+"/") }
		if slices.ContainsFunc(m.Files, leads) {
			return advice.Errorf("build with %s: %w: it has no headers; name %s", t.Spec(), ErrNothing, o.Spec())
		}
	}
	for i := range m.Files {
		if e := m.Files[i].ELF; e != nil && e.Soname != "" {
			return advice.Errorf("build with %s: %w: it has no headers; install the package that has these, %s-dev or the like", t.Spec(), ErrNothing, t.Name)
		}
	}
	return fmt.Errorf("build with %s: %w: it has no headers and no libraries to link with, or they belong to a compiler, and the machine's has its own", t.Spec(), ErrNothing)
}

// needed adds the trees that others need for building, each after what needs it.
func (f *finder) needed(trees []*record.Tree) ([]*record.Tree, error) {
	all := slices.Clone(trees)
	seen := map[string]bool{}
	var bare []string
	for at := 0; at < len(all); at++ { // which grows on the way
		m, err := f.manifest(all[at].Path())
		if err != nil {
			return nil, err
		}
		seen[all[at].Name] = true
		for _, r := range m.Requires {
			t := f.satisfying(r, all[at], all)
			if t == nil {
				if err := f.noteBare(r, all[at], &bare); err != nil {
					return nil, err
				}
			} else if !seen[t.Name] {
				seen[t.Name] = true
				all = append(all, t)
			}
		}
	}
	if len(bare) > 0 {
		return nil, advice.Errorf("build with %s: %w with %s, which it needs: an earlier hashpkg has installed that; run hashpkg rebind %s", trees[0].Spec(), ErrNothing, strings.Join(bare, ", "), strings.Join(bare, " "))
	}
	return all, nil
}

// noteBare adds the name of a package that satisfies a relation and has headers, but no dev yet, and
// those that it needs.
func (f *finder) noteBare(r pkginfo.Relation, of *record.Tree, names *[]string) error {
	for i := range f.active.Trees {
		t := &f.active.Trees[i]
		if t.Dev || t.Origin != record.OriginPrivate || t.Architecture != of.Architecture || slices.Contains(*names, t.Name) ||
			!slices.ContainsFunc(r.Alternatives, func(want pkginfo.Constraint) bool { return f.offers(t, want) }) {
			continue
		}
		m, err := f.manifest(t.Path())
		if err != nil {
			return err
		}
		if !plan.IsDevelopment(m) {
			continue
		}
		*names = append(*names, t.Name)
		for _, r := range m.Requires {
			if f.satisfying(r, t, nil) == nil {
				if err := f.noteBare(r, t, names); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// satisfying returns the tree to build with that satisfies a relation: one that is used already,
// then one of the release, then the default, then the highest version; nil for none.
func (f *finder) satisfying(r pkginfo.Relation, of *record.Tree, used []*record.Tree) *record.Tree {
	for _, want := range r.Alternatives {
		var best *record.Tree
		better := func(a, b *record.Tree) bool {
			order := []func(*record.Tree) bool{
				func(t *record.Tree) bool { return slices.Contains(used, t) },
				func(t *record.Tree) bool { return t.Release != "" && t.Shares(&of.Named) },
				func(t *record.Tree) bool { return t.Default },
			}
			for _, is := range order {
				if is(a) != is(b) {
					return is(a)
				}
			}
			return true // trees are in the order of their versions
		}
		for i := range f.active.Trees {
			t := &f.active.Trees[i]
			if t.Dev && t.Architecture == of.Architecture && f.offers(t, want) && (best == nil || better(t, best)) {
				best = t
			}
		}
		if best != nil {
			return best
		}
	}
	return nil
}

// offers reports whether a tree satisfies a constraint, by its own name or by one that it provides.
func (f *finder) offers(t *record.Tree, want pkginfo.Constraint) bool {
	orders := f.root.Formats().Orders()
	return t.Name == want.Name && orders.Satisfies(t.Format, t.Version, want) || slices.ContainsFunc(t.Provides, func(c pkginfo.Capability) bool {
		return c.Name == want.Name && orders.Satisfies(t.Format, c.Version, want)
	})
}

// unlinked returns an error if a linker would take a package's libraries from elsewhere, or link
// what is static in their place: they are those of the root's own package.
func (f *finder) unlinked(m *record.Manifest) error {
	names := plan.Unlinked(m)
	if len(names) == 0 {
		return nil
	}
	var lacking []string
	for _, r := range m.Requires {
		for _, want := range r.Alternatives {
			has := func(t record.Tree) bool { return t.Origin == record.OriginPrivate && f.offers(&t, want) }
			if want.Operator == "=" && !slices.ContainsFunc(f.active.Trees, has) {
				lacking = append(lacking, want.Name+"="+want.Version)
			}
		}
	}
	if len(lacking) == 0 {
		return fmt.Errorf("build with %s: %w: no package that hashpkg has installed has its %s", m.Spec(), ErrNothing, strings.Join(names, ", "))
	}
	return advice.Errorf("build with %s: %w: %s would be the system's own; run hashpkg install %s, and then hashpkg rebind %s", m.Spec(), ErrNothing, strings.Join(names, ", "), strings.Join(lacking, " "), m.Name)
}

// add adds a tree to the environment.
func (f *finder) add(m *record.Manifest, named bool) {
	dir := f.root.Prefix() + "/" + layout.DevPath(m.Name, m.Tree)
	f.env.Packages = append(f.env.Packages, Package{m.Name, m.Version, m.Architecture, dir, named})
	f.env.prefixes = append(f.env.prefixes, dir)
	note := func(list *[]string, below string) {
		if p := dir + strings.TrimPrefix(below, layout.DevDir); !slices.Contains(*list, p) {
			*list = append(*list, p)
		}
	}
	files := []string{}
	for i := range m.Files {
		if file := &m.Files[i]; file.IsDev() {
			files = append(files, file.Path)
			if file.Stub != "" {
				f.env.Libraries = append(f.env.Libraries, Library{path.Base(file.Path), file.Stub})
			}
			if file.Stub != "" && file.Type == record.TypeSymlink {
				f.env.Notes = append(f.env.Notes, fmt.Sprintf("%s of %s cannot be bound by its path: programs find what the machine has by that name", path.Base(file.Path), m.Spec()))
			}
		}
	}
	for _, l := range m.Links {
		files = append(files, l.Path)
	}
	slices.Sort(files)
	_, hasMain := slices.BinarySearch(files, layout.DevDir+"/"+layout.DevLibraries) // leads to another directory
	for _, p := range files {
		in, base := path.Dir(p), path.Base(p)
		switch {
		case strings.HasPrefix(p, layout.DevDir+"/include/"):
			note(&f.env.includes, layout.DevDir+"/include")
		case !strings.HasPrefix(p, layout.DevDir+"/"):
		case !canTell(in):
		case strings.HasSuffix(base, ".pc"):
			if top, below := path.Split(in); below == "pkgconfig" && (plan.IsDevLibraries(path.Clean(top)) || top == layout.DevDir+"/share/") {
				note(&f.env.pkgConfig, in)
			}
		case !plan.IsDevLibraries(in):
		case strings.HasSuffix(base, ".a"), strings.HasSuffix(base, ".so"), strings.Contains(base, ".so."):
			if hasMain && strings.Count(in, "/") == 2 {
				in = layout.DevDir + "/" + layout.DevLibraries
			}
			note(&f.env.libraries, in)
		}
	}
}

// canTell reports whether a directory can be told in a list with colons or blanks.
func canTell(dir string) bool {
	return !strings.ContainsFunc(dir, func(r rune) bool {
		return unicode.IsSpace(r) || unicode.IsControl(r) || strings.ContainsRune(":'\"\\`$", r)
	})
}

// libraryOf returns the file of a tree at an absolute path of the root; nil for one of the
// root's own.
func (f *finder) libraryOf(name string) (*record.File, error) {
	parts := strings.SplitN(strings.TrimPrefix(name, f.root.Prefix()+"/"), "/", 3)
	if !strings.HasPrefix(name, f.root.Prefix()+"/") || len(parts) < 3 {
		return nil, nil
	}
	m, err := f.manifest(layout.TreePath(parts[0], parts[1]))
	if err != nil {
		return nil, err
	}
	return m.Resolve(parts[2]), nil
}

// check asks of each library that a tree's stubs are for, and of what these load, whether it
// works with the root's C library, which programs are built with.
func (f *finder) check(m *record.Manifest) error {
	seen := map[string]bool{}
	var next []string
	for i := range m.Files {
		if s := m.Files[i].Stub; s != "" {
			next = append(next, s)
		}
	}
	for len(next) > 0 {
		name := next[0]
		if next = next[1:]; seen[name] {
			continue
		}
		seen[name] = true
		file, err := f.libraryOf(name)
		if err != nil {
			return err
		}
		if file == nil || file.ELF == nil || layout.IsGlibcLibrary(file.ELF.Soname) {
			continue
		}
		if err := f.checkLibrary(m, name, file); err != nil {
			return err
		}
		for _, n := range file.Needs {
			if n.Provider == "" {
				continue
			}
			if base := path.Base(n.Soname); layout.IsGlibcLibrary(base) && base != layout.LibcName(file.ELF) && !strings.HasPrefix(base, "ld") && !slices.Contains(f.env.Runtime, base) {
				f.env.Runtime = append(f.env.Runtime, base)
			}
			next = append(next, n.Path)
		}
	}
	return nil
}

// checkLibrary asks of one library.
func (f *finder) checkLibrary(m *record.Manifest, name string, file *record.File) error {
	for _, need := range file.ELF.VersionNeeds {
		isC := layout.IsGlibcLibrary(need.File)
		if !isC && need.File != "libstdc++.so.6" && need.File != "libgcc_s.so.1" {
			continue
		}
		is, err := f.ofSystem(need.File, file.ELF)
		if err != nil {
			return err
		}
		if is == nil {
			continue
		}
		for _, v := range need.Versions {
			if v.Weak || strings.HasSuffix(v.Name, "_PRIVATE") || slices.ContainsFunc(is.VersionDefs, func(d elfedit.VersionDef) bool { return d.Name == v.Name }) {
				continue
			}
			if isC {
				return advice.Errorf("build with %s: %s: %w: %s of %s; name a version from a release that is not newer than the machine", m.Spec(), name, ErrTooNew, v.Name, need.File)
			}
			if note := fmt.Sprintf("%s needs %s of %s, which is newer than the machine's: a program in C++ that is linked with it does not start", name, v.Name, need.File); !slices.Contains(f.env.Notes, note) {
				f.env.Notes = append(f.env.Notes, note)
			}
			break
		}
	}
	return nil
}

// ofSystem returns the root's own library of a name; nil for none.
func (f *finder) ofSystem(soname string, abi *elfedit.Info) (*elfedit.Info, error) {
	if is, known := f.system[soname]; known {
		return is, nil
	}
	system, err := f.root.System(abi)
	if err != nil {
		return nil, err
	}
	plain := *abi
	plain.RunPath, plain.HasRunPath, plain.RPath, plain.HasRPath = "", false, "", false
	o, err := system.Find(soname, []*ldso.Object{{Path: "/", ID: "/", Info: &plain}})
	if err != nil && !errors.Is(err, ldso.ErrNotFound) {
		return nil, err
	}
	f.system[soname] = nil
	if err == nil {
		f.system[soname] = o.Info
	}
	return f.system[soname], nil
}

// Tool is a build system or compiler.
type Tool string

// The tools. Any stands for what serves all of them and changes no default.
const (
	Any       Tool = ""
	GCC       Tool = "gcc"
	CMake     Tool = "cmake"
	Meson     Tool = "meson"
	Autotools Tool = "autotools"
	Cargo     Tool = "cargo"
	Go        Tool = "go"
)

// Tools returns the names of all tools.
func Tools() []string {
	return []string{string(Autotools), string(Cargo), string(CMake), string(GCC), string(Go), string(Meson)}
}

// Variable is an environment variable.
type Variable struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Variables returns what to set for a tool, sorted by name. What has says that a variable is stays
// in force behind it; asked twice, the value is the same.
//
// Headers and libraries always come together. So there are no CPATH and LIBRARY_PATH: gcc looks in
// the directories of the latter after the system's, and would take headers of one version and the
// library of another.
func (e *Environment) Variables(tool Tool, has func(name string) string) []Variable {
	include, link := each("-I", e.includes), each("-L", e.libraries)
	if len(e.Runtime) > 0 {
		link = append(link, "-Wl,--push-state,--no-as-needed,-l:"+strings.Join(e.Runtime, ",-l:")+",--pop-state")
	}
	rust := each("-Lnative=", e.libraries)
	if len(e.Runtime) > 0 {
		rust = append(rust, "-Clink-arg="+link[len(link)-1])
	}
	all := []struct {
		tools []Tool
		name  string
		paths bool
		list  []string
		start string // the tool's own default, which a value replaces
	}{
		{[]Tool{Any, GCC, CMake, Meson, Autotools, Cargo, Go}, "PKG_CONFIG_PATH", true, e.pkgConfig, ""},
		{[]Tool{Any, CMake, Meson}, "CMAKE_PREFIX_PATH", true, e.prefixes, ""},
		{[]Tool{Any, GCC, Meson, Autotools}, "CPPFLAGS", false, include, ""},    // Autoconf, "Preset Output Variables"
		{[]Tool{Any, GCC, CMake, Meson, Autotools}, "LDFLAGS", false, link, ""}, // the same
		{[]Tool{Any, Go}, "CGO_CPPFLAGS", false, include, ""},                   // go help environment
		{[]Tool{Any, Go}, "CGO_LDFLAGS", false, link, "-O2 -g"},                 // the same
		{[]Tool{Cargo}, "RUSTFLAGS", false, rust, ""},                           // Cargo, "Environment Variables"
	}
	var out []Variable
	for _, v := range all {
		if !slices.Contains(v.tools, tool) || len(v.list) == 0 {
			continue
		}
		value := ""
		if v.paths {
			value = joinPaths(v.list, has(v.name))
		} else {
			value = joinFlags(v.list, cmp.Or(has(v.name), v.start))
		}
		out = append(out, Variable{v.name, value})
	}
	slices.SortFunc(out, func(a, b Variable) int { return strings.Compare(a.Name, b.Name) })
	return out
}

func each(flag string, dirs []string) []string {
	out := make([]string, len(dirs))
	for i, d := range dirs {
		out[i] = flag + d
	}
	return out
}

// joinPaths puts directories before those of a list with colons.
func joinPaths(dirs []string, before string) string {
	out := slices.Clone(dirs)
	for d := range strings.SplitSeq(before, ":") {
		if d != "" && !slices.Contains(dirs, d) { // an empty one is the working directory, which nobody means
			out = append(out, d)
		}
	}
	return strings.Join(out, ":")
}

// joinFlags puts flags before those of a list with blanks.
func joinFlags(flags []string, before string) string {
	ours := strings.Join(flags, " ")
	if rest, ok := strings.CutPrefix(before, ours); ok && (rest == "" || rest[0] == ' ') {
		return before
	}
	return strings.TrimSpace(ours + " " + before)
}
