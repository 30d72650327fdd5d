package pkginfo_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/hashpkg/hashpkg/pkginfo"
)

func TestKey(t *testing.T) {
	for text, want := range map[string]pkginfo.Key{
		"deb:libjq1:amd64":          {Format: "deb", ID: "libjq1:amd64"},
		"rpm:zlib-1:1.2-3.el9.i686": {Format: "rpm", ID: "zlib-1:1.2-3.el9.i686"},
	} {
		b, err := json.Marshal(map[pkginfo.Key]int{want: 1})
		if err != nil || string(b) != `{"`+text+`":1}` {
			t.Errorf("%s, %v", b, err)
		}
		var got map[pkginfo.Key]int
		if err := json.Unmarshal(b, &got); err != nil || got[want] != 1 {
			t.Errorf("%s: %v, %v", text, got, err)
		}
		format, name, _ := strings.Cut(want.FileName(), "/")
		if k, err := pkginfo.KeyOfFile(format, name); err != nil || k != want {
			t.Errorf("%s: %v, %v", want.FileName(), k, err)
		}
	}
}

// TestBadKey has keys of records that would lead out of their directory.
func TestBadKey(t *testing.T) {
	for _, text := range []string{"", "deb", "deb:", ":x", "..:x", "a/b:x", "deb:..", "deb:../../x", "deb:a\x00b", "deb:a\nb"} {
		var k pkginfo.Key
		if err := k.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is %v", text, k)
		}
	}
	if b, err := (pkginfo.Key{Format: "a:b", ID: "c"}).MarshalText(); err == nil {
		t.Errorf("%q is another key", b)
	}
}
