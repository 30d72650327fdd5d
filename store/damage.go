package store

import (
	"github.com/hashpkg/hashpkg/digest"
)

// DamageKind says what is wrong, for who is to put it right.
type DamageKind string

// The kinds of damage.
const (
	DamageObjectMissing  DamageKind = "object-missing"  // a file's object is not there
	DamageObjectBytes    DamageKind = "object-bytes"    // an object has other bytes than its name says, or cannot be read
	DamageObjectMetadata DamageKind = "object-metadata" // an object runs as somebody else
	DamageTreeMissing    DamageKind = "tree-missing"    // a whole tree is not there, or something else is in its place
	DamageFileMissing    DamageKind = "file-missing"    // a file is not in its tree
	DamageFileType       DamageKind = "file-type"       // something else is in a file's place
	DamageFileBytes      DamageKind = "file-bytes"      // a file that is no link to its object has other bytes
	DamageFileMetadata   DamageKind = "file-metadata"   // a file has another mode, owner or attribute
	DamageFileUnknown    DamageKind = "file-unknown"    // a file that the manifest does not have
	DamageLink           DamageKind = "link"            // a symbolic link is not there, or leads elsewhere
	DamageManifest       DamageKind = "manifest"        // a tree's record cannot be read, or is another one
	DamageGeneration     DamageKind = "generation"      // a generation's record cannot be read, or is another one
	DamageEdit           DamageKind = "edit"            // an edited file is not the packaged one with the recorded edit
	DamageBinding        DamageKind = "binding"         // a program is bound to another file than stands there
	DamagePrefix         DamageKind = "prefix"          // a tree's files load others from where the store is not
	DamageSystem         DamageKind = "system"          // a file of an installed package is neither as packaged nor as edited
	DamageRecord         DamageKind = "record"          // a record of edited programs, or of pins, cannot be read
)

// Damage is one file that is not what its manifest says.
type Damage struct {
	Kind    DamageKind    `json:"kind"`
	Package string        `json:"package"`         // "NAME=VERSION"; "" for what belongs to no package
	Tree    string        `json:"tree,omitempty"`  // "NAME/TREE"
	File    string        `json:"file,omitempty"`  // relative to the tree
	Object  digest.Digest `json:"object,omitzero"` // the one that a file should have
	Path    string        `json:"path"`            // on the host
	What    string        `json:"what"`            // for people, after the path: "is missing"
}

// fault is what is wrong with a file or an object; the zero value is nothing.
type fault struct {
	kind DamageKind
	what string
}
