// Package images makes OCI images of trees, without a base image: [Make] returns one, and
// [Place.Write] puts it where containers' tools find it.
//
// # What is in an image
//
// The files of a package stand at the paths that the package gave them, as in a root that the
// distribution's own package manager has filled, and the package's tree leads there:
//
//	/usr/bin/jq
//	/var/sys/jq/1.7.1-6/usr -> ../../../../usr
//	/var/sys/jq/1.7.1-6/bin/jq -> ../usr/bin/jq
//
// so that all paths that are written into programs hold: those of the libraries that they are bound
// to, and those of the data that they open. No program needs a view. A tree whose files another one
// has the place of, as that of a second version, stands below the prefix with all of its files.
//
// Each tree is a layer, which follows from its manifest alone: it is the same in every image. The
// last layer has what follows from all of them: the farm, accounts, the bill of materials. See [Make].
//
// The formats are those of the OCI image specification, version 1.1.
package images
