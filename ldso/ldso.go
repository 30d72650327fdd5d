// Package ldso says which files the dynamic loader would load for a
// program, and why a program would not start, without running anything. It
// follows glibc's elf/dl-load.c, dl-deps.c, dl-cache.c and dl-version.c or, for a
// program or library of musl, musl's ldso/dynlink.c.
//
// [Load] computes the closure of a program, asking a [Finder] for every name
// that no loaded object answers. [Root] is the Finder that searches a root as
// the loader does: run paths, LD_LIBRARY_PATH, /etc/ld.so.cache and the
// default directories, or musl's own file of directories. [ParseCache] and [ParseConf] read what ldconfig writes
// and reads, and [MultiarchLayout], [Lib64Layout] and [Triplet] say where a
// distribution keeps the libraries of an architecture.
//
// # What is left to the caller
//
// The package opens no file: it knows of a root what a [Files] tells it.
//
// # What is not modeled
//
// LD_PRELOAD, /etc/ld.so.preload, LD_AUDIT, dlopen, the restrictions on
// set-user-ID programs, and paths relative to the working directory, which are
// passed over as if it were empty.
package ldso

import (
	"errors"

	"github.com/hashpkg/hashpkg/elfedit"
)

// ErrNotFound is what a Finder's error wraps when no file answers a name.
var ErrNotFound = errors.New("library not found")

// ErrNotLoadable is what the error for a file wraps that is there but that the
// loader refuses, as one that is not ELF. The loader does not search on after
// such a file.
var ErrNotLoadable = errors.New("not a loadable ELF file")

// Object is one ELF file as the loader sees it.
type Object struct {
	// Path is the absolute path, inside the root, by which the loader opens
	// the file; it need not be clean or free of links. $ORIGIN is its
	// directory. A program's Path is without links: the kernel resolves them.
	Path string
	// ID is equal for two objects when they are one file: device and inode,
	// or path and digest for a file that is only planned.
	ID string
	// Info is never nil.
	Info *elfedit.Info
}

// Finder opens libraries. [Load] calls it for names that no object which is
// already loaded answers.
type Finder interface {
	// Find returns the object that answers name, a DT_NEEDED entry with
	// $ORIGIN expanded or the path of an interpreter. It is needed by the last
	// object of chain; each object of chain was loaded on behalf of the one
	// before it, and chain[0] is the program. The error wraps ErrNotFound when
	// nothing answers; any other ends the computation.
	Find(name string, chain []*Object) (*Object, error)
}

// Closure is everything that is loaded when a program starts.
type Closure struct {
	// Objects are the objects in which symbols are searched, in that order:
	// the program first, then breadth first, each once; what a file is a filter
	// for (DT_FILTER, DT_AUXILIARY) is before it. It is the order of ldd(1).
	// The interpreter is among them where something needs it by name.
	Objects []*Object
	// Interpreter is the object of the program's PT_INTERP; nil when there is
	// none or it is missing.
	Interpreter *Object
	// Needs has every DT_NEEDED entry of every object, in the order in which
	// the loader comes to them.
	Needs []Need
	// Missing has what was not found, the program's interpreter and what files
	// are filters for included.
	Missing []Missing
	// Versions has the symbol versions that are not there, fatal or not.
	Versions []MissingVersion
}

// Need is one DT_NEEDED entry.
type Need struct {
	From     *Object
	Name     string  // as it stands in the file
	Provider *Object // nil when it is missing
}

// Missing is a needed name that nothing answers.
type Missing struct {
	From  *Object
	Name  string    // as it stands in the file
	Chain []*Object // from the program to From
	Err   error     // what the Finder said
}

// MissingVersion is a symbol version that a file wants of another in vain.
type MissingVersion struct {
	From    *Object
	File    string // vn_file
	Version string
	// Provider is the object that should define the version; nil when no
	// loaded object is known by the name File. The loader then aborts.
	Provider *Object
	// Fatal is false where the loader warns only: the reference is weak, or
	// Provider defines no versions at all.
	Fatal bool
}

// Starts reports whether the loader would come as far as relocation: nothing
// is missing but versions that it only warns of.
func (c *Closure) Starts() bool {
	if len(c.Missing) > 0 {
		return false
	}
	for _, v := range c.Versions {
		if v.Fatal {
			return false
		}
	}
	return true
}
