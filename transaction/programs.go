package transaction

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync"

	"github.com/hashpkg/hashpkg/layout/record"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/elfedit"
	"github.com/hashpkg/hashpkg/internal/atomicfile"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/ldso"
	"github.com/hashpkg/hashpkg/sysroot"
)

// program is one dynamic executable of an installed package.
type program struct {
	pkg    *installed
	path   string // in the root, absolute, without links in its directory
	host   string
	digest string // as the package manager's database has it: "md5:hex"; "" for none
	file   fileID
}

type fileID struct{ dev, ino uint64 }

func newProgram(pkg *installed, digest, inside, host string, st *unix.Stat_t) *program {
	return &program{pkg: pkg, path: inside, host: host, digest: digest, file: fileID{st.Dev, st.Ino}}
}

// programChange is what a sync makes of one program.
type programChange struct {
	*program
	source     digest.Digest       // of the packaged bytes
	keep       *record.EditedFile  // its record until now; nil for none
	had        *record.AppliedEdit // the edit that it has; nil when it is as packaged
	want       *record.AppliedEdit // the edit that it shall have; nil for none
	edit       elfedit.Edit        // from the bytes on disk to the wanted ones; zero when there is nothing to do
	interp     string
	loads      []string // the files that it loads as it is packaged, by device and inode
	left       string   // why it is left as it is, although the policy would have it edited
	elsewhere  string   // the other prefix in which it searches for libraries
	unpinned   string   // why its pins are not followed
	unsettled  bool     // left or not pinned because of what the loader finds at the moment
	fault      error    // what kept it from being edited, and may not the next time
	unresolved []string // sonames that it needs and that no tree offers
	staged     *atomicfile.Replacement
	newFile    string // the staged file on the host
	restores   bool   // somebody wants the packaged bytes
}

// changes reports whether the file is to be replaced.
func (c *programChange) changes() bool { return c.left == "" && c.fault == nil && !c.edit.IsZero() }

// fails keeps why the program is not edited.
func (c *programChange) fails(err error) {
	var errno unix.Errno
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES), errors.Is(err, unix.EROFS): // stays so
	case errors.As(err, &errno), errors.Is(err, atomicfile.ErrChanged):
		c.fault = fmt.Errorf("edit %s: %w", c.path, err)
		return
	}
	c.left, c.unsettled = err.Error(), errors.Is(err, errLoadsOther)
}

// programEditor decides which edits programs get, and makes them.
type programEditor struct {
	root     *sysroot.Root
	rewrite  Rewrite
	own      string            // the root's architecture
	farm     map[string]bool   // the libraries that trees of the system offer
	trees    map[string]string // path of its tree by package key
	pins     []*pinnedLibrary
	edits    map[string]*record.PackageEdits // by package key
	moved    map[string]bool                 // keys of those in edits that have new paths
	restored bool                            // also those that somebody wants as packaged
	strict   bool                            // what cannot be pinned is left: somebody is waiting for the answer
	planOnly bool                            // the farm is not there yet: nothing can be resolved in it
}

// finders are the loader's models for the architectures of a root, for one
// goroutine.
type finders struct {
	root *sysroot.Root
	of   map[string]ldso.Finder
}

func (f *finders) find(info *elfedit.Info) (ldso.Finder, error) {
	triplet := ldso.Triplet(info)
	if f.of[triplet] == nil {
		finder, err := f.root.System(info)
		if err != nil {
			return nil, err
		}
		f.of[triplet] = finder
	}
	return f.of[triplet], nil
}

// prepare decides what becomes of a program.
func (e *programEditor) prepare(p *program, f *finders) (*programChange, error) {
	file, err := os.Open(p.host)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	c := &programChange{program: p}
	err = atomicfile.MapFile(file, func(data []byte) error { return e.prepareBytes(c, data, f) })
	if err := refusal(c, err); err != nil {
		return nil, fmt.Errorf("edit %s: %w", p.path, err)
	}
	return c, nil
}

// refusal makes what the editor refuses a reason to leave the program.
func refusal(c *programChange, err error) error {
	var refused *elfedit.RefusedError
	if errors.As(err, &refused) {
		c.left = refused.Reason
		return nil
	}
	return err
}

func (e *programEditor) prepareBytes(c *programChange, data []byte, f *finders) error {
	packaged, err := e.packaged(c, data)
	if err != nil || c.left != "" {
		c.elsewhere = otherPrefix(data, e.root.Prefix())
		return err
	}
	info, err := elfedit.Inspect(packaged)
	if err != nil {
		return err
	}
	c.interp = info.Interpreter
	records, pins, err := e.records(c, info, f)
	if err != nil || c.left != "" || c.keep != nil && c.keep.Restored && !e.restored {
		return err
	}
	if len(pins) > 0 {
		// What a pinned program loads changes with all other libraries, so it is
		// looked at each time, and starts without the pin if it cannot with it.
		err := refusal(c, e.apply(c, data, packaged, info, append(slices.Clone(records.path), records.pins...), pins, f))
		if err != nil || c.left == "" || e.strict {
			return err
		}
		c.unpinned, c.left, c.unsettled = c.left, "", true
	}
	return e.apply(c, data, packaged, info, records.path, nil, f)
}

// apply makes the edits on the packaged bytes and looks at what the loader would
// make of the result. It sets left when that must not take the program's place.
func (e *programEditor) apply(c *programChange, data, packaged []byte, info *elfedit.Info, records []record.EditRecord, pins []*pinnedLibrary, f *finders) error {
	if len(records) == 0 {
		if c.had != nil {
			c.edit = elfedit.Diff(data, packaged)
		}
		return nil
	}
	if c.had != nil && len(pins) == 0 && reflect.DeepEqual(c.had.Edits, records) {
		c.want = c.had
		return nil
	}
	changes, err := changesOf(records)
	if err != nil {
		return err
	}
	edit, err := elfedit.Make(packaged, changes)
	if err != nil {
		return err
	}
	edited, err := edit.Apply(packaged)
	if err != nil {
		return err
	}
	if c.left, err = e.compare(c, info, edited, records, pins, f); err != nil || c.left != "" {
		c.unsettled = true
		return err
	}
	if c.had != nil && reflect.DeepEqual(c.had.Edits, records) {
		c.want = c.had
		return nil
	}
	patch, err := record.PackEdit(edit)
	if err != nil {
		return err
	}
	c.want = &record.AppliedEdit{Object: digest.Of(edited), Edits: records, Patch: patch, Pins: pinnedTrees(pins)}
	c.edit = edit
	if c.had != nil {
		c.edit = elfedit.Diff(data, edited)
	}
	return nil
}

// otherPrefix returns the prefix whose farm a program searches, if that is not the
// one of now: the setting was changed while programs were edited for the other.
func otherPrefix(data []byte, prefix string) string {
	info, err := elfedit.Inspect(data)
	if err != nil {
		return ""
	}
	for _, dir := range strings.Split(info.RunPath, ":") {
		if other, _, ok := strings.Cut(dir, "/"+layout.CurrentSystem+"/lib"); ok && other != prefix {
			return other
		}
	}
	return ""
}

// packaged returns the bytes that the program's package brought: those on disk,
// or with the recorded edit undone. It sets left when somebody else has changed the
// file.
func (e *programEditor) packaged(c *programChange, data []byte) ([]byte, error) {
	disk := digest.Of(data)
	if edits := e.edits[c.pkg.key]; edits != nil {
		for i := range edits.Files {
			if edits.Files[i].Path == c.path {
				c.keep = &edits.Files[i]
			}
		}
	}
	if c.keep != nil {
		if c.had = c.keep.With(disk); c.had != nil {
			edit, err := c.had.Patch.Edit()
			if err != nil {
				return nil, err
			}
			packaged, err := edit.Invert().Apply(data)
			if err != nil {
				return nil, err
			}
			if digest.Of(packaged) != c.keep.Source {
				return nil, errors.New("undoing its recorded edit does not give the packaged bytes; run hashpkg verify --system")
			}
			c.source = c.keep.Source
			return packaged, nil
		}
		if c.keep.Source != disk {
			c.keep = nil // of a file that was there before this one
		}
	}
	c.source = disk
	if c.keep == nil && !hasDigest(data, c.digest) {
		c.left = "is not the file that its package brought"
	}
	return data, nil
}

// wantedRecords are the edits that the policy and the pins ask for.
type wantedRecords struct{ path, pins []record.EditRecord }

// records returns the edits that a program shall have, and the pins that are for it.
func (e *programEditor) records(c *programChange, info *elfedit.Info, f *finders) (wantedRecords, []*pinnedLibrary, error) {
	var records wantedRecords
	dir := layout.LibraryDir(e.own, info)
	answers := false
	for _, name := range info.Needed {
		switch {
		case strings.Contains(name, "/"):
		case e.farm[dir+"/"+name]:
			answers = true
		case !layout.IsGlibcLibrary(name):
			c.unresolved = append(c.unresolved, name)
		}
	}
	if reason := e.rewrite.passes(c.path, c.pkg.Name); reason == "" && (answers || e.rewrite.Executables == RewriteFull) {
		switch {
		case info.HasRPath && !info.HasRunPath:
			c.left = "has an RPATH, which a RUNPATH would switch off"
			return records, nil, nil
		default:
			records.path = append(records.path, e.searchPath(c, info, dir))
		}
	}
	pins, pinned, err := e.pinRecords(c, info, f)
	records.pins = pinned
	return records, pins, err
}

// searchPath returns the record for RUNPATH: what the author wrote stays in front.
func (e *programEditor) searchPath(c *programChange, info *elfedit.Info, dir string) record.EditRecord {
	prefix := e.root.Prefix()
	var dirs []string
	if tree := e.trees[c.pkg.key]; e.rewrite.Executables == RewriteFull && tree != "" {
		dirs = append(dirs, prefix+"/"+tree+"/"+dir, prefix+"/"+c.pkg.Name+"/"+layout.DefaultLink+"/"+dir)
	}
	dirs = append(dirs, prefix+"/"+layout.CurrentSystem+"/"+dir)
	record := record.EditRecord{Kind: record.EditRunPath}
	if info.HasRunPath && info.RunPath != "" {
		record.From = []string{info.RunPath}
		dirs = append([]string{info.RunPath}, dirs...)
	}
	record.To = []string{strings.Join(dirs, ":")}
	return record
}

// prepareAll prepares programs on as many processors as there are.
func (e *programEditor) prepareAll(programs []*program) ([]*programChange, error) {
	changes := make([]*programChange, len(programs))
	faults := make([]error, len(programs))
	pool := sync.Pool{New: func() any { return &finders{e.root, map[string]ldso.Finder{}} }}
	inParallel(len(programs), func(i int) {
		f, _ := pool.Get().(*finders)
		changes[i], faults[i] = e.prepare(programs[i], f)
		pool.Put(f)
	})
	for i, err := range faults {
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			changes[i] = &programChange{program: programs[i]}
			changes[i].fails(err)
		}
	}
	return slices.DeleteFunc(changes, func(c *programChange) bool { return c == nil }), nil
}
