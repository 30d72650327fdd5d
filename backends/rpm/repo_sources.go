package rpm

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/hashpkg/hashpkg/backends"
)

const (
	sourcesExtension = ".repo"
	maxSourcesFile   = 1 << 20
	maxSources       = 1024 // of one file
	zyppDir          = "/etc/zypp/repos.d"
)

// sourceDirs have the files of sources; dnf and zypp read no others.
var sourceDirs = []string{"/etc/yum.repos.d", "/etc/distro.repos.d", zyppDir}

// configFiles may have a section [main] that says what goes for every source.
var configFiles = []string{"/etc/dnf/dnf.conf", "/etc/yum.conf"}

// SourcesExtension returns ".repo".
func (Format) SourcesExtension() string { return sourcesExtension }

// ParseSources reads a file of yum.repos.d. Its variables stay as they are, and List
// replaces them: $releasever is that of a root.
func (Format) ParseSources(name string, text []byte) ([]backends.Source, error) {
	all, problems := parseSources(name, text, nil, nil)
	if len(problems) > 0 {
		return nil, fmt.Errorf("read %s: %w", name, errors.Join(problems...))
	}
	sources := make([]backends.Source, len(all))
	for i := range all {
		sources[i] = all[i].Source
	}
	return sources, nil
}

// RootSources returns the sources of /etc/yum.repos.d and /etc/zypp/repos.d, ordered
// by priority and cost, with their variables replaced.
func (Format) RootSources(ctx context.Context, root backends.Root) ([]backends.Source, []string, error) {
	var all []rankedSource
	var warnings []string
	warn := func(name string, err error) {
		warnings = append(warnings, fmt.Sprintf("sources of packages are left out: %s: %v", name, err))
	}
	var defaults map[string]string
	for _, name := range configFiles {
		b, err := root.ReadFile(name, maxSourcesFile)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			warn(name, err)
			continue
		}
		sections, problem := parseINI(string(b))
		if problem != nil {
			warn(name, problem)
		}
		if i := slices.IndexFunc(sections, func(s section) bool { return s.id == "main" }); i >= 0 {
			defaults = sections[i].values
			break
		}
	}
	v := &variables{ctx: ctx, root: root}
	for _, dir := range sourceDirs {
		entries, err := root.ReadDir(dir)
		if err != nil {
			if !errors.Is(err, fs.ErrNotExist) {
				warn(dir, err)
			}
			continue
		}
		for _, e := range entries {
			if !strings.HasSuffix(e.Name(), sourcesExtension) {
				continue
			}
			name := path.Join(dir, e.Name())
			b, err := root.ReadFile(name, maxSourcesFile)
			if err != nil {
				warn(name, err)
				continue
			}
			some, problems := parseSources(name, b, defaults, v)
			for _, problem := range problems {
				warn(name, problem)
			}
			for _, s := range some {
				s.File = name
				if slices.ContainsFunc(all, func(o rankedSource) bool { return o.Name == s.Name }) {
					warn(name, fmt.Errorf("another file has a source [%s], too", s.Name))
					continue
				}
				all = append(all, s)
			}
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	slices.SortStableFunc(all, func(a, b rankedSource) int {
		if a.priority != b.priority {
			return a.priority - b.priority
		}
		return a.cost - b.cost
	})
	var sources []backends.Source
	for _, s := range all {
		sources = append(sources, s.Source)
	}
	return sources, warnings, nil
}

// rankedSource is a source with what says which of two comes first.
type rankedSource struct {
	backends.Source
	priority, cost int
}

// parseSources reads a file of sources. v is nil for one of no root, whose variables
// stay. What is wrong with one source does not matter for another.
func parseSources(name string, text []byte, defaults map[string]string, v *variables) (all []rankedSource, problems []error) {
	sections, err := parseINI(string(text))
	if err != nil {
		problems = append(problems, err)
	}
	for _, s := range sections {
		if s.id == "main" {
			continue
		}
		source, isOn, err := s.source(strings.HasPrefix(name, zyppDir+"/"), defaults, v)
		if err != nil {
			problems = append(problems, fmt.Errorf("[%.80s]: %w", s.id, err))
		}
		if isOn {
			all = append(all, source)
		}
	}
	return all, problems
}

// section is a part of an INI file: "[id]", and lines with "key = value".
type section struct {
	id     string
	values map[string]string // with a newline before each further line of a value
}

// parseINI reads an INI file as dnf does: lines that begin with a space go on with
// the value before. Sections before the one that is wrong are returned with an error.
func parseINI(text string) ([]section, error) {
	var all []section
	key, number := "", 0
	for line := range strings.Lines(strings.TrimPrefix(text, "\ufeff")) {
		number++
		line = strings.TrimRight(line, " \t\r\n")
		switch {
		case strings.ContainsFunc(line, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }):
			return all, fmt.Errorf("line %d has control characters", number)
		case line == "" || line[0] == '#' || line[0] == ';':
		case line[0] == ' ' || line[0] == '\t':
			if key == "" {
				return all, fmt.Errorf("line %d goes on with no value", number)
			}
			all[len(all)-1].values[key] += "\n" + strings.TrimSpace(line)
		case line[0] == '[':
			id, ok := strings.CutSuffix(line[1:], "]")
			if !ok || len(all) == maxSources {
				return all, fmt.Errorf("line %d does not begin a section, or one too many: %.80q", number, line)
			}
			all, key = append(all, section{id, map[string]string{}}), ""
		default:
			name, value, ok := strings.Cut(line, "=")
			key = strings.TrimSpace(name)
			if !ok || key == "" || len(all) == 0 {
				return all, fmt.Errorf("line %d is not \"key = value\" in a section: %.80q", number, line)
			}
			all[len(all)-1].values[key] = strings.TrimSpace(value)
		}
	}
	return all, nil
}

// source returns the source that a section names. isOn is false for one that is
// switched off, or that cannot be used.
func (s *section) source(isZypp bool, defaults map[string]string, v *variables) (source rankedSource, isOn bool, err error) {
	option := func(key string) string {
		if value, ok := s.values[key]; ok {
			return value
		}
		return defaults[key]
	}
	isOn, err = boolean(s.values["enabled"], true)
	if err != nil || !isOn {
		return source, false, err
	}
	checksPackages, err := boolean(option("gpgcheck"), true)
	if err != nil {
		return source, false, err
	}
	checksItself, err := boolean(option("repo_gpgcheck"), false)
	if err != nil {
		return source, false, err
	}
	checksServer, err := boolean(option("sslverify"), true)
	if err != nil {
		return source, false, err
	}
	if !checksServer {
		return source, false, errors.New("it has sslverify = 0, so that anybody could pose as its server: hashpkg does not use it")
	}
	if kind := s.values["type"]; kind != "" && kind != "rpm-md" && kind != "rpm" && kind != "yum" && kind != "NONE" {
		return source, false, fmt.Errorf("its type is %.40q, and hashpkg reads rpm-md only", kind)
	}
	expand := func(text string) (string, error) {
		if v == nil || !strings.Contains(text, "$") {
			return text, nil
		}
		return v.expand(text)
	}
	id, err := expand(s.id)
	if err != nil {
		return source, false, err
	}
	if !isSourceName(id) {
		return source, false, fmt.Errorf("%.80q is not the name of a source", s.id)
	}
	source.Source = backends.Source{Format: Name, Name: id, Release: id, Unsigned: !checksItself, PackagesSigned: checksPackages}
	if err := s.addresses(&source.Source, isZypp, expand); err != nil {
		return source, false, err
	}
	source.priority, source.cost = rank(s.values["priority"], 99), rank(s.values["cost"], 1000)
	if release, _ := knownRelease(&source.Source); release != "" {
		source.Release = release
	}
	if release := s.values[keyRelease]; isSourceName(release) {
		source.Release = release
	}
	if name := s.values[keyKeyPackage]; isSourceName(name) {
		source.Keys.Package = name
	}
	if err := s.keys(&source.Source, expand); err != nil && (checksItself || checksPackages) {
		return source, false, err
	}
	return source, true, nil
}

// addresses fills in where the source is.
func (s *section) addresses(source *backends.Source, isZypp bool, expand func(string) (string, error)) error {
	for _, text := range list(s.values["baseurl"]) {
		if isZypp && s.values["path"] != "" {
			text = strings.TrimRight(text, "/") + "/" + strings.TrimLeft(s.values["path"], "/")
		}
		text, err := expand(text)
		if err != nil {
			return err
		}
		address, err := sourceAddress(text)
		if err != nil {
			return err
		}
		source.URLs = append(source.URLs, address)
	}
	for _, key := range []string{"metalink", "mirrorlist"} {
		text, err := expand(s.values[key])
		if err != nil {
			return err
		}
		if text == "" {
			continue
		}
		if _, err := sourceAddress(text); err != nil {
			return err
		}
		// yum took one for the other, and files rely on that.
		isMetalink := key == "metalink" || strings.Contains(text, "metalink")
		source.Lists = append(source.Lists, backends.MirrorList{URL: text, Metalink: isMetalink})
	}
	if len(source.URLs)+len(source.Lists) == 0 {
		return errors.New("it has no baseurl, metalink or mirrorlist")
	}
	return nil
}

// keys fills in who signs. A source with a key that cannot be used is an error: without
// any those of the root would do, and nobody said so.
func (s *section) keys(source *backends.Source, expand func(string) (string, error)) error {
	for _, text := range list(s.values["gpgkey"]) {
		text, err := expand(text)
		if err != nil {
			return err
		}
		if rest, ok := strings.CutPrefix(text, "file:"); ok {
			text = "/" + strings.TrimLeft(rest, "/")
		}
		if isHTTPS := strings.HasPrefix(text, "https://"); !isHTTPS && !path.IsAbs(text) {
			return fmt.Errorf("the key %.200q is neither a file nor at an https address: whoever is on the way could replace it", text)
		}
		source.Keys.Files = append(source.Keys.Files, text)
	}
	return nil
}

// list splits a value at spaces, commas and ends of lines.
func list(value string) []string {
	return strings.FieldsFunc(value, func(r rune) bool { return r == ' ' || r == '\t' || r == '\n' || r == ',' })
}

func boolean(value string, otherwise bool) (bool, error) {
	switch strings.ToLower(value) {
	case "":
		return otherwise, nil
	case "1", "yes", "true", "on", "enabled":
		return true, nil
	case "0", "no", "false", "off", "disabled", "never":
		return false, nil
	}
	return false, fmt.Errorf("%.40q is neither yes nor no", value)
}

func rank(value string, otherwise int) int {
	n, err := strconv.ParseInt(value, 10, 32)
	if err != nil {
		return otherwise
	}
	return int(n)
}

// isSourceName reports whether dnf takes a name for one of a source; no dot is at its
// beginning, for names of files are made of it.
func isSourceName(id string) bool {
	if id == "" || len(id) > maxName || id[0] == '.' || id[0] == '-' {
		return false
	}
	for _, c := range []byte(id) {
		if !isDigit(rune(c)) && !isLetter(rune(c)) && !strings.ContainsRune("-_.:+", rune(c)) {
			return false
		}
	}
	return true
}

// sourceAddress checks an address, which may have variables, and returns it without
// the slash at its end.
func sourceAddress(text string) (string, error) {
	u, err := url.Parse(text)
	if err != nil || len(text) > maxListedText || strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return "", fmt.Errorf("%.200q is not an address", backends.PlainURL(text))
	}
	switch u.Scheme {
	case "http", "https":
		if u.Host == "" {
			return "", fmt.Errorf("%.200q has no server", backends.PlainURL(text))
		}
		return strings.TrimRight(text, "/"), nil
	case "file":
		if (u.Host == "" || u.Host == "localhost") && path.IsAbs(u.Path) && strings.Trim(u.Path, "/") != "" {
			return "file://" + strings.TrimRight(u.Path, "/"), nil
		}
	}
	return "", fmt.Errorf("%.200q is not an http, https or file address", backends.PlainURL(text))
}
