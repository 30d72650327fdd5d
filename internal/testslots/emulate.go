package testslots

import (
	"bytes"
	"cmp"
	"debug/elf"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	securejoin "github.com/cyphar/filepath-securejoin"
)

// Emulate is Run for a program of another processor, of 64 bits. The emulator is one of QEMU's for programs, such as
// qemu-aarch64-static, by its path where the command runs. In /tmp there it has a directory for a socket, which
// is removed.
func Emulate(emulator string, cmd *exec.Cmd) (*Process, error) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	root := cmd.SysProcAttr.Chroot
	dir, err := os.MkdirTemp(filepath.Join(root, "/tmp"), "testslots-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // it is one of the test's in a directory for temporary files
	if err := os.Chmod(dir, 0o777); err != nil {
		return nil, err
	}
	socket := filepath.Join(dir, "gdb")
	program := cmd.Path
	within := func(path string) string { return path }
	if root != "" {
		within = func(path string) string { return filepath.Join(root, path) }
		socket = filepath.Join("/tmp", filepath.Base(dir), "gdb")
	}
	// With a seed, what the loader takes at random (__stack_chk_guard) is the same each time.
	cmd.Args = slices.Concat([]string{emulator, "-seed", "1", "-g", socket, program}, cmd.Args[1:])
	cmd.Path = emulator
	var said bytes.Buffer
	cmd.Stderr = &said
	cmd.WaitDelay = 10 * time.Second // for what the program may have started
	if err := startUnrandomized(cmd); err != nil {
		return nil, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	p, err := debug(within(socket), program, root, ended)
	cmd.Process.Kill() //nolint:errcheck // it may have ended
	<-ended            //nolint:errcheck // it was killed
	if err != nil {
		return nil, fmt.Errorf("run %s: %w: %s", program, err, said.Bytes())
	}
	return p, nil
}

// debug stops and reads a program that an emulator has not started yet. What is sent to ended is sent again.
func debug(socket, program, root string, ended chan error) (*Process, error) {
	r, err := dial(socket, ended)
	if err != nil {
		return nil, err
	}
	defer r.conn.Close()
	auxv, err := r.transfer("auxv")
	if err != nil {
		return nil, err
	}
	m := &memory{ReaderAt: r, is64: true, atOnce: packetBytes}
	entry, err := m.auxiliary(auxv, atEntry)
	if err != nil {
		return nil, err
	}
	name, err := m.auxiliary(auxv, atExecfn) // which stands at the top of the stack
	if err != nil {
		return nil, err
	}
	m.others = []loaded{{"[stack]", name - 8<<20, name + 4096, nil}}
	if answer, err := r.ask(fmt.Sprintf("Z0,%x,4", entry)); err != nil || answer != "OK" {
		return nil, fmt.Errorf("stop at %#x: %q, %w", entry, answer, err)
	}
	for signal := "05"; ; {
		command := "c"
		if signal != "05" {
			command = "C" + signal
		}
		answer, err := r.ask(command)
		if err != nil {
			return nil, err
		}
		if len(answer) < 3 || answer[0] != 'T' && answer[0] != 'S' {
			return nil, fmt.Errorf("it ended before its entry point: %s", answer)
		}
		if signal = answer[1:3]; signal == "05" {
			break
		}
	}
	list, err := m.linked(auxv, program, root)
	return m.process(list, err)
}

// dial connects to an emulator, which listens once it has begun.
func dial(socket string, ended chan error) (*remote, error) {
	for {
		conn, err := net.Dial("unix", socket)
		if err == nil {
			return &remote{conn: conn}, conn.SetDeadline(time.Now().Add(5 * time.Minute))
		}
		select {
		case status := <-ended:
			ended <- status
			return nil, fmt.Errorf("the emulator ended: %v", status)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// linked returns the objects of the loader's list (link.h, struct link_map), to which the program's dynamic section leads.
func (m *memory) linked(auxv []byte, program, root string) (list []loaded, err error) {
	defer func() {
		if err != nil {
			for _, o := range list {
				o.file.Close() //nolint:errcheck // only read
			}
			list = nil
		}
	}()
	phdr, err := m.auxiliary(auxv, atPhdr)
	if err != nil {
		return nil, err
	}
	count, err := m.auxiliary(auxv, atPhnum)
	if err != nil {
		return nil, err
	}
	dynamic, bias := uint64(0), uint64(0)
	for i := range count {
		at := phdr + i*56 // Elf64_Phdr
		kind, err := m.wordAt(at)
		if err != nil {
			return nil, err
		}
		vaddr, err := m.wordAt(at + 16)
		if err != nil {
			return nil, err
		}
		switch elf.ProgType(uint32(kind)) {
		case elf.PT_PHDR:
			bias = phdr - vaddr
		case elf.PT_DYNAMIC:
			dynamic = vaddr
		}
	}
	debugger := uint64(0)
	for at := dynamic + bias; dynamic != 0; at += 16 {
		tag, err := m.wordAt(at)
		if err != nil {
			return nil, err
		}
		if elf.DynTag(tag) == elf.DT_NULL {
			break
		}
		if elf.DynTag(tag) == elf.DT_DEBUG {
			if debugger, err = m.wordAt(at + 8); err != nil {
				return nil, err
			}
		}
	}
	if debugger == 0 {
		return nil, errors.New("it tells no debugger what is loaded")
	}
	for at, next := debugger+8, uint64(0); ; at = next + 24 { // r_map, then l_next
		if next, err = m.wordAt(at); err != nil || next == 0 {
			return list, err
		}
		base, err := m.wordAt(next)
		if err != nil {
			return list, err
		}
		name, err := m.wordAt(next + 8)
		if err != nil {
			return list, err
		}
		path, err := m.textAt(name)
		if err != nil {
			return list, err
		}
		if path == "" {
			path = program
		}
		if !filepath.IsAbs(path) {
			continue // the kernel's own
		}
		if path, err = securejoin.SecureJoin(cmp.Or(root, "/"), path); err != nil {
			return list, err
		}
		o := loaded{name: filepath.Base(path), base: base}
		if o.file, err = elf.Open(path); err != nil {
			return list, err
		}
		o.setEnd()
		list = append(list, o)
	}
}

// textAt reads a text that ends with a zero byte.
func (m *memory) textAt(addr uint64) (string, error) {
	var text []byte
	for ; ; addr += 8 {
		var b [8]byte
		word, err := m.wordAt(addr)
		if err != nil {
			return "", err
		}
		for i := range b {
			b[i] = byte(word >> (8 * i)) // as it stands in memory: the processor's order is this one's
		}
		part, _, ends := bytes.Cut(b[:], []byte{0})
		if text = append(text, part...); ends {
			return string(text), nil
		}
	}
}
