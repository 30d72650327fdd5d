package scratch

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestSweep has what a killed run has left removed, and nothing else.
func TestSweep(t *testing.T) {
	parent := t.TempDir()
	live, err := Dir(parent, "x-")
	if err != nil {
		t.Fatal(err)
	}
	old := time.Now().Add(-time.Hour)
	left, other := filepath.Join(parent, "x-left"), filepath.Join(parent, "other")
	for _, dir := range []string{left, other} {
		if err := os.MkdirAll(filepath.Join(dir, "below"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	young := filepath.Join(parent, "x-young")
	if err := os.WriteFile(young, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{left, other, live.Path} {
		if err := os.Chtimes(name, old, old); err != nil {
			t.Fatal(err)
		}
	}
	file, err := File(parent, "x-")
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{left: false, other: true, live.Path: true, young: true, file.Path: true} {
		if _, err := os.Stat(name); (err == nil) != want {
			t.Errorf("%s is there: %v, want %v", name, err == nil, want)
		}
	}
	for _, s := range []*Scratch{live, file} {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(s.Path); !os.IsNotExist(err) {
			t.Errorf("%s: %v after Close", s.Path, err)
		}
	}
}
