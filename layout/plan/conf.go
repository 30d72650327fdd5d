package plan

import (
	"path"
	"slices"
	"strings"

	"github.com/hashpkg/hashpkg/layout/record"
)

// ConfNeed is a package with configuration files that programs look for.
type ConfNeed struct {
	Tree  *record.Tree
	Files []string // absolute in the root, sorted; those that lacks reports
}

// ConfNeeds returns for each of some trees of a generation which configuration files the
// commands of its package may need that the root lacks: those of the packages of its programs and of the
// libraries that these load, and of its closure those that these, or those of the packages
// that it asks for, name. Where the package is among those that have them, it is the first.
// Left out is what its view has of its own, and what no program of the package opens, such
// as a job of cron. manifest returns the manifest of a tree of the generation; lacks reports
// whether the root lacks a file.
func ConfNeeds(g *record.Generation, trees []*record.Tree, manifest func(*record.Tree) (*record.Manifest, error), lacks func(string) bool) ([][]ConfNeed, error) {
	s := newFamilySet(g.Orders)
	s.addAll(g, manifest)
	needs := make([][]ConfNeed, len(trees))
	for i, t := range trees {
		if r := s.byPath[t.Path()]; r != nil {
			needs[i] = s.confNeeds(r, lacks)
		}
	}
	return needs, s.fault
}

func (s *familySet) confNeeds(r *relative, lacks func(string) bool) (needs []ConfNeed) {
	if len(commandPaths(s.manifest(r))) == 0 {
		return nil
	}
	named := s.confNames(r)
	linked := map[string]bool{}
	if r.tree.View != "" {
		linked = s.confLinks(r)
	}
	core := s.core(r)
	for _, o := range s.closure(r) {
		var files []string
		for i := range s.manifest(o).Files {
			f := &s.manifest(o).Files[i]
			if f.Type == record.TypeDirectory || !strings.HasPrefix(f.Path, "etc/") || isStarted(f.Path) {
				continue
			}
			own := slices.Contains(core, o) && !within(linked, f.Path)
			if (own || within(named, f.Path)) && lacks("/"+f.Path) {
				files = append(files, "/"+f.Path)
			}
		}
		if len(files) > 0 {
			needs = append(needs, ConfNeed{o.tree, files})
		}
	}
	return needs
}

// confNames returns the paths below etc that programs and libraries of a package, or of
// those that it asks for, name.
func (s *familySet) confNames(r *relative) map[string]bool {
	names := map[string]bool{}
	seen := map[*relative]bool{}
	for _, o := range append([]*relative{r}, s.leadsTo(r)...) {
		for _, source := range s.core(o) {
			if seen[source] {
				continue
			}
			seen[source] = true
			for i := range s.manifest(source).Files {
				f := &s.manifest(source).Files[i]
				if !strings.HasPrefix(f.Path, "usr/") {
					continue
				}
				for _, name := range f.Names {
					if strings.HasPrefix(name, "/etc/") {
						names[name[1:]] = true
					}
				}
			}
		}
	}
	return names
}

// confLinks returns the paths below etc that links in /usr of a closure lead to.
func (s *familySet) confLinks(r *relative) map[string]bool {
	linked := map[string]bool{}
	for _, o := range s.closure(r) {
		for i := range s.manifest(o).Files {
			if f := &s.manifest(o).Files[i]; f.Type == record.TypeSymlink && strings.HasPrefix(f.Path, "usr/") {
				if at := f.Destination(); strings.HasPrefix(at, "etc/") {
					linked[at] = true
				}
			}
		}
	}
	return linked
}

// within reports whether a path, or a directory on the way to it below etc, is one of some.
func within(paths map[string]bool, p string) bool {
	for ; p != "etc"; p = path.Dir(p) {
		if paths[p] {
			return true
		}
	}
	return false
}

// started are directories of /etc with what other programs start or read than those of the
// package that a file is of. A name that ends in "*" begins others.
var started = []string{
	"X11", "apparmor.d", "apt", "bash_completion.d", "cron*", "default", "dbus-1", "init.d", "logcheck", "logrotate.d", "profile.d",
	"rc*", "sysctl.d", "systemd", "udev", "xdg",
}

func isStarted(file string) bool {
	name, _, _ := strings.Cut(strings.TrimPrefix(file, "etc/"), "/")
	return slices.ContainsFunc(started, func(s string) bool {
		begin, isBegin := strings.CutSuffix(s, "*")
		return name == s || isBegin && strings.HasPrefix(name, begin)
	})
}
