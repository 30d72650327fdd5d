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
	// Deleted says that it has a file mapped which stood at the path before the one that is
	// there, and which nothing keeps any more: it cannot be told which.
	Deleted bool `json:"deleted,omitempty"`
}

// Unseen is what a caller of [Root.Mapping] may not look at.
type Unseen struct {
	Count  int  // processes that are there
	Hidden bool // /proc does not show that others' are there: proc(5), hidepid
}

// Mapping returns, by path in the root, which processes have a file mapped: programs
// that run, and libraries that they have loaded. Files are recognized by device and
// inode, so that one which was replaced since is still known by what a tree keeps of it;
// of one that nothing keeps, the path tells, where the process and the caller have one root.
func (r *Root) Mapping(paths []string) (found map[string][]Process, not Unseen, err error) {
	found = map[string][]Process{}
	wanted := map[uint64][]mappedFile{}
	byName := map[string]string{} // paths, by those that a deleted file has in proc_pid_maps(5)
	for _, p := range paths {
		byName[path.Join(r.path, p)] = p
		info, err := r.Stat(p)
		if err != nil {
			continue // it is nowhere, and nobody has it by this name
		}
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			wanted[st.Ino] = append(wanted[st.Ino], mappedFile{p, st.Dev})
		}
	}
	if len(wanted) == 0 {
		return found, not, nil
	}
	not.Hidden = os.Geteuid() != 0 && hidesProcesses()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, not, fmt.Errorf("look for processes: %w", err)
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
			not.Count++
			continue
		}
		if err != nil && !unseen(err) {
			return nil, not, fmt.Errorf("look at process %d: %w", pid, err)
		}
		has, deleted := mappedPaths(string(maps), wanted, byName)
		for _, p := range has {
			found[p] = append(found[p], describeProcess(pid, names))
		}
		for _, p := range deleted {
			one := describeProcess(pid, names)
			one.Deleted = true
			found[p] = append(found[p], one)
		}
	}
	if numbers == 0 {
		return nil, not, fmt.Errorf("look for processes: mount /proc, which shows the running processes")
	}
	for _, list := range found {
		slices.SortFunc(list, func(a, b Process) int { return a.PID - b.PID })
	}
	return found, not, nil
}

// mappedFile is a file that is looked for.
type mappedFile struct {
	path string
	dev  uint64
}

// hidesProcesses reports whether the mount of /proc hides the processes of others.
func hidesProcesses() bool {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return false // then there is nothing at all to see
	}
	for line := range strings.Lines(string(mounts)) { // proc_pid_mountinfo(5)
		fields := strings.Fields(line)
		if len(fields) < 5 || fields[4] != "/proc" {
			continue
		}
		for option := range strings.SplitSeq(fields[len(fields)-1], ",") {
			switch option {
			case "hidepid=2", "hidepid=invisible", "hidepid=4", "hidepid=ptraceable":
				return true
			}
		}
	}
	return false
}

// mappedPaths returns which of the files, by inode, a process's mappings have, each once:
// proc_pid_maps(5); and of which paths it has a file that is gone.
func mappedPaths(maps string, wanted map[uint64][]mappedFile, byName map[string]string) (paths, deleted []string) {
	for line := range strings.Lines(maps) {
		fields := strings.SplitN(strings.TrimSuffix(line, "\n"), " ", 6)
		if len(fields) < 6 {
			continue
		}
		ino, err := strconv.ParseUint(fields[4], 10, 64)
		if err != nil {
			continue
		}
		name := strings.TrimLeft(fields[5], " ")
		isWanted := false
		for _, f := range wanted[ino] {
			// Some file systems (btrfs, overlay) show another device there than stat does,
			// and neither is one that a disk has: the name has to do then.
			sameName := path.Base(strings.TrimSuffix(name, " (deleted)")) == path.Base(f.path)
			if mapsDevice(fields[3]) != f.dev && (unix.Major(f.dev) != 0 || !sameName) {
				continue
			}
			isWanted = true
			if !slices.Contains(paths, f.path) {
				paths = append(paths, f.path)
			}
		}
		gone, isDeleted := strings.CutSuffix(name, " (deleted)")
		if p, ok := byName[gone]; ok && isDeleted && !isWanted && !slices.Contains(paths, p) && !slices.Contains(deleted, p) {
			deleted = append(deleted, p)
		}
	}
	return paths, deleted
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
