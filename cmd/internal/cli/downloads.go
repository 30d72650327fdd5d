package cli

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/hashpkg/hashpkg/transaction"
)

// downloads tells how far many downloads have come: on a terminal with a line of
// progress, which goes on changing when nothing comes; elsewhere with a line for each
// file that is there.
type downloads struct {
	app  *app
	line *progress

	mu    sync.Mutex
	state downloadState

	stop    chan struct{}
	stopped sync.WaitGroup
}

// newDownloads begins to show downloads of files with so many bytes each, -1 where that
// is not known. The caller ends it.
func (a *app) newDownloads(sizes []int64) *downloads {
	d := &downloads{app: a, line: a.newProgress(), state: newDownloadState(sizes), stop: make(chan struct{})}
	if d.line.terminal == nil && d.line.json == nil {
		return d
	}
	d.stopped.Go(func() {
		tick := time.NewTicker(redraw)
		defer tick.Stop()
		for {
			select {
			case <-d.stop:
				return
			case now := <-tick.C:
				d.mu.Lock()
				text, fields := d.state.text(now), d.state.fields()
				d.mu.Unlock()
				d.line.tell(fields, text)
			}
		}
	})
	return d
}

// Progress returns what to call with how many bytes of a file there are: first those
// from before.
func (d *downloads) Progress(file int) func(n int64) {
	return func(n int64) {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.state.set(file, n)
	}
}

// Finished counts a file that is there. name is what people call it.
func (d *downloads) Finished(file int, name string) {
	d.mu.Lock()
	d.state.done++
	n := max(0, d.state.have[file])
	done, total := int64(d.state.done), int64(len(d.state.have))
	d.mu.Unlock()
	switch {
	case d.line.json != nil:
		d.line.tell(progressFields{Phase: "fetched", Done: done, Total: &total, Unit: "files", Item: name}, "")
	case d.line.terminal == nil && d.app.progress != progressNone:
		d.app.notice("fetched %s (%s)\n", name, humanSize(n))
	}
}

// End takes the line away.
func (d *downloads) End() {
	close(d.stop)
	d.stopped.Wait()
	d.line.end()
}

// downloadState is how far downloads have come.
type downloadState struct {
	have     []int64 // bytes of each file that are there; -1 before that is known
	total    int64   // bytes of all files; -1 if that is not known
	done     int     // files
	sum      int64   // bytes of all files that are there
	received int64   // bytes that came, those that were dropped again too
	rate     rate
}

func newDownloadState(sizes []int64) downloadState {
	s := downloadState{have: make([]int64, len(sizes))}
	for i, n := range sizes {
		s.have[i] = -1
		if s.total < 0 || n < 0 {
			s.total = -1
		} else {
			s.total += n
		}
	}
	return s
}

func (s *downloadState) set(file int, n int64) {
	before := s.have[file]
	if before < 0 {
		before = n // what is there has not come now
		s.sum += n
	}
	if n > before {
		s.received += n - before
	}
	s.sum += n - before
	s.have[file] = n
}

// fields are the line for programs.
func (s *downloadState) fields() progressFields {
	f := progressFields{Phase: "fetching", Done: s.sum, Unit: transaction.UnitBytes}
	if total := s.total; total >= 0 {
		f.Total = &total
	}
	return f
}

// text is the line for people.
func (s *downloadState) text(now time.Time) string {
	s.rate.add(now, s.received)
	var b strings.Builder
	fmt.Fprintf(&b, "fetching %d of %d files, %s", s.done, len(s.have), humanSize(s.sum))
	if s.total >= 0 {
		fmt.Fprintf(&b, " of %s", humanSize(s.total))
	}
	perSecond, ok := s.rate.perSecond()
	if !ok {
		return b.String()
	}
	fmt.Fprintf(&b, ", %s/s", humanSize(int64(perSecond)))
	if rest := s.total - s.sum; s.total >= 0 && rest > 0 && perSecond >= 1 {
		fmt.Fprintf(&b, ", %s left", roundDuration(time.Duration(min(float64(rest)/perSecond, 1e6)*float64(time.Second))))
	}
	return b.String()
}

// roundDuration says about how long something takes.
func roundDuration(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%d s", max(1, int(d.Seconds()+0.5)))
	case d < 100*time.Minute:
		return fmt.Sprintf("%d min", int(d.Minutes()+0.5))
	}
	return fmt.Sprintf("%d h", int(d.Hours()+0.5))
}

// rate is how much came in the last seconds.
type rate struct{ samples []sample }

type sample struct {
	at       time.Time
	received int64
}

// What came longer ago says little about what will come.
const rateWindow = 10 * time.Second

func (r *rate) add(now time.Time, received int64) {
	r.samples = append(r.samples, sample{now, received})
	old := 0
	for now.Sub(r.samples[old].at) > rateWindow {
		old++
	}
	r.samples = r.samples[old:]
}

// perSecond returns the rate in bytes, once there is a second to judge by.
func (r *rate) perSecond() (float64, bool) {
	if len(r.samples) == 0 {
		return 0, false
	}
	first, last := r.samples[0], r.samples[len(r.samples)-1]
	d := last.at.Sub(first.at)
	if d < time.Second {
		return 0, false
	}
	return float64(last.received-first.received) / d.Seconds(), true
}
