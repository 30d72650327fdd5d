package record

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/hashpkg/hashpkg/layout"
)

// ConfPath is the path, relative to the prefix, of the record of configuration files.
const ConfPath = layout.SystemDir + "/conf.json"

// Conf is the record of configuration files of private packages that were copied to /etc,
// and of directories that were made for them.
// It is durable before a file changes.
type Conf struct {
	Layout int        `json:"layout"`          // FormatVersion
	Files  []ConfFile `json:"files"`           // sorted by path
	Dirs   []string   `json:"dirs,omitempty"`  // on the way to files
	State  []StateDir `json:"state,omitempty"` // sorted by path
}

// StateDir is a directory below /var that was made for a package.
type StateDir struct {
	Path    string `json:"path"`    // in the root, absolute
	Package string `json:"package"` // the package's name
}

// ConfFile is one file that was copied to /etc, or computed.
type ConfFile struct {
	Path    string `json:"path"`    // in the root, absolute
	Package string `json:"package"` // the package's name
	Version string `json:"version"` // that it is from
	// Computed says that scripts have computed it, of the package or of what it needs. It may
	// be below /var/lib as well.
	Computed bool `json:"computed,omitempty"`
	// Also are packages whose scripts compute it as well, as they do the catalogs of XML.
	Also []string `json:"also,omitempty"`
	// Is is what hashpkg may have put there, the newest first: the BLAKE3 of a file, or
	// "-> TARGET" of a link. What is something else, somebody has changed.
	Is []string `json:"is"`
	// Beside is what may stand beside it, likewise, as a newer version of what somebody
	// has changed.
	Beside []string `json:"beside,omitempty"`
	// Pending says that what is beside it was not put there yet, or not surely.
	Pending bool `json:"pending,omitempty"`
}

// check returns an error for a path where no such file or directory is put.
func (c *Conf) check() error {
	paths, computed := []string{}, slices.Clone(c.Dirs)
	for _, f := range c.Files {
		for _, name := range append([]string{f.Package}, f.Also...) {
			if err := layout.CheckName(name); err != nil {
				return err
			}
		}
		if len(f.Is) == 0 {
			return fmt.Errorf("nothing is known of %q", f.Path)
		}
		if f.Computed {
			computed = append(computed, f.Path)
		} else {
			paths = append(paths, f.Path)
		}
	}
	for _, d := range c.State {
		if err := layout.CheckName(d.Package); err != nil {
			return err
		}
		if path.Clean(d.Path) != d.Path || !strings.HasPrefix(d.Path, "/var/") {
			return fmt.Errorf("%q is not a path below /var", d.Path)
		}
	}
	for _, p := range computed {
		if path.Clean(p) != p || !strings.HasPrefix(p, "/var/lib/") {
			paths = append(paths, p)
		}
	}
	for _, p := range paths {
		if path.Clean(p) != p || p != "/etc" && !strings.HasPrefix(p, "/etc/") {
			return fmt.Errorf("%q is not a path below /etc", p)
		}
	}
	return nil
}
