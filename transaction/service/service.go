// Package service writes systemd units for private packages, under names that the system has
// not got, and follows the versions in use: [Add], [Update], [Remove], [List].
//
// A unit starts the program in the package's tree. What the program finds in /usr is the view
// of its package, as an extension of systemd's (ExtensionDirectories=), which needs no launcher and so
// none of the rights that a service has given up. Its directories in /etc, /var and /run are
// made by systemd, by the service's own name, and are shown to it by the names that its
// package has for them: so two versions run beside each other and share nothing.
//
// What somebody has changed of a unit's file is never lost. Nothing here starts, stops or
// enables a service.
package service

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/internal/advice"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/layout/view"
	"github.com/hashpkg/hashpkg/sysroot"
	"github.com/hashpkg/hashpkg/transaction"
	"github.com/hashpkg/hashpkg/transaction/query"
)

// Dir is where units are written.
const Dir = "/etc/systemd/system"

// vendorDirs are where the system's packages have theirs: systemd.unit(5).
var vendorDirs = []string{Dir, "/run/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"}

// unitsDir is where packages have theirs, in their payload.
const unitsDir = "usr/lib/systemd/system"

// State is how a unit's file stands.
type State string

// The states.
const (
	Current  State = "current"  // it is what hashpkg has written
	Changed  State = "changed"  // somebody has changed it
	Missing  State = "missing"  // somebody has removed it
	Orphaned State = "orphaned" // its package is not installed any more
)

// Service is a service, and how it stands.
type Service struct {
	Name    string   `json:"name"`
	Package string   `json:"package"` // NAME, or NAME=VERSION where a version was asked for
	File    string   `json:"file"`    // in the root
	State   State    `json:"state"`
	Trees   []string `json:"trees"` // that it uses; relative to the prefix
}

// Options are those of a change.
type Options struct {
	Root *sysroot.Root
	Lock sysroot.LockOptions
}

// New is a service to be added.
type New struct {
	Package query.Spec
	Name    string // "" for the unit's
	Unit    string // of the package's; "" for the one that is called like it, or the only one
	Command string // in place of a unit
	User    string // who runs Command
}

// Added says what was done.
type Added struct {
	Service
	Copied []string `json:"copied"` // to /etc, for it alone
}

// ErrTaken is returned (wrapped) for a name that a unit has.
var ErrTaken = errors.New("there is such a unit")

// List returns the services, sorted by name.
func List(root *sysroot.Root) ([]Service, error) {
	r, err := root.Services()
	if err != nil {
		return nil, err
	}
	g, err := root.Active()
	if err != nil {
		return nil, err
	}
	list := []Service{}
	for i := range r.List {
		s, err := standing(root, g, &r.List[i])
		if err != nil {
			return nil, err
		}
		list = append(list, s)
	}
	return list, nil
}

// standing returns how a service stands.
func standing(root *sysroot.Root, g *record.Generation, s *record.Service) (Service, error) {
	out := Service{Name: s.Name, Package: specOf(s).String(), File: fileOf(s.Name), State: Current, Trees: s.Trees}
	is, err := sumOf(root, out.File)
	switch {
	case err != nil:
		return out, err
	case is == "":
		out.State = Missing
	case !slices.Contains(s.Is, is):
		out.State = Changed
	default:
		if _, err := privateTree(g, specOf(s)); err != nil {
			out.State = Orphaned
		}
	}
	return out, nil
}

func specOf(s *record.Service) query.Spec { return query.Spec{Name: s.Package, Version: s.Version} }

func fileOf(name string) string { return Dir + "/" + name + ".service" }

// maxUnit bounds a unit's file.
const maxUnit = 1 << 20

// sumOf returns the digest of a file of the root; "" for none.
func sumOf(root *sysroot.Root, file string) (string, error) {
	b, err := root.ReadFile(file, maxUnit)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return digest.Of(b).String(), err
}

// privateTree returns the tree that a spec names: of several the default one.
func privateTree(g *record.Generation, spec query.Spec) (*record.Tree, error) {
	t, err := query.Best(g, spec)
	if err == nil && t.Origin != record.OriginPrivate {
		err = fmt.Errorf("%s belongs to the system's package manager, as do its services", t.Spec())
	}
	return t, err
}

// change does something with the record while nobody else does.
func change(ctx context.Context, o Options, f func(w *transaction.Writer, r *record.Services) error) (err error) {
	w, err := transaction.Begin(ctx, o.Root, transaction.Options{Lock: o.Lock})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.End()) }()
	r, err := o.Root.Services()
	if err != nil {
		return err
	}
	return f(w, r)
}

// Add writes the unit of a service. Where the service has another name than its package's
// unit, the package's files for /etc are copied, for the service alone.
func Add(ctx context.Context, o Options, n New) (added *Added, err error) {
	err = change(ctx, o, func(w *transaction.Writer, r *record.Services) error {
		s := record.Service{Name: n.Name, Package: n.Package.Name, Version: n.Package.Version, Command: n.Command, User: n.User}
		m, err := newMaker(o.Root, w.Active(), n.Package)
		if err != nil {
			return err
		}
		if n.Command == "" {
			if s.Unit, err = m.findUnit(n.Unit); err != nil {
				return err
			}
		}
		s.Name = cmp.Or(s.Name, s.Unit, s.Package)
		if !record.IsServiceName(s.Name) {
			return fmt.Errorf("%q names no service", s.Name)
		}
		if slices.ContainsFunc(r.List, func(have record.Service) bool { return have.Name == s.Name }) {
			return advice.Errorf("%s: %w, of hashpkg service; hashpkg service --remove %s takes it away", s.Name, ErrTaken, s.Name)
		}
		for _, dir := range vendorDirs {
			if _, err := o.Root.Stat(dir + "/" + s.Name + ".service"); err == nil {
				return advice.Errorf("%s/%s.service: %w; give another name with --name", dir, s.Name, ErrTaken)
			}
		}
		u, err := m.unit(&s)
		if err != nil {
			return err
		}
		text := u.String()
		s.Trees, s.Is = m.uses(), []string{digest.Of([]byte(text)).String()}
		r.List = append(r.List, s)
		if err := o.Root.SetServices(r); err != nil {
			return err
		}
		added = &Added{Copied: []string{}}
		if added.Copied, err = m.copyConf(u); err != nil {
			return err
		}
		if err := o.Root.WriteFile(fileOf(s.Name), []byte(text), 0o644); err != nil {
			r.List = r.List[:len(r.List)-1] // it is the last one, and there is no unit
			return errors.Join(fmt.Errorf("write unit: %w", err), o.Root.SetServices(r))
		}
		added.Service, err = standing(o.Root, w.Active(), &s)
		return err
	})
	return added, err
}

// Remove removes the unit of a service, unless somebody has changed it; then it is that
// one's own from now on. What the service has in /etc and /var stays.
func Remove(ctx context.Context, o Options, name string) (removed Service, err error) {
	err = change(ctx, o, func(w *transaction.Writer, r *record.Services) error {
		i := slices.IndexFunc(r.List, func(s record.Service) bool { return s.Name == name })
		if i < 0 {
			return advice.Errorf("%w: service %s; hashpkg service lists what there is", query.ErrNotInstalled, name)
		}
		var err error
		if removed, err = standing(o.Root, w.Active(), &r.List[i]); err != nil {
			return err
		}
		if removed.State == Current || removed.State == Orphaned {
			if err := o.Root.Remove(removed.File); err != nil {
				return fmt.Errorf("remove unit: %w", err)
			}
		}
		r.List = slices.Delete(r.List, i, i+1)
		return o.Root.SetServices(r)
	})
	return removed, err
}

// Updated is what Update has to say of a service.
type Updated struct {
	Service
	Written bool   `json:"written"` // it has another text now
	Reason  string `json:"reason,omitempty"`
}

// Update has services follow the versions of their packages that are in use, and returns
// those that have another text now, or should have and have not. What is in use is kept by gc
// until then.
func Update(ctx context.Context, o Options) (updated []Updated, err error) {
	if r, err := o.Root.Services(); err != nil || len(r.List) == 0 {
		return nil, err
	}
	err = change(ctx, o, func(w *transaction.Writer, r *record.Services) error {
		var faults []error
		for i := range r.List {
			u, err := update(o.Root, w.Active(), r, i)
			faults = append(faults, err)
			if u != nil {
				updated = append(updated, *u)
			}
		}
		return errors.Join(faults...)
	})
	return updated, err
}

func update(root *sysroot.Root, g *record.Generation, r *record.Services, i int) (*Updated, error) {
	s := &r.List[i]
	now, err := standing(root, g, s)
	if err != nil {
		return nil, err
	}
	if _, err := privateTree(g, specOf(s)); err != nil {
		return &Updated{Service: now, Reason: "its package is not installed any more"}, nil
	}
	m, err := newMaker(root, g, specOf(s))
	if err != nil {
		return nil, err
	}
	u, err := m.unit(s)
	if err != nil {
		return &Updated{Service: now, Reason: err.Error()}, nil
	}
	text := u.String()
	sum := digest.Of([]byte(text)).String()
	is, err := sumOf(root, now.File)
	if err != nil || is == sum && len(s.Is) == 1 && slices.Equal(s.Trees, m.uses()) {
		return nil, err
	}
	if now.State != Current {
		if sum == s.Is[0] {
			return nil, nil
		}
		return &Updated{Service: now, Reason: "somebody has " + string(now.State) + " its unit"}, nil
	}
	s.Is = slices.Compact([]string{sum, is})
	both := append(m.uses(), s.Trees...)
	slices.Sort(both)
	s.Trees = slices.Compact(both)
	if err := root.SetServices(r); err != nil {
		return nil, err
	}
	if err := root.WriteFile(now.File, []byte(text), 0o644); err != nil {
		return nil, fmt.Errorf("write unit: %w", err)
	}
	s.Is, s.Trees = []string{sum}, m.uses()
	if err := root.SetServices(r); err != nil {
		return nil, err
	}
	now, err = standing(root, g, s)
	return &Updated{Service: now, Written: is != sum}, err
}

// maker makes the unit of a package in a generation.
type maker struct {
	root      *sysroot.Root
	tree      *record.Tree
	family    []*record.Manifest // the package's, then those of the same source and version
	manifests []*record.Manifest // these, then those of its view
	view      *record.Manifest   // nil for none
}

func newMaker(root *sysroot.Root, g *record.Generation, spec query.Spec) (*maker, error) {
	t, err := privateTree(g, spec)
	if err != nil {
		return nil, err
	}
	m := &maker{root: root, tree: t}
	own, err := root.Store().Manifest(t.Name, t.Dir)
	if err != nil {
		return nil, err
	}
	m.family = []*record.Manifest{own}
	for i := range g.Trees {
		o := &g.Trees[i]
		if o == t || o.Origin != record.OriginPrivate || o.Version != t.Version {
			continue
		}
		sibling, err := root.Store().Manifest(o.Name, o.Dir)
		if err != nil {
			return nil, err
		}
		if sourceOf(sibling) == sourceOf(own) {
			m.family = append(m.family, sibling)
		}
	}
	m.manifests = slices.Clone(m.family)
	if t.View == "" {
		return m, nil
	}
	if m.view, err = root.Store().Manifest(layout.ViewName, t.View); err != nil {
		return nil, err
	}
	for _, p := range m.view.Merged {
		name, dir, _ := strings.Cut(p, "/")
		if slices.ContainsFunc(m.family, func(o *record.Manifest) bool { return layout.TreePath(o.Name, o.Tree) == p }) {
			continue
		}
		o, err := root.Store().Manifest(name, dir)
		if err != nil {
			return nil, err
		}
		m.manifests = append(m.manifests, o)
	}
	return m, nil
}

// sourceOf returns the name of the source that a package is built from.
func sourceOf(m *record.Manifest) string {
	name, _, _ := strings.Cut(cmp.Or(m.Source, m.Name), " ")
	return name
}

// uses returns the trees that the unit names.
func (m *maker) uses() []string {
	var trees []string
	for _, o := range m.manifests {
		trees = append(trees, layout.TreePath(o.Name, o.Tree))
	}
	if m.view != nil {
		trees = append(trees, layout.TreePath(layout.ViewName, m.tree.View))
	}
	slices.Sort(trees)
	return trees
}

// findUnit returns the name of the package's unit: the one that is asked for, or is called
// like the package, or the only one; without ".service".
func (m *maker) findUnit(asked string) (string, error) {
	var all []string
	for _, o := range m.family {
		for i := range o.Files {
			f := &o.Files[i]
			name, ok := strings.CutSuffix(path.Base(f.Path), ".service")
			if path.Dir(f.Path) == unitsDir && ok && f.Type == record.TypeFile && record.IsServiceName(name) {
				all = append(all, name)
			}
		}
	}
	asked = strings.TrimSuffix(asked, ".service")
	switch {
	case asked != "" && slices.Contains(all, asked):
		return asked, nil
	case asked != "":
		return "", fmt.Errorf("%s has no unit %s.service; it has: %s", m.tree.Spec(), asked, strings.Join(all, ", "))
	case slices.Contains(all, m.tree.Name):
		return m.tree.Name, nil
	case len(all) == 1:
		return all[0], nil
	case len(all) == 0:
		return "", advice.Errorf("%s has no unit of systemd; say with --exec what the service runs", m.tree.Spec())
	}
	return "", advice.Errorf("%s has several units: %s; choose with --unit", m.tree.Spec(), strings.Join(all, ", "))
}

// unit returns what the text of a service's unit is made of.
func (m *maker) unit(s *record.Service) (*unit, error) {
	prefix := m.root.Prefix()
	u := &unit{
		name: s.Name, of: cmp.Or(s.Unit, s.Package), spec: m.tree.Spec(), user: s.User, program: m.program,
	}
	if s.Unit != "" {
		text, err := m.read(unitsDir + "/" + s.Unit + ".service")
		if err != nil {
			return nil, err
		}
		u.text = string(text)
	} else {
		u.command = u.exec(s.Command)
	}
	if m.view != nil {
		u.view = prefix + "/" + layout.TreePath(layout.ViewName, m.tree.View)
		seen := map[string]bool{}
		for i := range m.view.Files {
			parts := strings.SplitN(m.view.Files[i].Path, "/", 4)
			if parts[0] != view.Over || len(parts) < 4 || seen[parts[1]+"/"+parts[2]] {
				continue
			}
			tree := parts[1] + "/" + parts[2]
			seen[tree] = true
			u.over = append(u.over, [2]string{u.view + "/" + view.Over + "/" + tree, prefix + "/" + tree + "/usr"})
		}
	}
	u.dirs = m.dirs()
	return u, nil
}

// dirs returns the directories in /etc and /var that the package and others of its source have, or
// that their scripts would make.
func (m *maker) dirs() (dirs []directory) {
	add := func(p string) {
		for _, o := range own {
			rest, ok := strings.CutPrefix(p, o.parent+"/")
			d := directory{o.parent, strings.SplitN(rest, "/", 2)[0]}
			if ok && isOwnName(o.parent, d.name) && !slices.Contains(dirs, d) {
				dirs = append(dirs, d)
			}
		}
	}
	for _, o := range m.family {
		for i := range o.Files {
			if f := &o.Files[i]; f.Type == record.TypeDirectory {
				add("/" + f.Path)
			}
		}
		for _, d := range o.WouldMake.Directories {
			add(d.Path)
		}
	}
	slices.SortFunc(dirs, func(a, b directory) int {
		return cmp.Or(strings.Compare(a.parent, b.parent), strings.Compare(a.name, b.name))
	})
	return dirs
}

// shared are directories of /etc and /var that many packages have files in.
var shared = map[string][]string{
	"/etc": {
		"alternatives", "apparmor.d", "bash_completion.d", "cron.d", "cron.daily", "cron.hourly", "cron.monthly", "cron.weekly", "dbus-1", "default", "init", "init.d",
		"insserv.conf.d", "ld.so.conf.d", "logcheck", "logrotate.d", "modprobe.d", "network", "pam.d", "polkit-1", "ppp", "profile.d", "rc.d", "resolvconf", "rsyslog.d",
		"security", "skel", "ssl", "sudoers.d", "sysconfig", "sysctl.d", "systemd", "tmpfiles.d", "udev", "ufw", "update-motd.d", "X11", "xdg",
	},
	"/var/lib":   {"apt", "dpkg", "misc", "rpm", "systemd", "ucf", "update-rc.d"},
	"/var/cache": {"apt", "debconf", "fontconfig", "ldconfig", "man"},
	"/var/log":   {"apt", "journal"},
	"/run":       {"dbus", "lock", "systemd", "udev", "user"},
}

func isOwnName(parent, name string) bool {
	return record.IsServiceName(name) && !slices.Contains(shared[parent], name)
}

// program returns the path in a tree of a program that the root has at a path of the packages.
func (m *maker) program(name string) string {
	p := layout.MergeUsr(strings.TrimPrefix(path.Clean(name), "/"))
	for _, o := range m.manifests {
		if f := o.Resolve(p); f != nil && f.Type == record.TypeFile {
			return m.root.Prefix() + "/" + layout.TreePath(o.Name, o.Tree) + "/" + f.Path
		}
	}
	return name
}

// read returns a file of the package's, or of those of its source.
func (m *maker) read(p string) ([]byte, error) {
	for _, o := range m.family {
		if f := o.Lookup(p); f != nil && f.Type == record.TypeFile {
			return m.root.Store().Dir().ReadFile(layout.ObjectPath(f.Object), maxUnit)
		}
	}
	return nil, fmt.Errorf("%s has no %s any more", m.tree.Spec(), p)
}

// copyConf copies the package's files in directories of /etc that are the service's own, as
// far as they are missing there.
func (m *maker) copyConf(u *unit) (copied []string, err error) {
	copied = []string{}
	if u.name == u.of {
		return copied, nil // hashpkg conf adopt does so
	}
	for _, o := range m.family {
		for i := range o.Files {
			f := &o.Files[i]
			parts := strings.SplitN(f.Path, "/", 3)
			if parts[0] != "etc" || len(parts) < 3 || !slices.Contains(u.dirs, directory{"/etc", parts[1]}) {
				continue
			}
			to := "/etc/" + u.named(parts[1]) + "/" + parts[2]
			done, err := m.copy(u, f, to)
			if err != nil {
				return copied, fmt.Errorf("copy %s: %w", to, err)
			}
			if done {
				copied = append(copied, to)
			}
		}
	}
	return copied, nil
}

func (m *maker) copy(u *unit, f *record.File, to string) (bool, error) {
	place, err := m.root.Find(to)
	if err == nil {
		_, err = place.Dir.Lstat(place.Base)
		if closed := place.Close(); closed != nil {
			return false, closed
		}
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	switch f.Type {
	case record.TypeFile:
		b, err := m.root.Store().Dir().ReadFile(layout.ObjectPath(f.Object), maxConf)
		if err != nil {
			return false, err
		}
		return true, m.root.WriteFile(to, []byte(u.withOwnPID(string(b))), fs.FileMode(f.Mode)&0o777)
	case record.TypeSymlink:
		return m.link(cmp.Or(f.PackageTarget, f.Target), to)
	case record.TypeDirectory, record.TypeFIFO:
	}
	return false, nil
}

// maxConf bounds a configuration file.
const maxConf = 64 << 20

func (m *maker) link(target, to string) (bool, error) {
	// The directory is made with the file that is taken away again.
	if err := m.root.WriteFile(to, nil, 0o600); err != nil {
		return false, err
	}
	if err := m.root.Remove(to); err != nil {
		return false, err
	}
	place, err := m.root.Find(to)
	if err != nil {
		return false, err
	}
	return true, errors.Join(place.Dir.Symlink(target, place.Base), place.Close())
}
