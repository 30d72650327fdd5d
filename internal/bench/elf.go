package main

import (
	"debug/elf"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/elfedit"
	"github.com/hashpkg/hashpkg/internal/mapped"
)

// benchRPath is the search path that is set: three directories.
const benchRPath = "/var/sys/package/1.2.3-4/lib64:/var/sys/package/default/lib64:/var/sys/current-system/lib64"

// benchSample is how many files are edited with one call for each.
const benchSample = 300

// benchELF sets a search path in copies of every program and library of the
// machine, in one call and in one for each file, beside patchelf.
func benchELF(h *harness) error {
	if _, err := exec.LookPath("patchelf"); err != nil {
		fmt.Fprintf(os.Stderr, "section elf is left out: %v\n", err)
		return nil
	}
	origin, err := h.fresh("elf")
	if err != nil {
		return err
	}
	files, err := copyELF(origin, []string{"/usr/bin", "/usr/sbin", "/usr/lib"})
	if err != nil {
		return err
	}
	var size, largestSize int64
	largest := ""
	for _, f := range files {
		info, err := os.Stat(filepath.Join(origin, f))
		if err != nil {
			return err
		}
		size += info.Size()
		if info.Size() > largestSize {
			largest, largestSize = f, info.Size()
		}
	}
	// All names fit into one call: the list is far below the kernel's limit.
	batch, each := "-x -s 2000000", "-n 1"
	results, err := h.compare(
		contender{"hashpkg, one call", h.editCopies(origin, files, batch, h.hashpkg+" elf")},
		contender{"patchelf, a call for each", h.editCopies(origin, files, each, "patchelf")},
		contender{"patchelf, one call", h.editCopies(origin, files, batch, "patchelf")},
	)
	if err != nil {
		return err
	}
	h.add(fmt.Sprintf("set the RUNPATH of %d ELF files (%d MB)", len(files), size/1e6), seconds(results[0].wall), "", "")
	h.add("  patchelf, a call for each, to it", ratio(results[1], results[0]), seconds(results[1].wall), "at least 5")
	h.add("  patchelf, one call, to it", ratio(results[2], results[0]), seconds(results[2].wall), "")

	var sample []string
	for i := range min(benchSample, len(files)) {
		sample = append(sample, files[i*len(files)/min(benchSample, len(files))])
	}
	results, err = h.compare(
		contender{"hashpkg", h.editCopies(origin, sample, each, h.hashpkg+" elf")},
		contender{"patchelf", h.editCopies(origin, sample, each, "patchelf")},
	)
	if err != nil {
		return err
	}
	h.add(fmt.Sprintf("  a call for each of %d", len(sample)), seconds(results[0].wall), "", "")
	h.add("  patchelf, the same, to it", ratio(results[1], results[0]), seconds(results[1].wall), "at least 1")

	results, err = h.compare(
		contender{"hashpkg", h.editCopies(origin, []string{largest}, each, h.hashpkg+" elf")},
		contender{"patchelf", h.editCopies(origin, []string{largest}, each, "patchelf")},
	)
	if err != nil {
		return err
	}
	memory := func(m measure) string {
		return fmt.Sprintf("%.2f of the file", float64(m.memory)/float64(largestSize))
	}
	h.add(fmt.Sprintf("  peak memory, the largest (%d MB)", largestSize/1e6), memory(results[0]), "patchelf "+memory(results[1]), "at most 2")
	return nil
}

// editCopies edits copies of files, named by xargs with its options.
func (h *harness) editCopies(origin string, files []string, xargs, program string) func() (measure, error) {
	return func() (measure, error) {
		dir, err := h.fresh("elf-copies")
		if err != nil {
			return measure{}, err
		}
		names := []byte(strings.Join(files, "\x00"))
		list := filepath.Join(h.dir, "elf-list")
		if err := os.WriteFile(list, names, 0o644); err != nil {
			return measure{}, err
		}
		cp := exec.CommandContext(h.ctx, "sh", "-c", `xargs -0 cp --parents --preserve=mode -t "$1" <"$2"`, "sh", dir, list)
		cp.Dir, cp.Stderr = origin, os.Stderr
		if err := cp.Run(); err != nil {
			return measure{}, fmt.Errorf("copy files: %w", err)
		}
		unix.Sync()
		return h.time("sh", "-c", `cd "$1" && exec xargs -0 `+xargs+` `+program+` --set-rpath "$2" <"$3"`, "sh", dir, benchRPath, list)
	}
}

// copyELF copies the programs and libraries below some directories that load
// libraries and can be edited, and returns their names below dir. Files of
// debugging information are not among them: patchelf breaks those.
func copyELF(dir string, from []string) ([]string, error) {
	var files []string
	take := func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		editable := false
		err = mapped.Open(path, func(data []byte) error {
			info, err := elfedit.Inspect(data)
			if err != nil || !info.HasDynamic || info.SplitDebug || info.Type != elf.ET_DYN && info.Type != elf.ET_EXEC {
				return nil //nolint:nilerr // most files are no ELF files
			}
			value := benchRPath
			_, err = elfedit.Make(data, elfedit.Changes{Path: &elfedit.SearchPath{Set: &value}})
			editable = err == nil
			return nil
		})
		if err != nil || !editable {
			return err
		}
		name := strings.TrimPrefix(path, "/")
		to := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		files = append(files, name)
		if out, err := exec.Command("cp", "--reflink=auto", path, to).CombinedOutput(); err != nil {
			return fmt.Errorf("copy %s: %w: %s", path, err, out)
		}
		return os.Chmod(to, 0o755)
	}
	for _, top := range from {
		if err := filepath.WalkDir(top, take); err != nil {
			return nil, err
		}
	}
	return files, nil
}
