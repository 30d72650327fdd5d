package rpm

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/hashpkg/hashpkg/pkginfo"
)

const (
	maxName    = 200 // names of directories are made of these
	maxVersion = 200

	// What rpmbuild allows besides letters and digits (rpm: ALLOWED_CHARS_NAME and
	// so on), without the characters of macros that were not expanded.
	nameChars    = "-_.+"
	versionChars = "._+~^"
)

// packageOf returns what a header says of its package.
func packageOf(h *header, files *fileList) (*pkginfo.Package, error) {
	p := &pkginfo.Package{
		Format:       Name,
		Name:         h.string(tagName),
		Architecture: h.string(tagArch),
		Summary:      h.string(tagSummary),
		Source:       sourceName(h),
	}
	version, release := h.string(tagVersion), h.string(tagRelease)
	if h.err != nil {
		return nil, h.err
	}
	if err := checkNames(p.Name, version, release, p.Architecture); err != nil {
		return nil, err
	}
	p.Version = version + "-" + release
	if epoch, ok := h.number(tagEpoch); ok {
		p.Version = strconv.FormatUint(epoch, 10) + ":" + p.Version
	}
	p.Summary, _, _ = strings.Cut(p.Summary, "\n")

	if err := addRelations(p, h); err != nil {
		return nil, err
	}
	addScripts(p, h)
	addFields(p, h)
	for _, f := range files.files {
		if !f.ghost && f.kind != pkginfo.Directory && f.entry != nil && hasFlag(f.entry, "config") {
			p.Conffiles = append(p.Conffiles, f.entry.Path)
		}
	}
	return p, h.err
}

func hasFlag(e *pkginfo.Entry, flag string) bool {
	for _, f := range e.Flags {
		if f == flag {
			return true
		}
	}
	return false
}

// sourceName returns the name of the source package, which the header has as that
// of a file, "bison-3.0.4-1.el7.src.rpm".
func sourceName(h *header) string { return sourceOfFile(h.string(tagSourceRPM)) }

func sourceOfFile(name string) string {
	for _, suffix := range []string{".rpm", ".src", ".nosrc"} {
		name = strings.TrimSuffix(name, suffix)
	}
	for range 2 { // release and version
		if i := strings.LastIndexByte(name, '-'); i > 0 {
			name = name[:i]
		}
	}
	return name
}

// fieldNames are the header's values that a package has as fields, by the names
// that rpm's queries have for them.
var fieldNames = map[tag]string{
	tagName: "Name", tagVersion: "Version", tagRelease: "Release", tagEpoch: "Epoch",
	tagSummary: "Summary", tagDescription: "Description", tagBuildTime: "Buildtime",
	tagBuildHost: "Buildhost", tagSize: "Size", tagLongSize: "Longsize",
	tagDistribution: "Distribution", tagVendor: "Vendor", tagLicense: "License",
	tagPackager: "Packager", tagGroup: "Group", tagURL: "Url", tagOS: "Os", tagArch: "Arch",
	tagSourceRPM: "Sourcerpm", tagSourceNEVR: "Sourcenevr", tagRPMVersion: "Rpmversion",
	tagOptFlags: "Optflags", tagPayloadFormat: "Payloadformat",
	tagPayloadCompressor: "Payloadcompressor", tagPayloadFlags: "Payloadflags",
	tagPlatform: "Platform", tagDistTag: "Disttag", tagBugURL: "Bugurl", tagVCS: "Vcs",
	tagModularityLabel: "Modularitylabel", tagRPMFormat: "Rpmformat",
}

// weakRelations are those that a package can do without.
var weakRelations = map[tag]struct {
	name string
	tags relationTags
}{
	tagRecommendName:  {"Recommends", relationTags{tagRecommendName, tagRecommendFlags, tagRecommendVersion}},
	tagSuggestName:    {"Suggests", relationTags{tagSuggestName, tagSuggestFlags, tagSuggestVersion}},
	tagSupplementName: {"Supplements", relationTags{tagSupplementName, tagSupplementFlags, tagSupplementVersion}},
	tagEnhanceName:    {"Enhances", relationTags{tagEnhanceName, tagEnhanceFlags, tagEnhanceVersion}},
}

// addFields gives p the header's own values, in its order.
func addFields(p *pkginfo.Package, h *header) {
	for _, t := range h.order {
		if weak, ok := weakRelations[t]; ok {
			var texts []string
			for _, d := range h.dependencies(weak.tags) {
				texts = append(texts, d.String())
			}
			p.Fields = append(p.Fields, pkginfo.Field{Name: weak.name, Value: strings.Join(texts, ", ")})
			continue
		}
		name, ok := fieldNames[t]
		if !ok {
			continue
		}
		value := ""
		switch h.values[t].kind {
		case kindInt32, kindInt64:
			n, _ := h.number(t)
			value = strconv.FormatUint(n, 10)
		case kindString, kindStrings, kindI18nStrings:
			value = h.string(t)
		default:
			h.fail(t, "is of type %d, and should not be", h.values[t].kind)
		}
		p.Fields = append(p.Fields, pkginfo.Field{Name: name, Value: value})
	}
}

// scriptTags are the scripts of which a package has one, in the order in which rpm
// lists them.
var scriptTags = []struct {
	name       string
	body, prog tag
}{
	{"pretrans", tagPretrans, tagPretransProg},
	{"pre", tagPre, tagPreProg},
	{"post", tagPost, tagPostProg},
	{"preun", tagPreun, tagPreunProg},
	{"postun", tagPostun, tagPostunProg},
	{"posttrans", tagPosttrans, tagPosttransProg},
	{"preuntrans", tagPreuntrans, tagPreuntransProg},
	{"postuntrans", tagPostuntrans, tagPostuntransProg},
	{"verify", tagVerify, tagVerifyProg},
}

// triggerTags are the three kinds of triggers. The prefix comes before "triggerin"
// and so on.
var triggerTags = []struct {
	prefix                string
	scripts, progs, index tag
	conditions            relationTags
}{
	{"", tagTriggerScripts, tagTriggerProg, tagTriggerIndex, relationTags{tagTriggerName, tagTriggerFlags, tagTriggerVersion}},
	{"file", tagFileTriggerScripts, tagFileTriggerProg, tagFileTriggerIndex, relationTags{tagFileTriggerName, tagFileTriggerFlags, tagFileTriggerVersion}},
	{"transfile", tagTransFileTriggerScripts, tagTransFileTriggerProg, tagTransFileTriggerIndex, relationTags{tagTransFileTriggerName, tagTransFileTriggerFlags, tagTransFileTriggerVersion}},
}

const defaultInterpreter = "/bin/sh"

// firstArguments are the arguments of scripts at a first installation: how many versions
// of the package there will be (rpm: docs/manual/spec.md, Runtime scriptlets).
var firstArguments = map[string][]string{"pretrans": {"1"}, "pre": {"1"}, "post": {"1"}, "posttrans": {"1"}}

// addScripts gives p its scripts and those of its triggers. What a trigger waits
// for is a line of p.Triggers: "filetriggerin -- /usr/lib".
func addScripts(p *pkginfo.Package, h *header) {
	for _, s := range scriptTags {
		if !h.has(s.body) && !h.has(s.prog) {
			continue
		}
		interpreter := strings.Join(h.strings(s.prog, -1), " ")
		if interpreter == "" {
			interpreter = defaultInterpreter
		}
		p.Scripts = append(p.Scripts, pkginfo.Script{Name: s.name, Interpreter: interpreter, Body: h.string(s.body), Arguments: firstArguments[s.name]})
	}
	for _, t := range triggerTags {
		bodies := h.strings(t.scripts, -1)
		progs := h.strings(t.progs, -1)
		conditions := h.dependencies(t.conditions)
		indexes := h.uint32s(t.index, len(conditions))
		names := make([]string, len(bodies))
		for i, c := range conditions {
			if i >= len(indexes) || indexes[i] >= uint32(len(bodies)) {
				h.fail(t.index, "names a script that is not there")
				return
			}
			name := t.prefix + triggerName(c.flags)
			names[indexes[i]] = name
			p.Triggers = append(p.Triggers, name+" -- "+c.String())
		}
		for i, body := range bodies {
			s := pkginfo.Script{Name: names[i], Interpreter: defaultInterpreter, Body: body}
			if s.Name == "" {
				s.Name = t.prefix + "trigger"
			}
			if i < len(progs) && progs[i] != "" {
				s.Interpreter = progs[i]
			}
			p.Scripts = append(p.Scripts, s)
		}
	}
}

func triggerName(flags uint32) string {
	switch {
	case flags&senseTriggerPrein != 0:
		return "triggerprein"
	case flags&senseTriggerIn != 0:
		return "triggerin"
	case flags&senseTriggerUn != 0:
		return "triggerun"
	case flags&senseTriggerPostun != 0:
		return "triggerpostun"
	}
	return "trigger"
}

// checkNames refuses what rpm does not allow of what a package is called by.
func checkNames(name, version, release, architecture string) error {
	for _, word := range []struct {
		what, text, allowed string
		max                 int
	}{
		{"name", name, nameChars, maxName},
		{"version", version, versionChars, maxVersion},
		{"release", release, versionChars, maxVersion},
		{"architecture", architecture, "_", maxName},
	} {
		if err := checkWord(word.what, word.text, word.allowed, word.max); err != nil {
			return err
		}
	}
	return nil
}

// checkWord refuses names of packages and the like that rpm does not allow, and so
// all that could not be the name of a file.
func checkWord(what, s, allowed string, longest int) error {
	if s == "" {
		return errorIn(partHeader, "the %s of the package is missing", what)
	}
	if len(s) > longest {
		return errorIn(partHeader, "the %s of the package is %d bytes long", what, len(s))
	}
	for i, c := range []byte(s) {
		isAlnum := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !isAlnum && (i == 0 && c != '_' || !strings.ContainsRune(allowed, rune(c))) {
			return errorIn(partHeader, "the %s of the package is %q, which rpm does not allow", what, fmt.Sprintf("%.100s", s))
		}
	}
	return nil
}
