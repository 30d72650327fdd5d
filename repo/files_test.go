package repo

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashpkg/hashpkg/internal/testrepo"
	"github.com/hashpkg/hashpkg/internal/testrpm"
)

// rpmsWithFiles is a repository whose packages name files of each other that its index
// does not list.
func rpmsWithFiles() testrepo.RPMs {
	return testrepo.RPMs{FileLists: true, Packages: []testrpm.Package{
		{Name: "tool", Requires: []string{"/usr/share/data/words", "/usr/bin/helper"}},
		{Name: "helper", Files: []testrpm.File{{Path: "/usr/bin/helper", Mode: 0o755}}},
		{Name: "words", Requires: []string{"(/usr/lib/more if words)"}, Files: []testrpm.File{{Path: "/usr/share/data/words"}}},
		{Name: "more", Files: []testrpm.File{{Path: "/usr/lib/more"}}},
		{Name: "lacking", Requires: []string{"/usr/share/none"}},
		{Name: "unlisted", Requires: []string{"/usr/bin/none"}},
		{Name: "older", Version: "1.0", Requires: []string{"/usr/share/data/words"}},
		{Name: "older", Version: "2.0", Requires: []string{"/usr/bin/none"}},
		{Name: "conditional", Requires: []string{"(helper if /usr/share/data/plain)", "plain"}},
		{Name: "plain", Files: []testrpm.File{{Path: "/usr/share/data/plain"}}},
	}}
}

func serveRPMs(t *testing.T, r testrepo.RPMs) (*testrepo.Server, *fixture) {
	t.Helper()
	r.Signer = key(t)
	server := testrepo.Serve(t, r.Files(t))
	return server, newFixture(t, map[string]string{
		"etc/hashpkg/sources.d/1.repo": r.Sources("rpms", server.URL, "/etc/key"), "etc/key": testrepo.PublicKeys(t, key(t)),
	})
}

// TestFileLists has relations that name files by path. The index of all files is fetched
// when one is not in the other index, once, and is there offline.
func TestFileLists(t *testing.T) {
	server, f := serveRPMs(t, rpmsWithFiles())
	same(t, "a command", f.selected("", "helper"), "helper=1.0-1")
	if n := server.Requests("filelists.xml.gz"); n != 0 {
		t.Errorf("the index of all files was fetched %d times, and nobody needed it", n)
	}

	offline := f.open(func(o *Options) { o.Offline = true })
	if _, err := offline.Select(t.Context(), "", f.installs("", "tool").Requests, false); !errors.Is(err, ErrOffline) || !errors.Is(err, ErrUnresolved) ||
		!strings.Contains(err.Error(), "tool=1.0-1 requires /usr/share/data/words") || !strings.Contains(err.Error(), "rpms filelists") {
		t.Errorf("offline, before it was fetched: %v", err)
	}

	same(t, "an older version that needs a file", f.selected("", "older"), "older=1.0-1", "words=1.0-1 older", "more=1.0-1 words<older")
	same(t, "a condition that is a file", f.selected("", "conditional"), "conditional=1.0-1", "plain=1.0-1 conditional", "helper=1.0-1 conditional")
	if _, err := f.Select(t.Context(), "", f.installs("", "unlisted").Requests, false); !errors.Is(err, ErrUnresolved) {
		t.Errorf("a command that nothing has: %v", err)
	}
	want := []string{"tool=1.0-1", "helper=1.0-1 tool", "words=1.0-1 tool", "more=1.0-1 words<tool"}
	same(t, "files", f.selected("", "tool"), want...)
	same(t, "files again", f.selected("", "tool"), want...)
	if n := server.Requests("filelists.xml.gz"); n != 1 {
		t.Errorf("the index of all files was fetched %d times", n)
	}
	f.Repo = offline
	same(t, "offline", f.selected("", "tool"), want...)
	if _, err := f.Select(t.Context(), "", f.installs("", "lacking").Requests, false); !errors.Is(err, ErrUnresolved) || errors.Is(err, ErrOffline) || !strings.Contains(err.Error(), "/usr/share/none") {
		t.Errorf("a file that nothing has: %v", err)
	}
}

// TestFileListsRefused has indexes of all files that are not what the description says:
// none is used, and a damaged one in the cache is fetched anew.
func TestFileListsRefused(t *testing.T) {
	t.Run("none", func(t *testing.T) {
		r := rpmsWithFiles()
		r.FileLists = false
		for i := range r.Packages {
			r.Packages[i].Files = nil
		}
		_, f := serveRPMs(t, r)
		if _, err := f.Select(t.Context(), "", f.installs("", "tool").Requests, false); !errors.Is(err, ErrUnresolved) || strings.Contains(err.Error(), "list of all files") {
			t.Errorf("a repository without: %v", err)
		}
	})
	t.Run("another", func(t *testing.T) {
		server, f := serveRPMs(t, rpmsWithFiles())
		server.Bend("filelists.xml.gz", func(w http.ResponseWriter, _ *http.Request, _ http.HandlerFunc) {
			_, _ = w.Write([]byte("something else")) // to a client that may be gone
		})
		if _, err := f.Select(t.Context(), "", f.installs("", "tool").Requests, false); !errors.Is(err, ErrUnresolved) || !strings.Contains(err.Error(), "fetch rpms filelists") {
			t.Errorf("another one: %v", err)
		}
		server.Bend("filelists.xml.gz", nil)
		f.selected("", "tool")
	})
	t.Run("damaged", func(t *testing.T) {
		server, f := serveRPMs(t, rpmsWithFiles())
		f.selected("", "tool")
		files, err := filepath.Glob(filepath.Join(f.dir, prefix, ".hashpkg/cache/sha256-*"))
		if err != nil || len(files) != 1 {
			t.Fatal(files, err)
		}
		b, err := os.ReadFile(files[0])
		if err != nil {
			t.Fatal(err)
		}
		b[len(b)/2] ^= 1
		if err := os.WriteFile(files[0], b, 0o600); err != nil {
			t.Fatal(err)
		}
		f.selected("", "tool")
		if n := server.Requests("filelists.xml.gz"); n != 2 {
			t.Errorf("it was fetched %d times", n)
		}
	})
}
