package fetch

import (
	"context"
	"net/url"
	"slices"
	"strings"
	"time"
)

// host is a machine that is connected to, and what is known of it.
type host struct {
	places  chan struct{} // one for each connection
	paused  time.Time     // it is to be left alone until then
	demoted bool          // it failed, otherwise than by not having a file
}

func (c *Client) host(name string) *host {
	c.mu.Lock()
	defer c.mu.Unlock()
	h := c.hosts[name]
	if h == nil {
		h = &host{places: make(chan struct{}, c.PerHost)}
		c.hosts[name] = h
	}
	return h
}

// peer returns the machine that is connected to for an address: a proxy's where there is
// one. "" is this machine.
func (c *Client) peer(u *url.URL) (string, error) {
	if u.Scheme != "http" && u.Scheme != "https" {
		return "", nil
	}
	proxy, err := c.proxy(u)
	if err != nil {
		return "", err
	}
	if proxy != nil {
		return "proxy " + strings.ToLower(proxy.Host), nil
	}
	return serverName(u), nil
}

// serverName names the server of an address.
func serverName(u *url.URL) string {
	if u.Hostname() == "" {
		return ""
	}
	return strings.ToLower(u.Hostname()) + " " + port(u)
}

// acquire waits for a place at a machine.
func (c *Client) acquire(ctx context.Context, peer string) (release func(), err error) {
	places := c.host(peer).places
	select {
	case places <- struct{}{}:
		return func() { <-places }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// pause returns for how long the host of a mirror is to be left alone.
func (c *Client) pause(m *mirror) time.Duration {
	h := c.host(serverName(m.url))
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Until(h.paused)
}

func (c *Client) setPause(m *mirror, d time.Duration) {
	h := c.host(serverName(m.url))
	c.mu.Lock()
	defer c.mu.Unlock()
	if until := time.Now().Add(d); until.After(h.paused) {
		h.paused = until
	}
}

// demote makes the host of a mirror the last to be tried for files that follow.
func (c *Client) demote(m *mirror) {
	h := c.host(serverName(m.url))
	c.mu.Lock()
	defer c.mu.Unlock()
	h.demoted = true
}

// sortMirrors puts those last whose hosts are demoted.
func (c *Client) sortMirrors(mirrors []*mirror) {
	rank := func(m *mirror) int {
		h := c.host(serverName(m.url))
		c.mu.Lock()
		defer c.mu.Unlock()
		if h.demoted {
			return 1
		}
		return 0
	}
	slices.SortStableFunc(mirrors, func(a, b *mirror) int { return rank(a) - rank(b) })
}
