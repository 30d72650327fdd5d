package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/hashpkg/hashpkg/internal/archive"
)

const (
	repoSuite   = "bookworm"
	repoKeyring = "/usr/share/keyrings/debian-archive-keyring.gpg"
)

// benchRepo takes Debian's main from a mirror on loopback: its index beside apt-get
// update, and a package with all that it needs beside apt-get and dpkg.
func benchRepo(h *harness) error {
	m, err := h.newMirror()
	if err != nil {
		return err
	}
	defer m.server.Close()
	if err := h.benchUpdate(m); err != nil {
		return err
	}
	root, err := h.repoRoot(m)
	if err != nil {
		return err
	}
	if _, err := h.time(h.hashpkg, "--root", root, "update", "-q"); err != nil {
		return err
	}
	for _, one := range []struct {
		what, target string
		args         []string
	}{
		{"show a package of the index", "under 50 ms", []string{"show", "ffmpeg"}},
		{"search for two words", "under 50 ms", []string{"search", "json", "processor"}},
		{"complete lib", "under 50 ms", []string{"__complete", "install", "lib"}},
		{"complete the versions of a package", "under 50 ms", []string{"__complete", "install", "ffmpeg="}},
		{"complete a release", "under 50 ms", []string{"__complete", "install", "--from", ""}},
		{"complete a command", "under 30 ms", []string{"__complete", "ins"}},
		{"print the help", "under 30 ms", []string{"help"}},
	} {
		results, err := h.compare(contender{one.what, func() (measure, error) {
			return h.time(h.hashpkg, append([]string{one.args[0], "--root", root}, one.args[1:]...)...)
		}})
		if err != nil {
			return err
		}
		h.add(one.what, seconds(results[0].wall), "", one.target)
		h.add("  peak memory", fmt.Sprintf("%d MB", results[0].memory/1e6), "", "under 60 MB")
	}
	return h.benchByName(m)
}

// mirror serves what a part of Debian's mirrors has, on loopback.
type mirror struct {
	server *http.Server
	suite  string
	url    string
	dir    string // with dists as a mirror has it, and the files of all packages in pool
}

// newMirror fetches the signed index of main of the release of most sections from a mirror of Debian and serves it.
func (h *harness) newMirror() (*mirror, error) { return h.newMirrorOf(repoSuite) }

func (h *harness) newMirrorOf(suite string) (*mirror, error) {
	dir, err := h.fresh("mirror")
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"InRelease", "main/binary-amd64/Packages.xz"} {
		at := "dists/" + suite + "/" + name
		if err := h.download(cmp.Or(os.Getenv("HASHPKG_MIRROR"), archive.DefaultMirror)+"/"+at, filepath.Join(dir, at)); err != nil {
			return nil, err
		}
	}
	listener, err := new(net.ListenConfig).Listen(h.ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	m := &mirror{suite: suite, dir: dir, url: "http://" + listener.Addr().String()}
	m.server = &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := r.URL.Path
		switch {
		case strings.HasPrefix(name, "/pool/"):
			name = "/pool/" + path.Base(name)
		case strings.Contains(name, "/by-hash/"): // there is one index only
			name = path.Join(path.Dir(path.Dir(path.Dir(name))), "Packages.xz")
		}
		http.ServeFile(w, r, filepath.Join(dir, path.Clean(name)))
	})}
	go m.server.Serve(listener) //nolint:errcheck // it ends when it is closed
	return m, nil
}

func (h *harness) download(url, file string) (err error) {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(h.ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, response.Status)
	}
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, response.Body)
	return errors.Join(err, f.Close())
}

// repoRoot returns a new root that has the mirror as its only source.
func (h *harness) repoRoot(m *mirror) (string, error) {
	root, err := h.fresh("repo-root")
	if err != nil {
		return "", err
	}
	keys, err := os.ReadFile(repoKeyring)
	if err != nil {
		return "", fmt.Errorf("%w: apt-get install debian-archive-keyring", err)
	}
	source := fmt.Sprintf("Types: deb\nURIs: %s\nSuites: %s\nComponents: main\nSigned-By: %s\n", m.url, m.suite, repoKeyring)
	for name, text := range map[string][]byte{repoKeyring: keys, "etc/hashpkg/sources.d/" + m.suite + ".sources": []byte(source)} {
		if err := writeBelow(root, name, text); err != nil {
			return "", err
		}
	}
	return root, nil
}

func writeBelow(dir, name string, text []byte) error {
	file := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	return os.WriteFile(file, text, 0o644)
}

// aptRoot returns a new directory whose apt.conf has apt know the mirror, and an empty
// system, and nothing else.
func (h *harness) aptRoot(m *mirror) (conf string, err error) {
	dir, err := h.fresh("apt-root")
	if err != nil {
		return "", err
	}
	for _, d := range []string{"state/lists/partial", "cache/archives/partial"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return "", err
		}
	}
	config := fmt.Sprintf(`APT::Architecture "amd64";
APT::Architectures { "amd64"; };
APT::Sandbox::User "root";
Acquire::Languages "none";
Dir "%[1]s";
Dir::State "state";
Dir::State::status "%[1]s/status";
Dir::Cache "cache";
Dir::Etc::sourcelist "%[1]s/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::parts "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
`, dir)
	source := fmt.Sprintf("deb [signed-by=%s] %s %s main\n", repoKeyring, m.url, repoSuite)
	for name, text := range map[string]string{"apt.conf": config, "sources.list": source, "status": ""} {
		if err := writeBelow(dir, name, []byte(text)); err != nil {
			return "", err
		}
	}
	return filepath.Join(dir, "apt.conf"), nil
}

func (h *harness) benchUpdate(m *mirror) error {
	results, err := h.compare(
		contender{"hashpkg update", func() (measure, error) {
			root, err := h.repoRoot(m)
			if err != nil {
				return measure{}, err
			}
			return h.time(h.hashpkg, "--root", root, "update", "-q")
		}},
		contender{"apt-get update", func() (measure, error) {
			conf, err := h.aptRoot(m)
			if err != nil {
				return measure{}, err
			}
			return h.time("env", "APT_CONFIG="+conf, "apt-get", "-qq", "update")
		}},
	)
	if err != nil {
		return err
	}
	h.add("update of Debian's main", seconds(results[0].wall), "", "")
	h.add("  to apt-get update", ratio(results[0], results[1]), seconds(results[1].wall), "at most 1.0")
	h.add("  peak memory", fmt.Sprintf("%d MB", results[0].memory/1e6), fmt.Sprintf("apt %d MB", results[1].memory/1e6), "")
	return nil
}

// benchByName installs a program with all that it needs. apt and dpkg have the same
// packages to fetch and to unpack; dpkg gets copies without scripts, which an empty root
// could not run.
func (h *harness) benchByName(m *mirror) error {
	root, err := h.repoRoot(m)
	if err != nil {
		return err
	}
	specs, size, err := h.fillPool(m, root, "ffmpeg")
	if err != nil {
		return err
	}
	conf, err := h.aptRoot(m)
	if err != nil {
		return err
	}
	if _, err := h.time("env", "APT_CONFIG="+conf, "apt-get", "-qq", "update"); err != nil {
		return err
	}
	debs, err := filepath.Glob(filepath.Join(m.dir, "pool/*.deb"))
	if err != nil {
		return err
	}
	plain, err := h.withoutScripts(debs)
	if err != nil {
		return err
	}
	results, err := h.compare(
		contender{"hashpkg install --from", func() (measure, error) {
			root, err := h.repoRoot(m)
			if err != nil {
				return measure{}, err
			}
			if _, err := h.time(h.hashpkg, "--root", root, "update", "-q"); err != nil {
				return measure{}, err
			}
			return h.time(h.hashpkg, "--root", root, "install", "-q", "--from", repoSuite, "ffmpeg")
		}},
		contender{"apt-get and dpkg", func() (measure, error) {
			archives, err := h.fresh("archives")
			if err != nil {
				return measure{}, err
			}
			root, err := h.fresh("dpkg-root")
			if err != nil {
				return measure{}, err
			}
			if err := emptyDatabase(root); err != nil {
				return measure{}, err
			}
			// apt-get download takes files that are there for fetched: each run has a
			// directory of its own.
			fetch := append([]string{"-c", `cd "$1" && conf=$2 && shift 2 && APT_CONFIG=$conf exec apt-get -qq download "$@"`, "sh", archives, conf}, specs...)
			fetched, err := h.time("sh", fetch...)
			if err != nil {
				return measure{}, err
			}
			unpacked, err := h.time("dpkg", append([]string{"--root=" + root, "--force-all", "--no-triggers", "--unpack"}, plain...)...)
			return measure{fetched.wall + unpacked.wall, max(fetched.memory, unpacked.memory)}, err
		}},
	)
	if err != nil {
		return err
	}
	h.add(fmt.Sprintf("install --from ffmpeg (%d packages, %d MB)", len(specs), size/1e6), seconds(results[0].wall), "", "")
	h.add("  to apt-get download and dpkg --unpack", ratio(results[0], results[1]), seconds(results[1].wall), "at most 0.5")
	h.add("  peak memory", fmt.Sprintf("%d MB", results[0].memory/1e6), "", "under 300 MB")
	return nil
}

// put has the mirror serve a package file, NAME_VERSION_ARCH.deb, under the name of mirrors, which is
// without an epoch.
func (m *mirror) put(deb string) error {
	name, rest, _ := strings.Cut(filepath.Base(deb), "_")
	if _, version, ok := strings.Cut(rest, "%3a"); ok {
		rest = version
	}
	err := os.Symlink(deb, filepath.Join(m.dir, "pool", name+"_"+rest))
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return err
}

// fillPool puts a package, and those that it needs, into the mirror. It returns them as
// NAME=VERSION, and the size of their files.
func (h *harness) fillPool(m *mirror, root, name string) (specs []string, size int64, err error) {
	list := exec.CommandContext(h.ctx, h.hashpkg, "--root", root, "--json", "install", "--dry-run", "--from", m.suite, name)
	list.Stderr = os.Stderr
	text, err := list.Output()
	if err != nil {
		return nil, 0, err
	}
	var chosen struct {
		Packages []struct {
			Name, Version string
			Size          int64
		}
	}
	if err := json.NewDecoder(bytes.NewReader(text)).Decode(&chosen); err != nil {
		return nil, 0, err
	}
	for _, p := range chosen.Packages {
		specs, size = append(specs, p.Name+"="+p.Version), size+p.Size
	}
	debs, err := archive.Fetch(h.ctx, archive.Options{Suite: m.suite, Arch: "amd64", Packages: specs, Log: os.Stderr})
	if err != nil {
		return nil, 0, err
	}
	if err := os.MkdirAll(filepath.Join(m.dir, "pool"), 0o755); err != nil {
		return nil, 0, err
	}
	for _, d := range debs {
		if err := m.put(d); err != nil {
			return nil, 0, err
		}
	}
	return specs, size, nil
}
