package testslots

import (
	"os"
	"slices"
	"testing"

	"github.com/hashpkg/hashpkg/elfedit"
)

// SelfBind binds ELF files to themselves, as far as none of the others, but those of the same
// soname, exports the same names: what is installed in a store is bound so. Each becomes a new file of its
// name. It returns how many files are bound, and to how many symbols of theirs.
func SelfBind(tb testing.TB, paths []string) (files, symbols int) {
	tb.Helper()
	type export struct{ version, owner string }
	exports := make(map[string][]export)
	owners := make(map[string]string)
	for _, path := range paths {
		data := read(tb, path)
		info, err := elfedit.Inspect(data)
		if err != nil {
			tb.Fatalf("%s: %v", path, err)
		}
		owners[path] = path
		if info.Soname != "" {
			owners[path] = info.Soname
		}
		list, err := elfedit.Exports(data)
		if err != nil {
			tb.Fatalf("%s: %v", path, err)
		}
		for _, s := range list {
			if e := (export{s.Version, owners[path]}); !slices.Contains(exports[s.Name], e) {
				exports[s.Name] = append(exports[s.Name], e)
			}
		}
	}
	for _, path := range paths {
		data := read(tb, path)
		list, err := elfedit.SelfBindable(data)
		if err != nil {
			tb.Fatalf("%s: %v", path, err)
		}
		list = slices.DeleteFunc(list, func(s elfedit.Symbol) bool {
			return slices.ContainsFunc(exports[s.Name], func(e export) bool {
				return e.owner != owners[path] && (elfedit.Symbol{Name: s.Name, Version: e.version}).MayAnswer(s)
			})
		})
		if len(list) > 0 {
			bindTo(tb, path, list)
			files++
			symbols += len(list)
		}
	}
	return files, symbols
}

// bindTo binds a file to symbols of itself, in a new file of its name.
func bindTo(tb testing.TB, path string, list []elfedit.Symbol) {
	tb.Helper()
	data := read(tb, path)
	edit, err := elfedit.Make(data, elfedit.Changes{SelfBind: list})
	if err != nil {
		tb.Fatalf("%s: %v", path, err)
	}
	edited, err := edit.Apply(data)
	if err != nil {
		tb.Fatal(err)
	}
	write(tb, path+".new", edited)
	if err := os.Rename(path+".new", path); err != nil {
		tb.Fatal(err)
	}
}

func read(tb testing.TB, path string) []byte {
	tb.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func write(tb testing.TB, path string, b []byte) {
	tb.Helper()
	if err := os.WriteFile(path, b, 0o755); err != nil {
		tb.Fatal(err)
	}
}
