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
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashpkg/hashpkg/backends"
	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/elfedit"
	"github.com/hashpkg/hashpkg/internal/mapped"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/plan"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/layout/view"
	"github.com/hashpkg/hashpkg/pkginfo"
	"github.com/hashpkg/hashpkg/store"
	"github.com/hashpkg/hashpkg/transaction"
)

// fromPackage is a package file that somebody gave, or that was fetched.
type fromPackage struct {
	path, name, version, architecture string
	format                            backends.Format
	label                             string // for people
}

// readPackages finds out what packages there are. What a directory has beside them is
// passed over.
func (r *repairer) readPackages(context.Context) error {
	for _, p := range r.From {
		info, err := os.Stat(p)
		if err != nil {
			return fmt.Errorf("open package: %w", err)
		}
		if !info.IsDir() {
			if _, err := r.addPackage(p, filepath.Base(p)); err != nil {
				return fmt.Errorf("read package %s: %w", p, err)
			}
			continue
		}
		entries, err := os.ReadDir(p)
		if err != nil {
			return fmt.Errorf("list packages: %w", err)
		}
		for _, e := range entries {
			file := filepath.Join(p, e.Name())
			if info, err := os.Stat(file); err != nil || !info.Mode().IsRegular() {
				continue
			}
			if _, err := r.addPackage(file, e.Name()); err != nil && !errors.Is(err, backends.ErrUnknownFormat) {
				r.note("%s cannot be read: %v", file, err)
			}
		}
	}
	return nil
}

// addPackage adds a package file to those that there are.
func (r *repairer) addPackage(file, label string) (added fromPackage, err error) {
	err = r.openPackage(file, func(format backends.Format, in backends.Reader) error {
		p := in.Package()
		added = fromPackage{file, p.Name, p.Version, p.Architecture, format, label}
		r.packages = append(r.packages, added)
		return nil
	})
	return added, err
}

// fetch fetches the package file that a tree was made of, and adds it to those that there
// are. Each is asked for once: isNew says that it was now. It returns nil where it cannot
// be fetched, which a note says.
func (r *repairer) fetch(ctx context.Context, w WantedPackage) (p *fromPackage, isNew bool, err error) {
	if r.Fetch == nil {
		return nil, false, nil
	}
	if p, asked := r.fetched[w]; asked {
		return p, false, nil
	}
	r.fetched[w] = nil
	spec := w.Name + "=" + w.Version
	r.Progress(transaction.Progress{Step: "fetching", Item: spec})
	file, err := r.Fetch(ctx, w)
	if ctx.Err() != nil {
		return nil, false, ctx.Err()
	}
	if err == nil && file == "" {
		return nil, false, nil
	}
	var added fromPackage
	if err == nil {
		label := spec + ", fetched"
		if w.Release != "" {
			label += " from " + w.Release
		}
		added, err = r.addPackage(file, label)
	}
	if err != nil {
		r.note("%s is not mended from its package, which --from can name: %v", spec, err)
		return nil, false, nil
	}
	r.result.Fetched = append(r.result.Fetched, spec)
	r.fetched[w] = &added
	return &added, true, nil
}

// packageOf returns the package file that a tree was made of.
func (r *repairer) packageOf(m *record.Manifest) WantedPackage {
	w := WantedPackage{Name: m.Name, Version: m.Version, Architecture: m.Architecture, Format: m.Format, Digest: m.Package.Digest, Size: m.Package.Size}
	for _, g := range slices.Backward(r.generations) {
		for i := range g.Trees {
			if t := &g.Trees[i]; w.Release == "" && t.Path() == layout.TreePath(m.Name, m.Tree) && t.Identity == m.Identity {
				w.Release = t.Release
			}
		}
	}
	return w
}

func (r *repairer) openPackage(file string, read func(backends.Format, backends.Reader) error) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	format, all, err := r.Root.Formats().Identify(f)
	if err != nil {
		return err
	}
	in, err := format.Open(all, nil)
	if err != nil {
		return err
	}
	return errors.Join(read(format, in), in.Close())
}

// user is a file of a tree.
type user struct {
	m *record.Manifest
	f *record.File
}

// place is the path in the root that the package has the file at.
func (u user) place() string { return cmp.Or(u.f.Place, "/"+u.f.Path) }

// damagedObject is an object that is to be replaced.
type damagedObject struct {
	digest digest.Digest
	kind   store.DamageKind
	what   string
	how    string // it is replaced; "" when it cannot be
	size   int64
	shared bool // it can be the distribution's own file
	found  bool // as such
	users  []user
	mode   record.Mode
}

// objectRepair is the repair of the objects.
type objectRepair struct {
	*repairer
	wanted  map[digest.Digest]bool   // those that a tree which is repaired has
	users   map[digest.Digest][]user // by object
	sources map[digest.Digest][]user // that were edited, by the packaged bytes
	known   map[digest.Digest]string // what packages have of what is wanted, and which
}

// repairObjects finds the objects that are damaged, and puts a whole one in the place of
// each of which there is a copy.
func (r *repairer) repairObjects(ctx context.Context) (err error) {
	o := &objectRepair{r, map[digest.Digest]bool{}, map[digest.Digest][]user{}, map[digest.Digest][]user{}, map[digest.Digest]string{}}
	for _, p := range sortedKeys(r.manifests) {
		m := r.manifests[p]
		for j := range m.Files {
			f := &m.Files[j]
			if f.Type != record.TypeFile {
				continue
			}
			o.wanted[f.Object] = o.wanted[f.Object] || r.inScope(p)
			o.users[f.Object] = append(o.users[f.Object], user{m, f})
			if f.Patch != nil {
				o.sources[f.Source] = append(o.sources[f.Source], user{m, f})
			}
		}
	}
	damaged, err := o.damaged()
	if err != nil {
		return err
	}
	for _, d := range damaged {
		if err := o.supply(d); err != nil {
			return err
		}
	}
	if err := o.supplyFromPackages(ctx, damaged, o.packages); err != nil {
		return err
	}
	if err := o.supplyFetched(ctx, damaged); err != nil {
		return err
	}
	if err := o.put(damaged); err != nil || o.DryRun {
		return err
	}
	return o.verifyObjects(ctx)
}

// damaged returns the objects that are not as they should be.
func (o *objectRepair) damaged() (damaged []*damagedObject, err error) {
	for d, users := range o.users {
		if !o.wanted[d] {
			continue
		}
		kind, what := o.check.Object(d)
		x := &damagedObject{digest: d, kind: kind, what: what, size: users[0].f.Size, users: users, mode: users[0].f.Mode, shared: true}
		isLink := func(u user) bool { return !u.f.Own && u.f.Shared != record.SharedLink }
		if i := slices.IndexFunc(users, isLink); i >= 0 {
			x.mode = users[i].f.Mode
			if kind == "" {
				if x.what, err = o.check.ObjectMetadata(d, x.mode); err != nil {
					return nil, err
				}
			}
		}
		x.shared = !slices.ContainsFunc(users, func(u user) bool { return u.f.Shared != record.SharedLink })
		if x.what != "" {
			x.kind = cmp.Or(kind, store.DamageObjectMetadata)
			damaged = append(damaged, x)
		}
	}
	slices.SortFunc(damaged, func(a, b *damagedObject) int { return bytes.Compare(a.digest[:], b.digest[:]) })
	return damaged, nil
}

// supply looks for the bytes of an object on the disk.
func (o *objectRepair) supply(d *damagedObject) error {
	if d.kind == store.DamageObjectMetadata {
		if ok, err := o.try(d, o.inStore(layout.ObjectPath(d.digest)), nil); ok || err != nil {
			d.how = "replaced by a copy of its own"
			return err
		}
	}
	if d.shared && !o.DryRun {
		for _, u := range d.users {
			ok, err := o.staging.SpareShared(u.place(), d.digest)
			if err != nil {
				return err
			}
			if ok {
				d.found, d.how = true, "from the distribution's "+u.place()
				return nil
			}
		}
	}
	for _, u := range d.users { // another inode, perhaps
		p := layout.TreePath(u.m.Name, u.m.Tree) + "/" + u.f.Path
		if ok, err := o.try(d, o.inStore(p), nil); ok || err != nil {
			d.how = "from " + o.store().Path(p)
			return err
		}
	}
	for _, u := range slices.Concat(d.users, o.sources[d.digest]) {
		if ok, err := o.try(d, o.ofSystem(u.place()), nil); ok || err != nil {
			d.how = "from the distribution's " + u.place()
			return err
		}
	}
	for _, u := range d.users { // the packaged bytes, and the edit
		if u.f.Patch == nil {
			continue
		}
		edit, err := u.f.Patch.Edit()
		if err != nil {
			continue
		}
		if ok, err := o.try(d, o.inStore(layout.ObjectPath(u.f.Source)), &edit); ok || err != nil {
			d.how = "from the object of the packaged file, edited again"
			return err
		}
		if ok, err := o.try(d, o.ofSystem(u.place()), &edit); ok || err != nil {
			d.how = "from the distribution's " + u.place() + ", edited again"
			return err
		}
	}
	if d.digest == digest.Of([]byte(view.Release)) {
		d.how = "made again"
		_, err := o.keep(d.digest, strings.NewReader(view.Release))
		return err
	}
	for _, u := range d.users {
		if !u.f.IsMade() {
			continue
		}
		place, err := transaction.LauncherPlace(o.Root, o.architecture())
		if err != nil {
			return err
		}
		b, err := plan.MadeBytes(place, u.m, u.f, transaction.TreeFiles(o.store(), o.manifests, nil))
		if err != nil || digest.Of(b) != d.digest {
			continue // another version of hashpkg made it
		}
		d.how = "made again"
		_, err = o.keep(d.digest, bytes.NewReader(b))
		return err
	}
	for _, u := range o.sources[d.digest] { // the edited bytes, and the edit undone
		edit, err := u.f.Patch.Edit()
		if err != nil {
			continue
		}
		inverse := edit.Invert()
		if ok, err := o.try(d, o.inStore(layout.ObjectPath(u.f.Object)), &inverse); ok || err != nil {
			d.how = "from the object of an edited file, its edit undone"
			return err
		}
	}
	return nil
}

// architecture is the root's own, as its generations have it.
func (r *repairer) architecture() string {
	for _, g := range slices.Backward(r.generations) {
		if g.Architecture != "" {
			return g.Architecture
		}
	}
	return ""
}

// opener opens a file that may have what is looked for.
type opener func() (*os.File, error)

// inStore opens a file by its name below the prefix.
func (r *repairer) inStore(name string) opener {
	return func() (*os.File, error) {
		f, _, err := r.store().Dir().OpenRegular(name)
		return f, err
	}
}

// ofSystem opens a file of the distribution by its path in the root.
func (r *repairer) ofSystem(name string) opener {
	return func() (*os.File, error) { return r.Root.Open(name) }
}

// mapEdited calls use with the bytes of a file, edited if there is an edit. It does not where
// the file cannot be read, or the edit is of another one.
func mapEdited(open opener, edit *elfedit.Edit, use func([]byte)) {
	f, err := open()
	if err != nil {
		return
	}
	defer f.Close()
	_ = mapped.File(f, func(b []byte) error { // an error is one of reading
		if edit != nil {
			edited, err := edit.Apply(b)
			if err != nil {
				return nil
			}
			b = edited
		}
		use(b)
		return nil
	})
}

// try reports whether a file has the bytes of an object, edited if there is an edit, and
// stages them. What cannot be read has not.
func (o *objectRepair) try(d *damagedObject, open opener, edit *elfedit.Edit) (found bool, err error) {
	mapEdited(open, edit, func(b []byte) {
		if int64(len(b)) == d.size && digest.Of(b) == d.digest {
			found, err = o.keep(d.digest, bytes.NewReader(b))
		}
	})
	return found, err
}

// keep stages the bytes of an object.
func (o *objectRepair) keep(want digest.Digest, r io.Reader) (bool, error) {
	if o.DryRun {
		return true, nil
	}
	_, kept, err := o.staging.Spare(r, func(d digest.Digest) bool { return d == want })
	return kept, err
}

// maxFetched is how many packages are fetched at most for one object that each of them has.
const maxFetched = 3

// supplyFetched fetches packages that have what nothing else has.
func (o *objectRepair) supplyFetched(ctx context.Context, damaged []*damagedObject) error {
	for _, d := range damaged {
		tried := 0
		for _, u := range slices.Concat(d.users, o.sources[d.digest]) {
			if d.how != "" || tried == maxFetched {
				break
			}
			if u.m.Origin != record.OriginPrivate {
				continue
			}
			tried++
			p, isNew, err := o.fetch(ctx, o.packageOf(u.m))
			if err == nil && isNew {
				err = o.supplyFromPackages(ctx, damaged, []fromPackage{*p})
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// supplyFromPackages looks for what the disk does not have in package files.
func (o *objectRepair) supplyFromPackages(ctx context.Context, damaged []*damagedObject, packages []fromPackage) error {
	wanted, sizes, specs := map[digest.Digest]bool{}, map[int64]bool{}, map[string]bool{}
	for _, d := range damaged {
		if d.how != "" {
			continue
		}
		wanted[d.digest], sizes[d.size] = true, true
		for _, u := range slices.Concat(d.users, o.sources[d.digest]) {
			specs[u.m.Spec()] = true
			if p := u.f.Patch; p != nil {
				wanted[u.f.Source], sizes[p.OldSize] = true, true
			}
		}
	}
	if len(wanted) == 0 {
		return nil
	}
	for _, p := range packages {
		if !specs[p.name+"="+p.version] {
			continue
		}
		o.Progress(transaction.Progress{Step: "reading", Item: p.label})
		if err := o.readPackage(ctx, p, wanted, sizes); err != nil {
			return err
		}
	}
	for _, d := range damaged {
		if d.how == "" {
			if err := o.takeFromPackage(d); err != nil {
				return err
			}
		}
	}
	return nil
}

// readPackage keeps what is wanted of a package's files. A package that is damaged is
// reported: what was read of it before is what it should be, by its digest.
func (o *objectRepair) readPackage(ctx context.Context, p fromPackage, wanted map[digest.Digest]bool, sizes map[int64]bool) error {
	var fault error
	err := o.openPackage(p.path, func(_ backends.Format, in backends.Reader) error {
		for {
			e, err := in.Next()
			if err == io.EOF {
				return nil
			}
			if err = errors.Join(err, ctx.Err()); err != nil {
				return err
			}
			if e.Type != pkginfo.Regular || !sizes[e.Size] {
				continue
			}
			var d digest.Digest
			var kept bool
			if o.DryRun {
				d, _, err = digest.OfReader(in)
				kept = wanted[d]
			} else {
				d, kept, err = o.staging.Spare(in, func(d digest.Digest) bool { return wanted[d] })
				var onDisk *fs.PathError
				if errors.As(err, &onDisk) {
					fault = err
				}
			}
			if err != nil {
				return err
			}
			if kept {
				o.known[d] = p.label
			}
		}
	})
	if err := errors.Join(ctx.Err(), fault); err != nil {
		return err
	}
	if err != nil {
		o.note("%s cannot be read: %v", p.path, err)
	}
	return nil
}

// takeFromPackage supplies an object with what packages have.
func (o *objectRepair) takeFromPackage(d *damagedObject) error {
	if p := o.known[d.digest]; p != "" {
		d.how = "from " + p
		return nil
	}
	for _, u := range d.users {
		if u.f.Patch == nil || o.known[u.f.Source] == "" {
			continue
		}
		edit, err := u.f.Patch.Edit()
		if err != nil {
			continue
		}
		how := "from " + o.known[u.f.Source] + ", edited again"
		if o.DryRun {
			d.how = how
			return nil
		}
		ok := false
		err = o.staging.MapSpare(u.f.Source, func(b []byte) error {
			edited, err := edit.Apply(b)
			if err != nil || digest.Of(edited) != d.digest {
				return nil // it is not the recorded edit
			}
			ok, err = o.keep(d.digest, bytes.NewReader(edited))
			return err
		})
		if err != nil {
			return err
		}
		if ok {
			d.how = how
			return nil
		}
	}
	return nil
}

// put puts the objects in place, and moves away those that nothing can replace.
func (o *objectRepair) put(damaged []*damagedObject) error {
	var list []store.NewObject
	for _, d := range damaged {
		if d.how != "" {
			list = append(list, store.NewObject{Digest: d.digest, Mode: d.mode.ObjectMode(), Shared: d.found})
		}
	}
	if len(list) > 0 && !o.DryRun {
		err := o.staging.PutObjects(list, func(name string) error {
			return o.take(name, "", "objects", filepath.Base(name), "was in the place of an object")
		})
		if err != nil {
			return err
		}
	}
	elsewhere := map[string]bool{}
	for _, d := range damaged {
		for _, u := range d.users {
			if !o.inScope(layout.TreePath(u.m.Name, u.m.Tree)) {
				elsewhere[u.m.Spec()] = true
			}
		}
		name := layout.ObjectPath(d.digest)
		if d.how != "" {
			o.check.Replaced(d.digest)
			for _, u := range d.users {
				if u.f.Patch != nil { // which nobody could prove before
					delete(o.checked, u.m)
				}
			}
			o.mended(o.store().Path(name), d.what, d.how)
			continue
		}
		o.lost[d.digest] = true
		if d.kind != store.DamageObjectMissing {
			if err := o.take(name, "", "objects", d.digest.String(), d.what); err != nil {
				return err
			}
		}
	}
	if len(elsewhere) > 0 {
		o.note("%s had damaged objects in common with what was repaired: hashpkg verify --repair mends them, too", strings.Join(sortedKeys(elsewhere), ", "))
	}
	return nil
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
