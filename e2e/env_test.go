//go:build system

package e2e

import (
	"debug/elf"
	"encoding/json"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/hashpkg/hashpkg/internal/testneed"
	"github.com/hashpkg/hashpkg/internal/testroot"
)

// envProjects are programs that say which zlib they were compiled for and which one they
// have loaded, each for another build system. script builds the program hello in the working
// directory, which has hello.c; it is run by hashpkg env --for tool.
var envProjects = []struct{ name, tool, script string }{
	{"gcc", "gcc", `gcc $CPPFLAGS hello.c -o hello $LDFLAGS -lz`},
	{"by file", "cmake", `gcc -I$CMAKE_PREFIX_PATH/include hello.c -o hello $CMAKE_PREFIX_PATH/lib64/libz.so`},
	{"pkg-config", "gcc", `gcc hello.c -o hello $(pkg-config --cflags --libs zlib)`},
	{"make", "autotools", `echo 'LDLIBS = -lz' >Makefile; make -s hello`},
	{"CMake", "cmake", `
		cat >CMakeLists.txt <<-'END'
		cmake_minimum_required(VERSION 3.20)
		project(hello C)
		find_package(ZLIB REQUIRED)
		add_executable(hello hello.c)
		target_link_libraries(hello ZLIB::ZLIB)
		END
		cmake -B build >log; cmake --build build >>log; cp build/hello .`},
	{"Meson", "meson", `
		cat >meson.build <<-'END'
		project('hello', 'c')
		executable('hello', 'hello.c', dependencies: dependency('zlib'))
		END
		meson setup build >log; meson compile -C build >>log; cp build/hello .`},
	{"autotools", "autotools", `
		cat >configure.ac <<-'END'
		AC_INIT([hello], [1])
		AC_PROG_CC
		AC_CHECK_HEADER([zlib.h], [], [AC_MSG_ERROR([no zlib.h])])
		AC_CHECK_LIB([z], [zlibVersion], [], [AC_MSG_ERROR([no libz])])
		AC_CONFIG_FILES([Makefile])
		AC_OUTPUT
		END
		printf '%s\n' 'hello: hello.c' '	@CC@ @CPPFLAGS@ @CFLAGS@ hello.c -o hello @LDFLAGS@ @LIBS@' >Makefile.in
		autoconf; ./configure >log; make -s hello`},
	{"cargo", "cargo", `
		mkdir src
		cat >Cargo.toml <<-'END'
		[package]
		name = "hello"
		version = "1.0.0"
		edition = "2021"
		build = "build.rs"
		END
		cat >build.rs <<-'END'
		use std::process::Command;
		fn main() {
		    let out = Command::new("pkg-config").args(["--libs", "--cflags", "zlib"]).output().unwrap();
		    assert!(out.status.success());
		    for word in String::from_utf8(out.stdout).unwrap().split_whitespace() {
		        if let Some(dir) = word.strip_prefix("-L") { println!("cargo:rustc-link-search=native={dir}"); }
		        if let Some(name) = word.strip_prefix("-l") { println!("cargo:rustc-link-lib={name}"); }
		    }
		    let out = Command::new("pkg-config").args(["--modversion", "zlib"]).output().unwrap();
		    println!("cargo:rustc-env=COMPILED_FOR={}", String::from_utf8(out.stdout).unwrap().trim());
		}
		END
		cat >src/main.rs <<-'END'
		use std::ffi::CStr;
		use std::os::raw::{c_char, c_int, c_void};
		extern "C" { fn zlibVersion() -> *const c_char; fn dlopen(name: *const c_char, how: c_int) -> *mut c_void; }
		fn main() {
		    let (version, open) = unsafe { (CStr::from_ptr(zlibVersion()), dlopen(b"libz.so.1\0".as_ptr() as *const c_char, 6)) };
		    println!("{} {} {}", env!("COMPILED_FOR"), version.to_str().unwrap(), !open.is_null() as i32);
		}
		END
		cargo build --quiet --offline; cp target/debug/hello .`},
	{"Go", "go", `
		cat >go.mod <<-'END'
		module hello
		END
		cat >main.go <<-'END'
		package main

		// #cgo LDFLAGS: -lz
		// #define _GNU_SOURCE
		// #include <dlfcn.h>
		// #include <zlib.h>
		// static const char *compiled(void) { return ZLIB_VERSION; }
		// static int loaded(void) { return dlopen("libz.so.1", RTLD_NOLOAD | RTLD_NOW) != 0; }
		import "C"
		import "fmt"

		func main() { fmt.Println(C.GoString(C.compiled()), C.GoString(C.zlibVersion()), C.loaded()) }
		END
		mv hello.c hello.txt; go build -o hello .`},
}

const helloZlib = `#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <zlib.h>
int main(void) { printf("%s %s %d\n", ZLIB_VERSION, zlibVersion(), dlopen("libz.so.1", RTLD_NOLOAD | RTLD_NOW) != 0); return 0; }
`

// TestSystemEnv builds projects of all build systems with the zlib of three releases, on a
// machine that has one of these itself. Each is bound to the one that was named: the file is in its
// list, it is what the program runs with, and dlopen finds it by its soname. So it is when
// the packages that it was built with are gone.
func TestSystemEnv(t *testing.T) {
	testneed.Network(t)
	testneed.Programs(t, "pivot_root")
	root := testroot.Debian(t, "bookworm", "", "autoconf", "cargo", "cmake", "g++", "gcc", "golang-go", "make", "meson", "pkg-config",
		"libssl-dev", "libtinyxml2-dev", "libxml2-dev", "zlib1g-dev")
	inside := insideRoot(t, root)
	hashpkgRun := func(args ...string) {
		t.Helper()
		if out, err := exec.Command(hashpkg(t), append([]string{"--root", root.Dir}, args...)...).CombinedOutput(); err != nil {
			t.Fatalf("hashpkg %q: %v: %s", args, err, out)
		}
	}
	install := func(args ...string) { hashpkgRun(append([]string{"install", "-q", "--signature", "warn"}, args...)...) }
	install("--from", "bullseye", "zlib1g-dev", "libxml2-dev", "libssl-dev", "libtinyxml2-dev")
	install("--from", "bookworm", "zlib1g-dev", "zlib1g") // which is the machine's, too
	install("--from", "trixie", "zlib1g-dev")

	as := func(id int, dir string, args ...string) (string, error) {
		out, err := root.PivotCommand(t.Context(), id, append([]string{"sh", "-ec", `export HOME=$0 GOFLAGS=-mod=mod GOTOOLCHAIN=local; mkdir -p "$0"; cd "$0"; exec "$@"`, dir}, args...)...).CombinedOutput()
		return string(out), err
	}
	needed := func(file string) []string {
		t.Helper()
		f, err := elf.Open(root.Path(file))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		list, err := f.ImportedLibraries()
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	// libraryOf returns the file that a package's programs are to be bound to.
	libraryOf := func(spec, soname string) string {
		t.Helper()
		out, status := inside(1000, "env", "--json", spec)
		var e struct {
			Libraries []struct{ Soname, Path string }
		}
		if err := json.Unmarshal([]byte(out), &e); err != nil || status != 0 {
			t.Fatalf("env %s: %d: %s", spec, status, out)
		}
		for _, l := range e.Libraries {
			if l.Soname == soname {
				return l.Path
			}
		}
		t.Fatalf("env %s: no %s in %s", spec, soname, out)
		return ""
	}

	versions := map[string]string{} // what zlib says by the version of the package
	for _, tree := range []string{"1.2.11", "1.2.13", "1.3.1"} {
		var list struct{ Packages []byNameTree }
		out, _ := inside(1000, "list", "--json")
		if err := json.Unmarshal([]byte(out), &list); err != nil {
			t.Fatal(err)
		}
		for _, p := range list.Packages {
			if p.Name == "zlib1g-dev" && strings.Contains(p.Version, tree) {
				versions[p.Version] = tree
			}
		}
	}
	if len(versions) != 3 {
		t.Fatalf("of zlib1g-dev there is %v", versions)
	}
	type built struct{ file, says string }
	var all []built
	for version, zlib := range versions {
		library := libraryOf("zlib1g-dev="+version, "libz.so.1")
		for _, p := range envProjects {
			for _, tool := range []string{"", p.tool} {
				if tool == "" && p.name == "cargo" && zlib != "1.3.1" {
					continue // one is enough: nothing but the variables is another
				}
				dir := path.Join("/tmp", zlib, strings.ReplaceAll(p.name, " ", ""), "for"+tool)
				if out, err := as(1000, dir, "true"); err != nil {
					t.Fatalf("%v: %s", err, out)
				}
				root.WriteFile(dir+"/hello.c", helloZlib, 0o644)
				command := []string{"hashpkg", "env", "zlib1g-dev=" + version}
				if tool != "" {
					command = append(command, "--for", tool)
				}
				script := strings.ReplaceAll(p.script, "\n\t\t", "\n") // where <<- would leave the code's own tabs out as well
				script = strings.ReplaceAll(script, "<<-", "<<")
				if out, err := as(1000, dir, append(command, "--", "sh", "-ec", script)...); err != nil {
					t.Errorf("%s %s: build by --for %q: %v: %s", p.name, zlib, tool, err, out)
					continue
				}
				if list := needed(dir + "/hello"); !slices.Contains(list, library) || slices.Contains(list, "libz.so.1") {
					t.Errorf("%s %s by --for %q needs %q, want %s", p.name, zlib, tool, list, library)
				}
				says := zlib + " " + zlib + " 1\n"
				if out, err := as(1000, dir, "./hello"); err != nil || out != says {
					t.Errorf("%s by --for %q says %q (%v), want %q", p.name, tool, out, err, says)
				}
				all = append(all, built{dir, says})
			}
		}
	}
	t.Logf("%d programs were built", len(all))

	// A library in C++, and libraries that need others and have versions of symbols.
	for _, p := range []struct{ name, script, soname, says string }{
		{"libtinyxml2-dev", `
			printf '%s\n' '#include <tinyxml2.h>' '#include <iostream>' 'int main() { tinyxml2::XMLDocument d; d.Parse("<a b=\"1\"/>"); std::cout << TINYXML2_MAJOR_VERSION << d.RootElement()->Attribute("b") << std::endl; }' >a.cc
			g++ $CPPFLAGS a.cc -o hello $LDFLAGS -ltinyxml2`, "libtinyxml2.so.8", "81\n"},
		{"libxml2-dev", `
			printf '%s\n' '#include <stdio.h>' '#include <libxml/parser.h>' 'int main(void) { LIBXML_TEST_VERSION; printf("%s %s %d\n", LIBXML_DOTTED_VERSION, xmlParserVersion, xmlReadMemory("<a/>", 4, "a", 0, 0) != 0); return 0; }' >a.c
			gcc a.c -o hello $LDFLAGS $(pkg-config --cflags --libs libxml-2.0)`, "libxml2.so.2", "2.9.10 20910 1\n"},
		{"libssl-dev", `
			printf '%s\n' '#include <stdio.h>' '#include <openssl/ssl.h>' 'int main(void) { printf("%.5s %.13s\n", OPENSSL_VERSION_TEXT + 8, OpenSSL_version(OPENSSL_VERSION)); return !SSL_CTX_new(TLS_client_method()); }' >a.c
			gcc $CPPFLAGS a.c -o hello $LDFLAGS -lssl -lcrypto`, "libssl.so.1.1", "1.1.1 OpenSSL 1.1.1\n"},
	} {
		dir, library := "/tmp/"+p.name, libraryOf(p.name, p.soname)
		if out, err := as(1000, dir, "hashpkg", "env", p.name, "--", "sh", "-ec", p.script); err != nil {
			t.Errorf("build with %s: %v: %s", p.name, err, out)
			continue
		}
		if list := needed(dir + "/hello"); !slices.Contains(list, library) {
			t.Errorf("what was built with %s needs %q, want %s", p.name, list, library)
		}
		if out, err := as(1000, dir, "./hello"); err != nil || out != p.says {
			t.Errorf("what was built with %s says %q (%v), want %q", p.name, out, err, p.says)
		}
		all = append(all, built{dir, p.says})
	}

	// What needs a newer C library than the machine has is not built with.
	install("--from", "trixie", "libxml2-dev")
	if out, status := inside(1000, "env", "libxml2-dev"); status != 1 || !strings.Contains(out, "newer C library") {
		t.Errorf("env of a newer library: %d: %s", status, out)
	}

	hashpkgRun("verify", "--all")
	hashpkgRun("remove", "-q", "zlib1g-dev", "libxml2-dev", "libssl-dev", "libtinyxml2-dev")
	hashpkgRun("gc", "--keep", "1", "--keep-versions", "0")
	for _, b := range all {
		if out, err := as(1000, b.file, "./hello"); err != nil || out != b.says {
			t.Errorf("without what it was built with, %s says %q (%v), want %q", b.file, out, err, b.says)
		}
	}
}
