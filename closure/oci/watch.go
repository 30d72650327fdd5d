package oci

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// stall is for how long nothing may come.
const stall = time.Minute

var errStalled = fmt.Errorf("nothing came for %s", stall)

// watched ends what does not go on.
type watched struct {
	ctx   context.Context
	timer *time.Timer
}

// watch returns a context that ends when nothing comes for too long, and what ends the watch.
func watch(ctx context.Context) (*watched, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	timer := time.AfterFunc(stall, func() { cancel(errStalled) })
	return &watched{ctx, timer}, func() {
		timer.Stop()
		cancel(nil)
	}
}

// of returns a reader whose bytes keep the watch quiet.
func (w *watched) of(r io.Reader) io.Reader { return &alive{r, w.timer} }

// explain says that nothing came, where that was why.
func (w *watched) explain(err error) error {
	if err != nil && errors.Is(context.Cause(w.ctx), errStalled) {
		return errStalled
	}
	return err
}

type alive struct {
	io.Reader
	timer *time.Timer
}

func (a *alive) Read(b []byte) (int, error) {
	n, err := a.Reader.Read(b)
	if n > 0 {
		a.timer.Reset(stall)
	}
	return n, err
}
