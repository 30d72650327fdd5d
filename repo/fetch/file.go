package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// copyFile copies a file of this machine.
func (t *transfer) copyFile(ctx context.Context, m *mirror) error {
	if t.to.n > 0 {
		if err := t.clear(); err != nil {
			return err
		}
	}
	// What is no regular file could keep the opening waiting.
	f, err := os.OpenFile(m.url.Path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return final("%w", cause(err))
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return final("%w", cause(err))
	case !info.Mode().IsRegular():
		return final("it is no regular file")
	}
	if err := t.checkLength(info.Size()); err != nil {
		return err
	}
	t.source = m
	buf := make([]byte, bufferSize)
	for {
		n, err := f.Read(buf)
		if t.to.n+int64(n) > t.to.limit {
			return t.tooLong()
		}
		if err := t.to.write(buf[:n]); err != nil {
			return err
		}
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err == io.EOF:
			if err := t.checkLength(t.to.n); err != nil {
				return err
			}
			return t.finish(m)
		case err != nil:
			return final("read: %w", cause(err))
		}
	}
}

// cause is an error without the path, which the message has as an address.
func cause(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return fmt.Errorf("%w", err)
}
