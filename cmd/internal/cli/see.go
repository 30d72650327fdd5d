package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/hashpkg/hashpkg/closure"
	"github.com/hashpkg/hashpkg/closure/notes"
	"github.com/hashpkg/hashpkg/closure/see"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/pkginfo"
	"github.com/hashpkg/hashpkg/repo"
)

// parseSee reads what --see says: NAME=URL#KEY.
func parseSee(texts []string) (list []closure.See, err error) {
	for _, text := range texts {
		name, rest, ok := strings.Cut(text, "=")
		address, key, hasKey := strings.Cut(rest, "#")
		if !ok || !hasKey {
			return nil, fmt.Errorf("%q: expected NAME=URL#KEY", text)
		}
		list = append(list, closure.See{Name: name, URL: address, Signer: key})
	}
	slices.SortFunc(list, func(a, b closure.See) int { return strings.Compare(a.Name, b.Name) })
	return list, closure.CheckSee(list)
}

// wholeManifest is a closure manifest with what others pick for it.
type wholeManifest struct {
	*closure.Manifest
	picked map[record.Picker]pkginfo.Signature
}

// seeOthers takes the manifests that m leaves choices to, each signed by the key that m names, and returns m with
// what they pick.
func (a *app) seeOthers(ctx context.Context, r *repo.Repo, m *closure.Manifest, allowOlder bool) (*wholeManifest, error) {
	architecture, err := r.Root.Architecture()
	if err != nil {
		return nil, err
	}
	if _, is := m.Architectures[architecture]; !is || len(m.See) == 0 { // what is for others is refused later
		return &wholeManifest{Manifest: m}, nil
	}
	whole := &wholeManifest{picked: map[record.Picker]pkginfo.Signature{}}
	taken := map[record.Picker]*closure.Manifest{}
	manifests := make([]*closure.Manifest, len(m.See))
	for i := range m.See {
		s := &m.See[i]
		by := s.Picker()
		if taken[by] == nil {
			rules, err := notes.RulesOf(s.Signer)
			if err != nil {
				return nil, err
			}
			if taken[by], whole.picked[by], err = a.takeManifest(ctx, r, rules, s.URL, allowOlder); err != nil {
				return nil, fmt.Errorf("see who picks %s: %w", s.Name, err)
			}
		}
		manifests[i] = taken[by]
	}
	whole.Manifest, err = see.Resolve(m, architecture, r.Root.Formats().Orders(), manifests)
	return whole, err
}

// writeLock writes a manifest that leaves nothing to others.
func writeLock(file string, m *closure.Manifest) error {
	text, err := m.Encode()
	if err != nil {
		return err
	}
	return closureManifest.write(file, "hashpkg fetch --lock", text)
}
