// Package testdeb builds .deb packages from Go literals, for tests. Most
// callers need [Package] and its Build:
//
//	deb, err := testdeb.Package{
//		Name: "jq", Version: "1.7.1-6", Depends: "libjq1 (= 1.7.1-6)",
//		Files: []testdeb.File{
//			{Path: "usr/bin/jq", Mode: 0o755, Content: "..."},
//			testdeb.Symlink("usr/bin/jq1", "jq"),
//		},
//	}.Build()
//
// The bytes depend on the literal alone, so equal literals give equal packages.
//
// # Broken packages
//
// [Package.Members] gives the members that Build would put together; alter them
// and pass them to [Ar]. [Tar] and [Compress] make the parts of a member, and
// [File.Header] gets at the bytes of a tar header.
package testdeb

import (
	"bytes"
	"fmt"
	"path"
	"slices"
	"strings"
	"testing"
)

// Package is a package to be built. The zero value is one: "hello", version
// "1.0-1", without files.
type Package struct {
	Name    string // "hello" when empty
	Version string // "1.0-1" when empty
	Arch    string // "amd64" when empty

	Source, MultiArch                     string
	PreDepends, Depends                   string
	Provides, Conflicts, Breaks, Replaces string
	Summary                               string
	Fields                                []Field // further ones, after those above
	Control                               string  // the whole control file, in place of all fields
	Scripts                               map[string]string
	Conffiles, Triggers, Shlibs           string // these control members, when not empty
	Files                                 []File
	NoParents                             bool // do not add directories that files are in
	Compression                           Compression
	ControlCompression                    Compression // Compression when empty
}

// Field is one line of the control file.
type Field struct{ Name, Value string }

// Deb builds p, and fails the test if that cannot be.
func Deb(tb testing.TB, p Package) []byte {
	tb.Helper()
	b, err := p.Build()
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// Build returns the package's bytes.
func (p Package) Build() ([]byte, error) {
	members, err := p.Members()
	if err != nil {
		return nil, err
	}
	return Ar(members...), nil
}

// Members returns debian-binary, the control and the data member.
func (p Package) Members() ([]Member, error) {
	controlTar, err := Tar(p.controlFiles()...)
	if err != nil {
		return nil, fmt.Errorf("build control.tar of %s: %w", p.Name, err)
	}
	files := p.Files
	if !p.NoParents {
		files = withParents(files)
	}
	dataTar, err := Tar(files...)
	if err != nil {
		return nil, fmt.Errorf("build data.tar of %s: %w", p.Name, err)
	}

	compression := orElse(p.Compression, Gzip)
	controlCompression := orElse(p.ControlCompression, compression)
	control, err := Compress(controlTar, controlCompression)
	if err != nil {
		return nil, err
	}
	data, err := Compress(dataTar, compression)
	if err != nil {
		return nil, err
	}
	return []Member{
		{Name: "debian-binary", Data: []byte("2.0\n")},
		{Name: "control.tar" + controlCompression.suffix(), Data: control},
		{Name: "data.tar" + compression.suffix(), Data: data},
	}, nil
}

// ControlFile returns the text of the control file.
func (p Package) ControlFile() string {
	if p.Control != "" {
		return p.Control
	}
	var b strings.Builder
	for _, f := range []Field{
		{"Package", orElse(p.Name, "hello")},
		{"Source", p.Source},
		{"Version", orElse(p.Version, "1.0-1")},
		{"Architecture", orElse(p.Arch, "amd64")},
		{"Multi-Arch", p.MultiArch},
		{"Maintainer", "A Tester <tester@example.org>"},
		{"Pre-Depends", p.PreDepends},
		{"Depends", p.Depends},
		{"Provides", p.Provides},
		{"Conflicts", p.Conflicts},
		{"Breaks", p.Breaks},
		{"Replaces", p.Replaces},
	} {
		if f.Value != "" {
			fmt.Fprintf(&b, "%s: %s\n", f.Name, f.Value)
		}
	}
	for _, f := range p.Fields {
		fmt.Fprintf(&b, "%s: %s\n", f.Name, f.Value)
	}
	fmt.Fprintf(&b, "Description: %s\n", orElse(p.Summary, "a package for tests"))
	return b.String()
}

func (p Package) controlFiles() []File {
	files := []File{Dir("./"), {Path: "./control", Content: p.ControlFile()}}
	for name, text := range map[string]string{"conffiles": p.Conffiles, "triggers": p.Triggers, "shlibs": p.Shlibs} {
		if text != "" {
			files = append(files, File{Path: "./" + name, Content: text})
		}
	}
	for name, body := range p.Scripts {
		files = append(files, File{Path: "./" + name, Mode: 0o755, Content: body})
	}
	slices.SortFunc(files, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	return files
}

// withParents adds "./" and the directories that files are in and that are not
// given, each before the first file in it, as dpkg-deb does.
func withParents(files []File) []File {
	have := map[string]bool{}
	for _, f := range files {
		have[path.Clean("/"+f.Path)] = true
	}
	var all []File
	add := func(dir string) {
		if !have[dir] {
			have[dir] = true
			all = append(all, Dir("."+strings.TrimSuffix(dir, "/")+"/"))
		}
	}
	add("/")
	for _, f := range files {
		clean := path.Clean("/" + f.Path)
		for i := 1; i < len(clean); i++ {
			if clean[i] == '/' {
				add(clean[:i])
			}
		}
		all = append(all, f)
	}
	return all
}

// Member is one member of an ar archive.
type Member struct {
	Name  string
	Data  []byte
	Size  string // what the header says in place of len(Data), up to ten characters
	Magic string // the end of the header, "`\n" when empty
	NoPad bool   // leave out the byte after a member of odd length
}

// Ar returns an archive of the members, as they are.
func Ar(members ...Member) []byte {
	var b bytes.Buffer
	b.WriteString("!<arch>\n")
	for _, m := range members {
		size := orElse(m.Size, fmt.Sprint(len(m.Data)))
		fmt.Fprintf(&b, "%-16s%-12d%-6d%-6d%-8s%-10s%s", m.Name, 0, 0, 0, "100644", size, orElse(m.Magic, "`\n"))
		b.Write(m.Data)
		if len(m.Data)%2 == 1 && !m.NoPad {
			b.WriteByte('\n')
		}
	}
	return b.Bytes()
}

func orElse[T ~string](v, otherwise T) T {
	if v == "" {
		return otherwise
	}
	return v
}
