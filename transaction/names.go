package transaction

import (
	"bytes"
	"maps"
	"path"
	"slices"
	"strings"
)

const (
	// maxScriptHead is how many bytes of a script are looked at.
	maxScriptHead = 64 << 10
	// maxNames and maxNameLength bound what is noted of one file.
	maxNames      = 200
	maxNameLength = 256
)

// namedDirs begin the names that are noted, and notNamed those of them that are not: no
// program needs these to do its work.
var (
	namedDirs = []string{"share/", "lib/", "lib64/", "libexec/", "include/"}
	notNamed  = []string{"share/doc/", "share/man/", "share/info/", "share/locale/", "lib/debug/"}
)

// namesIn returns the absolute paths that a file's bytes hold of data and modules below
// /usr, and of files below /etc, sorted, and no more than maxNames of each. What a program
// computes is not among them.
func namesIn(b []byte) []string {
	names := below(b, "/usr/", func(name string) bool {
		begins := func(prefix string) bool { return strings.HasPrefix(name, prefix) }
		return slices.ContainsFunc(namedDirs, begins) && !slices.ContainsFunc(notNamed, begins) && strings.Contains(path.Clean(name), "/")
	})
	names = append(names, below(b, "/etc/", func(name string) bool { return path.Clean(name) != "." })...)
	slices.Sort(names)
	return names
}

// below returns the paths below a directory that bytes hold, as far as they are good.
func below(b []byte, dir string, good func(name string) bool) []string {
	found := map[string]bool{}
	for len(found) < maxNames {
		i := bytes.Index(b, []byte(dir))
		if i < 0 {
			break
		}
		// Of a longer path, such as /opt/usr/share, and not a URL.
		inside := i > 0 && isPathByte(b[i-1]) && !bytes.HasSuffix(b[:i], []byte("file://"))
		b = b[i+len(dir):]
		n := 0
		for n < len(b) && n < maxNameLength && isPathByte(b[n]) {
			n++
		}
		if name := string(b[:n]); !inside && good(name) {
			found[dir+path.Clean(name)] = true
		}
		b = b[n:]
	}
	return slices.Collect(maps.Keys(found))
}

func isPathByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("/._+-@~", c) >= 0
}

// interpreterOf returns the interpreter that a script's first line names: for "env NAME"
// the one in /usr/bin. It is "" for none.
func interpreterOf(script []byte) string {
	line, _, _ := bytes.Cut(script, []byte("\n"))
	fields := strings.Fields(string(bytes.TrimPrefix(line, []byte("#!"))))
	if len(fields) == 0 || !path.IsAbs(fields[0]) {
		return ""
	}
	if path.Base(fields[0]) != "env" {
		return path.Clean(fields[0])
	}
	for _, f := range fields[1:] {
		if !strings.HasPrefix(f, "-") && !strings.Contains(f, "=") {
			return "/usr/bin/" + path.Base(f)
		}
	}
	return ""
}
