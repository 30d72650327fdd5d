// Package rpm implements a reader of .rpm packages of the formats 3, 4 and 6
// (rpm's docs/manual/format_v3.md, format_v4.md and format_v6.md), and gives them
// in the package model of pkginfo. [Format] is what it offers to hashpkg; those who
// have a package to read need [NewReader] alone.
//
// The reader streams: it takes any [io.Reader], never goes back, and holds the
// header in memory but no file.
//
// [ReadDatabase] gives the packages that rpm's database in a root says are
// installed, in the same model and with their files, and the keys that rpm trusts
// there. It reads sqlite, ndb and Berkeley DB by itself and writes nothing, so that
// neither the root nor the machine needs an rpm program.
//
// # What is checked
//
// Every digest and size that the package gives: of the header, of the payload, and
// of each file; only the digests of the uncompressed payload are left out when there
// is one of the compressed, and what xz and zstd have of checksums. A package without any digest is refused. The payload must hold exactly the files
// that the header lists. Since the digest of the payload is known at its end, the
// files are worth nothing before [Reader.Next] has returned io.EOF.
//
// Signatures are verified but decide nothing: [Reader.Signatures] says
// what was found, [Reader.Signature] what it comes to, and package trust what
// becomes of that.
//
// # What is refused
//
// All that rpm refuses, and also what would put a file elsewhere than its name
// says or leave it open which file is meant: see [unpack.Tree]. Source packages
// and delta packages are refused, and packages that need a feature of rpm,
// "rpmlib(...)", that hashpkg does not know.
//
// Errors in the format are of type [FormatError]. Errors of the reader that is
// read from are wrapped.
//
// # Files that are no files
//
// Ghosts are listed by [Reader.Ghosts]; Next skips them, since the package does not
// hold them. Of a set of hard links the file whose content the payload holds comes
// first, as a regular file, whatever its place in the header.
//
// # Owners
//
// rpm names owners and has no numbers for them. An entry has the names, and its UID
// and GID are 0: of root it is the truth, and of everybody else it means that the
// caller has to look the name up in the root in question, or drop setuid and setgid
// bits as rpm does for a name that it does not find.
//
// # Repositories
//
// [Format] reads repositories as createrepo_c makes them: repomd.xml with its
// signature, primary.xml plain or packed by gzip, xz, zstd or bzip2, and lists of
// mirrors with digests (metalinks). Sources are those of yum.repos.d, with dnf's
// variables, and of zypp; the releases of some distributions are known by name.
//
// A description that nobody has signed is taken where the source says that packages
// are signed (dnf's gpgcheck without repo_gpgcheck), and the signature of the listing
// says so: whoever installs from it verifies the packages by [Format.SourceKeys].
//
// Packages of module streams are left out (docs/decisions/0019). The lists of files
// that are apart from primary.xml are not read, so that a relation that names a file
// outside of directories for programs and of /etc is not answered by an index.
//
// # The usr-merge
//
// Paths are those of a system with a merged /usr, as in backends/deb.
//
// # Programs
//
// xz and lzma data of some size are unpacked by the xz program when there is one
// in PATH; [Reader.Close] ends it.
//
// # Size
//
// It is one package of some seven thousand lines because headers are read by one
// reader wherever they stand: files named rpmdb_* are about databases, those named
// repo_* about repositories, the others about packages.
package rpm
