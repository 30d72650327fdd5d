package elfedit

import (
	"debug/elf"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hashpkg/hashpkg/digest"
)

var closureKinds = map[string]Closure{
	"amd64": {Class: elf.ELFCLASS64, Data: elf.ELFDATA2LSB, Machine: elf.EM_X86_64},
	"i386":  {Class: elf.ELFCLASS32, Data: elf.ELFDATA2LSB, Machine: elf.EM_386},
	"arm64": {Class: elf.ELFCLASS64, Data: elf.ELFDATA2LSB, Machine: elf.EM_AARCH64},
	"armhf": {Class: elf.ELFCLASS32, Data: elf.ELFDATA2LSB, Machine: elf.EM_ARM, Flags: 0x5000400},
	"s390x": {Class: elf.ELFCLASS64, Data: elf.ELFDATA2MSB, Machine: elf.EM_S390},
}

var closureNames = []string{"/var/sys/libjq1/1.7/usr/lib/libjq.so.1", "/var/sys/libc6/2.41/usr/lib/libc.so.6", "libjq.so.1"}

func closureBytes(t testing.TB, c Closure, needed ...string) []byte {
	t.Helper()
	c.Needed = needed
	b, err := c.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestClosureBytes has the digests of objects. Programs carry them in their edits: other
// bytes would give every one of them another identity.
func TestClosureBytes(t *testing.T) {
	want := map[string]string{
		"amd64": "30f8eb2fad654eded5ebee432ef54d9b5cb5c86d84b45ce470006a9c25c52f14",
		"arm64": "7d93f909ded4640a3fcd76c1be18e38e853478e8f98e6d7c98be60876756a709",
		"armhf": "f9b57a96833729134e36f8a45171353bba5628340d73c7499544653fbdaac98c",
		"i386":  "3b18119974fadba434f549859cb052d48a9eab4f575084644d8790351f4092f6",
		"s390x": "a07fa55d17f9ca219b2f55e975eca8fc98abf95515da5b846fc0f21635dbd4c6",
	}
	for name, c := range closureKinds {
		b := closureBytes(t, c, closureNames...)
		if have := digest.Of(b).String(); have != want[name] {
			t.Errorf("%s: the digest is %s, want %s, of\n%s", name, have, want[name], hex.Dump(b))
		}
	}
}

func TestClosureIsInspected(t *testing.T) {
	for name, c := range closureKinds {
		for _, needed := range [][]string{nil, closureNames, slices.Repeat(closureNames, 300)} {
			info := mustInspect(t, closureBytes(t, c, needed...))
			if !slices.Equal(info.Needed, needed) {
				t.Errorf("%s: it needs %q, want %q", name, info.Needed, needed)
			}
			if info.Class != c.Class || info.Data != c.Data || info.Machine != c.Machine || info.Flags != c.Flags || info.Type != elf.ET_DYN {
				t.Errorf("%s: its header is %+v", name, info)
			}
			if !info.IsLibrary() || info.Soname != "" || info.ExecStack || !info.HasStack || info.RelRO || info.TextRel {
				t.Errorf("%s: it is no library that needs others and no more: %+v", name, info)
			}
			features := closureMachines[c.Machine].kind != 0
			kinds := []uint32{noteGNUProperty, noteBuildID}
			if !features {
				kinds = kinds[1:]
			}
			var have []uint32
			for _, n := range info.Notes {
				have = append(have, n.Type)
			}
			if !slices.Equal(have, kinds) {
				t.Errorf("%s: its notes have the types %v, want %v", name, have, kinds)
			}
		}
	}
}

// TestClosureIsRead asks readelf, and eu-elflint, which has nothing to say but that
// there are no section headers.
func TestClosureIsRead(t *testing.T) {
	tool(t, "readelf")
	tool(t, "eu-elflint")
	properties := map[string]string{"amd64": "x86 feature: IBT, SHSTK", "i386": "x86 feature: IBT, SHSTK", "arm64": "AArch64 feature: BTI, PAC"}
	for name, c := range closureKinds {
		path := filepath.Join(t.TempDir(), name+".so")
		if err := os.WriteFile(path, closureBytes(t, c, closureNames...), 0o644); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command("readelf", "-hlndW", "--use-dynamic", "--histogram", path).CombinedOutput()
		text := string(out)
		if err != nil || strings.Contains(text, "rror") || strings.Contains(text, "arning") {
			t.Errorf("%s: readelf: %v\n%s", name, err, text)
		}
		last := -1
		for _, n := range closureNames {
			at := strings.Index(text, fmt.Sprintf("Shared library: [%s]", n))
			if at <= last {
				t.Errorf("%s: readelf does not see that it needs %s, after the one before:\n%s", name, n, text)
			}
			last = at
		}
		if !strings.Contains(text, properties[name]) {
			t.Errorf("%s: readelf does not see the property %q:\n%s", name, properties[name], text)
		}
		if complaints := newComplaints(nil, lint(t, path)); len(complaints) > 0 {
			t.Errorf("%s: eu-elflint: %q", name, complaints)
		}
	}
}

// TestClosureHasAuxiliaries has what is loaded before an object read by readelf, and put there by glibc's loader, which
// passes over what is not there.
func TestClosureHasAuxiliaries(t *testing.T) {
	for name, c := range closureKinds {
		c.Auxiliary = []string{"libz.so.1", "libnone.so.1"}
		if info := mustInspect(t, closureBytes(t, c, closureNames...)); !slices.Equal(info.Auxiliary, c.Auxiliary) || !slices.Equal(info.Needed, closureNames) {
			t.Errorf("%s: it needs %q and has the auxiliaries %q", name, info.Needed, info.Auxiliary)
		}
	}
	tool(t, "gcc")
	tool(t, "readelf")
	dir := t.TempDir()
	run := func(name string, args ...string) string {
		t.Helper()
		out, err := exec.Command(name, args...).CombinedOutput()
		if err != nil {
			t.Fatalf("%s %q: %v\n%s", name, args, err, out)
		}
		return string(out)
	}
	library := func(name string, args ...string) string {
		t.Helper()
		file := filepath.Join(dir, "lib"+name+".so")
		source := filepath.Join(dir, name+".c")
		if err := os.WriteFile(source, []byte("int "+name+";\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		run("gcc", append([]string{"-shared", "-fPIC", "-nostdlib", "-o", file, source, "-L" + dir, "-Wl,--no-as-needed"}, args...)...)
		return file
	}
	late, next := library("late"), library("next")
	first := library("first", late)
	source, program := filepath.Join(dir, "p.c"), filepath.Join(dir, "p")
	if err := os.WriteFile(source, []byte("int main(void) { return 0; }\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	run("gcc", "-o", program, source)
	info := mustInspect(t, mustRead(t, program))
	c := Closure{Class: info.Class, Data: info.Data, Machine: info.Machine, Flags: info.Flags, Auxiliary: []string{late, "libnone.so.1"}}
	object := filepath.Join(dir, "object.so")
	if err := os.WriteFile(object, closureBytes(t, c), 0o444); err != nil {
		t.Fatal(err)
	}
	if out := run("readelf", "-d", object); !strings.Contains(out, "Auxiliary library: ["+late+"]") {
		t.Errorf("readelf does not see the auxiliary library:\n%s", out)
	}
	edited := filepath.Join(dir, "edited")
	if err := os.WriteFile(edited, mustMake(t, mustRead(t, program), Changes{SetNeeded: []string{first, object, next, "libc.so.6"}}), 0o755); err != nil {
		t.Fatal(err)
	}
	out, last := run("env", "LD_TRACE_LOADED_OBJECTS=1", edited), -1
	for _, want := range []string{first, late, object, next} {
		at := strings.Index(out, want)
		if at <= last {
			t.Errorf("%s is not loaded behind what stands before it:\n%s", filepath.Base(want), out)
		}
		last = at
	}
}

func TestClosureRefused(t *testing.T) {
	good := closureKinds["amd64"]
	for name, c := range map[string]Closure{
		"machine":    {Class: good.Class, Data: good.Data, Machine: elf.EM_MIPS},
		"class":      {Data: good.Data, Machine: good.Machine},
		"byte order": {Class: good.Class, Machine: good.Machine},
		"no name":    {Class: good.Class, Data: good.Data, Machine: good.Machine, Needed: []string{""}},
		"auxiliary":  {Class: good.Class, Data: good.Data, Machine: good.Machine, Auxiliary: []string{"a\x00b"}},
		"NUL":        {Class: good.Class, Data: good.Data, Machine: good.Machine, Needed: []string{"a\x00b"}},
		"long name":  {Class: good.Class, Data: good.Data, Machine: good.Machine, Needed: []string{strings.Repeat("x", maxName+1)}},
	} {
		var refused *RefusedError
		if b, err := c.Bytes(); !errors.As(err, &refused) || b != nil {
			t.Errorf("%s: %d bytes, error %v, want a refusal", name, len(b), err)
		}
	}
	if HasClosures(elf.EM_MIPS) || !HasClosures(elf.EM_X86_64) {
		t.Error("HasClosures does not say what Bytes does")
	}
}

// TestClosureLoads has glibc's loader load libraries in an object's order.
func TestClosureLoads(t *testing.T) {
	tool(t, "gcc")
	dir := t.TempDir()
	run := func(name string, args ...string) string {
		t.Helper()
		out, err := exec.Command(name, args...).CombinedOutput()
		if err != nil {
			t.Fatalf("%s %q: %v\n%s", name, args, err, out)
		}
		return string(out)
	}
	write := func(name, text string) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return p
	}
	c := closureKinds["amd64"]
	for _, lib := range []string{"a", "b"} {
		src := write(lib+".c", fmt.Sprintf("const char *name(void) { return %q; }\n", lib))
		run("gcc", "-shared", "-fPIC", "-o", filepath.Join(dir, "lib"+lib+".so"), src)
	}
	program := filepath.Join(dir, "program")
	run("gcc", "-o", program, write("p.c", "extern const char *name(void); int puts(const char *);\nint main(void) { puts(name()); }\n"), "-L"+dir, "-la")
	info := mustInspect(t, mustRead(t, program))
	c.Class, c.Data, c.Machine, c.Flags = info.Class, info.Data, info.Machine, info.Flags
	for _, order := range []string{"ab", "ba"} {
		var needed []string
		for _, lib := range order {
			needed = append(needed, filepath.Join(dir, "lib"+string(lib)+".so"))
		}
		object := filepath.Join(dir, order+".so")
		if err := os.WriteFile(object, closureBytes(t, c, needed...), 0o444); err != nil {
			t.Fatal(err)
		}
		edited := mustMake(t, mustRead(t, program), Changes{SetNeeded: []string{object, "libc.so.6"}})
		bound := filepath.Join(dir, "bound-"+order)
		if err := os.WriteFile(bound, edited, 0o755); err != nil {
			t.Fatal(err)
		}
		if have := run(bound); have != order[:1]+"\n" {
			t.Errorf("of libraries in the order %s the program found %q first", order, have)
		}
	}
}

func mustRead(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
