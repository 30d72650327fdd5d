// Command gendocs writes the manual pages of the commands into docs/man and the command
// reference into docs/cli, from the commands' own help. What the help does not say is
// written in docs/man/src. The pages of docs/man in other sections are written by hand.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
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
	root := commands()
	if err := writeReference(root, filepath.Join(dir, "cli")); err != nil {
		return err
	}
	return writeManual(root, filepath.Join(dir, "man"))
}

// commands returns hashpkg's commands as they are when one of them runs.
func commands() *cobra.Command {
	root := cli.NewRootCommand(cli.Env{})
	root.InitDefaultHelpCmd()
	root.DisableAutoGenTag = true
	initHelpFlags(root)
	return root
}

// initHelpFlags gives each command the flag that it has when it runs.
func initHelpFlags(c *cobra.Command) {
	c.InitDefaultHelpFlag()
	for _, sub := range c.Commands() {
		initHelpFlags(sub)
	}
}

func writeReference(root *cobra.Command, dir string) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return doc.GenMarkdownTree(root, dir)
}

// writeManual replaces the pages of commands in a directory.
func writeManual(root *cobra.Command, dir string) error {
	pages, err := manPages(root, filepath.Join(dir, "src"))
	if err != nil {
		return err
	}
	old, err := filepath.Glob(filepath.Join(dir, "*."+section))
	if err != nil {
		return err
	}
	for _, file := range old {
		if err := os.Remove(file); err != nil {
			return err
		}
	}
	for name, text := range pages {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}
