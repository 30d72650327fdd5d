package e2e

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/internal/testdeb"
	"github.com/hashpkg/hashpkg/internal/testneed"
	"github.com/hashpkg/hashpkg/internal/testrepo"
	"github.com/hashpkg/hashpkg/internal/testrpm"
)

// shop is a root with one source, the repository stable of a server.
type shop struct {
	t      *testing.T
	root   string
	server *testrepo.Server
	key    *openpgp.Entity
	peak   int64 // KiB of memory that a command took at most
}

// openShop returns a root whose source is a repository that has tool, which needs
// libtool1.
func openShop(t *testing.T) *shop {
	t.Helper()
	s := &shop{t: t, root: t.TempDir(), key: testrepo.NewKey(t, "archive", 0)}
	s.server = testrepo.Serve(t, s.stock("1").Files(t))
	s.sources("stable.sources", s.stock("1").Sources(t, s.server.URL))
	return s
}

// stock is what the repository has when tool has a version, the number of which is also
// how many days after the first it was made.
func (s *shop) stock(version string) testrepo.Debs {
	days := time.Duration(len(version)) // "1", "22", ...
	return testrepo.Debs{
		Signer: s.key, Date: testrepo.Date.Add(days * 24 * time.Hour),
		Packages: []testdeb.Package{
			{Name: "tool", Version: version, Depends: "libtool1", Files: []testdeb.File{testdeb.Exec("usr/bin/tool", "#!/bin/sh\necho tool "+version+"\n")}},
			{Name: "libtool1", Version: version, Files: []testdeb.File{{Path: "usr/share/libtool1/data", Content: strings.Repeat(version+"\n", 1000)}}},
		},
	}
}

func (s *shop) sources(name, text string) {
	s.t.Helper()
	s.write("etc/hashpkg/sources.d/"+name, text)
}

func (s *shop) write(name, content string) {
	s.t.Helper()
	file := filepath.Join(s.root, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(content), 0o644)); err != nil {
		s.t.Fatal(err)
	}
}

// command returns hashpkg on the root. The time is a day after the last stock was made.
func (s *shop) command(args ...string) *exec.Cmd {
	s.t.Helper()
	cmd := exec.Command(hashpkg(s.t), append([]string{"--root", s.root}, args...)...)
	cmd.Env = append(os.Environ(), "HOME="+s.root, fmt.Sprintf("SOURCE_DATE_EPOCH=%d", testrepo.Date.Add(30*24*time.Hour).Unix()))
	return cmd
}

// run runs hashpkg and returns its status and all that it says.
func (s *shop) run(args ...string) (status int, says string) {
	s.t.Helper()
	cmd := s.command(args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	// What wait4 says of a process's memory has that of the test in it, before the exec.
	ended := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() {
		for {
			s.peak = max(s.peak, peakOf(cmd.Process.Pid))
			select {
			case <-ended:
				return
			case <-time.After(2 * time.Millisecond):
			}
		}
	})
	err := cmd.Wait()
	close(ended)
	watching.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		s.t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String()
}

// peakOf returns the most memory that a process has had, in KiB; 0 when it has ended.
func peakOf(pid int) (peak int64) {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for line := range strings.Lines(string(b)) {
		if text, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			peak, _ = strconv.ParseInt(strings.Fields(text)[0], 10, 64)
		}
	}
	return peak
}

func (s *shop) mustRun(args ...string) string {
	s.t.Helper()
	status, says := s.run(args...)
	if status != 0 {
		s.t.Fatalf("hashpkg %q: status %d: %s", args, status, says)
	}
	return says
}

// fails runs what has to fail, and say this.
func (s *shop) fails(want string, args ...string) {
	s.t.Helper()
	status, says := s.run(args...)
	if status != 1 || !strings.Contains(says, want) || strings.Contains(says, "goroutine ") {
		s.t.Errorf("hashpkg %q: status %d, and it says %q, want 1 and %q", args, status, says, want)
	}
}

// known returns what is known of sources, and what is in the cache, with all bytes.
func (s *shop) known() map[string]string { return s.tree("var/sys/.hashpkg/sources") }

// tree returns the files below a directory of the root.
func (s *shop) tree(below string) map[string]string {
	s.t.Helper()
	return treeOf(s.t, filepath.Join(s.root, below))
}

func treeOf(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		if d.Type()&fs.ModeSymlink != 0 {
			files[name], err = os.Readlink(path)
			return err
		}
		b, err := os.ReadFile(path)
		files[name] = string(b)
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return files
}

// sameTree complains about what differs in two trees.
func sameTree(t *testing.T, what string, before, after map[string]string) {
	t.Helper()
	for name := range after {
		if before[name] != after[name] {
			t.Errorf("%s: %s has changed", what, name)
		}
	}
	for name := range before {
		if _, ok := after[name]; !ok {
			t.Errorf("%s: %s is gone", what, name)
		}
	}
}

const (
	packedIndex = "main/binary-amd64/Packages.xz"
	inRelease   = "dists/stable/InRelease"
)

// TestBadUpdate has servers and repositories that are not as they should be when a new
// state of them is to be fetched. It is told, the old one stays, and the next one that is
// good is taken.
func TestBadUpdate(t *testing.T) {
	for _, test := range []struct {
		name    string
		isLong  bool // for the attempts that are made
		debs    func(s *shop, d *testrepo.Debs)
		files   func(s *shop, f testrepo.Files)
		server  func(s *shop, f testrepo.Files)
		says    string
		isTaken bool // it is none that is refused
	}{
		{name: "cut off", isLong: true, says: "broken off after 400 bytes", server: func(s *shop, _ testrepo.Files) {
			s.server.Bend(packedIndex, s.server.Cut(100))
		}},
		{name: "status 404", says: "404", server: func(s *shop, _ testrepo.Files) {
			s.server.Bend(packedIndex, testrepo.Status(http.StatusNotFound))
		}},
		{name: "status 416", says: "416", server: func(s *shop, _ testrepo.Files) {
			s.server.Bend(packedIndex, testrepo.Status(http.StatusRequestedRangeNotSatisfiable))
		}},
		{name: "status 500", isLong: true, says: "500", server: func(s *shop, _ testrepo.Files) {
			s.server.Bend("", testrepo.Status(http.StatusInternalServerError))
		}},
		{name: "longer than it says", says: "bytes", files: func(_ *shop, f testrepo.Files) {
			f["dists/stable/"+packedIndex] += "more"
		}},
		{name: "shorter than it says", says: "bytes", files: func(_ *shop, f testrepo.Files) {
			f["dists/stable/"+packedIndex] = f["dists/stable/"+packedIndex][1:]
		}},
		{name: "other index", says: "not the expected one", files: func(_ *shop, f testrepo.Files) {
			b := []byte(f["dists/stable/"+packedIndex])
			b[len(b)/2] ^= 1
			f["dists/stable/"+packedIndex] = string(b)
		}},
		{name: "changes between two requests", says: "it has", server: func(s *shop, f testrepo.Files) {
			s.server.Bend(inRelease, func(w http.ResponseWriter, r *http.Request, good http.HandlerFunc) {
				good(w, r)
				next := s.stock("55555")
				next.Packages = append(next.Packages, testdeb.Package{Name: "more"})
				s.server.Set(next.Files(t))
			})
		}},
		{name: "replayed", says: "it is older than the one that was seen before", debs: func(_ *shop, d *testrepo.Debs) {
			d.Date = testrepo.Date.Add(-30 * 24 * time.Hour)
		}},
		{name: "another key", says: "key that is not known", debs: func(s *shop, d *testrepo.Debs) {
			d.Signer = testrepo.NewKey(s.t, "other", 0)
		}},
		{name: "SHA-1", says: "SHA-1", debs: func(_ *shop, d *testrepo.Debs) { d.SignWith, d.Detached = crypto.SHA1, true }},
		{name: "expired key", says: "expired", debs: func(s *shop, d *testrepo.Debs) {
			d.Signer = testrepo.NewKey(s.t, "expired", 24*time.Hour)
			s.sources("stable.sources", d.Sources(s.t, s.server.URL))
		}},
		{name: "not signed", says: "not signed", debs: func(_ *shop, d *testrepo.Debs) { d.Signer = nil }},
		{name: "SHA-512 only", isTaken: true, debs: func(_ *shop, d *testrepo.Debs) { d.Digests = []string{"SHA512"} }},
		{name: "detached signature", isTaken: true, debs: func(_ *shop, d *testrepo.Debs) { d.Detached = true }},
		{name: "by digest", isTaken: true, debs: func(_ *shop, d *testrepo.Debs) { d.ByHash = true }, files: func(_ *shop, f testrepo.Files) {
			f["dists/stable/"+packedIndex] = "the next one"
		}},
		{name: "other suite", says: "stable", debs: func(_ *shop, d *testrepo.Debs) {
			d.EditRelease = func(text string) string {
				return strings.ReplaceAll(strings.Replace(text, "Origin: Test", "Origin: Debian", 1), "main/", "contrib/")
			}
		}},
		{name: "large index in a small file", isLong: true, says: "limit", debs: func(s *shop, d *testrepo.Debs) {
			d.EditRelease = func(text string) string {
				packed := largeIndex(s.t)
				head, _, _ := strings.Cut(text, "SHA256:")
				return fmt.Sprintf("%sSHA256:\n %x %d main/binary-amd64/Packages.zst\n", head, sha256.Sum256([]byte(packed)), len(packed))
			}
		}, files: func(s *shop, f testrepo.Files) { f["dists/stable/main/binary-amd64/Packages.zst"] = largeIndex(s.t) }},
		{name: "redirects without end", says: "it redirects more than 10 times", server: func(s *shop, _ testrepo.Files) {
			s.server.Bend(packedIndex, testrepo.Redirect("Packages.xz"))
		}},
		{name: "redirects to a file", says: "neither http nor https", server: func(s *shop, f testrepo.Files) {
			file := filepath.Join(s.t.TempDir(), "index")
			if err := os.WriteFile(file, []byte(f["dists/stable/"+packedIndex]), 0o600); err != nil {
				s.t.Fatal(err)
			}
			s.server.Bend(packedIndex, testrepo.Redirect("file://"+file))
		}},
		{name: "package that leads up", says: "../x", debs: func(_ *shop, d *testrepo.Debs) {
			d.EditIndex = func(text string) string { return strings.Replace(text, "Package: tool\n", "Package: ../x\n", 1) }
		}},
		{name: "file that leads up", says: "../../", debs: func(_ *shop, d *testrepo.Debs) {
			d.EditIndex = func(text string) string {
				return strings.Replace(text, "Filename: pool/", "Filename: ../../", 1)
			}
		}},
		{name: "file elsewhere", says: "file:", debs: func(_ *shop, d *testrepo.Debs) {
			d.EditIndex = func(text string) string {
				return strings.Replace(text, "Filename: pool/", "Filename: file:///pool/", 1)
			}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.isLong {
				testneed.Time(t)
			}
			t.Parallel()
			s := openShop(t)
			s.mustRun("update")
			before := s.known()

			bad := s.stock("22")
			if test.debs != nil {
				test.debs(s, &bad)
			}
			files := bad.Files(t)
			if test.files != nil {
				test.files(s, files)
			}
			s.server.Set(files)
			if test.server != nil {
				test.server(s, files)
			}
			if test.isTaken {
				s.mustRun("update")
				s.mustRun("install", "tool")
				s.programSays("tool 22")
				return
			}
			s.fails(test.says, "update")
			sameTree(t, "what is known", before, s.known())
			if s.peak == 0 || s.peak > 512<<10 {
				t.Errorf("it took %d KiB of memory", s.peak)
			}
			t.Logf("it took %d MiB of memory", s.peak>>10)

			s.server.Bend(packedIndex, nil)
			s.server.Bend(inRelease, nil)
			s.server.Bend("", nil)
			good := s.stock("333")
			s.sources("stable.sources", good.Sources(t, s.server.URL))
			s.server.Set(good.Files(t))
			s.mustRun("update")
			s.mustRun("install", "tool")
			s.programSays("tool 333")
		})
	}
}

// largeIndex returns an index of 10 GiB that takes a MiB or so.
func largeIndex(t *testing.T) string {
	t.Helper()
	const size, times = 64 << 20, 160
	const begin, end = "Package: a\nVersion: 1\nArchitecture: all\nFilename: a.deb\nSize: 1\nSHA256: 0000000000000000000000000000000000000000000000000000000000000000\nDescription: ", "\n\n"
	paragraph := begin + strings.Repeat("a", 64<<10-len(begin)-len(end)) + end
	one, err := testdeb.Compress(bytes.Repeat([]byte(paragraph), size/len(paragraph)), testdeb.Zstd)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Repeat(string(one), times) // frames one after the other are one stream
}

// programSays runs the program tool, by the link of the active generation.
func (s *shop) programSays(want string) {
	s.t.Helper()
	b, err := os.ReadFile(filepath.Join(s.root, "var/sys/current-system/bin/tool"))
	if err != nil {
		s.t.Fatalf("%v; there is %s", err, s.mustRun("list"))
	}
	if !strings.Contains(string(b), "echo "+want+"\n") {
		s.t.Errorf("the program is %q, want one that says %q", b, want)
	}
}

// TestStalledServer has a server that stops sending in the middle of a file, once.
func TestStalledServer(t *testing.T) {
	testneed.Time(t)
	t.Parallel()
	s := openShop(t)
	s.server.Bend(packedIndex, testrepo.First(1, s.server.Stall(100)))
	start := time.Now()
	s.mustRun("update")
	if took := time.Since(start); took < 25*time.Second || took > 2*time.Minute {
		t.Errorf("it took %v", took)
	}
	files := s.stock("1").Files(t) // whose signature may have a byte more or less
	if sent, size := s.server.Sent(), int64(len(files["dists/stable/"+packedIndex])+len(files[inRelease])); sent > size+20 {
		t.Errorf("%d bytes were sent of files of %d: the index was not continued", sent, size)
	}
	if n := s.server.Requests(packedIndex); n != 2 {
		t.Errorf("the index was asked for %d times", n)
	}
	s.mustRun("install", "tool")
	s.programSays("tool 1")
}

// TestBadPackages has repositories whose index is good, and whose packages are not. None
// is installed, and nothing else of the command.
func TestBadPackages(t *testing.T) {
	file := testrepo.DebPath(testdeb.Package{Name: "libtool1", Version: "1"})
	other := func(p testdeb.Package) func(s *shop, d *testrepo.Debs, f testrepo.Files) {
		return func(s *shop, d *testrepo.Debs, _ testrepo.Files) {
			content := string(testdeb.Deb(s.t, p))
			// The index has the digest of the other package.
			d.EditIndex = func(text string) string {
				paragraphs := strings.SplitAfter(text, "\n\n")
				paragraphs[1] = fmt.Sprintf("Package: libtool1\nVersion: 1\nArchitecture: amd64\nDescription: x\nFilename: %s\nSize: %d\nSHA256: %x\n\n", file, len(content), sha256.Sum256([]byte(content)))
				return strings.Join(paragraphs, "")
			}
			files := d.Files(s.t)
			files[file] = content
			s.server.Set(files)
		}
	}
	for _, test := range []struct {
		name string
		make func(s *shop, d *testrepo.Debs, f testrepo.Files)
		says string
	}{
		{"digest", func(s *shop, _ *testrepo.Debs, f testrepo.Files) {
			b := []byte(f[file])
			b[len(b)-10] ^= 1
			f[file] = string(b)
			s.server.Set(f)
		}, "not the expected one"},
		{"size", func(s *shop, _ *testrepo.Debs, f testrepo.Files) {
			f[file] += "\n"
			s.server.Set(f)
		}, "bytes"},
		{"none", func(s *shop, _ *testrepo.Debs, f testrepo.Files) {
			delete(f, file)
			s.server.Set(f)
		}, "404"},
		{"name", other(testdeb.Package{Name: "other", Version: "1"}), "other"},
		{"version", other(testdeb.Package{Name: "libtool1", Version: "0.9"}), "0.9"},
		{"architecture", other(testdeb.Package{Name: "libtool1", Version: "1", Arch: "arm64"}), "arm64"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := openShop(t)
			bad := s.stock("1")
			test.make(s, &bad, bad.Files(t))
			s.mustRun("update")
			s.fails(test.says, "install", "tool")
			s.fails("libtool1", "install", "tool")
			if list := s.mustRun("list"); strings.Contains(list, "tool") {
				t.Errorf("something is installed: %s", list)
			}

			s.server.Set(s.stock("22").Files(t))
			s.mustRun("update")
			s.mustRun("install", "tool")
			s.programSays("tool 22")
		})
	}
}

// TestDamagedCache has package files in the cache that are damaged: such a one is told,
// removed, and fetched again by the next command.
func TestDamagedCache(t *testing.T) {
	for _, test := range []struct {
		name   string
		damage func(b []byte) []byte
		isTold bool
	}{
		{"compressed data", func(b []byte) []byte { b[len(b)-20] ^= 0xff; return b }, true},
		{"magic", func(b []byte) []byte { b[0] ^= 0xff; return b }, true},
		{"zeros", func(b []byte) []byte { return make([]byte, len(b)) }, true},
		{"cut off", func(b []byte) []byte { return b[:10] }, false},
		{"empty", func([]byte) []byte { return nil }, false},
	} {
		for _, command := range []string{"install", "download"} {
			t.Run(test.name+", "+command, func(t *testing.T) {
				t.Parallel()
				s := openShop(t)
				dir := t.TempDir()
				args := []string{command, "tool"}
				if command == "download" {
					args = append(args, "--dir", dir)
				}
				s.mustRun("download", "--dir", t.TempDir(), "--deps", "tool")
				cache := filepath.Join(s.root, "var/sys/.hashpkg/cache")
				files := treeOf(t, cache)
				if len(files) != 2 {
					t.Fatalf("the cache has %d files", len(files))
				}
				for name, content := range files {
					if err := os.WriteFile(filepath.Join(cache, name), test.damage([]byte(content)), 0o644); err != nil {
						t.Fatal(err)
					}
				}
				for range files { // each command tells of one, at least
					if !test.isTold {
						break
					}
					if status, says := s.run(args...); status == 0 {
						break
					} else if !strings.Contains(says, "its digest is not that which the index lists") || !strings.Contains(says, "run this again") {
						t.Errorf("it says %q", says)
					}
				}
				s.mustRun(args...)
				if command == "install" {
					s.programSays("tool 1")
					sameTree(t, "the cache", files, treeOf(t, cache))
					return
				}
				got := treeOf(t, dir)
				if want := s.stock("1").Files(t)["pool/tool/tool_1_amd64.deb"]; len(got) != 1 || got["tool_1_amd64.deb"] != want {
					t.Errorf("%d files are there, with %d bytes", len(got), len(got["tool_1_amd64.deb"]))
				}
			})
		}
	}
}

// TestSecretsOfSources has addresses with a user and password, and lists of mirrors with
// a token: what hashpkg says, and what others may read, has none of them.
func TestSecretsOfSources(t *testing.T) {
	s := openShop(t)
	server, ok := strings.CutPrefix(s.server.URL, "http://")
	if !ok {
		t.Fatal(s.server.URL)
	}
	const user, password, token = "anneuser", "geheim4711", "token4712"
	with := "http://" + user + ":" + password + "@" + server
	debs := s.stock("1")
	debs.Suite = "mirrored"
	files := s.stock("1").Files(t)
	for name, content := range debs.Files(t) {
		files[name] = content
	}
	files["list"] = with + "/\n"
	s.server.Set(files)
	s.server.Bend(".deb", func(w http.ResponseWriter, r *http.Request, good http.HandlerFunc) {
		if u, p, ok := r.BasicAuth(); !ok || u != user || p != password {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		good(w, r)
	})
	s.sources("stable.sources", s.stock("1").Sources(t, with))
	s.sources("mirrored.sources", debs.Sources(t, "mirror+http://"+server+"/list?token="+token))

	var says strings.Builder
	command := func(want int, args ...string) {
		t.Helper()
		status, text := s.run(args...)
		if status != want {
			t.Errorf("hashpkg %q: status %d, want %d: %s", args, status, want, text)
		}
		says.WriteString(text)
	}
	command(0, "update", "-v")
	command(0, "sources")
	command(0, "--json", "sources")
	command(0, "search", "tool")
	command(0, "--json", "search", "tool")
	command(0, "install", "-v", "tool")
	command(0, "install", "--from", "mirrored", "--dry-run", "--json", "libtool1")
	command(0, "show", "tool")
	command(0, "--json", "show", "tool")
	command(0, "--json", "list")
	command(0, "lock", "-o", filepath.Join(s.root, "lock.json"))
	lock, err := os.ReadFile(filepath.Join(s.root, "lock.json"))
	if err != nil {
		t.Fatal(err)
	}
	says.Write(lock)
	command(0, "outdated")
	command(0, "clean")
	for _, end := range []string{".deb", inRelease, "mirrored/InRelease", "list"} {
		s.server.Bend(end, testrepo.Status(http.StatusForbidden))
	}
	command(1, "download", "--dir", t.TempDir(), "tool")
	command(1, "update")
	command(1, "--json", "update")
	for _, end := range []string{inRelease, "mirrored/InRelease", "list"} {
		s.server.Bend(end, testrepo.Status(http.StatusNotFound))
	}
	command(1, "update")
	s.sources("other.sources", strings.Replace(debs.Sources(t, "http://"+user+":"+password+"@ x"), "Suites: mirrored", "Suites: x", 1))
	command(1, "sources")
	err = filepath.WalkDir(filepath.Join(s.root, "var"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err != nil || info.Mode().Perm()&0o077 == 0 {
			return err
		}
		b, err := os.ReadFile(path)
		fmt.Fprintf(&says, "%s has %s", path, b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{user, password, token} {
		if i := strings.Index(says.String(), secret); i >= 0 {
			t.Errorf("%s is told: %.300s", secret, says.String()[max(0, i-200):])
		}
	}
}

// TestMirrorListOfFiles has a server whose list of mirrors names a directory of this
// machine that has what the repository would.
func TestMirrorListOfFiles(t *testing.T) {
	t.Parallel()
	s := openShop(t)
	dir := t.TempDir()
	for name, content := range s.stock("22").Files(t) {
		file := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(content), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	s.server.Set(testrepo.Files{"list": "file://" + dir + "\n"})
	s.sources("stable.sources", s.stock("1").Sources(t, "mirror+"+s.server.URL+"/list"))
	s.fails("the list of mirrors has no address", "update")

	// One that is a file may.
	list := filepath.Join(dir, "list")
	if err := os.WriteFile(list, []byte("file://"+dir+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.sources("stable.sources", s.stock("1").Sources(t, "mirror+file://"+list))
	s.mustRun("update")
	s.mustRun("install", "tool")
	s.programSays("tool 22")
}

// TestListsOfMirrorsOfRPMs has servers whose lists of mirrors name a directory of this machine
// that has what the repository would.
func TestListsOfMirrorsOfRPMs(t *testing.T) {
	t.Parallel()
	kind := kindsOfShops(t)[1]
	s := kind.open(t)
	dir := t.TempDir()
	files := kind.stock(s, "22", "", 0)
	for name, content := range files {
		file := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(content), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	description := files["repodata/repomd.xml"]
	s.server.Set(testrepo.Files{
		"list": "file://" + dir + "\n" + dir + "\n../" + dir + "\n",
		"metalink": fmt.Sprintf(`<metalink version="3.0" xmlns="http://www.metalinker.org/"><files><file name="repomd.xml"><size>%d</size>
<verification><hash type="sha256">%x</hash></verification><resources><url protocol="file" type="file">file://%s/repodata/repomd.xml</url></resources></file></files></metalink>`,
			len(description), sha256.Sum256([]byte(description)), dir),
	})
	base := testrepo.RPMs{}.Sources("stable", s.server.URL, "/etc/key")
	for _, list := range []string{"mirrorlist=" + s.server.URL + "/list", "metalink=" + s.server.URL + "/metalink"} {
		s.sources("stable.repo", strings.Replace(base, "baseurl="+s.server.URL, list, 1))
		s.fails("no address", "update")
	}
	// A directory that the source itself names is one that its owner means.
	s.sources("stable.repo", strings.Replace(base, s.server.URL, "file://"+dir, 1))
	s.mustRun("update")
	s.mustRun("install", "tool")
	s.programSays("tool 22")
}

// TestHostileCache has roots in which others have put links where hashpkg keeps what it
// fetches. Nothing that they lead to changes.
func TestHostileCache(t *testing.T) {
	const store = "var/sys/.hashpkg/"
	index := "sources/stable/index"
	for _, test := range []struct {
		name  string
		plant func(s *shop, host string, link func(target, name string))
		works bool // what was planted is replaced
	}{
		{"cache", func(_ *shop, host string, link func(target, name string)) { link(host, "cache") }, false},
		{"sources", func(_ *shop, host string, link func(target, name string)) { link(host, "sources") }, false},
		{"source", func(_ *shop, host string, link func(target, name string)) { link(host, "sources/stable") }, false},
		{"lock", func(_ *shop, host string, link func(target, name string)) { link(host+"/file", "sources/lock") }, false},
		{"index", func(_ *shop, host string, link func(target, name string)) { link(host+"/file", index) }, true},
		{"state", func(_ *shop, host string, link func(target, name string)) {
			link(host+"/file", "sources/stable/state.json")
		}, false},
		{"part", func(s *shop, host string, link func(target, name string)) {
			link(host+"/file", "cache/"+s.cached("tool")+".part")
		}, false},
		{"package", func(s *shop, host string, link func(target, name string)) {
			link(host+"/file", "cache/"+s.cached("tool"))
		}, true},
		{"hard link", func(s *shop, host string, _ func(target, name string)) {
			name := filepath.Join(s.root, store, "cache", s.cached("tool")+".part")
			if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.Link(host+"/file", name)); err != nil {
				s.t.Fatal(err)
			}
		}, true},
		{"pipe for an index", func(s *shop, _ string, _ func(target, name string)) {
			s.mustRun("update")
			name := filepath.Join(s.root, store, index)
			if err := errors.Join(os.Remove(name), unix.Mkfifo(name, 0o644)); err != nil {
				s.t.Fatal(err)
			}
		}, true},
		{"pipe for what is known", func(s *shop, _ string, _ func(target, name string)) {
			s.mustRun("update")
			name := filepath.Join(s.root, store, "sources/stable/state.json")
			if err := errors.Join(os.Remove(name), unix.Mkfifo(name, 0o644)); err != nil {
				s.t.Fatal(err)
			}
		}, false},
		{"pipe in apt's cache", func(s *shop, _ string, _ func(target, name string)) {
			name := filepath.Join(s.root, "var/cache/apt/archives/tool_1_amd64.deb")
			if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), unix.Mkfifo(name, 0o644)); err != nil {
				s.t.Fatal(err)
			}
		}, true},
		{"pipe", func(s *shop, _ string, _ func(target, name string)) {
			name := filepath.Join(s.root, store, "cache", s.cached("tool")+".part")
			if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), unix.Mkfifo(name, 0o644)); err != nil {
				s.t.Fatal(err)
			}
		}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := openShop(t)
			host := t.TempDir()
			if err := errors.Join(os.WriteFile(host+"/file", []byte("the host's"), 0o644), os.Mkdir(host+"/dir", 0o755), os.WriteFile(host+"/dir/file", []byte("the host's"), 0o644)); err != nil {
				t.Fatal(err)
			}
			before := treeOf(t, host)
			test.plant(s, host, func(target, name string) {
				name = filepath.Join(s.root, store, name)
				if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.Symlink(target, name)); err != nil {
					t.Fatal(err)
				}
			})
			for _, args := range [][]string{{"update"}, {"install", "tool"}, {"download", "--dir", t.TempDir(), "tool"}, {"sources"}, {"clean"}, {"clean", "--all"}, {"install", "tool"}} {
				status, says := s.run(args...)
				if status != 0 && test.works || status > 1 {
					t.Errorf("hashpkg %q: status %d: %s", args, status, says)
				}
				sameTree(t, fmt.Sprintf("the host, after hashpkg %q", args), before, treeOf(t, host))
			}
			if test.works {
				s.programSays("tool 1")
			}
		})
	}
}

// cached returns the name that the cache has for a package.
func (s *shop) cached(name string) string {
	s.t.Helper()
	return fmt.Sprintf("sha512-%x", sha512.Sum512([]byte(s.stock("1").Files(s.t)[testrepo.DebPath(testdeb.Package{Name: name, Version: "1"})])))
}

// kindOfShop is a kind of repository that a shop may have.
type kindOfShop struct {
	name            string
	index, packages string // how their files' names end
	// stock returns what the repository, called stable, has when tool has a version, as
	// [shop.stock] says, with these data in what it needs, and with more packages.
	stock   func(s *shop, version, data string, more int) testrepo.Files
	sources func(s *shop)
}

func kindsOfShops(t *testing.T) []kindOfShop {
	rpms := func(s *shop, version, data string, more int) testrepo.RPMs {
		// Who has the data is only in the list of all files.
		r := testrepo.RPMs{Signer: s.key, Date: testrepo.Date.Add(time.Duration(len(version)) * 24 * time.Hour), FileLists: true, Packages: []testrpm.Package{
			{Name: "tool", Version: version, Requires: []string{"/usr/share/libtool1/data"}, Files: []testrpm.File{{Path: "/usr/bin/tool", Mode: 0o755, Content: "#!/bin/sh\necho tool " + version + "\n"}}},
			{Name: "libtool1", Version: version, Files: []testrpm.File{{Path: "/usr/share/libtool1/data", Content: version + data}}},
		}}
		for i := range more {
			r.Packages = append(r.Packages, testrpm.Package{Name: fmt.Sprintf("more%d", i)})
		}
		return r
	}
	return []kindOfShop{
		{"debs", packedIndex, "_amd64.deb", func(s *shop, version, data string, more int) testrepo.Files {
			d := s.stock(version)
			d.Packages[1].Compression = testdeb.None
			d.Packages[1].Files[0].Content = version + data
			for i := range more {
				d.Packages = append(d.Packages, testdeb.Package{Name: fmt.Sprintf("more%d", i)})
			}
			return d.Files(t)
		}, func(s *shop) { s.sources("stable.sources", s.stock("1").Sources(t, s.server.URL)) }},
		{"rpms", "primary.xml.gz", ".x86_64.rpm", func(s *shop, version, data string, more int) testrepo.Files {
			return rpms(s, version, data, more).Files(t)
		}, func(s *shop) {
			s.write("etc/key", testrepo.PublicKeys(t, s.key))
			s.sources("stable.repo", rpms(s, "1", "", 0).Sources("stable", s.server.URL, "/etc/key"))
		}},
	}
}

// open returns a root whose source is a repository of the kind.
func (k *kindOfShop) open(t *testing.T) *shop {
	t.Helper()
	s := &shop{t: t, root: t.TempDir(), key: testrepo.NewKey(t, "archive", 0)}
	s.server = testrepo.Serve(t, k.stock(s, "1", strings.Repeat("data\n", 1000), 0))
	k.sources(s)
	return s
}

// TestKilledUpdates kills update and install at many moments. The next command does what
// was to be done, and fetches only what is missing.
func TestKilledUpdates(t *testing.T) {
	testneed.Time(t)
	for _, kind := range kindsOfShops(t) {
		t.Run(kind.name, func(t *testing.T) { testKilledUpdates(t, kind.open(t), &kind) })
	}
}

func testKilledUpdates(t *testing.T, s *shop, kind *kindOfShop) {
	content := strings.Repeat("0123456789abcdef", 1<<16)
	const kills = 12
	resumed := 0
	for n := range kills {
		version := strings.Repeat("2", n+2)
		files := kind.stock(s, version, content, 0)
		var size int64
		for name, text := range files {
			if strings.HasSuffix(name, kind.packages) && strings.Contains(name, "libtool1") {
				size = int64(len(text))
			}
		}
		s.server.Set(files)
		s.server.Bend(kind.packages, s.server.Slowly(128<<10, 20*time.Millisecond))
		after := time.Duration(n*40) * time.Millisecond
		s.server.Forget()
		for _, args := range [][]string{{"update"}, {"install", "tool"}} {
			cmd := s.command(args...)
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(after)
			if err := cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
				t.Fatal(err)
			}
			_ = cmd.Wait() // killed, or done
		}
		// One of these is what a kill at the wrong moment leaves.
		left := filepath.Join(s.root, "var/sys/.hashpkg/sources/stable", fmt.Sprintf(".hashpkg-new-%016x", n))
		if err := errors.Join(os.MkdirAll(filepath.Dir(left), 0o755), os.WriteFile(left, []byte("half of an index"), 0o600)); err != nil {
			t.Fatal(err)
		}
		s.mustRun("update")
		s.onlyKnown()
		before := s.server.Sent()
		parts := treeOf(t, filepath.Join(s.root, "var/sys/.hashpkg/cache"))
		s.mustRun("install", "tool")
		s.programSays("tool " + version)
		sent := s.server.Sent() - before
		var had int64
		for _, b := range parts {
			if strings.Contains(b, version+content[:100]) {
				had = int64(len(b))
			}
		}
		if had > 0 && had < size {
			resumed++
		}
		if sent > size-had+200<<10 {
			t.Errorf("killed after %v: %d of %d bytes were there, and %d were fetched", after, had, size, sent)
		}
		t.Logf("killed after %v: %d of %d bytes were there, %d were fetched", after, had, size, sent)
	}
	if resumed == 0 {
		t.Error("nothing was ever resumed")
	}
	s.mustRun("verify")
}

// onlyKnown complains about what no update leaves when it ends.
func (s *shop) onlyKnown() {
	s.t.Helper()
	for name := range s.known() {
		if base := filepath.Base(name); base != "index" && base != "state.json" && base != "lock" {
			s.t.Errorf("%s is left", name)
		}
	}
}

// TestTwoUpdates runs several commands at once that fetch the same.
func TestTwoUpdates(t *testing.T) {
	t.Parallel()
	for _, kind := range kindsOfShops(t) {
		t.Run(kind.name, func(t *testing.T) {
			t.Parallel()
			testTwoUpdates(t, kind.open(t), &kind)
		})
	}
}

func testTwoUpdates(t *testing.T, s *shop, kind *kindOfShop) {
	const fileLists = "filelists.xml.gz"
	s.server.Bend(kind.index, s.server.Slowly(100, 50*time.Millisecond))
	s.server.Bend(fileLists, s.server.Slowly(100, 50*time.Millisecond))
	s.server.Bend(kind.packages, s.server.Slowly(500, 50*time.Millisecond))
	for _, args := range [][]string{{"update"}, {"download", "--dir", t.TempDir(), "--deps", "tool"}} {
		s.server.Forget()
		errs := make(chan error)
		const times = 3
		for range times {
			cmd := s.command(args...)
			go func() {
				out, err := cmd.CombinedOutput()
				if err != nil {
					err = fmt.Errorf("hashpkg %q: %w: %s", args, err, out)
				}
				errs <- err
			}()
		}
		for range times {
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
		if args[0] == "update" {
			if n := s.server.Requests(kind.index); n != 1 {
				t.Errorf("the index was fetched %d times", n)
			}
			continue
		}
		if n := s.server.Requests(kind.packages); n != 2 {
			t.Errorf("two packages were fetched %d times", n)
		}
		if n := s.server.Requests(fileLists); n > 1 || n == 0 && kind.name == "rpms" {
			t.Errorf("the list of all files was fetched %d times", n)
		}
	}
	s.mustRun("install", "tool")
	s.programSays("tool 1")
}

// TestRepositoryOnFullDisk updates and installs on a disk that has no room for it.
func TestRepositoryOnFullDisk(t *testing.T) {
	testneed.Root(t)
	for _, kind := range kindsOfShops(t) {
		t.Run(kind.name, func(t *testing.T) { testRepositoryOnFullDisk(t, kind.open(t), &kind) })
	}
}

func testRepositoryOnFullDisk(t *testing.T, s *shop, kind *kindOfShop) {
	if err := os.MkdirAll(filepath.Join(s.root, "var"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", filepath.Join(s.root, "var"), "tmpfs", 0, "size=8m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(filepath.Join(s.root, "var"), 0); err != nil {
			t.Error(err)
		}
	})
	s.mustRun("update")
	s.mustRun("install", "tool")

	noise := make([]byte, 12<<20)
	s.server.Set(kind.stock(s, "22", string(noise), 0))
	s.mustRun("update")
	s.fails("no space left on device", "upgrade")
	s.programSays("tool 1")
	s.mustRun("verify")

	// No room for an index.
	s.mustRun("clean")
	before := s.known()
	filler := filepath.Join(s.root, "var/filler")
	f, err := os.Create(filler)
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = f.Write(noise[:1<<12])
	}
	if cerr := f.Close(); cerr != nil {
		t.Fatal(cerr)
	}
	s.server.Set(kind.stock(s, "333", "", 500))
	s.fails("no space left on device", "update")
	sameTree(t, "what is known", before, s.known())
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	s.mustRun("update")
	s.mustRun("upgrade")
	s.programSays("tool 333")
}

// TestBadRepositoryOfRPMs is TestBadUpdate and TestBadPackages for repositories of rpms.
func TestBadRepositoryOfRPMs(t *testing.T) {
	const (
		packedPrimary = "primary.xml.gz"
		description   = "repodata/repomd.xml"
	)
	key := testrepo.NewKey(t, "archive", 0)
	stock := func(version string) testrepo.RPMs {
		return testrepo.RPMs{Signer: key, Date: testrepo.Date.Add(time.Duration(len(version)) * 24 * time.Hour), Packages: []testrpm.Package{
			{Name: "tool", Version: version, Requires: []string{"libtool"}, Files: []testrpm.File{{Path: "/usr/bin/tool", Mode: 0o755, Content: "#!/bin/sh\necho tool " + version + "\n"}}},
			{Name: "libtool", Version: version, Files: []testrpm.File{{Path: "/usr/share/libtool/data", Content: version}}},
		}}
	}
	primary := func(f testrepo.Files) string {
		for name := range f {
			if strings.HasSuffix(name, packedPrimary) {
				return name
			}
		}
		t.Fatal("there is no index")
		return ""
	}
	// other has the index list tool, and the repository have another package there.
	other := func(p testrpm.Package) func(r *testrepo.RPMs) {
		return func(r *testrepo.RPMs) {
			r.Packages[0] = p
			r.EditIndex = func(text string) string {
				at := testrepo.RPMPath(p)
				text = strings.Replace(text, "<name>"+p.Name+"<", "<name>tool<", 1)
				text = strings.Replace(text, `ver="`+p.Version+`"`, `ver="22"`, 1)
				text = strings.Replace(text, "<arch>"+p.Arch+"<", "<arch>x86_64<", 1)
				if !strings.Contains(text, at) {
					t.Errorf("the index does not lead to %s", at)
				}
				return text
			}
		}
	}
	// changes has the repository be another one when a file of it was fetched.
	changes := func(after string) func(s *shop, f testrepo.Files) {
		return func(s *shop, _ testrepo.Files) {
			s.server.Bend(after, func(w http.ResponseWriter, r *http.Request, good http.HandlerFunc) {
				good(w, r)
				s.server.Bend(after, nil)
				s.server.Set(stock("4444").Files(s.t))
			})
		}
	}
	inIndex := func(replacements ...string) func(r *testrepo.RPMs) {
		return func(r *testrepo.RPMs) { r.EditIndex = strings.NewReplacer(replacements...).Replace }
	}
	inDescription := func(replacements ...string) func(r *testrepo.RPMs) {
		return func(r *testrepo.RPMs) { r.EditDescription = strings.NewReplacer(replacements...).Replace }
	}
	bomb := `<!DOCTYPE x [<!ENTITY lol0 "lol">`
	for i := range 9 {
		bomb += fmt.Sprintf(`<!ENTITY lol%d "%s">`, i+1, strings.Repeat(fmt.Sprintf("&lol%d;", i), 10))
	}
	bomb += "]>"
	expired := testrepo.NewKey(t, "expired", 24*time.Hour)
	for _, test := range []struct {
		name    string
		isLong  bool // for the attempts that are made, or what is read
		rpms    func(r *testrepo.RPMs)
		files   func(f testrepo.Files)
		server  func(s *shop, f testrepo.Files)
		says    string
		at      string // the command that fails
		isTaken bool   // it is none that is refused
	}{
		{name: "cut off", isLong: true, says: "broken off after", at: "update", server: func(s *shop, _ testrepo.Files) {
			s.server.Bend(packedPrimary, s.server.Cut(100))
		}},
		{name: "stalls once", isLong: true, isTaken: true, server: func(s *shop, _ testrepo.Files) {
			s.server.Bend(packedPrimary, testrepo.First(1, s.server.Stall(100)))
		}},
		{name: "status 404", says: "404", at: "update", server: func(s *shop, _ testrepo.Files) {
			s.server.Bend(packedPrimary, testrepo.Status(http.StatusNotFound))
		}},
		{name: "status 416", says: "416", at: "update", server: func(s *shop, _ testrepo.Files) {
			s.server.Bend(packedPrimary, testrepo.Status(http.StatusRequestedRangeNotSatisfiable))
		}},
		{name: "status 500", isLong: true, says: "500", at: "update", server: func(s *shop, _ testrepo.Files) {
			s.server.Bend("", testrepo.Status(http.StatusInternalServerError))
		}},
		{name: "longer than it says", says: "bytes", at: "update", files: func(f testrepo.Files) { f[primary(f)] += "more" }},
		{name: "shorter than it says", says: "bytes", at: "update", files: func(f testrepo.Files) { f[primary(f)] = f[primary(f)][1:] }},
		{name: "other index", says: "not the expected one", at: "update", files: func(f testrepo.Files) {
			b := []byte(f[primary(f)])
			b[len(b)/2] ^= 1
			f[primary(f)] = string(b)
		}},
		{name: "changes before its signature is fetched", says: "altered", at: "update", server: changes(description)},
		{name: "changes before its index is fetched", says: "404", at: "update", server: changes(description + ".asc")},
		{name: "replayed", says: "older than the one that was seen before", at: "update", rpms: func(r *testrepo.RPMs) { r.Date = testrepo.Date }},
		{name: "another key", says: "not known", at: "update", rpms: func(r *testrepo.RPMs) { r.Signer = testrepo.NewKey(t, "other", 0) }},
		{name: "expired key", says: "expired", at: "update", rpms: func(r *testrepo.RPMs) { r.Signer = expired }},
		{name: "SHA-1", says: "SHA-1", at: "update", rpms: func(r *testrepo.RPMs) { r.SignWith = crypto.SHA1 }},
		{name: "not signed", says: "not signed", at: "update", rpms: func(r *testrepo.RPMs) { r.Signer = nil }},
		{name: "altered", says: "altered", at: "update", files: func(f testrepo.Files) { f[description] += "\n" }},
		{name: "SHA-512 only", isTaken: true, rpms: func(r *testrepo.RPMs) { r.Digest = "SHA512" }},
		{name: "large index in a small file", isLong: true, says: "longer than the description says", at: "update", rpms: func(r *testrepo.RPMs) {
			r.EditDescription = func(text string) string {
				packed, err := largePrimary()
				if err != nil {
					t.Fatal(err)
				}
				head, _, _ := strings.Cut(text, "<data ")
				return fmt.Sprintf(`%s<data type="primary"><checksum type="sha256">%x</checksum><location href="large.zst"/><size>%d</size><open-size>%d</open-size></data></repomd>`,
					head, sha256.Sum256([]byte(packed)), len(packed), 1<<30)
			}
		}, files: func(f testrepo.Files) { f["large.zst"], _ = largePrimary() }}, // whose error was seen above
		{name: "redirects without end", says: "it redirects more than 10 times", at: "update", server: func(s *shop, f testrepo.Files) {
			s.server.Bend(packedPrimary, testrepo.Redirect("/"+primary(f)))
		}},
		{name: "redirects to a file", says: "neither http nor https", at: "update", server: func(s *shop, f testrepo.Files) {
			file := filepath.Join(s.t.TempDir(), "index")
			if err := os.WriteFile(file, []byte(f[primary(f)]), 0o600); err != nil {
				s.t.Fatal(err)
			}
			s.server.Bend(packedPrimary, testrepo.Redirect("file://"+file))
		}},
		{name: "package that leads up", says: "../x", at: "update", rpms: func(r *testrepo.RPMs) {
			r.EditIndex = func(text string) string { return strings.Replace(text, "<name>tool<", "<name>../x<", 1) }
		}},
		{name: "file that leads up", says: "../../", at: "update", rpms: func(r *testrepo.RPMs) {
			r.EditIndex = func(text string) string { return strings.Replace(text, `href="Packages/`, `href="../../`, 1) }
		}},
		{name: "file elsewhere", says: "file:", at: "update", rpms: func(r *testrepo.RPMs) {
			r.EditIndex = func(text string) string {
				return strings.Replace(text, `<location href`, `<location xml:base="file:///etc" href`, 1)
			}
		}},
		{name: "file at another address", says: "not a path in the repository", at: "update", rpms: inIndex(`href="Packages/`, `href="http://127.0.0.1:1/`)},
		{name: "file at an absolute path", says: "not a path in the repository", at: "update", rpms: inIndex(`href="Packages/`, `href="/etc/`)},
		{name: "index that leads up", says: "not a path in the repository", at: "update", rpms: inDescription(`href="repodata/`, `href="../repodata/`)},
		{name: "index elsewhere", says: "file:", at: "update", rpms: inDescription(`<location href`, `<location xml:base="file:///etc" href`)},
		{name: "index with MD5", says: "no SHA-256 or SHA-512", at: "update", rpms: inDescription(`checksum type="sha256"`, `checksum type="md5"`)},
		{name: "index without a digest", says: "no SHA-256 or SHA-512", at: "update", rpms: inDescription("<checksum ", "<other ", "</checksum>", "</other>")},
		{name: "two indexes", says: "two files of the type primary", at: "update", rpms: inDescription("</repomd>", `<data type="primary"><checksum type="sha256">`+strings.Repeat("0", 64)+`</checksum><location href="x"/><size>1</size></data></repomd>`)},
		{name: "index of a negative size", says: "size", at: "update", rpms: inDescription("<size>", "<size>-")},
		{name: "index of more bytes than there are numbers", says: "size", at: "update", rpms: inDescription("<size>", "<size>99999999999999999999")},
		{name: "index of an exbibyte", says: "bytes", at: "update", rpms: inDescription("<size>", "<size>1152921504606846")},
		{name: "index that unpacks to nothing", says: "longer than the description says", at: "update", rpms: inDescription("<open-size>", "<open-size>1</open-size><open-size>")},
		{name: "entities in the description", says: "DOCTYPE", at: "update", rpms: inDescription("<repomd", bomb+"<repomd", "<revision>", "<revision>&lol9;")},
		{name: "entities in the index", says: "DOCTYPE", at: "update", rpms: inIndex("<metadata", bomb+"<metadata", "a package<", "&lol9;<")},
		{name: "an entity that is a file", says: "DOCTYPE", at: "update", rpms: inIndex("<metadata", `<!DOCTYPE metadata [<!ENTITY x SYSTEM "file:///etc/passwd">]><metadata`, "a package<", "&x;<")},
		{name: "elements in elements", says: "deep", at: "update", rpms: inIndex("<format>", strings.Repeat("<format>", 1<<20))},
		{name: "package with SHA-1", says: "no SHA-256 or SHA-512", at: "update", rpms: inIndex(`checksum type="sha256"`, `checksum type="sha"`)},
		{name: "package without a digest", says: "no SHA-256 or SHA-512", at: "update", rpms: inIndex("<checksum ", "<other ", "</checksum>", "</other>")},
		{name: "package without a size", says: "size", at: "update", rpms: inIndex(`<size package=`, `<size other=`)},
		{name: "package of more bytes than there are numbers", says: "size", at: "update", rpms: inIndex(`<size package="`, `<size package="9999999999999999999`)},
		{name: "package of an exbibyte", says: "bytes", at: "install", rpms: inIndex(`<size package="`, `<size package="115292150460684`)},
		{name: "package that takes an exbibyte", isTaken: true, rpms: inIndex(`installed="1000"`, `installed="4611686018427387903"`)},
		{name: "epoch that is none", says: "epoch", at: "update", rpms: inIndex(`epoch="0" ver="22"`, `epoch="99999999999" ver="22"`)},
		{name: "version that leads up", says: "../", at: "update", rpms: inIndex(`ver="22"`, `ver="../../22"`)},
		{name: "file of a package that leads up, in the index", isTaken: true, rpms: inIndex("<file>/usr/bin/tool<", "<file>/usr/bin/../../../etc/passwd<")},
		{name: "file of a package that leads up", says: "leaves the root", at: "install", rpms: func(r *testrepo.RPMs) {
			r.Packages[0].Files = append(r.Packages[0].Files, testrpm.File{Path: "/usr/bin/../../../../etc/x", Content: "x"})
		}},
		{name: "escape codes in a summary", says: "is not an entity", at: "update", rpms: inIndex("a package<", "&#27;[2Ja package<")},
		{name: "package of another size", says: "bytes", at: "install", files: func(f testrepo.Files) {
			f["Packages/tool-22-1.x86_64.rpm"] += "x"
		}},
		{name: "package of another digest", says: "not the expected one", at: "install", files: func(f testrepo.Files) {
			b := []byte(f["Packages/tool-22-1.x86_64.rpm"])
			b[len(b)-10] ^= 1
			f["Packages/tool-22-1.x86_64.rpm"] = string(b)
		}},
		{name: "package of another name", says: "other", at: "install", rpms: other(testrpm.Package{Name: "other", Version: "22", Arch: "x86_64"})},
		{name: "package of another version", says: "0.9", at: "install", rpms: other(testrpm.Package{Name: "tool", Version: "0.9", Arch: "x86_64"})},
		{name: "package of another architecture", says: "aarch64", at: "install", rpms: other(testrpm.Package{Name: "tool", Version: "22", Arch: "aarch64"})},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.isLong {
				testneed.Time(t)
			}
			t.Parallel()
			s := &shop{t: t, root: t.TempDir()}
			s.write("etc/key", testrepo.PublicKeys(t, key, expired))
			first := stock("1")
			s.server = testrepo.Serve(t, first.Files(t))
			s.sources("rpms.repo", first.Sources("rpms", s.server.URL, "/etc/key"))
			s.mustRun("update")
			s.mustRun("install", "tool")
			s.programSays("tool 1")
			before := s.known()

			bad := stock("22")
			if test.rpms != nil {
				test.rpms(&bad)
			}
			files := bad.Files(t)
			if test.files != nil {
				test.files(files)
			}
			s.server.Set(files)
			if test.server != nil {
				test.server(s, files)
			}
			switch {
			case test.isTaken:
				s.mustRun("update")
				s.mustRun("upgrade")
				s.programSays("tool 22")
			case test.at == "update":
				s.fails(test.says, "update")
				sameTree(t, "what is known", before, s.known())
				s.programSays("tool 1")
			default:
				s.mustRun("update")
				s.fails(test.says, "upgrade")
				s.programSays("tool 1")
			}
			if s.peak == 0 || s.peak > 512<<10 {
				t.Errorf("it took %d KiB of memory", s.peak)
			}

			for _, end := range []string{packedPrimary, description, description + ".asc", ""} {
				s.server.Bend(end, nil)
			}
			s.server.Set(stock("55555").Files(t))
			s.mustRun("update")
			s.mustRun("upgrade")
			s.programSays("tool 55555")
		})
	}
}

// largePrimary returns an index of 10 GiB that takes a MiB or so.
var largePrimary = sync.OnceValues(func() (string, error) {
	const size, block = 10 << 30, 64 << 20
	one := `<package type="rpm"><name>a</name><arch>noarch</arch><version epoch="0" ver="1" rel="1"/><checksum type="sha256">` + strings.Repeat("0", 64) +
		`</checksum><size package="1"/><location href="a.rpm"/><description>` + strings.Repeat("a", 64<<10) + "</description></package>\n"
	var packed strings.Builder
	w, err := zstd.NewWriter(&packed, zstd.WithEncoderLevel(zstd.SpeedFastest))
	if err != nil {
		return "", err
	}
	many := []byte(strings.Repeat(one, block/len(one)))
	_, err = io.WriteString(w, "<metadata>\n")
	for n := 0; n < size && err == nil; n += len(many) {
		_, err = w.Write(many)
	}
	if err == nil {
		_, err = io.WriteString(w, "</metadata>\n")
	}
	return packed.String(), errors.Join(err, w.Close())
})

// TestSecretsOfRPMs is TestSecretsOfSources for a repository of rpms.
func TestSecretsOfRPMs(t *testing.T) {
	const user, password, token = "anneuser", "geheim4711", "token4712"
	stock := testrepo.RPMs{Signer: testrepo.NewKey(t, "archive", 0), FileLists: true, Packages: []testrpm.Package{
		{Name: "tool", Requires: []string{"/usr/share/data"}}, {Name: "data", Files: []testrpm.File{{Path: "/usr/share/data"}}},
	}}
	s := &shop{t: t, root: t.TempDir()}
	s.write("etc/key", testrepo.PublicKeys(t, stock.Signer))
	s.server = testrepo.Serve(t, nil)
	with := strings.Replace(s.server.URL, "://", "://"+user+":"+password+"@", 1)
	files := stock.Files(t)
	files["list"] = s.server.URL + "\n"
	s.server.Set(files)
	s.sources("1.repo", stock.Sources("rpms", with, "/etc/key"))
	s.sources("2.repo", strings.Replace(stock.Sources("mirrored", "", "/etc/key"), "baseurl=", "mirrorlist="+s.server.URL+"/list?token="+token, 1))
	var says strings.Builder
	command := func(want int, args ...string) {
		t.Helper()
		status, text := s.run(args...)
		if status != want {
			t.Errorf("hashpkg %q: status %d, want %d: %s", args, status, want, text)
		}
		says.WriteString(text)
	}
	all := func(want int) {
		t.Helper()
		command(want, "update", "-v")
		command(want, "--json", "update")
		command(want, "download", "--dir", t.TempDir(), "--from", "rpms", "--deps", "tool")
	}
	all(0)
	command(0, "sources")
	command(0, "--json", "sources")
	command(0, "install", "-v", "--from", "mirrored", "tool")
	command(0, "--json", "show", "tool")
	command(0, "lock", "-o", filepath.Join(s.root, "lock.json"))
	lock, err := os.ReadFile(filepath.Join(s.root, "lock.json"))
	if err != nil {
		t.Fatal(err)
	}
	says.Write(lock)
	for _, status := range []int{http.StatusForbidden, http.StatusNotFound} {
		command(0, "clean")
		for _, end := range []string{".rpm", ".xml", ".gz", "list"} {
			s.server.Bend(end, testrepo.Status(status))
		}
		all(1)
	}
	for _, secret := range []string{user, password, token} {
		if i := strings.Index(says.String(), secret); i >= 0 {
			t.Errorf("%s is told: %.300s", secret, says.String()[max(0, i-200):])
		}
	}
	if !strings.Contains(says.String(), "filelists") {
		t.Error("nothing was said of the index of all files")
	}
}
