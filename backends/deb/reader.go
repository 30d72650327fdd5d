package deb

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/hashpkg/hashpkg/backends"
	"github.com/hashpkg/hashpkg/internal/unpack"
	"github.com/hashpkg/hashpkg/pkginfo"
)

const (
	controlTar = "control.tar"
	dataTar    = "data.tar"

	firstMember    = "debian-binary"
	maxFirstMember = 4 << 10
)

const (
	oldMagic  = "0.939"     // of the format of before 1995
	textMagic = "!<arch>\r" // after a download in text mode
)

// Reader reads one deb. It implements [backends.Reader]. It is not safe for use by
// several goroutines at once.
type Reader struct {
	archive archive
	first   *member  // debian-binary
	ignored []string // members that were passed over
	pkg     *pkginfo.Package
	data    *stream
	tar     *tarReader
	tree    *unpack.Tree
	err     error // what Next returned last, if it was an error
}

var _ backends.Reader = (*Reader)(nil)

// NewReader reads from r all that a deb says of itself, up to where its data
// begin. What is no deb at all gives an error that wraps [ErrNotDeb]; a deb that
// is damaged or not allowed gives a [*FormatError].
//
// The caller must call Close. Until then the reader may read from r at any time,
// from a goroutine of its own.
func NewReader(r io.Reader) (*Reader, error) {
	d := &Reader{archive: archive{r: r}}
	if err := d.readFormat(); err != nil {
		return nil, err
	}
	if err := d.readControl(); err != nil {
		return nil, err
	}
	if err := d.openData(); err != nil {
		return nil, err
	}
	return d, nil
}

// readFormat reads the magic and the member debian-binary.
func (d *Reader) readFormat() error {
	magic, err := d.archive.readMagic()
	if err != nil {
		return err
	}
	switch {
	case magic == arMagic:
	case strings.HasPrefix(magic, oldMagic):
		return &FormatError{Msg: "it has the deb format of before 1995: convert it with dpkg-deb -R and dpkg-deb -b", cause: ErrNotDeb}
	case strings.HasPrefix(magic, arMagic[:len(arMagic)-1]):
		return &FormatError{Msg: "it was changed by a download in text mode: download it again, in binary mode", cause: ErrNotDeb}
	default:
		return &FormatError{Msg: ErrNotDeb.Error(), cause: ErrNotDeb}
	}

	m, err := d.archive.next("the header of its first member")
	if err != nil {
		return err
	}
	if m.name != firstMember {
		return &FormatError{Msg: "an ar archive, but " + ErrNotDeb.Error() + ": its first member is not debian-binary", cause: ErrNotDeb}
	}
	if m.size > maxFirstMember {
		return &FormatError{Member: m.name, Msg: fmt.Sprintf("it has %d bytes, not the few of a format version", m.size)}
	}
	text, err := io.ReadAll(m)
	if err != nil {
		return err
	}
	d.first = m
	if err := checkFormatVersion(string(text)); err != nil {
		return &FormatError{Member: m.name, Msg: err.Error()}
	}
	return m.finish()
}

// checkFormatVersion reads the first line of debian-binary. Any minor version of
// format 2 is one that we read: deb(5).
func checkFormatVersion(text string) error {
	text, _, _ = strings.Cut(text, "\x00")
	line, _, ok := strings.Cut(text, "\n")
	if !ok {
		return errors.New("it has no complete line")
	}
	major, minor, ok := strings.Cut(line, ".")
	if !ok || !isVersionPart(major) || !isVersionPart(minor) {
		return fmt.Errorf("%q is not a format version", line)
	}
	if strings.TrimLeft(major, "0") != "2" {
		return fmt.Errorf("the package has format version %s, and only 2 is known: a newer hashpkg may read it", line)
	}
	return nil
}

// isVersionPart reports whether s is a number that dpkg reads: not above 1<<31-1.
func isVersionPart(s string) bool {
	if s == "" || strings.Trim(s, "0123456789") != "" {
		return false
	}
	s = strings.TrimLeft(s, "0")
	const largest = "2147483647"
	return len(s) < len(largest) || len(s) == len(largest) && s <= largest
}

// nextMember returns the next member that is not to be ignored, which must be
// want with any of the known compressions at the end of its name.
func (d *Reader) nextMember(want string, known map[string]unpack.Compression) (*stream, error) {
	for {
		start := d.archive.pos
		m, err := d.archive.next("place of the header of " + want)
		if err != nil {
			return nil, err
		}
		if strings.HasPrefix(m.name, "_") {
			d.ignored = append(d.ignored, m.name)
			if err := m.skip(); err != nil {
				return nil, err
			}
			if err := m.finish(); err != nil {
				return nil, err
			}
			continue
		}
		suffix, ok := strings.CutPrefix(m.name, want)
		if !ok {
			return nil, &FormatError{Offset: start, Msg: fmt.Sprintf("its member %q is where %s must be", m.name, want)}
		}
		c, ok := known[suffix]
		if !ok {
			return nil, &FormatError{Offset: start, Msg: fmt.Sprintf("its member %q has an unknown compression", m.name)}
		}
		if m.size == 0 {
			return nil, &FormatError{Offset: start, Msg: fmt.Sprintf("its member %q is empty", m.name)}
		}
		return newStream(m, c)
	}
}

func (d *Reader) readControl() error {
	s, err := d.nextMember(controlTar, controlCompressions)
	if err != nil {
		return err
	}
	files, err := readControlTar(s)
	if err != nil {
		s.free()
		return err
	}
	if err := s.close(); err != nil {
		return err
	}
	d.pkg, err = parsePackage(files)
	return err
}

func (d *Reader) openData() error {
	s, err := d.nextMember(dataTar, dataCompressions)
	if err != nil {
		return err
	}
	d.data = s
	d.tar = newTarReader(s, dataTar)
	d.tree = unpack.NewTree(true)
	return nil
}

// Package returns what the deb says of itself.
func (d *Reader) Package() *pkginfo.Package { return d.pkg }

// Signature returns [pkginfo.Unsigned]: see [Format.Prove].
func (d *Reader) Signature() pkginfo.Signature {
	return pkginfo.Signature{Verdict: pkginfo.Unsigned}
}

// NamesOwners is false: tar has numbers, and dpkg goes by them.
func (d *Reader) NamesOwners() bool { return false }

// Next advances to the next entry. It returns io.EOF when there is none, and the
// data member is whole and ends where it must. Errors are final.
func (d *Reader) Next() (*pkginfo.Entry, error) {
	for d.err == nil {
		h, err := d.tar.next()
		if err != nil {
			d.err = err
			if err == io.EOF {
				d.err = d.finish()
			}
			break
		}
		e, err := d.tar.addTo(d.tree, h)
		if err != nil {
			d.err = err
			break
		}
		if e != nil {
			return e, nil
		}
	}
	return nil, d.err
}

// finish returns io.EOF if the member ends where the tar archive does.
func (d *Reader) finish() error {
	// The archive may end without an end marker, and so before the stream was
	// seen to end.
	if n, err := d.data.Read(make([]byte, 1)); n > 0 || err != io.EOF {
		return err
	}
	if err := d.data.close(); err != nil {
		return err
	}
	return io.EOF
}

// Read reads the content of the current entry, if it is a regular file.
func (d *Reader) Read(p []byte) (int, error) {
	if d.err != nil {
		return 0, d.err
	}
	n, err := d.tar.Read(p)
	if err != nil && err != io.EOF {
		d.err = err
	}
	return n, err
}

// Close ends a helper program and frees buffers. If a Read from the source of
// the deb is under way, Close waits for it.
func (d *Reader) Close() error {
	d.data.free()
	if d.err == nil {
		d.err = errors.New("read deb: the reader is closed")
	}
	return nil
}
