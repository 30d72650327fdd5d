// Package repair puts right what transaction/verify finds: [Run]. Each object, link,
// record and file comes from an undamaged copy whose digest is the recorded one, and takes
// its place by one rename. What has no such copy is moved to the quarantine and named,
// with the programs that it concerns. It decides nothing that somebody has to decide:
// which generation shall be active is one such question.
//
// It is a long package because each kind of damage is a file of it, and what one is mended from
// may be what another is about.
package repair

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/internal/advice"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/plan"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/pkginfo"
	"github.com/hashpkg/hashpkg/store"
	"github.com/hashpkg/hashpkg/sysroot"
	"github.com/hashpkg/hashpkg/transaction"
	"github.com/hashpkg/hashpkg/transaction/query"
)

// Options says what is repaired from what.
type Options struct {
	Root *sysroot.Root
	// Specs, unless there are none, name all that is repaired: a tree of the active
	// generation or, with a version, those of the store, and what they lead to.
	Specs []query.Spec
	From  []string // package files of the host, and directories of them
	// Fetch, if not nil, fetches the package file that a tree was made of, when nothing
	// else has what is lost, and returns its path on the host; "" where nothing says where
	// packages come from. The file is the one that has the digest, where that is known. A
	// dry run fetches as well: what is in the file is not known before.
	Fetch  func(context.Context, WantedPackage) (path string, err error)
	DryRun bool
	// Generate lets programs of views make indexes again: see [transaction.Options].
	Generate bool
	Lock     sysroot.LockOptions
	Now      time.Time
	// Progress, if not nil, is called now and then, from any goroutine.
	Progress func(transaction.Progress)
}

// WantedPackage is a package file that may have what is lost.
type WantedPackage struct {
	Name, Version, Architecture string
	Format                      pkginfo.Format
	Release                     string        // where it came from; "" where nobody knows
	Digest                      digest.Digest // zero where nobody knows
	Size                        int64         // in bytes; 0 where nobody knows
}

// Result says what was done, or with DryRun would be.
type Result struct {
	Checked   int      `json:"checked"` // files and links
	Done      []Action `json:"done"`
	Remaining []Damage `json:"remaining"`
	Notes     []string `json:"notes"`
	Fetched   []string `json:"fetched"`     // packages, as "NAME=VERSION"
	Linked    int      `json:"linked"`      // copies that are links again
	Saved     int64    `json:"saved_bytes"` // by that
}

// ActionKind says what became of something.
type ActionKind string

// What becomes of something.
const (
	Mended      ActionKind = "mended"      // it is as recorded again
	Quarantined ActionKind = "quarantined" // it was moved away, and is at Action.To
)

// Action is one thing that was done.
type Action struct {
	Action ActionKind `json:"action"`
	Path   string     `json:"path"`         // on the host
	What   string     `json:"what"`         // was wrong with it
	How    string     `json:"how"`          // it was mended
	To     string     `json:"to,omitempty"` // on the host; with DryRun the directory that it would go below
}

// Damage is what could not be mended.
type Damage struct {
	store.Damage
	// Affected are the programs of the system, by path, and the other trees, as
	// "NAME=VERSION", that lead to the damaged one.
	Affected []string `json:"affected"`
	Repair   string   `json:"repair"` // what to do
}

// Run verifies the whole store of a root, or the trees of Specs, and mends what it can.
//
// It holds the lock. Killed at any point, it has mended some names and not yet others,
// and another run goes on. The error wraps [query.ErrNotInstalled] where there is no
// store, or no tree of a name.
func Run(ctx context.Context, o Options) (result *Result, err error) {
	if o.Progress == nil {
		o.Progress = func(transaction.Progress) {}
	}
	r := &repairer{
		Options: o, result: newResult(), fetched: map[WantedPackage]*fromPackage{},
		manifests: map[string]*record.Manifest{}, unreadable: map[string]string{}, known: map[string]bool{},
		checked: map[*record.Manifest]bool{}, to: map[string][]string{}, from: map[string][]string{}, lost: map[digest.Digest]bool{},
		planned: map[int][]plan.PlannedView{}, unmade: map[*record.Manifest]string{},
	}
	if err := r.checkFormat(ctx); err != nil {
		return nil, err
	}
	if o.DryRun {
		return r.result, r.run(ctx)
	}
	w, err := transaction.Begin(ctx, o.Root, transaction.Options{Lock: o.Lock, Create: true, Aside: r.asideBegin, Generate: o.Generate})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, w.End()) }()
	r.writer, r.staging = w, w.Staging()
	err = r.run(ctx)
	if errors.Is(err, context.Canceled) && len(r.result.Done) > 0 {
		err = advice.Errorf("%w; run hashpkg verify --repair again to finish", transaction.ErrInterrupted)
	}
	if err != nil {
		return nil, err
	}
	return r.result, r.store().Sync()
}

func newResult() *Result {
	return &Result{Done: []Action{}, Remaining: []Damage{}, Notes: []string{}, Fetched: []string{}}
}

// repairer is one repair.
type repairer struct {
	Options
	result     *Result
	writer     *transaction.Writer // nil for a dry run
	staging    *store.Staging      // likewise
	quarantine *store.Quarantine

	packages    []fromPackage                  // of Options.From, and those that were fetched
	fetched     map[WantedPackage]*fromPackage // nil for one that could not be
	generations []*record.Generation
	active      int // 0 for none
	check       *store.Check
	checked     map[*record.Manifest]bool   // whose objects check has read
	manifests   map[string]*record.Manifest // that can be read, by the tree's path
	named       []string                    // trees of Options.Specs
	scope       map[string]bool             // they, and what they lead to; without Specs every tree
	order       []string                    // the paths of their manifests, sorted
	unreadable  map[string]string           // what is wrong with others
	known       map[string]bool             // trees of which there is a record, by path
	to          map[string][]string         // what a tree leads to
	from        map[string][]string         // who leads to a tree
	users       map[string][]string         // programs of the system that lead to trees
	lost        map[digest.Digest]bool      // objects that there is no copy of
	planned     map[int][]plan.PlannedView  // the views of generations, as far as they were asked for
	unmade      map[*record.Manifest]string // why a generated file of a view is not made again
	pinsMended  bool                        // or would be
}

func (r *repairer) store() *store.Store { return r.Root.Store() }

func (r *repairer) run(ctx context.Context) error {
	steps := []func(context.Context) error{
		r.readPackages, r.journals, r.readManifests, r.repairGenerations, r.repairClosures, r.repairManifests, r.repairObjects, r.repairTrees,
	}
	if len(r.Specs) == 0 {
		steps = slices.Insert(steps, 3, r.repairPins)
		steps = append(steps, r.repairStray, r.repairFarms, r.notes)
	}
	defer func() {
		if r.check != nil {
			r.check.Close()
		}
	}()
	for _, step := range steps {
		if err := errors.Join(ctx.Err(), step(ctx)); err != nil {
			return err
		}
	}
	slices.SortStableFunc(r.result.Remaining, func(a, b Damage) int { return cmp.Compare(a.Path, b.Path) })
	return nil
}

func (r *repairer) mended(path, what, how string) {
	r.result.Done = append(r.result.Done, Action{Action: Mended, Path: path, What: what, How: how})
}

// take moves what has a name below the prefix to the quarantine. known is its name for
// people, if that is another one.
func (r *repairer) take(name, known, label, rel, what string) error {
	at := layout.QuarantineDir
	if !r.DryRun {
		if r.quarantine == nil {
			r.quarantine = r.store().Quarantine(r.Now)
		}
		to, err := r.quarantine.Take(name, label, rel)
		if err != nil {
			return err
		}
		at = to
	}
	r.result.Done = append(r.result.Done, Action{
		Action: Quarantined, Path: r.store().Path(cmp.Or(known, name)), What: what, How: "moved to the quarantine", To: r.store().Path(at),
	})
	return nil
}

// aside returns what moves away what is in the way of what has a name below the prefix.
func (r *repairer) aside(known, label, rel string) func(name string) error {
	return func(name string) error { return r.take(name, known, label, rel, "was in the way") }
}

// checkFormat looks at the number of the store's layout. One that is lost, or no number, is
// written again, by the lock, if the store's records have this program's.
func (r *repairer) checkFormat(ctx context.Context) error {
	format := r.store().Path(layout.FormatFile)
	ok, err := r.Root.Exists()
	isGarbage := errors.Is(err, store.ErrFormat)
	switch {
	case err != nil && !isGarbage:
		return err
	case ok:
		return nil
	case !isGarbage && !r.store().Dir().Exists(layout.GenerationsDir):
		return advice.Errorf("%w: there is no hashpkg store at %s; --root and --prefix name another place", query.ErrNotInstalled, r.store().Path("."))
	}
	isKnown, err := r.hasKnownRecord(ctx)
	if err != nil {
		return err
	}
	if !isKnown {
		return fmt.Errorf("%s is lost, and no record of the store has layout %d, which this hashpkg knows: use the hashpkg that wrote it, or a newer one",
			format, layout.FormatVersion)
	}
	if isGarbage && r.DryRun {
		if err := r.asideFormat(); err != nil {
			return err
		}
	}
	r.mended(format, "is missing", "written again")
	return nil
}

// hasKnownRecord reports whether one of the store's records has the layout that this program
// knows, or there are none.
func (r *repairer) hasKnownRecord(ctx context.Context) (bool, error) {
	ids, err := r.Root.Generations()
	if err != nil {
		return false, err
	}
	for _, id := range ids {
		if found, err := r.Root.InspectGeneration(id); err != nil || found.Generation != nil {
			return true, err
		}
	}
	if err := r.readManifests(ctx); err != nil {
		return false, err
	}
	isKnown := len(r.manifests) > 0 || len(ids)+len(r.unreadable) == 0
	clear(r.manifests)
	clear(r.unreadable)
	return isKnown, nil
}

func (r *repairer) asideFormat() error {
	return r.take(layout.FormatFile, "", path.Base(layout.FormatFile), "", "is no number of a layout")
}

// asideBegin moves away what keeps a writer from its beginning.
func (r *repairer) asideBegin(name string) error {
	if name == layout.FormatFile {
		return r.asideFormat()
	}
	return r.asideWriter(name)
}

func (r *repairer) asideWriter(name string) error {
	return r.take(name, "", "staging-"+path.Base(name), "", "a writer was cut short, and its journal cannot be read")
}

// remains adds what cannot be mended.
func (r *repairer) remains(d store.Damage, repair string) {
	r.result.Remaining = append(r.result.Remaining, Damage{Damage: d, Affected: r.affected(d.Tree), Repair: repair})
}

func (r *repairer) note(format string, v ...any) {
	r.result.Notes = append(r.result.Notes, fmt.Sprintf(format, v...))
}

// journals moves writers away of whom nothing is known. A writer that begins does it
// itself.
func (r *repairer) journals(context.Context) error {
	if !r.DryRun {
		return nil
	}
	names, err := r.store().UnreadableJournals()
	for _, name := range names {
		err = errors.Join(err, r.asideWriter(name))
	}
	return err
}

// notes reports what looks strange and harms nothing.
func (r *repairer) notes(context.Context) error {
	for _, g := range r.generations {
		if g.Time.After(r.Now) {
			r.note("generation %d has a time in the future, %s: the clock was set back since; their order is by number, and nothing else depends on it", g.ID, g.Time.Format(time.RFC3339))
		}
	}
	return nil
}

// repairFarms puts back the links of the active generation and of those that have not lent
// theirs.
func (r *repairer) repairFarms(context.Context) error {
	mended := map[string]bool{} // default links are every generation's
	for _, g := range r.generations {
		if g.ID != r.active && !r.Root.HasFarm(g.ID) {
			continue
		}
		checked, faults, err := r.Root.VerifyFarm(g)
		if err != nil {
			return err
		}
		r.result.Checked += checked
		label := "generation-" + path.Base(layout.GenerationPath(g.ID))
		for _, f := range faults {
			if mended[f.Name] {
				continue
			}
			mended[f.Name] = true
			if err := r.repairLink(f, label); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *repairer) repairLink(f sysroot.LinkFault, label string) error {
	rel := strings.ReplaceAll(f.Name, "/", "-")
	if f.Target == "" {
		return r.take(f.Name, "", label, rel, f.What)
	}
	if !r.DryRun {
		if err := r.clearWay(f.Name, label); err != nil {
			return err
		}
		if err := r.staging.PutLink(f.Target, f.Name, r.aside(f.Name, label, rel)); err != nil {
			return err
		}
	}
	r.mended(r.store().Path(f.Name), f.What, "made again from the record")
	return nil
}

// clearWay moves away what stands on the way to a name below the prefix and is no
// directory.
func (r *repairer) clearWay(name, label string) error {
	for i, c := range name {
		if c != '/' {
			continue
		}
		dir := name[:i]
		isDir, err := r.isDirectory(dir)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if !isDir {
			return r.take(dir, "", label, strings.ReplaceAll(dir, "/", "-"), "is no directory of its own")
		}
	}
	return nil
}
