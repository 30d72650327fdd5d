package launcher_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/launcher"
)

// asBoth runs a test in a root of its own for each of those who may call a launcher.
func asBoth(t *testing.T, f func(r *root, as caller)) {
	for _, as := range []caller{asRoot, asUser} {
		t.Run(as.name, func(t *testing.T) {
			inRoot(t, func(r *root) { f(r, as) })
		})
	}
}

// TestView looks at what a program sees: the view's files, the host's beside them, and
// the view's where both have one.
func TestView(t *testing.T) {
	asBoth(t, func(r *root, as caller) {
		r.want(as, "view", launched, "cat", "/usr/lib/prog/data")
		r.want(as, "view", launched, "cat", "/usr/share/prog/data")
		r.want(as, "host", launched, "cat", "/usr/lib/host/data")
		r.want(as, "host same view \n", launched, "ls", "/usr/lib/both")
		r.want(as, "view", launched, "cat", "/usr/lib/both/same")
		r.want(as, "host-tool prog prog-other \n", launched, "ls", "/usr/bin")
		r.want(as, "bin lib local share src \n", launched, "ls", "/usr")
		r.want(as, "/usr/bin/prog\n", launched, "link", "/proc/self/exe")
		r.want(as, "/usr/lib/prog/data\n", launched, "realpath", "/usr/lib/prog/data")
		// What is started from there sees it too; nobody else does.
		r.want(as, "view", launched, "exec", "/usr/bin/host-tool", "cat", "/usr/lib/prog/data")
		r.want(as, "/usr/lib/prog/data: No such file or directory\n", "/usr/bin/host-tool", "cat", "/usr/lib/prog/data")
		// A link to the launcher, wherever, is the launcher.
		r.must(os.Link(launched, "/home/user/linked"))
		r.want(as, "view", "/home/user/linked", "cat", "/usr/lib/prog/data")
		// What is replaced in the host's is seen replaced.
		in := r.start(as, launched, "wait", "cat", "/usr/src/data", "cat", "/usr/lib/new")
		r.write("/usr/src/data.new", "changed ")
		r.must(os.Rename("/usr/src/data.new", "/usr/src/data"))
		if got := in.end(); got != "changed /usr/lib/new: No such file or directory\n" {
			r.t.Errorf("a view that was there before prints %q", got)
		}
	})
}

// TestProcessInView: how others know that a process is in a view, and in which.
func TestProcessInView(t *testing.T) {
	asBoth(t, func(r *root, as caller) {
		for _, test := range []struct {
			program string
			want    string // a directory
		}{{launched, viewDir}, {r.second(), prefix + "/.hashpkg/views/second"}, {"/usr/bin/host-tool", ""}} {
			in := r.start(as, test.program, "wait")
			seen := fmt.Sprintf("/proc/%d/root%s/view", in.cmd.Process.Pid, config.Host)
			_, err := os.Stat(seen + "/usr")
			if inView := err == nil; inView != (test.want != "") {
				r.t.Errorf("%s: %v", test.program, err)
			} else if inView {
				a, err := os.Stat(seen)
				r.must(err)
				b, err := os.Stat(test.want)
				r.must(err)
				if !os.SameFile(a, b) {
					r.t.Errorf("%s is in another view than %s", test.program, test.want)
				}
			}
			in.end()
		}
	})
}

// TestViewIsReadOnly: neither the view's files nor the host's change through it. What it
// does not cover is as it was.
func TestViewIsReadOnly(t *testing.T) {
	asBoth(t, func(r *root, as caller) {
		for _, path := range []string{"/usr/lib/prog/data", "/usr/lib/host/data", "/usr/bin/new"} {
			if got := r.run(as, launched, "write", path); got != path+": Read-only file system\n" {
				r.t.Errorf("writing %s: %s", path, got)
			}
		}
		r.must(os.Chmod("/usr/local/share", 0o777))
		r.want(as, "ok\n", launched, "write", "/usr/local/share/new")
		r.want(as, "ok\n", launched, "write", "/home/user/new")
	})
}

// TestLocalIsTheHosts: of a view's usr/local nothing is shown.
func TestLocalIsTheHosts(t *testing.T) {
	for _, level := range []bool{false, true} {
		asBoth(t, func(r *root, as caller) {
			r.write(prefix+"/.hashpkg/views/prog/usr/local/share/of-view", "view")
			if level { // the host's usr is made anew then
				r.write(prefix+"/.hashpkg/views/prog/usr/games/data", "view")
			}
			r.want(as, "data \n", launched, "ls", "/usr/local/share")
		})
	}
}

// TestName is what becomes of argv[0].
func TestName(t *testing.T) {
	tests := []struct{ dir, name, want string }{
		{"", "prog", "/usr/bin/prog"},
		{"", "prog-other", "/usr/bin/prog-other"},
		{"", "", "/usr/bin/prog"},
		{"", "-prog", "-prog"},
		{"", "no-such-name", "no-such-name"},
		{"", launched, "/usr/bin/prog"},
		{"", prefix + "/current-system/bin/prog", "/usr/bin/prog"},
		{"", prefix + "/current-system/bin/no-such-name", prefix + "/current-system/bin/no-such-name"},
		{prefix + "/prog/1.0", "bin/prog", "/usr/bin/prog"},
		{prefix + "/prog/1.0/bin", "./prog", "/usr/bin/prog"},
		{"/home/user", "../../var/sys/prog/1.0/bin/prog", "/usr/bin/prog"},
		{"", "/var/link/prog/1.0/bin/prog", "/usr/bin/prog"},
		{"", "/var/system/bin/prog", "/var/system/bin/prog"}, // only begins like the prefix
		{"", "/home/user/venv/bin/prog", "/home/user/venv/bin/prog"},
		{"/home/user", "venv/bin/prog", "venv/bin/prog"},
		{"", prefix + "/../../home/user/venv/bin/prog", prefix + "/../../home/user/venv/bin/prog"},
		{prefix, "../../home/user/venv/bin/prog", "../../home/user/venv/bin/prog"},
		{"", "/no/such/directory/prog", "/no/such/directory/prog"},
		{"", "/" + strings.Repeat("x/", 4000), "/" + strings.Repeat("x/", 4000)},
	}
	prepare := func(r *root) {
		r.must(os.MkdirAll(prefix+"/current-system/bin", 0o755))
		r.must(os.Symlink("../../prog/1.0/bin/prog", prefix+"/current-system/bin/prog"))
		r.must(os.Symlink("sys", "/var/link"))
		r.must(os.MkdirAll("/home/user/venv/bin", 0o755))
		r.must(os.MkdirAll("/var/system/bin", 0o755))
		r.must(os.Symlink(launched, "/home/user/venv/bin/prog"))
	}
	asBoth(t, func(r *root, as caller) {
		prepare(r)
		for _, test := range tests {
			c := call{caller: as, dir: test.dir, args: []string{launched, "argv0"}, name: test.name, noName: test.name == ""}
			if got := r.call(c); got.out != test.want+"\n" || got.err != "" {
				r.t.Errorf("in %q, %q becomes %q; want %q (%s)", test.dir, test.name, got.out, test.want, got.err)
			}
		}
		// A caller that gives no arguments at all.
		r.want(as, "", "/usr/bin/host-tool", "exec-nothing", launched)
	})
	t.Run("fallback", func(t *testing.T) {
		inRoot(t, func(r *root) {
			prepare(r)
			r.must(os.Remove(config.Host + "/view"))
			for _, test := range tests {
				want := test.want
				if strings.HasPrefix(want, "/usr/bin/") {
					want = prefix + "/prog/1.0" + want
				}
				if test.name == "prog-other" { // which this tree does not have
					want = test.name
				}
				c := call{caller: asUser, dir: test.dir, args: []string{launched, "argv0"}, name: test.name, noName: test.name == ""}
				if got := r.call(c); got.out != want+"\n" {
					r.t.Errorf("in %q, %q becomes %q; want %q", test.dir, test.name, got.out, want)
				}
			}
		})
	})
}

// TestArgumentsAndEnvironment: they are the caller's, whatever they are.
func TestArgumentsAndEnvironment(t *testing.T) {
	asBoth(t, func(r *root, as caller) {
		r.want(as, "3\n\n/usr/bin/prog\nx y\n", launched, "print", "3", "print", "", "argv0", "print", "x y")
		r.want(as, "HOME=/home/user\n", launched, "environment")
		// As many as the kernel takes.
		r.want(as, "/usr/bin/prog\nand more\n", "/usr/bin/host-tool", "exec-full", launched, "prog", "argv0")
	})
}

// TestProcess: the program is the process that the launcher was, with its parent, group,
// session, signals, limits, files and status.
func TestProcess(t *testing.T) {
	asBoth(t, func(r *root, as caller) {
		tool := "/usr/bin/host-tool"
		for _, what := range [][]string{
			{"ids"}, {"umask"}, {"nofile"}, {"signals"}, {"fds"}, {"cwd"}, {"priority"},
		} {
			r.want(as, r.run(as, append([]string{tool, "set-up", "exec", tool}, what...)...),
				append([]string{tool, "set-up", "exec", launched}, what...)...)
		}
		r.want(as, "same\n", tool, "pid-kept", launched)
		r.want(as, "none\n", launched, "children")
		if got := r.call(call{caller: as, args: []string{launched, "exit", "42"}}); got.status != 42 {
			r.t.Errorf("status %d, want 42", got.status)
		}
		if got := r.call(call{caller: as, args: []string{launched, "kill", "15"}}); got.status != -1 || got.err != "" {
			r.t.Errorf("killed, the program ends with %+v", got)
		}
		// Its groups open what they opened.
		r.write("/mnt/of-group", "for the group")
		r.must(os.Chown("/mnt/of-group", 0, 2000))
		r.must(os.Chmod("/mnt/of-group", 0o640))
		r.want(as, "for the group", launched, "cat", "/mnt/of-group")
		// Whoever closes descriptors finds them closed, and may not have many.
		for _, closed := range [][]string{{"0"}, {"2"}, {"0", "2"}} {
			args := []string{tool}
			for _, fd := range closed {
				args = append(args, "close", fd)
			}
			plain := r.call(call{caller: as, args: append(args, "exec", tool, "fds")})
			got := r.call(call{caller: as, args: append(args, "exec", launched, "fds", "cat", "/usr/lib/prog/data")})
			if got.out != plain.out+"view" {
				r.t.Errorf("with %q closed the program prints %q; want %q", closed, got.out, plain.out)
			}
		}
	})
}

// TestStopped: a terminal's stop signal, which comes while a user's view is made, does not
// stop the process that makes it, for nobody could let it go on.
func TestStopped(t *testing.T) {
	inRoot(t, func(r *root) {
		r.want(asUser, "view", "/usr/bin/host-tool", "stopped", launched, "cat", "/usr/lib/prog/data")
		r.want(asUser, r.run(asUser, "/usr/bin/host-tool", "signals"), launched, "signals") // who runs the tests may ignore some
	})
}

// TestNoDescriptors: with no descriptor to be had, the program runs without its view.
func TestNoDescriptors(t *testing.T) {
	asBoth(t, func(r *root, as caller) {
		tool := []string{"/usr/bin/host-tool", "set-nofile", "0", "exec"}
		plain := r.run(as, append(tool, "/usr/bin/host-tool", "fds", "argv0")...)
		got := r.call(call{caller: as, args: append(tool, launched, "fds", "argv0")})
		want := strings.Replace(plain, "/usr/bin/host-tool", config.Fallback, 1)
		if got.status != 0 || got.out != want || strings.Count(got.err, "\n") != 1 || !strings.Contains(got.err, "EMFILE") {
			r.t.Errorf("%+v", got)
		}
		// Without standard error it says nothing.
		got = r.call(call{caller: as, args: []string{"/usr/bin/host-tool", "close", "2", "set-nofile", "2", "exec", launched, "print", "here"}})
		if got.status != 0 || got.out != "here\n" {
			r.t.Errorf("with standard error closed: %+v", got)
		}
	})
}

// TestWorkingDirectory: one below /usr is the view's afterwards, any other is kept.
func TestWorkingDirectory(t *testing.T) {
	asBoth(t, func(r *root, as caller) {
		for _, test := range []struct{ dir, file, want string }{
			{"/usr/lib/both", "same", "view"},
			{"/usr/lib", "prog/data", "view"},
			{"/usr", "lib/prog/data", "view"},
			{"/usr/lib/host", "data", "host"},
			{"/usr/local/share", "data", "host"},
			{prefix + "/prog/1.0", "bin/../../../.hashpkg/views/prog/usr/lib/prog/data", "view"},
		} {
			c := call{caller: as, dir: test.dir, args: []string{launched, "cwd", "cat", test.file}}
			if got := r.call(c); got.out != test.dir+"\n"+test.want {
				r.t.Errorf("in %s the program prints %q (%s)", test.dir, got.out, got.err)
			}
		}
		// One that is gone, and one that may not be searched.
		r.must(os.MkdirAll("/usr/lib/host/gone", 0o777))
		r.must(os.Mkdir("/mnt/gone", 0o777))
		r.must(os.Chmod("/mnt", 0o777))
		r.must(os.Chmod("/usr/lib/host", 0o777))
		for _, dir := range []string{"/mnt/gone", "/usr/lib/host/gone"} {
			r.want(as, "getcwd: No such file or directory\nview", "/usr/bin/host-tool", "chdir", dir, "rmdir", dir,
				"exec", launched, "cwd", "cat", "/usr/lib/prog/data")
		}
		r.must(os.MkdirAll("/mnt/closed", 0o700))
		r.write("/mnt/closed/file", "closed")
		want := "/mnt/closed\nfile: Permission denied\nview"
		if as.cred == nil {
			want = "/mnt/closed\nclosedview"
		}
		r.must(unix.Chdir("/mnt/closed")) // a child has it without being let in
		c := call{caller: as, dir: kept, args: []string{launched, "cwd", "cat", "file", "cat", "/usr/lib/prog/data"}}
		if got := r.call(c); got.out != want || got.err != "" {
			r.t.Errorf("in a directory that may be closed, %s prints %q (%s)", as.name, got.out, got.err)
		}
	})
}

// TestSameView: who is in a view already gets no other namespace.
func TestSameView(t *testing.T) {
	asBoth(t, func(r *root, as caller) {
		args := []string{"link", "/proc/self/ns/mnt", "link", "/proc/self/ns/user", "cat", "/proc/self/mountinfo"}
		twice := append(append([]string{launched}, args...), append([]string{"exec", launched}, append(args, "argv0")...)...)
		got := r.run(as, twice...)
		once := got[:len(got)/2-len("/usr/bin/prog\n")/2]
		if got != once+once+"/usr/bin/prog\n" {
			r.t.Errorf("the launcher in its own view: %s", got)
		}
		if !strings.Contains(once, " hashpkg rw") && !strings.Contains(once, " hashpkg ro") {
			r.t.Errorf("no view is there at all: %s", once)
		}
		// A view that has become another one is another view.
		other := prefix + "/.hashpkg/views/next"
		r.write(other+"/usr/bin/prog", string(r.probe))
		r.write(other+"/usr/lib/prog/data", "next")
		in := r.start(as, launched, "wait", "cat", "/usr/lib/prog/data", "exec", launched, "cat", "/usr/lib/prog/data", "ls", "/usr/bin")
		r.must(os.Remove(config.View))
		r.must(os.Symlink(other, config.View))
		if got := in.end(); got != "viewnexthost-tool prog \n" {
			r.t.Errorf("after the view has become another, the program prints %q", got)
		}
	})
}

// second makes another view, and returns its launcher.
func (r *root) second() string {
	r.t.Helper()
	view := prefix + "/.hashpkg/views/second"
	r.write(view+"/usr/bin/second", string(r.probe))
	r.write(view+"/usr/lib/second/data", "second")
	c := launcher.Config{View: view, Host: config.Host, Program: "/usr/bin/second", Fallback: view + "/usr/bin/second", Prefix: prefix}
	r.launcher(prefix+"/second/1.0/bin/second", c)
	return prefix + "/second/1.0/bin/second"
}

// TestOtherView: from one view into another there is nothing left of the first.
func TestOtherView(t *testing.T) {
	asBoth(t, func(r *root, as caller) {
		second := r.second()
		r.write(prefix+"/.hashpkg/views/prog/usr/games/data", "a name that the host has not")
		r.write(prefix+"/.hashpkg/views/second/usr/libexec/data", "another")
		seen := []string{"ls", "/usr", "ls", "/usr/bin", "ls", "/usr/lib", "ls", "/usr/share", "cat", "/usr/local/share/data"}
		direct := r.run(as, append([]string{second}, seen...)...)
		if want := "bin lib libexec local share src \nhost-tool second \nboth host second \nhost \nhost"; direct != want {
			r.t.Errorf("the second view: %s, want %s", direct, want)
		}
		r.want(as, direct, append([]string{launched, "exec", second}, seen...)...)
		// And back.
		back := r.run(as, append([]string{launched}, seen...)...)
		r.want(as, back, append([]string{launched, "exec", second, "exec", launched}, seen...)...)
		// A dozen of them in one another.
		deep := []string{launched}
		for i := range 12 {
			deep = append(deep, "exec", []string{second, launched}[i%2])
		}
		r.want(as, back, append(deep, seen...)...)
	})
}

// TestSameProgramInAnotherView: what a program starts stays in that one's view, if that
// has the very program.
func TestSameProgramInAnotherView(t *testing.T) {
	asBoth(t, func(r *root, as caller) {
		second := r.second()
		seen := []string{"ls", "/usr/lib"}
		r.want(as, "both host second \n", append([]string{launched, "exec", second}, seen...)...)
		at := "/usr/bin/second"
		r.must(os.Link(prefix+"/.hashpkg/views/second"+at, prefix+"/.hashpkg/views/prog"+at))
		first := r.run(as, append([]string{launched}, seen...)...)
		r.want(as, first+at+"\n", append(append([]string{launched, "exec", second}, seen...), "argv0")...)
		// Another file of that name is another program.
		r.must(os.Remove(prefix + "/.hashpkg/views/prog" + at))
		r.write(prefix+"/.hashpkg/views/prog"+at, string(r.probe))
		r.want(as, "both host second \n", append([]string{launched, "exec", second}, seen...)...)
		// But by the default's path any version will do.
		r.must(os.MkdirAll(prefix+"/current-system/bin", 0o755))
		r.must(os.Symlink("../../second/1.0/bin/second", prefix+"/current-system/bin/second"))
		byDefault := prefix + "/current-system/bin/second"
		r.want(as, first, append([]string{launched, "exec", byDefault}, seen...)...)
		r.must(os.Remove(prefix + "/.hashpkg/views/prog" + at))
		r.want(as, "both host second \n", append([]string{launched, "exec", byDefault}, seen...)...)
	})
}

// TestKeepName: argv[0] stays where that is asked for.
func TestKeepName(t *testing.T) {
	asBoth(t, func(r *root, as caller) {
		c := config
		c.KeepName = true
		r.launcher(launched, c)
		for _, name := range []string{"prog", launched, "/home/user/venv/bin/prog"} {
			if got := r.call(call{caller: as, args: []string{launched, "argv0"}, name: name}); got.out != name+"\n" {
				r.t.Errorf("%q becomes %q (%s)", name, got.out, got.err)
			}
		}
	})
}

// TestDepth: as many user namespaces in one another as the kernel allows, and then the
// program runs without its view, in the last one.
func TestDepth(t *testing.T) {
	inRoot(t, func(r *root) {
		second := r.second()
		deep := []string{launched}
		for i := range 60 {
			deep = append(deep, "exec", []string{second, launched}[i%2])
		}
		got := r.call(call{caller: asUser, args: append(deep, "argv0")})
		last := strings.Count(got.err, "\n")
		if got.status != 0 || got.out != "/usr/bin/prog\n" || last < 10 || strings.Count(got.err, "it runs without its view (clone: ENOSPC)") != last {
			r.t.Errorf("%+v", got)
		}
	})
}

// TestSeveralViews: views that are seen at once, the first one's names before the others'.
// The programs of each are run there by the names that they have there.
func TestSeveralViews(t *testing.T) {
	asBoth(t, func(r *root, as caller) {
		second := r.second()
		other := prefix + "/.hashpkg/views/second"
		r.write(other+"/usr/lib/both/same", "second")
		r.write(other+"/usr/libexec/data", "second")
		c := config
		c.More = []string{other}
		r.launcher(prefix+"/prog/1.0/joined", c)
		joined := prefix + "/prog/1.0/joined"
		seen := []string{"cat", "/usr/lib/prog/data", "cat", "/usr/lib/second/data", "cat", "/usr/lib/both/same", "cat", "/usr/lib/both/host", "cat", "/usr/libexec/data", "cat", "/usr/local/share/data"}
		const want = "viewsecondviewhostsecondhost"
		r.want(as, want, append([]string{joined}, seen...)...)
		r.want(as, want, append([]string{joined, "exec", "/usr/bin/second"}, seen...)...)
		r.want(as, want, append([]string{launched, "exec", joined}, seen...)...)
		r.must(os.MkdirAll(prefix+"/current-system/bin", 0o755))
		r.must(os.Symlink("../../second/1.0/bin/second", prefix+"/current-system/bin/second"))
		r.want(as, want, append([]string{joined, "exec", prefix + "/current-system/bin/second"}, seen...)...)
		r.want(as, "/usr/lib/prog/data: No such file or directory\nsecond", joined, "exec", second, "cat", "/usr/lib/prog/data", "cat", "/usr/lib/second/data")
		// Where the host's usr is made anew, and nothing is left behind.
		r.write(prefix+"/.hashpkg/views/prog/usr/games/data", "view")
		r.want(as, want, append([]string{joined}, seen...)...)
		if got := r.run(as, "/usr/bin/host-tool", "mounts"); got != "/\n/proc\n" {
			r.t.Errorf("mounts of the host:\n%s", got)
		}
	})
}
