// Package configure has packages configured in a box, by dpkg or as rpm would, which runs their
// scripts, and says which files came of it.
//
// [Run] shows a root of its own to the root's dpkg: the files of the packages over the root's
// /usr, an /etc with a few users and the packages' own files, and a /var with a database in
// which the packages are unpacked and nothing else is installed. The scripts run as root of a
// user namespace, without a network: see [sandbox.Box.Writes]. What they change is in memory,
// and [Run] returns what of it belongs to a view or to /etc. [RunInOrder] is for packages of rpm.
package configure

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os/exec"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/internal/beneath"
	"github.com/hashpkg/hashpkg/internal/sandbox"
)

// Package is a package that is to be configured.
type Package struct {
	Name string
	// Control are the files of its control archive, by their names: "control", "postinst". Of an rpm
	// they are scripts with a first line that names what runs them: "post", "posttrans".
	Control map[string][]byte
	// Files are all that it has. Those in /etc and /var come with their contents; of others
	// only the paths count, for they stand in the box's Usr.
	Files []File
}

// File is a file of a package, or one that came of configuring.
type File struct {
	Path   string      // relative to the root: "etc/fpc.cfg"
	Mode   fs.FileMode // type and permissions: a file, fs.ModeDir or fs.ModeSymlink
	UID    int
	GID    int
	Bytes  []byte
	Target string // of a link
}

// maxBytes is how many bytes the files may have that come of configuring.
const maxBytes = 256 << 20

// Run configures packages in a box, and returns the files that are new or have other
// contents, sorted by path. box has what is shown in /usr, and links and directories beside it, but not /etc and
// /var. work is an empty directory, which the caller removes. choices are links of
// /etc/alternatives, by which the root's own programs are found. The error wraps a [*sandbox.Error]
// where a script fails or cannot be run here, and is an [*Error] where it is known whose.
func Run(ctx context.Context, box sandbox.Box, work *beneath.Dir, packages []Package, choices []File) (files []File, err error) {
	database, err := databaseOf(packages)
	if err != nil {
		return nil, fmt.Errorf("make a root to configure in: %w", err)
	}
	// What the root itself has installed is not in the database.
	box.Args = []string{"/usr/bin/dpkg", "--force-depends", "--configure", "-a"}
	return run(ctx, box, work, slices.Concat(choices, database, payload(packages)), explainDpkg)
}

// RunInOrder is Run for packages of rpm, each of which comes behind those that it needs: the
// scripts that run after an installation, and then those that run after all installations, by the
// programs that they name. No triggers are run.
func RunInOrder(ctx context.Context, box sandbox.Box, work *beneath.Dir, packages []Package, choices []File) (files []File, err error) {
	const dir = scriptsDir + "/scripts/"
	failed := "hashpkg " + rand.Text() + ": error processing package " // which no script prints
	scripts := []File{}
	order := "#!/bin/sh\nrun() {\n\t\"$2\" 1 </dev/null && return\n\techo \"" + failed + "$1\" >&2\n\texit 1\n}\n"
	for _, when := range []string{"post", "posttrans"} {
		for i := range packages {
			p := &packages[i]
			body := p.Control[when]
			if body == nil {
				continue
			}
			if strings.ContainsAny(p.Name, "/'\x00\n") {
				return nil, fmt.Errorf("make a root to configure in: %q is no name of a package", p.Name)
			}
			if bytes.HasPrefix(body, []byte("#!<")) {
				return nil, &Error{p.Name, "it is written for rpm's own interpreter", ErrInterpreter}
			}
			name := fmt.Sprintf("%s%d-%s.%s", dir, i, p.Name, when) // several architectures have one name
			scripts = append(scripts, File{Path: name, Mode: 0o755, Bytes: body})
			order += fmt.Sprintf("run '%s' '/%s'\n", p.Name, name)
		}
	}
	scripts = append(scripts, File{Path: dir + "all", Mode: 0o755, Bytes: []byte(order)})
	box.Args = []string{"/bin/sh", "/" + dir + "all"}
	explain := func(lines []string) *Error { return explainLine(lines, failed) }
	files, err = run(ctx, box, work, slices.Concat(choices, scripts, payload(packages)), explain)
	for i := range files { // users of other distributions have other numbers
		files[i].UID, files[i].GID = 0, 0
	}
	return files, err
}

// scriptsDir has the scripts of rpms in a box.
const scriptsDir = "var/lib/hashpkg"

// ErrInterpreter says that a script is in a language that only rpm interprets.
var ErrInterpreter = errors.New("only rpm itself runs it")

// run runs the program of a box that is shown files, and returns what has come of it. explain says,
// from the lines that it has printed, whose script has failed; nil where that is not known.
func run(ctx context.Context, box sandbox.Box, work *beneath.Dir, shown []File, explain func(lines []string) *Error) (files []File, err error) {
	if err := fill(work, shown); err != nil {
		return nil, fmt.Errorf("make a root to configure in: %w", err)
	}
	lower := map[string][]*beneath.Dir{"usr": box.Usr}
	for _, name := range []string{"usr", "etc", "var"} {
		dir, err := work.OpenDir(name)
		if err != nil {
			return nil, fmt.Errorf("make a root to configure in: %w", err)
		}
		defer dir.Close()
		lower[name] = append([]*beneath.Dir{dir}, lower[name]...)
	}
	box.Usr = lower["usr"]
	box.Dirs = maps.Clone(box.Dirs)
	if box.Dirs == nil {
		box.Dirs = map[string]*beneath.Dir{}
	}
	box.Dirs["/etc"], box.Dirs["/var"] = lower["etc"][0], lower["var"][0]
	box.Out, box.Writes = "/.changes", []string{"/usr", "/etc", "/var"}
	box.Env = []string{
		"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/tmp", "LC_ALL=C.UTF-8", "TZ=UTC0", "SOURCE_DATE_EPOCH=1", "FORCE_SOURCE_DATE=1",
		"DEBIAN_FRONTEND=noninteractive", "DEBCONF_NONINTERACTIVE_SEEN=true", "DEBCONF_SYSTEMRC=/usr/share/debconf/debconf.conf",
	}
	out, err := box.Run(ctx)
	if err != nil {
		var fault *sandbox.Error
		var exit *exec.ExitError
		if errors.As(err, &fault) && errors.As(err, &exit) { // else it is ended, or cannot be run
			if e := explain(fault.Lines); e != nil {
				e.Err = err
				err = e
			}
		}
		return nil, err
	}
	defer func() { err = errors.Join(err, out.Dir.Close()) }()
	return harvest(out.Dir, lower)
}

// Error says that a script of a package has failed.
type Error struct {
	Package string
	Said    string // the last line that was printed before it did, if any
	Err     error
}

func (e *Error) Error() string {
	if e.Said == "" {
		return fmt.Sprintf("the script that configures %s fails", e.Package)
	}
	return fmt.Sprintf("the script that configures %s fails: %s", e.Package, e.Said)
}

// Unwrap returns what running it came to.
func (e *Error) Unwrap() error { return e.Err }

// explainDpkg finds the first package that dpkg could not configure.
func explainDpkg(lines []string) *Error {
	if e := explainLine(lines, "dpkg: error processing package "); e != nil {
		return e
	}
	// Where much was said since, there are the names that dpkg ends with.
	i := slices.Index(lines, "Errors were encountered while processing:")
	if i >= 0 && i+1 < len(lines) {
		return &Error{Package: packageIn(lines[i+1])}
	}
	return nil
}

// explainLine finds the first package that a line names behind prefix; nil for none.
func explainLine(lines []string, prefix string) *Error {
	for i, line := range lines {
		name, found := strings.CutPrefix(line, prefix)
		if !found {
			continue
		}
		before := slices.Clone(lines[:i])
		slices.Reverse(before)
		e := &Error{Package: packageIn(name)}
		// What the script has said stands before; what dpkg says of a silent one, after.
		for _, said := range slices.Concat(before, lines[i+1:]) {
			if e.Said == "" {
				e.Said = strings.TrimSpace(said)
			}
		}
		return e
	}
	return nil
}

// packageIn returns a package's name from how dpkg names it: " lib:amd64 (--configure):".
func packageIn(text string) string {
	name, _, _ := strings.Cut(strings.TrimSpace(text), " ")
	name, _, _ = strings.Cut(name, ":")
	return name
}

// users and groups are the first of those that every Debian system has.
const (
	users  = "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\nbin:x:2:2:bin:/bin:/usr/sbin/nologin\nsys:x:3:3:sys:/dev:/usr/sbin/nologin\nman:x:6:12:man:/var/cache/man:/usr/sbin/nologin\nmail:x:8:8:mail:/var/mail:/usr/sbin/nologin\nwww-data:x:33:33:www-data:/var/www:/usr/sbin/nologin\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
	groups = "root:x:0:\ndaemon:x:1:\nbin:x:2:\nsys:x:3:\nadm:x:4:\ntty:x:5:\ndisk:x:6:\nmail:x:8:\nman:x:12:\nwww-data:x:33:\nutmp:x:43:\nshadow:x:42:\nstaff:x:50:\ngames:x:60:\nusers:x:100:\nnogroup:x:65534:\n"
)

// permit is a configuration of PAM by which everybody may do everything.
const permit = "auth required pam_permit.so\naccount required pam_permit.so\npassword required pam_permit.so\nsession required pam_permit.so\n"

// fill makes the directories usr, etc and var that packages are configured in.
func fill(work *beneath.Dir, shown []File) error {
	files := append([]File{
		{Path: "usr/sbin/policy-rc.d", Mode: 0o755, Bytes: []byte("#!/bin/sh\nexit 101\n")}, // no service is started
		{Path: "etc/passwd", Mode: 0o644, Bytes: []byte(users)},
		{Path: "etc/group", Mode: 0o644, Bytes: []byte(groups)},
		{Path: "etc/pam.d/other", Mode: 0o644, Bytes: []byte(permit)}, // for those who make users
	}, shown...)
	for _, dir := range []string{"var/cache", "var/log", "var/tmp"} {
		files = append(files, File{Path: dir, Mode: fs.ModeDir | 0o755})
	}
	for i := range files {
		if err := put(work, &files[i]); err != nil {
			return err
		}
	}
	return nil
}

// payload returns the files of packages that are shown beside those in the box's Usr.
func payload(packages []Package) (files []File) {
	for i := range packages {
		for _, f := range packages[i].Files {
			if strings.HasPrefix(f.Path, "etc/") || strings.HasPrefix(f.Path, "var/") {
				files = append(files, f)
			}
		}
	}
	return files
}

// databaseOf returns a database of dpkg in which packages are unpacked.
func databaseOf(packages []Package) (files []File, err error) {
	files = []File{{Path: "var/lib/dpkg/info/format", Mode: 0o644, Bytes: []byte("1\n")}}
	for _, dir := range []string{"var/lib/dpkg/updates", "var/lib/dpkg/triggers", "var/lib/dpkg/alternatives"} {
		files = append(files, File{Path: dir, Mode: fs.ModeDir | 0o755})
	}
	var status bytes.Buffer
	for i := range packages {
		p := &packages[i]
		name, stanza, err := unpacked(p.Control["control"])
		if err != nil {
			return nil, err
		}
		status.Write(stanza)
		for _, member := range slices.Sorted(maps.Keys(p.Control)) {
			if member != "control" {
				files = append(files, File{Path: "var/lib/dpkg/info/" + name + "." + path.Base(member), Mode: 0o755, Bytes: p.Control[member]})
			}
		}
		list := "/.\n"
		for _, f := range p.Files {
			list += "/" + f.Path + "\n"
		}
		files = append(files, File{Path: "var/lib/dpkg/info/" + name + ".list", Mode: 0o644, Bytes: []byte(list)})
	}
	return append(files, File{Path: "var/lib/dpkg/status", Mode: 0o644, Bytes: status.Bytes()}), nil
}

// put makes a file. Where there is one already, it stays: it is a directory, or the first
// package's.
func put(work *beneath.Dir, f *File) error {
	if err := work.MkdirAll(path.Dir(f.Path), 0o755); err != nil {
		return err
	}
	var err error
	switch _, lerr := work.Lstat(f.Path); {
	case lerr == nil:
		return nil
	case f.Mode.IsDir():
		err = work.MkdirAll(f.Path, f.Mode.Perm())
	case f.Mode&fs.ModeSymlink != 0:
		return work.Symlink(f.Target, f.Path)
	default:
		err = work.WriteFile(f.Path, f.Bytes, f.Mode.Perm())
	}
	if err == nil {
		err = work.Chmod(f.Path, uint32(f.Mode.Perm()))
	}
	if err == nil && (f.UID != 0 || f.GID != 0) {
		err = work.Chown(f.Path, f.UID, f.GID)
	}
	return err
}

// unpacked returns the name that dpkg's database has files of a package by, and its entry in
// the list of packages, from its control file.
func unpacked(control []byte) (name string, stanza []byte, err error) {
	fields := map[string]string{}
	var b bytes.Buffer
	for line := range strings.Lines(strings.TrimSpace(string(control)) + "\n") {
		if strings.TrimSpace(line) == "" {
			return "", nil, errors.New("a control file has two paragraphs")
		}
		key, value, found := strings.Cut(line, ":")
		if found && !strings.HasPrefix(key, " ") && !strings.HasPrefix(key, "\t") {
			fields[strings.ToLower(key)] = strings.TrimSpace(value)
		}
		b.WriteString(line)
	}
	name = fields["package"]
	if name == "" || strings.ContainsAny(name, "/\x00") {
		return "", nil, fmt.Errorf("a control file has no name of a package: %q", name)
	}
	if strings.EqualFold(fields["multi-arch"], "same") {
		name += ":" + path.Base(fields["architecture"])
	}
	b.WriteString("Status: install ok unpacked\n\n")
	return name, b.Bytes(), nil
}

// left are paths, in the form of [path.Match], whose files, and all below them, are not kept:
// who may log in, what every program loads, what other programs start or read than those of
// the packages, databases of the package manager, and what was put there for the box.
var left = []string{
	"etc/.pwd.lock", "etc/group*", "etc/gshadow*", "etc/pam*", "etc/passwd*", "etc/polkit-1", "etc/security", "etc/shadow*", "etc/shells", "etc/ssh", "etc/subgid*", "etc/subuid*", "etc/sudoers*",
	"etc/ld.so*", "etc/machine-id", "etc/host*", "etc/nsswitch.conf", "etc/resolv.conf", "etc/mtab", "etc/fstab", "etc/crypttab", "etc/exports*", "etc/kernel", "etc/modprobe.d", "etc/modules*", "etc/network", "etc/sysctl*", "etc/udev",
	"etc/X11", "etc/apparmor*", "etc/apt", "etc/anacrontab", "etc/at.*", "etc/cron*", "etc/dbus-1", "etc/default", "etc/inetd.conf", "etc/init*", "etc/logrotate.d", "etc/rc*", "etc/systemd", "etc/tmpfiles.d",
	"etc/dnf", "etc/dpkg", "etc/hashpkg*", "etc/rpm", "etc/selinux", "etc/yum*", "etc/zypp",
	"etc/bash*", "etc/csh*", "etc/environment", "etc/profile*", "etc/skel", "etc/zsh*",
	"etc/localtime", "etc/timezone", "etc/alternatives", "usr/sbin/policy-rc.d", "var/lib/AccountsService", "var/lib/apt", "var/lib/dpkg", scriptsDir, "var/lib/pam", "var/lib/polkit-1", "var/lib/rpm", "var/lib/sudo", "var/lib/systemd", "var/lib/ucf",
}

// IsLeft reports whether a file is not kept because of its path, relative to the root, or that of
// a directory that it is in.
func IsLeft(at string) bool {
	if rest, below := strings.CutPrefix(at, "var/"); below && rest != "lib" && !strings.HasPrefix(rest, "lib/") {
		return true // of this machine
	}
	if dir := path.Dir(at); dir != "." && IsLeft(dir) {
		return true
	}
	return path.Base(at) == "__pycache__" || path.Ext(at) == ".log" || slices.ContainsFunc(left, func(pattern string) bool {
		matches, _ := path.Match(pattern, at) // they are well-formed
		return matches
	})
}

// harvest returns what of the changes in a directory is kept. lower has what was shown before,
// by the names in it.
func harvest(changes *beneath.Dir, lower map[string][]*beneath.Dir) ([]File, error) {
	files := []File{}
	size := int64(maxBytes)
	for _, top := range []string{"etc", "usr", "var"} {
		err := changes.Walk(top, func(at string, dir *beneath.Dir, base string, kind fs.FileMode) error {
			if IsLeft(at) {
				return skip(kind)
			}
			st, err := dir.Lstat(base)
			if err != nil {
				return err
			}
			if st.Uid >= 100 { // what scripts give to a user whom they have made is what a service starts from
				return skip(kind)
			}
			f := File{Path: at, Mode: kind | fs.FileMode(st.Mode&0o777)}
			if st.Gid < 100 { // which are the same everywhere
				f.UID, f.GID = int(st.Uid), int(st.Gid)
			}
			switch kind {
			case fs.ModeDir:
			case fs.ModeSymlink:
				f.Target, err = dir.Readlink(base)
				if name, isChoice := strings.CutPrefix(f.Target, "/etc/alternatives/"); isChoice {
					if top != "etc" { // of commands, which are found otherwise
						return nil
					}
					f.Target, err = changes.Readlink("etc/alternatives/" + name)
				}
			case 0:
				// What not everybody may read is somebody's secret, and of this box.
				if st.Mode&0o004 == 0 || strings.Contains(base, ".dpkg-") || strings.Contains(base, ".ucf-") {
					return nil
				}
				if f.Bytes, err = dir.ReadFile(base, size); err == nil {
					size -= int64(len(f.Bytes))
				}
			default: // devices, sockets, pipes; what was removed
				return nil
			}
			if err != nil {
				return err
			}
			same, err := stood(&f, strings.TrimPrefix(strings.TrimPrefix(at, top), "/"), lower[top])
			if err != nil || same {
				return err
			}
			files = append(files, f)
			return nil
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("read what came of it: %w", err)
		}
	}
	slices.SortFunc(files, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	return files, nil
}

// skip leaves out a file, and what is below it.
func skip(kind fs.FileMode) error {
	if kind.IsDir() {
		return fs.SkipDir
	}
	return nil
}

// stood reports whether a file is as it was shown before.
func stood(f *File, name string, lower []*beneath.Dir) (bool, error) {
	if name == "" {
		return true, nil
	}
	for _, dir := range lower {
		st, err := dir.Lstat(name)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
			continue
		}
		if err != nil {
			return false, err
		}
		switch {
		case st.Mode&unix.S_IFMT == unix.S_IFDIR:
			return f.Mode.IsDir(), nil
		case st.Mode&unix.S_IFMT == unix.S_IFLNK && f.Mode&fs.ModeSymlink != 0:
			to, err := dir.Readlink(name)
			return to == f.Target, err
		case st.Mode&unix.S_IFMT == unix.S_IFREG && f.Mode.IsRegular() && st.Size == int64(len(f.Bytes)):
			b, err := dir.ReadFile(name, st.Size)
			return err == nil && bytes.Equal(b, f.Bytes), err
		}
		return false, nil
	}
	return false, nil
}
