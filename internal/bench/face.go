package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/hashpkg/hashpkg/internal/testdeb"
	"github.com/hashpkg/hashpkg/internal/testroot"
)

// facePackages is how many packages there are to be completed.
const facePackages = 1000

// benchFace times what a person waits for at each key: help, completion, and the hook that finds
// nothing to do, beside the help of apt and the start of a process.
func benchFace(h *harness) error {
	small, err := h.fresh("face")
	if err != nil {
		return err
	}
	if err := installMany(h, small); err != nil {
		return err
	}
	large := filepath.Join(h.dir, "followed")
	if err := testroot.UnpackDebian(h.ctx, large, "bookworm", "", testroot.LargePackages...); err != nil {
		return err
	}
	if err := install(h.hashpkg, filepath.Join(large, "usr/bin/hashpkg")); err != nil {
		return err
	}
	if _, err := h.time("chroot", large, "hashpkg", "sync", "-q"); err != nil {
		return err
	}
	run := func(name string, args ...string) contender {
		return contender{name, func() (measure, error) {
			var all []measure
			for range 20 { // each takes a few milliseconds
				m, err := h.time(name, args...)
				if err != nil {
					return m, err
				}
				all = append(all, m)
			}
			return median(all), nil
		}}
	}
	h.add(fmt.Sprintf("what people wait for, with %d packages", facePackages), "", "beside apt --help; and true", "")
	for _, row := range []struct {
		what, target string
		contender    contender
	}{
		{"--help", "under 30 ms", run(h.hashpkg, "--help")},
		{"list", "", run(h.hashpkg, "--root", small, "list")},
		{"completion of commands", "under 30 ms", run(h.hashpkg, "__complete", "")},
		{"completion of all names", "under 30 ms", run(h.hashpkg, "--root", small, "__complete", "remove", "")},
		{"completion of versions", "under 30 ms", run(h.hashpkg, "--root", small, "__complete", "use", "many7=")},
		{"completion of generations", "under 30 ms", run(h.hashpkg, "--root", small, "__complete", "rollback", "")},
		{"a hook with nothing to do", "under 10 ms", run("chroot", large, "hashpkg", "hook", "after")},
	} {
		m, err := h.compare(row.contender, run("apt", "--help"), run("true"))
		if err != nil {
			return err
		}
		h.add("  "+row.what, seconds(m[0].wall), seconds(m[1].wall)+"; "+seconds(m[2].wall), row.target)
	}
	return nil
}

// installMany installs small packages.
func installMany(h *harness, root string) error {
	debs, err := h.fresh("many")
	if err != nil {
		return err
	}
	args := []string{"--root", root, "install", "-q"}
	for i := range facePackages {
		name := fmt.Sprintf("many%d", i)
		p := testdeb.Package{Name: name, Version: "1", Files: []testdeb.File{testdeb.Exec("usr/bin/"+name, "#!/bin/sh\n")}}
		b, err := p.Build()
		file := filepath.Join(debs, name+".deb")
		if err := errors.Join(err, os.WriteFile(file, b, 0o644)); err != nil {
			return err
		}
		args = append(args, file)
	}
	_, err = h.time(h.hashpkg, args...)
	return err
}
