package deb

import (
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/hashpkg/hashpkg/backends"
	"github.com/hashpkg/hashpkg/backends/trust"
	"github.com/hashpkg/hashpkg/internal/unpack"
)

// A deb carries no signature. What is signed is its archive's Release file, which
// has the digests of the indexes named Packages, which have those of the debs.

const (
	maxIndex     = 8 << 30 // of a Packages file, unpacked, whose size nobody says
	maxIndexLine = 1024    // of a field that is of interest here
	maxProblems  = 3       // that are reported
)

// File is a package file that indexes are asked about.
type File struct {
	Name, Version, Architecture string
	Size                        int64
	SHA256                      [sha256.Size]byte // of the whole file
	SHA512                      [sha512.Size]byte
}

// hasDigests reports whether the digests that an index has, the one, the other or both,
// are those of the file.
func (f *File) hasDigests(listed *File) bool {
	return (isZero(listed.SHA256[:]) || listed.SHA256 == f.SHA256) && (isZero(listed.SHA512[:]) || listed.SHA512 == f.SHA512)
}

// Proof is what the indexes came to for one file.
type Proof struct {
	// Signer says who signed the Release file that vouches for the package; "" if
	// none does.
	Signer string
	Index  string // name of that Release file
	// ValidUntil is when that Release file was to be replaced by a newer one; zero
	// if it does not say. It proves afterwards where the package comes from, as it
	// did before, and not that there is no newer one.
	ValidUntil time.Time
	// Differs is true when an index has other contents for the same name, version
	// and architecture.
	Differs bool
	// Reason says why there is no Signer.
	Reason string
}

// CheckFiles looks files up in the indexes of a directory as apt keeps it in
// /var/lib/apt/lists: HOST_PATH_dists_SUITE_InRelease, or Release and Release.gpg,
// beside HOST_PATH_dists_SUITE_COMPONENT_binary-ARCH_Packages, which may be packed
// by gzip, xz, zstd, bzip2 or lz4. Without the beginning that they share the names
// will do as well. keysOf returns the keys that may sign for what names begin with.
//
// A file is proved if an index has its name, version, architecture, size and
// SHA-512 or SHA-256 (both, if it has both), and a Release file with a good signature
// has that index' size and strongest digest. An index that is not proved itself is not believed in anything; what is
// wrong with it is in the reason for the files that are not proved otherwise.
//
// dir opens pipes without waiting for their other end, and follows no link out of the
// directory. Indexes are read once, as a stream, and only those of a signed Release file. An
// error means that the directory cannot be read.
func CheckFiles(ctx context.Context, dir fs.FS, files []File, keysOf func(prefix string) *trust.Keyring) ([]Proof, error) {
	entries, err := fs.ReadDir(dir, ".")
	if err != nil {
		return nil, fmt.Errorf("read indexes: %w", err)
	}
	c := &indexCheck{ctx: ctx, dir: dir, files: map[fileKey][]int{}, proofs: make([]Proof, len(files)), want: files}
	for _, e := range entries {
		c.names = append(c.names, e.Name())
	}
	for i, f := range files {
		key := fileKey{f.Name, f.Version, f.Architecture}
		c.files[key] = append(c.files[key], i)
	}
	releases := 0
	for _, name := range c.names {
		prefix, ok := releasePrefix(name)
		if !ok || name == prefix+"Release" && slices.Contains(c.names, prefix+"InRelease") {
			continue
		}
		releases++
		if err := c.checkRelease(prefix, name, keysOf(prefix)); err != nil {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			c.problems = append(c.problems, fmt.Sprintf("%s: %v", name, err))
		}
	}
	for i := range c.proofs {
		if p := &c.proofs[i]; p.Signer == "" {
			p.Reason = c.reason(p, releases)
		}
	}
	return c.proofs, nil
}

// releasePrefix splits the name of a Release file, InRelease or Release.
func releasePrefix(name string) (prefix string, ok bool) {
	for _, end := range []string{"InRelease", "Release"} {
		if prefix, ok := strings.CutSuffix(name, end); ok && (prefix == "" || strings.HasSuffix(prefix, "_")) {
			return prefix, true
		}
	}
	return "", false
}

type fileKey struct{ name, version, architecture string }

// indexCheck is one call of CheckFiles.
type indexCheck struct {
	ctx      context.Context
	dir      fs.FS
	names    []string // of the files of the directory
	want     []File
	files    map[fileKey][]int // in want, and in proofs
	proofs   []Proof
	problems []string
}

func (c *indexCheck) reason(p *Proof, releases int) string {
	why := "no index whose signature is good lists it"
	switch {
	case p.Differs:
		why = fmt.Sprintf("the index of %s lists other contents for this version", p.Index)
	case releases == 0:
		why = "there are no indexes"
	}
	if n := len(c.problems); n > 0 {
		why += "; " + strings.Join(c.problems[:min(n, maxProblems)], "; ")
		if n > maxProblems {
			why += fmt.Sprintf("; and %d more", n-maxProblems)
		}
	}
	return why
}

// checkRelease verifies a Release file, and looks the files up in its indexes.
func (c *indexCheck) checkRelease(prefix, name string, keys *trust.Keyring) error {
	text, err := c.readFile(name)
	if err != nil {
		return err
	}
	var signed *signedText
	if strings.HasSuffix(name, "InRelease") {
		signed, err = splitClear(text)
	} else {
		var signatures []byte
		if signatures, err = c.readFile(name + ".gpg"); errors.Is(err, fs.ErrNotExist) {
			return errNotSigned
		}
		if err == nil {
			signed, err = joinDetached(text, signatures)
		}
	}
	if err != nil {
		return err
	}
	signer, err := signed.verify(keys, false)
	if err != nil {
		return err
	}
	r, err := parseRelease(signed.text)
	if err != nil {
		return err
	}
	listed := map[string]listedFile{}
	for path, f := range r.files {
		listed[prefix+aptFileName(path)] = f
	}
	for _, file := range c.names {
		plain, compression, ok := indexCompression(file)
		if !ok || !strings.HasPrefix(file, prefix) {
			continue
		}
		packed, isPacked := listed[file]
		unpacked, isPlain := listed[plain]
		if !isPacked && !isPlain {
			continue // another archive's, or none of what is signed
		}
		found, err := c.readIndex(file, compression, packed, isPacked, unpacked, isPlain)
		if err != nil {
			if c.ctx.Err() != nil {
				return err
			}
			c.problems = append(c.problems, fmt.Sprintf("%s: %v", file, err))
			continue
		}
		for _, f := range found {
			c.take(f, Proof{Signer: signer, Index: name, ValidUntil: r.validUntil})
		}
	}
	return nil
}

// take compares what a proved index has of a package with the files.
func (c *indexCheck) take(f File, proof Proof) {
	for _, i := range c.files[fileKey{f.Name, f.Version, f.Architecture}] {
		switch have := &c.proofs[i]; {
		case f.Size == c.want[i].Size && c.want[i].hasDigests(&f):
			if have.Signer == "" || !have.ValidUntil.IsZero() && have.ValidUntil.Before(proof.ValidUntil) {
				*have = proof
			}
		case have.Signer == "":
			have.Differs, have.Index = true, proof.Index
		}
	}
}

// open opens a regular file of the directory.
func (c *indexCheck) open(name string, limit int64) (fs.File, error) {
	f, err := c.dir.Open(name)
	if err != nil {
		return nil, err
	}
	if err := backends.CheckRegular(f, limit); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func (c *indexCheck) readFile(name string) ([]byte, error) {
	f, err := c.open(name, maxRelease)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return backends.ReadAll(f, maxRelease)
}

// indexCompression tells the name of an index, how it is packed, and its name if it
// were not.
func indexCompression(name string) (plain string, c unpack.Compression, ok bool) {
	for _, p := range []struct {
		end string
		c   unpack.Compression
	}{
		{"", unpack.None},
		{".gz", unpack.Gzip},
		{".xz", unpack.Xz},
		{".zst", unpack.Zstd},
		{".bz2", unpack.Bzip2},
		{".lz4", unpack.Lz4},
	} {
		plain, ok := strings.CutSuffix(name, p.end)
		if ok && (plain == "Packages" || strings.HasSuffix(plain, "_Packages")) {
			return plain, p.c, true
		}
	}
	return "", "", false
}

// readIndex reads a Packages file and returns what it has of the packages that are
// wanted, provided that it is the listed one: its unpacked bytes are, for apt may
// have packed them anew, or its own where the Release file has only those.
func (c *indexCheck) readIndex(name string, compression unpack.Compression, packed listedFile, isPacked bool, unpacked listedFile, isPlain bool) ([]File, error) {
	f, err := c.open(name, maxIndex)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	file := &hashed{ctx: c.ctx, r: f, limit: maxIndex}
	if !isPlain {
		file.hash, file.limit = packed.newHash(), packed.size
	}
	s, err := unpack.NewJoinedStream(file, compression, -1) // whose digest is compared
	if err != nil {
		return nil, err
	}
	defer s.Close()
	content := &hashed{ctx: c.ctx, r: s, limit: maxIndex}
	if isPlain {
		content.hash, content.limit = unpacked.newHash(), unpacked.size
	}
	found, err := findPackages(content, func(k fileKey) bool { return c.files[k] != nil })
	var corrupt *unpack.CorruptError
	switch {
	case errors.As(err, &corrupt):
		return nil, fmt.Errorf("it is damaged (%s): run apt-get update", corrupt.Msg)
	case errors.Is(err, errTooLong):
		return nil, errOther
	case err != nil:
		return nil, err
	case isPlain && !content.is(unpacked), !isPlain && isPacked && !file.is(packed):
		return nil, errOther
	}
	return found, nil
}

var (
	errTooLong = errors.New("it is longer than it should be")
	errOther   = errors.New("it is not the one that is signed: run apt-get update")
)

// hashed hashes what passes through, up to a limit.
type hashed struct {
	ctx   context.Context
	r     io.Reader
	hash  hash.Hash // or nil
	n     int64
	limit int64
}

func (h *hashed) Read(p []byte) (int, error) {
	if err := h.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := h.r.Read(p)
	if h.n += int64(n); h.n > h.limit {
		return 0, errTooLong
	}
	if h.hash != nil {
		h.hash.Write(p[:n])
	}
	return n, err
}

func (h *hashed) is(f listedFile) bool {
	return h.n == f.size && hex.EncodeToString(h.hash.Sum(nil)) == f.sum
}

// aptFileName returns what apt names the file of a path in an archive
// (apt: URItoFileName).
func aptFileName(path string) string {
	var b strings.Builder
	for _, c := range []byte(path) {
		switch {
		case c == '/':
			b.WriteByte('_')
		case c <= ' ' || c >= 0x7f || strings.IndexByte("\\|{}[]<>\"^~_=!@#$%*&", c) >= 0:
			fmt.Fprintf(&b, "%%%02x", c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// findPackages reads the paragraphs of a Packages file and returns those that are
// wanted. What it returns is worth nothing before the file was proved.
func findPackages(r io.Reader, wanted func(fileKey) bool) ([]File, error) {
	lines := newFieldLines(r, maxIndexLine)
	var found []File
	p := paragraph{}
	end := func() error {
		f, ok, err := p.end(wanted)
		if err != nil {
			return fmt.Errorf("the paragraph before line %d: %w", lines.number, err)
		}
		if ok {
			found = append(found, f)
		}
		p = paragraph{}
		return nil
	}
	for {
		err := lines.next()
		if err == io.EOF {
			return found, end()
		}
		if err != nil {
			return nil, err
		}
		switch lines.kind {
		case emptyLine, spaceLine:
			err = end()
		case fieldLine, otherLine:
			if err = p.add(lines); err != nil {
				err = fmt.Errorf("line %d: %w", lines.number, err)
			}
		case continuedLine:
		}
		if err != nil {
			return nil, err
		}
	}
}

// paragraph is the fields of interest of one package; nil if it has them not.
type paragraph struct {
	values [6][]byte
	any    bool
}

var indexFields = [6]string{"package", "version", "architecture", "size", "sha256", "sha512"}

// add takes a line that begins a field. Long ones, such as relations, are of no
// interest.
func (p *paragraph) add(line *fieldLines) error {
	p.any = true
	if line.kind == otherLine {
		return fmt.Errorf("%.80q is not a field", line.text)
	}
	for i, name := range indexFields {
		switch {
		case !line.is(name):
		case p.values[i] != nil:
			return fmt.Errorf("the field %q is there twice", name)
		case line.isCut:
			return fmt.Errorf("the field %q is too long", name)
		default:
			p.values[i] = append([]byte{}, line.value...)
		}
	}
	return nil
}

// end returns the package, if it is wanted.
func (p *paragraph) end(wanted func(fileKey) bool) (File, bool, error) {
	if !p.any {
		return File{}, false, nil
	}
	f := File{Name: string(p.values[0]), Version: string(p.values[1]), Architecture: string(p.values[2])}
	if f.Name == "" || f.Version == "" || f.Architecture == "" {
		return f, false, fmt.Errorf("it has no name, version or architecture (%.80q)", f.Name)
	}
	size, sum256, sum512 := p.values[3], p.values[4], p.values[5]
	if !wanted(fileKey{f.Name, f.Version, f.Architecture}) || sum256 == nil && sum512 == nil {
		return f, false, nil
	}
	var err error
	if f.Size, err = parseSize(string(size)); err != nil {
		return f, false, err
	}
	for _, d := range []struct {
		text []byte
		to   []byte
		name string
	}{{sum256, f.SHA256[:], "SHA-256"}, {sum512, f.SHA512[:], "SHA-512"}} {
		if d.text != nil {
			if err := parseSum(d.to, string(d.text), d.name); err != nil {
				return f, false, err
			}
		}
	}
	return f, true, nil
}
