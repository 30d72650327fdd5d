package deb

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"path"
	"slices"
	"strings"
	"unicode"

	"github.com/hashpkg/hashpkg/backends"
)

// aptSource is one repository of a file in /etc/apt (sources.list(5)).
type aptSource struct {
	backends.Source
	uri      string // as it is written
	disabled bool
	unusable string // why nothing can be fetched from it; "" if it can
}

// sourcesFile is a file of sources that is being read.
type sourcesFile struct {
	name string
	// architectures are those of the root, its own first; nil where there is no root to
	// which $(ARCH) and Architectures-Add could refer.
	architectures []string
	sources       []aptSource
	problems      []error
}

// readSources reads a file of sources.list(5), of one line each or, for a name that ends
// in ".sources", of paragraphs.
func readSources(name, text string, architectures []string) *sourcesFile {
	f := &sourcesFile{name: name, architectures: architectures}
	if strings.HasSuffix(name, ".sources") {
		f.readParagraphs(text)
	} else {
		f.readLines(text)
	}
	return f
}

func (f *sourcesFile) problem(line int, format string, args ...any) {
	f.problems = append(f.problems, fmt.Errorf("%s: line %d: %w", f.name, line, fmt.Errorf(format, args...)))
}

// lineOptions are the names that paragraphs have for what stands in brackets.
var lineOptions = map[string]string{
	"arch": "architectures", "arch+": "architectures-add", "arch-": "architectures-remove",
	"signed-by": "signed-by", "trusted": "trusted", "check-valid-until": "check-valid-until",
}

func (f *sourcesFile) readLines(text string) {
	number := 0
	for line := range strings.Lines(text) {
		number++
		parts := splitLine(line)
		if len(parts) == 0 || parts[0] == "deb-src" {
			continue
		}
		fields := map[string]string{"types": parts[0]}
		parts = parts[1:]
		if len(parts) > 0 && strings.HasPrefix(parts[0], "[") {
			options, isClosed := strings.CutSuffix(parts[0][1:], "]")
			if !isClosed {
				f.problem(number, "the bracket of the options is not closed")
				continue
			}
			parts = parts[1:]
			for option := range strings.FieldsSeq(options) {
				name, value, _ := strings.Cut(option, "=")
				if name = lineOptions[name]; name != "" {
					fields[name] = strings.ReplaceAll(value, ",", " ")
				}
			}
		}
		if len(parts) < 2 {
			f.problem(number, "it has no address and suite")
			continue
		}
		fields["suites"], fields["components"] = parts[1], strings.Join(parts[2:], " ")
		f.add(number, parts[:1], fields)
	}
}

// splitLine returns the words of a line without its comment. What stands in brackets
// belongs to one word: options, and the names of discs.
func splitLine(line string) []string {
	var parts []string
	var word strings.Builder
	isOpen := false
	end := func() {
		if word.Len() > 0 {
			parts = append(parts, word.String())
			word.Reset()
		}
	}
	for i, c := range []byte(line) {
		switch {
		case isOpen:
			isOpen = c != ']'
			word.WriteByte(c)
			if word.String()[0] == '[' && !isOpen {
				end()
			}
		case c == '#':
			end()
			return parts
		case c == ' ' || c == '\t' || c == '\n' || c == '\r':
			end()
		default:
			isOpen = c == '[' && strings.IndexByte(line[i:], ']') > 0
			word.WriteByte(c)
		}
	}
	end()
	return parts
}

func (f *sourcesFile) readParagraphs(text string) {
	fields := map[string]string{}
	last, first := "", 0
	end := func() {
		if len(fields) > 0 {
			f.add(first, words(fields["uris"]), fields)
		}
		fields, last = map[string]string{}, ""
	}
	lines := newFieldLines(strings.NewReader(text), maxAptFile)
	for lines.next() == nil {
		switch {
		case lines.kind == emptyLine:
			end()
		case lines.text[0] == '#' || lines.kind == spaceLine:
		case lines.kind == continuedLine && last != "":
			value := string(lines.value)
			if value == "." { // an empty line of a key
				value = ""
			}
			fields[last] += "\n" + value
		case lines.kind == fieldLine:
			if len(fields) == 0 {
				first = lines.number
			}
			last = strings.ToLower(string(lines.name))
			if has(fields, last) {
				f.problem(lines.number, "the field %q is there twice", last)
			}
			fields[last] = string(lines.value)
		default:
			f.problem(lines.number, "%.80q is not a field", lines.text)
		}
	}
	end()
}

// words returns the words of a field; nil if there is none.
func words(s string) []string {
	if all := strings.Fields(s); len(all) > 0 {
		return all
	}
	return nil
}

// add takes the sources of a paragraph or line: one for each address and suite.
func (f *sourcesFile) add(line int, uris []string, fields map[string]string) {
	types := words(fields["types"])
	if !slices.Contains(types, "deb") {
		if !slices.Contains(types, "deb-src") {
			f.problem(line, "the type %.80q is not known", fields["types"])
		}
		return
	}
	suites, components := words(fields["suites"]), words(fields["components"])
	if len(uris) == 0 || len(suites) == 0 {
		f.problem(line, "it has no address, or no suite")
		return
	}
	s := aptSource{disabled: isNo(fields["enabled"])}
	var err error
	s.Format, s.File, s.Keys = Name, f.name, parseSignedBy(fields["signed-by"])
	s.Keys.Package = fields[keysPackageField]
	s.Name, s.Release = fields[nameField], fields[releaseField]
	for _, name := range []string{s.Name, s.Release, s.Keys.Package} {
		if name != word(name) {
			f.problem(line, "%.80q is not a name", name)
			return
		}
	}
	s.Unsigned, s.IgnoreExpiry = isYes(fields["trusted"]), isNo(fields["check-valid-until"])
	if isNo(fields["trusted"]) {
		s.unusable = "it says that its packages are not to be trusted"
	}
	if s.Architectures, err = f.architecturesOf(fields); err != nil {
		f.problem(line, "%w", err)
		return
	}
	for _, uri := range uris {
		for _, suite := range suites {
			one := s
			isFlat := strings.HasSuffix(suite, "/")
			if slices.Contains(strings.Split(suite, "/"), "..") {
				f.problem(line, "the suite %q leads out of the address", suite)
				continue
			}
			one.uri, err = f.substitute(uri)
			if one.Suite = suite; isFlat && err == nil { // a path may have a variable, a suite may not
				one.Suite, err = f.substitute(suite)
			}
			switch {
			case err != nil:
			case isFlat && len(components) > 0:
				err = fmt.Errorf("the suite %q is a path, and has no components", suite)
			case !isFlat && len(components) == 0:
				err = fmt.Errorf("the suite %q has no components", suite)
			}
			if err != nil {
				f.problem(line, "%w", err)
				continue
			}
			one.Components = slices.Clone(components)
			var why string
			if one.URLs, one.Lists, why = addresses(one.uri); why != "" {
				one.unusable = why
			}
			for _, uri := range words(fields[mirrorsField]) {
				more, lists, why := addresses(uri)
				if why != "" {
					one.unusable = why
				}
				one.URLs, one.Lists = append(one.URLs, more...), append(one.Lists, lists...)
			}
			f.sources = append(f.sources, one)
		}
	}
}

// architecturesOf returns the architectures that were named, nil for those of the root.
func (f *sourcesFile) architecturesOf(fields map[string]string) ([]string, error) {
	list, add, remove := words(fields["architectures"]), words(fields["architectures-add"]), words(fields["architectures-remove"])
	if len(add) == 0 && len(remove) == 0 {
		return list, nil
	}
	if len(list) == 0 {
		if f.architectures == nil {
			return nil, errors.New("architectures are added to those of a root, or taken from them, and there is none: name all of them")
		}
		list = slices.Clone(f.architectures)
	}
	for _, a := range add {
		if !slices.Contains(list, a) {
			list = append(list, a)
		}
	}
	return slices.DeleteFunc(list, func(a string) bool { return slices.Contains(remove, a) }), nil
}

func (f *sourcesFile) substitute(s string) (string, error) {
	const variable = "$(ARCH)"
	if !strings.Contains(s, variable) {
		return s, nil
	}
	if len(f.architectures) == 0 {
		return "", fmt.Errorf("%s in %q is the architecture of a root, and there is none: name it", variable, s)
	}
	return strings.ReplaceAll(s, variable, f.architectures[0]), nil
}

// parseSignedBy reads the field Signed-By: paths, fingerprints, or keys themselves.
func parseSignedBy(s string) backends.Keys {
	var keys backends.Keys
	if s = strings.TrimSpace(s); strings.HasPrefix(s, "-----BEGIN") {
		keys.Text = s
		return keys
	}
	for _, by := range strings.FieldsFunc(s, func(r rune) bool { return strings.ContainsRune(", \t\n", r) }) {
		if path.IsAbs(by) {
			keys.Files = append(keys.Files, path.Clean(by))
		} else {
			keys.Fingerprints = append(keys.Fingerprints, by)
		}
	}
	return keys
}

// isYes and isNo read a word as apt does (apt: StringToBool).
func isYes(s string) bool {
	return slices.Contains([]string{"yes", "true", "with", "on", "enable", "1"}, strings.ToLower(strings.TrimSpace(s)))
}

func isNo(s string) bool {
	return slices.Contains([]string{"no", "false", "without", "off", "disable", "0"}, strings.ToLower(strings.TrimSpace(s)))
}

// rootAddress is that of a machine's own root.
const rootAddress = "file:///"

// addresses returns from where the files of a source come, or why that is not known.
func addresses(uri string) (urls []string, lists []backends.MirrorList, why string) {
	scheme, rest, ok := strings.Cut(uri, ":")
	list, isMirror := strings.CutPrefix(scheme, "mirror+")
	switch {
	case !ok:
		return nil, nil, fmt.Sprintf("%.200q is not an address", backends.PlainURL(uri))
	case scheme == "cdrom":
		return nil, nil, "it is on a disc"
	case strings.ContainsFunc(uri, unicode.IsSpace): // which a line of apt's may have in brackets
		return nil, nil, fmt.Sprintf("%.200q has a space", backends.PlainURL(uri))
	case scheme == "mirror":
		list, isMirror = "http", true
	case !isMirror:
		list = scheme
	}
	var at string
	switch list {
	case "http", "https":
		u, err := url.Parse(list + ":" + rest)
		if err != nil || u.Host == "" {
			return nil, nil, fmt.Sprintf("%.200q is not an address", backends.PlainURL(uri))
		}
		at = list + ":" + rest
	case "file", "copy":
		file := rest
		if after, ok := strings.CutPrefix(rest, "//"); ok {
			_, file, _ = strings.Cut(after, "/")
			file = "/" + file
		}
		if !path.IsAbs(file) {
			return nil, nil, fmt.Sprintf("%.200q is not an address", backends.PlainURL(uri))
		}
		at = "file://" + path.Clean(file)
	default:
		return nil, nil, fmt.Sprintf("the method %.40q is not known", scheme)
	}
	if isMirror {
		return nil, []backends.MirrorList{{URL: at}}, ""
	}
	if at != rootAddress {
		at = strings.TrimRight(at, "/")
	}
	return []string{at}, nil, ""
}

// indexPrefix returns what the names of an archive's files begin with in
// /var/lib/apt/lists.
func indexPrefix(uri, suite string) string {
	if _, rest, ok := strings.Cut(uri, ":"); ok {
		uri = strings.TrimPrefix(rest, "//")
	}
	host, path, _ := strings.Cut(uri, "/")
	if i := strings.LastIndexByte(host, '@'); i >= 0 {
		host = host[i+1:]
	}
	at := strings.TrimSuffix(host+"/"+path, "/") + "/"
	if strings.HasSuffix(suite, "/") { // without components
		return aptFileName(at + suite)
	}
	return aptFileName(at + "dists/" + suite + "/")
}

// The fields that only hashpkg has, for what sources.list(5) cannot say. apt passes over
// them, and so takes the mirrors for none.
const (
	nameField        = "x-hashpkg-name"
	releaseField     = "x-hashpkg-release"
	mirrorsField     = "x-hashpkg-mirrors"      // further addresses of the same
	keysPackageField = "x-hashpkg-keys-package" // that brings the keys
)

// FormatSources implements [backends.Repositories].
func (Format) FormatSources(sources []backends.Source) []byte {
	var b strings.Builder
	field := func(name string, values ...string) {
		if value := strings.Join(values, " "); value != "" {
			fmt.Fprintf(&b, "%s: %s\n", name, value)
		}
	}
	for i := range sources {
		s := &sources[i]
		if i > 0 {
			b.WriteByte('\n')
		}
		at := slices.Clone(s.URLs)
		for _, l := range s.Lists {
			at = append(at, "mirror+"+l.URL)
		}
		field("Types", "deb")
		field("URIs", at[:min(1, len(at))]...)
		field("X-Hashpkg-Mirrors", at[min(1, len(at)):]...)
		field("Suites", s.Suite)
		field("Components", s.Components...)
		field("Architectures", s.Architectures...)
		field("Signed-By", append(slices.Clone(s.Keys.Files), s.Keys.Fingerprints...)...)
		if s.Keys.Text != "" {
			b.WriteString("Signed-By:\n")
			for line := range strings.Lines(s.Keys.Text) {
				if line = strings.TrimSpace(line); line == "" {
					line = "."
				}
				b.WriteString(" " + line + "\n")
			}
		}
		if s.Unsigned {
			field("Trusted", "yes")
		}
		if s.IgnoreExpiry {
			field("Check-Valid-Until", "no")
		}
		field("X-Hashpkg-Name", s.Name)
		field("X-Hashpkg-Release", s.Release)
		field("X-Hashpkg-Keys-Package", s.Keys.Package)
	}
	return []byte(b.String())
}

// nameSources gives each source a name and a release, and makes one of those that differ
// in their components only.
func nameSources(all []aptSource) []backends.Source {
	var sources []backends.Source
	at := map[string]int{} // in sources, by all but the components
	taken := map[string]bool{}
	for _, s := range all {
		key := fmt.Sprintf("%q", []any{s.Name, s.URLs, s.Lists, s.Suite, s.Architectures, s.Keys, s.Unsigned, s.IgnoreExpiry})
		if i, ok := at[key]; ok {
			for _, c := range s.Components {
				if !slices.Contains(sources[i].Components, c) {
					sources[i].Components = append(sources[i].Components, c)
				}
			}
			continue
		}
		release := s.Release
		if release == "" && s.Name == "" {
			release = releaseOf(suiteName(s.Suite)) // "" for a path that is no name
		}
		s.Name = nameOf(&s.Source, taken)
		s.Release = cmp.Or(release, s.Name)
		taken[s.Name] = true
		at[key] = len(sources)
		sources = append(sources, s.Source)
	}
	return sources
}

// nameOf returns a name that is not taken: the one that somebody gave the source, else
// its suite, with the host where there is another one of it.
func nameOf(s *backends.Source, taken map[string]bool) string {
	host := hostOf(s)
	name := cmp.Or(s.Name, suiteName(s.Suite), host)
	if taken[name] && s.Name == "" && name != host {
		name += "-" + host
	}
	for n, base := 2, name; taken[name]; n++ {
		name = fmt.Sprintf("%s-%d", base, n)
	}
	return name
}

// suiteName returns a word for a suite; "" for a path that is none. The suites for
// security of releases before bullseye are called "buster/updates".
func suiteName(suite string) string {
	if release, ok := strings.CutSuffix(suite, "/updates"); ok {
		suite = release + "-security"
	}
	return word(suite)
}

// releaseOf returns what a suite is a part of: backports are a release by themselves, as
// are updates that are proposed.
func releaseOf(suite string) string {
	if strings.HasSuffix(suite, "-proposed-updates") {
		return suite
	}
	for _, end := range []string{"-updates", "-security"} {
		if release, ok := strings.CutSuffix(suite, end); ok && release != "" {
			return release
		}
	}
	return suite
}

// hostOf returns a word for where a source is: its host, or the end of its path.
func hostOf(s *backends.Source) string {
	at := append(slices.Clone(s.URLs), "")[0]
	if len(s.Lists) > 0 {
		at = s.Lists[0].URL
	}
	host := ""
	if u, err := url.Parse(at); err == nil {
		host = word(u.Hostname())
	}
	return cmp.Or(host, word(path.Base(at)), "local")
}

// word makes a name of s that has letters, digits, and + - . _ between them.
func word(s string) string {
	s = strings.Map(func(c rune) rune {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune("+-._", c) {
			return c
		}
		return '-'
	}, s)
	return strings.Trim(s, "+-._")
}
