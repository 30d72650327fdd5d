package testroot

import (
	"context"
	"debug/elf"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// Loads is what the dynamic executables of a root load, by the executables'
// paths in the root.
type Loads map[string]Load

// Load is what an executable's own loader says that it loads.
type Load struct {
	// Libraries are the files, by the name that they are wanted under; the path
	// is empty for one that is not found. The loader itself is among them.
	Libraries map[string]string

	// Err is what the loader says when it fails; empty when all is found.
	Err string
}

// loadsScript lists what each executable of the standard input loads: a line
// has its loader, a tab and its path. It needs nothing of the root but the
// shell's builtins and what it asks for.
const loadsScript = `chroot "$root" /bin/sh -c 'while IFS="	" read -r loader program; do
	printf "== %s\n" "$program"
	"$loader" --list "$program" 2>&1 </dev/null
	printf "\n-- %s\n" $?
done'
exit $?`

// Loads asks for each dynamic executable of the root the loader that it names
// (its interpreter) which libraries it would load, as `ld.so --list` does.
// Executables below the paths in except are left out; so are /proc, /dev and
// /sys always.
func (r *Root) Loads(except ...string) Loads {
	r.tb.Helper()
	executables, err := r.executables(except)
	if err != nil {
		r.tb.Fatalf("look for executables: %v", err)
	}
	// One process for each processor of a small machine.
	const parts = 2
	found, errs := make([]Loads, parts), make([]error, parts)
	done := make(chan struct{})
	for i := range parts {
		go func() {
			defer func() { done <- struct{}{} }()
			var part []string
			for j := i; j < len(executables); j += parts {
				part = append(part, executables[j])
			}
			found[i], errs[i] = r.list(part)
		}()
	}
	for range parts {
		<-done
	}
	all := Loads{}
	for i := range parts {
		if errs[i] != nil {
			r.tb.Fatalf("ask the loader: %v", errs[i])
		}
		maps.Copy(all, found[i])
	}
	if len(all) != len(executables) {
		r.tb.Fatalf("the loader was asked for %d executables and answered for %d", len(executables), len(all))
	}
	return all
}

func (r *Root) list(executables []string) (Loads, error) {
	ctx, cancel := context.WithTimeout(context.Background(), r.Timeout)
	defer cancel()
	cmd := r.command(ctx, loadsScript, nil)
	cmd.Stdin = strings.NewReader(strings.Join(executables, ""))
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%w: %s", err, tail(string(out), 10))
	}
	return parseLoads(string(out)), nil
}

// parseLoads reads what loadsScript writes. Each library is a line such as
//
//	libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f4f0d400000)
//	libgone.so.1 => not found
//	/lib64/ld-linux-x86-64.so.2 (0x00007f4f0d6e4000)
//	linux-vdso.so.1 (0x00007fff2a5d9000)
func parseLoads(out string) Loads {
	all := Loads{}
	var program string
	var load Load
	var said []string
	for line := range strings.Lines(out) {
		line = strings.TrimSuffix(line, "\n")
		if name, ok := strings.CutPrefix(line, "== "); ok {
			program, load, said = name, Load{Libraries: map[string]string{}}, nil
			continue
		}
		if status, ok := strings.CutPrefix(line, "-- "); ok {
			if status != "0" {
				load.Err = fmt.Sprintf("status %s: %s", status, strings.Join(said, "\n"))
			} else if len(said) > 0 {
				load.Err = strings.Join(said, "\n")
			}
			all[program] = load
			continue
		}
		name, path, found := strings.Cut(strings.TrimPrefix(line, "\t"), " => ")
		address := strings.LastIndex(line, " (0x")
		switch {
		case line == "":
		case !strings.HasPrefix(line, "\t"):
			said = append(said, line)
		case path == "not found":
			load.Libraries[name] = ""
			said = append(said, strings.TrimSpace(line))
		case address < 0:
			said = append(said, strings.TrimSpace(line))
		case found:
			load.Libraries[name] = path[:strings.LastIndex(path, " (0x")]
		default:
			name = name[:strings.LastIndex(name, " (0x")]
			if strings.HasPrefix(name, "/") { // not the kernel's
				load.Libraries[name] = name
			}
		}
	}
	return all
}

// executables returns the lines for loadsScript, sorted.
func (r *Root) executables(except []string) ([]string, error) {
	skip := map[string]bool{}
	for _, path := range append([]string{"/proc", "/dev", "/sys"}, except...) {
		skip[filepath.Join(r.Dir, path)] = true
	}
	var lines []string
	err := filepath.WalkDir(r.Dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if skip[path] {
			if d.IsDir() {
				return filepath.SkipDir
			}
			return nil
		}
		if !d.Type().IsRegular() {
			return nil
		}
		loader, err := loaderOf(path)
		if err != nil || loader == "" {
			return err
		}
		lines = append(lines, loader+"\t"+strings.TrimPrefix(path, r.Dir)+"\n")
		return nil
	})
	slices.Sort(lines)
	return lines, err
}

// loaderOf returns the interpreter that an ELF file names; nothing for another
// file, and for one that is not dynamic.
func loaderOf(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	var magic [4]byte
	if n, _ := file.ReadAt(magic[:], 0); n < 4 || string(magic[:]) != elf.ELFMAG {
		return "", nil
	}
	f, err := elf.NewFile(file)
	if err != nil {
		return "", nil //nolint:nilerr // a program that cannot be read cannot be started either
	}
	loader, dynamic := "", false
	for _, p := range f.Progs {
		switch p.Type {
		case elf.PT_INTERP:
			b := make([]byte, min(p.Filesz, 4096))
			if _, err := p.ReadAt(b, 0); err != nil {
				return "", nil //nolint:nilerr // as above
			}
			loader = strings.TrimRight(string(b), "\x00")
		case elf.PT_DYNAMIC:
			dynamic = true
		}
	}
	if !dynamic {
		return "", nil
	}
	return loader, nil
}

// Failures returns a line for each executable that does not find all that it
// loads, sorted. Real systems have some: plugins' helpers that set a library
// path, for instance.
func (l Loads) Failures() []string {
	var lines []string
	for _, path := range sortedKeys(l) {
		if err := l[path].Err; err != "" {
			lines = append(lines, path+": "+strings.ReplaceAll(err, "\n", "; "))
		}
	}
	return lines
}

// Diff returns a line for each difference between what was loaded before and
// what is loaded after, sorted: executables that have come or gone, names that
// are no longer or newly wanted, names that lead to another file, and errors.
// same says whether two paths are equal in effect; nil compares the paths, and
// [Root.SameFile] the files that they lead to.
func (l Loads) Diff(after Loads, same func(before, after string) bool) []string {
	if same == nil {
		same = func(before, after string) bool { return before == after }
	}
	var lines []string
	add := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	for path, is := range after {
		was, ok := l[path]
		if !ok {
			add("%s: new", path)
			continue
		}
		if was.Err != is.Err {
			add("%s: error %q, before %q", path, is.Err, was.Err)
		}
		for name, file := range is.Libraries {
			before, ok := was.Libraries[name]
			switch {
			case !ok:
				add("%s: %s => %s, before not wanted", path, name, file)
			case before != file && !same(before, file):
				add("%s: %s => %s, before %s", path, name, file, before)
			}
		}
		for name := range was.Libraries {
			if _, ok := is.Libraries[name]; !ok {
				add("%s: %s is no longer wanted", path, name)
			}
		}
	}
	for path := range l {
		if _, ok := after[path]; !ok {
			add("%s: gone", path)
		}
	}
	slices.Sort(lines)
	return lines
}

// SameFile reports whether two paths of the root lead to one inode, or both
// to none, or to files of equal contents (a copy that the code under test made).
func (r *Root) SameFile(a, b string) bool {
	r.tb.Helper()
	if a == "" || b == "" {
		return a == b
	}
	infoA, errA := os.Stat(r.Path(a))
	infoB, errB := os.Stat(r.Path(b))
	if errA != nil || errB != nil {
		return errA != nil && errB != nil
	}
	if os.SameFile(infoA, infoB) {
		return true
	}
	return infoA.Mode().IsRegular() && infoB.Mode().IsRegular() && infoA.Size() == infoB.Size() && r.ReadFile(a) == r.ReadFile(b)
}

// inodeOf returns a file's inode number, and whether it has another name.
func inodeOf(path string) (inode uint64, linked bool, err error) {
	var s syscall.Stat_t
	if err := syscall.Lstat(path, &s); err != nil {
		return 0, false, &fs.PathError{Op: "lstat", Path: path, Err: err}
	}
	return s.Ino, s.Nlink > 1, nil
}
