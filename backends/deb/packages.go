package deb

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/hashpkg/hashpkg/backends"
	"github.com/hashpkg/hashpkg/internal/unpack"
	"github.com/hashpkg/hashpkg/pkginfo"
)

// What an index may have, at most; docs/limits.md has these.
const (
	maxListed        = 1 << 30  // bytes of an index, unpacked: the largest have 100 MB
	maxPackages      = 1 << 20  // of Debian's the largest has 70,000
	maxParagraph     = 1 << 20  // bytes of one package: of Debian the largest has 24 kB
	maxSummary       = 4095     // bytes of it that are kept: of Debian the longest has 200
	maxDeb           = 64 << 30 // bytes of a deb, whose members have at most ten digits for their size
	maxInstalledSize = 1 << 40  // KiB
)

// ReadIndex implements [backends.Repositories] for a file named Packages.
func (Format) ReadIndex(part *backends.Part, r io.Reader, each func(*pkginfo.Listed) error) error {
	compression, err := partCompression(part)
	if err != nil {
		return err
	}
	if part.Unpacked > maxListed {
		return fmt.Errorf("it has %d bytes, unpacked, and %d is a fixed limit of hashpkg (docs/limits.md)", part.Unpacked, int64(maxListed))
	}
	s, err := unpack.NewJoinedStream(r, compression, part.Size)
	if err != nil {
		return err
	}
	defer s.Close()
	return readPackages(&sizedReader{r: s, size: part.Unpacked}, each)
}

// partCompression tells how a part is packed, by the one of its paths that has a name.
func partCompression(part *backends.Part) (unpack.Compression, error) {
	for _, p := range part.Paths {
		if _, c, ok := indexCompression(path.Base(p)); ok {
			return c, nil
		}
	}
	return "", fmt.Errorf("none of the paths %q says how the index is packed", part.Paths)
}

// sizedReader sees to it that there are as many bytes as the Release file says, if it
// does.
type sizedReader struct {
	r    io.Reader
	size int64 // or -1
	n    int64
}

func (s *sizedReader) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	s.n += int64(n)
	switch {
	case s.size >= 0 && s.n > s.size, s.size >= 0 && err == io.EOF && s.n != s.size:
		return 0, fmt.Errorf("the index, unpacked, does not have the %d bytes that its Release file says", s.size)
	case s.n > maxListed:
		return 0, fmt.Errorf("the index has more than %d bytes, unpacked, a fixed limit of hashpkg (docs/limits.md)", int64(maxListed))
	}
	return n, err
}

// readPackages reads a file named Packages.
func readPackages(r io.Reader, each func(*pkginfo.Listed) error) error {
	p := paragraphs{r: r}
	for n := 0; ; n++ {
		text, err := p.next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if n == maxPackages {
			return fmt.Errorf("the index has more than %d packages, a fixed limit of hashpkg (docs/limits.md)", maxPackages)
		}
		l, line, err := parseListed(text)
		if err != nil {
			name := ""
			if l.Name != "" {
				name = fmt.Sprintf(" (%.80q)", l.Name)
			}
			return fmt.Errorf("line %d%s: %w", p.line+line, name, err)
		}
		if err := each(l); err != nil {
			return err
		}
	}
}

// paragraphs splits a text at its empty lines.
type paragraphs struct {
	r     io.Reader
	buf   []byte
	start int // of what was not returned yet
	ended bool
	line  int // on which the paragraph begins that was returned last, from 1
	after int // the number of the line behind it
}

// next returns a paragraph, without empty lines; io.EOF after the last one.
func (p *paragraphs) next() (string, error) {
	if p.after == 0 {
		p.after = 1
	}
	searched := 0
	for {
		rest := p.buf[p.start:]
		if searched == 0 { // empty lines before the paragraph
			for len(rest) > 0 && rest[0] == '\n' {
				rest = rest[1:]
				p.start++
				p.after++
			}
		}
		if i := bytes.Index(rest[searched:], []byte("\n\n")); i >= 0 {
			return p.take(searched+i+1, rest), nil
		}
		searched = max(0, len(rest)-1)
		switch {
		case len(rest) > maxParagraph:
			return "", fmt.Errorf("line %d: the paragraph has more than %d bytes, a fixed limit of hashpkg (docs/limits.md)", p.after, maxParagraph)
		case p.ended && len(rest) == 0:
			return "", io.EOF
		case p.ended:
			return p.take(len(rest), rest), nil
		}
		if err := p.fill(); err != nil {
			return "", err
		}
	}
}

func (p *paragraphs) take(n int, rest []byte) string {
	text := string(rest[:n])
	p.start += n
	p.line, p.after = p.after, p.after+strings.Count(text, "\n")
	return text
}

// fill reads more behind what was not returned yet.
func (p *paragraphs) fill() error {
	const piece = 256 << 10
	if p.start > 0 {
		p.buf = p.buf[:copy(p.buf, p.buf[p.start:])]
		p.start = 0
	}
	if cap(p.buf)-len(p.buf) < piece/2 {
		p.buf = append(make([]byte, 0, 2*cap(p.buf)+piece), p.buf...)
	}
	n, err := p.r.Read(p.buf[len(p.buf):cap(p.buf)])
	p.buf = p.buf[:len(p.buf)+n]
	if p.ended = err == io.EOF; p.ended {
		return nil
	}
	return err
}

// listedField is one of the fields of a paragraph that are read.
type listedField uint8

const (
	fieldPackage listedField = iota
	fieldVersion
	fieldArchitecture
	fieldSource
	fieldDescription
	fieldMultiArch
	fieldPreDepends
	fieldDepends
	fieldRecommends
	fieldProvides
	fieldConflicts
	fieldBreaks
	fieldReplaces
	fieldPriority
	fieldEssential
	fieldFilename
	fieldSize
	fieldInstalledSize
	fieldSHA512
	fieldSHA256
	listedFields
)

var listedFieldNames = [listedFields]string{
	"Package", "Version", "Architecture", "Source", "Description", "Multi-Arch", "Pre-Depends", "Depends", "Recommends", "Provides",
	"Conflicts", "Breaks", "Replaces", "Priority", "Essential", "Filename", "Size", "Installed-Size", "SHA512", "SHA256",
}

func (f listedField) String() string { return listedFieldNames[f] }

// fieldOf returns which field has a name.
func fieldOf(name string) (listedField, bool) {
	for f, s := range listedFieldNames {
		if len(s) == len(name) && strings.EqualFold(s, name) {
			return listedField(f), true
		}
	}
	return 0, false
}

// parseListed reads the paragraph of one package. With an error it returns in which of
// its lines, from 0, the cause stands, and the package's name if it got so far.
func parseListed(text string) (l *pkginfo.Listed, line int, err error) {
	l = &pkginfo.Listed{Package: pkginfo.Package{Format: Name}}
	if i := strings.IndexByte(text, 0); i >= 0 {
		return l, strings.Count(text[:i], "\n"), errors.New("it has a NUL")
	}
	var values [listedFields]string
	var lines [listedFields]int // on which they stand, from 1
	for rest := text; rest != ""; {
		var field string
		var n int
		if field, rest, n, err = cutField(rest); err != nil {
			return l, line + n, err
		}
		name, value, ok := strings.Cut(field, ":")
		name = strings.TrimRight(name, " \t")
		if !ok || !isFieldName(name) {
			first, _, _ := strings.Cut(field, "\n")
			return l, line, fmt.Errorf("%.80q is not a field", first)
		}
		if f, ok := fieldOf(name); ok {
			if lines[f] != 0 {
				return l, line, fmt.Errorf("the field %s is there twice", f)
			}
			values[f], lines[f] = strings.TrimSpace(value), line+1
			if f == fieldPackage && isPackageName(values[f]) {
				l.Name = values[f]
			}
		}
		line += n
	}
	where, err := setListed(l, &values)
	return l, max(0, lines[where]-1), err
}

// cutField returns the first field of a paragraph, with the lines that go on with it,
// and how many lines that is. With an error it is the number of the line that is wrong.
func cutField(s string) (field, rest string, lines int, err error) {
	end := 0
	for {
		i := strings.IndexByte(s[end:], '\n')
		switch {
		case i < 0 && lines > 0 && isSpace(s[end:]), i >= 0 && lines > 0 && isSpace(s[end:end+i]):
			return "", "", lines, errors.New("it has nothing but space") // readers differ on what that means
		case i < 0:
			return s, "", lines + 1, nil
		}
		end += i + 1
		lines++
		if end == len(s) || s[end] != ' ' && s[end] != '\t' {
			return s[:end-1], s[end:], lines, nil
		}
	}
}

func isSpace(s string) bool { return strings.TrimSpace(s) == "" }

// setListed fills in what the fields say. With an error it returns the field that is
// wrong, or missing.
func setListed(l *pkginfo.Listed, values *[listedFields]string) (where listedField, err error) {
	l.Name, l.Version, l.Architecture = values[fieldPackage], values[fieldVersion], values[fieldArchitecture]
	if err := checkIdentity(&l.Package); err != nil {
		if !isPackageName(l.Name) {
			l.Name = ""
		}
		return fieldPackage, err
	}
	l.Source, _, _ = strings.Cut(values[fieldSource], " ") // "name (version)"
	l.Summary, _, _ = strings.Cut(values[fieldDescription], "\n")
	l.Summary = strings.TrimRight(l.Summary[:min(len(l.Summary), maxSummary)], " \t\r")
	l.Priority = values[fieldPriority]
	l.Essential = values[fieldEssential] == "yes"
	if l.MultiArch, err = parseMultiArch(values[fieldMultiArch]); err != nil {
		return fieldMultiArch, err
	}
	err = setRelations(&l.Package, &relationFields{
		preDepends: values[fieldPreDepends], depends: values[fieldDepends], conflicts: values[fieldConflicts], breaks: values[fieldBreaks],
		replaces: values[fieldReplaces], recommends: values[fieldRecommends], provides: values[fieldProvides],
	})
	if err != nil {
		return fieldPackage, err
	}
	l.Requires, l.ScriptRequires = splitRequires(&l.Package)
	if l.Path, err = checkFilename(values[fieldFilename]); err != nil {
		return fieldFilename, err
	}
	if l.Size, err = parseSize(values[fieldSize]); err != nil || l.Size > maxDeb {
		return fieldSize, fmt.Errorf("the field Size: %.80q is not the size of a package", values[fieldSize])
	}
	if s := values[fieldInstalledSize]; s != "" {
		n, err := strconv.ParseUint(s, 10, 63)
		if err != nil || n > maxInstalledSize {
			return fieldInstalledSize, fmt.Errorf("the field Installed-Size: %.80q is not a number of KiB", s)
		}
		l.InstalledSize = int64(n) << 10
	}
	for _, d := range []struct {
		field listedField
		kind  string
		size  int
	}{{fieldSHA512, "sha512", sha512.Size}, {fieldSHA256, "sha256", sha256.Size}} {
		if s := values[d.field]; s != "" {
			var sum [sha512.Size]byte
			if err := parseSum(sum[:d.size], s, "digest"); err != nil {
				return d.field, fmt.Errorf("the field %s: %w", d.field, err)
			}
			if l.Digest == "" {
				l.Digest = d.kind + ":" + strings.ToLower(s)
			}
		}
	}
	if l.Digest == "" {
		return fieldPackage, errors.New("it has no SHA-512 and no SHA-256 of the package")
	}
	return 0, nil
}

// checkFilename returns a path below the repository's address.
func checkFilename(s string) (string, error) {
	p := path.Clean(s) // "./x.deb" and "pool//x.deb" are what packers make of the names of directories
	isPath := fs.ValidPath(p) && p != "." && !strings.HasSuffix(s, "/") && len(s) <= unpack.MaxPath && !strings.Contains(s, "://") &&
		!slices.Contains(strings.Split(s, "/"), "..") && !strings.ContainsFunc(s, func(c rune) bool { return c <= ' ' || c == 0x7f || c == '\\' })
	if !isPath {
		return "", fmt.Errorf("the field Filename: %.200q is not a path in the repository", s)
	}
	return p, nil
}
