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
	"cmp"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
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

// memory is that of a stopped process.
type memory struct {
	io.ReaderAt
	is64   bool
	others []loaded // the stack and the heap

	window []byte // what was read last, and from where
	readAt uint64
	atOnce int // bytes that are read at once
}

// processMemory is that of a process that the processor runs.
type processMemory struct {
	memory
	io.Closer
}

func openMemory(pid int) (*processMemory, error) {
	program, err := os.Open(fmt.Sprintf("/proc/%d/exe", pid))
	if err != nil {
		return nil, err
	}
	defer program.Close()
	var ident [elf.EI_NIDENT]byte
	if _, err := program.ReadAt(ident[:], 0); err != nil {
		return nil, err
	}
	f, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	return &processMemory{memory{ReaderAt: f, is64: elf.Class(ident[elf.EI_CLASS]) == elf.ELFCLASS64, atOnce: 1 << 16}, f}, err
}

func (m *memory) wordSize() int {
	if m.is64 {
		return 8
	}
	return 4
}

func (m *memory) word(b []byte) uint64 {
	if m.is64 {
		return binary.NativeEndian.Uint64(b)
	}
	return uint64(binary.NativeEndian.Uint32(b))
}

// Values of the auxiliary vector (getauxval(3)): where the program's segments are listed, how many they are, and
// where it begins.
const (
	atPhdr  = 3
	atPhnum = 5
	atEntry = 9
)

// auxiliary returns a value of an auxiliary vector.
func (m *memory) auxiliary(auxv []byte, kind uint64) (uint64, error) {
	for w := m.wordSize(); len(auxv) >= 2*w; auxv = auxv[2*w:] {
		if m.word(auxv) == kind {
			return m.word(auxv[w:]), nil
		}
	}
	return 0, fmt.Errorf("the auxiliary vector has no value %d", kind)
}

// loaded is an object in memory.
type loaded struct {
	name      string
	base, end uint64 // of addresses
	file      *elf.File
}

// objects finds the loaded objects: what is mapped of a file, from its first byte on. The kernel's own
// (vdso(7)) has no file.
func (m *processMemory) objects(pid int) ([]loaded, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		return nil, err
	}
	var list []loaded
	for line := range strings.Lines(string(b)) {
		fields := strings.Fields(line)
		if len(fields) < 6 {
			continue
		}
		from, to, _ := strings.Cut(fields[0], "-")
		start, err1 := strconv.ParseUint(from, 16, 64)
		end, err2 := strconv.ParseUint(to, 16, 64)
		if err := errors.Join(err1, err2); err != nil {
			return nil, err
		}
		path := fields[5]
		if path == "[vdso]" {
			list = append(list, loaded{path, start, end, nil})
		}
		if path == "[stack]" || path == "[heap]" {
			m.others = append(m.others, loaded{path, start, end, nil})
		}
		if !filepath.IsAbs(path) || strings.Trim(fields[2], "0") != "" || len(list) > 0 && start < list[len(list)-1].end {
			continue
		}
		file, err := elf.Open(path)
		var format *elf.FormatError
		if errors.As(err, &format) {
			continue // a locale's file
		}
		if err != nil {
			return nil, err
		}
		o := loaded{name: filepath.Base(path), base: start, file: file}
		if first := firstSegment(file); first != nil {
			o.base -= first.Vaddr - first.Vaddr%4096
		}
		o.setEnd()
		list = append(list, o)
	}
	return list, nil
}

// firstSegment returns the first segment of a file that is loaded; nil where there is none.
func firstSegment(f *elf.File) *elf.Prog {
	for _, p := range f.Progs {
		if p.Type == elf.PT_LOAD {
			return p
		}
	}
	return nil
}

// setEnd sets the end of an object that is a file.
func (o *loaded) setEnd() {
	for _, p := range o.file.Progs {
		if p.Type == elf.PT_LOAD {
			o.end = o.base + p.Vaddr + p.Memsz
		}
	}
}

// process reads the slots of objects, whose files it closes.
func (m *memory) process(list []loaded, err error) (*Process, error) {
	slices.SortFunc(list, func(a, b loaded) int { return cmp.Or(cmp.Compare(a.name, b.name), cmp.Compare(a.base, b.base)) })
	defer func() {
		for _, o := range list {
			if o.file != nil {
				o.file.Close() //nolint:errcheck // only read
			}
		}
	}()
	if err != nil {
		return nil, err
	}
	byBase := slices.SortedFunc(slices.Values(list), func(a, b loaded) int { return cmp.Compare(a.base, b.base) })
	p := &Process{}
	for _, o := range list {
		if o.file == nil {
			continue
		}
		offsets, err := relocated(o.file)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", o.name, err)
		}
		object := Object{Name: o.name}
		for _, offset := range offsets {
			word, err := m.wordAt(o.base + offset)
			if err != nil {
				return nil, fmt.Errorf("%s: read %#x: %v", o.name, offset, err)
			}
			object.Slots = append(object.Slots, Slot{offset, m.value(byBase, word)})
		}
		p.Objects = append(p.Objects, object)
	}
	return p, nil
}

// value returns what a word is; list is in the order of the objects' addresses.
func (m *memory) value(list []loaded, word uint64) Value {
	i, found := slices.BinarySearchFunc(list, word, func(o loaded, word uint64) int { return cmp.Compare(o.base, word) })
	if !found {
		i--
	}
	if i >= 0 && word < list[i].end {
		return Value{list[i].name, word - list[i].base}
	}
	for _, o := range m.others {
		if word >= o.base && word < o.end {
			return Value{o.name, 0}
		}
	}
	return Value{"", word}
}

// wordAt reads a word. Words are asked for in their order, mostly.
func (m *memory) wordAt(addr uint64) (uint64, error) {
	w := uint64(m.wordSize())
	if addr < m.readAt || addr+w > m.readAt+uint64(len(m.window)) {
		m.readAt = addr
		b := make([]byte, m.atOnce)
		n, err := m.ReadAt(b, int64(addr)) // stops where nothing is mapped
		if m.window = b[:n]; uint64(n) < w {
			return 0, err
		}
	}
	return m.word(m.window[addr-m.readAt:]), nil
}

// relocated returns the addresses of what a file's dynamic relocations are for, sorted, each once.
func relocated(f *elf.File) ([]uint64, error) {
	is64 := f.Class == elf.ELFCLASS64
	word := func(b []byte) uint64 {
		if is64 {
			return f.ByteOrder.Uint64(b)
		}
		return uint64(f.ByteOrder.Uint32(b))
	}
	w := uint64(4)
	if is64 {
		w = 8
	}
	value := func(tag elf.DynTag) uint64 {
		values, err := f.DynValue(tag)
		if err != nil || len(values) == 0 {
			return 0
		}
		return values[len(values)-1]
	}
	found := make(map[uint64]bool)
	table := func(addr, size, entry uint64) ([]byte, error) {
		if addr == 0 || size == 0 {
			return nil, nil
		}
		for _, p := range f.Progs {
			if p.Type == elf.PT_LOAD && addr >= p.Vaddr && addr+size <= p.Vaddr+p.Filesz {
				b := make([]byte, size-size%entry)
				_, err := p.ReadAt(b, int64(addr-p.Vaddr))
				return b, err
			}
		}
		return nil, fmt.Errorf("no segment has the relocations at %#x", addr)
	}
	pltEntry := 2 * w
	if elf.DynTag(value(elf.DT_PLTREL)) == elf.DT_RELA {
		pltEntry = 3 * w
	}
	for _, t := range []struct {
		addr, size elf.DynTag
		entry      uint64
	}{{elf.DT_REL, elf.DT_RELSZ, 2 * w}, {elf.DT_RELA, elf.DT_RELASZ, 3 * w}, {elf.DT_JMPREL, elf.DT_PLTRELSZ, pltEntry}} {
		b, err := table(value(t.addr), value(t.size), t.entry)
		if err != nil {
			return nil, err
		}
		for ; uint64(len(b)) >= t.entry; b = b[t.entry:] {
			found[word(b)] = true
		}
	}
	const dtRelr, dtRelrSize = elf.DynTag(36), elf.DynTag(35) // gABI, "Relative Relocation Table"
	b, err := table(value(dtRelr), value(dtRelrSize), w)
	if err != nil {
		return nil, err
	}
	next := uint64(0)
	for ; uint64(len(b)) >= w; b = b[w:] {
		entry := word(b)
		if entry&1 == 0 {
			found[entry] = true
			next = entry + w
			continue
		}
		for bit := range 8*w - 1 {
			if entry>>(bit+1)&1 != 0 {
				found[next+bit*w] = true
			}
		}
		next += (8*w - 1) * w
	}
	delete(found, 0) // of a relocation that does nothing (R_*_NONE)
	return slices.Sorted(maps.Keys(found)), nil
}
