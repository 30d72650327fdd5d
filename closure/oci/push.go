package oci

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sync/errgroup"

	"github.com/hashpkg/hashpkg/images"
)

// jobs is how many blobs are on their way at a time.
const jobs = 4

// Registry is a repository of a registry, and how it is reached.
type Registry struct {
	Place  images.Place // of the kind [images.KindRegistry]
	Access images.Access
	// Near are other places of the same registry that may have some of the blobs. The registry takes them from
	// there, and they are not sent.
	Near []images.Place
}

// Written is what was put somewhere.
type Written struct {
	Digest v1.Hash // of the artifact's manifest
	Blobs  int     // without the closure manifest
	Size   int64   // of these, in bytes
}

// raw is a manifest that is put as it is.
type raw []byte

// RawManifest implements [remote.Taggable].
func (r raw) RawManifest() ([]byte, error) { return r, nil }

// MediaType says what it is.
func (r raw) MediaType() (types.MediaType, error) { return types.OCIManifestSchema1, nil }

// Push puts a closure into a registry: the blobs that it has not, then the manifest, which takes the name, and the
// signatures.
func Push(ctx context.Context, c *Closure, to Registry) (*Written, error) {
	ref, options, err := to.Place.Remote(ctx, to.Access)
	if err != nil {
		return nil, fmt.Errorf("push %s: %w", to.Place, err)
	}
	p := &pushing{Closure: c, repository: ref.Context(), near: map[v1.Hash]name.Reference{}}
	if p.pusher, err = remote.NewPusher(options...); err != nil {
		return nil, fmt.Errorf("push %s: %w", to.Place, err)
	}
	for _, other := range to.Near {
		if err := p.lookAt(ctx, other, to.Access); err != nil {
			return nil, err
		}
	}
	w, err := p.push(ctx, ref)
	if err != nil {
		return nil, fmt.Errorf("push %s: %w", to.Place, images.RegistryError(ref, err))
	}
	return w, nil
}

type pushing struct {
	*Closure
	repository name.Repository
	pusher     *remote.Pusher
	near       map[v1.Hash]name.Reference // where else the registry has blobs
}

// lookAt finds what another place of the registry has.
func (p *pushing) lookAt(ctx context.Context, place images.Place, access images.Access) error {
	ref, options, err := place.Remote(ctx, access)
	if err != nil {
		return fmt.Errorf("look at %s: %w", place, err)
	}
	if ref.Context().RegistryStr() != p.repository.RegistryStr() {
		return fmt.Errorf("look at %s: it is of another registry than %s", place, p.repository)
	}
	got, err := remote.Get(ref, options...)
	if err != nil {
		return fmt.Errorf("look at %s: %w", place, images.RegistryError(ref, err))
	}
	other, err := decodeManifest(got.Manifest)
	if err != nil {
		return fmt.Errorf("look at %s: %w", place, err)
	}
	for _, d := range other.blobs {
		p.near[d.Digest] = ref
	}
	return nil
}

func (p *pushing) push(ctx context.Context, ref name.Reference) (*Written, error) {
	grouped, err := p.group()
	if err != nil {
		return nil, err
	}
	groups := grouped.groups
	layers := make([]v1.Descriptor, len(groups)+1)
	tasks, running := errgroup.WithContext(ctx)
	tasks.SetLimit(jobs)
	for i := range groups {
		tasks.Go(func() error {
			b, err := p.make(running, &groups[i])
			if err != nil {
				return err
			}
			layers[i+1] = b.Descriptor
			return errors.Join(p.upload(running, b), b.Close())
		})
	}
	if err := tasks.Wait(); err != nil {
		return nil, err
	}
	w := &Written{Blobs: len(groups)}
	for _, l := range layers {
		w.Size += l.Size
	}
	first, d, err := p.first()
	if err != nil {
		return nil, err
	}
	layers[0] = d
	for _, l := range []v1.Layer{static.NewLayer(first, ManifestType), static.NewLayer(emptyConfig, emptyType)} {
		if err := p.pusher.Upload(ctx, p.repository, l); err != nil {
			return nil, err
		}
	}
	manifest, err := grouped.manifest(layers)
	if err != nil {
		return nil, err
	}
	subject, err := describe(manifest, types.OCIManifestSchema1)
	if err != nil {
		return nil, err
	}
	w.Digest = subject.Digest
	// The signatures follow the manifest that they speak of, which has its name only when they are there.
	if err := p.pusher.Put(ctx, p.repository.Digest(subject.Digest.String()), raw(manifest)); err != nil {
		return nil, err
	}
	for _, note := range p.Notes {
		if err := p.sign(ctx, note, subject); err != nil {
			return nil, err
		}
	}
	if _, isTag := ref.(name.Tag); isTag {
		err = p.pusher.Put(ctx, ref, raw(manifest))
	} else if ref.Identifier() != subject.Digest.String() {
		err = fmt.Errorf("the closure has the digest %s, and not that of its name", subject.Digest)
	}
	return w, err
}

// upload sends a blob unless the registry has it.
func (p *pushing) upload(ctx context.Context, b *blob) error {
	var l v1.Layer = b
	if from, ok := p.near[b.Descriptor.Digest]; ok && from.Context().String() != p.repository.String() {
		l = &remote.MountableLayer{Layer: b, Reference: from}
	}
	return p.pusher.Upload(ctx, p.repository, l)
}

// sign sends a signature.
func (p *pushing) sign(ctx context.Context, note []byte, subject v1.Descriptor) error {
	b, d, err := signature(note, subject)
	if err != nil {
		return err
	}
	if err := p.pusher.Upload(ctx, p.repository, static.NewLayer(note, NoteType)); err != nil {
		return err
	}
	return p.pusher.Put(ctx, p.repository.Digest(d.Digest.String()), raw(b))
}
