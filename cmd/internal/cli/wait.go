package cli

import (
	"time"

	"github.com/spf13/cobra"

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
	wait := cmd.Flags().Duration(name, 0, text)
	return func() sysroot.LockOptions {
		o := sysroot.LockOptions{Command: cmd.CommandPath(), Wait: *wait}
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
