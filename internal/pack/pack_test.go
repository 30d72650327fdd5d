package pack

import (
	"bytes"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"

	"github.com/hashpkg/hashpkg/internal/advice"
	"github.com/hashpkg/hashpkg/internal/testneed"
	"github.com/hashpkg/hashpkg/internal/unpack"
)

var programs = map[unpack.Compression]string{
	unpack.Gzip: "gzip", unpack.Zstd: "zstd", unpack.Xz: "xz", unpack.Lzma: "xz", unpack.Bzip2: "bzip2",
}

// What is packed is unpacked again, by the compression's own program as well as by our
// reader, and the environment's options do not show in it.
func TestPrograms(t *testing.T) {
	data := strings.Repeat("a line that is there many times\n", 20_000)
	for c, name := range programs {
		t.Run(string(c), func(t *testing.T) {
			testneed.Programs(t, name)
			packed := packAll(t, c, data)
			cmd := exec.Command(name, "--decompress", "--stdout")
			if c == unpack.Lzma {
				cmd.Args = append(cmd.Args, "--format=lzma")
			}
			cmd.Stdin = bytes.NewReader(packed)
			out, err := cmd.Output()
			if err != nil || string(out) != data {
				t.Errorf("%s gives %d bytes back, %v", name, len(out), err)
			}
			s, err := unpack.NewStream(bytes.NewReader(packed), c, int64(len(packed)))
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			again, err := io.ReadAll(s)
			if err != nil || string(again) != data {
				t.Errorf("the reader gives %d bytes back, %v", len(again), err)
			}
			t.Setenv("XZ_OPT", "-0")
			t.Setenv("XZ_DEFAULTS", "--check=sha256")
			t.Setenv("BZIP2", "-1")
			if !bytes.Equal(packAll(t, c, data), packed) {
				t.Error("it is packed in another way with other options in the environment")
			}
		})
	}
}

func packAll(t *testing.T, c unpack.Compression, data string) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := NewWriter(&b, c, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, data); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

var errFull = errors.New("no space left on device")

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errFull }

// A disk that is full is the error, not what the program says of its closed output.
func TestFull(t *testing.T) {
	for c, name := range programs {
		t.Run(string(c), func(t *testing.T) {
			testneed.Programs(t, name)
			w, err := NewWriter(full{}, c, 1)
			if err != nil {
				t.Fatal(err)
			}
			_, err = w.Write(bytes.Repeat([]byte("0123456789abcdef"), 1<<16))
			if err = errors.Join(err, w.Close()); !errors.Is(err, errFull) {
				t.Errorf("the error is %v", err)
			}
		})
	}
}

func TestWithoutProgram(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, err := NewWriter(io.Discard, unpack.Xz, 0)
	if err == nil {
		t.Fatal("it packs without the program")
	}
	if _, hint := advice.Of(err); !strings.Contains(hint, "xz-utils") {
		t.Errorf("the advice is %q", hint)
	}
}
