// Command fetch downloads packages of a Debian release into the cache of the
// tests and prints the paths of their files, one a line.
//
//	go run ./internal/archive/fetch -suite trixie jq libjq1=1.7.1-6
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/hashpkg/hashpkg/internal/archive"
)

func main() {
	options := archive.Options{Log: os.Stderr}
	flag.StringVar(&options.Suite, "suite", "trixie", "the release's `name`")
	flag.StringVar(&options.Arch, "arch", "", "Debian's `name` of the architecture (default: this machine's)")
	flag.StringVar(&options.CacheDir, "cache", "", "the cache's `directory` (default: $HASHPKG_TEST_CACHE, else hashpkg-test in the user's cache)")
	flag.StringVar(&options.Mirror, "mirror", "", "the mirror's `URL` (default: $HASHPKG_MIRROR, else "+archive.DefaultMirror+")")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "usage: fetch [flags] NAME[=VERSION]...")
		flag.PrintDefaults()
	}
	flag.Parse()
	if options.Packages = flag.Args(); len(options.Packages) == 0 {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	paths, err := archive.Fetch(ctx, options)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "fetch:", err)
		os.Exit(1)
	}
	for _, path := range paths {
		fmt.Println(path)
	}
}
