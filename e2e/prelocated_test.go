//go:build system

package e2e

import (
	"os"
	"regexp"
	"slices"
	"testing"

	"github.com/hashpkg/hashpkg/internal/testneed"
	"github.com/hashpkg/hashpkg/internal/testroot"
)

// prelocatedCases are the programs that are asked where HASHPKG_TEST_PROGRAMS does not say: of
// many languages, with plugins, modules and threads, and with C++.
var prelocatedCases = regexp.MustCompile(`^trixie/(python3|python3-numpy|perl|ruby|lua5\.4|php|tcl|guile-3\.0|gawk|vim|emacs|nano|ed|g\+\+|cmake|bison, flex|gettext|git|subversion|sqlite3|memcached|rsync|groff|ghostscript|poppler|qpdf|xsltproc|xmllint|hunspell|imagemagick|graphviz|gnuplot|rsvg-convert|tesseract|ffmpeg|sox|zsh|fish|tmux)$`)

// TestSystemPrelocatedPrograms has programs do the work, prelocated, that they do where they are
// only bound: one of another release, with its C library, and all that it needs.
func TestSystemPrelocatedPrograms(t *testing.T) {
	testneed.Root(t)
	testneed.Network(t)
	testneed.Programs(t, "strace", "ip", "pivot_root")
	cases := chosenCases(t)
	if os.Getenv("HASHPKG_TEST_PROGRAMS") == "" {
		cases = slices.DeleteFunc(cases, func(c *programCase) bool { return !prelocatedCases.MatchString(c.release + "/" + c.name) })
		if len(cases) < 30 {
			t.Fatalf("there are %d such cases", len(cases))
		}
	}
	if slices.ContainsFunc(cases, func(c *programCase) bool { return c.display }) {
		needForPrograms(t)
	}
	proxy := newCachingProxy(t)
	run := func(name, option string) (works map[string]bool) {
		works = map[string]bool{}
		t.Run(name, func(t *testing.T) {
			for _, r := range installedOn(t, name, testroot.Debian(t, "bookworm", ""), proxy, cases, option).results {
				works[r.Program+" of "+r.Release+" as "+r.User] = r.Works
			}
		})
		return works
	}
	bound, prelocated := run("bound", "--no-prelocate"), run("prelocated", "--prelocate")
	count := 0
	for program, does := range bound {
		if does && !prelocated[program] {
			t.Errorf("%s does its work bound, and not prelocated", program)
		}
		if does {
			count++
		}
	}
	if count == 0 {
		t.Error("no program does its work")
	}
	t.Logf("%d of %d do their work", count, len(bound))
}
