//go:build system

package e2e

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashpkg/hashpkg/internal/testroot"
)

// worker has the programs of a root do their work, again and again, and compares
// what they say with what they said at first.
type worker struct {
	t      *testing.T
	root   *testroot.Root
	cases  []workCase
	first  map[string]string
	differ map[string][]string // the steps at which a case said something else
	steps  []string
}

// newWorker has the programs do their work on a root that hashpkg has not touched.
// What does not do its work there says nothing of hashpkg. Nor does what says the
// same without a file that it needs, a plugin for instance: that shows for each case
// that the comparison can fail.
func newWorker(t *testing.T, root *testroot.Root, cases []workCase) *worker {
	t.Helper()
	w := &worker{t: t, root: root, cases: cases, differ: map[string][]string{}}
	start := time.Now()
	w.first = w.all(false)
	t.Logf("%d cases at first in %v", len(cases), time.Since(start).Round(time.Second))
	without := w.all(true)
	for _, c := range cases {
		if out := w.first[c.name]; !strings.Contains(out, c.want) || !strings.HasSuffix(out, "\nstatus 0\n") {
			t.Errorf("%s does not do its work without hashpkg: %q is not in %s", c.name, c.want, out)
		}
		if without[c.name] == w.first[c.name] {
			t.Errorf("%s says the same without %s: %s", c.name, c.needs, w.first[c.name])
		}
	}
	return w
}

// one runs the script of a case and returns what it said: with hide, while the files
// that it needs are hidden from it.
func (w *worker) one(c workCase, hide bool) string {
	const script = `ip link set lo up
d=/srv/cases/$0; rm -rf $d; mkdir -p $d; cd $d
if [ -n "$2" ]; then
	n=0
	for f in $2; do
		[ -e "$f" ] || continue
		if [ -d "$f" ]; then mount -t tmpfs hidden "$f"; else mount --bind /dev/null "$f"; fi || exit 9
		n=$((n+1))
	done
	[ $n -gt 0 ] || { echo "there is no $2"; exit 9; }
fi
HOME=$d timeout -k 5 180 sh -ec "$1"; s=$?
cd /; rm -rf $d; printf '\nstatus %s\n' $s`
	ctx, cancel := context.WithTimeout(w.t.Context(), w.root.Timeout)
	defer cancel()
	hidden := ""
	if hide {
		hidden = c.needs
	}
	out, err := w.root.RunErr(ctx, "sh", "-c", script, c.name, c.script, hidden)
	if err != nil {
		w.t.Errorf("%s cannot be run: %v", c.name, err)
	}
	return out
}

// all runs the cases, some at a time, for many wait for a server.
func (w *worker) all(hide bool) map[string]string {
	var mu sync.Mutex
	var wg sync.WaitGroup
	said := map[string]string{}
	slots := make(chan struct{}, 3)
	for _, c := range w.cases {
		slots <- struct{}{}
		wg.Go(func() {
			out := w.one(c, hide)
			mu.Lock()
			said[c.name] = out
			mu.Unlock()
			<-slots
		})
	}
	wg.Wait()
	return said
}

// again has the programs do their work after a step. One that says something else gets a
// second chance, alone: a server may have been slow.
func (w *worker) again(step string) {
	w.t.Helper()
	start := time.Now()
	w.steps = append(w.steps, step)
	said := w.all(false)
	for _, c := range w.cases {
		out := said[c.name]
		if out != w.first[c.name] {
			w.t.Logf("%s, %s: it says at first\n%s", step, c.name, out)
			out = w.one(c, false)
		}
		if out != w.first[c.name] {
			w.differ[c.name] = append(w.differ[c.name], step)
			w.t.Errorf("%s, %s: it says\n%s\nand said\n%s", step, c.name, out, w.first[c.name])
		}
	}
	w.t.Logf("%s: %d cases in %v", step, len(w.cases), time.Since(start).Round(time.Second))
}

// table logs what came of each case.
func (w *worker) table() {
	w.t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "\n| program | lines of output | %s |\n", strings.Join(w.steps, " | "))
	for _, c := range w.cases {
		fmt.Fprintf(&b, "| %s | %d ", c.name, strings.Count(w.first[c.name], "\n")-2)
		for _, step := range w.steps {
			result := "same"
			if slices.Contains(w.differ[c.name], step) {
				result = "DIFFERS"
			}
			fmt.Fprintf(&b, "| %s ", result)
		}
		b.WriteString("|\n")
	}
	w.t.Log(b.String())
	w.t.Logf("%d programs do their work as before, of %d", len(w.cases)-len(w.differ), len(w.cases))
}

// synced logs what a sync has done, and fails the test when that is too little to judge.
func (w *worker) synced(r map[string]any) {
	w.t.Helper()
	w.t.Logf("%v packages, %d trees, %d programs edited, %d left, %d libraries not in the farm",
		r["packages"], length(r["trees"]), length(r["programs"]), length(r["left"]), length(r["outside"]))
	for _, l := range r["left"].([]any) {
		w.t.Logf("left: %v", l)
	}
	if length(r["programs"]) < 2*len(w.cases) {
		w.t.Errorf("the sync has edited %d programs", length(r["programs"]))
	}
}

// packagesOf returns the packages of cases, each once.
func packagesOf(cases []workCase) []string {
	all := map[string]bool{"iproute2": true, "libc6": true, "mount": true}
	for _, c := range cases {
		for p := range strings.FieldsSeq(c.packages) {
			all[p] = true
		}
	}
	return slices.Sorted(maps.Keys(all))
}

// from returns the file in which ldd finds a library of a program.
func from(root *testroot.Root, program, library string) string {
	for line := range strings.Lines(root.Run("ldd", program)) {
		words := strings.Fields(line) // libz.so.1 => /lib/x86_64-linux-gnu/libz.so.1 (0x...), or a path without an arrow
		if n := len(words); n > 1 && strings.HasPrefix(filepath.Base(words[n-2]), library) {
			return words[n-2]
		}
	}
	return ""
}

// foundBy fails the test unless xmllint finds libxml2 below a directory.
func foundBy(t *testing.T, step string, root *testroot.Root, below string) {
	t.Helper()
	if file := from(root, "/usr/bin/xmllint", "libxml2.so.2"); !strings.HasPrefix(file, below) {
		t.Errorf("%s: xmllint finds its library at %q, not below %s", step, file, below)
	}
}

// testWork takes a system of a release through all that hashpkg does to programs.
func testWork(t *testing.T, suite string) {
	root := testroot.Debian(t, suite, "", packagesOf(workCases)...)
	root.Install(hashpkg(t), "/usr/bin/hashpkg")
	w := newWorker(t, root, workCases)
	untouched := root.Run("sh", "-c", "dpkg --verify || true")
	w.synced(syncJSON(t, root, "sync"))
	foundBy(t, "synced", root, "/var/sys/current-system/lib64/")
	w.again("synced")

	// Libraries that many programs load, of new versions and then pinned to the old.
	libraries := strings.Fields("libexpat1 libfreetype6 liblzma5 libpcre2-8-0 libtiff6 libxml2 libzstd1 zlib1g")
	pins := []string{"hashpkg", "pin", "--all"}
	old := map[string]string{}
	for _, l := range libraries {
		old[l] = root.Run("dpkg-query", "-W", "-f", "${Version}", l)
		pins = append(pins, l+"="+old[l])
	}
	root.Repo().Add(testroot.Rebuild(t, testroot.Change{Suffix: "+new1", Note: true}, root.Fetch(libraries...)...)...)
	root.Run(append([]string{"apt-get", "-y", "-q", "install"}, libraries...)...)
	root.Run("hashpkg", "sync")
	w.again("upgraded")
	root.Run(pins...)
	foundBy(t, "pinned", root, "/var/sys/libxml2/"+old["libxml2"]+"/")
	w.again("pinned")
	root.Run("hashpkg", "unpin", "--all")
	foundBy(t, "unpinned", root, "/var/sys/current-system/lib64/")
	w.again("unpinned")
	root.Run("hashpkg", "restore", "--all")
	foundBy(t, "restored", root, "/lib/")
	if out := root.Run("sh", "-c", "dpkg --verify || true"); out != untouched {
		t.Errorf("dpkg --verify says %q after all was restored, and said %q", out, untouched)
	}
	w.again("restored")
	w.table()
}

// TestSystemWorkBookworm has programs do something, where the comparison of what is
// loaded says nothing: their plugins, data, modules and extensions are found by names.
func TestSystemWorkBookworm(t *testing.T) { testWork(t, "bookworm") }

// TestSystemWorkTrixie is TestSystemWorkBookworm for the next release.
func TestSystemWorkTrixie(t *testing.T) { testWork(t, "trixie") }

// TestSystemWorkNoble is TestSystemWorkBookworm for Ubuntu 24.04.
func TestSystemWorkNoble(t *testing.T) { testWork(t, "noble") }

// TestSystemWorkRPM is TestSystemWorkBookworm for what rpm has installed, with
// earlier versions of libraries as they were published.
func TestSystemWorkRPM(t *testing.T) {
	libraries := []string{"libexpat1", "libjq1", "libxml2", "libxslt1.1"}
	recommended := []string{"libatm1", "libpcre3"} // by iproute2 and zsh; rpm finds that modules of theirs need them
	root := testroot.RPM(t, slices.Concat(packagesOf(rpmWorkCases), libraries, recommended)...)
	root.Install(hashpkg(t), "/usr/bin/hashpkg")
	w := newWorker(t, root.Root, rpmWorkCases)
	w.synced(syncJSON(t, root.Root, "sync"))
	foundBy(t, "synced", root.Root, "/var/sys/current-system/lib64/")
	w.again("synced")

	pins := []string{"hashpkg", "pin", "--all"}
	var older, newer []string
	for _, l := range libraries {
		file := func(files []string) string {
			t.Helper()
			for _, f := range files {
				if rest, ok := strings.CutPrefix(filepath.Base(f), l+"-"); ok && rest[0] >= '0' && rest[0] <= '9' {
					return f
				}
			}
			t.Fatalf("there is no %s among %d rpms", l, len(files))
			return ""
		}
		older, newer = append(older, file(root.Old)), append(newer, file(root.New))
		pins = append(pins, l+"="+strings.TrimSpace(root.RPM("-qp", "--qf", "%{epochnum}:%{version}-%{release}", file(root.Old))))
	}
	root.RPM(append([]string{"-U", "--oldpackage", "--nodeps"}, older...)...)
	root.Run("hashpkg", "sync")
	w.again("downgraded")
	root.RPM(append([]string{"-U", "--nodeps"}, newer...)...)
	root.Run("hashpkg", "sync")
	root.Run(pins...)
	foundBy(t, "pinned", root.Root, "/var/sys/libxml2/")
	w.again("pinned")
	root.Run("hashpkg", "unpin", "--all")
	foundBy(t, "unpinned", root.Root, "/var/sys/current-system/lib64/")
	root.Run("hashpkg", "restore", "--all")
	foundBy(t, "restored", root.Root, "/lib/")
	w.again("restored")
	w.table()
}
