// Package choose decides which packages of a release a request needs. [Make] is all of
// it: a pure function of what the release has, what is asked for, and what the root
// answers already; the same questions have the same answer.
//
// # The rule
//
// Nothing is searched, since nothing conflicts: every package has a tree of its own. A
// package that is chosen brings its relations. Those that one name alone can answer are
// followed first; then, one after another, those that are not answered by then: the
// first alternative for which there is something. A package of the name goes before those that
// provide it; of these, the one with the more important priority (deb), then the first by
// name. Of a name it is the highest version that the relations allow. A second version
// is chosen only where no single one is allowed by all relations.
//
// A package gives way to another one that is needed anyway, provides its name and
// conflicts with it: both bring the same files.
//
// What only maintainer scripts need ([pkginfo.Listed.ScriptRequires]) is not chosen, and
// is said in [Choice.Skipped]. It may come because something else needs it, or because
// it was asked for.
//
// # Left to the caller
//
// What is in the packages is not known here: that two of them bring one soname the
// planner finds. Which sources are one release, and what the root answers, is for the
// caller to say.
package choose
