package ldso

import (
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"syscall"

	"github.com/hashpkg/hashpkg/elfedit"
)

// loadMusl is Load for a program or library of musl (musl ldso/dynlink.c, load_library
// and load_deps). It differs from glibc's loader in this:
//
//   - The C library is the loader, and nothing else: whoever asks for one of the names
//     that are reserved for it, in any version, gets the loader.
//   - A loaded library is known by the name by which a search found it, not by its soname. One that was
//     loaded by a path is known by no name until a search comes to the same file.
//   - Tokens in needed names are not replaced, what a library is a filter for is not loaded, and
//     symbol versions are not compared.
func loadMusl(program *Object, f Finder) (*Closure, error) {
	l := &muslLoading{finder: f, closure: &Closure{}}
	head := &muslObject{object: program, chain: []*Object{program}}
	l.order = append(l.order, head)
	if name := program.Info.Interpreter; name != "" {
		o, err := f.Find(name, head.chain)
		switch {
		case errors.Is(err, ErrNotFound):
			l.closure.Missing = append(l.closure.Missing, Missing{From: program, Name: name, Chain: head.chain, Err: err})
		case err != nil:
			return nil, fmt.Errorf("find interpreter %s of %s: %w", name, program.Path, err)
		default:
			l.closure.Interpreter = o
			l.self = &muslObject{object: o, chain: []*Object{program, o}}
		}
	}
	for i := 0; i < len(l.order); i++ {
		m := l.order[i]
		if m == l.self {
			continue
		}
		for _, name := range m.object.Info.Needed {
			if err := l.need(m, name); err != nil {
				return nil, err
			}
		}
	}
	for _, m := range l.order {
		l.closure.Objects = append(l.closure.Objects, m.object)
	}
	return l.closure, nil
}

// muslObject is an object that musl's loader has mapped.
type muslObject struct {
	object *Object
	chain  []*Object // the program first, the object itself last
	name   string    // by which searches know it; "" for none
}

// muslLoading is the state of one loadMusl.
type muslLoading struct {
	finder  Finder
	closure *Closure
	order   []*muslObject // becomes Closure.Objects
	self    *muslObject   // the loader; nil when it is missing or nothing has asked for it
}

func (l *muslLoading) need(from *muslObject, name string) error {
	provider, err := l.provider(from, name)
	need := Need{From: from.object, Name: name}
	switch {
	case errors.Is(err, errNoLoader): // it is missing already
	case errors.Is(err, ErrNotFound):
		l.closure.Missing = append(l.closure.Missing, Missing{From: from.object, Name: name, Chain: from.chain, Err: err})
	case err != nil:
		return fmt.Errorf("find %s for %s: %w", name, from.object.Path, err)
	default:
		need.Provider = provider.object
		if !slices.Contains(l.order, provider) {
			l.order = append(l.order, provider)
		}
	}
	l.closure.Needs = append(l.closure.Needs, need)
	return nil
}

// provider returns the object for a needed name, which is in l.order if it was asked for
// before.
func (l *muslLoading) provider(from *muslObject, name string) (*muslObject, error) {
	program := l.order[0].object
	if IsMuslLibC(name) || name == program.Info.Interpreter && name != "" {
		return l.loader(from, name)
	}
	searched := !strings.Contains(name, "/")
	if searched {
		for _, m := range l.order[1:] {
			if m.name == name {
				return m, nil
			}
		}
	}
	o, err := l.finder.Find(name, from.chain)
	if err != nil {
		return nil, err
	}
	for _, m := range l.order[1:] {
		if m.object.ID == o.ID {
			if searched && m.name == "" {
				m.name = path.Base(m.object.Path)
			}
			return m, nil
		}
	}
	// A second C library is never mapped.
	if o.Info.IsMuslLibC() || IsMuslLibC(o.Info.Soname) {
		return l.loader(from, "libc.so")
	}
	m := &muslObject{object: o, chain: append(slices.Clone(from.chain), o)}
	if searched {
		m.name = name
	}
	return m, nil
}

// errNoLoader is the error of a program whose loader is missing.
var errNoLoader = errors.New("the program's loader is missing")

// loader returns the loader itself, which stands for the C library. A library that is
// taken by itself has none that the kernel has mapped.
func (l *muslLoading) loader(from *muslObject, name string) (*muslObject, error) {
	if l.self != nil {
		return l.self, nil
	}
	if l.order[0].object.Info.Interpreter != "" {
		return nil, errNoLoader
	}
	o, err := l.finder.Find(name, from.chain)
	if err != nil {
		return nil, err
	}
	l.self = &muslObject{object: o, chain: append(slices.Clone(from.chain), o)}
	return l.self, nil
}

// muslReserved are the libraries that are part of musl's C library.
var muslReserved = []string{"c", "pthread", "rt", "m", "dl", "util", "xnet"}

// IsMuslLibC reports whether musl's loader takes a needed name for its own: that of the C
// library or of a part of it, whatever follows. libc.so.6 and libc.musl-x86_64.so.1 are
// among them.
func IsMuslLibC(name string) bool {
	rest, ok := strings.CutPrefix(name, "lib")
	stem, _, dot := strings.Cut(rest, ".")
	return ok && dot && slices.Contains(muslReserved, stem)
}

// muslArchs are musl's own names of machines (musl arch/*/reloc.h, LDSO_ARCH), by the
// triplets of MachineTriplet.
var muslArchs = map[string]string{
	"x86_64-linux-gnu": "x86_64", "x86_64-linux-gnux32": "x32", "i386-linux-gnu": "i386", "aarch64-linux-gnu": "aarch64",
	"arm-linux-gnueabihf": "armhf", "arm-linux-gnueabi": "arm", "powerpc64le-linux-gnu": "powerpc64le",
	"powerpc64-linux-gnu": "powerpc64", "powerpc-linux-gnu": "powerpc", "s390x-linux-gnu": "s390x",
	"riscv64-linux-gnu": "riscv64", "loongarch64-linux-gnu": "loongarch64", "m68k-linux-gnu": "m68k",
	"mips-linux-gnu": "mips", "mipsel-linux-gnu": "mipsel", "mips64el-linux-gnuabi64": "mips64el", "sh4-linux-gnu": "sh",
}

// muslArch returns musl's name of the machine of a file; "" when it is not known.
func muslArch(info *elfedit.Info) string { return muslArchs[MachineTriplet(info)] }

// MuslLoader returns the path that musl's loader for the machine of a file has in programs; "" for
// a machine that is not known.
func MuslLoader(info *elfedit.Info) string {
	if arch := muslArch(info); arch != "" {
		return "/lib/ld-musl-" + arch + ".so.1"
	}
	return ""
}

// muslDirs are searched where there is no file of directories.
const muslDirs = "/lib:/usr/local/lib:/usr/lib"

// searchMusl is Search as musl's loader does it (musl ldso/dynlink.c, load_library).
func (r *Root) searchMusl(name string, chain []*Object) (*Object, Rule, error) {
	switch {
	case IsMuslLibC(name):
		loader := MuslLoader(r.program)
		if i := chain[0].Info.Interpreter; i != "" {
			loader = i
		}
		return r.first(name, []candidate{{loader, RulePath}})
	case name == "" || strings.Contains(name, "/") && !path.IsAbs(name):
		return nil, "", fmt.Errorf("%s: %w", name, ErrNotFound)
	case path.IsAbs(name):
		return r.first(name, []candidate{{name, RulePath}})
	}
	var files []candidate
	add := func(rule Rule, list string) {
		for _, dir := range strings.FieldsFunc(list, func(c rune) bool { return c == ':' || c == '\n' }) {
			if path.IsAbs(dir) {
				files = append(files, candidate{dir + "/" + name, rule})
			}
		}
	}
	add(RuleLibraryPath, strings.Join(r.options.LibraryPath, ":"))
	for _, o := range slices.Backward(chain) {
		switch {
		case o.Info.HasRunPath:
			add(RuleRunPath, muslPath(o, o.Info.RunPath))
		case o.Info.HasRPath:
			add(RuleRPath, muslPath(o, o.Info.RPath))
		}
	}
	dirs, err := r.muslSystemDirs(chain[0].Info.Interpreter)
	if err != nil {
		return nil, "", err
	}
	add(RuleDefault, dirs)
	return r.first(name, files)
}

// muslPath returns the search path of an object with $ORIGIN replaced; "" when it has
// anything else behind a dollar sign (musl ldso/dynlink.c, fixup_rpath).
func muslPath(o *Object, list string) string {
	parts := strings.Split(list, "$")
	for i, part := range parts[1:] {
		rest, ok := strings.CutPrefix(part, "ORIGIN")
		if !ok {
			rest, ok = strings.CutPrefix(part, "{ORIGIN}")
		}
		if !ok {
			return ""
		}
		dir, _, _ := cutLast(o.Path, "/")
		parts[i+1] = dir + rest
	}
	return strings.Join(parts, "")
}

// cutLast is strings.Cut at the last separator.
func cutLast(s, separator string) (before, after string, found bool) {
	i := strings.LastIndex(s, separator)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(separator):], true
}

// muslSystemDirs returns the search path of the system for a program with this
// interpreter: that of a file beside the directory that the interpreter is in, or the
// default. A file that cannot be read leaves none.
func (r *Root) muslSystemDirs(interpreter string) (string, error) {
	dir, _, _ := cutLast(interpreter, "/")
	prefix, _, _ := cutLast(dir, "/")
	if !path.IsAbs(interpreter) {
		prefix = ""
	}
	b, err := r.files.ReadFile(prefix + "/etc/ld-musl-" + muslArch(r.program) + ".path")
	switch {
	case err == nil:
		return string(b), nil
	case errors.Is(err, fs.ErrNotExist):
		return muslDirs, nil
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.ENOTDIR):
		return "", nil
	}
	return "", err
}

// loadableByMusl returns why musl's loader cannot load a file that it finds. It looks at
// less than that: a library for another machine is mapped all the same, and the program
// ends there.
func loadableByMusl(library, program *elfedit.Info) error {
	switch {
	case library.Class != program.Class || library.Data != program.Data || library.Machine != program.Machine:
		return fmt.Errorf("%w: it is for another machine", ErrNotLoadable)
	case library.Type != elf.ET_DYN && library.Type != elf.ET_EXEC:
		return fmt.Errorf("%w: type %v", ErrNotLoadable, library.Type)
	case !library.HasDynamic:
		return fmt.Errorf("%w: it has no dynamic section", ErrNotLoadable)
	}
	return nil
}
