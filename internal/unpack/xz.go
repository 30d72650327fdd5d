package unpack

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// xzMemory is what the xz program may use, for its dictionary above all.
const xzMemory = "256MiB"

// startError says that the xz program could not be started.
type startError struct{ cause error }

func (e *startError) Error() string { return "start xz: " + e.cause.Error() }
func (e *startError) Unwrap() error { return e.cause }

// xzProgram returns the path of xz, or "" if there is none that has its options.
func xzProgram() string {
	program, err := exec.LookPath("xz")
	if err != nil {
		return ""
	}
	if target, err := filepath.EvalSymlinks(program); err != nil || filepath.Base(target) == "busybox" {
		return ""
	}
	return program
}

// startXz has the xz program unpack what r reads.
func (s *Stream) startXz(program, format string, r io.Reader) error {
	p, err := startXz(program, format, s.trusting, r)
	if err != nil {
		return &startError{err}
	}
	checkStream := s.end
	s.r, s.release = p, p.stop
	s.end = func() error {
		if err := p.wait(); err != nil {
			return err
		}
		return checkStream()
	}
	return nil
}

// xzProcess is a running xz program. A goroutine writes to it, and ends when the
// program does or when there is no more to write.
type xzProcess struct {
	cmd    *exec.Cmd
	stdout io.ReadCloser
	stderr limitedBuffer
	fed    chan error // what writing to the program ended with
	waited bool
	result error
}

func startXz(program, format string, trusting bool, r io.Reader) (*xzProcess, error) {
	p := &xzProcess{fed: make(chan error, 1)}
	args := []string{"--decompress", "--stdout", "--threads=1", "--no-warn", "--format=" + format, "--memlimit-decompress=" + xzMemory}
	if trusting {
		args = append(args, "--ignore-check")
	}
	p.cmd = exec.Command(program, args...)
	p.cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "XZ_") || strings.HasPrefix(v, "LC_") || strings.HasPrefix(v, "LANG")
	})
	p.cmd.Stderr = &p.stderr
	stdin, err := p.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	p.stdout, err = p.cmd.StdoutPipe()
	if err != nil {
		return nil, errors.Join(err, stdin.Close())
	}
	widen(p.stdout)
	widen(stdin)
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("run %s: %w", program, err)
	}
	go func() {
		_, err := io.CopyBuffer(onlyWriter{stdin}, onlyReader{r}, make([]byte, 64<<10))
		p.fed <- errors.Join(err, stdin.Close())
	}()
	return p, nil
}

// pipeSize spares xz and its reader most of the times that one waits for the other:
// xz writes 8 KiB at a time, and a tenth of an install's CPU went into waking up.
const pipeSize = 1 << 20

// widen lets a pipe hold more, as far as the kernel allows it (pipe(7), F_SETPIPE_SZ).
func widen(pipe any) {
	f, ok := pipe.(syscall.Conn)
	if !ok {
		return
	}
	conn, err := f.SyscallConn()
	if err != nil {
		return
	}
	_ = conn.Control(func(fd uintptr) {
		_, _ = unix.FcntlInt(fd, unix.F_SETPIPE_SZ, pipeSize) // a pipe of the usual size does as well
	})
}

// Read reads unpacked data. At io.EOF the program has closed its output, and may
// have done so because it failed: see wait.
func (p *xzProcess) Read(b []byte) (int, error) { return p.stdout.Read(b) }

// wait reaps the program and returns why it failed, if it did.
func (p *xzProcess) wait() error {
	if p.waited {
		return p.result
	}
	p.waited = true
	err := p.cmd.Wait()
	fed := <-p.fed
	switch {
	case err != nil:
		p.result = errors.New(p.stderr.message(err))
	case fed != nil:
		p.result = fed
	}
	return p.result
}

// stop ends the program if it runs still. What it was reading from is not in use
// any more when stop returns.
func (p *xzProcess) stop() {
	if p.waited {
		return
	}
	_ = p.cmd.Process.Kill() // it may just have ended
	_ = p.wait()             // it was killed: its verdict is of no interest
}

// limitedBuffer keeps the beginning of what a program has to say.
type limitedBuffer struct{ b bytes.Buffer }

func (l *limitedBuffer) Write(p []byte) (int, error) {
	l.b.Write(p[:min(len(p), 1024-l.b.Len())])
	return len(p), nil
}

// message returns the first line, without what is the same in every one.
func (l *limitedBuffer) message(otherwise error) string {
	line, _, _ := strings.Cut(l.b.String(), "\n")
	_, text, _ := strings.Cut(line, "(stdin): ")
	switch {
	case text != "":
		return text
	case line != "":
		return line
	}
	return "xz: " + otherwise.Error()
}

// These hide the shortcuts that io.Copy would take.
type (
	onlyReader struct{ io.Reader }
	onlyWriter struct{ io.Writer }
)
