package e2e

import (
	"context"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashpkg/hashpkg/internal/testneed"
	"github.com/hashpkg/hashpkg/internal/testroot"
)

// TestPinOneName pins one of the two names of a file, and loses the pins' trees.
func TestPinOneName(t *testing.T) {
	root, first, second := serviceRoot(t)
	says := func(what, svc, too string) {
		t.Helper()
		if a, b := root.Run("svc"), root.Run("svc-too"); a != svc+"\n" || b != too+"\n" {
			t.Errorf("%s: they say %q and %q, want %s and %s", what, a, b, svc, too)
		}
		if out, err := root.RunErr(t.Context(), "hashpkg", "verify", "--system"); err != nil {
			t.Errorf("%s: %v %s", what, err, out)
		}
	}
	installDebs(root, second[0])
	root.Run("hashpkg", "sync")
	root.Run("hashpkg", "pin", "/usr/bin/svc", "libsvc1=1.0")
	says("pinned", "1.0", "2.0")
	installDebs(root, first[1]) // one file with two names again
	root.Run("hashpkg", "sync")
	says("installed again", "1.0", "2.0")

	root.Run("hashpkg", "pin", "svc", "libsvc1=1.0")
	root.Run("rm", "-r", "/var/sys/libsvc1/1.0")
	if out, err := root.RunErr(t.Context(), "hashpkg", "check"); err == nil {
		t.Errorf("check does not miss the pinned library: %s", out)
	}
	root.Run("hashpkg", "sync")
	says("without the pinned library", "2.0", "2.0")
	root.Run("hashpkg", "unpin", "svc")
	root.Run("hashpkg", "unpin", "/usr/bin/svc")
	root.Run("hashpkg", "check")
}

// TestPinThatDoesNotFit upgrades a pinned program to one that needs more than the
// library that it is pinned to has.
func TestPinThatDoesNotFit(t *testing.T) {
	testneed.Programs(t, "gcc")
	root := newSystem(t)
	repo := root.Repo()
	first, second := service(t, "1.0"), service(t, "2.0")
	repo.Add(append(first, second...)...)
	root.Run("dpkg", "-i", repo.Path(first[0]), repo.Path(first[1]))
	root.Run("hashpkg", "sync")
	root.Run("dpkg", "-i", repo.Path(second[0]))
	root.Run("hashpkg", "sync")
	says := func(what, want string) {
		t.Helper()
		if out := root.Run("svc"); out != want+"\n" {
			t.Errorf("%s: svc says %q", what, out)
		}
	}
	says("upgraded", "2.0")
	root.Run("hashpkg", "pin", "svc", "libsvc1=1.0")
	says("pinned", "1.0")

	root.Run("dpkg", "-i", repo.Path(second[1]))
	if out := root.Run("hashpkg", "sync"); !strings.Contains(out, "goes on without its pin") || !strings.Contains(out, "SVC_2") {
		t.Errorf("the sync does not tell of the pin: %s", out)
	}
	says("the program upgraded", "2.0")
	if out, err := root.RunErr(t.Context(), "hashpkg", "pin", "/usr/bin/svc", "libsvc1=1.0"); err == nil || !strings.Contains(out, "needs the symbol version SVC_2") || !strings.Contains(out, "--force pins it all the same") {
		t.Errorf("the pin is not refused: %v %s", err, out)
	}
	says("refused", "2.0")
	root.Run("hashpkg", "pin", "--force", "/usr/bin/svc", "libsvc1=1.0")
	if out, err := root.RunErr(t.Context(), "svc"); err == nil || !strings.Contains(out, "SVC_2") {
		t.Errorf("forced, svc says %s", out)
	}
	root.Run("hashpkg", "unpin", "/usr/bin/svc")
	says("unpinned", "2.0")

	// Back to the older program: its pin is in force again.
	root.Run("dpkg", "-i", repo.Path(first[1]))
	root.Run("hashpkg", "sync")
	says("the older program", "1.0")
	// The only other name of a program is pinned by itself.
	root.Run("hashpkg", "unpin", "svc")
	root.Run("hashpkg", "verify", "--system")

	// What is pinned goes: its pins can be ended all the same.
	root.Run("hashpkg", "pin", "svc", "libsvc1=1.0")
	root.Run("hashpkg", "pin", "/usr/bin/svc", "libsvc1=1.0")
	root.Run("dpkg", "--purge", "svc")
	root.Run("hashpkg", "sync")
	root.Run("hashpkg", "unpin", "svc")
	root.Run("hashpkg", "unpin", "/usr/bin/svc")
	if r := syncJSON(t, root, "pins"); length(r["pins"]) > 0 {
		t.Errorf("there are still pins: %v", r)
	}
	if out, err := root.RunErr(t.Context(), "hashpkg", "unpin", "svc"); err == nil || !strings.Contains(out, "svc has no such pin") {
		t.Errorf("a pin that is not there is ended: %v %s", err, out)
	}
}

// TestPinToPrelocated pins a program of the system that answers what a library asks for, which it has itself, to
// a private tree in which the library does not ask.
func TestPinToPrelocated(t *testing.T) {
	testneed.Programs(t, "gcc")
	root := newSystem(t)
	dir := t.TempDir()
	const build = `set -e
cd "$1"
pack() { # NAME VERSION DEPENDS
	mkdir -p $1/DEBIAN
	printf 'Package: %s\nVersion: %s\nArchitecture: amd64\n%sMaintainer: test\nDescription: test\n' $1 $2 "$3" >$1/DEBIAN/control
	dpkg-deb --root-owner-group -b $1 $1-$2.deb
}
for v in 1 2; do
	printf 'int part(void) { return 1; }\nint whole(void) { return %s00 + part(); }\n' $v >own.c
	mkdir -p libown1/usr/lib/x86_64-linux-gnu prog/usr/bin
	gcc -O1 -shared -fPIC -fno-plt -Wl,-z,now -Wl,-soname,libown.so.1 -o libown1/usr/lib/x86_64-linux-gnu/libown.so.1 own.c
	pack libown1 $v
done
printf '#include <stdio.h>\nint whole(void);\nint part(void) { return 7; }\nint main(void) { printf("%%d\\n", whole()); return 0; }\n' >prog.c
gcc -rdynamic -o prog/usr/bin/prog prog.c libown1/usr/lib/x86_64-linux-gnu/libown.so.1
pack prog 1 'Depends: libown1
'
`
	mustRun(t, "sh", "-c", build, "sh", dir)
	repo := root.Repo()
	first, second, prog := filepath.Join(dir, "libown1-1.deb"), filepath.Join(dir, "libown1-2.deb"), filepath.Join(dir, "prog-1.deb")
	repo.Add(first, second, prog)
	root.Run("dpkg", "-i", repo.Path(first), repo.Path(prog))
	root.Run("hashpkg", "sync")
	says := func(what, want string) {
		t.Helper()
		if out := root.Run("prog"); out != want+"\n" {
			t.Errorf("%s: prog says %q, want %s", what, out, want)
		}
	}
	says("as shipped", "107")
	root.Run("hashpkg", "install", repo.Path(second))
	if out := root.Run("hashpkg", "show", "libown1=2"); !strings.Contains(out, "1 symbol of its own bound") {
		t.Fatalf("the library is not prelocated: %s", out)
	}
	if out, err := root.RunErr(t.Context(), "hashpkg", "pin", "/usr/bin/prog", "libown1=2"); err == nil || !strings.Contains(out, "/usr/bin/prog has a function part") || !strings.Contains(out, "--no-prelocate") {
		t.Errorf("it is pinned: %v %s", err, out)
	}
	says("refused", "107")
	root.Run("hashpkg", "install", "--no-prelocate", repo.Path(second))
	root.Run("hashpkg", "pin", "/usr/bin/prog", "libown1=2")
	says("pinned", "207")
	root.Run("hashpkg", "sync")
	says("synced", "207")
	root.Run("hashpkg", "unpin", "/usr/bin/prog")
	says("unpinned", "107")
}

// TestPins keeps one program on an older library, then all of them.
func TestPins(t *testing.T) {
	t.Parallel()
	root := newSystem(t, "curl", "jq")
	root.Run("hashpkg", "sync")
	old := strings.TrimSpace(root.Run("dpkg-query", "-W", "-f", "${Version}", "zlib1g"))
	newer := testroot.Rebuild(t, testroot.Change{Suffix: "+new1", Note: true}, root.Fetch("zlib1g")...)
	root.Repo().Add(newer...)
	root.Run("apt-get", "-y", "-q", "install", "zlib1g")
	root.Run("hashpkg", "sync")
	loads := func(program string) string {
		t.Helper()
		out := root.Run("sh", "-c", "ldd "+program+" | grep -o '/[^ ]*libz[.]so[^ ]*'")
		return strings.TrimSpace(root.Run("readlink", "-f", strings.TrimSpace(out)))
	}
	version := func(program, want string) {
		t.Helper()
		if have := loads(program); (want == "old") != strings.Contains(have, "/zlib1g/"+strings.ReplaceAll(old, ":", "%3a")+"/") {
			t.Errorf("%s loads %s, which is not the %s one", program, have, want)
		}
	}
	version("/usr/bin/curl", "new")

	// curl needs libz itself and through libcurl; apt needs it through libapt-pkg.
	root.Run("hashpkg", "pin", "/usr/bin/curl", "zlib1g="+old)
	version("/usr/bin/curl", "old")
	version("/usr/bin/apt", "new")
	if out := root.Run("sh", "-c", "curl file:///proc/self/maps | grep libz.so"); strings.Contains(out, "+new1") || !strings.Contains(out, "/var/sys/zlib1g/") {
		t.Errorf("curl has mapped %s", out)
	}
	root.Run("hashpkg", "pin", "apt", "zlib1g="+old)
	version("/usr/bin/apt-get", "old")
	root.Run("apt-get", "--version")

	// The pin survives an upgrade of the program.
	root.Repo().Add(testroot.Rebuild(t, testroot.Change{Suffix: "+new1", Note: true}, root.Fetch("curl")...)...)
	root.Run("apt-get", "-y", "-q", "install", "curl")
	version("/usr/bin/curl", "new")
	root.Run("hashpkg", "sync")
	version("/usr/bin/curl", "old")

	var pins struct {
		Pins []struct {
			Program  string
			Programs []string
		}
	}
	if err := json.Unmarshal([]byte(root.Run("hashpkg", "pins", "--json")), &pins); err != nil || len(pins.Pins) != 2 || len(pins.Pins[0].Programs) != 1 || len(pins.Pins[1].Programs) < 5 {
		t.Errorf("pins says %v: %v", pins, err)
	}
	root.Run("hashpkg", "unpin", "apt")
	version("/usr/bin/apt", "new")
	root.Run("hashpkg", "pin", "--all", "zlib1g="+old)
	for _, p := range []string{"/usr/bin/apt", "/usr/bin/dpkg-deb", "/usr/bin/curl"} {
		version(p, "old")
	}
	root.Run("dpkg-deb", "--version")
	root.Run("hashpkg", "verify", "--system")
	root.Run("hashpkg", "unpin", "--all")
	root.Run("hashpkg", "unpin", "/usr/bin/curl", "zlib1g")
	for _, p := range []string{"/usr/bin/apt", "/usr/bin/dpkg-deb", "/usr/bin/curl"} {
		version(p, "new")
	}
	root.Run("hashpkg", "verify", "--system")

	for _, refused := range []struct {
		args []string
		why  string
	}{
		{[]string{"pin", "/usr/bin/curl", "libc6=" + strings.TrimSpace(root.Run("dpkg-query", "-W", "-f", "${Version}", "libc6"))}, "has the C library"},
		{[]string{"pin", "/usr/bin/curl", "zlib1g=9"}, "zlib1g=9 is not in the store, which has the versions"},
		{[]string{"pin", "/usr/bin/curl", "nothing=9"}, "nothing is not in the store"},
		{[]string{"pin", "/usr/bin/no", "zlib1g=" + old}, "no package has a dynamic program /usr/bin/no"},
		{[]string{"pin", "/usr/bin/jq", "zlib1g=" + old}, "no program of /usr/bin/jq loads a library of zlib1g"},
		{[]string{"unpin", "/usr/bin/curl"}, "has no such pin"},
	} {
		out, err := root.RunErr(context.Background(), append([]string{"hashpkg"}, refused.args...)...)
		if err == nil || !strings.Contains(out, refused.why) {
			t.Errorf("%q: %v: %s", refused.args, err, out)
		}
	}
}
