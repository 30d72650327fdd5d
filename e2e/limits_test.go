package e2e

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/internal/testdeb"
	"github.com/hashpkg/hashpkg/internal/testneed"
	"github.com/hashpkg/hashpkg/internal/testrpm"
)

// measured runs hashpkg in a process that is small, as the test's is not: a process
// begins with the largest memory of the one that has started it (getrusage(2)).
const measured = `use strict; my $pid = fork; if (!$pid) { exec @ARGV or die }
open my $status, "<", "/proc/$pid/status" or die; my $peak = 0;
while (1) { seek $status, 0, 0; my $n = 0; while (<$status>) { $n = $1 if /^VmHWM:\s+(\d+)/ } $peak = $n if $n > $peak;
use POSIX ":sys_wait_h"; last if waitpid($pid, WNOHANG) == $pid; select undef, undef, undef, 0.005 }
print STDERR "\npeak $peak\n"; exit($? >> 8)`

// runMeasured runs hashpkg and returns its status, what it said, and the most memory that
// it had, in MiB, without the programs that it started.
func runMeasured(t *testing.T, args ...string) (status int, stderr string, peak int) {
	t.Helper()
	status, stderr = run(t, exec.Command("perl", append([]string{"-e", measured, hashpkg(t)}, args...)...))
	stderr, said, ok := strings.Cut(stderr, "\npeak ")
	if _, err := fmt.Sscan(said, &peak); !ok || err != nil {
		t.Fatalf("no memory was measured: %q", said)
	}
	return status, stderr, peak >> 10
}

// zstdFrame is a frame (RFC 8878) of some bytes and then of zeros, of which 128 KiB
// are four bytes.
func zstdFrame(head []byte, zeros int64, windowLog int) []byte {
	b := []byte{0x28, 0xb5, 0x2f, 0xfd, 0, byte(windowLog-10) << 3}
	block := func(kind, size int, content []byte) {
		var h [4]byte
		binary.LittleEndian.PutUint32(h[:], uint32(kind<<1|size<<3))
		b = append(append(b, h[:3]...), content...)
	}
	const most = 128 << 10
	for ; len(head) > 0; head = head[min(most, len(head)):] {
		piece := head[:min(most, len(head))]
		block(0, len(piece), piece)
	}
	for ; zeros > 0; zeros -= min(most, zeros) {
		block(1, int(min(most, zeros)), []byte{0})
	}
	return append(b, 1, 0, 0) // the last block: empty
}

// bomb is a deb whose data, or control files, are a zstd frame.
func bomb(t *testing.T, member string, frame []byte) []byte {
	t.Helper()
	members, err := testdeb.Package{Name: "bomb", Version: "1", Compression: testdeb.Zstd}.Members()
	if err != nil {
		t.Fatal(err)
	}
	for i := range members {
		if strings.HasPrefix(members[i].Name, member) {
			members[i].Data = frame
		}
	}
	return testdeb.Ar(members...)
}

// tarHead returns the header of a file that says that it has so many bytes.
func tarHead(t *testing.T, f testdeb.File) []byte {
	t.Helper()
	b, err := testdeb.Tar(f)
	if err != nil {
		t.Fatal(err)
	}
	return b[:len(b)-1024] // the end
}

// TestBombs gives install packages that are small and would be large: it refuses
// them, in bounded memory and time, and says which limit it was.
func TestBombs(t *testing.T) {
	testneed.Programs(t, "xz", "perl")
	dir := t.TempDir()
	hashpkg(t) // before time is taken
	zeros := func(name string, size int64) []byte { return tarHead(t, testdeb.File{Path: name, Size: size}) }
	deep := func(n int) []byte {
		files := []testdeb.File{{Path: strings.Repeat("d/", n) + "file"}}
		b, err := testdeb.Tar(files...)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	pax := func(records string, n int) []byte {
		var all []byte
		for range n {
			all = append(all, tarHead(t, testdeb.File{Path: "PaxHeaders/x", Type: 'x', Content: records})...)
		}
		return all
	}
	many := func(n int, name func(int) string) []byte {
		var files []testdeb.File
		for i := range n {
			files = append(files, testdeb.File{Path: name(i)})
		}
		b, err := testdeb.Tar(files...)
		if err != nil {
			t.Fatal(err)
		}
		packed, err := testdeb.Compress(b, testdeb.Zstd)
		if err != nil {
			t.Fatal(err)
		}
		return packed
	}
	const gib = 1 << 30
	xzZeros, err := testdeb.Compress(append(zeros("usr/zeros", gib), make([]byte, 64<<20)...), testdeb.Xz)
	if err != nil {
		t.Fatal(err)
	}
	members, err := testdeb.Package{Name: "bomb", Version: "1", Compression: testdeb.Xz}.Members()
	if err != nil {
		t.Fatal(err)
	}
	members[2].Data = xzZeros
	xzBomb := testdeb.Ar(members...)

	for _, c := range []struct {
		name    string
		content []byte
		options string
		says    string
	}{
		{"control file of 1 GiB", bomb(t, "control", zstdFrame(zeros("control", gib), gib, 17)), "", "1073741824 bytes, and 4194304 is a fixed limit"},
		{"other control file of 1 GiB", bomb(t, "control", zstdFrame(zeros("md5sums", gib), gib, 17)), "", "67108864 bytes, a fixed limit"},
		{"zeros for a control archive", bomb(t, "control", zstdFrame(nil, 10*gib, 17)), "", "zeros follow the end"},
		{"file of 1 TiB", bomb(t, "data", zstdFrame(zeros("usr/zeros", gib<<10), 10*gib, 17)), "", "--max-size"},
		{"GNU sparse file of 1 TiB", bomb(t, "data", zstdFrame(tarHead(t, testdeb.File{Path: "usr/sparse", Type: 'S', Size: 512}), 10*gib, 17)), "", "unknown tar type 'S'"},
		{"pax sparse file of 1 TiB", bomb(t, "data", zstdFrame(pax("22 GNU.sparse.major=1\n30 GNU.sparse.realsize=1099511627776\n", 1), 10*gib, 17)), "", "pax header"},
		{"pax headers of pax headers", bomb(t, "data", zstdFrame(pax("20 path=PaxHeaders/x\n", 100_000), 0, 17)), "", "pax header"},
		{"10 GiB of zeros", bomb(t, "data", zstdFrame(zeros("usr/zeros", 10*gib), 10*gib, 17)), "--max-size 1G", "10737418240 bytes or more, and 1073741824 are allowed"},
		{"10 GiB of zeros with a large window", bomb(t, "data", zstdFrame(zeros("usr/zeros", 10*gib), 10*gib, 27)), "--max-size 1G", "--max-size"},
		{"1 GiB of zeros in xz", xzBomb, "--max-size 100M", "--max-size"},
		{"zeros behind the archive", bomb(t, "data", zstdFrame(make([]byte, 1024), 100*gib, 17)), "", "zeros follow the end"},
		{"directories 2,000 deep", bomb(t, "data", zstdFrame(deep(2000), 0, 17)), "", "2000 directories deep, and 128 is a fixed limit"},
		{"directories 4,096 deep", bomb(t, "data", zstdFrame(deep(4096), 0, 17)), "", "Linux allows 4095"},
		{"a million files", bomb(t, "data", many(1_000_000, func(i int) string { return fmt.Sprintf("usr/share/%d", i) })), "", "more than 262144 files and directories"},
		{"a million times one directory", bomb(t, "data", many(1_000_000, func(int) string { return "usr/" })), "", "more than 262144 entries, a fixed limit"},
		{"cpio with a file of 1 TiB", testrpm.RPM(t, testrpm.Package{
			Format: 6, // its archive does not say how large a file is
			Files:  []testrpm.File{{Path: "/usr/sparse", Content: "x"}},
			Edit:   func(h *testrpm.Header) { h.Uint64s(5008, gib<<10) },
		}), "", "--max-size"},
		{"a long changelog", testrpm.RPM(t, testrpm.Package{Edit: func(h *testrpm.Header) {
			h.StringArray(1082, strings.Repeat("- a change\n", 5_000_000))
		}}), "", "is a fixed limit of hashpkg (docs/limits.md): split the package, or shorten its changelog"},
		{"a changelog of many entries", testrpm.RPM(t, testrpm.Package{Edit: func(h *testrpm.Header) {
			h.StringArray(1082, strings.Split(strings.Repeat("- a change\n", 1_500_000), "\n")...)
		}}), "", "strings"},
	} {
		file := filepath.Join(dir, "bomb")
		if err := os.WriteFile(file, c.content, 0o644); err != nil {
			t.Fatal(err)
		}
		root := filepath.Join(dir, "root")
		if err := os.Mkdir(root, 0o755); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		status, stderr, peak := runMeasured(t, append([]string{"--root", root, "install", file}, strings.Fields(c.options)...)...)
		took := time.Since(start)
		t.Logf("%s: a package of %d KiB, %d MiB of memory, %v", c.name, len(c.content)>>10, peak, took.Round(time.Millisecond))
		if status != 1 || !strings.Contains(stderr, c.says) {
			t.Errorf("%s: status %d: %s", c.name, status, stderr)
		}
		if peak >= 288 || took > time.Minute {
			t.Errorf("%s: %d MiB of memory, %v", c.name, peak, took)
		}
		if left := sizeOf(t, root); left > 1<<20 {
			t.Errorf("%s: %d bytes are left", c.name, left)
		}
		if err := os.RemoveAll(root); err != nil {
			t.Fatal(err)
		}
	}
}

// sizeOf adds up the files below a directory.
func sizeOf(t *testing.T, dir string) (sum int64) {
	t.Helper()
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			sum += info.Size()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

// TestLargeButAllowed takes what is large and within the limits.
func TestLargeButAllowed(t *testing.T) {
	testneed.Time(t)
	testneed.Programs(t, "perl")
	dir := t.TempDir()
	file, root := filepath.Join(dir, "large.deb"), filepath.Join(dir, "root")
	if err := os.Mkdir(root, 0o755); err != nil {
		t.Fatal(err)
	}
	const size = 2 << 30
	frame := zstdFrame(tarHead(t, testdeb.File{Path: "usr/zeros", Size: size}), size, 17)
	if err := os.WriteFile(file, bomb(t, "data", frame), 0o644); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	status, stderr, peak := runMeasured(t, "--root", root, "install", "--dry-run", file)
	t.Logf("2 GiB of zeros, planned: %d MiB of memory, %v", peak, time.Since(start))
	if status != 0 || peak >= 200 {
		t.Errorf("status %d, %d MiB of memory: %s", status, peak, stderr)
	}

	p := testdeb.Package{Name: "many", Version: "1", Compression: testdeb.Zstd}
	const n = 60_000
	for i := range n {
		p.Files = append(p.Files, testdeb.File{Path: fmt.Sprintf("usr/share/many/%d/%d/a-file-with-a-name", i/1000, i), Content: fmt.Sprint(i)})
	}
	if err := os.WriteFile(file, testdeb.Deb(t, p), 0o644); err != nil {
		t.Fatal(err)
	}
	start = time.Now()
	status, stderr, peak = runMeasured(t, "--root", root, "install", "-q", "--dry-run", file)
	t.Logf("%d files, each in a directory: %d MiB of memory, %v", n, peak, time.Since(start))
	if status != 0 || peak >= 300 {
		t.Errorf("status %d, %d MiB of memory: %s", status, peak, stderr)
	}
}

// TestMaxSize sets the limit of what a package unpacks to, in both ways.
func TestMaxSize(t *testing.T) {
	dir := t.TempDir()
	deb := writeDeb(t, dir, testdeb.Package{Name: "one", Version: "1", Files: []testdeb.File{
		{Path: "usr/share/a", Content: strings.Repeat("a", 1500)}, {Path: "usr/share/b", Content: strings.Repeat("b", 1500)},
	}})
	for _, c := range []struct {
		setting, options string
		status           int
		says             string
	}{
		{"", "", 0, ""},
		{"", "--max-size 3000", 0, ""},
		{"", "--max-size 2999", 1, "usr/share/b: with this file the package unpacks to 3000 bytes or more, and 2999 are allowed"},
		{"2K", "", 1, "allow more with --max-size, or with max-size in /etc/hashpkg.toml"},
		{"2K", "--dry-run", 1, "--max-size"},
		{"2K", "--max-size 1M", 0, ""},
		{"2 KB", "", 1, `max-size = "2 KB": expected a number of bytes`},
		{"", "--max-size 0", 2, `--max-size: "0": expected a number of bytes`},
	} {
		root := t.TempDir()
		if c.setting != "" {
			text := fmt.Sprintf("[limits]\nmax-size = %q\n", c.setting)
			if err := errors.Join(os.Mkdir(root+"/etc", 0o755), os.WriteFile(root+"/etc/hashpkg.toml", []byte(text), 0o644)); err != nil {
				t.Fatal(err)
			}
		}
		status, stderr := run(t, exec.Command(hashpkg(t), append([]string{"--root", root, "install", "-q", deb}, strings.Fields(c.options)...)...))
		if status != c.status || !strings.Contains(stderr, c.says) {
			t.Errorf("%+v: status %d: %s", c, status, stderr)
		}
	}
}

// TestLargeFiles syncs a system with a program that would take long to read, and sets
// how large programs and libraries may be.
func TestLargeFiles(t *testing.T) {
	testneed.Programs(t, "gcc")
	root := newSystem(t)
	installDebs(root, service(t, "1.0")...)
	root.Run("truncate", "-s", "16G", "/usr/bin/svc") // a hole
	start := time.Now()
	if out := root.Run("hashpkg", "sync", "-v"); !strings.Contains(out,
		"note: /usr/bin/svc is left as it is: it is larger than what is looked at: it has 17179869184 bytes, and max-size below [rewrite] in /etc/hashpkg.toml is 2147483648\n") {
		t.Errorf("sync says %s", out)
	}
	if took := time.Since(start); took > 15*time.Second {
		t.Errorf("the sync took %v", took)
	}
	if out, err := root.RunErr(t.Context(), "hashpkg", "pin", "/usr/bin/svc", "libsvc1=1.0"); err == nil || !strings.Contains(out, "larger than what is looked at") {
		t.Errorf("a pin says %v: %s", err, out)
	}

	// Nothing is installed, and what the settings say is followed.
	root.Run("hashpkg", "restore", "--all")
	root.Run("rm", "-r", "/var/sys", "/usr/bin/svc")
	installDebs(root, service(t, "1.0")...)
	root.WriteFile("/etc/hashpkg.toml", "[rewrite]\nmax-size = \"4K\"\n", 0o644)
	out := root.Run("hashpkg", "sync", "-v")
	for _, name := range []string{"/usr/bin/svc", libs + "libsvc.so.1.1.0"} {
		if !strings.Contains(out, "note: "+name+" is left as it is: it is larger") {
			t.Errorf("sync does not say that %s is left: %s", name, out)
		}
	}
	root.Run("sh", "-c", "! test -e /var/sys/libsvc1; svc")
	if searches(root, "/usr/bin/svc") {
		t.Error("svc is edited, though it is larger than the limit")
	}
	inForce(t, root, "with a limit of 4 KiB")
	root.WriteFile("/etc/hashpkg.toml", "[rewrite]\nmax-size = \"1M\"\n", 0o644)
	root.Run("hashpkg", "sync")
	if out := root.Run("ldd", "/usr/bin/svc"); !strings.Contains(out, "/var/sys/current-system/lib64/libsvc.so.1") {
		t.Errorf("with a limit of 1 MiB svc loads %s", out)
	}
	// What was edited can be given back, and stays what it is.
	root.WriteFile("/etc/hashpkg.toml", "[rewrite]\nmax-size = \"4K\"\n", 0o644)
	root.Run("hashpkg", "sync")
	inForce(t, root, "with a limit of 4 KiB again")
	root.Run("svc")
	root.Run("hashpkg", "restore", "--all")
	if out := root.Run("dpkg", "--verify", "svc"); out != "" {
		t.Errorf("restored, dpkg --verify says %s", out)
	}
	root.WriteFile("/etc/hashpkg.toml", "[rewrite]\nmax-size = \"none\"\n", 0o644)
	if out, err := root.RunErr(t.Context(), "hashpkg", "sync"); err == nil || !strings.Contains(out, `[rewrite] max-size = "none": expected a number of bytes`) {
		t.Errorf("of nonsense sync says %v: %s", err, out)
	}
}

// TestSmallDisk installs what the disk has no room for: it is refused before a byte
// of it is written, and some of the disk stays free.
func TestSmallDisk(t *testing.T) {
	testneed.Root(t)
	dir, first, _, _ := twoVersions(t)
	_, root := mountDir(t)
	if err := unix.Mount("tmpfs", root, "tmpfs", 0, "size=200m"); err != nil {
		t.Fatal(err)
	}
	mustRun(t, hashpkg(t), "--root", root, "install", "-q", first)
	before := dump(t, root)
	const size = 1 << 30
	one := filepath.Join(dir, "one.deb")
	if err := os.WriteFile(one, bomb(t, "data", zstdFrame(tarHead(t, testdeb.File{Path: "usr/zeros", Size: size}), size, 17)), 0o644); err != nil {
		t.Fatal(err)
	}
	small := testdeb.Package{Name: "small", Version: "1", Compression: testdeb.Zstd}
	for i := range 1600 { // none of which alone would be asked for
		content := bytes.Repeat([]byte{byte(i), byte(i >> 8)}, 64<<10)
		small.Files = append(small.Files, testdeb.File{Path: fmt.Sprint("usr/share/", i), Content: string(content)})
	}
	for what, file := range map[string]string{"one large file": one, "many small ones": writeDeb(t, dir, small)} {
		least := watchFree(t, root)
		status, stderr := run(t, exec.Command(hashpkg(t), "--root", root, "install", "-q", file))
		free := least()
		t.Logf("%s: at least %d KiB were free", what, free>>10)
		if status != 1 || !strings.Contains(stderr, "no space left on device: the file system of") || !strings.Contains(stderr, "in reserve") {
			t.Errorf("%s: status %d: %s", what, status, stderr)
		}
		if what == "one large file" && free < 190<<20 {
			t.Errorf("%s: it was written: only %d bytes were free", what, free)
		}
		if have := dump(t, root); have != before {
			t.Errorf("%s: the root has changed", what)
		}
	}
	// What fits is taken, and what is there already is taken on a full disk.
	if err := os.WriteFile(filepath.Join(root, "filler"), make([]byte, 197<<20), 0o644); err != nil && !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
	mustRun(t, hashpkg(t), "--root", root, "install", "-q", first)
}

// watchFree watches a file system until the function that it returns is called, which
// returns the least that was free.
func watchFree(t *testing.T, dir string) func() uint64 {
	t.Helper()
	stop, result := make(chan struct{}), make(chan uint64)
	go func() {
		least := ^uint64(0)
		for {
			var st unix.Statfs_t
			if unix.Statfs(dir, &st) == nil {
				least = min(least, st.Bavail*uint64(st.Bsize))
			}
			select {
			case <-stop:
				result <- least
				return
			case <-time.After(time.Millisecond):
			}
		}
	}()
	return func() uint64 { close(stop); return <-result }
}

// TestFewFiles lets commands open few files, and one more each time: they fail, or do
// their work, and end.
func TestFewFiles(t *testing.T) {
	testneed.Root(t)
	dir := t.TempDir()
	base, root := filepath.Join(dir, "base"), filepath.Join(dir, "root")
	plainSystem(t, base, "1", 1)
	mustRun(t, hashpkg(t), "--root", base, "-q", "sync")
	failed := 0
	for n := 4; n < 30; n++ {
		for _, args := range []string{"sync --again", "restore --all", "gc"} {
			copyRoot(t, base, root)
			cmd := exec.Command("sh", "-c", `ulimit -n $1; exec timeout -s KILL 20 "$2" --root "$3" -q $4`, "sh", fmt.Sprint(n), hashpkg(t), root, args)
			switch status, stderr := run(t, cmd); {
			case status == 0:
			case (status == 1 || status == 2) && (strings.Contains(stderr, "too many open files") || strings.Contains(stderr, "failed with 24\nfatal error: runtime: ")):
				failed++
			default:
				t.Errorf("%s, which may open %d files: status %d: %s", args, n, status, stderr)
			}
			mustRun(t, hashpkg(t), "--root", root, "-q", "sync", "--again")
			mustRun(t, hashpkg(t), "--root", root, "-q", "verify", "--system")
			if err := os.RemoveAll(root); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Logf("%d commands failed", failed)
	if failed < 20 {
		t.Error("they could open as many files as they wanted")
	}
}
