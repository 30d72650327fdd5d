package rpm

import (
	"errors"
	"io"
)

const (
	aheadBlock  = 128 << 10
	aheadBlocks = 6
)

// readAhead reads from r in a goroutine of its own, so that what r does, which is to
// decompress and to hash, goes on while the caller is busy with what it got.
type readAhead struct {
	r      io.Reader
	blocks chan block
	free   chan []byte
	stop   chan struct{}
	done   chan struct{}

	buffer []byte // of the current block, to be given back
	rest   []byte // of the current block, to be read
	err    error  // after that
}

type block struct {
	buffer []byte
	n      int
	err    error
}

func newReadAhead(r io.Reader) *readAhead {
	a := &readAhead{
		r: r, blocks: make(chan block, aheadBlocks), free: make(chan []byte, aheadBlocks),
		stop: make(chan struct{}), done: make(chan struct{}),
	}
	go a.run()
	return a
}

// run fills buffers until r ends or the reader is closed. There are no more of them
// than have room in either channel, so that no sending waits.
func (a *readAhead) run() {
	defer close(a.done)
	for made := 0; ; {
		var buffer []byte
		if made < aheadBlocks && len(a.free) == 0 {
			buffer = make([]byte, aheadBlock)
			made++
		} else {
			select {
			case buffer = <-a.free:
			case <-a.stop:
				return
			}
		}
		b := block{buffer: buffer}
		for b.n < len(buffer) && b.err == nil {
			select {
			case <-a.stop:
				return
			default:
			}
			var n int
			n, b.err = a.r.Read(buffer[b.n:])
			b.n += n
		}
		a.blocks <- b
		if b.err != nil {
			return
		}
	}
}

// Read implements io.Reader. Errors come behind the bytes that were read before
// them, and stay.
func (a *readAhead) Read(p []byte) (int, error) {
	for len(a.rest) == 0 {
		if a.err != nil {
			return 0, a.err
		}
		if a.buffer != nil {
			a.free <- a.buffer
		}
		b := <-a.blocks
		a.buffer, a.rest, a.err = b.buffer, b.buffer[:b.n], b.err
	}
	n := copy(p, a.rest)
	a.rest = a.rest[n:]
	return n, nil
}

// close ends the goroutine. When it returns, r is not in use any more.
func (a *readAhead) close() {
	select {
	case <-a.stop:
	default:
		close(a.stop)
	}
	<-a.done
	if a.err == nil {
		a.rest, a.err = nil, errors.New("read of a closed reader")
	}
}
