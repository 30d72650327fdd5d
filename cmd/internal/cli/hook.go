package cli

import (
	"context"
	"errors"
	"io"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/hashpkg/hashpkg/hooks"
	"github.com/hashpkg/hashpkg/internal/caller"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/sysroot"
)

// newHookCommand returns what the files that hashpkg hooks installs call.
func newHookCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:    "hook",
		Short:  "Do what a package manager's hook is for",
		Hidden: true,
		Args:   args(cobra.NoArgs),
		RunE:   func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	for event, short := range map[hooks.Event]string{
		hooks.Before: "Do nothing: for the files that older versions have installed",
		hooks.During: "Agree with its database while it is at work",
		hooks.After:  "Agree with its database when it has ended",
		hooks.Retire: "Leave a system that works without hashpkg",
	} {
		var drain bool
		sub := &cobra.Command{
			Use:   string(event),
			Short: short,
			Args:  args(cobra.NoArgs),
			RunE: func(c *cobra.Command, _ []string) error {
				a.isHook = true
				return runHook(c.Context(), a, event, drain)
			},
		}
		sub.Flags().BoolVar(&drain, "drain", false, "read standard input to its end: rpm writes the names of files to it")
		cmd.AddCommand(sub)
	}
	cmd.AddCommand(&cobra.Command{
		Use:                "prelink --verify --md5 FILE",
		Short:              "Answer debsums for programs that were edited",
		DisableFlagParsing: true,
		RunE: func(_ *cobra.Command, given []string) error {
			a.isHook = true
			root, err := a.openRoot()
			if err != nil {
				return err
			}
			return hooks.Prelink(root, a.Out, given)
		},
	})
	return cmd
}

// runHook runs one hook. Where dpkg works on another root than
// its own, it says so by DPKG_ROOT (dpkg(1), --pre-invoke).
func runHook(ctx context.Context, a *app, event hooks.Event, drain bool) error {
	signal.Ignore(syscall.SIGPIPE) // nobody may be listening
	if drain {
		_, _ = io.Copy(io.Discard, a.In) // what it says is found in the database
	}
	foreign := false
	if dir := a.Getenv("DPKG_ROOT"); a.root == "/" && dir != "" && dir != "/" {
		a.root, foreign = dir, true
	}
	err := hooks.Run(ctx, visibleWriter{a.Err}, func() (hooks.Hook, error) {
		h := hooks.Hook{Event: event, Foreign: foreign, Image: a.isImage(), Generate: a.Generate, User: caller.User(a.Getenv), Log: a.log}
		now, errNow := a.now()
		settings, err := a.readConfig()
		h.Now, h.Rewrite = now, settings.rewrite()
		prefix := settings.Prefix
		switch {
		case a.prefix != "":
			prefix = a.prefix
		case err != nil:
			prefix = layout.DefaultPrefix // to keep the failure
		}
		root, errRoot := sysroot.Open(a.root, prefix, a.Formats)
		h.Root = root
		return h, errors.Join(errNow, err, errRoot)
	})
	if err != nil {
		return errReported
	}
	return nil
}
