package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/hashpkg/hashpkg/internal/testroot"
)

// benchQueries asks about a synced system of more than a thousand packages: with the indexes that
// answers come from, without that of the trees, and without any, as after a change of the system.
func benchQueries(h *harness) error {
	root := filepath.Join(h.dir, "asked")
	if err := testroot.UnpackDebian(h.ctx, root, "bookworm", "", testroot.LargePackages...); err != nil {
		return err
	}
	if err := install(h.hashpkg, filepath.Join(root, "usr/bin/hashpkg")); err != nil {
		return err
	}
	if _, err := h.time("chroot", root, "hashpkg", "sync", "--json"); err != nil {
		return err
	}
	_, packages, err := syncedFiles(root, filepath.Join(h.dir, "output"))
	if err != nil {
		return err
	}
	index := filepath.Join(root, "var/sys/.hashpkg/index")
	queries := [][]string{
		{"deps", "/usr/bin/ffmpeg"},
		{"deps", "--tree", "ffmpeg"},
		{"why", "zlib1g"},
		{"owner", "/usr/bin/ffmpeg"},
		{"users", "libz.so.1"},
		{"users", "libz.so.1", "--running"},
		{"graph", "ffmpeg"},
		{"graph"},
		{"sbom"},
	}
	h.add(fmt.Sprintf("questions about %d packages", packages), "", "without the trees' index; and without the programs'", "")
	for _, q := range queries {
		ask := func(missing ...string) (measure, error) {
			var all []measure
			for range h.runs {
				for _, name := range missing {
					if err := os.RemoveAll(filepath.Join(index, name)); err != nil {
						return measure{}, err
					}
				}
				m, err := h.time(h.hashpkg, append([]string{"--root", root, "--json"}, q...)...)
				if err != nil {
					return m, err
				}
				all = append(all, m)
			}
			return median(all), nil
		}
		if _, err := ask(); err != nil { // which makes the indexes
			return err
		}
		with, err := ask()
		if err != nil {
			return err
		}
		without, err := ask("trees")
		if err != nil {
			return err
		}
		none, err := ask("trees", "programs")
		if err != nil {
			return err
		}
		h.add("  "+fmt.Sprint(q), fmt.Sprintf("%d ms", with.wall.Milliseconds()), fmt.Sprintf("%d ms; %d ms", without.wall.Milliseconds(), none.wall.Milliseconds()), "under 100 ms")
	}
	return nil
}
