package objects

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashpkg/hashpkg/closure"
	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/repo/fetch"
)

// MirrorOptions are what [Mirrors] go by.
type MirrorOptions struct {
	// Dir keeps what came of large files, for the next time.
	Dir *Dir
	// Templates are addresses of files, see [closure.File.Address], the one to be asked first first. Those
	// that files have of their own come after them.
	Templates []string
	// Fetch says how servers are asked; its PerHost is set.
	Fetch fetch.Options
	// Patience is for how long mirrors may send next to nothing before another one is asked as well; 0
	// for 2 s.
	Patience time.Duration
}

// Mirrors are servers that have files by their digests, any of them or none. It is a [Source].
//
// The first mirror is asked for all files at once: those of hashpkg serve by batches, see [EncodeList], and
// others for many single ones at a time. Another mirror is asked for what the first does not have, and beside
// it where that sends nothing. One that lies is left for good.
type Mirrors struct {
	MirrorOptions
	client *fetch.Client

	mu    sync.Mutex
	known map[string]*mirror // by template
}

// mirror is one template.
type mirror struct {
	template string
	lists    string      // where lists are sent to; "" where that cannot be
	noLists  atomic.Bool // it has answered that it knows none
	lied     atomic.Bool
}

const (
	requestsPerHost = 32
	batchesAtOnce   = 3
	batchFiles      = 512
	batchBytes      = 32 << 20

	// The first batches are small, so that their lists fit into what a new connection sends at once.
	firstBatches     = batchesAtOnce
	firstBatchFiles  = 128
	attempts         = 4    // of a batch, in succession, of which nothing comes
	maxFaults        = 3    // of single files, and a mirror is left
	minRate          = 1000 // bytes a second, else another mirror is asked as well
	maxPause         = time.Minute
	pauseBetween     = 200 * time.Millisecond
	patienceOrdinary = 2 * time.Second
)

// NewMirrors returns a source.
func NewMirrors(o MirrorOptions) *Mirrors {
	if o.Patience == 0 {
		o.Patience = patienceOrdinary
	}
	o.Fetch.PerHost = requestsPerHost
	if o.Fetch.Retries == 0 {
		o.Fetch.Retries = 1
	}
	return &Mirrors{MirrorOptions: o, client: fetch.New(o.Fetch), known: map[string]*mirror{}}
}

// Close gives up the connections that are kept.
func (s *Mirrors) Close() { s.client.Close() }

// Name implements [Source].
func (s *Mirrors) Name() string {
	if len(s.Templates) == 1 {
		return "the mirror " + showTemplate(s.Templates[0])
	}
	return "the mirrors"
}

// showTemplate is the server of a template.
func showTemplate(template string) string {
	u, err := url.Parse(strings.NewReplacer("{blake3}", "0", "{sha256}", "0").Replace(template))
	if err != nil {
		return template
	}
	if u.Scheme == "file" {
		return u.Path
	}
	return u.Scheme + "://" + u.Host
}

// mirrorsOf returns the mirrors that may have files, in the order in which to ask them.
func (s *Mirrors) mirrorsOf(wants []Want) []*mirror {
	var templates []string
	seen := map[string]bool{}
	add := func(all []string) {
		for _, t := range all {
			if !seen[t] {
				seen[t] = true
				templates = append(templates, t)
			}
		}
	}
	add(s.Templates)
	for _, w := range wants {
		add(w.From)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []*mirror
	for _, t := range templates {
		m := s.known[t]
		if m == nil {
			m = &mirror{template: t, lists: listsOf(t)}
			s.known[t] = m
		}
		if !m.lied.Load() {
			out = append(out, m)
		}
	}
	return out
}

// listsOf returns where lists of files are sent to for a template.
func listsOf(template string) string {
	base, ok := strings.CutSuffix(template, "/{blake3}")
	if !ok || closure.CheckTemplate(template) != nil || strings.ContainsAny(base, "{}?#") || !strings.HasPrefix(base, "http") {
		return ""
	}
	return base + "/"
}

// Fetch implements [Source].
func (s *Mirrors) Fetch(ctx context.Context, wants []Want, got func(Want, io.Reader) error) error {
	if err := s.Dir.sweepPartial(time.Now()); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r := &round{Mirrors: s, got: got, pending: make(map[digest.Digest]bool, len(wants)), complete: cancel}
	for _, w := range wants {
		r.pending[w.BLAKE3] = true
	}
	mirrors := s.mirrorsOf(wants)
	type result struct {
		mirror *mirror
		err    error
	}
	results := make(chan result, len(mirrors))
	running, started := 0, 0
	next := func() {
		for started < len(mirrors) {
			m := mirrors[started]
			of := r.of(m, wants)
			if started%2 == 1 {
				slices.Reverse(of) // it meets the one before it in the middle
			}
			if started++; len(of) > 0 {
				running++
				go func() { results <- result{m, r.from(ctx, m, of)} }()
				return
			}
		}
	}
	var faults []error
	stalled := time.NewTicker(s.Patience)
	defer stalled.Stop()
	for next(); running > 0; {
		select {
		case done := <-results:
			running--
			var local *LocalError
			switch err := done.err; {
			case err == nil || ctx.Err() != nil && !errors.As(err, &local):
			case errors.As(err, &local):
				cancel()
				for ; running > 0; running-- {
					<-results
				}
				return err
			default:
				err = fmt.Errorf("%s: %w", showTemplate(done.mirror.template), err)
				if warn := s.MirrorOptions.Fetch.Warn; warn != nil && errors.Is(err, ErrWrong) {
					warn(err.Error() + "; it is not asked any more")
				}
				faults = append(faults, err)
			}
			if ctx.Err() == nil {
				next()
			}
		case <-stalled.C:
			if float64(r.came.Swap(0)) < minRate*s.Patience.Seconds() && ctx.Err() == nil {
				next()
			}
		}
	}
	return errors.Join(faults...)
}
