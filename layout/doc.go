// Package layout says what stands where and why: the names of trees, objects
// and links under the prefix, the records of a tree ([Manifest]) and of a state
// of the system ([Generation]), and the planner ([MakePlan]) that decides which
// library answers which program.
//
// Everything here is a pure function of what it is handed; nothing reads or
// writes a disk. docs/layout.md describes the same for people.
package layout
