package images

import (
	"slices"
	"strings"

	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/pkginfo"
)

// Lacking returns the interpreters that scripts which can be run name and that none of the
// packages has, with the names of the packages whose scripts these are, sorted.
func Lacking(manifests []*record.Manifest) map[string][]string {
	lacking := map[string][]string{}
	for _, m := range manifests {
		for i := range m.Files {
			f := &m.Files[i]
			if f.Script == "" || f.Mode&0o111 == 0 || !below(f.Path, "usr") || below(f.Path, "usr/share/doc") || slices.Contains(lacking[f.Script], m.Name) {
				continue
			}
			if p := layout.MergeUsr(strings.TrimPrefix(f.Script, "/")); !has(manifests, p) {
				lacking[f.Script] = append(lacking[f.Script], m.Name)
			}
		}
	}
	for _, names := range lacking {
		slices.Sort(names)
	}
	return lacking
}

// has reports whether one of the packages has a path, or makes it by an alternative.
func has(manifests []*record.Manifest, p string) bool {
	return slices.ContainsFunc(manifests, func(m *record.Manifest) bool {
		return m.Lookup(p) != nil || slices.ContainsFunc(m.Alternatives, func(a pkginfo.Alternative) bool {
			return layout.MergeUsr(strings.TrimPrefix(a.Link, "/")) == p
		})
	})
}
