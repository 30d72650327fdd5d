package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/pelletier/go-toml/v2"

	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/sysroot"
)

// configFile is the settings of a root.
const configFile = "/etc/hashpkg.toml"

// config is what the file may hold.
type config struct {
	Prefix string `toml:"prefix"`
}

// findPrefix returns the prefix: the flag's, the root's own setting, or the
// default.
func (a *app) findPrefix() (string, error) {
	if a.prefix != "" {
		return a.prefix, nil
	}
	r, err := sysroot.Open(a.root, layout.DefaultPrefix)
	if err != nil {
		return "", usageError{err}
	}
	path, err := r.HostPath(configFile)
	if err != nil {
		return "", err
	}
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return "", fmt.Errorf("read settings: %s is no regular file", path)
	}
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return layout.DefaultPrefix, nil
	}
	if err != nil {
		return "", fmt.Errorf("read settings: %w", err)
	}
	c := config{Prefix: layout.DefaultPrefix}
	if err := toml.Unmarshal(b, &c); err != nil {
		return "", fmt.Errorf("read settings: %s: %w", path, err)
	}
	return c.Prefix, nil
}
