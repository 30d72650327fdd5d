package store

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/internal/beneath"
)

// maxBehind is how many small files may wait to be written; each has a buffer.
const maxBehind = 32

// behind writes small files in a goroutine of its own, so that making a file,
// which costs more than hashing it, goes on while the next ones are unpacked and
// hashed. There is one for all packages: two that make files in one directory
// only wait for each other, and spread over directories ext4 takes longer still.
// The goroutine ends when there is nothing to write.
type behind struct {
	mu      sync.Mutex
	room    sync.Cond // its lock is mu: the queue has become shorter
	queue   []*pendingFile
	running bool
	fault   error // the first
	workers sync.WaitGroup
}

// pendingFile is an object whose bytes are known and not yet in its file.
type pendingFile struct {
	dir  *beneath.Dir
	name string
	buf  *[]byte // of copyBuffers
	size int64
	done chan struct{}
	room *room
}

// add takes a file to write, and its buffer; it waits where too many do. It
// returns what any file before failed with.
func (b *behind) add(p *pendingFile) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(b.queue) >= maxBehind {
		b.room.Wait()
	}
	b.queue = append(b.queue, p)
	if !b.running {
		b.running = true
		b.workers.Go(b.run)
	}
	return b.fault
}

func (b *behind) run() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(b.queue) > 0 {
		p := b.queue[0]
		b.queue = b.queue[1:]
		b.room.Signal()
		b.mu.Unlock()
		err := p.write()
		p.room.settle(p.size)
		b.mu.Lock()
		if err != nil && b.fault == nil {
			b.fault = fmt.Errorf("stage file: %w", err)
		}
		copyBuffers.Put(p.buf)
		close(p.done)
	}
	b.running = false
}

func (b *behind) err() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.fault
}

// flush returns when all is written.
func (b *behind) flush() error {
	b.workers.Wait()
	return b.err()
}

// write makes the file by plain system calls: an os.File, which could also be a
// terminal or a pipe, costs as many again.
func (p *pendingFile) write() error {
	const flags = unix.O_WRONLY | unix.O_CREAT | unix.O_EXCL | unix.O_NOFOLLOW | unix.O_CLOEXEC
	fd, err := unix.Openat(p.dir.Fd(), p.name, flags, stagedMode)
	if err != nil {
		return &fs.PathError{Op: "open", Path: p.dir.Path(p.name), Err: err}
	}
	err = writeAll(fd, (*p.buf)[:p.size])
	if err == nil {
		err = unix.Fchmod(fd, objectMode)
	}
	if cerr := unix.Close(fd); err == nil {
		err = cerr
	}
	if err == nil {
		err = p.dir.SetTimes(p.name, objectTimes)
	}
	if err != nil {
		return &fs.PathError{Op: "write", Path: p.dir.Path(p.name), Err: err}
	}
	return nil
}

func writeAll(fd int, b []byte) error {
	for len(b) > 0 {
		n, err := unix.Write(fd, b)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// addSmall stages a file whose bytes are in buf, a buffer of copyBuffers, which
// belongs to it from now on.
func (t *Staging) addSmall(buf *[]byte, size int64) (digest.Digest, int64, error) {
	d := digest.Of((*buf)[:size])
	known, err := t.known(d, size)
	if err != nil || known {
		copyBuffers.Put(buf)
		return d, size, err
	}
	if err := t.room.promise(size); err != nil {
		copyBuffers.Put(buf)
		return d, size, err
	}
	o := &staged{size: size, written: make(chan struct{})}
	t.mu.Lock()
	if t.objects[d] != nil { // since it was looked for
		t.mu.Unlock()
		t.room.settle(size)
		copyBuffers.Put(buf)
		return d, size, nil
	}
	t.next++
	o.name = strconv.Itoa(t.next)
	t.objects[d] = o
	t.mu.Unlock()
	return d, size, t.behind.add(&pendingFile{dir: t.files, name: o.name, buf: buf, size: size, done: o.written, room: &t.room})
}
