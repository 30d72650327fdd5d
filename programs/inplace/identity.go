package inplace

import (
	"encoding/binary"
	"errors"
	"hash/fnv"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/internal/beneath"
)

// Identity tells a file, as it was at one moment, from every other that has its
// name later, and from itself after a change. The time of birth is part of it where
// the file system knows that: an inode number is used again.
type Identity struct {
	dev, ino             uint64
	size                 int64
	born, written, other moment // other is ctime
	mode, uid, gid       uint32
}

// moment is a time as the kernel says it, before 1970 and after 2262, too.
type moment struct {
	sec  int64
	nsec uint32
}

// same is == for a file that may have got or lost a name meanwhile, which sets its
// ctime on most file systems. A change of mode or owner, which nothing but the ctime
// would tell, is looked for by itself; one of an extended attribute is not seen.
func (a Identity) same(b Identity) bool {
	a.other = b.other
	return a == b
}

// sum is the identity in a file's name: without what a rename changes, and without
// the device's number, which may be another one after a restart.
func (a Identity) sum() uint64 {
	h := fnv.New64a()
	for _, v := range []uint64{
		a.ino, uint64(a.size), uint64(a.mode), uint64(a.uid), uint64(a.gid),
		uint64(a.born.sec), uint64(a.born.nsec), uint64(a.written.sec), uint64(a.written.nsec),
	} {
		h.Write(binary.LittleEndian.AppendUint64(nil, v))
	}
	return h.Sum64()
}

// Identify looks at a name of a directory, and not through a link.
func Identify(dir *beneath.Dir, base string) (Identity, error) {
	if err := checkBase(dir, base); err != nil {
		return Identity{}, err
	}
	f, err := lookAt(dir.Fd(), base, unix.AT_SYMLINK_NOFOLLOW)
	if err != nil {
		return Identity{}, pathError("stat", dir.Path(base), err)
	}
	return f.Identity, nil
}

// IdentifyFile looks at an open file.
func IdentifyFile(file *os.File) (Identity, error) {
	f, err := lookAtFile(file)
	return f.Identity, err
}

// facts is what the kernel says of a file at once.
type facts struct {
	Identity
	read      moment // atime
	mounted   bool   // the file is a mount point's
	verity    bool
	knowsLess bool // whether it has fs-verity is not among the answers
}

func lookAtFile(file *os.File) (facts, error) {
	f, err := lookAt(int(file.Fd()), "", unix.AT_EMPTY_PATH)
	if err != nil {
		return facts{}, pathError("stat", file.Name(), err)
	}
	return f, nil
}

func lookAt(dirfd int, name string, flags int) (facts, error) {
	var x unix.Statx_t
	err := retry(func() error {
		return unix.Statx(dirfd, name, flags, unix.STATX_BASIC_STATS|unix.STATX_BTIME, &x)
	})
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM) { // Linux before 4.11, or a filter of system calls
		return lookAtByStat(dirfd, name, flags)
	}
	if err != nil {
		return facts{}, err
	}
	f := facts{
		Identity: Identity{
			dev: unix.Mkdev(x.Dev_major, x.Dev_minor), ino: x.Ino, size: int64(x.Size),
			written: moment{x.Mtime.Sec, x.Mtime.Nsec}, other: moment{x.Ctime.Sec, x.Ctime.Nsec},
			mode: uint32(x.Mode), uid: x.Uid, gid: x.Gid,
		},
		read:      moment{x.Atime.Sec, x.Atime.Nsec},
		mounted:   x.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0,
		verity:    x.Attributes&unix.STATX_ATTR_VERITY != 0,
		knowsLess: x.Attributes_mask&unix.STATX_ATTR_VERITY == 0,
	}
	if x.Mask&unix.STATX_BTIME != 0 {
		f.born = moment{x.Btime.Sec, x.Btime.Nsec}
	}
	return f, nil
}

func lookAtByStat(dirfd int, name string, flags int) (facts, error) {
	var st unix.Stat_t
	if err := retry(func() error { return unix.Fstatat(dirfd, name, &st, flags) }); err != nil {
		return facts{}, err
	}
	return facts{
		Identity: Identity{
			dev: st.Dev, ino: st.Ino, size: st.Size, written: momentOf(st.Mtim), other: momentOf(st.Ctim),
			mode: st.Mode, uid: st.Uid, gid: st.Gid,
		},
		read:      momentOf(st.Atim),
		knowsLess: true,
	}, nil
}

func momentOf(t unix.Timespec) moment {
	sec, nsec := t.Unix()
	return moment{sec, uint32(nsec)}
}

// hasVerity reports whether the kernel keeps a file's bytes from changing
// (fs-verity).
func (f *facts) hasVerity(fd int) bool {
	if !f.knowsLess {
		return f.verity
	}
	flags, err := unix.IoctlGetUint32(fd, unix.FS_IOC_GETFLAGS)
	return f.verity || err == nil && flags&unix.FS_VERITY_FL != 0
}

// pathError says a path once, and no temporary name.
func pathError(op, path string, err error) error {
	return &fs.PathError{Op: op, Path: path, Err: cause(err)}
}

// cause is what an error says without paths.
func cause(err error) error {
	var p *fs.PathError
	for errors.As(err, &p) {
		err = p.Err
	}
	return err
}

// retry repeats a system call that a signal interrupted.
func retry(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
