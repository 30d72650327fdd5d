package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// slowFlag is the first argument of a process that shows a directory as a slow file system
// and runs a program there: slowFlag DELAY DIRECTORY MOUNTPOINT PROGRAM.
const slowFlag = "-on-slow-file-system"

// slowRun is what came of it.
type slowRun struct {
	Took    time.Duration
	Lookups int64
}

// runSlowly runs a program in a root that stands on a slow file system: each name of a path is
// looked up in it, whether or not it was before, and each look-up takes delay. The mount is in the
// mount namespace of a process that serves it, so that it ends with the process, however that
// ends. mountPoint is an empty directory, which several may use at once.
func runSlowly(ctx context.Context, delay time.Duration, root, mountPoint, program string) (slowRun, error) {
	var run slowRun
	self, err := os.Executable()
	if err != nil {
		return run, err
	}
	cmd := exec.CommandContext(ctx, self, slowFlag, delay.String(), root, mountPoint, program)
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		return run, fmt.Errorf("run %s on a slow file system: %w: %s", program, err, said.String())
	}
	return run, json.Unmarshal(out, &run)
}

// serveSlowly is what the process of runSlowly does.
func serveSlowly(args []string) (err error) {
	if len(args) != 4 {
		return errors.New(slowFlag + " DELAY DIRECTORY MOUNTPOINT PROGRAM")
	}
	delay, err := time.ParseDuration(args[0])
	if err != nil {
		return err
	}
	slow := &slowness{delay: delay}
	loopback := &fs.LoopbackRoot{Path: args[1]}
	root := slow.node(loopback)
	loopback.RootNode = root
	never := time.Duration(0)
	server, err := fs.Mount(args[2], root, &fs.Options{
		EntryTimeout: &never, AttrTimeout: &never, NegativeTimeout: &never,
		MountOptions: fuse.MountOptions{DirectMountStrict: true, DirectMountFlags: syscall.MS_NODEV | syscall.MS_RDONLY, FsName: "slow"},
	})
	if err != nil {
		return fmt.Errorf("mount %s: %w", args[2], err)
	}
	defer func() { err = errors.Join(err, server.Unmount()) }()
	// A program that had the file system's device open would keep it waiting for an answer when nobody gives one any more.
	if err := unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return fmt.Errorf("keep files from a program: %w", err)
	}
	// This process may not start a program from the file system: it would wait for itself.
	cmd := exec.Command("chroot", args[2], args[3])
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Env = []string{"PATH=/usr/bin:/bin", "LC_ALL=C"}
	var said bytes.Buffer
	cmd.Stderr = &said
	before := slow.lookups.Load()
	start := time.Now()
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w: %s", args[3], err, said.String())
	}
	return json.NewEncoder(os.Stdout).Encode(slowRun{time.Since(start), slow.lookups.Load() - before})
}

// slowness is how slow a file system is, and what was asked of it.
type slowness struct {
	delay   time.Duration
	lookups atomic.Int64
}

func (s *slowness) node(root *fs.LoopbackRoot) *slowNode {
	return &slowNode{LoopbackNode: fs.LoopbackNode{RootData: root}, slow: s}
}

// slowNode is a file or a directory.
type slowNode struct {
	fs.LoopbackNode
	slow *slowness
}

// WrapChild implements [fs.NodeWrapChilder]: what is in a slow directory is slow.
func (n *slowNode) WrapChild(context.Context, fs.InodeEmbedder) fs.InodeEmbedder {
	return n.slow.node(n.RootData)
}

// Lookup implements [fs.NodeLookuper].
func (n *slowNode) Lookup(ctx context.Context, name string, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	n.slow.lookups.Add(1)
	time.Sleep(n.slow.delay)
	return n.LoopbackNode.Lookup(ctx, name, out)
}
