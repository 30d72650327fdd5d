package cli

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/hashpkg/hashpkg/internal/terminal"
	"github.com/hashpkg/hashpkg/transaction"
)

// The values of --progress.
const (
	progressAuto = "auto"
	progressJSON = "json"
	progressNone = "none"
)

// redraw is how often a line of progress changes at most.
const redraw = 200 * time.Millisecond

// progress tells how far a transaction has come. On a terminal that is a line, which
// appears after a second, and leaves nothing behind; for programs, who ask for it, lines of JSON.
type progress struct {
	mu       sync.Mutex
	terminal *os.File    // nil where there is none
	held     *heldWriter // for a command with a pager
	json     *json.Encoder
	start    time.Time
	last     time.Time
	phase    string // that was told last, and its item
	done     int64  // of it
	shown    bool
}

// progressOutput is one line of --progress json.
type progressOutput struct {
	Progress progressFields `json:"progress"`
}

type progressFields struct {
	Phase string `json:"phase"`
	Done  int64  `json:"done"`
	Total *int64 `json:"total"` // nil for unknown
	Unit  string `json:"unit"`  // "bytes", "packages", "files", "objects", "seconds", or "" where nothing is counted
	Item  string `json:"item"`  // what is at work, or has just been done; "" for nothing that has a name
}

func (a *app) newProgress() *progress {
	p := &progress{start: time.Now()}
	switch {
	case a.progress == progressJSON:
		p.json = json.NewEncoder(a.Err)
		p.json.SetEscapeHTML(false)
	case a.progress != progressNone && !a.quiet && a.Getenv("TERM") != "dumb":
		p.terminal = a.terminal()
		p.held = a.held
	}
	return p
}

// terminal returns the terminal that standard error is; nil when it is none.
func (a *app) terminal() *os.File { return a.errScreen.File }

func (p *progress) show(s transaction.Progress) {
	fields := progressFields{Phase: s.Step, Done: s.Done, Unit: s.Unit, Item: s.Item}
	text := strings.TrimSpace(s.Step + " " + s.Item)
	done, total, unit := s.Done, s.Total, s.Unit
	if unit == transaction.UnitBytes {
		done, total, unit = done>>20, total>>20, "MB"
	}
	switch {
	case s.Total > 0:
		fields.Total = &s.Total
		text += fmt.Sprintf(" %d of %d %s", done, total, unit)
	case s.Unit != "":
		text += fmt.Sprintf(" %d %s", done, unit)
	}
	p.tell(fields, text)
}

func (p *progress) bytes(step string) func(int64) {
	return func(n int64) { p.show(transaction.Progress{Step: step, Done: n, Unit: transaction.UnitBytes}) }
}

// tell tells how far it has come, whoever wants to know: of each phase and thing at its
// beginning and, as far as that is known, its end, and else not too often.
func (p *progress) tell(fields progressFields, text string) {
	if p.json == nil {
		p.line(text)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	isLast := fields.Total != nil && fields.Done == *fields.Total
	phase := fields.Phase + " " + fields.Item
	if phase == p.phase && (fields.Done == p.done || !isLast && now.Sub(p.last) < redraw) {
		return
	}
	p.last, p.phase, p.done = now, phase, fields.Done
	// What cannot be written to standard error cannot be told either.
	_ = p.json.Encode(progressOutput{fields})
}

func (p *progress) line(text string) {
	if p.terminal == nil || p.held != nil && p.held.isHeld() { // the terminal is the pager's
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if now.Sub(p.start) < time.Second || now.Sub(p.last) < redraw {
		return
	}
	p.last, p.shown = now, true
	// A line that is longer than the terminal could not be taken away again.
	screen := terminal.Screen{File: p.terminal}
	columns, _ := screen.Size()
	fmt.Fprintf(p.terminal, "\r\x1b[K%s", terminal.Cut(text, columns-1))
}

// during says what is done, and for how long, until the function that it returns is called.
func (p *progress) during(step string) (end func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case now := <-tick.C:
				s := now.Sub(p.start).Seconds()
				p.tell(progressFields{Phase: step, Done: int64(s), Unit: "seconds"}, fmt.Sprintf("%s, %.0f s", step, s))
			}
		}
	}()
	return func() {
		close(done)
		<-ended
		p.end()
	}
}

// end takes the line away.
func (p *progress) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.shown {
		fmt.Fprint(p.terminal, "\r\x1b[K")
		p.shown = false
	}
}
