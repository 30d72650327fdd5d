package rpm

import (
	"bytes"
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/sha512"
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

	"github.com/hashpkg/hashpkg/backends"
	"github.com/hashpkg/hashpkg/backends/conformance"
	"github.com/hashpkg/hashpkg/backends/trust"
	"github.com/hashpkg/hashpkg/internal/testneed"
	"github.com/hashpkg/hashpkg/internal/testrepo"
	"github.com/hashpkg/hashpkg/internal/testrpm"
	"github.com/hashpkg/hashpkg/pkginfo"
)

// web is files by their addresses.
type web struct {
	files  map[string]string
	broken string // an address that does not answer
}

var errBroken = errors.New("it does not answer")

func (w *web) get(_ context.Context, path string, limit int64) ([]byte, error) {
	if path == w.broken {
		return nil, errBroken
	}
	content, ok := w.files[path]
	if !ok || int64(len(content)) > limit {
		return nil, fmt.Errorf("get %s: %w", path, fs.ErrNotExist)
	}
	return []byte(content), nil
}

// putRepository puts a repository at an address, and returns its description.
func (w *web) putRepository(t *testing.T, address string, date time.Time, signer *openpgp.Entity) string {
	t.Helper()
	dir := t.TempDir()
	buildRepository(t, dir, conformance.Repository{Date: date, Signer: signer, Packages: []conformance.RepositoryPackage{
		{Name: "tool", Version: "1-1", Architecture: "x86_64", Path: "tool.rpm", Content: "x"},
	}})
	for _, name := range []string{"repodata/repomd.xml", "repodata/repomd.xml.asc"} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		w.files[address+"/"+name] = string(b)
	}
	return w.files[address+"/repodata/repomd.xml"]
}

func (w *web) list(t *testing.T, root backends.Root, source backends.Source) (*backends.Listing, error) {
	t.Helper()
	return Format{}.List(t.Context(), root, backends.ListRequest{Source: &source, Architectures: []string{"x86_64", "i686"}, Get: w.get})
}

// metalink returns a list of mirrors as Fedora's server makes it.
func metalink(current string, older []string, mirrors ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, `<?xml version="1.0" encoding="utf-8"?>
<metalink version="3.0" xmlns="http://www.metalinker.org/" type="dynamic" pubdate="Tue, 03 Feb 2026 00:00:00 GMT" generator="mirrormanager" xmlns:mm0="http://fedorahosted.org/mirrormanager">
 <files>
  <file name="repomd.xml">
   <mm0:timestamp>1700000000</mm0:timestamp>
   <size>%d</size>
   <verification>
    <hash type="md5">d41d8cd98f00b204e9800998ecf8427e</hash>
    <hash type="sha256">%x</hash>
    <hash type="sha512">%x</hash>
   </verification>
   <mm0:alternates>`, len(current), sha256.Sum256([]byte(current)), sha512.Sum512([]byte(current)))
	for _, o := range older {
		fmt.Fprintf(&b, `<mm0:alternate><mm0:timestamp>1</mm0:timestamp><size>1</size><verification><hash type="sha256">%x</hash></verification></mm0:alternate>`, sha256.Sum256([]byte(o)))
	}
	b.WriteString("</mm0:alternates>\n   <resources maxconnections=\"1\">\n")
	for i, m := range mirrors {
		fmt.Fprintf(&b, "    <url protocol=\"rsync\" type=\"rsync\" location=\"DE\" preference=\"100\">rsync://mirror.example/x/repodata/repomd.xml</url>\n")
		fmt.Fprintf(&b, "    <url protocol=\"https\" type=\"https\" location=\"DE\" preference=\"%d\">%s/repodata/repomd.xml</url>\n", 99-i, m)
	}
	b.WriteString("   </resources>\n  </file>\n </files>\n</metalink>\n")
	return b.String()
}

var someDate = time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC)

// TestMetalink has mirrors that are gone, have been changed, and lag behind.
func TestMetalink(t *testing.T) {
	const list, one, two, three = "https://lists.example/metalink?repo=x-$releasever&arch=$basearch", "http://one.example/x", "https://two.example/x", "https://three.example/x"
	const expanded = "https://lists.example/metalink?repo=x-41&arch=x86_64"
	dir := t.TempDir()
	writeInto(t, dir, "etc/dnf/vars/releasever", "41\n")
	root := openRoot(t, dir)
	source := backends.Source{Format: Name, Name: "x", Lists: []backends.MirrorList{{URL: list, Metalink: true}}, Unsigned: true, PackagesSigned: true}
	fresh := func() (w *web, current, older string) {
		w = &web{files: map[string]string{}}
		older = w.putRepository(t, one, someDate.Add(-time.Hour), nil)
		current = w.putRepository(t, two, someDate, nil)
		w.putRepository(t, three, someDate, nil)
		return w, current, older
	}

	w, current, older := fresh()
	w.files[expanded] = metalink(current, []string{older}, one, two, three)
	l, err := w.list(t, root, source)
	if err != nil {
		t.Fatal(err)
	}
	if !l.Date.Equal(someDate) || !slices.Equal(l.URLs, []string{two, one, three}) {
		t.Errorf("a mirror that lags behind is preferred: %v, %q", l.Date, l.URLs)
	}
	if l.Verdict != pkginfo.Unsigned || !strings.Contains(l.Reason, "its digest is in https://lists.example/metalink?...") {
		t.Errorf("%+v", l.Signature)
	}

	// Where there is no other, the older one will do.
	w.files[expanded] = metalink(current, []string{older}, "https://gone.example", one)
	if l, err := w.list(t, root, source); err != nil || !l.Date.Equal(someDate.Add(-time.Hour)) || l.URLs[0] != one {
		t.Errorf("%+v, %v", l, err)
	}
	// One that nobody vouches for will not.
	w.files[expanded] = metalink(current, nil, one)
	if l, err := w.list(t, root, source); err == nil || !strings.Contains(err.Error(), "list of mirrors") {
		t.Errorf("%+v, %v", l, err)
	}
	// Over http nobody vouches for anything.
	plain := source
	plain.Lists = []backends.MirrorList{{URL: "http://lists.example/m", Metalink: true}}
	w.files["http://lists.example/m"] = metalink(current, nil, two)
	if l, err := w.list(t, root, plain); err != nil || strings.Contains(l.Reason, "digest") {
		t.Errorf("%+v, %v", l, err)
	}
	// The second list is for when the first cannot be had.
	plain.Lists = []backends.MirrorList{{URL: "https://gone.example/m", Metalink: true}, {URL: "https://lists.example/list"}}
	w.files["https://lists.example/list"] = "# mirrors\nftp://old.example/x\nhttps://gone.example/x/\n" + three + "/\n"
	if l, err := w.list(t, root, plain); err != nil || !slices.Equal(l.URLs, []string{three, "https://gone.example/x"}) {
		t.Errorf("%+v, %v", l, err)
	}
	signed := source
	signed.Unsigned = false
	w.files[expanded] = metalink(current, nil, two)
	if _, err := w.list(t, root, signed); !errors.Is(err, trust.ErrSignature) {
		t.Errorf("a list of mirrors is a signature: %v", err)
	}
	for what, text := range map[string]string{ // by what the error says
		"ends in the middle":       "",
		"no SHA-256":               strings.ReplaceAll(metalink(current, nil, two), "sha", "xsha"),
		"no list of mirrors":       strings.ReplaceAll(metalink(current, nil, two), "repomd.xml", "other.xml"),
		"no address":               metalink(current, nil),
		"no address of":            metalink(current, nil, "file:///etc"),
		"has a declaration":        `<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><metalink>&b;</metalink>`,
		"more than 16384 elements": "<metalink>" + strings.Repeat("<a/>", maxElements) + "</metalink>",
	} {
		w.files[expanded] = text
		if l, err := w.list(t, root, source); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %+v, %v", what, l, err)
		}
	}
}

// TestMirrorsDiffer has two mirrors with different descriptions, each with its own
// signature but the first with that of the other.
func TestMirrorsDiffer(t *testing.T) {
	const one, two = "https://one.example/x", "https://two.example/x"
	w, signer, dir := &web{files: map[string]string{}}, newTestKey(t), t.TempDir()
	writeInto(t, dir, "key", armoredKey(t, signer))
	w.putRepository(t, one, someDate.Add(time.Hour), signer)
	w.putRepository(t, two, someDate, signer)
	source := backends.Source{Format: Name, Name: "x", URLs: []string{one, two}, Keys: backends.Keys{Files: []string{"/key"}}}
	if l, err := w.list(t, openRoot(t, dir), source); err != nil || !l.Date.Equal(someDate.Add(time.Hour)) || l.URLs[0] != one {
		t.Errorf("%+v, %v", l, err)
	}
	w.files[one+"/repodata/repomd.xml.asc"] = w.files[two+"/repodata/repomd.xml.asc"]
	if l, err := w.list(t, openRoot(t, dir), source); err != nil || !l.Date.Equal(someDate) || !slices.Equal(l.URLs, []string{two, one}) {
		t.Errorf("%+v, %v", l, err)
	}
	delete(w.files, two+"/repodata/repomd.xml")
	if l, err := w.list(t, openRoot(t, dir), source); !errors.Is(err, trust.ErrSignature) {
		t.Errorf("%+v, %v", l, err)
	}
}

// TestMetalink4 has the notation of RFC 5854.
func TestMetalink4(t *testing.T) {
	sum := strings.Repeat("ab", 32)
	m, err := parseMetalink([]byte(`<?xml version="1.0" encoding="UTF-8"?>
<metalink xmlns="urn:ietf:params:xml:ns:metalink">
  <file name="repomd.xml"><size>3</size><hash type="sha-256">` + sum + `</hash>
    <url location="de" priority="2">http://second.example/r/repodata/repomd.xml</url>
    <url location="de" priority="1">http://first.example/r/repodata/repomd.xml</url>
    <metaurl mediatype="torrent">http://first.example/r.torrent</metaurl>
  </file>
</metalink>`))
	if err != nil || !slices.Equal(m.urls, []string{"http://first.example/r", "http://second.example/r"}) || !slices.Equal(m.current, []string{"sha256:" + sum}) {
		t.Errorf("%+v, %v", m, err)
	}
}

// TestSignedByGPG has a repository that createrepo_c has made and gpg has signed.
func TestSignedByGPG(t *testing.T) {
	testneed.Programs(t, "gpg")
	dir := realRepository(t)
	home := t.TempDir()
	gpg := func(args ...string) []byte {
		t.Helper()
		out, err := exec.Command("gpg", append([]string{"--homedir", home, "--batch", "--quiet", "--pinentry-mode", "loopback", "--passphrase", ""}, args...)...).Output()
		if err != nil {
			t.Fatalf("gpg %q: %v", args, err)
		}
		return out
	}
	t.Cleanup(func() { _ = exec.Command("gpgconf", "--homedir", home, "--kill", "all").Run() })
	root := t.TempDir()
	gpg("--quick-generate-key", "Repository <r@example.org>", "rsa2048", "sign", "never")
	writeInto(t, root, "etc/pki/key", string(gpg("--armor", "--export")))
	gpg("--detach-sign", "--armor", filepath.Join(dir, "repodata/repomd.xml"))
	sources, err := Format{}.ParseSources("x.repo", []byte("[x]\nbaseurl=file://"+dir+"\nrepo_gpgcheck=1\ngpgcheck=0\ngpgkey=file:///etc/pki/key\n"))
	if err != nil {
		t.Fatal(err)
	}
	list := func() (*backends.Listing, error) {
		return Format{}.List(t.Context(), openRoot(t, root), backends.ListRequest{Source: &sources[0], Get: getFrom(dir, "file://"+dir)})
	}
	l, err := list()
	if err != nil {
		t.Fatal(err)
	}
	if l.Verdict != pkginfo.Good || !strings.Contains(l.Signer, "Repository <r@example.org>") {
		t.Errorf("%+v", l.Signature)
	}
	if all := readParts(t, dir, l); len(all) < 5 {
		t.Errorf("it has %d packages", len(all))
	}

	// With a second signature of a key that nobody knows.
	gpg("--quick-generate-key", "Another <a@example.org>", "ed25519", "sign", "never")
	gpg("--yes", "--detach-sign", "--armor", "-u", "a@example.org", "-u", "r@example.org", filepath.Join(dir, "repodata/repomd.xml"))
	if l, err := list(); err != nil || l.Verdict != pkginfo.Good {
		t.Errorf("%+v, %v", l, err)
	}
	gpg("--yes", "--detach-sign", "--armor", "-u", "a@example.org", filepath.Join(dir, "repodata/repomd.xml"))
	if _, err := list(); !errors.Is(err, trust.ErrSignature) || !strings.Contains(err.Error(), "not known") {
		t.Errorf("%v", err)
	}
}

// TestRepositorySignedWithSHA1 has a signature that differs in its hash alone.
func TestRepositorySignedWithSHA1(t *testing.T) {
	const address = "https://r.example"
	w := &web{files: map[string]string{}}
	signer := newTestKey(t)
	text := w.putRepository(t, address, someDate, signer)
	source := backends.Source{Format: Name, Name: "x", URLs: []string{address, address}, Keys: backends.Keys{Text: armoredKey(t, signer)}}
	for _, test := range []struct {
		hash crypto.Hash
		err  string
	}{{crypto.SHA256, ""}, {crypto.SHA512, ""}, {crypto.SHA1, "it is made with SHA-1"}} {
		w.files[address+"/repodata/repomd.xml.asc"] = testrepo.Detached(t, text, signer, test.hash, someDate)
		l, err := w.list(t, openRoot(t, t.TempDir()), source)
		if (err == nil) != (test.err == "") || err != nil && (!strings.Contains(err.Error(), test.err) || !errors.Is(err, trust.ErrSignature)) {
			t.Errorf("%v: %+v, %v", test.hash, l, err)
		}
	}
}

// TestSourceKeys has keys in files, at addresses, and none.
func TestSourceKeys(t *testing.T) {
	w := &web{files: map[string]string{}}
	signer := newTestKey(t)
	w.putRepository(t, "https://r.example", someDate, signer)
	dir := t.TempDir()
	root := openRoot(t, dir)
	source := backends.Source{Format: Name, Name: "x", URLs: []string{"https://r.example"}}
	relative := func(ctx context.Context, path string, limit int64) ([]byte, error) {
		if !strings.Contains(path, "://") {
			path = "https://r.example/" + path
		}
		return w.get(ctx, path, limit)
	}
	list := func(keys backends.Keys) (*backends.Listing, error) {
		source.Keys = keys
		return Format{}.List(t.Context(), root, backends.ListRequest{Source: &source, Get: relative})
	}
	w.broken = "https://keys.example/broken"
	if _, err := list(backends.Keys{Files: []string{w.broken, "/key"}}); !errors.Is(err, errBroken) {
		t.Errorf("a key that cannot be had: %v", err)
	}
	if _, err := list(backends.Keys{Files: []string{"/no/key", "/no/other"}, Package: "key-package"}); !errors.Is(err, trust.ErrSignature) ||
		!strings.Contains(err.Error(), "key-package") || !strings.Contains(err.Error(), "/no/other") {
		t.Errorf("%v", err)
	}
	w.files["https://keys.example/key"] = armoredKey(t, signer)
	writeInto(t, dir, "key", armoredKey(t, signer))
	writeInto(t, dir, "other", armoredKey(t, newTestKey(t)))
	for _, keys := range []backends.Keys{
		{Files: []string{"https://keys.example/key"}},
		{Files: []string{"/no/key", "/key"}},
		{Files: []string{"file:///key"}},
		{Text: armoredKey(t, signer)},
		{Files: []string{"/other", "/key"}},
	} {
		l, err := list(keys)
		if err != nil || l.Verdict != pkginfo.Good {
			t.Errorf("%.80q: %v", keys, err)
		}
		ring, err := Format{}.SourceKeys(t.Context(), root, backends.ListRequest{Source: &source, Get: relative})
		if err != nil || ring.Len() == 0 {
			t.Errorf("%.80q: %v", keys, err)
		}
	}
	for _, keys := range []backends.Keys{
		{Files: []string{"/other"}}, {}, {Files: []string{"http://keys.example/key"}}, {Fingerprints: []string{"00"}},
	} {
		w.files["http://keys.example/key"] = armoredKey(t, signer)
		if l, err := list(keys); err == nil {
			t.Errorf("%q: %+v", keys, l.Signature)
		}
	}
}

// TestRootKeysOfSources has a root whose rpm trusts a key: it may sign for a source that names
// none, and for no other.
func TestRootKeysOfSources(t *testing.T) {
	w, signer := &web{files: map[string]string{}}, newTestKey(t)
	w.putRepository(t, "https://r.example", someDate, signer)
	trusted := testrpm.Package{Name: keyPackage, Version: "12345678", Release: "1", Edit: func(h *testrpm.Header) {
		h.Delete(testrpm.Tag(tagArch))
		h.I18n(testrpm.Tag(tagDescription), armoredKey(t, signer))
	}}
	dir := rootOf(t, trusted)
	writeInto(t, dir, "other", armoredKey(t, newTestKey(t)))
	source := backends.Source{Format: Name, Name: "x", URLs: []string{"https://r.example", "https://s.example"}}
	if l, err := w.list(t, openRoot(t, dir), source); err != nil || l.Verdict != pkginfo.Good {
		t.Errorf("%+v, %v", l, err)
	}
	source.Keys = backends.Keys{Fingerprints: []string{fmt.Sprintf("%x", signer.PrimaryKey.Fingerprint)}}
	if l, err := w.list(t, openRoot(t, dir), source); err != nil || l.Verdict != pkginfo.Good {
		t.Errorf("%+v, %v", l, err)
	}
	for _, keys := range []backends.Keys{
		{Files: []string{"/other"}}, {Files: []string{"/none"}}, {Text: armoredKey(t, newTestKey(t))}, {Fingerprints: []string{strings.Repeat("0", 40)}},
	} {
		source.Keys = keys
		if l, err := w.list(t, openRoot(t, dir), source); !errors.Is(err, trust.ErrSignature) {
			t.Errorf("%.60q: %+v, %v", keys, l, err)
		}
	}
}

// TestLifetime has suseinfo.xml, which says how long a description is good for.
func TestLifetime(t *testing.T) {
	w := &web{files: map[string]string{}}
	text := w.putRepository(t, "https://r.example", someDate, nil)
	const info = "<suseinfo><expire>86400</expire></suseinfo>"
	put := func(content, listed string) {
		w.files["https://r.example/repodata/suseinfo.xml"] = content
		w.files["https://r.example/repodata/repomd.xml"] = strings.Replace(text, "</repomd>", fmt.Sprintf(
			`<tags><distro cpeid="cpe:/o:opensuse:leap:15.6">openSUSE Leap 15.6</distro></tags><data type="suseinfo"><checksum type="sha256">%x</checksum><location href="repodata/suseinfo.xml"/><size>%d</size></data></repomd>`,
			sha256.Sum256([]byte(listed)), len(listed)), 1)
	}
	source := backends.Source{Format: Name, Name: "x", URLs: []string{"https://$host"}, Unsigned: true}
	dir := t.TempDir()
	writeInto(t, dir, "etc/zypp/vars.d/host", "r.example")
	put(info, info)
	l, err := w.list(t, openRoot(t, dir), source)
	if err != nil {
		t.Fatal(err)
	}
	if !l.ValidUntil.Equal(someDate.Add(24*time.Hour)) || l.Origin != "openSUSE Leap 15.6" || l.Version != "15.6" || l.URLs[0] != "https://r.example" {
		t.Errorf("%+v", l)
	}
	packed := string(gzipped(t, info))
	put(packed, packed)
	if l, err := w.list(t, openRoot(t, dir), source); err != nil || !l.ValidUntil.Equal(someDate.Add(24*time.Hour)) {
		t.Errorf("%+v, %v", l, err)
	}
	put(strings.Replace(info, "86400", "99999", 1), info)
	if l, err := w.list(t, openRoot(t, dir), source); err == nil {
		t.Errorf("a lifetime that nobody vouches for is taken: %v", l.ValidUntil)
	}
	delete(w.files, "https://r.example/repodata/suseinfo.xml")
	if l, err := w.list(t, openRoot(t, dir), source); err == nil {
		t.Errorf("without its lifetime it is taken: %+v", l)
	}
}

// TestDate has revisions that are no time.
func TestDate(t *testing.T) {
	for _, tc := range []struct {
		revision, timestamp string
		want                int64
	}{
		{"1700000000", "1600000000", 1700000000},
		{"1600000000", "1700000000", 1700000000},
		{"55", "1700000000.75", 1700000000},
		{"20260203", "1700000000", 1700000000},
		{"2026-02-03", "", 0},
		{"1700000000", "", 1700000000},
		{"99999999999999999999", "1700000000", 1700000000},
	} {
		text := `<repomd><revision>` + tc.revision + `</revision><data type="primary"><checksum type="sha256">` + strings.Repeat("0", 64) +
			`</checksum><location href="p"/><timestamp>` + tc.timestamp + `</timestamp><size>1</size></data></repomd>`
		m, err := parseRepomd([]byte(text))
		if err != nil || m.date.Unix() != tc.want {
			t.Errorf("%+v: %+v, %v", tc, m, err)
		}
	}
}

func TestRepomdRefused(t *testing.T) {
	data := func(change ...string) string {
		text := `<data type="primary"><checksum type="sha256">` + strings.Repeat("0", 64) + `</checksum><location href="repodata/p.xml"/><timestamp>1</timestamp><size>1</size><open-size>2</open-size></data>`
		return strings.NewReplacer(change...).Replace(text)
	}
	if m, err := parseRepomd([]byte("<repomd>" + data() + "</repomd>")); err != nil || m.primary.Unpacked != 2 {
		t.Fatal(m, err)
	}
	for what, text := range map[string]string{
		"nothing":       "",
		"no index":      "<repomd></repomd>",
		"other":         "<html>" + data() + "</html>",
		"two":           "<repomd>" + data() + data() + "</repomd>",
		"sha1":          "<repomd>" + data("sha256", "sha") + "</repomd>",
		"short digest":  "<repomd>" + data("0000", "00") + "</repomd>",
		"no size":       "<repomd>" + data("<size>1</size>", "") + "</repomd>",
		"negative size": "<repomd>" + data("<size>1", "<size>-1") + "</repomd>",
		"large size":    "<repomd>" + data("<size>1", "<size>9999999999999999999999") + "</repomd>",
		"open size":     "<repomd>" + data("size>2", "size>x") + "</repomd>",
		"up":            "<repomd>" + data("repodata/", "../") + "</repomd>",
		"absolute":      "<repomd>" + data("repodata/", "/etc/") + "</repomd>",
		"address":       "<repomd>" + data("repodata/", "http://x/") + "</repomd>",
		"base":          "<repomd>" + data("<location ", `<location xml:base="file:///etc" `) + "</repomd>",
		"query":         "<repomd>" + data("p.xml", "p.xml?x") + "</repomd>",
	} {
		if m, err := parseRepomd([]byte(text)); err == nil {
			t.Errorf("%s: %+v", what, m)
		}
	}
	m, err := parseRepomd([]byte("<repomd>" + data("<location ", `<location xml:base="https://other.example/r/" `) + "</repomd>"))
	if err != nil || m.primary.Paths[0] != "https://other.example/r/repodata/p.xml" {
		t.Errorf("%+v, %v", m, err)
	}
}

// FuzzDescription reads descriptions and lists of mirrors.
func FuzzDescription(f *testing.F) {
	f.Add([]byte(metalink("x", []string{"y"}, "https://one.example")))
	f.Add([]byte(`<repomd><revision>1700000000</revision><data type="primary"><checksum type="sha256">` + strings.Repeat("0", 64) + `</checksum><location href="repodata/p.xml" xml:base="http://x/"/><size>1</size></data></repomd>`))
	f.Fuzz(func(t *testing.T, text []byte) {
		if m, err := parseRepomd(text); err == nil {
			for _, p := range m.primary.Paths {
				rest := strings.TrimPrefix(strings.TrimPrefix(p, "http://"), "https://")
				if strings.HasPrefix(rest, "/") || slices.Contains(strings.Split(p, "/"), "..") && rest == p {
					t.Errorf("the index is at %q", p)
				}
			}
		}
		if m, err := parseMetalink(text); err == nil && (len(m.urls) == 0 || len(m.current) == 0) {
			t.Errorf("%+v", m)
		}
		if m, err := parseMirrorList(text); err == nil && bytes.IndexByte([]byte(m.urls[0]), '\n') >= 0 {
			t.Errorf("%+v", m)
		}
		_, _ = parseLifetime(text)
	})
}
