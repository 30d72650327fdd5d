package rpm_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashpkg/hashpkg/backends/rpm"
	"github.com/hashpkg/hashpkg/internal/testneed"
)

// rpmbuild builds the package of a spec file with the program of that name, which
// puts the files into the directory that is the argument of install.
func rpmbuild(t testing.TB, spec string, defines map[string]string) string {
	t.Helper()
	testneed.Programs(t, "rpmbuild", "rpm", "rpm2archive")
	top := t.TempDir()
	file := filepath.Join(top, "x.spec")
	if err := os.WriteFile(file, []byte(spec), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{
		"-bb", "--quiet", "--define", "_topdir " + top, "--define", "_build_id_links none",
		"--define", "debug_package %{nil}", "--define", "__os_install_post %{nil}", "--define", "_dbpath " + top + "/db",
	}
	for name, value := range defines {
		args = append(args, "--define", name+" "+value)
	}
	cmd := exec.Command("rpmbuild", append(args, file)...)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8")
	if output, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("rpmbuild: %v\n%s", err, output)
	}
	files, err := filepath.Glob(filepath.Join(top, "RPMS/*/*.rpm"))
	if err != nil || len(files) != 1 {
		t.Fatal("rpmbuild made ", files, err)
	}
	return files[0]
}

// specHead begins every spec file; further tags go into it.
func specHead(tags string) string {
	return `
Name: built
Version: 1.2~rc1
Release: 3
Summary: A built package
Summary(de): Ein gebautes Paket
License: MIT
AutoReqProv: no
` + tags + `
%description
Text
%description -l de
Der Text
`
}

// tagsAll and filesAll have everything that a package can have.
const tagsAll = `
Epoch: 7
Requires: libz.so.1()(64bit), libc.so.6(GLIBC_2.34)(64bit), zlib >= 1:1.2, bash < 9
Requires: (a or b >= 2), (c and d), (e if f else g)
Requires(post): /bin/sh
Provides: thing = 4, other, bundled(x) = 1
Conflicts: old < 2
Obsoletes: older <= 1.9-1
Recommends: nice
Suggests: nicer`

const filesAll = `
%install
cd %{buildroot}
mkdir -p usr/bin usr/share/built/empty etc usr/lib64 usr/share/doc/built dev var/log usr/share/licenses/built
printf program > usr/bin/tool
printf set > usr/bin/setuid
printf caps > usr/bin/ping
printf "a=1\n" > etc/built.conf
printf "b=1\n" > etc/keep.conf
printf readme > usr/share/doc/built/README
printf license > usr/share/licenses/built/COPYING
ln -s tool usr/bin/tool2
ln -s ../../../../etc usr/share/built/far
printf "one inode" > usr/share/built/h1
ln usr/share/built/h1 usr/share/built/h2
ln usr/share/built/h1 usr/share/built/h0
printf "another" > usr/share/built/g1
ln usr/share/built/g1 usr/share/built/g2
: > usr/share/built/nothing
mkfifo usr/share/built/fifo
printf "umlaut" > usr/share/built/überall
printf "space" > "usr/share/built/a b"
: > var/log/built.log
head -c 300000 /dev/urandom > usr/share/built/noise
%files
%attr(0755,root,root) /usr/bin/tool
%attr(4755,root,root) /usr/bin/setuid
%attr(0755,root,wheel) %caps(cap_net_raw,cap_net_admin=ep) /usr/bin/ping
/usr/bin/tool2
%config /etc/built.conf
%config(noreplace) %attr(0640,daemon,adm) /etc/keep.conf
%doc /usr/share/doc/built/README
%license /usr/share/licenses/built/COPYING
%dir /usr/share/built
%dir %attr(0700,games,games) /usr/share/built/empty
/usr/share/built/far
/usr/share/built/h*
/usr/share/built/g*
/usr/share/built/n*
/usr/share/built/fifo
/usr/share/built/überall
"/usr/share/built/a b"
%ghost /var/log/built.log
%artifact /usr/share/built/noise
%dev(c,1,3) /dev/built-null
%dev(b,7,30) /dev/built-loop
%pretrans -p <lua>
print("lua")
%pre
echo pre
%post -p /sbin/ldconfig
%preun
echo preun $1
%postun
echo postun
%posttrans
echo posttrans
%verifyscript
echo verify
%triggerin -- bash > 4, zsh
echo triggerin
%triggerun -- dash
echo triggerun
%triggerpostun -p /bin/bash -- ash
echo triggerpostun
%filetriggerin -- /usr/lib /usr/lib64
echo filetriggerin
%transfiletriggerin -P 900 -- /usr/share
echo transfiletriggerin
%transfiletriggerpostun -p <lua> -- /etc
print("x")
`

// TestBuiltPackages compares packages with everything in them, in each compression
// and with each digest of files, with rpm.
func TestBuiltPackages(t *testing.T) {
	all := specHead(tagsAll) + filesAll
	for _, payload := range []string{"w.ufdio", "w9.gzdio", "w2.xzdio", "w2.lzdio", "w9.bzdio", "w3.zstdio", "w3T2.xzdio"} {
		t.Run(payload, func(t *testing.T) {
			comparePackage(t, rpmbuild(t, all, map[string]string{"_binary_payload": payload}))
		})
	}
	for _, algo := range []string{"1", "2", "8", "9", "10", "11"} {
		t.Run("digest "+algo, func(t *testing.T) {
			comparePackage(t, rpmbuild(t, all, map[string]string{"_binary_filedigest_algorithm": algo}))
		})
	}
	t.Run("model", func(t *testing.T) {
		f, err := os.Open(rpmbuild(t, all, nil))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		r, err := rpm.NewReader(f, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		p := r.Package()
		var scripts []string
		for _, s := range p.Scripts {
			scripts = append(scripts, s.Name+" "+s.Interpreter)
		}
		want := "pretrans <lua>|pre /bin/sh|post /sbin/ldconfig|preun /bin/sh|postun /bin/sh|posttrans /bin/sh|verify /bin/sh|" +
			"triggerin /bin/sh|triggerun /bin/sh|triggerpostun /bin/bash|filetriggerin /bin/sh|transfiletriggerin /bin/sh|transfiletriggerpostun <lua>"
		if got := strings.Join(scripts, "|"); got != want {
			t.Errorf("scripts:\n got %s\nwant %s", got, want)
		}
		want = "triggerpostun -- ash|triggerin -- bash > 4|triggerun -- dash|triggerin -- zsh|" + // rpmbuild sorts them
			"filetriggerin -- /usr/lib|filetriggerin -- /usr/lib64|transfiletriggerpostun -- /etc|transfiletriggerin -- /usr/share"
		if got := strings.Join(p.Triggers, "|"); got != want {
			t.Errorf("triggers:\n got %s\nwant %s", got, want)
		}
		if got := strings.Join(p.Conffiles, " "); got != "etc/built.conf etc/keep.conf" {
			t.Error("conffiles: ", got)
		}
		if p.Version != "7:1.2~rc1-3" || p.Source != "built" || p.Summary != "A built package" {
			t.Errorf("%s, of %s: %s", p.Version, p.Source, p.Summary)
		}
		for text, alternatives := range map[string]int{
			"(a or b >= 2)": 2, "(c and d)": 0, "(e if f else g)": 0, "zlib >= 1:1.2": 1, "libc.so.6(GLIBC_2.34)(64bit)": 1,
		} {
			found := false
			for _, r := range p.Requires {
				if r.Text == text {
					found = true
					if len(r.Alternatives) != alternatives {
						t.Errorf("%q has %d alternatives", text, len(r.Alternatives))
					}
				}
			}
			if !found {
				t.Errorf("%q is not required", text)
			}
		}
	})
}

// TestManyFiles has 10,000 files.
func TestManyFiles(t *testing.T) {
	spec := specHead("") + `
%install
mkdir -p %{buildroot}/usr/share/many
cd %{buildroot}/usr/share/many
for d in 0 1 2 3 4 5 6 7 8 9; do
  mkdir $d
  i=0
  while [ $i -lt 1000 ]; do echo $d $i > $d/$i; i=$((i+1)); done
done
%files
/usr/share/many
`
	comparePackage(t, rpmbuild(t, spec, map[string]string{"_binary_payload": "w3.zstdio"}))
}

// TestLargeFile has a file of more than 4 GiB, which needs the stripped cpio.
func TestLargeFile(t *testing.T) {
	const size = 4<<30 + 12345
	spec := specHead("") + fmt.Sprintf(`
%%install
mkdir -p %%{buildroot}/usr/share/large
cd %%{buildroot}/usr/share/large
truncate -s %d zeros
printf small > small
ln small small2
ln -s zeros link
%%files
/usr/share/large
`, int64(size))
	comparePackage(t, rpmbuild(t, spec, map[string]string{"_binary_payload": "w1.zstdio"}))
}
