package transaction

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"debug/elf"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/hashpkg/hashpkg/backends"
	"github.com/hashpkg/hashpkg/backends/scripts"
	"github.com/hashpkg/hashpkg/backends/trust"
	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/elfedit"
	"github.com/hashpkg/hashpkg/internal/unpack"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/pkginfo"
)

// sink takes the files of packages: a *store.Staging, or a *spool for a dry run.
type sink interface {
	// Add takes a file's bytes and returns their digest and number.
	Add(r io.Reader, size int64) (digest.Digest, int64, error)
	packagedBytes // of ELF files that were added
}

// packagedBytes has the packaged bytes of ELF files.
type packagedBytes interface {
	// Map calls f with the bytes that have a digest, which are valid until f returns and must
	// not be written to.
	Map(d digest.Digest, f func([]byte) error) error
}

// stagedPackage is a package file that was read into the sink.
type stagedPackage struct {
	format   backends.Format
	manifest *record.Manifest  // a draft
	proof    pkginfo.Signature // see Package.Proof
	hasKeys  bool              // its source names those that may sign it
	binding  *record.Binding   // see Package.Binding
	sum      []byte            // of the file, if the format proves packages by one: see backends.Prover
}

// stagePackage reads one package file into the sink. keys has, by format, the keys
// that may sign. Unless signatures are of no interest, what the package can be proved
// by is computed. read is called with the number of bytes that were read from the file.
func stagePackage(ctx context.Context, file packageFile, keys map[pkginfo.Format]*trust.Keyring, o InstallOptions, to sink, read func(int64)) (*stagedPackage, error) {
	if file.unpacked != nil {
		return stageUnpacked(ctx, file, cmp.Or(o.MaxSize, DefaultMaxSize), to, read)
	}
	f, err := os.Open(file.Path)
	if err != nil {
		return nil, fmt.Errorf("open package: %w", err)
	}
	defer f.Close()
	in := &source{ctx: ctx, r: f, hash: digest.New(), read: read}
	algorithm, sum, _ := strings.Cut(file.digest(), ":")
	listed := newHash(algorithm)
	if listed == nil && algorithm != "" {
		return nil, fmt.Errorf("read package %s: a digest %q cannot be verified", file.Path, algorithm)
	}
	var proving hash.Hash
	if prover, ok := file.format.(backends.Prover); ok && file.Proof.Verdict == "" && o.Signature != trust.Off {
		proving = prover.NewHash()
	}
	for _, h := range []hash.Hash{listed, proving} {
		if h != nil {
			in.more = append(in.more, h)
		}
	}
	may := keys[file.format.Name()]
	if file.Keys != nil {
		may = file.Keys
	}
	m, err := stageFrom(in, file.format, may, to, cmp.Or(o.MaxSize, DefaultMaxSize))
	if err != nil {
		if cause := ctx.Err(); cause != nil {
			return nil, cause
		}
		if _, rerr := io.Copy(io.Discard, in); rerr == nil && listed != nil && hex.EncodeToString(listed.Sum(nil)) != sum {
			return nil, &OtherFileError{file.Path, file.Expected} // which is why it cannot be read
		}
		return nil, fmt.Errorf("read package %s: %w", file.Path, err)
	}
	if listed != nil && hex.EncodeToString(listed.Sum(nil)) != sum {
		return nil, &OtherFileError{file.Path, file.Expected}
	}
	if err := file.check(m); err != nil {
		return nil, err
	}
	m.Named, m.Tree = file.Named, file.Tree
	m.Package.File, m.Package.Size, m.Package.Digest = file.base(), in.size, digest.Sum(in.hash)
	m.Index()
	p := &stagedPackage{format: file.format, manifest: m, proof: file.Proof, hasKeys: file.Keys != nil, binding: file.Binding}
	if proving != nil {
		p.sum = proving.Sum(nil)
	}
	return p, nil
}

// OtherFileError says that a package's file is not the one that its index lists.
type OtherFileError struct {
	Path     string // of the file, on the host
	Expected *pkginfo.Listed
}

func (e *OtherFileError) Error() string {
	return fmt.Sprintf("read package %s: its digest is not that which the index lists for %s", e.Path, e.Expected.Spec())
}

// digest returns the digest that the file is to have, "algorithm:hex", or "".
func (f *packageFile) digest() string {
	if f.Expected == nil {
		return ""
	}
	return f.Expected.Digest
}

// newHash returns the hash function of an index's digest; nil for none.
func newHash(algorithm string) hash.Hash {
	switch algorithm {
	case "sha256":
		return sha256.New()
	case "sha512":
		return sha512.New()
	}
	return nil
}

// base returns what records call the file.
func (f *packageFile) base() string {
	if f.Expected != nil && f.Expected.Path != "" {
		return path.Base(f.Expected.Path)
	}
	return filepath.Base(f.Path)
}

// check refuses a package that is another one than its index says.
func (f *packageFile) check(m *record.Manifest) error {
	e := f.Expected
	if e == nil || e.Name == m.Name && e.Version == m.Version && e.Architecture == m.Architecture {
		return nil
	}
	return fmt.Errorf("read package %s: it is %s for %s, and its index lists %s for %s", f.Path, m.Spec(), m.Architecture, e.Spec(), e.Architecture)
}

// source is a package file: it hashes and counts what passes through, and ends
// when the context does.
type source struct {
	ctx  context.Context
	r    io.Reader
	hash hash.Hash
	more []hash.Hash
	size int64
	read func(int64)
}

func (s *source) Read(p []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := s.r.Read(p)
	s.hash.Write(p[:n])
	for _, h := range s.more {
		h.Write(p[:n])
	}
	s.size += int64(n)
	s.read(int64(n))
	return n, err
}

func stageFrom(in *source, format backends.Format, keys *trust.Keyring, to sink, maxSize int64) (m *record.Manifest, err error) {
	r, err := format.Open(in, keys)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	draft, err := record.NewDraft(r.Package(), record.OriginPrivate)
	if err != nil {
		return nil, err
	}
	s := &stager{to: to, draft: draft, namesOwners: r.NamesOwners(), room: unpack.Room{Max: maxSize}}
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
	for _, p := range r.Package().Conffiles {
		if f := draft.At(p); f != nil && f.Type == record.TypeFile {
			f.Conffile = true
		}
	}
	m = draft.Manifest()
	m.Package.Signature = r.Signature()
	s.readScripts(m, r.Package(), format.Order())
	return m, nil
}

// readScripts puts into a manifest what the package's scripts would do.
func (s *stager) readScripts(m *record.Manifest, p *pkginfo.Package, order pkginfo.Order) {
	if len(p.Scripts) == 0 && len(s.sysusers) == 0 {
		return
	}
	triplet, _ := layout.Triplet(p.Architecture)
	c := scripts.Context{
		Package: p, Triplet: triplet, Files: make(map[string]fs.FileMode, len(m.Files)), Sysusers: s.sysusers, Compare: order.Compare,
	}
	for i := range m.Files {
		f := &m.Files[i]
		mode := fs.FileMode(0)
		to := f
		if f.Type == record.TypeSymlink {
			mode, to = fs.ModeSymlink, m.Resolve(f.Path)
		}
		if to != nil {
			mode |= fs.FileMode(to.Mode) & fs.ModePerm
			if to.Type == record.TypeDirectory {
				mode |= fs.ModeDir
			}
		}
		c.Files["/"+f.Path] = mode
	}
	e := scripts.Read(c)
	m.Alternatives, m.WouldMake, m.Unread = e.Alternatives, e.Made, e.Unread
}

// The directory of files that say which users a package needs: sysusers.d(5). Of these
// files so many are read as scripts are, of so many bytes at the most.
const (
	sysusersDir      = "usr/lib/sysusers.d"
	maxSysusers      = 64 << 10
	maxSysusersFiles = 20
)

// stager turns the entries of one package into the files of its manifest.
type stager struct {
	to    sink
	draft *record.Draft

	namesOwners bool              // see backends.Reader
	sysusers    map[string]string // see scripts.Context

	room unpack.Room
}

// SizeError says that a package unpacks to more than it may.
type SizeError = unpack.SizeError

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
		first := s.draft.At(e.Link)
		if first == nil || first.Type != record.TypeFile {
			return fmt.Errorf("is a hard link to %s, which is not a file that came before", e.Link)
		}
		f = *first
		f.Path = e.Path
	case pkginfo.CharDevice, pkginfo.BlockDevice:
		return errors.New("is a device: hashpkg makes none in a tree")
	default:
		return fmt.Errorf("is of the unknown type %d", e.Type)
	}
	return s.draft.Put(f)
}

func (s *stager) addContent(f *record.File, e *pkginfo.Entry, content io.Reader) error {
	if err := s.room.Take(e.Size); err != nil {
		return err
	}
	head := make([]byte, min(e.Size, int64(len(elf.ELFMAG))))
	if _, err := io.ReadFull(content, head); err != nil {
		return err
	}
	if e.Mode&0o111 != 0 && bytes.HasPrefix(head, []byte("#!")) {
		more := make([]byte, min(e.Size, maxScriptHead)-int64(len(head)))
		if _, err := io.ReadFull(content, more); err != nil {
			return err
		}
		head = append(head, more...)
		f.Script, f.Names = interpreterOf(head), namesIn(head)
	}
	bytesOf := io.MultiReader(bytes.NewReader(head), content)
	var users strings.Builder
	if path.Dir(e.Path) == sysusersDir && e.Size <= maxSysusers && len(s.sysusers) < maxSysusersFiles {
		bytesOf = io.TeeReader(bytesOf, &users)
	}
	d, n, err := s.to.Add(bytesOf, e.Size)
	if err != nil {
		return err
	}
	if users.Len() > 0 {
		if s.sysusers == nil {
			s.sysusers = map[string]string{}
		}
		s.sysusers[path.Base(e.Path)] = users.String()
	}
	if n != e.Size {
		return fmt.Errorf("has %d bytes, and its package says %d", n, e.Size)
	}
	f.Object, f.Source, f.Size = d, d, n
	if !bytes.HasPrefix(head, []byte(elf.ELFMAG)) {
		return nil
	}
	return s.to.Map(d, func(b []byte) error {
		info, err := elfedit.Inspect(b)
		// Test data and firmware look like ELF and are not: no loader will read
		// them, and nothing has to be known of them.
		if err == nil && (info.Type == elf.ET_EXEC || info.Type == elf.ET_DYN) {
			info.Notes = nil
			f.ELF = info
			f.Names = namesIn(b)
		}
		return nil
	})
}
