package images

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashpkg/hashpkg/internal/testneed"
)

// TestMeasureVerity compares digests with those of fsverity(1), for files with trees of no, one, two and
// three levels.
func TestMeasureVerity(t *testing.T) {
	testneed.Programs(t, "fsverity")
	for _, size := range []int{0, 1, 4095, 4096, 4097, 2 * 4096, 127*4096 + 5, 128 * 4096, 128*4096 + 1, 129 * 4096, 255 * 4096, 256 * 4096, 257 * 4096, 128*128*4096 - 1, 128 * 128 * 4096, 128*128*4096 + 1} {
		data := make([]byte, size)
		for i := range data {
			data[i] = byte(i*7 + i>>12)
		}
		name := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := MeasureVerity(name)
		if err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command("fsverity", "digest", name).Output()
		if err != nil {
			t.Fatal(err)
		}
		if want, _, _ := strings.Cut(string(out), " "); got != want {
			t.Errorf("%d bytes: %s, want %s", size, got, want)
		}
	}
}
