package images

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
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

// maxMetadata bounds a manifest, an index and a configuration, in bytes. Registries take manifests of 4 MiB.
const maxMetadata = 16 << 20

// errTooLarge returns the error for more than that.
func errTooLarge(what any) error {
	return fmt.Errorf("%v has more than %d MiB, and should be a manifest or a configuration", what, maxMetadata>>20)
}

// verify returns an error if the manifest or the configuration of an image are not those of their digests, or too
// large. check, if not nil, is called with their digests before they are read.
func verify(image v1.Image, manifest v1.Hash, check func(v1.Hash) error) error {
	if check == nil {
		check = func(v1.Hash) error { return nil }
	}
	if err := check(manifest); err != nil {
		return err
	}
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
	if m.Config.Size > maxMetadata {
		return errTooLarge(m.Config.Digest)
	}
	if err := check(m.Config.Digest); err != nil {
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
			all, err := imagesOf(index, nil)
			return all, got.Digest, err
		}
		image, err := got.Image()
		if err == nil {
			err = verify(image, got.Digest, nil)
		}
		return []v1.Image{image}, got.Digest, err
	case KindOCI:
		return p.readLayout()
	case KindDockerArchive:
		if err := checkDockerArchive(p.Path); err != nil {
			return nil, v1.Hash{}, err
		}
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

// imagesOf returns the images of an index. For check see [verify].
func imagesOf(index v1.ImageIndex, check func(v1.Hash) error) ([]v1.Image, error) {
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
			err = verify(image, d.Digest, check)
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
	if err := checkFile(filepath.Join(p.Path, "index.json")); err != nil {
		return nil, v1.Hash{}, err
	}
	check := func(h v1.Hash) error { return checkFile(filepath.Join(p.Path, "blobs", h.Algorithm, h.Hex)) }
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
		if err := check(d.Digest); err != nil {
			return nil, d.Digest, err
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
			all, err := imagesOf(below, check)
			return all, d.Digest, err
		}
		image, err := index.Image(d.Digest)
		if err == nil {
			err = verify(image, d.Digest, check)
		}
		return []v1.Image{image}, d.Digest, err
	}
	if p.Tag == "" {
		return nil, v1.Hash{}, errors.New("it has no image")
	}
	return nil, v1.Hash{}, fmt.Errorf("it has no image with the tag %q", p.Tag)
}

// checkFile returns an error for a file that is too large to be read at once.
func checkFile(name string) error {
	info, err := os.Stat(name)
	if err == nil && info.Size() > maxMetadata {
		err = errTooLarge(name)
	}
	return err
}

// maxArchived bounds how many files an archive of an image has.
const maxArchived = 10_000

// dockerManifest is the file of an archive that says which its images are.
const dockerManifest = "manifest.json"

// checkDockerArchive returns an error if the manifest or the configuration of an archive are too large to be read, or
// others than these may be opened by their names.
func checkDockerArchive(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	found := map[string]*tar.Header{}
	twice := map[string]bool{}
	var manifest tarball.Manifest
	for t := tar.NewReader(f); ; {
		h, err := t.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return fmt.Errorf("it is no tar archive: %w", err)
		}
		if len(found) == maxArchived {
			return fmt.Errorf("it has more than %d files", maxArchived)
		}
		name := path.Clean(h.Name)
		twice[name] = twice[name] || found[name] != nil
		found[name] = h
		if name != dockerManifest {
			continue
		}
		if err := checkArchived(name, h, twice[name]); err != nil {
			return err
		}
		if err := json.NewDecoder(t).Decode(&manifest); err != nil {
			return fmt.Errorf("read %s: %w", name, err)
		}
	}
	for _, d := range manifest {
		name := path.Clean(d.Config)
		if err := checkArchived(name, found[name], twice[name]); err != nil {
			return err
		}
	}
	return nil
}

// checkArchived returns an error for a file of an archive that is not to be read at once. h is nil where there is none.
func checkArchived(name string, h *tar.Header, isTwice bool) error {
	switch {
	case h == nil:
		return fmt.Errorf("it has no %s", name)
	case isTwice:
		return fmt.Errorf("it has %s twice", name)
	case h.Typeflag == tar.TypeSymlink || h.Typeflag == tar.TypeLink:
		return fmt.Errorf("its %s is a link", name)
	case h.Size > maxMetadata:
		return errTooLarge(name)
	}
	return nil
}

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
	left := int64(4 * maxMetadata)
	for t := tar.NewReader(f); ; {
		h, err := t.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("it is no tar archive: %w", err)
		}
		if h.Typeflag != tar.TypeReg || h.Size > maxMetadata {
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
