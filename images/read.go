package images

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	ocilayout "github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/hashpkg/hashpkg/internal/advice"
)

// Contents is what is known of an image, or of several for different platforms, without its layers.
type Contents struct {
	Digest   v1.Hash   // of what has the name
	Configs  []v1.Hash // of the configurations, by which images are the same whatever they are kept in
	Packages []Packaged
}

// Read returns what is in the image there, as its history says: see [Packages].
func (p Place) Read(ctx context.Context, access Access) (*Contents, error) {
	c := &Contents{}
	all, d, end, err := p.read(ctx, access)
	defer end()
	for _, image := range all {
		if err != nil {
			break
		}
		var config v1.Hash
		if config, err = image.ConfigName(); err != nil {
			break
		}
		var packages []Packaged
		packages, err = Packages(image)
		c.Configs, c.Packages = append(c.Configs, config), append(c.Packages, packages...)
	}
	if c.Digest = d; err != nil {
		return nil, fmt.Errorf("read %s: %w", p, err)
	}
	return c, nil
}

// verify returns an error if the manifest or the configuration of an image are not those of their digests.
func verify(image v1.Image, manifest v1.Hash) error {
	b, err := image.RawManifest()
	if err != nil {
		return err
	}
	if err := verifyBlob(b, manifest); err != nil {
		return err
	}
	m, err := image.Manifest()
	if err != nil {
		return err
	}
	config, err := image.RawConfigFile()
	if err != nil {
		return err
	}
	return verifyBlob(config, m.Config.Digest)
}

func verifyBlob(b []byte, want v1.Hash) error {
	if got, _, err := v1.SHA256(bytes.NewReader(b)); err != nil || got != want {
		return fmt.Errorf("its blob %s has other bytes than its digest says", want)
	}
	return nil
}

// read returns the images there, and the digest of what has the name. The caller calls end when it has read them.
func (p Place) read(ctx context.Context, access Access) (all []v1.Image, d v1.Hash, end func(), err error) {
	end = func() {}
	if p.Kind == KindOCIArchive {
		var temp string
		if temp, err = p.unpack(); err != nil {
			return nil, d, end, err
		}
		end = func() { os.RemoveAll(temp) } //nolint:errcheck // copies of a few small files
		p.Path = temp
		all, d, err = p.readLayout()
		return all, d, end, err
	}
	all, d, err = p.open(ctx, access)
	return all, d, end, err
}

// open is read for what needs not be unpacked.
func (p Place) open(ctx context.Context, access Access) ([]v1.Image, v1.Hash, error) {
	switch p.Kind {
	case KindRegistry:
		ref, options, err := p.remote(ctx, access)
		if err != nil {
			return nil, v1.Hash{}, err
		}
		got, err := remote.Get(ref, options...)
		if err != nil {
			return nil, v1.Hash{}, registryError(ref, err)
		}
		if got.MediaType.IsIndex() {
			index, err := got.ImageIndex()
			if err != nil {
				return nil, got.Digest, err
			}
			all, err := imagesOf(index)
			return all, got.Digest, err
		}
		image, err := got.Image()
		return []v1.Image{image}, got.Digest, err
	case KindOCI:
		return p.readLayout()
	case KindDockerArchive:
		image, err := tarball.ImageFromPath(p.Path, nil)
		if err != nil {
			return nil, v1.Hash{}, err
		}
		d, err := image.Digest()
		return []v1.Image{image}, d, err
	}
	return nil, v1.Hash{}, advice.Errorf("images are read from oci:, oci-archive:, docker-archive: and docker:// only; skopeo copy brings it there")
}

// maxIndexed bounds how many entries of an index are read.
const maxIndexed = 1000

// imagesOf returns the images of an index.
func imagesOf(index v1.ImageIndex) ([]v1.Image, error) {
	m, err := index.IndexManifest()
	if err != nil {
		return nil, err
	}
	if len(m.Manifests) > maxIndexed {
		return nil, fmt.Errorf("its index has more than %d entries", maxIndexed)
	}
	var all []v1.Image
	for _, d := range m.Manifests {
		if !d.MediaType.IsImage() {
			continue
		}
		image, err := index.Image(d.Digest)
		if err == nil {
			err = verify(image, d.Digest)
		}
		if err != nil {
			return nil, err
		}
		all = append(all, image)
	}
	return all, nil
}

// readLayout returns the images of an OCI image layout that have the tag.
func (p Place) readLayout() ([]v1.Image, v1.Hash, error) {
	if !isLayout(p.Path) {
		return nil, v1.Hash{}, fmt.Errorf("it is no OCI image layout: %w", fs.ErrNotExist)
	}
	index, err := ocilayout.ImageIndexFromPath(p.Path)
	if err != nil {
		return nil, v1.Hash{}, err
	}
	m, err := index.IndexManifest()
	if err != nil {
		return nil, v1.Hash{}, err
	}
	for _, d := range m.Manifests {
		if p.Tag != "" && d.Annotations[annotationRef] != p.Tag {
			continue
		}
		if d.MediaType.IsIndex() {
			below, err := index.ImageIndex(d.Digest)
			if err != nil {
				return nil, d.Digest, err
			}
			b, err := below.RawManifest()
			if err == nil {
				err = verifyBlob(b, d.Digest)
			}
			if err != nil {
				return nil, d.Digest, err
			}
			all, err := imagesOf(below)
			return all, d.Digest, err
		}
		image, err := index.Image(d.Digest)
		if err == nil {
			err = verify(image, d.Digest)
		}
		return []v1.Image{image}, d.Digest, err
	}
	if p.Tag == "" {
		return nil, v1.Hash{}, errors.New("it has no image")
	}
	return nil, v1.Hash{}, fmt.Errorf("it has no image with the tag %q", p.Tag)
}

// maxUnpacked bounds a file of an archive that is unpacked to be read: manifests and configurations, not layers.
const maxUnpacked = 16 << 20

// unpack unpacks an OCI image layout that is a tar archive into a directory of its own, which the caller removes: what is small of
// it, without layers.
func (p Place) unpack() (dir string, err error) {
	f, err := os.Open(p.Path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	temp, err := os.MkdirTemp("", "hashpkg-image-")
	if err != nil {
		return "", err
	}
	if err := unpackSmall(f, temp); err != nil {
		return "", errors.Join(err, os.RemoveAll(temp))
	}
	return temp, nil
}

// unpackSmall unpacks the regular files of a tar archive that are small and no layers.
func unpackSmall(f io.Reader, dir string) error {
	left := int64(4 * maxUnpacked)
	for t := tar.NewReader(f); ; {
		h, err := t.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("it is no tar archive: %w", err)
		}
		if h.Typeflag != tar.TypeReg || h.Size > maxUnpacked {
			continue
		}
		b := make([]byte, min(h.Size, 512))
		if _, err := io.ReadFull(t, b); err != nil {
			return err
		}
		if bytes.HasPrefix(b, []byte{0x1f, 0x8b}) || bytes.HasPrefix(b, []byte{0x28, 0xb5, 0x2f, 0xfd}) { // a layer
			continue
		}
		if left -= h.Size; left < 0 || !filepath.IsLocal(h.Name) {
			return errors.New("it is no OCI image layout")
		}
		rest, err := io.ReadAll(t)
		if err != nil {
			return err
		}
		at := filepath.Join(dir, h.Name)
		if err := os.MkdirAll(filepath.Dir(at), 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(at, append(b, rest...), 0o600); err != nil {
			return err
		}
	}
}
