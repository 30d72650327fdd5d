// Package sandbox runs one program apart from the machine: in a root that is put together
// for it, where it can write to one new directory in memory only.
//
// [Box.Run] starts the running program's own file once more, which makes that root and
// becomes the program. So the first thing that a main, or a TestMain, does is to call
// [Main]. Without that a Box must not be run.
//
// # What the program is
//
// It has namespaces of its own for mounts, processes, the network (in which there is
// none), IPC and the host's name. All mounts but its directory are read-only, without
// setuid bits and without devices beyond null, zero, full and random ones. There is no
// /proc and no /sys, nothing of /etc, and no file descriptor but the three standard ones.
// It runs as nobody when root starts it, and as the caller otherwise; it has no
// capability, and cannot get any (PR_SET_NO_NEW_PRIVS).
//
// With [Box.Writes] it has a /proc with its own processes, and is root of a user namespace, with those capabilities alone that are about
// files in what it may write to, and about becoming somebody else. It has none over the
// machine, and no devices, mounts or files of others can be made or reached by them.
//
// Its time, the memory of each process, and the size and number of the files that it makes
// are bounded.
package sandbox

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/internal/beneath"
)

// Box is a root for one program, and the program. Paths are absolute in it.
type Box struct {
	// Usr are directories that are laid over one another at /usr, the first on top.
	Usr []*beneath.Dir
	// Dirs are directories by the path where they are shown, and Links symbolic links.
	Dirs  map[string]*beneath.Dir
	Links map[string]string

	// Out is the directory that the program may write to, which has the symbolic links
	// OutLinks, by their names below it, in the beginning.
	Out      string
	OutLinks map[string]string

	// Writes are paths where the program may change what Usr and Dirs show there, or make
	// files where they show nothing. The directories stay as they are: what is changed and
	// new stands below [Output.Dir], by the name of its path. The program runs as root of
	// a user namespace then, which only root can have made: it may give files to other
	// users, and become them. The place of Out is not shown to it.
	Writes []string

	// Time is how long the program may take, 2 minutes if it is 0; so much time of a processor each
	// of its processes may use.
	Time time.Duration

	Args []string // the program's path, and its arguments
	Env  []string
}

// mappedIDs is how many users and groups there are in the namespace of a program that writes:
// all that packages have files of.
const mappedIDs = 1 << 16

// Bounds of what a program may take.
const (
	usualTime = 2 * time.Minute
	maxMemory = 4 << 30 // bytes of memory of each process
	// maxReserved is how many bytes of address space each process of a box that writes has: a
	// Java machine keeps as much for itself as a quarter of the memory there is.
	maxReserved = 256 << 30
	maxOut      = 512 << 20 // bytes in Out
	maxFiles    = 50_000    // in Out
	maxPrint    = 16 << 20  // bytes on standard output
	maxSaid     = 4 << 10   // bytes on standard error
)

// Output is what a program has left.
type Output struct {
	Printed []byte       // on its standard output
	Dir     *beneath.Dir // Box.Out, which the caller closes; it is in memory. With Box.Writes, whatever the program made of it: links, whiteouts of overlayfs, any owner and mode
}

// Error says that a program could not be run, or has failed.
type Error struct {
	Program string
	Said    string   // the last line on its standard error, or why it could not be run
	Lines   []string // the last of all lines there, up to 4 KiB
	Err     error
}

func (e *Error) Error() string {
	if e.Said == "" {
		return fmt.Sprintf("%s: %v", e.Program, e.Err)
	}
	return fmt.Sprintf("%s: %v: %s", e.Program, e.Err, e.Said)
}

// Unwrap returns what went wrong.
func (e *Error) Unwrap() error { return e.Err }

// HasFailed reports whether the program has run and ended by itself, with a status of failure: on another
// machine it would, too.
func (e *Error) HasFailed() bool {
	var exit *exec.ExitError
	return errors.As(e.Err, &exit) && exit.Exited() && exit.ExitCode() != notRun
}

// notRun is the status of a box that could not be made, or whose program could not be executed.
const notRun = 126

// name is what the program that makes the root is called, by which Main knows it.
const name = "hashpkg-sandbox"

// The file descriptors that it is started with, beside the standard ones: a pipe with a
// plan, a socket for the handle of Out, and the directories of the plan.
const (
	planFD = 3 + iota
	outFD
	firstDirFD
)

// plan is a Box for the program that makes it. Directories are file descriptors.
type plan struct {
	Usr      []int
	Dirs     map[string]int
	Links    map[string]string
	Out      string
	OutLinks map[string]string
	Writes   []string
	Time     time.Duration
	Args     []string
	Env      []string
}

// ErrTime is wrapped by the error about a program that took longer than Box.Time.
var ErrTime = errors.New("it has not ended")

// ErrNotRoot says that only root can run a program that writes.
var ErrNotRoot = errors.New("only root can run a program that changes files as root")

// Run runs the program and waits for its end. The error is an [*Error] when it fails, or
// cannot be run here, and that of ctx when that ends.
func (b *Box) Run(ctx context.Context) (out *Output, err error) {
	if len(b.Writes) > 0 && os.Geteuid() != 0 {
		return nil, &Error{b.Args[0], "", nil, ErrNotRoot}
	}
	limit := cmp.Or(b.Time, usualTime)
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("%w after %v", ErrTime, limit))
	defer cancel()
	// The kernel ends the program with the thread that has started it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	var files []*os.File
	defer func() {
		for _, f := range files {
			_ = f.Close() // nothing is written through it
		}
	}()
	p := plan{Dirs: map[string]int{}, Links: b.Links, Out: b.Out, OutLinks: b.OutLinks, Writes: b.Writes, Time: limit, Args: b.Args, Env: b.Env}
	add := func(d *beneath.Dir) (int, error) {
		fd, err := unix.FcntlInt(uintptr(d.Fd()), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			return 0, fmt.Errorf("run %s: %w", b.Args[0], err)
		}
		files = append(files, os.NewFile(uintptr(fd), d.Name()))
		return firstDirFD + len(files) - 1, nil
	}
	for _, d := range b.Usr {
		fd, err := add(d)
		if err != nil {
			return nil, err
		}
		p.Usr = append(p.Usr, fd)
	}
	for at, d := range b.Dirs {
		if p.Dirs[at], err = add(d); err != nil {
			return nil, err
		}
	}
	text, err := json.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("run %s: %w", b.Args[0], err)
	}
	return run(ctx, b.Args[0], text, files, len(b.Writes) > 0)
}

// run starts the program that makes the root of a plan. dirs are the plan's directories,
// and writes says that its program changes files as root.
func run(ctx context.Context, program string, plan []byte, dirs []*os.File, writes bool) (out *Output, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var said tail
	fail := func(err error) error {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		lines := said.lines()
		return &Error{program, lines[len(lines)-1], lines, err}
	}
	reader, writer, err := os.Pipe()
	if err != nil {
		return nil, fail(err)
	}
	defer reader.Close()
	defer writer.Close()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fail(err)
	}
	ours, its := os.NewFile(uintptr(pair[0]), "socket"), os.NewFile(uintptr(pair[1]), "socket")
	defer ours.Close()
	defer its.Close()

	printed := limited{left: maxPrint, over: func() { cancel(fmt.Errorf("it prints more than %d bytes", maxPrint)) }}
	cmd := exec.CommandContext(ctx, "/proc/self/exe")
	cmd.Args, cmd.Env = []string{name}, []string{}
	cmd.Stdout, cmd.Stderr = &printed, &said
	cmd.ExtraFiles = append([]*os.File{reader, its}, dirs...)
	cmd.WaitDelay = 5 * time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS,
		Pdeathsig:  unix.SIGKILL, Setsid: true,
	}
	if uid, gid := os.Geteuid(), os.Getegid(); uid != 0 {
		cmd.SysProcAttr.Cloneflags |= unix.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: uid, HostID: uid, Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: gid, HostID: gid, Size: 1}}
		cmd.SysProcAttr.AmbientCaps = []uintptr{unix.CAP_SYS_ADMIN, unix.CAP_SYS_CHROOT} // in the namespace
	}
	if writes {
		cmd.SysProcAttr.Cloneflags |= unix.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{Size: mappedIDs}}
		cmd.SysProcAttr.GidMappings = cmd.SysProcAttr.UidMappings
		cmd.SysProcAttr.GidMappingsEnableSetgroups = true
	}
	if err := cmd.Start(); err != nil {
		return nil, fail(err)
	}
	// When the program has gone, nobody has the other ends.
	cerr := errors.Join(reader.Close(), its.Close())
	_, werr := writer.Write(plan)
	werr = errors.Join(werr, writer.Close())
	dir, rerr := receiveDir(int(ours.Fd()))
	err = cmd.Wait()
	if err == nil {
		err = errors.Join(cerr, werr, rerr)
	}
	if err != nil {
		if dir != nil {
			err = errors.Join(err, dir.Close())
		}
		return nil, fail(err)
	}
	return &Output{printed.b.Bytes(), dir}, nil
}

// receiveDir receives the handle of a directory.
func receiveDir(socket int) (*beneath.Dir, error) {
	oob := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := unix.Recvmsg(socket, make([]byte, 1), oob, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("receive a directory: %w", err)
	}
	messages, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil || len(messages) == 0 {
		return nil, errors.Join(errors.New("receive a directory: none was sent"), err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return nil, errors.Join(errors.New("receive a directory: none was sent"), err)
	}
	received := os.NewFile(uintptr(fds[0]), "directory")
	defer received.Close()
	return beneath.Open(fmt.Sprintf("/proc/self/fd/%d", fds[0]))
}

// limited keeps what is written to it, up to so many bytes, and calls over when there are more.
type limited struct {
	b    bytes.Buffer
	left int
	over func()
}

func (l *limited) Write(b []byte) (int, error) {
	if len(b) > l.left {
		l.over()
		return 0, io.ErrShortWrite
	}
	l.left -= len(b)
	return l.b.Write(b)
}

// tail keeps the end of what is written to it.
type tail struct{ b []byte }

func (t *tail) Write(b []byte) (int, error) {
	t.b = append(t.b, b...)
	t.b = t.b[max(0, len(t.b)-maxSaid):]
	return len(b), nil
}

// lines returns the lines, without what a terminal would take for a command: one at least,
// which is empty when there is nothing.
func (t *tail) lines() []string {
	lines := strings.Split(strings.TrimSpace(string(t.b)), "\n")
	for i, text := range lines {
		text = strings.Map(func(r rune) rune {
			if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
				return '?'
			}
			return r
		}, strings.ToValidUTF8(text, "?"))
		if len(text) > 300 {
			text = strings.ToValidUTF8(text[:300], "") + "..."
		}
		lines[i] = text
	}
	return lines
}
