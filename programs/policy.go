package programs

import (
	"strings"

	"github.com/hashpkg/hashpkg/elfedit"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/ldso"
	"github.com/hashpkg/hashpkg/pkginfo"
	"github.com/hashpkg/hashpkg/sysroot/confine"
)

// Policy is what is wanted of programs, and what is there for them. Nothing changes
// it while programs are decided on.
type Policy struct {
	Rewrite      Rewrite
	Prefix       string
	Architecture string                 // the root's own, as a multi-arch triplet
	Farm         map[string]bool        // what trees of the system offer, such as "lib64/libz.so.1"
	Trees        map[pkginfo.Key]string // path of its tree below the prefix, by package
	Pins         []Pin                  // in the order of SortPins
	Frozen       map[string]bool        // paths of programs with a freeze, be that lost or not; of no use with Restored
	Confinement  *confine.Rules         // read when there are pins; nil for a root that confines nothing
	Running      Running                // what processes run
	Symbols      Symbols                // is asked about programs with pins

	// Integrity is what else than the path fapolicyd compares with the database: edits
	// must not change it.
	Integrity confine.Integrity

	// Restored has programs edited, too, of which somebody asked for the packaged
	// bytes.
	Restored bool
	// Strict leaves a program that cannot follow its pins as it is: somebody waits
	// for the answer. Without it, the program goes on without them.
	Strict bool
	// FarmPlanned says that the farm is not there yet, so that nothing can be
	// found in it.
	FarmPlanned bool
}

// distrust returns why no program may have other bytes; "" when it may.
func (p *Policy) distrust() Reason {
	if p.Integrity == confine.IntegritySHA256 || p.Integrity == confine.IntegrityIMA {
		return Reason("is trusted by its digest: fapolicyd would refuse it when it is edited (" + confine.FapolicydConfig + ": integrity = " + string(p.Integrity) + ")")
	}
	return ""
}

// lookUpNeeds looks a program's needed libraries up in the farm. It returns those that
// the farm has not, and whether the farm has any of the others. The loader family,
// which is in no farm, counts for neither.
func (p *Policy) lookUpNeeds(info *elfedit.Info) (unresolved []string, farmHelps bool) {
	dir := layout.LibraryDir(p.Architecture, info)
	for _, name := range info.Needed {
		switch {
		case strings.Contains(name, "/"), info.Musl && ldso.IsMuslLibC(name):
		case p.Farm[dir+"/"+name]:
			farmHelps = true
		case !layout.IsGlibcLibrary(name):
			unresolved = append(unresolved, name)
		}
	}
	return unresolved, farmHelps
}

// searchPath returns the edit of a program's RUNPATH that lets it search the farm; nil
// when the policy wants none, or it was packaged with such a path.
func (p *Policy) searchPath(f *Facts, farmHelps bool) *record.EditRecord {
	if !p.Rewrite.wants(f.Path, f.Package.Name) || !farmHelps && p.Rewrite.Executables != RewriteFull {
		return nil
	}
	dir := layout.LibraryDir(p.Architecture, f.Info)
	farm := p.Prefix + "/" + layout.CurrentSystem + "/" + dir
	tree := p.Trees[f.Package.Key]
	if p.Rewrite.Executables != RewriteFull || tree == "" {
		if searches(f.Info, f.Path, farm) || searches(f.Info, f.Path, p.Prefix+"/"+layout.CurrentSystem+"/"+layout.FollowedLink+"/"+dir) {
			return nil
		}
		return SearchAlso(f.Info, farm)
	}
	return SearchAlso(f.Info, p.Prefix+"/"+tree+"/"+dir, p.Prefix+"/"+f.Package.Name+"/"+layout.DefaultLink+"/"+dir, farm)
}
