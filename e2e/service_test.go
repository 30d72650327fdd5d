//go:build system

package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/hashpkg/hashpkg/internal/archive"
	"github.com/hashpkg/hashpkg/internal/testneed"
)

// underSystemd runs a script in a root whose first process is systemd, which has a cgroup of its own.
// The script asks it by `inside`, which runs a command beside it.
const underSystemd = `
mkdir -p /sys /run && mount -t sysfs sysfs /sys && mount -t cgroup2 cgroup2 /sys/fs/cgroup
group=/sys/fs/cgroup/$GROUP
mkdir "$group" && echo 0 >"$group/cgroup.procs"
unshare --pid --fork --mount --cgroup --mount-proc sh -c '
	umount /sys/fs/cgroup && mount -t cgroup2 cgroup2 /sys/fs/cgroup && mount -t tmpfs -o mode=755 tmpfs /run &&
	exec env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --system --unit=basic.target --log-target=null' </dev/null >/dev/null 2>&1 &
unshare=$!
for i in $(seq 100); do
	first=$(cat /proc/$unshare/task/$unshare/children 2>/dev/null)
	first=${first% }
	[ -n "$first" ] && grep -q systemd "/proc/$first/comm" 2>/dev/null && break
	sleep 0.1
done
inside() { nsenter --target "$first" --mount --pid --cgroup env PATH=/usr/sbin:/usr/bin:/sbin:/bin "$@"; }
for i in $(seq 300); do
	inside systemctl is-active -q basic.target 2>/dev/null && break
	sleep 0.1
done
`

// TestSystemServices has nginx of two releases serve side by side, as services of a systemd that
// runs, under other names, on other ports and with files of their own.
func TestSystemServices(t *testing.T) {
	testneed.Network(t)
	root := newSystem(t, "systemd", "nginx", "curl")
	install := func(names ...string) {
		t.Helper()
		o := archive.Options{Suite: "trixie", Arch: "amd64", Packages: names}
		specs, err := archive.Missing(t.Context(), o, "")
		if err != nil {
			testneed.Unmet(t, err)
		}
		o.Packages = specs
		debs, err := archive.Fetch(t.Context(), o)
		if err != nil {
			testneed.Unmet(t, err)
		}
		for _, deb := range debs {
			root.Install(deb, "/root/debs/"+filepath.Base(deb))
		}
		root.Run("sh", "-c", "hashpkg install -q /root/debs/*.deb && rm -r /root/debs")
	}
	install("nginx")
	if out, err := root.RunErr(t.Context(), "hashpkg", "service", "nginx"); err == nil || !strings.Contains(out, "give another name with --name") {
		t.Errorf("with the name of the system's own: %v: %s", err, out)
	}
	t.Log(root.Run("hashpkg", "service", "nginx", "--name", "nginx-trixie"))
	t.Log(root.ReadFile("/etc/systemd/system/nginx-trixie.service"))
	if out := root.Run("systemd-analyze", "verify", "nginx-trixie.service"); out != "" {
		t.Errorf("systemd-analyze verify says %s", out)
	}
	script := underSystemd + `
sed -i 's/listen \(.*\)80 default/listen \18080 default/' /etc/nginx-trixie/sites-available/default
mkdir /etc/nginx-trixie/sites-enabled && ln -s ../sites-available/default /etc/nginx-trixie/sites-enabled/
inside systemctl daemon-reload
for name in nginx nginx-trixie; do
	inside systemctl start "$name" || { inside systemctl status --no-pager "$name"; inside journalctl --no-pager -n 20; cat /var/log/$name/*; }
done
inside systemctl is-active nginx nginx-trixie
serve() { curl -s -o /dev/null -w '%{http_code} ' -D - "http://localhost:$1/$2" | grep -e '^Server' -e '^HTTP' | tr -d '\r'; }
serve 80 of-the-system
serve 8080 of-the-service
inside systemctl restart nginx-trixie
inside systemctl stop nginx
serve 8080 again
inside systemctl start nginx
serve 80 again
grep -h -o 'GET /[a-z-]*' /var/log/nginx/access.log
echo "its own:"
grep -h -o 'GET /[a-z-]*' /var/log/nginx-trixie/access.log
inside sh -c 'readlink "/proc/$(cat /run/nginx-trixie.pid)/exe" && ls /run/*.pid; ls -d /var/lib/nginx-trixie/*'
inside systemctl show -p ExtensionDirectories --value nginx-trixie | grep -c views
inside systemctl stop nginx nginx-trixie
kill -KILL "$first"
`
	group := fmt.Sprintf("hashpkg-test-%d", os.Getpid())
	t.Cleanup(func() { removeGroup(t, group) })
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := root.PivotCommand(ctx, 0, "/bin/sh", "-c", script)
	cmd.Env = append(cmd.Env, "GROUP="+group)
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatal(err)
	}
	want := regexp.MustCompile(`^active
active
HTTP/1.1 404 Not Found
Server: nginx/1.22.[0-9]+
HTTP/1.1 404 Not Found
Server: nginx
HTTP/1.1 404 Not Found
Server: nginx
HTTP/1.1 404 Not Found
Server: nginx/1.22.[0-9]+
GET /of-the-system
GET /again
its own:
GET /of-the-service
GET /again
/var/sys/nginx/1.26[^/]*/usr/sbin/nginx
/run/nginx-trixie.pid
/run/nginx.pid
/var/lib/nginx-trixie/body
`)
	if !want.Match(out) {
		t.Errorf("it is not what is wanted")
	}
}

// removeGroup removes a cgroup, whose processes have ended.
func removeGroup(t *testing.T, name string) {
	t.Helper()
	script := `mount -t cgroup2 cgroup2 /mnt || exit; for i in $(seq 50); do [ -d "/mnt/$1" ] || exit 0; find "/mnt/$1" -depth -type d -exec rmdir {} + 2>/dev/null; sleep 0.1; done; exit 1`
	if out, err := exec.Command("unshare", "--mount", "sh", "-c", script, "sh", name).CombinedOutput(); err != nil {
		t.Errorf("remove the cgroup: %v: %s", err, out)
	}
}
