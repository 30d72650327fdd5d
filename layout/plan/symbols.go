package plan

import (
	"cmp"
	"hash/fnv"
	"slices"
	"strings"

	"github.com/hashpkg/hashpkg/elfedit"
	"github.com/hashpkg/hashpkg/layout/record"
)

// Symbol stands for an elfedit.Symbol: two that are equal may, in theory, stand for different
// ones, which makes fewer relocations be bound, and no others.
type Symbol struct {
	Name    uint64 // FNV-1a of the name
	Version uint32 // of the version, never 0; 0 for none
}

// SymbolOf returns what stands for a symbol.
func SymbolOf(s elfedit.Symbol) Symbol {
	name := fnv.New64a()
	name.Write([]byte(s.Name))
	of := Symbol{Name: name.Sum64()}
	if s.Version != "" {
		version := fnv.New32a()
		version.Write([]byte(s.Version))
		of.Version = max(version.Sum32(), 1)
	}
	return of
}

// SymbolsOf returns what stands for symbols, sorted, each once.
func SymbolsOf(list []elfedit.Symbol) []Symbol {
	of := make([]Symbol, len(list))
	for i, s := range list {
		of[i] = SymbolOf(s)
	}
	slices.SortFunc(of, CompareSymbols)
	return slices.Compact(of)
}

// CompareSymbols orders by name, then by version.
func CompareSymbols(a, b Symbol) int {
	return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Version, b.Version))
}

// MayAnswer is (elfedit.Symbol).MayAnswer.
func (s Symbol) MayAnswer(o Symbol) bool {
	return s.Name == o.Name && (s.Version == o.Version || s.Version == 0 || o.Version == 0)
}

// Symbols are those of one file; both are sorted, each once.
type Symbols struct {
	Exports []Symbol // by which it answers look-ups
	Own     []Symbol // to which relocations of its own can be bound, where nothing else answers them
	Unread  string   // why the file cannot be read, with its path; "" when it can
}

// SymbolsRequest asks for the symbols of a file: of a package of the command, of a tree, or
// of the root.
type SymbolsRequest struct {
	File      *record.File
	Installed bool   // File is of a tree's manifest
	Path      string // of the root's file, where File is nil
	Own       bool   // Symbols.Own are wanted, too; not of a file of the root
}

// parseSymbol returns what stands for a symbol as records have it, NAME or NAME@VERSION.
func parseSymbol(text string) Symbol {
	name, version, _ := strings.Cut(text, "@")
	return SymbolOf(elfedit.Symbol{Name: name, Version: version})
}

// self returns the record that a file's relocations are bound to itself; nil for none.
func self(f *record.File) *record.EditRecord {
	for i := range f.Edits {
		if f.Edits[i].Kind == record.EditSelf {
			return &f.Edits[i]
		}
	}
	return nil
}

// isPrelocated reports whether libraries of a tree are bound to themselves.
func isPrelocated(m *record.Manifest) bool {
	return slices.ContainsFunc(m.Files, func(f record.File) bool {
		return f.ELF != nil && !f.ELF.IsProgram() && self(&f) != nil
	})
}
