package sysroot

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestHolder(t *testing.T) {
	now := time.Date(2026, 11, 28, 13, 0, 0, 0, time.UTC)
	const record = `{"pid":4242,"command":"hashpkg sync","since":"2026-11-28T12:46:03Z"}` + "\n"
	for _, test := range []struct {
		name, file string
		pids       []int
		listed     bool
		want       string
	}{
		{"it says who it is", record, []int{4242}, true, "process 4242 (hashpkg sync, since 12:46:03)"},
		{"since another day", strings.Replace(record, "11-28", "11-27", 1), []int{4242}, true, "process 4242 (hashpkg sync, since 2026-11-27 12:46:03)"},
		{"an empty file", "", []int{7}, true, "process 7"},
		{"of the one before", record, []int{7}, true, "process 7 (the lock file names process 4242, which does not hold it any more)"},
		{"of one that is not seen", record, nil, true, "a process that cannot be seen from here (the lock file names process 4242, which is not seen to hold it)"},
		{"the kernel says nothing", record, nil, false, "a process that cannot be seen from here"},
		{"no JSON", "4242 hashpkg sync", []int{4242}, true, "process 4242"},
		{"a terminal's commands", `{"pid":4242,"command":"\u001b[2J","since":"2026-11-28T12:46:03Z"}`, []int{4242}, true, "process 4242"},
		{"a long command", `{"pid":4242,"command":"` + strings.Repeat("x", 65) + `","since":"2026-11-28T12:46:03Z"}`, []int{4242}, true, "process 4242"},
		{"no process", `{"pid":-1,"command":"hashpkg sync","since":"2026-11-28T12:46:03Z"}`, []int{7}, true, "process 7"},
	} {
		if have := holderOf([]byte(test.file), test.pids, test.listed).describe(now); have != test.want {
			t.Errorf("%s: %q, want %q", test.name, have, test.want)
		}
	}
}

func TestParseLocks(t *testing.T) {
	const list = `1: FLOCK  ADVISORY  WRITE 4242 08:01:1234 0 EOF
1: -> FLOCK  ADVISORY  WRITE 4243 08:01:1234 0 EOF
2: POSIX  ADVISORY  WRITE 4244 08:01:1234 0 EOF
3: FLOCK  ADVISORY  READ  4245 08:01:1234 0 EOF
4: FLOCK  ADVISORY  WRITE 0 08:01:1234 0 EOF
5: FLOCK  ADVISORY  WRITE 4246 00:2e:12345 0 EOF
nonsense
6: FLOCK  ADVISORY  WRITE x 08:01:1234 0 EOF
`
	if have := parseLocks(list, 1234); len(have) != 1 || have[0] != 4242 {
		t.Errorf("%v", have)
	}
}

func FuzzDecodeLockRecord(f *testing.F) {
	f.Add([]byte(`{"pid":4242,"command":"hashpkg sync","since":"2026-11-28T12:46:03Z"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, ok := decodeLockRecord(b)
		if !ok {
			return
		}
		again, err := json.Marshal(r)
		if have, ok := decodeLockRecord(again); err == nil && (!ok || have.PID != r.PID || have.Command != r.Command || !have.Since.Equal(r.Since)) {
			t.Errorf("%q becomes %q", b, again)
		}
	})
}

// lockRoot opens a root twice, as two processes would, and takes its lock once.
func lockRoot(t *testing.T) (lock *Lock, other *Root, file string) {
	t.Helper()
	dir := t.TempDir()
	first, err := Open(dir, "/var/sys", nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { first.Close() })
	if lock, err = first.Lock(t.Context(), LockOptions{Command: "hashpkg sync"}); err != nil {
		t.Fatal(err)
	}
	if other, err = Open(dir, "/var/sys", nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { other.Close() })
	return lock, other, filepath.Join(dir, "var/sys/.hashpkg/lock")
}

func TestLockSaysWhoHoldsIt(t *testing.T) {
	lock, other, file := lockRoot(t)
	told := 0
	_, err := other.Lock(t.Context(), LockOptions{Wait: 100 * time.Millisecond, Waiting: func(l *LockedError) {
		told++
		if l.Holder.PID != os.Getpid() || l.Holder.Command != "hashpkg sync" {
			t.Errorf("it waits for %+v", l.Holder)
		}
	}})
	var locked *LockedError
	if !errors.Is(err, ErrLocked) || !errors.As(err, &locked) || locked.Holder.PID != os.Getpid() || locked.Holder.Command != "hashpkg sync" || told != 1 {
		t.Errorf("%v, told %d times", err, told)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := other.Lock(ctx, LockOptions{Wait: time.Hour}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if err := lock.root.SetFailure("so that the store stays"); err != nil {
		t.Fatal(err)
	}
	if err := lock.Unlock(); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(file); err == nil && len(b) > 0 {
		t.Errorf("nobody holds the lock, and it says %s", b)
	}
}

// TestLockFileMeansHarm has things in the place of the lock file.
func TestLockFileMeansHarm(t *testing.T) {
	for name, put := range map[string]func(file string) error{
		"a pipe":      func(file string) error { return unix.Mkfifo(file, 0o644) },
		"a directory": func(file string) error { return os.Mkdir(file, 0o755) },
		"a link":      func(file string) error { return os.Symlink("../../../victim", file) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			file := filepath.Join(dir, "var/sys/.hashpkg/lock")
			if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), put(file)); err != nil {
				t.Fatal(err)
			}
			root, err := Open(dir, "/var/sys", nil)
			if err != nil {
				t.Fatal(err)
			}
			defer root.Close()
			if lock, err := root.Lock(t.Context(), LockOptions{Command: "hashpkg sync"}); err == nil {
				t.Error("the lock is taken")
				_ = lock.Unlock()
			}
			if _, err := os.Lstat(filepath.Join(dir, "victim")); err == nil {
				t.Error("it has led out of the prefix")
			}
		})
	}
	t.Run("another name of a file", func(t *testing.T) {
		lock, _, file := lockRoot(t)
		victim := filepath.Join(filepath.Dir(file), "victim")
		if err := errors.Join(lock.Unlock(), os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(victim, []byte("precious"), 0o644), os.Link(victim, file)); err != nil {
			t.Fatal(err)
		}
		root, err := Open(lock.root.path, "/var/sys", nil)
		if err != nil {
			t.Fatal(err)
		}
		defer root.Close()
		if lock, err = root.Lock(t.Context(), LockOptions{Command: "hashpkg sync"}); err != nil {
			t.Fatal(err)
		}
		if err := lock.Unlock(); err != nil {
			t.Fatal(err)
		}
		if b, err := os.ReadFile(victim); err != nil || string(b) != "precious" {
			t.Errorf("it is %q now (%v)", b, err)
		}
	})
	t.Run("a huge file", func(t *testing.T) {
		_, other, file := lockRoot(t)
		if err := os.Truncate(file, 1<<40); err != nil {
			t.Skip(err)
		}
		var locked *LockedError
		if _, err := other.Lock(t.Context(), LockOptions{}); !errors.As(err, &locked) || locked.Holder.PID != os.Getpid() || locked.Holder.Command != "" {
			t.Errorf("%v", err)
		}
	})
}
