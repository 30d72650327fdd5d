package store

import (
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// maxRecord bounds what ReadFile reads.
const maxRecord = 256 << 20

// ReadFile reads a regular file as os.ReadFile does, but neither waits for the
// writer of a pipe in its place nor fills the memory.
func ReadFile(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxRecord {
		return nil, fmt.Errorf("read %s: no regular file of a sensible size", path)
	}
	return io.ReadAll(io.LimitReader(f, maxRecord))
}
