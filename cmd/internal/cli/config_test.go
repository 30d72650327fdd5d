package cli

import "testing"

func TestParseSize(t *testing.T) {
	for text, want := range map[string]int64{
		"1": 1, "500M": 500 << 20, "64G": 64 << 30, "2T": 2 << 40, "4K": 4096, "4194304T": 1 << 62,
		"": 0, "0": 0, "G": 0, "-1": 0, "1.5G": 0, "64g": 0, "64GiB": 0, "4194305T": 0, "9223372036854775807": 0, "1 G": 0,
	} {
		n, err := parseSize(text)
		if n != want || (err == nil) != (want != 0) {
			t.Errorf("%q: %d, %v, want %d", text, n, err, want)
		}
	}
}
