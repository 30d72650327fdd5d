package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/internal/testneed"
	"github.com/hashpkg/hashpkg/layout"
)

// space is what du --json prints.
type space struct {
	Total, Distribution, Store, Shared, Unused, Records, Reclaimable int64

	Packages []struct {
		Name      string
		Exclusive int64
		Versions  []struct {
			Tree                            string
			Exclusive, Shared, Distribution int64
			Active, Reclaimable             bool
		}
	}
	Generations []struct {
		ID                 int
		Records, Exclusive int64
	}
}

func measure(t *testing.T, root string) (s space) {
	t.Helper()
	out, err := exec.Command(hashpkg(t), "--root", root, "--json", "du").Output()
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(out, &s); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return s
}

// TestSpace compares what du says with what du(1) and the file system say.
func TestSpace(t *testing.T) {
	testneed.Root(t)
	testneed.Programs(t, "losetup", "mkfs.ext4")
	_, base, _, _ := withGarbage(t)
	disk := newDisk(t)
	disk.mount(t)
	free := func() int64 {
		t.Helper()
		mustRun(t, "sync", "-f", disk.root)
		var st unix.Statfs_t
		if err := unix.Statfs(disk.root, &st); err != nil {
			t.Fatal(err)
		}
		return int64(st.Bfree) * st.Bsize
	}
	before := free()
	mustRun(t, "cp", "-a", base+"/.", disk.root)
	prefix := filepath.Join(disk.root, "var/sys")
	if err := os.Link(filepath.Join(prefix, "other/1/usr/share/other/more"), filepath.Join(disk.root, "more")); err != nil {
		t.Fatal(err)
	}
	s := measure(t, disk.root)
	out, err := exec.Command("du", "-s", "-B1", prefix).Output()
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(out))
	if n, err := strconv.ParseInt(fields[0], 10, 64); err != nil || n != s.Total {
		t.Errorf("du(1) says %s, hashpkg du %d", out, s.Total)
	}
	const metadata = 64 << 10 // directories of the root, and what ext4 keeps of its own
	if took := before - free(); took < s.Total || took > s.Total+metadata {
		t.Errorf("the disk has %d bytes less, and the store takes %d", took, s.Total)
	}
	sum := s.Shared + s.Unused + s.Records
	distribution := int64(0)
	for _, p := range s.Packages {
		for _, v := range p.Versions {
			sum += v.Exclusive
			distribution += v.Distribution
		}
	}
	if sum != s.Store || s.Store+s.Distribution != s.Total || distribution != s.Distribution || s.Distribution == 0 || s.Shared == 0 {
		t.Errorf("the parts are %d and %d bytes: %+v", sum, distribution, s)
	}

	// What gc frees is what was said: an object that no tree has.
	object := filepath.Join(prefix, layout.ObjectPath(digest.Of([]byte("object"))))
	if err := os.MkdirAll(filepath.Dir(object), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(object, make([]byte, 1<<20), 0o444); err != nil {
		t.Fatal(err)
	}
	if s := measure(t, disk.root); s.Unused < 1<<20 || s.Unused > 1<<20+8<<10 { // with the blocks that say where its blocks are
		t.Errorf("unused is %d", s.Unused)
	}
	reclaimable, was := measure(t, disk.root).Reclaimable, free()
	mustRun(t, hashpkg(t), "--root", disk.root, "-q", "gc")
	if freed := free() - was; reclaimable == 0 || freed < reclaimable || freed > reclaimable+metadata {
		t.Errorf("%d bytes were to be freed, and %d were", reclaimable, freed)
	}
	if s := measure(t, disk.root); s.Reclaimable != 0 {
		t.Errorf("%d bytes could be freed again", s.Reclaimable)
	}
}
