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
	"github.com/hashpkg/hashpkg/internal/sandbox"
)

func main() {
	sandbox.Main()
	env := cli.Env{
		In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Getenv: os.Getenv, Generate: true,
		Formats: backends.Formats{deb.Format{}, rpm.Format{}},
	}
	args := os.Args[1:]
	switch {
	case filepath.Base(os.Args[0]) == "patchelf": // a link of this name is a patchelf, too
		os.Exit(elfcmd.Main(args, elfcmd.Env{Out: env.Out, Err: env.Err, Getenv: env.Getenv}))
	case len(args) > 0 && args[0] == "elf":
		os.Exit(cli.MainElf(args[1:], env))
	}
	os.Exit(cli.Main(interruptible(), args, env))
}

// interruptible returns a context that ends, with a [cli.Interrupted] as its cause, at
// the first signal that asks for an end. A second one ends the process at once.
func interruptible() context.Context {
	ctx, cancel := context.WithCancelCause(context.Background())
	// Who reads the output may have seen enough: what was begun is done all the same, and
	// writing fails with EPIPE. Programs that are started have the signal as it was.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		sig := <-signals
		signal.Stop(signals)
		number, _ := sig.(syscall.Signal)
		cancel(cli.Interrupted{Signal: number})
	}()
	return ctx
}
