package pkginfo

import (
	"fmt"
	"strings"
)

// Key is the identity of an installed package within a root, and how records name
// it: each format has an ID that no two of its installed packages share. It is the
// same for another version of the package where the format has one version of it
// installed at a time. Nobody but the format's backend takes an ID apart.
type Key struct {
	Format Format
	ID     string
}

// String returns the key as records have it: "deb:libjq1:amd64".
func (k Key) String() string { return string(k.Format) + ":" + k.ID }

// FileName returns a relative path that stands for the key, of two elements:
// "deb/libjq1:amd64". See [KeyOfFile].
func (k Key) FileName() string { return string(k.Format) + "/" + k.ID }

// Check returns an error for a key that could not be read again, or whose file name
// would lead elsewhere.
func (k Key) Check() error {
	switch {
	case !isElement(string(k.Format)) || strings.Contains(string(k.Format), ":"):
		return fmt.Errorf("key %q: %q is not a name of a format", k, string(k.Format))
	case !isElement(k.ID):
		return fmt.Errorf("key %q: %q does not name a package", k, k.ID)
	}
	return nil
}

// isElement reports whether s can be one element of a path.
func isElement(s string) bool {
	return s != "" && s != "." && s != ".." && !strings.ContainsAny(s, "/\x00\n")
}

// KeyOfFile returns the key with a format and, in its directory, a file name.
func KeyOfFile(format, name string) (Key, error) {
	k := Key{Format(format), name}
	return k, k.Check()
}

// MarshalText implements [encoding.TextMarshaler].
func (k Key) MarshalText() ([]byte, error) { return []byte(k.String()), k.Check() }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (k *Key) UnmarshalText(b []byte) error {
	format, id, ok := strings.Cut(string(b), ":")
	if !ok {
		return fmt.Errorf("key %q: it has no format", b)
	}
	*k = Key{Format(format), id}
	return k.Check()
}
