//go:build system

package e2e

import (
	"errors"
	"fmt"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hashpkg/hashpkg/internal/testneed"
	"github.com/hashpkg/hashpkg/internal/testroot"
)

// casesJudge writes cases of work into both roots, and returns a script that does them.
func (w *twins) casesJudge(cases []workCase) string {
	for _, c := range cases {
		for _, root := range []*testroot.Root{w.with, w.without} {
			root.WriteFile("/srv/cases.d/"+c.name, c.script, 0o644)
		}
	}
	return `ip link set lo up 2>/dev/null
for c in /srv/cases.d/*; do
	echo "== $c"; d=/srv/cases/${c##*/}; rm -rf $d; mkdir -p $d; (cd $d && HOME=$d timeout -k 5 180 sh -e $c); echo "status $?"; rm -rf $d
done
`
}

// chosen returns cases by their names.
func chosen(t *testing.T, cases []workCase, names ...string) (list []workCase) {
	t.Helper()
	for _, c := range cases {
		if slices.Contains(names, c.name) {
			list = append(list, c)
		}
	}
	if len(list) != len(names) {
		t.Fatalf("of %q there are %d cases", names, len(list))
	}
	return list
}

// atOnce disturbs each hook of a step in another way.
func (w *twins) atOnce() disturbance {
	const whole = `/usr/bin/hashpkg.real "$@"`
	return disturbance{name: "each hook in another way", wrapper: fmt.Sprintf(`case $(($(wc -l </srv/hooks) %% 6)) in
0) timeout -s KILL %s %s;;
1) exit 1;;
2) %[2]s;;
3) ulimit -f %[3]d; %[2]s;;
4) %[2]s & p=$!; sleep %[4]s; kill -STOP $p; sleep 1; kill -KILL $p; wait $p;;
5) flock /var/sys/.hashpkg/lock timeout -s KILL 1 %[2]s;;
esac`, w.moment(), whole, w.random.IntN(40), w.moment())}
}

// TestSystemDisturbed is TestDisturbed for more packages, real ones among them, whose
// programs do their work after every step, and which then go to the next release. The
// lock is held for as long as hooks wait, once, and needrestart says what is to be restarted.
func TestSystemDisturbed(t *testing.T) {
	testneed.Programs(t, "gcc", "mkfs.ext4")
	seed := disturbedSeed(t)
	t.Logf("HASHPKG_TEST_SEED=%d", seed)
	cases := chosen(t, workCases, "gst-inspect", "gst-scanner", "perl", "sqlite", "openssl", "iconv", "git", "tar", "jq", "xml", "gawk", "file")
	packages := append(packagesOf(cases), "needrestart")
	next := testroot.Debian(t, "trixie", "", packages...)
	newer := next.Fetch(strings.Fields(next.Run("dpkg-query", "-W", "-f", "${Package}=${Version}\n"))...)
	debs := workDebs(t)
	var repos []*testroot.Repo
	w := newTwins(t, seed, func() *testroot.Root {
		root := onDisk(t, "ext4", "8G", func() *testroot.Root { return testroot.Debian(t, "bookworm", "", packages...) })
		repos = append(repos, root.Repo())
		return root
	})
	add := func(debs ...string) {
		for _, r := range repos {
			r.Add(debs...)
		}
	}
	libraries := strings.Fields("zlib1g liblzma5 libzstd1 libxml2 libpcre2-8-0 libsqlite3-0 libglib2.0-0 libgstreamer1.0-0 libonig5")
	add(debs...)
	add(testroot.Rebuild(t, testroot.Change{Suffix: "+new1", Note: true}, w.with.Fetch(libraries...)...)...)
	add(w.with.Fetch(append(libraries, "git", "jq", "file", "libmagic1", "libjq1")...)...)
	w.limit = 20 * time.Minute
	w.judge = workJudge + w.casesJudge(cases)
	w.with.Run("hashpkg", "hooks", "install")
	w.with.Run("hashpkg", "sync")
	steps := append(workSteps(w.random, 100), []work{
		{"upgrade", apt + "upgrade"},
		{"downgrade", apt + "--allow-downgrades install zlib1g=$(apt-cache madison zlib1g | awk 'END { print $3 }') libonig5=$(apt-cache madison libonig5 | awk 'END { print $3 }')"},
		{"reinstall", apt + "install --reinstall jq git libjq1"},
		{"remove", apt + "remove jq libjq1"},
		{"install", apt + "install jq"},
	}...)
	restarts := false
	for i, step := range steps {
		out := w.do(step, w.disturb())
		restarts = restarts || strings.Contains(out, "NEEDRESTART-VER") && strings.Contains(out, " uses deleted ")
		if i == 0 && !strings.Contains(out, workIsDone) {
			t.Fatalf("without hashpkg the programs do not work: %s", out)
		}
		for _, c := range cases {
			if i == 0 && !strings.Contains(out, c.want) {
				t.Errorf("without hashpkg %s does not do its work: %s", c.name, out)
			}
		}
	}
	if !restarts {
		t.Error("needrestart has not named the daemon once")
	}
	w.do(work{"reinstall, while the lock is held", apt + "install --reinstall work"},
		disturbance{name: "the lock is held for as long as hooks wait", before: "flock /var/sys/.hashpkg/lock sleep 1000 & l=$!", after: "kill -KILL $l"})
	add(newer...)
	w.do(work{"upgrade to trixie", apt + "full-upgrade"}, w.atOnce())
	w.do(work{"mend", apt + "-f install; " + apt + "autoremove"}, w.disturb())
	w.finish()
}

// TestSystemDisturbedRPM is TestDisturbed for what rpm installs.
func TestSystemDisturbedRPM(t *testing.T) {
	testneed.Programs(t, "rpm", "mkfs.ext4")
	seed := disturbedSeed(t)
	t.Logf("HASHPKG_TEST_SEED=%d", seed)
	files := buildPackages(t, "rpm", "1.0")[:2] // the third is for builds
	var roots []*testroot.RPMRoot
	w := newTwins(t, seed, func() *testroot.Root {
		return onDisk(t, "ext4", "4G", func() *testroot.Root {
			root := testroot.RPM(t)
			roots = append(roots, root)
			return root.Root
		})
	})
	without, with := roots[0], roots[1]
	w.limit = 10 * time.Minute
	w.judge = w.casesJudge(rpmWorkCases)
	installed := func(root *testroot.RPMRoot) string {
		lines := strings.Split(root.RPM("-qa", "--qf", "%{nevra} "+"%{filestates}\n"), "\n")
		slices.Sort(lines)
		return strings.Join(slices.DeleteFunc(lines, func(line string) bool { return strings.HasPrefix(line, "hashpkg-") }), "\n")
	}
	with.Run("rm", "/usr/bin/hashpkg")
	with.RPM(append([]string{"-i"}, files...)...)
	w.own = append(slices.Clone(own), "var/lib/rpm")
	for name := range strings.Lines(with.RPM("-ql", "hashpkg", "hashpkg-follow")) {
		name = strings.TrimSpace(name)
		w.own = append(w.own, name[1:])
		without.Run("mkdir", "-p", path.Dir(name)) // rpm makes directories that no package has, and leaves them
	}

	of := func(files []string, names ...string) (list []string) {
		for _, f := range files {
			name := f[strings.LastIndexByte(f, '/')+1:]
			if slices.ContainsFunc(names, func(n string) bool { return strings.HasPrefix(name, n+"-") }) {
				list = append(list, f)
			}
		}
		return list
	}
	var some []string // that have an older version
	for _, f := range without.Old {
		name := f[strings.LastIndexByte(f, '/')+1:]
		some = append(some, name[:strings.LastIndexByte(name[:strings.LastIndexByte(name, '-')], '-')])
	}
	slices.Sort(some)
	some = slices.Compact(some)
	t.Logf("there are older versions of %q", some)
	alike := func(what string, d disturbance, args []string) {
		t.Helper()
		if d.name == "" {
			d.name = "undisturbed"
		}
		begin, end := d.scripts()
		with.Run("sh", "-c", begin)
		_, errWith := with.RPMErr(t.Context(), args...)
		with.Run("sh", "-c", end)
		_, errWithout := without.RPMErr(t.Context(), args...)
		w.steps++
		what = fmt.Sprintf("step %d, %s, %s", w.steps, what, d.name)
		var statuses [2]int
		for i, err := range []error{errWith, errWithout} {
			var exit *exec.ExitError
			if err != nil && !errors.As(err, &exit) {
				t.Fatalf("%s: %v", what, err)
			}
			if err != nil {
				statuses[i] = exit.ExitCode()
			}
		}
		t.Logf("%s: statuses %v", what, statuses)
		if statuses[0] != statuses[1] {
			t.Fatalf("%s: with hashpkg rpm says %v, and without %v", what, errWith, errWithout)
		}
		if diff := cmp.Diff(installed(without), installed(with)); diff != "" {
			t.Fatalf("%s: other packages are installed (-without +with hashpkg):\n%s", what, diff)
		}
		if with, without := w.both(w.judge+"exit 0", w.judge+"exit 0"); with != without {
			t.Fatalf("%s: programs do other things (-without +with hashpkg):\n%s", what, cmp.Diff(without, with))
		}
	}
	disturb := func() disturbance {
		for {
			if d := w.disturb(); d.before == "" { // what it does lasts longer than a command
				return d
			}
		}
	}
	replace := []string{"-U", "--oldpackage", "--replacepkgs", "--nodeps"}
	for range 16 {
		w.random.Shuffle(len(some), func(i, j int) { some[i], some[j] = some[j], some[i] })
		names := some[:1+w.random.IntN(3)]
		newer, older := of(without.New, names...), of(without.Old, names...)
		switch w.random.IntN(4) {
		case 0:
			alike(fmt.Sprint("older ", names), disturb(), append(slices.Clone(replace), older...))
			alike(fmt.Sprint("newer ", names), disturb(), append([]string{"-U"}, newer...))
		case 1:
			alike(fmt.Sprint("again ", names), disturb(), append(slices.Clone(replace), newer...))
		case 2:
			alike("erase jq", disturb(), []string{"-e", "jq"})
			alike("erase libjq1", disturb(), []string{"-e", "libjq1"})
			alike("erase libonig5", disturb(), []string{"-e", "libonig5"})
			alike("back", disturb(), append([]string{"-i"}, of(without.New, "jq", "libjq1", "libonig5")...))
		case 3:
			alike("erase what others need", disturb(), []string{"-e", "zlib1g"})
		}
	}
	w.checkDisturbed()
	with.Run("hashpkg", "sync")
	inForce(t, with.Root, "in the end")
	with.Run("hashpkg", "restore", "--all")
	verified := func(root *testroot.RPMRoot) string {
		out, _ := root.RPMErr(t.Context(), "-Va") // its status is that something differs
		return out
	}
	if diff := cmp.Diff(verified(without), verified(with)); diff != "" {
		t.Errorf("rpm -Va says other things (-without +with hashpkg):\n%s", diff)
	}
	w.compareFiles()
}
