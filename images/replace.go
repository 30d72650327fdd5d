package images

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	ocilayout "github.com/google/go-containerregistry/pkg/v1/layout"
	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/internal/advice"
	"github.com/hashpkg/hashpkg/internal/scratch"
)

// isWholeLayout reports whether a directory has all that an OCI image layout has, and nothing else.
func isWholeLayout(dir string) bool {
	has, ok := namesOf(dir, func(e fs.DirEntry) bool {
		switch e.Name() {
		case "oci-layout", "index.json":
			return e.Type().IsRegular()
		}
		return e.Name() == "blobs" && e.IsDir()
	})
	if !ok || !has["oci-layout"] || !has["index.json"] {
		return false
	}
	if !has["blobs"] {
		return true
	}
	algorithms, ok := namesOf(filepath.Join(dir, "blobs"), func(e fs.DirEntry) bool { return e.IsDir() })
	for algorithm := range algorithms {
		_, isBlobs := namesOf(filepath.Join(dir, "blobs", algorithm), func(e fs.DirEntry) bool {
			return e.Type().IsRegular() && isHex.MatchString(e.Name())
		})
		ok = ok && isBlobs
	}
	return ok
}

// isHex matches a digest, as blobs have it for a name.
var isHex = regexp.MustCompile(`^[0-9a-f]{64,128}$`)

// isSkopeoDir reports whether a directory has all that one of skopeo's has, and nothing else: signatures, and
// manifests of an index, stand beside the blobs (containers-transports(5)).
func isSkopeoDir(dir string) bool {
	has, ok := namesOf(dir, func(e fs.DirEntry) bool {
		name := e.Name()
		return e.Type().IsRegular() && (name == "version" || name == "manifest.json" || isHex.MatchString(strings.TrimSuffix(name, ".manifest.json")) || isSignature.MatchString(name))
	})
	if !ok || !has["manifest.json"] || !has["version"] {
		return false
	}
	version, err := os.ReadFile(filepath.Join(dir, "version"))
	return err == nil && strings.HasPrefix(string(version), dirVersion)
}

// isSignature matches the names of signatures in a directory of skopeo's.
var isSignature = regexp.MustCompile(`^([0-9a-f]{64}\.)?signature-[0-9]+$`)

// dirVersion begins the file by which a directory of skopeo's is known.
const dirVersion = "Directory Transport Version"

// namesOf returns the names in a directory, and whether it can be read and all are good.
func namesOf(dir string, good func(fs.DirEntry) bool) (map[string]bool, bool) {
	entries, err := os.ReadDir(dir)
	names := map[string]bool{}
	for _, e := range entries {
		names[e.Name()] = true
		if !good(e) {
			return nil, false
		}
	}
	return names, err == nil
}

// replaceDir has write fill a new directory, which then takes the place of the one that is there: see canReplace.
func (p Place) replaceDir(write func(temp string) error) error {
	dir, err := p.canReplace()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	isThere := err == nil
	temp, err := scratch.Dir(filepath.Dir(dir), tempPrefix)
	if err != nil {
		return err
	}
	err = write(temp.Path)
	if err == nil {
		err = publicDir(temp.Path)
	}
	switch {
	case err != nil:
	case isThere:
		err = exchange(temp.Path, dir)
	default:
		err = os.Rename(temp.Path, dir)
	}
	return errors.Join(err, temp.Close())
}

// exchange gives two directories each other's names, or where the file system cannot do that, removes the second one first.
func exchange(a, b string) error {
	err := unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) {
		if err := os.RemoveAll(b); err != nil {
			return err
		}
		return os.Rename(a, b)
	}
	return err
}

// publicDir gives directories and files the modes that they have whatever the umask is.
func publicDir(top string) error {
	return filepath.WalkDir(top, func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.IsDir() {
			return os.Chmod(p, 0o755)
		}
		return os.Chmod(p, 0o644)
	})
}

// replaceFile has write fill a new file, which then takes the place of name.
func replaceFile(name string, write func(f *os.File) error) error {
	if info, err := os.Stat(name); err == nil && !info.Mode().IsRegular() {
		return advice.Errorf("%s is no regular file; name one that is not there", name)
	}
	temp, err := scratch.File(filepath.Dir(name), tempPrefix)
	if err != nil {
		return err
	}
	err = write(temp.File)
	if err == nil {
		err = temp.File.Chmod(0o644)
	}
	if err == nil {
		err = os.Rename(temp.Path, name)
	}
	return errors.Join(err, temp.Close())
}

// canReplace returns where a directory is that an image would replace, behind symbolic links, and an error if that
// would lose anything but an image of the same name.
func (p Place) canReplace() (dir string, err error) {
	dir = filepath.Clean(p.Path)
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return dir, err
	}
	entries, err := os.ReadDir(real)
	switch {
	case err != nil || len(entries) == 0:
		return real, err
	case p.Kind == KindDir && !isSkopeoDir(real), p.Kind == KindOCI && !isWholeLayout(real):
		return real, advice.Errorf("%s is a directory with other files; name one that is not there", p.Path)
	case p.Kind == KindDir:
		return real, nil
	}
	other, err := otherTags(real, p.tag())
	if err == nil && len(other) > 0 {
		err = advice.Errorf("%s has another image (%s), which would be lost; name a directory that is not there, or remove this one first", p.Path, strings.Join(other, ", "))
	}
	return real, err
}

// otherTags returns the tags of a layout but one; the digest of what has none.
func otherTags(dir, tag string) ([]string, error) {
	l, err := ocilayout.FromPath(dir)
	if err != nil {
		return nil, err
	}
	index, err := l.ImageIndex()
	if err != nil {
		return nil, err
	}
	m, err := index.IndexManifest()
	if err != nil {
		return nil, err
	}
	var other []string
	for _, d := range m.Manifests {
		if has := d.Annotations[annotationRef]; has != tag {
			other = append(other, cmp.Or(has, d.Digest.String()))
		}
	}
	return other, nil
}
