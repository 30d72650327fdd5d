package main

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// link is a line to a server, as a proxy before it: what goes through it, of all connections together, has
// the rate of the line in each direction, and arrives later by its delay. A connection is there after one
// round trip. Packets are not lost, and windows do not have to grow.
type link struct {
	listener net.Listener
	target   string
	rate     float64       // bytes a second, in each direction
	delay    time.Duration // in each direction
	up, down direction
	running  sync.WaitGroup
}

// direction is one half of a link.
type direction struct {
	came atomic.Int64 // bytes

	mu   sync.Mutex
	free time.Time // when the line has sent what was given to it
}

// parcel is some bytes on their way.
type parcel struct {
	bytes   []byte
	arrives time.Time
}

// newLink returns a link to a server, HOST:PORT, which the caller closes.
func newLink(ctx context.Context, target string, rate float64, delay time.Duration) (*link, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	l := &link{listener: listener, target: target, rate: rate, delay: delay}
	l.running.Go(func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return // it was closed
			}
			l.running.Go(func() { l.connect(ctx, c) })
		}
	})
	return l, nil
}

// address is what takes connections in place of the server.
func (l *link) address() string { return l.listener.Addr().String() }

// close takes no more connections, and waits for the end of those that are there.
func (l *link) close() error {
	err := l.listener.Close()
	l.running.Wait()
	return err
}

// connect passes on what two ends say to each other, until both have ended or one has broken off.
func (l *link) connect(ctx context.Context, client net.Conn) {
	defer client.Close()
	server, err := new(net.Dialer).DialContext(ctx, "tcp", l.target)
	if err != nil {
		return // the client sees the end
	}
	defer server.Close()
	stop := context.AfterFunc(ctx, func() { _ = errors.Join(client.Close(), server.Close()) }) // what reads and writes them says so
	defer stop()
	var both sync.WaitGroup
	both.Go(func() { l.carry(&l.up, server, client, time.Now().Add(2*l.delay)) })
	both.Go(func() { l.carry(&l.down, client, server, time.Now()) })
	both.Wait()
}

// maxOnWay is how many parcels of a connection may be on their way; more than the line holds.
const maxOnWay = 1 << 12

// carry passes on what from sends, from a time on. An end, or a failure, is passed on as an end.
func (l *link) carry(d *direction, to, from net.Conn, first time.Time) {
	parcels := make(chan parcel, maxOnWay)
	var arriving sync.WaitGroup
	arriving.Go(func() {
		var failed error
		for p := range parcels {
			time.Sleep(time.Until(p.arrives))
			if failed == nil {
				if _, failed = to.Write(p.bytes); failed != nil {
					_ = from.Close() // so that the other half ends
				}
			}
		}
		if c, ok := to.(*net.TCPConn); ok {
			_ = c.CloseWrite()
		}
	})
	time.Sleep(time.Until(first))
	for {
		b := make([]byte, 16<<10)
		n, err := from.Read(b)
		if n > 0 {
			sent := d.send(n, l.rate)
			parcels <- parcel{b[:n], sent.Add(l.delay)}
			time.Sleep(time.Until(sent)) // so that who sends waits for the line
		}
		if err != nil {
			if !errors.Is(err, io.EOF) {
				_ = to.Close()
			}
			break
		}
	}
	close(parcels)
	arriving.Wait()
}

// burst is for how long a line may have been idle and make up for it: sleeping takes longer than it was asked to.
const burst = 5 * time.Millisecond

// send returns when the line will have sent so many bytes.
func (d *direction) send(n int, rate float64) time.Time {
	d.came.Add(int64(n))
	d.mu.Lock()
	defer d.mu.Unlock()
	if earliest := time.Now().Add(-burst); d.free.Before(earliest) {
		d.free = earliest
	}
	d.free = d.free.Add(time.Duration(float64(n) / rate * float64(time.Second)))
	return d.free
}
