package hooks

import (
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/hashpkg/hashpkg/internal/mapped"
	"github.com/hashpkg/hashpkg/programs"
	"github.com/hashpkg/hashpkg/sysroot"
)

// ErrPrelink is returned for what prelink does and hashpkg does not.
var ErrPrelink = errors.New("this is hashpkg's answer to debsums, and not prelink: it knows --verify [--md5] FILE")

// Prelink answers debsums as prelink --verify does: with --md5 it writes the MD5 of
// what a file was before it was changed, and its name, otherwise the bytes
// themselves. Of a file that hashpkg has edited these are the packaged bytes, if
// undoing the recorded edit gives them; of any other file they are its own.
func Prelink(root *sysroot.Root, w io.Writer, args []string) error {
	verify, sum, name := false, false, ""
	for _, a := range args {
		switch {
		case a == "--verify" || a == "-y":
			verify = true
		case a == "--md5":
			sum = true
		case name == "" && a != "" && a[0] != '-':
			name = a
		default:
			return ErrPrelink
		}
	}
	if !verify || name == "" {
		return ErrPrelink
	}
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	return mapped.File(f, func(data []byte) error {
		packaged, err := packagedBytes(root, name, data)
		if err != nil {
			return err
		}
		if sum {
			h := md5.Sum(packaged)
			_, err = fmt.Fprintf(w, "%s  %s\n", hex.EncodeToString(h[:]), name)
		} else {
			_, err = w.Write(packaged)
		}
		return err
	})
}

// packagedBytes undoes the recorded edit of a file; one that has none is its own.
func packagedBytes(root *sysroot.Root, name string, data []byte) ([]byte, error) {
	real, err := filepath.EvalSymlinks(name)
	if err == nil {
		real, err = filepath.Abs(real)
	}
	if err == nil {
		real, err = filepath.Rel(root.Dir(), real)
	}
	if err != nil {
		return nil, err
	}
	keys, err := root.EditedPackages()
	if err != nil {
		return nil, err
	}
	for _, key := range keys {
		edits, err := root.Edits(key)
		if err != nil {
			return nil, err
		}
		for _, f := range edits.Files {
			if f.Path != "/"+real {
				continue
			}
			packaged, current, err := programs.Undo(&f, data)
			if err != nil {
				return nil, fmt.Errorf("undo the edit of %s: %w", name, err)
			}
			if current == nil {
				continue
			}
			return packaged, nil
		}
	}
	return data, nil
}
