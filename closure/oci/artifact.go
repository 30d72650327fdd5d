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

// Annotations of layers, see the package's documentation.
const (
	annotationKey  = "org.hashpkg.blake3"
	annotationSize = "org.hashpkg.size"
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

// encodeManifest returns the manifest of an artifact.
func encodeManifest(artifactType string, layers []v1.Descriptor, subject *v1.Descriptor) ([]byte, error) {
	config, err := describe(emptyConfig, emptyType)
	if err != nil {
		return nil, err
	}
	b, err := json.Marshal(&v1.Manifest{
		SchemaVersion: 2, MediaType: types.OCIManifestSchema1, ArtifactType: artifactType, Config: config, Layers: layers, Subject: subject,
	})
	if err == nil && len(b) > maxManifest {
		err = advice.Errorf("its manifest has %d bytes for %d blobs, and registries take %d; put fewer programs into one closure", len(b), len(layers), maxManifest)
	}
	return b, err
}

// checkNumber returns an error for a closure of more files than an artifact may have.
func checkNumber(groups []group) error {
	layers := make([]v1.Descriptor, 1, len(groups)+1)
	for i := range groups {
		layers = append(layers, groups[i].annotated(v1.Descriptor{Digest: v1.Hash{Algorithm: "sha256", Hex: groups[i].key.String()}, Size: groups[i].size}))
	}
	_, err := encodeManifest(ArtifactType, layers, nil)
	return err
}

// errOther is what is at a place that has no closure.
var errOther = errors.New("it is no closure that hashpkg push or hashpkg export has put there")

// decodeManifest reads the manifest of a closure. It returns the descriptors of the closure manifest, and of
// the other blobs by their keys.
func decodeManifest(b []byte) (first v1.Descriptor, blobs map[digest.Digest]v1.Descriptor, err error) {
	if len(b) > maxManifest {
		return first, nil, fmt.Errorf("its manifest has %d bytes, and may have %d", len(b), maxManifest)
	}
	var m v1.Manifest
	if err := json.Unmarshal(b, &m); err != nil {
		return first, nil, fmt.Errorf("%w: %w", errOther, err)
	}
	if m.ArtifactType != ArtifactType || len(m.Layers) == 0 || m.Layers[0].MediaType != ManifestType {
		return first, nil, errOther
	}
	blobs = make(map[digest.Digest]v1.Descriptor, len(m.Layers))
	for _, d := range m.Layers[1:] {
		key, err := digest.Parse(d.Annotations[annotationKey])
		if err != nil || d.MediaType != ObjectType && d.MediaType != PackType {
			continue // of a later form: what is lacking is said then
		}
		blobs[key] = d
	}
	return m.Layers[0], blobs, nil
}
