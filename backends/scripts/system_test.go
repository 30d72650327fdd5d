//go:build system

package scripts_test

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/hashpkg/hashpkg/backends/deb"
	"github.com/hashpkg/hashpkg/backends/scripts"
	"github.com/hashpkg/hashpkg/internal/testroot"
	"github.com/hashpkg/hashpkg/pkginfo"
)

// alternativePackages register alternatives, and those that are not named need them.
var alternativePackages = map[string][]string{
	"bookworm": {
		"adwaita-icon-theme", "automake", "bison", "bsd-mailx", "byacc", "cpp", "desktop-base", "dmz-cursor-theme", "ed", "emacs-nox", "fakeroot", "fp-compiler",
		"ftp", "g++", "gawk", "gcc", "gnuplot-nox", "imagemagick-6.q16", "info", "iptables", "jed", "joe", "less", "libblas3", "libopenblas0-pthread",
		"liblapack3", "links", "lynx", "mawk", "mg", "mksh", "most", "mpich", "nano", "ncftp", "ne", "netcat-openbsd", "netcat-traditional", "nodejs", "nvi", "openjdk-17-jre-headless", "openmpi-bin",
		"original-awk", "parallel", "php8.2-cli", "pinentry-curses", "pinentry-tty", "pinfo", "python3-pygments", "rlwrap", "rsh-redone-client", "rxvt-unicode", "screen",
		"stterm", "telnet", "texinfo", "tcl8.6", "tightvncserver", "tk8.6", "tnftp", "unrar-free", "vim", "vim-tiny", "w3m", "xterm", "xz-utils", "zile", "mtr-tiny", "traceroute", "inetutils-traceroute",
	},
	"trixie": {
		"adwaita-icon-theme", "automake", "bison", "bsd-mailx", "byacc", "cpp", "desktop-base", "dmz-cursor-theme", "ed", "emacs-nox", "fakeroot",
		"g++", "gawk", "gcc", "gnuplot-nox", "imagemagick-7.q16", "info", "iptables", "jed", "joe", "less", "libblas3", "libopenblas0-pthread",
		"liblapack3", "links", "lynx", "mawk", "mg", "mksh", "most", "mpich", "nano", "ncftp", "ne", "netcat-openbsd", "netcat-traditional", "nodejs", "nvi", "openjdk-21-jre-headless", "openmpi-bin",
		"original-awk", "parallel", "php8.4-cli", "pinentry-curses", "pinentry-tty", "pinfo", "rlwrap", "rxvt-unicode",
		"stterm", "inetutils-telnet", "texinfo", "tcl8.6", "tk8.6", "tnftp", "vim", "vim-tiny", "w3m", "xterm", "xz-utils", "zile", "mtr-tiny", "traceroute", "inetutils-traceroute",
	},
}

// others are alternatives that programs and functions of other packages register when
// the package's own script calls them, by name and path. They cannot be read.
var others = map[string]bool{
	"my.cnf /etc/mysql/mariadb.cnf":                                     true,
	"psql.1.gz /usr/share/postgresql/15/man/man1/psql.1.gz":             true,
	"postmaster.1.gz /usr/share/postgresql/15/man/man1/postmaster.1.gz": true,
}

// TestSystemAlternatives compares what is read of the scripts of all packages of a
// system with what dpkg's update-alternatives has on record after they have run.
func TestSystemAlternatives(t *testing.T) {
	for suite, packages := range alternativePackages {
		t.Run(suite, func(t *testing.T) { judge(t, testroot.Debian(t, suite, "", packages...)) })
	}
}

func TestSystemAlternativesLarge(t *testing.T) {
	judge(t, testroot.Debian(t, "bookworm", "amd64", testroot.LargePackages...))
}

func judge(t *testing.T, root *testroot.Root) {
	registered := query(t, root)
	owners := map[string]string{}
	var read, wrong, packages int
	var unread []string
	users := map[string]string{}
	for line := range strings.Lines(root.Run("dpkg-query", "-W", "-f", "${binary:Package} ${Package} ${Version} ${Architecture}\n")) {
		f := strings.Fields(line)
		p := &pkginfo.Package{Name: f[1], Version: f[2], Architecture: f[3]}
		key := "/var/lib/dpkg/info/" + f[0]
		for _, s := range []pkginfo.Script{{Name: "preinst", Arguments: []string{"install"}}, {Name: "postinst", Arguments: []string{"configure", ""}}} {
			body, err := os.ReadFile(root.Path(key + "." + s.Name))
			if err == nil {
				s.Body = string(body)
				p.Scripts = append(p.Scripts, s)
			}
		}
		if len(p.Scripts) == 0 {
			continue
		}
		files := filesOf(t, root, root.ReadFile(key+".list"))
		for name := range files {
			owners[name] = p.Name
		}
		sysusers := map[string]string{}
		for name := range files {
			if path.Dir(name) == "/usr/lib/sysusers.d" && files[name].IsRegular() {
				sysusers[path.Base(name)] = root.ReadFile(name)
			}
		}
		e := scripts.Read(scripts.Context{Package: p, Triplet: "x86_64-linux-gnu", Files: files, Sysusers: sysusers, Compare: deb.Format{}.Order().Compare})
		if len(e.Alternatives) > 0 {
			packages++
		}
		for _, a := range e.Alternatives {
			read++
			have, ok := registered[a.Name+" "+a.Path]
			if !ok {
				wrong++
				t.Errorf("%s: %+v is read, and not registered", p.Name, a)
				continue
			}
			delete(registered, a.Name+" "+a.Path)
			if want := shown(have); shown(a) != want && !others[a.Name+" "+a.Path] {
				wrong++
				t.Errorf("%s: -registered +read:\n- %s\n+ %s", p.Name, want, shown(a))
			}
		}
		for _, u := range e.Unread {
			unread = append(unread, p.Name+", "+u)
		}
		for _, u := range e.Made.Users {
			users[u] = p.Name
		}
		for _, d := range e.Made.Directories {
			if _, err := os.Lstat(root.Path(d.Path)); err != nil {
				t.Logf("%s: %s is not there", p.Name, d.Path)
			}
		}
	}
	for key, a := range registered {
		if others[key] {
			t.Logf("%s (of %s) is registered by another package's program", key, owners[a.Path])
			continue
		}
		t.Errorf("%s (of %s) is registered, and not read: %s", key, owners[a.Path], shown(a))
	}
	base := strings.Fields("root daemon bin sys sync games man lp mail news uucp proxy www-data backup list irc _apt nobody gnats")
	var missing, extra []string
	for line := range strings.Lines(root.ReadFile("/etc/passwd")) {
		name, _, _ := strings.Cut(line, ":")
		if _, ok := users[name]; !ok && !slices.Contains(base, name) {
			missing = append(missing, name)
		}
		delete(users, name)
	}
	for name, by := range users {
		extra = append(extra, name+" of "+by)
	}
	for _, u := range unread {
		t.Logf("unread: %.150s", u)
	}
	t.Logf("%d packages register %d alternatives, %d of them were read wrong; users that were not read: %v; read and not there: %v", packages, read, wrong, missing, extra)
	if packages < 30 {
		t.Errorf("%d packages are too few to say anything", packages)
	}
}

func shown(a pkginfo.Alternative) string {
	text := fmt.Sprintf("%s %s %s %d", a.Name, a.Link, a.Path, a.Priority)
	slices.SortFunc(a.Slaves, func(a, b pkginfo.Slave) int { return strings.Compare(a.Name, b.Name) })
	for _, s := range a.Slaves {
		text += fmt.Sprintf("; %s %s %s", s.Name, s.Link, s.Path)
	}
	return text
}

// filesOf returns the files of a list of dpkg's as they stand in the root.
func filesOf(t *testing.T, root *testroot.Root, list string) map[string]fs.FileMode {
	files := map[string]fs.FileMode{}
	for name := range strings.Lines(list) {
		name = strings.TrimSuffix(name, "\n")
		full := filepath.Join(root.Path(filepath.Dir(name)), filepath.Base(name))
		info, err := os.Lstat(full)
		if err != nil {
			continue // such as a manual page that was left out
		}
		mode := info.Mode()
		if mode&fs.ModeSymlink != 0 {
			mode = fs.ModeSymlink
			if to, err := os.Stat(root.Path(name)); err == nil {
				mode |= to.Mode()
			}
		}
		for _, top := range []string{"/bin/", "/sbin/", "/lib/", "/lib64/"} {
			if strings.HasPrefix(name, top) {
				name = "/usr" + name
			}
		}
		files[name] = mode
	}
	return files
}

// query returns what update-alternatives --query prints of all names, by name and path.
func query(t *testing.T, root *testroot.Root) map[string]pkginfo.Alternative {
	all := map[string]pkginfo.Alternative{}
	merged := func(p string) string {
		for _, top := range []string{"/bin/", "/sbin/", "/lib/"} {
			if strings.HasPrefix(p, top) {
				return "/usr" + p
			}
		}
		return p
	}
	for line := range strings.Lines(root.Run("update-alternatives", "--get-selections")) {
		name := strings.Fields(line)[0]
		var link string
		links := map[string]string{}
		var a *pkginfo.Alternative
		inSlaves := false
		for line := range strings.Lines(root.Run("update-alternatives", "--query", name)) {
			line = strings.TrimSuffix(line, "\n")
			if strings.HasPrefix(line, " ") && inSlaves {
				slave, path, _ := strings.Cut(strings.TrimSpace(line), " ")
				if a == nil {
					links[slave] = merged(path)
				} else {
					a.Slaves = append(a.Slaves, pkginfo.Slave{Name: slave, Link: links[slave], Path: merged(path)})
					all[a.Name+" "+a.Path] = *a
				}
				continue
			}
			field, value, _ := strings.Cut(line, ":")
			value = strings.TrimSpace(value)
			inSlaves = field == "Slaves"
			switch field {
			case "Link":
				link = merged(value)
			case "Alternative":
				a = &pkginfo.Alternative{Name: name, Link: link, Path: merged(value)}
			case "Priority":
				n, err := strconv.Atoi(value)
				if err != nil {
					t.Fatal(err)
				}
				a.Priority = n
				all[a.Name+" "+a.Path] = *a
			}
		}
	}
	return all
}
