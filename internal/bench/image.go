package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/hashpkg/hashpkg/internal/archive"
)

// imageProgram is what images are made of, with all that it needs.
const imageProgram = "postgresql-15"

// benchImage makes an image of a database server from package files that are there, beside a root of
// mmdebstrap with the same server, as a tar archive. mmdebstrap's has the essential packages as well,
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
	pool, err := h.debootstrapPool()
	if err != nil {
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
		return h.time("mmdebstrap", "--quiet", "--mode=root", "--variant=essential", "--include="+imageProgram, repoSuite, filepath.Join(out, "root.tar"), "deb [trusted=yes] copy:"+pool+" ./")
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

// debootstrapPool returns a directory with all packages that mmdebstrap needs, and their index.
func (h *harness) debootstrapPool() (string, error) {
	pool, err := h.fresh("pool")
	if err != nil {
		return "", err
	}
	_, err = h.time("mmdebstrap", "--quiet", "--mode=root", "--variant=essential", "--include="+imageProgram, "--skip=cleanup/apt/cache,essential/unlink", "--format=null",
		`--customize-hook=cp "$1"/var/cache/apt/archives/*.deb `+pool, repoSuite, "-", fmt.Sprintf("deb %s %s main", archive.DefaultMirror, repoSuite))
	if err != nil {
		return "", err
	}
	index, err := os.Create(filepath.Join(pool, "Packages"))
	if err != nil {
		return "", err
	}
	scan := exec.CommandContext(h.ctx, "dpkg-scanpackages", ".")
	scan.Dir, scan.Stdout = pool, index
	return pool, errors.Join(scan.Run(), index.Close())
}
