package closure

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"path"
	"slices"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/record"
)

// SHA256 is the SHA-256 of a file's bytes, in JSON 64 lower-case hexadecimal digits. The zero value is
// none.
type SHA256 [32]byte

// String returns 64 lower-case hexadecimal digits.
func (s SHA256) String() string { return hex.EncodeToString(s[:]) }

// MarshalText implements [encoding.TextMarshaler].
func (s SHA256) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (s *SHA256) UnmarshalText(b []byte) error {
	if len(b) != hex.EncodedLen(len(s)) {
		return fmt.Errorf("%q is no SHA-256 in hexadecimal digits", b)
	}
	_, err := hex.Decode(s[:], b)
	return err
}

// Address fills in a template of addresses: "{blake3}" and "{sha256}" stand for the file's digests. The
// error is of a template without either, or that is none of http, https and file.
func (f *File) Address(template string) (string, error) {
	if err := CheckTemplate(template); err != nil {
		return "", err
	}
	return strings.NewReplacer("{blake3}", f.BLAKE3.String(), "{sha256}", f.SHA256.String()).Replace(template), nil
}

// CheckTemplate returns an error for what is no template of addresses.
func CheckTemplate(template string) error {
	if err := checkAddress(strings.NewReplacer("{blake3}", "0", "{sha256}", "0").Replace(template)); err != nil {
		return err
	}
	if !strings.Contains(template, "{blake3}") && !strings.Contains(template, "{sha256}") {
		return fmt.Errorf("%q has neither {blake3} nor {sha256} in it", template)
	}
	return nil
}

func (m *Manifest) check() error {
	if !path.IsAbs(m.Prefix) || path.Clean(m.Prefix) != m.Prefix {
		return fmt.Errorf("the prefix %q is no clean absolute path", m.Prefix)
	}
	if len(slices.Compact(slices.Clone(m.Names))) != len(m.Names) {
		return errors.New("a name is in it twice")
	}
	for _, t := range m.Mirrors {
		if err := CheckTemplate(t); err != nil {
			return err
		}
	}
	if err := CheckSee(m.See); err != nil {
		return err
	}
	for architecture, packages := range m.Architectures {
		if _, err := layout.EscapeVersion(architecture); err != nil {
			return err
		}
		trees := map[string]bool{}
		for i := range packages {
			p := &packages[i]
			tree := layout.TreePath(p.Name, p.Tree)
			if trees[tree] {
				return fmt.Errorf("%s: the tree %s is in it twice", architecture, tree)
			}
			trees[tree] = true
			if err := p.check(len(m.See) > 0); err != nil {
				return fmt.Errorf("%s for %s: %w", p.Spec(), p.Architecture, err)
			}
		}
	}
	return nil
}

// CheckSee returns an error for what cannot be in a manifest to say who picks what.
func CheckSee(list []See) error {
	names := map[string]bool{}
	for i := range list {
		s := &list[i]
		if err := s.check(); err != nil {
			return err
		}
		if names[s.Name] {
			return fmt.Errorf("the choice of %s is left to two", s.Name)
		}
		names[s.Name] = true
	}
	return nil
}

// check returns an error for what says of nobody which package is meant. The C library is not left to others:
// every file of a closure is linked with it.
func (s *See) check() error {
	fail := func(err error) error { return fmt.Errorf("who picks %q: %w", s.Name, err) }
	if s.IsSoname() {
		if strings.Contains(s.Name, "/") {
			return fail(errors.New("it is no soname"))
		}
	} else if err := layout.CheckName(s.Name); err != nil {
		return fail(err)
	}
	if layout.IsCLibrary(s.Name) {
		return fail(errors.New("the C library is not left to others"))
	}
	if err := checkPicker(s.Picker()); err != nil {
		return fail(err)
	}
	return nil
}

func checkPicker(p record.Picker) error {
	if _, err := note.NewVerifier(p.Signer); err != nil {
		return fmt.Errorf("%q is no key that verifies closure manifests: expected NAME+HASH+KEY, as hashpkg key show prints it", p.Signer)
	}
	return checkAddress(p.URL)
}

// checkAddress returns an error for what is no address that is for whoever gets a manifest.
func checkAddress(text string) error {
	u, err := url.Parse(text)
	switch {
	case err != nil || !slices.Contains([]string{"http", "https", "file"}, u.Scheme):
		return fmt.Errorf("%q is no address of http, https or file", text)
	case u.User != nil:
		return errors.New("an address has a user or password in it, which is not for who gets the manifest")
	}
	return nil
}

func (p *Package) check(hasSee bool) error {
	if err := layout.CheckName(p.Name); err != nil {
		return err
	}
	for _, word := range []string{p.Version, p.Architecture} {
		if _, err := layout.EscapeVersion(word); err != nil {
			return err
		}
	}
	if err := p.Binding.Check(); err != nil {
		return err
	}
	if err := layout.CheckPayloadPath(p.Tree); err != nil || strings.Contains(p.Tree, "/") {
		return fmt.Errorf("%q is no name of a tree", p.Tree)
	}
	if p.Part != "" && p.Part != record.PartCode {
		return fmt.Errorf("%q is no part of a package", p.Part)
	}
	if p.Part != "" && !p.Identity.IsZero() || p.Part == "" && p.Identity.IsZero() && !hasSee {
		return errors.New("a whole package has the identity of its tree, and a part has none")
	}
	if !p.By.IsZero() {
		if hasSee {
			return errors.New("others have picked it already, and more is left to others")
		}
		if err := checkPicker(p.By); err != nil {
			return err
		}
	}
	if p.From.BLAKE3.IsZero() || p.From.Size < 0 || path.Base(p.From.File) != p.From.File {
		return errors.New("nothing says which package file it is of")
	}
	types := make(map[string]record.FileType, len(p.Files))
	for i := range p.Files {
		f := &p.Files[i]
		if err := f.check(); err != nil {
			return err
		}
		if _, twice := types[f.Path]; twice {
			return fmt.Errorf("%s: %w", f.Path, record.ErrTwice)
		}
		types[f.Path] = f.Type
	}
	for i := range p.Files {
		for dir := path.Dir(p.Files[i].Path); dir != "."; dir = path.Dir(dir) {
			if t, is := types[dir]; is && t != record.TypeDirectory {
				return fmt.Errorf("%s stands below %s, which is no directory", p.Files[i].Path, dir)
			}
		}
	}
	return nil
}

func (f *File) check() error {
	if err := layout.CheckPayloadPath(f.Path); err != nil {
		return err
	}
	regular := f.Type == record.TypeFile
	switch {
	case layout.MergeUsr(f.Path) != f.Path:
		return fmt.Errorf("%s does not stand in the merged /usr", f.Path)
	case !slices.Contains([]record.FileType{record.TypeFile, record.TypeDirectory, record.TypeSymlink, record.TypeFIFO}, f.Type):
		return fmt.Errorf("%s: a tree has nothing of the type %q", f.Path, f.Type)
	case f.Size < 0, f.UID < 0, f.GID < 0:
		return fmt.Errorf("%s: a number is negative", f.Path)
	case regular != !f.BLAKE3.IsZero(), regular != (f.SHA256 != SHA256{}):
		return fmt.Errorf("%s: regular files have digests, and others have none", f.Path)
	case regular && !slices.Contains([]Kind{Program, Library, Plugin, Data}, f.Kind):
		return fmt.Errorf("%s: %q is no kind of file", f.Path, f.Kind)
	case !regular && (f.Kind != "" || f.Size != 0):
		return fmt.Errorf("%s: it is no regular file, and has its members", f.Path)
	case (f.Type == record.TypeSymlink) != (f.Target != ""):
		return fmt.Errorf("%s: links have targets, and others have none", f.Path)
	case strings.ContainsRune(f.Target, 0):
		return fmt.Errorf("%s: its target has a null byte", f.Path)
	}
	for _, t := range f.From {
		if err := CheckTemplate(t); err != nil {
			return fmt.Errorf("%s: %w", f.Path, err)
		}
	}
	return nil
}
