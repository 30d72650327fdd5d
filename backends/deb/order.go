package deb

import (
	"strings"

	"pault.ag/go/debian/version"

	"github.com/hashpkg/hashpkg/pkginfo"
)

// order is how dpkg orders versions.
func order() pkginfo.Order {
	return pkginfo.Order{Compare: compareVersions, InRange: pkginfo.RangeBy(compareVersions)}
}

// compareVersions orders two versions as dpkg --compare-versions does. One that is
// not allowed comes before those that are.
func compareVersions(a, b string) int {
	va, errA := version.Parse(a)
	vb, errB := version.Parse(b)
	switch {
	case errA != nil && errB != nil:
		return strings.Compare(a, b)
	case errA != nil:
		return -1
	case errB != nil:
		return 1
	}
	return version.Compare(va, vb)
}
