// Package launcher makes launchers: small programs that show another program a view
// and then become it. A launcher stands as a tree's bin/NAME for a program that finds
// its files at paths in /usr only. [New] makes one, and [Read] says what one does.
//
// # What a program sees
//
// A view is a directory whose usr holds the files that a program needs, at the paths
// that their packages gave them. The launcher lays it over the host's /usr by a
// read-only overlay, in a mount namespace of the program's own. Names of the view come
// first; all others are the host's, as they are at the moment. A directory of /usr that
// the view does not have is the host's own and can be written to; so is /usr/local, of
// which nothing in a view is shown. What is mounted below the host's /usr stays where it
// was.
//
//	VIEW/usr/                what is laid over /usr
//	VIEW/over/PACKAGE/TREE/  what stands in place of PREFIX/PACKAGE/TREE/usr, if any
//	VIEW/libs/usr/           what is laid over both where libraries are seen, too
//	VIEW/libs/loader         a link: their loader, by its path below PREFIX/current-system/view
//
// The latter are for libraries that look for files beside themselves: such a directory
// holds all that the tree's usr has, and what the view adds. Both parts hold no files
// with setuid or setgid bits, for the mounts of a view do not make them harmless: the
// host's own such programs work in it.
//
// # How a process in a view is known
//
// Host holds two directories, usr and view, which must be there and empty. In a view,
// Host/usr is the host's own /usr, and Host/view is the view's directory. So
// /proc/PID/root/HOST/view/usr is there if process PID is in a view, and
// /proc/PID/root/HOST/view is the same directory (device and inode) as that of the view
// that it is in. In /proc/PID/mountinfo that is the mount at HOST/view; where several views
// are seen as one it is an overlay with the source "hashpkg", whose lowerdir names them as
// View and More do: the directories themselves, then, and no links to them. All other mounts
// at and below /usr with the source "hashpkg" are the launcher's overlays (and a tmpfs under
// some of them). Who lays new ones over these, of Host/view/usr and Host/usr, and binds
// there what the old ones had below them, shows a running program what has become of
// the host's files.
//
// # What a launcher takes and gives
//
// It is told everything by its [Config], which is part of its bytes: no variable, no
// argument and no file. The program gets the arguments, the environment, the open
// files, the working directory, the terminal, signals, limits and masks as the
// launcher got them, and is the same process. There are two exceptions. argv[0] becomes
// a path beside Program, /usr/bin/NAME, if it had no slash or leads below Prefix, and if
// that file is there: programs look for their data beside that path. (A name with a dash
// in front, of a login shell, stays.) And a working directory below /usr, or in a tree
// that the view covers, becomes the view's directory of the same path.
//
// Root, and whoever may mount, gets a mount namespace alone; what the program mounts
// there is mounted for the host too, on Linux 5.15 and later. Anybody else gets a user
// namespace with one user and one group, in which setuid programs have no effect; but
// not a process with capabilities, which would lose them (CAP_WAKE_ALARM, which
// desktops give to everybody, does not count). A program in a view that starts the
// launcher of the same view is in it already; that of another view sees the host's /usr
// and that view, and nothing of the first. But where the first has the very file at
// Program, too, it is run in the first: a linker that a compiler starts finds what the
// compiler's packages brought for it. And so is whatever the first has at Program, when the
// launcher was executed by a path below PREFIX/current-system, which asks for no certain
// version.
//
// Where no view can be had, the launcher says so in one line on standard error and runs
// Fallback, or Tree where that is not there, outside of any namespace that it made; if
// there is none, or it cannot be run, it ends with status 126.
//
// # Linkers
//
// What a compiler brings are headers and start files of its own release, which fit the
// libraries of that release only, and of these a view has none. So its linker is run by
// a launcher that stands at the linker's place in a view ([Config.Linker]), and lays
// VIEW/libs/usr over /usr as well, where the linker itself stands. Where the arguments
// name the system's loader, that of the libraries takes its place, and their directory is the last of
// the search path of what is made, by a path that is good outside of views. With another
// loader named, or for a static program, nothing is changed. In VIEW/libs/usr/lib there is a name
// .hashpkg-libs, by which a launcher knows that libraries are seen already.
//
// # With a file capability
//
// A launcher file with cap_sys_admin+ep, which only an administrator can give it, makes a
// mount namespace for a user without a user namespace, so that setuid programs work in
// the view. It has dropped all capabilities before it runs the program. It ends with
// status 126 if anybody but root owns, or may write to, a directory or link that leads to
// View, Host, Prefix or Fallback, and if its caller has the rights of two users.
package launcher

import (
	"cmp"
	_ "embed"
	"encoding/binary"
	"errors"
	"fmt"
	"path"
	"strings"
)

// Config is all that a launcher knows. Paths are absolute and clean.
type Config struct {
	// View is the view's directory, or a symbolic link that leads to it, which is
	// followed each time: the launcher of a program shows what the link leads to then.
	View string

	// Host is a directory that holds two empty ones, usr and view.
	Host string

	// Program is what is run in the view, a path below /usr.
	Program string

	// Fallback is what is run where no view can be had, or "".
	Fallback string

	// Prefix is where trees stand, without a symbolic link on the way.
	Prefix string

	// KeepName leaves argv[0] as it is. It is for programs that note where they can be
	// started again, as Python does for a virtual environment.
	KeepName bool

	// Tree is what is run where no view can be had and Fallback is not there, or "".
	Tree string

	// Libraries shows the view's libraries, too.
	Libraries bool

	// Linker is for a program that links: it sees the libraries, and what it makes loads
	// them. It is run in the view that its caller is in.
	Linker bool

	// More are other views that are seen at once: their names come after those of View.
	More []string
}

// ErrArchitecture is wrapped by the error of [New] for a machine that there is no
// launcher for.
var ErrArchitecture = errors.New("there is no launcher for this architecture")

// The programs are made from the directory src by `make launcher`.
var (
	//go:embed amd64.bin
	amd64 []byte
	//go:embed arm64.bin
	arm64 []byte
	//go:embed refresh-amd64.bin
	refreshAmd64 []byte
	//go:embed refresh-arm64.bin
	refreshArm64 []byte
)

// The configuration is in a note of the ELF file (gABI, "Note Section") as strings that
// end with a zero byte, in the order of Config's fields; what a program sees of libraries
// is one of them.
const (
	noteOwner = "hashpkg-launcher"
	noteType  = 1
	noteSize  = 4096

	hostSize = 512 // for the paths and options that a launcher puts together of it
)

// New returns the bytes of a launcher for a machine, "amd64" or "arm64". They are the
// same for the same arguments.
func New(arch string, c Config) ([]byte, error) {
	return configured(arch, map[string][]byte{"amd64": amd64, "arm64": arm64}, c)
}

// How a program that [Refresher] makes is called: with one argument, which has these
// letters, and these files open. It ends with status 0 when the namespace sees a fresh
// view; with [RefreshNotOurs] when it sees none, or none that is meant; and otherwise
// leaves it as it was and says why on standard error.
const (
	RefreshOfUser  = "u" // the namespace belongs to the user namespace at RefreshUser
	RefreshCompare = "v" // the view must be the directory at RefreshView
	RefreshBeneath = "b" // nobody stands on the newest overlay, which another one has beneath it

	RefreshMounts = 3 // the mount namespace
	RefreshUser   = 4
	RefreshUsr    = 5 // the host's /usr: a view over another one is not touched
	RefreshView   = 6

	RefreshNotOurs = 2
)

// Refresher returns the bytes of a program that shows those who see a view what has become
// of the host's files. An overlay keeps a file that it has shown, for whom nobody tells it that
// another one has its name now. In the mount namespace it lays a fresh overlay over /usr,
// with all that is mounted below the old one. That is complete before anybody sees it.
//
// It executes nothing, and opens nothing for writing. In a user's namespace it must run as that user:
// then it can do no more than whoever prepared the namespace for it could have done.
func Refresher(arch, host, prefix string) ([]byte, error) {
	programs := map[string][]byte{"amd64": refreshAmd64, "arm64": refreshArm64}
	return configured(arch, programs, Config{View: host + "/view", Host: host, Program: "/usr/bin/refresh", Prefix: prefix})
}

// configured returns the bytes of the program for a machine, with a configuration.
func configured(arch string, programs map[string][]byte, c Config) ([]byte, error) {
	program := programs[arch]
	if program == nil {
		return nil, fmt.Errorf("make a launcher for %q: %w", arch, ErrArchitecture)
	}
	text, err := c.encode()
	if err != nil {
		return nil, fmt.Errorf("make a launcher: %w", err)
	}
	note := findNote(program)
	if note == nil {
		return nil, errors.New("make a launcher: the program has no place for its configuration")
	}
	out := append([]byte(nil), program...)
	copy(findNote(out), text)
	return out, nil
}

// Read returns the configuration of a launcher, and whether the file is one. It says
// nothing of the program in the file: who must know that compares it with what [New] makes.
func Read(file []byte) (Config, bool) {
	var c Config
	note := findNote(file)
	rest := string(note)
	var keep, libraries, more string
	for _, field := range []*string{&c.View, &c.Host, &c.Program, &c.Fallback, &c.Prefix, &keep, &c.Tree, &libraries, &more} {
		value, after, ok := strings.Cut(rest, "\x00")
		if !ok {
			return Config{}, false
		}
		*field, rest = value, after
	}
	c.KeepName, c.Libraries, c.Linker = keep == yes, libraries == yes, libraries == linker
	if more != "" {
		c.More = strings.Split(more, ":")
	}
	text, err := c.encode()
	if err != nil || !strings.HasPrefix(string(note), string(text)) || strings.Trim(string(note[len(text):]), "\x00") != "" {
		return Config{}, false
	}
	return c, true
}

// What the options are in the note, where they are not the empty string.
const (
	yes    = "1"
	linker = "linker"
)

// encode returns what the note holds, without the zeros at its end.
func (c Config) encode() ([]byte, error) {
	keep, libraries := "", ""
	if c.KeepName {
		keep = yes
	}
	switch {
	case c.Linker && c.Libraries:
		return nil, errors.New("a linker sees the libraries as it is")
	case c.Linker:
		libraries = linker
	case c.Libraries:
		libraries = yes
	}
	for _, p := range []struct{ what, path string }{
		{"the view", c.View},
		{"the host's directory", c.Host},
		{"the program", c.Program},
		{"the fallback", c.Fallback},
		{"the prefix", c.Prefix},
		{"the program in its tree", c.Tree},
	} {
		if p.path == "" && (p.what == "the fallback" || p.what == "the program in its tree") {
			continue
		}
		if err := checkPath(p.path); err != nil {
			return nil, fmt.Errorf("%s %q: %w", p.what, p.path, err)
		}
	}
	for _, p := range c.More {
		if err := checkPath(p); err != nil || strings.ContainsAny(p, `:,\`) { // which mean something to an overlay
			return nil, fmt.Errorf("the view %q: %w", p, cmp.Or(err, errors.New("its path has a byte that an overlay cannot take")))
		}
	}
	text := []byte(strings.Join([]string{c.View, c.Host, c.Program, c.Fallback, c.Prefix, keep, c.Tree, libraries, strings.Join(c.More, ":"), ""}, "\x00"))
	switch {
	case !strings.HasPrefix(c.Program, "/usr/"):
		return nil, fmt.Errorf("the program %q is not below /usr", c.Program)
	case c.Prefix == "/usr":
		return nil, errors.New("the prefix is /usr, which a view covers")
	case len(c.Host) > hostSize:
		return nil, fmt.Errorf("the host's directory has a path of %d bytes; %d are possible", len(c.Host), hostSize)
	case len(text) > noteSize:
		return nil, fmt.Errorf("the paths take %d bytes; %d are possible", len(text), noteSize)
	}
	return text, nil
}

func checkPath(p string) error {
	switch {
	case !path.IsAbs(p) || path.Clean(p) != p || p == "/":
		return errors.New("this is no absolute and clean path of something below /")
	case strings.ContainsFunc(p, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return errors.New("the path has a control character")
	}
	return nil
}

// findNote returns the part of a launcher that holds its configuration, or nil for
// another file. The ELF files that it looks at are 64-bit and little-endian.
func findNote(file []byte) []byte {
	const header, entry, isNote = 64, 56, 4 // sizes, and PT_NOTE
	order := binary.LittleEndian
	if len(file) < header || string(file[:6]) != "\x7fELF\x02\x01" || order.Uint16(file[54:]) != entry {
		return nil
	}
	at, n := order.Uint64(file[32:]), order.Uint16(file[56:])
	size := uint64(len(file))
	for range n {
		if at > size || size-at < entry {
			return nil
		}
		segment := file[at:][:entry]
		at += entry
		offset, length := order.Uint64(segment[8:]), order.Uint64(segment[32:])
		if order.Uint32(segment) != isNote || offset > size || size-offset < length {
			continue
		}
		const head = 12 + len(noteOwner)
		note := file[offset:][:length]
		if length == uint64(head+noteSize) && order.Uint32(note) == uint32(len(noteOwner)) && order.Uint32(note[4:]) == noteSize &&
			order.Uint32(note[8:]) == noteType && string(note[12:head]) == noteOwner {
			return note[head:]
		}
	}
	return nil
}
