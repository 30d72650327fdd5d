package deb

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/hashpkg/hashpkg/backends"
	"github.com/hashpkg/hashpkg/internal/pack"
	"github.com/hashpkg/hashpkg/internal/unpack"
	"github.com/hashpkg/hashpkg/pkginfo"
)

var _ backends.Rewriter = Format{}

// versionSuffix sorts before all that Debian and its derivatives add to a version:
// "+b1", "+deb12u1", "ubuntu0.1", "build1", ".1" (deb-version(7): letters come before
// other characters, and capitals before small letters).
const versionSuffix = "Hashpkg1"

// maxMemberSize is the most that the size of an ar member may be: ten digits (ar(5)).
const maxMemberSize = 9_999_999_999

// suffixes of members, by the names of [backends.Changes].
var namedCompressions = map[string]string{"none": "", "gzip": ".gz", "xz": ".xz", "zstd": ".zst"}

// errUdeb says what becomes of packages of the installer, by what they are known by:
// dpkg-deb's Package-Type, or where there is none the section (Debian Policy 2.4).
var errUdeb = errors.New("it is a package for the installer (udeb), where there are no other libraries to choose from: leave it as it is")

// Rewritable implements [backends.Rewriter].
func (Format) Rewritable(r backends.Reader) error {
	for _, f := range r.Package().Fields {
		name, value := strings.ToLower(f.Name), strings.TrimSpace(f.Value)
		if name == "package-type" && value != "deb" ||
			name == "section" && (value == "debian-installer" || strings.HasSuffix(value, "/debian-installer")) {
			return errUdeb
		}
	}
	return nil
}

// HasNotes implements [backends.Rewriter]: Debian Policy 12.7.
func (Format) HasNotes(p *pkginfo.Package, e *pkginfo.Entry) bool {
	return e.Type == pkginfo.Regular && noteRank(p, e.Path) > 0
}

// noteRank says how likely a file is Debian's changelog: that of a package which is
// Debian's alone has the name that upstream's has in others.
func noteRank(p *pkginfo.Package, path string) int {
	name, ok := strings.CutPrefix(path, "usr/share/doc/"+p.Name+"/changelog")
	if !ok {
		return 0
	}
	return map[string]int{".Debian.gz": 4, ".Debian": 3, ".gz": 2, "": 1}[name]
}

// rewriting is one package that is being made again.
type rewriting struct {
	*backends.Changes
	d       *Reader
	w       io.WriteSeeker
	edited  *edited
	suffix  string // of the version
	control []rawFile
}

// rawFile is an entry of control.tar: its blocks, and its content.
type rawFile struct {
	raw     []byte
	header  *tarHeader
	path    string // clean
	content []byte
}

// Rewrite implements [backends.Rewriter]. Of members beside the three that a package
// has, which hold signatures, none is in the result.
//
// Entries of the archives are copied as they are, block by block; only the sizes of
// changed files are others. Sizes: Installed-Size changes by as much as the files do
// that are changed, as dpkg-gencontrol(1) counts them.
func (Format) Rewrite(w io.ReadWriteSeeker, r io.Reader, c *backends.Changes) (*backends.Rewritten, error) {
	rw := &rewriting{Changes: c, d: &Reader{archive: archive{r: r}}, w: w, suffix: c.Suffix}
	if rw.suffix == "" {
		rw.suffix = versionSuffix
	}
	if err := rw.d.readFormat(); err != nil {
		return nil, err
	}
	if _, err := io.WriteString(w, arMagic); err != nil {
		return nil, err
	}
	first, version := rw.d.first, "2.0\n" // all that dpkg-deb writes; the reader takes any minor version
	if err := writeMember(w, first, first.name, func(w io.Writer) error {
		_, err := io.WriteString(w, version)
		return err
	}); err != nil {
		return nil, err
	}
	if err := rw.rewriteControl(); err != nil {
		return nil, err
	}
	if err := rw.rewriteData(); err != nil {
		return nil, err
	}
	return rw.result()
}

// writeMember writes a member whose header is that of from, with another name and the
// size of what is written.
func writeMember(w io.WriteSeeker, from *member, name string, content func(io.Writer) error) error {
	start, err := w.Seek(0, io.SeekCurrent)
	if err != nil {
		return err
	}
	header := from.header
	if _, err := w.Write(header[:]); err != nil {
		return err
	}
	counted := &counter{w: w}
	if err := content(counted); err != nil {
		return err
	}
	if counted.n > maxMemberSize {
		return fmt.Errorf("%s has %d bytes, and a deb cannot hold more than %d: choose another compression", name, counted.n, int64(maxMemberSize))
	}
	if counted.n%2 == 1 {
		if _, err := io.WriteString(w, "\n"); err != nil {
			return err
		}
	}
	if _, err := w.Seek(start, io.SeekStart); err != nil {
		return err
	}
	copy(header[:arNameSize], fmt.Sprintf("%-*s", arNameSize, name))
	copy(header[48:58], fmt.Sprintf("%-10d", counted.n))
	if _, err := w.Write(header[:]); err != nil {
		return err
	}
	_, err = w.Seek(0, io.SeekEnd)
	return err
}

// counter counts what is written.
type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// writePacked writes a member with a tar archive, in the compression of from or the one
// that was asked for.
func (rw *rewriting) writePacked(from *member, base string, known map[string]unpack.Compression, archive func(io.Writer) error) error {
	suffix := strings.TrimPrefix(from.name, base)
	if rw.Compression != "" {
		var ok bool
		if suffix, ok = namedCompressions[rw.Compression]; !ok {
			return fmt.Errorf("dpkg does not know the compression %q", rw.Compression)
		}
	}
	return writeMember(rw.w, from, base+suffix, func(w io.Writer) error {
		p, err := pack.NewWriter(w, known[suffix], 0)
		if err != nil {
			return err
		}
		counted := &counter{w: p}
		if err := archive(counted); err != nil {
			return errors.Join(err, p.Close())
		}
		if err := writeTarEnd(counted); err != nil {
			return errors.Join(err, p.Close())
		}
		return p.Close()
	})
}

// writeTarEnd ends a tar archive, and fills it up as tar does (tar(5), "blocking").
func writeTarEnd(w *counter) error {
	const record = 20 * blockSize
	size := 2*blockSize + -(w.n+2*blockSize)%record
	if size < 2*blockSize {
		size += record
	}
	_, err := w.Write(make([]byte, size))
	return err
}

// withSize returns the blocks of an entry for a content of another size.
func withSize(raw []byte, size int64) []byte {
	raw = bytes.Clone(raw)
	h := raw[len(raw)-blockSize:]
	copy(h[124:136], tarNumber(size))
	copy(h[148:156], "        ")
	sum := 0
	for _, c := range h {
		sum += int(c)
	}
	copy(h[148:156], fmt.Sprintf("%06o\x00 ", sum))
	return raw
}

// tarNumber is a size as GNU tar writes it: octal, or binary where that has no room.
func tarNumber(n int64) []byte {
	if n < 1<<33 {
		return fmt.Appendf(nil, "%011o\x00", n)
	}
	b := make([]byte, 12)
	b[0] = 0x80
	for i := 11; n > 0; i-- {
		b[i] = byte(n)
		n >>= 8
	}
	return b
}

// writeEntry writes an entry of a regular file.
func writeEntry(w io.Writer, raw []byte, size int64, content io.Reader) error {
	if _, err := w.Write(raw); err != nil {
		return err
	}
	if n, err := io.Copy(w, content); err != nil {
		return err
	} else if n != size {
		return fmt.Errorf("a changed file has %d bytes, and %d a moment ago: another program changes it", n, size)
	}
	_, err := w.Write(make([]byte, -size&(blockSize-1)))
	return err
}

// rewriteData writes data.tar, and reads what is left of the package.
func (rw *rewriting) rewriteData() error {
	if err := rw.d.openData(); err != nil {
		return err
	}
	defer rw.d.data.free()
	err := rw.writePacked(rw.d.data.member, dataTar, dataCompressions, rw.writeData)
	if err != nil {
		return err
	}
	for {
		m, err := rw.d.archive.next("a member behind the data")
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return nil // what follows is ignored, whole or not
		}
		var damage *FormatError
		if errors.As(err, &damage) {
			return nil
		}
		if err != nil {
			return err
		}
		rw.d.ignored = append(rw.d.ignored, m.name)
		if err := m.skip(); err != nil {
			return nil
		}
		if err := m.finish(); err != nil {
			return nil
		}
	}
}

func (rw *rewriting) writeData(w io.Writer) error {
	tar := rw.d.tar
	left := len(rw.edited.files)
	for {
		h, err := tar.next()
		if err == io.EOF {
			if left > 0 {
				return fmt.Errorf("%d of the changed files are not in the package", left)
			}
			if err = rw.d.finish(); err == io.EOF {
				err = nil
			}
			return err
		}
		if err != nil {
			return err
		}
		raw := bytes.Clone(tar.raw)
		e, err := tar.addTo(rw.d.tree, h)
		if err != nil {
			return err
		}
		var change *backends.Content
		if e != nil && e.Type == pkginfo.Regular {
			change = rw.edited.files[e.Path]
		}
		switch {
		case change != nil:
			left--
			err = writeContent(w, withSize(raw, change.Size), change)
		case h.kind == '0':
			err = writeEntry(w, raw, h.size, tar)
		default:
			_, err = w.Write(raw)
		}
		if err != nil {
			return err
		}
	}
}

func writeContent(w io.Writer, raw []byte, c *backends.Content) error {
	r, err := c.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	return writeEntry(w, raw, c.Size, r)
}

// result says what has been written.
func (rw *rewriting) result() (*backends.Rewritten, error) {
	p := rw.d.pkg
	version := p.Version + rw.suffix
	_, inName, found := strings.Cut(version, ":")
	if !found {
		inName = version
	}
	result := &backends.Rewritten{
		Version: version, FileName: p.Name + "_" + inName + "_" + p.Architecture + ".deb",
		Unnoted: rw.edited.note == "",
	}
	for _, name := range rw.d.ignored {
		what := "the member " + strconv.Quote(name)
		if strings.HasPrefix(name, "_gpg") {
			what += ", a signature of what the package was"
		}
		result.Lost = append(result.Lost, what)
	}
	return result, nil
}
