package system

import (
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/backends"
	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/elfedit"
	"github.com/hashpkg/hashpkg/internal/beneath"
	"github.com/hashpkg/hashpkg/internal/mapped"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/pkginfo"
	"github.com/hashpkg/hashpkg/sysroot"
)

// Found is what a sync is about in an installed package.
type Found struct {
	*backends.Installed
	Libraries *record.Manifest // the draft of its tree; nil when it has none
	Programs  []Program
	Large     []Large // what was not looked at
}

// Large is an ELF file that has more bytes than what is looked at.
type Large struct {
	Path    string // absolute in the root, no links in its directory
	Size    int64
	Program bool // it is executable, and is among the programs, too
}

// Program is one dynamic executable of an installed package.
type Program struct {
	Package *backends.Installed
	Path    string // absolute in the root, no links in its directory
	Digest  string // as the database has it: "md5:hex"; "" for none
	RunPath string
	Dev     uint64 // of the file
	Ino     uint64
}

// Sharer takes libraries of the system for their trees.
type Sharer interface {
	// Share stages the file at a path of the root; see store.Staging.
	Share(path string) (d digest.Digest, size int64, shared bool, err error)
}

// Digests is a Sharer that only looks.
type Digests struct{ Root *sysroot.Root }

// Share implements [Sharer].
func (s Digests) Share(path string) (d digest.Digest, size int64, shared bool, err error) {
	f, err := s.Root.Open(path)
	if err != nil {
		return d, 0, false, err
	}
	d, size, err = digest.OfReader(f)
	return d, size, true, errors.Join(err, f.Close())
}

// Scan looks at the files of packages, and stages their libraries in to; without it
// only programs are looked for. Of files that have more than maxSize bytes nothing is
// read but whether they are ELF files: executable ones are among the programs,
// whatever they are. progress is called with the number of packages done, from any
// goroutine.
func Scan(ctx context.Context, root *sysroot.Root, packages []*backends.Installed, to Sharer, maxSize int64, progress func(done int)) ([]*Found, error) {
	found := make([]*Found, len(packages))
	var done atomic.Int64
	scanning, ctx := errgroup.WithContext(ctx)
	scanning.SetLimit(runtime.GOMAXPROCS(0))
	for i, p := range packages {
		scanning.Go(func() (err error) {
			if err := ctx.Err(); err != nil {
				return err
			}
			if found[i], err = scan(root, p, to, maxSize); err != nil {
				return fmt.Errorf("look at %s: %w", p.Name, err)
			}
			progress(int(done.Add(1)))
			return nil
		})
	}
	return found, scanning.Wait()
}

// passedOver are directories in which no program or library of the system is, or
// none that a loader reads.
var passedOver = []string{
	"usr/share/", "usr/include/", "usr/src/", "usr/lib/debug/", "usr/lib/modules/", "usr/lib/firmware/",
	"etc/", "var/", "boot/", "run/", "proc/", "sys/", "dev/", "tmp/",
}

// scanner is the scan of one package.
type scanner struct {
	root    *sysroot.Root
	to      Sharer
	maxSize int64
	found   *Found
	tree    *record.Draft

	dir  *sysroot.Place // the directory of the last file: the next one's, mostly
	name string
}

func scan(root *sysroot.Root, p *backends.Installed, to Sharer, maxSize int64) (found *Found, err error) {
	entries, err := p.Files()
	if err != nil {
		return nil, err
	}
	s := &scanner{root: root, to: to, maxSize: maxSize, found: &Found{Installed: p}}
	if s.tree, err = record.NewDraft(p.Package, record.OriginSystem); err != nil {
		return nil, err
	}
	defer func() {
		if s.dir != nil {
			err = errors.Join(err, s.dir.Close())
		}
	}()
	for i := range entries {
		payload := layout.MergeUsr(entries[i].Path)
		if slices.ContainsFunc(passedOver, func(d string) bool { return strings.HasPrefix(payload, d) }) {
			continue
		}
		if err := s.look(&entries[i], payload); err != nil {
			return nil, err
		}
	}
	s.found.Libraries = s.libraries()
	return s.found, nil
}

// enter opens the directory of a file; false when it is not there.
func (s *scanner) enter(file string) (bool, error) {
	dir := path.Dir(file)
	if s.dir != nil && s.name == dir {
		return true, nil
	}
	place, err := s.root.Find("/" + file)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ELOOP), errors.Is(err, beneath.ErrLink):
		return false, nil // somebody removed it, or has links that lead in a circle
	case err != nil:
		return false, err
	}
	if s.dir != nil {
		if err := s.dir.Close(); err != nil {
			return false, errors.Join(err, place.Close())
		}
	}
	s.dir, s.name = place, dir
	return true, nil
}

// look decides what a file of the package is.
func (s *scanner) look(e *pkginfo.Entry, payload string) error {
	if there, err := s.enter(e.Path); err != nil || !there {
		return err
	}
	base := path.Base(e.Path)
	st, err := s.dir.Dir.Lstat(base)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	inside := path.Join(path.Dir(s.dir.Path), base)
	named := strings.Contains(base, ".so")
	wanted := named && s.to != nil && s.tree.At(payload) == nil
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFLNK:
		if !wanted {
			return nil
		}
		target, err := s.dir.Dir.Readlink(base)
		if err != nil {
			return err
		}
		return s.tree.Put(record.File{Path: payload, Type: record.TypeSymlink, Mode: 0o777, Target: target})
	case unix.S_IFREG:
		if !named && st.Mode&0o111 == 0 || st.Size == 0 {
			return nil
		}
		program := Program{Package: s.found.Installed, Path: inside, Digest: e.Digest, Dev: st.Dev, Ino: st.Ino}
		info, err := inspect(s.dir.Dir, base, s.maxSize)
		if errors.Is(err, errLarge) {
			executable := st.Mode&0o111 != 0
			if executable {
				s.found.Programs = append(s.found.Programs, program)
			}
			s.found.Large = append(s.found.Large, Large{inside, st.Size, executable})
			return nil
		}
		if err != nil || info == nil {
			return err
		}
		switch {
		case isProgram(info) && st.Mode&0o111 != 0:
			program.RunPath = info.RunPath
			s.found.Programs = append(s.found.Programs, program)
		case isLibrary(info) && wanted:
			return s.addLibrary(payload, inside, &st, info)
		}
	}
	return nil
}

// addLibrary puts a library into its package's tree.
func (s *scanner) addLibrary(payload, inside string, st *unix.Stat_t, info *elfedit.Info) error {
	f := record.File{
		Path: payload, Type: record.TypeFile, Mode: record.Mode(st.Mode & 0o7777), UID: int(st.Uid), GID: int(st.Gid),
		ELF: info, Shared: record.SharedCopy, System: inside,
	}
	info.Notes = nil
	d, size, shared, err := s.to.Share(inside)
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
	if place := strings.TrimPrefix(inside, "/"); place != payload {
		f.Place = place
	}
	return s.tree.Put(f)
}

// libraries returns the draft of the package's tree without links that lead to no
// library of the package; nil when nothing is left.
func (s *scanner) libraries() *record.Manifest {
	found := false
	s.tree.Keep(func(m *record.Manifest, f *record.File) bool {
		found = found || f.Type == record.TypeFile
		return f.Type == record.TypeFile || m.Resolve(f.Path) != nil
	})
	if !found {
		return nil
	}
	return s.tree.Manifest()
}

var errLarge = errors.New("it has more bytes than what is looked at")

// inspect returns what a file is; nil when it is no ELF file that a loader reads. The
// error for an ELF file of more than maxSize bytes is errLarge.
func inspect(dir *beneath.Dir, base string, maxSize int64) (info *elfedit.Info, err error) {
	f, err := dir.OpenFile(base, unix.O_RDONLY, 0)
	if errors.Is(err, beneath.ErrNotRegular) {
		return nil, nil
	}
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
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if st.Size() > maxSize {
		return nil, errLarge
	}
	err = mapped.File(f, func(b []byte) error {
		if info, err = elfedit.Inspect(b); err != nil {
			info = nil // looks like ELF and is not
		}
		return nil
	})
	return info, err
}

// isLibrary reports whether a file is one that others load.
func isLibrary(info *elfedit.Info) bool {
	return info.Type == elf.ET_DYN && info.HasDynamic && !info.IsProgram() && !info.SplitDebug
}

// isProgram reports whether a file is a program that a known loader starts: glibc's, or
// musl's.
func isProgram(info *elfedit.Info) bool {
	return (info.Type == elf.ET_EXEC || info.Type == elf.ET_DYN) && info.IsProgram() && info.HasDynamic &&
		info.Soname == "" && (layout.IsGlibcLoader(info.Interpreter) || info.Musl)
}
