package record

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/pkginfo"
)

// Holding is what questions about a tree need of its manifest: which files it has, what
// its programs and libraries load, and where it leads. It is derived: a file of holdings
// ([EncodeHoldings]) is read in a fraction of the time that the manifests take.
type Holding struct {
	Stamp        string // of the package's manifests: see package store
	Name         string
	Version      string
	Architecture string
	Format       pkginfo.Format
	Origin       Origin
	Dir          string
	Identity     digest.Digest
	Source       string // name of the source package, "" if it is the package's own
	Summary      string
	PackageFile  string
	Package      digest.Digest          // of the package file
	Size         int64                  // bytes of its files, each once
	Requires     [][]pkginfo.Constraint // of each relation the alternatives
	Recommends   [][]pkginfo.Constraint
	Provides     []pkginfo.Capability
	Binaries     []HeldFile // programs and libraries
	Leads        []string   // other paths that may lead into trees: see [Manifest.Paths]
	Merged       []string   // of a view: the trees that it has files of
	files        string     // encoded; see Files
}

// HeldFile is a file of a Holding.
type HeldFile struct {
	Path    string // relative to the tree
	Program bool
	Soname  string
	Size    int64
	Object  digest.Digest
	Needed  []string // the names that the package's file asks for, in its order
	Loads   []Need   // of a program all that it loads at its start, its interpreter too; of a library what it names itself
	Place   string   // of a library of the system: where it stands, absolute in the root
	Self    *SelfBound
}

// OwnedFile is a name of a tree's payload or interface.
type OwnedFile struct {
	Path   string
	Type   FileType
	Object digest.Digest // of a regular file
	Source digest.Digest // of the packaged bytes; equal to Object unless it was edited
	Target string        // of a link
	Place  string        // as of HeldFile
}

// NewHolding returns the holding of a manifest, with the stamp of its package.
func NewHolding(m *Manifest, stamp string) *Holding {
	h := &Holding{
		Stamp: stamp, Name: m.Name, Version: m.Version, Architecture: m.Architecture, Format: m.Format, Origin: m.Origin,
		Dir: m.Tree, Identity: m.Identity, Source: m.Source, Summary: m.Summary, PackageFile: m.Package.File, Package: m.Package.Digest,
		Provides: m.Provides, Merged: m.Merged,
	}
	if m.Origin == OriginView {
		return h // its files are those of the trees that it merges
	}
	h.Requires, h.Recommends = alternatives(m.Requires), alternatives(m.Recommends)
	loaded := map[string]bool{}
	counted := map[digest.Digest]bool{}
	var w indexWriter
	w.number(int64(len(m.Files) + len(m.Links)))
	for i := range m.Files {
		f := &m.Files[i]
		place := ""
		if m.Origin == OriginSystem {
			place = "/" + f.Path
			if f.Place != "" {
				place = "/" + f.Place
			}
		}
		w.owned(&OwnedFile{f.Path, f.Type, f.Object, f.Source, f.Target, place})
		if f.Type == TypeFile && !counted[f.Object] {
			counted[f.Object] = true
			h.Size += f.Size
		}
		if f.ELF == nil || !f.ELF.IsProgram() && !f.ELF.IsLibrary() {
			continue
		}
		b := HeldFile{
			Path: f.Path, Program: f.ELF.IsProgram(), Soname: f.ELF.Soname, Size: f.Size, Object: f.Object,
			Needed: f.ELF.Needed, Loads: f.Needs, Place: place, Self: f.SelfBound(),
		}
		if i := interpreter(f); b.Program && i != "" && !slices.ContainsFunc(f.Needs, func(n Need) bool { return n.Path == i }) {
			b.Loads = append(slices.Clone(f.Needs), Need{Soname: path.Base(f.ELF.Interpreter), Path: i})
		}
		h.Binaries = append(h.Binaries, b)
		for _, n := range b.Loads {
			loaded[n.Path] = true
		}
	}
	for _, l := range m.Links {
		w.owned(&OwnedFile{Path: l.Path, Type: TypeSymlink, Target: l.Target})
	}
	h.files = w.String()
	for p := range m.Paths {
		if !loaded[p] && strings.Contains(p, "/") {
			loaded[p] = true
			h.Leads = append(h.Leads, p)
		}
	}
	return h
}

func alternatives(relations []pkginfo.Relation) (list [][]pkginfo.Constraint) {
	for _, r := range relations {
		list = append(list, r.Alternatives)
	}
	return list
}

// interpreter returns the interpreter that a file of a tree has, "" for none.
func interpreter(f *File) string {
	for _, e := range f.Edits {
		if e.Kind == EditInterpreter && len(e.To) > 0 {
			return e.To[0]
		}
	}
	return f.ELF.Interpreter
}

// Path returns the tree's path relative to the prefix.
func (h *Holding) Path() string { return layout.TreePath(h.Name, h.Dir) }

// Spec returns "NAME=VERSION", as people name a package, and "view ID" of a view.
func (h *Holding) Spec() string {
	if h.Origin == OriginView {
		return "view " + h.Dir
	}
	return h.Name + "=" + h.Version
}

// Files calls yield with each name of the tree's payload, then of its interface.
func (h *Holding) Files(yield func(*OwnedFile) bool) {
	r := indexReader{b: h.files}
	for n := r.count(); n > 0 && !r.bad; n-- {
		if f := r.owned(); r.bad || !yield(&f) {
			return
		}
	}
}

// Paths calls yield with the paths, or lists of paths with colons between them, by
// which files of m's tree may lead into other trees.
func (m *Manifest) Paths(yield func(string) bool) {
	link := func(at, target string) string {
		if path.IsAbs(target) {
			return target
		}
		return path.Join("/", layout.TreePath(m.Name, m.Tree), path.Dir(at), target)
	}
	for i := range m.Files {
		f := &m.Files[i]
		if f.Type == TypeSymlink && !yield(link(f.Path, f.Target)) {
			return
		}
		for _, e := range f.Edits {
			if e.Kind == EditNote { // whose paths are those of Needs
				continue
			}
			for _, to := range e.To {
				if !yield(to) {
					return
				}
			}
		}
		for _, n := range f.Needs {
			if !yield(n.Path) {
				return
			}
		}
		if f.Stub != "" && !yield(f.Stub) {
			return
		}
		if f.Closure != nil {
			for _, needed := range f.Closure.Needed {
				if !yield(needed) {
					return
				}
			}
		}
		if e := f.ELF; e != nil { // a package may have been built for its place
			for _, p := range append([]string{e.Interpreter, e.RPath, e.RunPath}, e.Needed...) {
				if !yield(p) {
					return
				}
			}
		}
	}
	for _, l := range m.Links {
		if !yield(link(l.Path, l.Target)) {
			return
		}
	}
}

const holdingsMagic = "hashpkg holdings 4\n"

var errHoldings = errors.New("the index of trees is damaged")

// EncodeHoldings returns holdings as a file.
//
// Its form: the magic, the digest of the rest, then numbers and strings as in the index
// of a generation, in the order of [Holding].
//
// What files load is a list of its own, in which each member is once, and files have the
// members' numbers: thousands of programs load the same libraries.
func EncodeHoldings(holdings []*Holding) []byte {
	var w indexWriter
	needs := needTable{number: map[Need]int{}}
	w.number(int64(len(holdings)))
	for _, h := range holdings {
		w.texts([]string{h.Stamp, h.Name, h.Version, h.Architecture, string(h.Format), string(h.Origin), h.Dir, h.Source, h.Summary, h.PackageFile})
		w.Write(h.Identity[:])
		w.Write(h.Package[:])
		w.number(h.Size)
		w.relations(h.Requires)
		w.relations(h.Recommends)
		w.number(int64(len(h.Provides)))
		for _, c := range h.Provides {
			w.text(c.Name)
			w.text(c.Version)
		}
		w.number(int64(len(h.Binaries)))
		for i := range h.Binaries {
			f := &h.Binaries[i]
			w.text(f.Path)
			w.number(flags(f.Program))
			w.text(f.Soname)
			w.number(f.Size)
			w.Write(f.Object[:])
			w.texts(f.Needed)
			needs.write(&w, f.Loads)
			w.text(f.Place)
			w.selfBound(f.Self)
		}
		w.texts(h.Leads)
		w.texts(h.Merged)
		w.text(h.files)
	}
	return sealed(holdingsMagic, append(needs.encode(), w.Bytes()...))
}

// DecodeHoldings reads what EncodeHoldings wrote.
func DecodeHoldings(b []byte) ([]*Holding, error) {
	r, ok := unsealed(holdingsMagic, b)
	if !ok {
		return nil, errHoldings
	}
	table := r.needs()
	list := make([]*Holding, r.count())
	for i := range list {
		h := &Holding{}
		list[i] = h
		if n := r.count(); n != 10 {
			return nil, errHoldings
		}
		h.Stamp, h.Name, h.Version, h.Architecture = r.text(), r.text(), r.text(), r.text()
		h.Format, h.Origin, h.Dir = pkginfo.Format(r.text()), Origin(r.text()), r.text()
		h.Source, h.Summary, h.PackageFile = r.text(), r.text(), r.text()
		h.Identity, h.Package = r.digest(), r.digest()
		h.Size = r.number()
		h.Requires, h.Recommends = r.relations(), r.relations()
		h.Provides = make([]pkginfo.Capability, r.count())
		for j := range h.Provides {
			h.Provides[j] = pkginfo.Capability{Name: r.text(), Version: r.text()}
		}
		h.Binaries = make([]HeldFile, r.count())
		for j := range h.Binaries {
			f := &h.Binaries[j]
			f.Path, f.Program, f.Soname, f.Size, f.Object = r.text(), r.number() != 0, r.text(), r.number(), r.digest()
			f.Needed, f.Loads, f.Place, f.Self = r.texts(), r.numbered(table), r.text(), r.selfBound()
		}
		h.Leads, h.Merged, h.files = r.texts(), r.texts(), r.text()
		if r.bad {
			return nil, errHoldings
		}
	}
	if r.b != "" {
		return nil, errHoldings
	}
	return list, nil
}

// SystemProgram is what is known of a program of the root's own packages: what it loads
// when it is started.
type SystemProgram struct {
	Package      string
	Version      string
	Architecture string
	Format       pkginfo.Format
	Path         string   // absolute in the root, without links
	Needed       []string // the names that it asks for
	Loads        []Need   // with the final path of each file; Provider has no meaning
	Missing      []string // names that nothing answers
}

// SystemPrograms are the programs of the root's own packages, as they were when what
// Stamp tells of was the same.
type SystemPrograms struct {
	Stamp    string
	Programs []SystemProgram
}

const programsMagic = "hashpkg programs 1\n"

// Encode returns the programs as a file, in the manner of [EncodeHoldings].
func (s *SystemPrograms) Encode() []byte {
	var w indexWriter
	needs := needTable{number: map[Need]int{}}
	w.text(s.Stamp)
	w.number(int64(len(s.Programs)))
	for i := range s.Programs {
		p := &s.Programs[i]
		w.text(p.Package)
		w.text(p.Version)
		w.text(p.Architecture)
		w.text(string(p.Format))
		w.text(p.Path)
		w.texts(p.Needed)
		needs.write(&w, p.Loads)
		w.texts(p.Missing)
	}
	return sealed(programsMagic, append(needs.encode(), w.Bytes()...))
}

// DecodeSystemPrograms reads what Encode wrote.
func DecodeSystemPrograms(b []byte) (*SystemPrograms, error) {
	fail := errors.New("the index of the system's programs is damaged")
	r, ok := unsealed(programsMagic, b)
	if !ok {
		return nil, fail
	}
	table := r.needs()
	s := &SystemPrograms{Stamp: r.text()}
	s.Programs = make([]SystemProgram, r.count())
	for i := range s.Programs {
		p := &s.Programs[i]
		p.Package, p.Version, p.Architecture, p.Format, p.Path = r.text(), r.text(), r.text(), pkginfo.Format(r.text()), r.text()
		p.Needed, p.Loads, p.Missing = r.texts(), r.numbered(table), r.texts()
	}
	if r.bad || r.b != "" {
		return nil, fail
	}
	return s, nil
}

// Spec returns "NAME=VERSION" of the program's package.
func (p *SystemProgram) Spec() string { return fmt.Sprintf("%s=%s", p.Package, p.Version) }

// sealed returns a derived file, which tells when it is damaged.
func sealed(magic string, body []byte) []byte {
	d := digest.Of(body)
	return slices.Concat([]byte(magic), d[:], body)
}

func unsealed(magic string, b []byte) (*indexReader, bool) {
	if len(b) < len(magic)+digest.Size || string(b[:len(magic)]) != magic {
		return nil, false
	}
	body := b[len(magic)+digest.Size:]
	if d := digest.Of(body); string(d[:]) != string(b[len(magic):len(magic)+digest.Size]) {
		return nil, false
	}
	return &indexReader{b: string(body)}, true
}

// needTable numbers needs.
type needTable struct {
	number map[Need]int
	list   []Need
}

func (t *needTable) write(w *indexWriter, needs []Need) {
	w.number(int64(len(needs)))
	for _, n := range needs {
		i, known := t.number[n]
		if !known {
			i = len(t.list)
			t.number[n], t.list = i, append(t.list, n)
		}
		w.number(int64(i))
	}
}

func (t *needTable) encode() []byte {
	var w indexWriter
	w.number(int64(len(t.list)))
	for _, n := range t.list {
		w.text(n.Soname)
		w.text(n.Provider)
		w.text(n.Path)
	}
	return w.Bytes()
}

func (r *indexReader) numbered(table []Need) []Need {
	list := make([]Need, r.count())
	for i := range list {
		n := r.number()
		if n < 0 || n >= int64(len(table)) {
			r.bad, r.b = true, ""
			return nil
		}
		list[i] = table[n]
	}
	return list
}

func (r *indexReader) needs() []Need {
	list := make([]Need, r.count())
	for i := range list {
		list[i] = Need{r.text(), r.text(), r.text()}
	}
	return list
}

func (w *indexWriter) selfBound(s *SelfBound) {
	w.number(flags(s != nil))
	if s == nil {
		return
	}
	w.number(int64(s.Bound))
	w.number(int64(s.Left))
	w.number(int64(len(s.Rivals)))
	for _, r := range s.Rivals {
		w.text(r.Provider)
		w.text(r.Path)
		w.number(int64(r.Symbols))
	}
}

func (r *indexReader) selfBound() *SelfBound {
	if r.number() == 0 {
		return nil
	}
	s := &SelfBound{Bound: int(r.number()), Left: int(r.number())}
	s.Rivals = make([]Rival, r.count())
	for i := range s.Rivals {
		s.Rivals[i] = Rival{r.text(), r.text(), int(r.number())}
	}
	return s
}

func (w *indexWriter) relations(list [][]pkginfo.Constraint) {
	w.number(int64(len(list)))
	for _, alternatives := range list {
		w.number(int64(len(alternatives)))
		for _, c := range alternatives {
			w.texts([]string{c.Name, c.Architecture, c.Operator, c.Version})
		}
	}
}

func (r *indexReader) relations() [][]pkginfo.Constraint {
	list := make([][]pkginfo.Constraint, r.count())
	for i := range list {
		list[i] = make([]pkginfo.Constraint, r.count())
		for k := range list[i] {
			if n := r.count(); n != 4 {
				r.bad, r.b = true, ""
				return nil
			}
			list[i][k] = pkginfo.Constraint{Name: r.text(), Architecture: r.text(), Operator: r.text(), Version: r.text()}
		}
	}
	return list
}

func (w *indexWriter) owned(f *OwnedFile) {
	w.text(f.Path)
	w.text(string(f.Type))
	if f.Type == TypeFile {
		w.Write(f.Object[:])
		w.Write(f.Source[:])
	}
	w.text(f.Target)
	w.text(f.Place)
}

func (r *indexReader) owned() (f OwnedFile) {
	f.Path, f.Type = r.text(), FileType(r.text())
	if f.Type == TypeFile {
		f.Object, f.Source = r.digest(), r.digest()
	}
	f.Target, f.Place = r.text(), r.text()
	return f
}
