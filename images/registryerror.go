package images

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/hashpkg/hashpkg/internal/advice"
)

// registryError says what to do about what a registry answers, or that it does not.
func registryError(ref name.Reference, err error) error {
	host := ref.Context().RegistryStr()
	var answer *transport.Error
	var certificate *tls.CertificateVerificationError
	var lookup *net.DNSError
	var dial *net.OpError
	switch {
	case errors.Is(err, errPlain):
		return fmt.Errorf("%s: %w", host, errPlain)
	case errors.As(err, &answer):
		return answerError(ref, answer)
	case errors.As(err, &certificate):
		return advice.Errorf("the certificate of %s is not to be trusted: %w; if it is of an authority of your own, put that one's certificate into /etc/containers/certs.d/%s/ca.crt", host, certificate.Err, certificateName(host))
	case errors.As(err, &lookup):
		return advice.Errorf("there is no machine %s: %w; look at the name of the registry", lookup.Name, lookup)
	case errors.As(err, &dial) && dial.Op == "dial":
		return advice.Errorf("%s does not answer: %w; look whether the registry runs there", host, dial.Err)
	}
	return err
}

// answerError says what to do about an answer that is an error.
func answerError(ref name.Reference, answer *transport.Error) error {
	host, status := ref.Context().RegistryStr(), answer.StatusCode
	said := saidBy(answer)
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden:
		if login, err := (logins{}).Resolve(ref.Context()); err == nil && login != authn.Anonymous {
			return advice.Errorf("%s does not allow it with the login that there is for it (%s); look whether it may do this, or log in again with docker login or podman login", host, said)
		}
		return advice.Errorf("%s does not allow it without a login (%s); log in with docker login, podman login or skopeo login", host, said)
	case http.StatusNotFound:
		return fmt.Errorf("%s has no %s (%s)", host, strings.TrimPrefix(ref.Name(), host+"/"), said)
	case http.StatusMethodNotAllowed:
		return advice.Errorf("%s takes no images (%s): it may be read only, or a mirror of another one; name one that does", host, said)
	case http.StatusRequestEntityTooLarge:
		return advice.Errorf("%s takes no layer of that size (%s); raise the limit of the server, or of the proxy before it", host, said)
	case http.StatusTooManyRequests:
		return advice.Errorf("%s is asked too often (%s); wait, and run it again: what was sent stays there", host, said)
	}
	if status >= http.StatusInternalServerError {
		return advice.Errorf("%s has failed (%s); its log says why. What was sent stays there: run it again when it is mended", host, said)
	}
	return fmt.Errorf("%s refuses it (%s)", host, said)
}

// maxSaid bounds what is shown of an answer.
const maxSaid = 200

// saidBy returns the status of an answer, and the first of its own words, which may be anything.
func saidBy(answer *transport.Error) string {
	said := fmt.Sprintf("HTTP status %d", answer.StatusCode)
	if len(answer.Errors) == 0 || answer.Errors[0].Message == "" {
		return said
	}
	words := []rune(strings.ToValidUTF8(answer.Errors[0].Message, "?"))
	for i, r := range words {
		if r < ' ' || r == 0x7f {
			words[i] = '?'
		}
	}
	return said + ": " + string(words[:min(len(words), maxSaid)])
}
