package ldso

import (
	"debug/elf"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hashpkg/hashpkg/elfedit"
)

// architecture is what tells the files of one from those of others.
func architecture(class elf.Class, data elf.Data, machine elf.Machine, flags uint32) *elfedit.Info {
	return &elfedit.Info{Class: class, Data: data, Machine: machine, Flags: flags, Type: elf.ET_DYN, HasDynamic: true}
}

func TestTriplet(t *testing.T) {
	const c32, c64, le, be = elf.ELFCLASS32, elf.ELFCLASS64, elf.ELFDATA2LSB, elf.ELFDATA2MSB
	old := architecture(c32, le, elf.EM_ARM, 0x5000000)
	old.Interpreter = "/lib/ld-linux-armhf.so.3"
	for _, tt := range []struct {
		debian string // or what is no port of Debian's
		info   *elfedit.Info
		want   string
		own    uint32 // flags in the cache
	}{
		{"amd64", architecture(c64, le, elf.EM_X86_64, 0), "x86_64-linux-gnu", 0x303},
		{"x32", architecture(c32, le, elf.EM_X86_64, 0), "x86_64-linux-gnux32", 0x803},
		{"i386", architecture(c32, le, elf.EM_386, 0), "i386-linux-gnu", 3},
		{"arm64", architecture(c64, le, elf.EM_AARCH64, 0), "aarch64-linux-gnu", 0xa03},
		{"armhf", architecture(c32, le, elf.EM_ARM, 0x5000400), "arm-linux-gnueabihf", 0x903},
		{"armhf, old linker", old, "arm-linux-gnueabihf", 0x903},
		{"armel", architecture(c32, le, elf.EM_ARM, 0x5000200), "arm-linux-gnueabi", 0xb03},
		{"ppc64el", architecture(c64, le, elf.EM_PPC64, 2), "powerpc64le-linux-gnu", 0x503},
		{"ppc64", architecture(c64, be, elf.EM_PPC64, 1), "powerpc64-linux-gnu", 0x503},
		{"s390x", architecture(c64, be, elf.EM_S390, 0), "s390x-linux-gnu", 0x403},
		{"riscv64", architecture(c64, le, elf.EM_RISCV, 5), "riscv64-linux-gnu", 0x1003},
		{"mips64el", architecture(c64, le, elf.EM_MIPS, 0x80000407), "mips64el-linux-gnuabi64", 0xe03},
		{"mipsel", architecture(c32, le, elf.EM_MIPS, 0x70001007), "mipsel-linux-gnu", 3},
		{"mipsn32el", architecture(c32, le, elf.EM_MIPS, 0x80000027), "mips64el-linux-gnuabin32", 0x603},
		{"mips64r6el", architecture(c64, le, elf.EM_MIPS, 0xa0000407), "mipsisa64r6el-linux-gnuabi64", 0xe03},
		{"mipsr6el", architecture(c32, le, elf.EM_MIPS, 0x90001407), "mipsisa32r6el-linux-gnu", 0xc03},
		{"loong64", architecture(c64, le, elf.EM_LOONGARCH, 0x43), "loongarch64-linux-gnu", 0x1203},
		{"no port", architecture(c32, le, elf.EM_MSP430, 0), "", 3},
	} {
		if got := Triplet(tt.info); got != tt.want {
			t.Errorf("%s: Triplet = %q, want %q", tt.debian, got, tt.want)
		}
		if own, _ := cacheFlags(tt.info); own != tt.own {
			t.Errorf("%s: cache flags %#x, want %#x", tt.debian, own, tt.own)
		}
		if !sameMachine(tt.info, tt.info) || loadable(tt.info, tt.info) != nil {
			t.Errorf("%s: does not load its own libraries", tt.debian)
		}
	}
}

func TestLayout(t *testing.T) {
	for _, tt := range []struct {
		name string
		got  Layout
		want Layout
	}{
		{
			"Debian amd64", MultiarchLayout(amd64()),
			Layout{[]string{"/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib", "/usr/lib"}, "lib/x86_64-linux-gnu"},
		},
		{
			"no port", MultiarchLayout(architecture(elf.ELFCLASS32, elf.ELFDATA2LSB, elf.EM_MSP430, 0)),
			Layout{[]string{"/lib", "/usr/lib"}, "lib"},
		},
		{"Fedora x86_64", Lib64Layout(amd64()), Layout{[]string{"/lib64", "/usr/lib64"}, "lib64"}},
		{
			"Fedora i686", Lib64Layout(architecture(elf.ELFCLASS32, elf.ELFDATA2LSB, elf.EM_386, 0)),
			Layout{[]string{"/lib", "/usr/lib"}, "lib"},
		},
		{
			"Fedora riscv64", Lib64Layout(architecture(elf.ELFCLASS64, elf.ELFDATA2LSB, elf.EM_RISCV, 5)),
			Layout{[]string{"/lib64/lp64d", "/usr/lib64/lp64d", "/lib64", "/usr/lib64"}, "lib64/lp64d"},
		},
	} {
		if diff := cmp.Diff(tt.want, tt.got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}

func TestSameMachine(t *testing.T) {
	const c32, c64, le = elf.ELFCLASS32, elf.ELFCLASS64, elf.ELFDATA2LSB
	for _, tt := range []struct {
		name             string
		library, program *elfedit.Info
		want             bool
	}{
		{"x32 for amd64", architecture(c32, le, elf.EM_X86_64, 0), amd64(), false},
		{"armel for armhf", architecture(c32, le, elf.EM_ARM, 0x5000200), architecture(c32, le, elf.EM_ARM, 0x5000400), false},
		{"unmarked for armhf", architecture(c32, le, elf.EM_ARM, 0x5000000), architecture(c32, le, elf.EM_ARM, 0x5000400), true},
		{"armhf for armel", architecture(c32, le, elf.EM_ARM, 0x5000400), architecture(c32, le, elf.EM_ARM, 0x5000200), false},
		{"ELFv1 for ppc64el", architecture(c64, le, elf.EM_PPC64, 1), architecture(c64, le, elf.EM_PPC64, 2), false},
		{"unmarked for ppc64el", architecture(c64, le, elf.EM_PPC64, 0), architecture(c64, le, elf.EM_PPC64, 2), true},
		{"soft float for riscv64", architecture(c64, le, elf.EM_RISCV, 1), architecture(c64, le, elf.EM_RISCV, 5), false},
		{"o32 for n32", architecture(c32, le, elf.EM_MIPS, 0), architecture(c32, le, elf.EM_MIPS, 0x20), false},
	} {
		if got := sameMachine(tt.library, tt.program); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestLegacySubdirs(t *testing.T) {
	want := []string{"tls/p/x", "tls/p", "tls/x", "tls", "p/x", "p", "x"}
	if diff := cmp.Diff(want, LegacySubdirs("tls", "p", "x")); diff != "" {
		t.Errorf("subdirectories (-want +got):\n%s", diff)
	}
}
