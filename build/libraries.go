package build

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/elfedit"
	"github.com/hashpkg/hashpkg/internal/mapped"
	"github.com/hashpkg/hashpkg/ldso"
	"github.com/hashpkg/hashpkg/sysroot"
)

// libraries finds what the programs of a package load, as they will when it is installed: the files
// of the packages of its source stand over those of the machine.
type libraries struct {
	over    []*sysroot.Root // the package's own, then the others of its source
	machine *sysroot.Root
	finders map[string]*ldso.Root    // by triplet
	found   map[string]elfedit.Bound // by the ID of an object
	places  map[string]place         // likewise
}

// place is where an object was found.
type place struct {
	root *sysroot.Root
	path string
}

func newLibraries(own *sysroot.Root, p *Policy) *libraries {
	return &libraries{
		over: append([]*sysroot.Root{own}, p.Packages...), machine: p.Machine,
		finders: map[string]*ldso.Root{}, found: map[string]elfedit.Bound{}, places: map[string]place{},
	}
}

// needed returns the libraries that a program names, in its order, with their digests; and those that
// are not there.
func (l *libraries) needed(program string, info *elfedit.Info) (list []elfedit.Bound, missing []string, err error) {
	finder, err := l.finder(info)
	if err != nil {
		return nil, nil, err
	}
	chain := []*ldso.Object{{Path: program, ID: "program", Info: info}}
	for _, name := range info.Needed {
		o, err := finder.Find(name, chain)
		if errors.Is(err, ldso.ErrNotFound) {
			missing = append(missing, name)
			continue
		}
		if err != nil {
			return nil, nil, fmt.Errorf("find %s: %w", name, err)
		}
		b, err := l.bound(o)
		if err != nil {
			return nil, nil, err
		}
		if _, ok := elfedit.ParseBound(b.String()); ok { // a path may have a line feed
			list = append(list, b)
		}
	}
	return list, missing, nil
}

// finder returns the model of the loader for a program. What the processor of the machine could
// do is not asked for: a package is the same wherever it is built.
func (l *libraries) finder(info *elfedit.Info) (*ldso.Root, error) {
	triplet := ldso.Triplet(info)
	if l.finders[triplet] == nil {
		layout := ldso.MultiarchLayout(info)
		if !l.machine.HasFile("/usr/lib/"+triplet) && !l.machine.HasFile("/lib/"+triplet) {
			layout = ldso.Lib64Layout(info)
		}
		finder, err := ldso.NewRoot(l, info, ldso.Options{Layout: layout})
		if err != nil {
			return nil, err
		}
		l.finders[triplet] = finder
	}
	return l.finders[triplet], nil
}

// bound returns the line of a note for a library: its path as it will be installed, with no link but
// the last element.
func (l *libraries) bound(o *ldso.Object) (elfedit.Bound, error) {
	if b, ok := l.found[o.ID+o.Path]; ok {
		return b, nil
	}
	at := l.places[o.ID+o.Path]
	b := elfedit.Bound{Path: at.path}
	if p, err := at.root.Find(at.path); err == nil {
		b.Path = p.Path
		if err := p.Close(); err != nil {
			return b, err
		}
	}
	file, err := at.root.Open(at.path)
	if err != nil {
		return b, err
	}
	defer file.Close()
	err = mapped.File(file, func(data []byte) error {
		b.Digest = digest.Of(data).String()
		return nil
	})
	if err != nil {
		return b, err
	}
	l.found[o.ID+o.Path] = b
	return b, nil
}

// Inspect implements ldso.Files.
func (l *libraries) Inspect(name string) (*ldso.Object, error) {
	for _, root := range l.over {
		for _, name := range merged(name) {
			o, err := root.Inspect(name)
			if isMissing(err) {
				continue
			}
			return l.remember(root, name, o, err)
		}
	}
	o, err := l.machine.Inspect(name)
	return l.remember(l.machine, name, o, err)
}

func (l *libraries) remember(root *sysroot.Root, name string, o *ldso.Object, err error) (*ldso.Object, error) {
	if err != nil {
		return nil, err
	}
	l.places[o.ID+o.Path] = place{root, name}
	return o, nil
}

// ReadFile implements ldso.Files: the loader's cache is the machine's.
func (l *libraries) ReadFile(name string) ([]byte, error) {
	const maxConfig = 64 << 20 // as in a root
	return l.machine.ReadFile(name, maxConfig)
}

// merged returns a path and its other form on a system whose /lib leads to /usr/lib: packages have
// either.
func merged(name string) []string {
	if rest, ok := strings.CutPrefix(name, "/usr/lib"); ok {
		return []string{name, "/lib" + rest}
	}
	if strings.HasPrefix(name, "/lib") {
		return []string{"/usr" + name, name}
	}
	return []string{name}
}

func isMissing(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.ENOTDIR)
}
