package archive

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strconv"
	"strings"
)

// indexEntry is what the index says of one package: a stanza of Packages.
type indexEntry struct {
	name, version, arch string
	size                int64  // of the .deb, in bytes
	sha256              string // of the .deb, in lower-case hexadecimal
}

// fileName is what apt-get names the package's file.
func (e indexEntry) fileName() string {
	return fmt.Sprintf("%s_%s_%s.deb", e.name, strings.ReplaceAll(e.version, ":", "%3a"), e.arch)
}

// check reads the file and returns an error unless it is the package's.
func (e indexEntry) check(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.Copy(h, f)
	if err != nil {
		return err
	}
	if n != e.size {
		return fmt.Errorf("%s: the index says %d bytes, the file has %d", file, e.size, n)
	}
	if sum := hex.EncodeToString(h.Sum(nil)); sum != e.sha256 {
		return fmt.Errorf("%s: the index says SHA-256 %s, the file has %s", file, e.sha256, sum)
	}
	return nil
}

// parseIndex reads stanzas of deb822(5) and keeps the fields of an indexEntry.
func parseIndex(r io.Reader) ([]indexEntry, error) {
	var entries []indexEntry
	fields := make(map[string]string)
	finish := func() error {
		if len(fields) == 0 {
			return nil
		}
		e, err := newIndexEntry(fields)
		if err != nil {
			return err
		}
		entries = append(entries, e)
		clear(fields)
		return nil
	}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20) // some packages' relations fill tens of kilobytes in one line
	for lines.Scan() {
		line := lines.Text()
		switch {
		case strings.TrimSpace(line) == "":
			if err := finish(); err != nil {
				return nil, err
			}
		case line[0] == ' ' || line[0] == '\t': // goes on with a field that is not needed
		default:
			name, value, ok := strings.Cut(line, ":")
			if !ok {
				return nil, fmt.Errorf("%q is not a field", line)
			}
			fields[strings.ToLower(name)] = strings.TrimSpace(value)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	return entries, finish()
}

func newIndexEntry(fields map[string]string) (indexEntry, error) {
	e := indexEntry{
		name:    fields["package"],
		version: fields["version"],
		arch:    fields["architecture"],
		sha256:  fields["sha256"],
	}
	for _, s := range []string{e.name, e.version, e.arch} {
		// They become a file's name.
		if s == "" || strings.HasPrefix(s, ".") || path.Base(s) != s {
			return indexEntry{}, fmt.Errorf("package %q: %q is not a name, version or architecture", e.name, s)
		}
	}
	if len(e.sha256) != 2*sha256.Size {
		return indexEntry{}, fmt.Errorf("package %q: %q is not a SHA-256", e.name, e.sha256)
	}
	var err error
	if e.size, err = strconv.ParseInt(fields["size"], 10, 64); err != nil {
		return indexEntry{}, fmt.Errorf("package %q: size: %v", e.name, errors.Unwrap(err))
	}
	return e, nil
}
