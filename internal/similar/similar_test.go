package similar

import (
	"fmt"
	"slices"
	"testing"
)

func TestSlipsBetween(t *testing.T) {
	for _, test := range []struct {
		a, b string
		want int
	}{
		{"", "", 0},
		{"jq", "jq", 0},
		{"jqq", "jq", 1},
		{"jq", "jqq", 1},
		{"jq", "jx", 1},
		{"ffmepg", "ffmpeg", 1},
		{"pyhton", "python", 1},
		{"abcd", "badc", 2},
		{"kitten", "sitting", 3},
		{"a", "abcde", 3},
		{"abcdef", "uvwxyz", 3},
	} {
		if got := slipsBetween(test.a, test.b, 2); got != test.want && (got <= 2 || test.want <= 2) {
			t.Errorf("%s and %s: %d, not %d", test.a, test.b, got, test.want)
		}
	}
}

func TestNames(t *testing.T) {
	for _, tt := range []struct {
		name string
		of   []string
		want []string
		text string
	}{
		{"instll", []string{"install", "list", "hold"}, []string{"install"}, "did you mean install?"},
		{"lits", []string{"list", "lint", "lock"}, []string{"list"}, "did you mean list?"},
		{"libssl", []string{"libssl3", "libssl-dev", "openssl"}, []string{"libssl3", "libssl-dev"}, "did you mean libssl3 or libssl-dev?"},
		{"x", []string{"y", "xyz"}, []string{"y"}, "did you mean y?"},
		{"jq", nil, nil, ""},
		{"", []string{"jq"}, nil, ""},
		{"aaaa", []string{"aaab", "aaac", "aaad", "aaae", "aaab"}, []string{"aaab", "aaac", "aaad"}, "did you mean aaab or aaac or aaad?"},
	} {
		if got := Names(tt.name, tt.of); !slices.Equal(got, tt.want) {
			t.Errorf("%q is like %q, want %q", tt.name, got, tt.want)
		}
		if got := DidYouMean(tt.name, tt.of); got != tt.text {
			t.Errorf("of %q it asks %q, want %q", tt.name, got, tt.text)
		}
	}
}

// BenchmarkNames looks through as many names as Debian has.
func BenchmarkNames(b *testing.B) {
	names := make([]string, 60_000)
	for i := range names {
		names[i] = fmt.Sprintf("lib%x-package-%d", uint32(i)*2654435761, i%97)
	}
	for b.Loop() {
		Names("libpackgae-dev", names)
	}
}
