package repo

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashpkg/hashpkg/backends"
	"github.com/hashpkg/hashpkg/backends/trust"
	"github.com/hashpkg/hashpkg/internal/testrepo"
	"github.com/hashpkg/hashpkg/pkginfo"
)

func (f *fixture) update(age time.Duration) []Updated {
	f.t.Helper()
	sources, err := f.Sources(f.t.Context())
	if err != nil {
		f.t.Fatal(err)
	}
	results, err := f.Update(f.t.Context(), sources, age)
	if err != nil {
		f.t.Fatal(err)
	}
	return results
}

func TestSources(t *testing.T) {
	deb := func(suite, more string) string {
		return "Types: deb\nURIs: http://example.org/debian\nSuites: " + suite + "\nComponents: main\n" + more
	}
	f := newFixture(t, map[string]string{
		"etc/hashpkg/sources.d/b.sources":     deb("trixie", "") + "\n" + deb("trixie-updates", ""),
		"etc/hashpkg/sources.d/a.sources":     deb("one", "") + "\n" + deb("two", ""),
		"etc/hashpkg/sources.d/c.repo":        "[fedora]\nbaseurl=http://example.org/fedora\ngpgcheck=0\n",
		"etc/hashpkg/sources.d/notes":         "these are none",
		"etc/apt/sources.list.d/apt.sources":  deb("one", "") + "\n" + deb("sid", ""),
		"etc/apt/sources.list.d/more.sources": deb("off", "Enabled: no\n"),
		"var/lib/dpkg/status":                 "",
	})
	all, err := f.Sources(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range all {
		got = append(got, s.Name+" of "+s.Release+" from "+filepath.Base(s.File))
	}
	want := []string{
		"one of a from a.sources", "two of a from a.sources", "trixie of trixie from b.sources", "trixie-updates of trixie from b.sources",
		"fedora of fedora from c.repo", "sid of sid from apt.sources",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("%q, want %q", got, want)
	}
	for name, want := range map[string]string{"": "one two", "trixie": "trixie trixie-updates", "trixie-updates": "trixie-updates", "sid": "sid", "bookworm": "bookworm bookworm-updates bookworm-security"} {
		sources, err := f.Release(t.Context(), name)
		var names []string
		for _, s := range sources {
			names = append(names, s.Name)
		}
		if err != nil || strings.Join(names, " ") != want {
			t.Errorf("%q is %q, %v, want %s", name, names, err, want)
		}
	}
	if _, err := f.Release(t.Context(), "nonsense"); !errors.Is(err, ErrNoSource) || !strings.Contains(err.Error(), "trixie, bookworm") {
		t.Errorf("a release that is not known: %v", err)
	}
	if _, err := newFixture(t, nil).Release(t.Context(), ""); !errors.Is(err, ErrNoSource) {
		t.Errorf("no source at all: %v", err)
	}
	bad := newFixture(t, map[string]string{"etc/hashpkg/sources.d/x.sources": "nonsense"})
	if _, err := bad.Sources(t.Context()); err == nil || !strings.Contains(err.Error(), "/etc/hashpkg/sources.d/x.sources: line 1") {
		t.Errorf("a file that is none: %v", err)
	}
}

// TestFetched has an index of a release that no file names, and one of a release that a file
// names as well.
func TestFetched(t *testing.T) {
	f := newFixture(t, map[string]string{SourcesDir + "/sid.sources": "Types: deb\nURIs: http://own.invalid/debian\nSuites: sid\nComponents: main\n"})
	for _, release := range []string{"trixie", "sid"} {
		sources, err := f.Release(t.Context(), release)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range sources {
			if err := os.MkdirAll(filepath.Join(f.dir, prefix, sourceDir(s.Name)), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := f.open(func(*Options) {}).writeState(&s, &State{Of: identity(&s)}); err != nil {
				t.Fatal(err)
			}
		}
	}
	fetched, err := f.open(func(*Options) {}).Fetched(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for i := range fetched {
		names = append(names, fetched[i].Name)
	}
	if want := []string{"trixie", "trixie-security", "trixie-updates"}; !slices.Equal(slices.Sorted(slices.Values(names)), want) {
		t.Errorf("%v are listed, want %v", names, want)
	}
}

// TestTogether has files of several sources, which are one release if they say nothing of
// releases.
func TestTogether(t *testing.T) {
	for _, test := range []struct{ sources, want []string }{
		{[]string{"a:a"}, []string{"a:a"}},
		{[]string{"a:a", "b:b"}, []string{"a:file", "b:file"}},
		{[]string{"a:", "b:"}, []string{"a:file", "b:file"}},
		{[]string{"a:r", "b:b"}, []string{"a:r", "b:b"}},
	} {
		var sources []backends.Source
		for _, text := range test.sources {
			name, release, _ := strings.Cut(text, ":")
			sources = append(sources, backends.Source{Name: name, Release: release})
		}
		var got []string
		for _, s := range together(sources, "file") {
			got = append(got, s.Name+":"+s.Release)
		}
		if strings.Join(got, " ") != strings.Join(test.want, " ") {
			t.Errorf("%q becomes %q, want %q", test.sources, got, test.want)
		}
	}
}

func TestAddAndRemoveSources(t *testing.T) {
	a := serve(t, "stable", data("tool", "1", ""))
	f := newFixture(t, nil)
	for name, want := range map[string]string{
		"x.txt": "ends in .sources or .repo", "..sources": "cannot be the name", "x.sources": "",
	} {
		_, err := f.AddFile(t.Context(), "/somewhere/"+name, []byte(a.sources()))
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("add %s: %v", name, err)
		}
	}
	if _, err := f.AddFile(t.Context(), "y.sources", []byte(a.sources())); err == nil || !strings.Contains(err.Error(), "x.sources has a source stable already") {
		t.Errorf("a source of the same name: %v", err)
	}
	f.update(0)
	if f.read("var/sys/.hashpkg/sources/stable/index") == "" {
		t.Error("there is no index")
	}
	gone, err := f.RemoveSource(t.Context(), "stable")
	if err != nil || len(gone) != 1 || f.read("etc/hashpkg/sources.d/x.sources") != "" || f.read("var/sys/.hashpkg/sources/stable/index") != "" {
		t.Errorf("%v, %v", gone, err)
	}
	if _, err := f.RemoveSource(t.Context(), "stable"); !errors.Is(err, ErrNoSource) {
		t.Errorf("remove it again: %v", err)
	}
	rpms := "[rpms]\nbaseurl=http://example.org/rpms\ngpgcheck=0\n"
	if _, err := f.AddFile(t.Context(), "rpms.repo", []byte(rpms)); err != nil {
		t.Fatal(err)
	}
	if gone, err := f.RemoveSource(t.Context(), "rpms"); err != nil || len(gone) != 1 {
		t.Errorf("%v, %v", gone, err)
	}
	if added, err := f.AddRelease(t.Context(), "trixie"); err != nil || len(added) != 3 || !strings.Contains(f.read("etc/hashpkg/sources.d/trixie.sources"), "trixie-security") {
		t.Errorf("%v, %v", added, err)
	}
	if _, err := f.AddRelease(t.Context(), "trixie"); err == nil || !strings.Contains(err.Error(), "has it already") {
		t.Errorf("add it again: %v", err)
	}
}

func TestUpdate(t *testing.T) {
	one, two, three := serve(t, "one", data("a", "1", "")), serve(t, "two", data("b", "1", ""), data("c", "1", "")), serve(t, "three", data("d", "1", ""))
	f := newFixture(t, map[string]string{
		"etc/hashpkg/sources.d/1.sources": one.sources(), "etc/hashpkg/sources.d/2.sources": two.sources(), "etc/hashpkg/sources.d/3.sources": three.sources(),
	})
	servers := []*archive{one, two, three}

	// Of three one fails.
	two.Bend("", testrepo.Status(http.StatusNotFound))
	for i, u := range f.update(0) {
		if isBad := i == 1; (u.Err != nil) != isBad || u.Changed == isBad || (u.State == nil) != isBad {
			t.Errorf("%s: %+v", u.Source.Name, u)
		}
		if u.Err != nil && strings.Count(u.Err.Error(), "two: ") != 1 {
			t.Errorf("the message does not name it once: %v", u.Err)
		}
	}
	two.Bend("", nil)
	for i, u := range f.update(0) {
		if u.Err != nil || u.Changed != (i == 1) || u.State.Packages != []int{1, 2, 1}[i] || u.State.Verdict != pkginfo.Good || !strings.HasPrefix(u.State.Signer, "archive ") || !u.State.Date.Equal(testrepo.Date) {
			t.Errorf("%s: %+v %+v", u.Source.Name, u, u.State)
		}
	}

	// What has not changed is not fetched, and what is young not even asked for.
	for _, s := range servers {
		s.Forget()
	}
	for _, u := range f.update(0) {
		if u.Err != nil || u.Changed {
			t.Errorf("%s: %+v", u.Source.Name, u)
		}
	}
	f.update(time.Hour)
	for _, s := range servers {
		if all, indexes := s.Requests(""), s.Requests(".xz"); all != 1 || indexes != 0 {
			t.Errorf("%s: %d requests, %d for an index", s.debs.Suite, all, indexes)
		}
	}
	later := f.open(func(o *Options) { o.Now = now.Add(2 * time.Hour) })
	sources, err := later.Sources(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := later.Update(t.Context(), sources, time.Hour); err != nil || one.Requests("") != 2 {
		t.Errorf("what is old: %d requests, %v", one.Requests(""), err)
	}

	// Whatever is damaged is fetched again.
	for _, file := range []string{"index", "state.json"} {
		for _, content := range []string{"", "{}", strings.Repeat("x", 5000)} {
			f.write("var/sys/.hashpkg/sources/one/"+file, content)
			for i, u := range f.update(time.Hour) {
				if u.Err != nil || u.Changed != (i == 0) {
					t.Errorf("%s is %.10q: %s: %+v", file, content, u.Source.Name, u)
				}
			}
		}
	}
	one.release(data("a", "2", ""))
	if u := f.update(0)[0]; u.Err != nil || !u.Changed {
		t.Errorf("%+v", u)
	}
}

// TestKnownOfOther has sources of the same name whose address, suite, or keys change: what
// was known of it does not stand for it.
func TestKnownOfOther(t *testing.T) {
	a := serve(t, "stable", data("a", "1", ""))
	f := newFixture(t, map[string]string{"etc/hashpkg/sources.d/1.sources": a.sources()})
	f.update(0)
	sources, err := f.Sources(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for what, change := range map[string]func(s *backends.Source){
		"address":      func(s *backends.Source) { s.URLs = []string{"http://example.org"} },
		"suite":        func(s *backends.Source) { s.Suite = "other" },
		"component":    func(s *backends.Source) { s.Components = []string{"other"} },
		"architecture": func(s *backends.Source) { s.Architectures = []string{"arm64"} },
		"keys":         func(s *backends.Source) { s.Keys = backends.Keys{Files: []string{"/k"}} },
		"trust":        func(s *backends.Source) { s.Unsigned = true },
	} {
		s := sources[0]
		if state, err := f.State(&s); state == nil || err != nil {
			t.Fatalf("%+v, %v", state, err)
		}
		change(&s)
		if state, err := f.State(&s); state != nil || err != nil {
			t.Errorf("with another %s: %+v, %v", what, state, err)
		}
	}
}

func TestUpdateChecks(t *testing.T) {
	a := serve(t, "stable", data("a", "1", ""))
	a.debs.ValidUntil = now.Add(-time.Hour)
	a.Set(a.debs.Files(t))
	f := newFixture(t, map[string]string{"etc/hashpkg/sources.d/1.sources": a.sources()})
	if u := f.update(0)[0]; u.Err != nil || !f.warn.has("stable was to be replaced by") {
		t.Errorf("expired: %v, %q", u.Err, f.warn.all)
	}
	strict := f.open(func(o *Options) { o.Strict = true })
	sources, err := strict.Sources(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	results, err := strict.Update(t.Context(), sources, 0)
	if err != nil || !errors.Is(results[0].Err, ErrExpired) || results[0].State == nil {
		t.Errorf("expired, where that is an error: %+v, %v", results, err)
	}
	if err := strict.Ready(t.Context(), sources); err != nil {
		t.Errorf("what is young is not looked at: %v", err)
	}
	old := f.open(func(o *Options) { o.Strict, o.Now = true, now.Add(2*MaxAge) })
	if err := old.Ready(t.Context(), sources); !errors.Is(err, ErrExpired) {
		t.Errorf("expired, where that is an error: %v", err)
	}

	// The last state does where the server is down; a bad signature is an error.
	a.Bend("", testrepo.Status(http.StatusNotFound))
	down := f.open(func(o *Options) { o.Now = now.Add(2 * MaxAge) })
	if err := down.Ready(t.Context(), sources); err != nil || !f.warn.has("what is known since 2023-12-01 12:00 is used") {
		t.Errorf("%v, %q", err, f.warn.all)
	}
	a.Bend("", nil)
	other := a.debs
	other.Signer = testrepo.NewKey(t, "other", 0)
	a.Set(other.Files(t))
	if err := down.Ready(t.Context(), sources); !errors.Is(err, trust.ErrSignature) {
		t.Errorf("another key: %v", err)
	}
	older := a.debs
	older.Date = testrepo.Date.Add(-time.Second)
	a.Set(older.Files(t))
	if results, err := f.Update(t.Context(), sources, 0); err != nil || !errors.Is(results[0].Err, ErrReplayed) {
		t.Errorf("an older one: %+v, %v", results, err)
	}

	// Offline.
	off := f.open(func(o *Options) { o.Offline, o.Now = true, now.Add(2*MaxAge) })
	if err := off.Ready(t.Context(), sources); err != nil {
		t.Errorf("offline, known: %v", err)
	}
	sources[0].Name = "unknown"
	if err := off.Ready(t.Context(), sources); !errors.Is(err, ErrOffline) {
		t.Errorf("offline, unknown: %v", err)
	}
}

// TestStalledUpdate has a server that sends nothing any more, and somebody who does not
// wait for it.
func TestStalledUpdate(t *testing.T) {
	a := serve(t, "stable", data("a", "1", ""))
	f := newFixture(t, map[string]string{"etc/hashpkg/sources.d/1.sources": a.sources()})
	f.client.Stall = 100 * time.Millisecond
	f.update(0)
	before := f.read("var/sys/.hashpkg/sources/stable/index")
	a.release(data("a", "2", ""))
	a.Bend(".xz", a.Stall(50))
	if u := f.update(0)[0]; u.Err == nil || !strings.Contains(u.Err.Error(), "it sent nothing for 100ms") {
		t.Errorf("%+v", u)
	}
	if f.client.Stall = time.Minute; f.read("var/sys/.hashpkg/sources/stable/index") != before {
		t.Error("the index has changed")
	}
	sources, err := f.Sources(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	start := time.Now()
	if _, err := f.Update(ctx, sources, 0); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) > 5*time.Second {
		t.Errorf("%v after %v", err, time.Since(start))
	}
	a.Bend(".xz", nil)
	if u := f.update(0)[0]; u.Err != nil || !u.Changed {
		t.Errorf("%+v", u)
	}
	entries, err := os.ReadDir(filepath.Join(f.dir, "var/sys/.hashpkg/sources/stable"))
	if err != nil || len(entries) != 2 {
		t.Errorf("there is %v, %v", entries, err)
	}
}

func TestCleanAndCache(t *testing.T) {
	a := serve(t, "stable", script("tool", "1", ""), data("other", "1", ""))
	f := newFixture(t, map[string]string{"etc/hashpkg/sources.d/1.sources": a.sources()})
	if freed, err := f.Clean(t.Context(), true); freed != 0 || err != nil {
		t.Errorf("of a root without a cache %d were freed, %v", freed, err)
	}
	dir := t.TempDir()
	download := func(names ...string) {
		t.Helper()
		if _, err := f.Download(t.Context(), "", f.installs("", names...).Requests, false, dir); err != nil {
			t.Fatal(err)
		}
	}
	download("tool")
	a.Forget()
	download("tool")
	if n := a.Requests(".deb"); n != 0 {
		t.Errorf("what is in the cache was fetched %d times", n)
	}
	if freed, err := f.Clean(t.Context(), false); freed == 0 || err != nil {
		t.Errorf("%d were freed, %v", freed, err)
	}
	download("tool")
	if n, indexes := a.Requests(".deb"), a.Requests(".xz"); n != 1 || indexes != 0 {
		t.Errorf("after clean there were %d requests for packages, and %d for indexes", n, indexes)
	}
	if freed, err := f.Clean(t.Context(), true); freed == 0 || err != nil {
		t.Errorf("%d were freed, %v", freed, err)
	}

	// apt's cache is as good, if it is the same file. A copy that was killed is made anew.
	name, err := cacheName((&Selected{Available: f.available("tool")}).item().digest)
	if err != nil {
		t.Fatal(err)
	}
	content := a.debs.Files(t)["pool/tool/tool_1_amd64.deb"]
	for _, test := range []struct {
		content string
		want    int
	}{{content, 0}, {content[1:], 1}, {"x" + content[1:], 1}} {
		if _, err := f.Clean(t.Context(), true); err != nil {
			t.Fatal(err)
		}
		f.write("var/cache/apt/archives/tool_1_amd64.deb", test.content)
		f.write("var/sys/.hashpkg/cache/"+name+partEnd, content+"and more")
		a.Forget()
		download("tool")
		if n := a.Requests(".deb"); n != test.want {
			t.Errorf("%d packages were fetched, want %d", n, test.want)
		}
		if b, err := os.ReadFile(dir + "/tool_1_amd64.deb"); err != nil || !bytes.Equal(b, []byte(content)) {
			t.Errorf("it is another file: %v", err)
		}
		if all, err := os.ReadDir(filepath.Join(f.dir, "var/sys/.hashpkg/cache")); err != nil || len(all) != 1 || all[0].Name() != name {
			t.Errorf("the cache has %v, %v", all, err)
		}
	}

	// A part is continued.
	if err := os.Remove(filepath.Join(f.dir, "var/cache/apt/archives/tool_1_amd64.deb")); err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{content[:len(content)-10], content, content + "more", "x" + content[1:200]} {
		if _, err := f.Clean(t.Context(), false); err != nil {
			t.Fatal(err)
		}
		f.write("var/sys/.hashpkg/cache/"+name+partEnd, part)
		a.Forget()
		download("tool")
		want := int64(len(content) - len(part))
		if !strings.HasPrefix(content, part) {
			want = int64(len(content))
		}
		if got := a.Sent(); part != "x"+content[1:200] && got != want {
			t.Errorf("%d bytes were there, and %d fetched, want %d", len(part), got, want)
		}
		if f.read("var/sys/.hashpkg/cache/"+name) != content {
			t.Error("the cache has another file")
		}
	}
}

// available returns a package of the machine's own release.
func (f *fixture) available(name string) (found *Available) {
	f.t.Helper()
	err := f.withRelease(f.t.Context(), "", func(p *Pool) error {
		all, err := p.Named(name)
		if err == nil {
			found = all[0]
		}
		return err
	})
	if err != nil || found == nil {
		f.t.Fatalf("%s: %v, %v", name, found, err)
	}
	return found
}

func TestCacheName(t *testing.T) {
	hex := strings.Repeat("0123456789abcdef", 4)
	for digest, want := range map[string]string{
		"sha256:" + hex: "sha256-" + hex, "sha512:" + hex + hex: "sha512-" + hex + hex,
		"sha512:" + hex: "", "md5:" + hex[:32]: "", hex: "", "": "", "sha256:" + hex[1:] + "/": "", "sha256:" + strings.ToUpper(hex): "", "sha256:../" + hex[3:]: "",
	} {
		if got, err := cacheName(digest); got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v", digest, got, err)
		}
	}
}

func TestParseRequest(t *testing.T) {
	for text, want := range map[string]Request{
		"jq":             {Name: "jq"},
		"jq=1:2-3":       {Name: "jq", Version: "1:2-3"},
		"jq:arm64":       {Name: "jq", Architecture: "arm64"},
		"jq:arm64=1/2":   {Name: "jq", Architecture: "arm64", Version: "1/2"},
		"jq/sid":         {Name: "jq", Suite: "sid"},
		"libstdc++6/sid": {Name: "libstdc++6", Suite: "sid"},
	} {
		if got, err := ParseRequest(text); got != want || err != nil || got.String() != text {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "=1", "jq=", "jq/", "jq:", ":arm64", "j q", "jq=1\n"} {
		if got, err := ParseRequest(text); err == nil {
			t.Errorf("%q is %+v", text, got)
		}
	}
}
