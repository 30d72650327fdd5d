package elfcmd

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashpkg/hashpkg/elfedit"
)

// cacheBench is a directory with a program that needs liba.so and libb.so, and
// directories of libraries.
type cacheBench struct {
	t   *testing.T
	dir string
}

func newCacheBench(t *testing.T) cacheBench {
	t.Helper()
	if _, err := exec.LookPath("gcc"); err != nil {
		t.Skip("gcc is not installed")
	}
	b := cacheBench{t, t.TempDir()}
	for _, dir := range []string{"a", "b", "both", "hw/glibc-hwcaps", "empty"} {
		if err := os.MkdirAll(b.path(dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	b.write("a.c", "int a(void) { return 40; }\n")
	b.write("b.c", "int b(void) { return 2; }\n")
	b.write("main.c", "int a(void), b(void);\nint main(void) { return a() + b() != 42; }\n")
	b.write("file", "no directory\n")
	for _, args := range [][]string{
		{"-shared", "-fPIC", "-o", "a/liba.so", "a.c"},
		{"-shared", "-fPIC", "-o", "b/libb.so", "b.c"},
		{"-o", "main", "main.c", "-Lb", "-lb", "-La", "-la"}, // the note has them in another order
		{"-static", "-o", "static", "-xc", "/dev/null", "-nostdlib", "-Wl,-e,0"},
	} {
		cmd := exec.Command("gcc", args...)
		cmd.Dir = b.dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("gcc %q: %v: %s", args, err, out)
		}
	}
	for from, to := range map[string][]string{"a/liba.so": {"both", "hw"}, "b/libb.so": {"both", "hw"}} {
		for _, dir := range to {
			if err := os.Link(b.path(from), b.path(dir+"/"+filepath.Base(from))); err != nil {
				t.Fatal(err)
			}
		}
	}
	return b
}

func (b cacheBench) path(name string) string { return filepath.Join(b.dir, name) }

func (b cacheBench) write(name, text string) {
	b.t.Helper()
	if err := os.WriteFile(b.path(name), []byte(text), 0o755); err != nil {
		b.t.Fatal(err)
	}
}

// elf edits a file, and returns what was said about it.
func (b cacheBench) elf(args ...string) string {
	b.t.Helper()
	status, out, notes := callElf(args...)
	if status != 0 || out != "" {
		b.t.Fatalf("%q: status %d, %q, %q", args, status, out, notes)
	}
	return notes
}

// copy makes a new file of the program, with a search path.
func (b cacheBench) copy(path string) string {
	b.t.Helper()
	data, err := os.ReadFile(b.path("main"))
	if err != nil {
		b.t.Fatal(err)
	}
	b.write("copy", string(data))
	b.elf("--set-rpath", path, b.path("copy"))
	return b.path("copy")
}

// cache returns the resolution cache of a file, with the directory as D.
func (b cacheBench) cache(file string) string {
	b.t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		b.t.Fatal(err)
	}
	info, err := elfedit.Inspect(data)
	if err != nil {
		b.t.Fatal(err)
	}
	_, cache := splitCache(info.Notes)
	if cache == nil {
		return ""
	}
	return strings.ReplaceAll(string(cache.Desc), b.dir, "D")
}

func TestBuildResolutionCache(t *testing.T) {
	b := newCacheBench(t)
	for _, c := range []struct{ path, want string }{
		{"D/a:D/b", "liba.so\x00=D/a/liba.so\x00libb.so\x00=D/b/libb.so\x00\x00"},
		{"D/a:D/both", "liba.so\x00=D/a/liba.so:=D/both/liba.so\x00libb.so\x00=D/both/libb.so\x00\x00"},
		{"D/a/", "liba.so\x00=D/a//liba.so\x00\x00"},
		{"D/empty:D/a", "liba.so\x00=D/a/liba.so\x00\x00"},
		{"$ORIGIN/a", "liba.so\x00?$ORIGIN/a\x00libb.so\x00?$ORIGIN/a\x00libc.so.6\x00?$ORIGIN/a\x00\x00"},
		{"D/hw:D/a", "liba.so\x00?D/hw:=D/a/liba.so\x00libb.so\x00?D/hw\x00libc.so.6\x00?D/hw\x00\x00"},
		{":D/a", "liba.so\x00?:=D/a/liba.so\x00libb.so\x00?\x00libc.so.6\x00?\x00\x00"},
		{"D/a:", "liba.so\x00=D/a/liba.so:?\x00libb.so\x00?\x00libc.so.6\x00?\x00\x00"},
		{"relative:D/a", "liba.so\x00?relative:=D/a/liba.so\x00libb.so\x00?relative\x00libc.so.6\x00?relative\x00\x00"},
		{"D/none:D/a", "liba.so\x00?D/none:=D/a/liba.so\x00libb.so\x00?D/none\x00libc.so.6\x00?D/none\x00\x00"},
		{"D/file:D/a", "liba.so\x00?D/file:=D/a/liba.so\x00libb.so\x00?D/file\x00libc.so.6\x00?D/file\x00\x00"},
	} {
		file := b.copy(strings.ReplaceAll(c.path, "D/", b.dir+"/"))
		for range 2 { // the second time changes nothing
			if notes := b.elf("--build-resolution-cache", file); notes != "" {
				t.Errorf("%s: told %q", c.path, notes)
			}
			if got := b.cache(file); got != c.want {
				t.Errorf("%s: the cache is %q\nwant %q", c.path, got, c.want)
			}
		}
	}

	// In one call with changes of the path and of the libraries, it is of what they leave.
	file := b.copy("/nowhere")
	b.elf("--build-resolution-cache", "--set-rpath", b.path("a"), "--replace-needed", "libb.so", b.path("b/libb.so"), file)
	if got, want := b.cache(file), "liba.so\x00=D/a/liba.so\x00\x00"; got != want {
		t.Errorf("the cache is %q; want %q", got, want)
	}
	if out, err := exec.Command(file).CombinedOutput(); err != nil {
		t.Errorf("the program does not run: %v: %s", err, out)
	}
}

// TestResolutionCacheGoes makes changes that a resolution cache outlives, and
// those that it does not.
func TestResolutionCacheGoes(t *testing.T) {
	b := newCacheBench(t)
	for _, c := range []struct {
		args  string
		stays bool
	}{
		{"--set-rpath D/both", false},
		{"--add-rpath D/both", false},
		{"--remove-rpath", false},
		{"--shrink-rpath --allowed-rpath-prefixes D/b", false},
		{"--add-needed libz.so", false},
		{"--remove-needed libb.so", false},
		{"--replace-needed libb.so libz.so", false},
		{"--set-needed libb.so,liba.so", false},
		{"--remove-needed libnone.so", true},
		{"--replace-needed libnone.so libz.so", true},
		{"--set-rpath D/a:D/b", true},
		{"--shrink-rpath", true},
		{"--set-interpreter /ld.so", true},
		{"--set-soname x", true},
		{"--force-rpath --set-rpath D/a:D/b", true},
	} {
		file := b.copy(b.path("a") + ":" + b.path("b"))
		b.elf("--build-resolution-cache", file)
		was := b.cache(file)
		b.elf(append(strings.Fields(strings.ReplaceAll(c.args, "D/", b.dir+"/")), file)...)
		if got := b.cache(file); was == "" || got != "" && got != was || (got != "") != c.stays {
			t.Errorf("after %s the cache is %q, was %q", c.args, got, was)
		}
	}
}

func TestNoResolutionCache(t *testing.T) {
	b := newCacheBench(t)
	for _, c := range []struct{ file, want string }{
		{b.path("static"), "there is no dynamic section; no resolution cache is written"},
		{b.path("main"), "no DT_NEEDED entries or run path to resolve; no resolution cache is written"},
		{b.copy(b.path("empty")), "no needed library is found in the run path; no resolution cache is written"},
	} {
		if notes := b.elf("--build-resolution-cache", c.file); !strings.Contains(notes, c.want) {
			t.Errorf("%s: told %q", c.file, notes)
		}
		if got := b.cache(c.file); got != "" {
			t.Errorf("%s: the cache is %q", c.file, got)
		}
	}
	// A cache of libraries that are gone goes too; nobody would find out that it is wrong.
	file := b.copy(b.path("hw"))
	b.elf("--build-resolution-cache", file)
	if err := os.RemoveAll(b.path("hw/glibc-hwcaps")); err != nil {
		t.Fatal(err)
	}
	b.elf("--build-resolution-cache", file)
	if got, want := b.cache(file), "liba.so\x00=D/hw/liba.so\x00libb.so\x00=D/hw/libb.so\x00\x00"; got != want {
		t.Errorf("the cache is %q; want %q", got, want)
	}
	for _, name := range []string{"hw/liba.so", "hw/libb.so"} {
		if err := os.Remove(b.path(name)); err != nil {
			t.Fatal(err)
		}
	}
	if notes := b.elf("--build-resolution-cache", file); !strings.Contains(notes, "that was there is removed") || b.cache(file) != "" {
		t.Errorf("told %q, and the cache is %q", notes, b.cache(file))
	}
	if status, _, notes := callElf("--build-resolution-cache", "--force-rpath", file); status != 1 || !strings.Contains(notes, "not allowed with --force-rpath") {
		t.Errorf("with --force-rpath: status %d, %q", status, notes)
	}
	// The root is where libraries are looked for.
	file = b.copy("/a")
	b.elf("--root", b.dir, "--build-resolution-cache", file)
	if got, want := b.cache(file), "liba.so\x00=/a/liba.so\x00\x00"; got != want {
		t.Errorf("below a root the cache is %q; want %q", got, want)
	}
}
