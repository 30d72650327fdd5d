package main

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/hashpkg/hashpkg/internal/archive"
	"github.com/hashpkg/hashpkg/internal/testroot"
)

// benchSync syncs a system of more than a thousand packages: for the first time,
// beside reading the same files with sha256sum; with nothing to do; and after one
// package was installed again.
func benchSync(h *harness) error {
	var first, peer, nothing, unchanged, one []measure
	var grown float64
	packages := 0
	for range h.runs {
		root := filepath.Join(h.dir, "system")
		if err := os.RemoveAll(root); err != nil {
			return err
		}
		if err := testroot.UnpackDebian(h.ctx, root, "bookworm", "", testroot.LargePackages...); err != nil {
			return err
		}
		if err := install(h.hashpkg, filepath.Join(root, "usr/bin/hashpkg")); err != nil {
			return err
		}
		before, err := diskUse(root)
		if err != nil {
			return err
		}
		sync := func(times *[]measure) error {
			m, err := h.time("chroot", root, "hashpkg", "sync", "--json")
			*times = append(*times, m)
			return err
		}
		// Both find the files in memory.
		read, err := readFiles(root, "usr")
		if err != nil || read == 0 {
			return fmt.Errorf("read the root: %d bytes: %w", read, err)
		}
		if err := sync(&first); err != nil {
			return err
		}
		after, err := diskUse(root)
		if err != nil {
			return err
		}
		grown = 100 * float64(after-before) / float64(before)
		list, n, err := syncedFiles(root, filepath.Join(h.dir, "output"))
		if err != nil {
			return err
		}
		packages = n
		m, err := h.time("sh", "-c", "xargs -0 sha256sum <\"$1\" && xargs -0 sha256sum <\"$1\"", "sh", list)
		if err != nil {
			return err
		}
		peer = append(peer, m)
		if err := sync(&nothing); err != nil {
			return err
		}
		now := time.Now()
		if err := os.Chtimes(filepath.Join(root, "var/lib/dpkg/status"), now, now); err != nil {
			return err
		}
		if err := sync(&unchanged); err != nil {
			return err
		}
		if err := h.reinstall(root, "zlib1g"); err != nil {
			return err
		}
		if err := sync(&one); err != nil {
			return err
		}
	}
	h.add(fmt.Sprintf("first sync of %d packages", packages), seconds(median(first).wall), "", "")
	h.add("  to sha256sum of the same files, twice", ratio(median(first), median(peer)), seconds(median(peer).wall), "at most 1")
	h.add("  disk used on top", fmt.Sprintf("%.2f %%", grown), "", "under 3 %")
	h.add("  sync with nothing to do", fmt.Sprintf("%d ms", median(nothing).wall.Milliseconds()), "", "under 100 ms")
	h.add("  sync that finds nothing changed", fmt.Sprintf("%d ms", median(unchanged).wall.Milliseconds()), "", "under 100 ms")
	h.add("  sync after one package", fmt.Sprintf("%d ms", median(one).wall.Milliseconds()), "", "under 1000 ms")
	return nil
}

// reinstall installs a package of the release again.
func (h *harness) reinstall(root, name string) error {
	debs, err := archive.Fetch(h.ctx, archive.Options{Suite: "bookworm", Packages: []string{name}})
	if err != nil {
		return err
	}
	if err := install(debs[0], filepath.Join(root, "again.deb")); err != nil {
		return err
	}
	_, err = h.time("chroot", root, "dpkg", "-i", "/again.deb")
	return err
}

// install copies a file that can be run.
func install(from, to string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, b, 0o755)
}

// readFiles reads every file below a directory of the root.
func readFiles(root, dir string) (total int64, err error) {
	err = filepath.WalkDir(filepath.Join(root, dir), func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(p)
		total += int64(len(b))
		return err
	})
	return total, err
}

// diskUse returns the KiB that a root takes.
func diskUse(root string) (kib int64, err error) {
	out, err := exec.Command("du", "-sk", root).Output()
	if err != nil {
		return 0, fmt.Errorf("du: %w", err)
	}
	_, err = fmt.Sscan(string(out), &kib)
	return kib, err
}

// syncedFiles writes the paths of the files that a sync has read, ended by zero
// bytes, to a file: those in trees, and the programs that it has edited. output is
// what it printed.
func syncedFiles(root, output string) (list string, packages int, err error) {
	var result struct {
		Packages int
		Trees    []struct{ Name, Tree string }
		Programs []struct{ Path string }
	}
	b, err := os.ReadFile(output)
	if err != nil {
		return "", 0, err
	}
	if err := json.Unmarshal(b, &result); err != nil {
		return "", 0, err
	}
	var paths []byte
	add := func(p string) { paths = append(append(paths, p...), 0) }
	for _, t := range result.Trees {
		err := filepath.WalkDir(filepath.Join(root, "var/sys", t.Name, t.Tree), func(p string, d fs.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() {
				add(p)
			}
			return err
		})
		if err != nil {
			return "", 0, err
		}
	}
	for _, p := range result.Programs {
		add(filepath.Join(root, p.Path))
	}
	list = filepath.Join(filepath.Dir(output), "synced-files")
	return list, result.Packages, os.WriteFile(list, paths, 0o600)
}
