package cli

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync/atomic"

	"github.com/spf13/cobra"

	"github.com/hashpkg/hashpkg/closure"
	"github.com/hashpkg/hashpkg/closure/collect"
	"github.com/hashpkg/hashpkg/closure/notes"
	"github.com/hashpkg/hashpkg/closure/oci"
	"github.com/hashpkg/hashpkg/images"
	"github.com/hashpkg/hashpkg/transaction"
)

type pushOptions struct {
	sourceFlags
	keys      []string
	near      []string
	noData    bool
	plainHTTP bool
}

func newPushCommand(a *app) *cobra.Command {
	var o pushOptions
	cmd := &cobra.Command{
		Use:   "push REGISTRY/REPOSITORY[:TAG] NAME...",
		Short: "Put programs, and all that they need, into a container registry",
		Long: `Put the closure of installed packages or programs into a registry of containers' images:
every file of these and of all that they need, as their packages have them, and the
closure manifest that names them. hashpkg pull makes the very same trees of it on other
machines, which need no other source.

It is an artifact of OCI 1.1. A file of more than 64 KiB is a blob, and the smaller files
of a package are one. A registry has each once: what the repository has already is not
sent, nor what the repository that --near names has, on the same registry.

The logins are those of docker login, podman login and skopeo login. The registry is
spoken to by TLS, but for one on this machine and with --plain-http.`,
		Example: `  # The closure of jq, as the tag jq of a repository
  hashpkg push registry.example.org/tools:jq jq
  # Into another repository, which takes what the first one has from there
  hashpkg push registry.example.org/other:yq yq --near registry.example.org/tools:jq`,
		Args: args(cobra.MinimumNArgs(2)),
		RunE: func(c *cobra.Command, given []string) error { return runPush(c.Context(), a, o, given) },
	}
	cmd.ValidArgsFunction = a.complete(installedNames(isPrivate), noFiles)
	f := cmd.Flags()
	f.StringArrayVar(&o.near, "near", nil, "take what the closure at `REGISTRY/REPOSITORY[:TAG]` has from there (may be repeated)")
	signingFlag(f, &o.keys)
	f.BoolVar(&o.noData, "no-data", false, "put programs and libraries there only")
	f.BoolVar(&o.plainHTTP, "plain-http", false, "speak to the registry without TLS")
	f.BoolVar(&o.offline, "offline", false, "fetch no indexes: use what was fetched before")
	return cmd
}

// pushOutput is what push and export print with --json.
type pushOutput struct {
	To       string `json:"to"`
	Digest   string `json:"digest"` // of the artifact's manifest: "sha256:HEX"
	BLAKE3   string `json:"blake3"` // of the closure manifest
	Packages int    `json:"packages"`
	Blobs    int    `json:"blobs"`
	Bytes    int64  `json:"bytes"` // of these
	Sent     *int64 `json:"sent,omitempty"`
}

func runPush(ctx context.Context, a *app, o pushOptions, given []string) error {
	access := images.Access{PlainHTTP: o.plainHTTP, UserAgent: "hashpkg/" + Version, Sent: &atomic.Int64{}}
	to, err := registryOf(given[0], access)
	if err != nil {
		return err
	}
	for _, name := range o.near {
		near, err := registryOf(name, access)
		if err != nil {
			return fmt.Errorf("--near: %w", err)
		}
		to.Near = append(to.Near, near.Place)
	}
	c, err := a.closureOf(ctx, o.sourceFlags, given[1:], o.noData, o.keys)
	if err != nil {
		return err
	}
	progress := a.newProgress()
	end := progress.during("pushing")
	w, err := oci.Push(ctx, c, to)
	end()
	progress.end()
	if err != nil {
		return err
	}
	sent := access.Sent.Load()
	return a.printPushed(to.Place.String(), c.Manifest, w, &sent)
}

// registryOf reads the name of a repository.
func registryOf(name string, access images.Access) (oci.Registry, error) {
	place, err := images.ParsePlace("docker://" + strings.TrimPrefix(name, "docker://"))
	if err != nil {
		return oci.Registry{}, usageError{fmt.Errorf("%s: this is no name of a repository: expected REGISTRY/REPOSITORY:TAG", name)}
	}
	return oci.Registry{Place: place, Access: access}, nil
}

// closureOf returns the closure of names, with its files.
func (a *app) closureOf(ctx context.Context, flags sourceFlags, names []string, noData bool, keyFiles []string) (*oci.Closure, error) {
	keys, err := readKeys(keyFiles)
	if err != nil {
		return nil, err
	}
	m, err := a.collect(ctx, flags, names, collect.Options{NoData: noData})
	if err != nil {
		return nil, err
	}
	root, err := a.openRoot()
	if err != nil {
		return nil, err
	}
	files, err := transaction.InstalledFiles(root)
	if err != nil {
		return nil, err
	}
	c := &oci.Closure{Manifest: m, Open: files.Open, Temp: os.TempDir()}
	if len(keys) == 0 {
		return c, nil
	}
	text, err := m.Encode()
	if err != nil {
		return nil, err
	}
	now, err := a.now()
	if err != nil {
		return nil, err
	}
	note, err := notes.Sign(text, nil, now, keys...)
	c.Notes = [][]byte{note}
	return c, err
}

func (a *app) printPushed(to string, m *closure.Manifest, w *oci.Written, sent *int64) error {
	d, err := m.Digest()
	if err != nil {
		return err
	}
	out := pushOutput{To: to, Digest: w.Digest.String(), BLAKE3: d.String(), Blobs: w.Blobs, Bytes: w.Size, Sent: sent}
	for _, packages := range m.Architectures {
		out.Packages += len(packages)
	}
	switch {
	case a.json:
		return a.printJSON(out)
	case a.quiet:
		return nil
	}
	text := fmt.Sprintf("%s has %s in %s (%s)", to, count(out.Packages, "package"), count(out.Blobs, "blob"), humanSize(out.Bytes))
	if sent != nil {
		text += fmt.Sprintf(", of which %s were sent", humanSize(*sent))
	}
	return a.printf("%s\n%s\n", text, w.Digest)
}
