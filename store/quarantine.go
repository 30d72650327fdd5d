package store

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/hashpkg/hashpkg/layout"
)

// Quarantine is where one repair moves what it must not leave in its place, and must
// not delete: directories of its own in [layout.QuarantineDir], which only the store's
// owner may read.
type Quarantine struct {
	store *Store
	time  string
	dirs  map[string]string // below the prefix, by label
}

// Quarantine returns a quarantine for a repair at this time. It makes nothing.
func (s *Store) Quarantine(now time.Time) *Quarantine {
	return &Quarantine{store: s, time: now.UTC().Format("20060102T150405Z"), dirs: map[string]string{}}
}

// Take moves what has a name below the prefix to rel in the directory of a label, and
// returns where it is now, below the prefix.
func (q *Quarantine) Take(name, label, rel string) (string, error) {
	to, err := q.take(name, label, rel)
	if err != nil {
		return "", fmt.Errorf("move to the quarantine: %w", err)
	}
	return to, nil
}

func (q *Quarantine) take(name, label, rel string) (string, error) {
	dir, err := q.dir(label)
	if err != nil {
		return "", err
	}
	to := dir
	if rel != "" {
		to += "/" + rel
	}
	if err := q.store.dir.MkdirAll(path.Dir(to), 0o700); err != nil {
		return "", err
	}
	if rel == "" { // it becomes the directory itself
		err = q.store.dir.Rmdir(to)
	}
	if err == nil {
		err = q.store.dir.RenameNew(q.store.dir, name, to)
	}
	return to, err
}

// Keep writes bytes to rel in the directory of a label, durably, and returns where they are,
// below the prefix. It is for what stands outside of the prefix.
func (q *Quarantine) Keep(b []byte, label, rel string) (string, error) {
	dir, err := q.dir(label)
	to := dir + "/" + rel
	if err == nil {
		err = q.store.dir.MkdirAll(path.Dir(to), 0o700)
	}
	if err == nil {
		err = q.store.dir.WriteFile(to, b, 0o600)
	}
	if err != nil {
		return "", fmt.Errorf("copy to the quarantine: %w", err)
	}
	return to, nil
}

// dir makes the directory of a label, and with it the quarantine.
func (q *Quarantine) dir(label string) (string, error) {
	if dir := q.dirs[label]; dir != "" && q.store.dir.Exists(dir) {
		return dir, nil
	}
	if err := q.store.dir.MkdirAll(layout.QuarantineDir, 0o700); err != nil {
		return "", err
	}
	plain := layout.QuarantineDir + "/" + q.time + "-" + strings.ReplaceAll(label, "/", "-")
	for n, dir := 1, plain; ; dir = plain + "-" + strconv.Itoa(n) {
		err := q.store.dir.Mkdir(dir, 0o700)
		if err == nil {
			q.dirs[label] = dir
			return dir, nil
		}
		if !errors.Is(err, fs.ErrExist) {
			return "", err
		}
		n++
	}
}
