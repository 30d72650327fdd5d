//go:build system

package e2e

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashpkg/hashpkg/internal/testroot"
)

// agrees checks what holds after every transaction of a system with hooks.
func agrees(t *testing.T, what string, root *testroot.Root) {
	t.Helper()
	for _, args := range [][]string{{"check"}, {"verify", "--system"}, {"verify"}} {
		if out, err := root.RunErr(t.Context(), append([]string{"hashpkg"}, args...)...); err != nil {
			t.Errorf("%s: %q: %v: %s", what, args, err, out)
		}
	}
	if out := root.Run("dpkg", "--audit"); out != "" {
		t.Errorf("%s: dpkg --audit says %s", what, out)
	}
	if r := syncJSON(t, root, "sync", "--dry-run", "--again"); length(r["trees"])+length(r["gone"])+length(r["programs"]) > 0 {
		t.Errorf("%s: a sync that looks at everything would do more: %v", what, r)
	}
	if failures := root.Loads("/var").Failures(); len(failures) > 0 {
		t.Errorf("%s: programs do not load: %q", what, failures)
	}
}

// versions are the calls whose output says that a program works.
func versions(t *testing.T, root *testroot.Root) map[string]string {
	t.Helper()
	// One at a time with a limit: some wait for input or a display. Each has a
	// directory of its own, for some make files; and times and process numbers
	// are never the same.
	out := root.Run("sh", "-c", `for p in /usr/bin/* /usr/sbin/*; do
	case ${p##*/} in telinit|init|reboot|shutdown|halt|poweroff|runlevel|*getty|su|sulogin|login|cfdisk|hashpkg|*X*|kate|okular|switch_root|pivot_root|*vim*|ex|view|rview|editor) continue;; esac
	head -c 4 "$p" 2>/dev/null | grep -q ELF || continue
	d=$(mktemp -d); cd "$d" || exit 1
	r=$(HOME=$d timeout -k 1 5 "$p" --version </dev/null 2>&1 | head -c 400 | tr -c 'A-Za-z0-9._\n' ' ' | head -3 | tr '\n' '|' |
		sed -e 's/[0-9:. ]*[0-9][0-9]:[0-9][0-9][0-9:.]*/TIME/g' -e "s#$d##g" -e 's/[0-9]\{2,\}/N/g' -e 's/tmp[ .][A-Za-z0-9.]*/DIR/g')
	cd /; rm -rf "$d"
	printf '%s\t%s\n' "$p" "$r"
done`)
	said := map[string]string{}
	for line := range strings.Lines(out) {
		if program, text, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "\t"); ok {
			said[program] = text
		}
	}
	return said
}

// TestSystemSyncLarge syncs a system of more than a thousand packages.
func TestSystemSyncLarge(t *testing.T) {
	root := testroot.Debian(t, "bookworm", "amd64", testroot.LargePackages...)
	root.Install(hashpkg(t), "/usr/bin/hashpkg")
	before, said := root.Loads(), versions(t, root)
	untouched := root.Run("sh", "-c", "dpkg --verify || true")
	used := func() (kb int) {
		t.Helper()
		if _, err := fmt.Sscan(root.Run("du", "-sk", "--exclude=/proc", "--exclude=/mnt", "/"), &kb); err != nil {
			t.Fatal(err)
		}
		return kb
	}
	was := used()
	start := time.Now()
	first := syncJSON(t, root, "sync")
	t.Logf("the first sync took %v: %v packages, %d trees, %d programs, %d left", time.Since(start).Round(time.Millisecond),
		first["packages"], length(first["trees"]), length(first["programs"]), length(first["left"]))
	for _, l := range first["left"].([]any) {
		t.Log(l)
	}
	is := used()
	t.Logf("%d MiB on disk, %d before: %.2f %%", is>>10, was>>10, 100*float64(is-was)/float64(was))
	if is-was > was*3/100 {
		t.Error("the store takes more than 3 %")
	}
	if diff := before.Diff(root.Loads("/var"), root.SameFile); len(diff) > 0 {
		t.Errorf("programs load other files: %q", diff)
	}
	if out, err := root.RunErr(t.Context(), "hashpkg", "verify", "--system"); err != nil {
		t.Errorf("verify --system: %v: %s", err, out)
	}
	after, same := versions(t, root), 0
	for program, text := range said {
		switch {
		case after[program] != text:
			t.Errorf("%s --version says %q, and said %q", program, after[program], text)
		case text != "":
			same++
		}
	}
	t.Logf("%d programs say what they said", same)
	if same < 300 {
		t.Error("that is too few to tell")
	}
	start = time.Now()
	root.Run("hashpkg", "restore", "--all")
	t.Logf("all was restored in %v", time.Since(start).Round(time.Millisecond))
	if out := root.Run("sh", "-c", "dpkg --verify || true"); out != untouched {
		t.Errorf("dpkg --verify says %q, and said %q", out, untouched)
	}
}

// TestSystemTransactions has apt install and remove many packages, with hooks.
func TestSystemTransactions(t *testing.T) {
	root := newSystem(t)
	root.Run("hashpkg", "hooks", "install")
	root.Run("hashpkg", "sync")
	packages := strings.Fields("bc bind9-dnsutils curl dnsutils ffmpeg file fish gdb git gnupg gpg htop imagemagick jq less lsof mc nano openssh-client " +
		"postgresql-client python3 rsync ruby sqlite3 strace subversion tcpdump tmux vim wget zsh")
	repo := root.Repo()
	debs := root.FetchMissing(packages...)
	repo.Add(debs...)
	loops := []*testroot.Loop{root.Loop("grep", "-q", "root", "/etc/passwd"), root.Loop("apt-config", "dump"), root.Loop("perl", "-e", "1")}
	root.Run(append([]string{"apt-get", "-y", "-q", "--no-install-recommends", "install"}, packages...)...)
	t.Logf("%d packages came", len(debs))
	agrees(t, "installed", root)

	var libraries []string
	for _, deb := range debs {
		if strings.HasPrefix(filepath.Base(deb), "lib") && len(libraries) < 40 {
			libraries = append(libraries, deb)
		}
	}
	repo.Add(testroot.Rebuild(t, testroot.Change{Suffix: "+new1", Note: true}, libraries...)...)
	root.Run("apt-get", "-y", "-q", "--no-install-recommends", "dist-upgrade")
	agrees(t, "upgraded", root)
	root.Run("apt-get", "-y", "-q", "install", "--reinstall", "curl", "jq", "git", "libssl3")
	agrees(t, "installed again", root)
	root.Run("apt-get", "-y", "-q", "remove", "ffmpeg", "imagemagick", "fish")
	agrees(t, "removed", root)
	root.Run("apt-get", "-y", "-q", "purge", "--auto-remove", "ruby", "gdb")
	agrees(t, "purged", root)
	for _, l := range loops {
		t.Logf("%d starts", l.Stop())
	}
}

// outerLoop starts a program of a root again and again, from outside, and returns a
// function that ends this and tells how often that was, and when and how it failed.
// What runs in the root is not spared by the moment in which dpkg puts a new C
// library in place: its files come one after the other, and a program that is
// started between two of them gets a loader and a library that do not fit, with
// hashpkg or without.
func outerLoop(t *testing.T, root *testroot.Root, args ...string) (stop func() (starts int, failed []time.Time, said string)) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	var starts int
	var failed []time.Time
	var said string
	wg.Go(func() {
		for ; ctx.Err() == nil; starts++ {
			out, err := exec.Command("chroot", append([]string{root.Dir}, args...)...).CombinedOutput()
			if err != nil {
				failed = append(failed, time.Now())
				said = fmt.Sprintf("%v: %s", err, out)
			}
		}
	})
	return func() (int, []time.Time, string) {
		cancel()
		wg.Wait()
		return starts, failed, said
	}
}

// TestSystemUpgradeRelease takes a system to the next release, its C library, dpkg
// and shell included, while programs start.
func TestSystemUpgradeRelease(t *testing.T) {
	packages := []string{"curl", "git", "jq", "less", "openssh-client", "python3"}
	next := testroot.Debian(t, "trixie", "", packages...)
	wanted := strings.Fields(next.Run("dpkg-query", "-W", "-f", "${Package}=${Version}\n"))
	root := newSystem(t, packages...)
	root.Run("hashpkg", "hooks", "install")
	root.Run("hashpkg", "sync")
	agrees(t, "before", root)
	root.Repo().Add(next.Fetch(wanted...)...)
	var loops []func() (int, []time.Time, string)
	// Those whose libraries are not of their own source: between the unpacking of the
	// two, such a program and its library do not fit, with hashpkg or without.
	for _, program := range [][]string{{"grep", "-q", "root", "/etc/passwd"}, {"ls", "/"}, {"sed", "-n", "1p", "/etc/passwd"}, {"bash", "-c", "true"}} {
		loops = append(loops, outerLoop(t, root, program...))
	}
	start := time.Now()
	root.Run("apt-get", "-y", "-q", "-o", "Dpkg::Options::=--force-confold", "full-upgrade")
	t.Logf("upgraded in %v", time.Since(start).Round(time.Second))
	var failed []time.Time
	for _, stop := range loops {
		starts, at, said := stop()
		t.Logf("%d starts, %d failed: %s", starts, len(at), said)
		failed = append(failed, at...)
	}
	slices.SortFunc(failed, time.Time.Compare)
	if len(failed) > 0 {
		window := failed[len(failed)-1].Sub(failed[0])
		t.Logf("the failed starts were within %v", window)
		if window > time.Second {
			t.Error("that is longer than dpkg takes to put a C library in place")
		}
	}
	if out := root.Run("dpkg-query", "-W", "-f", "${Version}", "libc6"); !strings.HasPrefix(out, "2.41") {
		t.Errorf("libc6 is %s", out)
	}
	agrees(t, "after", root)
}

// TestSystemBootAfterSync boots a system whose programs search the farm: first its
// initial file system alone, then from a disk.
func TestSystemBootAfterSync(t *testing.T) {
	root := newSystem(t, testroot.BootPackages...)
	root.Run("hashpkg", "sync")
	version := strings.TrimSpace(root.Run("dpkg-query", "-W", "-f", "${Version}", "liblzma5"))
	root.Run("hashpkg", "pin", "/usr/bin/kmod", "liblzma5="+version)
	root.Run("update-initramfs", "-u", "-k", "all")
	listing := root.Run("sh", "-c", "lsinitramfs /boot/initrd.img-*")
	t.Logf("the initial file system has %d names below var/sys", strings.Count(listing, "var/sys/"))
	t.Run("initial file system", func(t *testing.T) {
		m := root.With(t).Boot(testroot.BootOptions{})
		t.Logf("the shell answered after %v", m.Took.Round(time.Second))
		for _, program := range []string{"udevadm --version", "kmod --version", "blkid --version"} {
			if out, status, err := m.RunErr(t.Context(), program); err != nil || status != 0 {
				t.Errorf("%s: status %d %v: %s", program, status, err, out)
			}
		}
	})
	t.Run("disk", func(t *testing.T) {
		m := root.With(t).Boot(testroot.BootOptions{Disk: true})
		t.Logf("the shell answered after %v", m.Took.Round(time.Second))
		for _, program := range []string{"apt --version", "udevadm --version", "hashpkg list -q", "hashpkg verify", "hashpkg verify --system"} {
			if out, status, err := m.RunErr(t.Context(), program); err != nil || status != 0 {
				t.Errorf("%s: status %d %v: %s", program, status, err, out)
			}
		}
	})
}
