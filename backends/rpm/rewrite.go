package rpm

import (
	"bytes"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha3"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashpkg/hashpkg/backends"
	"github.com/hashpkg/hashpkg/internal/pack"
	"github.com/hashpkg/hashpkg/internal/unpack"
	"github.com/hashpkg/hashpkg/pkginfo"
)

var _ backends.Rewriter = Format{}

// releaseSuffix sorts before what distributions add to a release: ".1", "_4.2",
// ".alma.1" (rpm: rpmio/rpmvercmp.c: letters come before numbers, and capitals before
// small letters).
const releaseSuffix = ".Hashpkg1"

// keptSignatureTags are what a signature header is made anew of: digests and sizes, and
// room for a signature that rpmsign may add.
var keptSignatureTags = []tag{
	sigSHA1, sigLongSize, sigLongArchiveSize, sigSHA256, sigSHA3, sigSize, sigMD5, sigPayloadSize, sigReservedSpace,
}

// Rewritable implements [backends.Rewriter]. Format 6 has digests that rpm 4 does not
// know, and format 3 no region that a digest is of.
func (Format) Rewritable(r backends.Reader) error {
	d, ok := r.(*Reader)
	if !ok {
		return errors.New("it was opened by another format's reader")
	}
	if d.format != 4 {
		return fmt.Errorf("it is an rpm of format %d, and only those of format 4 are written: build it with %%_rpmformat 4", d.format)
	}
	return nil
}

// HasNotes implements [backends.Rewriter]: rpm's changelog is in the header.
func (Format) HasNotes(*pkginfo.Package, *pkginfo.Entry) bool { return false }

// rewriting is one package that is being made again.
type rewriting struct {
	*backends.Changes
	d      *Reader
	header *headerWriter
	// changed are the new contents by the name that the header has for the file, those
	// of hard links among them.
	changed map[*file]*backends.Content
	suffix  string
	unnoted bool
}

// Rewrite implements [backends.Rewriter]. Signatures are not in the result: they were
// made of other bytes. Times of files and of the build are as they were.
func (Format) Rewrite(w io.ReadWriteSeeker, r io.Reader, c *backends.Changes) (*backends.Rewritten, error) {
	var lead bytes.Buffer
	if err := fill(&lead, r, leadSize, partLead); err != nil {
		return nil, err
	}
	d, err := NewReader(io.MultiReader(bytes.NewReader(lead.Bytes()), r), nil)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	rw := &rewriting{Changes: c, d: d, suffix: c.Suffix}
	if rw.suffix == "" {
		rw.suffix = releaseSuffix
	}
	if err := rw.editHeader(); err != nil {
		return nil, err
	}
	sig := writerOf(d.sig, tagSignatureRegion)
	lost := rw.dropSignatures(sig)
	name, version := d.header.string(tagName), d.header.string(tagVersion)
	nvr := name + "-" + version + "-" + rw.release()

	// The digests have the same length whatever they are, and so has the header: the
	// payload is written first, behind the room that is left for them.
	var size sizes
	start := leadSize + int64(len(rw.packedSignature(sig)))
	head := rw.header.bytes()
	if err := zeros(w, start+int64(len(head))); err != nil {
		return nil, err
	}
	if err := rw.writePayload(w, &size); err != nil {
		return nil, err
	}
	rw.setPayloadDigests(&size)
	head = rw.header.bytes()
	if err := rw.sign(w, sig, head, start+int64(len(head)), &size); err != nil {
		return nil, err
	}
	out := lead.Bytes()
	const nameAt, nameSize = 10, 66 // rpm: docs/manual/format_lead.md
	clear(out[nameAt : nameAt+nameSize])
	copy(out[nameAt:nameAt+nameSize-1], nvr)
	out = append(append(out, rw.packedSignature(sig)...), head...)
	if _, err := w.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	if _, err := w.Write(out); err != nil {
		return nil, err
	}
	return &backends.Rewritten{
		Version: d.pkg.Version + rw.suffix, FileName: nvr + "." + d.header.string(tagArch) + ".rpm",
		Lost: lost, Unnoted: rw.unnoted,
	}, d.header.err
}

func zeros(w io.Writer, n int64) error {
	_, err := w.Write(make([]byte, n))
	return err
}

func (rw *rewriting) release() string { return rw.d.header.string(tagRelease) + rw.suffix }

// packedSignature returns the signature header as it stands in the file: filled up to
// eight bytes.
func (rw *rewriting) packedSignature(sig *headerWriter) []byte {
	b := sig.bytes()
	return append(b, make([]byte, -len(b)&7)...)
}

// dropSignatures leaves in a signature header what can be made again.
func (rw *rewriting) dropSignatures(sig *headerWriter) (lost []string) {
	for _, t := range slices.Clone(sig.order) {
		if slices.Contains(keptSignatureTags, t) {
			continue
		}
		sig.remove(t)
		switch t {
		case sigDSAHeader, sigRSAHeader, sigPGP, sigGPG, sigPGP5, sigOpenPGP:
			if what := "the signature of its packager"; !slices.Contains(lost, what) {
				lost = append(lost, what)
			}
		case sigFileSignatures:
			lost = append(lost, "the signatures of its files (IMA)")
		case sigVeritySignatures:
			lost = append(lost, "the signatures of its files (fs-verity)")
		}
	}
	return lost
}

// editHeader makes the new header, but for the digests of the payload.
func (rw *rewriting) editHeader() error {
	h := rw.d.header
	if strings.HasSuffix(h.string(tagRelease), rw.suffix) {
		return fmt.Errorf("the release %s ends in %q already, and its programs are not as this policy wants them: convert the package that it was made from, or choose another --suffix", h.string(tagRelease), rw.suffix)
	}
	if err := checkSuffix(rw.suffix); err != nil {
		return err
	}
	rw.header = writerOf(h, tagHeaderRegion)
	rw.header.setString(tagRelease, rw.release())
	if err := rw.editFiles(); err != nil {
		return err
	}
	if err := rw.editProvides(); err != nil {
		return err
	}
	if err := rw.editChangelog(); err != nil {
		return err
	}
	if err := rw.editCompression(); err != nil {
		return err
	}
	return h.err
}

// checkSuffix refuses what a release may not have (rpm: build/parsePreamble.c,
// ALLOWED_CHARS_VERREL).
func checkSuffix(suffix string) error {
	for _, c := range []byte(suffix) {
		if !strings.ContainsRune("._+~^", rune(c)) && !('0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z') {
			return fmt.Errorf("the suffix %q has %q in it, which the release of an rpm may not have: use letters, digits and . _ + ~ ^", suffix, c)
		}
	}
	return nil
}

// editFiles changes the sizes and digests of the changed files, and their sum.
func (rw *rewriting) editFiles() error {
	h, files := rw.d.header, rw.d.files
	rw.changed = map[*file]*backends.Content{}
	found := 0
	sizes := make([]uint64, len(files.files))
	digests := h.strings(tagFileDigests, len(files.files))
	for i, f := range files.files {
		sizes[i] = uint64(f.size)
	}
	index := map[*file]int{}
	for i, f := range files.files {
		index[f] = i
	}
	growth := int64(0)
	for _, f := range files.files {
		if f.entry == nil || f.kind != pkginfo.Regular || f.ghost {
			continue
		}
		c, ok := rw.Files[f.entry.Path]
		if !ok {
			continue
		}
		found++
		sum, err := sumOf(&c, files.algo.hash.New())
		if err != nil {
			return err
		}
		growth += c.Size - f.size
		names := []*file{f}
		if f.set != nil {
			names = f.set.files
		}
		for _, f := range names {
			rw.changed[f] = &c
			sizes[index[f]], digests[index[f]] = uint64(c.Size), hex.EncodeToString(sum)
		}
	}
	if found != len(rw.Files) {
		return fmt.Errorf("%d of the changed files are not in the package", len(rw.Files)-found)
	}
	if found == 0 {
		return h.err
	}
	if h.has(tagLongFileSizes) {
		rw.header.setUint64s(tagLongFileSizes, sizes)
	} else {
		short := make([]uint32, len(sizes))
		for i, n := range sizes {
			if n > math.MaxUint32 {
				return errTooLarge
			}
			short[i] = uint32(n)
		}
		rw.header.setUint32s(tagFileSizes, short)
	}
	rw.header.setStrings(tagFileDigests, h.values[tagFileDigests].kind, digests)
	for _, t := range []tag{tagSize, tagLongSize} {
		if n, ok := h.number(t); ok {
			sum := int64(n) + growth
			if sum < 0 || t == tagSize && sum > math.MaxUint32 {
				return errTooLarge
			}
			rw.header.setNumber(t, uint64(sum))
		}
	}
	return h.err
}

var errTooLarge = errors.New("it would have more than 4 GiB, for which its header has no room: build it again from source")

func sumOf(c *backends.Content, h hash.Hash) ([]byte, error) {
	r, err := c.Open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	if _, err := io.Copy(h, r); err != nil {
		return nil, err
	}
	return h.Sum(nil), nil
}

// editProvides has the package offer what it offered under its version under the new
// one, too. What it offered before stays: other packages of the same source ask for it
// by exactly that version. rpm searches the list by name, then version.
func (rw *rewriting) editProvides() error {
	h := rw.d.header
	names := h.strings(tagProvideName, -1)
	flags, versions := h.uint32s(tagProvideFlags, len(names)), h.strings(tagProvideVersion, len(names))
	if h.err != nil || len(names) == 0 || flags == nil || versions == nil {
		return h.err
	}
	name, evr := h.string(tagName), rw.d.pkg.Version
	for i := 0; i < len(names); i++ {
		isExact := flags[i]&(senseLess|senseGreater|senseEqual) == senseEqual
		if isExact && versions[i] == evr && (names[i] == name || strings.HasPrefix(names[i], name+"(")) {
			names = slices.Insert(names, i+1, names[i])
			flags = slices.Insert(flags, i+1, flags[i])
			versions = slices.Insert(versions, i+1, evr+rw.suffix)
			i++
		}
	}
	rw.header.setStrings(tagProvideName, kindStrings, names)
	rw.header.setUint32s(tagProvideFlags, flags)
	rw.header.setStrings(tagProvideVersion, kindStrings, versions)
	return nil
}

// editChangelog puts an entry on top of the changelog, if there is one.
func (rw *rewriting) editChangelog() error {
	h := rw.d.header
	times := h.uint32s(tagChangelogTime, -1)
	names, texts := h.strings(tagChangelogName, len(times)), h.strings(tagChangelogText, len(times))
	if h.err != nil || len(times) == 0 || names == nil || texts == nil {
		rw.unnoted = true
		return h.err
	}
	at := time.Unix(int64(times[0]), 0)
	if built, ok := h.number(tagBuildTime); ok && int64(built) > at.Unix() {
		at = time.Unix(int64(built), 0)
	}
	if rw.Time.After(at) {
		at = rw.Time
	}
	if at.Unix() < 0 || at.Unix() > math.MaxUint32 {
		return fmt.Errorf("the changelog of an rpm has no room for the time %s", at.UTC().Format(time.RFC3339))
	}
	version := h.string(tagVersion) + "-" + rw.release()
	if n, ok := h.number(tagEpoch); ok {
		version = strconv.FormatUint(n, 10) + ":" + version
	}
	rw.header.setUint32s(tagChangelogTime, slices.Insert(times, 0, uint32(at.Unix())))
	rw.header.setStrings(tagChangelogName, kindStrings, slices.Insert(names, 0, rw.Author+" - "+version))
	rw.header.setStrings(tagChangelogText, kindStrings, slices.Insert(texts, 0, "- "+rw.Note))
	return h.err
}

// packings are the compressions that may be asked for, and what rpm has to know for
// them (rpm: lib/rpmds.c, rpmlibProvides).
var packings = map[string]struct{ compressor, flags, feature, since string }{
	"gzip": {"gzip", "9", "", ""},
	"xz":   {"xz", "6", "rpmlib(PayloadIsXz)", "5.2-1"},
	"zstd": {"zstd", "19", "rpmlib(PayloadIsZstd)", "5.4.18-1"},
}

// editCompression changes what the header says of the payload's compression.
func (rw *rewriting) editCompression() error {
	if rw.Compression == "" {
		return nil
	}
	p, ok := packings[rw.Compression]
	if !ok {
		return fmt.Errorf("the payload of an rpm is not packed by %q: choose gzip, xz or zstd", rw.Compression)
	}
	rw.header.setString(tagPayloadCompressor, p.compressor)
	rw.header.setString(tagPayloadFlags, p.flags)
	h := rw.d.header
	names := h.strings(tagRequireName, -1)
	flags, versions := h.uint32s(tagRequireFlags, len(names)), h.strings(tagRequireVersion, len(names))
	if h.err != nil || len(flags) != len(names) || len(versions) != len(names) {
		return h.err
	}
	for i := 0; i < len(names); {
		if strings.HasPrefix(names[i], "rpmlib(PayloadIs") {
			names, flags, versions = slices.Delete(names, i, i+1), slices.Delete(flags, i, i+1), slices.Delete(versions, i, i+1)
			continue
		}
		i++
	}
	if p.feature != "" {
		const senseRPMLib, senseLess, senseEqual = 1 << 24, 1 << 1, 1 << 3
		i, _ := slices.BinarySearch(names, p.feature) // rpm has them sorted
		names = slices.Insert(names, i, p.feature)
		flags = slices.Insert(flags, i, senseRPMLib|senseLess|senseEqual)
		versions = slices.Insert(versions, i, p.since)
	}
	for _, t := range []tag{tagRequireName, tagRequireFlags, tagRequireVersion} {
		rw.header.remove(t)
	}
	if len(names) > 0 {
		rw.header.setStrings(tagRequireName, kindStrings, names)
		rw.header.setUint32s(tagRequireFlags, flags)
		rw.header.setStrings(tagRequireVersion, kindStrings, versions)
	}
	return nil
}

// sizes are what is known of a payload that was written.
type sizes struct {
	packed, unpacked   int64
	sums, unpackedSums [3][]byte // in the order of payloadHashes
}

// payloadHashes are the tags that a header may have for digests of the payload.
var payloadHashes = [3]struct {
	packed, unpacked tag
	hash             func() hash.Hash
}{
	{tagPayloadSHA256, tagPayloadSHA256Alt, sha256.New},
	{tagPayloadSHA512, tagPayloadSHA512Alt, sha512.New},
	{tagPayloadSHA3, tagPayloadSHA3Alt, func() hash.Hash { return sha3.New256() }},
}

func (rw *rewriting) setPayloadDigests(s *sizes) {
	for i, p := range payloadHashes {
		for _, d := range []struct {
			t   tag
			sum []byte
		}{{p.packed, s.sums[i]}, {p.unpacked, s.unpackedSums[i]}} {
			if rw.header.has(d.t) {
				rw.header.setStrings(d.t, rw.header.values[d.t].kind, []string{hex.EncodeToString(d.sum)})
			}
		}
	}
	for t, n := range map[tag]int64{tagArchiveSize: s.unpacked, tagPayloadLongSize: s.packed, tagPayloadLongSizeAlt: s.unpacked} {
		if rw.header.has(t) {
			rw.header.setNumber(t, uint64(n))
		}
	}
}

// sign fills in the digests and sizes of a signature header. The payload is in w
// from start on.
func (rw *rewriting) sign(w io.ReadSeeker, sig *headerWriter, head []byte, start int64, s *sizes) error {
	whole := s.packed + int64(len(head))
	for t, n := range map[tag]int64{
		sigSize: whole, sigLongSize: whole, sigPayloadSize: s.unpacked, sigLongArchiveSize: s.unpacked,
	} {
		if !sig.has(t) {
			continue
		}
		if n > math.MaxUint32 && sig.values[t].kind == kindInt32 {
			return errTooLarge
		}
		sig.setNumber(t, uint64(n))
	}
	if rw.header.has(tagArchiveSize) && s.unpacked > math.MaxUint32 {
		return errTooLarge
	}
	sum1, sum2, sum3 := sha1.Sum(head), sha256.Sum256(head), sha3.Sum256(head)
	for t, sum := range map[tag][]byte{sigSHA1: sum1[:], sigSHA256: sum2[:], sigSHA3: sum3[:]} {
		if sig.has(t) {
			sig.setString(t, hex.EncodeToString(sum))
		}
	}
	if !sig.has(sigMD5) {
		return nil
	}
	h := md5.New()
	h.Write(head)
	if _, err := w.Seek(start, io.SeekStart); err != nil {
		return err
	}
	if n, err := io.Copy(h, w); err != nil {
		return err
	} else if n != s.packed {
		return fmt.Errorf("the payload has %d bytes when it is read again, and %d were written", n, s.packed)
	}
	sig.setBytes(sigMD5, h.Sum(nil))
	return nil
}

// tally counts and hashes what is written.
type tally struct {
	w      io.Writer
	n      int64
	hashes [3]hash.Hash // nil for those that nobody asks for
}

// newTally returns a tally with the hashes for which the header has one of the tags.
func (rw *rewriting) newTally(w io.Writer) *tally {
	t := &tally{w: w}
	for i, p := range payloadHashes {
		if rw.header.has(p.packed) || rw.header.has(p.unpacked) {
			t.hashes[i] = p.hash()
		}
	}
	return t
}

func (t *tally) Write(p []byte) (int, error) {
	n, err := t.w.Write(p)
	t.n += int64(n)
	for _, h := range t.hashes {
		if h != nil {
			h.Write(p[:n])
		}
	}
	return n, err
}

func (t *tally) sums() (sums [3][]byte) {
	for i, h := range t.hashes {
		if h != nil {
			sums[i] = h.Sum(nil)
		}
	}
	return sums
}

// writePayload writes the archive, packed.
func (rw *rewriting) writePayload(w io.Writer, s *sizes) error {
	d := rw.d
	if err := d.payload.open(d.header); err != nil {
		return err
	}
	d.cpio = newCpioReader(d.payload)
	c, level := d.payload.compression, 0
	if rw.Compression != "" {
		c = namedCompressions[rw.Compression]
	} else if d.header.has(tagPayloadFlags) {
		level = levelOf(d.header.string(tagPayloadFlags))
	}
	packed := rw.newTally(w)
	p, err := pack.NewWriter(packed, c, level)
	if err != nil {
		return err
	}
	unpacked := rw.newTally(p)
	err = rw.writeArchive(unpacked)
	if err = errors.Join(err, p.Close()); err != nil {
		return err
	}
	s.packed, s.sums = packed.n, packed.sums()
	s.unpacked, s.unpackedSums = unpacked.n, unpacked.sums()
	return nil
}

var namedCompressions = map[string]unpack.Compression{"gzip": unpack.Gzip, "xz": unpack.Xz, "zstd": unpack.Zstd}

// levelOf returns the level in the flags of a payload: "9", "19T8", "2T16.xzdio"
// (rpm: rpmio/rpmio.c); 0 where there is none.
func levelOf(flags string) int {
	end := strings.IndexFunc(flags, func(r rune) bool { return r < '0' || r > '9' })
	if end < 0 {
		end = len(flags)
	}
	n, err := strconv.Atoi(flags[:end])
	if err != nil {
		return 0 // none, or more than a number
	}
	return n
}

// writeArchive copies the members as they are, but for the contents and sizes of changed
// files. Of hard links the last one has the content.
func (rw *rewriting) writeArchive(w *tally) error {
	d := rw.d
	for {
		m, err := d.cpio.next()
		if err == io.EOF {
			return rw.endArchive(w)
		}
		if err != nil {
			return err
		}
		f, err := d.fileOf(m)
		if err != nil {
			return err
		}
		if err := rw.writeMember(w, f, m); err != nil {
			return err
		}
	}
}

// writeMember copies the member that has just been read, with the new content if its file
// has one.
func (rw *rewriting) writeMember(w *tally, f *file, m *member) error {
	cpio := rw.d.cpio
	size, raw := rw.contentSize(f, m), cpio.raw
	cpio.left = size
	var content io.Reader = onlyReader{cpio}
	if c := rw.changed[f]; c != nil && size > 0 {
		if c.Size > math.MaxUint32 && !m.isStripped {
			return errTooLarge
		}
		if _, err := io.Copy(io.Discard, content); err != nil {
			return err
		}
		r, err := c.Open()
		if err != nil {
			return err
		}
		defer r.Close()
		content, size = r, c.Size
		if !m.isStripped {
			raw = withSize(raw, size)
		}
	}
	if _, err := w.Write(raw); err != nil {
		return err
	}
	if n, err := io.Copy(w, content); err != nil {
		return err
	} else if n != size {
		return fmt.Errorf("%q has %d bytes, and should have %d: another program changes it", f.name, n, size)
	}
	return zeros(w, -w.n&3)
}

// contentSize returns how many bytes follow a member in the archive.
func (rw *rewriting) contentSize(f *file, m *member) int64 {
	isLast := f.set == nil || f.set.left == 1
	if f.set != nil {
		f.set.left--
	}
	switch {
	case !m.isStripped:
		return m.size
	case f.kind == pkginfo.Symlink || f.kind == pkginfo.Regular && isLast:
		return f.size
	}
	return 0
}

// endArchive writes the trailer, which has just been read, and checks that all of the
// package was.
func (rw *rewriting) endArchive(w *tally) error {
	if _, err := w.Write(rw.d.cpio.raw); err != nil {
		return err
	}
	if err := zeros(w, -w.n&3); err != nil {
		return err
	}
	if err := rw.d.finish(); err != io.EOF {
		return err
	}
	return nil
}

// withSize returns what stands before a member for a content of another size.
func withSize(raw []byte, size int64) []byte {
	raw = bytes.Clone(raw)
	copy(raw[cpioMagicSize+fieldSize*cpioFieldSize:], fmt.Sprintf("%08x", size))
	return raw
}
