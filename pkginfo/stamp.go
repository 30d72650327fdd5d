package pkginfo

import (
	"fmt"
	"io/fs"
	"syscall"
)

// FileStamp returns what changes when another file takes a file's place or when it
// is written to: inode, modification time in nanoseconds and size. Databases that
// rename whole files into place are compared by it.
func FileStamp(info fs.FileInfo) string {
	ino := uint64(0)
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		ino = st.Ino
	}
	return fmt.Sprintf("%d %d %d", ino, info.ModTime().UnixNano(), info.Size())
}
