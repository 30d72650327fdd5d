package ldso

import (
	"debug/elf"
	"fmt"
	"strings"

	"github.com/hashpkg/hashpkg/elfedit"
)

// Layout is where a build of glibc looks for libraries.
type Layout struct {
	// Dirs are the default directories, in the order of the search.
	Dirs []string
	// Lib is the value of $LIB.
	Lib string
}

// MultiarchLayout is Debian's layout for the architecture of a file. A
// machine without a triplet has the last two directories only.
func MultiarchLayout(info *elfedit.Info) Layout {
	triplet := Triplet(info)
	if triplet == "" {
		return Layout{Dirs: []string{"/lib", "/usr/lib"}, Lib: "lib"}
	}
	return Layout{
		Dirs: []string{"/lib/" + triplet, "/usr/lib/" + triplet, "/lib", "/usr/lib"},
		Lib:  "lib/" + triplet,
	}
}

// Lib64Layout is the layout of Fedora, RHEL and openSUSE for the architecture
// of a file.
func Lib64Layout(info *elfedit.Info) Layout {
	lib := "lib"
	if info.Class == elf.ELFCLASS64 {
		lib = "lib64"
		if info.Machine == elf.EM_RISCV {
			return Layout{
				Dirs: []string{"/lib64/lp64d", "/usr/lib64/lp64d", "/lib64", "/usr/lib64"},
				Lib:  "lib64/lp64d",
			}
		}
	}
	return Layout{Dirs: []string{"/" + lib, "/usr/" + lib}, Lib: lib}
}

// The bits of e_flags that tell ABIs of one machine apart, from the
// supplements of the gABI for each.
const (
	armFloatSoft  = 0x200
	armFloatHard  = 0x400
	mipsABI2      = 0x20 // n32
	mipsNaN2008   = 0x400
	mipsArchMask  = 0xf0000000
	mipsArch32R6  = 0x90000000
	mipsArch64R6  = 0xa0000000
	ppc64ABIMask  = 0x3
	riscvFloatABI = 0x6
	larchABIMask  = 0x7
	larchSoft     = 0x1
)

// Triplet returns Debian's multiarch name of the architecture of a file, such
// as "x86_64-linux-gnu", or "x86_64-linux-musl" for one of musl; it is empty for one
// that Debian has no port to.
func Triplet(info *elfedit.Info) string {
	t := MachineTriplet(info)
	if info.Musl {
		t = strings.Replace(t, "-linux-gnu", "-linux-musl", 1)
	}
	return t
}

// MachineTriplet is Triplet for what runs on the same machines, whatever the file's C
// library is.
func MachineTriplet(info *elfedit.Info) string {
	little := info.Data == elf.ELFDATA2LSB
	wide := info.Class == elf.ELFCLASS64
	switch info.Machine {
	case elf.EM_X86_64:
		if wide {
			return "x86_64-linux-gnu"
		}
		return "x86_64-linux-gnux32"
	case elf.EM_386:
		return "i386-linux-gnu"
	case elf.EM_AARCH64:
		if wide && little {
			return "aarch64-linux-gnu"
		}
	case elf.EM_ARM:
		switch {
		case !little:
		case hardFloat(info):
			return "arm-linux-gnueabihf"
		default:
			return "arm-linux-gnueabi"
		}
	case elf.EM_PPC64:
		if little {
			return "powerpc64le-linux-gnu"
		}
		return "powerpc64-linux-gnu"
	case elf.EM_PPC:
		return "powerpc-linux-gnu"
	case elf.EM_S390:
		if wide {
			return "s390x-linux-gnu"
		}
		return "s390-linux-gnu"
	case elf.EM_RISCV:
		if wide {
			return "riscv64-linux-gnu"
		}
	case elf.EM_LOONGARCH:
		switch {
		case !wide:
		case info.Flags&larchABIMask == larchSoft:
			return "loongarch64-linux-gnusf"
		default:
			return "loongarch64-linux-gnu"
		}
	case elf.EM_MIPS:
		return mipsTriplet(info)
	case elf.EM_SPARCV9:
		return "sparc64-linux-gnu"
	case elf.EM_PARISC:
		return "hppa-linux-gnu"
	case elf.EM_68K:
		return "m68k-linux-gnu"
	case elf.EM_IA_64:
		return "ia64-linux-gnu"
	case elf.EM_ALPHA:
		return "alpha-linux-gnu"
	case elf.EM_SH:
		if little {
			return "sh4-linux-gnu"
		}
	}
	return ""
}

func mipsTriplet(info *elfedit.Info) string {
	cpu, abi := "mips", "gnu"
	arch := info.Flags & mipsArchMask
	switch {
	case info.Class == elf.ELFCLASS64:
		cpu, abi = "mips64", "gnuabi64"
	case info.Flags&mipsABI2 != 0:
		cpu, abi = "mips64", "gnuabin32"
	}
	if arch == mipsArch32R6 || arch == mipsArch64R6 {
		cpu = strings.Replace(cpu, "mips", "mipsisa", 1)
		if cpu == "mipsisa" {
			cpu += "32"
		}
		cpu += "r6"
	}
	if info.Data == elf.ELFDATA2LSB {
		cpu += "el"
	}
	return cpu + "-linux-" + abi
}

// hardFloat tells armhf from armel. Old linkers set neither flag; the name of
// the interpreter decides then.
func hardFloat(info *elfedit.Info) bool {
	if info.Flags&(armFloatHard|armFloatSoft) == 0 {
		return strings.HasSuffix(info.Interpreter, "/ld-linux-armhf.so.3") || strings.HasSuffix(info.Interpreter, "/ld-musl-armhf.so.1")
	}
	return info.Flags&armFloatHard != 0
}

// LegacySubdirs returns the subdirectories that glibc 2.36 and older makes of
// the names of capabilities: every combination in the order of the search.
// The names are in the loader's own order, such as "tls", the platform, then
// the others; their number is small.
func LegacySubdirs(names ...string) []string {
	var dirs []string
	for set := 1<<len(names) - 1; set > 0; set-- {
		var parts []string
		for i, name := range names {
			if set&(1<<(len(names)-1-i)) != 0 {
				parts = append(parts, name)
			}
		}
		dirs = append(dirs, strings.Join(parts, "/"))
	}
	return dirs
}

// sameMachine reports whether the loader of program takes a library into
// account: one for another class or machine is passed over in the search
// (glibc elf/dl-load.c, open_verify, and each dl-machine.h).
func sameMachine(library, program *elfedit.Info) bool {
	if library.Class != program.Class {
		return false
	}
	if library.Data != program.Data {
		return true // loadable refuses it
	}
	if library.Machine != program.Machine {
		return false
	}
	switch library.Machine {
	case elf.EM_PPC64:
		abi := library.Flags & ppc64ABIMask
		return abi == 0 || abi == ppc64ABI(program)
	case elf.EM_RISCV:
		return library.Flags&riscvFloatABI == program.Flags&riscvFloatABI
	case elf.EM_MIPS:
		const abi = mipsABI2 | mipsNaN2008
		return library.Flags&abi == program.Flags&abi
	case elf.EM_ARM:
		if hardFloat(program) {
			return library.Flags&armFloatSoft == 0
		}
		return library.Flags&armFloatHard == 0
	}
	return true
}

func ppc64ABI(info *elfedit.Info) uint32 {
	if info.Data == elf.ELFDATA2LSB {
		return 2
	}
	return 1
}

// loadable returns why the loader of program stops at a library instead of
// searching on.
func loadable(library, program *elfedit.Info) error {
	switch {
	case library.Data != program.Data:
		return fmt.Errorf("%w: byte order %v", ErrNotLoadable, library.Data)
	case !KnownOSABI(library):
		return fmt.Errorf("%w: OS ABI %v", ErrNotLoadable, library.OSABI)
	case library.Type != elf.ET_DYN:
		return fmt.Errorf("%w: type %v", ErrNotLoadable, library.Type)
	case library.PIE:
		return fmt.Errorf("%w: it is a position-independent executable", ErrNotLoadable)
	case !library.HasDynamic:
		return fmt.Errorf("%w: it has no dynamic section", ErrNotLoadable)
	}
	return nil
}

// KnownOSABI reports whether a loader of glibc takes a file of this OS ABI: it is for
// Linux, or says nothing (glibc elf/dl-load.c, VALID_ELF_OSABI).
func KnownOSABI(info *elfedit.Info) bool {
	switch info.OSABI {
	case elf.ELFOSABI_NONE, elf.ELFOSABI_LINUX:
		return true
	case elf.ELFOSABI_ARM, 64: // 64 is ELFOSABI_ARM_AEABI
		return info.Machine == elf.EM_ARM
	}
	return false
}

// The flags of a cache entry (glibc sysdeps/generic/ldconfig.h): a kind, and
// bits for libraries that only some loaders of a machine take.
const (
	cacheELF   = 0x0001
	cacheLibc6 = 0x0003

	cacheSPARC64        = 0x0100
	cacheIA64           = 0x0200
	cacheX86_64         = 0x0300
	cacheS390x          = 0x0400
	cachePPC64          = 0x0500
	cacheMIPSN32        = 0x0600
	cacheMIPSN64        = 0x0700
	cacheX32            = 0x0800
	cacheARMHard        = 0x0900
	cacheAArch64        = 0x0a00
	cacheARMSoft        = 0x0b00
	cacheMIPSNaN        = 0x0c00
	cacheMIPSN32NaN     = 0x0d00
	cacheMIPSN64NaN     = 0x0e00
	cacheRISCVSoft      = 0x0f00
	cacheRISCVDouble    = 0x1000
	cacheLoongArchSoft  = 0x1100
	cacheLoongArchFloat = 0x1200
)

// cacheFlags returns the flags of the cache entries that are for the loader of
// a program, and of those that it takes as well.
func cacheFlags(info *elfedit.Info) (own, also uint32) {
	wide := info.Class == elf.ELFCLASS64
	machine := uint32(0)
	switch info.Machine {
	case elf.EM_X86_64:
		machine = cacheX32
		if wide {
			machine = cacheX86_64
		}
	case elf.EM_AARCH64:
		machine = cacheAArch64
	case elf.EM_ARM:
		if hardFloat(info) {
			return cacheARMHard | cacheLibc6, cacheLibc6
		}
		return cacheARMSoft | cacheLibc6, cacheLibc6
	case elf.EM_PPC64:
		machine = cachePPC64
	case elf.EM_S390:
		if wide {
			machine = cacheS390x
		}
	case elf.EM_SPARCV9:
		machine = cacheSPARC64
	case elf.EM_IA_64:
		machine = cacheIA64
	case elf.EM_MIPS:
		machine = mipsCacheFlags(info)
	case elf.EM_RISCV:
		machine = cacheRISCVSoft
		if info.Flags&riscvFloatABI != 0 {
			machine = cacheRISCVDouble
		}
	case elf.EM_LOONGARCH:
		machine = cacheLoongArchFloat
		if info.Flags&larchABIMask == larchSoft {
			machine = cacheLoongArchSoft
		}
	}
	if machine == 0 {
		return cacheLibc6, cacheELF
	}
	return machine | cacheLibc6, machine | cacheLibc6
}

func mipsCacheFlags(info *elfedit.Info) uint32 {
	nan := info.Flags&mipsNaN2008 != 0
	switch {
	case info.Class == elf.ELFCLASS64 && nan:
		return cacheMIPSN64NaN
	case info.Class == elf.ELFCLASS64:
		return cacheMIPSN64
	case info.Flags&mipsABI2 != 0 && nan:
		return cacheMIPSN32NaN
	case info.Flags&mipsABI2 != 0:
		return cacheMIPSN32
	case nan:
		return cacheMIPSNaN
	}
	return 0
}
