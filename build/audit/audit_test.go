package audit_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/owenrumney/go-sarif/v3/pkg/report/v210/sarif"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/hashpkg/hashpkg/build/audit"
)

func findings() []audit.Finding {
	return []audit.Finding{
		{ID: "missing-library", Level: audit.LevelError, Subject: "foo.deb", File: "/usr/bin/foo", What: "there is no libfoo.so.1", Do: "require it"},
		{ID: "no-pie", Level: audit.LevelWarning, Subject: "foo.deb", File: "/usr/bin/a b%", What: "it is loaded at the same address", Do: "link with -pie"},
		{ID: "no-ibt", Level: audit.LevelNote, Subject: "foo.deb", File: "/opt/v/lib/x.so", What: "it has no mark", Do: "compile it"},
	}
}

func TestFilter(t *testing.T) {
	tests := []struct {
		name   string
		filter audit.Filter
		known  string
		want   string // names and levels
		count  int
		unused string // the numbers of lines
	}{
		{"all", audit.Filter{}, "", "missing-library error, no-pie warning, no-ibt note", 0, ""},
		{"strict", audit.Filter{Strict: true}, "", "missing-library error, no-pie error, no-ibt note", 0, ""},
		{"ignore", audit.Filter{Ignore: []string{"no-pie", "no-ibt"}}, "", "missing-library error", 0, ""},
		{"only", audit.Filter{Only: []string{"no-pie"}}, "", "no-pie warning", 0, ""},
		{"ignore wins", audit.Filter{Only: []string{"no-pie"}, Ignore: []string{"no-pie"}}, "", "", 0, ""},
		{"known", audit.Filter{}, "# these\n\nno-pie\t/usr/bin/*\n", "missing-library error, no-ibt note", 1, ""},
		{"a star ends at a slash", audit.Filter{}, "no-ibt /opt/*.so\n", "missing-library error, no-pie warning, no-ibt note", 0, "1"},
		{"two stars do not", audit.Filter{}, "no-ibt /opt/**.so\n", "missing-library error, no-pie warning", 1, ""},
		{"any check", audit.Filter{}, "* /usr/bin/???\n", "no-pie warning, no-ibt note", 1, ""},
		{"a pattern is no regular expression", audit.Filter{}, "* /usr/bin/f.o\n* /usr/bin/[f]oo\n", "missing-library error, no-pie warning, no-ibt note", 0, "1 2"},
		{"a pattern with a space", audit.Filter{}, "no-pie /usr/bin/a b%", "missing-library error, no-ibt note", 1, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var err error
			if test.filter.Known, err = audit.ParseKnown(test.known); err != nil {
				t.Fatal(err)
			}
			kept, known, unused := test.filter.Apply(findings())
			var got, lines []string
			for _, f := range kept {
				got = append(got, f.ID+" "+string(f.Level))
			}
			for _, k := range unused {
				lines = append(lines, strconv.Itoa(k.Line))
			}
			if text := strings.Join(got, ", "); text != test.want || known != test.count || strings.Join(lines, " ") != test.unused {
				t.Errorf("kept %q, %d known, unused %v", text, known, lines)
			}
		})
	}
	for _, bad := range []string{"no-pie", "no-such /usr", "no-pie \t\n", "no-pie /usr/bin/\xe9*"} {
		if _, err := audit.ParseKnown("# one\n" + bad); err == nil || !strings.Contains(err.Error(), "line 2") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// TestSARIF compares the log with the schema of OASIS.
func TestSARIF(t *testing.T) {
	for _, list := range [][]audit.Finding{findings(), nil} {
		b, err := audit.SARIF(list, "1.2")
		if err != nil {
			t.Fatal(err)
		}
		schema := sarifSchema(t)
		check := func(b []byte) error {
			document, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
			if err != nil {
				t.Fatal(err)
			}
			return schema.Validate(document)
		}
		if err := check(b); err != nil {
			t.Errorf("%v\n%s", err, b)
		}
		if err := check(bytes.Replace(b, []byte(`"level": "error"`), []byte(`"level": "grave"`), 1)); err == nil {
			t.Error("the schema refuses nothing")
		}
		log, err := sarif.FromBytes(b)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, r := range log.Runs[0].Results {
			got = append(got, fmt.Sprint(*r.RuleID, " ", r.Level, " ", *r.Locations[0].PhysicalLocation.ArtifactLocation.URI))
			if rule := log.Runs[0].Tool.Driver.Rules[r.RuleIndex]; *rule.ID != *r.RuleID {
				t.Errorf("the rule of %s is %s", *r.RuleID, *rule.ID)
			}
		}
		want := []string{"missing-library error usr/bin/foo", "no-pie warning usr/bin/a%20b%25", "no-ibt note opt/v/lib/x.so"}
		if len(list) == 0 {
			want = nil
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	}
}

// sarifSchema returns the schema, which a library for the format has in its source.
func sarifSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/owenrumney/go-sarif/v3").Output()
	if err != nil {
		t.Fatalf("find the schema: %v", err)
	}
	source, err := parser.ParseFile(token.NewFileSet(), filepath.Join(strings.TrimSpace(string(out)), "pkg/report/v210/sarif/schema.go"), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var text string
	ast.Inspect(source, func(n ast.Node) bool {
		if l, ok := n.(*ast.BasicLit); ok && len(l.Value) > len(text) {
			text = l.Value
		}
		return true
	})
	if text, err = strconv.Unquote(text); err != nil {
		t.Fatal(err)
	}
	document, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft4)
	const name = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
	if err := c.AddResource(name, document); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile(name)
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

// TestDocument compares the table of docs/audit.md with the checks.
func TestDocument(t *testing.T) {
	b, err := os.ReadFile("../../docs/audit.md")
	if err != nil {
		t.Fatal(err)
	}
	var want strings.Builder
	for _, c := range audit.Checks() {
		fmt.Fprintf(&want, "| `%s` | %s | %s | %s |\n", c.ID, c.Level, c.Title, strings.ToUpper(c.Do[:1])+c.Do[1:])
	}
	if !bytes.Contains(b, []byte(want.String())) {
		t.Errorf("docs/audit.md has another table than this:\n%s", want.String())
	}
}

// TestChecks looks at what programs rely on.
func TestChecks(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range audit.Checks() {
		if seen[c.ID] || c.Title == "" || c.Do == "" || strings.HasSuffix(c.Title, ".") || strings.HasSuffix(c.Do, ".") {
			t.Errorf("the check %+v", c)
		}
		seen[c.ID] = true
	}
	b, err := json.Marshal(findings()[0])
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"id":"missing-library","level":"error","subject":"foo.deb","file":"/usr/bin/foo","what":"there is no libfoo.so.1","do":"require it"}`
	if string(b) != want {
		t.Errorf("%s", b)
	}
}
