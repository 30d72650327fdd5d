package transaction

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/hashpkg/hashpkg/backends"
	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/internal/beneath"
	"github.com/hashpkg/hashpkg/internal/sandbox"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/generate"
	"github.com/hashpkg/hashpkg/layout/plan"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/layout/view"
	"github.com/hashpkg/hashpkg/sysroot"
	"github.com/hashpkg/hashpkg/sysroot/system"
	"github.com/hashpkg/hashpkg/transaction/configure"
)

// ScriptsRun is what came of running scripts.
type ScriptsRun struct {
	Files  []configure.File   // sorted by path
	Failed []*configure.Error // of packages that were left out then
}

// ErrNoScripts says that no script configures a package, or what it needs.
var ErrNoScripts = errors.New("no script of it, or of what it needs, computes anything")

// ScriptTime returns a context for [Writer.RunScripts], whose scripts are ended limit from now on:
// those of all its runs together, each of which may run them several times.
func ScriptTime(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, limit, fmt.Errorf("%w after %v", sandbox.ErrTime, limit))
}

// RunScripts has the scripts run in a box that configure private trees of the active generation
// and those that are seen in their views: see [configure.Run]. Packages whose scripts fail are
// left out, but for the first tree's, whose failure is the error; so it is when they have not ended
// by the deadline of ctx, for which see [ScriptTime]. The Writer must have begun
// with [Options.Generate]. Nothing is changed outside of the Writer's staging directory.
func (w *Writer) RunScripts(ctx context.Context, trees []*record.Tree) (*ScriptsRun, error) {
	g := &generating{Writer: w, next: w.active, host: hostFiles{root: w.root, known: map[string][]generate.Input{}}, manifests: map[string]*record.Manifest{}}
	manifest := func(t *record.Tree) (*record.Manifest, error) { return g.manifest(t.Path()) }
	planned, family, err := plan.ViewOf(w.active, trees, manifest, w.root.FileSize)
	if err != nil {
		return nil, err
	}
	byDpkg := configuredByDpkg(family)
	packages, err := w.scripted(family, byDpkg)
	if err != nil {
		return nil, err
	}
	if err := w.stageRelease(); err != nil {
		return nil, err
	}
	var tools []*record.Tree
	var missing []string
	if byDpkg {
		tools, missing = plan.ScriptTools(w.active, trees[0].Release, w.root.FileSize)
	}
	if slices.Contains(missing, "dpkg") {
		from := ""
		if trees[0].Release != "" {
			from = "--from " + trees[0].Release + " "
		}
		return nil, fmt.Errorf("dpkg runs scripts, and neither the system nor hashpkg has it: hashpkg install %s%s brings what scripts call", from, strings.Join(missing, " "))
	}
	if len(tools) > 0 {
		if planned, _, err = plan.ViewOf(w.active, slices.Concat(trees, tools), manifest, w.root.FileSize); err != nil {
			return nil, err
		}
	}
	s := &scene{generating: g, view: view.Merge(planned.Parts)}
	defer s.close()
	box, err := s.newBox()
	if err != nil {
		return nil, err
	}
	choices, err := g.choices()
	if err != nil {
		return nil, err
	}
	ran := &ScriptsRun{}
	for {
		if deadline, limited := ctx.Deadline(); limited {
			box.Time = max(time.Until(deadline), time.Second) // ctx ends earlier
		}
		ran.Files, err = w.runScripts(ctx, *box, packages, choices, byDpkg)
		var failed *configure.Error
		if !errors.As(err, &failed) || failed.Package == trees[0].Name {
			break
		}
		left := slices.DeleteFunc(packages, func(p configure.Package) bool { return p.Name == failed.Package })
		if len(left) == len(packages) {
			break
		}
		packages = left
		ran.Failed = append(ran.Failed, failed)
	}
	if err := ctx.Err(); errors.Is(err, context.Canceled) {
		return nil, err
	}
	if errors.Is(err, sandbox.ErrTime) {
		return nil, fmt.Errorf("%w: give it longer by --timeout, or see why it takes so long, as a script does that waits for an answer", err)
	}
	if err != nil {
		if answered, serr := AnsweredBySystem(ctx, w.root); serr == nil {
			if lacking := plan.Unanswered(family, answered); len(lacking) > 0 {
				err = fmt.Errorf("%w; scripts need %s, which neither hashpkg nor the system has", err, strings.Join(lacking, ", "))
			}
		}
		return nil, err
	}
	return ran, w.copyLinked(ran.Files, family)
}

// configuredByDpkg reports whether it is dpkg that configures packages of a family. Where it is, an
// rpm among them is not configured.
func configuredByDpkg(family []*record.Manifest) bool {
	return slices.ContainsFunc(family, func(m *record.Manifest) bool {
		return m.Control != nil && m.Control.ByDpkg() || slices.Contains(m.Scripts, "postinst")
	})
}

// runScripts runs them once.
func (w *Writer) runScripts(ctx context.Context, box sandbox.Box, packages []configure.Package, choices []configure.File, byDpkg bool) (files []configure.File, err error) {
	name := beneath.TempName()
	if err := w.staging.Dir().Mkdir(name, 0o755); err != nil {
		return nil, fmt.Errorf("make a directory to configure in: %w", err)
	}
	work, err := w.staging.Dir().OpenDir(name)
	if err != nil {
		return nil, fmt.Errorf("make a directory to configure in: %w", err)
	}
	defer func() { err = errors.Join(err, work.Close()) }()
	if !byDpkg {
		return configure.RunInOrder(ctx, box, work, packages, choices)
	}
	return configure.Run(ctx, box, work, packages, choices)
}

// AnsweredBySystem returns what reports whether the package manager has installed a package of
// a name, or one that provides it.
func AnsweredBySystem(ctx context.Context, root *sysroot.Root) (func(name string) bool, error) {
	packages, err := system.Packages(ctx, root)
	if err != nil && !errors.Is(err, backends.ErrNoDatabase) {
		return nil, err
	}
	names := map[string]bool{}
	for _, p := range packages {
		names[p.Name] = true
		for _, c := range p.Provides {
			names[c.Name] = true
		}
	}
	return func(name string) bool { return names[name] }, nil
}

// choices returns the root's links in /etc/alternatives.
func (g *generating) choices() (links []configure.File, err error) {
	found, err := g.host.Files("etc/alternatives")
	for _, f := range found {
		if f.Target != "" {
			links = append(links, configure.File{Path: f.Path, Mode: fs.ModeSymlink | 0o777, Target: f.Target})
		}
	}
	return links, err
}

// copyLinked puts the file of a package in the place of a link to it, where the root has not got
// that file and none but programs that see a view would find it.
func (w *Writer) copyLinked(files []configure.File, family []*record.Manifest) error {
	for i := range files {
		f := &files[i]
		if f.Mode&fs.ModeSymlink == 0 {
			continue
		}
		link := record.File{Path: f.Path, Target: f.Target}
		to, m, _ := record.FollowIn(family, link.Destination())
		if to == nil || !strings.HasPrefix(to.Path, "usr/") || to.ELF != nil {
			continue
		}
		if _, has := w.root.FileSize("/" + to.Path); has {
			continue
		}
		c, err := w.packaged(m, to)
		if err != nil {
			return err
		}
		if c.Bytes, err = w.object(m, to); err != nil {
			return err
		}
		c.Path = f.Path
		*f = c
	}
	return nil
}

// scripted returns packages to configure: for dpkg, which knows their order, or else each behind
// those that it needs.
func (w *Writer) scripted(family []*record.Manifest, byDpkg bool) (packages []configure.Package, err error) {
	if !byDpkg {
		family = needsFirst(family)
	}
	some := false
	offered := map[string]bool{}
	for _, m := range family {
		if !view.IsLoaderFamily(m) {
			offered[m.Name] = true
			for _, p := range m.Provides {
				offered[p.Name] = true
			}
		}
	}
	for _, m := range family {
		if view.IsLoaderFamily(m) {
			continue
		}
		if m.Control == nil && hasScript(m, byDpkg) {
			return nil, fmt.Errorf("%s was installed by a hashpkg that did not keep its scripts: remove it, and install it again", m.Spec())
		}
		some = some || m.Control.Configures()
		p := configure.Package{Name: m.Name, Control: map[string][]byte{"control": controlFile(m, offered)}}
		if m.Control != nil && m.Control.ByDpkg() == byDpkg {
			for name, body := range m.Control.Scripts {
				p.Control[name] = body
			}
			p.Control["triggers"] = []byte(strings.Join(append(slices.Clone(m.Control.Triggers), ""), "\n"))
			if m.Control.Templates != "" {
				p.Control["templates"] = []byte(m.Control.Templates)
			}
		}
		conffiles := ""
		for i := range m.Files {
			if m.Files[i].Type == record.TypeFIFO {
				continue
			}
			f, err := w.packaged(m, &m.Files[i])
			if err != nil {
				return nil, err
			}
			p.Files = append(p.Files, f)
			if m.Files[i].Conffile {
				conffiles += "/" + f.Path + "\n"
			}
		}
		p.Control["conffiles"] = []byte(conffiles)
		packages = append(packages, p)
	}
	if !some {
		return nil, ErrNoScripts
	}
	return packages, nil
}

// hasScript reports whether a package came with a script by which dpkg, or rpm, configures it.
func hasScript(m *record.Manifest, byDpkg bool) bool {
	if byDpkg {
		return slices.Contains(m.Scripts, "postinst")
	}
	return slices.Contains(m.Scripts, "post") || slices.Contains(m.Scripts, "posttrans")
}

// needsFirst returns packages in another order: each behind those of them that it needs, as far as
// they do not need each other.
func needsFirst(family []*record.Manifest) (ordered []*record.Manifest) {
	by := map[string]*record.Manifest{} // by what they are called, provide and have
	for _, m := range family {
		by[m.Name] = m
		for _, c := range m.Provides {
			if by[c.Name] == nil {
				by[c.Name] = m
			}
		}
	}
	seen := map[*record.Manifest]bool{}
	var visit func(m *record.Manifest)
	visit = func(m *record.Manifest) {
		if seen[m] {
			return
		}
		seen[m] = true
		for _, r := range m.Requires {
			wanted, _ := r.Expression()
			for c := range wanted.Wanted() {
				o := by[c.Name]
				if o == nil && strings.HasPrefix(c.Name, "/") {
					if i := slices.IndexFunc(family, func(o *record.Manifest) bool { return o.Lookup(layout.MergeUsr(c.Name[1:])) != nil }); i >= 0 {
						o = family[i]
					}
				}
				if o != nil {
					visit(o)
				}
			}
		}
		ordered = append(ordered, m)
	}
	for _, m := range family {
		visit(m)
	}
	return ordered
}

// packaged returns a file of a tree as its package has it: with its contents where these do
// not stand in /usr.
func (w *Writer) packaged(m *record.Manifest, f *record.File) (configure.File, error) {
	c := configure.File{Path: f.Path, Mode: fs.FileMode(f.Mode & 0o777), UID: f.UID, GID: f.GID}
	switch f.Type {
	case record.TypeDirectory:
		c.Mode |= fs.ModeDir
	case record.TypeSymlink:
		c.Mode |= fs.ModeSymlink
		c.Target = f.PackageTarget
		if c.Target == "" {
			c.Target = f.Target
		}
	case record.TypeFile:
		if strings.HasPrefix(f.Path, "usr/") {
			break
		}
		var err error
		c.Bytes, err = w.object(m, f)
		return c, err
	}
	return c, nil
}

// object reads a file of a tree.
func (w *Writer) object(m *record.Manifest, f *record.File) (content []byte, err error) {
	if f.Size == 0 {
		return nil, nil
	}
	err = w.staging.Map(f.Object, func(b []byte) error {
		content = slices.Clone(b)
		if digest.Of(b) != f.Object {
			return errors.New("it is damaged: run hashpkg verify --repair")
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read %s of %s: %w", f.Path, m.Spec(), err)
	}
	return content, nil
}

// controlFile returns what dpkg has to know of a package to configure it: of its relations,
// those to other packages of the family, which are configured before it.
func controlFile(m *record.Manifest, family map[string]bool) []byte {
	var depends, provides []string
	for _, r := range m.Requires {
		for _, c := range r.Alternatives {
			if family[c.Name] && c.Name != m.Name {
				depends = append(depends, c.Name)
				break
			}
		}
	}
	for _, p := range m.Provides {
		if p.Name != m.Name {
			provides = append(provides, p.Name)
		}
	}
	var b strings.Builder
	for _, field := range []struct {
		name   string
		values []string
	}{
		{"Package", []string{m.Name}},
		{"Version", []string{m.Version}},
		{"Architecture", []string{m.Architecture}},
		{"Maintainer", []string{"nobody"}},
		{"Description", []string{m.Name}},
		{"Depends", depends},
		{"Provides", provides},
	} {
		if len(field.values) > 0 {
			fmt.Fprintf(&b, "%s: %s\n", field.name, strings.Join(field.values, ", "))
		}
	}
	return []byte(b.String())
}
