package programs

import (
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// Running has a process for each file that is run, as far as /proc shows that.
//
// A program that a process runs is not edited, but for a pin: whoever looks for the process
// by the path of its program, as start-stop-daemon(8), pidof(8) and needrestart(1) do, does
// not find one whose program has swapped names with another file, and what an edit brings
// without a pin is not worth that.
type Running map[inode]int

// inode is a file, whatever is in it.
type inode struct{ device, number uint64 }

// FindRunning looks which files processes run now.
func FindRunning() Running {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	found := Running{}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		// The attributes are those that the kernel has: a file system that does not answer, as of a server
		// which is gone, would have us wait.
		var st unix.Statx_t
		err = unix.Statx(unix.AT_FDCWD, "/proc/"+e.Name()+"/exe", unix.AT_STATX_DONT_SYNC, unix.STATX_INO, &st)
		if err != nil { // it has ended, is the kernel's, or is not to be seen
			continue
		}
		found[inode{unix.Mkdev(st.Dev_major, st.Dev_minor), st.Ino}] = pid
	}
	return found
}

// reason says why a file is left that a process runs; "" if none does.
func (r Running) reason(f FileID) Reason {
	pid := r.of(f)
	if pid == 0 {
		return ""
	}
	return Reason(fmt.Sprintf("is run by process %d: a sync edits it when nobody runs it", pid))
}

func (r Running) of(f FileID) int { return r[inode{f.Device, f.Inode}] }
