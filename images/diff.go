package images

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Packaged is a package of an image.
type Packaged struct {
	Name, Version, Architecture string
	Layer                       v1.Hash // that it is in
}

// Packages returns the packages of an image that hashpkg has made, by name and version, from its history.
func Packages(image v1.Image) ([]Packaged, error) {
	file, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	m, err := image.Manifest()
	if err != nil {
		return nil, err
	}
	var all []Packaged
	isOurs, n := false, 0
	for _, h := range file.History {
		if h.EmptyLayer {
			continue
		}
		if n >= len(m.Layers) {
			return nil, fmt.Errorf("its history has more layers than the image")
		}
		layer := m.Layers[n].Digest
		n++
		if h.CreatedBy != createdBy {
			continue
		}
		isOurs = true
		for _, spec := range strings.Fields(h.Comment) {
			name, rest, ok := strings.Cut(spec, "=")
			i := strings.LastIndexByte(rest, ':')
			if ok && i > 0 {
				all = append(all, Packaged{name, rest[:i], rest[i+1:], layer})
			}
		}
	}
	if !isOurs {
		return nil, fmt.Errorf("its history names no packages: it was not made by hashpkg image")
	}
	slices.SortFunc(all, func(a, b Packaged) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Version, b.Version), cmp.Compare(a.Architecture, b.Architecture))
	})
	return all, nil
}

// What became of a package from one image to another.
const (
	Added   = "added"
	Removed = "removed"
	Changed = "changed" // has another version
	Rebuilt = "rebuilt" // has the same version, and other bytes
)

// Difference is what became of a package.
type Difference struct {
	Name         string `json:"name"`
	Architecture string `json:"architecture"`
	What         string `json:"what"`
	From         string `json:"from,omitempty"` // the versions of the first image, with spaces between them
	To           string `json:"to,omitempty"`
}

// Diff returns what became of the packages of one image in another.
func Diff(a, b []Packaged) []Difference {
	type key struct{ name, architecture string }
	type side struct {
		versions []string
		layers   []v1.Hash
	}
	sides := map[key]*[2]side{}
	for i, list := range [][]Packaged{a, b} {
		for _, p := range list {
			k := key{p.Name, p.Architecture}
			if sides[k] == nil {
				sides[k] = &[2]side{}
			}
			// A package of all architectures is in the image of each platform.
			if !slices.Contains(sides[k][i].versions, p.Version) {
				sides[k][i].versions = append(sides[k][i].versions, p.Version)
			}
			if !slices.Contains(sides[k][i].layers, p.Layer) {
				sides[k][i].layers = append(sides[k][i].layers, p.Layer)
			}
		}
	}
	// A layer of several packages is another one when any of them is.
	shared := map[v1.Hash]map[key]bool{}
	for _, list := range [][]Packaged{a, b} {
		for _, p := range list {
			if shared[p.Layer] == nil {
				shared[p.Layer] = map[key]bool{}
			}
			shared[p.Layer][key{p.Name, p.Architecture}] = true
		}
	}
	isAlone := func(layers []v1.Hash) bool {
		return !slices.ContainsFunc(layers, func(l v1.Hash) bool { return len(shared[l]) > 1 })
	}
	var out []Difference
	for k, s := range sides {
		d := Difference{Name: k.name, Architecture: k.architecture, From: strings.Join(s[0].versions, " "), To: strings.Join(s[1].versions, " ")}
		switch {
		case d.From == "":
			d.What = Added
		case d.To == "":
			d.What = Removed
		case d.From != d.To:
			d.What = Changed
		case !slices.Equal(s[0].layers, s[1].layers) && isAlone(s[0].layers) && isAlone(s[1].layers):
			d.What = Rebuilt
		default:
			continue
		}
		out = append(out, d)
	}
	slices.SortFunc(out, func(a, b Difference) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Architecture, b.Architecture))
	})
	return out
}
