package deb

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"io"
	"strings"

	"github.com/hashpkg/hashpkg/backends"
	"github.com/hashpkg/hashpkg/backends/trust"
	"github.com/hashpkg/hashpkg/pkginfo"
)

// Name is what records call the format.
const Name pkginfo.Format = "deb"

// Format is Debian's package format, with dpkg and apt. It implements
// [backends.Prover] and [backends.Repositories].
type Format struct{}

var (
	_ backends.Prover       = Format{}
	_ backends.Repositories = Format{}
)

// Name returns [Name].
func (Format) Name() pkginfo.Format { return Name }

// Matches reports whether a file begins as a deb, or as one that [NewReader] can say
// of what became of it.
func (Format) Matches(head []byte) bool {
	const magic = arMagic + firstMember
	begins := string(head[:min(len(head), len(magic))])
	return begins != "" && strings.HasPrefix(magic, begins) ||
		strings.HasPrefix(begins, textMagic) || strings.HasPrefix(begins, oldMagic)
}

// Order returns how dpkg orders versions.
func (Format) Order() pkginfo.Order { return order() }

// Open is [NewReader]. A deb carries no signature, so that keys have no use.
func (Format) Open(r io.Reader, _ *trust.Keyring) (backends.Reader, error) {
	d, err := NewReader(r)
	if err != nil {
		return nil, err // and not a reader that is a nil pointer
	}
	return d, nil
}

// State is [DatabaseState].
func (Format) State(root backends.Root) (string, error) { return DatabaseState(root) }

// Database is [OpenDatabase].
func (Format) Database(_ context.Context, root backends.Root) (backends.Database, error) {
	d, err := OpenDatabase(root)
	if err != nil {
		return nil, err
	}
	// A diversion moves files of packages that are not installed again.
	diversions, err := stampOf(root, "diversions")
	if err != nil {
		return nil, err
	}
	all := make(packages, 0, len(d.packages))
	for _, p := range d.packages {
		stamp, err := d.Stamp(p)
		if err != nil {
			return nil, err
		}
		all = append(all, &backends.Installed{
			Package: p, Key: pkginfo.Key{Format: Name, ID: packageID(p)},
			Stamp:     p.Version + " " + short(stamp+" "+diversions),
			Files:     func() ([]pkginfo.Entry, error) { return d.Files(p) },
			Reinstall: "apt-get install --reinstall " + strings.TrimSuffix(packageID(p), ":all"),
		})
	}
	return all, nil
}

// short returns a digest that stands for a text where only equality matters. A record
// of what is installed has a stamp for each package, and is read by every sync.
func short(text string) string {
	sum := sha256.Sum256([]byte(text))
	return base64.RawURLEncoding.EncodeToString(sum[:12])
}

// packageID identifies an installed package: of one name there may be several for
// different architectures.
func packageID(p *pkginfo.Package) string { return p.Name + ":" + p.Architecture }

type packages []*backends.Installed

func (d packages) Packages() []*backends.Installed { return d }

// RootKeys returns the keys that the root's apt trusts for archives whose source
// names no keys.
func (Format) RootKeys(_ context.Context, root backends.Root) (*trust.Keyring, []string, error) {
	k, err := readTrusted(root)
	if err != nil {
		return nil, nil, err
	}
	return k.trusted, k.warnings, nil
}
