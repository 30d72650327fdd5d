package elfedit

import (
	"debug/elf"
	"strings"
)

// Info is what hashpkg knows of an ELF file without running it. It is taken
// from the program headers and PT_DYNAMIC; section headers are not needed.
type Info struct {
	Class      elf.Class   `json:"class"`
	Data       elf.Data    `json:"data"` // byte order
	Machine    elf.Machine `json:"machine"`
	Type       elf.Type    `json:"type"`
	OSABI      elf.OSABI   `json:"osabi"`
	ABIVersion uint8       `json:"abi_version,omitempty"`
	Flags      uint32      `json:"flags,omitempty"` // e_flags, the ABI of ARM, MIPS and others

	Interpreter string   `json:"interpreter,omitempty"` // PT_INTERP
	Soname      string   `json:"soname,omitempty"`
	Needed      []string `json:"needed,omitempty"`  // in the file's order
	RPath       string   `json:"rpath,omitempty"`   // DT_RPATH as it stands
	RunPath     string   `json:"runpath,omitempty"` // DT_RUNPATH as it stands

	VersionNeeds []VersionNeed `json:"version_needs,omitempty"`
	VersionDefs  []VersionDef  `json:"version_defs,omitempty"` // without the base definition

	// Musl files are of musl: programs that its loader starts, libraries that need its C
	// library, and that library, which is the loader, too.
	Musl bool `json:"musl,omitempty"`

	HasDynamic     bool `json:"dynamic,omitempty"`          // has PT_DYNAMIC, with bytes
	HasVersionDefs bool `json:"has_version_defs,omitempty"` // has definitions of symbol versions, if only the base one
	HasRPath       bool `json:"has_rpath,omitempty"`        // the entry is there, if only as ""
	HasRunPath     bool `json:"has_runpath,omitempty"`      // likewise
	PIE            bool `json:"pie,omitempty"`              // DF_1_PIE
	NoDefault      bool `json:"nodeflib,omitempty"`         // DF_1_NODEFLIB
	ImportsOpen    bool `json:"imports_open,omitempty"`     // has an undefined dlopen or dlmopen
	ImportsWhere   bool `json:"imports_where,omitempty"`    // has an undefined dladdr, dladdr1 or dlinfo
	AsksWhere      bool `json:"asks_where,omitempty"`       // imports one of those, or has the loader replace $ORIGIN
	HasStack       bool `json:"has_stack,omitempty"`        // has PT_GNU_STACK, which says whether the stack is executable
	ExecStack      bool `json:"execstack,omitempty"`        // PT_GNU_STACK with PF_X

	SplitDebug bool `json:"split_debug,omitempty"` // debugging information only; nothing below the header is reported
	RelRO      bool `json:"relro,omitempty"`       // has PT_GNU_RELRO
	BindNow    bool `json:"bind_now,omitempty"`    // DF_BIND_NOW, DF_1_NOW or DT_BIND_NOW
	TextRel    bool `json:"textrel,omitempty"`     // DF_TEXTREL or DT_TEXTREL
	Origin     bool `json:"origin,omitempty"`      // DF_ORIGIN or DF_1_ORIGIN

	// DynamicRelRO tells that PT_GNU_RELRO covers PT_DYNAMIC, and DynamicRoom how
	// many entries can be added then for it to stay so. They are from a file's
	// bytes and not from its headers alone.
	DynamicRelRO bool `json:"dynamic_relro,omitempty"`
	DynamicRoom  int  `json:"dynamic_room,omitempty"`

	Auxiliary []string `json:"auxiliary,omitempty"` // DT_AUXILIARY
	Filter    []string `json:"filter,omitempty"`    // DT_FILTER

	Notes []Note `json:"notes,omitempty"` // of PT_NOTE

	// Bound are the libraries that hashpkg's note says the program is bound to, in the
	// order in which they are loaded.
	Bound []Bound `json:"bound,omitempty"`

	// BuiltAgainst are the libraries that it was built against, as the note says that was made when
	// it was packaged.
	BuiltAgainst []Bound `json:"builtAgainst,omitempty"`
}

// IsProgram reports whether the kernel can start the file: it has an
// interpreter, is linked statically, or is a static PIE. A library that can
// also be run, as libc.so.6, is no program.
func (i *Info) IsProgram() bool {
	switch i.Type {
	case elf.ET_EXEC:
		return !i.SplitDebug
	case elf.ET_DYN:
		return !i.SplitDebug && (i.PIE || i.Interpreter != "" && i.Soname == "")
	}
	return false
}

// IsLibrary reports whether the file is a shared library or a plug-in.
func (i *Info) IsLibrary() bool {
	return i.Type == elf.ET_DYN && i.HasDynamic && !i.IsProgram()
}

// IsStaticPIE reports whether the file is a position-independent program that
// needs no interpreter.
func (i *Info) IsStaticPIE() bool {
	return i.Type == elf.ET_DYN && i.PIE && i.Interpreter == ""
}

// IsLoader reports whether the file is itself an ELF interpreter of glibc,
// such as ld-linux-x86-64.so.2.
func (i *Info) IsLoader() bool {
	return i.Type == elf.ET_DYN && i.Interpreter == "" && isLoaderName(i.Soname)
}

// IsMuslLibC reports whether the file is musl's C library, which is its loader, too: alone
// of its libraries it needs none.
func (i *Info) IsMuslLibC() bool {
	return i.Musl && i.Type == elf.ET_DYN && i.Interpreter == "" && len(i.Needed) == 0
}

// isLoaderName reports whether a soname is one of glibc's interpreters: they
// are ld.so.1, ld64.so.2, ld-linux.so.2, ld-linux-aarch64.so.1 and the like.
func isLoaderName(soname string) bool {
	for _, prefix := range []string{"ld.so.", "ld64.so.", "ld-linux", "ld-2."} {
		if strings.HasPrefix(soname, prefix) {
			return true
		}
	}
	return false
}

// VersionNeed is one Verneed: the versions wanted of one file.
type VersionNeed struct {
	File     string       `json:"file"` // vn_file
	Versions []VersionRef `json:"versions"`
}

// VersionRef is one Vernaux.
type VersionRef struct {
	Name string `json:"name"`
	Weak bool   `json:"weak,omitempty"` // VER_FLG_WEAK: the loader warns only
}

// VersionDef is one Verdef that is not the file's own name (VER_FLG_BASE).
type VersionDef struct {
	Name string `json:"name"`
	Weak bool   `json:"weak,omitempty"`
}

// Note is one entry of a PT_NOTE segment.
type Note struct {
	Name string `json:"name"`
	Type uint32 `json:"type"`
	Desc []byte `json:"desc,omitempty"`
}
