package inplace

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/elfedit"
	"github.com/hashpkg/hashpkg/internal/beneath"
)

// WriteInto makes an edit in the file itself, which keeps its inode: all its hard links change,
// and who keeps notes of files by their inodes, as fakeroot(1) does, still knows it. It is for
// files that nobody runs and that are made again when the process dies in the middle, as those
// of a package that is being built; any other is for [Stage].
//
// Mode and times stay. was is the file as it was read: the error wraps [ErrChanged] when it is another
// by now, and elfedit.ErrEditMismatch when the edit is of other bytes. After an error that
// is not of the way back, which the message then says, the file has its old bytes.
func WriteInto(dir *beneath.Dir, base string, was Identity, e elfedit.Edit) error {
	p := Place{dir, base}
	if err := e.Validate(); err != nil {
		return pathError("edit", p.path(), err)
	}
	file, is, err := openRegular(p, unix.O_RDONLY)
	if err != nil {
		return err
	}
	defer file.Close()
	if is.Identity != was {
		return pathError("edit", p.path(), ErrChanged)
	}
	if err := matches(int(file.Fd()), is.size, e); err != nil {
		return pathError("edit", p.path(), err)
	}
	old, err := readMetadata(file, is)
	if err != nil {
		return pathError("edit", p.path(), err)
	}
	to, err := openToWrite(p, file, is)
	if err != nil {
		return err
	}
	err = writeEdit(to, e)
	if err != nil {
		if undo := writeEdit(to, e.Invert()); undo != nil {
			err = fmt.Errorf("%v; it could not be given its bytes back, and is damaged: %v", err, undo)
		}
	}
	if cerr := to.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return pathError("write", p.path(), err)
	}
	times, err := old.times()
	if err == nil {
		err = dir.SetTimes(base, times)
	}
	if err != nil {
		return pathError("keep the times of", p.path(), err)
	}
	return nil
}

// openToWrite opens a file that was opened for reading once more. One that its owner may not write
// to is made writable for as long as that takes.
func openToWrite(p Place, file *os.File, is facts) (*os.File, error) {
	open := func() (*os.File, error) {
		to, now, err := openRegular(p, unix.O_RDWR)
		if err == nil && now.ino != is.ino {
			err = errors.Join(pathError("edit", p.path(), ErrChanged), to.Close())
		}
		return to, err
	}
	to, err := open()
	if !errors.Is(err, unix.EACCES) {
		return to, err
	}
	mode := is.mode & 0o7777
	if cerr := unix.Fchmod(int(file.Fd()), mode|unix.S_IWUSR); cerr != nil {
		return nil, err
	}
	to, err = open()
	if cerr := unix.Fchmod(int(file.Fd()), mode); cerr != nil && err == nil {
		return nil, errors.Join(pathError("keep the mode of", p.path(), cerr), to.Close())
	}
	return to, err
}

// writeEdit writes an edit's bytes, and reads them again.
func writeEdit(to *os.File, e elfedit.Edit) error {
	fd := int(to.Fd())
	for _, h := range e.Hunks {
		if err := writeAt(fd, h.New, h.Offset); err != nil {
			return err
		}
	}
	if err := unix.Ftruncate(fd, e.NewSize); err != nil {
		return err
	}
	if err := matches(fd, e.NewSize, e.Invert()); err != nil {
		return fmt.Errorf("what was written does not read back: %v", err)
	}
	return nil
}

// HasPrivileges reports whether a file is setuid or setgid, or has capabilities.
func HasPrivileges(file *os.File) (bool, error) {
	is, err := lookAtFile(file)
	if err != nil {
		return false, err
	}
	if is.mode&privileges != 0 {
		return true, nil
	}
	names, err := attributeNames(int(file.Fd()))
	return slices.Contains(names, capability), err
}
