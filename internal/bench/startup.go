package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/internal/testroot"
)

// startupPairs is how often a program is started in each way, in turn.
const startupPairs = 40

// startupSuite is the release of the programs, and of the root that they run in.
const startupSuite = "bookworm"

// startups are programs, by their packages, from small to large. The loader alone is
// measured where a program does not start without its view.
var startups = []struct {
	pkg, file string
	version   string // the option for it; "" to measure the loader alone
}{
	{pkg: "jq", file: "usr/bin/jq", version: "--version"},
	{pkg: "git", file: "usr/bin/git", version: "--version"},
	{pkg: "python3.11-minimal", file: "usr/bin/python3.11", version: "--version"},
	{pkg: "vim", file: "usr/bin/vim.basic", version: "--version"},
	{pkg: "emacs-nox", file: "usr/bin/emacs-nox"}, // which has less to load without its view
	{pkg: "gdb", file: "usr/bin/gdb"},
	{pkg: "ffmpeg", file: "usr/bin/ffmpeg", version: "-version"},
}

// startupWays are the ways in which programs find libraries, with the prefix that each is
// installed to.
var startupWays = []struct{ name, prefix, bind, runPath, prelocate string }{
	{"three directories", "/var/full", "runpath", "full", "--no-prelocate"},
	{"minimal search path", "/var/minimal", "runpath", "minimal", "--no-prelocate"},
	{"bound", "/var/sys", "absolute", "minimal", "--no-prelocate"},
	{"bound and prelocated", "/var/self", "absolute", "minimal", "--prelocate"},
}

// benchStartup starts programs of a release on a root of that release: as the distribution
// has them, and installed beside it in several ways. Failed opens and system calls are
// those of the loader, until it would start the program.
func benchStartup(h *harness) error {
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "section startup is left out: it needs root")
		return nil
	}
	if _, err := exec.LookPath("strace"); err != nil {
		fmt.Fprintf(os.Stderr, "section startup is left out: %v\n", err)
		return nil
	}
	var packages []string
	for _, s := range startups {
		packages = append(packages, s.pkg)
	}
	shipped, private := filepath.Join(h.dir, "startup-shipped"), filepath.Join(h.dir, "startup-private")
	if err := testroot.UnpackDebian(h.ctx, shipped, startupSuite, "amd64", packages...); err != nil {
		return err
	}
	if err := testroot.UnpackDebian(h.ctx, private, startupSuite, "amd64"); err != nil {
		return err
	}
	for _, root := range []string{shipped, private} { // which git opens
		if err := unix.Mknod(filepath.Join(root, "dev/null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))); err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("make /dev/null: %w", err)
		}
	}
	for _, w := range startupWays {
		args := []string{"--root", private, "--prefix", w.prefix, "install", "-q", "--from", startupSuite, "--bind", w.bind, "--runpath", w.runPath, w.prelocate}
		if out, err := exec.CommandContext(h.ctx, h.hashpkg, append(args, packages...)...).CombinedOutput(); err != nil {
			return fmt.Errorf("install %s: %w: %s", w.name, err, out[max(0, len(out)-1000):])
		}
	}
	for _, s := range startups {
		if err := h.startup(s.pkg, s.file, s.version, shipped, private); err != nil {
			return fmt.Errorf("%s: %w", s.pkg, err)
		}
	}
	return nil
}

// startup measures one program, which prints its version; only its loader without an
// option for that.
func (h *harness) startup(pkg, file, version, shipped, private string) error {
	type way struct {
		name, root, program string
		took                []time.Duration
	}
	ways := []*way{{name: "as shipped", root: shipped, program: "/" + file}}
	for _, w := range startupWays {
		ways = append(ways, &way{name: w.name, root: private, program: w.prefix + "/" + pkg + "/default/" + file})
	}
	for range startupPairs + 1 { // the first brings files into memory
		for _, w := range ways {
			if version == "" {
				continue
			}
			took, err := startIn(w.root, w.program, version)
			if err != nil {
				return err
			}
			w.took = append(w.took, took)
		}
	}
	var base time.Duration
	for i, w := range ways {
		failed, calls, err := h.loaderCalls(w.root, w.program)
		if err != nil {
			return err
		}
		ratio := ""
		if len(w.took) > 1 {
			slices.Sort(w.took[1:])
			median := w.took[1:][startupPairs/2]
			if i == 0 {
				base = median
			}
			ratio = fmt.Sprintf("%.2f of %s", median.Seconds()/base.Seconds(), seconds(base))
		}
		target := ""
		if w.name == "bound" {
			target = "0 failed"
		}
		h.add(fmt.Sprintf("start %s, %s", filepath.Base(file), w.name), fmt.Sprintf("%d failed opens, %d calls", failed, calls),
			ratio, target)
	}
	return nil
}

// startIn runs a program in a root and returns how long it took.
func startIn(root, program string, args ...string) (time.Duration, error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return 0, err
	}
	defer null.Close()
	start := time.Now()
	pid, err := syscall.ForkExec(program, append([]string{program}, args...), &syscall.ProcAttr{
		Dir: "/", Env: []string{"PATH=/usr/bin:/bin", "LC_ALL=C", "HOME=/root"},
		Files: []uintptr{null.Fd(), null.Fd(), null.Fd()}, Sys: &syscall.SysProcAttr{Chroot: root},
	})
	if err != nil {
		return 0, fmt.Errorf("start %s: %w", program, err)
	}
	var status unix.WaitStatus
	if _, err := unix.Wait4(pid, &status, 0, nil); err != nil {
		return 0, err
	}
	if status != 0 {
		return 0, fmt.Errorf("%s: status %d", program, status.ExitStatus())
	}
	return time.Since(start), nil
}

// failedOpen matches a look-up in vain in a trace of strace. The loader always looks for
// /etc/ld.so.preload.
var failedOpen = regexp.MustCompile(`\b(?:open|openat|stat|newfstatat|access)\((?:AT_FDCWD, )?"([^"]*)".* = -1 E`)

// loaderCalls returns how many files the loader looks for in vain for a program, and how
// many system calls it makes, without those that write what it has loaded.
func (h *harness) loaderCalls(root, program string) (failed, calls int, err error) {
	trace := filepath.Join(h.dir, "trace")
	cmd := exec.CommandContext(h.ctx, "strace", "-f", "-o", trace, "chroot", root, "/usr/bin/env", "LD_TRACE_LOADED_OBJECTS=1", program)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	if out, err := cmd.CombinedOutput(); err != nil {
		return 0, 0, fmt.Errorf("trace %s: %w: %s", program, err, out[max(0, len(out)-1000):])
	}
	b, err := os.ReadFile(trace)
	if err != nil {
		return 0, 0, err
	}
	_, text, ok := strings.Cut(string(b), "execve(\""+program+"\"")
	if !ok {
		return 0, 0, fmt.Errorf("trace %s: it was not started", program)
	}
	for line := range strings.Lines(text) {
		_, call, _ := strings.Cut(line, " ")
		call = strings.TrimSpace(call)
		switch {
		case strings.HasPrefix(call, "write"), strings.HasPrefix(call, "exit"), strings.HasPrefix(call, "+++"):
			continue
		}
		calls++
		if m := failedOpen.FindStringSubmatch(call); m != nil && m[1] != "/etc/ld.so.preload" {
			failed++
		}
	}
	return failed, calls, nil
}
