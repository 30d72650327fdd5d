package oci

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/zstd"

	"github.com/hashpkg/hashpkg/closure"
	"github.com/hashpkg/hashpkg/images"
)

// The bounds of what is read before it is verified.
const (
	maxWindow     = 8 << 20 // of zstd, in bytes: pack writes no larger one
	maxNote       = 1 << 20 // bytes of a signature
	maxSignatures = 64      // of one closure
)

// Artifact is a closure somewhere. It is a [objects.Source] of the files of its manifest.
type Artifact struct {
	Digest   v1.Hash // of the artifact's manifest
	Manifest *closure.Manifest
	name     string
	said     *decoded
	at       place
}

// place is where blobs are.
type place interface {
	// blob returns the bytes of a blob, of which nothing is verified.
	blob(ctx context.Context, d v1.Descriptor) (io.ReadCloser, error)
	// signatures returns the manifests of signatures of a closure, verified, and why others could not be had.
	signatures(ctx context.Context, of v1.Hash) ([]*v1.Manifest, error)
}

// Pull returns the closure at a place of a registry. Its files come when they are asked for.
func Pull(ctx context.Context, from Registry) (*Artifact, error) {
	fail := func(err error) (*Artifact, error) { return nil, fmt.Errorf("pull %s: %w", from.Place, err) }
	ref, options, err := from.Place.Remote(ctx, from.Access)
	if err != nil {
		return fail(err)
	}
	puller, err := remote.NewPuller(options...)
	if err != nil {
		return fail(err)
	}
	r := &repository{ref.Context(), puller, options}
	watched, end := watch(ctx)
	got, err := puller.Get(watched.ctx, ref)
	if err = watched.explain(err); err == nil {
		end()
		a, err := open(ctx, "the registry's "+from.Place.String(), got.Manifest, r)
		if err != nil {
			return fail(images.RegistryError(ref, err))
		}
		return a, nil
	}
	end()
	return fail(images.RegistryError(ref, err))
}

// open reads the manifests of a closure.
func open(ctx context.Context, name string, manifest []byte, at place) (*Artifact, error) {
	said, err := decodeManifest(manifest)
	if err != nil {
		return nil, err
	}
	a := &Artifact{name: name, said: said, at: at}
	d, err := describe(manifest, types.OCIManifestSchema1)
	if err != nil {
		return nil, err
	}
	a.Digest = d.Digest
	packed, err := whole(ctx, at, said.first, closure.MaxSize)
	if err != nil {
		return nil, fmt.Errorf("read its closure manifest: %w", err)
	}
	z, err := unpacked(bytes.NewReader(packed))
	if err != nil {
		return nil, err
	}
	defer z.Close()
	text, err := io.ReadAll(io.LimitReader(z, closure.MaxSize+1))
	if err != nil {
		return nil, fmt.Errorf("read its closure manifest: %w", err)
	}
	a.Manifest, err = closure.Decode(text)
	return a, err
}

// whole returns the bytes of a blob of at most so many, compared with its digest.
func whole(ctx context.Context, at place, d v1.Descriptor, most int64) ([]byte, error) {
	if d.Size < 0 || d.Size > most {
		return nil, fmt.Errorf("the blob %s is said to have %d bytes, and may have %d", d.Digest, d.Size, most)
	}
	w, end := watch(ctx)
	defer end()
	r, err := at.blob(w.ctx, d)
	if err != nil {
		return nil, w.explain(err)
	}
	defer r.Close()
	b, err := io.ReadAll(io.LimitReader(w.of(r), d.Size+1))
	if err != nil {
		return nil, w.explain(err)
	}
	if got, err := describe(b, d.MediaType); err != nil || got.Digest != d.Digest || got.Size != d.Size {
		return nil, fmt.Errorf("the blob %s has other bytes than its digest says", d.Digest)
	}
	return b, nil
}

// unpacked decompresses a blob.
func unpacked(r io.Reader) (*zstd.Decoder, error) {
	return zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow),
		zstd.WithDecoderMaxMemory(math.MaxInt64), zstd.IgnoreChecksum(true)) // who reads bounds what is read, and compares digests
}

// Notes returns the signatures of the closure, which are its readers' to verify, and why others could not be
// had.
func (a *Artifact) Notes(ctx context.Context) ([][]byte, error) {
	all, err := a.at.signatures(ctx, a.Digest)
	errs := []error{err}
	var notes [][]byte
	for _, m := range all {
		if m.ArtifactType != SignatureType || m.Subject == nil || m.Subject.Digest != a.Digest || len(m.Layers) != 1 {
			continue
		}
		note, err := whole(ctx, a.at, m.Layers[0], maxNote)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		notes = append(notes, note)
	}
	if err := errors.Join(errs...); err != nil {
		return notes, fmt.Errorf("read the signatures of %s: %w", a.name, err)
	}
	return notes, nil
}

// repository is a place in a registry.
type repository struct {
	name    name.Repository
	puller  *remote.Puller
	options []remote.Option
}

func (r *repository) blob(ctx context.Context, d v1.Descriptor) (io.ReadCloser, error) {
	ref := r.name.Digest(d.Digest.String())
	l, err := r.puller.Layer(ctx, ref)
	if err != nil {
		return nil, err
	}
	b, err := l.Compressed()
	return b, images.RegistryError(ref, err)
}

func (r *repository) signatures(ctx context.Context, of v1.Hash) ([]*v1.Manifest, error) {
	w, end := watch(ctx)
	defer end()
	options := append([]remote.Option{}, r.options...)
	options = append(options, remote.WithContext(w.ctx), remote.WithFilter("artifactType", SignatureType))
	index, err := remote.Referrers(r.name.Digest(of.String()), options...)
	if err != nil {
		return nil, images.RegistryError(r.name.Digest(of.String()), w.explain(err))
	}
	listed, err := index.IndexManifest()
	if err != nil {
		return nil, err
	}
	var all []*v1.Manifest
	var errs []error
	for _, d := range listed.Manifests[:min(len(listed.Manifests), maxSignatures)] {
		got, err := r.puller.Get(w.ctx, r.name.Digest(d.Digest.String())) // which is verified there
		if err == nil {
			var m *v1.Manifest
			if m, err = signatureManifest(got.Manifest); err == nil {
				all = append(all, m)
			}
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", d.Digest, w.explain(err)))
		}
	}
	return all, errors.Join(errs...)
}

func signatureManifest(b []byte) (*v1.Manifest, error) {
	var m v1.Manifest
	if len(b) > maxManifest {
		return nil, fmt.Errorf("a manifest has %d bytes, and may have %d", len(b), maxManifest)
	}
	return &m, json.Unmarshal(b, &m)
}
