package programs

import (
	"testing"

	"github.com/hashpkg/hashpkg/elfedit"
)

func TestSearches(t *testing.T) {
	const farm = "/var/sys/current-system/lib64"
	for _, c := range []struct {
		path, program string
		want          bool
	}{
		{"$ORIGIN/../.." + farm, "/usr/bin/x", true},
		{"/opt/lib:${ORIGIN}/../.." + farm + "/", "/usr/bin/x", true},
		{"$ORIGIN/../.." + farm, "/bin/x", true}, // the way up ends at the root
		{"$ORIGIN/.." + farm, "/usr/bin/x", false},
		{farm, "/usr/bin/x", true},
		{"$ORIGINAL/../.." + farm, "/usr/bin/x", false},
		{"var/sys/current-system/lib64", "/x", false},
		{"", "/usr/bin/x", false},
	} {
		if got := searches(&elfedit.Info{RunPath: c.path}, c.program, farm); got != c.want {
			t.Errorf("%s with the path %q searches the farm: %v", c.program, c.path, got)
		}
	}
}
