package inplace

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// metadata is what a file has besides its bytes.
type metadata struct {
	facts
	attributes []attribute
}

type attribute struct {
	name  string
	value []byte
}

// capability is the attribute that gives a program rights of root's, as setuid does.
const capability = "security.capability"

// privileges are the bits of a mode that give a program another user's rights.
const privileges = unix.S_ISUID | unix.S_ISGID

// CheckSealed returns an error that wraps [ErrSigned] or [ErrVerity] for a file whose
// edited copy the kernel would not start.
func CheckSealed(f *os.File) error {
	facts, err := lookAtFile(f)
	if err != nil {
		return err
	}
	_, err = readMetadata(f, facts)
	return err
}

// readMetadata refuses a file whose bytes are signed.
func readMetadata(f *os.File, facts facts) (*metadata, error) {
	fd := int(f.Fd())
	if facts.hasVerity(fd) {
		return nil, ErrVerity
	}
	m := &metadata{facts: facts}
	names, err := attributeNames(fd)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		value, err := readAttribute(fd, name)
		if err != nil {
			return nil, err
		}
		if integrity(name) {
			if isSignature(name, value) {
				return nil, fmt.Errorf("%w (%s)", ErrSigned, name)
			}
			continue
		}
		m.attributes = append(m.attributes, attribute{name, value})
	}
	return m, nil
}

// integrity reports whether the kernel keeps an attribute itself: hashes, which it
// computes anew, and signatures, which it cannot.
func integrity(name string) bool { return name == "security.ima" || name == "security.evm" }

// isSignature looks at the type of an integrity attribute, its first byte (enum
// evm_ima_xattr_type of Linux's security/integrity/integrity.h).
func isSignature(name string, value []byte) bool {
	if len(value) == 0 {
		return false
	}
	const (
		signature = 3 // EVM_IMA_XATTR_DIGSIG
		portable  = 5 // EVM_XATTR_PORTABLE_DIGSIG, of security.evm
		verity    = 6 // IMA_VERITY_DIGSIG, of security.ima
	)
	switch value[0] {
	case signature:
		return true
	case portable:
		return name == "security.evm"
	case verity:
		return name == "security.ima"
	}
	return false
}

// privileged reports whether the file gives who runs it rights that they have not.
func (m *metadata) privileged() bool {
	return m.mode&privileges != 0 ||
		slices.ContainsFunc(m.attributes, func(a attribute) bool { return a.name == capability })
}

// give makes the new file's metadata equal, except for what gives rights. The order
// matters: a change of owner clears setuid and capabilities, and an access control
// list comes with bits of the mode. The times come last, with setTimes.
func (m *metadata) give(to *os.File) error {
	fd := int(to.Fd())
	now, err := lookAtFile(to)
	if err != nil {
		return err
	}
	if now.uid != m.uid || now.gid != m.gid {
		if err := unix.Fchown(fd, int(m.uid), int(m.gid)); err != nil {
			return fmt.Errorf("owner: %w", err)
		}
	}
	if err := unix.Fchmod(fd, m.mode&0o7777&^privileges); err != nil {
		return fmt.Errorf("mode: %w", err)
	}
	return m.giveAttributes(fd)
}

// givePrivileges is the rest of give. The file is complete by now, and takes its
// place next.
func (m *metadata) givePrivileges(to *os.File) error {
	fd := int(to.Fd())
	if m.mode&privileges != 0 {
		if err := unix.Fchmod(fd, m.mode&0o7777); err != nil {
			return fmt.Errorf("mode: %w", err)
		}
	}
	for _, a := range m.attributes {
		if a.name != capability {
			continue
		}
		if err := unix.Fsetxattr(fd, a.name, a.value, 0); err != nil {
			return fmt.Errorf("attribute %s: %w", a.name, err)
		}
	}
	return nil
}

// giveAttributes makes the extended attributes equal; access control lists are among
// them. A new file may have some of its own, from the default list of its directory.
func (m *metadata) giveAttributes(fd int) error {
	present, err := attributeNames(fd)
	if err != nil {
		return err
	}
	for _, name := range present {
		wanted := slices.ContainsFunc(m.attributes, func(a attribute) bool { return a.name == name })
		if !wanted && !integrity(name) && name != "security.selinux" {
			if err := unix.Fremovexattr(fd, name); err != nil {
				return fmt.Errorf("attribute %s: %w", name, err)
			}
		}
	}
	for _, a := range m.attributes {
		if a.name == capability {
			continue
		}
		if slices.Contains(present, a.name) {
			if have, err := readAttribute(fd, a.name); err == nil && bytes.Equal(have, a.value) {
				continue
			}
		}
		if err := unix.Fsetxattr(fd, a.name, a.value, 0); err != nil {
			return fmt.Errorf("attribute %s: %w", a.name, err)
		}
	}
	return nil
}

// times are the arguments of utimensat(2).
func (m *metadata) times() (times [2]unix.Timespec, err error) {
	for i, t := range []moment{m.read, m.written} {
		if times[i], err = unix.TimeToTimespec(time.Unix(t.sec, int64(t.nsec))); err != nil {
			return times, err
		}
	}
	return times, nil
}

// attributeNames is empty where the file system has no attributes.
func attributeNames(fd int) ([]string, error) {
	b, err := sized(func(b []byte) (int, error) { return unix.Flistxattr(fd, b) })
	if errors.Is(err, unix.EOPNOTSUPP) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("attributes: %w", err)
	}
	return strings.FieldsFunc(string(b), func(c rune) bool { return c == 0 }), nil
}

func readAttribute(fd int, name string) ([]byte, error) {
	value, err := sized(func(b []byte) (int, error) { return unix.Fgetxattr(fd, name, b) })
	if err != nil {
		return nil, fmt.Errorf("attribute %s: %w", name, err)
	}
	return value, nil
}

// sized reads what has a size that is not known. The kernel's limit is 64 KiB.
func sized(read func([]byte) (int, error)) ([]byte, error) {
	var small [256]byte
	n, err := read(small[:])
	if err == nil {
		return append([]byte(nil), small[:n]...), nil
	}
	if !errors.Is(err, unix.ERANGE) {
		return nil, err
	}
	b := make([]byte, 1<<16)
	n, err = read(b)
	if err != nil {
		return nil, err
	}
	return b[:n], nil
}
