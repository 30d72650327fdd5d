// Package index is what one source of packages has, as one file: a [Builder] is given
// its packages one after another and writes the file, [Open] answers from the bytes of
// the file where they are, such as in a mapping, without reading it whole.
//
// [Index.Named] and [Index.Providing] are what a choice of packages asks,
// [Index.Search] and [Index.Names] what a person does.
//
// What the file says is not believed: each number is checked when it is used, and what
// one question takes of memory is bounded. A damaged file is an error that wraps
// [ErrDamaged], or an answer like that of another file, and never a panic.
//
// # Left to the caller
//
// The file has no checksum, and does not say of which source it is, or how old: who
// keeps it knows. The bytes may go when the last method has returned, since answers are
// copies. Packages are not compared: of which version is newer an index knows nothing.
//
// # Compatibility
//
// A file of another version of the form is [ErrVersion]. It is a cache: it is built
// anew from the source's own index.
package index
