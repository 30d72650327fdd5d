package rpm

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"

	"github.com/hashpkg/hashpkg/backends"
)

const someFiles = `<?xml version="1.0" encoding="UTF-8"?>
<filelists xmlns="http://linux.duke.edu/metadata/filelists" packages="2">
<package pkgid="aa" name="tool" arch="x86_64">
  <version epoch="0" ver="1" rel="1"/>
  <file>/usr/bin/tool</file>
  <file type="dir">/usr/share/tool</file>
  <file type="ghost">/var/a&amp;b</file>
</package>
<package pkgid="bb" name="other" arch="noarch"><version epoch="0" ver="1" rel="1"/>
  <file>/usr/share/tool</file><file>/usr/share/tool/x</file></package>
</filelists>
`

// readFiles returns "NAME DIGEST PATH" for each file of an index that is wanted.
func readFiles(r io.Reader, size, unpacked int64, wanted ...string) (all []string, err error) {
	paths := map[string]bool{}
	for _, path := range wanted {
		paths[path] = true
	}
	part := &backends.Part{Name: partFiles, Size: size, Unpacked: unpacked}
	err = Format{}.ReadFiles(part, r, paths, func(name, digest, path string) error {
		all = append(all, name+" "+digest+" "+path)
		return nil
	})
	return all, err
}

func TestReadFiles(t *testing.T) {
	wanted := []string{"/usr/share/tool", "/var/a&b", "/usr/share", "tool", ""}
	const want = "tool aa /usr/share/tool, tool aa /var/a&b, other bb /usr/share/tool"
	for name, b := range map[string][]byte{"plain": []byte(someFiles), "gzip": gzipped(t, someFiles)} {
		all, err := readFiles(bytes.NewReader(b), int64(len(b)), int64(len(someFiles)), wanted...)
		if got := strings.Join(all, ", "); err != nil || got != want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	stop := errors.New("stop")
	err := Format{}.ReadFiles(&backends.Part{Unpacked: -1}, strings.NewReader(someFiles), map[string]bool{"/usr/share/tool": true}, func(string, string, string) error { return stop })
	if !errors.Is(err, stop) {
		t.Errorf("an error of who is called: %v", err)
	}
}

func TestReadFilesRefuses(t *testing.T) {
	long := strings.Repeat("x", maxListedText+1)
	for name, test := range map[string]struct {
		old, changed string
		want         string
	}{
		"other element": {"filelists", "metadata", "not an index of files"},
		"cut":           {"</filelists>", "", "it ends"},
		"long path":     {"/usr/share/tool/x", "/" + long, "a file whose path has more than"},
		"long name":     {`name="other"`, `name="` + long + `"`, "a name or a digest of more than"},
		"entity":        {"/usr/bin/tool", "&x;", "entity"},
	} {
		text := strings.ReplaceAll(someFiles, test.old, test.changed)
		var e *FormatError
		if _, err := readFiles(strings.NewReader(text), int64(len(text)), -1); !errors.As(err, &e) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := readFiles(strings.NewReader(someFiles), int64(len(someFiles)), 200); err == nil || !strings.Contains(err.Error(), "filelists: it is longer than the description says") {
		t.Errorf("one that is longer than it should be: %v", err)
	}
	packed := gzipped(t, someFiles)
	packed[len(packed)/2] ^= 0xff
	if _, err := readFiles(bytes.NewReader(packed), int64(len(packed)), -1); err == nil || !strings.Contains(err.Error(), "filelists") {
		t.Errorf("a damaged one: %v", err)
	}
}

// TestReadFilesMemory has an index of 256 MiB, which takes no more memory than its window.
func TestReadFilesMemory(t *testing.T) {
	line := "  <file>/usr/share/some/directory/that/has/many/files</file>\n"
	begin, end, _ := strings.Cut(someFiles, "  <file>/usr/bin/tool</file>\n")
	var middle []io.Reader
	block := strings.Repeat(line, 1<<20/len(line))
	for range 256 {
		middle = append(middle, strings.NewReader(block))
	}
	r := io.MultiReader(append([]io.Reader{strings.NewReader(begin)}, append(middle, strings.NewReader(end))...)...)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	all, err := readFiles(r, 1, -1, "/usr/share/tool")
	runtime.ReadMemStats(&after)
	if err != nil || len(all) != 2 {
		t.Errorf("%q, %v", all, err)
	}
	if took := after.TotalAlloc - before.TotalAlloc; took > 4*xmlWindow {
		t.Errorf("it took %d bytes of memory", took)
	}
}

func FuzzReadFiles(f *testing.F) {
	f.Add([]byte(someFiles))
	f.Fuzz(func(t *testing.T, b []byte) {
		err := Format{}.ReadFiles(&backends.Part{Size: int64(len(b)), Unpacked: 1 << 20}, bytes.NewReader(b), map[string]bool{"/usr/share/tool": true},
			func(_, digest, path string) error {
				if path != "/usr/share/tool" || len(digest) > maxListedText {
					return fmt.Errorf("it gives %q of %q", path, digest)
				}
				return nil
			})
		if err != nil && strings.Contains(err.Error(), "it gives") {
			t.Error(err)
		}
	})
}

func BenchmarkFiles(b *testing.B) {
	begin, end, _ := strings.Cut(someFiles, "  <file>/usr/bin/tool</file>\n")
	var text strings.Builder
	text.WriteString(begin)
	for i := range 1 << 20 {
		fmt.Fprintf(&text, "  <file>/usr/share/directory-%d/file-%d.txt</file>\n", i/100, i)
	}
	text.WriteString(end)
	b.SetBytes(int64(text.Len()))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := readFiles(strings.NewReader(text.String()), 1, -1, "/usr/share/tool"); err != nil {
			b.Fatal(err)
		}
	}
}
