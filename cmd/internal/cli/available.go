package cli

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/hashpkg/hashpkg/internal/advice"
	"github.com/hashpkg/hashpkg/internal/similar"
	"github.com/hashpkg/hashpkg/pkginfo"
	"github.com/hashpkg/hashpkg/repo"
	"github.com/hashpkg/hashpkg/sysroot"
	"github.com/hashpkg/hashpkg/transaction/query"
)

// availableOutput is what show prints of a package that can be installed by name.
type availableOutput struct {
	Name     string             `json:"name"`
	Versions []availableVersion `json:"available"` // the highest first
}

type availableVersion struct {
	Version       string          `json:"version"`
	Architecture  string          `json:"architecture"`
	Format        pkginfo.Format  `json:"format"`
	Release       string          `json:"release"`
	Source        string          `json:"source"`
	Summary       string          `json:"summary"`
	Size          int64           `json:"size"`           // of the package file, in bytes
	InstalledSize int64           `json:"installed_size"` // about so many bytes; 0 if the index does not say
	Requires      []string        `json:"requires"`
	Recommends    []string        `json:"recommends"`
	Provides      []string        `json:"provides"`
	Digest        string          `json:"package_digest"`
	Signature     pkginfo.Verdict `json:"signature"`
	Signer        string          `json:"signer"`
	Reason        string          `json:"signature_reason"`
}

// runShowAvailable shows the packages of a name that sources have: those of o.from, or
// all that files name.
func runShowAvailable(ctx context.Context, a *app, root *sysroot.Root, o sourceFlags, spec query.Spec) error {
	out := availableOutput{Name: spec.Name, Versions: []availableVersion{}}
	var looked, likeliest []string
	err := a.withPackages(ctx, root, o, func(p *repo.Pool) error {
		looked = p.Sources()
		found, err := p.Named(spec.Name)
		for _, f := range found {
			if spec.Version == "" || spec.Version == f.Version {
				out.Versions = append(out.Versions, newAvailableVersion(f))
			}
		}
		if err == nil && len(found) == 0 {
			likeliest, err = p.Similar(spec.Name)
		}
		return err
	})
	if err != nil {
		return err
	}
	switch {
	case len(out.Versions) > 0:
	case len(likeliest) > 0:
		return noneHasError{advice.Errorf("none of %s has %s; %s", strings.Join(looked, ", "), spec, similar.Question(likeliest))}
	default:
		return noneHasError{advice.Errorf("none of %s has %s; hashpkg search finds packages by words", strings.Join(looked, ", "), spec)}
	}
	orders := root.Formats().Orders()
	slices.SortStableFunc(out.Versions, func(x, y availableVersion) int {
		return cmp.Or(orders.Compare(x.Format, y.Version, x.Version), cmp.Compare(x.Architecture, y.Architecture))
	})
	if a.json {
		return a.printJSON(out)
	}
	return a.printAvailable(out)
}

func newAvailableVersion(f *repo.Available) availableVersion {
	v := availableVersion{
		Version: f.Version, Architecture: f.Architecture, Format: f.Format, Release: cmp.Or(f.Source.Release, f.Source.Name), Source: f.Source.Name,
		Summary: f.Summary, Size: f.Size, InstalledSize: f.InstalledSize, Requires: texts(f.Requires), Recommends: texts(f.Recommends), Provides: []string{},
		Digest: f.Digest, Signature: f.State.Verdict, Signer: f.State.Signer, Reason: f.State.Reason,
	}
	for _, c := range f.Provides {
		v.Provides = append(v.Provides, pkginfo.Constraint{Name: c.Name, Operator: operator(c.Version), Version: c.Version}.String())
	}
	return v
}

// operator is what stands before the version of what a package provides.
func operator(version string) string {
	if version == "" {
		return ""
	}
	return "="
}

// texts returns relations as people write them.
func texts(relations []pkginfo.Relation) []string {
	all := []string{}
	for _, r := range relations {
		all = append(all, r.String())
	}
	return all
}

// printAvailable shows the highest version whole, and of the others where they are.
func (a *app) printAvailable(out availableOutput) error {
	v := out.Versions[0]
	if err := a.printf("%s: %s\n", out.Name, cmp.Or(v.Summary, "available")); err != nil {
		return err
	}
	t := a.table()
	for _, w := range out.Versions {
		fmt.Fprintf(t, "  %s\t%s\t%s\t%s to fetch%s\n", w.Version, w.Architecture, w.Source, humanSize(w.Size), unpacked(w.InstalledSize))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	text := fmt.Sprintf("of %s in %s\n", v.Version, v.Source)
	for _, list := range []struct {
		title string
		items []string
	}{{"needs", v.Requires}, {"recommends", v.Recommends}, {"provides", v.Provides}} {
		if len(list.items) > 0 {
			text += fmt.Sprintf("  %-10s  %s\n", list.title, strings.Join(list.items, ", "))
		}
	}
	signed := signedAs(v.Signature, v.Signer, v.Reason)
	return a.printf("%s  %-10s  %s\n  %-10s  %s\n", text, "signed", signed, "digest", v.Digest)
}

// unpacked is a cell of a table that says what a package takes; none where it is unknown.
func unpacked(size int64) string {
	if size == 0 {
		return ""
	}
	return "\tabout " + humanSize(size) + " unpacked"
}
