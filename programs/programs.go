// Package programs edits the installed programs of a system in place, so that they
// search hashpkg's farm and follow pins, and gives them their packaged bytes back.
//
// The way is straight. [Read] gathers the [Facts] of a program. [Decide] turns them
// and a [Policy] into a [Decision], without touching a disk. [Apply] carries
// decisions out, several programs at a time, and has one [Outcome] for each.
// [Records] are what is kept of edited programs: they are durable before a program
// changes. [Plan] is Read and Decide for many programs, and [PlanRestore] what gives
// packaged bytes back. [Verify] proves that an edited program is its packaged bytes
// and the recorded edit, and nothing else.
//
// What one program cannot take is its own outcome, and keeps no other from its edit.
//
// # What is left to the caller
//
// The lock: nobody else may change the store or its records meanwhile. Which
// packages and programs there are, and which trees pins are to.
package programs

import (
	"strings"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/pkginfo"
)

// Package is an installed package, as the records of the system name it.
type Package struct {
	Key     pkginfo.Key
	Name    string
	Version string
}

// Spec returns "NAME=VERSION".
func (p *Package) Spec() string { return p.Name + "=" + p.Version }

// Program is one dynamic executable of an installed package.
type Program struct {
	Package Package
	Path    string // in the root, absolute, without links in its directory
	// Digest is that of the packaged bytes, as the package manager's database has
	// it ("md5:hex"); "" where it has none.
	Digest string
}

// FileID says which file something is, and in which state.
type FileID struct {
	Device, Inode uint64
	Size          int64
	Modified      int64 // in nanoseconds
}

func fileID(st *unix.Stat_t) FileID {
	return FileID{uint64(st.Dev), st.Ino, st.Size, st.Mtim.Nano()} //nolint:unconvert // not on every architecture
}

// Reason says why a program is left as it is. It reads after the program's path.
type Reason string

// Sentence returns the reason with its subject: "it is run by process 7".
func (r Reason) Sentence() string {
	verb, _, _ := strings.Cut(string(r), " ")
	switch verb {
	case "is", "has", "asks", "would", "may", "cannot", "loads", "does":
		return "it " + string(r)
	}
	return string(r)
}

// wouldNotStart begins the reasons that a program does not start with what it is to load.
const wouldNotStart = "would not start: "

// CanForce reports whether a pin that is made by force is followed in spite of the reason.
func (r Reason) CanForce() bool {
	return strings.HasPrefix(string(r), wouldNotStart) || strings.HasPrefix(string(r), wouldNotDo) || strings.Contains(string(r), errDisagrees.Error())
}
