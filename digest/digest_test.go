package digest

import (
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
)

// empty is BLAKE3's digest of no bytes, from the test vectors of its authors.
const empty = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"

func TestDigest(t *testing.T) {
	if got := Of(nil).String(); got != empty {
		t.Errorf("Of(nil) = %s, want %s", got, empty)
	}
	d, n, err := OfReader(strings.NewReader("abc"))
	if err != nil || n != 3 || d != Of([]byte("abc")) {
		t.Errorf("OfReader = %s, %d, %v", d, n, err)
	}
	back, err := Parse(d.String())
	if err != nil || back != d {
		t.Errorf("Parse(%s) = %s, %v", d, back, err)
	}
	for _, bad := range []string{"", "ab", strings.ToUpper(empty), strings.Repeat("g", 64), empty + "0"} {
		if _, err := Parse(bad); err == nil {
			t.Errorf("Parse(%q) succeeds", bad)
		}
	}
}

func TestJSON(t *testing.T) {
	type record struct {
		A, B Digest
	}
	in := record{A: Of([]byte("x"))}
	b, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	var out record
	if err := json.Unmarshal(b, &out); err != nil || out != in {
		t.Errorf("%s reads back as %v, %v", b, out, err)
	}
	if err := json.Unmarshal([]byte(`{"A":"12"}`), &out); err == nil {
		t.Error("a short digest is accepted")
	}
}

func TestVerifyReader(t *testing.T) {
	for _, tc := range []struct {
		content string
		ok      bool
	}{{"abc", true}, {"abd", false}, {"ab", false}, {"abcd", false}, {"", false}} {
		_, err := io.ReadAll(VerifyReader(strings.NewReader(tc.content), Of([]byte("abc"))))
		if tc.ok != (err == nil) || !tc.ok && !errors.Is(err, ErrMismatch) {
			t.Errorf("%q: %v", tc.content, err)
		}
	}
}
