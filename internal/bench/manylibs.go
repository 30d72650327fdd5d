package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/hashpkg/hashpkg/internal/testdeb"
)

const (
	manyLibraries = 900
	manyDirect    = 10 // that the program needs itself
	slowLookup    = time.Millisecond
	slowPairs     = 20
	slowAtOnce    = 10 // runs at one time: they wait, and hardly compute
	slowestPairs  = 2  // of what takes minutes, and is compared with nothing
	compilersMost = 4
)

// manyNeeds returns which of the libraries the library i needs: three that nothing else
// brings, as long as there are some, and two of all.
func manyNeeds(i int) []int {
	var needs []int
	for j := 3*i + manyDirect; j < 3*i+manyDirect+3 && j < manyLibraries; j++ {
		needs = append(needs, j)
	}
	for _, j := range []int{(7*i + 1) % manyLibraries, (13*i + 5) % manyLibraries} {
		if j != i && !slices.Contains(needs, j) {
			needs = append(needs, j)
		}
	}
	return needs
}

func manyName(i int) string { return fmt.Sprintf("libmany%d", i) }

// manyPackages compiles a program with many libraries, and returns the files of their
// packages, one each, and a directory that has the program and the libraries.
func (h *harness) manyPackages() (debs []string, dir string, err error) {
	if dir, err = h.fresh("many"); err != nil {
		return nil, "", err
	}
	compile := func(args ...string) error {
		cmd := exec.CommandContext(h.ctx, "gcc", args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("gcc: %w: %s", err, out)
		}
		return nil
	}
	library := func(i int, suffix string, needs []int) error {
		name := manyName(i)
		args := []string{"-shared", "-fPIC", "-nostdlib", "-o", name + suffix, "-Wl,-soname," + name + ".so", name + ".c", "-L.", "-Wl,--no-as-needed"}
		for _, j := range needs {
			args = append(args, "-lmany"+strconv.Itoa(j))
		}
		return compile(args...)
	}
	for i := range manyLibraries {
		source := fmt.Sprintf("int many%d(void) { return %d; }\n", i, i)
		if err := os.WriteFile(filepath.Join(dir, manyName(i)+".c"), []byte(source), 0o644); err != nil {
			return nil, "", err
		}
	}
	for _, suffix := range []string{".so", ".new"} { // the first are to link with
		var group errgroup.Group
		group.SetLimit(compilersMost)
		for i := range manyLibraries {
			group.Go(func() error {
				if suffix == ".so" {
					return library(i, suffix, nil)
				}
				return library(i, suffix, manyNeeds(i))
			})
		}
		if err := group.Wait(); err != nil {
			return nil, "", err
		}
	}
	for i := range manyLibraries {
		if err := os.Rename(filepath.Join(dir, manyName(i)+".new"), filepath.Join(dir, manyName(i)+".so")); err != nil {
			return nil, "", err
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "many.c"), []byte("int main(void) { return 0; }\n"), 0o644); err != nil {
		return nil, "", err
	}
	args := []string{"-o", "many", "many.c", "-L.", "-Wl,--no-as-needed", "-Wl,--allow-shlib-undefined"}
	for i := range manyDirect {
		args = append(args, "-lmany"+strconv.Itoa(i))
	}
	if err := compile(args...); err != nil {
		return nil, "", err
	}
	add := func(name, file, path string) error {
		b, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			return err
		}
		deb, err := testdeb.Package{Name: name, Version: "1", Arch: "amd64", Files: []testdeb.File{testdeb.Exec(path, string(b))}}.Build()
		if err != nil {
			return err
		}
		debs = append(debs, filepath.Join(dir, name+".deb"))
		return os.WriteFile(debs[len(debs)-1], deb, 0o644)
	}
	err = add("many", "many", "usr/bin/many")
	for i := range manyLibraries {
		err = errors.Join(err, add(manyName(i), manyName(i)+".so", "usr/lib/x86_64-linux-gnu/"+manyName(i)+".so"))
	}
	return debs, dir, err
}

// putMany puts the program and its libraries where a distribution has them.
func (h *harness) putMany(dir, root string) error {
	move := func(from, to string) error {
		b, err := os.ReadFile(filepath.Join(dir, from))
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(root, to), b, 0o755)
	}
	err := move("many", "usr/bin/many")
	for i := range manyLibraries {
		name := manyName(i) + ".so"
		err = errors.Join(err, move(name, "usr/lib/x86_64-linux-gnu/"+name))
	}
	if err != nil {
		return err
	}
	if out, err := exec.CommandContext(h.ctx, "chroot", root, "/sbin/ldconfig").CombinedOutput(); err != nil {
		return fmt.Errorf("ldconfig: %w: %s", err, out)
	}
	return nil
}

// startSlowly starts a program in each of the ways on a slow file system, several times at once.
func (h *harness) startSlowly(ways []*way) error {
	if _, err := os.Stat("/dev/fuse"); err != nil {
		fmt.Fprintf(os.Stderr, "the slow file system is left out: %v\n", err)
		return nil
	}
	mountPoint, err := h.fresh("slow")
	if err != nil {
		return err
	}
	results := make([][]slowRun, len(ways))
	var group errgroup.Group
	group.SetLimit(slowAtOnce)
	for i, w := range ways {
		results[i] = make([]slowRun, slowPairs)
		if w.name == fullWay {
			results[i] = results[i][:slowestPairs]
		}
	}
	for n := range slowPairs {
		for i, w := range ways {
			if n >= len(results[i]) {
				continue
			}
			group.Go(func() (err error) {
				results[i][n], err = runSlowly(h.ctx, slowLookup, w.root, mountPoint, w.program)
				return err
			})
		}
	}
	if err := group.Wait(); err != nil {
		return err
	}
	medians := make([]slowRun, len(ways))
	for i, r := range results {
		slices.SortFunc(r, func(a, b slowRun) int { return int(a.Took - b.Took) })
		medians[i] = r[len(r)/2]
	}
	bound := medians[slices.IndexFunc(ways, func(w *way) bool { return w.name == boundWay })]
	for i, w := range ways {
		target := ""
		if w.name == searchWay {
			target = "at least 15"
		}
		h.add(fmt.Sprintf("start %d libraries, %s a look-up, %s", manyLibraries, slowLookup, w.name),
			fmt.Sprintf("%s, %d look-ups", seconds(medians[i].Took), medians[i].Lookups),
			fmt.Sprintf("%.1f of bound", medians[i].Took.Seconds()/bound.Took.Seconds()), target)
	}
	return nil
}
