package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/backends/trust"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/repo"
	"github.com/hashpkg/hashpkg/sysroot"
	"github.com/hashpkg/hashpkg/transaction"
)

type runOptions struct {
	sourceFlags
	program      string
	view         string
	signature    string
	allowMissing bool
	lock         func() sysroot.LockOptions
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
		Example: `  # A command that is called like its package
  hashpkg run --from sid jq --version
  # Another command of a package
  hashpkg run --program xmllint libxml2-utils doc.xml`,
		Args: args(cobra.MinimumNArgs(1)),
		RunE: func(c *cobra.Command, given []string) error { return runRun(c.Context(), a, o, given) },
	}
	o.add(a, cmd)
	// What stands behind the package is for its program, which may take files.
	cmd.ValidArgsFunction = a.complete(nth(anyOf(installedNames(isPrivate), a.availableNames(cmd, &o.sourceFlags)), nothing), orFiles)
	f := cmd.Flags()
	f.StringVar(&o.program, "program", "", "run the program `NAME` of the package (default: the one that is called like the package)")
	f.StringVar(&o.view, "view", viewAuto, "show the program its `VIEW` if it needs one: auto, none, or libs, with the libraries as well, which the root's own programs load then, too (hashpkg help view says more)")
	a.completeFlag(cmd, "view", func(*sysroot.Root, []string, string) []string { return []string{viewAuto, viewLibs, viewNone} }, noFiles)
	f.StringVar(&o.signature, "signature", "", "`POLICY` for packages and indexes without a good signature: require, warn or off")
	allowMissingFlag(f, &o.allowMissing)
	a.completeFlag(cmd, "signature", policies, noFiles)
	f.SetInterspersed(false)
	o.lock = a.waitFlag(cmd, false)
	return cmd
}

// The values of --view.
const (
	viewAuto = "auto"
	viewLibs = "libs"
	viewNone = "none"
)

func runRun(ctx context.Context, a *app, o runOptions, given []string) error {
	name, given := given[0], given[1:]
	if len(given) > 0 && given[0] == "--" {
		given = given[1:]
	}
	if o.view != viewAuto && o.view != viewLibs && o.view != viewNone {
		return usageError{fmt.Errorf("--view %s: expected %s, %s or %s", o.view, viewAuto, viewLibs, viewNone)}
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
		InstallOptions: transaction.InstallOptions{Root: root, Signature: policy, AllowMissing: o.allowMissing, Lock: o.lock(), Now: now, Generate: a.Generate, Progress: progress.show},
		From:           o.from,
	}, request, o.program)
	progress.end()
	if err == nil && o.view == viewLibs {
		err = execWithLibraries(root, file, given)
	}
	if err == nil && o.view == viewNone {
		file, err = withoutView(root, file)
	}
	if err != nil {
		return err
	}
	err = unix.Exec(file, append([]string{path.Base(file)}, given...), os.Environ())
	return fmt.Errorf("run %s: %w", file, err)
}

// execWithLibraries runs a program with its view and the libraries of that.
func execWithLibraries(root *sysroot.Root, file string, given []string) error {
	m, f, err := launcherAt(root, file)
	if err != nil {
		return err
	}
	if f == nil {
		return fmt.Errorf("run %s: it needs no view, so there is none with libraries", file)
	}
	g, err := root.Active()
	if err != nil {
		return err
	}
	i := slices.IndexFunc(g.Trees, func(t record.Tree) bool { return t.Name == m.Name && t.Dir == m.Tree })
	if i < 0 {
		return fmt.Errorf("run %s: another process has removed it", file)
	}
	return execInView(root, g, []*record.Tree{&g.Trees[i]}, f.Launches, true, append([]string{path.Base(file)}, given...))
}

// launcherAt returns the manifest of the tree that a command is of, and the command, if it
// is a launcher.
func launcherAt(root *sysroot.Root, file string) (*record.Manifest, *record.File, error) {
	parts := strings.SplitN(strings.TrimPrefix(file, root.Prefix()+"/"), "/", 3)
	m, err := root.Store().Manifest(parts[0], parts[1])
	if err != nil {
		return nil, nil, err
	}
	if f := m.Lookup(parts[2]); f != nil && f.Launches != "" {
		return m, f, nil
	}
	return m, nil, nil
}

// withoutView returns the program in the tree in place of its launcher.
func withoutView(root *sysroot.Root, file string) (string, error) {
	m, f, err := launcherAt(root, file)
	if err != nil || f == nil {
		return file, err
	}
	return path.Join(root.Prefix(), layout.TreePath(m.Name, m.Tree), f.Launches), nil
}
