package sysroot

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/internal/beneath"
	"github.com/hashpkg/hashpkg/layout"
)

// ClampTimes sets the modification time of what stands under the prefix back to
// limit where it is later, as well as that of the directories in the root, so that
// an image is the same from run to run. Files in trees keep theirs: they have a time
// of their own already, or are the distribution's.
func (r *Root) ClampTimes(limit time.Time, dirs []string) error {
	err := r.store.Dir().Walk(".", func(name string, dir *beneath.Dir, base string, kind fs.FileMode) error {
		own := name == layout.Private || strings.HasPrefix(name, layout.Private+"/") && !strings.HasPrefix(name, layout.ObjectsDir+"/")
		if kind.IsRegular() && !own {
			return nil
		}
		return clampTime(dir, base, limit)
	})
	for _, inside := range append(dirs, path.Dir(r.prefix)) {
		p, ferr := r.Find(inside)
		if ferr == nil {
			ferr = errors.Join(clampTime(p.Dir, p.Base, limit), p.Close())
		}
		err = errors.Join(err, ferr)
	}
	if err != nil {
		return fmt.Errorf("set times back: %w", err)
	}
	return nil
}

// clampTime sets the time of a file, directory or link. What has other names is none
// that hashpkg wrote, and may be a file outside the root.
func clampTime(dir *beneath.Dir, base string, limit time.Time) error {
	st, err := dir.Lstat(base)
	if err != nil || !time.Unix(st.Mtim.Unix()).After(limit) {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR && st.Nlink > 1 {
		return nil
	}
	return dir.SetTimes(base, [2]unix.Timespec{{Nsec: unix.UTIME_OMIT}, unix.NsecToTimespec(limit.UnixNano())})
}
