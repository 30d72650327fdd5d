package rpm

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"

	"github.com/hashpkg/hashpkg/backends"
)

// databaseProgram exports databases since rpm 4.14 (rpmdb(8), --exportdb).
const databaseProgram = "rpmdb"

// exportPackages reads a database through the rpm of this machine, which may know
// its format. reason says why that is needed, and is returned if it cannot be done.
//
// rpm is given a copy. It would write beside the original, in a root that may be
// another machine's, and would need to be root for a root that is not "/".
func exportPackages(ctx context.Context, d *database, reason error) (all []*Installed, err error) {
	program, err := exec.LookPath(databaseProgram)
	if err != nil {
		return nil, fmt.Errorf("%w; install rpm, which may know it", reason)
	}
	dir, err := os.MkdirTemp("", "hashpkg-rpmdb-")
	if err != nil {
		return nil, fmt.Errorf("%w; copy it for rpm: %v", reason, err)
	}
	defer func() {
		if removeErr := os.RemoveAll(dir); removeErr != nil && err == nil {
			all, err = nil, removeErr
		}
	}()
	if err := copyDatabase(dir, d.root, path.Dir(d.file)); err != nil {
		return nil, fmt.Errorf("%w; copy it for rpm: %v", reason, err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, "--dbpath", dir, "--exportdb")
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8")
	var messages bytes.Buffer
	cmd.Stderr = &messages
	output, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("%w; rpm was asked: %v", reason, err)
	}
	exported, readErr := readExport(output)
	if readErr != nil {
		cancel()
	}
	waitErr := cmd.Wait()
	switch message, _, _ := strings.Cut(strings.TrimSpace(messages.String()), "\n"); {
	case ctx.Err() != nil && readErr == nil:
		return nil, ctx.Err()
	case readErr != nil:
		return nil, fmt.Errorf("%w; rpm was asked: %v", reason, readErr)
	case waitErr != nil || len(exported) == 0: // rpm takes a format that it does not know for an empty database
		return nil, fmt.Errorf("%w; rpm was asked, and found no packages: %s", reason, message)
	}
	return exported, nil
}

// maxCopied bounds the files of a database that are copied, in bytes. Those of a large
// system have some hundred megabytes; a sparse file of an image could fill the disk.
const maxCopied = 4 << 30

// copyDatabase copies the files of a directory of the root.
func copyDatabase(to string, root backends.Root, from string) error {
	entries, err := root.ReadDir(from)
	if err != nil {
		return err
	}
	left := int64(maxCopied)
	for _, e := range entries {
		if e.Type().IsRegular() {
			n, err := copyFile(filepath.Join(to, e.Name()), root, path.Join(from, e.Name()), left)
			if err != nil {
				return err
			}
			left -= n
		}
	}
	return nil
}

// copyFile copies a file of the root of at most limit bytes, and returns how many it
// has.
func copyFile(to string, root backends.Root, from string, limit int64) (n int64, err error) {
	r, err := backends.OpenRegular(root, from, limit)
	if err != nil {
		return 0, err
	}
	defer r.Close()
	w, err := os.Create(to)
	if err != nil {
		return 0, err
	}
	n, err = io.Copy(w, io.LimitReader(r, limit))
	return n, errors.Join(err, w.Close())
}

// readExport reads headers with their magic, one after another.
func readExport(r io.Reader) ([]*Installed, error) {
	var c collection
	for number := 1; ; number++ {
		var b bytes.Buffer
		if err := fill(&b, r, introSize, partHeader); err != nil {
			if b.Len() == 0 && errors.Is(err, io.ErrUnexpectedEOF) {
				return c.packages(), nil
			}
			return nil, err
		}
		intro := b.Bytes()
		entries, size := int64(binary.BigEndian.Uint32(intro[8:])), int64(binary.BigEndian.Uint32(intro[12:]))
		if string(intro[:len(headerMagic)]) != headerMagic || entries > maxHeaderEntries || size > maxInstalledStore {
			return nil, errorIn(partHeader, "header %d of the export is none", number)
		}
		if err := fill(&b, r, entries*entrySize+size, partHeader); err != nil {
			return nil, err
		}
		if err := c.add(0, b.Bytes()[len(headerMagic):]); err != nil {
			return nil, err
		}
	}
}
