// Command bench compares hashpkg with the programs that do the same work, in one
// run on one machine, and prints a table of medians and ratios. Ratios are what
// counts: machines differ, and are shared.
//
//	go run ./internal/bench [-runs N] [-only SECTION]
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	if len(os.Args) == 4 && os.Args[1] == installFlag {
		if err := installTimed(context.Background(), os.Args[2], os.Args[3]); err != nil {
			fmt.Fprintf(os.Stderr, "bench: %v\n", err)
			os.Exit(1)
		}
		return
	}
	if len(os.Args) > 1 && os.Args[1] == slowFlag {
		if err := serveSlowly(os.Args[2:]); err != nil {
			fmt.Fprintf(os.Stderr, "bench: %v\n", err)
			os.Exit(1)
		}
		return
	}
	runs := flag.Int("runs", 3, "counted runs of each program")
	only := flag.String("only", "", "run one section: "+fmt.Sprint(sectionNames()))
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := bench(ctx, *runs, *only); err != nil {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(1)
	}
}

// section is one comparison.
type section struct {
	name string
	run  func(*harness) error
}

var sections = []section{
	{"install", benchInstall},
	{"growth", benchGrowth},
	{"rpm", benchRPM},
	{"elf", benchELF},
	{"sync", benchSync},
	{"queries", benchQueries},
	{"face", benchFace},
	{"repo", benchRepo},
	{"image", benchImage},
	{"distribute", benchDistribute},
	{"view", benchView},
	{"startup", benchStartup},
}

func sectionNames() []string {
	names := make([]string, len(sections))
	for i, s := range sections {
		names[i] = s.name
	}
	return names
}

func bench(ctx context.Context, runs int, only string) error {
	if only != "" && !slices.Contains(sectionNames(), only) {
		return fmt.Errorf("no section %q; there are %q", only, sectionNames())
	}
	dir, err := os.MkdirTemp("", "hashpkg-bench")
	if err != nil {
		return err
	}
	defer func() {
		if err := os.RemoveAll(dir); err != nil {
			fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		}
	}()
	h := &harness{ctx: ctx, dir: dir, runs: runs, hashpkg: filepath.Join(dir, "hashpkg"), patchelf: filepath.Join(dir, "patchelf")}
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-o", dir+"/", "./cmd/hashpkg", "./cmd/patchelf")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		return fmt.Errorf("build hashpkg: %w (run this from the repository's top)", err)
	}
	for _, s := range sections {
		if only == "" || only == s.name {
			fmt.Fprintf(os.Stderr, "section %s\n", s.name)
			if err := s.run(h); err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
		}
	}
	return h.print()
}

// harness runs programs and collects the table.
type harness struct {
	ctx      context.Context
	dir      string // scratch, removed at the end
	hashpkg  string
	patchelf string // hashpkg's own
	runs     int
	rows     []row
}

// row is one line of the table.
type row struct {
	what, value, peer, target string
}

func (h *harness) add(what, value, peer, target string) {
	h.rows = append(h.rows, row{what, value, peer, target})
}

func (h *harness) print() error {
	w := tabwriter.NewWriter(os.Stdout, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "what\tvalue\tbeside\ttarget")
	for _, r := range h.rows {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", r.what, r.value, r.peer, r.target)
	}
	return w.Flush()
}

// measure is what one run of a program took.
type measure struct {
	wall   time.Duration
	memory int64 // the largest resident set of the program and its children, in bytes
}

// time runs a program once; its standard error is shown when it fails.
func (h *harness) time(name string, args ...string) (measure, error) {
	cmd := exec.CommandContext(h.ctx, name, args...)
	out, err := os.Create(filepath.Join(h.dir, "output"))
	if err != nil {
		return measure{}, err
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	start := time.Now()
	err = cmd.Run()
	m := measure{wall: time.Since(start)}
	if usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		m.memory = usage.Maxrss << 10
	}
	if err != nil {
		text, rerr := os.ReadFile(out.Name())
		return m, errors.Join(fmt.Errorf("%s: %w: %s", name, err, text[max(0, len(text)-1000):]), rerr)
	}
	return m, nil
}

// contender is one program in a comparison.
type contender struct {
	name string
	run  func() (measure, error)
}

// compare runs the contenders in turn, after one warm-up each, and returns their
// medians. Dirty pages of one are written before the next begins.
func (h *harness) compare(contenders ...contender) ([]measure, error) {
	results := make([][]measure, len(contenders))
	for i := range h.runs + 1 {
		for j, c := range contenders {
			unix.Sync()
			m, err := c.run()
			if err != nil {
				return nil, err
			}
			if i > 0 {
				results[j] = append(results[j], m)
			}
		}
	}
	medians := make([]measure, len(contenders))
	for j, r := range results {
		medians[j] = median(r)
	}
	return medians, nil
}

// median returns the median of the times, and the highest use of memory.
func median(r []measure) measure {
	slices.SortFunc(r, func(a, b measure) int { return int(a.wall - b.wall) })
	m := r[len(r)/2]
	for _, other := range r {
		m.memory = max(m.memory, other.memory)
	}
	return m
}

// fresh returns a new empty directory. What others of that name hold stays until
// the end: ext4 is slow to make files for some seconds after many were removed,
// which would count against whoever comes next.
func (h *harness) fresh(name string) (string, error) { return os.MkdirTemp(h.dir, name) }

func seconds(d time.Duration) string {
	if d < time.Second {
		return fmt.Sprintf("%.1f ms", d.Seconds()*1e3)
	}
	return fmt.Sprintf("%.2f s", d.Seconds())
}

func ratio(a, b measure) string { return fmt.Sprintf("%.2f", a.wall.Seconds()/b.wall.Seconds()) }
