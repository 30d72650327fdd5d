package conf

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/internal/advice"
	"github.com/hashpkg/hashpkg/internal/beneath"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/transaction"
	"github.com/hashpkg/hashpkg/transaction/query"
)

// update does for the files of a package what Update says, and with missing what Adopt
// does.
//
// The order is that of a kill between any two steps: the record with all that each file
// may be, then the files, each by itself, then the record of what they are.
func (w *worker) update(ctx context.Context, spec query.Spec) error {
	all, err := w.look(spec)
	if err != nil {
		return err
	}
	return w.follow(ctx, spec, all)
}

// follow does what update does, with these files.
func (w *worker) follow(ctx context.Context, spec query.Spec, all []*found) error {
	steps := map[*found]Action{}
	for _, x := range all {
		action, err := w.decide(ctx, x)
		if err != nil {
			return err
		}
		if action != "" {
			steps[x] = action
		} else if x.State != Adopted && x.State != Same {
			w.result.Left = append(w.result.Left, x.File)
		}
	}
	if len(steps) == 0 {
		return nil
	}
	before := cloneConf(w.record)
	for x, action := range steps {
		w.announce(x, action)
	}
	if err := w.write(); err != nil {
		return err
	}
	var faults []error
	var stop error // why no more is done
	for _, x := range slices.SortedFunc(maps.Keys(steps), func(a, b *found) int { return strings.Compare(a.Path, b.Path) }) {
		if stop == nil && ctx.Err() != nil {
			stop = ctx.Err()
			faults = append(faults, stop)
		}
		err := stop
		if err == nil && w.writes {
			err = w.carryOut(x, steps[x])
		}
		switch {
		case errors.Is(err, errTaken):
			x.Reason = err.Error()
			if steps[x] == Beside {
				x.Reason = path.Base(x.Path) + NewEnd + " is there, and is not what hashpkg has put there"
			}
			w.restoreEntry(x.Path, before)
			w.result.Left = append(w.result.Left, x.File)
		case err != nil:
			w.restoreEntry(x.Path, before)
			if stop == nil {
				faults = append(faults, fmt.Errorf("%s: %w", x.Path, err))
			}
			if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) || errors.Is(err, unix.EROFS) {
				stop = err
			}
		default:
			w.settle(x, steps[x])
			w.result.Done = append(w.result.Done, Step{x.Path, steps[x]})
		}
	}
	err := errors.Join(faults...)
	if errors.Is(err, context.Canceled) {
		command := "conf adopt"
		if slices.ContainsFunc(all, func(x *found) bool { return x.bytes != nil }) {
			command = "configure"
		}
		err = advice.Errorf("%w; run hashpkg %s %s to finish", transaction.ErrInterrupted, command, spec.Name)
	}
	return errors.Join(err, w.write())
}

// errTaken is returned (wrapped) where something has come to a place that was empty, or
// was as hashpkg had put it there.
var errTaken = errors.New("somebody has changed it meanwhile")

// decide returns what is to be done with a file; "" for nothing.
func (w *worker) decide(ctx context.Context, x *found) (Action, error) {
	if x.f == nil && x.bytes == nil {
		return "", nil // it is not known what the package would have there
	}
	switch x.State {
	case Missing:
		return Copied, nil
	case Removed:
		if w.missing {
			return Copied, nil
		}
	case Outdated:
		owned, err := w.isOwned(ctx, x.Path)
		if err != nil || owned {
			return Released, err
		}
		return Updated, nil
	case Changed:
		if isNew(x.entry, x.packaged()) {
			return Beside, nil
		}
	case Adopted:
		if x.entry.Is[0] != x.packaged() || len(x.entry.Is) > 1 || len(x.entry.Beside) > 0 || x.entry.Version != x.m.Version {
			return Confirmed, nil
		}
	case Obsolete, Same, Own, Other, Refused, Blocked:
	}
	return "", nil
}

// announce puts into the record what a file may be while it is changed.
func (w *worker) announce(x *found, action Action) {
	is := x.packaged()
	switch e := w.entry(x.Path); {
	case action == Copied && e == nil:
		w.record.Files = append(w.record.Files, record.ConfFile{Path: x.Path, Package: x.m.Name, Version: x.m.Version, Computed: x.bytes != nil, Is: []string{is}})
	case action == Copied, action == Updated:
		e.Computed = x.bytes != nil
		e.Is = slices.Compact(append([]string{is}, e.Is...))
	case action == Beside:
		e.Beside, e.Pending = append([]string{is}, e.Beside...), true
	}
	if action == Copied {
		w.announceDirs(path.Dir(x.Path))
	}
}

// announceDirs puts into the record which directories are made.
func (w *worker) announceDirs(dir string) {
	for ; dir != "/"; dir = path.Dir(dir) {
		if _, err := w.root.Stat(dir); errors.Is(err, fs.ErrNotExist) && !slices.Contains(w.record.Dirs, dir) {
			w.record.Dirs = append(w.record.Dirs, dir)
		}
	}
}

// settle puts into the record what a file is.
func (w *worker) settle(x *found, action Action) {
	e := w.entry(x.Path)
	is := x.packaged()
	switch action {
	case Released:
		w.forget(x.Path)
	case Beside:
		e.Beside, e.Pending = []string{is}, false
	case Copied, Updated, Confirmed:
		e.Is, e.Beside, e.Pending, e.Version = []string{is}, nil, false, x.m.Version
	case Taken:
	}
}

// restoreEntry puts the entry of a file back that was not changed.
func (w *worker) restoreEntry(p string, before *record.Conf) {
	w.forget(p)
	for _, f := range before.Files {
		if f.Path == p {
			w.record.Files = append(w.record.Files, f)
		}
	}
}

func (w *worker) forget(p string) {
	w.record.Files = slices.DeleteFunc(w.record.Files, func(f record.ConfFile) bool { return f.Path == p })
}

func cloneConf(c *record.Conf) *record.Conf {
	clone := *c
	clone.Files = slices.Clone(c.Files) // whose lists are not changed in place
	clone.Dirs = slices.Clone(c.Dirs)
	clone.State = slices.Clone(c.State)
	return &clone
}

// write writes the record.
func (w *worker) write() error {
	if !w.writes {
		return nil
	}
	slices.SortFunc(w.record.Files, func(a, b record.ConfFile) int { return strings.Compare(a.Path, b.Path) })
	w.record.Dirs = slices.DeleteFunc(w.record.Dirs, func(dir string) bool {
		return !slices.ContainsFunc(w.record.Files, func(f record.ConfFile) bool { return strings.HasPrefix(f.Path, dir+"/") })
	})
	slices.Sort(w.record.Dirs)
	slices.SortFunc(w.record.State, func(a, b record.StateDir) int { return strings.Compare(a.Path, b.Path) })
	return w.root.SetConf(w.record)
}

// carryOut changes what stands in /etc.
func (w *worker) carryOut(x *found, action Action) error {
	e := w.entry(x.Path)
	switch action {
	case Copied:
		return w.put(x, x.Path, nil)
	case Updated:
		return w.put(x, x.Path, e.Is)
	case Beside:
		return w.put(x, x.Path+NewEnd, e.Beside)
	case Confirmed:
		return w.take(x.Path+NewEnd, e.Beside)
	case Released, Taken:
	}
	return nil
}

// maxConf bounds a configuration file.
const maxConf = 64 << 20

// put puts a package's file at a path: where nothing is, or in the place of what is one of
// over.
func (w *worker) put(x *found, p string, over []string) error {
	if err := w.makeDirs(x.m, path.Dir(p)); err != nil {
		return err
	}
	dir, base, err := w.place(p)
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := dir.SweepTemp(".", beneath.AbandonedAfter); err != nil {
		return err
	}
	have, err := hostIn(dir, base)
	if err != nil {
		return err
	}
	if have != "" && !slices.Contains(over, have) {
		return errTaken
	}
	temp, err := w.stage(x, dir, base, have)
	if err != nil {
		return err
	}
	if have == "" {
		err = dir.RenameNew(dir, temp, base)
		if errors.Is(err, fs.ErrExist) {
			err = errTaken
		}
	} else {
		err = replace(dir, temp, base, over)
	}
	return errors.Join(err, dir.RemoveIfThere(temp), dir.Sync("."))
}

// replace gives a file the name of another one that is one of over, and only then. Where it
// returns no error, temp is that one.
func replace(dir *beneath.Dir, temp, base string, over []string) error {
	err := dir.Exchange(dir, temp, base)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) { // not every file system can
		return dir.Rename(dir, temp, base)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return errTaken
	}
	if err != nil {
		return err
	}
	if was, err := hostIn(dir, temp); err != nil || !slices.Contains(over, was) {
		return errors.Join(errTaken, err, dir.Exchange(dir, temp, base))
	}
	return nil
}

// stage writes a package's file under a name of its own, durably, with the owner and mode
// that the package has for it or, in the place of another one, that one's.
func (w *worker) stage(x *found, dir *beneath.Dir, base, have string) (temp string, err error) {
	uid, gid, mode := x.owner()
	if have != "" {
		st, err := dir.Lstat(base)
		if err != nil {
			return "", err
		}
		if st.Mode&unix.S_IFMT == unix.S_IFREG {
			uid, gid, mode = int(st.Uid), int(st.Gid), st.Mode&0o777
		}
	}
	if target, isLink := strings.CutPrefix(x.packaged(), "-> "); isLink {
		temp = beneath.TempName()
		return temp, dir.Symlink(target, temp)
	}
	b, err := w.read(x)
	if err != nil {
		return "", err
	}
	if sum(b) != x.packaged() {
		return "", fmt.Errorf("the tree's own is damaged: run hashpkg verify --repair %s", x.m.Name)
	}
	temp = beneath.TempName()
	to, err := dir.OpenFile(temp, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, 0o600)
	if err != nil {
		return "", err
	}
	_, err = to.Write(b)
	if err == nil && os.Geteuid() == 0 {
		err = to.Chown(uid, gid)
	}
	if err == nil {
		err = to.Chmod(fs.FileMode(mode))
	}
	if err == nil {
		err = to.Sync()
	}
	if err = errors.Join(err, to.Close()); err != nil {
		return "", errors.Join(err, dir.RemoveIfThere(temp))
	}
	return temp, nil
}

// owner returns the owner and the permissions of what a package has, or of what was computed.
func (x *found) owner() (uid, gid int, mode uint32) {
	if x.bytes != nil {
		return x.bytes.UID, x.bytes.GID, uint32(x.bytes.Mode.Perm())
	}
	return x.f.UID, x.f.GID, uint32(x.f.Mode) & 0o777
}

// read returns the bytes of what a package has, or of what was computed.
func (w *worker) read(x *found) ([]byte, error) {
	if x.bytes != nil {
		return x.bytes.Bytes, nil
	}
	return w.root.Store().Dir().ReadFile(layout.ObjectPath(x.f.Object), maxConf)
}

// makeDirs makes a directory below /etc and those on the way to it, as the package has
// them.
func (w *worker) makeDirs(m *record.Manifest, dir string) error {
	if dir == "/" {
		return nil
	}
	info, err := w.root.Stat(dir)
	if err == nil && !info.IsDir() {
		return fmt.Errorf("%s is no directory", dir)
	}
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := w.makeDirs(m, path.Dir(dir)); err != nil {
		return err
	}
	d, base, err := w.place(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Mkdir(base, 0o755); err != nil {
		return err
	}
	f := m.Lookup(dir[1:])
	if f == nil || f.Type != record.TypeDirectory {
		return d.Sync(".")
	}
	if os.Geteuid() == 0 {
		err = d.Chown(base, f.UID, f.GID)
	}
	return errors.Join(err, d.Chmod(base, uint32(f.Mode)&0o777), d.Sync("."))
}

// place opens the directory that a path below /etc, or of a computed file below /var/lib, is
// in. It must be there, and none of those that are refused, when links were followed, too.
func (w *worker) place(p string) (*beneath.Dir, string, error) {
	found, err := w.root.Find(p)
	if err != nil {
		return nil, "", err
	}
	if err := w.allowed(p, found.Path); err != nil {
		_ = found.Close() // as in statePlace
		return nil, "", err
	}
	return found.Dir, found.Base, nil
}

// allowed refuses a path that links lead elsewhere from.
func (w *worker) allowed(p, real string) error {
	if isState(p) {
		return w.allowedState(p, real)
	}
	if real != "/etc" && !strings.HasPrefix(real, "/etc/") {
		return fmt.Errorf("a link leads out of /etc, to %s", real)
	}
	if reason := refuses(real); reason != "" && real != p {
		return fmt.Errorf("a link leads to %s, and %s", real, reason)
	}
	return nil
}

// host returns what stands at a path below /etc: see record.ConfFile. It is "" for nothing,
// and "other" for what is neither a file nor a link.
func (w *worker) host(p string) (string, error) {
	found, err := w.root.Find(p)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if errors.Is(err, unix.ENOTDIR) {
		return "", fmt.Errorf("something on the way to it is no directory")
	}
	if err != nil {
		return "", err
	}
	defer found.Close()
	if err := w.allowed(p, found.Path); err != nil {
		return "", err
	}
	return hostIn(found.Dir, found.Base)
}

func hostIn(dir *beneath.Dir, base string) (string, error) {
	st, err := dir.Lstat(base)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFLNK:
		target, err := dir.Readlink(base)
		return "-> " + target, err
	case unix.S_IFREG:
		f, _, err := dir.OpenRegular(base)
		if err != nil {
			return "", err
		}
		defer f.Close()
		return sumOf(f)
	}
	return "other", nil
}

// take removes what stands at a path if it is one of what hashpkg has put there.
func (w *worker) take(p string, is []string) error {
	if len(is) == 0 {
		return nil
	}
	dir, base, err := w.place(p)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer dir.Close()
	have, err := hostIn(dir, base)
	if err != nil || !slices.Contains(is, have) {
		return err
	}
	// Somebody may change it now: what was taken is looked at once more.
	temp := beneath.TempName()
	if err := dir.RenameNew(dir, base, temp); err != nil {
		return err
	}
	if was, err := hostIn(dir, temp); err != nil || !slices.Contains(is, was) {
		return errors.Join(errTaken, err, dir.RenameNew(dir, temp, base))
	}
	return errors.Join(dir.Remove(temp), dir.Sync("."))
}

// drop does what Drop says. What was removed is in the record until all of it is, so that
// it can be run again.
func (w *worker) drop(ctx context.Context, spec query.Spec) error {
	w.handOver(spec.Name)
	err := w.dropFiles(ctx, func(e *record.ConfFile) bool { return e.Package == spec.Name })
	return errors.Join(err, w.dropState(ctx, spec.Name), w.write())
}

// dropFiles does so for those files that are to go.
func (w *worker) dropFiles(ctx context.Context, goes func(*record.ConfFile) bool) error {
	var faults []error
	gone := []string{}
	for _, e := range slices.Clone(w.record.Files) {
		if !goes(&e) {
			continue
		}
		action, err := w.dropFile(ctx, &e)
		if err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", e.Path, err))
			continue
		}
		w.forget(e.Path)
		gone = append(gone, e.Path)
		if action != "" {
			w.result.Done = append(w.result.Done, Step{e.Path, action})
		}
	}
	faults = append(faults, w.dropDirs(gone), w.write())
	return errors.Join(faults...)
}

func (w *worker) dropFile(ctx context.Context, e *record.ConfFile) (Action, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	have, err := w.host(e.Path)
	if err != nil {
		return "", err
	}
	owned, err := w.isOwned(ctx, e.Path)
	if err != nil {
		return "", err
	}
	action := Action("")
	switch {
	case have == "":
	case owned || !slices.Contains(e.Is, have) || refuses(e.Path) != "":
		action = Released
	default:
		action = Taken
	}
	if !w.writes {
		return action, nil
	}
	if action == Taken {
		if err := w.take(e.Path, e.Is); err != nil {
			return "", err
		}
	}
	return action, w.take(e.Path+NewEnd, e.Beside)
}

// dropDirs removes the directories on the way to files that were made for them, and are
// empty.
func (w *worker) dropDirs(files []string) error {
	if !w.writes {
		return nil
	}
	for _, dir := range slices.Backward(slices.Sorted(slices.Values(w.record.Dirs))) {
		if !slices.ContainsFunc(files, func(p string) bool { return strings.HasPrefix(p, dir+"/") }) {
			continue
		}
		d, base, err := w.place(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		err = d.SweepTemp(base, 0) // of a drop that was killed
		if err == nil || errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, beneath.ErrLink) {
			err = d.Rmdir(base)
		}
		if errors.Is(err, unix.ENOTEMPTY) || errors.Is(err, fs.ErrExist) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
			err = nil
		}
		if err = errors.Join(err, d.Close()); err != nil {
			return err
		}
	}
	return nil
}
