package plan

import (
	"fmt"
	"slices"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/layout/record"
)

// Editor makes edits on the packaged bytes of files. [Make] calls it before it
// computes the identities of trees, so that a tree's identity names the edits that
// were made and no other.
type Editor interface {
	// Edit makes several edits and returns their results in the order of the
	// requests. That a file cannot be edited is a result; an error is for bytes that
	// cannot be read, and ends Make.
	Edit(requests []EditRequest) ([]EditResult, error)
}

// EditRequest asks for edits of one file.
type EditRequest struct {
	File  *record.File // File.Source names the packaged bytes
	Edits []record.EditRecord
	// Taken, unless nil, asks for one more edit: that the file's relocations are bound to the
	// file itself, but for those of symbols of its own that one of these could answer. They are
	// sorted.
	Taken []Symbol
}

// EditResult is what came of a request.
type EditResult struct {
	Patch *record.Patch // nil when the edit was refused
	// Object is the digest of the edited bytes of a library; of a program it may be zero.
	Object digest.Digest
	// LeavesRelRO says that RELRO does not protect the dynamic section of the edited
	// file any more, for lack of room.
	LeavesRelRO bool
	// Self is the record of what EditRequest.Taken has asked for; nil where nothing can be bound.
	Self    *record.EditRecord
	Refused string // why the file cannot be edited so; "" when it can
}

// setEdits decides what is changed in the files of packages, with the names that
// trees have now, and has it made. A file that cannot be edited stays as it is.
func (p *planner) setEdits(packages ...*candidate) error {
	var requests []EditRequest
	var files []*record.File // of the requests
	for _, c := range packages {
		there := manifestAt(p.occupied[c], c.m.Tree)
		for i := range c.m.Files {
			f := &c.m.Files[i]
			if !needsLibraries(f) {
				continue
			}
			delete(p.edited, f)
			f.Edits, f.Needs = p.wantedEdits(c, f)
			f.Patch = nil
			if len(f.Edits) == 0 {
				continue
			}
			// The tree that stands there is this one, or this one gets another
			// name and is edited then.
			if same := withSameEdits(there, f); same != nil {
				f.Patch = same.Patch
				continue
			}
			requests = append(requests, EditRequest{File: f, Edits: f.Edits})
			files = append(files, f)
		}
	}
	results, err := p.makeEdits(requests)
	if err != nil {
		return err
	}
	for i, f := range files {
		p.edited[f] = results[i]
		f.Patch = results[i].Patch
		if results[i].Refused != "" {
			f.Edits = nil
			if f.ELF.IsProgram() {
				f.Needs = nil
			}
		}
	}
	return nil
}

// withSameEdits returns the file of a manifest that was made by the same edits of
// the same bytes as f would be; nil if there is none.
func withSameEdits(m *record.Manifest, f *record.File) *record.File {
	if m == nil {
		return nil
	}
	is := m.Lookup(f.Path)
	if is == nil || is.Source != f.Source || !slices.EqualFunc(withoutDerived(is.Edits), f.Edits, func(a, b record.EditRecord) bool {
		return a.Kind == b.Kind && slices.Equal(a.From, b.From) && slices.Equal(a.To, b.To)
	}) {
		return nil
	}
	return is
}

// makeEdits asks the editor for what it was not asked before.
func (p *planner) makeEdits(requests []EditRequest) ([]EditResult, error) {
	results := make([]EditResult, len(requests))
	if p.in.Edit == nil {
		return results, nil
	}
	keys := make([]digest.Digest, len(requests))
	var asked []EditRequest
	var askedKeys []digest.Digest
	known := map[digest.Digest]bool{}
	for i := range requests {
		key := requests[i].key()
		keys[i] = key
		if _, before := p.made[key]; !before && !known[key] {
			known[key] = true
			asked, askedKeys = append(asked, requests[i]), append(askedKeys, key)
		}
	}
	if len(asked) > 0 {
		made, err := p.in.Edit.Edit(asked)
		if err != nil {
			return nil, err
		}
		if len(made) != len(asked) {
			return nil, fmt.Errorf("edit files: the editor has %d results for %d requests", len(made), len(asked))
		}
		for i, key := range askedKeys {
			p.made[key] = made[i]
		}
	}
	for i, key := range keys {
		results[i] = p.made[key]
	}
	return results, nil
}

// key is the same for requests that have the same result.
func (r *EditRequest) key() digest.Digest {
	h := digest.New()
	hashStrings(h, r.File.Source.String())
	hashEdits(h, r.Edits)
	if r.Taken != nil {
		hashStrings(h, "taken", fmt.Sprint(r.Taken))
	}
	return digest.Sum(h)
}

// reportEdits adds to the plan what came of the edits of a package. Programs that
// cannot be edited would not start, for they would not find their libraries.
func (p *planner) reportEdits(c *candidate, plan *Plan) {
	for i := range c.m.Files {
		f := &c.m.Files[i]
		r, edited := p.edited[f]
		name := f.Path + " of " + c.m.Spec()
		switch {
		case !edited:
		case r.Refused != "" && f.ELF.IsProgram():
			p.addUneditable(c, f, Problem{
				Package: c.m.Spec(), File: f.Path,
				Message: fmt.Sprintf("%s cannot be edited to load its libraries from their trees: %s", name, r.Refused),
			})
		case r.Refused != "":
			plan.Warnings = append(plan.Warnings, fmt.Sprintf(
				"%s is left as it is: %s; programs find what it needs, but it may not load where no program has loaded that before", name, r.Refused))
		case r.LeavesRelRO:
			plan.Warnings = append(plan.Warnings, fmt.Sprintf(
				"%s: its dynamic section stays writable while it runs: what RELRO protects has no room for all of its libraries", name))
		}
	}
}
