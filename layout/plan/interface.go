package plan

import (
	"cmp"
	"debug/elf"
	"path"
	"slices"
	"strings"

	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/ldso"
)

// commandDirs maps the payload's directories of commands to the interface's.
var commandDirs = map[string]string{
	"usr/bin": "bin", "usr/games": "bin", "usr/sbin": "sbin",
}

// shareDirs are the parts of usr/share that make programs usable and whose
// files have names of their own. Of icons these are the ones of programs: themes are data of
// views, and have thousands of files (Icon Theme Specification, "Installing Application Icons").
var shareDirs = []string{
	"usr/share/man/", "usr/share/bash-completion/completions/",
	"usr/share/zsh/vendor-completions/", "usr/share/zsh/site-functions/", "usr/share/fish/vendor_completions.d/",
	"usr/share/applications/", "usr/share/icons/hicolor/", "usr/share/pixmaps/",
}

// interfaceLinks returns a tree's interface: its commands by name, and the
// libraries in the loader's own directories by soname. A command may be a link to
// another package's file, as python3 is; foreign returns the way from the tree to
// that file, or "" when no package has it.
func interfaceLinks(m *record.Manifest, own string, foreign func(path string) string) []record.Link {
	links := map[string]string{}
	for i := range m.Files {
		f := &m.Files[i]
		dir, base := path.Dir(f.Path), path.Base(f.Path)
		if to, ok := commandDirs[dir]; ok && (f.Type == record.TypeFile || f.Type == record.TypeSymlink) {
			name := to + "/" + base
			if _, taken := links[name]; taken && dir != "usr/bin" {
				continue
			}
			links[name] = f.Path
			if to, where := m.Follow(f.Path); to == nil {
				links[name] = cmp.Or(foreign(where), f.Path)
			}
		}
		if sub, ok := publicLibrary(f); ok {
			links[layout.LibraryDir(own, f.ELF)+sub+"/"+interfaceName(f)] = f.Path
			if f.ELF.IsMuslLibC() {
				links[muslLoaderLink(f.ELF)] = f.Path
			}
		}
	}
	for _, o := range commandOffers(m) {
		if _, taken := links[o.Link]; !taken { // by a better one
			links[o.Link] = o.Target
		}
	}
	out := make([]record.Link, 0, len(links))
	for p, file := range links {
		out = append(out, record.Link{Path: p, Target: strings.Repeat("../", strings.Count(p, "/")) + file})
	}
	slices.SortFunc(out, func(a, b record.Link) int { return strings.Compare(a.Path, b.Path) })
	return out
}

// commandOffers returns the commands that the tree's alternatives bring, unless it has a file of
// that name itself: those of one link together, the best first. Of files that lead to
// another package's the target is the interface's own link to that.
func commandOffers(m *record.Manifest) []record.Offer {
	var list []record.Offer
	for _, a := range m.Alternatives {
		link, file := layout.MergeUsr(strings.TrimPrefix(a.Link, "/")), layout.MergeUsr(strings.TrimPrefix(a.Path, "/"))
		dir, ok := commandDirs[path.Dir(link)]
		if !ok || layout.CheckPayloadPath(link) != nil || layout.CheckPayloadPath(file) != nil {
			continue
		}
		o := record.Offer{Name: a.Name, Link: dir + "/" + path.Base(link), Path: a.Path, Target: file, Priority: a.Priority}
		if isCommand(m, o.Link) {
			continue
		}
		if f := m.Resolve(file); f == nil {
			to, ok := commandDirs[path.Dir(file)]
			if !ok || m.Lookup(file) == nil {
				continue
			}
			o.Target = to + "/" + path.Base(file)
		} else if f.Type != record.TypeFile {
			continue
		}
		list = append(list, o)
	}
	slices.SortStableFunc(list, func(a, b record.Offer) int {
		return cmp.Or(strings.Compare(a.Link, b.Link), cmp.Compare(b.Priority, a.Priority), strings.Compare(a.Path, b.Path))
	})
	return list
}

// isCommand reports whether the payload has a file that an interface's link is for.
func isCommand(m *record.Manifest, link string) bool {
	for from, to := range commandDirs {
		if f := m.Lookup(from + "/" + path.Base(link)); to == path.Dir(link) && f != nil && f.Type != record.TypeDirectory {
			return true
		}
	}
	return false
}

// interfaceName is the name by which programs ask for a library.
func interfaceName(f *record.File) string {
	if f.ELF.Soname != "" && !strings.Contains(f.ELF.Soname, "/") {
		return f.ELF.Soname
	}
	return path.Base(f.Path)
}

// publicLibrary reports whether f is a shared library that a loader finds on its
// own; sub is its glibc-hwcaps subdirectory with a leading slash, or "".
func publicLibrary(f *record.File) (sub string, ok bool) {
	if f.Type != record.TypeFile || f.ELF == nil || f.ELF.Type != elf.ET_DYN || !f.ELF.HasDynamic || f.ELF.IsProgram() || !ldso.KnownOSABI(f.ELF) {
		return "", false
	}
	if f.ELF.Soname == "" && !strings.Contains(path.Base(f.Path), ".so") {
		return "", false
	}
	dir := path.Dir(f.Path)
	if i := strings.Index(dir, "/glibc-hwcaps/"); i >= 0 {
		dir, sub = dir[:i], dir[i:]
	}
	return sub, slices.Contains(layout.LibraryDirs(f.ELF), dir)
}

// shareLinks returns the names in the farm's share/ that the tree offers.
func shareLinks(m *record.Manifest) []string {
	var links []string
	for i := range m.Files {
		f := &m.Files[i]
		if to := m.Resolve(f.Path); to == nil || to.Type == record.TypeDirectory {
			continue // a directory by another name would stand where others' files do
		}
		if slices.ContainsFunc(shareDirs, func(d string) bool { return strings.HasPrefix(f.Path, d) }) {
			links = append(links, strings.TrimPrefix(f.Path, "usr/"))
		}
	}
	return links
}
