package fetch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// StatusError is the answer of a server to [Client.Post] that is not 200.
type StatusError struct {
	Code int
	Wait time.Duration // for how long it wants to be left alone, as far as it says
}

func (e *StatusError) Error() string { return statusText(e.Code) }

// Post sends a body of some type to an address of http or https, and returns what the answer has, which
// the caller closes, and the type that the server says it is of: reading it fails when the server has sent nothing for the time of [Options].Stall.
// Redirects are not followed. Nothing of the answer is decoded or verified.
func (c *Client) Post(ctx context.Context, address, contentType string, b []byte) (body io.ReadCloser, answerType string, err error) {
	m, err := newMirror(address)
	if err != nil {
		return nil, "", err
	}
	if m.url.Scheme != "http" && m.url.Scheme != "https" {
		return nil, "", fmt.Errorf("%s: it is no address of http or https", m.name)
	}
	peer, err := c.peer(m.url)
	if err != nil {
		return nil, "", err
	}
	release, err := c.acquire(ctx, peer)
	if err != nil {
		return nil, "", err
	}
	header := http.Header{"User-Agent": {c.UserAgent}, "Accept-Encoding": {"identity"}, "Content-Type": {contentType}}
	w := newWatch(ctx, c.Stall)
	end := func() {
		w.end()
		release()
	}
	req, err := http.NewRequestWithContext(w.ctx, http.MethodPost, m.url.String(), bytes.NewReader(b))
	if err != nil {
		end()
		return nil, "", err
	}
	req.Header = header
	if user, password, ok := c.credentials(m); ok {
		req.SetBasicAuth(user, password)
	}
	w.arm()
	resp, err := c.transport.RoundTrip(req)
	w.disarm()
	if err != nil {
		end()
		if w.stalled() {
			return nil, "", c.stalledError()
		}
		return nil, "", explainTransport(err)
	}
	if resp.StatusCode != http.StatusOK {
		discard(w, resp)
		end()
		return nil, "", &StatusError{resp.StatusCode, retryAfter(resp.Header)}
	}
	return &watched{resp.Body, w, c, end}, resp.Header.Get("Content-Type"), nil
}

func (c *Client) stalledError() error { return fmt.Errorf("it sent nothing for %v", c.Stall) }

// watched is a body that a watch ends.
type watched struct {
	body   io.ReadCloser
	watch  *watch
	client *Client
	end    func()
}

func (b *watched) Read(p []byte) (int, error) {
	b.watch.arm()
	n, err := b.body.Read(p)
	b.watch.disarm()
	switch {
	case err == nil || errors.Is(err, io.EOF):
		return n, err
	case b.watch.stalled():
		return n, b.client.stalledError()
	}
	return n, fmt.Errorf("broken off: %w", shorten(err))
}

// Close frees the place at the host.
func (b *watched) Close() error {
	err := b.body.Close()
	b.end()
	return err
}
