package relations

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"strings"

	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/sysroot"
)

// Build is one build of a library, and who loads it.
type Build struct {
	Belongs
	Active    bool      `json:"active"`
	Soname    string    `json:"soname"`
	Path      string    `json:"path"` // where it stands in the root
	Object    string    `json:"object"`
	Programs  []User    `json:"programs"`  // that load it when they start
	Libraries []User    `json:"libraries"` // that name it themselves, whoever loads them
	Processes []Process `json:"processes,omitzero"`
}

// User is a program or library that loads another one.
type User struct {
	Belongs
	Path string `json:"path"` // in the root
	Name string `json:"name"` // by which it asks for it
	// Frozen says that it is a program of the system that is frozen to this build.
	Frozen bool `json:"frozen,omitempty"`
}

// Process is a running process that has a file mapped.
type Process = sysroot.Process

// Users returns who loads exactly the libraries of a target: its files, else all
// libraries of its trees.
func (r *Relations) Users(ctx context.Context, target *Target) ([]Build, error) {
	files := target.Files
	if len(files) == 0 {
		for _, h := range target.Trees {
			for i := range h.Binaries {
				if !h.Binaries[i].Program {
					files = append(files, File{h, h.Binaries[i].Path})
				}
			}
		}
	}
	builds := make([]Build, len(files))
	wanted := map[File]*Build{}
	for i, f := range files {
		b := binary(f)
		if b == nil {
			return nil, errNoBinary(f)
		}
		builds[i] = Build{
			Belongs: belongs(f), Active: r.active[f.Tree.Path()] != nil, Soname: b.Soname, Path: r.At(f), Object: b.Object.String(),
			Programs: []User{}, Libraries: []User{},
		}
		wanted[f] = &builds[i]
	}
	for _, h := range r.trees {
		for i := range h.Binaries {
			b := &h.Binaries[i]
			for _, n := range b.Loads {
				build := wanted[r.Locate(n.Path)]
				if build == nil || build.Path == r.At(File{h, b.Path}) {
					continue
				}
				user := User{Belongs: belongs(File{Tree: h}), Path: r.At(File{h, b.Path}), Name: n.Soname}
				if b.Program {
					build.Programs = append(build.Programs, user)
				} else {
					build.Libraries = append(build.Libraries, user)
				}
			}
		}
		if h.Origin == record.OriginSystem && r.active[h.Path()] != nil {
			r.addSystemLibraries(h, wanted)
		}
	}
	programs, err := r.SystemPrograms(ctx)
	if err != nil {
		return nil, err
	}
	frozen, err := r.frozen()
	if err != nil {
		return nil, err
	}
	for i := range programs {
		p := &programs[i]
		for _, n := range p.Loads {
			if build := wanted[r.Locate(n.Path)]; build != nil {
				build.Programs = append(build.Programs, User{Belongs{p.Package, p.Version, record.OriginSystem, ""}, p.Path, n.Soname, frozen[[2]string{p.Path, build.Tree}]})
			}
		}
	}
	for i := range builds {
		byPath := func(a, b User) int { return strings.Compare(a.Path, b.Path) }
		for _, list := range []*[]User{&builds[i].Programs, &builds[i].Libraries} {
			slices.SortFunc(*list, byPath)
			*list = slices.CompactFunc(*list, func(a, b User) bool { return a.Path == b.Path })
		}
	}
	return builds, nil
}

// frozen returns which programs are frozen to files of which trees.
func (r *Relations) frozen() (map[[2]string]bool, error) {
	pins, err := r.root.Pins()
	if err != nil {
		return nil, err
	}
	frozen := map[[2]string]bool{} // path of the program, path of the tree
	for _, p := range pins {
		if p.Frozen() {
			frozen[[2]string{p.Program, p.Pinned().Path()}] = true
		}
	}
	return frozen, nil
}

// addSystemLibraries notes the libraries of a system tree that name a library which the
// system has in force. Whose they load is the process's business; by themselves they get
// that one.
func (r *Relations) addSystemLibraries(h *record.Holding, wanted map[File]*Build) {
	for f, build := range wanted {
		if f.Tree.Origin != record.OriginSystem || !build.Active || f.Tree.Architecture != h.Architecture {
			continue
		}
		for i := range h.Binaries {
			b := &h.Binaries[i]
			if !b.Program && f != (File{h, b.Path}) && build.Soname != "" && slices.Contains(b.Needed, build.Soname) {
				build.Libraries = append(build.Libraries, User{Belongs: belongs(File{Tree: h}), Path: r.At(File{h, b.Path}), Name: build.Soname})
			}
		}
	}
}

// Running adds the processes that have the builds mapped now, and leaves those out that neither a
// process nor the active generation has, where there are others.
func (r *Relations) Running(builds []Build) ([]Build, sysroot.Unseen, error) {
	paths := make([]string, 0, len(builds))
	for i := range builds {
		builds[i].Processes = []Process{}
		paths = append(paths, builds[i].Path)
	}
	found, unseen, err := r.root.Mapping(paths)
	if err != nil {
		return nil, unseen, err
	}
	isShown := func(b *Build) bool { return b.Active || len(b.Processes) > 0 }
	hasShown := false
	for i := range builds {
		builds[i].Processes = append(builds[i].Processes, found[builds[i].Path]...)
		hasShown = hasShown || isShown(&builds[i])
	}
	if hasShown {
		builds = slices.DeleteFunc(builds, func(b Build) bool { return !isShown(&b) })
	}
	return builds, unseen, nil
}

func errNoBinary(f File) error {
	return &fs.PathError{Op: "look for users of", Path: f.Tree.Path() + "/" + f.Path, Err: errors.New("it is no program or library; hashpkg owner says whose it is")}
}
