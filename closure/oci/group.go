package oci

import (
	"cmp"
	"slices"

	"github.com/hashpkg/hashpkg/closure"
	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/layout/record"
)

// ownBlob is how many bytes a file may have, and not be a blob of its own. Each blob is a request, which costs more
// than so many bytes.
const ownBlob = 1024 << 10

// group is the files of one blob, which are not compressed there each by itself.
type group struct {
	key   digest.Digest // what the blob is found by
	files []member
	size  int64 // bytes of all files
	pack  bool  // of a package's small files
}

// member is a file of a group.
type member struct {
	path   string // one of those that it has, for people
	blake3 digest.Digest
	size   int64
}

// grouped is what the blobs of a closure have, each once.
type grouped struct {
	groups []group
	own    int64 // a file of more bytes is a blob of its own
}

// group returns what is in which blob: fewer files have one of their own where the artifact's manifest would get too large.
func (c *Closure) group() (grouped, error) {
	for own := cmp.Or(c.own, ownBlob); ; own *= 2 {
		g := grouped{groupsOf(c.Manifest, own), own}
		err := g.checkNumber()
		if err == nil || !slices.ContainsFunc(g.groups, func(g group) bool { return !g.pack }) {
			return g, err
		}
	}
}

// groupsOf returns what the blobs of a closure have when a file of more than own bytes is one of its own.
func groupsOf(m *closure.Manifest, own int64) []group {
	var groups []group
	seen := map[digest.Digest]bool{}
	add := func(g group) {
		if !seen[g.key] {
			seen[g.key] = true
			groups = append(groups, g)
		}
	}
	for _, architecture := range m.ArchitectureNames() {
		packages := m.Architectures[architecture]
		for i := range packages {
			small := group{pack: true}
			h := digest.New()
			packed := map[digest.Digest]bool{}
			for _, f := range members(&packages[i]) {
				switch {
				case f.size > own:
					add(group{key: f.blake3, files: []member{f}, size: f.size})
				case !packed[f.blake3]:
					packed[f.blake3] = true
					small.files = append(small.files, f)
					small.size += f.size
					h.Write(f.blake3[:])
				}
			}
			if small.key = digest.Sum(h); len(small.files) > 0 {
				add(small)
			}
		}
	}
	return groups
}

// members returns the regular files of a package in the order of their paths.
func members(p *closure.Package) []member {
	var files []member
	for i := range p.Files {
		if f := &p.Files[i]; f.Type == record.TypeFile {
			files = append(files, member{f.Path, f.BLAKE3, f.Size})
		}
	}
	slices.SortFunc(files, func(a, b member) int { return cmp.Compare(a.path, b.path) })
	return files
}

// largestFirst is so that none is left over in the end that comes by itself.
func largestFirst(groups []group) []group {
	slices.SortStableFunc(groups, func(a, b group) int { return cmp.Compare(b.size, a.size) })
	return groups
}
