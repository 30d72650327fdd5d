package testroot

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hashpkg/hashpkg/internal/archive"
	"github.com/hashpkg/hashpkg/internal/testneed"
)

// BootPackages are what a root needs besides apt to be booted: a small kernel
// for virtual machines, and what makes and fills the initial file system.
var BootPackages = []string{"linux-image-cloud-amd64", "initramfs-tools", "busybox", "kmod", "udev"}

// BootOptions says how [Root.Boot] starts a root. The zero value is good.
type BootOptions struct {
	// Disk boots the root itself, from a disk that is a copy of it as it is now,
	// to a shell that is its first process. Otherwise only the initial file system
	// is booted, to the shell that initramfs-tools offers before it looks for a
	// root (break=premount).
	Disk bool

	Append  string        // further arguments of the kernel; the last of a kind decides
	Timeout time.Duration // until the shell answers; five minutes if 0
	Memory  int           // MiB; 768 if 0
}

// Machine is a virtual machine with a shell on its serial console.
type Machine struct {
	root   *Root
	cmd    *exec.Cmd
	cancel context.CancelFunc
	stdin  io.WriteCloser
	exited chan struct{}
	runs   int

	// Took is how long it was until the shell answered.
	Took time.Duration

	mu      sync.Mutex
	console bytes.Buffer
	more    chan struct{} // has a token when console has grown
}

// Boot starts the root's newest kernel and its initial file system in a
// virtual machine that is emulated (no KVM is needed) and returns when a shell
// answers on its console. It ends with the test. The machine has no network,
// and what it writes to its disk is lost.
//
// The root must be one for amd64 with [BootPackages]. The test is skipped when
// there is no qemu.
func (r *Root) Boot(o BootOptions) *Machine {
	r.tb.Helper()
	m, err := r.boot(o)
	if errors.Is(err, archive.ErrNoTool) {
		testneed.Unmet(r.tb, err)
	}
	if err != nil {
		r.tb.Fatalf("boot the root: %v", err)
	}
	return m
}

func (r *Root) boot(o BootOptions) (*Machine, error) {
	if err := needTool("qemu-system-x86_64", "qemu-system-x86"); err != nil {
		return nil, err
	}
	kernel, err := r.newest("vmlinuz-")
	if err != nil {
		return nil, err
	}
	initrd, err := r.newest("initrd.img-")
	if err != nil {
		return nil, err
	}
	args := []string{
		"-accel", "tcg", "-cpu", "max", "-smp", "1", "-m", strconv.Itoa(cmp.Or(o.Memory, 768)),
		"-nodefaults", "-no-user-config", "-display", "none", "-monitor", "none", "-net", "none", "-no-reboot",
		"-serial", "stdio", "-kernel", kernel, "-initrd", initrd,
	}
	// No panic=: initramfs-tools would offer no shell then.
	kernelArgs := "console=ttyS0 loglevel=3 "
	if o.Disk {
		image, err := r.diskImage()
		if err != nil {
			return nil, err
		}
		args = append(args, "-drive", "if=virtio,format=raw,snapshot=on,file="+image)
		kernelArgs += "root=/dev/vda rw init=/bin/sh "
	} else {
		kernelArgs += "break=premount "
	}
	args = append(args, "-append", kernelArgs+o.Append)

	ctx, cancel := context.WithCancel(context.Background())
	m := &Machine{root: r, cancel: cancel, exited: make(chan struct{}), more: make(chan struct{}, 1)}
	m.cmd = exec.CommandContext(ctx, "qemu-system-x86_64", args...)
	m.cmd.Env = append(os.Environ(), "TMPDIR="+r.scratch) // for what the machine writes to its disk
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setsid: true}
	m.cmd.Stdout, m.cmd.Stderr = m, m
	if m.stdin, err = m.cmd.StdinPipe(); err != nil {
		cancel()
		return nil, err
	}
	start := time.Now()
	if err := m.cmd.Start(); err != nil {
		cancel()
		return nil, err
	}
	go func() {
		m.cmd.Wait() //nolint:errcheck // it is killed in the end; the console says what went wrong before
		close(m.exited)
	}()
	r.tb.Cleanup(m.Stop)
	if err := m.waitForShell(cmp.Or(o.Timeout, 5*time.Minute)); err != nil {
		return nil, fmt.Errorf("%w; the console's end:\n%s", err, tail(m.Console(), 30))
	}
	m.Took = time.Since(start)
	return m, nil
}

// newest returns the machine's path of the kernel's file with that prefix, of
// the highest version.
func (r *Root) newest(prefix string) (string, error) {
	files, err := filepath.Glob(filepath.Join(r.Path("/boot"), prefix+"*"))
	if err != nil {
		return "", err
	}
	newest := ""
	for _, file := range files {
		version := strings.TrimPrefix(filepath.Base(file), prefix)
		if newest == "" || exec.Command("dpkg", "--compare-versions", version, "gt", strings.TrimPrefix(filepath.Base(newest), prefix)).Run() == nil {
			newest = file
		}
	}
	if newest == "" {
		return "", fmt.Errorf("there is no /boot/%s* in the root; it needs BootPackages", prefix)
	}
	return newest, nil
}

// diskImage writes the root to a file system of its own, without mounting it.
func (r *Root) diskImage() (string, error) {
	if err := needTool("mke2fs", "e2fsprogs"); err != nil {
		return "", err
	}
	var size, files int64
	err := filepath.Walk(r.Dir, func(_ string, info os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		files++
		size += (info.Size() + 4095) / 4096 * 4096
		return nil
	})
	if err != nil {
		return "", err
	}
	image := filepath.Join(r.scratch, "disk.img")
	if err := os.Remove(image); err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	kib := size/1024*5/4 + files/2 + 256*1024
	return image, run(exec.Command("mke2fs", "-q", "-t", "ext4", "-d", r.Dir, image, fmt.Sprintf("%dk", kib)))
}

// Write takes what the machine writes to its console.
func (m *Machine) Write(b []byte) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range b {
		if c != '\r' {
			m.console.WriteByte(c)
		}
	}
	select {
	case m.more <- struct{}{}:
	default:
	}
	return len(b), nil
}

// Console returns all that was on the machine's console up to now.
func (m *Machine) Console() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.console.String()
}

// wait waits until done says of the console that it is.
func (m *Machine) wait(ctx context.Context, done func(console string) bool) error {
	for !done(m.Console()) {
		if strings.Contains(m.Console(), "end Kernel panic") {
			return errors.New("the kernel panicked")
		}
		select {
		case <-m.more:
		case <-m.exited:
			if done(m.Console()) {
				return nil
			}
			return errors.New("the machine has ended")
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// waitForShell asks until somebody answers: what is typed before the shell
// listens may be lost.
func (m *Machine) waitForShell(limit time.Duration) error {
	deadline := time.Now().Add(limit)
	for {
		// The console echoes what is typed: the answer must not be in the question.
		if _, err := io.WriteString(m.stdin, "echo \"=\"=ready\n"); err != nil {
			return fmt.Errorf("type on the console: %v", err)
		}
		ctx, cancel := context.WithDeadline(context.Background(), minTime(deadline, time.Now().Add(2*time.Second)))
		err := m.wait(ctx, func(console string) bool { return strings.Contains(console, "\n==ready\n") })
		cancel()
		if err == nil || !errors.Is(err, context.DeadlineExceeded) {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("no shell after %v", limit)
		}
	}
}

func minTime(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// RunErr has the machine's shell run a command, which must be one line, and
// returns what it said, with the kernel's messages in between, and its status.
// An error is one of the machine. ctx without a limit means five minutes.
func (m *Machine) RunErr(ctx context.Context, command string) (out string, status int, err error) {
	if strings.Contains(command, "\n") || len(command) > 3000 { // a line of a terminal has 4095 bytes
		return "", 0, errors.New("a command for the console must be one short line")
	}
	if _, limited := ctx.Deadline(); !limited {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, 5*time.Minute)
		defer cancel()
	}
	m.runs++
	begin, end := fmt.Sprintf("\n==begin-%d\n", m.runs), fmt.Sprintf("\n==end-%d ", m.runs)
	line := fmt.Sprintf("echo; echo \"=\"=begin-%[1]d; { %[2]s; } 2>&1 </dev/null; status=$?; echo; echo \"=\"=end-%[1]d $status\n", m.runs, command)
	if _, err := io.WriteString(m.stdin, line); err != nil {
		return "", 0, fmt.Errorf("type on the console: %v", err)
	}
	cut := func(console string) (out, status string, ok bool) {
		_, console, ok = strings.Cut(console, begin)
		if !ok {
			return "", "", false
		}
		out, console, ok = strings.Cut("\n"+console, end)
		if !ok {
			return out, "", false
		}
		status, _, ok = strings.Cut(console, "\n")
		return out, status, ok
	}
	err = m.wait(ctx, func(console string) bool { _, _, ok := cut(console); return ok })
	out, number, _ := cut(m.Console())
	out = strings.TrimPrefix(out, "\n")
	if err != nil {
		return out, 0, fmt.Errorf("run %q in the machine: %w; the console's end:\n%s", command, err, tail(m.Console(), 30))
	}
	status, err = strconv.Atoi(number)
	return out, status, err
}

// Run is RunErr for a command that must succeed.
func (m *Machine) Run(command string) string {
	m.root.tb.Helper()
	out, status, err := m.RunErr(context.Background(), command)
	if err == nil && status != 0 {
		err = fmt.Errorf("run %q in the machine: status %d\n%s", command, status, tail(out, 30))
	}
	if err != nil {
		m.root.tb.Fatal(err)
	}
	return out
}

// Stop ends the machine, as if its power was cut.
func (m *Machine) Stop() {
	m.cancel()
	<-m.exited
}
