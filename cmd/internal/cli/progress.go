package cli

import (
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/transaction"
)

// redraw is how often a line of progress changes at most.
const redraw = 200 * time.Millisecond

// progress is a line on a terminal that tells how far a transaction has come. It
// appears after a second, and leaves nothing behind.
type progress struct {
	mu       sync.Mutex
	terminal *os.File // nil where there is none
	start    time.Time
	last     time.Time
	shown    bool
}

func (a *app) newProgress() *progress {
	p := &progress{start: time.Now()}
	if !a.quiet && a.Getenv("TERM") != "dumb" {
		p.terminal = a.terminal()
	}
	return p
}

// terminal returns the terminal that standard error is; nil when it is none.
func (a *app) terminal() *os.File {
	f, ok := a.Err.(*os.File)
	if !ok {
		return nil
	}
	if _, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS); err != nil {
		return nil
	}
	return f
}

func (p *progress) show(s transaction.Progress) {
	text := s.Step
	switch {
	case s.Packages:
		text = fmt.Sprintf("%s %d of %d packages", s.Step, s.Done, s.Total)
	case s.Total > 0:
		text = fmt.Sprintf("%s %d of %d MB", s.Step, s.Done>>20, s.Total>>20)
	}
	p.line(text)
}

func (p *progress) bytes(step string) func(int64) {
	return func(n int64) { p.line(fmt.Sprintf("%s %d MB", step, n>>20)) }
}

func (p *progress) line(text string) {
	if p.terminal == nil {
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
	if size, err := unix.IoctlGetWinsize(int(p.terminal.Fd()), unix.TIOCGWINSZ); err == nil && size.Col > 0 && len(text) >= int(size.Col) {
		text = text[:size.Col-1]
	}
	fmt.Fprintf(p.terminal, "\r\x1b[K%s", text)
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
				p.line(fmt.Sprintf("%s, %.0f s", step, now.Sub(p.start).Seconds()))
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
