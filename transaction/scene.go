package transaction

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/internal/beneath"
	"github.com/hashpkg/hashpkg/internal/sandbox"
	"github.com/hashpkg/hashpkg/layout/generate"
	"github.com/hashpkg/hashpkg/layout/graph"
	"github.com/hashpkg/hashpkg/layout/plan"
	"github.com/hashpkg/hashpkg/layout/record"
)

var errNothingMade = errors.New("nothing was made")

// scene is a view that files are made for, as the programs that make them see it.
type scene struct {
	*generating
	view *record.Manifest
	// whole: what is seen is all of /usr, and nothing of the root's own.
	whole bool

	box    *sandbox.Box // nil until a program is to be run
	opened []*beneath.Dir
}

func (s *scene) close() {
	for _, d := range s.opened {
		_ = d.Close() // nothing is written through it
	}
}

// make does a task.
func (s *scene) make(ctx context.Context, t *generate.Task) result {
	files, err := s.files(ctx, t)
	if err == nil && len(files) == 0 {
		err = errNothingMade
	}
	return result{files, err}
}

func (s *scene) files(ctx context.Context, t *generate.Task) ([]record.File, error) {
	if t.Index != nil {
		contents, err := s.contents(t)
		if err != nil {
			return nil, err
		}
		return s.stage(t, t.Printed, t.Index(contents))
	}
	if s.box == nil {
		box, err := s.newBox()
		if err != nil {
			return nil, err
		}
		s.box = box
	}
	box := *s.box
	box.Out, box.OutLinks, box.Args = generate.Out, t.OutLinks, t.Args
	box.Env = append([]string{"PATH=/usr/bin:/usr/sbin:/bin:/sbin", "HOME=/tmp", "LC_ALL=C", "TZ=UTC0", "SOURCE_DATE_EPOCH=1"}, t.Env...)
	out, err := box.Run(ctx)
	if err != nil {
		return nil, err
	}
	defer out.Dir.Close()
	if t.Printed != "" {
		return s.stage(t, t.Printed, out.Printed)
	}
	var files []record.File
	err = eachOutput(t, out.Dir, func(name string, b []byte) error {
		staged, err := s.stage(t, name, b)
		files = append(files, staged...)
		return err
	})
	return files, err
}

// maxGenerated is how many bytes the files of one task may have.
const maxGenerated = 256 << 20

// eachOutput calls f with the files of a directory that are what a task makes there.
func eachOutput(t *generate.Task, dir *beneath.Dir, f func(name string, b []byte) error) error {
	left := int64(maxGenerated)
	var walk func(at string) error
	walk = func(at string) error {
		entries, err := dir.ReadDir(at)
		if err != nil {
			return err
		}
		for _, e := range entries {
			name := path.Join(at, e.Name())
			switch {
			case e.IsDir() && strings.Count(name, "/") < 2:
				err = walk(name)
			case e.Type().IsRegular() && t.IsOutput(name):
				var b []byte
				if b, err = dir.ReadFile(name, left); err == nil {
					left -= int64(len(b))
					err = f(name, b)
				}
			}
			if err != nil {
				return err
			}
		}
		return nil
	}
	return walk(".")
}

// stage stages the bytes of a file that was made.
func (s *scene) stage(t *generate.Task, name string, b []byte) ([]record.File, error) {
	f := generatedFile(t, name, b)
	return []record.File{f}, s.keep(b)
}

func generatedFile(t *generate.Task, name string, b []byte) record.File {
	d := digest.Of(b)
	of := t.Identity()
	return record.File{Path: t.Into + "/" + name, Type: record.TypeFile, Mode: 0o644, Object: d, Size: int64(len(b)), Source: d, Generated: &of}
}

// contents reads the inputs of a task.
func (s *scene) contents(t *generate.Task) ([]generate.Content, error) {
	var contents []generate.Content
	for _, i := range t.Inputs {
		c := generate.Content{Path: i.Path}
		var err error
		switch {
		case i.Target != "": // to another input, or to what is none
			continue
		case i.OfHost:
			c.Bytes, err = s.root.ReadFile("/"+i.Path, maxHostInput)
		default:
			err = s.staging.Map(i.Object, func(b []byte) error {
				c.Bytes = bytes.Clone(b)
				return nil
			})
		}
		if err != nil {
			return nil, err
		}
		contents = append(contents, c)
	}
	return contents, nil
}

// newBox returns a box that shows the view, over the root's own /usr, and the trees that its
// files lead to.
func (s *scene) newBox() (*sandbox.Box, error) {
	switch {
	case !s.generates:
		return nil, errNotRun
	case !plan.RunsHere(s.next.Architecture):
		return nil, errors.New("its program is not for this machine")
	}
	if len(s.fresh) > 0 {
		if s.fatal = s.staging.AddTrees(s.fresh); s.fatal != nil {
			return nil, s.fatal
		}
		s.fresh = nil
	}
	box := &sandbox.Box{Dirs: map[string]*beneath.Dir{}, Links: map[string]string{}}
	seen, err := s.staging.Try(s.view)
	if err != nil {
		return nil, err
	}
	s.opened = append(s.opened, seen)
	usr, err := seen.OpenDir("usr")
	if err != nil {
		return nil, err
	}
	s.opened = append(s.opened, usr)
	box.Usr = append(box.Usr, usr)
	switch own, err := s.root.Find("/usr/bin"); {
	case s.whole:
	case err == nil:
		s.opened = append(s.opened, own.Dir)
		box.Usr = append(box.Usr, own.Dir)
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	trees, err := s.reach()
	if err != nil {
		return nil, err
	}
	for _, tree := range trees {
		dir, err := s.staging.OpenTree(tree)
		if err != nil {
			return nil, err
		}
		s.opened = append(s.opened, dir)
		box.Dirs[s.root.Prefix()+"/"+tree] = dir
	}
	return box, s.topDirs(box)
}

// topDirs shows /bin, /lib and others as the root has them: as links to what is in /usr, or
// as directories.
func (s *scene) topDirs(box *sandbox.Box) error {
	for _, name := range []string{"bin", "sbin", "lib", "lib32", "lib64", "libx32"} {
		if s.whole {
			box.Links["/"+name] = "usr/" + name
			continue
		}
		top, err := s.root.Find("/" + name)
		if err != nil {
			return err
		}
		s.opened = append(s.opened, top.Dir)
		st, err := top.Dir.Lstat(name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			return err
		case st.Mode&unix.S_IFMT == unix.S_IFLNK:
			box.Links["/"+name] = "usr/" + name
			continue
		}
		dir, err := top.Dir.OpenDir(name)
		if err != nil {
			return err
		}
		s.opened = append(s.opened, dir)
		box.Dirs["/"+name] = dir
	}
	return nil
}

// reach returns the trees that files of the view load from, and so on.
func (s *scene) reach() ([]string, error) {
	known := map[string]bool{}
	for i := range s.next.Trees {
		known[s.next.Trees[i].Path()] = true
	}
	reached := map[string]bool{}
	todo := slices.Clone(s.view.Merged)
	for len(todo) > 0 {
		tree := todo[0]
		todo = todo[1:]
		if reached[tree] || !known[tree] {
			continue
		}
		reached[tree] = true
		m, err := s.manifest(tree)
		if err != nil {
			return nil, err
		}
		todo = append(todo, graph.OfManifest(m, func(tree string) bool { return known[tree] })...)
	}
	return slices.Sorted(maps.Keys(reached)), nil
}
