// Package closure has closure manifests: lists of what programs need, with the digests of all files
// and where they come from, which travel between machines. It is data and checks: [Manifest.Encode],
// [Decode], [NewPackage] from a tree's record and [Package.Draft] back.
//
// What a closure manifest names are the files as their packages have them. The edits are made where the
// files are used, by the editor of that machine, and what comes of them is compared: see
// [Package.Identity]. So nothing that travels depends on a machine or a prefix, and anybody can have
// it from the distributor as well.
//
// Fetching, signatures and mirrors are other packages' business.
package closure

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/pkginfo"
)

// Format is the number of the form of closure manifests.
const Format = 1

// MaxSize is how many bytes a closure manifest may have.
const MaxSize = 256 << 20

// MediaType is that of an encoded closure manifest.
const MediaType = "application/vnd.hashpkg.closure.v1+json"

// Manifest is a closure manifest.
type Manifest struct {
	Format int `json:"format"`
	// Names are what was asked for, as people named it; sorted.
	Names []string `json:"names"`
	// Prefix is that of the trees, absolute; their identities have it.
	Prefix string `json:"prefix"`
	// Mirrors are templates of addresses at which each file may be had: see [Address].
	Mirrors []string `json:"mirrors,omitempty"`
	// See says who picks the versions of what this manifest does not have itself; sorted by name.
	See []See `json:"see,omitempty"`
	// Architectures are the closures, by the architecture of the root that they are for, as a
	// multi-arch triplet: "x86_64-linux-gnu". Packages are sorted by name, version, architecture and tree.
	Architectures map[string][]Package `json:"architectures"`
}

// See leaves the choice of a version to somebody else: the manifest at URL, signed by Signer, says which
// package has Name, and no more.
type See struct {
	Name   string `json:"name"` // a soname, see [See.IsSoname], or the name of a package
	URL    string `json:"url"`
	Signer string `json:"signer"` // the public key of a note, see package notes
}

// IsSoname reports whether the name is that of a library: it ends with ".so" or has ".so." in it.
func (s *See) IsSoname() bool {
	return strings.HasSuffix(s.Name, ".so") || strings.Contains(s.Name, ".so.")
}

// Picker returns who picks.
func (s *See) Picker() record.Picker { return record.Picker{URL: s.URL, Signer: s.Signer} }

// Package is one tree of a closure: a package as it is distributed, and how it is installed.
type Package struct {
	Name         string         `json:"name"`
	Version      string         `json:"version"`
	Architecture string         `json:"architecture"`
	Kind         pkginfo.Format `json:"kind"`
	Release      string         `json:"release,omitempty"`
	Asked        bool           `json:"asked,omitempty"`
	OnHold       bool           `json:"on_hold,omitempty"`
	Default      bool           `json:"default,omitempty"`
	Chosen       bool           `json:"chosen,omitempty"`
	Binding      record.Binding `json:"binding,omitzero"`
	// By is who picked the version, where that was not whoever made the manifest.
	By record.Picker `json:"by,omitzero"`
	// Tree is what its tree is called where nothing else has the name.
	Tree string `json:"tree"`
	// Identity is that of the tree wherever it stands: see [plan.Portable]. It is zero of a part of a
	// package, for what such is bound to does not follow from the whole, and of what needs something that
	// another manifest picks.
	Identity digest.Digest `json:"identity,omitzero"`
	// Part is [PartCode] where the package's data was left out; "" for the whole package.
	Part record.Part `json:"part,omitempty"`
	From Distributed `json:"from"`

	Source       string                `json:"source,omitempty"`
	Summary      string                `json:"summary,omitempty"`
	Requires     []pkginfo.Relation    `json:"requires,omitempty"`
	Recommends   []pkginfo.Relation    `json:"recommends,omitempty"`
	Provides     []pkginfo.Capability  `json:"provides,omitempty"`
	Scripts      []string              `json:"scripts_skipped,omitempty"`
	Alternatives []pkginfo.Alternative `json:"alternatives,omitempty"`
	WouldMake    pkginfo.Made          `json:"scripts_would_make,omitzero"`
	Unread       []string              `json:"scripts_unread,omitempty"`
	Control      *record.Control       `json:"control,omitempty"`

	// Files are all that the tree is made from, sorted by path.
	Files []File `json:"files"`
}

// Spec returns "NAME=VERSION", as people name a package.
func (p *Package) Spec() string { return p.Name + "=" + p.Version }

// Distributed is the package's file at its own distributor, which has every file of the package as a
// member at its path (before the directories of the merged /usr were followed).
type Distributed struct {
	File   string        `json:"file"` // base name
	Size   int64         `json:"size"` // bytes
	BLAKE3 digest.Digest `json:"blake3"`
	// Digest is what the distributor names it by, "sha256:HEX" or "sha512:HEX"; "" where nobody
	// distributes it.
	Digest string   `json:"digest,omitempty"`
	URLs   []string `json:"urls,omitempty"`
	Signer string   `json:"signer,omitempty"` // who had signed it where the manifest was made
}

// Kind says what a file is for.
type Kind string

// The kinds of regular files.
const (
	Program Kind = "program" // an ELF program or a script that is a command
	Library Kind = "library" // a shared library that programs and libraries name
	Plugin  Kind = "plugin"  // a shared object that nothing of the closure names: loaded by dlopen, if at all
	Data    Kind = "data"
)

// File is one file of a package, as the package has it.
type File struct {
	Path     string            `json:"path"` // relative to the tree
	Type     record.FileType   `json:"type"`
	Mode     record.Mode       `json:"mode"`
	UID      int               `json:"uid,omitempty"`
	GID      int               `json:"gid,omitempty"`
	Conffile bool              `json:"conffile,omitempty"`
	Xattrs   map[string][]byte `json:"xattrs,omitempty"`
	Target   string            `json:"target,omitempty"` // of a symlink, as the package has it

	// Of a regular file.
	Kind   Kind          `json:"kind,omitempty"`
	Soname string        `json:"soname,omitempty"`
	BLAKE3 digest.Digest `json:"blake3,omitzero"`
	SHA256 SHA256        `json:"sha256,omitzero"`
	Size   int64         `json:"size,omitempty"` // bytes
	// Edits are the kinds of edits that are made of it where it is used.
	Edits []string `json:"edits,omitempty"`
	// From are templates of addresses of this file besides those of the manifest.
	From []string `json:"from,omitempty"`
	// OnDemand says that it need not be there before somebody opens it.
	OnDemand bool `json:"on_demand,omitempty"`
}

// Encode returns the manifest in its canonical form: JSON as encoding/json writes it, without spaces,
// members in the order of this package's types, and a line feed at the end. It sorts what is sorted.
func (m *Manifest) Encode() ([]byte, error) {
	slices.Sort(m.Names)
	slices.SortFunc(m.See, func(a, b See) int { return cmp.Compare(a.Name, b.Name) })
	for _, packages := range m.Architectures {
		slices.SortFunc(packages, func(a, b Package) int {
			return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Version, b.Version), cmp.Compare(a.Architecture, b.Architecture), cmp.Compare(a.Tree, b.Tree))
		})
		for i := range packages {
			slices.SortFunc(packages[i].Files, func(a, b File) int { return cmp.Compare(a.Path, b.Path) })
		}
	}
	b, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encode closure manifest: %w", err)
	}
	return append(b, '\n'), nil
}

// Decode reads what Encode wrote. What is not in its canonical form is refused, and so no two readers
// understand it differently; and so is what leads out of a tree or contradicts itself.
func Decode(b []byte) (*Manifest, error) {
	fail := func(err error) (*Manifest, error) { return nil, fmt.Errorf("read closure manifest: %w", err) }
	if len(b) > MaxSize {
		return fail(fmt.Errorf("it has %d bytes, and may have %d", len(b), MaxSize))
	}
	var form struct {
		Format int `json:"format"`
	}
	if err := json.Unmarshal(b, &form); err != nil {
		return fail(err)
	}
	if form.Format != Format {
		return fail(fmt.Errorf("it has the form %d, and this program knows %d", form.Format, Format))
	}
	var m Manifest
	if err := json.Unmarshal(b, &m); err != nil {
		return fail(err)
	}
	if err := m.check(); err != nil {
		return fail(err)
	}
	canonical, err := m.Encode()
	if err != nil {
		return fail(err)
	}
	if !bytes.Equal(b, canonical) {
		return fail(fmt.Errorf("it is not in the canonical form, from byte %d on", differsAt(b, canonical)))
	}
	return &m, nil
}

func differsAt(a, b []byte) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}

// Digest returns the digest of the canonical form, by which a manifest is named and signed.
func (m *Manifest) Digest() (digest.Digest, error) {
	b, err := m.Encode()
	return digest.Of(b), err
}

// Each calls f with every regular file of an architecture's closure.
func (m *Manifest) Each(architecture string, f func(*Package, *File)) {
	packages := m.Architectures[architecture]
	for i := range packages {
		p := &packages[i]
		for j := range p.Files {
			if p.Files[j].Type == record.TypeFile {
				f(p, &p.Files[j])
			}
		}
	}
}

// ArchitectureNames returns the architectures that there are closures for, sorted.
func (m *Manifest) ArchitectureNames() []string { return slices.Sorted(maps.Keys(m.Architectures)) }
