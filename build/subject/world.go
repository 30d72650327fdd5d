package subject

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hashpkg/hashpkg/build/audit"
	"github.com/hashpkg/hashpkg/elfedit"
	"github.com/hashpkg/hashpkg/internal/beneath"
	"github.com/hashpkg/hashpkg/internal/mapped"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/ldso"
	"github.com/hashpkg/hashpkg/sysroot"
)

// World is a root, and in front of it what was read. It implements [audit.World].
type World struct {
	root   *sysroot.Root
	layers []*layer

	libraryDirs []string // searched before the root's configured directories
	required    []string // names of packages that what was read requires
	// replaced are files of the root that go when what was read is installed, as they are named with the
	// merged /usr.
	replaced map[string]bool

	mu        sync.Mutex
	inspected map[string]inspected
	symbols   map[string]*audit.Symbols // by the identity of the file
	finals    map[string]string
	dirs      map[string][]string // by triplet
	elsewhere map[string]string   // by name; nil until it is asked for
}

var _ audit.World = (*World)(nil)

type inspected struct {
	object *ldso.Object
	err    error
}

// layer is what a package or a staged directory has. Paths are those of the merged /usr, without the slash in front.
type layer struct {
	dir   *beneath.Dir // nil for a package
	files map[string]*entry
	dirs  map[string]string // who else than root can put something into one; "" for nobody
}

// entry is a file or link of a layer.
type entry struct {
	isLink bool
	link   string
	object *ldso.Object // nil for what is no ELF file
	// name is below the layer's directory, from which what is not known yet is read when it is asked for.
	name    string
	conf    []byte // of a package's file that configures the loader
	symbols *audit.Symbols
}

func newWorld(root *sysroot.Root) *World {
	return &World{
		root: root, inspected: map[string]inspected{}, symbols: map[string]*audit.Symbols{},
		finals: map[string]string{}, dirs: map[string][]string{}, replaced: map[string]bool{},
	}
}

// Close closes the directories that were read.
func (w *World) Close() {
	for _, l := range w.layers {
		if l.dir != nil {
			_ = l.dir.Close() // nothing was written
		}
	}
}

// addLayer returns a new layer, which has the handle from now on.
func (w *World) addLayer(dir *beneath.Dir) *layer {
	l := &layer{dir: dir, files: map[string]*entry{}, dirs: map[string]string{}}
	w.layers = append(w.layers, l)
	return l
}

func (w *World) addRequired(name string) {
	if !slices.Contains(w.required, name) {
		w.required = append(w.required, name)
	}
}

// Prefix implements [audit.World].
func (w *World) Prefix() string { return w.root.Prefix() }

// maxLinks is how many links are followed for one path (Linux, MAXSYMLINKS).
const maxLinks = 40

// find follows a path through the layers. Where it ends outside of them, the entry is nil, and what the path has
// become by then is the root's.
func (w *World) find(name string) (*entry, string) {
	at, links := "", 0
	todo := strings.Split(strings.Trim(path.Clean(name), "/"), "/")
	for len(todo) > 0 {
		element := todo[0]
		todo = todo[1:]
		switch element {
		case "", ".":
			continue
		case "..":
			at = path.Dir("/" + at)[1:]
			continue
		}
		next := path.Join(at, element)
		e := w.entry(next)
		if e == nil || !e.isLink {
			if e != nil && len(todo) == 0 {
				return e, "/" + next
			}
			at = next
			continue
		}
		if links++; links > maxLinks {
			return nil, name
		}
		if path.IsAbs(e.link) {
			at = ""
		}
		todo = append(strings.Split(e.link, "/"), todo...)
	}
	return nil, "/" + at
}

// entry returns what the first layer that has a path has there.
func (w *World) entry(name string) *entry {
	name = layout.MergeUsr(name)
	for _, l := range w.layers {
		if e := l.files[name]; e != nil {
			return e
		}
	}
	return nil
}

// lookup is find, and goes on where a link of the root's leads into a layer.
func (w *World) lookup(name string) (*entry, string) {
	if len(w.layers) == 0 {
		return nil, name
	}
	e, at := w.find(name)
	if e != nil {
		return e, at
	}
	if final := w.final(at); final != at {
		if e, _ := w.find(final); e != nil {
			return e, final
		}
	}
	return nil, at
}

// Inspect implements [ldso.Files].
func (w *World) Inspect(name string) (*ldso.Object, error) {
	name = path.Clean(name)
	w.mu.Lock()
	known, ok := w.inspected[name]
	w.mu.Unlock()
	if !ok {
		known.object, known.err = w.inspect(name)
		w.mu.Lock()
		w.inspected[name] = known
		w.mu.Unlock()
	}
	return known.object, known.err
}

func (w *World) inspect(name string) (*ldso.Object, error) {
	e, at := w.lookup(name)
	switch {
	case e == nil && w.isReplaced(at):
		return nil, fmt.Errorf("inspect %s: %w", name, fs.ErrNotExist)
	case e == nil:
		o, err := w.root.Inspect(at)
		if err == nil && at != name {
			moved := *o
			moved.Path = name
			o = &moved
		}
		return o, err
	case e.object == nil:
		return nil, fmt.Errorf("inspect %s: %w", name, ldso.ErrNotLoadable)
	}
	o := *e.object
	o.Path = name
	return &o, nil
}

// isReplaced reports whether a file of the root, or what it leads to, goes.
func (w *World) isReplaced(at string) bool {
	if len(w.replaced) == 0 {
		return false
	}
	merged := func(name string) string { return layout.MergeUsr(strings.TrimPrefix(name, "/")) }
	return w.replaced[merged(path.Join(w.final(path.Dir(at)), path.Base(at)))] || w.replaced[merged(w.final(at))]
}

// maxConfig bounds the files of the loader's configuration, in bytes.
const maxConfig = 64 << 20

// ReadFile implements [ldso.Files]. With something in front of the root, its loader's cache is not what it will
// be: the directories are searched that ldconfig would look through.
func (w *World) ReadFile(name string) ([]byte, error) {
	if name == cacheFile && w.isChanged() {
		return nil, &fs.PathError{Op: "read", Path: name, Err: fs.ErrNotExist}
	}
	return w.root.ReadFile(name, maxConfig)
}

const cacheFile = "/etc/ld.so.cache"

func (w *World) isChanged() bool { return len(w.layers) > 0 || len(w.libraryDirs) > 0 }

// Finder implements [audit.World].
func (w *World) Finder(abi *elfedit.Info) (ldso.Finder, error) {
	options := ldso.Options{Layout: w.layoutOf(abi)}
	if w.isChanged() {
		conf, err := w.conf()
		if err != nil {
			return nil, err
		}
		options.ConfigDirs = slices.Concat(w.libraryDirs, conf)
		// What a tree has of what is required is taken where nothing else answers.
		options.Layout.Dirs = slices.Concat(options.Layout.Dirs, w.requiredDirs(abi))
	}
	return ldso.NewRoot(w, abi, options)
}

// layoutOf returns where the loader of an ABI looks by itself: as Debian builds it where there is such a directory.
func (w *World) layoutOf(abi *elfedit.Info) ldso.Layout {
	if t := ldso.Triplet(abi); t != "" {
		for _, l := range w.layers {
			if _, has := l.dirs["usr/lib/"+t]; has {
				return ldso.MultiarchLayout(abi)
			}
		}
		if !w.root.HasFile("/usr/lib/"+t) && !w.root.HasFile("/lib/"+t) {
			return ldso.Lib64Layout(abi)
		}
	}
	return ldso.MultiarchLayout(abi)
}

// conf returns the directories of /etc/ld.so.conf; none without it.
func (w *World) conf() ([]string, error) {
	dirs, err := ldso.ParseConf(rootFS{w}, "etc/ld.so.conf")
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return nil, nil
	}
	return dirs, err
}

// requiredDirs returns the library directories of the trees that are the defaults of required packages.
func (w *World) requiredDirs(abi *elfedit.Info) []string {
	own, err := w.root.Architecture()
	if err != nil {
		return nil
	}
	var dirs []string
	for _, name := range w.required {
		if layout.CheckName(name) != nil {
			continue
		}
		at := w.root.Prefix() + "/" + name + "/default/" + layout.LibraryDir(own, abi)
		if w.root.HasFile(at) {
			dirs = append(dirs, at)
		}
	}
	return dirs
}

// Symbols implements [audit.World].
func (w *World) Symbols(o *ldso.Object) *audit.Symbols {
	w.mu.Lock()
	known, ok := w.symbols[o.ID]
	w.mu.Unlock()
	if ok {
		return known
	}
	s := w.readSymbols(o)
	w.mu.Lock()
	w.symbols[o.ID] = s
	w.mu.Unlock()
	return s
}

func (w *World) readSymbols(o *ldso.Object) (s *audit.Symbols) {
	e, at := w.lookup(o.Path)
	place := layout.MergeUsr(strings.TrimPrefix(o.Path, "/"))
	for _, l := range w.layers { // another package may have something else at that path
		if of := l.files[place]; of != nil && of.object != nil && of.object.ID == o.ID {
			e, at = of, "/"+place
		}
	}
	if e != nil && e.symbols != nil {
		return e.symbols
	}
	f, err := w.open(e, at)
	if err != nil {
		return nil
	}
	defer f.Close()
	err = mapped.File(f, func(data []byte) error {
		s = readSymbols(data)
		return nil
	})
	if err != nil {
		return nil
	}
	return s
}

// open opens a file of a layer, or of the root.
func (w *World) open(e *entry, at string) (*os.File, error) {
	if e == nil {
		return w.root.Open(at)
	}
	for _, l := range w.layers {
		if l.dir != nil && l.files[layout.MergeUsr(at[1:])] == e && e.name != "" {
			f, _, err := l.dir.OpenRegular(e.name)
			return f, err
		}
	}
	return nil, fs.ErrNotExist
}

// SearchDirs implements [audit.World].
func (w *World) SearchDirs(abi *elfedit.Info) ([]string, error) {
	t := ldso.Triplet(abi)
	w.mu.Lock()
	known, ok := w.dirs[t]
	w.mu.Unlock()
	if ok {
		return known, nil
	}
	conf, err := w.conf()
	if err != nil {
		return nil, err
	}
	var dirs []string
	for _, dir := range slices.Concat(w.layoutOf(abi).Dirs, conf) {
		if dir = w.Final(dir); !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
	}
	w.mu.Lock()
	w.dirs[t] = dirs
	w.mu.Unlock()
	return dirs, nil
}

// Final implements [audit.World].
func (w *World) Final(name string) string {
	name = path.Clean(name)
	if len(w.layers) > 0 {
		_, name = w.find(name)
	}
	return "/" + layout.MergeUsr(strings.TrimPrefix(w.final(name), "/"))
}

// final is Final in the root alone.
func (w *World) final(name string) string {
	w.mu.Lock()
	known, ok := w.finals[name]
	w.mu.Unlock()
	if ok {
		return known
	}
	final, err := w.root.Final(name)
	if err != nil {
		final = name
		if dir := path.Dir(name); dir != name { // its directory may be a link
			final = path.Join(w.final(dir), path.Base(name))
		}
	}
	w.mu.Lock()
	w.finals[name] = final
	w.mu.Unlock()
	return final
}

// Exists implements [audit.World].
func (w *World) Exists(name string) bool {
	name = path.Clean(name)
	merged := layout.MergeUsr(strings.TrimPrefix(name, "/"))
	for _, l := range w.layers {
		if _, isDir := l.dirs[merged]; isDir || l.files[merged] != nil {
			return true
		}
	}
	_, at := w.lookup(name)
	return w.root.HasFile(at) && !w.isReplaced(at)
}

// Owned implements [audit.World].
func (w *World) Owned(name string) string {
	top, err := w.root.Stat("/")
	if err != nil {
		return ""
	}
	rootOwner := ownerOf(top)
	at := "/"
	for element := range strings.SplitSeq(strings.Trim(path.Clean(name), "/"), "/") {
		at = path.Join(at, element)
		if who, brought := w.writers(at); brought {
			if who != "" {
				return who
			}
			continue
		}
		info, err := w.root.Stat(at)
		if err != nil {
			return "" // who can write to what is above it can make it, and nobody else
		}
		if info.Mode().Perm()&0o002 != 0 {
			return "everybody"
		}
		if gid := groupOf(info); gid != 0 && info.Mode().Perm()&0o020 != 0 {
			return "the group " + strconv.FormatUint(uint64(gid), 10)
		}
		if uid := ownerOf(info); uid != 0 && uid != rootOwner {
			return userName(w.root, uid)
		}
	}
	return ""
}

// writers says who else than root can put something into a directory that was read; false for none.
func (w *World) writers(at string) (who string, brought bool) {
	for _, l := range w.layers {
		if who, brought = l.dirs[layout.MergeUsr(at[1:])]; brought {
			return who, true
		}
	}
	return "", false
}

func ownerOf(info fs.FileInfo) uint32 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return st.Uid
	}
	return 0
}

func groupOf(info fs.FileInfo) uint32 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return st.Gid
	}
	return 0
}

// userName returns what messages call a user: the name is known of the machine's own.
func userName(root *sysroot.Root, uid uint32) string {
	id := strconv.FormatUint(uint64(uid), 10)
	if root.IsHost() {
		if u, err := user.LookupId(id); err == nil {
			return "the user " + u.Username
		}
	}
	return "the user " + id
}

// elsewhereDirs are where libraries of packages stand, whoever finds them.
var elsewhereDirs = []string{"/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/libx32", "/usr/libexec", "/usr/local/lib", "/opt"}

// Elsewhere implements [audit.World].
func (w *World) Elsewhere(name string) string {
	if name = path.Base(name); !strings.Contains(name, ".so") {
		return ""
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.elsewhere == nil {
		w.elsewhere = map[string]string{}
		for _, l := range w.layers {
			for place := range l.files {
				w.noteElsewhere("/" + place)
			}
		}
		for _, dir := range elsewhereDirs {
			w.walkElsewhere(dir)
		}
	}
	return w.elsewhere[name]
}

// noteElsewhere keeps the first path of each name.
func (w *World) noteElsewhere(place string) {
	base := path.Base(place)
	if known, ok := w.elsewhere[base]; strings.Contains(base, ".so") && (!ok || place < known) {
		w.elsewhere[base] = place
	}
}

// walkElsewhere notes the libraries below a directory of the root. What cannot be read is as good as not there.
func (w *World) walkElsewhere(dir string) {
	parent, base, err := w.root.At(dir)
	if err != nil {
		return
	}
	defer parent.Close()
	handle, err := parent.OpenDir(base)
	if err != nil {
		return
	}
	defer handle.Close()
	_ = handle.WalkPast(".", func(name string, _ *beneath.Dir, _ string, kind fs.FileMode) error {
		if !kind.IsDir() && !w.replaced[layout.MergeUsr(strings.TrimPrefix(path.Join(dir, name), "/"))] {
			w.noteElsewhere(path.Join(dir, name))
		}
		return nil
	}, func(string) {})
}

// rootFS shows the loader's configuration, as it will be, to [ldso.ParseConf].
type rootFS struct{ w *World }

// Open implements [fs.FS].
func (r rootFS) Open(name string) (fs.File, error) {
	e, at := r.w.lookup("/" + name)
	return r.w.open(e, at)
}

// ReadFile implements [fs.ReadFileFS].
func (r rootFS) ReadFile(name string) ([]byte, error) {
	e, at := r.w.lookup("/" + name)
	switch {
	case e == nil:
		return r.w.root.ReadFile(at, maxConfig)
	case e.conf != nil:
		return e.conf, nil
	}
	f, err := r.w.open(e, at)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return beneath.ReadAll(f, maxConfig)
}

// ReadDir implements [fs.ReadDirFS].
func (r rootFS) ReadDir(name string) ([]fs.DirEntry, error) {
	list, err := r.w.root.ReadDir("/" + name)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if err != nil {
		return nil, err
	}
	for _, l := range r.w.layers {
		for place := range l.files {
			if path.Dir(place) == name && !slices.ContainsFunc(list, func(e fs.DirEntry) bool { return e.Name() == path.Base(place) }) {
				list = append(list, confEntry(path.Base(place)))
			}
		}
	}
	slices.SortFunc(list, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return list, nil
}

// Stat implements [fs.StatFS], of which [fs.Glob] wants no more than whether something is there.
func (r rootFS) Stat(name string) (fs.FileInfo, error) {
	if e, _ := r.w.lookup("/" + name); e != nil {
		return confEntry(path.Base(name)), nil
	}
	return r.w.root.Stat("/" + name)
}

// confEntry is a file of a layer. It implements [fs.DirEntry] and [fs.FileInfo].
type confEntry string

// Name implements both.
func (c confEntry) Name() string { return string(c) }

// IsDir implements both.
func (c confEntry) IsDir() bool { return false }

// Type implements [fs.DirEntry].
func (c confEntry) Type() fs.FileMode { return 0 }

// Info implements [fs.DirEntry].
func (c confEntry) Info() (fs.FileInfo, error) { return c, nil }

// Size implements [fs.FileInfo].
func (c confEntry) Size() int64 { return 0 }

// Mode implements [fs.FileInfo].
func (c confEntry) Mode() fs.FileMode { return 0 }

// ModTime implements [fs.FileInfo].
func (c confEntry) ModTime() time.Time { return time.Time{} }

// Sys implements [fs.FileInfo].
func (c confEntry) Sys() any { return nil }
