package images

import (
	"archive/tar"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	ocilayout "github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/internal/advice"
	"github.com/hashpkg/hashpkg/internal/scratch"
)

// Kind is a form in which images are kept.
type Kind string

// The forms, by the names that containers' tools have for them (containers-transports(5)).
const (
	KindOCI           Kind = "oci"            // a directory: OCI image layout
	KindOCIArchive    Kind = "oci-archive"    // the same as a tar archive
	KindDockerArchive Kind = "docker-archive" // what docker load reads
	KindDir           Kind = "dir"            // a directory as skopeo has it: manifest.json, and blobs by their digests
	KindRegistry      Kind = "docker"         // a repository of a registry
	KindErofs         Kind = "erofs"          // a file system, which is no form of OCI and cannot be read again
)

// kinds are all forms.
var kinds = []Kind{KindOCI, KindOCIArchive, KindDockerArchive, KindDir, KindRegistry, KindErofs}

// defaultTag is the tag of an image where none is named.
const defaultTag = "latest"

// tempPrefix begins the names of what is being written.
const tempPrefix = ".hashpkg-image-"

// annotationRef has the tag of an image in a layout (OCI image specification, "annotations").
const annotationRef = "org.opencontainers.image.ref.name"

// Place is where an image is, or will be.
type Place struct {
	Kind Kind
	Path string // of a file or directory
	Tag  string // "" for none
	Ref  name.Reference
}

// PlaceError is the error for a text that names no place.
type PlaceError struct {
	Text, Reason string
}

func (e *PlaceError) Error() string { return fmt.Sprintf("%s: %s", e.Text, e.Reason) }

// isLayoutName matches what an image may be called in a layout: a tag, or the whole name that it is loaded by (OCI image
// specification, "annotations").
var isLayoutName = regexp.MustCompile(`^[A-Za-z0-9]+((--|[-._:@+])[A-Za-z0-9]+)*(/[A-Za-z0-9]+((--|[-._:@+])[A-Za-z0-9]+)*)*$`)

// ParsePlace reads "oci:DIR[:NAME]", "oci-archive:FILE[:NAME]", "docker-archive:FILE[:REFERENCE]", "dir:DIR", "erofs:FILE" or
// "docker://REGISTRY/REPOSITORY[:TAG]". The error is a *[PlaceError].
func ParsePlace(text string) (Place, error) {
	kind, rest, ok := strings.Cut(text, ":")
	p := Place{Kind: Kind(kind)}
	if !ok || !slices.Contains(kinds, p.Kind) || rest == "" {
		return p, &PlaceError{text, "expected oci:DIR, oci-archive:FILE, docker-archive:FILE, dir:DIR, erofs:FILE or docker://REGISTRY/REPOSITORY:TAG"}
	}
	if p.Kind == KindRegistry {
		rest, ok = strings.CutPrefix(rest, "//")
		if !ok {
			return p, &PlaceError{text, "expected docker://REGISTRY/REPOSITORY:TAG"}
		}
		ref, err := name.ParseReference(rest)
		if err != nil {
			return p, &PlaceError{text, "this is no name of an image: expected docker://REGISTRY/REPOSITORY:TAG"}
		}
		p.Ref = ref
		return p, nil
	}
	p.Path = rest
	if p.Kind != KindDir && p.Kind != KindErofs {
		if file, tag, hasTag := strings.Cut(rest, ":"); hasTag {
			if file == "" || tag == "" || p.Kind != KindDockerArchive && !isLayoutName.MatchString(tag) {
				return p, &PlaceError{text, "expected " + kind + ":PATH:NAME"}
			}
			p.Path, p.Tag = file, tag
		}
	}
	return p, nil
}

// String returns what [ParsePlace] reads.
func (p Place) String() string {
	if p.Kind == KindRegistry {
		return "docker://" + p.Ref.String()
	}
	if p.Tag != "" {
		return string(p.Kind) + ":" + p.Path + ":" + p.Tag
	}
	return string(p.Kind) + ":" + p.Path
}

// Access says how registries are reached.
type Access struct {
	PlainHTTP bool // without TLS; to this machine itself it may always be so
	UserAgent string
	// Sent, if not nil, counts the bytes that were sent as contents.
	Sent *atomic.Int64
	// Layers, if not nil, remember which repositories have got them, for a registry to take them from there.
	Layers *Layers
}

// Write puts an image there, or several for different platforms as one index, and returns the digest of what has the
// name: the manifest or the index. A file or directory takes its name when it is whole, and one of the same form that
// has the name is replaced. A registry gets what it has not, the manifest last.
func (p Place) Write(ctx context.Context, all []v1.Image, access Access) (v1.Hash, error) {
	top, err := p.top(all)
	if err != nil {
		return v1.Hash{}, err
	}
	d, err := top.Digest()
	if err != nil {
		return v1.Hash{}, err
	}
	if err := p.checkNumber(len(all)); err != nil {
		return d, err
	}
	switch p.Kind {
	case KindRegistry:
		err = p.push(ctx, all, access)
	case KindOCI:
		err = p.replaceDir(func(temp string) error { return p.writeLayout(temp, top) })
	case KindDir:
		err = p.replaceDir(func(temp string) error { return writeDir(temp, all[0]) })
	case KindOCIArchive:
		err = replaceFile(p.Path, func(f *os.File) error { return p.writeLayoutArchive(f, top) })
	case KindDockerArchive:
		err = replaceFile(p.Path, func(f *os.File) error { return p.writeDockerArchive(f, all[0]) })
	case KindErofs:
		err = replaceFile(p.Path, func(f *os.File) error { return writeErofs(ctx, f, all[0]) })
	}
	switch {
	case errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT):
		return d, advice.Errorf("write %s: %w; make room there, or name another place with -o", p, err)
	case err != nil:
		return d, fmt.Errorf("write %s: %w", p, err)
	}
	return d, nil
}

// item is an image or an index.
type item interface {
	remote.Taggable
	Digest() (v1.Hash, error)
}

// top returns what has the name: an image, or an index of several.
func (p Place) top(all []v1.Image) (item, error) {
	if len(all) == 1 {
		return all[0], nil
	}
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, image := range all {
		file, err := image.ConfigFile()
		if err != nil {
			return nil, err
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: image, Descriptor: v1.Descriptor{
			MediaType: types.OCIManifestSchema1, Platform: &v1.Platform{OS: file.OS, Architecture: file.Architecture, Variant: file.Variant},
		}})
	}
	return index, nil
}

// writeLayout writes an OCI image layout with one image or index.
func (p Place) writeLayout(dir string, top item) error {
	l, err := ocilayout.Write(dir, mutate.IndexMediaType(empty.Index, types.OCIImageIndex))
	if err != nil {
		return err
	}
	annotated := ocilayout.WithAnnotations(map[string]string{annotationRef: p.tag()})
	switch top := top.(type) {
	case v1.Image:
		file, err := top.ConfigFile()
		if err != nil {
			return err
		}
		return l.AppendImage(top, annotated, ocilayout.WithPlatform(v1.Platform{OS: file.OS, Architecture: file.Architecture, Variant: file.Variant}))
	case v1.ImageIndex:
		return l.AppendIndex(top, annotated)
	}
	return errors.New("neither an image nor an index")
}

// writeLayoutArchive writes an OCI image layout as a tar archive.
func (p Place) writeLayoutArchive(f *os.File, top item) error {
	temp, err := scratch.Dir(filepath.Dir(f.Name()), tempPrefix)
	if err != nil {
		return err
	}
	err = p.writeLayout(temp.Path, top)
	if err == nil {
		err = archive(f, temp.Path)
	}
	return errors.Join(err, temp.Close())
}

// archive writes a directory as a tar archive, sorted, without what is of this machine.
func archive(w io.Writer, top string) error {
	t := tar.NewWriter(w)
	err := filepath.WalkDir(top, func(p string, e fs.DirEntry, err error) error {
		if err != nil || p == top {
			return err
		}
		rel, err := filepath.Rel(top, p)
		if err != nil {
			return err
		}
		h := &tar.Header{Name: rel, Mode: 0o644, Typeflag: tar.TypeReg, ModTime: entryTime, Format: tar.FormatPAX}
		if e.IsDir() {
			h.Name, h.Mode, h.Typeflag = rel+"/", 0o755, tar.TypeDir
			return t.WriteHeader(h)
		}
		f, err := os.Open(p)
		if err != nil {
			return err
		}
		defer f.Close()
		info, err := f.Stat()
		if err != nil {
			return err
		}
		h.Size = info.Size()
		if err := t.WriteHeader(h); err != nil {
			return err
		}
		_, err = io.Copy(t, f)
		return err
	})
	return errors.Join(err, t.Close())
}

// writeDockerArchive writes what docker load reads.
func (p Place) writeDockerArchive(f *os.File, image v1.Image) error {
	text := p.Tag
	if text == "" {
		base := filepath.Base(p.Path)
		text = strings.ToLower(strings.TrimSuffix(base, filepath.Ext(base))) + ":" + defaultTag
	}
	ref, err := name.NewTag(text)
	if err != nil {
		return advice.Errorf("%s is no name of an image; say which with docker-archive:%s:NAME:TAG", text, p.Path)
	}
	return tarball.Write(ref, image, f)
}

// writeDir writes a directory as skopeo has it.
func writeDir(dir string, image v1.Image) error {
	manifest, err := image.RawManifest()
	if err != nil {
		return err
	}
	config, err := image.RawConfigFile()
	if err != nil {
		return err
	}
	name, err := image.ConfigName()
	if err != nil {
		return err
	}
	for file, b := range map[string][]byte{"version": []byte(dirVersion + ": 1.1\n"), "manifest.json": manifest, name.Hex: config} {
		if err := os.WriteFile(filepath.Join(dir, file), b, 0o644); err != nil {
			return err
		}
	}
	layers, err := image.Layers()
	if err != nil {
		return err
	}
	for _, l := range layers {
		if err := writeBlob(dir, l); err != nil {
			return err
		}
	}
	return nil
}

func writeBlob(dir string, l v1.Layer) (err error) {
	d, err := l.Digest()
	if err != nil {
		return err
	}
	from, err := l.Compressed()
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := os.OpenFile(filepath.Join(dir, d.Hex), os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	_, err = io.Copy(to, from)
	return errors.Join(err, to.Close())
}

// isLayout reports whether a directory is an OCI image layout.
func isLayout(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "oci-layout"))
	return err == nil
}

// tag returns the tag of an image in a layout.
func (p Place) tag() string { return cmp.Or(p.Tag, defaultTag) }

// checkNumber returns an error for more images than it holds.
func (p Place) checkNumber(images int) error {
	if images > 1 && (p.Kind == KindDockerArchive || p.Kind == KindDir || p.Kind == KindErofs) {
		return advice.Errorf("%s: it holds an image of one architecture; use oci:, oci-archive: or docker:// for several", p)
	}
	return nil
}

// Check returns an error if so many images cannot be written there: what would be found out only when they are made.
func (p Place) Check(ctx context.Context, images int) error {
	if err := p.checkNumber(images); err != nil {
		return err
	}
	if p.Kind == KindRegistry {
		return nil
	}
	if p.Kind == KindErofs {
		if _, err := checkErofs(ctx); err != nil {
			return fmt.Errorf("write %s: %w", p, err)
		}
	}
	parent := filepath.Dir(filepath.Clean(p.Path))
	if err := unix.Access(parent, unix.W_OK|unix.X_OK); err != nil {
		return fmt.Errorf("write %s: %w", p, &fs.PathError{Op: "open", Path: parent, Err: err})
	}
	info, err := os.Stat(p.Path)
	if err != nil {
		return nil // it is made, or the error comes then
	}
	switch p.Kind {
	case KindOCI, KindDir:
		_, err = p.canReplace()
	default:
		if !info.Mode().IsRegular() {
			err = advice.Errorf("%s is no regular file; name one that is not there", p.Path)
		}
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", p, err)
	}
	return nil
}

// Size returns how many bytes the layers of images have, each once.
func Size(all []v1.Image) (bytes int64, layers int, err error) {
	seen := map[v1.Hash]bool{}
	for _, image := range all {
		m, err := image.Manifest()
		if err != nil {
			return 0, 0, err
		}
		for _, l := range m.Layers {
			if !seen[l.Digest] {
				seen[l.Digest] = true
				bytes += l.Size
				layers++
			}
		}
	}
	return bytes, layers, nil
}
