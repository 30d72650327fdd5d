package cli

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// visible returns text as a terminal may have it: lines as they are, and the control
// characters that packages, files and servers have put into it, with which a terminal can be
// made to do things (ECMA-48: C0, DEL and C1, these also as single bytes), as Go writes them
// in strings.
func visible(text string) string {
	i := strings.IndexFunc(text, mayControl)
	if i < 0 {
		return text
	}
	var b strings.Builder
	b.WriteString(text[:i])
	for i < len(text) {
		c, size := utf8.DecodeRuneInString(text[i:])
		if c == utf8.RuneError && size == 1 {
			c = rune(text[i])
		}
		if isControl(c) {
			fmt.Fprintf(&b, `\x%02x`, c)
		} else {
			b.WriteString(text[i : i+size])
		}
		i += size
	}
	return b.String()
}

// oneLine returns a name as a line may have it: what would end the line, or a column, is written as
// [visible] writes the rest.
func oneLine(name string) string {
	return strings.NewReplacer("\n", `\x0a`, "\t", `\x09`).Replace(name)
}

// isControl reports whether a terminal does something for a character or a byte, but for
// what ends a line or a column.
func isControl(c rune) bool {
	return c < ' ' && c != '\n' && c != '\t' || c >= 0x7f && c < 0xa0
}

// mayControl is isControl, and reports bytes that are no character.
func mayControl(c rune) bool { return isControl(c) || c == utf8.RuneError }

// visibleWriter writes what [visible] returns.
type visibleWriter struct{ w io.Writer }

func (v visibleWriter) Write(b []byte) (int, error) {
	if _, err := io.WriteString(v.w, visible(string(b))); err != nil {
		return 0, err
	}
	return len(b), nil
}

// printf writes a line of the result, for people.
func (a *app) printf(format string, v ...any) error {
	return a.printExactly(visible(fmt.Sprintf(format, v...)))
}

// printExactly writes what is for programs.
func (a *app) printExactly(text string) error {
	if _, err := io.WriteString(a.Out, text); err != nil {
		return fmt.Errorf("write output: %w", err)
	}
	return nil
}

// notice writes what a person may want to know while the command goes on.
func (a *app) notice(format string, v ...any) {
	if !a.quiet {
		a.complain(format, v...)
	}
}

// complain writes what a person has to know.
func (a *app) complain(format string, v ...any) {
	_, _ = io.WriteString(a.Err, visible(fmt.Sprintf(format, v...)))
}
