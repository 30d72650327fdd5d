package deb

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/hashpkg/hashpkg/pkginfo"
)

// maxRelation is the length of one relation, its alternatives included.
const maxRelation = 64 << 10

// likelyRelations is for how many room is made before they were read.
const likelyRelations = 1024

// relationFields are those that say what a package needs and excludes.
type relationFields struct{ preDepends, depends, conflicts, breaks, replaces, recommends, provides string }

// setRelations fills in what p needs, recommends, offers and excludes.
func setRelations(p *pkginfo.Package, fields *relationFields) (err error) {
	n := 0
	for _, value := range []string{fields.preDepends, fields.depends, fields.recommends, fields.conflicts, fields.breaks, fields.replaces, fields.provides} {
		if value != "" {
			n += strings.Count(value, ",") + strings.Count(value, "|") + 1
		}
	}
	r := relationReader{make([]pkginfo.Constraint, 0, min(n, likelyRelations))}
	for _, f := range []struct {
		name, value string
		to          *[]pkginfo.Relation
	}{
		{"Pre-Depends", fields.preDepends, &p.Requires},
		{"Depends", fields.depends, &p.Requires},
		{"Recommends", fields.recommends, &p.Recommends},
		{"Conflicts", fields.conflicts, &p.Conflicts},
		{"Breaks", fields.breaks, &p.Conflicts},
		{"Replaces", fields.replaces, &p.Replaces},
	} {
		if f.value == "" {
			continue
		}
		if *f.to, err = r.appendTo(*f.to, f.value); err != nil {
			return fmt.Errorf("the field %s: %w", f.name, err)
		}
	}
	if p.Provides, err = r.provides(fields.provides); err != nil {
		return fmt.Errorf("the field Provides: %w", err)
	}
	return nil
}

// relationReader reads the fields of one package such as Depends (deb-control(5)). The
// alternatives of all of them stand in one array.
type relationReader struct{ alternatives []pkginfo.Constraint }

// appendTo appends the relations of a field to others.
func (r *relationReader) appendTo(to []pkginfo.Relation, value string) ([]pkginfo.Relation, error) {
	to = slices.Grow(to, min(strings.Count(value, ",")+1, likelyRelations))
	isPlain := !strings.Contains(value, "  ") && !strings.ContainsAny(value, "\t\r\n")
	for text := range strings.SplitSeq(value, ",") { // an empty one is an error, of dpkg too
		if isPlain {
			text = strings.Trim(text, " ")
		} else {
			text = strings.Join(strings.Fields(text), " ")
		}
		relation, err := r.relation(text)
		if err != nil {
			return nil, fmt.Errorf("%.200q: %w", text, err)
		}
		to = append(to, relation)
	}
	return to, nil
}

// provides reads the field Provides.
func (r *relationReader) provides(value string) ([]pkginfo.Capability, error) {
	if value == "" {
		return nil, nil
	}
	relations, err := r.appendTo(nil, value)
	if err != nil {
		return nil, err
	}
	all := make([]pkginfo.Capability, len(relations))
	for i, relation := range relations {
		c := relation.Alternatives[0]
		if len(relation.Alternatives) > 1 {
			return nil, fmt.Errorf("%q has alternatives", relation.Text)
		}
		if c.Operator != "=" {
			c.Version = "" // dpkg takes no other operator for a version
		}
		all[i] = pkginfo.Capability{Name: c.Name, Version: c.Version}
	}
	return all, nil
}

func (r *relationReader) relation(text string) (pkginfo.Relation, error) {
	if len(text) > maxRelation {
		return pkginfo.Relation{}, fmt.Errorf("it has %d bytes", len(text))
	}
	first := len(r.alternatives)
	for alternative := range strings.SplitSeq(text, "|") {
		c, err := parseConstraint(strings.Trim(alternative, " "))
		if err != nil {
			return pkginfo.Relation{}, err
		}
		r.alternatives = append(r.alternatives, c)
	}
	end := len(r.alternatives)
	return pkginfo.Relation{Text: text, Alternatives: r.alternatives[first:end:end]}, nil
}

// parseConstraint reads one alternative: a name, perhaps an architecture, and perhaps
// versions in parentheses.
func parseConstraint(s string) (c pkginfo.Constraint, err error) {
	end := 0
	for end < len(s) && strings.IndexByte(": ([<", s[end]) < 0 {
		end++
	}
	c.Name = s[:end]
	rest := s[end:]
	switch {
	case s == "":
		return c, errors.New("a name is missing")
	case !isRelationName(c.Name):
		return c, fmt.Errorf("%q is not a package name", c.Name)
	case rest == "":
		return c, nil
	}
	if rest[0] == ':' {
		if end = strings.IndexAny(rest, " ("); end < 0 {
			end = len(rest)
		}
		if c.Architecture, rest = rest[1:end], rest[end:]; !isArchitecture(c.Architecture) {
			return c, fmt.Errorf("%q is not an architecture", c.Architecture)
		}
	}
	rest = strings.TrimLeft(rest, " ")
	if !strings.HasPrefix(rest, "(") {
		return c, checkRelationEnd(rest)
	}
	condition, rest, isClosed := strings.Cut(rest[1:], ")")
	if !isClosed {
		return c, errors.New("a parenthesis is not closed")
	}
	if c.Operator, c.Version, err = parseCondition(strings.Trim(condition, " ")); err != nil {
		return c, err
	}
	return c, checkRelationEnd(strings.TrimLeft(rest, " "))
}

// checkRelationEnd returns an error for what stands behind a relation.
func checkRelationEnd(rest string) error {
	switch {
	case rest == "":
		return nil
	case rest[0] == '[' || rest[0] == '<':
		return errors.New("only source packages may restrict a relation to architectures or profiles")
	}
	return fmt.Errorf("%q does not belong there", rest)
}

// parseCondition reads what stands in parentheses. The operators that were given up in
// 1996 are read as dpkg does: "(< 1)" is "(<= 1)", "(> 1)" is "(>= 1)", "(1)" is "(= 1)".
func parseCondition(s string) (operator, version string, err error) {
	version = strings.TrimLeft(s, "<=>")
	written := s[:len(s)-len(version)]
	switch written {
	case "<<":
		operator = "<"
	case ">>":
		operator = ">"
	case "<", "<=":
		operator = "<="
	case ">", ">=":
		operator = ">="
	case "", "=":
		operator = "="
	default:
		return "", "", fmt.Errorf("the operator %q is unknown", written)
	}
	version = strings.TrimLeft(version, " ")
	if err := checkVersion(version); err != nil {
		return "", "", fmt.Errorf("the version %q is not allowed: %w", version, err)
	}
	return operator, version, nil
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
