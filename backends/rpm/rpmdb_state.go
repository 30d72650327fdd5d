package rpm

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/hashpkg/hashpkg/backends"
	"github.com/hashpkg/hashpkg/pkginfo"
)

// DatabaseState returns what changes with every change of the rpm database in a
// root: inode, time and size of its files. The error wraps [backends.ErrNoDatabase]
// where there is none.
func DatabaseState(root backends.Root) (string, error) {
	databases, err := findDatabases(root)
	if err != nil {
		return "", err
	}
	var state strings.Builder
	for _, d := range databases {
		for _, file := range []string{d.file, d.file + "-wal"} { // sqlite's write-ahead log
			info, err := root.Stat(file)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return "", fmt.Errorf("read rpm database: %w", err)
			}
			fmt.Fprintf(&state, "%s ", pkginfo.FileStamp(info))
		}
	}
	return state.String(), nil
}
