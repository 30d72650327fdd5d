package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"path"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// nobody is the user and the group that programs run as which root has started.
const nobody = 65534

// Main makes the root of a box and becomes its program, if the process is one that
// [Box.Run] has started; otherwise it returns at once.
func Main() {
	if os.Args[0] != name {
		return
	}
	runtime.LockOSThread()
	err := inside()
	fmt.Fprintln(os.Stderr, err)
	os.Exit(notRun)
}

// inside does not return unless something fails.
func inside() error {
	text, err := io.ReadAll(os.NewFile(planFD, "plan"))
	if err != nil {
		return fmt.Errorf("read what to do: %w", err)
	}
	var p plan
	if err := json.Unmarshal(text, &p); err != nil {
		return fmt.Errorf("read what to do: %w", err)
	}
	for i := range p.Usr {
		if p.Usr[i], err = reopen(p.Usr[i]); err != nil {
			return err
		}
	}
	for at := range p.Dirs {
		if p.Dirs[at], err = reopen(p.Dirs[at]); err != nil {
			return err
		}
	}
	root, err := newRoot()
	if err != nil {
		return err
	}
	r := builder{root: fmt.Sprintf("/proc/self/fd/%d", root)}
	if err := r.fill(&p); err != nil {
		return err
	}
	if err := enter(root); err != nil {
		return err
	}
	if err := renounce(len(p.Writes) > 0, p.Time); err != nil {
		return err
	}
	return fmt.Errorf("execute it: %w", unix.Exec(p.Args[0], p.Args, p.Env))
}

// reopen opens a directory again: its handle is of the mount namespace of the one who has
// opened it, and cannot be mounted in another one.
func reopen(fd int) (int, error) {
	name, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
	if err != nil {
		return -1, fmt.Errorf("find a directory: %w", err)
	}
	again, err := unix.Open(name, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open %s: %w", name, err)
	}
	var before, after unix.Stat_t
	if err := errors.Join(unix.Fstat(fd, &before), unix.Fstat(again, &after)); err != nil {
		return -1, fmt.Errorf("look at %s: %w", name, err)
	}
	if before.Dev != after.Dev || before.Ino != after.Ino {
		return -1, fmt.Errorf("%s is another directory by now", name)
	}
	return again, nil
}

// newRoot lays an empty file system over the root, and returns its top.
func newRoot() (int, error) {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return -1, fmt.Errorf("keep mounts from the machine: %w", err)
	}
	fs, err := unix.Fsopen("tmpfs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("make a root: %w", err)
	}
	for _, o := range [][2]string{{"mode", "755"}, {"size", "64m"}} {
		if err := unix.FsconfigSetString(fs, o[0], o[1]); err != nil {
			return -1, fmt.Errorf("make a root: %w", err)
		}
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return -1, fmt.Errorf("make a root: %w", err)
	}
	root, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV)
	if err != nil {
		return -1, fmt.Errorf("make a root: %w", err)
	}
	if err := unix.MoveMount(root, "", unix.AT_FDCWD, "/", unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return -1, fmt.Errorf("mount a root: %w", err)
	}
	return root, nil
}

// builder fills a root, which is at a path by its handle.
type builder struct{ root string }

func (r builder) fill(p *plan) error {
	if len(p.Writes) > 0 {
		if err := r.tmpfs(p.Out, "755"); err != nil {
			return err
		}
	}
	if err := r.usr(p); err != nil {
		return err
	}
	for to, target := range p.Links {
		if err := r.link(target, to); err != nil {
			return err
		}
	}
	for _, at := range p.Writes {
		if at == "/usr" {
			continue
		}
		var lower []int
		if fd, shown := p.Dirs[at]; shown {
			lower = []int{fd}
		}
		if err := r.layer(p, at, lower); err != nil {
			return err
		}
	}
	for _, at := range slices.Sorted(maps.Keys(p.Dirs)) { // a directory before those below it
		if slices.Contains(p.Writes, at) {
			continue
		}
		if err := r.bind(fmt.Sprintf("/proc/self/fd/%d", p.Dirs[at]), at, unix.MOUNT_ATTR_NODEV); err != nil {
			return err
		}
	}
	for _, device := range []string{"null", "zero", "full", "random", "urandom"} {
		at := "/dev/" + device
		if err := r.dir("/dev"); err != nil {
			return err
		}
		if err := os.WriteFile(r.root+at, nil, 0o444); err != nil {
			return fmt.Errorf("make %s: %w", at, err)
		}
		if err := r.mount(at, at, 0); err != nil {
			return err
		}
	}
	if err := r.tmpfs("/tmp", "1777"); err != nil {
		return err
	}
	if len(p.Writes) == 0 {
		return r.out(p)
	}
	if err := r.tmpfs("/run", "755"); err != nil {
		return err
	}
	if err := r.processes(); err != nil {
		return err
	}
	if err := r.sendOut(p.Out); err != nil {
		return err
	}
	if err := unix.Unmount(r.root+p.Out, unix.MNT_DETACH); err != nil {
		return fmt.Errorf("hide %s: %w", p.Out, err)
	}
	return nil
}

// processes makes a /proc that has the program's processes and nothing of the kernel's, where
// the kernel can do that (5.8).
func (r builder) processes() error {
	if err := r.dir("/proc"); err != nil {
		return err
	}
	flags := uintptr(unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC)
	err := unix.Mount("proc", r.root+"/proc", "proc", flags, "subset=pid")
	if err != nil && !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("mount /proc: %w", err)
	}
	return nil
}

// tmpfs makes a directory in memory.
func (r builder) tmpfs(at, mode string) error {
	if err := r.dir(at); err != nil {
		return err
	}
	options := fmt.Sprintf("mode=%s,size=%d,nr_inodes=%d", mode, maxOut, maxFiles)
	if err := unix.Mount("tmpfs", r.root+at, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, options); err != nil {
		return fmt.Errorf("mount %s: %w", at, err)
	}
	return nil
}

// out makes the directory that the program may write to, and sends its handle.
func (r builder) out(p *plan) error {
	if err := r.tmpfs(p.Out, "755"); err != nil {
		return err
	}
	made := map[string]bool{p.Out: true}
	for _, to := range slices.Sorted(maps.Keys(p.OutLinks)) {
		at := path.Join(p.Out, to)
		if err := r.link(p.OutLinks[to], at); err != nil {
			return err
		}
		for dir := path.Dir(at); !made[dir]; dir = path.Dir(dir) {
			made[dir] = true
		}
	}
	if os.Geteuid() == 0 {
		for dir := range made {
			if err := os.Chown(r.root+dir, nobody, nobody); err != nil {
				return fmt.Errorf("give %s away: %w", dir, err)
			}
		}
	}
	return r.sendOut(p.Out)
}

// sendOut sends the handle of the directory that the program's files come to.
func (r builder) sendOut(at string) error {
	out, err := unix.Open(r.root+at, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", at, err)
	}
	if err := unix.Sendmsg(outFD, []byte{0}, unix.UnixRights(out), nil, 0); err != nil {
		return fmt.Errorf("send %s: %w", at, err)
	}
	return nil
}

// layer shows directories over one another, the first on top, with what the program changes
// in p.Out.
func (r builder) layer(p *plan, at string, dirs []int) error {
	upper, work := path.Join(p.Out, at), path.Join(p.Out, ".work", at)
	for _, dir := range []string{at, upper, work} {
		if err := r.dir(dir); err != nil {
			return err
		}
	}
	if len(dirs) == 0 {
		if err := unix.Mount(r.root+upper, r.root+at, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("mount %s: %w", at, err)
		}
		return nil
	}
	options := fmt.Sprintf("userxattr,lowerdir=%s,upperdir=%s,workdir=%s", strings.Join(handles(dirs), ":"), r.root+upper, r.root+work)
	if err := unix.Mount("overlay", r.root+at, "overlay", unix.MS_NOSUID|unix.MS_NODEV, options); err != nil {
		return fmt.Errorf("mount %s: %w", at, err)
	}
	return nil
}

// handles returns paths by which directories are mounted.
func handles(dirs []int) []string {
	paths := make([]string, len(dirs))
	for i, fd := range dirs {
		paths[i] = fmt.Sprintf("/proc/self/fd/%d", fd)
	}
	return paths
}

// usr lays directories over one another.
func (r builder) usr(p *plan) error {
	if slices.Contains(p.Writes, "/usr") {
		return r.layer(p, "/usr", p.Usr)
	}
	if err := r.dir("/usr"); err != nil {
		return err
	}
	lower := handles(p.Usr)
	if len(lower) == 1 {
		return r.bind(lower[0], "/usr", unix.MOUNT_ATTR_NODEV)
	}
	if err := unix.Mount("overlay", r.root+"/usr", "overlay", unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV, "lowerdir="+strings.Join(lower, ":")); err != nil {
		return fmt.Errorf("mount /usr: %w", err)
	}
	return nil
}

// dir makes a directory, with those on the way to it.
func (r builder) dir(at string) error {
	if err := os.MkdirAll(r.root+at, 0o755); err != nil {
		return fmt.Errorf("make %s: %w", at, err)
	}
	return nil
}

func (r builder) link(target, at string) error {
	if err := r.dir(path.Dir(at)); err != nil {
		return err
	}
	if err := os.Symlink(target, r.root+at); err != nil {
		return fmt.Errorf("make %s: %w", at, err)
	}
	return nil
}

// bind shows a directory, which cannot be written to.
func (r builder) bind(from, at string, attributes uint64) error {
	if err := r.dir(at); err != nil {
		return err
	}
	return r.mount(from, at, attributes)
}

func (r builder) mount(from, at string, attributes uint64) error {
	if err := unix.Mount(from, r.root+at, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("mount %s: %w", at, err)
	}
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | attributes}
	if err := unix.MountSetattr(unix.AT_FDCWD, r.root+at, 0, &attr); err != nil {
		return fmt.Errorf("mount %s read-only: %w", at, err)
	}
	return nil
}

// enter makes a directory the root, in which nothing can be changed any more but the mounts
// that allow that, and lets go of the one that was.
func enter(root int) error {
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}
	if err := unix.MountSetattr(root, "", unix.AT_EMPTY_PATH, &attr); err != nil {
		return fmt.Errorf("make the root read-only: %w", err)
	}
	if err := unix.Fchdir(root); err != nil {
		return fmt.Errorf("enter the root: %w", err)
	}
	err := unix.PivotRoot(".", ".")
	if err == nil {
		err = unix.Unmount(".", unix.MNT_DETACH)
	} else { // in a chroot; who has no rights cannot leave this one either
		err = unix.Chroot(".")
	}
	if err == nil {
		err = unix.Chdir("/")
	}
	if err != nil {
		return fmt.Errorf("enter the root: %w", err)
	}
	return nil
}

// kept are the capabilities of a program that writes.
const kept = 1<<unix.CAP_CHOWN | 1<<unix.CAP_DAC_OVERRIDE | 1<<unix.CAP_FOWNER | 1<<unix.CAP_FSETID | 1<<unix.CAP_KILL | 1<<unix.CAP_SETGID | 1<<unix.CAP_SETUID

// renounce takes all rights from the process, or all but those in kept, and bounds what it
// may use.
func renounce(writes bool, limit time.Duration) error {
	limits := map[int]uint64{
		unix.RLIMIT_CORE: 0, unix.RLIMIT_AS: maxMemory, unix.RLIMIT_DATA: maxMemory, unix.RLIMIT_FSIZE: maxOut, unix.RLIMIT_CPU: uint64(math.Ceil(limit.Seconds())),
	}
	if writes {
		limits[unix.RLIMIT_AS] = maxReserved
	}
	for resource, limit := range limits {
		if err := unix.Setrlimit(resource, &unix.Rlimit{Cur: limit, Max: limit}); err != nil {
			return fmt.Errorf("bound it: %w", err)
		}
	}
	unix.Umask(0o022)
	if _, err := unix.KeyctlInt(unix.KEYCTL_JOIN_SESSION_KEYRING, 0, 0, 0, 0); err != nil && !errors.Is(err, unix.ENOSYS) {
		return fmt.Errorf("leave the caller's keys: %w", err)
	}
	if os.Geteuid() == 0 && !writes {
		if err := syscall.Setgroups(nil); err != nil {
			return fmt.Errorf("become nobody: %w", err)
		}
		if err := syscall.Setresgid(nobody, nobody, nobody); err != nil {
			return fmt.Errorf("become nobody: %w", err)
		}
		if err := syscall.Setresuid(nobody, nobody, nobody); err != nil {
			return fmt.Errorf("become nobody: %w", err)
		}
	}
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return fmt.Errorf("renounce rights: %w", err)
	}
	var rights [2]unix.CapUserData
	if writes {
		// What it executes gets no others: the bounding set has none.
		for c := range uintptr(64) {
			if kept>>c&1 != 0 {
				continue
			}
			if err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); err != nil && !errors.Is(err, unix.EINVAL) {
				return fmt.Errorf("renounce rights: %w", err)
			}
		}
		rights[0] = unix.CapUserData{Effective: kept, Permitted: kept}
	}
	if err := unix.Capset(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &rights[0]); err != nil {
		return fmt.Errorf("renounce rights: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("renounce rights: %w", err)
	}
	// Another user has come, which has taken it away.
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return fmt.Errorf("end with hashpkg: %w", err)
	}
	if err := unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return fmt.Errorf("close files: %w", err)
	}
	return nil
}
