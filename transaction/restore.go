package transaction

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/hashpkg/hashpkg/layout/record"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/elfedit"
	"github.com/hashpkg/hashpkg/internal/atomicfile"
	"github.com/hashpkg/hashpkg/pkginfo"
	"github.com/hashpkg/hashpkg/sysroot"
)

// RestoreOptions says which programs are to have their packaged bytes again.
type RestoreOptions struct {
	Root  *sysroot.Root
	Names []string // paths in the root, or names of packages
	All   bool
	Wait  time.Duration // for the lock
}

// RestoreResult says which have them.
type RestoreResult struct {
	Restored []string     `json:"restored"` // paths
	Left     []LeftReport `json:"left"`     // that somebody else has changed
}

// Restore gives programs that were edited in place their packaged bytes back. They
// keep them until their package brings others, or a sync is asked to look again.
func Restore(ctx context.Context, o RestoreOptions) (result *RestoreResult, err error) {
	result = &RestoreResult{Restored: []string{}, Left: []LeftReport{}}
	if ok, err := o.Root.Exists(); err != nil || !ok {
		return result, err
	}
	lock, err := o.Root.LockWait(ctx, o.Wait)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, lock.Unlock()) }()
	keys, err := o.Root.EditedPackages()
	if err != nil {
		return nil, err
	}
	editor := &programEditor{root: o.Root}
	if err := editor.readRecords(keys); err != nil {
		return nil, err
	}
	changes, err := o.changes(editor, keys)
	if err != nil {
		return nil, err
	}
	if err := editor.edit(ctx, changes); err != nil {
		return nil, err
	}
	done, left, fault := outcome(changes)
	result.Left = append(result.Left, left...)
	for _, c := range done {
		result.Restored = append(result.Restored, c.path)
	}
	return result, fault
}

// changes returns what has to be done to the programs that are named.
func (o *RestoreOptions) changes(editor *programEditor, keys []string) ([]*programChange, error) {
	var changes []*programChange
	found := map[string]bool{}
	for _, key := range keys {
		pkg := &installed{Package: &pkginfo.Package{Name: editor.edits[key].Package}, key: key}
		for i := range editor.edits[key].Files {
			f := &editor.edits[key].Files[i]
			name := o.named(f.Path, editor.edits[key].Package)
			if name == "" && !o.All {
				continue
			}
			found[name] = true
			c, err := restoring(o.Root, pkg, f)
			if err != nil {
				return nil, err
			}
			if c != nil {
				changes = append(changes, c)
			}
		}
	}
	for _, name := range o.Names {
		if !found[name] {
			return nil, fmt.Errorf("%w: %s was not edited, and is no package with a program that was", ErrNotInstalled, name)
		}
	}
	return changes, nil
}

// named returns which of the names stands for a file of a package.
func (o *RestoreOptions) named(file, pkg string) string {
	for _, n := range o.Names {
		if n == file || !strings.HasPrefix(n, "/") && pkg == n {
			return n
		}
	}
	return ""
}

// restoring returns the change that gives a file its packaged bytes; nil when the
// file is gone.
func restoring(root *sysroot.Root, pkg *installed, f *record.EditedFile) (*programChange, error) {
	host, err := root.HostPath(f.Path)
	if err != nil {
		return nil, err
	}
	file, err := os.OpenFile(host, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("restore: %w", err)
	}
	defer file.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &st); err != nil {
		return nil, fmt.Errorf("restore %s: %w", f.Path, err)
	}
	c := &programChange{program: newProgram(pkg, "", f.Path, host, &st), source: f.Source, keep: f, restores: true}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		c.left = "is no regular file any more"
		return c, nil
	}
	err = atomicfile.MapFile(file, func(data []byte) error {
		disk := digest.Of(data)
		if disk == f.Source {
			return nil
		}
		if c.had = f.With(disk); c.had == nil {
			c.left = "is neither what its package brought nor what hashpkg made of it"
			return nil
		}
		edit, err := c.had.Patch.Edit()
		if err != nil {
			return err
		}
		c.edit = edit.Invert()
		packaged, err := c.edit.Apply(data)
		if err == nil && digest.Of(packaged) != f.Source {
			err = fmt.Errorf("%w: undoing the recorded edit does not give the packaged bytes", elfedit.ErrEditMismatch)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("restore %s: %w", f.Path, err)
	}
	return c, nil
}
