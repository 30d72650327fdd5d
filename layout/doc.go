// Package layout says what stands where under the prefix: the names of trees,
// objects and generations, the architectures, and the directories of a tree's
// interface. docs/layout.md describes the same for people.
//
// The records and the decisions have packages of their own below: record (manifests
// and generations as data), farm (the links of a generation), graph (who leads to
// whom), rewrite (the edits that records describe, made and undone) and plan (which
// library answers which program). Everything here and there is a pure function of
// what it is handed; nothing reads or writes a disk.
package layout
