package record

import (
	"fmt"
	"path"
	"strings"

	"github.com/hashpkg/hashpkg/layout"
)

// ConfPath is the path, relative to the prefix, of the record of configuration files.
const ConfPath = layout.SystemDir + "/conf.json"

// Conf is the record of configuration files of private packages that were copied to /etc,
// and of directories that were made for them.
// It is durable before a file changes.
type Conf struct {
	Layout int        `json:"layout"` // FormatVersion
	Files  []ConfFile `json:"files"`  // sorted by path
	Dirs   []string   `json:"dirs,omitempty"`
	State  []StateDir `json:"state,omitempty"` // sorted by path
}

// StateDir is a directory below /var that was made for a package.
type StateDir struct {
	Path    string `json:"path"`    // in the root, absolute
	Package string `json:"package"` // the package's name
}

// ConfFile is one file that was copied to /etc.
type ConfFile struct {
	Path    string `json:"path"`    // in the root, absolute
	Package string `json:"package"` // the package's name
	Version string `json:"version"` // that it is from
	// Is is what hashpkg may have put there, the newest first: the BLAKE3 of a file, or
	// "-> TARGET" of a link. What is something else, somebody has changed.
	Is []string `json:"is"`
	// Beside is what may stand beside it, likewise, as a newer version of what somebody
	// has changed.
	Beside []string `json:"beside,omitempty"`
	// Pending says that what is beside it was not put there yet, or not surely.
	Pending bool `json:"pending,omitempty"`
}

// check returns an error for a path that is none below /etc.
func (c *Conf) check() error {
	paths := append([]string{}, c.Dirs...)
	for _, f := range c.Files {
		if err := layout.CheckName(f.Package); err != nil {
			return err
		}
		if len(f.Is) == 0 {
			return fmt.Errorf("nothing is known of %q", f.Path)
		}
		paths = append(paths, f.Path)
	}
	for _, d := range c.State {
		if err := layout.CheckName(d.Package); err != nil {
			return err
		}
		if path.Clean(d.Path) != d.Path || !strings.HasPrefix(d.Path, "/var/") {
			return fmt.Errorf("%q is not a path below /var", d.Path)
		}
	}
	for _, p := range paths {
		if path.Clean(p) != p || p != "/etc" && !strings.HasPrefix(p, "/etc/") {
			return fmt.Errorf("%q is not a path below /etc", p)
		}
	}
	return nil
}
