package service

import (
	"strings"
	"testing"
)

const nginx = `# A comment
[Unit]
Description=A web server
Documentation=man:nginx(8)
After=network-online.target
ConditionFileIsExecutable=|!/usr/sbin/nginx
ConditionPathExists=/etc/x
[Service]
Type=forking
PIDFile=/run/nginx.pid
ExecStartPre=/usr/sbin/nginx -t -q \
# in between
   -g 'daemon on;'
ExecStart=-!/sbin/nginx -g 'pid /run/nginx.pid;'
ExecStop=-/sbin/start-stop-daemon --stop --pidfile /run/nginx.pid
ExecReload=kill -HUP $MAINPID
RuntimeDirectory=nginx/inner extra
TimeoutStopSec=5
[Install]
WantedBy=multi-user.target
Alias=web.service
`

// inTree has the programs of nginx in a tree.
func inTree(name string) string {
	if strings.HasSuffix(name, "/nginx") {
		return "/var/sys/nginx/1%3a2/usr/sbin/nginx"
	}
	return name
}

func TestUnit(t *testing.T) {
	dirs := []directory{{"/etc", "nginx"}, {"/var/lib", "nginx"}, {"/var/log", "nginx"}, {"/var/log", "other"}}
	for _, test := range []struct {
		name string
		u    unit
		want string
	}{
		{"the package's own name", unit{name: "nginx", of: "nginx", spec: "nginx=1:2", text: nginx, dirs: dirs[1:2], view: "/var/sys/.hashpkg/views/x"}, `
[Unit]
Description=A web server (nginx=1:2)
After=network-online.target
ConditionFileIsExecutable=|!/var/sys/nginx/1%%3a2/usr/sbin/nginx
ConditionPathExists=/etc/x

[Service]
Type=forking
PIDFile=/run/nginx.pid
ExecStartPre=/var/sys/nginx/1%%3a2/usr/sbin/nginx -t -q     -g 'daemon on;'
ExecStart=-!/var/sys/nginx/1%%3a2/usr/sbin/nginx -g 'pid /run/nginx.pid;'
ExecStop=-/sbin/start-stop-daemon --stop --pidfile /run/nginx.pid
ExecReload=kill -HUP $MAINPID
TimeoutStopSec=5
ExtensionDirectories=/var/sys/.hashpkg/views/x
StateDirectory=nginx
RuntimeDirectory=nginx extra

[Install]
WantedBy=multi-user.target
`},
		{"another name", unit{name: "new", of: "nginx", spec: "nginx=1:2", text: nginx, dirs: dirs, over: [][2]string{{"/v/over/a/1%3a2", "/var/sys/a/1%3a2/usr"}}}, `
[Unit]
Description=A web server (nginx=1:2)
After=network-online.target
ConditionFileIsExecutable=|!/var/sys/nginx/1%%3a2/usr/sbin/nginx
ConditionPathExists=/etc/x

[Service]
Type=forking
PIDFile=/run/new.pid
ExecStartPre=/var/sys/nginx/1%%3a2/usr/sbin/nginx -t -q     -g 'daemon on;'
ExecStart=-!/var/sys/nginx/1%%3a2/usr/sbin/nginx -g 'pid /run/new.pid;'
ExecStop=-/sbin/start-stop-daemon --stop --pidfile /run/new.pid
ExecReload=kill -HUP $MAINPID
TimeoutStopSec=5
BindReadOnlyPaths=/v/over/a/1%%3a2:/var/sys/a/1%%3a2/usr
ConfigurationDirectory=new
BindPaths=/etc/new:/etc/nginx
StateDirectory=new
BindPaths=/var/lib/new:/var/lib/nginx
LogsDirectory=new new-other
BindPaths=/var/log/new:/var/log/nginx
BindPaths=/var/log/new-other:/var/log/other
RuntimeDirectory=new new-extra
BindPaths=/run/new:/run/nginx
BindPaths=/run/new-extra:/run/extra

[Install]
WantedBy=multi-user.target
`},
		{"a command", unit{name: "pg", of: "postgresql-17", spec: "postgresql-17=17", command: "/x -D /y", user: "postgres"}, `
[Unit]
Description=postgresql-17 (postgresql-17=17)
After=network.target

[Service]
ExecStart=/x -D /y
User=postgres

[Install]
WantedBy=multi-user.target
`},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.u.program = inTree
			_, text, _ := strings.Cut(test.u.String(), "conf.\n")
			if text != test.want {
				t.Errorf("the unit is\n%s\nwant\n%s", text, test.want)
			}
		})
	}
}

// FuzzParse: whatever a package's unit is, that of a service has no other settings.
func FuzzParse(f *testing.F) {
	f.Add(nginx)
	f.Add("[Service]\nExecStart=\\\n\\\n")
	f.Fuzz(func(t *testing.T, text string) {
		u := unit{name: "a", of: "b", spec: "c", text: text, program: inTree}
		first := u.String()
		for _, s := range parse(first) {
			for _, set := range s.settings {
				if set[0] == "Alias" && s.name == "Install" {
					t.Errorf("%q has %v", first, set)
				}
			}
		}
	})
}
