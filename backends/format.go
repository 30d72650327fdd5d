// Package backends is what hashpkg asks of a package format and of the package
// manager that goes with it: [Format]. The formats themselves are packages below
// this one; [Formats] is the list of those that a program was built with, and tells
// which of them a file is of.
//
// # How to add a format
//
// Write a package with a type that implements [Format], let it pass the suite in
// backends/conformance, and put its value into the list that the main packages hand
// to sysroot.Open. Nothing else knows formats by name: what hashpkg does for one and
// not for another it asks a method, or an optional interface such as [Prover].
//
// The methods of a Format may be called by several goroutines at once, and so it
// has no state: what it read it returns.
package backends

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/hashpkg/hashpkg/backends/trust"
	"github.com/hashpkg/hashpkg/pkginfo"
)

// Format is one package format, and the package manager that goes with it.
type Format interface {
	// Name returns the name that records have for the format: lower-case letters and
	// digits.
	Name() pkginfo.Format

	// Matches reports whether a file that begins with head is meant to be a package
	// of this format. head has [HeadSize] bytes, or is the whole file. At most one
	// format matches. A file that was cut off, or damaged in a way that the reader
	// can tell of, should match, so that it does.
	Matches(head []byte) bool

	// Order returns how the format orders versions.
	Order() pkginfo.Order

	// Open reads a package front to back. Signatures are verified with keys, which
	// may be nil; they decide nothing. What is damaged, or not allowed, is an error
	// now or of the reader: never a panic, a long wait, or much memory. The caller
	// closes the reader, and not before that what it reads from.
	Open(r io.Reader, keys *trust.Keyring) (Reader, error)

	// Database reads what the root's package manager has installed. The error wraps
	// [ErrNoDatabase] where it has no database, and fs.ErrPermission where the
	// caller may not read it.
	Database(ctx context.Context, root Root) (Database, error)

	// State returns what changes with every change of the database, and with
	// nothing else. It is cheap to get, and says the same for each process. The
	// error wraps [ErrNoDatabase] where there is no database.
	State(root Root) (string, error)

	// RootKeys returns the keys that the root's package manager trusts for whatever
	// it has no other keys for, and warnings about those that could not be
	// read. Without a package manager there are none.
	RootKeys(ctx context.Context, root Root) (keys *trust.Keyring, warnings []string, err error)
}

// HeadSize is how many bytes of a file [Format.Matches] is given: a tar header.
const HeadSize = 512

// ErrNoDatabase is wrapped by errors of [Format.Database] and [Format.State] for a
// root that the package manager does not keep.
var ErrNoDatabase = errors.New("the package manager has no database")

// ErrUnknownFormat is wrapped by the error of [Formats.Detect] for a file of no
// format in the list.
var ErrUnknownFormat = errors.New("not a package")

// Reader reads one package. It is not safe for use by several goroutines at once.
type Reader interface {
	pkginfo.Reader

	// Signature returns what the package's own signatures came to. It is complete,
	// and only then can it be good, when Next has returned io.EOF. Of a format that
	// carries no signatures it is [pkginfo.Unsigned].
	Signature() pkginfo.Signature

	// NamesOwners reports whether the package has names for owners, and no numbers.
	// An entry's UID and GID are then 0 whoever its owner is, and setuid and setgid
	// bits are for the owner and group that it names.
	NamesOwners() bool
}

// Database is what a package manager has installed, at one moment.
type Database interface {
	// Packages returns the installed packages. Those whose files are not in place
	// are not among them. Their Files may be called as long as the root is there.
	Packages() []*Installed
}

// Installed is one installed package.
type Installed struct {
	*pkginfo.Package
	Key pkginfo.Key
	// Stamp changes when the package is installed again, be it the same version, and
	// when its files move.
	Stamp string
	// Files returns the package's files and directories where they are now, with the
	// digests that the database has for them and with the flags "config" and
	// "ghost". Where the database does not say what kind of file one is, Type has no
	// meaning. It may be called by several goroutines.
	Files func() ([]pkginfo.Entry, error)
	// Reinstall is the command line that brings the package's files again.
	Reinstall string
}

// Formats are the formats in use.
type Formats []Format

// Detect returns the format of a file that begins with head: see [Format.Matches].
// The error wraps [ErrUnknownFormat], and names the formats.
func (f Formats) Detect(head []byte) (Format, error) {
	for _, format := range f {
		if format.Matches(head) {
			return format, nil
		}
	}
	names := make([]string, len(f))
	for i, format := range f {
		names[i] = string(format.Name())
	}
	if len(head) == 0 {
		return nil, fmt.Errorf("%w: the file is empty", ErrUnknownFormat)
	}
	return nil, fmt.Errorf("%w of a format that is known (%s)", ErrUnknownFormat, strings.Join(names, ", "))
}

// Identify returns the format of what r reads, and a reader of all of it.
func (f Formats) Identify(r io.Reader) (Format, io.Reader, error) {
	head := make([]byte, HeadSize)
	n, err := io.ReadFull(r, head)
	if err != nil && err != io.EOF && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, nil, err
	}
	format, err := f.Detect(head[:n])
	if err != nil {
		return nil, nil, err
	}
	return format, io.MultiReader(strings.NewReader(string(head[:n])), r), nil
}

// ByName returns the format that records have a name for.
func (f Formats) ByName(name pkginfo.Format) (Format, bool) {
	for _, format := range f {
		if format.Name() == name {
			return format, true
		}
	}
	return nil, false
}

// Orders returns how the formats order versions.
func (f Formats) Orders() pkginfo.Orders {
	orders := make(pkginfo.Orders, len(f))
	for _, format := range f {
		orders[format.Name()] = format.Order()
	}
	return orders
}
