package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/internal/archive"
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
	small     bool   // it starts in so short a time that more of that is left to chance
}{
	{pkg: "jq", file: "usr/bin/jq", version: "--version", small: true},
	{pkg: "git", file: "usr/bin/git", version: "--version", small: true},
	{pkg: "python3.11-minimal", file: "usr/bin/python3.11", version: "--version", small: true},
	{pkg: "vim", file: "usr/bin/vim.basic", version: "--version", small: true},
	{pkg: "emacs-nox", file: "usr/bin/emacs-nox"}, // which has less to load without its view
	{pkg: "gdb", file: "usr/bin/gdb"},
	{pkg: "ffmpeg", file: "usr/bin/ffmpeg", version: "-version"},
	{pkg: "inkscape", file: "usr/bin/inkscape", version: "--version"},
}

// startupWays are the ways in which programs find libraries, with the prefix that each is
// installed to, and the options of install that make it.
var startupWays = []struct {
	name, prefix string
	options      []string
}{
	{fullWay, "/var/full", []string{"--bind", "runpath", "--runpath", "full", "--no-prelocate"}},
	{searchWay, "/var/minimal", []string{"--bind", "runpath", "--runpath", "minimal", "--no-prelocate"}},
	{boundWay, "/var/sys", []string{"--bind", "absolute", "--runpath", "minimal", "--no-prelocate"}},
	{selfWay, "/var/self", []string{"--bind", "absolute", "--runpath", "minimal", "--prelocate"}},
}

const (
	fullWay   = "three directories"
	searchWay = "minimal search path"
	boundWay  = "bound"
	selfWay   = "bound and prelocated"
)

// way is one way of a program to find its libraries.
type way struct {
	name, root, program string
	took                []time.Duration
}

// waysOf returns the ways of a program.
func waysOf(pkg, file, shipped, private string) []*way {
	ways := []*way{{name: "as shipped", root: shipped, program: "/" + file}}
	for _, w := range startupWays {
		ways = append(ways, &way{name: w.name, root: private, program: w.prefix + "/" + pkg + "/default/" + file})
	}
	return ways
}

// benchStartup starts programs of a release on a root of that release: as the distribution
// has them, and installed beside it in several ways. Failed opens and system calls are
// those of the loader, until it would start the program.
func benchStartup(h *harness) error {
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "section startup is left out: it needs root")
		return nil
	}
	for _, tool := range []string{"strace", "gcc"} {
		if _, err := exec.LookPath(tool); err != nil {
			fmt.Fprintf(os.Stderr, "section startup is left out: %v\n", err)
			return nil
		}
	}
	done := make(chan error)
	go func() {
		// Its mounts are seen on this thread only, and end with it.
		runtime.LockOSThread()
		done <- h.startPrograms()
	}()
	return <-done
}

func (h *harness) startPrograms() error {
	if err := errors.Join(unix.Unshare(unix.CLONE_NEWNS|unix.CLONE_FS), unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")); err != nil {
		return fmt.Errorf("make a mount namespace: %w", err)
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
	for _, root := range []string{shipped, private} {
		// By it the loader knows where a program is, for $ORIGIN.
		if err := unix.Mount("proc", filepath.Join(root, "proc"), "proc", 0, ""); err != nil {
			return fmt.Errorf("mount /proc: %w", err)
		}
		// git opens it.
		if err := unix.Mknod(filepath.Join(root, "dev/null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))); err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("make /dev/null: %w", err)
		}
	}
	many, dir, err := h.manyPackages()
	if err != nil {
		return err
	}
	if err := h.putMany(dir, shipped); err != nil {
		return err
	}
	for _, w := range startupWays {
		install := []string{"--root", private, "--prefix", w.prefix, "install", "-q", "--signature", "off"}
		for _, args := range [][]string{append([]string{"--from", startupSuite}, packages...), many} {
			args = slices.Concat(install, w.options, args)
			if out, err := exec.CommandContext(h.ctx, h.hashpkg, args...).CombinedOutput(); err != nil {
				return fmt.Errorf("install %s: %w: %s", w.name, err, out[max(0, len(out)-1000):])
			}
		}
	}
	if err := h.installBound(private, packages); err != nil {
		return err
	}
	for _, s := range startups {
		target := "0 failed, at most 1.00"
		if s.small {
			target = "0 failed, at most 1.03"
		}
		if err := h.startup(waysOf(s.pkg, s.file, shipped, private), s.version, target); err != nil {
			return fmt.Errorf("%s: %w", s.pkg, err)
		}
	}
	ways := waysOf("many", "usr/bin/many", shipped, private)
	if err := h.startup(ways, "now", "0 failed, at most 1.00"); err != nil {
		return err
	}
	return h.startSlowly(ways)
}

// installBound installs the programs and all that they need again, from files, as bound programs and as
// programs that search.
func (h *harness) installBound(root string, packages []string) error {
	o := archive.Options{Suite: startupSuite, Arch: "amd64", Packages: packages}
	var err error
	if o.Packages, err = archive.Missing(h.ctx, o, filepath.Join(root, "var/lib/dpkg/status")); err != nil {
		return err
	}
	debs, err := archive.Fetch(h.ctx, o)
	if err != nil {
		return err
	}
	install := func(way string) contender {
		n := 0
		return contender{way, func() (measure, error) {
			n++
			prefix := fmt.Sprintf("/var/install-%s-%d", way, n)
			return h.time(h.hashpkg, append([]string{"--root", root, "--prefix", prefix, "install", "-q", "--signature", "off", "--bind", way}, debs...)...)
		}}
	}
	results, err := h.compare(install("absolute"), install("runpath"))
	if err != nil {
		return err
	}
	h.add(fmt.Sprintf("install %d packages, bound", len(debs)), seconds(results[0].wall), "", "")
	h.add("  to --bind runpath", ratio(results[0], results[1]), seconds(results[1].wall), "at most 1.10")
	return nil
}

// startup measures one program in all ways, with an argument with which it ends at once; only its
// loader without one.
func (h *harness) startup(ways []*way, version, target string) error {
	env, args := []string{"PATH=/usr/bin:/bin", "LC_ALL=C", "HOME=/root"}, []string{version}
	if version == "" { // the loader alone, but with all of its work
		env, args = append(env, "LD_TRACE_LOADED_OBJECTS=1", "LD_WARN=1", "LD_BIND_NOW=1"), nil
	}
	for n := range startupPairs + 1 { // the first brings files into memory
		for _, w := range ways {
			took, err := startIn(w.root, env, w.program, args...)
			if err != nil {
				return err
			}
			if n > 0 {
				w.took = append(w.took, took)
			}
		}
	}
	var base time.Duration
	for i, w := range ways {
		failed, calls, err := h.loaderCalls(w.root, w.program)
		if err != nil {
			return err
		}
		slices.Sort(w.took)
		median := w.took[len(w.took)/2]
		if i == 0 {
			base = median
		}
		row := target
		if w.name != boundWay {
			row = ""
		}
		h.add(fmt.Sprintf("start %s, %s", filepath.Base(w.program), w.name), fmt.Sprintf("%d failed opens, %d calls", failed, calls),
			fmt.Sprintf("%.2f of %s", median.Seconds()/base.Seconds(), seconds(base)), row)
	}
	return nil
}

// startIn runs a program in a root and returns how long it took.
func startIn(root string, env []string, program string, args ...string) (time.Duration, error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return 0, err
	}
	defer null.Close()
	start := time.Now()
	pid, err := syscall.ForkExec(program, append([]string{program}, args...), &syscall.ProcAttr{
		Dir: "/", Env: env,
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
