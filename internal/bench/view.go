package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/launcher"
)

const (
	viewRuns   = 400   // of each program, in turn
	viewUser   = 65534 // who owns nothing
	manyViews  = 100
	moreMounts = 100
)

// benchView starts a small program by a launcher with a view of seven directories,
// beside the program alone: as root and as a user, among many views, and on a machine
// with many mounts.
func benchView(h *harness) error {
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "section view is left out: it needs root")
		return nil
	}
	dir, err := h.fresh("view")
	if err != nil {
		return err
	}
	done := make(chan error)
	go func() {
		// Its mounts are seen on this thread only, and end with it.
		runtime.LockOSThread()
		done <- startViews(h, dir)
	}()
	return <-done
}

func startViews(h *harness, dir string) error {
	// Others than root may not look below dir.
	const prefix = "/mnt"
	if err := errors.Join(unix.Unshare(unix.CLONE_NEWNS|unix.CLONE_FS),
		unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""),
		os.Chmod(dir, 0o755),
		unix.Mount(dir, prefix, "", unix.MS_BIND, ""),
		unix.Mount("", "/", "", unix.MS_SHARED, "")); err != nil {
		return fmt.Errorf("make a mount namespace: %w", err)
	}
	c := launcher.Config{View: prefix + "/view", Host: prefix + "/.hashpkg/host", Program: "/usr/bin/true", Prefix: prefix}
	for _, d := range []string{c.Host + "/usr", c.Host + "/view", c.View} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	for _, name := range []string{"bin", "lib", "share", "sbin", "libexec", "include", "games"} {
		file := filepath.Join(c.View, "usr", name, "of-view")
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(file, nil, 0o644); err != nil {
			return err
		}
	}
	program, waiting := prefix+"/true", prefix+"/cat"
	for path, target := range map[string]string{program: "/usr/bin/true", waiting: "/usr/bin/cat"} {
		c.Program = target
		b, err := launcher.New(runtime.GOARCH, c)
		if err != nil {
			return err
		}
		if err := os.WriteFile(path, b, 0o755); err != nil {
			return err
		}
	}
	root, user := uint32(0), uint32(viewUser)
	compare := func(among string, targets [2]string) error {
		for i, uid := range []uint32{root, user} {
			added, plain, err := startOver(program, "/usr/bin/true", uid)
			if err != nil {
				return err
			}
			h.add(fmt.Sprintf("start in a view as %s%s", [2]string{"root", "a user"}[i], among),
				fmt.Sprintf("+%.2f ms", added.Seconds()*1e3), fmt.Sprintf("alone %.2f ms", plain.Seconds()*1e3), targets[i])
		}
		return nil
	}
	targets := [2]string{"at most +0.50 ms", "at most +0.60 ms"}
	if err := compare("", targets); err != nil {
		return err
	}
	var stop []func() error
	for i := range manyViews {
		end, err := waitInView(waiting, []uint32{root, user}[i%2])
		if err != nil {
			return err
		}
		stop = append(stop, end)
	}
	err := compare(fmt.Sprintf(", among %d views", manyViews), targets)
	for _, end := range stop {
		err = errors.Join(err, end())
	}
	if err != nil {
		return err
	}
	for i := range moreMounts {
		target := fmt.Sprintf("%s/mounts/%d", prefix, i)
		if err := errors.Join(os.MkdirAll(target, 0o755), unix.Mount("bench", target, "tmpfs", 0, "")); err != nil {
			return err
		}
	}
	return compare(fmt.Sprintf(", with %d more mounts", moreMounts), [2]string{})
}

// waitInView starts a program that waits, and returns what ends it.
func waitInView(program string, uid uint32) (end func() error, err error) {
	cmd := exec.Command(program)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	end = func() error { return errors.Join(in.Close(), cmd.Wait()) }
	if _, err := in.Write([]byte("x")); err != nil {
		return nil, errors.Join(err, end())
	}
	if _, err := io.ReadFull(out, make([]byte, 1)); err != nil {
		return nil, errors.Join(err, end())
	}
	return end, nil
}

// startOver returns what a program takes beyond another, and what the other takes: of
// each the time that a tenth of its runs stay below, for they are short, and whatever
// else the machine does makes single ones longer.
func startOver(program, other string, uid uint32) (added, plain time.Duration, err error) {
	var took [2][]time.Duration
	for i := range viewRuns + 20 {
		for j, path := range []string{other, program} {
			start := time.Now()
			pid, _, err := syscall.StartProcess(path, []string{"true"}, &syscall.ProcAttr{
				Files: []uintptr{0, 1, 2}, Sys: &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}},
			})
			if err != nil {
				return 0, 0, fmt.Errorf("start %s: %w", path, err)
			}
			var status syscall.WaitStatus
			if _, err := syscall.Wait4(pid, &status, 0, nil); err != nil {
				return 0, 0, err
			}
			if i >= 20 {
				took[j] = append(took[j], time.Since(start))
			}
			if status != 0 {
				return 0, 0, fmt.Errorf("%s as %d: status %v", path, uid, status)
			}
		}
	}
	for j := range took {
		slices.Sort(took[j])
	}
	plain = took[0][viewRuns/10]
	return took[1][viewRuns/10] - plain, plain, nil
}
