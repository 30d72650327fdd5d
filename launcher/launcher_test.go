package launcher_test

import (
	"bytes"
	"debug/elf"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/hashpkg/hashpkg/internal/testneed"
	"github.com/hashpkg/hashpkg/launcher"
)

var architectures = []string{"amd64", "arm64"}

func TestReadWhatNewMakes(t *testing.T) {
	odd := launcher.Config{View: "/a:b/c,d/\\", Host: "/é", Program: "/usr/b c", Prefix: "/a:b", KeepName: true}
	several := config
	several.More, several.Tree, several.Libraries = []string{"/view", "/other/view"}, "/tree", true
	for _, arch := range architectures {
		for _, c := range []launcher.Config{config, odd, linkerOf, several} {
			b, err := launcher.New(arch, c)
			if err != nil {
				t.Fatal(err)
			}
			if got, ok := launcher.Read(b); !ok || !reflect.DeepEqual(got, c) {
				t.Errorf("%s: Read returns %+v, %v; want %+v", arch, got, ok, c)
			}
			again, err := launcher.New(arch, c)
			if err != nil || !bytes.Equal(b, again) {
				t.Errorf("%s: New makes other bytes the second time (%v)", arch, err)
			}
		}
	}
}

func TestNewRefuses(t *testing.T) {
	long := "/" + strings.Repeat("x", 1000)
	for _, test := range []struct {
		name   string
		change func(c *launcher.Config)
		want   string // in the error; "" if there is none
	}{
		{"nothing", func(*launcher.Config) {}, ""},
		{"no fallback", func(c *launcher.Config) { c.Fallback = "" }, ""},
		{"no view", func(c *launcher.Config) { c.View = "" }, "the view"},
		{"relative view", func(c *launcher.Config) { c.View = "a/b" }, `the view "a/b"`},
		{"host that is not clean", func(c *launcher.Config) { c.Host = "/a/../b" }, `the host's directory "/a/../b"`},
		{"slash at the end", func(c *launcher.Config) { c.Prefix = "/a/" }, `the prefix "/a/"`},
		{"root as the prefix", func(c *launcher.Config) { c.Prefix = "/" }, `the prefix "/"`},
		{"usr as the prefix", func(c *launcher.Config) { c.Prefix = "/usr" }, "the prefix is /usr"},
		{"zero byte", func(c *launcher.Config) { c.Fallback = "/a\x00b" }, `the fallback "/a\x00b"`},
		{"new line", func(c *launcher.Config) { c.View = "/a\nb" }, "control character"},
		{"program outside of usr", func(c *launcher.Config) { c.Program = "/opt/x" }, `the program "/opt/x"`},
		{"a list of views that is none", func(c *launcher.Config) { c.More = []string{"/a:/b"} }, "an overlay cannot take"},
		{"a relative one of several", func(c *launcher.Config) { c.More = []string{"/a", "b"} }, `the view "b"`},
		{"libraries of a linker", func(c *launcher.Config) { c.Libraries, c.Linker = true, true }, "as it is"},
		{"long host", func(c *launcher.Config) { c.Host = long }, "1001 bytes; 512 are possible"},
		{"long paths", func(c *launcher.Config) { c.View, c.Program, c.Fallback, c.Prefix = long, "/usr"+long, long, long+long }, "4096 are possible"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := config
			test.change(&c)
			b, err := launcher.New("amd64", c)
			switch {
			case test.want == "" && err != nil:
				t.Errorf("New: %v", err)
			case test.want != "" && (err == nil || b != nil || !strings.Contains(err.Error(), test.want)):
				t.Errorf("New returns %d bytes and the error %v; want one with %q", len(b), err, test.want)
			}
		})
	}
	if _, err := launcher.New("riscv64", config); !errors.Is(err, launcher.ErrArchitecture) {
		t.Errorf("New for riscv64 returns the error %v", err)
	}
}

func TestReadOtherFiles(t *testing.T) {
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	b, err := launcher.New("amd64", config)
	if err != nil {
		t.Fatal(err)
	}
	blank, err := os.ReadFile("amd64.bin")
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(b, []byte(config.View))
	relative, trailing := bytes.Clone(b), bytes.Clone(b)
	relative[at] = 'x'
	trailing[at+4095] = 'x'
	for name, file := range map[string][]byte{
		"nothing": nil, "a script": []byte("#!/bin/sh\n"), "this test": self, "a launcher without a configuration": blank,
		"a relative path": relative, "bytes after the configuration": trailing,
	} {
		if c, ok := launcher.Read(file); ok || !reflect.DeepEqual(c, launcher.Config{}) {
			t.Errorf("%s: Read returns %+v, %v", name, c, ok)
		}
	}
	for n := range at + 100 {
		if _, ok := launcher.Read(b[:n]); ok {
			t.Fatalf("Read takes the first %d bytes of a launcher for one", n)
		}
	}
}

func FuzzRead(f *testing.F) {
	for _, arch := range architectures {
		b, err := launcher.New(arch, config)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c, ok := launcher.Read(b)
		if !ok {
			return
		}
		if _, err := launcher.New("amd64", c); err != nil {
			t.Errorf("Read returns %+v, which New refuses: %v", c, err)
		}
	})
}

// TestPrograms asks another reader of ELF files what the programs are.
func TestPrograms(t *testing.T) {
	machines := map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}
	for _, arch := range architectures {
		b, err := launcher.New(arch, config)
		if err != nil {
			t.Fatal(err)
		}
		f, err := elf.NewFile(bytes.NewReader(b))
		if err != nil {
			t.Fatalf("%s: %v", arch, err)
		}
		if f.Machine != machines[arch] || f.Type != elf.ET_EXEC {
			t.Errorf("%s: a %v for %v", arch, f.Type, f.Machine)
		}
		stack := false
		for _, p := range f.Progs {
			switch {
			case p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC:
				t.Errorf("%s: it has a %v", arch, p.Type)
			case p.Flags&(elf.PF_W|elf.PF_X) == elf.PF_W|elf.PF_X:
				t.Errorf("%s: a %v can be written to and executed", arch, p.Type)
			case p.Type == elf.PT_LOAD && p.Filesz == 0 && p.Vaddr%p.Align != 0:
				t.Errorf("%s: the memory at %#x is not on a page, and kernels before 6.7 do not start that", arch, p.Vaddr)
			case p.Type == elf.PT_GNU_STACK:
				stack = true
			}
		}
		if !stack {
			t.Errorf("%s: it does not say that its stack holds no code", arch)
		}
		if len(b) > 21<<10 {
			t.Errorf("%s: it has %d bytes", arch, len(b))
		}
	}
}

// TestProgramsAreCurrent builds the programs from their source again.
func TestProgramsAreCurrent(t *testing.T) {
	testneed.Programs(t, "x86_64-linux-gnu-gcc", "aarch64-linux-gnu-gcc", "readelf")
	for _, compiler := range []string{"x86_64-linux-gnu-gcc", "aarch64-linux-gnu-gcc"} {
		version, err := exec.Command(compiler, "--version").Output()
		if err != nil {
			t.Fatal(err)
		}
		if line, _, _ := strings.Cut(string(version), "\n"); !strings.Contains(line, "(Debian 12.2.0-14") {
			testneed.Unmet(t, "it needs the compilers of Debian 12, and this is ", line)
		}
	}
	dir := t.TempDir()
	if out, err := exec.Command("../scripts/launcher.sh", dir).CombinedOutput(); err != nil {
		t.Fatalf("build the programs: %v: %s", err, out)
	}
	for _, arch := range append([]string{"refresh-amd64", "refresh-arm64"}, architectures...) {
		name := arch + ".bin"
		built, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		committed, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(built, committed) {
			t.Errorf("%s is not what its source makes: run `make launcher`", name)
		}
		if out, err := exec.Command("readelf", "-aW", name).CombinedOutput(); err != nil || bytes.Contains(out, []byte("readelf:")) {
			t.Errorf("readelf %s: %v: %s", name, err, out)
		}
	}
}
