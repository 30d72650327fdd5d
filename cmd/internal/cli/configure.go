package cli

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"github.com/hashpkg/hashpkg/transaction/conf"
	"github.com/hashpkg/hashpkg/transaction/query"
)

func newConfigureCommand(a *app) *cobra.Command {
	var timeout time.Duration
	cmd := a.adopting(&cobra.Command{
		Use:   "configure NAME[=VERSION]",
		Short: "Have the scripts of a package compute in a box what no package has",
		Long: `Some files are in no package: scripts compute them when dpkg configures one, such as
/etc/R/Renviron, or the formats of TeX. hashpkg configure runs the scripts by which dpkg
would configure the package and all that it needs, by the root's own dpkg or one that
hashpkg has installed, as root of a box that has their files and the root's /usr, an /etc
and a /var of its own, no network, and no way to change the machine. Those of an rpm (%post and
%posttrans) run there in order, without rpm; what rpm itself interprets (Lua) does not.

What they compute is copied to /etc and /var/lib where nothing is, beside what hashpkg
conf adopt copies, and like that: hashpkg conf list shows how it stands, run again this
follows newer versions, and hashpkg conf drop takes it away. Left out are who may log
in, what is started, what belongs to other programs or to users whom scripts make, and
what not everybody may read.
With --dry-run the scripts run all the same, and what would be copied is said.

It is for root. Services are not started, and users are not made.`,
		Example: `  # Compute /etc/R/Renviron and its like
  hashpkg configure r-base-core
  # Run the scripts, and see what would be copied
  hashpkg configure texlive-latex-base --dry-run
  # Give the scripts more time
  hashpkg configure --timeout 2h texlive-full`,
	}, func(ctx context.Context, o conf.Options, spec query.Spec) (*conf.Result, error) {
		if timeout <= 0 {
			return nil, usageError{errors.New("--timeout is not more than 0")}
		}
		defer a.newProgress().during("scripts run")()
		o.Scripts, o.Timeout = true, timeout
		return conf.Adopt(ctx, o, spec)
	})
	cmd.Flags().DurationVar(&timeout, "timeout", 30*time.Minute, "end scripts that have not ended after `DURATION`, such as 2h")
	return cmd
}
