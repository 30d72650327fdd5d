package testdeb_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashpkg/hashpkg/internal/testdeb"
	"github.com/hashpkg/hashpkg/internal/testneed"
)

// What is built is what dpkg-deb reads.
func TestBuildIsReadByDpkgDeb(t *testing.T) {
	testneed.Programs(t, "dpkg-deb")
	long := "usr/share/" + strings.Repeat("long/", 30) + "name"
	for _, c := range []testdeb.Compression{testdeb.None, testdeb.Gzip, testdeb.Zstd, testdeb.Xz, testdeb.Lzma, testdeb.Bzip2} {
		t.Run(string(c), func(t *testing.T) {
			p := testdeb.Package{
				Name: "jq", Version: "1.7-1", Depends: "libjq1 (= 1.7-1)", Compression: c,
				ControlCompression: testdeb.Gzip,
				Files: []testdeb.File{
					testdeb.Exec("usr/bin/jq", "program"),
					testdeb.Symlink("usr/bin/jq1", "jq"),
					testdeb.HardLink("usr/bin/jq2", "usr/bin/jq"),
					{Path: long, Content: "x", UID: 7, Owner: "lp", Unix: 1700000000},
				},
			}
			if c == testdeb.Bzip2 {
				testneed.Programs(t, "bzip2")
			}
			file := filepath.Join(t.TempDir(), "x.deb")
			if err := os.WriteFile(file, testdeb.Deb(t, p), 0o600); err != nil {
				t.Fatal(err)
			}
			list, err := exec.Command("dpkg-deb", "-c", file).CombinedOutput()
			if err != nil {
				t.Fatalf("dpkg-deb -c: %v\n%s", err, list)
			}
			for _, want := range []string{
				"drwxr-xr-x root/root         0 1970-01-01", "./usr/bin/\n",
				"-rwxr-xr-x root/root         7 1970-01-01", "./usr/bin/jq\n",
				"./usr/bin/jq1 -> jq\n", "./usr/bin/jq2 link to ./usr/bin/jq\n",
				"-rw-r--r-- lp/root           1 2023-11-14", "./" + long + "\n",
			} {
				if !strings.Contains(string(list), want) {
					t.Errorf("dpkg-deb -c does not show %q:\n%s", want, list)
				}
			}
			field, err := exec.Command("dpkg-deb", "-f", file, "Depends").CombinedOutput()
			if err != nil || strings.TrimSpace(string(field)) != p.Depends {
				t.Errorf("dpkg-deb -f: %v: %q", err, field)
			}
		})
	}
}
