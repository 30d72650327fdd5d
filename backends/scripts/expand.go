package scripts

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"mvdan.cc/sh/v3/pattern"
	"mvdan.cc/sh/v3/syntax"
)

// unknown stands, in any string, for text that is not known. No script holds it.
const unknown = "\x00"

func isKnown(texts ...string) bool {
	return !slices.ContainsFunc(texts, func(t string) bool { return strings.Contains(t, unknown) })
}

// piece is a part of a field: quoted text stands for itself in patterns.
type piece struct {
	text   string
	quoted bool
}

// words collects the fields that words expand to.
type words struct {
	fields  [][]piece
	current []piece
	begun   bool // current is a field, be it an empty one
	splits  bool // unquoted values are split
}

func (w *words) add(text string, quoted bool) {
	if text == "" && !quoted {
		return
	}
	w.current, w.begun = append(w.current, piece{text, quoted}), true
}

func (w *words) end() {
	if w.begun {
		w.fields = append(w.fields, w.current)
	}
	w.current, w.begun = nil, false
}

// fields expands words to the arguments that they stand for.
func (s *shell) fields(list ...*syntax.Word) []string {
	w := &words{splits: true}
	for _, word := range list {
		s.step(1)
		for _, one := range s.braces(word) {
			s.parts(w, one.Parts, false)
			w.end()
		}
	}
	var all []string
	for _, f := range w.fields {
		all = append(all, s.glob(f)...)
	}
	s.step(len(all))
	return all
}

// braces returns the words that bash makes of a{b,c}d.
func (s *shell) braces(word *syntax.Word) []*syntax.Word {
	one := *word
	if !syntax.SplitBraces(&one) {
		return []*syntax.Word{word}
	}
	var all []*syntax.Word
	var expand func(done, rest []syntax.WordPart)
	expand = func(done, rest []syntax.WordPart) {
		s.enter()
		defer s.leave()
		for i, p := range rest {
			b, ok := p.(*syntax.BraceExp)
			if !ok {
				continue
			}
			done = append(slices.Clip(done), rest[:i]...)
			if b.Sequence {
				for _, text := range s.sequence(b) {
					expand(append(slices.Clip(done), &syntax.Lit{Value: text}), rest[i+1:])
				}
				return
			}
			for _, e := range b.Elems {
				expand(slices.Clip(done), slices.Concat(e.Parts, rest[i+1:]))
			}
			return
		}
		s.step(1 + len(done) + len(rest))
		all = append(all, &syntax.Word{Parts: slices.Concat(done, rest)})
	}
	expand(nil, one.Parts)
	return all
}

// sequence returns what {1..5} stands for.
func (s *shell) sequence(b *syntax.BraceExp) []string {
	var n [3]int
	for i, e := range b.Elems {
		var err error
		if n[i], err = strconv.Atoi(e.Lit()); err != nil {
			return []string{unknown}
		}
	}
	step := max(n[2], -n[2], 1)
	var all []string
	if n[0] <= n[1] {
		for i := n[0]; i <= n[1]; i += step {
			s.step(1)
			all = append(all, strconv.Itoa(i))
		}
		return all
	}
	for i := n[0]; i >= n[1]; i -= step {
		s.step(1)
		all = append(all, strconv.Itoa(i))
	}
	return all
}

// value expands a word to one text, without splitting it.
func (s *shell) value(word *syntax.Word) string {
	if word == nil {
		return ""
	}
	w := &words{}
	s.parts(w, word.Parts, false)
	w.end()
	return s.join(w)
}

// document returns the text of a here-document, expanded unless a part of its delimiter
// is quoted.
func (s *shell) document(r *syntax.Redirect) string {
	if r.Hdoc == nil {
		return ""
	}
	w := &words{}
	for _, p := range r.Word.Parts {
		if l, ok := p.(*syntax.Lit); !ok || strings.Contains(l.Value, "\\") {
			for _, p := range r.Hdoc.Parts {
				if l, ok := p.(*syntax.Lit); ok {
					w.add(l.Value, true)
				}
			}
			w.end()
			return s.join(w)
		}
	}
	s.parts(w, r.Hdoc.Parts, true)
	w.end()
	return s.join(w)
}

func (s *shell) join(w *words) string {
	var text strings.Builder
	for i, f := range w.fields {
		if i > 0 {
			text.WriteByte(' ')
		}
		for _, p := range f {
			text.WriteString(p.text)
			if text.Len() > maxText {
				panic(tooMuch{"it makes too long strings"})
			}
		}
	}
	return s.charge(text.String())
}

// pattern expands a word to a pattern, in which quoted text stands for itself.
func (s *shell) pattern(word *syntax.Word) string {
	if word == nil {
		return ""
	}
	w := &words{}
	s.parts(w, word.Parts, false)
	w.end()
	var text string
	for i, f := range w.fields {
		if i > 0 {
			text += " "
		}
		text += s.quoteField(f)
	}
	return text
}

func (s *shell) quoteField(f []piece) string {
	var text strings.Builder
	for _, p := range f {
		if p.quoted {
			p.text = pattern.QuoteMeta(p.text, 0)
		}
		text.WriteString(p.text)
	}
	return s.charge(text.String())
}

// parts expands the parts of a word.
func (s *shell) parts(w *words, parts []syntax.WordPart, quoted bool) {
	s.enter()
	defer s.leave()
	for i, part := range parts {
		s.step(1)
		switch p := part.(type) {
		case *syntax.Lit:
			s.literal(w, p.Value, quoted, i == 0)
		case *syntax.SglQuoted:
			text := p.Value
			if p.Dollar {
				text = unescape(text)
			}
			w.add(s.charge(text), true)
		case *syntax.DblQuoted:
			if !isOnlyList(p.Parts) {
				w.add("", true)
			}
			s.parts(w, p.Parts, true)
		case *syntax.ParamExp:
			s.parameter(w, p, quoted)
		case *syntax.CmdSubst:
			text := s.captured(func() { s.stmts(p.Stmts) })
			s.split(w, s.charge(strings.TrimRight(text, "\n")), quoted)
		case *syntax.ArithmExp:
			s.split(w, s.number(p.X), quoted)
		case *syntax.ExtGlob:
			w.add(s.charge(p.Op.String()+p.Pattern.Value+")"), false)
		default: // process substitution
			w.add(unknown, true)
		}
	}
}

// isOnlyList reports whether a quoted text is "$@" or "${a[@]}" alone, which may be no
// field at all.
func isOnlyList(parts []syntax.WordPart) bool {
	if len(parts) != 1 {
		return false
	}
	p, ok := parts[0].(*syntax.ParamExp)
	return ok && p.Exp == nil && !p.Length && isList(p)
}

func isList(p *syntax.ParamExp) bool {
	if p.Param == nil {
		return false
	}
	return p.Param.Value == "@" || index(p) == "@"
}

// index returns the subscript of a parameter when it is a plain text.
func index(p *syntax.ParamExp) string {
	if w, ok := p.Index.(*syntax.Word); ok {
		return w.Lit()
	}
	return ""
}

func (s *shell) number(x syntax.ArithmExpr) string {
	n, ok := s.arithm(x)
	if !ok {
		return unknown
	}
	return strconv.FormatInt(n, 10)
}

// literal adds text of the script itself, in which backslashes quote.
func (s *shell) literal(w *words, text string, quoted, first bool) {
	s.charge(text)
	if first && !quoted && (text == "~" || strings.HasPrefix(text, "~/")) {
		text = "/root" + text[1:]
	}
	for text != "" {
		i := strings.IndexByte(text, '\\')
		if i < 0 || i == len(text)-1 {
			w.add(text, quoted)
			return
		}
		w.add(text[:i], quoted)
		c := text[i+1 : i+2]
		switch {
		case c == "\n":
		case !quoted, strings.Contains("$`\"\\", c):
			w.add(c, true)
		default:
			w.add("\\"+c, true)
		}
		text = text[i+2:]
	}
}

// unescape is what $'...' makes of its text, without the escapes that nobody uses.
func unescape(text string) string {
	return strings.NewReplacer(`\n`, "\n", `\t`, "\t", `\\`, `\`, `\'`, `'`, `\"`, `"`, `\r`, "\r").Replace(text)
}

// split adds a value, which is split at the characters of IFS where it is not quoted.
func (s *shell) split(w *words, text string, quoted bool) {
	if quoted || !w.splits {
		w.add(text, quoted)
		return
	}
	ifs, ok := s.variable("IFS")
	if !ok {
		ifs = " \t\n"
	}
	for text != "" {
		i := strings.IndexAny(text, ifs)
		if i < 0 {
			w.add(text, false)
			return
		}
		s.step(1)
		w.add(text[:i], false)
		if strings.ContainsAny(text[i:i+1], " \t\n") {
			w.end()
		} else {
			w.begun = true
			w.end()
		}
		text = text[i+1:]
	}
}

// parameter expands $x and ${x...}.
func (s *shell) parameter(w *words, p *syntax.ParamExp, quoted bool) {
	if p.Param == nil || p.Flags != nil || p.Names != 0 || p.Width || p.IsSet || len(p.Modifiers) > 0 {
		w.add(unknown, true)
		return
	}
	if isList(p) && p.Exp == nil && p.Repl == nil && p.Slice == nil && !p.Length && !p.Excl {
		s.list(w, p, quoted)
		return
	}
	text, set := s.parameterValue(p)
	switch {
	case p.Excl:
		value, _ := s.variable(text)
		if !isKnown(text) || p.Exp != nil || p.Slice != nil || p.Repl != nil {
			value = unknown
		}
		text = value
	case p.Length:
		n := strconv.Itoa(len([]rune(text)))
		if isList(p) || p.Param.Value == "*" || index(p) == "*" {
			n = strconv.Itoa(len(s.listOf(p)))
		} else if !isKnown(text) {
			n = unknown
		}
		text = n
	case p.Slice != nil:
		text = s.slice(text, p.Slice)
	case p.Repl != nil:
		text = s.replace(text, p.Repl)
	case p.Exp != nil:
		s.expansion(w, p, text, set, quoted)
		return
	}
	s.split(w, s.charge(text), quoted)
}

// list adds $@ or ${a[@]}: a field for each.
func (s *shell) list(w *words, p *syntax.ParamExp, quoted bool) {
	for i, text := range s.listOf(p) {
		s.step(1)
		if i > 0 {
			if w.splits {
				w.end()
			} else {
				w.add(" ", true)
			}
		}
		s.charge(text)
		if quoted {
			w.add(text, true)
		} else {
			s.split(w, text, false)
		}
	}
}

func (s *shell) listOf(p *syntax.ParamExp) []string {
	if p.Param.Value == "@" || p.Param.Value == "*" {
		return s.arguments
	}
	return s.vars[p.Param.Value]
}

// parameterValue returns the value of a parameter before anything is done to it.
func (s *shell) parameterValue(p *syntax.ParamExp) (value string, set bool) {
	name := p.Param.Value
	if p.Index != nil {
		if i := index(p); i == "@" || i == "*" {
			return s.joined(s.vars[name]), len(s.vars[name]) > 0
		}
		n, ok := s.arithm(p.Index)
		switch list := s.vars[name]; {
		case !ok:
			return unknown, true
		case n >= 0 && n < int64(len(list)):
			return list[n], true
		}
		return "", false
	}
	switch name {
	case "@", "*":
		return s.joined(s.arguments), len(s.arguments) > 0
	case "#":
		return strconv.Itoa(len(s.arguments)), true
	case "?":
		if s.status.guessed {
			return unknown, true
		}
		return strconv.Itoa(s.status.code), true
	case "0":
		return s.zero, true
	case "-", "$", "!", "RANDOM", "SECONDS", "PPID":
		return unknown, true
	}
	if n, err := strconv.Atoi(name); err == nil {
		if n < 1 || n > len(s.arguments) {
			return "", false
		}
		return s.arguments[n-1], true
	}
	return s.variable(name)
}

func (s *shell) joined(list []string) string {
	n := 0
	for _, text := range list {
		n += len(text) + 1
	}
	if n > maxText {
		panic(tooMuch{"it makes too long strings"})
	}
	return s.charge(strings.Join(list, " "))
}

// slice is ${x:offset:length}.
func (s *shell) slice(text string, slice *syntax.Slice) string {
	from, ok := s.arithm(slice.Offset)
	runes := []rune(text)
	length := int64(len(runes))
	if !ok || !isKnown(text) {
		return unknown
	}
	if from < 0 {
		from = max(0, from+length)
	}
	from = min(from, length)
	to := length
	if slice.Length != nil {
		n, ok := s.arithm(slice.Length)
		switch {
		case !ok:
			return unknown
		case n < 0:
			to = max(from, length+n)
		case n < length-from:
			to = from + n
		}
	}
	return string(runes[from:to])
}

// replace is ${x/pattern/with}.
func (s *shell) replace(text string, r *syntax.Replace) string {
	p, with := s.pattern(r.Orig), s.value(r.With)
	anchor := ""
	if !r.All && (strings.HasPrefix(p, "#") || strings.HasPrefix(p, "%")) {
		anchor, p = p[:1], p[1:]
	}
	re := s.regexp(p, 0, len(text))
	if re == nil || !isKnown(p, text) {
		return unknown
	}
	var out strings.Builder
	for text != "" {
		s.step(1)
		at := re.FindStringIndex(text)
		if at == nil || at[1] == at[0] || anchor == "#" && at[0] != 0 {
			break
		}
		if anchor == "%" && at[1] != len(text) {
			out.WriteString(text[:at[0]+1])
			text = text[at[0]+1:]
			continue
		}
		out.WriteString(text[:at[0]] + with)
		if text = text[at[1]:]; out.Len() > maxText {
			panic(tooMuch{"it makes too long strings"})
		}
		if !r.All {
			break
		}
	}
	return out.String() + text
}

// expansion is ${x:-y}, ${x#y} and their like.
func (s *shell) expansion(w *words, p *syntax.ParamExp, text string, set, quoted bool) {
	other := func() {
		if p.Exp.Word != nil {
			s.parts(w, p.Exp.Word.Parts, quoted)
		}
	}
	switch op := p.Exp.Op; op {
	case syntax.AlternateUnset, syntax.AlternateUnsetOrNull:
		if set && (text != "" || op == syntax.AlternateUnset) {
			other()
		}
		return
	case syntax.DefaultUnset, syntax.DefaultUnsetOrNull, syntax.AssignUnset, syntax.AssignUnsetOrNull, syntax.ErrorUnset, syntax.ErrorUnsetOrNull:
		orNull := op == syntax.DefaultUnsetOrNull || op == syntax.AssignUnsetOrNull || op == syntax.ErrorUnsetOrNull
		switch {
		case set && (text != "" || !orNull):
		case op == syntax.DefaultUnset || op == syntax.DefaultUnsetOrNull:
			other()
			return
		case op == syntax.AssignUnset || op == syntax.AssignUnsetOrNull:
			text = s.value(p.Exp.Word)
			s.set(p.Param.Value, text)
		default:
			s.leaving, s.status = exiting, failure
		}
	case syntax.RemSmallSuffix, syntax.RemLargeSuffix, syntax.RemSmallPrefix, syntax.RemLargePrefix:
		text = s.trim(op, text, s.pattern(p.Exp.Word))
	case syntax.UpperAll:
		text = strings.ToUpper(text)
	case syntax.LowerAll:
		text = strings.ToLower(text)
	case syntax.UpperFirst, syntax.LowerFirst:
		change := unicode.ToUpper
		if op == syntax.LowerFirst {
			change = unicode.ToLower
		}
		if r := []rune(text); len(r) > 0 {
			r[0] = change(r[0])
			text = string(r)
		}
	default:
		text = unknown
	}
	s.split(w, s.charge(text), quoted)
}

// trim takes away the part of text, at its beginning or end, that matches a pattern.
func (s *shell) trim(op syntax.ParExpOperator, text, p string) string {
	var mode pattern.Mode
	if op == syntax.RemSmallPrefix || op == syntax.RemSmallSuffix {
		mode = pattern.Shortest
	}
	re := s.regexp(p, mode, len(text))
	if re == nil {
		return unknown
	}
	expr := "(?:" + re.String() + ")"
	switch op {
	case syntax.RemSmallPrefix, syntax.RemLargePrefix:
		expr = "^" + expr
	case syntax.RemSmallSuffix:
		expr = "(?s:^(.*))" + expr + "$"
	case syntax.RemLargeSuffix:
		expr += "$"
	}
	re, err := regexp.Compile(expr)
	if err != nil {
		return unknown
	}
	at := re.FindStringSubmatchIndex(text)
	switch {
	case at == nil:
		return text
	case op == syntax.RemSmallSuffix:
		return text[:at[3]]
	case op == syntax.RemLargeSuffix:
		return text[:at[0]]
	}
	return text[at[1]:]
}

// regexp returns a pattern as a regular expression, to be used once on so many bytes;
// nil if it is none.
func (s *shell) regexp(p string, mode pattern.Mode, size int) *regexp.Regexp {
	if len(p) > maxPattern {
		return nil
	}
	s.step(1 + len(p) + size*len(p)/64)
	expr, err := pattern.Regexp(p, mode)
	if err != nil {
		return nil
	}
	re, err := regexp.Compile(expr)
	if err != nil {
		return nil
	}
	return re
}

// matches reports whether a pattern matches the whole of text. What is unknown is
// matched by a pattern that matches everything only.
func (s *shell) matches(p, text string) bool {
	if !isKnown(text, p) {
		return strings.Trim(p, "*") == "" && p != ""
	}
	re := s.regexp(p, pattern.EntireString|pattern.ExtendedOperators, len(text))
	return re != nil && re.MatchString(text)
}

// glob returns the package's files that a field with unquoted * and the like stands
// for, or its text when there are none.
func (s *shell) glob(f []piece) []string {
	var text strings.Builder
	isPattern := false
	for _, p := range f {
		isPattern = isPattern || !p.quoted && strings.ContainsAny(p.text, "*?[")
		text.WriteString(p.text)
	}
	plain := s.charge(text.String())
	if !isPattern || s.noglob || !isKnown(plain) {
		return []string{plain}
	}
	p := s.quoteField(f)
	relative := ""
	if !strings.HasPrefix(p, "/") {
		relative = strings.TrimSuffix(s.dir, "/") + "/"
		p = pattern.QuoteMeta(relative, 0) + p
	}
	re := s.regexp(mergedPattern(p), pattern.Filenames|pattern.EntireString|pattern.NoGlobStar, 0)
	if re == nil {
		return []string{plain}
	}
	s.step(len(s.context.Files) * (len(p)/64 + 1) / 8)
	var found []string
	for file := range s.context.Files {
		if re.MatchString(file) {
			s.step(1)
			found = append(found, s.charge(strings.TrimPrefix(file, relative)))
		}
	}
	if len(found) == 0 {
		return []string{plain}
	}
	slices.Sort(found)
	return found
}

// mergedPattern is merged for a pattern.
func mergedPattern(p string) string {
	for _, top := range []string{"/bin/", "/sbin/", "/lib/", "/lib32/", "/lib64/"} {
		if strings.HasPrefix(p, top) {
			return "/usr" + p
		}
	}
	return p
}
