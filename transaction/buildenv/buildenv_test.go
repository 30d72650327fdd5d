package buildenv

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestVariables(t *testing.T) {
	e := &Environment{
		prefixes: []string{"/a/dev", "/b/dev"}, includes: []string{"/a/dev/include"}, libraries: []string{"/a/dev/lib64", "/b/dev/lib64"},
		pkgConfig: []string{"/a/dev/lib64/pkgconfig"}, Runtime: []string{"libm.so.6", "libdl.so.2"},
	}
	const runtime = "-Wl,--push-state,--no-as-needed,-l:libm.so.6,-l:libdl.so.2,--pop-state"
	own := map[string]string{"PKG_CONFIG_PATH": ":/own:/a/dev/lib64/pkgconfig:", "LDFLAGS": "-s", "CGO_LDFLAGS": "-O1"}
	for _, tt := range []struct {
		tool Tool
		own  map[string]string
		want []Variable
	}{
		{Autotools, nil, []Variable{
			{"CPPFLAGS", "-I/a/dev/include"},
			{"LDFLAGS", "-L/a/dev/lib64 -L/b/dev/lib64 " + runtime},
			{"PKG_CONFIG_PATH", "/a/dev/lib64/pkgconfig"},
		}},
		{CMake, own, []Variable{
			{"CMAKE_PREFIX_PATH", "/a/dev:/b/dev"},
			{"LDFLAGS", "-L/a/dev/lib64 -L/b/dev/lib64 " + runtime + " -s"},
			{"PKG_CONFIG_PATH", "/a/dev/lib64/pkgconfig:/own"},
		}},
		{Go, nil, []Variable{
			{"CGO_CPPFLAGS", "-I/a/dev/include"},
			{"CGO_LDFLAGS", "-L/a/dev/lib64 -L/b/dev/lib64 " + runtime + " -O2 -g"},
			{"PKG_CONFIG_PATH", "/a/dev/lib64/pkgconfig"},
		}},
		{Go, own, []Variable{
			{"CGO_CPPFLAGS", "-I/a/dev/include"},
			{"CGO_LDFLAGS", "-L/a/dev/lib64 -L/b/dev/lib64 " + runtime + " -O1"},
			{"PKG_CONFIG_PATH", "/a/dev/lib64/pkgconfig:/own"},
		}},
		{Cargo, nil, []Variable{
			{"PKG_CONFIG_PATH", "/a/dev/lib64/pkgconfig"},
			{"RUSTFLAGS", "-Lnative=/a/dev/lib64 -Lnative=/b/dev/lib64 -Clink-arg=" + runtime},
		}},
	} {
		have := e.Variables(tt.tool, func(name string) string { return tt.own[name] })
		if diff := cmp.Diff(tt.want, have); diff != "" {
			t.Errorf("for %s (-want +have):\n%s", tt.tool, diff)
		}
		// In the environment that it gives, it gives the same.
		set := map[string]string{}
		for _, v := range have {
			set[v.Name] = v.Value
		}
		if diff := cmp.Diff(have, e.Variables(tt.tool, func(name string) string { return set[name] })); diff != "" {
			t.Errorf("for %s, the second time (-first +second):\n%s", tt.tool, diff)
		}
	}
	for _, name := range Tools() {
		if len(e.Variables(Tool(name), func(string) string { return "" })) == 0 {
			t.Errorf("nothing is set for %s", name)
		}
	}
}
