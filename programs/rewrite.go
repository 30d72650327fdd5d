package programs

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"
)

// Rewrite is what the administrator wants to be done to executables.
type Rewrite struct {
	// Executables is the policy for RUNPATH.
	Executables RewritePolicy
	// Include and Exclude hold patterns as of path.Match for paths in the root;
	// one that names a directory stands for all that is below it. With Include,
	// only those are edited.
	Include, Exclude []string
	// MaxSize is how many bytes a file may have; 0 stands for DefaultMaxSize.
	MaxSize int64 `json:",omitempty"`
}

// DefaultMaxSize is how many bytes a program or a library of the system may have
// unless somebody says otherwise. Browsers have a few hundred MiB, and what is built
// for debugging 1 GiB; larger ones take their time, and their copies their room.
const DefaultMaxSize = 2 << 30

// SizeLimit returns how many bytes a program or a library may have. Larger ones are
// left as they are, and are not read.
func (r *Rewrite) SizeLimit() int64 { return cmp.Or(r.MaxSize, DefaultMaxSize) }

// TooLarge says why a file of more than limit bytes is left.
func TooLarge(size, limit int64) Reason {
	return Reason(fmt.Sprintf("is larger than what is looked at: it has %d bytes, and max-size below [rewrite] in /etc/hashpkg.toml is %d", size, limit))
}

// RewritePolicy says what is written into DT_RUNPATH of executables.
type RewritePolicy string

// The policies.
const (
	RewriteMinimal RewritePolicy = "minimal" // the directories that can answer
	RewriteFull    RewritePolicy = "full"    // the version's, the default's and current-system's, in all
	RewriteNone    RewritePolicy = "none"    // nothing
)

// wants reports whether the settings have a program of a package edited.
func (r *Rewrite) wants(program, pkg string) bool {
	return r.Executables != RewriteNone && pkg != "hashpkg" &&
		(len(r.Include) == 0 || matchesAny(r.Include, program)) && !matchesAny(r.Exclude, program)
}

func matchesAny(patterns []string, program string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return Matches(p, program) })
}

// Matches reports whether a pattern of [Rewrite] is for a program at an absolute path.
func Matches(pattern, program string) bool {
	for name := program; name != "/" && name != "."; name = path.Dir(name) {
		if ok, err := path.Match(strings.TrimSuffix(pattern, "/"), name); err == nil && ok {
			return true
		}
	}
	return false
}
