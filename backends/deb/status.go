package deb

import (
	"bufio"
	"fmt"
	"io"
	"strings"

	"github.com/hashpkg/hashpkg/pkginfo"
)

// maxStatusLine bounds a line of dpkg's database; the longest real ones are
// relations of a few tens of kilobytes.
const maxStatusLine = 4 << 20

// ReadStatus reads dpkg's database of installed packages, /var/lib/dpkg/status
// (dpkg(1)). It returns those that are unpacked or further, with name, version,
// architecture and what they provide; their files are not there.
func ReadStatus(r io.Reader) ([]*pkginfo.Package, error) {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 64<<10), maxStatusLine)
	var packages []*pkginfo.Package
	fields := map[string]string{}
	number := 0
	end := func() error {
		defer clear(fields)
		if len(fields) == 0 || !isOnDisk(fields["status"]) {
			return nil
		}
		p := &pkginfo.Package{
			Format: Name, Name: fields["package"], Version: fields["version"], Architecture: fields["architecture"],
			MultiArch: fields["multi-arch"],
		}
		if err := checkIdentity(p); err != nil {
			return fmt.Errorf("the paragraph before line %d: %w", number, err)
		}
		if err := parseRelationFields(p, map[string]string{"provides": fields["provides"]}); err != nil {
			return fmt.Errorf("the package %s: %w", p.Name, err)
		}
		packages = append(packages, p)
		return nil
	}
	for lines.Scan() {
		number++
		line := lines.Text()
		if line == "" {
			if err := end(); err != nil {
				return nil, err
			}
			continue
		}
		if line[0] == ' ' || line[0] == '\t' {
			continue // a continued field, of which none is wanted here
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok {
			return nil, fmt.Errorf("line %d: %q is no field", number, line[:min(len(line), 80)])
		}
		switch name = strings.ToLower(name); name {
		case "package", "status", "version", "architecture", "multi-arch", "provides":
			fields[name] = strings.TrimSpace(value)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("line %d: %w", number+1, err)
	}
	return packages, end()
}

// isOnDisk reports whether a Status field says that the package's files are
// there: "want flag state", dpkg-query(1).
func isOnDisk(status string) bool {
	parts := strings.Fields(status)
	if len(parts) != 3 {
		return false
	}
	switch parts[2] {
	case "unpacked", "half-configured", "triggers-awaited", "triggers-pending", "installed":
		return true
	}
	return false
}
