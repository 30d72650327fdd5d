// Package terminal knows what a command is read on: whether that is a terminal, how wide it is, and
// whether it has colors ([Of]); and it shows long output in a pager ([ChoosePager], [Pages]).
//
// It asks the kernel and the environment, and no database of terminals: what it writes are the
// attributes bold, red, green and yellow (ECMA-48, SGR 0, 1, 31 to 33), which all terminals in use
// have, but those that TERM calls dumb.
package terminal

import (
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"golang.org/x/sys/unix"
	"golang.org/x/text/width"
)

// Size of a terminal that does not say which it has.
const (
	usualWidth  = 80
	usualHeight = 24
)

// Screen is what text is read on. The zero value is no terminal: a file, or a pipe.
type Screen struct {
	File          *os.File // nil where there is no terminal
	Width, Height int      // in columns and lines; 0 where there is no terminal
	Color         bool
	Dumb          bool // the cursor cannot be moved
}

// Colors says when there are colors.
type Colors string

// The values of [Colors].
const (
	Auto   Colors = "auto" // on a terminal, where the environment does not forbid it
	Always Colors = "always"
	Never  Colors = "never"
)

// Of returns the screen behind a writer. The environment has COLUMNS and LINES, which count more
// than what the kernel says, TERM, and NO_COLOR (no-color.org).
func Of(w io.Writer, getenv func(string) string, colors Colors) Screen {
	s := Screen{Color: colors == Always}
	f, ok := w.(*os.File)
	if !ok {
		return s
	}
	if _, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS); err != nil {
		return s
	}
	s.File, s.Dumb = f, getenv("TERM") == "dumb"
	s.Width, s.Height = s.Size()
	if n := positive(getenv("COLUMNS")); n > 0 {
		s.Width = n
	}
	if n := positive(getenv("LINES")); n > 0 {
		s.Height = n
	}
	if colors == Auto {
		s.Color = !s.Dumb && getenv("NO_COLOR") == ""
	}
	return s
}

// IsTerminal reports whether there is a terminal.
func (s *Screen) IsTerminal() bool { return s.File != nil }

// Size asks how large the terminal is now, in columns and lines.
func (s *Screen) Size() (columns, lines int) {
	columns, lines = usualWidth, usualHeight
	if size, err := unix.IoctlGetWinsize(int(s.File.Fd()), unix.TIOCGWINSZ); err == nil {
		if size.Col > 0 {
			columns = int(size.Col)
		}
		if size.Row > 0 {
			lines = int(size.Row)
		}
	}
	return columns, lines
}

func positive(text string) int {
	n, err := strconv.ParseUint(text, 10, 15)
	if err != nil {
		return 0
	}
	return int(n)
}

// Style is how text stands out. It never says alone what the text means.
type Style string

// The values of [Style].
const (
	Bold   Style = "1"
	Red    Style = "31"
	Green  Style = "32"
	Yellow Style = "33"
)

// Styled returns text in a style, where there are colors.
func (s *Screen) Styled(style Style, text string) string {
	if !s.Color || text == "" {
		return text
	}
	return "\x1b[" + string(style) + "m" + text + "\x1b[0m"
}

// Columns returns how many columns text takes, which has no control characters.
func Columns(text string) int {
	n := 0
	for _, c := range text {
		n += columnsOf(c)
	}
	return n
}

// columnsOf returns the columns of a character: two for wide ones (UAX #11), none for those that
// combine with the one before.
func columnsOf(c rune) int {
	if c < 0x300 {
		return 1
	}
	if unicode.In(c, unicode.Mn, unicode.Me, unicode.Cf) {
		return 0
	}
	switch width.LookupRune(c).Kind() {
	case width.EastAsianWide, width.EastAsianFullwidth:
		return 2
	}
	return 1
}

// Wrap returns text whose lines have at most so many columns, as far as words end there: a
// longer word stands alone and is not broken. A command that begins with one of the names stays on a line,
// with what follows it in the phrase, where it is short enough for one: it may be copied. What is
// indented stays so. With 0 columns nothing is changed.
func Wrap(text string, columns int, names ...string) string {
	if columns <= 0 {
		return text
	}
	var out strings.Builder
	for line := range strings.Lines(text) {
		if Columns(strings.TrimSuffix(line, "\n")) <= columns {
			out.WriteString(line)
			continue
		}
		body := strings.TrimLeft(line, " ")
		indent := line[:len(line)-len(body)]
		at := 0
		for i, piece := range pieces(strings.TrimSuffix(body, "\n"), columns-len(indent), names) {
			n := Columns(piece)
			switch {
			case i == 0:
				out.WriteString(indent + piece)
				at = len(indent) + n
			case at+1+n > columns:
				out.WriteString("\n" + indent + piece)
				at = len(indent) + n
			default:
				out.WriteString(" " + piece)
				at += 1 + n
			}
		}
		if strings.HasSuffix(line, "\n") {
			out.WriteString("\n")
		}
	}
	return out.String()
}

// pieces returns what of a line stays together: words, and commands.
func pieces(line string, columns int, names []string) (pieces []string) {
	words := strings.Split(line, " ")
	for len(words) > 0 {
		n := 1
		if slices.Contains(names, words[0]) {
			for n < len(words) && strings.TrimRight(words[n-1], ";,:.)") == words[n-1] {
				n++
			}
		}
		piece := strings.Join(words[:n], " ")
		if Columns(piece) > columns {
			n = 1
			piece = words[0]
		}
		pieces, words = append(pieces, piece), words[n:]
	}
	return pieces
}

// Cut returns text in at most so many columns: one that is longer ends with an ellipsis.
func Cut(text string, columns int) string {
	if Columns(text) <= columns {
		return text
	}
	end, n := 0, 0
	for i, c := range text {
		if n += columnsOf(c); n >= columns { // the last column is the ellipsis's
			break
		}
		end = i + len(string(c))
	}
	if columns < 1 {
		return ""
	}
	return text[:end] + "…"
}
