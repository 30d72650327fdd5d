package beneath

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// ErrNotRegular is wrapped by the error for what is not a regular file, or larger than
// it may be.
var ErrNotRegular = errors.New("not a regular file of a sensible size")

// OpenRegular opens a regular file for reading, and returns what it is. Its time of
// access stays as it is where the process may ask for that. What is not a regular file
// is an error that wraps ErrNotRegular, or ErrLink.
func (d *Dir) OpenRegular(name string) (*os.File, unix.Stat_t, error) {
	var st unix.Stat_t
	f, err := d.OpenFile(name, unix.O_RDONLY|unix.O_NOATIME, 0)
	if errors.Is(err, unix.EPERM) { // only a file's owner may ask for this
		f, err = d.OpenFile(name, unix.O_RDONLY, 0)
	}
	if err != nil {
		return nil, st, err
	}
	err = unix.Fstat(int(f.Fd()), &st)
	if err == nil && st.Mode&unix.S_IFMT != unix.S_IFREG {
		err = ErrNotRegular
	}
	if err != nil {
		return nil, st, errors.Join(d.fault("open", name, err), f.Close())
	}
	return f, st, nil
}

// ReadFile reads a regular file of at most limit bytes.
func (d *Dir) ReadFile(name string, limit int64) ([]byte, error) {
	f, _, err := d.OpenRegular(name)
	if err != nil {
		return nil, err
	}
	b, err := ReadAll(f, limit)
	return b, errors.Join(err, f.Close())
}

// ReadAll reads an open file, which must be a regular one of at most limit bytes.
func ReadAll(f *os.File, limit int64) ([]byte, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > limit {
		return nil, &fs.PathError{Op: "read", Path: f.Name(), Err: ErrNotRegular}
	}
	var b bytes.Buffer
	b.Grow(int(info.Size()) + bytes.MinRead)
	if n, err := io.Copy(&b, io.LimitReader(f, limit+1)); err != nil {
		return nil, err
	} else if n > limit {
		return nil, &fs.PathError{Op: "read", Path: f.Name(), Err: ErrNotRegular}
	}
	return b.Bytes(), nil
}

// tempPrefix starts the names of files that have not taken their place yet.
const tempPrefix = ".hashpkg-new-"

// TempName returns a name that nobody can foresee, for a file that is to be made
// with O_EXCL.
func TempName() string { return fmt.Sprintf("%s%016x", tempPrefix, rand.Uint64()) }

// WriteFile puts a file with these bytes and this mode in place of what has the
// name, whole or not at all, and makes that durable: when it returns, the file is
// there after a power cut.
func (d *Dir) WriteFile(name string, b []byte, mode fs.FileMode) error {
	parent, base, err := d.At(name)
	if err != nil {
		return err
	}
	defer parent.Close()
	temp, err := parent.create(b, mode, true)
	if err != nil {
		return err
	}
	if err := parent.Rename(parent, temp, base); err != nil {
		return errors.Join(err, parent.RemoveIfThere(temp))
	}
	return parent.Sync(".")
}

// StageFile writes a file with a name of its own into the directory of name, and
// returns that: a caller with many of them syncs once, and renames each.
func (d *Dir) StageFile(name string, b []byte, mode fs.FileMode) (temp string, err error) {
	parent, _, err := d.At(name)
	if err != nil {
		return "", err
	}
	defer parent.Close()
	if temp, err = parent.create(b, mode, false); err != nil {
		return "", err
	}
	if dir, _ := split(name); dir != "." {
		temp = dir + "/" + temp
	}
	return temp, nil
}

// create writes a file with a name of its own, and returns that.
func (d *Dir) create(b []byte, mode fs.FileMode, durable bool) (string, error) {
	for {
		temp := TempName()
		f, err := d.OpenFile(temp, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, 0o600)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return "", err
		}
		_, err = f.Write(b)
		if err == nil {
			err = f.Chmod(mode)
		}
		if err == nil && durable {
			err = f.Sync()
		}
		if cerr := f.Close(); err == nil {
			err = cerr
		}
		if err != nil {
			return "", errors.Join(err, d.RemoveIfThere(temp))
		}
		return temp, nil
	}
}

// AbandonedAfter is an age for SweepTemp where other processes may be writing: a temporary file that
// is older is taken for one that a killed process has left.
const AbandonedAfter = 24 * time.Hour

// SweepTemp removes from a directory what killed processes have left of WriteFile
// and StageFile, and empty directories with a name of TempName, that nobody has touched
// for that time.
func (d *Dir) SweepTemp(name string, age time.Duration) error {
	dir, err := d.OpenDir(name)
	if err != nil {
		return err
	}
	defer dir.Close()
	entries, err := dir.ReadDir(".")
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), tempPrefix) || !e.Type().IsRegular() && !e.IsDir() {
			continue
		}
		if st, err := dir.Lstat(e.Name()); err != nil || time.Since(time.Unix(st.Ctim.Unix())) < age {
			continue
		}
		remove := dir.RemoveIfThere
		if e.IsDir() {
			remove = dir.Rmdir
		}
		if err := remove(e.Name()); err != nil && !errors.Is(err, unix.ENOTEMPTY) && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
