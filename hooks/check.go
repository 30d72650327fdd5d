package hooks

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/programs"
	"github.com/hashpkg/hashpkg/sysroot"
	"github.com/hashpkg/hashpkg/sysroot/confine"
	"github.com/hashpkg/hashpkg/transaction"
)

// Problem is one thing that is not as it should be.
type Problem struct {
	Kind   ProblemKind `json:"kind"`
	What   string      `json:"what"`
	Repair string      `json:"repair"` // what to do
}

// ProblemKind is what a problem is about.
type ProblemKind string

// The kinds of problems.
const (
	FailureKept    ProblemKind = "failure" // a hook or a sync has failed
	BehindDatabase ProblemKind = "behind"  // packages have come or gone since the last sync
	PinNotInForce  ProblemKind = "pin"
	FreezeBehind   ProblemKind = "frozen" // a frozen program has no freeze in force, or other libraries than the system
	HooksInPart    ProblemKind = "hooks"  // files are missing or changed
	PrefixUnsafe   ProblemKind = "prefix" // others than root could change what programs load
)

// ProblemKinds returns all kinds of problems.
func ProblemKinds() []ProblemKind {
	return []ProblemKind{FailureKept, BehindDatabase, PinNotInForce, FreezeBehind, HooksInPart, PrefixUnsafe}
}

// CheckResult is what a check has found.
type CheckResult struct {
	AtWork   []string  `json:"at_work"` // package managers: what follows from them is no problem then
	Problems []Problem `json:"problems"`
	// Notes are what is no problem, and good to know: what could not be looked at, and
	// who else watches programs.
	Notes []string `json:"notes"`
	Followed
}

// CheckOptions says what to check.
type CheckOptions struct {
	Root    *sysroot.Root
	Rewrite programs.Rewrite
	Now     time.Time
}

const repairBySync = "run hashpkg sync"

// Check looks whether the system's trees, farm and programs are as the package
// managers' databases and the pins ask for. It changes nothing.
func Check(ctx context.Context, o CheckOptions) (*CheckResult, error) {
	c := &checker{CheckOptions: o, CheckResult: CheckResult{AtWork: []string{}, Problems: []Problem{}, Notes: []string{}, Followed: Followed{Pins: []Reminder{}}}}
	status, err := Status(o.Root)
	if err != nil {
		return nil, err
	}
	work, err := AtWork(o.Root)
	if err := c.unseen("whether a package manager is at work", err); err != nil {
		return nil, err
	}
	c.AtWork = append(c.AtWork, work...)
	slices.Sort(c.AtWork)
	store, err := o.Root.Exists()
	if err != nil {
		return nil, err
	}
	if store {
		err = c.checkStore(ctx, status.Any())
	} else if status.Any() && len(c.AtWork) == 0 {
		c.add(BehindDatabase, repairBySync, "the hooks are installed, and there is no store yet")
	}
	c.checkHooks(status)
	c.noteWatchers(store)
	if store && err == nil {
		err = c.unseen("how much is followed", c.countFollowed())
	}
	return &c.CheckResult, err
}

type checker struct {
	CheckOptions
	CheckResult
	retired time.Time // see [sysroot.Root.RetiredSince]
}

// isRetired reports whether a pin, or freeze, is out of force because the programs had their packaged
// bytes back when hashpkg-follow went: it said so then. One that was made since is not.
func (c *checker) isRetired(p *record.Pin) bool {
	since, err := time.Parse(time.RFC3339, p.Since)
	return !c.retired.IsZero() && (err != nil || !since.After(c.retired))
}

func (c *checker) add(kind ProblemKind, repair, format string, v ...any) {
	c.Problems = append(c.Problems, Problem{kind, fmt.Sprintf(format, v...), repair})
}

// unseen makes a note of what may not be looked at, and returns other errors.
func (c *checker) unseen(what string, err error) error {
	if !errors.Is(err, fs.ErrPermission) {
		return err
	}
	c.Notes = append(c.Notes, fmt.Sprintf("cannot see %s (%v): run hashpkg check as root", what, err))
	return nil
}

// noteWatchers reports programs that compare others with digests.
func (c *checker) noteWatchers(store bool) {
	if !store {
		return
	}
	switch i := confine.ReadIntegrity(c.Root); i {
	case confine.IntegritySHA256, confine.IntegrityIMA:
		c.Notes = append(c.Notes, fmt.Sprintf(
			"fapolicyd trusts programs by their digests (integrity = %s in %s), so programs stay as packaged, and pins are refused; with integrity = none they are edited at the next hashpkg sync",
			i, confine.FapolicydConfig))
	case confine.IntegritySize:
		c.Notes = append(c.Notes, fmt.Sprintf(
			"fapolicyd trusts programs by their sizes (integrity = size in %s), so programs that an edit makes longer stay as packaged", confine.FapolicydConfig))
	case confine.IntegrityNone:
	}
	if config := confine.HasAIDE(c.Root); config != "" {
		c.Notes = append(c.Notes, fmt.Sprintf(
			"AIDE (%s) reports edited programs as changed: look at them with hashpkg verify --system, then run aide --update; or set executables = \"none\" in /etc/hashpkg.toml", config))
	}
}

func (c *checker) checkStore(ctx context.Context, hooked bool) error {
	failure, err := c.Root.Failure()
	if err != nil {
		return err
	}
	if failure != "" {
		c.add(FailureKept, repairBySync, "the last run failed: %s", failure)
	}
	if c.retired, err = c.Root.RetiredSince(); err != nil {
		return err
	}
	safe, err := c.checkPrefix(hooked)
	if err != nil {
		return err
	}
	if safe && len(c.AtWork) == 0 {
		// A root that was never synced is not behind.
		if hooked || len(c.Root.SystemState().Packages) > 0 {
			if err := c.unseen("all of what a sync would do", c.checkDatabases(ctx)); err != nil {
				return err
			}
		}
	}
	return c.unseen("the pins", errors.Join(c.checkPins(), c.checkFrozen()))
}

// checkPrefix reports a prefix that programs must not search, where some do or shall.
func (c *checker) checkPrefix(hooked bool) (safe bool, err error) {
	edited, err := c.Root.EditedPackages()
	if err != nil {
		return false, err
	}
	synced := hooked || len(c.Root.SystemState().Packages) > 0
	if len(edited) == 0 && (!synced || c.Rewrite.Executables == programs.RewriteNone) {
		return true, nil
	}
	err = transaction.CheckPrefix(c.Root)
	var unsafe *sysroot.UnsafeError
	if !errors.As(err, &unsafe) {
		return err == nil, err
	}
	c.add(PrefixUnsafe, unsafe.Repair(), "%v", unsafe)
	return false, nil
}

// checkDatabases asks what a sync would do.
func (c *checker) checkDatabases(ctx context.Context) error {
	would, err := transaction.Sync(ctx, transaction.SyncOptions{Root: c.Root, Rewrite: c.Rewrite, Now: c.Now, DryRun: true})
	if err != nil {
		return err
	}
	due := 0 // a program that was left while somebody ran it can wait for the next sync
	for _, p := range would.Programs {
		if !p.Late {
			due++
		}
	}
	if would.Changed || due > 0 {
		c.add(BehindDatabase, repairBySync, "behind the package manager: a sync would add %s, remove %d and edit %s",
			count(len(would.Trees), "tree", "trees"), len(would.Gone), count(due, "program", "programs"))
	}
	return nil
}

func (c *checker) checkPins() error {
	if _, err := c.Root.Pins(); err != nil && !errors.Is(err, fs.ErrPermission) {
		c.add(PinNotInForce, "run hashpkg verify --repair", "the pins are not known: %v", err)
		return nil
	}
	pins, err := transaction.ListPins(c.Root)
	if err != nil {
		return err
	}
	for _, p := range pins {
		if len(p.Programs) == 0 && c.isRetired(&p.Pin) {
			continue
		}
		if p.Lost != "" {
			c.add(PinNotInForce, "run hashpkg unpin, or hashpkg sync to let its programs go on without it",
				"%s is pinned to %s, which is no longer in the store: %s", p.Program, p.Spec(), p.Lost)
		} else if len(p.Programs) == 0 {
			c.add(PinNotInForce, "run hashpkg sync --again or hashpkg unpin", "no program follows the pin of %s to %s", p.Program, p.Spec())
		}
	}
	return nil
}

// checkFrozen reports what is not in force for frozen programs, be that their freeze or what
// was installed since.
func (c *checker) checkFrozen() error {
	pins, err := c.Root.Pins()
	if err != nil {
		return nil //nolint:nilerr // checkPins has told of it
	}
	frozen, err := transaction.ListFrozen(c.Root)
	if err != nil {
		return err
	}
	for i := range frozen {
		p := &frozen[i]
		isRetired := slices.ContainsFunc(pins, func(pin record.Pin) bool { return pin.Frozen() && pin.Program == p.Program && c.isRetired(&pin) })
		if isRetired && !p.InForce {
			continue
		}
		if !c.Root.HasFile(p.Program) { // a sync ends its freeze, or its package manager is at work
			continue
		}
		refresh := fmt.Sprintf("run hashpkg freeze --refresh %s, or hashpkg thaw %[1]s", p.Program)
		switch {
		case p.Lost != "":
			c.add(FreezeBehind, refresh, "%s is frozen to a file that is gone: %s", p.Program, p.Lost)
		case !p.InForce:
			c.add(FreezeBehind, fmt.Sprintf("run hashpkg freeze %s, which says what is in the way", p.Program)+"; or "+strings.TrimPrefix(refresh, "run "), "%s is frozen, and runs without its freeze", p.Program)
		case len(p.Behind) > 0:
			c.add(FreezeBehind, refresh, "%s runs on frozen libraries, for which updates that were installed since, security updates too, are not in force: %s", p.Program, p.Text())
		}
		if len(p.Loose) > 0 && p.InForce {
			c.add(FreezeBehind, refresh, "%s was upgraded since it was frozen, and needs libraries that it is not frozen to: %s", p.Program, strings.Join(p.Loose, ", "))
		}
	}
	return nil
}

// checkHooks reports hooks that are installed in part.
func (c *checker) checkHooks(s *InstallStatus) {
	if !s.Any() {
		return
	}
	for _, f := range s.Files {
		if f.Needed && f.State != Installed {
			c.add(HooksInPart, "run hashpkg hooks install", "%s is %s", f.Path, strings.ToLower(string(f.State)))
		}
	}
}
