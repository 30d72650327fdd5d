package deb

import (
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"runtime"
	"slices"
	"strings"

	"github.com/hashpkg/hashpkg/backends"
)

// Architectures implements [backends.Repositories]: the root's own architecture, and
// those that its dpkg has been told of.
func (Format) Architectures(root backends.Root) ([]string, error) {
	own, err := ownArchitecture(root)
	if err != nil {
		return nil, err
	}
	const name = databaseDir + "/arch"
	lines, err := backends.ReadLines(root, name, maxAptFile, 1024)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read the architectures of dpkg: %w", err)
	}
	all := []string{own}
	for _, line := range lines {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || line == "all" || slices.Contains(all, line):
		case !isArchitecture(line):
			return nil, fmt.Errorf("%s: %.80q is not an architecture", backends.HostName(root, name), line)
		default:
			all = append(all, line)
		}
	}
	return all, nil
}

// ownArchitecture returns the architecture of the root's shell or another program that
// every system has, else the host's.
func ownArchitecture(root backends.Root) (string, error) {
	for _, name := range []string{"/bin/sh", "/usr/bin/sh", "/bin/bash", "/usr/bin/env"} {
		header, err := readHead(root, name)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
			continue
		}
		if err != nil {
			return "", fmt.Errorf("find the root's architecture: %w", err)
		}
		if a := elfArchitecture(header); a != "" {
			return a, nil
		}
	}
	return debianName(runtime.GOARCH), nil
}

// readHead returns the first bytes of a file, as many as an ELF header has.
func readHead(root backends.Root, name string) ([]byte, error) {
	f, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := backends.CheckRegular(f, math.MaxInt64); err != nil {
		return nil, &fs.PathError{Op: "read", Path: backends.HostName(root, name), Err: err}
	}
	return io.ReadAll(io.LimitReader(f, 64))
}

// debianName returns Debian's name of an architecture that Go has another one for.
func debianName(goarch string) string {
	switch goarch {
	case "386":
		return "i386"
	case "arm":
		return "armhf"
	case "ppc64le":
		return "ppc64el"
	case "mips64le":
		return "mips64el"
	}
	return goarch
}

// elfArchitecture returns Debian's name of what an ELF file with this header is for; ""
// if that is not known (dpkg: cputable, abitable).
func elfArchitecture(header []byte) string {
	const hardFloat = 0x400 // of ARM (ELF for the Arm Architecture, EF_ARM_ABI_FLOAT_HARD)
	if len(header) < 52 || string(header[:4]) != elf.ELFMAG {
		return ""
	}
	is64 := elf.Class(header[elf.EI_CLASS]) == elf.ELFCLASS64
	order, flagsAt := binary.ByteOrder(binary.LittleEndian), 36
	isLittle := elf.Data(header[elf.EI_DATA]) == elf.ELFDATA2LSB
	if !isLittle {
		order = binary.BigEndian
	}
	if is64 {
		flagsAt = 48
	}
	flags := order.Uint32(header[flagsAt:])
	switch machine := elf.Machine(order.Uint16(header[18:])); {
	case machine == elf.EM_X86_64 && is64:
		return "amd64"
	case machine == elf.EM_X86_64:
		return "x32"
	case machine == elf.EM_386:
		return "i386"
	case machine == elf.EM_AARCH64 && isLittle:
		return "arm64"
	case machine == elf.EM_ARM && flags&hardFloat != 0:
		return "armhf"
	case machine == elf.EM_ARM:
		return "armel"
	case machine == elf.EM_PPC64 && isLittle:
		return "ppc64el"
	case machine == elf.EM_PPC64:
		return "ppc64"
	case machine == elf.EM_S390 && is64:
		return "s390x"
	case machine == elf.EM_RISCV && is64:
		return "riscv64"
	case machine == elf.EM_LOONGARCH && is64:
		return "loong64"
	case machine == elf.EM_MIPS && is64 && isLittle:
		return "mips64el"
	}
	return ""
}
