package ldso

import (
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"

	"github.com/hashpkg/hashpkg/elfedit"
)

// Files are the files of a root. All paths are absolute, and links are
// followed inside the root: an absolute link starts at the root, and ".."
// stops there. A Files is usually a sysroot's.
type Files interface {
	// Inspect returns the object at a path, its Path being the path as given.
	// The error wraps fs.ErrNotExist or fs.ErrPermission for a file that
	// cannot be opened, which the loader passes over, and ErrNotLoadable or
	// the error of elfedit.Inspect for one that is no sound ELF file; others
	// are faults.
	Inspect(path string) (*Object, error)
	// ReadFile returns the contents of a file, or an error that wraps
	// fs.ErrNotExist.
	ReadFile(path string) ([]byte, error)
}

// Options are what the loader's search depends on beside the files.
type Options struct {
	// Layout is where the loader's builder put libraries.
	Layout Layout
	// LibraryPath is LD_LIBRARY_PATH, split.
	LibraryPath []string
	// HWCaps are the active glibc-hwcaps subdirectories, best first, such as
	// "x86-64-v3", "x86-64-v2". See [HWCaps].
	HWCaps []string
	// LegacySubdirs are searched after HWCaps, such as "tls/x86_64"; glibc
	// 2.36 and older has them. See [LegacySubdirs].
	LegacySubdirs []string
	// Platform is the value of $PLATFORM (AT_PLATFORM); paths with it are
	// discarded when it is empty.
	Platform string
	// InhibitCache keeps /etc/ld.so.cache from being read.
	InhibitCache bool
	// ConfigDirs stand in for the cache where there is none: the directories
	// of ParseConf. glibc would search the default directories only; set this
	// for a root in which ldconfig has still to run.
	ConfigDirs []string
}

// Root searches the files of a root as the loader does. It remembers what it
// was asked about a path, so it is used while the root does not change, by one
// goroutine at a time.
type Root struct {
	files   Files
	program *elfedit.Info
	options Options
	subdirs []string // the directory itself, "", is last
	cache   *cacheIndex
	known   map[string]found
}

type found struct {
	object *Object
	err    error
}

// NewRoot returns a Root in which libraries for the class and machine of
// program are searched. A cache that cannot be parsed is as good as none, as
// it is to the loader; an error is one of files.
func NewRoot(files Files, program *elfedit.Info, options Options) (*Root, error) {
	r := &Root{files: files, program: program, options: options, known: map[string]found{}}
	if program.Musl {
		return r, nil
	}
	for _, name := range options.HWCaps {
		r.subdirs = append(r.subdirs, "glibc-hwcaps/"+name+"/")
	}
	for _, name := range options.LegacySubdirs {
		r.subdirs = append(r.subdirs, name+"/")
	}
	r.subdirs = append(r.subdirs, "")
	if options.InhibitCache {
		return r, nil
	}
	b, err := files.ReadFile("/etc/ld.so.cache")
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return r, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read /etc/ld.so.cache: %w", err)
	}
	if entries, err := ParseCache(b); err == nil {
		r.cache = newCacheIndex(entries, program, options.HWCaps)
	}
	return r, nil
}

// Rule says where the loader found a file.
type Rule string

// The rules, in the order in which the loader searches.
const (
	RulePath        Rule = "path"         // the name is a path
	RuleRPath       Rule = "rpath"        // DT_RPATH of an object of the chain
	RuleLibraryPath Rule = "library-path" // LD_LIBRARY_PATH
	RuleRunPath     Rule = "runpath"      // DT_RUNPATH of the requester
	RuleCache       Rule = "cache"        // /etc/ld.so.cache
	RuleDefault     Rule = "default"      // the default directories, or those of the configuration
)

// Find implements [Finder] (glibc elf/dl-load.c, _dl_map_object).
func (r *Root) Find(name string, chain []*Object) (*Object, error) {
	o, _, err := r.Search(name, chain)
	return o, err
}

// Search is Find, and says by which rule the object was found.
func (r *Root) Search(name string, chain []*Object) (*Object, Rule, error) {
	if len(chain) == 0 {
		return nil, "", fmt.Errorf("find %s: no object asks for it", name)
	}
	if r.program.Musl {
		return r.searchMusl(name, chain)
	}
	requester := chain[len(chain)-1]
	if len(chain) == 1 && name == requester.Info.Interpreter {
		return r.interpreter(name)
	}
	if strings.Contains(name, "/") {
		file := expand(name, r.tokens(requester))
		if hasToken(file) || !strings.HasPrefix(file, "/") {
			return nil, "", fmt.Errorf("%s: %w", name, ErrNotFound)
		}
		return r.first(name, []candidate{{file, RulePath}})
	}
	return r.first(name, r.candidates(name, chain))
}

// interpreter returns what the kernel starts a program by. It is loaded as a library is, but may stand at fixed
// addresses as well, as klibc's does, and then needs nothing more (Linux, fs/binfmt_elf.c, load_elf_binary).
func (r *Root) interpreter(name string) (*Object, Rule, error) {
	o, err := r.open(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		err = fmt.Errorf("%s: %w", name, ErrNotFound)
	case errors.Is(err, ErrNotFound):
		fixed, fault := r.files.Inspect(name)
		if fault == nil && fixed.Info.Type == elf.ET_EXEC && sameMachine(fixed.Info, r.program) {
			return fixed, RulePath, nil
		}
	}
	return o, RulePath, err
}

// candidate is a path that the loader tries.
type candidate struct {
	file string
	rule Rule
}

// first returns the first of files that the loader takes.
func (r *Root) first(name string, files []candidate) (*Object, Rule, error) {
	for _, c := range files {
		o, err := r.open(c.file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		return o, c.rule, err
	}
	return nil, "", fmt.Errorf("%s: %w", name, ErrNotFound)
}

// open returns the object at a path. The error wraps fs.ErrNotExist for
// everything that the loader passes over, and ErrNotFound for what stops it.
func (r *Root) open(file string) (*Object, error) {
	if f, ok := r.known[file]; ok {
		return f.object, f.err
	}
	o, err := r.files.Inspect(file)
	switch {
	case err == nil && r.program.Musl:
		if err = loadableByMusl(o.Info, r.program); err != nil {
			o, err = nil, fmt.Errorf("%w: %s stands in the way: %w", ErrNotFound, file, err)
		}
	case err == nil && !sameMachine(o.Info, r.program):
		o, err = nil, fs.ErrNotExist
	case err == nil:
		if err = loadable(o.Info, r.program); err != nil {
			o, err = nil, fmt.Errorf("%w: %s stands in the way: %w", ErrNotFound, file, err)
		}
	case isNotLoadable(err), r.program.Musl && errors.Is(err, syscall.ELOOP):
		o, err = nil, fmt.Errorf("%w: %s stands in the way: %w", ErrNotFound, file, err)
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.ENOTDIR):
		o, err = nil, fs.ErrNotExist
	}
	r.known[file] = found{o, err}
	return o, err
}

func isNotLoadable(err error) bool {
	var format *elfedit.FormatError
	return errors.Is(err, ErrNotLoadable) || errors.Is(err, elfedit.ErrNotELF) || errors.As(err, &format)
}

// candidates lists the paths that the loader tries for a name, in order.
func (r *Root) candidates(name string, chain []*Object) []candidate {
	requester := chain[len(chain)-1]
	var files []candidate
	add := func(rule Rule, dirs []string) {
		for _, dir := range dirs {
			for _, sub := range r.subdirs {
				files = append(files, candidate{dir + sub + name, rule})
			}
		}
	}
	if !requester.Info.HasRunPath {
		for i := len(chain) - 1; i >= 0; i-- {
			if o := chain[i]; o.Info.HasRPath && !o.Info.HasRunPath {
				add(RuleRPath, r.dirs(strings.Split(o.Info.RPath, ":"), o))
			}
		}
	}
	add(RuleLibraryPath, r.dirs(r.options.LibraryPath, chain[0]))
	if requester.Info.HasRunPath {
		add(RuleRunPath, r.dirs(strings.Split(requester.Info.RunPath, ":"), requester))
	}
	defaults := r.dirs(r.options.Layout.Dirs, requester)
	switch {
	case r.options.InhibitCache:
	case r.cache != nil:
		file := r.cache.lookup(name)
		if file != "" && !(requester.Info.NoDefault && inDirs(file, defaults)) {
			files = append(files, candidate{file, RuleCache})
		}
	default:
		for _, dir := range r.dirs(r.options.ConfigDirs, requester) {
			if !(requester.Info.NoDefault && inDirs(dir, defaults)) {
				add(RuleDefault, []string{dir})
			}
		}
	}
	if !requester.Info.NoDefault {
		add(RuleDefault, defaults)
	}
	return files
}

// inDirs reports whether a path is at or below one of dirs, as the loader
// sees it: by prefix.
func inDirs(file string, dirs []string) bool {
	for _, dir := range dirs {
		if strings.HasPrefix(file, dir) {
			return true
		}
	}
	return false
}

// dirs returns the directories of a search path that belongs to owner: tokens
// expanded, each once, ending in one slash. What cannot be expanded or is
// relative is dropped.
func (r *Root) dirs(elements []string, owner *Object) []string {
	var dirs []string
	seen := map[string]bool{}
	for _, element := range elements {
		dir := expand(element, r.tokens(owner))
		if !strings.HasPrefix(dir, "/") || hasToken(dir) {
			continue
		}
		dir = strings.TrimRight(dir, "/") + "/"
		if !seen[dir] {
			seen[dir] = true
			dirs = append(dirs, dir)
		}
	}
	return dirs
}

func (r *Root) tokens(o *Object) tokens {
	return tokens{origin: origin(o), lib: r.options.Layout.Lib, platform: r.options.Platform}
}
