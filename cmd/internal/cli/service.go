package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/hashpkg/hashpkg/sysroot"
	"github.com/hashpkg/hashpkg/transaction/service"
)

type serviceOptions struct {
	name, unit, command, user string
	remove                    bool
	lock                      func() sysroot.LockOptions
}

func newServiceCommand(a *app) *cobra.Command {
	var o serviceOptions
	cmd := &cobra.Command{
		Use:   "service [NAME[=VERSION] | --remove SERVICE]",
		Short: "Write a systemd unit for a package, beside those of the system",
		Long: `Write a unit for a service of a package into /etc/systemd/system, from the unit that
the package has, or with --exec for a command; without a name, list the services. The
unit starts the program in the package's tree, with the package's view for its /usr.

With --name the service has another name than the package's unit, so that it runs
beside the system's own: it gets directories of that name in /etc, /var/lib,
/var/cache, /var/log and /run, and sees them where the package has its own. The package's
files for /etc are copied there, once; a port, or a socket, is to be chosen there before
the service is started.

Nothing is started, stopped or enabled: systemctl does so. The unit follows the version
that is in use, or only VERSION. What else is to be different belongs into a file
in /etc/systemd/system/SERVICE.service.d, for a unit that somebody has changed is left alone.
With --remove the unit is removed; what the service has in /etc and /var stays.

The users that the unit names must be there; hashpkg show NAME lists those that
the package's scripts would make. It needs systemd 252 or newer.`,
		Example: `  # Run a newer nginx beside the system's
  hashpkg service nginx --name nginx-trixie
  # A service of which the package has no unit that fits
  hashpkg service postgresql-17 --name pg17 --user postgres --exec '/usr/lib/postgresql/17/bin/postgres -D /var/lib/pg17 -p 5433'
  # List the services
  hashpkg service
  # Remove a unit; what the service has in /etc and /var stays
  hashpkg service --remove nginx-trixie`,
		Args: args(cobra.MaximumNArgs(1)),
		RunE: func(c *cobra.Command, given []string) error { return runService(c.Context(), a, o, given) },
	}
	cmd.ValidArgsFunction = a.complete(nth(func(root *sysroot.Root, given []string, begun string) []string {
		if !o.remove {
			return installedNames(isPrivate)(root, given, begun)
		}
		list, err := service.List(root)
		if err != nil {
			return nil
		}
		var names []string
		for _, s := range list {
			names = append(names, s.Name)
		}
		return names
	}, nothing), noFiles)
	f := cmd.Flags()
	f.StringVar(&o.name, "name", "", "call the service `SERVICE`")
	f.StringVar(&o.unit, "unit", "", "take this `UNIT` of the package, of several")
	f.StringVar(&o.command, "exec", "", "run this `COMMAND`, and take no unit of the package")
	f.StringVar(&o.user, "user", "", "run it as `USER`")
	f.BoolVar(&o.remove, "remove", false, "remove the unit of a service")
	cmd.MarkFlagsMutuallyExclusive("unit", "exec")
	for _, other := range []string{"name", "unit", "exec", "user"} {
		cmd.MarkFlagsMutuallyExclusive("remove", other)
	}
	o.lock = a.waitFlag(cmd, false)
	return cmd
}

// serviceOutput is what service prints with --json when it lists.
type serviceOutput struct {
	Services []service.Service `json:"services"`
}

func runService(ctx context.Context, a *app, o serviceOptions, given []string) error {
	if o.user != "" && o.command == "" {
		return usageError{errors.New("--user is for --exec: a package's unit says itself who runs it")}
	}
	if len(given) == 0 && (o.remove || o.name+o.unit+o.command != "") {
		return usageError{errors.New("service: an argument is missing: which package, or with --remove which service; hashpkg service lists what there is")}
	}
	root, err := a.openRoot()
	if err != nil {
		return err
	}
	switch {
	case len(given) == 0:
		return runServiceList(a, root)
	case o.remove:
		return runServiceRemove(ctx, a, root, o.lock(), given[0])
	}
	spec, err := parseSpec(given[0])
	if err != nil {
		return err
	}
	added, err := service.Add(ctx, service.Options{Root: root, Lock: o.lock()}, service.New{
		Package: spec, Name: o.name, Unit: o.unit, Command: o.command, User: o.user,
	})
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(added)
	}
	if a.quiet {
		return nil
	}
	for _, file := range added.Copied {
		if err := a.printf("%s: copied\n", file); err != nil {
			return err
		}
	}
	return a.printf("%s: written; systemctl daemon-reload makes it known\n", added.File)
}

func runServiceList(a *app, root *sysroot.Root) error {
	list, err := service.List(root)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(serviceOutput{list})
	}
	t := a.table()
	for _, s := range list {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", s.Name, s.Package, s.State, s.File)
	}
	return t.Flush()
}

func runServiceRemove(ctx context.Context, a *app, root *sysroot.Root, lock sysroot.LockOptions, name string) error {
	removed, err := service.Remove(ctx, service.Options{Root: root, Lock: lock}, name)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(removed)
	}
	if removed.State == service.Changed {
		a.notice("note: somebody has changed %s: it stays, and is not hashpkg's any more\n", removed.File)
		return nil
	}
	if a.quiet {
		return nil
	}
	return a.printf("%s: removed\n", removed.File)
}

// followServices has services follow a change of the versions in use. That it fails does not
// undo the change.
func (a *app) followServices(ctx context.Context, root *sysroot.Root, lock sysroot.LockOptions) {
	updated, err := service.Update(ctx, service.Options{Root: root, Lock: lock})
	for _, u := range updated {
		if u.Written {
			a.notice("note: service %s follows %s: systemctl daemon-reload, and restart it\n", u.Name, u.Package)
		} else {
			a.notice("note: service %s stays as it is: %s; hashpkg service --remove %s gives it up\n", u.Name, u.Reason, u.Name)
		}
	}
	if err != nil {
		a.notice("warning: services are not those of the versions in use: %v\n", err)
	}
}
