package elfedit

import "debug/elf"

// nameRef is a place in the file that holds the offset of a string in the
// dynamic string table, as 32 bits.
type nameRef struct {
	at   uint64 // offset in the file
	name uint32
}

// verneed is one Elf_Verneed with its Elf_Vernaux entries (Linux Standard
// Base, "Version Requirements"). Both classes have the same layout.
type verneed struct {
	file nameRef
	aux  []vernaux
}

type vernaux struct {
	name  nameRef
	flags uint16
	index uint16 // the number in .gnu.version
}

// verdef is one Elf_Verdef; names holds its own name and then its parents'.
type verdef struct {
	flags uint16
	index uint16
	names []nameRef
}

// Sizes and flags of the symbol version structures.
const (
	verneedSize = 16
	vernauxSize = 16
	verdefSize  = 20
	verdauxSize = 8

	verFlagBase = 1
	verFlagWeak = 2
)

// chain walks entries that each say how far the next is. It yields no more
// entries than the bytes behind off could hold side by side, so that entries
// which point at one another end.
type chain struct {
	img  *image
	left uint64
}

func (img *image) chain(off, entry uint64) *chain {
	return &chain{img, (uint64(len(img.data))-off)/entry + 1}
}

func (c *chain) entry(off, size uint64, what string) ([]byte, error) {
	if c.left == 0 {
		return nil, broken(off, "%s overlap", what)
	}
	c.left--
	return c.img.bytes(off, size, what)
}

// verneeds reads DT_VERNEED. end is the offset behind its last entry.
func (img *image) verneeds() (needs []verneed, off, end uint64, err error) {
	addr, ok := img.dynValue(elf.DT_VERNEED)
	count, _ := img.dynValue(elf.DT_VERNEEDNUM)
	if !ok || count == 0 {
		return nil, 0, 0, nil
	}
	const what = "the needed versions"
	if off, err = img.offset(addr, verneedSize, what); err != nil {
		return nil, 0, 0, err
	}
	entries := img.chain(off, verneedSize)
	o := img.order
	for at := off; count > 0; count-- {
		b, err := entries.entry(at, verneedSize, what)
		if err != nil {
			return nil, 0, 0, err
		}
		end = max(end, at+verneedSize)
		need := verneed{file: nameRef{at + 4, o.Uint32(b[4:])}}
		auxAt := at + uint64(o.Uint32(b[8:]))
		for n := o.Uint16(b[2:]); n > 0; n-- {
			a, err := entries.entry(auxAt, vernauxSize, what)
			if err != nil {
				return nil, 0, 0, err
			}
			end = max(end, auxAt+vernauxSize)
			need.aux = append(need.aux, vernaux{
				name: nameRef{auxAt + 8, o.Uint32(a[8:])}, flags: o.Uint16(a[4:]), index: o.Uint16(a[6:]),
			})
			next := uint64(o.Uint32(a[12:]))
			if next == 0 {
				break
			}
			auxAt += next
		}
		needs = append(needs, need)
		next := uint64(o.Uint32(b[12:]))
		if next == 0 {
			break
		}
		at += next
	}
	return needs, off, end, nil
}

// verdefs reads DT_VERDEF. end is the offset behind its last entry.
func (img *image) verdefs() (defs []verdef, off, end uint64, err error) {
	addr, ok := img.dynValue(elf.DT_VERDEF)
	count, _ := img.dynValue(elf.DT_VERDEFNUM)
	if !ok || count == 0 {
		return nil, 0, 0, nil
	}
	const what = "the defined versions"
	if off, err = img.offset(addr, verdefSize, what); err != nil {
		return nil, 0, 0, err
	}
	entries := img.chain(off, verdauxSize)
	o := img.order
	for at := off; count > 0; count-- {
		b, err := entries.entry(at, verdefSize, what)
		if err != nil {
			return nil, 0, 0, err
		}
		end = max(end, at+verdefSize)
		def := verdef{flags: o.Uint16(b[2:]), index: o.Uint16(b[4:])}
		auxAt := at + uint64(o.Uint32(b[12:]))
		for n := o.Uint16(b[6:]); n > 0; n-- {
			a, err := entries.entry(auxAt, verdauxSize, what)
			if err != nil {
				return nil, 0, 0, err
			}
			end = max(end, auxAt+verdauxSize)
			def.names = append(def.names, nameRef{auxAt, o.Uint32(a)})
			next := uint64(o.Uint32(a[4:]))
			if next == 0 {
				break
			}
			auxAt += next
		}
		defs = append(defs, def)
		next := uint64(o.Uint32(b[16:]))
		if next == 0 {
			break
		}
		at += next
	}
	return defs, off, end, nil
}

// changeVersions renames the files of needed versions.
func (e *editor) changeVersions() error {
	if e.dynProg < 0 || len(e.changes.VersionFiles)+len(e.changes.ReplaceNeeded) == 0 {
		return nil
	}
	needs, off, _, err := e.verneeds()
	if err != nil {
		return err
	}
	if e.table == nil && len(needs) > 0 {
		return e.noStringTable()
	}
	for _, n := range needs {
		name, err := e.table.text(uint64(n.file.name), "a version's file name")
		if err != nil {
			return err
		}
		if renamed := e.changes.versionFile(name); renamed != name {
			if e.region(regionVerneed) == nil {
				return broken(off, "the end of the needed versions is unknown")
			}
			e.table.want(renamed, e.nameSetter(regionVerneed, n.file.at-off))
		}
	}
	return nil
}

// wantOldVersions registers the names of needed versions that are behind the
// mark and stay.
func (e *editor) wantOldVersions() error {
	if e.table.base == uint64(len(e.table.old)) {
		return nil
	}
	needs, off, _, err := e.verneeds()
	if err != nil {
		return err
	}
	for _, n := range needs {
		name, err := e.table.text(uint64(n.file.name), "a version's file name")
		if err != nil {
			return err
		}
		if e.changes.versionFile(name) == name {
			if err := e.wantName(regionVerneed, off, n.file); err != nil {
				return err
			}
		}
		for _, a := range n.aux {
			if err := e.wantName(regionVerneed, off, a.name); err != nil {
				return err
			}
		}
	}
	return nil
}
