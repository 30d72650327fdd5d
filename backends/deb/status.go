package deb

import (
	"fmt"
	"io"
	"strings"

	"github.com/hashpkg/hashpkg/pkginfo"
)

// maxStatusLine bounds a line of dpkg's database; the longest real ones are
// relations of a few tens of kilobytes.
const maxStatusLine = 4 << 20

// packageStatus is what a paragraph says of a package. One that is not on the disk has
// a name and an architecture, and may lack the rest.
type packageStatus struct {
	*pkginfo.Package
	onDisk bool
}

// onDiskOf returns the packages of which the files are there.
func onDiskOf(list []packageStatus) []*pkginfo.Package {
	packages := make([]*pkginfo.Package, 0, len(list))
	for _, p := range list {
		if p.onDisk {
			packages = append(packages, p.Package)
		}
	}
	return packages
}

// readPackageStatus reads dpkg's database of packages, /var/lib/dpkg/status (dpkg(1)):
// name, version, architecture and what they provide; their files are not there.
func readPackageStatus(r io.Reader) ([]packageStatus, error) {
	lines := newFieldLines(r, maxStatusLine)
	var list []packageStatus
	fields := map[string]string{}
	end := func() error {
		defer clear(fields)
		if len(fields) == 0 {
			return nil
		}
		p := &pkginfo.Package{
			Format: Name, Name: fields["package"], Version: fields["version"], Architecture: fields["architecture"],
			MultiArch: fields["multi-arch"],
		}
		if !isOnDisk(fields["status"]) {
			list = append(list, packageStatus{Package: p})
			return nil
		}
		if err := checkIdentity(p); err != nil {
			return fmt.Errorf("the paragraph before line %d: %w", lines.number, err)
		}
		if err := setRelations(p, &relationFields{provides: fields["provides"]}); err != nil {
			return fmt.Errorf("the package %s: %w", p.Name, err)
		}
		list = append(list, packageStatus{p, true})
		return nil
	}
	for {
		switch err := lines.next(); {
		case err == io.EOF:
			err := end()
			return list, err
		case err != nil:
			return nil, fmt.Errorf("line %d: %w", lines.number+1, err)
		case lines.isCut:
			return nil, fmt.Errorf("line %d: it has more than %d bytes", lines.number, maxStatusLine)
		}
		switch lines.kind {
		case emptyLine:
			if err := end(); err != nil {
				return nil, err
			}
		case fieldLine:
			switch name := strings.ToLower(string(lines.name)); name {
			case "package", "status", "version", "architecture", "multi-arch", "provides":
				fields[name] = string(lines.value)
			}
		case otherLine:
			return nil, fmt.Errorf("line %d: %.80q is not a field", lines.number, lines.text)
		case continuedLine, spaceLine: // of a field that is not wanted here
		}
	}
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
