package conformance

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"github.com/hashpkg/hashpkg/backends"
	"github.com/hashpkg/hashpkg/backends/trust"
	"github.com/hashpkg/hashpkg/pkginfo"
)

// RepositoryFixtures is what [RunRepositories] needs of a format.
type RepositoryFixtures struct {
	Format backends.Repositories

	// OpenRoot returns a directory as a root.
	OpenRoot func(t testing.TB, dir string) backends.Root

	// Build makes a repository in an empty directory. Its index is packed in a way that
	// tells when it was cut.
	Build func(t testing.TB, dir string, r Repository)

	// Sources returns the text of a file of sources.
	Sources func(sources ...SourceText) string

	// SourcesFile is such a file, absolute in a root, that the package manager reads.
	SourcesFile string

	// Architecture is the format's word for one that the packages may have.
	Architecture string
}

// Repository is a repository that a fixture builds.
type Repository struct {
	Name     string // as its source is named
	Packages []RepositoryPackage
	Signer   *openpgp.Entity // nil for one without a signature
	Date     time.Time       // when it was made, to the second
}

// RepositoryPackage is a package in a repository. What its index says of it need not be
// true, nor allowed.
type RepositoryPackage struct {
	Name, Version, Architecture string
	Summary                     string
	Requires                    []pkginfo.Relation // with Alternatives, whose Text does not matter
	Recommends                  []pkginfo.Relation
	Provides                    []pkginfo.Capability
	Path                        string // relative to the repository
	Content                     string // of the file, which need not be there
}

// SourceText is one source in a file of sources.
type SourceText struct {
	Name     string
	URL      string
	KeyFile  string // absolute in the root; "" for none
	Unsigned bool   // it need not be signed
	Disabled bool   // switched off
}

// RunRepositories runs the suite of tests for what a format has of repositories.
//
// A source that it writes with a KeyFile, and without Unsigned, is one whose
// description is to be signed; that its packages are signed is not enough.
func RunRepositories(t *testing.T, f RepositoryFixtures) {
	s := &repositories{f}
	for _, test := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"ParseSources", s.testParseSources},
		{"FormatSources", s.testFormatSources},
		{"RootSources", s.testRootSources},
		{"Releases", s.testReleases},
		{"Architectures", s.testArchitectures},
		{"List", s.testList},
		{"Unsigned", s.testUnsigned},
		{"WronglySigned", s.testWronglySigned},
		{"Altered", s.testAltered},
		{"Replayed", s.testReplayed},
		{"Unreachable", s.testUnreachable},
		{"ReadIndex", s.testReadIndex},
		{"CutIndex", s.testCutIndex},
		{"DamagedIndex", s.testDamagedIndex},
		{"HostileIndex", s.testHostileIndex},
	} {
		t.Run(test.name, test.run)
	}
}

type repositories struct{ RepositoryFixtures }

const (
	repositoryName = "sample"
	repositoryURL  = "http://repository.example/sample"
	repositoryKey  = "/etc/keys/sample.asc"
	// maxDescription is how many bytes a description may have at the most: nobody has
	// vouched for them when they are fetched.
	maxDescription = 64 << 20
)

var repositoryDate = time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC)

// sample is a repository whose packages have all that formats have in common.
func (s *repositories) sample(signer *openpgp.Entity) Repository {
	needs := func(all ...pkginfo.Constraint) pkginfo.Relation { return pkginfo.Relation{Alternatives: all} }
	return Repository{
		Name: repositoryName, Signer: signer, Date: repositoryDate,
		Packages: []RepositoryPackage{
			{
				Name: "first-tool", Version: "1.0-1", Architecture: s.Architecture, Summary: "A tool, for <a> & \"b\"",
				Requires: []pkginfo.Relation{
					needs(pkginfo.Constraint{Name: "libtwo", Operator: ">=", Version: "1.2"}),
					needs(pkginfo.Constraint{Name: "mailer"}, pkginfo.Constraint{Name: "libtwo", Operator: "=", Version: "1:2.0-1"}),
				},
				Recommends: []pkginfo.Relation{needs(pkginfo.Constraint{Name: "nice"})},
				Path:       "pool/first-tool_1.0-1", Content: "the first file",
			},
			{
				Name: "libtwo", Version: "1:2.0-1", Architecture: s.Architecture, Summary: "A library",
				Provides: []pkginfo.Capability{{Name: "mailer"}, {Name: "two", Version: "2.0"}},
				Path:     "pool/libtwo_2.0-1", Content: "the second file",
			},
		},
	}
}

// newRepositorySigner returns a key, made when the repository was not.
func newRepositorySigner(t testing.TB) *openpgp.Entity {
	t.Helper()
	e, err := openpgp.NewEntity("Sample Archive", "", "archive@example.org", &packet.Config{
		Algorithm: packet.PubKeyAlgoEdDSA, Time: func() time.Time { return repositoryDate.Add(-time.Hour) },
	})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// rootWithKey returns a root that has a key in a file.
func (s *repositories) rootWithKey(t testing.TB, key *openpgp.Entity) backends.Root {
	t.Helper()
	dir := t.TempDir()
	if key != nil {
		var b bytes.Buffer
		w, err := armor.Encode(&b, openpgp.PublicKeyType, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(key.Serialize(w), w.Close()); err != nil {
			t.Fatal(err)
		}
		writeBelow(t, dir, repositoryKey, b.Bytes())
	}
	return s.OpenRoot(t, dir)
}

func writeBelow(t testing.TB, dir, name string, b []byte) {
	t.Helper()
	file := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, b, 0o644); err != nil {
		t.Fatal(err)
	}
}

// build returns the directory of a repository.
func (s *repositories) build(t testing.TB, r Repository) string {
	t.Helper()
	dir := t.TempDir()
	s.Build(t, dir, r)
	return dir
}

// source returns the only source of a file of sources.
func (s *repositories) source(t testing.TB, text SourceText) *backends.Source {
	t.Helper()
	all, err := s.Format.ParseSources("test"+s.Format.SourcesExtension(), []byte(s.Sources(text)))
	if err != nil || len(all) != 1 {
		t.Fatalf("%d sources: %v", len(all), err)
	}
	return &all[0]
}

func (s *repositories) signedSource(t testing.TB) *backends.Source {
	t.Helper()
	return s.source(t, SourceText{Name: repositoryName, URL: repositoryURL, KeyFile: repositoryKey})
}

// server gives the files of a directory, and notes which ones it was asked for.
type server struct {
	dir   string
	asked []string
	// change returns what is sent in place of a file, or an error; nil for the file.
	change func(path string, b []byte) ([]byte, error)
}

func (s *server) get(_ context.Context, path string, limit int64) ([]byte, error) {
	if limit <= 0 || limit > maxDescription {
		return nil, fault("%s is asked for with a limit of %d bytes", path, limit)
	}
	name := strings.TrimPrefix(path, repositoryURL+"/")
	if !fs.ValidPath(name) {
		return nil, fault("the file %q is asked for", path)
	}
	b, err := os.ReadFile(filepath.Join(s.dir, name))
	if err != nil {
		return nil, err
	}
	s.asked = append(s.asked, name)
	if s.change != nil {
		return s.change(name, b)
	}
	return b, nil
}

func (s *repositories) list(t *testing.T, root backends.Root, source *backends.Source, server *server) (*backends.Listing, error) {
	t.Helper()
	l, err := within(t, func() (*backends.Listing, error) {
		return s.Format.List(context.Background(), root, backends.ListRequest{
			Source: source, Architectures: []string{s.Architecture}, Get: server.get,
		})
	})
	switch {
	case errors.Is(err, errFault):
		t.Error(err)
	case err == nil && l == nil:
		t.Fatal("there is neither a listing nor an error")
	case err != nil && l != nil:
		t.Error("there is a listing with an error")
	}
	return l, err
}

func (s *repositories) testParseSources(t *testing.T) {
	parse := func(text string) ([]backends.Source, error) {
		return within(t, func() ([]backends.Source, error) {
			return s.Format.ParseSources("test"+s.Format.SourcesExtension(), []byte(text))
		})
	}
	if end := s.Format.SourcesExtension(); len(end) < 2 || end[0] != '.' || strings.ContainsAny(end, "/ ") {
		t.Errorf("names of files of sources end in %q", end)
	}
	all, err := parse(s.Sources(
		SourceText{Name: "one", URL: "https://one.example/r/", KeyFile: "/etc/keys/one.asc"},
		SourceText{Name: "off", URL: "https://off.example/r", KeyFile: "/etc/keys/off.asc", Disabled: true},
		SourceText{Name: "two", URL: "file:///srv/two", Unsigned: true},
	))
	if err != nil || len(all) != 2 {
		t.Fatalf("%d sources: %v", len(all), err)
	}
	for i, want := range []backends.Source{
		{URLs: []string{"https://one.example/r"}, Keys: backends.Keys{Files: []string{"/etc/keys/one.asc"}}},
		{URLs: []string{"file:///srv/two"}, Unsigned: true},
	} {
		s.checkSource(t, &all[i])
		if got := &all[i]; !slices.Equal(got.URLs, want.URLs) || got.Unsigned != want.Unsigned {
			t.Errorf("source %d is %+v", i, got)
		}
		for _, file := range all[i].Keys.Files {
			if strings.TrimPrefix(file, "file://") != "/etc/keys/one.asc" {
				t.Errorf("source %d has the key %q", i, file)
			}
		}
	}
	if len(all[0].Keys.Files) != 1 || len(all[1].Keys.Files) != 0 || all[0].Name == all[1].Name {
		t.Errorf("%+v", all)
	}
	for _, text := range []string{"", "\n\n", "# a comment\n"} {
		if all, err := parse(text); err != nil || len(all) != 0 {
			t.Errorf("%q has %d sources: %v", text, len(all), err)
		}
	}

	good := s.Sources(SourceText{Name: "one", URL: "https://one.example/r", KeyFile: "/etc/keys/one.asc"})
	for _, text := range []string{
		good[:len(good)/2], good + "\x00", "\x00" + good, strings.ReplaceAll(good, "\n", "\r"), noise(64 << 10), strings.Repeat("[", 64<<10),
		strings.Repeat("a", 1<<20), strings.Repeat(good, 100), "\ufeff" + good,
	} {
		all, _ := parse(text)
		for i := range all {
			s.checkSource(t, &all[i])
		}
	}
	for _, name := range []string{"../x", "a/b", "a b", ".."} {
		all, err := parse(s.Sources(SourceText{Name: name, URL: "https://one.example/r", KeyFile: "/etc/keys/one.asc"}))
		for i := range all {
			s.checkSource(t, &all[i])
		}
		if err == nil && len(all) == 0 {
			t.Errorf("the source %q is gone without a word", name)
		}
	}
	for _, url := range []string{"ftp://one.example/r", "javascript:x", "one.example", "https://"} {
		if all, err := parse(s.Sources(SourceText{Name: "one", URL: url, KeyFile: "/etc/keys/one.asc"})); err == nil {
			t.Errorf("a source at %q is taken: %+v", url, all)
		}
	}
}

// testFormatSources writes sources and reads them again, of each release and of a file.
func (s *repositories) testFormatSources(t *testing.T) {
	own, err := s.Format.ParseSources("test"+s.Format.SourcesExtension(), []byte(s.Sources(
		SourceText{Name: "one", URL: "https://one.example/r/", KeyFile: repositoryKey},
		SourceText{Name: "two", URL: "file:///srv/two", Unsigned: true},
	)))
	if err != nil {
		t.Fatal(err)
	}
	groups := [][]backends.Source{own, own[:1], nil}
	for _, name := range s.Format.Releases() {
		groups = append(groups, s.Format.Release(name, nil, ""), s.Format.Release(name, nil, "http://mirror.example/it"))
	}
	for _, want := range groups {
		text := s.Format.FormatSources(want)
		got, err := s.Format.ParseSources("test"+s.Format.SourcesExtension(), text)
		if err != nil || len(got) != len(want) {
			t.Errorf("%d sources were written, and %d are read: %v\n%s", len(want), len(got), err, text)
			continue
		}
		for i := range want {
			for _, one := range []*backends.Source{&got[i], &want[i]} {
				one.File, one.Keys.Package = "", "" // which is for messages
			}
			if got, want := fmt.Sprintf("%+v", got[i]), fmt.Sprintf("%+v", want[i]); got != want {
				t.Errorf("the source\n%s was written, and\n%s is read:\n%s", want, got, text)
			}
		}
	}
}

// checkSource checks what holds for each source of each format.
func (s *repositories) checkSource(t *testing.T, source *backends.Source) {
	t.Helper()
	if source.Format != s.Format.Name() {
		t.Errorf("%s is of the format %q", source.Name, source.Format)
	}
	for _, name := range []string{source.Name, source.Release} {
		if !isWord(name) {
			t.Errorf("the source %q, of %q, does not have words for names", source.Name, source.Release)
		}
	}
	if len(source.URLs)+len(source.Lists) == 0 {
		t.Errorf("%s has no address", source.Name)
	}
	for _, url := range source.URLs {
		scheme, rest, ok := strings.Cut(url, "://")
		if !ok || !slices.Contains([]string{"http", "https", "file"}, scheme) || rest == "" || strings.HasSuffix(url, "/") {
			t.Errorf("%s has the address %q", source.Name, url)
		}
	}
	for _, file := range source.Keys.Files {
		if !strings.HasPrefix(file, "/") && !strings.HasPrefix(file, "file:") && !strings.HasPrefix(file, "https:") {
			t.Errorf("%s has the key %q", source.Name, file)
		}
	}
}

// isWord reports whether something may be the name of a file, and be said without
// quotes.
func isWord(name string) bool {
	return name != "" && len(name) <= 255 && !strings.HasPrefix(name, ".") && !strings.HasPrefix(name, "-") &&
		!strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune("/\\\"'`$*?<>|&;()[]{}", r) })
}

func (s *repositories) testRootSources(t *testing.T) {
	dir := t.TempDir()
	root := s.OpenRoot(t, dir)
	read := func() ([]backends.Source, []string) {
		t.Helper()
		all, warnings, err := s.Format.RootSources(t.Context(), root)
		if err != nil {
			t.Fatal(err)
		}
		for i := range all {
			s.checkSource(t, &all[i])
		}
		return all, warnings
	}
	if all, warnings := read(); len(all) != 0 || len(warnings) != 0 {
		t.Errorf("a root without a package manager has %d sources: %q", len(all), warnings)
	}
	writeBelow(t, dir, s.SourcesFile, []byte(s.Sources(
		SourceText{Name: "one", URL: "https://one.example/r", KeyFile: repositoryKey},
		SourceText{Name: "off", URL: "https://off.example/r", KeyFile: repositoryKey, Disabled: true},
	)))
	all, warnings := read()
	if len(all) != 1 || len(warnings) != 0 {
		t.Fatalf("%d sources: %q", len(all), warnings)
	}
	if all[0].File != s.SourcesFile || !slices.Equal(all[0].URLs, []string{"https://one.example/r"}) {
		t.Errorf("%+v", all[0])
	}

	// One file that is wrong does not hide another.
	bad := filepath.Join(filepath.Dir(s.SourcesFile), "bad"+s.Format.SourcesExtension())
	writeBelow(t, dir, bad, []byte(s.Sources(SourceText{Name: "bad", URL: "ftp://bad.example/r", KeyFile: repositoryKey})))
	if all, warnings := read(); len(all) != 1 || len(warnings) != 1 || !strings.Contains(warnings[0], bad) {
		t.Errorf("beside a wrong file there are %d sources: %q", len(all), warnings)
	}
	if err := os.Remove(filepath.Join(dir, bad)); err != nil {
		t.Fatal(err)
	}
	other := t.TempDir()
	writeBelow(t, other, "other", []byte(s.Sources(SourceText{Name: "other", URL: "https://other.example/r", KeyFile: repositoryKey})))
	if err := os.Symlink(filepath.Join(other, "other"), filepath.Join(dir, bad)); err != nil {
		t.Fatal(err)
	}
	if all, _ := read(); len(all) != 1 {
		t.Errorf("a link that leads out of the root is followed: %+v", all)
	}
}

func (s *repositories) testReleases(t *testing.T) {
	names := s.Format.Releases()
	offered := s.Format.Offered()
	if len(offered) == 0 || slices.ContainsFunc(offered, func(name string) bool { return !slices.Contains(names, name) }) {
		t.Errorf("of the releases %q these are offered: %q", names, offered)
	}
	if len(names) == 0 {
		t.Error("it knows no release")
	}
	for i, name := range names {
		if slices.Contains(names[:i], name) {
			t.Errorf("%s is there twice", name)
		}
		all := s.Format.Release(name, nil, "")
		if len(all) == 0 {
			t.Errorf("%s has no sources", name)
		}
		seen := map[string]bool{}
		for i := range all {
			source := &all[i]
			s.checkSource(t, source)
			switch {
			case seen[source.Name]:
				t.Errorf("%s has the source %s twice", name, source.Name)
			case source.Release != name:
				t.Errorf("the source %s is of the release %s, and not of %s", source.Name, source.Release, name)
			case source.File != "":
				t.Errorf("%s is from the file %s", source.Name, source.File)
			case source.Unsigned && !source.PackagesSigned:
				t.Errorf("%s need not be signed", source.Name)
			case len(source.Keys.Files)+len(source.Keys.Fingerprints)+len(source.Keys.Text) == 0:
				t.Errorf("everybody who signs packages for the machine may sign for %s", source.Name)
			case len(source.Keys.Files) > 0 && source.Keys.Package == "":
				t.Errorf("nobody is told where the keys for %s come from", source.Name)
			}
			seen[source.Name] = true
		}
		// A mirror has the release as a whole, but for what its own servers serve
		// alone, such as security.
		const mirror = "https://mirror.example/of/it"
		if all := s.Format.Release(name, nil, mirror); len(all) == 0 || len(all[0].URLs) == 0 || !strings.HasPrefix(all[0].URLs[0]+"/", mirror+"/") {
			t.Errorf("%s is not from the mirror: %+v", name, all)
		}
	}
	for _, name := range []string{"", "nothing", "../x", "nothing-1"} {
		if all := s.Format.Release(name, nil, ""); all != nil {
			t.Errorf("the release %q has %d sources", name, len(all))
		}
	}
}

func (s *repositories) testArchitectures(t *testing.T) {
	all, err := s.Format.Architectures(s.OpenRoot(t, t.TempDir()))
	if err != nil || len(all) == 0 {
		t.Fatal(all, err)
	}
	for i, a := range all {
		if !isWord(a) || slices.Contains(all[:i], a) || slices.Contains([]string{"all", "any", "noarch"}, a) {
			t.Errorf("it can run %q", all)
		}
	}
}

func (s *repositories) testList(t *testing.T) {
	signer := newRepositorySigner(t)
	dir := s.build(t, s.sample(signer))
	l, err := s.list(t, s.rootWithKey(t, signer), s.signedSource(t), &server{dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if l.Verdict != pkginfo.Good || !strings.Contains(l.Signer, "Sample Archive") {
		t.Errorf("the signature is %+v", l.Signature)
	}
	if !l.Date.Equal(repositoryDate) {
		t.Errorf("it was made on %v, and should on %v", l.Date, repositoryDate)
	}
	if len(l.Parts) == 0 {
		t.Error("it has no parts")
	}
	for i := range l.Parts {
		b := partBytes(t, dir, &l.Parts[i])
		if p := &l.Parts[i]; p.Size != int64(len(b)) || p.Digest != digestLike(p.Digest, b) || p.Name == "" || p.Unpacked == 0 {
			t.Errorf("%+v is a file of %d bytes with the digest %s", p, len(b), digestLike(p.Digest, b))
		}
	}
}

// digestLike returns the digest of b, of the kind that another one is.
func digestLike(digest string, b []byte) string {
	if strings.HasPrefix(digest, "sha512:") {
		return fmt.Sprintf("sha512:%x", sha512.Sum512(b))
	}
	return fmt.Sprintf("sha256:%x", sha256.Sum256(b))
}

// partBytes returns the file of a part, which must be at one of its paths.
func partBytes(t testing.TB, dir string, p *backends.Part) []byte {
	t.Helper()
	for _, path := range p.Paths {
		if !fs.ValidPath(path) {
			t.Fatalf("%s is at %q", p.Name, path)
		}
		if b, err := os.ReadFile(filepath.Join(dir, path)); err == nil {
			return b
		}
	}
	t.Fatalf("%s is at none of %q", p.Name, p.Paths)
	return nil
}

func (s *repositories) testUnsigned(t *testing.T) {
	signer := newRepositorySigner(t)
	dir := s.build(t, s.sample(nil))
	if _, err := s.list(t, s.rootWithKey(t, signer), s.signedSource(t), &server{dir: dir}); !errors.Is(err, trust.ErrSignature) {
		t.Errorf("a repository that nobody has signed: %v", err)
	}
	unsigned := s.source(t, SourceText{Name: repositoryName, URL: repositoryURL, Unsigned: true})
	for _, key := range []*openpgp.Entity{nil, signer} {
		l, err := s.list(t, s.rootWithKey(t, key), unsigned, &server{dir: dir})
		if err != nil {
			t.Errorf("one that need not be signed: %v", err)
		} else if l.Verdict == pkginfo.Good || l.Signer != "" || len(l.Parts) == 0 {
			t.Errorf("one that nobody has signed: %+v", l)
		}
	}
}

func (s *repositories) testWronglySigned(t *testing.T) {
	signer, other := newRepositorySigner(t), newRepositorySigner(t)
	dir := s.build(t, s.sample(other))
	for what, key := range map[string]*openpgp.Entity{"another key": signer, "no key": nil} {
		if _, err := s.list(t, s.rootWithKey(t, key), s.signedSource(t), &server{dir: dir}); !errors.Is(err, trust.ErrSignature) {
			t.Errorf("a repository, by %s: %v", what, err)
		}
	}
	unsigned := s.source(t, SourceText{Name: repositoryName, URL: repositoryURL, KeyFile: repositoryKey, Unsigned: true})
	if l, err := s.list(t, s.rootWithKey(t, signer), unsigned, &server{dir: dir}); err == nil && l.Verdict == pkginfo.Good {
		t.Errorf("the signature of another key is good: %+v", l.Signature)
	}
}

// testAltered changes and cuts each file that a description is made of.
func (s *repositories) testAltered(t *testing.T) {
	signer := newRepositorySigner(t)
	dir := s.build(t, s.sample(signer))
	root, source := s.rootWithKey(t, signer), s.signedSource(t)
	first := &server{dir: dir}
	if _, err := s.list(t, root, source, first); err != nil {
		t.Fatal(err)
	}
	for _, file := range first.asked {
		size := len(partBytes(t, dir, &backends.Part{Name: file, Paths: []string{file}}))
		alter := func(what string, change func(b []byte) []byte) {
			t.Helper()
			altered := &server{dir: dir, change: func(path string, b []byte) ([]byte, error) {
				if path == file {
					b = change(bytes.Clone(b))
				}
				return b, nil
			}}
			l, err := s.list(t, root, source, altered)
			switch {
			case err == nil && l.Verdict != pkginfo.Good:
				t.Errorf("%s, %s, is taken as %+v", file, what, l.Signature)
			case err == nil && !l.Date.Equal(repositoryDate):
				t.Errorf("%s, %s, is taken, and of %v", file, what, l.Date)
			}
		}
		for i := 0; i < size; i += max(1, size/50) {
			alter(fmt.Sprintf("byte %d changed", i), func(b []byte) []byte { b[i] ^= 1; return b })
			alter(fmt.Sprintf("cut at %d", i), func(b []byte) []byte { return b[:i] })
		}
		alter("noise", func([]byte) []byte { return []byte(noise(100 << 10)) })
		alter("more behind", func(b []byte) []byte { return append(b, b...) })
	}
}

// testReplayed has an older description, and files of two that do not belong together.
func (s *repositories) testReplayed(t *testing.T) {
	signer := newRepositorySigner(t)
	older := s.sample(signer)
	older.Date = older.Date.Add(-time.Minute)
	older.Packages = older.Packages[:1]
	oldDir, newDir := s.build(t, older), s.build(t, s.sample(signer))
	root, source := s.rootWithKey(t, signer), s.signedSource(t)
	l, err := s.list(t, root, source, &server{dir: oldDir})
	if err != nil || !l.Date.Equal(older.Date) {
		t.Fatalf("an older one is of %+v: %v", l, err)
	}
	now := &server{dir: newDir}
	if _, err := s.list(t, root, source, now); err != nil {
		t.Fatal(err)
	}
	for _, file := range now.asked {
		mixed := &server{dir: newDir, change: func(path string, b []byte) ([]byte, error) {
			if path == file {
				return os.ReadFile(filepath.Join(oldDir, path))
			}
			return b, nil
		}}
		l, err := s.list(t, root, source, mixed)
		switch {
		case err != nil && !errors.Is(err, trust.ErrSignature):
			t.Errorf("with the older %s: %v", file, err)
		case err == nil && !l.Date.Equal(older.Date):
			t.Errorf("with the older %s it is one of %v", file, l.Date)
		case err == nil:
			for i := range l.Parts {
				if p := &l.Parts[i]; p.Digest != digestLike(p.Digest, partBytes(t, oldDir, p)) {
					t.Errorf("with the older %s it has another %s", file, p.Name)
				}
			}
		}
	}
}

// testUnreachable has a server that fails. What it does not answer is not missing.
func (s *repositories) testUnreachable(t *testing.T) {
	signer := newRepositorySigner(t)
	dir := s.build(t, s.sample(signer))
	root := s.rootWithKey(t, signer)
	broken := errors.New("the cable is cut")
	for _, source := range []*backends.Source{
		s.signedSource(t), s.source(t, SourceText{Name: repositoryName, URL: repositoryURL, KeyFile: repositoryKey, Unsigned: true}),
	} {
		first := &server{dir: dir}
		if _, err := s.list(t, root, source, first); err != nil {
			t.Fatal(err)
		}
		for _, file := range first.asked {
			failing := &server{dir: dir, change: func(path string, b []byte) ([]byte, error) {
				if path == file {
					return nil, broken
				}
				return b, nil
			}}
			l, err := s.list(t, root, source, failing)
			if mayBe := source.Unsigned && err == nil && l.Verdict != pkginfo.Good; !mayBe && !errors.Is(err, broken) {
				t.Errorf("when %s cannot be had: %v", file, err)
			}
		}
	}
	if _, err := s.list(t, root, s.signedSource(t), &server{dir: t.TempDir()}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("where there is no repository: %v", err)
	}
}

// index returns the parts of a repository and the bytes of each.
func (s *repositories) index(t *testing.T, r Repository) (parts []backends.Part, packed [][]byte) {
	t.Helper()
	signer := newRepositorySigner(t)
	r.Signer = signer
	dir := s.build(t, r)
	l, err := s.list(t, s.rootWithKey(t, signer), s.signedSource(t), &server{dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	for i := range l.Parts {
		packed = append(packed, partBytes(t, dir, &l.Parts[i]))
	}
	return l.Parts, packed
}

// readIndex reads a part within time and memory, and checks what holds for every
// package that it lists.
func (s *repositories) readIndex(t *testing.T, what string, part *backends.Part, packed []byte) (all []*pkginfo.Listed, err error) {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	type result struct {
		all []*pkginfo.Listed
		err error
	}
	r, _ := within(t, func() (r result, err error) {
		defer func() {
			if p := recover(); p != nil {
				r.err = fault("panic: %v", p)
			}
		}()
		var texts []string
		r.err = s.Format.ReadIndex(part, bytes.NewReader(packed), func(l *pkginfo.Listed) error {
			r.all, texts = append(r.all, l), append(texts, fmt.Sprintf("%+v", *l))
			return nil
		})
		for i, l := range r.all {
			if fmt.Sprintf("%+v", *l) != texts[i] {
				r.err = fault("%s has changed since it was given away", texts[i])
			}
		}
		return r, nil
	})
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > allocation {
		t.Errorf("%s: reading %d bytes took %d of memory", what, len(packed), n)
	}
	if errors.Is(r.err, errFault) {
		t.Errorf("%s: %v", what, r.err)
	}
	for _, l := range r.all {
		s.checkListed(t, what, l)
	}
	return r.all, r.err
}

func (s *repositories) checkListed(t *testing.T, what string, l *pkginfo.Listed) {
	t.Helper()
	kind, sum, _ := strings.Cut(l.Digest, ":")
	switch {
	case l.Format != s.Format.Name():
		t.Errorf("%s: %s is of the format %q", what, l.Name, l.Format)
	case !isWord(l.Name) || !isWord(strings.TrimLeft(l.Version, "^~")) || !isWord(l.Architecture):
		t.Errorf("%s: it lists %q %q for %q", what, l.Name, l.Version, l.Architecture)
	case !fs.ValidPath(l.Path) || l.Path == ".":
		t.Errorf("%s: %s is at %q", what, l.Name, l.Path)
	case l.Size < 0 || l.InstalledSize < 0:
		t.Errorf("%s: %s has %d bytes, and then %d", what, l.Name, l.Size, l.InstalledSize)
	case kind == "sha256" && len(sum) == 64, kind == "sha512" && len(sum) == 128:
	default:
		t.Errorf("%s: %s has the digest %q", what, l.Name, l.Digest)
	}
}

func (s *repositories) testReadIndex(t *testing.T) {
	sample := s.sample(nil)
	parts, packed := s.index(t, sample)
	var all []*pkginfo.Listed
	for i := range parts {
		some, err := s.readIndex(t, parts[i].Name, &parts[i], packed[i])
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, some...)

		broken := errors.New("the disk is full")
		if len(some) > 0 {
			if err := s.Format.ReadIndex(&parts[i], bytes.NewReader(packed[i]), func(*pkginfo.Listed) error { return broken }); !errors.Is(err, broken) {
				t.Errorf("when the caller fails: %v", err)
			}
		}
		r := io.MultiReader(bytes.NewReader(packed[i][:len(packed[i])/2]), brokenReader{broken})
		if err := s.Format.ReadIndex(&parts[i], r, func(*pkginfo.Listed) error { return nil }); !errors.Is(err, broken) {
			t.Errorf("when its reader fails: %v", err)
		}
	}
	if len(all) != len(sample.Packages) {
		t.Fatalf("it lists %d packages", len(all))
	}
	for i, want := range sample.Packages {
		got := all[i]
		if got.Name != want.Name || s.Format.Order().Compare(got.Version, want.Version) != 0 || got.Architecture != want.Architecture || got.Summary != want.Summary {
			t.Errorf("it lists %s %s for %s: %s", got.Name, got.Version, got.Architecture, got.Summary)
		}
		if got.Path != want.Path || got.Size != int64(len(want.Content)) || got.Digest != digestLike(got.Digest, []byte(want.Content)) {
			t.Errorf("%s is at %s, with %d bytes and the digest %s", got.Name, got.Path, got.Size, got.Digest)
		}
		for what, relations := range map[string][2][]pkginfo.Relation{
			"requires": {got.Requires, want.Requires}, "recommends": {got.Recommends, want.Recommends},
		} {
			if got, want := alternatives(relations[0]), alternatives(relations[1]); got != want {
				t.Errorf("%s %s %s, and should %s", want, what, got, want)
			}
		}
		if !slices.Equal(got.Provides, want.Provides) {
			t.Errorf("%s provides %v, and should %v", got.Name, got.Provides, want.Provides)
		}
	}
}

type brokenReader struct{ err error }

func (b brokenReader) Read([]byte) (int, error) { return 0, b.err }

// alternatives returns relations as text, without the text that they have.
func alternatives(all []pkginfo.Relation) string {
	var texts []string
	for _, r := range all {
		texts = append(texts, pkginfo.Relation{Alternatives: r.Alternatives}.String())
	}
	return strings.Join(texts, ", ")
}

func (s *repositories) testCutIndex(t *testing.T) {
	parts, packed := s.index(t, s.sample(nil))
	for i := range parts {
		size := len(packed[i])
		for n := 1; n < size; n += max(1, size/200) {
			if _, err := s.readIndex(t, fmt.Sprintf("%s, cut at %d", parts[i].Name, n), &parts[i], packed[i][:n]); err == nil {
				t.Errorf("%d of %d bytes of %s are an index", n, size, parts[i].Name)
			}
		}
	}
}

// testDamagedIndex changes single bytes. What is not noticed the digest would tell.
func (s *repositories) testDamagedIndex(t *testing.T) {
	parts, packed := s.index(t, s.sample(nil))
	for i := range parts {
		for n := 0; n < len(packed[i]); n += max(1, len(packed[i])/200) {
			for _, bits := range []byte{0x01, 0x80, 0xff} {
				damaged := bytes.Clone(packed[i])
				damaged[n] ^= bits
				_, _ = s.readIndex(t, fmt.Sprintf("%s, byte %d is %#x", parts[i].Name, n, damaged[n]), &parts[i], damaged)
			}
		}
	}
}

// testHostileIndex has an index that is signed and means harm.
func (s *repositories) testHostileIndex(t *testing.T) {
	for what, change := range map[string]func(p *RepositoryPackage){
		"name that leads up":      func(p *RepositoryPackage) { p.Name = "../x" },
		"name with a slash":       func(p *RepositoryPackage) { p.Name = "a/b" },
		"name with a space":       func(p *RepositoryPackage) { p.Name = "a b" },
		"long name":               func(p *RepositoryPackage) { p.Name = strings.Repeat("a", 5000) },
		"no name":                 func(p *RepositoryPackage) { p.Name = "" },
		"version that leads up":   func(p *RepositoryPackage) { p.Version = "1/../../2-1" },
		"long version":            func(p *RepositoryPackage) { p.Version = strings.Repeat("1", 5000) + "-1" },
		"architecture":            func(p *RepositoryPackage) { p.Architecture = "../x" },
		"path that leads up":      func(p *RepositoryPackage) { p.Path = "../../etc/passwd" },
		"path that turns":         func(p *RepositoryPackage) { p.Path = "pool/../../x" },
		"absolute path":           func(p *RepositoryPackage) { p.Path = "/etc/passwd" },
		"long path":               func(p *RepositoryPackage) { p.Path = strings.Repeat("p/", 5000) + "x" },
		"path that is an address": func(p *RepositoryPackage) { p.Path = "file:///etc/passwd" },
		"no path":                 func(p *RepositoryPackage) { p.Path = "" },
	} {
		t.Run(what, func(t *testing.T) {
			r := s.sample(nil)
			change(&r.Packages[1])
			parts, packed := s.index(t, r)
			var errs []error
			for i := range parts {
				_, err := s.readIndex(t, what, &parts[i], packed[i])
				errs = append(errs, err)
			}
			if errors.Join(errs...) == nil {
				t.Error("it is taken")
			}
		})
	}
	t.Run("long relation", func(t *testing.T) { // refused, or cut away, but not a stop
		r := s.sample(nil)
		r.Packages[1].Requires = []pkginfo.Relation{{Alternatives: []pkginfo.Constraint{{Name: strings.Repeat("a", 1<<20)}}}}
		parts, packed := s.index(t, r)
		for i := range parts {
			all, _ := s.readIndex(t, "long relation", &parts[i], packed[i])
			for _, l := range all {
				for _, r := range l.Requires {
					if len(r.Text) > 128<<10 {
						t.Errorf("%s has a relation of %d bytes", l.Name, len(r.Text))
					}
				}
			}
		}
	})
}
