package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

// TestLink has four connections echo through a link: all bytes come back as they were, and not sooner than the
// line can carry them.
func TestLink(t *testing.T) {
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				if _, err := io.Copy(c, c); err != nil {
					t.Error(err)
				}
			}()
		}
	}()
	const connections, each, rate, delay = 4, 500_000, 10e6, 20 * time.Millisecond
	l, err := newLink(context.Background(), listener.Addr().String(), rate, delay)
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	var all errgroup.Group
	for i := range connections {
		all.Go(func() error {
			said := make([]byte, each)
			rand.NewChaCha8([32]byte{byte(i)}).Read(said)
			c, err := new(net.Dialer).DialContext(t.Context(), "tcp", l.address())
			if err != nil {
				return err
			}
			defer c.Close()
			var writing errgroup.Group
			writing.Go(func() error {
				_, err := c.Write(said)
				return errors.Join(err, c.(*net.TCPConn).CloseWrite())
			})
			heard, err := io.ReadAll(c)
			if err == nil && !bytes.Equal(heard, said) {
				t.Errorf("connection %d heard %d bytes, others than it has said", i, len(heard))
			}
			return errors.Join(err, writing.Wait())
		})
	}
	if err := all.Wait(); err != nil {
		t.Error(err)
	}
	took := time.Since(start)
	if least := time.Duration(connections*each/rate*float64(time.Second)) + 4*delay - burst; took < least {
		t.Errorf("it took %s, and the line needs %s", took, least)
	}
	if err := l.close(); err != nil {
		t.Error(err)
	}
	if up, down := l.up.came.Load(), l.down.came.Load(); up != connections*each || down != up {
		t.Errorf("%d bytes went up, and %d down", up, down)
	}
}
