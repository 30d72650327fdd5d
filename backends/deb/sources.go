package deb

import (
	"strings"
)

// Source is what a file of /etc/apt says of archives that have keys of their own.
type Source struct {
	Prefixes []string // of the names of their indexes in /var/lib/apt/lists
	// SignedBy is the paths of files of keys, or the fingerprints of keys; Key is
	// a key itself, armored.
	SignedBy []string
	Key      string
}

// ParseSources reads a file of sources.list(5), of one line each or, for a name that
// ends in ".sources", of paragraphs. It returns the sources that say with which keys
// they are signed; what is wrong in others does not matter.
func ParseSources(name, text string) []Source {
	if strings.HasSuffix(name, ".sources") {
		return parseSourceParagraphs(text)
	}
	var sources []Source
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		kind, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		options, rest, ok := strings.Cut(strings.TrimSpace(rest), "]")
		if kind != "deb" || !ok || !strings.HasPrefix(options, "[") {
			continue
		}
		var s Source
		for option := range strings.FieldsSeq(options[1:]) {
			if value, ok := strings.CutPrefix(option, "signed-by="); ok {
				s.SignedBy = splitSignedBy(value)
			}
		}
		where := strings.Fields(rest)
		if len(s.SignedBy) == 0 || len(where) < 2 {
			continue
		}
		s.Prefixes = []string{indexPrefix(where[0], where[1])}
		sources = append(sources, s)
	}
	return sources
}

func parseSourceParagraphs(text string) []Source {
	var sources []Source
	fields := map[string]string{}
	last := ""
	end := func() {
		var s Source
		for _, uri := range strings.Fields(fields["uris"]) {
			for _, suite := range strings.Fields(fields["suites"]) {
				s.Prefixes = append(s.Prefixes, indexPrefix(uri, suite))
			}
		}
		if by := strings.TrimSpace(fields["signed-by"]); strings.HasPrefix(by, "-----BEGIN") {
			s.Key = by
		} else {
			s.SignedBy = splitSignedBy(by)
		}
		if s.Key != "" || len(s.SignedBy) > 0 {
			sources = append(sources, s)
		}
		clear(fields)
	}
	lines := newFieldLines(strings.NewReader(text), maxAptFile)
	for lines.next() == nil {
		switch {
		case lines.kind == emptyLine:
			end()
		case lines.text[0] == '#':
		case lines.kind == continuedLine:
			value := string(lines.value)
			if value == "." { // an empty line of a key
				value = ""
			}
			fields[last] += "\n" + value
		case lines.kind == fieldLine:
			last = strings.ToLower(string(lines.name))
			fields[last] = string(lines.value)
		}
	}
	end()
	return sources
}

func splitSignedBy(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' || r == '\n' })
}

// indexPrefix returns what the names of an archive's files begin with in
// /var/lib/apt/lists.
func indexPrefix(uri, suite string) string {
	if _, rest, ok := strings.Cut(uri, "://"); ok {
		uri = rest
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
