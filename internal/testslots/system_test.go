//go:build system

package testslots

import (
	"bytes"
	"debug/elf"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/hashpkg/hashpkg/elfedit"
	"github.com/hashpkg/hashpkg/internal/testneed"
	"github.com/hashpkg/hashpkg/internal/testroot"
)

// selfBoundRoots are of what the roots are made whose programs are compared.
var selfBoundRoots = []struct {
	suite, arch string
	atLeast     int // programs that can be compared
	packages    []string
}{
	{"bookworm", "amd64", 500, []string{
		"ffmpeg", "gdb", "git", "python3", "vim", "emacs-nox", "inkscape", "imagemagick", "curl",
		"openssh-client", "nmap", "sqlite3", "graphviz", "mpv", "php-cli", "ruby", "samba", "postgresql", "qemu-utils", "cmake",
	}},
	{"trixie", "amd64", 600, []string{
		"ffmpeg", "gdb", "git", "python3", "vim", "emacs-nox", "inkscape", "imagemagick", "curl",
		"openssh-client", "nmap", "sqlite3", "graphviz", "mpv", "php-cli", "ruby", "samba", "postgresql", "qemu-utils", "cmake",
		"libreoffice-calc", "okular", "nodejs", "clang", "texlive-binaries", "tshark",
	}},
	{"bookworm", "i386", 300, []string{
		"ffmpeg", "gdb", "git", "python3", "vim", "emacs-nox", "inkscape", "imagemagick", "curl",
		"openssh-client", "nmap", "sqlite3", "graphviz", "mpv", "php-cli", "ruby", "samba", "postgresql", "cmake",
	}},
	{"trixie", "arm64", 100, []string{
		"ffmpeg", "gdb", "git", "python3", "vim", "imagemagick", "curl", "openssh-client", "sqlite3", "graphviz", "php-cli", "ruby",
	}},
}

// TestSystemSelfBound compares all programs of a root with those of a copy of it, in which every file
// is bound to itself as far as no other of the root exports the same, lazily and at once. The
// programs are stopped before they do anything, but the constructors of their libraries run,
// as nobody. Those of arm64 run under QEMU.
func TestSystemSelfBound(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		testneed.Unmet(t, "its roots run on amd64")
	}
	for _, r := range selfBoundRoots {
		t.Run(r.suite+"-"+r.arch, func(t *testing.T) {
			start := startIn
			if r.arch == "arm64" {
				testneed.Programs(t, emulator)
				start = emulateIn
			}
			root := testroot.Debian(t, r.suite, r.arch, r.packages...)
			if r.arch == "arm64" {
				path, err := exec.LookPath(emulator)
				if err != nil {
					t.Fatal(err)
				}
				root.Install(path, "/"+emulator)
			}
			if r.arch != runtime.GOARCH {
				writeCache(t, root)
			}
			if n := compareRoot(t, root.Dir, start); n < r.atLeast {
				t.Errorf("only %d programs were compared", n)
			}
		})
	}
}

// emulator runs programs of arm64.
const emulator = "qemu-aarch64-static"

// writeCache writes the loader's cache of a root in which no scripts of packages ran. Where alternatives would lead to
// libraries, their directories are searched.
func writeCache(t *testing.T, root *testroot.Root) {
	t.Helper()
	var dirs string
	for _, name := range []string{"blas", "lapack"} {
		found, err := filepath.Glob(filepath.Join(root.Dir, "usr/lib/*", name))
		if err != nil {
			t.Fatal(err)
		}
		for _, dir := range found {
			dirs += strings.TrimPrefix(dir, root.Dir) + "\n"
		}
	}
	root.WriteFile("/etc/ld.so.conf.d/alternatives.conf", dirs, 0o644)
	ldconfig := []string{"/sbin/ldconfig"}
	if root.Arch == "arm64" {
		ldconfig = []string{"/" + emulator, "/sbin/ldconfig"}
	}
	cmd := exec.Command("chroot", append([]string{root.Dir}, ldconfig...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// compareRoot compares the programs of a root with those of a copy that is made beside it, and returns how
// many they are.
func compareRoot(t *testing.T, root string, start func(root, program, env string) (*Process, error)) int {
	t.Helper()
	var paths, programs []string
	copied := filepath.Join(filepath.Dir(root), "bound")
	if out, err := exec.Command("cp", "-al", root, copied).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	err := filepath.WalkDir(copied, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() || strings.Contains(path, "/debug/") {
			return err
		}
		info := inspect(path)
		if info == nil || !info.HasDynamic || !info.IsProgram() && !info.IsLibrary() {
			return nil
		}
		paths = append(paths, path)
		if info.IsProgram() && info.Interpreter != "" {
			programs = append(programs, strings.TrimPrefix(path, copied))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	files, symbols := SelfBind(t, paths)
	t.Logf("%d files, of which %d are bound to %d symbols", len(paths), files, symbols)

	var compared, slots, differing atomic.Int64
	var wait sync.WaitGroup
	work := make(chan string)
	for range 2 {
		wait.Go(func() {
			for program := range work {
				done := true
				for _, env := range []string{"LD_BIND_NOW=", "LD_BIND_NOW=1"} {
					before, err := start(root, program, env)
					after, err2 := start(copied, program, env)
					if err != nil || err2 != nil { // such as one for the administrator's eyes, or that lacks a library here
						if (err == nil) != (err2 == nil) {
							t.Errorf("%s: %v, and %v", program, err, err2)
						}
						t.Logf("left out: %v", err)
						done = false
						continue
					}
					diff := before.Diff(after)
					if len(diff) > 0 {
						t.Errorf("%s with %s has other values in %d of %d slots:\n%s", program, env, len(diff), before.Count(), first(diff))
					}
					slots.Add(int64(before.Count()))
					differing.Add(int64(len(diff)))
				}
				if done {
					compared.Add(1)
				}
			}
		})
	}
	for _, program := range programs {
		work <- program
	}
	close(work)
	wait.Wait()
	t.Logf("%d of %d programs compared, %d slots, %d differ", compared.Load(), len(programs), slots.Load(), differing.Load())
	return int(compared.Load())
}

// inspect returns nil for what is no ELF file.
func inspect(path string) *elfedit.Info {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	magic := make([]byte, len(elf.ELFMAG))
	if _, err := f.ReadAt(magic, 0); err != nil || !bytes.Equal(magic, []byte(elf.ELFMAG)) {
		return nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	info, err := elfedit.Inspect(data)
	if err != nil {
		return nil
	}
	return info
}

// startIn starts a program in a root, as nobody.
func startIn(root, program, env string) (*Process, error) { return Run(commandIn(root, program, env)) }

// emulateIn is startIn for programs of arm64.
func emulateIn(root, program, env string) (*Process, error) {
	return Emulate("/"+emulator, commandIn(root, program, env))
}

func commandIn(root, program, env string) *exec.Cmd {
	cmd := &exec.Cmd{Path: program, Args: []string{program}, Dir: "/", Env: []string{env}}
	cmd.Env = append(cmd.Env, "LD_ORIGIN_PATH="+filepath.Dir(program)) // without /proc, the loader does not know it
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: root, Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	return cmd
}
