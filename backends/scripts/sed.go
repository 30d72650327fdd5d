package scripts

import (
	"regexp"
	"strconv"
	"strings"
)

// sedCommand is one of the commands that sed is known with: s, p, d and q, for all
// lines, for one by its number, or for those that match.
type sedCommand struct {
	line    int // 0: every one
	match   *regexp.Regexp
	negated bool
	name    byte
	re      *regexp.Regexp
	with    string // as Go's regexp expands it
	all     bool
	prints  bool
}

// sed edits standard input. What it does to it is unknown where a script has other
// commands.
func sed(s *shell, args []string) status {
	var script []string
	var files []string
	quiet, extended := false, false
	hasScript := false
	for i := 0; i < len(args); i++ {
		switch a := args[i]; {
		case a == "-n" || a == "--quiet":
			quiet = true
		case a == "-r" || a == "-E":
			extended = true
		case a == "-ne" || a == "-e":
			quiet = quiet || a == "-ne"
			if i++; i < len(args) {
				script, hasScript = append(script, args[i]), true
			}
		case strings.HasPrefix(a, "-e"):
			script, hasScript = append(script, a[2:]), true
		case strings.HasPrefix(a, "-i"), strings.HasPrefix(a, "-f"), a == "--in-place":
			return success // a file is edited
		case strings.HasPrefix(a, "-") && len(a) > 1:
		case !hasScript:
			script, hasScript = append(script, a), true
		default:
			files = append(files, a)
		}
	}
	text := s.input(files)
	commands, ok := s.sedScript(strings.Join(script, "\n"), extended, len(text))
	if !ok || text == unknown {
		s.write(unknown)
		return success
	}
	number, quit := 0, false
	s.lines(text, func(line string) {
		if number++; quit {
			return
		}
		for _, c := range commands {
			s.step(1)
			if c.applies(line, number) == c.negated {
				continue
			}
			switch c.name {
			case 'd':
				return
			case 'p':
				s.write(line + "\n")
			case 'q':
				quit = true
			case 's':
				before := line
				line = s.sedReplace(c, line)
				if c.prints && before != line {
					s.write(line + "\n")
				}
			}
		}
		if !quiet {
			s.write(line + "\n")
		}
	})
	return success
}

func (c *sedCommand) applies(line string, number int) bool {
	switch {
	case c.match != nil:
		return c.match.MatchString(line)
	case c.line > 0:
		return c.line == number
	}
	return true
}

func (s *shell) sedReplace(c sedCommand, line string) string {
	// What one match becomes, and what is kept of every one while they are searched.
	if len(c.with)+strings.Count(c.with, "${")*len(line) > maxText {
		panic(tooMuch{"it makes too long strings"})
	}
	s.step(len(line) * (1 + c.re.NumSubexp()) / 8)
	var out []byte
	rest := 0
	for _, at := range c.re.FindAllStringSubmatchIndex(line, -1) {
		s.step(1)
		out = append(out, line[rest:at[0]]...)
		out = c.re.ExpandString(out, c.with, line, at)
		rest = at[1]
		if len(out) > maxText {
			panic(tooMuch{"it makes too long strings"})
		}
		if !c.all {
			break
		}
	}
	return s.charge(string(out) + line[rest:])
}

// sedScript parses a script; ok is false when it has commands that are not known.
func (s *shell) sedScript(text string, extended bool, size int) (commands []sedCommand, ok bool) {
	if !isKnown(text) {
		return nil, false
	}
	for {
		text = strings.TrimLeft(text, " \t\n;")
		if text == "" {
			return commands, true
		}
		s.step(1)
		var c sedCommand
		if c, text, ok = s.sedOne(text, extended, size); !ok {
			return nil, false
		}
		commands = append(commands, c)
	}
}

func (s *shell) sedOne(text string, extended bool, size int) (c sedCommand, rest string, ok bool) {
	if digits := len(text) - len(strings.TrimLeft(text, "0123456789")); digits > 0 {
		c.line, _ = strconv.Atoi(text[:digits])
		text = text[digits:]
	} else if text[0] == '/' {
		parts, after, ok := delimited(text, 1)
		if !ok {
			return c, "", false
		}
		if c.match = s.basicRegexp(parts[0], size, extended); c.match == nil {
			return c, "", false
		}
		text = after
	}
	text = strings.TrimLeft(text, " ")
	if strings.HasPrefix(text, "!") {
		c.negated, text = true, strings.TrimLeft(text[1:], " ")
	}
	if text == "" {
		return c, "", false
	}
	c.name = text[0]
	switch c.name {
	case 'p', 'd', 'q':
		return c, text[1:], endsCommand(text[1:])
	case 's':
	default:
		return c, "", false
	}
	parts, after, ok := delimited(text[1:], 2)
	if !ok {
		return c, "", false
	}
	for after != "" && !endsCommand(after) {
		switch after[0] {
		case 'g':
			c.all = true
		case 'p':
			c.prints = true
		case 'I', 'i':
			parts[0] = "(?i)" + parts[0]
			extended = true
		default:
			return c, "", false
		}
		after = after[1:]
	}
	c.re = s.basicRegexp(parts[0], size, extended)
	c.with = sedReplacement(parts[1])
	return c, after, c.re != nil
}

func endsCommand(text string) bool {
	return text == "" || strings.ContainsRune(" \t\n;}", rune(text[0]))
}

// delimited takes n texts apart that a delimiter, the first byte, ends.
func delimited(text string, n int) (parts []string, rest string, ok bool) {
	if text == "" {
		return nil, "", false
	}
	delimiter := text[0]
	text = text[1:]
	for range n {
		var part strings.Builder
		i := 0
		for ; i < len(text) && text[i] != delimiter; i++ {
			if text[i] == '\\' && i+1 < len(text) {
				if i++; text[i] != delimiter {
					part.WriteByte('\\')
				}
			}
			part.WriteByte(text[i])
		}
		if i == len(text) {
			return nil, "", false
		}
		parts = append(parts, part.String())
		text = text[i+1:]
	}
	return parts, text, true
}

// sedReplacement turns what sed puts in place of a match into what Go's regexp expands.
func sedReplacement(text string) string {
	var out strings.Builder
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '$':
			out.WriteString("$$")
		case c == '&':
			out.WriteString("${0}")
		case c == '\\' && i+1 < len(text):
			i++
			switch d := text[i]; {
			case d >= '0' && d <= '9':
				out.WriteString("${" + string(d) + "}")
			case d == 'n':
				out.WriteByte('\n')
			case d == '$':
				out.WriteString("$$")
			default:
				out.WriteByte(d)
			}
		default:
			out.WriteByte(c)
		}
	}
	return out.String()
}
