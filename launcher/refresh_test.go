package launcher_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/launcher"
	"github.com/hashpkg/hashpkg/sysroot"
	"github.com/hashpkg/hashpkg/sysroot/live"
)

// refresh does what the hook does after an upgrade, and wants that nothing is left to be
// started again.
func (r *root) refresh() {
	r.t.Helper()
	if stale := r.tryRefresh(); len(stale) > 0 {
		r.must(fmt.Errorf("it says of %v", stale))
	}
}

func (r *root) tryRefresh() []live.Stale {
	r.t.Helper()
	root, err := sysroot.Open("/", prefix, nil)
	r.must(err)
	defer root.Close()
	stale, err := live.Refresh(r.t.Context(), root)
	r.must(err)
	return stale
}

// replace puts a file in the place of another one, as a package manager does.
func (r *root) replace(path, content string) {
	r.t.Helper()
	r.write(path+".new", content)
	r.must(os.Rename(path+".new", path))
}

// TestHostChanges: a view that nobody refreshes keeps what it has shown; a refreshed one
// has what is there now, and all that it had besides.
func TestHostChanges(t *testing.T) {
	for _, refresh := range []bool{false, true} {
		asBoth(t, func(r *root, as caller) {
			r.write("/usr/lib/host/data", "old\n")
			r.write("/usr/lib/host/gone", "old\n")
			r.must(os.Symlink("lib", "/usr/lib64"))
			r.write(viewDir+"/usr/lib64/data64", "view")
			p := r.start(as, launched, "cat", "/usr/lib/host/data", "cat", "/usr/lib/host/gone", "chdir", "/usr/lib/both", "wait",
				"cat", "/usr/lib/host/data", "ls", "/usr/lib/host", "cat", "same", "cwd", "cat", "/usr/lib/prog/data", "exec", "/usr/bin/host-tool",
				"print", "", "cat", "/usr/src/data", "cat", "/usr/fresh/data", "cat", "/usr/lib64/host/data", "cat", "/usr/lib64/data64", "cwd", "cat", "/usr/lib/prog/data", "exec", launched, "link", "/proc/self/ns/mnt")
			ns, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/mnt", p.cmd.Process.Pid))
			r.must(err)
			want := "old\ndata gone \nview/usr/lib/both\nview\nhost/usr/fresh/data: No such file or directory\nnew 2\nview/usr/lib/both\nview" + ns + "\n"
			for i := range 3 {
				r.replace("/usr/lib/host/data", fmt.Sprintf("new %d\n", i))
				if refresh {
					r.refresh()
				}
			}
			if refresh {
				r.must(os.Remove("/usr/lib/host/gone"))
				r.write("/usr/fresh/data", "fresh")
				r.refresh()
				want = "new 2\ndata \nview/usr/lib/both\nview\nhostfreshnew 2\nview/usr/lib/both\nview" + ns + "\n"
			}
			if got := p.end(); got != want {
				r.t.Errorf("as %s, refreshed %v: it prints\n%swant\n%s", as.name, refresh, got, want)
			}
			if mounts := r.run(asRoot, "/usr/bin/host-tool", "mounts"); mounts != "/\n/proc\n" {
				r.t.Errorf("mounts of the host:\n%s", mounts)
			}
		})
	}
}

// TestRefreshKeepsMounts: what the host and the program have mounted below /usr stays, and
// goes on being mounted for the host.
func TestRefreshKeepsMounts(t *testing.T) {
	asBoth(t, func(r *root, as caller) {
		r.mount("/usr/lib/modules", 0)
		r.mount("/usr/lib/modules/inner", 0)
		r.mount("/usr/share/whole", 0)
		r.must(os.Symlink("lib", "/usr/lib64"))
		r.write(viewDir+"/usr/lib64/data64", "view")
		r.must(os.MkdirAll("/usr/local/later", 0o755))
		r.must(os.MkdirAll("/usr/local/own", 0o755))
		r.must(os.MkdirAll("/usr/share/host/own", 0o755))
		r.must(os.MkdirAll("/mnt/inside", 0o755))
		p := r.start(as, launched, "wait",
			"cat", "/usr/lib/modules/data", "cat", "/usr/lib/modules/inner/data", "cat", "/usr/share/whole/data", "cat", "/usr/local/later/data",
			"cat", "/usr/lib64/modules/data", "cat", "/usr/lib64/data64",
			"type", "/usr/local/own", "type", "/usr/share/host/own", "type", "/usr/src", "mount", "/mnt/inside")
		in := []string{"/usr/bin/host-tool", "join", strconv.Itoa(p.cmd.Process.Pid)}
		r.want(as, "", append(in, "mount", "/usr/local/own", "mount", "/usr/share/host/own", "mount", "/usr/src")...)
		own := "041777 0\n"
		if as.cred != nil {
			own = fmt.Sprintf("041777 %d\n", as.cred.Uid)
		}
		for range 3 {
			r.refresh()
		}
		r.mount("/usr/local/later", 0)
		want := "submountsubmountsubmountsubmountsubmountview" + own + own + own
		if as.cred != nil {
			want += "/mnt/inside: Operation not permitted\n"
		}
		if got := p.end(); got != want {
			r.t.Errorf("as %s: it prints\n%swant\n%s", as.name, got, want)
		}
		if got := r.run(asRoot, "/usr/bin/host-tool", "mounts"); strings.Contains(got, "/mnt/inside\n") != (as.cred == nil) || strings.Contains(got, "own") {
			r.t.Errorf("mounts of the host:\n%s", got)
		}
	})
}

// TestRefreshStaysSmall: overlays do not pile up, unless somebody stands on one.
func TestRefreshStaysSmall(t *testing.T) {
	asBoth(t, func(r *root, as caller) {
		p := r.start(as, launched, "wait", "mounts", "cat", "/usr/lib/host/data")
		r.refresh()
		r.refresh()
		q := r.start(as, "/usr/bin/host-tool", "join", strconv.Itoa(p.cmd.Process.Pid), "chdir", "/usr/lib/both", "wait", "cwd", "cat", "same")
		for range 5 {
			r.refresh()
		}
		if got := q.end(); got != "/usr/lib/both\nview" {
			r.t.Errorf("who is in a directory there prints %q", got)
		}
		for i := range 5 {
			r.replace("/usr/lib/host/data", fmt.Sprint(i))
			r.refresh()
		}
		got := p.end()
		if n := strings.Count(got, "/usr\n"); n > 9 || !strings.HasSuffix(got, "4") {
			r.t.Errorf("as %s: %d mounts at /usr:\n%s", as.name, n, got)
		}
	})
}

// TestRefreshAfterwards: from a refreshed view others are entered, and the same is not.
func TestRefreshAfterwards(t *testing.T) {
	asBoth(t, func(r *root, as caller) {
		second := r.second()
		p := r.start(as, launched, "wait", "exec", second, "cat", "/usr/lib/second/data", "cat", "/usr/lib/host/data", "wait", "cat", "/usr/lib/host/data", "cat", "/usr/lib/prog/data")
		r.refresh()
		r.refresh()
		if got, want := p.end(), "secondhosthere\nhost/usr/lib/prog/data: No such file or directory\n"; got != want {
			r.t.Errorf("as %s: it prints %q, want %q", as.name, got, want)
		}
		p = r.start(as, launched, "exec", second, "print", "", "wait", "cat", "/usr/lib/host/data", "cat", "/usr/lib/second/data", "cat", "/usr/lib/prog/data")
		r.replace("/usr/lib/host/data", "new")
		r.refresh()
		r.replace("/usr/lib/host/data", "newer")
		r.refresh()
		if got, want := p.end(), "newersecond/usr/lib/prog/data: No such file or directory\n"; got != want {
			r.t.Errorf("as %s: in a view from a view it prints %q, want %q", as.name, got, want)
		}
	})
}

// TestRefreshPrefixInUsr: where the prefix is below what is covered.
func TestRefreshPrefixInUsr(t *testing.T) {
	asBoth(t, func(r *root, as caller) {
		const prefix = "/usr/lib/sys"
		c := launcher.Config{View: prefix + "/.hashpkg/views/x", Host: prefix + "/.hashpkg/host", Program: "/usr/bin/prog", Prefix: prefix}
		for _, d := range []string{c.Host + "/usr", c.Host + "/view", filepath.Dir(c.View)} {
			r.must(os.MkdirAll(d, 0o755))
		}
		r.must(os.Rename(viewDir, c.View))
		r.write(prefix+"/one/1/usr/data", "tree")
		r.write(c.View+"/over/one/1/data", "over")
		r.launcher(prefix+"/prog", c)
		r.write("/usr/lib/host/data", "old\n")
		p := r.start(as, prefix+"/prog", "cat", "/usr/lib/host/data", "wait", "cat", "/usr/lib/host/data", "cat", "/usr/lib/prog/data", "cat", prefix+"/one/1/usr/data", "write", prefix+"/one/new")
		r.must(os.Chmod(prefix+"/one", 0o777))
		root, err := sysroot.Open("/", prefix, nil)
		r.must(err)
		defer root.Close()
		for i := range 3 {
			r.replace("/usr/lib/host/data", fmt.Sprint(i))
			stale, err := live.Refresh(t.Context(), root)
			r.must(err)
			if len(stale) > 0 {
				r.t.Errorf("it says of %v", stale)
			}
		}
		if got, want := p.end(), "2viewoverok\n"; got != want {
			r.t.Errorf("as %s: it prints %q, want %q", as.name, got, want)
		}
	})
}

// TestRefreshSeveralViews: views that are seen at once are found, whose they are, and refreshed.
func TestRefreshSeveralViews(t *testing.T) {
	asBoth(t, func(r *root, as caller) {
		r.second()
		c := config
		c.View, c.More = prefix+"/.hashpkg/views/prog", []string{prefix + "/.hashpkg/views/second"}
		joined := prefix + "/prog/1.0/joined"
		r.launcher(joined, c)
		r.write("/usr/lib/host/data", "old\n")
		r.must(os.MkdirAll(prefix+"/.hashpkg/views/other/usr", 0o755))
		p := r.start(as, joined, "cat", "/usr/lib/host/data", "wait", "cat", "/usr/lib/host/data", "cat", "/usr/lib/prog/data", "chdir", "/usr/lib/second", "cat", "data")
		root, err := sysroot.Open("/", prefix, nil)
		r.must(err)
		defer root.Close()
		views := []string{".hashpkg/views/prog", ".hashpkg/views/second", ".hashpkg/views/other"}
		pids, err := root.InUse(views, func(tree string) string { return tree })
		r.must(err)
		if pid := p.cmd.Process.Pid; len(pids) != 2 || pids[views[0]] != pid || pids[views[1]] != pid {
			r.t.Errorf("as %s: in use are %v", as.name, pids)
		}
		for i := range 3 {
			r.replace("/usr/lib/host/data", fmt.Sprint(i))
			r.refresh()
		}
		if got, want := p.end(), "2viewsecond"; got != want {
			r.t.Errorf("as %s: it prints %q, want %q", as.name, got, want)
		}
	})
}

// TestRefreshOthers: what is no view of this machine's, or not any more, is left alone.
func TestRefreshOthers(t *testing.T) {
	for name, change := range map[string][]string{
		"something else at /usr": {"mount", "/usr"},
		"nothing of the host":    {"mount", config.Host + "/usr"},
		"another host":           {"bind", "/home", config.Host + "/usr"},
	} {
		t.Run(name, func(t *testing.T) {
			asBoth(t, func(r *root, as caller) {
				p := r.start(as, launched, "wait", "mounts")
				pid := strconv.Itoa(p.cmd.Process.Pid)
				r.want(as, "", append([]string{"/usr/bin/host-tool", "join", pid}, change...)...)
				before, err := os.ReadFile("/proc/" + pid + "/mountinfo")
				r.must(err)
				r.refresh()
				after, err := os.ReadFile("/proc/" + pid + "/mountinfo")
				r.must(err)
				if string(before) != string(after) {
					r.t.Errorf("before\n%safter\n%s", before, after)
				}
				p.end()
			})
		})
	}
	t.Run("another view, as root", func(t *testing.T) {
		inRoot(t, func(r *root) {
			r.write("/home/user/evil/usr/lib/evil", "evil")
			p := r.start(asRoot, launched, "wait", "cat", "/usr/lib/evil")
			pid := strconv.Itoa(p.cmd.Process.Pid)
			r.want(asRoot, "", "/usr/bin/host-tool", "join", pid, "bind", "/home/user/evil", config.Host+"/view")
			r.refresh() // as of another root, which has that view
			r.must(os.MkdirAll(prefix+"/.hashpkg/views/evil", 0o755))
			r.refresh()
			if got, want := p.end(), "/usr/lib/evil: No such file or directory\n"; got != want {
				r.t.Errorf("it prints %q", got)
			}
		})
	})
}

// TestRefreshOfWhoMeansHarm: a user who lets the hook's child hang is kept waiting alone, and
// has no hold on the child.
func TestRefreshOfWhoMeansHarm(t *testing.T) {
	inRoot(t, func(r *root) {
		r.must(unix.Mknod("/dev/fuse", unix.S_IFCHR|0o666, int(unix.Mkdev(10, 229))))
		r.must(os.Chmod("/dev/fuse", 0o666))
		other := caller{"other", &syscall.Credential{Uid: 1001, Gid: 1001}}
		bad := r.start(asUser, launched, "wait")
		good := r.start(other, launched, "cat", "/usr/lib/host/data", "print", "", "wait", "cat", "/usr/lib/host/data")
		held := r.start(asUser, "/usr/bin/host-tool", "join", strconv.Itoa(bad.cmd.Process.Pid), "silent", config.Host+"/usr", "wait")
		r.replace("/usr/lib/host/data", "new")
		watched := make(chan string, 1)
		go func() { watched <- watchChild() }()
		start := time.Now()
		stale := r.tryRefresh()
		if took := time.Since(start); took < 4*time.Second || took > 20*time.Second {
			r.t.Errorf("it took %v", took)
		}
		// Others on this machine may be the same user's.
		if !slices.ContainsFunc(stale, func(s live.Stale) bool { return s.PID == bad.cmd.Process.Pid }) {
			r.t.Errorf("it says of %v", stale)
		}
		for _, s := range stale {
			if s.PID == good.cmd.Process.Pid {
				r.t.Errorf("it says of another user: %v", s)
			}
		}
		if got := <-watched; got != "0 <nil>" {
			r.t.Errorf("the child's files belong to %s", got)
		}
		if got := good.end(); got != "new" {
			r.t.Errorf("another user sees %q", got)
		}
		r.must(held.cmd.Process.Kill())
		held.cmd.Wait()
		bad.end()
	})
}

// watchChild waits until the child is there, and says to whom its files in /proc belong.
func watchChild() string {
	for range 400 {
		time.Sleep(10 * time.Millisecond)
		exes, err := filepath.Glob("/proc/[0-9]*/exe")
		if err != nil {
			return err.Error()
		}
		for _, exe := range exes {
			if to, err := os.Readlink(exe); err != nil || !strings.HasPrefix(to, "/memfd:refresh") {
				continue
			}
			status, err := os.ReadFile(filepath.Dir(exe) + "/status")
			if err != nil || !strings.Contains(string(status), "\nUid:\t1000\t1000\t1000\t1000\n") {
				continue // it is about to start
			}
			// Who may trace a process owns its files in /proc.
			var st unix.Stat_t
			err = unix.Stat(filepath.Dir(exe)+"/maps", &st)
			return fmt.Sprint(st.Uid, err)
		}
	}
	return "there is no child"
}
