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

	"github.com/hashpkg/hashpkg/internal/advice"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/sysroot"
	"github.com/hashpkg/hashpkg/transaction"
	"github.com/hashpkg/hashpkg/transaction/query"
)

func newViewCommand(a *app) *cobra.Command {
	var none, capability, auto bool
	var lock func() sysroot.LockOptions
	cmd := &cobra.Command{
		Use:   "view PROGRAM|NAME[=VERSION]",
		Short: "Show which programs see a view of /usr, why, and what is in it",
		Long: `Show which programs of a package, or which one program, see a view in place of /usr:
the root's own files with those of the program's closure over them. Programs that
need no more than libraries have none. With -v the packages are listed that the
view is merged from.

Or say how one program is run, of this version of its package and later ones:
--none without its view, --capability with a view that its launcher makes by a
capability of its file, so that setuid programs work in it for everybody, and --auto
as if nothing had been said. These are not undone by rollback. With --capability, only
root may be able to change what is below the prefix; docs/views.md says what it gives.`,
		Example: `  # Why does vim need a view?
  hashpkg view vim
  # The packages that the view is merged from
  hashpkg view vim-nox=2:9.1.1230-2 -v
  # Run less without one
  hashpkg view --none less
  # Let setuid programs work in the shell
  hashpkg view --capability zsh`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, given []string) error {
			for how, set := range map[record.Launch]bool{record.LaunchNone: none, record.LaunchCapable: capability, record.LaunchAuto: auto} {
				if set {
					return runSetView(c.Context(), a, lock(), given[0], how)
				}
			}
			return runView(a, given[0])
		},
	}
	f := cmd.Flags()
	f.BoolVar(&none, "none", false, "run the program without its view from now on")
	f.BoolVar(&capability, "capability", false, "make its view by a capability of the launcher's file from now on")
	f.BoolVar(&auto, "auto", false, "undo --none or --capability")
	cmd.MarkFlagsMutuallyExclusive("none", "capability", "auto")
	lock = a.waitFlag(cmd, false)
	cmd.ValidArgsFunction = a.complete(nth(anyOf(commandNames, installedNames(isPrivate)), nothing), noFiles)
	return cmd
}

// commandNames offers the commands of private packages.
func commandNames(root *sysroot.Root, _ []string, _ string) (words []string) {
	trees(root, func(t *record.Tree) {
		for _, l := range t.Links {
			if isPrivate(t) && isCommandLink(l) {
				words = append(words, path.Base(l))
			}
		}
	})
	return words
}

func isCommandLink(l string) bool {
	return strings.HasPrefix(l, "bin/") || strings.HasPrefix(l, "sbin/")
}

// viewOutput is what the view of a package's programs is.
type viewOutput struct {
	Name    string   `json:"name"`
	Version string   `json:"version"`
	Tree    string   `json:"tree"` // absolute in the root
	View    string   `json:"view"` // absolute in the root; "" for none
	Files   int      `json:"files"`
	Merged  []string `json:"merged"` // trees
	// Generated says what was made for it beside the trees' files.
	Generated []string        `json:"generated"`
	Programs  []programOutput `json:"programs"`
}

// programOutput is one command of a package.
type programOutput struct {
	Name     string `json:"name"`
	Launcher bool   `json:"launcher"`
	Program  string `json:"program"` // that is executed: in the view, or in the tree
	Why      string `json:"why"`     // it needs the view
	// Launch is how somebody wants it launched: "auto", "none" or "capability".
	Launch record.Launch `json:"launch"`
}

// newLaunched returns what is said of a program that needs a view.
func newLaunched(f *record.File) programOutput {
	how := f.Launch()
	return programOutput{path.Base(f.Path), how != record.LaunchNone, f.Launches, f.Why, how}
}

func runSetView(ctx context.Context, a *app, lock sysroot.LockOptions, text string, how record.Launch) error {
	return a.change(ctx, lock, false, func(change transaction.Change) (transaction.Result, error) {
		g, err := change.Root.Active()
		if err != nil {
			return transaction.Result{}, err
		}
		t, command, err := findCommand(g, text)
		if err != nil {
			return transaction.Result{}, err
		}
		if command == "" {
			return transaction.Result{}, usageError{fmt.Errorf("%s is a package: name one of its programs", text)}
		}
		command = "bin/" + command
		if !slices.Contains(t.Links, command) {
			command = "s" + command
		}
		m, err := change.Root.Store().Manifest(t.Name, t.Dir)
		if err != nil {
			return transaction.Result{}, err
		}
		if f := launcherOf(m, command); f != nil {
			command = f.Path
		}
		return transaction.SetLaunch(ctx, change, t, command, how)
	})
}

// launcherOf returns the launcher that a command of a tree is, or leads to, as one does that an
// alternative of its package brings; nil for none.
func launcherOf(m *record.Manifest, command string) *record.File {
	if f := m.Lookup(command); f != nil && f.Launches != "" {
		return f
	}
	for _, l := range m.Links {
		if l.Path != command {
			continue
		}
		for i := range m.Files {
			if f := &m.Files[i]; f.Launches != "" && (f.Path == l.File() || f.Launches == "/"+l.File()) {
				return f
			}
		}
	}
	return nil
}

func runView(a *app, text string) error {
	root, err := a.openRoot()
	if err != nil {
		return err
	}
	g, err := root.Active()
	if err != nil {
		return err
	}
	t, command, err := findCommand(g, text)
	if err != nil {
		return err
	}
	out, err := newViewOutput(root, t)
	if err != nil {
		return err
	}
	if command != "" {
		out.Programs = slices.DeleteFunc(out.Programs, func(p programOutput) bool { return p.Name != command })
	}
	if a.json {
		return a.printJSON(out)
	}
	return a.printView(out)
}

// findCommand returns the private package that a text names, or the one whose command it
// names, and then that command.
func findCommand(g *record.Generation, text string) (*record.Tree, string, error) {
	if !strings.Contains(text, "=") {
		for i := range g.Trees {
			t := &g.Trees[i]
			if t.Default && isPrivate(t) && (slices.Contains(t.Links, "bin/"+text) || slices.Contains(t.Links, "sbin/"+text)) {
				return t, text, nil
			}
		}
	}
	spec, err := parseSpec(text)
	if err != nil {
		return nil, "", err
	}
	t, err := query.Best(g, spec)
	if err == nil && !isPrivate(t) {
		err = fmt.Errorf("%s belongs to the system's package manager: its programs have no view", t.Spec())
	}
	return t, "", err
}

func newViewOutput(root *sysroot.Root, t *record.Tree) (viewOutput, error) {
	m, err := root.Store().Manifest(t.Name, t.Dir)
	if err != nil {
		return viewOutput{}, err
	}
	out := viewOutput{Name: t.Name, Version: t.Version, Tree: root.Prefix() + "/" + t.Path(), Merged: []string{}, Generated: []string{}, Programs: []programOutput{}}
	for _, l := range m.Links {
		if !isCommandLink(l.Path) {
			continue
		}
		p := programOutput{Program: path.Join(out.Tree, l.File()), Launch: record.LaunchAuto}
		if f := launcherOf(m, l.Path); f != nil {
			p = newLaunched(f)
		}
		p.Name = path.Base(l.Path)
		out.Programs = append(out.Programs, p)
	}
	for i := range m.Files {
		if f := &m.Files[i]; f.Launches != "" {
			out.Programs = append(out.Programs, newLaunched(f))
		}
	}
	slices.SortFunc(out.Programs, func(a, b programOutput) int { return strings.Compare(a.Name, b.Name) })
	if t.View == "" {
		return out, nil
	}
	v, err := root.Store().Manifest(layout.ViewName, t.View)
	if err != nil {
		return out, err
	}
	out.View, out.Files, out.Merged = root.Prefix()+"/"+layout.TreePath(layout.ViewName, t.View), len(v.Files), v.Merged
	for _, g := range v.Generated {
		if !slices.Contains(out.Generated, g.By) {
			out.Generated = append(out.Generated, g.By)
		}
	}
	return out, nil
}

func (a *app) printView(out viewOutput) error {
	w := a.table(1)
	for _, p := range out.Programs {
		how := "needs libraries only"
		switch {
		case p.Launch == record.LaunchNone:
			how = "sees no view, for somebody said --none: " + p.Why
		case p.Launch == record.LaunchCapable:
			how = "sees a view, by a capability: " + p.Why
		case p.Launcher:
			how = "sees a view: " + p.Why
		}
		if _, err := fmt.Fprintf(w, "%s\t%s\n", p.Name, how); err != nil {
			return err
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if out.View == "" {
		return nil
	}
	if err := a.printf("view  %s: %s of %s\n", out.View, count(out.Files, "file"), count(len(out.Merged), "package")); err != nil {
		return err
	}
	for _, by := range out.Generated {
		if err := a.printf("  made: %s\n", by); err != nil {
			return err
		}
	}
	for _, t := range out.Merged {
		if !a.verbose {
			break
		}
		if err := a.printf("  %s\n", t); err != nil {
			return err
		}
	}
	return nil
}

func newEnterCommand(a *app) *cobra.Command {
	var libraries bool
	cmd := &cobra.Command{
		Use:   "enter NAME[=VERSION]... [-- COMMAND [ARGUMENT]...]",
		Short: "Run a shell, or a command, that sees the views of packages",
		Long: `Run a shell, or COMMAND, that sees what the programs of packages see in place of
/usr, those of all packages at once. Where two have a name, that of the first package is
seen. The exit status is the command's. A shell is the one that SHELL names, if
it is there, or else /bin/sh.

With --libs the libraries of a compiler's packages are seen as well, and the root's own
programs load these, too. That is possible where they are not older than the root's.`,
		Example: `  # A shell that sees what vim sees in /usr
  hashpkg enter vim-nox
  # One command
  hashpkg enter python3 -- python3 -m venv ~/env
  # The views of two packages at once
  hashpkg enter git vim-nox
  # Build and test with the libraries of a compiler's packages
  hashpkg enter --libs g++ -- make check`,
		Args: args(cobra.MinimumNArgs(1)),
		RunE: func(c *cobra.Command, given []string) error {
			if c.ArgsLenAtDash() == 0 {
				return usageError{errors.New("enter: name a package")}
			}
			return runEnter(a, given, libraries)
		},
	}
	cmd.Flags().BoolVar(&libraries, "libs", false, "with the libraries of the packages")
	cmd.ValidArgsFunction = a.complete(nth(installedNames(isPrivate)), noFiles)
	cmd.Flags().SetInterspersed(false)
	return cmd
}

func runEnter(a *app, given []string, libraries bool) error {
	packages, command := given, []string{}
	if i := slices.Index(given, "--"); i >= 0 {
		packages = given[:i]
		if i+1 < len(given) {
			command = given[i+1:]
		}
	}
	root, err := a.openRoot()
	if err != nil {
		return err
	}
	if !root.IsHost() {
		return usageError{errors.New("enter starts programs of this machine: it cannot be given --root")}
	}
	g, err := root.Active()
	if err != nil {
		return err
	}
	var trees []*record.Tree
	for _, text := range packages {
		t, _, err := findCommand(g, text)
		if err != nil {
			return err
		}
		if t.View != "" {
			trees = append(trees, t)
		}
	}
	if len(trees) == 0 {
		return advice.Errorf("enter %s: its programs need no view; hashpkg view %s says more", strings.Join(packages, " "), packages[0])
	}
	if len(command) == 0 {
		shell, of, err := a.shell(root, g, trees)
		if err != nil {
			return err
		}
		if command = []string{shell}; of != nil {
			trees = append(trees, of)
		}
	}
	// A launcher runs what is below /usr; env runs anything, and looks in PATH, in the view.
	const env = "/usr/bin/env"
	return execInView(root, g, trees, env, libraries, append([]string{env, "--"}, command...))
}

// execInView executes a program in the views of trees, which are seen as one, and with their
// libraries if these are asked for. It returns only when that fails.
func execInView(root *sysroot.Root, g *record.Generation, trees []*record.Tree, program string, libraries bool, command []string) error {
	b, err := transaction.ViewLauncher(root, g, trees, program, libraries)
	if err == nil {
		err = execBytes(b, command)
	}
	return fmt.Errorf("enter the view of %s: %w", trees[0].Spec(), err)
}

// shell returns the shell that somebody is to have in the views of trees: the one that SHELL
// names, if it will be there, or /bin/sh. If the shell is a program of hashpkg that starts in a
// view of its own, it would leave the views of trees when it starts: then its path inside of its
// view is returned, and its tree, so that the caller adds that view to the others.
func (a *app) shell(root *sysroot.Root, g *record.Generation, trees []*record.Tree) (string, *record.Tree, error) {
	const usual = "/bin/sh"
	s := os.Getenv("SHELL")
	if !path.IsAbs(s) {
		return usual, nil, nil
	}
	if name, ok := strings.CutPrefix(s, root.Prefix()+"/"+layout.CurrentSystem+"/"); ok {
		t, command, err := findCommand(g, path.Base(name))
		if err == nil && command != "" && t.View != "" {
			m, err := root.Store().Manifest(t.Name, t.Dir)
			if err != nil {
				return "", nil, err
			}
			if f := m.Lookup(name); f != nil && f.Launches != "" && f.Launch() != record.LaunchNone {
				return f.Launches, t, nil
			}
		}
	}
	places := []string{s}
	for _, t := range trees {
		view := root.Prefix() + "/" + layout.TreePath(layout.ViewName, t.View)
		places = append(places, view+s, view+"/usr"+s) // /bin is a link
	}
	for _, p := range places {
		if info, err := os.Stat(p); err == nil && info.Mode().IsRegular() && unix.Access(p, unix.X_OK) == nil {
			return s, nil, nil
		}
	}
	a.notice("note: SHELL names %s, which is no program here: this is %s\n", s, usual)
	return usual, nil, nil
}

// execBytes executes a program that stands in no file.
func execBytes(program []byte, command []string) error {
	fd, err := unix.MemfdCreate("launcher", unix.MFD_CLOEXEC)
	if err != nil {
		return err
	}
	if _, err := unix.Write(fd, program); err != nil {
		return err
	}
	return unix.Exec(fmt.Sprintf("/proc/self/fd/%d", fd), command, os.Environ())
}
