// Package elfcmd implements hashpkg elf and the program patchelf, which are the
// same command under two names: options in patchelf's form, the edits of
// package elfedit, files replaced by package inplace. Most callers need
// [Main].
//
// Programs call the command once for each of many files, so that its start
// counts as much as its work. It imports little for that, and nothing that has
// much to do before main; the caller brings the help text of hashpkg elf.
package elfcmd

import (
	"bytes"
	"context"
	"encoding/json"
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
)

// version is the answer to programs that ask for one: that of the
// patchelf whose options these are.
const version = "patchelf 0.19.1"

// Env is what the command has of the process around it.
type Env struct {
	Out, Err io.Writer
	Getenv   func(string) string
	// Recorded returns what is recorded of the edits of a file, whose path is as it was given, as a
	// value for --json and people; nil where nothing is, or where it is no one's business.
	Recorded func(path string) (fmt.Stringer, error)
	// Visible escapes what does not print, in what is written for people only; of hashpkg.
	Visible func(string) string
}

// Main runs the command under the name patchelf and returns the exit status: 0
// when everything is done, else 1.
func Main(args []string, env Env) int {
	err := Run(context.Background(), "patchelf", args, env, func() error {
		printSyntax(env.Err)
		return nil
	})
	if err != nil {
		fmt.Fprintf(env.Err, "patchelf: %v\n", err)
		return 1
	}
	return 0
}

// printSyntax lists the options as patchelf does, where patchelf does.
func printSyntax(w io.Writer) {
	text := "syntax: patchelf\n"
	for _, option := range optionTable() {
		if option.help != "" {
			text += "  [" + strings.Join(append([]string{"--" + option.name}, option.values...), " ") + "]\t" + option.help + "\n"
		}
	}
	fmt.Fprintf(w, "%s  FILENAME...\n", text)
}

// Run runs the command under a name, hashpkg or patchelf, by which messages
// call it. help is called for --help.
func Run(ctx context.Context, program string, args []string, env Env, help func() error) error {
	o, err := parseArgs(args)
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
		if _, err := fmt.Fprintln(env.Out, version); err != nil {
			return fmt.Errorf("write output: %w", err)
		}
		return nil
	}
	if env.Getenv("PATCHELF_DEBUG") != "" {
		o.debug = true
	}
	r := &run{Env: env, o: o, program: program}
	if o.addRPaths > 1 && !o.quiet {
		fmt.Fprintf(r.Err, "%s: warning: --add-rpath was given %d times, and the last one counts; it takes several directories, with colons between them\n", program, o.addRPaths)
	}
	if len(o.files) > 1 { // one file is done, or not, before anybody could interrupt
		var stop context.CancelFunc
		ctx, stop = signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
		defer stop()
	}
	return r.all(ctx)
}

// run is one call of the command.
type run struct {
	Env
	o       *options
	program string
}

// fileResult is what became of one file.
type fileResult struct {
	fileOutput
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
func (r *run) all(ctx context.Context) error {
	files := r.o.files
	results := make([]chan *fileResult, len(files))
	for i := range results {
		results[i] = make(chan *fileResult, 1)
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
	failed, all := 0, output{Files: []*fileOutput{}}
	var first error
	for i := range files {
		result := <-results[i]
		if result == nil {
			return fmt.Errorf("interrupted: %d of %d files are done, the others are as they were", i, len(files))
		}
		if err := r.print(result); err != nil {
			return err
		}
		all.Files = append(all.Files, &result.fileOutput)
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
	if r.o.json {
		return errors.Join(err, r.printJSON(all))
	}
	return err
}

// print writes what one file has to say.
func (r *run) print(result *fileResult) error {
	if result.notes.Len() > 0 && !r.o.quiet {
		fmt.Fprint(r.Err, result.notes.String())
	}
	if r.o.json || result.out.Len() == 0 {
		return nil
	}
	if _, err := io.Copy(r.Out, &result.out); err != nil {
		return fmt.Errorf("write output: %w", err)
	}
	return nil
}

func (r *run) printJSON(v any) error {
	enc := json.NewEncoder(r.Out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("write output: %w", err)
	}
	return nil
}
