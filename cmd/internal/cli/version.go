package cli

import (
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/hashpkg/hashpkg/layout"
)

// Version is set by the linker; a build without it tells the module's version.
var Version string

func newVersionCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print hashpkg's version",
		Example: "  hashpkg version",
		Args:    args(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			if a.json {
				return a.printJSON(map[string]any{"version": version(), "layout": layout.FormatVersion, "go": runtime.Version()})
			}
			return a.printf("hashpkg %s\n", version())
		},
	}
}

// version returns [Version], or what Go has recorded where that was not set.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && Version == "" {
		return info.Main.Version
	}
	return Version
}
