package layout

import (
	"debug/elf"
	"strings"

	"github.com/hashpkg/hashpkg/elfedit"
	"github.com/hashpkg/hashpkg/ldso"
)

// triplets maps the architecture names of dpkg and rpm to Debian's multi-arch
// triplets (dpkg: data/cputable and tupletable; rpm: rpmrc.in).
var triplets = map[string]string{
	"amd64": "x86_64-linux-gnu", "x86_64": "x86_64-linux-gnu",
	"i386": "i386-linux-gnu", "i486": "i386-linux-gnu", "i586": "i386-linux-gnu", "i686": "i386-linux-gnu",
	"x32":   "x86_64-linux-gnux32",
	"arm64": "aarch64-linux-gnu", "aarch64": "aarch64-linux-gnu",
	"armhf": "arm-linux-gnueabihf", "armv7hl": "arm-linux-gnueabihf", "armv7hnl": "arm-linux-gnueabihf",
	"armel": "arm-linux-gnueabi", "armv5tel": "arm-linux-gnueabi",
	"ppc64el": "powerpc64le-linux-gnu", "ppc64le": "powerpc64le-linux-gnu",
	"ppc64": "powerpc64-linux-gnu", "powerpc": "powerpc-linux-gnu",
	"s390x":   "s390x-linux-gnu",
	"riscv64": "riscv64-linux-gnu",
	"mips":    "mips-linux-gnu", "mipsel": "mipsel-linux-gnu",
	"mips64el": "mips64el-linux-gnuabi64",
	"loong64":  "loongarch64-linux-gnu", "loongarch64": "loongarch64-linux-gnu",
}

// siblings maps a 64-bit architecture to the 32-bit one whose libraries stand in
// lib/.
var siblings = map[string]string{
	"x86_64-linux-gnu":        "i386-linux-gnu",
	"aarch64-linux-gnu":       "arm-linux-gnueabihf",
	"powerpc64-linux-gnu":     "powerpc-linux-gnu",
	"mips64el-linux-gnuabi64": "mipsel-linux-gnu",
}

// Triplet returns the multi-arch triplet of a package architecture as dpkg or
// rpm names it; "" for those that belong to every machine ("all", "noarch").
// ok is false for a name that is not known.
func Triplet(architecture string) (triplet string, ok bool) {
	if architecture == "all" || architecture == "noarch" {
		return "", true
	}
	triplet, ok = triplets[architecture]
	return triplet, ok
}

// LibraryDirs returns the payload's directories in which a loader looks on its
// own for libraries of this ABI: glibc's system directories, as Debian and as
// the rpm distributions build it, or musl's, as Debian has it and as it is built without
// changes.
func LibraryDirs(info *elfedit.Info) []string {
	dirs := []string{"usr/lib/" + ldso.Triplet(info)}
	if info.Musl {
		return append(dirs, "usr/lib")
	}
	if info.Class == elf.ELFCLASS64 {
		dirs = append(dirs, "usr/lib64", "usr/lib")
	} else {
		dirs = append(dirs, "usr/lib", "usr/lib32")
	}
	return dirs
}

// LibraryDir returns the interface directory for a library of this ABI in a
// root whose own architecture is the triplet own: "lib64" for its 64-bit
// libraries, "lib" for its 32-bit ones or its 32-bit sibling's, "lib/TRIPLET"
// for a foreign architecture, and for musl.
func LibraryDir(own string, info *elfedit.Info) string {
	triplet := ldso.Triplet(info)
	switch {
	case triplet == own && info.Class == elf.ELFCLASS64:
		return "lib64"
	case triplet == own, siblings[own] == triplet:
		return "lib"
	}
	return "lib/" + triplet
}

// IsTriplet reports whether a name is the multi-arch triplet of an architecture, or that
// of its libraries of musl.
func IsTriplet(name string) bool {
	name = strings.Replace(name, "-linux-musl", "-linux-gnu", 1)
	for _, t := range triplets {
		if t == name {
			return true
		}
	}
	return false
}

// Runs reports whether a machine whose architecture is a triplet could run a file of
// this ABI: the file is for it, or for its 32-bit sibling.
func Runs(machine string, info *elfedit.Info) bool {
	file := ldso.MachineTriplet(info)
	return file == machine || siblings[machine] == file || machine == "x86_64-linux-gnu" && file == "x86_64-linux-gnux32"
}
