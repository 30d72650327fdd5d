package subject

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// zeros is an endless file of them.
type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}

// TestCopySparse copies gigabytes of zeros, which take no room on the disk, with something before, between
// and behind them.
func TestCopySparse(t *testing.T) {
	const size = 1 << 30
	for _, end := range []string{"end", ""} {
		f, err := os.Create(filepath.Join(t.TempDir(), "f"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.WriteString("head"); err != nil {
			t.Fatal(err)
		}
		in := io.MultiReader(strings.NewReader("more"), io.LimitReader(zeros{}, size), strings.NewReader("between"), io.LimitReader(zeros{}, 1<<20), strings.NewReader(end))
		if err := copySparse(f, in); err != nil {
			t.Fatal(err)
		}
		var st unix.Stat_t
		if err := unix.Fstat(int(f.Fd()), &st); err != nil {
			t.Fatal(err)
		}
		if want := int64(len("headmore")) + size + int64(len("between")) + 1<<20 + int64(len(end)); st.Size != want || st.Blocks*512 > 1<<20 {
			t.Errorf("it has %d bytes in %d blocks, expected %d", st.Size, st.Blocks, want)
		}
		for _, part := range []struct {
			at   int64
			text string
		}{{0, "headmore\x00"}, {8 + size - 1, "\x00between\x00"}, {st.Size - int64(len(end)) - 1, "\x00" + end}} {
			b := make([]byte, len(part.text))
			if _, err := f.ReadAt(b, part.at); err != nil || string(b) != part.text {
				t.Errorf("at %d there is %q (%v), expected %q", part.at, b, err, part.text)
			}
		}
	}
}
