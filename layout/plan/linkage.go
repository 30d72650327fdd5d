package plan

import (
	"fmt"
	"slices"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/graph"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/pkginfo"
)

// Linkages keeps linkages by the identities of their trees, from which they follow.
type Linkages interface {
	// Find returns nil for one that is not known.
	Find(identity digest.Digest) *record.Linkage
	// Add adds one, or puts it in place of one that says less.
	Add(*record.Linkage)
}

// linked is a linkage, and what of it could not be read. A file that cannot be read may answer every
// symbol; a tree whose manifest cannot has such a file, and may lead to every other tree.
type linked struct {
	*record.Linkage
	unread map[string]string // by the paths of files why; "" stands for the manifest
}

func (l *linked) isUnknown() bool { return l.unread[""] != "" }

// batch is of how many files the symbols are read at once.
const batch = 256

// linkTrees finds or reads the linkages of installed trees. That one cannot be read is no error.
func (p *planner) linkTrees(trees []*record.Tree) error {
	var reading []*record.Manifest
	files := 0
	for _, t := range trees {
		if p.linked[t.Path()] != nil {
			continue
		}
		if p.in.Linkages != nil {
			if l := p.in.Linkages.Find(t.Identity); l != nil {
				p.linked[t.Path()] = &linked{Linkage: l}
				continue
			}
		}
		c, err := p.load(t)
		if err != nil {
			p.linked[t.Path()] = &linked{&record.Linkage{Identity: t.Identity, Files: []record.LinkedFile{{}}}, map[string]string{"": err.Error()}}
			continue
		}
		reading, files = append(reading, c.m), files+len(linkedFiles(c.m))
		if files >= batch {
			if err := p.readLinkages(reading, false); err != nil {
				return err
			}
			reading, files = nil, 0
		}
	}
	return p.readLinkages(reading, false)
}

// readLinkages reads the linkages of installed trees from their files, with own what libraries can be
// bound to, too.
func (p *planner) readLinkages(trees []*record.Manifest, own bool) error {
	var requests []SymbolsRequest
	for _, m := range trees {
		for _, f := range linkedFiles(m) {
			requests = append(requests, SymbolsRequest{File: f, Installed: true, Own: own && !f.ELF.IsProgram()})
		}
	}
	symbols, err := p.readSymbols(requests)
	if err != nil {
		return err
	}
	for _, m := range trees {
		l := &linked{newLinkage(m), map[string]string{}}
		for i := range l.Files {
			setSymbols(&l.Files[i], requests[0], symbols[0])
			if why := symbols[0].Unread; why != "" {
				l.unread[l.Files[i].Path] = why
			}
			requests, symbols = requests[1:], symbols[1:]
		}
		p.linked[layout.TreePath(m.Name, m.Tree)] = l
		if p.in.Linkages != nil && len(l.unread) == 0 {
			p.in.Linkages.Add(l.Linkage)
		}
	}
	return nil
}

// linkCommand reads by which symbols the files of the command's packages answer, and to which
// relocations could be bound of libraries that are to be prelocated.
func (p *planner) linkCommand() error {
	if p.ours != nil {
		return nil
	}
	var requests []SymbolsRequest
	for _, c := range p.command {
		for _, f := range linkedFiles(c.m) {
			requests = append(requests, SymbolsRequest{File: f, Own: c.m.Binding.IsPrelocated() && !f.ELF.IsProgram()})
		}
	}
	symbols, err := p.readSymbols(requests)
	if err != nil {
		return err
	}
	p.ours = map[*candidate]*linked{}
	for _, c := range p.command {
		l := &linked{newLinkage(c.m), map[string]string{}}
		for i := range l.Files {
			if why := symbols[0].Unread; why != "" {
				return fmt.Errorf("%s: %s", c.m.Spec(), why)
			}
			setSymbols(&l.Files[i], requests[0], symbols[0])
			requests, symbols = requests[1:], symbols[1:]
		}
		p.ours[c] = l
	}
	return nil
}

// keepLinkages keeps what was found out of the command's packages, which are trees with all that is in their
// identities now.
func (p *planner) keepLinkages() {
	if p.in.Linkages == nil {
		return
	}
	for _, c := range p.command {
		if ours := p.ours[c]; ours != nil && p.in.Linkages.Find(c.m.Identity) == nil {
			l := newLinkage(c.m)
			l.Files = ours.Files
			p.in.Linkages.Add(l)
		}
	}
}

func (p *planner) readSymbols(requests []SymbolsRequest) ([]Symbols, error) {
	if len(requests) == 0 {
		return nil, nil
	}
	symbols, err := p.in.Symbols(requests)
	if err == nil && len(symbols) != len(requests) {
		err = fmt.Errorf("read symbols: there are %d answers to %d requests", len(symbols), len(requests))
	}
	return symbols, err
}

// linkedFiles returns the files of a package that may answer look-ups: all but those that hashpkg has made.
func linkedFiles(m *record.Manifest) (files []*record.File) {
	for i := range m.Files {
		if f := &m.Files[i]; f.ELF != nil && f.ELF.HasDynamic && !f.IsMade() {
			files = append(files, f)
		}
	}
	return files
}

// newLinkage returns the linkage of a manifest, without symbols.
func newLinkage(m *record.Manifest) *record.Linkage {
	l := &record.Linkage{Identity: m.Identity, Leads: graph.OfManifest(m, func(string) bool { return true })}
	for _, r := range slices.Concat(m.Requires, m.Recommends) {
		l.Wants = append(l.Wants, r.Alternatives)
	}
	for _, f := range linkedFiles(m) {
		name := f.ELF.Soname
		if name == "" {
			name = m.Name + " " + m.Architecture + " " + f.Path
		}
		l.Files = append(l.Files, record.LinkedFile{Path: f.Path, Name: name})
	}
	return l
}

func setSymbols(f *record.LinkedFile, asked SymbolsRequest, symbols Symbols) {
	f.Exports, f.HasOwn = encodeSymbols(symbols.Exports), asked.Own
	if asked.Own {
		f.Own = encodeSymbols(symbols.Own)
	}
}

func encodeSymbols(symbols []Symbol) record.SymbolHashes {
	var b []byte
	for _, s := range symbols {
		b = record.AppendSymbolHash(b, s.Name, s.Version)
	}
	return record.SymbolHashes(b)
}

func decodeSymbols(hashes record.SymbolHashes) []Symbol {
	symbols := make([]Symbol, 0, hashes.Len())
	for name, version := range hashes.All() {
		symbols = append(symbols, Symbol{name, version})
	}
	return symbols
}

// wants returns the alternatives of each relation of a package, of those that it recommends, too.
func (s *familySet) wants(r *relative) (all [][]pkginfo.Constraint) {
	if r.linkage != nil {
		return r.linkage.Wants
	}
	m := s.manifest(r)
	for _, relation := range slices.Concat(m.Requires, m.Recommends) {
		all = append(all, relation.Alternatives)
	}
	return all
}
