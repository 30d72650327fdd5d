//go:build system

package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hashpkg/hashpkg/internal/testneed"
	"github.com/hashpkg/hashpkg/internal/testroot"
	"github.com/hashpkg/hashpkg/internal/testrpm"
)

// centosRepository returns a repository that createrepo_c has made of packages of CentOS 7,
// with a package that stands for what else their release has.
func centosRepository(t *testing.T) (dir string) {
	t.Helper()
	testneed.Programs(t, "createrepo_c")
	dir = t.TempDir()
	for _, file := range centosFiles(t, []string{"bison", "flex", "m4", "glibc"}) {
		b, err := os.ReadFile(file)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, filepath.Base(file)), b, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	rest := testrpm.Package{Name: "rest", Provides: []string{
		"/bin/sh", "/sbin/install-info", "glibc-common = 2.17-222.el7", "libfreebl3.so()(64bit)", "libfreebl3.so(NSSRAWHASH_3.12.3)(64bit)",
	}}
	if err := os.WriteFile(filepath.Join(dir, "rest.rpm"), testrpm.RPM(t, rest), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "createrepo_c", "--quiet", "--no-database", dir).CombinedOutput(); err != nil {
		t.Fatalf("createrepo_c: %v: %s", err, out)
	}
	return dir
}

// TestSystemRPMsByName installs programs by name from a repository of real rpms, on a system
// of dpkg and on one of rpm, and asks each to do something.
func TestSystemRPMsByName(t *testing.T) {
	needForPrograms(t)
	repository := centosRepository(t)
	for name, make := range map[string]func(t *testing.T) *testroot.Root{
		"Debian 12": func(t *testing.T) *testroot.Root { return testroot.Debian(t, "bookworm", "") },
		"rpm":       func(t *testing.T) *testroot.Root { return testroot.RPM(t).Root },
	} {
		t.Run(name, func(t *testing.T) {
			root := make(t)
			s := newProgramSystem(t, name, root)
			root.WriteFile("/etc/hashpkg/sources.d/centos.repo", "["+centos+"]\nname=CentOS 7\nbaseurl=file://"+repository+"\ngpgcheck=0\nrepo_gpgcheck=0\n", 0o644)
			run := func(args ...string) []byte {
				cmd := exec.CommandContext(t.Context(), hashpkg(t), slices.Concat([]string{"--root", root.Dir}, args)...)
				out, err := cmd.Output()
				var exit *exec.ExitError
				if errors.As(err, &exit) {
					err = fmt.Errorf("%w: %s", err, exit.Stderr)
				}
				if err != nil {
					t.Fatalf("hashpkg %s: %v", strings.Join(args, " "), err)
				}
				return out
			}
			run("install", "--from", centos, "bison", "flex")
			var list struct{ Packages []byNameTree }
			if err := json.Unmarshal(run("--json", "list"), &list); err != nil {
				t.Fatal(err)
			}
			s.trees = func(c *programCase) (trees []string, err error) {
				for p := range strings.FieldsSeq(c.packages) {
					i := slices.IndexFunc(list.Packages, func(o byNameTree) bool { return o.Name == p && o.Release == centos })
					if i < 0 {
						return nil, fmt.Errorf("%s is not installed", p)
					}
					trees = append(trees, list.Packages[i].Tree)
				}
				return trees, nil
			}
			var cases []*programCase
			for i := range programCases {
				if programCases[i].release == centos {
					cases = append(cases, &programCases[i])
				}
			}
			for _, r := range s.all(cases) {
				if !r.Works {
					t.Errorf("%s, as %s: %s %s %s", r.Program, r.User, r.Output, r.Said, r.Status)
				}
			}
			run("verify", "--all")
			if out := run("outdated"); strings.Contains(string(out), "bison") {
				t.Errorf("outdated says %s", out)
			}
		})
	}
}
