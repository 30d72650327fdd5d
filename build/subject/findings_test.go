package subject_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/hashpkg/hashpkg/backends"
	"github.com/hashpkg/hashpkg/backends/deb"
	"github.com/hashpkg/hashpkg/backends/rpm"
	"github.com/hashpkg/hashpkg/build/audit"
	"github.com/hashpkg/hashpkg/build/subject"
	"github.com/hashpkg/hashpkg/internal/testneed"
	"github.com/hashpkg/hashpkg/sysroot"
)

// prelude is what the scripts below have. A program that is linked so has no finding.
const prelude = `set -e
cc() { gcc -w -O1 -Wl,-z,relro -Wl,-z,now -Wl,-z,ibt -Wl,-z,shstk -Wl,-z,noexecstack "$@"; }
prog() { echo "int f(void); int main(int c, char **v) { return c > 9 ? $1 : 0; }" > p.c; shift; cc -fPIE -pie -o prog p.c "$@"; }
lib() { out=$1; echo "$2" > l.c; shift 2; cc -fPIC -shared -o "$out" l.c "$@"; }
versions() { for v in "$@"; do echo "$v { global: f$v; };"; done > map; }
clean() { rm -f p.c l.c map; }
`

// TestFindings makes files that are broken in one way each, and has the kernel and the loader start those that
// are programs.
func TestFindings(t *testing.T) {
	testneed.Programs(t, "gcc", "bash")
	tests := []struct {
		name   string
		script string // in an empty directory, and outside=DIR that is another one
		staged bool
		want   string // of the findings, "ID FILE" each; without the directory
		judge  string // "runs" or "fails" of prog; "" for nothing to start
	}{
		{"clean", `prog 0`, false, "", "runs"},
		{"missing-library", `lib libx.so.1 'int f(void) { return 1; }' -Wl,-soname,libx.so.1; prog 'f()' ./libx.so.1; rm libx.so.1`, false, "missing-library /prog", "fails"},
		{"missing-library of a library", `lib liby.so.1 '' -Wl,-soname,liby.so.1
			lib libx.so.1 'int f(void) { return 1; }' -Wl,-soname,libx.so.1 -Wl,--no-as-needed ./liby.so.1
			prog 'f()' -Wl,-rpath,'$ORIGIN' ./libx.so.1 -Wl,-rpath-link,.; rm liby.so.1`, false, "missing-library /libx.so.1, missing-library /prog", "fails"},
		{"library of the wrong architecture", `lib libx.so.1 'int f(void) { return 1; }' -Wl,-soname,libx.so.1; prog 'f()' -Wl,-rpath,'$ORIGIN' ./libx.so.1
			printf '\267' | dd of=libx.so.1 bs=1 seek=18 conv=notrunc status=none`, false, "missing-library /prog", "fails"},
		{"missing-interpreter", `prog 0 -Wl,--dynamic-linker,/nowhere/ld.so`, false, "missing-interpreter /prog, foreign-interpreter /prog", "fails"},
		{"missing-interpreter of what nobody may start", `prog 0 -Wl,--dynamic-linker,/nowhere/ld.so; chmod 644 prog`, false, "foreign-interpreter /prog", ""},
		{"an interpreter at fixed addresses", `gcc -nostdlib -static -no-pie -Wl,-Ttext-segment=0x10000000 -x c -o $outside/ld.so - <<< 'void _start(void) { __asm__("mov $60, %eax; xor %edi, %edi; syscall"); }'
			prog 0 -Wl,--dynamic-linker,$outside/ld.so`, false, "foreign-interpreter /prog", "runs"},
		{"relative-interpreter", `prog 0 -Wl,--dynamic-linker,ld.so`, false, "relative-interpreter /prog", "fails"},
		{"relative-needed", `mkdir sub; lib sub/libx.so 'int f(void) { return 1; }'; prog 'f()' sub/libx.so`, false, "relative-needed /prog", "fails"},
		{"missing-version", `versions A B; lib libx.so.1 'int fA(void) { return 1; } int fB(void) { return 1; }' -Wl,-soname,libx.so.1 -Wl,--version-script,map
			prog 'fB()' -Wl,-rpath,'$ORIGIN' ./libx.so.1; versions A
			lib libx.so.1 'int fA(void) { return 1; }' -Wl,-soname,libx.so.1 -Wl,--version-script,map`, false, "missing-version /prog, undefined-symbol /prog", "fails"},
		{"unversioned-library", `versions A; lib libx.so.1 'int fA(void) { return 1; }' -Wl,-soname,libx.so.1 -Wl,--version-script,map
			prog 'fA()' -Wl,-rpath,'$ORIGIN' ./libx.so.1
			lib libx.so.1 'int fA(void) { return puts(""); }' -Wl,-soname,libx.so.1`, false, "unversioned-library /prog", "runs"},
		{"undefined-symbol", `lib libx.so.1 'int f(void) { return 1; }' -Wl,-soname,libx.so.1; prog 'f()' -Wl,-rpath,'$ORIGIN' ./libx.so.1
			lib libx.so.1 '' -Wl,-soname,libx.so.1`, false, "undefined-symbol /prog", "fails"},
		{"undefined-symbol of a library", `lib libx.so.1 'int g(void); int f(void) { return g(); }' -Wl,-soname,libx.so.1
			prog 'f()' -Wl,-rpath,'$ORIGIN' ./libx.so.1 -Wl,--allow-shlib-undefined`, false, "undefined-symbol /prog", "fails"},
		{"undefined-symbol-lazy", `lib libx.so.1 'int f(void) { return 1; }' -Wl,-soname,libx.so.1; prog 'f()' -Wl,-z,lazy -Wl,-rpath,'$ORIGIN' ./libx.so.1
			lib libx.so.1 '' -Wl,-soname,libx.so.1`, false, "undefined-symbol-lazy /prog, no-bind-now /prog", "runs"},
		{"setuid-origin", `lib libx.so.1 'int f(void) { return 1; }' -Wl,-soname,libx.so.1; prog 'f()' -Wl,-rpath,'$ORIGIN' ./libx.so.1; chmod u+s prog`, false, "setuid-origin /prog", "fails"},
		{"library-elsewhere", `mkdir a b; lib b/liby.so.1 'int g(void) { return 1; }' -Wl,-soname,libverymuchelsewhere.so.1; mv b/liby.so.1 b/libverymuchelsewhere.so.1
			mkdir usr; lib a/libx.so 'int g(void); int f(void) { return g(); }' b/libverymuchelsewhere.so.1`, true, "library-elsewhere /a/libx.so", ""},
		{"library-elsewhere by its soname", `mkdir -p usr/lib/p/q; lib usr/lib/p/_y.cpython.so 'int g(void) { return 1; }' -Wl,-soname,_y.so
			lib usr/lib/p/q/x.so 'int g(void); int f(void) { return g(); }' usr/lib/p/_y.cpython.so`, true, "library-elsewhere /usr/lib/p/q/x.so", ""},
		{"library-elsewhere with the version", `mkdir -p usr a b; versions A B; lib b/libv.so.1 'int fA(void) { return 1; } int fB(void) { return 1; }' -Wl,-soname,libv.so.1 -Wl,--version-script,map
			lib a/x.so 'int fB(void); int f(void) { return fB(); }' -Wl,-rpath,'$ORIGIN' b/libv.so.1
			versions A; lib a/libv.so.1 'int fA(void) { return 1; }' -Wl,-soname,libv.so.1 -Wl,--version-script,map`, true, "library-elsewhere /a/x.so", ""},
		{"missing-version of a library", `mkdir -p usr a; versions A B; lib a/libv.so.1 'int fA(void) { return 1; } int fB(void) { return 1; }' -Wl,-soname,libv.so.1 -Wl,--version-script,map
			lib a/x.so 'int fB(void); int f(void) { return fB(); }' -Wl,-rpath,'$ORIGIN' a/libv.so.1
			versions A; lib a/libv.so.1 'int fA(void) { return 1; }' -Wl,-soname,libv.so.1 -Wl,--version-script,map`, true, "missing-version /a/x.so", ""},
		{"loaded-twice", `mkdir two; lib libx.so.1 'int f(void) { return 1; }' -Wl,-soname,libx.so.1; lib two/libx.so 'int g(void) { return 1; }'
			prog 'f() + g()' -Wl,-rpath,'$ORIGIN' ./libx.so.1 $PWD/two/libx.so
			lib two/libx.so 'int g(void) { return 1; }' -Wl,-soname,libx.so.1`, false, "loaded-twice /prog", "runs"},
		{"foreign-interpreter", `cp "$(realpath /lib64/ld-linux-x86-64.so.2)" $outside/ld.so; prog 0 -Wl,--dynamic-linker,$outside/ld.so`, false, "foreign-interpreter /prog", "runs"},
		{"absolute-needed", `lib $outside/libx.so 'int f(void) { return 1; }'; prog 'f()' $outside/libx.so`, false, "absolute-needed /prog", "runs"},
		{"rpath", `prog 0 -Wl,--disable-new-dtags,-rpath,'$ORIGIN'`, false, "rpath /prog", "runs"},
		{"runpath-empty", `prog 0 -Wl,-rpath,':$ORIGIN'`, false, "runpath-empty /prog", "runs"},
		{"runpath-relative", `prog 0 -Wl,-rpath,lib`, false, "runpath-relative /prog", "runs"},
		{"runpath-build-dir", `prog 0 -Wl,-rpath,/builddir/build/x`, false, "runpath-build-dir /prog", "runs"},
		{"runpath-build-dir and staged", `mkdir -p usr/bin; prog 0 -Wl,-rpath,$PWD/usr/lib; mv prog usr/bin`, true, "runpath-build-dir /usr/bin/prog", ""},
		{"runpath-home", `prog 0 -Wl,-rpath,/home/me/lib`, false, "runpath-home /prog", "runs"},
		{"runpath-writable", `prog 0 -Wl,-rpath,/tmp/libraries`, false, "runpath-writable /prog", "runs"},
		{"runpath-writable by $ORIGIN", `mkdir -p usr/bin; prog 0 -Wl,-rpath,'$ORIGIN/../../tmp/lib'; mv prog usr/bin`, true, "runpath-writable /usr/bin/prog", ""},
		{"runpath-writable by a group", `mkdir group; chmod 775 group; chgrp 1000 group; prog 0 -Wl,-rpath,$PWD/group`, false, "runpath-writable /prog", "runs"},
		{"runpath-home by $ORIGIN", `mkdir -p usr/bin; prog 0 -Wl,-rpath,'$ORIGIN/../../home/me/lib'; mv prog usr/bin`, true, "runpath-home /usr/bin/prog", ""},
		{"runpath-outside", `mkdir -p usr/bin; prog 0 -Wl,-rpath,/usr/share/common-licenses; mv prog usr/bin`, true, "runpath-outside /usr/bin/prog", ""},
		{"runpath of the package", `mkdir -p usr/bin usr/lib/mine; touch usr/lib/mine/data; prog 0 -Wl,-rpath,/usr/lib/mine; mv prog usr/bin`, true, "", ""},
		{"text-relocations", `printf '.text\n.globl f\nf: movabs $g, %%rax\nret\n.section .note.GNU-stack,"",@progbits\n' > f.s; cc -shared -Wl,-z,notext -o x.so f.s; rm f.s`, false, "text-relocations /x.so", ""},
		{"executable-stack", `prog 0 -Wl,-z,execstack`, false, "executable-stack /prog", "runs"},
		{"no-relro", `prog 0 -Wl,-z,norelro`, false, "no-relro /prog", "runs"},
		{"no-pie", `prog 0 -no-pie -fno-pie`, false, "no-pie /prog", "runs"},
		{"no-soname", `mkdir -p usr/lib/x86_64-linux-gnu; lib usr/lib/x86_64-linux-gnu/libmine.so ''`, true, "no-soname /usr/lib/x86_64-linux-gnu/libmine.so", ""},
		{"no-soname of a plugin", `mkdir -p usr/lib/x86_64-linux-gnu/app; lib usr/lib/x86_64-linux-gnu/app/libmine.so ''`, true, "", ""},
		{"no-soname-link", `mkdir -p usr/lib/x86_64-linux-gnu; lib usr/lib/x86_64-linux-gnu/libmine.so.1.2 '' -Wl,-soname,libmine.so.1`, true, "no-soname-link /usr/lib/x86_64-linux-gnu/libmine.so.1.2", ""},
		{"a soname with its link", `mkdir -p lib/x86_64-linux-gnu usr; lib lib/x86_64-linux-gnu/libmine.so.1.2 '' -Wl,-soname,libmine.so.1; ln -s libmine.so.1.2 lib/x86_64-linux-gnu/libmine.so.1`, true, "", ""},
		{"duplicate-soname", `d=usr/lib/x86_64-linux-gnu; mkdir -p $d; lib $d/libmine.so.1 '' -Wl,-soname,libmine.so.1; cp $d/libmine.so.1 $d/libother.so`, true, "duplicate-soname /usr/lib/x86_64-linux-gnu/libother.so", ""},
		{"damaged-file", `prog 0; head -c 1000 prog > x; chmod +x x; mv x prog`, false, "damaged-file /prog", "fails"},
		{"runpath-default", `prog 0 -Wl,-rpath,/usr/lib/x86_64-linux-gnu`, false, "runpath-default /prog", "runs"},
		{"runpath-absent", `prog 0 -Wl,-rpath,'$ORIGIN/none'`, false, "runpath-absent /prog", "runs"},
		{"no-bind-now", `prog 0 -Wl,-z,lazy`, false, "no-bind-now /prog", "runs"},
		{"no-ibt and no-shstk", `gcc -w -fPIE -pie -Wl,-z,now -fcf-protection=none -x c -o prog - <<< 'int main(void) { return 0; }'`, false, "no-ibt /prog, no-shstk /prog", "runs"},
		{"links", `mkdir -p usr/bin usr/lib/mine opt/other; lib libx.so.1 'int f(void) { return 1; }' -Wl,-soname,libx.so.1; prog 'f()' -Wl,-rpath,'$ORIGIN/../lib/link' ./libx.so.1
			mv prog usr/bin; mv libx.so.1 opt/other; ln -s /usr/lib/other-link usr/lib/link; ln -s ../../opt/other usr/lib/other-link`, true, "", ""},
	}
	seen := map[string]bool{}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir, outside := openDir(t), openDir(t)
			cmd := exec.Command("bash", "-c", prelude+"outside="+outside+"\n"+test.script+"\nclean\n")
			cmd.Dir = dir
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			findings := auditOf(t, subject.Options{Names: []string{dir}, Staged: &test.staged})
			var got []string
			for _, f := range findings {
				seen[f.ID] = true
				got = append(got, f.ID+" "+strings.TrimPrefix(f.File, dir))
			}
			if text := strings.Join(got, ", "); text != test.want {
				t.Errorf("found %q, expected %q", text, test.want)
			}
			fails := slices.ContainsFunc(findings, func(f audit.Finding) bool {
				return f.Level == audit.LevelError && f.File == dir+"/prog"
			})
			if t.Failed() {
				return
			}
			if test.judge == "" {
				return
			}
			err := start(dir + "/prog")
			if (err != nil) != (test.judge == "fails") || fails != (err != nil) {
				t.Errorf("the program: %v; expected that it %s, and errors are found: %v", err, test.judge, fails)
			}
		})
	}
	for _, c := range audit.Checks() {
		if !seen[c.ID] && !t.Failed() {
			t.Errorf("nothing has shown %s", c.ID)
		}
	}
}

// openDir returns a new directory that everybody can look into.
func openDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for d := dir; d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// start starts a program, as somebody without rights where it would get some.
func start(name string) error {
	cmd := exec.Command(name)
	cmd.Dir = "/"
	if info, err := os.Stat(name); err == nil && info.Mode()&os.ModeSetuid != 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	return cmd.Run()
}

func auditOf(t *testing.T, o subject.Options) []audit.Finding {
	t.Helper()
	if o.Root == nil {
		root, err := sysroot.Open("/", "/var/sys", formats())
		if err != nil {
			t.Fatal(err)
		}
		defer root.Close()
		o.Root = root
	}
	read, err := subject.Read(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer read.World.Close()
	findings, err := audit.Run(context.Background(), read.World, read.Subjects, func(int) {})
	if err != nil {
		t.Fatal(err)
	}
	return findings
}

func formats() backends.Formats { return backends.Formats{deb.Format{}, rpm.Format{}} }

// TestMachine compares what is said of the machine's own programs with what its loader says of them (ld.so(8), --list).
func TestMachine(t *testing.T) {
	testneed.Programs(t, "ldd")
	findings := auditOf(t, subject.Options{Names: []string{"/usr/bin", "/usr/sbin"}})
	wrong := map[string]bool{}
	for _, f := range findings {
		if f.Level == audit.LevelError {
			wrong[f.File] = true
			t.Logf("%s: %s: %s", f.File, f.ID, f.What)
		}
	}
	asked := 0
	for _, dir := range []string{"/usr/bin", "/usr/sbin"} {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			name := dir + "/" + e.Name()
			if !e.Type().IsRegular() || !isDynamic(name) {
				continue
			}
			asked++
			out, err := exec.Command("/lib64/ld-linux-x86-64.so.2", "--list", name).CombinedOutput()
			fails := err != nil || bytes.Contains(out, []byte("not found"))
			if fails != wrong[name] {
				t.Errorf("%s: the loader says %v, %s; errors are found: %v", name, err, out, wrong[name])
			}
		}
	}
	t.Logf("%d programs", asked)
	if asked < 10 {
		t.Errorf("%d programs were asked for", asked)
	}
}

// isDynamic reports whether a file is a program of this machine that its loader starts.
func isDynamic(name string) bool {
	b, err := os.ReadFile(name)
	return err == nil && bytes.HasPrefix(b, []byte("\x7fELF\x02")) && bytes.Contains(b[:min(len(b), 4096)], []byte("/lib64/ld-linux-x86-64.so.2\x00"))
}
