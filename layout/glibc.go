package layout

import (
	"debug/elf"
	"path"
	"strings"

	"github.com/hashpkg/hashpkg/elfedit"
)

// LibcName is the name by which programs need the C library: glibc's soname (glibc
// shlib-versions), or musl's file, which has no soname.
func LibcName(abi *elfedit.Info) string {
	if abi.Musl {
		return "libc.so"
	}
	if abi.Machine == elf.EM_ALPHA || abi.Machine == elf.EM_IA_64 {
		return "libc.so.6.1"
	}
	return "libc.so.6"
}

// glibcSonames are the libraries that glibc builds together, which work with one
// another only (glibc shlib-versions). libcrypt, libnsl and libgcc_s come from
// elsewhere by now.
var glibcSonames = map[string]bool{
	"libc.so.6": true, "libm.so.6": true, "libmvec.so.1": true, "libpthread.so.0": true, "libdl.so.2": true,
	"librt.so.1": true, "libutil.so.1": true, "libresolv.so.2": true, "libanl.so.1": true,
	"libBrokenLocale.so.1": true, "libthread_db.so.1": true, "libc_malloc_debug.so.0": true,
	"libnss_files.so.2": true, "libnss_dns.so.2": true, "libnss_compat.so.2": true, "libnss_hesiod.so.2": true,
}

// IsGlibcLibrary reports whether a soname is that of a library which glibc builds,
// the loader's included.
func IsGlibcLibrary(name string) bool {
	return glibcSonames[name] || strings.HasPrefix(name, "ld-linux") || strings.HasPrefix(name, "ld64.so.") || name == "ld.so.1"
}

// IsCLibrary reports whether a file's name or soname is one that a loader, a C library or what is built with it
// has, of glibc or musl.
func IsCLibrary(name string) bool {
	return IsGlibcLibrary(name) || name == "libc.so" || strings.HasPrefix(name, "libc.so.") || strings.HasPrefix(name, "ld-musl-") || strings.HasPrefix(name, "libc.musl-")
}

// IsGlibcLoader reports whether a program's interpreter is glibc's.
func IsGlibcLoader(interpreter string) bool { return IsGlibcLibrary(path.Base(interpreter)) }
