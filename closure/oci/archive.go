package oci

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// layoutFile is what marks an OCI image layout.
const layoutFile = `{"imageLayoutVersion":"1.0.0"}`

// maxEntries bounds an archive: a manifest has no more blobs.
const maxEntries = 1 << 16

// Write writes a closure as a tar archive that is an OCI image layout. The same closure gives the same bytes.
func Write(ctx context.Context, c *Closure, to io.Writer) (*Written, error) {
	a := &archive{tar.NewWriter(to), map[v1.Hash]bool{}}
	grouped, err := c.group()
	if err != nil {
		return nil, err
	}
	groups := grouped.groups
	if err := a.begin(); err != nil {
		return nil, err
	}
	first, d, err := c.first()
	if err != nil {
		return nil, err
	}
	if _, err := a.add(first, ManifestType); err != nil {
		return nil, err
	}
	layers := []v1.Descriptor{d}
	w := &Written{Blobs: len(groups), Size: d.Size}
	for i := range groups {
		b, err := c.make(ctx, &groups[i])
		if err != nil {
			return nil, err
		}
		layers = append(layers, b.Descriptor)
		w.Size += b.Descriptor.Size
		if err := errors.Join(a.addBlob(b), b.Close()); err != nil {
			return nil, err
		}
	}
	manifest, err := grouped.manifest(layers)
	if err != nil {
		return nil, err
	}
	if _, err := a.add(emptyConfig, emptyType); err != nil {
		return nil, err
	}
	subject, err := a.add(manifest, types.OCIManifestSchema1)
	if err != nil {
		return nil, err
	}
	subject.ArtifactType = ArtifactType
	w.Digest = subject.Digest
	index := &v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: []v1.Descriptor{subject}}
	for _, note := range c.Notes {
		d, err := a.sign(note, subject)
		if err != nil {
			return nil, err
		}
		index.Manifests = append(index.Manifests, d)
	}
	b, err := json.Marshal(index)
	if err != nil {
		return nil, err
	}
	return w, errors.Join(a.file("index.json", b), a.w.Close())
}

// archive is an OCI image layout that is being written.
type archive struct {
	w   *tar.Writer
	has map[v1.Hash]bool
}

func (a *archive) header(name string, size int64) error {
	h := &tar.Header{Name: name, Mode: 0o644, Typeflag: tar.TypeReg, Size: size, ModTime: time.Unix(0, 0)}
	if name[len(name)-1] == '/' {
		h.Mode, h.Typeflag = 0o755, tar.TypeDir
	}
	return a.w.WriteHeader(h)
}

func (a *archive) file(name string, b []byte) error {
	if err := a.header(name, int64(len(b))); err != nil {
		return err
	}
	_, err := a.w.Write(b)
	return err
}

func (a *archive) begin() error {
	return errors.Join(a.file("oci-layout", []byte(layoutFile)), a.header("blobs/", 0), a.header("blobs/sha256/", 0))
}

// blobName returns where a layout has a blob.
func blobName(h v1.Hash) string { return "blobs/" + h.Algorithm + "/" + h.Hex }

// add adds a blob and returns its descriptor.
func (a *archive) add(b []byte, mediaType types.MediaType) (v1.Descriptor, error) {
	d, err := describe(b, mediaType)
	if err != nil || a.has[d.Digest] {
		return d, err
	}
	a.has[d.Digest] = true
	return d, a.file(blobName(d.Digest), b)
}

func (a *archive) addBlob(b *blob) error {
	d := b.Descriptor.Digest
	if a.has[d] {
		return nil
	}
	a.has[d] = true
	if err := a.header(blobName(d), b.Descriptor.Size); err != nil {
		return err
	}
	r, err := b.Compressed()
	if err != nil {
		return err
	}
	_, err = io.Copy(a.w, r)
	return errors.Join(err, r.Close())
}

// sign adds a signature and returns its descriptor.
func (a *archive) sign(note []byte, subject v1.Descriptor) (v1.Descriptor, error) {
	b, d, err := signature(note, subject)
	if err != nil {
		return d, err
	}
	_, err = a.add(note, NoteType)
	if err == nil {
		_, err = a.add(b, d.MediaType)
	}
	return d, err
}

// Archive is a closure in an archive that is open.
type Archive struct {
	*Artifact
	file *os.File
}

// Close closes the archive.
func (a *Archive) Close() error { return a.file.Close() }

// OpenArchive returns the closure in an OCI image layout that is a tar archive, which the caller closes.
// Nothing is unpacked: files are read where they are.
func OpenArchive(ctx context.Context, name string) (*Archive, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	a, err := openArchive(ctx, f)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("read %s: %w", name, err), f.Close())
	}
	return a, nil
}

func openArchive(ctx context.Context, f *os.File) (*Archive, error) {
	l := &layout{f, map[string]extent{}, nil}
	if err := l.find(); err != nil {
		return nil, err
	}
	if err := l.readIndex(ctx); err != nil {
		return nil, err
	}
	var found []byte
	for _, b := range l.manifests {
		if _, err := decodeManifest(b); err != nil {
			continue
		}
		if found != nil {
			return nil, errors.New("it has several closures")
		}
		found = b
	}
	if found == nil {
		return nil, errOther
	}
	a, err := open(ctx, f.Name(), found, l)
	if err != nil {
		return nil, err
	}
	return &Archive{a, f}, nil
}

// layout is an OCI image layout in an archive.
type layout struct {
	file      *os.File
	files     map[string]extent
	manifests [][]byte // of its index, verified
}

// extent is where a file of an archive is.
type extent struct{ offset, size int64 }

// find finds the files of an archive.
func (l *layout) find() error {
	for t := tar.NewReader(l.file); ; {
		h, err := t.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("it is no tar archive: %w", err)
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		at, err := l.file.Seek(0, io.SeekCurrent) // a reader of tar reads headers to their ends, and no further
		if err != nil {
			return err
		}
		name := path.Clean(h.Name)
		if _, twice := l.files[name]; twice {
			return fmt.Errorf("it has %s twice", name)
		}
		if len(l.files) == maxEntries {
			return fmt.Errorf("it has more than %d files", maxEntries)
		}
		l.files[name] = extent{at, h.Size}
	}
}

// readIndex reads the manifests that the index has.
func (l *layout) readIndex(ctx context.Context) error {
	e, ok := l.files["index.json"]
	if !ok {
		return errOther
	}
	if e.size > maxManifest {
		return fmt.Errorf("its index has %d bytes, and may have %d", e.size, maxManifest)
	}
	b := make([]byte, e.size)
	if _, err := l.file.ReadAt(b, e.offset); err != nil {
		return err
	}
	var index v1.IndexManifest
	if err := json.Unmarshal(b, &index); err != nil {
		return fmt.Errorf("read its index: %w", err)
	}
	if len(index.Manifests) > maxSignatures {
		return fmt.Errorf("its index has more than %d manifests", maxSignatures)
	}
	for _, d := range index.Manifests {
		if d.MediaType != types.OCIManifestSchema1 {
			continue
		}
		b, err := whole(ctx, l, d, maxManifest)
		if err != nil {
			return err
		}
		l.manifests = append(l.manifests, b)
	}
	return nil
}

func (l *layout) blob(_ context.Context, d v1.Descriptor) (io.ReadCloser, error) {
	e, ok := l.files[blobName(d.Digest)]
	if !ok {
		return nil, fmt.Errorf("it has no blob %s", d.Digest)
	}
	return io.NopCloser(io.NewSectionReader(l.file, e.offset, e.size)), nil
}

func (l *layout) signatures(context.Context, v1.Hash) ([]*v1.Manifest, error) {
	var all []*v1.Manifest
	for _, b := range l.manifests {
		m, err := signatureManifest(b)
		if err != nil {
			return all, err
		}
		all = append(all, m)
	}
	return all, nil
}
