package rpm

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashpkg/hashpkg/backends"
	"github.com/hashpkg/hashpkg/internal/testdeb"
	"github.com/hashpkg/hashpkg/internal/testneed"
	"github.com/hashpkg/hashpkg/internal/testrpm"
)

// rewritable is a package with hard links, of which the last has the content, and more.
func rewritable() testrpm.Package {
	return testrpm.Package{
		Epoch: "2", Requires: []string{"libc.so.6()(64bit)"},
		Provides: []string{"greeting = 2", "hello(x86-64) = 2:1.0-1"},
		Scripts:  map[string]string{"post": "exit 0"},
		Files: []testrpm.File{
			{Path: "/etc/hello.conf", Content: "x = 1\n", Flags: 1},
			testrpm.Dir("/usr/bin"),
			{Path: "/usr/bin/hello", Content: "old program", Mode: 0o755, Inode: 5},
			{Path: "/usr/bin/hello2", Content: "old program", Mode: 0o755, Inode: 5},
			testrpm.Symlink("/usr/bin/link", "hello"),
			testrpm.Ghost("/var/log/hello"),
			{Path: "/usr/share/hello", Content: "data"},
		},
	}
}

// rewrite changes /usr/bin/hello2, whose name has the content, into 3001 bytes.
func rewrite(t *testing.T, rpm []byte, change func(c *backends.Changes)) (*backends.Rewritten, string, error) {
	t.Helper()
	c := &backends.Changes{
		Note: "It was changed.", Author: "A B <a@example.org>",
		Files: map[string]backends.Content{"usr/bin/hello2": {
			Size: 3001, OldSize: 11, Links: []string{"usr/bin/hello"},
			Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(strings.Repeat("n", 3001))), nil },
		}},
	}
	if change != nil {
		change(c)
	}
	name := filepath.Join(t.TempDir(), "out.rpm")
	w, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	result, err := Format{}.Rewrite(w, bytes.NewReader(rpm), c)
	return result, name, err
}

// contentsOf is what our reader, which compares every digest, gives of a package.
func contentsOf(t *testing.T, rpm []byte) string {
	t.Helper()
	r, err := NewReader(bytes.NewReader(rpm), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var b strings.Builder
	for {
		e, err := r.Next()
		if err == io.EOF {
			return b.String()
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		b.WriteString(strings.Join([]string{e.Path, e.Link, string(content), e.ModTime.UTC().String(), e.Owner, strings.Join(e.Flags, " ")}, "|") + "\n")
	}
}

// rpm and our reader read what comes of a package: all but what follows from the change is
// as it was, in each compression.
func TestRewrite(t *testing.T) {
	testneed.Programs(t, "rpm", "xz")
	for _, c := range []testdeb.Compression{testdeb.None, testdeb.Gzip, testdeb.Xz, testdeb.Zstd} {
		t.Run(string(c), func(t *testing.T) {
			p := rewritable()
			p.Compression = c
			in := testrpm.RPM(t, p)
			result, name, err := rewrite(t, in, nil)
			if err != nil {
				t.Fatal(err)
			}
			if result.Version != "2:1.0-1.Hashpkg1" || result.FileName != "hello-1.0-1.Hashpkg1.x86_64.rpm" || !result.Unnoted {
				t.Errorf("the result is %+v", result)
			}
			out, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			want := strings.ReplaceAll(contentsOf(t, in), "|old program|", "|"+strings.Repeat("n", 3001)+"|")
			if got := contentsOf(t, out); got != want {
				t.Errorf("it has\n%s\nand should have\n%s", got, want)
			}
			if said := ask(t, "-K", "--nosignature", name); !strings.Contains(said, "digests OK") {
				t.Errorf("rpm says %s", said)
			}
			provides := ask(t, "-qp", "--nosignature", "--provides", name)
			if provides != "hello = 2:1.0-1\nhello = 2:1.0-1.Hashpkg1\ngreeting = 2\nhello(x86-64) = 2:1.0-1\nhello(x86-64) = 2:1.0-1.Hashpkg1\n" {
				t.Errorf("it provides\n%s", provides)
			}
			sizes := ask(t, "-qp", "--nosignature", "--qf", "[%{FILENAMES} %{FILESIZES}\n]", name)
			for _, line := range []string{"/usr/bin/hello 3001\n", "/usr/bin/hello2 3001\n", "/usr/share/hello 4\n"} {
				if !strings.Contains(sizes, line) {
					t.Errorf("%q is not among the sizes:\n%s", line, sizes)
				}
			}
		})
	}
}

func ask(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command("rpm", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("rpm %v: %v\n%s", args, err, out)
	}
	return string(out)
}

func TestRewriteOptions(t *testing.T) {
	testneed.Programs(t, "rpm")
	in := testrpm.RPM(t, rewritable())
	_, name, err := rewrite(t, in, func(c *backends.Changes) { c.Compression, c.Suffix = "zstd", ".local1" })
	if err != nil {
		t.Fatal(err)
	}
	said := ask(t, "-qp", "--nosignature", "--qf", "%{RELEASE} %{PAYLOADCOMPRESSOR} %{PAYLOADFLAGS}\n[%{REQUIRES}\n]", name)
	if said != "1.local1 zstd 19\nlibc.so.6()(64bit)\nrpmlib(PayloadIsZstd)\n" {
		t.Errorf("rpm says %s", said)
	}
	for text, change := range map[string]func(c *backends.Changes){
		"not in the package":   func(c *backends.Changes) { c.Files["usr/bin/none"] = c.Files["usr/bin/hello2"] },
		"has '-' in it":        func(c *backends.Changes) { c.Suffix = "-1" },
		"ends in \"1\"":        func(c *backends.Changes) { c.Suffix = "1" },
		"not packed by \"none": func(c *backends.Changes) { c.Compression = "none" },
	} {
		if _, _, err := rewrite(t, in, change); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("the error is %v, and should say %q", err, text)
		}
	}
	in[len(in)-20] ^= 1
	if _, _, err := rewrite(t, in, nil); !errors.As(err, new(*FormatError)) {
		t.Errorf("of a package that is damaged the error is %v", err)
	}
}

// A signature is not in the result, and that is said.
func TestRewriteSigned(t *testing.T) {
	p := rewritable()
	p.EditSignature = func(h *testrpm.Header) { h.Bytes(testrpm.Tag(sigRSAHeader), []byte("a signature")) }
	result, name, err := rewrite(t, testrpm.RPM(t, p), nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(result.Lost) != 1 {
		t.Errorf("it has lost %q", result.Lost)
	}
	b, err := os.ReadFile(name)
	if err != nil || bytes.Contains(b, []byte("a signature")) {
		t.Errorf("the signature is there, or %v", err)
	}
}

func TestRewritable(t *testing.T) {
	for format, ok := range map[int]bool{3: false, 4: true, 6: false} {
		p := rewritable()
		p.Format = format
		r, err := NewReader(bytes.NewReader(testrpm.RPM(t, p)), nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := (Format{}).Rewritable(r); (err == nil) != ok {
			t.Errorf("format %d: %v", format, err)
		}
	}
}

// The new release is older than all that distributions make of the old one next.
func TestReleaseSuffix(t *testing.T) {
	compare := Format{}.Order().Compare
	for _, old := range []string{"1.0-5.el9", "1.0-1", "2:1.0-3.fc40", "1.0-150400.3.3.1"} {
		if compare(old, old+releaseSuffix) >= 0 {
			t.Errorf("%s is not newer than %s", old+releaseSuffix, old)
		}
		for _, next := range []string{".1", "_4.1", ".alma.1", ".rocky.0.1", "1"} {
			if compare(old+releaseSuffix, old+next) >= 0 {
				t.Errorf("%s is not older than %s", old+releaseSuffix, old+next)
			}
		}
	}
}
