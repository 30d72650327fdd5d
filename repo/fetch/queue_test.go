package fetch

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashpkg/hashpkg/internal/testneed"
)

// jobsFor returns jobs for n files of a server, in a new directory, whose sizes differ.
func jobsFor(t testing.TB, url string, n int) (jobs []Job, files map[string][]byte, dir string) {
	files, dir = map[string][]byte{}, t.TempDir()
	for i := range n {
		name := fmt.Sprintf("file%03d", i)
		b := content(1000+(i*7919)%5000, uint32(i))
		files["/"+name] = b
		r := request(b, url+"/"+name)
		r.Name = name
		jobs = append(jobs, Job{Request: r, Open: func() (*os.File, error) {
			return os.OpenFile(filepath.Join(dir, name), os.O_RDWR|os.O_CREATE, 0o644)
		}})
	}
	return jobs, files, dir
}

// TestFetchAll counts the connections of 200 files.
func TestFetchAll(t *testing.T) {
	for _, scheme := range []string{"http", "https"} {
		t.Run(scheme, func(t *testing.T) {
			var open, most, busy, mostBusy atomic.Int64
			var mu sync.Mutex
			var order []string
			var files map[string][]byte
			four := make(chan struct{}) // closed when the first four requests are there
			s := &server{}
			s.Server = httptest.NewUnstartedServer(s.count(func(w http.ResponseWriter, r *http.Request) {
				highest(&mostBusy, busy.Add(1))
				defer busy.Add(-1)
				mu.Lock()
				order = append(order, r.URL.Path)
				if len(order) == 4 {
					close(four)
				}
				mu.Unlock()
				select {
				case <-four:
				case <-r.Context().Done():
				}
				time.Sleep(2 * time.Millisecond)
				file(files[r.URL.Path])(w, r)
			}))
			s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
				switch state {
				case http.StateNew:
					highest(&most, open.Add(1))
				case http.StateClosed, http.StateHijacked:
					open.Add(-1)
				}
			}
			o := Options{}
			if scheme == "https" {
				s.EnableHTTP2 = true
				s.StartTLS()
				o.Roots = poolOf(s)
			} else {
				s.Start()
			}
			defer s.Close()
			var jobs []Job
			var dir string
			jobs, files, dir = jobsFor(t, s.URL, 200)
			seen := map[int]bool{}
			for i, err := range newTestClient(t, o).FetchAll(t.Context(), jobs) {
				if err != nil {
					t.Error(err)
				}
				if seen[i] {
					t.Errorf("job %d came twice", i)
				}
				seen[i] = true
				got, err := os.ReadFile(filepath.Join(dir, jobs[i].Name))
				if err != nil || sha(got) != jobs[i].Digest {
					t.Errorf("%s: %d bytes, %v", jobs[i].Name, len(got), err)
				}
			}
			if len(seen) != 200 || s.requests.Load() != 200 {
				t.Errorf("%d results, %d requests", len(seen), s.requests.Load())
			}
			if mostBusy.Load() != 4 || most.Load() > 4 {
				t.Errorf("%d requests over %d connections at a time, want 4 and at most 4", mostBusy.Load(), most.Load())
			}
			largest := slices.MaxFunc(order, func(a, b string) int { return len(files[a]) - len(files[b]) })
			if at := slices.Index(order, largest); at >= 4 {
				t.Errorf("the largest file was the %dth", at)
			}
			smallest := slices.MinFunc(order, func(a, b string) int { return len(files[a]) - len(files[b]) })
			if at := slices.Index(order, smallest); at < 196 {
				t.Errorf("the smallest file was the %dth", at)
			}
		})
	}
}

func highest(most *atomic.Int64, n int64) {
	for {
		m := most.Load()
		if n <= m || most.CompareAndSwap(m, n) {
			return
		}
	}
}

// TestFetchAllHosts has three hosts: the slow one does not keep the others waiting, and
// there are no more files at a time than allowed.
func TestFetchAllHosts(t *testing.T) {
	var busy, most atomic.Int64
	release := make(chan struct{})
	good := content(100, 1)
	answer := func(w http.ResponseWriter, r *http.Request) {
		highest(&most, busy.Add(1))
		defer busy.Add(-1)
		time.Sleep(5 * time.Millisecond)
		file(good)(w, r)
	}
	slow := serve(t, func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
		answer(w, r)
	})
	fast1, fast2 := serve(t, answer), serve(t, answer)
	var jobs []Job
	dir := t.TempDir()
	for i := range 60 {
		url := []string{slow.URL, fast1.URL, fast2.URL}[i/20]
		r := request(good, url)
		r.Name = fmt.Sprint(i)
		jobs = append(jobs, Job{Request: r, Open: func() (*os.File, error) { return os.Create(filepath.Join(dir, r.Name)) }})
	}
	count := 0
	for i, err := range newTestClient(t, Options{Total: 6}).FetchAll(t.Context(), jobs) {
		if err != nil {
			t.Error(err)
		}
		if count++; count <= 40 && i < 20 {
			t.Errorf("job %d of the slow host came as the %dth", i, count)
		}
		if count == 40 {
			close(release)
		}
	}
	if count != 60 || most.Load() > 6 {
		t.Errorf("%d results, %d at a time; want 60 and at most 6", count, most.Load())
	}
}

// TestPlaces has three servers that redirect to a fourth, and three that are behind one
// proxy: that has no more connections than others, and who waits for one does not count
// as stalled.
func TestPlaces(t *testing.T) {
	for _, proxied := range []bool{false, true} {
		t.Run(fmt.Sprintf("proxied %v", proxied), func(t *testing.T) {
			t.Parallel()
			var busy, most atomic.Int64
			good := content(100, 1)
			last := serve(t, func(w http.ResponseWriter, r *http.Request) {
				highest(&most, busy.Add(1))
				defer busy.Add(-1)
				time.Sleep(600 * time.Millisecond)
				file(good)(w, r)
			})
			o := Options{Stall: time.Second, Retries: -1}
			if proxied {
				o.Getenv = environment("http_proxy", newProxy(t, last.Listener.Addr().String()).URL)
			}
			var jobs []Job
			dir := t.TempDir()
			for i := range 3 {
				url := fmt.Sprintf("http://host%d.example/", i)
				if !proxied {
					url = serve(t, redirects(last.URL)()).URL
				}
				for k := range 4 {
					r := request(good, url)
					r.Name = fmt.Sprint(i, k)
					jobs = append(jobs, Job{Request: r, Open: func() (*os.File, error) { return os.Create(filepath.Join(dir, r.Name)) }})
				}
			}
			for i, err := range newTestClient(t, o).FetchAll(t.Context(), jobs) {
				if err != nil {
					t.Errorf("job %d: %v", i, err)
				}
			}
			if most.Load() != 4 {
				t.Errorf("%d requests at a time, want 4", most.Load())
			}
		})
	}
}

func TestFetchAllErrors(t *testing.T) {
	jobs, files, _ := jobsFor(t, "", 6)
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/file001" {
			http.NotFound(w, r)
			return
		}
		file(files[r.URL.Path])(w, r)
	})
	for i := range jobs {
		jobs[i].URLs[0] = s.URL + jobs[i].URLs[0]
	}
	refused := errors.New("no room")
	jobs[2].Open = func() (*os.File, error) { return nil, refused }
	jobs[3].URLs = []string{"gopher://x"}
	failed := map[int]error{}
	count := 0
	for i, err := range newTestClient(t, Options{}).FetchAll(t.Context(), jobs) {
		count++
		if err != nil {
			failed[i] = err
		}
	}
	if count != 6 || len(failed) != 3 {
		t.Errorf("%d results, failed: %v", count, failed)
	}
	if !errors.Is(failed[1], fs.ErrNotExist) || !errors.Is(failed[2], refused) {
		t.Errorf("failed: %v", failed)
	}
	wantError(t, failed[2], "fetch file002: no room")
	wantError(t, failed[3], "fetch file003: address 1: gopher://x")
}

// TestFetchAllEnds breaks out of the loop, and ends the context: nothing goes on.
func TestFetchAllEnds(t *testing.T) {
	jobs, files, _ := jobsFor(t, "", 50)
	var busy atomic.Int64
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/file000" {
			select {
			case <-r.Context().Done():
			case <-time.After(10 * time.Second):
				t.Error("a request goes on")
			}
			return
		}
		file(files[r.URL.Path])(w, r)
	})
	for i := range jobs {
		jobs[i].URLs[0] = s.URL + jobs[i].URLs[0]
		jobs[i].Size = -1 // so that the first is the first
		jobs[i].Limit = 1 << 20
		open := jobs[i].Open
		jobs[i].Open = func() (*os.File, error) { busy.Add(1); return open() }
	}
	start := time.Now()
	for i, err := range newTestClient(t, Options{}).FetchAll(t.Context(), jobs) {
		if i != 0 || err != nil {
			t.Errorf("job %d: %v", i, err)
		}
		break
	}
	if n := busy.Load(); n > 5 {
		t.Errorf("%d files were opened", n)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	count := 0
	for i, err := range newTestClient(t, Options{}).FetchAll(ctx, jobs) {
		if count++; count == 1 {
			cancel()
		}
		if i != 0 && (!errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), jobs[i].Name)) {
			t.Errorf("job %d: %v", i, err)
		}
	}
	if count != 50 {
		t.Errorf("%d results, want one for each job", count)
	}
	if d := time.Since(start); d > 5*time.Second {
		t.Errorf("it took %v", d)
	}
}

// BenchmarkFetchAll fetches 200 files with 126 MB in all from a server on loopback, and
// has curl and sha256sum do the same.
func BenchmarkFetchAll(b *testing.B) {
	source := b.TempDir()
	var jobs []Job
	var list, sums strings.Builder
	var all int64
	target := ""
	s := httptest.NewServer(http.FileServer(http.Dir(source)))
	b.Cleanup(s.Close)
	for i := range 200 {
		data := content(10_000+(i*i*i*i)%1_430_000, uint32(i))
		name := fmt.Sprintf("file%03d", i)
		if err := os.WriteFile(filepath.Join(source, name), data, 0o644); err != nil {
			b.Fatal(err)
		}
		all += int64(len(data))
		r := request(data, s.URL+"/"+name)
		r.Name = name
		fmt.Fprintf(&list, "url = %s/%s\n", s.URL, name)
		fmt.Fprintf(&sums, "%s  %s\n", strings.TrimPrefix(r.Digest, "sha256:"), name)
		jobs = append(jobs, Job{Request: r, Open: func() (*os.File, error) { return os.Create(filepath.Join(target, name)) }})
	}
	b.Run("hashpkg", func(b *testing.B) {
		b.SetBytes(all)
		for b.Loop() {
			target = b.TempDir()
			c := New(Options{})
			for i, err := range c.FetchAll(b.Context(), jobs) {
				if err != nil {
					b.Fatal(i, err)
				}
			}
			c.Close()
		}
	})
	b.Run("curl", func(b *testing.B) {
		testneed.Programs(b, "curl", "sha256sum")
		b.SetBytes(all)
		for b.Loop() {
			dir := b.TempDir()
			for _, command := range []struct{ input, line string }{
				{list.String(), "curl --parallel --parallel-max 4 --silent --show-error --fail --remote-name-all --config -"},
				{sums.String(), "sha256sum --quiet --check"},
			} {
				args := strings.Fields(command.line)
				cmd := exec.Command(args[0], args[1:]...)
				cmd.Dir, cmd.Stdin = dir, strings.NewReader(command.input)
				if out, err := cmd.CombinedOutput(); err != nil {
					b.Fatalf("%s: %v\n%s", args[0], err, out)
				}
			}
		}
	})
}
