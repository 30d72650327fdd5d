package images

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync/atomic"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/hashpkg/hashpkg/internal/advice"
)

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
