package conf

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/backends"
	"github.com/hashpkg/hashpkg/backends/deb"
	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/internal/beneath"
	"github.com/hashpkg/hashpkg/internal/testdeb"
	"github.com/hashpkg/hashpkg/internal/testneed"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/sysroot"
	"github.com/hashpkg/hashpkg/transaction"
	"github.com/hashpkg/hashpkg/transaction/query"
)

var (
	now  = time.Unix(1700000000, 0).UTC()
	spec = query.Spec{Name: "tool"}
)

// fixture is a root with a package.
type fixture struct {
	*testing.T
	root *sysroot.Root
}

// newFixture returns a root that has version 1 of a package installed, whose file
// etc/tool/main.conf holds that.
func newFixture(t *testing.T) *fixture {
	t.Helper()
	root, err := sysroot.Open(t.TempDir(), layout.DefaultPrefix, backends.Formats{deb.Format{}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := root.Close(); err != nil {
			t.Error(err)
		}
	})
	f := &fixture{t, root}
	f.install("1")
	return f
}

func content(version string) string { return strings.Repeat(version, 100<<10) }

func sumOfVersion(version string) string { return digest.Of([]byte(content(version))).String() }

func (f *fixture) install(version string) {
	f.Helper()
	file := filepath.Join(f.TempDir(), "tool.deb")
	b := testdeb.Deb(f.T, testdeb.Package{Name: "tool", Version: version, Conffiles: "/etc/tool/main.conf\n", Files: []testdeb.File{
		{Path: "etc/tool/main.conf", Mode: 0o640, Content: content(version)},
	}})
	f.must(os.WriteFile(file, b, 0o644))
	_, err := transaction.Install(f.Context(), transaction.InstallOptions{Root: f.root, Packages: transaction.PackageFiles(file), Now: now})
	f.must(err)
}

func (f *fixture) must(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

func (f *fixture) path(name string) string { return filepath.Join(f.root.Dir(), name) }

func (f *fixture) write(name, text string) {
	f.Helper()
	f.must(errors.Join(os.MkdirAll(filepath.Dir(f.path(name)), 0o755), os.WriteFile(f.path(name), []byte(text), 0o644)))
}

// short is what a change came to.
func short(r *Result, err error) string {
	text := ""
	if r != nil {
		for _, s := range r.Done {
			text += fmt.Sprintf("%s %s; ", s.Action, s.Path)
		}
		for _, l := range r.Left {
			text += fmt.Sprintf("left %s %s %s; ", l.State, l.Path, l.Reason)
		}
	}
	if err != nil {
		text += "error " + err.Error()
	}
	return strings.TrimSpace(text)
}

func (f *fixture) adopt() string {
	f.Helper()
	return short(Adopt(f.Context(), Options{Root: f.root}, spec))
}

func (f *fixture) update() string {
	f.Helper()
	return short(Update(f.Context(), Options{Root: f.root}))
}

func (f *fixture) drop() string {
	f.Helper()
	return short(Drop(f.Context(), Options{Root: f.root}, "tool"))
}

// etc lists what is in /etc: the paths, with what they are.
func (f *fixture) etc(dirs ...string) string {
	f.Helper()
	var lines []string
	for _, dir := range append([]string{"etc"}, dirs...) {
		err := filepath.WalkDir(f.path(dir), func(p string, d os.DirEntry, err error) error {
			if errors.Is(err, os.ErrNotExist) {
				return nil
			}
			if err != nil {
				return err
			}
			name := strings.TrimPrefix(p, f.root.Dir()+"/")
			info, err := d.Info()
			if err != nil {
				return err
			}
			line := fmt.Sprintf("%s %v", name, info.Mode())
			switch {
			case info.Mode().IsRegular():
				b, err := os.ReadFile(p)
				if err != nil {
					return err
				}
				line += fmt.Sprintf(" %d %.20s", len(b), b)
			case info.Mode()&os.ModeSymlink != 0:
				target, err := os.Readlink(p)
				if err != nil {
					return err
				}
				line += " " + target
			}
			lines = append(lines, line)
			return nil
		})
		f.must(err)
	}
	return strings.Join(lines, "\n")
}

// isVersion checks that /etc has a version of the file, and the record says so.
func (f *fixture) isVersion(what, version string) {
	f.Helper()
	want := fmt.Sprintf("etc drwxr-xr-x\netc/tool drwxr-xr-x\netc/tool/main.conf -rw-r----- %d %.20s", len(content(version)), content(version))
	if diff := cmp.Diff(want, f.etc()); diff != "" {
		f.Errorf("%s: /etc (-want +have):\n%s", what, diff)
	}
	c, err := f.root.Conf()
	f.must(err)
	if len(c.Files) != 1 || c.Files[0].Version != version || !slices.Equal(c.Files[0].Is, []string{sumOfVersion(version)}) || c.Files[0].Beside != nil {
		f.Errorf("%s: recorded is %+v", what, c)
	}
	if again := f.adopt(); again != "" {
		f.Errorf("%s: the next time it says %q", what, again)
	}
}

// TestHostile has things in /etc that are none of hashpkg's, and links that lead elsewhere:
// nothing is written there, and nothing else is changed.
func TestHostile(t *testing.T) {
	link := func(target string) func(*fixture, string) {
		return func(f *fixture, name string) {
			f.must(errors.Join(os.MkdirAll(filepath.Dir(f.path(name)), 0o755), os.Symlink(target, f.path(name))))
		}
	}
	mkdir := func(f *fixture, name string) { f.must(os.MkdirAll(f.path(name), 0o755)) }
	for _, tt := range []struct {
		name string
		in   string // the place
		make func(*fixture, string)
		want string
	}{
		{"a link to a file", "etc/tool/main.conf", link("/outside/file"), "left own /etc/tool/main.conf ;"},
		{"a link to nothing", "etc/tool/main.conf", link("/outside/none"), "left own /etc/tool/main.conf ;"},
		{"a directory", "etc/tool/main.conf", mkdir, "left own /etc/tool/main.conf ;"},
		{"a pipe", "etc/tool/main.conf", func(f *fixture, name string) {
			mkdir(f, filepath.Dir(name))
			f.must(unix.Mkfifo(f.path(name), 0o644))
		}, "left own /etc/tool/main.conf ;"},
		{"a link out of etc", "etc/tool", link("/outside"), "left blocked /etc/tool/main.conf a link leads out of /etc, to /outside/main.conf;"},
		{"a link out of the root", "etc/tool", link("../../../../../../../outside"), "left blocked /etc/tool/main.conf a link leads out of /etc, to /outside/main.conf;"},
		{"etc itself", "etc", link("outside"), "left blocked /etc/tool/main.conf a link leads out of /etc, to /outside/tool/main.conf;"},
		{"a link to what is refused", "etc/tool", link("pam.d"), "left blocked /etc/tool/main.conf a link leads to /etc/pam.d/main.conf, and /etc/pam.d decides who may log in;"},
		{"a circle", "etc/tool", link("tool"), ""},
		{"a file on the way", "etc/tool", func(f *fixture, name string) { f.write(name, "x") }, "left blocked /etc/tool/main.conf something on the way to it is no directory;"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t)
			f.write("outside/file", "outside")
			mkdir(f, "outside/tool")
			if tt.name == "a link to what is refused" {
				mkdir(f, "etc/pam.d")
			}
			tt.make(f, tt.in)
			before := f.etc("outside")
			have := f.adopt()
			if tt.want != "" && have != tt.want || tt.want == "" && !strings.HasPrefix(have, "left blocked /etc/tool/main.conf ") {
				t.Errorf("it says %q, want %q", have, tt.want)
			}
			if diff := cmp.Diff(before, f.etc("outside")); diff != "" {
				t.Errorf("(-before +after):\n%s", diff)
			}
			if c, err := f.root.Conf(); err != nil || len(c.Files)+len(c.Dirs) > 0 {
				t.Errorf("recorded is %+v, %v", c, err)
			}
		})
	}
}

// TestLinkInEtc has a directory of /etc that is a link to another one there.
func TestLinkInEtc(t *testing.T) {
	f := newFixture(t)
	f.must(os.MkdirAll(f.path("etc/other"), 0o755))
	f.must(os.Symlink("other", f.path("etc/tool")))
	if have := f.adopt(); have != "copied /etc/tool/main.conf;" {
		t.Errorf("it says %q", have)
	}
	if b, err := os.ReadFile(f.path("etc/other/main.conf")); err != nil || string(b) != content("1") {
		t.Errorf("%d bytes, %v", len(b), err)
	}
	if have := f.drop(); have != "removed /etc/tool/main.conf;" {
		t.Errorf("it says %q", have)
	}
	if info, err := os.Stat(f.path("etc/other")); err != nil || !info.IsDir() {
		t.Errorf("the directory, which is somebody's: %v", err)
	}
}

// TestDiskSaysNo has a file system for /etc that is full, or not to be written to: nothing
// is left of what was begun, and it is done the next time.
func TestDiskSaysNo(t *testing.T) {
	testneed.Root(t)
	for name, mount := range map[string]struct {
		flags uintptr
		data  string
		want  error
	}{
		"full":      {0, "size=16k", unix.ENOSPC},
		"read-only": {unix.MS_RDONLY, "", unix.EROFS},
	} {
		f := newFixture(t)
		etc := f.path("etc")
		f.must(os.MkdirAll(etc, 0o755))
		f.must(unix.Mount("none", etc, "tmpfs", mount.flags, "mode=0755,"+mount.data))
		unmount := func() { f.must(unix.Unmount(etc, unix.MNT_DETACH)) }
		before := f.etc()
		result, err := Adopt(t.Context(), Options{Root: f.root}, spec)
		if !errors.Is(err, mount.want) || len(result.Done) > 0 {
			t.Errorf("%s: %+v, %v", name, result, err)
		}
		after := strings.ReplaceAll(f.etc(), "\netc/tool drwxr-xr-x", "") // which may have been made
		if diff := cmp.Diff(before, after); diff != "" {
			t.Errorf("%s (-before +after):\n%s", name, diff)
		}
		if c, err := f.root.Conf(); err != nil || len(c.Files) > 0 {
			t.Errorf("%s: recorded is %+v, %v", name, c, err)
		}
		unmount()
		if have := f.adopt(); have != "copied /etc/tool/main.conf;" {
			t.Errorf("%s: the next time it says %q", name, have)
		}
		f.isVersion(name, "1")
	}
}

// TestKilled has what a kill between any two steps leaves: it is run again.
func TestKilled(t *testing.T) {
	entry := func(is ...string) *record.Conf {
		c := &record.Conf{Layout: layout.FormatVersion, Dirs: []string{"/etc", "/etc/tool"}, Files: []record.ConfFile{
			{Path: "/etc/tool/main.conf", Package: "tool", Version: "1"},
		}}
		for _, version := range is {
			c.Files[0].Is = append(c.Files[0].Is, sumOfVersion(version))
		}
		return c
	}
	for _, tt := range []struct {
		name    string
		record  *record.Conf
		prepare func(*fixture)
		version string
		want    string
	}{
		{"a copy, before the file", entry("1"), func(*fixture) {}, "1", "copied /etc/tool/main.conf;"},
		{"a copy, after the directory", entry("1"), func(f *fixture) { f.must(os.MkdirAll(f.path("etc/tool"), 0o755)) }, "1", "copied /etc/tool/main.conf;"},
		{"an update, before the file", entry("2", "1"), func(f *fixture) {
			f.write("etc/tool/main.conf", content("1"))
			f.must(os.Chmod(f.path("etc/tool/main.conf"), 0o640))
		}, "2", "updated /etc/tool/main.conf;"},
		{"an update, after the file", entry("2", "1"), func(f *fixture) {
			f.write("etc/tool/main.conf", content("2"))
			f.must(os.Chmod(f.path("etc/tool/main.conf"), 0o640))
		}, "2", "confirmed /etc/tool/main.conf;"},
	} {
		f := newFixture(t)
		if tt.version == "2" {
			f.install("2")
		}
		f.must(f.root.SetConf(tt.record))
		tt.prepare(f)
		if have := f.adopt(); have != tt.want {
			t.Errorf("%s: it says %q, want %q", tt.name, have, tt.want)
		}
		f.isVersion(tt.name, tt.version)
		f.must(f.root.SetConf(tt.record)) // a drop, after the file
		f.must(os.Remove(f.path("etc/tool/main.conf")))
		if have := f.drop(); have != "" {
			t.Errorf("%s: drop says %q", tt.name, have)
		}
		if have := f.etc(); have != "" {
			t.Errorf("%s: there is %s", tt.name, have)
		}
	}
}

// TestStopped ends before anything was done.
func TestStopped(t *testing.T) {
	f := newFixture(t)
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if result, err := Adopt(ctx, Options{Root: f.root}, spec); !errors.Is(err, context.Canceled) && !errors.Is(err, transaction.ErrInterrupted) {
		t.Errorf("%+v, %v", result, err)
	}
	if have := f.etc(); have != "" {
		t.Errorf("there is %s", have)
	}
}

// TestOwned has a package of the system that has brought the same file since: it is that
// package's.
func TestOwned(t *testing.T) {
	f := newFixture(t)
	f.adopt()
	f.write("var/lib/dpkg/status", "Package: other\nStatus: install ok installed\nMaintainer: x <x@example.org>\nArchitecture: amd64\nVersion: 1\nDescription: x\n\n")
	f.write("var/lib/dpkg/info/other.list", "/.\n/etc\n/etc/tool\n/etc/tool/main.conf\n")
	before := f.etc()
	if have := f.drop(); have != "released /etc/tool/main.conf;" || f.etc() != before {
		t.Errorf("drop says %q, and there is %s", have, f.etc())
	}
	f.must(f.root.SetConf(&record.Conf{Layout: layout.FormatVersion, Files: []record.ConfFile{
		{Path: "/etc/tool/main.conf", Package: "tool", Version: "1", Is: []string{sumOfVersion("1")}},
	}}))
	f.install("2")
	if have := f.update(); have != "released /etc/tool/main.conf;" || f.etc() != before {
		t.Errorf("update says %q, and there is %s", have, f.etc())
	}
	if c, err := f.root.Conf(); err != nil || len(c.Files) > 0 {
		t.Errorf("recorded is %+v, %v", c, err)
	}
}

// TestUpdate follows versions, forwards and back, and leaves what somebody has changed, or
// removed.
func TestUpdate(t *testing.T) {
	f := newFixture(t)
	if have := f.update(); have != "" || f.etc() != "" {
		t.Errorf("without any, it says %q", have)
	}
	f.adopt()
	f.isVersion("adopted", "1")
	f.must(os.Chmod(f.path("etc/tool/main.conf"), 0o600))
	f.install("2")
	if have := f.update(); have != "updated /etc/tool/main.conf;" {
		t.Errorf("it says %q", have)
	}
	if have := f.etc(); !strings.Contains(have, "main.conf -rw------- ") {
		t.Errorf("its mode is another one: %s", have)
	}
	f.must(os.Chmod(f.path("etc/tool/main.conf"), 0o640))
	f.isVersion("updated", "2")
	f.write("etc/tool/main.conf", "changed")
	if have := f.update(); have != "left changed /etc/tool/main.conf ;" {
		t.Errorf("it says %q", have)
	}
	f.write("etc/tool/main.conf"+NewEnd, "somebody's")
	f.install("3")
	want := "left changed /etc/tool/main.conf main.conf.hashpkg-new is there, and is not what hashpkg has put there;"
	if have := f.update(); have != want {
		t.Errorf("it says %q, want %q", have, want)
	}
	f.must(os.Remove(f.path("etc/tool/main.conf" + NewEnd)))
	for _, version := range []string{"3", "4"} {
		f.install(version)
		if have := f.update(); have != "beside /etc/tool/main.conf;" {
			t.Errorf("it says %q", have)
		}
		if b, err := os.ReadFile(f.path("etc/tool/main.conf" + NewEnd)); err != nil || string(b) != content(version) {
			t.Errorf("beside it are %d bytes, %v", len(b), err)
		}
		if have := f.update(); strings.Contains(have, "beside /") {
			t.Errorf("again it says %q", have)
		}
	}
	f.must(os.Remove(f.path("etc/tool/main.conf")))
	f.install("5")
	if have := f.update(); have != "left removed /etc/tool/main.conf ;" {
		t.Errorf("it says %q", have)
	}
	if have := f.drop(); have != "" || f.etc() != "" {
		t.Errorf("drop says %q, and there is %s", have, f.etc())
	}
}

// TestChangedMeanwhile has somebody change a file just before it is replaced.
func TestChangedMeanwhile(t *testing.T) {
	dir, err := beneath.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	for name, text := range map[string]string{"new": "new", "file": "changed"} {
		if err := dir.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := replace(dir, "new", "file", []string{sum([]byte("old"))}); !errors.Is(err, errTaken) {
		t.Errorf("the error is %v", err)
	}
	for name, text := range map[string]string{"new": "new", "file": "changed"} {
		if b, err := dir.ReadFile(name, 100); err != nil || string(b) != text {
			t.Errorf("%s is %q, %v", name, b, err)
		}
	}
	if err := replace(dir, "new", "file", []string{sum([]byte("changed"))}); err != nil {
		t.Error(err)
	}
	if b, err := dir.ReadFile("file", 100); err != nil || string(b) != "new" {
		t.Errorf("the file is %q, %v", b, err)
	}
}

// TestRecordMeansHarm has a record that says of a file which is never copied that it was.
func TestRecordMeansHarm(t *testing.T) {
	f := newFixture(t)
	f.write("etc/passwd", content("1"))
	f.must(f.root.SetConf(&record.Conf{Layout: layout.FormatVersion, Files: []record.ConfFile{
		{Path: "/etc/passwd", Package: "tool", Version: "1", Is: []string{sumOfVersion("1")}},
	}}))
	if have := f.drop(); have != "released /etc/passwd;" || !strings.Contains(f.etc(), "etc/passwd") {
		t.Errorf("drop says %q, and there is %s", have, f.etc())
	}
}

func TestRefuses(t *testing.T) {
	for p, want := range map[string]bool{
		"/etc/passwd": true, "/etc/passwd-": true, "/etc/group": true, "/etc/shadow": true, "/etc/gshadow": true, "/etc/pam.d/x": true, "/etc/pam.conf": true,
		"/etc/security/limits.conf": true, "/etc/sudoers": true, "/etc/sudoers.d/x": true, "/etc/ld.so.conf": true, "/etc/ld.so.conf.d/x": true, "/etc/ld.so.preload": true,
		"/etc/tool/passwd": false, "/etc/securetty": false, "/etc/ld": false, "/etc/pam": false,
	} {
		if have := refuses(p) != ""; have != want {
			t.Errorf("%s: %v", p, have)
		}
	}
}
