package testdeb

import (
	"bytes"
	"fmt"
	"strings"
)

// File is one entry of a tar archive: a directory if Path ends with a slash, a
// symlink if Link is set, a hard link if HardLink is, else what Type says, and
// without one a regular file.
type File struct {
	Path    string
	Content string
	Mode    uint32 // when 0: 0755 of directories, 0777 of symlinks, 0644 of the rest

	Link     string // a symlink's target
	HardLink string // the earlier file, as the archive is to name it

	UID, GID     int
	Owner, Group string // where empty, "root" for 0, and none for other numbers
	Unix         int64  // time, seconds since 1970
	Type         byte   // tar's type letter, when the fields above do not say it
	Major, Minor int

	// Size is what the header says in place of len(Content), if not 0.
	Size int64
	// Header may alter the block before its checksum is put in.
	Header func(block []byte)
	// BadChecksum puts in a wrong one.
	BadChecksum bool
}

// Dir returns a directory.
func Dir(path string) File { return File{Path: strings.TrimSuffix(path, "/") + "/"} }

// Symlink returns a symlink at path that leads to target.
func Symlink(path, target string) File { return File{Path: path, Link: target} }

// HardLink returns another name of the earlier file target.
func HardLink(path, target string) File { return File{Path: path, HardLink: target} }

// Exec returns an executable file.
func Exec(path, content string) File { return File{Path: path, Mode: 0o755, Content: content} }

const blockSize = 512

// Tar returns an archive in GNU format, as dpkg-deb makes it. Paths stand in it
// as they are given, but for "./" before those that begin with neither a slash
// nor a dot.
func Tar(files ...File) ([]byte, error) {
	var b bytes.Buffer
	for _, f := range files {
		if err := appendFile(&b, f); err != nil {
			return nil, err
		}
	}
	b.Write(make([]byte, 2*blockSize))
	return b.Bytes(), nil
}

func appendFile(b *bytes.Buffer, f File) error {
	name := f.Path
	if !strings.HasPrefix(name, "/") && !strings.HasPrefix(name, ".") {
		name = "./" + name
	}
	kind, mode, link := byte('0'), uint32(0o644), ""
	switch {
	case strings.HasSuffix(name, "/"):
		kind, mode = '5', 0o755
	case f.Link != "":
		kind, mode, link = '2', 0o777, f.Link
	case f.HardLink != "":
		kind, link = '1', f.HardLink
		if !strings.HasPrefix(link, "/") && !strings.HasPrefix(link, ".") {
			link = "./" + link
		}
	}
	if f.Type != 0 {
		kind = f.Type
	}
	if f.Mode != 0 {
		mode = f.Mode
	}

	if len(link) > 100 {
		appendLong(b, 'K', link)
	}
	if len(name) > 100 {
		appendLong(b, 'L', name)
	}
	size := int64(len(f.Content))
	if f.Size != 0 {
		size = f.Size
	}
	block := make([]byte, blockSize)
	copy(block[0:100], name)
	octal(block[100:108], int64(mode))
	octal(block[108:116], int64(f.UID))
	octal(block[116:124], int64(f.GID))
	if err := number(block[124:136], size); err != nil {
		return fmt.Errorf("size of %s: %w", f.Path, err)
	}
	if err := number(block[136:148], f.Unix); err != nil {
		return fmt.Errorf("time of %s: %w", f.Path, err)
	}
	block[156] = kind
	copy(block[157:257], link)
	copy(block[257:265], "ustar  \x00")
	copy(block[265:297], nameOf(f.UID, f.Owner))
	copy(block[297:329], nameOf(f.GID, f.Group))
	if kind == '3' || kind == '4' {
		octal(block[329:337], int64(f.Major))
		octal(block[337:345], int64(f.Minor))
	}
	if f.Header != nil {
		f.Header(block)
	}
	checksum(block)
	if f.BadChecksum {
		block[150] ^= 1
	}
	b.Write(block)
	appendPadded(b, f.Content)
	return nil
}

// appendLong writes GNU tar's entry for a name that a header has no room for.
func appendLong(b *bytes.Buffer, kind byte, name string) {
	block := make([]byte, blockSize)
	copy(block, "././@LongLink")
	octal(block[100:108], 0)
	octal(block[108:116], 0)
	octal(block[116:124], 0)
	octal(block[124:136], int64(len(name)+1))
	octal(block[136:148], 0)
	block[156] = kind
	copy(block[257:265], "ustar  \x00")
	checksum(block)
	b.Write(block)
	appendPadded(b, name+"\x00")
}

func appendPadded(b *bytes.Buffer, content string) {
	b.WriteString(content)
	b.Write(make([]byte, (blockSize-len(content)%blockSize)%blockSize))
}

func octal(field []byte, v int64) {
	copy(field, fmt.Sprintf("%0*o", len(field)-1, v))
}

// number writes v in octal, or in base 256 where that is too short.
func number(field []byte, v int64) error {
	if v >= 0 && v < 1<<(3*(len(field)-1)) {
		octal(field, v)
		return nil
	}
	if len(field) < 9 {
		return fmt.Errorf("%d does not fit into %d bytes", v, len(field))
	}
	for i := range field {
		shift := 8 * (len(field) - 1 - i)
		field[i] = byte(v >> min(shift, 63))
	}
	field[0] |= 0x80
	return nil
}

func checksum(block []byte) {
	copy(block[148:156], "        ")
	sum := 0
	for _, c := range block {
		sum += int(c)
	}
	copy(block[148:156], fmt.Sprintf("%06o\x00 ", sum))
}

// nameOf returns the name that a file has for the number of its owner or group.
func nameOf(id int, name string) string {
	if name == "" && id == 0 {
		return "root"
	}
	return name
}
