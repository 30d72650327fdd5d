package plan

import (
	"slices"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/elfedit"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/ldso"
)

// withoutDerived returns edits without the note and what is bound to the file itself, which
// follow from the others and from other files.
func withoutDerived(edits []record.EditRecord) []record.EditRecord {
	if !slices.ContainsFunc(edits, record.EditRecord.IsDerived) {
		return edits
	}
	return slices.DeleteFunc(slices.Clone(edits), record.EditRecord.IsDerived)
}

// addNotes has the programs of new trees say which files they are bound to, by digests. It
// is done when the trees have their names and their libraries are edited. A file that cannot
// have a note has none.
func (p *planner) addNotes() error {
	var requests []EditRequest
	var files []*record.File // of the requests
	for _, c := range p.command {
		there := manifestAt(p.occupied[c], c.m.Tree)
		for i := range c.m.Files {
			f := &c.m.Files[i]
			if same := withSameEdits(there, f); same != nil && len(same.Edits) > 0 {
				f.Edits, f.Patch = same.Edits, same.Patch // with the note that it has, or without
			}
			if there != nil || p.in.Edit == nil {
				continue
			}
			if f.ELF == nil || !f.ELF.IsProgram() || len(f.Edits) == 0 || f.Patch == nil {
				continue
			}
			note := record.EditRecord{Kind: record.EditNote}
			fits := true
			for _, o := range p.results[f].closure.Objects[1:] {
				if d := p.digestOf(o); !d.IsZero() {
					line := elfedit.Bound{Path: p.path(o), Digest: d.String()}.String()
					_, ok := elfedit.ParseBound(line) // a path may have a line feed
					note.To, fits = append(note.To, line), fits && ok
				}
			}
			if len(note.To) > 0 && fits {
				requests = append(requests, EditRequest{File: f, Edits: append(slices.Clone(f.Edits), note)})
				files = append(files, f)
			}
		}
	}
	results, err := p.makeEdits(requests)
	if err != nil {
		return err
	}
	for i, f := range files {
		if r := results[i]; r.Refused == "" && r.Patch != nil {
			f.Edits, f.Patch, p.edited[f] = requests[i].Edits, r.Patch, r
		}
	}
	return nil
}

// digestOf returns the digest of a library in its tree; zero for one of the root's, or one
// that is not known.
func (p *planner) digestOf(o *ldso.Object) digest.Digest {
	c, f := p.owners[o], p.files[o]
	if c == nil {
		return digest.Digest{}
	}
	m := c.m
	if c.tree == nil {
		if there := manifestAt(p.occupied[c], c.m.Tree); there != nil {
			m = there
		} else if is := m.Lookup(f.Path); is != nil && len(is.Edits) > 0 {
			return p.edited[is].Object
		}
	}
	if is := m.Lookup(f.Path); is != nil {
		return is.Object
	}
	return digest.Digest{}
}
