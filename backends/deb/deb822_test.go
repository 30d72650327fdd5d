package deb

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

func TestFieldLines(t *testing.T) {
	long := strings.Repeat("x", 200<<10)
	text := "Package: a\r\nEmpty:\n continued \n \t\n\n# comment\nNo field\n: x\nA : b:c\nLong: " + long + "\n" + long + "\nLast: x"
	want := []string{
		`1 2 "Package" "a"`, `2 2 "Empty" ""`, `3 3 "" "continued"`, `4 1 "" ""`, `5 0 "" ""`, `6 4 "" "# comment"`, `7 4 "" "No field"`,
		`8 2 "" "x"`, `9 2 "A" "b:c"`, `10 2 "Long" 194 bytes cut`, `11 4 "" 200 bytes cut`, `12 2 "Last" "x"`,
	}
	for name, r := range map[string]io.Reader{"whole": strings.NewReader(text), "bytes": iotest.OneByteReader(strings.NewReader(text))} {
		var got []string
		l := newFieldLines(r, 200)
		var err error
		for err = l.next(); err == nil; err = l.next() {
			value := fmt.Sprintf("%q", l.value)
			if l.isCut {
				value = fmt.Sprintf("%d bytes cut", len(l.value))
			}
			got = append(got, fmt.Sprintf("%d %d %q %s", l.number, l.kind, l.name, value))
		}
		if err != io.EOF {
			t.Error(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}

	// A line that is kept whole, though it is longer than the buffer.
	l := newFieldLines(strings.NewReader("Long: "+long+"\n"), 1<<20)
	if err := l.next(); err != nil || l.isCut || string(l.value) != long {
		t.Errorf("%d bytes, %v", len(l.value), err)
	}
	broken := errors.New("broken")
	l = newFieldLines(io.MultiReader(strings.NewReader("A: b\nC"), iotest.ErrReader(broken)), 100)
	if err := l.next(); err != nil || !l.is("a") || l.is("b") {
		t.Errorf("%q, %v", l.text, err)
	}
	if err := l.next(); !errors.Is(err, broken) {
		t.Errorf("%q, %v", l.text, err)
	}
}
