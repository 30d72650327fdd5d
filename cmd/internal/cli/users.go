package cli

import (
	"context"
	"fmt"
	"path"

	"github.com/spf13/cobra"

	"github.com/hashpkg/hashpkg/internal/visible"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/sysroot"
	"github.com/hashpkg/hashpkg/transaction/relations"
)

func newUsersCommand(a *app) *cobra.Command {
	var running bool
	cmd := &cobra.Command{
		Use:   "users HASH | SONAME | NAME[=VERSION]",
		Short: "Say which programs load exactly this build of a library",
		Long: `Say which programs, private ones and those of the system that hashpkg follows, load
exactly this build of a library when they start, and which libraries name it themselves,
such as modules that a program opens later. It is the question after a security notice.

HASH is the digest of a library or at least 8 digits of it, NAME=VERSION a package, whose
libraries are meant; a path does as well. Where several builds have a soname, all are
shown, each with its users.

With --running it says which processes have it mapped now, in containers and other roots
as well, and those that have gone on with a file that was replaced since: builds that the
active generation has not any more are shown where a process has them. Of a file that is
gone altogether it says so. Only root sees the processes of others; how many there are
that could not be looked at is said.`,
		Example: `  # Who loads this library, in any build?
  hashpkg users libssl.so.3
  # Who loads this version, and which processes have it in memory?
  hashpkg users liblzma5=5.6.0-0.2 --running
  # Who loads the file of this digest?
  hashpkg users d644dc4d43bb --json`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, given []string) error { return runUsers(c.Context(), a, running, given[0]) },
	}
	cmd.Flags().BoolVar(&running, "running", false, "say which processes have it mapped now")
	cmd.ValidArgsFunction = a.complete(nth(anyOf(installedNames(isAny), installedSonames), nothing), orFiles)
	return cmd
}

func runUsers(ctx context.Context, a *app, running bool, text string) error {
	find := (*relations.Relations).Find
	if running { // a process may have what the active generation has not any more
		find = (*relations.Relations).FindAll
	}
	r, target, err := a.findTarget(ctx, text, find)
	if err != nil {
		return err
	}
	builds, err := r.Users(ctx, target)
	if err != nil {
		return err
	}
	if len(builds) == 0 {
		return fmt.Errorf("%s has no library", text)
	}
	out := map[string]any{}
	if running {
		var unseen sysroot.Unseen
		if builds, unseen, err = r.Running(builds); err != nil {
			return err
		}
		if unseen.Count > 0 {
			a.notice("note: %s of others could not be looked at; root sees all\n", countOf(unseen.Count, "process", "processes"))
		}
		if unseen.Hidden {
			a.notice("note: /proc does not show the processes of others (hidepid); root sees all\n")
		}
		out["unseen"], out["hidden"] = unseen.Count, unseen.Hidden
	}
	if !r.FollowsSystem() {
		a.notice("note: the system's own programs are not looked at, for hashpkg does not follow them here (hashpkg sync)\n")
	}
	if a.json {
		out["builds"] = builds
		return a.printJSON(out)
	}
	for i := range builds {
		if err := a.printBuild(&builds[i], running); err != nil {
			return err
		}
	}
	return nil
}

func (a *app) printBuild(b *relations.Build, running bool) error {
	name := b.Soname
	if name == "" {
		name = path.Base(b.Path)
	}
	origin := ""
	if b.Origin == record.OriginSystem {
		origin = " of the system"
	}
	if !b.Active {
		origin += ", which the active generation does not have"
	}
	if err := a.printf("%s of %s%s  %s  %s\n", visible.Line(name), b.Spec(), origin, visible.Line(b.Path), b.Object); err != nil {
		return err
	}
	if running {
		for _, p := range b.Processes {
			earlier := ""
			if p.Deleted {
				earlier = "  (an earlier file of that path, which is gone)"
			}
			if err := a.printf("  process %d  %s  %s%s\n", p.PID, visible.Line(p.Name), p.User, earlier); err != nil {
				return err
			}
		}
		if len(b.Processes) == 0 {
			return a.printf("  no process that can be seen has it mapped\n")
		}
		return nil
	}
	for _, u := range b.Programs {
		frozen := ""
		if u.Frozen {
			frozen = "  frozen"
		}
		if err := a.printf("  %s  (%s)%s\n", visible.Line(u.Path), u.Spec(), frozen); err != nil {
			return err
		}
	}
	for _, u := range b.Libraries {
		if err := a.printf("  library %s  (%s)\n", visible.Line(u.Path), u.Spec()); err != nil {
			return err
		}
	}
	if len(b.Programs)+len(b.Libraries) == 0 {
		return a.printf("  nothing loads it\n")
	}
	return nil
}

// countOf is count for a word whose plural is another one.
func countOf(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
