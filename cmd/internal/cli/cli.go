// Package cli is hashpkg's command line: flags in, one library call, rendering
// out. Each command has a file of its own; [Main] runs them. The package is as long
// as there are commands, and no file of it needs another command's.
package cli

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/hashpkg/hashpkg/backends"
	"github.com/hashpkg/hashpkg/internal/advice"
	"github.com/hashpkg/hashpkg/internal/terminal"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/sysroot"
)

// Exit statuses.
const (
	exitDone    = 0
	exitFailed  = 1
	exitUsage   = 2
	exitDamaged = 3
	exitLocked  = 4
	exitPartly  = 5
	exitSignal  = 128 // and the number of the signal, as shells have it: 130, 143
)

// Interrupted is the cause of a context that a signal has ended.
type Interrupted struct{ Signal syscall.Signal }

func (i Interrupted) Error() string { return i.Signal.String() }

// Env is what a command has of the process around it.
type Env struct {
	In       io.Reader
	Out, Err io.Writer
	Getenv   func(string) string

	// Formats are the package formats that it knows.
	Formats backends.Formats
	// Generate is as in [transaction.InstallOptions].
	Generate bool
}

// globals are the flags that every command has.
type globals struct {
	root, prefix         string
	json, quiet, verbose bool
	screenFlags

	// isGiven reports whether a flag is on the command line.
	isGiven func(flag string) bool
	// isHook: what called it means the root that it works on, whatever somebody's environment says.
	isHook bool
}

// The environment variables that say what the flags --root and --prefix say.
const (
	rootVariable   = "HASHPKG_ROOT"
	prefixVariable = "HASHPKG_PREFIX"
)

// app is one run of hashpkg.
type app struct {
	Env
	globals
	args []string // of the command line

	screen, errScreen terminal.Screen // on which Out and Err are read
	pages             *terminal.Pages // nil for a command that needs no pager
	held              *heldWriter     // is Err then
	logFailed         bool            // which was said
}

// Main runs one command and returns the exit status.
func Main(ctx context.Context, args []string, env Env) int {
	a := &app{Env: env, args: args}
	root := newRootCommand(a)
	addCompletionCommand(root)
	a.lookAtScreens() // for what is wrong with the command line
	if !a.screen.IsTerminal() {
		a.Out = &patientWriter{w: env.Out}
	}
	root.SetArgs(args)
	root.SetIn(env.In)
	out := bufio.NewWriter(a.Out) // for help and completions, which cobra writes by the word
	root.SetOut(out)
	root.SetErr(env.Err)
	err := a.endPages(ctx, root.ExecuteContext(ctx))
	if ferr := out.Flush(); ferr != nil && err == nil {
		err = fmt.Errorf("write output: %w", ferr)
	}
	err = flagGroupError(err)
	if isA[usageError](err) {
		a.json = a.json || asksForJSON(args) // what stands behind a wrong flag was not read
	}
	return a.exit(err, context.Cause(ctx))
}

// NewRootCommand returns the command tree, for the generated documentation.
func NewRootCommand(env Env) *cobra.Command { return newRootCommand(&app{Env: env}) }

func newRootCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "hashpkg",
		Short: "Any versions of any shared libraries, side by side on one machine",
		Long: `hashpkg puts packages into trees of their own, /var/sys/PACKAGE/VERSION, and
binds each program to the libraries that fit it, so that any number of versions
of everything, the C library included, live on one machine at the same time.

HASHPKG_ROOT and HASHPKG_PREFIX stand for --root and --prefix where these are not
given; hashpkg help settings says more.

On a terminal, tables are cut to its width, and what is longer than the screen is
shown by a pager: $HASHPKG_PAGER, else $PAGER (words, no shell), else less; cat is none.
Who has become root by sudo and the like gets less, which runs nothing for them.
NO_COLOR, and TERM=dumb, turn colors off. Nothing of this is so elsewhere.

Exit status: 0 done, 1 failed, 2 wrong use, 3 damage found, 4 the lock is held,
5 done but for what is named (rebind, verify), 130 interrupted (Ctrl-C),
143 terminated: what was there before is there still, or hashpkg sync ends what
was begun, as the message says. A second Ctrl-C ends hashpkg at once; the next
command cleans up.`,
		Args:              args(cobra.NoArgs),
		Version:           version(),
		RunE:              func(c *cobra.Command, _ []string) error { return c.Help() },
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: false},
		PersistentPreRunE: func(c *cobra.Command, _ []string) error { return a.begin(c) },
	}
	cmd.SetVersionTemplate("hashpkg {{.Version}}\n")
	f := cmd.PersistentFlags()
	f.StringVar(&a.root, "root", "/", "treat `DIR` as /")
	f.StringVar(&a.prefix, "prefix", "", "keep trees in `DIR`, as programs see it (default: /etc/hashpkg.toml's, else "+layout.DefaultPrefix+")")
	a.isGiven = func(flag string) bool { return f.Changed(flag) }
	f.BoolVar(&a.json, "json", false, "print one JSON value (docs/json.md)")
	f.BoolVarP(&a.quiet, "quiet", "q", false, "print errors only")
	f.BoolVarP(&a.verbose, "verbose", "v", false, "print more")
	a.screenFlags.add(a, cmd)
	cmd.SetFlagErrorFunc(flagError)
	cmd.AddCommand(
		newInstallCommand(a), newListCommand(a), newShowCommand(a), newUseCommand(a), newRemoveCommand(a), newAutoRemoveCommand(a),
		newGenerationsCommand(a), newHistoryCommand(a), newRollbackCommand(a), newUndoCommand(a), newDiffCommand(a), newVerifyCommand(a), newGCCommand(a), newDUCommand(a),
		newSyncCommand(a), newRestoreCommand(a), newPinCommand(a), newUnpinCommand(a), newPinsCommand(a), newFreezeCommand(a), newThawCommand(a),
		newHooksCommand(a), newCheckCommand(a), newHookCommand(a), newElfCommand(a), newBindCommand(a), newConvertCommand(a), newVersionCommand(a),
		newUpdateCommand(a), newSourcesCommand(a), newSearchCommand(a), newDownloadCommand(a), newRunCommand(a), newViewCommand(a), newEnterCommand(a), newEnvCommand(a),
		newOutdatedCommand(a), newUpgradeCommand(a), newRebindCommand(a), newHoldCommand(a), newUnholdCommand(a), newLockCommand(a), newManifestCommand(a), newFetchCommand(a), newCleanCommand(a), newAlternativesCommand(a), newKeepCommand(a), newPushCommand(a), newPullCommand(a), newExportCommand(a), newImportCommand(a),
		newConfCommand(a), newConfigureCommand(a), newServiceCommand(a), newDepsCommand(a), newTreeCommand(a), newWhyCommand(a), newOwnerCommand(a), newUsersCommand(a), newGraphCommand(a), newSBOMCommand(a), newAuditCommand(a),
		newImageCommand(a), newServeCommand(a), newSetupPathCommand(a), newSettingsTopic(), newKeyCommand(a),
	)
	for _, c := range cmd.Commands() {
		c.Aliases = aliasesOf(c.Name())
	}
	cmd.SetHelpCommand(newHelpCommand())
	return cmd
}

// openRoot returns the root that the flags name. One that is not there is an error: it is
// more likely to be misspelled than to be made by a command that was to change another.
func (a *app) openRoot() (*sysroot.Root, error) {
	if err := a.readEnvironment(); err != nil {
		return nil, err
	}
	if _, err := os.Stat(a.root); errors.Is(err, fs.ErrNotExist) {
		named := "--root " + a.root
		if !a.isGiven("root") {
			named = rootVariable + "=" + a.root
		}
		return nil, usageError{advice.Errorf("%s: there is no such directory; to begin a new root, make it first: mkdir -p %s", named, a.root)}
	}
	prefix, err := a.findPrefix()
	if err != nil {
		return nil, err
	}
	r, err := sysroot.Open(a.root, prefix, a.Formats)
	if err != nil {
		return nil, usageError{err}
	}
	return r, nil
}

// readEnvironment takes the root and the prefix from the environment, where no flag says them. A prefix of the
// environment is not one of another root than the environment's own, as little as that of a
// user's settings is: see readConfig.
func (a *app) readEnvironment() error {
	root := a.Getenv(rootVariable)
	switch {
	case a.isHook:
		return nil
	case a.isGiven("root"):
		if abs, err := filepath.Abs(a.root); err != nil || abs != filepath.Clean(cmp.Or(root, "/")) {
			return nil //nolint:nilerr // it is not the environment's; what is wrong with it is said when it is opened
		}
	case root != "":
		if !filepath.IsAbs(root) {
			return usageError{fmt.Errorf("%s=%s: expected an absolute path", rootVariable, root)}
		}
		a.root = root
	}
	if dir := a.Getenv(prefixVariable); dir != "" && !a.isGiven("prefix") {
		if !filepath.IsAbs(dir) {
			return usageError{fmt.Errorf("%s=%s: expected an absolute path", prefixVariable, dir)}
		}
		a.prefix = dir
	}
	return nil
}

// now is the time that a generation is stamped with: SOURCE_DATE_EPOCH where it
// is set, so that an image is the same from run to run.
func (a *app) now() (time.Time, error) {
	if s := a.Getenv("SOURCE_DATE_EPOCH"); s != "" {
		sec, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			return time.Time{}, usageError{fmt.Errorf("SOURCE_DATE_EPOCH %q is not a number of seconds", s)}
		}
		now := time.Unix(sec, 0).UTC()
		if now.Year() < 0 || now.Year() > maxYear {
			return time.Time{}, usageError{fmt.Errorf("SOURCE_DATE_EPOCH %q is no time before the year %d", s, maxYear+1)}
		}
		return now, nil
	}
	return time.Now().UTC().Truncate(time.Second), nil
}

// maxYear is the last year that a record can have (RFC 3339).
const maxYear = 9999

// isImage reports whether the root is that of an image, to be the same from run to
// run.
func (a *app) isImage() bool { return a.Getenv("SOURCE_DATE_EPOCH") != "" }

// settle makes what a command has written under the prefix the same from run to
// run, in an image.
func (a *app) settle(root *sysroot.Root, now time.Time) error {
	if !a.isImage() {
		return nil
	}
	if err := root.ClampTimes(now, nil); err != nil {
		return fmt.Errorf("it is done, but not the same as in another run: %w", err)
	}
	return nil
}

// printJSON writes the one value of a command with --json.
func (a *app) printJSON(v any) error {
	enc := json.NewEncoder(a.Out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("write output: %w", err)
	}
	return nil
}
