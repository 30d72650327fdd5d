package backends

import (
	"context"
	"hash"
	"time"

	"github.com/hashpkg/hashpkg/backends/trust"
	"github.com/hashpkg/hashpkg/pkginfo"
)

// Prover is a [Format] whose packages carry no signatures: an index that their
// archive has signed proves them, by a digest of the whole file.
type Prover interface {
	Format

	// NewHash returns a new hash, of the kind by which indexes name package files.
	NewHash() hash.Hash

	// Prove looks package files up in signed indexes. It returns a proof for each
	// file, in their order, and warnings about keys that could not be read.
	// What is wrong with one index is a reason in the proofs, and no error.
	Prove(ctx context.Context, root Root, request ProofRequest) (proofs []Proof, warnings []string, err error)
}

// ProofRequest says what to prove, and by what.
type ProofRequest struct {
	Files []PackageFile
	// Index is a directory of this machine with indexes and their signatures, laid
	// out as the root's package manager does; "" for the root's own.
	Index string
	// Keys are those that may sign; nil for those that the root's package manager
	// trusts, each archive's for its own indexes.
	Keys *trust.Keyring
	Now  time.Time // by which indexes have expired or not
}

// PackageFile is a package file that is to be proved.
type PackageFile struct {
	Name, Version, Architecture string
	Size                        int64
	Sum                         []byte // of the whole file, by [Prover.NewHash]
}

// Proof is what the indexes came to for one file: good, or unsigned with a reason.
type Proof struct {
	pkginfo.Signature
	// Differs is true when a signed index has other contents for the same name,
	// version and architecture.
	Differs bool
}
