package deb

import (
	"slices"
	"strings"

	"github.com/hashpkg/hashpkg/backends"
	"github.com/hashpkg/hashpkg/pkginfo"
)

// Unsaid implements [backends.Repositories]. No package has to require what is Essential (Debian
// policy 3.8), and most of that is commands, of which a root has its own. Descriptions of
// terminals are data without which no program that uses a terminal starts: libtinfo reads them,
// and ncurses-base has them.
func (Format) Unsaid(root backends.Root, p *pkginfo.Package) []pkginfo.Relation {
	if p.Source != "ncurses" || !strings.HasPrefix(p.Name, "libtinfo") {
		return nil
	}
	// terminfo(5), and where distributions have moved it.
	has := func(dir string) bool {
		_, err := root.Stat(dir + "/terminfo/x/xterm")
		return err == nil
	}
	if slices.ContainsFunc([]string{"/etc", "/lib", "/usr/lib", "/usr/share"}, has) {
		return nil
	}
	return []pkginfo.Relation{{Alternatives: []pkginfo.Constraint{{Name: "ncurses-base"}}, Text: "ncurses-base"}}
}
