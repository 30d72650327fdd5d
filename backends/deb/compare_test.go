package deb_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/hashpkg/hashpkg/backends/deb"
	"github.com/hashpkg/hashpkg/internal/testneed"
	"github.com/hashpkg/hashpkg/pkginfo"
)

// minPackages is how many real packages the comparison must have.
const minPackages = 200

// TestRealPackages compares what is read of real packages with what dpkg-deb and
// tar say of them. The packages are downloaded with apt-get, once, to
// $HASHPKG_TEST_CACHE.
func TestRealPackages(t *testing.T) {
	testneed.Network(t)
	testneed.Programs(t, "dpkg-deb", "apt-get")
	packages := downloadPackages(t)
	for _, file := range packages {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			comparePackage(t, file)
		})
	}
}

// downloadPackages returns the files of the packages in testdata/packages.txt.
func downloadPackages(t *testing.T) []string {
	t.Helper()
	cache := os.Getenv("HASHPKG_TEST_CACHE")
	if cache == "" {
		dir, err := os.UserCacheDir()
		if err != nil {
			testneed.Unmet(t, "no place for downloaded packages, set HASHPKG_TEST_CACHE: ", err)
		}
		cache = filepath.Join(dir, "hashpkg-test", "debs")
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("testdata/packages.txt")
	if err != nil {
		t.Fatal(err)
	}

	var files, missing []string
	for line := range strings.Lines(string(text)) {
		name := strings.TrimSpace(line)
		if name == "" || strings.HasPrefix(name, "#") {
			continue
		}
		if file := cached(t, cache, name); file != "" {
			files = append(files, file)
		} else {
			missing = append(missing, name)
		}
	}
	var downloadErr error
	if len(missing) > 0 {
		var names []string
		names, downloadErr = download(cache, missing)
		for _, name := range names {
			if file := cached(t, cache, name); file != "" {
				files = append(files, file)
			}
		}
	}
	if len(files) == 0 {
		testneed.Unmet(t, "no packages in ", cache, " and none could be downloaded: ", downloadErr)
	}
	if len(files) < minPackages {
		t.Fatalf("%d packages in %s, want %d or more: %v", len(files), cache, minPackages, downloadErr)
	}
	return files
}

// cached returns the newest file of the package in the cache, or "".
func cached(t *testing.T, cache, name string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(cache, name+"_*.deb"))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		return ""
	}
	return slices.Max(files)
}

// download gets those of the packages that the archive has into cache, and
// returns their names.
func download(cache string, names []string) ([]string, error) {
	if _, err := exec.LookPath("apt-get"); err != nil {
		return nil, err
	}
	known := exec.Command("apt-cache", append([]string{"policy"}, names...)...)
	known.Env = append(os.Environ(), "LC_ALL=C")
	list, err := known.Output()
	if err != nil {
		return nil, fmt.Errorf("apt-cache policy: %w", err)
	}
	var available []string
	for _, m := range regexp.MustCompile(`(?m)^(\S+):\n.*\n +Candidate: [^(\n]`).FindAllSubmatch(list, -1) {
		available = append(available, string(m[1]))
	}
	if len(available) == 0 {
		return nil, errors.New("apt knows none of the packages: run apt-get update")
	}

	partial, err := os.MkdirTemp(cache, "download-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(partial)
	get := exec.Command("apt-get", append([]string{"download", "-qq"}, available...)...)
	get.Dir = partial
	output, err := get.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("apt-get download: %w\n%s", err, output)
	}
	files, globErr := filepath.Glob(filepath.Join(partial, "*.deb"))
	for _, file := range files {
		if renameErr := os.Rename(file, filepath.Join(cache, filepath.Base(file))); renameErr != nil {
			return nil, renameErr
		}
	}
	return available, errors.Join(err, globErr)
}

// listed is one entry, in words that can be compared.
type listed struct {
	Path, Mode, IDs, Names, Size, Time, Link, SHA256 string
}

func comparePackage(t *testing.T, file string) {
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := deb.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()

	unpacked := filepath.Join(t.TempDir(), "unpacked")
	want := judgedEntries(t, file, unpacked)
	if diff := cmp.Diff(want, readEntries(t, r)); diff != "" {
		t.Errorf("entries, -dpkg-deb +read:\n%.4000s", diff)
	}
	if diff := cmp.Diff(judgedFields(t, file), r.Package().Fields); diff != "" {
		t.Errorf("fields, -dpkg-deb +read:\n%.4000s", diff)
	}
	compareControlFiles(t, file, r.Package())
}

// readEntries reads all of r.
func readEntries(t *testing.T, r pkginfo.Reader) []listed {
	var all []listed
	for {
		e, err := r.Next()
		if err == io.EOF {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		l := listed{
			Path: e.Path, Mode: modeString(e), Link: e.Link,
			IDs: fmt.Sprintf("%d/%d", e.UID, e.GID), Names: e.Owner + "/" + e.Group,
			Size: fmt.Sprint(e.Size), Time: e.ModTime.UTC().Format("2006-01-02 15:04:05"),
		}
		if e.Type == pkginfo.CharDevice || e.Type == pkginfo.BlockDevice {
			l.Size = fmt.Sprintf("%d,%d", e.Major, e.Minor)
		}
		if e.Type == pkginfo.Regular {
			h := sha256.New()
			n, err := io.Copy(h, r)
			if err != nil {
				t.Fatal(err)
			}
			if n != e.Size {
				t.Errorf("%s: read %d bytes, its size is %d", e.Path, n, e.Size)
			}
			l.SHA256 = hex.EncodeToString(h.Sum(nil))
		}
		all = append(all, l)
	}
}

// modeString is what ls shows, with tar's "h" for a hard link.
func modeString(e *pkginfo.Entry) string {
	b := []byte("?rwxrwxrwx")
	b[0] = map[pkginfo.Type]byte{
		pkginfo.Regular: '-', pkginfo.Directory: 'd', pkginfo.Symlink: 'l', pkginfo.HardLink: 'h',
		pkginfo.CharDevice: 'c', pkginfo.BlockDevice: 'b', pkginfo.FIFO: 'p',
	}[e.Type]
	for i := range 9 {
		if e.Mode&(1<<(8-i)) == 0 {
			b[1+i] = '-'
		}
	}
	for _, s := range []struct {
		bit uint32
		at  int
		set byte
	}{{0o4000, 3, 's'}, {0o2000, 6, 's'}, {0o1000, 9, 't'}} {
		if e.Mode&s.bit != 0 {
			if b[s.at] == '-' {
				b[s.at] = s.set - 'a' + 'A'
			} else {
				b[s.at] = s.set
			}
		}
	}
	return string(b)
}

var tarLine = regexp.MustCompile(`^(\S{10}) (\S+/\S+) +(\S+) (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) (.*)$`)

// judgedEntries lists the package as tar lists what dpkg-deb --fsys-tarfile
// gives, with the digests of what dpkg-deb -x unpacks.
func judgedEntries(t *testing.T, file, unpacked string) []listed {
	tarFile := unpacked + ".tar"
	out, err := os.Create(tarFile)
	if err != nil {
		t.Fatal(err)
	}
	defer os.Remove(tarFile)
	fsys := exec.Command("dpkg-deb", "--fsys-tarfile", file)
	fsys.Stdout = out
	if err := errors.Join(fsys.Run(), out.Close()); err != nil {
		t.Fatal("dpkg-deb --fsys-tarfile: ", err)
	}
	if err := os.Mkdir(unpacked, 0o755); err != nil {
		t.Fatal(err)
	}
	if output, err := exec.Command("dpkg-deb", "-x", file, unpacked).CombinedOutput(); err != nil {
		t.Fatalf("dpkg-deb -x: %v\n%s", err, output)
	}

	byName := tarList(t, tarFile)
	byID := tarList(t, tarFile, "--numeric-owner")
	var all []listed
	seen := map[string]bool{}
	for i, m := range byName {
		l := listed{Mode: m[1], Names: m[2], IDs: byID[i][2], Size: m[3], Time: m[4]}
		name := m[5]
		switch l.Mode[0] {
		case 'l':
			name, l.Link, _ = strings.Cut(name, " -> ")
		case 'h':
			name, l.Link, _ = strings.Cut(name, " link to ")
			l.Link = judgedPath(l.Link, true)
			l.Size = "0"
		}
		isLink := l.Mode[0] == 'l'
		l.Path = judgedPath(name, !isLink)
		if l.Mode[0] == 'd' && seen[l.Path] {
			continue
		}
		seen[l.Path] = true
		if l.Mode[0] == '-' {
			l.SHA256 = fileDigest(t, filepath.Join(unpacked, name))
		}
		all = append(all, l)
	}
	return all
}

func tarList(t *testing.T, file string, options ...string) [][]string {
	cmd := exec.Command("tar", append([]string{"-tvf", file, "--full-time", "--quoting-style=literal"}, options...)...)
	cmd.Env = append(os.Environ(), "TZ=UTC", "LC_ALL=C")
	output, err := cmd.Output()
	if err != nil {
		t.Fatal("tar -tv: ", err)
	}
	var all [][]string
	for line := range strings.Lines(string(output)) {
		m := tarLine.FindStringSubmatch(strings.TrimSuffix(line, "\n"))
		if m == nil {
			t.Fatalf("a line of tar -tv is not understood: %q", line)
		}
		all = append(all, m)
	}
	return all
}

var inMergedDir = regexp.MustCompile(`^(bin|sbin|lib|lib32|lib64|libx32)(/|$)`)

// judgedPath is where a file is on a system with a merged /usr.
func judgedPath(name string, isMergedItself bool) string {
	p := strings.TrimPrefix(filepath.Clean("/"+name), "/")
	if p == "" {
		return "."
	}
	if inMergedDir.MatchString(p) && (isMergedItself || strings.Contains(p, "/")) {
		return "usr/" + p
	}
	return p
}

func fileDigest(t *testing.T, file string) string {
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// judgedFields parses what dpkg-deb -f prints.
func judgedFields(t *testing.T, file string) []pkginfo.Field {
	output, err := exec.Command("dpkg-deb", "-f", file).Output()
	if err != nil {
		t.Fatal("dpkg-deb -f: ", err)
	}
	var fields []pkginfo.Field
	for line := range strings.Lines(string(output)) {
		line = strings.TrimRight(line, "\n")
		if line[0] == ' ' {
			last := &fields[len(fields)-1]
			text := strings.TrimRight(line[1:], " \t")
			if text == "." {
				text = ""
			}
			if last.Value != "" {
				text = "\n" + text
			}
			last.Value += text
			continue
		}
		name, value, _ := strings.Cut(line, ":")
		fields = append(fields, pkginfo.Field{Name: name, Value: strings.TrimSpace(value)})
	}
	return fields
}

// compareControlFiles compares scripts and lists with what dpkg-deb -e unpacks.
func compareControlFiles(t *testing.T, file string, p *pkginfo.Package) {
	dir := filepath.Join(t.TempDir(), "control")
	if output, err := exec.Command("dpkg-deb", "-e", file, dir).CombinedOutput(); err != nil {
		t.Fatalf("dpkg-deb -e: %v\n%s", err, output)
	}
	var scripts []pkginfo.Script
	for _, name := range []string{"preinst", "postinst", "prerm", "postrm", "config"} {
		if body, err := os.ReadFile(filepath.Join(dir, name)); err == nil {
			scripts = append(scripts, pkginfo.Script{Name: name, Body: string(body)})
		}
	}
	if diff := cmp.Diff(scripts, p.Scripts, cmpopts.IgnoreFields(pkginfo.Script{}, "Arguments")); diff != "" {
		t.Errorf("scripts, -dpkg-deb +read:\n%.2000s", diff)
	}
	conffiles, err := os.ReadFile(filepath.Join(dir, "conffiles"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	conffiles = regexp.MustCompile(`(?m)^remove-on-upgrade .*\n`).ReplaceAll(conffiles, nil)
	var got bytes.Buffer
	for _, c := range p.Conffiles {
		got.WriteString("/" + c + "\n")
	}
	if !bytes.Equal(conffiles, got.Bytes()) {
		t.Errorf("conffiles: want %q, got %q", conffiles, got.Bytes())
	}
}
