package transaction

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/hashpkg/hashpkg/backends"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/pkginfo"
	"github.com/hashpkg/hashpkg/programs"
	"github.com/hashpkg/hashpkg/sysroot"
	"github.com/hashpkg/hashpkg/sysroot/confine"
	"github.com/hashpkg/hashpkg/sysroot/system"
)

// editPrograms edits the programs of packages that have changed, and of those whose
// programs the new generation concerns. It returns what is to be remembered of the
// packages' programs, by package key.
func (s *syncer) editPrograms(ctx context.Context, generation *record.Generation) (map[pkginfo.Key]record.SystemPackage, error) {
	pins, lost := loadPins(s.Root, s.pins)
	s.result.Warnings = append(s.result.Warnings, lost...)
	policy := &programs.Policy{
		Running: programs.FindRunning(),
		Rewrite: s.Rewrite, Prefix: s.Root.Prefix(), Architecture: generation.Architecture,
		Farm: generation.SystemLibraries(), Trees: s.trees, Pins: pins, Confinement: confinement(s.Root, pins), Integrity: confine.ReadIntegrity(s.Root), Symbols: &rootSymbols{s.Root},
		Frozen:   setOf(frozenPrograms(s.pins)),
		Strict:   s.noPins != nil, // what does not fit any more may have been wanted so
		Restored: s.Again, FarmPlanned: s.DryRun && s.result.Changed,
	}
	concerned := s.concerned(policy.Farm)
	more, err := system.Scan(ctx, s.Root, concerned, nil, s.Rewrite.SizeLimit(), func(int) {})
	if err != nil {
		return nil, err
	}
	var list []*programs.Program
	var keys []pkginfo.Key
	for _, p := range s.changed {
		list = append(list, programsOf(s.scans[p.Key])...)
		keys = append(keys, p.Key)
	}
	for _, f := range more {
		list = append(list, programsOf(f)...)
		keys = append(keys, f.Key)
	}
	list = oncePerPath(list)
	records, err := programs.ReadRecords(s.Root, keys)
	if err != nil {
		return nil, err
	}
	records.FollowMoved(s.Root, list)
	s.Progress(Progress{Step: "editing"})
	decisions, err := programs.Plan(ctx, s.Root, records, list, policy)
	if err != nil {
		return nil, err
	}
	if s.DryRun {
		return s.report(programs.Expected(decisions), more), nil
	}
	if err := placeClosures(s.Root, decisions); err != nil { // the others do not need them
		for i, d := range decisions {
			if d.Closure != nil && !HasClosure(s.Root, d.Closure.Tree) {
				decisions[i] = &programs.Decision{Facts: d.Facts, Fault: err}
			}
		}
	}
	outcomes, err := programs.Apply(ctx, s.Root, records, decisions, false)
	s.writer.sayPrograms(s.result.Generation, outcomes)
	if err != nil {
		return nil, err
	}
	return s.report(outcomes, more), records.Prune(s.Root, outcomes)
}

func setOf(names []string) map[string]bool {
	set := make(map[string]bool, len(names))
	for _, n := range names {
		set[n] = true
	}
	return set
}

// programsOf returns the programs of a package that was looked at.
func programsOf(f *system.Found) []*programs.Program {
	pkg := programs.Package{Key: f.Key, Name: f.Name, Version: f.Version}
	list := make([]*programs.Program, len(f.Programs))
	for i, p := range f.Programs {
		list[i] = &programs.Program{Package: pkg, Path: p.Path, Digest: p.Digest}
	}
	return list
}

// confinement reads what keeps confined programs from the prefix. Only pins need it.
func confinement(root *sysroot.Root, pins []programs.Pin) *confine.Rules {
	if len(pins) == 0 {
		return nil
	}
	return confine.Read(root, root.Prefix())
}

// oncePerPath leaves out programs that another package before theirs has at the same
// path.
func oncePerPath(list []*programs.Program) []*programs.Program {
	seen := map[string]bool{}
	return slices.DeleteFunc(list, func(p *programs.Program) bool {
		twice := seen[p.Path]
		seen[p.Path] = true
		return twice
	})
}

// report puts what became of programs into the result, and returns what is to be
// remembered of them, by package key.
func (s *syncer) report(outcomes []programs.Outcome, concerned []*system.Found) map[pkginfo.Key]record.SystemPackage {
	known := make(map[pkginfo.Key]record.SystemPackage, len(s.packages))
	for _, p := range s.packages {
		if s.scans[p.Key] == nil {
			known[p.Key] = s.state.Packages[p.Key]
		}
	}
	for _, f := range concerned {
		known[f.Key] = record.SystemPackage{Large: len(f.Large) > 0}
	}
	for key, f := range s.scans {
		known[key] = record.SystemPackage{Large: len(f.Large) > 0}
	}
	s.faulty = map[pkginfo.Key]bool{}
	others := map[string]bool{}
	for _, o := range outcomes {
		key := o.Package.Key
		k := known[key]
		k.Unresolved = append(k.Unresolved, o.Unresolved...)
		k.Pinned = k.Pinned || o.Desired != nil && len(o.Desired.Pins) > 0
		k.Unsettled = k.Unsettled || o.LookAgain
		if o.Closure != nil && o.Desired != nil && !slices.Contains(k.Closures, o.Closure.Tree) {
			k.Closures = append(k.Closures, o.Closure.Tree)
		}
		known[key] = k
		if o.Elsewhere != "" && !others[o.Elsewhere] {
			others[o.Elsewhere] = true
			s.result.Warnings = append(s.result.Warnings, fmt.Sprintf(
				"%[1]s and maybe others search %[2]s, which follows no package manager any more; run hashpkg --prefix %[2]s restore --all, and then hashpkg sync --again",
				o.Path, o.Elsewhere))
		}
		if o.Unpinned != "" {
			if o.Frozen {
				s.result.Frozen = append(s.result.Frozen, fmt.Sprintf("%s goes on without its freeze: %s; run hashpkg freeze --refresh %[1]s or hashpkg thaw %[1]s", o.Path, o.Unpinned))
			} else {
				s.result.Warnings = append(s.result.Warnings, fmt.Sprintf("%s goes on without its pin: %s", o.Path, o.Unpinned))
			}
		}
		switch o.State {
		case programs.Failed:
			s.faulty[key] = true
			s.faults = append(s.faults, o.Err)
		case programs.Left:
			s.result.Left = append(s.result.Left, leftReport(o))
		case programs.Edited, programs.Restored:
			report := programReport(o)
			report.Late = o.Current == nil && len(report.Pins) == 0 && s.state.Packages[key].Unsettled && s.scans[key] == nil
			s.result.Programs = append(s.result.Programs, report)
		case programs.Unchanged:
		}
	}
	return known
}

// concerned returns the packages that have not changed and whose programs are to
// be looked at again all the same: after a change of settings all of them, after
// one of the libraries those that are pinned, those that need a library which has
// come, and always those of which a program is unsettled.
func (s *syncer) concerned(farm map[string]bool) []*backends.Installed {
	offered := map[string]bool{}
	for link := range farm {
		offered[link[strings.LastIndexByte(link, '/')+1:]] = true
	}
	all := s.state.Settings != s.settings ||
		s.result.Changed && slices.ContainsFunc(s.pins, func(p record.Pin) bool { return p.Program == record.EveryProgram })
	var out []*backends.Installed
	for _, p := range s.packages {
		known := s.state.Packages[p.Key]
		if s.scans[p.Key] == nil && (all || known.Unsettled || lostClosures(s.Root, &known) || s.result.Changed && known.Pinned ||
			slices.ContainsFunc(known.Unresolved, func(name string) bool { return offered[name] })) {
			out = append(out, p)
		}
	}
	return out
}
