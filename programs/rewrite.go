package programs

import (
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
	return slices.ContainsFunc(patterns, func(p string) bool {
		for name := program; name != "/" && name != "."; name = path.Dir(name) {
			if ok, err := path.Match(strings.TrimSuffix(p, "/"), name); err == nil && ok {
				return true
			}
		}
		return false
	})
}
