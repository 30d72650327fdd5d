// Package shells has what shells read at their start so that they find the programs of a prefix,
// and what belongs to these: [Lines] says it, [Insert] and [Remove] edit a start-up file's text.
//
// The lines can be read any number of times and in shells within shells: no variable grows. An
// unset variable, whose default programs know themselves, is set to that default first
// (XDG Base Directory Specification for XDG_DATA_DIRS), or stays unset (MANPATH: man-db finds the
// pages beside the directories of PATH then, manpath(5)).
package shells

import (
	"bytes"
	"errors"
	"strings"
)

// Shell is a shell by its name.
type Shell string

// The shells that have lines of their own; SH is any other one that reads those of POSIX.
const (
	SH   Shell = "sh"
	Bash Shell = "bash"
	Zsh  Shell = "zsh"
	Fish Shell = "fish"
)

// All are the shells in the order in which people are told of them.
var All = []Shell{Bash, Zsh, Fish, SH}

// The first and the last line of a block in a start-up file.
const (
	begin = "# >>> hashpkg setup-path >>>"
	end   = "# <<< hashpkg setup-path <<<"
)

// ErrMarks says that the lines around a block are not in pairs: somebody has edited them.
var ErrMarks = errors.New("the lines \"" + begin + "\" and \"" + end + "\" are not in pairs; take the block out by hand")

// Lines returns the lines for a shell that find programs in the farm at an absolute path, which
// has bin, sbin and share: after all others, or with first before the system's. sbin is for those
// who have the system's. What is in share comes after the system's in either case.
func Lines(shell Shell, farm string, first bool) string {
	lines, quote := posixLast, quotePOSIX
	switch {
	case shell == Fish && first:
		lines, quote = fishFirst, quoteFish
	case shell == Fish:
		lines, quote = fishLast, quoteFish
	case first:
		lines = posixFirst
	}
	switch shell {
	case Fish:
		lines += fishShare
	case Zsh:
		lines += posixShare + zshShare
	default:
		lines += posixShare
	}
	names := []string{}
	for _, dir := range []string{"bin", "sbin", "share/man", "share/zsh/vendor-completions", "share/zsh/site-functions", "share/fish/vendor_completions.d", "share"} {
		names = append(names, "@"+dir+"@", quote(farm+"/"+dir))
	}
	return strings.NewReplacer(names...).Replace(lines)
}

// Export returns the line by which a shell sets an environment variable.
func Export(shell Shell, name, value string) string {
	if shell == Fish {
		return "set -gx " + name + " " + quoteFish(value) + "\n"
	}
	return "export " + name + "=" + quotePOSIX(value) + "\n"
}

// quotePOSIX returns a word of sh.
func quotePOSIX(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// quoteFish returns a word of fish, in which single quotes know two escapes.
func quoteFish(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, "'", `\'`).Replace(s) + "'"
}

// Insert returns a start-up file's text with the lines in a block at its end, in the place of blocks
// that are there.
func Insert(text []byte, lines string) ([]byte, error) {
	text, err := Remove(text)
	if err != nil {
		return nil, err
	}
	if len(text) > 0 && text[len(text)-1] != '\n' {
		text = append(text, '\n')
	}
	return append(text, begin+"\n"+lines+end+"\n"...), nil
}

// Remove returns a start-up file's text without blocks.
func Remove(text []byte) ([]byte, error) {
	var out []byte
	inside := false
	for len(text) > 0 {
		line, rest := text, []byte(nil)
		if i := bytes.IndexByte(text, '\n'); i >= 0 {
			line, rest = text[:i+1], text[i+1:]
		}
		text = rest
		switch mark := strings.TrimRight(string(line), "\r\n"); {
		case mark == begin && inside, mark == end && !inside:
			return nil, ErrMarks
		case mark == begin:
			inside = true
		case mark == end:
			inside = false
		case !inside:
			out = append(out, line...)
		}
	}
	if inside {
		return nil, ErrMarks
	}
	return out, nil
}
