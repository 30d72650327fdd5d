package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"
	"testing"
)

// TestFullDiskSaysWhatMakesRoom has the error of a store, or of the cache of packages.
func TestFullDiskSaysWhatMakesRoom(t *testing.T) {
	var errs bytes.Buffer
	a := &app{Env: Env{Err: &errs}}
	status := a.exit(fmt.Errorf("fetch x: %w", &fs.PathError{Op: "write", Path: "/var/cache/x", Err: syscall.ENOSPC}), nil)
	if !strings.Contains(errs.String(), "; make room (hashpkg clean, hashpkg gc), or use --prefix on another disk\n") || status != 1 {
		t.Errorf("status %d: %s", status, &errs)
	}
}

// TestWhatReachesTheTerminal has every way by which commands write text.
func TestWhatReachesTheTerminal(t *testing.T) {
	var out, errs bytes.Buffer
	a := &app{Env: Env{Out: &out, Err: &errs}}
	hostile := "\x1b]0;owned\a\u009b2J"
	if err := a.printf("%s\n", hostile); err != nil {
		t.Fatal(err)
	}
	table := a.table()
	fmt.Fprintf(table, "name\t%s\tend\n", hostile)
	if err := table.Flush(); err != nil {
		t.Fatal(err)
	}
	a.notice("warning: %s\n", hostile)
	a.complain("%s\n", hostile)
	a.exit(errors.New(hostile), nil)
	for _, text := range []string{out.String(), errs.String()} {
		if strings.ContainsAny(text, "\x1b\a\u009b") {
			t.Errorf("a terminal would get %q", text)
		}
		if !strings.Contains(text, `\x1b]0;owned\x07\u009b2J`) {
			t.Errorf("it is not to be seen in %q", text)
		}
	}
	out.Reset()
	if err := a.printJSON(hostile); err != nil {
		t.Fatal(err)
	}
	if want := `"\u001b]0;owned\u0007` + "\u009b" + `2J"` + "\n"; out.String() != want {
		t.Errorf("JSON is %q, want %q", out.String(), want)
	}
}
