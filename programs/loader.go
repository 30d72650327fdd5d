package programs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// errDisagrees is wrapped by the error for a program for which the loader itself does
// not say what the model of it says. It reads after the program's path.
var errDisagrees = errors.New("is left because ld.so disagrees")

// loaderTime is how long the loader may take to list a program's libraries.
const loaderTime = 30 * time.Second

// askLoader asks a program's own loader which libraries it would load for the edited
// file of a decision, and for the one that is there. The error wraps errDisagrees
// and says how they differ; of a program that follows pins, only that it does not
// load.
func askLoader(ctx context.Context, d *Decision, current, edited string) error {
	loader := d.Info.Interpreter
	if err := trust(loader); err != nil {
		return fmt.Errorf("%w: %v", errDisagrees, err)
	}
	after, err := listLoaded(ctx, loader, edited)
	if err != nil && cannotRun(err) {
		return nil // of another architecture: the model of the loader has said yes
	}
	if err != nil {
		return fmt.Errorf("%w: it does not load the edited program: %v", errDisagrees, err)
	}
	if len(d.Desired.Pins) > 0 || slices.Equal(after, d.Loads) {
		return nil
	}
	before, err := listLoaded(ctx, loader, current)
	if err != nil && d.Current != nil {
		return nil // an edit of ours that was forced, and goes
	}
	if err != nil {
		return fmt.Errorf("%w: it does not load the program as it is: %v", errDisagrees, err)
	}
	if !slices.Equal(before, after) {
		return fmt.Errorf("%w: it would find other libraries for the edited program", errDisagrees)
	}
	return nil
}

// trust returns an error for a loader that somebody but root could put in place: a
// package may name any path, and this is about to be run as root. One that is not
// there is not run either way.
func trust(loader string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	real, err := filepath.EvalSymlinks(loader)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for name := real; ; name = filepath.Dir(name) {
		info, err := os.Stat(name)
		if err != nil {
			return err
		}
		st, ok := info.Sys().(*syscall.Stat_t)
		sticky := info.IsDir() && info.Mode()&os.ModeSticky != 0 && name != filepath.Dir(real)
		if !ok || st.Uid != 0 || st.Mode&0o022 != 0 && !sticky {
			return fmt.Errorf("%s is not run, since others than root could replace %s", loader, name)
		}
		if name == "/" {
			return nil
		}
	}
}

// listLoaded returns the files that ld.so --list names, as device and inode.
func listLoaded(ctx context.Context, loader, program string) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, loaderTime)
	defer cancel()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, loader, "--list", program)
	cmd.Env = []string{"LC_ALL=C"}
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	runErr := cmd.Run()
	var list []string
	for _, file := range parseList(stdout.String()) {
		var st syscall.Stat_t
		if err := syscall.Stat(file, &st); err != nil {
			return nil, &os.PathError{Op: "stat", Path: file, Err: err}
		}
		list = append(list, fmt.Sprintf("%d:%d", st.Dev, st.Ino))
	}
	if text := strings.TrimSpace(stderr.String()); runErr != nil && text != "" {
		return list, fmt.Errorf("%s: %w", text, runErr)
	}
	return list, runErr
}

// parseList returns the files in what ld.so --list prints. Lines are
// "libc.so.6 => /lib/libc.so.6 (0x...)" or "/lib64/ld-linux-x86-64.so.2 (0x...)"; the
// kernel's own object has no path (glibc elf/rtld.c).
func parseList(text string) []string {
	var files []string
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if i := strings.LastIndex(line, " (0x"); i >= 0 {
			line = line[:i]
		}
		if _, file, ok := strings.Cut(line, " => "); ok {
			line = file
		}
		if strings.HasPrefix(line, "/") {
			files = append(files, line)
		}
	}
	return files
}

// cannotRun reports whether a program could not be started at all.
func cannotRun(err error) bool {
	return errors.Is(err, syscall.ENOEXEC) || errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ELIBBAD)
}
