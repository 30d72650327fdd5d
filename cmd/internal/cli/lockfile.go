package cli

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/hashpkg/hashpkg/backends/trust"
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
		if err := lockFile.check(output, "hashpkg lock -o"); err != nil {
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

var lockFile = output{"lock file", "hashpkg.lock"}

func writeLockFile(name, how string, lock *repo.LockFile) error {
	text, err := lockText(lock)
	if err != nil {
		return err
	}
	return lockFile.write(name, how, text)
}
