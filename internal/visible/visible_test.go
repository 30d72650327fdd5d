package visible

import "testing"

func TestVisible(t *testing.T) {
	for _, tt := range []struct{ text, want, line string }{
		{"plain text, üß€日本\u00a0\u3000e\u0301", "plain text, üß€日本\u00a0\u3000e\u0301", "plain text, üß€日本\u00a0\u3000e\u0301"},
		{"a\nb\tc d", "a\nb\tc d", `a\x0ab\x09c d`},
		{"\x1b[2J\a\b\r\x7f", `\x1b[2J\x07\x08\x0d\x7f`, `\x1b[2J\x07\x08\x0d\x7f`},
		{"a\u009b31mb\u0085", `a\u009b31mb\u0085`, `a\u009b31mb\u0085`},
		{"a\x9b31m caf\xe9", `a\x9b31m caf\xe9`, `a\x9b31m caf\xe9`}, // bytes that are no UTF-8
		{"gnp\u202egpj\u2028x", `gnp\u202egpj\u2028x`, `gnp\u202egpj\u2028x`},
		{"\ufffd\x00", "\ufffd\\x00", "\ufffd\\x00"},
		{"", "", ""},
	} {
		if have := Text(tt.text); have != tt.want {
			t.Errorf("Text(%q) is %q, want %q", tt.text, have, tt.want)
		}
		if have := Line(tt.text); have != tt.line {
			t.Errorf("Line(%q) is %q, want %q", tt.text, have, tt.line)
		}
	}
}
