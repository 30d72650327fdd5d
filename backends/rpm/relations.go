package rpm

import (
	"strings"

	"github.com/hashpkg/hashpkg/pkginfo"
)

// Flags of relations (rpm: rpmsenseFlags_e).
const (
	senseLess          uint32 = 1 << 1
	senseGreater       uint32 = 1 << 2
	senseEqual         uint32 = 1 << 3
	senseTriggerIn     uint32 = 1 << 16
	senseTriggerUn     uint32 = 1 << 17
	senseTriggerPostun uint32 = 1 << 18
	senseMissingOK     uint32 = 1 << 19
	senseTriggerPrein  uint32 = 1 << 25
)

// maxRelation is the length of one relation, its alternatives included.
const maxRelation = 64 << 10

// features are what a package may need of rpm, and the version since which rpm has
// them (rpm: rpmlibProvides). Each is one that hashpkg has too, or one of scripts,
// which hashpkg never runs.
var features = map[string]string{
	"rpmlib(BuiltinLuaScripts)":        "4.2.2-1",
	"rpmlib(CaretInVersions)":          "4.15.0-1",
	"rpmlib(CompressedFileNames)":      "3.0.4-1",
	"rpmlib(ConcurrentAccess)":         "4.1-1",
	"rpmlib(DynamicBuildRequires)":     "4.15.0-1",
	"rpmlib(ExplicitPackageProvide)":   "4.0-1",
	"rpmlib(FileCaps)":                 "4.6.1-1",
	"rpmlib(FileDigests)":              "4.6.0-1",
	"rpmlib(HeaderLoadSortsTags)":      "4.0.1-1",
	"rpmlib(LargeFiles)":               "4.12.0-1",
	"rpmlib(PartialHardlinkSets)":      "4.0.4-1",
	"rpmlib(PayloadFilesHavePrefix)":   "4.0-1",
	"rpmlib(PayloadIsBzip2)":           "3.0.5-1",
	"rpmlib(PayloadIsLzma)":            "4.4.2-1",
	"rpmlib(PayloadIsXz)":              "5.2-1",
	"rpmlib(PayloadIsZstd)":            "5.4.18-1",
	"rpmlib(RichDependencies)":         "4.12.0-1",
	"rpmlib(ScriptletExpansion)":       "4.9.0-1",
	"rpmlib(ScriptletInterpreterArgs)": "4.0.3-1",
	"rpmlib(TildeInVersions)":          "4.10.0-1",
	"rpmlib(VersionedDependencies)":    "3.0.3-1",
}

// relationTags are the three values that relations of one sort are made of.
type relationTags struct{ name, flags, version tag }

// dependency is one relation as a header has it.
type dependency struct {
	name, version string
	flags         uint32
}

// dependencies returns the relations of one sort. Very old packages have names
// only.
func (h *header) dependencies(t relationTags) []dependency {
	names := h.strings(t.name, -1)
	flags := h.uint32s(t.flags, len(names))
	versions := h.strings(t.version, len(names))
	if h.err != nil {
		return nil
	}
	all := make([]dependency, len(names))
	for i, name := range names {
		all[i].name = name
		if flags != nil {
			all[i].flags = flags[i]
		}
		if versions != nil {
			all[i].version = versions[i]
		}
	}
	return all
}

// operator returns the comparison, or "" if every version will do.
func (d dependency) operator() string {
	if d.version == "" {
		return ""
	}
	operator := ""
	if d.flags&senseLess != 0 {
		operator += "<"
	}
	if d.flags&senseGreater != 0 {
		operator += ">"
	}
	if d.flags&senseEqual != 0 {
		operator += "="
	}
	return operator
}

// String returns the relation as rpm prints it: "libc.so.6 >= 2".
func (d dependency) String() string {
	if operator := d.operator(); operator != "" {
		return d.name + " " + operator + " " + d.version
	}
	return d.name
}

func (d dependency) constraint() pkginfo.Constraint {
	c := pkginfo.Constraint{Name: d.name, Operator: d.operator()}
	if c.Operator != "" {
		c.Version = d.version
	}
	return c
}

// relation returns the relation in the package model. Of a rich one, which is in
// parentheses, it has alternatives only if it is no more than that.
func (d dependency) relation() pkginfo.Relation {
	r := pkginfo.Relation{Text: d.String()}
	if !strings.HasPrefix(d.name, "(") {
		r.Alternatives = []pkginfo.Constraint{d.constraint()}
		return r
	}
	if e, ok := pkginfo.ParseRich(d.name); ok {
		r.Alternatives = e.Alternatives()
	}
	return r
}

// addRelations fills in what p needs, offers and excludes.
func addRelations(p *pkginfo.Package, h *header) error {
	for _, d := range h.dependencies(relationTags{tagRequireName, tagRequireFlags, tagRequireVersion}) {
		switch {
		case len(d.name)+len(d.version) > maxRelation:
			return errorIn(partHeader, "a relation of the package is %d bytes long", len(d.name))
		case strings.HasPrefix(d.name, "rpmlib("):
			if err := checkFeature(d); err != nil {
				return err
			}
		}
	}
	fillRelations(p, h)
	return h.err
}

// fillRelations adds what the header says of other packages, but for what it wants
// of rpm itself.
func fillRelations(p *pkginfo.Package, h *header) {
	for _, d := range h.dependencies(relationTags{tagRequireName, tagRequireFlags, tagRequireVersion}) {
		if d.flags&senseMissingOK == 0 && !strings.HasPrefix(d.name, "rpmlib(") {
			p.Requires = appendNew(p.Requires, d.relation())
		}
	}
	for _, d := range h.dependencies(weakRelations[tagRecommendName].tags) {
		p.Recommends = appendNew(p.Recommends, d.relation())
	}
	for _, d := range h.dependencies(relationTags{tagConflictName, tagConflictFlags, tagConflictVersion}) {
		p.Conflicts = appendNew(p.Conflicts, d.relation())
	}
	for _, d := range h.dependencies(relationTags{tagObsoleteName, tagObsoleteFlags, tagObsoleteVersion}) {
		p.Replaces = appendNew(p.Replaces, d.relation())
	}
	for _, d := range h.dependencies(relationTags{tagProvideName, tagProvideFlags, tagProvideVersion}) {
		c := pkginfo.Capability{Name: d.name}
		if d.operator() == "=" {
			c.Version = d.version
		}
		if c != (pkginfo.Capability{Name: p.Name, Version: p.Version}) {
			p.Provides = append(p.Provides, c)
		}
	}
}

// appendNew leaves out what was said before, which a package does that needs the
// same thing for several scripts. Those stand next to each other.
func appendNew(all []pkginfo.Relation, r pkginfo.Relation) []pkginfo.Relation {
	if n := len(all); n > 0 && all[n-1].Text == r.Text {
		return all
	}
	return append(all, r)
}

// checkFeature refuses packages that need an rpm that knows more than hashpkg.
func checkFeature(d dependency) error {
	version, ok := features[d.name]
	if ok && satisfies(version, d.constraint()) {
		return nil
	}
	return errorIn(partHeader, "the package needs %s, which hashpkg does not have: a newer hashpkg may read it", d)
}
