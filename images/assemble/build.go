// Package assemble makes images of packages by name: [Image] installs them into a new root, as
// hashpkg install would, and hands what came of it to package images. The root is gone
// afterwards; package files, indexes and layers stay in a cache.
package assemble

import (
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/hashpkg/hashpkg/backends"
	"github.com/hashpkg/hashpkg/backends/trust"
	"github.com/hashpkg/hashpkg/elfedit"
	"github.com/hashpkg/hashpkg/images"
	"github.com/hashpkg/hashpkg/internal/advice"
	"github.com/hashpkg/hashpkg/internal/beneath"
	"github.com/hashpkg/hashpkg/internal/scratch"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/layout/sbom"
	"github.com/hashpkg/hashpkg/pkginfo"
	"github.com/hashpkg/hashpkg/repo"
	"github.com/hashpkg/hashpkg/sysroot"
	"github.com/hashpkg/hashpkg/transaction"
	"github.com/hashpkg/hashpkg/transaction/relations"
)

// Options say what to make an image of.
type Options struct {
	Cache   string // a directory of this machine
	Prefix  string // of the trees, absolute
	Formats backends.Formats
	// Open returns what a new root knows of repositories.
	Open     func(root *sysroot.Root) (*repo.Repo, error)
	From     string
	Requests []repo.Request
	// Locked, if not nil, is what to install in place of Requests; LockName is its name, for messages.
	Locked    *repo.LockFile
	LockName  string
	WriteLock bool // what it takes to make the same again is asked for
	Platform  v1.Platform
	With      With
	Created   time.Time // of the image
	Prelocate bool
	NoIndexes bool // that programs of packages make
	Signature trust.Policy
	MaxSize   int64
	Tool      string // the version of hashpkg
	Config    images.Config
	Lock      sysroot.LockOptions
	Progress  func(transaction.Progress)
}

// With says what an image has beside the packages that somebody named.
type With struct {
	images.Keep
	Certificates, TimeZones bool
	Shell, Utilities        bool // what scripts are run by, and with what they call
}

// Result is an image, and what is to be said of it.
type Result struct {
	Image v1.Image
	// Lock is what it takes to make the same image again, if it was asked for.
	Lock *repo.LockFile
	// Packages is how many packages are in it.
	Packages int
	// Lacking are interpreters that scripts of the image's packages name and the image has not, with the
	// packages.
	Lacking map[string][]string
	// Faults say which indexes could not be made, and why.
	Faults []string
}

// Image makes an image for one platform. The layers are in the cache afterwards, and the image reads them
// there.
func Image(ctx context.Context, o Options, layers *images.Layers) (result *Result, err error) {
	s, err := makeRoot(o.Cache, o.Prefix, o.Platform, o.Formats)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.remove()) }()
	r, err := o.Open(s.root)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	ierr := o.install(ctx, r, s.root)
	if kerr := s.keep(); ierr == nil { // what was fetched is of use to the next run, whatever became of this one
		ierr = kerr
	}
	if ierr != nil {
		return nil, ierr
	}
	in := images.Input{
		Prefix: o.Prefix, Objects: s.root.Store(), Layers: layers, Platform: o.Platform, Created: o.Created, Keep: o.With.Keep, Certificates: o.With.Certificates, Config: o.Config,
		Progress: func(done, total int) {
			if o.Progress != nil {
				o.Progress(transaction.Progress{Step: "packing", Done: int64(done), Total: int64(total), Unit: "layers"})
			}
		},
	}
	if in.Generation, err = s.root.Active(); err != nil {
		return nil, err
	}
	for i := range in.Generation.Trees {
		m, err := s.root.Store().Manifest(in.Generation.Trees[i].Name, in.Generation.Trees[i].Dir)
		if err != nil {
			return nil, err
		}
		in.Manifests = append(in.Manifests, m)
	}
	if in.SBOM, err = o.bill(ctx, s.root); err != nil {
		return nil, err
	}
	result = &Result{Packages: len(in.Manifests), Lacking: images.Lacking(in.Manifests)}
	if o.WriteLock {
		if result.Lock, err = r.Lock(ctx); err != nil {
			return nil, err
		}
	}
	if !o.NoIndexes {
		in.Generate = func(ctx context.Context, trees []*record.Manifest) (files map[string][]byte, err error) {
			files, result.Faults, err = transaction.Indexes(ctx, s.root, o.Lock, trees)
			if err != nil {
				err = advice.Errorf("%w; --no-indexes makes the image without", err)
			}
			return files, err
		}
	}
	result.Image, err = images.Make(ctx, in)
	return result, err
}

// install installs what the image is to have.
func (o *Options) install(ctx context.Context, r *repo.Repo, root *sysroot.Root) error {
	binding := record.Binding{Prelocate: record.PrelocateOff}
	if o.Prelocate {
		binding.Prelocate = record.PrelocateOn
	}
	options := repo.InstallOptions{
		InstallOptions: transaction.InstallOptions{
			Root: root, Choice: record.DefaultHighest, Binding: binding, Signature: o.Signature, MaxSize: o.MaxSize, Lock: o.Lock, Now: o.Created, NoViews: true, Progress: o.Progress,
		},
		From: o.From, Requests: slices.Clone(o.Requests),
	}
	if o.Locked != nil {
		_, err := r.InstallLocked(ctx, options, o.LockName, o.Locked)
		return err
	}
	more, err := o.more(ctx, r)
	if err != nil {
		return err
	}
	options.Requests = append(options.Requests, more...)
	_, err = r.Install(ctx, options)
	return err
}

// shells are the packages with the shell that a system of a format has as /bin/sh, and utilities with what
// scripts may call without saying so (Debian's Policy, 3.8, of essential packages, as far as they are programs of users).
var (
	shells    = map[pkginfo.Format]string{"deb": "dash", "rpm": "bash"}
	utilities = map[pkginfo.Format][]string{
		"deb": {"bash", "coreutils", "diffutils", "findutils", "grep", "gzip", "hostname", "mawk", "sed", "tar"},
		"rpm": {"coreutils", "diffutils", "findutils", "gawk", "grep", "gzip", "hostname", "sed", "tar"},
	}
)

// more returns the packages that With asks for.
func (o *Options) more(ctx context.Context, r *repo.Repo) ([]repo.Request, error) {
	var names []string
	if o.With.Certificates {
		names = append(names, "ca-certificates")
	}
	if o.With.TimeZones {
		names = append(names, "tzdata")
	}
	if o.With.Shell || o.With.Utilities {
		sources, err := r.Release(ctx, o.From)
		if err != nil {
			return nil, err
		}
		names = append(names, shells[sources[0].Format])
		if o.With.Utilities {
			names = append(names, utilities[sources[0].Format]...)
		}
	}
	var requests []repo.Request
	for _, name := range names {
		if !slices.ContainsFunc(o.Requests, func(q repo.Request) bool { return q.Name == name }) {
			requests = append(requests, repo.Request{Name: name})
		}
	}
	return requests, nil
}

// bill returns the bill of materials of what was installed.
func (o *Options) bill(ctx context.Context, root *sysroot.Root) ([]byte, error) {
	all, err := relations.Open(ctx, root, false)
	if err != nil {
		return nil, err
	}
	b, err := all.Bill(ctx, o.Tool)
	if err != nil {
		return nil, err
	}
	b.Name = "image of hashpkg"
	text, err := sbom.SPDX(b)
	if err != nil {
		return nil, fmt.Errorf("write the bill of materials: %v", err)
	}
	return append(text, '\n'), nil
}

// newRoot is a new root below the cache, which lends it what was fetched before.
type newRoot struct {
	cache, prefix string
	platform      v1.Platform
	dir           *scratch.Scratch
	root          *sysroot.Root
}

// makeRoot makes a root for a platform.
func makeRoot(cache, prefix string, platform v1.Platform, formats backends.Formats) (*newRoot, error) {
	roots := filepath.Join(cache, "roots")
	if err := os.MkdirAll(roots, 0o755); err != nil {
		return nil, cacheHint(err)
	}
	dir, err := scratch.Dir(roots, "root-")
	if err != nil {
		return nil, cacheHint(err)
	}
	s := &newRoot{cache: cache, dir: dir, platform: platform, prefix: prefix}
	if err := s.fill(formats); err != nil {
		return nil, errors.Join(cacheHint(err), s.remove())
	}
	return s, nil
}

func cacheHint(err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return advice.Errorf("open the cache of images: %w; name a directory of yours with --cache", err)
	}
	return fmt.Errorf("open the cache of images: %w", err)
}

// machines says what programs of an architecture are like, by the words of images.
var machines = map[string]elfedit.Closure{
	"amd64":   {Class: elf.ELFCLASS64, Data: elf.ELFDATA2LSB, Machine: elf.EM_X86_64},
	"arm64":   {Class: elf.ELFCLASS64, Data: elf.ELFDATA2LSB, Machine: elf.EM_AARCH64},
	"arm":     {Class: elf.ELFCLASS32, Data: elf.ELFDATA2LSB, Machine: elf.EM_ARM, Flags: 0x5000400},
	"386":     {Class: elf.ELFCLASS32, Data: elf.ELFDATA2LSB, Machine: elf.EM_386},
	"ppc64le": {Class: elf.ELFCLASS64, Data: elf.ELFDATA2LSB, Machine: elf.EM_PPC64, Flags: 2},
	"riscv64": {Class: elf.ELFCLASS64, Data: elf.ELFDATA2LSB, Machine: elf.EM_RISCV, Flags: 5},
	"s390x":   {Class: elf.ELFCLASS64, Data: elf.ELFDATA2MSB, Machine: elf.EM_S390},
	"loong64": {Class: elf.ELFCLASS64, Data: elf.ELFDATA2LSB, Machine: elf.EM_LOONGARCH, Flags: 0x43},
}

// fill puts into a new root what says for which architecture it is, and what was fetched before.
func (s *newRoot) fill(formats backends.Formats) error {
	machine, ok := machines[s.platform.Architecture]
	if !ok {
		return fmt.Errorf("images for %s cannot be made", s.platform.Architecture)
	}
	// A root is of the architecture of its shell: this one has nothing but a header.
	program, err := machine.Bytes()
	if err != nil {
		return err
	}
	bin := filepath.Join(s.dir.Path, "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(bin, "bash"), program, 0o755); err != nil {
		return err
	}
	for _, l := range s.lent() {
		if err := linkAll(l.cache, l.root); err != nil {
			return err
		}
	}
	s.root, err = sysroot.Open(s.dir.Path, s.prefix, formats)
	return err
}

// lent is a directory of the cache, and the one of the root that has the same files.
type lent struct{ cache, root string }

func (s *newRoot) lent() []lent {
	private := filepath.Join(s.dir.Path, s.prefix, ".hashpkg")
	return []lent{
		{filepath.Join(s.cache, "packages"), filepath.Join(private, "cache")},
		{filepath.Join(s.cache, "sources-"+s.platform.Architecture), filepath.Join(private, "sources")},
	}
}

// keep takes what the root has fetched into the cache.
func (s *newRoot) keep() error {
	for _, l := range s.lent() {
		if err := linkAll(l.root, l.cache); err != nil {
			return fmt.Errorf("keep what was fetched: %w", err)
		}
	}
	return nil
}

// linkAll makes each file below from a file below to as well. Nobody writes to them: what is new is another file,
// which takes the name.
func linkAll(from, to string) error {
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	return filepath.WalkDir(from, func(p string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, p)
		if err != nil {
			return err
		}
		at := filepath.Join(to, rel)
		switch {
		case e.IsDir():
			return os.MkdirAll(at, 0o755)
		case !e.Type().IsRegular() || rel == "lock" || strings.HasSuffix(rel, ".part") || strings.HasPrefix(e.Name(), "."):
			return nil
		}
		return replaceLink(p, at)
	})
}

// replaceLink makes one file another one's name, in place of what has it.
func replaceLink(from, to string) error {
	temp := filepath.Join(filepath.Dir(to), beneath.TempName())
	if err := os.Link(from, temp); err != nil {
		return err
	}
	if err := os.Rename(temp, to); err != nil {
		return errors.Join(err, os.Remove(temp))
	}
	// Two names of one file stay both when one is renamed to the other (rename(2)).
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// remove removes the root.
func (s *newRoot) remove() error {
	var errs []error
	if s.root != nil {
		errs = append(errs, s.root.Close())
	}
	return errors.Join(append(errs, s.dir.Close())...)
}
