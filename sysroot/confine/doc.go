// Package confine reads and writes what lets confined programs load libraries from
// hashpkg's prefix: AppArmor's profiles and the abstraction that hashpkg adds to
// them (apparmor.d(5)), and SELinux's settings and the rule that hashpkg adds to
// its labels (selinux_config(5), semanage-fcontext(8)).
//
// [Read] says what a root has, and [Rules.Denies] whether that keeps a program from
// the prefix. [AbstractionText], [AddEquivalence] and [RemoveEquivalence] make the
// files that are to be installed; writing them is the caller's.
package confine

import "io/fs"

// Files are the files of a root, by absolute paths in it. Links are followed inside
// the root.
type Files interface {
	// ReadFile reads a regular file of at most limit bytes.
	ReadFile(name string, limit int64) ([]byte, error)
	// ReadDir returns what a directory holds.
	ReadDir(name string) ([]fs.DirEntry, error)
	// HasFile reports whether something has the name.
	HasFile(name string) bool
}

// maxFile bounds a file of AppArmor or SELinux. Fedora's file contexts have less
// than a megabyte.
const maxFile = 16 << 20

// Rules are what a root's AppArmor and SELinux say of programs and the prefix.
type Rules struct {
	prefix    string
	profiles  []Profile
	base      bool // profiles that include abstractions/base may read the prefix
	unlabeled bool // SELinux enforces and has no rule for the prefix
}

// Read reads the rules of a root for a prefix in it. A file that cannot be read
// confines nothing, as far as its files say.
func Read(files Files, prefix string) *Rules {
	r := &Rules{prefix: prefix, base: files.HasFile(Abstraction)}
	entries, _ := files.ReadDir(profileDir) // none without AppArmor
	for _, e := range entries {
		if !e.Type().IsRegular() {
			continue
		}
		name := profileDir + "/" + e.Name()
		if b, err := files.ReadFile(name, maxFile); err == nil {
			r.profiles = append(r.profiles, ParseProfiles(name, b, prefix))
		}
	}
	config, err := files.ReadFile(SELinuxConfig, maxFile)
	if err != nil {
		return r
	}
	settings := ParseSELinux(config)
	r.unlabeled = settings.Enforcing
	for _, kind := range []string{"subs", "subs_dist", "local"} {
		b, err := files.ReadFile(contextsFile(settings.Type, kind), maxFile)
		if err == nil && labels(b, prefix) {
			r.unlabeled = false
		}
	}
	return r
}

// Denies returns why a program, by its path in the root, may not load a library in
// the prefix; "" when it may, as far as the rules tell. It reads after the path.
func (r *Rules) Denies(program string) string {
	if r.unlabeled {
		return "may not read " + r.prefix + ": SELinux enforces, and no rule says how that is labeled; run hashpkg hooks install selinux && restorecon -RF " + r.prefix
	}
	for _, p := range r.profiles {
		if p.IsFor(program) && !p.ReadsPrefix && !(p.IncludesBase && r.base) {
			return "may not read " + r.prefix + " by its AppArmor profile " + p.File +
				"; hashpkg hooks install allows that to profiles which include abstractions/base"
		}
	}
	return ""
}
