package trust

import (
	"errors"
	"fmt"

	"github.com/hashpkg/hashpkg/pkginfo"
)

// ErrSignature is returned (wrapped) for a package that the policy refuses.
var ErrSignature = errors.New("the signature is not good")

// Policy is what becomes of packages whose signature is not good.
type Policy string

// The policies. A package that was altered after it was signed is refused by all but
// Off.
const (
	Require Policy = "require" // refuse them
	Warn    Policy = "warn"    // take them, and say so
	Off     Policy = "off"     // take them

	// ByKeys is for when nobody has asked for another: Require for packages of a
	// format that carries signatures when somebody gave keys, and else Warn. Of a
	// package whose format carries none, and which no index proves, it is silent
	// unless an index to look into was given or has other contents for the package:
	// most such packages are one's own, or from no archive that the root uses.
	ByKeys Policy = ""
)

// ParsePolicy returns the policy with a name; "" is [ByKeys].
func ParsePolicy(name string) (Policy, error) {
	switch p := Policy(name); p {
	case Require, Warn, Off, ByKeys:
		return p, nil
	}
	return "", fmt.Errorf("the policy %q for signatures is unknown: use require, warn or off", name)
}

// Rules are a policy and what it depends on.
type Rules struct {
	Policy     Policy
	KeysGiven  bool // somebody named keys, instead of the root's own
	IndexGiven bool // somebody named an index, instead of the root's own
}

// Evidence is what is known of one package.
type Evidence struct {
	pkginfo.Signature
	// ByIndex says that packages of the format carry no signatures, so that only an
	// index can prove them.
	ByIndex bool
	// Differs says that a signed index has other contents for this very version.
	Differs bool
}

// Check applies the policy to a package, which messages call name. It returns what
// is to be reported, if anything; the error wraps [ErrSignature] for a package that is
// refused.
func (r Rules) Check(name string, e Evidence) (warning string, err error) {
	if r.Policy == Off || e.Verdict == pkginfo.Good {
		return "", nil
	}
	why := explain(name, e)
	switch {
	case e.Verdict == pkginfo.Bad, r.Policy == Require, r.Policy == ByKeys && r.KeysGiven && !e.ByIndex:
		return "", fmt.Errorf("%w: %s", ErrSignature, why)
	case e.ByIndex && r.Policy == ByKeys && !r.IndexGiven && !e.Differs:
		return "", nil
	}
	return why, nil
}

// explain says what is wrong with a package's signature and what to do about it.
func explain(name string, e Evidence) string {
	reason := ""
	if e.Reason != "" {
		reason = " (" + e.Reason + ")"
	}
	switch {
	case e.Verdict == pkginfo.Bad:
		return name + " was altered after it was signed" + reason + "; download it again"
	case e.Verdict == pkginfo.NoKey:
		return name + " is signed with a key that is not known" + reason + "; give the key with --keyring"
	case e.Verdict == pkginfo.Unsupported:
		return name + " is signed in a way that hashpkg cannot verify" + reason
	case e.ByIndex && e.Differs:
		return name + " is not the package that a signed index lists for its version" + reason
	case e.ByIndex:
		return name + " is in no signed index" + reason + "; give a directory of indexes with --index"
	}
	return name + " carries no signature" + reason
}
