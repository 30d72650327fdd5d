package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hashpkg/hashpkg/layout/plan"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/repo"
	"github.com/hashpkg/hashpkg/sysroot"
	"github.com/hashpkg/hashpkg/transaction"
)

// selectionOutput is what a dry run of names prints with --json.
type selectionOutput struct {
	Packages []selectedOutput `json:"packages"`
	Skipped  []repo.Skipped   `json:"skipped"`
	Download int64            `json:"download"` // bytes
	Disk     int64            `json:"disk"`     // about so many bytes, unpacked
}

type selectedOutput struct {
	Name         string   `json:"name"`
	Version      string   `json:"version"`
	Architecture string   `json:"architecture"`
	Source       string   `json:"source"`
	Asked        bool     `json:"asked"`
	For          []string `json:"for"`
	Size         int64    `json:"size"`
	Signer       string   `json:"signer,omitempty"`
	Active       bool     `json:"active"` // the active generation has the version
}

// printSelection says what would be installed.
func (a *app) printSelection(root *sysroot.Root, s *repo.Selection) error {
	g, err := root.Active()
	if err != nil {
		return err
	}
	out := selectionOutput{Packages: []selectedOutput{}, Skipped: s.Skipped}
	coming := *s
	coming.Packages = nil
	for _, p := range s.Packages {
		active := slices.ContainsFunc(g.Trees, func(t record.Tree) bool {
			return t.Origin == record.OriginPrivate && t.Name == p.Name && t.Version == p.Version && t.Architecture == p.Architecture
		})
		if !active {
			coming.Packages = append(coming.Packages, p)
		}
		out.Packages = append(out.Packages, selectedOutput{
			p.Name, p.Version, p.Architecture, p.Source.Name, p.Asked, append([]string{}, p.For...), p.Size, p.State.Signer, active,
		})
	}
	out.Download, out.Disk = coming.Size()
	if a.json {
		return a.printJSON(out)
	}
	if a.quiet {
		return nil
	}
	t := a.table(4)
	for _, p := range out.Packages {
		why := "asked for"
		if !p.Asked {
			why = a.forWhom(p.For)
		}
		size := humanSize(p.Size)
		if p.Active {
			size, why = "-", "is there already, "+why
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", p.Name, p.Version, p.Source, size, why)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, k := range out.Skipped {
		if err := a.printf("not %s, for %s: %s\n", k.Relation, k.By, k.Reason); err != nil {
			return err
		}
	}
	return a.printf("%s, %s to fetch, about %s on the disk\n", count(len(coming.Packages), "package"), humanSize(out.Download), humanSize(out.Disk))
}

// forWhom says for whom a package is needed, up to one that somebody asked for: the whole
// chain with -v.
func (a *app) forWhom(chain []string) string {
	if n := len(chain); n > 2 && !a.verbose {
		return "for " + chain[0] + ", ..., for " + chain[n-1]
	}
	return "for " + strings.Join(chain, ", for ")
}

// printInstall says what was, or would be, installed, a line for each package.
func (a *app) printInstall(result *transaction.InstallResult, dryRun bool) error {
	if a.quiet {
		return nil
	}
	for i := range result.Plan.Trees {
		t := &result.Plan.Trees[i]
		mark := ""
		if t.Default {
			mark = ", the default"
		}
		if err := a.printf("%s %s: %s%s\n", t.Name, t.Version, becomes(t, dryRun), mark); err != nil {
			return err
		}
		if !a.verbose {
			continue
		}
		if err := a.printTreeDetails(t); err != nil {
			return err
		}
	}
	switch {
	case dryRun:
		return nil
	case !result.Changed:
		return a.printf("nothing to do: generation %d has all of it\n", result.Generation)
	}
	return a.printActive(result.Generation, transaction.UndoLast)
}

// becomes says what an install does, or would do, with a package.
func becomes(t *plan.PlannedTree, dryRun bool) string {
	switch {
	case t.Active && t.Present:
		return "is there already"
	case dryRun:
		return "would be installed"
	case t.Active:
		return "installed again: its files were lost"
	case t.Present:
		return "installed from the store"
	}
	return "installed"
}

// noteInstall says what somebody may want to know of what was, or would be, installed.
func (a *app) noteInstall(result *transaction.InstallResult) {
	for _, c := range result.Plan.Conflicts {
		a.notice("note: %s is offered by %s and by %s; it leads to the first\n", c.Link, c.Winner, strings.Join(c.Losers, ", "))
	}
	a.noteScripts(result.Plan.Trees)
	a.warnOf(result.Plan)
}

func (a *app) warnOf(p *plan.Plan) {
	for _, w := range p.Warnings {
		a.notice("warning: %s\n", w)
	}
}

// noteScripts says which packages have scripts, which do not run: of one which these are, of
// several once for all, or with -v of each.
func (a *app) noteScripts(trees []plan.PlannedTree) {
	var names []string
	var notes []string
	for _, t := range trees {
		if len(t.Scripts) > 0 && !t.Present {
			names = append(names, t.Name)
			notes = append(notes, fmt.Sprintf("note: %s: these scripts of the package do not run: %s\n", t.Name, strings.Join(t.Scripts, ", ")))
		}
	}
	if len(notes) > 1 && !a.verbose {
		notes = []string{fmt.Sprintf("note: scripts of %s do not run: %s; hashpkg show NAME names those of one\n", count(len(names), "package"), strings.Join(firstOf(names), ", "))}
	}
	for _, n := range notes {
		a.notice("%s", n)
	}
}

// printTreeDetails says what is edited in a package, and what its scripts would do.
func (a *app) printTreeDetails(t *plan.PlannedTree) error {
	would := newScriptsOutput(t.Manifest)
	if err := a.printf("  signed %s\n%s", signedBy(t.Manifest.Package), would.text("  ")); err != nil {
		return err
	}
	for _, e := range t.Edits {
		for _, r := range e.Edits {
			switch r.Kind {
			case record.EditNote: // of what the others say
				continue
			case record.EditSelf:
				if err := a.printf("  %s: prelocated, %s\n", e.File, count(r.SelfBound(), "symbol")); err != nil {
					return err
				}
				continue
			}
			if err := a.printf("  %s: %s %s\n", e.File, r.Kind, fmt.Sprint(r.To)); err != nil {
				return err
			}
		}
	}
	return nil
}
