package sysroot

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	securejoin "github.com/cyphar/filepath-securejoin"
	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/internal/beneath"
	"github.com/hashpkg/hashpkg/layout"
)

// InUse returns, for each of the trees, named by their paths below the prefix, of
// which a running process uses something, the number of such a process. It uses the
// files that it executes, has mapped or has open, the directory that it is in, and
// what its arguments name: of a script it is the interpreter that runs. at tells where
// below the prefix a tree is meanwhile.
//
// Files are recognized by device and inode, in whatever root or mount namespace the
// process has them. One with names in several directories counts for the one
// whose name the process has opened, where /proc shows that, else for all. An argument
// that names a tree counts by that name, too. What /proc does not show counts for
// nothing: to those who are not root, that is all processes of others, but for their
// arguments.
func (r *Root) InUse(trees []string, at func(tree string) string) (map[string]int, error) {
	prefixes := []string{r.store.Path(".")}
	if p, err := filepath.EvalSymlinks(prefixes[0]); err == nil && p != prefixes[0] {
		prefixes = append(prefixes, p)
	}
	inside := []string{r.prefix}
	if p, err := r.RealPrefix(); err == nil && p != r.prefix {
		inside = append(inside, p)
	}
	top, err := r.dir.Lstat(".")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("look at what is in use: %w", err)
	}
	return inUse(r.store.Dir(), trees, at, &places{prefixes, inside, fileKey{top.Dev, top.Ino}})
}

// places are the names of the prefix.
type places struct {
	outside, inside []string // for processes with the root of this one, and with ours
	top             fileKey  // that root
}

func inUse(prefix *beneath.Dir, trees []string, at func(string) string, names *places) (map[string]int, error) {
	u := &users{
		dirs: trees, names: names, known: map[string]int{},
		files: map[uint64][]holder{}, inside: map[fileKey]int{}, pids: map[string]int{}, joined: map[overlay]bool{},
	}
	for i, tree := range trees {
		u.known[tree] = i
		if err := u.index(i, prefix, at(tree)); err != nil {
			return nil, fmt.Errorf("look at what is in use: %w", err)
		}
	}
	if len(u.inside) == 0 {
		return u.pids, nil
	}
	if _, err := os.Stat("/proc/self/maps"); err != nil {
		return nil, fmt.Errorf("look at what is in use: %w: mount /proc, which shows the running processes", err)
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("look at what is in use: %w", err)
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if err := u.look(pid); err != nil && !unseen(err) {
			return nil, fmt.Errorf("look at what is in use: %w", err)
		}
	}
	return u.pids, nil
}

// lookTime is how long one process may take.
var lookTime = 10 * time.Second

// look notes what a process uses. It may have files on a file system whose server is
// another process, such as FUSE's: one that does not answer holds up nobody for ever. After
// such an error u is of no use any more.
func (u *users) look(pid int) error {
	done := make(chan error, 1)
	go func() {
		u.arguments(pid)
		u.opened(pid)
		if err := u.seesView(pid); err != nil && !unseen(err) {
			done <- err
			return
		}
		done <- u.process(pid)
	}()
	select {
	case err := <-done:
		return err
	case <-time.After(lookTime):
	}
	name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if err != nil {
		name = []byte("it has no name")
	}
	return fmt.Errorf("process %d (%q) uses a file system that does not answer: end it, or unmount that, and run this again", pid, strings.TrimSpace(string(name)))
}

// unseen reports whether a process has ended, or is not for us to look at.
func unseen(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.ESRCH)
}

type fileKey struct{ dev, ino uint64 }

// holder is one of the directories, and the device on which it has a file.
type holder struct {
	dir int
	dev uint64
}

type users struct {
	dirs   []string
	names  *places
	known  map[string]int      // the trees by their names
	files  map[uint64][]holder // which directories have a file, by inode
	inside map[fileKey]int     // which of them a directory is in
	pids   map[string]int
	joined map[overlay]bool // whose views are noted
}

// overlay is a mounted overlay file system, as a mount namespace shows it.
type overlay struct {
	namespace string // as /proc/PID/ns/mnt names it
	device    uint64
}

func (u *users) index(i int, prefix *beneath.Dir, name string) error {
	err := prefix.Walk(name, func(_ string, dir *beneath.Dir, base string, kind fs.FileMode) error {
		if !kind.IsDir() && !kind.IsRegular() {
			return nil
		}
		st, err := dir.Lstat(base)
		switch {
		case err != nil:
			return err
		case kind.IsDir():
			u.inside[fileKey{st.Dev, st.Ino}] = i
		default:
			u.files[st.Ino] = append(u.files[st.Ino], holder{i, st.Dev})
		}
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// process notes what one process executes and has mapped.
func (u *users) process(pid int) error {
	dir := fmt.Sprintf("/proc/%d", pid)
	var st unix.Stat_t
	if err := unix.Stat(dir+"/exe", &st); err == nil {
		name, err := os.Readlink(dir + "/exe")
		if err != nil && !unseen(err) {
			return err
		}
		u.note(pid, st.Dev, st.Ino, name)
	}
	maps, err := os.ReadFile(dir + "/maps")
	if err != nil {
		return err
	}
	if len(maps) > 0 {
		u.mapped(pid, string(maps))
		return nil
	}
	// A thread goes on when the first one of its process has ended.
	threads, err := os.ReadDir(dir + "/task")
	if err != nil {
		return err
	}
	for _, t := range threads {
		maps, err := os.ReadFile(dir + "/task/" + t.Name() + "/maps")
		if err != nil {
			return err
		}
		u.mapped(pid, string(maps))
	}
	return nil
}

// opened notes the files and directories that a process has open, and the directory
// that it is in.
func (u *users) opened(pid int) {
	dir := fmt.Sprintf("/proc/%d", pid)
	names := []string{dir + "/cwd"}
	if entries, err := os.ReadDir(dir + "/fd"); err == nil && pid != os.Getpid() {
		for _, e := range entries {
			names = append(names, dir+"/fd/"+e.Name())
		}
	}
	for _, name := range names {
		var st unix.Stat_t
		if unix.Stat(name, &st) != nil {
			continue
		}
		if i, ok := u.inside[fileKey{st.Dev, st.Ino}]; ok {
			u.pids[u.dirs[i]] = pid
			continue
		}
		if st.Mode&unix.S_IFMT != unix.S_IFREG || u.files[st.Ino] == nil {
			continue
		}
		if at, err := os.Readlink(name); err == nil {
			u.note(pid, st.Dev, st.Ino, at)
		}
	}
}

// seesView notes the views that a process sees: package launcher says how they are known.
func (u *users) seesView(pid int) error {
	for _, prefix := range slices.Concat(u.names.inside, u.names.outside) {
		var st unix.Stat_t
		place := prefix + "/" + layout.HostDir + "/view"
		if unix.Stat(fmt.Sprintf("/proc/%d/root%s", pid, place), &st) != nil {
			continue
		}
		if i, ok := u.inside[fileKey{st.Dev, st.Ino}]; ok {
			u.pids[u.dirs[i]] = pid
			continue
		}
		var fs unix.Statfs_t
		if unix.Statfs(fmt.Sprintf("/proc/%d/root%s", pid, place), &fs) == nil && fs.Type == unix.OVERLAYFS_SUPER_MAGIC {
			if err := u.seesJoined(pid, st.Dev, maxMountinfo); err != nil {
				return err
			}
		}
	}
	return nil
}

// maxMountinfo bounds the bytes that are read of the mounts of a process. They are no more than a
// kernel lets anybody have by default, of common length.
const maxMountinfo = 32 << 20

// seesJoined notes the views that a process sees as one, in an overlay with that device. Of those
// with more than most bytes of mounts it notes all views. Each overlay is looked for once in a
// mount namespace, whose user may have many mounts and many processes.
func (u *users) seesJoined(pid int, device uint64, most int64) error {
	namespace, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/mnt", pid))
	if err != nil {
		return err
	}
	o := overlay{namespace, device}
	if u.joined[o] {
		return nil
	}
	f, err := os.Open(fmt.Sprintf("/proc/%d/mountinfo", pid))
	if errors.Is(err, unix.EINVAL) { // it ends, and has no namespaces any more: Linux, fs/proc_namespace.c
		return nil
	}
	if err != nil {
		return err
	}
	mountinfo, err := io.ReadAll(io.LimitReader(f, most+1))
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if int64(len(mountinfo)) > most {
		for tree, i := range u.known {
			if name, _ := layout.SplitTreePath(tree); name == layout.ViewName {
				u.pids[u.dirs[i]] = pid
			}
		}
	}
	for m := range Mounts(string(mountinfo)) {
		if !strings.HasSuffix(m.Point, "/"+layout.HostDir+"/view") {
			continue
		}
		for _, id := range m.JoinedViews() {
			if i, ok := u.known[layout.TreePath(layout.ViewName, id)]; ok {
				u.pids[u.dirs[i]] = pid
			}
		}
	}
	u.joined[o] = true
	return nil
}

// arguments notes the trees that a process's arguments name, or lead to: an
// interpreter may have closed the script that it runs.
func (u *users) arguments(pid int) {
	dir := fmt.Sprintf("/proc/%d", pid)
	line, err := os.ReadFile(dir + "/cmdline")
	if err != nil || len(line) == 0 {
		return
	}
	prefixes := u.names.outside
	var st unix.Stat_t
	if unix.Stat(dir+"/root", &st) == nil && u.names.top == (fileKey{st.Dev, st.Ino}) {
		prefixes = slices.Concat(prefixes, u.names.inside)
	}
	root, errRoot := os.Readlink(dir + "/root")
	cwd, errCwd := os.Readlink(dir + "/cwd")
	for argument := range strings.SplitSeq(string(line), "\x00") {
		if pid == os.Getpid() || !strings.Contains(argument, "/") {
			continue
		}
		// As "--file=PATH", or in a list.
		for name := range strings.FieldsFuncSeq(argument, func(c rune) bool { return c == '=' || c == ':' || c == ',' }) {
			if !strings.Contains(name, "/") {
				continue
			}
			u.named(pid, name, prefixes)
			switch {
			case filepath.IsAbs(name) && errRoot == nil:
				u.leads(pid, root, name)
			case !filepath.IsAbs(name) && errRoot == nil && errCwd == nil:
				if rel, err := filepath.Rel(root, cwd); err == nil {
					u.leads(pid, root, filepath.Join("/", rel, name))
				}
			}
		}
	}
}

// named counts a process for the tree that a path leads through.
func (u *users) named(pid int, name string, prefixes []string) {
	for _, prefix := range prefixes {
		rest, ok := strings.CutPrefix(filepath.Clean(name), strings.TrimSuffix(prefix, "/")+"/")
		if !ok {
			continue
		}
		parts := strings.SplitN(rest, "/", 3)
		if len(parts) < 2 {
			continue
		}
		if i, ok := u.known[parts[0]+"/"+parts[1]]; ok {
			u.pids[u.dirs[i]] = pid
		}
	}
}

// leads counts a process for the tree to which a path leads in its root.
func (u *users) leads(pid int, root, name string) {
	at, err := securejoin.SecureJoin(root, name)
	if err != nil {
		return
	}
	var st unix.Stat_t
	if unix.Stat(at, &st) != nil && unix.Stat(fmt.Sprintf("/proc/%d/root%s", pid, name), &st) != nil {
		return
	}
	if i, ok := u.inside[fileKey{st.Dev, st.Ino}]; ok {
		u.pids[u.dirs[i]] = pid
		return
	}
	if st.Mode&unix.S_IFMT == unix.S_IFREG {
		u.note(pid, st.Dev, st.Ino, at)
	}
}

// mapped notes the files of a process's mappings: proc_pid_maps(5).
func (u *users) mapped(pid int, maps string) {
	for line := range strings.Lines(maps) {
		fields := strings.SplitN(strings.TrimSuffix(line, "\n"), " ", 6)
		if len(fields) < 6 {
			continue
		}
		ino, err := strconv.ParseUint(fields[4], 10, 64)
		if err != nil || u.files[ino] == nil {
			continue
		}
		var dev uint64
		if major, minor, ok := strings.Cut(fields[3], ":"); ok {
			a, errA := strconv.ParseUint(major, 16, 32)
			b, errB := strconv.ParseUint(minor, 16, 32)
			if errA == nil && errB == nil {
				dev = unix.Mkdev(uint32(a), uint32(b))
			}
		}
		u.note(pid, dev, ino, strings.ReplaceAll(strings.TrimLeft(fields[5], " "), `\012`, "\n"))
	}
}

// note counts a process for the directories that have a file, which it has opened
// under a name that may mean nothing here.
func (u *users) note(pid int, dev, ino uint64, name string) {
	var found []holder
	for _, h := range u.files[ino] {
		// Some file systems (btrfs, overlay) show another device there than stat does,
		// and neither is one that a disk has.
		if h.dev == dev || unix.Major(h.dev) == 0 {
			found = append(found, h)
		}
	}
	if len(found) == 0 {
		return
	}
	// The directory in which the file has that name tells which one is meant.
	var file, parent unix.Stat_t
	if unix.Lstat(name, &file) == nil && file.Ino == ino && onDevice(found, file.Dev) && unix.Stat(filepath.Dir(name), &parent) == nil {
		if i, ok := u.inside[fileKey{parent.Dev, parent.Ino}]; ok {
			u.pids[u.dirs[i]] = pid
		}
		return
	}
	for _, h := range found {
		u.pids[u.dirs[h.dir]] = pid
	}
}

func onDevice(found []holder, dev uint64) bool {
	return slices.ContainsFunc(found, func(h holder) bool { return h.dev == dev })
}
