package deb

import (
	"bytes"
	"compress/gzip"
	"crypto/md5"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashpkg/hashpkg/backends"
	"github.com/hashpkg/hashpkg/internal/testdeb"
	"github.com/hashpkg/hashpkg/internal/testneed"
)

const (
	oldProgram = "an old program"
	longName   = "usr/share/hello/a-directory-whose-name-is-long/and-another-one-in-it-that-is-long-too/so-that-all-is-longer-than-tar-can-hold"
	oldLog     = "hello (1.0-1) unstable; urgency=low\n\n  * First.\n\n -- A Tester <tester@example.org>  Tue, 14 Nov 2023 22:13:20 +0100\n"
)

func sumLine(content, path string) string {
	return fmt.Sprintf("%x  %s\n", md5.Sum([]byte(content)), path)
}

// rewritable is a package with all that a rewritten one has otherwise: a file in /bin with
// a hard link, one with a long name, sums, a changelog.
func rewritable(t *testing.T) testdeb.Package {
	var log bytes.Buffer
	z := gzip.NewWriter(&log)
	if _, err := io.WriteString(z, oldLog); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	const changelog = "usr/share/doc/hello/changelog.Debian.gz"
	return testdeb.Package{
		Depends: "libc6", Conffiles: "/etc/hello.conf\n", Triggers: "activate-noawait ldconfig\n",
		Fields: []testdeb.Field{{Name: "Installed-Size", Value: "10"}, {Name: "Section", Value: "utils"}},
		Scripts: map[string]string{
			"postinst": "#!/bin/sh\nexit 0\n",
			"md5sums": sumLine(oldProgram, "bin/hello") + sumLine(oldProgram, "bin/hello2") + sumLine("kept", longName) +
				sumLine(log.String(), changelog),
		},
		Files: []testdeb.File{
			testdeb.Exec("bin/hello", oldProgram), testdeb.HardLink("bin/hello2", "./bin/hello"),
			{Path: "etc/hello.conf", Content: "x = 1\n", Mode: 0o600, UID: 7, Owner: "someone"},
			{Path: changelog, Content: log.String()},
			{Path: longName, Content: "kept", Unix: 1_600_000_000},
			testdeb.Symlink("usr/share/hello/link", strings.Repeat("t/", 80)),
		},
	}
}

// rewrite changes bin/hello of a package into a program of 3000 bytes.
func rewrite(t *testing.T, deb []byte, change func(c *backends.Changes)) (*backends.Rewritten, string, error) {
	t.Helper()
	program := strings.Repeat("new", 1000)
	c := &backends.Changes{
		Note: "It was changed.", Author: "A B <a@example.org>",
		Files: map[string]backends.Content{"usr/bin/hello": {
			Size: 3000, OldSize: int64(len(oldProgram)), Links: []string{"usr/bin/hello2"},
			Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(program)), nil },
		}},
		Notes: map[string][]byte{},
	}
	r, err := NewReader(bytes.NewReader(deb))
	if err != nil {
		t.Fatal(err)
	}
	for {
		e, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if (Format{}).HasNotes(r.Package(), e) {
			if c.Notes[e.Path], err = io.ReadAll(r); err != nil {
				t.Fatal(err)
			}
		}
	}
	if change != nil {
		change(c)
	}
	name := filepath.Join(t.TempDir(), "out.deb")
	w, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	result, err := Format{}.Rewrite(w, bytes.NewReader(deb), c)
	return result, name, err
}

func output(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// dpkg-deb reads what comes of a package; all but what follows from the change is as it
// was, in each compression.
func TestRewrite(t *testing.T) {
	testneed.Programs(t, "dpkg-deb", "xz")
	for _, c := range []testdeb.Compression{testdeb.None, testdeb.Gzip, testdeb.Xz, testdeb.Zstd} {
		t.Run(string(c), func(t *testing.T) {
			p := rewritable(t)
			p.Compression = c
			members, err := p.Members()
			if err != nil {
				t.Fatal(err)
			}
			deb := testdeb.Ar(append(members, testdeb.Member{Name: "_gpgorigin", Data: []byte("sig")})...)
			result, name, err := rewrite(t, deb, nil)
			if err != nil {
				t.Fatal(err)
			}
			if result.Version != "1.0-1Hashpkg1" || result.FileName != "hello_1.0-1Hashpkg1_amd64.deb" || result.Unnoted {
				t.Errorf("the result is %+v", result)
			}
			if len(result.Lost) != 1 || !strings.Contains(result.Lost[0], "signature") {
				t.Errorf("it has lost %q", result.Lost)
			}
			was := filepath.Join(t.TempDir(), "in.deb")
			if err := os.WriteFile(was, deb, 0o644); err != nil {
				t.Fatal(err)
			}

			list := strings.ReplaceAll(output(t, "dpkg-deb", "-c", name), "      3000 ", "        14 ")
			if before := output(t, "dpkg-deb", "-c", was); withoutLog(list) != withoutLog(before) {
				t.Errorf("it lists\n%s\nand before\n%s", list, before)
			}
			fields := output(t, "dpkg-deb", "-f", name)
			for _, want := range []string{
				"Source: hello (1.0-1)\n", "Version: 1.0-1Hashpkg1\n", "Provides: hello (= 1.0-1)\n", "Installed-Size: 12\n", "Depends: libc6\n",
			} {
				if !strings.Contains(fields, want) {
					t.Errorf("%q is not in the fields:\n%s", want, fields)
				}
			}
			dir := t.TempDir()
			output(t, "dpkg-deb", "-R", name, dir)
			check := exec.Command("md5sum", "-c", "--quiet", "DEBIAN/md5sums")
			check.Dir = dir
			if out, err := check.CombinedOutput(); err != nil {
				t.Errorf("md5sum: %v\n%s", err, out)
			}
			oldDir := t.TempDir()
			output(t, "dpkg-deb", "-R", was, oldDir)
			output(t, "diff", "-r", "-x", "control", "-x", "md5sums", "-x", "hello", "-x", "hello2", "-x", "changelog.Debian.gz", oldDir, dir)
			log := output(t, "zcat", filepath.Join(dir, "usr/share/doc/hello/changelog.Debian.gz"))
			want := "hello (1.0-1Hashpkg1) unstable; urgency=low\n\n  * It was changed.\n\n -- A B <a@example.org>  Tue, 14 Nov 2023 22:13:21 +0100\n\n" + oldLog
			if log != want {
				t.Errorf("the changelog is\n%s", log)
			}
		})
	}
}

// Fields are edited with the lines that continue them, empty ones too, and nothing is
// offered twice.
func TestRewriteFields(t *testing.T) {
	testneed.Programs(t, "dpkg-deb")
	for name, test := range map[string]struct {
		version string
		fields  []testdeb.Field
		want    []string // lines that dpkg-deb shows
	}{
		"folded version": {"\n 1.0-1", nil, []string{"Version: 1.0-1Hashpkg1", "Provides: hello (= 1.0-1)", "Source: hello (1.0-1)"}},
		"folded": {
			"1.0-1",
			[]testdeb.Field{{Name: "Provides", Value: "\n a,\n b"}, {Name: "Source", Value: "\n hi"}, {Name: "Installed-Size", Value: "\n 10"}},
			[]string{"Provides: hello (= 1.0-1), a, b", "Source: hi (1.0-1)", "Installed-Size: 12"},
		},
		"empty": {
			"1.0-1",
			[]testdeb.Field{{Name: "Provides"}, {Name: "Source"}, {Name: "Installed-Size"}},
			[]string{"Provides: hello (= 1.0-1)", "Source: hello (1.0-1)"},
		},
		"offers itself": {"1.0-1", []testdeb.Field{{Name: "Provides", Value: "a, hello (= 1.0-1)"}}, []string{"Provides: a, hello (= 1.0-1)"}},
		"description":   {"1.0-1", []testdeb.Field{{Name: "X-Text", Value: "a\n Version: 2\n Source: x"}}, []string{"X-Text: a", " Version: 2", " Source: x"}},
	} {
		p := rewritable(t)
		p.Version = test.version
		p.Fields = append(slices.DeleteFunc(p.Fields, func(f testdeb.Field) bool { return f.Name == "Installed-Size" }), test.fields...)
		_, deb, err := rewrite(t, testdeb.Deb(t, p), nil)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		fields := "\n" + output(t, "dpkg-deb", "-f", deb)
		for _, line := range test.want {
			if !strings.Contains(fields, "\n"+line+"\n") {
				t.Errorf("%s: %q is not in the fields:%s", name, line, fields)
			}
		}
	}
}

// A changelog that is no gzip, is cut, or is too large stays as it is.
func TestRewriteUnreadableLog(t *testing.T) {
	testneed.Programs(t, "dpkg-deb")
	packed, err := gzipped(append([]byte(oldLog), make([]byte, maxChangelog)...))
	if err != nil {
		t.Fatal(err)
	}
	for name, log := range map[string]string{"no gzip": oldLog, "cut": string(packed[:len(packed)/2]), "too large": string(packed)} {
		p := rewritable(t)
		i := slices.IndexFunc(p.Files, func(f testdeb.File) bool { return strings.HasSuffix(f.Path, "changelog.Debian.gz") })
		p.Files[i].Content = log
		result, deb, err := rewrite(t, testdeb.Deb(t, p), nil)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if !result.Unnoted {
			t.Errorf("%s: it says that the change is noted", name)
		}
		dir := t.TempDir()
		output(t, "dpkg-deb", "-x", deb, dir)
		if got, err := os.ReadFile(filepath.Join(dir, p.Files[i].Path)); err != nil || string(got) != log {
			t.Errorf("%s: the changelog is another, of %d bytes, %v", name, len(got), err)
		}
	}
}

// withoutLog leaves out the line of the changelog, which has another size.
func withoutLog(list string) string {
	var b strings.Builder
	for line := range strings.Lines(list) {
		if !strings.Contains(line, "changelog") {
			b.WriteString(line)
		}
	}
	return b.String()
}

// The new version is older than all that distributions make of the old one next.
func TestVersionSuffix(t *testing.T) {
	for _, old := range []string{"1.0-1", "1.0", "2:1.0-1ubuntu2", "1.0-1+b1", "1.0-1+deb12u1"} {
		if compare := (Format{}).Order().Compare; compare(old, old+versionSuffix) >= 0 {
			t.Errorf("%s is not newer than %s", old+versionSuffix, old)
		}
		for _, next := range []string{"+b1", "+deb12u1", "ubuntu0.1", "build1", ".1", "1"} {
			if compare := (Format{}).Order().Compare; compare(old+versionSuffix, old+next) >= 0 {
				t.Errorf("%s is not older than %s", old+versionSuffix, old+next)
			}
		}
	}
}

func TestRewriteOptions(t *testing.T) {
	deb := testdeb.Deb(t, rewritable(t))
	_, name, err := rewrite(t, deb, func(c *backends.Changes) {
		c.Suffix, c.Compression, c.Time = "+local1", "zstd", time.Unix(1_800_000_000, 0).UTC()
	})
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"control.tar.zst", "data.tar.zst"} {
		if !bytes.Contains(b, []byte(want)) {
			t.Errorf("it has no member %s", want)
		}
	}
	for text, change := range map[string]func(c *backends.Changes){
		"in the package":        func(c *backends.Changes) { c.Files["usr/bin/none"] = c.Files["usr/bin/hello"] },
		"ends in \"-1\"":        func(c *backends.Changes) { c.Suffix = "-1" },
		"has ':' in it":         func(c *backends.Changes) { c.Suffix = ":1" },
		"compression \"bzip2\"": func(c *backends.Changes) { c.Compression = "bzip2" },
	} {
		if _, _, err := rewrite(t, deb, change); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("the error is %v, and should say %q", err, text)
		}
	}
}

func TestRewritable(t *testing.T) {
	for value, ok := range map[testdeb.Field]bool{
		{Name: "Section", Value: "utils"}:                 true,
		{Name: "Package-Type", Value: "deb"}:              true,
		{Name: "Package-Type", Value: "udeb"}:             false,
		{Name: "Section", Value: "debian-installer"}:      false,
		{Name: "Section", Value: "main/debian-installer"}: false,
	} {
		r, err := NewReader(bytes.NewReader(testdeb.Deb(t, testdeb.Package{Fields: []testdeb.Field{value}})))
		if err != nil {
			t.Fatal(err)
		}
		if err := (Format{}).Rewritable(r); (err == nil) != ok {
			t.Errorf("%v: %v", value, err)
		}
	}
}

// Sizes from 8 GiB on are binary, as GNU tar has them.
func TestTarNumber(t *testing.T) {
	for _, n := range []int64{0, 7, 1<<33 - 1, 1 << 33, 1 << 40} {
		if got, err := parseNumber(tarNumber(n)); err != nil || got != n || len(tarNumber(n)) != 12 {
			t.Errorf("%d is read as %d, %v", n, got, err)
		}
	}
}
