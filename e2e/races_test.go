package e2e

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashpkg/hashpkg/internal/testdeb"
	"github.com/hashpkg/hashpkg/internal/testneed"
	"github.com/hashpkg/hashpkg/internal/testrpm"
)

// raced is a package with a program and its library in two versions, and how the
// package manager installs them in a root.
type raced struct {
	programs [2][]byte // as packaged
	install  func(t *testing.T, root string, version int)
}

// racedFiles returns the programs and libraries of the two versions.
func racedFiles(t *testing.T) (programs, libraries [2][]byte) {
	t.Helper()
	for i, version := range []string{"1.0", "2.0"} {
		dir := t.TempDir()
		for _, deb := range service(t, version) {
			mustRun(t, "dpkg-deb", "-x", deb, dir)
		}
		var err error
		if programs[i], err = os.ReadFile(filepath.Join(dir, "usr/bin/svc")); err != nil {
			t.Fatal(err)
		}
		if libraries[i], err = os.ReadFile(filepath.Join(dir, libs, "libsvc.so.1."+version)); err != nil {
			t.Fatal(err)
		}
	}
	return programs, libraries
}

// TestSyncBesideDpkg lets dpkg, which has no hooks, install one version and the other
// while a sync is at work.
func TestSyncBesideDpkg(t *testing.T) {
	t.Parallel()
	testneed.Root(t)
	testneed.Programs(t, "strace", "gcc", "dpkg")
	programs, libraries := racedFiles(t)
	dir := t.TempDir()
	var debs [2]string
	for i := range debs {
		debs[i] = writeDeb(t, dir, testdeb.Package{Name: "svc", Version: fmt.Sprint(i + 1), Files: []testdeb.File{
			testdeb.Exec("usr/bin/svc", string(programs[i])),
			{Path: libs[1:] + "libsvc.so.1", Content: string(libraries[i])},
		}})
	}
	race(t, 12, raced{programs, func(t *testing.T, root string, version int) {
		t.Helper()
		mustRun(t, "mkdir", "-p", root+"/var/lib/dpkg/updates", root+"/var/log")
		mustRun(t, "dpkg", "--root="+root, "--force-depends,downgrade,bad-path", "--log=/dev/null", "-i", debs[version])
	}})
}

// TestSyncBesideRPM is TestSyncBesideDpkg with rpm.
func TestSyncBesideRPM(t *testing.T) {
	t.Parallel()
	testneed.Root(t)
	testneed.Programs(t, "strace", "gcc", "rpm", "dpkg-deb")
	programs, libraries := racedFiles(t)
	dir := t.TempDir()
	var rpms [2]string
	for i := range rpms {
		rpms[i] = filepath.Join(dir, fmt.Sprint(i, ".rpm"))
		b := testrpm.RPM(t, testrpm.Package{Name: "svc", Version: fmt.Sprint(i + 1), Files: []testrpm.File{
			{Path: "/usr/bin/svc", Mode: 0o755, Content: string(programs[i])},
			{Path: libs + "libsvc.so.1", Content: string(libraries[i])},
		}})
		if err := os.WriteFile(rpms[i], b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	race(t, 8, raced{programs, func(t *testing.T, root string, version int) {
		t.Helper()
		mustRun(t, "rm", "-rf", root+"/var/lib/dpkg") // this root is rpm's
		mustRun(t, "rpm", "--root", root, "--dbpath", "/var/lib/rpm", "--force-debian", "--nosignature", "--nodeps", "--oldpackage", "--replacepkgs", "-U", rpms[version])
	}})
}

// race has a sync stand still before it gives an edited program its name, and meanwhile
// the package manager install the other version: no version is lost, and the program is
// the packaged one of the version that came last, or that with the recorded edit.
func race(t *testing.T, rounds int, r raced) {
	t.Helper()
	const seed = 1
	random := rand.New(rand.NewPCG(seed, 0))
	root := filepath.Join(t.TempDir(), "root")
	smallSystem(t, root)
	r.install(t, root, 0)
	program := filepath.Join(root, "usr/bin/svc")
	edited := 0
	check := func(what string, version int) {
		t.Helper()
		want := []string{"1.0\n", "2.0\n"}[version]
		if out, err := exec.Command("chroot", root, "/usr/bin/svc").CombinedOutput(); err != nil || string(out) != want {
			t.Errorf("%s: svc says %q, want %q (%v)", what, out, want, err)
		}
		b, err := os.ReadFile(program)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Equal(b, r.programs[version]) {
			return
		}
		edited++
		undone := filepath.Join(t.TempDir(), "undone")
		copyRoot(t, root, undone)
		status, stderr := run(t, exec.Command(hashpkg(t), "--root", undone, "-q", "restore", "--all"))
		if b, err = os.ReadFile(filepath.Join(undone, "usr/bin/svc")); err != nil || status != 0 || !bytes.Equal(b, r.programs[version]) {
			t.Errorf("%s: the program without its edit is not that of version %d (%v, status %d: %s)", what, version+1, err, status, stderr)
		}
	}
	for round := range rounds {
		version := (round + round/2) % 2
		r.install(t, root, 1-version)
		what := fmt.Sprintf("round %d (seed %d)", round, seed)
		delay := time.Duration(400+random.IntN(800)) * time.Millisecond
		sync := injected("strace", "renameat,renameat2", fmt.Sprintf("delay_enter=%d", delay.Microseconds()), hashpkg(t), "--root", root, "-q", "sync")
		sync.Args = slices.Insert(sync.Args, 1, "-P", filepath.Join(root, "usr/bin")) // renames in it only
		var said bytes.Buffer
		sync.Stderr = &said
		if err := sync.Start(); err != nil {
			t.Fatal(err)
		}
		// Before it has the name from which it takes the other's place, and after.
		name := []string{".hashpkg-edit-*", ".hashpkg-swap-*"}[random.IntN(2)]
		there := func() bool {
			found, err := filepath.Glob(filepath.Join(root, "usr/bin", name))
			return err == nil && len(found) > 0
		}
		for deadline := time.Now().Add(20 * time.Second); !there(); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Errorf("%s: the sync makes no %s", what, name)
				break
			}
		}
		time.Sleep(time.Duration(random.IntN(300)) * time.Millisecond)
		r.install(t, root, version)
		if err := sync.Wait(); err != nil && !strings.Contains(said.String(), "another process changed it") {
			t.Errorf("%s: the sync says %v: %s", what, err, said.String())
		}
		check(what, version)
		mustRun(t, hashpkg(t), "--root", root, "-q", "sync")
		check(what+", and another sync", version)
		for _, args := range [][]string{{"verify"}, {"verify", "--system"}} {
			mustRun(t, hashpkg(t), append([]string{"--root", root, "-q"}, args...)...)
		}
	}
	t.Logf("%d rounds; the program was edited at %d of %d looks", rounds, edited, 2*rounds)
	if edited < rounds {
		t.Error("the program was hardly ever edited: nothing was at stake")
	}
}
