package programs

import (
	"path"
	"slices"
	"strings"

	"github.com/hashpkg/hashpkg/elfedit"
	"github.com/hashpkg/hashpkg/layout/record"
)

// SearchAlso returns the edit of a program's RUNPATH with which it searches more directories: what its
// author wrote stays in front.
func SearchAlso(info *elfedit.Info, dirs ...string) *record.EditRecord {
	r := &record.EditRecord{Kind: record.EditRunPath}
	if info.HasRunPath && info.RunPath != "" {
		r.From = []string{info.RunPath}
		dirs = append([]string{info.RunPath}, dirs...)
	}
	r.To = []string{strings.Join(dirs, ":")}
	return r
}

// searches reports whether a program at a path of the root searches a directory of it already, be
// that written from where the program stands.
func searches(info *elfedit.Info, program, dir string) bool {
	return slices.ContainsFunc(strings.Split(info.RunPath, ":"), func(d string) bool {
		for _, token := range []string{"$ORIGIN", "${ORIGIN}"} {
			if rest, ok := strings.CutPrefix(d, token); ok && (rest == "" || rest[0] == '/') {
				d = path.Dir(program) + rest
			}
		}
		return path.IsAbs(d) && path.Clean(d) == dir
	})
}

// KeepsSearchPath returns why a program cannot get another RUNPATH, whoever asks for it; "" when
// it can.
func KeepsSearchPath(info *elfedit.Info) Reason {
	if r := ofMusl(info); r != "" {
		return r
	}
	switch {
	case hasOnlyRPath(info):
		return searchesByRPath
	case info.ImportsWhere:
		return asksWhere
	}
	return ""
}

const (
	searchesByRPath Reason = "has an RPATH, which a RUNPATH would disable"
	// Found through the farm, a library would be said to be in it, and a program that asks
	// looks for plugins or data beside the library.
	asksWhere Reason = "asks where libraries were found, and would get the farm's directory"
)

func hasOnlyRPath(info *elfedit.Info) bool { return info.HasRPath && !info.HasRunPath }
