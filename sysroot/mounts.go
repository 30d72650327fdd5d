package sysroot

import (
	"iter"
	"strings"

	"github.com/hashpkg/hashpkg/layout"
)

// Mount is one mount of a process, in the words of proc_pid_mountinfo(5).
type Mount struct {
	ID, Parent   string
	Root, Point  string
	Kind, Source string
	SuperOptions string
}

// Mounts returns the mounts in the text of a process's mountinfo, in its order. Lines of
// another form are left out.
func Mounts(mountinfo string) iter.Seq[Mount] {
	return func(yield func(Mount) bool) {
		for line := range strings.Lines(mountinfo) {
			before, after, found := strings.Cut(line, " - ")
			a, b := strings.Fields(before), strings.Fields(after)
			if !found || len(a) < 6 || len(b) < 3 {
				continue
			}
			if !yield(Mount{a[0], a[1], unescapeMount(a[3]), unescapeMount(a[4]), b[0], b[1], unescapeMount(b[2])}) {
				return
			}
		}
	}
}

// JoinedViews returns the names of the views that a mount shows together: a launcher of several
// views mounts an overlay of their directories, as package launcher says. Of any other mount, it
// returns none.
func (m Mount) JoinedViews() (ids []string) {
	_, lower, ok := strings.Cut(m.SuperOptions, "lowerdir=")
	if m.Kind != "overlay" || m.Source != "hashpkg" || !ok {
		return nil
	}
	// Colons separate the directories, and commas the options. A prefix that contains one of them is
	// cut there as well, but the end of each directory's path, which names the view, stays whole.
	for part := range strings.FieldsFuncSeq(lower, func(c rune) bool { return c == ':' || c == ',' }) {
		if _, id, ok := strings.Cut(part, "/"+layout.ViewsDir+"/"); ok && id != "" && !strings.Contains(id, "/") {
			ids = append(ids, id)
		}
	}
	return ids
}

// unescapeMount reads a name of proc_pid_mountinfo(5), in which a blank, a backslash and the like are
// three octal digits after a backslash.
func unescapeMount(s string) string {
	var out strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+3 >= len(s) {
			out.WriteByte(s[i])
			continue
		}
		c := 0
		for _, d := range []byte(s[i+1 : i+4]) {
			c = c*8 + int(d-'0')
		}
		out.WriteByte(byte(c))
		i += 3
	}
	return out.String()
}
