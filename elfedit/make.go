package elfedit

import "debug/elf"

// Make computes the edit that makes the changes. data is not changed, and may
// be a read-only mapping; the edit holds copies of what it replaces. Changes
// that ask for what is there give an edit without hunks.
//
// The error is a *RefusedError for a sound file or a change that is refused:
// objects and kernel modules, core files, files of debugging information,
// changes of the dynamic section where there is none, a search path for the
// loader itself. It is a *FormatError for a broken file, and wraps ErrNotELF
// for one without the magic number.
//
// When the dynamic section has no spare entries left, it moves: into unused
// bytes before the segment that holds it, or with that segment's bytes to the
// end of the file, and stays covered by PT_GNU_RELRO both times. When neither
// can be, it goes into a writable segment of its own. That is refused with
// ErrLeavesRelRO where RELRO covered it, unless the changes allow it.
func Make(data []byte, c Changes) (Edit, error) {
	e, err := newEditor(data, &c)
	if err != nil {
		return Edit{}, err
	}
	if err := e.run(); err != nil {
		return Edit{}, err
	}
	return e.out.edit(), nil
}

// editor is the state of one Make. The image is the file as it was; what is
// changed stands beside it until emit writes it.
type editor struct {
	*image
	changes *Changes
	out     *overlay

	newProgs []prog // as progs, with changes; same indexes until addSegments
	newSects []sect
	newShoff uint64
	addSects []newSect // section headers to append

	regions []*region // in the order of their offsets
	gaps    []*gap

	table   *stringTable // nil without a dynamic section, or while that names none
	newDyn  []dynString  // the dynamic entries as they shall be
	dynEdit bool         // newDyn differs from dyn

	arena   int       // index in newProgs of the file's own read-only segment, -1
	toArena []*region // what has no room but in that segment
	ownRW   int       // index in newProgs of a writable segment made for the dynamic section, -1
	newRW   *region   // the dynamic section, when it needs a writable segment of its own
	dumped  bool      // see isDumped

	boundAt []*region // the notes of bound libraries, which are in no segment

	addProgs []newProg // program headers to add that are no PT_LOAD
	moved    []sectMove
	renamed  map[uint64]bool // indexes of dynamic symbols that get another name
	place    []uint64        // by old index of a dynamic symbol, the new one; nil when none moves
}

func newEditor(data []byte, c *Changes) (*editor, error) {
	img, err := parse(data)
	if err != nil {
		return nil, err
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	e := &editor{image: img, changes: c, out: newOverlay(data), newShoff: img.shoff, arena: -1, ownRW: -1}
	if err := e.refuse(); err != nil {
		return nil, err
	}
	if img.sectsErr != nil {
		return nil, img.sectsErr
	}
	e.newProgs = append([]prog(nil), img.progs...)
	e.newSects = append([]sect(nil), img.sects...)
	if img.dynProg >= 0 {
		if err := e.openStrings(); err != nil {
			return nil, err
		}
	}
	if err := e.findRegions(); err != nil {
		return nil, err
	}
	e.findGaps()
	e.findOwnSegments()
	return e, nil
}

// maxProgs bounds the work that a file can ask for; linkers make about a dozen
// program headers.
const maxProgs = 256

// run makes the changes in the overlay. The regions' content comes first, then
// their places, at last what refers to them.
func (e *editor) run() error {
	for _, step := range []func() error{
		e.changeHeader,
		e.changeInterpreter,
		e.changeDynamic,
		e.changeVersions,
		e.changeSymbols,
		e.changeNotes,
		e.nameStrings,
		e.placeDynamic,
		e.placeStrings,
		e.placeOthers,
		e.placeBound,
		e.extendSections,
		e.addSegments,
		e.bindSelf,
		e.emit,
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// refuse refuses kinds of files, and changes that a kind of file cannot have.
func (e *editor) refuse() error {
	switch e.kind {
	case elf.ET_EXEC, elf.ET_DYN:
	case elf.ET_REL:
		return refused("an object file or kernel module is not loaded by the dynamic loader")
	case elf.ET_CORE:
		return refused("a core file is not edited")
	default:
		return refused("an ELF file of type %d is not edited", e.kind)
	}
	if e.isSplitDebug() {
		return refused("the file holds only the debugging information of another")
	}
	if len(e.progs) == 0 {
		return refused("the file has no program headers")
	}
	if len(e.progs) > maxProgs {
		return refused("the file has %d program headers; %d are the most that are edited", len(e.progs), maxProgs)
	}
	if (e.dynProg < 0 || e.dynSlots == 0) && e.changes.touchesDynamic() {
		return refused("the file has no dynamic section: it is linked statically, or has lost it")
	}
	for i, p := range e.progs {
		if p.kind == elf.PT_LOAD && p.fileEnd() > uint64(len(e.data)) {
			return broken(e.phoff+uint64(i)*e.progSize(), "segment %d reaches past the end of the file", i)
		}
		if p.kind == elf.PT_LOAD && p.filesz > p.memsz {
			return broken(e.phoff+uint64(i)*e.progSize(), "segment %d is larger in the file than in memory", i)
		}
	}
	return nil
}

// changeHeader sets what is in the file header and in PT_GNU_STACK.
func (e *editor) changeHeader() error {
	if e.changes.OSABI != nil {
		e.out.write(identOSABI, []byte{byte(*e.changes.OSABI)})
	}
	if e.changes.ExecStack == nil {
		return nil
	}
	flags := elf.PF_R | elf.PF_W
	if *e.changes.ExecStack {
		flags |= elf.PF_X
	}
	for i, p := range e.newProgs {
		if p.kind == elf.PT_GNU_STACK {
			if *e.changes.ExecStack {
				e.newProgs[i].flags |= elf.PF_X
			} else {
				e.newProgs[i].flags &^= elf.PF_X
			}
			return nil
		}
	}
	e.addProgs = append(e.addProgs, newProg{prog: prog{kind: elf.PT_GNU_STACK, flags: flags, align: 16}})
	return nil
}

// changeInterpreter writes the interpreter's name into its region.
func (e *editor) changeInterpreter() error {
	if e.changes.Interpreter == nil {
		return nil
	}
	r := e.region(regionInterp)
	if r == nil {
		return refused("the file has no interpreter to replace")
	}
	name := append([]byte(*e.changes.Interpreter), 0)
	for uint64(len(name)) < r.size { // keeps the room that there is
		name = append(name, 0)
	}
	r.content = name
	return nil
}
