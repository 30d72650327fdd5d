package inplace

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashpkg/hashpkg/elfedit"
)

// TestMain is also the program of TestKeepName, which waits until its input ends.
func TestMain(m *testing.M) {
	if os.Getenv("INPLACE_WAIT") != "" {
		fmt.Println("running")
		_, _ = io.Copy(io.Discard, os.Stdin)
		return
	}
	os.Exit(m.Run())
}

// TestKeepName looks under which name a process finds its program when that was replaced.
// An upgrade leaves "PATH (deleted)", by which start-stop-daemon(8) and others find the
// process.
func TestKeepName(t *testing.T) {
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	for _, keep := range []bool{false, true} {
		path := filepath.Join(t.TempDir(), "prog")
		if err := os.WriteFile(path, self, 0o755); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(path)
		cmd.Env = append(os.Environ(), "INPLACE_WAIT=1")
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(out, make([]byte, len("running"))); err != nil {
			t.Fatal(err)
		}
		edited := append(append([]byte{}, self...), "more"...)
		r, err := stage(t, path, elfedit.Diff(self, edited), Options{KeepName: keep})
		if err == nil {
			err = r.Commit()
		}
		if err != nil {
			t.Fatal(err)
		}
		name, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", cmd.Process.Pid))
		if err != nil {
			t.Fatal(err)
		}
		if found := name == path+" (deleted)"; found != keep {
			t.Errorf("KeepName %v: the process runs %s", keep, name)
		}
		if b, err := os.ReadFile(path); err != nil || len(b) != len(edited) {
			t.Errorf("%d bytes, %v", len(b), err)
		}
		if names, err := os.ReadDir(filepath.Dir(path)); err != nil || len(names) != 1 {
			t.Errorf("%v, %v", names, err)
		}
		if err := errors.Join(in.Close(), cmd.Wait()); err != nil {
			t.Error(err)
		}
	}
}

// TestKeepNameRace has another process put a file there between two steps, which stays.
func TestKeepNameRace(t *testing.T) {
	for _, moment := range []string{"looked", "swapped", "back"} {
		path := filepath.Join(t.TempDir(), "prog")
		if err := os.WriteFile(path, []byte("old"), 0o755); err != nil {
			t.Fatal(err)
		}
		r, err := stage(t, path, elfedit.Diff([]byte("old"), []byte("edited")), Options{KeepName: true})
		if err != nil {
			t.Fatal(err)
		}
		r.moment = func(now string) {
			if now != moment {
				return
			}
			upgrade := path + ".dpkg-new"
			if err := errors.Join(os.WriteFile(upgrade, []byte("upgraded"), 0o755), os.Rename(upgrade, path)); err != nil {
				t.Error(err)
			}
		}
		if err := r.Commit(); !errors.Is(err, ErrChanged) {
			t.Errorf("%s: %v", moment, err)
		}
		b, err := os.ReadFile(path)
		if err != nil || string(b) != "upgraded" {
			t.Errorf("%s: %q, %v", moment, b, err)
		}
		if names, err := os.ReadDir(filepath.Dir(path)); err != nil || len(names) != 1 {
			t.Errorf("%s: %s, %v", moment, strings.TrimSpace(fmt.Sprint(names)), err)
		}
	}
}
