// Command gendocs writes the manual pages and the command reference from the
// commands' own help into docs/man and docs/cli.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra/doc"

	"github.com/hashpkg/hashpkg/cmd/internal/cli"
)

func main() {
	if err := generate("docs"); err != nil {
		fmt.Fprintf(os.Stderr, "gendocs: %v\n", err)
		os.Exit(1)
	}
}

func generate(dir string) error {
	root := cli.NewRootCommand(cli.Env{})
	root.InitDefaultHelpCmd()
	root.DisableAutoGenTag = true
	date := time.Unix(0, 0).UTC() // the pages must not change with the day
	for name, write := range map[string]func(string) error{
		"man": func(d string) error {
			return doc.GenManTree(root, &doc.GenManHeader{Title: "HASHPKG", Section: "1", Source: "hashpkg", Date: &date}, d)
		},
		"cli": func(d string) error { return doc.GenMarkdownTree(root, d) },
	} {
		to := filepath.Join(dir, name)
		if err := os.RemoveAll(to); err != nil {
			return err
		}
		if err := os.MkdirAll(to, 0o755); err != nil {
			return err
		}
		if err := write(to); err != nil {
			return err
		}
	}
	return nil
}
