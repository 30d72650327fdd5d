package deb

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"pault.ag/go/debian/control"
	"pault.ag/go/debian/version"

	"github.com/hashpkg/hashpkg/pkginfo"
)

const (
	maxPackageName = 200 // names of directories are made of these; Debian's longest has 75
	maxVersion     = 200
)

// parseControl reads the text of a control file.
func parseControl(text string) (*pkginfo.Package, error) {
	if err := checkParagraph(text); err != nil {
		return nil, err
	}
	r, err := control.NewParagraphReader(strings.NewReader(text), nil)
	if err != nil {
		return nil, err
	}
	paragraph, err := r.Next()
	if err == io.EOF {
		return nil, errors.New("it is empty")
	}
	if err != nil {
		return nil, err
	}

	p := &pkginfo.Package{Format: Name}
	values := map[string]string{} // by name in lower case: deb-control(5)
	for _, name := range paragraph.Order {
		value := strings.TrimSuffix(paragraph.Values[name], "\n")
		p.Fields = append(p.Fields, pkginfo.Field{Name: name, Value: value})
		values[strings.ToLower(name)] = value
	}
	p.Name = values["package"]
	p.Version = values["version"]
	p.Architecture = values["architecture"]
	if err := checkIdentity(p); err != nil {
		return nil, err
	}
	p.Source, _, _ = strings.Cut(values["source"], " ") // "name (version)"
	p.Summary, _, _ = strings.Cut(values["description"], "\n")
	if p.MultiArch, err = parseMultiArch(values["multi-arch"]); err != nil {
		return nil, err
	}
	err = setRelations(p, &relationFields{
		preDepends: values["pre-depends"], depends: values["depends"], recommends: values["recommends"],
		conflicts: values["conflicts"], breaks: values["breaks"], replaces: values["replaces"], provides: values["provides"],
	})
	return p, err
}

// checkParagraph checks what dpkg is strict about and the parser is not: one
// paragraph, fields that are there once, names that are names.
func checkParagraph(text string) error {
	if i := strings.IndexByte(text, 0); i >= 0 {
		return fmt.Errorf("it has a NUL at byte %d", i)
	}
	if text != "" && !strings.HasSuffix(text, "\n") {
		return errors.New("its last line has no end")
	}
	seen := map[string]bool{}
	isOver := false
	lines := newFieldLines(strings.NewReader(text), len(text))
	for lines.next() == nil {
		switch {
		case lines.kind == emptyLine:
			isOver = len(seen) > 0
			continue
		case isOver:
			return fmt.Errorf("line %d: there is a second paragraph", lines.number)
		case lines.kind == spaceLine:
			return fmt.Errorf("line %d: it has nothing but space", lines.number)
		case lines.kind == continuedLine && len(seen) == 0:
			return fmt.Errorf("line %d: it continues no field", lines.number)
		case lines.kind == continuedLine:
			continue
		case lines.kind == otherLine || !isFieldName(string(lines.name)):
			return fmt.Errorf("line %d: %.80q is not a field", lines.number, lines.text)
		}
		name := strings.ToLower(string(lines.name))
		if seen[name] {
			return fmt.Errorf("line %d: the field %q is there twice", lines.number, name)
		}
		seen[name] = true
	}
	return nil
}

// isFieldName reports whether s is a name as in deb822(5). dpkg allows none of
// one letter.
func isFieldName(s string) bool {
	if len(s) < 2 || s[0] == '#' || s[0] == '-' {
		return false
	}
	for _, c := range []byte(s) {
		if c <= ' ' || c >= 0x7f || c == ':' {
			return false
		}
	}
	return true
}

// checkIdentity checks that p's name, version and architecture are there and
// are what the Debian policy allows (5.6.1, 5.6.12, 5.6.8).
func checkIdentity(p *pkginfo.Package) error {
	for _, f := range []struct{ name, value string }{
		{"Package", p.Name}, {"Version", p.Version}, {"Architecture", p.Architecture},
	} {
		if f.value == "" {
			return fmt.Errorf("the field %s is missing", f.name)
		}
	}
	if !isPackageName(p.Name) {
		return fmt.Errorf("the package name %q is not allowed: it may have lower-case letters, digits, and + - . after the first", p.Name)
	}
	if err := checkVersion(p.Version); err != nil {
		return fmt.Errorf("the version %q is not allowed: %w", p.Version, err)
	}
	if !isArchitecture(p.Architecture) {
		return fmt.Errorf("the architecture %q is not allowed", p.Architecture)
	}
	return nil
}

func isPackageName(s string) bool {
	if len(s) > maxPackageName {
		return false
	}
	for i, c := range []byte(s) {
		isAlnum := c >= 'a' && c <= 'z' || c >= '0' && c <= '9'
		if !isAlnum && (i == 0 || !strings.ContainsRune("+-.", rune(c))) {
			return false
		}
	}
	return s != ""
}

func isArchitecture(s string) bool {
	for i, c := range []byte(s) {
		isAlnum := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !isAlnum && (i == 0 || c != '-') {
			return false
		}
	}
	return s != "" && len(s) <= 64
}

// checkVersion refuses what dpkg does (lib/dpkg/parsehelp.c: parseversion).
func checkVersion(s string) error {
	if len(s) > maxVersion {
		return fmt.Errorf("it has more than %d characters", maxVersion)
	}
	if epoch, _, ok := strings.Cut(s, ":"); ok && !isVersionPart(epoch) {
		return fmt.Errorf("the epoch %q is not a number", epoch)
	}
	if strings.HasSuffix(s, "-") {
		return errors.New("the revision is empty")
	}
	v, err := version.Parse(s)
	if err != nil {
		return err
	}
	if v.Version == "" {
		return errors.New("the upstream version is empty")
	}
	return nil
}

// parseMultiArch returns the value of Multi-Arch, and "" for its default.
func parseMultiArch(s string) (string, error) {
	switch s {
	case "", "no":
		return "", nil
	case "same", "foreign", "allowed":
		return s, nil
	}
	return "", fmt.Errorf("the field Multi-Arch has the unknown value %q", s)
}
