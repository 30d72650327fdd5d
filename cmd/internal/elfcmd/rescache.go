package elfcmd

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	securejoin "github.com/cyphar/filepath-securejoin"

	"github.com/hashpkg/hashpkg/elfedit"
)

// splitCache returns a file's notes without the resolution cache, and that, nil
// without one.
func splitCache(notes []elfedit.Note) (others []elfedit.Note, cache *elfedit.Note) {
	for i, n := range notes {
		if n.ID() == elfedit.ResolutionCacheID() {
			cache = &notes[i]
		} else {
			others = append(others, n)
		}
	}
	return others, cache
}

// planCache plans the resolution cache. One that the file has tells where its
// needed libraries were found: it goes when they or the search path change, as
// the loader would still follow it.
func (o *options) planCache(info *elfedit.Info, p *filePlan) error {
	_, has := splitCache(info.Notes)
	oldPath, _ := searchPath(info)
	path, _ := searchPath(&p.expected)
	if oldPath == path && slices.Equal(info.Needed, p.expected.Needed) {
		p.cache = has
	}
	if o.resolutionCache {
		found, why, err := o.findNeeded(&p.expected, path)
		switch {
		case err != nil:
			return err
		case why != "" && has != nil:
			p.warnings = append(p.warnings, why+"; the resolution cache that was there is removed")
			p.cache = nil
		case why != "":
			p.warnings = append(p.warnings, why+"; no resolution cache is written")
		default:
			note := elfedit.NewResolutionCache(found)
			p.cache = &note
			p.changes.SetNotes = []elfedit.Note{note}
		}
	}
	if has != nil && p.cache == nil {
		p.changes.RemoveNotes = []elfedit.NoteID{elfedit.ResolutionCacheID()}
	}
	return nil
}

// findNeeded looks for the needed libraries in a search path, as patchelf does
// for its resolution cache. For each it returns every place where the loader may
// find it, in the path's order; a directory that may hold others when the
// program starts is one that the loader has to search then. why tells why
// there is nothing.
func (o *options) findNeeded(info *elfedit.Info, path string) (found map[string][]string, why string, err error) {
	if !info.HasDynamic {
		return nil, "there is no dynamic section", nil
	}
	if len(info.Needed) == 0 || path == "" {
		return nil, "there are no DT_NEEDED entries or run path to resolve", nil
	}
	root, err := filepath.Abs(cmp.Or(o.root, "/"))
	if err != nil {
		return nil, "", fmt.Errorf("find the root: %w", err)
	}
	found = make(map[string][]string)
	for _, dir := range strings.Split(path, ":") {
		search, err := mustSearch(root, dir)
		if err != nil {
			return nil, "", err
		}
		for _, name := range info.Needed {
			if strings.ContainsAny(name, "/:") {
				continue // a slash makes it a path, which is not searched for; a colon ends a place in the note
			}
			if search {
				found[name] = append(found[name], "?"+dir)
				continue
			}
			file, err := securejoin.SecureJoin(root, dir+"/"+name)
			if err != nil {
				return nil, "", fmt.Errorf("find %s in %s of root %s: %w", name, dir, root, err)
			}
			if syscall.Access(file, accessRead) == nil {
				found[name] = append(found[name], "="+dir+"/"+name)
			}
		}
	}
	if len(found) == 0 {
		return nil, "no needed library is found in the run path", nil
	}
	return found, "", nil
}

// Modes of access(2).
const (
	accessRead   = 4
	accessSearch = 1
)

// mustSearch reports whether only the loader can tell what a directory of a search
// path holds: its name is not absolute or has a variable in it, it holds
// variants for the processor, or it is not there or cannot be searched now.
func mustSearch(root, dir string) (bool, error) {
	if dir == "" || dir[0] != '/' || strings.Contains(dir, "$") {
		return true, nil
	}
	host, err := securejoin.SecureJoin(root, dir)
	if err != nil {
		return false, fmt.Errorf("find %s in root %s: %w", dir, root, err)
	}
	if info, err := os.Stat(host); err != nil || !info.IsDir() || syscall.Access(host, accessSearch) != nil {
		return true, nil
	}
	_, err = os.Stat(filepath.Join(host, "glibc-hwcaps"))
	return !errors.Is(err, fs.ErrNotExist), nil
}
