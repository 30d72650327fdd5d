// Package pack compresses what package formats compress, as streams that package
// unpack reads: [NewWriter] is all of it.
//
// The same data give the same bytes in each run, whatever the locale, the number of
// processors and the defaults of programs are; not with every version of them.
//
// # Programs
//
// xz, lzma and bzip2 are written by the programs xz and bzip2: no Go module packs as
// well as xz does.
package pack

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/hashpkg/hashpkg/internal/advice"
	"github.com/hashpkg/hashpkg/internal/unpack"
)

// NewWriter returns a writer that compresses what is written to it, to w. level is the
// compression's own, as its program has it; 0 is what packages usually have. Only of
// what was closed without an error is the stream whole; nothing uses w after that, be
// it closed with an error or not. Close may be called again.
func NewWriter(w io.Writer, c unpack.Compression, level int) (io.WriteCloser, error) {
	switch c {
	case unpack.None:
		return &plain{w}, nil
	case unpack.Gzip:
		return gzip.NewWriterLevel(w, orDefault(level, 9, 9))
	case unpack.Zstd:
		return zstd.NewWriter(w, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.EncoderLevelFromZstd(orDefault(level, 19, 22))))
	case unpack.Xz:
		// With two threads or more the stream is cut into the same blocks, however many
		// threads there are.
		return start(w, "xz", "xz-utils", "--format=xz", "--check=crc32", "--threads=2", preset(level, 6))
	case unpack.Lzma:
		return start(w, "xz", "xz-utils", "--format=lzma", preset(level, 6))
	case unpack.Bzip2:
		return start(w, "bzip2", "bzip2", preset(level, 9))
	}
	return nil, fmt.Errorf("nothing here packs by the compression %q", c)
}

func orDefault(level, otherwise, most int) int {
	if level <= 0 {
		return otherwise
	}
	return min(level, most)
}

func preset(level, otherwise int) string { return "-" + strconv.Itoa(orDefault(level, otherwise, 9)) }

type plain struct{ io.Writer }

func (plain) Close() error { return nil }

// program is a running program that compresses. It is ended by Close.
type program struct {
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	out    keepError
	stderr bytes.Buffer
	closed bool
	result error
}

// keepError keeps what writing failed with, of which a program knows only that its
// output was closed.
type keepError struct {
	w   io.Writer
	err error
}

func (k *keepError) Write(p []byte) (int, error) {
	n, err := k.w.Write(p)
	if err != nil {
		k.err = err
	}
	return n, err
}

func start(w io.Writer, name, debianPackage string, args ...string) (io.WriteCloser, error) {
	path, err := exec.LookPath(name)
	if err != nil {
		return nil, advice.Errorf("the program %s, which packs this compression, is not in PATH; install it (of Debian: apt install %s), or choose zstd or gzip", name, debianPackage)
	}
	p := &program{out: keepError{w: w}}
	p.cmd = exec.Command(path, append(args, "--compress", "--stdout")...)
	// XZ_DEFAULTS, XZ_OPT and BZIP2 hold options.
	p.cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool {
		return slices.ContainsFunc([]string{"XZ_", "BZIP", "LC_", "LANG"}, func(prefix string) bool { return strings.HasPrefix(v, prefix) })
	})
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.stderr
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("run %s: %w", name, err)
	}
	return p, nil
}

// Write hands data to the program. What went wrong behind it is the error.
func (p *program) Write(b []byte) (int, error) {
	n, err := p.stdin.Write(b)
	if err != nil {
		return n, p.end(err)
	}
	return n, nil
}

// Close waits until the program has written all.
func (p *program) Close() error { return p.end(nil) }

// end closes the program's input and waits for it. cause is what is the matter if the
// program says nothing worse.
func (p *program) end(cause error) error {
	if p.closed {
		return p.result
	}
	p.closed = true
	closeErr := p.stdin.Close()
	err := p.cmd.Wait()
	said, _, _ := strings.Cut(p.stderr.String(), "\n")
	switch {
	case p.out.err != nil:
		p.result = p.out.err
	case err != nil && said != "":
		p.result = errors.New(said)
	case err != nil:
		p.result = fmt.Errorf("%s: %w", p.cmd.Path, err)
	case cause != nil:
		p.result = cause
	default:
		p.result = closeErr
	}
	return p.result
}
