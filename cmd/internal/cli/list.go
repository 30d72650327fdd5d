package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hashpkg/hashpkg/backends/trust"
	"github.com/hashpkg/hashpkg/internal/advice"
	"github.com/hashpkg/hashpkg/internal/similar"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/pkginfo"
	"github.com/hashpkg/hashpkg/repo"
	"github.com/hashpkg/hashpkg/sysroot"
	"github.com/hashpkg/hashpkg/transaction"
	"github.com/hashpkg/hashpkg/transaction/query"
	"github.com/hashpkg/hashpkg/transaction/relations"
)

type listOptions struct {
	all, private, system bool
	upgradable, offline  bool
	sort                 string
	columns              []string
}

func newListCommand(a *app) *cobra.Command {
	var o listOptions
	cmd := &cobra.Command{
		Use:   "list [NAME[=VERSION]|GLOB...]",
		Short: "List the packages of the active generation",
		Long: `List the packages of the active generation, all of them or those that are named. A
GLOB has *, ? and [...], in quotes, and may have a version: 'lib*', 'jq=1.6*'.

Without a flag these are the private packages: those that hashpkg has installed
beside the package manager. A name that none of them has is looked for among the
system's packages, which hashpkg follows. With --all the list has all of both, and also
what the store holds and the active generation does not have: what rollback, use and
pin can bring back, until hashpkg gc removes it.

The state is default, for the version that current-system leads to, or installed; with
automatic for what nobody has asked for, on hold, and pinned. What the active generation
does not have is in generation N, the newest one that has it, or stored.

On a terminal there is a header, and sizes are rounded. Elsewhere the columns are, for
scripts: name, version, architecture, format, release or -, state, tree. The
state there is default, on hold, both or empty, or says what is not active or has a newer
version. --columns chooses others, with a header: name, version, architecture, format, origin, release,
size (in bytes), state, since, tree. With -q there is no header.

Exit status 1: a name or GLOB fits nothing.`,
		Example: `  # The private packages
  hashpkg list
  # Some of them, the largest first
  hashpkg list jq 'lib*' --sort size
  # Every version that can be brought back or pinned
  hashpkg list --all libssl3
  # Those of which there is a newer version
  hashpkg list --upgradable
  # The packages of the system, in columns of one's own
  hashpkg list --system --columns name,version,size
  # Those of an image, for a program
  hashpkg list --root ./image --json`,
		RunE: func(c *cobra.Command, patterns []string) error { return runList(c.Context(), a, o, patterns) },
	}
	f := cmd.Flags()
	f.BoolVar(&o.all, "all", false, "list also what the store holds and the active generation does not have")
	f.BoolVar(&o.private, "private", false, "list the packages that hashpkg has installed beside the package manager")
	f.BoolVar(&o.system, "system", false, "list those of the package manager, which hashpkg follows")
	f.BoolVar(&o.upgradable, "upgradable", false, "list those of which their release has a newer version")
	f.BoolVar(&o.offline, "offline", false, "with --upgradable, fetch nothing: use what was fetched before")
	f.StringVar(&o.sort, "sort", "name", "order by `KEY`: name, or size, the largest first")
	f.StringSliceVar(&o.columns, "columns", nil, "print these `COLUMNS`, with commas between them")
	cmd.ValidArgsFunction = a.complete(anyOf(installedNames(isAny), storedNames), noFiles)
	a.completeFlag(cmd, "sort", oneOf("name", "size"), noFiles)
	a.completeFlag(cmd, "columns", listOf(columnNames()...), noFiles)
	return cmd
}

// packageOutput is one package in the output of list and show.
type packageOutput struct {
	Name         string         `json:"name"`
	Version      string         `json:"version"`
	Architecture string         `json:"architecture"`
	Format       pkginfo.Format `json:"format"`
	Origin       record.Origin  `json:"origin"`
	Tree         string         `json:"tree"` // absolute in the root
	Default      bool           `json:"default"`
	Since        int            `json:"installed_at_generation"`
	Release      string         `json:"release"` // "" for what was not installed by name
	Asked        bool           `json:"asked"`   // by name, and not only needed
	OnHold       bool           `json:"on_hold"`
	By           record.Picker  `json:"by,omitzero"` // who picked its version for a closure manifest
}

func newPackageOutput(root *sysroot.Root, t *record.Tree) packageOutput {
	return packageOutput{
		Name: t.Name, Version: t.Version, Architecture: t.Architecture, Format: t.Format, Origin: t.Origin,
		Tree: root.Prefix() + "/" + t.Path(), Default: t.Default, Since: t.Since,
		Release: t.Release, Asked: t.Asked, OnHold: t.OnHold, By: t.By,
	}
}

// listed is one package of a list.
type listed struct {
	*record.Tree
	active     bool
	generation int    // of one that is not active, the newest that has it; 0 for none
	pinned     bool   // a program of the system is pinned or frozen to it
	available  string // the newer version that its release has
	size       int64  // unknownSize where its manifest cannot be read
}

const unknownSize = -1

func (o *listOptions) check() error {
	if o.sort != "name" && o.sort != "size" {
		return usageError{fmt.Errorf("--sort %s: expected name or size", o.sort)}
	}
	for _, c := range o.columns {
		if columnOf(c) == nil {
			return usageError{fmt.Errorf("--columns: there is no column %q; the columns are %s", c, strings.Join(columnNames(), ", "))}
		}
	}
	switch {
	case o.upgradable && (o.all || o.system):
		return usageError{errors.New("--upgradable is of private packages: their package manager upgrades the system's")}
	case o.offline && !o.upgradable:
		return usageError{errors.New("--offline goes with --upgradable")}
	}
	return nil
}

func runList(ctx context.Context, a *app, o listOptions, patterns []string) error {
	if err := o.check(); err != nil {
		return err
	}
	root, err := a.openRoot()
	if err != nil {
		return err
	}
	l := &lister{app: a, root: root, options: o}
	if err := l.read(ctx); err != nil {
		return err
	}
	rows, missing, err := l.choose(patterns)
	if err != nil {
		return err
	}
	if o.upgradable {
		if rows, err = l.upgradable(ctx, rows); err != nil {
			return err
		}
	}
	terminal := a.screen.IsTerminal()
	if a.json || o.sort == "size" || len(o.columns) == 0 && terminal || slices.Contains(o.columns, "size") {
		l.measure(ctx, rows)
	}
	if o.sort == "size" {
		slices.SortStableFunc(rows, func(x, y *listed) int { return cmp.Compare(y.size, x.size) })
	}
	if a.json {
		err = l.printJSON(rows, missing)
		if err == nil && len(missing) > 0 {
			err = errReported
		}
		return err
	}
	err = l.print(rows, terminal)
	if err == nil && len(rows) == 0 && len(missing) == 0 {
		l.noteNone()
	}
	if err == nil && len(missing) > 0 {
		err = l.missing(ctx, missing)
	}
	return err
}

// lister is one list that is made.
type lister struct {
	*app
	root      *sysroot.Root
	options   listOptions
	relations *relations.Relations // nil until somebody asks for what the store has
	all       []*listed
}

// read reads what may be listed.
func (l *lister) read(ctx context.Context) error {
	g, err := l.root.Active()
	if err != nil {
		return err
	}
	byPath := map[string]*listed{}
	for i := range g.Trees {
		if t := &g.Trees[i]; t.Origin != record.OriginView {
			one := &listed{Tree: t, active: true}
			l.all, byPath[t.Path()] = append(l.all, one), one
		}
	}
	if l.options.all {
		if l.relations, err = relations.Open(ctx, l.root, !l.isImage()); err != nil {
			return err
		}
		if err := l.addStored(g.ID, byPath); err != nil {
			return err
		}
	}
	pins, err := l.root.Pins()
	if err != nil { // which check tells of; what is installed is known without
		l.notice("warning: what is pinned is not known: %v\n", err)
	}
	for i := range pins {
		if one := byPath[pins[i].Pinned().Path()]; one != nil {
			one.pinned = true
		}
	}
	return nil
}

// addStored adds what the store has and the active generation does not.
func (l *lister) addStored(active int, byPath map[string]*listed) error {
	for h := range l.relations.Stored {
		if h.Origin == record.OriginView || h.Origin == record.OriginClosure || byPath[h.Path()] != nil {
			continue
		}
		one := &listed{Tree: &record.Tree{Name: h.Name, Version: h.Version, Architecture: h.Architecture, Format: h.Format, Origin: h.Origin, Dir: h.Dir}}
		l.all, byPath[h.Path()] = append(l.all, one), one
	}
	ids, err := l.root.Generations()
	if err != nil {
		return err
	}
	for _, id := range slices.Backward(ids) {
		if id == active {
			continue
		}
		g, err := l.root.Generation(id)
		if err != nil {
			l.notice("warning: %v; hashpkg verify --repair mends what it can\n", err)
			continue
		}
		for i := range g.Trees {
			if one := byPath[g.Trees[i].Path()]; one != nil && !one.active && one.generation == 0 {
				one.generation = id
				one.Since, one.Named = g.Trees[i].Since, g.Trees[i].Named
			}
		}
	}
	orders := l.root.Formats().Orders()
	slices.SortStableFunc(l.all, func(x, y *listed) int {
		if x.Name != y.Name {
			return strings.Compare(x.Name, y.Name)
		}
		return orders.Compare(x.Format, x.Version, y.Version)
	})
	return nil
}

// choose returns what is to be listed, and the patterns that fit nothing.
func (l *lister) choose(patterns []string) (rows []*listed, missing []string, err error) {
	o := l.options
	private := o.private || !o.system
	system := o.system || o.all && !o.private
	ofOrigin := func(t *listed) bool {
		return t.Origin == record.OriginSystem && system || t.Origin != record.OriginSystem && private
	}
	chosen := map[*listed]bool{}
	for _, p := range patterns {
		fits, err := matcher(p)
		if err != nil {
			return nil, nil, err
		}
		choose := func(of func(*listed) bool) (found bool) {
			for _, t := range l.all {
				if of(t) && fits(t.Tree) {
					chosen[t], found = true, true
				}
			}
			return found
		}
		isSystem := func(t *listed) bool { return t.Origin == record.OriginSystem }
		if !choose(ofOrigin) && (o.private || o.upgradable || !choose(isSystem)) {
			missing = append(missing, p)
		}
	}
	for _, t := range l.all {
		if chosen[t] || len(patterns) == 0 && ofOrigin(t) {
			rows = append(rows, t)
		}
	}
	return rows, missing, nil
}

// matcher returns what tells the trees that NAME[=VERSION] or a glob means.
func matcher(pattern string) (func(*record.Tree) bool, error) {
	spec, err := parseSpec(pattern)
	if err != nil {
		return nil, err
	}
	for _, p := range []string{spec.Name, spec.Version} {
		if _, err := path.Match(p, ""); err != nil {
			return nil, usageError{fmt.Errorf("%q: a [ in a GLOB wants its ]", pattern)}
		}
	}
	matches := func(glob, text string) bool {
		ok, _ := path.Match(glob, text) // which was checked
		return ok
	}
	return func(t *record.Tree) bool {
		return matches(spec.Name, t.Name) && (spec.Version == "" || matches(spec.Version, t.Version) ||
			layout.IsVersionDir(t.Dir, spec.Version) || matches(spec.Version, layout.VersionText(t.Dir)))
	}, nil
}

// upgradable returns those of which their release has a newer version.
func (l *lister) upgradable(ctx context.Context, rows []*listed) ([]*listed, error) {
	r, err := l.openRepo(l.root, sourceFlags{offline: l.options.offline}, trust.ByKeys)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	outdated, err := r.Outdated(ctx)
	if err != nil {
		return nil, err
	}
	for _, t := range rows {
		i := slices.IndexFunc(outdated, func(o repo.Outdated) bool {
			return o.Name == t.Name && o.Architecture == t.Architecture && o.Version == t.Version && o.Release == t.Release
		})
		if i >= 0 {
			t.available = outdated[i].Available
		}
	}
	return slices.DeleteFunc(rows, func(t *listed) bool { return t.available == "" }), nil
}

// measure finds out how large packages are. Where what is known of all trees cannot be read,
// as when the record of one is damaged, each is asked by itself.
func (l *lister) measure(ctx context.Context, rows []*listed) {
	r := l.relations
	if r == nil {
		r, _ = relations.Open(ctx, l.root, !l.isImage()) // else each by itself
	}
	for _, t := range rows {
		t.size = unknownSize
		if r != nil && r.Holding(t.Path()) != nil {
			t.size = r.Holding(t.Path()).Size
		} else if m, err := l.root.Store().Manifest(t.Name, t.Dir); err == nil {
			t.size = record.NewHolding(m, "").Size
		}
	}
}

// treeless takes those patterns out that the system's package manager has something installed
// of, of which hashpkg has no tree. The error says so; nil for none.
func (l *lister) treeless(ctx context.Context, patterns []string) (others []string, err error) {
	installed, ierr := transaction.SystemNames(ctx, l.root)
	if ierr != nil || l.options.private || l.options.upgradable { // nothing is known, or wanted, of the system
		return patterns, nil
	}
	var names []string
	for _, p := range patterns {
		spec, serr := parseSpec(p)
		found := slices.DeleteFunc(slices.Clone(installed), func(name string) bool {
			ok, merr := path.Match(spec.Name, name)
			return serr != nil || merr != nil || !ok || spec.Version != ""
		})
		if names = append(names, found...); len(found) == 0 {
			others = append(others, p)
		}
	}
	if len(names) == 0 {
		return others, nil
	}
	have := strings.Join(firstOf(names), ", ")
	if !slices.ContainsFunc(l.all, func(t *listed) bool { return t.active && t.Origin == record.OriginSystem }) {
		return others, advice.Errorf("%w: the system has %s, and hashpkg does not follow it; hashpkg sync begins to", errNoTree, have)
	}
	return others, advice.Errorf("%w: the system has %s, without a tree: trees are of packages that have libraries; hashpkg list --system shows them", errNoTree, have)
}

// missing is the error of names that fit nothing.
func (l *lister) missing(ctx context.Context, patterns []string) error {
	patterns, treeless := l.treeless(ctx, patterns)
	switch {
	case treeless == nil:
	case len(patterns) == 0:
		return treeless
	default:
		l.complain("hashpkg: %v\n", treeless)
	}
	hint := "hashpkg list shows what is"
	if len(patterns) == 1 {
		spec, err := parseSpec(patterns[0])
		if err != nil {
			return err
		}
		stored, err := l.root.Store().Trees(spec.Name)
		switch {
		case l.options.upgradable && l.systemHas(spec.Name):
			hint = fmt.Sprintf("%s is the system's, and its package manager upgrades it", spec.Name)
		case l.options.private && l.systemHas(spec.Name):
			hint = fmt.Sprintf("the system has it: hashpkg list --system %s", spec.Name)
		case err == nil && len(stored) > 0:
			hint = fmt.Sprintf("hashpkg list --all %s shows which versions are here", spec.Name)
		default:
			var names []string
			for _, t := range l.all {
				names = append(names, t.Name)
			}
			hint = cmp.Or(similar.DidYouMean(spec.Name, names), hint)
		}
	}
	return advice.Errorf("%w: %s; %s", query.ErrNotInstalled, strings.Join(patterns, ", "), hint)
}

// errNoTree says that something is installed of which hashpkg has no tree.
var errNoTree = errors.New("nothing to list")

func (l *lister) systemHas(name string) bool {
	return slices.ContainsFunc(l.all, func(t *listed) bool { return t.active && t.Name == name && t.Origin == record.OriginSystem })
}

// noteNone says why there is nothing to be listed.
func (l *lister) noteNone() {
	system := 0
	for _, t := range l.all {
		if t.Origin == record.OriginSystem {
			system++
		}
	}
	switch {
	case l.options.upgradable:
		l.notice("%s\n", nothingNewer(l.root, func(*record.Tree) bool { return false }))
	case len(l.all) == 0:
		l.notice("nothing is installed at %s\n", l.root.Store().Path("."))
	case l.options.system:
		l.notice("hashpkg follows no package manager here; hashpkg sync begins to\n")
	case system > 0:
		l.notice("no private package is installed; hashpkg list --system shows the %s of the system\n", count(system, "package"))
	default:
		l.notice("no private package is installed\n")
	}
}
