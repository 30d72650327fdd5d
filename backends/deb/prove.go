package deb

import (
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/backends"
	"github.com/hashpkg/hashpkg/backends/trust"
	"github.com/hashpkg/hashpkg/pkginfo"
)

// aptLists is where apt keeps the indexes of archives.
const aptLists = "/var/lib/apt/lists"

// NewHash returns a hash whose sum is a SHA-256 and, behind it, a SHA-512: archives
// list the one, the other, or both.
func (Format) NewHash() hash.Hash { return &bothHash{sha256.New(), sha512.New()} }

// bothHash is the two digests that prove a deb.
type bothHash struct{ sha256, sha512 hash.Hash }

const bothSize = sha256.Size + sha512.Size

func (h *bothHash) Write(p []byte) (int, error) {
	h.sha256.Write(p)
	return h.sha512.Write(p)
}

func (h *bothHash) Sum(b []byte) []byte { return h.sha512.Sum(h.sha256.Sum(b)) }
func (h *bothHash) Size() int           { return bothSize }
func (h *bothHash) BlockSize() int      { return h.sha512.BlockSize() }
func (h *bothHash) Reset() {
	h.sha256.Reset()
	h.sha512.Reset()
}

// Prove looks debs up in the signed indexes of a directory, as [CheckFiles] does: that
// of the root's apt, with apt's keys, unless the request has others.
func (Format) Prove(ctx context.Context, root backends.Root, request backends.ProofRequest) (proofs []backends.Proof, warnings []string, err error) {
	files := make([]File, len(request.Files))
	for i, f := range request.Files {
		if len(f.Sum) != bothSize {
			return nil, nil, fmt.Errorf("prove %s: its sum has %d bytes, and is not a SHA-256 and a SHA-512", f.Name, len(f.Sum))
		}
		files[i] = File{
			Name: f.Name, Version: f.Version, Architecture: f.Architecture, Size: f.Size,
			SHA256: [sha256.Size]byte(f.Sum), SHA512: [sha512.Size]byte(f.Sum[sha256.Size:]),
		}
	}
	dir, where := fs.FS(rootFS{root, aptLists}), aptLists
	switch _, err := root.Stat(aptLists); {
	case request.Index != "":
		given, err := os.OpenRoot(request.Index)
		if err != nil {
			return nil, nil, fmt.Errorf("read indexes: %w", err)
		}
		defer given.Close()
		dir, where = hostFS{given}, request.Index
	case errors.Is(err, fs.ErrNotExist):
		return allUnproved(len(files), where+": there are no indexes"), nil, nil
	}
	keysOf := func(string) *trust.Keyring { return request.Keys }
	if request.Keys == nil {
		apt, err := readAptKeys(root)
		if err != nil {
			return nil, nil, err
		}
		warnings, keysOf = apt.warnings, apt.of
	}
	found, err := CheckFiles(ctx, dir, files, keysOf)
	if err != nil {
		return nil, nil, err
	}
	for _, p := range found {
		proof := backends.Proof{Signature: pkginfo.Signature{Verdict: pkginfo.Good, Signer: p.Signer}, Differs: p.Differs}
		switch {
		case p.Signer == "":
			proof.Verdict, proof.Reason = pkginfo.Unsigned, where+": "+p.Reason
		case !p.ValidUntil.IsZero() && request.Now.After(p.ValidUntil):
			proof.Reason = fmt.Sprintf("by an index that was to be replaced by %s: that there is no newer version is not said", p.ValidUntil.Format("2006-01-02"))
		}
		proofs = append(proofs, proof)
	}
	return proofs, warnings, nil
}

func allUnproved(n int, reason string) []backends.Proof {
	proofs := make([]backends.Proof, n)
	for i := range proofs {
		proofs[i].Signature = pkginfo.Signature{Verdict: pkginfo.Unsigned, Reason: reason}
	}
	return proofs
}

// hostFS is a directory of this machine.
type hostFS struct{ *os.Root }

func (f hostFS) Open(name string) (fs.File, error) {
	file, err := f.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	return file, nil
}

// rootFS is a directory of a root.
type rootFS struct {
	root backends.Root
	dir  string
}

func (f rootFS) path(op, name string) (string, error) {
	if !fs.ValidPath(name) {
		return "", &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
	}
	if name == "." {
		return f.dir, nil
	}
	return f.dir + "/" + name, nil
}

func (f rootFS) Open(name string) (fs.File, error) {
	p, err := f.path("open", name)
	if err != nil {
		return nil, err
	}
	file, err := f.root.Open(p)
	if err != nil {
		return nil, err
	}
	return file, nil
}

func (f rootFS) ReadDir(name string) ([]fs.DirEntry, error) {
	p, err := f.path("readdir", name)
	if err != nil {
		return nil, err
	}
	return f.root.ReadDir(p)
}

func (f rootFS) Stat(name string) (fs.FileInfo, error) {
	p, err := f.path("stat", name)
	if err != nil {
		return nil, err
	}
	return f.root.Stat(p)
}
