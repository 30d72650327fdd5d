package oci

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/hashpkg/hashpkg/closure"
	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/internal/advice"
)

// The types of what an artifact is made of.
const (
	ArtifactType  = "application/vnd.hashpkg.closure.v1"
	ManifestType  = closure.MediaType + "+zstd"
	ObjectType    = "application/vnd.hashpkg.object.v1+zstd"
	PackType      = "application/vnd.hashpkg.pack.v1+zstd"
	SignatureType = "application/vnd.hashpkg.signature.v1"
	NoteType      = "text/plain; charset=utf-8"

	emptyType = "application/vnd.oci.empty.v1+json" // OCI image specification 1.1, "guidance for an empty descriptor"
)

// Annotations of layers, and of the manifest, see the package's documentation.
const (
	annotationKey  = "org.hashpkg.blake3"
	annotationSize = "org.hashpkg.size"
	annotationOwn  = "org.hashpkg.own-blob"
)

// emptyConfig is the configuration of what has none.
var emptyConfig = []byte("{}")

// maxManifest is how many bytes a manifest may have: registries take no larger ones.
const maxManifest = 4 << 20

// describe returns the descriptor of bytes.
func describe(b []byte, mediaType types.MediaType) (v1.Descriptor, error) {
	h, n, err := v1.SHA256(bytes.NewReader(b))
	return v1.Descriptor{MediaType: mediaType, Digest: h, Size: n}, err
}

// annotated returns a descriptor with the annotations of a group's blob.
func (g *group) annotated(d v1.Descriptor) v1.Descriptor {
	d.MediaType = ObjectType
	if g.pack {
		d.MediaType = PackType
	}
	d.Annotations = map[string]string{annotationKey: g.key.String(), annotationSize: strconv.FormatInt(g.size, 10)}
	return d
}

// encodeManifest returns a manifest.
func encodeManifest(m *v1.Manifest) ([]byte, error) {
	config, err := describe(emptyConfig, emptyType)
	if err != nil {
		return nil, err
	}
	m.SchemaVersion, m.MediaType, m.Config = 2, types.OCIManifestSchema1, config
	b, err := json.Marshal(m)
	if err == nil && len(b) > maxManifest {
		err = advice.Errorf("its manifest has %d bytes for %d blobs, and registries take %d; put fewer programs into one closure", len(b), len(m.Layers), maxManifest)
	}
	return b, err
}

// manifest returns the manifest of an artifact with the layers of a closure.
func (g *grouped) manifest(layers []v1.Descriptor) ([]byte, error) {
	return encodeManifest(&v1.Manifest{ArtifactType: ArtifactType, Layers: layers, Annotations: map[string]string{annotationOwn: strconv.FormatInt(g.own, 10)}})
}

// checkNumber returns an error for more blobs than an artifact may have.
func (g *grouped) checkNumber() error {
	layers := make([]v1.Descriptor, 1, len(g.groups)+1)
	for i := range g.groups {
		of := &g.groups[i]
		layers = append(layers, of.annotated(v1.Descriptor{Digest: v1.Hash{Algorithm: "sha256", Hex: of.key.String()}, Size: of.size}))
	}
	_, err := g.manifest(layers)
	return err
}

// errOther is what is at a place that has no closure.
var errOther = errors.New("it is no closure that hashpkg push or hashpkg export has put there")

// decoded is what the manifest of a closure says.
type decoded struct {
	first v1.Descriptor                   // of the closure manifest
	blobs map[digest.Digest]v1.Descriptor // the others, by their keys
	own   int64                           // a file of more bytes is a blob of its own
}

// decodeManifest reads the manifest of a closure.
func decodeManifest(b []byte) (*decoded, error) {
	if len(b) > maxManifest {
		return nil, fmt.Errorf("its manifest has %d bytes, and may have %d", len(b), maxManifest)
	}
	var m v1.Manifest
	if err := json.Unmarshal(b, &m); err != nil {
		return nil, fmt.Errorf("%w: %w", errOther, err)
	}
	if m.ArtifactType != ArtifactType || len(m.Layers) == 0 || m.Layers[0].MediaType != ManifestType {
		return nil, errOther
	}
	own, err := strconv.ParseInt(m.Annotations[annotationOwn], 10, 64)
	if err != nil {
		return nil, fmt.Errorf("%w: its annotation %s is no number", errOther, annotationOwn)
	}
	blobs := make(map[digest.Digest]v1.Descriptor, len(m.Layers))
	for _, d := range m.Layers[1:] {
		key, err := digest.Parse(d.Annotations[annotationKey])
		if err != nil || d.MediaType != ObjectType && d.MediaType != PackType {
			continue // of a later form: what is lacking is said then
		}
		blobs[key] = d
	}
	return &decoded{m.Layers[0], blobs, own}, nil
}
