// Package pkginfo is the package model that every format's backend speaks: what
// a package says of itself ([Package]) and the files it holds, one after
// another ([Reader], [Entry]).
//
// It owns the words that formats share: relations between packages ([Relation]) and
// what they want ([Expression]), what it takes to order versions ([Orders]), how
// records name a package ([Key]), what its signatures came to ([Signature]), the kinds
// of files ([Type]). It knows no format by name and reads no package or index: those
// below backends do. The one text that it reads is a rich relation, which packages and
// indexes keep as their authors wrote it.
package pkginfo

import (
	"io"
	"time"
)

// Format is the name of a package format: "deb", "rpm". Each backend has its own as
// a constant.
type Format string

// Package is what a package says of itself.
type Package struct {
	Format       Format
	Name         string
	Version      string // whole, in the format's own notation: "1:2.3-4", "1:1.2.11-40.el9"
	Architecture string // the format's own word: "amd64", "all", "x86_64", "noarch"
	Source       string // name of the source package, if it says so
	Summary      string // one line
	MultiArch    string // deb: "same", "foreign", "allowed" or ""

	Requires   []Relation   // what must be there (deb: Pre-Depends, then Depends)
	Recommends []Relation   // what most who install it have, too
	Provides   []Capability // what it offers besides its name
	Conflicts  []Relation   // deb: Conflicts and Breaks
	Replaces   []Relation   // deb: Replaces; rpm: Obsoletes

	Fields    []Field  // every header field, in the package's order
	Scripts   []Script // maintainer scripts, triggers' scripts included
	Triggers  []string // deb: lines of the triggers file
	Conffiles []string // paths in the root, without the leading slash
	Shlibs    []string // deb: lines of the shlibs file
	Templates string   // deb: what debconf may ask, without translations
}

// Field is one header field as it stands in the package.
type Field struct {
	Name  string
	Value string
}

// Script is a program that the format would run. hashpkg never runs one.
type Script struct {
	Name        string // "postinst", "preun", "transfiletriggerin", ...
	Interpreter string // of rpm scripts: "/bin/sh", "<lua>"; "" for a deb's, which has its own first line
	Body        string
	// Arguments are what it is run with when the package is installed where no version
	// of it was; nil of a script that does not run then.
	Arguments []string
}

// Relation is one requirement, of which any one alternative is enough.
type Relation struct {
	Alternatives []Constraint `json:"alternatives"`
	Text         string       `json:"text"` // as the package wrote it
}

// Constraint names a package or capability and, if Operator is not empty, a
// range of its versions.
type Constraint struct {
	Name         string `json:"name"`
	Architecture string `json:"architecture,omitempty"` // deb: the qualifier of "name:any"
	Operator     string `json:"operator,omitempty"`     // "", "<", "<=", "=", ">=", ">": deb's "<<" and ">>" are "<" and ">"
	Version      string `json:"version,omitempty"`
}

// Capability is a name that a package offers besides its own.
type Capability struct {
	Name    string `json:"name"`
	Version string `json:"version,omitempty"` // "" if it was given without one
}

// Type is the kind of a file in a package.
type Type uint8

// The kinds of files.
const (
	Regular Type = iota
	Directory
	Symlink
	HardLink // another name of a regular file that came before
	CharDevice
	BlockDevice
	FIFO
)

// Entry is one file of a package's payload.
type Entry struct {
	// Path is relative to the root, clean, with slashes, never absolute and
	// without "." or ".." elements: "usr/bin/jq". The root itself is ".".
	Path string
	Type Type
	Mode uint32 // permission, setuid, setgid and sticky bits: 07777

	UID, GID     int
	Owner, Group string

	Size    int64 // of a regular file, in bytes
	ModTime time.Time

	// Link is a symlink's target as the package has it, or the Path of the file
	// that a HardLink is another name of.
	Link string

	Xattrs       map[string]string // by full name: "security.capability"
	Major, Minor uint32            // of devices

	// Digest is what the package itself says of the content, as
	// "sha256:hex", or "" where the format has none.
	Digest string
	// Flags are rpm's: "config", "doc", "ghost", "noreplace", ...
	Flags []string
}

// Reader reads one package, front to back. Backends implement it.
type Reader interface {
	// Package returns what the package says of itself. It is complete before the
	// first call of Next.
	Package() *Package

	// Next advances to the next entry. It returns io.EOF after the last one, and
	// then everything that the format lets one check has been checked: lengths,
	// checksums, that nothing follows. A caller that stops early knows nothing.
	Next() (*Entry, error)

	// Read reads the content of the current entry if it is a regular file, and
	// returns io.EOF at its end. Next may be called before that.
	io.Reader

	// Close ends helper programs and frees buffers. It does not close what the
	// reader reads from.
	Close() error
}
