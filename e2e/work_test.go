//go:build system

package e2e

import (
	"context"
	"fmt"
	"maps"
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
// What does not do its work there says nothing of hashpkg.
func newWorker(t *testing.T, root *testroot.Root, cases []workCase) *worker {
	t.Helper()
	w := &worker{t: t, root: root, cases: cases, differ: map[string][]string{}}
	w.first = w.all(cases)
	for _, c := range cases {
		if out := w.first[c.name]; !strings.Contains(out, c.want) || !strings.HasSuffix(out, "\nstatus 0\n") {
			t.Errorf("%s does not do its work without hashpkg: %q is not in %s", c.name, c.want, out)
		}
	}
	return w
}

// one runs the script of a case and returns what it said.
func (w *worker) one(c workCase) string {
	const script = `ip link set lo up 2>/dev/null
d=/srv/cases/$0; rm -rf $d; mkdir -p $d; cd $d
HOME=$d timeout -k 5 180 sh -ec "$1"; s=$?
cd /; rm -rf $d; printf '\nstatus %s\n' $s`
	ctx, cancel := context.WithTimeout(w.t.Context(), w.root.Timeout)
	defer cancel()
	out, err := w.root.RunErr(ctx, "sh", "-c", script, c.name, c.script)
	if err != nil {
		out += err.Error()
	}
	return out
}

// all runs cases, some at a time, for many wait for a server.
func (w *worker) all(cases []workCase) map[string]string {
	var mu sync.Mutex
	var wg sync.WaitGroup
	said := map[string]string{}
	slots := make(chan struct{}, 3)
	for _, c := range cases {
		slots <- struct{}{}
		wg.Go(func() {
			out := w.one(c)
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
	said := w.all(w.cases)
	for _, c := range w.cases {
		out := said[c.name]
		if out != w.first[c.name] {
			out = w.one(c)
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

// packagesOf returns the packages of cases, each once.
func packagesOf(cases []workCase) []string {
	all := map[string]bool{"iproute2": true, "libc6": true}
	for _, c := range cases {
		for p := range strings.FieldsSeq(c.packages) {
			all[p] = true
		}
	}
	return slices.Sorted(maps.Keys(all))
}

// testWork takes a system of a release through all that hashpkg does to programs.
func testWork(t *testing.T, suite string) {
	root := testroot.Debian(t, suite, "", packagesOf(workCases)...)
	root.Install(hashpkg(t), "/usr/bin/hashpkg")
	w := newWorker(t, root, workCases)
	r := syncJSON(t, root, "sync")
	t.Logf("%v packages, %d trees, %d programs edited, %d left, %d libraries not in the farm", r["packages"], length(r["trees"]), length(r["programs"]), length(r["left"]), length(r["outside"]))
	var outside []string
	for _, o := range r["outside"].([]any) {
		outside = append(outside, fmt.Sprint(o.(map[string]any)["path"]))
	}
	t.Logf("outside: %s", strings.Join(outside, " "))
	w.again("after a sync")

	// Libraries that many programs load, of new versions and then pinned to the old.
	libraries := strings.Fields("libexpat1 libfreetype6 libjpeg62-turbo liblzma5 libpcre2-8-0 libxml2 libzstd1 zlib1g")
	pins := []string{"hashpkg", "pin", "--all"}
	for _, l := range libraries {
		pins = append(pins, l+"="+strings.TrimSpace(root.Run("dpkg-query", "-W", "-f", "${Version}", l)))
	}
	root.Repo().Add(testroot.Rebuild(t, testroot.Change{Suffix: "+new1", Note: true}, root.Fetch(libraries...)...)...)
	root.Run(append([]string{"apt-get", "-y", "-q", "install"}, libraries...)...)
	root.Run("hashpkg", "sync")
	w.again("upgraded")
	root.Run(pins...)
	w.again("pinned")
	root.Run("hashpkg", "unpin", "--all")
	root.Run("hashpkg", "restore", "--all")
	w.again("restored")
	w.table()
}

// TestSystemWorkBookworm has programs do something, where the comparison of what is
// loaded says nothing: their plugins, data, modules and extensions are found by names.
func TestSystemWorkBookworm(t *testing.T) { testWork(t, "bookworm") }

// TestSystemWorkTrixie is TestSystemWorkBookworm for the next release.
func TestSystemWorkTrixie(t *testing.T) { testWork(t, "trixie") }

// TestSystemWorkRPM is TestSystemWorkBookworm for what rpm has installed.
func TestSystemWorkRPM(t *testing.T) {
	root := testroot.RPM(t)
	root.Install(hashpkg(t), "/usr/bin/hashpkg")
	w := newWorker(t, root.Root, rpmWorkCases)
	root.Run("hashpkg", "sync")
	w.again("after a sync")
	pins := []string{"hashpkg", "pin", "--all"}
	for _, l := range []string{"zlib1g", "libpcre2-8-0"} {
		pins = append(pins, l+"="+root.RPM("-q", "--qf", "%{epochnum}:%{version}-%{release}", l))
	}
	root.Run(pins...)
	w.again("pinned")
	root.Run("hashpkg", "unpin", "--all")
	root.Run("hashpkg", "restore", "--all")
	w.again("restored")
	w.table()
}
