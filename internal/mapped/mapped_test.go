package mapped_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/internal/mapped"
)

func open(t *testing.T, path string) *os.File {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func write(t *testing.T, size int) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(strings.Repeat("x", size)), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFile(t *testing.T) {
	for _, size := range []int{0, 1, 4096, 1 << 20} {
		got := -1
		err := mapped.File(open(t, write(t, size)), func(b []byte) error { got = len(b); return nil })
		if err != nil || got != size {
			t.Errorf("of %d bytes, File gives %d (%v)", size, got, err)
		}
	}
	mine := errors.New("mine")
	if err := mapped.File(open(t, write(t, 1)), func([]byte) error { return mine }); err != mine { //nolint:errorlint // as it is
		t.Errorf("an error of read comes back as %v", err)
	}
}

// TestPrivate writes to a mapping, and finds the file as it was.
func TestPrivate(t *testing.T) {
	path := write(t, 5000)
	err := mapped.Private(open(t, path), func(b []byte) error {
		b[4999] = 'y'
		if b = append(b, 'z'); b[4999] != 'y' || len(b) != 5001 {
			return errors.New("what was written is not there")
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	if b, err := os.ReadFile(path); err != nil || strings.Trim(string(b), "x") != "" || len(b) != 5000 {
		t.Errorf("the file has %d bytes, and is not what it was: %v", len(b), err)
	}
}

func TestFileThatIsNone(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mkfifo(dir+"/pipe", 0o600); err != nil {
		t.Fatal(err)
	}
	for path, what := range map[string]string{dir: "a directory", dir + "/pipe": "a pipe", "/dev/null": "a device"} {
		err := mapped.File(open(t, path), func([]byte) error { return nil })
		if !errors.Is(err, mapped.ErrNotRegular) || !strings.Contains(err.Error(), what) {
			t.Errorf("%s gives %v, want %q", path, err, what)
		}
	}
}

func TestFileThatShrinks(t *testing.T) {
	path := write(t, 1<<20)
	err := mapped.File(open(t, path), func(b []byte) error {
		if err := os.Truncate(path, 0); err != nil {
			return err
		}
		sum := 0
		for _, c := range b {
			sum += int(c)
		}
		return fmt.Errorf("read on to the end: %d", sum)
	})
	var perr *fs.PathError
	if !errors.As(err, &perr) || !strings.Contains(err.Error(), "became shorter") {
		t.Errorf("File gives %v", err)
	}
}
