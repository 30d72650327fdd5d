// Package live shows running programs that see a view what has become of the host's files:
// [Refresh]. A view is an overlay with the host's /usr below, and an overlay keeps a file that it
// has shown when the package manager puts another one at its path. A program that starts
// others would give them the libraries of before the upgrade with the data of after it.
//
// So a child enters each mount namespace with a view, and lays a fresh overlay over the old one;
// package launcher has its program. Where that fails, the view stays as it was, and the caller is
// told which processes are to be started again. Files that are open, or mapped, stay what
// they are, as they do without a view.
//
// # Who means harm
//
// Whoever owns a mount namespace decides what every path leads to in it. In the namespace of a user the
// child is that user, before it enters, and has no right that the user has not: the kernel lets it in
// because the user's own processes may enter. It can be killed by its user, but not traced. In a
// namespace that belongs to this process's own user namespace, where only root mounts, it is root, and
// goes on only if it finds this root's /usr and this prefix's view there.
//
// This process itself opens nothing in a namespace, and reads of a process only what the kernel
// writes. A child that does not end is killed when its user's time is over, and left if that
// does not help. So nobody's namespaces are refreshed later for what another user does.
package live

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/sysroot"
)

// Stale is a process that goes on seeing the host's files as they were.
type Stale struct {
	PID     int
	Program string // its own word
	Reason  string
}

// String says what to do about it.
func (s Stale) String() string {
	return fmt.Sprintf("%s (process %d) goes on seeing files in /usr as they were before: start it again (%s)", s.Program, s.PID, s.Reason)
}

// userTime is how long the namespaces of one user may take, all together.
const userTime = 5 * time.Second

// Refresh shows all processes that see a view the host's files as they are now, and returns
// those for which it failed, by their numbers. The root must be the host's own, and the caller root; else there
// is nothing that it could do, and it does nothing.
func Refresh(ctx context.Context, root *sysroot.Root) ([]Stale, error) {
	if !root.IsHost() || os.Geteuid() != 0 {
		return nil, nil
	}
	prefix, err := root.RealPrefix()
	if err != nil {
		return nil, fmt.Errorf("look for running views: %w", err)
	}
	usr, err := os.OpenFile("/usr", unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, fmt.Errorf("look for running views: %w", err)
	}
	defer usr.Close()
	namespaces, err := find()
	if err != nil {
		return nil, fmt.Errorf("look for running views: %w", err)
	}
	r := &refresher{usr: usr}
	byOwner := map[int][]*namespace{}
	for _, n := range namespaces {
		defer n.close()
		owner := n.owner
		if n.ours {
			owner = -1
			if n.host != path.Join(prefix, layout.HostDir) {
				continue // another prefix's, of which nothing is known
			}
			err = n.openTrees(path.Join(prefix, layout.ViewsDir))
			if errors.Is(err, fs.ErrNotExist) {
				continue // another root's: gc keeps those that are seen
			}
			if err != nil {
				r.failed(n, err)
				continue
			}
		}
		byOwner[owner] = append(byOwner[owner], n)
	}
	var all sync.WaitGroup
	for _, list := range byOwner {
		all.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, userTime)
			defer cancel()
			for _, n := range list {
				r.one(ctx, n)
			}
		})
	}
	all.Wait()
	slices.SortFunc(r.stale, func(a, b Stale) int { return a.PID - b.PID })
	return r.stale, nil
}

type refresher struct {
	usr *os.File

	mu    sync.Mutex
	stale []Stale
}

func (r *refresher) one(ctx context.Context, n *namespace) {
	err := errTime
	if ctx.Err() == nil {
		err = n.refresh(ctx, r.usr)
	}
	if err != nil {
		r.failed(n, err)
	}
}

func (r *refresher) failed(n *namespace, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range n.processes {
		if name := p.name(); name != "" { // else it has ended
			r.stale = append(r.stale, Stale{p.pid, name, err.Error()})
		}
	}
}

// find returns the mount namespaces in which a view is seen, but for this process's own.
func find() ([]*namespace, error) {
	own, err := os.Readlink("/proc/self/ns/mnt")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // a chroot, in which no process is seen
	}
	if err != nil {
		return nil, err
	}
	var user unix.Stat_t
	if err := unix.Stat("/proc/self/ns/user", &user); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	pids := map[string][]int{}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		link, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/mnt", pid))
		if err == nil && link != own {
			pids[link] = append(pids[link], pid)
		}
	}
	var namespaces []*namespace
	for link, list := range pids {
		if n := open(link, list, user.Ino); n != nil {
			namespaces = append(namespaces, n)
		}
	}
	return namespaces, nil
}

// open returns the namespace that a link of /proc names, if its processes see a view; nil
// otherwise, and when all have ended.
func open(link string, pids []int, ownUser uint64) *namespace {
	n := &namespace{}
	var roots []string // that were looked at: with one root, all see the same mounts
	seen := false
	for _, pid := range pids {
		p, err := openProcess(pid)
		if err != nil {
			continue
		}
		if now, err := p.readlink("ns/mnt"); err != nil || now != link {
			_ = p.dir.Close() // nothing was written through it
			continue
		}
		n.processes = append(n.processes, p)
		root, err := p.readlink("root")
		if err != nil || seen || slices.Contains(roots, root) {
			continue
		}
		roots = append(roots, root)
		text, err := p.read("mountinfo")
		if err != nil {
			continue
		}
		if v, ok := findView(text); ok && n.open(p, ownUser) == nil {
			n.view, seen = v, true
		}
	}
	if !seen {
		n.close()
		return nil
	}
	return n
}
