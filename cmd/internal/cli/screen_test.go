package cli

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashpkg/hashpkg/internal/terminal"
	"github.com/hashpkg/hashpkg/transaction"
)

func TestLayOut(t *testing.T) {
	rows := [][]string{{"NAME", "SUMMARY", "TREE"}, {"jq", "a processor of JSON", "/var/sys/jq/1.7"}, {"日本", "", "x"}, {"no columns"}}
	for _, tt := range []struct {
		cuts []int
		most int
		want []string
	}{
		{nil, 20, []string{"NAME        SUMMARY              TREE", "jq          a processor of JSON  /var/sys/jq/1.7", "日本                             x", "no columns"}},
		{[]int{2, 1}, 80, []string{"NAME        SUMMARY              TREE", "jq          a processor of JSON  /var/sys/jq/1.7", "日本                             x", "no columns"}},
		{[]int{2, 1}, 40, []string{"NAME        SUMMARY              TREE", "jq          a processor of JSON  /var/s…", "日本                             x", "no columns"}},
		{[]int{2, 1}, 30, []string{"NAME        SUMMARY     TREE", "jq          a process…  /var/…", "日本                    x", "no columns"}},
		{[]int{2, 1}, 4, []string{"NAME        SUMMA…  TREE", "jq          a pro…  /var/…", "日本                x", "no columns"}},
	} {
		if have := layOut(rows, tt.cuts, tt.most); !slices.Equal(have, tt.want) {
			t.Errorf("%v in %d columns:\n%s\nwant:\n%s", tt.cuts, tt.most, strings.Join(have, "\n"), strings.Join(tt.want, "\n"))
		}
	}
}

// TestColors has what is colored where there are colors, and only there: a prefix, and lines of
// what came and went, never what a package has written.
func TestColors(t *testing.T) {
	for _, color := range []bool{false, true} {
		var out, errs bytes.Buffer
		a := &app{Env: Env{Out: &out, Err: &errs}, screen: terminal.Screen{Color: color}, errScreen: terminal.Screen{Color: color}}
		for _, line := range []string{"+ jq 1.7", "  - jq 1.6", "jq 1.6 -> 1.7", "+ \x1b[5mjq 1"} {
			if err := a.printChanged(line); err != nil {
				t.Fatal(err)
			}
		}
		a.complain("hashpkg: %s\n", "no")
		a.notice("warning: %s\nwarning: x\n", "so")
		a.notice("note: hashpkg: no\n")
		wantOut, wantErr := "\x1b[32m+ jq 1.7\x1b[0m\n\x1b[31m  - jq 1.6\x1b[0m\njq 1.6 -> 1.7\n\x1b[32m+ \\x1b[5mjq 1\x1b[0m\n",
			"\x1b[31mhashpkg:\x1b[0m no\n\x1b[33mwarning:\x1b[0m so\nwarning: x\nnote: hashpkg: no\n"
		if !color {
			plain := strings.NewReplacer("\x1b[31m", "", "\x1b[32m", "", "\x1b[33m", "", "\x1b[0m", "")
			wantOut, wantErr = plain.Replace(wantOut), plain.Replace(wantErr)
		}
		if out.String() != wantOut || errs.String() != wantErr {
			t.Errorf("colors %v: %q and %q", color, &out, &errs)
		}
	}
}

// TestProgressJSON has a clock of its own: what comes too soon does so on a busy machine, too.
func TestProgressJSON(t *testing.T) { synctest.Test(t, testProgressJSON) }

func testProgressJSON(t *testing.T) {
	var errs bytes.Buffer
	a := &app{Env: Env{Err: &errs, Getenv: func(string) string { return "" }}, globals: globals{quiet: true, screenFlags: screenFlags{progress: progressJSON}}}
	p := a.newProgress()
	p.show(transaction.Progress{Step: "reading", Done: 1, Total: 10, Unit: transaction.UnitBytes})
	p.show(transaction.Progress{Step: "reading", Done: 2, Total: 10, Unit: transaction.UnitBytes}) // too soon
	p.show(transaction.Progress{Step: "reading", Done: 10, Total: 10, Unit: transaction.UnitBytes})
	p.show(transaction.Progress{Step: "fetching", Item: "a<b"})
	p.bytes("verifying")(5)
	p.end()
	d := a.newDownloads([]int64{1, -1})
	d.Finished(1, "jq 1")
	d.Finished(0, "jq 2")
	time.Sleep(2 * redraw)
	synctest.Wait()
	d.End()
	want := `{"progress":{"phase":"reading","done":1,"total":10,"unit":"bytes","item":""}}
{"progress":{"phase":"reading","done":10,"total":10,"unit":"bytes","item":""}}
{"progress":{"phase":"fetching","done":0,"total":null,"unit":"","item":"a<b"}}
{"progress":{"phase":"verifying","done":5,"total":null,"unit":"bytes","item":""}}
{"progress":{"phase":"fetched","done":1,"total":2,"unit":"files","item":"jq 1"}}
{"progress":{"phase":"fetched","done":2,"total":2,"unit":"files","item":"jq 2"}}
{"progress":{"phase":"fetching","done":0,"total":null,"unit":"bytes","item":""}}
`
	if have := errs.String(); have != want {
		t.Errorf("it is\n%swant\n%s", have, want)
	}
}

// TestHeldMessages has messages wait until the pager has ended.
func TestHeldMessages(t *testing.T) {
	var errs bytes.Buffer
	held := &heldWriter{w: &errs}
	a := &app{Env: Env{Err: held}}
	a.notice("first\n")
	held.hold()
	a.notice("second\n")
	a.complain("third\n")
	if errs.String() != "first\n" {
		t.Errorf("while the pager runs there is %q", &errs)
	}
	held.release()
	a.notice("fourth\n")
	if want := "first\nsecond\nthird\nfourth\n"; errs.String() != want {
		t.Errorf("then there is %q, want %q", &errs, want)
	}
}
