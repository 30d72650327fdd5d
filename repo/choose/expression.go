package choose

import (
	"slices"
	"strings"

	"github.com/hashpkg/hashpkg/pkginfo"
)

// operation is what an expression does with its operands.
type operation string

// The operations: of deb there is "or"; the others are those of rpm's rich relations
// (rpm: docs/manual/boolean_dependencies.md).
const (
	leaf    operation = ""
	or      operation = "or"
	and     operation = "and"
	with    operation = "with"    // one package that is both
	without operation = "without" // a package that is the first and not the second
	ifElse  operation = "if"      // the first if there is the second, else the third if there is one
	unless  operation = "unless"  // the first if the second is not there, else the third if there is one
)

// expression is what a relation wants.
type expression struct {
	operation  operation
	constraint pkginfo.Constraint // of a leaf
	operands   []expression
}

// parts returns expressions all of which must hold for e to do.
func (e expression) parts() []expression {
	if e.operation != and {
		return []expression{e}
	}
	var all []expression
	for _, o := range e.operands {
		all = append(all, o.parts()...)
	}
	return all
}

// isConditional reports whether what e wants depends on what is there.
func (e expression) isConditional() bool {
	return e.operation == ifElse || e.operation == unless || slices.ContainsFunc(e.operands, expression.isConditional)
}

// each calls f for each constraint.
func (e expression) each(f func(pkginfo.Constraint)) {
	if e.operation == leaf {
		f(e.constraint)
	}
	for _, o := range e.operands {
		o.each(f)
	}
}

// branch returns the operand that counts of "if" and "unless", and -1 if none does.
func (e expression) branch(condition bool) int {
	switch {
	case condition == (e.operation == ifElse):
		return 0
	case len(e.operands) > 2:
		return 2
	}
	return -1
}

// parseRelation returns what a relation wants. A rich one of rpm is read from its text.
func parseRelation(r pkginfo.Relation) (e expression, ok bool) {
	if len(r.Alternatives) == 0 {
		p := parser{words: splitRich(r.Text)}
		e, ok = p.parenthesis(0)
		return e, ok && len(p.words) == 0
	}
	e.operation = or
	for _, c := range r.Alternatives {
		e.operands = append(e.operands, expression{constraint: c})
	}
	return e, true
}

// maxDepth is how deep parentheses may be in others.
const maxDepth = 32

// splitRich returns the words of a rich relation. A parenthesis that begins a word, and
// those that it did not open itself at its end, are words.
func splitRich(text string) []string {
	var words []string
	for _, word := range strings.Fields(text) {
		for strings.HasPrefix(word, "(") {
			words = append(words, "(")
			word = word[1:]
		}
		closed := 0
		for strings.HasSuffix(word, ")") && strings.Count(word, ")") > strings.Count(word, "(") {
			word = word[:len(word)-1]
			closed++
		}
		if word != "" {
			words = append(words, word)
		}
		for range closed {
			words = append(words, ")")
		}
	}
	return words
}

// parser reads a rich relation.
type parser struct{ words []string }

func (p *parser) next() string {
	if len(p.words) == 0 {
		return ""
	}
	word := p.words[0]
	p.words = p.words[1:]
	return word
}

// operand reads a parenthesis, or a name with or without a range.
func (p *parser) operand(depth int) (e expression, ok bool) {
	if len(p.words) > 0 && p.words[0] == "(" {
		return p.parenthesis(depth + 1)
	}
	e.constraint.Name = p.next()
	switch e.constraint.Name {
	case "", ")", "or", "and", "with", "without", "if", "unless", "else":
		return e, false
	}
	if len(p.words) == 0 {
		return e, true
	}
	switch p.words[0] {
	case "<", "<=", "=", ">=", ">":
		e.constraint.Operator = p.next()
		e.constraint.Version = p.next()
		return e, e.constraint.Version != "" && e.constraint.Version != ")"
	}
	return e, true
}

// parenthesis reads "(operand)", or operands with one operator between them all.
func (p *parser) parenthesis(depth int) (e expression, ok bool) {
	if depth > maxDepth || p.next() != "(" {
		return e, false
	}
	first, ok := p.operand(depth)
	if !ok {
		return e, false
	}
	word := p.next()
	if word == ")" {
		return first, true
	}
	e = expression{operation: operation(word), operands: []expression{first}}
	for {
		operand, ok := p.operand(depth)
		if !ok {
			return e, false
		}
		if e.operation == with && len(e.operands) == 2 {
			e.operands = []expression{{operation: with, operands: e.operands}, operand}
		} else {
			e.operands = append(e.operands, operand)
		}
		switch next := p.next(); {
		case next == ")":
			return e, e.isSound()
		case next == word && (e.operation == or || e.operation == and || e.operation == with):
		case next == "else" && (e.operation == ifElse || e.operation == unless) && len(e.operands) == 2:
		default:
			return e, false
		}
	}
}

// isSound reports whether e is an operation, of operands that it takes.
func (e expression) isSound() bool {
	switch e.operation {
	case or, and, ifElse, unless:
		return true
	case with, without:
		return e.isOfOnePackage()
	}
	return false
}

// isOfOnePackage reports whether one package can be looked at to know whether it is what
// e says.
func (e expression) isOfOnePackage() bool {
	switch e.operation {
	case leaf:
		return true
	case or, with, without:
		return !slices.ContainsFunc(e.operands, func(o expression) bool { return !o.isOfOnePackage() })
	}
	return false
}
