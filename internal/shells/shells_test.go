package shells

import (
	"errors"
	"strings"
	"testing"
)

func TestInsertRemove(t *testing.T) {
	block := begin + "\nx\n" + end + "\n"
	for _, c := range []struct{ before, inserted, removed string }{
		{"", block, ""},
		{"a\nb\n", "a\nb\n" + block, "a\nb\n"},
		{"a", "a\n" + block, "a\n"},
		{"a\r\n" + begin + "\r\nold\r\n" + end + "\r\nb\n", "a\r\nb\n" + block, "a\r\nb\n"},
		{block + "a\n" + block, "a\n" + block, "a\n"},
		{"echo '" + begin + "'\n", "echo '" + begin + "'\n" + block, "echo '" + begin + "'\n"},
		{begin + "\nold\n" + end, block, ""},
		{"\x00\xff\n", "\x00\xff\n" + block, "\x00\xff\n"},
	} {
		have, err := Insert([]byte(c.before), "x\n")
		if err != nil || string(have) != c.inserted {
			t.Errorf("%q becomes %q, %v, want %q", c.before, have, err, c.inserted)
		}
		again, err := Insert(have, "x\n")
		if err != nil || string(again) != c.inserted {
			t.Errorf("%q: again it becomes %q, %v", c.before, again, err)
		}
		have, err = Remove(have)
		if err != nil || string(have) != c.removed {
			t.Errorf("%q: it is taken back to %q, %v, want %q", c.before, have, err, c.removed)
		}
	}
	for _, text := range []string{begin + "\n", end + "\n", begin + "\n" + begin + "\n" + end + "\n", block + end} {
		if _, err := Insert([]byte(text), "x\n"); !errors.Is(err, ErrMarks) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestLinesHaveTheFarm(t *testing.T) {
	for _, shell := range All {
		for _, first := range []bool{false, true} {
			if lines := Lines(shell, `/a 'b\c`, first); strings.Contains(lines, "@") || !strings.HasSuffix(lines, "\n") {
				t.Errorf("%s: %s", shell, lines)
			}
		}
	}
}
