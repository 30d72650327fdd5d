package scripts

import (
	"io/fs"
	"strconv"
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// arithm computes an arithmetic expression; ok is false when its value is not known.
func (s *shell) arithm(x syntax.ArithmExpr) (n int64, ok bool) {
	s.enter()
	defer s.leave()
	switch x := x.(type) {
	case nil:
		return 0, true
	case *syntax.Word:
		return s.integer(s.value(x))
	case *syntax.ParenArithm:
		return s.arithm(x.X)
	case *syntax.UnaryArithm:
		return s.unaryArithm(x)
	case *syntax.BinaryArithm:
		return s.binaryArithm(x)
	}
	return 0, false
}

// integer returns the number that a text is, or that the variable holds which it
// names.
func (s *shell) integer(text string) (n int64, ok bool) {
	for range 10 { // a variable may hold the name of another
		text = strings.TrimSpace(text)
		if text == "" {
			return 0, true
		}
		if !syntax.ValidName(text) {
			n, err := strconv.ParseInt(text, 0, 64)
			return n, err == nil
		}
		text, _ = s.variable(text)
	}
	return 0, false
}

func (s *shell) unaryArithm(x *syntax.UnaryArithm) (n int64, ok bool) {
	if x.Op == syntax.Inc || x.Op == syntax.Dec {
		by := int64(1)
		if x.Op == syntax.Dec {
			by = -1
		}
		before, ok := s.arithm(x.X)
		s.setNumber(x.X, before+by, ok)
		if x.Post {
			return before, ok
		}
		return before + by, ok
	}
	n, ok = s.arithm(x.X)
	switch x.Op {
	case syntax.Not:
		return truth(n == 0), ok
	case syntax.BitNegation:
		return ^n, ok
	case syntax.Minus:
		return -n, ok
	}
	return n, ok
}

func (s *shell) setNumber(to syntax.ArithmExpr, n int64, ok bool) {
	w, isWord := to.(*syntax.Word)
	if !isWord || !syntax.ValidName(w.Lit()) {
		return
	}
	text := strconv.FormatInt(n, 10)
	if !ok {
		text = unknown
	}
	s.set(w.Lit(), text)
}

func truth(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// assigning are the operators that change a variable, by those that they compute with.
var assigning = map[syntax.BinAritOperator]syntax.BinAritOperator{
	syntax.AddAssgn: syntax.Add, syntax.SubAssgn: syntax.Sub, syntax.MulAssgn: syntax.Mul, syntax.QuoAssgn: syntax.Quo, syntax.RemAssgn: syntax.Rem,
	syntax.AndAssgn: syntax.And, syntax.OrAssgn: syntax.Or, syntax.XorAssgn: syntax.Xor, syntax.ShlAssgn: syntax.Shl, syntax.ShrAssgn: syntax.Shr,
}

func (s *shell) binaryArithm(x *syntax.BinaryArithm) (n int64, ok bool) {
	switch x.Op {
	case syntax.Assgn:
		n, ok = s.arithm(x.Y)
		s.setNumber(x.X, n, ok)
		return n, ok
	case syntax.Comma:
		s.arithm(x.X)
		return s.arithm(x.Y)
	case syntax.TernQuest:
		condition, ok := s.arithm(x.X)
		branches, isPair := x.Y.(*syntax.BinaryArithm)
		switch {
		case !ok || !isPair:
			return 0, false
		case condition != 0:
			return s.arithm(branches.X)
		}
		return s.arithm(branches.Y)
	}
	a, okA := s.arithm(x.X)
	switch {
	case x.Op == syntax.AndArit && okA && a == 0:
		return 0, true
	case x.Op == syntax.OrArit && okA && a != 0:
		return 1, true
	}
	b, okB := s.arithm(x.Y)
	ok = okA && okB
	op := x.Op
	if by, is := assigning[op]; is {
		op = by
	}
	switch op {
	case syntax.Add:
		n = a + b
	case syntax.Sub:
		n = a - b
	case syntax.Mul:
		n = a * b
	case syntax.Quo, syntax.Rem:
		if b == 0 {
			ok = false
			break
		}
		if n = a / b; op == syntax.Rem {
			n = a % b
		}
	case syntax.And:
		n = a & b
	case syntax.Or:
		n = a | b
	case syntax.Xor:
		n = a ^ b
	case syntax.Shl:
		n = a << (uint64(b) & 63)
	case syntax.Shr:
		n = a >> (uint64(b) & 63)
	case syntax.Eql:
		n = truth(a == b)
	case syntax.Neq:
		n = truth(a != b)
	case syntax.Lss:
		n = truth(a < b)
	case syntax.Leq:
		n = truth(a <= b)
	case syntax.Gtr:
		n = truth(a > b)
	case syntax.Geq:
		n = truth(a >= b)
	case syntax.AndArit, syntax.OrArit: // one side was not decisive
		n = truth(b != 0)
	default:
		ok = false
	}
	if op != x.Op {
		s.setNumber(x.X, n, ok)
	}
	return n, ok
}

// testCommand is test and [.
func testCommand(s *shell, args []string) status {
	t := &tester{s: s, args: args}
	if len(args) == 0 {
		return failure
	}
	st := t.or()
	if len(t.args) > 0 {
		return status{code: 2, guessed: true}
	}
	return st
}

func bracket(s *shell, args []string) status {
	if len(args) == 0 || args[len(args)-1] != "]" {
		return status{code: 2}
	}
	return testCommand(s, args[:len(args)-1])
}

// tester takes the arguments of test apart.
type tester struct {
	s    *shell
	args []string
}

func (t *tester) or() status {
	t.s.enter()
	defer t.s.leave()
	st := t.and()
	for len(t.args) > 1 && t.args[0] == "-o" {
		t.args = t.args[1:]
		st = either(st, t.and())
	}
	return st
}

func either(a, b status) status {
	if a.ok() {
		return a
	}
	if b.ok() {
		return b
	}
	return status{1, a.guessed || b.guessed}
}

func both(a, b status) status {
	switch {
	case !a.ok() && !a.guessed:
		return a
	case !b.ok() && !b.guessed:
		return b
	case !a.ok():
		return a
	}
	return b
}

func (t *tester) and() status {
	st := t.not()
	for len(t.args) > 1 && t.args[0] == "-a" {
		t.args = t.args[1:]
		st = both(st, t.not())
	}
	return st
}

func (t *tester) not() status {
	negated := false
	for len(t.args) > 1 && t.args[0] == "!" {
		t.args = t.args[1:]
		negated = !negated
	}
	st := t.primary()
	if negated && !st.guessed {
		return statusOf(!st.ok())
	}
	return st
}

func (t *tester) primary() status {
	a := t.args
	if len(a) >= 3 && isComparison(a[1]) {
		t.args = a[3:]
		return t.s.compare(a[0], a[1], a[2])
	}
	if len(a) >= 3 && a[0] == "(" {
		t.args = a[1:]
		st := t.or()
		if len(t.args) > 0 && t.args[0] == ")" {
			t.args = t.args[1:]
		}
		return st
	}
	if len(a) >= 2 && len(a[0]) == 2 && a[0][0] == '-' {
		t.args = a[2:]
		return t.s.unary(a[0], a[1])
	}
	if len(a) == 0 {
		return failure
	}
	t.args = a[1:]
	return t.s.unary("-n", a[0])
}

func isComparison(op string) bool {
	switch op {
	case "=", "==", "!=", "<", ">", "-eq", "-ne", "-lt", "-le", "-gt", "-ge", "-nt", "-ot", "-ef":
		return true
	}
	return false
}

func (s *shell) compare(a, op, b string) status {
	switch op {
	case "-eq", "-ne", "-lt", "-le", "-gt", "-ge":
		if strings.TrimSpace(a) == "" || strings.TrimSpace(b) == "" {
			return failure // for it is no number
		}
		m, okA := s.integer(a)
		n, okB := s.integer(b)
		if !okA || !okB {
			return perhaps
		}
		return statusOf(map[string]bool{"-eq": m == n, "-ne": m != n, "-lt": m < n, "-le": m <= n, "-gt": m > n, "-ge": m >= n}[op])
	case "-nt", "-ot", "-ef":
		return perhaps
	}
	if !isKnown(a, b) {
		if a == b {
			return perhaps
		}
		if len(a) > 0 && len(b) > 0 && isKnown(a[:1], b[:1]) && a[0] != b[0] { // as in: [ "x$REPLY" = y ]
			return statusOf(op == "!=")
		}
		return perhaps
	}
	switch op {
	case "!=":
		return statusOf(a != b)
	case "<":
		return statusOf(a < b)
	case ">":
		return statusOf(a > b)
	}
	return statusOf(a == b)
}

// unary answers a test of one operand.
func (s *shell) unary(op, arg string) status {
	switch op {
	case "-n", "-z":
		if isKnown(arg) {
			return statusOf((arg != "") == (op == "-n"))
		}
		if strings.Trim(arg, unknown) != "" {
			return statusOf(op == "-n")
		}
		return perhaps
	case "-t", "-o", "-v", "-R":
		if op == "-v" {
			_, set := s.variable(arg)
			return statusOf(set)
		}
		return failure
	}
	if arg == "" {
		return failure
	}
	if !isKnown(arg) {
		return perhaps
	}
	return s.file(op, s.path(arg))
}

// file answers a test of a file.
func (s *shell) file(op, p string) status {
	mode, ok := s.mode(p)
	switch op {
	case "-L", "-h":
		return statusOf(mode&fs.ModeSymlink != 0)
	case "-e", "-r", "-w":
		return statusOf(ok)
	case "-f":
		return statusOf(ok && mode.Type()&^fs.ModeSymlink == 0)
	case "-s":
		return statusOf(ok && !mode.IsDir())
	case "-d":
		return statusOf(ok && mode.IsDir())
	case "-x":
		return statusOf(ok && mode&0o111 != 0)
	}
	return failure
}

// testExpr evaluates [[ ... ]].
func (s *shell) testExpr(x syntax.TestExpr) status {
	s.enter()
	defer s.leave()
	switch x := x.(type) {
	case *syntax.Word:
		return s.unary("-n", s.value(x))
	case *syntax.ParenTest:
		return s.testExpr(x.X)
	case *syntax.UnaryTest:
		if x.Op == syntax.TsNot {
			if st := s.testExpr(x.X); !st.guessed {
				return statusOf(!st.ok())
			}
			return perhaps
		}
		if w, ok := x.X.(*syntax.Word); ok {
			return s.unary(x.Op.String(), s.value(w))
		}
	case *syntax.BinaryTest:
		switch x.Op {
		case syntax.AndTest:
			a := s.testExpr(x.X)
			if !a.ok() && !a.guessed {
				return a
			}
			return both(a, s.testExpr(x.Y))
		case syntax.OrTest:
			a := s.testExpr(x.X)
			if a.ok() {
				return a
			}
			return either(a, s.testExpr(x.Y))
		}
		a, okA := x.X.(*syntax.Word)
		b, okB := x.Y.(*syntax.Word)
		if !okA || !okB {
			return perhaps
		}
		text := s.value(a)
		switch x.Op {
		case syntax.TsMatchShort, syntax.TsMatch, syntax.TsNoMatch:
			p := s.pattern(b)
			if !isKnown(text, p) {
				return perhaps
			}
			return statusOf(s.matches(p, text) == (x.Op != syntax.TsNoMatch))
		case syntax.TsReMatch:
			return s.regularMatch(text, s.value(b))
		}
		return s.compare(text, x.Op.String(), s.value(b))
	}
	return perhaps
}

func (s *shell) regularMatch(text, expr string) status {
	re := s.basicRegexp(expr, len(text), true)
	if re == nil || !isKnown(text) {
		return perhaps
	}
	return statusOf(re.MatchString(text))
}
