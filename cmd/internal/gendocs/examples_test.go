package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/hashpkg/hashpkg/cmd/internal/cli"
)

// commandLine is a line of a document that calls hashpkg: in Markdown it is indented, and may
// have a prompt.
var commandLine = regexp.MustCompile(`^(?:    (?:\$ )?)?(?:sudo )?hashpkg( .*)$`)

// word is a word of a command line, what ends one, or a comment.
var word = regexp.MustCompile(`'[^']*'|"[^"]*"|[|>;&]+|#.*|[^\s'"|>;&]+`)

// unescape reverts what roff writes of a line that is printed as it is.
var unescape = strings.NewReplacer(`\-`, "-", `\(aq`, "'", `\(ti`, "~", `\(ha`, "^", `\e`, `\`, `\&`, "")

// TestExamplesAreUnderstood has the command line parse each call of hashpkg in the manual, the README and
// docs, as far as options and numbers of arguments go.
func TestExamplesAreUnderstood(t *testing.T) {
	files := manual(t)
	for _, pattern := range []string{"README.md", "docs/*.md"} {
		found, err := filepath.Glob(filepath.Join(repository, pattern))
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, found...)
	}
	// What people typed at terminals has mistakes in it.
	files = slices.DeleteFunc(files, func(file string) bool { return filepath.Base(file) == "screens.md" })
	n := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		joined := strings.ReplaceAll(string(text), "\\\n", " ")
		isManual := filepath.Ext(file) != ".md"
		shown := !isManual // in the manual, what is in a display
		for line := range strings.Lines(joined) {
			if isManual && strings.HasPrefix(line, ".") {
				shown = strings.HasPrefix(line, ".Bd")
			}
			m := commandLine.FindStringSubmatch(strings.TrimSuffix(unescape.Replace(line), "\n"))
			if m == nil || !shown {
				continue
			}
			n++
			if err := understood(m[1]); err != nil {
				t.Errorf("%s: hashpkg%s: %v", file, m[1], err)
			}
		}
	}
	if n < 250 {
		t.Errorf("there are %d examples", n)
	}
}

// understood parses the arguments of a call.
func understood(line string) error {
	var args []string
	for _, w := range word.FindAllString(line, -1) {
		if strings.ContainsAny(w[:1], "|>;&#") {
			break
		}
		args = append(args, strings.Trim(w, `'"`))
	}
	root := cli.NewRootCommand(cli.Env{})
	c, rest, err := root.Find(args)
	if err != nil || c.DisableFlagParsing {
		return err
	}
	if err := c.ParseFlags(rest); err != nil {
		return err
	}
	if c == root { // as with --version, which is one flag more
		return nil
	}
	return c.ValidateArgs(c.Flags().Args())
}
