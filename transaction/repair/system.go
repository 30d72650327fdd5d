package repair

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/backends"
	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/elfedit"
	"github.com/hashpkg/hashpkg/internal/advice"
	"github.com/hashpkg/hashpkg/internal/mapped"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/pkginfo"
	"github.com/hashpkg/hashpkg/programs"
	"github.com/hashpkg/hashpkg/store"
	"github.com/hashpkg/hashpkg/sysroot/system"
	"github.com/hashpkg/hashpkg/transaction"
	"github.com/hashpkg/hashpkg/transaction/query"
	"github.com/hashpkg/hashpkg/transaction/verify"
)

// System verifies the files of the system's packages, or of those named, and mends the
// programs that hashpkg has edited, and their records. What takes a program's place has the
// digest of the record or, as packaged bytes, of the package manager's database; the bytes
// that were there are kept in the quarantine. Specs of the options are not looked at.
//
// Files that hashpkg has not edited are not its to change: for these, and where there is no
// copy, the result names the command of the package manager that brings them again.
//
// Killed at any point, it has mended some programs and not yet others, and another run goes
// on. Errors are those of [Run], and [backends.ErrNoDatabase].
func System(ctx context.Context, o Options, names []string) (result *Result, err error) {
	if o.Progress == nil {
		o.Progress = func(transaction.Progress) {}
	}
	r := &systemRepairer{repairer: &repairer{Options: o, result: newResult(), fetched: map[WantedPackage]*fromPackage{}}}
	if ok, err := o.Root.Exists(); err != nil {
		return nil, err
	} else if !ok {
		return nil, fmt.Errorf("%w: there is no hashpkg store at %s, and so no edited program", query.ErrNotInstalled, o.Root.Store().Path("."))
	}
	if !o.DryRun {
		w, err := transaction.Begin(ctx, o.Root, transaction.Options{Lock: o.Lock, Recovering: true})
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, w.End()) }()
		r.writer = w
	}
	err = r.repair(ctx, names)
	if errors.Is(err, context.Canceled) && len(r.result.Done) > 0 {
		err = advice.Errorf("%w; run hashpkg verify --system --repair again to finish", transaction.ErrInterrupted)
	}
	return r.result, err
}

// systemRepairer is one repair of the system's programs.
type systemRepairer struct {
	*repairer
	writer *transaction.Writer // nil for a dry run
}

func (r *systemRepairer) repair(ctx context.Context, names []string) error {
	if err := r.readPackages(ctx); err != nil {
		return err
	}
	packages, err := verify.Installed(ctx, r.Root, names)
	if err != nil {
		return err
	}
	slices.SortFunc(packages, func(a, b *backends.Installed) int { return cmp.Compare(a.Key.String(), b.Key.String()) })
	for i, p := range packages {
		if err := ctx.Err(); err != nil {
			return err
		}
		r.Progress(transaction.Progress{Step: "verifying", Done: int64(i), Total: int64(len(packages)), Unit: transaction.UnitPackages})
		found, err := verify.Package(r.Root, p)
		if err != nil {
			return fmt.Errorf("verify %s: %w", p.Name, err)
		}
		if len(found.Unread) > 0 {
			return fmt.Errorf("verify %s: %s: %w", p.Name, found.Unread[0], fs.ErrPermission)
		}
		r.result.Checked += found.Checked
		if len(found.Altered)+len(found.Records) == 0 {
			continue
		}
		if err := r.repairPackage(ctx, p, found); err != nil {
			return fmt.Errorf("repair %s: %w", p.Name, err)
		}
	}
	return nil
}

// damagedProgram is a program of a package that hashpkg has edited.
type damagedProgram struct {
	verify.AlteredReport
	known   *record.EditedFile // nil for none that can be read
	mending *programs.Mending  // nil when its packaged bytes are nowhere
	how     string             // where these are from
	reason  string             // why it cannot be mended, with them
}

// repairPackage mends the programs of a package, and the record of their edits. A record that
// cannot be read is moved away when nothing needs it any more: when each of them is mended.
func (r *systemRepairer) repairPackage(ctx context.Context, p *backends.Installed, found *verify.SystemVerdict) error {
	edits, err := r.Root.Edits(p.Key)
	if err != nil {
		edits = &record.PackageEdits{Layout: layout.FormatVersion, Key: p.Key, Package: p.Name}
	}
	var list []*damagedProgram
	isWhole := true
	for _, a := range found.Altered {
		d := &damagedProgram{AlteredReport: a}
		if i := slices.IndexFunc(edits.Files, func(f record.EditedFile) bool { return f.Path == a.Path }); i >= 0 {
			d.known = &edits.Files[i]
		}
		if d.known == nil && !r.leadsTo(a.Path) {
			r.remainsOfSystem(a, "nothing says that hashpkg has edited it: "+r.command(p))
			continue
		}
		if err := r.plan(ctx, p, d, edits); err != nil {
			return err
		}
		isWhole = isWhole && d.mending != nil
		list = append(list, d)
	}
	if len(found.Records) > 0 && !isWhole {
		for _, d := range list {
			r.remainsOfSystem(d.AlteredReport, d.reason)
		}
		r.remainsRecord(p, found.Records[0])
		return nil
	}
	return r.mendPackage(ctx, p, found, list)
}

// mendPackage carries out what was planned.
func (r *systemRepairer) mendPackage(ctx context.Context, p *backends.Installed, found *verify.SystemVerdict, list []*damagedProgram) error {
	label := "system-" + p.Name
	replaced := map[string]*damagedProgram{}
	var decisions []*programs.Decision
	var fixed []*damagedProgram
	for _, d := range list {
		switch {
		case d.mending == nil:
			r.remainsOfSystem(d.AlteredReport, d.reason)
			continue
		case d.mending.Record != nil:
			fixed = append(fixed, d)
			continue
		}
		if err := r.keep(d, label); err != nil {
			return err
		}
		decisions = append(decisions, d.mending.Decision)
		replaced[d.Path] = d
	}
	for _, f := range found.Records {
		name := record.EditsPath(p.Key)
		if err := r.take(name, "", label, path.Base(name), f.What); err != nil {
			return err
		}
	}
	if err := r.fixRecords(p, fixed); err != nil {
		return err
	}
	if r.DryRun {
		for _, d := range decisions {
			r.mendedProgram(replaced[d.Path], d.Desired == nil)
		}
		return nil
	}
	if len(found.Records) > 0 || slices.ContainsFunc(decisions, func(d *programs.Decision) bool { return d.Desired == nil }) {
		if err := r.lookAgain(p.Key); err != nil {
			return err
		}
	}
	records, err := programs.ReadRecords(r.Root, []pkginfo.Key{p.Key})
	if err != nil {
		return err
	}
	outcomes, err := programs.Apply(ctx, r.Root, records, decisions, false)
	r.writer.SayPrograms(outcomes)
	for _, o := range outcomes {
		d := replaced[o.Path]
		switch o.State {
		case programs.Edited, programs.Restored:
			r.mendedProgram(d, o.Desired == nil)
		case programs.Left:
			r.remainsOfSystem(d.AlteredReport, string(o.Reason)+": "+r.command(p))
		default:
			r.remainsOfSystem(d.AlteredReport, fmt.Sprintf("%v: %s", o.Err, r.command(p)))
		}
	}
	return err
}

func (r *systemRepairer) mendedProgram(d *damagedProgram, asPackaged bool) {
	how := d.how + ", with its recorded edit"
	if asPackaged {
		how = d.how + ", as packaged; hashpkg sync edits it again"
	}
	r.mended(r.host(d.Path), d.What, how)
}

// keep copies the bytes of a program that is to be replaced to the quarantine.
func (r *systemRepairer) keep(d *damagedProgram, label string) error {
	at := layout.QuarantineDir
	if !r.DryRun {
		if r.quarantine == nil {
			r.quarantine = r.store().Quarantine(r.Now)
		}
		to, err := r.quarantine.Keep(d.mending.Was, label, d.Path[1:])
		if err != nil {
			return err
		}
		at = to
	}
	r.result.Done = append(r.result.Done, Action{Action: Quarantined, Path: r.host(d.Path), What: d.What, How: "copied to the quarantine", To: r.store().Path(at)})
	return nil
}

// fixRecords puts records right of programs that stay as they are.
func (r *systemRepairer) fixRecords(p *backends.Installed, list []*damagedProgram) error {
	if len(list) == 0 {
		return nil
	}
	if !r.DryRun {
		edits, err := r.Root.Edits(p.Key)
		if err != nil {
			return err
		}
		for _, d := range list {
			i := slices.IndexFunc(edits.Files, func(f record.EditedFile) bool { return f.Path == d.Path })
			edits.Files[i] = *d.mending.Record
		}
		if err := r.Root.SetEdits([]*record.PackageEdits{edits}); err != nil {
			return err
		}
	}
	for _, d := range list {
		r.mended(r.host(d.Path), d.What, d.how+", its record made again")
	}
	return nil
}

// lookAgain has the next sync look at a package, whose programs are to be as packaged.
func (r *systemRepairer) lookAgain(key pkginfo.Key) error {
	state := r.Root.SystemState()
	delete(state.Packages, key)
	// With another state of the databases, the sync does not end before it looks.
	state.Databases = maps.Clone(state.Databases)
	maps.DeleteFunc(state.Databases, func(name, _ string) bool { return name != system.Diversions })
	return r.Root.SetSystemState(state)
}

// remainsOfSystem adds a file of a package that cannot be mended.
func (r *systemRepairer) remainsOfSystem(a verify.AlteredReport, repair string) {
	r.remains(store.Damage{Kind: store.DamageSystem, Package: a.Package, Path: r.host(a.Path), What: a.What}, repair)
}

func (r *systemRepairer) remainsRecord(p *backends.Installed, a verify.AlteredReport) {
	r.remains(store.Damage{Kind: store.DamageRecord, Package: a.Package, Path: a.Path, What: a.What},
		"programs of the package that are not mended need it: "+r.command(p)+", then hashpkg verify --system --repair")
}

// command returns what brings the files of a package again.
func (r *systemRepairer) command(p *backends.Installed) string {
	where := ""
	if !r.Root.IsHost() {
		where = " in " + r.Root.Dir()
	}
	return "run " + p.Reinstall + where
}

func (r *systemRepairer) host(inside string) string { return filepath.Join(r.Root.Dir(), inside) }

// leadsTo reports whether a program leads to the prefix: it was edited, and its record is
// lost.
func (r *systemRepairer) leadsTo(program string) (leads bool) {
	mapEdited(r.ofSystem(program), nil, func(b []byte) { leads = programs.LeadsTo(r.Root.Prefix(), b) })
	return leads
}

// plan looks for the packaged bytes of a program, and decides what becomes of it.
func (r *systemRepairer) plan(ctx context.Context, p *backends.Installed, d *damagedProgram, edits *record.PackageEdits) error {
	packaged, how, err := r.packaged(ctx, p, d, edits)
	if err != nil {
		return err
	}
	if packaged == nil {
		d.reason = "its packaged bytes are not at hand: " + r.command(p) + ", or give its package with --from"
		return nil
	}
	program := &programs.Program{Package: programs.Package{Key: p.Key, Name: p.Name, Version: p.Version}, Path: d.Path, Digest: d.Digest}
	d.how = how
	if d.mending, err = programs.PlanMend(r.Root, program, d.known, packaged); err != nil {
		d.reason = fmt.Sprintf("%v: %s", err, r.command(p))
	}
	return nil
}

// packaged returns the packaged bytes of a program, and where they are from; nil when they
// are nowhere. The package manager's digest proves them or, if it has none, the record's.
func (r *systemRepairer) packaged(ctx context.Context, p *backends.Installed, d *damagedProgram, edits *record.PackageEdits) (found []byte, how string, err error) {
	try := func(from string) func([]byte) {
		return func(b []byte) {
			class, _ := programs.Prove(&record.PackageEdits{}, d.Path, d.Digest, b)
			isPackaged := class == programs.Pristine || class == programs.Unknown && d.known != nil && digest.Of(b) == d.known.Source
			if found == nil && isPackaged {
				found, how = bytes.Clone(b), from
			}
		}
	}
	undone := func(patch *record.Patch) *elfedit.Edit {
		if patch == nil {
			return nil
		}
		edit, err := patch.Edit()
		if err != nil {
			return nil
		}
		undo := edit.Invert()
		return &undo
	}
	if d.known != nil {
		mapEdited(r.inStore(layout.ObjectPath(d.known.Source)), nil, try("from an object of the store"))
		for _, a := range d.known.Applied { // the digest of the record may be what is wrong
			if undo := undone(a.Patch); undo != nil {
				mapEdited(r.ofSystem(d.Path), undo, try("from itself, its edit undone"))
			}
		}
	}
	for _, f := range edits.Files { // another name of the same program
		if d.known == nil || f.Path == d.Path || f.Source != d.known.Source {
			continue
		}
		from := try("from " + f.Path)
		mapEdited(r.ofSystem(f.Path), nil, func(b []byte) {
			if packaged, _, err := programs.Undo(&f, b); err == nil {
				from(packaged)
			}
		})
	}
	manifests, err := r.store().Manifests(p.Name)
	if err != nil {
		r.note("%v", err)
	}
	for _, m := range manifests { // the same package, installed beside the system
		for i := range m.Files {
			f := &m.Files[i]
			if m.Version != p.Version || f.Type != record.TypeFile || path.Base(f.Path) != path.Base(d.Path) {
				continue
			}
			from := try("from the tree " + layout.TreePath(m.Name, m.Tree))
			mapEdited(r.inStore(layout.ObjectPath(f.Object)), undone(f.Patch), from)
		}
	}
	for _, file := range r.packages {
		if found == nil && file.name == p.Name && file.version == p.Version && file.architecture == p.Architecture {
			if err := r.fromPackage(ctx, file, try("from "+file.label)); err != nil {
				return nil, "", err
			}
		}
	}
	if found == nil && r.Root.HasFile(d.Path) {
		file, _, err := r.fetch(ctx, WantedPackage{Name: p.Name, Version: p.Version, Architecture: p.Architecture, Format: p.Key.Format})
		if file != nil && err == nil {
			err = r.fromPackage(ctx, *file, try("from "+file.label))
		}
		if err != nil {
			return nil, "", err
		}
	}
	return found, how, nil
}

// fromPackage calls use with the ELF files of a package. Where they are in the root is not
// known here: a diversion may have moved them.
func (r *systemRepairer) fromPackage(ctx context.Context, p fromPackage, use func([]byte)) error {
	spool, err := unnamedFile()
	if err != nil {
		return fmt.Errorf("read package: %w", err)
	}
	defer spool.Close()
	err = r.openPackage(p.path, func(_ backends.Format, in backends.Reader) error {
		for {
			e, err := in.Next()
			if err == io.EOF {
				return nil
			}
			if err = errors.Join(err, ctx.Err()); err != nil {
				return err
			}
			if e.Type != pkginfo.Regular || e.Size == 0 {
				continue
			}
			head := make([]byte, min(e.Size, int64(len(elfMagic))))
			if _, err := io.ReadFull(in, head); err != nil {
				return err
			}
			if string(head) != elfMagic {
				continue
			}
			if err := respool(spool, io.MultiReader(bytes.NewReader(head), in)); err != nil {
				return err
			}
			if err := mapped.File(spool, func(b []byte) error { use(b); return nil }); err != nil {
				return err
			}
		}
	})
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		r.note("%s cannot be read: %v", p.path, err)
	}
	return nil
}

const elfMagic = "\x7fELF" // gABI, figure 4-6

// unnamedFile makes a temporary file without a name, where the file system can: nothing is
// left of it whenever the process dies.
func unnamedFile() (*os.File, error) {
	if f, err := os.OpenFile(os.TempDir(), os.O_RDWR|unix.O_TMPFILE, 0o600); err == nil {
		return f, nil
	}
	f, err := os.CreateTemp("", "hashpkg-repair-")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// respool fills a file anew.
func respool(f *os.File, from io.Reader) error {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err := io.Copy(f, from)
	return err
}
