package testroot

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/rogpeppe/go-internal/lockedfile"

	"github.com/hashpkg/hashpkg/internal/archive"
)

// UnpackDebian unpacks a root as [Debian] describes it into the directory dir,
// which it makes. It is for callers that are no tests, and needs to be root.
func UnpackDebian(ctx context.Context, dir, suite, arch string, packages ...string) error {
	release, err := archive.Describe(ctx, archive.Options{Suite: suite, Arch: arch})
	if err != nil {
		return err
	}
	packages = slices.Compact(slices.Sorted(slices.Values(append(packages, "apt"))))
	set := fmt.Sprintf("%.16x", sha256.Sum256([]byte(strings.Join(packages, " "))))
	err = unpackCached(ctx, dir, filepath.Join(release.Dir, "roots"), set, release.Digest[:16], func(work, tarball string) error {
		if native, err := exec.Command("dpkg", "--print-architecture").Output(); err != nil {
			return fmt.Errorf("ask dpkg for the architecture: %v", err)
		} else if arch != "" && arch != strings.TrimSpace(string(native)) {
			return makeForeign(ctx, work, tarball, suite, arch, packages)
		}
		return makeDebian(ctx, work, tarball, suite, release, packages)
	})
	if err != nil {
		return fmt.Errorf("unpack a root of %s: %w", suite, err)
	}
	return nil
}

// makeDebian has mmdebstrap make a root, as a tar file. Its mounts are made in
// a namespace of their own, and its processes end with it.
func makeDebian(ctx context.Context, work, tarball, suite string, release archive.Release, packages []string) error {
	if err := needTool("mmdebstrap", "mmdebstrap"); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "mmdebstrap", "--quiet", "--mode=root", "--variant=minbase", "--format=tar",
		"--include="+strings.Join(packages, ","), "--keyring="+release.Keyring,
		"--aptopt=Acquire::Check-Valid-Until false", "--aptopt=Acquire::Retries 2",
		// What it copies from this machine, and what there is in no container.
		`--customize-hook=rm -f "$1/etc/resolv.conf" "$1/etc/hostname"`, "--skip=output/dev",
		suite, tarball, release.Source)
	cmd.Env = append(os.Environ(), "TMPDIR="+work, "LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive")
	inNamespaces(cmd)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Run(); err != nil {
		return errors.Join(ctx.Err(), fmt.Errorf("mmdebstrap: %v\n%s", err, tail(said.String(), 30)))
	}
	return nil
}

// inNamespaces has a command run with processes and mounts of its own, on this
// machine's network. Its processes end with it, and with this one.
func inNamespaces(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:   syscall.CLONE_NEWPID | syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS,
		Unshareflags: syscall.CLONE_NEWNS,
		Pdeathsig:    syscall.SIGKILL,
		Setsid:       true,
	}
	// The first process of a namespace is one that does nothing else, and /proc
	// has the namespace's processes.
	cmd.Args = slices.Concat([]string{"sh", "-c", `mount -t proc proc /proc && { "$@"; exit $?; }`, "sh", cmd.Path}, cmd.Args[1:])
	cmd.Path = "/bin/sh"
}

// unpackCached unpacks a tar file of the cache into dir, which it makes. If
// cache holds none of that name and version, make is called for it to write
// tarball, with a directory of its own that is removed afterwards; the tar
// files of the name's other versions are removed then. It is for one process
// at a time to make one; the others wait for it.
func unpackCached(ctx context.Context, dir, cache, name, version string, make func(work, tarball string) error) error {
	path := filepath.Join(cache, name+"-"+version+".tar")
	tarball, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		tarball, err = makeCached(cache, name, path, make)
	}
	if err != nil {
		return err
	}
	// From here on it does not matter if somebody removes the file.
	defer tarball.Close()
	if err := untar(ctx, tarball, dir); err != nil {
		return err
	}
	for _, sub := range []string{"dev", "proc"} { // to mount on
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return err
		}
	}
	return nil
}

func makeCached(cache, name, path string, make func(work, tarball string) error) (_ *os.File, err error) {
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return nil, err
	}
	unlock, err := lockedfile.MutexAt(filepath.Join(cache, "."+name+".lock")).Lock()
	if err != nil {
		return nil, fmt.Errorf("lock the cache: %v", err)
	}
	defer unlock()
	if tarball, err := os.Open(path); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return tarball, err // made while this process waited
	}

	work, err := os.MkdirTemp(cache, ".make-")
	if err != nil {
		return nil, err
	}
	remove, err := removeLater(work)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(work))
	}
	defer func() { err = errors.Join(err, remove()) }()
	made := filepath.Join(work, "root.tar")
	if err := make(work, made); err != nil {
		return nil, err
	}
	tarball, err := os.Open(made)
	if err != nil {
		return nil, err
	}
	if err := os.Rename(made, path); err != nil {
		return nil, errors.Join(err, tarball.Close())
	}
	old, err := filepath.Glob(filepath.Join(cache, name+"-*.tar"))
	for _, other := range old {
		if other != path {
			err = errors.Join(err, os.Remove(other))
		}
	}
	if err != nil {
		return nil, errors.Join(err, tarball.Close())
	}
	return tarball, nil
}

// untar unpacks a tar file into dir, as it was packed by tarUp or mmdebstrap:
// with owners by number, and with extended attributes.
func untar(ctx context.Context, tarball *os.File, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "tar", "-C", dir, "--numeric-owner", "--xattrs", "--xattrs-include=*", "-xpf", "-")
	cmd.Stdin = tarball
	return run(cmd)
}

// tarUp packs dir into a tar file.
func tarUp(ctx context.Context, dir, tarball string) error {
	return run(exec.CommandContext(ctx, "tar", "-C", dir, "--numeric-owner", "--xattrs", "--xattrs-include=*", "--sort=name", "-cf", tarball, "."))
}

// run runs a command of the machine; what it says is in the error.
func run(cmd *exec.Cmd) error {
	var said bytes.Buffer
	cmd.Stderr = &said
	if cmd.Stdout == nil {
		cmd.Stdout = &said
	}
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %v: %s", filepath.Base(cmd.Path), err, tail(said.String(), 20))
	}
	return nil
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
