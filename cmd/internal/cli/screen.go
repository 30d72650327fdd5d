package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/hashpkg/hashpkg/internal/caller"
	"github.com/hashpkg/hashpkg/internal/terminal"
	"github.com/hashpkg/hashpkg/internal/visible"
)

// screenFlags say how a command shows what it has to say.
type screenFlags struct {
	color, progress string
	noPager         bool
}

// The values of --color and --progress.
func colorValues() []string {
	return []string{string(terminal.Auto), string(terminal.Always), string(terminal.Never)}
}
func progressValues() []string { return []string{progressAuto, progressJSON, progressNone} }

func (s *screenFlags) add(a *app, cmd *cobra.Command) {
	f := cmd.PersistentFlags()
	f.StringVar(&s.color, "color", string(terminal.Auto), "color what stands out: `WHEN` is auto (on a terminal, without NO_COLOR), always or never")
	f.BoolVar(&s.noPager, "no-pager", false, "show long output without a pager")
	f.StringVar(&s.progress, "progress", progressAuto, "show progress: `HOW` is auto (on a terminal), json (on standard error) or none")
	a.completeFlag(cmd, "color", oneOf(colorValues()...), noFiles)
	a.completeFlag(cmd, "progress", oneOf(progressValues()...), noFiles)
}

func (s *screenFlags) check() error {
	for _, f := range []struct {
		name, value string
		of          []string
	}{{"color", s.color, colorValues()}, {"progress", s.progress, progressValues()}} {
		if !slices.Contains(f.of, f.value) {
			return usageError{fmt.Errorf("--%s %s: expected %s or %s", f.name, f.value, strings.Join(f.of[:2], ", "), f.of[2])}
		}
	}
	return nil
}

// lookAtScreens finds out on what the output and the messages are read.
func (a *app) lookAtScreens() {
	colors := terminal.Colors(a.color)
	a.screen, a.errScreen = terminal.Of(a.Out, a.Getenv, colors), terminal.Of(a.Err, a.Getenv, colors)
}

// begin looks at the screens before a command runs, and gives one that may print more than a
// screen a pager.
func (a *app) begin(c *cobra.Command) error {
	if err := a.screenFlags.check(); err != nil {
		return err
	}
	a.lookAtScreens()
	if a.noPager || a.json || !a.screen.IsTerminal() || !isPaged(c) {
		return nil
	}
	pager := terminal.ChoosePager(a.Getenv, caller.IsElevated(a.Getenv))
	held := &heldWriter{w: a.Err}
	a.pages, a.held = terminal.NewPages(a.screen, pager, func() {
		held.hold()
		signal.Ignore(syscall.SIGINT)
	}, c.Context().Done()), held
	a.Out, a.Err = a.pages, held
	return nil
}

// isPaged reports whether a command does nothing but print what may be long.
func isPaged(c *cobra.Command) bool {
	switch nameOf(c) {
	case "list", "show", "search", "history", "history show", "generations", "diff", "outdated", "du", "pins", "sources",
		"deps", "tree", "why", "owner", "users", "conf list", "conf diff", "alternatives":
		return true
	}
	return false
}

// endPages shows what there is, or waits for the pager. err is what the command came to.
func (a *app) endPages(ctx context.Context, err error) error {
	if a.pages == nil {
		return err
	}
	ended := a.pages.Close()
	a.held.release()
	var exit *exec.ExitError
	switch {
	case errors.As(ended, &exit):
		if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() && status.Signal() == syscall.SIGINT {
			return statusError(exitSignal + int(syscall.SIGINT))
		}
		ended = nil
	case ended != nil:
		ended = fmt.Errorf("write output: %w", ended)
	}
	switch {
	case errors.Is(err, terminal.ErrPagerEnded): // somebody has seen enough, or has ended the command
		err = ctx.Err()
	case err == nil && a.pages.Started():
		err = ctx.Err()
	}
	return errors.Join(err, ended)
}

// heldWriter keeps messages while a pager has the terminal.
type heldWriter struct {
	mu   sync.Mutex
	w    io.Writer
	held bool
	text bytes.Buffer
}

func (h *heldWriter) Write(b []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.held {
		return h.text.Write(b)
	}
	return h.w.Write(b)
}

func (h *heldWriter) hold() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.held = true
}

func (h *heldWriter) isHeld() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.held
}

func (h *heldWriter) release() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.held = false
	_, _ = h.text.WriteTo(h.w) // what cannot be written to standard error cannot be told either
}

// bytes says how many bytes there are: rounded on a terminal, and exactly elsewhere.
func (a *app) bytes(n int64) string {
	if a.screen.IsTerminal() && n >= 1024 {
		return humanSize(n) + "B"
	}
	return count64(n, "byte")
}

// printChanged prints a line that says what became of a package, which begins with + or - where it
// came or went.
func (a *app) printChanged(line string) error {
	line = visible.Text(line)
	switch mark := strings.TrimLeft(line, " "); {
	case strings.HasPrefix(mark, "+ "):
		line = a.screen.Styled(terminal.Green, line)
	case strings.HasPrefix(mark, "- "):
		line = a.screen.Styled(terminal.Red, line)
	}
	return a.printExactly(line + "\n")
}

// message is a text for standard error, on which a prefix that says what it is stands out.
func (a *app) message(text string) string {
	text = visible.Text(text)
	if a.errScreen.IsTerminal() {
		text = terminal.Wrap(text, a.errScreen.Width, "hashpkg", "mkdir")
	}
	for prefix, style := range map[string]terminal.Style{"hashpkg: ": terminal.Red, "warning: ": terminal.Yellow} {
		if rest, is := strings.CutPrefix(text, prefix); is {
			return a.errScreen.Styled(style, strings.TrimSuffix(prefix, " ")) + " " + rest
		}
	}
	return text
}

// table prints lines whose columns, divided by tabs, begin one below the other: where it is a
// terminal, in lines of its width, if cutting the columns cuts makes them fit. Of these the first
// is the least important one. Elsewhere nothing is cut. The caller flushes it.
type table struct {
	app    *app
	cuts   []int
	header bool
	text   bytes.Buffer
}

// table returns a table. cuts are numbers of columns.
func (a *app) table(cuts ...int) *table { return &table{app: a, cuts: cuts} }

// Write implements io.Writer.
func (t *table) Write(b []byte) (int, error) { return t.text.Write(b) }

// Header writes the titles of columns, as the first line.
func (t *table) Header(titles ...string) {
	t.header = true
	t.text.WriteString(strings.Join(titles, "\t") + "\n")
}

// Flush prints the table.
func (t *table) Flush() error {
	text := visible.Text(t.text.String())
	t.text.Reset()
	if !t.app.screen.IsTerminal() && !t.app.screen.Color {
		var out strings.Builder // to be written at once, and not by the cell
		w := tabwriter.NewWriter(&out, 0, 8, 2, ' ', 0)
		_, err := io.WriteString(w, text)
		return errors.Join(err, w.Flush(), t.app.printExactly(out.String()))
	}
	var rows [][]string
	for line := range strings.Lines(text) {
		rows = append(rows, strings.Split(strings.TrimSuffix(line, "\n"), "\t"))
	}
	var out strings.Builder
	for i, line := range layOut(rows, t.cuts, t.app.screen.Width) {
		if i == 0 && t.header {
			line = t.app.screen.Styled(terminal.Bold, line)
		}
		out.WriteString(line + "\n")
	}
	return t.app.printExactly(out.String())
}

// layOut returns the lines of a table, which are at most so wide where cutting some columns
// is enough for that; with 0 nothing is cut.
func layOut(rows [][]string, cuts []int, most int) (lines []string) {
	const gap, least = 2, 6 // columns between two, and what is left of one that is cut
	var widths []int
	for _, row := range rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], terminal.Columns(cell))
		}
	}
	excess := gap*(len(widths)-1) - most
	for _, w := range widths {
		excess += w
	}
	for _, i := range cuts {
		if i < len(widths) && excess > 0 && most > 0 {
			by := max(0, min(excess, widths[i]-least))
			widths[i] -= by
			excess -= by
		}
	}
	for _, row := range rows {
		var line strings.Builder
		for i, cell := range row {
			if slices.Contains(cuts, i) {
				cell = terminal.Cut(cell, widths[i])
			}
			line.WriteString(cell)
			if i < len(row)-1 {
				line.WriteString(strings.Repeat(" ", widths[i]-terminal.Columns(cell)+gap))
			}
		}
		lines = append(lines, strings.TrimRight(line.String(), " "))
	}
	return lines
}

func count64(n int64, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return strconv.FormatInt(n, 10) + " " + thing + "s"
}
