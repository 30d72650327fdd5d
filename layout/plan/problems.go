package plan

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/ldso"
	"github.com/hashpkg/hashpkg/pkginfo"
)

// Problem is one thing that would keep a program from starting or a package from
// being installed.
type Problem struct {
	Package string `json:"package"` // "NAME=VERSION"
	File    string `json:"file,omitempty"`
	Soname  string `json:"soname,omitempty"`
	Version string `json:"version,omitempty"` // symbol version
	Message string `json:"message"`           // whole, with what to do
}

// ProblemsError is the error of a plan that has problems.
type ProblemsError struct {
	Problems []Problem
	Rebind   bool // of packages that are installed: see [Input.Rebind]
}

// maxShown is how many problems an error's text has.
const maxShown = 10

// Error tells each missing library or symbol version once, however many files
// need it.
func (e *ProblemsError) Error() string {
	lines := summarize(e.Problems)
	if e.Rebind {
		lines = slices.Insert(lines, 0, "nothing was bound anew, for this would not start any more:")
	}
	if left := len(lines) - maxShown; left > 0 {
		lines = append(lines[:maxShown], fmt.Sprintf("and %d more; --json has all", left))
	}
	if !e.Rebind && !slices.ContainsFunc(e.Problems, func(p Problem) bool { return p.File == "" }) {
		lines = append(lines, "--allow-missing installs it all the same")
	}
	return strings.Join(lines, "\n")
}

// summarize returns the messages of problems, one for each library or symbol
// version that is missing: the first, and how many files more need it.
func summarize(problems []Problem) []string {
	type wanted struct{ soname, version string }
	count := map[wanted]int{}
	for _, p := range problems {
		count[wanted{p.Soname, p.Version}]++
	}
	var lines []string
	for _, p := range problems {
		w := wanted{p.Soname, p.Version}
		switch n := count[w]; {
		case p.Soname == "":
			lines = append(lines, p.Message)
		case n == 1:
			lines = append(lines, p.Message)
		case n > 1:
			lines = append(lines, fmt.Sprintf("%s (and %d more)", p.Message, n-1))
			count[w] = 0
		}
	}
	return lines
}

// problems says what keeps a file from being loaded.
func (p *planner) problems(c *candidate, f *record.File, r *resolution) []Problem {
	var out []Problem
	for _, m := range r.missing() {
		file, owner := p.whereIs(m.From)
		message := fmt.Sprintf("%s of %s needs %s, and no package provides it", file, owner, m.Name)
		if why := r.rejected[m.Name]; len(why) > 0 {
			message = fmt.Sprintf("%s of %s needs %s: %s", file, owner, m.Name, strings.Join(why, "; "))
		}
		out = append(out, Problem{
			Package: c.m.Spec(), File: file, Soname: m.Name,
			Message: message + p.whatToAdd(p.ownerOf(m.From, c), m.Name),
		})
	}
	for _, v := range r.missingVersions() {
		file, owner := p.whereIs(v.From)
		message := fmt.Sprintf("%s of %s needs the symbol version %s of %s", file, owner, v.Version, v.File)
		if v.Provider == nil {
			message += ", and no such library is loaded"
		} else {
			providerFile, provider := p.whereIs(v.Provider)
			message += fmt.Sprintf(", and %s of %s does not define it", providerFile, provider)
		}
		out = append(out, Problem{
			Package: c.m.Spec(), File: file, Soname: v.File, Version: v.Version,
			Message: message + p.whatToAdd(p.ownerOf(v.From, c), v.File),
		})
	}
	if len(out) == 0 && r.libcForbidden != "" {
		out = append(out, Problem{
			Package: c.m.Spec(), File: f.Path, Soname: layout.LibcName(f.ELF),
			Message: fmt.Sprintf("%s of %s would be loaded with the C library of %s, but %s%s",
				f.Path, c.m.Spec(), r.libc.m.Spec(), r.libcForbidden, p.toAdd("a package that satisfies this relation")),
		})
	}
	return out
}

// whatToAdd ends a message with what to add to the command: the relation of c for the
// package that has the soname or, if none is likelier, all that are not satisfied.
func (p *planner) whatToAdd(c *candidate, soname string) string {
	likely := packageNames(path.Base(soname))
	var unresolved []string
	for _, r := range c.m.Requires {
		for _, want := range r.Alternatives {
			if slices.ContainsFunc(likely, func(n string) bool { return want.Name == n || strings.HasPrefix(want.Name, n+"t64") }) {
				return p.toAdd(fmt.Sprintf("a package that satisfies its relation %q", r.String()))
			}
		}
		if !p.isSatisfied(c, r) && !isSonameRelation(r) {
			unresolved = append(unresolved, r.String())
		}
	}
	switch n := len(unresolved); {
	case n > 5:
		unresolved = append(unresolved[:5], "...")
		fallthrough
	case n > 0:
		return p.toAdd("packages that satisfy its relations") + ": " + strings.Join(unresolved, ", ")
	}
	return p.toAdd("the package that has it")
}

// toAdd ends a message with which packages would help.
func (p *planner) toAdd(packages string) string {
	if len(p.in.Rebind) > 0 {
		return "; install " + packages
	}
	return "; add " + packages + " to the command"
}

// isSonameRelation reports whether a relation names a library by its soname, or
// the loader's abilities, as rpm's do.
func isSonameRelation(r pkginfo.Relation) bool {
	return slices.ContainsFunc(r.Alternatives, func(c pkginfo.Constraint) bool {
		return strings.Contains(c.Name, ".so") && strings.Contains(c.Name, "(") || strings.HasPrefix(c.Name, "rtld(")
	})
}

// packageNames returns the names that a package of this soname would have: by
// Debian's rule "libonig.so.5" is in libonig5 and "libfoo2.so.3" in libfoo2-3;
// an rpm asks for the soname itself.
func packageNames(soname string) []string {
	names := []string{soname, soname + "()(64bit)"}
	if ldso.IsMuslLibC(soname) || strings.HasPrefix(soname, "ld-musl-") {
		names = append(names, "musl")
	}
	if layout.IsGlibcLibrary(soname) {
		return append(names, "libc6", "glibc", "libc.so.6()(64bit)", "libc.so.6")
	}
	stem, version, ok := strings.Cut(soname, ".so")
	version = strings.TrimPrefix(version, ".")
	if !ok {
		return names
	}
	stem = strings.ToLower(strings.ReplaceAll(stem, "_", "-"))
	if stem != "" && stem[len(stem)-1] >= '0' && stem[len(stem)-1] <= '9' && version != "" {
		return append(names, stem+"-"+version)
	}
	return append(names, stem+version, stem+"-"+version)
}

// ownerOf returns the package that an object is of, or otherwise for one of the root.
func (p *planner) ownerOf(o *ldso.Object, otherwise *candidate) *candidate {
	if c := p.owners[o]; c != nil {
		return c
	}
	return otherwise
}

// whereIs names an object for people: the file, and the package that has it.
func (p *planner) whereIs(o *ldso.Object) (file, owner string) {
	if c := p.owners[o]; c != nil {
		return p.files[o].Path, c.m.Spec()
	}
	return o.Path, "the system"
}

// warnBinding warns, once of each, of libraries that are taken from the root because
// no package has them, and of drivers that the machine does not have.
func (p *planner) warnBinding(c *candidate, f *record.File, r *resolution, plan *Plan) {
	warn := func(message string) {
		if !p.warned[message] {
			p.warned[message] = true
			plan.Warnings = append(plan.Warnings, message)
		}
	}
	for _, m := range r.closure.Missing {
		if isDriver(m.Name) {
			warn(fmt.Sprintf("%s comes from the machine's graphics driver, and this machine has none: programs that need it do not start until the driver is installed", m.Name))
		}
	}
	if !r.private {
		return
	}
	for _, o := range r.closure.Objects {
		if p.owners[o] == nil && !isDriver(o.Info.Soname) {
			warn(fmt.Sprintf("%s: no package has %s, so the root's own %s is loaded with another C library and may not work; add the package that has it to the command", c.m.Spec(), o.Info.Soname, o.Path))
		}
	}
}
