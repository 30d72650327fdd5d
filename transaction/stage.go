package transaction

import (
	"bytes"
	"cmp"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashpkg/hashpkg/layout/record"

	"github.com/hashpkg/hashpkg/backends"
	"github.com/hashpkg/hashpkg/backends/trust"
	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/elfedit"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/pkginfo"
)

// sink takes the files of packages: a *store.Staging, or a *spool for a dry run.
type sink interface {
	// Add takes a file's bytes and returns their digest and number.
	Add(r io.Reader, size int64) (digest.Digest, int64, error)
	// Map calls f with the bytes of an ELF file that was added.
	Map(d digest.Digest, f func([]byte) error) error
}

// stagedPackage is a package file that was read into the sink.
type stagedPackage struct {
	format   backends.Format
	manifest *record.Manifest // a draft
	sum      []byte           // of the file, if the format proves packages by one: see backends.Prover
}

// stagePackage reads one package file into the sink. keys has, by format, the keys
// that may sign. With prove, what the package can be proved by is computed. read is told of the bytes that were read from the file.
func stagePackage(ctx context.Context, file packageFile, keys map[pkginfo.Format]*trust.Keyring, prove bool, to sink, read func(int64)) (*stagedPackage, error) {
	f, err := os.Open(file.path)
	if err != nil {
		return nil, fmt.Errorf("open package: %w", err)
	}
	defer f.Close()
	in := &source{ctx: ctx, r: f, hash: digest.New(), read: read}
	if prover, ok := file.format.(backends.Prover); ok && prove {
		in.sum = prover.NewHash()
	}
	m, err := stageFrom(in, file.format, keys[file.format.Name()], to)
	if err != nil {
		if cause := ctx.Err(); cause != nil {
			return nil, cause
		}
		return nil, fmt.Errorf("read package %s: %w", file.path, err)
	}
	m.Package.File, m.Package.Size, m.Package.Digest = filepath.Base(file.path), in.size, digest.Sum(in.hash)
	m.Index()
	p := &stagedPackage{format: file.format, manifest: m}
	if in.sum != nil {
		p.sum = in.sum.Sum(nil)
	}
	return p, nil
}

// source is a package file: it hashes and counts what passes through, and ends
// when the context does.
type source struct {
	ctx  context.Context
	r    io.Reader
	hash hash.Hash
	sum  hash.Hash // one more, or nil
	size int64
	read func(int64)
}

func (s *source) Read(p []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := s.r.Read(p)
	s.hash.Write(p[:n])
	if s.sum != nil {
		s.sum.Write(p[:n])
	}
	s.size += int64(n)
	s.read(int64(n))
	return n, err
}

func stageFrom(in *source, format backends.Format, keys *trust.Keyring, to sink) (m *record.Manifest, err error) {
	r, err := format.Open(in, keys)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	m, err = draft(r.Package())
	if err != nil {
		return nil, err
	}
	s := &stager{to: to, m: m, byPath: map[string]int{}, namesOwners: r.NamesOwners()}
	for {
		e, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		if err := s.add(e, r); err != nil {
			return nil, fmt.Errorf("%s: %w", e.Path, err)
		}
	}
	if _, err := io.Copy(io.Discard, in); err != nil { // what the reader had no need of belongs to the digest
		return nil, err
	}
	s.finish()
	m.Package.Signature = r.Signature()
	return m, nil
}

// draft returns a manifest with what a package says of itself.
func draft(p *pkginfo.Package) (*record.Manifest, error) {
	if err := layout.CheckName(p.Name); err != nil {
		return nil, err
	}
	if _, err := layout.EscapeVersion(p.Version); err != nil {
		return nil, err
	}
	if _, err := layout.EscapeVersion(p.Architecture); err != nil {
		return nil, fmt.Errorf("architecture: %w", err)
	}
	m := &record.Manifest{
		Layout: layout.FormatVersion, Name: p.Name, Version: p.Version, Architecture: p.Architecture,
		Format: p.Format, Origin: record.OriginPrivate, Source: p.Source, Summary: p.Summary,
		Requires: p.Requires, Provides: p.Provides,
	}
	for _, s := range p.Scripts {
		m.Scripts = append(m.Scripts, s.Name)
	}
	return m, nil
}

// stager turns the entries of one package into the files of its manifest.
type stager struct {
	to     sink
	m      *record.Manifest
	byPath map[string]int

	namesOwners bool // see backends.Reader
}

func (s *stager) add(e *pkginfo.Entry, content io.Reader) error {
	if e.Path == "." || e.Type == pkginfo.Symlink && layout.MergeUsr(e.Path+"/x") != e.Path+"/x" {
		return nil // the tree itself, or a link of the merged /usr such as bin, which paths have followed
	}
	f := record.File{Path: e.Path, Mode: record.Mode(e.Mode), UID: e.UID, GID: e.GID}
	if s.namesOwners {
		// Who the owners are on this machine is not known: the files become root's. A
		// program that was to run as another user must not run as root for that, and
		// neither would rpm let it.
		if e.Owner != "root" {
			f.Mode &^= 0o4000
		}
		if e.Group != "root" {
			f.Mode &^= 0o2000
		}
	}
	for name, value := range e.Xattrs {
		if f.Xattrs == nil {
			f.Xattrs = map[string][]byte{}
		}
		f.Xattrs[name] = []byte(value)
	}
	switch e.Type {
	case pkginfo.Directory:
		f.Type = record.TypeDirectory
		if i, ok := s.byPath[f.Path]; ok && s.m.Files[i].Type == record.TypeDirectory {
			return nil // "lib" and "usr/lib" are one
		}
	case pkginfo.Symlink:
		f.Type, f.Target = record.TypeSymlink, e.Link
	case pkginfo.FIFO:
		f.Type = record.TypeFIFO
	case pkginfo.Regular:
		f.Type = record.TypeFile
		if err := s.addContent(&f, e, content); err != nil {
			return err
		}
	case pkginfo.HardLink:
		i, ok := s.byPath[e.Link]
		if !ok || s.m.Files[i].Type != record.TypeFile {
			return fmt.Errorf("is a hard link to %s, which is no file that came before", e.Link)
		}
		f = s.m.Files[i]
		f.Path = e.Path
	case pkginfo.CharDevice, pkginfo.BlockDevice:
		return errors.New("is a device: hashpkg makes none in a tree")
	default:
		return fmt.Errorf("is of the unknown type %d", e.Type)
	}
	if _, twice := s.byPath[f.Path]; twice {
		return errors.New("is in the package twice")
	}
	s.byPath[f.Path] = len(s.m.Files)
	s.m.Files = append(s.m.Files, f)
	return nil
}

func (s *stager) addContent(f *record.File, e *pkginfo.Entry, content io.Reader) error {
	magic := make([]byte, min(e.Size, int64(len(elf.ELFMAG))))
	if _, err := io.ReadFull(content, magic); err != nil {
		return err
	}
	d, n, err := s.to.Add(io.MultiReader(bytes.NewReader(magic), content), e.Size)
	if err != nil {
		return err
	}
	if n != e.Size {
		return fmt.Errorf("has %d bytes, and its package says %d", n, e.Size)
	}
	f.Object, f.Source, f.Size = d, d, n
	if string(magic) != elf.ELFMAG {
		return nil
	}
	return s.to.Map(d, func(b []byte) error {
		info, err := elfedit.Inspect(b)
		// Test data and firmware look like ELF and are not: no loader will read
		// them, and nothing has to be known of them.
		if err == nil && (info.Type == elf.ET_EXEC || info.Type == elf.ET_DYN) {
			info.Notes = nil
			f.ELF = info
		}
		return nil
	})
}

// finish sorts the files and makes links that lead out of the tree lead inside.
func (s *stager) finish() {
	slices.SortFunc(s.m.Files, func(a, b record.File) int { return cmp.Compare(a.Path, b.Path) })
	s.m.Index()
	for i := range s.m.Files {
		f := &s.m.Files[i]
		if f.Type == record.TypeSymlink {
			if target := s.linkInside(f); target != f.Target {
				f.PackageTarget, f.Target = f.Target, target
			}
		}
	}
}

// linkInside returns what a payload's symlink holds in the tree. An absolute link
// to the package's own file becomes a relative one, and ".." stops at the tree's
// top as it does at a root's.
func (s *stager) linkInside(f *record.File) string {
	dir := path.Dir(f.Path)
	if path.IsAbs(f.Target) {
		to := s.m.Resolve(f.Target)
		if to == nil {
			return f.Target // another package's, or nobody's
		}
		return relative(dir, layout.MergeUsr(strings.TrimPrefix(path.Clean(f.Target), "/")))
	}
	if joined := path.Join(dir, f.Target); joined == ".." || strings.HasPrefix(joined, "../") {
		inside := layout.MergeUsr(strings.TrimPrefix(path.Join("/", dir, f.Target), "/"))
		return relative(dir, cmp.Or(inside, "."))
	}
	return f.Target
}

// relative returns the way from a directory to a path, both relative to the same
// top.
func relative(dir, to string) string {
	if dir == "." {
		return to
	}
	from, dest := strings.Split(dir, "/"), strings.Split(to, "/")
	for len(from) > 0 && len(dest) > 1 && from[0] == dest[0] {
		from, dest = from[1:], dest[1:]
	}
	return strings.Repeat("../", len(from)) + strings.Join(dest, "/")
}
