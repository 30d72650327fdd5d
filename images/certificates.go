package images

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// certificateDirs returns the directories in which containers' tools look for the certificates of a registry, such as
// "registry.example.org:5000" (containers-certs.d(5)).
func certificateDirs(registry string) (dirs []string) {
	registry = certificateName(registry)
	if config, err := os.UserConfigDir(); err == nil {
		dirs = append(dirs, filepath.Join(config, "containers/certs.d", registry))
	}
	return append(dirs, filepath.Join("/etc/containers/certs.d", registry), filepath.Join("/etc/docker/certs.d", registry))
}

// certificateName returns the name that a registry has there.
func certificateName(registry string) string {
	if registry == name.DefaultRegistry {
		return "docker.io"
	}
	return registry
}

// transportTo returns what speaks to a registry: its certificate may be of an authority that the machine trusts, or of one
// in dirs, the files *.crt there. Of *.cert and *.key it has a certificate of its own.
// What the user may not read is passed over: less is trusted then.
func transportTo(dirs []string) (*http.Transport, error) {
	t, ok := remote.DefaultTransport.(*http.Transport)
	if !ok {
		return nil, errors.New("the library's transport is none of net/http")
	}
	t = t.Clone()
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	for _, dir := range dirs {
		entries, err := os.ReadDir(dir)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read certificates: %w", err)
		}
		for _, e := range entries {
			if err := addCertificate(config, filepath.Join(dir, e.Name())); err != nil && !errors.Is(err, fs.ErrPermission) {
				return nil, fmt.Errorf("read certificates: %w", err)
			}
		}
	}
	t.TLSClientConfig = config
	return t, nil
}

// addCertificate adds what a file of such a directory has.
func addCertificate(config *tls.Config, file string) error {
	switch filepath.Ext(file) {
	case ".crt":
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if config.RootCAs == nil {
			if config.RootCAs, err = x509.SystemCertPool(); err != nil {
				return err
			}
		}
		if !config.RootCAs.AppendCertsFromPEM(text) {
			return fmt.Errorf("%s has no certificate in PEM", file)
		}
	case ".cert":
		own, err := tls.LoadX509KeyPair(file, strings.TrimSuffix(file, ".cert")+".key")
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		config.Certificates = append(config.Certificates, own)
	}
	return nil
}
