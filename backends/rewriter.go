package backends

import (
	"io"
	"time"

	"github.com/hashpkg/hashpkg/pkginfo"
)

// Rewriter is a [Format] that makes a package again with other content of some of its
// files, under another version. All else of the package stays as it is: relations,
// scripts, configuration files, the metadata of files and their order.
type Rewriter interface {
	Format

	// Rewritable returns why a package is not made again, whatever is changed of it; nil
	// if it can be. The reader has just been opened by Open.
	Rewritable(r Reader) error

	// HasNotes reports whether a file of a package is one in which changes of the package
	// are noted. Its content belongs into [Changes.Notes].
	HasNotes(p *pkginfo.Package, e *pkginfo.Entry) bool

	// Rewrite writes to w, from its beginning, the package that r reads, with changes. The
	// package is one that was read to its end without an error. After an error what w has
	// is worth nothing.
	Rewrite(w io.ReadWriteSeeker, r io.Reader, c *Changes) (*Rewritten, error)
}

// Changes are what is changed of a package.
type Changes struct {
	// Suffix is added to the version; "" for what the format has of its own. It is one by
	// which the result is newer than the package, and older than the next one that its
	// distribution makes.
	Suffix string
	// Files are the new contents, by [pkginfo.Entry] Path of the regular file.
	Files map[string]Content
	// Notes are the contents that files have of which HasNotes is true, by path.
	Notes map[string][]byte
	// Note says what was changed, in one line, and Author who did, as "NAME <ADDRESS>".
	Note, Author string
	// Time is when, if that is after the package's own last change; else it is counted as
	// made with that.
	Time time.Time
	// Compression packs the files: "gzip", "xz", "zstd" or "none"; "" for that of the package.
	Compression string
}

// Content is the content of a file.
type Content struct {
	Size    int64
	OldSize int64    // of what it replaces
	Links   []string // the other names of the file, which are hard links of it in the package
	Open    func() (io.ReadCloser, error)
}

// Rewritten is what came of a package that was made again.
type Rewritten struct {
	Version  string // whole, as [pkginfo.Package] has it
	FileName string // that repositories have for such a package
	// Lost is what the package had and the new one does not, for people: "the signature
	// that ...".
	Lost []string
	// Unnoted says that there was no place for the note.
	Unnoted bool
}
