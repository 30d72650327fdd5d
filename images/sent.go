package images

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// maxRepository bounds the record of where a layer is.
const maxRepository = 1 << 10

// sentName returns the name of the record that says in which repository of a registry a layer is.
func sentName(registry string, layer v1.Hash) string {
	sum := sha256.Sum256([]byte(registry))
	return layer.Hex + "-" + hex.EncodeToString(sum[:8]) + ".sent"
}

// noteSent records that a repository has the layers of images, for those that other repositories of its registry get.
func (l *Layers) noteSent(repository name.Repository, all []v1.Image) error {
	for _, image := range all {
		m, err := image.Manifest()
		if err != nil {
			return err
		}
		for _, d := range m.Layers {
			if err := l.dir.WriteFile(sentName(repository.RegistryStr(), d.Digest), []byte(repository.RepositoryStr()+"\n"), 0o644); err != nil {
				return fmt.Errorf("note where layers are: %w", err)
			}
		}
	}
	return nil
}

// sentTo returns the repository of a registry that got a layer. It may have lost it since.
func (l *Layers) sentTo(registry name.Registry, layer v1.Hash) (name.Repository, bool) {
	b, err := l.dir.ReadFile(sentName(registry.RegistryStr(), layer), maxRepository)
	if err != nil {
		return name.Repository{}, false
	}
	var how []name.Option
	if registry.Scheme() == "http" {
		how = append(how, name.Insecure)
	}
	r, err := name.NewRepository(registry.RegistryStr()+"/"+strings.TrimSpace(string(b)), how...)
	return r, err == nil
}

// mountable is an image whose layers a registry takes from another of its repositories, where
// one is known to have them: a layer that it does not find there is sent.
type mountable struct {
	v1.Image
	to     name.Repository
	layers *Layers
}

// Layers implements [v1.Image].
func (m *mountable) Layers() ([]v1.Layer, error) {
	all, err := m.Image.Layers()
	if err != nil {
		return nil, err
	}
	out := make([]v1.Layer, len(all))
	for i, l := range all {
		d, err := l.Digest()
		if err != nil {
			return nil, err
		}
		out[i] = l
		if from, ok := m.layers.sentTo(m.to.Registry, d); ok && from.RepositoryStr() != m.to.RepositoryStr() {
			out[i] = &remote.MountableLayer{Layer: l, Reference: from.Tag(defaultTag)}
		}
	}
	return out, nil
}
