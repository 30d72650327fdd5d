package transaction

import (
	"errors"
	"fmt"

	"github.com/hashpkg/hashpkg/layout/record"

	"github.com/hashpkg/hashpkg/backends/rpm"
	"github.com/hashpkg/hashpkg/pkginfo"
)

// SignaturePolicy is what becomes of packages whose signature is not good.
type SignaturePolicy string

// The policies. A signature that is bad is refused by all but SignatureOff.
const (
	SignatureRequire SignaturePolicy = "require" // refuse them
	SignatureWarn    SignaturePolicy = "warn"    // say so
	SignatureOff     SignaturePolicy = "off"     // take them

	// SignatureByKeys is SignatureRequire for packages of a format that carries
	// signatures when somebody gave keys, else SignatureWarn. Of debs that no index
	// vouches for it says nothing, unless an index to look into was given, or has
	// other contents for them.
	SignatureByKeys SignaturePolicy = ""
)

// ErrSignature is returned (wrapped) for a package that the policy refuses.
var ErrSignature = errors.New("the signature is not good")

// checkOwnSignatures sets what the signatures of a package came to. A deb carries
// none: its archive signs an index, which checkIndexes looks at.
func checkOwnSignatures(to *record.PackageFile, r pkginfo.Reader) {
	signed, ok := r.(*rpm.Reader)
	if !ok {
		to.Signature = string(rpm.Unsigned)
		return
	}
	verdict := signed.Verdict()
	to.Signature = string(verdict)
	for _, s := range signed.Signatures() {
		switch {
		case s.State != verdict:
		case verdict == rpm.Good:
			to.Signer = fmt.Sprintf("%s (key %s)", s.Signer, s.KeyID)
		case verdict == rpm.NoKey:
			to.SignatureReason = "key " + s.KeyID
		case s.Err != nil:
			to.SignatureReason = s.Err.Error()
		}
	}
}

// checkSignatures applies the policy to the packages of a command. It returns what
// is to be told.
func checkSignatures(policy SignaturePolicy, keys int, drafts []*record.Manifest) (warnings []string, err error) {
	if policy == SignatureOff {
		return nil, nil
	}
	for _, m := range drafts {
		required := policy == SignatureRequire || policy == SignatureByKeys && keys > 0 && m.Format == pkginfo.RPM
		why := ""
		switch rpm.State(m.Package.Signature) {
		case rpm.Good:
			continue
		case rpm.Bad:
			return nil, fmt.Errorf("%w: %s was altered after it was signed; download it again", ErrSignature, m.Package.File)
		case rpm.NoKey:
			why = "is signed with a key that is not known, which --keyring may give"
		case rpm.Unsupported:
			why = "is signed in a way that hashpkg does not verify"
		default:
			why = "carries no signature"
		}
		if reason := m.Package.SignatureReason; reason != "" {
			why += ": " + reason
		}
		if required {
			return nil, fmt.Errorf("%w: %s %s", ErrSignature, m.Package.File, why)
		}
		if m.Format == pkginfo.RPM { // debs never carry one: see checkIndexes
			warnings = append(warnings, fmt.Sprintf("%s %s", m.Package.File, why))
		}
	}
	return warnings, nil
}
