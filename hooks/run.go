package hooks

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/sysroot"
)

// oneRun are the programs, by the names that the kernel has of them, that take a
// package manager's lock for one run and end with it. Of a daemon, or of what a
// person sits before, the same process has the lock again for the next run, and
// nothing tells that from the first.
var oneRun = []string{"apt", "apt-get", "dpkg", "unattended-upgr", "rpm", "dnf", "dnf5", "yum", "microdnf", "tdnf"}

// currentRun names the run of a package manager that is at work in a root: the boot,
// the number and the start of the process that has its lock. It returns "" when that
// is unknown, or is no program of oneRun.
//
// apt holds the frontend's lock from before its first dpkg until after its last.
func currentRun(root *sysroot.Root) string {
	for _, name := range append([]string{frontendLock}, rpmLocks...) {
		lock, err := lockOf(root, name)
		if err != nil || lock.Type == unix.F_UNLCK || lock.Pid <= 0 { // 0 is of another namespace
			continue
		}
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", lock.Pid))
		if err != nil {
			return ""
		}
		boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
		if err != nil {
			return ""
		}
		program, start := parseStat(string(stat))
		if start == "" || !slices.Contains(oneRun, program) {
			return ""
		}
		return fmt.Sprintf("%s %d %s %s", program, lock.Pid, start, strings.TrimSpace(string(boot)))
	}
	return ""
}

// parseStat returns the name of a process's program and when it was started, in
// ticks since the machine was: proc_pid_stat(5). They are "" for what is not of that
// form.
func parseStat(stat string) (program, start string) {
	// The name is in parentheses and may have some itself.
	open, end := strings.IndexByte(stat, '('), strings.LastIndexByte(stat, ')')
	if open < 0 || end < open {
		return "", ""
	}
	const startField = 22 - 3 // of those after the name, which are from the third on
	fields := strings.Fields(stat[end+1:])
	if len(fields) <= startField {
		return "", ""
	}
	return stat[open+1 : end], fields[startField]
}
