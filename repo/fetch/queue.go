package fetch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"slices"
	"sync"
)

// Job is a file for [Client.FetchAll].
type Job struct {
	Request
	// Open returns the file to fetch into, as for [Client.Fetch]. It is called when the
	// job's turn has come, and the file is closed when it is done.
	Open func() (*os.File, error)
	// Progress is as in [Client.Fetch]; jobs call theirs at the same time. May be nil.
	Progress func(n int64)
}

// FetchAll fetches many files, as many at a time as [Options] allow, and yields the
// number of each job in jobs when its file is closed, with its error. A job that fails
// does not keep the others from going on; who breaks out of the loop does, and the loop
// has ended when nothing is written any more.
//
// Of one host the largest files come first, so that none is left over in the end that
// comes by itself over a single connection.
func (c *Client) FetchAll(ctx context.Context, jobs []Job) iter.Seq2[int, error] {
	return func(yield func(int, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		results := make(chan result, len(jobs))
		total := make(chan struct{}, c.Total)
		var workers sync.WaitGroup
		defer workers.Wait()
		defer cancel()
		for _, queue := range c.queues(jobs) {
			next := make(chan int, len(queue))
			for _, i := range queue {
				next <- i
			}
			close(next)
			for range min(c.PerHost, len(queue)) {
				workers.Go(func() {
					for i := range next {
						total <- struct{}{}
						results <- result{i, c.do(ctx, jobs[i])}
						<-total
					}
				})
			}
		}
		for range jobs {
			if r := <-results; !yield(r.job, r.err) {
				return
			}
		}
	}
}

type result struct {
	job int
	err error
}

func (c *Client) do(ctx context.Context, j Job) error {
	if ctx.Err() != nil {
		return fmt.Errorf("fetch %s: %w", j.Name, ctx.Err())
	}
	f, err := j.Open()
	if err != nil {
		return fmt.Errorf("fetch %s: %w", j.Name, err)
	}
	err = c.Fetch(ctx, j.Request, f, j.Progress)
	if e := f.Close(); e != nil {
		err = errors.Join(err, fmt.Errorf("fetch %s: %w", j.Name, e))
	}
	return err
}

// queues returns the numbers of the jobs for each host, in the order in which they are
// done. A job without a good address is in one of them, and fails there.
func (c *Client) queues(jobs []Job) [][]int {
	var hosts []string
	queues := map[string][]int{}
	for i, j := range jobs {
		host := ""
		if t, err := c.newTransfer(j.Request); err == nil {
			host = serverName(t.mirrors[0].url)
		}
		if queues[host] == nil {
			hosts = append(hosts, host)
		}
		queues[host] = append(queues[host], i)
	}
	var all [][]int
	for _, host := range hosts {
		q := queues[host]
		slices.SortStableFunc(q, func(a, b int) int { return cmp.Compare(jobs[b].Size, jobs[a].Size) })
		all = append(all, q)
	}
	return all
}
