package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/internal/testneed"
)

// frozenSystem returns roots with a program of the system, jq, followed, frozen and thawed.
func frozenSystem(t *testing.T) (dir, synced, frozen, thawed string) {
	t.Helper()
	testneed.Root(t)
	dir = t.TempDir()
	synced, frozen, thawed = filepath.Join(dir, "synced"), filepath.Join(dir, "frozen"), filepath.Join(dir, "thawed")
	smallSystem(t, synced)
	mustRun(t, hashpkg(t), "--root", synced, "sync", "-q")
	copyRoot(t, synced, frozen)
	mustRun(t, hashpkg(t), "--root", frozen, "freeze", "-q", "jq")
	copyRoot(t, frozen, thawed)
	mustRun(t, hashpkg(t), "--root", thawed, "thaw", "-q", "jq")
	if was, is := programsOfRoot(t, synced), programsOfRoot(t, frozen); is == was || programsOfRoot(t, thawed) == is {
		t.Fatal("the freeze, or the thaw, changed nothing")
	}
	return dir, synced, frozen, thawed
}

func programsOfRoot(t *testing.T, root string) string {
	t.Helper()
	return withoutTemporary(dump(t, filepath.Join(root, "usr")))
}

// TestFreezeKilledAtAnyStep kills a freeze, and a thaw, at each of the calls that change something: all programs
// start, and the next run completes it.
func TestFreezeKilledAtAnyStep(t *testing.T) {
	t.Parallel()
	const strace = "strace"
	testneed.Programs(t, strace)
	dir, synced, frozen, thawed := frozenSystem(t)
	for _, sweep := range []struct {
		from, to string
		command  []string
		history  string // the newest first
	}{
		{synced, frozen, []string{"freeze", "jq"}, "[{frozen}]"},
		{frozen, thawed, []string{"thaw", "jq"}, "[{thawed} {frozen}]"},
	} {
		want := programsOfRoot(t, sweep.to)
		calls := []string{"renameat", "renameat2", "linkat", "mkdirat", "unlinkat", "?fchmodat2", "fchmod", "fsync", "syncfs"}
		killSweep(t, strace, dir, sweep.from, calls, append(sweep.command, "-q"), 8, func(what, root string) {
			starts(t, what, root)
			mustRun(t, hashpkg(t), "--root", root, "-q", "sync")
			starts(t, what+", synced", root)
			if out, err := exec.Command(hashpkg(t), append([]string{"--root", root, "-q"}, sweep.command...)...).CombinedOutput(); err != nil && !strings.Contains(string(out), "is not frozen") {
				t.Errorf("%s, and again: %v %s", what, err, out)
			}
			starts(t, what+", and again", root)
			if programsOfRoot(t, root) != want {
				t.Errorf("%s: /usr is not what it should be after another run", what)
			}
			var history struct {
				Pins []struct{ Action string }
			}
			out, err := exec.Command(hashpkg(t), "--root", root, "history", "--json").Output()
			if err == nil {
				err = json.Unmarshal(out, &history)
			}
			if err != nil {
				t.Fatalf("%s: history: %v", what, err)
			}
			if got := fmt.Sprint(history.Pins); got != sweep.history {
				t.Errorf("%s: the history of pins has %s, not %s", what, got, sweep.history)
			}
			mustRun(t, hashpkg(t), "--root", root, "-q", "verify")
			mustRun(t, hashpkg(t), "--root", root, "-q", "verify", "--system")
		})
	}
}

// TestFreezeFullDisk gives a freeze more and more room: it fails and says so, or does its work;
// programs start, and with room the next one completes it.
func TestFreezeFullDisk(t *testing.T) {
	_, synced, frozen, _ := frozenSystem(t)
	want := programsOfRoot(t, frozen)
	_, mount := mountDir(t)
	failed, done := 0, 0
	for room := 0; room < 160; room += 4 { // KiB
		root, filler := rootWithRoom(t, mount, synced, room)
		status, stderr := run(t, exec.Command(hashpkg(t), "--root", root, "-q", "freeze", "jq"))
		switch {
		case status == 0:
			done++
		case status == 1 && strings.Contains(stderr, "no space left"):
			failed++
		default:
			t.Errorf("%d KiB of room: status %d: %s", room, status, stderr)
		}
		starts(t, "a full disk", root)
		if err := os.Remove(filler); err != nil {
			t.Fatal(err)
		}
		mustRun(t, hashpkg(t), "--root", root, "-q", "freeze", "jq")
		mustRun(t, hashpkg(t), "--root", root, "-q", "verify")
		mustRun(t, hashpkg(t), "--root", root, "-q", "verify", "--system")
		starts(t, "with room again", root)
		if programsOfRoot(t, root) != want {
			t.Errorf("%d KiB of room: /usr is not what it should be after another run", room)
		}
		if err := unix.Unmount(mount, 0); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d failed, %d were done", failed, done)
	if failed < 2 || done < 2 {
		t.Error("the room was not between too little and enough")
	}
}

// TestFreezeBesideOthers has several freeze, thaw and sync at once: each does its work, one after another.
func TestFreezeBesideOthers(t *testing.T) {
	_, synced, frozen, _ := frozenSystem(t)
	want := programsOfRoot(t, frozen)
	var all sync.WaitGroup
	for _, command := range [][]string{{"freeze", "jq"}, {"sync"}, {"freeze", "/usr/bin/jq"}, {"thaw", "--all"}, {"sync"}, {"freeze", "--refresh", "jq"}} {
		all.Go(func() {
			out, err := exec.Command(hashpkg(t), append([]string{"--root", synced, "-q"}, command...)...).CombinedOutput()
			if err != nil && !strings.Contains(string(out), "frozen") {
				t.Errorf("%s: %v: %s", command, err, out)
			}
		})
	}
	all.Wait()
	starts(t, "after all", synced)
	mustRun(t, hashpkg(t), "--root", synced, "-q", "freeze", "jq")
	if programsOfRoot(t, synced) != want {
		t.Error("/usr is not what it should be")
	}
	mustRun(t, hashpkg(t), "--root", synced, "-q", "verify")
	mustRun(t, hashpkg(t), "--root", synced, "-q", "verify", "--system")
}
