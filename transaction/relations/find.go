package relations

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/hashpkg/hashpkg/internal/advice"
	"github.com/hashpkg/hashpkg/internal/similar"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/transaction/query"
)

// ErrUnknown is returned (wrapped) for what the root does not have.
var ErrUnknown = errors.New("not known here")

// minHash is how many digits of a digest tell one from others.
const minHash = 8

// isHash reports whether a text is a digest, or the beginning of one.
func isHash(text string) bool {
	return len(text) >= minHash && len(text) <= 64 && strings.Trim(text, "0123456789abcdef") == ""
}

// Target is what a question is about: trees, and of them, where a file was named, which
// files.
type Target struct {
	Trees []*record.Holding
	Files []File // libraries and programs of them, for a file, a soname or a digest
}

// Find returns what a person names: a path, NAME or NAME=VERSION of a package, a soname,
// or a digest of a library or program or at least 8 digits of it. Of a name that several have,
// all are returned, those of the active generation where it has one. The error wraps
// [ErrUnknown] where nothing has it.
func (r *Relations) Find(text string) (*Target, error) { return r.find(text, false) }

// FindAll is Find for all that the store has, be it in the active generation or not.
func (r *Relations) FindAll(text string) (*Target, error) { return r.find(text, true) }

func (r *Relations) find(text string, all bool) (*Target, error) {
	if strings.Contains(text, "/") {
		f := r.Locate(text)
		switch {
		case f.Tree == nil:
			return nil, fmt.Errorf("%s: %w: it is in no tree", text, ErrUnknown)
		case f.Path == "":
			return &Target{Trees: []*record.Holding{f.Tree}}, nil
		}
		f = r.linked(f)
		return &Target{[]*record.Holding{f.Tree}, []File{f}}, nil
	}
	spec, err := query.ParseSpec(text)
	if err != nil {
		return nil, err
	}
	if trees := r.named(spec, all); len(trees) > 0 {
		return &Target{Trees: trees}, nil
	}
	if t := r.files(all, func(f *record.HeldFile) bool { return f.Soname == text || path.Base(f.Path) == text }); t != nil {
		return t, nil
	}
	if isHash(text) {
		if t := r.files(all, func(f *record.HeldFile) bool { return strings.HasPrefix(f.Object.String(), text) }); t != nil {
			return t, nil
		}
		return nil, fmt.Errorf("%s: %w: no program or library of the store has that digest", text, ErrUnknown)
	}
	if have := r.named(query.Spec{Name: spec.Name}, all); len(have) > 0 {
		var versions []string
		for _, h := range have {
			versions = append(versions, h.Version)
		}
		return nil, fmt.Errorf("%s: %w: the versions that are here are %s", text, ErrUnknown, strings.Join(slices.Compact(versions), ", "))
	}
	var names []string
	for h := range r.Stored {
		names = append(names, h.Name)
	}
	hint := cmp.Or(similar.DidYouMean(spec.Name, names), "hashpkg list shows the packages")
	return nil, advice.Errorf("%s: %w: no package or library has that name; %s", text, ErrUnknown, hint)
}

// linked returns the file of a tree that a link of its payload or interface leads to.
func (r *Relations) linked(f File) File {
	for range 40 { // MAXSYMLINKS
		target, is := "", false
		for o := range f.Tree.Files {
			if o.Path == f.Path {
				target, is = o.Target, o.Type == record.TypeSymlink
				break
			}
		}
		if !is {
			break
		}
		if !path.IsAbs(target) {
			target = path.Join("/", f.Tree.Path(), path.Dir(f.Path), target)
		}
		next, ok := r.inTree("/" + strings.TrimPrefix(target, "/"))
		if !ok {
			break
		}
		f = next
	}
	return f
}

// named returns the trees of a package, those of the active generation if it has any, or else,
// or where they are asked for, all.
func (r *Relations) named(spec query.Spec, inactive bool) []*record.Holding {
	var active, all []*record.Holding
	for _, h := range r.trees {
		if h.Name != spec.Name || spec.Version != "" && h.Version != spec.Version && !layout.IsVersionDir(h.Dir, spec.Version) {
			continue
		}
		all = append(all, h)
		if r.active[h.Path()] != nil {
			active = append(active, h)
		}
	}
	if len(active) > 0 && !inactive {
		return active
	}
	return all
}

// files returns the programs and libraries that fit, those of the active generation if
// there are any, or else, or where they are asked for, all; nil for none.
func (r *Relations) files(inactive bool, fits func(*record.HeldFile) bool) *Target {
	active, all := &Target{}, &Target{}
	for _, h := range r.trees {
		for i := range h.Binaries {
			if !fits(&h.Binaries[i]) {
				continue
			}
			all.add(File{h, h.Binaries[i].Path})
			if r.active[h.Path()] != nil {
				active.add(File{h, h.Binaries[i].Path})
			}
		}
	}
	switch {
	case len(active.Files) > 0 && !inactive:
		return active
	case len(all.Files) > 0:
		return all
	}
	return nil
}

func (t *Target) add(f File) {
	t.Files = append(t.Files, f)
	if !slices.Contains(t.Trees, f.Tree) {
		t.Trees = append(t.Trees, f.Tree)
	}
}

// Owner is a name under which a package has a file.
type Owner struct {
	Belongs
	Architecture string          `json:"architecture"`
	Active       bool            `json:"active"` // the active generation has the package
	File         string          `json:"file"`   // relative to the tree; absolute for a program of the system
	Type         record.FileType `json:"type"`
	Object       string          `json:"object"`        // "" where no record has its digest
	Source       string          `json:"source_digest"` // of the packaged bytes
	Place        string          `json:"path"`          // where it stands in the root
}

// Owners returns which packages have a file: by a path in the root, or by its digest, of
// the bytes in the tree or of those that the package brought. The error wraps
// [ErrUnknown] where none has it.
func (r *Relations) Owners(ctx context.Context, text string) ([]Owner, error) {
	if !strings.Contains(text, "/") && isHash(text) {
		var owners []Owner
		for _, h := range r.trees {
			for f := range h.Files {
				if f.Type == record.TypeFile && (strings.HasPrefix(f.Object.String(), text) || strings.HasPrefix(f.Source.String(), text)) {
					owners = append(owners, r.owner(h, f))
				}
			}
		}
		if len(owners) == 0 {
			return nil, fmt.Errorf("%s: %w: no tree of the store has a file with that digest", text, ErrUnknown)
		}
		return owners, nil
	}
	name := path.Clean("/" + text)
	if base := path.Base(name); len(base) == 64 && isHash(base) && strings.Contains(name, "/objects/") {
		return r.Owners(ctx, base)
	}
	for _, try := range []string{name, r.final(name)} {
		owners, err := r.ownersOf(ctx, try)
		if err != nil || len(owners) > 0 {
			return owners, err
		}
	}
	why := "no tree has it"
	if !r.FollowsSystem() {
		why += ", and hashpkg does not follow the system's packages here (hashpkg sync); their package manager tells whose it is"
	} else {
		why += ", and it is no program or library of the system's packages; their package manager (dpkg -S, rpm -qf) tells whose other files are"
	}
	return nil, fmt.Errorf("%s: %w: %s", text, ErrUnknown, why)
}

func (r *Relations) final(name string) string {
	final, err := r.root.Final(name)
	if err != nil {
		return name
	}
	return final
}

// ownersOf returns who has the file of a path, without following links in it.
func (r *Relations) ownersOf(ctx context.Context, name string) ([]Owner, error) {
	if f, ok := r.inTree(name); ok {
		for o := range f.Tree.Files {
			if o.Path == f.Path {
				return []Owner{r.owner(f.Tree, o)}, nil
			}
		}
		return nil, nil
	}
	var owners []Owner
	for t, h := range r.Trees {
		if t.Origin != record.OriginSystem {
			continue
		}
		for o := range h.Files {
			if o.Place == name {
				owners = append(owners, r.owner(h, o))
			}
		}
	}
	if len(owners) > 0 {
		return owners, nil
	}
	conf, err := r.root.Conf()
	if err != nil {
		return nil, err
	}
	for _, f := range conf.Files {
		if f.Path == name {
			owners = append(owners, Owner{
				Belongs: Belongs{f.Package, f.Version, record.OriginPrivate, ""}, Active: true, File: f.Path, Type: record.TypeFile, Place: f.Path,
			})
		}
	}
	programs, err := r.SystemPrograms(ctx)
	if err != nil {
		return nil, err
	}
	for i := range programs {
		if p := &programs[i]; p.Path == name {
			owners = append(owners, Owner{
				Belongs: Belongs{p.Package, p.Version, record.OriginSystem, ""}, Architecture: p.Architecture, Active: true,
				File: p.Path, Type: record.TypeFile, Place: p.Path,
			})
		}
	}
	return owners, nil
}

func (r *Relations) owner(h *record.Holding, f *record.OwnedFile) Owner {
	o := Owner{
		Belongs: belongs(File{h, f.Path}), Architecture: h.Architecture, Active: r.active[h.Path()] != nil,
		File: f.Path, Type: f.Type, Place: path.Join(r.root.Prefix(), h.Path(), f.Path),
	}
	if f.Type == record.TypeFile {
		o.Object, o.Source = f.Object.String(), f.Source.String()
	}
	if h.Origin == record.OriginSystem && o.Active && f.Place != "" {
		o.Place = f.Place
	}
	return o
}
