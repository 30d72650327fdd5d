package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/backends/trust"
	"github.com/hashpkg/hashpkg/internal/advice"
	"github.com/hashpkg/hashpkg/internal/scratch"
	"github.com/hashpkg/hashpkg/repo"
)

func newLockCommand(a *app) *cobra.Command {
	var o sourceFlags
	output := ""
	cmd := &cobra.Command{
		Use:   "lock -o FILE",
		Short: "Write down what was installed by name, to install the same elsewhere",
		Long: `Write down every package that was installed by name, with its digest, where it
comes from, and the tree that it became. hashpkg install --locked FILE makes the
very same trees on another machine, or fails.`,
		Example: `  # Write the file on one machine, and install from it on another
  hashpkg lock -o hashpkg.lock
  hashpkg install --locked hashpkg.lock`,
		Args: args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error { return runLock(c.Context(), a, o, output) },
	}
	f := cmd.Flags()
	f.StringVarP(&output, "output", "o", "", "write `FILE` (default: standard output)")
	f.BoolVar(&o.offline, "offline", false, "fetch nothing: use what was fetched before")
	return cmd
}

// lockOutput is what lock prints with --json where the lock file itself goes elsewhere.
type lockOutput struct {
	File     string `json:"file"`
	Packages int    `json:"packages"` // how many
}

func runLock(ctx context.Context, a *app, o sourceFlags, output string) error {
	if output != "" {
		if err := checkLockFile(output, "hashpkg lock -o"); err != nil {
			return err
		}
	}
	root, err := a.openRoot()
	if err != nil {
		return err
	}
	r, err := a.openRepo(root, o, trust.ByKeys)
	if err != nil {
		return err
	}
	defer r.Close()
	lock, err := r.Lock(ctx)
	if err != nil {
		return err
	}
	if len(lock.Packages) == 0 {
		a.notice("note: nothing was installed by name, so the lock file has no packages\n")
	}
	if output == "" {
		text, err := lockText(lock)
		if err != nil {
			return err
		}
		return a.printExactly(string(text))
	}
	if err := writeLockFile(output, "hashpkg lock -o", lock); err != nil {
		return err
	}
	switch {
	case a.json:
		return a.printJSON(lockOutput{output, len(lock.Packages)})
	case a.quiet:
		return nil
	}
	return a.printf("%s has %s\n", output, count(len(lock.Packages), "package"))
}

// lockText returns the text of a lock file.
func lockText(lock *repo.LockFile) ([]byte, error) {
	text, err := json.MarshalIndent(lock, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("write lock file: %w", err)
	}
	return append(text, '\n'), nil
}

// checkLockFile returns an error for a lock file that cannot be written, before the work that it is of. How is what
// names one on the command line.
func checkLockFile(name, how string) error {
	if info, err := os.Stat(name); err == nil && info.IsDir() {
		return advice.Errorf("write lock file: %s is a directory; name a file: %s %s", name, how, filepath.Join(name, "hashpkg.lock"))
	}
	if isDevice(name) {
		return nil
	}
	return lockError(name, how, unix.Access(filepath.Dir(name), unix.W_OK|unix.X_OK))
}

// writeLockFile writes a lock file, which takes its name when it is whole.
func writeLockFile(name, how string, lock *repo.LockFile) error {
	text, err := lockText(lock)
	if err != nil {
		return err
	}
	if isDevice(name) {
		return lockError(name, how, os.WriteFile(name, text, 0o644))
	}
	if real, err := filepath.EvalSymlinks(name); err == nil {
		name = real
	}
	temp, err := scratch.File(filepath.Dir(name), ".hashpkg-lock-")
	if err != nil {
		return lockError(name, how, err)
	}
	_, err = temp.File.Write(text)
	if err == nil {
		err = temp.File.Chmod(0o644)
	}
	if err == nil {
		err = os.Rename(temp.Path, name)
	}
	return lockError(name, how, errors.Join(err, temp.Close()))
}

// isDevice reports whether a file is there that is written to, and not replaced: /dev/stdout, or a pipe.
func isDevice(name string) bool {
	info, err := os.Stat(name)
	return err == nil && !info.Mode().IsRegular()
}

// lockError returns what is said of a lock file that cannot be written.
func lockError(name, how string, err error) error {
	if err == nil {
		return nil
	}
	var errno syscall.Errno
	if errors.As(err, &errno) { // of a file beside it, whose name says nothing
		err = &fs.PathError{Op: "open", Path: name, Err: errno}
	}
	err = fmt.Errorf("write lock file: %w", err)
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.EROFS) {
		err = advice.Errorf("%w; name a file that you may write: %s ~/hashpkg.lock", err, how)
	}
	return err
}
