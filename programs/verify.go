package programs

import "github.com/hashpkg/hashpkg/layout/record"

// Class is what a file of a package is found to be.
type Class int

// The classes of files.
const (
	Unknown  Class = iota // the database has no digest of it
	Pristine              // what its package brought
	Proved                // that and the recorded edit, nothing else
	Altered               // somebody else has changed it
)

// Prove compares the bytes of a package's file with its digest in the package
// manager's database and with the record of edited programs: for an edited one, it
// undoes the edit. what says how an altered one is, and reads after its path.
func Prove(edits *record.PackageEdits, path, digest string, data []byte) (class Class, what Reason) {
	i, recorded := search(edits.Files, path)
	if recorded {
		packaged, current, err := Undo(&edits.Files[i], data)
		switch {
		case err != nil:
			return Altered, "undoing its recorded edit does not give the recorded bytes"
		case current != nil && !hasDigest(packaged, digest):
			return Altered, "undoing its recorded edit does not give the packaged bytes"
		case current != nil:
			return Proved, ""
		}
	}
	switch {
	case !knownDigest(digest):
		return Unknown, ""
	case hasDigest(data, digest):
		return Pristine, ""
	case recorded:
		return Altered, neither
	}
	return Altered, "is not what its package brought"
}
