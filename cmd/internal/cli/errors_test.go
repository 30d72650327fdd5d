package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/hashpkg/hashpkg/repo"
	"github.com/hashpkg/hashpkg/sysroot"
	"github.com/hashpkg/hashpkg/transaction"
	"github.com/hashpkg/hashpkg/transaction/query"
)

// TestErrorKinds has an error of each kind that the command line itself tells from others.
func TestErrorKinds(t *testing.T) {
	for _, tt := range []struct {
		err    error
		status int
		want   string
	}{
		{usageError{errors.New("wrong")}, 2, `{"error":{"kind":"usage","message":"wrong","hint":""}}`},
		{fmt.Errorf("sync: %w", &sysroot.LockedError{}), 4, `"kind":"locked"`},
		{fmt.Errorf("write: %w", syscall.ENOSPC), 1, `{"error":{"kind":"no-space","message":"write: no space left on device","hint":"make room (hashpkg clean, hashpkg gc), or use --prefix on another disk"}}`},
		{sysroot.Hint(fmt.Errorf("write: %w", fs.ErrPermission)), 1, `{"error":{"kind":"permission","message":"write: permission denied","hint":"run hashpkg as root, or give --prefix`},
		{fmt.Errorf("x: %w", query.ErrNotInstalled), 1, `"kind":"not-installed"`},
		{fmt.Errorf("%w: %w", transaction.ErrPin, query.ErrNotStored), 1, `"kind":"not-stored"`},
		{fmt.Errorf("%w: it is frozen", transaction.ErrPin), 1, `"kind":"pin"`},
		{&repo.NotFoundError{Similar: []string{"jq"}}, 1, `"kind":"not-found","message":"find : no package has this name, or provides it","hint":"did you mean jq?"`},
		{fmt.Errorf("x: %w", context.Canceled), 1, `"kind":"interrupted","message":"interrupted; nothing was changed"`},
		{fmt.Errorf("read x: %w", json.Unmarshal([]byte("other"), new(int))), 1, `"message":"read x: it is not JSON (at byte 1)"`},
		{fmt.Errorf("read x: %w", json.Unmarshal([]byte(`"a"`), new(int))), 1, `"message":"read x: it has a string where something else is to be (at byte 3)"`},
		{errors.New("<&>\x1b"), 1, `{"error":{"kind":"failed","message":"<&>\u001b","hint":""}}`},
	} {
		var said bytes.Buffer
		a := &app{Env: Env{Err: &said}, globals: globals{json: true, quiet: true}}
		if status := a.exit(tt.err, nil); status != tt.status || !strings.Contains(said.String(), tt.want) || strings.Count(said.String(), "\n") != 1 {
			t.Errorf("%v: status %d, it says %s, want %d and %s", tt.err, status, said.String(), tt.status, tt.want)
		}
	}
}

// TestErrorKindsAreDocumented compares the kinds, and their statuses, with their page.
func TestErrorKindsAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../../../docs/json.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := ""
	for _, line := range strings.Split(string(page), "\n") {
		if strings.HasPrefix(line, "| `") && strings.Count(line, "|") == 4 {
			rows += line + "\n"
		}
	}
	for _, kind := range errorKinds() {
		if row := fmt.Sprintf("| `%s` | %d |", kind.name, kind.status); kind.name != "interrupted" && !strings.Contains(rows, row) {
			t.Errorf("docs/json.md has no row %s", row)
		}
	}
	if n := strings.Count(rows, "\n"); n != len(errorKinds()) {
		t.Errorf("docs/json.md has %d kinds, and there are %d", n, len(errorKinds()))
	}
}
