package transaction

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/internal/unpack"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/pkginfo"
)

// entryTypes are those of files that a tree has.
var entryTypes = map[record.FileType]pkginfo.Type{
	record.TypeFile: pkginfo.Regular, record.TypeDirectory: pkginfo.Directory, record.TypeSymlink: pkginfo.Symlink, record.TypeFIFO: pkginfo.FIFO,
}

// stageUnpacked is stagePackage for a package whose files have arrived each by itself. What reading its
// file would find in their bytes is found here; a file with other bytes is refused.
func stageUnpacked(ctx context.Context, file packageFile, maxSize int64, to sink, read func(int64)) (*stagedPackage, error) {
	said := file.unpacked.Draft
	m, err := stageDraft(ctx, file.unpacked, maxSize, to)
	if err != nil {
		if cause := ctx.Err(); cause != nil {
			return nil, cause
		}
		return nil, fmt.Errorf("read %s: %w", said.Spec(), err)
	}
	read(file.size)
	if err := file.check(m); err != nil {
		return nil, err
	}
	m.Named, m.Tree = file.Named, file.Tree
	m.Package.Signature = file.unpacked.Proof
	m.Index()
	return &stagedPackage{format: file.format, manifest: m, proof: file.unpacked.Proof, hasKeys: file.Keys != nil, binding: file.Binding}, nil
}

func stageDraft(ctx context.Context, u *Unpacked, maxSize int64, to sink) (*record.Manifest, error) {
	s := &stager{to: to, draft: record.DraftFrom(u.Draft), room: unpack.Room{Max: maxSize}}
	for i := range u.Draft.Files {
		f := &u.Draft.Files[i]
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := s.addUnpacked(f, u.Open); err != nil {
			return nil, fmt.Errorf("%s: %w", f.Path, err)
		}
	}
	m := s.draft.Manifest()
	for i := range m.Files {
		m.Files[i].Conffile = u.Draft.Lookup(m.Files[i].Path).Conffile
	}
	return m, nil
}

func (s *stager) addUnpacked(f *record.File, open func(*record.File) (io.ReadCloser, error)) (err error) {
	e := &pkginfo.Entry{Path: f.Path, Type: entryTypes[f.Type], Mode: uint32(f.Mode), UID: f.UID, GID: f.GID, Link: f.Target, Size: f.Size}
	for name, value := range f.Xattrs {
		if e.Xattrs == nil {
			e.Xattrs = map[string]string{}
		}
		e.Xattrs[name] = string(value)
	}
	var content io.Reader
	if f.Type == record.TypeFile {
		r, err := open(f)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, r.Close()) }()
		content = r
	}
	if err := s.add(e, content); err != nil {
		return err
	}
	if added := s.draft.At(f.Path); added != nil && added.Source != f.Source {
		return fmt.Errorf("its bytes have the BLAKE3 %s, and should have %s: %w", added.Source, f.Source, digest.ErrMismatch)
	}
	return nil
}
