package rpm

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/hashpkg/hashpkg/backends"
	"github.com/hashpkg/hashpkg/internal/unpack"
	"github.com/hashpkg/hashpkg/pkginfo"
)

// Bounds of an index. Fedora's largest package lists some ten thousand files and
// relations.
const (
	partPrimary        = "primary"
	maxUnpacked        = 8 << 30 // bytes of XML, where the description does not say how many
	maxListedRelations = 128 << 10
	maxListedFiles     = 256 << 10
	maxListedBytes     = 64 << 20 // of the names in one package's files and relations
	maxListedText      = 4095     // of a path, and of a summary; of the latter more is cut
	maxInterned        = 64 << 10
)

// ReadIndex reads primary.xml, plain or packed by gzip, xz, zstd or bzip2.
//
// Packages of module streams are left out, and so are source packages: which stream
// a system follows is a choice of its administrator, and a package of a stream that
// nobody has chosen is not to come because its version is the highest.
//
// What only scripts need is what the index marks so: "Requires(post)" and the like. It
// does not mark what is needed by scripts of a removal.
func (Format) ReadIndex(part *backends.Part, r io.Reader, each func(*pkginfo.Listed) error) error {
	return withXML(part, partPrimary, r, func(x *xmlReader) error {
		p := &primaryReader{xml: x, each: each, strings: map[string]string{}}
		return p.read()
	})
}

// withXML unpacks an index, of at most as many bytes as the description says, and calls
// read with what reads its XML. name is what errors call it.
func withXML(part *backends.Part, name string, r io.Reader, read func(*xmlReader) error) error {
	b := bufio.NewReaderSize(r, 64<<10)
	compression, err := indexCompression(b)
	if err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	stream, err := unpack.NewTrustingStream(b, compression, part.Size) // whoever reads it compares the digest
	if err != nil {
		return explainIndex(name, err)
	}
	defer stream.Close()
	limit := part.Unpacked
	if limit < 0 {
		limit = maxUnpacked
	}
	return explainIndex(name, read(newXMLReader(&limitedIndex{r: stream, name: name, left: limit}, name, xmlWindow)))
}

// explainIndex says of an index that was not unpacked what is wrong with it.
func explainIndex(name string, err error) error {
	var damage *unpack.CorruptError
	if errors.As(err, &damage) {
		return &FormatError{Member: name, Offset: damage.Offset, Msg: "the compressed data are corrupt (" + damage.Msg + ")"}
	}
	return err
}

// indexCompression tells how an index is packed by how it begins.
func indexCompression(b *bufio.Reader) (unpack.Compression, error) {
	head, err := b.Peek(6)
	if err != nil && err != io.EOF {
		return "", err
	}
	for _, c := range []struct {
		magic       string
		compression unpack.Compression
	}{
		{"\x1f\x8b", unpack.Gzip},
		{"\xfd7zXZ\x00", unpack.Xz},
		{"\x28\xb5\x2f\xfd", unpack.Zstd},
		{"BZh", unpack.Bzip2},
	} {
		if bytes.HasPrefix(head, []byte(c.magic)) {
			return c.compression, nil
		}
	}
	return unpack.None, nil
}

// limitedIndex fails when more is read than there should be.
type limitedIndex struct {
	r    io.Reader
	name string
	left int64
}

func (l *limitedIndex) Read(p []byte) (int, error) {
	n, err := l.r.Read(p)
	if l.left -= int64(n); l.left < 0 {
		return 0, errorIn(l.name, "it is longer than the description says, or than %d bytes", int64(maxUnpacked))
	}
	return n, err
}

// primaryReader reads the packages of primary.xml.
type primaryReader struct {
	xml     *xmlReader
	each    func(*pkginfo.Listed) error
	strings map[string]string // names that were seen, for most are repeated

	p       *listing
	wants   bool // the text of the element that is open
	text    []byte
	entries *[]pkginfo.Relation // of the list that is open
	isList  bool                // any list of relations is open
}

// listing is a package of which not all is read.
type listing struct {
	pkginfo.Listed
	epoch, version, release string
	checksumType            string
	kind                    string // "rpm"
	bytes                   int    // of names in files and relations
	provides                bool   // its list is open
}

func (r *primaryReader) read() error {
	for {
		kind, err := r.xml.next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		switch kind {
		case xmlStart:
			err = r.start()
		case xmlText:
			if r.wants {
				r.text = append(r.text, r.xml.text...)
			}
		case xmlEnd:
			err = r.end()
		}
		if err != nil {
			return err
		}
	}
}

// The depths at which elements stand in primary.xml.
const (
	depthMetadata = 1 + iota
	depthPackage
	depthOfPackage // what a package has
	depthFormat    // what is of rpm only
	depthEntry     // a relation
)

func (r *primaryReader) start() error {
	name, x := r.xml.name, r.xml
	r.wants, r.text = false, r.text[:0]
	switch x.depth() {
	case depthMetadata:
		if string(name) != "metadata" {
			return x.fail("it is not an index of packages: its outermost element is %s", name)
		}
	case depthPackage:
		if string(name) == "package" {
			r.p = &listing{kind: string(x.attr("type"))}
		}
	case depthOfPackage:
		if r.p != nil {
			return r.startOfPackage(string(name))
		}
	case depthFormat:
		if r.p != nil {
			r.startFormat(string(name))
		}
	case depthEntry:
		if r.p != nil && r.isList && string(name) == "rpm:entry" {
			return r.entry()
		}
	}
	return nil
}

func (r *primaryReader) startOfPackage(name string) (err error) {
	x, p := r.xml, r.p
	switch name {
	case "name", "arch", "summary":
		r.wants = true
	case "checksum":
		r.wants, p.checksumType = true, string(x.attr("type"))
	case "version":
		p.epoch, p.version, p.release = r.string(x.attr("epoch")), string(x.attr("ver")), r.string(x.attr("rel"))
	case "size":
		if p.Size, err = r.number("size", x.attr("package")); err == nil && x.attr("installed") != nil {
			p.InstalledSize, err = r.number("size", x.attr("installed"))
		}
	case "location":
		p.Path, err = r.location(string(x.attr("href")), string(x.attr("xml:base")))
	}
	return err
}

func (r *primaryReader) startFormat(name string) {
	p := r.p
	r.entries, r.isList, p.provides = nil, true, false
	switch name {
	case "file", "rpm:sourcerpm":
		r.wants, r.isList = true, false
	case "rpm:requires":
		r.entries = &p.Requires
	case "rpm:recommends":
		r.entries = &p.Recommends
	case "rpm:conflicts":
		r.entries = &p.Conflicts
	case "rpm:obsoletes":
		r.entries = &p.Replaces
	case "rpm:provides":
		p.provides = true
	default:
		r.isList = false
	}
}

// entry reads a relation.
func (r *primaryReader) entry() error {
	x, p := r.xml, r.p
	d := dependency{name: r.string(x.attr("name"))}
	switch flags := string(x.attr("flags")); flags {
	case "":
	case "EQ":
		d.flags = senseEqual
	case "LT":
		d.flags = senseLess
	case "LE":
		d.flags = senseLess | senseEqual
	case "GT":
		d.flags = senseGreater
	case "GE":
		d.flags = senseGreater | senseEqual
	default:
		return x.fail("a relation of %s has the comparison %.20q", p.Name, flags)
	}
	if d.flags != 0 {
		d.version = r.evr(x.attr("epoch"), x.attr("ver"), x.attr("rel"))
	}
	n := len(d.name) + len(d.version)
	switch {
	case d.name == "":
		return x.fail("a relation of %s names nothing", p.Name)
	case n > maxRelation:
		return x.fail("a relation of %s is %d bytes long", p.Name, n)
	}
	if err := r.count(n); err != nil {
		return err
	}
	switch {
	case p.provides && len(p.Provides) == maxListedRelations, r.entries != nil && len(*r.entries) == maxListedRelations:
		return x.fail("%s has more than %d relations of a kind", p.Name, maxListedRelations)
	case p.provides:
		c := pkginfo.Capability{Name: d.name}
		if d.operator() == "=" {
			c.Version = d.version
		}
		p.Provides = append(p.Provides, c)
	case strings.HasPrefix(d.name, "rpmlib("): // which the package's own header is asked for
	case r.entries == &p.Requires && string(x.attr("pre")) == "1":
		if len(p.ScriptRequires) == maxListedRelations {
			return x.fail("%s has more than %d relations of a kind", p.Name, maxListedRelations)
		}
		p.ScriptRequires = appendNew(p.ScriptRequires, d.relation())
	default:
		*r.entries = appendNew(*r.entries, d.relation())
	}
	return nil
}

// dropTwice leaves out of what scripts need what the package needs anyway.
func (p *listing) dropTwice() {
	if len(p.ScriptRequires) == 0 {
		return
	}
	all := make(map[string]bool, len(p.Requires))
	for _, r := range p.Requires {
		all[r.Text] = true
	}
	p.ScriptRequires = slices.DeleteFunc(p.ScriptRequires, func(r pkginfo.Relation) bool { return all[r.Text] })
}

// count adds to what the names of a package have.
func (r *primaryReader) count(n int) error {
	if r.p.bytes += n; r.p.bytes > maxListedBytes {
		return r.xml.fail("the files and relations of %s have more than %d bytes", r.p.Name, maxListedBytes)
	}
	return nil
}

// evr returns a version in rpm's notation. The index has the epoch 0 for what has
// none, too.
func (r *primaryReader) evr(epoch, version, release []byte) string {
	var b [64]byte
	s := b[:0]
	if len(epoch) > 0 && string(epoch) != "0" {
		s = append(append(s, epoch...), ':')
	}
	s = append(s, version...)
	if len(release) > 0 {
		s = append(append(s, '-'), release...)
	}
	return r.string(s)
}

// string returns b as a string, the same one for what was there before.
func (r *primaryReader) string(b []byte) string {
	if s, ok := r.strings[string(b)]; ok {
		return s
	}
	if len(r.strings) == maxInterned {
		clear(r.strings)
	}
	s := string(b)
	if len(s) <= maxListedText {
		r.strings[s] = s
	}
	return s
}

func (r *primaryReader) number(what string, b []byte) (int64, error) {
	n, err := strconv.ParseUint(string(b), 10, 62)
	if err != nil {
		return 0, r.xml.fail("%.40q is not the %s of a package", b, what)
	}
	return int64(n), nil
}

func (r *primaryReader) location(href, base string) (string, error) {
	path, err := locate(href, base)
	if err != nil {
		return "", r.xml.fail("%v", err)
	}
	return path, nil
}

// locate returns the path of a file in a repository or, for a file that is elsewhere,
// its address. Nothing of a repository leads out of it but by the address of another
// server.
func locate(href, base string) (string, error) {
	path := strings.TrimPrefix(href, "./")
	if len(path) > maxListedText || path == "." || !fs.ValidPath(path) || strings.ContainsAny(path, "\\\x00?#") || strings.Contains(path, "://") {
		return "", fmt.Errorf("%.100q is not a path in the repository", href)
	}
	if base == "" {
		return path, nil
	}
	if u, err := url.Parse(base); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || len(base) > maxListedText || u.RawQuery != "" || u.Fragment != "" {
		return "", fmt.Errorf("%.100q is not the address of a repository", base)
	}
	return strings.TrimRight(base, "/") + "/" + path, nil
}

func (r *primaryReader) end() error {
	depth := r.xml.depth() + 1 // of the element that has ended
	name := r.xml.name
	switch {
	case r.p == nil:
	case depth == depthPackage:
		p := r.p
		r.p = nil
		return r.give(p)
	case r.wants && depth == depthOfPackage:
		r.endOfPackage(string(name))
	case r.wants && depth == depthFormat && string(name) == "file":
		return r.file()
	case r.wants && depth == depthFormat:
		r.p.Source = r.string([]byte(sourceOfFile(string(r.text))))
	case depth == depthFormat:
		r.isList = false
	}
	r.wants = false
	return nil
}

func (r *primaryReader) endOfPackage(name string) {
	p := r.p
	switch name {
	case "name":
		p.Name = string(r.text)
	case "arch":
		p.Architecture = r.string(r.text)
	case "checksum":
		p.Digest = indexDigest(p.checksumType, string(r.text))
	case "summary":
		line, _, _ := strings.Cut(string(r.text), "\n")
		p.Summary = strings.ToValidUTF8(line[:min(len(line), maxListedText)], "") // which may be cut in a character
	}
}

func (r *primaryReader) file() error {
	r.wants = false
	p := r.p
	switch n := len(r.text); {
	case n == 0 || r.text[0] != '/' || n > maxListedText:
		return r.xml.fail("%s lists the file %.100q", p.Name, r.text)
	case len(p.Files) == maxListedFiles:
		return r.xml.fail("%s lists more than %d files", p.Name, maxListedFiles)
	}
	p.Files = append(p.Files, string(r.text))
	return r.count(len(r.text))
}

// indexDigest returns a digest as pkginfo has it, or "" for one of another kind.
func indexDigest(kind, hex string) string {
	size := map[string]int{"sha256": 64, "sha512": 128}[strings.ToLower(kind)]
	if size == 0 || len(hex) != size || strings.Trim(hex, "0123456789abcdef") != "" {
		return ""
	}
	return strings.ToLower(kind) + ":" + hex
}

// give hands on a package that is whole.
func (r *primaryReader) give(p *listing) error {
	if p.kind != "rpm" || p.Architecture == "src" || p.Architecture == "nosrc" || isModular(p.release) {
		return nil
	}
	if p.epoch == "" {
		p.epoch = "0"
	}
	if _, err := strconv.ParseUint(p.epoch, 10, 32); err != nil {
		return r.xml.fail("the epoch of %.100q is %.20q", p.Name, p.epoch)
	}
	p.Format = Name
	p.Version = r.evr([]byte(p.epoch), []byte(p.version), []byte(p.release))
	if err := checkNames(p.Name, p.version, p.release, p.Architecture); err != nil {
		var e *FormatError
		if errors.As(err, &e) {
			return r.xml.fail("%.100q: %s", p.Name, e.Msg)
		}
		return err
	}
	switch {
	case p.Path == "":
		return r.xml.fail("the index does not say where %s is", p.Name)
	case p.Digest == "":
		return r.xml.fail("the index has no SHA-256 or SHA-512 of %s, but %.20q: nothing else proves what a package is", p.Name, p.checksumType)
	case p.Size == 0:
		return r.xml.fail("the index does not say how large %s is", p.Name)
	}
	self := pkginfo.Capability{Name: p.Name, Version: p.Version}
	for i, c := range p.Provides {
		if c == self {
			p.Provides = append(p.Provides[:i], p.Provides[i+1:]...)
			break
		}
	}
	p.dropTwice()
	l := p.Listed
	return r.each(&l)
}

// isModular reports whether a package is of a module stream: the module build system
// puts that into the release of every package that it builds.
func isModular(release string) bool {
	return strings.Contains(release, ".module_") || strings.Contains(release, ".module+")
}
