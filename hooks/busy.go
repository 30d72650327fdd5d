package hooks

import (
	"errors"
	"fmt"
	"io"
	"io/fs"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/sysroot"
)

// dpkgLock is held while dpkg changes its database (dpkg lib/dpkg/dbmodify.c). A
// frontend as apt holds frontendLock from before its first dpkg until after its
// last, and rpm its own lock during a transaction (rpm lib/rpmlock.c).
const (
	dpkgLock     = "/var/lib/dpkg/lock"
	frontendLock = "/var/lib/dpkg/lock-frontend"
)

var rpmLocks = []string{"/usr/lib/sysimage/rpm/.rpm.lock", "/var/lib/rpm/.rpm.lock"}

// AtWork returns which package managers of a root are in a transaction: "dpkg",
// "rpm".
func AtWork(root *sysroot.Root) ([]string, error) {
	names := []string{}
	for name, locks := range map[string][]string{"dpkg": {dpkgLock, frontendLock}, "rpm": rpmLocks} {
		held := false
		for _, lock := range locks {
			h, err := isHeld(root, lock)
			if err != nil {
				return nil, err
			}
			held = held || h
		}
		if held {
			names = append(names, name)
		}
	}
	return names, nil
}

// isHeld reports whether another process has a file locked for writing.
func isHeld(root *sysroot.Root, name string) (bool, error) {
	lock, err := lockOf(root, name)
	return lock.Type != unix.F_UNLCK, err
}

// lockOf returns the lock of fcntl(2) that another process has on a file, of type
// F_UNLCK for none.
func lockOf(root *sysroot.Root, name string) (unix.Flock_t, error) {
	none := unix.Flock_t{Type: unix.F_UNLCK}
	f, err := root.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return none, nil
	}
	if err != nil {
		return none, fmt.Errorf("look for a package manager at work: %w", err)
	}
	defer f.Close()
	lock := unix.Flock_t{Type: unix.F_RDLCK, Whence: io.SeekStart}
	if err := unix.FcntlFlock(f.Fd(), unix.F_GETLK, &lock); err != nil {
		return none, fmt.Errorf("look for a package manager at work: %s: %w", f.Name(), err)
	}
	return lock, nil
}
