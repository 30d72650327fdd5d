package notes

import (
	"errors"
	"fmt"

	"github.com/hashpkg/hashpkg/backends/trust"
)

// Rules are a policy, and whom it trusts.
type Rules struct {
	Policy trust.Policy // see [trust.Policy]; [trust.ByKeys] requires signatures where anybody is trusted, and else warns
	Trust  *Trust
	Fixed  bool // nobody who installs can give other keys
}

// RulesOf returns those for a manifest that another one names with the public key which has to sign it.
func RulesOf(key string) (Rules, error) {
	t, err := NewTrust([]string{key}, 1)
	return Rules{Policy: trust.Require, Trust: t, Fixed: true}, err
}

// Verdict is what became of a manifest's signatures.
type Verdict struct {
	Statement *Statement // nil for a manifest without a note
	Signers   []string   // who are trusted, sorted
	Warning   string     // what is to be said, if anything
}

// Check applies the policy to an encoded manifest that messages call name. b is its note, nil where there is
// none. taken is what was said of the last one that was taken from the same place; nil for none. The
// error wraps [trust.ErrSignature], and one of this package.
//
// A note that is of another manifest, that was altered, or that is older than what was taken before, is
// refused by every policy but [trust.Off]; the note's date counts only where somebody who is trusted
// has signed it.
func (r Rules) Check(name string, manifest, b []byte, taken *Statement) (Verdict, error) {
	if r.Policy == trust.Off {
		return Verdict{}, nil
	}
	t := r.Trust
	if t == nil {
		t = &Trust{}
	}
	var v Verdict
	err := ErrNone
	if b != nil {
		v.Statement, v.Signers, err = t.Verify(manifest, b)
	}
	if err == nil {
		err = Newer(taken, v.Statement)
	}
	lacks := errors.Is(err, ErrNone) || errors.Is(err, ErrUnknown) || errors.Is(err, ErrThreshold)
	switch {
	case err == nil:
		return v, nil
	case !lacks, r.Policy == trust.Require, r.Policy == trust.ByKeys && t.Any():
		return Verdict{}, fmt.Errorf("%w: %s: %w", trust.ErrSignature, name, err)
	}
	v.Warning = fmt.Sprintf("%s: %v", name, err)
	return v, nil
}
