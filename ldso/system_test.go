package ldso

import (
	"bufio"
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/hashpkg/hashpkg/elfedit"
	"github.com/hashpkg/hashpkg/internal/testneed"
)

// loaderPath is the loader that judges, by its path in programs.
const loaderPath = "/lib64/ld-linux-x86-64.so.2"

// host is the running system, or a root in it whose links are relative.
type host struct {
	root     string // "" is the system's
	uncached bool   // hides /etc/ld.so.cache
}

func (h host) Inspect(file string) (*Object, error) {
	b, err := os.ReadFile(h.root + file)
	if err != nil {
		return nil, err
	}
	info, err := elfedit.Inspect(b)
	if err != nil {
		return nil, fmt.Errorf("inspect %s: %w", file, err)
	}
	stat, err := os.Stat(h.root + file)
	if err != nil {
		return nil, err
	}
	sys := stat.Sys().(*syscall.Stat_t)
	return &Object{Path: file, ID: fmt.Sprintf("%d:%d", sys.Dev, sys.Ino), Info: info}, nil
}

func (h host) ReadFile(file string) ([]byte, error) {
	if h.uncached {
		return nil, fs.ErrNotExist
	}
	return os.ReadFile(h.root + file)
}

// loaderOptions are those of the running loader, which prints them.
func loaderOptions(t testing.TB) Options {
	t.Helper()
	if runtime.GOARCH != "amd64" {
		testneed.Unmet(t, "the loader that judges is amd64's, this is ", runtime.GOARCH)
	}
	testneed.Programs(t, loaderPath)
	out, err := exec.Command(loaderPath, "--help").Output()
	if err != nil {
		testneed.Unmet(t, loaderPath, " --help: ", err, " (it needs glibc 2.33)")
	}
	options := Options{}
	var legacy []string
	section := ""
	for line := range strings.Lines(string(out)) {
		line = strings.TrimRight(line, "\n")
		name, note, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch {
		case !strings.HasPrefix(line, "  "):
			section = line
		case strings.HasPrefix(section, "Shared library search path") && note == "(system search path)":
			options.Layout.Dirs = append(options.Layout.Dirs, name)
		case strings.HasPrefix(section, "Subdirectories of glibc-hwcaps") && strings.HasSuffix(note, "searched)"):
			options.HWCaps = append(options.HWCaps, name)
		case strings.HasPrefix(section, "Legacy HWCAP") && strings.HasSuffix(note, "searched)"):
			if strings.HasPrefix(note, "(AT_PLATFORM") {
				options.Platform = name
			}
			legacy = append(legacy, name)
		}
	}
	if i := slices.Index(legacy, "tls"); i > 0 { // it is first in the search
		legacy = append([]string{"tls"}, slices.Delete(legacy, i, i+1)...)
	}
	options.LegacySubdirs = LegacySubdirs(legacy...)
	options.Layout.Lib = Lib64Layout(amd64()).Lib
	if slices.Contains(options.Layout.Dirs, "/lib/x86_64-linux-gnu") {
		options.Layout.Lib = MultiarchLayout(amd64()).Lib
	}
	return options
}

// judgement is what the loader prints of a program's libraries.
type judgement struct {
	paths    []string // in the order of ldd
	missing  []string // names
	versions []string // "version (required by file)"
	failed   bool
}

// judge asks the running loader, in the environment env: --list, and where
// that stops at something missing, in the way of ldd.
func (h host) judge(t testing.TB, program string, env ...string) judgement {
	t.Helper()
	j := h.list(t, env, "--list", program)
	if j.failed && len(j.paths) == 0 {
		j = h.list(t, append([]string{"LD_TRACE_LOADED_OBJECTS=1"}, env...), program)
	}
	return j
}

// list runs the loader and reads its list.
func (h host) list(t testing.TB, env []string, args ...string) judgement {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	command := exec.CommandContext(ctx, loaderPath, args...)
	command.Env = env
	if h.root != "" {
		command.SysProcAttr = &syscall.SysProcAttr{Chroot: h.root}
		command.Dir = "/"
	}
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	err := command.Run()
	j := judgement{failed: err != nil}
	for _, line := range bytes.Split(append(stdout.Bytes(), stderr.Bytes()...), []byte("\n")) {
		text := string(line)
		if _, rest, ok := strings.Cut(text, ": version `"); ok {
			version, rest, _ := strings.Cut(rest, "'")
			_, from, _ := strings.Cut(rest, "(required by ")
			j.versions = append(j.versions, version+" "+strings.TrimSuffix(from, ")"))
			continue
		}
		if !strings.HasPrefix(text, "\t") {
			continue
		}
		text = strings.TrimSpace(text)
		if i := strings.LastIndex(text, " (0x"); i >= 0 {
			text = text[:i]
		}
		name, file, found := strings.Cut(text, " => ")
		switch {
		case file == "not found":
			j.missing = append(j.missing, name)
		case found:
			j.paths = append(j.paths, file)
		case strings.HasPrefix(name, "/"):
			j.paths = append(j.paths, name)
		}
	}
	return j
}

// load computes what judge answers.
func (h host) load(t testing.TB, program string, options Options) (*Closure, judgement) {
	t.Helper()
	o, err := h.Inspect(program)
	if err != nil {
		t.Fatal(err)
	}
	root, err := NewRoot(h, o.Info, options)
	if err != nil {
		t.Fatal(err)
	}
	c, err := Load(o, root)
	if err != nil {
		t.Fatal(err)
	}
	var j judgement
	for _, o := range c.Objects[1:] {
		j.paths = append(j.paths, o.Path)
	}
	for _, m := range c.Missing {
		j.missing = append(j.missing, m.Name)
	}
	for _, v := range c.Versions {
		if v.Fatal && v.Provider != nil {
			j.versions = append(j.versions, v.Version+" "+v.From.Path)
		}
	}
	return c, j
}

// compare fails the test where the closure differs from the loader's.
func (h host) compare(t *testing.T, program string, options Options, env ...string) *Closure {
	t.Helper()
	c, got := h.load(t, program, options)
	want := h.judge(t, program, env...)
	got.failed = want.failed
	slices.Sort(want.versions)
	slices.Sort(got.versions)
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(judgement{}), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("%s (-loader +Load):\n%s", program, diff)
	}
	return c
}

// programs are the dynamically linked executables below dirs that the judging
// loader is the interpreter of, each file once.
func programs(t *testing.T, dirs ...string) []string {
	t.Helper()
	var found []string
	seen := map[string]bool{}
	for _, dir := range dirs {
		err := filepath.WalkDir(dir, func(file string, d fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
				return nil
			}
			if err != nil || d.IsDir() {
				return err
			}
			real, err := filepath.EvalSymlinks(file)
			if err != nil || seen[real] || interpreter(real) != loaderPath {
				return nil // a dangling link, or not for this test
			}
			seen[real] = true
			found = append(found, real)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	slices.Sort(found)
	return found
}

// interpreter returns a program's PT_INTERP as debug/elf has it, or "".
func interpreter(file string) string {
	stat, err := os.Stat(file)
	if err != nil || !stat.Mode().IsRegular() {
		return ""
	}
	f, err := elf.Open(file)
	if err != nil {
		return ""
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			s, err := bufio.NewReader(p.Open()).ReadString(0)
			if err == nil {
				return strings.TrimSuffix(s, "\x00")
			}
		}
	}
	return ""
}

// TestLoadLikeTheLoader compares the closures of installed programs with what
// the loader lists: a sample, or all with HASHPKG_TEST_ELF=1.
func TestLoadLikeTheLoader(t *testing.T) {
	options := loaderOptions(t)
	dirs := []string{"/usr/bin", "/usr/sbin"}
	all := os.Getenv("HASHPKG_TEST_ELF") == "1"
	if all {
		dirs = append(dirs, "/usr/lib", "/usr/libexec", "/usr/local")
	}
	files := programs(t, dirs...)
	const sample = 150
	if !all && len(files) > sample {
		step := float64(len(files)) / sample
		for i := range sample {
			files[i] = files[int(float64(i)*step)]
		}
		files = files[:sample]
	}
	objects := 0
	for _, file := range files {
		c := host{}.compare(t, file, options)
		objects += len(c.Objects)
	}
	t.Logf("%d programs, %d objects in their closures", len(files), objects)
}
