package transaction

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"
)

// errLoadsOther is wrapped by what compareLoaded finds.
var errLoadsOther = errors.New("the loader says otherwise")

// loaderTime is how long the loader may take to list a program's libraries.
const loaderTime = 30 * time.Second

// compareLoaded asks the program's own loader which libraries it would load for
// its edited form. The error says how that differs from what it loads now; of a
// pinned program, only that it does not load.
func compareLoaded(c *programChange, edited string) error {
	is, err := listLoaded(c.interp, edited)
	if err != nil && runsNot(err) {
		return nil // of another architecture: the model of the loader has said yes
	}
	if err != nil {
		return fmt.Errorf("%w: it does not load the edited program: %v", errLoadsOther, err)
	}
	if len(c.want.Pins) > 0 || slices.Equal(is, c.loads) {
		return nil
	}
	was, err := listLoaded(c.interp, c.host)
	if err != nil && c.had != nil {
		return nil // an edit of ours that was forced, and goes
	}
	if err != nil {
		return fmt.Errorf("%w: it does not load the program as it is: %v", errLoadsOther, err)
	}
	if !slices.Equal(was, is) {
		return fmt.Errorf("%w: it would find other libraries for the edited program", errLoadsOther)
	}
	return nil
}

// listLoaded returns the files that ld.so --list names, as device and inode.
func listLoaded(interpreter, program string) ([]string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), loaderTime)
	defer cancel()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, interpreter, "--list", program)
	cmd.Env = []string{"LC_ALL=C"}
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	runErr := cmd.Run()
	var list []string
	for line := range strings.Lines(stdout.String()) {
		line = strings.TrimSpace(line)
		if i := strings.LastIndex(line, " (0x"); i >= 0 {
			line = line[:i]
		}
		if _, file, ok := strings.Cut(line, " => "); ok {
			line = file
		}
		if !strings.HasPrefix(line, "/") {
			continue // the kernel's own
		}
		info, err := os.Stat(line)
		if err != nil {
			return nil, err
		}
		st, ok := info.Sys().(*syscall.Stat_t)
		if !ok {
			return nil, fmt.Errorf("%s has no inode number", line)
		}
		list = append(list, fmt.Sprintf("%d:%d", st.Dev, st.Ino))
	}
	if runErr != nil {
		if text := strings.TrimSpace(stderr.String()); text != "" {
			return list, fmt.Errorf("%s: %w", text, runErr)
		}
		return list, runErr
	}
	return list, nil
}

// runsNot reports whether a program could not be started at all.
func runsNot(err error) bool {
	return errors.Is(err, syscall.ENOEXEC) || errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ELIBBAD)
}
