package choose

import (
	"slices"

	"github.com/hashpkg/hashpkg/pkginfo"
)

// expression is what a relation wants.
type expression = pkginfo.Expression

// parts returns expressions all of which must hold for e to do.
func parts(e expression) []expression {
	if e.Operation != pkginfo.And {
		return []expression{e}
	}
	var all []expression
	for _, o := range e.Operands {
		all = append(all, parts(o)...)
	}
	return all
}

// isConditional reports whether what e wants depends on what is there.
func isConditional(e expression) bool {
	return e.Operation == pkginfo.If || e.Operation == pkginfo.Unless || slices.ContainsFunc(e.Operands, isConditional)
}

// each calls f for each constraint of e.
func each(e expression, f func(pkginfo.Constraint)) {
	if e.Operation == pkginfo.Leaf {
		f(e.Constraint)
	}
	for _, o := range e.Operands {
		each(o, f)
	}
}

// branch returns the operand of an "if" or "unless" that counts, and -1 if none does.
func branch(e expression, condition bool) int {
	switch {
	case condition == (e.Operation == pkginfo.If):
		return 0
	case len(e.Operands) > 2:
		return 2
	}
	return -1
}
