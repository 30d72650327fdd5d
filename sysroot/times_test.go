package sysroot_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/sysroot"
)

// TestClampTimes sets the times of a prefix back, in which another name of a file
// outside stands.
func TestClampTimes(t *testing.T) {
	dir := t.TempDir()
	private := filepath.Join(dir, "root/var/sys", layout.Private)
	if err := os.MkdirAll(private, 0o755); err != nil {
		t.Fatal(err)
	}
	own, planted, outside := filepath.Join(private, "own"), filepath.Join(private, "planted"), filepath.Join(dir, "outside")
	for _, name := range []string{own, outside} {
		if err := os.WriteFile(name, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Link(outside, planted); err != nil {
		t.Fatal(err)
	}
	root, err := sysroot.Open(filepath.Join(dir, "root"), "/var/sys", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	limit := time.Unix(1_000_000_000, 0)
	if err := root.ClampTimes(limit, nil); err != nil {
		t.Fatal(err)
	}
	for name, clamped := range map[string]bool{own: true, private: true, outside: false} {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if info.ModTime().Equal(limit) != clamped {
			t.Errorf("%s has the time %v", name, info.ModTime())
		}
	}
}
