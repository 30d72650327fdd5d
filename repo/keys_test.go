package repo

import (
	"errors"
	"io/fs"
	"os"
	"testing"

	"github.com/hashpkg/hashpkg/backends"
	"github.com/hashpkg/hashpkg/internal/testneed"
)

// TestKeyRoot looks for keys that only this machine has, for sources of another root.
func TestKeyRoot(t *testing.T) {
	const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"
	if _, err := os.Stat(keyring); err != nil || testing.Short() {
		testneed.Unmet(t, "it needs ", keyring)
	}
	for _, test := range []struct {
		file, key string
		isFound   bool
	}{
		{"", keyring, true},
		{SourcesDir + "/trixie.sources", keyring, true},
		{"/etc/apt/sources.list", keyring, false},
		{"/etc/apt/sources.list.d/x.sources", keyring, false},
		{"", "/etc/passwd", false},
		{SourcesDir + "/trixie.sources", "/etc/passwd", false},
		{SourcesDir + "/trixie.sources", "/usr/share/keyrings/../../../etc/passwd", false},
	} {
		root, end, err := newFixture(t, nil).keyRoot(&backends.Source{File: test.file})
		if err != nil {
			t.Fatal(err)
		}
		b, err := root.ReadFile(test.key, 1<<20)
		if isFound := err == nil && len(b) > 0; isFound != test.isFound || err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s for a source of %q: %d bytes, %v", test.key, test.file, len(b), err)
		}
		end()
	}
	f := newFixture(t, map[string]string{keyring[1:]: "its own"})
	root, end, err := f.keyRoot(&backends.Source{File: SourcesDir + "/trixie.sources"})
	if err != nil {
		t.Fatal(err)
	}
	defer end()
	if b, err := root.ReadFile(keyring, 1<<20); err != nil || string(b) != "its own" {
		t.Errorf("a key that the root has: %d bytes, %v", len(b), err)
	}
}
