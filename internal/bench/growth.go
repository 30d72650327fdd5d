package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/hashpkg/hashpkg/internal/testdeb"
)

// manyTrees is how many trees the large root has.
const manyTrees = 2000

// benchGrowth installs small packages into an empty root and into one with many
// trees, in turn: the second should cost little more.
func benchGrowth(h *harness) error {
	large, err := h.fresh("large-root")
	if err != nil {
		return err
	}
	args := []string{"--root", large, "install", "-q"}
	for i := range manyTrees {
		deb, err := h.smallDeb(fmt.Sprintf("many%d", i))
		if err != nil {
			return err
		}
		args = append(args, deb)
	}
	if _, err := h.time(h.hashpkg, args...); err != nil {
		return err
	}
	count := 0
	into := func(root string) func() (measure, error) {
		return func() (measure, error) {
			count++
			deb, err := h.smallDeb(fmt.Sprintf("small%d", count))
			if err != nil {
				return measure{}, err
			}
			if root == "" {
				if root, err = h.fresh("empty-root"); err != nil {
					return measure{}, err
				}
				defer func() { root = "" }()
			}
			return h.time(h.hashpkg, "--root", root, "install", "-q", deb)
		}
	}
	runs := h.runs
	h.runs = max(runs, 15) // they are short, and a disk's sync varies
	defer func() { h.runs = runs }()
	results, err := h.compare(contender{"empty", into("")}, contender{"large", into(large)}, contender{"list", func() (measure, error) {
		return h.time(h.hashpkg, "--root", large, "list")
	}})
	if err != nil {
		return err
	}
	h.add(fmt.Sprintf("install a small package among %d trees", manyTrees), seconds(results[1].wall), "", "")
	h.add("  to the same in an empty root", ratio(results[1], results[0]), seconds(results[0].wall), "at most 1.5")
	h.add("  list", fmt.Sprintf("%d ms", results[2].wall.Milliseconds()), "", "under 50 ms")
	return nil
}

// smallDeb writes a package with a command, a page and some data.
func (h *harness) smallDeb(name string) (string, error) {
	b, err := testdeb.Package{Name: name, Version: "1.0-1", Files: []testdeb.File{
		testdeb.Exec("usr/bin/"+name, "#!/bin/sh\necho "+name+"\n"),
		{Path: "usr/share/man/man1/" + name + ".1", Content: name},
		{Path: "usr/share/doc/" + name + "/copyright", Content: "nobody's"},
	}}.Build()
	if err != nil {
		return "", err
	}
	path := filepath.Join(h.dir, name+".deb")
	return path, os.WriteFile(path, b, 0o644)
}
