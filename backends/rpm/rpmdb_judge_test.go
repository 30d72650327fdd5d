package rpm

import (
	"context"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hashpkg/hashpkg/internal/testneed"
)

// The judge's two lists: of packages, and of files.
const (
	judgePackages = `%{DBINSTANCE}\t%{NAME}\t%{EPOCH}\t%{VERSION}-%{RELEASE}\t%{ARCH}\t%{INSTALLTIME}\t%{SHA256HEADER}\t%{SUMMARY}\t%{SOURCERPM}\n`
	judgeFiles    = `[%{=DBINSTANCE}\t%{FILENAMES}\t%{FILEMODES}\t%{LONGFILESIZES}\t%{FILEDIGESTS}\t%{FILELINKTOS}\t%{FILEUSERNAME}\t%{FILEGROUPNAME}\t%{FILEMTIMES}\t%{FILESTATES}\t%{FILEFLAGS}\t%{FILECAPS}\n]`
	none          = "(none)"
)

// judge returns the lines that rpm prints.
func judge(t *testing.T, args ...string) []string {
	t.Helper()
	cmd := exec.Command("rpm", append(args, "--nosignature", "--nodigest")...)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8")
	output, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v", cmd, err)
	}
	return strings.Split(strings.TrimSuffix(string(output), "\n"), "\n")
}

// compareDatabase compares what ReadDatabase finds in root with what rpm does. The
// arguments say where that is for rpm.
func compareDatabase(t *testing.T, all []*Installed, where ...string) {
	t.Helper()
	want := judge(t, append(where, "-qa", "--qf", judgePackages)...)
	var got []string
	digests := map[int]string{}
	for i, line := range want {
		fields := strings.Split(line, "\t")
		if len(fields) < 9 { // the rest of a summary of two lines
			want[i] = ""
			continue
		}
		n, _ := strconv.Atoi(fields[0])
		digests[n] = fields[6]
		want[i] = strings.Join([]string{fields[0], fields[1], fields[2], fields[3], fields[4], fields[5], fields[7]}, "\t")
	}
	want = slices.DeleteFunc(want, func(s string) bool { return s == "" })
	var gotFiles []string
	for _, p := range all {
		epoch, version, ok := strings.Cut(p.Version, ":")
		if !ok {
			epoch, version = none, p.Version
		}
		arch := p.Architecture
		if p.IsKey() {
			arch = none
		}
		got = append(got, fmt.Sprintf("%d\t%s\t%s\t%s\t%s\t%d\t%s", p.Instance, p.Name, epoch, version, arch, p.InstallTime.Unix(), p.Summary))
		if d := digests[int(p.Instance)]; d != none && d != "" && "sha256:"+d != p.HeaderDigest {
			t.Errorf("%s has the header digest %s, and for rpm %s", p.Name, p.HeaderDigest, d)
		}
		for _, f := range p.Files {
			gotFiles = append(gotFiles, fmt.Sprintf("%d\t%s", p.Instance, fileLine(f)))
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("packages, rpm's and ours:\n%s", diff)
	}
	var wantFiles []string
	for _, line := range judge(t, append(where, "-qa", "--qf", judgeFiles)...) {
		if line != "" {
			wantFiles = append(wantFiles, judgedLine(t, line))
		}
	}
	slices.Sort(wantFiles)
	slices.Sort(gotFiles)
	if !slices.Equal(wantFiles, gotFiles) {
		diff := cmp.Diff(wantFiles, gotFiles)
		t.Errorf("files, rpm's and ours:\n%.4000s", diff)
	}
	t.Logf("%d packages with %d files", len(all), len(gotFiles))
}

// fileLine returns all that is said of a file.
func fileLine(f InstalledFile) string {
	_, digest, _ := strings.Cut(f.Digest, ":")
	return fmt.Sprintf("/%s %s %04o %d %s %q %s:%s %d %s %v caps %v", strings.TrimPrefix(f.Path, "."),
		[...]string{"file", "dir", "link", "hard", "char", "block", "fifo"}[f.Type], f.Mode, f.Size, digest, f.Link, f.Owner, f.Group,
		f.ModTime.Unix(), f.State, f.Flags, len(f.Xattrs) > 0)
}

// judgedLine returns a line of judgeFiles as fileLine would have it.
func judgedLine(t *testing.T, line string) string {
	t.Helper()
	f := strings.Split(line, "\t")
	if len(f) != 12 {
		t.Fatalf("rpm printed %q", line)
	}
	number := func(s string) int64 {
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			t.Fatalf("rpm printed %q: %v", line, err)
		}
		return n
	}
	mode, size, mtime, flags := number(f[2]), number(f[3]), number(f[8]), number(f[10])
	kind, ok := map[int64]string{0o100000: "file", 0o040000: "dir", 0o120000: "link", 0o020000: "char", 0o060000: "block", 0o010000: "fifo"}[mode&0o170000]
	if !ok {
		t.Fatalf("rpm printed %q", line)
	}
	digest, link := f[4], f[5]
	if kind != "file" {
		size, digest = 0, ""
	}
	if kind != "link" {
		link = ""
	}
	if strings.Trim(digest, "0") == "" {
		digest = ""
	}
	state := "missing"
	if f[9] != none {
		state = FileState(number(f[9])).String()
	}
	var names []string
	for _, flag := range fileFlags {
		if uint32(flags)&flag.bit != 0 {
			names = append(names, flag.name)
		}
	}
	name := "/" + strings.TrimPrefix(strings.TrimSuffix(f[1], "/"), "/")
	return fmt.Sprintf("%s\t%s %s %04o %d %s %q %s:%s %d %s %v caps %v", f[0], name, kind, mode&0o7777, size, digest, link, f[6], f[7],
		mtime, state, names, f[11] != none && f[11] != "")
}

// testedDatabases returns the directory of databases that a library of others has
// for its tests, and the lists of packages there, by the names of its variables.
func testedDatabases(t *testing.T) (dir string, lists map[string][]string) {
	t.Helper()
	testneed.Network(t)
	cmd := exec.Command("go", "mod", "download", "-json", "github.com/knqyf263/go-rpmdb@v0.1.1")
	cmd.Dir = t.TempDir()
	cmd.Env = append(os.Environ(), "GOFLAGS=")
	output, err := cmd.Output()
	if err != nil {
		testneed.Unmet(t, "no databases to compare with: ", err)
	}
	var module struct{ Dir string }
	if err := json.Unmarshal(output, &module); err != nil {
		t.Fatal(err)
	}
	dir = filepath.Join(module.Dir, "pkg")
	file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(dir, "rpmdb_testcase_test.go"), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	lists = map[string][]string{}
	ast.Inspect(file, func(n ast.Node) bool {
		list, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		ast.Inspect(list, func(n ast.Node) bool {
			if l, ok := n.(*ast.CompositeLit); ok {
				if line := listedPackage(l); line != "" {
					lists[list.Names[0].Name] = append(lists[list.Names[0].Name], line)
				}
			}
			return true
		})
		return false
	})
	return filepath.Join(dir, "testdata"), lists
}

// listedPackage returns a package of a list, {intRef(epoch), name, version, release,
// architecture, ...}, or "" for what is none.
func listedPackage(l *ast.CompositeLit) string {
	if len(l.Elts) < 5 {
		return ""
	}
	call, ok := l.Elts[0].(*ast.CallExpr)
	if !ok {
		return ""
	}
	epoch := "0"
	if len(call.Args) == 1 {
		epoch = call.Args[0].(*ast.BasicLit).Value
	}
	var words []any
	for _, e := range l.Elts[1:5] {
		word, err := strconv.Unquote(e.(*ast.BasicLit).Value)
		if err != nil {
			return ""
		}
		words = append(words, word)
	}
	return fmt.Sprintf("%s "+epoch+":%s-%s %s", words...)
}

// rootWith returns a root whose database is a copy of dir.
func rootWith(t testing.TB, dir string) string {
	t.Helper()
	root := t.TempDir()
	if err := os.CopyFS(filepath.Join(root, "var/lib/rpm"), os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return root
}

// TestDatabases compares databases of several distributions, of each kind and of
// both byte orders, with what rpm finds there, and that of the kind which rpm may
// not read with a list.
func TestDatabases(t *testing.T) {
	dir, lists := testedDatabases(t)
	databases, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range databases {
		if !d.IsDir() {
			continue
		}
		t.Run(d.Name(), func(t *testing.T) {
			root := rootWith(t, filepath.Join(dir, d.Name()))
			all, err := ReadDatabase(context.Background(), openRoot(t, root))
			if err != nil {
				t.Fatal(err)
			}
			isListed := compareLists(t, all, lists)
			if _, err := os.Stat(filepath.Join(root, "var/lib/rpm/Packages.db")); err == nil {
				if !isListed {
					t.Error("no list has these packages")
				}
				return
			}
			testneed.Programs(t, "rpm")
			compareDatabase(t, all, "--dbpath", filepath.Join(root, "var/lib/rpm"))
		})
	}
}

// compareLists looks for the list that has the packages.
func compareLists(t *testing.T, all []*Installed, lists map[string][]string) bool {
	var got []string
	for _, p := range all {
		version := p.Version
		if !strings.Contains(version, ":") {
			version = "0:" + version
		}
		arch := p.Architecture
		if p.IsKey() {
			arch = ""
		}
		got = append(got, fmt.Sprintf("%s %s %s", p.Name, version, arch))
	}
	slices.Sort(got)
	for name, list := range lists {
		want := slices.Clone(list)
		slices.Sort(want)
		if slices.Equal(want, got) {
			t.Logf("equal to the %d packages of %s", len(want), name)
			return true
		}
	}
	return false
}
