package deb_test

import (
	"bytes"
	"context"
	"crypto"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	"github.com/google/go-cmp/cmp"

	"github.com/hashpkg/hashpkg/backends"
	"github.com/hashpkg/hashpkg/backends/deb"
	"github.com/hashpkg/hashpkg/backends/trust"
	"github.com/hashpkg/hashpkg/internal/archive"
	"github.com/hashpkg/hashpkg/internal/testneed"
	"github.com/hashpkg/hashpkg/internal/testrepo"
	"github.com/hashpkg/hashpkg/pkginfo"
)

// files is what a server has, by path or address.
type files map[string]string

func (f files) get(_ context.Context, path string, limit int64) ([]byte, error) {
	text, ok := f[path]
	if !ok {
		return nil, fmt.Errorf("get %s: %w", path, fs.ErrNotExist)
	}
	if int64(len(text)) > limit {
		return nil, fmt.Errorf("get %s: it has more than %d bytes", path, limit)
	}
	return []byte(text), nil
}

// public returns the public part of a key.
func public(t testing.TB, k *openpgp.Entity) string {
	t.Helper()
	var b bytes.Buffer
	if err := k.Serialize(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

const digestsOfNothing = " e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// releaseText returns a Release file that lists files of no content.
func releaseText(fields string, paths ...string) string {
	text := "Origin: Test\nSuite: stable\nCodename: trixie\nVersion: 13.1\nDate: Sat, 08 Feb 2025 20:10:01 UTC\n" + fields + "SHA256:\n"
	for _, p := range paths {
		text += digestsOfNothing + " 0 " + p + "\n"
	}
	return text
}

// TestList has what a server may have for a source, and what comes of it.
func TestList(t *testing.T) {
	key, other := newKey(t, "archive"), newKey(t, "other")
	trusted := map[string]string{"etc/apt/trusted.gpg.d/a.gpg": public(t, key)}
	suite := backends.Source{Name: "x", Suite: "trixie", Components: []string{"main", "contrib"}, URLs: []string{"http://x"}, File: "/etc/apt/sources.list"}
	with := func(change func(*backends.Source)) backends.Source {
		s := suite
		change(&s)
		return s
	}
	flat := with(func(s *backends.Source) { s.Suite, s.Components = "./", nil })
	unsigned := with(func(s *backends.Source) { s.Unsigned = true })
	unsignedFlat := with(func(s *backends.Source) { s.Suite, s.Components, s.Unsigned = "debs/", nil, true })
	release := releaseText("Acquire-By-Hash: yes\nArchitectures: all amd64 i386\nNo-Support-for-Architecture-all: Packages\n",
		"main/binary-amd64/Packages", "main/binary-amd64/Packages.gz", "main/binary-amd64/Packages.xz", "contrib/binary-amd64/Packages.gz", "main/binary-i386/Packages.xz",
		"main/binary-all/Packages.xz", "main/debian-installer/binary-amd64/Packages.xz", "Packages.xz")
	in := "dists/trixie/InRelease"
	byHash := "by-hash/SHA256/" + strings.TrimSpace(digestsOfNothing)
	mainAmd64 := "main amd64 dists/trixie/main/binary-amd64/" + byHash + " dists/trixie/main/binary-amd64/Packages.xz 0"
	mainI386 := "main i386 dists/trixie/main/binary-i386/" + byHash + " dists/trixie/main/binary-i386/Packages.xz -1"
	contrib := "contrib amd64 dists/trixie/contrib/binary-amd64/" + byHash + " dists/trixie/contrib/binary-amd64/Packages.gz -1"
	both := []string{mainAmd64, contrib}
	packages := minimalListed
	for _, test := range []struct {
		name          string
		source        backends.Source
		architectures []string // amd64 if none
		server        files
		root          map[string]string // trusted if none
		parts         []string
		unsigned      bool   // the listing is not verified
		reason        string // a part of the listing's reason
		err           string // a part of the error
		distrusted    bool   // the error is of the signature
	}{
		{name: "InRelease", source: suite, server: files{in: clearSign(t, release, key)}, parts: both},
		{name: "two keys", source: suite, server: files{in: clearSign(t, release, other, key)}, parts: both},
		{name: "two architectures", source: suite, architectures: []string{"amd64", "i386"}, server: files{in: clearSign(t, release, key)}, parts: []string{mainAmd64, mainI386, contrib}},
		{
			name: "of which the source is for one", source: with(func(s *backends.Source) { s.Architectures = []string{"i386"} }), architectures: []string{"amd64", "i386"},
			server: files{in: clearSign(t, release, key)}, parts: []string{mainI386}, reason: `no component "contrib" for i386`,
		},
		{
			name: "Release.gpg", source: suite,
			server: files{"dists/trixie/Release": release, "dists/trixie/Release.gpg": detach(t, release, true, key)}, parts: both,
		},
		{
			name: "flat", source: flat, server: files{"InRelease": clearSign(t, release, key)},
			parts: []string{"packages " + byHash + " Packages.xz -1"},
		},
		{
			name: "packages of all apart", source: suite,
			server: files{in: clearSign(t, releaseText("Architectures: all amd64\n", "main/binary-amd64/Packages.zst", "main/binary-all/Packages.gz", "contrib/binary-amd64/Packages"), key)},
			parts: []string{
				"main amd64 dists/trixie/main/binary-amd64/Packages.zst -1", "main all dists/trixie/main/binary-all/Packages.gz -1",
				"contrib amd64 dists/trixie/contrib/binary-amd64/Packages 0",
			},
		},
		{
			name: "component missing", source: with(func(s *backends.Source) { s.Components = []string{"main", "nonfree"} }),
			server: files{in: clearSign(t, release, key)}, parts: []string{mainAmd64}, reason: `it has no component "nonfree" for amd64`,
		},
		{
			name: "another suite", source: with(func(s *backends.Source) { s.Suite, s.Components = "sid", []string{"main"} }),
			server: files{"dists/sid/InRelease": clearSign(t, release, key)}, reason: `it is that of "trixie" ("stable"), and not of "sid"`,
			parts: []string{strings.ReplaceAll(mainAmd64, "dists/trixie", "dists/sid")},
		},
		{
			name: "old suite of security", source: with(func(s *backends.Source) { s.Suite, s.File, s.Components = "trixie/updates", "", []string{"main"} }),
			server: files{"dists/trixie/updates/InRelease": clearSign(t, release, key)},
			parts:  []string{strings.ReplaceAll(mainAmd64, "dists/trixie", "dists/trixie/updates")},
		},
		{
			name: "mirrors", source: with(func(s *backends.Source) { s.URLs, s.Lists = nil, []backends.MirrorList{{URL: "file:///m"}} }),
			server: files{
				"file:///m":             "# mirrors\nhttp://b/debian/\thttp://x\nhttp://a/debian\tpriority:1\ntor+http://c\npriority:2\n",
				"http://b/debian/" + in: clearSign(t, release, key),
			}, parts: append([]string{"http://a/debian", "http://b/debian"}, both...),
		},
		{name: "trusted as it is", source: unsigned, server: files{in: clearSign(t, release, other)}, parts: both, unsigned: true, reason: "a key that is not known"},
		{name: "trusted, and signed", source: unsigned, server: files{in: clearSign(t, release, key)}, parts: both},
		{name: "trusted without keys", source: unsigned, root: map[string]string{}, server: files{"dists/trixie/Release": release}, parts: both, unsigned: true, reason: "it is not signed"},
		{
			name: "no Release file", source: unsignedFlat, server: files{"debs/Packages": packages}, unsigned: true, reason: "no Release file",
			parts: []string{"packages debs/Packages -1"},
		},
		{
			name: "key of the source", source: with(func(s *backends.Source) { s.Keys.Files = []string{"/no.gpg", "/k.gpg"} }),
			root: map[string]string{"k.gpg": public(t, key)}, server: files{in: clearSign(t, release, key)}, parts: both,
		},
		{
			name: "fingerprint", source: with(func(s *backends.Source) {
				s.Keys.Fingerprints = []string{fmt.Sprintf("%x", key.PrimaryKey.Fingerprint)}
			}),
			server: files{in: clearSign(t, release, key)}, parts: both,
		},

		{name: "nothing", source: suite, server: files{}, err: "dists/trixie/Release"},
		{name: "nothing, trusted", source: unsignedFlat, server: files{}, err: "it has neither"},
		{name: "not signed", source: suite, server: files{"dists/trixie/Release": release}, err: "it is not signed", distrusted: true},
		{name: "unknown key", source: suite, server: files{in: clearSign(t, release, other)}, err: "a key that is not known", distrusted: true},
		{
			name: "SHA-1", source: suite, err: "it is made with SHA-1", distrusted: true,
			server: files{"dists/trixie/Release": release, "dists/trixie/Release.gpg": testrepo.Detached(t, release, key, crypto.SHA1, testrepo.Date)},
		},
		{
			name: "SHA-256", source: suite, parts: both,
			server: files{"dists/trixie/Release": release, "dists/trixie/Release.gpg": testrepo.Detached(t, release, key, crypto.SHA256, testrepo.Date)},
		},
		{name: "altered", source: suite, server: files{in: strings.Replace(clearSign(t, release, key), "13.1", "13.2", 1)}, err: "its signature is not good", distrusted: true},
		{name: "page of a portal", source: suite, server: files{in: "<html>"}, err: "it is not clear-signed", distrusted: true},
		{name: "page of a portal, trusted", source: unsigned, server: files{in: "<html>"}, err: "it is not clear-signed", distrusted: true},
		{
			name: "narrowed by a file", source: with(func(s *backends.Source) { s.Keys.Files = []string{"/k.gpg"} }),
			root:   map[string]string{"k.gpg": public(t, other), "etc/apt/trusted.gpg.d/a.gpg": public(t, key)},
			server: files{in: clearSign(t, release, key)}, err: "a key that is not known", distrusted: true,
		},
		{
			name: "narrowed by a fingerprint", source: with(func(s *backends.Source) {
				s.Keys.Fingerprints = []string{fmt.Sprintf("%x", other.PrimaryKey.Fingerprint)}
			}),
			root:   map[string]string{"etc/apt/trusted.gpg.d/b.gpg": public(t, other), "etc/apt/trusted.gpg.d/a.gpg": public(t, key)},
			server: files{in: clearSign(t, release, key)}, err: "a key that is not known", distrusted: true,
		},
		{
			name: "keyring missing", source: with(func(s *backends.Source) { s.Keys = backends.Keys{Files: []string{"/k.gpg"}, Package: "k-keyring"} }),
			server: files{in: clearSign(t, release, key)}, err: "/k.gpg; install the package k-keyring", distrusted: true,
		},
		{name: "no keys at all", source: suite, root: map[string]string{}, server: files{in: clearSign(t, release, key)}, err: "apt trusts no key", distrusted: true},
		{
			name: "another suite of Debian", source: with(func(s *backends.Source) { s.Suite = "bookworm-security" }),
			server: files{"dists/bookworm-security/InRelease": clearSign(t, strings.Replace(release, "Origin: Test", "Origin: Debian", 1), key)},
			err:    `it is that of "trixie" ("stable"), and not of "bookworm-security"`,
		},
		{
			name: "another suite than is known", source: with(func(s *backends.Source) { s.Suite, s.File = "sid", "" }),
			server: files{"dists/sid/InRelease": clearSign(t, release, key)}, err: "and not of",
		},
		{name: "no component", source: with(func(s *backends.Source) { s.Components = []string{"x"} }), server: files{in: clearSign(t, release, key)}, err: "no index of x for amd64"},
		{name: "no architecture", source: suite, architectures: []string{"s390x"}, server: files{in: clearSign(t, release, key)}, err: "no index of main, contrib for s390x"},
		{name: "no index, flat", source: flat, server: files{"InRelease": clearSign(t, releaseText("", "x"), key)}, err: "no index"},
		{name: "bad date", source: suite, server: files{in: clearSign(t, release+"Valid-Until: soon\n", key)}, err: `"soon" is not a date`},
		{name: "two sizes", source: suite, server: files{in: clearSign(t, release+"SHA512:\n "+sum512+" 1 Packages.xz\n", key)}, err: "two sizes"},
		{
			name: "absurd size", source: suite, err: "fixed limit",
			server: files{in: clearSign(t, releaseText("")+" "+sum256+" 99999999999 main/binary-amd64/Packages\n", key)},
		},
		{
			name: "mirrors that are files, from a server", source: with(func(s *backends.Source) { s.URLs, s.Lists = nil, []backends.MirrorList{{URL: "http://m"}} }),
			server: files{"http://m": "file:///srv/x\n", "file:///srv/x/" + in: clearSign(t, release, key)}, err: "no address",
		},
		{
			name: "mirrors that are files, from a file", source: with(func(s *backends.Source) { s.URLs, s.Lists = nil, []backends.MirrorList{{URL: "file:///m"}} }),
			server: files{"file:///m": "file:///srv/x\n", "file:///srv/x/" + in: clearSign(t, release, key)}, parts: append([]string{"file:///srv/x"}, both...),
		},
		{name: "no mirrors", source: with(func(s *backends.Source) { s.URLs, s.Lists = nil, []backends.MirrorList{{URL: "m"}} }), server: files{"m": "#\n"}, err: "no address"},
		{name: "no address", source: with(func(s *backends.Source) { s.URLs = nil }), err: "no address"},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			if test.root == nil {
				test.root = trusted
			}
			writeFiles(t, dir, test.root)
			if test.architectures == nil {
				test.architectures = []string{"amd64"}
			}
			l, err := deb.Format{}.List(context.Background(), openRoot(t, dir), backends.ListRequest{Source: &test.source, Architectures: test.architectures, Get: test.server.get})
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) || errors.Is(err, trust.ErrSignature) != test.distrusted {
					t.Errorf("%+v, %v, want %q", l, err, test.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			got := slices.Clone(l.URLs)
			for _, p := range l.Parts {
				got = append(got, fmt.Sprintf("%s %s %d", p.Name, strings.Join(p.Paths, " "), p.Unpacked))
				if p.Size != 0 && p.Size != int64(len(packages)) || len(p.Digest) != len("sha256:")+64 {
					t.Errorf("%+v", p)
				}
			}
			if diff := cmp.Diff(test.parts, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			isGood := l.Verdict == pkginfo.Good && strings.HasPrefix(l.Signer, "archive ")
			if isGood == test.unsigned || test.unsigned && (l.Verdict != pkginfo.Unsigned || l.Signer != "") {
				t.Errorf("%+v", l.Signature)
			}
			if !strings.Contains(l.Reason, test.reason) || (l.Reason != "") != (test.reason != "") {
				t.Errorf("the reason is %q, want %q", l.Reason, test.reason)
			}
			if test.name != "no Release file" {
				date := time.Date(2025, 2, 8, 20, 10, 1, 0, time.UTC)
				want := &backends.Listing{Signature: l.Signature, URLs: l.URLs, Date: date, Origin: "Test", Suite: "stable", Codename: "trixie", Version: "13.1", Parts: l.Parts}
				if diff := cmp.Diff(want, l); diff != "" {
					t.Errorf("(-want +got)\n%s", diff)
				}
			}
		})
	}
}

// TestListExpiredKey has a signature by a key that has expired since: it is good only
// for a source that is looked at as it was then.
func TestListExpiredKey(t *testing.T) {
	then := time.Date(2015, 1, 1, 0, 0, 0, 0, time.UTC)
	config := &packet.Config{Algorithm: packet.PubKeyAlgoEdDSA, KeyLifetimeSecs: 366 * 24 * 3600, Time: func() time.Time { return then }}
	key, err := openpgp.NewEntity("archive", "", "archive@example.org", config)
	if err != nil {
		t.Fatal(err)
	}
	release := releaseText("", "main/binary-amd64/Packages.xz")
	sign := func(at time.Time) string {
		var b bytes.Buffer
		if err := openpgp.DetachSign(&b, key, strings.NewReader(release), &packet.Config{Time: func() time.Time { return at }}); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	dir := t.TempDir()
	writeFiles(t, dir, map[string]string{"etc/apt/trusted.gpg.d/a.gpg": public(t, key)})
	for _, test := range []struct {
		at     time.Time
		ignore bool
		isGood bool
	}{{then.AddDate(0, 6, 0), false, false}, {then.AddDate(0, 6, 0), true, true}} {
		source := backends.Source{Name: "x", Suite: "trixie", Components: []string{"main"}, URLs: []string{"http://x"}, IgnoreExpiry: test.ignore}
		server := files{"dists/trixie/Release": release, "dists/trixie/Release.gpg": sign(test.at)}
		_, err := deb.Format{}.List(context.Background(), openRoot(t, dir), backends.ListRequest{Source: &source, Architectures: []string{"amd64"}, Get: server.get})
		if (err == nil) != test.isGood || err != nil && !errors.Is(err, trust.ErrSignature) {
			t.Errorf("%+v: %v", test, err)
		}
	}
}

// TestListDebian verifies what Debian's mirrors have, by Debian's keys.
func TestListDebian(t *testing.T) {
	for _, suite := range []string{"bookworm", "trixie", "sid", "bookworm-security"} {
		t.Run(suite, func(t *testing.T) {
			release, isSecurity := strings.CutSuffix(suite, "-security")
			dir, _ := debianLists(t, suite)
			found, err := filepath.Glob(filepath.Join(dir, "*_InRelease"))
			if err != nil || len(found) != 1 {
				t.Fatal(found, err)
			}
			text, err := os.ReadFile(found[0])
			if err != nil {
				t.Fatal(err)
			}
			root := t.TempDir()
			keys, err := os.ReadFile(archive.DefaultKeyring)
			if err != nil {
				t.Fatal(err)
			}
			writeFiles(t, root, map[string]string{archive.DefaultKeyring: string(keys)})
			sources := deb.Format{}.Release(release, nil, "")
			source := sources[slices.IndexFunc(sources, func(s backends.Source) bool { return s.Suite == suite })]
			server := files{"dists/" + suite + "/InRelease": string(text)}
			list := func() (*backends.Listing, error) {
				return deb.Format{}.List(context.Background(), openRoot(t, root), backends.ListRequest{Source: &source, Architectures: []string{"amd64"}, Get: server.get})
			}
			l, err := list()
			if err != nil {
				t.Fatal(err)
			}
			if l.Verdict != pkginfo.Good || l.Reason != "" || l.Origin != "Debian" || l.Codename != suite || l.Date.IsZero() || len(l.Parts) != 1 {
				t.Errorf("%+v", l)
			}
			if isSecurity && l.ValidUntil.Sub(l.Date) != 7*24*time.Hour {
				t.Errorf("made on %v, and valid until %v", l.Date, l.ValidUntil)
			}
			p := l.Parts[0]
			if p.Name != "main amd64" || len(p.Paths) != 2 || p.Size < 100<<10 || p.Unpacked < 1<<20 || !strings.HasPrefix(p.Digest, "sha256:") {
				t.Errorf("%+v", p)
			}
			server["dists/"+suite+"/InRelease"] = strings.Replace(string(text), "Origin: Debian", "Origin: Debiam", 1)
			if _, err := list(); !errors.Is(err, trust.ErrSignature) {
				t.Errorf("of an altered one: %v", err)
			}
		})
	}
}

// FuzzList reads a signed Release file of any content, for sources with components and
// without: nothing is listed that it does not have, or that is elsewhere.
func FuzzList(f *testing.F) {
	key := newKey(f, "archive")
	dir := f.TempDir()
	writeFiles(f, dir, map[string]string{"etc/apt/trusted.gpg.d/a.gpg": public(f, key)})
	root := openRoot(f, dir)
	f.Add(releaseText("Acquire-By-Hash: yes\nArchitectures: all amd64\n", "main/binary-amd64/Packages", "main/binary-amd64/Packages.xz", "main/binary-all/Packages.gz", "Packages"), false)
	f.Add(release512Of(map[string]string{"main/binary-amd64/Packages": "x"}), false)
	f.Add("Date: x\nSHA256:\n x 1 ../Packages\n", true)
	f.Fuzz(func(t *testing.T, release string, raw bool) {
		text := release
		if !raw { // else the reader of signatures has its turn
			text = clearSign(t, release, key)
		}
		for _, source := range []backends.Source{
			{Name: "x", Suite: "trixie", Components: []string{"main"}, URLs: []string{"http://x"}, File: "/x", Unsigned: raw},
			{Name: "x", Suite: "./", URLs: []string{"http://x"}, File: "/x"},
		} {
			server := files{"dists/trixie/InRelease": text, "InRelease": text}
			l, err := deb.Format{}.List(context.Background(), root, backends.ListRequest{Source: &source, Architectures: []string{"amd64"}, Get: server.get})
			if err != nil {
				continue
			}
			if raw == (l.Verdict == pkginfo.Good) || len(l.Parts) == 0 {
				t.Errorf("%+v", l)
			}
			for _, p := range l.Parts {
				_, sum, _ := strings.Cut(p.Digest, ":")
				if !strings.Contains(strings.ToLower(release), sum) || len(sum) != 64 && len(sum) != 128 || p.Size < 0 || len(p.Paths) == 0 {
					t.Errorf("%+v", p)
				}
				for _, path := range p.Paths {
					if !fs.ValidPath(path) {
						t.Errorf("%q", path)
					}
				}
			}
		}
	})
}

// TestRelease compares the releases that are known with those of Debian's list of them.
func TestRelease(t *testing.T) {
	f := deb.Format{}
	names := map[string]bool{}
	for _, name := range f.Releases() {
		sources := f.Release(name, nil, "")
		if len(sources) == 0 || names[name] {
			t.Errorf("%s is there twice, or unknown", name)
		}
		names[name] = true
		for _, s := range sources {
			if s.Format != deb.Name || len(s.URLs) == 0 || s.Release != sources[0].Name || len(s.Keys.Files) == 0 || s.Keys.Package == "" || s.File != "" || s.Unsigned {
				t.Errorf("%+v", s)
			}
		}
	}
	if f.Release("woody", nil, "") != nil || f.Release("", nil, "") != nil || f.Release("debian-", nil, "") != nil {
		t.Error("a release is known that is not")
	}
	known := func(url, suite string, keys ...string) backends.Source {
		return backends.Source{Format: deb.Name, Suite: suite, Release: strings.TrimSuffix(suite, "-security"), Components: []string{"main"}, URLs: []string{url}, Keys: backends.Keys{Files: keys}}
	}
	const own, ownSecurity, snapshot = "http://mirror.example.org/debian", "http://mirror.example.org/debian-security", "http://snapshot.debian.org/archive/debian/20250520T000000Z"
	const usual, usualSecurity, old = "http://deb.debian.org/debian", "http://deb.debian.org/debian-security", "http://archive.debian.org/debian"
	for name, test := range map[string]struct {
		release string
		known   []backends.Source
		mirror  string
		want    []string
	}{
		"usual":  {"trixie", nil, "", []string{"trixie " + usual, "trixie-updates " + usual, "trixie-security " + usualSecurity}},
		"number": {"debian-13", nil, "", []string{"trixie " + usual, "trixie-updates " + usual, "trixie-security " + usualSecurity}},
		"like others": {
			"trixie",
			[]backends.Source{known(own, "bookworm"), known(ownSecurity, "bookworm-security", "/usr/share/keyrings/debian-archive-keyring.gpg")},
			"",
			[]string{"trixie " + own, "trixie-updates " + own, "trixie-security " + ownSecurity},
		},
		"no others": {
			"sid", []backends.Source{
				known("https://download.docker.com/linux/debian", "bookworm", "/etc/apt/keyrings/docker.gpg"), known("https://packages.sury.org/php", "bookworm"),
				known("http://x/debian", "x"), known(own, "bookworm-security"),
			}, "", []string{"sid " + usual},
		},
		"asked for":    {"sid", []backends.Source{known(usual, "bookworm")}, own + "/", []string{"sid " + own}},
		"security":     {"trixie", nil, own, []string{"trixie " + own, "trixie-updates " + own, "trixie-security " + usualSecurity}},
		"of the past":  {"bookworm", nil, snapshot, []string{"bookworm " + snapshot + " anytime", "bookworm-updates " + snapshot + " anytime", "bookworm-security " + strings.Replace(snapshot, "debian/", "debian-security/", 1) + " anytime"}},
		"old":          {"buster", []backends.Source{known(own, "bookworm")}, "", []string{"buster " + old + " anytime", "buster/updates " + old + "-security anytime"}},
		"soon dropped": {"bullseye", nil, "", []string{"bullseye " + usual + " " + old, "bullseye-updates " + usual + " " + old, "bullseye-security " + usualSecurity + " " + old + "-security"}},
		"Ubuntu, on a mirror": {
			"ubuntu-24.04", nil, "http://mirror.example.org/ubuntu",
			[]string{"noble http://mirror.example.org/ubuntu", "noble-updates http://mirror.example.org/ubuntu", "noble-security http://mirror.example.org/ubuntu"},
		},
	} {
		var got []string
		for _, s := range f.Release(test.release, test.known, test.mirror) {
			line := s.Suite + " " + strings.Join(s.URLs, " ")
			if s.IgnoreExpiry {
				line += " anytime"
			}
			got = append(got, line)
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s (-want +got)\n%s", name, diff)
		}
	}
}

// TestArchitectures has the words for a root by its shell and by dpkg.
func TestArchitectures(t *testing.T) {
	testneed.Programs(t, "dpkg")
	own, err := exec.Command("dpkg", "--print-architecture").Output()
	if err != nil {
		t.Fatal(err)
	}
	host := strings.TrimSpace(string(own))
	header := func(class, data byte, machine uint16, flags byte) string {
		b := make([]byte, 64)
		copy(b, "\x7fELF"+string([]byte{class, data, 1}))
		b[18], b[19] = byte(machine), byte(machine>>8)
		if data == 2 {
			b[18], b[19] = b[19], b[18]
		}
		b[37] = flags
		return string(b)
	}
	shell, err := os.ReadFile("/bin/sh")
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		shell, arch string
		want        []string
	}{
		"this machine's": {string(shell), "", []string{host}},
		"nothing":        {"", "", []string{host}},
		"script":         {"#!/bin/false\n", "", []string{host}},
		"arm64":          {header(2, 1, 183, 0), "", []string{"arm64"}},
		"armhf":          {header(1, 1, 40, 4), "", []string{"armhf"}},
		"armel":          {header(1, 1, 40, 2), "", []string{"armel"}},
		"i386":           {header(1, 1, 3, 0), "i386\n", []string{"i386"}},
		"amd64":          {header(2, 1, 62, 0), "amd64\ni386\nall\n\n", []string{"amd64", "i386"}},
		"x32":            {header(1, 1, 62, 0), "", []string{"x32"}},
		"ppc64el":        {header(2, 1, 21, 0), "", []string{"ppc64el"}},
		"s390x":          {header(2, 2, 22, 0), "", []string{"s390x"}},
		"riscv64":        {header(2, 1, 243, 0), "", []string{"riscv64"}},
		"loong64":        {header(2, 1, 258, 0), "", []string{"loong64"}},
		"not a word":     {header(2, 1, 62, 0), "../x\n", nil},
	} {
		dir := t.TempDir()
		if test.shell != "" {
			writeFiles(t, dir, map[string]string{"usr/bin/sh": test.shell})
		}
		if test.arch != "" {
			writeFiles(t, dir, map[string]string{"var/lib/dpkg/arch": test.arch})
		}
		got, err := deb.Format{}.Architectures(openRoot(t, dir))
		if diff := cmp.Diff(test.want, got); diff != "" || (err != nil) != (test.want == nil) {
			t.Errorf("%s: %v, (-want +got)\n%s", name, err, diff)
		}
	}
}
