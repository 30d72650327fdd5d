// Package elfedit reads ELF files and edits them in place, as the gABI and
// glibc's loader define them. Most callers need Inspect, Make and
// (Edit).Apply.
//
// Bytes go in and bytes come out: the package opens no file and runs no
// program. It works from the program headers and PT_DYNAMIC; section headers
// are not needed, and are kept right where a file has them.
//
// # Edits
//
// Make computes an edit and changes nothing. An Edit is data: the byte ranges
// that it replaces, with the bytes before and after. It can be kept as JSON,
// applied to the file that it was made from and to no other, and inverted:
// applying the inverse gives the first file back to the byte. Make holds only
// those ranges in memory, never a copy of the file.
//
// # Where new bytes go
//
// A string that the string table holds already is used again. Otherwise the
// table grows where it is, or is copied to the unused tail of a segment that
// is mapped read-only, or changes places with the small tables behind it. Only
// when a file has no such room does it gain a segment: one, read-only, above
// every address in use, which later edits find again and fill anew. The
// dynamic section stays where it is while it has spare entries; see Make for
// what happens then, and Info.DynamicRoom for how far that goes.
//
// # Closure objects
//
// Closure describes a library that is nothing but a list of others, and (*Closure).Bytes
// makes it: for a program whose own list has no room for all of them.
//
// # What is left to the caller
//
// Which names are right. The package does not resolve libraries, and an edit
// that names a library which does not exist is made as asked. Writing files
// safely, and keeping their metadata, are the caller's too.
//
// # What stays compatible
//
// The JSON form of Info, Edit and Closure. New fields are added, none change meaning. The bytes
// of the object of a closure stay the same.
//
// # Size
//
// It is one package of some five thousand lines because an edit touches tables that
// refer to one another: each file here knows how one of them moves.
package elfedit
