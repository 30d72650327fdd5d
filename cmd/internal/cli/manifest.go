package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hashpkg/hashpkg/backends/trust"
	"github.com/hashpkg/hashpkg/closure"
	"github.com/hashpkg/hashpkg/closure/collect"
	"github.com/hashpkg/hashpkg/closure/objects"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/transaction/query"
	"github.com/hashpkg/hashpkg/transaction/relations"
)

type manifestOptions struct {
	sourceFlags
	output, with string
	mirrors, see []string
	noData       bool
}

func newManifestCommand(a *app) *cobra.Command {
	var o manifestOptions
	cmd := &cobra.Command{
		Use:   "manifest NAME... -o FILE",
		Short: "Write down all files that programs need, by their digests",
		Long: `Write the closure manifest of installed packages or programs: every file of these and
of all that they need, as their packages have them, with its digests and size, and
where it comes from: the packages of the distributor by digest and address, and the
mirrors that --mirror names. hashpkg fetch makes the very same trees of it on another
machine.

A mirror is an address with {blake3} or {sha256} in place of a file's digest.

NAME is a package, NAME=VERSION, or a program. What nothing of them needs is left out.
With --no-data only programs and libraries are named, of packages whose data the other
machine has no need of; trees of such are not the same as those of whole packages.

With --see somebody else picks who has NAME, a soname such as libssl.so.3 or the name of a
package: the manifest at URL, which KEY has to sign (hashpkg key show). The package that
has it here, and what only that needs, are left out. Whoever fetches the manifest takes from
that one the package with the name, in the version that it has by then, and what this
requires and is not there; and may take nothing else. So a newer build of a library comes
to all who see it, without another manifest of each program.

With --with the architectures of another manifest are in this one as well.`,
		Example: `  # Of jq, to be fetched from its distributor
  hashpkg manifest jq -o jq.closure
  # From a mirror as well
  hashpkg manifest jq --mirror 'https://example.org/objects/{blake3}' -o jq.closure
  # With libssl.so.3 as another manifest picks it
  hashpkg manifest curl --see 'libssl.so.3=https://libs.example.org/ssl.closure#libs.example.org+c74f20a3+AQ...' -o curl.closure
  # For two architectures
  hashpkg manifest --root arm64 jq --with jq.closure -o both.closure`,
		Args: args(cobra.MinimumNArgs(1)),
		RunE: func(c *cobra.Command, given []string) error { return runManifest(c.Context(), a, o, given) },
	}
	cmd.AddCommand(newManifestSignCommand(a))
	cmd.ValidArgsFunction = a.complete(installedNames(isPrivate), noFiles)
	f := cmd.Flags()
	f.StringVarP(&o.output, "output", "o", "", "write `FILE` (default: standard output)")
	f.StringArrayVar(&o.mirrors, "mirror", nil, "name the mirror with this `ADDRESS` of a file, with {blake3} or {sha256} in it (may be repeated)")
	f.StringArrayVar(&o.see, "see", nil, "leave the choice of a library or package to another manifest, `NAME=URL#KEY` (may be repeated)")
	f.BoolVar(&o.noData, "no-data", false, "name programs and libraries only")
	f.StringVar(&o.with, "with", "", "have the architectures of the manifest `FILE` in it as well")
	f.BoolVar(&o.offline, "offline", false, "fetch nothing: use what was fetched before")
	return cmd
}

// manifestOutput is what manifest prints with --json where the manifest itself goes elsewhere.
type manifestOutput struct {
	File     string `json:"file"`
	BLAKE3   string `json:"blake3"` // of the file
	Packages int    `json:"packages"`
	Files    int    `json:"files"` // regular files, those of equal bytes once
	Bytes    int64  `json:"bytes"` // of these
}

func runManifest(ctx context.Context, a *app, o manifestOptions, given []string) error {
	for _, t := range o.mirrors {
		if err := closure.CheckTemplate(t); err != nil {
			return usageError{fmt.Errorf("--mirror: %w", err)}
		}
	}
	others, err := parseSee(o.see)
	if err != nil {
		return usageError{fmt.Errorf("--see: %w", err)}
	}
	if o.output != "" {
		if err := closureManifest.check(o.output, "hashpkg manifest -o"); err != nil {
			return err
		}
	}
	m, err := a.collect(ctx, o.sourceFlags, given, collect.Options{Mirrors: o.mirrors, NoData: o.noData, See: others})
	if err != nil {
		return err
	}
	if o.with != "" {
		if err := addArchitectures(m, o.with); err != nil {
			return err
		}
	}
	text, err := m.Encode()
	if err != nil {
		return err
	}
	if o.output == "" {
		return a.printExactly(string(text))
	}
	if err := closureManifest.write(o.output, "hashpkg manifest -o", text); err != nil {
		return err
	}
	d, err := m.Digest()
	if err != nil {
		return err
	}
	out := manifestOutput{File: o.output, BLAKE3: d.String()}
	for _, architecture := range m.ArchitectureNames() {
		out.Packages += len(m.Architectures[architecture])
		for _, w := range objects.Wants(m, architecture) {
			out.Files++
			out.Bytes += w.Size
		}
	}
	switch {
	case a.json:
		return a.printJSON(out)
	case a.quiet:
		return nil
	}
	return a.printf("%s has %s with %s (%s)\nBLAKE3 %s\n", o.output, count(out.Packages, "package"), count(out.Files, "file"), humanSize(out.Bytes), d)
}

var closureManifest = output{"closure manifest", "hashpkg.closure"}

// collect makes the closure manifest of names.
func (a *app) collect(ctx context.Context, flags sourceFlags, names []string, o collect.Options) (*closure.Manifest, error) {
	root, found, err := a.relations(ctx)
	if err != nil {
		return nil, err
	}
	r, err := a.openRepo(root, flags, trust.ByKeys)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	for _, name := range names {
		t, err := privateTree(found, name)
		if err != nil {
			return nil, err
		}
		o.Trees = append(o.Trees, t.Path())
	}
	o.Repo, o.Relations, o.Names = r, found, slices.Clone(names)
	slices.Sort(o.Names)
	o.Names = slices.Compact(o.Names)
	return collect.Collect(ctx, o)
}

// privateTree returns the private tree that a name is of: a package's, or that of the farm's program of the name.
func privateTree(r *relations.Relations, name string) (*record.Tree, error) {
	g := r.Generation()
	spec, err := query.ParseSpec(name)
	if err != nil {
		return nil, usageError{err}
	}
	t, err := query.Best(g, spec)
	if errors.Is(err, query.ErrNotInstalled) {
		for i := range g.Trees {
			o := &g.Trees[i]
			if o.Origin == record.OriginPrivate && o.Default && slices.ContainsFunc(o.Links, func(l string) bool { return l == "bin/"+name || l == "sbin/"+name }) {
				return o, nil
			}
		}
	}
	if err != nil {
		return nil, err
	}
	if t.Origin != record.OriginPrivate {
		return nil, fmt.Errorf("%s is the system's own, which its package manager brings to other machines", strings.TrimSuffix(t.Spec(), "="))
	}
	return t, nil
}

// addArchitectures adds those of the manifest in a file.
func addArchitectures(m *closure.Manifest, file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("read closure manifest: %w", err)
	}
	other, err := closure.Decode(text)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	if !slices.Equal(other.See, m.See) {
		return fmt.Errorf("%s: it does not leave the same to others", file)
	}
	if other.Prefix != m.Prefix {
		return fmt.Errorf("%s: its trees stand in %s, and those of this root in %s", file, other.Prefix, m.Prefix)
	}
	for architecture, packages := range other.Architectures {
		if m.Architectures[architecture] != nil {
			return fmt.Errorf("%s: it is for %s, which this root is of", file, architecture)
		}
		m.Architectures[architecture] = packages
	}
	m.Names = append(m.Names, other.Names...)
	slices.Sort(m.Names)
	m.Names = slices.Compact(m.Names)
	return nil
}
