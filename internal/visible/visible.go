// Package visible returns text that packages, files, servers and other people have made up as a
// terminal may have it: [Text] of several lines, [Line] of one.
//
// A terminal does things for control characters (ECMA-48: C0, DEL and C1, these also as single
// bytes), and shows a line in another order for Unicode's marks of direction (UAX #9). Both are
// replaced by escapes as Go has them in strings: a byte is \x1b, a character \u202e. What is
// printed, letters of all languages and spaces included, stays as it is.
package visible

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Text returns text in which lines end and columns are divided as before.
func Text(text string) string {
	return escape(text, func(c rune) bool { return c == '\n' || c == '\t' || unicode.IsGraphic(c) })
}

// Line returns text as one line without tabs: what it is cannot look like other lines.
func Line(text string) string { return escape(text, unicode.IsGraphic) }

func escape(text string, stays func(rune) bool) string {
	i := strings.IndexFunc(text, func(c rune) bool { return !stays(c) || c == utf8.RuneError })
	if i < 0 {
		return text
	}
	var b strings.Builder
	b.WriteString(text[:i])
	for i < len(text) {
		c, size := utf8.DecodeRuneInString(text[i:])
		switch {
		case c == utf8.RuneError && size == 1, c < utf8.RuneSelf && !stays(c):
			fmt.Fprintf(&b, `\x%02x`, text[i])
		case !stays(c) && c > 0xffff:
			fmt.Fprintf(&b, `\U%08x`, c)
		case !stays(c):
			fmt.Fprintf(&b, `\u%04x`, c)
		default:
			b.WriteString(text[i : i+size])
		}
		i += size
	}
	return b.String()
}
