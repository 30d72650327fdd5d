package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"sync"
	"testing"

	"github.com/hashpkg/hashpkg/internal/testroot"
	"github.com/hashpkg/hashpkg/internal/testsaid"
)

// programs is the directory of the programs under test, while tests run.
var programs string

func TestMain(m *testing.M) {
	if err := sweep(); err != nil { // somebody else's, perhaps
		fmt.Fprintf(os.Stderr, "sweep away what an earlier run has left: %v\n", err)
	}
	dir, err := newDir()
	if err == nil {
		err = os.Chmod(dir, 0o755) // for tests that become another user
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	programs = dir
	status := m.Run()
	if err := os.RemoveAll(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		status = max(status, 1)
	}
	os.Exit(status)
}

var (
	// program is hashpkg, as users build it.
	program = sync.OnceValues(func() (string, error) { return build("plain", "CGO_ENABLED=0") })
	// racingProgram is hashpkg with the race detector. It needs the machine's C
	// library, so it runs in no root.
	racingProgram = sync.OnceValues(func() (string, error) { return build("race", "CGO_ENABLED=1", "-race") })
)

// build builds hashpkg in a directory of its own, which has nothing else.
func build(name, cgo string, flags ...string) (string, error) {
	path := filepath.Join(programs, name, "hashpkg")
	args := append([]string{"build", "-o", path}, flags...)
	cmd := exec.Command("go", append(args, "github.com/hashpkg/hashpkg/cmd/hashpkg")...)
	cmd.Env = append(os.Environ(), cgo)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build hashpkg: %w: %s", err, out)
	}
	return path, nil
}

// hashpkg returns the program under test.
func hashpkg(t *testing.T) string {
	t.Helper()
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// scriptedHashpkg returns the program for the scripts, which has the race detector
// when the tests have it.
func scriptedHashpkg(t *testing.T) string {
	t.Helper()
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return hashpkg(t)
	}
	for _, s := range info.Settings {
		if s.Key == "-race" && s.Value == "true" {
			path, err := racingProgram()
			if err != nil {
				t.Fatal(err)
			}
			return path
		}
	}
	return hashpkg(t)
}

// run runs a program and returns its exit status (-1 when a signal ended it) and
// what it printed on standard error.
func run(t *testing.T, cmd *exec.Cmd) (status int, stderr string) {
	t.Helper()
	var b bytes.Buffer
	cmd.Stderr = &b
	cmd.Env = append(os.Environ(), "SOURCE_DATE_EPOCH=1700000000")
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if status = cmd.ProcessState.ExitCode(); status != 0 {
		if err := testsaid.Refused(cmd.Args[1:], b.String()); err != nil {
			t.Error(err)
		}
	}
	return status, b.String()
}

// mustRun is run for what has to succeed.
func mustRun(t *testing.T, name string, args ...string) {
	t.Helper()
	if status, stderr := run(t, exec.Command(name, args...)); status != 0 {
		t.Fatalf("%s %q: status %d: %s", name, args, status, stderr)
	}
}

// syncJSON runs hashpkg in a root and decodes what it prints.
func syncJSON(t *testing.T, root *testroot.Root, args ...string) map[string]any {
	t.Helper()
	var v map[string]any
	out := root.Run(append([]string{"hashpkg", "--json"}, args...)...)
	if err := json.Unmarshal([]byte(out), &v); err != nil {
		t.Fatalf("hashpkg %q: %v: %s", args, err, out)
	}
	return v
}

func length(v any) int {
	list, _ := v.([]any)
	return len(list)
}
