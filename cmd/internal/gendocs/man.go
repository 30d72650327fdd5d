package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// pageDate is the date that made pages bear. They must not change with the day.
const pageDate = "November 29, 2026"

// section is the section of the manual for commands: that of system administration.
const section = "8"

// manPages makes the manual pages of hashpkg and its commands, by file name, from their
// help and what is written in src: a frame for hashpkg(8), and for a command what its
// help does not say, in COMMAND.mdoc.
func manPages(root *cobra.Command, src string) (map[string]string, error) {
	frame, err := os.ReadFile(filepath.Join(src, "hashpkg.8"))
	if err != nil {
		return nil, err
	}
	main, err := fillFrame(root, string(frame))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(src, "hashpkg.8"), err)
	}
	pages := map[string]string{"hashpkg." + section: main}
	written := map[string]bool{}
	for _, c := range commandsBelow(root) {
		file := strings.TrimPrefix(pageOf(c), "hashpkg-") + ".mdoc"
		text, err := os.ReadFile(filepath.Join(src, file))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		written[file] = true
		extra, err := parseSections(string(text))
		if err == nil {
			pages[pageOf(c)+"."+section], err = commandPage(c, extra)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", filepath.Join(src, file), err)
		}
	}
	files, err := filepath.Glob(filepath.Join(src, "*.mdoc"))
	for _, file := range files {
		if !written[filepath.Base(file)] {
			return nil, fmt.Errorf("%s: there is no such command", file)
		}
	}
	return pages, err
}

// commandsBelow returns the commands that have pages, those of other commands included.
func commandsBelow(c *cobra.Command) []*cobra.Command {
	var all []*cobra.Command
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() && !sub.IsAdditionalHelpTopicCommand() && sub.Name() != "help" {
			all = append(append(all, sub), commandsBelow(sub)...)
		}
	}
	return all
}

// pageOf returns the name of a command's page.
func pageOf(c *cobra.Command) string { return strings.ReplaceAll(c.CommandPath(), " ", "-") }

// fillFrame returns hashpkg(8): the frame with lists of commands in place of the lines
// "@commands NAME...", and of the options that all have in place of "@options". Each
// command has to be in one of the lists.
func fillFrame(root *cobra.Command, frame string) (string, error) {
	var p page
	p.made("src/hashpkg.8")
	left := map[string]*cobra.Command{}
	for _, c := range commandsBelow(root) {
		if c.Parent() == root {
			left[c.Name()] = c
		}
	}
	for line := range strings.Lines(frame) {
		words := strings.Fields(line)
		switch {
		case strings.HasPrefix(line, "@commands "):
			p.line(".Bl -tag -width Ds -compact")
			for _, name := range words[1:] {
				c := left[name]
				if c == nil {
					return "", fmt.Errorf("%q is no command, or listed twice", name)
				}
				delete(left, name)
				p.line(".It Xr " + pageOf(c) + " " + section)
				p.text(c.Short + ".")
			}
			p.line(".El")
		case strings.HasPrefix(line, "@options"):
			p.options(root.PersistentFlags())
		default:
			p.WriteString(line)
		}
	}
	for name := range left {
		return "", fmt.Errorf("the command %s is in no list: name it in a line @commands", name)
	}
	return p.String(), nil
}

// commandPage returns the page of a command. extra are written sections by name: those
// that only some pages have, more items for EXIT STATUS, and references for SEE ALSO.
func commandPage(c *cobra.Command, extra map[string]string) (string, error) {
	var p page
	p.made("the help of " + c.CommandPath())
	p.line(".Dd " + pageDate)
	p.line(".Dt " + strings.ToUpper(pageOf(c)) + " " + section)
	p.line(".Os")
	p.line(".Sh NAME")
	p.line(".Nm " + pageOf(c))
	p.line(".Nd " + lowerFirst(escape(c.Short)))
	p.line(".Sh SYNOPSIS")
	p.synopsis(c)
	p.line(".Sh DESCRIPTION")
	p.prose(firstOf(c.Long, c.Short+"."))
	if len(c.Aliases) > 0 {
		p.line(".Pp")
		p.text("Another name of the command is " + c.Aliases[0] + ".")
	}
	var subs []*cobra.Command
	for _, sub := range commandsBelow(c) {
		if sub.Parent() == c {
			subs = append(subs, sub)
		}
	}
	if len(subs) > 0 {
		p.line(".Sh COMMANDS")
		p.line(".Bl -tag -width Ds")
		for _, sub := range subs {
			p.line(".It Xr " + pageOf(sub) + " " + section)
			p.text(sub.Short + ".")
		}
		p.line(".El")
	}
	p.line(".Sh OPTIONS")
	p.options(c.NonInheritedFlags())
	if inherited := c.InheritedFlags(); inherited.HasAvailableFlags() && !c.DisableFlagParsing {
		p.line(".Pp")
		p.text(strings.Join(flagNames(inherited), ", ") + " are as with all commands:")
		p.line(".Xr hashpkg " + section + " .")
	}
	for _, name := range []string{"ENVIRONMENT", "FILES"} {
		p.written(name, extra)
	}
	p.exitStatus(c, extra)
	p.examples(c.Example)
	p.written("NOTES", extra)
	refs := []string{"hashpkg " + section}
	for _, other := range append(subs, c.Parent()) {
		if other.HasParent() {
			refs = append(refs, pageOf(other)+" "+section)
		}
	}
	if err := p.seeAlso(append(refs, references(extra["SEE ALSO"])...)); err != nil {
		return "", err
	}
	delete(extra, "SEE ALSO")
	for name := range extra {
		return "", fmt.Errorf("a page has no section %q, or it is not one that is written", name)
	}
	return p.String(), nil
}

// page is a manual page in mdoc(7) that is being written.
type page struct{ strings.Builder }

func (p *page) line(s string) { p.WriteString(s + "\n") }

// made says, for those who open the file, what it follows from.
func (p *page) made(from string) {
	p.line(`.\" Made by "make docs" from ` + from + ": change that, not this file.")
}

// maxLine is how long lines of text get, in bytes. mandoc complains of more than 80.
const maxLine = 78

// text writes running text: a line for each sentence, or more, as mdoc wants it, and options as
// such.
func (p *page) text(s string) {
	var line string
	flush := func() {
		if line != "" {
			p.line(guard(line))
			line = ""
		}
	}
	for _, word := range strings.Fields(s) {
		if m := option.FindStringSubmatch(word); m != nil {
			flush()
			p.line(optionLine(m[1], m[2], m[3]))
			continue
		}
		elided := strings.HasSuffix(word, "...")
		word = escape(word)
		if line != "" && len(line)+1+len(word) > maxLine {
			flush()
		}
		if line != "" {
			line += " "
		}
		line += word
		switch {
		case elided:
			line += `\&` // not the end of a sentence
		case endsSentence(word):
			flush()
		}
	}
	flush()
}

// option is a word that is an option: what stands before it, the option, and what follows.
var option = regexp.MustCompile(`^([("]?)--?([a-z][a-z0-9-]*)((?:=\S+)?[).,;:"]*)$`)

// optionLine returns the line for a word that is an option.
func optionLine(before, name, after string) string {
	if len(name) > 1 {
		name = `\-` + strings.ReplaceAll(name, "-", `\-`)
	}
	value := strings.TrimRight(after, `).,;:"`)
	end := after[len(value):]
	if strings.HasPrefix(value, "=") {
		if strings.HasSuffix(after, "...") {
			value, end = after, ""
		}
		name += " Ns = Ns Ar " + strings.TrimPrefix(value, "=")
	}
	line := ".Fl "
	if before != "" {
		line += quoted(before) + " "
	}
	line += name
	for _, c := range end {
		line += " " + quoted(string(c))
	}
	return line
}

// quoted returns an argument of a macro.
func quoted(s string) string { return strings.ReplaceAll(s, `"`, `\(dq`) }

// endsSentence reports whether a sentence ends with a word.
func endsSentence(word string) bool {
	word = strings.TrimRight(word, `)"`)
	return strings.HasSuffix(word, ".") || strings.HasSuffix(word, "?") || strings.HasSuffix(word, "!")
}

// escape returns text that roff prints as it is.
func escape(s string) string {
	return strings.NewReplacer(`\`, `\e`, "~", `\(ti`, "^", `\(ha`, "`", `\(ga`).Replace(s)
}

// literal returns a line that is copied into a shell or a file, as roff prints it: with the
// hyphens and quotes of ASCII.
func literal(s string) string {
	return guard(strings.NewReplacer("-", `\-`, "'", `\(aq`).Replace(escape(s)))
}

// guard keeps a line of text from being a request.
func guard(line string) string {
	if strings.HasPrefix(line, ".") || strings.HasPrefix(line, "'") {
		return `\&` + line
	}
	return line
}

// prose writes the text of a help: paragraphs, and between them lines that are indented,
// which are a list of words and their meanings, or are to stay as they are.
func (p *page) prose(s string) {
	for i, block := range strings.Split(strings.Trim(s, "\n"), "\n\n") {
		lines := strings.Split(block, "\n")
		for first := true; len(lines) > 0; first = false {
			indented := strings.HasPrefix(lines[0], "  ")
			n := slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(l, "  ") != indented })
			if n < 0 {
				n = len(lines)
			}
			switch part := lines[:n]; {
			case !indented:
				if i > 0 || !first {
					p.line(".Pp")
				}
				p.text(strings.Join(part, " "))
			case !p.list(part):
				p.display(part)
			}
			lines = lines[n:]
		}
	}
}

// item is a line of a list in a help: a word, and what it means.
var item = regexp.MustCompile(`^  (\S(?:.*?\S)?) {2,}(\S.*)$`)

// list writes lines as a list, and reports whether they are one.
func (p *page) list(lines []string) bool {
	type entry struct{ word, text string }
	var entries []entry
	for _, l := range lines {
		m := item.FindStringSubmatch(l)
		switch {
		case strings.HasPrefix(l, "      ") && len(entries) > 0:
			entries[len(entries)-1].text += " " + strings.TrimSpace(l)
		case m == nil:
			return false
		default:
			entries = append(entries, entry{m[1], m[2]})
		}
	}
	p.line(".Bl -tag -width Ds")
	for _, e := range entries {
		p.line(".It " + quoted(escape(e.word)))
		p.text(e.text)
	}
	p.line(".El")
	return true
}

// display writes lines as they are, without their common indent.
func (p *page) display(lines []string) {
	p.line(".Bd -literal -offset indent")
	for _, l := range lines {
		p.line(literal(strings.TrimPrefix(l, "  ")))
	}
	p.line(".Ed")
}

// synopsis writes a line for each way to use a command.
func (p *page) synopsis(c *cobra.Command) {
	use := strings.TrimSpace(strings.TrimPrefix(c.Use, c.Name()))
	for _, way := range strings.Split(use, " | "+c.Name()+" ") {
		p.line(".Nm " + c.CommandPath())
		if !c.DisableFlagParsing {
			p.line(`.Op Ar OPTION ...`)
		}
		if way != "" {
			way = strings.ReplaceAll(escape(way), "-", `\-`)
			p.line(guard(variable.ReplaceAllString(way, `\fI$0\fP`)))
		}
	}
	if len(commandsBelow(c)) > 0 {
		p.line(".Nm " + c.CommandPath())
		p.line(`\fICOMMAND\fP`)
	}
}

// variable is a word of a usage that stands for another one.
var variable = regexp.MustCompile(`[A-Z]+`)

// options writes the list of a command's options.
func (p *page) options(flags *pflag.FlagSet) {
	p.line(".Bl -tag -width Ds")
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Hidden {
			return
		}
		name, usage := pflag.UnquoteUsage(f)
		head := ".It Fl "
		if f.Shorthand != "" {
			head += f.Shorthand + " , Fl "
		}
		head += `\-` + strings.ReplaceAll(f.Name, "-", `\-`)
		switch {
		case name == "":
		case f.NoOptDefVal != "" && f.Value.Type() != "bool":
			head += " Ns Op = Ns Ar " + quoted(escape(name))
		default:
			head += " Ar " + quoted(escape(name))
		}
		p.line(head)
		if d := f.DefValue; !slices.Contains([]string{"", "0", "0d", "0s", "false", "[]"}, d) {
			usage += " (default: " + d + ")"
		}
		p.text(upperFirst(usage) + ".")
	})
	p.line(".El")
}

// flagNames returns the names of options, in order.
func flagNames(flags *pflag.FlagSet) []string {
	var names []string
	flags.VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			names = append(names, "--"+f.Name)
		}
	})
	return names
}

// written writes a section that is written for this page, if there is one.
func (p *page) written(name string, extra map[string]string) {
	if text, is := extra[name]; is {
		p.line(".Sh " + name)
		p.WriteString(text)
		delete(extra, name)
	}
}

// exitStatus writes which statuses a command exits with: those of all commands, and those
// that are written for this one, which may say another thing of the same number. What is
// written and is no list of items stands alone.
func (p *page) exitStatus(c *cobra.Command, extra map[string]string) {
	own, is := extra["EXIT STATUS"]
	if is && !strings.HasPrefix(own, ".It ") {
		p.written("EXIT STATUS", extra)
		return
	}
	delete(extra, "EXIT STATUS")
	texts := map[string]string{
		"0": "It is done.\n",
		"1": "It failed, and standard error says why.\n",
		"2": "The command line is wrong.\n",
	}
	if c.Flags().Lookup("wait") != nil {
		texts["4"] = "Another hashpkg is changing this root.\n"
	}
	for _, part := range strings.Split(own, ".It ")[1:] {
		number, text, _ := strings.Cut(part, "\n")
		texts[number] = text
	}
	p.line(".Sh EXIT STATUS")
	p.line(".Bl -tag -width Ds -compact")
	for _, number := range sortedKeys(texts) {
		p.line(".It " + number)
		p.WriteString(texts[number])
	}
	p.line(".El")
	p.line(".Pp")
	p.line("A signal ends it as")
	p.line(".Xr hashpkg " + section)
	p.line("says.")
}

// examples writes examples: lines that begin with "#" explain the commands below them.
func (p *page) examples(s string) {
	if s == "" {
		return
	}
	p.line(".Sh EXAMPLES")
	var words, commands []string
	first := true
	flush := func() {
		if len(commands) == 0 {
			return
		}
		if !first && len(words) > 0 {
			p.line(".Pp")
		}
		if text := strings.Join(words, " "); strings.HasSuffix(text, "?") {
			p.text(text)
		} else if text != "" {
			p.text(text + ":")
		}
		p.display(commands)
		words, commands, first = nil, nil, false
	}
	for line := range strings.Lines(s) {
		line = strings.TrimSpace(line)
		if comment, is := strings.CutPrefix(line, "# "); is {
			flush()
			words = append(words, comment)
			continue
		}
		commands = append(commands, line)
	}
	flush()
}

// seeAlso writes references, "NAME SECTION" each, in the order that mandoc asks for.
func (p *page) seeAlso(refs []string) error {
	for _, ref := range refs {
		if len(strings.Fields(ref)) != 2 {
			return fmt.Errorf("SEE ALSO: %q is no name and section", ref)
		}
	}
	slices.SortFunc(refs, func(a, b string) int {
		x, y := strings.Fields(a), strings.Fields(b)
		if x[1] != y[1] {
			return strings.Compare(x[1], y[1])
		}
		return strings.Compare(strings.ToLower(x[0]), strings.ToLower(y[0]))
	})
	p.line(".Sh SEE ALSO")
	refs = slices.Compact(refs)
	for i, ref := range refs {
		if i < len(refs)-1 {
			ref += " ,"
		}
		p.line(".Xr " + ref)
	}
	return nil
}

// references returns those of a written section SEE ALSO, lines ".Xr NAME SECTION".
func references(text string) []string {
	var refs []string
	for line := range strings.Lines(text) {
		refs = append(refs, strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(line), ".Xr")))
	}
	return refs
}

// parseSections returns the sections of a written text, by name.
func parseSections(text string) (map[string]string, error) {
	sections := map[string]string{}
	name := ""
	for line := range strings.Lines(text) {
		if heading, is := strings.CutPrefix(line, ".Sh "); is {
			if name = strings.TrimSpace(heading); sections[name] != "" {
				return nil, fmt.Errorf("%s is there twice", name)
			}
			continue
		}
		if name == "" {
			return nil, fmt.Errorf("%q stands in no section", strings.TrimSpace(line))
		}
		sections[name] += line
	}
	return sections, nil
}

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func firstOf(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// lowerFirst returns a phrase that begins with a small letter.
func lowerFirst(s string) string { return changeFirst(s, unicode.ToLower) }

// upperFirst returns a phrase that begins with a capital.
func upperFirst(s string) string { return changeFirst(s, unicode.ToUpper) }

func changeFirst(s string, change func(rune) rune) string {
	r, n := utf8.DecodeRuneInString(s)
	return string(change(r)) + s[n:]
}
