package conf

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/internal/advice"
	"github.com/hashpkg/hashpkg/internal/beneath"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/transaction/query"
)

// Made says that a directory was made.
const Made Action = "made"

// MakeState makes those directories below /var that private packages have, or that their
// scripts would make, and that the root lacks. What is there is left as it is.
func MakeState(ctx context.Context, o Options, specs []query.Spec) (*Result, error) {
	return change(ctx, o, func(*worker) ([]query.Spec, error) { return specs, nil }, (*worker).makeState)
}

// stateDir is a directory below /var that a package needs.
type stateDir struct {
	path     string // in the root, absolute
	mode     uint32
	uid, gid int
	fault    error // why it cannot be as the package has it
}

// makeState does what MakeState says for one package.
func (w *worker) makeState(ctx context.Context, spec query.Spec) error {
	g, err := w.root.Active()
	if err != nil {
		return err
	}
	t, err := treeOf(g, spec)
	if err != nil {
		return err
	}
	m, err := w.root.Store().Manifest(t.Name, t.Dir)
	if err != nil {
		return err
	}
	dirs, err := w.stateDirs(m)
	if err != nil {
		return err
	}
	for i := range dirs {
		if refusesState(dirs[i].path) {
			dirs[i].fault = errStateRefused
		}
	}
	without := "" // a directory that is not made, in which no others are then
	dirs = slices.DeleteFunc(dirs, func(d stateDir) bool {
		if d.fault == nil && without != "" && strings.HasPrefix(d.path, without+"/") {
			d.fault = fmt.Errorf("%s is not made", without)
		}
		_, err := w.root.Stat(d.path)
		switch {
		case err == nil:
			return true
		case !errors.Is(err, fs.ErrNotExist):
			d.fault = err
		case d.fault == nil:
			return false
		}
		if without == "" || !strings.HasPrefix(d.path, without+"/") {
			without = d.path
		}
		w.result.Left = append(w.result.Left, File{Path: d.path, Package: m.Spec(), State: Missing, Reason: d.fault.Error()})
		return true
	})
	for _, d := range dirs {
		if !slices.ContainsFunc(w.record.State, func(s record.StateDir) bool { return s.Path == d.path }) {
			w.record.State = append(w.record.State, record.StateDir{Path: d.path, Package: m.Name})
		}
	}
	if len(dirs) == 0 {
		return nil
	}
	if err := w.write(); err != nil {
		return err
	}
	var faults []error
	for _, d := range dirs {
		err := ctx.Err()
		if err == nil && w.writes {
			err = w.makeStateDir(d)
		}
		if err != nil {
			faults = append(faults, err)
			continue
		}
		w.result.Done = append(w.result.Done, Step{d.path, Made})
	}
	return errors.Join(faults...)
}

// stateDirs returns the directories below /var of a package, and those on the way to them,
// which are root's and for everybody to pass. They are sorted by path.
func (w *worker) stateDirs(m *record.Manifest) ([]stateDir, error) {
	var dirs []stateDir
	for i := range m.Files {
		if f := &m.Files[i]; f.Type == record.TypeDirectory && isState("/"+f.Path) {
			dirs = append(dirs, stateDir{path: "/" + f.Path, mode: uint32(f.Mode) & stateMode, uid: f.UID, gid: f.GID})
		}
	}
	for _, made := range m.WouldMake.Directories {
		if !isState(made.Path) {
			continue
		}
		d := stateDir{path: made.Path, mode: 0o755}
		if i := slices.IndexFunc(dirs, func(other stateDir) bool { return other.path == made.Path }); i >= 0 {
			d = dirs[i] // of the payload
		}
		if made.Mode != "" {
			mode, err := strconv.ParseUint(made.Mode, 8, 32)
			if d.mode = uint32(mode) & stateMode; err != nil {
				d.fault = fmt.Errorf("its mode %q is not a number: make it by hand", made.Mode)
			}
		}
		if made.Owner != "" && d.fault == nil {
			if err := w.setOwner(&d, made.Owner); err != nil {
				return nil, err
			}
		}
		dirs = slices.DeleteFunc(dirs, func(other stateDir) bool { return other.path == d.path })
		dirs = append(dirs, d)
	}
	for _, d := range slices.Clone(dirs) {
		for p := path.Dir(d.path); isState(p); p = path.Dir(p) {
			if !slices.ContainsFunc(dirs, func(other stateDir) bool { return other.path == p }) {
				dirs = append(dirs, stateDir{path: p, mode: 0o755})
			}
		}
	}
	slices.SortFunc(dirs, func(a, b stateDir) int { return strings.Compare(a.path, b.path) })
	return dirs, nil
}

// stateMode has the bits that a directory gets: all but setuid, which says nothing there.
const stateMode = 0o3777

// isState reports whether a path is below /var, and not in what is gone at the next start.
func isState(p string) bool {
	rest, below := strings.CutPrefix(p, "/var/")
	return below && rest != "" && path.Clean(p) == p && rest != "run" && rest != "lock" && !strings.HasPrefix(rest, "run/") && !strings.HasPrefix(rest, "lock/")
}

// stateRefused are what is not made below /var, whoever asks: what says who may become whom,
// and what runs as whom, and the package managers' own.
var stateRefused = []string{
	"/var/lib/AccountsService", "/var/lib/apt", "/var/lib/dpkg", "/var/lib/pam", "/var/lib/polkit-1", "/var/lib/rpm", "/var/lib/sudo", "/var/lib/systemd",
	"/var/spool/at", "/var/spool/cron",
}

var errStateRefused = errors.New("it decides what is run as whom, or is the package manager's")

// refusesState reports whether a path is one that is not made.
func refusesState(p string) bool {
	return slices.ContainsFunc(stateRefused, func(r string) bool { return p == r || strings.HasPrefix(p, r+"/") })
}

// setOwner gives a directory an owner as chown(1) has it: "mysql", "mysql:adm", ":adm", or
// "mysql:" for the user's own group.
func (w *worker) setOwner(d *stateDir, text string) error {
	user, group, both := strings.Cut(text, ":")
	if user != "" {
		fields, err := w.account("/etc/passwd", user)
		switch {
		case err != nil:
			return err
		case len(fields) > 3:
			d.uid, err = strconv.Atoi(fields[2])
			if own, fault := strconv.Atoi(fields[3]); err == nil && both && group == "" {
				d.gid, err = own, fault
			}
			if err != nil {
				return fmt.Errorf("/etc/passwd: user %s: %w", user, err)
			}
		default:
			if d.uid, err = strconv.Atoi(user); err != nil {
				d.fault = fmt.Errorf("the user %s is not there: make it first", user)
			}
		}
	}
	if group == "" || d.fault != nil {
		return nil
	}
	fields, err := w.account("/etc/group", group)
	if err != nil {
		return err
	}
	if len(fields) > 2 {
		if d.gid, err = strconv.Atoi(fields[2]); err != nil {
			return fmt.Errorf("/etc/group: group %s: %w", group, err)
		}
	} else if d.gid, err = strconv.Atoi(group); err != nil {
		d.fault = fmt.Errorf("the group %s is not there: make it first", group)
	}
	return nil
}

// account returns the fields of a user or a group of the root; none if it has no such.
func (w *worker) account(file, name string) ([]string, error) {
	b, err := w.root.ReadFile(file, maxConf)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for line := range strings.Lines(string(b)) {
		if fields := strings.Split(strings.TrimSpace(line), ":"); fields[0] == name {
			return fields, nil
		}
	}
	return nil, nil
}

// makeStateDir makes a directory. It comes to its name when it is as it is to be.
func (w *worker) makeStateDir(d stateDir) error {
	dir, base, err := w.statePlace(d.path)
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := dir.SweepTemp(".", beneath.AbandonedAfter); err != nil { // of one that was killed
		return err
	}
	temp := beneath.TempName()
	if err := dir.Mkdir(temp, 0o700); err != nil {
		return err
	}
	if os.Geteuid() == 0 {
		err = dir.Chown(temp, d.uid, d.gid)
	}
	if err == nil {
		err = dir.Chmod(temp, d.mode)
	}
	if err == nil {
		err = dir.RenameNew(dir, temp, base)
	}
	if err != nil {
		return errors.Join(err, dir.Rmdir(temp))
	}
	return dir.Sync(".")
}

// statePlace opens the directory that a path below /var is in. It must be there, and not
// below the prefix, when links were followed, too.
func (w *worker) statePlace(p string) (*beneath.Dir, string, error) {
	found, err := w.root.Find(p)
	if err != nil {
		return nil, "", err
	}
	if err := w.allowedState(p, found.Path); err != nil {
		_ = found.Close() // nothing was written; where it is not there, that is no news
		return nil, "", err
	}
	return found.Dir, found.Base, nil
}

// allowedState refuses a path below /var that links lead elsewhere from.
func (w *worker) allowedState(p, real string) error {
	prefix := w.root.Prefix()
	if !isState(real) || refusesState(real) || real == prefix || strings.HasPrefix(real, prefix+"/") {
		return advice.Errorf("%s leads to %s, where no package's directory is made; make it yourself if it is wanted there", p, real)
	}
	return nil
}

// dropState removes the directories that were made for a package, and are empty. The others,
// and those that a package of the system has by now, are not hashpkg's any more.
func (w *worker) dropState(ctx context.Context, name string) error {
	for _, s := range slices.Backward(slices.Clone(w.record.State)) { // what is in a directory comes before it
		if s.Package != name {
			continue
		}
		owned, err := w.isOwned(ctx, s.Path)
		if err != nil {
			return err
		}
		action := Released
		if !owned {
			if action, err = w.removeEmpty(s.Path); err != nil {
				return err
			}
		}
		w.record.State = slices.DeleteFunc(w.record.State, func(other record.StateDir) bool { return other.Path == s.Path })
		if action != "" {
			w.result.Done = append(w.result.Done, Step{s.Path, action})
		}
	}
	return nil
}

// removeEmpty removes a directory below /var if it has nothing in it, and says what became
// of it; "" when it is not there.
func (w *worker) removeEmpty(p string) (Action, error) {
	dir, base, err := w.statePlace(p)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	defer dir.Close()
	if !w.writes {
		entries, err := dir.ReadDir(base)
		if err == nil && len(entries) == 0 {
			return Taken, nil
		}
		return Released, err
	}
	switch err = dir.Rmdir(base); {
	case err == nil:
		return Taken, dir.Sync(".")
	case errors.Is(err, fs.ErrNotExist):
		return "", nil
	case errors.Is(err, unix.ENOTEMPTY), errors.Is(err, fs.ErrExist), errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.EBUSY):
		return Released, nil
	}
	return "", err
}
