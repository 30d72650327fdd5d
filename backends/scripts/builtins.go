package scripts

import (
	"strconv"
	"strings"
)

// command is a command that is known: it gets its arguments without its name.
type command func(s *shell, args []string) status

// builtin returns a command of the shell itself; nil for another name.
func builtin(name string) command {
	switch name {
	case ":", "true", "alias", "shopt", "times", "trap", "ulimit", "umask", "unalias", "wait":
		return succeed
	case "false", "getopts":
		return fail
	case ".", "source":
		return source
	case "break":
		return leaveLoop(breaking)
	case "continue":
		return leaveLoop(continuing)
	case "exit":
		return leaveWith(exiting)
	case "return":
		return leaveWith(returning)
	case "cd":
		return changeDir
	case "command":
		return commandBuiltin
	case "hash", "type":
		return commandFound
	case "eval":
		return eval
	case "exec":
		return execute
	case "export", "local", "readonly":
		return declareWords
	case "pwd":
		return printDir
	case "read":
		return read
	case "set":
		return setOptions
	case "shift":
		return shift
	case "unset":
		return unset
	case "[":
		return bracket
	case "test":
		return testCommand
	case "echo":
		return echo
	case "printf":
		return printf
	}
	return nil
}

func succeed(*shell, []string) status { return success }

func fail(*shell, []string) status { return failure }

// isProgram reports whether every system has a program of that name.
func isProgram(name string) bool {
	switch name {
	case "[", "test", "true", "false", "echo", "printf":
		return true
	}
	return recording(name) != nil || computing(name) != nil || essential[name]
}

// essential are programs that every system has besides those that are known here.
var essential = map[string]bool{
	"awk": true, "bash": true, "cmp": true, "cp": true, "date": true, "df": true, "diff": true, "dpkg-query": true, "dpkg-statoverride": true,
	"dpkg-trigger": true, "env": true, "find": true, "gzip": true, "ldconfig": true, "ln": true, "ls": true, "md5sum": true, "mktemp": true,
	"mv": true, "perl": true, "ps": true, "rm": true, "rmdir": true, "sh": true, "sha256sum": true, "stat": true, "tar": true, "touch": true,
	"update-rc.d": true, "invoke-rc.d": true, "deb-systemd-helper": true, "deb-systemd-invoke": true,
}

// source reads another file, which nobody knows.
func source(s *shell, args []string) status {
	if len(args) > 0 && args[0] != "/usr/share/debconf/confmodule" && args[0] != "/lib/lsb/init-functions" {
		s.unsure("reads the file %s", args[0])
	}
	return status{guessed: true}
}

func leaveLoop(how leaving) func(*shell, []string) status {
	return func(s *shell, args []string) status {
		s.loops = 1
		if len(args) > 0 {
			if n, err := strconv.Atoi(args[0]); err == nil && n > 0 {
				s.loops = n
			}
		}
		s.leaving = how
		return success
	}
}

func leaveWith(how leaving) func(*shell, []string) status {
	return func(s *shell, args []string) status {
		s.leaving = how
		if len(args) == 0 {
			return s.status
		}
		n, err := strconv.Atoi(args[0])
		return status{code: n, guessed: err != nil}
	}
}

// path returns the absolute path of a file that a command names.
func (s *shell) path(name string) string {
	if strings.HasPrefix(name, "/") {
		return merged(name)
	}
	return merged(s.dir + "/" + name)
}

func changeDir(s *shell, args []string) status {
	to := "/root"
	if _, operands := options(args, ""); len(operands) > 0 {
		to = operands[0]
	}
	s.dir = s.path(to)
	s.set("PWD", s.dir)
	if !isKnown(to) {
		s.dir = "/" + unknown
	}
	return success
}

func printDir(s *shell, _ []string) status {
	s.write(s.dir + "\n")
	return success
}

// commandBuiltin is command: command -v NAME, or command NAME ARGUMENTS.
func commandBuiltin(s *shell, args []string) status {
	if len(args) > 0 && (args[0] == "-v" || args[0] == "-V") {
		return commandFound(s, args[1:])
	}
	for len(args) > 0 && (args[0] == "-p" || args[0] == "--") {
		args = args[1:]
	}
	if len(args) == 0 {
		return success
	}
	saved := s.functions[args[0]]
	if saved == nil {
		return s.call(args)
	}
	delete(s.functions, args[0])
	st := s.call(args)
	s.functions[args[0]] = saved
	return st
}

// commandFound prints where commands are: command -v, type, which.
func commandFound(s *shell, args []string) status {
	st := failure
	for _, name := range args {
		if strings.HasPrefix(name, "-") {
			continue
		}
		where := s.which(name)
		if where == "" {
			return failure
		}
		s.write(where + "\n")
		st = success
	}
	return st
}

// which returns where a command is; "" for nowhere.
func (s *shell) which(name string) string {
	if strings.Contains(name, "/") {
		if s.file("-x", s.path(name)).ok() {
			return name
		}
		return ""
	}
	if builtin(name) != nil || s.functions[name] != nil {
		return name
	}
	for _, dir := range []string{"/usr/sbin/", "/usr/bin/"} {
		if mode := s.context.Files[dir+name]; mode.Perm()&0o111 != 0 {
			return dir + name
		}
	}
	if isProgram(name) {
		return "/usr/bin/" + name
	}
	return ""
}

func eval(s *shell, args []string) status {
	text := strings.Join(args, " ")
	if !isKnown(text) {
		s.unsure("eval of what is not known")
		return status{guessed: true}
	}
	s.enter()
	defer s.leave()
	s.step(len(text) / 16)
	line := s.line
	stmts, err := parse(s.charge(text))
	s.stmts(stmts)
	s.line = line
	if err != nil && s.leaving == staying {
		s.unsure("eval of %q: %v", text, err)
	}
	return s.status
}

func execute(s *shell, args []string) status {
	if len(args) == 0 {
		return success
	}
	st := s.call(args)
	s.leaving = exiting
	return st
}

// declareWords is local, export and readonly where bash would not know them as such.
func declareWords(s *shell, args []string) status {
	for _, a := range args {
		if name, value, ok := strings.Cut(a, "="); ok {
			s.set(name, value)
		}
	}
	return success
}

// read takes a line from standard input.
func read(s *shell, args []string) status {
	_, names := options(args, "pdntuN")
	if *s.in == "" {
		for _, name := range names {
			s.set(name, "")
		}
		return failure
	}
	line, rest, _ := strings.Cut(*s.in, "\n")
	*s.in = rest
	if len(names) == 0 {
		names = []string{"REPLY"}
	}
	ifs, ok := s.variable("IFS")
	if !ok {
		ifs = " \t\n"
	}
	for i, name := range names {
		line = strings.TrimLeft(line, ifs)
		if i == len(names)-1 {
			s.set(name, strings.TrimRight(line, ifs))
			break
		}
		at := strings.IndexAny(line, ifs)
		if at < 0 {
			s.set(name, line)
			line = ""
			continue
		}
		s.set(name, line[:at])
		line = line[at+1:]
	}
	return success
}

func setOptions(s *shell, args []string) status {
	for i, a := range args {
		switch {
		case a == "--":
			s.arguments = args[i+1:]
			return success
		case a == "-o" || a == "+o":
			return success
		case len(a) > 1 && (a[0] == '-' || a[0] == '+'):
			if strings.Contains(a, "e") {
				s.errexit = a[0] == '-'
			}
			if strings.Contains(a, "f") {
				s.noglob = a[0] == '-'
			}
		default:
			s.arguments = args[i:]
			return success
		}
	}
	return success
}

func shift(s *shell, args []string) status {
	n := 1
	if len(args) > 0 {
		n, _ = strconv.Atoi(args[0])
	}
	if n < 0 || n > len(s.arguments) {
		return failure
	}
	s.arguments = s.arguments[n:]
	return success
}

func unset(s *shell, args []string) status {
	for _, a := range args {
		delete(s.vars, a)
		delete(s.functions, a)
	}
	return success
}

func echo(s *shell, args []string) status {
	newline := "\n"
	escapes := false
	for len(args) > 0 && (args[0] == "-n" || args[0] == "-e" || args[0] == "-ne" || args[0] == "-en") {
		if strings.Contains(args[0], "n") {
			newline = ""
		}
		escapes = escapes || strings.Contains(args[0], "e")
		args = args[1:]
	}
	text := s.joined(args)
	if escapes {
		text = unescape(text)
	}
	s.write(text + newline)
	return success
}

// printf knows %s, %d, %i, %b and %%; what else a format has makes it unknown.
func printf(s *shell, args []string) status {
	if len(args) > 1 && args[0] == "-v" {
		s.set(args[1], unknown)
		return success
	}
	if len(args) > 0 && args[0] == "--" {
		args = args[1:]
	}
	if len(args) == 0 {
		return failure
	}
	format, args := unescape(args[0]), args[1:]
	for {
		s.step(1)
		used := 0
		rest := format
		for rest != "" {
			i := strings.IndexByte(rest, '%')
			if i < 0 || i == len(rest)-1 {
				s.write(rest)
				break
			}
			s.write(rest[:i])
			verb := rest[i+1]
			rest = rest[i+2:]
			arg := ""
			if verb != '%' && used < len(args) {
				arg = args[used]
				used++
			}
			switch verb {
			case '%':
				s.write("%")
			case 's', 'd', 'i':
				s.write(arg)
			case 'b':
				s.write(unescape(arg))
			default:
				s.write(unknown)
			}
		}
		args = args[used:]
		if used == 0 || len(args) == 0 {
			return success
		}
	}
}

// options takes the options from a command's arguments; those in withValue, letters,
// take a value. The operands begin after the last option.
func options(args []string, withValue string) (map[byte]string, []string) {
	have := map[byte]string{}
	for len(args) > 0 {
		a := args[0]
		if a == "--" {
			return have, args[1:]
		}
		if len(a) < 2 || a[0] != '-' || a[1] == '-' {
			if strings.HasPrefix(a, "--") {
				args = args[1:]
				continue
			}
			return have, args
		}
		args = args[1:]
		for i := 1; i < len(a); i++ {
			c := a[i]
			if !strings.ContainsRune(withValue, rune(c)) {
				have[c] = ""
				continue
			}
			if i+1 < len(a) {
				have[c] = a[i+1:]
			} else if len(args) > 0 {
				have[c], args = args[0], args[1:]
			}
			break
		}
	}
	return have, nil
}
