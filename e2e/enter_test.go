package e2e

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/hashpkg/hashpkg/internal/testdeb"
	"github.com/hashpkg/hashpkg/internal/testneed"
	"github.com/hashpkg/hashpkg/internal/testroot"
)

// insideRoot puts hashpkg into a root, and returns what runs it there, as a user by number,
// where namespaces can be made.
func insideRoot(t *testing.T, root *testroot.Root) func(id int, args ...string) (out string, status int) {
	t.Helper()
	b, err := os.ReadFile(hashpkg(t))
	if err != nil {
		t.Fatal(err)
	}
	root.WriteFile("/usr/bin/hashpkg", string(b), 0o755)
	return func(id int, args ...string) (string, int) {
		t.Helper()
		cmd := root.PivotCommand(t.Context(), id, append([]string{"hashpkg"}, args...)...)
		out, err := cmd.CombinedOutput()
		if cmd.ProcessState == nil {
			t.Fatal(err)
		}
		return string(out), cmd.ProcessState.ExitCode()
	}
}

// TestEnter runs commands in the views of one package and of several.
func TestEnter(t *testing.T) {
	testneed.Programs(t, "pivot_root")
	root := testroot.Debian(t, "bookworm", "")
	dir := t.TempDir()
	install := []string{"--root", root.Dir, "install", "-q"}
	for _, name := range []string{"alpha", "beta"} {
		install = append(install, writeDeb(t, dir, testdeb.Package{Name: name, Version: "1", Files: []testdeb.File{
			{Path: "usr/bin/" + name, Content: "#!/bin/sh\ncat /usr/share/" + name + "/data /usr/share/both\n", Mode: 0o755},
			{Path: "usr/share/" + name + "/data", Content: name + "\n"},
			{Path: "usr/share/both", Content: "both of " + name + "\n"},
		}}))
	}
	install = append(install, writeDeb(t, dir, testdeb.Package{Name: "plain", Version: "1", Files: []testdeb.File{{Path: "usr/bin/plain", Content: "#!/bin/sh\n", Mode: 0o755}}}))
	install = append(install, writeDeb(t, dir, testdeb.Package{Name: "own", Version: "1", Files: []testdeb.File{
		{Path: "usr/bin/own", Content: "#!/bin/sh\necho own $(cat /usr/share/alpha/data); cat /usr/share/own/data\n", Mode: 0o755},
		{Path: "usr/share/own/data", Content: "the shell's\n"},
	}}))
	if status, said := run(t, exec.Command(hashpkg(t), install...)); status != 0 {
		t.Fatal(said)
	}
	inside := insideRoot(t, root)
	for _, id := range []int{0, 1000} {
		for command, want := range map[string]string{
			"enter alpha -- alpha":                        "alpha\nboth of alpha\n",
			"enter alpha beta -- beta":                    "beta\nboth of alpha\n",
			"enter beta alpha plain -- alpha":             "alpha\nboth of beta\n",
			"enter alpha beta alpha=1 -- alpha":           "alpha\nboth of alpha\n",
			"enter alpha beta -- cat /etc/debian_version": root.ReadFile("/etc/debian_version"),
			"run --view auto alpha":                       "alpha\nboth of alpha\n",
			"enter alpha beta -- hashpkg run beta":        "beta\nboth of beta\n",
			"enter alpha beta -- test -e /usr/bin/no":     "",
		} {
			out, status := inside(id, strings.Fields(command)...)
			wantStatus := 0
			if strings.HasSuffix(command, "/no") {
				wantStatus = 1
			}
			if out != want || status != wantStatus {
				t.Errorf("as %d: %s: status %d: %s; want %s", id, command, status, out, want)
			}
		}
		for command, want := range map[string]string{
			"enter plain -- true":             "its programs need no view",
			"enter -- true":                   "name a package",
			"enter nobody alpha -- true":      "not installed: nobody",
			"enter --libs alpha -- true":      "no linker in it",
			"run --view libs alpha":           "no linker in it",
			"run --view libs plain":           "needs no view",
			"run --view other alpha":          "expected auto, libs or none",
			"run --view none alpha":           "/usr/share/alpha/data: No such file",
			"enter alpha beta -- no-such-one": "no-such-one",
		} {
			if out, status := inside(id, strings.Fields(command)...); status == 0 || !strings.Contains(out, want) {
				t.Errorf("as %d: %s: status %d: %s; want %s", id, command, status, out, want)
			}
		}
	}
	// The shell is the caller's, which may have a view of its own, and may be in another one only.
	for _, id := range []int{0, 1000} {
		for shell, want := range map[string]string{
			"":                                "alpha\n",
			"alpha":                           "alpha\n",
			"/bin/bash":                       "bash alpha\n",
			"/usr/share":                      "note: SHELL names /usr/share, which is no program here: this is /bin/sh\nalpha\n",
			"/usr/bin/no-such-one":            "note: SHELL names /usr/bin/no-such-one, which is no program here: this is /bin/sh\nalpha\n",
			"/bin/alpha":                      "alpha\nboth of alpha\n",
			"/var/sys/current-system/bin/own": "own alpha\nthe shell's\n",
		} {
			cmd := root.PivotCommand(t.Context(), id, "env", "SHELL="+shell, "hashpkg", "enter", "alpha")
			cmd.Stdin = strings.NewReader("echo ${BASH_VERSION:+bash} $(cat /usr/share/alpha/data)\n")
			out, err := cmd.CombinedOutput()
			if err != nil || string(out) != want {
				t.Errorf("as %d, with SHELL=%s: %v: %s; want %s", id, shell, err, out, want)
			}
		}
	}
	// What a shell sees stays while it runs, also when nothing else has it.
	const collect = "hashpkg remove -q alpha && hashpkg remove -q beta && hashpkg gc -q --keep 1 --keep-versions 0 && ls /var/sys/.hashpkg/views && cat /usr/share/alpha/data /usr/share/beta/data"
	if out, status := inside(0, "enter", "alpha", "beta", "--", "sh", "-c", collect); status != 0 || !strings.HasSuffix(out, "\nalpha\nbeta\n") || strings.Count(out, "\n") != 5 {
		t.Errorf("after a collection: status %d: %s", status, out)
	}
}
