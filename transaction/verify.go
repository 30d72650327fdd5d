package transaction

import (
	"context"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/layout/rewrite"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/backends"
	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/internal/atomicfile"
	"github.com/hashpkg/hashpkg/pkginfo"
	"github.com/hashpkg/hashpkg/sysroot"
)

// SystemVerdict says how the files of the system's packages stand.
type SystemVerdict struct {
	Checked  int             `json:"checked"`
	Pristine int             `json:"pristine"` // are what their packages brought
	Edited   []string        `json:"edited"`   // are that and the recorded edit, nothing else
	Altered  []AlteredReport `json:"altered"`  // by somebody else
	Unknown  int             `json:"unknown"`  // of which the database has no digest
	Config   int             `json:"config"`   // configuration, which is meant to be changed
}

// AlteredReport is one file that is not what its package brought.
type AlteredReport struct {
	Path    string `json:"path"`
	Package string `json:"package"` // "NAME=VERSION"
	What    string `json:"what"`
}

// VerifySystem compares the files of the system's packages, or of those named, with
// the digests in the package managers' databases. Of each edited program it proves
// that undoing the recorded edit gives bytes with that digest.
func VerifySystem(ctx context.Context, root *sysroot.Root, names []string, progress func(done, total int)) (*SystemVerdict, error) {
	packages, err := systemPackages(ctx, root)
	if err != nil {
		return nil, err
	}
	if len(names) > 0 {
		have := map[string]bool{}
		packages = slices.DeleteFunc(packages, func(p *backends.Installed) bool {
			have[p.Name] = true
			return !slices.Contains(names, p.Name)
		})
		for _, n := range names {
			if !have[n] {
				return nil, fmt.Errorf("%w: the system's package manager has no package %s", ErrNotInstalled, n)
			}
		}
	} else if len(packages) == 0 {
		return nil, fmt.Errorf("%w in %s", ErrNoDatabase, root.Dir())
	}
	v := &verifier{root: root, scanner: &scanner{root: root, dirs: map[string]string{}}, total: len(packages), progress: progress}
	v.verdict = SystemVerdict{Edited: []string{}, Altered: []AlteredReport{}}
	inParallel(len(packages), func(i int) {
		if ctx.Err() == nil {
			v.verifyPackage(packages[i])
		}
	})
	if err := errors.Join(ctx.Err(), v.fault); err != nil {
		return nil, err
	}
	slices.Sort(v.verdict.Edited)
	slices.SortFunc(v.verdict.Altered, func(a, b AlteredReport) int { return strings.Compare(a.Path, b.Path) })
	return &v.verdict, nil
}

// verifier compares packages with what is on disk, several at once.
type verifier struct {
	root     *sysroot.Root
	scanner  *scanner
	total    int
	progress func(done, total int)

	mu      sync.Mutex
	done    int
	verdict SystemVerdict
	fault   error
}

func (v *verifier) verifyPackage(p *backends.Installed) {
	entries, err := p.Files()
	edits, editsErr := v.root.Edits(p.Key)
	if err = errors.Join(err, editsErr); err == nil {
		for i := range entries {
			if err = v.verifyFile(p, &entries[i], edits); err != nil {
				break
			}
		}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if err != nil {
		v.fault = errors.Join(v.fault, fmt.Errorf("verify %s: %w", p.Name, err))
	}
	v.done++
	v.progress(v.done, v.total)
}

// verifyFile puts one file of a package into its class.
func (v *verifier) verifyFile(p *backends.Installed, e *pkginfo.Entry, edits *record.PackageEdits) error {
	host, err := v.scanner.host(e.Path)
	if errors.Is(err, unix.ELOOP) {
		host, err = v.root.Dir()+"/"+e.Path, nil // which cannot be opened either, and is told of
	}
	if err != nil {
		return err
	}
	class, what, err := v.classify(e, host, edits)
	if err != nil || class == classNone {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.verdict.Checked++
	switch class {
	case classPristine:
		v.verdict.Pristine++
	case classEdited:
		v.verdict.Edited = append(v.verdict.Edited, v.scanner.inside(host))
	case classConfig:
		v.verdict.Config++
	case classUnknown:
		v.verdict.Unknown++
	case classAltered:
		v.verdict.Altered = append(v.verdict.Altered, AlteredReport{v.scanner.inside(host), p.Name + "=" + p.Version, what})
	}
	return nil
}

// fileClass is what a file of a package is found to be.
type fileClass int

const (
	classNone fileClass = iota // no regular file, or one that need not be there
	classPristine
	classEdited
	classAltered
	classConfig
	classUnknown
)

func (v *verifier) classify(e *pkginfo.Entry, host string, edits *record.PackageEdits) (class fileClass, what string, err error) {
	f, err := os.OpenFile(host, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
	switch {
	case errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR):
		// What is only read by people may be left out of a machine.
		if e.Digest == "" || slices.Contains(e.Flags, "config") || slices.Contains(e.Flags, "ghost") || strings.HasPrefix(e.Path, "usr/share/") {
			return classNone, "", nil
		}
		return classAltered, "is missing", nil
	case errors.Is(err, unix.ELOOP): // a link
		if e.Digest != "" {
			return classAltered, "is a link now", nil
		}
		return classNone, "", nil
	case err != nil:
		return classNone, "", err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return classNone, "", err
	}
	if slices.Contains(e.Flags, "config") || slices.Contains(e.Flags, "ghost") {
		return classConfig, "", nil
	}
	err = atomicfile.MapFile(f, func(data []byte) error {
		class, what, err = classifyBytes(e, v.scanner.inside(host), data, edits)
		return err
	})
	return class, what, err
}

func classifyBytes(e *pkginfo.Entry, path string, data []byte, edits *record.PackageEdits) (fileClass, string, error) {
	known := newHash(strings.SplitN(e.Digest, ":", 2)[0]) != nil
	i := slices.IndexFunc(edits.Files, func(f record.EditedFile) bool { return f.Path == path })
	if i >= 0 {
		if applied := edits.Files[i].With(digest.Of(data)); applied != nil {
			packaged, err := rewrite.Undo(data, applied.Patch, edits.Files[i].Source)
			if errors.Is(err, rewrite.ErrNotPackaged) {
				return classAltered, "undoing its recorded edit does not give the recorded bytes", nil
			}
			if err != nil {
				return classNone, "", err
			}
			if !hasDigest(packaged, e.Digest) {
				return classAltered, "undoing its recorded edit does not give the packaged bytes", nil
			}
			return classEdited, "", nil
		}
	}
	switch {
	case !known:
		return classUnknown, "", nil
	case hasDigest(data, e.Digest):
		return classPristine, "", nil
	case i >= 0:
		return classAltered, "is neither what its package brought nor what hashpkg made of it", nil
	}
	return classAltered, "is not what its package brought", nil
}

// hasDigest reports whether bytes have the digest that a package manager's
// database gives, "algorithm:hex". One that is missing says nothing against them.
func hasDigest(data []byte, want string) bool {
	algorithm, sum, _ := strings.Cut(want, ":")
	h := newHash(algorithm)
	if h == nil {
		return true
	}
	h.Write(data)
	return hex.EncodeToString(h.Sum(nil)) == sum
}

// newHash returns the hash function of a database's digests; nil for one that is
// not known.
func newHash(algorithm string) hash.Hash {
	switch algorithm {
	case "md5":
		return md5.New()
	case "sha1":
		return sha1.New()
	case "sha224":
		return sha256.New224()
	case "sha256":
		return sha256.New()
	case "sha384":
		return sha512.New384()
	case "sha512":
		return sha512.New()
	}
	return nil
}
