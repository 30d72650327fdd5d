package main

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hashpkg/hashpkg/internal/testneed"
)

// repository is the directory that has go.mod, from this one.
const repository = "../../.."

// manual returns the files of docs/man, those of all sections.
func manual(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(repository, "docs/man/*.[1-8]"))
	if err != nil || len(files) < 50 {
		t.Fatalf("the manual has %d pages; %v", len(files), err)
	}
	return files
}

// TestManualIsCurrent makes the pages of commands anew.
func TestManualIsCurrent(t *testing.T) {
	want, err := manPages(commands(), filepath.Join(repository, "docs/man/src"))
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, file := range manual(t) {
		if filepath.Ext(file) == "."+section {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got[filepath.Base(file)] = string(text)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("docs/man is not what the help says; run make docs (-want +got):\n%s", diff)
	}
}

// TestManualLint has mandoc and groff judge the pages.
func TestManualLint(t *testing.T) {
	testneed.Programs(t, "mandoc", "man")
	for _, file := range manual(t) {
		// Which pages there are on this machine is no matter; TestManualReferences
		// knows those of hashpkg. Standard error tells of the index of the machine's pages, in the middle of lines.
		out, _ := exec.Command("mandoc", "-T", "lint", file).Output()
		for line := range strings.Lines(string(out)) {
			if !strings.Contains(line, "referenced manual not found: Xr") {
				t.Error(line)
			}
		}
		cmd := exec.Command("man", "--warnings", "-E", "UTF-8", "-l", file)
		cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "MANWIDTH=80", "MANPAGER=cat")
		var warnings bytes.Buffer
		cmd.Stderr = &warnings
		page, err := cmd.Output()
		if err != nil || warnings.Len() > 0 || !bytes.Contains(page, []byte("SEE ALSO")) {
			t.Errorf("man %s: %v: %s", file, err, warnings.String())
		}
	}
}

// TestManualReferences looks for each page of hashpkg that a page refers to.
func TestManualReferences(t *testing.T) {
	reference := regexp.MustCompile(`\bXr (hashpkg[\w.-]*) (\d)`)
	n := 0
	for _, file := range manual(t) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range reference.FindAllSubmatch(text, -1) {
			n++
			if to := string(m[1]) + "." + string(m[2]); !slices.Contains(manual(t), filepath.Join(repository, "docs/man", to)) {
				t.Errorf("%s refers to %s, which is not there", file, to)
			}
		}
	}
	if n < 200 {
		t.Errorf("there are %d references", n)
	}
}

// TestManualHasVariables looks for each environment variable that the source reads in
// hashpkg(8).
func TestManualHasVariables(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(repository, "docs/man/hashpkg.8"))
	if err != nil {
		t.Fatal(err)
	}
	_, said, _ := strings.Cut(string(page), ".Sh ENVIRONMENT")
	said, _, _ = strings.Cut(said, ".Sh FILES")
	variable := regexp.MustCompile(`^([A-Z][A-Z_0-9]{2,}|[a-z]+_proxy)$`)
	found := 0
	err = filepath.WalkDir(repository, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		// What only tests and measurements need, and the service that tests download from.
		name, _ := filepath.Rel(repository, file)
		if d.IsDir() && (strings.HasPrefix(name, "internal/test") || slices.Contains([]string{".git", "bin", ".cache", "e2e", "testdata", "internal/archive", "internal/bench"}, name)) {
			return filepath.SkipDir
		}
		if filepath.Ext(file) != ".go" || strings.HasSuffix(file, "_test.go") {
			return nil
		}
		for _, v := range variablesOf(t, file) {
			if variable.MatchString(v) {
				found++
				if !regexp.MustCompile(`(?m)^\.It Ev (.* , )?` + v + `( ,|$)`).MatchString(said) {
					t.Errorf("%s reads %s, which hashpkg(8) does not name", name, v)
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if found < 15 {
		t.Errorf("%d variables were found", found)
	}
}

// variablesOf returns the arguments of a file's calls of getenv and the like. Where one is no
// literal, these are all the literals of the file.
func variablesOf(t *testing.T, file string) []string {
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var of, all []string
	computed := false
	ast.Inspect(parsed, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.BasicLit:
			if s, err := strconv.Unquote(n.Value); err == nil && n.Kind == token.STRING {
				all = append(all, s)
			}
		case *ast.CallExpr:
			var name string
			switch f := n.Fun.(type) {
			case *ast.Ident:
				name = f.Name
			case *ast.SelectorExpr:
				name = f.Sel.Name
			}
			if name = strings.ToLower(name); name != "getenv" && name != "lookupenv" {
				break
			}
			if lit, is := n.Args[0].(*ast.BasicLit); is {
				s, _ := strconv.Unquote(lit.Value)
				of = append(of, s)
			} else {
				computed = true
			}
		}
		return true
	})
	if computed {
		return all
	}
	return of
}

func TestProse(t *testing.T) {
	for _, c := range []struct{ name, help, want string }{
		{"sentences", "One. Two,\nwhich goes on.\n\nThree", "One.\nTwo, which goes on.\n.Pp\nThree\n"},
		{"options", "with --all, (--dry-run) or -q.", "with\n.Fl \\-all ,\n.Fl ( \\-dry\\-run )\nor\n.Fl q .\n"},
		{"values", "say --to=NAME,... or --to=NAME.", "say\n.Fl \\-to Ns = Ns Ar NAME,...\nor\n.Fl \\-to Ns = Ns Ar NAME .\n"},
		{"requests", ".deb\n\n'tis", "\\&.deb\n.Pp\n\\&'tis\n"},
		{"escapes", `~ \n`, "\\(ti \\en\n"},
		{"elided", "NAME... and", "NAME...\\& and\n"},
		{"list", "A file is\n\n  here   in\n         it\n  gone   out", "A file is\n.Bl -tag -width Ds\n.It here\nin it\n.It gone\nout\n.El\n"},
		{"display", "So:\n\n  [a-b]\n  c = 'd'", "So:\n.Bd -literal -offset indent\n[a\\-b]\nc = \\(aqd\\(aq\n.Ed\n"},
	} {
		var p page
		p.prose(c.help)
		if diff := cmp.Diff(c.want, p.String()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}

func TestExamples(t *testing.T) {
	var p page
	p.examples("  # One\n  a -b\n  c\n  # Two?\n  d")
	want := ".Sh EXAMPLES\nOne:\n.Bd -literal -offset indent\na \\-b\nc\n.Ed\n.Pp\nTwo?\n.Bd -literal -offset indent\nd\n.Ed\n"
	if diff := cmp.Diff(want, p.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestFrameHasEveryCommand leaves one out of hashpkg(8), and names one that is not there.
func TestFrameHasEveryCommand(t *testing.T) {
	frame, err := os.ReadFile(filepath.Join(repository, "docs/man/src/hashpkg.8"))
	if err != nil {
		t.Fatal(err)
	}
	for old, now := range map[string]string{" undo": "", " gc\n": " gc no-such\n", " list": " list list"} {
		if _, err := fillFrame(commands(), strings.Replace(string(frame), old, now, 1)); err == nil {
			t.Errorf("with %q for %q there is no error", now, old)
		}
	}
	if _, err := fillFrame(commands(), string(frame)); err != nil {
		t.Error(err)
	}
}
