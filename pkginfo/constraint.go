package pkginfo

import (
	"fmt"
	"strings"
)

// String returns the constraint in deb's notation: "libjq1 (= 1.6-2.1)".
func (c Constraint) String() string {
	s := c.Name
	if c.Architecture != "" {
		s += ":" + c.Architecture
	}
	if c.Operator != "" {
		s += fmt.Sprintf(" (%s %s)", c.Operator, c.Version)
	}
	return s
}

// String returns the alternatives in deb's notation: "a (>= 1) | b".
func (r Relation) String() string {
	if r.Text != "" {
		return r.Text
	}
	parts := make([]string, len(r.Alternatives))
	for i, c := range r.Alternatives {
		parts[i] = c.String()
	}
	return strings.Join(parts, " | ")
}
