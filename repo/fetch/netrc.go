package fetch

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"
)

// netrc is a file of names and passwords, in its order; see curl's and ftp(1)'s manual.
type netrc []login

type login struct {
	machine        string // "" for every one
	user, password string
}

const maxNetrc = 1 << 20

// readNetrc reads a file that need not be there.
func readNetrc(path string) (netrc, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no regular file", path)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxNetrc+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, cause(err))
	}
	if len(b) > maxNetrc {
		return nil, fmt.Errorf("%s has more than %d bytes", path, maxNetrc)
	}
	n, err := parseNetrc(string(b))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return n, nil
}

// parseNetrc reads the text of such a file. Its errors have no word of it.
func parseNetrc(text string) (netrc, error) {
	var n netrc
	var now *login
	inMacro := false
	key, keyLine := "", 0
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimSuffix(line, "\r")
		if inMacro { // up to an empty line
			inMacro = strings.TrimSpace(line) != ""
			continue
		}
		words, err := netrcWords(line)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", i+1, err)
		}
		for _, w := range words {
			if key == "" {
				switch w {
				case "default":
					n = append(n, login{})
					now = &n[len(n)-1]
				case "machine", "login", "password", "account", "macdef":
					if now == nil && w != "machine" && w != "macdef" {
						return nil, fmt.Errorf("line %d: %q belongs to no machine", i+1, w)
					}
					key, keyLine = w, i+1
				default:
					return nil, fmt.Errorf("line %d: a word that is none of machine, default, login, password, account and macdef", i+1)
				}
				continue
			}
			switch key {
			case "machine":
				n = append(n, login{machine: w})
				now = &n[len(n)-1]
			case "login":
				now.user = w
			case "password":
				now.password = w
			case "macdef":
				inMacro = true
			}
			key = ""
			if inMacro {
				break
			}
		}
	}
	if key != "" {
		return nil, fmt.Errorf("line %d: nothing follows %q", keyLine, key)
	}
	return n, nil
}

// netrcWords splits a line into words, which may be quoted; a comment follows "#".
func netrcWords(line string) ([]string, error) {
	var words []string
	for {
		line = strings.TrimLeft(line, " \t")
		if line == "" || line[0] == '#' {
			return words, nil
		}
		if line[0] != '"' {
			end := strings.IndexAny(line, " \t")
			if end < 0 {
				end = len(line)
			}
			words = append(words, line[:end])
			line = line[end:]
			continue
		}
		var word strings.Builder
		i := 1
		for ; i < len(line) && line[i] != '"'; i++ {
			c := line[i]
			if c == '\\' && i+1 < len(line) {
				i++
				switch c = line[i]; c {
				case 'n':
					c = '\n'
				case 'r':
					c = '\r'
				case 't':
					c = '\t'
				}
			}
			word.WriteByte(c)
		}
		if i >= len(line) {
			return nil, errors.New("a quote is not closed")
		}
		words = append(words, word.String())
		line = line[i+1:]
	}
}

// find returns the login for a machine: the first that names it, or else the default.
// With a user, it is that user's.
func (n netrc) find(machine, user string) (login, bool) {
	for _, l := range n {
		if (l.machine == "" || strings.EqualFold(l.machine, machine)) && (user == "" || l.user == user) {
			return l, true
		}
	}
	return login{}, false
}
