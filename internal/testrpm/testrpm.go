// Package testrpm builds .rpm packages from Go literals, for tests. Most callers
// need [Package] and its Build:
//
//	rpm, err := testrpm.Package{
//		Name: "jq", Version: "1.7.1", Release: "6",
//		Requires: []string{"libjq.so.1()(64bit)", "glibc >= 2.34"},
//		Files: []testrpm.File{
//			{Path: "/usr/bin/jq", Mode: 0o755, Content: "..."},
//			testrpm.Symlink("/usr/bin/jq1", "jq"),
//		},
//	}.Build()
//
// The bytes depend on the literal alone, so equal literals give equal packages.
// rpm can read those of format 4.
//
// # Broken packages
//
// [Package.Edit] gets at the values of the header before its digests are made, and
// [Package.EditSignature] at those of the signature header. [Package.Archive]
// replaces the archive; [Cpio] and [StrippedCpio] make its parts.
package testrpm

import (
	"bytes"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha3"
	"crypto/sha512"
	"encoding/hex"
	"fmt"
	"path"
	"strings"
	"testing"

	"github.com/hashpkg/hashpkg/internal/testdeb"
)

// Package is a package to be built. The zero value is one: "hello" 1.0-1, of format
// 4, without files.
type Package struct {
	Format  int    // 4 when zero, or 3 or 6
	Name    string // "hello" when empty
	Version string // "1.0" when empty
	Release string // "1" when empty
	Epoch   string // none when empty
	Arch    string // "x86_64" when empty
	Summary string

	Requires, Provides, Conflicts, Obsoletes []string          // "name" or "name >= version"
	Scripts                                  map[string]string // "pre", "post", "preun", "postun"
	Files                                    []File
	Compression                              testdeb.Compression // none when empty

	Archive       []byte          // the whole cpio archive, in place of the files'
	Edit          func(h *Header) // changes the header before it is signed
	EditSignature func(h *Header) // changes the signature header
	EditPayload   func(b []byte) []byte
	// Sign returns further values of the signature header, for the bytes of the
	// header and of the compressed payload.
	Sign func(header, payload []byte) []Value
}

// File is one file of a package. Its zero values mean a regular file of mode 0644
// of root.
type File struct {
	Path         string // absolute
	Content      string
	Mode         uint32 // with the type of the file; without one it is regular
	Link         string // of a symlink
	Owner, Group string
	Flags        uint32 // rpmfileAttrs_e
	Inode        uint32 // equal ones, not zero, make hard links
	Rdev         uint16
	Caps         string

	NotInPayload bool
	NotInHeader  bool
}

// Types of files in [File.Mode].
const (
	TypeDir     = 0o040000
	TypeFile    = 0o100000
	TypeSymlink = 0o120000
	TypeChar    = 0o020000
	TypeBlock   = 0o060000
	TypeFIFO    = 0o010000
)

// FlagGhost is the flag of a file that belongs to a package that does not hold it.
const FlagGhost = 1 << 6

// Dir returns a directory.
func Dir(path string) File { return File{Path: path, Mode: TypeDir | 0o755} }

// Symlink returns a symlink to target.
func Symlink(path, target string) File {
	return File{Path: path, Mode: TypeSymlink | 0o777, Link: target}
}

// Ghost returns a file that is not in the payload.
func Ghost(path string) File { return File{Path: path, Flags: FlagGhost, NotInPayload: true} }

func (f *File) mode() uint32 {
	mode := f.Mode
	if mode&0o7777 == 0 {
		mode |= 0o644
	}
	if mode&0o170000 == 0 {
		mode |= TypeFile
	}
	return mode
}

// content returns what the payload has for the file.
func (f *File) content() string {
	if f.mode()&0o170000 == TypeSymlink {
		return f.Link
	}
	return f.Content
}

// RPM builds p, and fails the test if that cannot be.
func RPM(tb testing.TB, p Package) []byte {
	tb.Helper()
	b, err := p.Build()
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// Build returns the package's bytes.
func (p Package) Build() ([]byte, error) {
	p.Name, p.Version, p.Release = or(p.Name, "hello"), or(p.Version, "1.0"), or(p.Release, "1")
	p.Arch, p.Summary = or(p.Arch, "x86_64"), or(p.Summary, "a package")
	if p.Format == 0 {
		p.Format = 4
	}
	archive := p.Archive
	if archive == nil {
		archive = p.Cpio()
	}
	compression := testdeb.Compression(or(string(p.Compression), string(testdeb.None)))
	payload, err := testdeb.Compress(archive, compression)
	if err != nil {
		return nil, err
	}
	if p.EditPayload != nil {
		payload = p.EditPayload(payload)
	}

	h := p.header(archive, payload, compression)
	if p.Edit != nil {
		p.Edit(h)
	}
	rawHeader := h.marshal(63, p.Format != 3)
	sig := p.signature(rawHeader, payload, archive)
	if p.EditSignature != nil {
		p.EditSignature(sig)
	}
	rawSignature := sig.marshal(62, p.Format != 3)

	var b bytes.Buffer
	lead := make([]byte, 96)
	copy(lead, "\xed\xab\xee\xdb\x03\x00\x00\x00\x00\x01")
	copy(lead[10:76], p.Name+"-"+p.Version+"-"+p.Release)
	lead[77], lead[79] = 1, 5
	b.Write(lead)
	b.Write(rawSignature)
	b.Write(make([]byte, -len(rawSignature)&7))
	b.Write(rawHeader)
	b.Write(payload)
	return b.Bytes(), nil
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

func (p *Package) signature(header, payload, archive []byte) *Header {
	sig := &Header{}
	sha1sum, sha256sum := sha1.Sum(header), sha256.Sum256(header)
	sig.Strings(273, hex.EncodeToString(sha256sum[:]))
	if p.Format == 6 {
		sum := sha3.Sum256(header)
		sig.Strings(279, hex.EncodeToString(sum[:]))
		sig.Bytes(999, make([]byte, 32))
	} else {
		whole := md5.New()
		whole.Write(header)
		whole.Write(payload)
		sig.Strings(269, hex.EncodeToString(sha1sum[:]))
		sig.Uint32s(1000, uint32(len(header)+len(payload)))
		sig.Bytes(1004, whole.Sum(nil))
		sig.Uint32s(1007, uint32(len(archive)))
	}
	if p.Sign != nil {
		for _, v := range p.Sign(header, payload) {
			sig.set(v)
		}
	}
	return sig
}

func (p *Package) header(archive, payload []byte, compression testdeb.Compression) *Header {
	h := &Header{}
	h.StringArray(100, "C")
	h.Strings(1000, p.Name)
	h.Strings(1001, p.Version)
	h.Strings(1002, p.Release)
	if p.Epoch != "" {
		var epoch uint32
		_, _ = fmt.Sscan(p.Epoch, &epoch)
		h.Uint32s(1003, epoch)
	}
	h.I18n(1004, p.Summary)
	h.I18n(1005, p.Summary)
	h.Uint32s(1009, 0)
	h.Strings(1021, "linux")
	h.Strings(1022, p.Arch)
	h.Strings(1044, p.Name+"-"+p.Version+"-"+p.Release+".src.rpm")
	for name, t := range map[string][2]Tag{"pre": {1023, 1085}, "post": {1024, 1086}, "preun": {1025, 1087}, "postun": {1026, 1088}} {
		if body, ok := p.Scripts[name]; ok {
			h.Strings(t[0], body)
			h.Strings(t[1], "/bin/sh")
		}
	}
	self := p.Version + "-" + p.Release
	if p.Epoch != "" {
		self = p.Epoch + ":" + self
	}
	h.relations(p.Requires, 1049, 1048, 1050)
	h.relations(append([]string{p.Name + " = " + self}, p.Provides...), 1047, 1112, 1113)
	h.relations(p.Conflicts, 1054, 1053, 1055)
	h.relations(p.Obsoletes, 1090, 1114, 1115)
	p.fileValues(h)
	h.Strings(1124, "cpio")
	if name := map[testdeb.Compression]string{
		testdeb.Gzip: "gzip", testdeb.Xz: "xz", testdeb.Zstd: "zstd", testdeb.Bzip2: "bzip2", testdeb.Lzma: "lzma",
	}[compression]; name != "" {
		h.Strings(1125, name)
	}
	h.Strings(1126, "9")
	h.Uint32s(5011, 8)
	packed, unpacked := sha256.Sum256(payload), sha256.Sum256(archive)
	h.StringArray(5092, hex.EncodeToString(packed[:]))
	h.StringArray(5097, hex.EncodeToString(unpacked[:]))
	if p.Format == 6 {
		sum512, sum3 := sha512.Sum512(payload), sha3.Sum256(payload)
		alt512, alt3 := sha512.Sum512(archive), sha3.Sum256(archive)
		h.Strings(5062, "utf-8")
		h.Uint64s(5112, uint64(len(payload)))
		h.Uint64s(5113, uint64(len(archive)))
		h.Uint32s(5114, 6)
		h.Strings(5121, hex.EncodeToString(sum512[:]))
		h.Strings(5122, hex.EncodeToString(alt512[:]))
		h.Strings(5123, hex.EncodeToString(sum3[:]))
		h.Strings(5124, hex.EncodeToString(alt3[:]))
	} else {
		h.Uint32s(5093, 8)
	}
	return h
}

// fileValues gives h what it says of the files.
func (p *Package) fileValues(h *Header) {
	var sizes, mtimes, flags, inodes, devices, dirIndexes []uint32
	var longSizes []uint64
	var modes, rdevs []uint16
	var digests, links, users, groups, bases, dirs, caps []string
	dirIndex := map[string]uint32{}
	hasCaps := false
	for i := range p.Files {
		f := &p.Files[i]
		if f.NotInHeader {
			continue
		}
		dir, base := path.Split(f.Path)
		if _, ok := dirIndex[dir]; !ok {
			dirIndex[dir] = uint32(len(dirs))
			dirs = append(dirs, dir)
		}
		digest := ""
		if f.mode()&0o170000 == TypeFile && f.Flags&FlagGhost == 0 {
			sum := sha256.Sum256([]byte(f.Content))
			digest = hex.EncodeToString(sum[:])
		}
		inode := f.Inode
		if inode == 0 {
			inode = uint32(1<<20 + i)
		}
		sizes, longSizes = append(sizes, uint32(len(f.content()))), append(longSizes, uint64(len(f.content())))
		modes, rdevs = append(modes, uint16(f.mode())), append(rdevs, f.Rdev)
		mtimes, flags = append(mtimes, 1700000000), append(flags, f.Flags)
		inodes, devices = append(inodes, inode), append(devices, 1)
		dirIndexes, bases = append(dirIndexes, dirIndex[dir]), append(bases, base)
		digests, links = append(digests, digest), append(links, f.Link)
		users, groups = append(users, or(f.Owner, "root")), append(groups, or(f.Group, "root"))
		caps = append(caps, f.Caps)
		hasCaps = hasCaps || f.Caps != ""
	}
	if len(bases) == 0 {
		return
	}
	if p.Format == 6 {
		h.Uint64s(5008, longSizes...)
	} else {
		h.Uint32s(1028, sizes...)
	}
	h.Uint16s(1030, modes...)
	h.Uint16s(1033, rdevs...)
	h.Uint32s(1034, mtimes...)
	h.StringArray(1035, digests...)
	h.StringArray(1036, links...)
	h.Uint32s(1037, flags...)
	h.StringArray(1039, users...)
	h.StringArray(1040, groups...)
	h.Uint32s(1045, make([]uint32, len(bases))...)
	h.Uint32s(1095, devices...)
	h.Uint32s(1096, inodes...)
	h.StringArray(1097, make([]string, len(bases))...)
	h.Uint32s(1116, dirIndexes...)
	h.StringArray(1117, bases...)
	h.StringArray(1118, dirs...)
	if hasCaps {
		h.StringArray(5010, caps...)
	}
}

// Cpio returns the archive of the files. Of hard links the last one has the content.
func (p Package) Cpio() []byte {
	last := map[uint32]int{}
	for i, f := range p.Files {
		if f.Inode != 0 && !f.NotInPayload {
			last[f.Inode] = i
		}
	}
	var b bytes.Buffer
	index := uint32(0)
	for i := range p.Files {
		f := &p.Files[i]
		number := index
		if !f.NotInHeader {
			index++
		}
		if f.NotInPayload {
			continue
		}
		content := f.content()
		if f.Inode != 0 && last[f.Inode] != i {
			content = ""
		}
		if p.Format == 6 {
			b.Write(StrippedCpio(number, content))
		} else {
			b.Write(Cpio("."+f.Path, f.mode(), content))
		}
	}
	b.Write(Trailer())
	return b.Bytes()
}

// Cpio returns one file of an archive.
func Cpio(name string, mode uint32, content string) []byte {
	return CpioHeader(name, mode, uint32(len(content)), content)
}

// CpioHeader returns one file of an archive that says that it has size bytes.
func CpioHeader(name string, mode, size uint32, content string) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x",
		1, mode, 0, 0, 1, 1700000000, size, 0, 0, 0, 0, len(name)+1, 0)
	b.WriteString(name + "\x00")
	b.Write(make([]byte, -b.Len()&3))
	b.WriteString(content)
	b.Write(make([]byte, -b.Len()&3))
	return b.Bytes()
}

// StrippedCpio returns one file of an archive by its number in the header.
func StrippedCpio(number uint32, content string) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "07070X%08x\x00\x00", number)
	b.WriteString(content)
	b.Write(make([]byte, -b.Len()&3))
	return b.Bytes()
}

// Trailer returns the end of an archive.
func Trailer() []byte { return Cpio("TRAILER!!!", 0, "") }

// relations adds relations such as "name >= version".
func (h *Header) relations(texts []string, name, flags, version Tag) {
	if len(texts) == 0 {
		return
	}
	var names, versions []string
	var all []uint32
	for _, text := range texts {
		var f uint32
		words := strings.Fields(text)
		if strings.HasPrefix(text, "(") || len(words) != 3 {
			words = []string{text, "", ""}
		}
		for c, bit := range map[string]uint32{"<": 1 << 1, ">": 1 << 2, "=": 1 << 3} {
			if strings.Contains(words[1], c) {
				f |= bit
			}
		}
		if strings.HasPrefix(text, "rpmlib(") {
			f |= 1 << 24
		}
		names, versions, all = append(names, words[0]), append(versions, words[2]), append(all, f)
	}
	h.StringArray(name, names...)
	h.Uint32s(flags, all...)
	h.StringArray(version, versions...)
}
