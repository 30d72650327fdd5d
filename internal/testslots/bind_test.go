package testslots

import (
	"debug/elf"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hashpkg/hashpkg/elfedit"
	"github.com/hashpkg/hashpkg/internal/testneed"
)

// start returns what a program without arguments has in its slots.
func start(t *testing.T, program string, env ...string) *Process {
	t.Helper()
	cmd := exec.Command(program)
	cmd.Env = env
	p, err := Run(cmd)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestDiff has a library bound to a function that the program has, too.
func TestDiff(t *testing.T) {
	testneed.Programs(t, "gcc")
	dir := t.TempDir()
	source := "int f(void) { return 1; }\nint g(void) { return f(); }\nint (*table[])(void) = {f, g};\n"
	write(t, filepath.Join(dir, "l.c"), []byte(source))
	write(t, filepath.Join(dir, "p.c"), []byte("int g(void);\nint f(void) { return 2; }\nint main(void) { return g(); }\n"))
	gcc := func(args ...string) {
		cmd := exec.Command("gcc", args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	gcc("-shared", "-fPIC", "-Wl,-z,now", "-o", "libl.so", "l.c")
	gcc("-o", "p", "p.c", "-rdynamic", "-L.", "-ll")
	env := "LD_LIBRARY_PATH=" + dir
	shipped := start(t, filepath.Join(dir, "p"), env)
	if n := shipped.Count(); n < 100 {
		t.Errorf("%d slots", n)
	}
	if diff := shipped.Diff(start(t, filepath.Join(dir, "p"), env, "LD_BIND_NOW=")); len(diff) > 0 {
		t.Errorf("twice the same program: %q", diff)
	}
	library := filepath.Join(dir, "libl.so")
	whole := read(t, library)
	bindTo(t, library, []elfedit.Symbol{{Name: "g"}})
	if diff := shipped.Diff(start(t, filepath.Join(dir, "p"), env)); len(diff) > 0 {
		t.Errorf("bound to what is its own: %q", diff)
	}
	write(t, library, whole)
	bindTo(t, library, []elfedit.Symbol{{Name: "g"}, {Name: "f"}})
	diff := shipped.Diff(start(t, filepath.Join(dir, "p"), env))
	if len(diff) != 2 { // the procedure linkage table's, and that of the table
		t.Errorf("bound to what the program has: %q", diff)
	}
	for _, line := range diff {
		if !strings.Contains(line, ": p+0x") || !strings.Contains(line, ", and libl.so+0x") {
			t.Error(line)
		}
	}
}

// machinePrograms are what the tests of all packages need and the C++ and Python programs among it.
var machinePrograms = []string{
	"apt-get", "bzip2", "chromium", "debugfs", "dpkg-deb", "eu-elflint", "fish", "gpg", "gpgv", "ld.lld", "make", "mkfs.btrfs",
	"mkfs.ext4", "mkfs.xfs", "objcopy", "patchelf", "perl", "readelf", "rpm", "strace", "unshare", "xz", "zsh", "zstd",
}

// TestSelfBound compares programs of this machine with copies whose libraries are bound to
// themselves, lazily and at once.
func TestSelfBound(t *testing.T) {
	testneed.Programs(t, "gcc")
	dir := t.TempDir()
	shipped, bound := filepath.Join(dir, "shipped"), filepath.Join(dir, "bound")
	programs := make(map[string]bool)
	var paths []string
	for _, d := range []string{shipped, bound} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	add := func(from, name string) {
		data := read(t, from)
		if _, err := os.Stat(filepath.Join(bound, name)); err == nil {
			return
		}
		write(t, filepath.Join(shipped, name), data)
		write(t, filepath.Join(bound, name), data)
		paths = append(paths, filepath.Join(bound, name))
	}
	for _, name := range machinePrograms {
		path, err := exec.LookPath(name)
		if err != nil {
			t.Logf("left out: %v", err)
			continue
		}
		if name == "chromium" { // a script
			path = "/usr/lib/chromium/chromium"
		}
		f, err := elf.Open(path)
		if err != nil {
			t.Logf("left out: %s: %v", path, err)
			continue
		}
		needed, err := f.ImportedLibraries()
		f.Close()
		if err != nil || len(needed) == 0 {
			continue
		}
		add(path, name)
		programs[name] = true
		out, err := exec.Command("ldd", path).Output()
		if err != nil {
			t.Fatalf("ldd %s: %v", path, err)
		}
		for line := range strings.Lines(string(out)) {
			if soname, file, ok := strings.Cut(strings.TrimSpace(line), " => "); ok {
				file, _, _ = strings.Cut(file, " (")
				add(file, soname)
			}
		}
	}
	if len(programs) < 15 {
		t.Errorf("only %d programs", len(programs))
	}
	files, symbols := SelfBind(t, paths)
	slots := 0
	for name := range programs {
		for _, env := range []string{"LD_BIND_NOW=", "LD_BIND_NOW=1"} {
			before := start(t, filepath.Join(shipped, name), env, "LD_LIBRARY_PATH="+shipped)
			after := start(t, filepath.Join(bound, name), env, "LD_LIBRARY_PATH="+bound)
			if diff := before.Diff(after); len(diff) > 0 {
				t.Errorf("%s with %s has other values in %d of %d slots:\n%s", name, env, len(diff), before.Count(), first(diff))
			}
			slots += before.Count()
		}
	}
	t.Logf("%d programs, %d files of which %d bound to %d symbols, %d slots", len(programs), len(paths), files, symbols, slots)
	if symbols < 5000 {
		t.Errorf("only %d symbols are bound", symbols)
	}
}

func first(lines []string) string {
	if len(lines) > 10 {
		lines = append(slices.Clone(lines[:10]), fmt.Sprintf("and %d others", len(lines)-10))
	}
	return strings.Join(lines, "\n")
}
