package pkginfo

// Listed is a package as the index of a repository lists it: what it says of itself,
// without Fields, Scripts, Triggers, Conffiles and Shlibs, and where its file is.
type Listed struct {
	Package
	// ScriptRequires is what only its maintainer scripts need, as far as the format or
	// the customs of its distributions tell. Requires is without it.
	ScriptRequires []Relation
	Priority       string // deb: "required", "important", "standard", "optional", "extra", or ""
	Essential      bool   // deb: every system has it
	// Files are those of its files that the index lists: all that a relation may name
	// by path. Absolute in a root.
	Files []string

	// Of the package file: its path relative to the repository's address, or an http
	// or https address of its own, its size in bytes, and its strongest digest that the index has, "sha512:HEX" or "sha256:HEX".
	Path   string
	Size   int64
	Digest string
	// InstalledSize is about what it takes when it is unpacked, in bytes; 0 if the
	// index does not say.
	InstalledSize int64
}

// Spec returns "NAME=VERSION", as people name a package.
func (l *Listed) Spec() string { return l.Name + "=" + l.Version }
