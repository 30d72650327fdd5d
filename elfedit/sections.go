package elfedit

import (
	"bytes"
	"debug/elf"
)

// newSect is a section header that an edit adds: for a part of a region.
type newSect struct {
	sect
	name  string
	r     *region
	at    uint64 // where in the region it starts
	align uint64
}

// newProg is a program header that an edit adds. With a region, it leads to
// that.
type newProg struct {
	prog
	r *region
}

// extendSections makes room for more section headers and for their names. The
// two tables end most files and grow there; otherwise they move to the end.
func (e *editor) extendSections() error {
	if len(e.addSects) == 0 {
		return nil
	}
	if int(e.shstrndx) >= len(e.sects) || len(e.sects)+len(e.addSects) >= int(elf.SHN_LORESERVE) {
		e.addSects = nil // without names, or too many: readers use the program headers
		return nil
	}
	names := &e.newSects[e.shstrndx]
	old := e.sects[e.shstrndx]
	table := bytes.Clone(e.data[old.off : old.off+old.fileSize()])
	for i := range e.addSects {
		s := &e.addSects[i]
		at := findString(table, s.name)
		if at < 0 {
			at = len(table)
			table = append(append(table, s.name...), 0)
		}
		s.sect.name = uint32(at)
	}
	count := uint64(len(e.sects) + len(e.addSects))
	if e.tablesAreLast() {
		e.newShoff = alignUp(names.off+uint64(len(table)), e.wordSize())
	} else {
		if err := e.payload(); err != nil {
			return err
		}
		if uint64(len(table)) > names.size {
			names.off = alignUp(e.out.size, 16)
		}
		end := max(e.out.size, names.off+uint64(len(table)))
		e.newShoff = alignUp(end, 16)
	}
	names.size = uint64(len(table))
	e.out.write(names.off, table)
	end := e.newShoff + count*e.sectSize()
	if end > e.out.size {
		e.out.zero(e.out.size, end-e.out.size)
	}
	e.writeBound()
	return nil
}

// tablesAreLast reports whether the section names and, right behind them, the
// section headers end the file.
func (e *editor) tablesAreLast() bool {
	names := e.newSects[e.shstrndx]
	end := names.off + names.fileSize()
	if end > e.newShoff || e.newShoff-end >= 16 || e.newShoff+uint64(len(e.sects))*e.sectSize() != e.out.size {
		return false
	}
	for i, s := range e.newSects {
		if uint32(i) != e.shstrndx && s.fileSize() > 0 && s.off+s.fileSize() > names.off {
			return false
		}
	}
	for _, p := range e.newProgs {
		if p.kind != elf.PT_NULL && p.filesz > 0 && p.fileEnd() > names.off {
			return false
		}
	}
	return true
}

// appendSections gives the added section headers their places, and makes the
// dynamic section's lead to its string table.
func (e *editor) appendSections() {
	for _, s := range e.addSects {
		s.sect.off, s.sect.addr = s.r.newOff+s.at, s.r.newAddr+s.at
		if s.r.kind == regionDynstr {
			for i := range e.newSects {
				if e.newSects[i].kind == elf.SHT_DYNAMIC {
					e.newSects[i].link = uint32(len(e.newSects))
				}
			}
		}
		e.newSects = append(e.newSects, s.sect)
	}
}
