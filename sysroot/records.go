package sysroot

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/pkginfo"
	"github.com/hashpkg/hashpkg/store"
)

// Names in layout.SystemDir.
const (
	stateFile   = layout.SystemDir + "/state.json"
	pinsFile    = layout.SystemDir + "/pins.json"
	failureFile = layout.SystemDir + "/failure"
	retiredFile = layout.SystemDir + "/retired"
)

// SystemState returns what the last sync remembered. One that is missing or cannot
// be read is an empty one: everything is looked at again.
func (r *Root) SystemState() *layout.SystemState {
	s := &layout.SystemState{}
	if b, err := store.ReadFile(r.store.Path(stateFile)); err == nil {
		if err := layout.DecodeSystemRecord(b, s); err == nil && s.Packages != nil {
			return s
		}
	}
	return &layout.SystemState{Layout: layout.FormatVersion, Packages: map[pkginfo.Key]layout.SystemPackage{}}
}

// SetSystemState remembers the state for the next sync.
func (r *Root) SetSystemState(s *layout.SystemState) error { return r.writeRecord(stateFile, s) }

// Pins returns the pins of the root.
func (r *Root) Pins() ([]layout.Pin, error) {
	var p layout.Pins
	b, err := store.ReadFile(r.store.Path(pinsFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil {
		err = layout.DecodeSystemRecord(b, &p)
	}
	if err != nil {
		return nil, fmt.Errorf("read pins %s: %w", r.store.Path(pinsFile), err)
	}
	return p.Pins, nil
}

// SetPins records the pins of the root.
func (r *Root) SetPins(pins []layout.Pin) error {
	return r.writeRecord(pinsFile, layout.Pins{Layout: layout.FormatVersion, Pins: pins})
}

// Edits returns the record of a package's edited programs; an empty one when none
// was edited.
func (r *Root) Edits(key pkginfo.Key) (*layout.PackageEdits, error) {
	e := &layout.PackageEdits{Layout: layout.FormatVersion, Key: key}
	path := r.store.Path(layout.EditsPath(key))
	b, err := store.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return e, nil
	}
	if err == nil {
		err = layout.DecodeSystemRecord(b, e)
	}
	if err == nil && e.Key != key {
		err = fmt.Errorf("it is the record of %s", e.Key)
	}
	if err != nil {
		return nil, fmt.Errorf("read the record of edited programs %s: %w", path, err)
	}
	return e, nil
}

// SetEdits records packages' edited programs, and makes that durable: nothing of
// an older record is lost before. A record without files is taken away.
func (r *Root) SetEdits(edits []*layout.PackageEdits) error {
	var written []string
	for _, e := range edits {
		path := r.store.Path(layout.EditsPath(e.Key))
		if len(e.Files) == 0 {
			if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("remove record: %w", err)
			}
			continue
		}
		b, err := json.Marshal(e)
		if err != nil {
			return fmt.Errorf("write record: %v", err)
		}
		if err := r.makeSystemDir(path); err != nil {
			return err
		}
		if err := replaceFile(path+".new", append(b, '\n')); err != nil {
			return fmt.Errorf("write record: %w", err)
		}
		written = append(written, path)
	}
	if len(written) == 0 {
		return nil
	}
	if err := r.store.Sync(); err != nil {
		return err
	}
	for _, path := range written {
		if err := os.Rename(path+".new", path); err != nil {
			return fmt.Errorf("write record: %w", err)
		}
	}
	return r.store.Sync()
}

// EditedPackages returns the keys of the packages that have a record of edited
// programs, sorted.
//
// Formats that are not in use any more are looked at too: what was edited of their
// packages is still edited.
func (r *Root) EditedPackages() ([]pkginfo.Key, error) {
	list := func(dir string) ([]fs.DirEntry, error) {
		entries, err := os.ReadDir(r.store.Path(dir))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("list records: %w", err)
		}
		return entries, nil
	}
	formats, err := list(layout.EditsDir)
	if err != nil {
		return nil, err
	}
	var keys []pkginfo.Key
	for _, format := range formats {
		if !format.IsDir() {
			continue
		}
		entries, err := list(layout.EditsDir + "/" + format.Name())
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			name, ok := strings.CutSuffix(e.Name(), layout.EditsSuffix)
			if !ok {
				continue
			}
			key, err := pkginfo.KeyOfFile(format.Name(), name)
			if err != nil {
				return nil, fmt.Errorf("list records: %w", err)
			}
			keys = append(keys, key)
		}
	}
	return keys, nil
}

// Failure returns what kept the last sync from its end; "" when nothing did.
func (r *Root) Failure() (string, error) {
	b, err := store.ReadFile(r.store.Path(failureFile))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read failure: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}

// SetFailure keeps what went wrong, or with "" forgets it.
func (r *Root) SetFailure(message string) error {
	path := r.store.Path(failureFile)
	if message == "" {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("forget failure: %w", err)
		}
		return nil
	}
	if err := r.makeSystemDir(path); err != nil {
		return err
	}
	if err := store.WriteDurably(path, []byte(message+"\n")); err != nil {
		return fmt.Errorf("keep failure: %w", err)
	}
	return nil
}

// Retired reports whether hashpkg's own package was removed, and every program
// given back before.
func (r *Root) Retired() (bool, error) {
	_, err := os.Lstat(r.store.Path(retiredFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, fmt.Errorf("read records: %w", err)
	}
	return err == nil, nil
}

// SetRetired says so, or takes it back.
func (r *Root) SetRetired(retired bool) error {
	path := r.store.Path(retiredFile)
	if !retired {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("write record: %w", err)
		}
		return nil
	}
	if err := r.makeSystemDir(path); err != nil {
		return err
	}
	if err := store.WriteDurably(path, nil); err != nil {
		return fmt.Errorf("write record: %w", err)
	}
	return nil
}

func (r *Root) writeRecord(name string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("write record: %v", err)
	}
	path := r.store.Path(name)
	if err := r.makeSystemDir(path); err != nil {
		return err
	}
	if err := store.WriteDurably(path, append(b, '\n')); err != nil {
		return fmt.Errorf("write record: %w", err)
	}
	return nil
}

// makeSystemDir makes the directory of a record.
func (r *Root) makeSystemDir(path string) error {
	if err := r.ownDirs(layout.Private, layout.SystemDir); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("write record: %w", err)
	}
	return nil
}
