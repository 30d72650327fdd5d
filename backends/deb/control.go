package deb

import (
	"fmt"
	"io"
	"strings"

	"github.com/hashpkg/hashpkg/internal/unpack"
	"github.com/hashpkg/hashpkg/pkginfo"
)

const (
	// maxControlTar is the most that control.tar may hold, unpacked: most of it
	// is md5sums, a hundred bytes for a file.
	maxControlTar = 64 << 20
	// maxControlFile is the most that one file may hold of those that are kept.
	maxControlFile = 4 << 20
)

// scriptNames are the maintainer scripts, in the order of [pkginfo.Package].
var scriptNames = []string{"preinst", "postinst", "prerm", "postrm", "config"}

// firstArguments are the arguments of scripts at a first installation (Debian Policy
// 6.5): the version that was configured before is the empty one.
var firstArguments = map[string][]string{"preinst": {"install"}, "postinst": {"configure", ""}}

// isKeptControlFile reports whether the package model has a place for a member of
// control.tar.
func isKeptControlFile(name string) bool {
	switch name {
	case "control", "conffiles", "shlibs", "triggers", "templates", "preinst", "postinst", "prerm", "postrm", "config":
		return true
	}
	return false
}

// readControlTar reads a whole control.tar and returns the files that are kept,
// by name.
func readControlTar(s *stream) (map[string]string, error) {
	files := map[string]string{}
	tar := newTarReader(&limitedReader{r: s, left: maxControlTar}, controlTar)
	tree := unpack.NewTree(false)
	for {
		h, err := tar.next()
		if err == io.EOF {
			return files, nil
		}
		if err != nil {
			return nil, err
		}
		e, err := tar.addTo(tree, h)
		if err != nil {
			return nil, err
		}
		if e == nil || !isKeptControlFile(e.Path) {
			continue
		}
		if e.Type != pkginfo.Regular {
			return nil, tar.errorAt(h.pos, "%q is not a regular file", e.Path)
		}
		if e.Size > maxControlFile {
			return nil, tar.errorAt(h.pos, "%q has %d bytes, and %d is a fixed limit of hashpkg (docs/limits.md): no package needs more", e.Path, e.Size, maxControlFile)
		}
		var text strings.Builder
		if _, err := io.Copy(&text, tar); err != nil {
			return nil, err
		}
		files[e.Path] = text.String()
	}
}

// limitedReader fails when there is more than it may pass on.
type limitedReader struct {
	r    io.Reader
	left int64
}

func (l *limitedReader) Read(p []byte) (int, error) {
	n, err := l.r.Read(p)
	l.left -= int64(n)
	if l.left < 0 {
		return 0, &FormatError{Member: controlTar, Offset: maxControlTar, Msg: fmt.Sprintf("it has more than %d bytes, a fixed limit of hashpkg (docs/limits.md): no package needs more", maxControlTar)}
	}
	return n, err
}

// parsePackage makes a package of the files of control.tar.
func parsePackage(files map[string]string) (*pkginfo.Package, error) {
	text, ok := files["control"]
	if !ok {
		return nil, &FormatError{Member: controlTar, Msg: "it has no file \"control\""}
	}
	p, err := parseControl(text)
	if err != nil {
		return nil, &FormatError{Member: "control", Msg: err.Error()}
	}
	for _, name := range scriptNames {
		if body, ok := files[name]; ok {
			p.Scripts = append(p.Scripts, pkginfo.Script{Name: name, Body: body, Arguments: firstArguments[name]})
		}
	}
	p.Triggers = lines(files["triggers"])
	p.Shlibs = lines(files["shlibs"])
	p.Templates = untranslated(files["templates"])
	if p.Conffiles, err = parseConffiles(files["conffiles"]); err != nil {
		return nil, &FormatError{Member: "conffiles", Msg: err.Error()}
	}
	return p, nil
}

// untranslated returns debconf's templates without the fields that are in a language:
// "Description-de.UTF-8", debconf-devel(7).
func untranslated(templates string) string {
	var b strings.Builder
	kept := true
	for line := range strings.Lines(templates) {
		if !strings.HasPrefix(line, " ") && !strings.HasPrefix(line, "\t") {
			name, _, _ := strings.Cut(line, ":")
			kept = !strings.Contains(name, "-")
		}
		if kept {
			b.WriteString(line)
		}
	}
	return b.String()
}

// lines returns the lines of text that say something: without comments, blank
// lines and space around them.
func lines(text string) []string {
	var all []string
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "#") {
			all = append(all, line)
		}
	}
	return all
}

// parseConffiles reads the list of conffiles: deb-conffiles(5).
func parseConffiles(text string) ([]string, error) {
	var paths []string
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, " \t\r\n")
		if line == "" {
			continue
		}
		if strings.HasPrefix(line, "remove-on-upgrade ") {
			continue // names a file that the package no longer has
		}
		if !strings.HasPrefix(line, "/") {
			return nil, fmt.Errorf("%q is not an absolute path", line)
		}
		path, err := unpack.CleanName(line)
		if err != nil {
			return nil, err
		}
		paths = append(paths, unpack.MergedPath(path))
	}
	return paths, nil
}
