package images

import (
	"archive/tar"
	"cmp"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/layout/record"
)

// entryTime is when all files of images were changed. It is one second past the epoch, as the
// time of objects is: there are programs that take 0 for no time.
var entryTime = time.Unix(1, 0).UTC()

// entry is one file of a layer.
type entry struct {
	path     string // relative to the root, without a slash at its end
	kind     record.FileType
	mode     record.Mode
	uid, gid int
	target   string            // of a symlink
	object   digest.Digest     // of a file that has one, else data
	size     int64             // of the object
	data     []byte            // of a file
	xattrs   map[string][]byte // by their whole names
}

// dir returns a directory that nothing says more of.
func dir(p string) entry { return entry{path: p, kind: record.TypeDirectory, mode: 0o755} }

// link returns a symbolic link.
func link(p, target string) entry {
	return entry{path: p, kind: record.TypeSymlink, mode: 0o777, target: target}
}

// text returns a file that everybody may read.
func text(p string, data []byte) entry {
	return entry{path: p, kind: record.TypeFile, mode: 0o644, data: data}
}

// same reports whether two entries are one and the same file.
func (e *entry) same(o *entry) bool {
	return e.kind == o.kind && e.mode == o.mode && e.uid == o.uid && e.gid == o.gid && e.target == o.target && e.object == o.object &&
		e.size == o.size && string(e.data) == string(o.data) && maps.EqualFunc(e.xattrs, o.xattrs, func(a, b []byte) bool { return string(a) == string(b) })
}

// complete sorts the entries of a layer, and adds the directories on the way to each, as dirOf has them.
func complete(entries []entry, dirOf func(string) entry) []entry {
	has := map[string]bool{}
	for i := range entries {
		has[entries[i].path] = true
	}
	for i := range entries {
		for d := path.Dir(entries[i].path); d != "." && !has[d]; d = path.Dir(d) {
			has[d] = true
			entries = append(entries, dirOf(d))
		}
	}
	slices.SortFunc(entries, func(a, b entry) int { return cmp.Compare(a.path, b.path) })
	return entries
}

// Objects gives the bytes of files.
type Objects interface {
	// MapObject calls f with the bytes of an object, which are valid until f returns. They
	// need not be those of the digest: who calls it compares them.
	MapObject(d digest.Digest, f func([]byte) error) error
}

// xattrPrefix begins the records of a tar header that are extended attributes (star(1)).
const xattrPrefix = "SCHILY.xattr."

// writeTar writes entries, which are complete, as a tar archive in the PAX format, without anything that
// is of this machine or this moment.
func writeTar(w io.Writer, entries []entry, objects Objects) error {
	t := tar.NewWriter(w)
	for i := range entries {
		e := &entries[i]
		h := &tar.Header{Name: e.path, Mode: int64(e.mode), Uid: e.uid, Gid: e.gid, ModTime: entryTime, Format: tar.FormatPAX}
		switch e.kind {
		case record.TypeDirectory:
			h.Typeflag, h.Name = tar.TypeDir, e.path+"/"
		case record.TypeSymlink:
			h.Typeflag, h.Linkname = tar.TypeSymlink, e.target
		case record.TypeFIFO:
			h.Typeflag = tar.TypeFifo
		case record.TypeFile:
			h.Typeflag, h.Size = tar.TypeReg, cmp.Or(e.size, int64(len(e.data)))
		default:
			return fmt.Errorf("/%s: a file of the kind %q cannot be in an image", e.path, e.kind)
		}
		for name, value := range e.xattrs {
			if h.PAXRecords == nil {
				h.PAXRecords = map[string]string{}
			}
			h.PAXRecords[xattrPrefix+name] = string(value)
		}
		if err := t.WriteHeader(h); err != nil {
			return fmt.Errorf("/%s: %w", e.path, err)
		}
		if err := e.writeTo(t, objects); err != nil {
			return fmt.Errorf("/%s: %w", e.path, err)
		}
	}
	return t.Close()
}

// writeTo writes the bytes of a file.
func (e *entry) writeTo(w io.Writer, objects Objects) error {
	if e.object == (digest.Digest{}) {
		_, err := w.Write(e.data)
		return err
	}
	return objects.MapObject(e.object, func(b []byte) error {
		if digest.Of(b) != e.object {
			return fmt.Errorf("the object %s is damaged", e.object)
		}
		_, err := w.Write(b)
		return err
	})
}

// key returns what a layer with these entries is known by. It is another one when the same
// entries would give other bytes.
func key(entries []entry) digest.Digest {
	h := digest.New()
	fmt.Fprintf(h, "hashpkg layer 1 %s\n", compressor)
	for i := range entries {
		e := &entries[i]
		fmt.Fprintf(h, "%q %s %04o %d %d %q %s %d %q\n", e.path, e.kind, e.mode, e.uid, e.gid, e.target, e.object, e.size, e.data)
		for _, name := range slices.Sorted(maps.Keys(e.xattrs)) {
			fmt.Fprintf(h, " %q %q\n", name, e.xattrs[name])
		}
	}
	return digest.Sum(h)
}

// below reports whether a path is a directory or stands below it.
func below(p, dir string) bool { return p == dir || strings.HasPrefix(p, dir+"/") }
