package oci_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/klauspost/compress/zstd"

	"github.com/hashpkg/hashpkg/closure"
	"github.com/hashpkg/hashpkg/closure/objects"
	"github.com/hashpkg/hashpkg/closure/oci"
)

// lying is a proxy before a registry that changes the bodies of answers.
type lying struct {
	http.Handler
	change func(path string, body []byte) (int, []byte) // a status, and what is answered
}

func (l *lying) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet {
		l.Handler.ServeHTTP(w, r)
		return
	}
	said := httptest.NewRecorder()
	l.Handler.ServeHTTP(said, r)
	status, body := said.Code, said.Body.Bytes()
	if strings.Contains(r.URL.Path, "/r/") { // not the first question, whether it is a registry
		status, body = l.change(r.URL.Path, body)
	}
	for k, v := range said.Header() {
		w.Header()[k] = v
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	w.Write(body)
}

func packed(t *testing.T, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := zstd.NewWriter(&out)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// TestBadRegistries has registries that lie: nothing that is wrong gets a name, and all of them are found out.
func TestBadRegistries(t *testing.T) {
	f := files{}
	c := f.made(t, f.pkg("one", 1))
	real := newRegistry()
	w, _ := push(t, c, at(t, server(t, real), "r:tag"))
	manifest := func(path string) bool { return strings.Contains(path, "/manifests/") }
	other := packed(t, bytes.Repeat([]byte{7}, 1<<20))
	bomb := packed(t, make([]byte, 1<<28+1<<20))
	rewritten := func(change func(*v1.Manifest)) func(string, []byte) (int, []byte) {
		return func(path string, b []byte) (int, []byte) {
			if !manifest(path) {
				return 200, b
			}
			var m v1.Manifest
			if err := json.Unmarshal(b, &m); err != nil {
				t.Error(err)
			}
			change(&m)
			b, err := json.Marshal(&m)
			if err != nil {
				t.Error(err)
			}
			return 200, b
		}
	}
	blobs := func(change func([]byte) (int, []byte)) func(string, []byte) (int, []byte) {
		n := 0
		return func(path string, b []byte) (int, []byte) {
			if !strings.Contains(path, "/blobs/") {
				return 200, b
			}
			if n++; n == 1 { // the closure manifest
				return 200, b
			}
			return change(b)
		}
	}
	for name, l := range map[string]struct {
		change func(string, []byte) (int, []byte)
		digest bool // it is asked for by its digest
		pulled bool // the closure manifest is not what is wrong
		want   string
	}{
		"another manifest for a digest": {rewritten(func(m *v1.Manifest) { m.Annotations = map[string]string{"a": "b"} }), true, false, "digest"},
		"an image":                      {rewritten(func(m *v1.Manifest) { m.ArtifactType = "" }), false, false, "no closure"},
		"no JSON":                       {func(string, []byte) (int, []byte) { return 200, []byte("<html>") }, false, false, "no closure"},
		"a long manifest":               {func(_ string, b []byte) (int, []byte) { return 200, append(b, make([]byte, 5<<20)...) }, false, false, "may have"},
		"no size of blobs":              {rewritten(func(m *v1.Manifest) { m.Annotations = nil }), false, false, "is no number"},
		"a size of its own":             {rewritten(func(m *v1.Manifest) { m.Layers[0].Size = 1 << 50 }), false, false, "may have"},
		"a negative size":               {rewritten(func(m *v1.Manifest) { m.Layers[1].Size = -1 }), false, true, "is said to have"},
		"a large blob":                  {rewritten(func(m *v1.Manifest) { m.Layers[1].Size = 1 << 40 }), false, true, "is said to have"},
		"layers in each other's place": {rewritten(func(m *v1.Manifest) {
			m.Layers[1].Annotations, m.Layers[2].Annotations = m.Layers[2].Annotations, m.Layers[1].Annotations
		}), false, true, "not those that were asked for"},
		"another size of blobs": {rewritten(func(m *v1.Manifest) { m.Annotations["org.hashpkg.own-blob"] = "-1" }), false, true, "lacks the blob"},
		"a layer left out":      {rewritten(func(m *v1.Manifest) { m.Layers = m.Layers[:2] }), false, true, "lacks the blob"},
		"another closure manifest": {func(p string, b []byte) (int, []byte) {
			return 200, map[bool][]byte{true: b, false: other}[manifest(p)]
		}, false, false, "closure manifest"},
		"blobs of other bytes":      {blobs(func([]byte) (int, []byte) { return 200, other }), false, true, "could be had nowhere"},
		"bytes of the same length":  {blobs(func(b []byte) (int, []byte) { return 200, make([]byte, len(b)) }), false, true, "could be had nowhere"},
		"half of each blob":         {blobs(func(b []byte) (int, []byte) { return 200, b[:len(b)/2] }), false, true, "could be had nowhere"},
		"nothing":                   {blobs(func([]byte) (int, []byte) { return 200, nil }), false, true, "could be had nowhere"},
		"a bomb in place of a blob": {blobs(func([]byte) (int, []byte) { return 200, bomb }), false, true, "could be had nowhere"},
		"blobs that are gone":       {blobs(func([]byte) (int, []byte) { return 404, []byte("{}") }), false, true, "404"},
	} {
		t.Run(name, func(t *testing.T) {
			s := server(t, &lying{real, l.change})
			from := at(t, s, "r:tag")
			if l.digest {
				from = at(t, s, "r@"+w.Digest.String())
			}
			a, err := oci.Pull(context.Background(), from)
			if (err == nil) != l.pulled {
				t.Fatalf("pull: %v", err)
			}
			if err == nil {
				d, path := dir(t)
				err = fetch(a, d)
				check(t, path)
				var missing *objects.MissingError
				if !errors.As(err, &missing) {
					t.Errorf("fetch: %v", err)
				}
			}
			if err == nil || !strings.Contains(err.Error(), l.want) {
				t.Errorf("error %v, want one about %q", err, l.want)
			}
		})
	}
}

// TestBadOnce has each blob broken off when it is asked for first, in the middle or before it is one at all. All files come.
func TestBadOnce(t *testing.T) {
	f := files{}
	var packages []closure.Package
	for i := range 20 {
		packages = append(packages, f.pkg(fmt.Sprintf("p%d", i), uint64(100*i)))
	}
	real := newRegistry()
	push(t, f.made(t, packages...), at(t, server(t, real), "r:tag"))
	var mu sync.Mutex
	asked := map[string]bool{}
	s := server(t, &lying{real, func(path string, b []byte) (int, []byte) {
		mu.Lock()
		defer mu.Unlock()
		if asked[path] || !asked["closure"] || !strings.Contains(path, "/blobs/") {
			return 200, b
		}
		asked[path] = true
		if len(asked)%3 == 0 {
			return 200, []byte("<html>")
		}
		return 200, b[:len(b)/2]
	}})
	a, err := oci.Pull(context.Background(), at(t, s, "r:tag"))
	if err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	asked["closure"] = true // it has come
	mu.Unlock()
	d, path := dir(t)
	if err := fetch(a, d); err != nil {
		t.Fatal(err)
	}
	if n := check(t, path); n != len(f) || len(asked) != 61 {
		t.Errorf("%d of %d files came of %d blobs", n, len(f), len(asked)-1)
	}
}

// TestUnknownTag says which tag a registry has not.
func TestUnknownTag(t *testing.T) {
	f := files{}
	s := server(t, newRegistry())
	push(t, f.made(t, f.pkg("one", 1)), at(t, s, "r:tag"))
	if _, err := oci.Pull(t.Context(), at(t, s, "r:other")); err == nil || !strings.Contains(err.Error(), "has no r:other (HTTP status 404") {
		t.Errorf("%v", err)
	}
}

// TestManifestBomb has a closure manifest that unpacks to more than one may have, under its own right digest.
func TestManifestBomb(t *testing.T) {
	bomb := packed(t, make([]byte, closure.MaxSize+1))
	f := files{}
	c := f.made(t, f.pkg("one", 1))
	real := newRegistry()
	push(t, c, at(t, server(t, real), "r:tag"))
	s := server(t, &lying{real, func(path string, b []byte) (int, []byte) {
		if !strings.Contains(path, "/manifests/") {
			return 200, bomb
		}
		var m v1.Manifest
		if err := json.Unmarshal(b, &m); err != nil {
			t.Error(err)
		}
		h, n, err := v1.SHA256(bytes.NewReader(bomb))
		if err != nil {
			t.Error(err)
		}
		m.Layers[0].Digest, m.Layers[0].Size = h, n
		b, err = json.Marshal(&m)
		if err != nil {
			t.Error(err)
		}
		return 200, b
	}})
	if _, err := oci.Pull(context.Background(), at(t, s, "r:tag")); err == nil || !strings.Contains(err.Error(), "may have") {
		t.Errorf("error %v", err)
	}
}

// TestSecretStays has a login that a registry refuses, whose password no message has.
func TestSecretStays(t *testing.T) {
	s := server(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
		w.WriteHeader(http.StatusUnauthorized)
		io.WriteString(w, `{"errors":[{"code":"UNAUTHORIZED","message":"expired"}]}`)
	}))
	config := t.TempDir()
	t.Setenv("DOCKER_CONFIG", config)
	host := strings.TrimPrefix(s.URL, "http://")
	writeFile(t, config+"/config.json", `{"auths":{"`+host+`":{"username":"me","password":"hunter2"}}}`)
	f := files{}
	_, pulled := oci.Pull(context.Background(), at(t, s, "r:tag"))
	_, pushed := oci.Push(context.Background(), f.made(t, f.pkg("one", 1)), at(t, s, "r:tag"))
	for _, err := range []error{pulled, pushed} {
		if err == nil || strings.Contains(err.Error(), "hunter2") || !strings.Contains(err.Error(), "401") {
			t.Errorf("error %v", err)
		}
	}
}
