//go:build system

package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hashpkg/hashpkg/internal/testneed"
	"github.com/hashpkg/hashpkg/internal/testroot"
)

// byNameReleases are the releases that TestSystemByName installs from, beside each other.
var byNameReleases = []string{"trixie", "sid", "bullseye"}

// byNameCases are programs that every one of these releases has. In script, $bin is the
// directory of the package's commands, and want is what it has to say.
var byNameCases = []struct{ name, script, want string }{
	{"bc", `echo 6*7 | $bin/bc`, "42\n"},
	{"brotli", `echo it works | $bin/brotli -c | $bin/brotli -dc`, "it works\n"},
	{"curl", `echo it works >/tmp/x; $bin/curl -s file:///tmp/x`, "it works\n"},
	{"ffmpeg", `$bin/ffmpeg -hide_banner -loglevel error -f lavfi -i sine=d=0.1 -f md5 -`, "MD5="},
	{"flac", `$bin/flac --version`, "flac 1."},
	{"gawk", `$bin/gawk 'BEGIN { print 6*7 }'`, "42\n"},
	{"git", `$bin/git hash-object --stdin </dev/null`, "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391\n"},
	{"htop", `$bin/htop --version`, "htop "},
	{"jq", `echo '{"a":42}' | $bin/jq .a`, "42\n"},
	{"libxml2-utils", `echo '<a><b/><b/></a>' | $bin/xmllint --xpath 'count(//b)' -`, "2"},
	{"lua5.4", `$bin/lua5.4 -e 'print(6*7)'`, "42\n"},
	{"openssl", `printf abc | $bin/openssl dgst -sha256`, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
	{"protobuf-compiler", `$bin/protoc --version`, "libprotoc "},
	{"qpdf", `$bin/qpdf --empty /tmp/x.pdf && head -c 5 /tmp/x.pdf`, "%PDF-"},
	{"ripgrep", `echo needle | $bin/rg -c needle -`, "1\n"},
	{"rsync", `echo it works >/tmp/x; rm -f /tmp/y; $bin/rsync /tmp/x /tmp/y && cat /tmp/y`, "it works\n"},
	{"sqlite3", `$bin/sqlite3 :memory: 'select 6*7'`, "42\n"},
	{"tmux", `$bin/tmux -V`, "tmux "},
	{"webp", `$bin/cwebp -version`, "."},
	{"wget", `$bin/wget --version | head -1`, "GNU Wget"},
	{"zsh", `$bin/zsh -fc 'echo $((6*7))'`, "42\n"},
	{"zstd", `echo it works | $bin/zstd -c | $bin/zstd -dc`, "it works\n"},
}

// byNameTree is what a test needs of a package in the output of list --json.
type byNameTree struct {
	Name, Version, Tree, Release string
	Asked                        bool
}

// TestSystemByName installs programs by name from several releases into one system of
// another one. Each does its work, the store is sound, and the lock file gives the very
// same trees in a second root.
func TestSystemByName(t *testing.T) {
	testneed.Root(t)
	testneed.Network(t)
	first, second := testroot.Debian(t, "bookworm", ""), testroot.Debian(t, "bookworm", "")
	program := hashpkg(t)
	run := func(args ...string) string {
		t.Helper()
		var out, said bytes.Buffer
		c := exec.CommandContext(t.Context(), program, args...)
		c.Stdout, c.Stderr = &out, &said
		if err := c.Run(); err != nil {
			t.Fatalf("hashpkg %s: %v: %s%s", strings.Join(args, " "), err, out.String(), said.String())
		}
		return out.String()
	}
	before := first.Run("sh", "-c", "cat /var/lib/dpkg/status; find /usr /etc -xdev -type f -printf '%p %s %T@\n' | sort")
	var names []string
	for _, c := range byNameCases {
		names = append(names, c.name)
	}
	for _, release := range byNameReleases {
		run(slices.Concat([]string{"--root", first.Dir, "install", "-q", "--signature", "warn", "--from", release}, names)...)
	}
	var list struct{ Packages []byNameTree }
	if err := json.Unmarshal([]byte(run("--root", first.Dir, "--json", "list")), &list); err != nil {
		t.Fatal(err)
	}
	worked := 0
	for _, release := range byNameReleases {
		for _, c := range byNameCases {
			i := slices.IndexFunc(list.Packages, func(p byNameTree) bool { return p.Name == c.name && p.Release == release && p.Asked })
			if i < 0 {
				t.Errorf("%s of %s is not installed", c.name, release)
				continue
			}
			out, err := first.RunErr(t.Context(), "sh", "-ec", "exec 2>&1; bin="+list.Packages[i].Tree+"/bin\n"+c.script)
			if err != nil || !strings.Contains(out, c.want) {
				t.Errorf("%s of %s: %v, it says %q, want %q", list.Packages[i].Tree, release, err, out, c.want)
				continue
			}
			worked++
		}
	}
	t.Logf("%d of %d programs do their work; %d packages", worked, len(byNameReleases)*len(byNameCases), len(list.Packages))
	run("--root", first.Dir, "verify")
	if diff := cmp.Diff(before, first.Run("sh", "-c", "cat /var/lib/dpkg/status; find /usr /etc -xdev -type f -printf '%p %s %T@\n' | sort")); diff != "" {
		t.Errorf("what dpkg has is another now: %s", diff)
	}

	// trixie and sid may have the same build of a package: of such a one a lock file can have
	// one tree only.
	for i, p := range list.Packages {
		for _, o := range list.Packages[:i] {
			if o.Name == p.Name && o.Version == p.Version && o.Release != p.Release {
				t.Logf("%s is removed: two releases have it, in two trees", p.Tree)
				run("--root", first.Dir, "remove", p.Name+"="+filepath.Base(p.Tree))
			}
		}
	}
	if err := json.Unmarshal([]byte(run("--root", first.Dir, "--json", "list")), &list); err != nil {
		t.Fatal(err)
	}
	lock := filepath.Join(t.TempDir(), "hashpkg.lock")
	run("--root", first.Dir, "lock", "-o", lock)
	run("--root", second.Dir, "install", "-q", "--locked", lock)
	identities := func(root string) map[string]string {
		of := map[string]string{}
		files, err := filepath.Glob(filepath.Join(root, "var/sys/.hashpkg/manifests/*/*.json"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var m struct{ Identity string }
			if err := json.Unmarshal(b, &m); err != nil {
				t.Fatal(err)
			}
			of[fmt.Sprint(filepath.Base(filepath.Dir(file)), "/", filepath.Base(file))] = m.Identity
		}
		return of
	}
	want := identities(first.Dir)
	maps.DeleteFunc(want, func(name, _ string) bool { // what was removed is in the store still
		return !slices.ContainsFunc(list.Packages, func(p byNameTree) bool { return name == p.Name+"/"+filepath.Base(p.Tree)+".json" })
	})
	if diff := cmp.Diff(want, identities(second.Dir)); diff != "" || len(want) != len(list.Packages) || slices.Contains(slices.Collect(maps.Values(want)), "") {
		t.Errorf("of the lock file's %d trees (-first +second): %s", len(want), diff)
	}
	run("--root", second.Dir, "verify")
}
