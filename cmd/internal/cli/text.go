package cli

import (
	"errors"
	"fmt"
	"io"
	"syscall"

	"github.com/hashpkg/hashpkg/internal/visible"
)

// visibleWriter writes what [visible.Text] returns.
type visibleWriter struct{ w io.Writer }

func (v visibleWriter) Write(b []byte) (int, error) {
	if _, err := io.WriteString(v.w, visible.Text(string(b))); err != nil {
		return 0, err
	}
	return len(b), nil
}

// patientWriter writes until nobody reads any more, as behind head, and takes the rest for
// written: that somebody has seen enough is no failure of the command.
type patientWriter struct {
	w    io.Writer
	gone bool
}

func (p *patientWriter) Write(b []byte) (int, error) {
	if p.gone {
		return len(b), nil
	}
	n, err := p.w.Write(b)
	if errors.Is(err, syscall.EPIPE) {
		p.gone = true
		return len(b), nil
	}
	return n, err
}

// printf writes a line of the result, for people.
func (a *app) printf(format string, v ...any) error {
	return a.printExactly(visible.Text(fmt.Sprintf(format, v...)))
}

// printExactly writes what is for programs.
func (a *app) printExactly(text string) error {
	if _, err := io.WriteString(a.Out, text); err != nil {
		return fmt.Errorf("write output: %w", err)
	}
	return nil
}

// notice writes what a person may want to know while the command goes on.
func (a *app) notice(format string, v ...any) {
	if !a.quiet {
		a.complain(format, v...)
	}
}

// complain writes what a person has to know.
func (a *app) complain(format string, v ...any) {
	_, _ = io.WriteString(a.Err, a.message(fmt.Sprintf(format, v...)))
}
