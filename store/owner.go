package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/internal/advice"
	"github.com/hashpkg/hashpkg/layout"
)

// HowToOwn says how somebody who may not write to a store gets one of their own.
const HowToOwn = "give --prefix with a directory of your own, such as ~/.local/sys " +
	"(prefix = \"/home/YOU/.local/sys\" in ~/.config/hashpkg.toml does that for good)"

// ownerError is that a store belongs to somebody else. It is an [fs.ErrPermission].
type ownerError string

func (e ownerError) Error() string { return string(e) }

// Is implements the interface of package errors.
func (e ownerError) Is(err error) bool { return err == fs.ErrPermission }

// CheckOwner returns an error unless the prefix and hashpkg's own directories in it,
// those that are there, belong to the process's effective user, and nobody else may
// write to them. Whoever may can change what the writer relies on. The group may write
// to a user's own store, as many users have a group of their own.
func (s *Store) CheckOwner() error { return s.checkOwner(os.Geteuid()) }

func (s *Store) checkOwner(uid int) error {
	for _, name := range []string{
		".", layout.Private, layout.ObjectsDir, layout.ManifestsDir, layout.GenerationsDir, layout.StagingDir, layout.SystemDir, layout.QuarantineDir,
	} {
		st, err := s.dir.Lstat(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("look who owns the store: %w", err)
		}
		if st.Mode&unix.S_IFMT != unix.S_IFDIR {
			return notOwnDirectory(s.Path(name))
		}
		if int(st.Uid) != uid {
			return advice.First("run hashpkg as the store's owner, or "+HowToOwn, ownerError(fmt.Sprintf(
				"a store that belongs to somebody else is not written to: %s belongs to %s, and hashpkg runs as %s", s.Path(name), userName(int(st.Uid)), userName(uid))))
		}
		others := uint32(0o002)
		if uid == 0 {
			others = 0o022
		}
		if st.Mode&others != 0 {
			return fmt.Errorf("a store that others may write to is not trusted: look at what is in it, and run chmod go-w %s", s.Path(name))
		}
	}
	return nil
}

// userName names a user for a message.
func userName(uid int) string {
	id := strconv.Itoa(uid)
	if u, err := user.LookupId(id); err == nil {
		return "user " + id + " (" + u.Username + ")"
	}
	return "user " + id
}

// notOwnDirectory is the error for what stands in the place of one of hashpkg's
// directories, such as a link that leads out of the root.
func notOwnDirectory(path string) error {
	return fmt.Errorf("%s is not a directory of its own: look at what it is, and move it away", path)
}
