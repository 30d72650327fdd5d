package rpm

import (
	"io"
	"strings"

	"github.com/hashpkg/hashpkg/backends"
)

const partFiles = "filelists"

var _ backends.FileLists = Format{}

// IsListed reports whether primary.xml has a file: createrepo_c puts those into it that
// are commands or configuration (cr_is_primary), and package managers count on that.
func (Format) IsListed(path string) bool {
	return strings.HasPrefix(path, "/etc/") || strings.Contains(path, "bin/") || path == "/usr/lib/sendmail"
}

// ReadFiles reads filelists.xml, packed as primary.xml may be. It takes a window of
// memory, however large that is.
func (Format) ReadFiles(part *backends.Part, r io.Reader, wanted map[string]bool, each func(name, digest, path string) error) error {
	return withXML(part, partFiles, r, func(x *xmlReader) error {
		f := &filesReader{xml: x, wanted: wanted, each: each}
		return f.read()
	})
}

// filesReader reads the files of packages in filelists.xml.
type filesReader struct {
	xml    *xmlReader
	wanted map[string]bool
	each   func(name, digest, path string) error

	name, digest string // of the package that is open
	isFile       bool   // a file is open
	path         []byte
}

func (r *filesReader) read() error {
	x := r.xml
	for {
		kind, err := x.next()
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
			if r.isFile {
				if r.path = append(r.path, x.text...); len(r.path) > maxListedText {
					err = x.fail("%s has a file whose path has more than %d bytes", r.name, maxListedText)
				}
			}
		case xmlEnd:
			if r.isFile && r.wanted[string(r.path)] {
				err = r.each(r.name, r.digest, string(r.path))
			}
			r.isFile = false
		}
		if err != nil {
			return err
		}
	}
}

// start has metadata, packages and their files at the depths that primary.xml has them.
func (r *filesReader) start() error {
	x := r.xml
	r.isFile, r.path = false, r.path[:0]
	switch x.depth() {
	case depthMetadata:
		if string(x.name) != "filelists" {
			return x.fail("it is not an index of files: its outermost element is %s", x.name)
		}
	case depthPackage:
		r.name, r.digest = string(x.attr("name")), string(x.attr("pkgid"))
		if len(r.name) > maxListedText || len(r.digest) > maxListedText {
			return x.fail("a package has a name or a digest of more than %d bytes", maxListedText)
		}
	case depthOfPackage:
		r.isFile = string(x.name) == "file"
	}
	return nil
}
