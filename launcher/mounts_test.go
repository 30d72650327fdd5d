package launcher_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/launcher"
)

const viewDir = prefix + "/.hashpkg/views/prog"

// mount mounts a tmpfs in the root, with one file that says so.
func (r *root) mount(path string, flags uintptr) {
	r.t.Helper()
	r.must(os.MkdirAll(path, 0o755))
	r.must(unix.Mount("submount", path, "tmpfs", 0, "mode=755"))
	r.write(path+"/data", "submount")
	if flags != 0 {
		r.must(unix.Mount("", path, "", unix.MS_REMOUNT|unix.MS_BIND|flags, ""))
	}
}

// TestMissingNames: what a view has in usr and the host has not, or as a link.
func TestMissingNames(t *testing.T) {
	asBoth(t, func(r *root, as caller) {
		r.write("/usr/lib32x/data", "host") // and the view has nothing of that name
		r.write("/usr/file", "host")
		r.must(os.Symlink("lib", "/usr/lib64"))
		r.must(os.Symlink("../var", "/usr/link"))
		r.mount("/usr/src/below", 0)
		r.write(viewDir+"/usr/games/data", "view")
		r.write(viewDir+"/usr/lib64/data64", "view")
		r.write(viewDir+"/usr/name", "view")
		for path, want := range map[string]string{
			"/usr/games/data":       "view",
			"/usr/name":             "view",
			"/usr/lib64/data64":     "view",
			"/usr/lib64/host/data":  "host",
			"/usr/lib/prog/data":    "view",
			"/usr/lib/both/host":    "host",
			"/usr/lib32x/data":      "host",
			"/usr/file":             "host",
			"/usr/src/data":         "host",
			"/usr/src/below/data":   "submount",
			"/usr/local/share/data": "host",
		} {
			r.want(as, want, launched, "cat", path)
		}
		r.want(as, "../var\n", launched, "link", "/usr/link")
		r.want(as, "bin file games lib lib32x lib64 link local name share src \n", launched, "ls", "/usr")
		r.must(os.Chmod("/usr/local/share", 0o777))
		r.want(as, "ok\n", launched, "write", "/usr/local/share/new")
		r.want(as, "/usr/new: Read-only file system\n", launched, "write", "/usr/new")
	})
}

// TestSubmounts: what is mounted in the host's directories is there in the view too.
func TestSubmounts(t *testing.T) {
	asBoth(t, func(r *root, as caller) {
		r.mount("/usr/lib/modules", 0)
		r.mount("/usr/lib/modules/inner", 0)
		r.mount("/usr/lib/both/deep er", 0)
		r.mount("/usr/local/lib", 0)
		r.write("/usr/lib/file", "host")
		r.write("/usr/lib/of-host", "host")
		r.write("/mnt/file", "bound")
		r.must(os.Symlink("host", "/usr/lib/link"))
		r.must(unix.Mount("/mnt/file", "/usr/lib/file", "", unix.MS_BIND, ""))
		r.mount("/usr/share/whole", 0)
		for path, want := range map[string]string{
			"/usr/lib/modules/data":       "submount",
			"/usr/lib/modules/inner/data": "submount",
			"/usr/lib/both/deep er/data":  "submount",
			"/usr/lib/both/view":          "view",
			"/usr/lib/both/host":          "host",
			"/usr/lib/both/same":          "view",
			"/usr/lib/prog/data":          "view",
			"/usr/lib/host/data":          "host",
			"/usr/lib/of-host":            "host",
			"/usr/lib/file":               "bound",
			"/usr/lib/link/data":          "host",
			"/usr/share/whole/data":       "submount",
			"/usr/share/prog/data":        "view",
			"/usr/local/lib/data":         "submount",
			"/usr/bin/../lib/prog/data":   "view",
		} {
			r.want(as, want, launched, "cat", path)
		}
		r.want(as, "both file host link modules of-host prog \n", launched, "ls", "/usr/lib")
		r.want(as, "viewsecondsubmount", launched, "cat", "/usr/lib/prog/data", "exec", r.second(), "cat", "/usr/lib/second/data", "cat", "/usr/lib/modules/data")
	})
}

// TestSubmountsOfLib64: what is mounted in a directory that the host has by that name, or by a link,
// is there in the view too, which has that directory or not.
func TestSubmountsOfLib64(t *testing.T) {
	for _, link := range []bool{false, true} {
		for _, inView := range []bool{false, true} {
			asBoth(t, func(r *root, as caller) {
				if link {
					r.must(os.Symlink("lib", "/usr/lib64"))
				}
				r.write("/usr/lib64/driver.so", "host")
				r.write("/usr/lib64/of-host", "host")
				r.write("/mnt/driver.so", "bound")
				r.must(unix.Mount("/mnt/driver.so", "/usr/lib64/driver.so", "", unix.MS_BIND, ""))
				r.mount("/usr/lib64/sub", 0)
				r.mount("/usr/lib64/sub/inner", 0)
				want := "view\nhostboundsubmountsubmount"
				args := []string{launched, "cat", "/usr/lib/prog/data", "print", "", "cat", "/usr/lib64/of-host", "cat", "/usr/lib64/driver.so", "cat", "/usr/lib64/sub/data", "cat", "/usr/lib64/sub/inner/data"}
				if inView {
					r.write(viewDir+"/usr/lib64/of-view", "view")
					args, want = append(args, "cat", "/usr/lib64/of-view"), want+"view"
				}
				got := r.call(call{caller: as, args: args})
				if got.out != want || got.err != "" {
					r.t.Errorf("as %s, with a link %v, in the view %v: %+v, want %q", as.name, link, inView, got, want)
				}
			})
		}
	}
}

// TestSubmountsOfLinks: what is mounted in a directory is there by the name of each link to it, where
// the view has a directory, also if another link leads to what that directory is in.
func TestSubmountsOfLinks(t *testing.T) {
	asBoth(t, func(r *root, as caller) {
		r.mount("/usr/lib/sub", 0)
		r.mount("/usr/lib/sub/inner", 0)
		for _, link := range [][2]string{{"/usr/lib64", "lib"}, {"/usr/libx32", "lib/sub"}, {"/usr/libo32", "lib"}} {
			r.must(os.Symlink(link[1], link[0]))
			r.write(viewDir+link[0]+"/of-view", "view")
		}
		r.want(as, "submountviewsubmountsubmountsubmountview", launched, "cat", "/usr/lib64/sub/inner/data", "cat", "/usr/lib64/of-view",
			"cat", "/usr/libo32/sub/inner/data", "cat", "/usr/libx32/data", "cat", "/usr/libx32/inner/data", "cat", "/usr/libx32/of-view")
	})
}

// TestDeepSubmount: a user's view cannot have one at any depth, and ends in order where it is too deep.
func TestDeepSubmount(t *testing.T) {
	inRoot(t, func(r *root) {
		for depth, view := range map[int]bool{10: true, 40: false} {
			dir := strings.Repeat("/d", depth)
			path := "/usr/lib" + dir + "/mount"
			r.mount(path, 0)
			r.write(viewDir+"/usr/lib"+dir+"/of-view", "view")
			got := r.call(call{caller: asUser, args: []string{launched, "cat", "/usr/lib" + dir + "/of-view", "cat", path + "/data", "cat", "/usr/lib/prog/data"}})
			if view && (got.out != "viewsubmountview" || got.err != "") {
				r.t.Errorf("at depth %d: %+v", depth, got)
			}
			if !view && (strings.HasPrefix(got.out, "view") || !strings.Contains(got.err, "ENAMETOOLONG")) {
				r.t.Errorf("at depth %d: %+v", depth, got)
			}
			r.must(unix.Unmount(path, 0))
		}
		r.want(asUser, "view", launched, "cat", "/usr/lib/prog/data")
	})
}

// TestUsrIsAMount: /usr on a disk of its own, and a directory in it on another.
func TestUsrIsAMount(t *testing.T) {
	asBoth(t, func(r *root, as caller) {
		r.must(unix.Mount("/usr", "/usr", "", unix.MS_BIND, ""))
		r.must(unix.Mount("", "/usr", "", unix.MS_PRIVATE, ""))
		r.must(unix.Mount("", "/usr", "", unix.MS_SHARED, ""))
		r.must(unix.Mount("/usr/share", "/usr/share", "", unix.MS_BIND, ""))
		before := r.run(asRoot, "/usr/bin/host-tool", "cat", "/proc/self/mountinfo")
		r.want(as, "viewviewhost", launched, "cat", "/usr/share/prog/data", "cat", "/usr/lib/prog/data", "cat", "/usr/share/host/data")
		in := r.start(as, launched, "wait")
		if after := r.run(asRoot, "/usr/bin/host-tool", "cat", "/proc/self/mountinfo"); after != before {
			r.t.Errorf("mounts of the host before and after:\n%s\n%s", before, after)
		}
		in.end()
	})
}

// TestFlagsOfMounts: what the host's directories forbid stays forbidden.
func TestFlagsOfMounts(t *testing.T) {
	asBoth(t, func(r *root, as caller) {
		r.must(unix.Mount("/usr/lib", "/usr/lib", "", unix.MS_BIND, ""))
		r.must(unix.Mount("", "/usr/lib", "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""))
		r.must(unix.Mount("/usr/bin", "/usr/bin", "", unix.MS_BIND, ""))
		r.must(unix.Mount("", "/usr/bin", "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_NOSUID, ""))
		want := map[string]string{
			"/usr/lib": "ro,nosuid,nodev,noexec,relatime", "/usr/bin": "ro,nosuid,relatime", "/usr/local": "rw,relatime",
		}
		for line := range strings.Lines(r.run(as, launched, "cat", "/proc/self/mountinfo")) {
			fields := strings.Fields(line)
			if options, ok := want[fields[4]]; ok && strings.Contains(line, " hashpkg ") == (fields[4] != "/usr/local") {
				if fields[5] != options {
					r.t.Errorf("%s is mounted with %s, want %s", fields[4], fields[5], options)
				}
				delete(want, fields[4])
			}
		}
		if len(want) > 0 {
			r.t.Errorf("there is no mount at %v", want)
		}
	})
}

// TestNothingIsMountedForTheHost: of a view nothing is seen outside; what root mounts in
// it is, and what is mounted outside is seen in it.
func TestNothingIsMountedForTheHost(t *testing.T) {
	asBoth(t, func(r *root, as caller) {
		r.must(os.MkdirAll("/mnt/outside", 0o755))
		r.must(os.MkdirAll("/mnt/inside", 0o755))
		before := r.run(asRoot, "/usr/bin/host-tool", "cat", "/proc/self/mountinfo")
		in := r.start(as, launched, "wait", "cat", "/mnt/outside/data")
		if after := r.run(asRoot, "/usr/bin/host-tool", "cat", "/proc/self/mountinfo"); after != before {
			r.t.Errorf("mounts of the host before and in a view:\n%s\n%s", before, after)
		}
		r.mount("/mnt/outside", 0)
		if got := in.end(); got != "submount" {
			r.t.Errorf("a mount of the host's is seen in the view as %q", got)
		}
		if as.cred != nil {
			return
		}
		for _, args := range [][]string{{launched, "mount", "/mnt/inside"}, {launched, "exec", r.second(), "mount", "/mnt/inside"}} {
			r.want(as, "", args...)
			if got := r.run(asRoot, "/usr/bin/host-tool", "cat", "/proc/self/mountinfo"); !strings.Contains(got, " /mnt/inside ") {
				r.t.Errorf("what %q mounted is not there for the host:\n%s", args, got)
			}
			r.must(unix.Unmount("/mnt/inside", 0))
		}
	})
}

// TestViewOverTree: a view's over/PACKAGE/TREE stands in place of that tree's usr.
func TestViewOverTree(t *testing.T) {
	asBoth(t, func(r *root, as caller) {
		r.write(prefix+"/libone/2.0/usr/lib/one", "tree")
		r.write(prefix+"/libtwo/1%3a2/usr/lib/two", "tree")
		r.write(viewDir+"/over/libone/2.0/lib/one", "view ")
		r.write(viewDir+"/over/libone/2.0/lib/plugin", "view")
		r.write(viewDir+"/over/libtwo/1%3a2/lib/two", "view")
		r.want(as, "view view", launched, "cat", prefix+"/libone/2.0/usr/lib/one", "cat", prefix+"/libone/2.0/usr/lib/plugin")
		r.want(as, "view", launched, "cat", prefix+"/libtwo/1%3a2/usr/lib/two")
		r.want(as, "tree", "/usr/bin/host-tool", "cat", prefix+"/libone/2.0/usr/lib/one")
		c := call{caller: as, dir: prefix + "/libone/2.0/usr/lib", args: []string{launched, "cat", "plugin", "cwd"}}
		if got := r.call(c); got.out != "view"+c.dir+"\n" {
			r.t.Errorf("in the tree's directory: %+v", got)
		}
		// A tree that is not there.
		r.write(viewDir+"/over/libthree/1/lib/three", "view")
		got := r.call(call{caller: as, args: []string{launched, "argv0"}})
		if got.status != 0 || got.out != config.Fallback+"\n" || !strings.Contains(got.err, "/var/sys/libthree/1/usr: ENOENT") {
			r.t.Errorf("%+v", got)
		}
	})
}

// TestPrefixInUsr: trees below /usr, as in images whose /var is not theirs.
func TestPrefixInUsr(t *testing.T) {
	asBoth(t, func(r *root, as caller) {
		const prefix = "/usr/lib/sys"
		c := launcher.Config{
			View: prefix + "/view", Host: prefix + "/.hashpkg/host", Program: "/usr/bin/prog", Prefix: prefix,
		}
		r.must(os.MkdirAll(prefix, 0o755))
		for _, d := range []string{"usr", "view"} {
			r.must(os.MkdirAll(filepath.Join(c.Host, d), 0o755))
		}
		r.must(os.Rename(viewDir, c.View))
		r.write(prefix+"/one/1/usr/data", "tree")
		r.write(c.View+"/over/one/1/data", "view")
		r.launcher(prefix+"/prog", c)
		r.must(os.Chmod(prefix+"/one", 0o777))
		args := []string{prefix + "/prog", "cat", "/usr/lib/prog/data", "cat", "/usr/lib/host/data", "cat", prefix + "/one/1/usr/data", "argv0", "write", prefix + "/one/new"}
		r.want(as, "viewhostview/usr/bin/prog\nok\n", args...)
		// The launcher finds that it is in the view.
		ns := r.run(as, prefix+"/prog", "link", "/proc/self/ns/mnt", "exec", prefix+"/prog", "link", "/proc/self/ns/mnt")
		if first, second, _ := strings.Cut(strings.TrimSpace(ns), "\n"); first != second {
			r.t.Errorf("it made another namespace: %s", ns)
		}
	})
}

// TestOddPaths: what separates options of mounts may be in paths.
func TestOddPaths(t *testing.T) {
	asBoth(t, func(r *root, as caller) {
		const prefix = `/o,d:d\ é`
		c := launcher.Config{
			View: prefix + "/vi:e,w", Host: prefix + "/host", Program: "/usr/bin/prog", Prefix: prefix,
		}
		for _, d := range []string{"usr", "view"} {
			r.must(os.MkdirAll(filepath.Join(c.Host, d), 0o755))
		}
		r.must(os.Rename(viewDir, c.View))
		r.mount("/usr/lib/both/a:b,c", 0)
		r.launcher(prefix+"/prog", c)
		r.want(as, "viewhostsubmount", prefix+"/prog", "cat", "/usr/lib/prog/data", "cat", "/usr/lib/host/data", "cat", "/usr/lib/both/a:b,c/data")
	})
}

// TestNoView: where no view can be had, the program runs from elsewhere, with one line about it, in the namespaces
// of its caller and with nothing mounted; or it does not run.
func TestNoView(t *testing.T) {
	for name, test := range map[string]struct {
		prepare func(r *root)
		want    string // in the line
	}{
		"no view":            {func(r *root) { r.must(os.Remove(config.View)) }, "open " + config.View + ": ENOENT"},
		"no host directory":  {func(r *root) { r.must(os.RemoveAll(config.Host)) }, config.Host},
		"no place for views": {func(r *root) { r.must(os.Remove(config.Host + "/view")) }, "mount " + config.Host + "/view: ENOENT"},
		"no program":         {func(r *root) { r.must(os.Remove(viewDir + "/usr/bin/prog")) }, "exec /usr/bin/prog: ENOENT"},
		"a late step":        {func(r *root) { r.must(os.MkdirAll(viewDir+"/over/no/tree", 0o755)) }, "mount /var/sys/no/tree/usr: ENOENT"},
		"after a level": {func(r *root) {
			r.write(viewDir+"/usr/games/x", "")
			r.must(os.MkdirAll(viewDir+"/over/no/tree", 0o755))
		}, "mount /var/sys/no/tree/usr: ENOENT"},
	} {
		t.Run(name, func(t *testing.T) {
			asBoth(t, func(r *root, as caller) {
				test.prepare(r)
				r.must(os.Mkdir("/mnt/m", 0o755))
				state := []string{"link", "/proc/self/ns/user", "mounts", "cwd", "fds"}
				plain := r.run(as, append([]string{"/usr/bin/host-tool"}, state...)...)
				got := r.call(call{caller: as, args: append(append([]string{launched}, state...), "argv0")})
				if name == "no program" { // which is known when all is done
					plain, got.out = "", strings.TrimPrefix(got.out, got.out[:strings.LastIndex(strings.TrimSpace(got.out), "\n")+1])
				}
				if got.status != 0 || got.out != plain+config.Fallback+"\n" {
					r.t.Errorf("status %d, the program prints\n%swant\n%s", got.status, got.out, plain)
				}
				if !strings.HasPrefix(got.err, "prog: it runs without its view (") || !strings.Contains(got.err, test.want) || strings.Count(got.err, "\n") != 1 {
					r.t.Errorf("it says %q", got.err)
				}
				if as.cred == nil && name != "no program" { // what it mounts is there for all
					r.call(call{caller: as, args: []string{launched, "mount", "/mnt/m"}})
					if info := r.run(as, "/usr/bin/host-tool", "cat", "/proc/self/mountinfo"); !strings.Contains(info, " /mnt/m ") {
						r.t.Errorf("the host has no mount of the program:\n%s", info)
					}
				}
				for _, fallback := range []string{"", "/no/such/file"} {
					c := config
					c.Fallback = fallback
					r.launcher("/launcher", c)
					got = r.call(call{caller: as, args: []string{"/launcher", "argv0"}})
					if got.status != 126 || got.out != "" || !strings.HasPrefix(got.err, "prog: it was not started (") || strings.Count(got.err, "\n") != 1 {
						r.t.Errorf("with the fallback %q: %+v", fallback, got)
					}
				}
			})
		})
	}
}

// TestChroot: nobody gets a user namespace there, and root no mount namespace that keeps
// its mounts to itself, unless the directory is a mount.
func TestChroot(t *testing.T) {
	asBoth(t, func(r *root, as caller) {
		for _, mounted := range []bool{false, true} {
			dir := "/mnt/plain"
			r.must(os.MkdirAll(dir, 0o755))
			if mounted {
				dir = "/mnt/mounted"
				r.mount(dir, 0)
			}
			r.must(os.CopyFS(dir+"/usr", os.DirFS("/usr")))
			r.must(os.CopyFS(dir+prefix, os.DirFS(prefix)))
			r.must(os.Mkdir(dir+"/dev", 0o755))
			r.must(os.Mkdir(dir+"/proc", 0o755))
			before := r.run(asRoot, "/usr/bin/host-tool", "cat", "/proc/self/mountinfo")
			c := call{caller: as, args: []string{launched, "argv0", "cat", "/usr/lib/prog/data"}}
			c.attr.Chroot = dir
			got := r.call(c)
			if want := "/usr/bin/prog\nview"; as.cred == nil && mounted {
				if got.status != 0 || got.out != want || got.err != "" {
					r.t.Errorf("in %s: %+v", dir, got)
				}
			} else if got.status != 0 || !strings.HasPrefix(got.out, config.Fallback+"\n") || strings.Count(got.err, "\n") != 1 {
				r.t.Errorf("in %s: %+v", dir, got)
			}
			if after := r.run(asRoot, "/usr/bin/host-tool", "cat", "/proc/self/mountinfo"); after != before {
				r.t.Errorf("mounts of the host before and after:\n%s\n%s", before, after)
			}
		}
	})
}

// TestCapabilities: who has some would lose them in a user namespace, and so gets none;
// the one that desktops give to everybody does not count.
func TestCapabilities(t *testing.T) {
	inRoot(t, func(r *root) {
		for capability, view := range map[uintptr]bool{unix.CAP_WAKE_ALARM: true, unix.CAP_NET_BIND_SERVICE: false} {
			c := call{caller: asUser, args: []string{launched, "argv0", "caps"}}
			c.attr.AmbientCaps = []uintptr{capability}
			got := r.call(c)
			if view && (got.err != "" || !strings.HasPrefix(got.out, "/usr/bin/prog\n")) {
				r.t.Errorf("with capability %d: %+v", capability, got)
			}
			if !view && (!strings.HasPrefix(got.out, config.Fallback+"\n") || !strings.Contains(got.out, "CapEff:\t0000000000000400") ||
				!strings.Contains(got.err, "it has capabilities")) {
				r.t.Errorf("with capability %d: %+v", capability, got)
			}
		}
		// One who may mount does so, and keeps what it has.
		c := call{caller: asUser, args: []string{launched, "argv0", "caps"}}
		c.attr.AmbientCaps = []uintptr{unix.CAP_SYS_ADMIN}
		if got := r.call(c); got.err != "" || !strings.HasPrefix(got.out, "/usr/bin/prog\n") || !strings.Contains(got.out, "CapEff:\t0000000000200000") {
			r.t.Errorf("with CAP_SYS_ADMIN: %+v", got)
		}
	})
}
