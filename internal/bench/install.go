package main

import (
	"archive/tar"
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashpkg/hashpkg/internal/archive"
	"github.com/hashpkg/hashpkg/internal/testdeb"
)

// packages names 120 packages of Debian 12, a compiler, an interpreter and what
// they stand on, whose libraries are all among them.
//
//go:embed packages.txt
var packages string

// benchInstall installs the packages into an empty root, durably, beside dpkg,
// which unpacks them durably, and two dpkg-deb at a time, which only unpack.
func benchInstall(h *harness) error {
	debs, err := archive.Fetch(h.ctx, archive.Options{Suite: "bookworm", Arch: "amd64", Packages: strings.Fields(packages), Log: os.Stderr})
	if err != nil {
		return err
	}
	var size int64
	for _, d := range debs {
		info, err := os.Stat(d)
		if err != nil {
			return err
		}
		size += info.Size()
	}
	plain, err := h.withoutScripts(debs)
	if err != nil {
		return err
	}
	results, err := h.compare(
		contender{"hashpkg install", func() (measure, error) {
			root, err := h.fresh("hashpkg-root")
			if err != nil {
				return measure{}, err
			}
			return h.time(h.hashpkg, append([]string{"--root", root, "install", "-q"}, debs...)...)
		}},
		contender{"dpkg --unpack", func() (measure, error) {
			root, err := h.fresh("dpkg-root")
			if err != nil {
				return measure{}, err
			}
			if err := emptyDatabase(root); err != nil {
				return measure{}, err
			}
			return h.time("dpkg", append([]string{"--root=" + root, "--force-all", "--no-triggers", "--unpack"}, plain...)...)
		}},
		contender{"dpkg-deb -x", func() (measure, error) {
			root, err := h.fresh("deb-root")
			if err != nil {
				return measure{}, err
			}
			return h.time("sh", append([]string{"-c", `root=$1; shift; printf '%s\0' "$@" | xargs -0 -P 2 -I{} dpkg-deb -x {} "$root"`, "sh", root}, debs...)...)
		}},
	)
	if err != nil {
		return err
	}
	what := fmt.Sprintf("install %d packages (%d MB)", len(debs), size/1e6)
	h.add(what, seconds(results[0].wall), "", "")
	h.add("  to dpkg --unpack", ratio(results[0], results[1]), seconds(results[1].wall), "at most 0.8")
	h.add("  to dpkg-deb -x, two at a time", ratio(results[0], results[2]), seconds(results[2].wall), "at most 1.1")
	h.add("  peak memory", fmt.Sprintf("%d MB", results[0].memory/1e6), fmt.Sprintf("dpkg %d MB", results[1].memory/1e6), "under 300 MB")
	return nil
}

// emptyDatabase makes what dpkg needs in a root that it has never seen.
func emptyDatabase(root string) error {
	for _, d := range []string{"info", "updates", "triggers"} {
		if err := os.MkdirAll(filepath.Join(root, "var/lib/dpkg", d), 0o755); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(root, "var/lib/dpkg/status"), nil, 0o644)
}

// withoutScripts returns copies of packages whose control member has no scripts,
// which dpkg would run in a root that has no shell. The data is the same.
func (h *harness) withoutScripts(debs []string) ([]string, error) {
	dir, err := h.fresh("plain")
	if err != nil {
		return nil, err
	}
	var out []string
	for _, d := range debs {
		b, err := os.ReadFile(d)
		if err != nil {
			return nil, err
		}
		control, err := exec.CommandContext(h.ctx, "dpkg-deb", "--ctrl-tarfile", d).Output()
		if err != nil {
			return nil, fmt.Errorf("dpkg-deb --ctrl-tarfile %s: %w", d, err)
		}
		filtered, err := dropScripts(control)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", d, err)
		}
		name, data, err := dataMember(b)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", d, err)
		}
		path := filepath.Join(dir, filepath.Base(d))
		plain := testdeb.Ar(
			testdeb.Member{Name: "debian-binary", Data: []byte("2.0\n")},
			testdeb.Member{Name: "control.tar", Data: filtered},
			testdeb.Member{Name: name, Data: data},
		)
		if err := os.WriteFile(path, plain, 0o644); err != nil {
			return nil, err
		}
		out = append(out, path)
	}
	return out, nil
}

func dropScripts(control []byte) ([]byte, error) {
	var out bytes.Buffer
	in, w := tar.NewReader(bytes.NewReader(control)), tar.NewWriter(&out)
	for {
		header, err := in.Next()
		if errors.Is(err, io.EOF) {
			err := w.Close()
			return out.Bytes(), err
		}
		if err != nil {
			return nil, err
		}
		if slices.Contains([]string{"preinst", "postinst", "prerm", "postrm", "config", "triggers"}, filepath.Base(header.Name)) {
			continue
		}
		if err := w.WriteHeader(header); err != nil {
			return nil, err
		}
		if _, err := io.Copy(w, in); err != nil {
			return nil, err
		}
	}
}

// dataMember returns the name and the bytes of a deb's data member (deb(5)).
func dataMember(deb []byte) (name string, data []byte, err error) {
	for at := len("!<arch>\n"); at+60 <= len(deb); {
		header := string(deb[at : at+60])
		var size int
		if _, err := fmt.Sscan(header[48:58], &size); err != nil {
			return "", nil, err
		}
		name = strings.TrimRight(strings.TrimSpace(header[:16]), "/")
		if strings.HasPrefix(name, "data.tar") {
			return name, deb[at+60 : at+60+size], nil
		}
		at += 60 + size + size%2
	}
	return "", nil, errors.New("no data member")
}
