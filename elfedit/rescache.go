package elfedit

import (
	"maps"
	"slices"
	"strings"
)

// The note that patchelf --build-resolution-cache writes (patchelf 0.19) and
// that the loader of Nixpkgs' glibc reads (its elf/dl-load.c, changed by
// ldcache.patch): where each needed library is found.
const (
	resolutionOwner   = "NixOS"
	resolutionType    = 0x63a86cb6
	resolutionSection = ".note.nixos.ldcache"
	resolutionAlign   = 4
)

// ResolutionCacheID is the name and the type of a note that NewResolutionCache
// makes.
func ResolutionCacheID() NoteID { return NoteID{Name: resolutionOwner, Type: resolutionType} }

// NewResolutionCache makes the note that tells a loader where to look for needed
// libraries, by their names. What is found for each is in the order of the
// search path: "=" and the path of a file, or "?" and a directory that the
// loader has to search itself.
//
// The description holds the libraries in the order of their bytes. Each is its
// name, a zero byte, what is found with colons between, and a zero byte; one more
// zero byte ends it. The loader takes only one that ends with two.
func NewResolutionCache(found map[string][]string) Note {
	var desc []byte
	for _, name := range slices.Sorted(maps.Keys(found)) {
		desc = append(append(desc, name...), 0)
		desc = append(append(desc, strings.Join(found[name], ":")...), 0)
	}
	return Note{Name: resolutionOwner, Type: resolutionType, Desc: append(desc, 0)}
}

// NoteID tells notes apart: a file has one of each name and type.
type NoteID struct {
	Name string `json:"name"`
	Type uint32 `json:"type"`
}

// ID is the note's name and type.
func (n Note) ID() NoteID { return NoteID{n.Name, n.Type} }
