package live

import (
	"strings"

	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/sysroot"
)

// view is what a process's mounts say of the view that it sees.
type view struct {
	host   string   // the launcher's directory: see package launcher
	ids    []string // the view's name, or those of the views that it joins
	joined bool     // it is an overlay of several
	depth  int      // how many overlays lie over one another at /usr

	// mounts are the numbers of the newest overlay's mount and of those below it.
	mounts map[string]bool
}

// findView returns the view in a process's mounts, in the words of proc_pid_mountinfo(5), and
// whether there is one.
func findView(mountinfo string) (v view, ok bool) {
	usr := map[string]sysroot.Mount{} // what is mounted at /usr, by its number
	covered := map[string]bool{}
	parents := map[string]string{}
	hosts := map[string]sysroot.Mount{} // what is mounted at HOST/view, the newest
	for m := range sysroot.Mounts(mountinfo) {
		parents[m.ID] = m.Parent
		if host, is := strings.CutSuffix(m.Point, "/view"); is && strings.HasSuffix(host, "/"+layout.HostDir) {
			hosts[host] = m
		}
		if m.Point == "/usr" {
			usr[m.ID] = m
			covered[m.Parent] = true
		}
	}
	var top sysroot.Mount
	for id, m := range usr {
		if !covered[id] {
			top = m
		}
	}
	isOverlay := func(m sysroot.Mount) bool { return m.Kind == "overlay" && m.Source == "hashpkg" && m.Root == "/" }
	if !isOverlay(top) {
		return view{}, false
	}
	v.mounts = map[string]bool{}
	for id := range parents {
		for at, depth := id, 0; at != "" && depth < maxDepth; at, depth = parents[at], depth+1 {
			if at == top.ID {
				v.mounts[id] = true
				break
			}
		}
	}
	for m := top; isOverlay(m); m = usr[m.Parent] {
		v.depth++
	}
	// The overlay's options name the directories; a colon or a comma has a backslash before it there.
	options := strings.ReplaceAll(top.SuperOptions, `\`, "")
	for host, m := range hosts {
		if len(hosts) > 1 && !strings.Contains(options, host+"/view/usr") {
			continue
		}
		v.host, v.ids = host, m.JoinedViews()
		v.joined = len(v.ids) > 0
		if !v.joined {
			v.ids = []string{m.Root[strings.LastIndexByte(m.Root, '/')+1:]}
		}
	}
	return v, v.host != ""
}

// maxDepth is how many mounts may be in one another, for one to be found to be in another.
const maxDepth = 100
