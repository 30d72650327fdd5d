package transaction

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashpkg/hashpkg/backends"
	"github.com/hashpkg/hashpkg/backends/trust"
	"github.com/hashpkg/hashpkg/layout/plan"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/pkginfo"
	"github.com/hashpkg/hashpkg/sysroot"
	"github.com/hashpkg/hashpkg/sysroot/system"
)

// InstallOptions says what to install where.
type InstallOptions struct {
	Root   *sysroot.Root
	Files  []string // package files on the host
	DryRun bool     // plan only; nothing is written
	Choice record.DefaultChoice
	// Rebuild allows a package file whose name, version and architecture are
	// taken by another build.
	Rebuild bool
	// Keyring has the keys that may sign, in place of those that the root's package
	// managers trust; nil or an empty one for these.
	Keyring   *trust.Keyring
	Signature trust.Policy
	// Index is a directory of the host with the signed indexes that packages are
	// looked up in whose formats carry no signatures; "" for the root's own.
	Index string
	// MaxSize is how many bytes the files of one package may have, unpacked; 0 for
	// [DefaultMaxSize].
	MaxSize int64
	Lock    sysroot.LockOptions
	Now     time.Time
	// Progress, if not nil, is called now and then, from any goroutine.
	Progress func(Progress)

	// known, unless nil, are the manifests of the trees that there are, in place of
	// those in the store.
	known *knownTrees
}

// DefaultMaxSize is how many bytes the files of one package may have unless somebody
// says otherwise.
const DefaultMaxSize = 64 << 30

// Progress is how far a transaction has come.
type Progress struct {
	Step        string // "reading", "editing", "committing", "verifying"
	Done, Total int64  // bytes of package files when reading, else 0
	Packages    bool   // Done and Total are numbers of packages
}

// InstallResult is the plan and what became of it.
type InstallResult struct {
	Plan *plan.Plan
	// Generation is the active one afterwards; with DryRun, the one that is.
	Generation int
	Changed    bool
}

// Install puts packages into private trees. The error is a *plan.ProblemsError
// when the plan cannot be resolved; the result then still has the plan.
func Install(ctx context.Context, o InstallOptions) (result *InstallResult, err error) {
	if o.Progress == nil {
		o.Progress = func(Progress) {}
	}
	files, err := lookAtFiles(o.Files, o.Root.Formats())
	if err != nil {
		return nil, err
	}
	if o.DryRun {
		active, err := o.Root.Active()
		if err != nil {
			return nil, err
		}
		spool, err := newSpool()
		if err != nil {
			return nil, err
		}
		made, err := makePlan(ctx, o, files, spool, active)
		return &InstallResult{Plan: made, Generation: active.ID}, errors.Join(err, spool.Close())
	}

	w, err := Begin(ctx, o.Root, Options{Lock: o.Lock, Create: true})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, w.End()) }()
	if err := w.Staging().KeepReserve(); err != nil {
		return nil, err
	}
	made, err := makePlan(ctx, o, files, w.Staging(), w.Active())
	result = &InstallResult{Plan: made, Generation: w.Active().ID}
	if err != nil || made.Generation == nil {
		return result, err
	}
	trees, err := applyEdits(ctx, w.Staging(), made)
	if err != nil {
		return result, err
	}
	o.Progress(Progress{Step: "committing"})
	if err := ctx.Err(); err != nil {
		return result, err
	}
	next := made.Generation.Next(0, o.Now)
	if err := w.Commit(ctx, trees, next); err != nil {
		return result, err
	}
	result.Generation, result.Changed = next.ID, true
	return result, nil
}

// packageFile is one file of the command line.
type packageFile struct {
	path   string
	size   int64
	format backends.Format
}

// lookAtFiles looks at the files before anything is done, so that a slip of the
// pen costs nothing, and decides of what format each is.
func lookAtFiles(paths []string, formats backends.Formats) ([]packageFile, error) {
	files := make([]packageFile, 0, len(paths))
	for _, p := range paths {
		info, err := os.Stat(p)
		if err != nil {
			return nil, fmt.Errorf("open package: %w", err)
		}
		if !info.Mode().IsRegular() {
			return nil, fmt.Errorf("open package: %s is not a regular file", p)
		}
		format, err := formatOf(p, formats)
		if err != nil {
			return nil, fmt.Errorf("read package %s: %w", p, err)
		}
		files = append(files, packageFile{p, info.Size(), format})
	}
	return files, nil
}

func formatOf(path string, formats backends.Formats) (backends.Format, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	format, _, err := formats.Identify(f)
	return format, err
}

// makePlan stages the packages and plans.
func makePlan(ctx context.Context, o InstallOptions, files []packageFile, to sink, active *record.Generation) (*plan.Plan, error) {
	keys, warnings, err := keysFor(ctx, o, files)
	if err != nil {
		return nil, err
	}
	staged, err := stageAll(ctx, o, files, keys, to)
	if err != nil {
		return nil, err
	}
	more, err := checkSignatures(ctx, o, staged)
	if err != nil {
		return nil, err
	}
	warnings = append(warnings, more...)
	drafts := make([]*record.Manifest, len(staged))
	for i, p := range staged {
		drafts[i] = p.manifest
	}
	// The databases are read when a relation asks for them. They only answer
	// relations, so that one which cannot be read is a warning and no more.
	packages := sync.OnceValue(func() []*pkginfo.Package {
		found, err := system.Packages(ctx, o.Root)
		if err != nil {
			warnings = append(warnings, fmt.Sprintf("relations may be answered by packages of the system that are not known: %v", err))
		}
		packages := make([]*pkginfo.Package, len(found))
		for i, p := range found {
			packages[i] = p.Package
		}
		return packages
	})
	o.Progress(Progress{Step: "editing"})
	s := o.Root.Store()
	installed, occupied := func(t *record.Tree) (*record.Manifest, error) { return s.Manifest(t.Name, t.Dir) }, s.Manifests
	if o.known != nil {
		installed, occupied = o.known.installed, o.known.occupied
	}
	made, err := plan.Make(plan.Input{
		Prefix:         o.Root.Prefix(),
		Generation:     active,
		Orders:         o.Root.Formats().Orders(),
		Command:        drafts,
		Installed:      installed,
		Occupied:       occupied,
		System:         o.Root.System,
		SystemPackages: packages,
		HasFile:        o.Root.HasFile,
		Edit:           &editor{ctx, to},
		Choice:         o.Choice,
		Rebuild:        o.Rebuild,
	})
	if err != nil {
		return nil, err
	}
	made.Warnings = slices.Insert(made.Warnings, 0, warnings...)
	if len(made.Problems) > 0 {
		return made, &plan.ProblemsError{Problems: made.Problems}
	}
	return made, nil
}

// stageAll reads the packages, several at a time, the largest first. Files that
// hold the same package are taken once.
func stageAll(ctx context.Context, o InstallOptions, files []packageFile, keys map[pkginfo.Format]*trust.Keyring, to sink) (out []*stagedPackage, err error) {
	var total int64
	order := make([]int, len(files))
	for i, f := range files {
		order[i] = i
		total += f.size
	}
	slices.SortStableFunc(order, func(a, b int) int { return -cmp.Compare(files[a].size, files[b].size) })

	var done atomic.Int64
	read := func(n int64) { o.Progress(Progress{Step: "reading", Done: done.Add(n), Total: total}) }
	all := make([]*stagedPackage, len(files))
	err = eachInParallel(ctx, len(order), func(ctx context.Context, n int) (err error) {
		i := order[n]
		all[i], err = stagePackage(ctx, files[i], keys, o, to, read)
		return err
	})
	if err != nil {
		return nil, err
	}
	for _, p := range all {
		if !slices.ContainsFunc(out, func(o *stagedPackage) bool { return o.manifest.Package.Digest == p.manifest.Package.Digest }) {
			out = append(out, p)
		}
	}
	return out, nil
}
