// Package testroot makes real roots for tests: Debian systems with apt and
// dpkg, and one that rpm installed, in which a test may run whatever it likes.
// [Debian] and [RPM] make one, [Root.Run] runs a command in it:
//
//	root := testroot.Debian(t, "bookworm", "", "jq")
//	repo := root.Repo()
//	repo.Add(testroot.Rebuild(t, testroot.Change{Suffix: "+new1", Note: true}, root.Fetch("libjq1")...)...)
//	before := root.Loads()
//	starts := root.Loop("jq", "-n", "1")
//	root.Run("apt-get", "-y", "upgrade")
//	n := starts.Stop() // fails the test if one of the starts failed
//	diff := before.Diff(root.Loads(), root.SameFile)
//
// All of it needs root, and Debian's archive once; what lacks them, or a program,
// gets the test skipped (package testneed).
//
// # Nothing is left behind
//
// A root is an ordinary directory below the directory for temporary files, so
// that links, inode numbers and the space taken are those of the file system.
// Commands run in mount, process, network, host name and IPC namespaces of
// their own: they see no process but their own, reach no network, and what
// they mount is seen by nobody else. All of a command's processes end with it,
// and with the test. The directory is removed when the test ends; should the
// test process be killed, then by a process that waits for that.
//
// # The cache
//
// What a root is unpacked from is kept beside the packages (package archive):
//
//	SUITE/ARCH/roots/SET-INDEX.tar   a root of the packages SET, as of the release's index INDEX
//	rpm/...                          see RPM
//
// It is made anew when the release has changed. Several processes may use one
// cache at once, and it may be deleted at any time when none does.
package testroot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	securejoin "github.com/cyphar/filepath-securejoin"

	"github.com/hashpkg/hashpkg/internal/archive"
	"github.com/hashpkg/hashpkg/internal/testneed"
)

// Root is the root of a system. Its methods fail the test that it was made for
// when they cannot do what they are for, unless they return an error.
type Root struct {
	Dir   string // the directory, as the test sees it
	Suite string // the release's name; empty for one of rpm
	Arch  string // Debian's name of its architecture

	// Timeout is how long a command may take, when the context that it is
	// given sets no limit. It is ten minutes at first.
	Timeout time.Duration

	// Env is added to the environment of commands, NAME=VALUE each.
	Env []string

	tb      testing.TB
	scratch string            // a directory that is removed with the root
	binds   map[string]string // path in the root: the machine's directory that stands there
}

// Debian returns a root of a release of Debian ("bookworm", "trixie") or Ubuntu ("noble"): its
// essential packages, apt, the packages named, and what they depend on (but
// not what they recommend), of the release as it was published, without
// security updates. arch is this machine's when empty. Programs of another
// architecture cannot run here, so such a root is one of packages that are
// unpacked and on record as installed, but whose scripts did not run.
//
// The first call for a set of packages downloads them and takes a while
// (bookworm without further packages: half a minute); later ones unpack what
// that has left in the cache (one or two seconds).
func Debian(tb testing.TB, suite, arch string, packages ...string) *Root {
	tb.Helper()
	testneed.Root(tb)
	testneed.Network(tb)
	if arch == "" {
		arch = hostArch(tb)
	}
	r := newRoot(tb)
	r.Suite, r.Arch = suite, arch
	if err := UnpackDebian(context.Background(), r.Dir, suite, arch, packages...); err != nil {
		testneed.Unmet(tb, err)
	}
	return r
}

// With returns the same root for a subtest: what fails there fails the subtest,
// and what it starts ends with it.
func (r *Root) With(tb testing.TB) *Root {
	sub := *r
	sub.tb = tb
	return &sub
}

// newRoot returns a Root with an empty directory, which is removed in the end.
func newRoot(tb testing.TB) *Root {
	tb.Helper()
	base, err := os.MkdirTemp("", "testroot-")
	if err != nil {
		tb.Fatal(err)
	}
	remove, err := removeLater(base)
	if err != nil {
		os.RemoveAll(base) //nolint:errcheck // the first error is reported
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := remove(); err != nil {
			tb.Errorf("remove the root: %v", err)
		}
	})
	r := &Root{
		Dir:     filepath.Join(base, "root"),
		Timeout: 10 * time.Minute,
		tb:      tb,
		scratch: filepath.Join(base, "scratch"),
		binds:   map[string]string{},
	}
	for _, dir := range []string{r.Dir, r.scratch} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			tb.Fatal(err)
		}
	}
	return r
}

// removeLater starts a process that removes dir when remove is called, or when
// this process has ended, however it did.
func removeLater(dir string) (remove func() error, err error) {
	// What runs in the root is killed with the test process, but not before it.
	cmd := exec.Command("/bin/sh", "-c", `cat >/dev/null
for try in 1 2 3 4 5 6 7 8 9 10; do
	said=$(rm -rf --one-file-system -- "$1" 2>&1) && exit
	sleep 0.5
done
echo "$said" | tail -n 3 >&2
exit 1`, "sh", dir)
	var said bytes.Buffer
	cmd.Stderr = &said
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // no ^C, no kill of the test's group
	waiting, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return func() error {
		if err := errors.Join(waiting.Close(), cmd.Wait()); err != nil {
			return fmt.Errorf("%v: %s", err, strings.TrimSpace(said.String()))
		}
		return nil
	}, nil
}

// Path returns the machine's path of a path in the root. Links are followed as
// a process in the root would.
func (r *Root) Path(path string) string {
	r.tb.Helper()
	joined, err := securejoin.SecureJoin(r.Dir, path)
	if err != nil {
		r.tb.Fatal(err)
	}
	return joined
}

// LinkPath is Path for a file that may itself be a link, which is not followed.
func (r *Root) LinkPath(path string) string {
	r.tb.Helper()
	path = filepath.Clean("/" + path)
	return filepath.Join(r.Path(filepath.Dir(path)), filepath.Base(path))
}

// ReadFile returns the contents of a file of the root.
func (r *Root) ReadFile(path string) string {
	r.tb.Helper()
	b, err := os.ReadFile(r.Path(path))
	if err != nil {
		r.tb.Fatal(err)
	}
	return string(b)
}

// WriteFile writes a file of the root, and makes the directories that it is in.
func (r *Root) WriteFile(path, contents string, mode os.FileMode) {
	r.tb.Helper()
	file := r.Path(path)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		r.tb.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(contents), mode); err != nil {
		r.tb.Fatal(err)
	}
	if err := os.Chmod(file, mode); err != nil { // whatever the umask
		r.tb.Fatal(err)
	}
}

// Install copies a program or another file of the machine to a path in the root.
func (r *Root) Install(file, path string) {
	r.tb.Helper()
	from, err := os.Open(file)
	if err != nil {
		r.tb.Fatal(err)
	}
	defer from.Close()
	r.WriteFile(path, "", 0o755)
	to, err := os.OpenFile(r.Path(path), os.O_WRONLY, 0)
	if err != nil {
		r.tb.Fatal(err)
	}
	_, err = io.Copy(to, from)
	if err := errors.Join(err, to.Close()); err != nil {
		r.tb.Fatal(err)
	}
}

// Bind makes a directory of the machine stand at a path in the root, for the
// commands that are started from now on. The empty directory where it stands
// remains in the root.
func (r *Root) Bind(dir, path string) {
	r.tb.Helper()
	if err := os.MkdirAll(r.Path(path), 0o755); err != nil {
		r.tb.Fatal(err)
	}
	r.binds[path] = dir
}

// Fetch returns the files of packages of the root's release, each NAME or
// NAME=VERSION, in the cache.
func (r *Root) Fetch(packages ...string) []string {
	r.tb.Helper()
	debs, err := archive.Fetch(context.Background(), archive.Options{Suite: r.Suite, Arch: r.Arch, Packages: packages})
	if err != nil {
		testneed.Unmet(r.tb, err)
	}
	return debs
}

// FetchMissing is Fetch for the packages and for all that they depend on, as
// far as it is not installed in the root.
func (r *Root) FetchMissing(packages ...string) []string {
	r.tb.Helper()
	o := archive.Options{Suite: r.Suite, Arch: r.Arch, Packages: packages}
	missing, err := archive.Missing(context.Background(), o, r.Path("/var/lib/dpkg/status"))
	if err != nil {
		testneed.Unmet(r.tb, err)
	}
	return r.Fetch(missing...)
}

// needTool looks for a program, which a package of Debian brings.
func needTool(tool, debianPackage string) error {
	if _, err := exec.LookPath(tool); err != nil {
		return fmt.Errorf("%w: %s is not in PATH; it comes with Debian's package %s", archive.ErrNoTool, tool, debianPackage)
	}
	return nil
}

func hostArch(tb testing.TB) string {
	tb.Helper()
	out, err := exec.Command("dpkg", "--print-architecture").Output()
	if err != nil {
		testneed.Unmet(tb, fmt.Errorf("ask dpkg for the architecture: %v", err))
	}
	return strings.TrimSpace(string(out))
}
