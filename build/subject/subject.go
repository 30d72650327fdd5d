// Package subject reads what is to be audited: packages in files, directories, files, and packages that are
// installed, together with the root that they are in or would be installed to.
//
// [Read] is all that callers need. What it reads, a [World] shows to package audit as one system: the files of
// packages and of staged directories in front of the root's own. Packages are read by their backends, and
// directories by handle, no link in them followed out of them.
package subject

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/backends"
	"github.com/hashpkg/hashpkg/build/audit"
	"github.com/hashpkg/hashpkg/elfedit"
	"github.com/hashpkg/hashpkg/internal/advice"
	"github.com/hashpkg/hashpkg/internal/beneath"
	"github.com/hashpkg/hashpkg/internal/mapped"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/ldso"
	"github.com/hashpkg/hashpkg/pkginfo"
	"github.com/hashpkg/hashpkg/sysroot"
	"github.com/hashpkg/hashpkg/sysroot/system"
	"github.com/hashpkg/hashpkg/transaction/query"
)

// ErrNotAuditable is wrapped by the error for a file that is neither an ELF file nor a package.
var ErrNotAuditable = errors.New("neither an ELF file, nor a package, nor a directory")

// Options say what to read.
type Options struct {
	Root *sysroot.Root
	// Names are files and directories of this machine, and packages that are installed in the root,
	// NAME[=VERSION]. What is both is the file.
	Names []string
	// Libraries are directories and packages of this machine with libraries of the same source.
	Libraries []string
	// Staged says whether directories are what is to be installed to the root, nil that they are
	// where they have the directory usr or opt, or are made for dpkg-deb.
	Staged *bool
	// Progress is called with what is read, and how many files of it are; from any goroutine.
	Progress func(item string, done int)
}

// Result is what was read.
type Result struct {
	World    *World
	Subjects []*audit.Subject
	Files    int // ELF files of the subjects
	// Unread are paths that the caller may not read.
	Unread []string
}

// Read reads what the options name. The caller closes the result's World. The error wraps
// [query.ErrNotInstalled] for a name that is nothing here, and fs.ErrNotExist for a path that nothing has.
func Read(ctx context.Context, o Options) (_ *Result, err error) {
	if o.Progress == nil {
		o.Progress = func(string, int) {}
	}
	r := &reader{Options: o, world: newWorld(o.Root)}
	defer func() {
		if err != nil {
			r.world.Close()
		}
	}()
	for _, name := range o.Names {
		if err := r.add(ctx, name, true); err != nil {
			return nil, err
		}
	}
	for _, name := range o.Libraries {
		if err := r.add(ctx, name, false); err != nil {
			return nil, err
		}
	}
	result := &Result{World: r.world, Subjects: r.subjects, Unread: r.unread}
	for _, s := range r.subjects {
		result.Files += len(s.Files)
	}
	return result, nil
}

type reader struct {
	Options
	world    *World
	subjects []*audit.Subject
	unread   []string
	done     atomic.Int64

	packages []*backends.Installed // nil until they are asked for
}

// add reads what one argument names. What is not audited is only there for others to load.
func (r *reader) add(ctx context.Context, name string, audited bool) error {
	info, err := os.Stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist) && audited && !strings.Contains(name, "/"):
		return r.addInstalled(ctx, name)
	case err != nil:
		return err
	case info.IsDir():
		return r.addDir(ctx, name, audited)
	}
	return r.addFile(ctx, name, audited)
}

// inside returns a path of this machine as one in the root, and whether it stands there.
func (r *reader) inside(name string) (string, bool, error) {
	real, err := filepath.EvalSymlinks(name)
	if err == nil {
		real, err = filepath.Abs(real)
	}
	if err != nil || r.Root.IsHost() {
		return real, true, err
	}
	top, err := filepath.EvalSymlinks(r.Root.Dir())
	if err == nil {
		top, err = filepath.Abs(top)
	}
	if err != nil {
		return "", false, err
	}
	if below, ok := strings.CutPrefix(real, top); ok && (below == "" || below[0] == '/') {
		return cmp.Or(below, "/"), true, nil
	}
	return real, false, nil
}

// addFile reads an ELF file or a package.
func (r *reader) addFile(ctx context.Context, name string, audited bool) error {
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0) // it may be a FIFO that nobody writes to
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s: %w", name, mapped.ErrNotRegular)
	}
	head := make([]byte, backends.HeadSize)
	n, err := io.ReadFull(f, head)
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return err
	}
	head = head[:n]
	if !isELF(head) {
		format, err := r.Root.Formats().Detect(head)
		if errors.Is(err, backends.ErrUnknownFormat) {
			return fmt.Errorf("%s: %w", name, ErrNotAuditable)
		}
		if err == nil {
			_, err = f.Seek(0, io.SeekStart)
		}
		if err == nil {
			err = r.addPackage(ctx, name, f, format, audited)
		}
		if err != nil {
			return fmt.Errorf("read package %s: %w", name, err)
		}
		return nil
	}
	in, below, err := r.inside(name)
	if err != nil {
		return err
	}
	dir, err := beneath.Open(filepath.Dir(name))
	if err != nil {
		return err
	}
	var to *layer
	if !below {
		to = r.world.addLayer(dir)
	} else {
		defer dir.Close()
	}
	// A name may be a link, and what it leads to has another name: it is read through the open file.
	s := &audit.Subject{Name: name}
	file, err := r.inspectOpen(f, in)
	if err != nil {
		return err
	}
	if file != nil && audited {
		s.Files = append(s.Files, *file)
	}
	if to != nil && file != nil && file.Object != nil {
		err = mapped.File(f, func(data []byte) error {
			to.files[layout.MergeUsr(in[1:])] = &entry{object: file.Object, symbols: readSymbols(data)}
			return nil
		})
	}
	if audited {
		r.subjects = append(r.subjects, s)
	}
	return err
}

// addDir reads the files of a directory.
func (r *reader) addDir(ctx context.Context, name string, audited bool) error {
	dir, err := beneath.Open(name)
	if err != nil {
		return err
	}
	in, below, err := r.inside(name)
	if err != nil {
		return errors.Join(err, dir.Close())
	}
	s := &audit.Subject{Name: name, Places: map[string]bool{}}
	staged := in != "/" && slices.ContainsFunc([]string{"usr", "opt", "DEBIAN"}, func(name string) bool {
		st, err := dir.Lstat(name)
		return err == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR
	})
	if r.Staged != nil {
		staged = *r.Staged
	}
	s.IsPackage = staged
	top := in
	var to *layer
	switch {
	case staged:
		top, to = "/", r.world.addLayer(dir)
		if s.StagedAt, err = filepath.Abs(name); err != nil {
			return err
		}
	case !below:
		to = r.world.addLayer(dir)
	default:
		defer dir.Close()
	}
	if !audited && !staged {
		r.world.libraryDirs = append(r.world.libraryDirs, in)
		if below {
			return nil
		}
	}
	if err := r.walk(ctx, dir, top, s, to, staged); err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	if audited {
		r.subjects = append(r.subjects, s)
	}
	return nil
}

// found is a regular file that a walk has come to.
type found struct {
	name string // below the directory
	path string // in the root
}

// walk reads what is below a directory, which is top in the root.
func (r *reader) walk(ctx context.Context, dir *beneath.Dir, top string, s *audit.Subject, to *layer, staged bool) error {
	var regular []found
	err := dir.WalkPast(".", func(name string, at *beneath.Dir, base string, kind fs.FileMode) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if name == "." {
			return nil
		}
		if staged && name == "DEBIAN" {
			return fs.SkipDir
		}
		place := path.Join(top, name)
		if staged {
			place = "/" + layout.MergeUsr(name)
		}
		s.Places[place] = true
		switch kind.Type() {
		case 0:
			regular = append(regular, found{name, place})
			if to != nil {
				to.files[place[1:]] = &entry{name: name}
			}
		case fs.ModeSymlink:
			if to != nil {
				target, err := at.Readlink(base)
				if err != nil {
					return err
				}
				to.files[place[1:]] = &entry{isLink: true, link: target}
			}
		case fs.ModeDir:
			if to != nil {
				st, err := at.Lstat(base)
				if err != nil {
					return err
				}
				// Groups and owners are those of who builds, and become others in the package.
				to.dirs[place[1:]] = writers(&pkginfo.Entry{Mode: st.Mode &^ 0o020})
			}
		}
		return nil
	}, func(name string) { r.unread = append(r.unread, dir.Path(name)) })
	if err != nil {
		return err
	}
	return r.inspectAll(ctx, dir, regular, s, to)
}

// inspectAll looks at files, several at a time.
func (r *reader) inspectAll(ctx context.Context, dir *beneath.Dir, regular []found, s *audit.Subject, to *layer) error {
	files := make([]*audit.File, len(regular))
	unread := make([]bool, len(regular))
	var next atomic.Int64
	g, ctx := errgroup.WithContext(ctx)
	for range runtime.GOMAXPROCS(0) {
		g.Go(func() error {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(regular) {
					return nil
				}
				if err := ctx.Err(); err != nil {
					return err
				}
				f, err := r.inspectAt(dir, regular[i].name, regular[i].path)
				switch {
				case errors.Is(err, fs.ErrPermission):
					unread[i] = true
				case err != nil:
					return err
				}
				files[i] = f
				r.Progress(s.Name, int(r.done.Add(1)))
			}
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for i, f := range files {
		if unread[i] {
			r.unread = append(r.unread, dir.Path(regular[i].name))
		}
		if f == nil {
			continue
		}
		s.Files = append(s.Files, *f)
		if to != nil && f.Object != nil {
			to.files[f.Path[1:]] = &entry{object: f.Object, name: regular[i].name}
		}
	}
	return nil
}

// inspectAt looks at a file below a directory; nil for one that is no ELF file, or has gone.
func (r *reader) inspectAt(dir *beneath.Dir, name, place string) (*audit.File, error) {
	f, _, err := dir.OpenRegular(name)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, beneath.ErrLink) || errors.Is(err, beneath.ErrNotRegular) {
		return nil, nil //nolint:nilerr // another process has changed it meanwhile, and it is no file now
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return r.inspectOpen(f, place)
}

// inspectOpen looks at an open file.
func (r *reader) inspectOpen(f *os.File, place string) (*audit.File, error) {
	head := make([]byte, len(elfMagic))
	if _, err := f.ReadAt(head, 0); err == io.EOF || err == nil && !isELF(head) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return nil, fmt.Errorf("look at %s: %w", f.Name(), err)
	}
	file := &audit.File{Path: place, Executable: st.Mode&0o111 != 0, Secure: st.Mode&(unix.S_ISUID|unix.S_ISGID) != 0}
	if n, err := unix.Fgetxattr(int(f.Fd()), "security.capability", nil); err == nil && n > 0 {
		file.Secure = true
	}
	err := mapped.File(f, func(data []byte) error {
		inspect(file, data, fmt.Sprintf("%d:%d", st.Dev, st.Ino))
		return nil
	})
	if err != nil {
		return nil, err
	}
	if file.Object == nil && file.Damage == "" {
		return nil, nil
	}
	return file, nil
}

// inspect fills in what the bytes of a file say.
func inspect(f *audit.File, data []byte, id string) {
	info, err := elfedit.Inspect(data)
	switch {
	case info != nil:
		f.Object = &ldso.Object{Path: f.Path, ID: id, Info: info}
	case f.Executable || isLibraryName(f.Path):
		f.Damage = err.Error()
	}
}

// isLibraryName reports whether a path is that of a library: NAME.so, or NAME.so.NUMBER.
func isLibraryName(name string) bool {
	_, rest, found := strings.Cut(path.Base(name), ".so")
	return found && strings.Trim(rest, ".0123456789") == ""
}

const elfMagic = "\x7fELF" // gABI, figure 4-6

func isELF(head []byte) bool { return strings.HasPrefix(string(head), elfMagic) }

// addPackage reads a package from its file.
func (r *reader) addPackage(ctx context.Context, name string, f *os.File, format backends.Format, audited bool) (err error) {
	in, err := format.Open(f, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	spool, err := os.CreateTemp("", "hashpkg-audit-*")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, spool.Close()) }()
	if err := os.Remove(spool.Name()); err != nil { // it goes with its handle
		return err
	}
	s := &audit.Subject{Name: name, Places: map[string]bool{}, IsPackage: true}
	to := r.world.addLayer(nil)
	links := map[string]string{} // hard links
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		e, err := in.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		if e.Path == "." {
			continue
		}
		place := e.Path
		s.Places["/"+place] = true
		switch e.Type {
		case pkginfo.Directory:
			to.dirs[place] = writers(e)
		case pkginfo.Symlink:
			to.files[place] = &entry{isLink: true, link: e.Link}
		case pkginfo.HardLink:
			links[place] = e.Link
		case pkginfo.Regular:
			if err := r.addEntry(in, e, place, spool, s, to); err != nil {
				return err
			}
		}
	}
	for place, of := range links {
		if e := to.files[of]; e != nil && to.files[place] == nil {
			to.files[place] = e
		}
	}
	for _, rel := range in.Package().Requires {
		for _, c := range rel.Alternatives {
			r.world.addRequired(c.Name)
		}
	}
	if audited {
		r.subjects = append(r.subjects, s)
	}
	return r.replace(ctx, in.Package(), to)
}

// writers says who else than root can put something into a directory of a package; "" for nobody. The
// owner or group of a package may have a name, or only a number.
func writers(e *pkginfo.Entry) string {
	switch {
	case e.Mode&0o002 != 0:
		return "everybody"
	case e.Mode&0o020 != 0 && e.Group != "root" && (e.Group != "" || e.GID != 0):
		return "the group " + cmp.Or(e.Group, strconv.Itoa(e.GID))
	case e.Mode&0o200 != 0 && e.Owner != "root" && (e.Owner != "" || e.UID != 0):
		return "the user " + cmp.Or(e.Owner, strconv.Itoa(e.UID))
	}
	return ""
}

// replace notes which files of the root go when a package is installed: those that an installed version of
// it has, and it has not. Files of configuration stay.
func (r *reader) replace(ctx context.Context, p *pkginfo.Package, to *layer) error {
	packages, err := r.installed(ctx)
	if err != nil {
		return err
	}
	for _, was := range packages {
		if was.Name != p.Name || was.Architecture != p.Architecture {
			continue
		}
		entries, err := was.Files()
		if err != nil {
			return fmt.Errorf("read the files of %s: %w", was.Name, err)
		}
		for _, e := range entries {
			place := layout.MergeUsr(e.Path)
			_, isDir := to.dirs[place]
			if to.files[place] == nil && !isDir && !slices.Contains(e.Flags, "config") && !slices.Contains(e.Flags, "ghost") {
				r.world.replaced[place] = true
			}
		}
	}
	return nil
}

// maxEntry bounds an ELF file of a package, in bytes.
const maxEntry = 8 << 30

// maxPackageConf bounds a file of a package that configures the loader, in bytes.
const maxPackageConf = 1 << 20

// copySparse copies bytes to where a file is, and leaves blocks of zeros out: what is compressed to nothing
// takes no room on the disk either.
func copySparse(f *os.File, in io.Reader) error {
	at, err := f.Seek(0, io.SeekCurrent)
	if err != nil {
		return err
	}
	block := make([]byte, 64<<10)
	for {
		n, err := io.ReadFull(in, block)
		if isZero := bytes.Count(block[:n], []byte{0}) == n; !isZero {
			if _, err := f.WriteAt(block[:n], at); err != nil {
				return err
			}
		}
		at += int64(n)
		switch {
		case err == io.EOF, errors.Is(err, io.ErrUnexpectedEOF):
			return f.Truncate(at)
		case err != nil:
			return err
		}
	}
}

func (r *reader) addEntry(in io.Reader, e *pkginfo.Entry, place string, spool *os.File, s *audit.Subject, to *layer) error {
	known := &entry{}
	to.files[place] = known
	if strings.HasPrefix(place, "etc/ld.so.conf") && e.Size <= maxPackageConf {
		conf, err := backends.ReadAll(in, maxPackageConf)
		known.conf = append([]byte{}, conf...)
		return err
	}
	head := make([]byte, len(elfMagic))
	if n, err := io.ReadFull(in, head); err == io.EOF || err == io.ErrUnexpectedEOF || err == nil && !isELF(head[:n]) {
		return nil
	} else if err != nil {
		return err
	}
	if e.Size > maxEntry {
		return fmt.Errorf("%s has %d bytes, and at most %d are read", e.Path, e.Size, int64(maxEntry))
	}
	if err := spool.Truncate(0); err != nil {
		return err
	}
	if _, err := spool.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if _, err := spool.Write(head); err != nil {
		return err
	}
	if err := copySparse(spool, in); err != nil {
		return err
	}
	file := audit.File{Path: "/" + place, Executable: e.Mode&0o111 != 0, Secure: e.Mode&0o6000 != 0 || e.Xattrs["security.capability"] != ""}
	err := mapped.File(spool, func(data []byte) error {
		inspect(&file, data, s.Name+"\x00"+place)
		if file.Object != nil {
			known.object, known.symbols = file.Object, readSymbols(data)
		}
		return nil
	})
	if err == nil && (file.Object != nil || file.Damage != "") {
		s.Files = append(s.Files, file)
		r.Progress(s.Name, int(r.done.Add(1)))
	}
	return err
}

// addInstalled reads the files of a package that is installed: of its private trees, or those that the package
// manager has put in their places.
func (r *reader) addInstalled(ctx context.Context, name string) error {
	spec, err := query.ParseSpec(name)
	if err != nil {
		return err
	}
	g, err := r.Root.Active()
	if err != nil {
		return err
	}
	trees, err := query.All(g, spec)
	if err != nil && !errors.Is(err, query.ErrNotInstalled) {
		return err
	}
	trees = slices.DeleteFunc(trees, func(t *record.Tree) bool { return t.Origin == record.OriginSystem })
	for _, t := range trees {
		if err := r.addTree(ctx, t); err != nil {
			return err
		}
	}
	some, err := r.addSystem(ctx, spec)
	if err != nil {
		return err
	}
	if !some && len(trees) == 0 {
		return advice.Errorf("%s: there is no such file, and no such package: %w; a file is named with a slash: ./%s", name, query.ErrNotInstalled, name)
	}
	return nil
}

func (r *reader) addTree(ctx context.Context, t *record.Tree) error {
	at := r.Root.Prefix() + "/" + t.Path()
	parent, base, err := r.Root.At(at)
	if err != nil {
		return err
	}
	defer parent.Close()
	dir, err := parent.OpenDir(base)
	if err != nil {
		return err
	}
	defer dir.Close()
	s := &audit.Subject{Name: t.Spec(), Places: map[string]bool{}, IsPackage: true}
	if err := r.walk(ctx, dir, at, s, nil, false); err != nil {
		return fmt.Errorf("read %s: %w", at, err)
	}
	r.subjects = append(r.subjects, s)
	return nil
}

// addSystem reads the files of a package of the root's package manager; false when it has none of that name.
func (r *reader) addSystem(ctx context.Context, spec query.Spec) (bool, error) {
	packages, err := r.installed(ctx)
	if err != nil {
		return false, err
	}
	some := false
	for _, p := range packages {
		if p.Name != spec.Name || spec.Version != "" && spec.Version != p.Version {
			continue
		}
		some = true
		entries, err := p.Files()
		if err != nil {
			return false, fmt.Errorf("read the files of %s: %w", p.Name, err)
		}
		s := &audit.Subject{Name: p.Name + ":" + p.Architecture + "=" + p.Version, Places: map[string]bool{}, IsPackage: true}
		for _, e := range entries {
			if err := ctx.Err(); err != nil {
				return false, err
			}
			if err := r.addPlace(s, "/"+e.Path); err != nil {
				return false, err
			}
		}
		r.subjects = append(r.subjects, s)
	}
	return some, nil
}

// installed returns the packages of the root's package manager; none where there is none.
func (r *reader) installed(ctx context.Context) ([]*backends.Installed, error) {
	if r.packages == nil {
		packages, err := system.Packages(ctx, r.Root)
		if err != nil && !errors.Is(err, backends.ErrNoDatabase) {
			return nil, err
		}
		r.packages = append(make([]*backends.Installed, 0, len(packages)), packages...)
	}
	return r.packages, nil
}

// addPlace reads a file that a package manager has put in its place.
func (r *reader) addPlace(s *audit.Subject, name string) error {
	place, err := r.Root.Find(name)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return nil // somebody has taken it away
	}
	if err != nil {
		return err
	}
	defer place.Close()
	s.Places[place.Path], s.Places[name] = true, true
	st, err := place.Dir.Lstat(place.Base)
	if err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil //nolint:nilerr // likewise
	}
	f, err := r.inspectAt(place.Dir, place.Base, place.Path)
	if errors.Is(err, fs.ErrPermission) {
		r.unread = append(r.unread, name)
		return nil
	}
	if err != nil || f == nil {
		return err
	}
	s.Files = append(s.Files, *f)
	r.Progress(s.Name, int(r.done.Add(1)))
	return nil
}

// readSymbols returns the symbols of a file; nil when they cannot be read.
func readSymbols(data []byte) *audit.Symbols {
	s, err := audit.SymbolsOf(data)
	if err != nil {
		return nil
	}
	return s
}
