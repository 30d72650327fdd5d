//go:build system

package testslots

import (
	"bytes"
	"debug/elf"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/hashpkg/hashpkg/elfedit"
	"github.com/hashpkg/hashpkg/internal/testroot"
)

// TestSystemSelfBound compares all programs of a root with those of a copy of it, in which every file
// is bound to itself as far as no other of the root exports the same, lazily and at once. The
// programs are stopped before they do anything, but the constructors of their libraries run,
// as nobody.
func TestSystemSelfBound(t *testing.T) {
	root := testroot.Debian(t, "bookworm", "", "ffmpeg", "gdb", "git", "python3", "vim", "emacs-nox", "inkscape", "imagemagick", "curl",
		"openssh-client", "nmap", "sqlite3", "graphviz", "mpv", "php-cli", "ruby", "samba", "postgresql", "qemu-utils", "cmake")
	var paths, programs []string
	copied := filepath.Join(filepath.Dir(root.Dir), "bound")
	if out, err := exec.Command("cp", "-al", root.Dir, copied).CombinedOutput(); err != nil {
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
		if dir := filepath.Base(filepath.Dir(path)); info.IsProgram() && info.Interpreter != "" && (dir == "bin" || dir == "sbin") {
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
					before, err := startIn(root.Dir, program, env)
					after, err2 := startIn(copied, program, env)
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
	if compared.Load() < 200 {
		t.Errorf("only %d programs were compared", compared.Load())
	}
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
func startIn(root, program, env string) (*Process, error) {
	cmd := &exec.Cmd{Path: program, Args: []string{program}, Dir: "/", Env: []string{env}}
	cmd.Env = append(cmd.Env, "LD_ORIGIN_PATH="+filepath.Dir(program)) // without /proc, the loader does not know it
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: root, Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	return Run(cmd)
}
