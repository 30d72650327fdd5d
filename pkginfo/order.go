package pkginfo

import "strings"

// Order is how a format orders versions.
type Order struct {
	// Compare is negative when a is older than b, positive when it is newer, zero
	// when they are equal. It is total: a version that the format does not allow is
	// ordered before every one that it does, and by its bytes among those.
	Compare func(a, b string) int
	// InRange reports whether a package of a version fits the range of c, which
	// has an operator. The name of c is not looked at. The version is "" for what a
	// package offers without one. See [RangeBy].
	InRange func(version string, c Constraint) bool
}

// RangeBy returns an InRange that goes by a comparison of the version that a package
// has with the one that bounds a range. Without a version nothing fits (deb-policy 7.5).
func RangeBy(compare func(have, bound string) int) func(version string, c Constraint) bool {
	return func(version string, c Constraint) bool {
		if version == "" {
			return false
		}
		n := compare(version, c.Version)
		switch c.Operator {
		case "<":
			return n < 0
		case "<=":
			return n <= 0
		case "=":
			return n == 0
		case ">=":
			return n >= 0
		case ">":
			return n > 0
		}
		return false
	}
}

// Orders are the orders of the formats in use, by format. Versions of a format that
// is not among them are ordered by their bytes, so that a program which does not
// know a format still sorts its packages the same way every time.
type Orders map[Format]Order

// Compare orders two versions of a format: see [Order].
func (o Orders) Compare(f Format, a, b string) int { return o.of(f).Compare(a, b) }

// Satisfies reports whether a package of this format and version fits c's range.
// The name is not looked at. Without a range every version fits. The version is "" for
// what a package offers without one.
func (o Orders) Satisfies(f Format, version string, c Constraint) bool {
	return c.Operator == "" || o.of(f).InRange(version, c)
}

func (o Orders) of(f Format) Order {
	if order, ok := o[f]; ok {
		return order
	}
	return Order{Compare: strings.Compare, InRange: RangeBy(strings.Compare)}
}
