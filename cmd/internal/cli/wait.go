package cli

import (
	"errors"
	"time"

	"github.com/spf13/cobra"

	"github.com/hashpkg/hashpkg/internal/caller"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/sysroot"
)

// patience is how long a command that scripts and hooks run waits for the lock when
// nobody says.
const patience = 10 * time.Second

// waitFlag gives a command that writes the flag --wait. The function that it returns
// says how the command takes the lock, once flags are parsed. A patient command waits
// a while where nobody looks on; a person gets the error at once.
func (a *app) waitFlag(cmd *cobra.Command, patient bool) func() sysroot.LockOptions {
	const name = "wait"
	text := "wait for another hashpkg to end, for `DURATION` at most, such as 30s (default: not at all)"
	if patient {
		text = "wait for another hashpkg to end, for `DURATION` at most, such as 30s (default: not at all, or 10s when standard error is no terminal)"
	}
	wait := new(time.Duration)
	cmd.Flags().Var((*waitValue)(wait), name, text)
	return func() sysroot.LockOptions {
		o := sysroot.LockOptions{Command: cmd.CommandPath(), Cause: a.cause(), Log: a.log, Wait: *wait}
		terminal := a.terminal()
		switch {
		case terminal != nil && !a.quiet:
			o.Waiting = func(l *sysroot.LockedError) {
				a.notice("hashpkg: %v; waiting up to %v\n", l, *wait)
			}
		case terminal == nil && patient && !cmd.Flags().Changed(name):
			o.Wait = patience
		}
		return o
	}
}

// cause is what generations keep of the command.
func (a *app) cause() record.Cause {
	if a.isImage() {
		return record.Cause{}
	}
	return record.Cause{Command: caller.CommandLine(append([]string{"hashpkg"}, a.args...)), User: caller.User(a.Getenv)}
}

// waitValue is a duration that is not negative. It implements [pflag.Value].
type waitValue time.Duration

func (w *waitValue) Set(text string) error {
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return errors.New("expected a duration such as 30s or 1m")
	}
	*w = waitValue(d)
	return nil
}

func (w *waitValue) Type() string { return "duration" }

func (w *waitValue) String() string {
	if *w == 0 {
		return ""
	}
	return time.Duration(*w).String()
}
