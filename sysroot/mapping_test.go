package sysroot

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestMappedPaths(t *testing.T) {
	const maps = `00400000-00500000 r-xp 00000000 08:02 173521                             /usr/bin/dbus-daemon
7f00-7f01 r-xp 00000000 08:02 135870                     /usr/lib/libz.so.1.2 (deleted)
7f01-7f02 r--p 00000000 08:02 135870                     /usr/lib/libz.so.1.2 (deleted)
7f02-7f03 rw-p 00000000 00:00 0 
7f03-7f04 r-xp 00000000 00:2a 99                         /usr/lib/lib one.so
`
	disk := unix.Mkdev(8, 2)
	for _, tt := range []struct {
		name string
		path string
		ino  uint64
		dev  uint64
		want bool
	}{
		{"a library, though it was replaced", "/var/sys/zlib1g/1/usr/lib/libz.so.1", 135870, disk, true},
		{"the program", "/usr/bin/dbus-daemon", 173521, disk, true},
		{"another file of that number", "/x", 173521, unix.Mkdev(8, 3), false},
		{"a file system that shows another device", "/var/sys/one/1/usr/lib/lib one.so", 99, unix.Mkdev(0, 77), true},
		{"another file of that number there", "/var/sys/one/1/usr/lib/two.so", 99, unix.Mkdev(0, 77), false},
		{"nothing that is mapped", "/x", 5, disk, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var want []string
			if tt.want {
				want = []string{tt.path}
			}
			have, _ := mappedPaths(maps, map[uint64][]mappedFile{tt.ino: {{tt.path, tt.dev}}}, nil)
			if diff := cmp.Diff(want, have); diff != "" {
				t.Errorf("(-want +have)\n%s", diff)
			}
		})
	}
}

// TestMappedPathsOfReplaced has a library in several mappings, as all are, which another one has replaced: a
// tree still has it, so that it is known, and is nothing that is gone.
func TestMappedPathsOfReplaced(t *testing.T) {
	const maps = `7f0000000000-7f0000001000 r--p 00000000 fe:00 77                         /usr/lib/liba.so.1 (deleted)
7f0000001000-7f0000002000 r-xp 00001000 fe:00 77                         /usr/lib/liba.so.1 (deleted)
7f0000003000-7f0000004000 r--p 00000000 fe:00 78                         /usr/lib/libb.so.1 (deleted)
7f0000004000-7f0000005000 r-xp 00001000 fe:00 78                         /usr/lib/libb.so.1 (deleted)
`
	const inTree = "/var/sys/liba/1/usr/lib/liba.so.1"
	wanted := map[uint64][]mappedFile{77: {{inTree, unix.Mkdev(0xfe, 0)}}}
	byName := map[string]string{"/usr/lib/liba.so.1": "/usr/lib/liba.so.1", "/usr/lib/libb.so.1": "/usr/lib/libb.so.1"}
	paths, deleted := mappedPaths(maps, wanted, byName)
	if diff := cmp.Diff([]string{inTree}, paths); diff != "" {
		t.Errorf("paths (-want +have)\n%s", diff)
	}
	if diff := cmp.Diff([]string{"/usr/lib/libb.so.1"}, deleted); diff != "" {
		t.Errorf("gone (-want +have)\n%s", diff)
	}
}

// TestMapping finds this very process, by the program that it runs.
func TestMapping(t *testing.T) {
	self, err := os.Readlink("/proc/self/exe")
	if err != nil {
		t.Skip("it needs /proc")
	}
	r, err := Open(filepath.Dir(self), "/var/sys", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	name := "/" + filepath.Base(self)
	found, _, err := r.Mapping([]string{name, "/nothing"})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range found[name] {
		if p.PID == os.Getpid() {
			if p.Name == "" || p.User == "" {
				t.Errorf("%+v", p)
			}
			return
		}
	}
	t.Error(fmt.Sprint("not found: ", found))
}
