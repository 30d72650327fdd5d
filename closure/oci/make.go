package oci

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/hashpkg/hashpkg/closure"
	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/internal/pack"
	"github.com/hashpkg/hashpkg/internal/scratch"
	"github.com/hashpkg/hashpkg/internal/unpack"
)

// Closure is what is put somewhere.
type Closure struct {
	Manifest *closure.Manifest
	// Open returns the bytes of a file, which are verified.
	Open func(digest.Digest) (io.ReadCloser, error)
	// Notes are signatures of the manifest.
	Notes [][]byte
	// Temp is a directory for blobs on their way.
	Temp string

	own int64 // in place of ownBlob, if not 0
}

// level is how well blobs are packed. What it gives is what registries know blobs by: another one would have
// all sent again.
const level = 3

// tempPrefix begins the names of blobs on their way.
const tempPrefix = ".hashpkg-blob-"

// blob is one that was made. It implements [v1.Layer]; whoever has it closes it.
type blob struct {
	v1.Descriptor
	file *scratch.Scratch
}

// make makes the blob of a group.
func (c *Closure) make(ctx context.Context, g *group) (*blob, error) {
	file, err := scratch.File(c.Temp, tempPrefix)
	if err != nil {
		return nil, err
	}
	sum := sha256.New()
	size := &length{}
	err = compress(io.MultiWriter(file.File, sum, size), func(w io.Writer) error {
		for _, f := range g.files {
			if err := errors.Join(ctx.Err(), c.copy(w, f)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	d := g.annotated(v1.Descriptor{Size: size.n, Digest: v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(sum.Sum(nil))}})
	return &blob{d, file}, nil
}

// length counts what is written.
type length struct{ n int64 }

func (l *length) Write(b []byte) (int, error) {
	l.n += int64(len(b))
	return len(b), nil
}

// copy writes the bytes of a file.
func (c *Closure) copy(w io.Writer, f member) error {
	r, err := c.Open(f.blake3)
	if err != nil {
		return fmt.Errorf("read %s: %w", f.path, err)
	}
	defer r.Close()
	n, err := io.Copy(w, digest.VerifyReader(r, f.blake3))
	if err == nil && n != f.size {
		err = fmt.Errorf("it has %d bytes, and should have %d", n, f.size)
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", f.path, err)
	}
	return nil
}

// compress writes a blob of what write writes.
func compress(to io.Writer, write func(io.Writer) error) error {
	w, err := pack.NewWriter(to, unpack.Zstd, level)
	if err != nil {
		return err
	}
	return errors.Join(write(w), w.Close())
}

// first returns the blob of the closure manifest.
func (c *Closure) first() ([]byte, v1.Descriptor, error) {
	text, err := c.Manifest.Encode()
	if err != nil {
		return nil, v1.Descriptor{}, err
	}
	if len(text) > closure.MaxSize {
		return nil, v1.Descriptor{}, fmt.Errorf("the closure manifest has %d bytes, and may have %d", len(text), closure.MaxSize)
	}
	var b bytes.Buffer
	err = compress(&b, func(w io.Writer) error {
		_, err := w.Write(text)
		return err
	})
	if err != nil {
		return nil, v1.Descriptor{}, err
	}
	d, err := describe(b.Bytes(), ManifestType)
	return b.Bytes(), d, err
}

// signature returns the manifest of a signature and its descriptor.
func signature(note []byte, subject v1.Descriptor) ([]byte, v1.Descriptor, error) {
	layer, err := describe(note, NoteType)
	if err != nil {
		return nil, v1.Descriptor{}, err
	}
	subject.Annotations = nil
	b, err := encodeManifest(&v1.Manifest{ArtifactType: SignatureType, Layers: []v1.Descriptor{layer}, Subject: &subject})
	if err != nil {
		return nil, v1.Descriptor{}, err
	}
	d, err := describe(b, types.OCIManifestSchema1)
	d.ArtifactType = SignatureType
	return b, d, err
}

// Close removes what was made.
func (b *blob) Close() error { return b.file.Close() }

// Digest implements [v1.Layer].
func (b *blob) Digest() (v1.Hash, error) { return b.Descriptor.Digest, nil }

// DiffID implements [v1.Layer].
func (b *blob) DiffID() (v1.Hash, error) { return v1.Hash{}, errors.New("it is no layer of an image") }

// Compressed implements [v1.Layer].
func (b *blob) Compressed() (io.ReadCloser, error) {
	return io.NopCloser(io.NewSectionReader(b.file.File, 0, b.Descriptor.Size)), nil
}

// Uncompressed implements [v1.Layer].
func (b *blob) Uncompressed() (io.ReadCloser, error) { return b.Compressed() }

// Size implements [v1.Layer].
func (b *blob) Size() (int64, error) { return b.Descriptor.Size, nil }

// MediaType implements [v1.Layer].
func (b *blob) MediaType() (types.MediaType, error) { return b.Descriptor.MediaType, nil }
