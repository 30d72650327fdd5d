package e2e

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/internal/testdeb"
	"github.com/hashpkg/hashpkg/internal/testneed"
)

// machine is a root on file systems whose power can be cut. Its disks are files; those
// of btrfs, which has no call that stops it, are in an ext4 of their own, which is
// stopped below them.
type machine struct {
	dir   string // has a directory mnt, below which all is mounted
	kind  string // "ext4", "xfs" or "btrfs"
	split bool   // /var is a file system of its own
	root  string
}

func newMachine(t *testing.T, kind string, split bool) *machine {
	t.Helper()
	dir, mount := mountDir(t)
	m := &machine{dir: dir, kind: kind, split: split, root: filepath.Join(mount, "root")}
	if err := unix.Mount("tmpfs", mount, "tmpfs", 0, "size=1m"); err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{m.root, filepath.Join(mount, "outer")} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

// disks returns the names of the file systems, and where they are mounted in the root.
func (m *machine) disks() [][2]string {
	disks := [][2]string{{"usr", ""}}
	if m.split {
		disks = append(disks, [2]string{"var", "var"})
	}
	return disks
}

// image returns where a disk's file is while it is in use.
func (m *machine) image(disk string) string {
	if m.kind == "btrfs" {
		return filepath.Join(m.dir, "mnt/outer", disk+".img")
	}
	return filepath.Join(m.dir, disk+".img")
}

func (m *machine) outer() string { return filepath.Join(m.dir, "outer.img") }

// make makes the file systems with what is in a directory, has a command prepare the
// root, and keeps them by a name.
func (m *machine) make(t *testing.T, from, name string, prepare ...string) {
	t.Helper()
	for _, image := range m.files() {
		if err := os.RemoveAll(image); err != nil {
			t.Fatal(err)
		}
	}
	if m.kind == "btrfs" {
		mustRun(t, "truncate", "-s", "1G", m.outer())
		mustRun(t, "mkfs.ext4", "-q", "-F", m.outer())
		mustRun(t, "mount", "-o", "loop", m.outer(), filepath.Join(m.dir, "mnt/outer"))
	}
	for _, d := range m.disks() {
		mustRun(t, "truncate", "-s", "320M", m.image(d[0]))
		mustRun(t, "mkfs."+m.kind, map[string]string{"ext4": "-qF", "xfs": "-qf", "btrfs": "-qf"}[m.kind], m.image(d[0]))
		if err := os.MkdirAll(filepath.Join(m.root, d[1]), 0o755); err != nil {
			t.Fatal(err)
		}
		mustRun(t, "mount", "-o", "loop", m.image(d[0]), filepath.Join(m.root, d[1]))
	}
	mustRun(t, "cp", "-a", from+"/.", m.root)
	if len(prepare) > 0 {
		mustRun(t, prepare[0], append(prepare[1:], m.root)...)
	}
	m.unmount(t)
	for _, image := range m.files() {
		mustRun(t, "cp", "--sparse=always", image, image+"."+name)
	}
}

// files returns the images that hold all.
func (m *machine) files() []string {
	if m.kind == "btrfs" {
		return []string{m.outer()}
	}
	var files []string
	for _, d := range m.disks() {
		files = append(files, m.image(d[0]))
	}
	return files
}

// take makes the disks what they were when they were kept.
func (m *machine) take(t *testing.T, name string) {
	t.Helper()
	for _, image := range m.files() {
		mustRun(t, "cp", "--sparse=always", image+"."+name, image)
	}
}

func (m *machine) mount(t *testing.T) {
	t.Helper()
	if m.kind == "btrfs" {
		mustRun(t, "mount", "-o", "loop", m.outer(), filepath.Join(m.dir, "mnt/outer"))
	}
	for _, d := range m.disks() {
		mustRun(t, "mount", "-o", "loop", m.image(d[0]), filepath.Join(m.root, d[1]))
	}
}

func (m *machine) unmount(t *testing.T) {
	t.Helper()
	for _, d := range slices.Backward(m.disks()) {
		unmountWhole(t, filepath.Join(m.root, d[1]))
	}
	if m.kind == "btrfs" {
		unmountWhole(t, filepath.Join(m.dir, "mnt/outer"))
	}
	for range 1000 { // see disk.unmount
		out, err := exec.Command("losetup", "-n", "-O", "BACK-FILE").Output()
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(out), m.dir) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("a file system stays although it is unmounted")
}

// unmountWhole unmounts, and waits for who has just been killed in it.
func unmountWhole(t *testing.T, dir string) {
	t.Helper()
	for range 500 {
		err := unix.Unmount(dir, 0)
		if err == nil {
			return
		}
		if !errors.Is(err, unix.EBUSY) {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("%s stays busy", dir)
}

// cut stops the disks without writing anything more: of ext4 and XFS with flag 0 that
// of /var at last, and with 2 at first; of btrfs so that all is kept that reached the
// disk, or with 2 only what was flushed (linux/fs.h, EXT4_IOC_SHUTDOWN).
func (m *machine) cut(t *testing.T, flag int) {
	t.Helper()
	dirs := []string{filepath.Join(m.dir, "mnt/outer")}
	if m.kind != "btrfs" {
		dirs = nil
		for _, d := range m.disks() {
			dirs = append(dirs, filepath.Join(m.root, d[1]))
		}
		if flag == 2 {
			slices.Reverse(dirs)
		}
		flag = 2
	}
	for _, dir := range dirs {
		f, err := os.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		const ioctlShutdown = 0x8004587d
		err = unix.IoctlSetPointerInt(int(f.Fd()), ioctlShutdown, flag)
		if cerr := f.Close(); err == nil {
			err = cerr
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// cutState is what a command changes: the active generation with its trees, the
// program, and the pins.
type cutState struct{ active, program, trees, pins string }

func stateOf(t *testing.T, root string) (s cutState) {
	t.Helper()
	link, err := os.Readlink(filepath.Join(root, "var/sys/current-system"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	s.active = link
	b, err := os.ReadFile(filepath.Join(root, "usr/bin/jq"))
	if err != nil {
		t.Fatal(err)
	}
	s.program = fmt.Sprintf("%.8x", sha256.Sum256(b))
	trees, err := filepath.Glob(filepath.Join(root, "var/sys/*/[0-9]*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, tree := range trees {
		s.trees += strings.TrimPrefix(tree, root) + " "
	}
	pins, err := exec.Command("cat", filepath.Join(root, "var/sys/.hashpkg/system/pins.json")).Output()
	if err == nil {
		s.pins = string(pins)
	}
	return s
}

// TestPowerCutAnywhere cuts the power at random moments of every command that changes
// a root, on the file systems that there are, with /var on one with /usr and on
// another: programs start, each part of the state is the old or the new one, what was
// said to be done is done, all records are true, and the next command ends what was
// begun. HASHPKG_TEST_CUTS is how many cuts there are, and HASHPKG_TEST_SEED what
// chooses them.
func TestPowerCutAnywhere(t *testing.T) {
	t.Parallel()
	testneed.Root(t)
	testneed.Programs(t, "losetup", "unshare", "mkfs.ext4", "mkfs.xfs", "mkfs.btrfs")
	testneed.Network(t)
	if !inOwnNamespace(t) {
		return
	}
	cuts, seed := 12, uint64(1)
	for name, set := range map[string]func(uint64){"CUTS": func(n uint64) { cuts = int(n) }, "SEED": func(n uint64) { seed = n }} {
		if text := os.Getenv("HASHPKG_TEST_" + name); text != "" {
			n, err := strconv.ParseUint(text, 10, 32)
			if err != nil {
				t.Fatal(err)
			}
			set(n)
		}
	}
	t.Logf("%d cuts; HASHPKG_TEST_SEED=%d", cuts, seed)
	dir := t.TempDir()
	packaged := filepath.Join(dir, "packaged")
	smallSystem(t, packaged)
	deb := func(version string) string {
		return writeDeb(t, dir, testdeb.Package{Name: "tool", Version: version, Files: []testdeb.File{
			testdeb.Exec("usr/bin/tool", "tool "+version), {Path: "usr/share/tool/data", Content: strings.Repeat(version, 200_000)},
		}})
	}
	second := deb("2.0")
	prepare := []string{
		"sh", "-ec", twoOnigs + `h="$1 --root $4 -q"; $h install "$2"; $h remove tool=1.0; $h install "$3"; $h use tool=3.0`,
		"sh", hashpkg(t), deb("1.0"), deb("3.0"),
	}

	again := func(base string, args ...string) cutCommand { return cutCommand{base, args, args} }
	commands := []cutCommand{
		again("packaged", "sync"),
		again("packaged", "install", second),
		again("synced", "pin", "/usr/bin/jq", "libonig5=6.9.8-1"),
		again("synced", "restore", "--all"),
		again("synced", "rollback", "3"),
		again("synced", "gc", "--keep", "1", "--keep-versions", "0"),
		again("synced", "install", second),
	}
	random := rand.New(rand.NewPCG(seed, 0))
	kinds := []string{"ext4", "xfs", "btrfs"}
	done, middle := 0, 0
	for i := range 2 * len(kinds) {
		m := newMachine(t, kinds[i%len(kinds)], i >= len(kinds))
		m.make(t, packaged, "packaged")
		m.make(t, packaged, "synced", prepare...)
		n := (cuts*(i+1))/(2*len(kinds)) - (cuts*i)/(2*len(kinds))
		for k := range n {
			c := commands[(i+k*(1+i%2))%len(commands)]
			moment := func(took time.Duration) time.Duration { return time.Duration(random.Int64N(int64(took) * 5 / 4)) }
			if done++; !cutOnce(t, m, c, moment, 2*random.IntN(2)) {
				middle++
			}
		}
	}
	t.Logf("%d cuts, %d of them before the command had ended", done, middle)
}

// twoOnigs is a script that syncs the small system with two versions of a library of jq.
// Its first argument is hashpkg, and its last the root.
const twoOnigs = `for root; do :; done
$1 --root "$root" -q sync
(cd "$root"; sed -i 's/^Version: 6.9.8-1$/Version: 6.9.8-2/' var/lib/dpkg/status
for f in usr/lib/x86_64-linux-gnu/libonig.so.5.*; do cp -p $f $f.new; mv $f.new $f; done)
$1 --root "$root" -q sync --again
`

// TestPinPowerCut cuts the power right after a pin has been made or taken back, and
// while that is done, with the program and the records on one file system and on two.
func TestPinPowerCut(t *testing.T) {
	t.Parallel()
	testneed.Root(t)
	testneed.Programs(t, "losetup", "unshare", "mkfs.ext4")
	testneed.Network(t)
	if !inOwnNamespace(t) {
		return
	}
	packaged := filepath.Join(t.TempDir(), "packaged")
	smallSystem(t, packaged)
	const pinned = twoOnigs + `$1 --root "$root" -q pin /usr/bin/jq libonig5=6.9.8-1` + "\n"
	for _, split := range []bool{false, true} {
		m := newMachine(t, "ext4", split)
		m.make(t, packaged, "synced", "sh", "-ec", twoOnigs, "sh", hashpkg(t))
		m.make(t, packaged, "pinned", "sh", "-ec", pinned, "sh", hashpkg(t))
		for _, c := range []cutCommand{
			{"synced", []string{"pin", "/usr/bin/jq", "libonig5=6.9.8-1"}, []string{"pin", "/usr/bin/jq", "libonig5=6.9.8-1"}},
			{"synced", []string{"pin", "--all", "libonig5=6.9.8-1"}, []string{"pin", "--all", "libonig5=6.9.8-1"}},
			{"pinned", []string{"unpin", "/usr/bin/jq", "libonig5"}, []string{"sync"}},
			{"synced", []string{"freeze", "/usr/bin/jq"}, []string{"freeze", "/usr/bin/jq"}},
			{"pinned", []string{"freeze", "/usr/bin/jq"}, []string{"sync"}},
		} {
			for _, flag := range []int{0, 2} {
				if !cutOnce(t, m, c, func(time.Duration) time.Duration { return time.Minute }, flag) {
					t.Errorf("%q did not end", c.args)
				}
				cutOnce(t, m, c, func(took time.Duration) time.Duration { return took * time.Duration(flag+1) / 4 }, flag)
			}
		}
	}
}

// ownNamespace is the variable that tells a test that it runs in a mount namespace of
// its own.
const ownNamespace = "HASHPKG_E2E_NAMESPACE"

// inOwnNamespace reports whether the test runs where nobody else sees what it mounts. If
// it does not, it is run there, once more, and has nothing left to do here. A namespace
// that another test makes meanwhile has a copy of every mount, and keeps file systems
// in use that are unmounted here. For the same reason the mounts of other tests are
// taken out of this one.
func inOwnNamespace(t *testing.T) bool {
	t.Helper()
	if os.Getenv(ownNamespace) != "" {
		return true
	}
	const script = `tac /proc/mounts | while read -r _ dir _; do
	case $dir in */hashpkg-e2e-*) umount -l "$dir" ;; esac
done
exec "$@"`
	cmd := exec.CommandContext(t.Context(), "unshare", "--mount", "--propagation", "private", "sh", "-c", script,
		"sh", os.Args[0], "-test.v", "-test.run=^"+t.Name()+"$", "-test.timeout=30m")
	cmd.Env = append(os.Environ(), ownNamespace+"=1")
	out, err := cmd.CombinedOutput()
	t.Logf("in a namespace of its own:\n%s", out)
	switch {
	case err != nil:
		t.Error(err)
	case strings.Contains(string(out), "--- SKIP"):
		testneed.Unmet(t, "the test that was started says why, above")
	}
	return false
}

// cutCommand is a command on a machine, by what this was kept as, and the one that ends
// what it has begun.
type cutCommand struct {
	base       string
	args, next []string
}

// cutOnce cuts the power of a machine once, at the moment that follows from how long the
// command takes, or when it has ended before. It reports whether it had.
func cutOnce(t *testing.T, m *machine, c cutCommand, moment func(took time.Duration) time.Duration, flag int) (finished bool) {
	t.Helper()
	command := func(args ...string) *exec.Cmd {
		cmd := exec.Command(hashpkg(t), append([]string{"--root", m.root, "-q"}, args...)...)
		cmd.Env = append(os.Environ(), "SOURCE_DATE_EPOCH=1700000000")
		return cmd
	}
	// How long it takes, and what it makes.
	m.take(t, c.base)
	m.mount(t)
	before := stateOf(t, m.root)
	start := time.Now()
	if out, err := command(c.args...).CombinedOutput(); err != nil {
		t.Fatalf("%q: %v: %s", c.args, err, out)
	}
	took := time.Since(start)
	after := stateOf(t, m.root)
	if before == after {
		t.Fatalf("%q changed nothing", c.args)
	}
	m.unmount(t)

	m.take(t, c.base)
	m.mount(t)
	wait := moment(took)
	what := fmt.Sprintf("%s, /var apart: %v, %s cut after %v of %v, flag %d", m.kind, m.split, c.args[0], wait, took, flag)
	cmd := command(c.args...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	said := false // that it is done
	select {
	case err := <-ended:
		said, finished = err == nil, true
	case <-time.After(wait):
	}
	m.cut(t, flag)
	if !finished {
		_ = cmd.Process.Kill()
		<-ended
	}
	m.unmount(t)
	m.mount(t)

	have := stateOf(t, m.root)
	t.Logf("%s: ended %v, generation %q", what, finished, have.active)
	for _, part := range [][4]string{
		{"generation", before.active, after.active, have.active},
		{"program", before.program, after.program, have.program},
		{"pins", before.pins, after.pins, have.pins},
	} {
		if part[3] != part[1] && part[3] != part[2] {
			t.Errorf("%s: the %s is neither the old nor the new one: %q, %q, %q", what, part[0], part[1], part[2], part[3])
		}
	}
	if said && have != after {
		t.Errorf("%s: it was done, and is lost: %+v, want %+v", what, have, after)
	}
	check := func(moment string, args ...string) {
		t.Helper()
		if out, err := command(args...).CombinedOutput(); err != nil {
			t.Errorf("%s: %s, %q: %v: %s", what, moment, args, err, out)
		}
	}
	whole := func(moment string) {
		t.Helper()
		starts(t, what+", "+moment, m.root)
		check(moment, "verify")
		check(moment, "verify", "--system")
	}
	whole("right afterwards")
	check("the next command", c.next...)
	whole("after the next command")
	want := after
	if have.pins == before.pins && !slices.Equal(c.args, c.next) { // it was cut before it had decided anything
		want = before
	}
	if now := stateOf(t, m.root); now.program != want.program || now.pins != want.pins || now.trees != want.trees {
		t.Errorf("%s: the next command makes %+v, want %+v", what, now, want)
	}
	m.unmount(t)
	return finished
}
