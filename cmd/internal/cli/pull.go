package cli

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/hashpkg/hashpkg/backends/trust"
	"github.com/hashpkg/hashpkg/closure"
	"github.com/hashpkg/hashpkg/closure/objects"
	"github.com/hashpkg/hashpkg/closure/oci"
	"github.com/hashpkg/hashpkg/images"
	"github.com/hashpkg/hashpkg/pkginfo"
	"github.com/hashpkg/hashpkg/repo"
)

type pullOptions struct {
	fetchOptions
	plainHTTP bool
}

func newPullCommand(a *app) *cobra.Command {
	var o pullOptions
	cmd := &cobra.Command{
		Use:   "pull REGISTRY/REPOSITORY[:TAG|@DIGEST]",
		Short: "Install what hashpkg push has put into a registry",
		Long: `Install the closure that hashpkg push has put into a registry, in one generation: the very
trees of the machine that it is from, or nothing. Earlier versions of its packages, of the
same releases, go: to upgrade is to pull again.

Every file is compared with the digest that the closure manifest has of it, before it has
a name here; what the root has already is not fetched. What was fetched before a kill is
not fetched again. What the registry has lost comes from the packages of the distributor.
The registry is not trusted with files, but with which manifest has the tag: name the
DIGEST that hashpkg push has printed to be sure of that as well.

The logins are those of docker login, podman login and skopeo login.`,
		Example: `  # Install what has the tag
  hashpkg pull registry.example.org/tools:jq
  # Fetch only, and see what would be installed
  hashpkg pull registry.example.org/tools:jq --dry-run`,
		Args: args(func(c *cobra.Command, given []string) error {
			if o.then == thenRun {
				return cobra.MinimumNArgs(1)(c, given)
			}
			return cobra.ExactArgs(1)(c, given)
		}),
		RunE: func(c *cobra.Command, given []string) error { return runPull(c.Context(), a, o, given) },
	}
	cmd.ValidArgsFunction = a.complete(nothing, noFiles)
	o.add(a, cmd, thenInstall)
	cmd.Flags().BoolVar(&o.plainHTTP, "plain-http", false, "speak to the registry without TLS")
	return cmd
}

func runPull(ctx context.Context, a *app, o pullOptions, given []string) error {
	if err := o.check(); err != nil {
		return err
	}
	from, err := registryOf(given[0], images.Access{PlainHTTP: o.plainHTTP, UserAgent: "hashpkg/" + Version})
	if err != nil {
		return err
	}
	return a.fetchClosure(ctx, o.fetchOptions, given[1:], func(r *repo.Repo) (*fetchedManifest, error) {
		artifact, err := oci.Pull(ctx, from)
		if err != nil {
			return nil, err
		}
		return a.fetchedFrom(ctx, r, o.fetchOptions, artifact, from.Place.String(), func() error { return nil })
	})
}

// fetchedFrom returns the manifest of an artifact, which has the files, if its signatures allow that. It closes what
// the artifact is in if they do not.
func (a *app) fetchedFrom(ctx context.Context, r *repo.Repo, o fetchOptions, artifact *oci.Artifact, name string, end func() error) (*fetchedManifest, error) {
	m, proof, err := a.judgeArtifact(ctx, r, o, artifact, name)
	if err != nil {
		return nil, errors.Join(err, end())
	}
	return &fetchedManifest{m, name, proof, []objects.Source{artifact}, end}, nil
}

func (a *app) judgeArtifact(ctx context.Context, r *repo.Repo, o fetchOptions, artifact *oci.Artifact, name string) (*closure.Manifest, pkginfo.Signature, error) {
	rules, err := a.manifestRules(o)
	if err != nil {
		return nil, pkginfo.Signature{}, err
	}
	signatures, err := artifact.Notes(ctx)
	if err != nil && rules.Policy != trust.Off {
		return nil, pkginfo.Signature{}, err
	}
	text, err := artifact.Manifest.Encode()
	if err != nil {
		return nil, pkginfo.Signature{}, err
	}
	return a.judgeManifest(ctx, r, rules, manifestAt{name, name, o.allowOlder}, text, signatures)
}
