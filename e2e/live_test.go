//go:build system

package e2e

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashpkg/hashpkg/internal/archive"
	"github.com/hashpkg/hashpkg/internal/testneed"
)

// liveScript has shells and daemons of two users see a view, upgrades the C library under
// them, and asks them before and afterwards.
const liveScript = `
cd /tmp
as_root() { "$@"; }
as_user() { setpriv --reuid 1000 --regid 1000 --clear-groups "$@"; }
for who in root user; do
	mkfifo "shell.$who.in" "daemon.$who.in"
	chmod 666 "shell.$who.in" "daemon.$who.in"
	as_$who hashpkg enter python3 -- sh -c 'while read -r line; do eval "$line" </dev/null; echo "== $?"; done' <>"shell.$who.in" >"shell.$who.out" 2>&1 &
	as_$who env -i PATH=/usr/bin:/bin HOME=/tmp python3=/var/sys/current-system/bin/python3 sh -c 'exec "$python3" -u -c "
import subprocess, sys
for line in sys.stdin:
    r = subprocess.run(line, shell=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    import wsgiref.handlers
    sys.stdout.write(r.stdout.decode() + \"== %d\\n\" % r.returncode)
"' <>"daemon.$who.in" >"daemon.$who.out" 2>&1 &
done
ask() {
	for what in shell daemon; do
		for who in root user; do
			before=$(wc -c <"$what.$who.out")
			echo "$1" >"$what.$who.in"
			for i in $(seq 100); do
				tail -c +$((before + 1)) "$what.$who.out" | grep -q '^== ' && break
				sleep 0.1
			done
			tail -c +$((before + 1)) "$what.$who.out" | sed "s/^/$what $who: /"
		done
	done
}
libc=/usr/lib/x86_64-linux-gnu/libc.so.6
question="sha256sum <$libc; $libc | grep -o 'release version 2.[0-9]*'; ls -d /usr/lib/python3.13; ls -d /usr/share/common-licenses"
ask "$question"
echo "upgrade"
apt-get -y -q install libc6=2.41* libc-bin=2.41* 2>&1 | grep -e hashpkg -e '^Setting up libc6' || true
echo "host: $(sha256sum <$libc)"
ask "$question"
ask "sleep 0.1 & wait; id -u; awk 'BEGIN { print 6*7 }'"
`

// TestSystemLiveViews upgrades the C library of a system while programs run in views, as
// apt does it: what they start then runs on the new one.
func TestSystemLiveViews(t *testing.T) {
	testneed.Network(t)
	root := newSystem(t)
	fetch := func(status string, names ...string) []string {
		t.Helper()
		o := archive.Options{Suite: "trixie", Arch: "amd64", Packages: names}
		specs, err := archive.Missing(t.Context(), o, status)
		if err != nil {
			testneed.Unmet(t, err)
		}
		o.Packages = specs
		debs, err := archive.Fetch(t.Context(), o)
		if err != nil {
			testneed.Unmet(t, err)
		}
		return debs
	}
	for _, deb := range fetch("", "python3") {
		root.Install(deb, "/root/debs/"+filepath.Base(deb))
	}
	root.Run("sh", "-c", "hashpkg install -q /root/debs/*.deb")
	root.Run("hashpkg", "hooks", "install")
	root.Run("hashpkg", "sync")
	root.Repo().Add(fetch(root.Path("/var/lib/dpkg/status"), "libc6", "libc-bin")...)
	cmd := root.PivotCommand(t.Context(), 0, "/bin/sh", "-c", liveScript)
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatal(err)
	}
	before, after, _ := strings.Cut(string(out), "upgrade\n")
	_, rest, _ := strings.Cut(after, "host: ")
	sum, after, _ := strings.Cut(rest, "\n")
	for _, who := range []string{"shell root", "shell user", "daemon root", "daemon user"} {
		answers := func(text string, want ...string) {
			t.Helper()
			var is bytes.Buffer
			for line := range strings.Lines(text) {
				if answer, ok := strings.CutPrefix(line, who+": "); ok {
					is.WriteString(answer)
				}
			}
			if s := strings.Join(want, "\n") + "\n"; is.String() != s {
				t.Errorf("%s answers\n%swant\n%s", who, is.String(), s)
			}
		}
		first, _, _ := strings.Cut(strings.TrimPrefix(before[strings.Index(before, who):], who+": "), "\n")
		if first == sum {
			t.Errorf("the C library has not changed: %s", first)
		}
		answers(before, first, "release version 2.36", "/usr/lib/python3.13", "/usr/share/common-licenses", "== 0")
		id := map[bool]string{true: "0", false: "1000"}[strings.HasSuffix(who, "root")]
		answers(after, sum, "release version 2.41", "/usr/lib/python3.13", "/usr/share/common-licenses", "== 0", id, "42", "== 0")
	}
	if strings.Contains(after, "start it again") {
		t.Error("it says that something is to be started again")
	}
}
