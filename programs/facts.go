package programs

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/elfedit"
	"github.com/hashpkg/hashpkg/internal/advice"
	"github.com/hashpkg/hashpkg/internal/beneath"
	"github.com/hashpkg/hashpkg/internal/mapped"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/programs/inplace"
	"github.com/hashpkg/hashpkg/sysroot"
)

// Facts are what is known of a program before anything is decided.
type Facts struct {
	Program
	File    FileID
	Source  digest.Digest       // of the packaged bytes
	Info    *elfedit.Info       // of the packaged bytes; nil when Left is set
	Record  *record.EditedFile  // until now; nil for none
	Current *record.AppliedEdit // the edit that it has; nil when it is as packaged
	// Left says why nothing can be made of it, whatever is wanted, and Sealed why it
	// would not be started with other bytes than it was packaged with.
	Left, Sealed Reason
	// Elsewhere is another prefix in whose farm it searches: the setting was
	// changed while programs were edited for the other.
	Elsewhere string
}

// Bytes are a program's, while it is mapped.
type Bytes struct {
	Current  []byte // on the disk
	Packaged []byte // the same slice when it is as packaged
}

const notRegular Reason = "is not a regular file any more"

// Read calls use with the facts of a program and its bytes, which are gone when it
// returns. known is the record of its edit; nil for none. A program without one that has
// more than limit bytes is not read. The error wraps fs.ErrNotExist for a program
// that is not there.
func Read(root *sysroot.Root, p *Program, known *record.EditedFile, limit int64, use func(*Facts, Bytes) error) error {
	place, err := root.Find(p.Path)
	if err != nil {
		return err
	}
	defer place.Close()
	f := &Facts{Program: *p, Record: known}
	file, err := place.Dir.OpenFile(place.Base, os.O_RDONLY, 0)
	if errors.Is(err, beneath.ErrLink) || errors.Is(err, beneath.ErrNotRegular) {
		f.Left = notRegular
		return use(f, Bytes{})
	}
	if err != nil {
		return err
	}
	defer file.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &st); err != nil {
		return fmt.Errorf("look at %s: %w", p.Path, err)
	}
	f.File = fileID(&st)
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		f.Left = notRegular
		return use(f, Bytes{})
	}
	if known == nil && st.Size > limit {
		f.Left = TooLarge(st.Size, limit)
		return use(f, Bytes{})
	}
	f.Sealed = sealed(file, place)
	return mapped.File(file, func(data []byte) error {
		packaged, err := f.look(data)
		if err != nil {
			return err
		}
		if f.Left == "" {
			if f.Info, err = elfedit.Inspect(packaged); err != nil {
				f.Left = Reason("cannot be edited: " + err.Error())
			}
		} else {
			f.Elsewhere = otherPrefix(data, root.Prefix())
		}
		return use(f, Bytes{data, packaged})
	})
}

// IsPackaged reports whether a program has the bytes that its package brought, as far as
// the database knows their digest. One that is not there has them.
func IsPackaged(root *sysroot.Root, p *Program) (packaged bool, err error) {
	err = Read(root, p, nil, math.MaxInt64, func(f *Facts, b Bytes) error {
		packaged = hasDigest(b.Current, f.Digest)
		return nil
	})
	if isGone(err) {
		return true, nil
	}
	return packaged, err
}

// look finds out which edit the bytes have, and returns the packaged ones.
func (f *Facts) look(data []byte) ([]byte, error) {
	disk := digest.Of(data)
	if f.Record != nil && f.Record.With(disk) == nil && f.Record.Source != disk {
		f.Record = nil // of a file that was there before this one
	}
	f.Source = disk
	if f.Record == nil {
		if !hasDigest(data, f.Digest) {
			f.Left = "is not the file that its package brought"
		}
		return data, nil
	}
	packaged, current, err := Undo(f.Record, data)
	if err != nil {
		return nil, advice.Errorf("%w; run hashpkg verify --system", err)
	}
	f.Source, f.Current = f.Record.Source, current
	return packaged, nil
}

// otherPrefix returns the prefix whose farm a program searches, if that is not this
// one.
func otherPrefix(data []byte, prefix string) string {
	info, err := elfedit.Inspect(data)
	if err != nil {
		return ""
	}
	for dir := range strings.SplitSeq(info.RunPath, ":") {
		if other, _, ok := strings.Cut(dir, "/"+layout.CurrentSystem+"/lib"); ok && other != prefix {
			return other
		}
	}
	return ""
}

// sealed returns why an edited program would not be started: somebody has signed its
// bytes, or recorded their digest.
func sealed(file *os.File, place *sysroot.Place) Reason {
	switch err := inplace.CheckSealed(file); {
	case errors.Is(err, inplace.ErrSigned):
		return "has a signature of IMA or EVM, which an edit would make invalid"
	case errors.Is(err, inplace.ErrVerity):
		return "has fs-verity on, which allows no change"
	}
	if name := ComparedWith(place.Dir, place.Base); name != "" {
		return Reason("is compared with " + path.Join(path.Dir(place.Path), name) + " when it starts, which an edit would contradict")
	}
	return ""
}

// ComparedWith returns the file below a directory that has the digest with which a program of the
// directory compares itself when it starts, as fipscheck and libkcapi have it; "" for none.
func ComparedWith(dir *beneath.Dir, base string) string {
	for _, name := range []string{"." + base + ".hmac", "fipscheck/" + base + ".hmac", "hmaccalc/" + base + ".hmac"} {
		if dir.Exists(name) {
			return name
		}
	}
	return ""
}
