package sysroot

import (
	"fmt"
	"os"
	"os/user"
	"path"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Process is a running process.
type Process struct {
	PID  int    `json:"pid"`
	Name string `json:"name"` // as proc_pid_comm(5) has it
	User string `json:"user"` // a name, or the number where it has none
}

// Mapping returns, by path in the root, which processes have a file mapped: programs
// that run, and libraries that they have loaded. Files are recognized by device and
// inode, so that one which was replaced since is still known by what a tree keeps of it.
// unseen is the number of processes that the caller may not look at.
func (r *Root) Mapping(paths []string) (found map[string][]Process, unseenCount int, err error) {
	found = map[string][]Process{}
	wanted := map[uint64][]mappedFile{}
	for _, p := range paths {
		info, err := r.Stat(p)
		if err != nil {
			continue // it is nowhere, and nobody has it by this name
		}
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			wanted[st.Ino] = append(wanted[st.Ino], mappedFile{p, st.Dev})
		}
	}
	if len(wanted) == 0 {
		return found, 0, nil
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, 0, fmt.Errorf("look for processes: %w", err)
	}
	numbers := 0
	names := map[uint32]string{}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		numbers++
		maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
		if os.IsPermission(err) {
			unseenCount++
			continue
		}
		if err != nil && !unseen(err) {
			return nil, 0, fmt.Errorf("look at process %d: %w", pid, err)
		}
		for _, p := range mappedPaths(string(maps), wanted) {
			found[p] = append(found[p], describeProcess(pid, names))
		}
	}
	if numbers == 0 {
		return nil, 0, fmt.Errorf("look for processes: mount /proc, which shows the running processes")
	}
	for _, list := range found {
		slices.SortFunc(list, func(a, b Process) int { return a.PID - b.PID })
	}
	return found, unseenCount, nil
}

// mappedFile is a file that is looked for.
type mappedFile struct {
	path string
	dev  uint64
}

// mappedPaths returns which of the files, by inode, a process's mappings have, each once:
// proc_pid_maps(5).
func mappedPaths(maps string, wanted map[uint64][]mappedFile) (paths []string) {
	for line := range strings.Lines(maps) {
		fields := strings.SplitN(strings.TrimSuffix(line, "\n"), " ", 6)
		if len(fields) < 6 {
			continue
		}
		ino, err := strconv.ParseUint(fields[4], 10, 64)
		if err != nil {
			continue
		}
		for _, f := range wanted[ino] {
			// Some file systems (btrfs, overlay) show another device there than stat does,
			// and neither is one that a disk has: the name has to do then.
			sameName := path.Base(strings.TrimSuffix(strings.TrimLeft(fields[5], " "), " (deleted)")) == path.Base(f.path)
			if (mapsDevice(fields[3]) == f.dev || unix.Major(f.dev) == 0 && sameName) && !slices.Contains(paths, f.path) {
				paths = append(paths, f.path)
			}
		}
	}
	return paths
}

// mapsDevice returns the device of a field "major:minor".
func mapsDevice(field string) uint64 {
	major, minor, _ := strings.Cut(field, ":")
	a, errA := strconv.ParseUint(major, 16, 32)
	b, errB := strconv.ParseUint(minor, 16, 32)
	if errA != nil || errB != nil {
		return 0
	}
	return unix.Mkdev(uint32(a), uint32(b))
}

// describeProcess says what a process is called and who runs it.
func describeProcess(pid int, names map[uint32]string) Process {
	p := Process{PID: pid}
	if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid)); err == nil {
		p.Name = strings.TrimSpace(string(b))
	}
	var st unix.Stat_t
	if unix.Stat(fmt.Sprintf("/proc/%d", pid), &st) != nil {
		return p
	}
	name, known := names[st.Uid]
	if !known {
		name = strconv.FormatUint(uint64(st.Uid), 10)
		if u, err := user.LookupId(name); err == nil {
			name = u.Username
		}
		names[st.Uid] = name
	}
	p.User = name
	return p
}
