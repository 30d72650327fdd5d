package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/hashpkg/hashpkg/layout/sbom"
	"github.com/hashpkg/hashpkg/sysroot"
)

func newSBOMCommand(a *app) *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "sbom",
		Short: "Print a bill of materials of what stands in the prefix",
		Long: `Print a bill of materials of what the active generation has, and of what programs are
pinned or frozen to: each package version with its package URL, the digest of its package
file and what it needs. The same generation and pins give the same bytes. Of a system that hashpkg follows, the packages that have
libraries are in it, and not all; licenses are not, which hashpkg does not know.

  spdx        SPDX 2.3, in JSON
  cyclonedx   CycloneDX 1.6, in JSON`,
		Example: `  # Of this machine, as SPDX
  hashpkg sbom > prefix.spdx.json
  # Of an image, as CycloneDX
  hashpkg sbom --format cyclonedx --root ./image`,
		Args: args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error { return runSBOM(c.Context(), a, format) },
	}
	cmd.Flags().StringVar(&format, "format", "spdx", "write it as `FORMAT`: spdx or cyclonedx")
	a.completeFlag(cmd, "format", func(*sysroot.Root, []string, string) []string { return []string{"spdx", "cyclonedx"} }, noFiles)
	return cmd
}

func runSBOM(ctx context.Context, a *app, format string) error {
	write := map[string]func(*sbom.Bill) ([]byte, error){"spdx": sbom.SPDX, "cyclonedx": sbom.CycloneDX}[format]
	if write == nil {
		return usageError{fmt.Errorf("--format %s: expected spdx or cyclonedx", format)}
	}
	_, r, err := a.relations(ctx)
	if err != nil {
		return err
	}
	bill, err := r.Bill(ctx, version())
	if err != nil {
		return err
	}
	if bill.Time.IsZero() { // there is no generation, and nothing in the bill
		if bill.Time, err = a.now(); err != nil {
			return err
		}
	}
	text, err := write(bill)
	if err != nil {
		return fmt.Errorf("write the bill of materials: %v", err)
	}
	return a.printExactly(string(text) + "\n")
}
