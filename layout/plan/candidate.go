package plan

import (
	"debug/elf"
	"path"
	"slices"
	"strings"

	"github.com/hashpkg/hashpkg/elfedit"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/ldso"
	"github.com/hashpkg/hashpkg/pkginfo"
)

// candidate is one package that may provide a needed library: of the command, or
// a tree of the generation.
type candidate struct {
	m         *record.Manifest
	tree      *record.Tree // nil for a package of the command
	objects   map[*record.File]*ldso.Object
	libraries map[string][]*record.File // in the loader's own directories, by every name they are found by
	launchers []launch                  // programs that need a view
	linkers   []string                  // programs that are run otherwise in a view: see [record.File]
	stubs     []stub                    // what programs are linked with
	bare      bool                      // gets no dev, as by a hashpkg that made none

	// Of one that is bound anew: the tree that it has, and that tree's manifest.
	from *record.Tree
	was  *record.Manifest
}

func newCandidate(m *record.Manifest, tree *record.Tree) *candidate {
	c := &candidate{m: m, tree: tree, objects: map[*record.File]*ldso.Object{}, libraries: map[string][]*record.File{}}
	add := func(name string, f *record.File) {
		if !slices.Contains(c.libraries[name], f) {
			c.libraries[name] = append(c.libraries[name], f)
		}
	}
	for i := range m.Files {
		f := &m.Files[i]
		if sub, ok := publicLibrary(f); ok && sub == "" {
			add(interfaceName(f), f)
			add(path.Base(f.Path), f)
		}
		if f.Type == record.TypeSymlink && strings.Contains(path.Base(f.Path), ".so") {
			to := m.Resolve(f.Path)
			if to == nil || to.ELF == nil || to.ELF.Type != elf.ET_DYN {
				continue
			}
			if slices.Contains(layout.LibraryDirs(to.ELF), path.Dir(f.Path)) {
				add(path.Base(f.Path), to)
			}
		}
	}
	return c
}

// object returns what stands for a file while a closure is computed. Its Path is
// for messages and for comparison: the tree has no name yet.
func (c *candidate) object(f *record.File) *ldso.Object {
	o := c.objects[f]
	if o == nil {
		where := c.m.Spec() + ":/" + f.Path
		switch {
		case c.from != nil:
			where = c.from.Path() + ":/" + f.Path
		case c.tree != nil:
			where = c.m.Name + "/" + c.m.Tree + ":/" + f.Path
		}
		o = &ldso.Object{Path: where, ID: where, Info: f.ELF}
		c.objects[f] = o
	}
	return o
}

// library returns the library of this ABI that a loader finds by name in its own
// directories; nil if there is none.
func (c *candidate) library(name string, abi *elfedit.Info) *record.File {
	for _, f := range c.libraries[name] {
		if sameABI(f.ELF, abi) {
			return f
		}
	}
	return nil
}

// inner returns the library with this soname wherever it stands; nil if there is
// none.
func (c *candidate) inner(soname string, abi *elfedit.Info) *record.File {
	for i := range c.m.Files {
		f := &c.m.Files[i]
		if f.ELF != nil && f.ELF.Soname == soname && sameABI(f.ELF, abi) {
			return f
		}
	}
	return nil
}

// hasLibrary reports whether the tree has a library by that name anywhere.
func hasLibrary(t *record.Tree, name string) bool {
	return slices.Contains(t.Inner, name) || slices.ContainsFunc(t.Links, func(l string) bool {
		return strings.HasPrefix(l, "lib") && path.Base(l) == name
	})
}

// interpreter returns the file that a program's PT_INTERP names, if c is its
// loader family; nil otherwise.
func (c *candidate) interpreter(program *elfedit.Info) *record.File {
	if f := c.library(path.Base(program.Interpreter), program); f != nil {
		return f
	}
	// rpm's glibc and i386's libc6 have it in lib64/ and lib/, where the names
	// of other ABIs' loaders may stand too.
	if f := c.m.Resolve(program.Interpreter); f != nil && f.ELF != nil && sameABI(f.ELF, program) {
		return f
	}
	return nil
}

// isLibc reports whether c is a C library's package for this ABI.
func (c *candidate) isLibc(abi *elfedit.Info) bool {
	return c.library(layout.LibcName(abi), abi) != nil
}

// forbiddenBy returns the relation of one of the members that keeps c from being
// loaded with them, as "jq=1.6 requires libjq1 (= 1.6)"; "" when none does. A relation
// that names c must be satisfied by c, through one of its alternatives.
func (c *candidate) forbiddenBy(members []*candidate, orders pkginfo.Orders) (relation string) {
	for _, member := range members {
		if member == c {
			continue
		}
		for _, r := range member.m.Requires {
			named, satisfied := false, false
			for _, want := range r.Alternatives {
				if want.Name == c.m.Name {
					named = true
					satisfied = satisfied || orders.Satisfies(c.m.Format, c.m.Version, want)
				} else if slices.ContainsFunc(c.m.Provides, func(p pkginfo.Capability) bool { return p.Name == want.Name }) {
					satisfied = satisfied || offers(orders, c.m.Format, c.m.Name, c.m.Version, c.m.Provides, want)
				}
			}
			if named && !satisfied {
				return member.m.Spec() + " requires " + r.String()
			}
		}
	}
	return ""
}

// sameABI reports whether a library may answer what a program or library of this ABI
// needs. What is of no C library is of all of them.
func sameABI(library, abi *elfedit.Info) bool {
	return library.Class == abi.Class && library.Data == abi.Data && library.Machine == abi.Machine &&
		(ldso.Triplet(library) == ldso.Triplet(abi) || abi.Musl && isOfNoLibC(library) && ldso.MachineTriplet(library) == ldso.MachineTriplet(abi))
}

// driverSonames begin the names of libraries that must match the machine's own
// graphics driver, whatever a package brings: programs ask for them by soname.
var driverSonames = []string{
	"libGL.so.", "libEGL.so.", "libGLX.so.", "libGLESv1_CM.so.", "libGLESv2.so.", "libOpenGL.so.", "libGLdispatch.so.",
	"libcuda.so.", "libvulkan.so.", "libOpenCL.so.", "libnvidia-", "libvdpau.so.", "libnvcuvid.so.",
}

// isDriver reports whether a soname is of a library that the machine's driver provides.
func isDriver(name string) bool {
	return slices.ContainsFunc(driverSonames, func(p string) bool { return strings.HasPrefix(name, p) })
}
