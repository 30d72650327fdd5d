// Package trust decides whose packages are taken: it holds the keys that may sign
// ([Keyring], by [ParseKeyring]) and judges what the verification of a package came
// to by a policy ([Policy], [Rules.Check]). Both are the same for every format.
//
// What a signature covers, and how it is verified, is the format's: its backend
// returns a [pkginfo.Signature], and knows nothing of policies.
package trust
