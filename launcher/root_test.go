package launcher_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/internal/testneed"
	"github.com/hashpkg/hashpkg/launcher"
)

const (
	prefix = "/var/sys"
	userID = 1000
)

// config is the configuration of the launcher of /var/sys/prog/1.0.
var config = launcher.Config{
	View:     prefix + "/current-system/view/prog/1.0",
	Host:     prefix + "/.hashpkg/host",
	Program:  "/usr/bin/prog",
	Fallback: prefix + "/prog/1.0/usr/bin/prog",
	Prefix:   prefix,
}

// launched is where the launcher of [config] stands.
const launched = prefix + "/prog/1.0/bin/prog"

// root is a small system of its own, in a mount namespace of its own, with a shared
// root mount as systemd makes it. All methods are called by the function that
// inRoot was given, on its thread: paths are in the root there.
type root struct {
	t     *testing.T
	probe []byte
}

// inRoot calls f in a new root, which is gone afterwards. It is entered by
// pivot_root(2), for in a chroot nobody gets a user namespace.
//
// f runs on a thread of its own, so t.Run must not be called there. A failure ends f.
func inRoot(t *testing.T, f func(r *root)) {
	t.Helper()
	testneed.Root(t)
	testneed.Programs(t, "gcc")
	probe, err := probeFile()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked: the thread ends with f, and the namespace with it
		r := &root{t, probe}
		if err := r.enter(dir); err != nil {
			t.Errorf("make a root: %v", err)
			return
		}
		f(r)
	}()
	<-done
}

// probeFile builds testdata/probe.c, once.
var probeFile = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "hashpkg-probe")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	out := filepath.Join(dir, "probe")
	if text, err := exec.Command("gcc", "-static", "-O1", "-Wall", "-Wextra", "-Werror", "-o", out, "testdata/probe.c").CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build the probe: %w: %s", err, text)
	}
	return os.ReadFile(out)
})

func (r *root) enter(dir string) error {
	if err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_FS); err != nil {
		return fmt.Errorf("unshare: %w", err)
	}
	for _, m := range []struct {
		source, target, kind string
		flags                uintptr
		options              string
	}{
		{"", "/", "", unix.MS_REC | unix.MS_PRIVATE, ""},
		{"root", dir, "tmpfs", 0, "mode=755"},
	} {
		if err := unix.Mount(m.source, m.target, m.kind, m.flags, m.options); err != nil {
			return fmt.Errorf("mount %s: %w", m.target, err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "old"), 0o755); err != nil {
		return err
	}
	if err := unix.PivotRoot(dir, filepath.Join(dir, "old")); err != nil {
		return fmt.Errorf("pivot_root: %w", err)
	}
	if err := unix.Chdir("/"); err != nil {
		return err
	}
	for _, d := range []string{"dev", "proc", "tmp", "home/user", "mnt"} {
		if err := os.MkdirAll("/"+d, 0o755); err != nil {
			return err
		}
	}
	// A new proc must not show more than the old one does; so it is mounted while that is there.
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	if err := unix.Unmount("/old", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("unmount the old root: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, ""); err != nil {
		return err
	}
	if err := unix.Mknod("/dev/null", unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))); err != nil {
		return err
	}
	if err := os.Chmod("/dev/null", 0o666); err != nil {
		return err
	}
	if err := os.Chmod("/tmp", 0o1777); err != nil {
		return err
	}
	if err := os.Chown("/home/user", userID, userID); err != nil {
		return err
	}
	return r.fill()
}

// fill makes the host's files, one view and one tree. Each file's content says where it is from.
func (r *root) fill() error {
	view := prefix + "/.hashpkg/views/prog"
	for path, content := range map[string]string{
		"/usr/bin/host-tool":              string(r.probe),
		"/usr/lib/host/data":              "host",
		"/usr/lib/both/host":              "host",
		"/usr/lib/both/same":              "host",
		"/usr/share/host/data":            "host",
		"/usr/local/share/data":           "host",
		"/usr/src/data":                   "host",
		view + "/usr/bin/prog":            string(r.probe),
		view + "/usr/bin/prog-other":      string(r.probe),
		view + "/usr/lib/prog/data":       "view",
		view + "/usr/lib/both/view":       "view",
		view + "/usr/lib/both/same":       "view",
		view + "/usr/share/prog/data":     "view",
		prefix + "/prog/1.0/usr/bin/prog": string(r.probe),
	} {
		if err := writeFile(path, content); err != nil {
			return err
		}
	}
	for _, d := range []string{"usr", "view"} {
		if err := os.MkdirAll(filepath.Join(config.Host, d), 0o755); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(filepath.Dir(config.View), 0o755); err != nil {
		return err
	}
	if err := os.Symlink("../../../.hashpkg/views/prog", config.View); err != nil {
		return err
	}
	return writeLauncher(launched, config)
}

func writeFile(path, content string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(content), 0o755)
}

func writeLauncher(path string, c launcher.Config) error {
	b, err := launcher.New(runtime.GOARCH, c)
	if err != nil {
		return err
	}
	return writeFile(path, string(b))
}

// write is writeFile, for tests.
func (r *root) write(path, content string) {
	r.t.Helper()
	r.must(writeFile(path, content))
}

// launcher writes a launcher, for tests.
func (r *root) launcher(path string, c launcher.Config) {
	r.t.Helper()
	r.must(writeLauncher(path, c))
}

// must ends the test at an error.
func (r *root) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Error(err)
		runtime.Goexit()
	}
}

// caller is who runs a program.
type caller struct {
	name string
	cred *syscall.Credential
}

var (
	asRoot = caller{"root", nil}
	asUser = caller{"user", &syscall.Credential{Uid: userID, Gid: userID, Groups: []uint32{userID, 2000}}}
)

// call is a program that is run.
type call struct {
	caller caller
	dir    string   // "/" if "", or [kept]
	args   []string // args[0] is the file
	name   string   // argv[0], if not args[0]
	noName bool     // argv[0] is empty
	attr   syscall.SysProcAttr
}

// kept stands for the working directory that the test has.
const kept = "kept"

// result is what a program printed and returned.
type result struct {
	out, err string
	status   int // -1 for a signal
}

func (c call) command() *exec.Cmd {
	cmd := &exec.Cmd{Path: c.args[0], Args: append([]string(nil), c.args...), Dir: c.dir, Env: []string{"HOME=/home/user"}}
	if c.name != "" || c.noName {
		cmd.Args[0] = c.name
	}
	switch cmd.Dir {
	case "":
		cmd.Dir = "/"
	case kept:
		cmd.Dir = ""
	}
	attr := c.attr
	attr.Credential = c.caller.cred
	cmd.SysProcAttr = &attr
	return cmd
}

func (r *root) call(c call) result {
	r.t.Helper()
	var out, errs bytes.Buffer
	cmd := c.command()
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if cmd.ProcessState == nil {
		r.must(fmt.Errorf("run %q: %w", c.args, err))
	}
	return result{out.String(), errs.String(), cmd.ProcessState.ExitCode()}
}

// run runs a program, which must end with status 0 and without a word on standard
// error, and returns what it printed.
func (r *root) run(as caller, args ...string) string {
	r.t.Helper()
	got := r.call(call{caller: as, args: args})
	if got.status != 0 || got.err != "" {
		r.t.Errorf("as %s: %q: status %d, stderr %q, stdout %q", as.name, args, got.status, got.err, got.out)
	}
	return got.out
}

// want runs a program and compares what it prints.
func (r *root) want(as caller, want string, args ...string) {
	r.t.Helper()
	if got := r.run(as, args...); got != want {
		r.t.Errorf("as %s: %s prints\n%swant\n%s", as.name, strings.Join(args, " "), got, want)
	}
}

// process is a program that waits.
type process struct {
	r     *root
	cmd   *exec.Cmd
	stdin io.Closer
	out   *bufio.Reader
	errs  *bytes.Buffer
}

// start runs a program until it says that it is there (the probe's `wait`).
func (r *root) start(as caller, args ...string) *process {
	r.t.Helper()
	cmd := call{caller: as, args: args}.command()
	p := &process{r: r, cmd: cmd, errs: new(bytes.Buffer)}
	cmd.Stderr = p.errs
	stdin, err := cmd.StdinPipe()
	r.must(err)
	stdout, err := cmd.StdoutPipe()
	r.must(err)
	p.stdin, p.out = stdin, bufio.NewReader(stdout)
	r.must(cmd.Start())
	r.t.Cleanup(func() { cmd.Process.Kill() }) // in vain where it has ended
	for {
		line, err := p.out.ReadString('\n')
		if line == "here\n" {
			return p
		}
		if err != nil {
			r.must(fmt.Errorf("%q: %w: %s", args, err, p.errs))
		}
	}
}

// end lets the program go on, and returns what it prints until its end.
func (p *process) end() string {
	p.r.t.Helper()
	p.r.must(p.stdin.Close())
	out, err := io.ReadAll(p.out)
	p.r.must(err)
	if err := p.cmd.Wait(); err != nil || p.errs.Len() > 0 {
		p.r.t.Errorf("%q: %v: %s", p.cmd.Args, err, p.errs)
	}
	return string(out)
}
