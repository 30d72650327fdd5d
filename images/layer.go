package images

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/gzip"
	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/internal/advice"
	"github.com/hashpkg/hashpkg/internal/beneath"
)

// compressor names what packs layers, as a part of what they are known by.
const compressor = "klauspost gzip 5"

// maxLayerRecord bounds the record of a layer in the cache.
const maxLayerRecord = 1 << 12

// layerLife is how long a layer is kept of which no image is made.
const layerLife = 90 * 24 * time.Hour

// Layers keeps layers that were made, by what they are made from, in a directory.
type Layers struct{ dir *beneath.Dir }

// OpenLayers returns the layers in a directory of this machine, which is made where it is missing.
// It is one of a cache, which nobody but the caller and root may write to: what is in it goes into images.
// The caller closes it.
func OpenLayers(dir string) (*Layers, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("open the cache of layers: %w", err)
	}
	for _, d := range []string{filepath.Dir(dir), dir} {
		if err := checkOwn(d); err != nil {
			return nil, fmt.Errorf("open the cache of layers: %w", err)
		}
	}
	d, err := beneath.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("open the cache of layers: %w", err)
	}
	l := &Layers{d}
	if err := l.forget(time.Now().Add(-layerLife)); err != nil {
		return nil, errors.Join(fmt.Errorf("open the cache of layers: %w", err), d.Close())
	}
	return l, nil
}

// forget removes what was not used since then: layers, their records, and what a run that was killed has left.
func (l *Layers) forget(since time.Time) error {
	entries, err := l.dir.ReadDir(".")
	if err != nil {
		return err
	}
	for _, e := range entries {
		st, err := l.dir.Lstat(e.Name())
		if errors.Is(err, fs.ErrNotExist) || err == nil && (st.Mode&unix.S_IFMT != unix.S_IFREG || time.Unix(st.Mtim.Unix()).After(since)) {
			continue
		}
		if err == nil {
			err = l.dir.RemoveIfThere(e.Name())
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// use notes that a file is used today.
func (l *Layers) use(name string) error {
	now := unix.NsecToTimespec(time.Now().UnixNano())
	return l.dir.SetTimes(name, [2]unix.Timespec{now, now})
}

// checkOwn returns an error for a directory that others may write to.
func checkOwn(dir string) error {
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return &fs.PathError{Op: "stat", Path: dir, Err: err}
	}
	if st.Uid != 0 && int(st.Uid) != os.Geteuid() {
		return advice.Errorf("%s belongs to another user, who could put anything into images; name a directory of your own with --cache", dir)
	}
	if st.Mode&0o022 != 0 {
		return advice.Errorf("others may write to %s, and put anything into images; take that from them (chmod go-w), or name another directory with --cache", dir)
	}
	return nil
}

// Close closes the directory.
func (l *Layers) Close() error { return l.dir.Close() }

// layerRecord is what is known of a layer.
type layerRecord struct {
	Digest string `json:"digest"`  // SHA-256 of the layer, in hexadecimal
	DiffID string `json:"diff_id"` // the same of what it unpacks to
	Size   int64  `json:"size"`    // of the layer
}

// layer is a layer in the cache. It implements [v1.Layer].
type layer struct {
	layers *Layers
	name   string // of its file
	layerRecord
}

// Digest implements [v1.Layer].
func (l *layer) Digest() (v1.Hash, error) {
	return v1.Hash{Algorithm: "sha256", Hex: l.layerRecord.Digest}, nil
}

// DiffID implements [v1.Layer].
func (l *layer) DiffID() (v1.Hash, error) {
	return v1.Hash{Algorithm: "sha256", Hex: l.layerRecord.DiffID}, nil
}

// Size implements [v1.Layer].
func (l *layer) Size() (int64, error) { return l.layerRecord.Size, nil }

// MediaType implements [v1.Layer].
func (l *layer) MediaType() (types.MediaType, error) { return types.OCILayer, nil }

// Compressed implements [v1.Layer]. Bytes that are not those of the digest are an error at their end.
func (l *layer) Compressed() (io.ReadCloser, error) {
	f, _, err := l.layers.dir.OpenRegular(l.name)
	if err != nil {
		return nil, fmt.Errorf("read a layer: %w", err)
	}
	return &verified{f, sha256.New(), l.layerRecord.Digest}, nil
}

// Uncompressed implements [v1.Layer].
func (l *layer) Uncompressed() (io.ReadCloser, error) {
	c, err := l.Compressed()
	if err != nil {
		return nil, err
	}
	z, err := gzip.NewReader(bufio.NewReader(c))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("read a layer: %w", err), c.Close())
	}
	return &unpacked{&verified{io.NopCloser(z), sha256.New(), l.layerRecord.DiffID}, c}, nil
}

type unpacked struct {
	io.Reader
	io.Closer
}

// verified reads what has a digest.
type verified struct {
	io.ReadCloser
	hash hash.Hash
	want string
}

func (v *verified) Read(b []byte) (int, error) {
	n, err := v.ReadCloser.Read(b)
	v.hash.Write(b[:n])
	if err == io.EOF && hex.EncodeToString(v.hash.Sum(nil)) != v.want {
		err = errors.New("read a layer: its bytes have changed since it was made; remove the cache (--cache), and make the image again")
	}
	return n, err
}

// make returns the layer with these entries, which are complete. One that was made before is not made again.
func (l *Layers) make(ctx context.Context, entries []entry, objects Objects) (*layer, error) {
	name := key(entries).String()
	if have, ok := l.find(name); ok {
		return have, nil
	}
	temp := beneath.TempName()
	f, err := l.dir.OpenFile(temp, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, 0o644)
	if err != nil {
		return nil, fmt.Errorf("make a layer: %w", err)
	}
	made := &layer{layers: l, name: name + ".tar.gz"}
	err = errors.Join(made.write(ctx, f, entries, objects), f.Close())
	if err == nil {
		err = l.dir.Rename(l.dir, temp, made.name)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make a layer: %w", err), l.dir.RemoveIfThere(temp))
	}
	b, err := json.Marshal(made.layerRecord)
	if err != nil {
		return nil, fmt.Errorf("make a layer: %v", err)
	}
	if err := l.dir.WriteFile(name+".json", b, 0o644); err != nil {
		return nil, fmt.Errorf("make a layer: %w", err)
	}
	return made, nil
}

// find returns a layer that is there. Its bytes are compared with the digest when they are read.
func (l *Layers) find(name string) (*layer, bool) {
	have := &layer{layers: l, name: name + ".tar.gz"}
	b, err := l.dir.ReadFile(name+".json", maxLayerRecord)
	if err != nil || json.Unmarshal(b, &have.layerRecord) != nil {
		return nil, false // it is made again
	}
	st, err := l.dir.Lstat(have.name)
	if err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG || st.Size != have.layerRecord.Size {
		return nil, false
	}
	return have, l.use(name+".json") == nil && l.use(have.name) == nil
}

// write writes a layer to w.
func (l *layer) write(ctx context.Context, w io.Writer, entries []entry, objects Objects) error {
	packed, plain := &summed{w: w, hash: sha256.New()}, &summed{hash: sha256.New()}
	buffered := bufio.NewWriterSize(packed, 1<<18)
	z, err := gzip.NewWriterLevel(buffered, 5)
	if err != nil {
		return err
	}
	plain.w = z
	if err := writeTar(&whileWanted{ctx, plain}, entries, objects); err != nil {
		return err
	}
	if err := errors.Join(z.Close(), buffered.Flush()); err != nil {
		return err
	}
	l.layerRecord = layerRecord{packed.sum(), plain.sum(), packed.n}
	return nil
}

// summed hashes and counts what is written.
type summed struct {
	w    io.Writer
	hash hash.Hash
	n    int64
}

func (s *summed) Write(b []byte) (int, error) {
	n, err := s.w.Write(b)
	s.hash.Write(b[:n])
	s.n += int64(n)
	return n, err
}

func (s *summed) sum() string { return hex.EncodeToString(s.hash.Sum(nil)) }

// whileWanted writes until its context ends.
type whileWanted struct {
	ctx context.Context
	w   io.Writer
}

func (w *whileWanted) Write(b []byte) (int, error) {
	if err := context.Cause(w.ctx); err != nil {
		return 0, err
	}
	return w.w.Write(b)
}
