package layout

import (
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"

	"github.com/hashpkg/hashpkg/digest"
)

// FormatVersion is the number in .hashpkg/format. A store with another one is
// refused.
const FormatVersion = 1

// EditorVersion is the number of what edits make of files. It is raised when the same edit of the
// same file gives other bytes than before; the identities of trees with edits change with it.
const EditorVersion = 1

// DefaultPrefix is where trees stand unless a setting says otherwise.
const DefaultPrefix = "/var/sys"

// Names below the prefix.
const (
	CurrentSystem  = "current-system"
	Private        = ".hashpkg" // hashpkg's own directory
	FormatFile     = Private + "/format"
	LockFile       = Private + "/lock"
	ObjectsDir     = Private + "/objects"
	ManifestsDir   = Private + "/manifests"
	GenerationsDir = Private + "/generations"
	StagingDir     = Private + "/staging"
	QuarantineDir  = Private + "/quarantine" // what a repair moved out of everybody's reach
	DefaultLink    = "default"
	FollowedLink   = "system" // a generation's link to itself, where the system's libraries have trees
	GenerationFile = "generation.json"
	LeftFile       = Private + "/left.json" // when trees left the active generation
	SystemDir      = Private + "/system"    // what is known of the root's own packages
	SourcesDir     = Private + "/sources"   // what is known of repositories: a directory each
	TakenDir       = Private + "/taken"     // what was said of closure manifests that were taken
	CacheDir       = Private + "/cache"     // package files that were fetched, by their digests
	ViewsDir       = Private + "/views"     // merged trees, by their identities
	IndexDir       = Private + "/index"     // derived from records, for questions about them
	HostDir        = Private + "/host"      // with directories usr and view, for launchers
)

// ViewName is the name that merged trees have in place of a package's: see
// the record of manifests. No package can have it.
const ViewName = ".view"

// ClosuresName is the name that trees of closure objects have in place of a package's, one for
// each object: programs of the system need these. [ClosureFile] is the object in such a tree.
const (
	ClosuresName = "hashpkg-closures"
	ClosureFile  = "closure.so"
)

// DevDir is the directory of a tree with what programs are built with, and DevLibraries that in
// it of the libraries that they are linked with.
const (
	DevDir       = "dev"
	DevLibraries = "lib64"
)

// DevPath returns the path, relative to the prefix, by which builds are told of the [DevDir] of a
// tree. It is a name of the active generation's where the tree's has a "%", which pkg-config(1)
// writes with a backslash that shells and compilers do not take away.
func DevPath(name, tree string) string {
	if strings.Contains(tree, "%") {
		return CurrentSystem + "/" + DevLink(name, tree)
	}
	return TreePath(name, tree) + "/" + DevDir
}

// DevLink returns the name in a generation's farm that leads to the [DevDir] of a tree whose own
// path has a "%".
func DevLink(name, tree string) string {
	return DevDir + "/" + name + "/" + strings.ReplaceAll(tree, "%3a", "_")
}

// ViewLinks is the directory of a generation's farm with a link for each tree that has
// a view, by its name and directory.
const ViewLinks = "view"

// ViewAlias returns the name beside those of a package's trees in [ViewLinks] that leads
// to the view of the one in use, of those from a release.
func ViewAlias(name, release string) string {
	if CheckName(release) != nil {
		release = "" // an address, or none
	}
	return name + "/@" + release
}

// NameError says why a package's name or version cannot stand in a path.
type NameError struct {
	What  string // "package name" or "version"
	Value string
	Why   string
}

func (e *NameError) Error() string {
	return fmt.Sprintf("%s %q: %s", e.What, e.Value, e.Why)
}

// CheckName returns a *NameError for a package name that cannot be a directory
// under the prefix: one that is reserved, or that holds bytes which no package
// manager allows in names and which a path or a RUNPATH would read differently.
func CheckName(name string) error {
	fail := func(why string) error { return &NameError{"package name", name, why} }
	switch {
	case name == "":
		return fail("is empty")
	case name == CurrentSystem:
		return fail("is reserved for the link to the active generation")
	case name[0] == '.':
		return fail("starts with a dot, which is reserved for hashpkg's own files")
	case len(name) > 200:
		return fail("is longer than 200 bytes")
	}
	if i := strings.IndexFunc(name, func(r rune) bool { return !isNameRune(r) }); i >= 0 {
		return fail(fmt.Sprintf("holds %q, which is not allowed in a package's name", []rune(name[i:])[0]))
	}
	return nil
}

// EscapeVersion returns the directory name of a version: its own bytes, but ":"
// (after an epoch) as "%3a", because ":" separates the directories of a
// RUNPATH. What a path or a RUNPATH would read as something else is a
// *NameError.
func EscapeVersion(version string) (string, error) {
	fail := func(why string) (string, error) { return "", &NameError{"version", version, why} }
	switch {
	case version == "":
		return fail("is empty")
	case version == DefaultLink:
		return fail("is the name of the link to the default version")
	case version[0] == '.':
		return fail("starts with a dot")
	case len(version) > 200:
		return fail("is longer than 200 bytes")
	}
	if i := strings.IndexFunc(version, func(r rune) bool { return !isNameRune(r) && r != ':' }); i >= 0 {
		return fail(fmt.Sprintf("holds %q, which is not allowed in a version", []rune(version[i:])[0]))
	}
	return strings.ReplaceAll(version, ":", "%3a"), nil
}

// VersionText returns the name of a version's directory as people read versions: with the
// colon that [EscapeVersion] has taken out.
func VersionText(dir string) string { return strings.ReplaceAll(dir, "%3a", ":") }

// IsVersionDir reports whether somebody who writes text means the directory of a version: by
// its name, or as [VersionText] shows it.
func IsVersionDir(dir, text string) bool { return dir == text || VersionText(dir) == text }

func isNameRune(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("+-._~^", r)
}

// CheckPrefix returns an error for a prefix that programs could not carry: it
// must be absolute and clean, and none of its bytes may mean something in a
// RUNPATH.
func CheckPrefix(prefix string) error {
	switch {
	case !path.IsAbs(prefix):
		return fmt.Errorf("prefix %q is not absolute: give the path that programs will see", prefix)
	case path.Clean(prefix) != prefix || prefix == "/":
		return fmt.Errorf("prefix %q: expected a clean path below /, such as %s", prefix, DefaultPrefix)
	case strings.ContainsAny(prefix, ":;$\n\x00"):
		return fmt.Errorf("prefix %q holds a byte that a RUNPATH cannot (one of : ; $ or a line break)", prefix)
	}
	return nil
}

// ObjectPath returns an object's path relative to the prefix.
func ObjectPath(d digest.Digest) string {
	hex := d.String()
	return ObjectsDir + "/" + hex[:2] + "/" + hex
}

// TreePath returns a tree's path relative to the prefix.
func TreePath(name, tree string) string {
	if name == ViewName {
		return ViewsDir + "/" + tree
	}
	return name + "/" + tree
}

// SplitTreePath returns the name and the directory in a path that TreePath made.
func SplitTreePath(p string) (name, tree string) {
	if tree, ok := strings.CutPrefix(p, ViewsDir+"/"); ok {
		return ViewName, tree
	}
	name, tree, _ = strings.Cut(p, "/")
	return name, tree
}

// ManifestPath returns the path of a tree's manifest relative to the prefix.
func ManifestPath(name, tree string) string {
	return ManifestsDir + "/" + name + "/" + tree + ".json"
}

// GenerationPath returns a generation's path relative to the prefix.
func GenerationPath(id int) string { return fmt.Sprintf("%s/%d", GenerationsDir, id) }

// ParseGenerationPath returns the number in a path that GenerationPath made.
func ParseGenerationPath(p string) (id int, err error) {
	id, err = strconv.Atoi(strings.TrimPrefix(p, GenerationsDir+"/"))
	if err != nil || id < 1 || GenerationPath(id) != p {
		return 0, fmt.Errorf("%q is not the path of a generation", p)
	}
	return id, nil
}

// ToPrefix is the way from a directory of a generation's link farm, such as its
// bin, up to the prefix.
const ToPrefix = "../../../.."

// DefaultLinkTarget returns what the link /var/sys/NAME/default holds: the way
// through the active generation, so that the default changes in the same rename
// as everything else.
func DefaultLinkTarget(name string) string {
	return "../" + CurrentSystem + "/" + DefaultLink + "/" + name
}

// MergeUsr returns where a payload's path stands after the merge of / and /usr:
// "bin/sh" is "usr/bin/sh".
func MergeUsr(p string) string {
	top, _, below := strings.Cut(p, "/")
	switch top {
	case "bin", "sbin", "lib", "lib64", "lib32", "libx32", "libo32":
		if below {
			return "usr/" + p
		}
	}
	return p
}

// CheckPayloadPath returns an error for a path that is not strictly below its
// tree.
func CheckPayloadPath(p string) error {
	if !fs.ValidPath(p) || p == "." || strings.ContainsRune(p, 0) {
		return fmt.Errorf("path %q does not stand below its tree", p)
	}
	return nil
}

// IndexFile stands beside GenerationFile and holds the same, for speed. It is
// derived, and does not count when it is missing or made from another record.
const IndexFile = "index"
