package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/internal/testneed"
)

// TestCollectionPowerCut cuts the power of a file system while a garbage collection
// is at work, and right after it has said that it is done.
func TestCollectionPowerCut(t *testing.T) {
	testneed.Root(t)
	testneed.Programs(t, "losetup", "unshare", "mkfs.ext4")
	if !inOwnNamespace(t) {
		return
	}
	dir, base, first, _ := withGarbage(t)
	before, after := afterCollecting(t, dir, base)
	disk := newDisk(t)
	for _, wait := range []time.Duration{0, 3, 6, 9, 12, 20, 1000} {
		disk.format(t)
		disk.mount(t)
		mustRun(t, "cp", "-a", base+"/.", disk.root)
		mustRun(t, "sync", "-f", disk.root)
		cmd := exec.Command(hashpkg(t), "--root", disk.root, "gc", "-q", "--keep", "1", "--keep-versions", "0")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(wait * time.Millisecond)
		disk.shutdown(t)
		_ = cmd.Wait()
		disk.unmount(t)
		disk.mount(t)
		collected(t, fmt.Sprintf("cut after %d ms", wait), disk.root, before, after, first)
		disk.unmount(t)
	}
}

// TestPowerCut cuts the power of a file system right after an install has said
// that it is done, and while one is at work: what was said to be there is there,
// and what was not is not there in part.
func TestPowerCut(t *testing.T) {
	testneed.Root(t)
	testneed.Programs(t, "losetup", "unshare", "mkfs.ext4")
	if !inOwnNamespace(t) {
		return
	}
	_, first, second, _ := twoVersions(t)
	disk := newDisk(t)

	disk.mount(t)
	mustRun(t, hashpkg(t), "--root", disk.root, "install", "-q", first)
	disk.cut(t)
	disk.mount(t)
	mustRun(t, hashpkg(t), "--root", disk.root, "verify", "-q")
	mustRun(t, hashpkg(t), "--root", disk.root, "use", "-q", "--highest", "tool") // sweeps what the cut left
	before := dump(t, disk.root)
	mustRun(t, hashpkg(t), "--root", disk.root, "install", "-q", second)
	after := dump(t, disk.root)
	disk.cut(t)
	disk.mount(t)
	oldOrNew(t, "cut after the install", disk.root, after, after)
	disk.unmount(t)

	for _, wait := range []time.Duration{2, 5, 8, 12, 20, 30} {
		disk.format(t)
		disk.mount(t)
		mustRun(t, hashpkg(t), "--root", disk.root, "install", "-q", first)
		cmd := exec.Command(hashpkg(t), "--root", disk.root, "install", "-q", second)
		cmd.Env = append(os.Environ(), "SOURCE_DATE_EPOCH=1700000000")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(wait * time.Millisecond)
		disk.shutdown(t)
		said := cmd.Wait() == nil
		disk.unmount(t)
		disk.mount(t)
		what := fmt.Sprintf("cut after %d ms", wait)
		if said && !strings.Contains(dump(t, disk.root), "tool/2.0") {
			t.Errorf("%s: the install was done, and is lost", what)
		}
		oldOrNew(t, what, disk.root, before, after)
		disk.unmount(t)
	}
}

// disk is an ext4 file system in a file.
type disk struct{ image, root string }

func newDisk(t *testing.T) *disk {
	t.Helper()
	dir, mount := mountDir(t)
	d := &disk{image: filepath.Join(dir, "disk.img"), root: mount}
	d.format(t)
	return d
}

func (d *disk) format(t *testing.T) {
	t.Helper()
	if err := os.RemoveAll(d.image); err != nil {
		t.Fatal(err)
	}
	mustRun(t, "truncate", "-s", "32M", d.image)
	mustRun(t, "mkfs.ext4", "-q", "-F", d.image)
}

func (d *disk) mount(t *testing.T) {
	t.Helper()
	mustRun(t, "mount", "-o", "loop", d.image, d.root)
	if err := os.RemoveAll(filepath.Join(d.root, "lost+found")); err != nil {
		t.Fatal(err)
	}
}

func (d *disk) unmount(t *testing.T) {
	t.Helper()
	if err := unix.Unmount(d.root, 0); err != nil {
		t.Fatal(err)
	}
	// While the kernel still has the file system, mounting it again would give
	// that one, which has no power.
	for range 500 {
		out, err := exec.Command("losetup", "-j", d.image).Output()
		if err != nil {
			t.Fatal(err)
		}
		if len(out) == 0 {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("the file system stays although it is unmounted")
}

// shutdown stops the file system without writing anything more: linux/fs.h,
// EXT4_IOC_SHUTDOWN with EXT4_GOING_FLAGS_NOLOGFLUSH.
func (d *disk) shutdown(t *testing.T) {
	t.Helper()
	f, err := os.Open(d.root)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const ioctlShutdown, noLogFlush = 0x8004587d, 2
	if err := unix.IoctlSetPointerInt(int(f.Fd()), ioctlShutdown, noLogFlush); err != nil {
		t.Fatal(err)
	}
}

func (d *disk) cut(t *testing.T) {
	t.Helper()
	d.shutdown(t)
	d.unmount(t)
}
