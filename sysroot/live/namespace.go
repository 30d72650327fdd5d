package live

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/launcher"
	"github.com/hashpkg/hashpkg/layout"
)

// namespace is a mount namespace whose processes see a view.
type namespace struct {
	view
	processes []*process // in it
	self      *os.File
	user      *os.File   // the user namespace that it belongs to
	owner     int        // who made that
	ours      bool       // it is this process's own
	trees     []*os.File // the directories of its views, if it is ours: one alone is compared with what is mounted
}

// process is one in /proc. What is read through dir is of it and of no other that has got
// its number since.
type process struct {
	pid int
	dir *os.File
}

func openProcess(pid int) (*process, error) {
	dir, err := os.OpenFile(fmt.Sprintf("/proc/%d", pid), unix.O_PATH|unix.O_DIRECTORY, 0)
	return &process{pid, dir}, err
}

func (p *process) open(name string, flags int) (*os.File, error) {
	fd, err := unix.Openat(int(p.dir.Fd()), name, flags|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

// maxProc bounds what is read of a process: its mounts are no more than a kernel lets
// anybody have, by default, of common length.
const maxProc = 32 << 20

func (p *process) readlink(name string) (string, error) {
	b := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(int(p.dir.Fd()), name, b)
	if err != nil {
		return "", err
	}
	return string(b[:n]), nil
}

func (p *process) read(name string) (string, error) {
	f, err := p.open(name, unix.O_RDONLY)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxProc))
	return string(b), err
}

// name is the process's own word, and printable.
func (p *process) name() string {
	text, err := p.read("comm")
	if err != nil {
		return ""
	}
	return strings.Map(func(c rune) rune {
		if !unicode.IsPrint(c) {
			return -1
		}
		return c
	}, text)
}

// openNamespace finds out whom the namespace of a process belongs to.
func (n *namespace) open(p *process, ownUser uint64) (err error) {
	if n.self, err = p.open("ns/mnt", unix.O_RDONLY); err != nil {
		return err
	}
	fd, err := unix.IoctlRetInt(int(n.self.Fd()), unix.NS_GET_USERNS)
	if err != nil {
		return fmt.Errorf("ask whose namespace it is: %w", err)
	}
	n.user = os.NewFile(uintptr(fd), "user namespace")
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if st.Ino == ownUser {
		n.ours = true
		return nil
	}
	owner, err := unix.IoctlGetUint32(fd, unix.NS_GET_OWNER_UID)
	if err != nil {
		return fmt.Errorf("ask whose namespace it is: %w", err)
	}
	n.owner = int(owner)
	return nil
}

func (n *namespace) close() {
	for _, p := range n.processes {
		_ = p.dir.Close() // through which nothing is written, as through those below
	}
	for _, f := range append(n.trees, n.self, n.user) {
		if f != nil {
			_ = f.Close()
		}
	}
}

// openTrees opens the directories of the views that are seen, in that of all views. The error is
// fs.ErrNotExist if one is not there: of several that are seen together, no more is asked.
func (n *namespace) openTrees(views string) error {
	for _, id := range n.ids {
		f, err := os.OpenFile(path.Join(views, id), unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
		if err != nil {
			return err
		}
		n.trees = append(n.trees, f)
	}
	return nil
}

var errOwner = errors.New("none of its processes has the user that made the namespace")

// credential returns the user and groups of a process that the namespace belongs to.
func (n *namespace) credential() (*syscall.Credential, error) {
	for _, p := range n.processes {
		status, err := p.read("status")
		if err != nil {
			continue // it has ended
		}
		if c := parseStatus(status); c != nil && c.Uid == uint32(n.owner) {
			return c, nil
		}
	}
	return nil, errOwner
}

// parseStatus returns the effective user and groups that proc_pid_status(5) names; nil for what
// is not of that form.
func parseStatus(status string) *syscall.Credential {
	c := &syscall.Credential{}
	found := 0
	for line := range strings.Lines(status) {
		name, rest, _ := strings.Cut(line, ":")
		var ids []uint32
		if name != "Uid" && name != "Gid" && name != "Groups" {
			continue
		}
		for _, field := range strings.Fields(rest) {
			id, err := strconv.ParseUint(field, 10, 32)
			if err != nil {
				return nil
			}
			ids = append(ids, uint32(id))
		}
		switch {
		case name == "Groups":
			c.Groups = ids
		case len(ids) < 2:
			return nil
		case name == "Uid":
			c.Uid = ids[1]
			found++
		default:
			c.Gid = ids[1]
			found++
		}
	}
	if found != 2 {
		return nil
	}
	return c
}

// isStoodOn reports whether a process executes a file of the newest overlay, or of what is mounted below
// it, or has its directory there: its paths would lead nowhere when these are taken away.
func (n *namespace) isStoodOn() bool {
	for _, p := range n.processes {
		for _, name := range []string{"exe", "cwd", "root"} {
			f, err := p.open(name, unix.O_PATH)
			if err != nil {
				continue
			}
			info, err := os.ReadFile(fmt.Sprintf("/proc/self/fdinfo/%d", f.Fd()))
			_ = f.Close() // it is a path only
			_, rest, ok := strings.Cut(string(info), "mnt_id:\t")
			if mount, _, _ := strings.Cut(rest, "\n"); err != nil || !ok || n.view.mounts[mount] {
				return true
			}
		}
	}
	return false
}

// grace is how long a killed child has to end.
const grace = 200 * time.Millisecond

// refresh has a child enter the namespace. usr is the root's.
func (n *namespace) refresh(ctx context.Context, usr *os.File) error {
	how, tree := "", usr // any
	var as *syscall.Credential
	switch {
	case n.ours && n.joined:
		// What several views are shown by is a directory of the namespace's own. Only root has mounted it.
	case n.ours:
		how += launcher.RefreshCompare
		tree = n.trees[0]
	default:
		how += launcher.RefreshOfUser
		var err error
		if as, err = n.credential(); err != nil {
			return err
		}
	}
	if n.depth > 1 && !n.isStoodOn() {
		how += launcher.RefreshBeneath
	}
	b, err := launcher.Refresher(runtime.GOARCH, n.host, strings.TrimSuffix(n.host, "/"+layout.HostDir))
	if err != nil {
		return err
	}
	program, err := unreadable(b)
	if err != nil {
		return err
	}
	defer program.Close()
	files := []*os.File{launcher.RefreshMounts - 3: n.self, launcher.RefreshUser - 3: n.user, launcher.RefreshUsr - 3: usr, launcher.RefreshView - 3: tree, 4: program}
	var said bytes.Buffer
	cmd := &exec.Cmd{
		Path: "/proc/self/fd/7", Args: []string{"hashpkg", how}, Env: []string{}, Dir: "/", ExtraFiles: files, Stderr: &said,
		SysProcAttr: &syscall.SysProcAttr{Setsid: true, Credential: as},
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	// It may hang in what the namespace's user has mounted there, where nothing ends it: then it is left.
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err = <-ended:
	case <-ctx.Done():
		_ = cmd.Process.Kill()
		select {
		case err = <-ended:
		case <-time.After(grace):
			return errTime
		}
		if err != nil {
			return errTime
		}
	}
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit) && exit.ExitCode() == launcher.RefreshNotOurs:
		return nil
	case errors.As(err, &exit) && said.Len() > 0:
		return errors.New(said.String())
	}
	return err
}

var errTime = errors.New("its user's mounts do not answer")

// unreadable returns a program in a file that is in no directory. That none but root may read it
// keeps its user from tracing it.
func unreadable(program []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate("refresh", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "refresh")
	if _, err = f.Write(program); err == nil {
		err = f.Chmod(0o111)
	}
	if err == nil {
		// Who has it open for writing may not execute it.
		var again *os.File
		again, err = os.Open(fmt.Sprintf("/proc/self/fd/%d", fd))
		return again, errors.Join(err, f.Close())
	}
	return nil, errors.Join(err, f.Close())
}
