package e2e

import (
	"bufio"
	"cmp"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestProgramTable: a run replaces what the table says of what it asked, and nothing else.
func TestProgramTable(t *testing.T) {
	file := filepath.Join(t.TempDir(), "programs.md")
	const before = `# Programs

- dpkg, as root: 2 of 4 do what they are asked.
- dpkg: seen long ago.
- rpm: seen.

| program | release | what it was asked | dpkg, as root | rpm, as root | rpm, as user | view | why not |
| --- | --- | --- | --- | --- | --- | --- | --- |
| gone | sid | old | yes | | | | |
| awk | sid | fields | **no** | **no** | | yes | it is known |
| ed | sid | a \| b | yes | **no** | yes | yes | it was known |
| vi | sid | c | yes, *adopted* | **no** | | | found out |
`
	if err := os.WriteFile(file, []byte(before), 0o644); err != nil {
		t.Fatal(err)
	}
	table, err := readProgramTable(file)
	if err != nil {
		t.Fatal(err)
	}
	table.put(programRun{system: "rpm", packages: 7, results: []programResult{
		{Program: "awk", Release: "sid", Asked: "fields", System: "rpm", User: "root", Works: true, Adopted: "hashpkg conf adopt awk"},
		{Program: "awk", Release: "sid", Asked: "fields", System: "rpm", User: "user", Works: true, View: true},
		{Program: "ed", Release: "sid", Asked: "a | b", System: "rpm", User: "root", Works: true},
		{Program: "vi", Release: "sid", Asked: "c", System: "rpm", User: "root", Said: "nothing that is known"},
		{Program: "new", Release: "sid", Asked: "d", System: "rpm", User: "root", Said: "first\nno <such> file"},
		{Program: "new", Release: "sid", Asked: "d", System: "rpm", User: "user", Said: "another"},
	}})
	table.order([]programKey{{"vi", "sid"}, {"new", "sid"}, {"ed", "sid"}, {"awk", "sid"}})
	_, text, _ := strings.Cut(table.text(), "\n\n- ")
	const want = `dpkg, as root: 2 of 3 do what they are asked, 1 of these once root has run the commands that their install named (*adopted*).
- rpm, as root: 2 of 4 do what they are asked, 1 of these once root has run the commands that their install named (*adopted*).
- rpm, as user: 1 of 2 do what they are asked, 0 of these once root has run the commands that their install named (*adopted*).
- dpkg: seen long ago.
- rpm: the last run asked 4 programs, with 7 packages in one root; nothing was changed outside the prefix, homes, /tmp, /var/tmp and, by programs that root ran, /var/cache.

| program | release | what it was asked | dpkg, as root | rpm, as root | rpm, as user | view | why not |
| --- | --- | --- | --- | --- | --- | --- | --- |
| vi | sid | c | yes, *adopted* | **no** |  |  | found out |
| new | sid | d |  | **no** | **no** |  | no &lt;such> file |
| ed | sid | a \| b | yes | yes |  |  |  |
| awk | sid | fields | **no** | yes, *adopted* | yes | yes | it is known |
`
	if text != want {
		t.Errorf("the table is\n%s\nwant\n%s", text, want)
	}
	if err := os.WriteFile(file, []byte(table.text()), 0o644); err != nil {
		t.Fatal(err)
	}
	again, err := readProgramTable(file)
	if err != nil || again.text() != table.text() {
		t.Errorf("read again, it is\n%s%v", again.text(), err)
	}
	const kept = "../docs/programs.md"
	b, err := os.ReadFile(kept)
	if err != nil {
		t.Fatal(err)
	}
	if table, err = readProgramTable(kept); err != nil || table.text() != string(b) {
		t.Errorf("%s is not written as the table is: %v; it would be\n%s", kept, err, table.text())
	}
}

// programResult is what came of a case on one system, as one user.
type programResult struct {
	Program string  `json:"program"`
	Release string  `json:"release"`
	Asked   string  `json:"asked"`
	System  string  `json:"system"`
	User    string  `json:"user"`
	Works   bool    `json:"works"`
	View    bool    `json:"view"`              // its command is a launcher
	Adopted string  `json:"adopted,omitempty"` // the command that its install named, and that was run before it was asked
	Output  string  `json:"output"`
	Said    string  `json:"said,omitempty"` // on standard error
	Status  string  `json:"status,omitempty"`
	Seconds float64 `json:"seconds"`

	// Missing are paths that it looked for in vain and that a package which was
	// installed has, for one that does not work.
	Missing []string `json:"missing,omitempty"`
}

// column names what a result is a field of.
func (r *programResult) column() string { return r.System + ", as " + r.User }

// why returns in a few words why a program does not work: what it lacks, or else what
// it said last.
func (r *programResult) why() string {
	if len(r.Missing) > 0 {
		return "looks for " + strings.Join(r.Missing[:min(len(r.Missing), 2)], ", ")
	}
	lines := strings.Split(strings.TrimSpace(cmp.Or(r.Said, r.Output)), "\n")
	last := lines[len(lines)-1]
	return last[:min(len(last), 160)]
}

// programRun is what came of asking programs on one system.
type programRun struct {
	system   string
	results  []programResult
	packages int      // that were installed
	changes  []string // of what is not hashpkg's
}

// programKey names a case.
type programKey struct{ program, release string }

// programTable is what docs/programs.md says. A run replaces what it says of the programs
// that were asked, on the system where they were.
type programTable struct {
	columns []string
	rows    []*programRow
	runs    map[string]string // what is said of the last run on a system
}

// programRow is what came of one case.
type programRow struct {
	programKey
	asked  string
	answer map[string]string // by column
	view   bool
	why    string
}

// The answers of a row.
const (
	answerYes     = "yes"
	answerAdopted = "yes, *adopted*"
	answerNo      = "**no**"
)

func readProgramTable(file string) (*programTable, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	t := &programTable{runs: map[string]string{}}
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		line := lines.Text()
		if item, isItem := strings.CutPrefix(line, "- "); isItem {
			if system, said, _ := strings.Cut(item, ": "); !strings.Contains(system, ", as ") {
				t.runs[system] = said
			}
			continue
		}
		fields := cells(line)
		switch {
		case len(fields) == 0 || strings.HasPrefix(fields[0], "---"):
		case len(fields) < 5 || t.columns != nil && len(fields) != len(t.columns)+5:
			return nil, fmt.Errorf("read %s: a row has %d fields: %s", file, len(fields), line)
		case t.columns == nil:
			t.columns = fields[3 : len(fields)-2]
		default:
			rest := fields[3+len(t.columns):]
			row := &programRow{programKey{fields[0], fields[1]}, fields[2], map[string]string{}, rest[0] != "", rest[1]}
			for i, column := range t.columns {
				if answer := fields[3+i]; answer != "" {
					row.answer[column] = answer
				}
			}
			t.rows = append(t.rows, row)
		}
	}
	return t, lines.Err()
}

// put has the table say what came of a run. Why a program does not work stays what it says
// where the program did not work before: people write there what they have found out.
func (t *programTable) put(run programRun) {
	asked := map[*programRow]bool{}
	for i := range run.results {
		r := &run.results[i]
		key := programKey{r.Program, r.Release}
		at := slices.IndexFunc(t.rows, func(row *programRow) bool { return row.programKey == key })
		if at < 0 {
			at = len(t.rows)
			t.rows = append(t.rows, &programRow{programKey: key, answer: map[string]string{}})
		}
		row := t.rows[at]
		if !asked[row] {
			asked[row] = true
			row.asked, row.view = cell(r.Asked), false
			maps.DeleteFunc(row.answer, func(column, _ string) bool { return strings.HasPrefix(column, run.system+", as ") })
		}
		row.view = row.view || r.View
		switch {
		case r.Works && r.Adopted != "":
			row.answer[r.column()] = answerAdopted
		case r.Works:
			row.answer[r.column()] = answerYes
		default:
			row.answer[r.column()] = answerNo
			row.why = cmp.Or(row.why, cell(r.why()))
		}
	}
	for row := range asked {
		if !slices.Contains(slices.Collect(maps.Values(row.answer)), answerNo) {
			row.why = ""
		}
	}
	said := fmt.Sprintf("the last run asked %d programs, with %d packages in one root; ", len(asked), run.packages)
	if len(run.changes) == 0 {
		said += "nothing was changed outside the prefix, homes, /tmp, /var/tmp and, by programs that root ran, /var/cache."
	} else {
		said += fmt.Sprintf("%d files outside the prefix were changed, the first: %s", len(run.changes), cell(run.changes[0]))
	}
	t.runs[run.system] = said
}

// order brings the rows into the order of cases, and drops those of which there is none.
func (t *programTable) order(cases []programKey) {
	at := func(row *programRow) int { return slices.Index(cases, row.programKey) }
	t.rows = slices.DeleteFunc(t.rows, func(row *programRow) bool { return at(row) < 0 })
	slices.SortStableFunc(t.rows, func(a, b *programRow) int { return cmp.Compare(at(a), at(b)) })
}

// text returns docs/programs.md.
func (t *programTable) text() string {
	asked, works, adopted := map[string]int{}, map[string]int{}, map[string]int{}
	for _, row := range t.rows {
		for column, answer := range row.answer {
			asked[column]++
			switch answer {
			case answerAdopted:
				adopted[column]++
				works[column]++
			case answerYes:
				works[column]++
			}
		}
	}
	columns := slices.Sorted(maps.Keys(asked))
	var b strings.Builder
	b.WriteString(`# Programs

What ` + "`make programs`" + ` has seen: programs of other releases, installed by name on a system that has nothing of them, each asked to do
something, as root and as a user. Where apt has installed it in a system of its own release, each does what it is asked (` + "`TestSystemProgramsNative`" + `).
A run that asks some programs, or on one system, replaces what the table says of these. A field that is empty was not asked.

`)
	for _, column := range columns {
		fmt.Fprintf(&b, "- %s: %d of %d do what they are asked, %d of these once root has run the commands that their install named (*adopted*).\n",
			column, works[column], asked[column], adopted[column])
	}
	for _, system := range slices.Sorted(maps.Keys(t.runs)) {
		fmt.Fprintf(&b, "- %s: %s\n", system, t.runs[system])
	}
	b.WriteString("\n| program | release | what it was asked |")
	for _, column := range columns {
		fmt.Fprintf(&b, " %s |", column)
	}
	b.WriteString(" view | why not |\n| --- | --- | --- |" + strings.Repeat(" --- |", len(columns)) + " --- | --- |\n")
	for _, row := range t.rows {
		fmt.Fprintf(&b, "| %s | %s | %s ", row.program, row.release, row.asked)
		for _, column := range columns {
			fmt.Fprintf(&b, "| %s ", row.answer[column])
		}
		view := ""
		if row.view {
			view = "yes"
		}
		fmt.Fprintf(&b, "| %s | %s |\n", view, row.why)
	}
	return b.String()
}

// cell returns a text as a field of a table has it.
func cell(s string) string {
	return strings.NewReplacer("|", "\\|", "\n", " ", "<", "&lt;").Replace(s)
}

// cells returns the fields of a row, as they are written; nil for a line that is none.
func cells(line string) (fields []string) {
	line, isRow := strings.CutPrefix(line, "|")
	if !isRow {
		return nil
	}
	start := 0
	for i := range len(line) {
		if line[i] == '|' && (i == 0 || line[i-1] != '\\') {
			fields = append(fields, strings.TrimSpace(line[start:i]))
			start = i + 1
		}
	}
	return fields
}
