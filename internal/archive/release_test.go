package archive

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDescribe(t *testing.T) {
	m := newMirror(t)
	m.publish(pkg{"hello", "1.0-1", "hello"})
	first, err := Describe(context.Background(), m.options(t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	if want := "deb [arch=amd64 signed-by=" + m.keyring + "] " + m.url + " test main"; first.Source != want {
		t.Errorf("the source is %q, want %q", first.Source, want)
	}
	m.publish(pkg{"hello", "1.0-2", "hello"})
	second, err := Describe(context.Background(), m.options(t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	if first.Digest == second.Digest || len(first.Digest) != 64 {
		t.Errorf("the digests of two indexes are %q and %q", first.Digest, second.Digest)
	}
}

func TestMissing(t *testing.T) {
	m := newMirror(t)
	m.publish(pkg{"hello", "1.0-1", "hello"}, pkg{"world", "2:1.0", "world"})
	o := m.options(t.TempDir())
	o.Packages = []string{"world", "hello"}
	status := filepath.Join(t.TempDir(), "status")
	text := "Package: hello\nStatus: install ok installed\nVersion: 1.0-1\nArchitecture: amd64\nMaintainer: nobody\nDescription: for a test\n\n"
	if err := os.WriteFile(status, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	got, err := Missing(context.Background(), o, status)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"world=2:1.0"}, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}

	o.Packages = []string{"gone"}
	if _, err := Missing(context.Background(), o, status); err == nil || !strings.Contains(err.Error(), "gone") {
		t.Errorf("got %v", err)
	}
}
