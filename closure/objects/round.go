package objects

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/repo/fetch"
)

// round is one call of [Mirrors.Fetch]: what several mirrors bring together.
type round struct {
	*Mirrors
	got      func(Want, io.Reader) error
	complete func() // is called when nothing is pending any more
	came     atomic.Int64

	mu      sync.Mutex
	pending map[digest.Digest]bool
}

func (r *round) isPending(w Want) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.pending[w.BLAKE3]
}

func (r *round) stillPending(wants []Want) []Want {
	return slices.DeleteFunc(slices.Clone(wants), func(w Want) bool { return !r.isPending(w) })
}

// of returns the files that are pending, and that a mirror may have.
func (r *round) of(m *mirror, wants []Want) []Want {
	isOfAll := slices.Contains(r.Templates, m.template)
	return slices.DeleteFunc(r.stillPending(wants), func(w Want) bool { return !isOfAll && !slices.Contains(w.From, m.template) })
}

// take keeps a file that is pending still.
func (r *round) take(w Want, body io.Reader) error {
	if !r.isPending(w) {
		return nil
	}
	if err := r.got(w, body); err != nil {
		return err
	}
	r.mu.Lock()
	delete(r.pending, w.BLAKE3)
	left := len(r.pending)
	r.mu.Unlock()
	if left == 0 {
		r.complete()
	}
	return nil
}

// arriving counts what comes.
type arriving struct {
	r   io.Reader
	of  *round
	err error // of reading
}

func (a *arriving) Read(b []byte) (int, error) {
	n, err := a.r.Read(b)
	a.of.came.Add(int64(n))
	if err != nil && !errors.Is(err, io.EOF) {
		a.err = err
	}
	return n, err
}

// from asks one mirror for files.
func (r *round) from(ctx context.Context, m *mirror, wants []Want) error {
	err := r.ask(ctx, m, wants)
	if errors.Is(err, ErrWrong) {
		m.lied.Store(true)
	}
	return err
}

func (r *round) ask(ctx context.Context, m *mirror, wants []Want) error {
	if m.lists != "" && !m.noLists.Load() {
		tasks, ctx := errgroup.WithContext(ctx)
		tasks.SetLimit(batchesAtOnce)
		for _, b := range batches(wants) {
			tasks.Go(func() error { return r.batch(ctx, m, b) })
		}
		if err := tasks.Wait(); !errors.Is(err, errNoLists) {
			return err
		}
		m.noLists.Store(true)
	}
	var faults atomic.Int32
	tasks, ctx := errgroup.WithContext(ctx)
	tasks.SetLimit(requestsPerHost)
	for _, w := range largestFirst(wants) {
		if ctx.Err() != nil {
			break
		}
		tasks.Go(func() error {
			if ctx.Err() != nil || !r.isPending(w) {
				return ctx.Err()
			}
			err := r.single(ctx, m, w)
			var local *LocalError
			if err == nil || errors.As(err, &local) || errors.Is(err, ErrWrong) || faults.Add(1) >= maxFaults {
				return err
			}
			return nil
		})
	}
	return tasks.Wait()
}

// largestFirst is so that none is left over in the end that comes by itself.
func largestFirst(wants []Want) []Want {
	out := slices.Clone(wants)
	slices.SortStableFunc(out, func(a, b Want) int { return int(min(max(b.Size-a.Size, -1), 1)) })
	return out
}

// batches cuts files into batches.
func batches(wants []Want) [][]Want {
	var out [][]Want
	start, size := 0, int64(0)
	for i, w := range wants {
		limit := batchFiles
		if len(out) < firstBatches {
			limit = firstBatchFiles
		}
		if n := i - start; n == limit || n > 0 && size+w.Size > batchBytes {
			out = append(out, wants[start:i])
			start, size = i, 0
		}
		size += w.Size
	}
	return append(out, wants[start:])
}

// errNoLists is of a mirror that does not know lists.
var errNoLists = errors.New("it knows no lists of files")

// batch has a mirror send files by one request, and by others what is missing where it was broken off.
func (r *round) batch(ctx context.Context, m *mirror, wants []Want) error {
	for failures := 0; ; {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		wants = r.stillPending(wants)
		err := r.once(ctx, m, wants)
		var local *LocalError
		if err == nil || errors.Is(err, errNoLists) || errors.Is(err, ErrWrong) || errors.As(err, &local) {
			return err
		}
		if failures++; len(r.stillPending(wants)) < len(wants) {
			failures = 1
		}
		wait := pauseBetween
		var status *fetch.StatusError
		if errors.As(err, &status) {
			if !isTransient(status.Code) || status.Wait > maxPause {
				return err
			}
			wait = max(wait, status.Wait)
		}
		if failures == attempts {
			return err
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// isTransient reports whether a server that has answered so may answer otherwise soon.
func isTransient(code int) bool {
	switch code {
	case http.StatusTooManyRequests, http.StatusRequestTimeout, http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// once sends one list, of the files of which no part is there, and continues the others.
func (r *round) once(ctx context.Context, m *mirror, wants []Want) (err error) {
	var list []Want
	for _, w := range wants {
		if !r.Dir.hasPartial(w) {
			list = append(list, w)
			continue
		}
		if err := r.single(ctx, m, w); err != nil {
			return err
		}
	}
	if len(list) == 0 {
		return nil
	}
	body, answerType, err := r.client.Post(ctx, m.lists, ListType, EncodeList(list))
	var status *fetch.StatusError
	if errors.As(err, &status) && !isTransient(status.Code) && status.Code != http.StatusUnauthorized && status.Code != http.StatusForbidden {
		return errNoLists
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, body.Close()) }()
	if answerType != BatchType {
		return errNoLists // a page for people, say
	}
	in := &arriving{r: body, of: r}
	err = readBatch(in, list, r.takeResumable)
	var local *LocalError
	if err == nil || in.err != nil || errors.Is(err, ErrWrong) || errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &local) {
		return err
	}
	return fmt.Errorf("its answer is no archive: %v: %w", err, ErrWrong)
}

// takeResumable is take, and what comes of a large file is kept where the rest does not come.
func (r *round) takeResumable(w Want, body io.Reader) (err error) {
	if w.Size < resumable || !r.isPending(w) {
		return r.take(w, body)
	}
	part, err := r.Dir.openPartial(w)
	if err != nil {
		return err
	}
	defer func() { err = part.end(err) }()
	kept, err := part.tee(body)
	if err != nil {
		return err
	}
	return r.take(w, kept)
}

// single asks a mirror for one file. That it does not have it is no error.
func (r *round) single(ctx context.Context, m *mirror, w Want) (err error) {
	address, err := w.Address(m.template)
	if err != nil {
		return err
	}
	request := fetch.Request{URLs: []string{address}, Name: w.Path, Size: w.Size, Limit: max(w.Size, 1), Digest: "sha256:" + w.SHA256.String()}
	if w.Size < resumable {
		b, err := r.client.Get(ctx, request)
		r.came.Add(int64(len(b)))
		if err != nil {
			return judgeSingle(err)
		}
		return r.take(w, bytes.NewReader(b))
	}
	part, err := r.Dir.openPartial(w)
	if err != nil {
		return err
	}
	defer func() { err = judgeSingle(part.end(err)) }()
	had := int64(0)
	err = r.client.Fetch(ctx, request, part.File, func(n int64) {
		r.came.Add(max(0, n-had))
		had = n
	})
	if err != nil {
		return err
	}
	if _, err := part.Seek(0, io.SeekStart); err != nil {
		return &LocalError{err}
	}
	return r.take(w, part.File)
}

// judgeSingle says what an error of a request for one file means here.
func judgeSingle(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case errors.Is(err, fetch.ErrLocal):
		return &LocalError{err}
	case errors.Is(err, fetch.ErrWrong):
		return fmt.Errorf("%w: %w", ErrWrong, err)
	}
	return err
}
