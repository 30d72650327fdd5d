// Command gensite makes the documentation site: a directory of HTML pages from the
// Markdown of the repository and the manual pages of docs/man.
//
//	go run ./cmd/internal/gensite bin/site
//
// It is started in the repository, and needs the program mandoc. The pages work from a file system
// and without JavaScript, which adds a search; they load nothing from elsewhere.
package main

import (
	"fmt"
	"os"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: gensite DIR")
		os.Exit(2)
	}
	if err := generate(".", os.Args[1]); err != nil {
		fmt.Fprintf(os.Stderr, "gensite: %v\n", err)
		os.Exit(1)
	}
}
