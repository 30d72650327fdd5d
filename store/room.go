package store

import (
	"fmt"
	"io"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	// maxReserve and reserveShare are what [Staging.KeepReserve] leaves of a file
	// system: a part of its size, at most so many bytes.
	maxReserve   = 1 << 30
	reserveShare = 100

	// askEvery is after how many bytes at most the file system is asked again: others
	// write to it as well. With less room it is asked when a part of that is used.
	askEvery = 32 << 20
	askShare = 4
)

// room sees to it that a staging does not fill its file system. Its methods may be
// called by several goroutines at once.
type room struct {
	dir interface{ Fd() int } // nil where nobody asks
	at  string                // the prefix, for messages

	mu       sync.Mutex
	promised int64 // bytes of files that are being written, as far as they are to come
	written  int64 // since the file system was asked
	next     int64 // when so many are written it is asked again
}

// KeepReserve has Add refuse, with an error that wraps [unix.ENOSPC], what would not
// leave a reserve on the store's file system: a hundredth of it, or 1 GiB of a large
// one. A large file is refused before a byte of it is written. The file system is
// asked now, and again as it fills.
func (t *Staging) KeepReserve() error {
	t.room.dir, t.room.at = t.dir, t.store.dir.Name()
	return t.room.ask(0)
}

// ask asks the file system for room for so many bytes more. mu is held, or nobody
// else has the room yet.
func (r *room) ask(more int64) error {
	var st unix.Statfs_t
	if err := unix.Fstatfs(r.dir.Fd(), &st); err != nil {
		return fmt.Errorf("ask %s for its free space: %w", r.at, err)
	}
	r.written, r.next = 0, askEvery
	if st.Blocks == 0 { // one without an end, as a tmpfs may be
		return nil
	}
	block := st.Bsize
	free := int64(min(st.Bavail, uint64(1<<62/block))) * block
	reserve := min(int64(min(st.Blocks, uint64(1<<62/block)))*block/reserveShare, maxReserve)
	if more > free-reserve-r.promised {
		return fmt.Errorf("%w: the file system of %s has %d bytes free, of which %d stay in reserve and %d are for files that are being written, and %d more are needed",
			unix.ENOSPC, r.at, free, reserve, r.promised, more)
	}
	r.next = min(askEvery, (free-reserve)/askShare)
	return nil
}

// take asks for room for a file, which is read through the result. The caller calls
// done when no more of it is written.
func (r *room) take(from io.Reader, size int64) (to io.Reader, done func(), err error) {
	if r.dir == nil {
		return from, func() {}, nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.ask(size); err != nil {
		return nil, nil, err
	}
	r.promised += size
	w := &writing{room: r, from: from, left: size}
	return w, w.done, nil
}

// promise counts a small file that is going to be written, for which settle is called
// then. The file system is not asked for each.
func (r *room) promise(n int64) error {
	if r.dir == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.count(n); err != nil {
		return err
	}
	r.promised += n
	return nil
}

// settle takes back bytes that were promised, and are written or will not be.
func (r *room) settle(n int64) {
	if r.dir == nil {
		return
	}
	r.mu.Lock()
	r.promised -= n
	r.mu.Unlock()
}

// count counts bytes on their way to the disk, and asks now and then. mu is held.
func (r *room) count(n int64) error {
	if r.written += n; r.written < r.next {
		return nil
	}
	return r.ask(0)
}

// writing is a file on its way to the disk.
type writing struct {
	room *room
	from io.Reader
	left int64 // of what was promised
}

func (w *writing) Read(p []byte) (int, error) {
	n, err := w.from.Read(p)
	came := min(int64(n), w.left)
	w.left -= came
	w.room.mu.Lock()
	defer w.room.mu.Unlock()
	w.room.promised -= came
	if full := w.room.count(int64(n)); full != nil {
		return n, full
	}
	return n, err
}

func (w *writing) done() { w.room.settle(w.left) }
