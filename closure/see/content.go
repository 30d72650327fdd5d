package see

import (
	"path"
	"slices"
	"strings"

	"github.com/hashpkg/hashpkg/closure"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/plan"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/pkginfo"
)

// content is what a package has that others could mean.
type content struct {
	spec, name string
	provides   []pkginfo.Capability
	files      []file
	sonames    []string
	isLibC     bool
	why        string // it was taken, if not for its name
}

// file is one of a package's files, or of the links that its scripts would make.
type file struct {
	path        string
	isDirectory bool
	isCode      bool // something that is loaded or run
}

// contentOf returns what a manifest claims of a package.
func contentOf(p *closure.Package) content {
	c := content{spec: p.Spec(), name: p.Name, provides: p.Provides, files: links(p.Alternatives)}
	for i := range p.Files {
		f := &p.Files[i]
		c.files = append(c.files, file{f.Path, f.Type == record.TypeDirectory, f.Type == record.TypeFile && f.Kind != closure.Data})
		c.addSoname(f.Soname)
	}
	return c
}

// contentOfTree returns what a planned tree has of its package.
func contentOfTree(m *record.Manifest) content {
	d := plan.DraftOf(m)
	c := content{spec: d.Spec(), name: d.Name, provides: d.Provides, files: links(d.Alternatives)}
	for i := range d.Files {
		f := &d.Files[i]
		c.files = append(c.files, file{f.Path, f.Type == record.TypeDirectory, f.ELF != nil})
		if f.ELF != nil {
			c.addSoname(f.ELF.Soname)
			c.isLibC = c.isLibC || f.ELF.IsMuslLibC()
		}
	}
	return c
}

func (c *content) addSoname(soname string) {
	if soname != "" {
		c.sonames = append(c.sonames, soname)
	}
}

// links returns the links of alternatives.
func links(alternatives []pkginfo.Alternative) (files []file) {
	add := func(link string) {
		files = append(files, file{path: layout.MergeUsr(strings.TrimPrefix(path.Clean(link), "/"))})
	}
	for _, a := range alternatives {
		add(a.Link)
		for _, s := range a.Slaves {
			add(s.Link)
		}
	}
	return files
}

// has reports whether a package has the name of an entry.
func (c *content) has(s *closure.See) bool {
	if s.IsSoname() {
		return slices.Contains(c.sonames, s.Name)
	}
	return c.name == s.Name
}

// isNeeded reports whether a tree loads, requires or recommends something of the package.
func (c *content) isNeeded(m *record.Manifest) bool {
	for i := range m.Files {
		if f := &m.Files[i]; f.ELF != nil && slices.ContainsFunc(f.ELF.Needed, func(n string) bool { return slices.Contains(c.sonames, n) }) {
			return true
		}
	}
	for _, r := range slices.Concat(m.Requires, m.Recommends) {
		e, _ := r.Expression()
		for want := range e.Wanted() {
			if want.Name == c.name || slices.ContainsFunc(c.provides, func(p pkginfo.Capability) bool { return p.Name == want.Name }) {
				return true
			}
		}
	}
	return false
}

// words returns the names by which files are found wherever they stand: sonames, and the base names of libraries
// and of commands.
func (c *content) words() []string {
	words := slices.Clone(c.sonames)
	for _, f := range c.files {
		dir := path.Base(path.Dir(f.path))
		base := path.Base(f.path)
		isLibrary := strings.HasSuffix(base, ".so") || strings.Contains(base, ".so.")
		if !f.isDirectory && (f.isCode || isLibrary || dir == "bin" || dir == "sbin" || dir == "games") {
			words = append(words, base)
		}
	}
	return words
}

// taken says of names whose they are, by the specs of packages.
type taken struct {
	packages, words, paths, directories map[string]string
}

func newTaken() *taken {
	return &taken{map[string]string{}, map[string]string{}, map[string]string{}, map[string]string{}}
}

func (t *taken) add(c *content) {
	t.packages[c.name] = c.spec
	for _, w := range c.words() {
		t.words[w] = c.spec
	}
	for _, f := range c.files {
		if !f.isDirectory {
			t.paths[f.path] = c.spec
		}
		for dir := range directories(&f) {
			t.directories[dir] = c.spec
		}
	}
}

// directories calls yield with those that a file is or stands in.
func directories(f *file) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		dir := f.path
		if !f.isDirectory {
			dir = path.Dir(dir)
		}
		for ; dir != "." && dir != "/"; dir = path.Dir(dir) {
			if !yield(dir) {
				return
			}
		}
	}
}

// check returns what of a package is somebody's already, and whose; "" for nothing.
func (t *taken) check(c *content) (what, whose string) {
	if whose := t.packages[c.name]; whose != "" {
		return "the name " + c.name, whose
	}
	for _, p := range c.provides {
		if whose := t.packages[p.Name]; whose != "" {
			return "the name " + p.Name + " among what it provides", whose
		}
	}
	for _, w := range c.words() {
		if whose := t.words[w]; whose != "" {
			return w, whose
		}
	}
	for _, f := range c.files {
		if whose := t.paths[f.path]; whose != "" {
			return f.path, whose
		}
		if whose := t.directories[f.path]; whose != "" && !f.isDirectory {
			return f.path, whose
		}
		for dir := range directories(&f) {
			if whose := t.paths[dir]; whose != "" {
				return f.path, whose
			}
		}
	}
	return "", ""
}

// checkNames returns an error for what is picked and has a name that is somebody else's, or is of a C library.
func checkNames(own []content, order []record.Picker, picked map[record.Picker][]content) error {
	names := newTaken()
	for i := range own {
		names.add(&own[i])
	}
	for _, by := range order {
		for i := range picked[by] {
			c := &picked[by][i]
			why := ""
			if c.why != "" {
				why = "; " + c.why
			}
			word := slices.IndexFunc(c.words(), layout.IsCLibrary)
			switch {
			case word >= 0:
				return refuse(by, "%s has %s, and the C library is not left to others%s", c.spec, c.words()[word], why)
			case c.isLibC:
				return refuse(by, "%s has a C library, which is not left to others%s", c.spec, why)
			}
			if what, whose := names.check(c); what != "" {
				return refuse(by, "%s has %s, which is of %s%s", c.spec, what, whose, why)
			}
		}
		for i := range picked[by] { // which may have names in common, as they have there
			names.add(&picked[by][i])
		}
	}
	return nil
}
