package live

import (
	"strings"

	"github.com/hashpkg/hashpkg/layout"
)

// view is what a process's mounts say of the view that it sees.
type view struct {
	host  string // the launcher's directory: see package launcher
	id    string // the view's name
	depth int    // how many overlays lie over one another at /usr

	// mounts are the numbers of the newest overlay's mount and of those below it.
	mounts map[string]bool
}

// findView returns the view in a process's mounts, in the words of proc_pid_mountinfo(5), and
// whether there is one.
func findView(mountinfo string) (v view, ok bool) {
	type mount struct{ id, parent, root, kind, source, options string }
	usr := map[string]mount{} // what is mounted at /usr, by its number
	covered := map[string]bool{}
	parents := map[string]string{}
	hosts := map[string]string{} // the roots of what is mounted at HOST/view, the newest
	for line := range strings.Lines(mountinfo) {
		before, after, found := strings.Cut(line, " - ")
		a, b := strings.Fields(before), strings.Fields(after)
		if !found || len(a) < 6 || len(b) < 3 {
			continue
		}
		m := mount{id: a[0], parent: a[1], root: unescape(a[3]), kind: b[0], source: b[1], options: unescape(b[2])}
		parents[m.id] = m.parent
		point := unescape(a[4])
		if host, is := strings.CutSuffix(point, "/view"); is && strings.HasSuffix(host, "/"+layout.HostDir) {
			hosts[host] = m.root
		}
		if point == "/usr" {
			usr[m.id] = m
			covered[m.parent] = true
		}
	}
	var top mount
	for id, m := range usr {
		if !covered[id] {
			top = m
		}
	}
	isOverlay := func(m mount) bool { return m.kind == "overlay" && m.source == "hashpkg" && m.root == "/" }
	if !isOverlay(top) {
		return view{}, false
	}
	v.mounts = map[string]bool{}
	for id := range parents {
		for at, depth := id, 0; at != "" && depth < maxDepth; at, depth = parents[at], depth+1 {
			if at == top.id {
				v.mounts[id] = true
				break
			}
		}
	}
	for m := top; isOverlay(m); m = usr[m.parent] {
		v.depth++
	}
	// The overlay's options name the directories; a colon or a comma has a backslash before it there.
	options := strings.ReplaceAll(top.options, `\`, "")
	for host, root := range hosts {
		if len(hosts) == 1 || strings.Contains(options, host+"/view/usr") {
			v.host, v.id = host, root[strings.LastIndexByte(root, '/')+1:]
		}
	}
	return v, v.host != ""
}

// maxDepth is how many mounts may be in one another, for one to be found to be in another.
const maxDepth = 100

// unescape reads a name of proc_pid_mountinfo(5), in which a blank, a backslash and the like are
// three octal digits after a backslash.
func unescape(s string) string {
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
