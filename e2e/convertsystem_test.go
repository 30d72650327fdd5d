//go:build system

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hashpkg/hashpkg/internal/testneed"
	"github.com/hashpkg/hashpkg/internal/testroot"
)

// convertCase is a package that is converted, installed in the place of the official one, and asked to do its work.
type convertCase struct {
	name  string // of the package
	bound string // a program that is edited; "" if there is none in the package
	work  string // what is done
	say   string // what that says among others
}

var convertCases = map[string][]convertCase{
	"bookworm": {
		{"ffmpeg", "/usr/bin/ffmpeg", `ffmpeg -v error -f lavfi -i testsrc=duration=1:size=64x64 -c:v libx264 -bitexact -threads 1 a.mp4
ffprobe -v error -show_entries stream=codec_name,nb_frames a.mp4`, "codec_name=h264"},
		{"firefox-esr", "/usr/lib/firefox-esr/vaapitest", `firefox-esr --version; ldd /usr/lib/firefox-esr/firefox-esr | grep 'not found'`, "Mozilla Firefox"},
		{"inkscape", "/usr/bin/inkscape", `echo '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect width="5" height="5"/></svg>' >a.svg
inkscape --query-width a.svg 2>/dev/null; inkscape a.svg --export-type=png -o a.png 2>/dev/null; head -c 4 a.png | tail -c 3`, "PNG"},
		{"emacs-nox", "", `emacs -Q --batch --eval '(princ (* 6 7))'; emacs -Q --batch --eval '(princ (native-comp-available-p))'`, "42"}, // dladdr
		{"postgresql-15", "/usr/lib/postgresql/15/bin/postgres", postgresWork(15), "the sum is 5050"},
		{"python3.11-minimal", "/usr/bin/python3.11", `python3.11 -c 'import ssl, sqlite3, ctypes, zlib; print(zlib.crc32(b"a"), ssl.OPENSSL_VERSION, ctypes.CDLL(None).getpid() > 0)'`, "3904355907"},
		{"openssh-server", "/usr/sbin/sshd", `mkdir -p /run/sshd; sshd -T | head -n 5; sshd -G 2>/dev/null | wc -l`, "port 22"},
		{"systemd", "/usr/bin/systemd-analyze", `systemd-analyze calendar --iterations=0 daily | head -n 2; systemd-analyze verify /lib/systemd/system/basic.target; systemd-escape 'a b'`, `a\x20b`},
		{"e2fsprogs", "/sbin/mke2fs", `mke2fs -q -t ext4 a.img 8M; e2fsck -fn a.img; debugfs -R 'stat /' a.img 2>/dev/null | grep Type; lsattr -d . | wc -l`, "Type: directory"},
	},
	"trixie": {
		{"ffmpeg", "/usr/bin/ffmpeg", `ffmpeg -v error -f lavfi -i testsrc=duration=1:size=64x64 -c:v libx264 -bitexact -threads 1 a.mp4
ffprobe -v error -show_entries stream=codec_name,nb_frames a.mp4`, "codec_name=h264"},
		{"postgresql-17", "/usr/lib/postgresql/17/bin/postgres", postgresWork(17), "the sum is 5050"},
		{"python3.13-minimal", "/usr/bin/python3.13", `python3.13 -c 'import ssl, sqlite3, ctypes, zlib; print(zlib.crc32(b"a"), ssl.OPENSSL_VERSION, ctypes.CDLL(None).getpid() > 0)'`, "3904355907"},
		{"openssh-server", "/usr/sbin/sshd", `mkdir -p /run/sshd; sshd -T | head -n 5; sshd -G | wc -l`, "port 22"},
		{"systemd", "/usr/bin/systemd-analyze", `systemd-analyze calendar --iterations=0 daily | head -n 2; systemd-escape 'a b'`, `a\x20b`},
		{"e2fsprogs", "/usr/sbin/mke2fs", `mke2fs -q -t ext4 a.img 8M; e2fsck -fn a.img; debugfs -R 'stat /' a.img 2>/dev/null | grep Type`, "Type: directory"},
		{"git", "/usr/bin/git", `git init -q a; cd a; git -c user.name=a -c user.email=a@a commit -q --allow-empty -m one; git log --format=%s; git fsck`, "one"},
		{"coreutils", "/usr/bin/sort", `seq 100 | sort -R --random-source=/dev/zero | sort -n | sha256sum; cp -a /etc/passwd x; cmp x /etc/passwd && echo the same`, "the same"},
		{"bash", "/usr/bin/bash", `bash -c 'a=(1 2 3); echo ${#a[@]}'`, "3"},
	},
}

func postgresWork(version int) string {
	return fmt.Sprintf(`b=/usr/lib/postgresql/%d/bin
chown postgres .
setpriv --reuid postgres --regid postgres --clear-groups sh -e <<S
export HOME=$PWD
$b/initdb -D d --no-sync -A trust >/dev/null
$b/pg_ctl -D d -w -s -o "-c listen_addresses= -k $PWD" -l log start
psql -h $PWD -At -c "select 'the sum is ' || sum(i) from generate_series(1, 100) i" -c 'create extension plpgsql' postgres 2>&1 || true
psql -h $PWD -At -c "select count(*) from pg_available_extensions" postgres
$b/pg_dump -h $PWD postgres | grep -c PostgreSQL
$b/pg_ctl -D d -w -s stop
S
`, version)
}

// TestSystemConvert converts large packages and those that a system cannot be without, installs them in the place of the
// official ones, and goes back and forth with apt.
func TestSystemConvert(t *testing.T) {
	testneed.Root(t)
	testneed.Programs(t, "lintian", "dpkg-deb", "dpkg-scanpackages")
	for _, suite := range []string{"bookworm", "trixie"} {
		t.Run(suite, func(t *testing.T) { convertAll(t, suite, convertCases[suite]) })
	}
}

func convertAll(t *testing.T, suite string, cases []convertCase) {
	var names []string
	for _, c := range cases {
		names = append(names, c.name)
	}
	root := testroot.Debian(t, suite, "", append(slices.Clone(names), "debsums")...)
	// What is installed is converted, which may be older than what the release has by now.
	var wanted []string
	for _, name := range names {
		wanted = append(wanted, name+"="+strings.TrimSpace(root.Run("dpkg-query", "-Wf", "${Version}", name)))
	}
	debs := root.Fetch(wanted...)
	var converted []string
	for i, deb := range debs {
		converted = append(converted, convertTwice(t, deb, cases[i]))
	}
	repo := root.Repo()
	repo.Add(append(slices.Clone(debs), converted...)...)
	was := everything(t, root, cases)
	t.Run("official", func(t *testing.T) {
		for i, c := range cases {
			if !strings.Contains(was[i], c.say) {
				t.Errorf("%s does not do its work: %s", c.name, was[i])
			}
		}
	})
	verified := func() string {
		out, _ := root.RunErr(t.Context(), "dpkg", "--verify") // what differs it says
		return out
	}
	sums := func() string {
		out, _ := root.RunErr(t.Context(), append([]string{"debsums", "-s"}, names...)...)
		return out
	}
	verifiedBefore, sumsBefore := verified(), sums()
	t.Logf("before: dpkg --verify says %q, and debsums %q", verifiedBefore, sumsBefore)
	step := func(what, suffix string, args ...string) {
		t.Helper()
		out := root.Run(append([]string{"apt-get", "-y", "-q"}, args...)...)
		for i, name := range names {
			version := strings.TrimSpace(root.Run("dpkg-query", "-Wf", "${Version}", name))
			_, want, _ := strings.Cut(wanted[i], "=")
			if cases[i].bound != "" {
				want += suffix
			}
			if version != want {
				t.Errorf("%s: %s is installed in version %s, expected %s\n%s", what, name, version, want, out)
			}
		}
		if diff := cmp.Diff(verifiedBefore, verified()); diff != "" {
			t.Errorf("%s: dpkg --verify (-before +after):\n%s", what, diff)
		}
		if diff := cmp.Diff(sumsBefore, sums()); diff != "" {
			t.Errorf("%s: debsums (-before +after):\n%s", what, diff)
		}
		root.Run("apt-get", "check")
		if audit := root.Run("dpkg", "--audit"); audit != "" {
			t.Errorf("%s: dpkg --audit: %s", what, audit)
		}
		for i, said := range everything(t, root, cases) {
			if diff := cmp.Diff(was[i], said); diff != "" {
				t.Errorf("%s: %s does other things (-official +now):\n%s", what, cases[i].name, diff)
			}
		}
	}
	step("up", "Hashpkg1", "dist-upgrade")
	for _, c := range cases {
		if c.bound == "" {
			continue
		}
		if !strings.HasSuffix(runPathOf(t, root.Path(c.bound)), "/var/sys/current-system/system/lib64") {
			t.Errorf("%s is not edited", c.bound)
		}
	}
	step("back", "", append([]string{"install", "--allow-downgrades"}, wanted...)...)
	step("up again", "Hashpkg1", "dist-upgrade")
	t.Run("lintian", func(t *testing.T) { // which takes the longest
		for i, c := range cases {
			if c.bound == "" {
				continue
			}
			before := strings.Split(hints(t, map[string]string{c.name: debs[i]}), "\n")
			for hint := range strings.SplitSeq(hints(t, map[string]string{c.name: converted[i]}), "\n") {
				if !slices.Contains(before, strings.ReplaceAll(hint, "Hashpkg1", "")) {
					t.Errorf("lintian says %s", hint)
				}
			}
		}
	})
}

// convertTwice converts a package, in two environments, and returns where the result is.
func convertTwice(t *testing.T, deb string, c convertCase) string {
	t.Helper()
	var made [2]string
	for i, env := range [][]string{{"TZ=UTC", "LC_ALL=C"}, {"TZ=Asia/Tokyo", "LC_ALL=C.UTF-8"}} {
		out := t.TempDir()
		cmd := exec.CommandContext(t.Context(), "sh", "-c", []string{"umask 022", "umask 077"}[i]+`; exec "$@"`, "sh", hashpkg(t), "convert", "-o", out, deb)
		cmd.Env = append(os.Environ(), env...)
		begin := time.Now()
		said, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v: %s", c.name, err, said)
		}
		usage := cmd.ProcessState.SysUsage().(*syscall.Rusage)
		found, err := filepath.Glob(out + "/*.deb")
		if err != nil || len(found) != 1 {
			t.Fatalf("%s: %q, %v", c.name, found, err)
		}
		made[i] = found[0]
		t.Logf("%s%.0f s, %d MB at most", said, time.Since(begin).Seconds(), usage.Maxrss>>10)
	}
	if !sameBytes(t, made[0], made[1]) {
		t.Errorf("%s is converted into other bytes the second time", c.name)
	}
	if (c.bound == "") != sameBytes(t, made[0], deb) {
		t.Errorf("%s is copied: %v", c.name, c.bound != "")
	}
	return made[0]
}

// everything has all programs do their work, and returns what each says.
func everything(t *testing.T, root *testroot.Root, cases []convertCase) (said []string) {
	t.Helper()
	for _, c := range cases {
		out, err := root.RunErr(t.Context(), "sh", "-c", "rm -rf /tmp/w; mkdir -m 755 /tmp/w; cd /tmp/w; export HOME=/tmp/w; "+c.work)
		if err != nil {
			out += "\n" + err.Error()
		}
		said = append(said, out)
	}
	return said
}
