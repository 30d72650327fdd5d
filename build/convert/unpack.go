package convert

import (
	"bytes"
	"cmp"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"reflect"
	"slices"
	"strings"

	"github.com/hashpkg/hashpkg/backends"
	"github.com/hashpkg/hashpkg/build"
	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/internal/unpack"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/pkginfo"
	"github.com/hashpkg/hashpkg/programs"
)

// contents is what a package is: all that its reader gives.
type contents struct {
	pkg     *pkginfo.Package
	entries []pkginfo.Entry
	sums    map[string]digest.Digest // of regular files, by path
}

func newContents(p *pkginfo.Package) *contents {
	return &contents{pkg: p, sums: map[string]digest.Digest{}}
}

// readAll reads a package to its end. see, unless nil, gets each entry, and reads from r
// what it wants of its content.
func (c *contents) readAll(r backends.Reader, see func(e *pkginfo.Entry, content io.Reader) error) error {
	for {
		e, err := r.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		c.entries = append(c.entries, *e)
		h := digest.New()
		content := io.TeeReader(r, h)
		if see != nil {
			if err := see(e, content); err != nil {
				return err
			}
		}
		if e.Type != pkginfo.Regular {
			continue
		}
		if _, err := io.Copy(io.Discard, content); err != nil {
			return err
		}
		c.sums[e.Path] = digest.Sum(h)
	}
}

// compare says what c has otherwise than a package from which it was made, besides the
// version, what follows from it, and the sizes and contents of the changed files and of
// those with notes.
func (c *contents) compare(from *contents, version string, changed []string, isNote func(string) bool) error {
	a, b := *from.pkg, *c.pkg
	if b.Version != version {
		return fmt.Errorf("it has the version %s, and should have %s", b.Version, version)
	}
	b.Version = a.Version
	if !slices.Equal(inOrder(b.Provides), offered(&a, version)) {
		return errors.New("it should offer what the package did, and itself under the old version, and nothing else")
	}
	a.Provides, b.Provides = nil, nil
	a.Fields, b.Fields = unchangedFields(a.Fields), unchangedFields(b.Fields)
	if a.Source == "" {
		b.Source = ""
	}
	a.Requires, b.Requires = withoutPacking(a.Requires), withoutPacking(b.Requires)
	if !reflect.DeepEqual(a, b) {
		return errors.New("its relations, scripts or other facts are others")
	}
	if len(c.entries) != len(from.entries) {
		return fmt.Errorf("it has %d files, and should have %d", len(c.entries), len(from.entries))
	}
	for i, is := range c.entries {
		was := from.entries[i]
		isChanged := slices.Contains(changed, is.Path)
		if isChanged || isNote(is.Path) {
			is.Size, is.Digest = was.Size, was.Digest
		}
		if is.Type == pkginfo.HardLink && slices.Contains(changed, is.Link) {
			is.Digest = was.Digest
		}
		if !reflect.DeepEqual(is, was) {
			return fmt.Errorf("%s is not as it was", is.Path)
		}
		same := c.sums[is.Path] == from.sums[is.Path]
		if isChanged == same && !isNote(is.Path) {
			return fmt.Errorf("%s has not the content that it should have", is.Path)
		}
	}
	return nil
}

// changedFields are the fields that a package which is made again has otherwise, in lower
// case: of its version, what it offers, its sizes, and how it is packed.
var changedFields = []string{
	"version", "release", "source", "provides", "installed-size", "size", "longsize", "payloadcompressor", "payloadflags",
}

func unchangedFields(all []pkginfo.Field) (others []pkginfo.Field) {
	for _, f := range all {
		if !slices.Contains(changedFields, strings.ToLower(f.Name)) {
			others = append(others, f)
		}
	}
	return others
}

// offered returns what a package has to offer once it has a new version: all that it did,
// itself under its old version for those who ask for exactly that, and what has its name
// and version, such as "NAME(x86-64)", under the new one, too.
func offered(p *pkginfo.Package, version string) []pkginfo.Capability {
	all := append(slices.Clone(p.Provides), pkginfo.Capability{Name: p.Name, Version: p.Version})
	for _, c := range p.Provides {
		if c.Version == p.Version && strings.HasPrefix(c.Name, p.Name+"(") {
			all = append(all, pkginfo.Capability{Name: c.Name, Version: version})
		}
	}
	return inOrder(all)
}

// inOrder returns capabilities in an order of their own, each once.
func inOrder(all []pkginfo.Capability) []pkginfo.Capability {
	return slices.Compact(slices.SortedFunc(slices.Values(all), func(a, b pkginfo.Capability) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Version, b.Version))
	}))
}

// withoutPacking returns what is required besides what an rpm has to know to unpack it.
func withoutPacking(all []pkginfo.Relation) (others []pkginfo.Relation) {
	for _, r := range all {
		if !strings.HasPrefix(r.String(), "rpmlib(PayloadIs") {
			others = append(others, r)
		}
	}
	return others
}

// unpacked is a regular file of the package that stands in the work's tree.
type unpacked struct {
	size int64 // that it has in the package
}

// maxNotes is the most that a file with notes may have.
const maxNotes = 16 << 20

// unpack reads the package. It unpacks the ELF files, with their names, modes and hard
// links, and what programs are compared with; and keeps the notes.
func (c *conversion) unpack(r backends.Reader) error {
	root, err := os.OpenRoot(c.root())
	if err != nil {
		return err
	}
	defer root.Close()
	c.seen, c.notes, c.tree = newContents(r.Package()), map[string][]byte{}, map[string]unpacked{}
	room := unpack.Room{Max: cmp.Or(c.MaxSize, unpack.DefaultMaxSize)}

	return c.seen.readAll(r, func(e *pkginfo.Entry, content io.Reader) error {
		switch {
		case e.Type == pkginfo.Symlink && isLoader(e.Path):
			return errLoader(e.Path)
		case e.Type == pkginfo.HardLink:
			return c.link(root, e)
		case e.Type != pkginfo.Regular:
			return nil
		}
		if err := room.Take(e.Size); err != nil {
			return fmt.Errorf("%s: %w", e.Path, err)
		}
		if c.rewriter.HasNotes(r.Package(), e) && e.Size <= maxNotes {
			text, err := io.ReadAll(content)
			c.notes[e.Path] = text
			return err
		}
		var magic [len(elf.ELFMAG)]byte
		n, err := io.ReadFull(content, magic[:])
		if err != nil && err != io.EOF && !errors.Is(err, io.ErrUnexpectedEOF) {
			return err
		}
		isELF := string(magic[:n]) == elf.ELFMAG
		if !isELF && path.Ext(e.Path) != ".hmac" {
			return nil
		}
		if isELF && isLoader(e.Path) {
			return errLoader(e.Path)
		}
		if reason := leftByPackage(r.Package(), e); isELF && reason != "" {
			c.report.Files = append(c.report.Files, build.File{Path: "/" + e.Path, Left: reason})
			return nil
		}
		if isELF {
			c.tree[e.Path] = unpacked{size: e.Size}
		}
		return unpackFile(root, e, io.MultiReader(bytes.NewReader(magic[:n]), content))
	})
}

// isLoader reports whether a file is of the C library by its name: itself, or the link by
// which it is loaded.
func isLoader(name string) bool {
	base := path.Base(name)
	return !strings.HasPrefix(name, "usr/share/") && (layout.IsGlibcLoader(base) || strings.HasPrefix(base, "ld-musl-"))
}

func errLoader(name string) error {
	return fmt.Errorf("it is not converted: it has %s, and the C library and its loader are not edited", name)
}

// leftByPackage returns why a file is left for what the package says of it.
func leftByPackage(p *pkginfo.Package, e *pkginfo.Entry) programs.Reason {
	switch {
	case slices.Contains(p.Conffiles, e.Path):
		return "is a configuration file"
	case e.Xattrs["security.capability"] != "":
		return "has capabilities, and the loader gives such a program no $ORIGIN"
	}
	return ""
}

func unpackFile(root *os.Root, e *pkginfo.Entry, content io.Reader) error {
	if err := root.MkdirAll(path.Dir(e.Path), 0o755); err != nil {
		return err
	}
	f, err := root.OpenFile(e.Path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if _, err := io.Copy(f, content); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := f.Close(); err != nil {
		return err
	}
	mode := os.FileMode(e.Mode&0o777) | 0o600 // its owner may read and edit it here
	if e.Mode&0o4000 != 0 {
		mode |= os.ModeSetuid
	}
	if e.Mode&0o2000 != 0 {
		mode |= os.ModeSetgid
	}
	return root.Chmod(e.Path, mode)
}

// link makes the other name of a file that was unpacked.
func (c *conversion) link(root *os.Root, e *pkginfo.Entry) error {
	if _, ok := c.tree[e.Link]; !ok {
		return nil
	}
	if err := root.MkdirAll(path.Dir(e.Path), 0o755); err != nil {
		return err
	}
	return root.Link(e.Link, e.Path)
}
