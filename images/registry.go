package images

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// push sends an image, or several as an index, to a registry.
func (p Place) push(ctx context.Context, all []v1.Image, access Access) error {
	ref, options, err := p.remote(ctx, access)
	if err != nil {
		return err
	}
	sent, isMountable := all, false
	if access.Layers != nil {
		if sent, isMountable, err = access.Layers.mountables(ref.Context(), all); err != nil {
			return err
		}
	}
	err = p.send(ref, sent, options)
	if isMountable && isRefused(err) { // it may be the other repository that the login may not read
		err = p.send(ref, all, options)
	}
	if err != nil {
		return registryError(ref, err)
	}
	if access.Layers != nil {
		_ = access.Layers.noteSent(ref.Context(), all) // the image is there; without the note another repository is sent the layers, too
	}
	return nil
}

// send sends an image, or several as an index.
func (p Place) send(ref name.Reference, all []v1.Image, options []remote.Option) error {
	top, err := p.top(all)
	if err != nil {
		return err
	}
	switch top := top.(type) {
	case v1.Image:
		return remote.Write(ref, top, options...)
	case v1.ImageIndex:
		return remote.WriteIndex(ref, top, options...)
	}
	return errors.New("neither an image nor an index")
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
	transport, err := transportTo(certificateDirs(ref.Context().RegistryStr()))
	if err != nil {
		return nil, nil, err
	}
	t := &guarded{RoundTripper: transport, access: access}
	return ref, []remote.Option{
		remote.WithContext(ctx), remote.WithAuthFromKeychain(logins{}), remote.WithTransport(t), remote.WithUserAgent(access.UserAgent), remote.WithJobs(4),
	}, nil
}

// errPlain is what a request without TLS ends with, to another machine.
var errPlain = errors.New("it does not answer by TLS; with --plain-http it is spoken to without")

// guarded sends nothing without TLS to another machine unless that is wanted.
type guarded struct {
	http.RoundTripper
	access Access

	untrusted sync.Map // by host: the error of a certificate, after which nothing is sent there without TLS either
}

// RoundTrip implements [http.RoundTripper].
func (g *guarded) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme == "http" && !g.access.PlainHTTP && !isLoopback(r.URL.Hostname()) {
		return nil, errPlain
	}
	if err, ok := g.untrusted.Load(r.URL.Host); ok && r.URL.Scheme == "http" {
		return nil, err.(error)
	}
	if g.access.Sent != nil && r.Body != nil && r.Method != http.MethodGet {
		r = r.Clone(r.Context())
		r.Body = &counted{r.Body, g.access.Sent}
	}
	response, err := g.RoundTripper.RoundTrip(r)
	var certificate *tls.CertificateVerificationError
	if errors.As(err, &certificate) {
		g.untrusted.Store(r.URL.Host, err)
	}
	return response, err
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
