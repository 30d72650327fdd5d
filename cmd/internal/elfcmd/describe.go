package elfcmd

import (
	"debug/elf"
	"fmt"
	"io"
	"strings"

	"github.com/hashpkg/hashpkg/elfedit"
)

// describe writes what is known of a file, for people: what it is, and then only what it
// has. What does not print in it is escaped by visible: a file may come from
// anywhere.
func describe(w io.Writer, name string, info *elfedit.Info, visible func(string) string) {
	fmt.Fprintf(w, "%s: %s\n", visible(name), whatIs(info))
	line := func(label, value string) {
		if value != "" {
			fmt.Fprintf(w, "  %-12s %s\n", label, visible(value))
		}
	}
	list := func(label string, values []string) {
		for _, v := range values {
			line(label, v)
			label = ""
		}
	}
	line("interpreter", info.Interpreter)
	line("soname", info.Soname)
	list("needed", info.Needed)
	line("rpath", info.RPath)
	line("runpath", info.RunPath)
	var bound []string
	for _, b := range info.Bound {
		bound = append(bound, b.Path)
	}
	list("bound to", bound)
	bound = nil
	for _, b := range info.BuiltAgainst {
		bound = append(bound, b.Path)
	}
	list("built with", bound)
	var versions []string
	for _, n := range info.VersionNeeds {
		var names []string
		for _, v := range n.Versions {
			names = append(names, v.Name)
		}
		versions = append(versions, n.File+": "+strings.Join(names, " "))
	}
	list("versions of", versions)
	versions = nil
	for _, d := range info.VersionDefs {
		versions = append(versions, d.Name)
	}
	line("has versions", strings.Join(versions, " "))
	list("auxiliary", info.Auxiliary)
	list("filter", info.Filter)
	line("protection", strings.Join(protection(info), ", "))
	line("asks", strings.Join(asks(info), ", "))
}

// whatIs says what kind of file it is, and for which machine.
func whatIs(info *elfedit.Info) string {
	kind := "file of type " + strings.TrimPrefix(info.Type.String(), "ET_")
	switch {
	case info.SplitDebug:
		kind = "debugging information of another file"
	case info.IsStaticPIE() || info.IsProgram() && info.Interpreter == "":
		kind = "program that is linked statically"
	case info.IsProgram():
		kind = "program"
	case info.IsLibrary():
		kind = "library"
	case info.Type == elf.ET_REL:
		kind = "object file"
	case info.Type == elf.ET_CORE:
		kind = "core file"
	}
	bits := "32 bits"
	if info.Class == elf.ELFCLASS64 {
		bits = "64 bits"
	}
	if info.Data == elf.ELFDATA2MSB {
		bits += ", big endian"
	}
	text := fmt.Sprintf("%s for %s, %s", kind, strings.TrimPrefix(info.Machine.String(), "EM_"), bits)
	if info.Musl {
		text += ", of musl"
	}
	return text
}

// protection lists what a file has against its misuse, or lacks.
func protection(info *elfedit.Info) (all []string) {
	for _, p := range []struct {
		has  bool
		text string
	}{
		{info.PIE, "position-independent"},
		{info.RelRO && info.BindNow, "full RELRO"},
		{info.RelRO && !info.BindNow, "partial RELRO"},
		{info.ExecStack, "an executable stack"},
		{info.TextRel, "relocations in its code"},
	} {
		if p.has {
			all = append(all, p.text)
		}
	}
	return all
}

// asks lists what a file asks of the loader while it runs.
func asks(info *elfedit.Info) (all []string) {
	if info.ImportsOpen {
		all = append(all, "for libraries (dlopen)")
	}
	if info.AsksWhere {
		all = append(all, "where files were found (dladdr, dlinfo, $ORIGIN)")
	}
	if info.NoDefault {
		all = append(all, "not to search the loader's own directories (nodeflib)")
	}
	return all
}
