//go:build system

package e2e

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hashpkg/hashpkg/internal/testneed"
	"github.com/hashpkg/hashpkg/internal/testroot"
	"github.com/hashpkg/hashpkg/internal/testrpm"
)

// programSystem is a system on which programs are asked to do something.
type programSystem struct {
	t    *testing.T
	name string
	root *testroot.Root

	// trees are the directories of a case's packages; nil when they are installed
	// in the root itself.
	trees func(c *programCase) ([]string, error)

	// owners returns which package has a path, of what is in trees.
	owners func() map[string]string
}

const programUserID = 1000

// newProgramSystem prepares a root: it gets a user, and directories for work.
func newProgramSystem(t *testing.T, name string, root *testroot.Root) *programSystem {
	t.Helper()
	for file, line := range map[string]string{"/etc/passwd": "user:x:1000:1000::/home/user:/bin/sh\n", "/etc/group": "user:x:1000:\n"} {
		root.WriteFile(file, root.ReadFile(file)+line, 0o644)
	}
	root.WriteFile("/etc/hosts", "127.0.0.1 localhost\n::1 localhost\n", 0o644) // as every machine has it
	s := &programSystem{t: t, name: name, root: root}
	for _, user := range []string{"root", "user"} {
		work := root.Path(filepath.Dir(s.home(user, 0)))
		if err := os.MkdirAll(work, 0o755); err != nil {
			t.Fatal(err)
		}
		if user == "user" {
			if err := errors.Join(os.Chown(filepath.Dir(work), programUserID, programUserID), os.Chown(work, programUserID, programUserID)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := os.MkdirAll("/tmp/.X11-unix", 0o1777); err != nil {
		t.Fatal(err)
	}
	root.Bind("/tmp/.X11-unix", "/tmp/.X11-unix")
	s.owners = sync.OnceValue(s.payload)
	return s
}

func (s *programSystem) home(user string, i int) string {
	work := "/root/work"
	if user == "user" {
		work = "/home/user/work"
	}
	return filepath.Join(work, fmt.Sprint(i))
}

// run asks a program to do what its case says, as a user ("root" or "user").
func (s *programSystem) run(c *programCase, user string) programResult {
	s.t.Helper()
	r := programResult{Program: c.name, Release: c.release, Asked: c.asked, System: s.name, User: user}
	var trees []string
	if s.trees != nil {
		var err error
		if trees, err = s.trees(c); err != nil {
			r.Said = err.Error()
			return r
		}
		r.View = s.hasLauncher(trees)
	}
	s.runOnce(c, user, trees, &r, "")
	if !r.Works && s.trees != nil {
		r.Missing = s.missing(c, user, trees)
	}
	return r
}

// runOnce runs the script of a case, and writes a trace of its system calls that name
// files when trace is the name of a file.
func (s *programSystem) runOnce(c *programCase, user string, trees []string, r *programResult, trace string) {
	s.t.Helper()
	id := 0
	if user == "user" {
		id = programUserID
	}
	home := s.home(user, slices.IndexFunc(programCases, func(o programCase) bool { return o.name == c.name && o.release == c.release }))
	work := s.root.Path(home)
	if err := errors.Join(os.Mkdir(work, 0o755), os.Chown(work, id, id)); err != nil {
		s.t.Fatal(err)
	}
	defer func() {
		if err := os.RemoveAll(work); err != nil {
			s.t.Errorf("clean up: %v", err)
		}
	}()

	path := ""
	for _, tree := range trees {
		path += tree + "/bin:" + tree + "/sbin:"
	}
	if len(trees) > 0 {
		path += "/var/sys/current-system/bin:/var/sys/current-system/sbin:"
	}
	argv := []string{
		"env", "-i", "PATH=" + path + "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/games",
		"HOME=" + home, "USER=" + user, "LOGNAME=" + user, "SHELL=/bin/sh", "LC_ALL=C.UTF-8", "TERM=xterm", "XDG_RUNTIME_DIR=" + home + "/run",
	}
	if c.display {
		display, stop := startDisplay(s.t, work)
		defer stop()
		argv = append(argv, "DISPLAY="+display, "GDK_BACKEND=x11", "QT_QPA_PLATFORM=xcb", "GSK_RENDERER=cairo", "LIBGL_ALWAYS_SOFTWARE=1", "NO_AT_BRIDGE=1")
	}
	limit := 2 * time.Minute
	if trace != "" {
		limit = time.Minute // what it looks for in vain, it looks for soon
	}
	argv = append(argv, "/bin/sh", "-ec", "cd; mkdir -m 700 run\n"+programPrelude+c.script)
	ctx, cancel := context.WithTimeout(s.t.Context(), limit)
	defer cancel()
	cmd := s.root.PivotCommand(ctx, id, argv...)
	if trace != "" {
		strace, err := exec.LookPath("strace")
		if err != nil {
			s.t.Fatal(err)
		}
		cmd.Args = slices.Concat([]string{"strace", "-f", "-qq", "-s", "4096", "-e", "trace=%file", "-e", "signal=none", "-o", trace, "--", cmd.Path}, cmd.Args[1:])
		cmd.Path = strace
	}
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	start := time.Now()
	err := cmd.Run()
	r.Seconds = float64(time.Since(start).Milliseconds()) / 1000
	r.Output, r.Said = strings.TrimRight(out.String(), "\n"), tailBytes(said.String(), 4000)
	if logs, err := os.ReadFile(filepath.Join(work, "log")); err == nil && len(logs) > 0 {
		r.Said += "\nlog: " + tailBytes(string(logs), 2000)
	}
	if err != nil {
		r.Status = cmp.Or(errors.Join(ctx.Err(), err)).Error()
	}
	r.Works = err == nil && regexp.MustCompile("^(?:"+c.want+")$").MatchString(r.Output)
}

func tailBytes(s string, n int) string {
	if len(s) > n {
		s = "..." + s[len(s)-n:]
	}
	return strings.TrimSpace(s)
}

// startDisplay starts an X server on the machine, not in the root, which so needs
// nothing of it. Until stop is called, the titles of its windows are in the file .windows
// of a directory, and in .screen whether anything is drawn on it.
func startDisplay(t *testing.T, dir string) (display string, stop func()) {
	t.Helper()
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	server := exec.Command("Xvfb", "-displayfd", "3", "-screen", "0", "800x600x24", "-nolisten", "tcp", "-ac", "-br")
	server.ExtraFiles = []*os.File{write}
	server.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	err = server.Start()
	if err := errors.Join(err, write.Close()); err != nil {
		t.Fatal(err)
	}
	number, err := io.ReadAll(read) // it closes it once it has written
	if err != nil || len(number) == 0 {
		server.Process.Kill()
		t.Fatalf("start Xvfb: %v, %v", err, server.Wait())
	}
	display = ":" + strings.TrimSpace(string(number))
	ended := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			// It may fail where a window changes meanwhile. A script that waits for what
			// is never written says so.
			if err := watchDisplay(display, dir); err != nil {
				t.Logf("watch the display: %v", err)
			}
			select {
			case <-ended:
				return
			case <-time.After(300 * time.Millisecond):
			}
		}
	})
	return display, func() {
		close(ended)
		wg.Wait()
		if err := server.Process.Signal(syscall.SIGTERM); err != nil {
			t.Errorf("stop Xvfb: %v", err)
		}
		server.Wait()
	}
}

var titleLine = regexp.MustCompile(`(?m)^ +0x[0-9a-f]+ "(.*)": \(`)

// watchDisplay writes what there is on a display into files of a directory.
func watchDisplay(display, dir string) error {
	tree, err := exec.Command("xwininfo", "-display", display, "-root", "-tree").Output()
	if err != nil {
		return fmt.Errorf("xwininfo: %w", err)
	}
	var titles bytes.Buffer
	for _, m := range titleLine.FindAllSubmatch(tree, -1) {
		titles.Write(append(m[1], '\n'))
	}
	dump, err := exec.Command("xwd", "-display", display, "-root", "-silent").Output()
	if err != nil || len(dump) < 100 {
		return fmt.Errorf("xwd: %w, %d bytes", err, len(dump))
	}
	// XWDFile.h: the header's size is its first word, and 19 words on is the number of
	// colors, of twelve bytes each, which stand before the points.
	word := func(i int) int {
		return int(dump[4*i])<<24 | int(dump[4*i+1])<<16 | int(dump[4*i+2])<<8 | int(dump[4*i+3])
	}
	colors := map[[3]byte]bool{}
	for points := dump[word(0)+12*word(19):]; len(points) >= 4; points = points[4:] {
		colors[[3]byte(points)] = true
	}
	drawn := "blank"
	if len(colors) > 3 {
		drawn = "drawn"
	}
	for name, text := range map[string]string{".windows": titles.String(), ".screen": drawn + "\n"} {
		next := filepath.Join(dir, name+".new")
		if err := errors.Join(os.WriteFile(next, []byte(text), 0o644), os.Rename(next, filepath.Join(dir, name))); err != nil {
			return err
		}
	}
	return nil
}

// hasLauncher reports whether a command of trees is not a link to the package's own: then
// it is a program that lays a view.
func (s *programSystem) hasLauncher(trees []string) bool {
	s.t.Helper()
	for _, tree := range trees {
		commands, err := filepath.Glob(filepath.Join(s.root.Dir, tree, "*bin", "*"))
		if err != nil {
			s.t.Fatal(err)
		}
		for _, command := range commands {
			if target, err := os.Readlink(command); err != nil || !strings.Contains("/"+target, "/usr/") {
				return true
			}
		}
	}
	return false
}

var missingPath = regexp.MustCompile(`"(/(?:[^"\\]|\\.)*)"[^"]*\) += -1 ENOENT`)

// missing runs a case once more, and returns paths that it looks for in vain.
func (s *programSystem) missing(c *programCase, user string, trees []string) []string {
	s.t.Helper()
	trace := filepath.Join(s.t.TempDir(), "trace")
	s.runOnce(c, user, trees, &programResult{}, trace)
	b, err := os.ReadFile(trace)
	if err != nil {
		s.t.Fatal(err)
	}
	owners := s.owners()
	var found []string
	for _, m := range missingPath.FindAllSubmatch(b, -1) {
		path := filepath.Clean(string(m[1]))
		for _, dir := range []string{"/bin", "/sbin", "/lib", "/lib64"} {
			if strings.HasPrefix(path, dir+"/") {
				path = "/usr" + path
			}
		}
		// Libraries are found in their trees, and the rest is not missed.
		if owners[path] == "" || strings.HasPrefix(path, "/usr/share/locale") || strings.HasPrefix(path, "/usr/lib/locale") || strings.Contains(path, "/gconv/") || strings.HasPrefix(path, "/usr/share/doc") || libraryPath.MatchString(path) {
			continue
		}
		if line := path + " (" + owners[path] + ")"; !slices.Contains(found, line) {
			found = append(found, line)
		}
	}
	return found[:min(len(found), 12)]
}

var libraryPath = regexp.MustCompile(`^/usr/lib/[a-z0-9_]+-linux-gnu(/glibc-hwcaps/[^/]+)?/[^/]+\.so[.0-9]*$`)

// payload looks for what owners returns.
func (s *programSystem) payload() map[string]string {
	s.t.Helper()
	owners := map[string]string{}
	trees, err := filepath.Glob(filepath.Join(s.root.Dir, "var/sys/[^.]*/*"))
	if err != nil {
		s.t.Fatal(err)
	}
	for _, tree := range trees {
		if info, err := os.Lstat(tree); err != nil || !info.IsDir() {
			continue // a link to a tree
		}
		err := filepath.WalkDir(tree, func(path string, d fs.DirEntry, err error) error {
			owners[strings.TrimPrefix(path, tree)] = filepath.Base(filepath.Dir(tree))
			return err
		})
		if err != nil {
			s.t.Fatal(err)
		}
	}
	return owners
}

// snapshot returns what is in the root outside the prefix, by path. What programs may
// write to is left out.
func (s *programSystem) snapshot() map[string]string {
	s.t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(s.root.Dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(s.root.Dir, path)
		if err != nil {
			return err
		}
		switch "/" + rel {
		case "/var/cache": // programs that root runs keep theirs there, wherever they are installed
			return fs.SkipDir
		case "/var/sys", "/dev", "/proc", "/tmp", "/var/tmp", "/root", "/home":
			return fs.SkipDir
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		st := info.Sys().(*syscall.Stat_t)
		line := fmt.Sprintf("%v %d:%d %d.%09d", info.Mode(), st.Uid, st.Gid, st.Mtim.Sec, st.Mtim.Nsec)
		switch {
		case d.Type().IsRegular():
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			line += fmt.Sprintf(" %x", sha256.Sum256(b))
		case d.Type()&fs.ModeSymlink != 0:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			line += " " + target
		}
		files["/"+rel] = line
		return nil
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return files
}

// touched returns how the root differs from what it was before, and fails the test if it does.
func (s *programSystem) touched(before map[string]string, after string) (changes []string) {
	s.t.Helper()
	now := s.snapshot()
	for _, path := range slices.Sorted(maps.Keys(now)) {
		if before[path] != now[path] {
			changes = append(changes, fmt.Sprintf("%s, %s: %s is %q, and was %q", s.name, after, path, now[path], before[path]))
		}
	}
	for _, path := range slices.Sorted(maps.Keys(before)) {
		if _, ok := now[path]; !ok {
			changes = append(changes, fmt.Sprintf("%s, %s: %s is gone", s.name, after, path))
		}
	}
	for _, change := range changes {
		s.t.Error(change)
	}
	return changes
}

// all asks all programs, as root and as a user, some at a time.
func (s *programSystem) all(cases []*programCase) []programResult {
	s.t.Helper()
	type question struct {
		c    *programCase
		user string
	}
	var questions []question
	for _, c := range cases {
		for _, user := range []string{"root", "user"} {
			if c.only == "" || c.only == user {
				questions = append(questions, question{c, user})
			}
		}
	}
	results := make([]programResult, len(questions))
	s.t.Run("programs", func(t *testing.T) {
		for i, q := range questions {
			t.Run(q.c.release+"/"+q.c.name+"/"+q.user, func(t *testing.T) {
				t.Parallel()
				sub := *s
				sub.t, sub.root = t, s.root.With(t)
				r := sub.run(q.c, q.user)
				results[i] = r
				if r.Works {
					t.Logf("it works (%.1f s)", r.Seconds)
				} else {
					t.Logf("it does not work: %s\nit prints %s\nand says %s\nmissing: %q", r.Status, r.Output, r.Said, r.Missing)
				}
			})
		}
	})
	return results
}

// chosenCases returns the cases that HASHPKG_TEST_PROGRAMS, an expression for
// RELEASE/NAME, has, or all.
func chosenCases(t *testing.T) []*programCase {
	t.Helper()
	expression, err := regexp.Compile(os.Getenv("HASHPKG_TEST_PROGRAMS"))
	if err != nil {
		t.Fatal(err)
	}
	var chosen []*programCase
	for i := range programCases {
		c := &programCases[i]
		if j := slices.IndexFunc(programCases, func(o programCase) bool { return o.name == c.name && o.release == c.release }); j != i {
			t.Fatalf("two cases are %s of %s", c.name, c.release)
		}
		if expression.MatchString(c.release + "/" + c.name) {
			chosen = append(chosen, c)
		}
	}
	return chosen
}

// ofRelease returns the cases of a release.
func ofRelease(cases []*programCase, release string) []*programCase {
	return slices.DeleteFunc(slices.Clone(cases), func(c *programCase) bool { return c.release != release })
}

// packagesOfPrograms returns the packages that cases name.
func packagesOfPrograms(cases []*programCase) []string {
	all := map[string]bool{}
	for _, c := range cases {
		for p := range strings.FieldsSeq(c.packages) {
			all[p] = true
		}
	}
	return slices.Sorted(maps.Keys(all))
}

// releasesOf returns the releases of cases.
func releasesOf(cases []*programCase) []string {
	all := map[string]bool{}
	for _, c := range cases {
		all[c.release] = true
	}
	return slices.Sorted(maps.Keys(all))
}

// keep writes results for those who want to look at them, where
// HASHPKG_TEST_PROGRAMS_OUT names a directory.
func keep(t *testing.T, name string, write func(w io.Writer) error) {
	t.Helper()
	dir := os.Getenv("HASHPKG_TEST_PROGRAMS_OUT")
	if dir == "" {
		return
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(write(f), f.Close()); err != nil {
		t.Fatal(err)
	}
}

func keepJSON(t *testing.T, name string, results []programResult) {
	t.Helper()
	keep(t, name, func(w io.Writer) error {
		e := json.NewEncoder(w)
		e.SetEscapeHTML(false)
		e.SetIndent("", " ")
		return e.Encode(results)
	})
}

func needForPrograms(t *testing.T) {
	t.Helper()
	testneed.Root(t)
	testneed.Network(t)
	testneed.Programs(t, "Xvfb", "xwininfo", "xwd", "strace", "ip", "pivot_root")
}

// TestSystemProgramsNative is the judge of the cases: each program does what its case
// says where apt has installed it, in a root of its own release.
func TestSystemProgramsNative(t *testing.T) {
	needForPrograms(t)
	proxy := newCachingProxy(t)
	chosen := chosenCases(t)
	for _, release := range releasesOf(chosen) {
		t.Run(release, func(t *testing.T) {
			cases := ofRelease(chosen, release)
			packages := packagesOfPrograms(cases)
			if release == centos {
				root := testroot.Debian(t, "bookworm", "") // it has all that these programs need
				packages = slices.DeleteFunc(packages, func(p string) bool { return p == "glibc" })
				of := &testroot.RPMRoot{Root: root}
				of.RPM(slices.Concat([]string{"-i", "--nodeps", "--noscripts"}, centosFiles(t, packages))...)
				newProgramSystem(t, "native", root).judge(cases)
				return
			}
			root := testroot.Debian(t, release, "")
			root.WriteFile("/etc/apt/sources.list", "deb http://deb.debian.org/debian "+release+" main\n", 0o644)
			root.WriteFile("/usr/sbin/policy-rc.d", "#!/bin/sh\nexit 101\n", 0o755)
			root.Timeout = time.Hour
			apt := func(args ...string) {
				t.Helper()
				ctx, cancel := context.WithTimeout(t.Context(), root.Timeout)
				defer cancel()
				cmd := root.Command(ctx, slices.Concat([]string{
					"apt-get", "-q", "-y", "-o", "Acquire::http::Proxy=" + proxy, "-o", "Acquire::Check-Valid-Until=false",
					"-o", "APT::Install-Recommends=false", "-o", "Dpkg::Options::=--force-unsafe-io", "-o", "Dpkg::Use-Pty=0",
				}, args)...)
				cmd.SysProcAttr.Cloneflags &^= syscall.CLONE_NEWNET
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Fatalf("apt-get %s: %v\n%s", strings.Join(args, " "), err, tailBytes(string(out), 4000))
				}
			}
			start := time.Now()
			apt("update")
			apt(slices.Concat([]string{"install"}, packages)...)
			apt("clean")
			t.Logf("%d packages are installed after %v", strings.Count(root.ReadFile("/var/lib/dpkg/status"), "\nStatus: install ok installed"), time.Since(start).Round(time.Second))
			newProgramSystem(t, "native", root).judge(cases)
		})
	}
}

// judge fails the test for cases whose programs do not do on this system what they
// are asked.
func (s *programSystem) judge(cases []*programCase) {
	s.t.Helper()
	results := s.all(cases)
	for _, r := range results {
		if !r.Works {
			s.t.Errorf("the case %s of %s is wrong, as %s: %s", r.Program, r.Release, r.User, r.Output)
		}
	}
	keepJSON(s.t, "native-"+cases[0].release+".json", results)
}

// centos is the release of the packages that are installed from files.
const centos = "centos7"

// centosFiles returns the files of packages of CentOS 7. The test is skipped where they
// are not there, for no archive that tests use has them.
func centosFiles(t *testing.T, packages []string) []string {
	t.Helper()
	var files []string
	for _, p := range packages {
		for _, file := range testrpm.CentOS("..") {
			if rest, ok := strings.CutPrefix(filepath.Base(file), p+"-"); ok && rest[0] >= '0' && rest[0] <= '9' {
				files = append(files, file)
			}
		}
	}
	if len(files) != len(packages) {
		testneed.Unmet(t, fmt.Sprintf("there are %d of the packages %q of CentOS 7", len(files), packages))
	}
	return files
}

// TestSystemPrograms installs programs of other releases by name and asks each to do
// something, on a system of dpkg and on one of rpm.
func TestSystemPrograms(t *testing.T) {
	needForPrograms(t)
	proxy := newCachingProxy(t)
	table, err := readProgramTable("../docs/programs.md")
	if err != nil {
		t.Fatal(err)
	}
	var results []programResult
	on := func(name string, make func(t *testing.T) *testroot.Root) {
		t.Run(name, func(t *testing.T) {
			run := programsOn(t, name, make(t), proxy)
			results = append(results, run.results...)
			table.put(run)
		})
	}
	on("Debian 12", func(t *testing.T) *testroot.Root { return testroot.Debian(t, "bookworm", "") })
	// What every distribution has: getopt, and what makes users.
	on("rpm", func(t *testing.T) *testroot.Root { return testroot.RPM(t, "util-linux", "passwd").Root })
	keepJSON(t, "programs.json", results)
	var all []programKey
	for _, c := range programCases {
		all = append(all, programKey{c.name, c.release})
	}
	table.order(all)
	keep(t, "programs.md", func(w io.Writer) error {
		_, err := io.WriteString(w, table.text())
		return err
	})
	if os.Getenv("HASHPKG_TEST_PROGRAMS") == "" {
		works := map[string]int{}
		for _, r := range results {
			if r.Works {
				works[r.column()]++
			}
		}
		for _, r := range results {
			if n := works[r.column()]; n < 120 {
				t.Fatalf("%s: %d programs do what they are asked, and 120 have to", r.column(), n)
			}
		}
	}
}

// adoptNote is what an install says of a package's configuration: the package, and the commands
// that bring it.
var adoptNote = regexp.MustCompile(`(?m)^note: ([^ =]+)\S* may need (?:configuration that /etc lacks|what only scripts compute), such as \S+: (hashpkg .+?) (?:copies|computes)`)

// toolNote is what an install says once of what scripts of several packages call: the command that
// brings it.
var toolNote = regexp.MustCompile(`(?m)^note: scripts need what is not installed: (hashpkg .+) brings it, for those below$`)

// accountNote is what an install says of users and directories that nobody has made: the
// commands that make these.
var accountNote = regexp.MustCompile(`(?m)^note: \S+: what would be made for it is not there: [^;]*(?:; (\S+add .*) makes the accounts)?(?:; (hashpkg .+) makes the directories)?$`)

// programsOn installs the programs of the chosen cases on a system, and asks each to do
// something.
func programsOn(t *testing.T, name string, root *testroot.Root, proxy string) programRun {
	t.Helper()
	return installedOn(t, name, root, proxy, chosenCases(t))
}

// installedOn is programsOn for some cases, with options for install.
func installedOn(t *testing.T, name string, root *testroot.Root, proxy string, cases []*programCase, options ...string) programRun {
	t.Helper()
	program := hashpkg(t)
	s := newProgramSystem(t, name, root)
	if err := os.Mkdir(root.Path("/var/sys"), 0o755); err != nil { // the prefix's own directory changes /var
		t.Fatal(err)
	}
	before := s.snapshot()
	var said bytes.Buffer
	run := func(args ...string) ([]byte, error) {
		var out bytes.Buffer
		said.Reset()
		cmd := exec.CommandContext(t.Context(), program, slices.Concat([]string{"--root", root.Dir}, args)...)
		cmd.Env = append(os.Environ(), "http_proxy="+proxy)
		cmd.Stdout, cmd.Stderr = &out, &said
		if err := cmd.Run(); err != nil {
			return nil, fmt.Errorf("hashpkg %s: %v: %s%s", strings.Join(args, " "), err, out.String(), said.String())
		}
		return out.Bytes(), nil
	}
	tools := map[string][]string{}  // those that bring what scripts call, by release
	adopt := map[string][]string{}  // the commands that installs name, by release and package
	unmade := map[string][]string{} // those that make users and directories, by release
	install := func(what, release string, cases []*programCase) error {
		start := time.Now()
		packages := packagesOfPrograms(cases)
		from := []string{"--from", release}
		if release == centos {
			from, packages = nil, centosFiles(t, packages)
		}
		_, err := run(slices.Concat([]string{"install", "--signature", "warn"}, options, from, packages)...)
		for _, m := range adoptNote.FindAllStringSubmatch(said.String(), -1) {
			adopt[release+" "+m[1]] = append(adopt[release+" "+m[1]], strings.Split(m[2], ", then ")...)
		}
		for _, m := range toolNote.FindAllStringSubmatch(said.String(), -1) {
			tools[release] = append(tools[release], m[1])
		}
		for _, m := range accountNote.FindAllStringSubmatch(said.String(), -1) {
			unmade[release] = append(unmade[release], strings.Split(m[1], " && ")...)
			unmade[release] = append(unmade[release], m[2])
		}
		if err == nil {
			_, err = run("clean") // the proxy has the package files
		}
		t.Logf("%s: %s, %d packages by name, took %v", name, what, len(packages), time.Since(start).Round(time.Second))
		return err
	}
	refused := map[*programCase]error{}
	for _, release := range releasesOf(cases) {
		alone := func(c *programCase) bool { return c.alone }
		of := ofRelease(cases, release)
		if together := slices.DeleteFunc(slices.Clone(of), alone); len(together) > 0 {
			if err := install(release, release, together); err != nil {
				t.Fatal(err)
			}
		}
		for _, c := range of {
			if c.alone {
				refused[c] = install(c.name+" of "+release, release, []*programCase{c})
			}
		}
	}
	out, err := run("--json", "list")
	if err != nil {
		t.Fatal(err)
	}
	var list struct{ Packages []byNameTree }
	if err := json.Unmarshal(out, &list); err != nil {
		t.Fatal(err)
	}
	s.trees = func(c *programCase) (trees []string, err error) {
		if err := refused[c]; err != nil {
			return nil, err
		}
		for p := range strings.FieldsSeq(c.packages) {
			i := slices.IndexFunc(list.Packages, func(o byNameTree) bool {
				return o.Name == p && (o.Release == c.release || o.Release == "" && c.release == centos)
			})
			if i < 0 { // where another release has the very same tree
				i = slices.IndexFunc(list.Packages, func(o byNameTree) bool { return o.Name == p && o.Release != "" })
			}
			if i < 0 {
				return nil, fmt.Errorf("%s of %s is not installed", p, c.release)
			}
			trees = append(trees, list.Packages[i].Tree)
		}
		return trees, nil
	}
	t.Logf("%s: %d packages in all", name, len(list.Packages))
	changes := s.touched(before, "installed")
	results := s.all(cases)
	if len(changes) == 0 {
		changes = s.touched(before, "used")
	}

	// What does not work is asked once more, as a user would who has read what the install
	// said.
	var again []*programCase
	commands := map[*programCase]string{}
	made := map[string]bool{}
	for _, c := range cases {
		if !slices.ContainsFunc(results, func(r programResult) bool { return r.Program == c.name && r.Release == c.release && !r.Works }) {
			continue
		}
		// An administrator makes the users before the directories that are theirs.
		for _, command := range unmade[c.release] {
			if command == "" || made[command] {
				continue
			}
			made[command] = true
			words := strings.Fields(command)
			if words[0] == "hashpkg" {
				if _, err := run(words[1:]...); err != nil {
					t.Error(err)
				}
			} else if out, err := root.RunErr(t.Context(), words...); err != nil {
				t.Errorf("%s: %v: %s", command, err, out)
			}
			t.Log(command)
		}
		if len(unmade[c.release]) > 0 {
			commands[c] = "; users and directories"
		}
		for p := range strings.FieldsSeq(c.packages) {
			of := adopt[c.release+" "+p]
			if slices.ContainsFunc(of, func(command string) bool { return strings.HasPrefix(command, "hashpkg configure ") }) {
				for _, command := range tools[c.release] {
					if _, err := run(strings.Fields(command)[1:]...); err != nil {
						t.Error(err)
					}
					commands[c] += "; " + command
				}
				tools[c.release] = nil
			}
			for _, command := range of {
				start := time.Now()
				if _, err := run(strings.Fields(command)[1:]...); err != nil {
					t.Error(err)
				}
				t.Logf("%s took %v", command, time.Since(start).Round(time.Second))
				commands[c] += "; " + command
			}
		}
		if commands[c] != "" {
			again = append(again, c)
		}
	}
	if len(again) > 0 {
		before = s.snapshot()
		for _, r := range s.all(again) {
			i := slices.IndexFunc(results, func(o programResult) bool {
				return o.Program == r.Program && o.Release == r.Release && o.User == r.User
			})
			if results[i].Works {
				continue
			}
			j := slices.IndexFunc(again, func(c *programCase) bool { return c.name == r.Program && c.release == r.Release })
			r.Adopted = strings.TrimPrefix(commands[again[j]], "; ")
			results[i] = r
		}
		changes = append(changes, s.touched(before, "used with configuration in /etc")...)
	}
	keepJSON(t, strings.ReplaceAll(name, " ", "-")+".json", results)
	return programRun{name, results, len(list.Packages), changes}
}
