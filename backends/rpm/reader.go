package rpm

import (
	"bytes"
	"errors"
	"hash"
	"io"
	"maps"
	"strings"

	"github.com/hashpkg/hashpkg/backends"
	"github.com/hashpkg/hashpkg/backends/trust"
	"github.com/hashpkg/hashpkg/pkginfo"
)

const (
	leadMagic = "\xed\xab\xee\xdb"
	leadSize  = 96

	// headerSignature is the only type of signature of the last 25 years.
	headerSignature = 5
)

// Reader reads one rpm. It implements [backends.Reader]. It is not safe for use by
// several goroutines at once.
type Reader struct {
	format     int
	sig        *header // the signature header
	header     *header
	pkg        *pkginfo.Package
	files      *fileList
	payload    *payload
	signatures []*pendingSignature
	cpio       *cpioReader // nil before the first call of Next

	current *file // whose content is being read
	hash    hash.Hash
	links   []*pkginfo.Entry // that are to come next: the other names of current

	isComplete bool  // all was read, and was right
	err        error // what Next returned last, if it was an error
}

var _ backends.Reader = (*Reader)(nil)

// NewReader reads from r all that an rpm says of itself, up to where its payload
// begins, and checks the digests of that. What is no rpm at all gives an error
// that wraps [ErrNotRPM]; an rpm that is damaged or not allowed gives a
// [*FormatError]. Signatures are verified with the keys of the keyring, which may
// be nil.
//
// The caller must call Close. Until then the reader may read from r at any time,
// from a goroutine of its own.
func NewReader(r io.Reader, keyring *trust.Keyring) (*Reader, error) {
	if err := readLead(r); err != nil {
		return nil, err
	}
	sig, rawSignature, err := readHeader(r, partSignature, tagSignatureRegion)
	if err != nil {
		return nil, err
	}
	var padding bytes.Buffer
	if err := fill(&padding, r, int64(-len(rawSignature)&7), partSignature); err != nil {
		return nil, err
	}
	h, raw, err := readHeader(r, partHeader, tagHeaderRegion)
	if err != nil {
		return nil, err
	}
	d := &Reader{sig: sig, header: h}
	if d.format, err = packageFormat(h); err != nil {
		return nil, err
	}
	dropLegacy(sig)
	if err := checkHeader(sig, raw, d.format); err != nil {
		return nil, err
	}
	if err := checkKind(h); err != nil {
		return nil, err
	}
	if d.files, err = filesOf(h); err != nil {
		return nil, err
	}
	if d.pkg, err = packageOf(h, d.files); err != nil {
		return nil, err
	}
	if d.payload, err = newPayload(r, sig, h, raw); err != nil {
		return nil, err
	}
	if d.signatures, err = findSignatures(sig, raw, keyring); err != nil {
		return nil, err
	}
	for _, s := range d.signatures {
		if s.Kind != HeaderAndPayload {
			continue
		}
		for _, h := range s.hashes {
			d.payload.packed.hashes = append(d.payload.packed.hashes, h)
		}
	}
	return d, nil
}

// readLead reads the lead, of which all but the magic and the numbers of the
// format has no meaning any more (rpm: docs/manual/format_lead.md).
func readLead(r io.Reader) error {
	var b bytes.Buffer
	err := fill(&b, r, leadSize, partLead)
	lead := b.Bytes()
	if n := min(len(lead), len(leadMagic)); string(lead[:n]) != leadMagic[:n] {
		return &FormatError{Msg: ErrNotRPM.Error(), cause: ErrNotRPM}
	}
	if err != nil {
		return err
	}
	major, kind, signature := lead[4], int(lead[6])<<8|int(lead[7]), int(lead[78])<<8|int(lead[79])
	switch {
	case major < 3:
		return errorIn(partLead, "it has format %d, which was given up in 1998: rebuild it with a newer rpm", major)
	case major > 4:
		return errorIn(partLead, "it has the unknown format %d", major)
	case kind == 1:
		return errSource
	case kind != 0:
		return errorIn(partLead, "it is of the unknown type %d", kind)
	case signature != headerSignature:
		return errorIn(partLead, "its signature has the unknown type %d", signature)
	}
	return nil
}

var errSource = errorIn("", "it is a source package: build it with rpmbuild --rebuild, and install what that makes")

// packageFormat returns the number of the format: 3, 4 or 6.
func packageFormat(h *header) (int, error) {
	n, ok := h.number(tagRPMFormat)
	switch {
	case h.err != nil:
		return 0, h.err
	case ok && n != 3 && n != 4 && n != 6:
		return 0, errorIn(partHeader, "it has format %d: a newer hashpkg may read it", n)
	case !h.regions:
		return 3, nil
	case n != 6:
		return 4, nil
	}
	return 6, nil
}

// dropLegacy takes out of a signature header what rpm 6 does not look at, if it has
// the two tags by which rpm 6 knows format 6 (rpm: lib/rpmvs.cc, rpmvsInit). That
// format does not have these tags, but programs that know only format 4 add them.
func dropLegacy(sig *header) {
	if sig.has(sigReserved) && sig.has(sigSHA3) {
		maps.DeleteFunc(sig.values, func(t tag, _ value) bool { return t >= sigFirstLegacy })
	}
}

// checkKind refuses what is no binary package with an archive of whole files.
func checkKind(h *header) error {
	if h.has(tagSourcePackage) || !h.has(tagSourceRPM) { // rpm: headerIsSource
		return errSource
	}
	if f := h.string(tagPayloadFormat); f != "" && f != "cpio" {
		return errorIn(partHeader, "its payload is %q, and only whole packages, with cpio, are read", f)
	}
	return h.err
}

// Package returns what the rpm says of itself.
func (d *Reader) Package() *pkginfo.Package { return d.pkg }

// NamesOwners is true: see the package's comment.
func (d *Reader) NamesOwners() bool { return true }

// Format returns the number of the package's format: 3, 4 or 6.
func (d *Reader) Format() int { return d.format }

// Ghosts returns the files that belong to the package and that it does not hold.
func (d *Reader) Ghosts() []*pkginfo.Entry {
	var ghosts []*pkginfo.Entry
	for _, f := range d.files.files {
		if f.ghost {
			ghosts = append(ghosts, f.entry)
		}
	}
	return ghosts
}

// Next advances to the next entry. It returns io.EOF when there is none, and all
// that the package says of itself was found to be true. Errors are final.
func (d *Reader) Next() (*pkginfo.Entry, error) {
	if d.err != nil {
		return nil, d.err
	}
	e, err := d.next()
	if err != nil {
		d.err = err
		return nil, err
	}
	return e, nil
}

func (d *Reader) next() (*pkginfo.Entry, error) {
	if d.cpio == nil {
		if err := d.payload.open(d.header); err != nil {
			return nil, err
		}
		d.cpio = newCpioReader(d.payload)
	}
	if d.current != nil {
		if _, err := io.Copy(io.Discard, onlyReader{d}); err != nil {
			return nil, err
		}
	}
	if len(d.links) > 0 {
		e := d.links[0]
		d.links = d.links[1:]
		return e, nil
	}
	for {
		m, err := d.cpio.next()
		if err == io.EOF {
			return nil, d.finish()
		}
		if err != nil {
			return nil, err
		}
		f, err := d.fileOf(m)
		if err != nil {
			return nil, err
		}
		e, err := d.begin(f, m)
		if e != nil || err != nil {
			return e, err
		}
	}
}

// onlyReader hides the shortcuts that io.Copy would take.
type onlyReader struct{ io.Reader }

// fileOf returns the file that the header has for a member.
func (d *Reader) fileOf(m *member) (*file, error) {
	i := int(m.number)
	if !m.isStripped {
		var ok bool
		if i, ok = d.files.byName[m.name]; !ok {
			return nil, d.cpio.errorAt(m.pos, "the file %q is not in the header", m.name)
		}
	}
	if i >= len(d.files.files) {
		return nil, d.cpio.errorAt(m.pos, "the file number %d is not in the header, which has %d files", i, len(d.files.files))
	}
	f := d.files.files[i]
	if f.seen {
		return nil, d.cpio.errorAt(m.pos, "the file %q is there twice", f.name)
	}
	f.seen = true
	return f, nil
}

// begin checks a member and sets out to read it. It returns nil if there is nothing
// to return for it now.
func (d *Reader) begin(f *file, m *member) (*pkginfo.Entry, error) {
	if f.ghost { // rpm before 4.11 may have put it there
		if m.isStripped {
			return nil, d.cpio.errorAt(m.pos, "the ghost %q is in the payload", f.name)
		}
		d.cpio.left = m.size
		_, err := io.Copy(io.Discard, onlyReader{d.cpio})
		return nil, err
	}
	isLast := f.set == nil || f.set.left == 1
	want := int64(0)
	if f.kind == pkginfo.Symlink || f.kind == pkginfo.Regular && isLast {
		want = f.size
	}
	if !m.isStripped && m.size != want {
		return nil, d.cpio.errorAt(m.pos, "%q has %d bytes in the payload, and should have %d: %s", f.name, m.size, want, corrupt)
	}
	d.cpio.left = want
	switch {
	case f.kind == pkginfo.Symlink:
		var target strings.Builder
		if _, err := io.Copy(&target, onlyReader{d.cpio}); err != nil {
			return nil, err
		}
		if target.String() != f.entry.Link {
			return nil, d.cpio.errorAt(m.pos, "the symlink %q leads to %q in the payload, and to %q in the header", f.name, target.String(), f.entry.Link)
		}
	case f.kind == pkginfo.Regular && !isLast:
		f.set.left--
		f.set.begun = append(f.set.begun, f)
		return nil, nil
	case f.kind == pkginfo.Regular:
		d.current = f
		if f.digest != nil {
			d.hash = d.files.algo.hash.New()
		}
		d.queueLinks(f)
	}
	return f.entry, nil
}

// queueLinks makes the other names of f, whose content is in the payload, the next
// entries.
func (d *Reader) queueLinks(f *file) {
	if f.set == nil {
		return
	}
	f.set.left--
	for _, other := range f.set.begun {
		e := *other.entry
		e.Type, e.Size, e.Link = pkginfo.HardLink, 0, f.entry.Path
		d.links = append(d.links, &e)
	}
}

// finish returns io.EOF if the package is what it says.
func (d *Reader) finish() error {
	if err := d.payload.finish(); err != nil {
		return err
	}
	for _, f := range d.files.files {
		if !f.seen && !f.ghost {
			return errorIn(partCpio, "the file %q of the header is not in the payload", f.name)
		}
	}
	for _, s := range d.signatures {
		if s.Kind == HeaderAndPayload {
			s.verify()
		}
	}
	d.isComplete = true
	return io.EOF
}

// Read reads the content of the current entry, if it is a regular file, and checks
// its digest at its end.
func (d *Reader) Read(p []byte) (int, error) {
	if d.err != nil {
		return 0, d.err
	}
	if d.current == nil {
		return 0, io.EOF
	}
	n, err := d.cpio.Read(p)
	if d.hash != nil {
		d.hash.Write(p[:n])
	}
	if err == io.EOF {
		if damage := d.endFile(); damage != nil {
			err = damage
		}
	}
	if err != nil && err != io.EOF {
		d.err = err
	}
	return n, err
}

// endFile compares the digest of the current file with what the header says.
func (d *Reader) endFile() error {
	f := d.current
	d.current = nil
	if d.hash == nil {
		return nil
	}
	got := d.hash.Sum(nil)
	d.hash = nil
	if !bytes.Equal(got, f.digest) {
		return errorIn(partCpio, "the %s digest of the file %q is %x, and should be %x: %s", d.files.algo.name, f.name, got, f.digest, corrupt)
	}
	return nil
}

// Close ends a helper program and frees buffers. If a Read from the source of the
// rpm is under way, Close waits for it.
func (d *Reader) Close() error {
	d.payload.close()
	if d.err == nil {
		d.err = errors.New("read rpm: the reader is closed")
	}
	return nil
}
