package backends_test

import (
	"testing"

	"github.com/hashpkg/hashpkg/backends"
)

func TestPlainURL(t *testing.T) {
	for address, want := range map[string]string{
		"http://example.org/debian":                  "http://example.org/debian",
		"https://example.org":                        "https://example.org",
		"https://user:pass@example.org:8080/x@y/z":   "https://example.org:8080/x@y/z",
		"https://us@er:pa@ss@example.org":            "https://example.org",
		"https://u:p@example.org/$basearch/":         "https://example.org/$basearch/",
		"https://example.org/list?repo=x&token=1://": "https://example.org/list?...",
		"file:///srv/x":                              "file:///srv/x",
		"dists/stable/InRelease":                     "dists/stable/InRelease",
	} {
		if got := backends.PlainURL(address); got != want {
			t.Errorf("%s becomes %s, want %s", address, got, want)
		}
	}
}
