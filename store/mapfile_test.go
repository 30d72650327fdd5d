package store

import (
	"os"
	"path/filepath"
	"testing"
)

// TestMapFileShrinks makes a file shorter while it is read: an error, and no fault
// that ends the process.
func TestMapFileShrinks(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, make([]byte, 1<<16), 0o644); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	sum := 0
	err = MapFile(f, func(b []byte) error {
		if err := os.Truncate(path, 0); err != nil {
			return err
		}
		for _, c := range b {
			sum += int(c)
		}
		return nil
	})
	if err == nil {
		t.Errorf("no error: the bytes add up to %d", sum)
	}
}
