package transaction

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/hashpkg/hashpkg/backends"
	"github.com/hashpkg/hashpkg/backends/trust"
	"github.com/hashpkg/hashpkg/internal/advice"
	"github.com/hashpkg/hashpkg/internal/unpack"
	"github.com/hashpkg/hashpkg/layout/plan"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/pkginfo"
	"github.com/hashpkg/hashpkg/sysroot"
	"github.com/hashpkg/hashpkg/sysroot/system"
)

// InstallOptions says what to install where.
type InstallOptions struct {
	Root *sysroot.Root
	// Packages are installed together. See [PackageFiles].
	Packages []Package
	DryRun   bool // plan only; nothing is written
	Choice   record.DefaultChoice
	// Gone reports whether a tree of the active generation is not in the next one; nil
	// for none. It is called again for the generation that is active when the lock is
	// held.
	Gone func(*record.Tree) bool
	// Rebuild allows a package file whose name, version and architecture are
	// taken by another build.
	Rebuild bool
	// Program and AllowMissing are those of [plan.Input].
	Program      string
	AllowMissing bool
	// Binding is that of the packages which say nothing else. Where it says nothing
	// either, a package has that of its default tree, or else the default.
	Binding record.Binding
	// Prelocate says by name of packages of the command whether they are bound to themselves, which
	// comes before what Binding says.
	Prelocate map[string]record.Prelocate
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
	// Run is that of the generation: see [record.Generation].
	Run string
	// Generate lets programs of views make indexes for them, without rights: see
	// [sandbox.Box]. The process has called [sandbox.Main].
	Generate bool
	// NoViews: no program gets a view, as where the root is going to have the files of all
	// packages at their own paths.
	NoViews bool
	// NoDev is that of [plan.Input].
	NoDev bool
	// CheckPlan, if not nil, is asked before anything is changed.
	CheckPlan func(*plan.Plan) error
	// Progress, if not nil, is called now and then, from any goroutine.
	Progress func(Progress)
	// Begins, if not nil, is told how many packages there are before they are read.
	Begins func(packages int)

	// known, unless nil, are the manifests of the trees that there are, in place of
	// those in the store.
	known *knownTrees
}

// Package is one package to install.
type Package struct {
	Path string // of its file on the host
	// Get, if not nil, returns what the package is read from when that is there. Packages
	// are read while others are still on their way.
	Get func(ctx context.Context) (Arrived, error)
	// Expected, if not nil, is what an index says of it. A file that is another package
	// is refused.
	Expected *pkginfo.Listed
	// Proof is what an index came to that proves the file; its verdict is "" for one
	// that nobody looked into.
	Proof pkginfo.Signature
	// Keys, if not nil, are those that may sign the package itself, in place of those
	// that the root's package manager trusts.
	Keys *trust.Keyring
	// Binding, if not nil, is the package's, whatever there is.
	Binding *record.Binding
	// Tree is what its tree is to be called where nothing else has that name: as a tree of
	// another machine is that other trees lead to. "" for what follows from the version.
	Tree string
	record.Named
}

// Arrived is what a package is read from: its file, or what it was taken apart into.
type Arrived struct {
	Path     string    // of the file on the host
	Unpacked *Unpacked // if not nil, there is no file
}

// Unpacked is a package whose files have arrived each by itself.
type Unpacked struct {
	// Draft is what the package is and which files it has, with their digests and sizes. What
	// is found in their bytes is not in it.
	Draft *record.Manifest
	// Proof says why the draft is believed.
	Proof pkginfo.Signature
	// Open returns the bytes of a file. They are compared with its digest.
	Open func(*record.File) (io.ReadCloser, error)
}

// PackageFiles returns packages for files on the host that somebody named.
func PackageFiles(paths ...string) []Package {
	packages := make([]Package, len(paths))
	for i, p := range paths {
		packages[i].Path, packages[i].Asked = p, true
	}
	return packages
}

// DefaultMaxSize is how many bytes the files of one package may have unless somebody
// says otherwise.
const DefaultMaxSize = unpack.DefaultMaxSize

// Progress is how far a transaction has come.
type Progress struct {
	Step        string // "reading", "editing", "committing", "verifying"
	Item        string // what is at work; "" for nothing that has a name
	Done, Total int64  // how much of it is done; Total is 0 where nobody knows
	Unit        string // what they count; "" where nothing is counted
}

// Units of a [Progress].
const (
	UnitBytes    = "bytes"
	UnitPackages = "packages"
	UnitObjects  = "objects"
)

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
	if o.Begins != nil {
		o.Begins(len(o.Packages))
	}
	files, err := lookAtFiles(o.Packages, o.Root.Formats())
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
		made, err := makePlan(ctx, o, files, newPackagedFiles(o.Root.Store(), spool), active)
		return &InstallResult{Plan: made, Generation: active.ID}, errors.Join(err, spool.Close())
	}

	w, err := Begin(ctx, o.Root, Options{Lock: o.Lock, Create: true, Generate: o.Generate})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, w.End()) }()
	if err := w.Staging().KeepReserve(); err != nil {
		return nil, err
	}
	from := newPackagedFiles(o.Root.Store(), w.Staging())
	made, err := makePlan(ctx, o, files, from, w.Active())
	result = &InstallResult{Plan: made, Generation: w.Active().ID}
	if err != nil || made.Generation == nil {
		return result, err
	}
	defer func() {
		if err == nil {
			from.linkages.write()
		}
	}()
	if err := from.stage(made.Trees, func(t *plan.PlannedTree) bool { return t.Anew }, w.Staging()); err != nil {
		return result, err
	}
	next := made.Generation.Next(0, o.Now)
	next.Run = o.Run
	if err := w.carryOut(ctx, made, next, o.Progress); err != nil {
		return result, err
	}
	result.Generation, result.Changed = next.ID, true
	return result, nil
}

// carryOut makes the new trees of a plan, and next, which is its generation, the active one.
// The packaged bytes of all files that are edited are staged, or in the store.
func (w *Writer) carryOut(ctx context.Context, made *plan.Plan, next *record.Generation, progress func(Progress)) error {
	trees, err := applyEdits(ctx, w.staging, made)
	if err != nil {
		return err
	}
	refused, err := stageMade(w.root, w.staging, trees, next.Architecture)
	if err != nil {
		return err
	}
	made.Warnings = append(made.Warnings, refused...)
	progress(Progress{Step: "committing"})
	if err := ctx.Err(); err != nil {
		return err
	}
	left, warnings, err := w.generate(ctx, next, made.Views, trees, made.Trees)
	if err != nil {
		return err
	}
	made.Warnings = append(made.Warnings, warnings...)
	views, err := w.mergeViews(made.Views, trees)
	if err != nil {
		return err
	}
	return w.Commit(ctx, append(left, views...), next)
}

// packageFile is one file that is going to be read.
type packageFile struct {
	Package
	size     int64
	format   backends.Format
	unpacked *Unpacked // nil for one that has a file
}

// lookAtFiles looks at the files before anything is done, so that a slip of the
// pen costs nothing, and decides of what format each is.
func lookAtFiles(packages []Package, formats backends.Formats) ([]packageFile, error) {
	files := make([]packageFile, 0, len(packages))
	for _, p := range packages {
		if p.Get != nil {
			format, ok := formats.ByName(p.Expected.Format)
			if !ok {
				return nil, fmt.Errorf("%s: the format %q is unknown", p.Expected.Spec(), p.Expected.Format)
			}
			files = append(files, packageFile{p, p.Expected.Size, format, nil})
			continue
		}
		info, err := os.Stat(p.Path)
		var at *fs.PathError
		switch {
		case errors.As(err, &at):
			return nil, fmt.Errorf("open package %s: %w", p.Path, at.Err)
		case err != nil:
			return nil, fmt.Errorf("open package: %w", err)
		case info.IsDir():
			return nil, advice.Errorf("open package %s: it is a directory; name the files in it, such as %s", p.Path, filepath.Join(p.Path, "*.deb"))
		case !info.Mode().IsRegular():
			return nil, fmt.Errorf("open package %s: it is not a regular file", p.Path)
		}
		format, err := formatOf(p.Path, formats)
		if err != nil {
			return nil, fmt.Errorf("read package %s: %w", p.Path, err)
		}
		files = append(files, packageFile{p, info.Size(), format, nil})
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
func makePlan(ctx context.Context, o InstallOptions, files []packageFile, to *packagedFiles, active *record.Generation) (*plan.Plan, error) {
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
	in, err := planInput(ctx, o.Root, active, to, &warnings)
	if err != nil {
		return nil, err
	}
	if o.NoViews {
		in.FileSize = nil
	}
	o.Progress(Progress{Step: "editing"})
	if o.known != nil {
		in.Installed, in.Occupied = o.known.installed, o.known.occupied
		in.Installed = to.know(in.Installed)
	}
	isDraft := func(name string) bool {
		return slices.ContainsFunc(drafts, func(m *record.Manifest) bool { return m.Name == name })
	}
	if err := CheckPrelocate(o.Prelocate, isDraft, active); err != nil {
		return nil, err
	}
	for i, p := range staged {
		if err := setBinding(drafts[i], p.binding, wantedBinding{o.Binding, o.Prelocate}, active, in.Installed); err != nil {
			return nil, err
		}
	}
	in.Command, in.Choice, in.Rebuild, in.Program, in.AllowMissing, in.NoDev, in.Gone = drafts, o.Choice, o.Rebuild, o.Program, o.AllowMissing, o.NoDev, o.Gone
	made, err := plan.Make(in)
	if err != nil {
		return nil, err
	}
	made.Warnings = slices.Insert(made.Warnings, 0, warnings...)
	if len(made.Problems) > 0 {
		return made, &plan.ProblemsError{Problems: made.Problems}
	}
	if o.CheckPlan != nil {
		return made, o.CheckPlan(made)
	}
	return made, nil
}

// planInput returns what every plan of private trees follows from: a root, its active
// generation, and where the packaged bytes of files are. Warnings are added while the plan
// is made.
func planInput(ctx context.Context, root *sysroot.Root, active *record.Generation, from *packagedFiles, warnings *[]string) (plan.Input, error) {
	// The databases are read when a relation asks for them. They only answer
	// relations, so that one which cannot be read is a warning and no more.
	packages := sync.OnceValue(func() []*pkginfo.Package {
		found, err := system.Packages(ctx, root)
		if err != nil {
			*warnings = append(*warnings, fmt.Sprintf("relations may be answered by packages of the system that are not known: %v", err))
		}
		packages := make([]*pkginfo.Package, len(found))
		for i, p := range found {
			packages[i] = p.Package
		}
		return packages
	})
	realPrefix, err := root.RealPrefix()
	if err != nil {
		return plan.Input{}, err
	}
	s := root.Store()
	return plan.Input{
		Prefix:         root.Prefix(),
		RealPrefix:     realPrefix,
		Generation:     active,
		Orders:         root.Formats().Orders(),
		Installed:      from.know(func(t *record.Tree) (*record.Manifest, error) { return s.Manifest(t.Name, t.Dir) }),
		Occupied:       s.Manifests,
		System:         root.System,
		SystemPackages: packages,
		HasFile:        root.HasFile,
		FileSize:       root.FileSize,
		Edit:           &editor{ctx, from},
		Symbols:        (&symbols{ctx, root, from}).read,
		Linkages:       from.linkages,
	}, nil
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
	read := func(n int64) { o.Progress(Progress{Step: "reading", Done: done.Add(n), Total: total, Unit: UnitBytes}) }
	all := make([]*stagedPackage, len(files))
	err = eachWhenThere(ctx, files, order, func(ctx context.Context, i int) (err error) {
		all[i], err = stagePackage(ctx, files[i], keys, o, to, read)
		return err
	})
	if err != nil {
		return nil, err
	}
	for _, p := range all {
		i := slices.IndexFunc(out, func(o *stagedPackage) bool { return o.manifest.Package.Digest == p.manifest.Package.Digest })
		if i < 0 {
			out = append(out, p)
			continue
		}
		out[i].manifest.Named.Merge(p.manifest.Named) // of another release
	}
	return out, nil
}

// eachWhenThere calls f with the indexes of files, several at a time: in their order, and
// those that have to be got as they come.
func eachWhenThere(ctx context.Context, files []packageFile, order []int, f func(ctx context.Context, i int) error) error {
	g, running := errgroup.WithContext(ctx)
	ready := make(chan int, len(files))
	var coming sync.WaitGroup
	for _, i := range order {
		if files[i].Get == nil {
			ready <- i
			continue
		}
		coming.Add(1)
		g.Go(func() error {
			defer coming.Done()
			came, err := files[i].Get(running)
			if err != nil {
				return err
			}
			files[i].Path, files[i].unpacked = came.Path, came.Unpacked
			ready <- i
			return nil
		})
	}
	g.Go(func() error {
		coming.Wait()
		close(ready)
		return nil
	})
	for range runtime.GOMAXPROCS(0) {
		g.Go(func() error {
			for i := range ready {
				if err := running.Err(); err != nil {
					return err
				}
				if err := f(running, i); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return cmp.Or(g.Wait(), ctx.Err())
}
