package oci

import (
	"context"
	"errors"
	"fmt"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sync/errgroup"

	"github.com/hashpkg/hashpkg/closure/objects"
	"github.com/hashpkg/hashpkg/digest"
)

const (
	attempts = 3  // that is how often a blob is asked for that does not come whole
	reading  = 16 // that many blobs are asked for at a time: until a registry answers, nothing comes
)

// Name implements [objects.Source].
func (a *Artifact) Name() string { return a.name }

// Fetch implements [objects.Source]. Each blob is read once, whatever is wanted of it.
func (a *Artifact) Fetch(ctx context.Context, wants []objects.Want, got func(objects.Want, io.Reader) error) error {
	wanted := make(map[digest.Digest]objects.Want, len(wants))
	for _, w := range wants {
		wanted[w.BLAKE3] = w
	}
	tasks, running := errgroup.WithContext(ctx)
	tasks.SetLimit(reading)
	decoders := make(decoders, reading)
	var lacking error
	for _, g := range largestFirst(groupsOf(a.Manifest, a.said.own)) {
		of := map[digest.Digest]objects.Want{} // of this blob, each from one blob only
		for _, f := range g.files {
			if w, ok := wanted[f.blake3]; ok && w.Size == f.size {
				of[f.blake3] = w
				delete(wanted, f.blake3)
			}
		}
		if len(of) == 0 {
			continue
		}
		d, ok := a.said.blobs[g.key]
		if !ok {
			lacking = fmt.Errorf("it lacks the blob that has %s", g.files[0].path)
			continue
		}
		tasks.Go(func() error { return a.fetch(running, decoders, &g, d, of, got) })
	}
	return errors.Join(lacking, tasks.Wait())
}

// fetch brings files of one blob.
func (a *Artifact) fetch(ctx context.Context, with decoders, g *group, d v1.Descriptor, wants map[digest.Digest]objects.Want, got func(objects.Want, io.Reader) error) (err error) {
	if d.Size < 0 || d.Size > g.size+g.size/64+1<<20 {
		return fmt.Errorf("the blob %s is said to have %d bytes for %d", d.Digest, d.Size, g.size)
	}
	for range attempts {
		err = a.read(ctx, with, g, d, wants, got)
		var local *objects.LocalError
		if err == nil || ctx.Err() != nil || errors.As(err, &local) || errors.Is(err, objects.ErrWrong) {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("read the blob %s: %w", d.Digest, err)
	}
	return nil
}

// read goes through a blob once. What has come is no longer wanted.
func (a *Artifact) read(ctx context.Context, with decoders, g *group, d v1.Descriptor, wants map[digest.Digest]objects.Want, got func(objects.Want, io.Reader) error) error {
	w, end := watch(ctx)
	defer end()
	body, err := a.at.blob(w.ctx, d)
	if err != nil {
		return w.explain(err)
	}
	defer body.Close()
	packed := io.LimitReader(w.of(body), d.Size)
	z, err := with.of(packed)
	if err != nil {
		return w.explain(err)
	}
	defer with.put(z)
	var wrong error
	for _, f := range g.files {
		if len(wants) == 0 {
			break
		}
		r := io.LimitReader(z, f.size)
		if want, ok := wants[f.blake3]; ok {
			err := got(want, r)
			switch {
			case err == nil:
			case errors.Is(err, objects.ErrWrong):
				wrong = err
			default:
				return w.explain(err)
			}
			delete(wants, f.blake3)
		}
		if _, err := io.Copy(io.Discard, r); err != nil {
			return w.explain(err)
		}
	}
	if _, err := io.Copy(io.Discard, io.LimitReader(packed, 4<<10)); err != nil && wrong == nil && len(wants) > 0 { // so that the connection serves again
		return w.explain(err)
	}
	return wrong
}

// decoders are those that have done their work: the memory of each serves again.
type decoders chan *zstd.Decoder

// of returns one that decompresses r.
func (d decoders) of(r io.Reader) (*zstd.Decoder, error) {
	select {
	case z := <-d:
		return z, z.Reset(r)
	default:
		return unpacked(r)
	}
}

func (d decoders) put(z *zstd.Decoder) {
	select {
	case d <- z:
	default:
		z.Close()
	}
}
