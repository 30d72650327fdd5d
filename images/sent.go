package images

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
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

// mountable is an image of whose layers a registry takes some from another of its repositories: a layer that it does not
// find there is sent.
type mountable struct {
	v1.Image
	layers []v1.Layer
}

// Layers implements [v1.Image].
func (m *mountable) Layers() ([]v1.Layer, error) { return m.layers, nil }

// mountables returns images for a repository as [mountable] where another one is known to have layers, and
// whether it has any.
func (l *Layers) mountables(to name.Repository, all []v1.Image) (out []v1.Image, found bool, err error) {
	for _, image := range all {
		layers, err := image.Layers()
		if err != nil {
			return nil, false, err
		}
		m := &mountable{image, slices.Clone(layers)}
		for i, layer := range m.layers {
			d, err := layer.Digest()
			if err != nil {
				return nil, false, err
			}
			if from, ok := l.sentTo(to.Registry, d); ok && from.RepositoryStr() != to.RepositoryStr() {
				m.layers[i], found = &remote.MountableLayer{Layer: layer, Reference: from.Tag(defaultTag)}, true
			}
		}
		out = append(out, m)
	}
	return out, found, nil
}

// isRefused reports whether a registry, or who gives logins for it, does not allow something.
func isRefused(err error) bool {
	var answer *transport.Error
	return errors.As(err, &answer) && (answer.StatusCode == http.StatusUnauthorized || answer.StatusCode == http.StatusForbidden)
}
