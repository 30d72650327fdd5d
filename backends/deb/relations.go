package deb

import (
	"errors"
	"fmt"
	"strings"

	"pault.ag/go/debian/dependency"

	"github.com/hashpkg/hashpkg/pkginfo"
)

// maxRelation is the length of one relation, its alternatives included.
const maxRelation = 64 << 10

// parseRelationFields fills in what p needs, offers and excludes.
func parseRelationFields(p *pkginfo.Package, values map[string]string) error {
	for _, f := range []struct {
		name string
		to   *[]pkginfo.Relation
	}{
		{"Pre-Depends", &p.Requires},
		{"Depends", &p.Requires},
		{"Conflicts", &p.Conflicts},
		{"Breaks", &p.Conflicts},
		{"Replaces", &p.Replaces},
	} {
		relations, err := parseRelations(values[strings.ToLower(f.name)])
		if err != nil {
			return fmt.Errorf("the field %s: %w", f.name, err)
		}
		*f.to = append(*f.to, relations...)
	}

	provides, err := parseRelations(values["provides"])
	if err != nil {
		return fmt.Errorf("the field Provides: %w", err)
	}
	for _, r := range provides {
		c := r.Alternatives[0]
		if len(r.Alternatives) > 1 {
			return fmt.Errorf("the field Provides: %q has alternatives", r.Text)
		}
		if c.Operator != "=" {
			c.Version = "" // dpkg takes no other operator for a version
		}
		p.Provides = append(p.Provides, pkginfo.Capability{Name: c.Name, Version: c.Version})
	}
	return nil
}

// parseRelations reads the value of a field such as Depends: deb-control(5).
func parseRelations(value string) ([]pkginfo.Relation, error) {
	if value == "" {
		return nil, nil
	}
	var relations []pkginfo.Relation
	for text := range strings.SplitSeq(value, ",") { // an empty one is an error, of dpkg too
		text = strings.Join(strings.Fields(text), " ")
		r, err := parseRelation(text)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", text[:min(len(text), 200)], err)
		}
		relations = append(relations, r)
	}
	return relations, nil
}

func parseRelation(text string) (pkginfo.Relation, error) {
	r := pkginfo.Relation{Text: text}
	if len(text) > maxRelation {
		return r, fmt.Errorf("it has %d bytes", len(text))
	}
	for alternative := range strings.SplitSeq(text, "|") {
		alternative = strings.TrimSpace(alternative)
		d, err := dependency.Parse(spellOutOperator(alternative))
		if err != nil {
			return r, err
		}
		if len(d.Relations) != 1 || len(d.Relations[0].Possibilities) != 1 {
			return r, errors.New("a name is missing")
		}
		c, err := constraint(d.Relations[0].Possibilities[0], alternative)
		if err != nil {
			return r, err
		}
		r.Alternatives = append(r.Alternatives, c)
	}
	return r, nil
}

// constraint returns what p says, which was parsed from text.
func constraint(p dependency.Possibility, text string) (pkginfo.Constraint, error) {
	c := pkginfo.Constraint{Name: p.Name}
	if p.Substvar || !isRelationName(p.Name) {
		return c, fmt.Errorf("%q is not a package name", p.Name)
	}
	if p.Architectures != nil && len(p.Architectures.Architectures) > 0 || len(p.StageSets) > 0 {
		return c, errors.New("only source packages may restrict a relation to architectures or profiles")
	}
	if p.Arch != nil {
		_, after, _ := strings.Cut(text, ":")
		c.Architecture = after[:strings.IndexAny(after+" ", " (")]
		if !isArchitecture(c.Architecture) {
			return c, fmt.Errorf("%q is not an architecture", c.Architecture)
		}
	}
	if p.Version == nil {
		return c, nil
	}
	switch p.Version.Operator {
	case "<<":
		c.Operator = "<"
	case ">>":
		c.Operator = ">"
	default:
		c.Operator = p.Version.Operator
	}
	c.Version = strings.TrimSpace(p.Version.Number)
	if err := checkVersion(c.Version); err != nil {
		return c, fmt.Errorf("the version %q is not allowed: %w", c.Version, err)
	}
	return c, nil
}

// spellOutOperator replaces the operators that were given up in 1996 and that
// dpkg still reads: "(< 1)" is "(<= 1)", "(> 1)" is "(>= 1)", "(1)" is "(= 1)".
func spellOutOperator(s string) string {
	name, condition, ok := strings.Cut(s, "(")
	if !ok {
		return s
	}
	condition = strings.TrimLeft(condition, " ")
	rest := strings.TrimLeft(condition, "<=>")
	operator := condition[:len(condition)-len(rest)]
	switch operator {
	case "":
		operator = "="
	case "<":
		operator = "<="
	case ">":
		operator = ">="
	}
	return name + "(" + operator + " " + rest
}

// isRelationName is wider than isPackageName, as dpkg is: nothing is made of
// these names.
func isRelationName(s string) bool {
	for i, c := range []byte(s) {
		isAlnum := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !isAlnum && (i == 0 || !strings.ContainsRune("+-._", rune(c))) {
			return false
		}
	}
	return s != ""
}
