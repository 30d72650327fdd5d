package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hashpkg/hashpkg/backends"
	"github.com/hashpkg/hashpkg/layout/plan"
	"github.com/hashpkg/hashpkg/sysroot"
)

// noteForeign says in one line which packages are for machines that the root is not of: they
// are kept for such a machine, or an emulator.
func (a *app) noteForeign(root *sysroot.Root, trees []plan.PlannedTree) {
	var foreign []string
	for i := range trees {
		t := &trees[i]
		for _, f := range root.Formats() {
			repositories, ok := f.(backends.Repositories)
			if !ok || f.Name() != t.Manifest.Format {
				continue
			}
			runs, err := repositories.Architectures(root)
			if err != nil {
				a.notice("warning: it is not known what the root can run: %v\n", err)
				return
			}
			if all, _ := repositories.AllArchitectures(); t.Manifest.Architecture != all && !slices.Contains(runs, t.Manifest.Architecture) {
				foreign = append(foreign, fmt.Sprintf("%s (%s)", t.Name, t.Manifest.Architecture))
			}
		}
	}
	if len(foreign) > 0 {
		a.notice("note: of another architecture than what this root runs: %s\n", strings.Join(foreign, ", "))
	}
}
