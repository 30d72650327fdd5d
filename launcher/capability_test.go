package launcher_test

import (
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// lend gives a file cap_sys_admin+ep, as setcap(8) does (linux/capability.h, struct vfs_cap_data).
func (r *root) lend(path string) {
	r.t.Helper()
	value := []byte{1, 0, 0, 2, 0, 0, 1 << (unix.CAP_SYS_ADMIN - 16), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	r.must(unix.Setxattr(path, "security.capability", value, 0))
}

// setuid makes a program of the host's that runs as root, or in root's group.
func (r *root) setuid(path string, mode uint32) {
	r.t.Helper()
	r.write(path, string(r.probe))
	r.must(unix.Chmod(path, mode|0o755))
}

const noCapabilities = "CapInh:\t0000000000000000\nCapPrm:\t0000000000000000\nCapEff:\t0000000000000000\nCapAmb:\t0000000000000000\n"

// TestLent: with a file capability a user gets a view without a user namespace, in which
// setuid programs work, and no right besides.
func TestLent(t *testing.T) {
	inRoot(t, func(r *root) {
		r.setuid("/usr/bin/host-setuid", unix.S_ISUID)
		r.write(viewDir+"/usr/lib/private", "only root may read it")
		r.must(os.Chmod(viewDir+"/usr/lib/private", 0o600))
		r.want(asUser, "1000 1000 1000 1000\n", launched, "exec", "/usr/bin/host-setuid", "ids")
		r.lend(launched)
		r.want(asUser, "1000 0 1000 1000\n", launched, "exec", "/usr/bin/host-setuid", "ids")
		r.want(asUser, "view1000 1000 1000 1000\n/usr/bin/prog\n", launched, "cat", "/usr/lib/prog/data", "ids", "argv0")
		r.want(asUser, r.run(asUser, "/usr/bin/host-tool", "link", "/proc/self/ns/user", "fds"), launched, "link", "/proc/self/ns/user", "fds")
		r.want(asUser, "/usr/lib/private: Permission denied\n", launched, "cat", "/usr/lib/private")
		r.want(asUser, noCapabilities, launched, "caps")
		c := call{caller: asUser, args: []string{launched, "caps"}}
		c.attr.AmbientCaps = []uintptr{unix.CAP_NET_BIND_SERVICE, unix.CAP_SYS_ADMIN}
		if got := r.call(c); got.out != noCapabilities || got.err != "" {
			r.t.Errorf("called with capabilities: %+v", got)
		}
		// The namespace is not its own.
		for _, args := range [][]string{{"mount", "/mnt"}, {"umount", "/usr/lib"}, {"umount", config.Host + "/usr"}} {
			if got := r.run(asUser, append([]string{launched}, args...)...); got != args[1]+": Operation not permitted\n" {
				r.t.Errorf("%q: %s", args, got)
			}
		}
		// What a setuid program mounts is mounted for the host.
		r.want(asUser, "", launched, "exec", "/usr/bin/host-setuid", "mount", "/mnt")
		if got := r.run(asUser, "/usr/bin/host-tool", "mounts"); got != "/\n/proc\n/mnt\n" {
			r.t.Errorf("mounts of the host:\n%s", got)
		}
		r.must(unix.Unmount("/mnt", 0))
		// From one view into the other, and in its own.
		second := r.second()
		r.lend(second)
		r.want(asUser, "second1000 0 1000 1000\n", launched, "exec", second, "cat", "/usr/lib/second/data", "exec", "/usr/bin/host-setuid", "ids")
		r.want(asUser, noCapabilities, launched, "exec", launched, "caps")
		// Nothing is mounted for the host.
		if got := r.run(asUser, "/usr/bin/host-tool", "mounts"); got != "/\n/proc\n" {
			r.t.Errorf("mounts of the host:\n%s", got)
		}
	})
}

// TestLentToRoot: root has all capabilities anyway, and keeps them.
func TestLentToRoot(t *testing.T) {
	inRoot(t, func(r *root) {
		plain := r.run(asRoot, "/usr/bin/host-tool", "caps")
		r.lend(launched)
		r.want(asRoot, plain+"view", launched, "caps", "cat", "/usr/lib/prog/data")
	})
}

// TestLentWithoutView: the program that runs instead has no capability either, and
// neither has one that runs without the loan.
func TestLentWithoutView(t *testing.T) {
	inRoot(t, func(r *root) {
		r.lend(launched)
		r.must(os.MkdirAll(viewDir+"/over/no/tree", 0o755))
		plain := r.run(asUser, "/usr/bin/host-tool", "link", "/proc/self/ns/user", "mounts")
		got := r.call(call{caller: asUser, args: []string{launched, "link", "/proc/self/ns/user", "mounts", "caps", "argv0"}})
		if got.out != plain+noCapabilities+config.Fallback+"\n" || strings.Count(got.err, "\n") != 1 {
			r.t.Errorf("%+v", got)
		}
	})
}

// TestLentInVain: the kernel does not lend to who is traced or has renounced it. It is a
// user like others then; so is one in a user namespace, where root's files are nobody's.
func TestLentInVain(t *testing.T) {
	inRoot(t, func(r *root) {
		second := r.second()
		r.lend(launched)
		own := r.run(asUser, "/usr/bin/host-tool", "link", "/proc/self/ns/user")
		for _, before := range [][]string{
			{"/usr/bin/host-tool", "traced"}, {"/usr/bin/host-tool", "no-new-privs", "exec"}, {second, "exec"},
		} {
			got := r.run(asUser, append(before, launched, "caps", "cat", "/usr/lib/prog/data", "link", "/proc/self/ns/user")...)
			if ns, ok := strings.CutPrefix(got, noCapabilities+"view"); !ok || ns == own {
				r.t.Errorf("%q: %s", before, got)
			}
		}
	})
}

// TestLentOnlyWhereRootRules: with the capability nothing is done where another could
// change what a path leads to.
func TestLentOnlyWhereRootRules(t *testing.T) {
	link := prefix + "/current-system/view/prog/1.0"
	for name, change := range map[string]func(r *root){
		"prefix of a user":           func(r *root) { r.must(os.Chown(prefix, userID, 0)) },
		"prefix of a group":          func(r *root) { r.must(os.Chmod(prefix, 0o775)) },
		"directory for all above":    func(r *root) { r.must(os.Chmod("/var", 0o777)) },
		"even if it is sticky":       func(r *root) { r.must(os.Chmod("/var", 0o777|os.ModeSticky)) },
		"root directory":             func(r *root) { r.must(os.Chmod("/", 0o757)) },
		"usr":                        func(r *root) { r.must(os.Chown("/usr", userID, 0)) },
		"host's directory":           func(r *root) { r.must(os.Chown(config.Host, userID, 0)) },
		"link of a user":             func(r *root) { r.must(os.Lchown(link, userID, 0)) },
		"directory behind the link":  func(r *root) { r.must(os.Chmod(viewDir, 0o757)) },
		"on the way behind the link": func(r *root) { r.must(os.Chmod(prefix+"/.hashpkg/views", 0o757)) },
		"link to a link of a user": func(r *root) {
			r.must(os.Remove(link))
			r.must(os.Symlink("/mnt/link", link))
			r.must(os.Symlink(viewDir, "/mnt/link"))
			r.must(os.Lchown("/mnt/link", userID, 0))
		},
		"link through a user's": func(r *root) {
			r.must(os.Remove(link))
			r.must(os.Symlink("/home/user/../../"+viewDir, link))
		},
		"endless link": func(r *root) {
			r.must(os.Remove(link))
			r.must(os.Symlink("1.0", link))
		},
		"fallback":                  func(r *root) { r.must(os.Chown(config.Fallback, userID, 0)) },
		"directory of the fallback": func(r *root) { r.must(os.Chmod(prefix+"/prog/1.0/usr/bin", 0o775)) },
	} {
		t.Run(name, func(t *testing.T) {
			inRoot(t, func(r *root) {
				r.lend(launched)
				r.want(asUser, "/usr/bin/prog\n", launched, "argv0")
				change(r)
				got := r.call(call{caller: asUser, args: []string{launched, "argv0"}})
				if got.status != 126 || got.out != "" || !strings.HasPrefix(got.err, "prog: it was not started (not root's alone: /") || strings.Count(got.err, "\n") != 1 {
					r.t.Errorf("%+v", got)
				}
			})
		})
	}
	t.Run("links of root's", func(t *testing.T) {
		inRoot(t, func(r *root) {
			r.lend(launched)
			r.must(os.Remove(link))
			r.must(os.Symlink("/mnt/../mnt/./link/", link))
			r.must(os.Symlink("../../var/sys/.hashpkg/views", "/mnt/link"))
			r.must(os.Rename(viewDir, viewDir+"1"))
			r.must(os.Symlink("prog1", viewDir))
			r.must(os.Remove(link))
			r.must(os.Symlink("/mnt/../mnt//./link/prog/", link))
			r.want(asUser, "view", launched, "cat", "/usr/lib/prog/data")
		})
	})
}

// TestRightsOfTwoUsers: a setuid or setgid program that calls a launcher gets nothing.
func TestRightsOfTwoUsers(t *testing.T) {
	for _, lent := range []bool{false, true} {
		inRoot(t, func(r *root) {
			if lent {
				r.lend(launched)
			}
			for _, mode := range []uint32{unix.S_ISUID, unix.S_ISGID} {
				r.setuid("/usr/bin/host-setuid", mode)
				got := r.call(call{caller: asUser, args: []string{"/usr/bin/host-setuid", "exec", launched, "argv0"}})
				if got.status != 126 || got.out != "" || got.err != "prog: it was not started (it was called with the rights of two users)\n" {
					r.t.Errorf("mode %o: %+v", mode, got)
				}
			}
		})
	}
}
