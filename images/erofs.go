package images

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"

	"github.com/hashpkg/hashpkg/internal/advice"
	"github.com/hashpkg/hashpkg/internal/scratch"
)

// mkfsErofs is the program of erofs-utils that makes file systems.
const mkfsErofs = "mkfs.erofs"

// writeErofs makes a file system of what an image's layers come to, without compression, which
// would depend on the compressor's version. The file is open, and gets its bytes by its name.
func writeErofs(ctx context.Context, f *os.File, image v1.Image) (err error) {
	takesTar, err := checkErofs(ctx)
	if err != nil {
		return err
	}
	options, err := erofsOptions(image)
	if err != nil {
		return err
	}
	temp, err := scratch.Dir(filepath.Dir(f.Name()), tempPrefix)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, temp.Close()) }()
	files := mutate.Extract(image)
	defer files.Close()
	source := filepath.Join(temp.Path, "files")
	if takesTar {
		options = append(options, "--tar=f")
		err = writeTop(source, files)
	} else {
		err = unpackTar(ctx, source, files)
	}
	if err != nil {
		return err
	}
	return run(exec.CommandContext(ctx, mkfsErofs, append(options, f.Name(), source)...))
}

// checkErofs is erofsTakesTar, with an error where the caller cannot do without.
func checkErofs(ctx context.Context) (takesTar bool, err error) {
	takesTar, err = erofsTakesTar(ctx)
	if err == nil && !takesTar && os.Geteuid() != 0 {
		err = advice.Errorf("this mkfs.erofs makes file systems of directories only, whose owners only root can set; install erofs-utils 1.7 or later, or run it as root")
	}
	return takesTar, err
}

// erofsTakesTar reports whether file systems can be made of archives (erofs-utils 1.7).
func erofsTakesTar(ctx context.Context) (bool, error) {
	out, err := exec.CommandContext(ctx, mkfsErofs, "--help").CombinedOutput()
	if errors.Is(err, exec.ErrNotFound) {
		return false, advice.Errorf("there is no program mkfs.erofs; install erofs-utils")
	}
	// Some versions call it an error to be asked for help.
	return bytes.Contains(out, []byte("--tar")), nil
}

// erofsOptions are those by which equal images give equal file systems: one time for all
// files, and a UUID of the image's digest (RFC 9562, version 8).
func erofsOptions(image v1.Image) ([]string, error) {
	d, err := image.Digest()
	if err != nil {
		return nil, err
	}
	file, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	id := []byte(d.Hex[:32])
	id[12], id[16] = '8', '8'
	uuid := fmt.Sprintf("%s-%s-%s-%s-%s", id[:8], id[8:12], id[12:16], id[16:20], id[20:])
	return []string{"--quiet", "-T", fmt.Sprint(max(0, file.Created.Unix())), "-U", uuid}, nil
}

// writeTop writes an archive to a new file, with an entry for the directory at the top before it: anybody could
// write to it without one.
func writeTop(name string, archive io.Reader) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	t := tar.NewWriter(f)
	err = t.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: "./", Mode: 0o755, ModTime: entryTime, Format: tar.FormatPAX})
	if err == nil {
		err = t.Flush() // and no end: the archive goes on
	}
	if err == nil {
		_, err = io.Copy(f, archive)
	}
	return errors.Join(err, f.Close())
}

// unpackTar unpacks an archive as root into a new directory, which others can look into, as into
// that of a system.
func unpackTar(ctx context.Context, dir string, archive io.Reader) error {
	if err := errors.Join(os.Mkdir(dir, 0o755), os.Chmod(dir, 0o755)); err != nil {
		return err
	}
	c := exec.CommandContext(ctx, "tar", "--extract", "--file=-", "--directory="+dir, "--numeric-owner", "--preserve-permissions", "--same-owner", "--xattrs", "--xattrs-include=*")
	c.Stdin = archive
	return run(c)
}

// run runs a program in no locale and without a time of its own. The error has what it said last.
func run(c *exec.Cmd) error {
	var said bytes.Buffer
	c.Stdout, c.Stderr = &said, &said
	c.Env = append(os.Environ(), "LC_ALL=C", "SOURCE_DATE_EPOCH=")
	c.WaitDelay = time.Second
	if err := c.Run(); err != nil {
		lines := strings.Split(strings.TrimSpace(said.String()), "\n")
		return fmt.Errorf("%s: %w: %s", c.Args[0], err, lines[len(lines)-1])
	}
	return nil
}
