package rpm_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/hashpkg/hashpkg/backends/rpm"
	"github.com/hashpkg/hashpkg/internal/testdeb"
	"github.com/hashpkg/hashpkg/internal/testneed"
	"github.com/hashpkg/hashpkg/internal/testrpm"
)

// allocated returns how many bytes f allocates, all in all.
func allocated(f func()) int64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return int64(after.TotalAlloc - before.TotalAlloc)
}

// readThrough reads all of a package, and nothing of it into memory.
func readThrough(t testing.TB, r io.Reader) {
	t.Helper()
	d, err := rpm.NewReader(r, nil)
	for err == nil {
		_, err = d.Next()
	}
	if err != io.EOF {
		t.Fatal(err)
	}
	d.Close()
}

// TestMemory reads files of different sizes, which must cost the same memory.
func TestMemory(t *testing.T) {
	testneed.Time(t)
	for _, c := range []testdeb.Compression{testdeb.None, testdeb.Gzip, testdeb.Zstd, testdeb.Xz, testdeb.Lzma} {
		for _, format := range []int{4, 6} {
			var costs []int64
			for _, size := range []int{4 << 20, 64 << 20} {
				b := testrpm.RPM(t, testrpm.Package{Format: format, Compression: c, Files: []testrpm.File{
					{Path: "/usr/a", Content: strings.Repeat("0123456789abcdef", size/16)}, testrpm.Symlink("/usr/b", "a"),
				}})
				costs = append(costs, allocated(func() { readThrough(t, bytes.NewReader(b)) }))
			}
			t.Logf("%s, format %d: %d KiB for a file of 4 MiB, %d KiB for one of 64 MiB", c, format, costs[0]>>10, costs[1]>>10)
			if costs[1] > costs[0]+8<<20 {
				t.Errorf("%s, format %d: memory grows with the file: %d, %d", c, format, costs[0], costs[1])
			}
		}
	}
}

// TestForgedMemory has headers that say that they are large, and are not.
func TestForgedMemory(t *testing.T) {
	b := testrpm.RPM(t, testrpm.Package{})
	for _, test := range []struct {
		name   string
		offset int
		value  uint32
	}{
		{"entries of the signature", 96 + 8, 0xffff},
		{"store of the signature", 96 + 12, 64 << 20},
		{"entries of 4 Gi", 96 + 8, 0xffffffff},
		{"store of 4 GiB", 96 + 12, 0xffffffff},
		{"entries of 256 Mi", 96 + 8, 0x10000000},
	} {
		damaged := bytes.Clone(b)
		binary.BigEndian.PutUint32(damaged[test.offset:], test.value)
		cost := allocated(func() {
			if _, err := rpm.NewReader(bytes.NewReader(damaged), nil); err == nil {
				t.Errorf("%s: no error", test.name)
			}
		})
		if cost > 1<<20 {
			t.Errorf("%s: %d bytes are allocated", test.name, cost)
		}
	}
}

// TestClose stops in the middle of what the xz program unpacks.
func TestClose(t *testing.T) {
	testneed.Programs(t, "xz")
	noise := make([]byte, 4<<20)
	for i := range noise {
		noise[i] = byte(i * i >> 7)
	}
	b := testrpm.RPM(t, testrpm.Package{Compression: testdeb.Xz, Files: []testrpm.File{
		{Path: "/a", Content: string(noise)}, {Path: "/b", Content: string(noise)},
	}})
	for range 5 {
		r, err := rpm.NewReader(bytes.NewReader(b), nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.Next(); err != nil {
			t.Fatal(err)
		}
		r.Close()
		if _, err := r.Next(); err == nil || err == io.EOF {
			t.Error("a closed reader reads on: ", err)
		}
		if _, err := r.Read(make([]byte, 1)); err == nil || err == io.EOF {
			t.Error("a closed reader reads on: ", err)
		}
		r.Close()
	}
	children, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil || len(children) == 0 {
		testneed.Unmet(t, "no list of children to look at: ", err)
	}
	for _, file := range children {
		for pid := range strings.FieldsSeq(string(readFile(t, file))) {
			if name, err := os.ReadFile(fmt.Sprintf("/proc/%s/comm", pid)); err == nil && strings.TrimSpace(string(name)) == "xz" {
				t.Error("an xz program is left over")
			}
		}
	}
}

// TestWithoutPrograms unpacks xz and lzma without the xz program.
func TestWithoutPrograms(t *testing.T) {
	for _, c := range []testdeb.Compression{testdeb.Xz, testdeb.Lzma} {
		p := testrpm.Package{Compression: c}
		for i := range 100 {
			p.Files = append(p.Files, testrpm.File{Path: fmt.Sprintf("/%d", i), Content: fmt.Sprint(i*i, strings.Repeat(fmt.Sprint(i), 5000))})
		}
		b := testrpm.RPM(t, p)
		_, want, err := readAll(b)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(string(c), func(t *testing.T) {
			t.Setenv("PATH", "")
			_, got, err := readAll(b)
			if err != nil || strings.Join(got, "\n") != strings.Join(want, "\n") {
				t.Errorf("%d files, %v, want %d", len(got), err, len(want))
			}
		})
	}
}

// BenchmarkRead reads the packages of $HASHPKG_BENCH_RPMS, a list of files, or a
// small one.
func BenchmarkRead(b *testing.B) {
	files := strings.Fields(os.Getenv("HASHPKG_BENCH_RPMS"))
	if len(files) == 0 {
		files = []string{filepath.Join(realPackages, "hello-2.0-1.x86_64.rpm")}
	}
	for _, file := range files {
		b.Run(filepath.Base(file), func(b *testing.B) {
			content := readFile(b, file)
			b.SetBytes(int64(len(content)))
			for b.Loop() {
				readThrough(b, bytes.NewReader(content))
			}
		})
	}
}
