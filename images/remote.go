package images

import (
	"context"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// Remote returns how the registry of a place is reached, for who keeps something else there than images: by
// the same logins, and without TLS only where an image is sent so.
func (p Place) Remote(ctx context.Context, access Access) (name.Reference, []remote.Option, error) {
	return p.remote(ctx, access)
}

// RegistryError says what to do about what a registry answers.
func RegistryError(ref name.Reference, err error) error { return registryError(ref, err) }
