package testroot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// enter prepares the namespaces that it is started in, as their first process,
// and then runs its arguments behind "--" with what $run says. Before them come
// the root, and pairs of a directory and the path where it shall stand.
//
// It stays the first process: the kernel kills the others when it ends, and the
// command is an ordinary process with ordinary signals.
const enter = `set -eu
PATH=/usr/sbin:/usr/bin:/sbin:/bin
mount --make-rprivate /
root=$1
shift
mount --bind "$root" "$root"
while [ "$1" != -- ]; do
	mount --bind "$1" "$root$2"
	shift 2
done
shift
mount -t proc -o nosuid,nodev,noexec proc "$root/proc"
mount -t tmpfs -o nosuid,mode=755,size=64m dev "$root/dev"
for node in null zero full random urandom tty; do
	: >"$root/dev/$node"
	mount --bind "/dev/$node" "$root/dev/$node"
done
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o nosuid,noexec,newinstance,ptmxmode=666,mode=620,gid=5 pts "$root/dev/pts"
mount -t tmpfs -o nosuid,nodev,mode=1777,size=512m shm "$root/dev/shm"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
ln -s /proc/self/fd/0 "$root/dev/stdin"
ln -s /proc/self/fd/1 "$root/dev/stdout"
ln -s /proc/self/fd/2 "$root/dev/stderr"
cd "$root"
set +e
`

// Command returns a command that runs in the root, to be started by the
// caller. Its environment is small and the same on all machines (debconf asks
// nothing, the locale is C), its standard input is empty, its directory is /.
// There is no init and no daemon in the root, and nothing that keeps packages
// from starting theirs (policy-rc.d), just as in a container.
//
// When ctx ends, all processes of the command are killed.
func (r *Root) Command(ctx context.Context, args ...string) *exec.Cmd {
	return r.command(ctx, runInside, args)
}

// runInside is what most commands shall do once the namespaces are prepared.
const runInside = `chroot "$root" "$@"
exit $?`

// PivotCommand is Command for programs that make namespaces of their own: the root is
// the root of the command's mount namespace, for the kernel refuses a user namespace
// to a process in a chroot. The loopback interface is up. The command's user and group
// have the number id.
func (r *Root) PivotCommand(ctx context.Context, id int, args ...string) *exec.Cmd {
	return r.command(ctx, runPivoted, slices.Concat([]string{strconv.Itoa(id)}, args))
}

// runPivoted is runInside for PivotCommand. The machine's own root is detached by its
// umount, in a chroot to it: the root may have no umount.
const runPivoted = `ip link set lo up || exit 125
id=$1
shift
mkdir "$root/dev/machine" && pivot_root . dev/machine && cd / || exit 125
chroot /dev/machine umount -n -i -l / && rmdir /dev/machine || exit 125
chroot --userspec="$id:$id" --groups= / "$@"
exit $?`

func (r *Root) command(ctx context.Context, run string, args []string) *exec.Cmd {
	argv := []string{"-c", enter + run, "sh", r.Dir}
	for _, path := range sortedKeys(r.binds) { // so that those within others come after them
		argv = append(argv, r.binds[path], path)
	}
	cmd := exec.CommandContext(ctx, "/bin/sh", slices.Concat(argv, []string{"--"}, args)...)
	cmd.Env = append([]string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=/root",
		"LC_ALL=C",
		"DEBIAN_FRONTEND=noninteractive",
	}, r.Env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC,
		Pdeathsig:  syscall.SIGKILL,
		Setsid:     true, // no terminal to ask on
	}
	cmd.WaitDelay = 10 * time.Second
	return cmd
}

// Run runs a command in the root and returns what it said, standard output and
// standard error together. The test fails if the command does.
func (r *Root) Run(args ...string) string {
	r.tb.Helper()
	out, err := r.RunErr(context.Background(), args...)
	if err != nil {
		r.tb.Fatal(err)
	}
	return out
}

// RunErr is Run for a command that may fail: the error has the end of what it
// said, and wraps an [exec.ExitError] when the command has ended by itself.
func (r *Root) RunErr(ctx context.Context, args ...string) (string, error) {
	return r.runScript(ctx, runInside, args)
}

func (r *Root) runScript(ctx context.Context, script string, args []string) (string, error) {
	if _, limited := ctx.Deadline(); !limited {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, r.Timeout)
		defer cancel()
	}
	cmd := r.command(ctx, script, args)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = errors.Join(ctx.Err(), err)
		}
		return out.String(), fmt.Errorf("run %q in the root: %w\n%s", args, err, tail(out.String(), 30))
	}
	return out.String(), nil
}

// tail returns the last n lines of s.
func tail(s string, n int) string {
	lines := strings.Split(strings.TrimRight(s, "\n"), "\n")
	if len(lines) > n {
		lines = append([]string{"..."}, lines[len(lines)-n:]...)
	}
	return strings.Join(lines, "\n")
}
