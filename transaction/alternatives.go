package transaction

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/hashpkg/hashpkg/internal/advice"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/alternatives"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/sysroot"
)

// ErrNoAlternative is wrapped by errors about a name that no package offers a file for.
var ErrNoAlternative = errors.New("no package offers an alternative")

// Alternative is a name that packages of a generation offer files for.
type Alternative struct {
	Name       string
	Link       string // of the candidate in force, absolute
	Candidates []alternatives.Candidate
	InForce    int               // which of the candidates it is; -1 for none of them
	Why        AlternativeReason // it is that one
	// File is the package that has a file of that name itself, where Why is ByFile.
	File *record.Manifest
	// Choice is what somebody chose, "" for nothing. It may be not there.
	Choice string
}

// AlternativeReason says why a candidate is in force, or none.
type AlternativeReason string

// The reasons.
const (
	ByChoice   AlternativeReason = "chosen"
	ByPriority AlternativeReason = "priority"
	AsTheOnly  AlternativeReason = "only"
	ByFile     AlternativeReason = "file" // a package has a file of that name
)

// Alternatives returns what the defaults of a generation that were installed beside the
// package manager offer, sorted by name.
func Alternatives(root *sysroot.Root, g *record.Generation) ([]Alternative, error) {
	var manifests []*record.Manifest
	for i := range g.Trees {
		t := &g.Trees[i]
		if !t.Default || t.Origin != record.OriginPrivate {
			continue
		}
		m, err := root.Store().Manifest(t.Name, t.Dir)
		if err != nil {
			return nil, err
		}
		manifests = append(manifests, m)
	}
	candidates := alternatives.Candidates(manifests)
	var all []Alternative
	for _, name := range slices.Sorted(maps.Keys(candidates)) {
		a := Alternative{Name: name, Candidates: candidates[name], Choice: g.Alternatives[name], Why: ByPriority}
		if len(a.Candidates) == 1 {
			a.Why = AsTheOnly
		}
		a.Link = a.Candidates[0].Link
		if i := alternatives.Chosen(a.Candidates, a.Choice); i >= 0 {
			a.InForce, a.Why, a.Link = i, ByChoice, a.Candidates[i].Link
		} else if a.File = owner(manifests, a.Link); a.File != nil {
			a.InForce, a.Why = -1, ByFile
		}
		all = append(all, a)
	}
	return all, nil
}

// owner returns the package that has a file at an absolute path; nil for none.
func owner(manifests []*record.Manifest, file string) *record.Manifest {
	p := layout.MergeUsr(strings.TrimPrefix(path.Clean(file), "/"))
	for _, m := range manifests {
		if m.Lookup(p) != nil {
			return m
		}
	}
	return nil
}

// ChooseAlternative makes a package, or a file by its absolute path, the one that an
// alternative's name leads to. The error wraps [ErrNoAlternative] when nobody offers it.
func ChooseAlternative(ctx context.Context, c Change, name, choice string) (Result, error) {
	return c.make(ctx, func(g *record.Generation) (bool, error) {
		all, err := Alternatives(c.Root, g)
		if err != nil {
			return false, err
		}
		i := slices.IndexFunc(all, func(a Alternative) bool { return a.Name == name })
		if i < 0 {
			return false, noAlternative(name)
		}
		found := alternatives.Chosen(all[i].Candidates, choice)
		if found < 0 {
			var offered []string
			for _, o := range all[i].Candidates {
				offered = append(offered, fmt.Sprintf("%s (%s)", o.Manifest.Name, o.Path))
			}
			return false, fmt.Errorf("%w: %s of %s; there are %s", ErrNoAlternative, name, choice, strings.Join(offered, ", "))
		}
		if path.IsAbs(choice) {
			choice = all[i].Candidates[found].Path
		}
		return g.Choose(name, choice), nil
	})
}

// FreeAlternative takes the choice for an alternative back. The error wraps
// [ErrNoAlternative] when nobody offers it and nothing was chosen.
func FreeAlternative(ctx context.Context, c Change, name string) (Result, error) {
	return c.make(ctx, func(g *record.Generation) (bool, error) {
		if g.Choose(name, "") {
			return true, nil
		}
		all, err := Alternatives(c.Root, g)
		if err == nil && !slices.ContainsFunc(all, func(a Alternative) bool { return a.Name == name }) {
			err = noAlternative(name)
		}
		return false, err
	})
}

func noAlternative(name string) error {
	return advice.Errorf("%w: %s; hashpkg alternatives lists those that there are", ErrNoAlternative, name)
}
