package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/hashpkg/hashpkg/internal/advice"
	"github.com/hashpkg/hashpkg/internal/shells"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/plan"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/sysroot"
	"github.com/hashpkg/hashpkg/transaction"
)

// maxStartup bounds a file that a shell reads at its start.
const maxStartup = 8 << 20

type setupPathOptions struct {
	shell                        string
	first, print, remove, dryRun bool
}

func newSetupPathCommand(a *app) *cobra.Command {
	var o setupPathOptions
	cmd := &cobra.Command{
		Use:   "setup-path",
		Short: "Have your shell find the programs that hashpkg has installed",
		Long: `Write to the files that your shell reads at its start where programs of hashpkg are,
their manual pages, completions and desktop files: current-system/bin and
current-system/share below the prefix. The packages of hashpkg do this for all users with
the default prefix, as far as their shells and sessions read what packages bring; a login
shell that is zsh does not on Debian.

They come after the system's own, so that no script gets another program than before,
and so jq is the system's jq where there is one. With --first those of hashpkg
come before: of all packages, also those that came because others need them.

The lines stand in a block of their own, which another run replaces and --remove takes
out. bash reads ~/.bashrc and ~/.profile (or ~/.bash_profile, ~/.bash_login), zsh
~/.zshenv, fish ~/.config/fish/conf.d/hashpkg.fish, any other shell ~/.profile. Links to
such files are followed. With --print nothing is written, and the lines are printed.

sudo has a path of its own, secure_path in /etc/sudoers: name the directory there, or the
program by its path.`,
		Example: `  hashpkg setup-path
  hashpkg setup-path --shell zsh --first
  eval "$(hashpkg setup-path --print)"
  hashpkg setup-path --remove`,
		Args: args(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error { return runSetupPath(a, o) },
	}
	f := cmd.Flags()
	f.StringVar(&o.shell, "shell", "", "write for `SHELL`: bash, zsh, fish or sh (default: that of $SHELL)")
	f.BoolVar(&o.first, "first", false, "find programs of hashpkg before the system's")
	f.BoolVar(&o.print, "print", false, "print the lines and write nothing")
	f.BoolVar(&o.remove, "remove", false, "take the lines out again")
	dryRunFlag(cmd, &o.dryRun)
	cmd.MarkFlagsMutuallyExclusive("print", "remove")
	cmd.MarkFlagsMutuallyExclusive("print", "dry-run")
	cmd.MarkFlagsMutuallyExclusive("first", "remove")
	names := make([]string, len(shells.All))
	for i, s := range shells.All {
		names[i] = string(s)
	}
	a.completeFlag(cmd, "shell", oneOf(names...), noFiles)
	return cmd
}

// setupPathOutput is what setup-path prints with --json.
type setupPathOutput struct {
	Shell shells.Shell    `json:"shell"`
	Lines string          `json:"lines"`
	Files []startupOutput `json:"files"`
}

// startupOutput is a file that a shell reads at its start.
type startupOutput struct {
	Path    string `json:"path"`
	Changed bool   `json:"changed"`
}

func runSetupPath(a *app, o setupPathOptions) error {
	shell := shells.Shell(o.shell)
	if shell == "" {
		if shell = shells.Shell(filepath.Base(a.Getenv("SHELL"))); !slices.Contains(shells.All, shell) {
			shell = shells.SH
		}
	}
	if !slices.Contains(shells.All, shell) {
		return usageError{fmt.Errorf("--shell %s: expected bash, zsh, fish or sh", o.shell)}
	}
	root, err := a.openRoot()
	if err != nil {
		return err
	}
	if !root.IsHost() && !o.print {
		return usageError{advice.Errorf("setup-path writes for shells of this machine, and not of another root; --print prints the lines")}
	}
	out := setupPathOutput{Shell: shell, Lines: shells.Lines(shell, root.Prefix()+"/"+layout.CurrentSystem, o.first), Files: []startupOutput{}}
	if o.print {
		if a.json {
			return a.printJSON(out)
		}
		return a.printExactly(out.Lines)
	}
	home := a.Getenv("HOME")
	if !filepath.IsAbs(home) {
		return advice.Errorf("HOME is not set to a directory, and so it is not known whose shells are meant; --print prints the lines")
	}
	files := startupFiles(shell, home, a.Getenv)
	if o.remove && o.shell == "" {
		files = allStartupFiles(home, a.Getenv)
	}
	for _, name := range files {
		changed, err := editStartup(name, o.dryRun, func(text []byte) ([]byte, error) {
			if o.remove {
				return shells.Remove(text)
			}
			return shells.Insert(text, out.Lines)
		})
		if err != nil {
			return fmt.Errorf("edit %s: %w", name, err)
		}
		out.Files = append(out.Files, startupOutput{name, changed})
	}
	if a.json {
		return a.printJSON(out)
	}
	return a.printSetupPath(out.Files, o)
}

func (a *app) printSetupPath(files []startupOutput, o setupPathOptions) error {
	if a.quiet {
		return nil
	}
	done, any := "written", false
	if o.remove {
		done = "taken back"
	}
	if o.dryRun {
		done = "would be " + done
	}
	for _, f := range files {
		if f.Changed {
			any = true
			if err := a.printf("%s: %s\n", f.Path, done); err != nil {
				return err
			}
		}
	}
	switch {
	case !any && o.remove:
		return a.printf("nothing to do: no file has lines of setup-path\n")
	case o.remove && !o.dryRun:
		return a.printf("it holds for shells that are started from now on\n")
	case !any:
		return a.printf("nothing to do: your shell's files have the lines already\n")
	case !o.dryRun:
		return a.printf("it holds for shells that are started from now on; undo: hashpkg setup-path --remove\n")
	}
	return nil
}

// startupFiles returns the files that get the lines: for shells of each kind, login shells and
// others.
func startupFiles(shell shells.Shell, home string, getenv func(string) string) []string {
	in := func(variable, dir string) string {
		if d := getenv(variable); filepath.IsAbs(d) {
			return d
		}
		return dir
	}
	switch shell {
	case shells.Zsh: // which is read before the others, and so before compinit
		// Where ~/.zshenv sets ZDOTDIR, a login shell reads that one, and others the one there.
		return slices.Compact([]string{filepath.Join(home, ".zshenv"), filepath.Join(in("ZDOTDIR", home), ".zshenv")})
	case shells.Fish:
		return []string{filepath.Join(in("XDG_CONFIG_HOME", filepath.Join(home, ".config")), "fish/conf.d/hashpkg.fish")}
	case shells.Bash: // a login shell reads the first of these only: bash(1), INVOCATION
		login := filepath.Join(home, ".profile")
		for _, name := range []string{".bash_profile", ".bash_login"} {
			if _, err := os.Stat(filepath.Join(home, name)); err == nil {
				login = filepath.Join(home, name)
				break
			}
		}
		return []string{login, filepath.Join(home, ".bashrc")}
	}
	return []string{filepath.Join(home, ".profile")}
}

// allStartupFiles returns the files that any shell may have got lines in, now or when it had others.
func allStartupFiles(home string, getenv func(string) string) (files []string) {
	for _, name := range []string{".profile", ".bash_profile", ".bash_login", ".bashrc"} {
		files = append(files, filepath.Join(home, name))
	}
	files = append(files, startupFiles(shells.Zsh, home, getenv)...)
	return append(files, startupFiles(shells.Fish, home, getenv)...)
}

// editStartup replaces a file by what edit makes of it, in one rename, and reports whether that is something
// else. A file that is not there is empty, and fish's, which is ours alone, goes when it becomes empty.
func editStartup(name string, dryRun bool, edit func([]byte) ([]byte, error)) (changed bool, err error) {
	target, err := filepath.EvalSymlinks(name)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Lstat(name); err == nil {
			return false, errors.New("it is a link to what is not there")
		}
		target = name
	} else if err != nil {
		return false, err
	}
	var text []byte
	mode := fs.FileMode(0o644)
	info, err := os.Lstat(target)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return false, err
	case !info.Mode().IsRegular() || info.Size() > maxStartup:
		return false, errors.New("it is no file of text")
	default:
		mode = info.Mode().Perm()
		if text, err = os.ReadFile(target); err != nil {
			return false, err
		}
	}
	edited, err := edit(text)
	if err != nil || bytes.Equal(text, edited) {
		return false, err
	}
	group := -1
	if info != nil {
		if !ownedByCaller(info) { // as with sudo, which may leave HOME as it is
			return false, errors.New("it is somebody else's: run hashpkg setup-path as the user whose shell it is for")
		}
		group = int(info.Sys().(*syscall.Stat_t).Gid)
	}
	if dryRun {
		return true, nil
	}
	if len(edited) == 0 && strings.HasSuffix(name, ".fish") && target == name {
		return true, os.Remove(name)
	}
	return true, replaceFile(target, edited, mode, group)
}

func ownedByCaller(info fs.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(stat.Uid) == os.Geteuid()
}

// replaceFile writes a file beside the one that it then replaces. Directories on the way are made below one
// of the caller's. group is the file's; -1 for that of new files.
func replaceFile(name string, text []byte, mode fs.FileMode, group int) (err error) {
	dir := filepath.Dir(name)
	for at := dir; ; at = filepath.Dir(at) {
		info, err := os.Stat(at)
		if errors.Is(err, fs.ErrNotExist) && at != "/" {
			continue
		}
		if err != nil {
			return err
		}
		if !ownedByCaller(info) {
			return fmt.Errorf("%s is somebody else's: run hashpkg setup-path as the user whose shell it is for", at)
		}
		break
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	temp, err := os.CreateTemp(dir, "."+filepath.Base(name)+".hashpkg-")
	if err != nil {
		return err
	}
	_, err = temp.Write(text)
	err = errors.Join(err, temp.Chown(-1, group), temp.Chmod(mode), temp.Sync(), temp.Close())
	if err == nil {
		err = os.Rename(temp.Name(), name)
	}
	if err != nil {
		return errors.Join(err, os.Remove(temp.Name()))
	}
	return nil
}

// profileFile is what hashpkg's packages bring for login shells.
const profileFile = "/etc/profile.d/hashpkg.sh"

// notePath says after the first install that the caller's PATH does not have the commands of
// hashpkg, and later which command that somebody asked for is found elsewhere before.
func (a *app) notePath(root *sysroot.Root, result *transaction.InstallResult) {
	g, err := root.Generation(result.Generation)
	if err != nil || !root.IsHost() {
		return
	}
	bin := root.Prefix() + "/" + layout.CurrentSystem + "/bin"
	path := filepath.SplitList(a.Getenv("PATH"))
	at := slices.IndexFunc(path, func(dir string) bool { return filepath.Clean(dir) == bin })
	if at < 0 {
		_, err := os.Stat(profileFile)
		// sudo's PATH is not the caller's, which the package sees to.
		hasOwn := a.Getenv("SUDO_UID") != "" && err == nil && root.Prefix() == layout.DefaultPrefix
		if hasCommands(g) && !hadCommands(root, g) && !hasOwn {
			a.notice("note: commands are in %s, where PATH does not look; %s setup-path has your shell find them\n", bin, a.again())
		}
		return
	}
	for i := range g.Trees {
		t := &g.Trees[i]
		command := "bin/" + t.Name
		if !t.Asked || !t.Default || !slices.Contains(t.Links, command) ||
			!slices.ContainsFunc(result.Plan.Trees, func(p plan.PlannedTree) bool { return p.Name == t.Name && p.Tree == t.Dir }) {
			continue
		}
		for _, dir := range path[:at] {
			other := filepath.Join(dir, t.Name)
			if info, err := os.Stat(other); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
				a.notice("note: %s is found as %s, before %s/%[1]s; %[4]s setup-path --first turns that round\n", t.Name, other, bin, a.again())
				break
			}
		}
	}
}

// hasCommands reports whether a generation has commands of private packages.
func hasCommands(g *record.Generation) bool {
	return slices.ContainsFunc(g.Trees, func(t record.Tree) bool {
		return t.Origin == record.OriginPrivate && t.Default && slices.ContainsFunc(t.Links, func(l string) bool { return strings.HasPrefix(l, "bin/") })
	})
}

// hadCommands reports whether the generation before had some, or is not there to tell.
func hadCommands(root *sysroot.Root, g *record.Generation) bool {
	if g.Parent == 0 {
		return false
	}
	before, err := root.Generation(g.Parent)
	return err != nil || hasCommands(before)
}
