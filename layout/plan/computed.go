package plan

import (
	"bytes"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/layout/view"
	"github.com/hashpkg/hashpkg/pkginfo"
)

// ComputedNeed is what programs of a tree may need that only scripts compute.
type ComputedNeed struct {
	Files []string // absolute in the root; those that lacks reports, of the package itself before those of libraries
	Tools []string // packages that the scripts need and that are not there, sorted
}

// ComputedNeeds returns for each of some trees of a generation which files below /etc and
// /var/lib the programs of its package may need that the root lacks and no package has: those
// that its programs and libraries name, and scripts of its family as well, or the directory
// that they are in; and those that its own scripts name. manifest returns the manifest of a tree
// of the generation; lacks reports whether the root lacks a file that may be put there;
// answered reports whether the root has a package, or what it provides.
func ComputedNeeds(g *record.Generation, trees []*record.Tree, manifest func(*record.Tree) (*record.Manifest, error), lacks, answered func(string) bool) ([]ComputedNeed, error) {
	s := newFamilySet(g.Orders)
	s.addAll(g, manifest)
	needs := make([]ComputedNeed, len(trees))
	for i, t := range trees {
		if r := s.byPath[t.Path()]; r != nil {
			if files := s.computed(r, lacks); len(files) > 0 {
				needs[i] = ComputedNeed{files, Unanswered(s.manifests(s.family(r)), answered)}
			}
		}
	}
	return needs, s.fault
}

// computed returns the files that ComputedNeeds speaks of.
func (s *familySet) computed(r *relative, lacks func(string) bool) (files []string) {
	family := s.family(r)
	had := map[string]bool{}   // files of packages, and what they are in
	named := map[string]bool{} // by scripts
	for _, o := range family {
		m := s.manifest(o)
		for i := range m.Files {
			f := &m.Files[i]
			if !isComputable(f.Path) || f.Type == record.TypeDirectory {
				continue
			}
			for p := f.Path; p != "."; p = path.Dir(p) {
				had[p] = true
			}
		}
		for _, d := range m.WouldMake.Directories { // which are made otherwise
			had[strings.TrimPrefix(d.Path, "/")] = true
		}
		for _, p := range namedByScripts(m) {
			named[p] = true
		}
	}
	add := func(p string) {
		if !had[p] && lacks("/"+p) && !slices.Contains(files, "/"+p) {
			files = append(files, "/"+p)
		}
	}
	names := s.confNames(r)
	for p := range s.confLinks(r) {
		names[p] = true
	}
	for _, p := range slices.Sorted(maps.Keys(names)) {
		dir := path.Dir(p) // whose name says whose it is, as etc/ssl does not
		if isComputable(p) && (named[p] || named[dir] && strings.Count(dir, "/") > 1) {
			add(p)
		}
	}
	for _, o := range s.tied(r, s.closure(r)) {
		for _, p := range namedByScripts(s.manifest(o)) {
			add(p)
		}
	}
	return files
}

// isComputable reports whether a path is one where what scripts compute is put, and where no
// other programs look for it than those of the packages.
func isComputable(p string) bool {
	if strings.HasPrefix(p, "etc/") {
		return !isStarted(p)
	}
	return strings.HasPrefix(p, "var/lib/")
}

// scriptPaths finds paths in a script, and an operator of test(1) that may stand before one.
var scriptPaths = regexp.MustCompile(`(-[a-zA-Z] ?)?(?:^|[\s"'=<>])/((?:etc|var/lib)/[\w./+-]*\w)`)

// namedByScripts returns the paths that the script of a package names, and does not only test
// for.
func namedByScripts(m *record.Manifest) (paths []string) {
	if !m.Control.Configures() || view.IsLoaderFamily(m) {
		return nil
	}
	for _, found := range scriptPaths.FindAllSubmatch(m.Control.Text(), -1) {
		if p := path.Clean(string(found[2])); len(found[1]) == 0 && isComputable(p) {
			paths = append(paths, p)
		}
	}
	for _, relation := range m.Requires {
		for _, c := range relation.Alternatives {
			if p := catalogs[c.Name].path; p != "" { // by what they run
				paths = append(paths, p)
			}
		}
	}
	return paths
}

// scriptTools are the packages of programs that scripts, or dpkg, call without a relation, for
// each system of dpkg's has them. Each is known by one of its programs.
var scriptTools = []struct{ name, program string }{
	{"bsdutils", "/usr/bin/logger"},
	{"debianutils", "/usr/bin/run-parts"},
	{"diffutils", "/usr/bin/diff"},
	{"dpkg", "/usr/bin/dpkg"},
	{"hostname", "/usr/bin/hostname"},
	{"init-system-helpers", "/usr/bin/deb-systemd-helper"},
	{"mawk", "/usr/bin/awk"},
	{"perl-base", "/usr/bin/perl"},
	{"util-linux", "/usr/bin/getopt"},
}

// ScriptTools returns private trees of a generation that stand in for programs which scripts
// expect of every system, and a root lacks: those of a release before others, and defaults before
// others. missing are the packages that the generation lacks as well. fileSize is as in [Input].
func ScriptTools(g *record.Generation, release string, fileSize func(string) (int64, bool)) (trees []*record.Tree, missing []string) {
	rank := func(t *record.Tree) (n int) {
		if t.Release == release {
			n += 2
		}
		if t.Default {
			n++
		}
		return n
	}
	for _, tool := range scriptTools {
		if _, has := fileSize(tool.program); has {
			continue
		}
		var best *record.Tree
		for i := range g.Trees {
			t := &g.Trees[i]
			if t.Name == tool.name && t.Origin == record.OriginPrivate && (best == nil || rank(t) > rank(best)) {
				best = t
			}
		}
		if best == nil {
			missing = append(missing, tool.name)
		} else {
			trees = append(trees, best)
		}
	}
	return trees, missing
}

// packageName is the name of a package, which a shell reads as one word. What rpms need may be called
// otherwise, as files and "libc.so.6()(64bit)" are, and no package is installed by that.
var packageName = regexp.MustCompile(`^[A-Za-z0-9][\w.+-]*$`)

// Unanswered returns the packages that scripts of a family call by their names, and neither the
// family nor, as answered reports, the root has: the first of each relation's alternatives,
// sorted.
func Unanswered(family []*record.Manifest, answered func(string) bool) (names []string) {
	offered := map[string]bool{}
	for _, m := range family {
		offered[m.Name] = true
		for _, c := range m.Provides {
			offered[c.Name] = true
		}
	}
	for _, m := range family {
		if !m.Control.Configures() {
			continue
		}
		text := m.Control.Text()
		for _, relation := range m.Requires {
			isThere := func(c pkginfo.Constraint) bool { return offered[c.Name] || answered(c.Name) }
			if slices.ContainsFunc(relation.Alternatives, isThere) || len(relation.Alternatives) == 0 {
				continue
			}
			name := relation.Alternatives[0].Name
			if packageName.MatchString(name) && !slices.Contains(names, name) && bytes.Contains(text, []byte(name)) {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return names
}
