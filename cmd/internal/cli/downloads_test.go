package cli

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/internal/terminal"
)

func TestDownloadState(t *testing.T) {
	const mb = 1 << 20
	start := time.Unix(1e9, 0)
	s := newDownloadState([]int64{100 * mb, 300 * mb, 0})
	check := func(at time.Duration, want string) {
		t.Helper()
		if got := s.text(start.Add(at)); got != want {
			t.Errorf("after %v: %q, want %q", at, got, want)
		}
	}
	check(0, "fetching 0 of 3 files, 0 of 400M")
	s.set(0, 50*mb) // from before: no part of the rate
	s.set(1, 0)
	s.set(2, 0)
	s.done++
	check(500*time.Millisecond, "fetching 1 of 3 files, 50M of 400M")
	for at := 1; at <= 10; at++ { // 10 MB a second
		s.set(1, int64(at)*10*mb)
		s.text(start.Add(time.Duration(at) * time.Second))
	}
	check(10*time.Second, "fetching 1 of 3 files, 150M of 400M, 10M/s, 25 s left")
	for at := 11; at <= 20; at++ { // and then 1 MB: after the window only that counts
		s.set(1, 100*mb+int64(at-10)*mb)
		s.text(start.Add(time.Duration(at) * time.Second))
	}
	check(20*time.Second, "fetching 1 of 3 files, 160M of 400M, 1.0M/s, 4 min left")
	check(25*time.Second, "fetching 1 of 3 files, 160M of 400M, 512K/s, 8 min left")
	check(36*time.Second, "fetching 1 of 3 files, 160M of 400M")
	check(38*time.Second, "fetching 1 of 3 files, 160M of 400M, 0/s") // no end in sight
	s.set(1, 0)                                                       // it has to start over
	check(38*time.Second, "fetching 1 of 3 files, 50M of 400M, 0/s")
	s.set(1, 2*mb)
	check(40*time.Second, "fetching 1 of 3 files, 52M of 400M, 512K/s, 12 min left")
	s.set(0, 100*mb)
	s.set(1, 300*mb)
	s.done = 3
	if got := s.text(start.Add(41 * time.Second)); !strings.HasPrefix(got, "fetching 3 of 3 files, 400M of 400M, ") || strings.Contains(got, "left") {
		t.Errorf("at the end: %q", got)
	}

	s = newDownloadState([]int64{10, -1})
	s.set(1, 0)
	s.text(start)
	s.set(1, 4*mb)
	check(2*time.Second, "fetching 0 of 2 files, 4.0M, 2.0M/s")
}

func TestRoundDuration(t *testing.T) {
	for d, want := range map[time.Duration]string{
		time.Millisecond: "1 s", 1500 * time.Millisecond: "2 s", 59 * time.Second: "59 s",
		90 * time.Second: "2 min", 99 * time.Minute: "99 min", 10 * time.Hour: "10 h",
	} {
		if got := roundDuration(d); got != want {
			t.Errorf("%v: %q, want %q", d, got, want)
		}
	}
}

// openTerminal returns the two ends of a terminal that is so many columns wide.
func openTerminal(t *testing.T, columns uint16) (user, program *os.File) {
	user, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { user.Close() })
	fd := int(user.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { program.Close() })
	if err := unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: columns}); err != nil {
		t.Fatal(err)
	}
	return user, program
}

// TestDownloadsOnTerminal looks at what a terminal gets in three seconds.
func TestDownloadsOnTerminal(t *testing.T) {
	for _, columns := range []uint16{80, 20} {
		t.Run(fmt.Sprint(columns), func(t *testing.T) {
			t.Parallel()
			user, program := openTerminal(t, columns)
			var shown bytes.Buffer
			var reader sync.WaitGroup
			reader.Go(func() {
				buf := make([]byte, 4096)
				for {
					n, err := user.Read(buf)
					shown.Write(buf[:n])
					if err != nil { // EIO: the program has closed its end
						return
					}
				}
			})
			a := &app{Env: Env{Err: program, Getenv: func(string) string { return "" }}, errScreen: terminal.Screen{File: program}}
			d := a.newDownloads([]int64{1 << 30, 1 << 30})
			tell := d.Progress(0)
			start := time.Now()
			for i := int64(0); time.Since(start) < 3*time.Second; i++ {
				tell(i << 20)
				time.Sleep(10 * time.Millisecond)
			}
			d.Finished(0, "a")
			d.End()
			most := int((time.Since(start)-time.Second)/(200*time.Millisecond)) + 1 // a second passes before the first
			program.Close()
			reader.Wait()
			lines := strings.Split(shown.String(), "\r\x1b[K")
			if n := len(lines) - 2; n < 5 || n > most {
				t.Errorf("%d lines, want 5 to %d", n, most)
			}
			if lines[0] != "" || lines[len(lines)-1] != "" {
				t.Errorf("something stays: %q", lines)
			}
			for _, line := range lines[1 : len(lines)-1] {
				if !strings.HasPrefix(line, "fetching ") || terminal.Columns(line) >= int(columns) {
					t.Errorf("the line %q of %d columns", line, columns)
				}
			}
			if last := lines[len(lines)-2]; columns == 80 && !strings.Contains(last, " of 2.0G, ") || columns == 20 && terminal.Columns(last) != 19 {
				t.Errorf("the last line is %q", last)
			}
		})
	}
}

func TestDownloadsElsewhere(t *testing.T) {
	for _, quiet := range []bool{false, true} {
		var out bytes.Buffer
		a := &app{Env: Env{Err: &out, Getenv: func(string) string { return "" }}, globals: globals{quiet: quiet}}
		d := a.newDownloads([]int64{2048, -1})
		d.Progress(1)(10)
		d.Finished(1, "jq 1.7")
		d.Progress(0)(0)
		d.Progress(0)(2048)
		d.Finished(0, "libjq1 1.7")
		d.End()
		want := "fetched jq 1.7 (10)\nfetched libjq1 1.7 (2.0K)\n"
		if quiet {
			want = ""
		}
		if out.String() != want {
			t.Errorf("quiet %v: %q, want %q", quiet, out.String(), want)
		}
	}
}
