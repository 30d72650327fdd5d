package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/hashpkg/hashpkg/internal/testdeb"
	"github.com/hashpkg/hashpkg/internal/testneed"
)

// TestPager has somebody read a list that is longer than the terminal, which has 50 lines.
func TestPager(t *testing.T) {
	testneed.Programs(t, "less")
	root, debs, bin := t.TempDir(), t.TempDir(), t.TempDir()
	args := []string{"--root", root, "install", "-q"}
	for i := range 60 {
		args = append(args, writeDeb(t, debs, testdeb.Package{Name: fmt.Sprintf("tool%02d", i), Version: "1"}))
	}
	many := testdeb.Package{Name: "many", Version: "1"}
	for i := range 4000 {
		many.Files = append(many.Files, testdeb.File{Path: fmt.Sprintf("usr/share/many/a/file/with/a/rather/long/name/%d", i), Mode: 0o644, Content: "x"})
	}
	args = append(args, writeDeb(t, debs, many))
	if out, err := exec.Command(hashpkg(t), args...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	own := filepath.Join(bin, "own")
	if err := os.WriteFile(own, []byte("#!/bin/sh\necho \"own pager: $*\"\ncat\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	begin := func(t *testing.T, env []string, args ...string) *typing {
		t.Helper()
		cmd := exec.Command(hashpkg(t), append([]string{"--root", root}, args...)...)
		cmd.Env = slices.DeleteFunc(os.Environ(), func(kv string) bool {
			name, _, _ := strings.Cut(kv, "=")
			return strings.HasPrefix(name, "LESS") || slices.Contains([]string{"PAGER", "HASHPKG_PAGER", "NO_COLOR", "COLUMNS", "LINES", "SUDO_UID"}, name)
		})
		cmd.Env = append(append(cmd.Env, "TERM=xterm", "LC_ALL=C.UTF-8"), env...)
		return startTyping(t, cmd)
	}
	const bold = "\x1b[1mNAME"
	for name, tt := range map[string]struct {
		env    []string
		args   []string
		act    func(*typing)
		status int
		has    []string
		lacks  []string
	}{
		"less that is left early": {
			act: func(y *typing) { y.waitsFor("tool40"); y.types("q") }, lacks: []string{"tool59", "hashpkg:"},
		},
		"Ctrl-C is less's": {
			act: func(y *typing) {
				y.waitsFor("tool40")
				y.types("\x03")
				y.waitsFor("tool40")
				y.types("G")
				y.waitsFor("tool59")
				y.types("q")
			}, lacks: []string{"hashpkg:"},
		},
		"SIGTERM": {
			act: func(y *typing) { y.waitsFor("tool40"); y.cmd.Process.Signal(syscall.SIGTERM) }, status: 143, lacks: []string{"tool59"},
		},
		// less reads no more than it shows, and the command waits for it.
		"SIGTERM, with more than a pipe holds": {
			args: []string{"show", "-v", "many"},
			act:  func(y *typing) { y.waitsFor("many 1 "); y.cmd.Process.Signal(syscall.SIGTERM) }, status: 143,
		},
		"what fits":                {env: []string{"PAGER=" + own}, args: []string{"list", "tool0*"}, has: []string{bold, "tool09"}, lacks: []string{"own pager"}},
		"colors are not wanted":    {env: []string{"NO_COLOR=1", "PAGER=" + own + " -x"}, has: []string{"own pager: -x", "NAME", "tool59"}, lacks: []string{"\x1b["}},
		"its own variable":         {env: []string{"PAGER=/nowhere", "HASHPKG_PAGER=" + own}, has: []string{"own pager", bold, "tool59"}},
		"one that is not there":    {env: []string{"PAGER=/nowhere"}, has: []string{bold, "tool59"}, lacks: []string{"nowhere"}},
		"one that fails":           {env: []string{"PAGER=false"}, has: []string{bold, "tool59"}, lacks: []string{"hashpkg:"}},
		"one that reads nothing":   {env: []string{"PAGER=true"}, lacks: []string{"hashpkg:"}},
		"none":                     {env: []string{"PAGER=cat"}, has: []string{bold, "tool59"}},
		"not wanted":               {env: []string{"PAGER=" + own}, args: []string{"list", "--no-pager"}, has: []string{bold, "tool59"}, lacks: []string{"own pager"}},
		"a terminal that is dumb":  {env: []string{"TERM=dumb", "PAGER=" + own}, has: []string{"tool59"}, lacks: []string{"own pager", "\x1b["}},
		"a command that fails":     {env: []string{"PAGER=" + own}, args: []string{"list", "tool*", "nosuch"}, status: 1, has: []string{"own pager", "tool59", "\x1b[31mhashpkg:\x1b[0m not installed: nosuch"}},
		"a narrow terminal":        {env: []string{"COLUMNS=40", "PAGER=" + own}, has: []string{"…"}},
		"a program that reads all": {env: []string{"PAGER=" + own}, args: []string{"list", "--json"}, has: []string{`{"missing"`}, lacks: []string{"own pager"}},
		// Who may run hashpkg as root by sudo may not run others.
		"other rights": {
			env:   []string{"SUDO_UID=1000", "PAGER=" + own, "LESSOPEN=|-echo opened %s", "LESS=-Popened", "LESSSECURE_ALLOW=shell"},
			act:   func(y *typing) { y.waitsFor("tool40"); y.types("!"); y.waitsFor("not available"); y.types("\rq") },
			lacks: []string{"own pager", "opened"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if tt.args == nil {
				tt.args = []string{"list"}
			}
			y := begin(t, tt.env, tt.args...)
			if tt.act != nil {
				tt.act(y)
			}
			y.ends()
			y.mu.Lock()
			defer y.mu.Unlock()
			said := string(y.said)
			for _, text := range tt.has {
				if !strings.Contains(said, text) {
					t.Errorf("%q is not in %q", text, said)
				}
			}
			for _, text := range tt.lacks {
				if strings.Contains(said, text) {
					t.Errorf("%q is in %q", text, said)
				}
			}
			if status := y.cmd.ProcessState.ExitCode(); status != tt.status {
				t.Errorf("status %d, want %d: %q", status, tt.status, said)
			}
		})
	}
	// No terminal: no color, no pager, and nothing is cut, unless somebody asks.
	cmd := exec.Command(hashpkg(t), "--root", root, "list", "--columns", "name,tree")
	cmd.Env = append(os.Environ(), "COLUMNS=10", "TERM=xterm", "PAGER="+own)
	out, err := cmd.Output()
	if err != nil || strings.ContainsAny(string(out), "\x1b…") || strings.Contains(string(out), "own pager") || !strings.Contains(string(out), "/var/sys/tool59/1\n") {
		t.Errorf("%v: %q", err, out)
	}
	out, err = exec.Command(hashpkg(t), "--root", root, "list", "--columns", "name", "--color", "always", "tool00").Output()
	if err != nil || string(out) != "\x1b[1mNAME\x1b[0m\ntool00\n" {
		t.Errorf("%v: %q", err, out)
	}
	var exit *exec.ExitError
	if _, err = exec.Command(hashpkg(t), "--root", root, "list", "--color", "green").Output(); !errors.As(err, &exit) || exit.ExitCode() != 2 ||
		string(exit.Stderr) != "hashpkg: --color green: expected auto, always or never\n" {
		t.Errorf("%v", err)
	}
}
