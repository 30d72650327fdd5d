package rpm_test

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/hashpkg/hashpkg/backends/rpm"
	"github.com/hashpkg/hashpkg/internal/testneed"
	"github.com/hashpkg/hashpkg/internal/testrpm"
	"github.com/hashpkg/hashpkg/internal/unpack"
	"github.com/hashpkg/hashpkg/pkginfo"
)

// moduleDir returns the directory of a Go module that has packages in its tests.
func moduleDir(t testing.TB, module string) string {
	t.Helper()
	testneed.Network(t)
	cmd := exec.Command("go", "mod", "download", "-json", module)
	cmd.Dir = t.TempDir() // it is none of ours
	output, err := cmd.Output()
	if err != nil {
		testneed.Unmet(t, "go mod download ", module, ": ", err)
	}
	var answer struct{ Dir string }
	if err := json.Unmarshal(output, &answer); err != nil {
		t.Fatal(err)
	}
	return answer.Dir
}

const (
	modulePayloads = "github.com/sassoftware/go-rpmutils@v0.4.0"
	moduleCentOS   = "github.com/cavaliergopher/rpm@v1.2.0"
)

// TestRealPackages compares what is read of real packages with what rpm and
// rpm2archive say of them.
func TestRealPackages(t *testing.T) {
	testneed.Programs(t, "rpm", "rpm2archive")
	for _, file := range testrpm.CentOS("../..") {
		t.Run("centos7/"+filepath.Base(file), func(t *testing.T) { comparePackage(t, file) })
	}
	for _, set := range []struct {
		name string
		dir  func(t testing.TB) string
		want int // so many at least
	}{
		{"rpms", func(testing.TB) string { return realPackages }, 12},
		{"payloads", func(t testing.TB) string { return filepath.Join(moduleDir(t, modulePayloads), "testdata") }, 10},
		{"releases", func(t testing.TB) string { return filepath.Join(moduleDir(t, moduleCentOS), "testdata") }, 10},
	} {
		t.Run(set.name, func(t *testing.T) {
			files, err := filepath.Glob(filepath.Join(set.dir(t), "*.rpm"))
			if err != nil {
				t.Fatal(err)
			}
			if len(files) < set.want {
				t.Fatalf("%d packages, want %d or more", len(files), set.want)
			}
			for _, file := range files {
				t.Run(filepath.Base(file), func(t *testing.T) { comparePackage(t, file) })
			}
		})
	}
}

// listed is what both sides say of a file.
type listed struct {
	Type, Owner, Group, Link, Flags string
	Mode                            uint32
	Size, Time                      int64
	Major, Minor                    uint32
	Digest, Content                 string // what the header has, and the SHA-256 of what was read
	Caps                            bool
}

// comparePackage compares a package with rpm -qp, and its contents with
// rpm2archive.
func comparePackage(t *testing.T, file string) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := rpm.NewReader(f, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()

	got := map[string]listed{}
	for {
		e, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		l := listedOf(e)
		if e.Type == pkginfo.Regular {
			h := sha256.New()
			if n, err := io.Copy(h, r); err != nil || n != e.Size {
				t.Fatalf("%s: %d bytes, want %d: %v", e.Path, n, e.Size, err)
			}
			l.Content = hex.EncodeToString(h.Sum(nil))
		}
		if e.Type == pkginfo.HardLink {
			other, ok := got[e.Link]
			if !ok || other.Type != "f" {
				t.Errorf("%s is a hard link to %s, which did not come before", e.Path, e.Link)
			}
			l.Type, l.Link, l.Size, l.Content = "f", "", other.Size, other.Content
		}
		if _, exists := got[e.Path]; exists {
			t.Errorf("%s is there twice", e.Path)
		}
		got[e.Path] = l
	}

	compareContents(t, file, got)
	for path, l := range got {
		l.Content = ""
		got[path] = l
	}
	for _, e := range r.Ghosts() {
		got[e.Path] = listedOf(e)
	}
	if diff := cmp.Diff(queryFiles(t, file), got); diff != "" {
		t.Errorf("files, -rpm +read:\n%.3000s", diff)
	}
	comparePackageFields(t, file, r.Package())
}

func listedOf(e *pkginfo.Entry) listed {
	_, digest, _ := strings.Cut(e.Digest, ":")
	return listed{
		Type: typeLetters[e.Type], Owner: e.Owner, Group: e.Group, Link: e.Link, Mode: e.Mode,
		Size: e.Size, Time: e.ModTime.Unix(), Major: e.Major, Minor: e.Minor, Digest: digest,
		Flags: strings.Join(e.Flags, " "), Caps: e.Xattrs["security.capability"] != "",
	}
}

// query returns what rpm -qp prints for a format.
func query(t *testing.T, file, format string) string {
	t.Helper()
	cmd := exec.Command("rpm", "-qp", "--nosignature", "--nodigest", "--qf", format, file)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "LANGUAGE=")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	output, err := cmd.Output()
	if err != nil {
		t.Fatalf("rpm -qp: %v: %s", err, stderr.String())
	}
	return string(output)
}

// rows returns what rpm prints for an array, without what stands for no value.
func rows(t *testing.T, file, format string) []string {
	t.Helper()
	var all []string
	for row := range strings.SplitSeq(query(t, file, "["+format+"\x01]"), "\x01") {
		if row != "" && row != "(none)" {
			all = append(all, row)
		}
	}
	return all
}

// flagWords are the letters of rpm's ":fflags".
var flagWords = map[rune]string{
	'c': "config", 'd': "doc", 'g': "ghost", 'l': "license", 'm': "missingok",
	'n': "noreplace", 'r': "readme", 'a': "artifact",
}

// queryFiles returns the files that rpm lists.
func queryFiles(t *testing.T, file string) map[string]listed {
	t.Helper()
	want := map[string]listed{}
	const separator = "\x02"
	format := strings.Join([]string{
		"%{FILENAMES}", "%{FILEMODES}", "%{FILEUSERNAME}", "%{FILEGROUPNAME}", "%{LONGFILESIZES}", "%{FILEMTIMES}",
		"%{FILERDEVS}", "%{FILEDIGESTS}", "%{FILELINKTOS}", "%{FILEFLAGS:fflags}", "%{FILECAPS}",
	}, separator)
	for _, row := range rows(t, file, format) {
		c := strings.Split(row, separator)
		if len(c) != 11 {
			t.Fatalf("%q has %d columns", row, len(c))
		}
		number := func(i int) int64 {
			n, err := strconv.ParseInt(c[i], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
		mode := uint32(number(1)) & 0xffff
		l := listed{
			Type:  map[uint32]string{0o100000: "f", 0o040000: "d", 0o120000: "l", 0o020000: "c", 0o060000: "b", 0o010000: "p"}[mode&0o170000],
			Mode:  mode & 0o7777,
			Owner: c[2], Group: c[3], Time: number(5), Link: c[8],
		}
		switch l.Type {
		case "f":
			l.Size = number(4)
			if l.Size > 0 || strings.Trim(c[7], "0") != "" {
				l.Digest = c[7]
			}
		case "c", "b":
			rdev := uint32(number(6))
			l.Major, l.Minor = rdev>>8&0xff, rdev&0xff
		}
		var words []string
		for _, letter := range "cdmnglra" {
			if strings.ContainsRune(c[9], letter) {
				words = append(words, flagWords[letter])
			}
		}
		l.Flags = strings.Join(words, " ")
		if slices.Contains(words, "ghost") {
			l.Digest = ""
		}
		l.Caps = strings.ContainsAny(c[10], "eip") && c[10] != "(none)"
		path, err := unpack.CleanName(c[0])
		if err != nil {
			t.Fatal(err)
		}
		want[unpack.MergedPath(path)] = l
	}
	return want
}

// compareContents compares with what rpm2archive unpacks.
func compareContents(t *testing.T, file string, got map[string]listed) {
	t.Helper()
	source, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close()
	cmd := exec.Command("rpm2archive", "-n", "-")
	cmd.Stdin = source
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	want := map[string]listed{}
	archive := tar.NewReader(stdout)
	for {
		h, err := archive.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatalf("rpm2archive: %v: %s", err, stderr.String())
		}
		path, err := unpack.CleanName(h.Name)
		if err != nil {
			t.Fatal(err)
		}
		l := listed{Mode: uint32(h.Mode) & 0o7777, Time: h.ModTime.Unix(), Owner: h.Uname, Group: h.Gname}
		switch h.Typeflag {
		case tar.TypeReg:
			sum := sha256.New()
			if l.Size, err = io.Copy(sum, archive); err != nil {
				t.Fatal(err)
			}
			l.Type, l.Content = "f", hex.EncodeToString(sum.Sum(nil))
		case tar.TypeLink:
			l.Type = "f"
			target, err := unpack.CleanName(h.Linkname)
			if err != nil {
				t.Fatal(err)
			}
			other := want[unpack.MergedPath(target)]
			l.Size, l.Content = other.Size, other.Content
		case tar.TypeDir:
			l.Type = "d"
		case tar.TypeSymlink:
			l.Type, l.Link = "l", h.Linkname
		case tar.TypeChar:
			l.Type, l.Major, l.Minor = "c", uint32(h.Devmajor), uint32(h.Devminor)
		case tar.TypeBlock:
			l.Type, l.Major, l.Minor = "b", uint32(h.Devmajor), uint32(h.Devminor)
		case tar.TypeFifo:
			l.Type = "p"
		}
		want[unpack.MergedPath(path)] = l
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("rpm2archive: %v: %s", err, stderr.String())
	}
	same := map[string]listed{}
	for path, l := range got {
		l.Digest, l.Flags, l.Caps = "", "", false
		same[path] = l
	}
	if diff := cmp.Diff(want, same); diff != "" {
		t.Errorf("contents, -rpm2archive +read:\n%.3000s", diff)
	}
}

// comparePackageFields compares the package model with rpm -qp.
func comparePackageFields(t *testing.T, file string, p *pkginfo.Package) {
	t.Helper()
	want := query(t, file, "%{NAME} %{EVR} %{ARCH} %{SUMMARY}")
	if got := fmt.Sprintf("%s %s %s %s", p.Name, p.Version, p.Architecture, p.Summary); got != want {
		t.Errorf("package: rpm %q, read %q", want, got)
	}
	self := p.Name + " = " + p.Version
	for _, relations := range []struct {
		format string
		got    []string
	}{
		{"%{REQUIRENEVRS}", relationTexts(p.Requires)},
		{"%{CONFLICTNEVRS}", relationTexts(p.Conflicts)},
		{"%{OBSOLETENEVRS}", relationTexts(p.Replaces)},
		{"%{PROVIDENEVRS}", capabilityTexts(p.Provides)},
	} {
		want := slices.DeleteFunc(rows(t, file, relations.format), func(s string) bool {
			return s == self || strings.HasPrefix(s, "rpmlib(")
		})
		slices.Sort(want)
		slices.Sort(relations.got)
		if diff := cmp.Diff(slices.Compact(want), slices.Compact(relations.got), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s, -rpm +read:\n%.2000s", relations.format, diff)
		}
	}

	var scripts []string
	for _, s := range []struct{ name, tag string }{
		{"pretrans", "PRETRANS"},
		{"pre", "PREIN"},
		{"post", "POSTIN"},
		{"preun", "PREUN"},
		{"postun", "POSTUN"},
		{"posttrans", "POSTTRANS"},
		{"preuntrans", "PREUNTRANS"},
		{"postuntrans", "POSTUNTRANS"},
		{"verify", "VERIFYSCRIPT"},
	} {
		if strings.HasSuffix(s.tag, "UNTRANS") {
			continue // newer than many an rpm
		}
		prog := strings.Join(rows(t, file, "%{"+s.tag+"PROG}"), " ")
		body := query(t, file, "%{"+s.tag+"}")
		if body == "(none)" {
			body = ""
		}
		if prog+body != "" {
			scripts = append(scripts, s.name+" "+prog+" "+body)
		}
	}
	for _, s := range []struct{ prefix, tag string }{{"", "TRIGGER"}, {"file", "FILETRIGGER"}, {"transfile", "TRANSFILETRIGGER"}} {
		progs := rows(t, file, "%{"+s.tag+"SCRIPTPROG}")
		for i, body := range rows(t, file, "%{"+s.tag+"SCRIPTS}") {
			scripts = append(scripts, s.prefix+"trigger "+progs[i]+" "+body)
		}
	}
	var got []string
	for _, s := range p.Scripts {
		name := s.Name
		if i := strings.Index(name, "trigger"); i >= 0 {
			name = name[:i] + "trigger" // rpm 4.18 has no array for the kinds of a script
		}
		got = append(got, name+" "+s.Interpreter+" "+s.Body)
	}
	if diff := cmp.Diff(scripts, got); diff != "" {
		t.Errorf("scripts, -rpm +read:\n%.2000s", diff)
	}
}

func relationTexts(all []pkginfo.Relation) []string {
	var texts []string
	for _, r := range all {
		texts = append(texts, r.Text)
	}
	return texts
}

func capabilityTexts(all []pkginfo.Capability) []string {
	var texts []string
	for _, c := range all {
		text := c.Name
		if c.Version != "" {
			text += " = " + c.Version
		}
		texts = append(texts, text)
	}
	return texts
}
