// Package record holds hashpkg's records as data: the [Manifest] of a tree, a
// [Generation] of the system, and what is known of programs that were edited in
// place ([PackageEdits], [Pin], [SystemState]). It reads and writes their JSON and
// refuses what contradicts itself or would lead out of its place.
//
// Who reads and writes the files is not its business (packages store and sysroot),
// and what they should hold is decided in packages plan and programs.
package record

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/elfedit"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/pkginfo"
)

// Origin says how a tree came to be.
type Origin string

// The origins.
const (
	OriginPrivate Origin = "private" // installed beside the package manager
	OriginSystem  Origin = "system"  // follows the package manager's database
	OriginView    Origin = "view"    // merged from private trees, for programs that see it in place of /usr
	OriginClosure Origin = "closure" // made for frozen programs of the system: see ClosureTree
)

// Manifest is the record of one tree, and the truth about it: what it holds,
// where each file came from, and how it was edited.
type Manifest struct {
	Layout       int                  `json:"layout"` // FormatVersion
	Name         string               `json:"name"`
	Version      string               `json:"version"`
	Architecture string               `json:"architecture"`
	Format       pkginfo.Format       `json:"format"`
	Origin       Origin               `json:"origin"`
	Tree         string               `json:"tree"` // directory below the package's own
	Identity     digest.Digest        `json:"identity"`
	Editor       int                  `json:"editor,omitempty"` // layout.EditorVersion of its edits; 0 for the first
	Package      PackageFile          `json:"package"`
	Source       string               `json:"source,omitempty"`
	Summary      string               `json:"summary,omitempty"`
	Requires     []pkginfo.Relation   `json:"requires,omitempty"`
	Recommends   []pkginfo.Relation   `json:"recommends,omitempty"`
	Provides     []pkginfo.Capability `json:"provides,omitempty"`
	Scripts      []string             `json:"scripts_skipped,omitempty"` // names of the package's scripts, none of which ran
	// What these scripts would register and make, and what of them was not understood.
	Alternatives []pkginfo.Alternative `json:"alternatives,omitempty"`
	WouldMake    pkginfo.Made          `json:"scripts_would_make,omitzero"`
	Unread       []string              `json:"scripts_unread,omitempty"`
	Control      *Control              `json:"control,omitempty"` // of a private package with a script that configures it, be that of use or not
	Binding      Binding               `json:"binding,omitzero"`  // of a private tree
	Part         Part                  `json:"part,omitempty"`    // what of the package it has

	Files  []File   `json:"files"`            // sorted by path
	Links  []Link   `json:"links,omitempty"`  // the interface: bin/, sbin/, lib64/, lib/
	Merged []string `json:"merged,omitempty"` // of a view: the paths of the trees that it has files of
	// Generated says what was made for a view; File.Generated, which files that are.
	Generated []Generated `json:"generated,omitempty"`

	// Named goes into the generation that an install makes.
	Named Named `json:"-"`
	// Anew says that a draft is of a package which nobody asked for: its tree that is there does not fit others of the command.
	Anew bool `json:"-"`

	index map[string]int // path -> index in Files, made by Index
}

// Part says what of its package a tree has.
type Part string

// PartCode is a package's programs and libraries, without its data. A tree that says nothing has all.
const PartCode Part = "code"

// Control is what dpkg or rpm would configure a package by, beside what else is in the manifest.
type Control struct {
	Scripts   map[string][]byte `json:"scripts"`             // of a deb "postinst" and, if there is one, "config"; of an rpm "post" and "posttrans", with a first line that names what runs them
	Triggers  []string          `json:"triggers,omitempty"`  // lines of deb-triggers(5)
	Templates string            `json:"templates,omitempty"` // of debconf, without translations
}

// Configures reports whether there is a script that has something to do here.
func (c *Control) Configures() bool { return c != nil && len(c.Scripts) > 0 }

// ByDpkg reports whether it is dpkg that configures the package.
func (c *Control) ByDpkg() bool { return c.Scripts["postinst"] != nil }

// Text returns the scripts that configure the package, one after another.
func (c *Control) Text() []byte {
	return bytes.Join([][]byte{c.Scripts["postinst"], c.Scripts["post"], c.Scripts["posttrans"]}, []byte("\n"))
}

// Generated are files of a view that follow from its other files, and from the host's.
type Generated struct {
	By    string        `json:"by"`    // for people: "MIME types"
	Input digest.Digest `json:"input"` // of all that they follow from
}

// PackageFile is the package file that a tree was made of.
type PackageFile struct {
	File   string        `json:"file"` // base name
	Size   int64         `json:"size"`
	Digest digest.Digest `json:"digest"`
	// Signature is what its signatures came to when it was installed.
	pkginfo.Signature
}

// FileType is the kind of a file in a tree.
type FileType string

// The kinds of files in a tree. Hard links have become files of one object.
const (
	TypeFile      FileType = "file"
	TypeDirectory FileType = "directory"
	TypeSymlink   FileType = "symlink"
	TypeFIFO      FileType = "fifo"
)

// File is one file of a tree.
type File struct {
	Path string   `json:"path"` // relative to the tree
	Type FileType `json:"type"`
	Mode Mode     `json:"mode"` // as the package has it
	UID  int      `json:"uid,omitempty"`
	GID  int      `json:"gid,omitempty"`

	// Of a file: its object, the object's size in bytes, and the digest of the
	// bytes that the package holds, which differs from Object where the file was
	// edited.
	Object digest.Digest `json:"object,omitzero"`
	Size   int64         `json:"size,omitempty"`
	Source digest.Digest `json:"source_digest,omitzero"`
	// Own says that the file has an inode of its own, because its owner, mode or
	// attributes are not the object's.
	Own bool `json:"own_inode,omitempty"`
	// Conffile says that the package calls it configuration.
	Conffile bool              `json:"conffile,omitempty"`
	Xattrs   map[string][]byte `json:"xattrs,omitempty"`
	// Of a file in a system tree: how it shares the bytes of the distribution's
	// file, one of the Shared constants; and that file's path in the root, if
	// it is not Path.
	Shared string `json:"shared,omitempty"`
	Place  string `json:"place,omitempty"`
	// System is that file, an absolute path in the root, while its tree is being made.
	System string `json:"-"`

	// Of a symlink: what it holds in the tree, and what the package has if that
	// is something else.
	Target        string `json:"target,omitempty"`
	PackageTarget string `json:"package_target,omitempty"`

	ELF   *elfedit.Info `json:"elf,omitempty"` // as the package has it
	Edits []EditRecord  `json:"edits,omitempty"`
	Patch *Patch        `json:"patch,omitempty"`
	Needs []Need        `json:"needs,omitempty"`

	// Names are absolute paths that the bytes of a program, library or script hold, of
	// data and modules that it may open; sorted, and not necessarily all. Script is the
	// interpreter of a script.
	Names  []string `json:"names,omitempty"`
	Script string   `json:"script,omitempty"`
	// Launches says that the file is a launcher, hashpkg's own: it shows a program its view
	// and executes this path in it. Why says what the view is needed for.
	Launches string `json:"launches,omitempty"`
	Why      string `json:"why,omitempty"`
	// Generated is the input of what the file was generated from, nil for others: see Manifest.Generated.
	Generated *digest.Digest `json:"generated,omitempty"`
	// Linker says that the file is hashpkg's own, and stands in views in place of this path
	// of the payload: it runs the linker there so that what it makes loads the view's
	// libraries.
	Linker string `json:"linker,omitempty"`
	// Closure says that the file is hashpkg's own, and what it is made from: a closure object,
	// which programs of the tree need because they have no room for all of their libraries.
	Closure *elfedit.Closure `json:"closure,omitempty"`
	// Stub says that the file is hashpkg's own: a copy of the shared library at this absolute
	// path in the root, whose soname is the path, so that what is linked with it loads that very file.
	Stub string `json:"stub,omitempty"`
	// Moved says that the file is hashpkg's own: this text of the payload, with the paths
	// in it leading to the tree.
	Moved string `json:"moved,omitempty"`
}

// IsMade reports whether the file is one that hashpkg has made from what its manifest says: a
// launcher, a closure object or a file for building programs.
func (f *File) IsMade() bool {
	return f.Type == TypeFile && (f.Launches != "" || f.Linker != "" || f.Closure != nil || f.IsDev())
}

// IsDev reports whether the file is made from another one for building programs.
func (f *File) IsDev() bool { return f.Stub != "" || f.Moved != "" }

// Launch says how a program that needs a view is launched.
type Launch string

// The ways. LaunchNone is a link to the program in its tree, which so has no view;
// LaunchCapable a launcher that makes the view with a capability of its file.
const (
	LaunchAuto    Launch = "auto"
	LaunchNone    Launch = "none"
	LaunchCapable Launch = "capability"
)

// Launch returns how the program of a launcher's file is launched.
func (f *File) Launch() Launch {
	switch {
	case f.Type == TypeSymlink:
		return LaunchNone
	case len(f.Xattrs) > 0:
		return LaunchCapable
	}
	return LaunchAuto
}

// How a file of a system tree shares the bytes of the distribution's.
const (
	SharedLink = "hardlink" // is the same file
	SharedCopy = "copy"     // the file system, or what else has the object, did not let it be
)

// EditRecord says what an edit is for: the names that were there and the names
// that took their place.
type EditRecord struct {
	Kind string   `json:"kind"` // one of the Edit constants
	From []string `json:"from,omitempty"`
	To   []string `json:"to"`
	// Rivals are, of a file that is bound to itself, those because of which it is not to From. Records
	// of an earlier hashpkg have none. No part of an identity.
	Rivals []Rival `json:"rivals,omitempty"`
}

// Rival is a file that answers symbols which another one has as well.
type Rival struct {
	Provider string `json:"provider"` // "NAME=VERSION", or "" for the root's own library
	Path     string `json:"path"`     // in its package; absolute of the root's own
	Symbols  int    `json:"symbols"`  // how many, of those that no rival before it answers
}

// The kinds of edits.
const (
	EditInterpreter = "interpreter" // PT_INTERP
	EditNeeded      = "needed"      // the whole list of DT_NEEDED; To[i] took the place of the name From[i], of none where that is ""
	EditReplace     = "replace"     // single entries of DT_NEEDED, From[i] by To[i]
	EditAdd         = "add"         // entries of DT_NEEDED, after the others
	EditRunPath     = "runpath"     // DT_RUNPATH
	EditRPath       = "rpath"       // DT_RPATH
	EditSelf        = "self"        // relocations bound to the file itself, without the symbols From: see package rewrite; no part of an identity
	EditNote        = "note"        // the note of what the program is bound to, with these lines; no part of an identity
)

// IsDerived reports whether a record is of a note or of what is bound to the file itself: these
// follow from the other records and from other files, and are no part of an identity.
func (e EditRecord) IsDerived() bool { return e.Kind == EditNote || e.Kind == EditSelf }

// SelfBound returns to how many symbols of its own a file is bound, by a record of that; 0 by
// another one.
func (e EditRecord) SelfBound() int {
	if e.Kind != EditSelf || len(e.To) != 2 {
		return 0
	}
	n, err := strconv.Atoi(e.To[1])
	if err != nil {
		return 0 // a damaged record, which says nothing
	}
	return n
}

// SelfBound says what of a file is bound to the file itself.
type SelfBound struct {
	Bound  int     `json:"bound"`  // symbols of its own that nothing else can answer
	Left   int     `json:"left"`   // those that something else answered when the tree was made
	Rivals []Rival `json:"rivals"` // which; none where the record does not say
}

// SelfBound returns what of a file is bound to the file itself; nil for nothing.
func (f *File) SelfBound() *SelfBound {
	for _, e := range f.Edits {
		if e.Kind == EditSelf {
			return &SelfBound{e.SelfBound(), len(e.From), append([]Rival{}, e.Rivals...)}
		}
	}
	return nil
}

// Need is one library that a file loads.
type Need struct {
	Soname   string `json:"soname"`
	Provider string `json:"provider"` // "NAME=VERSION", or "" for the root's own library
	Path     string `json:"path"`     // absolute in the root
}

// Link is one link of a tree's interface.
type Link struct {
	Path   string `json:"path"`   // "bin/jq", "lib64/libjq.so.1"
	Target string `json:"target"` // relative: "../usr/bin/jq"
}

// Mode is a file's permission, setuid, setgid and sticky bits; in JSON a string
// of four octal digits.
type Mode uint32

// MarshalText implements [encoding.TextMarshaler].
func (m Mode) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (m *Mode) UnmarshalText(b []byte) error {
	v, err := strconv.ParseUint(string(b), 8, 32)
	if err != nil || v > 0o7777 {
		return fmt.Errorf("parse mode %q: expected four octal digits", b)
	}
	*m = Mode(v)
	return nil
}

// ObjectMode returns the mode of an object's inode for a file of mode m.
func (m Mode) ObjectMode() fs.FileMode {
	if m&0o111 != 0 {
		return 0o555
	}
	return 0o444
}

// Shareable reports whether a file of this mode, owned by the store's owner and
// without attributes, may be a link to its object: its bits say no more than
// "everybody may read it" and perhaps "run it".
func (m Mode) Shareable() bool {
	switch m &^ 0o222 {
	case 0o444, 0o555:
		return true
	}
	return false
}

// Clone returns a copy of m whose own fields, and those of its files, can be set
// without changing m. What the fields refer to is shared.
func (m *Manifest) Clone() *Manifest {
	c := *m
	c.Files = slices.Clone(m.Files)
	return &c
}

// Index makes Lookup fast and is called once after Files was filled.
func (m *Manifest) Index() {
	m.index = make(map[string]int, len(m.Files))
	for i := range m.Files {
		m.index[m.Files[i].Path] = i
	}
}

// Lookup returns the file at a path of the payload, without following links; nil
// if there is none.
func (m *Manifest) Lookup(p string) *File {
	if i, ok := m.index[p]; ok {
		return &m.Files[i]
	}
	return nil
}

// Resolve returns the file at a path of the payload with links followed inside
// it, absolute ones as from the payload's top; nil when that leads nowhere or
// out of the payload.
func (m *Manifest) Resolve(p string) *File {
	f, _ := m.Follow(p)
	return f
}

// Follow is Resolve, and says at which path of the root the links ended: of the
// file, or of what the payload does not have.
func (m *Manifest) Follow(p string) (*File, string) {
	for range 40 { // MAXSYMLINKS
		p = layout.MergeUsr(strings.TrimPrefix(path.Clean("/"+p), "/"))
		f := m.Lookup(p)
		if f != nil && f.Type != TypeSymlink {
			return f, p
		}
		if f != nil {
			p = linkDestination(p, f.packageTarget())
			continue
		}
		// A directory on the way may be the link.
		dir, rest := splitAtLink(m, p)
		if dir == nil {
			return nil, p
		}
		p = linkDestination(dir.Path, dir.packageTarget()) + "/" + rest
	}
	return nil, p
}

// FollowIn returns the regular file that a path of a root with the payloads of several
// packages leads to, the package that has it, and where links ended. It is nil where none of
// them has what is there, or it is no regular file.
func FollowIn(packages []*Manifest, p string) (f *File, of *Manifest, at string) {
	at = p
	for range 40 { // MAXSYMLINKS
		next := at
		for _, m := range packages {
			f, end := m.Follow(at)
			if f != nil && f.Type == TypeFile {
				return f, m, end
			}
			if end != at {
				next = end
			}
		}
		if next == at {
			break
		}
		at = next
	}
	return nil, nil, at
}

func (f *File) packageTarget() string {
	if f.PackageTarget != "" {
		return f.PackageTarget
	}
	return f.Target
}

// OtherFile returns the path of a file or link that two trees do not both have from one and the same package: one lacks it, or
// has another one. It is "" where both have the same. What hashpkg makes for trees does not count.
func (m *Manifest) OtherFile(o *Manifest) string {
	for _, pair := range [2][2]*Manifest{{m, o}, {o, m}} {
		for i := range pair[0].Files {
			f := &pair[0].Files[i]
			if f.isPayload() && !f.isPackagedAs(pair[1].Lookup(f.Path)) {
				return f.Path
			}
		}
	}
	return ""
}

// isPayload reports whether a file or link is the package's.
func (f *File) isPayload() bool {
	return (f.Type == TypeFile || f.Type == TypeSymlink) && !f.IsMade() && f.Launches == "" && f.Generated == nil
}

func (f *File) isPackagedAs(o *File) bool {
	return o != nil && f.Type == o.Type && f.Source == o.Source && f.packageTarget() == o.packageTarget()
}

// Destination returns where a link of a payload leads, as a path of the root without the
// slash in front.
func (f *File) Destination() string {
	return layout.MergeUsr(strings.TrimPrefix(path.Clean(linkDestination(f.Path, f.packageTarget())), "/"))
}

func linkDestination(link, target string) string {
	if path.IsAbs(target) {
		return target
	}
	return path.Join("/", path.Dir(link), target)
}

func splitAtLink(m *Manifest, p string) (*File, string) {
	for i, c := range p {
		if c != '/' {
			continue
		}
		if f := m.Lookup(p[:i]); f != nil && f.Type == TypeSymlink {
			return f, p[i+1:]
		}
	}
	return nil, ""
}

// Encode returns the manifest as it stands on disk.
func (m *Manifest) Encode() ([]byte, error) {
	b, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encode manifest of %s: %v", m.Spec(), err)
	}
	return append(b, '\n'), nil
}

// DecodeManifest reads what Encode wrote. It returns an error for another
// layout and for a record that contradicts itself.
func DecodeManifest(b []byte) (*Manifest, error) {
	var m Manifest
	if err := json.Unmarshal(b, &m); err != nil {
		return nil, fmt.Errorf("decode manifest: %w", err)
	}
	if m.Layout != layout.FormatVersion {
		return nil, fmt.Errorf("decode manifest: layout %d, this program knows %d", m.Layout, layout.FormatVersion)
	}
	if err := m.Binding.Check(); err != nil {
		return nil, fmt.Errorf("decode manifest of %s: %v", m.Spec(), err)
	}
	if err := layout.CheckName(m.Name); err != nil && (m.Origin != OriginView || m.Name != layout.ViewName) {
		return nil, fmt.Errorf("decode manifest: %w", err)
	}
	for i := range m.Files {
		if err := layout.CheckPayloadPath(m.Files[i].Path); err != nil {
			return nil, fmt.Errorf("decode manifest of %s: %v", m.Spec(), err)
		}
	}
	for _, l := range m.Links {
		if err := layout.CheckPayloadPath(l.Path); err != nil {
			return nil, fmt.Errorf("decode manifest of %s: %v", m.Spec(), err)
		}
	}
	m.Index()
	return &m, nil
}

// ReadPackageFile returns which package file a tree was made of, from what Encode
// wrote, of which it reads no more than it must: the files of a tree come after it
// and can be megabytes. It does not check the rest of the manifest.
func ReadPackageFile(r io.Reader) (p PackageFile, err error) {
	d := json.NewDecoder(r)
	if _, err := d.Token(); err != nil { // the brace
		return p, fmt.Errorf("decode manifest: %w", err)
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return p, fmt.Errorf("decode manifest: %w", err)
		}
		var skipped json.RawMessage
		var value any = &skipped
		var version int
		switch key {
		case "layout":
			value = &version
		case "package":
			value = &p
		}
		if err := d.Decode(value); err != nil {
			return p, fmt.Errorf("decode manifest: %w", err)
		}
		switch {
		case key == "layout" && version != layout.FormatVersion:
			return p, fmt.Errorf("decode manifest: layout %d, this program knows %d", version, layout.FormatVersion)
		case key == "package":
			return p, nil
		}
	}
	return p, errors.New("decode manifest: it names no package file")
}

// ReadGenerated returns what was made for a view, from what Encode wrote, of which it decodes
// the end only: what stands before can be megabytes, and is not checked.
func ReadGenerated(b []byte) ([]Generated, error) {
	i := bytes.LastIndex(b, []byte(`,"generated":[`)) // in a string it would have backslashes, and of a file it is no list
	if i < 0 {
		return nil, nil
	}
	var end struct {
		Generated []Generated `json:"generated"`
	}
	if err := json.Unmarshal(append([]byte{'{'}, b[i+1:]...), &end); err != nil {
		return nil, fmt.Errorf("decode manifest: what was made for the view: %w", err)
	}
	return end.Generated, nil
}

// Spec returns "NAME=VERSION", as people name a package, and "view ID" of a view.
func (m *Manifest) Spec() string {
	if m.Origin == OriginView {
		return "view " + m.Tree
	}
	return m.Name + "=" + m.Version
}

// String returns four octal digits.
func (m Mode) String() string { return fmt.Sprintf("%04o", uint32(m)) }

// HasDir reports whether something of the payload stands below dir.
func (m *Manifest) HasDir(dir string) bool {
	if f := m.Lookup(dir); f != nil {
		return f.Type == TypeDirectory
	}
	return slices.ContainsFunc(m.Files, func(f File) bool { return strings.HasPrefix(f.Path, dir+"/") })
}

// File returns the payload path that an interface link leads to.
func (l Link) File() string { return path.Join(path.Dir(l.Path), l.Target) }

// Copied reports whether one of the libraries that a system tree offers is
// another file than the distribution's.
func (m *Manifest) Copied() bool {
	return slices.ContainsFunc(m.Links, func(l Link) bool {
		f := m.Lookup(l.File())
		return f != nil && f.Shared != SharedLink
	})
}
