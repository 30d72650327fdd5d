package verify

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"runtime"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/backends"
	"github.com/hashpkg/hashpkg/internal/beneath"
	"github.com/hashpkg/hashpkg/internal/mapped"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/pkginfo"
	"github.com/hashpkg/hashpkg/programs"
	"github.com/hashpkg/hashpkg/sysroot"
	"github.com/hashpkg/hashpkg/sysroot/system"
	"github.com/hashpkg/hashpkg/transaction/query"
)

// SystemVerdict says how the files of packages stand.
type SystemVerdict struct {
	Checked  int             `json:"checked"`
	Pristine int             `json:"pristine"` // are what their packages brought
	Edited   []string        `json:"edited"`   // are that and the recorded edit, nothing else
	Altered  []AlteredReport `json:"altered"`  // by somebody else
	Records  []AlteredReport `json:"records"`  // of edited programs, that cannot be read; their paths are the host's
	Unknown  int             `json:"unknown"`  // of which the database has no digest
	Config   int             `json:"config"`   // configuration, which is meant to be changed
	Unread   []string        `json:"unread"`   // may not be read by the caller
}

// AlteredReport is one file that is not what its package brought.
type AlteredReport struct {
	Path    string `json:"path"`
	Package string `json:"package"` // "NAME=VERSION"
	What    string `json:"what"`
	Digest  string `json:"-"` // that the database has, "md5:hex"
}

// System compares the files of the system's packages, or of those named, with
// the digests in the package managers' databases. Of each edited program it proves
// that undoing the recorded edit gives bytes with that digest.
func System(ctx context.Context, root *sysroot.Root, names []string, progress func(done, total int)) (*SystemVerdict, error) {
	packages, err := Installed(ctx, root, names)
	if err != nil {
		return nil, err
	}
	return verifyPackages(ctx, root, packages, progress)
}

// Installed returns the system's packages, or those named. The error wraps
// [query.ErrNotInstalled] for a name that no package has, and [backends.ErrNoDatabase] where
// there are none at all.
func Installed(ctx context.Context, root *sysroot.Root, names []string) ([]*backends.Installed, error) {
	packages, err := system.Packages(ctx, root)
	if err != nil {
		return nil, err
	}
	for _, n := range names {
		if !slices.ContainsFunc(packages, func(p *backends.Installed) bool { return p.Name == n }) {
			return nil, fmt.Errorf("%w: the system's package manager has no package %s", query.ErrNotInstalled, n)
		}
	}
	switch {
	case len(names) > 0:
		packages = slices.DeleteFunc(packages, func(p *backends.Installed) bool { return !slices.Contains(names, p.Name) })
	case len(packages) == 0:
		return nil, fmt.Errorf("%w in %s", backends.ErrNoDatabase, root.Dir())
	}
	return packages, nil
}

// verifyPackages compares the files of packages, several at once.
func verifyPackages(ctx context.Context, root *sysroot.Root, packages []*backends.Installed, progress func(done, total int)) (*SystemVerdict, error) {
	v := &SystemVerdict{Edited: []string{}, Altered: []AlteredReport{}, Records: []AlteredReport{}, Unread: []string{}}
	var mu sync.Mutex
	var faults error
	done := 0
	group, inner := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	for _, p := range packages {
		if inner.Err() != nil {
			break
		}
		group.Go(func() error {
			found, err := Package(root, p)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				faults = errors.Join(faults, fmt.Errorf("verify %s: %w", p.Name, err))
			} else {
				v.add(found)
			}
			done++
			progress(done, len(packages))
			return nil
		})
	}
	if err := errors.Join(group.Wait(), ctx.Err(), faults); err != nil {
		return nil, err
	}
	slices.Sort(v.Edited)
	slices.Sort(v.Unread)
	byPath := func(a, b AlteredReport) int { return strings.Compare(a.Path, b.Path) }
	slices.SortFunc(v.Altered, byPath)
	slices.SortFunc(v.Records, byPath)
	return v, nil
}

func (v *SystemVerdict) add(o *SystemVerdict) {
	v.Checked += o.Checked
	v.Pristine += o.Pristine
	v.Edited = append(v.Edited, o.Edited...)
	v.Altered = append(v.Altered, o.Altered...)
	v.Records = append(v.Records, o.Records...)
	v.Unknown += o.Unknown
	v.Config += o.Config
	v.Unread = append(v.Unread, o.Unread...)
}

// Package is [System] for one package.
func Package(root *sysroot.Root, p *backends.Installed) (*SystemVerdict, error) {
	entries, err := p.Files()
	if err != nil {
		return nil, err
	}
	v := &SystemVerdict{}
	edits, err := root.Edits(p.Key)
	if err != nil {
		edits = &record.PackageEdits{}
		v.Records = append(v.Records, AlteredReport{Path: root.Store().Path(record.EditsPath(p.Key)), Package: spec(p), What: err.Error()})
	}
	dir := directory{root: root}
	defer dir.close()
	for i := range entries {
		e := &entries[i]
		name := "/" + e.Path
		place, err := dir.place(name)
		class, what := classNone, ""
		switch {
		case err == nil:
			name = place.Path
			class, what, err = classify(e, place, edits)
		case isGone(err):
			class, what, err = missing(e)
		case errors.Is(err, unix.ELOOP):
			class, what, err = link(e)
		}
		if errors.Is(err, fs.ErrPermission) {
			v.Unread = append(v.Unread, name)
			continue
		}
		if err != nil {
			return nil, err
		}
		v.count(class, AlteredReport{name, spec(p), what, e.Digest})
	}
	return v, nil
}

func spec(p *backends.Installed) string { return p.Name + "=" + p.Version }

// directory is the one that the last file was in: lists are in order.
type directory struct {
	root *sysroot.Root
	name string
	open *sysroot.Place
}

func (d *directory) place(name string) (*sysroot.Place, error) {
	if d.open == nil || d.name != path.Dir(name) {
		d.close()
		opened, err := d.root.Find(name)
		if err != nil {
			return nil, err
		}
		d.name, d.open = path.Dir(name), opened
	}
	base := path.Base(name)
	return &sysroot.Place{Dir: d.open.Dir, Base: base, Path: path.Join(path.Dir(d.open.Path), base)}, nil
}

func (d *directory) close() {
	if d.open != nil {
		_ = d.open.Close() // it was only looked from
		d.open = nil
	}
}

// fileClass is what a file of a package is found to be.
type fileClass int

const (
	classNone fileClass = iota // no regular file, or one that need not be there
	classPristine
	classEdited
	classAltered
	classConfig
	classUnknown
)

// classes are the classes of files whose bytes were compared.
var classes = map[programs.Class]fileClass{
	programs.Unknown: classUnknown, programs.Pristine: classPristine, programs.Proved: classEdited, programs.Altered: classAltered,
}

// count puts a file of a package into its class.
func (v *SystemVerdict) count(class fileClass, file AlteredReport) {
	if class == classNone {
		return
	}
	v.Checked++
	switch class {
	case classPristine:
		v.Pristine++
	case classEdited:
		v.Edited = append(v.Edited, file.Path)
	case classConfig:
		v.Config++
	case classUnknown:
		v.Unknown++
	case classAltered:
		v.Altered = append(v.Altered, file)
	}
}

func isConfig(e *pkginfo.Entry) bool {
	return slices.Contains(e.Flags, "config") || slices.Contains(e.Flags, "ghost")
}

// missing is the class of a file that is not there. What is only read by people may
// be left out of a machine.
func missing(e *pkginfo.Entry) (fileClass, string, error) {
	if e.Digest == "" || isConfig(e) || strings.HasPrefix(e.Path, "usr/share/") {
		return classNone, "", nil
	}
	return classAltered, "is missing", nil
}

// link is the class of a link.
func link(e *pkginfo.Entry) (fileClass, string, error) {
	if e.Digest == "" {
		return classNone, "", nil
	}
	return classAltered, "is a link now", nil
}

func classify(e *pkginfo.Entry, place *sysroot.Place, edits *record.PackageEdits) (class fileClass, what string, err error) {
	f, err := place.Dir.OpenFile(place.Base, os.O_RDONLY, 0)
	switch {
	case isGone(err):
		return missing(e)
	case errors.Is(err, beneath.ErrLink), errors.Is(err, unix.ELOOP):
		return link(e)
	case errors.Is(err, beneath.ErrNotRegular):
		return classNone, "", nil
	case err != nil:
		return classNone, "", err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return classNone, "", err
	}
	if isConfig(e) {
		return classConfig, "", nil
	}
	err = mapped.File(f, func(data []byte) error {
		proved, why := programs.Prove(edits, place.Path, e.Digest, data)
		class, what = classes[proved], string(why)
		return nil
	})
	return class, what, err
}

// isGone reports whether an error says that nothing has a name.
func isGone(err error) bool { return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) }
