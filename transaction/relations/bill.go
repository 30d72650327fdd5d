package relations

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/hashpkg/hashpkg/backends"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/layout/sbom"
)

// Bill returns what the active generation has, and what programs are pinned or frozen to, as a
// bill of materials. tool is the version of hashpkg.
func (r *Relations) Bill(ctx context.Context, tool string) (*sbom.Bill, error) {
	b := &sbom.Bill{Name: "hashpkg prefix " + r.root.Prefix(), Tool: tool, Time: r.generation.Time}
	u := newUses()
	if err := r.addLoads(ctx, u, nil); err != nil {
		return nil, err
	}
	r.addRelations(u)
	id, release, err := r.distribution()
	if err != nil {
		return nil, err
	}
	index := map[string]int{}
	add := func(h *record.Holding, from string) {
		p := sbom.Package{
			Format: h.Format, Name: h.Name, Version: h.Version, Architecture: h.Architecture, Release: from,
			Source: h.Source, Summary: h.Summary, File: h.PackageFile, Digest: h.Package, Identity: h.Identity, Tree: h.Path(),
			Program: slices.ContainsFunc(h.Binaries, func(b record.HeldFile) bool { return b.Program }),
		}
		if h.Origin == record.OriginSystem { // there was no package file: its digest is over the files
			p.Release, p.File, p.Digest = release, "", [len(p.Digest)]byte{}
			p.Vendor = namespace(id)
		}
		if f, ok := r.format(h).(backends.Repositories); ok && p.Vendor == "" {
			p.Vendor = f.Vendor(p.Release, p.Version)
		}
		index[h.Path()] = len(b.Packages)
		b.Packages = append(b.Packages, p)
	}
	for t, h := range r.Trees {
		add(h, t.Release)
	}
	pins, err := r.root.Pins()
	if err != nil {
		return nil, err
	}
	for _, pin := range pins { // programs load what they are pinned and frozen to, whatever is installed
		tree := pin.Pinned().Path()
		if _, has := index[tree]; !has && r.byPath[tree] != nil {
			add(r.byPath[tree], "")
		}
	}
	for used, users := range u.users {
		to, ok := index[used]
		if !ok {
			continue
		}
		for _, user := range users {
			if from, ok := index[user]; ok {
				b.Packages[from].Needs = append(b.Packages[from].Needs, to)
			}
		}
	}
	for i := range b.Packages {
		slices.Sort(b.Packages[i].Needs)
		b.Packages[i].Needs = slices.Compact(b.Packages[i].Needs)
	}
	return b, nil
}

// format returns a tree's format; nil for one that is not in use any more.
func (r *Relations) format(h *record.Holding) backends.Format {
	for _, f := range r.root.Formats() {
		if f.Name() == h.Format {
			return f
		}
	}
	return nil
}

// namespace returns what package URLs call the vendor of a distribution, by its ID in os-release(5):
// openSUSE's have one each, and Red Hat's is called otherwise.
func namespace(id string) string {
	switch {
	case strings.HasPrefix(id, "opensuse-"):
		return "opensuse"
	case id == "rhel":
		return "redhat"
	}
	return id
}

// maxOSRelease bounds os-release.
const maxOSRelease = 1 << 20

// distribution returns the root's own, and its release as releases are named: "debian"
// and "trixie"; see os-release(5). They are "" where the root does not say.
func (r *Relations) distribution() (id, release string, err error) {
	text, err := r.root.ReadFile("/etc/os-release", maxOSRelease)
	if errors.Is(err, fs.ErrNotExist) {
		text, err = r.root.ReadFile("/usr/lib/os-release", maxOSRelease)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return "", "", nil
	}
	if err != nil {
		return "", "", fmt.Errorf("read which distribution this is: %w", err)
	}
	fields := map[string]string{}
	for line := range strings.Lines(string(text)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		fields[key] = strings.Trim(value, `"'`)
	}
	release = fields["VERSION_CODENAME"]
	if release == "" && fields["VERSION_ID"] != "" {
		release = fields["ID"] + "-" + fields["VERSION_ID"]
	}
	return fields["ID"], release, nil
}
