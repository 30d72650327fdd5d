package sysroot

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/internal/beneath"
	"github.com/hashpkg/hashpkg/layout"
)

// ErrLocked is returned, as a [*LockedError], while another process writes.
var ErrLocked = errors.New("the lock is held")

// LockedError says who has the lock.
type LockedError struct {
	Prefix string // on the host
	Holder Holder
}

// Is makes errors.Is(err, ErrLocked) true.
func (e *LockedError) Is(target error) bool { return target == ErrLocked }

func (e *LockedError) Error() string {
	return fmt.Sprintf("the lock of %s is held by %s", e.Prefix, e.Holder.describe(time.Now()))
}

// Holder is who has a lock, as far as that can be known. The kernel says which
// process it is, the lock file only what that calls itself: whoever had the lock
// before may have left it, and an image may have anything there.
type Holder struct {
	PID     int    // that has the lock, as the kernel says; 0 when it does not say
	Command string // such as "hashpkg sync"; "" when it is not known
	Since   time.Time
	// Former is the process that the lock file names and that does not have the lock
	// any more; 0 for none.
	Former int
}

// describe names the holder, in the middle of a sentence.
func (h Holder) describe(now time.Time) string {
	who := "a process that cannot be seen from here"
	if h.PID != 0 {
		who = fmt.Sprintf("process %d", h.PID)
	}
	switch {
	case h.Command != "":
		form := time.TimeOnly
		if since := h.Since.In(now.Location()); since.YearDay() != now.YearDay() || since.Year() != now.Year() {
			form = time.DateTime
		}
		who += fmt.Sprintf(" (%s, since %s)", h.Command, h.Since.In(now.Location()).Format(form))
	case h.Former != 0 && h.PID != 0:
		who += fmt.Sprintf(" (the lock file names process %d, which does not hold it any more)", h.Former)
	case h.Former != 0:
		who += fmt.Sprintf(" (the lock file names process %d, which is not seen to hold it)", h.Former)
	}
	return who
}

// lockRecord is what the lock file has: one line of JSON, written by the holder.
type lockRecord struct {
	PID     int       `json:"pid"`
	Command string    `json:"command"`
	Since   time.Time `json:"since"`
}

// maxLockRecord bounds the lock file, and maxLockCommand a command in it.
const (
	maxLockRecord  = 1024
	maxLockCommand = 64
)

// decodeLockRecord reads a lock file; ok is false for what no hashpkg has written.
func decodeLockRecord(b []byte) (r lockRecord, ok bool) {
	if json.Unmarshal(bytes.TrimSpace(b), &r) != nil || r.PID <= 0 || r.Since.IsZero() || r.Command == "" || len(r.Command) > maxLockCommand {
		return lockRecord{}, false
	}
	for _, c := range r.Command {
		if c < ' ' || c > '~' { // it is going to be printed on a terminal
			return lockRecord{}, false
		}
	}
	return r, true
}

// holderOf puts together what the lock file and the kernel's list of locks say. pids
// are the processes that have a lock on the file; listed is false when there is no
// such list.
func holderOf(file []byte, pids []int, listed bool) Holder {
	r, ok := decodeLockRecord(file)
	for _, pid := range pids {
		if ok && pid == r.PID {
			return Holder{PID: pid, Command: r.Command, Since: r.Since}
		}
	}
	h := Holder{}
	if len(pids) > 0 {
		h.PID = pids[0]
	}
	if ok && listed {
		h.Former = r.PID
	}
	return h
}

// holder finds out who has the lock.
func (r *Root) holder(f *os.File) Holder {
	file, _ := r.store.Dir().ReadFile(layout.LockFile, maxLockRecord) // what cannot be read says nothing
	pids, listed := flockers(f)
	return holderOf(file, pids, listed)
}

// maxLocks bounds what is read of the kernel's list of locks.
const maxLocks = 4 << 20

// flockers returns the processes that have a lock of flock(2) on an open file;
// listed is false when the kernel does not tell.
func flockers(f *os.File) (pids []int, listed bool) {
	var st unix.Stat_t
	if unix.Fstat(int(f.Fd()), &st) != nil {
		return nil, false
	}
	list, err := os.Open("/proc/locks")
	if err != nil {
		return nil, false
	}
	defer list.Close()
	b, err := io.ReadAll(io.LimitReader(list, maxLocks))
	return parseLocks(string(b), st.Ino), err == nil
}

// parseLocks returns the processes that /proc/locks says to have a lock of flock(2) on
// an inode. Its device is not compared: overlayfs and btrfs tell another one there
// than stat(2) does. Lines are "1: FLOCK  ADVISORY  WRITE 4242 08:01:1234 0 EOF", with
// "->" before the kind for one that waits (proc_locks(5)); a process that cannot be
// seen from here is none, or has the number 0.
func parseLocks(text string, inode uint64) (pids []int) {
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) != 8 || f[1] != "FLOCK" || f[3] != "WRITE" {
			continue
		}
		at := strings.LastIndexByte(f[5], ':')
		n, err := strconv.ParseUint(f[5][at+1:], 10, 64)
		if err != nil || n != inode {
			continue
		}
		if pid, err := strconv.Atoi(f[4]); err == nil && pid > 0 {
			pids = append(pids, pid)
		}
	}
	return pids
}

// sign writes into the lock file who has the lock. A file that has other names,
// where a store was copied by hard links, is somebody else's too, and is left as it
// is. What goes wrong harms nobody: the kernel knows who has the lock.
func (l *Lock) sign(command string) {
	var st unix.Stat_t
	if unix.Fstat(int(l.file.Fd()), &st) != nil || st.Nlink != 1 {
		return
	}
	if len(command) > maxLockCommand {
		command = command[:maxLockCommand]
	}
	b, err := json.Marshal(lockRecord{os.Getpid(), command, time.Now().UTC().Truncate(time.Second)})
	if err != nil || l.file.Truncate(0) != nil {
		return
	}
	if _, err := l.file.WriteAt(append(b, '\n'), 0); err == nil {
		l.signed = true
	}
}

// unsign empties the lock file again: nobody holds it, and images are to be equal.
func (l *Lock) unsign() {
	if l.signed {
		_ = l.file.Truncate(0) // the next holder writes it anew
	}
}

// checkLockFile returns an error for what no lock file can be.
func checkLockFile(f *os.File) error {
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = beneath.ErrNotRegular
	}
	return err
}
