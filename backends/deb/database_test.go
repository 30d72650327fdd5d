package deb_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hashpkg/hashpkg/backends/deb"
	"github.com/hashpkg/hashpkg/internal/testneed"
)

// TestDatabaseAtWork reads what dpkg has written while it is at work, as dpkg-query
// reads it.
func TestDatabaseAtWork(t *testing.T) {
	testneed.Programs(t, "dpkg-query")
	dir := t.TempDir()
	database := filepath.Join(dir, "var/lib/dpkg")
	put := func(name, content string) {
		t.Helper()
		path := filepath.Join(database, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	paragraph := func(name, arch, version, status string) string {
		s := "Package: " + name + "\nStatus: " + status + "\nArchitecture: " + arch + "\nMulti-Arch: same\n"
		if version != "" {
			s += "Maintainer: x <x@example.org>\nVersion: " + version + "\nDescription: x\n"
		}
		return s
	}
	put("info/format", "1\n")
	put("status", strings.Join([]string{
		paragraph("stays", "amd64", "1", "install ok installed"), paragraph("upgraded", "amd64", "1", "install ok installed"),
		paragraph("upgraded", "i386", "1", "install ok installed"), paragraph("purged", "amd64", "1", "install ok installed"),
		paragraph("removed", "amd64", "1", "install ok installed"), paragraph("back", "amd64", "1", "deinstall ok config-files"),
	}, "\n"))
	root := openRoot(t, dir)
	states := map[string]bool{}
	agree := func(what string) {
		t.Helper()
		state, err := deb.DatabaseState(root)
		if err != nil {
			t.Fatal(err)
		}
		if states[state] {
			t.Errorf("%s: the state is one that was before: %s", what, state)
		}
		states[state] = true
		db, err := deb.Format{}.Database(t.Context(), root)
		if err != nil {
			t.Fatal(err)
		}
		var have []string
		for _, p := range db.Packages() {
			have = append(have, fmt.Sprintf("%s %s %s", p.Name, p.Architecture, p.Version))
		}
		out, err := exec.Command("dpkg-query", "--admindir="+database, "-W", "-f=${db:Status-Status} ${Package} ${Architecture} ${Version}\n").Output()
		if err != nil {
			t.Fatal(err)
		}
		var want []string
		for line := range strings.Lines(string(out)) {
			status, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
			if status != "config-files" && status != "not-installed" && status != "half-installed" {
				want = append(want, rest)
			}
		}
		slices.Sort(have)
		slices.Sort(want)
		if !slices.Equal(have, want) {
			t.Errorf("%s: read %q, and dpkg-query says %q", what, have, want)
		}
	}
	agree("at rest")
	put("updates/tmp.i", "#padding\n") // as dpkg has it while it is at work
	for i, update := range []string{
		paragraph("upgraded", "amd64", "1", "install reinstreq half-installed"), paragraph("upgraded", "amd64", "2", "install ok unpacked"),
		paragraph("new", "amd64", "1", "install ok unpacked"), paragraph("purged", "amd64", "", "unknown ok not-installed"),
		paragraph("removed", "amd64", "1", "deinstall ok config-files"), paragraph("back", "amd64", "2", "install ok installed"),
		paragraph("new", "amd64", "1", "install ok installed"),
	} {
		put(fmt.Sprintf("updates/%04d", i), update)
		agree(update)
	}
}
