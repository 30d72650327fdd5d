package pkginfo_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/hashpkg/hashpkg/pkginfo"
)

// prefix writes an expression with the operations before their operands.
func prefix(e pkginfo.Expression) string {
	if e.Operation == pkginfo.Leaf {
		return e.Constraint.String()
	}
	var all []string
	for _, o := range e.Operands {
		all = append(all, prefix(o))
	}
	return fmt.Sprintf("%s[%s]", e.Operation, strings.Join(all, ", "))
}

func TestParseRich(t *testing.T) {
	for text, want := range map[string]string{
		"(b)":                                "b",
		"((b))":                              "b",
		"(a or b >= 1)":                      "or[a, b (>= 1)]",
		"(a or (b or c))":                    "or[a, or[b, c]]",
		"(a =< 1 or b => 2 or c == 3)":       "or[a (<= 1), b (>= 2), c (= 3)]",
		"(a and b and c)":                    "and[a, b, c]",
		"(a with b with c)":                  "with[with[a, b], c]",
		"(a if b else c)":                    "if[a, b, c]",
		"(a unless (b or c))":                "unless[a, or[b, c]]",
		"(a without b)":                      "without[a, b]",
		"(python3dist(b) < 2 and lib(x)(y))": "and[python3dist(b) (< 2), lib(x)(y)]",

		"": "", "b": "", "(": "", "()": "", "(a": "", "(a))": "", "(a b)": "", "(a or)": "", "(or a)": "", "(a or b and c)": "", "(a xor b)": "",
		"(a >=)": "", "(a >= or b)": "", "(a with (b and c))": "", "(a if b else c else d)": "", "(a) b": "",
		strings.Repeat("(", 40) + "a" + strings.Repeat(")", 40): "",
	} {
		e, ok := pkginfo.ParseRich(text)
		if got := prefix(e); ok != (want != "") || ok && got != want {
			t.Errorf("%q is %s, %v, and not %s", text, got, ok, want)
		}
	}
}

func TestAlternatives(t *testing.T) {
	for text, want := range map[string]int{"(a)": 1, "(a or b >= 1)": 2, "(a or (b or c))": 3, "(a and b)": 0, "(a or (b and c))": 0, "(a if b)": 0, "(a with b)": 0} {
		e, ok := pkginfo.ParseRich(text)
		if got := e.Alternatives(); !ok || len(got) != want {
			t.Errorf("%s has the alternatives %v", text, got)
		}
	}
}

// TestWanted: conditions, and what a package is not to be, are not asked for.
func TestWanted(t *testing.T) {
	for text, want := range map[string]string{
		"(a)": "a", "(a and (b or c))": "a b c", "(a with b)": "a b", "(a if b)": "a", "(a if (b and c) else d)": "a d",
		"(a unless b else (c without d))": "a c",
	} {
		e, _ := pkginfo.ParseRich(text)
		var names []string
		for c := range e.Wanted() {
			names = append(names, c.Name)
		}
		if have := strings.Join(names, " "); have != want {
			t.Errorf("%s asks for %q, and not %q", text, have, want)
		}
		for range e.Wanted() {
			break
		}
	}
	for range (pkginfo.Expression{}).Wanted() {
		t.Error("nothing asks for something")
	}
}
