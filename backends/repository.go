package backends

import (
	"context"
	"io"
	"time"

	"github.com/hashpkg/hashpkg/backends/trust"
	"github.com/hashpkg/hashpkg/pkginfo"
)

// Repositories is a [Format] whose packages come from repositories: directories, most
// of them on servers, with an index that somebody has signed.
type Repositories interface {
	Format

	// SourcesExtension is how the names of files end that have sources of the format:
	// ".sources", ".repo".
	SourcesExtension() string

	// ParseSources reads such a file. name is what messages call it.
	ParseSources(name string, text []byte) ([]Source, error)

	// FormatSources returns a file that ParseSources reads as these sources, whose File
	// does not matter.
	FormatSources(sources []Source) []byte

	// RootSources returns the sources of the root's package manager, without those that
	// are switched off, and warnings about what could not be read. Without a package
	// manager there are none.
	RootSources(ctx context.Context, root Root) (sources []Source, warnings []string, err error)

	// Release returns the sources of a distribution's release that the format knows by
	// name, such as "trixie" or "fedora-42"; nil if it does not. known are the sources
	// of the root: those of the same distribution say which mirror to use, unless
	// mirror does.
	Release(name string, known []Source, mirror string) []Source

	// Releases returns the names for Release, in the order in which to show them.
	Releases() []string

	// Offered returns those of Releases that somebody may want who does not know them: without
	// releases that their mirrors have dropped.
	Offered() []string

	// Vendor returns who made a package, as package URLs name it ("debian", "fedora"): by
	// the release that it came from, else by its version. It is "" where neither tells.
	Vendor(release, version string) string

	// Architectures returns the format's words for what the root can run, its own
	// first, without the one for packages of all architectures.
	Architectures(root Root) ([]string, error)

	// AllArchitectures returns the word for packages of every architecture, and whether a
	// relation is about packages of the architecture of the one that has it (deb), or of
	// any (rpm, whose relations say it in their names).
	AllArchitectures() (word string, same bool)

	// Obsoletes reports whether a package that another one Replaces is obsolete: who asks
	// for it gets the other one, where that provides its name (rpm).
	Obsoletes() bool

	// Unsaid returns what a package requires without a word, since each system of its
	// distribution has it, and the root has not.
	Unsaid(root Root, p *pkginfo.Package) []pkginfo.Relation

	// List fetches the signed description of a source and verifies it. The error wraps
	// [trust.ErrSignature] when the signature is not good, and nothing was signed that
	// would do: a Listing is returned for a source whose Unsigned allows that. The caller
	// names the source in errors; no secret of an address is in one.
	List(ctx context.Context, root Root, request ListRequest) (*Listing, error)

	// SourceKeys returns the keys that may sign for a source: its description and, where
	// it says so, its packages. Get of the request is called for keys at an address.
	SourceKeys(ctx context.Context, root Root, request ListRequest) (*trust.Keyring, error)

	// ReadIndex reads a part of a listing, whose digest its reader has checked or will
	// check. each is called for every package, in the order of the index; what it is
	// given is its own. Lists and strings of a hostile index are bounded; what breaks
	// the format, or a name that is no package's, is an error.
	ReadIndex(part *Part, r io.Reader, each func(*pkginfo.Listed) error) error
}

// FileLists is [Repositories] whose indexes name only some files of packages, and which
// have all of them in an index of its own ([Listing.Files]). It is large, and is read for
// the few paths that relations name and no other index answers.
type FileLists interface {
	Repositories

	// IsListed reports whether ReadIndex gives a file of this path, where a package has it.
	IsListed(path string) bool

	// ReadFiles reads the index of all files, whose digest its reader will check. each is
	// called for the files that wanted has, with the name of the package, and its digest
	// as ReadIndex gives it, without the kind.
	ReadFiles(part *Part, r io.Reader, wanted map[string]bool, each func(name, digest, path string) error) error
}

// Source is one repository, as a file of sources names it.
type Source struct {
	Format pkginfo.Format
	Name   string // how people name it: "trixie-security", "fedora-42-updates"; a word
	// Release is what it is a part of, with its updates and security: "trixie". A
	// source by itself has its own name.
	Release string
	// URLs are the addresses of mirrors, to be tried in their order; of the schemes
	// http, https and file, and without a slash at the end. They may have variables
	// of the format, "$basearch", of which only List knows the values.
	URLs []string
	// Lists are addresses of lists of mirrors, for a source without URLs.
	Lists []MirrorList

	// Of a deb source. Without Components, Suite is a path that ends in a slash.
	Suite      string
	Components []string
	// Architectures are those that somebody named; nil for the root's.
	Architectures []string

	Keys Keys
	// Unsigned says that somebody wants it though nobody has signed it.
	Unsigned bool
	// PackagesSigned says that the packages themselves are to be signed by Keys.
	PackagesSigned bool
	// IgnoreExpiry says that an index that has expired is as good as another: that of a
	// snapshot.
	IgnoreExpiry bool

	File string // that names it, absolute in the root; "" for one of [Repositories.Release]
}

// MirrorList is an address that gives addresses.
type MirrorList struct {
	URL      string
	Metalink bool // XML with digests of the description (RFC 5854), and else one address a line
}

// Keys say who may sign for a source. Without any, the keys that the root's package
// manager trusts for all may.
type Keys struct {
	Files        []string // absolute in the root, or "file:" and "https:" addresses
	Fingerprints []string // of those keys that the root's package manager trusts for all
	Text         string   // keys themselves, armored
	// Package is the package that brings Files, for a message when they are not there.
	Package string
}

// ListRequest says what to list.
type ListRequest struct {
	Source        *Source
	Architectures []string // the format's words, without the one for all
	// Get fetches a file of at most limit bytes: a path relative to the source's
	// address, or an address. The error wraps fs.ErrNotExist where the server has none.
	Get func(ctx context.Context, path string, limit int64) ([]byte, error)
}

// Listing is the description of a repository, which its signature vouches for.
type Listing struct {
	pkginfo.Signature
	// URLs are the mirrors, where the source had a list of them, or variables in its
	// own; the one that was used comes first.
	URLs []string
	// Date is when it was made. An older one than the last is a replay.
	Date time.Time
	// ValidUntil is when it is to be replaced; zero if it does not say.
	ValidUntil time.Time
	// Origin, Suite, Codename and Version are what it calls itself, each "" if it does
	// not: "Debian", "testing", "trixie", "13.1".
	Origin, Suite, Codename, Version string
	Parts                            []Part
	// Files is the index of all files of the packages; nil where there is none. Only what
	// is a [FileLists] has one.
	Files *Part
}

// Part is an index of packages in a repository.
type Part struct {
	Name   string   // for people: "main amd64", "primary"
	Paths  []string // relative to the source's address, or addresses, to be tried in their order: by-hash, then by name
	Size   int64    `json:"size"`   // in bytes, packed
	Digest string   `json:"digest"` // of the packed bytes: "sha512:HEX" or "sha256:HEX"
	// Unpacked is the size of what is in it; -1 if the description does not say.
	Unpacked int64 `json:"unpacked"`
}
