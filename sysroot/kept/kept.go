// Package kept finds the trees of programs that no package has, and that somebody has named so that
// these trees stay: what was built in the environment of hashpkg env, or edited by hand. It reads the
// record of them, and the files that they are now.
package kept

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"unicode"

	"github.com/hashpkg/hashpkg/internal/beneath"
	"github.com/hashpkg/hashpkg/layout/graph"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/ldso"
	"github.com/hashpkg/hashpkg/sysroot"
)

// Path is a file or directory that somebody has named.
type Path struct {
	Path string `json:"path"` // absolute in the root
	// Trees are the paths of those that stay for it, sorted: those that Files and Lost lead to.
	Trees []string          `json:"trees"`
	Files []record.KeptLead `json:"files"` // that lead to trees, sorted by path
	// Lost are files that were seen to lead to trees, and that are not there now, or cannot be looked at: on a disk that is not
	// mounted, for instance.
	Lost []record.KeptLead `json:"lost"`
	// Gone says that it is not there, and Unread that not all of it can be read; Why is what hinders that,
	// if it is more than what the caller may do.
	Gone   bool   `json:"gone"`
	Unread bool   `json:"unread"`
	Why    string `json:"why,omitempty"`
}

// Leads are the files that the record is to have: those that lead to trees, and those that did.
func (p *Path) Leads() []record.KeptLead {
	return slices.SortedFunc(slices.Values(slices.Concat(p.Files, p.Lost)), func(a, b record.KeptLead) int { return strings.Compare(a.Path, b.Path) })
}

// All returns what the record of the root has, as it is now. known says which trees there are,
// by their paths. What is wrong with one path is said of it, and is no error.
func All(ctx context.Context, root *sysroot.Root, known func(tree string) bool) ([]Path, error) {
	recorded, err := root.Kept()
	if err != nil {
		return nil, err
	}
	list := make([]Path, 0, len(recorded.List))
	for _, r := range recorded.List {
		p, err := Look(ctx, root, r.Path, known)
		if cause := ctx.Err(); cause != nil {
			return nil, cause
		}
		if err != nil {
			p.Unread, p.Why = true, err.Error()
		}
		p.remember(root, r.Files, known)
		list = append(list, *p)
	}
	return list, nil
}

// Look finds the trees that a file leads to, or the files of a directory. Links are followed where
// the path has some, and looked at where a directory has them. With an error it returns what was found until
// then.
func Look(ctx context.Context, root *sysroot.Root, name string, known func(tree string) bool) (p *Path, err error) {
	for range attempts {
		p = &Path{Path: name, Trees: []string{}, Files: []record.KeptLead{}, Lost: []record.KeptLead{}}
		l := &look{ctx: ctx, root: root, known: known, path: p}
		if err = l.from(name); !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	if err != nil {
		err = fmt.Errorf("look which trees %s leads to: %w", name, err)
	}
	slices.SortFunc(p.Files, func(a, b record.KeptLead) int { return strings.Compare(a.Path, b.Path) })
	return p, err
}

// remember adds those files that were seen before and are not now. One that is there, and leads nowhere any more,
// is another file.
func (p *Path) remember(root *sysroot.Root, before []record.KeptLead, known func(tree string) bool) {
	for _, f := range before {
		isSeen := slices.ContainsFunc(p.Files, func(o record.KeptLead) bool { return o.Path == f.Path })
		f.Trees = slices.DeleteFunc(slices.Clone(f.Trees), func(tree string) bool { return !known(tree) })
		if isSeen || len(f.Trees) == 0 || !p.Unread && root.HasFile(f.Path) {
			continue
		}
		p.Lost = append(p.Lost, f)
		p.note(f.Trees...)
	}
}

func (p *Path) note(trees ...string) {
	p.Trees = append(p.Trees, trees...)
	slices.Sort(p.Trees)
	p.Trees = slices.Compact(p.Trees)
}

// look is one search for files that lead to trees.
type look struct {
	ctx   context.Context
	root  *sysroot.Root
	known func(tree string) bool
	path  *Path
}

// attempts is how often a path is looked at from which files come and go meanwhile.
const attempts = 4

func (l *look) from(name string) error {
	final, err := l.root.Final(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		l.path.Gone = true
		return nil
	case err != nil:
		return err
	case isWithin(final, l.root.Prefix()) && !isWithin(name, l.root.Prefix()): // a link into a tree
		if l.add(name, final); len(l.path.Files) > 0 {
			return nil
		}
	}
	return l.at(final)
}

func (l *look) at(name string) error {
	if name == "/" || isWithin(name, l.root.Prefix()) {
		return fmt.Errorf("%s has the trees themselves", name)
	}
	parent, base, err := l.root.At(name)
	if errors.Is(err, fs.ErrNotExist) {
		l.path.Gone = true
		return nil
	}
	if errors.Is(err, fs.ErrPermission) {
		l.path.Unread = true
		return nil
	}
	if err != nil {
		return err
	}
	defer parent.Close()
	if !parent.Exists(base) {
		l.path.Gone = true
		return nil
	}
	return parent.WalkPast(base, func(below string, dir *beneath.Dir, base string, kind fs.FileMode) error {
		if err := l.ctx.Err(); err != nil {
			return err
		}
		place := path.Join(path.Dir(name), below)
		switch kind.Type() {
		case fs.ModeDir:
			if isWithin(place, l.root.Prefix()) {
				return fs.SkipDir
			}
		case fs.ModeSymlink:
			target, err := dir.Readlink(base)
			if err != nil {
				return err
			}
			l.add(place, target)
		case 0:
			return l.file(place)
		}
		return nil
	}, func(string) { l.path.Unread = true })
}

func isWithin(name, dir string) bool { return name == dir || strings.HasPrefix(name, dir+"/") }

// file looks at a regular file. What is neither an ELF file nor a script, or has gone, leads nowhere.
func (l *look) file(place string) error {
	o, err := l.root.Inspect(place)
	switch {
	case errors.Is(err, ldso.ErrNotLoadable):
		return l.script(place)
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case errors.Is(err, fs.ErrPermission):
		l.path.Unread = true
		return nil
	case err != nil:
		return err
	}
	l.add(place, slices.Concat(o.Info.Needed, o.Info.Filter, []string{o.Info.Interpreter, o.Info.RunPath, o.Info.RPath})...)
	return nil
}

// maxScript is how many bytes of a script are read for the paths in it.
const maxScript = 64 << 10

// script looks at a file that may be a script: the paths in it, of its interpreter and of what it runs, lead
// where they name.
func (l *look) script(place string) (err error) {
	f, err := l.root.Open(place)
	switch {
	case errors.Is(err, beneath.ErrNotRegular), errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	text := io.NewSectionReader(f, 0, maxScript)
	var start [2]byte
	if n, err := text.ReadAt(start[:], 0); string(start[:n]) != "#!" {
		return notEnd(err)
	}
	head, err := io.ReadAll(text)
	l.add(place, strings.FieldsFunc(string(head), isBetweenWords)...)
	return err
}

func notEnd(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// isBetweenWords reports whether a character of a script ends a path as shells write them.
func isBetweenWords(c rune) bool {
	return unicode.IsSpace(c) || strings.ContainsRune("\"'`=(){};|&<>#!", c)
}

// add notes a file if it leads to trees by one of these lists of paths.
func (l *look) add(place string, lists ...string) {
	if trees := graph.OfPaths(lists, l.known); len(trees) > 0 {
		l.path.Files = append(l.path.Files, record.KeptLead{Path: place, Trees: trees})
		l.path.note(trees...)
	}
}
