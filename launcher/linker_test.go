package launcher_test

import (
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/hashpkg/hashpkg/launcher"
)

// linkerOf is the configuration of what stands in a view at the place of /usr/bin/ld.
var linkerOf = launcher.Config{
	View: config.Host + "/view", Host: config.Host, Program: "/usr/bin/ld", Fallback: prefix + "/binutils/1.0/usr/bin/ld", Prefix: prefix, Linker: true,
}

// linker gives the view of [config] libraries and a linker.
func (r *root) linker() {
	r.t.Helper()
	r.launcher(viewDir+"/usr/bin/ld", linkerOf)
	r.write(viewDir+"/libs/usr/bin/ld", string(r.probe))
	r.write(linkerOf.Fallback, string(r.probe))
	r.write(viewDir+"/libs/usr/lib/libc.so.6", "library")
	r.write(viewDir+"/libs/usr/lib/host/data", "library")
	r.write(viewDir+"/libs/usr/lib64/loader", "library") // of which the host and the view have no directory
	r.must(os.Symlink(".", viewDir+"/libs/usr/lib/.hashpkg-libs"))
	r.must(os.Symlink("prog/@stable/libs/usr/lib/ld.so", viewDir+"/libs/loader"))
	r.write("/usr/lib/libc.so.6", "host")
}

// TestLibraries: with the libraries all else is as without them, and programs that are
// started there see them, too.
func TestLibraries(t *testing.T) {
	asBoth(t, func(r *root, as caller) {
		r.linker()
		c := config
		c.Libraries = true
		with := prefix + "/prog/1.0/with"
		r.launcher(with, c)
		seen := []string{"cat", "/usr/lib/libc.so.6", "cat", "/usr/lib/host/data", "cat", "/usr/lib/both/same", "cat", "/usr/lib/both/host", "cat", "/usr/local/share/data"}
		r.want(as, "hosthostviewhosthost", append([]string{launched}, seen...)...)
		r.want(as, "librarylibraryviewhosthost", append([]string{with}, seen...)...)
		r.want(as, "library", with, "exec", "/usr/bin/host-tool", "cat", "/usr/lib/libc.so.6")
		r.want(as, "bin lib lib64 local share src \n", with, "ls", "/usr")
		r.want(as, "bin lib local share src \n", launched, "ls", "/usr")
		// From within, from one to the other, and back.
		r.want(as, "library", with, "exec", launched, "cat", "/usr/lib/libc.so.6")
		r.want(as, "library", launched, "exec", with, "cat", "/usr/lib/libc.so.6")
		r.want(as, "library", with, "exec", with, "cat", "/usr/lib/libc.so.6")
		r.want(as, "host", with, "exec", r.second(), "cat", "/usr/lib/libc.so.6")
		// Where the host's usr is made anew.
		r.write(viewDir+"/usr/games/data", "view")
		r.want(as, "librarylibraryviewhosthost", append([]string{with}, seen...)...)
	})
}

// TestLinker: what is linked gets the libraries' loader and their directory, unless it is
// to have none, or another.
func TestLinker(t *testing.T) {
	system := map[string]string{"amd64": "/lib64/ld-linux-x86-64.so.2", "arm64": "/lib/ld-linux-aarch64.so.1"}[runtime.GOARCH]
	dir := prefix + "/current-system/view/prog/@stable/libs/usr/lib"
	loader := dir + "/ld.so"
	path := " -rpath " + dir
	asBoth(t, func(r *root, as caller) {
		r.linker()
		r.want(as, "library", launched, "exec", "/usr/bin/ld", "cat", "/usr/lib/libc.so.6")
		for given, want := range map[string]string{
			"-o a -dynamic-linker " + system + " a.o":      "-o a -dynamic-linker " + loader + " a.o" + path,
			"--dynamic-linker " + system + " a.o":          "--dynamic-linker " + loader + " a.o" + path,
			"--dynamic-linker=" + system + " a.o":          "--dynamic-linker=" + loader + " a.o" + path,
			"-dynamic-linker=" + system:                    "--dynamic-linker=" + loader + path,
			"-shared a.o":                                  "-shared a.o" + path,
			"-shared @list":                                "-shared @list --dynamic-linker=" + loader + path,
			"@list":                                        "@list --dynamic-linker=" + loader + path,
			"@list -dynamic-linker " + system:              "@list -dynamic-linker " + loader + path,
			"-dynamic-linker /opt/ld.so a.o":               "-dynamic-linker /opt/ld.so a.o",
			"-dynamic-linker=/opt/ld.so @list":             "-dynamic-linker=/opt/ld.so @list",
			"-dynamic-linker @ld.so":                       "-dynamic-linker @ld.so",
			"-static a.o":                                  "-static a.o",
			"-r a.o b.o":                                   "-r a.o b.o",
			"-no-dynamic-linker a.o":                       "-no-dynamic-linker a.o",
			"a.o -dynamic-linker":                          "a.o -dynamic-linker",
			"-o " + system + " -dynamic-linkers=" + system: "-o " + system + " -dynamic-linkers=" + system,
			"-rpath /x -dynamic-linker " + system + " -lz": "-rpath /x -dynamic-linker " + loader + " -lz" + path,
		} {
			args := []string{launched, "exec", "/usr/bin/ld", "cat", "/proc/self/cmdline", "exit", "0"}
			got := r.run(as, append(args, strings.Fields(given)...)...)
			_, got, _ = strings.Cut(strings.TrimSuffix(got, "\x00"), "exit\x000\x00")
			if got = strings.ReplaceAll(got, "\x00", " "); got != want {
				r.t.Errorf("%s\nbecomes %s\nand not %s", given, got, want)
			}
		}
		many := []string{launched, "exec", "/usr/bin/ld", "exit", "0"}
		for range 20000 {
			many = append(many, "a/long/name/of/an/object.o")
		}
		r.run(as, append(many, "-shared")...)
	})
}

// TestLinkerOutside: a linker's launcher that is in no view runs the linker, and says so.
func TestLinkerOutside(t *testing.T) {
	asBoth(t, func(r *root, as caller) {
		r.linker()
		got := r.call(call{caller: as, args: []string{viewDir + "/usr/bin/ld", "cat", "/usr/lib/libc.so.6"}})
		if got.out != "host" || got.status != 0 || !strings.HasPrefix(got.err, "ld: it runs without its view (open /var/sys/.hashpkg/host/view: ENOENT)") {
			r.t.Errorf("%+v", got)
		}
	})
}

// TestLostLinker: where only its launcher is left of a linker, that does not call itself for
// ever.
func TestLostLinker(t *testing.T) {
	asBoth(t, func(r *root, as caller) {
		r.linker()
		r.must(os.Remove(viewDir + "/libs/usr/bin/ld"))
		got := r.call(call{caller: as, args: []string{launched, "exec", "/usr/bin/ld", "cat", "/usr/lib/libc.so.6"}})
		if got.status != 0 || !strings.HasPrefix(got.err, "ld: it runs without its view (open the linker at /usr/bin/ld") {
			r.t.Errorf("%+v", got)
		}
	})
}

// TestLostView: where the view is gone, with all that is in it, the program is run from its
// tree.
func TestLostView(t *testing.T) {
	asBoth(t, func(r *root, as caller) {
		c := config
		c.Fallback, c.Tree = config.View+"/usr/bin/prog", config.Fallback
		r.launcher(launched, c)
		r.want(as, "view", launched, "cat", "/usr/lib/prog/data")
		r.must(os.Rename(viewDir, viewDir+".gone"))
		got := r.call(call{caller: as, args: []string{launched, "link", "/proc/self/exe"}})
		if got.out != c.Tree+"\n" || got.status != 0 || !strings.HasPrefix(got.err, "prog: it runs without its view (open ") || strings.Count(got.err, "\n") != 1 {
			r.t.Errorf("%+v", got)
		}
		r.must(os.Remove(c.Tree))
		if got := r.call(call{caller: as, args: []string{launched, "link", "/proc/self/exe"}}); got.status != 126 || strings.Count(got.err, "\n") != 1 {
			r.t.Errorf("without its tree: %+v", got)
		}
	})
}
