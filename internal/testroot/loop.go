package testroot

import (
	"bufio"
	"context"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"testing"
)

// Loop starts a program again and again, while the test does something else.
type Loop struct {
	tb     testing.TB
	args   []string
	cancel context.CancelFunc
	cmd    *exec.Cmd
	done   chan struct{} // closed when all output has been read

	mu       sync.Mutex
	starts   int
	failures []string
	broken   string // what is not a report: the loop itself has failed
}

// A report is a line: "ok", or the status and the quoted output of a failed
// start. The shell and chroot are the machine's own, so only the program
// depends on the state of the root. A shell's builtins and a pipe of one
// writer make a line whole.
const loopScript = `while :; do
	said=$(chroot "$root" "$@" 2>&1 </dev/null)
	status=$?
	if [ $status = 0 ]; then
		echo ok
	else
		printf 'status %s: %s\n' "$status" "$(printf %s "$said" | tail -c 1000 | tr '\n' '~')"
	fi
done`

// Loop starts a loop of the command and returns when it has run once. It ends
// with Stop, or with the test.
func (r *Root) Loop(args ...string) *Loop {
	r.tb.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	l := &Loop{tb: r.tb, args: args, cancel: cancel, done: make(chan struct{})}
	l.cmd = r.command(ctx, loopScript, args)
	out, err := l.cmd.StdoutPipe()
	if err != nil {
		r.tb.Fatal(err)
	}
	l.cmd.Stderr = l.cmd.Stdout // what enter says when it fails
	if err := l.cmd.Start(); err != nil {
		r.tb.Fatalf("start a loop of %q: %v", args, err)
	}
	r.tb.Cleanup(l.end)
	first := make(chan struct{})
	go func() {
		defer close(l.done)
		once := sync.OnceFunc(func() { close(first) })
		defer once()
		lines := bufio.NewReader(out)
		for {
			line, err := lines.ReadString('\n')
			if err != nil {
				return // a line that is not whole is of a start that was cut short
			}
			l.report(strings.TrimSuffix(line, "\n"))
			once()
		}
	}()
	<-first
	return l
}

func (l *Loop) report(line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case line == "ok":
		l.starts++
	case strings.HasPrefix(line, "status "):
		l.starts++
		l.failures = append(l.failures, fmt.Sprintf("start %d: %s", l.starts, strings.ReplaceAll(line, "~", "\n")))
	default:
		l.broken += line + "\n"
	}
}

// end kills the loop and waits until it has reported all.
func (l *Loop) end() {
	l.cancel()
	<-l.done
	l.cmd.Wait() //nolint:errcheck // it was killed
}

// Failing returns how many starts have failed up to now.
func (l *Loop) Failing() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.failures)
}

// StopErr ends the loop and returns how often the program was started, and what
// it said whenever it failed. A start that the end cuts short does not count.
func (l *Loop) StopErr() (starts int, failures []string) {
	l.tb.Helper()
	l.end()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.broken != "" {
		l.tb.Fatalf("the loop of %q broke: %s", l.args, l.broken)
	}
	return l.starts, l.failures
}

// Stop is StopErr for a program that shall always start: if it did not, the
// test fails.
func (l *Loop) Stop() (starts int) {
	l.tb.Helper()
	starts, failures := l.StopErr()
	if len(failures) > 0 {
		l.tb.Errorf("%d of %d starts of %q failed:\n%s", len(failures), starts, l.args, tail(strings.Join(failures, "\n"), 20))
	}
	return starts
}
