//go:build system

package e2e

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashpkg/hashpkg/internal/archive"
)

// cachingProxy is a proxy for hashpkg and apt that keeps what it has fetched in the
// tests' cache, by host and path, so that a second run needs no network. What is named
// by its version or digest is fetched once, and anything else once a day, if it can be.
type cachingProxy struct {
	dir string
}

// newCachingProxy starts one, and returns its address.
func newCachingProxy(t *testing.T) string {
	t.Helper()
	release, err := archive.Describe(t.Context(), archive.Options{Suite: "bookworm"}) // for where the cache is
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(&cachingProxy{filepath.Join(filepath.Dir(filepath.Dir(release.Dir)), "proxy")})
	t.Cleanup(server.Close)
	return server.URL
}

func (p *cachingProxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet || r.URL.Host == "" {
		http.Error(w, "it is a proxy for GET", http.StatusMethodNotAllowed)
		return
	}
	name := filepath.Join(p.dir, filepath.Join("/", r.URL.Host, r.URL.Path))
	info, err := os.Stat(name)
	forever := strings.Contains(r.URL.Path, "/pool/") || strings.Contains(r.URL.Path, "/by-hash/")
	if err != nil || !forever && time.Since(info.ModTime()) > 24*time.Hour {
		status, err := p.fetch(r, name)
		if status != http.StatusOK && status != 0 {
			http.Error(w, http.StatusText(status), status)
			return
		}
		if err != nil && info == nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
	}
	f, err := os.Open(name)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer f.Close()
	w.Header().Set("Content-Type", "application/octet-stream")
	http.ServeContent(w, r, "", time.Time{}, f)
}

// fetch writes a file of the cache. The status is 0 when nobody answers.
func (p *cachingProxy) fetch(r *http.Request, name string) (status int, err error) {
	request, err := http.NewRequestWithContext(r.Context(), http.MethodGet, r.URL.String(), nil)
	if err != nil {
		return 0, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return response.StatusCode, errors.New(response.Status)
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return 0, err
	}
	f, err := os.CreateTemp(filepath.Dir(name), ".fetch-")
	if err != nil {
		return 0, err
	}
	_, err = io.Copy(f, response.Body)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		return 0, errors.Join(err, os.Remove(f.Name()))
	}
	return http.StatusOK, nil
}
