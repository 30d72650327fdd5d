// Package layout says what stands where under the prefix: the names of trees,
// objects and generations, the architectures, and the directories of a tree's
// interface. docs/layout.md describes the same for people.
//
// The records and the decisions have packages of their own below: record (manifests
// and generations as data), farm (the links of a generation), plan (which library
// answers which program) and graph (who leads to whom). Everything here and there
// is a pure function of what it is handed; nothing reads or writes a disk.
package layout
