package testroot

import (
	"bytes"
	"crypto/md5"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/hashpkg/hashpkg/internal/testdeb"
	"github.com/hashpkg/hashpkg/internal/testneed"
)

// Change says how the packages that [Rebuild] makes differ from real ones.
type Change struct {
	// Suffix is added to the version: "+new1" makes a higher one, "~old1" a
	// lower one.
	Suffix string

	// Note adds a note section with the new version to every ELF file: they work
	// as before, and have other bytes.
	Note bool

	// Edit is called, if not nil, with the name of each package and the directory
	// that it is unpacked in, with the control files in DEBIAN.
	Edit func(name, dir string) error

	// NoDirs leaves out the directories from the data member, so that dpkg runs
	// no trigger for them. dpkg cannot unpack such a package unless they are
	// there: install the real one first.
	NoDirs bool
}

// Rebuild unpacks debs, changes them, builds them again into a directory of the
// test and returns their paths, in the same order. Versions that the packages
// want of each other change with them, and so do the sums in md5sums. Owners
// and modes stay what they are, which is why it needs to be root.
func Rebuild(tb testing.TB, c Change, debs ...string) []string {
	tb.Helper()
	testneed.Root(tb)
	dir := tb.TempDir()
	work := filepath.Join(dir, ".work")
	if err := os.Mkdir(work, 0o755); err != nil {
		tb.Fatal(err)
	}
	versions := map[string]string{} // of each package, as it was
	for _, deb := range debs {
		out, err := exec.Command("dpkg-deb", "--show", "--showformat=${Package} ${Version}", deb).Output()
		if err != nil {
			tb.Fatalf("read %s: %v", deb, err)
		}
		name, version, _ := strings.Cut(string(out), " ")
		versions[name] = version
	}
	built := make([]string, len(debs))
	for i, deb := range debs {
		path, err := rebuild(c, work, dir, deb, versions)
		if err != nil {
			tb.Fatalf("rebuild %s: %v", filepath.Base(deb), err)
		}
		built[i] = path
	}
	if err := os.RemoveAll(work); err != nil {
		tb.Fatal(err)
	}
	return built
}

func rebuild(c Change, work, dir, deb string, versions map[string]string) (string, error) {
	tree := filepath.Join(work, "tree")
	if err := os.RemoveAll(tree); err != nil {
		return "", err
	}
	if err := run(exec.Command("dpkg-deb", "-R", deb, tree)); err != nil {
		return "", err
	}
	controlPath := filepath.Join(tree, "DEBIAN/control")
	control, err := os.ReadFile(controlPath)
	if err != nil {
		return "", err
	}
	name := field(control, "Package")
	if err := os.WriteFile(controlPath, []byte(changeVersions(string(control), c.Suffix, versions)), 0o644); err != nil {
		return "", err
	}
	if c.Note {
		if err := addNotes(tree, versions[name]+c.Suffix); err != nil {
			return "", err
		}
	}
	if c.Edit != nil {
		if err := c.Edit(name, tree); err != nil {
			return "", err
		}
	}
	if err := sumAgain(tree); err != nil {
		return "", err
	}

	// Edit may have changed these.
	if control, err = os.ReadFile(controlPath); err != nil {
		return "", err
	}
	version := field(control, "Version")
	if _, upstream, ok := strings.Cut(version, ":"); ok {
		version = upstream // file names have no epoch, as in a repository
	}
	path := filepath.Join(dir, fmt.Sprintf("%s_%s_%s.deb", field(control, "Package"), version, field(control, "Architecture")))
	if c.NoDirs {
		return path, buildWithoutDirs(tree, work, path)
	}
	return path, run(exec.Command("dpkg-deb", "-Znone", "-b", tree, path))
}

// changeVersions adds suffix to the version of a control file, and to that of
// packages in versions, where it is wanted exactly.
func changeVersions(control, suffix string, versions map[string]string) string {
	for _, name := range sortedKeys(versions) {
		exact := regexp.MustCompile(`([ ,|]` + regexp.QuoteMeta(name) + `(?::[a-z0-9]+)? \(= ` + regexp.QuoteMeta(versions[name]) + `)\)`)
		control = exact.ReplaceAllString(control, "${1}"+suffix+")")
	}
	version := regexp.MustCompile(`(?m)^Version: *\S+`)
	return version.ReplaceAllString(control, "${0}"+suffix)
}

// addNotes adds a note to every ELF file of dir that can be loaded.
func addNotes(dir, text string) error {
	if err := needTool("objcopy", "binutils"); err != nil {
		return err
	}
	// gABI, "Note Section": sizes of name and description, type, both padded to four bytes.
	desc := append([]byte(text), 0)
	note := binary.NativeEndian.AppendUint32(nil, 9)
	note = binary.NativeEndian.AppendUint32(note, uint32(len(desc)))
	note = binary.NativeEndian.AppendUint32(note, 1)
	note = append(note, "testroot\x00\x00\x00\x00"...)
	note = append(note, desc...)
	note = append(note, make([]byte, -len(note)&3)...)
	file := filepath.Join(dir, "DEBIAN/.note")
	if err := os.WriteFile(file, note, 0o644); err != nil {
		return err
	}
	seen := map[uint64]bool{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		inode, linked, err := inodeOf(path)
		if err != nil || seen[inode] || !isLoadable(path) {
			return err
		}
		seen[inode] = linked
		// Into a file of its own, and back into the same inode: hard links, owner
		// and mode stay, and so does the name of a library that is a link's target.
		out := file + ".out"
		if err := run(exec.Command("objcopy", "--add-section", ".note.testroot="+file,
			"--set-section-flags", ".note.testroot=noload,readonly", path, out)); err != nil {
			return err
		}
		b, err := os.ReadFile(out)
		if err != nil {
			return err
		}
		return errors.Join(os.WriteFile(path, b, 0), os.Remove(out))
	})
	return errors.Join(err, os.Remove(file))
}

func isLoadable(path string) bool {
	f, err := elf.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	return f.Type == elf.ET_EXEC || f.Type == elf.ET_DYN
}

// sumAgain writes md5sums anew, for the files that are in it and those that
// have come; a package that has none gets none. Conffiles are not in it.
func sumAgain(tree string) error {
	path := filepath.Join(tree, "DEBIAN/md5sums")
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	conffiles := map[string]bool{}
	if b, err := os.ReadFile(filepath.Join(tree, "DEBIAN/conffiles")); err == nil {
		for _, name := range strings.Fields(string(b)) {
			conffiles[strings.TrimPrefix(name, "/")] = true
		}
	}
	var sums bytes.Buffer
	err := filepath.WalkDir(tree, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(tree, file)
		switch {
		case err != nil:
			return err
		case name == "DEBIAN":
			return filepath.SkipDir
		case !d.Type().IsRegular() || conffiles[name]:
			return nil
		}
		b, err := os.ReadFile(file)
		fmt.Fprintf(&sums, "%x  %s\n", md5.Sum(b), name)
		return err
	})
	if err != nil {
		return err
	}
	return os.WriteFile(path, sums.Bytes(), 0o644)
}

// buildWithoutDirs builds what dpkg-deb never would.
func buildWithoutDirs(tree, work, deb string) error {
	control, data := filepath.Join(work, "control.tar"), filepath.Join(work, "data.tar")
	err := errors.Join(
		run(exec.Command("tar", "-C", filepath.Join(tree, "DEBIAN"), "--owner=0", "--group=0", "--format=gnu", "-cf", control, ".")),
		run(exec.Command("/bin/sh", "-ec",
			`cd "$1" && find . -path ./DEBIAN -prune -o ! -type d -print0 | LC_ALL=C sort -z |
			tar --null --no-recursion --numeric-owner --format=gnu -T - -cf "$2"`, "sh", tree, data)),
	)
	if err != nil {
		return err
	}
	members := []testdeb.Member{{Name: "debian-binary", Data: []byte("2.0\n")}}
	for _, path := range []string{control, data} {
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		members = append(members, testdeb.Member{Name: filepath.Base(path), Data: b})
	}
	return os.WriteFile(deb, testdeb.Ar(members...), 0o644)
}
