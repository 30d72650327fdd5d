// Command hashpkg lets any versions of any shared libraries live on one Linux
// machine, under the package manager that the machine already has.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/hashpkg/hashpkg/cmd/hashpkg/cli"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(cli.Main(ctx, os.Args[1:], cli.Env{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Getenv: os.Getenv}))
}
