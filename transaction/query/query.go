// Package query finds what a person names: a package, one version of it, or a tree,
// in a generation or in the store. NAME[=VERSION] is taken apart here and nowhere
// else.
package query

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/store"
)

// ErrNotInstalled is returned (wrapped) for a package or version that is not there.
var ErrNotInstalled = errors.New("not installed")

// ErrNotStored is returned (wrapped) for a version that the store does not have.
var ErrNotStored = errors.New("not in the store")

// ErrAmbiguous is returned (wrapped) for a version of which there are several trees.
var ErrAmbiguous = errors.New("several trees have that version")

// ErrSpec is returned (wrapped) for what is not of the form NAME[=VERSION].
var ErrSpec = errors.New("not NAME or NAME=VERSION")

// Spec names a package or one version of it.
type Spec struct {
	Name    string
	Version string // or the name of a tree's directory; "" for any
}

// ParseSpec takes NAME[=VERSION] apart.
func ParseSpec(text string) (Spec, error) {
	name, version, ok := strings.Cut(text, "=")
	if name == "" || ok && version == "" {
		return Spec{}, fmt.Errorf("%q: %w", text, ErrSpec)
	}
	return Spec{name, version}, nil
}

// String returns NAME or NAME=VERSION.
func (s Spec) String() string {
	if s.Version == "" {
		return s.Name
	}
	return s.Name + "=" + s.Version
}

// All returns the trees of a generation that fit, oldest version first; the error
// wraps ErrNotInstalled when none does.
func All(g *record.Generation, s Spec) ([]*record.Tree, error) {
	found := g.Find(s.Name, s.Version)
	if len(found) > 0 {
		return found, nil
	}
	have := g.Find(s.Name, "")
	if s.Version == "" || len(have) == 0 {
		return nil, fmt.Errorf("%w: %s; hashpkg list shows what is", ErrNotInstalled, s.Name)
	}
	return nil, fmt.Errorf("%w: %s; the installed versions are %s", ErrNotInstalled, s, versions(have))
}

func versions(trees []*record.Tree) string {
	var list []string
	for _, t := range trees {
		list = append(list, t.Version)
	}
	return strings.Join(slices.Compact(list), ", ")
}

// One returns the only tree that fits, or the one whose directory has the version's
// name.
func One(g *record.Generation, s Spec) (*record.Tree, error) {
	found, err := All(g, s)
	if err != nil || len(found) == 1 {
		return append(found, nil)[0], err
	}
	for _, t := range found {
		if layout.IsVersionDir(t.Dir, s.Version) {
			return t, nil
		}
	}
	names := make([]string, len(found))
	for i, t := range found {
		names[i] = t.Name + "=" + layout.VersionText(t.Dir)
	}
	return nil, fmt.Errorf("%w: %s: name one of %s", ErrAmbiguous, s, strings.Join(names, ", "))
}

// Best returns the tree that fits: of several the one whose directory has the
// version's name, else the default, else the newest version.
func Best(g *record.Generation, s Spec) (*record.Tree, error) {
	found, err := All(g, s)
	if err != nil {
		return nil, err
	}
	for _, t := range found {
		if layout.IsVersionDir(t.Dir, s.Version) {
			return t, nil
		}
	}
	for _, t := range found {
		if t.Default {
			return t, nil
		}
	}
	return found[len(found)-1], nil
}

// Stored returns the manifest of a package's version that the store has, whether or
// not a generation has it. The distribution's own build goes before one that was
// edited for a private tree.
func Stored(s *store.Store, spec Spec) (*record.Manifest, error) {
	manifests, err := s.Manifests(spec.Name)
	if err != nil {
		return nil, err
	}
	var found []*record.Manifest
	var have []string
	for _, m := range manifests {
		have = append(have, m.Version)
		if m.Version == spec.Version || layout.IsVersionDir(m.Tree, spec.Version) {
			found = append(found, m)
		}
	}
	slices.SortStableFunc(found, func(a, b *record.Manifest) int { return -cmp.Compare(a.Origin, b.Origin) })
	switch {
	case len(have) == 0:
		return nil, fmt.Errorf("%s is %w; hashpkg install brings it", spec.Name, ErrNotStored)
	case len(found) == 0:
		return nil, fmt.Errorf("%s is %w, which has the versions %s", spec, ErrNotStored, strings.Join(slices.Compact(have), ", "))
	case len(found) > 1 && found[0].Origin == found[1].Origin && !layout.IsVersionDir(found[0].Tree, spec.Version):
		names := make([]string, len(found))
		for i, m := range found {
			names[i] = m.Name + "=" + layout.VersionText(m.Tree)
		}
		return nil, fmt.Errorf("%w: %s: name one of %s", ErrAmbiguous, spec, strings.Join(names, ", "))
	}
	return found[0], nil
}
