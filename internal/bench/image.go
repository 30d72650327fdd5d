package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/hashpkg/hashpkg/internal/archive"
)

// imageProgram is what images are made of, with all that it needs.
const imageProgram = "postgresql-15"

// benchImage makes an image of a database server from package files that are there, beside a root of
// mmdebstrap with the same server, as a tar archive, from a mirror on loopback. mmdebstrap's has the essential packages as well,
// which it cannot do without, and is not compressed; the image is.
func benchImage(h *harness) error {
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "section image is left out: mmdebstrap needs root")
		return nil
	}
	m, err := h.newMirror()
	if err != nil {
		return err
	}
	defer m.server.Close()
	root, err := h.repoRoot(m)
	if err != nil {
		return err
	}
	if _, err := h.time(h.hashpkg, "--root", root, "update", "-q"); err != nil {
		return err
	}
	if _, _, err := h.fillPool(m, root, imageProgram); err != nil {
		return err
	}
	if err := h.fillEssential(m); err != nil {
		return err
	}
	out, err := h.fresh("images")
	if err != nil {
		return err
	}
	cache := filepath.Join(out, "cache")
	image := func(keep bool) contender {
		return contender{"hashpkg", func() (measure, error) {
			if !keep {
				if err := os.RemoveAll(filepath.Join(cache, "layers")); err != nil {
					return measure{}, err
				}
			}
			return h.time(h.hashpkg, "--root", root, "image", "-q", "--cache", cache, "--from", repoSuite, imageProgram, "-o", "oci-archive:"+filepath.Join(out, "image.tar"))
		}}
	}
	results, err := h.compare(image(false), image(true), contender{"mmdebstrap", func() (measure, error) {
		return h.time("mmdebstrap", "--quiet", "--mode=root", "--variant=essential", "--include="+imageProgram, repoSuite, filepath.Join(out, "root.tar"), fmt.Sprintf("deb [signed-by=%s] %s %s main", repoKeyring, m.url, repoSuite))
	}})
	if err != nil {
		return err
	}
	peer := results[2].wall
	for i, row := range []struct{ what, target string }{{"an image of " + imageProgram + ", from package files", "at most 0.50"}, {"  with the layers of before", ""}} {
		h.add(row.what, seconds(results[i].wall), fmt.Sprintf("mmdebstrap %s (%.2f)", seconds(peer), results[i].wall.Seconds()/peer.Seconds()), row.target)
	}
	return nil
}

// fillEssential puts into the mirror what mmdebstrap installs besides.
func (h *harness) fillEssential(m *mirror) error {
	debs, err := h.fresh("essential")
	if err != nil {
		return err
	}
	if _, err := h.time("mmdebstrap", "--quiet", "--mode=root", "--variant=essential", "--include="+imageProgram, "--skip=cleanup/apt/cache,essential/unlink", "--format=null",
		`--customize-hook=cp "$1"/var/cache/apt/archives/*.deb `+debs, repoSuite, "-", fmt.Sprintf("deb %s %s main", archive.DefaultMirror, repoSuite)); err != nil {
		return err
	}
	files, err := filepath.Glob(filepath.Join(debs, "*.deb"))
	if err != nil {
		return err
	}
	for _, file := range files {
		if err := m.put(file); err != nil {
			return err
		}
	}
	return nil
}
