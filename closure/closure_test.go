package closure_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"strings"
	"testing"

	"github.com/hashpkg/hashpkg/closure"
	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/layout/record"
)

// file returns a regular file with some text.
func file(path, text string) closure.File {
	return closure.File{
		Path: path, Type: record.TypeFile, Mode: 0o644, Kind: closure.Data,
		BLAKE3: digest.Of([]byte(text)), SHA256: sha256.Sum256([]byte(text)), Size: int64(len(text)),
	}
}

// seeing returns an entry of a third party.
func seeing(name string) closure.See {
	return closure.See{Name: name, URL: "https://example.org/x", Signer: "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"}
}

func sample() *closure.Manifest {
	return &closure.Manifest{
		Format: closure.Format, Names: []string{"tool"}, Prefix: "/var/sys", Mirrors: []string{"https://example.org/objects/{blake3}"},
		Architectures: map[string][]closure.Package{"amd64": {{
			Name: "tool", Version: "1:2-3", Architecture: "all", Kind: "deb", Asked: true, Default: true, Tree: "1:2-3",
			Identity: digest.Of([]byte("identity")),
			From:     closure.Distributed{File: "tool.deb", Size: 10, BLAKE3: digest.Of([]byte("deb"))},
			Files: []closure.File{
				{Path: "usr", Type: record.TypeDirectory, Mode: 0o755},
				file("usr/a", "a"),
				{Path: "usr/l", Type: record.TypeSymlink, Mode: 0o777, Target: "a"},
			},
		}}},
	}
}

// TestCanonical: a manifest has one form, and what is read is what was written.
func TestCanonical(t *testing.T) {
	m := sample()
	m.Names = []string{"tool", "other"}
	files := m.Architectures["amd64"][0].Files
	files[0], files[2] = files[2], files[0]
	b, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	read, err := closure.Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	again, err := read.Encode()
	if err != nil || !bytes.Equal(b, again) {
		t.Errorf("%v: it became\n%s\nand was\n%s", err, again, b)
	}
	want, err := sample().Encode()
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Replace(string(b), `"other",`, "", 1); got != string(want) {
		t.Errorf("another order gives\n%s\nwant\n%s", got, want)
	}
}

// TestRefused has manifests that no reader takes.
func TestRefused(t *testing.T) {
	first := func(m *closure.Manifest) *closure.Package { return &m.Architectures["amd64"][0] }
	for name, c := range map[string]struct {
		change func(*closure.Manifest)
		want   string
	}{
		"another form":   {func(m *closure.Manifest) { m.Format = 2 }, "form 2"},
		"prefix":         {func(m *closure.Manifest) { m.Prefix = "/var/../sys" }, "prefix"},
		"name twice":     {func(m *closure.Manifest) { m.Names = []string{"a", "a"} }, "twice"},
		"template":       {func(m *closure.Manifest) { m.Mirrors[0] = "https://example.org/" }, "neither"},
		"scheme":         {func(m *closure.Manifest) { m.Mirrors[0] = "ftp://example.org/{blake3}" }, "http, https or file"},
		"password":       {func(m *closure.Manifest) { m.Mirrors[0] = "https://me:secret@example.org/{blake3}" }, "password"},
		"out of a tree":  {func(m *closure.Manifest) { first(m).Files[1].Path = "../a" }, "below its tree"},
		"absolute":       {func(m *closure.Manifest) { first(m).Files[1].Path = "/etc/passwd" }, "below its tree"},
		"path twice":     {func(m *closure.Manifest) { first(m).Files[2] = first(m).Files[1] }, "twice"},
		"below a link":   {func(m *closure.Manifest) { first(m).Files[1].Path = "usr/l/a" }, "no directory"},
		"tree twice":     {func(m *closure.Manifest) { m.Architectures["amd64"] = append(m.Architectures["amd64"], *first(m)) }, "twice"},
		"tree's name":    {func(m *closure.Manifest) { first(m).Tree = "../x" }, "name of a tree"},
		"package's name": {func(m *closure.Manifest) { first(m).Name = "../x" }, "name"},
		"no digest":      {func(m *closure.Manifest) { first(m).Files[1].BLAKE3 = digest.Digest{} }, "digests"},
		"link's digest":  {func(m *closure.Manifest) { first(m).Files[2].SHA256 = closure.SHA256{1} }, "digests"},
		"size":           {func(m *closure.Manifest) { first(m).Files[1].Size = -1 }, "negative"},
		"device":         {func(m *closure.Manifest) { first(m).Files[0].Type = "device" }, "type"},
		"no identity":    {func(m *closure.Manifest) { first(m).Identity = digest.Digest{} }, "identity"},
		"seen twice":     {func(m *closure.Manifest) { m.See = []closure.See{seeing("libx.so.1"), seeing("libx.so.1")} }, "left to two"},
		"seen C library": {func(m *closure.Manifest) { m.See = []closure.See{seeing("libc.so.6")} }, "C library"},
		"seen musl":      {func(m *closure.Manifest) { m.See = []closure.See{seeing("libc.musl-x86_64.so.1")} }, "C library"},
		"seen nothing":   {func(m *closure.Manifest) { m.See = []closure.See{seeing("")} }, "empty"},
		"seen path":      {func(m *closure.Manifest) { m.See = []closure.See{seeing("../x.so")} }, "no soname"},
		"seen by nobody": {func(m *closure.Manifest) { s := seeing("libx.so.1"); s.Signer = "x"; m.See = []closure.See{s} }, "no key"},
		"seen nowhere": {func(m *closure.Manifest) {
			s := seeing("libx.so.1")
			s.URL = "ftp://example.org/x"
			m.See = []closure.See{s}
		}, "http, https or file"},
		"seen secretly": {func(m *closure.Manifest) {
			s := seeing("libx.so.1")
			s.URL = "https://me:x@example.org/x"
			m.See = []closure.See{s}
		}, "password"},
		"picked already": {func(m *closure.Manifest) {
			s := seeing("libx.so.1")
			m.See = []closure.See{s}
			first(m).By = s.Picker()
		}, "picked it already"},
		"picked by nobody": {func(m *closure.Manifest) { first(m).By.URL = "https://example.org/x" }, "no key"},
		"unmerged":         {func(m *closure.Manifest) { first(m).Files[1].Path = "bin/a" }, "merged"},
	} {
		t.Run(name, func(t *testing.T) {
			m := sample()
			c.change(m)
			b, err := m.Encode()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := closure.Decode(b); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one about %q", err, c.want)
			}
		})
	}
	good, err := sample().Encode()
	if err != nil {
		t.Fatal(err)
	}
	for name, edit := range map[string][2]string{
		"a space":            {`"names":[`, `"names": [`},
		"a member twice":     {`"prefix":"/var/sys"`, `"prefix":"/var/sys","prefix":"/var/sys"`},
		"unknown member":     {`"prefix":"/var/sys"`, `"prefix":"/var/sys","x":1`},
		"capital digits":     {`"blake3":"`, `"blake3":"A`},
		"member in capitals": {`"names"`, `"Names"`},
	} {
		b := bytes.Replace(good, []byte(edit[0]), []byte(edit[1]), 1)
		if bytes.Equal(b, good) {
			t.Fatalf("%s: nothing was changed", name)
		}
		if _, err := closure.Decode(b); err == nil {
			t.Errorf("%s: it was read", name)
		}
	}
	if _, err := closure.Decode(append(good, ' ')); err == nil {
		t.Error("a space at the end: it was read")
	}
}

// TestLeaveOutData leaves what programs load.
func TestLeaveOutData(t *testing.T) {
	m := sample()
	p := &m.Architectures["amd64"][0]
	program := file("usr/bin/tool", "elf")
	program.Kind = closure.Program
	p.Files = append(p.Files, closure.File{Path: "usr/bin", Type: record.TypeDirectory, Mode: 0o755}, program)
	p.LeaveOutData()
	var paths []string
	for _, f := range p.Files {
		paths = append(paths, f.Path)
	}
	if got := strings.Join(paths, " "); got != "usr usr/bin usr/bin/tool" {
		t.Errorf("it has %s", got)
	}
	b, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := closure.Decode(b); err != nil {
		t.Error(errors.Unwrap(err))
	}
}

// TestSeeIsCanonical: entries are sorted, and what needs what is left to others has no identity.
func TestSeeIsCanonical(t *testing.T) {
	m := sample()
	m.See = []closure.See{seeing("libx.so.1"), seeing("liba.so.1")}
	m.Architectures["amd64"][0].Identity = digest.Digest{}
	b, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	read, err := closure.Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	if read.See[0].Name != "liba.so.1" || read.See[1].Name != "libx.so.1" {
		t.Errorf("it has %v", read.See)
	}
}
