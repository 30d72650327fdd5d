package conformance

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/hashpkg/hashpkg/backends"
	"github.com/hashpkg/hashpkg/backends/trust"
	"github.com/hashpkg/hashpkg/pkginfo"
)

const (
	// patience is how long reading a small package may take at the most.
	patience = 30 * time.Second
	// allocation is how much memory reading one may take in all.
	allocation = 512 << 20
)

func (s *suite) testName(t *testing.T) {
	name := string(s.Format.Name())
	if name == "" || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789") != "" {
		t.Errorf("the name %q has other characters than lower-case letters and digits", name)
	}
	for _, o := range s.Others {
		if o.Name() == s.Format.Name() {
			t.Errorf("another format has the name %q too", name)
		}
	}
}

func (s *suite) testMatches(t *testing.T) {
	file := s.Build(t, s.sample())
	head := file[:min(len(file), backends.HeadSize)]
	if !s.Format.Matches(head) {
		t.Error("the format does not match its own package")
	}
	for _, o := range s.Others {
		if o.Matches(head) {
			t.Errorf("%s takes the package for its own", o.Name())
		}
	}
	for _, text := range []string{"", "\x00", "hello, world\n", strings.Repeat("\x00", backends.HeadSize), noise(backends.HeadSize), "\x7fELF\x02\x01\x01"} {
		if s.Format.Matches([]byte(text)) {
			t.Errorf("the format matches a file that begins with %.20q", text)
		}
	}
	for _, formats := range []backends.Formats{append(backends.Formats{s.Format}, s.Others...), append(s.Others[:len(s.Others):len(s.Others)], s.Format)} {
		format, r, err := formats.Identify(bytes.NewReader(file))
		if err != nil || format.Name() != s.Format.Name() {
			t.Fatalf("%v, %v", format, err)
		}
		if all, err := io.ReadAll(r); err != nil || !bytes.Equal(all, file) {
			t.Errorf("%d of %d bytes are left when the format is known, %v", len(all), len(file), err)
		}
		_, _, err = formats.Identify(strings.NewReader("hello"))
		if !errors.Is(err, backends.ErrUnknownFormat) || !strings.Contains(err.Error(), string(s.Format.Name())) {
			t.Errorf("the error for a file of no format does not name this one: %v", err)
		}
	}
}

// contents is what was read of a package.
type contents struct {
	pkg       *pkginfo.Package
	entries   []*pkginfo.Entry
	sums      map[string]string // of what the files hold, by path, for every name
	signature pkginfo.Signature

	namesOwners bool
}

// read reads a whole package and checks what holds for those of every format.
func (s *suite) read(r io.Reader, keys *trust.Keyring) (c *contents, err error) {
	reader, err := s.Format.Open(r, keys)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, reader.Close()) }()
	c = &contents{pkg: reader.Package(), sums: map[string]string{}, namesOwners: reader.NamesOwners()}
	if c.pkg.Format != s.Format.Name() {
		return nil, fault("the package is of the format %q", c.pkg.Format)
	}
	kinds := map[string]pkginfo.Type{}
	for {
		if reader.Signature().Verdict == pkginfo.Good {
			return nil, fault("the signature is good before all was read")
		}
		e, err := reader.Next()
		if err == io.EOF {
			c.signature = reader.Signature()
			_, again := reader.Next()
			if again != io.EOF {
				return nil, fault("Next returned %v after io.EOF", again)
			}
			return c, nil
		}
		if err != nil {
			return nil, err
		}
		if e.Path != "." && !fs.ValidPath(e.Path) {
			return nil, fault("the path %q is not relative and clean", e.Path)
		}
		if _, twice := kinds[e.Path]; twice {
			return nil, fault("%s comes twice", e.Path)
		}
		for i, b := range e.Path {
			if kind, ok := kinds[e.Path[:i]]; b == '/' && ok && kind != pkginfo.Directory {
				return nil, fault("%s is in %s, which is not a directory", e.Path, e.Path[:i])
			}
		}
		if reader.NamesOwners() && (e.UID != 0 || e.GID != 0) {
			return nil, fault("%s has the owner %d:%d in a package that has names for owners", e.Path, e.UID, e.GID)
		}
		kinds[e.Path] = e.Type
		c.entries = append(c.entries, e)
		switch e.Type {
		case pkginfo.Regular:
			h := sha256.New()
			n, err := io.Copy(h, reader)
			if err != nil {
				return nil, err
			}
			sum := "sha256:" + hex.EncodeToString(h.Sum(nil))
			if n != e.Size || strings.HasPrefix(e.Digest, "sha256:") && e.Digest != sum {
				return nil, fault("%s has %d bytes and the digest %s, and should have %d and %s", e.Path, n, sum, e.Size, e.Digest)
			}
			c.sums[e.Path] = sum
		case pkginfo.HardLink:
			if kinds[e.Link] != pkginfo.Regular || c.sums[e.Link] == "" {
				return nil, fault("%s is a hard link to %q, which is not a file that came before", e.Path, e.Link)
			}
			c.sums[e.Path] = c.sums[e.Link]
		default:
			if n, err := reader.Read(make([]byte, 1)); n > 0 || err != io.EOF {
				return nil, fault("%s is not a file and has %d bytes, %v", e.Path, n, err)
			}
		}
	}
}

// errFault is wrapped by errors that report a fault of the backend, and not of one
// of the package that it reads.
var errFault = errors.New("the backend is wrong")

func fault(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errFault, fmt.Sprintf(format, args...))
}

// describe returns the entries as text. All names of one file are the same: formats
// differ on which of them is the file.
func (c *contents) describe() string {
	names := map[string]bool{} // files with more than one
	for _, e := range c.entries {
		if e.Type == pkginfo.HardLink {
			names[e.Path], names[e.Link] = true, true
		}
	}
	var b strings.Builder
	for _, e := range c.entries {
		kind := e.Type
		if kind == pkginfo.HardLink {
			kind = pkginfo.Regular
		}
		link := e.Link
		if e.Type != pkginfo.Symlink {
			link = ""
		}
		mode := e.Mode
		if e.Type == pkginfo.Symlink {
			mode = 0 // of no meaning
		}
		fmt.Fprintf(&b, "%q %d %04o %q %s %v\n", e.Path, kind, mode, link, c.sums[e.Path], names[e.Path])
	}
	return b.String()
}

// testScripts has the one script that runs when the sample is installed for the first
// time, and a package without scripts.
func (s *suite) testScripts(t *testing.T) {
	sample := s.sample()
	sample.AfterInstall = "echo installed"
	for _, p := range []Package{sample, s.sample()} {
		got, err := s.read(bytes.NewReader(s.Build(t, p)), nil)
		if err != nil {
			t.Fatal(err)
		}
		var run []string
		for _, script := range got.pkg.Scripts {
			if script.Arguments != nil && strings.Contains(script.Body, sample.AfterInstall) {
				run = append(run, script.Name)
			}
		}
		if want := p.AfterInstall != ""; want != (len(run) == 1) {
			t.Errorf("of a package with the script %q there are run at the first installation: %q", p.AfterInstall, run)
		}
	}
}

// testRead reads the sample and compares all of it.
func (s *suite) testRead(t *testing.T) {
	sample := s.sample()
	file := s.Build(t, sample)
	got, err := s.read(bytes.NewReader(file), nil)
	if err != nil {
		t.Fatal(err)
	}
	if p := got.pkg; p.Name != sample.Name || s.Format.Order().Compare(p.Version, sample.Version) != 0 || p.Architecture == "" {
		t.Errorf("it is %s %s for %q", p.Name, p.Version, p.Architecture)
	}
	want := map[string]File{}
	for _, f := range sample.Files {
		want[f.Path] = f
	}
	places := map[string]int{}
	for i, e := range got.entries {
		places[e.Path] = i
		w, ok := want[e.Path]
		if e.Path == "." {
			continue
		}
		if !ok {
			t.Errorf("it has %s, which nobody put there", e.Path)
			continue
		}
		delete(want, e.Path)
		isFile := w.Type == pkginfo.Regular || w.Type == pkginfo.HardLink
		content := w.Content
		if w.Type == pkginfo.HardLink {
			content = "two names"
		}
		switch {
		case isFile && e.Type != pkginfo.Regular && e.Type != pkginfo.HardLink, !isFile && e.Type != w.Type:
			t.Errorf("%s is of type %d, and should be of %d", e.Path, e.Type, w.Type)
		case e.Type != pkginfo.Symlink && e.Mode != w.Mode:
			t.Errorf("%s has mode %04o, and should have %04o", e.Path, e.Mode, w.Mode)
		case e.Type == pkginfo.Symlink && e.Link != w.Link:
			t.Errorf("%s leads to %q, and should to %q", e.Path, e.Link, w.Link)
		case !got.namesOwners && e.UID != w.UID, got.namesOwners && (e.Owner == "root") != (w.UID == 0):
			t.Errorf("%s belongs to %d (%q), and should to %d", e.Path, e.UID, e.Owner, w.UID)
		case isFile && got.sums[e.Path] != fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(content))):
			t.Errorf("%s has other contents", e.Path)
		}
	}
	for path := range want {
		t.Errorf("%s is missing", path)
	}
	if got.entries[places["usr/share/one"]].Type == got.entries[places["usr/share/two"]].Type {
		t.Error("of the names of one file none is a hard link to the other")
	}
	// Neither depends on how its bytes come.
	for name, r := range map[string]io.Reader{
		"bytes":  iotest.OneByteReader(bytes.NewReader(file)),
		"halves": iotest.HalfReader(bytes.NewReader(file)),
		"eof":    iotest.DataErrReader(bytes.NewReader(file)),
	} {
		again, err := s.read(r, nil)
		if err != nil || again.describe() != got.describe() {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func (s *suite) testUnsigned(t *testing.T) {
	for _, keys := range []*trust.Keyring{nil, {}} {
		c, err := s.read(bytes.NewReader(s.Build(t, s.sample())), keys)
		if err != nil {
			t.Fatal(err)
		}
		if c.signature != (pkginfo.Signature{Verdict: pkginfo.Unsigned}) {
			t.Errorf("a package without a signature has %+v", c.signature)
		}
	}
}

// testSources has sources that fail: their error is kept, wherever it comes.
func (s *suite) testSources(t *testing.T) {
	broken := errors.New("the disk is on fire")
	file := s.Build(t, s.sample())
	for _, n := range []int{0, 1, 100, len(file) / 2, len(file) - 1} {
		_, err := s.read(io.MultiReader(bytes.NewReader(file[:n]), iotest.ErrReader(broken)), nil)
		if !errors.Is(err, broken) || errors.Is(err, errFault) {
			t.Errorf("after %d bytes: %v", n, err)
		}
	}
}

// testClose closes readers early, from any place.
func (s *suite) testClose(t *testing.T) {
	file := s.Build(t, s.sample())
	for n := range 8 {
		r, err := s.Format.Open(bytes.NewReader(file), nil)
		if err != nil {
			t.Fatal(err)
		}
		for range n {
			if _, err := r.Next(); err != nil {
				t.Fatal(err)
			}
		}
		if v := r.Signature().Verdict; v == pkginfo.Good {
			t.Error("a package that was not read is good")
		}
		if err := r.Close(); err != nil {
			t.Errorf("after %d entries: %v", n, err)
		}
		if _, err := r.Next(); err == nil || err == io.EOF {
			t.Errorf("a closed reader goes on: %v", err)
		}
	}
}

// guarded reads what may be anything, within time and memory.
func (s *suite) guarded(t *testing.T, what string, file []byte) (c *contents, err error) {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() {
			if p := recover(); p != nil {
				err = fault("panic: %v", p)
			}
		}()
		c, err = s.read(bytes.NewReader(file), nil)
	}()
	select {
	case <-done:
	case <-time.After(patience):
		t.Fatalf("%s: reading it has not ended after %v", what, patience)
	}
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > allocation {
		t.Errorf("%s: reading %d bytes took %d of memory", what, len(file), n)
	}
	if errors.Is(err, errFault) {
		t.Errorf("%s: %v", what, err)
	}
	return c, err
}

func (s *suite) testTruncated(t *testing.T) {
	p := s.sample()
	p.Files[7].Content = "small"
	file := s.Build(t, p)
	step := max(1, len(file)/300)
	for n := 0; n < len(file); n += step {
		if _, err := s.guarded(t, fmt.Sprintf("%d of %d bytes", n, len(file)), file[:n]); err == nil {
			t.Errorf("%d of %d bytes are a package", n, len(file))
		}
	}
	if _, err := s.guarded(t, "all but a byte", file[:len(file)-1]); err == nil {
		t.Error("a package without its last byte is one")
	}
}

// testDamaged changes single bytes. What a format has no checksum for it may take.
func (s *suite) testDamaged(t *testing.T) {
	p := s.sample()
	p.Files[7].Content = "small"
	file := s.Build(t, p)
	step := max(1, len(file)/400)
	for i := 0; i < len(file); i += step {
		for _, bits := range []byte{0x01, 0x80, 0xff} {
			damaged := bytes.Clone(file)
			damaged[i] ^= bits
			_, _ = s.guarded(t, fmt.Sprintf("byte %d is %#x", i, damaged[i]), damaged)
		}
	}
}

// testHostile has what begins as a package and is none, and names that lead out.
func (s *suite) testHostile(t *testing.T) {
	whole := s.Build(t, s.sample())
	for _, n := range []int{0, 8, 30, 96, 200, 512, 1024} {
		for what, rest := range map[string]string{
			"zeros": strings.Repeat("\x00", 64<<10), "ones": strings.Repeat("\xff", 64<<10),
			"noise": noise(64 << 10), "nines": strings.Repeat("9", 64<<10), "text": strings.Repeat("a: b\n", 16<<10),
		} {
			file := append(bytes.Clone(whole[:min(n, len(whole))]), rest...)
			if _, err := s.guarded(t, what, file); err == nil {
				t.Errorf("%d bytes of a package, and %s, are one", n, what)
			}
		}
	}
	for _, path := range []string{"../escape", "usr/../../escape", "usr/bin/sample/below", "usr/share/one"} {
		p := s.sample()
		p.Files = append(p.Files, File{Path: path, Type: pkginfo.Regular, Mode: 0o644, Content: "x"})
		if _, err := s.guarded(t, path, s.Build(t, p)); err == nil {
			t.Errorf("a package with %s is taken", path)
		}
	}
	p := s.sample()
	p.Files = append(p.Files, File{Path: "usr/bin/link/below", Type: pkginfo.Regular, Mode: 0o644, Content: "x"})
	if _, err := s.guarded(t, "through a link", s.Build(t, p)); err == nil {
		t.Error("a package with a file behind its own symlink is taken")
	}
}
