package audit

import (
	"debug/elf"
	"encoding/binary"

	"github.com/hashpkg/hashpkg/elfedit"
	"github.com/hashpkg/hashpkg/ldso"
)

// hardening says which of the usual protections the file does without.
func (a *auditor) hardening() {
	info := a.file.Object.Info
	if info.TextRel {
		a.add(textRelocations, "the loader has to write to its code (DT_TEXTREL)")
	}
	switch {
	case info.ExecStack:
		a.add(executableStack, "its stack is executable (PT_GNU_STACK)")
	case !info.HasStack && info.HasDynamic && !info.IsLoader() && stackByDefault[info.Machine]:
		a.add(executableStack, "it does not say that its stack is not executable (no PT_GNU_STACK)")
	}
	if info.HasDynamic && !info.IsLoader() {
		switch {
		case !info.RelRO:
			a.add(noRelRO, "what the loader has relocated stays writable (no PT_GNU_RELRO)")
		case !info.BindNow:
			a.add(noBindNow, "functions are bound when they are called first, so their table stays writable")
		}
	}
	if info.IsProgram() && info.Type == elf.ET_EXEC {
		a.add(noPIE, "it is loaded at the same address each time (ET_EXEC)")
	}
	if info.Machine != elf.EM_X86_64 && info.Machine != elf.EM_386 {
		return
	}
	features := x86Features(info)
	if features&featureIBT == 0 {
		a.add(noIBT, "it has no mark of indirect branch tracking")
	}
	if features&featureShadowStack == 0 {
		a.add(noShadowStack, "it has no mark of the shadow stack")
	}
}

// stackByDefault are the machines on which glibc makes the stack executable for a file that says nothing
// (glibc, sysdeps/*/stackinfo.h, DEFAULT_STACK_PERMS).
var stackByDefault = map[elf.Machine]bool{elf.EM_X86_64: true, elf.EM_386: true, elf.EM_ARM: true, elf.EM_AARCH64: true, elf.EM_PPC: true}

// The bits of GNU_PROPERTY_X86_FEATURE_1_AND, which is of the kind below (x86-64 psABI, "Program Property").
const (
	featureIBT         = 1
	featureShadowStack = 2

	propertyNote  = 5 // NT_GNU_PROPERTY_TYPE_0
	x86FeatureAnd = 0xc0000002
)

// x86Features returns what the file says of control-flow enforcement.
func x86Features(info *elfedit.Info) uint32 {
	align := 4
	if info.Class == elf.ELFCLASS64 {
		align = 8
	}
	for _, n := range info.Notes {
		if n.Name != "GNU" || n.Type != propertyNote {
			continue
		}
		for b := n.Desc; len(b) >= 8; {
			kind, size := binary.LittleEndian.Uint32(b), uint64(binary.LittleEndian.Uint32(b[4:]))
			b = b[8:]
			if size > uint64(len(b)) {
				break
			}
			if kind == x86FeatureAnd && size >= 4 {
				return binary.LittleEndian.Uint32(b)
			}
			b = b[min(len(b), (int(size)+align-1)&^(align-1)):]
		}
	}
	return 0
}

// names says what is wrong with the name by which others need a library.
func (a *auditor) names() error {
	o := a.file.Object
	if !o.Info.IsLibrary() || o.Info.IsProgram() {
		return nil
	}
	public, err := isPublic(a.world, o)
	if err != nil || !public {
		return err
	}
	switch {
	case o.Info.Soname == "":
		if !ldso.IsMuslLibC(base(o.Path)) {
			a.add(noSoname, "it stands where programs look for libraries, and has no SONAME")
		}
	case !a.world.Exists(dir(o.Path) + "/" + o.Info.Soname):
		a.add(sonameLink, "there is no %s, its SONAME, beside it", o.Info.Soname)
	}
	return nil
}

// duplicates says which files of one subject have the same SONAME where programs look for libraries.
func duplicates(world World, s *Subject) ([]Finding, error) {
	type key struct{ abi, soname string }
	first := map[key]*File{}
	var found []Finding
	for i := range s.Files {
		f := &s.Files[i]
		if f.Object == nil || f.Object.Info.Soname == "" || !isLoaded(f.Object.Info) {
			continue
		}
		public, err := isPublic(world, f.Object)
		if err != nil {
			return nil, err
		}
		k := key{ldso.Triplet(f.Object.Info), f.Object.Info.Soname}
		switch {
		case !public:
		case first[k] == nil:
			first[k] = f
		case first[k].Object.ID != f.Object.ID:
			found = append(found, newFinding(duplicateSoname, s, f.Path, first[k].Path+" has the SONAME "+k.soname+", too"))
		}
	}
	return found, nil
}
