package convert

import (
	"slices"
	"strings"
	"testing"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/pkginfo"
)

func packed(change func(c *contents)) *contents {
	c := &contents{
		pkg: &pkginfo.Package{
			Format: "rpm", Name: "hello", Version: "1-2", Scripts: []pkginfo.Script{{Name: "post", Body: "exit 0"}},
			Provides: []pkginfo.Capability{{Name: "greeting", Version: "2"}, {Name: "hello(64)", Version: "1-2"}},
			Fields:   []pkginfo.Field{{Name: "Release", Value: "2"}, {Name: "Vendor", Value: "A"}},
		},
		entries: []pkginfo.Entry{
			{Path: "usr/bin/hello", Mode: 0o755, Size: 5, Digest: "sha256:aa"},
			{Path: "usr/bin/again", Type: pkginfo.HardLink, Link: "usr/bin/hello", Digest: "sha256:aa"},
			{Path: "usr/share/log", Mode: 0o644, Size: 3},
			{Path: "usr/share/data", Mode: 0o644, Size: 4},
		},
		sums: map[string]digest.Digest{
			"usr/bin/hello": digest.Of([]byte("hello")), "usr/share/log": digest.Of([]byte("log")), "usr/share/data": digest.Of([]byte("data")),
		},
	}
	if change != nil {
		change(c)
	}
	return c
}

// convertedAs makes of a package what is right, and then what change makes of that.
func convertedAs(change func(c *contents)) *contents {
	return packed(func(c *contents) {
		c.pkg.Version = "1-2.x"
		c.pkg.Provides = append(c.pkg.Provides, pkginfo.Capability{Name: "hello", Version: "1-2"}, pkginfo.Capability{Name: "hello(64)", Version: "1-2.x"})
		c.pkg.Fields = []pkginfo.Field{{Name: "Release", Value: "2.x"}, {Name: "Vendor", Value: "A"}}
		c.entries[0].Size, c.entries[0].Digest, c.entries[1].Digest = 6, "sha256:bb", "sha256:bb"
		c.entries[2].Size = 4
		c.sums["usr/bin/hello"], c.sums["usr/share/log"] = digest.Of([]byte("edited")), digest.Of([]byte("more"))
		if change != nil {
			change(c)
		}
	})
}

// without takes a capability from what is right.
func without(name, version string) func(c *contents) {
	return func(c *contents) {
		c.pkg.Provides = slices.DeleteFunc(c.pkg.Provides, func(p pkginfo.Capability) bool {
			return p == pkginfo.Capability{Name: name, Version: version}
		})
	}
}

// What is not as it was is noticed, be it in a file that changed or in one that did not.
func TestCompare(t *testing.T) {
	for name, test := range map[string]struct {
		change func(c *contents)
		want   string
	}{
		"right":            {nil, ""},
		"version":          {func(c *contents) { c.pkg.Version = "1-2" }, "has the version 1-2"},
		"script":           {func(c *contents) { c.pkg.Scripts = nil }, "other facts"},
		"provides":         {func(c *contents) { c.pkg.Provides = nil }, "should offer what"},
		"not its old self": {without("hello", "1-2"), "should offer what"},
		"not the old part": {without("hello(64)", "1-2"), "should offer what"},
		"not the new part": {without("hello(64)", "1-2.x"), "should offer what"},
		"more": {func(c *contents) {
			c.pkg.Provides = append(c.pkg.Provides, pkginfo.Capability{Name: "hello", Version: "9"})
		}, "should offer what"},
		"field":              {func(c *contents) { c.pkg.Fields[1].Value = "B" }, "other facts"},
		"a field less":       {func(c *contents) { c.pkg.Fields = c.pkg.Fields[:1] }, "other facts"},
		"a file less":        {func(c *contents) { c.entries = c.entries[:3] }, "has 3 files"},
		"mode of an edited":  {func(c *contents) { c.entries[0].Mode = 0o644 }, "usr/bin/hello is not as it was"},
		"link":               {func(c *contents) { c.entries[1].Link = "usr/share/log" }, "usr/bin/again is not as it was"},
		"not edited":         {func(c *contents) { c.sums["usr/bin/hello"] = digest.Of([]byte("hello")) }, "usr/bin/hello has not the content"},
		"content of another": {func(c *contents) { c.sums["usr/share/data"] = digest.Of([]byte("date")) }, "usr/share/data has not the content"},
		"size of another":    {func(c *contents) { c.entries[3].Size = 9 }, "usr/share/data is not as it was"},
		"mode of the log":    {func(c *contents) { c.entries[2].Mode = 0o600 }, "usr/share/log is not as it was"},
	} {
		err := convertedAs(test.change).compare(packed(nil), "1-2.x", []string{"usr/bin/hello"}, func(p string) bool { return p == "usr/share/log" })
		switch {
		case test.want == "" && err != nil, test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
			t.Errorf("%s: the error is %v, and should say %q", name, err, test.want)
		}
	}
}

func TestIsLoader(t *testing.T) {
	for name, want := range map[string]bool{
		"usr/lib64/ld-linux-x86-64.so.2": true, "usr/lib/libc.so.6": true, "usr/lib/ld-musl-x86_64.so.1": true,
		"usr/share/man/man8/ld-linux.so.8.gz": false, "usr/lib/libz.so.1": false,
	} {
		if isLoader(name) != want {
			t.Errorf("%s: %v", name, !want)
		}
	}
}
