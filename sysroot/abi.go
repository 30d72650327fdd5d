package sysroot

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"runtime"
	"syscall"

	"github.com/hashpkg/hashpkg/elfedit"
	"github.com/hashpkg/hashpkg/internal/beneath"
	"github.com/hashpkg/hashpkg/internal/mapped"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/ldso"
)

// Architecture returns the root's own architecture, as a multi-arch triplet: that
// of its shell or another program that every system has, else the host's.
func (r *Root) Architecture() (string, error) {
	for _, file := range []string{"/bin/sh", "/usr/bin/sh", "/bin/bash", "/usr/bin/env"} {
		o, err := files{r}.Inspect(file)
		if err == nil {
			if t := ldso.MachineTriplet(o.Info); t != "" {
				return t, nil
			}
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, ldso.ErrNotLoadable) && !errors.Is(err, fs.ErrPermission) {
			return "", err
		}
	}
	name := map[string]string{"386": "i386", "arm": "armhf", "ppc64le": "ppc64el"}[runtime.GOARCH]
	if name == "" {
		name = runtime.GOARCH
	}
	t, ok := layout.Triplet(name)
	if !ok {
		return "", fmt.Errorf("find the root's architecture: %s is not known", runtime.GOARCH)
	}
	return t, nil
}

// System returns what finds the root's own libraries for programs of this ABI.
func (r *Root) System(abi *elfedit.Info) (ldso.Finder, error) { return r.Loader(abi) }

// Loader is System for who asks by which rule a library is found.
func (r *Root) Loader(abi *elfedit.Info) (*ldso.Root, error) {
	where := ldso.MultiarchLayout(abi)
	if t := ldso.Triplet(abi); !r.HasFile("/usr/lib/"+t) && !r.HasFile("/lib/"+t) {
		where = ldso.Lib64Layout(abi)
	}
	return ldso.NewRoot(files{r}, abi, ldso.Options{Layout: where})
}

// Inspect returns the ELF file at a path of the root as the loader sees it: see [ldso.Files].
func (r *Root) Inspect(name string) (*ldso.Object, error) { return files{r}.Inspect(name) }

// files shows the root to the loader's model. It implements [ldso.Files].
type files struct{ r *Root }

// maxConfig bounds the loader's cache and configuration files; a real cache is
// well under a megabyte.
const maxConfig = 64 << 20

func (f files) ReadFile(name string) ([]byte, error) { return f.r.ReadFile(name, maxConfig) }

func (f files) Inspect(name string) (*ldso.Object, error) {
	file, err := f.r.Open(name)
	if errors.Is(err, beneath.ErrNotRegular) {
		return nil, fmt.Errorf("inspect %s: %w", f.r.host(name), ldso.ErrNotLoadable)
	}
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() == 0 {
		return nil, fmt.Errorf("inspect %s: %w", file.Name(), ldso.ErrNotLoadable)
	}
	var e *elfedit.Info
	err = mapped.File(file, func(data []byte) error {
		var err error
		if e, err = elfedit.Inspect(data); err != nil {
			return fmt.Errorf("inspect %s: %w: %v", file.Name(), ldso.ErrNotLoadable, err)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return nil, fmt.Errorf("inspect %s: no inode number", file.Name())
	}
	return &ldso.Object{Path: path.Clean(name), ID: fmt.Sprintf("%d:%d", st.Dev, st.Ino), Info: e}, nil
}
