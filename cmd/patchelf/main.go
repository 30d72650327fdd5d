// Command patchelf is hashpkg elf as a program of its own, for programs that
// call a patchelf: it starts faster than hashpkg, which can do more.
package main

import (
	"os"

	"github.com/hashpkg/hashpkg/cmd/internal/elfcmd"
)

func main() {
	os.Exit(elfcmd.Main(os.Args[1:], elfcmd.Env{Out: os.Stdout, Err: os.Stderr, Getenv: os.Getenv}))
}
