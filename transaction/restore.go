package transaction

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/hashpkg/hashpkg/internal/advice"
	"github.com/hashpkg/hashpkg/programs"
	"github.com/hashpkg/hashpkg/sysroot"
	"github.com/hashpkg/hashpkg/transaction/query"
)

// RestoreOptions says which programs are to have their packaged bytes again.
type RestoreOptions struct {
	Root  *sysroot.Root
	Names []string // paths in the root, or names of packages
	All   bool
	// Alone says that no package manager is at work, or none but one that waits for this.
	Alone bool
	Lock  sysroot.LockOptions
}

// RestoreResult says which have them.
type RestoreResult struct {
	Restored []string     `json:"restored"` // paths
	Left     []LeftReport `json:"left"`     // that do not
	// Edited are those of Left that still have hashpkg's edit; the others were
	// changed by somebody else.
	Edited []string `json:"edited"`
}

// Restore gives programs that were edited in place their packaged bytes back. They
// keep them until their package brings others, or a sync is asked to look again.
func Restore(ctx context.Context, o RestoreOptions) (result *RestoreResult, err error) {
	result = &RestoreResult{Restored: []string{}, Left: []LeftReport{}, Edited: []string{}}
	if ok, err := o.Root.Exists(); err != nil || !ok {
		return result, err
	}
	w, err := Begin(ctx, o.Root, Options{Lock: o.Lock, Recovering: true})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, w.End()) }()
	keys, err := o.Root.EditedPackages()
	if err != nil {
		return nil, err
	}
	records, err := programs.ReadRecords(o.Root, keys)
	if err != nil {
		return nil, err
	}
	found := map[string]bool{}
	decisions := programs.PlanRestore(o.Root, records, func(pkg, path string) bool {
		name := o.named(pkg, path)
		found[name] = true
		return o.All || name != ""
	})
	for _, name := range o.Names {
		if !found[name] {
			return nil, fmt.Errorf("%w: neither a program that was edited, nor a package with one, has the name %s", query.ErrNotInstalled, name)
		}
	}
	outcomes, err := programs.Apply(ctx, o.Root, records, decisions, o.Alone)
	w.sayPrograms(w.active.ID, outcomes)
	if errors.Is(err, ErrInterrupted) {
		err = advice.Errorf("%w; run hashpkg restore again to finish", err)
	}
	if err != nil {
		return nil, err
	}
	var faults error
	for _, c := range outcomes {
		switch c.State {
		case programs.Restored:
			result.Restored = append(result.Restored, c.Path)
		case programs.Left:
			result.Left = append(result.Left, leftReport(c))
			if c.Current != nil {
				result.Edited = append(result.Edited, c.Path)
			}
		case programs.Failed:
			faults = errors.Join(faults, c.Err)
		}
	}
	return result, faults
}

// named returns which of the names stands for a program of a package; "" for none.
func (o *RestoreOptions) named(pkg, path string) string {
	i := slices.IndexFunc(o.Names, func(n string) bool { return n == path || !strings.HasPrefix(n, "/") && n == pkg })
	if i < 0 {
		return ""
	}
	return o.Names[i]
}
