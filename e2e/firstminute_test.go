package e2e

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/hashpkg/hashpkg/internal/testdeb"
	"github.com/hashpkg/hashpkg/internal/testneed"
)

// TestFirstMinute is somebody without privileges: what they are told, and that it works.
func TestFirstMinute(t *testing.T) {
	testneed.Root(t) // to be somebody else
	dir, err := os.MkdirTemp("", "first-minute")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	const somebody = 65534
	home, packages := filepath.Join(dir, "home"), filepath.Join(dir, "packages")
	for _, d := range []string{home, packages} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	program, err := os.ReadFile(scriptedHashpkg(t))
	if err != nil {
		t.Fatal(err)
	}
	deb := testdeb.Deb(t, testdeb.Package{Name: "tool", Version: "1.0", Files: []testdeb.File{testdeb.Exec("usr/bin/tool", "#!/bin/sh\necho it works\n")}})
	hashpkg := filepath.Join(dir, "hashpkg")
	for file, content := range map[string][]byte{hashpkg: program, filepath.Join(packages, "tool.deb"): deb} {
		if err := os.WriteFile(file, content, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, d := range []string{dir, packages} {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chown(home, somebody, somebody); err != nil {
		t.Fatal(err)
	}
	run := func(want int, program string, args ...string) (stdout, stderr string) {
		t.Helper()
		var out, errs bytes.Buffer
		c := exec.CommandContext(t.Context(), program, args...)
		c.Dir, c.Env, c.Stdout, c.Stderr = home, []string{"HOME=" + home, "PATH=/usr/bin:/bin"}, &out, &errs
		c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: somebody, Gid: somebody}}
		err := c.Run()
		if c.ProcessState == nil || c.ProcessState.ExitCode() != want {
			t.Fatalf("%s %v: %v, want %d: %s", program, args, err, want, errs.String())
		}
		return out.String(), errs.String()
	}

	_, said := run(1, hashpkg, "install", "--from", packages, "tool")
	const hint = "hashpkg: run hashpkg as root, or give --prefix with a directory of your own, such as ~/.local/sys " +
		"(prefix = \"/home/YOU/.local/sys\" in ~/.config/hashpkg.toml does that for good): "
	if !strings.HasPrefix(said, hint) || !strings.HasSuffix(said, ": permission denied\n") || strings.Count(said, "permission denied") != 1 || strings.Count(said, "hashpkg: ") != 1 {
		t.Errorf("without a prefix it says %q", said)
	}
	prefix := filepath.Join(home, ".local/sys")
	run(0, hashpkg, "--prefix", prefix, "install", "-q", "--from", packages, "tool")
	if out, _ := run(0, filepath.Join(prefix, "current-system/bin/tool")); out != "it works\n" {
		t.Errorf("the tool says %q", out)
	}
	if err := os.Mkdir(filepath.Join(home, ".config"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(home, ".config/hashpkg.toml"), []byte("prefix = \""+prefix+"\"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, _ := run(0, hashpkg, "list"); !strings.HasPrefix(out, "tool  1.0  amd64  deb  -  default  "+prefix) {
		t.Errorf("with the setting it lists %q", out)
	}
	if _, said := run(1, hashpkg, "sources", "add", "sid"); !strings.HasPrefix(said, "hashpkg: run this as root, or name the release with --from in each command, which needs no file: add sources: ") {
		t.Errorf("of sources it says %q", said)
	}
}
