// Package oci keeps closures in OCI registries and layouts, as artifacts of the OCI image specification 1.1:
// [Push] and [Write] put a closure there, [Pull] and [OpenArchive] give an [Artifact], which is a source of
// objects for those who install it.
//
// # The artifact
//
// It is an image manifest of the artifact type [ArtifactType], with the empty configuration. Its first layer is
// the closure manifest, its others have the files that this names, each of them compressed by zstd:
//
//   - a file of more than 1 MiB is a blob of its own, of the media type [ObjectType]. Its annotation
//     "org.hashpkg.blake3" is the BLAKE3 of the file;
//   - the smaller files of a package are one blob, of the media type [PackType]: their bytes one behind another,
//     in the order of their paths, those of equal bytes once. The annotation is the BLAKE3 of the BLAKE3s of
//     these files, 32 bytes each.
//
// "org.hashpkg.size" is how many bytes a blob has unpacked. So which blobs there are follows from the closure
// manifest, and those of a package are the same in every closure that has it: a registry has them once.
//
// Where that were more blobs than the 4 MiB of a manifest can name, it is 2 MiB, or 4, and so on. The manifest's
// annotation "org.hashpkg.own-blob" is that number of bytes, and whoever reads goes by it.
//
// Signatures are artifacts of the type [SignatureType], of which the closure is the subject: notes about the
// closure manifest.
//
// # What is believed
//
// Nothing. The closure manifest is compared with the digest that names it, what it says is its
// readers' to judge by its signatures, and every file is compared with the digest that the closure
// manifest has of it. Windows of more than 8 MiB are refused, and nothing is unpacked beyond the sizes that
// the manifest says.
package oci
