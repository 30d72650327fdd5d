package e2e

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/internal/testdeb"
	"github.com/hashpkg/hashpkg/internal/testneed"
	"github.com/hashpkg/hashpkg/internal/testroot"
)

// twins are two copies of a root. The same is done to both; one has hashpkg, which is
// disturbed at its work.
type twins struct {
	t             *testing.T
	random        *rand.Rand
	with, without *testroot.Root // with hashpkg, and without
	started       time.Time
	judge         string        // a script that says what a root is like
	limit         time.Duration // of one step
	own           []string      // names that are hashpkg's, or hold what differs anyway
	steps         int           // done until now
	deck          []disturbance
}

// work is something that a package manager, or an administrator, does to a root.
type work struct{ name, script string }

// disturbance is what keeps hashpkg from its work for one step.
type disturbance struct {
	name string
	// wrapper is a script that stands in hashpkg's place, which is /usr/bin/hashpkg.real
	// for so long; "" for none.
	wrapper       string
	before, after string // scripts around the work
}

// newTwins returns two roots that makeRoot makes, one of them with the program hashpkg.
func newTwins(t *testing.T, seed uint64, makeRoot func() *testroot.Root) *twins {
	t.Helper()
	program := hashpkg(t) // before times are taken
	w := &twins{t: t, random: rand.New(rand.NewPCG(seed, 0)), started: time.Now(), limit: 2 * time.Minute, own: own}
	w.without, w.with = makeRoot(), makeRoot()
	w.with.Install(program, "/usr/bin/hashpkg")
	return w
}

// disturbedSeed returns what chooses the steps and the disturbances.
func disturbedSeed(t *testing.T) uint64 {
	t.Helper()
	text := os.Getenv("HASHPKG_TEST_SEED")
	if text == "" {
		return 1
	}
	seed, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return seed
}

// onDisk calls makeRoot, whose root stands on a file system of its own: "tmpfs", or one
// in a file.
func onDisk(t *testing.T, kind, size string, makeRoot func() *testroot.Root) *testroot.Root {
	t.Helper()
	dir, mount := mountDir(t)
	if kind == "tmpfs" {
		mustRun(t, "mount", "-t", kind, "-o", "mode=755,size="+size, "disk", mount)
	} else {
		image := filepath.Join(dir, "disk.img")
		mustRun(t, "truncate", "-s", size, image)
		mustRun(t, "mkfs."+kind, "-q", image)
		mustRun(t, "mount", "-o", "loop", image, mount)
	}
	was := os.TempDir()
	t.Setenv("TMPDIR", mount)
	defer t.Setenv("TMPDIR", was)
	return makeRoot()
}

// moment is from a few milliseconds to more than what a hook takes.
func (w *twins) moment() string { return fmt.Sprintf("%.4f", 0.002*math.Pow(400, w.random.Float64())) }

// disturbances returns one of each kind, in random order.
func (w *twins) disturbances() []disturbance {
	wrapped := func(name, script string) disturbance { return disturbance{name: name, wrapper: script} }
	const whole = `/usr/bin/hashpkg.real "$@"`
	stopped := func(then string) string {
		return fmt.Sprintf("%s & p=$!; sleep %s; kill -STOP $p; sleep 0.3; kill -%s $p; wait $p", whole, w.moment(), then)
	}
	list := []disturbance{
		{},
		wrapped("killed", "timeout -s KILL "+w.moment()+" "+whole),
		wrapped("killed at another moment", "timeout -s KILL "+w.moment()+" "+whole),
		wrapped("terminated", "timeout -s TERM "+w.moment()+" "+whole),
		wrapped("stopped for a while", stopped("CONT")),
		wrapped("stopped and killed", stopped("KILL")),
		wrapped("exits 1", "exit 1"),
		wrapped("exits 137", "exit 137"),
		wrapped("has no memory", "ulimit -v 150000; "+whole),
		wrapped("may write little", fmt.Sprintf("ulimit -f %d; %s", w.random.IntN(40), whole)),
		wrapped("may open few files", fmt.Sprintf("ulimit -n %d; %s", 4+w.random.IntN(20), whole)),
		wrapped("the disk is full", fmt.Sprintf("fallocate -l $(($(stat -f -c '%%a * %%S' /) - %d)) /srv/full\n%s; s=$?; rm /srv/full; (exit $s)", w.random.IntN(64)<<10, whole)),
		wrapped("half of it is there", `/usr/bin/hashpkg.half "$@"`),
		{name: "the lock is held", wrapper: "timeout -s KILL 0.5 " + whole, before: "flock /var/sys/.hashpkg/lock sleep 1000 & l=$!", after: "kill -KILL $l"},
		{
			name: "the holder of the lock is stopped", wrapper: "timeout -s KILL 0.5 " + whole,
			before: `hashpkg.real sync --again >/dev/null 2>&1 & l=$!
while flock -n /var/sys/.hashpkg/lock true && kill -0 $l; do :; done; sleep ` + w.moment() + `; kill -STOP $l 2>/dev/null || true`, after: "kill -KILL $l 2>/dev/null || true",
		},
		{name: "others work beside it", before: "{ hashpkg sync --again; hashpkg gc --keep 1 --keep-versions 0; hashpkg verify --system; } >/dev/null 2>&1 & l=$!", after: "wait $l || true"},
		{name: "the hooks are removed", before: "hashpkg hooks remove >/dev/null", after: "hashpkg hooks install >/dev/null"},
		{name: "the prefix is unreadable", before: "chmod 0 /var/sys", after: "chmod 755 /var/sys"},
		{name: "the prefix is read-only", before: "mount --bind /var/sys /var/sys; mount -o remount,bind,ro /var/sys", after: "umount /var/sys"},
		{name: "the prefix is not mounted", before: "mkdir -p /srv/below; mount --bind /srv/below /var/sys", after: "umount /var/sys"},
		{name: "there is no room to stage", before: "mount -t tmpfs -o mode=755,size=4k,nr_inodes=9 full /var/sys/.hashpkg/staging", after: "umount /var/sys/.hashpkg/staging"},
	}
	w.random.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	return list
}

// disturb returns the next disturbance. Each kind comes before any comes again.
func (w *twins) disturb() disturbance {
	if len(w.deck) == 0 {
		w.deck = w.disturbances()
	}
	d := w.deck[0]
	w.deck = w.deck[1:]
	return d
}

// scripts returns what begins a disturbance, and what ends it.
func (d disturbance) scripts() (begin, end string) {
	before, after := d.before, d.after
	if d.wrapper != "" {
		before = `mv /usr/bin/hashpkg /usr/bin/hashpkg.real; head -c 3000000 /usr/bin/hashpkg.real >/usr/bin/hashpkg.half
cat >/usr/bin/hashpkg <<'WRAPPER'
#!/bin/sh
exec 2>/dev/null
trap 'echo "$?" >>/srv/hooks' EXIT
` + d.wrapper + `
WRAPPER
chmod 755 /usr/bin/hashpkg /usr/bin/hashpkg.half
` + before
		after += "\nmv /usr/bin/hashpkg.real /usr/bin/hashpkg; rm /usr/bin/hashpkg.half"
	}
	return "set -e\n" + before + "\nset +e\n", "\nset -e\n" + after + "\n"
}

// do does the work to both roots, disturbs one, and fails the test unless they are
// alike afterwards. It returns what was said of both. Work that fails is followed by
// what an administrator does then.
func (w *twins) do(step work, d disturbance) string {
	w.t.Helper()
	status, out := w.doOnce(step, d)
	if status != "0" {
		w.doOnce(work{"apt-get -f install", apt + "-f install"}, w.disturb())
	}
	return out
}

func (w *twins) doOnce(step work, d disturbance) (status, out string) {
	w.t.Helper()
	if d.name == "" {
		d.name = "undisturbed"
	}
	script := `rm -f /run/workd; if [ -x /usr/sbin/workd ]; then workd >/run/workd 2>/dev/null & d=$!
until [ -s /run/workd ] || ! kill -0 $d 2>/dev/null; do sleep 0.02; done; fi
` + nextSecond + `
echo == work; { ` + step.script + `
} </dev/null; echo "status $?"
echo == what ran before; cat /run/workd 2>/dev/null
if [ -n "$d" ]; then grep -o '/[^ ]*/lib[a-z]*[.]so.*' /proc/$d/maps | sort -u
! command -v start-stop-daemon >/dev/null || { start-stop-daemon --stop --test --exec /usr/sbin/workd >/dev/null; echo "found by its path: $?"; }
! command -v needrestart >/dev/null || { needrestart -b -r l -l -m a; needrestart -v -r l -l -m a 2>&1 | grep -e libwork -e libself -e workd; } | sed 's/#*[0-9]\{1,\}/N/g'
kill $d; fi 2>/dev/null
` + w.judge
	start := time.Now()
	begin, end := d.scripts()
	with, without := w.both(begin+script+end, script+"\nexit 0")
	w.steps++
	what := fmt.Sprintf("step %d, %s, %s", w.steps, step.name, d.name)
	_, rest, _ := strings.Cut(without, "\nstatus ")
	status, _, _ = strings.Cut(rest, "\n")
	w.t.Logf("%s: status %s, %v", what, status, time.Since(start).Round(10*time.Millisecond))
	if with, without = comparableOutput(with), comparableOutput(without); with != without {
		w.t.Fatalf("%s: with hashpkg there is (+), and without (-):\n%s", what, cmp.Diff(without, with))
	}
	return status, without
}

// nextSecond waits until apt can see that dpkg's database changes from now on: to it one
// of the same size and second is the one that it has read (apt-pkg/pkgcachegen.cc,
// CheckValidity), and a package's versions may be of one length.
const nextSecond = `while [ "$(stat -c %Y /var/lib/dpkg/status)" = "$(date +%s)" ]; do sleep 0.02; done`

// both runs a script in each root, at the same time.
func (w *twins) both(scriptWith, scriptWithout string) (with, without string) {
	w.t.Helper()
	var errWith, errWithout error
	var both sync.WaitGroup
	ctx, cancel := context.WithTimeout(w.t.Context(), w.limit)
	defer cancel()
	both.Go(func() { with, errWith = w.with.RunErr(ctx, "sh", "-c", "exec 2>&1\n"+scriptWith) })
	both.Go(func() { without, errWithout = w.without.RunErr(ctx, "sh", "-c", "exec 2>&1\n"+scriptWithout) })
	both.Wait()
	if err := errors.Join(errWith, errWithout); err != nil {
		w.t.Fatal(err)
	}
	return with, without
}

// said is what differs from run to run, or is hashpkg's own, in what package managers say.
var said = regexp.MustCompile(`(?m)^hashpkg: .*\n|^(Segmentation fault|Bus error|Killed|Terminated).*\n|^Fetched .*\n|^Get:\d+ .*\n|^(Local time|Universal Time) is now: .*\n`)

// scriptLine is where in a script a shell found a fault: the two scripts differ.
var scriptLine = regexp.MustCompile(`(?m)^sh: \d+: `)

func comparableOutput(text string) string {
	return scriptLine.ReplaceAllString(said.ReplaceAllString(text, ""), "sh: ")
}

// checkDisturbed fails the test if hashpkg was left in peace.
func (w *twins) checkDisturbed() {
	w.t.Helper()
	hooks, statuses := 0, map[string]int{}
	for status := range strings.Lines(w.with.ReadFile("/srv/hooks")) {
		hooks++
		statuses[strings.TrimSpace(status)]++
	}
	w.t.Logf("%v after the start; disturbed hooks ended with %v", time.Since(w.started).Round(time.Second), statuses)
	if statuses["137"] == 0 || hooks-statuses["0"] < 6 {
		w.t.Error("hashpkg was not disturbed")
	}
}

// finish has hashpkg make up for all that it was kept from, checks that it has, takes
// it all back, although disturbed once more, and compares what is left with the twin.
func (w *twins) finish() {
	w.t.Helper()
	w.checkDisturbed()
	w.with.Run("hashpkg", "sync")
	inForce(w.t, w.with, "in the end")
	w.do(work{"nothing", "true"}, disturbance{})
	for range 3 {
		w.with.Run("sh", "-c", "timeout -s KILL "+w.moment()+" hashpkg restore --all || true")
		w.do(work{"nothing", "true"}, disturbance{})
	}
	w.with.Run("hashpkg", "restore", "--all")
	w.do(work{"dpkg --verify", "dpkg --verify"}, disturbance{})
	w.compareFiles()
}

// compareFiles compares everything that is not hashpkg's own.
func (w *twins) compareFiles() {
	w.t.Helper()
	with, without := w.files(w.with), w.files(w.without)
	all := maps.Clone(with)
	maps.Copy(all, without)
	differ := 0
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if with[name] == without[name] {
			continue
		}
		if differ++; differ <= 20 {
			w.t.Errorf("/%s\nwith hashpkg is    %q\nand without it is %q", name, with[name], without[name])
		}
	}
	w.t.Logf("%d files and directories, %d of them differ", len(all), differ)
}

// own are the files of hashpkg outside its prefix, and what holds times, or is scratch.
var own = []string{
	"usr/bin/hashpkg", "etc/dpkg/dpkg.cfg.d/hashpkg", "var/sys", "srv/below", "srv/hooks",
	"dev", "proc", "sys", "run", "tmp", "mnt",
	"var/log/apt", "var/cache/apt", "var/cache/ldconfig/aux-cache",
}

// files describes the files of a root by their names: kind, mode, owner, bytes or target,
// attributes, which names are one file, and the times of those that packages brought.
func (w *twins) files(root *testroot.Root) map[string]string {
	w.t.Helper()
	all, first := map[string]string{}, map[uint64]string{}
	err := filepath.WalkDir(root.Dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root.Dir, p)
		if err != nil {
			return err
		}
		if slices.Contains(w.own, name) {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		stat := info.Sys().(*syscall.Stat_t)
		what := fmt.Sprintf("%s %d:%d", info.Mode(), stat.Uid, stat.Gid)
		switch {
		case info.Mode()&fs.ModeSymlink != 0:
			target, err := os.Readlink(p)
			if err != nil {
				return err
			}
			what += " -> " + target
		case info.Mode().IsRegular():
			content, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			switch name {
			case "var/log/dpkg.log", "var/log/alternatives.log":
				content = dates.ReplaceAll(content, nil)
			case "etc/machine-id", "var/lib/dbus/machine-id": // each machine has its own
				content = nil
			}
			attributes := make([]byte, 4096)
			n, err := unix.Llistxattr(p, attributes)
			if err != nil {
				return err
			}
			if _, ok := first[stat.Ino]; !ok {
				first[stat.Ino] = name
			}
			what += fmt.Sprintf(" %x %q is %s", sha256.Sum256(content), attributes[:n], first[stat.Ino])
			if info.ModTime().Before(w.started) {
				what += " " + info.ModTime().String()
			}
		}
		all[name] = what
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return all
}

var dates = regexp.MustCompile(`(?m)\d{4}-\d\d-\d\d \d\d:\d\d:\d\d`)

// workSource is a program that says what it has found.
const workSource = `#include <stdio.h>
#include <string.h>
#include <unistd.h>
const char *work_version(void), *self_where(void), *self_beside(void), *self_origin(void);
#if NEWER
const char *work_newer(void);
#else
#define work_newer() "-"
#endif
int main(int argc, char **argv)
{
	char exe[999] = "", line[999];
	readlink("/proc/self/exe", exe, sizeof exe - 1);
	printf("program %s at %s as %d, library %s %s, another at %s with %s and %s\n", VERSION, exe, (int)geteuid(), work_version(), work_newer(), self_where(), self_beside(), self_origin());
	fflush(stdout);
	FILE *maps = fopen("/proc/self/maps", "r");
	while (maps && fgets(line, sizeof line, maps))
		if (strstr(line, "/lib") && strstr(line, "r-xp"))
			fputs(strchr(line, '/'), stdout);
	fflush(stdout);
	if (strstr(argv[0], "workd"))
		pause();
	return 0;
}
`

const workLibrarySource = `const char *work_version(void) { return VERSION; }
#if NEWER
const char *work_newer(void) { return "newer"; }
#endif
`

// selfLibrarySource is a library that looks for its plugins beside itself, in two ways.
const selfLibrarySource = `#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
static const char *ask(const char *name)
{
	void *handle = dlopen(name, RTLD_NOW);
	const char *(*f)(void) = handle ? (const char *(*)(void))dlsym(handle, "plugin_version") : 0;
	return f ? f() : "no plugin";
}
const char *self_where(void)
{
	static Dl_info info;
	dladdr((void *)self_where, &info);
	return info.dli_fname;
}
const char *self_beside(void)
{
	static char name[999];
	strcpy(name, self_where());
	strcpy(strrchr(name, '/'), "/self/beside.so");
	return ask(name);
}
const char *self_origin(void) { return ask("origin.so"); }
`

const workPluginSource = `const char *plugin_version(void) { return VERSION; }`

// workDebs builds the packages that the twins work with: a library that starts programs
// when it is configured, one that asks where it is, a program of both, of which there
// is a daemon and a setuid copy, and something that cannot be configured.
func workDebs(t *testing.T) []string {
	t.Helper()
	dir := t.TempDir()
	compile := func(source, version string, flags ...string) string {
		t.Helper()
		out, err := os.MkdirTemp(dir, "")
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(out, "out")
		newer := "0"
		if version >= "3" {
			newer = "1"
		}
		cmd := exec.Command("gcc", append([]string{"-x", "c", "-", "-x", "none", "-DVERSION=\"" + version + "\"", "-DNEWER=" + newer, "-o", file}, flags...)...)
		cmd.Stdin = strings.NewReader(source)
		if said, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("compile: %v: %s", err, said)
		}
		return file
	}
	shared := func(source, soname, version string, flags ...string) string {
		return compile(source, version, append([]string{"-shared", "-fPIC", "-Wl,-soname," + soname}, flags...)...)
	}
	content := func(file string) string {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	var debs []string
	add := func(p testdeb.Package) { debs = append(debs, writeDeb(t, dir, p)) }
	const libs = "usr/lib/x86_64-linux-gnu/"
	postinst := map[string]string{"postinst": "#!/bin/sh\nset -e\nif [ -x /usr/bin/work ]; then /usr/bin/work >>/var/log/work 2>/dev/null || echo failed >>/var/log/work; fi\n"}
	failing := map[string]string{"postinst": "#!/bin/sh\necho this cannot be configured\nexit 1\n"}
	libwork, libself := "", ""
	for _, version := range []string{"1.0", "2.0", "2.5", "3.0"} {
		libwork = shared(workLibrarySource, "libwork.so.1", version)
		scripts := postinst
		if version == "2.5" {
			scripts = failing
		}
		add(testdeb.Package{Name: "libwork1", Version: version, MultiArch: "same", Scripts: scripts, Files: []testdeb.File{
			{Path: libs + "libwork.so.1." + version, Content: content(libwork)}, testdeb.Symlink(libs+"libwork.so.1", "libwork.so.1."+version),
		}})
	}
	for _, version := range []string{"1.0", "2.0"} {
		libself = shared(selfLibrarySource, "libself.so.1", version, "-Wl,-rpath,$ORIGIN/self")
		plugin := content(shared(workPluginSource, "plugin.so", version))
		add(testdeb.Package{Name: "libself1", Version: version, MultiArch: "same", Files: []testdeb.File{
			{Path: libs + "libself.so.1." + version, Content: content(libself)},
			testdeb.Symlink(libs+"libself.so.1", "libself.so.1."+version),
			{Path: libs + "self/beside.so", Content: plugin},
			{Path: libs + "self/origin.so", Content: plugin},
		}})
	}
	for _, version := range []string{"1.0", "2.0", "3.0"} {
		program := content(compile(workSource, version, libwork, libself))
		add(testdeb.Package{
			Name: "work", Version: version, Depends: "libwork1 (>= " + version + "), libself1", Conffiles: "/etc/work.conf\n",
			Files: []testdeb.File{
				testdeb.Exec("usr/bin/work", program),
				{Path: "usr/bin/work-too", HardLink: "usr/bin/work", Mode: 0o755},
				{Path: "usr/bin/work-root", Content: program, Mode: 0o4755},
				testdeb.Exec("usr/sbin/workd", program),
				{Path: "etc/work.conf", Content: "work " + version + "\n"},
			},
		})
	}
	other := shared(workPluginSource, "libother.so.1", "1.0")
	program := compile("#include <stdio.h>\nconst char *plugin_version(void);\nint main(void) { puts(plugin_version()); return 0; }\n", "1.0", other)
	add(testdeb.Package{Name: "other", Version: "1.0", Files: []testdeb.File{
		testdeb.Exec("usr/bin/other", content(program)), {Path: libs + "libother.so.1", Content: content(other)},
	}})
	add(testdeb.Package{Name: "flaky", Version: "1.0", Depends: "other", Scripts: failing, Files: []testdeb.File{testdeb.Exec("usr/bin/flaky", content(program))}})
	add(testdeb.Package{Name: "flaky", Version: "2.0", Depends: "other", Files: []testdeb.File{testdeb.Exec("usr/bin/flaky", content(program))}})
	return debs
}

// workJudge says which packages a root has, and what its programs do.
const workJudge = `echo == packages; dpkg-query -W -f '${binary:Package} ${Version} ${Status}\n'; dpkg --audit
for p in /usr/bin/work /usr/bin/work-too /usr/bin/work-root /usr/bin/other /usr/bin/flaky; do
	echo "== $p"; [ -e $p ] || continue
	$p 2>&1; echo "status $?"; setpriv --reuid=65534 --regid=65534 --clear-groups $p 2>&1; echo "status $?"
done
echo == system; perl -MPOSIX -e 'print POSIX::floor(7.5), "\n"'; ls /; gpgv --version; find /usr -maxdepth 2 -newer /etc/passwd >/dev/null; echo "status $?"
tail -n 3 /var/log/work 2>/dev/null; head /etc/work.conf* 2>/dev/null
`

// apt asks nothing.
const apt = "apt-get -y -q --no-install-recommends -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold "

// workSteps returns at least n steps, of those that a package manager does to the
// packages of workDebs, or all of them.
func workSteps(random *rand.Rand, n int) []work {
	get := func(packages string) work {
		return work{"install " + packages, apt + "--allow-downgrades install " + packages}
	}
	dpkg := func(args string) work { return work{"dpkg " + args, "dpkg " + args} }
	groups := [][]work{
		{get("work=1.0 libwork1=1.0"), get("libwork1=2.0"), get("work=2.0")},
		{get("libself1=1.0"), get("libself1")},
		{get("libwork1=2.5"), get("libwork1=3.0")},
		{get("work=3.0"), dpkg("-i /mnt/repo/libwork1_1.0.deb"), {"apt-get -f install", apt + "-f install"}},
		{get("flaky=1.0"), dpkg("-P --force-all flaky"), get("flaky=2.0"), {"purge flaky", apt + "purge flaky"}},
		{{"reinstall", apt + "install --reinstall work libwork1"}},
		{{"remove work", apt + "remove work"}, get("work=2.0")},
		{{"purge libself1", apt + "purge libself1"}, get("work")},
		{{"conffile", "echo changed >>/etc/work.conf"}, get("work=1.0"), get("work=2.0")},
		{dpkg("--unpack /mnt/repo/libwork1_1.0.deb"), dpkg("--configure -a"), {"apt-get -f install", apt + "-f install"}},
		{dpkg("-r --force-depends libwork1"), {"apt-get -f install", apt + "-f install"}},
		{{"remove other", apt + "remove --auto-remove other"}, get("other")},
		{{"setuid by an administrator", "dpkg-statoverride --update --force-all --add root root 4711 /usr/bin/work-too"}},
		{{"divert", "dpkg-divert --local --rename --divert /usr/bin/work.real --add /usr/bin/work"}, get("work=3.0 libwork1=3.0"), {"divert no more", "dpkg-divert --local --rename --remove /usr/bin/work"}},
		{{"dist-upgrade", apt + "dist-upgrade"}},
	}
	steps, groups := groups[0], groups[1:]
	random.Shuffle(len(groups), func(i, j int) { groups[i], groups[j] = groups[j], groups[i] })
	for _, g := range groups {
		if len(steps) < n {
			steps = append(steps, g...)
		}
	}
	return steps
}

// TestDisturbed has a package manager change a root, while hashpkg is killed, stopped,
// locked out, taken away, or without room: after every step the root says and does
// what its twin does, which has no hashpkg, and in the end it has the same files.
// HASHPKG_TEST_SEED chooses the steps and the disturbances.
func TestDisturbed(t *testing.T) {
	testneed.Root(t)
	testneed.Programs(t, "gcc")
	seed := disturbedSeed(t)
	t.Logf("HASHPKG_TEST_SEED=%d", seed)
	debs := workDebs(t)
	w := newTwins(t, seed, func() *testroot.Root {
		root := onDisk(t, "tmpfs", "600m", func() *testroot.Root { return testroot.Debian(t, "bookworm", "") })
		root.Repo().Add(debs...)
		return root
	})
	w.judge = workJudge
	w.with.Run("hashpkg", "hooks", "install")
	w.with.Run("hashpkg", "sync")
	for i, step := range workSteps(w.random, 14) {
		out := w.do(step, w.disturb())
		if i == 0 && !strings.Contains(out, workIsDone) {
			t.Fatalf("without hashpkg the programs do not work: %s", out)
		}
	}
	w.finish()
}

// workIsDone is what the programs of workDebs say after the first step of workSteps.
const workIsDone = "program 1.0 at /usr/bin/work as 65534, library 1.0 -, another at /lib/x86_64-linux-gnu/libself.so.1 with 2.0 and 2.0\n"
