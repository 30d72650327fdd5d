// Package deb implements a reader of Debian packages, deb(5), and gives them in
// the package model of pkginfo. [Format] is what it offers to hashpkg; those who have
// a package to read need [NewReader] alone.
//
// The reader streams: it takes any [io.Reader], never goes back, and holds
// neither a file nor a member in memory, only the paths that it has seen.
//
// # What is refused
//
// All that dpkg and dpkg-deb refuse, and also what would put a file elsewhere
// than its name says or leave it open which file is meant: names that leave the
// root, entries below a symlink or a file of the same package, two files of one
// name, hard links to anything but an earlier regular file, devices outside
// /dev, pax headers and sparse files, and data after the end of a compressed
// stream or tar archive. Further members after the data member are ignored, as
// deb(5) asks, and so is what else may follow it; they are not read.
//
// Errors in the format are of type [FormatError]. Errors of the reader that is
// read from are wrapped.
//
// # The usr-merge
//
// Paths are those of a system with a merged /usr: what a package holds in /bin,
// /sbin, /lib, /lib32, /lib64 and /libx32 has a Path in usr/bin and so on. A
// directory that a package holds in both places comes once.
//
// # dpkg and apt
//
// [OpenDatabase] reads what dpkg has installed in a root. A deb carries no signature:
// [CheckFiles] looks it up in indexes that its archive has signed, and [Format.Prove]
// in those and with the keys that the root's apt has.
//
// # Repositories
//
// [Format.RootSources] reads the files of sources.list(5), and [Format.Release] knows the
// releases of Debian and Ubuntu. [Format.List] verifies the Release file of one, which
// lists indexes, and [Format.ReadIndex] reads an index. Nothing is fetched but by the
// function that List is given.
//
// # Programs
//
// xz and lzma data of some size are unpacked by the xz program when there is one
// in PATH; [Reader.Close] ends it.
//
// # Size
//
// It is one package of some four thousand lines: packages, the database of
// installed ones, and the indexes that list and prove a package are written in one
// syntax and compared with one another.
package deb
