// Command hashpkg lets any versions of any shared libraries live on one Linux
// machine, under the package manager that the machine already has.
package main

import (
	"context"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/hashpkg/hashpkg/backends"
	"github.com/hashpkg/hashpkg/backends/deb"
	"github.com/hashpkg/hashpkg/backends/rpm"
	"github.com/hashpkg/hashpkg/cmd/internal/cli"
	"github.com/hashpkg/hashpkg/cmd/internal/elfcmd"
)

func main() {
	env := cli.Env{
		In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Getenv: os.Getenv,
		Formats: backends.Formats{deb.Format{}, rpm.Format{}},
	}
	args := os.Args[1:]
	switch {
	case filepath.Base(os.Args[0]) == "patchelf": // a link of this name is a patchelf, too
		os.Exit(elfcmd.Main(args, elfcmd.Env{Out: env.Out, Err: env.Err, Getenv: env.Getenv}))
	case len(args) > 0 && args[0] == "elf":
		os.Exit(cli.MainElf(args[1:], env))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends it at once
	os.Exit(cli.Main(ctx, args, env))
}
