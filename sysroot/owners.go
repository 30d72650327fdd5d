package sysroot

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// UnsafeError says who else could decide what programs of the system load: they name
// paths below the prefix, and run as anybody, root included.
type UnsafeError struct {
	Path string // on the host
	What string // reads after it
}

func (e *UnsafeError) Error() string {
	return fmt.Sprintf("%s %s: whoever may change it decides what programs of the system load", e.Path, e.What)
}

// Repair says what to do about it, for the error's reader.
func (e *UnsafeError) Repair() string {
	return "run chown root:root and chmod go-w on it, or set another prefix; hashpkg restore --all gives programs their packaged bytes back"
}

// maxLinks is how many links a path may lead through (path_resolution(7)).
const maxLinks = 40

// CheckPrefix returns an [*UnsafeError] unless the prefix, and the paths below it,
// can be changed by the process's user and root alone: each component from the root
// down, links on the way and what they lead to included. What is not there yet is
// passed over; what hashpkg makes is safe.
//
// It is enough to look once, from the top: where nobody else owns or may write a
// directory, nobody else can put something in the place of what is in it.
func (r *Root) CheckPrefix(below ...string) error {
	w := ownerWalk{root: r, uid: os.Geteuid(), gid: os.Getegid(), seen: map[string]bool{}}
	for _, name := range append([]string{"."}, below...) {
		if err := w.walk(path.Join(r.prefix, name)); err != nil {
			return err
		}
	}
	return nil
}

// ownerWalk looks at components of paths, at each once.
type ownerWalk struct {
	root     *Root
	uid, gid int
	seen     map[string]bool
}

func (w *ownerWalk) walk(inside string) error {
	todo := strings.Split(inside, "/")
	at := "."
	links := 0
	for len(todo) > 0 {
		if err := w.look(at); errors.Is(err, fs.ErrNotExist) {
			return nil
		} else if err != nil {
			return err
		}
		element := todo[0]
		todo = todo[1:]
		switch element {
		case "", ".":
			continue
		case "..":
			at = path.Dir(at)
			continue
		}
		next := path.Join(at, element)
		target, err := w.root.dir.Readlink(next)
		if err != nil { // no link, or nothing
			at = next
			continue
		}
		if links++; links > maxLinks {
			return fmt.Errorf("look who owns %s: %w", w.root.host(inside), unix.ELOOP)
		}
		if err := w.look(next); err != nil {
			return err
		}
		if path.IsAbs(target) {
			at = "."
		}
		todo = append(strings.Split(target, "/"), todo...)
	}
	if err := w.look(at); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// look looks at one component, whose path has no link before its last element.
func (w *ownerWalk) look(place string) error {
	if w.seen[place] {
		return nil
	}
	st, err := w.root.dir.Lstat(place)
	if err != nil {
		return fmt.Errorf("look who owns the prefix: %w", err)
	}
	if what := unsafeOwner(st.Uid, st.Gid, st.Mode, w.uid, w.gid); what != "" {
		return &UnsafeError{w.root.host(place), what}
	}
	w.seen[place] = true
	return nil
}

// unsafeOwner says why a file or directory is not the user's and root's alone; "" when
// it is. The user is who runs hashpkg: root on a system, anybody for an image.
//
// The sticky bit is no excuse: what a directory as /tmp has today may be gone tomorrow,
// and then anybody can make it. A group's right to write counts, and an access control
// list shows as one (acl(5)); only the builder of an image, who is not root, may share
// files with a group of his own, as a umask of 002 has it.
func unsafeOwner(owner, group, mode uint32, uid, gid int) string {
	switch {
	case owner != 0 && int(owner) != uid:
		return fmt.Sprintf("belongs to user %d", owner)
	case mode&unix.S_IFMT == unix.S_IFLNK: // which nobody writes
		return ""
	case mode&0o002 != 0:
		return "can be written by everybody"
	case mode&0o020 != 0 && (uid == 0 || int(group) != gid):
		return fmt.Sprintf("can be written by group %d", group)
	}
	return ""
}
