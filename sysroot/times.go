package sysroot

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/layout"
)

// ClampTimes sets the modification time of what stands under the prefix back to
// limit where it is later, as well as that of the directories in the root, so that
// an image is the same from run to run. Files in trees keep theirs: they have a time
// of their own already, or are the distribution's.
func (r *Root) ClampTimes(limit time.Time, dirs []string) error {
	prefix := r.store.Path(".")
	err := filepath.WalkDir(prefix, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		inside, err := filepath.Rel(prefix, name)
		if err != nil {
			return err
		}
		own := inside == layout.Private || strings.HasPrefix(inside, layout.Private+"/") && !strings.HasPrefix(inside, layout.ObjectsDir+"/")
		if d.Type().IsRegular() && !own {
			return nil
		}
		return clampTime(name, limit)
	})
	for _, dir := range append(dirs, path.Dir(r.prefix)) {
		host, herr := r.HostPath(dir)
		if herr == nil {
			herr = clampTime(host, limit)
		}
		err = errors.Join(err, herr)
	}
	if err != nil {
		return fmt.Errorf("set times back: %w", err)
	}
	return nil
}

// clampTime sets the time of a file or link.
func clampTime(name string, limit time.Time) error {
	var st unix.Stat_t
	if err := unix.Lstat(name, &st); err != nil {
		return &fs.PathError{Op: "lstat", Path: name, Err: err}
	}
	if !time.Unix(st.Mtim.Unix()).After(limit) {
		return nil
	}
	times := []unix.Timespec{{Nsec: unix.UTIME_OMIT}, unix.NsecToTimespec(limit.UnixNano())}
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, name, times, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return &fs.PathError{Op: "set time of", Path: name, Err: err}
	}
	return nil
}
