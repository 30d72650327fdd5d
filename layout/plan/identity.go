package plan

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"slices"
	"strings"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/pkginfo"
)

// nameTrees gives every package of the command its tree's directory, its edits,
// its interface and its identity.
//
// The directory is the plain version, unless another identity stands there: then
// the version with "@" and eight digits. Edits hold the paths of trees, and
// identities the edits, so names are settled first: each package starts with the
// plain one and moves on when what stands there has other edits, until none
// moves. A package moves at most once for each tree that stands there and once
// more, so this ends.
func (p *planner) nameTrees(plan *Plan) error {
	for _, c := range p.command {
		if err := layout.CheckName(c.m.Name); err != nil {
			return err
		}
		if err := p.readOccupied(c); err != nil {
			return err
		}
		name, err := treeName(c.m, p.own())
		if err != nil {
			return err
		}
		if !isTreeOf(c.m.Tree, name) || c.from != nil {
			c.m.Tree = name
		}
	}
	p.refuseRebuilds(plan)
	if len(plan.Problems) > 0 {
		return nil
	}

	labels := p.labels()
	tried := map[*candidate]map[string]bool{}
	for _, c := range p.command {
		p.passClashing(c, tried, labels[c])
	}
	for moved := true; moved; {
		moved = false
		for _, c := range p.command {
			c.m.Links = c.withLaunchers(interfaceLinks(c.m, p.own(), func(path string) string { return p.foreign(c, path) }))
		}
		if err := p.setEdits(p.command...); err != nil {
			return err
		}
		for _, c := range p.command {
			if moved { // a package before this one has another name now, which its edits may hold
				if err := p.setEdits(c); err != nil {
					return err
				}
			}
			p.identify(c, p.in.NoDev)
			there := manifestAt(p.occupied[c], c.m.Tree)
			if there != nil && there.Identity != c.m.Identity && p.staysBare(c, there) {
				continue
			}
			if there == nil {
				there = p.earlier(c)
			}
			if there == nil || there.Identity == c.m.Identity && (otherFile(c, there) == "" || p.isActive(there)) {
				continue
			}
			if tried[c] == nil {
				tried[c] = map[string]bool{}
			}
			tried[c][c.m.Tree] = true
			c.m.Tree = p.nextName(c, p.occupied[c], tried[c], labels[c])
			moved = true
		}
	}
	if err := errors.Join(p.addSelf(plan), p.addNotes()); err != nil {
		return err
	}
	for _, c := range p.command {
		there := manifestAt(p.occupied[c], c.m.Tree)
		if there == nil {
			p.reportEdits(c, plan)
		} else if err := checkFiles(c, there); err != nil {
			return err
		}
		c.addShelves(p.shelves) // before there are more files
		if err := p.addClosures(c); err != nil {
			return err
		}
		launchers, err := p.addLaunchers(c)
		if err != nil {
			return err
		}
		c.addDev()
		if there != nil { // it stays as it is, though it may have been made by an earlier hashpkg
			c.m.Links, c.m.Alternatives, c.m.WouldMake, c.m.Unread = there.Links, there.Alternatives, there.WouldMake, there.Unread
		}
		t := PlannedTree{
			Name: c.m.Name, Version: c.m.Version, Architecture: c.m.Architecture, Tree: c.m.Tree,
			Identity: c.m.Identity, Present: there != nil, Anew: c.m.Anew, Links: append([]record.Link{}, c.m.Links...), Edits: []PlannedEdit{},
			Launchers: launchers, Scripts: append([]string{}, c.m.Scripts...),
			Alternatives: append([]pkginfo.Alternative{}, c.m.Alternatives...), WouldMake: c.m.WouldMake, Unread: append([]string{}, c.m.Unread...),
			Manifest: c.m,
		}
		for _, f := range c.m.Files {
			if len(f.Edits) > 0 {
				t.Edits = append(t.Edits, PlannedEdit{File: f.Path, Edits: f.Edits})
			}
		}
		plan.Trees = append(plan.Trees, t)
	}
	p.keepLinkages()
	if len(p.in.Rebind) > 0 {
		p.judgeReboundEdits(plan)
	} else {
		p.judgeEdits(plan)
	}
	return nil
}

// isActive reports whether a tree is in the generation.
func (p *planner) isActive(m *record.Manifest) bool {
	return p.trees[layout.TreePath(m.Name, m.Tree)] != nil
}

// otherFile returns the path of a file that a package has otherwise than a tree of its identity; "" for none. The identity has the
// package's digest, and who lists the files of a package can list others: they are compared where one of the two is only
// said to be what it is.
func otherFile(c *candidate, there *record.Manifest) string {
	if there.Package.Signature.Verdict == pkginfo.Good && c.m.Package.Signature.Verdict == pkginfo.Good {
		return ""
	}
	return c.m.OtherFile(there)
}

// checkFiles returns an error if a tree of the generation was made of other files than the package has.
func checkFiles(c *candidate, there *record.Manifest) error {
	if other := otherFile(c, there); other != "" {
		return fmt.Errorf("the tree %s that is there has another /%s than this package (%s); remove %s and install it again",
			layout.TreePath(there.Name, there.Tree), other, cmp.Or(there.Package.Signature.Reason, string(there.Package.Signature.Verdict)), c.m.Spec())
	}
	return nil
}

// identify sets the identity of a package, and what it follows from last: what programs are
// built with. One that is bare has nothing of that.
func (p *planner) identify(c *candidate, bare bool) {
	c.bare = bare
	c.stubs = p.stubs(c)
	c.m.Editor = c.editor(layout.EditorVersion)
	c.m.Identity = c.identity()
}

// staysBare reports whether a package of the command is the tree of the generation that stands
// there, but for the dev that an earlier hashpkg did not make, and then leaves it so. Packages
// that are bound anew get theirs.
func (p *planner) staysBare(c *candidate, there *record.Manifest) bool {
	if c.was != nil || !c.getsDev() || !p.isActive(there) {
		return false
	}
	p.identify(c, true)
	if c.m.Identity == there.Identity {
		return true
	}
	p.identify(c, false)
	return false
}

// passClashing moves a package on from trees that clash. One that does not, and was made as c's would
// be, is tried first: those that are bound to c stay where they are then.
func (p *planner) passClashing(c *candidate, tried map[*candidate]map[string]bool, label string) {
	for _, m := range p.occupied[c] {
		if p.clashing[m] {
			if tried[c] == nil {
				tried[c] = map[string]bool{}
			}
			tried[c][m.Tree] = true
		}
	}
	if !tried[c][c.m.Tree] {
		return
	}
	for _, m := range p.occupied[c] {
		if !tried[c][m.Tree] && m.Origin == c.m.Origin && m.Package.Digest == c.m.Package.Digest && m.Binding == c.m.Binding {
			c.m.Tree = m.Tree
			return
		}
	}
	c.m.Tree = p.nextName(c, p.occupied[c], tried[c], label)
}

// readOccupied reads the manifests of the trees of a package that stand on disk.
func (p *planner) readOccupied(c *candidate) (err error) {
	if p.occupied[c] == nil {
		p.occupied[c], err = p.in.Occupied(c.m.Name)
	}
	return err
}

// earlier returns the package of the command before c that has c's directory; nil
// if none has.
func (p *planner) earlier(c *candidate) *record.Manifest {
	for _, o := range p.command {
		if o == c {
			break
		}
		if o.m.Name == c.m.Name && o.m.Tree == c.m.Tree {
			return o.m
		}
	}
	return nil
}

// treeName is the directory of a version's first identity in a root of the
// architecture own.
func treeName(m *record.Manifest, own string) (string, error) {
	name, err := layout.EscapeVersion(m.Version)
	if err != nil {
		return "", err
	}
	triplet, known := layout.Triplet(m.Architecture)
	if !known || triplet != "" && triplet != own {
		name += "@" + m.Architecture
	}
	return name, nil
}

// isTreeOf reports whether a name may be that of a tree of the version whose first tree is
// called plain: that, or as nextName makes them.
func isTreeOf(name, plain string) bool {
	label, isLater := strings.CutPrefix(name, plain+"@")
	return name == plain || isLater && len(label) >= 8 && strings.Trim(label, "0123456789abcdef") == ""
}

// refuseRebuilds makes a problem of a package file with other contents than the
// one that a tree of the same name, version and architecture was made of, which is
// installed or in the same command. Packages that are bound anew are installed all.
func (p *planner) refuseRebuilds(plan *Plan) {
	if p.in.Rebuild || len(p.in.Rebind) > 0 {
		return
	}
	for i, c := range p.command {
		var others []*record.Manifest
		for _, m := range p.occupied[c] {
			if t := p.trees[layout.TreePath(m.Name, m.Tree)]; t != nil && (p.in.Gone == nil || !p.in.Gone(t)) {
				others = append(others, m)
			}
		}
		for _, o := range p.command[:i] {
			if o.m.Name == c.m.Name {
				others = append(others, o.m)
			}
		}
		for _, o := range others {
			if o.Origin == c.m.Origin && o.Version == c.m.Version && o.Architecture == c.m.Architecture && o.Format == c.m.Format && o.Package.Digest != c.m.Package.Digest {
				plan.Problems = append(plan.Problems, Problem{Package: c.m.Spec(), Message: fmt.Sprintf(
					"%s is another build of %s than the one that is installed: its BLAKE3 is %s, and that of the installed one is %s; give --rebuild to install both",
					c.m.Package.File, c.m.Spec(), c.m.Package.Digest, o.Package.Digest)})
				break
			}
		}
	}
}

func manifestAt(trees []*record.Manifest, name string) *record.Manifest {
	for _, m := range trees {
		if m.Tree == name {
			return m
		}
	}
	return nil
}

// nextName returns the directory to try after those that were found to hold
// another identity: one of the same package file's other trees, then a new one.
func (p *planner) nextName(c *candidate, trees []*record.Manifest, tried map[string]bool, label string) string {
	plain, _ := treeName(c.m, p.own())
	for _, m := range trees {
		if !tried[m.Tree] && m.Origin == c.m.Origin && m.Package.Digest == c.m.Package.Digest && strings.HasPrefix(m.Tree, plain) {
			return m.Tree
		}
	}
	name := plain + "@" + label
	for tried[name] { // eight digits that collide
		label += "0"
		name = plain + "@" + label
	}
	return name
}

// identity is the BLAKE3 over what makes a tree what it is: the package file, the
// architecture, the origin, the edits with the editor's number, and the layout's number.
func (c *candidate) identity() digest.Digest {
	h := digest.New()
	hashUnedited(h, c.m)
	hashEditor(h, c.m.Editor)
	for i := range c.m.Files {
		f := &c.m.Files[i]
		if len(f.Edits) == 0 {
			continue
		}
		hashStrings(h, "file", f.Path)
		hashEdits(h, f.Edits) // which have not yet what addSelf and addNotes add
	}
	for _, l := range c.m.Links {
		if strings.HasPrefix(l.File(), "../") { // into another tree
			hashStrings(h, "link", l.Path, l.Target)
		}
	}
	for _, l := range c.launchers {
		hashStrings(h, "launcher", l.name, l.file)
	}
	for _, l := range c.linkers {
		hashStrings(h, "linker", l)
	}
	if c.getsDev() {
		hashStrings(h, "dev", devVersion)
	}
	for _, s := range c.stubs {
		hashStrings(h, "stub", s.path, s.library)
	}
	return digest.Sum(h)
}

// foreign returns the way from c's tree to a file of another package: one that
// c's relations name, or else one of the command; of a package that is bound anew, else
// one that its tree leads to now.
func (p *planner) foreign(c *candidate, path string) string {
	if to := p.related(c, path); to != "" {
		return to
	}
	for _, o := range p.command {
		if to := wayTo(c, o, path); to != "" {
			return to
		}
	}
	if c.was == nil {
		return ""
	}
	for _, l := range c.was.Links {
		if isInner(l.Path) {
			continue
		}
		rest, isForeign := strings.CutPrefix(l.File(), "../../")
		parts := strings.SplitN(rest, "/", 3)
		if !isForeign || len(parts) < 3 {
			continue
		}
		t := p.trees[layout.TreePath(parts[0], parts[1])]
		if t == nil {
			continue
		}
		o, err := p.load(t)
		if err != nil {
			p.fault = errors.Join(p.fault, err)
			continue
		}
		if to := wayTo(c, o, path); to != "" {
			return to
		}
	}
	return ""
}

// related returns the way from c's tree to a file of a package that its relations name;
// "" if none of them has it.
func (p *planner) related(c *candidate, path string) string {
	none := &resolution{members: []*candidate{c}}
	for _, r := range c.m.Requires {
		for _, want := range r.Alternatives {
			if o := p.satisfying(want, none); o != nil {
				if to := wayTo(c, o, path); to != "" {
					return to
				}
			}
		}
	}
	return ""
}

// wayTo returns the way from c's tree to a file of o's; "" if that is c itself, or o has
// no such file.
func wayTo(c, o *candidate, path string) string {
	if f := o.m.Resolve(path); o != c && f != nil && f.Type == record.TypeFile {
		return "../../" + layout.TreePath(o.m.Name, o.m.Tree) + "/" + f.Path
	}
	return ""
}

// hashUnedited adds what makes a tree what it is, but for its edits.
func hashUnedited(h hash.Hash, m *record.Manifest) {
	hashStrings(h, "hashpkg tree", fmt.Sprint(layout.FormatVersion), m.Package.Digest.String(), m.Architecture, string(m.Origin))
	if m.Binding != (record.Binding{}) {
		binding := []string{"binding", string(m.Binding.Bind), string(m.Binding.RunPath)}
		if m.Binding.Prelocate != "" {
			binding = append(binding, string(m.Binding.Prelocate))
		}
		hashStrings(h, binding...)
	}
	if m.Part != "" {
		hashStrings(h, "part", string(m.Part))
	}
}

// hashEditor adds which editor makes a tree's edits.
func hashEditor(h hash.Hash, version int) {
	if version != 0 {
		hashStrings(h, "editor", fmt.Sprint(version))
	}
}

// editor returns what the manifest says of its editor: 0 for the first, which had no number, and
// where it makes nothing.
func (c *candidate) editor(version int) int {
	if version == 1 || len(c.stubs) == 0 && !slices.ContainsFunc(c.m.Files, func(f record.File) bool { return len(f.Edits) > 0 }) {
		return 0
	}
	return version
}

func hashEdits(h hash.Hash, edits []record.EditRecord) {
	for _, e := range edits {
		hashStrings(h, e.Kind)
		hashStrings(h, e.From...)
		hashStrings(h, e.To...)
	}
}

// hashStrings adds strings to h, each and their number with its length, so that
// no two lists read alike.
func hashStrings(h hash.Hash, list ...string) {
	var n [8]byte
	binary.LittleEndian.PutUint64(n[:], uint64(len(list)))
	h.Write(n[:])
	for _, s := range list {
		binary.LittleEndian.PutUint64(n[:], uint64(len(s)))
		h.Write(n[:])
		h.Write([]byte(s))
	}
}

// labels returns eight digits for each package of the command, to be added to the
// name of its directory where the plain one is taken: of a hash over its own package file and those that
// its programs and libraries are bound to, which does not depend on any tree's
// name.
func (p *planner) labels() map[*candidate]string {
	labels := map[*candidate]string{}
	for _, c := range p.command {
		bound := map[string]bool{}
		for i := range c.m.Files {
			r := p.results[&c.m.Files[i]]
			if r == nil {
				continue
			}
			for _, o := range r.closure.Objects {
				if owner := p.owners[o]; owner == nil {
					bound["system "+o.Path] = true
				} else if owner.tree != nil {
					bound["tree "+owner.m.Identity.String()] = true
				} else {
					bound["package "+owner.m.Package.Digest.String()] = true
				}
			}
		}
		h := digest.New()
		hashUnedited(h, c.m)
		list := make([]string, 0, len(bound))
		for b := range bound {
			list = append(list, b)
		}
		slices.Sort(list)
		hashStrings(h, list...)
		labels[c] = digest.Sum(h).Short()
	}
	return labels
}
