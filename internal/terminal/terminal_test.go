package terminal

import (
	"bytes"
	"os"
	"slices"
	"strings"
	"testing"
)

func env(kvs ...string) func(string) string {
	return func(key string) string {
		for _, kv := range kvs {
			if value, is := strings.CutPrefix(kv, key+"="); is {
				return value
			}
		}
		return ""
	}
}

func TestNoTerminal(t *testing.T) {
	file, err := os.Create(t.TempDir() + "/file")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for _, w := range []interface{ Write([]byte) (int, error) }{file, &bytes.Buffer{}} {
		if s := Of(w, env("COLUMNS=10", "LINES=3"), Auto); s != (Screen{}) {
			t.Errorf("it is %+v", s)
		}
		if s := Of(w, env("NO_COLOR=1", "TERM=dumb"), Always); s != (Screen{Color: true}) {
			t.Errorf("with colors it is %+v", s)
		}
	}
}

func TestWrap(t *testing.T) {
	for _, tt := range []struct {
		text    string
		columns int
		want    string
	}{
		{"one two three\n", 13, "one two three\n"},
		{"one two three\n", 12, "one two\nthree\n"},
		{"one two three", 3, "one\ntwo\nthree"},
		{"one two three\n", 0, "one two three\n"},
		{"a\n  one two three\nb\n", 9, "a\n  one two\n  three\nb\n"},
		{"it fails; prog do this, or that\n", 20, "it fails;\nprog do this, or\nthat\n"},
		{"it fails; prog do this\n", 10, "it fails;\nprog do\nthis\n"},
		{"prog  do it\n", 8, "prog  do\nit\n"},
		{"日本語 日本語\n", 10, "日本語\n日本語\n"},
		{"", 5, ""},
	} {
		if have := Wrap(tt.text, tt.columns, "other", "prog"); have != tt.want {
			t.Errorf("Wrap(%q, %d) is %q, want %q", tt.text, tt.columns, have, tt.want)
		}
	}
}

func TestCut(t *testing.T) {
	for _, tt := range []struct {
		text    string
		columns int
		want    string
	}{
		{"abc", 3, "abc"},
		{"abcd", 3, "ab…"},
		{"日本語", 6, "日本語"},
		{"日本語", 5, "日本…"},
		{"日本語", 4, "日…"}, // half a character cannot be shown
		{"e\u0301e\u0301e\u0301", 3, "e\u0301e\u0301e\u0301"},
		{"e\u0301e\u0301e\u0301x", 3, "e\u0301e\u0301…"},
		{"abc", 1, "…"},
		{"abc", 0, ""},
		{"", 0, ""},
	} {
		have := Cut(tt.text, tt.columns)
		if have != tt.want || Columns(have) > tt.columns {
			t.Errorf("Cut(%q, %d) is %q, want %q", tt.text, tt.columns, have, tt.want)
		}
	}
}

func TestChoosePager(t *testing.T) {
	for _, tt := range []struct {
		env    []string
		secure bool
		want   string
	}{
		{nil, false, "less"},
		{[]string{"PAGER=most -s"}, false, "most -s"},
		{[]string{"PAGER=most", "HASHPKG_PAGER=more"}, false, "more"},
		{[]string{"PAGER=/bin/cat"}, false, ""},
		{[]string{"PAGER= "}, false, ""},
		{[]string{"TERM=dumb"}, false, ""},
		{[]string{"PAGER=most"}, true, "less"},
		{[]string{"HASHPKG_PAGER=cat"}, true, ""},
	} {
		have := ChoosePager(env(tt.env...), tt.secure)
		if !slices.Equal(have.Command, strings.Fields(tt.want)) || len(have.Command) > 0 && have.Secure != tt.secure {
			t.Errorf("%q, secure %v: %+v, want %s", tt.env, tt.secure, have, tt.want)
		}
	}
}
