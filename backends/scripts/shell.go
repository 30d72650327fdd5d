package scripts

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"mvdan.cc/sh/v3/syntax"

	"github.com/hashpkg/hashpkg/pkginfo"
)

// status is how a command ended.
type status struct {
	code int
	// guessed: the code is not what the command would have returned for sure.
	guessed bool
}

func (s status) ok() bool { return s.code == 0 }

var (
	success = status{}
	failure = status{code: 1}
	// perhaps is the status of a test of what is not known. It decides for "no".
	perhaps = status{code: 1, guessed: true}
)

func statusOf(ok bool) status {
	if ok {
		return success
	}
	return failure
}

// leaving says what a script is on its way out of.
type leaving int

const (
	staying leaving = iota
	breaking
	continuing
	returning
	exiting
)

// shell evaluates one script.
type shell struct {
	*recorder
	line  uint
	depth int

	vars      map[string][]string // a plain variable is a list of one
	functions map[string]*syntax.Stmt
	arguments []string
	zero      string // $0
	dir       string // the working directory
	locals    []map[string][]string
	errexit   bool // set -e
	noglob    bool // set -f
	tested    int  // more than 0 where set -e does not count

	status  status
	leaving leaving
	loops   int // to break or continue; levels to go

	in  *string          // what is left of standard input
	out *strings.Builder // nil where nobody reads it
}

func newShell(r *recorder, script *pkginfo.Script) *shell {
	p := r.context.Package
	s := &shell{
		recorder: r, functions: map[string]*syntax.Stmt{}, arguments: script.Arguments, dir: "/", in: new(string),
		zero: "/var/lib/dpkg/info/" + p.Name + "." + script.Name,
	}
	s.vars = map[string][]string{
		"IFS": {" \t\n"}, "PATH": {"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}, "HOME": {"/root"}, "PWD": {"/"}, "USER": {"root"},
		"DPKG_MAINTSCRIPT_PACKAGE": {p.Name}, "DPKG_MAINTSCRIPT_ARCH": {p.Architecture}, "DPKG_MAINTSCRIPT_NAME": {script.Name},
		"DPKG_MAINTSCRIPT_PACKAGE_REFCOUNT": {"1"}, "DPKG_ROOT": {""}, "DPKG_ADMINDIR": {"/var/lib/dpkg"}, "DEBIAN_FRONTEND": {"noninteractive"},
	}
	return s
}

// step counts work, and ends the script when it was too much.
func (s *shell) step(n int) {
	s.steps += n
	if s.steps > maxSteps {
		panic(tooMuch{"it takes too many steps"})
	}
}

// charge counts the bytes of a string that was made.
func (s *shell) charge(text string) string {
	s.bytes += len(text)
	if s.bytes > maxBytes || len(text) > maxText {
		panic(tooMuch{"it makes too long strings"})
	}
	return text
}

func (s *shell) enter() {
	s.step(1)
	if s.depth++; s.depth > maxDepth {
		panic(tooMuch{"it is nested too deeply"})
	}
}

func (s *shell) leave() { s.depth-- }

func (s *shell) unsure(format string, args ...any) {
	s.note(s.line, printable(fmt.Sprintf(format, args...)))
}

// printable returns text with unknown values as people can read them.
func printable(text string) string {
	text = strings.ReplaceAll(text, unknown, "?")
	if len(text) > 200 {
		text = text[:200] + "..."
	}
	return strings.ToValidUTF8(text, "?")
}

// program runs a text from its beginning.
func (s *shell) program(text string) {
	stmts, err := parse(text)
	s.stmts(stmts)
	if err != nil && s.leaving == staying {
		s.note(s.line, "what follows is not understood: "+printable(err.Error()))
	}
}

func (s *shell) stmts(list []*syntax.Stmt) status {
	s.status = success
	for _, stmt := range list {
		s.stmt(stmt)
		if s.leaving != staying {
			break
		}
	}
	return s.status
}

func (s *shell) stmt(stmt *syntax.Stmt) status {
	s.enter()
	defer s.leave()
	if l := stmt.Pos().Line(); l > 0 {
		s.line = l
	}
	in, out := s.in, s.out
	if stmt.Negated {
		s.tested++
	}
	if stmt.Background {
		s.subshell(func() { s.redirected(stmt) })
		s.status = success
	} else {
		s.redirected(stmt)
	}
	s.in, s.out = in, out
	if stmt.Negated {
		s.tested--
		if s.status.guessed {
			s.status = perhaps
		} else {
			s.status = statusOf(!s.status.ok())
		}
		return s.status
	}
	if list, ok := stmt.Cmd.(*syntax.BinaryCmd); ok && list.Op != syntax.Pipe && list.Op != syntax.PipeAll {
		return s.status // what is between || and && decides for itself
	}
	if s.errexit && s.tested == 0 && !s.status.ok() && !s.status.guessed && s.leaving == staying {
		s.leaving = exiting
	}
	return s.status
}

// redirected runs a statement's command with its redirections. No file is read or
// written: what is read from one is unknown, but for here-documents, and what is
// written to one is lost.
func (s *shell) redirected(stmt *syntax.Stmt) {
	for _, r := range stmt.Redirs {
		fd := ""
		if r.N != nil {
			fd = r.N.Value
		}
		switch r.Op {
		case syntax.Hdoc, syntax.DashHdoc, syntax.WordHdoc:
			var text string
			if r.Op == syntax.WordHdoc {
				text = s.value(r.Word) + "\n"
			} else {
				text = s.document(r)
			}
			if fd == "" || fd == "0" {
				s.in = &text
			}
		case syntax.RdrIn, syntax.RdrInOut:
			text := unknown
			if s.value(r.Word) == "/dev/null" {
				text = ""
			}
			if fd == "" || fd == "0" {
				s.in = &text
			}
		case syntax.RdrOut, syntax.AppOut, syntax.RdrClob, syntax.RdrAll, syntax.AppAll:
			s.value(r.Word)
			if fd == "" || fd == "1" {
				s.out = nil
			}
		case syntax.DplOut:
			if s.value(r.Word) != "1" && (fd == "" || fd == "1") {
				s.out = nil
			}
		}
	}
	if stmt.Cmd != nil {
		s.command(stmt.Cmd)
	}
}

// subshell runs f so that what it sets is forgotten afterwards, and an exit ends f.
func (s *shell) subshell(f func()) {
	saved := *s
	s.step(len(s.vars) + len(s.functions))
	s.vars, s.functions = maps.Clone(s.vars), maps.Clone(s.functions)
	s.locals = nil
	f()
	result := s.status
	line := s.line
	*s = saved
	s.status, s.line = result, line
}

// captured returns what f prints.
func (s *shell) captured(f func()) string {
	out := s.out
	s.out = new(strings.Builder)
	s.subshell(f)
	text := s.out.String()
	s.out = out
	return text
}

func (s *shell) write(text string) {
	if s.out != nil {
		s.charge(text)
		if s.out.Len()+len(text) > maxText {
			panic(tooMuch{"it prints too much"})
		}
		s.out.WriteString(text)
	}
}

func (s *shell) command(c syntax.Command) {
	switch c := c.(type) {
	case *syntax.CallExpr:
		s.simple(c)
	case *syntax.DeclClause:
		s.declare(c)
	case *syntax.Block:
		s.stmts(c.Stmts)
	case *syntax.Subshell:
		s.subshell(func() { s.stmts(c.Stmts) })
	case *syntax.BinaryCmd:
		s.binary(c)
	case *syntax.IfClause:
		s.ifClause(c)
	case *syntax.WhileClause:
		s.while(c)
	case *syntax.ForClause:
		s.forClause(c)
	case *syntax.CaseClause:
		s.caseClause(c)
	case *syntax.FuncDecl:
		if c.Name != nil {
			s.functions[c.Name.Value] = c.Body
		}
		s.status = success
	case *syntax.TestClause:
		s.status = s.testExpr(c.X)
	case *syntax.ArithmCmd:
		s.status = s.arithmStatus(c.X)
	case *syntax.LetClause:
		for _, x := range c.Exprs {
			s.status = s.arithmStatus(x)
		}
	case *syntax.TimeClause:
		if s.status = success; c.Stmt != nil {
			s.stmt(c.Stmt)
		}
	default:
		s.unsure("a command of a kind that is not known")
		s.status = status{guessed: true}
	}
}

func (s *shell) arithmStatus(x syntax.ArithmExpr) status {
	n, ok := s.arithm(x)
	if !ok {
		return perhaps
	}
	return statusOf(n != 0)
}

// test runs a statement whose status is asked for.
func (s *shell) test(stmts ...*syntax.Stmt) status {
	s.tested++
	st := s.stmts(stmts)
	s.tested--
	return st
}

func (s *shell) binary(c *syntax.BinaryCmd) {
	switch c.Op {
	case syntax.Pipe, syntax.PipeAll:
		var text string
		text = s.captured(func() { s.test(c.X) })
		in := s.in
		s.in = &text
		s.subshell(func() { s.stmt(c.Y) })
		s.in = in
	case syntax.AndStmt:
		if s.test(c.X).ok() && s.leaving == staying {
			s.stmt(c.Y)
		} else if s.status.guessed {
			s.untaken(c.Y)
		}
	case syntax.OrStmt:
		if !s.test(c.X).ok() && s.leaving == staying {
			s.stmt(c.Y)
		}
	}
}

// untaken notes that statements were left out because a guess said so, if they might
// have an effect.
func (s *shell) untaken(stmts ...*syntax.Stmt) {
	for _, stmt := range stmts {
		for node := range syntax.Preorder(stmt) {
			s.step(1)
			call, ok := node.(*syntax.CallExpr)
			if !ok || len(call.Args) == 0 {
				continue
			}
			name := call.Args[0].Lit()
			base := path.Base(name)
			if _, isFunction := s.functions[name]; isFunction || recording(base) != nil && base != "chmod" && base != "chown" {
				s.unsure("%s depends on what is not known", name)
				return
			}
		}
	}
}

func (s *shell) ifClause(c *syntax.IfClause) {
	for ; c != nil; c = c.Else {
		if len(c.Cond) == 0 { // else
			s.stmts(c.Then)
			return
		}
		st := s.test(c.Cond...)
		if s.leaving != staying {
			return
		}
		if st.ok() {
			for e := c.Else; st.guessed && e != nil; e = e.Else {
				s.untaken(e.Then...)
			}
			s.stmts(c.Then)
			return
		}
		if st.guessed {
			s.untaken(c.Then...)
		}
	}
	s.status = success
}

// loop runs the body of a loop once, and reports whether it goes on.
func (s *shell) loop(body []*syntax.Stmt) bool {
	s.step(1)
	s.stmts(body)
	switch s.leaving {
	case breaking, continuing:
		if s.loops--; s.loops > 0 {
			return false
		}
		goesOn := s.leaving == continuing
		s.leaving = staying
		return goesOn
	}
	return s.leaving == staying
}

func (s *shell) while(c *syntax.WhileClause) {
	last := success
	for {
		s.step(1)
		st := s.test(c.Cond...)
		if s.leaving != staying {
			return
		}
		if st.guessed {
			s.untaken(c.Do...)
			break
		}
		if st.ok() == c.Until {
			break
		}
		goesOn := s.loop(c.Do)
		last = s.status
		if !goesOn {
			break
		}
	}
	s.status = last
}

func (s *shell) forClause(c *syntax.ForClause) {
	s.status = success
	switch l := c.Loop.(type) {
	case *syntax.WordIter:
		items := s.arguments
		if l.InPos.IsValid() {
			items = s.fields(l.Items...)
		}
		for _, item := range items {
			s.set(l.Name.Value, item)
			if !s.loop(c.Do) {
				return
			}
		}
	case *syntax.CStyleLoop:
		value := func(x syntax.ArithmExpr) bool {
			if x == nil {
				return true
			}
			n, ok := s.arithm(x)
			return ok && n != 0
		}
		for value(l.Init); value(l.Cond); value(l.Post) {
			if !s.loop(c.Do) {
				return
			}
		}
	}
}

func (s *shell) caseClause(c *syntax.CaseClause) {
	word := s.value(c.Word)
	s.status = success
	falls := false
	for _, item := range c.Items {
		isTaken := falls
		for _, p := range item.Patterns {
			pattern := s.pattern(p)
			isTaken = isTaken || s.matches(pattern, word)
		}
		if !isTaken {
			if strings.Contains(word, unknown) {
				s.untaken(item.Stmts...)
			}
			continue
		}
		s.stmts(item.Stmts)
		if s.leaving != staying || item.Op == syntax.Break {
			return
		}
		falls = item.Op == syntax.Fallthrough
	}
}

// simple runs a simple command: assignments, a function, or a command by name.
func (s *shell) simple(c *syntax.CallExpr) {
	args := s.fields(c.Args...)
	if len(args) == 0 {
		s.status = success
		for _, a := range c.Assigns {
			s.assign(a) // whose command substitution sets the status
		}
		return
	}
	var restore []func()
	for _, a := range c.Assigns {
		name := a.Name.Value
		before, was := s.vars[name]
		s.assign(a)
		restore = append(restore, func() {
			if was {
				s.vars[name] = before
			} else {
				delete(s.vars, name)
			}
		})
	}
	s.status = s.call(args)
	for _, f := range slices.Backward(restore) {
		f()
	}
}

// call runs a function or a command.
func (s *shell) call(args []string) status {
	s.step(1)
	if body, ok := s.functions[args[0]]; ok {
		return s.function(body, args)
	}
	name := args[0]
	if strings.Contains(name, "/") {
		name = path.Base(name)
	}
	run := recording(name)
	if run == nil {
		run = builtin(name)
	}
	if run == nil {
		run = computing(name)
	}
	if run == nil {
		return s.stranger(args)
	}
	return run(s, args[1:])
}

// stranger stands for a program that is not known: it succeeds, and prints what nobody
// knows.
func (s *shell) stranger(args []string) status {
	for _, a := range args[1:] {
		if path.Base(a) == "update-alternatives" { // as in: timeout 5 update-alternatives ...
			s.unsure("%q is not understood", strings.Join(args, " "))
			break
		}
	}
	if strings.HasPrefix(args[0], "db_") { // debconf: confmodule(3)
		s.set("RET", unknown)
	}
	s.write(unknown)
	return status{guessed: true}
}

func (s *shell) function(body *syntax.Stmt, args []string) status {
	s.enter()
	defer s.leave()
	arguments := s.arguments
	s.arguments = args[1:]
	s.locals = append(s.locals, map[string][]string{})
	st := s.stmt(body)
	if n := len(s.locals); n > 0 { // none in a subshell that the function's end is in
		for name, value := range s.locals[n-1] {
			if value == nil {
				delete(s.vars, name)
			} else {
				s.vars[name] = value
			}
		}
		s.locals = s.locals[:n-1]
	}
	s.arguments = arguments
	if s.leaving == returning {
		s.leaving = staying
	}
	return st
}

// declare is local, export, readonly, declare and typeset.
func (s *shell) declare(c *syntax.DeclClause) {
	s.status = success
	for _, a := range c.Args {
		if a.Name == nil {
			if a.Value == nil {
				continue
			}
			for _, word := range s.fields(a.Value) { // options, names, or assignments that were computed
				name, value, ok := strings.Cut(word, "=")
				if !syntax.ValidName(name) {
					continue
				}
				s.declareLocal(c.Variant.Value, name)
				if ok {
					s.set(name, value)
				}
			}
			continue
		}
		name := a.Name.Value
		if a.Naked {
			s.declareLocal(c.Variant.Value, name)
			continue
		}
		value := s.assigned(a)
		s.declareLocal(c.Variant.Value, name)
		s.store(a, value)
	}
}

// declareLocal lets a function's variable be forgotten at its end.
func (s *shell) declareLocal(variant, name string) {
	if variant != "local" && variant != "declare" && variant != "typeset" || len(s.locals) == 0 {
		return
	}
	scope := s.locals[len(s.locals)-1]
	if _, is := scope[name]; !is {
		scope[name] = s.vars[name]
	}
}

func (s *shell) assign(a *syntax.Assign) {
	s.store(a, s.assigned(a))
}

// assigned returns the value of an assignment.
func (s *shell) assigned(a *syntax.Assign) []string {
	switch {
	case a.Array != nil:
		list := []string{}
		for _, e := range a.Array.Elems {
			switch {
			case e.Index != nil:
				s.unsure("an array with subscripts")
			case e.Value != nil:
				list = append(list, s.fields(e.Value)...)
			}
		}
		return list
	case a.Value != nil:
		return []string{s.value(a.Value)}
	}
	return []string{""}
}

func (s *shell) store(a *syntax.Assign, value []string) {
	name := a.Name.Value
	have := s.vars[name]
	if a.Index != nil {
		n, ok := s.arithm(a.Index)
		if !ok || n < 0 || n > int64(len(have)) || n > 1000 {
			s.unsure("an array with a subscript that is not known")
			return
		}
		have = slices.Clone(have)
		s.step(len(have))
		if n == int64(len(have)) {
			have = append(have, "")
		}
		have[n] = strings.Join(value, " ")
		s.vars[name] = have
		return
	}
	if a.Append {
		if a.Array != nil {
			s.step(len(have))
			value = slices.Concat(have, value)
		} else if len(have) > 0 {
			value = []string{have[0] + value[0]}
		}
	}
	for _, v := range value {
		s.charge(v)
	}
	s.vars[name] = value
}

func (s *shell) set(name, value string) { s.vars[name] = []string{s.charge(value)} }

// variable returns a variable's value; ok is false when it is not set.
func (s *shell) variable(name string) (value string, ok bool) {
	list := s.vars[name]
	if len(list) == 0 {
		return "", false
	}
	return list[0], true
}
