package pkginfo

import (
	"iter"
	"slices"
	"strings"
)

// Operation is what an [Expression] does with its operands.
type Operation string

// The operations: of deb there is "or"; the others are those of rpm's rich relations
// (rpm: docs/manual/boolean_dependencies.md).
const (
	Leaf    Operation = ""
	Or      Operation = "or"
	And     Operation = "and"
	With    Operation = "with"    // one package that is both
	Without Operation = "without" // a package that is the first and not the second
	If      Operation = "if"      // the first if there is the second, else the third if there is one
	Unless  Operation = "unless"  // the first if the second is not there, else the third if there is one
)

// Expression is what a [Relation] wants.
type Expression struct {
	Operation  Operation
	Constraint Constraint // of a Leaf
	Operands   []Expression
}

// Expression returns what r wants. ok is false for one that has no alternatives and
// whose text is not a rich relation.
func (r Relation) Expression() (e Expression, ok bool) {
	if len(r.Alternatives) == 0 {
		return ParseRich(r.Text)
	}
	e.Operation = Or
	for _, c := range r.Alternatives {
		e.Operands = append(e.Operands, Expression{Constraint: c})
	}
	return e, true
}

// Alternatives returns the constraints of which any one is enough; nil if e wants
// something else.
func (e Expression) Alternatives() []Constraint {
	switch e.Operation {
	case Leaf:
		return []Constraint{e.Constraint}
	case Or:
		var all []Constraint
		for _, o := range e.Operands {
			some := o.Alternatives()
			if some == nil {
				return nil
			}
			all = append(all, some...)
		}
		return all
	}
	return nil
}

// Wanted returns the constraints that e asks for, or may ask for: all but the conditions of If and
// Unless, and what Without is not to be.
func (e Expression) Wanted() iter.Seq[Constraint] {
	return func(yield func(Constraint) bool) { e.wanted(yield) }
}

func (e Expression) wanted(yield func(Constraint) bool) bool {
	if e.Operation == Leaf {
		return e.Constraint.Name == "" || yield(e.Constraint)
	}
	for i, o := range e.Operands {
		if i == 1 && (e.Operation == If || e.Operation == Unless || e.Operation == Without) {
			continue
		}
		if !o.wanted(yield) {
			return false
		}
	}
	return true
}

// ParseRich reads a rich relation of rpm, in its parentheses.
func ParseRich(text string) (e Expression, ok bool) {
	p := richParser{words: splitRich(text)}
	e, ok = p.parenthesis(0)
	return e, ok && len(p.words) == 0
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
		for most := strings.Count(word, ")") - strings.Count(word, "("); closed < most && strings.HasSuffix(word, ")"); closed++ {
			word = word[:len(word)-1]
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

// richParser reads a rich relation.
type richParser struct{ words []string }

func (p *richParser) next() string {
	if len(p.words) == 0 {
		return ""
	}
	word := p.words[0]
	p.words = p.words[1:]
	return word
}

// richOperators are what rpm reads for an operator (rpm: lib/rpmds.c).
var richOperators = map[string]string{"<": "<", "<=": "<=", "=<": "<=", "=": "=", "==": "=", ">=": ">=", "=>": ">=", ">": ">"}

// operand reads a parenthesis, or a name with or without a range.
func (p *richParser) operand(depth int) (e Expression, ok bool) {
	if len(p.words) > 0 && p.words[0] == "(" {
		return p.parenthesis(depth + 1)
	}
	e.Constraint.Name = p.next()
	switch e.Constraint.Name {
	case "", ")", "or", "and", "with", "without", "if", "unless", "else":
		return e, false
	}
	if len(p.words) == 0 {
		return e, true
	}
	if operator, ok := richOperators[p.words[0]]; ok {
		p.next()
		e.Constraint.Operator = operator
		e.Constraint.Version = p.next()
		return e, e.Constraint.Version != "" && e.Constraint.Version != ")"
	}
	return e, true
}

// parenthesis reads "(operand)", or operands with one operator between them all.
func (p *richParser) parenthesis(depth int) (e Expression, ok bool) {
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
	e = Expression{Operation: Operation(word), Operands: []Expression{first}}
	for {
		operand, ok := p.operand(depth)
		if !ok {
			return e, false
		}
		if e.Operation == With && len(e.Operands) == 2 {
			e.Operands = []Expression{{Operation: With, Operands: e.Operands}, operand}
		} else {
			e.Operands = append(e.Operands, operand)
		}
		switch next := p.next(); {
		case next == ")":
			return e, e.isSound()
		case next == word && (e.Operation == Or || e.Operation == And || e.Operation == With):
		case next == "else" && (e.Operation == If || e.Operation == Unless) && len(e.Operands) == 2:
		default:
			return e, false
		}
	}
}

// isSound reports whether e is an operation, of operands that it takes.
func (e Expression) isSound() bool {
	switch e.Operation {
	case Or, And, If, Unless:
		return true
	case With, Without:
		return e.isOfOnePackage()
	}
	return false
}

// isOfOnePackage reports whether one package can be looked at to know whether it is what
// e says.
func (e Expression) isOfOnePackage() bool {
	switch e.Operation {
	case Leaf:
		return true
	case Or, With, Without:
		return !slices.ContainsFunc(e.Operands, func(o Expression) bool { return !o.isOfOnePackage() })
	}
	return false
}
