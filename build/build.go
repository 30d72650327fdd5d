// Package build edits the programs of a package before it is packed: [Bind] looks through the
// directory that will be the package's files, debian/PACKAGE or %{buildroot}, and has each program
// search hashpkg's farm and say in a note which libraries it was built against.
//
// A package that was made so works where hashpkg is not: the directory that its programs search in
// addition is not there then. Where hashpkg is, they need no edit once they are installed, so that
// what package managers and debsums know of them stays true.
//
// # What is edited
//
// Dynamic programs of glibc. They get a DT_RUNPATH that leads from where they stand to the farm,
// as in $ORIGIN/../../var/sys/current-system/system/lib64, behind what their authors wrote; and the note
// of docs/note.md. Libraries, and whatever else has the ELF magic number, stay as they are, and
// the report says why of each.
//
// # What is left to the caller
//
// Which directories are packages, and when: after debugging information was split off and
// dependencies were found, before checksums are taken. Nobody may change the files meanwhile.
package build

import (
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashpkg/hashpkg/elfedit"
	"github.com/hashpkg/hashpkg/internal/advice"
	"github.com/hashpkg/hashpkg/internal/beneath"
	"github.com/hashpkg/hashpkg/internal/mapped"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/layout/rewrite"
	"github.com/hashpkg/hashpkg/ldso"
	"github.com/hashpkg/hashpkg/programs"
	"github.com/hashpkg/hashpkg/programs/inplace"
	"github.com/hashpkg/hashpkg/sysroot"
)

// Policy is what is wanted of a package's programs, and where their libraries are.
type Policy struct {
	Rules   Rules
	Exclude []string // patterns as of a rule; what they match is left
	Prefix  string   // where trees stand on the machines that will have the package; "" for layout.DefaultPrefix

	// Machine is the root whose libraries programs were built against: the machine's own, or
	// that of another architecture's. The package's own libraries go before its, then
	// those of Packages: the directories of other packages of the same source.
	Machine  *sysroot.Root
	Packages []*sysroot.Root

	DryRun bool // nothing is written; the report says what would be
}

// Report is what became of a package's files.
type Report struct {
	Files    []File   `json:"files"`    // those with the ELF magic number, by their paths
	Warnings []string `json:"warnings"` // about rules; they read after the name of the file of rules
}

// File is what became of one file.
type File struct {
	Path  string   `json:"path"`            // absolute, as it will be installed
	Links []string `json:"links,omitempty"` // its other names

	Changed bool   `json:"changed,omitempty"`
	RunPath string `json:"runpath,omitempty"` // the DT_RUNPATH that it has got, or had
	// BuiltAgainst is what the note says. Unresolved are needed libraries that were not found, and
	// that it therefore does not name.
	BuiltAgainst []elfedit.Bound `json:"builtAgainst,omitempty"`
	Unresolved   []string        `json:"unresolved,omitempty"`

	// Left says why the file was left as it is, and RunPathLeft and NoteLeft why it got one of the two only.
	Left        programs.Reason `json:"left,omitempty"`
	RunPathLeft programs.Reason `json:"runpathLeft,omitempty"`
	NoteLeft    programs.Reason `json:"noteLeft,omitempty"`

	// Error is what kept it from being edited; it has its old bytes then.
	Error string `json:"error,omitempty"`
}

// Failed reports whether a file that was to be edited could not be.
func (r *Report) Failed() bool {
	return slices.ContainsFunc(r.Files, func(f File) bool { return f.Error != "" })
}

// Bind edits the programs below a directory. Files are edited where they are (inplace.WriteInto): hard
// links, owners, modes and times stay. What one file cannot take is in its part of the report, and
// keeps no other from its edit; the error is of the directory itself, or of ctx.
//
// The result depends on the files, the policy and the libraries alone. A second call changes
// nothing.
func Bind(ctx context.Context, dir *sysroot.Root, p *Policy) (*Report, error) {
	if isInstalled(dir.Dir(), p) {
		return nil, advice.Errorf("%s is of a system that is installed, or of the trees: it is no directory in which a package is put together; name one such as debian/PACKAGE", dir.Dir())
	}
	b := &binder{policy: p, libraries: newLibraries(dir, p)}
	top, _, err := dir.At("/")
	if err != nil {
		return nil, fmt.Errorf("open the package's directory: %w", err)
	}
	defer top.Close()
	b.top = top
	if err := b.find(); err != nil {
		return nil, err
	}
	report := &Report{Files: []File{}, Warnings: p.Rules.unused(b.paths())}
	for _, f := range b.files {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if f.Error == "" {
			b.bind(f)
		}
		report.Files = append(report.Files, f.File)
	}
	return report, nil
}

// Where programs are installed, and what is above that: no package is put together there.
var (
	installedDirs = []string{"/bin", "/sbin", "/lib", "/lib64", "/usr/bin", "/usr/sbin", "/usr/games", "/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/libx32", "/usr/libexec", "/boot"}
	topDirs       = []string{"/", "/usr", "/usr/local", "/opt", "/var"}
)

// isInstalled reports whether a directory is part of the machine, of the root that libraries are looked for in,
// or of its trees. Edits there would have no record by which they could be undone.
func isInstalled(dir string, p *Policy) bool {
	same := func(a, b string) bool {
		one, err := os.Stat(a)
		if err != nil {
			return false
		}
		other, err := os.Stat(b)
		return err == nil && os.SameFile(one, other)
	}
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		real = dir // which is opened as it is
	}
	roots, prefix := []string{"/"}, layout.DefaultPrefix
	if p.Machine != nil {
		roots, prefix = append(roots, p.Machine.Dir()), p.Machine.Prefix()
	}
	for _, root := range roots {
		is := func(at string) func(string) bool {
			return func(name string) bool { return same(at, filepath.Join(root, name)) }
		}
		if slices.ContainsFunc(topDirs, is(real)) {
			return true
		}
		for at := real; at != filepath.Dir(at); at = filepath.Dir(at) {
			if slices.ContainsFunc(installedDirs, is(at)) || is(at)(prefix) {
				return true
			}
		}
	}
	return false
}

// binder is one run of Bind.
type binder struct {
	policy    *Policy
	libraries *libraries
	top       *beneath.Dir
	files     []*file
	ofLibC    bool // the package has the loader
}

// file is an ELF file of the package.
type file struct {
	File
	name  string // below the top
	links uint64 // how many names it has, in and outside of the package
	deep  int    // of how many directories the deepest of its names is in
}

// controlDir is where dpkg-deb looks for what is no file of the package.
const controlDir = "DEBIAN"

// find lists the ELF files, each once.
func (b *binder) find() error {
	type id struct{ dev, ino uint64 }
	known := map[id]*file{}
	err := b.top.Walk(".", func(name string, dir *beneath.Dir, base string, kind fs.FileMode) error {
		if kind.IsDir() && name == controlDir {
			return fs.SkipDir
		}
		if !kind.IsRegular() {
			return nil
		}
		st, err := dir.Lstat(base)
		if err != nil {
			return err
		}
		key := id{uint64(st.Dev), st.Ino} //nolint:unconvert // not on every architecture
		if f := known[key]; f != nil {
			f.Links = append(f.Links, "/"+name)
			f.deep = max(f.deep, depth("/"+name))
			return nil
		}
		is, err := isELF(dir, base)
		if err != nil && !errors.Is(err, fs.ErrPermission) {
			return err
		}
		f := &file{File: File{Path: "/" + name}, name: name, links: uint64(st.Nlink), deep: depth("/" + name)} //nolint:unconvert // not on every architecture
		switch {
		case err != nil:
			f.Error = err.Error()
		case !is:
			return nil
		}
		known[key] = f
		b.files = append(b.files, f)
		b.ofLibC = b.ofLibC || layout.IsGlibcLoader(base)
		return nil
	})
	if err != nil {
		return fmt.Errorf("look through the package: %w", err)
	}
	return nil
}

// paths are those of the ELF files, with their links.
func (b *binder) paths() (list []string) {
	for _, f := range b.files {
		list = append(append(list, f.Path), f.Links...)
	}
	return list
}

// isELF looks for the magic number (gABI, figure 4-4).
func isELF(dir *beneath.Dir, base string) (bool, error) {
	f, _, err := dir.OpenRegular(base)
	if err != nil {
		return false, err
	}
	defer f.Close()
	var magic [len(elf.ELFMAG)]byte
	switch _, err := io.ReadFull(f, magic[:]); {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return false, nil
	case err != nil:
		return false, err
	}
	return bytes.Equal(magic[:], []byte(elf.ELFMAG)), nil
}

// depth returns how many directories lead from the root to where a file is, with /usr before those that
// distributions have merged into it: from a directory that is not merged, the way up that is one
// longer ends at the root as well.
func depth(name string) int {
	n := strings.Count(name, "/") - 1
	if top, _, _ := strings.Cut(strings.TrimPrefix(name, "/"), "/"); n > 0 && slices.Contains(mergedDirs, top) {
		n++
	}
	return n
}

// mergedDirs are links into /usr on most systems (file-hierarchy(7); Debian's usrmerge has the
// directories of libraries of other ABIs, too).
var mergedDirs = []string{"bin", "sbin", "lib", "lib32", "lib64", "libo32", "libx32"}

// bind makes of one file what is wanted, and notes what became of it.
func (b *binder) bind(f *file) {
	err := b.bindFile(f)
	if err == nil {
		return
	}
	if errors.Is(err, fs.ErrPermission) {
		err = fmt.Errorf("%w; who builds the package must own its files, or be root", err)
	}
	f.File = File{Path: f.Path, Links: f.Links, Error: err.Error()}
}

func (b *binder) bindFile(f *file) error {
	if f.Left = b.leftByName(f); f.Left != "" {
		return nil
	}
	parent, base, err := b.top.At(f.name)
	if err != nil {
		return err
	}
	defer parent.Close()
	open, _, err := parent.OpenRegular(base)
	if err != nil {
		return err
	}
	defer open.Close()
	was, err := inplace.IdentifyFile(open)
	if err != nil {
		return err
	}
	var edit elfedit.Edit
	err = mapped.File(open, func(data []byte) error {
		info, err := elfedit.Inspect(data)
		if err != nil {
			f.Left = programs.Reason("cannot be edited: " + err.Error())
			return nil
		}
		if f.Left = leftByKind(f.Path, info); f.Left == "" {
			f.Left, err = b.leftByFile(f, open, parent, base)
		}
		if err != nil || f.Left != "" {
			return err
		}
		edit, err = b.decide(f, info, data)
		return err
	})
	if err != nil || edit.IsZero() {
		return err
	}
	f.Changed = true
	if b.policy.DryRun {
		return nil
	}
	return inplace.WriteInto(parent, base, was, edit)
}

// leftByName returns why a file is left, whatever is in it.
func (b *binder) leftByName(f *file) programs.Reason {
	names := append([]string{f.Path}, f.Links...)
	isBelow := func(dirs ...string) bool {
		return slices.ContainsFunc(names, func(name string) bool {
			return slices.ContainsFunc(dirs, func(dir string) bool { return strings.HasPrefix(name, dir+"/") })
		})
	}
	switch {
	case slices.ContainsFunc(names, func(n string) bool { return matchesAny(b.policy.Exclude, n) }):
		return "is excluded"
	case slices.ContainsFunc(names, b.policy.Rules.leaves):
		return "is left by a rule"
	case isBelow("/usr/lib/debug"):
		return isDebug
	case isBelow("/usr/lib/firmware", "/lib/firmware"):
		return "is firmware"
	case isBelow("/usr/lib/modules", "/lib/modules", "/boot"):
		return "belongs to a kernel"
	case b.ofLibC:
		return "is of the package of the C library"
	case f.links > uint64(len(names)):
		return "is a hard link of a file that is not of the package"
	}
	return ""
}

const isDebug programs.Reason = "holds the debugging information of another file"

// leftByKind returns why a file is left for what it is.
func leftByKind(name string, info *elfedit.Info) programs.Reason {
	switch {
	case info.SplitDebug:
		return isDebug
	case info.Type == elf.ET_REL:
		return "is an object file or a kernel module"
	case info.Type != elf.ET_EXEC && info.Type != elf.ET_DYN:
		return "is no program"
	case !info.IsProgram():
		return "is a library, and these stay as they are"
	case info.Interpreter == "" || !info.HasDynamic:
		return "is linked statically"
	case info.Musl:
		return programs.KeepsSearchPath(info)
	case !layout.IsGlibcLoader(info.Interpreter):
		return programs.Reason("is started by " + info.Interpreter + ", which is no loader of glibc")
	case ldso.Triplet(info) == "":
		return programs.Reason("is for an architecture that is not known here: " + info.Machine.String())
	}
	return ""
}

// leftByFile returns why a file is left for what belongs to it besides its bytes.
func (b *binder) leftByFile(f *file, open *os.File, dir *beneath.Dir, base string) (programs.Reason, error) {
	privileged, err := inplace.HasPrivileges(open)
	if err != nil {
		return "", err
	}
	if privileged {
		return "has other rights than who starts it, and the loader gives such a program no $ORIGIN", nil
	}
	if with := programs.ComparedWith(dir, base); with != "" {
		return programs.Reason("is compared with " + path.Join(path.Dir(f.Path), with) + " when it starts, which an edit would contradict"), nil
	}
	return "", nil
}

// decide returns the edit of a program.
func (b *binder) decide(f *file, info *elfedit.Info, data []byte) (elfedit.Edit, error) {
	f.RunPath = info.RunPath
	rule := b.policy.Rules.of(append([]string{f.Path}, f.Links...))
	runPath := b.searchPath(f, info, rule)
	note, err := b.note(f, info, rule)
	if err != nil {
		return elfedit.Edit{}, err
	}
	// What cannot be done together may be possible one by one.
	for _, c := range []struct {
		runPath *record.EditRecord
		note    []elfedit.Bound
	}{{runPath, note}, {runPath, nil}, {nil, note}} {
		if c.runPath == nil && c.note == nil {
			continue
		}
		edit, err := makeEdit(data, info, c.runPath, c.note)
		var refused *elfedit.RefusedError
		if errors.As(err, &refused) {
			reason := programs.Reason(refused.Reason)
			if c.runPath != nil {
				f.RunPathLeft = reason
			}
			if c.note != nil {
				f.NoteLeft = reason
			}
			continue
		}
		if err != nil {
			return elfedit.Edit{}, err
		}
		if c.runPath != nil {
			f.RunPath, f.RunPathLeft = c.runPath.To[0], ""
		}
		if c.note != nil {
			f.BuiltAgainst, f.NoteLeft = c.note, ""
		}
		return edit, nil
	}
	return elfedit.Edit{}, nil
}

// makeEdit makes an edit and compares what comes of it with what was wanted.
func makeEdit(data []byte, info *elfedit.Info, runPath *record.EditRecord, note []elfedit.Bound) (elfedit.Edit, error) {
	var records []record.EditRecord
	if runPath != nil {
		records = append(records, *runPath)
	}
	changes, err := rewrite.Changes(records)
	if err != nil {
		return elfedit.Edit{}, err
	}
	changes.BuiltAgainst = note
	edit, err := elfedit.Make(data, changes)
	if errors.Is(err, elfedit.ErrLeavesRelRO) {
		err = &elfedit.RefusedError{Reason: "has no room for the edit in what RELRO protects"}
	}
	if err != nil {
		return elfedit.Edit{}, err
	}
	edited, err := edit.Apply(data)
	if err != nil {
		return elfedit.Edit{}, err
	}
	after, err := elfedit.Inspect(edited)
	if err != nil {
		return elfedit.Edit{}, err
	}
	if err := rewrite.Compare(after, info, records); err != nil {
		return elfedit.Edit{}, err
	}
	if note != nil && !slices.Equal(after.BuiltAgainst, note) {
		return elfedit.Edit{}, fmt.Errorf("the edited file has a note of %d libraries, planned was one of %d", len(after.BuiltAgainst), len(note))
	}
	return edit, nil
}

// OtherPrefix is why a program is left that was edited for trees below another prefix.
const OtherPrefix programs.Reason = "searches the farm of another prefix already, as an earlier call wrote; build it anew"

// searchPath returns the edit with which a program searches the farm; nil for none.
func (b *binder) searchPath(f *file, info *elfedit.Info, rule rule) *record.EditRecord {
	switch rule.runPath {
	case programs.RewriteNone:
		f.RunPathLeft = "a rule wants none"
		return nil
	case programs.RewriteMinimal:
		if !slices.ContainsFunc(info.Needed, func(name string) bool { return !strings.Contains(name, "/") && !layout.IsGlibcLibrary(name) }) {
			f.RunPathLeft = "needs no library that the farm could have"
			return nil
		}
	}
	if f.RunPathLeft = programs.KeepsSearchPath(info); f.RunPathLeft != "" {
		return nil
	}
	prefix := b.policy.Prefix
	if prefix == "" {
		prefix = layout.DefaultPrefix
	}
	farm := "$ORIGIN" + strings.Repeat("/..", f.deep) + prefix + "/" + layout.CurrentSystem + "/" + layout.FollowedLink + "/" + layout.LibraryDir(ldso.Triplet(info), info)
	for dir := range strings.SplitSeq(info.RunPath, ":") {
		switch {
		case dir == farm:
			return nil
		case strings.HasPrefix(dir, "$ORIGIN/") && strings.Contains(dir, "/"+layout.CurrentSystem+"/"+layout.FollowedLink+"/"):
			f.RunPathLeft = OtherPrefix
			return nil
		}
	}
	return programs.SearchAlso(info, farm)
}

// note returns what a program was built against; nil when it is to have no note, or has one.
func (b *binder) note(f *file, info *elfedit.Info, rule rule) ([]elfedit.Bound, error) {
	if rule.noNote {
		f.NoteLeft = "a rule wants none"
		return nil, nil
	}
	list, unresolved, err := b.libraries.needed(f.Path, info)
	if err != nil {
		return nil, err
	}
	f.Unresolved = unresolved
	switch {
	case len(list) == 0:
		f.NoteLeft = "none of the libraries that it needs was found"
		return nil, nil
	case info.BuiltAgainst == nil:
		return list, nil
	}
	f.BuiltAgainst = info.BuiltAgainst
	if !slices.Equal(list, info.BuiltAgainst) {
		f.NoteLeft = "has the note of an earlier call already, which names other libraries; build it anew"
	}
	return nil, nil
}
