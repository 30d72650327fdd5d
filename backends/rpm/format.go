package rpm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/hashpkg/hashpkg/backends"
	"github.com/hashpkg/hashpkg/backends/trust"
	"github.com/hashpkg/hashpkg/pkginfo"
)

// Name is what records call the format.
const Name pkginfo.Format = "rpm"

// Format is rpm's package format, and rpm. It implements [backends.Format].
type Format struct{}

var _ backends.Format = Format{}

// Name returns [Name].
func (Format) Name() pkginfo.Format { return Name }

// Matches reports whether a file begins as an rpm, or as what is left of one.
func (Format) Matches(head []byte) bool {
	n := min(len(head), len(leadMagic))
	return n > 0 && bytes.Equal(head[:n], []byte(leadMagic[:n]))
}

// Order returns how rpm orders versions.
func (Format) Order() pkginfo.Order { return order() }

// Open is [NewReader].
func (Format) Open(r io.Reader, keys *trust.Keyring) (backends.Reader, error) {
	d, err := NewReader(r, keys)
	if err != nil {
		return nil, err // and not a reader that is a nil pointer
	}
	return d, nil
}

// State is [DatabaseState].
func (Format) State(root backends.Root) (string, error) { return DatabaseState(root) }

// Database reads the database of a root as [ReadDatabase] does. It leaves out the
// keys of rpm's keyring.
func (Format) Database(ctx context.Context, root backends.Root) (backends.Database, error) {
	all, err := ReadDatabase(ctx, root)
	if err != nil {
		return nil, err
	}
	d := make(packages, 0, len(all))
	for _, p := range all {
		if !p.IsKey() {
			d = append(d, p.installed())
		}
	}
	return d, nil
}

// packageID identifies an installed package, NAME-VERSION-RELEASE.ARCHITECTURE: of
// one name there may be several versions, and architectures.
func packageID(p *pkginfo.Package) string {
	return p.Name + "-" + p.Version + "." + p.Architecture
}

type packages []*backends.Installed

func (d packages) Packages() []*backends.Installed { return d }

func (p *Installed) installed() *backends.Installed {
	return &backends.Installed{
		Package: p.Package, Key: pkginfo.Key{Format: Name, ID: packageID(p.Package)},
		Stamp: fmt.Sprintf("%d %d %s", p.Instance, p.InstallTime.Unix(), p.HeaderDigest),
		Files: func() ([]pkginfo.Entry, error) {
			var entries []pkginfo.Entry
			for _, f := range p.Files {
				if f.State == FileNormal || f.State == FileMissing {
					entries = append(entries, f.Entry)
				}
			}
			return entries, nil
		},
		Reinstall: "dnf reinstall " + packageID(p.Package),
	}
}

// RootKeys returns the keys that the root's rpm trusts, which its database has among
// the packages.
func (Format) RootKeys(ctx context.Context, root backends.Root) (*trust.Keyring, []string, error) {
	all, err := ReadDatabase(ctx, root)
	if errors.Is(err, backends.ErrNoDatabase) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	var keys *trust.Keyring
	var warnings []string
	for _, p := range all {
		if !p.IsKey() {
			continue
		}
		for _, f := range p.Fields {
			if !strings.Contains(f.Value, "BEGIN PGP PUBLIC KEY BLOCK") {
				continue
			}
			key, err := trust.ParseKeyring([]byte(f.Value))
			if err != nil {
				warnings = append(warnings, fmt.Sprintf("a key that the root's rpm trusts, %s-%s, is left out: %v", p.Name, p.Version, err))
				continue
			}
			keys = keys.With(key)
		}
	}
	return keys, warnings, nil
}
