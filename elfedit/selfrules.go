package elfedit

import (
	"debug/elf"
	"slices"
	"strings"
)

// Of which files nothing is bound, and of which symbols: what others replace on purpose, or
// know better than by symbols.

// isRuntime reports whether the file is of the C library, whose parts know each other better than
// by their symbols, or the runtime of a sanitizer, which must be asked for what others define.
func (s *selfBinder) isRuntime() (bool, error) {
	for _, version := range s.versions {
		if version == "GLIBC_PRIVATE" {
			return true, nil
		}
	}
	at, ok := s.img.dynValue(elf.DT_SONAME)
	if !ok || s.strings == nil {
		return false, nil
	}
	soname, err := s.text(at, "the soname")
	if err != nil {
		return false, err
	}
	stem, _, _ := strings.Cut(soname, ".so")
	return isLoaderName(soname) || slices.Contains(cLibrary, stem) || strings.HasPrefix(soname, "libclang_rt.") ||
		strings.HasPrefix(soname, "libnss_") && strings.HasSuffix(soname, ".so.2"), nil
}

// cLibrary are the libraries that are built with glibc, of all its releases, and sanitizers'
// runtimes, without ".so" and what follows.
var cLibrary = []string{
	"libc", "libm", "libmvec", "libpthread", "libdl", "librt", "libutil", "libresolv", "libanl", "libnsl", "libcrypt",
	"libthread_db", "libBrokenLocale", "libSegFault", "libmemusage", "libpcprofile", "libc_malloc_debug",
	"libasan", "liblsan", "libtsan", "libmsan", "libhwasan", "libubsan",
}

// maxNamesakes is how many versions of one symbol are compared with each other at most: files with more are
// made to cost time.
const maxNamesakes = 64

// isOwn reports whether a look-up of the symbol in this file alone gives the symbol, and nobody
// but the loader has anything to do with it.
func (s *selfBinder) isOwn(index uint64, symbol Symbol) bool {
	own := s.at(index)
	if bind := elf.ST_BIND(own.info); bind != elf.STB_GLOBAL && bind != elf.STB_WEAK ||
		elf.ST_VISIBILITY(own.other) != elf.STV_DEFAULT || index < s.first || own.value == 0 ||
		own.shndx == uint16(elf.SHN_UNDEF) || own.shndx >= uint16(elf.SHN_LORESERVE) ||
		s.versym != nil && s.number(index)&versymIndex == 0 {
		return false
	}
	switch elf.ST_TYPE(own.info) {
	case elf.STT_FUNC:
	case elf.STT_OBJECT:
		if !s.program && !isCXXData(symbol.Name) {
			return false
		}
	case elf.STT_NOTYPE:
		if !s.program {
			return false
		}
	default:
		return false
	}
	if isReplaced(symbol.Name) || len(s.byName[symbol.Name]) > maxNamesakes {
		return false
	}
	for _, i := range s.byName[symbol.Name] {
		version := s.versions[s.number(i)&versymIndex]
		if !(Symbol{symbol.Name, version}).MayAnswer(symbol) {
			continue
		}
		if o := s.at(i); o.value != own.value || o.shndx != own.shndx || elf.ST_TYPE(o.info) != elf.ST_TYPE(own.info) {
			return false
		}
	}
	return true
}

// isCXXData reports whether a symbol is a vtable, VTT, construction vtable, or type information or
// its name (Itanium C++ ABI, "Special names"), of which no program has a copy that it writes to.
func isCXXData(name string) bool {
	return len(name) > 3 && name[:3] == "_ZT" && strings.IndexByte("VTCIS", name[3]) >= 0
}

// isReplaced reports whether a function is one that programs and preloaded libraries
// replace for all others, and not only functions of the C library: these have no other object's name.
func isReplaced(name string) bool {
	if replaced[name] {
		return true
	}
	for _, prefix := range replacedPrefixes {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return isGL(name)
}

var replaced = map[string]bool{
	// malloc(3), "Replacing malloc", in glibc's manual, and what allocators have beside it.
	"malloc": true, "calloc": true, "realloc": true, "reallocarray": true, "free": true, "cfree": true, "free_sized": true,
	"free_aligned_sized": true, "memalign": true, "aligned_alloc": true, "posix_memalign": true, "valloc": true, "pvalloc": true,
	"malloc_usable_size": true, "mallopt": true, "mallinfo": true, "mallinfo2": true, "malloc_trim": true, "malloc_stats": true,
	"malloc_info": true,
	// What fakeroot has of libacl (its wrapfunc.inp).
	"acl_get_fd": true, "acl_get_file": true, "acl_set_fd": true, "acl_set_file": true,
}

var replacedPrefixes = []string{
	"_Znw", "_Zna", "_Zdl", "_Zda", // C++, [replacement.functions]
	"__cxa_", "_Unwind_", // sanitizers are told of exceptions and guards so (compiler-rt, sanitizer_common and its tools)
	"MPI_", "mpi_", // MPI 4.0, section 15.2, "Profiling Interface"
}

// isGL reports whether a function is of OpenGL, GLX or EGL, of which tracers and overlays take the place.
func isGL(name string) bool {
	for _, prefix := range []string{"egl", "gl", "glX"} {
		if rest, ok := strings.CutPrefix(name, prefix); ok && rest != "" && rest[0] >= 'A' && rest[0] <= 'Z' {
			return true
		}
	}
	return false
}
