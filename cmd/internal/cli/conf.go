package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hashpkg/hashpkg/internal/advice"
	"github.com/hashpkg/hashpkg/layout/plan"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/sysroot"
	"github.com/hashpkg/hashpkg/transaction"
	"github.com/hashpkg/hashpkg/transaction/conf"
	"github.com/hashpkg/hashpkg/transaction/query"
)

func newConfCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "conf",
		Short: "Copy the configuration files of packages to /etc, and follow them",
		Long: `The configuration files of a package that hashpkg has installed stand in its tree,
and a program that looks for them in /etc does not find them there. hashpkg conf
adopt copies those that /etc lacks. Files that are there already are never touched.

When another version of the package is installed or used, what nobody has changed is
replaced, and beside what somebody has changed stands the new version, with
.hashpkg-new at the end of its name. Files that somebody has removed stay away. hashpkg
conf drop removes what nobody has changed; the rest is the administrator's own. All of
them stay when the package is removed, or hashpkg itself.

What says who may log in and become whom, and what every program loads, is not copied:
passwd, group, shadow, pam.d, security, sudoers and ld.so in /etc.`,
		Example: `  # See how the files of a package stand
  hashpkg conf list nginx
  # Copy what /etc lacks
  hashpkg conf adopt nginx
  # See what somebody has changed
  hashpkg conf diff nginx
  # Remove what nobody has changed
  hashpkg conf drop nginx`,
		Args: args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	cmd.AddCommand(newConfListCommand(a), newConfAdoptCommand(a), newConfDiffCommand(a), newConfDropCommand(a))
	return cmd
}

func newConfListCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list [NAME[=VERSION]...]",
		Short: "Say how configuration files of packages stand",
		Long: `Say how the configuration files of packages stand, or without names those of the
packages that have files in /etc. A file is

  missing   /etc has none
  adopted   as the package has it
  outdated  as another version of the package had it: hashpkg conf adopt replaces it
  changed   by somebody since it was copied
  removed   by somebody since it was copied
  obsolete  not in the package any more
  same      /etc has had the very same
  own       /etc has had another one
  other     copied for another package
  refused   not to be copied
  blocked   not to be reached, or no file`,
		Example: `  # Of all packages that have files in /etc
  hashpkg conf list
  # Of one package, for a program
  hashpkg conf list nginx --json`,
		RunE: func(c *cobra.Command, given []string) error { return runConfList(a, given) },
	}
	cmd.ValidArgsFunction = a.complete(installedNames(isPrivate), noFiles)
	return cmd
}

func newConfAdoptCommand(a *app) *cobra.Command {
	return a.adopting(&cobra.Command{
		Use:   "adopt NAME[=VERSION]",
		Short: "Copy to /etc those configuration files of a package that it lacks",
		Long: `Copy to /etc those configuration files of a package that it lacks, with the owners and
modes that the package has for them; of those that were copied before, replace what
nobody has changed, and put a new version beside what somebody has. It can be stopped
at any time, and run again.

The same is done for packages that it needs, where its programs or libraries name one
of their files and /etc lacks it: hashpkg conf adopt lynx copies those of lynx-common.
Each belongs to its own package, for hashpkg conf drop.

With --state the directories below /var that these packages have, or that their scripts
would make, are made as well, with their owners and modes. What is there already is
left. Users are not made: hashpkg show NAME lists those that scripts would make, and
install says by which commands.`,
		Example: `  # Copy what /etc lacks
  hashpkg conf adopt nginx
  # The same, and make the directories below /var
  hashpkg conf adopt mosquitto --state
  # See what would be done, of one version
  hashpkg conf adopt nginx=1.26.3-3 --dry-run`,
	}, conf.Adopt)
}

// adopting makes a command of one that puts a package's configuration into /etc by adopt.
func (a *app) adopting(cmd *cobra.Command, adopt func(context.Context, conf.Options, query.Spec) (*conf.Result, error)) *cobra.Command {
	var dryRun, state bool
	cmd.Args = args(cobra.ExactArgs(1))
	cmd.ValidArgsFunction = a.complete(nth(installedNames(isPrivate), nothing), noFiles)
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "say what would be done and change nothing")
	cmd.Flags().BoolVar(&state, "state", false, "make the directories below /var as well")
	lock := a.waitFlag(cmd, false)
	cmd.RunE = func(c *cobra.Command, given []string) error {
		spec, err := parseSpec(given[0])
		if err != nil {
			return err
		}
		return a.runConf(c.Context(), lock(), dryRun, func(o conf.Options) (*conf.Result, error) {
			o.State = state
			return adopt(c.Context(), o, spec)
		})
	}
	return cmd
}

func newConfDropCommand(a *app) *cobra.Command {
	var dryRun bool
	var lock func() sysroot.LockOptions
	cmd := &cobra.Command{
		Use:   "drop NAME",
		Short: "Remove the configuration files of a package that were copied to /etc",
		Long: `Remove the configuration files of a package that hashpkg conf adopt has copied to /etc.
What somebody has changed, and what a package of the system has by now, stays, and is
not hashpkg's any more. So it is with the directories below /var that were made for the
package: those that are empty go.`,
		Example: `  # Remove what nobody has changed
  hashpkg conf drop nginx`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, given []string) error {
			return a.runConf(c.Context(), lock(), dryRun, func(o conf.Options) (*conf.Result, error) { return conf.Drop(c.Context(), o, given[0]) })
		},
	}
	cmd.ValidArgsFunction = a.complete(nth(installedNames(isPrivate), nothing), noFiles)
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "say what would be done and change nothing")
	lock = a.waitFlag(cmd, false)
	return cmd
}

func newConfDiffCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "diff NAME[=VERSION]",
		Short: "Compare the configuration files in /etc with those of a package",
		Long: `Compare the configuration files in /etc with those of a package, by the program diff.
The exit status is 0 whether they differ or not.`,
		Example: `  # See what somebody has changed
  hashpkg conf diff nginx`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, given []string) error { return runConfDiff(c.Context(), a, given[0]) },
	}
	cmd.ValidArgsFunction = a.complete(nth(installedNames(isPrivate), nothing), noFiles)
	return cmd
}

// confListOutput is what conf list prints with --json.
type confListOutput struct {
	Files []conf.File `json:"files"`
}

func runConfList(a *app, given []string) error {
	specs, err := parseSpecs(given)
	if err != nil {
		return err
	}
	root, err := a.openRoot()
	if err != nil {
		return err
	}
	files, err := conf.List(root, specs)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(confListOutput{files})
	}
	t := a.table(3)
	for _, f := range files {
		reason := f.Reason
		if reason == "" && f.Computed {
			reason = "computed by scripts"
		}
		if reason == "" && !f.Conffile && f.State != conf.Obsolete {
			reason = "no conffile of its package"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", f.State, f.Path, f.Package, reason)
	}
	return t.Flush()
}

func (a *app) runConf(ctx context.Context, lock sysroot.LockOptions, dryRun bool, f func(conf.Options) (*conf.Result, error)) error {
	root, err := a.openRoot()
	if err != nil {
		return err
	}
	result, err := f(conf.Options{Root: root, Lock: lock, DryRun: dryRun})
	if result == nil {
		return err
	}
	if !dryRun {
		err = errors.Join(err, a.followConfInViews(ctx, root, lock))
	}
	if a.json {
		return errors.Join(err, a.printJSON(result))
	}
	return errors.Join(err, a.printConf(result, dryRun))
}

// followConfInViews has programs see the files in /etc in place of those that their views
// have of their own.
func (a *app) followConfInViews(ctx context.Context, root *sysroot.Root, lock sysroot.LockOptions) error {
	now, err := a.now()
	if err != nil {
		return err
	}
	result, err := transaction.FollowConf(ctx, transaction.Change{Root: root, Lock: lock, Now: now, Generate: a.Generate})
	if err != nil {
		return advice.Errorf("files in /etc are changed, and programs do not see all of them: %w; run it again", err)
	}
	if result.Changed {
		a.notice("note: generation %d is active: in it, views lead to what is in /etc by now\n", result.Generation)
		for _, w := range result.Warnings {
			a.notice("warning: %s\n", w)
		}
		err = a.settle(root, now)
	}
	return err
}

// printConf says what became of configuration files.
func (a *app) printConf(result *conf.Result, dryRun bool) error {
	for _, f := range result.Failed {
		a.notice("warning: %s; what it would compute is lacking\n", f.Reason)
	}
	for _, f := range result.Left {
		if f.Reason != "" {
			a.notice("note: %s is left (%s): %s\n", f.Path, f.State, f.Reason)
		} else {
			a.notice("note: %s is left (%s)\n", f.Path, f.State)
		}
	}
	if a.quiet {
		return nil
	}
	would := ""
	if dryRun {
		would = "would be "
	}
	done := 0
	for _, s := range gathered(result.Done) {
		what := ""
		switch s.Action {
		case conf.Copied, conf.Updated, conf.Taken, conf.Made:
			what = would + string(s.Action)
		case conf.Beside:
			what = "somebody has changed it; the new version " + map[bool]string{false: "is", true: "would be"}[dryRun] + " beside it, as " + s.Path + conf.NewEnd
		case conf.Released:
			what = "stays, and is not hashpkg's any more"
		case conf.Confirmed:
			continue
		}
		done++
		if err := a.printf("%s: %s\n", s.Path, what); err != nil {
			return err
		}
	}
	if done == 0 {
		return a.printf("nothing to do\n")
	}
	return nil
}

// gathered returns steps, those of many files in one directory as one.
func gathered(steps []conf.Step) []conf.Step {
	const many = 20
	type key struct {
		dir    string
		action conf.Action
	}
	number := map[key]int{}
	of := func(s conf.Step) key { return key{path.Dir(s.Path), s.Action} }
	for _, s := range steps {
		number[of(s)]++
	}
	var all []conf.Step
	for _, s := range steps {
		k := of(s)
		switch n := number[k]; {
		case n == 0: // they are in all
		case n < many || s.Action == conf.Beside:
			all = append(all, s)
		default:
			all = append(all, conf.Step{Path: fmt.Sprintf("%s/ (%d files)", k.dir, n), Action: s.Action})
			number[k] = 0
		}
	}
	return all
}

// followConf updates the configuration files that were copied to /etc, after a change of
// the versions in use. That it fails does not undo the change.
func (a *app) followConf(ctx context.Context, root *sysroot.Root, lock sysroot.LockOptions) {
	result, err := conf.Update(ctx, conf.Options{Root: root, Lock: lock})
	if result != nil {
		for _, s := range result.Done {
			switch s.Action {
			case conf.Copied, conf.Updated:
				a.notice("note: %s: %s\n", s.Path, s.Action)
			case conf.Beside:
				a.notice("note: %s: somebody has changed it; the new version is beside it, as %s\n", s.Path, s.Path+conf.NewEnd)
			case conf.Released:
				a.notice("note: %s belongs to a package of the system by now, and is left\n", s.Path)
			case conf.Taken, conf.Confirmed, conf.Made:
			}
		}
		a.noteComputed(result.Left)
	}
	if err != nil {
		a.notice("warning: configuration files in /etc are not those of the versions in use: %v; hashpkg conf adopt NAME tries again\n", err)
	}
}

// noteComputed says which packages have files that scripts of another version have computed.
func (a *app) noteComputed(left []conf.File) {
	number := map[string]int{}
	for _, f := range left {
		if f.Computed && f.State == conf.Outdated {
			number[f.Package]++
		}
	}
	for _, of := range slices.Sorted(maps.Keys(number)) {
		name, version, _ := strings.Cut(of, "=")
		a.notice("note: %s of %s were computed by scripts of version %s: hashpkg configure %s computes them again\n", count(number[of], "file"), name, version, name)
	}
}

// makeState makes the directories below /var of packages that were installed.
func (a *app) makeState(ctx context.Context, root *sysroot.Root, trees []plan.PlannedTree, lock sysroot.LockOptions) error {
	var specs []query.Spec
	for _, t := range trees {
		specs = append(specs, query.Spec{Name: t.Name, Version: t.Tree})
	}
	result, err := conf.MakeState(ctx, conf.Options{Root: root, Lock: lock}, specs)
	if result != nil {
		for _, f := range result.Left {
			a.notice("note: %s is not made: %s\n", f.Path, f.Reason)
		}
		for _, s := range result.Done {
			a.notice("note: %s: %s\n", s.Path, s.Action)
		}
	}
	if err != nil {
		err = fmt.Errorf("the packages are installed, but not all of their directories below /var are made: %w", err)
	}
	return err
}

// noteLacking says of installed packages that somebody named which configuration files
// they may need that /etc lacks, and which that only scripts compute.
func (a *app) noteLacking(ctx context.Context, root *sysroot.Root, trees []plan.PlannedTree) error {
	g, err := root.Active()
	if err != nil {
		return err
	}
	var named []*record.Tree
	for i := range g.Trees {
		t := &g.Trees[i]
		if t.Asked && slices.ContainsFunc(trees, func(p plan.PlannedTree) bool { return p.Name == t.Name && p.Tree == t.Dir }) {
			named = append(named, t)
		}
	}
	all, err := conf.Needs(root, g, named)
	for i, needs := range all {
		var lacking []string
		for _, n := range needs {
			lacking = append(lacking, fmt.Sprintf("%s of %s", count(len(n.Files), "file"), n.Tree.Name))
		}
		if len(lacking) > 0 {
			name := specOf(named[i])
			a.notice("note: %s may need configuration that /etc lacks, such as %s: hashpkg conf adopt %s copies %s\n", name, needs[0].Files[0], name, strings.Join(lacking, ", "))
		}
	}
	computed, cerr := conf.ComputedNeeds(ctx, root, g, named)
	if os.Geteuid() != 0 {
		for i, need := range computed {
			if len(need.Files) > 0 {
				a.notice("note: %s may need what only scripts compute, such as %s; hashpkg configure has them do so, for root only\n", specOf(named[i]), need.Files[0])
			}
		}
		return errors.Join(err, cerr)
	}
	tools := toolsOf(computed, named)
	if len(tools) > 1 || len(tools) == 1 && countNeeds(computed) > 1 {
		for _, command := range tools {
			a.notice("note: scripts need what is not installed: %s brings it, for those below\n", command)
		}
		tools = nil
	}
	for i, need := range computed {
		if len(need.Files) == 0 {
			continue
		}
		name, first := specOf(named[i]), ""
		if len(tools) > 0 {
			first = tools[0] + ", then "
		}
		a.notice("note: %s may need what only scripts compute, such as %s: %shashpkg configure %s computes it\n", name, need.Files[0], first, name)
	}
	return errors.Join(err, cerr)
}

func countNeeds(computed []plan.ComputedNeed) (n int) {
	for _, need := range computed {
		if len(need.Files) > 0 {
			n++
		}
	}
	return n
}

// toolsOf returns the commands that install what scripts of packages call, one for a release.
func toolsOf(computed []plan.ComputedNeed, named []*record.Tree) (commands []string) {
	tools := map[string][]string{} // by release
	for i, need := range computed {
		if len(need.Files) > 0 && len(need.Tools) > 0 {
			release := named[i].Release
			tools[release] = append(tools[release], need.Tools...)
		}
	}
	for _, release := range slices.Sorted(maps.Keys(tools)) {
		command := "hashpkg install "
		if release != "" {
			command += "--from " + release + " "
		}
		commands = append(commands, command+strings.Join(slices.Compact(slices.Sorted(slices.Values(tools[release]))), " "))
	}
	return commands
}

// specOf returns how a command names a tree.
func specOf(t *record.Tree) string {
	if t.Default {
		return t.Name
	}
	return t.Spec()
}

// confDiffOutput is what conf diff prints with --json.
type confDiffOutput struct {
	Files []confDiff `json:"files"`
}

type confDiff struct {
	Path string `json:"path"`
	Diff string `json:"diff"`
}

func runConfDiff(ctx context.Context, a *app, given string) error {
	spec, err := parseSpec(given)
	if err != nil {
		return err
	}
	root, err := a.openRoot()
	if err != nil {
		return err
	}
	files, err := conf.List(root, []query.Spec{spec})
	if err != nil {
		return err
	}
	out := confDiffOutput{Files: []confDiff{}}
	for _, f := range files {
		if f.State != conf.Changed && f.State != conf.Own && f.State != conf.Outdated && f.State != conf.Other {
			continue
		}
		text, err := diffConf(ctx, root, f)
		if err != nil {
			return err
		}
		if text != "" {
			out.Files = append(out.Files, confDiff{f.Path, text})
		}
	}
	if a.json {
		return a.printJSON(out)
	}
	for _, d := range out.Files {
		if err := a.printf("%s", d.Diff); err != nil {
			return err
		}
	}
	return nil
}

// diffConf compares a file in /etc with the package's: diff gets both as open files.
func diffConf(ctx context.Context, root *sysroot.Root, f conf.File) (string, error) {
	ours, _, err := root.Store().Dir().OpenRegular(f.Tree)
	if err != nil {
		return "", nil // it is a link
	}
	defer ours.Close()
	theirs, err := root.Open(f.Path)
	if err != nil {
		return "", fmt.Errorf("compare %s: %w", f.Path, err)
	}
	defer theirs.Close()
	if info, err := theirs.Stat(); err != nil || !info.Mode().IsRegular() {
		return "", err
	}
	cmd := exec.CommandContext(ctx, "diff", "-u", "--label", f.Path, "--label", f.Package+" "+f.Path, "/dev/fd/3", "/dev/fd/4")
	cmd.ExtraFiles = []*os.File{theirs, ours}
	text, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 1 { // they differ
		err = nil
	}
	if err != nil {
		return "", fmt.Errorf("compare %s: diff: %w", f.Path, err)
	}
	return string(text), nil
}
