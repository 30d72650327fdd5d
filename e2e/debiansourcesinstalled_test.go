//go:build system

package e2e

import (
	"context"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hashpkg/hashpkg/internal/testroot"
)

// sourceSystem is a system that has the packages of a source.
type sourceSystem struct {
	*debianSource
	t     *testing.T
	root  *testroot.Root
	names string // of its packages, with spaces between them
}

// install installs packages that the addon made in place of those without it: where hashpkg is not, beside them, and
// where hashpkg follows dpkg. Each time they do their work, and nothing of theirs is another than in the package.
func (b *sourceBuilder) install(plain, bound map[string]string, packages []string) {
	b.t.Helper()
	s := &sourceSystem{b.debianSource, b.t, testroot.Debian(b.t, "bookworm", "", "debsums"), strings.Join(b.installed, " ")}
	s.root.WriteFile("/usr/sbin/policy-rc.d", "#!/bin/sh\nexit 101\n", 0o755)
	b.apt(s.root, "update")
	b.apt(s.root, slices.Concat([]string{"install"}, b.installed, strings.Fields(b.worksWith))...)
	s.works("as it comes from Debian", "")

	installDebs(s.root, s.of(plain)...)
	s.works("built without the addon", "")
	before := s.root.Loads("/var/sys")
	installDebs(s.root, s.of(bound)...)
	s.works("where hashpkg is not", "")
	s.loadsSame("where hashpkg is not", before)
	installDebs(s.root, s.of(plain)...)

	// Beside the one that dpkg has, that of Debian with what it needs, and then two later ones.
	installDebs(s.root, packages[0])
	byName := exec.Command(hashpkg(b.t), slices.Concat([]string{"--root", s.root.Dir, "install", "-q", "--signature", "warn", "--from", "bookworm"}, b.installed)...)
	byName.Env = append(os.Environ(), "http_proxy="+b.proxy)
	if out, err := byName.CombinedOutput(); err != nil {
		b.t.Fatalf("hashpkg install: %v: %s", err, out)
	}
	for _, suffix := range []string{"+beside1", "+beside2"} {
		debs := testroot.Rebuild(b.t, testroot.Change{Suffix: suffix}, s.of(bound)...)
		args := []string{"hashpkg", "install", "-q"}
		for _, deb := range debs {
			to := "/root/" + filepath.Base(deb)
			s.root.Install(deb, to)
			args = append(args, to)
		}
		s.root.Run(args...)
		s.works("as it was", "")
		s.works("beside it, "+suffix, "/var/sys/current-system/bin:/var/sys/current-system/sbin:")
	}
	s.root.Run("hashpkg", "verify", "--all")
	s.root.Run(slices.Concat([]string{"hashpkg", "remove", "-q"}, b.installed)...)
	s.root.Run("hashpkg", "autoremove", "-q")

	// Followed.
	installDebs(s.root, packages[1])
	s.works("edited by sync", "")
	installDebs(s.root, s.of(bound)...)
	s.works("where hashpkg follows", "")
	s.searchesTrees()
	s.loadsSame("where hashpkg follows", before)
	installDebs(s.root, testroot.Rebuild(b.t, testroot.Change{Suffix: "+new1"}, s.of(bound)...)...)
	s.works("upgraded", "")
	s.searchesTrees()
	s.loadsSame("upgraded", before)
	s.root.Run("hashpkg", "verify", "--system")
	s.root.Run("dpkg", "-P", "hashpkg-follow", "hashpkg")
	s.works("when hashpkg is gone", "")
}

// of returns the packages that are installed, of those that were built.
func (s *sourceSystem) of(debs map[string]string) []string {
	s.t.Helper()
	var files []string
	for _, name := range s.installed {
		if debs[name] == "" {
			s.t.Fatalf("there is no %s in %q", name, slices.Sorted(maps.Keys(debs)))
		}
		files = append(files, debs[name])
	}
	return files
}

// works has the packages do their work, with the commands of a PATH before the system's, and asks debsums and dpkg
// whether they have the files that they came with.
func (s *sourceSystem) works(when, path string) {
	s.t.Helper()
	if path != "" {
		for _, name := range s.edited {
			if _, err := os.Lstat(s.root.Path(name)); err != nil || !strings.Contains(name, "bin/") {
				continue // of a package that is not installed, or no command
			}
			if out := s.root.Run("sh", "-c", `PATH=$1$PATH; command -v "$2" || true`, "sh", path, filepath.Base(name)); !strings.HasPrefix(out, "/var/sys/") {
				s.t.Errorf("%s %s is %q", when, name, out)
			}
		}
	}
	const script = `mkdir -p /tmp/work; cd /tmp/work; PATH=$1$PATH; eval "$2"`
	ctx, cancel := context.WithTimeout(s.t.Context(), s.root.Timeout)
	defer cancel()
	out, err := s.root.PivotCommand(ctx, 0, "sh", "-euc", script, "sh", path, s.work).CombinedOutput()
	if err != nil || string(out) != s.want {
		s.t.Errorf("%s the program says %q (%v), want %q", when, out, err, s.want)
	}
	s.root.Run("rm", "-rf", "/tmp/work")
	if out, _ := s.root.RunErr(ctx, "sh", "-c", "debsums -c "+s.names+" 2>&1; dpkg --verify "+s.names); out != "" && when != "edited by sync" {
		s.t.Errorf("%s debsums and dpkg find changes: %s", when, out)
	}
}

// loadsSame asks the loader whether programs load the libraries that they did before.
func (s *sourceSystem) loadsSame(when string, before testroot.Loads) {
	s.t.Helper()
	after := s.root.Loads("/var/sys")
	delete(after, "/usr/bin/hashpkg")
	if diff := before.Diff(after, s.root.SameFile); len(diff) > 0 {
		s.t.Errorf("%s other libraries are loaded:\n%s", when, strings.Join(diff, "\n"))
	}
}

// searchesTrees asks the loader whether each program that was built with the addon has the libraries that it needs itself
// from the trees, but for those of the C library.
func (s *sourceSystem) searchesTrees() {
	s.t.Helper()
	loads := s.root.Loads("/var/sys")
	family := s.root.Run("sh", "-c", "dpkg -L libc6 | sed 's|.*/||'")
	for _, name := range s.edited {
		if _, err := os.Lstat(s.root.Path(name)); err != nil {
			continue // of a package that is not installed
		}
		load, ok := loads["/"+name]
		if !ok {
			s.t.Errorf("the loader was not asked about %s", name)
		}
		for _, soname := range inspected(s.t, s.root.Path(name)).Needed {
			path := load.Libraries[soname]
			if !strings.Contains(family, soname+"\n") && !strings.HasSuffix(path, "/var/sys/current-system/system/lib64/"+soname) {
				s.t.Errorf("%s has %s from %q", name, soname, path)
			}
		}
	}
}
