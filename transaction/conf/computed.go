package conf

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/transaction"
	"github.com/hashpkg/hashpkg/transaction/configure"
	"github.com/hashpkg/hashpkg/transaction/query"
)

// isComputed reports whether a file was computed.
func (w *worker) isComputed(p string) bool {
	e := w.entry(p)
	return e != nil && e.Computed
}

// setComputedState says how a file stands that was computed earlier, of whose package a
// version is in use.
func setComputedState(x *found, version string) {
	switch {
	case x.is == "":
		x.State = Removed
	case !slices.Contains(x.entry.Is, x.is):
		x.State = Changed
	case x.entry.Version != version:
		x.State = Outdated
		x.Reason = fmt.Sprintf("scripts have computed it for version %s; hashpkg configure %s computes it again", x.entry.Version, x.entry.Package)
	default:
		x.State = Adopted
	}
}

// compute runs the scripts of a package and of what it needs, and returns what they have
// computed for /etc and /var/lib, and how it stands there. Where that differs from what was
// computed for other packages, as the catalogs of XML do, which have all that there is, they are
// run once more, together with the scripts of these.
func (w *worker) compute(ctx context.Context, spec query.Spec) (*computed, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("scripts run as root of a box of their own, and only root can make it")
	}
	t, err := treeOf(w.writer.Active(), spec)
	if err != nil {
		return nil, err
	}
	if w.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = transaction.ScriptTime(ctx, w.timeout)
		defer cancel()
	}
	c, err := w.computeFor(ctx, []*record.Tree{t})
	if err != nil {
		return nil, fmt.Errorf("run the scripts of %s and of what it needs: %w", spec, err)
	}
	alone := map[string]bool{}
	trees := []*record.Tree{t}
	for _, x := range c.files {
		alone[x.Path] = true
		if x.entry == nil || !x.entry.Computed || x.is == x.packaged() {
			continue
		}
		for _, name := range append([]string{x.entry.Package}, x.entry.Also...) {
			if slices.ContainsFunc(trees, func(o *record.Tree) bool { return o.Name == name }) {
				continue
			}
			if o, err := treeOf(w.writer.Active(), query.Spec{Name: name}); err == nil && o.Release == t.Release {
				trees = append(trees, o)
			}
		}
	}
	if len(trees) > 1 {
		if c, err = w.computeFor(ctx, trees); err != nil {
			return nil, fmt.Errorf("run the scripts of %s together with those of packages that compute the same files: %w", spec, err)
		}
	}
	c.by, c.alone = t.Name, alone
	for _, f := range c.failed {
		w.result.Failed = append(w.result.Failed, Failure{f.Package, f.Error()})
	}
	if n := len(c.others); n > 0 {
		files := "1 file"
		if n > 1 {
			files = fmt.Sprintf("%d files", n)
		}
		w.result.Left = append(w.result.Left, File{
			Path: c.others[0], Package: c.of[t.Name].Spec(), State: Refused, Reason: "scripts compute " + files + " for /usr, where nothing is put",
		})
	}
	return c, nil
}

// computed is what scripts have computed.
type computed struct {
	of     map[string]*record.Manifest // the packages that they were run for, by name
	files  []*found                    // sorted by path
	others []string                    // paths elsewhere than in /etc and /var/lib
	by     string                      // the package that it is asked for
	alone  map[string]bool             // the paths of what its own scripts, and those of what it needs, compute
	failed []*configure.Error
}

// computeFor runs the scripts of trees and of what these need. What was not computed for one of
// them is the first one's.
func (w *worker) computeFor(ctx context.Context, trees []*record.Tree) (*computed, error) {
	c := &computed{of: map[string]*record.Manifest{}}
	for _, t := range trees {
		m, err := w.root.Store().Manifest(t.Name, t.Dir)
		if err != nil {
			return nil, err
		}
		c.of[t.Name] = m
	}
	ran, err := w.writer.RunScripts(ctx, trees)
	if err != nil {
		return nil, err
	}
	c.failed = ran.Failed
	for i := range ran.Files {
		f := &ran.Files[i]
		switch {
		case f.Mode&(fs.ModeType&^fs.ModeSymlink) != 0: // directories come with what is in them
		case strings.HasPrefix(f.Path, "etc/"), strings.HasPrefix(f.Path, "var/lib/"):
			x := &found{m: c.of[trees[0].Name], bytes: f, entry: w.entry("/" + f.Path)}
			if x.entry != nil && x.entry.Computed && c.of[x.entry.Package] != nil {
				x.m = c.of[x.entry.Package]
			}
			x.File = File{Path: "/" + f.Path, Package: x.m.Spec(), Computed: true}
			w.setState(x)
			c.files = append(c.files, x)
		default:
			c.others = append(c.others, "/"+f.Path)
		}
	}
	return c, nil
}

// followComputed copies what was computed, and removes what was computed earlier and is not any
// more.
func (w *worker) followComputed(ctx context.Context, spec query.Spec, c *computed) error {
	w.result.Left = slices.DeleteFunc(w.result.Left, func(f File) bool { return w.isComputed(f.Path) }) // what is known better now
	isAnothers := func(x *found) bool { return x.State == Other && x.is == x.packaged() }               // and it needs it as well
	err := w.follow(ctx, spec, slices.DeleteFunc(slices.Clone(c.files), isAnothers))
	for i := range w.record.Files {
		e := &w.record.Files[i]
		if e.Computed && c.alone[e.Path] && e.Package != c.by && !slices.Contains(e.Also, c.by) {
			e.Also = append(slices.Clone(e.Also), c.by)
		}
	}
	if err = errors.Join(err, w.write()); err != nil || len(c.failed) > 0 {
		return err
	}
	return w.dropFiles(ctx, func(e *record.ConfFile) bool {
		isAsked := func(name string) bool { return c.of[name] != nil }
		isComputed := func(x *found) bool { return x.Path == e.Path }
		return e.Computed && isAsked(e.Package) && !slices.ContainsFunc(e.Also, func(name string) bool { return !isAsked(name) }) && !slices.ContainsFunc(c.files, isComputed)
	})
}

// handOver has what several packages compute belong to another one of them than name, and
// leaves it as it is.
func (w *worker) handOver(name string) {
	for i := range w.record.Files {
		e := &w.record.Files[i]
		e.Also = slices.DeleteFunc(slices.Clone(e.Also), func(also string) bool { return also == name })
		if e.Package == name && len(e.Also) > 0 {
			e.Package, e.Also = e.Also[0], e.Also[1:]
		}
	}
}
