package elfedit

import (
	"os"
	"strings"
	"testing"
)

// TestAsksWhere has gcc make libraries that ask where they are, in each of the ways,
// and one that does not.
func TestAsksWhere(t *testing.T) {
	b := newBench(t)
	for _, tt := range []struct {
		name, source string
		flags        []string
		want         bool
	}{
		{"does not", `int f(void) { return 1; }`, nil, false},
		{"defines one", `int dladdr(const void *a, void *i) { return 0; }`, nil, false},
		{"dlopen alone", `void *dlopen(const char *, int); void *f(void) { return dlopen("x", 1); }`, nil, false},
		{"dladdr", `int dladdr(const void *, void *); int f(void *i) { return dladdr((void *)f, i); }`, nil, true},
		{"dladdr1", `int dladdr1(const void *, void *, void **, int); int f(void *i) { return dladdr1((void *)f, i, 0, 0); }`, nil, true},
		{"dlinfo", `int dlinfo(void *, int, void *); int f(void *i) { return dlinfo(i, 1, i); }`, nil, true},
		{"for dlopen", `void *dlopen(const char *, int); void *f(void) { return dlopen("$ORIGIN/plugin.so", 1); }`, nil, true},
		{"for dlopen, put together", `void *dlopen(const char *, int); char where[] = "/a:${ORIGIN}/b"; void *f(char *a) { return dlopen(a, 1); }`, nil, true},
		{"another variable", `void *dlopen(const char *, int); void *f(void) { return dlopen("$LIB/ORIGIN", 1); }`, nil, false},
		// libjq has one: the directory of the program, for modules in its language.
		{"a string that the loader does not see", `const char *f(void) { return "$ORIGIN/modules"; }`, nil, false},
		{"RUNPATH", `int f(void) { return 1; }`, []string{"-Wl,--enable-new-dtags,-rpath,$ORIGIN/a"}, true},
		{"RPATH", `int f(void) { return 1; }`, []string{"-Wl,--disable-new-dtags,-rpath,${ORIGIN}"}, true},
	} {
		for _, style := range []string{"gnu", "sysv"} {
			source := b.path("asks.c")
			if err := os.WriteFile(source, []byte(tt.source), 0o644); err != nil {
				t.Fatal(err)
			}
			data := b.make("libasks.so", append(tt.flags, "-fno-builtin", "-w", "-shared", "-fPIC", "-Wl,--hash-style="+style, source)...)
			info, err := Inspect(data)
			if err != nil || info.AsksWhere != tt.want {
				t.Fatalf("%s, %s: AsksWhere is %v, want %v: %v", tt.name, style, info.AsksWhere, tt.want, err)
			}
			if imports := strings.HasPrefix(tt.name, "dladdr") || tt.name == "dlinfo"; info.ImportsWhere != imports {
				t.Errorf("%s, %s: ImportsWhere is %v, want %v", tt.name, style, info.ImportsWhere, imports)
			}
		}
	}
}
