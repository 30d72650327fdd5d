package transaction

import (
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/hashpkg/hashpkg/layout/record"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/elfedit"
	"github.com/hashpkg/hashpkg/internal/atomicfile"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/pkginfo"
	"github.com/hashpkg/hashpkg/programs"
	"github.com/hashpkg/hashpkg/sysroot"
)

// scanned is what an installed package has that a sync is about.
type scanned struct {
	*installed
	libraries *record.Manifest // the draft of its tree; nil when it has none
	programs  []*programs.Program
}

// sharer takes the libraries of the system: a *store.Staging, or a dry run's.
type sharer interface {
	// Share stages a file of the system; see [store.Staging.Share].
	Share(path string) (d digest.Digest, size int64, shared bool, err error)
}

// memorySharer only looks.
type memorySharer struct{}

func (memorySharer) Share(path string) (d digest.Digest, size int64, shared bool, err error) {
	f, err := os.Open(path)
	if err != nil {
		return d, 0, false, err
	}
	d, size, err = digest.OfReader(f)
	return d, size, true, errors.Join(err, f.Close())
}

// scanner looks at the files of installed packages. Its methods may be called by
// several goroutines at once.
type scanner struct {
	root *sysroot.Root
	to   sharer // nil when only programs are asked for

	mu   sync.Mutex
	dirs map[string]string // host's directory by directory of the root
}

// passedOver are directories in which no program or library of the system is, or
// none that a loader reads.
var passedOver = []string{
	"usr/share/", "usr/include/", "usr/src/", "usr/lib/debug/", "usr/lib/modules/", "usr/lib/firmware/",
	"etc/", "var/", "boot/", "run/", "proc/", "sys/", "dev/", "tmp/",
}

// scan looks at a package's files, and stages its libraries.
func (s *scanner) scan(p *installed) (*scanned, error) {
	entries, err := p.files()
	if err != nil {
		return nil, fmt.Errorf("look at %s: %w", p.Name, err)
	}
	out := &scanned{installed: p}
	m, err := draft(p.Package)
	if err != nil {
		return nil, fmt.Errorf("look at %s: %w", p.Name, err)
	}
	m.Origin, m.Requires, m.Provides, m.Scripts = record.OriginSystem, nil, nil, nil
	tree := &stager{m: m, byPath: map[string]int{}}
	for _, e := range entries {
		payload := layout.MergeUsr(e.Path)
		if slices.ContainsFunc(passedOver, func(d string) bool { return strings.HasPrefix(payload, d) }) {
			continue
		}
		if err := s.look(&e, payload, out, tree); err != nil {
			return nil, fmt.Errorf("look at %s: %w", p.Name, err)
		}
	}
	out.libraries = finishSystemTree(tree)
	return out, nil
}

// look decides what a file of a package is.
func (s *scanner) look(e *pkginfo.Entry, payload string, out *scanned, tree *stager) error {
	host, err := s.host(e.Path)
	if errors.Is(err, unix.ELOOP) {
		return nil // somebody's links lead in a circle
	}
	if err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Lstat(host, &st); errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return nil // somebody removed it
	} else if err != nil {
		return fmt.Errorf("%s: %w", host, err)
	}
	named := strings.Contains(path.Base(e.Path), ".so")
	_, twice := tree.byPath[payload]
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFLNK:
		if !named || twice || s.to == nil {
			return nil
		}
		target, err := os.Readlink(host)
		if err != nil {
			return err
		}
		tree.put(record.File{Path: payload, Type: record.TypeSymlink, Mode: 0o777, Target: target})
	case unix.S_IFREG:
		if !named && st.Mode&0o111 == 0 || st.Size == 0 {
			return nil
		}
		info, err := inspect(host)
		if err != nil || info == nil {
			return err
		}
		switch {
		case isSystemProgram(info) && st.Mode&0o111 != 0:
			out.programs = append(out.programs, &programs.Program{Package: out.named(), Path: s.inside(host), Digest: e.Digest})
		case isSystemLibrary(info) && named && !twice && s.to != nil:
			return s.addLibrary(tree, payload, host, &st, info)
		}
	}
	return nil
}

// addLibrary puts a library into its package's tree.
func (s *scanner) addLibrary(tree *stager, payload, host string, st *unix.Stat_t, info *elfedit.Info) error {
	f := record.File{
		Path: payload, Type: record.TypeFile, Mode: record.Mode(st.Mode & 0o7777), UID: int(st.Uid), GID: int(st.Gid),
		ELF: info, Shared: record.SharedCopy, System: host,
	}
	info.Notes = nil
	d, size, shared, err := s.to.Share(host)
	if err != nil {
		return err
	}
	f.Object, f.Source, f.Size = d, d, size
	// An old file that runs as somebody else must not outlive its package.
	if f.Mode&0o6000 != 0 {
		f.Mode &^= 0o6000
		shared = false
	}
	if shared {
		f.Shared = record.SharedLink
	}
	if place := strings.TrimPrefix(s.inside(host), "/"); place != payload {
		f.Place = place
	}
	tree.put(f)
	return nil
}

// put adds a file that is known to be new.
func (s *stager) put(f record.File) {
	s.byPath[f.Path] = len(s.m.Files)
	s.m.Files = append(s.m.Files, f)
}

// finishSystemTree leaves out links that lead to no library of the package; nil
// when nothing is left.
func finishSystemTree(s *stager) *record.Manifest {
	s.m.Index()
	var files []record.File
	found := false
	for _, f := range s.m.Files {
		if f.Type == record.TypeFile {
			found = true
		} else if to := s.m.Resolve(f.Path); to == nil {
			continue
		}
		files = append(files, f)
	}
	if !found {
		return nil
	}
	s.m.Files = files
	s.finish()
	return s.m
}

// inside returns the path in the root of a path on the host.
func (s *scanner) inside(host string) string {
	return "/" + strings.TrimPrefix(strings.TrimPrefix(host, s.root.Dir()), "/")
}

// host returns the host's path of a file in the root, with links in its directory
// followed inside the root.
func (s *scanner) host(name string) (string, error) {
	dir := path.Dir(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	host, ok := s.dirs[dir]
	if !ok {
		var err error
		if host, err = s.root.HostPath("/" + dir); err != nil {
			return "", err
		}
		s.dirs[dir] = host
	}
	return host + "/" + path.Base(name), nil
}

// inspect returns what a file is; nil when it is no ELF file that a loader reads.
func inspect(host string) (*elfedit.Info, error) {
	f, err := os.OpenFile(host, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var magic [len(elf.ELFMAG)]byte
	if n, err := f.ReadAt(magic[:], 0); n < len(magic) || string(magic[:]) != elf.ELFMAG {
		if n < len(magic) {
			return nil, nil //nolint:nilerr // too short to be one
		}
		return nil, err
	}
	var info *elfedit.Info
	err = atomicfile.MapFile(f, func(b []byte) error {
		if info, err = elfedit.Inspect(b); err != nil {
			info = nil // looks like ELF and is not
		}
		return nil
	})
	return info, err
}

// isSystemLibrary reports whether a file is one that others load.
func isSystemLibrary(info *elfedit.Info) bool {
	return info.Type == elf.ET_DYN && info.HasDynamic && !info.IsProgram() && !info.SplitDebug
}

// isSystemProgram reports whether a file is a program that glibc's loader starts.
// Others search in other ways.
func isSystemProgram(info *elfedit.Info) bool {
	return (info.Type == elf.ET_EXEC || info.Type == elf.ET_DYN) && info.IsProgram() && info.HasDynamic &&
		info.Soname == "" && layout.IsGlibcLoader(info.Interpreter)
}
