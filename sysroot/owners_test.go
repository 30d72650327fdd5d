package sysroot

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/internal/testneed"
)

func TestUnsafeOwner(t *testing.T) {
	const dir = unix.S_IFDIR
	for _, test := range []struct {
		name               string
		owner, group, mode uint32
		uid, gid           int
		want               string
	}{
		{"root's", 0, 0, dir | 0o755, 0, 0, ""},
		{"root's, of a group that may not write", 0, 50, dir | 0o755, 0, 0, ""},
		{"a user's", 1000, 1000, dir | 0o755, 0, 0, "belongs to user 1000"},
		{"a user's file", 1000, 1000, unix.S_IFREG | 0o444, 0, 0, "belongs to user 1000"},
		{"a user's link", 1000, 1000, unix.S_IFLNK | 0o777, 0, 0, "belongs to user 1000"},
		{"a link", 0, 0, unix.S_IFLNK | 0o777, 0, 0, ""},
		{"a group's", 0, 50, dir | 0o775, 0, 0, "can be written by group 50"},
		{"root's group's", 0, 0, dir | 0o775, 0, 0, "can be written by group 0"},
		{"everybody's", 0, 0, dir | 0o757, 0, 0, "can be written by everybody"},
		{"sticky", 0, 0, dir | unix.S_ISVTX | 0o777, 0, 0, "can be written by everybody"},
		{"sticky, a group's", 0, 50, dir | unix.S_ISVTX | 0o775, 0, 0, "can be written by group 50"},
		{"the builder's", 1000, 1000, dir | 0o755, 1000, 1000, ""},
		{"the builder's, with umask 002", 1000, 1000, dir | 0o775, 1000, 1000, ""},
		{"the builder's, another group's", 1000, 50, dir | 0o775, 1000, 1000, "can be written by group 50"},
		{"root's, in a builder's image", 0, 0, dir | 0o755, 1000, 1000, ""},
		{"another user's", 1001, 1000, dir | 0o755, 1000, 1000, "belongs to user 1001"},
		{"the builder's, everybody's", 1000, 1000, dir | 0o777, 1000, 1000, "can be written by everybody"},
	} {
		if have := unsafeOwner(test.owner, test.group, test.mode, test.uid, test.gid); have != test.want {
			t.Errorf("%s: %q, want %q", test.name, have, test.want)
		}
	}
}

// TestCheckPrefix has one component at a time that is not root's alone, on the way
// to the prefix or below it, and through links.
func TestCheckPrefix(t *testing.T) {
	testneed.Root(t)
	for _, test := range []struct {
		name   string
		change func(dir string) error
		unsafe string // relative to the root
	}{
		{"all is root's", func(string) error { return nil }, ""},
		{"the root", func(dir string) error { return os.Chown(dir, 1000, 1000) }, "."},
		{"on the way", func(dir string) error { return os.Chmod(filepath.Join(dir, "var"), 0o777) }, "var"},
		{"the prefix", func(dir string) error { return os.Chown(filepath.Join(dir, "var/sys"), 1000, 0) }, "var/sys"},
		{"below", func(dir string) error { return os.Chmod(filepath.Join(dir, "var/sys/.hashpkg"), 0o775) }, "var/sys/.hashpkg"},
		{"the generation", func(dir string) error { return os.Chown(filepath.Join(dir, "var/sys/.hashpkg/generations/1"), 1000, 0) }, "var/sys/.hashpkg/generations/1"},
		{"the link to it", func(dir string) error { return os.Lchown(filepath.Join(dir, "var/sys/current-system"), 1000, 0) }, "var/sys/current-system"},
		{"a link's directory", func(dir string) error {
			return errors.Join(os.MkdirAll(filepath.Join(dir, "home/u"), 0o755), os.Chown(filepath.Join(dir, "home/u"), 1000, 0),
				os.Rename(filepath.Join(dir, "var/sys"), filepath.Join(dir, "sys")),
				os.Symlink("/home/u/sys", filepath.Join(dir, "var/sys")), os.Symlink("../../sys", filepath.Join(dir, "home/u/sys")))
		}, "home/u"},
		{"what a link leads to", func(dir string) error {
			return errors.Join(os.Rename(filepath.Join(dir, "var"), filepath.Join(dir, "data")), os.Symlink("data", filepath.Join(dir, "var")),
				os.Chmod(filepath.Join(dir, "data"), 0o1777))
		}, "data"},
		{"nothing there", func(dir string) error { return os.RemoveAll(filepath.Join(dir, "var")) }, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := errors.Join(os.MkdirAll(filepath.Join(dir, "var/sys/.hashpkg/generations/1/lib64"), 0o755),
				os.Chmod(dir, 0o755), os.Symlink(".hashpkg/generations/1", filepath.Join(dir, "var/sys/current-system")), test.change(dir)); err != nil {
				t.Fatal(err)
			}
			root, err := Open(dir, "/var/sys", nil)
			if err != nil {
				t.Fatal(err)
			}
			defer root.Close()
			err = root.CheckPrefix("current-system/lib64")
			var unsafe *UnsafeError
			switch {
			case test.unsafe == "" && err != nil, test.unsafe != "" && !errors.As(err, &unsafe):
				t.Errorf("%v", err)
			case test.unsafe != "" && unsafe.Path != filepath.Join(dir, test.unsafe):
				t.Errorf("it is %s, want %s", unsafe.Path, test.unsafe)
			}
		})
	}
}
