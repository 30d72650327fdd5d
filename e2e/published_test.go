package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hashpkg/hashpkg/internal/testneed"
	"github.com/hashpkg/hashpkg/internal/testrepo"
	"github.com/hashpkg/hashpkg/internal/testroot"
	"github.com/hashpkg/hashpkg/internal/testrpm"
)

// publishedAt is the address that published repositories name.
const publishedAt = "file:///srv/hashpkg"

// gpgHome returns a directory of gpg with keys that have no passphrase. Its path is short, as
// those of sockets have to be.
func gpgHome(t *testing.T) (dir string, gpg func(args ...string) string) {
	t.Helper()
	testneed.Programs(t, "gpg", "gpgconf")
	dir, err := os.MkdirTemp("", "gpg")
	if err != nil {
		t.Fatal(err)
	}
	env := append(os.Environ(), "GNUPGHOME="+dir)
	t.Cleanup(func() {
		stop := exec.Command("gpgconf", "--kill", "all")
		stop.Env = env
		if err := errors.Join(stop.Run(), os.RemoveAll(dir)); err != nil {
			t.Error(err)
		}
	})
	return dir, func(args ...string) string {
		t.Helper()
		cmd := exec.Command("gpg", append([]string{"--batch", "--quiet", "--pinentry-mode", "loopback", "--passphrase", ""}, args...)...)
		var stderr bytes.Buffer
		cmd.Env, cmd.Stderr = env, &stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("gpg %q: %v: %s", args, err, &stderr)
		}
		return string(out)
	}
}

// publish runs scripts/repo.sh on the packages of a directory, and returns what it says.
func publish(gpgHome, key, packages, out string) (string, error) {
	cmd := exec.Command("../scripts/repo.sh")
	cmd.Env = append(os.Environ(), "GNUPGHOME="+gpgHome, "KEY="+key, "PACKAGES="+packages, "OUT="+out, "URL="+publishedAt, "PKGVERSION=1.0", "SOURCE_DATE_EPOCH=1700000000")
	said, err := cmd.CombinedOutput()
	return string(said), err
}

// spoiled returns a copy of a directory in which one byte of the files of some names is another.
func spoiled(t *testing.T, dir string, names ...string) string {
	t.Helper()
	to := t.TempDir()
	if err := errors.Join(os.CopyFS(to, os.DirFS(dir)), os.Chmod(to, 0o755), os.Chmod(filepath.Dir(to), 0o755)); err != nil {
		t.Fatal(err)
	}
	done := 0
	err := filepath.WalkDir(to, func(path string, entry fs.DirEntry, err error) error {
		rel := strings.TrimPrefix(path, to+"/")
		if err != nil || entry.IsDir() || !slices.ContainsFunc(names, func(name string) bool { return strings.Contains(rel, name) }) {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		content[len(content)/2] ^= 1
		done++
		return os.WriteFile(path, content, 0o644)
	})
	if err != nil || done == 0 {
		t.Fatalf("%d files of the names %q are changed: %v", done, names, err)
	}
	return to
}

// TestPublishedRepository makes the repositories of hashpkg's own packages, and has apt, dnf and
// hashpkg use them, and refuse what nobody has signed.
func TestPublishedRepository(t *testing.T) {
	t.Parallel()
	testneed.Root(t)
	testneed.Programs(t, "apt-ftparchive", "createrepo_c", "dpkg-buildpackage", "rpmbuild", "rpmsign", "xz", "dnf", "rpm")
	home, gpg := gpgHome(t)
	gpg("--quick-generate-key", "good <good@example.org>", "rsa3072", "sign", "never")
	gpg("--quick-generate-key", "other <other@example.org>", "rsa3072", "sign", "never")
	gpg("--faked-system-time", "20200101T000000", "--quick-generate-key", "old <old@example.org>", "rsa3072", "sign", "1y")
	otherKey := gpg("--armor", "--export", "other@example.org")
	packages := t.TempDir()
	for _, file := range slices.Concat(buildPackages(t, "deb", "1.0"), buildPackages(t, "rpm", "1.0")) {
		if err := os.Rename(file, filepath.Join(packages, filepath.Base(file))); err != nil {
			t.Fatal(err)
		}
	}
	dir := filepath.Join(t.TempDir(), "repo")
	if said, err := publish(home, "good@example.org", packages, dir); err != nil || said != dir+"/deb\n"+dir+"/rpm\n" {
		t.Fatalf("publish: %v: %s", err, said)
	}
	for d := dir; d != os.TempDir(); d = filepath.Dir(d) { // apt reads as a user of its own
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}

	t.Run("again", func(t *testing.T) {
		before := treeOf(t, dir)
		if said, err := publish(home, "good@example.org", packages, dir); err != nil {
			t.Fatalf("publish: %v: %s", err, said)
		}
		sameTree(t, "made again", before, treeOf(t, dir))
		if left, err := filepath.Glob(dir + ".*"); err != nil || left != nil {
			t.Errorf("it leaves %q, %v", left, err)
		}
	})
	t.Run("refused", func(t *testing.T) {
		before, mine := treeOf(t, dir), t.TempDir()
		if err := os.WriteFile(filepath.Join(mine, "mine"), nil, 0o644); err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct{ key, out, want string }{
			{"", dir, "name the key that signs: make repo KEY=FINGERPRINT"},
			{"nobody", dir, "gpg has no secret key of the name nobody in " + home},
			{"example.org", dir, "several keys have the name example.org"},
			{"old@example.org", dir, "cannot sign: it has expired"},
			{"good@example.org", mine, mine + " is there, and is no repository of hashpkg"},
		} {
			if said, err := publish(home, c.key, packages, c.out); err == nil || !strings.Contains(said, c.want) {
				t.Errorf("with key %q and %s: %v: %s", c.key, c.out, err, said)
			}
		}
		sameTree(t, "after refusals", before, treeOf(t, dir))
		if got := treeOf(t, mine); len(got) != 1 {
			t.Errorf("in a directory of somebody's own there are %v", got)
		}
	})
	t.Run("apt", func(t *testing.T) { testPublishedDebs(t, dir, otherKey) })
	t.Run("dnf", func(t *testing.T) { testPublishedRPMs(t, dir, otherKey) })
	t.Run("hashpkg", func(t *testing.T) { testPublishedByName(t, dir, otherKey) })
}

func testPublishedDebs(t *testing.T, dir, otherKey string) {
	root := testroot.Debian(t, "bookworm", "")
	sources, err := os.ReadFile(filepath.Join(dir, "deb/hashpkg.sources"))
	if err != nil {
		t.Fatal(err)
	}
	refuses := func(what, dir, sources, want string, command ...string) {
		t.Helper()
		root.Run("sh", "-c", "rm -rf /var/lib/apt/lists /etc/apt/sources.list*; mkdir /etc/apt/sources.list.d")
		root.WriteFile("/etc/apt/sources.list.d/hashpkg.sources", sources, 0o644)
		root.Bind(dir, strings.TrimPrefix(publishedAt, "file://"))
		if len(command) > 0 {
			root.Run("apt-get", "-q", "update")
		} else {
			command = []string{"apt-get", "-q", "update"}
		}
		if out, err := root.RunErr(t.Context(), command...); err == nil || !strings.Contains(out, want) {
			t.Errorf("%s: %v: %s", what, err, out)
		}
		if out, err := root.RunErr(t.Context(), "apt-get", "-y", "-q", "install", "hashpkg"); err == nil {
			t.Errorf("%s, and hashpkg is installed: %s", what, out)
		}
	}
	install := []string{"apt-get", "-y", "-q", "install", "hashpkg"}
	const nobody = "is not signed"
	start := bytes.Index(sources, []byte("Signed-By:"))
	if start < 0 {
		t.Fatalf("the sources have no key: %s", sources)
	}
	var foreign strings.Builder
	foreign.Write(sources[:start])
	foreign.WriteString("Signed-By:\n")
	for line := range strings.Lines(otherKey) {
		if strings.TrimSpace(line) == "" {
			line = ".\n"
		}
		foreign.WriteString(" " + line)
	}
	refuses("another key", dir, foreign.String(), nobody)
	refuses("no key", dir, string(sources[:start]), nobody)
	refuses("a changed description", spoiled(t, dir, "InRelease", "Release.gpg"), string(sources), nobody)
	refuses("a changed index", spoiled(t, dir, "main/binary-amd64/"), string(sources), "Hash Sum mismatch")
	refuses("a changed package", spoiled(t, dir, "pool/hashpkg_"), string(sources), "Hash Sum mismatch", install...)

	root.Bind(dir, strings.TrimPrefix(publishedAt, "file://"))
	if out := root.Run("apt-get", "-q", "update"); strings.Contains(out, "W:") || strings.Contains(out, "N:") {
		t.Errorf("apt says of what is in order: %s", out)
	}
	root.Run("apt-get", "-y", "-q", "install", "hashpkg", "hashpkg-follow")
	if out := root.Run("hashpkg", "version"); !strings.Contains(out, "1.0") {
		t.Errorf("it says %s", out)
	}
	root.Run("hashpkg", "check")

	// The other form of the signature, and the names by digest.
	other := t.TempDir()
	if err := errors.Join(os.CopyFS(other, os.DirFS(dir)), os.Chmod(other, 0o755), os.Remove(filepath.Join(other, "deb/dists/hashpkg/InRelease"))); err != nil {
		t.Fatal(err)
	}
	root.Bind(other, strings.TrimPrefix(publishedAt, "file://"))
	root.Run("sh", "-c", "rm -rf /var/lib/apt/lists")
	root.Run("apt-get", "-q", "update")
	root.Run("sh", "-ec", `cd `+strings.TrimPrefix(publishedAt, "file://")+`/deb/dists/hashpkg/main/binary-amd64
for file in Packages Packages.gz Packages.xz; do cmp $file by-hash/SHA256/$(sha256sum <$file | cut -c 1-64); done`)
}

// shell is a package that stands for the shell of a distribution.
var shell = testrpm.Package{Name: "sh", Version: "1", Provides: []string{"/bin/sh"}}

// filesOf returns what a server has of a directory.
func filesOf(t *testing.T, dir string) testrepo.Files {
	t.Helper()
	files := testrepo.Files{}
	err := fs.WalkDir(os.DirFS(dir), ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(filepath.Join(dir, path))
		files[path] = string(content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func testPublishedRPMs(t *testing.T, dir, otherKey string) {
	server := testrepo.Serve(t, filesOf(t, dir))
	base := testrepo.Serve(t, testrepo.RPMs{Packages: []testrpm.Package{shell}}.Files(t))
	repo, err := os.ReadFile(filepath.Join(dir, "rpm/hashpkg.repo"))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"gpgcheck=1\n", "repo_gpgcheck=1\n", "gpgkey=file:///etc/pki/rpm-gpg/RPM-GPG-KEY-hashpkg\n"} {
		if !bytes.Contains(repo, []byte("\n"+line)) {
			t.Errorf("the file of sources has no %s", line)
		}
	}
	key, err := os.ReadFile(filepath.Join(dir, "rpm/RPM-GPG-KEY-hashpkg"))
	if err != nil {
		t.Fatal(err)
	}
	// dnf runs dnf with a key in a root that is new.
	dnf := func(key string, args ...string) (root, said string, err error) {
		top := t.TempDir()
		root = filepath.Join(top, "root")
		keyFile := filepath.Join(root, "etc/pki/rpm-gpg/RPM-GPG-KEY-hashpkg")
		text := strings.NewReplacer(publishedAt, server.URL, "file:///etc", "file://"+root+"/etc").Replace(string(repo))
		for file, content := range map[string]string{
			keyFile:                               key,
			filepath.Join(top, "d/hashpkg.repo"):  text,
			filepath.Join(top, "d/base.repo"):     "[base]\nname=base\nbaseurl=" + base.URL + "\ngpgcheck=0\n",
			filepath.Join(top, "home/.rpmmacros"): "%_dbpath /var/lib/rpm\n",
			filepath.Join(top, "dnf.conf"): fmt.Sprintf("[main]\nreposdir=%s/d\ncachedir=%[1]s/cache\nlogdir=%[1]s\npersistdir=%[1]s/persist\n"+
				"plugins=0\nretries=1\ntsflags=noscripts,notriggers\n", top),
		} {
			if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(content), 0o644)); err != nil {
				t.Fatal(err)
			}
		}
		cmd := exec.CommandContext(t.Context(), "dnf", slices.Concat([]string{"-y", "--config", top + "/dnf.conf", "--installroot", root, "--releasever", "1", "--forcearch", "x86_64"}, args)...)
		cmd.Env = append(os.Environ(), "HOME="+top+"/home", "LC_ALL=C.UTF-8")
		out, err := cmd.CombinedOutput()
		return root, string(out), err
	}
	if _, said, err := dnf(string(key), "makecache"); err != nil {
		t.Errorf("makecache: %v: %s", err, said)
	}
	root, said, err := dnf(string(key), "install", "hashpkg", "hashpkg-follow")
	if err != nil {
		t.Fatalf("install: %v: %s", err, said)
	}
	out, err := exec.CommandContext(t.Context(), filepath.Join(root, "usr/bin/hashpkg"), "version").Output()
	if err != nil || !strings.Contains(string(out), "1.0") {
		t.Errorf("it says %s, %v", out, err)
	}
	for what, c := range map[string]struct {
		key, want string
		dir       string
	}{
		"another key":           {otherKey, "GPG", dir},
		"a changed description": {string(key), "GPG", spoiled(t, dir, "repodata/repomd.xml.asc")},
		"a changed index":       {string(key), "hecksum", spoiled(t, dir, "-primary.xml.gz")},
		"a changed package":     {string(key), "hecksum", spoiled(t, dir, "hashpkg-1.0-1.x86_64.rpm")},
	} {
		server.Set(filesOf(t, c.dir))
		if root, said, err := dnf(c.key, "install", "hashpkg"); err == nil || !strings.Contains(said, c.want) {
			t.Errorf("%s: %v: %s", what, err, said)
		} else if _, err := os.Stat(filepath.Join(root, "usr/bin/hashpkg")); err == nil {
			t.Errorf("%s, and it is installed", what)
		}
	}
}

func testPublishedByName(t *testing.T, dir, otherKey string) {
	server := testrepo.Serve(t, filesOf(t, dir))
	base := testrepo.Serve(t, testrepo.RPMs{Packages: []testrpm.Package{shell}}.Files(t))
	for format, file := range map[string]string{"deb": "hashpkg.sources", "rpm": "hashpkg.repo"} {
		t.Run(format, func(t *testing.T) {
			text, err := os.ReadFile(filepath.Join(dir, format, file))
			if err != nil {
				t.Fatal(err)
			}
			key, err := os.ReadFile(filepath.Join(dir, "rpm/RPM-GPG-KEY-hashpkg"))
			if err != nil {
				t.Fatal(err)
			}
			// open returns a root with the source and a key, and what the command returns that adds it.
			open := func(key string) (run func(ctx context.Context, args ...string) (string, error)) {
				root := t.TempDir()
				sources := filepath.Join(t.TempDir(), file)
				text := strings.ReplaceAll(string(text), publishedAt, server.URL)
				if format == "rpm" { // of its own it has no shell, which its scripts need
					text += "hashpkg_release=mine\n\n[base]\nname=base\nbaseurl=" + base.URL + "\ngpgcheck=0\nhashpkg_release=mine\n"
				}
				for name, content := range map[string]string{sources: text, filepath.Join(root, "etc/pki/rpm-gpg/RPM-GPG-KEY-hashpkg"): key} {
					if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(content), 0o644)); err != nil {
						t.Fatal(err)
					}
				}
				run = func(ctx context.Context, args ...string) (string, error) {
					cmd := exec.CommandContext(ctx, hashpkg(t), append([]string{"--root", root}, args...)...)
					out, err := cmd.CombinedOutput()
					return string(out), err
				}
				if out, err := run(t.Context(), "sources", "add", sources); err != nil {
					t.Fatalf("sources add: %v: %s", err, out)
				}
				return run
			}
			run := open(string(key))
			if out, err := run(t.Context(), "install", "hashpkg", "hashpkg-follow"); err != nil {
				t.Fatalf("install: %v: %s", err, out)
			}
			if out, err := run(t.Context(), "show", "hashpkg"); err != nil || !strings.Contains(out, "good <good@example.org>") {
				t.Errorf("show: %v: %s", err, out)
			}
			if out, err := run(t.Context(), "verify"); err != nil {
				t.Errorf("verify: %v: %s", err, out)
			}
			server.Set(filesOf(t, spoiled(t, dir, "main/binary-amd64/", "-primary.xml.gz")))
			if out, err := open(string(key))(t.Context(), "install", "hashpkg"); err == nil {
				t.Errorf("a changed index is taken: %s", out)
			}
			server.Set(filesOf(t, dir))
			if format == "rpm" {
				if out, err := open(otherKey)(t.Context(), "install", "hashpkg"); err == nil {
					t.Errorf("with another key it is installed: %s", out)
				}
			}
		})
	}
}
