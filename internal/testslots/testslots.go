// Package testslots reads what the loader has made of a program when that is about to begin: [Run]
// starts one, stops it at its entry point, and returns what each relocated word of each loaded
// object holds, as the file and the place in it that the word leads to. [Process.Diff] compares two
// of them, whose files are the same by name but not in their bytes:
//
//	shipped, err := testslots.Run(exec.Command("/usr/bin/jq"))
//	edited, err := testslots.Run(exec.Command("/tmp/copy/jq"))
//	differing := shipped.Diff(edited)
//
// So it does not matter how a word came by its value: by a look-up, or because an edit of the file
// has it there. It is for Linux and programs that the processor runs itself; [Emulate] is Run
// for those of another processor, under QEMU, whom ptrace(2) does not stop.
package testslots

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// Process is what was in the memory of a stopped program.
type Process struct {
	Objects []Object // in the order of their names
}

// Object is one loaded file.
type Object struct {
	Name  string // the base name of the file, all links followed
	Slots []Slot // by their offsets
}

// Slot is a word that the object's relocations are for.
type Slot struct {
	Offset uint64 // from the object's load address
	Value  Value
}

// Value is what a slot holds.
type Value struct {
	Object string // that the word is an address in, or "[stack]" and the like; "" for a number
	Offset uint64 // from that object's load address, or the number; 0 in what is no object
}

func (v Value) String() string {
	if v.Object == "" {
		return fmt.Sprintf("%#x", v.Offset)
	}
	return fmt.Sprintf("%s+%#x", v.Object, v.Offset)
}

// Count returns how many slots there are.
func (p *Process) Count() int {
	n := 0
	for _, o := range p.Objects {
		n += len(o.Slots)
	}
	return n
}

// Diff returns a line for each slot that another process has not, or with another value.
func (p *Process) Diff(other *Process) []string {
	var list []string
	flat := func(p *Process) map[string]Value {
		all := make(map[string]Value, p.Count())
		for _, o := range p.Objects {
			for _, s := range o.Slots {
				all[o.Name+"+"+strconv.FormatUint(s.Offset, 16)] = s.Value
			}
		}
		return all
	}
	a, b := flat(p), flat(other)
	for at, v := range a {
		if w, ok := b[at]; !ok {
			list = append(list, fmt.Sprintf("%s: %v, and no slot", at, v))
		} else if v != w {
			list = append(list, fmt.Sprintf("%s: %v, and %v", at, v, w))
		}
	}
	for at, w := range b {
		if _, ok := a[at]; !ok {
			list = append(list, fmt.Sprintf("%s: no slot, and %v", at, w))
		}
	}
	slices.Sort(list)
	return list
}

// addrNoRandomize is ADDR_NO_RANDOMIZE (personality(2)): what is no address of an object, such as one
// on the stack, is the same in both processes then.
const addrNoRandomize = 0x0040000

// Run starts a command, whose paths are those of this process unless it changes its root, and reads it
// at its entry point, after the constructors of its libraries. The process
// is ended then. An error is one of starting or reading it; a program that ends before its entry point
// is one.
func Run(cmd *exec.Cmd) (*Process, error) {
	runtime.LockOSThread() // only the thread that starts a process may trace it
	defer runtime.UnlockOSThread()
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Ptrace = true
	if err := startUnrandomized(cmd); err != nil {
		return nil, err
	}
	pid := cmd.Process.Pid
	p, err := stopAndRead(pid)
	if err != nil {
		err = fmt.Errorf("run %s: %w", cmd.Path, err)
	}
	cmd.Process.Kill() //nolint:errcheck // it may have ended
	var ended *exec.ExitError
	if waited := cmd.Wait(); waited != nil && !errors.As(waited, &ended) && !errors.Is(waited, syscall.ECHILD) {
		err = errors.Join(err, waited)
	}
	return p, err
}

// startUnrandomized starts a command with its memory at addresses that are the same each time.
func startUnrandomized(cmd *exec.Cmd) error {
	// The personality is the thread's, and a child has that of the thread that made it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	was, _, errno := syscall.RawSyscall(syscall.SYS_PERSONALITY, 0xffffffff, 0, 0)
	if errno == 0 {
		_, _, errno = syscall.RawSyscall(syscall.SYS_PERSONALITY, was|addrNoRandomize, 0, 0)
	}
	if errno != 0 {
		return fmt.Errorf("run %s: personality: %v", cmd.Path, errno)
	}
	err := cmd.Start()
	if _, _, errno := syscall.RawSyscall(syscall.SYS_PERSONALITY, was, 0, 0); errno != 0 {
		err = errors.Join(err, fmt.Errorf("personality: %v", errno))
	}
	return err
}

func stopAndRead(pid int) (*Process, error) {
	var status unix.WaitStatus
	wait := func() error {
		for {
			if _, err := unix.Wait4(pid, &status, 0, nil); err != unix.EINTR {
				return err
			}
		}
	}
	if err := wait(); err != nil { // the stop after exec
		return nil, err
	}
	if !status.Stopped() {
		return nil, fmt.Errorf("it ended: %v", status)
	}
	if err := unix.PtraceSetOptions(pid, unix.PTRACE_O_EXITKILL); err != nil {
		return nil, err
	}
	m, err := openMemory(pid)
	if err != nil {
		return nil, err
	}
	defer m.Close()
	auxv, err := os.ReadFile(fmt.Sprintf("/proc/%d/auxv", pid))
	if err != nil {
		return nil, err
	}
	entry, err := m.auxiliary(auxv, atEntry)
	if err != nil {
		return nil, err
	}
	stop, ok := map[string][]byte{"amd64": {0xcc}, "386": {0xcc}, "arm64": {0, 0, 0x20, 0xd4}}[runtime.GOARCH]
	if !ok {
		return nil, fmt.Errorf("no breakpoint is known for %s", runtime.GOARCH)
	}
	old := make([]byte, len(stop))
	if _, err := m.ReadAt(old, int64(entry)); err != nil {
		return nil, err
	}
	if _, err := unix.PtracePokeText(pid, uintptr(entry), stop); err != nil {
		return nil, err
	}
	for signal := 0; ; {
		if err := unix.PtraceCont(pid, signal); err != nil {
			return nil, err
		}
		if err := wait(); err != nil {
			return nil, err
		}
		if !status.Stopped() {
			return nil, fmt.Errorf("it ended before its entry point: exit status %d, signal %v", status.ExitStatus(), status.Signal())
		}
		if status.StopSignal() == unix.SIGTRAP {
			break
		}
		signal = int(status.StopSignal())
	}
	if _, err := unix.PtracePokeText(pid, uintptr(entry), old); err != nil {
		return nil, err
	}
	list, err := m.objects(pid)
	return m.process(list, err)
}
