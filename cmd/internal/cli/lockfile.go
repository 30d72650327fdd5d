package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/hashpkg/hashpkg/backends/trust"
	"github.com/hashpkg/hashpkg/internal/advice"
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
	text, err := json.MarshalIndent(lock, "", "  ")
	if err != nil {
		return fmt.Errorf("write lock file: %w", err)
	}
	text = append(text, '\n')
	if len(lock.Packages) == 0 {
		a.notice("note: nothing was installed by name, so the lock file has no packages\n")
	}
	if output == "" {
		return a.printExactly(string(text))
	}
	if err := os.WriteFile(output, text, 0o644); err != nil {
		err = fmt.Errorf("write lock file: %w", err)
		if errors.Is(err, fs.ErrPermission) {
			err = advice.Errorf("%w; name a file that you may write: hashpkg lock -o ~/hashpkg.lock", err)
		}
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
