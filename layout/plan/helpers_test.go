package plan

import (
	"time"

	"github.com/hashpkg/hashpkg/backends/deb"
	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/record"
)

func tree(name, version string, links ...string) record.Tree {
	return record.Tree{
		Name: name, Version: version, Architecture: "amd64", Format: deb.Name, Origin: record.OriginPrivate,
		Dir: version, Identity: digest.Of([]byte(name + version)), Since: 1, Links: links,
	}
}

func newGeneration(trees ...record.Tree) *record.Generation {
	g := &record.Generation{Layout: layout.FormatVersion, ID: 1, Architecture: "x86_64-linux-gnu", Time: time.Unix(1700000000, 0).UTC(), Orders: debOrders}
	g.Add(record.DefaultHighest, trees...)
	return g
}
