package sysroot

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/internal/beneath"
)

// InUse returns, for each of the names below the prefix at which a directory has a
// file that a running process executes or has mapped, the number of such a process.
//
// Files are recognized by device and inode, in whatever root or mount namespace the
// process has them. One with names in several directories counts for the one
// whose name the process has opened, where that can be told, else for all. What
// /proc does not show counts for nothing: to those who are not root, that is all
// processes of others.
func (r *Root) InUse(names []string) (map[string]int, error) { return inUse(r.store.Dir(), names) }

func inUse(prefix *beneath.Dir, names []string) (map[string]int, error) {
	u := &users{dirs: names, files: map[uint64][]holder{}, inside: map[fileKey]int{}, pids: map[string]int{}}
	for i, name := range names {
		if err := u.index(i, prefix, name); err != nil {
			return nil, fmt.Errorf("look at what is in use: %w", err)
		}
	}
	if len(u.files) == 0 {
		return u.pids, nil
	}
	if _, err := os.Stat("/proc/self/maps"); err != nil {
		return nil, fmt.Errorf("look at what is in use: %w: mount /proc, which shows the running processes", err)
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("look at what is in use: %w", err)
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if err := u.process(pid); err != nil && !unseen(err) {
			return nil, fmt.Errorf("look at what is in use: %w", err)
		}
	}
	return u.pids, nil
}

// unseen reports whether a process has ended, or is not for us to look at.
func unseen(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.ESRCH)
}

type fileKey struct{ dev, ino uint64 }

// holder is one of the directories, and the device on which it has a file.
type holder struct {
	dir int
	dev uint64
}

type users struct {
	dirs   []string
	files  map[uint64][]holder // which directories have a file, by inode
	inside map[fileKey]int     // which of them a directory is in
	pids   map[string]int
}

func (u *users) index(i int, prefix *beneath.Dir, name string) error {
	err := prefix.Walk(name, func(_ string, dir *beneath.Dir, base string, kind fs.FileMode) error {
		if !kind.IsDir() && !kind.IsRegular() {
			return nil
		}
		st, err := dir.Lstat(base)
		switch {
		case err != nil:
			return err
		case kind.IsDir():
			u.inside[fileKey{st.Dev, st.Ino}] = i
		default:
			u.files[st.Ino] = append(u.files[st.Ino], holder{i, st.Dev})
		}
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// process notes what one process executes and has mapped.
func (u *users) process(pid int) error {
	dir := fmt.Sprintf("/proc/%d", pid)
	var st unix.Stat_t
	if err := unix.Stat(dir+"/exe", &st); err == nil {
		name, err := os.Readlink(dir + "/exe")
		if err != nil && !unseen(err) {
			return err
		}
		u.note(pid, st.Dev, st.Ino, name)
	}
	maps, err := os.ReadFile(dir + "/maps")
	if err != nil {
		return err
	}
	if len(maps) > 0 {
		u.mapped(pid, string(maps))
		return nil
	}
	// A thread goes on when the first one of its process has ended.
	threads, err := os.ReadDir(dir + "/task")
	if err != nil {
		return err
	}
	for _, t := range threads {
		maps, err := os.ReadFile(dir + "/task/" + t.Name() + "/maps")
		if err != nil {
			return err
		}
		u.mapped(pid, string(maps))
	}
	return nil
}

// mapped notes the files of a process's mappings: proc_pid_maps(5).
func (u *users) mapped(pid int, maps string) {
	for line := range strings.Lines(maps) {
		fields := strings.SplitN(strings.TrimSuffix(line, "\n"), " ", 6)
		if len(fields) < 6 {
			continue
		}
		ino, err := strconv.ParseUint(fields[4], 10, 64)
		if err != nil || u.files[ino] == nil {
			continue
		}
		var dev uint64
		if major, minor, ok := strings.Cut(fields[3], ":"); ok {
			a, errA := strconv.ParseUint(major, 16, 32)
			b, errB := strconv.ParseUint(minor, 16, 32)
			if errA == nil && errB == nil {
				dev = unix.Mkdev(uint32(a), uint32(b))
			}
		}
		u.note(pid, dev, ino, strings.ReplaceAll(strings.TrimLeft(fields[5], " "), `\012`, "\n"))
	}
}

// note counts a process for the directories that have a file, which it has opened
// under a name that may mean nothing here.
func (u *users) note(pid int, dev, ino uint64, name string) {
	var found []holder
	for _, h := range u.files[ino] {
		// Some file systems (btrfs, overlay) show another device there than stat does,
		// and neither is one that a disk has.
		if h.dev == dev || unix.Major(h.dev) == 0 {
			found = append(found, h)
		}
	}
	if len(found) == 0 {
		return
	}
	// The directory in which the file has that name tells which one is meant.
	var file, parent unix.Stat_t
	if unix.Lstat(name, &file) == nil && file.Ino == ino && onDevice(found, file.Dev) && unix.Stat(filepath.Dir(name), &parent) == nil {
		if i, ok := u.inside[fileKey{parent.Dev, parent.Ino}]; ok {
			u.pids[u.dirs[i]] = pid
		}
		return
	}
	for _, h := range found {
		u.pids[u.dirs[h.dir]] = pid
	}
}

func onDevice(found []holder, dev uint64) bool {
	return slices.ContainsFunc(found, func(h holder) bool { return h.dev == dev })
}
