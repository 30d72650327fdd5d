package index_test

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/hashpkg/hashpkg/internal/mapped"
	"github.com/hashpkg/hashpkg/internal/testindex"
	"github.com/hashpkg/hashpkg/pkginfo"
	"github.com/hashpkg/hashpkg/repo/index"
)

// searchFile is the variable that makes the test binary search in an index, and print
// how much memory it has had.
const searchFile = "HASHPKG_TEST_SEARCH_FILE"

func TestMain(m *testing.M) {
	name := os.Getenv(searchFile)
	if name == "" {
		os.Exit(m.Run())
	}
	if err := searchAndPrintMemory(name); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func searchAndPrintMemory(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	hits := 0
	err = mapped.File(f, func(data []byte) error {
		x, err := index.Open(data)
		if err != nil {
			return err
		}
		found, err := x.Search([]string{"json", "library"})
		hits = len(found)
		return err
	})
	if err != nil {
		return err
	}
	status, err := os.Open("/proc/self/status")
	if err != nil {
		return err
	}
	defer status.Close()
	for lines := bufio.NewScanner(status); lines.Scan(); {
		if kib, ok := strings.CutPrefix(lines.Text(), "VmHWM:"); ok {
			fmt.Println(hits, strings.Fields(kib)[0])
		}
	}
	return nil
}

// TestSearchMemory has a process of its own search in a whole release: it has the lines
// that are searched in memory, and not the file.
func TestSearchMemory(t *testing.T) {
	file := filepath.Join(t.TempDir(), "index")
	if err := os.WriteFile(file, build(t, testindex.Debian(t, "bookworm").Packages), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), searchFile+"="+file)
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var hits, kib int
	if _, err := fmt.Sscan(string(out), &hits, &kib); err != nil {
		t.Fatalf("%q: %v", out, err)
	}
	t.Logf("%d hits, %d KiB", hits, kib)
	if hits < 100 || kib > 60<<10 {
		t.Errorf("%d hits with %d KiB of memory", hits, kib)
	}
}

// TestLongNames has a small file that names one long string very often. What asks for
// more than packages ever have is an error, and not much memory.
func TestLongNames(t *testing.T) {
	long := strings.Repeat("x", 1<<20)
	var packages []*pkginfo.Listed
	for i := range 200 {
		p := named("a", "", "/a")
		p.Version = fmt.Sprint(i)
		for range 10 {
			p.Requires = append(p.Requires, pkginfo.Relation{Text: long})
		}
		packages = append(packages, p)
	}
	data := build(t, packages)
	if len(data) > 2<<20 {
		t.Fatalf("%d bytes", len(data))
	}
	x, err := index.Open(data)
	if err != nil {
		t.Fatal(err)
	}
	for what, ask := range map[string]func() error{
		"named":     func() error { _, err := x.Named("a"); return err },
		"providing": func() error { _, err := x.Providing("/a"); return err },
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		err := ask()
		runtime.ReadMemStats(&after)
		if n := after.TotalAlloc - before.TotalAlloc; !errors.Is(err, index.ErrDamaged) || n > 140<<20 {
			t.Errorf("%s: %v, with %d bytes", what, err, n)
		}
	}
	for p, err := range x.All() { // one after another they may be read
		if err != nil || len(p.Requires) != 10 {
			t.Fatal(err)
		}
	}
}
