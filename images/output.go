package images

import (
	"archive/tar"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	ocilayout "github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
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

// ParsePlace reads "oci:DIR[:TAG]", "oci-archive:FILE[:TAG]", "docker-archive:FILE[:REFERENCE]", "dir:DIR", "erofs:FILE" or
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
			if file == "" || tag == "" || p.Kind != KindDockerArchive && strings.ContainsAny(tag, "/:") {
				return p, &PlaceError{text, "expected " + kind + ":PATH:TAG"}
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
		err = p.push(ctx, top, access)
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

// isWholeLayout reports whether a directory has all that an OCI image layout has, and nothing else.
func isWholeLayout(dir string) bool {
	has, ok := namesOf(dir, func(e fs.DirEntry) bool {
		switch e.Name() {
		case "oci-layout", "index.json":
			return e.Type().IsRegular()
		}
		return e.Name() == "blobs" && e.IsDir()
	})
	if !ok || !has["oci-layout"] || !has["index.json"] {
		return false
	}
	if !has["blobs"] {
		return true
	}
	algorithms, ok := namesOf(filepath.Join(dir, "blobs"), func(e fs.DirEntry) bool { return e.IsDir() })
	for algorithm := range algorithms {
		_, isBlobs := namesOf(filepath.Join(dir, "blobs", algorithm), func(e fs.DirEntry) bool {
			return e.Type().IsRegular() && isHex.MatchString(e.Name())
		})
		ok = ok && isBlobs
	}
	return ok
}

// isHex matches a digest, as blobs have it for a name.
var isHex = regexp.MustCompile(`^[0-9a-f]{64,128}$`)

// isSkopeoDir reports whether a directory has all that one of skopeo's has, and nothing else: signatures, and
// manifests of an index, stand beside the blobs (containers-transports(5)).
func isSkopeoDir(dir string) bool {
	has, ok := namesOf(dir, func(e fs.DirEntry) bool {
		name := e.Name()
		return e.Type().IsRegular() && (name == "version" || name == "manifest.json" || isHex.MatchString(strings.TrimSuffix(name, ".manifest.json")) || isSignature.MatchString(name))
	})
	if !ok || !has["manifest.json"] || !has["version"] {
		return false
	}
	version, err := os.ReadFile(filepath.Join(dir, "version"))
	return err == nil && strings.HasPrefix(string(version), dirVersion)
}

// isSignature matches the names of signatures in a directory of skopeo's.
var isSignature = regexp.MustCompile(`^([0-9a-f]{64}\.)?signature-[0-9]+$`)

// dirVersion begins the file by which a directory of skopeo's is known.
const dirVersion = "Directory Transport Version"

// namesOf returns the names in a directory, and whether it can be read and all are good.
func namesOf(dir string, good func(fs.DirEntry) bool) (map[string]bool, bool) {
	entries, err := os.ReadDir(dir)
	names := map[string]bool{}
	for _, e := range entries {
		names[e.Name()] = true
		if !good(e) {
			return nil, false
		}
	}
	return names, err == nil
}

// replaceDir has write fill a new directory, which then takes the place of the one that is there: see canReplace.
func (p Place) replaceDir(write func(temp string) error) error {
	dir, err := p.canReplace()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	isThere := err == nil
	temp, err := scratch.Dir(filepath.Dir(dir), tempPrefix)
	if err != nil {
		return err
	}
	err = write(temp.Path)
	if err == nil {
		err = publicDir(temp.Path)
	}
	switch {
	case err != nil:
	case isThere:
		err = exchange(temp.Path, dir)
	default:
		err = os.Rename(temp.Path, dir)
	}
	return errors.Join(err, temp.Close())
}

// exchange gives two directories each other's names, or where the file system cannot do that, removes the second one first.
func exchange(a, b string) error {
	err := unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) {
		if err := os.RemoveAll(b); err != nil {
			return err
		}
		return os.Rename(a, b)
	}
	return err
}

// publicDir gives directories and files the modes that they have whatever the umask is.
func publicDir(top string) error {
	return filepath.WalkDir(top, func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.IsDir() {
			return os.Chmod(p, 0o755)
		}
		return os.Chmod(p, 0o644)
	})
}

// replaceFile has write fill a new file, which then takes the place of name.
func replaceFile(name string, write func(f *os.File) error) error {
	if info, err := os.Stat(name); err == nil && !info.Mode().IsRegular() {
		return advice.Errorf("%s is no regular file; name one that is not there", name)
	}
	temp, err := scratch.File(filepath.Dir(name), tempPrefix)
	if err != nil {
		return err
	}
	err = write(temp.File)
	if err == nil {
		err = temp.File.Chmod(0o644)
	}
	if err == nil {
		err = os.Rename(temp.Path, name)
	}
	return errors.Join(err, temp.Close())
}

// push sends an image or index to a registry.
func (p Place) push(ctx context.Context, top item, access Access) error {
	ref, options, err := p.remote(ctx, access)
	if err != nil {
		return err
	}
	switch top := top.(type) {
	case v1.Image:
		err = remote.Write(ref, top, options...)
	case v1.ImageIndex:
		err = remote.WriteIndex(ref, top, options...)
	}
	return registryError(ref, err)
}

// remote returns how a registry is reached.
func (p Place) remote(ctx context.Context, access Access) (name.Reference, []remote.Option, error) {
	var how []name.Option
	if access.PlainHTTP {
		how = append(how, name.Insecure)
	}
	ref, err := name.ParseReference(p.Ref.String(), how...)
	if err != nil {
		return nil, nil, err
	}
	t := &guarded{remote.DefaultTransport, access}
	return ref, []remote.Option{
		remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain), remote.WithTransport(t), remote.WithUserAgent(access.UserAgent), remote.WithJobs(4),
	}, nil
}

// errPlain is what a request without TLS ends with, to another machine.
var errPlain = errors.New("it does not answer by TLS; with --plain-http it is spoken to without")

// guarded sends nothing without TLS to another machine unless that is wanted.
type guarded struct {
	http.RoundTripper
	access Access
}

// RoundTrip implements [http.RoundTripper].
func (g *guarded) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme == "http" && !g.access.PlainHTTP && !isLoopback(r.URL.Hostname()) {
		return nil, errPlain
	}
	if g.access.Sent != nil && r.Body != nil && r.Method != http.MethodGet {
		r = r.Clone(r.Context())
		r.Body = &counted{r.Body, g.access.Sent}
	}
	return g.RoundTripper.RoundTrip(r)
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// counted counts what is read.
type counted struct {
	io.ReadCloser
	n *atomic.Int64
}

func (c *counted) Read(b []byte) (int, error) {
	n, err := c.ReadCloser.Read(b)
	c.n.Add(int64(n))
	return n, err
}

// registryError says what to do about what a registry answers.
func registryError(ref name.Reference, err error) error {
	var answer *transport.Error
	switch {
	case err == nil:
		return nil
	case errors.Is(err, errPlain):
		return fmt.Errorf("%s: %w", ref.Context().RegistryStr(), errPlain)
	case errors.As(err, &answer) && (answer.StatusCode == http.StatusUnauthorized || answer.StatusCode == http.StatusForbidden):
		return advice.Errorf("%s does not allow it (HTTP status %d); log in with docker login or skopeo login --compat-auth-file ~/.docker/config.json", ref.Context().RegistryStr(), answer.StatusCode)
	case errors.As(err, &answer) && answer.StatusCode == http.StatusNotFound:
		return fmt.Errorf("%s has no %s (HTTP status 404)", ref.Context().RegistryStr(), ref.Context().RepositoryStr())
	}
	return err
}

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

// canReplace returns where a directory is that an image would replace, behind symbolic links, and an error if that
// would lose anything but an image of the same name.
func (p Place) canReplace() (dir string, err error) {
	dir = filepath.Clean(p.Path)
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return dir, err
	}
	entries, err := os.ReadDir(real)
	switch {
	case err != nil || len(entries) == 0:
		return real, err
	case p.Kind == KindDir && !isSkopeoDir(real), p.Kind == KindOCI && !isWholeLayout(real):
		return real, advice.Errorf("%s is a directory with other files; name one that is not there", p.Path)
	case p.Kind == KindDir:
		return real, nil
	}
	other, err := otherTags(real, p.tag())
	if err == nil && len(other) > 0 {
		err = advice.Errorf("%s has another image (%s), which would be lost; name a directory that is not there, or remove this one first", p.Path, strings.Join(other, ", "))
	}
	return real, err
}

// otherTags returns the tags of a layout but one; the digest of what has none.
func otherTags(dir, tag string) ([]string, error) {
	l, err := ocilayout.FromPath(dir)
	if err != nil {
		return nil, err
	}
	index, err := l.ImageIndex()
	if err != nil {
		return nil, err
	}
	m, err := index.IndexManifest()
	if err != nil {
		return nil, err
	}
	var other []string
	for _, d := range m.Manifests {
		if has := d.Annotations[annotationRef]; has != tag {
			other = append(other, cmp.Or(has, d.Digest.String()))
		}
	}
	return other, nil
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
