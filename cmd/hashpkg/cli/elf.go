package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"syscall"

	"github.com/spf13/cobra"
)

// patchelfVersion is the version that programs are told which ask for one: that
// of the patchelf whose options these are.
const patchelfVersion = "patchelf 0.18.0"

func newElfCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "elf [OPTION]... FILE...",
		Short: "Print and edit what the dynamic loader reads in ELF files",
		Long: `Print and edit what the dynamic loader reads in ELF files. The options up to
--version are patchelf's, with their meanings and output, and a link named
patchelf that leads to hashpkg is a patchelf: see docs/elf.md for the few
differences.

Files are replaced in one step, and only when they change; owner, mode, times,
access control lists, capabilities and other extended attributes stay. Other hard
links of a file keep the old bytes. When one of several files fails, the others
are still done.

A value @FILE is what FILE holds. Of an option that is repeated the last one
counts, unless it says otherwise.

Exit status: 0 done, 1 failed or wrong use, as patchelf's.`,
		Example: `  hashpkg elf --print-needed /bin/ls
  hashpkg elf --set-rpath '$ORIGIN/../lib' --add-needed libfoo.so.1 prog1 prog2
  hashpkg elf --set-needed libb.so,libc.so.6 --save-patch prog.patch prog
  hashpkg elf --undo prog.patch prog
  hashpkg elf --json /bin/ls`,
		DisableFlagParsing:    true, // --replace-needed has two values
		DisableFlagsInUseLine: true,
		Args:                  cobra.ArbitraryArgs,
	}
	cmd.RunE = func(c *cobra.Command, args []string) error {
		return runElf(c.Context(), a, args, "hashpkg", c.Help)
	}
	f := cmd.Flags()
	for _, option := range elfOptionTable() {
		switch {
		case option.help == "" || option.global:
		case len(option.values) == 0:
			f.Bool(option.name, false, option.help)
		default:
			f.Var(namedValue(strings.Join(option.values, " ")), option.name, option.help)
		}
	}
	f.SortFlags = false
	return cmd
}

// namedValue is what an option's value is called in help texts. It implements
// pflag.Value; parseElfArgs reads the values.
type namedValue string

func (namedValue) String() string   { return "" }
func (namedValue) Set(string) error { return nil }
func (v namedValue) Type() string   { return string(v) }

// MainElf is Main for "hashpkg elf" with what follows it. Programs call it once
// for each of many files, so it makes no command tree unless help is asked for.
func MainElf(args []string, env Env) int {
	a := &app{Env: env}
	return a.exit(runElf(context.Background(), a, args, "hashpkg", func() error {
		root := newRootCommand(a)
		root.SetOut(a.Out)
		root.SetArgs([]string{"help", "elf"})
		return root.Execute()
	}))
}

// MainPatchelf is MainElf for hashpkg under the name patchelf.
func MainPatchelf(args []string, env Env) int {
	a := &app{Env: env}
	err := runElf(context.Background(), a, args, "patchelf", func() error {
		a.printElfSyntax()
		return nil
	})
	if err != nil {
		fmt.Fprintf(a.Err, "patchelf: %v\n", err)
		return exitFailed
	}
	return exitDone
}

// printElfSyntax lists the options as patchelf does, where patchelf does.
func (a *app) printElfSyntax() {
	text := "syntax: patchelf\n"
	for _, option := range elfOptionTable() {
		if option.help != "" {
			text += "  [" + strings.Join(append([]string{"--" + option.name}, option.values...), " ") + "]\t" + option.help + "\n"
		}
	}
	fmt.Fprintf(a.Err, "%s  FILENAME...\n", text)
}

func runElf(ctx context.Context, a *app, args []string, program string, help func() error) error {
	o, err := parseElfArgs(args)
	switch {
	case err != nil:
		command := program
		if command == "hashpkg" {
			command = "hashpkg elf"
		}
		return fmt.Errorf("%w; see %s --help", err, command)
	case o.showHelp:
		return help()
	case o.showVersion:
		return a.printf("%s\n", patchelfVersion)
	}
	a.json, a.quiet = o.json, o.quiet
	if a.Getenv("PATCHELF_DEBUG") != "" {
		o.debug = true
	}
	if o.addRPaths > 1 {
		a.notice("%s: warning: --add-rpath was given %d times, and the last one counts; it takes several directories, with colons between them\n", program, o.addRPaths)
	}
	if len(o.files) > 1 { // one file is done, or not, before anybody could interrupt
		var stop context.CancelFunc
		ctx, stop = signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
		defer stop()
	}
	return (&elfRun{app: a, o: o, program: program}).all(ctx)
}

// elfRun is one call of the command.
type elfRun struct {
	*app
	o       *elfOptions
	program string
}

// elfFileResult is what became of one file.
type elfFileResult struct {
	elfFileOutput
	out, notes bytes.Buffer // for standard output and standard error
	err        error
}

// manyFiles is from how many files on maxWorkers are edited at a time. Two keep
// two processors busy; the others wait for the disk, which frees old files.
const (
	manyFiles  = 8
	maxWorkers = 4
)

// all does every file, and prints what became of them in their order.
func (r *elfRun) all(ctx context.Context) error {
	files := r.o.files
	results := make([]chan *elfFileResult, len(files))
	for i := range results {
		results[i] = make(chan *elfFileResult, 1)
	}
	var next atomic.Int64
	work := func() {
		for {
			i := int(next.Add(1)) - 1
			if i >= len(files) {
				return
			}
			if ctx.Err() != nil {
				results[i] <- nil
				continue
			}
			results[i] <- r.file(files[i])
		}
	}
	if len(files) < manyFiles || runtime.GOMAXPROCS(0) == 1 {
		work()
	} else {
		debug.SetGCPercent(400) // a file leaves little behind; collecting it often costs more than keeping it
		for range maxWorkers {
			go work()
		}
	}
	failed, output := 0, elfOutput{Files: []*elfFileOutput{}}
	var first error
	for i := range files {
		result := <-results[i]
		if result == nil {
			return fmt.Errorf("interrupted: %d of %d files are done, the others are as they were", i, len(files))
		}
		if err := r.print(result); err != nil {
			return err
		}
		output.Files = append(output.Files, &result.elfFileOutput)
		if result.err == nil {
			continue
		}
		if failed++; failed == 1 {
			first = result.err
		}
		if len(files) > 1 {
			fmt.Fprintf(r.Err, "%s: %v\n", r.program, result.err)
		}
	}
	var err error
	switch {
	case failed > 0 && len(files) == 1:
		err = first
	case failed > 0:
		err = fmt.Errorf("%d of %d files failed", failed, len(files))
	}
	if r.json {
		return errors.Join(err, r.printJSON(output))
	}
	return err
}

// print writes what one file has to say.
func (r *elfRun) print(result *elfFileResult) error {
	if result.notes.Len() > 0 && !r.quiet {
		fmt.Fprint(r.Err, result.notes.String())
	}
	if r.json || result.out.Len() == 0 {
		return nil
	}
	if _, err := io.Copy(r.Out, &result.out); err != nil {
		return fmt.Errorf("write output: %w", err)
	}
	return nil
}
