package e2e

import (
	"path/filepath"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hashpkg/hashpkg/internal/archive"
	"github.com/hashpkg/hashpkg/internal/testneed"
)

// TestMuslClosures is TestClosures for programs of musl, whose loader is of a package that
// is installed with them.
func TestMuslClosures(t *testing.T) {
	testneed.Network(t)
	testneed.Programs(t, "musl-gcc", "strace")
	libc, err := archive.Fetch(t.Context(), archive.Options{Suite: "bookworm", Arch: "amd64", Packages: []string{"musl"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, count := range []int{12, 51} {
		t.Run(strconv.Itoa(count), func(t *testing.T) {
			l := loader{cc: []string{"musl-gcc"}, arch: "amd64", libc: libc, musl: true}
			prefix, dir := installClosures(t, l, count)
			for name := range closurePrograms {
				shipped, bound := filepath.Join(dir, name), filepath.Join(prefix, name, "1/usr/bin", name)
				path := "LD_LIBRARY_PATH=" + dir
				for _, env := range []string{"LC_ALL=C", "LD_PRELOAD=" + filepath.Join(dir, "preload.so")} {
					want, have := output(t, []string{env, path}, shipped), output(t, []string{env}, bound)
					if diff := cmp.Diff(lines(want), lines(have)); diff != "" {
						t.Errorf("%s with %s prints (-as it was linked +installed)\n%s", name, env, diff)
					}
				}
				// musl looks there before all else, as it does for what was linked.
				if diff := cmp.Diff(lines(output(t, nil, bound)), lines(output(t, []string{path}, bound))); diff != "" {
					t.Errorf("%s prints (-without +with LD_LIBRARY_PATH)\n%s", name, diff)
				}
				countFailedOpens(t, dir, name, bound)
			}
		})
	}
}
