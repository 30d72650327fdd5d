package view

import (
	"slices"
	"strings"

	"github.com/hashpkg/hashpkg/layout/record"
)

// FillConf puts configuration files of a closure into the place of links in /usr that lead
// to them in /etc, such as /usr/lib/ssl/openssl.cnf, where the root has nothing at the
// link's end. has reports whether the root has a file or directory.
func (p *Parts) FillConf(closure []*record.Manifest, has func(name string) bool) {
	taken := map[string]bool{}
	for _, m := range p.Trees {
		for i := range m.Files {
			f := &m.Files[i]
			if f.Type != record.TypeSymlink || taken[f.Path] || !keeps(f) {
				continue
			}
			taken[f.Path] = true
			if at := f.Destination(); strings.HasPrefix(at, "etc/") && !has("/"+at) {
				p.Conf = append(p.Conf, confAt(closure, at, f.Path)...)
			}
		}
	}
	slices.SortFunc(p.Conf, func(a, b record.File) int { return strings.Compare(a.Path, b.Path) })
}

// confAt returns the file that a closure has at a path below etc, or those that it has
// below that directory, as they stand at another path.
func confAt(closure []*record.Manifest, at, to string) (files []record.File) {
	put := func(from, to string) {
		f, _, end := record.FollowIn(closure, from)
		if f == nil {
			f = copied(closure, end)
		}
		if f != nil && f.ELF == nil {
			c := *f
			c.Path = to
			files = append(files, c)
		}
	}
	put(at, to)
	taken := map[string]bool{}
	for _, m := range closure {
		for i := range m.Files {
			f := &m.Files[i]
			rest, below := strings.CutPrefix(f.Path, at+"/")
			if below && f.Type != record.TypeDirectory && !taken[rest] {
				taken[rest] = true
				put(f.Path, to+"/"+rest)
			}
		}
	}
	return files
}

// copied returns the file that a script of a package would copy to a path; nil for none.
func copied(closure []*record.Manifest, to string) *record.File {
	for _, m := range closure {
		for _, c := range m.WouldMake.Copies {
			if c.To == "/"+to {
				f, _, _ := record.FollowIn(closure, strings.TrimPrefix(c.From, "/"))
				return f
			}
		}
	}
	return nil
}
