// Package audit says what of ELF files would not load, and what of them is unsafe or unusual, and why: facts
// in, findings out. It touches no disk.
//
// [Run] looks at subjects, which are packages, directories or files that somebody has read, in a [World], which
// answers what the loader would find. Whether something loads is the answer of package ldso. [Checks] are all
// findings that there are, with what to do about each; [SARIF] writes findings for other programs.
//
// # What stays compatible
//
// The names of checks, and which of them are errors.
package audit

import (
	"cmp"
	"context"
	"fmt"
	"path"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/hashpkg/hashpkg/elfedit"
	"github.com/hashpkg/hashpkg/layout/plan"
	"github.com/hashpkg/hashpkg/ldso"
)

// Finding is one thing that is wrong with one file.
type Finding struct {
	ID      string `json:"id"` // of a [Check]
	Level   Level  `json:"level"`
	Subject string `json:"subject"` // its name
	File    string `json:"file"`    // absolute, as it is when it is installed
	What    string `json:"what"`
	Do      string `json:"do"` // what to do about it
}

// Subject is what belongs together: a package, a directory, or a file.
type Subject struct {
	Name  string
	Files []File
	// Places are all paths that it has, those of its links too, absolute; nil for one that has
	// nothing but Files.
	Places map[string]bool
	// IsPackage subjects have all that one package has.
	IsPackage bool
	// StagedAt is the directory of this machine that is to become the root's files; "" for none.
	StagedAt string
}

// has reports whether the subject has something at or below a path.
func (s *Subject) has(name string) bool {
	if s.Places[name] {
		return true
	}
	return slices.ContainsFunc(s.Files, func(f File) bool { return strings.HasPrefix(f.Path, name+"/") || f.Path == name })
}

// File is an ELF file of a subject, or one that ought to be one.
type File struct {
	Path   string       // absolute, as it is when it is installed
	Object *ldso.Object // nil when it is damaged
	// Damage says why it is no sound ELF file, though it begins like one.
	Damage string
	// Executable files are meant to be started, and Secure ones run with rights that their caller does not
	// have: set-user-ID, set-group-ID or with capabilities.
	Executable, Secure bool
}

// World answers what there is beside a file. Its methods are called by several goroutines.
type World interface {
	// Finder returns what finds libraries for files of an ABI. It is used by one goroutine.
	Finder(abi *elfedit.Info) (ldso.Finder, error)
	// Symbols returns the symbols of an object that the World's files or finders gave; nil when they
	// cannot be read.
	Symbols(o *ldso.Object) *Symbols
	// SearchDirs returns the directories in which the loader looks for every program of an ABI, without links.
	SearchDirs(abi *elfedit.Info) ([]string, error)
	// Final returns an absolute path without links. What is not there is returned as far as it is.
	Final(name string) string
	// Exists reports whether something has a path.
	Exists(name string) bool
	// Owned says who else than root can put something at a path, or make it where it is not there yet:
	// "everybody", a user; "" for nobody.
	Owned(name string) string
	// Elsewhere returns a file of this name that stands where no search leads; "" for none.
	Elsewhere(name string) string
	// Prefix is where trees stand.
	Prefix() string
}

// Symbols are those of one file.
type Symbols struct {
	Exports []plan.Symbol    // sorted, each once
	Imports []elfedit.Symbol // see [elfedit.Imports]
}

// SymbolsOf reads the symbols of a file. The errors are those of [elfedit.Inspect].
func SymbolsOf(data []byte) (*Symbols, error) {
	exports, err := elfedit.Exports(data)
	if err != nil {
		return nil, err
	}
	s := &Symbols{Exports: plan.SymbolsOf(exports)}
	s.Imports, err = elfedit.Imports(data)
	return s, err
}

// answers reports whether a look-up of a symbol could end here.
func (s *Symbols) answers(wanted plan.Symbol, anyVersion bool) bool {
	i, _ := slices.BinarySearchFunc(s.Exports, plan.Symbol{Name: wanted.Name}, plan.CompareSymbols)
	for ; i < len(s.Exports) && s.Exports[i].Name == wanted.Name; i++ {
		if anyVersion || s.Exports[i].MayAnswer(wanted) {
			return true
		}
	}
	return false
}

// Run returns what is wrong with subjects, in the order of their names, of paths, and of levels. progress is
// called with the number of files done, from any goroutine. The error is a fault of the world.
func Run(ctx context.Context, world World, subjects []*Subject, progress func(done int)) ([]Finding, error) {
	type job struct {
		subject *Subject
		file    *File
	}
	var jobs []job
	for _, s := range subjects {
		for i := range s.Files {
			jobs = append(jobs, job{s, &s.Files[i]})
		}
	}
	found := make([][]Finding, len(jobs))
	var next, done atomic.Int64
	g, ctx := errgroup.WithContext(ctx)
	for range min(runtime.GOMAXPROCS(0), max(len(jobs), 1)) {
		g.Go(func() error {
			finders := map[string]ldso.Finder{} // which remember, and are not to be shared
			for {
				i := int(next.Add(1)) - 1
				if i >= len(jobs) {
					return nil
				}
				if err := ctx.Err(); err != nil {
					return err
				}
				a := &auditor{world: world, subject: jobs[i].subject, file: jobs[i].file, finders: finders}
				if err := a.look(); err != nil {
					return fmt.Errorf("look at %s: %w", jobs[i].file.Path, err)
				}
				found[i] = a.findings
				progress(int(done.Add(1)))
			}
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	all := slices.Concat(found...)
	for _, s := range subjects {
		more, err := duplicates(world, s)
		if err != nil {
			return nil, err
		}
		all = append(all, more...)
	}
	slices.SortFunc(all, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Subject, b.Subject), cmp.Compare(a.File, b.File), cmp.Compare(rank(a.Level), rank(b.Level)),
			cmp.Compare(a.ID, b.ID), cmp.Compare(a.What, b.What))
	})
	return slices.Compact(all), nil
}

// auditor looks at one file.
type auditor struct {
	world    World
	subject  *Subject
	file     *File
	finders  map[string]ldso.Finder
	findings []Finding
}

// add notes a finding.
func (a *auditor) add(id, format string, v ...any) {
	a.findings = append(a.findings, newFinding(id, a.subject, a.file.Path, fmt.Sprintf(format, v...)))
}

func newFinding(id string, s *Subject, file, what string) Finding {
	c := checkOf(id)
	return Finding{ID: id, Level: c.Level, Subject: s.Name, File: file, What: what, Do: c.Do}
}

func (a *auditor) look() error {
	if a.file.Object == nil {
		a.add(damagedFile, "%s", a.file.Damage)
		return nil
	}
	if !isLoaded(a.file.Object.Info) {
		return nil
	}
	a.hardening()
	if err := a.paths(); err != nil {
		return err
	}
	if err := a.names(); err != nil {
		return err
	}
	return a.loading()
}

// isLoaded reports whether a file is one that a kernel or loader would load: no object file, kernel module,
// core or file of debugging information.
func isLoaded(info *elfedit.Info) bool {
	return !info.SplitDebug && (info.HasDynamic || info.IsProgram())
}

// finder returns what finds libraries for the file.
func (a *auditor) finder() (ldso.Finder, error) {
	info := a.file.Object.Info
	key := ldso.Triplet(info)
	if f := a.finders[key]; f != nil && key != "" {
		return f, nil
	}
	f, err := a.world.Finder(info)
	if err == nil {
		a.finders[key] = f
	}
	return f, err
}

// loading says what would keep the file from being loaded.
func (a *auditor) loading() error {
	program := a.file.Object
	finder, err := a.finder()
	if err != nil {
		return err
	}
	closure, err := ldso.Load(program, finder)
	if err != nil {
		return err
	}
	isProgram := program.Info.IsProgram()
	for _, m := range closure.Missing {
		by := ""
		if m.From != program {
			if !isProgram && a.subject.Places[m.From.Path] {
				continue // it is said of that library
			}
			by = ", which " + m.From.Path + " needs,"
		}
		blocked := ""
		if m.Err != nil && strings.Contains(m.Err.Error(), "stands in the way") {
			blocked = fmt.Sprintf(" (%v)", m.Err)
		}
		switch elsewhere := ""; {
		case m.Name == program.Info.Interpreter && m.From == program:
			if path.IsAbs(m.Name) && a.file.Executable {
				a.add(missingInterpreter, "there is no %s, by which the kernel starts it%s", m.Name, blocked)
			}
		case strings.Contains(m.Name, "/") && !path.IsAbs(m.Name) && !strings.HasPrefix(m.Name, "$"):
			// relativeNeeded says it, of the file that has the name
		default:
			if !isProgram {
				elsewhere = cmp.Or(a.world.Elsewhere(m.Name), a.beside(m.Name, ""))
			}
			if elsewhere != "" {
				a.add(libraryElsewhere, "%s%s is not where the loader searches, but %s", m.Name, by, elsewhere)
			} else {
				a.add(missingLibrary, "there is no %s%s where the loader searches%s", m.Name, by, blocked)
			}
		}
	}
	for _, v := range closure.Versions {
		by, elsewhere := "", ""
		if v.From != program {
			by = ", which " + v.From.Path + " needs"
		}
		if !isProgram && v.Fatal {
			elsewhere = a.beside(v.File, v.Version)
		}
		switch {
		case elsewhere != "":
			a.add(libraryElsewhere, "the %s that has the symbol version %s is not where the loader searches, but %s%s", v.File, v.Version, elsewhere, by)
		case v.Provider == nil:
			a.add(missingVersion, "no library that is loaded is known as %s, of which the version %s is wanted%s", v.File, v.Version, by)
		case v.Fatal:
			a.add(missingVersion, "%s has no symbol version %s%s", v.Provider.Path, v.Version, by)
		case v.From == program:
			a.add(unversioned, "%s has no symbol version %s, of which the loader only warns", v.Provider.Path, v.Version)
		}
	}
	a.twice(closure)
	if len(closure.Missing) == 0 {
		if err := a.symbols(closure); err != nil {
			return err
		}
	}
	return a.secure(closure, finder)
}

// beside returns a library of the subject that is known by a name and, unless it is "", defines a symbol
// version; "" for none. What opens a library of the same package may have opened that one before.
func (a *auditor) beside(name, version string) string {
	for _, f := range a.subject.Files {
		if f.Object == nil || f.Object == a.file.Object || f.Object.Info.IsProgram() || f.Object.Info.Soname != name && base(f.Path) != name {
			continue
		}
		if version == "" || slices.ContainsFunc(f.Object.Info.VersionDefs, func(d elfedit.VersionDef) bool { return d.Name == version }) {
			return f.Path
		}
	}
	return ""
}

// twice says which libraries would be loaded twice, as two files.
func (a *auditor) twice(c *ldso.Closure) {
	loaded := map[string]*ldso.Object{}
	for _, o := range c.Objects[1:] {
		name := o.Info.Soname
		if name == "" {
			continue
		}
		if first := loaded[name]; first != nil {
			a.add(loadedTwice, "%s is loaded as %s and as %s", name, first.Path, o.Path)
			continue
		}
		loaded[name] = o
	}
}

// secure says what a program with rights of its own would miss because the loader ignores $ORIGIN there
// (glibc elf/dl-load.c, fillin_rpath and is_trusted_path_normalize).
func (a *auditor) secure(whole *ldso.Closure, finder ldso.Finder) error {
	program := a.file.Object
	if !a.file.Secure || len(whole.Missing) > 0 || !program.Info.IsProgram() {
		return nil
	}
	info := *program.Info
	dropped := false
	// What ldconfig is told of besides is not trusted.
	trusted := slices.Concat(ldso.MultiarchLayout(program.Info).Dirs, ldso.Lib64Layout(program.Info).Dirs)
	strip := func(list string) string {
		var kept []string
		for dir := range strings.SplitSeq(list, ":") {
			expanded := path.Clean(originIn(dir, path.Dir(program.Path)))
			isTrusted := slices.ContainsFunc(trusted, func(t string) bool { return expanded == t || strings.HasPrefix(expanded, t+"/") })
			if hasOrigin(dir) && !isTrusted {
				dropped = true
				continue
			}
			kept = append(kept, dir)
		}
		return strings.Join(kept, ":")
	}
	info.RunPath, info.RPath = strip(info.RunPath), strip(info.RPath)
	if !dropped {
		return nil
	}
	closure, err := ldso.Load(&ldso.Object{Path: program.Path, ID: program.ID, Info: &info}, finder)
	if err != nil {
		return err
	}
	for _, m := range closure.Missing {
		a.add(setuidOrigin, "%s is found by $ORIGIN only, which the loader ignores in a program with rights of its own", m.Name)
	}
	return nil
}

// symbols says which symbols nothing answers. A library by itself may leave some to the program that loads
// it, unless it is one for all to link with.
func (a *auditor) symbols(c *ldso.Closure) error {
	program := a.file.Object
	isProgram := program.Info.IsProgram()
	if !isProgram {
		public, err := a.isPublic()
		if err != nil || !public {
			return err
		}
	}
	scope := make([]*Symbols, 0, len(c.Objects)+1)
	objects := slices.Clone(c.Objects)
	if c.Interpreter != nil && !slices.Contains(objects, c.Interpreter) {
		objects = append(objects, c.Interpreter)
	}
	for _, o := range objects {
		s := a.world.Symbols(o)
		if s == nil {
			return nil // what it has is not known
		}
		scope = append(scope, s)
	}
	var open, lazy []string
	look := func(importer *ldso.Object, s *Symbols) {
		by := ""
		if importer != program {
			by = ", which " + importer.Path + " needs"
		}
		for _, wanted := range s.Imports {
			answered, short := false, plan.SymbolOf(wanted)
			for i, o := range scope {
				if objects[i] != importer && o.answers(short, program.Info.Musl) {
					answered = true
					break
				}
			}
			switch text := symbolText(wanted) + by; {
			case answered:
			case importer.Info.BindNow && isProgram:
				open = append(open, text)
			default:
				lazy = append(lazy, text)
			}
		}
	}
	look(program, scope[0])
	if isProgram {
		for i, o := range objects[1:] {
			if o.Info.BindNow || a.subject.Places[o.Path] {
				look(o, scope[i+1])
			}
		}
	}
	a.addSymbols(undefinedSymbol, open)
	a.addSymbols(lazySymbol, lazy)
	return nil
}

// maxSymbols is how many symbols are named.
const maxSymbols = 5

func (a *auditor) addSymbols(id string, names []string) {
	if n := len(names); n > maxSymbols {
		names = append(slices.Clone(names[:maxSymbols]), fmt.Sprintf("and %d more", n-maxSymbols))
	}
	if len(names) > 0 {
		a.add(id, "nothing that is loaded has %s", strings.Join(names, "; "))
	}
}

func symbolText(s elfedit.Symbol) string {
	if s.Version == "" {
		return s.Name
	}
	return s.Name + "@" + s.Version
}
