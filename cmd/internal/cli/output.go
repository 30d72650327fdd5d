package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/internal/advice"
	"github.com/hashpkg/hashpkg/internal/scratch"
)

// output is a kind of file that commands write.
type output struct {
	what    string // for messages: "lock file"
	example string // a name
}

// check returns an error for a file that cannot be written, before the work that it is of. How is what names one
// on the command line: "hashpkg lock -o".
func (o output) check(name, how string) error {
	if info, err := os.Stat(name); err == nil && info.IsDir() {
		return advice.Errorf("write %s: %s is a directory; name a file: %s %s", o.what, name, how, filepath.Join(name, o.example))
	}
	if isDevice(name) {
		return nil
	}
	return o.fault(name, how, unix.Access(filepath.Dir(name), unix.W_OK|unix.X_OK))
}

// write writes a file, which takes its name when it is whole.
func (o output) write(name, how string, text []byte) error {
	if isDevice(name) {
		return o.fault(name, how, os.WriteFile(name, text, 0o644))
	}
	if real, err := filepath.EvalSymlinks(name); err == nil {
		name = real
	}
	temp, err := scratch.File(filepath.Dir(name), ".hashpkg-output-")
	if err != nil {
		return o.fault(name, how, err)
	}
	_, err = temp.File.Write(text)
	if err == nil {
		err = temp.File.Chmod(0o644)
	}
	if err == nil {
		err = os.Rename(temp.Path, name)
	}
	return o.fault(name, how, errors.Join(err, temp.Close()))
}

// isDevice reports whether a file is there that is written to, and not replaced: /dev/stdout, or a pipe.
func isDevice(name string) bool {
	info, err := os.Stat(name)
	return err == nil && !info.Mode().IsRegular()
}

// fault returns what is said of a file that cannot be written.
func (o output) fault(name, how string, err error) error {
	if err == nil {
		return nil
	}
	var errno syscall.Errno
	if errors.As(err, &errno) { // of a file beside it, whose name says nothing
		err = &fs.PathError{Op: "open", Path: name, Err: errno}
	}
	err = fmt.Errorf("write %s: %w", o.what, err)
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.EROFS) {
		err = advice.Errorf("%w; name a file that you may write: %s ~/%s", err, how, o.example)
	}
	return err
}
