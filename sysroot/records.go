package sysroot

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/hashpkg/hashpkg/internal/advice"
	"github.com/hashpkg/hashpkg/internal/beneath"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/pkginfo"
)

// Names in layout.SystemDir.
const (
	stateFile   = layout.SystemDir + "/state.json"
	failureFile = layout.SystemDir + "/failure"
	retiredFile = layout.SystemDir + "/retired"

	pinChangeFile  = layout.SystemDir + "/pin-change.json"
	pinHistoryFile = layout.SystemDir + "/pin-history.json"
)

// PinsFile is the record of pins.
const PinsFile = layout.SystemDir + "/pins.json"

// SystemState returns what the last sync remembered. One that is missing or cannot
// be read is an empty one: everything is looked at again.
func (r *Root) SystemState() *record.SystemState {
	s := &record.SystemState{}
	if b, err := r.store.Dir().ReadFile(stateFile, maxRecord); err == nil {
		if err := record.DecodeSystemRecord(b, s); err == nil && s.Packages != nil {
			return s
		}
	}
	return &record.SystemState{Layout: layout.FormatVersion, Packages: map[pkginfo.Key]record.SystemPackage{}}
}

// LastSync returns when the last sync ended that had something to do; the zero time where
// there was none.
func (r *Root) LastSync() (time.Time, error) {
	st, err := r.store.Dir().Lstat(stateFile)
	if errors.Is(err, fs.ErrNotExist) {
		return time.Time{}, nil
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("look when the last sync was: %w", err)
	}
	return time.Unix(st.Mtim.Unix()), nil
}

// SetSystemState remembers the state for the next sync.
func (r *Root) SetSystemState(s *record.SystemState) error { return r.writeJSON(stateFile, s) }

// Pins returns the pins of the root.
func (r *Root) Pins() ([]record.Pin, error) {
	var p record.Pins
	b, err := r.store.Dir().ReadFile(PinsFile, maxRecord)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil {
		err = record.DecodeSystemRecord(b, &p)
	}
	if err != nil {
		return nil, advice.Errorf("read pins %s: %w; hashpkg verify --repair puts it right", r.store.Path(PinsFile), err)
	}
	return p.List, nil
}

// SetPins records the pins of the root, and has made that durable when it returns. A
// root without pins has no such record.
func (r *Root) SetPins(pins []record.Pin) error {
	if len(pins) == 0 {
		if err := r.store.Dir().RemoveIfThere(PinsFile); err != nil {
			return fmt.Errorf("remove record: %w", err)
		}
		if !r.store.Dir().Exists(layout.SystemDir) {
			return nil
		}
		return r.store.SyncDir(layout.SystemDir)
	}
	return r.writeJSON(PinsFile, record.Pins{Layout: layout.FormatVersion, List: pins})
}

// PinHistory returns what became of pins and freezes; an empty record when there is none.
func (r *Root) PinHistory() (*record.PinHistory, error) {
	h := &record.PinHistory{}
	b, err := r.store.Dir().ReadFile(pinHistoryFile, maxRecord)
	if errors.Is(err, fs.ErrNotExist) {
		return h, nil
	}
	if err == nil {
		err = record.DecodeSystemRecord(b, h)
	}
	if err != nil {
		return nil, fmt.Errorf("read the history of pins %s: %w; nothing is added to it until it is moved away", r.store.Path(pinHistoryFile), err)
	}
	return h, nil
}

// SetPinHistory records what became of pins and freezes.
func (r *Root) SetPinHistory(h *record.PinHistory) error {
	h.Layout = layout.FormatVersion
	return r.writeJSON(pinHistoryFile, h)
}

// PinChange returns a change of pins that was begun and has not come into their history; nil for
// none.
func (r *Root) PinChange() (*record.PinChange, error) {
	b, err := r.store.Dir().ReadFile(pinChangeFile, maxRecord)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	c := &record.PinChange{}
	if err == nil {
		err = record.DecodeSystemRecord(b, c)
	}
	if err != nil {
		return nil, fmt.Errorf("read the change of pins %s: %w", r.store.Path(pinChangeFile), err)
	}
	return c, nil
}

// SetPinChange records that a change of pins begins, or with nil that it is in their history.
func (r *Root) SetPinChange(c *record.PinChange) error {
	if c == nil {
		if err := r.store.Dir().RemoveIfThere(pinChangeFile); err != nil {
			return fmt.Errorf("remove record: %w", err)
		}
		return nil
	}
	c.Layout = layout.FormatVersion
	return r.writeJSON(pinChangeFile, c)
}

// Edits returns the record of a package's edited programs; an empty one when none
// was edited.
func (r *Root) Edits(key pkginfo.Key) (*record.PackageEdits, error) {
	e := &record.PackageEdits{Layout: layout.FormatVersion, Key: key}
	name := record.EditsPath(key)
	b, err := r.store.Dir().ReadFile(name, maxRecord)
	if errors.Is(err, fs.ErrNotExist) {
		return e, nil
	}
	if err == nil {
		err = record.DecodeSystemRecord(b, e)
	}
	if err == nil && e.Key != key {
		err = fmt.Errorf("it is the record of %s", e.Key)
	}
	if err != nil {
		return nil, advice.Errorf("read the record of edited programs %s: %w; hashpkg verify --system --repair mends what it can", r.store.Path(name), err)
	}
	return e, nil
}

// SetEdits records packages' edited programs, and makes that durable: nothing of
// an older record is lost before. A record without files is taken away.
func (r *Root) SetEdits(edits []*record.PackageEdits) (err error) {
	dir := r.store.Dir()
	staged := map[string]string{} // by the temporary name
	swept := map[string]bool{}
	defer func() {
		for temp := range staged {
			err = errors.Join(err, dir.RemoveIfThere(temp))
		}
	}()
	for _, e := range edits {
		name := record.EditsPath(e.Key)
		if len(e.Files) == 0 {
			if err := dir.RemoveIfThere(name); err != nil {
				return fmt.Errorf("remove record: %w", err)
			}
			continue
		}
		b, err := json.Marshal(e)
		if err != nil {
			return fmt.Errorf("write record: %v", err)
		}
		if err := dir.MkdirAll(path.Dir(name), 0o755); err != nil {
			return fmt.Errorf("write record: %w", err)
		}
		if in := path.Dir(name); !swept[in] {
			swept[in] = true
			_ = dir.SweepTemp(in, beneath.AbandonedAfter) // what cannot be removed is in nobody's way
		}
		temp, err := dir.StageFile(name, append(b, '\n'), 0o644)
		if err != nil {
			return fmt.Errorf("write record: %w", err)
		}
		staged[temp] = name
	}
	if len(staged) == 0 {
		return nil
	}
	if err := r.store.Sync(); err != nil {
		return err
	}
	for temp, name := range staged {
		if err := dir.Rename(dir, temp, name); err != nil {
			return fmt.Errorf("write record: %w", err)
		}
		delete(staged, temp)
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
		entries, err := r.store.Dir().ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("list records: %w", err)
		}
		return entries, nil
	}
	formats, err := list(record.EditsDir)
	if err != nil {
		return nil, err
	}
	var keys []pkginfo.Key
	for _, format := range formats {
		if !format.IsDir() {
			continue
		}
		entries, err := list(record.EditsDir + "/" + format.Name())
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			name, ok := strings.CutSuffix(e.Name(), record.EditsSuffix)
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

// Conf returns the record of configuration files; an empty one when there is none.
func (r *Root) Conf() (*record.Conf, error) {
	c := &record.Conf{Layout: layout.FormatVersion}
	b, err := r.store.Dir().ReadFile(record.ConfPath, maxRecord)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err == nil {
		err = record.DecodeSystemRecord(b, c)
	}
	if err != nil {
		return nil, fmt.Errorf("read the record of configuration files %s: %w; without that record they are the administrator's own", r.store.Path(record.ConfPath), err)
	}
	return c, nil
}

// SetConf records configuration files and directories, and has made that durable when it
// returns. Without any there is no such record.
func (r *Root) SetConf(c *record.Conf) error {
	if len(c.Files)+len(c.Dirs)+len(c.State) > 0 {
		return r.writeJSON(record.ConfPath, c)
	}
	if err := r.store.Dir().RemoveIfThere(record.ConfPath); err != nil {
		return fmt.Errorf("remove record: %w", err)
	}
	if !r.store.Dir().Exists(layout.SystemDir) {
		return nil
	}
	return r.store.SyncDir(layout.SystemDir)
}

// Services returns the record of services; an empty one when there is none.
func (r *Root) Services() (*record.Services, error) {
	s := &record.Services{Layout: layout.FormatVersion}
	b, err := r.store.Dir().ReadFile(record.ServicesPath, maxRecord)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err == nil {
		err = record.DecodeSystemRecord(b, s)
	}
	if err != nil {
		return nil, fmt.Errorf("read the record of services %s: %w; without that record their units are the administrator's own", r.store.Path(record.ServicesPath), err)
	}
	return s, nil
}

// SetServices records services, and has made that durable when it returns.
func (r *Root) SetServices(s *record.Services) error {
	slices.SortFunc(s.List, func(a, b record.Service) int { return strings.Compare(a.Name, b.Name) })
	return r.writeJSON(record.ServicesPath, s)
}

// Kept returns the record of programs whose trees stay; an empty one when there is none.
func (r *Root) Kept() (*record.Kept, error) {
	k := &record.Kept{Layout: layout.FormatVersion}
	b, err := r.store.Dir().ReadFile(record.KeptPath, maxRecord)
	if errors.Is(err, fs.ErrNotExist) {
		return k, nil
	}
	if err == nil {
		err = record.DecodeSystemRecord(b, k)
	}
	if err != nil {
		return nil, advice.Errorf("read which programs are kept %s: %w; move it away, and name them anew with hashpkg keep", r.store.Path(record.KeptPath), err)
	}
	return k, nil
}

// SetKept records which programs keep their trees, and has made that durable when it returns.
func (r *Root) SetKept(k *record.Kept) error {
	slices.SortFunc(k.List, func(a, b record.KeptFile) int { return strings.Compare(a.Path, b.Path) })
	return r.writeJSON(record.KeptPath, k)
}

// Failure returns what kept the last sync from its end; "" when nothing did.
func (r *Root) Failure() (string, error) {
	b, err := r.store.Dir().ReadFile(failureFile, maxRecord)
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
	return r.setFlag(failureFile, message != "", message+"\n")
}

// Retired reports whether hashpkg's own package was removed, and every program
// given back before.
func (r *Root) Retired() (bool, error) {
	when, err := r.RetiredSince()
	return !when.IsZero(), err
}

// RetiredSince returns when that was; the zero time where it was not.
func (r *Root) RetiredSince() (time.Time, error) {
	st, err := r.store.Dir().Lstat(retiredFile)
	if errors.Is(err, fs.ErrNotExist) {
		return time.Time{}, nil
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("read records: %w", err)
	}
	return time.Unix(st.Mtim.Unix()), nil
}

// SetRetired says so, or takes it back.
func (r *Root) SetRetired(retired bool) error { return r.setFlag(retiredFile, retired, "") }

// setFlag writes a record with a text, or takes it away.
func (r *Root) setFlag(name string, on bool, text string) error {
	if on {
		return r.writeRecord(name, []byte(text))
	}
	if err := r.store.Dir().RemoveIfThere(name); err != nil {
		return fmt.Errorf("remove record: %w", err)
	}
	return nil
}

func (r *Root) writeJSON(name string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("write record: %v", err)
	}
	return r.writeRecord(name, append(b, '\n'))
}

func (r *Root) writeRecord(name string, b []byte) error {
	dir := r.store.Dir()
	err := dir.MkdirAll(path.Dir(name), 0o755)
	if err == nil {
		_ = dir.SweepTemp(path.Dir(name), beneath.AbandonedAfter) // what cannot be removed is in nobody's way
		err = dir.WriteFile(name, b, 0o644)
	}
	if err != nil {
		return fmt.Errorf("write record: %w", err)
	}
	return nil
}

// Departure says how a tree has left the active generation.
type Departure struct {
	Time    time.Time
	Upgrade bool // another version of its package came with the same generation
}

// leftRecord has how trees, named by their paths, have left the active generation, where no
// generation tells it any more.
type leftRecord struct {
	Layout   int                  `json:"layout"` // FormatVersion
	Left     map[string]time.Time `json:"left"`
	Upgraded []string             `json:"upgraded,omitempty"` // sorted
}

// Left returns how trees have left the active generation, as far as a garbage
// collection has recorded it. A record that is missing or cannot be read tells nothing.
func (r *Root) Left() map[string]Departure {
	var left leftRecord
	b, err := r.store.Dir().ReadFile(layout.LeftFile, maxRecord)
	if err != nil || json.Unmarshal(b, &left) != nil || left.Layout != layout.FormatVersion {
		return nil
	}
	departures := make(map[string]Departure, len(left.Left))
	for tree, when := range left.Left {
		departures[tree] = Departure{when, slices.Contains(left.Upgraded, tree)}
	}
	return departures
}

// SetLeft records how trees have left the active generation.
func (r *Root) SetLeft(departures map[string]Departure) error {
	left := leftRecord{layout.FormatVersion, make(map[string]time.Time, len(departures)), nil}
	for tree, d := range departures {
		left.Left[tree] = d.Time
		if d.Upgrade {
			left.Upgraded = append(left.Upgraded, tree)
		}
	}
	slices.Sort(left.Upgraded)
	return r.writeJSON(layout.LeftFile, left)
}
