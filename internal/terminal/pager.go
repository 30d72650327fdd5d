package terminal

import (
	"bytes"
	"cmp"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
)

// Pager is how output is shown that is longer than the terminal.
type Pager struct {
	Command []string // the program and its arguments; none for no pager
	Secure  bool     // it must not be a way to other programs; see [ChoosePager]
}

// ChoosePager returns the pager that the environment names: HASHPKG_PAGER, else PAGER, words
// divided by spaces, no shell; else less. cat is none.
//
// With secure it is less and no other program, from the system's directories, and it is told to
// run nothing, to write no file and to follow no LESSOPEN (LESSSECURE, less(1)): for those who
// may run hashpkg as another user, and no other programs.
func ChoosePager(getenv func(string) string, secure bool) Pager {
	const usual = "less"
	command := cmp.Or(getenv("HASHPKG_PAGER"), getenv("PAGER"), usual)
	words := strings.Fields(command)
	if len(words) == 0 || filepath.Base(words[0]) == "cat" || getenv("TERM") == "dumb" {
		return Pager{}
	}
	if secure {
		words = []string{usual}
	}
	return Pager{words, secure}
}

// start starts the pager.
func (p Pager) start(screen *Screen) (*exec.Cmd, io.WriteCloser, error) {
	program := p.Command[0]
	environ := os.Environ()
	if p.Secure {
		// LESSSECURE_ALLOW, and others of less, would take back what LESSSECURE says.
		environ = slices.DeleteFunc(environ, func(v string) bool {
			return strings.HasPrefix(v, "LESS") || strings.HasPrefix(v, "EDITOR=") || strings.HasPrefix(v, "VISUAL=")
		})
		environ = append(environ, "LESSSECURE=1")
		program = "/usr/bin/less"
		if _, err := os.Stat(program); err != nil {
			program = "/bin/less"
		}
	}
	if _, is := os.LookupEnv("LESS"); !is || p.Secure {
		environ = append(environ, "LESS=FRX") // end where all fits, let colors through, leave the text on the terminal
	}
	cmd := exec.Command(program, p.Command[1:]...)
	cmd.Env = environ
	cmd.Stdout, cmd.Stderr = screen.File, os.Stderr
	input, err := cmd.StdinPipe()
	if err != nil {
		return nil, nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, nil, errors.Join(err, input.Close())
	}
	return cmd, input, nil
}

// Pages writes to a terminal what fits on it, and has a pager show what is longer. What is
// written is kept until it is known which.
//
// While a pager runs it is the one that Ctrl-C is for. Whoever ends it early has seen what they
// wanted: that is no error.
type Pages struct {
	screen Screen
	pager  Pager
	begins func() // called when the pager has started
	stop   <-chan struct{}

	mu     sync.Mutex
	text   bytes.Buffer // all of it: what a pager that fails has not shown is shown without
	lines  int
	column int
	direct bool // there is no pager to be started
	cmd    *exec.Cmd
	input  io.WriteCloser
	ended  chan error
	gone   bool // the pager reads no more
}

// NewPages returns a writer for a terminal. begins is called when a pager has started: from then on,
// until [Pages.Close] returns, nobody else may write to the terminal. When stop is closed, the pager is
// ended: its reader may not have come to the end, and whoever writes would wait for them.
func NewPages(screen Screen, pager Pager, begins func(), stop <-chan struct{}) *Pages {
	return &Pages{screen: screen, pager: pager, begins: begins, stop: stop, direct: len(pager.Command) == 0}
}

// ErrPagerEnded is returned to whom writes when nobody reads any more: the rest need not be made.
var ErrPagerEnded = errors.New("the pager has ended")

// Write implements io.Writer. Its error is [ErrPagerEnded], or one of the terminal.
func (p *Pages) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.direct:
		return p.screen.File.Write(b)
	case p.gone:
		return 0, ErrPagerEnded
	}
	p.text.Write(b)
	if p.cmd != nil {
		return len(b), p.feed(b)
	}
	p.count(b)
	if p.lines < p.screen.Height {
		return len(b), nil
	}
	cmd, input, err := p.pager.start(&p.screen)
	if err != nil { // such as that it is not there
		p.direct = true
		_, err := p.screen.File.Write(p.text.Bytes())
		return len(b), err
	}
	p.begins()
	p.cmd, p.input, p.ended = cmd, input, make(chan error, 1)
	waited := make(chan struct{})
	go func() {
		err := cmd.Wait()
		close(waited)
		p.ended <- err
	}()
	go func() {
		select {
		case <-p.stop:
			_ = cmd.Process.Signal(syscall.SIGTERM) // or it has ended by itself
		case <-waited:
		}
	}()
	return len(b), p.feed(p.text.Bytes())
}

func (p *Pages) feed(b []byte) error {
	if _, err := p.input.Write(b); err != nil { // EPIPE, or that Wait has closed it
		p.gone = true
		return ErrPagerEnded
	}
	return nil
}

// count counts the lines that text takes on the terminal.
func (p *Pages) count(b []byte) {
	for line := range bytes.Lines(b) {
		whole := bytes.HasSuffix(line, []byte("\n"))
		p.column += Columns(string(bytes.TrimSuffix(line, []byte("\n")))) // of colors a little more than there are
		if whole {
			p.lines += 1 + max(0, p.column-1)/p.screen.Width
			p.column = 0
		}
	}
}

// Started reports whether there was need of a pager, and it has started.
func (p *Pages) Started() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cmd != nil
}

// Close shows what was kept, or waits until the pager has ended. It returns an [*exec.ExitError] where
// a signal has ended the pager, that it was not sent because of stop.
func (p *Pages) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		if p.direct {
			return nil
		}
		p.direct = true
		_, err := p.screen.File.Write(p.text.Bytes())
		return err
	}
	_ = p.input.Close() // which Wait may have closed
	err := <-p.ended
	stopped := false
	select {
	case <-p.stop:
		stopped = true
	default:
	}
	p.direct = true
	var exit *exec.ExitError
	switch {
	case err == nil, stopped:
		return nil
	case errors.As(err, &exit) && !exit.Exited(): // by a signal
		return err
	case errors.As(err, &exit) && exit.ExitCode() == lessInterrupted && filepath.Base(p.cmd.Path) == "less":
		return nil
	}
	// It could not show it: it had a wrong option, or there is no such program after all.
	_, err = p.screen.File.Write(p.text.Bytes())
	return err
}

// lessInterrupted is the status of less that Ctrl-C ends (less(1), -K).
const lessInterrupted = 2
