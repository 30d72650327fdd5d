package elfedit

import (
	"bytes"
	"debug/elf"
	"errors"
	"path"
	"slices"
	"strings"
)

// Limits of what Inspect copies from a file, so that a small file whose
// structures overlap cannot ask for much memory.
const (
	maxName   = 1 << 16 // bytes of one name or search path
	spareCopy = 1 << 20 // bytes beyond the size of the file
)

// Inspect reads any ELF file: programs, libraries, objects, kernel modules,
// core files, split debug files. The error wraps ErrNotELF when the magic
// number is missing and is a *FormatError when a structure that the loader
// would read is broken; when it wraps ErrNoStringTable, the Info is returned as
// well, with empty names in it. Broken section headers are no error, as the loader
// does not read them. The notes of core files are left out.
func Inspect(data []byte) (*Info, error) {
	img, err := parse(data)
	if err != nil {
		return nil, err
	}
	in := inspector{img: img, left: 4*len(data) + spareCopy}
	if err := in.run(); err != nil {
		return nil, err
	}
	return &in.info, in.noTable
}

// inspector fills info.
type inspector struct {
	img  *image
	info Info
	left int // bytes that may still be copied

	tableAt uint64
	table   []byte
	noTable error // for names, in a file that has no table of them
}

func (in *inspector) run() error {
	img, info := in.img, &in.info
	*info = Info{
		Class: elf.Class(img.data[4]), Data: elf.Data(img.data[5]),
		Machine: img.machine, Type: img.kind, OSABI: img.osabi, ABIVersion: img.abiVersion, Flags: img.flags,
		SplitDebug: img.isSplitDebug(),
	}
	if info.SplitDebug {
		return nil
	}
	for _, p := range img.progs {
		if err := in.prog(p); err != nil {
			return err
		}
	}
	if img.dynProg < 0 {
		return nil
	}
	info.HasDynamic = img.dynSlots > 0
	info.DynamicRelRO, info.DynamicRoom = img.dynamicRoom()
	if err := in.dynamic(); err != nil {
		return err
	}
	if err := in.versions(); err != nil {
		return err
	}
	in.bound()
	return nil
}

func (in *inspector) prog(p prog) error {
	img, info := in.img, &in.info
	switch p.kind {
	case elf.PT_INTERP:
		b, err := img.bytes(p.off, p.filesz, "the interpreter's name")
		if err != nil {
			return err
		}
		b = b[:min(len(b), maxName+1)]
		if n := bytes.IndexByte(b, 0); n >= 0 {
			b = b[:n]
		}
		info.Interpreter, err = in.copyName(b, p.off)
		return err
	case elf.PT_GNU_STACK:
		info.HasStack = true
		info.ExecStack = p.flags&elf.PF_X != 0
	case elf.PT_GNU_RELRO:
		info.RelRO = true
	case elf.PT_NOTE:
		if img.kind == elf.ET_CORE {
			return nil
		}
		b, err := img.bytes(p.off, p.filesz, "notes")
		if err != nil {
			return err
		}
		return in.notes(b, p)
	}
	return nil
}

// notes reads the entries of one PT_NOTE. What follows an entry that does not
// fit is left out: readers of notes stop there.
func (in *inspector) notes(b []byte, p prog) error {
	if err := in.spend(len(b), p.off); err != nil {
		return err
	}
	var err error
	eachNote(in.img.order, b, noteAlign(p.align), func(name []byte, kind uint32, desc []byte, _ uint64) bool {
		if err = in.spend(len(name)+len(desc)+64, p.off); err != nil {
			return false
		}
		in.info.Notes = append(in.info.Notes, Note{Name: string(name), Type: kind, Desc: bytes.Clone(desc)})
		return true
	})
	return err
}

func (in *inspector) spend(n int, off uint64) error {
	if n > in.left {
		return broken(off, "structures overlap")
	}
	in.left -= n
	return nil
}

func (in *inspector) copyName(b []byte, off uint64) (string, error) {
	if len(b) > maxName {
		return "", broken(off, "a name of %d bytes", len(b))
	}
	if err := in.spend(len(b)+16, off); err != nil {
		return "", err
	}
	return string(b), nil
}

// name copies a string of the dynamic string table.
func (in *inspector) name(at uint64, what string) (string, error) {
	if in.table == nil {
		var err error
		in.tableAt, in.table, err = in.img.stringTable()
		if errors.Is(err, ErrNoStringTable) {
			in.noTable = err
			return "", nil
		}
		if err != nil {
			return "", err
		}
	}
	b, err := stringAt(in.table, in.tableAt, at, what)
	if err != nil {
		return "", err
	}
	return in.copyName(b, in.tableAt+at)
}

func (in *inspector) dynamic() (err error) {
	img, info := in.img, &in.info
	for _, d := range img.dyn {
		switch d.tag {
		case elf.DT_NEEDED:
			err = in.appendName(&info.Needed, d.value, "a needed library's name")
		case tagAuxiliary:
			err = in.appendName(&info.Auxiliary, d.value, "an auxiliary library's name")
		case tagFilter:
			err = in.appendName(&info.Filter, d.value, "a filtered library's name")
		case elf.DT_SONAME:
			info.Soname, err = in.name(d.value, "the soname")
		case elf.DT_RPATH:
			info.HasRPath = true
			info.RPath, err = in.name(d.value, "the rpath")
		case elf.DT_RUNPATH:
			info.HasRunPath = true
			info.RunPath, err = in.name(d.value, "the runpath")
		case elf.DT_FLAGS:
			info.BindNow = info.BindNow || elf.DynFlag(d.value)&elf.DF_BIND_NOW != 0
			info.Origin = info.Origin || elf.DynFlag(d.value)&elf.DF_ORIGIN != 0
			info.TextRel = info.TextRel || elf.DynFlag(d.value)&elf.DF_TEXTREL != 0
		case elf.DT_FLAGS_1:
			flags := elf.DynFlag1(d.value)
			info.PIE = flags&elf.DF_1_PIE != 0
			info.NoDefault = flags&elf.DF_1_NODEFLIB != 0
			info.BindNow = info.BindNow || flags&elf.DF_1_NOW != 0
			info.Origin = info.Origin || flags&elf.DF_1_ORIGIN != 0
		case elf.DT_BIND_NOW:
			info.BindNow = true
		case elf.DT_TEXTREL:
			info.TextRel = true
		}
		if err != nil {
			return err
		}
	}
	found, err := img.imports(openers, askers)
	if err != nil {
		return err
	}
	info.ImportsOpen, info.ImportsWhere = found[0], found[1]
	info.AsksWhere = found[1] || namesOrigin(info) || found[0] && hasOrigin(img.data)
	info.Musl, err = in.isMusl()
	return err
}

// isMusl tells a file of musl by the loader that starts it or, if none does, by the
// name of the C library that it needs: libc.so as musl installs it, or one such as
// libc.musl-x86_64.so.1 as Alpine does. The C library itself needs none, and has the
// last stage of the loader (musl ldso/dynlink.c).
func (in *inspector) isMusl() (bool, error) {
	info := &in.info
	if info.Interpreter != "" {
		base := path.Base(info.Interpreter)
		return strings.HasPrefix(base, "ld-musl-") || base == "libc.so", nil
	}
	isLibC := func(name string) bool { return name == "libc.so" || strings.HasPrefix(name, "libc.musl-") }
	if len(info.Needed) > 0 {
		return slices.ContainsFunc(info.Needed, isLibC), nil
	}
	return in.img.defines("__dls3")
}

func (in *inspector) appendName(list *[]string, at uint64, what string) error {
	name, err := in.name(at, what)
	*list = append(*list, name)
	return err
}

func (in *inspector) versions() error {
	needs, _, _, err := in.img.verneeds()
	if err != nil {
		return err
	}
	for _, n := range needs {
		need := VersionNeed{}
		if need.File, err = in.name(uint64(n.file.name), "a version's file name"); err != nil {
			return err
		}
		for _, a := range n.aux {
			name, err := in.name(uint64(a.name.name), "a needed version's name")
			if err != nil {
				return err
			}
			need.Versions = append(need.Versions, VersionRef{Name: name, Weak: a.flags&verFlagWeak != 0})
		}
		in.info.VersionNeeds = append(in.info.VersionNeeds, need)
	}
	defs, _, _, err := in.img.verdefs()
	if err != nil {
		return err
	}
	in.info.HasVersionDefs = len(defs) > 0
	for _, d := range defs {
		if d.flags&verFlagBase != 0 || len(d.names) == 0 {
			continue
		}
		name, err := in.name(uint64(d.names[0].name), "a defined version's name")
		if err != nil {
			return err
		}
		in.info.VersionDefs = append(in.info.VersionDefs, VersionDef{Name: name, Weak: d.flags&verFlagWeak != 0})
	}
	return nil
}
