package caller

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestCommandLine(t *testing.T) {
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"hashpkg", "use", "jq=1.6-2.1+deb12u2"}, "hashpkg use jq=1.6-2.1+deb12u2"},
		{[]string{"apt", "install", "a b", ""}, "apt install 'a b' ''"},
		{[]string{"apt", "it's"}, `apt 'it'\''s'`},
		{[]string{"apt", "\x1b[31m\nroot\u202egpj\xff"}, `apt '\x1b[31m\x0aroot\u202egpj\xff'`},
		{[]string{"hashpkg", "sources", "add", "https://alice:s3cret@example.org/debian"}, "hashpkg sources add https://***@example.org/debian"},
		{[]string{"hashpkg", "--from=https://alice:s3/cr@t@example.org/debian"}, "hashpkg --from=https://***@example.org/debian"},
		{[]string{"apt", "-oAcquire::http::Proxy=http://a:b@proxy:3128"}, "apt -oAcquire::http::Proxy=http://***@proxy:3128"},
		{[]string{"hashpkg", "install", "https://example.org/a.deb?X-Signature=abc"}, "hashpkg install 'https://example.org/a.deb?***'"},
		{[]string{"dnf", "--setopt=r.password=abc", "--setopt", "proxy_password=abc"}, "dnf --setopt=r.password=*** --setopt proxy_password=***"},
		{[]string{"dnf", "--password", "abc", "upgrade"}, "dnf --password *** upgrade"},
		{[]string{"apt", "install", "passwd", "token-tools"}, "apt install passwd token-tools"},
		{[]string{"hashpkg", "install", "./passwd_4.13_amd64.deb", "./login.deb"}, "hashpkg install ./passwd_4.13_amd64.deb ./login.deb"},
		{nil, ""},
	} {
		if have := CommandLine(tt.args); have != tt.want {
			t.Errorf("%q: %s, want %s", tt.args, have, tt.want)
		}
	}
	long := CommandLine([]string{"apt", strings.Repeat("ä", 400), "x"})
	if len(long) > maxCommand+3 || !strings.HasSuffix(long, "ä...") || !utf8.ValidString(long) {
		t.Errorf("a long line is %q", long)
	}
}

func TestOfProgram(t *testing.T) {
	for _, tt := range []struct {
		program string
		args    []string
		want    string
	}{
		{"apt", []string{"apt", "upgrade"}, "apt upgrade"},
		{"apt-get", []string{"/usr/bin/apt-get", "-y", "upgrade"}, "apt-get -y upgrade"},
		{"dnf", []string{"/usr/bin/python3", "-s", "/usr/bin/dnf", "upgrade"}, "dnf upgrade"},
		{"unattended-upgr", []string{"/usr/bin/python3", "/usr/bin/unattended-upgrade", "-v"}, "unattended-upgrade -v"},
		{"apt", []string{"something", "else"}, "apt else"},
		{"apt", nil, "apt"},
	} {
		if have := strings.Join(OfProgram(tt.program, tt.args), " "); have != tt.want {
			t.Errorf("%s %q: %s, want %s", tt.program, tt.args, have, tt.want)
		}
	}
	if have := Arguments(os.Getpid()); !slices.Equal(have, os.Args) {
		t.Errorf("this process has the arguments %q, and finds %q", os.Args, have)
	}
	if have := Arguments(1 << 30); have != nil {
		t.Errorf("a process that is not there has the arguments %q", have)
	}
}

func TestUser(t *testing.T) {
	proc := t.TempDir()
	if err := os.Mkdir(filepath.Join(proc, "self"), 0o755); err != nil {
		t.Fatal(err)
	}
	const nobody, nameless = "4294967295", "4000000001"
	for _, tt := range []struct {
		login string
		euid  int
		env   string
		want  string
	}{
		{"0", 0, "", "root"},
		{nameless, 0, "SUDO_UID=0", nameless},
		{nobody, 0, "SUDO_UID=" + nameless, nameless},
		{nobody + "\n", 0, "PKEXEC_UID=" + nameless, nameless},
		{nobody, 0, "SUDO_UID=\x1b[2J", "root"},
		{nobody, 0, "DOAS_USER=a\nb", `a\x0ab`},
		{nobody, 4000000001, "SUDO_UID=0", nameless},
		{"65534", 0, "", "root"},
		{"", 0, "", "root"},
	} {
		if err := os.WriteFile(filepath.Join(proc, "self/loginuid"), []byte(tt.login), 0o644); err != nil {
			t.Fatal(err)
		}
		have := userOf(proc, tt.euid, func(key string) string {
			value, _ := strings.CutPrefix(tt.env, key+"=")
			if value == tt.env {
				return ""
			}
			return value
		})
		if have != tt.want {
			t.Errorf("%+v: %q", tt, have)
		}
	}
}
