package farm

import (
	"github.com/hashpkg/hashpkg/backends/deb"
	"github.com/hashpkg/hashpkg/pkginfo"
)

var debOrders = pkginfo.Orders{deb.Name: deb.Format{}.Order()}
