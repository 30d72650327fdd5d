package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hashpkg/hashpkg/hooks"
)

// errProblems says that check found problems, which it has reported.
var errProblems = errors.New("problems found")

func newCheckCommand(a *app) *cobra.Command {
	var nagios, prometheus bool
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Look whether hashpkg keeps up with the package manager",
		Long: `Look whether hashpkg keeps up with the package manager, and say what to do where
it does not. A hook never makes a package manager fail, so this is where a failure
is seen. It reports

  a hook or a sync that failed;
  packages that came or went since the last sync;
  pins that no program follows;
  frozen programs that run on other versions than those that are installed, or without
  their freeze;
  hooks that are installed in part;
  a prefix in which others than root could put what programs load.

While dpkg or rpm is at work, what follows from that is no problem. The exit
status is 1 when there is one. Notes remind of pins, with their age and the version
that they hold back; name what could not be looked at, which is more without root;
and speak of fapolicyd and AIDE, where these compare programs with digests. Files
are compared with their records by hashpkg verify. The last sync is the last that had
something to do.

With --nagios it prints one line, as plugins of Nagios, Icinga and others do, and the
exit status is 0 (OK), 1 (WARNING), 2 (CRITICAL: a run failed, or the prefix is not safe)
or 3 (UNKNOWN: it could not look). With --prometheus it prints metrics for the textfile
collector of Prometheus' node exporter, and the exit status is 0 whatever they say.`,
		Example: `  # On a machine: is there anything to do?
  hashpkg check
  hashpkg check --json
  # As a plugin of Nagios or Icinga
  hashpkg check --nagios
  # From a timer, for Prometheus
  hashpkg check --prometheus | sponge /var/lib/prometheus/node-exporter/hashpkg.prom`,
		Args: args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			switch {
			case nagios && prometheus || a.json && (nagios || prometheus):
				return usageError{errors.New("--nagios, --prometheus and --json exclude each other")}
			case nagios:
				return a.printNagios(runCheck(c.Context(), a))
			}
			result, now, err := runCheck(c.Context(), a)
			switch {
			case err != nil:
				return err
			case prometheus:
				return a.printExactly(metrics(result, now))
			}
			if err := a.printCheck(result, now); err != nil {
				return err
			}
			if len(result.Problems) > 0 {
				return errProblems
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.BoolVar(&nagios, "nagios", false, "print one line and exit as monitoring plugins do")
	f.BoolVar(&prometheus, "prometheus", false, "print metrics for the textfile collector of Prometheus' node exporter")
	return cmd
}

func runCheck(ctx context.Context, a *app) (*hooks.CheckResult, time.Time, error) {
	now, err := a.now()
	if err != nil {
		return nil, now, err
	}
	root, err := a.openRoot()
	if err != nil {
		return nil, now, err
	}
	defer root.Close() // nothing was written
	settings, err := a.readConfig()
	if err != nil {
		return nil, now, err
	}
	result, err := hooks.Check(ctx, hooks.CheckOptions{Root: root, Rewrite: settings.rewrite(), Now: now})
	return result, now.Local(), err
}

func (a *app) printCheck(r *hooks.CheckResult, now time.Time) error {
	if a.json {
		return a.printJSON(r)
	}
	if len(r.AtWork) > 0 {
		a.notice("note: %s is at work; check again when it has ended\n", strings.Join(r.AtWork, " and "))
	}
	for _, n := range r.Notes {
		a.notice("note: %s\n", n)
	}
	for i := range r.Pins {
		a.notice("note: %s\n", r.Pins[i].Text())
	}
	for _, p := range r.Problems {
		if err := a.printf("%s; %s\n", p.What, p.Repair); err != nil {
			return err
		}
	}
	if len(r.Problems) == 0 && !a.quiet {
		return a.printf("ok: %s\n", followedText(r, now))
	}
	return nil
}

// followedText says how much is followed, in one line.
func followedText(r *hooks.CheckResult, now time.Time) string {
	if r.Packages == 0 && r.LastSync == nil {
		return "no package manager is followed"
	}
	text := fmt.Sprintf("%s followed, %s edited, %s", count(r.Packages, "package"), count(r.Programs, "program"), count(len(r.Pins), "pin"))
	if r.Frozen > 0 {
		text += fmt.Sprintf(", %s frozen", count(r.Frozen, "program"))
	}
	if r.LastSync != nil {
		text += ", last sync " + whenText(r.LastSync.In(now.Location()), now)
	}
	return text
}

// whenText writes a time as people do: the hour of today, or the day with it.
func whenText(t, now time.Time) string {
	if t.Year() == now.Year() && t.YearDay() == now.YearDay() {
		return t.Format("15:04")
	}
	return t.Format("2006-01-02 15:04")
}
