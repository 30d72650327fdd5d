package hooks

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/internal/caller"
	"github.com/hashpkg/hashpkg/sysroot"
)

// oneRun are the programs, by the names that the kernel has of them, that take a
// package manager's lock for one run and end with it. Of a daemon, or of what a
// person sits before, the same process has the lock again for the next run, and
// nothing tells that from the first.
var oneRun = []string{"apt", "apt-get", "dpkg", "unattended-upgr", "rpm", "dnf", "dnf5", "yum", "microdnf", "tdnf"}

// frontEnds are programs that run those of oneRun, or a package manager's library, for a
// person or a timer, and whose command says more than that of what they run.
var frontEnds = []string{"aptitude", "synaptic", "packagekitd", "gnome-software", "dnf5daemon-serv", "zypper", "rpm-ostree"}

// currentRun names the run of a package manager that is at work in a root: the boot,
// the number and the start of the process that has its lock, or else of the one that
// has called hashpkg. It returns "" when neither is a program of oneRun.
//
// apt holds the frontend's lock from before its first dpkg until after its last. dpkg
// alone has given its lock back when it calls its hooks, but waits for them.
func currentRun(root *sysroot.Root) string {
	if p := atWork(root, oneRun); p.id > 0 {
		return p.run()
	}
	return ""
}

// currentCommand returns the command of the package manager that is at work in a root,
// as it may be kept, such as "apt upgrade"; "" when it cannot be found.
func currentCommand(root *sysroot.Root) string {
	known := slices.Concat(oneRun, frontEnds)
	p := atWork(root, known)
	if p.id == 0 {
		return ""
	}
	for up := readProcess(p.parent); slices.Contains(known, up.program); up = readProcess(p.parent) {
		p = up
	}
	return caller.CommandLine(caller.OfProgram(p.program, caller.Arguments(p.id)))
}

// atWork returns the process of one of these programs that has a package manager's lock
// or, where none of them has it, that has called hashpkg.
func atWork(root *sysroot.Root, programs []string) process {
	for _, name := range append([]string{frontendLock}, rpmLocks...) {
		lock, err := lockOf(root, name)
		if err != nil || lock.Type == unix.F_UNLCK || lock.Pid <= 0 { // 0 is of another namespace
			continue
		}
		if p := readProcess(int(lock.Pid)); slices.Contains(programs, p.program) {
			return p
		}
	}
	for p := readProcess(os.Getppid()); p.id > 0; p = readProcess(p.parent) {
		if slices.Contains(programs, p.program) {
			return p
		}
	}
	return process{}
}

// ProcessAtWork names the process of a package manager that is at work in a root: the one
// that has its lock, be that for one run or, as a daemon, for more, or else the run whose hook
// this is; "" for none.
func ProcessAtWork(root *sysroot.Root) string {
	for _, name := range append([]string{frontendLock, dpkgLock}, rpmLocks...) {
		lock, err := lockOf(root, name)
		if err != nil || lock.Type == unix.F_UNLCK || lock.Pid <= 0 {
			continue
		}
		if p := readProcess(int(lock.Pid)); p.id > 0 && p.run() != "" {
			return p.run()
		}
	}
	return currentRun(root)
}

// process is what the kernel says of one; nothing, of one that is gone or cannot be
// seen.
type process struct {
	id, parent int
	program    string
	start      string // in ticks since the machine was started
}

func readProcess(id int) process {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", id))
	if err != nil {
		return process{}
	}
	p := parseStat(string(stat))
	p.id = id
	return p
}

// run names the run that the process is; "" when the boot is unknown.
func (p process) run() string {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return fmt.Sprintf("%s %d %s %s", p.program, p.id, p.start, strings.TrimSpace(string(boot)))
}

// parseStat reads proc_pid_stat(5). It returns nothing for what is not of that form.
func parseStat(stat string) process {
	// The name is in parentheses and may have some itself.
	open, end := strings.IndexByte(stat, '('), strings.LastIndexByte(stat, ')')
	if open < 0 || end < open {
		return process{}
	}
	const parentField, startField = 4 - 3, 22 - 3 // of those after the name, which are from the third on
	fields := strings.Fields(stat[end+1:])
	if len(fields) <= startField {
		return process{}
	}
	parent, err := strconv.Atoi(fields[parentField])
	if err != nil {
		return process{}
	}
	return process{parent: parent, program: stat[open+1 : end], start: fields[startField]}
}
