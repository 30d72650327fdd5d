package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/internal/testdeb"
	"github.com/hashpkg/hashpkg/internal/testneed"
)

// oldOrNew checks that a root is one of two states, whole, once the next writer
// has been there.
func oldOrNew(t *testing.T, what, root, before, after string) {
	t.Helper()
	if status, stderr := run(t, exec.Command(hashpkg(t), "--root", root, "verify", "-q")); status != 0 {
		t.Errorf("%s: verify right afterwards: status %d: %s", what, status, stderr)
	}
	// Using the default that is the default changes nothing but recovers. The
	// version 1.0 is in both states.
	g := exec.Command(hashpkg(t), "--root", root, "use", "-q", "--highest", "tool")
	if status, stderr := run(t, g); status != 0 {
		t.Errorf("%s: the next command: status %d: %s", what, status, stderr)
	}
	if have := dump(t, root); have != before && have != after {
		t.Errorf("%s: the root is neither as before nor as after (-before +have):\n%s", what, cmp.Diff(before, have))
	}
	for _, args := range [][]string{{"rollback", "1"}, {"verify"}} { // whose farm may be lent
		if status, stderr := run(t, exec.Command(hashpkg(t), append([]string{"--root", root, "-q"}, args...)...)); status != 0 {
			t.Errorf("%s: %q: status %d: %s", what, args, status, stderr)
		}
	}
}

// TestKilledAtAnyStep kills an install at each of the calls that change
// directories or make things durable.
func TestKilledAtAnyStep(t *testing.T) {
	t.Parallel()
	const strace = "strace"
	testneed.Programs(t, strace)
	dir, _, second, base := twoVersions(t)
	before := dump(t, base)
	done := filepath.Join(dir, "done")
	copyRoot(t, base, done)
	mustRun(t, hashpkg(t), "--root", done, "install", "-q", second)
	after := dump(t, done)
	if before == after {
		t.Fatal("the install changed nothing")
	}

	killSweep(t, strace, dir, base, []string{"renameat", "renameat2", "linkat", "symlinkat", "mkdirat", "unlinkat", "?fchmodat2", "fsync", "syncfs", "utimensat"},
		[]string{"install", "-q", second}, 40, func(what, root string) { oldOrNew(t, what, root, before, after) })
}

// TestKilledAndLinkLost kills an install and takes current-system away, or puts something else
// in its place, before the next writer comes: what was there can be had again, and what was
// done, too.
func TestKilledAndLinkLost(t *testing.T) {
	t.Parallel()
	const strace = "strace"
	testneed.Programs(t, strace)
	dir, _, second, base := twoVersions(t)
	before := dump(t, base)
	current := func(root string) string { return filepath.Join(root, "var/sys/current-system") }
	old, err := os.Readlink(current(base))
	if err != nil {
		t.Fatal(err)
	}
	garbage := []struct {
		name, command string
	}{
		{"lost", "rm $1"}, {"a file", "rm $1 && echo mine >$1"}, {"a directory", "rm $1 && mkdir $1 && echo mine >$1/file"}, {"a link", "ln -sfn /etc $1"},
	}
	n, done := 0, 0
	killSweep(t, strace, dir, base, []string{"renameat", "renameat2", "unlinkat", "syncfs"}, []string{"install", "-q", second}, 10, func(what, root string) {
		g := garbage[n%len(garbage)]
		n++
		what += ", then current-system is " + g.name
		was, err := os.Readlink(current(root))
		if err != nil {
			t.Fatal(err)
		}
		mustRun(t, "sh", "-ec", g.command, "sh", current(root))
		status, stderr := run(t, exec.Command(hashpkg(t), "--root", root, "use", "-q", "tool=1.0"))
		if status != 1 || !strings.Contains(stderr, "run hashpkg rollback") && !strings.Contains(stderr, "run hashpkg verify --repair") {
			t.Errorf("%s: another writer: status %d: %s", what, status, stderr)
		}
		repair := exec.Command(hashpkg(t), "--root", root, "verify", "--repair")
		out, err := repair.Output()
		if repair.ProcessState.ExitCode() != 3 || !strings.Contains(string(out), "run hashpkg rollback") {
			t.Errorf("%s: verify --repair: %v: %s", what, err, out)
		}
		kept, err := filepath.Glob(filepath.Join(root, "var/sys/.hashpkg/quarantine/*-current-system"))
		if err != nil || len(kept) != 1 && g.name != "lost" {
			t.Errorf("%s: in the quarantine there is %q (%v)", what, kept, err)
		}
		for _, generation := range []string{was, old} {
			id := filepath.Base(generation)
			mustRun(t, hashpkg(t), "--root", root, "rollback", "-q", id)
			mustRun(t, hashpkg(t), "--root", root, "verify", "-q", "--all")
			if generation != old {
				done++
				mustRun(t, "test", "-e", filepath.Join(root, "var/sys/tool/default/usr/bin/tool"))
				if target, err := filepath.EvalSymlinks(filepath.Join(root, "var/sys/tool/default")); err != nil || filepath.Base(target) != "2.0" {
					t.Errorf("%s: the install was done, and the default is %s (%v)", what, target, err)
				}
			}
		}
		after := dump(t, root)
		for line := range strings.Lines(before) { // the state before, and perhaps more beside it
			if !strings.Contains(after, line) && !strings.HasPrefix(line, "var/sys/.hashpkg/lock") {
				t.Errorf("%s: this is gone: %s", what, line)
			}
		}
	})
	if done == 0 {
		t.Error("no install was done when it was killed")
	}
}

// killSweep runs a command on copies of a root, killed at the first of some calls,
// then at the second, and so on until it ends before: atLeast so many times. check
// looks at each root.
func killSweep(t *testing.T, strace, dir, base string, calls, command []string, atLeast int, check func(what, root string)) {
	t.Helper()
	kills := 0
	for _, call := range calls {
		for n, survived := 1, 0; survived < 2 && n < 200; n++ {
			root := filepath.Join(dir, "killed")
			copyRoot(t, base, root)
			status, stderr := run(t, injected(strace, call, fmt.Sprintf("signal=KILL:when=%d", n), append([]string{hashpkg(t), "--root", root}, command...)...))
			what := fmt.Sprintf("%s killed at %s %d", command[0], call, n)
			switch status {
			case 0:
				survived++
			case -1, 137:
				survived = 0
				kills++
			default:
				t.Errorf("%s: status %d: %s", what, status, stderr)
			}
			check(what, root)
			if err := os.RemoveAll(root); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Logf("%d kills", kills)
	if kills < atLeast {
		t.Errorf("only %d kills: the sweep has not been everywhere", kills)
	}
}

// injected returns a command in which strace does something to calls of a kind
// (strace(1), "inject"). A call whose name starts with "?" is let be by an strace that
// does not know it.
func injected(strace, call, what string, command ...string) *exec.Cmd {
	return injectedTo(os.DevNull, strace, call, what, command...)
}

// injectedTo is injected, with the trace written to a file.
func injectedTo(trace, strace, call, what string, command ...string) *exec.Cmd {
	return exec.Command(strace, append([]string{"-f", "-qq", "-o", trace, "-e", "trace=" + call, "-e", "inject=" + call + ":" + what}, command...)...)
}

// failures counts the calls that strace let fail.
func failures(t *testing.T, trace string) int {
	t.Helper()
	b, err := os.ReadFile(trace)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Count(b, []byte("(INJECTED)"))
}

// TestFaultAtAnyStep lets each of the calls fail. The install must then fail, and
// have changed nothing, or have succeeded whole.
func TestFaultAtAnyStep(t *testing.T) {
	t.Parallel()
	const strace = "strace"
	testneed.Programs(t, strace)
	dir, _, second, base := twoVersions(t)
	before := dump(t, base)
	done := filepath.Join(dir, "done")
	copyRoot(t, base, done)
	mustRun(t, hashpkg(t), "--root", done, "install", "-q", second)
	after := dump(t, done)

	faults := 0
	for _, call := range []string{"renameat", "renameat2", "linkat", "symlinkat", "mkdirat", "?fchmodat2", "fsync", "syncfs", "utimensat"} {
		for _, fault := range []string{"ENOSPC", "EIO"} {
			for n, survived := 1, 0; survived < 2 && n < 200; n++ {
				root := filepath.Join(dir, "failed")
				copyRoot(t, base, root)
				trace := filepath.Join(dir, "trace")
				status, stderr := run(t, injectedTo(trace, strace, call, fmt.Sprintf("error=%s:when=%d", fault, n), hashpkg(t), "--root", root, "install", "-q", second))
				what := fmt.Sprintf("%s at %s %d", fault, call, n)
				have := dump(t, root)
				switch {
				// strace counts the calls of each thread. Where a second fault hit what
				// undoes the first, the next writer undoes it.
				case status == 1 && failures(t, trace) > 1:
					oldOrNew(t, what, root, before, after)
					survived = 0
				case status == 0 && have == after:
					survived++ // a link of the farm may be made another way
				case status == 1 && (have == before || have == after && (call == "fsync" || strings.Contains(stderr, "it is done"))):
					survived = 0
					faults++
					if !strings.Contains(stderr, "hashpkg: ") {
						t.Errorf("%s: no message: %q", what, stderr)
					}
				default:
					t.Errorf("%s: status %d, %s; the root has changed (-before +have):\n%s", what, status, stderr, cmp.Diff(before, have))
					survived++
				}
				if err := os.RemoveAll(root); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	t.Logf("%d faults", faults)
	if faults < 50 {
		t.Errorf("only %d faults: the sweep has not been everywhere", faults)
	}
}

// TestFullDisk installs more than a file system holds.
func TestFullDisk(t *testing.T) {
	testneed.Root(t)
	dir, first, _, _ := twoVersions(t)
	_, root := mountDir(t)
	if err := unix.Mount("tmpfs", root, "tmpfs", 0, "mode=755,size=2m"); err != nil {
		t.Fatal(err)
	}
	mustRun(t, hashpkg(t), "--root", root, "install", "-q", first)
	before := dump(t, root)
	big := testdeb.Package{Name: "big", Version: "1"}
	for i := range 100 {
		big.Files = append(big.Files, testdeb.File{Path: fmt.Sprintf("usr/share/big/%d", i), Content: strings.Repeat(fmt.Sprint(i), 50000)})
	}
	status, stderr := run(t, exec.Command(hashpkg(t), "--root", root, "install", "-q", writeDeb(t, dir, big)))
	if status != 1 || !strings.Contains(stderr, "no space left on device") {
		t.Errorf("status %d: %s", status, stderr)
	}
	if have := dump(t, root); have != before {
		t.Errorf("the root has changed (-before +have):\n%s", cmp.Diff(before, have))
	}
}

// collected checks that a root is as it was before a garbage collection, or as it
// is after one but for what the next one removes; and that it does.
func collected(t *testing.T, what, root, before, after, removed string) {
	t.Helper()
	command := func(args ...string) {
		t.Helper()
		if status, stderr := run(t, exec.Command(hashpkg(t), append([]string{"--root", root, "-q"}, args...)...)); status != 0 {
			t.Errorf("%s: %q: status %d: %s", what, args, status, stderr)
		}
	}
	command("verify")
	command("use", "--highest", "tool") // changes nothing but recovers
	if have := dump(t, root); have != before {
		for line := range strings.Lines(have) {
			name, _, _ := strings.Cut(line, " ")
			emptied := name == "var/sys/other" || name == "var/sys/.hashpkg/manifests/other"
			if !strings.Contains(after, line) && !emptied && !strings.HasPrefix(name, "var/sys/.hashpkg/objects/") {
				t.Errorf("%s: what should be gone is there: %s", what, line)
			}
		}
		for line := range strings.Lines(after) {
			if !strings.Contains(have, line) {
				t.Errorf("%s: is lost: %s", what, line)
			}
		}
	}
	command("gc", "--keep", "1", "--keep-versions", "0")
	if have := dump(t, root); have != after {
		t.Errorf("%s: after another gc (-want +have):\n%s", what, cmp.Diff(after, have))
	}
	command("install", removed)
	command("verify")
}

// afterCollecting returns what a root is like before and after a gc.
func afterCollecting(t *testing.T, dir, base string) (before, after string) {
	t.Helper()
	before = dump(t, base)
	done := filepath.Join(dir, "done")
	copyRoot(t, base, done)
	mustRun(t, hashpkg(t), "--root", done, "gc", "-q", "--keep", "1", "--keep-versions", "0")
	after = dump(t, done)
	if before == after || strings.Contains(after, "tool/1.0") || strings.Contains(after, "other") {
		t.Fatalf("gc has left:\n%s", after)
	}
	return before, after
}

// TestCollectionKilled kills a garbage collection at each of the calls that change
// directories or make things durable.
func TestCollectionKilled(t *testing.T) {
	t.Parallel()
	const strace = "strace"
	testneed.Programs(t, strace)
	dir, base, first, other := withGarbage(t)
	before, after := afterCollecting(t, dir, base)
	n := 0
	killSweep(t, strace, dir, base, []string{"renameat", "renameat2", "mkdirat", "unlinkat", "rmdir", "?fchmodat2", "fsync", "syncfs"}, []string{"gc", "-q", "--keep", "1", "--keep-versions", "0"}, 40, func(what, root string) {
		n++
		collected(t, what, root, before, after, []string{first, other}[n%2])
	})
}

// TestCollectionFails lets each of the calls fail, and those with a plus all after
// it as well, so that what was done cannot be taken back at once either.
func TestCollectionFails(t *testing.T) {
	t.Parallel()
	const strace = "strace"
	testneed.Programs(t, strace)
	dir, base, first, other := withGarbage(t)
	before, after := afterCollecting(t, dir, base)
	faults := 0
	for _, call := range []string{"renameat", "renameat+", "mkdirat", "unlinkat", "unlinkat+", "rmdir", "fsync", "syncfs", "getdents64", "newfstatat"} {
		call, all := strings.CutSuffix(call, "+")
		onward := ""
		if all {
			onward = "+"
		}
		for n, survived := 1, 0; survived < 2 && n < 400; n++ {
			root := filepath.Join(dir, "failed")
			copyRoot(t, base, root)
			status, stderr := run(t, injected(strace, call, fmt.Sprintf("error=EIO:when=%d%s", n, onward), hashpkg(t), "--root", root, "gc", "-q", "--keep", "1", "--keep-versions", "0"))
			what := fmt.Sprintf("EIO at %s %d%s", call, n, onward)
			switch {
			case status == 0:
				survived++
			case (status == 1 || status == 2) && strings.Contains(stderr, "hashpkg: "): // a root that cannot be found is wrong use
				survived = 0
				faults++
			default:
				t.Errorf("%s: status %d: %s", what, status, stderr)
				survived++
			}
			collected(t, what, root, before, after, []string{first, other}[n%2])
			if err := os.RemoveAll(root); err != nil {
				t.Fatal(err)
			}
			if call == "getdents64" || call == "newfstatat" {
				n += 12 // there are many
			}
		}
	}
	t.Logf("%d faults", faults)
	if faults < 40 {
		t.Errorf("only %d faults: the sweep has not been everywhere", faults)
	}
}

// TestSyncKilledAtAnyStep kills a sync, and then the taking back of what it did, at
// each of the calls that change something: all programs start, and the next run
// completes it.
func TestSyncKilledAtAnyStep(t *testing.T) {
	t.Parallel()
	testneed.Root(t)
	const strace = "strace"
	testneed.Programs(t, strace)
	dir := t.TempDir()
	base := filepath.Join(dir, "base")
	smallSystem(t, base)
	starts(t, "as packaged", base)
	packaged := dump(t, filepath.Join(base, "usr"))
	synced := filepath.Join(dir, "synced")
	copyRoot(t, base, synced)
	mustRun(t, hashpkg(t), "--root", synced, "sync", "-q")
	edited := dump(t, filepath.Join(synced, "usr"))
	if edited == packaged {
		t.Fatal("nothing was edited")
	}

	for _, sweep := range []struct {
		from    string
		command []string
		atLeast int
		after   string
	}{
		{base, []string{"sync"}, 40, edited},
		{synced, []string{"restore", "--all"}, 10, packaged},
	} {
		calls := []string{"renameat", "renameat2", "rename", "linkat", "symlinkat", "mkdirat", "unlinkat", "?fchmodat2", "fchmod", "fsync", "syncfs"}
		killSweep(t, strace, dir, sweep.from, calls, append(sweep.command, "-q"), sweep.atLeast, func(what, root string) {
			starts(t, what, root)
			mustRun(t, hashpkg(t), append([]string{"--root", root, "-q"}, sweep.command...)...)
			starts(t, what+", and again", root)
			if have := withoutTemporary(dump(t, filepath.Join(root, "usr"))); have != sweep.after {
				t.Errorf("%s: /usr is not what it should be after another run", what)
			}
			mustRun(t, hashpkg(t), "--root", root, "-q", "verify")
			mustRun(t, hashpkg(t), "--root", root, "-q", "verify", "--system")
		})
	}
}

// rootWithRoom copies a root to a file system of its own, at mount, and leaves so many KiB of room on it: with
// filler there.
func rootWithRoom(t *testing.T, mount, base string, room int) (root, filler string) {
	t.Helper()
	if err := unix.Mount("tmpfs", mount, "tmpfs", 0, "mode=755,size=16m"); err != nil {
		t.Fatal(err)
	}
	root, filler = filepath.Join(mount, "root"), filepath.Join(mount, "filler")
	copyRoot(t, base, root)
	var fs unix.Statfs_t
	if err := unix.Statfs(mount, &fs); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filler, make([]byte, max(0, int(fs.Bavail)*int(fs.Bsize)-room<<10)), 0o644); err != nil {
		t.Fatal(err)
	}
	return root, filler
}

// TestSyncFullDisk gives a sync more and more room: it fails and says so, or does
// its work; programs start, and with room the next one completes it.
func TestSyncFullDisk(t *testing.T) {
	testneed.Root(t)
	dir := t.TempDir()
	base := filepath.Join(dir, "base")
	smallSystem(t, base)
	_, mount := mountDir(t)
	failed, done := 0, 0
	for room := 0; room < 400; room += 8 { // KiB
		what := fmt.Sprintf("%d KiB of room", room)
		root, filler := rootWithRoom(t, mount, base, room)
		status, stderr := run(t, exec.Command(hashpkg(t), "--root", root, "-q", "sync"))
		switch {
		case status == 0:
			done++
		case status == 1 && strings.Contains(stderr, "no space left"):
			failed++
		default:
			t.Errorf("%s: status %d: %s", what, status, stderr)
		}
		starts(t, what, root)
		if err := os.Remove(filler); err != nil {
			t.Fatal(err)
		}
		mustRun(t, hashpkg(t), "--root", root, "-q", "sync")
		mustRun(t, hashpkg(t), "--root", root, "-q", "verify")
		mustRun(t, hashpkg(t), "--root", root, "-q", "verify", "--system")
		starts(t, what+", and again", root)
		edits, err := filepath.Glob(filepath.Join(root, "var/sys/.hashpkg/system/edits/deb/jq*"))
		if err != nil || len(edits) != 1 {
			t.Errorf("%s: jq was not edited in the end: %q %v", what, edits, err)
		}
		if err := unix.Unmount(mount, 0); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d syncs failed, %d were done", failed, done)
	if failed < 3 || done < 5 {
		t.Error("the room was not between too little and enough")
	}
}

// damagedStore returns a root in which much is damaged, what it was like before, and the
// package to mend it from.
func damagedStore(t *testing.T) (dir, root, before, deb string) {
	t.Helper()
	dir, first, _, root := twoVersions(t)
	before = dump(t, root)
	prefix := filepath.Join(root, "var/sys")
	tree := filepath.Join(prefix, "tool/1.0")
	for _, command := range []string{
		"chmod u+w usr/bin/tool && printf x >>usr/bin/tool && chmod u-w usr/bin/tool",
		"rm usr/share/tool/data usr/bin/t bin/t",
		"ln -s elsewhere bin/t",
		"chmod 0600 usr/share/tool/secret",
		"chmod 0700 usr/share",
		"printf mine >usr/share/mine",
		"rm ../default ../../current-system/bin/tool ../../current-system/index",
	} {
		cmd := exec.Command("sh", "-c", command)
		cmd.Dir = tree
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", command, err, out)
		}
	}
	return dir, root, before, first
}

// repaired checks that another repair makes of a root what it was, and has lost nothing
// that was somebody's.
func repaired(t *testing.T, what, root, before, deb string) {
	t.Helper()
	if status, stderr := run(t, exec.Command(hashpkg(t), "--root", root, "verify", "-q", "--repair", "--from", deb)); status != 0 {
		t.Errorf("%s: the next repair: status %d: %s", what, status, stderr)
	}
	mustRun(t, hashpkg(t), "--root", root, "verify", "-q")
	kept, err := filepath.Glob(filepath.Join(root, "var/sys/.hashpkg/quarantine/*-tool-1.0*/usr/share/mine"))
	if err != nil || len(kept) != 1 {
		t.Errorf("%s: the file that is in no manifest is at %q (%v)", what, kept, err)
	}
	if err := os.RemoveAll(filepath.Join(root, "var/sys/.hashpkg/quarantine")); err != nil {
		t.Fatal(err)
	}
	if have := dump(t, root); have != before {
		t.Errorf("%s: the root is not what it was:\n%s", what, lineDiff(before, have))
	}
}

// lineDiff returns the lines that two texts do not share.
func lineDiff(before, after string) string {
	var b strings.Builder
	for line := range strings.Lines(before) {
		if !strings.Contains(after, line) {
			b.WriteString("- " + line)
		}
	}
	for line := range strings.Lines(after) {
		if !strings.Contains(before, line) {
			b.WriteString("+ " + line)
		}
	}
	return b.String()
}

// TestRepairKilled kills a repair at each of the calls that change directories or make
// things durable.
func TestRepairKilled(t *testing.T) {
	t.Parallel()
	const strace = "strace"
	testneed.Programs(t, strace)
	dir, base, before, deb := damagedStore(t)
	broken := dump(t, base)
	calls := []string{"renameat", "renameat2", "linkat", "symlinkat", "mkdirat", "unlinkat", "fsync", "syncfs", "utimensat"}
	killSweep(t, strace, dir, base, calls, []string{"verify", "-q", "--repair", "--from", deb}, 40, func(what, root string) {
		for line := range strings.Lines(dump(t, root)) { // each name is as it was, or as it shall be
			name, _, _ := strings.Cut(line, " ")
			passing := strings.HasPrefix(name, "var/sys/.hashpkg/staging") || strings.HasPrefix(name, "var/sys/.hashpkg/quarantine") ||
				name == "var/sys/.hashpkg/lock" // says who was killed
			if !passing && !strings.Contains(broken, line) && !strings.Contains(before, line) {
				t.Errorf("%s: neither damaged nor mended: %s", what, line)
			}
		}
		repaired(t, what, root, before, deb)
	})
}

// TestRepairProgramsKilled kills the repair of an edited program that is damaged, and of one
// whose record cannot be read: what it was is in its place or in the quarantine, and another
// repair and a sync end it.
func TestRepairProgramsKilled(t *testing.T) {
	t.Parallel()
	testneed.Root(t)
	const strace = "strace"
	testneed.Programs(t, strace)
	dir := t.TempDir()
	debs := filepath.Dir(bookworm(t)[0])
	synced := filepath.Join(dir, "synced")
	smallSystem(t, synced)
	mustRun(t, hashpkg(t), "--root", synced, "sync", "-q")
	edited := dump(t, filepath.Join(synced, "usr"))
	for _, c := range []struct {
		damage string
		starts bool // the damaged program does
	}{
		{"printf x >>usr/bin/jq", false},
		{"echo x >var/sys/.hashpkg/system/edits/deb/jq:amd64.json", true},
	} {
		base := filepath.Join(dir, "base")
		copyRoot(t, synced, base)
		mustRun(t, "sh", "-ec", "cd $1; "+c.damage, "sh", base)
		damaged, err := os.ReadFile(filepath.Join(base, "usr/bin/jq"))
		if err != nil {
			t.Fatal(err)
		}
		calls := []string{"renameat", "renameat2", "linkat"}
		repair := []string{"verify", "-q", "--system", "--repair", "--from", debs}
		killSweep(t, strace, dir, base, calls, repair, 4, func(what, root string) {
			if c.starts {
				starts(t, what, root)
			}
			now, err := os.ReadFile(filepath.Join(root, "usr/bin/jq"))
			if err != nil {
				t.Fatal(err)
			}
			kept, err := filepath.Glob(filepath.Join(root, "var/sys/.hashpkg/quarantine/*-system-jq/usr/bin/jq"))
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(now, damaged) && len(kept) == 0 {
				t.Errorf("%s: the program was replaced, and what it was is gone", what)
			}
			mustRun(t, hashpkg(t), append([]string{"--root", root}, repair...)...)
			starts(t, what+", and again", root)
			mustRun(t, hashpkg(t), "--root", root, "-q", "verify", "--system")
			mustRun(t, hashpkg(t), "--root", root, "-q", "sync")
			if have := withoutTemporary(dump(t, filepath.Join(root, "usr"))); have != edited {
				t.Errorf("%s: after another repair and a sync, /usr is not what it was:\n%s", what, lineDiff(edited, have))
			}
		})
		if err := os.RemoveAll(base); err != nil {
			t.Fatal(err)
		}
	}
}

// TestRepairFails lets each of the calls fail.
func TestRepairFails(t *testing.T) {
	t.Parallel()
	const strace = "strace"
	testneed.Programs(t, strace)
	dir, base, before, deb := damagedStore(t)
	faults := 0
	for _, call := range []string{"renameat", "renameat2", "linkat", "symlinkat", "mkdirat", "fsync", "syncfs", "utimensat", "write"} {
		for n, survived := 1, 0; survived < 2 && n < 200; n++ {
			root := filepath.Join(dir, "failed")
			copyRoot(t, base, root)
			status, stderr := run(t, injected(strace, call, fmt.Sprintf("error=ENOSPC:when=%d", n), hashpkg(t), "--root", root, "verify", "-q", "--repair", "--from", deb))
			what := fmt.Sprintf("ENOSPC at %s %d", call, n)
			switch {
			case status == 0:
				survived++
			case status == 1 && (strings.Contains(stderr, "no space left") || call == "write" && stderr == ""): // strace counts by thread: the message was lost, too
				survived = 0
				faults++
			default:
				t.Errorf("%s: status %d: %s", what, status, stderr)
				survived++
			}
			repaired(t, what, root, before, deb)
			if err := os.RemoveAll(root); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Logf("%d faults", faults)
	if faults < 20 {
		t.Errorf("only %d faults: the sweep has not been everywhere", faults)
	}
}

// TestRepairFullDisk gives a repair more and more room.
func TestRepairFullDisk(t *testing.T) {
	testneed.Root(t)
	_, base, before, deb := damagedStore(t)
	_, mount := mountDir(t)
	failed, done := 0, 0
	for room := 0; room < 120; room += 4 { // KiB
		what := fmt.Sprintf("%d KiB of room", room)
		if err := unix.Mount("tmpfs", mount, "tmpfs", 0, "mode=755,size=4m"); err != nil {
			t.Fatal(err)
		}
		root, filler := filepath.Join(mount, "root"), filepath.Join(mount, "filler")
		copyRoot(t, base, root)
		var fs unix.Statfs_t
		if err := unix.Statfs(mount, &fs); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filler, make([]byte, int(fs.Bavail)*int(fs.Bsize)-room<<10), 0o644); err != nil {
			t.Fatal(err)
		}
		status, stderr := run(t, exec.Command(hashpkg(t), "--root", root, "-q", "verify", "--repair", "--from", deb))
		switch {
		case status == 0:
			done++
		case status == 1 && strings.Contains(stderr, "no space left"):
			failed++
		default:
			t.Errorf("%s: status %d: %s", what, status, stderr)
		}
		if err := os.Remove(filler); err != nil {
			t.Fatal(err)
		}
		repaired(t, what, root, before, deb)
		if err := unix.Unmount(mount, 0); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d repairs failed, %d were done", failed, done)
	if failed < 2 || done < 2 {
		t.Error("the room was not between too little and enough")
	}
}
