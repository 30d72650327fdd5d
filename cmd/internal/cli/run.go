package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/backends/trust"
	"github.com/hashpkg/hashpkg/repo"
	"github.com/hashpkg/hashpkg/sysroot"
	"github.com/hashpkg/hashpkg/transaction"
)

type runOptions struct {
	sourceFlags
	program   string
	signature string
	lock      func() sysroot.LockOptions
}

func newRunCommand(a *app) *cobra.Command {
	var o runOptions
	cmd := &cobra.Command{
		Use:   "run NAME[=VERSION] [ARGUMENT]...",
		Short: "Run a program of a package without making it a part of the system",
		Long: `Run a program of a package, which is fetched and put into the store if it is not
there. It becomes no default, and is in current-system's directories no more than
before; after a day hashpkg gc takes it away. The exit status is the program's.
What stands behind NAME is for the program.`,
		Example: "  hashpkg run --from sid jq --version\n  hashpkg run --program xmllint libxml2-utils doc.xml",
		Args:    args(cobra.MinimumNArgs(1)),
		RunE:    func(c *cobra.Command, given []string) error { return runRun(c.Context(), a, o, given) },
	}
	o.add(a, cmd)
	// What stands behind the package is for its program, which may take files.
	cmd.ValidArgsFunction = a.complete(nth(anyOf(installedNames(isPrivate), a.availableNames(cmd, &o.sourceFlags)), nothing), orFiles)
	f := cmd.Flags()
	f.StringVar(&o.program, "program", "", "run the program `NAME` of the package (default: the one that is called like the package)")
	f.StringVar(&o.signature, "signature", "", "`POLICY` for packages and indexes without a good signature: require, warn or off")
	a.completeFlag(cmd, "signature", policies, noFiles)
	f.SetInterspersed(false)
	o.lock = a.waitFlag(cmd, false)
	return cmd
}

func runRun(ctx context.Context, a *app, o runOptions, given []string) error {
	name, given := given[0], given[1:]
	if len(given) > 0 && given[0] == "--" {
		given = given[1:]
	}
	request, err := repo.ParseRequest(name)
	if err != nil {
		return usageError{err}
	}
	policy, err := trust.ParsePolicy(o.signature)
	if err != nil {
		return usageError{fmt.Errorf("--signature: %w", err)}
	}
	root, err := a.openRoot()
	if err != nil {
		return err
	}
	if !root.IsHost() {
		return usageError{errors.New("run starts programs of this machine: it cannot be given --root")}
	}
	now, err := a.now()
	if err != nil {
		return err
	}
	if a.terminal() == nil { // the program's output is its own
		a.quiet = true
	}
	r, err := a.openRepo(root, o.sourceFlags, policy)
	if err != nil {
		return err
	}
	defer r.Close()
	progress := a.newProgress()
	file, err := r.Program(ctx, repo.InstallOptions{
		InstallOptions: transaction.InstallOptions{Root: root, Signature: policy, Lock: o.lock(), Now: now, Progress: progress.show},
		From:           o.from,
	}, request, o.program)
	progress.end()
	if err != nil {
		return err
	}
	err = unix.Exec(file, append([]string{path.Base(file)}, given...), os.Environ())
	return fmt.Errorf("run %s: %w", file, err)
}
