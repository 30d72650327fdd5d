package e2e

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashpkg/hashpkg/internal/testdeb"
	"github.com/hashpkg/hashpkg/internal/testneed"
)

// TestConfKilledAnywhere kills the commands for configuration files at every step. Each
// file in /etc is as it was, or as it is to be, and the command does the rest when it is
// run again; what is the administrator's is never touched.
func TestConfKilledAnywhere(t *testing.T) {
	t.Parallel()
	const strace = "strace"
	testneed.Programs(t, strace)
	dir := t.TempDir()
	of := func(version string) string {
		p := testdeb.Package{Name: "tool", Version: version}
		for _, name := range []string{"a", "changed", "own", "sub/b", "sub/c"} {
			p.Files = append(p.Files, testdeb.File{Path: "etc/tool/" + name, Content: name + version + "\n"})
		}
		return writeDeb(t, dir, p)
	}
	command := func(root string, args ...string) {
		t.Helper()
		mustRun(t, hashpkg(t), append([]string{"--root", root, "-q"}, args...)...)
	}
	write := func(name, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	installed := filepath.Join(dir, "installed")
	write(filepath.Join(installed, "etc/tool/own"), "mine\n")
	command(installed, "install", of("1"))

	adopted := filepath.Join(dir, "adopted") // and another version is in use by now
	copyRoot(t, installed, adopted)
	command(adopted, "conf", "adopt", "tool")
	write(filepath.Join(adopted, "etc/tool/changed"), "changed\n")
	record := filepath.Join(adopted, "var/sys/.hashpkg/system/conf.json")
	mustRun(t, "mv", record, record+".aside")
	command(adopted, "install", of("2"))
	mustRun(t, "mv", record+".aside", record)

	// etc lists what is in /etc, without what was not given its name.
	etc := func(root string) string {
		t.Helper()
		var lines []string
		for line := range strings.Lines(dump(t, filepath.Join(root, "etc"))) {
			if !strings.Contains(line, ".hashpkg-new-") {
				lines = append(lines, line)
			}
		}
		return strings.Join(lines, "")
	}
	recorded := func(root string) string {
		t.Helper()
		b, err := os.ReadFile(filepath.Join(root, "var/sys/.hashpkg/system/conf.json"))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		return string(b)
	}
	for _, c := range []struct {
		base    string
		command []string
	}{
		{installed, []string{"conf", "adopt", "-q", "tool"}},
		{adopted, []string{"conf", "adopt", "-q", "tool"}},
		{adopted, []string{"conf", "drop", "-q", "tool"}},
	} {
		done := filepath.Join(dir, "done")
		copyRoot(t, c.base, done)
		command(done, c.command...)
		before, after, known := etc(c.base), etc(done), recorded(done)
		if before == after {
			t.Fatalf("%q changes nothing: %s", c.command, before)
		}
		if err := os.RemoveAll(done); err != nil {
			t.Fatal(err)
		}
		killSweep(t, strace, dir, c.base, []string{"renameat2", "renameat", "unlinkat", "mkdirat", "fsync", "fchmod"}, c.command, 10, func(what, root string) {
			for line := range strings.Lines(etc(root)) {
				if !strings.Contains(before, line) && !strings.Contains(after, line) {
					t.Errorf("%s: there is %s", what, line)
				}
			}
			if c.command[1] == "drop" { // which has nothing to do when all of it was done
				status, stderr := run(t, exec.Command(hashpkg(t), append([]string{"--root", root}, c.command...)...))
				if status != 0 && !strings.Contains(stderr, "no configuration file of tool") {
					t.Errorf("%s: then: status %d: %s", what, status, stderr)
				}
			} else {
				command(root, c.command...)
			}
			if have := etc(root); have != after || recorded(root) != known {
				t.Errorf("%s: then it is\n%s%s, want\n%s%s", what, have, recorded(root), after, known)
			}
			command(root, "verify", "--all")
		})
	}
}
