package scripts

import (
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// computing returns a program that only computes, or that asks a system what a fresh
// one answers in the same way; nil for another name.
func computing(name string) command {
	switch name {
	case "basename":
		return basename
	case "dirname":
		return dirname
	case "cat", "tee":
		return cat
	case "cut":
		return cut
	case "expr":
		return expr
	case "grep", "egrep", "fgrep":
		return grep(name)
	case "head", "tail":
		return headOrTail(name == "head")
	case "sed":
		return sed
	case "sort":
		return sortLines
	case "tr":
		return tr
	case "uniq":
		return uniq
	case "wc":
		return wc
	case "seq":
		return seq
	case "xargs":
		return xargs
	case "awk", "mawk", "gawk":
		return awk
	case "which":
		return commandFound
	case "readlink", "realpath":
		return readlink
	case "uname", "arch":
		return uname
	case "dpkg":
		return dpkg
	case "dpkg-architecture":
		return dpkgArchitecture
	case "dpkg-divert":
		return dpkgDivert
	case "getent":
		return getent
	case "pidof", "pgrep", "ischroot", "dpkg-statoverride", "systemd-detect-virt":
		return fail // of a fresh system
	case "id":
		return id
	case "env", "nice", "ionice", "nohup", "setsid":
		return wrapper
	}
	return nil
}

// input returns standard input, or what files hold that are named, which nobody knows.
func (s *shell) input(files []string) string {
	if len(files) > 0 && !(len(files) == 1 && files[0] == "-") {
		return unknown
	}
	text := *s.in
	*s.in = ""
	return s.charge(text)
}

// lines calls f with each line of text.
func (s *shell) lines(text string, f func(line string)) {
	for line := range strings.Lines(text) {
		s.step(1)
		f(strings.TrimSuffix(line, "\n"))
	}
}

func basename(s *shell, args []string) status {
	_, args = options(args, "s")
	if len(args) == 0 {
		return failure
	}
	base := path.Base(args[0])
	if len(args) > 1 && base != args[1] {
		base = strings.TrimSuffix(base, args[1])
	}
	s.write(base + "\n")
	return success
}

func dirname(s *shell, args []string) status {
	for _, a := range args {
		s.write(path.Dir(strings.TrimRight(a, "/")) + "\n")
	}
	return success
}

func cat(s *shell, args []string) status {
	s.write(s.input(args))
	return success
}

// ranges reads a list of cut: 2, 1-3, -2, 4-.
func ranges(list string) func(n, of int) bool {
	return func(n, _ int) bool {
		for r := range strings.SplitSeq(list, ",") {
			from, to, is := strings.Cut(r, "-")
			a, errA := strconv.Atoi(from)
			b, errB := strconv.Atoi(to)
			switch {
			case !is && errA == nil && n == a:
				return true
			case is && (from == "" || errA == nil && n >= a) && (to == "" || errB == nil && n <= b):
				return true
			}
		}
		return false
	}
}

func cut(s *shell, args []string) status {
	have, files := options(args, "dfcb")
	delimiter := "\t"
	if d := have['d']; d != "" {
		delimiter = d[:1]
	}
	list, byField := have['f']
	if !byField {
		list = have['c'] + have['b']
	}
	if len(list) > 50 {
		s.write(unknown)
		return success
	}
	has := ranges(list)
	s.lines(s.input(files), func(line string) {
		var parts []string
		if byField {
			parts = strings.Split(line, delimiter)
			if len(parts) == 1 {
				s.write(line + "\n")
				return
			}
		} else {
			parts = strings.Split(line, "")
			delimiter = ""
		}
		s.step(len(parts))
		var kept []string
		for i, p := range parts {
			if has(i+1, len(parts)) {
				kept = append(kept, p)
			}
		}
		s.write(strings.Join(kept, delimiter) + "\n")
	})
	return success
}

// expr knows an operator between two operands.
func expr(s *shell, args []string) status {
	if len(args) == 1 {
		s.write(args[0] + "\n")
		return statusOf(args[0] != "" && args[0] != "0")
	}
	if len(args) > 3 && len(args)%2 == 1 { // a + b + c
		text := s.captured(func() { s.status = expr(s, args[:3]) })
		return expr(s, append([]string{strings.TrimSuffix(text, "\n")}, args[3:]...))
	}
	if len(args) != 3 || !isKnown(args...) {
		s.write(unknown)
		return perhaps
	}
	a, errA := strconv.ParseInt(args[0], 10, 64)
	b, errB := strconv.ParseInt(args[2], 10, 64)
	numbers := errA == nil && errB == nil
	var n int64
	switch op := args[1]; {
	case op == ":":
		return s.exprMatch(args[0], args[2])
	case op == "=":
		n = truth(args[0] == args[2])
	case op == "!=":
		n = truth(args[0] != args[2])
	case numbers && op == "+":
		n = a + b
	case numbers && op == "-":
		n = a - b
	case numbers && op == "*":
		n = a * b
	case numbers && op == "/" && b != 0:
		n = a / b
	case numbers && op == "%" && b != 0:
		n = a % b
	case numbers && op == "<":
		n = truth(a < b)
	case numbers && op == ">":
		n = truth(a > b)
	case numbers && op == "<=":
		n = truth(a <= b)
	case numbers && op == ">=":
		n = truth(a >= b)
	default:
		s.write(unknown)
		return perhaps
	}
	s.write(strconv.FormatInt(n, 10) + "\n")
	return statusOf(n != 0)
}

func (s *shell) exprMatch(text, p string) status {
	re := s.basicRegexp(p, len(text), false)
	if re == nil {
		s.write(unknown)
		return perhaps
	}
	at := re.FindStringSubmatchIndex(text)
	switch {
	case at == nil || at[0] != 0:
		if re.NumSubexp() > 0 {
			s.write("\n")
		} else {
			s.write("0\n")
		}
		return failure
	case re.NumSubexp() > 0 && at[2] >= 0:
		s.write(text[at[2]:at[3]] + "\n")
		return statusOf(at[3] > at[2])
	}
	s.write(strconv.Itoa(at[1]) + "\n")
	return statusOf(at[1] > 0)
}

// basicRegexp compiles a regular expression of POSIX, a basic one or an extended one;
// nil for what is none or is large.
func (s *shell) basicRegexp(p string, size int, extended bool) *regexp.Regexp {
	if len(p) > maxPattern || !isKnown(p) {
		return nil
	}
	cost := len(p)
	if strings.Contains(p, "{") {
		cost *= 200 // it may repeat
	}
	s.step(1 + cost/16 + size*cost/64)
	if !extended {
		p = fromBasic(p)
	}
	re, err := regexp.Compile(p)
	if err != nil {
		return nil
	}
	return re
}

// fromBasic turns a basic regular expression into an extended one: where one has a
// backslash the other has none.
func fromBasic(p string) string {
	var out strings.Builder
	for i := 0; i < len(p); i++ {
		switch c := p[i]; {
		case c == '\\' && i+1 < len(p):
			i++
			if !strings.ContainsRune("(){}+?|", rune(p[i])) {
				out.WriteByte('\\')
			}
			out.WriteByte(p[i])
		case strings.ContainsRune("(){}+?|", rune(c)):
			out.WriteString("\\" + string(c))
		case c == '*' && (i == 0 || strings.HasSuffix(p[:i], `\(`) || p[:i] == "^"):
			out.WriteString(`\*`)
		case c == '[': // as it is, to its end
			end := strings.IndexByte(p[min(i+2, len(p)):], ']')
			if end < 0 {
				out.WriteByte(c)
				continue
			}
			end += i + 2
			if strings.HasPrefix(p[i:], "[[:") || strings.HasPrefix(p[i:], "[^[:") {
				if j := strings.Index(p[i:], "]]"); j >= 0 {
					end = i + j + 1
				}
			}
			out.WriteString(strings.ReplaceAll(p[i:end+1], `\`, `\\`))
			i = end
		default:
			out.WriteByte(c)
		}
	}
	return out.String()
}

func grep(name string) command {
	return func(s *shell, args []string) status {
		have, operands := options(args, "emABC")
		p, ok := have['e']
		if !ok {
			if len(operands) == 0 {
				return status{code: 2, guessed: true}
			}
			p, operands = operands[0], operands[1:]
		}
		is := func(c byte) bool { _, ok := have[c]; return ok }
		text := s.input(operands)
		if is('F') || name == "fgrep" {
			p = regexp.QuoteMeta(p)
		}
		expression := p
		if !(is('E') || is('F') || name != "grep") {
			expression = fromBasic(p)
		}
		if is('w') {
			expression = `\b(?:` + expression + `)\b`
		}
		if is('x') {
			expression = `^(?:` + expression + `)$`
		}
		if is('i') {
			expression = "(?i)" + expression
		}
		re := s.basicRegexp(expression, len(text), true)
		if re == nil || is('c') || is('l') || is('P') || text == unknown {
			s.write(unknown)
			return perhaps
		}
		st := failure
		s.lines(text, func(line string) {
			if !isKnown(line) {
				if st == failure {
					st = perhaps
				}
				return
			}
			if re.MatchString(line) == is('v') {
				return
			}
			st = success
			switch {
			case is('q'):
			case is('o'):
				for _, m := range re.FindAllString(line, -1) {
					s.write(m + "\n")
				}
			default:
				s.write(line + "\n")
			}
		})
		return st
	}
}

func headOrTail(isHead bool) command {
	return func(s *shell, args []string) status {
		if len(args) > 0 && len(args[0]) > 1 && args[0][0] == '-' && args[0][1] >= '0' && args[0][1] <= '9' {
			args = append([]string{"-n", args[0][1:]}, args[1:]...)
		}
		have, files := options(args, "nc")
		text := s.input(files)
		n, err := strconv.Atoi(strings.TrimPrefix(have['n'], "+"))
		if _, ok := have['n']; !ok {
			n, err = 10, nil
		}
		if _, ok := have['c']; ok || err != nil || n < 0 {
			s.write(unknown)
			return success
		}
		lines := slices.Collect(strings.Lines(text))
		s.step(len(lines))
		switch {
		case isHead:
			lines = lines[:min(n, len(lines))]
		case strings.HasPrefix(have['n'], "+"):
			lines = lines[min(max(n-1, 0), len(lines)):]
		default:
			lines = lines[max(0, len(lines)-n):]
		}
		s.write(strings.Join(lines, ""))
		return success
	}
}

func sortLines(s *shell, args []string) status {
	have, files := options(args, "kt")
	text := s.input(files)
	lines := slices.Collect(strings.Lines(text))
	s.step(2 * len(lines))
	for _, c := range []byte("knVht") {
		if _, ok := have[c]; ok && len(lines) > 1 {
			s.write(unknown)
			return success
		}
	}
	slices.Sort(lines)
	if _, ok := have['r']; ok {
		slices.Reverse(lines)
	}
	if _, ok := have['u']; ok {
		lines = slices.Compact(lines)
	}
	s.write(strings.Join(lines, ""))
	return success
}

func uniq(s *shell, args []string) status {
	have, files := options(args, "")
	if len(have) > 0 {
		files = []string{unknown}
	}
	lines := slices.Collect(strings.Lines(s.input(files)))
	s.step(len(lines))
	s.write(strings.Join(slices.Compact(lines), ""))
	return success
}

// trSet returns the characters of one of tr's sets.
func (s *shell) trSet(text string) []byte {
	for name, r := range map[string]string{"[:upper:]": "A-Z", "[:lower:]": "a-z", "[:digit:]": "0-9", "[:space:]": " \t\n", "[:alpha:]": "A-Za-z", "[:alnum:]": "A-Za-z0-9"} {
		text = strings.ReplaceAll(text, name, r)
	}
	text = unescape(text)
	var set []byte
	for i := 0; i < len(text); i++ {
		s.step(1)
		if i+2 < len(text) && text[i+1] == '-' && text[i] <= text[i+2] {
			for c := int(text[i]); c <= int(text[i+2]); c++ {
				set = append(set, byte(c))
			}
			i += 2
			continue
		}
		set = append(set, text[i])
	}
	return set
}

func tr(s *shell, args []string) status {
	have, sets := options(args, "")
	text := s.input(nil)
	_, deletes := have['d']
	_, squeezes := have['s']
	if _, complement := have['c']; complement || len(sets) == 0 || len(sets) == 1 && !deletes && !squeezes || len(sets[0]) > 300 {
		s.write(unknown)
		return success
	}
	from := s.trSet(sets[0])
	to := from
	if len(sets) > 1 {
		to = s.trSet(sets[1])
	}
	s.step(len(text) / 16)
	var out strings.Builder
	last := -1
	for _, c := range []byte(text) {
		at := slices.Index(from, c)
		if at >= 0 && deletes {
			continue
		}
		if at >= 0 && len(to) > 0 {
			c = to[min(at, len(to)-1)]
		}
		if squeezes && at >= 0 && int(c) == last {
			continue
		}
		last = int(c)
		out.WriteByte(c)
	}
	s.write(out.String())
	return success
}

func wc(s *shell, args []string) status {
	have, files := options(args, "")
	text := s.input(files)
	if !isKnown(text) || len(have) != 1 {
		s.write(unknown)
		return success
	}
	n := len(text)
	if _, ok := have['l']; ok {
		n = strings.Count(text, "\n")
	} else if _, ok := have['w']; ok {
		n = len(strings.Fields(text))
	}
	s.write(strconv.Itoa(n) + "\n")
	return success
}

func seq(s *shell, args []string) status {
	n := []int{1, 1, 1}
	var values []int
	for _, a := range args {
		v, err := strconv.Atoi(a)
		if err != nil {
			s.write(unknown)
			return success
		}
		values = append(values, v)
	}
	switch len(values) {
	case 1:
		n[2] = values[0]
	case 2:
		n[0], n[2] = values[0], values[1]
	case 3:
		copy(n, values)
	}
	if n[1] <= 0 {
		s.write(unknown)
		return success
	}
	for i := n[0]; i <= n[2]; i += n[1] {
		s.step(1)
		s.write(strconv.Itoa(i) + "\n")
	}
	return success
}

// xargs runs its command once with all that it reads, or once for each line with -I or
// -n 1.
func xargs(s *shell, args []string) status {
	have, command := options(args, "InLPdsE")
	words := strings.Fields(s.input(nil))
	s.step(len(words))
	if len(command) == 0 || len(words) == 0 {
		return success
	}
	replace, ok := have['I']
	if !ok && have['n'] != "1" && have['L'] != "1" {
		return s.call(slices.Concat(command, words))
	}
	st := success
	for _, word := range words {
		one := slices.Clone(command)
		if ok && replace != "" {
			for i := range one {
				if len(one[i])+strings.Count(one[i], replace)*len(word) > maxText {
					panic(tooMuch{"it makes too long strings"})
				}
				one[i] = s.charge(strings.ReplaceAll(one[i], replace, word))
			}
		} else {
			one = append(one, word)
		}
		st = s.call(one)
	}
	return st
}

var awkPrint = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^\s*\{\s*print\s*\$(\d+|NF)\s*;?\s*\}\s*$`) })

// awk knows programs that print one field.
func awk(s *shell, args []string) status {
	have, operands := options(args, "Fvf")
	if len(operands) == 0 || len(operands[0]) > maxPattern {
		s.write(unknown)
		return success
	}
	m := awkPrint().FindStringSubmatch(operands[0])
	text := s.input(operands[1:])
	if m == nil || len(have['F']) > 1 {
		s.write(unknown)
		return status{guessed: true}
	}
	s.lines(text, func(line string) {
		fields := strings.Fields(line)
		if have['F'] != "" {
			fields = strings.Split(line, have['F'])
		}
		n, err := strconv.Atoi(m[1])
		if err != nil {
			n = len(fields)
		}
		switch {
		case n == 0:
			s.write(line)
		case n <= len(fields):
			s.write(fields[n-1])
		}
		s.write("\n")
	})
	return success
}

// readlink prints the path itself: where a package's links lead is not followed.
func readlink(s *shell, args []string) status {
	have, files := options(args, "")
	if len(files) != 1 {
		return failure
	}
	_, f := have['f']
	_, e := have['e']
	_, m := have['m']
	p := s.path(files[0])
	mode, ok := s.mode(p)
	switch {
	case !isKnown(p) || mode != 0 && s.file("-L", p).ok():
		s.write(unknown)
		return success
	case !f && !e && !m: // readlink of what is no link
		return failure
	case e && !ok:
		return failure
	}
	s.write(p + "\n")
	return success
}

func uname(s *shell, args []string) status {
	machine, _, _ := strings.Cut(s.context.Triplet, "-")
	if machine == "i386" {
		machine = "i686"
	}
	have, _ := options(args, "")
	_, m := have['m']
	_, sys := have['s']
	switch {
	case machine == "" || len(have) > 1:
		s.write(unknown)
	case m:
		s.write(machine + "\n")
	case sys || len(args) == 0:
		s.write("Linux\n")
	default:
		s.write(unknown)
	}
	return success
}

func dpkg(s *shell, args []string) status {
	for len(args) > 0 && (strings.HasPrefix(args[0], "--root") || strings.HasPrefix(args[0], "--admindir") || args[0] == "") {
		args = args[1:]
	}
	if len(args) == 0 {
		return failure
	}
	switch args[0] {
	case "--print-architecture":
		s.write(s.architecture() + "\n")
		return success
	case "--print-foreign-architectures":
		return success
	case "--compare-versions":
		return s.compareVersions(args[1:])
	case "-L", "--listfiles":
		if len(args) > 1 && strings.HasPrefix(args[1], s.context.Package.Name) {
			s.write(s.listFiles())
			return success
		}
		return perhaps
	case "-s", "--status", "-l", "--list", "-S", "--search", "--verify", "-V":
		s.write(unknown)
		return perhaps
	}
	return success
}

// architecture is the machine's own, in dpkg's words.
func (s *shell) architecture() string {
	if a := s.context.Package.Architecture; a != "all" && a != "noarch" {
		return a
	}
	return unknown
}

func (s *shell) listFiles() string {
	s.step(len(s.context.Files))
	list := make([]string, 0, len(s.context.Files))
	size := 0
	for f := range s.context.Files {
		list = append(list, f+"\n")
		if size += len(f) + 1; size > maxText {
			panic(tooMuch{"the package's files are too many for it"})
		}
	}
	slices.Sort(list)
	return s.charge(strings.Join(list, ""))
}

// compareVersions is dpkg --compare-versions: an empty version is older than any, or
// with the operators that end in -nl newer (dpkg(1)).
func (s *shell) compareVersions(args []string) status {
	if len(args) != 3 {
		return status{code: 2, guessed: true}
	}
	a, op, b := args[0], args[1], args[2]
	if !isKnown(a, b) {
		return perhaps
	}
	n := 0
	switch {
	case a == b:
	case a == "" || b == "":
		n = 1
		if (a == "") != strings.HasSuffix(op, "-nl") {
			n = -1
		}
	case s.context.Compare == nil:
		return perhaps
	default:
		s.step(len(a) + len(b))
		n = s.context.Compare(a, b)
	}
	switch strings.TrimSuffix(op, "-nl") {
	case "lt", "<<":
		return statusOf(n < 0)
	case "le", "<=", "<":
		return statusOf(n <= 0)
	case "eq", "=":
		return statusOf(n == 0)
	case "ne":
		return statusOf(n != 0)
	case "ge", ">=", ">":
		return statusOf(n >= 0)
	case "gt", ">>":
		return statusOf(n > 0)
	}
	return status{code: 2, guessed: true}
}

// dpkgArchitecture knows -qDEB_HOST_MULTIARCH and its like.
func dpkgArchitecture(s *shell, args []string) status {
	for i, a := range args {
		query, ok := strings.CutPrefix(a, "-q")
		if !ok {
			continue
		}
		if query == "" && i+1 < len(args) {
			query = args[i+1]
		}
		_, what, _ := strings.Cut(strings.TrimPrefix(query, "DEB_"), "_")
		text := unknown
		machine, _, _ := strings.Cut(s.context.Triplet, "-")
		switch {
		case what == "MULTIARCH" && s.context.Triplet != "":
			text = s.context.Triplet
		case what == "ARCH":
			text = s.architecture()
		case what == "GNU_CPU" && machine != "":
			text = machine
		case what == "ARCH_OS":
			text = "linux"
		}
		s.write(text + "\n")
		return success
	}
	s.write(unknown)
	return success
}

func dpkgDivert(s *shell, args []string) status {
	for i, a := range args {
		if a == "--truename" && i+1 < len(args) {
			s.write(args[i+1] + "\n")
		}
	}
	return success
}

// id knows root, which scripts run as, and nobody else.
func id(s *shell, args []string) status {
	have, users := options(args, "")
	if len(users) > 0 && users[0] != "root" {
		if _, made := s.users[users[0]]; made {
			s.write(unknown + "\n")
			return success
		}
		return failure
	}
	if _, ok := have['n']; ok {
		s.write("root\n")
	} else {
		s.write("0\n")
	}
	return success
}

// getent is getent(1), which finds of a fresh system's users and groups those that were made.
func getent(s *shell, args []string) status {
	if len(args) == 2 {
		_, user := s.users[args[1]]
		if args[0] == "passwd" && user || args[0] == "group" && s.groups[args[1]] {
			s.write(unknown + "\n")
			return success
		}
	}
	return failure
}

// wrapper runs the command that follows its options and assignments.
func wrapper(s *shell, args []string) status {
	for len(args) > 0 && (strings.HasPrefix(args[0], "-") || strings.Contains(args[0], "=")) {
		args = args[1:]
	}
	if len(args) == 0 {
		s.write(unknown)
		return success
	}
	return s.call(args)
}
