package ldso

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
)

// maxConfFiles bounds how many files an ld.so.conf may include.
const maxConfFiles = 4096

// ParseConf returns the directories that ldconfig reads for the configuration
// file name, such as "etc/ld.so.conf", each once and in order, without the
// default ones. They are absolute inside the root that fsys is. An included
// file that cannot be read is passed over, as by ldconfig.
func ParseConf(fsys fs.FS, name string) ([]string, error) {
	c := &conf{fsys: fsys, read: map[string]bool{}, seen: map[string]bool{}}
	if err := c.parse(name); err != nil {
		return nil, err
	}
	return c.dirs, nil
}

// conf is the state of one ParseConf.
type conf struct {
	fsys fs.FS
	read map[string]bool // files
	seen map[string]bool // directories
	dirs []string
}

func (c *conf) parse(name string) error {
	if c.read[name] {
		return nil
	}
	if len(c.read) == maxConfFiles {
		return fmt.Errorf("read %s: more than %d files are included", name, maxConfFiles)
	}
	c.read[name] = true
	b, err := fs.ReadFile(c.fsys, name)
	if err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	lines := bufio.NewScanner(bytes.NewReader(b))
	for lines.Scan() {
		line, _, _ := strings.Cut(lines.Text(), "#")
		fields := strings.Fields(line)
		switch {
		case len(fields) == 0, fields[0] == "hwcap":
		case fields[0] == "include":
			for _, pattern := range fields[1:] {
				if err := c.include(name, pattern); err != nil {
					return err
				}
			}
		default:
			c.add(strings.TrimSpace(line))
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	return nil
}

// add takes a directory, which may have a library type behind "=".
func (c *conf) add(dir string) {
	dir, _, _ = strings.Cut(dir, "=")
	dir = strings.TrimSpace(dir)
	if !strings.HasPrefix(dir, "/") {
		return
	}
	dir = "/" + strings.Trim(dir, "/")
	if !c.seen[dir] {
		c.seen[dir] = true
		c.dirs = append(c.dirs, dir)
	}
}

// include reads the files that a pattern in the file from matches.
func (c *conf) include(from, pattern string) error {
	if !strings.HasPrefix(pattern, "/") {
		pattern = path.Join(path.Dir(from), pattern)
	}
	pattern = strings.ReplaceAll(strings.TrimPrefix(path.Clean(pattern), "/"), "[!", "[^")
	names, err := fs.Glob(c.fsys, pattern)
	if errors.Is(err, path.ErrBadPattern) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("include %s in %s: %w", pattern, from, err)
	}
	for _, name := range names {
		if matchesHidden(pattern, name) {
			continue
		}
		err := c.parse(name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) {
			return err
		}
	}
	return nil
}

// matchesHidden reports whether a wildcard stands for a leading dot, which
// glob(3) does not let it do.
func matchesHidden(pattern, name string) bool {
	patterns, names := strings.Split(pattern, "/"), strings.Split(name, "/")
	for i := range min(len(patterns), len(names)) {
		if strings.HasPrefix(names[i], ".") && !strings.HasPrefix(patterns[i], ".") {
			return true
		}
	}
	return false
}
