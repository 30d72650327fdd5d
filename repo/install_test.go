package repo

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashpkg/hashpkg/backends"
	"github.com/hashpkg/hashpkg/backends/deb"
	"github.com/hashpkg/hashpkg/internal/testdeb"
	"github.com/hashpkg/hashpkg/internal/testelf"
	"github.com/hashpkg/hashpkg/internal/testrepo"
	"github.com/hashpkg/hashpkg/layout/plan"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/pkginfo"
	"github.com/hashpkg/hashpkg/transaction"
)

// names returns what was selected, with why, and what was skipped.
func names(s *Selection) (all []string) {
	for _, p := range s.Packages {
		all = append(all, strings.TrimSpace(p.Spec()+" "+strings.Join(p.For, "<")))
	}
	for _, k := range s.Skipped {
		all = append(all, "not "+k.Relation)
	}
	return all
}

func (f *fixture) selected(from string, requests ...string) []string {
	f.t.Helper()
	s, err := f.Select(f.t.Context(), from, f.installs(from, requests...).Requests, false)
	if err != nil {
		f.t.Fatal(err)
	}
	return names(s)
}

// installedInDpkg is a record of dpkg's database.
func installedInDpkg(name, version, depends string) string {
	return fmt.Sprintf("Package: %s\nStatus: install ok installed\nArchitecture: amd64\nMaintainer: x\nVersion: %s\nDepends: %s\nDescription: x\n\n", name, version, depends)
}

// TestSelect has packages of the root: they answer where they are the very ones that would
// be chosen, with all that these need.
func TestSelect(t *testing.T) {
	a := serve(t, "stable", script("tool", "2", "liba, libb"), data("liba", "1", "libc"), data("libb", "1", ""), data("libc", "1", ""))
	for _, test := range []struct {
		what, status string
		want         []string
	}{
		{"nothing", "", []string{"tool=2", "liba=1 tool", "libb=1 tool", "libc=1 liba<tool"}},
		{"all", installedInDpkg("liba", "1", "") + installedInDpkg("libb", "1", "") + installedInDpkg("libc", "1", ""), []string{"tool=2", "not liba=1", "not libb=1", "not libc=1"}},
		{"one of another version", installedInDpkg("liba", "1", "") + installedInDpkg("libb", "0", "") + installedInDpkg("libc", "1", ""), []string{"tool=2", "libb=1 tool", "not liba=1", "not libc=1"}},
		{"what one needs is of another version", installedInDpkg("liba", "1", "") + installedInDpkg("libb", "1", "") + installedInDpkg("libc", "0", ""), []string{"tool=2", "liba=1 tool", "libc=1 liba<tool", "not libb=1"}},
		{"what was asked for", installedInDpkg("tool", "2", ""), []string{"tool=2", "liba=1 tool", "libb=1 tool", "libc=1 liba<tool"}},
	} {
		f := newFixture(t, map[string]string{"etc/hashpkg/sources.d/1.sources": a.sources(), "var/lib/dpkg/status": test.status})
		same(t, test.what, f.selected("", "tool"), test.want...)
	}
	f := newFixture(t, map[string]string{"etc/hashpkg/sources.d/1.sources": a.sources()})
	for text, want := range map[string]string{"nothing": "nothing", "tool=3": "tool=3", "tool/other": "tool/other", "tool:arm64": "tool:arm64"} {
		if s, err := f.Select(t.Context(), "stable", f.installs("", text).Requests, false); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %+v, %v", text, s, err)
		}
	}
	a.release(script("tool", "3", "libz, liby"))
	f.update(0)
	if _, err := f.Select(t.Context(), "", f.installs("", "tool").Requests, false); !errors.Is(err, ErrUnresolved) || !strings.Contains(err.Error(), "libz") || !strings.Contains(err.Error(), "liby") {
		t.Errorf("what the release lacks: %v", err)
	}
}

func TestSelectOfDirectory(t *testing.T) {
	f := newFixture(t, nil)
	dir := t.TempDir()
	for _, p := range []testdeb.Package{script("tool", "1", "liba"), script("tool", "2", "liba"), data("liba", "1", "")} {
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(fmt.Sprintf("%s_%s.deb", p.Name, p.Version))), testdeb.Deb(t, p), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for name, content := range map[string]string{"notes": "text", "broken.deb": "!<arch>\ndebian-binary   0           0     0     100644  4         `\n2.0\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	same(t, "of a directory", f.selected(dir, "tool"), "tool=2", "liba=1 tool")
	if !f.warn.has("broken.deb is passed over") || f.warn.has("notes") {
		t.Errorf("%q", f.warn.all)
	}
	f.install(dir, "tool")
	same(t, "installed of a directory", f.trees(), "tool=2 asked", "liba=1")
	if _, err := f.Select(t.Context(), t.TempDir(), f.installs("", "tool").Requests, false); !errors.Is(err, ErrNoSource) {
		t.Errorf("an empty directory: %v", err)
	}
}

func TestInstall(t *testing.T) {
	a := serve(t, "stable", script("tool", "1", "liba"), data("liba", "1", ""), data("other", "1", ""))
	f := newFixture(t, map[string]string{"etc/hashpkg/sources.d/1.sources": a.sources()})

	dry := f.installs("", "tool")
	dry.DryRun = true
	if result, err := f.Install(t.Context(), dry); err != nil || result.InstallResult != nil || len(result.Selection.Packages) != 2 || a.Requests(".deb") != 0 {
		t.Errorf("a dry run: %+v, %v, with %d packages fetched", result, err, a.Requests(".deb"))
	}
	if result := f.install("", "tool"); !result.Changed {
		t.Errorf("%+v", result)
	}
	same(t, "installed", f.trees(), "tool=1 asked", "liba=1")
	g, err := f.Root.Active()
	if err != nil {
		t.Fatal(err)
	}
	for i := range g.Trees {
		tree := &g.Trees[i]
		m, err := f.Root.Store().Manifest(tree.Name, tree.Dir)
		if err != nil {
			t.Fatal(err)
		}
		if s := m.Package.Signature; tree.Release != "stable" || s.Verdict != pkginfo.Good || !strings.HasPrefix(s.Signer, "archive <archive@example.org>") {
			t.Errorf("%s of %q has the proof %+v", tree.Spec(), tree.Release, s)
		}
	}
	id := f.generation()
	if result := f.install("", "tool"); result.Changed || f.generation() != id {
		t.Errorf("again: %+v", result)
	}
	// What was there for another is asked for now.
	f.install("", "liba")
	same(t, "asked for", f.trees(), "tool=1 asked", "liba=1 asked")

	// One of several packages cannot be had.
	a.Bend("other_1_amd64.deb", testrepo.Status(http.StatusNotFound))
	if _, err := f.Install(t.Context(), f.installs("", "other")); err == nil || !strings.Contains(err.Error(), "fetch other=1: ") || !strings.Contains(err.Error(), "404") {
		t.Errorf("%v", err)
	}
	same(t, "after that", f.trees(), "tool=1 asked", "liba=1 asked")
}

// library returns a package that has a library of this soname.
func library(name, soname, depends string, needed ...string) testdeb.Package {
	content := string(testelf.File{Soname: soname, Needed: needed}.Bytes())
	return testdeb.Package{Name: name, Version: "1", Depends: depends, Files: []testdeb.File{{Path: "usr/lib/x86_64-linux-gnu/" + soname, Content: content}}}
}

// TestInstallRivals has two packages of a release that have one library. What needs both
// is not installed; what needs one is, and so is one from another release beside it.
func TestInstallRivals(t *testing.T) {
	plain, extra := library("libfoo1", "libfoo.so.1", ""), library("libfoo-extra1", "libfoo.so.1", "")
	stable := serve(t, "stable", plain, extra, library("app", "libapp.so.1", "libfoo1, more", "libfoo.so.1"), data("more", "1", "libfoo-extra1"), library("one", "libone.so.1", "libfoo1 | libfoo-extra1", "libfoo.so.1"))
	next := serve(t, "next", library("libfoo-extra1", "libfoo.so.1", ""))
	f := newFixture(t, map[string]string{"etc/hashpkg/sources.d/1.sources": stable.sources(), "etc/hashpkg/sources.d/2.sources": next.sources()})

	_, err := f.Install(t.Context(), f.installs("stable", "app"))
	var problems *plan.ProblemsError
	if want := "libfoo-extra1=1 and libfoo1=1 both have libfoo.so.1, and app=1 needs both of them"; !errors.As(err, &problems) || !strings.Contains(err.Error(), want) {
		t.Fatalf("the error is %v, want %s", err, want)
	}
	same(t, "what is refused", f.trees())
	// What the message says can be done.
	dir := t.TempDir()
	files, err := f.Download(t.Context(), "stable", f.installs("stable", "app").Requests, true, dir)
	if err != nil {
		t.Fatal(err)
	}
	files = slices.DeleteFunc(files, func(name string) bool { return strings.Contains(name, "libfoo-extra1") })
	o := f.installs("")
	o.Packages = transaction.PackageFiles(files...)
	if _, err := f.Install(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	same(t, "files without one of the two", f.trees(), "app=1 asked", "more=1 asked", "libfoo1=1 asked")

	f = newFixture(t, map[string]string{"etc/hashpkg/sources.d/1.sources": stable.sources(), "etc/hashpkg/sources.d/2.sources": next.sources()})
	f.install("stable", "one")
	f.install("next", "libfoo-extra1")
	same(t, "one of each release", f.trees(), "one=1 asked", "libfoo1=1", "libfoo-extra1=1 asked")
	f.install("stable", "libfoo1", "libfoo-extra1")
	f.upgrade()
}

func (f *fixture) upgrade(names ...string) *UpgradeResult {
	f.t.Helper()
	f.update(0)
	result, err := f.Upgrade(f.t.Context(), f.installs(""), names)
	if err != nil {
		f.t.Fatal(err)
	}
	return result
}

func TestUpgrade(t *testing.T) {
	a := serve(t, "stable", script("tool", "1", "liba"), script("other", "1", "helper"), data("liba", "1", ""), script("helper", "1", ""))
	f := newFixture(t, map[string]string{"etc/hashpkg/sources.d/1.sources": a.sources()})
	f.install("", "tool", "other")
	first := []string{"tool=1 asked", "other=1 asked", "liba=1", "helper=1"}
	same(t, "installed", f.trees(), first...)
	id := f.generation()
	if result := f.upgrade(); len(result.Upgraded) != 0 || f.generation() != id {
		t.Errorf("with nothing to do: %+v", result)
	}
	if out, err := f.Outdated(t.Context()); err != nil || len(out) != 0 {
		t.Errorf("%+v, %v", out, err)
	}
	if _, err := f.Upgrade(t.Context(), f.installs(""), []string{"liba"}); err == nil || !strings.Contains(err.Error(), "upgrade liba: no package of that name was installed by name") {
		t.Errorf("one that nobody asked for: %v", err)
	}

	// The new tool needs something else.
	a.release(script("tool", "2", "libnew"), script("other", "2", "helper"), data("liba", "2", ""), data("libnew", "2", ""), script("helper", "2", ""))
	f.update(0)
	out, err := f.Outdated(t.Context())
	var texts []string
	for _, o := range out {
		texts = append(texts, fmt.Sprintf("%s %s %s %v", o.Name, o.Version, o.Available, o.Asked))
	}
	if err != nil {
		t.Fatal(err)
	}
	same(t, "outdated", texts, "tool 1 2 true", "other 1 2 true", "liba 1 2 false", "helper 1 2 false")
	dry := f.installs("")
	dry.DryRun = true
	result, err := f.Upgrade(t.Context(), dry, nil)
	if err != nil || result.InstallResult != nil || len(result.Upgraded) != 5 {
		t.Errorf("a dry run: %+v, %v", result, err)
	}
	same(t, "after a dry run", f.trees(), first...)

	// One by its name: what the others need stays.
	f.upgrade("tool")
	same(t, "tool by its name", f.trees(), "tool=2 asked", "other=1 asked", "libnew=2", "helper=1")
	if f.generation() != id+1 {
		t.Errorf("it took %d generations", f.generation()-id)
	}

	// One that is on hold, and what it needs.
	if _, err := transaction.Hold(t.Context(), transaction.Change{Root: f.Root, Now: now}, []string{"other"}, true); err != nil {
		t.Fatal(err)
	}
	a.release(script("tool", "3", ""), script("other", "3", ""), script("helper", "3", ""))
	f.upgrade()
	same(t, "with one on hold", f.trees(), "tool=3 asked", "other=1 asked hold", "helper=1")
	if _, err := transaction.Hold(t.Context(), transaction.Change{Root: f.Root, Now: now}, []string{"other"}, false); err != nil {
		t.Fatal(err)
	}
	f.upgrade()
	same(t, "all", f.trees(), "tool=3 asked", "other=3 asked")
	if _, err := transaction.Rollback(t.Context(), transaction.Change{Root: f.Root, Now: now}, id); err != nil {
		t.Fatal(err)
	}
	same(t, "rolled back", f.trees(), first...)

	// A release that cannot be had leaves all as it is.
	a.release(script("tool", "4", "missing"))
	f.update(0)
	if _, err := f.Upgrade(t.Context(), f.installs(""), nil); err == nil {
		t.Error("a package whose release lacks what it needs is upgraded")
	}
	same(t, "after that", f.trees(), first...)
}

// TestUpgradeOfTwoVersions has two versions of a package, of which none is on hold: the
// new one takes the place of both, and that is told.
func TestUpgradeOfTwoVersions(t *testing.T) {
	a := serve(t, "stable", script("tool", "1", ""))
	f := newFixture(t, map[string]string{"etc/hashpkg/sources.d/1.sources": a.sources()})
	f.install("", "tool")
	a.release(script("tool", "2", ""))
	f.update(0)
	f.install("", "tool")
	same(t, "installed", f.trees(), "tool=1 asked", "tool=2 asked")
	a.release(script("tool", "3", ""))
	var texts []string
	for _, u := range f.upgrade().Upgraded {
		texts = append(texts, u.Name+" "+u.Before+" "+u.After)
	}
	same(t, "told", texts, "tool 2 3", "tool 1 ")
	same(t, "upgraded", f.trees(), "tool=3 asked")
}

func TestNeededOf(t *testing.T) {
	manifests := []*record.Manifest{
		{Name: "helper", Version: "1", Format: "deb", Provides: []pkginfo.Capability{{Name: "aide"}}, Files: []record.File{{Path: "usr/bin/helper"}}},
		nil, // of the system
		{Name: "other", Version: "1", Format: "deb"},
	}
	g := &record.Generation{}
	for _, m := range manifests {
		tree := record.Tree{Name: "system", Dir: "1"}
		if m != nil {
			m.Index()
			tree = record.Tree{Name: m.Name, Dir: m.Version}
		}
		g.Trees = append(g.Trees, tree)
	}
	for _, test := range []struct {
		name, operator, version string
		gone, chosen            string
		want                    string
	}{
		{name: "helper", gone: "helper/1", want: "helper/1"},
		{name: "aide", gone: "helper/1", want: "helper/1"},
		{name: "/usr/bin/helper", gone: "helper/1", want: "helper/1"},
		{name: "/usr/bin/other", gone: "helper/1"},
		{name: "helper", operator: ">", version: "1", gone: "helper/1"},
		{name: "helper", gone: "other/1"},
		{name: "helper", gone: "helper/1", chosen: "helper"},
		{name: "helper", gone: "helper/1", chosen: "other", want: "helper/1"},
		{name: "helper", operator: "=", version: "1", gone: "helper/1", chosen: "helper", want: "helper/1"},
	} {
		relations := []pkginfo.Relation{{Alternatives: []pkginfo.Constraint{{Name: test.name, Operator: test.operator, Version: test.version}}}}
		var chosen []*Selected
		if test.chosen != "" {
			chosen = []*Selected{{Available: &Available{Listed: &pkginfo.Listed{Package: pkginfo.Package{Name: test.chosen, Version: "2", Format: "deb"}}}}}
		}
		orders := backends.Formats{deb.Format{}}.Orders()
		got := neededOf(relations, map[string]bool{test.gone: true}, g, manifests, chosen, orders)
		if strings.Join(got, " ") != test.want {
			t.Errorf("%+v: %q", test, got)
		}
	}
}

// TestUpgradeOfReleases has packages of two releases, of which one has something new.
func TestUpgradeOfReleases(t *testing.T) {
	one, two := serve(t, "one", script("tool", "1", "lib"), data("lib", "1", "")), serve(t, "two", script("other", "1", "lib"), data("lib", "1.1", ""))
	f := newFixture(t, map[string]string{"etc/hashpkg/sources.d/1.sources": one.sources(), "etc/hashpkg/sources.d/2.sources": two.sources()})
	f.install("one", "tool")
	f.install("two", "other")
	same(t, "installed", f.trees(), "tool=1 asked", "lib=1", "other=1 asked", "lib=1.1")
	one.release(script("tool", "2", "lib"), data("lib", "2", ""))
	f.upgrade()
	same(t, "upgraded", f.trees(), "tool=2 asked", "lib=2", "other=1 asked", "lib=1.1")
}

func TestLock(t *testing.T) {
	a := serve(t, "stable", script("tool", "1", "liba"), data("liba", "1", ""))
	f := newFixture(t, map[string]string{"etc/hashpkg/sources.d/1.sources": a.sources()})
	f.install("", "tool")
	if _, err := transaction.Hold(t.Context(), transaction.Change{Root: f.Root, Now: now}, []string{"tool"}, true); err != nil {
		t.Fatal(err)
	}
	lock, err := f.Lock(t.Context())
	if err != nil || len(lock.Packages) != 2 {
		t.Fatalf("%+v, %v", lock, err)
	}
	other := newFixture(t, nil)
	if _, err := other.InstallLocked(t.Context(), other.installs(""), "x.lock", lock); err != nil {
		t.Fatal(err)
	}
	same(t, "in another root", other.trees(), f.trees()...)
	here, err := f.Root.Active()
	if err != nil {
		t.Fatal(err)
	}
	there, err := other.Root.Active()
	if err != nil {
		t.Fatal(err)
	}
	for i := range here.Trees {
		if here.Trees[i].Identity != there.Trees[i].Identity || here.Trees[i].Release != there.Trees[i].Release {
			t.Errorf("%+v became %+v", here.Trees[i], there.Trees[i])
		}
	}

	// Another tree, another file, another prefix.
	for what, test := range map[string]struct {
		change func(l *LockFile)
		says   string
	}{
		"identity": {func(l *LockFile) { l.Packages[0].Identity[0] ^= 1 }, "would be another one on this machine"},
		"digest": {func(l *LockFile) {
			l.Packages[0].Digest = l.Packages[0].Digest[:len(l.Packages[0].Digest)-4] + "0000"
		}, "not the expected one"},
		"version": {func(l *LockFile) { l.Packages[0].Version = "9" }, "9"},
		"prefix":  {func(l *LockFile) { l.Prefix = "/opt/sys" }, "its trees stand in /opt/sys"},
	} {
		changed := *lock
		changed.Packages = slices.Clone(lock.Packages)
		test.change(&changed)
		third := newFixture(t, nil)
		if _, err := third.InstallLocked(t.Context(), third.installs(""), "x.lock", &changed); err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("another %s: %v, want %q", what, err, test.says)
		}
		if g, err := third.Root.Active(); err != nil || len(g.Trees) != 0 {
			t.Errorf("another %s: %+v, %v", what, g, err)
		}
	}
	for text, want := range map[string]string{
		"": "read lock file x: ", `{"format":1}`: "it has the form 1", `{"format":2,"more":1}`: "more",
		`{"format":2,"packages":[{"name":"a","urls":["http://x"],"digest":"md5:0"}]}`:              "not a digest",
		`{"format":2,"packages":[{"name":"a","digest":"sha256:` + strings.Repeat("0", 64) + `"}]}`: "nothing says where it comes from",
	} {
		if _, err := ReadLockFile("x", []byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
	a.release(script("tool", "2", ""))
	f.update(0)
	if _, err := f.Lock(t.Context()); err == nil || !strings.Contains(err.Error(), "has this version no more") {
		t.Errorf("what the release has no more: %v", err)
	}
}

func TestProgram(t *testing.T) {
	several := testdeb.Package{Name: "several", Version: "1", Files: []testdeb.File{testdeb.Exec("usr/bin/one", "1"), testdeb.Exec("usr/sbin/two", "2")}}
	single := testdeb.Package{Name: "single", Version: "1", Files: []testdeb.File{testdeb.Exec("usr/bin/called-otherwise", "1")}}
	a := serve(t, "stable", script("tool", "1", "liba"), data("liba", "1", ""), several, single)
	f := newFixture(t, map[string]string{"etc/hashpkg/sources.d/1.sources": a.sources()})
	for _, test := range []struct{ request, program, want, says string }{
		{"tool", "", "/bin/tool", ""},
		{"single", "", "/bin/called-otherwise", ""},
		{"several", "", "", "name one with --program: one, two"},
		{"several", "two", "/sbin/two", ""},
		{"several", "three", "", "it has no program three"},
		{"liba", "", "", "it has no programs"},
	} {
		path, err := f.Program(t.Context(), f.installs(""), f.installs("", test.request).Requests[0], test.program)
		if test.says != "" {
			if err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("%s %s: %q, %v", test.request, test.program, path, err)
			}
			continue
		}
		if err != nil || !strings.HasPrefix(path, prefix+"/"+test.request+"/") || !strings.HasSuffix(path, test.want) || f.read(path) == "" {
			t.Errorf("%s %s: %q, %v", test.request, test.program, path, err)
		}
	}
	g, err := f.Root.Active()
	if err != nil {
		t.Fatal(err)
	}
	for i := range g.Trees {
		if tree := &g.Trees[i]; tree.Default || !tree.Until.Equal(now.Add(RunFor)) {
			t.Errorf("%s is a default, or stays until %v", tree.Spec(), tree.Until)
		}
	}
	if result := f.upgrade(); len(result.Upgraded) != 0 {
		t.Errorf("%+v", result)
	}
	a.Forget()
	if _, err := f.Program(t.Context(), f.installs(""), Request{Name: "tool"}, ""); err != nil || a.Requests(".deb") != 0 {
		t.Errorf("again: %v, %d fetched", err, a.Requests(".deb"))
	}
	// What is asked for stays.
	f.install("", "liba")
	change := transaction.Change{Root: f.Root, Now: now.Add(RunFor - time.Second)}
	if result, err := transaction.DropExpired(t.Context(), change); err != nil || result.Changed {
		t.Errorf("before its time: %+v, %v", result, err)
	}
	change.Now = now.Add(RunFor + time.Second)
	if result, err := transaction.DropExpired(t.Context(), change); err != nil || !result.Changed {
		t.Errorf("after its time: %+v, %v", result, err)
	}
	same(t, "after its time", f.trees(), "liba=1 asked")
	if _, err := os.Lstat(filepath.Join(f.dir, "var/sys/current-system/bin/tool")); err == nil {
		t.Error("it is a default")
	}
}

// TestUpgradeSame has the very same program in two releases, of which first one and then
// both have something new.
func TestUpgradeSame(t *testing.T) {
	one, two := serve(t, "one", script("tool", "1", "lib"), data("lib", "1", "")), serve(t, "two", script("tool", "1", "lib"), data("lib", "1", ""))
	f := newFixture(t, map[string]string{"etc/hashpkg/sources.d/1.sources": one.sources(), "etc/hashpkg/sources.d/2.sources": two.sources()})
	releases := func(what string, want ...string) {
		t.Helper()
		g, err := f.Root.Active()
		if err != nil {
			t.Fatal(err)
		}
		var all []string
		for i := range g.Trees {
			tree := &g.Trees[i]
			all = append(all, strings.TrimSpace(tree.Spec()+" "+tree.Release+" "+tree.Others))
		}
		same(t, what, all, want...)
	}
	outdated := func(want ...string) {
		t.Helper()
		f.update(0)
		out, err := f.Outdated(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var all []string
		for _, o := range out {
			all = append(all, o.Release+": "+o.Name+" "+o.Version+" "+o.Available)
		}
		same(t, "outdated", all, want...)
	}
	f.install("one", "tool")
	f.install("two", "tool")
	releases("installed", "tool=1 two one", "lib=1 two one")

	one.release(script("tool", "2", "lib"), data("lib", "2", ""))
	outdated("one: tool 1 2", "one: lib 1 2")
	f.upgrade()
	releases("one has something new", "tool=1 two one", "lib=1 two one", "tool=2 one", "lib=2 one")
	outdated()
	if result := f.upgrade(); len(result.Upgraded) != 0 {
		t.Errorf("with nothing to do: %+v", result.Upgraded)
	}

	two.release(script("tool", "3", "lib"), data("lib", "3", ""))
	outdated("two: tool 1 3", "two: lib 1 3")
	f.upgrade()
	releases("the other one has", "tool=2 one", "lib=2 one", "tool=3 two", "lib=3 two")

	one.release(script("tool", "4", "lib"), data("lib", "4", ""))
	two.release(script("tool", "4", "lib"), data("lib", "4", ""))
	f.upgrade()
	releases("both have the same", "tool=4 two one", "lib=4 two one")
}

// TestUpgradeSameBound has the very same program in two releases, whose libraries are the
// same until one of them, either one, has a newer one: then each has its own.
func TestUpgradeSameBound(t *testing.T) {
	app, old, newer := library("app", "libapp.so.1", "libfoo1", "libfoo.so.1"), library("libfoo1", "libfoo.so.1", ""), library("libfoo1", "libfoo.so.1", "")
	newer.Version = "2"
	for _, name := range []string{"one", "two"} {
		releases := map[string]*archive{"one": serve(t, "one", app, old), "two": serve(t, "two", app, old)}
		f := newFixture(t, map[string]string{"etc/hashpkg/sources.d/1.sources": releases["one"].sources(), "etc/hashpkg/sources.d/2.sources": releases["two"].sources()})
		f.install("one", "app")
		f.install("two", "app")
		same(t, "installed", f.trees(), "app=1 asked", "libfoo1=1")
		releases[name].release(app, newer)
		f.upgrade()
		same(t, "upgraded", f.trees(), "app=1 asked", "libfoo1=1", "app=1 asked", "libfoo1=2")
		g, err := f.Root.Active()
		if err != nil {
			t.Fatal(err)
		}
		for i := range g.Trees {
			if tree := &g.Trees[i]; (tree.Dir != "1") != (tree.Release == name && tree.Others == "") {
				t.Errorf("of %s is something new, and %s is of %s %s", name, tree.Path(), tree.Release, tree.Others)
			}
		}
		if result := f.upgrade(); len(result.Upgraded) != 0 {
			t.Errorf("with nothing to do: %+v", result.Upgraded)
		}
	}
}
