package pkginfo

// Verdict is what the verification of signatures came to.
type Verdict string

// The verdicts. Records have these words. Each is stronger than those before it:
// one bad signature makes a bad package, whatever the others say.
const (
	Unsigned    Verdict = "unsigned"    // there is none
	Unsupported Verdict = "unsupported" // made in a way that is not verified
	NoKey       Verdict = "nokey"       // made with a key that is not known
	Good        Verdict = "good"
	Bad         Verdict = "bad"
)

// Stronger reports whether v decides when there is o too. The zero Verdict decides
// nothing.
func (v Verdict) Stronger(o Verdict) bool { return v.rank() > o.rank() }

func (v Verdict) rank() int {
	for i, other := range []Verdict{Unsigned, Unsupported, NoKey, Good, Bad} {
		if v == other {
			return i
		}
	}
	return -1
}

// Signature is what a package's signatures came to or, for a package of a format
// that carries none, its archive's signed index.
type Signature struct {
	Verdict Verdict `json:"signature,omitempty"`
	Signer  string  `json:"signer,omitempty"` // who made a good one, with the number of the key
	// Reason says why the verdict is not Good, or what is to be known of it if it is.
	Reason string `json:"signature_reason,omitempty"`
}
